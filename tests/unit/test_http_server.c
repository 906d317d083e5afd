/* The behaviour of a running server: keep-alive, pipelining, deferred and streamed replies, streamed bodies,
 * disconnects, start and stop, listening addresses. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include <satchel/context.h>

#include "base/clock.h"
#include "http_fixture.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"
#define GET_CLOSE(path) "GET " path " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"

static int start(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    fixture_start(f, 2, fixture_limits());
    *state = f;
    return 0;
}

static int stop(void **state)
{
    fixture_stop(*state);
    free(*state);
    return 0;
}

static void expect_body(int fd, int status, const char *text)
{
    struct buf body = BUF_INIT;
    assert_int_equal(client_response(fd, &body), status);
    assert_string_equal(body.data ? body.data : "", text);
    buf_release(&body);
}

static void expect_end(int fd)
{
    struct buf rest = BUF_INIT;
    assert_true(client_read_all(fd, &rest, WAIT_MS));
    assert_int_equal(rest.len, 0);
    buf_release(&rest);
}

static void test_request_parts(void **state)
{
    int fd = client_connect(*state);
    client_send_text(fd, "PATCH /p%20q?a=b?c HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nContent-Length: 3\r\n\r\nabc");
    expect_body(fd, 200, "PATCH /p%20q?a=b?c fields=3 body=3");
    client_send_text(fd, GET("/x?"));
    expect_body(fd, 200, "GET /x? fields=1 body=0");
    close(fd);
}

static void test_many_fields(void **state)
{
    int fd = client_connect(*state);
    struct buf text = BUF_INIT;
    buf_append_str(&text, "GET /x HTTP/1.1\r\nHost: h\r\n");
    for (int i = 1; i < 128; i++)
        buf_printf(&text, "X-%d: v\r\n", i);
    buf_append_str(&text, "\r\n");
    client_send(fd, text.data, text.len);
    expect_body(fd, 200, "GET /x? fields=128 body=0");
    client_send_text(fd, GET("/y"));
    expect_body(fd, 200, "GET /y? fields=1 body=0");
    buf_release(&text);
    close(fd);
}

static void test_find(void **state)
{
    (void)state;
    struct http_field fields[] = {{SLICE_LITERAL("A"), SLICE_LITERAL("1")},
                                  {SLICE_LITERAL("bb"), {NULL, 0}},
                                  {SLICE_LITERAL("a"), SLICE_LITERAL("2")}};
    struct http_request request = {.fields = fields, .n_fields = 3};
    unsigned n = 9;
    assert_true(slice_eq_str(http_find(&request, "a", &n), "1"));
    assert_int_equal(n, 2);
    assert_true(slice_eq_str(http_find(&request, "A", NULL), "1"));
    struct slice empty = http_find(&request, "BB", &n);
    assert_non_null(empty.data); /* there, and empty */
    assert_int_equal(empty.len, 0);
    assert_null(http_find(&request, "b", &n).data);
    assert_int_equal(n, 0);
}

static void test_echo_large_body(void **state)
{
    int fd = client_connect(*state);
    size_t len = 900000;
    struct buf sent = BUF_INIT, got = BUF_INIT;
    for (size_t i = 0; i < len; i++)
        buf_append_char(&sent, (char)('a' + i % 23));
    char head[128];
    snprintf(head, sizeof head, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n", len);
    client_send_text(fd, head);
    client_send(fd, sent.data, sent.len);
    assert_int_equal(client_response(fd, &got), 200);
    assert_int_equal(got.len, len);
    assert_memory_equal(got.data, sent.data, len);
    /* the same in chunks of odd sizes */
    client_send_text(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (size_t at = 0, n = 1; at < len; at += n, n = n * 7 % 9973 + 1) {
        n = n < len - at ? n : len - at;
        snprintf(head, sizeof head, "%zx\r\n", n);
        client_send_text(fd, head);
        client_send(fd, sent.data + at, n);
        client_send_text(fd, "\r\n");
    }
    client_send_text(fd, "0\r\n\r\n");
    buf_reset(&got);
    assert_int_equal(client_response(fd, &got), 200);
    assert_int_equal(got.len, len);
    assert_memory_equal(got.data, sent.data, len);
    buf_release(&sent);
    buf_release(&got);
    close(fd);
}

static void test_pipelined_in_order(void **state)
{
    int fd = client_connect(*state);
    struct buf text = BUF_INIT;
    for (int i = 0; i < 500; i++)
        buf_printf(&text, "GET /%d HTTP/1.1\r\nHost: h\r\n\r\n", i);
    client_send(fd, text.data, text.len);
    for (int i = 0; i < 500; i++) {
        char expected[64];
        snprintf(expected, sizeof expected, "GET /%d? fields=1 body=0", i);
        expect_body(fd, 200, expected);
    }
    buf_release(&text);
    close(fd);
}

/* The second request waits for the first one's deferred answer. */
static void test_pipelined_behind_held(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send_text(fd, GET("/hold") GET("/second") GET("/hold") GET("/fourth"));
    struct http_ref first = fixture_wait_held(f, 0);
    assert_int_equal(atomic_load(&f->heads), 1);
    fixture_answer(f, first, "late");
    expect_body(fd, 200, "late");
    expect_body(fd, 200, "GET /second? fields=1 body=0");
    fixture_answer(f, fixture_wait_held(f, 1), "later");
    expect_body(fd, 200, "later");
    expect_body(fd, 200, "GET /fourth? fields=1 body=0");
    fixture_answer(f, first, "again"); /* answered long ago: not found */
    wait_for(&f->lost, 1);
    assert_int_equal(atomic_load(&f->found), 2);
    close(fd);
}

static void test_disconnect_while_held(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f), other = client_connect(f);
    client_send_text(fd, GET("/hold"));
    struct http_ref ref = fixture_wait_held(f, 0);
    close(fd);
    wait_for(&f->gone, 1);
    fixture_answer(f, ref, "too late");
    wait_for(&f->lost, 1);
    client_send_text(other, GET("/x"));
    expect_body(other, 200, "GET /x? fields=1 body=0");
    close(other);
}

/* A reset is noticed at once, also when the connection's input is full. */
static void test_reset_while_held_and_full(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send_text(fd, GET("/hold"));
    (void)fixture_wait_held(f, 0);
    char block[4096];
    memset(block, 'x', sizeof block);
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    size_t sent = 0;
    while (poll(&wait, 1, 300) > 0 && sent < 64 * 1024 * 1024) { /* until the server takes no more */
        ssize_t n = send(fd, block, sizeof block, MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
    }
    assert_true(sent < 64 * 1024 * 1024);
    struct linger reset = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
    wait_for(&f->gone, 1);
}

/* Shutting down the sending side is no reason to withhold an answer that comes soon. */
static void test_half_close(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send_text(fd, GET("/hold") GET("/x"));
    shutdown(fd, SHUT_WR);
    fixture_answer(f, fixture_wait_held(f, 0), "soon");
    expect_body(fd, 200, "soon");
    expect_body(fd, 200, "GET /x? fields=1 body=0");
    expect_end(fd);
    assert_int_equal(atomic_load(&f->gone), 0);
    close(fd);
}

static void test_disconnect_in_body(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send_text(fd, "POST /in HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
    wait_for(&f->pieces, 1);
    close(fd);
    wait_for(&f->gone, 1);
    assert_int_equal(atomic_load(&f->in_ends), 0);
}

static void test_expect_continue(void **state)
{
    int fd = client_connect(*state);
    client_send_text(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n");
    assert_int_equal(client_response(fd, NULL), 100);
    client_send_text(fd, "hello");
    expect_body(fd, 200, "hello");
    /* too long: refused before a byte of it is sent */
    client_send_text(fd, "POST /tiny HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n");
    assert_int_equal(client_response(fd, NULL), 413);
    expect_end(fd);
    close(fd);
}

/* What the server refuses by itself carries the application's fields, made from the request where there is one. */
static void test_fields_of_refusals(void **state)
{
    static const char first[] = "GET /x HTTP/1.1\r\nHost: h\r\nX-Echo: first\r\n\r\n";
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"POST /tiny HTTP/1.1\r\nHost: h\r\nX-Echo: mine\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n",
         "\r\nX-Echo: mine\r\n"},
        {"GET /x HTTP/1.1\r\nX-Echo: no host\r\n\r\n", "\r\nX-Echo: no host\r\n"},
        {"GET /x HTTP/1.1\r\nHost: h\r\nX-Echo: broken\nY: z\r\n\r\n", "\r\nX-Echo: no request\r\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf answer = BUF_INIT;
        int fd = client_connect(*state);
        client_send_text(fd, first); /* the one before must not be taken for it */
        client_send_text(fd, cases[i].text);
        assert_true(client_read_all(fd, &answer, 5000));
        buf_append_char(&answer, '\0');
        const char *last = strstr(answer.data + 1, "HTTP/1.1 4");
        assert_non_null(last);
        if (!strstr(last, cases[i].expected))
            fail_msg("case %zu: %s", i, last);
        buf_release(&answer);
        close(fd);
    }
}

static void test_streamed_body(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send_text(fd, "POST /in HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    wait_for(&f->pieces, 1); /* it is handed on before the end is there */
    client_send_text(fd, "2\r\nde\r\n0\r\n\r\n" GET("/x"));
    expect_body(fd, 200, "got 5");
    expect_body(fd, 200, "GET /x? fields=1 body=0");
    client_send_text(fd, GET("/in"));
    expect_body(fd, 200, "got 5"); /* no body: only the end is told */
    assert_int_equal(atomic_load(&f->in_ends), 2);
    close(fd);
}

static void test_streamed_body_paused(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send_text(fd, "POST /in?pause HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 200; i++)
        client_send_text(fd, "3\r\nabc\r\n");
    client_send_text(fd, "0\r\n\r\n");
    expect_body(fd, 200, "got 600");
    assert_int_equal(atomic_load(&f->in_ends), 1);
    assert_true(atomic_load(&f->pieces) >= 200);
    close(fd);
}

/* While it is paused not a piece comes, and the client is held back. */
static void test_paused_is_paused(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send_text(fd, "POST /in?hold HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n");
    char block[65536];
    memset(block, 'x', sizeof block);
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    size_t sent = 0;
    while (sent < 100000000 && poll(&wait, 1, 300) > 0) {
        ssize_t n = send(fd, block, sizeof block, MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
    }
    assert_true(sent < 50000000);
    assert_int_equal(atomic_load(&f->pieces), 1);
    struct http_ref ref = fixture_wait_held(f, 0);
    fixture_answer(f, ref, ""); /* resumes; the next piece pauses again */
    wait_for(&f->pieces, 2);
    close(fd);
    for (unsigned i = 1; i < 10000 && !atomic_load(&f->gone); i++) { /* gone is noticed once it is read to the end */
        fixture_answer(f, ref, "");
        poll(NULL, 0, 1);
    }
    wait_for(&f->gone, 1);
}

static size_t read_stream(int fd)
{
    struct buf text = BUF_INIT;
    assert_true(client_read_all(fd, &text, WAIT_MS));
    assert_true(strncmp(text.data, "HTTP/1.1 200 OK\r\n", 17) == 0);
    const char *at = strstr(text.data, "\r\n\r\n") + 4;
    size_t total = 0;
    if (strstr(text.data, "Transfer-Encoding: chunked\r\n")) {
        for (size_t n = 1; n; total += n) {
            n = strtoul(at, NULL, 16);
            at = strstr(at, "\r\n") + 2 + n;
            assert_true(at[0] == '\r' && at[1] == '\n');
            at += 2;
        }
        assert_int_equal(at - text.data, text.len);
    } else {
        total = text.len - (size_t)(at - text.data);
    }
    buf_release(&text);
    return total;
}

static void test_streamed_reply(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send_text(fd, GET_CLOSE("/out?5000000"));
    assert_int_equal(read_stream(fd), 5000000);
    close(fd);
    assert_int_equal(atomic_load(&f->out_done), 1);
    assert_true(atomic_load(&f->out_peak) < HTTP_STREAM_HIGH + 2 * 16384); /* bounded, whatever the client does */
    fd = client_connect(f);
    client_send_text(fd, "GET /out?100000 HTTP/1.0\r\n\r\n");
    assert_int_equal(read_stream(fd), 100000);
    close(fd);
    fd = client_connect(f);
    client_send_text(fd, "HEAD /out?100 HTTP/1.1\r\nHost: h\r\n\r\n" GET_CLOSE("/x"));
    struct buf text = BUF_INIT;
    assert_true(client_read_all(fd, &text, WAIT_MS));
    char statuses[32];
    statuses_of(&text, true, statuses, sizeof statuses);
    assert_string_equal(statuses, "200 200");
    buf_release(&text);
    close(fd);
}

/* A slow reader holds the writer back; one that leaves ends the exchange. */
static void test_streamed_reply_slow_reader(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send_text(fd, GET_CLOSE("/out?50000000"));
    wait_for(&f->drains, 1);
    unsigned drains = atomic_load(&f->drains);
    for (int quiet = 0; quiet < 20; quiet++) { /* until the kernel's buffers are full */
        poll(NULL, 0, 10);
        if (drains != atomic_load(&f->drains))
            quiet = 0;
        drains = atomic_load(&f->drains);
    }
    assert_int_equal(atomic_load(&f->out_done), 0);
    assert_true(atomic_load(&f->out_peak) < HTTP_STREAM_HIGH + 2 * 16384);
    close(fd);
    wait_for(&f->gone, 1);
    assert_int_equal(atomic_load(&f->out_done), 0);
}

/* A client that reads a long reply as fast as it comes does not keep the others of its loop waiting. */
static void *read_fast(void *arg)
{
    struct buf text = {.max = 256 * 1024};
    while (!client_read_all(*(int *)arg, &text, WAIT_MS))
        buf_reset(&text);
    buf_release(&text);
    return NULL;
}

static void test_fast_reader_is_fair(void **state)
{
    struct fixture *f = *state;
    int fast[2], other[2];
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) { /* one on each loop */
        fast[i] = client_connect(f);
        client_send_text(fast[i], GET_CLOSE("/out?400000000"));
        assert_int_equal(satchel_thread_create(&threads[i], NULL, read_fast, &fast[i]), 0);
    }
    wait_for(&f->drains, 2);
    for (int i = 0; i < 2; i++) {
        other[i] = client_connect(f);
        client_send_text(other[i], GET("/x"));
        expect_body(other[i], 200, "GET /x? fields=1 body=0");
    }
    assert_int_equal(atomic_load(&f->out_done), 0);
    for (int i = 0; i < 2; i++) {
        shutdown(fast[i], SHUT_RDWR);
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        close(fast[i]);
        close(other[i]);
    }
    wait_for(&f->gone, 2);
}

/* Many pipelined requests for large answers: the answers do not pile up in memory, and all arrive. */
static void test_pipelined_large_answers(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    struct buf text = BUF_INIT;
    enum { N = 40, SIZE = 200000 };
    for (int i = 0; i < N; i++)
        buf_printf(&text, "GET /out?%d HTTP/1.1\r\nHost: h\r\n%s\r\n", SIZE, i + 1 < N ? "" : "Connection: close\r\n");
    client_send(fd, text.data, text.len);
    buf_reset(&text);
    assert_true(client_read_all(fd, &text, WAIT_MS));
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++)
        n += text.data[i] == 'x';
    assert_true(n >= (size_t)N * SIZE);
    assert_int_equal(atomic_load(&f->out_done), N);
    assert_true(atomic_load(&f->out_peak) < 3 * HTTP_STREAM_HIGH);
    buf_release(&text);
    close(fd);
}

static void test_fields_of_replies(void **state)
{
    int fd = client_connect(*state);
    client_send_text(fd, GET("/bad-field") GET_CLOSE("/problem"));
    struct buf text = BUF_INIT;
    assert_true(client_read_all(fd, &text, WAIT_MS));
    assert_null(strstr(text.data, "X-Split"));
    assert_null(strstr(text.data, "X Bad"));
    assert_non_null(strstr(text.data, "X-Good: b\r\n"));
    assert_non_null(strstr(text.data, "Server: test\r\n"));
    assert_non_null(strstr(text.data, "Date: "));
    const char *problem = strstr(text.data, "HTTP/1.1 429 Too Many Requests\r\n");
    assert_non_null(problem);
    assert_non_null(strstr(problem, "Retry-After: 7\r\n"));
    assert_non_null(strstr(problem, "Content-Type: application/problem+json\r\n"));
    const char *length = strstr(text.data, "Content-Length");
    assert_true(length > problem); /* none on a 204 */
    buf_release(&text);
    close(fd);
}

static void test_head_has_no_body(void **state)
{
    int fd = client_connect(*state);
    client_send_text(fd, "HEAD /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    struct buf text = BUF_INIT;
    assert_true(client_read_all(fd, &text, WAIT_MS));
    assert_non_null(strstr(text.data, "Content-Length: 24\r\n"));
    assert_string_equal(text.data + text.len - 4, "\r\n\r\n");
    buf_release(&text);
    close(fd);
}

static void test_unix_peer(void **state)
{
    struct fixture *f = *state;
    struct stat at;
    assert_int_equal(stat(f->unix_path, &at), 0);
    assert_int_equal(at.st_mode & 0777 & 0007, 0); /* nobody else's */
    int fd = client_connect_unix(f);
    client_send_text(fd, GET("/x"));
    expect_body(fd, 200, "GET /x? fields=1 body=0");
    close(fd);
}

static void test_spread(void **state)
{
    struct fixture *f = *state;
    int fds[32];
    for (int i = 0; i < 32; i++) {
        fds[i] = client_connect(f);
        client_send_text(fds[i], GET("/hold"));
        (void)fixture_wait_held(f, (unsigned)i);
    }
    unsigned first = 0;
    for (int i = 0; i < 32; i++)
        first += f->held[i].loop == f->held[0].loop;
    assert_int_equal(first, 16); /* two loops, half each */
    for (unsigned i = 0; i < 32; i++) {
        fixture_answer(f, f->held[i], "x");
        expect_body(fds[i], 200, "x");
        close(fds[i]);
    }
}

static void test_stats_and_heartbeat(void **state)
{
    struct fixture *f = *state;
    int fd = client_connect(f);
    client_send_text(fd, GET("/x") "rubbish\r\n\r\n");
    expect_body(fd, 200, "GET /x? fields=1 body=0");
    assert_int_equal(client_response(fd, NULL), 400);
    struct http_stats stats;
    http_server_stats(f->server, &stats);
    assert_int_equal(stats.accepted, 1);
    assert_int_equal(stats.connections, 1);
    assert_int_equal(stats.requests, 1);
    assert_int_equal(stats.framing_errors, 1);
    close(fd);
    uint64_t first = http_server_heartbeat(f->server), now = first;
    for (int i = 0; i < WAIT_MS && now < first + 3; i++, poll(NULL, 0, 1))
        now = http_server_heartbeat(f->server);
    assert_true(now >= first + 3);
}

static void test_quiesce(void **state)
{
    struct fixture *f = *state;
    int idle = client_connect(f), held = client_connect(f), partial = client_connect(f);
    client_send_text(idle, GET("/x"));
    expect_body(idle, 200, "GET /x? fields=1 body=0");
    client_send_text(partial, "GET /y HTTP/1.1\r\n");
    client_send_text(held, GET("/hold"));
    struct http_ref ref = fixture_wait_held(f, 0);
    int waiting = client_connect(f); /* perhaps not yet accepted: still answered */
    client_send_text(waiting, GET("/z"));
    http_server_quiesce(f->server);
    expect_end(idle);
    expect_body(waiting, 200, "GET /z? fields=1 body=0");
    expect_end(waiting);
    client_send_text(partial, "Host: h\r\n\r\n");
    expect_body(partial, 200, "GET /y? fields=1 body=0");
    expect_end(partial);
    fixture_answer(f, ref, "done");
    struct buf text = BUF_INIT;
    assert_true(client_read_all(held, &text, WAIT_MS));
    assert_non_null(strstr(text.data, "Connection: close\r\n"));
    buf_release(&text);
    int unix_fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    strcpy(un.sun_path, f->unix_path);
    assert_int_equal(connect(unix_fd, (const struct sockaddr *)&un, sizeof un), -1);
    close(unix_fd);
    close(idle);
    close(held);
    close(partial);
    close(waiting);
}

/* Stopping with requests in every state tells the application and leaks nothing. */
static void test_stop_in_the_middle(void **state)
{
    struct fixture *f = *state;
    int fds[4];
    for (int i = 0; i < 4; i++)
        fds[i] = client_connect(f);
    client_send_text(fds[0], GET("/hold") GET("/x"));
    client_send_text(fds[1], "POST /in HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
    client_send_text(fds[2], GET("/out?50000000"));
    client_send_text(fds[3], "GET /half");
    (void)fixture_wait_held(f, 0);
    wait_for(&f->pieces, 1);
    wait_for(&f->drains, 1);
    http_server_stop(f->server);
    assert_int_equal(atomic_load(&f->gone), 3);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
}

/* Out of file descriptors: accepting rests, and goes on by itself. */
static void test_out_of_descriptors(void **state)
{
    struct fixture *f = *state;
    struct rlimit old, low;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    low = old;
    low.rlim_cur = 128;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    int fds[128], n = 0, last = -1;
    int fd = client_connect(f), late = socket(AF_INET, SOCK_STREAM, 0);
    client_send_text(fd, GET("/x"));
    expect_body(fd, 200, "GET /x? fields=1 body=0");
    while ((last = dup(fd)) >= 0)
        fds[n++] = last;
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)f->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(late, (const struct sockaddr *)&in, sizeof in), 0);
    client_send_text(late, GET("/y"));
    client_send_text(fd, GET("/x")); /* the others are served meanwhile */
    expect_body(fd, 200, "GET /x? fields=1 body=0");
    struct pollfd wait = {.fd = late, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 100), 0);
    while (n)
        close(fds[--n]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    expect_body(late, 200, "GET /y? fields=1 body=0");
    close(late);
    close(fd);
}

/* Several clients at once do everything that can be cut off, over and over; answers come from other threads. */
struct storm {
    struct fixture *f;
    unsigned seed;
};

static void storm_step(const struct storm *storm, unsigned what)
{
    int fd = what & 64 ? client_connect(storm->f) : client_connect_unix(storm->f);
    switch (what % 8) {
    case 0: client_send_text(fd, GET("/a") GET("/hold") GET("/b")); break;
    case 1: client_send_text(fd, GET("/hold")); break;
    case 2: client_send_text(fd, GET("/out?3000000")); break;
    case 3:
        client_send_text(fd, "POST /in?pause HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        break;
    case 4: client_send_text(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhel"); break;
    case 5:
        client_send_text(fd, GET("/a") "nonsense\r\n\r\n");
        assert_int_equal(client_response(fd, NULL), 200);
        assert_int_equal(client_response(fd, NULL), 400);
        break;
    default:
        client_send_text(fd, GET("/a") GET("/b"));
        assert_int_equal(client_response(fd, NULL), 200);
        assert_int_equal(client_response(fd, NULL), 200);
    }
    struct linger reset = {.l_onoff = what & 32 ? 1 : 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    if (what & 128)
        poll(NULL, 0, 1);
    close(fd);
}

static void *storm_main(void *arg)
{
    struct storm *storm = arg;
    for (int i = 0; i < 300; i++) {
        storm->seed = storm->seed * 1103515245 + 12345;
        storm_step(storm, storm->seed >> 16);
    }
    return NULL;
}

static void test_storm(void **state)
{
    struct fixture *f = *state;
    struct storm storms[4];
    pthread_t threads[4];
    for (unsigned i = 0; i < 4; i++) {
        storms[i] = (struct storm){f, i + 1};
        assert_int_equal(satchel_thread_create(&threads[i], NULL, storm_main, &storms[i]), 0);
    }
    for (unsigned round = 0; round < 200; round++) { /* answers, many of them too late */
        struct http_ref held[HELD_MAX];
        pthread_mutex_lock(&f->lock);
        memcpy(held, f->held, sizeof held);
        f->ran[0] = '\0';
        pthread_mutex_unlock(&f->lock);
        for (unsigned i = 0; i < HELD_MAX; i++)
            if (held[i].loop)
                fixture_answer(f, held[i], "late");
        poll(NULL, 0, 2);
    }
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    int fd = client_connect(f);
    client_send_text(fd, GET("/x"));
    expect_body(fd, 200, "GET /x? fields=1 body=0");
    close(fd);
    struct http_stats stats;
    for (int i = 0; i < WAIT_MS; i++, poll(NULL, 0, 1)) { /* what was given up is given back */
        http_server_stats(f->server, &stats);
        if (!stats.connections)
            break;
    }
    assert_int_equal(stats.connections, 0);
}

static struct http_server *bare_server(void)
{
    static const struct http_app app;
    struct http_server_options options = {.loops = 1, .limits = fixture_limits(), .app = &app};
    struct http_server *server = NULL;
    assert_int_equal(http_server_new(&options, &server), 0);
    return server;
}

static void test_addresses(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",         "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000",        ":8640",
        "::1:8640", "[::1]",     "unix:",      "[]:1",        "no.such.host.invalid:1", "203.0.113.7:0"};
    struct http_server *server = bare_server();
    char error[256];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        error[0] = '\0';
        assert_int_equal(http_server_listen(server, bad[i], error, sizeof error), -1);
        assert_true(strlen(error) > 10);
        assert_null(http_server_address(server, 0));
    }
    assert_int_equal(http_server_listen(server, "127.0.0.1:0", error, sizeof error), 0);
    const char *address = http_server_address(server, 0);
    assert_true(strncmp(address, "http://127.0.0.1:", 17) == 0 && atoi(address + 17) > 0);
    /* taken */
    assert_int_equal(http_server_listen(server, address + 7, error, sizeof error), -1);
    assert_non_null(strstr(error, "in use"));
    assert_null(http_server_address(server, 1));
    http_server_free(server);
}

static void test_unix_stale_and_taken(void **state)
{
    struct fixture *f = *state;
    char path[96], address[112], error[256];
    snprintf(path, sizeof path, "%s/t", f->dir);
    snprintf(address, sizeof address, "unix:%s", path);
    /* left behind by a process that died */
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(un.sun_path, sizeof un.sun_path, "%s", path);
    assert_int_equal(bind(fd, (const struct sockaddr *)&un, sizeof un), 0);
    close(fd);
    struct http_server *server = bare_server(), *second = bare_server();
    assert_int_equal(http_server_listen(server, address, error, sizeof error), 0);
    assert_string_equal(http_server_address(server, 0), address);
    assert_int_equal(http_server_listen(second, address, error, sizeof error), -1);
    assert_non_null(strstr(error, "another process listens there"));
    http_server_free(server);
    assert_int_equal(access(path, F_OK), -1);
    /* not a socket: left alone */
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    close(fd);
    assert_int_equal(http_server_listen(second, address, error, sizeof error), -1);
    assert_int_equal(unlink(path), 0);
    http_server_free(second);
}

static void test_adopt(void **state)
{
    (void)state;
    struct http_server *server = bare_server();
    char error[256];
    int plain = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(http_server_adopt(server, plain, false, error, sizeof error), -1);
    assert_int_equal(http_server_adopt(server, -1, false, error, sizeof error), -1);
    assert_int_equal(listen(plain, 5), 0);
    assert_int_equal(http_server_adopt(server, plain, false, error, sizeof error), 0);
    assert_true(fcntl(plain, F_GETFD) & FD_CLOEXEC);
    assert_true(strncmp(http_server_address(server, 0), "http://0.0.0.0:", 15) == 0);
    http_server_free(server); /* closes it */
    assert_int_equal(fcntl(plain, F_GETFD), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_request_parts),
        TEST(test_many_fields),
        cmocka_unit_test(test_find),
        TEST(test_echo_large_body),
        TEST(test_pipelined_in_order),
        TEST(test_pipelined_behind_held),
        TEST(test_disconnect_while_held),
        TEST(test_reset_while_held_and_full),
        TEST(test_half_close),
        TEST(test_disconnect_in_body),
        TEST(test_expect_continue),
        TEST(test_fields_of_refusals),
        TEST(test_streamed_body),
        TEST(test_streamed_body_paused),
        TEST(test_paused_is_paused),
        TEST(test_streamed_reply),
        TEST(test_streamed_reply_slow_reader),
        TEST(test_fast_reader_is_fair),
        TEST(test_pipelined_large_answers),
        TEST(test_fields_of_replies),
        TEST(test_head_has_no_body),
        TEST(test_unix_peer),
        TEST(test_spread),
        TEST(test_stats_and_heartbeat),
        TEST(test_quiesce),
        TEST(test_stop_in_the_middle),
        TEST(test_out_of_descriptors),
        TEST(test_storm),
        cmocka_unit_test(test_addresses),
        TEST(test_unix_stale_and_taken),
        cmocka_unit_test(test_adopt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
