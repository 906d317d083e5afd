/* See paths.h. */
#include "tests/context/paths.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>

struct satcheld d;
struct receiver hook, spans;
const char tenant_line[] = "X-Tenant-ID: a!-_.*'()Z9\r\n";

/* ---- what was seen ---- */

static void replace(char **text, const char *by)
{
    free(*text);
    *text = by ? strdup(by) : NULL;
}

void seen_set(struct seen *s, enum variable v, const char *text)
{
    replace(&s->value[v], text);
}

void seen_own(struct seen *s, enum variable v, const char *text)
{
    replace(&s->own[v], text);
}

static void set_json(struct seen *s, enum variable v, const json_t *value)
{
    char number[32];
    (void)snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
    if (value)
        seen_set(s, v, json_is_integer(value) ? number : json_string_value(value));
}

void seen_object(struct seen *s, const json_t *object)
{
    assert_true(json_is_object(object));
    for (unsigned v = 0; v < VARIABLES; v++)
        set_json(s, (enum variable)v, json_object_get(object, variable_rows[v].name));
}

void seen_task(struct seen *s, const json_t *task)
{
    seen_object(s, json_object_get(task, "context"));
    set_json(s, V_TENANT, json_object_get(task, "tenant"));
    set_json(s, V_TASK_ID, json_object_get(task, "id"));
    set_json(s, V_ATTEMPT, json_object_get(task, "attempt"));
    assert_null(json_object_get(json_object_get(task, "context"), "tenant"));
}

char *request_field(const struct received *request, const char *name)
{
    size_t len = strlen(name);
    char *found = NULL;
    for (const char *line = strstr(request->head, "\r\n"); line && line[2]; line = strstr(line + 2, "\r\n"))
        if (strncasecmp(line + 2, name, len) == 0 && line[2 + len] == ':') {
            const char *value = line + 3 + len + strspn(line + 3 + len, " ");
            assert_null(found); /* none comes twice */
            found = strndup(value, strcspn(value, "\r"));
        }
    return found;
}

void seen_request(struct seen *s, const struct received *request)
{
    for (unsigned v = 0; v < VARIABLES; v++) {
        free(s->value[v]);
        s->value[v] = request_field(request, variable_rows[v].field);
    }
}

/* ---- what is its own ---- */

static void own_numbers(struct seen *s, const char *span, const char *id, unsigned attempt)
{
    char text[64];
    (void)snprintf(text, sizeof text, "00-" TRACE_ID "-%s-01", span);
    seen_own(s, V_TRACEPARENT, text);
    seen_own(s, V_TASK_ID, id);
    (void)snprintf(text, sizeof text, "%u", attempt);
    seen_own(s, V_ATTEMPT, text);
}

void own_of_attempt(struct seen *s, const char *id, unsigned attempt)
{
    char target[128];
    (void)snprintf(target, sizeof target, "/v1/tasks/%s?attempts=true", id);
    json_t *task = get_json(&d, target, tenant_line, 200);
    const json_t *found = json_array_get(json_object_get(task, "attempts"), attempt - 1);
    assert_non_null(found);
    expect_number(found, "attempt", attempt);
    own_numbers(s, text_of(found, "span_id"), id, attempt);
    json_decref(task);
}

struct wanted {
    const char *id;
    char span[17];
};

static bool is_exported(void *arg)
{
    enum { PRODUCER = 4 };
    struct wanted *wanted = arg;
    json_t *all = receiver_spans(&spans);
    size_t i;
    const json_t *span;
    json_array_foreach(all, i, span)
    {
        const char *id = span_text(span, "messaging.message.id");
        if (number_of(span, "kind") == PRODUCER && id && strcmp(id, wanted->id) == 0)
            (void)snprintf(wanted->span, sizeof wanted->span, "%s", text_of(span, "spanId"));
    }
    json_decref(all);
    return wanted->span[0] != '\0';
}

void own_of_task(struct seen *s, const json_t *task, unsigned attempt)
{
    struct wanted wanted = {.id = text_of(task, "id")};
    if (!until(is_exported, &wanted, WAIT_MS))
        fail_msg("no span of the submission of %s was exported", wanted.id);
    own_numbers(s, wanted.span, wanted.id, attempt);
}

/* ---- submitting ---- */

char *all_fields(bool secret)
{
    char *lines = strdup(""), *longer;
    for (unsigned v = 0; v < VARIABLES; v++) {
        const struct variable_row *row = &variable_rows[v];
        if (!row->sent || v == V_BODY || (v == V_SECRET && !secret))
            continue;
        assert_true(asprintf(&longer, "%s%s: %s\r\n", lines, row->field, row->sent) > 0);
        free(lines);
        lines = longer;
    }
    return lines;
}

static char *body_of(const char *members)
{
    json_t *variables = json_pack("{s:s}", variable_rows[V_BODY].name, variable_rows[V_BODY].sent);
    char *text = json_dumps(variables, JSON_COMPACT), *body;
    assert_true(asprintf(&body, "{%s,\"context\":%s}", members, text) > 0);
    free(text);
    json_decref(variables);
    return body;
}

json_t *submit_all(const char *members)
{
    char *fields = all_fields(true), *body = body_of(members);
    json_t *task = submit(&d, fields, body, 202);
    free(body);
    free(fields);
    return task;
}

json_t *submit_all_in_batch(const char *members)
{
    char *fields = all_fields(true), *body = body_of(members), *array;
    struct answer answer = {0};
    assert_true(asprintf(&array, "[{\"task\":\"nope\"},%s]", body) > 0);
    char *headers;
    assert_true(asprintf(&headers, "%s" JSON_TYPE, fields) > 0);
    ask(&d, &answer, "POST", "/v1/tasks:batch", headers, array);
    assert_int_equal(answer.status, 200);
    json_t *list = answer_json(&answer), *task = json_incref(json_array_get(list, 1));
    json_decref(list);
    answer_release(&answer);
    free(headers);
    free(array);
    free(body);
    free(fields);
    return task;
}

json_t *finish_well(const char *id)
{
    json_t *task = finish(&d, tenant_line, id);
    expect_state(task, "succeeded");
    return task;
}

json_t *run_all(const char *members)
{
    json_t *submitted = submit_all(members), *task = finish_well(text_of(submitted, "id"));
    json_decref(submitted);
    return task;
}

const struct received *request_at(size_t n)
{
    if (!receiver_wait(&hook, n + 1, WAIT_MS))
        fail_msg("no request came");
    return &hook.requests[n];
}
