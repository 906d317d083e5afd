/* See many.h. */
#include "tests/context/many.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>

#include "tests/support/ask.h"

#define VALUE_MAX 96
#define COMPLAINTS_MAX 20

enum variable {
#define VARIABLE(id, known, name, field, environment, shell, sent) V_##id,
#include "tests/context/variables.def"
#undef VARIABLE
    VARIABLES
};

static const struct {
    const char *name, *field, *environment;
} rows[VARIABLES] = {
#define VARIABLE(id, known, name, field, environment, shell, sent) {name, field, environment},
#include "tests/context/variables.def"
#undef VARIABLE
};

#define REPEATED ",\"max_attempts\":3,\"backoff\":{\"type\":\"fixed\",\"base\":\"1ms\",\"jitter\":false}"

const struct many_kind many_kinds[] = {
    {"builtin", "\"task\":\"satchel.context\"", 36, REPORT_JSON, true, false, 1},
    {"plugin", "\"task\":\"seen\"", 22, REPORT_JSON, false, false, 1},
    {"quick plugin", "\"task\":\"seen.quick\"", 10, REPORT_JSON, false, false, 1},
    {"thread of a plugin", "\"task\":\"seen\",\"args\":{\"from\":\"thread\"}", 2, REPORT_JSON, false, false, 1},
    {"async call of a plugin", "\"task\":\"seen\",\"args\":{\"from\":\"async\"}", 2, REPORT_JSON, false, false, 1},
    {"repeated", "\"task\":\"seen\",\"args\":{\"fail_until\":2}" REPEATED, 6, REPORT_JSON, false, false, 2},
    {"delayed and repeated", "\"task\":\"seen\",\"delay\":\"5ms\",\"args\":{\"fail_until\":3}" REPEATED, 2, REPORT_JSON,
     false, false, 3},
    {"sub-task", "\"task\":\"satchel.spawn\",\"args\":{\"task\":\"satchel.context\"}", 6, REPORT_JSON, true, true, 1},
    {"sub-task of a plugin", "\"task\":\"seen\",\"args\":{\"spawn\":\"seen\"}", 4, REPORT_JSON, false, true, 1},
    {"command", "\"task\":\"env\"", 2, REPORT_ENVIRONMENT, false, false, 1},
    {"HTTP", "\"task\":\"call\"", 3, REPORT_HEAD, false, false, 1},
    {"canceled while it waits", "\"task\":\"satchel.noop\",\"delay\":\"1h\"", 3, REPORT_NONE, false, false, 0},
    {"canceled while it runs", "\"task\":\"seen\",\"args\":{\"block_until\":2}", 2, REPORT_NONE, false, false, 0},
};
const size_t n_many_kinds = sizeof many_kinds / sizeof many_kinds[0];

const struct many_kind *many_kind_of(unsigned n)
{
    unsigned at = n * 37 % 100; /* mixed, and each hundred has them all */
    const struct many_kind *kind = many_kinds;
    for (; at >= kind->percent; kind++)
        at -= kind->percent;
    return kind;
}

unsigned many_tenants(unsigned total)
{
    return total >= 1000000 ? 1000 : 200;
}

/* ---- what each variable of task n is ---- */

static uint64_t mixed(uint64_t n)
{
    n = (n + 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
    n = (n ^ (n >> 27)) * 0x94d049bb133111ebu;
    return n ^ (n >> 31);
}

static void value_of(unsigned n, unsigned tenants, enum variable v, char out[VALUE_MAX])
{
    out[0] = '\0';
    switch (v) {
    case V_TENANT: (void)snprintf(out, VALUE_MAX, "tenant-%u", n % tenants); break;
    case V_TRACEPARENT:
        (void)snprintf(out, VALUE_MAX, "00-%016llx%016llx-%016llx-01", (unsigned long long)mixed(n), n + 1ULL,
                       (unsigned long long)mixed(n + (1ULL << 40)));
        break;
    case V_TRACESTATE: (void)snprintf(out, VALUE_MAX, "s=%u,t@x=a/%u", n, n); break;
    case V_BAGGAGE: (void)snprintf(out, VALUE_MAX, "n=%u;p,m=%%20%u", n, n); break;
    case V_REQUEST_ID: (void)snprintf(out, VALUE_MAX, "r/%u", n); break;
    case V_CORRELATION_ID: (void)snprintf(out, VALUE_MAX, "c/%u", n); break;
    case V_DEADLINE:
        (void)snprintf(out, VALUE_MAX, "2099-01-01T00:%02u:00.%06uZ", n / 1000000 % 60, n % 1000000);
        break;
    case V_BODY: (void)snprintf(out, VALUE_MAX, "%u \xc3\xbc = %u", n, n); break;
    case V_HEADER: (void)snprintf(out, VALUE_MAX, "region %u", n); break;
    case V_SECRET: (void)snprintf(out, VALUE_MAX, "secret %u", n); break;
    case V_TASK_ID:
    case V_ATTEMPT:
    case VARIABLES: break;
    }
}

void many_tenant_line(unsigned n, unsigned tenants, char out[64])
{
    char tenant[VALUE_MAX];
    value_of(n, tenants, V_TENANT, tenant);
    (void)snprintf(out, 64, "%s: %.40s\r\n", rows[V_TENANT].field, tenant);
}

char *many_request(unsigned n, unsigned tenants)
{
    char lines[2048] = JSON_TYPE, value[VALUE_MAX], body[512];
    const struct many_kind *kind = many_kind_of(n);
    size_t len = strlen(lines);
    for (unsigned v = 0; v < VARIABLES; v++) {
        value_of(n, tenants, (enum variable)v, value);
        if (value[0] && v != V_BODY)
            len += (size_t)snprintf(lines + len, sizeof lines - len, "%s: %s\r\n", rows[v].field, value);
    }
    if (kind->report != REPORT_NONE)
        (void)snprintf(lines + len, sizeof lines - len, "Prefer: wait=60\r\n");
    value_of(n, tenants, V_BODY, value);
    (void)snprintf(body, sizeof body, "{%s,\"context\":{\"%s\":\"%s\"}}", kind->members, rows[V_BODY].name, value);
    return request_text("POST", "/v1/tasks", lines, body, strlen(body));
}

/* ---- what was seen ---- */

const char *many_child(const json_t *task)
{
    const json_t *result = json_object_get(task, "result");
    return json_string_value(json_is_array(result) ? json_array_get(result, 0) : result);
}

/* The text behind NAME= or Name:, as long as its line; NULL: there is none. */
static char *line_of(const char *all, const char *name, char separator)
{
    size_t len = strlen(name);
    for (const char *line = all; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
        if (strncasecmp(line, name, len) == 0 && line[len] == separator) {
            const char *value = line + len + 1 + (separator == ':');
            return strndup(value, strcspn(value, "\r\n"));
        }
    return NULL;
}

static char *member_of(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    char number[32];
    (void)snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
    return !value ? NULL : strdup(json_is_integer(value) ? number : json_string_value(value));
}

static char *reported(const struct many_kind *kind, const json_t *task, enum variable v)
{
    const json_t *result = json_object_get(task, "result");
    const char *text = json_string_value(result);
    switch (kind->report) {
    case REPORT_JSON: return member_of(result, rows[v].name);
    case REPORT_ENVIRONMENT: return text ? line_of(text, rows[v].environment, '=') : NULL;
    case REPORT_HEAD: return text ? line_of(text, rows[v].field, ':') : NULL;
    case REPORT_NONE: break;
    }
    return NULL;
}

/* Traces are compared up to the span, which must be another one. */
static bool is_right(enum variable v, const char *seen, const char *expected)
{
    enum { SPAN_AT = 36, SPAN_LEN = 16 };
    if (!seen || !expected)
        return seen == expected;
    if (v != V_TRACEPARENT)
        return strcmp(seen, expected) == 0;
    return strlen(seen) == strlen(expected) && memcmp(seen, expected, SPAN_AT) == 0 &&
           memcmp(seen + SPAN_AT, expected + SPAN_AT, SPAN_LEN) != 0 &&
           strcmp(seen + SPAN_AT + SPAN_LEN, expected + SPAN_AT + SPAN_LEN) == 0;
}

static unsigned compare(unsigned n, enum variable v, const char *where, char *seen, const char *expected)
{
    static unsigned complaints;
    bool right = is_right(v, seen, expected);
    if (!right && complaints++ < COMPLAINTS_MAX)
        print_error("task %u (%s), %s: %s is \"%s\", expected \"%s\"\n", n, many_kind_of(n)->name, where, rows[v].name,
                    seen ? seen : "(absent)", expected ? expected : "(absent)");
    free(seen);
    return !right;
}

static unsigned compare_report(unsigned n, unsigned tenants, const json_t *task)
{
    const struct many_kind *kind = many_kind_of(n);
    char value[VALUE_MAX];
    unsigned wrong = 0;
    for (unsigned v = 0; v < VARIABLES; v++) {
        const char *expected = value;
        value_of(n, tenants, (enum variable)v, value);
        if (v == V_TASK_ID)
            expected = text_of(task, "id");
        else if (v == V_ATTEMPT)
            (void)snprintf(value, sizeof value, "%u", kind->attempts);
        else if (v == V_SECRET && kind->report != REPORT_JSON)
            expected = NULL;
        else if (v == V_SECRET && kind->masked)
            expected = "***";
        wrong += compare(n, (enum variable)v, "report", reported(kind, task, (enum variable)v), expected);
    }
    return wrong;
}

unsigned many_mismatches(unsigned n, unsigned tenants, const json_t *task, bool with_report)
{
    const json_t *context = json_object_get(task, "context");
    char value[VALUE_MAX];
    unsigned wrong = 0;
    value_of(n, tenants, V_TENANT, value);
    wrong += compare(n, V_TENANT, "task", member_of(task, "tenant"), value);
    for (unsigned v = V_TENANT + 1; v < V_TASK_ID; v++) {
        value_of(n, tenants, (enum variable)v, value);
        wrong += compare(n, (enum variable)v, "task", member_of(context, rows[v].name), v == V_SECRET ? NULL : value);
    }
    return wrong + (with_report ? compare_report(n, tenants, task) : 0);
}
