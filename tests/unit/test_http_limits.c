/* Limits at and one beyond the bound, and deadlines (short ones; what happens, not when to the millisecond). */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "http_fixture.h"

static struct fixture fixture;

static void begin(struct http_limits limits)
{
    fixture_start(&fixture, 1, limits);
}

static void append_many(struct buf *text, char c, size_t n)
{
    while (n--)
        buf_append_char(text, c);
}

/* Sends it at once and byte by byte; each time the first answer has this status. */
static void expect_status(const struct buf *text, int status)
{
    for (int bytewise = 0; bytewise < 2; bytewise++) {
        int fd = client_connect(&fixture);
        if (bytewise)
            client_send_bytewise(fd, text->data, text->len);
        else
            client_send(fd, text->data, text->len);
        struct buf answer = BUF_INIT;
        assert_true(client_read_all(fd, &answer, WAIT_MS));
        assert_non_null(answer.data);
        if (atoi(answer.data + 9) != status)
            fail_msg("status %d expected: %s", status, answer.data);
        buf_release(&answer);
        close(fd);
    }
}

static void test_target(void **state)
{
    (void)state;
    struct http_limits limits = fixture_limits();
    limits.target = 300;
    begin(limits);
    for (size_t over = 0; over < 2; over++) {
        struct buf text = BUF_INIT;
        buf_append_str(&text, "GET /");
        append_many(&text, 'a', 299 + over);
        buf_append_str(&text, " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        expect_status(&text, over ? 414 : 200);
        buf_release(&text);
    }
    struct buf endless = BUF_INIT;
    buf_append_str(&endless, "GET /");
    append_many(&endless, 'a', 301);
    expect_status(&endless, 414); /* the end of the line is not waited for */
    buf_release(&endless);
    fixture_stop(&fixture);
}

static void test_header_line(void **state)
{
    (void)state;
    struct http_limits limits = fixture_limits();
    limits.header_line = 200;
    begin(limits);
    for (size_t over = 0; over < 2; over++) {
        struct buf text = BUF_INIT;
        buf_append_str(&text, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX: ");
        append_many(&text, 'a', 197 + over);
        buf_append_str(&text, "\r\n\r\n");
        expect_status(&text, over ? 431 : 200);
        buf_release(&text);
    }
    struct buf endless = BUF_INIT;
    buf_append_str(&endless, "GET / HTTP/1.1\r\nX: ");
    append_many(&endless, 'a', 200);
    expect_status(&endless, 431);
    buf_release(&endless);
    fixture_stop(&fixture);
}

static void test_header_bytes(void **state)
{
    (void)state;
    struct http_limits limits = fixture_limits();
    limits.header_bytes = 1000;
    begin(limits);
    for (size_t over = 0; over < 2; over++) {
        struct buf text = BUF_INIT;
        buf_append_str(&text, "GET / HTTP/1.1\r\n");
        size_t at = text.len;
        buf_append_str(&text, "Host: h\r\nConnection: close\r\n");
        while (text.len - at < 900)
            buf_append_str(&text, "X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n");
        buf_append_str(&text, "Y: ");
        append_many(&text, 'a', 1000 + over - 2 - (text.len - at));
        buf_append_str(&text, "\r\n\r\n");
        expect_status(&text, over ? 431 : 200);
        buf_release(&text);
    }
    fixture_stop(&fixture);
}

static void test_header_count(void **state)
{
    (void)state;
    struct http_limits limits = fixture_limits();
    limits.header_count = 20;
    begin(limits);
    for (size_t over = 0; over < 2; over++) {
        struct buf text = BUF_INIT;
        buf_append_str(&text, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n");
        for (size_t i = 0; i < 18 + over; i++)
            buf_append_str(&text, "X: a\r\n");
        buf_append_str(&text, "\r\n");
        expect_status(&text, over ? 431 : 200);
        buf_release(&text);
    }
    fixture_stop(&fixture);
}

static void test_trailers(void **state)
{
    (void)state;
    struct http_limits limits = fixture_limits();
    limits.header_count = 10;
    limits.header_line = 100;
    limits.header_bytes = 600;
    begin(limits);
    static const char head[] =
        "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
    for (size_t over = 0; over < 2; over++) {
        struct buf count = BUF_INIT, line = BUF_INIT;
        buf_append_str(&count, head);
        for (size_t i = 0; i < 10 + over; i++)
            buf_append_str(&count, "X: a\r\n");
        buf_append_str(&count, "\r\n");
        expect_status(&count, over ? 431 : 200);
        buf_append_str(&line, head);
        buf_append_str(&line, "X:");
        append_many(&line, 'a', 98 + over);
        buf_append_str(&line, "\r\n\r\n");
        expect_status(&line, over ? 431 : 200);
        buf_release(&count);
        buf_release(&line);
    }
    struct buf bytes = BUF_INIT;
    buf_append_str(&bytes, head);
    for (int i = 0; i < 9; i++) {
        buf_append_str(&bytes, "X:");
        append_many(&bytes, 'a', 90);
        buf_append_str(&bytes, "\r\n");
    }
    expect_status(&bytes, 431);
    buf_release(&bytes);
    fixture_stop(&fixture);
}

static void test_chunk_extensions(void **state)
{
    (void)state;
    begin(fixture_limits());
    struct buf text = BUF_INIT;
    buf_append_str(&text, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;");
    append_many(&text, 'a', 2000);
    expect_status(&text, 400);
    buf_reset(&text);
    buf_append_str(&text, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 100; i++) { /* each within its bound, all together not */
        buf_append_str(&text, "1;");
        append_many(&text, 'a', 500);
        buf_append_str(&text, "\r\nx\r\n");
    }
    expect_status(&text, 400);
    buf_release(&text);
    fixture_stop(&fixture);
}

/* Feeds `piece` again and again; the milliseconds until the server ends the connection, and what it said. */
static int64_t trickle(int fd, const char *piece, struct buf *answer)
{
    int64_t start = clock_mono_ns();
    for (;;) {
        client_send_text(fd, piece);
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        if (poll(&wait, 1, 20) > 0 && client_read_all(fd, answer, WAIT_MS))
            return (clock_mono_ns() - start) / 1000000;
        if (clock_mono_ns() - start > WAIT_MS * 1000000LL)
            fail_msg("the server lets itself be kept waiting");
    }
}

static void test_head_deadline(void **state)
{
    (void)state;
    struct http_limits limits = fixture_limits();
    limits.header_us = 400000;
    begin(limits);
    int fd = client_connect(&fixture);
    struct buf answer = BUF_INIT;
    client_send_text(fd, "GET / HTTP/1.1\r\nHost: h\r\nX: ");
    assert_in_range(trickle(fd, "a", &answer), 350, 5000);
    assert_non_null(answer.data);
    assert_int_equal(atoi(answer.data + 9), 408);
    assert_non_null(strstr(answer.data, "Connection: close\r\n"));
    close(fd);
    struct http_stats stats;
    http_server_stats(fixture.server, &stats);
    assert_int_equal(stats.timeouts, 1);
    buf_release(&answer);
    fixture_stop(&fixture);
}

/* The empty line that old clients send after a body is not the start of a request that then is late. */
static void test_empty_line_starts_no_clock(void **state)
{
    (void)state;
    struct http_limits limits = fixture_limits();
    limits.header_us = 200000;
    begin(limits);
    int fd = client_connect(&fixture);
    client_send_text(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi\r\n");
    assert_int_equal(client_response(fd, NULL), 200);
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 700), 0);
    client_send_text(fd, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(client_response(fd, NULL), 200);
    close(fd);
    fixture_stop(&fixture);
}

static void test_body_rate(void **state)
{
    (void)state;
    struct http_limits limits = fixture_limits();
    limits.body_rate = 100000;
    limits.body_grace_us = 300000;
    begin(limits);
    static const char *const paths[] = {"/echo", "/in"};
    for (unsigned i = 0; i < 2; i++) {
        int fd = client_connect(&fixture);
        char head[128];
        snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: 500000\r\n\r\n", paths[i]);
        struct buf answer = BUF_INIT;
        client_send_text(fd, head);
        assert_in_range(trickle(fd, "a", &answer), 250, 5000);
        assert_non_null(answer.data);
        assert_int_equal(atoi(answer.data + 9), 408);
        wait_for(&fixture.gone, i + 1); /* the application has seen the head: it is told */
        buf_release(&answer);
        close(fd);
    }
    fixture_stop(&fixture);
}

static void test_idle(void **state)
{
    (void)state;
    struct http_limits limits = fixture_limits();
    limits.idle_us = 300000;
    begin(limits);
    int fresh = client_connect(&fixture), used = client_connect(&fixture), held = client_connect(&fixture);
    client_send_text(used, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(client_response(used, NULL), 200);
    client_send_text(held, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    struct http_ref ref = fixture_wait_held(&fixture, 0);
    struct buf rest = BUF_INIT;
    assert_true(client_read_all(fresh, &rest, WAIT_MS));
    assert_true(client_read_all(used, &rest, WAIT_MS));
    assert_int_equal(rest.len, 0);               /* silently */
    fixture_answer(&fixture, ref, "still here"); /* waiting for an answer is not idle */
    assert_int_equal(client_response(held, &rest), 200);
    buf_release(&rest);
    close(fresh);
    close(used);
    close(held);
    fixture_stop(&fixture);
}

static void test_write_stall(void **state)
{
    (void)state;
    struct http_limits limits = fixture_limits();
    limits.write_stall_us = 300000;
    begin(limits);
    int fd = client_connect(&fixture);
    client_send_text(fd, "GET /out?50000000 HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_for(&fixture.gone, 1); /* nobody reads */
    struct http_stats stats;
    http_server_stats(fixture.server, &stats);
    assert_int_equal(stats.timeouts, 1);
    close(fd);
    fixture_stop(&fixture);
}

static void expect_refused(int fd)
{
    struct buf answer = BUF_INIT;
    assert_true(client_read_all(fd, &answer, WAIT_MS));
    assert_non_null(answer.data);
    assert_int_equal(atoi(answer.data + 9), 503);
    assert_non_null(strstr(answer.data, "Retry-After: "));
    assert_non_null(strstr(answer.data, "Connection: close\r\n"));
    buf_release(&answer);
    close(fd);
}

static void expect_served(int fd)
{
    client_send_text(fd, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(client_response(fd, NULL), 200);
}

static void wait_for_connections(uint64_t n)
{
    struct http_stats stats;
    for (int i = 0; i < WAIT_MS; i++, poll(NULL, 0, 1)) {
        http_server_stats(fixture.server, &stats);
        if (stats.connections == n)
            return;
    }
    fail_msg("the connections do not go");
}

static void test_connections(void **state)
{
    (void)state;
    struct http_limits limits = fixture_limits();
    limits.connections = 3;
    begin(limits);
    int fds[3];
    for (int i = 0; i < 3; i++)
        expect_served(fds[i] = client_connect(&fixture));
    expect_refused(client_connect(&fixture));
    expect_refused(client_connect_unix(&fixture));
    close(fds[1]);
    wait_for_connections(2);
    expect_served(fds[1] = client_connect(&fixture));
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    struct http_stats stats;
    http_server_stats(fixture.server, &stats);
    assert_int_equal(stats.refused, 2);
    fixture_stop(&fixture);
}

static void test_connections_per_source(void **state)
{
    (void)state;
    struct http_limits limits = fixture_limits();
    limits.connections_per_source = 2;
    begin(limits);
    int tcp[2], local[2];
    for (int i = 0; i < 2; i++) {
        expect_served(tcp[i] = client_connect(&fixture));
        expect_served(local[i] = client_connect_unix(&fixture)); /* a uid is another source */
    }
    expect_refused(client_connect(&fixture));
    expect_refused(client_connect_unix(&fixture));
    close(tcp[0]);
    wait_for_connections(3);
    expect_served(tcp[0] = client_connect(&fixture));
    for (int i = 0; i < 2; i++) {
        close(tcp[i]);
        close(local[i]);
    }
    fixture_stop(&fixture);
}

/* Many refused at once, none of whom goes away: all end. */
static void test_refusals_are_bounded(void **state)
{
    (void)state;
    struct http_limits limits = fixture_limits();
    limits.connections = 1;
    begin(limits);
    int first = client_connect(&fixture), fds[200];
    expect_served(first);
    for (int i = 0; i < 200; i++)
        fds[i] = client_connect(&fixture);
    for (int i = 0; i < 200; i++) {
        struct buf answer = BUF_INIT;
        assert_true(client_read_all(fds[i], &answer, WAIT_MS));
        buf_release(&answer);
    }
    wait_for_connections(1); /* the server closes them by itself */
    for (int i = 0; i < 200; i++)
        close(fds[i]);
    expect_served(first);
    close(first);
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_target),
        cmocka_unit_test(test_header_line),
        cmocka_unit_test(test_header_bytes),
        cmocka_unit_test(test_header_count),
        cmocka_unit_test(test_trailers),
        cmocka_unit_test(test_chunk_extensions),
        cmocka_unit_test(test_head_deadline),
        cmocka_unit_test(test_empty_line_starts_no_clock),
        cmocka_unit_test(test_body_rate),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_write_stall),
        cmocka_unit_test(test_connections),
        cmocka_unit_test(test_connections_per_source),
        cmocka_unit_test(test_refusals_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
