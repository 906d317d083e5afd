/* Paths that leave the process or end in a view: environments, requests, callbacks, answers, events, log, spans. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/context/paths.h"

/* ---- environments ---- */

/* The value of a line "NAME=value" of what env(1) wrote; malloced. */
static char *line_of(const char *all, const char *name)
{
    size_t len = strlen(name);
    for (const char *line = all; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
        if (strncmp(line, name, len) == 0 && line[len] == '=')
            return strndup(line + len + 1, strcspn(line + len + 1, "\n"));
    return NULL;
}

static void look_in_environment(struct seen *s, const char *members, bool shell)
{
    json_t *task = run_all(members);
    const char *all = text_of(task, "result");
    assert_null(strstr(all, variable_rows[V_SECRET].sent)); /* under no name whatever */
    for (unsigned v = 0; v < VARIABLES; v++) {
        const char *name = shell ? variable_rows[v].shell : variable_rows[v].environment;
        s->value[v] = name ? line_of(all, name) : NULL;
    }
    own_of_attempt(s, text_of(task, "id"), 1);
    json_decref(task);
}

void look_ENVIRONMENT(struct seen *s)
{
    look_in_environment(s, "\"task\":\"env\"", false);
}

void look_SHELL_NAMES(struct seen *s)
{
    look_in_environment(s, "\"task\":\"env\"", true);
}

void look_ENVIRONMENT_OF_TRACE(struct seen *s)
{
    look_in_environment(s, "\"task\":\"env.trace\"", false);
}

void look_LIMITED_COMMAND(struct seen *s)
{
    look_in_environment(s, "\"task\":\"env\",\"deadline\":\"2098-01-01T00:00:00+01:00\"", false);
    seen_own(s, V_DEADLINE, "2097-12-31T23:00:00.000000Z");
}

void look_CONTEXT_JSON(struct seen *s)
{
    json_t *task = run_all("\"task\":\"env\"");
    char *text = line_of(text_of(task, "result"), "SATCHEL_CONTEXT");
    assert_non_null(text);
    json_t *context = json_loads(text, 0, NULL), *value;
    const char *key;
    assert_non_null(context);
    json_object_foreach(json_object_get(context, "vars"), key, value)
    {
        unsigned v = 0;
        while (v < VARIABLES && strcasecmp(key, variable_rows[v].field) != 0)
            v++;
        if (v == VARIABLES)
            fail_msg("SATCHEL_CONTEXT holds %s, which no row has", key);
        seen_set(s, (enum variable)v, json_string_value(value));
    }
    own_of_attempt(s, text_of(task, "id"), 1);
    json_decref(context);
    free(text);
    json_decref(task);
}

/* ---- requests ---- */

void look_REQUEST(struct seen *s)
{
    size_t n = hook.n;
    json_t *task = run_all("\"task\":\"call\",\"args\":{}");
    seen_request(s, request_at(n));
    own_of_attempt(s, text_of(task, "id"), 1);
    json_decref(task);
}

void look_REQUEST_REPEATED(struct seen *s)
{
    size_t n = hook.n;
    receiver_answer(&hook, "HTTP/1.1 503 Busy\r\n", "");
    json_t *task = run_all("\"task\":\"call\",\"args\":{}" ONCE_MORE);
    seen_request(s, request_at(n + 1));
    own_of_attempt(s, text_of(task, "id"), 2);
    char *first = request_field(&hook.requests[n], "traceparent");
    assert_true(first && s->value[V_TRACEPARENT] && strcmp(first, s->value[V_TRACEPARENT]) != 0);
    free(first);
    json_decref(task);
}

void look_REQUEST_TO_SUBMITTERS_URL(struct seen *s)
{
    size_t n = hook.n;
    char members[256];
    (void)snprintf(members, sizeof members, "\"task\":\"call.any\",\"args\":{\"url\":\"%s/any\"}", hook.url);
    json_t *task = run_all(members);
    seen_request(s, request_at(n));
    own_of_attempt(s, text_of(task, "id"), 1);
    json_decref(task);
}

/* The task that told of this one's end; its id, malloced. */
static char *callback_of(const json_t *task)
{
    char target[128];
    (void)snprintf(target, sizeof target, "/v1/tasks?task=satchel.callback&parent=%s", text_of(task, "id"));
    json_t *list = get_json(&d, target, tenant_line, 200);
    char *id = strdup(text_of(json_array_get(json_object_get(list, "tasks"), 0), "id"));
    json_decref(list);
    return id;
}

/* The end of a task of these members is told by the callback's try `attempt`, in the request n + attempt - 1. */
static void look_at_callback(struct seen *s, const char *members, const char *state, unsigned attempt)
{
    size_t n = hook.n;
    char all[512];
    (void)snprintf(all, sizeof all, "%s,\"callback\":\"%s/hook\"", members, hook.url);
    json_t *task = submit_all(all);
    const struct received *request = request_at(n + attempt - 1);
    assert_null(strstr(request->body, variable_rows[V_SECRET].sent));
    json_t *told = json_loads(request->body, 0, NULL);
    expect_text(told, "id", text_of(task, "id"));
    expect_state(told, state);
    seen_request(s, request);
    char *id = callback_of(task);
    json_decref(finish_well(id));
    own_of_attempt(s, id, attempt);
    free(id);
    json_decref(told);
    json_decref(task);
}

void look_CALLBACK(struct seen *s)
{
    look_at_callback(s, "\"task\":\"satchel.noop\"", "succeeded", 1);
}

void look_CALLBACK_REPEATED(struct seen *s)
{
    receiver_answer(&hook, "HTTP/1.1 503 Busy\r\nRetry-After: 0\r\n", "");
    look_at_callback(s, "\"task\":\"satchel.noop\"", "succeeded", 2);
}

void look_EXPIRY(struct seen *s)
{
    look_at_callback(s, "\"task\":\"satchel.noop\",\"delay\":\"1h\",\"expires_in\":\"1ms\"", "expired", 1);
}

/* ---- answers ---- */

static void look_at_task(struct seen *s, json_t *task, unsigned attempt)
{
    char *text = json_dumps(task, 0);
    assert_null(strstr(text, variable_rows[V_SECRET].sent));
    free(text);
    seen_task(s, task);
    own_of_task(s, task, attempt);
    json_decref(task);
}

void look_ANSWER(struct seen *s)
{
    look_at_task(s, submit_all("\"task\":\"satchel.noop\",\"delay\":\"1h\""), 0);
}

void look_BATCHED(struct seen *s)
{
    look_at_task(s, submit_all_in_batch("\"task\":\"satchel.noop\",\"delay\":\"1h\""), 0);
}

void look_OBJECT(struct seen *s)
{
    look_at_task(s, run_all("\"task\":\"satchel.noop\""), 1);
}

void look_LIST(struct seen *s)
{
    json_t *task = run_all("\"task\":\"satchel.noop\",\"labels\":{\"for\":\"the-list\"}");
    json_t *list = get_json(&d, "/v1/tasks?label=for:the-list", tenant_line, 200);
    assert_int_equal(json_array_size(json_object_get(list, "tasks")), 1);
    look_at_task(s, json_incref(json_array_get(json_object_get(list, "tasks"), 0)), 1);
    json_decref(list);
    json_decref(task);
}

void look_CANCELED(struct seen *s)
{
    json_t *task = submit_all("\"task\":\"satchel.noop\",\"delay\":\"1h\"");
    look_at_task(s, act(&d, tenant_line, text_of(task, "id"), "cancel", 200), 0);
    json_decref(task);
}

void look_RETRIED(struct seen *s)
{
    json_t *task = submit_all("\"task\":\"satchel.fail\",\"args\":{\"message\":\"no\"}");
    json_decref(finish(&d, tenant_line, text_of(task, "id")));
    json_t *again = act(&d, tenant_line, text_of(task, "id"), "retry", 202);
    char attempt[32];
    (void)snprintf(attempt, sizeof attempt, "%lld", number_of(again, "attempt")); /* it may run again already */
    look_at_task(s, again, 1);
    seen_own(s, V_ATTEMPT, attempt);
    json_decref(finish(&d, tenant_line, text_of(task, "id")));
    json_decref(task);
}

void look_EVENT(struct seen *s)
{
    json_t *task = run_all("\"task\":\"satchel.noop\"");
    struct answer answer = {0};
    char target[128];
    (void)snprintf(target, sizeof target, "/v1/tasks/%s/events", text_of(task, "id"));
    ask(&d, &answer, "GET", target, tenant_line, NULL);
    const char *event = strstr(answer.body, "event: state\n"), *data = event ? strstr(event, "\ndata: ") : NULL;
    assert_non_null(data);
    json_t *told = json_loads(data + 7, JSON_DISABLE_EOF_CHECK, NULL);
    assert_non_null(told);
    look_at_task(s, told, 1);
    answer_release(&answer);
    json_decref(task);
}

void look_AUDIT(struct seen *s)
{
    json_t *task = run_all("\"task\":\"satchel.noop\""), *variable;
    char target[128];
    const char *name;
    (void)snprintf(target, sizeof target, "/v1/tasks/%s/context", text_of(task, "id"));
    json_t *view = get_json(&d, target, tenant_line, 200), *values = json_object();
    json_object_foreach(json_object_get(view, "variables"), name, variable)(void)
        json_object_set(values, name, json_object_get(variable, "value"));
    seen_object(s, values);
    own_of_task(s, task, 1);
    json_decref(values);
    json_decref(view);
    json_decref(task);
}

/* ---- log and spans ---- */

static const char complaint[] = "a handler left context behind on its worker thread";

void look_LOG_LINE(struct seen *s)
{
    json_t *task = run_all("\"task\":\"seen\",\"args\":{\"leave\":1}");
    satcheld_log_wait(&d, complaint);
    char *log = satcheld_log(&d), *line = strstr(log, complaint);
    assert_null(strstr(log, variable_rows[V_SECRET].sent)); /* in no line at all */
    while (line > log && line[-1] != '\n')
        line--;
    json_t *told = json_loads(line, JSON_DISABLE_EOF_CHECK, NULL);
    assert_non_null(told);
    char trace[64];
    (void)snprintf(trace, sizeof trace, "00-%s-%s-01", text_of(told, "trace_id"), text_of(told, "span_id"));
    seen_object(s, told);
    seen_set(s, V_TRACEPARENT, trace);
    own_of_attempt(s, text_of(task, "id"), 1);
    json_decref(told);
    free(log);
    json_decref(task);
}

static json_t *consumer_span(const char *id)
{
    enum { CONSUMER = 5 };
    json_t *all = receiver_spans(&spans), *span, *found = NULL;
    size_t i;
    json_array_foreach(all, i, span)
    {
        const char *of = span_text(span, "messaging.message.id");
        if (number_of(span, "kind") == CONSUMER && of && strcmp(of, id) == 0)
            found = json_incref(span);
    }
    json_decref(all);
    return found;
}

static bool has_consumer_span(void *id)
{
    json_t *span = consumer_span(id);
    json_decref(span);
    return span != NULL;
}

/* Whatever an attribute holds that was sent is among what was seen, wherever it stands. */
void look_SPANS(struct seen *s)
{
    json_t *task = run_all("\"task\":\"satchel.noop\"");
    const char *id = text_of(task, "id");
    assert_true(until(has_consumer_span, (void *)(uintptr_t)id, WAIT_MS));
    json_t *span = consumer_span(id);
    char trace[64], *text = json_dumps(span, 0);
    (void)snprintf(trace, sizeof trace, "00-%s-%s-01", text_of(span, "traceId"), text_of(span, "spanId"));
    seen_set(s, V_TRACEPARENT, trace);
    seen_set(s, V_TRACESTATE, json_string_value(json_object_get(span, "traceState")));
    seen_set(s, V_TENANT, span_text(span, "satchel.tenant"));
    seen_set(s, V_CORRELATION_ID, span_text(span, "messaging.message.conversation_id"));
    seen_set(s, V_TASK_ID, span_text(span, "messaging.message.id"));
    seen_set(s, V_ATTEMPT, span_number(span, "satchel.task.attempt"));
    seen_set(s, V_REQUEST_ID, span_text(span, "satchel.request_id"));
    static const enum variable others[] = {V_BAGGAGE, V_DEADLINE, V_BODY, V_HEADER, V_SECRET};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strstr(text, variable_rows[others[i]].sent))
            seen_set(s, others[i], variable_rows[others[i]].sent);
    own_of_attempt(s, id, 1);
    free(text);
    json_decref(span);
    json_decref(task);
}
