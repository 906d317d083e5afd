/* Schedules over the API and in the configuration: each time makes one task, over crashes, too. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/ask.h"

#define MINE "X-Tenant-ID: mine\r\n"
#define OTHER "X-Tenant-ID: other\r\n"
#define CONFIG                                                                                                         \
    "workers = 2\ndrain = \"100ms\"\ntenant \"acme\" { weight = 2 }\n"                                                 \
    "schedule \"configured\" { cron = \"* * * * * *\" task = \"satchel.context\" tenant = \"acme\" "                   \
    "context = {\"reason=tick\"} options = \"{\\\"labels\\\": {\\\"by\\\": \\\"config\\\"}}\" }\n"                     \
    "schedule \"each\" { cron = \"0 0 1 1 *\" task = \"satchel.echo\" args = \"[1.50]\" each_tenant = true }\n"

static struct satcheld d;

static int start(void **state)
{
    (void)state;
    satcheld_init(&d, CONFIG);
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

static json_t *call(const char *method, const char *target, const char *headers, const char *body, int status)
{
    struct answer answer = {0};
    char all[256];
    (void)snprintf(all, sizeof all, "%s%s", headers, body ? JSON_TYPE : "");
    ask(&d, &answer, method, target, all, body);
    if (answer.status != status)
        fail_msg("%s %s: status %d, not %d: %s", method, target, answer.status, status, answer.body);
    json_t *json = answer.body_len ? answer_json(&answer) : NULL;
    answer_release(&answer);
    return json;
}

static json_t *tasks_of(const char *label, const char *headers)
{
    char target[128];
    (void)snprintf(target, sizeof target, "/v1/tasks?limit=1000&label=%s", label);
    json_t *page = get_json(&d, target, headers, 200), *list = json_incref(json_object_get(page, "tasks"));
    json_decref(page);
    return list;
}

struct count {
    const char *label, *headers;
    size_t n;
};

static bool has_count(void *arg)
{
    const struct count *count = arg;
    json_t *list = tasks_of(count->label, count->headers);
    bool enough = json_array_size(list) >= count->n;
    json_decref(list);
    return enough;
}

static void wait_for_tasks(const char *label, const char *headers, size_t n)
{
    struct count count = {label, headers, n};
    assert_true(until(has_count, &count, WAIT_MS));
}

/* No two were made for the same second: their ids begin with the time that they were made at. */
static void expect_one_a_time(const char *label, const char *headers)
{
    json_t *list = tasks_of(label, headers), *task;
    size_t i;
    long long before = INT64_MAX;
    json_array_foreach(list, i, task)
    {
        long long at = time_of(task, "created_at");
        assert_true(at < before);
        before = at;
    }
    json_decref(list);
}

static void a_schedule_fires(void **state)
{
    (void)state;
    json_t *made = call("PUT", "/v1/schedules/tick", MINE,
                        "{\"cron\":\"* * * * * *\",\"task\":\"satchel.context\",\"labels\":{\"by\":\"tick\"},"
                        "\"context\":{\"k\":\"v\"},\"timezone\":\"Europe/Berlin\"}",
                        201);
    expect_text(made, "source", "api");
    expect_text(made, "missed", "skip");
    assert_int_equal(json_array_size(json_object_get(made, "next")), 1);
    json_decref(made);
    wait_for_tasks("by:tick", MINE, 2);
    json_t *list = tasks_of("by:tick", MINE);
    json_t *one = finish(&d, MINE, text_of(json_array_get(list, 0), "id"));
    json_t *two = finish(&d, MINE, text_of(json_array_get(list, 1), "id"));
    expect_text(json_object_get(one, "result"), "k", "v");
    expect_text(json_object_get(one, "result"), "tenant", "mine");
    char trace[33] = "";
    memcpy(trace, text_of(json_object_get(one, "context"), "traceparent") + 3, 32);
    assert_null(strstr(text_of(json_object_get(two, "context"), "traceparent"), trace)); /* each a trace of its own */
    json_t *shown = call("GET", "/v1/schedules/tick?next=3", MINE, NULL, 200);
    assert_int_equal(json_array_size(json_object_get(shown, "next")), 3);
    expect_time(shown, "last_at");
    assert_true(number_of(shown, "fired") >= 2);
    json_decref(get_task(&d, MINE, text_of(shown, "last_task_id"), 200));
    json_decref(call("GET", "/v1/schedules/tick", OTHER, NULL, 404));
    json_decref(shown);
    json_decref(one);
    json_decref(two);
    json_decref(list);
}

static void it_rests_and_goes_on(void **state)
{
    (void)state;
    json_t *shown = call("POST", "/v1/schedules/tick:pause", MINE, NULL, 200);
    assert_true(json_is_true(json_object_get(shown, "paused")));
    assert_int_equal(json_array_size(json_object_get(shown, "next")), 0);
    json_decref(shown);
    satcheld_kill(&d);
    satcheld_start(&d);
    shown = call("GET", "/v1/schedules/tick", MINE, NULL, 200);
    assert_true(json_is_true(json_object_get(shown, "paused"))); /* also over a crash */
    json_decref(shown);
    json_t *list = tasks_of("by:tick", MINE);
    size_t n = json_array_size(list);
    json_decref(list);
    json_t *task = call("POST", "/v1/schedules/tick:run", MINE, NULL, 202);
    expect_text(task, "task", "satchel.context");
    json_decref(task);
    list = tasks_of("by:tick", MINE);
    assert_int_equal(json_array_size(list), n + 1); /* that one alone */
    json_decref(list);
    json_decref(call("POST", "/v1/schedules/tick:resume", MINE, NULL, 200));
    wait_for_tasks("by:tick", MINE, n + 2);
}

static void one_task_a_time_over_crashes(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        json_t *list = tasks_of("by:config", "X-Tenant-ID: acme\r\n");
        size_t n = json_array_size(list);
        json_decref(list);
        wait_for_tasks("by:config", "X-Tenant-ID: acme\r\n", n + 1);
        satcheld_kill(&d);
        satcheld_start(&d);
    }
    expect_one_a_time("by:config", "X-Tenant-ID: acme\r\n");
    expect_one_a_time("by:tick", MINE);
    json_t *list = tasks_of("by:config", "X-Tenant-ID: acme\r\n"), *task;
    size_t i;
    json_array_foreach(list, i, task)
    {
        expect_text(json_object_get(task, "context"), "reason", "tick");
    }
    json_decref(list);
}

/* A time that passes while the daemon does not run, by a few seconds: each policy does what it says. */
static void what_is_missed(void **state)
{
    (void)state;
    static const char *const policies[] = {"skip", "once"};
    char body[256], target[64];
    struct tm date;
    time_t at = time(NULL) + 2;
    (void)gmtime_r(&at, &date);
    for (int i = 0; i < 2; i++) {
        (void)snprintf(body, sizeof body,
                       "{\"cron\":\"%d %d %d * * *\",\"task\":\"satchel.noop\",\"missed\":\"%s\","
                       "\"labels\":{\"by\":\"%s\"}}",
                       date.tm_sec, date.tm_min, date.tm_hour, policies[i], policies[i]);
        (void)snprintf(target, sizeof target, "/v1/schedules/%s", policies[i]);
        json_decref(call("PUT", target, MINE, body, 201));
    }
    satcheld_kill(&d);
    assert_true(time(NULL) < at);
    while (time(NULL) < at + 2) /* more than a second later */
        (void)usleep(20000);
    satcheld_start(&d);
    wait_for_tasks("by:once", MINE, 1);
    json_t *list = tasks_of("by:once", MINE);
    assert_int_equal(json_array_size(list), 1);
    json_decref(list);
    list = tasks_of("by:skip", MINE);
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);
    json_t *skipped = call("GET", "/v1/schedules/skip", MINE, NULL, 200);
    expect_number(skipped, "times_missed", 1);
    json_decref(skipped);
    struct answer answer = {0};
    ask(&d, &answer, "GET", "/metrics", NULL, NULL);
    assert_non_null(strstr(answer.body, "satchel_schedule_times_total{result=\"missed\"} "));
    assert_null(strstr(answer.body, "satchel_schedule_times_total{result=\"missed\"} 0\n"));
    assert_null(strstr(answer.body, "satchel_schedule_times_total{result=\"fired\"} 0\n"));
    answer_release(&answer);
    for (int i = 0; i < 2; i++) {
        (void)snprintf(target, sizeof target, "/v1/schedules/%s", policies[i]);
        json_decref(call("DELETE", target, MINE, NULL, 204));
    }
}

static void made_with_its_name(void **state)
{
    (void)state;
    static const char body[] = "{\"name\":\"posted\",\"cron\":\"0 3 * * "
                               "*\",\"timezone\":\"Europe/Berlin\",\"task\":\"satchel.echo\",\"args\":[1.50]}";
    json_t *made = call("POST", "/v1/schedules", MINE, body, 201);
    expect_text(made, "name", "posted");
    expect_json(json_object_get(made, "args"), "[1.50]");
    assert_string_equal(text_of(made, "next_at"), json_string_value(json_array_get(json_object_get(made, "next"), 0)));
    json_decref(made);
    json_decref(call("POST", "/v1/schedules", MINE, body, 409));
    json_decref(call("POST", "/v1/schedules", OTHER, body, 201)); /* each tenant has its own */
    json_decref(call("DELETE", "/v1/schedules/posted", OTHER, NULL, 204));
    json_t *paused = call("POST", "/v1/schedules/posted:pause", MINE, NULL, 200);
    assert_true(json_is_null(json_object_get(paused, "next_at")));
    json_decref(paused);
    json_decref(call("DELETE", "/v1/schedules/posted", MINE, NULL, 204));
    static const char *const nameless[] = {"{}",
                                           "[]",
                                           "7",
                                           "{\"name\":7}",
                                           "{\"name\":\"\"}",
                                           "{\"name\":\"No\"}",
                                           "{\"cron\":\"* * * * *\",\"task\":\"satchel.noop\"}"};
    for (size_t i = 0; i < sizeof nameless / sizeof nameless[0]; i++) {
        json_t *problem = call("POST", "/v1/schedules", MINE, nameless[i], 422);
        expect_pointer(problem, "/name");
        json_decref(problem);
    }
    json_decref(call("POST", "/v1/schedules", MINE, "{\"name\":", 400));
    json_decref(call("POST", "/v1/schedules", MINE,
                     "{\"name\":\"each\",\"cron\":\"* * * * *\",\"task\":\"satchel.noop\"}", 409));
    json_t *problem =
        call("POST", "/v1/schedules", MINE, "{\"name\":\"x\",\"cron\":\"* * *\",\"task\":\"satchel.noop\"}", 422);
    expect_pointer(problem, "/cron");
    json_decref(problem);
}

static void what_is_configured_stays(void **state)
{
    (void)state;
    json_t *list = call("GET", "/v1/schedules", MINE, NULL, 200);
    assert_int_equal(json_array_size(json_object_get(list, "schedules")), 2); /* tick, and that of each tenant */
    json_decref(list);
    json_t *each = call("GET", "/v1/schedules/each", OTHER, NULL, 200);
    expect_text(each, "tenants", "each");
    expect_text(each, "source", "config");
    expect_json(json_object_get(each, "args"), "[1.50]");
    json_decref(each);
    json_decref(call("PUT", "/v1/schedules/each", OTHER, "{\"cron\":\"* * * * *\",\"task\":\"satchel.noop\"}", 409));
    json_decref(call("DELETE", "/v1/schedules/each", OTHER, NULL, 409));
    json_decref(call("POST", "/v1/schedules/each:pause", OTHER, NULL, 409));
    json_t *task = call("POST", "/v1/schedules/each:run", OTHER, NULL, 202);
    expect_text(task, "tenant", "other");
    json_decref(task);
}

static void a_reload_takes_up_what_is_configured(void **state)
{
    (void)state;
    satcheld_configure(&d, "workers = 2\ndrain = \"100ms\"\n"
                           "schedule \"fresh\" { cron = \"* * * * * *\" task = \"satchel.noop\" tenant = \"mine\" "
                           "options = \"{\\\"labels\\\": {\\\"by\\\": \\\"fresh\\\"}}\" }\n");
    satcheld_signal(&d, SIGHUP);
    wait_for_tasks("by:fresh", MINE, 1);
    json_decref(call("GET", "/v1/schedules/each", OTHER, NULL, 404));
    json_decref(call("GET", "/v1/schedules/tick", MINE, NULL, 200));
}

static void deleted_is_gone(void **state)
{
    (void)state;
    json_decref(call("DELETE", "/v1/schedules/tick", MINE, NULL, 204));
    json_decref(call("DELETE", "/v1/schedules/tick", MINE, NULL, 404));
    satcheld_kill(&d);
    satcheld_start(&d);
    json_decref(call("GET", "/v1/schedules/tick", MINE, NULL, 404));
}

static void a_tenant_has_a_thousand(void **state)
{
    (void)state;
    static const char definition[] = "{\"cron\":\"0 0 1 1 *\",\"task\":\"satchel.noop\"}";
    struct answer answer = {0};
    struct client c;
    char target[64];
    client_open(&c, &d);
    for (int i = 0; i <= 1000; i++) {
        (void)snprintf(target, sizeof target, "/v1/schedules/s%d", i);
        ask_on(&c, &answer, "PUT", target, "X-Tenant-ID: many\r\n" JSON_TYPE, definition);
        if (i < 1000)
            assert_int_equal(answer.status, 201);
    }
    expect_problem(&answer, 429, "quota-exceeded");
    assert_true(answer_has(&answer, "Retry-After", "60"));
    ask_on(&c, &answer, "PUT", "/v1/schedules/s7", "X-Tenant-ID: many\r\n" JSON_TYPE, definition);
    assert_int_equal(answer.status, 200); /* one of them may be replaced */
    client_close(&c);
    answer_release(&answer);
}

static void what_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *body, *pointer;
    } cases[] = {{"{\"task\":\"satchel.noop\"}", "/cron"},
                 {"{\"cron\":7,\"task\":\"satchel.noop\"}", "/cron"},
                 {"{\"cron\":\"61 * * * *\",\"task\":\"satchel.noop\"}", "/cron"},
                 {"{\"cron\":\"0 0 30 2 *\",\"task\":\"satchel.noop\"}", "/cron"},
                 {"{\"cron\":\"* * * * *\"}", "/task"},
                 {"{\"cron\":\"* * * * *\",\"task\":\"nope\"}", "/task"},
                 {"{\"cron\":\"* * * * *\",\"task\":\"satchel.noop\",\"timezone\":\"Mars/Base\"}", "/timezone"},
                 {"{\"cron\":\"* * * * *\",\"task\":\"satchel.noop\",\"timezone\":\"../../etc/passwd\"}", "/timezone"},
                 {"{\"cron\":\"* * * * *\",\"task\":\"satchel.noop\",\"missed\":\"twice\"}", "/missed"},
                 {"{\"cron\":\"* * * * *\",\"task\":\"satchel.noop\",\"paused\":1}", "/paused"},
                 {"{\"cron\":\"* * * * *\",\"task\":\"satchel.noop\",\"run_at\":\"2026-01-01T00:00:00Z\"}", "/run_at"},
                 {"{\"cron\":\"* * * * *\",\"task\":\"satchel.noop\",\"colour\":1}", "/colour"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *problem = call("PUT", "/v1/schedules/x", MINE, cases[i].body, 422);
        expect_pointer(problem, cases[i].pointer);
        json_decref(problem);
    }
    json_decref(call("PUT", "/v1/schedules/x", MINE, "{", 400));
    json_decref(call("PUT", "/v1/schedules/X", MINE, "{\"cron\":\"* * * * *\",\"task\":\"satchel.noop\"}", 422));
    json_decref(call("GET", "/v1/schedules/x?next=0", MINE, NULL, 400));
    json_decref(call("POST", "/v1/schedules/x:run", MINE, NULL, 404));
    json_decref(call("POST", "/v1/schedules/x", MINE, NULL, 405));
    json_decref(call("GET", "/v1/schedules/x", MINE, NULL, 404));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_schedule_fires),
        cmocka_unit_test(it_rests_and_goes_on),
        cmocka_unit_test(one_task_a_time_over_crashes),
        cmocka_unit_test(what_is_missed),
        cmocka_unit_test(made_with_its_name),
        cmocka_unit_test(what_is_configured_stays),
        cmocka_unit_test(a_reload_takes_up_what_is_configured),
        cmocka_unit_test(deleted_is_gone),
        cmocka_unit_test(a_tenant_has_a_thousand),
        cmocka_unit_test(what_is_refused),
    };
    return cmocka_run_group_tests_name("schedules", tests, start, stop);
}
