/* Tasks that wait for other tasks, groups and unique keys, as a caller sees them; over a crash, too. */
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

static struct satcheld d;

static int start(void **state)
{
    (void)state;
    satcheld_init(&d, "workers = 4\ndrain = \"100ms\"\n"
                      "task \"show\" { command = {\"/bin/sh\", \"-c\", \"echo $0 $1; echo $SATCHEL_AFTER\", "
                      "\"{{after.0.a}}\", \"{{after.1}}\"} }\n"
                      "plugin \"" TEST_BUILD_DIR "/examples/plugin/.libs/example.so\" {}\n");
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

/* Submits what the format says; the id of the task. */
static char *submit_as(const char *headers, const char *format, ...) __attribute__((format(printf, 2, 3)));
static char *submit_as(const char *headers, const char *format, ...)
{
    char body[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(body, sizeof body, format, args);
    va_end(args);
    json_t *task = submit(&d, headers, body, 202);
    char *id = strdup(text_of(task, "id"));
    json_decref(task);
    return id;
}

static void refused(const char *headers, const char *body, const char *pointer)
{
    json_t *problem = submit(&d, headers, body, 422);
    expect_pointer(problem, pointer);
    json_decref(problem);
}

static void ends_as(const char *id, const char *state)
{
    json_t *task = finish(&d, MINE, id);
    expect_state(task, state);
    json_decref(task);
}

static void cancel(const char *id)
{
    json_decref(act(&d, MINE, id, "cancel", 200));
}

/* ---- after ---- */

static void starts_when_all_have_succeeded(void **state)
{
    (void)state;
    char *slow = submit_as(MINE, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.3}}");
    char *quick = submit_as(MINE, "{\"task\":\"satchel.noop\"}");
    char *id = submit_as(MINE, "{\"task\":\"satchel.noop\",\"after\":[\"%s\",\"%s\"]}", slow, quick);
    json_t *waits = get_task(&d, MINE, id, 200);
    if (strcmp(text_of(waits, "state"), "succeeded") != 0)
        expect_state(waits, "scheduled");
    assert_string_equal(json_string_value(json_array_get(json_object_get(waits, "after"), 1)), quick);
    json_t *task = finish(&d, MINE, id), *before = finish(&d, MINE, slow);
    expect_state(task, "succeeded");
    assert_true(time_of(task, "started_at") >= time_of(before, "finished_at"));
    assert_true(time_of(task, "run_at") >= time_of(before, "finished_at"));
    json_decref(waits);
    json_decref(task);
    json_decref(before);
    free(slow);
    free(quick);
    free(id);
}

static void fails_with_the_one_before(void **state)
{
    (void)state;
    char *failing = submit_as(MINE, "{\"task\":\"satchel.fail\"}");
    char *id = submit_as(MINE, "{\"task\":\"satchel.noop\",\"after\":[\"%s\"],\"max_attempts\":5}", failing);
    char *next = submit_as(MINE, "{\"task\":\"satchel.noop\",\"after\":[\"%s\"],\"delay\":600}", id);
    json_t *task = finish(&d, MINE, id);
    expect_state(task, "failed");
    expect_number(task, "attempt", 0);
    expect_text(json_object_get(task, "error"), "type", "dependency");
    assert_non_null(strstr(text_of(json_object_get(task, "error"), "message"), failing));
    ends_as(next, "failed");
    json_decref(task);
    free(failing);
    free(id);
    free(next);
}

static void what_cannot_be_waited_for_is_refused(void **state)
{
    (void)state;
    char body[512];
    char *theirs = submit_as(OTHER, "{\"task\":\"satchel.noop\"}");
    (void)snprintf(body, sizeof body, "{\"task\":\"satchel.noop\",\"after\":[\"%s\"]}", theirs);
    refused(MINE, body, "/after/0");
    (void)snprintf(body, sizeof body, "{\"task\":\"satchel.noop\",\"after\":[\"%s\",\"%s\"]}", theirs, theirs);
    refused(OTHER, body, "/after/1");
    (void)snprintf(body, sizeof body, "{\"task\":\"satchel.noop\",\"after\":[\"%s\",7]}", theirs);
    refused(OTHER, body, "/after/1");
    refused(MINE, "{\"task\":\"satchel.noop\",\"after\":[]}", "/after");
    refused(MINE, "{\"task\":\"satchel.noop\",\"after\":\"01995a2e-7c3b-7d21-9f0e-4b8f6d1c2a35\"}", "/after");
    refused(MINE, "{\"task\":\"satchel.noop\",\"after\":[\"01995a2e-7c3b-7d21-9f0e-4b8f6d1c2a35\"]}", "/after/0");
    refused(MINE, "{\"task\":\"satchel.noop\",\"group\":\"\"}", "/group");
    refused(MINE, "{\"task\":\"satchel.noop\",\"group\":\"a\\nb\"}", "/group");
    refused(MINE, "{\"task\":\"satchel.noop\",\"after_group\":[\"a\"]}", "/after_group");
    refused(MINE, "{\"task\":\"satchel.noop\",\"group\":\"a\",\"after_group\":\"a\"}", "/after_group");
    free(theirs);
}

static void results_of_those_before(void **state)
{
    (void)state;
    char *one = submit_as(MINE, "{\"task\":\"satchel.echo\",\"args\":{\"a\":\"first\"}}");
    char *two = submit_as(MINE, "{\"task\":\"satchel.echo\",\"args\":[2,\"x y\"],\"delay\":\"100ms\"}");
    char *command = submit_as(MINE, "{\"task\":\"show\",\"after\":[\"%s\",\"%s\"]}", one, two);
    char *plugin = submit_as(MINE, "{\"task\":\"example.gather\",\"after\":[\"%s\",\"%s\"]}", two, one);
    char *holes = submit_as(MINE, "{\"task\":\"show\",\"after\":[\"%s\"]}", two);
    char expected[512];
    json_t *task = finish(&d, MINE, command);
    (void)snprintf(expected, sizeof expected, "first [2,\"x y\"]\n%s %s\n", one, two);
    expect_text(task, "result", expected);
    json_decref(task);
    task = finish(&d, MINE, plugin);
    (void)snprintf(expected, sizeof expected, "{\"%s\":[2,\"x y\"],\"%s\":{\"a\":\"first\"}}", two, one);
    expect_json(json_object_get(task, "result"), expected);
    json_decref(task);
    task = finish(&d, MINE, holes);
    expect_state(task, "failed");
    assert_non_null(strstr(text_of(json_object_get(task, "error"), "message"), "after.0.a"));
    json_decref(task);
    char *const ids[] = {one, two, command, plugin, holes};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        free(ids[i]);
}

/* ---- groups ---- */

static void a_group_ends(void **state)
{
    (void)state;
    char *members[4];
    for (int i = 0; i < 4; i++)
        members[i] = submit_as(MINE, "{\"task\":\"%s\",\"args\":{\"seconds\":0.1},\"group\":\"import\"}",
                               i == 3 ? "satchel.fail" : "satchel.sleep");
    char *last = submit_as(MINE, "{\"task\":\"satchel.noop\",\"after_group\":\"import\"}");
    char *late = submit_as(MINE, "{\"task\":\"satchel.noop\",\"delay\":600,\"group\":\"import\"}");
    json_t *task = finish(&d, MINE, last);
    expect_state(task, "succeeded");
    expect_text(task, "after_group", "import");
    for (int i = 0; i < 4; i++) {
        json_t *member = get_task(&d, MINE, members[i], 200);
        expect_state(member, i == 3 ? "failed" : "succeeded");
        expect_text(member, "group", "import");
        assert_true(time_of(member, "finished_at") <= time_of(task, "started_at"));
        json_decref(member);
        free(members[i]);
    }
    cancel(late);
    json_decref(task);
    free(last);
    free(late);
}

static void a_group_of_nobody_is_not_waited_for(void **state)
{
    (void)state;
    json_t *task = run(&d, MINE, "{\"task\":\"satchel.noop\",\"after_group\":\"nobody\"}");
    expect_state(task, "succeeded");
    json_decref(task);
}

/* ---- unique ---- */

static void taken(const char *headers, const char *body, const char *holder)
{
    struct answer answer = {0};
    ask(&d, &answer, "POST", "/v1/tasks", headers, body);
    expect_problem(&answer, 409, "not-unique");
    json_t *problem = answer_json(&answer);
    expect_text(problem, "id", holder);
    char *location = answer_header(&answer, "Location");
    assert_non_null(location);
    assert_non_null(strstr(location, holder));
    free(location);
    json_decref(problem);
    answer_release(&answer);
}

static void one_living_task_of_a_key(void **state)
{
    (void)state;
    const char *body = "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":600},\"unique\":{\"key\":\"k\"}}";
    char *holder = submit_as(MINE, "%s", body);
    char *theirs = submit_as(OTHER, "%s", body);
    taken(MINE JSON_TYPE, body, holder);
    satcheld_kill(&d);
    satcheld_start(&d);
    taken(MINE JSON_TYPE, body, holder);
    cancel(holder);
    char *next = submit_as(MINE, "%s", body);
    json_t *problem = act(&d, MINE, holder, "retry", 409);
    expect_text(problem, "type", "urn:satchel:problem:not-unique");
    expect_text(problem, "id", next);
    json_decref(problem);
    cancel(next);
    json_decref(act(&d, OTHER, theirs, "cancel", 200));
    free(holder);
    free(theirs);
    free(next);
}

static void a_key_until_the_start_or_for_a_time(void **state)
{
    (void)state;
    char *runs = submit_as(MINE, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":600},\"unique\":"
                                 "{\"key\":\"s\",\"until\":\"started\"}}");
    json_decref(await_state(&d, MINE, runs, "running"));
    const char *waits = "{\"task\":\"satchel.noop\",\"delay\":600,\"unique\":{\"key\":\"s\",\"until\":\"started\"}}";
    char *next = submit_as(MINE, "%s", waits);
    taken(MINE JSON_TYPE, waits, next);
    cancel(runs);
    cancel(next);
    const char *brief = "{\"task\":\"satchel.noop\",\"delay\":600,\"unique\":{\"key\":\"t\",\"for\":\"1ms\"}}";
    char *first = submit_as(MINE, "%s", brief);
    pause_ms(5);
    char *second = submit_as(MINE, "%s", brief);
    cancel(first);
    cancel(second);
    refused(MINE, "{\"task\":\"satchel.noop\",\"unique\":{}}", "/unique/key");
    refused(MINE, "{\"task\":\"satchel.noop\",\"unique\":\"k\"}", "/unique");
    refused(MINE, "{\"task\":\"satchel.noop\",\"unique\":{\"key\":\"k\",\"until\":\"now\"}}", "/unique/until");
    refused(MINE, "{\"task\":\"satchel.noop\",\"unique\":{\"key\":\"k\",\"for\":\"0s\"}}", "/unique/for");
    refused(MINE, "{\"task\":\"satchel.noop\",\"unique\":{\"key\":\"k\",\"x\":1}}", "/unique/x");
    free(runs);
    free(next);
    free(first);
    free(second);
}

/* ---- over a crash ---- */

static void all_of_it_survives_a_crash(void **state)
{
    (void)state;
    char *before = submit_as(MINE, "{\"task\":\"satchel.noop\",\"delay\":\"1500ms\"}");
    char *after = submit_as(MINE, "{\"task\":\"satchel.noop\",\"after\":[\"%s\"]}", before);
    char *then = submit_as(MINE, "{\"task\":\"satchel.noop\",\"after\":[\"%s\",\"%s\"]}", after, before);
    char *member = submit_as(MINE, "{\"task\":\"satchel.noop\",\"delay\":\"1500ms\",\"group\":\"g\"}");
    char *last = submit_as(MINE, "{\"task\":\"satchel.noop\",\"after_group\":\"g\"}");
    char *late = submit_as(MINE, "{\"task\":\"satchel.noop\",\"delay\":600,\"group\":\"g\"}");
    for (int i = 0; i < 3; i++) {
        satcheld_kill(&d);
        satcheld_start(&d);
    }
    json_t *tasks[5] = {finish(&d, MINE, before), finish(&d, MINE, after), finish(&d, MINE, then),
                        finish(&d, MINE, member), finish(&d, MINE, last)};
    for (int i = 0; i < 5; i++)
        expect_state(tasks[i], "succeeded");
    assert_true(time_of(tasks[1], "started_at") >= time_of(tasks[0], "finished_at"));
    assert_true(time_of(tasks[2], "started_at") >= time_of(tasks[1], "finished_at"));
    assert_true(time_of(tasks[4], "started_at") >= time_of(tasks[3], "finished_at"));
    for (int i = 0; i < 5; i++)
        json_decref(tasks[i]);
    cancel(late);
    char *const ids[] = {before, after, then, member, last, late};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        free(ids[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_when_all_have_succeeded),
        cmocka_unit_test(fails_with_the_one_before),
        cmocka_unit_test(what_cannot_be_waited_for_is_refused),
        cmocka_unit_test(results_of_those_before),
        cmocka_unit_test(a_group_ends),
        cmocka_unit_test(a_group_of_nobody_is_not_waited_for),
        cmocka_unit_test(one_living_task_of_a_key),
        cmocka_unit_test(a_key_until_the_start_or_for_a_time),
        cmocka_unit_test(all_of_it_survives_a_crash),
    };
    return cmocka_run_group_tests_name("after, group, unique", tests, start, stop);
}
