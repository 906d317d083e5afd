#include "tests/support/ask.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* ---- requests ---- */

char *request_text(const char *method, const char *target, const char *headers, const char *body, size_t body_len)
{
    char *text, length[64] = "";
    if (body)
        (void)snprintf(length, sizeof length, "Content-Length: %zu\r\n", body_len);
    int len = asprintf(&text, "%s %s HTTP/1.1\r\nHost: satchel.test\r\n%s%s\r\n%s", method, target,
                       headers ? headers : "", length, body ? body : "");
    assert_true(len > 0);
    return text;
}

void ask_on(struct client *c, struct answer *ret, const char *method, const char *target, const char *headers,
            const char *body)
{
    char *text = request_text(method, target, headers, body, body ? strlen(body) : 0);
    c->awaited_heads += strcmp(method, "HEAD") == 0;
    client_send_text(c, text);
    free(text);
    if (!client_read_limit(c, ret, WAIT_MS + 70000)) /* some of them wait for a task */
        fail_msg("%s %s: the connection was closed without an answer", method, target);
}

void ask(const struct satcheld *d, struct answer *ret, const char *method, const char *target, const char *headers,
         const char *body)
{
    struct client c;
    client_open(&c, d);
    ask_on(&c, ret, method, target, headers, body);
    client_close(&c);
}

json_t *answer_json(const struct answer *answer)
{
    char *type = answer_header(answer, "Content-Type");
    json_error_t error;
    if (!type || (strcmp(type, "application/json") != 0 && strcmp(type, "application/problem+json") != 0))
        fail_msg("this is not JSON: %s\n%s", answer->head, answer->body);
    free(type);
    json_t *json = json_loadb(answer->body, answer->body_len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);
    if (!json)
        fail_msg("this is not JSON (%s): %s", error.text, answer->body);
    return json;
}

static json_t *ask_json(const struct satcheld *d, const char *method, const char *target, const char *headers,
                        const char *body, int status)
{
    struct answer answer = {0};
    ask(d, &answer, method, target, headers, body);
    if (answer.status != status)
        fail_msg("%s %s: status %d, not %d: %s", method, target, answer.status, status, answer.body);
    json_t *json = answer.body_len ? answer_json(&answer) : NULL;
    answer_release(&answer);
    return json;
}

json_t *get_json(const struct satcheld *d, const char *target, const char *headers, int status)
{
    json_t *json = ask_json(d, "GET", target, headers, NULL, status);
    assert_non_null(json);
    return json;
}

/* ---- tasks ---- */

static json_t *post(const struct satcheld *d, const char *more, const char *headers, const char *body, int status)
{
    char *lines;
    assert_true(asprintf(&lines, JSON_TYPE "%s%s", more, headers ? headers : "") > 0);
    json_t *json = ask_json(d, "POST", "/v1/tasks", lines, body, status);
    assert_non_null(json);
    free(lines);
    return json;
}

json_t *submit(const struct satcheld *d, const char *headers, const char *body, int status)
{
    return post(d, "", headers, body, status);
}

json_t *run(const struct satcheld *d, const char *headers, const char *body)
{
    return post(d, "Prefer: wait=60\r\n", headers, body, 200);
}

json_t *get_task(const struct satcheld *d, const char *headers, const char *id, int status)
{
    char target[128];
    (void)snprintf(target, sizeof target, "/v1/tasks/%s", id);
    return get_json(d, target, headers, status);
}

static bool is_final(const json_t *task)
{
    const char *state = text_of(task, "state");
    return strcmp(state, "scheduled") != 0 && strcmp(state, "queued") != 0 && strcmp(state, "running") != 0;
}

json_t *finish(const struct satcheld *d, const char *headers, const char *id)
{
    char target[128];
    (void)snprintf(target, sizeof target, "/v1/tasks/%s?wait=60s", id);
    json_t *task = get_json(d, target, headers, 200);
    if (!is_final(task))
        fail_msg("task %s is still %s", id, text_of(task, "state"));
    return task;
}

/* A task is `running` from its claim on; that its handler has been called is in the file of starts (task/started.h),
 * which decides what a kill means.  No such file: nobody will ask. */
static bool has_started(const struct satcheld *d, const char *id, uint32_t attempt)
{
    struct {
        uint64_t hi, lo;
        uint32_t attempt, unused;
        uint64_t more;
    } mark;
    char *path = satcheld_path(d, "data/satchel.db.started"), digits[33];
    size_t n = 0;
    for (const char *c = id; *c && n < 32; c++)
        if (*c != '-')
            digits[n++] = *c;
    digits[n] = '\0';
    uint64_t lo = strtoull(digits + 16, NULL, 16);
    digits[16] = '\0';
    uint64_t hi = strtoull(digits, NULL, 16);
    FILE *file = fopen(path, "re");
    bool found = file == NULL;
    free(path);
    if (file && fseek(file, 64, SEEK_SET) == 0)
        while (!found && fread(&mark, sizeof mark, 1, file) == 1)
            found = mark.hi == hi && mark.lo == lo && mark.attempt == attempt;
    if (file)
        (void)fclose(file);
    return found;
}

json_t *await_state(const struct satcheld *d, const char *headers, const char *id, const char *state)
{
    long long end = mono_ms() + WAIT_MS;
    for (;;) {
        json_t *task = get_task(d, headers, id, 200);
        if (strcmp(text_of(task, "state"), state) == 0 &&
            (strcmp(state, "running") != 0 || has_started(d, id, (uint32_t)number_of(task, "attempt"))))
            return task;
        if (mono_ms() > end || is_final(task)) {
            char *text = json_dumps(task, 0);
            fail_msg("the task is not %s: %s", state, text);
        }
        json_decref(task);
        pause_ms(5);
    }
}

json_t *act(const struct satcheld *d, const char *headers, const char *id, const char *action, int status)
{
    char target[128];
    bool delete = strcmp(action, "delete") == 0;
    (void)snprintf(target, sizeof target, "/v1/tasks/%s%s%s", id, delete ? "" : ":", delete ? "" : action);
    return ask_json(d, delete ? "DELETE" : "POST", target, headers, delete ? NULL : "", status);
}

/* ---- checks ---- */

void expect_problem(const struct answer *answer, int status, const char *urn)
{
    char type[128];
    if (answer->status != status)
        fail_msg("status %d, not %d: %s", answer->status, status, answer->body);
    assert_true(answer_has(answer, "Content-Type", "application/problem+json"));
    json_t *problem = answer_json(answer);
    (void)snprintf(type, sizeof type, "urn:satchel:problem:%s", urn);
    expect_text(problem, "type", type);
    expect_number(problem, "status", status);
    assert_true(*text_of(problem, "title"));
    assert_true(*text_of(problem, "detail"));
    json_decref(problem);
}

void expect_pointer(const json_t *problem, const char *pointer)
{
    const json_t *errors = json_object_get(problem, "errors");
    assert_true(json_is_array(errors));
    for (size_t i = 0; i < json_array_size(errors); i++) {
        const json_t *error = json_array_get(errors, i);
        assert_true(*text_of(error, "detail"));
        if (strcmp(text_of(error, "pointer"), pointer) == 0)
            return;
    }
    char *text = json_dumps(problem, 0);
    fail_msg("no error points to %s: %s", pointer, text);
}

const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    if (!text) {
        char *all = json_dumps(object, JSON_ENCODE_ANY);
        fail_msg("\"%s\" is no string in %s", name, all ? all : "nothing");
    }
    return text;
}

long long number_of(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    if (!json_is_integer(value)) {
        char *all = json_dumps(object, JSON_ENCODE_ANY);
        fail_msg("\"%s\" is no integer in %s", name, all ? all : "nothing");
    }
    return json_integer_value(value);
}

void expect_text(const json_t *object, const char *name, const char *expected)
{
    const char *text = text_of(object, name);
    if (strcmp(text, expected) != 0)
        fail_msg("\"%s\" is \"%s\", not \"%s\"", name, text, expected);
}

void expect_number(const json_t *object, const char *name, long long expected)
{
    if (number_of(object, name) != expected)
        fail_msg("\"%s\" is %lld, not %lld", name, number_of(object, name), expected);
}

void expect_json(const json_t *value, const char *expected)
{
    json_t *wanted = json_loads(expected, JSON_DECODE_ANY, NULL);
    assert_non_null(wanted);
    if (!json_equal(value, wanted)) {
        char *text = json_dumps(value, JSON_ENCODE_ANY);
        fail_msg("%s is not %s", text ? text : "nothing", expected);
    }
    json_decref(wanted);
}

void expect_state(const json_t *task, const char *state)
{
    if (strcmp(text_of(task, "state"), state) != 0) {
        char *text = json_dumps(task, 0);
        fail_msg("the task is not %s: %s", state, text);
    }
}

long long time_of(const json_t *object, const char *name)
{
    static const char form[] = "dddd-dd-ddTdd:dd:dd.ddddddZ";
    const char *text = text_of(object, name);
    bool good = strlen(text) == sizeof form - 1;
    for (size_t i = 0; good && form[i]; i++)
        good = form[i] == 'd' ? isdigit((unsigned char)text[i]) != 0 : form[i] == text[i];
    if (!good)
        fail_msg("\"%s\" is not a time with microseconds: %s", name, text);
    struct tm tm = {0};
    assert_non_null(strptime(text, "%Y-%m-%dT%H:%M:%S", &tm));
    return timegm(&tm) * 1000000LL + strtoll(text + 20, NULL, 10);
}

void expect_time(const json_t *object, const char *name)
{
    (void)time_of(object, name);
}
