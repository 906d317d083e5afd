/* What the API tells of a task's past: every attempt, and of every variable where it came from and where it went. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/ask.h"

#define ACME "X-Tenant-ID: acme\r\n"

static struct satcheld d;

static int start(void **state)
{
    (void)state;
    satcheld_init(&d, "header \"X-Region\" { var = \"region\" }\n"
                      "header \"X-Api-Key\" { var = \"api_key\" secret = true }\n"
                      "task \"child\" { command = {\"/bin/sh\", \"-c\", \"exit {{args.code}}\"} }\n"
                      "task \"quiet\" { command = {\"/bin/true\"} propagate = {\"trace\"} }\n");
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

static json_t *with_attempts(const char *headers, const char *id)
{
    char target[128];
    (void)snprintf(target, sizeof target, "/v1/tasks/%s?attempts=true", id);
    return get_json(&d, target, headers, 200);
}

static json_t *context_of(const char *headers, const char *id, int status)
{
    char target[128];
    (void)snprintf(target, sizeof target, "/v1/tasks/%s/context", id);
    return get_json(&d, target, headers, status);
}

static json_t *attempt_at(const json_t *task, size_t index)
{
    json_t *attempt = json_array_get(json_object_get(task, "attempts"), index);
    assert_non_null(attempt);
    expect_number(attempt, "attempt", (long long)index + 1);
    assert_int_equal(strlen(text_of(attempt, "span_id")), 16);
    return attempt;
}

static void expect_attempts(const json_t *task, size_t n)
{
    assert_int_equal(json_array_size(json_object_get(task, "attempts")), n);
}

/* ---- attempts ---- */

static void only_where_asked_for(void **state)
{
    (void)state;
    json_t *task = run(&d, NULL, "{\"task\":\"satchel.noop\"}");
    assert_null(json_object_get(task, "attempts"));
    struct answer answer = {0};
    char target[128];
    (void)snprintf(target, sizeof target, "/v1/tasks/%s?attempts=yes", text_of(task, "id"));
    ask(&d, &answer, "GET", target, NULL, NULL);
    expect_problem(&answer, 400, "invalid-parameter");
    answer_release(&answer);
    json_t *full = with_attempts(NULL, text_of(task, "id"));
    expect_attempts(full, 1);
    expect_text(attempt_at(full, 0), "state", "succeeded");
    expect_time(attempt_at(full, 0), "finished_at");
    json_decref(full);
    json_decref(task);
}

static void failed_ones_with_their_errors(void **state)
{
    (void)state;
    json_t *task = run(&d, NULL,
                       "{\"task\":\"satchel.fail\",\"args\":{\"message\":\"not yet\",\"times\":2},\"max_attempts\":5,"
                       "\"backoff\":{\"type\":\"fixed\",\"base\":\"1ms\",\"jitter\":false}}");
    expect_state(task, "succeeded");
    json_t *full = with_attempts(NULL, text_of(task, "id"));
    expect_attempts(full, 3);
    for (size_t i = 0; i < 2; i++) {
        expect_text(attempt_at(full, i), "state", "failed");
        expect_text(json_object_get(attempt_at(full, i), "error"), "message", "not yet");
        assert_true(time_of(attempt_at(full, i), "started_at") <= time_of(attempt_at(full, i), "finished_at"));
        assert_true(time_of(attempt_at(full, i), "finished_at") <= time_of(attempt_at(full, i + 1), "started_at"));
        assert_string_not_equal(text_of(attempt_at(full, i), "span_id"), text_of(attempt_at(full, i + 1), "span_id"));
    }
    expect_text(attempt_at(full, 2), "state", "succeeded");
    assert_null(json_object_get(attempt_at(full, 2), "error"));
    json_decref(full);
    json_decref(task);
}

static void a_retry_by_hand_keeps_the_earlier_ones(void **state)
{
    (void)state;
    json_t *task = run(&d, NULL, "{\"task\":\"child\",\"args\":{\"code\":3}}");
    expect_state(task, "failed");
    json_decref(act(&d, NULL, text_of(task, "id"), "retry", 202));
    json_decref(finish(&d, NULL, text_of(task, "id")));
    json_t *full = with_attempts(NULL, text_of(task, "id"));
    expect_attempts(full, 2);
    for (size_t i = 0; i < 2; i++)
        expect_number(attempt_at(full, i), "exit_code", 3);
    json_decref(full);
    json_decref(task);
}

static void a_running_one_and_one_that_a_kill_cut_off(void **state)
{
    (void)state;
    json_t *task = submit(&d, NULL, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":30}}", 202);
    json_decref(await_state(&d, NULL, text_of(task, "id"), "running"));
    json_t *full = with_attempts(NULL, text_of(task, "id"));
    expect_attempts(full, 1);
    expect_text(attempt_at(full, 0), "state", "running");
    assert_true(json_is_null(json_object_get(attempt_at(full, 0), "finished_at")));
    json_decref(full);
    satcheld_kill(&d);
    satcheld_start(&d);
    json_decref(await_state(&d, NULL, text_of(task, "id"), "running"));
    full = with_attempts(NULL, text_of(task, "id"));
    expect_number(full, "lost", 1);
    expect_attempts(full, 2);
    expect_text(attempt_at(full, 0), "state", "lost");
    assert_true(time_of(attempt_at(full, 0), "started_at") <= time_of(attempt_at(full, 0), "finished_at"));
    expect_text(attempt_at(full, 1), "state", "running");
    json_decref(full);
    json_decref(act(&d, NULL, text_of(task, "id"), "cancel", 200));
    full = with_attempts(NULL, text_of(task, "id"));
    expect_text(attempt_at(full, 1), "state", "canceled");
    json_decref(full);
    json_decref(task);
}

static void the_span_is_what_the_handler_saw(void **state)
{
    (void)state;
    json_t *task = run(&d, "traceparent: " TRACEPARENT "\r\n", "{\"task\":\"satchel.context\"}");
    json_t *full = with_attempts(NULL, text_of(task, "id"));
    const char *seen = text_of(json_object_get(task, "result"), "traceparent");
    assert_memory_equal(seen + 3, TRACE_ID, 32);
    assert_memory_equal(seen + 36, text_of(attempt_at(full, 0), "span_id"), 16);
    json_decref(full);
    json_decref(task);
}

/* ---- the context explained ---- */

#define FULL                                                                                                           \
    ACME "X-Region: eu-1\r\nX-Api-Key: hush-hush\r\nbaggage: a=1\r\ntraceparent: " TRACEPARENT                         \
         "\r\nX-Request-ID: r-1\r\n"

static json_t *variable(const json_t *view, const char *name, const char *value, const char *origin)
{
    json_t *found = json_object_get(json_object_get(view, "variables"), name);
    if (!found)
        fail_msg("%s is not told", name);
    if (value)
        expect_text(found, "value", value);
    expect_text(found, "origin", origin);
    return found;
}

static void expect_sent(const json_t *variable, const char *sent)
{
    expect_json(json_object_get(variable, "sent"), sent);
}

static void values_and_origins(void **state)
{
    (void)state;
    json_t *task =
        run(&d, FULL, "{\"task\":\"satchel.noop\",\"context\":{\"k\":\"v\"},\"deadline\":\"2099-01-01T00:00:00Z\"}");
    json_t *view = context_of(ACME, text_of(task, "id"), 200);
    expect_text(view, "id", text_of(task, "id"));
    expect_text(view, "state", "succeeded");
    expect_sent(variable(view, "tenant", "acme", "header"), "[{\"attempt\":1,\"to\":\"handler\"}]");
    (void)variable(view, "region", "eu-1", "header");
    (void)variable(view, "baggage", "a=1", "header");
    (void)variable(view, "request_id", "r-1", "header");
    (void)variable(view, "k", "v", "body");
    (void)variable(view, "deadline", "2099-01-01T00:00:00.000000Z", "body");
    expect_text(json_object_get(task, "context"), "traceparent",
                text_of(variable(view, "traceparent", NULL, "header"), "value"));
    json_t *secret = variable(view, "api_key", "***", "header");
    assert_true(json_is_true(json_object_get(secret, "secret")));
    char *text = json_dumps(view, 0);
    assert_null(strstr(text, "hush-hush"));
    free(text);
    expect_attempts(view, 1);
    json_decref(view);
    json_decref(task);
}

static void what_was_made_up_says_so(void **state)
{
    (void)state;
    json_t *task = run(&d, NULL, "{\"task\":\"satchel.noop\"}");
    json_t *view = context_of(NULL, text_of(task, "id"), 200);
    (void)variable(view, "tenant", "default", "config");
    (void)variable(view, "traceparent", NULL, "generated");
    (void)variable(view, "request_id", NULL, "generated");
    json_decref(view);
    json_decref(task);
}

static void commands_attempt_by_attempt(void **state)
{
    (void)state;
    json_t *task = run(&d, FULL,
                       "{\"task\":\"child\",\"args\":{\"code\":1},\"context\":{\"k\":\"v\"},\"max_attempts\":2,"
                       "\"backoff\":{\"type\":\"fixed\",\"base\":\"1ms\"}}");
    expect_state(task, "failed");
    json_t *view = context_of(ACME, text_of(task, "id"), 200);
    expect_sent(variable(view, "tenant", "acme", "header"),
                "[{\"attempt\":1,\"to\":\"environment\",\"target\":\"/bin/sh\",\"as\":\"X_TENANT_ID\"},"
                "{\"attempt\":2,\"to\":\"environment\",\"target\":\"/bin/sh\",\"as\":\"X_TENANT_ID\"}]");
    expect_sent(variable(view, "k", "v", "body"),
                "[{\"attempt\":1,\"to\":\"environment\",\"target\":\"/bin/sh\",\"as\":\"X_SATCHEL_VAR_K\"},"
                "{\"attempt\":2,\"to\":\"environment\",\"target\":\"/bin/sh\",\"as\":\"X_SATCHEL_VAR_K\"}]");
    expect_sent(variable(view, "api_key", "***", "header"), "[]");
    json_decref(view);
    json_decref(task);
}

static void what_a_policy_keeps_back_was_not_sent(void **state)
{
    (void)state;
    json_t *task = run(&d, FULL, "{\"task\":\"quiet\",\"context\":{\"k\":\"v\"}}");
    json_t *view = context_of(ACME, text_of(task, "id"), 200);
    assert_int_equal(json_array_size(json_object_get(variable(view, "traceparent", NULL, "header"), "sent")), 1);
    expect_sent(variable(view, "tenant", "acme", "header"), "[]");
    expect_sent(variable(view, "baggage", "a=1", "header"), "[]");
    expect_sent(variable(view, "region", "eu-1", "header"), "[]");
    expect_sent(variable(view, "k", "v", "body"), "[]");
    json_decref(view);
    json_decref(task);
}

static void sub_tasks_inherit(void **state)
{
    (void)state;
    json_t *task = run(&d, FULL,
                       "{\"task\":\"satchel.spawn\",\"args\":{\"task\":\"satchel.context\",\"count\":1},"
                       "\"context\":{\"k\":\"v\"}}");
    const char *child = json_string_value(json_array_get(json_object_get(task, "result"), 0));
    assert_non_null(child);
    json_t *ended = finish(&d, ACME, child);
    expect_text(json_object_get(ended, "result"), "k", "v");
    char origin[64], sent[256];
    (void)snprintf(origin, sizeof origin, "inherited:%s", text_of(task, "id"));
    (void)snprintf(sent, sizeof sent,
                   "[{\"attempt\":1,\"to\":\"handler\"},{\"attempt\":1,\"to\":\"task\",\"target\":\"%s\"}]", child);
    json_t *view = context_of(ACME, text_of(task, "id"), 200);
    expect_sent(variable(view, "k", "v", "body"), sent);
    expect_sent(variable(view, "api_key", "***", "header"), sent);
    json_decref(view);
    view = context_of(ACME, child, 200);
    (void)variable(view, "tenant", "acme", origin);
    (void)variable(view, "k", "v", origin);
    (void)variable(view, "baggage", "a=1", origin);
    json_decref(view);
    json_decref(ended);
    json_decref(task);
}

static void a_parent_named_over_http(void **state)
{
    (void)state;
    json_t *parent = run(&d, FULL, "{\"task\":\"satchel.noop\",\"context\":{\"k\":\"v\"}}");
    char body[256], origin[64];
    (void)snprintf(body, sizeof body, "{\"task\":\"satchel.noop\",\"parent_id\":\"%s\",\"context\":{\"new\":\"1\"}}",
                   text_of(parent, "id"));
    (void)snprintf(origin, sizeof origin, "inherited:%s", text_of(parent, "id"));
    json_t *child = run(&d, FULL "X-Satchel-Var-K: v\r\n", body);
    expect_text(child, "parent_id", text_of(parent, "id"));
    expect_text(child, "root_id", text_of(parent, "id"));
    (void)snprintf(body, sizeof body, "{\"task\":\"satchel.noop\",\"parent_id\":\"%s\"}", text_of(child, "id"));
    json_t *grandchild = run(&d, ACME, body);
    expect_text(grandchild, "root_id", text_of(parent, "id"));
    json_t *view = context_of(ACME, text_of(child, "id"), 200);
    (void)variable(view, "tenant", "acme", origin);
    (void)variable(view, "k", "v", origin);
    (void)variable(view, "traceparent", NULL, origin);
    (void)variable(view, "new", "1", "body");
    json_decref(view);
    json_decref(grandchild);
    struct answer answer = {0};
    ask(&d, &answer, "POST", "/v1/tasks", JSON_TYPE "X-Tenant-ID: other\r\n", body);
    expect_problem(&answer, 422, "invalid-submission");
    json_t *problem = answer_json(&answer);
    expect_pointer(problem, "/parent_id");
    json_decref(problem);
    answer_release(&answer);
    json_decref(child);
    json_decref(parent);
}

static void of_nobody_else(void **state)
{
    (void)state;
    json_t *task = run(&d, ACME, "{\"task\":\"satchel.noop\"}");
    json_decref(context_of("X-Tenant-ID: other\r\n", text_of(task, "id"), 404));
    json_decref(context_of(ACME, "01995a2e-7c3b-7d21-9f0e-4b8f6d1c2a35", 404));
    json_decref(context_of(ACME, "nonsense", 404));
    (void)act(&d, ACME, text_of(task, "id"), "delete", 204);
    json_decref(context_of(ACME, text_of(task, "id"), 410));
    json_decref(task);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_where_asked_for),
        cmocka_unit_test(failed_ones_with_their_errors),
        cmocka_unit_test(a_retry_by_hand_keeps_the_earlier_ones),
        cmocka_unit_test(a_running_one_and_one_that_a_kill_cut_off),
        cmocka_unit_test(the_span_is_what_the_handler_saw),
        cmocka_unit_test(values_and_origins),
        cmocka_unit_test(what_was_made_up_says_so),
        cmocka_unit_test(commands_attempt_by_attempt),
        cmocka_unit_test(what_a_policy_keeps_back_was_not_sent),
        cmocka_unit_test(sub_tasks_inherit),
        cmocka_unit_test(a_parent_named_over_http),
        cmocka_unit_test(of_nobody_else),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
