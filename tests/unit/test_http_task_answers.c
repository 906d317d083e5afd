/* HTTP tasks: what comes back.  Statuses, results, Retry-After, answers that are slow, broken, too long or never come,
 * cancels in each phase, connections. */
#include <dirent.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/http_task_fixture.h"

#include "base/clock.h"
#include "executor/http_task.h"
#include "proto/json_in.h"

/* ---- results ---- */

static void expect_result_bytes(const char *answer, size_t len, enum receiver_after after, const char *expected)
{
    struct calls c;
    calls_usual(&c);
    receiver_say_bytes(&c.peer, answer, len, after);
    calls_open(&c, 1);
    struct attempt *attempt = calls_run(&c, "call", "{}");
    if (attempt->end != ATTEMPT_SUCCEEDED)
        fail_msg("%s: %s", answer, outcome_message(attempt));
    assert_string_equal(outcome_result(attempt), expected);
    assert_int_equal(attempt->outcome->http_status, 0);
    assert_int_equal(attempt->retry_after_us, -1);
    attempt_free(attempt);
    calls_close(&c);
}

static void expect_result(const char *answer, enum receiver_after after, const char *expected)
{
    expect_result_bytes(answer, strlen(answer), after, expected);
}

static void test_results(void **state)
{
    (void)state;
    expect_result("HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{ \"a\" : 1.50 }", RECEIVER_KEEP, "{\"a\":1.50}");
    expect_result("HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello", RECEIVER_KEEP, "\"hello\"");
    expect_result("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", RECEIVER_KEEP, "\"\"");
    expect_result("HTTP/1.1 204 No Content\r\n\r\n", RECEIVER_KEEP, "\"\"");
    expect_result("HTTP/1.1 299 Fine\r\nContent-Length: 4\r\n\r\nnull", RECEIVER_KEEP, "null");
    expect_result("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n3\r\n,2]\r\n0\r\n\r\n",
                  RECEIVER_KEEP, "[1,2]");
    expect_result("HTTP/1.0 200 OK\r\n\r\n\"until the end\"", RECEIVER_CLOSE, "\"until the end\"");
    expect_result("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[1,", RECEIVER_KEEP, "\"[1,\"");
    expect_result("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n"
                  "Content-Length: 1\r\n\r\n7",
                  RECEIVER_KEEP, "7");
    expect_result("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na\xff\xc3", RECEIVER_KEEP,
                  "\"a\xef\xbf\xbd\xef\xbf\xbd\"");
    expect_result_bytes("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na\0b", 41, RECEIVER_KEEP,
                        "\"a\xef\xbf\xbd"
                        "b\"");
    expect_result("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n42", RECEIVER_DRIP, "42");
}

/* ---- statuses ---- */

static void expect_status(int status, const char *fields, bool repeated, int64_t pause_us)
{
    struct calls c;
    char answer[512];
    calls_usual(&c);
    snprintf(answer, sizeof answer, "HTTP/1.1 %d Whatever\r\n%sContent-Length: 8\r\n\r\nbecause\n", status, fields);
    receiver_say(&c.peer, answer, RECEIVER_KEEP);
    calls_open(&c, 1);
    struct attempt *attempt = calls_run(&c, "call", "{}");
    if (attempt->end != (repeated ? ATTEMPT_FAILED : ATTEMPT_FAILED_FINAL))
        fail_msg("%d: %s", status, attempt->end == ATTEMPT_FAILED ? "would be repeated" : "would not be repeated");
    assert_int_equal(outcome_error(attempt), ERROR_TYPE_HTTP);
    assert_int_equal(attempt->outcome->http_status, status);
    assert_non_null(strstr(outcome_message(attempt), "because"));
    assert_int_equal(receiver_count(&c.peer), 1);
    if (attempt->retry_after_us != pause_us)
        fail_msg("%d %s: pause %lld", status, fields, (long long)attempt->retry_after_us);
    attempt_free(attempt);
    calls_close(&c);
}

static void test_statuses(void **state)
{
    (void)state;
    static const int repeated[] = {408, 425, 429, 500, 501, 502, 503, 504, 599};
    static const int final[] = {300, 301, 302, 303, 307, 308, 400, 401, 403, 404, 409, 410, 413, 418, 422, 451, 499};
    for (size_t i = 0; i < sizeof repeated / sizeof repeated[0]; i++)
        expect_status(repeated[i], "", true, -1);
    for (size_t i = 0; i < sizeof final / sizeof final[0]; i++)
        expect_status(final[i], "Location: /elsewhere\r\nRetry-After: 5\r\n", false, -1);
}

static void test_retry_after(void **state)
{
    (void)state;
    expect_status(503, "Retry-After: 5\r\n", true, 5000000);
    expect_status(429, "RETRY-AFTER:120 \r\n", true, 120000000);
    expect_status(503, "Retry-After: 0\r\n", true, -1);
    expect_status(503, "Retry-After: soon\r\n", true, -1);
    expect_status(503, "Retry-After: -5\r\n", true, -1);
    expect_status(503, "Retry-After: 99999999999999999999\r\n", true, INT64_C(86400000000));
    expect_status(503, "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n", true, -1);
    expect_status(503, "Retry-After: Fri, 31 Dec 2100 08:49:37 GMT\r\n", true, INT64_C(86400000000));
    expect_status(503, "Retry-Afterwards: 5\r\n", true, -1);
}

static void test_retry_after_values(void **state)
{
    (void)state;
    const int64_t now = INT64_C(784111777) * 1000000; /* Sun, 06 Nov 1994 08:49:37 GMT */
    assert_int_equal(http_retry_after_us("1", now), 1000000);
    assert_int_equal(http_retry_after_us("86399", now), INT64_C(86399000000));
    assert_int_equal(http_retry_after_us("86401", now), INT64_C(86400000000));
    assert_int_equal(http_retry_after_us("Sun, 06 Nov 1994 08:49:47 GMT", now), 10000000);
    assert_int_equal(http_retry_after_us("Sunday, 06-Nov-94 08:49:47 GMT", now), 10000000);
    assert_int_equal(http_retry_after_us("Sun Nov  6 08:49:47 1994", now), 10000000);
    assert_int_equal(http_retry_after_us("Sun, 06 Nov 1994 08:49:37 GMT", now), -1);
    assert_int_equal(http_retry_after_us("Sun, 06 Nov 1994 08:49:27 GMT", now), -1);
    static const char *const none[] = {"", "0", "000", "1.5", "1s", " 1", "+1", "1 2", "Sun, 06 Nov 1994", "GMT"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        if (http_retry_after_us(none[i], now) != -1)
            fail_msg("\"%s\" was understood", none[i]);
}

/* A redirect is not followed, wherever it leads. */
static void test_redirect(void **state)
{
    (void)state;
    struct calls c;
    calls_usual(&c);
    char answer[256];
    snprintf(answer, sizeof answer,
             "HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:%d/other\r\nContent-Length: 0\r\n\r\n", c.peer.port);
    receiver_say(&c.peer, answer, RECEIVER_KEEP);
    calls_open(&c, 1);
    calls_expect(&c, "call", "{}", ATTEMPT_FAILED_FINAL, ERROR_TYPE_HTTP);
    assert_int_equal(receiver_count(&c.peer), 1);
    calls_close(&c);
}

/* ---- no answer, or half of one ---- */

static void expect_no_answer(const char *answer, enum receiver_after after)
{
    struct calls c;
    calls_usual(&c);
    receiver_say(&c.peer, answer, after);
    calls_open(&c, 1);
    struct attempt *attempt = calls_run(&c, "call", "{}");
    if (attempt->end != ATTEMPT_FAILED || outcome_error(attempt) != ERROR_TYPE_HTTP)
        fail_msg("%.40s: %d, %s", answer, (int)attempt->end, outcome_message(attempt));
    assert_int_equal(attempt->outcome->http_status, 0);
    assert_non_null(strstr(outcome_message(attempt), "http://127.0.0.1:"));
    attempt_free(attempt);
    calls_close(&c);
}

static void test_broken_answers(void **state)
{
    (void)state;
    expect_no_answer("", RECEIVER_CLOSE);
    expect_no_answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", RECEIVER_CLOSE);
    expect_no_answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", RECEIVER_CLOSE);
    expect_no_answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nab", RECEIVER_CLOSE);
    expect_no_answer("SSH-2.0-OpenSSH_9.2\r\n", RECEIVER_CLOSE);
    expect_no_answer("<html>no head</html>", RECEIVER_CLOSE);
    expect_no_answer("HTTP/1.1 100 Continue\r\n\r\n", RECEIVER_REPEAT);
}

/* A failure's status counts, whatever becomes of its body. */
static void test_broken_explanation(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        enum receiver_after after;
        enum attempt_end end;
        int status;
    } cases[] = {
        {"HTTP/1.1 404 No\r\nContent-Length: 100\r\n\r\nshort", RECEIVER_CLOSE, ATTEMPT_FAILED_FINAL, 404},
        {"HTTP/1.1 503 No\r\nContent-Length: 100\r\nRetry-After: 3\r\n\r\nshort", RECEIVER_CLOSE, ATTEMPT_FAILED, 503},
        {"HTTP/1.0 500 No\r\n\r\nand so on and so on", RECEIVER_REPEAT, ATTEMPT_FAILED, 500},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct calls c;
        calls_usual(&c);
        receiver_say(&c.peer, cases[i].answer, cases[i].after);
        calls_open(&c, 1);
        struct attempt *attempt = calls_run(&c, "call", "{}");
        assert_int_equal(attempt->end, cases[i].end);
        assert_int_equal(attempt->outcome->http_status, cases[i].status);
        assert_true(strlen(outcome_message(attempt)) < 600);
        attempt_free(attempt);
        calls_close(&c);
    }
}

static void test_nobody_there(void **state)
{
    (void)state;
    struct calls c;
    calls_usual(&c);
    receiver_stop(&c.peer); /* the port is free again: connections are refused */
    calls_open(&c, 1);
    struct attempt *attempt = calls_run(&c, "call", "{}");
    assert_int_equal(attempt->end, ATTEMPT_FAILED);
    assert_int_equal(outcome_error(attempt), ERROR_TYPE_HTTP);
    assert_int_equal(attempt->sent.len, 0); /* nothing went anywhere */
    attempt_free(attempt);
    receiver_start(&c.peer); /* for the end to stop */
    calls_close(&c);
}

static void test_result_limit(void **state)
{
    (void)state;
    static const struct {
        size_t len;
        bool fits;
    } cases[] = {{1022, true}, {1023, true}, {1024, true}, {1025, false}, {300000, false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct calls c;
        calls_usual(&c);
        c.config.max_result = 1024;
        struct buf answer = BUF_INIT;
        buf_printf(&answer, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", cases[i].len);
        for (size_t n = 0; n < cases[i].len; n++) /* a JSON string */
            buf_append_char(&answer, n == 0 || n == cases[i].len - 1 ? '"' : 'x');
        receiver_say(&c.peer, answer.data, RECEIVER_KEEP);
        calls_open(&c, 1);
        calls_expect(&c, "call", "{}", cases[i].fits ? ATTEMPT_SUCCEEDED : ATTEMPT_FAILED_FINAL,
                     cases[i].fits ? ERROR_TYPE_NONE : ERROR_TYPE_LIMIT);
        buf_release(&answer);
        calls_close(&c);
    }
    struct calls c; /* without an end */
    calls_usual(&c);
    receiver_say(&c.peer, "HTTP/1.1 200 OK\r\n\r\nmore and more", RECEIVER_REPEAT);
    calls_open(&c, 1);
    calls_expect(&c, "call", "{}", ATTEMPT_FAILED_FINAL, ERROR_TYPE_LIMIT);
    receiver_wait_gone(&c.peer, 0);
    calls_close(&c);
}

static void test_endless_head(void **state)
{
    (void)state;
    struct calls c;
    calls_usual(&c);
    struct buf answer = BUF_INIT;
    buf_append_str(&answer, "HTTP/1.1 200 OK\r\n");
    for (size_t i = 0; i < 8000; i++)
        buf_printf(&answer, "X-Line-%zu: abcdefghijklmnopqrstuvwxyz0123456789\r\n", i);
    buf_append_str(&answer, "\r\n");
    receiver_say(&c.peer, answer.data, RECEIVER_CLOSE);
    calls_open(&c, 1);
    calls_expect(&c, "call", "{}", ATTEMPT_FAILED, ERROR_TYPE_HTTP);
    buf_release(&answer);
    calls_close(&c);
}

/* ---- cancel ---- */

static void expect_canceled(struct calls *c, struct attempt *running, enum cancel_reason reason, enum attempt_end end,
                            enum error_type error)
{
    int64_t start = clock_mono_ns();
    satchel_cancel_fire(running->cancel, (int)reason);
    struct attempt *attempt = bench_wait(&c->bench, 1);
    int64_t took = clock_mono_ns() - start;
    assert_int_equal(attempt->end, end);
    assert_int_equal(outcome_error(attempt), error);
    if (took > INT64_C(3000000000))
        fail_msg("the cancel took %lld ms", (long long)(took / 1000000));
    attempt_free(attempt);
}

static void test_cancel_while_waiting(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        enum cancel_reason reason;
        enum attempt_end end;
        enum error_type error;
    } cases[] = {
        {"", CANCEL_REQUESTED, ATTEMPT_FAILED_FINAL, ERROR_TYPE_CANCELED},
        {"HTTP/1.1 200 OK\r\nContent-Le", CANCEL_TIMEOUT, ATTEMPT_FAILED, ERROR_TYPE_TIMEOUT},
        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", CANCEL_DEADLINE, ATTEMPT_FAILED_FINAL,
         ERROR_TYPE_DEADLINE},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", CANCEL_SHUTDOWN, ATTEMPT_LOST,
         ERROR_TYPE_LOST},
        {"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nhalf", CANCEL_REQUESTED, ATTEMPT_FAILED_FINAL,
         ERROR_TYPE_CANCELED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct calls c;
        calls_usual(&c);
        receiver_say(&c.peer, cases[i].answer, RECEIVER_HANG);
        receiver_say(&c.peer, OK_EMPTY, RECEIVER_KEEP);
        calls_open(&c, 1);
        struct attempt *attempt = bench_attempt(&c.bench, "call", "{}", "acme");
        bench_push(&c.bench, attempt);
        (void)receiver_request(&c.peer, 0);
        expect_canceled(&c, attempt, cases[i].reason, cases[i].end, cases[i].error);
        receiver_wait_gone(&c.peer, 1); /* the connection is given up, not kept for another task */
        calls_expect(&c, "call", "{}", ATTEMPT_SUCCEEDED, ERROR_TYPE_NONE);
        calls_close(&c);
    }
}

static void test_canceled_before(void **state)
{
    (void)state;
    struct calls c;
    calls_usual(&c);
    calls_open(&c, 1);
    struct attempt *attempt = bench_attempt(&c.bench, "call", "{}", "acme");
    satchel_cancel_fire(attempt->cancel, CANCEL_REQUESTED);
    attempt = bench_run(&c.bench, attempt);
    assert_int_equal(outcome_error(attempt), ERROR_TYPE_CANCELED);
    assert_int_equal(receiver_count(&c.peer), 0);
    attempt_free(attempt);
    calls_close(&c);
}

struct connecting {
    const struct attempt *attempt;
    int port;
};

/* Is a connection to that port under way (SYN_SENT, state 02)? */
static bool syn_is_sent(void *arg)
{
    const struct connecting *on = arg;
    char line[512], remote[32];
    bool found = false;
    FILE *file = fopen("/proc/net/tcp", "r");
    assert_non_null(file);
    snprintf(remote, sizeof remote, "0100007F:%04X 02", (unsigned)on->port);
    while (fgets(line, sizeof line, file))
        found = found || strstr(line, remote);
    fclose(file);
    return found;
}

/* A listener whose queue is full answers nothing: the connection never comes about. */
static void test_cancel_while_connecting(void **state)
{
    (void)state;
    struct calls c;
    calls_init(&c);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fill[4];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    for (size_t i = 0; i < 4; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(fill[i], (struct sockaddr *)&address, len);
    }
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", ntohs(address.sin_port));
    struct config_task *task = calls_add(&c, "call", url, false);
    calls_list(&task->allow, "127.0.0.1");
    calls_open(&c, 1);
    struct attempt *attempt = bench_attempt(&c.bench, "call", "{}", "acme");
    struct connecting on = {attempt, ntohs(address.sin_port)};
    bench_push(&c.bench, attempt);
    assert_true(wait_until(syn_is_sent, &on));
    expect_canceled(&c, attempt, CANCEL_TIMEOUT, ATTEMPT_FAILED, ERROR_TYPE_TIMEOUT);
    calls_close(&c);
    for (size_t i = 0; i < 4; i++)
        close(fill[i]);
    close(listener);
}

static void test_cancel_while_sending(void **state)
{
    (void)state;
    struct calls c;
    calls_init(&c);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* takes the connection and reads nothing */
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(listener, 4), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", ntohs(address.sin_port));
    struct config_task *task = calls_add(&c, "call", url, false);
    calls_list(&task->allow, "127.0.0.1");
    calls_open(&c, 1);
    struct buf args = BUF_INIT;
    buf_append_char(&args, '"');
    for (size_t i = 0; i < 16u << 20; i++)
        buf_append_char(&args, 'x');
    buf_append_char(&args, '"');
    struct attempt *attempt = bench_attempt(&c.bench, "call", args.data, "acme");
    buf_release(&args);
    bench_push(&c.bench, attempt);
    int fd = accept(listener, NULL, NULL);
    char head[5];
    assert_int_equal(recv(fd, head, sizeof head, MSG_WAITALL), 5);
    assert_memory_equal(head, "POST ", 5);
    expect_canceled(&c, attempt, CANCEL_REQUESTED, ATTEMPT_FAILED_FINAL, ERROR_TYPE_CANCELED);
    calls_close(&c);
    close(fd);
    close(listener);
}

/* ---- connections ---- */

static void test_connections_are_kept(void **state)
{
    (void)state;
    struct calls c;
    calls_usual(&c);
    calls_open(&c, 1);
    for (size_t i = 0; i < 10; i++)
        calls_expect(&c, "call", "{}", ATTEMPT_SUCCEEDED, ERROR_TYPE_NONE);
    assert_int_equal(receiver_count(&c.peer), 10);
    assert_int_equal(receiver_connections(&c.peer), 1);
    calls_close(&c);
}

/* What one task type may call does not open the way for another one. */
static void test_connections_are_not_shared(void **state)
{
    (void)state;
    struct calls c;
    calls_usual(&c);
    (void)calls_add(&c, "other", "http://127.0.0.1:%d/hook", false);
    calls_open(&c, 1);
    calls_expect(&c, "call", "{}", ATTEMPT_SUCCEEDED, ERROR_TYPE_NONE);
    calls_expect(&c, "other", "{}", ATTEMPT_FAILED_FINAL, ERROR_TYPE_HTTP);
    calls_expect(&c, "call", "{}", ATTEMPT_SUCCEEDED, ERROR_TYPE_NONE);
    assert_int_equal(receiver_count(&c.peer), 2);
    assert_int_equal(receiver_connections(&c.peer), 1);
    calls_close(&c);
}

/* One that the peer has closed meanwhile is replaced without a failure. */
static void test_stale_connection(void **state)
{
    (void)state;
    struct calls c;
    calls_usual(&c);
    receiver_say(&c.peer, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", RECEIVER_CLOSE);
    calls_open(&c, 1);
    for (size_t i = 0; i < 5; i++)
        calls_expect(&c, "call", "{}", ATTEMPT_SUCCEEDED, ERROR_TYPE_NONE);
    assert_int_equal(receiver_count(&c.peer), 5);
    calls_close(&c);
}

static size_t open_descriptors(void)
{
    size_t n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* More task types than a thread keeps connections for, and threads that end: nothing stays open. */
static void test_descriptors(void **state)
{
    (void)state;
    size_t before = open_descriptors();
    struct calls c;
    calls_init(&c);
    static const char *const names[TASKS_MAX] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    for (size_t i = 0; i < TASKS_MAX; i++)
        calls_list(&calls_add(&c, names[i], "http://127.0.0.1:%d/hook", false)->allow, "127.0.0.1");
    calls_open(&c, 1);
    size_t high = 0;
    for (size_t round = 0; round < 6; round++) {
        for (size_t i = 0; i < TASKS_MAX; i++)
            calls_expect(&c, names[i], "{}", ATTEMPT_SUCCEEDED, ERROR_TYPE_NONE);
        size_t now = open_descriptors();
        if (round > 1 && now > high)
            fail_msg("%zu descriptors after %zu rounds, %zu before", now, round, high);
        high = now > high ? now : high;
    }
    calls_close(&c);
    assert_int_equal(open_descriptors(), before);
}

static void test_many_at_once(void **state)
{
    (void)state;
    enum { N = 100 };
    struct calls c;
    calls_usual(&c);
    receiver_say(&c.peer, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1", RECEIVER_KEEP);
    calls_open(&c, 8);
    for (size_t i = 0; i < N; i++) {
        char tenant[16];
        snprintf(tenant, sizeof tenant, "t%zu", i);
        bench_push(&c.bench, bench_attempt(&c.bench, "call", "{}", tenant));
    }
    for (struct attempt *attempt = bench_wait(&c.bench, N), *next; attempt; attempt = next) {
        next = (struct attempt *)attempt->mail.next;
        assert_int_equal(attempt->end, ATTEMPT_SUCCEEDED);
        attempt_free(attempt);
    }
    bool seen[N] = {false}; /* each tenant once, and with its own request id */
    for (size_t i = 0; i < N; i++) {
        char *tenant = request_line(receiver_request(&c.peer, i), "X-Tenant-ID"), expected[64];
        char *request = request_line(receiver_request(&c.peer, i), "X-Request-ID");
        size_t number = strtoul(tenant + 1, NULL, 10);
        snprintf(expected, sizeof expected, "request-of-%s", tenant);
        assert_string_equal(request, expected);
        assert_true(number < N && !seen[number]);
        seen[number] = true;
        free(tenant);
        free(request);
    }
    calls_close(&c);
}

int main(void)
{
    json_in_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_results),
        cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_retry_after_values),
        cmocka_unit_test(test_redirect),
        cmocka_unit_test(test_broken_answers),
        cmocka_unit_test(test_broken_explanation),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_result_limit),
        cmocka_unit_test(test_endless_head),
        cmocka_unit_test(test_cancel_while_waiting),
        cmocka_unit_test(test_canceled_before),
        cmocka_unit_test(test_cancel_while_connecting),
        cmocka_unit_test(test_cancel_while_sending),
        cmocka_unit_test(test_connections_are_kept),
        cmocka_unit_test(test_connections_are_not_shared),
        cmocka_unit_test(test_stale_connection),
        cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_many_at_once),
    };
    return cmocka_run_group_tests_name("HTTP tasks: answers", tests, NULL, NULL);
}
