/* Actions by filter: POST /v1/tasks:cancel, POST /v1/tasks:retry, POST /v1/tasks:delete; and the list's further filters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/ask.h"

#define MINE "X-Tenant-ID: mine\r\n"
#define OTHER "X-Tenant-ID: other\r\n"
#define FEW "X-Tenant-ID: few\r\n"

static struct satcheld d;

static int start(void **state)
{
    (void)state;
    satcheld_init(&d, "workers = 4\ndrain = \"100ms\"\ntenant \"few\" { max_queued = 20 }\n");
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

static void submit_many(const char *headers, const char *line, int n)
{
    struct answer answer = {0};
    char all[256], *body = malloc((size_t)n * (strlen(line) + 1) + 1), *at = body;
    for (int i = 0; i < n; i++)
        at += sprintf(at, "%s\n", line);
    (void)snprintf(all, sizeof all, "%sContent-Type: application/x-ndjson\r\nPrefer: return=minimal\r\n", headers);
    ask(&d, &answer, "POST", "/v1/tasks:batch", all, body);
    assert_int_equal(answer.status, 200);
    assert_null(strstr(answer.body, "urn:satchel:problem"));
    answer_release(&answer);
    free(body);
}

/* Waits until the tenant has no unfinished tasks. */
static bool at_rest(void *arg)
{
    const char *headers = *(const char **)arg;
    static const char *const states[] = {"scheduled", "queued", "running"};
    size_t n = 0;
    for (size_t i = 0; i < 3; i++) {
        char target[64];
        (void)snprintf(target, sizeof target, "/v1/tasks?state=%s&limit=1", states[i]);
        json_t *list = get_json(&d, target, headers, 200);
        n += json_array_size(json_object_get(list, "tasks"));
        json_decref(list);
    }
    return n == 0;
}

static void wait_for_rest(const char *headers)
{
    assert_true(until(at_rest, &headers, WAIT_MS));
}

static json_t *do_all(const char *method, const char *target, const char *headers, int status)
{
    struct answer answer = {0};
    ask(&d, &answer, method, target, headers, NULL);
    if (answer.status != status)
        fail_msg("%s %s: status %d: %s", method, target, answer.status, answer.body);
    json_t *counts = answer_json(&answer);
    answer_release(&answer);
    return counts;
}

static void expect_counts(const char *method, const char *target, const char *headers, long long matched,
                          long long changed)
{
    json_t *counts = do_all(method, target, headers, 200);
    expect_number(counts, "matched", matched);
    expect_number(counts, "changed", changed);
    json_decref(counts);
}

static long long count(const char *headers, const char *query)
{
    char target[200];
    (void)snprintf(target, sizeof target, "/v1/tasks?limit=1000&%s", query);
    json_t *list = get_json(&d, target, headers, 200);
    long long n = (long long)json_array_size(json_object_get(list, "tasks"));
    json_decref(list);
    return n;
}

static void dead_letters_are_run_again_and_forgotten(void **state)
{
    (void)state;
    submit_many(MINE, "{\"task\":\"satchel.fail\",\"group\":\"g\",\"labels\":{\"a\":\"b\"}}", 300);
    submit_many(MINE, "{\"task\":\"satchel.fail\"}", 20);
    submit_many(MINE, "{\"task\":\"satchel.noop\",\"group\":\"g\"}", 10);
    submit_many(OTHER, "{\"task\":\"satchel.fail\",\"group\":\"g\"}", 5);
    wait_for_rest(MINE);
    wait_for_rest(OTHER);
    assert_int_equal(count(MINE, "group=g"), 310);
    assert_int_equal(count(MINE, "group=g&state=failed"), 300);
    assert_int_equal(count(MINE, "error=handler"), 320);
    assert_int_equal(count(MINE, "error=timeout"), 0);
    expect_counts("POST", "/v1/tasks:retry?state=failed&label=a:b&dry_run=true", MINE, 300, 0);
    expect_counts("POST", "/v1/tasks:retry?state=failed&label=a:b", MINE, 300, 300);
    wait_for_rest(MINE);
    json_t *list = get_json(&d, "/v1/tasks?label=a:b&limit=1", MINE, 200);
    expect_number(json_array_get(json_object_get(list, "tasks"), 0), "attempt", 2);
    json_decref(list);
    expect_counts("POST", "/v1/tasks:delete?group=g", MINE, 310, 310);
    assert_int_equal(count(MINE, "group=g"), 0);
    assert_int_equal(count(MINE, "state=failed"), 20);
    assert_int_equal(count(OTHER, "group=g"), 5); /* of another tenant: not touched */
    expect_counts("POST", "/v1/tasks:delete?all=true", MINE, 20, 20);
}

static void many_are_canceled_in_steps(void **state)
{
    (void)state;
    submit_many(MINE, "{\"task\":\"satchel.noop\",\"delay\":600}", 2500);
    submit_many(MINE, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":600}}", 10);
    long long left = 2510, rounds = 0;
    char target[256] = "/v1/tasks:cancel?all=true";
    for (bool more = true; more; rounds++) {
        assert_true(rounds < 10);
        json_t *counts = do_all("POST", target, MINE, 200);
        left -= number_of(counts, "changed");
        more = json_is_true(json_object_get(counts, "more"));
        if (more)
            (void)snprintf(target, sizeof target, "/v1/tasks:cancel?all=true&cursor=%s",
                           text_of(counts, "next_cursor"));
        json_decref(counts);
    }
    assert_int_equal(left, 0);
    assert_int_equal(rounds, 3);
    wait_for_rest(MINE); /* the running ones were told, and end */
    satcheld_kill(&d);
    satcheld_start(&d);
    wait_for_rest(MINE); /* what was answered holds */
    expect_counts("POST", "/v1/tasks:delete?state=canceled&limit=10000", MINE, 2510, 2510);
}

static void times(void **state)
{
    (void)state;
    json_t *first = run(&d, MINE, "{\"task\":\"satchel.noop\"}");
    json_t *second = run(&d, MINE, "{\"task\":\"satchel.noop\"}");
    char query[200];
    (void)snprintf(query, sizeof query, "created_before=%s", text_of(second, "created_at"));
    assert_int_equal(count(MINE, query), 1);
    (void)snprintf(query, sizeof query, "created_after=%s", text_of(first, "created_at"));
    assert_int_equal(count(MINE, query), 1);
    (void)snprintf(query, sizeof query, "finished_before=%s", text_of(second, "finished_at"));
    assert_int_equal(count(MINE, query), 1);
    (void)snprintf(query, sizeof query, "/v1/tasks:delete?finished_before=%s", text_of(second, "finished_at"));
    expect_counts("POST", query, MINE, 1, 1);
    json_decref(act(&d, MINE, text_of(first, "id"), "delete", 410));
    json_decref(act(&d, MINE, text_of(second, "id"), "delete", 204));
    json_decref(first);
    json_decref(second);
}

/* A quota that is reached ends the call, and what was done before is told. */
static void a_quota_ends_it(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        submit_many(FEW, "{\"task\":\"satchel.noop\",\"delay\":600}", 15);
        expect_counts("POST", "/v1/tasks:cancel?all=true", FEW, 15, 15);
    }
    json_t *counts = do_all("POST", "/v1/tasks:retry?state=canceled", FEW, 200);
    json_decref(counts);
    wait_for_rest(FEW);
}

static void what_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *method, *target;
        int status;
        const char *urn;
    } cases[] = {
        {"POST", "/v1/tasks:cancel", 400, "invalid-parameter"},
        {"POST", "/v1/tasks:cancel?all=yes", 400, "invalid-parameter"},
        {"POST", "/v1/tasks:cancel?all=true&state=queued", 400, "invalid-parameter"},
        {"POST", "/v1/tasks:cancel?state=succeeded", 400, "invalid-parameter"},
        {"POST", "/v1/tasks:retry?state=succeeded", 400, "invalid-parameter"},
        {"POST", "/v1/tasks:retry?state=running", 400, "invalid-parameter"},
        {"POST", "/v1/tasks:delete?state=queued", 400, "invalid-parameter"},
        {"POST", "/v1/tasks:delete", 400, "invalid-parameter"},
        {"POST", "/v1/tasks:delete?all=true&limit=10001", 400, "invalid-parameter"},
        {"POST", "/v1/tasks:delete?all=true&limit=0", 400, "invalid-parameter"},
        {"POST", "/v1/tasks:delete?all=true&cursor=x", 400, "invalid-parameter"},
        {"POST", "/v1/tasks:delete?colour=red", 400, "invalid-parameter"},
        {"GET", "/v1/tasks?error=none", 400, "invalid-parameter"},
        {"GET", "/v1/tasks?created_after=today", 400, "invalid-parameter"},
        {"GET", "/v1/tasks?group=", 400, "invalid-parameter"},
        {"GET", "/v1/tasks:cancel", 405, "method-not-allowed"},
        {"DELETE", "/v1/tasks", 405, "method-not-allowed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct answer answer = {0};
        ask(&d, &answer, cases[i].method, cases[i].target, MINE, NULL);
        if (answer.status != cases[i].status)
            fail_msg("%s %s: status %d", cases[i].method, cases[i].target, answer.status);
        expect_problem(&answer, cases[i].status, cases[i].urn);
        answer_release(&answer);
    }
    struct answer answer = {0};
    ask(&d, &answer, "POST", "/v1/tasks:cancel?all=true", MINE JSON_TYPE, "{\"state\":\"queued\"}");
    expect_problem(&answer, 400, "invalid-parameter");
    answer_release(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dead_letters_are_run_again_and_forgotten),
        cmocka_unit_test(many_are_canceled_in_steps),
        cmocka_unit_test(times),
        cmocka_unit_test(a_quota_ends_it),
        cmocka_unit_test(what_is_refused),
    };
    return cmocka_run_group_tests_name("actions by filter", tests, start, stop);
}
