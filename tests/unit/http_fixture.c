#include "http_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- the application ---- */

static void reply_text(struct http_exchange *exchange, int status, const char *text)
{
    struct http_reply reply = {.status = status, .content_type = "text/plain", .body = slice_str(text)};
    http_reply(exchange, &reply);
}

static bool path_is(struct http_exchange *exchange, const char *path)
{
    return slice_eq_str(http_request(exchange)->path, path);
}

static void note(struct fixture *f, struct http_exchange *exchange)
{
    const struct http_request *request = http_request(exchange);
    pthread_mutex_lock(&f->lock);
    size_t at = strlen(f->ran);
    snprintf(f->ran + at, sizeof f->ran - at, "%.*s %.*s;", (int)request->method_text.len, request->method_text.data,
             (int)request->path.len, request->path.data);
    pthread_mutex_unlock(&f->lock);
}

static enum http_body_mode on_head(void *arg, struct http_exchange *exchange, size_t *ret_max_body)
{
    struct fixture *f = arg;
    atomic_fetch_add(&f->heads, 1);
    note(f, exchange);
    *ret_max_body = path_is(exchange, "/tiny") ? 10 : 1024 * 1024;
    if (path_is(exchange, "/refuse"))
        reply_text(exchange, 404, "no");
    if (!path_is(exchange, "/in"))
        return HTTP_BODY_WHOLE;
    *ret_max_body = SIZE_MAX;
    http_set_data(exchange, f);
    return HTTP_BODY_STREAM;
}

struct out { /* a streamed reply under way */
    size_t left;
    bool begun;
};

static void write_out(void *arg, struct http_exchange *exchange)
{
    struct fixture *f = arg;
    struct out *out = http_data(exchange);
    char piece[16384];
    memset(piece, 'x', sizeof piece);
    while (out->left) {
        size_t n = out->left < sizeof piece ? out->left : sizeof piece;
        out->left -= n;
        size_t pending = http_stream_write(exchange, slice_of(piece, n));
        if (pending > atomic_load(&f->out_peak))
            atomic_store(&f->out_peak, pending);
        if (pending > HTTP_STREAM_HIGH) {
            atomic_fetch_add(&f->drains, 1);
            return;
        }
    }
    free(out);
    http_set_data(exchange, NULL);
    http_stream_end(exchange);
    atomic_fetch_add(&f->out_done, 1);
}

static void begin_out(struct fixture *f, struct http_exchange *exchange)
{
    struct out *out = calloc(1, sizeof *out);
    assert_non_null(out);
    out->left = strtoul(http_request(exchange)->query.data, NULL, 10);
    struct http_reply reply = {.status = 200, .content_type = "text/plain"};
    http_stream_begin(exchange, &reply);
    http_stream_on_drained(exchange, write_out);
    http_set_data(exchange, out);
    write_out(f, exchange);
}

static void hold(struct fixture *f, struct http_exchange *exchange)
{
    pthread_mutex_lock(&f->lock);
    f->held[f->n_held++ % HELD_MAX] = http_ref(exchange);
    pthread_mutex_unlock(&f->lock);
}

static void on_request(void *arg, struct http_exchange *exchange)
{
    struct fixture *f = arg;
    const struct http_request *request = http_request(exchange);
    if (path_is(exchange, "/hold")) {
        hold(f, exchange);
    } else if (path_is(exchange, "/echo")) {
        struct http_reply reply = {.status = 200, .content_type = "text/plain", .body = request->body};
        http_reply(exchange, &reply);
    } else if (path_is(exchange, "/out")) {
        begin_out(f, exchange);
    } else if (path_is(exchange, "/close")) {
        struct http_reply reply = {.status = 200, .close = true};
        http_reply(exchange, &reply);
    } else if (path_is(exchange, "/problem")) {
        struct problem problem = {0};
        problem_set(&problem, PROBLEM_QUOTA_EXCEEDED, "too much");
        problem.retry_after_s = 7;
        http_reply_problem(exchange, &problem, NULL, 0);
    } else if (path_is(exchange, "/bad-field")) {
        struct http_field fields[] = {{SLICE_LITERAL("X-Bad"), SLICE_LITERAL("a\r\nX-Split: 1")},
                                      {SLICE_LITERAL("X Bad"), SLICE_LITERAL("a")},
                                      {SLICE_LITERAL("X-Good"), SLICE_LITERAL("b")}};
        struct http_reply reply = {.status = 204, .fields = fields, .n_fields = 3};
        http_reply(exchange, &reply);
    } else {
        char text[1024];
        snprintf(text, sizeof text, "%.*s %.*s?%.*s fields=%zu body=%zu", (int)request->method_text.len,
                 request->method_text.data, (int)request->path.len, request->path.data, (int)request->query.len,
                 request->query.len ? request->query.data : "", request->n_fields, request->body.len);
        reply_text(exchange, 200, text);
    }
    atomic_fetch_add(&f->requests, 1);
}

struct resume_mail {
    struct loop_mail mail;
    struct http_ref ref;
};

static void run_resume(struct loop_mail *mail)
{
    struct resume_mail *resume = (struct resume_mail *)mail;
    struct http_exchange *exchange = http_find_exchange(resume->ref);
    if (exchange)
        http_resume(exchange);
    free(resume);
}

static bool on_body(void *arg, struct http_exchange *exchange, struct slice piece, bool end)
{
    struct fixture *f = arg;
    atomic_fetch_add(&f->in_bytes, piece.len);
    if (end) {
        char text[64];
        snprintf(text, sizeof text, "got %zu", atomic_load(&f->in_bytes));
        reply_text(exchange, 200, text);
        atomic_fetch_add(&f->in_ends, 1);
        return true;
    }
    atomic_fetch_add(&f->pieces, 1);
    if (!http_request(exchange)->query.len)
        return true;
    if (slice_eq_str(http_request(exchange)->query, "hold")) {
        hold(f, exchange);
        return false;
    }
    struct resume_mail *resume = calloc(1, sizeof *resume);
    assert_non_null(resume);
    resume->mail.run = run_resume;
    resume->ref = http_ref(exchange);
    loop_post(resume->ref.loop, &resume->mail);
    return false;
}

static void on_gone(void *arg, struct http_exchange *exchange)
{
    struct fixture *f = arg;
    if (path_is(exchange, "/out"))
        free(http_data(exchange));
    reply_text(exchange, 200, "nobody reads this"); /* must do nothing */
    atomic_fetch_add(&f->gone, 1);
}

static void encode(void *arg, const struct problem *problem, struct buf *out)
{
    (void)arg;
    problem_to_json(problem, out);
}

/* Shows which request the server means: the value of its X-Echo. */
static size_t problem_fields(void *arg, const struct http_request *request, struct http_field *fields, size_t max)
{
    (void)arg;
    assert_true(max >= 1);
    struct slice value = request ? http_find(request, "X-Echo", NULL) : SLICE_LITERAL("no request");
    fields[0] = (struct http_field){SLICE_LITERAL("X-Echo"), value};
    return 1;
}

/* ---- life ---- */

struct http_limits fixture_limits(void)
{
    return (struct http_limits){.header_bytes = 64 * 1024,
                                .header_line = 16 * 1024,
                                .header_count = 128,
                                .target = 8 * 1024,
                                .header_us = 10000000,
                                .body_rate = 1024,
                                .idle_us = 75000000,
                                .write_stall_us = 30000000,
                                .connections = 10000,
                                .connections_per_source = 1000};
}

void fixture_start(struct fixture *f, unsigned loops, struct http_limits limits)
{
    memset(f, 0, sizeof *f);
    f->app = (struct http_app){f, on_head, on_request, on_body, on_gone, encode, problem_fields};
    assert_int_equal(pthread_mutex_init(&f->lock, NULL), 0);
    struct http_server_options options = {.loops = loops, .limits = limits, .app = &f->app, .server_name = "test"};
    assert_int_equal(http_server_new(&options, &f->server), 0);
    char error[256] = "", address[80];
    strcpy(f->dir, "/tmp/http-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->unix_path, sizeof f->unix_path, "%s/s", f->dir);
    snprintf(address, sizeof address, "unix:%s", f->unix_path);
    if (http_server_listen(f->server, "127.0.0.1:0", error, sizeof error) < 0 ||
        http_server_listen(f->server, address, error, sizeof error) < 0)
        fail_msg("%s", error);
    f->port = atoi(strrchr(http_server_address(f->server, 0), ':') + 1);
    assert_int_equal(http_server_start(f->server), 0);
}

void fixture_stop(struct fixture *f)
{
    http_server_stop(f->server);
    http_server_free(f->server);
    assert_int_equal(access(f->unix_path, F_OK), -1);
    assert_int_equal(rmdir(f->dir), 0);
    pthread_mutex_destroy(&f->lock);
}

static void nap(void)
{
    struct timespec t = {.tv_nsec = 2000000};
    nanosleep(&t, NULL);
}

void wait_for(atomic_uint *counter, unsigned value)
{
    for (int i = 0; i < WAIT_MS / 2; i++) {
        if (atomic_load(counter) >= value)
            return;
        nap();
    }
    fail_msg("waited in vain for %u (is %u)", value, atomic_load(counter));
}

struct http_ref fixture_wait_held(struct fixture *f, unsigned index)
{
    struct http_ref ref = {0};
    for (int i = 0; i < WAIT_MS / 2 && !ref.loop; i++) {
        pthread_mutex_lock(&f->lock);
        if (f->n_held > index)
            ref = f->held[index % HELD_MAX];
        pthread_mutex_unlock(&f->lock);
        if (!ref.loop)
            nap();
    }
    assert_non_null(ref.loop);
    return ref;
}

struct answer {
    struct loop_mail mail;
    struct fixture *f;
    struct http_ref ref;
    char body[64];
};

static void run_answer(struct loop_mail *mail)
{
    struct answer *answer = (struct answer *)mail;
    struct http_exchange *exchange = http_find_exchange(answer->ref);
    if (exchange && answer->body[0])
        reply_text(exchange, 200, answer->body);
    else if (exchange)
        http_resume(exchange);
    atomic_fetch_add(exchange ? &answer->f->found : &answer->f->lost, 1);
    free(answer);
}

void fixture_answer(struct fixture *f, struct http_ref ref, const char *body)
{
    struct answer *answer = calloc(1, sizeof *answer);
    assert_non_null(answer);
    answer->mail.run = run_answer;
    answer->f = f;
    answer->ref = ref;
    snprintf(answer->body, sizeof answer->body, "%s", body);
    loop_post(ref.loop, &answer->mail);
}

/* ---- the client ---- */

int client_connect(const struct fixture *f)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)f->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (const struct sockaddr *)&in, sizeof in), 0);
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

int client_connect_unix(const struct fixture *f)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(un.sun_path, sizeof un.sun_path, "%s", f->unix_path);
    assert_int_equal(connect(fd, (const struct sockaddr *)&un, sizeof un), 0);
    return fd;
}

void client_send(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        data += n;
        len -= (size_t)n;
    }
}

void client_send_text(int fd, const char *text)
{
    client_send(fd, text, strlen(text));
}

void client_send_bytewise(int fd, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        client_send(fd, data + i, 1);
}

static bool readable(int fd, int timeout_ms)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    return poll(&wait, 1, timeout_ms) > 0;
}

bool client_read_all(int fd, struct buf *out, int timeout_ms)
{
    char piece[65536];
    while (readable(fd, timeout_ms)) {
        ssize_t n = recv(fd, piece, sizeof piece, 0);
        if (n <= 0)
            return true;
        buf_append(out, piece, (size_t)n);
    }
    return false;
}

/* The length of the body that `head` (NUL-terminated, with its empty line) announces. */
static size_t body_length(const char *head)
{
    const char *end = strstr(head, "\r\n\r\n");
    const char *length = strcasestr(head, "\r\nContent-Length:");
    return length && length < end ? strtoul(length + 17, NULL, 10) : 0;
}

int client_response(int fd, struct buf *body)
{
    char head[16384];
    size_t len = 0;
    while (len < 4 || memcmp(head + len - 4, "\r\n\r\n", 4) != 0) {
        assert_true(len + 1 < sizeof head);
        if (!readable(fd, WAIT_MS))
            fail_msg("no response");
        if (recv(fd, head + len, 1, 0) <= 0)
            return -1;
        len++;
    }
    head[len] = '\0';
    int status = atoi(head + 9);
    for (size_t left = status == 100 ? 0 : body_length(head); left;) {
        char piece[65536];
        assert_true(readable(fd, WAIT_MS));
        ssize_t n = recv(fd, piece, left < sizeof piece ? left : sizeof piece, 0);
        assert_true(n > 0);
        left -= (size_t)n;
        if (body)
            buf_append(body, piece, (size_t)n);
    }
    return status;
}

void statuses_of(const struct buf *text, bool head_only, char *out, size_t out_size)
{
    const char *at = text->data ? text->data : "";
    out[0] = '\0';
    while (strncmp(at, "HTTP/1.1 ", 9) == 0) {
        int status = atoi(at + 9);
        snprintf(out + strlen(out), out_size - strlen(out), "%s%d", *out ? " " : "", status);
        const char *end = strstr(at, "\r\n\r\n");
        assert_non_null(end);
        size_t length = status == 100 || head_only ? 0 : body_length(at);
        head_only = false;
        at = end + 4 + length;
        assert_true(at <= text->data + text->len);
    }
    if (*at)
        snprintf(out + strlen(out), out_size - strlen(out), " rubbish");
}
