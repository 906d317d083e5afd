/* Requests that wait for a task's end: on submission, on reading, on its result; who else waits; who goes away. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "tests/support/ask.h"

#define LONG "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":600}}"
#define SOON_MS (SANITIZED ? 20000 : 5000) /* "at once" on a busy machine */

static struct satcheld d;

static int start(void **state)
{
    (void)state;
    satcheld_init(&d, "workers = 8\ndrain = \"100ms\"\n");
    satcheld_start(&d);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    satcheld_stop(&d);
    satcheld_release(&d);
    return 0;
}

static json_t *start_long(void)
{
    json_t *task = submit(&d, NULL, LONG, 202);
    json_decref(await_state(&d, NULL, text_of(task, "id"), "running"));
    return task;
}

static void end_long(json_t *task)
{
    json_t *canceled = act(&d, NULL, text_of(task, "id"), "cancel", 200);
    expect_state(canceled, "canceled");
    json_decref(canceled);
    json_decref(task);
}

static const char *target_of(const json_t *task, const char *rest)
{
    static char target[256];
    (void)snprintf(target, sizeof target, "/v1/tasks/%s%s", text_of(task, "id"), rest);
    return target;
}

/* The milliseconds that the answer took. */
static long long timed(struct answer *answer, const char *target, const char *headers)
{
    long long began = mono_ms();
    ask(&d, answer, "GET", target, headers, NULL);
    return mono_ms() - began;
}

static void expect_answer(const struct answer *answer, int status, const char *state)
{
    if (answer->status != status)
        fail_msg("status %d, not %d: %s", answer->status, status, answer->body);
    json_t *task = answer_json(answer);
    expect_state(task, state);
    json_decref(task);
}

static void expect_applied(const struct answer *answer, const char *expected)
{
    char *applied = answer_header(answer, "Preference-Applied");
    if (expected) {
        assert_non_null(applied);
        assert_string_equal(applied, expected);
    } else {
        assert_null(applied);
    }
    free(applied);
}

/* ---- submissions ---- */

static void submission(void **state)
{
    (void)state;
    struct answer answer = {0};
    long long began = mono_ms();
    ask(&d, &answer, "POST", "/v1/tasks", JSON_TYPE "Prefer: wait=50\r\n",
        "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.3}}");
    assert_true(mono_ms() - began >= 300);
    expect_answer(&answer, 200, "succeeded");
    expect_applied(&answer, "wait=50");
    began = mono_ms();
    ask(&d, &answer, "POST", "/v1/tasks", JSON_TYPE "Prefer: wait=1\r\n", LONG);
    assert_true(mono_ms() - began >= 1000 && mono_ms() - began < 1000 + SOON_MS);
    expect_answer(&answer, 202, "running");
    expect_applied(&answer, NULL);
    char *location = answer_header(&answer, "Location"), *retry = answer_header(&answer, "Retry-After");
    assert_non_null(location);
    assert_non_null(retry);
    end_long(answer_json(&answer));
    free(location);
    free(retry);
    answer_release(&answer);
}

/* What ends badly has ended, too. */
static void every_end(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{\"task\":\"satchel.fail\",\"args\":{\"message\":\"no\"}}", "failed"},
        {"{\"task\":\"satchel.noop\",\"delay\":\"1h\",\"expires_in\":\"200ms\"}", "expired"},
        {"{\"task\":\"satchel.noop\",\"delay\":\"200ms\"}", "succeeded"},
        {"{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":600},\"timeout\":\"200ms\"}", "failed"},
        {"{\"task\":\"satchel.fail\",\"args\":{\"times\":2,\"message\":\"n\"},\"max_attempts\":3,"
         "\"backoff\":{\"type\":\"fixed\",\"base\":\"100ms\",\"jitter\":false}}",
         "succeeded"},
    };
    struct answer answer = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ask(&d, &answer, "POST", "/v1/tasks", JSON_TYPE "Prefer: wait=50\r\n", cases[i][0]);
        expect_answer(&answer, 200, cases[i][1]);
        expect_applied(&answer, "wait=50");
    }
    answer_release(&answer);
}

/* How it may be written; what is no wait is ignored, as RFC 7240 wants. */
static void preferences(void **state)
{
    (void)state;
    static const struct {
        const char *headers;
        bool waits;
    } cases[] = {
        {"Prefer: wait=20\r\n", true},
        {"prefer: WAIT=20\r\n", true},
        {"Prefer: wait = 20\r\n", true},
        {"Prefer: foo; bar=1, wait=20; x=y\r\n", true},
        {"Prefer: foo\r\nPrefer: wait=20\r\n", true},
        {"Prefer: wait=\"20\"\r\n", true},
        {"Prefer: wait=20, wait=0\r\n", true}, /* the first counts */
        {"Prefer: wait=0, wait=20\r\n", false},
        {"Prefer: wait\r\n", false},
        {"Prefer: wait=\r\n", false},
        {"Prefer: wait=-5\r\n", false},
        {"Prefer: wait=x\r\n", false},
        {"Prefer: waits=20\r\n", false},
        {"Prefer: \r\n", false},
        {"Prefer: \"wait=20\"\r\n", false},
    };
    struct answer answer = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char headers[256];
        (void)snprintf(headers, sizeof headers, JSON_TYPE "%s", cases[i].headers);
        ask(&d, &answer, "POST", "/v1/tasks", headers, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.15}}");
        if (answer.status != (cases[i].waits ? 200 : 202))
            fail_msg("%s: status %d", cases[i].headers, answer.status);
        expect_applied(&answer, cases[i].waits ? "wait=20" : NULL);
    }
    answer_release(&answer);
}

/* ---- reading ---- */

static void query(void **state)
{
    (void)state;
    struct answer answer = {0};
    json_t *task = start_long();
    assert_true(timed(&answer, target_of(task, "?wait=400ms"), NULL) >= 400);
    expect_answer(&answer, 200, "running");
    assert_true(timed(&answer, target_of(task, "?wait=1"), NULL) >= 1000);
    expect_answer(&answer, 200, "running");
    assert_true(timed(&answer, target_of(task, "?wait=0"), "Prefer: wait=50\r\n") < SOON_MS); /* the query counts */
    expect_answer(&answer, 200, "running");
    expect_applied(&answer, NULL);
    assert_true(timed(&answer, target_of(task, "?wait=0s"), NULL) < SOON_MS);
    assert_true(timed(&answer, target_of(task, "?wait=0.2"), NULL) >= 200);
    end_long(task);
    json_t *brief = submit(&d, NULL, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.3}}", 202);
    assert_true(timed(&answer, target_of(brief, "?wait=5m"), NULL) < 300 + SOON_MS);
    expect_answer(&answer, 200, "succeeded");
    json_decref(brief);
    answer_release(&answer);
}

static void header(void **state)
{
    (void)state;
    struct answer answer = {0};
    json_t *task = start_long();
    assert_true(timed(&answer, target_of(task, ""), "Prefer: wait=1\r\n") >= 1000);
    expect_answer(&answer, 200, "running");
    char *vary = answer_header(&answer, "Vary");
    assert_non_null(vary);
    assert_string_equal(vary, "Prefer");
    free(vary);
    end_long(task);
    json_t *brief = submit(&d, NULL, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.3}}", 202);
    ask(&d, &answer, "GET", target_of(brief, ""), "Prefer: wait=50\r\n", NULL);
    expect_answer(&answer, 200, "succeeded");
    expect_applied(&answer, "wait=50");
    json_decref(brief);
    answer_release(&answer);
}

static void bad_waits(void **state)
{
    (void)state;
    static const char *const waits[] = {"?wait=",           "?wait=-1",   "?wait=x",   "?wait=1y",
                                        "?wait=1s&wait=2s", "?wait=1%00", "?wait=nan", "?wait=inf",
                                        "?wait=0x1",        "?wait=s",    "?wait"};
    struct answer answer = {0};
    json_t *task = run(&d, NULL, "{\"task\":\"satchel.noop\"}");
    for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++) {
        ask(&d, &answer, "GET", target_of(task, waits[i]), NULL, NULL);
        if (answer.status != 400)
            fail_msg("%s: status %d", waits[i], answer.status);
        expect_problem(&answer, 400, "invalid-parameter");
    }
    json_decref(task);
    answer_release(&answer);
}

/* Five minutes at most, and never longer than configured. */
static void the_longest(void **state)
{
    (void)state;
    struct answer answer = {0};
    json_t *done = run(&d, NULL, "{\"task\":\"satchel.noop\"}");
    assert_true(timed(&answer, target_of(done, ""), "Prefer: wait=301\r\n") < SOON_MS);
    expect_applied(&answer, "wait=300");
    (void)timed(&answer, target_of(done, ""), "Prefer: wait=99999999999999999999999\r\n");
    assert_int_equal(answer.status, 200);
    (void)timed(&answer, target_of(done, "?wait=100000d"), NULL);
    assert_true(answer.status == 200 || answer.status == 400);
    json_decref(done);

    satcheld_configure(&d, "workers = 8\ndrain = \"100ms\"\nmax_wait = \"1s\"\n");
    satcheld_signal(&d, SIGHUP);
    satcheld_log_wait(&d, "reloaded");
    json_t *task = start_long();
    long long took = timed(&answer, target_of(task, "?wait=1h"), NULL);
    assert_true(took >= 1000 && took < 1000 + SOON_MS);
    expect_answer(&answer, 200, "running");
    took = timed(&answer, target_of(task, ""), "Prefer: wait=300\r\n");
    assert_true(took >= 1000 && took < 1000 + SOON_MS);
    expect_applied(&answer, "wait=1");
    end_long(task);
    answer_release(&answer);
}

static void nothing_to_wait_for(void **state)
{
    (void)state;
    struct answer answer = {0};
    json_t *task = start_long(), *done = run(&d, NULL, "{\"task\":\"satchel.noop\"}");
    assert_true(timed(&answer, "/v1/tasks/01995a2e-7c3b-7d21-9f0e-4b8f6d1c2a35?wait=5m", NULL) < SOON_MS);
    expect_problem(&answer, 404, "task-not-found");
    assert_true(timed(&answer, target_of(task, "?wait=5m"), "X-Tenant-ID: other\r\n") < SOON_MS);
    expect_problem(&answer, 404, "task-not-found");
    assert_true(timed(&answer, target_of(task, "/result?wait=5m"), "X-Tenant-ID: other\r\n") < SOON_MS);
    expect_problem(&answer, 404, "task-not-found");
    assert_true(timed(&answer, target_of(done, "?wait=5m"), NULL) < SOON_MS);
    expect_answer(&answer, 200, "succeeded");
    assert_null(act(&d, NULL, text_of(done, "id"), "delete", 204));
    assert_true(timed(&answer, target_of(done, "?wait=5m"), NULL) < SOON_MS);
    expect_problem(&answer, 410, "task-gone");
    json_decref(done);
    end_long(task);
    answer_release(&answer);
}

/* ---- the result ---- */

static void result(void **state)
{
    (void)state;
    struct answer answer = {0};
    json_t *task = submit(&d, NULL, "{\"task\":\"satchel.echo\",\"args\":[1,2.50],\"delay\":\"700ms\"}", 202);
    (void)timed(&answer, target_of(task, "/result"), NULL);
    expect_answer(&answer, 202, "scheduled");
    char *retry = answer_header(&answer, "Retry-After");
    assert_non_null(retry);
    assert_true(atoi(retry) >= 1);
    free(retry);
    assert_true(timed(&answer, target_of(task, "/result?wait=100ms"), NULL) >= 100);
    assert_int_equal(answer.status, 202);
    (void)timed(&answer, target_of(task, "/result?wait=50s"), NULL);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.body, "[1,2.50]");
    assert_true(answer_has(&answer, "Content-Type", "application/json"));
    json_decref(task);
    task = submit(&d, NULL, "{\"task\":\"satchel.echo\",\"args\":\"x\",\"delay\":\"300ms\"}", 202);
    (void)timed(&answer, target_of(task, "/result"), "Prefer: wait=50\r\n");
    assert_int_equal(answer.status, 200);
    expect_applied(&answer, "wait=50");
    assert_string_equal(answer.body, "\"x\"");
    json_decref(task);
    task = submit(&d, NULL, "{\"task\":\"satchel.noop\",\"delay\":\"1h\",\"expires_in\":\"300ms\"}", 202);
    (void)timed(&answer, target_of(task, "/result?wait=50s"), NULL);
    expect_problem(&answer, 409, "state-conflict");
    json_decref(task);
    task = submit(&d, NULL, "{\"task\":\"satchel.noop\",\"delay\":\"1h\"}", 202);
    json_decref(act(&d, NULL, text_of(task, "id"), "cancel", 200));
    (void)timed(&answer, target_of(task, "/result"), NULL);
    expect_problem(&answer, 409, "state-conflict");
    assert_non_null(strstr(answer.body, "The task is canceled and has no result.\""));
    json_decref(task);
    answer_release(&answer);
}

/* ---- many, and who goes away ---- */

static void wait_on(struct client *c, const json_t *task)
{
    char *text = request_text("GET", target_of(task, "?wait=5m"), NULL, NULL, 0);
    client_send_text(c, text);
    free(text);
}

static void many_wait_for_one(void **state)
{
    (void)state;
    enum { N = 200 };
    static struct client clients[N];
    struct answer answer = {0};
    char *first = NULL;
    json_t *task = start_long();
    for (int i = 0; i < N; i++) {
        client_open(&clients[i], &d);
        wait_on(&clients[i], task);
    }
    for (int i = 0; i < N; i++)
        assert_int_equal(client_try(&clients[i], &answer), 0);
    end_long(json_incref(task));
    for (int i = 0; i < N; i++) {
        assert_true(client_read(&clients[i], &answer));
        expect_answer(&answer, 200, "canceled");
        if (!first)
            assert_non_null(first = strdup(answer.body));
        assert_string_equal(answer.body, first);
        client_close(&clients[i]);
    }
    free(first);
    json_decref(task);
    answer_release(&answer);
}

/* Clients that leave lose their answer, not their task; nobody else's is delayed. */
static void clients_that_leave(void **state)
{
    (void)state;
    enum { N = 60 };
    struct answer answer = {0};
    json_t *task = start_long();
    static const char body[] = "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.05},\"labels\":{\"left\":\"1\"}}";
    for (int i = 0; i < N; i++) {
        struct client c;
        client_open(&c, &d);
        if (i % 2) {
            wait_on(&c, task);
        } else {
            char *text = request_text("POST", "/v1/tasks", JSON_TYPE "Prefer: wait=60\r\n", body, strlen(body));
            client_send_text(&c, text);
            free(text);
        }
        if (i % 3 == 0) { /* a reset instead of an end */
            struct linger linger = {.l_onoff = 1};
            (void)setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
            json_decref(get_json(&d, "/healthz", NULL, 200)); /* by now the request was read */
        }
        client_close(&c);
    }
    struct client still;
    client_open(&still, &d);
    wait_on(&still, task);
    end_long(json_incref(task));
    assert_true(client_read(&still, &answer));
    expect_answer(&answer, 200, "canceled");
    client_close(&still);
    json_t *page = get_json(&d, "/v1/tasks?label=left:1&limit=1000", NULL, 200), *one;
    size_t i;
    assert_true(json_array_size(json_object_get(page, "tasks")) > 0);
    json_array_foreach(json_object_get(page, "tasks"), i, one)
    {
        json_t *done = finish(&d, NULL, text_of(one, "id"));
        expect_state(done, "succeeded");
        expect_number(done, "attempt", 1);
        json_decref(done);
    }
    json_decref(page);
    json_decref(task);
    answer_release(&answer);
}

/* A client that has said all it will say still gets its answer. */
static void half_closed(void **state)
{
    (void)state;
    struct client c;
    struct answer answer = {0};
    json_t *task = submit(&d, NULL, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.3}}", 202);
    client_open(&c, &d);
    wait_on(&c, task);
    assert_int_equal(shutdown(c.fd, SHUT_WR), 0);
    assert_true(client_read(&c, &answer));
    expect_answer(&answer, 200, "succeeded");
    client_close(&c);
    json_decref(task);
    answer_release(&answer);
}

/* Answers come in the order of the requests, though the later ones are ready first. */
static void pipelined(void **state)
{
    (void)state;
    struct client c;
    struct answer answer = {0};
    json_t *task = start_long();
    char *text, *submission_text = request_text("POST", "/v1/tasks", JSON_TYPE, "{\"task\":\"satchel.noop\"}", 23);
    assert_true(asprintf(&text,
                         "GET /v1/tasks/%s?wait=5m HTTP/1.1\r\nHost: h\r\n\r\n"
                         "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n%s"
                         "GET /v1/tasks/%s?wait=5m HTTP/1.1\r\nHost: h\r\nX-Request-ID: last\r\n\r\n",
                         text_of(task, "id"), submission_text, text_of(task, "id")) > 0);
    client_open(&c, &d);
    client_send_text(&c, text);
    json_decref(get_json(&d, "/healthz", NULL, 200)); /* others are served meanwhile */
    assert_int_equal(client_try(&c, &answer), 0);
    end_long(task);
    assert_true(client_read(&c, &answer));
    expect_answer(&answer, 200, "canceled");
    assert_true(client_read(&c, &answer));
    assert_string_equal(answer.body, "{\"status\":\"ok\"}");
    assert_true(client_read(&c, &answer));
    assert_int_equal(answer.status, 202);
    assert_true(client_read(&c, &answer));
    assert_true(answer_has(&answer, "X-Request-ID", "last"));
    client_close(&c);
    free(text);
    free(submission_text);
    answer_release(&answer);
}

static bool two_run(void *arg)
{
    (void)arg;
    json_t *page = get_json(&d, "/v1/tasks?state=running", NULL, 200);
    size_t n = json_array_size(json_object_get(page, "tasks"));
    json_decref(page);
    return n == 2;
}

/* A stop does not leave them without an answer. */
static void stopped(void **state)
{
    (void)state;
    struct client waits, submits;
    struct answer answer = {0};
    json_t *task = start_long();
    client_open(&waits, &d);
    wait_on(&waits, task);
    client_open(&submits, &d);
    char *text = request_text("POST", "/v1/tasks", JSON_TYPE "Prefer: wait=60\r\n", LONG, strlen(LONG));
    client_send_text(&submits, text);
    assert_true(until(two_run, NULL, WAIT_MS));
    satcheld_signal(&d, SIGTERM);
    assert_true(client_read(&waits, &answer));
    assert_true(answer.status == 200 || answer.status == 503);
    assert_true(client_read(&submits, &answer));
    assert_int_equal(answer.status, 202);
    assert_int_equal(satcheld_wait(&d, WAIT_MS), 0);
    client_close(&waits);
    client_close(&submits);
    satcheld_start(&d);
    free(text);
    json_decref(task);
    answer_release(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(submission),
        cmocka_unit_test(every_end),
        cmocka_unit_test(preferences),
        cmocka_unit_test(query),
        cmocka_unit_test(header),
        cmocka_unit_test(bad_waits),
        cmocka_unit_test(nothing_to_wait_for),
        cmocka_unit_test(result),
        cmocka_unit_test(many_wait_for_one),
        cmocka_unit_test(clients_that_leave),
        cmocka_unit_test(half_closed),
        cmocka_unit_test(pipelined),
        cmocka_unit_test(the_longest),
        cmocka_unit_test(stopped),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
