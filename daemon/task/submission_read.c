/* One table of members, one function a member.  Nothing stops at the first fault: whoever sent the body learns of all.
 * Flow: submission.c -> submission_read -> the table -> problem_add. */
#include "task/submission_read.h"

#include <math.h>
#include <stdio.h>

#include "config/config.h"
#include "executor/executor.h"
#include "proto/json_in.h"
#include "proto/timetext.h"

#define MEMBERS_MAX 40u /* more than there are names: whoever sends more has sent unknown ones */
#define SECOND_US INT64_C(1000000)

struct reading {
    const struct submission_input *input;
    struct submission_text *text;
    struct problem *problem;
    bool faulty;
    char why[64]; /* a message with numbers in it */
};

/* ---- faults ---- */

static void fault_at(struct reading *r, enum problem_code code, const char *pointer, const char *what)
{
    problem_add(r->problem, code, pointer, "%s", what);
    r->faulty = true;
}

static void fault(struct reading *r, const char *member, const char *what)
{
    char pointer[PROBLEM_POINTER_SIZE];
    problem_pointer(pointer, r->input->pointer, member);
    fault_at(r, PROBLEM_INVALID_SUBMISSION, pointer, what);
}

static void fault_in(struct reading *r, const char *member, const char *inner, const char *what)
{
    char pointer[PROBLEM_POINTER_SIZE], nested[PROBLEM_POINTER_SIZE];
    problem_pointer(pointer, r->input->pointer, member);
    problem_pointer(nested, pointer, inner);
    fault_at(r, PROBLEM_INVALID_SUBMISSION, nested, what);
}

/* ---- kinds of values ---- */

static const char *read_integer(struct reading *r, const json_t *value, int least, int most, int *ret)
{
    double number = json_is_number(value) ? json_number_value(value) : NAN;
    if (number >= least && number <= most && number == floor(number)) {
        *ret = (int)number;
        return NULL;
    }
    (void)snprintf(r->why, sizeof r->why, "must be a whole number from %d to %d", least, most);
    return r->why;
}

static const char *read_duration(const json_t *value, int64_t least_us, int64_t *ret_us)
{
    int64_t us;
    bool good = json_is_string(value) ? duration_parse(json_string_value(value), json_string_length(value), &us)
                                      : json_is_number(value) && duration_from_seconds(json_number_value(value), &us);
    if (!good)
        return "must be a duration (\"250ms\", \"30s\", \"5m\", \"2h\", \"1d\") or a number of seconds";
    if (us < least_us)
        return "must be longer than zero";
    *ret_us = us;
    return NULL;
}

static const char *read_time(const json_t *value, int64_t *ret_us)
{
    if (json_is_string(value) && timestamp_parse(json_string_value(value), json_string_length(value), ret_us))
        return NULL;
    return "must be an RFC 3339 time, such as \"2026-01-02T03:04:05Z\"";
}

static bool has_control(const char *text, size_t len, bool tab_allowed)
{
    for (size_t i = 0; i < len; i++)
        if (((unsigned char)text[i] < 0x20 && !(tab_allowed && text[i] == '\t')) || text[i] == 0x7f)
            return true;
    return false;
}

/* ---- the members ---- */

static void read_task(struct reading *r, const char *name, const json_t *value)
{
    if (!json_is_string(value) || json_string_length(value) == 0) {
        fault(r, name, "must be the name of a task, a string");
        return;
    }
    struct slice task = slice_of(json_string_value(value), json_string_length(value));
    r->text->type = registry_find(r->input->registry, task);
    if (r->text->type && !r->text->type->internal)
        return;
    char pointer[PROBLEM_POINTER_SIZE];
    problem_pointer(pointer, r->input->pointer, name);
    problem_add(r->problem, PROBLEM_UNKNOWN_TASK, pointer, "there is no task named \"%.*s%s\"",
                (int)(task.len < 64 ? task.len : 64), task.data, task.len > 64 ? "..." : "");
    r->faulty = true;
}

static void read_args(struct reading *r, const char *name, const json_t *value)
{
    (void)r, (void)name, (void)value; /* any JSON: its text is taken as it came */
}

static void report(struct reading *r, const char *name, const char *why)
{
    if (why)
        fault(r, name, why);
}

static void read_priority(struct reading *r, const char *name, const json_t *value)
{
    report(r, name, read_integer(r, value, 0, 9, &r->text->priority));
}

static void read_max_attempts(struct reading *r, const char *name, const json_t *value)
{
    report(r, name, read_integer(r, value, 1, 1000, &r->text->max_attempts));
}

static void read_max_lost(struct reading *r, const char *name, const json_t *value)
{
    report(r, name, read_integer(r, value, 0, 100, &r->text->max_lost));
}

static void read_delay(struct reading *r, const char *name, const json_t *value)
{
    r->text->has_delay = true;
    report(r, name, read_duration(value, 0, &r->text->delay_us));
}

static void read_run_at(struct reading *r, const char *name, const json_t *value)
{
    r->text->has_run_at = true;
    report(r, name, read_time(value, &r->text->run_at_us));
}

static void read_timeout(struct reading *r, const char *name, const json_t *value)
{
    report(r, name, read_duration(value, 1, &r->text->timeout_us));
}

static void read_deadline(struct reading *r, const char *name, const json_t *value)
{
    report(r, name, read_time(value, &r->text->deadline_us));
}

static void read_expires_in(struct reading *r, const char *name, const json_t *value)
{
    report(r, name, read_duration(value, 1, &r->text->expires_in_us));
}

static void read_retain(struct reading *r, const char *name, const json_t *value)
{
    r->text->has_retain = true;
    report(r, name, read_duration(value, 0, &r->text->retain_us));
}

static const char *read_backoff_member(struct backoff *backoff, const char *name, const json_t *value)
{
    if (strcmp(name, "base") == 0)
        return read_duration(value, 0, &backoff->base_us);
    if (strcmp(name, "cap") == 0)
        return read_duration(value, 0, &backoff->cap_us);
    if (strcmp(name, "jitter") == 0) {
        backoff->jitter = json_is_true(value);
        return json_is_boolean(value) ? NULL : "must be true or false";
    }
    if (strcmp(name, "type") == 0) {
        const char *type = json_is_string(value) ? json_string_value(value) : "";
        backoff->type = strcmp(type, "fixed") == 0 ? BACKOFF_FIXED : BACKOFF_EXPONENTIAL;
        return strcmp(type, "fixed") == 0 || strcmp(type, "exponential") == 0 ? NULL
                                                                              : "must be \"exponential\" or \"fixed\"";
    }
    return "is not a member of backoff; known are type, base, cap and jitter";
}

static void read_backoff(struct reading *r, const char *name, const json_t *value)
{
    if (!json_is_object(value)) {
        fault(r, name, "must be an object, such as {\"type\": \"exponential\", \"base\": \"1s\", \"cap\": \"5m\"}");
        return;
    }
    struct backoff *backoff = &r->text->backoff;
    bool before = r->faulty;
    const char *inner;
    json_t *part;
    json_object_foreach((json_t *)(uintptr_t)value, inner, part)
    {
        const char *why = read_backoff_member(backoff, inner, part);
        if (why)
            fault_in(r, name, inner, why);
    }
    if (r->faulty != before || backoff->type == BACKOFF_FIXED || backoff->cap_us >= backoff->base_us)
        return;
    if (json_object_get(value, "cap"))
        fault_in(r, name, "cap", "must not be shorter than base");
    else
        backoff->cap_us = backoff->base_us;
}

static const char *check_label(const char *key, const json_t *value)
{
    size_t len = strlen(key);
    if (len < 1 || len > LABEL_KEY_MAX)
        return "a label's name has 1 to 63 bytes";
    for (const char *c = key; *c; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
              (*c != ':' && strchr("._-/", *c))))
            return "a label's name is made of A-Z a-z 0-9 . _ - /";
    if (!json_is_string(value))
        return "must be a string";
    if (json_string_length(value) > LABEL_VALUE_MAX)
        return "a label's value has at most 256 bytes";
    if (has_control(json_string_value(value), json_string_length(value), false))
        return "must not contain control characters";
    return NULL;
}

static void read_labels(struct reading *r, const char *name, const json_t *value)
{
    if (!json_is_object(value)) {
        fault(r, name, "must be an object of strings");
        return;
    }
    if (json_object_size(value) > LABELS_MAX)
        fault(r, name, "there may be at most 64 labels");
    const char *key;
    json_t *label;
    json_object_foreach((json_t *)(uintptr_t)value, key, label)
    {
        const char *why = check_label(key, label);
        if (why)
            fault_in(r, name, key, why);
    }
    r->text->labels = value;
}

static const char *check_variable(const struct reading *r, const char *name, const json_t *value)
{
    static const char *const own[] = {"tenant",         "traceparent", "tracestate", "baggage", "request_id",
                                      "correlation_id", "deadline",    "task_id",    "attempt"};
    size_t len = strlen(name);
    bool good = len >= 1 && len <= 64 && name[0] >= 'a' && name[0] <= 'z';
    for (const char *c = name; good && *c; c++)
        good = (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || strchr("_.-", *c);
    if (!good)
        return "is not the name of a variable: a lower-case letter, then up to 63 of a-z 0-9 _ . -";
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (strcmp(name, own[i]) == 0)
            return "cannot be set here: it comes from a header or from satcheld itself";
    for (size_t i = 0; i < r->input->config->n_headers; i++)
        if (strcmp(name, r->input->config->headers[i].variable) == 0)
            return "cannot be set here: the configuration takes it from a header";
    if (!json_is_string(value))
        return "must be a string";
    if (json_string_length(value) > VARIABLE_VALUE_MAX)
        return "a variable's value has at most 8192 bytes";
    if (has_control(json_string_value(value), json_string_length(value), true))
        return "must not contain control characters";
    return NULL;
}

static void read_context(struct reading *r, const char *name, const json_t *value)
{
    if (!json_is_object(value)) {
        fault(r, name, "must be an object of strings");
        return;
    }
    if (json_object_size(value) > VARIABLES_MAX)
        fault(r, name, "there may be at most 64 variables");
    size_t bytes = 0;
    const char *key;
    json_t *variable;
    json_object_foreach((json_t *)(uintptr_t)value, key, variable)
    {
        const char *why = check_variable(r, key, variable);
        if (why)
            fault_in(r, name, key, why);
        bytes += strlen(key) + json_string_length(variable);
    }
    if (bytes > VARIABLES_BYTES_MAX)
        fault(r, name, "all variables together have at most 32768 bytes");
    r->text->variables = value;
}

static void read_parent_id(struct reading *r, const char *name, const json_t *value)
{
    if (!json_is_string(value) || !task_id_parse(json_string_value(value), json_string_length(value), &r->text->parent))
        fault(r, name, "must be the id of a task");
    else if (!task_id_is_none(r->input->parent) && !task_id_equal(r->input->parent, r->text->parent))
        fault(r, name, "is set by satcheld: a sub-task's parent is the task that submits it");
}

static void read_idempotency_key(struct reading *r, const char *name, const json_t *value)
{
    size_t len = json_is_string(value) ? json_string_length(value) : 0;
    if (len < 1 || len > 255 || has_control(json_string_value(value), len, false))
        fault(r, name, "must be a string of 1 to 255 bytes without control characters");
    else
        r->text->key = slice_of(json_string_value(value), len);
}

static void read_after_id(struct reading *r, const char *name, size_t index, const json_t *value)
{
    char inner[24];
    struct task_id id;
    (void)snprintf(inner, sizeof inner, "%zu", index);
    if (!json_is_string(value) || !task_id_parse(json_string_value(value), json_string_length(value), &id)) {
        fault_in(r, name, inner, "must be the id of a task");
        return;
    }
    for (size_t i = 0; i < r->text->n_after; i++)
        if (task_id_equal(r->text->after[i], id)) {
            fault_in(r, name, inner, "is named twice");
            return;
        }
    r->text->after[r->text->n_after++] = id;
}

static void read_after(struct reading *r, const char *name, const json_t *value)
{
    size_t n = json_is_array(value) ? json_array_size(value) : 0;
    if (n < 1 || n > TASK_AFTER_MAX) {
        fault(r, name, "must be an array of 1 to 64 ids of tasks");
        return;
    }
    for (size_t i = 0; i < n; i++)
        read_after_id(r, name, i, json_array_get(value, i));
}

static struct slice read_name(struct reading *r, const char *name, const json_t *value, size_t most, const char *what)
{
    size_t len = json_is_string(value) ? json_string_length(value) : 0;
    if (len >= 1 && len <= most && !has_control(json_string_value(value), len, false))
        return slice_of(json_string_value(value), len);
    fault(r, name, what);
    return (struct slice){0};
}

#define GROUP_FAULT "must be the name of a group, a string of 1 to 200 bytes without control characters"

bool submission_group_is_valid(struct slice name)
{
    return name.len >= 1 && name.len <= GROUP_MAX && !has_control(name.data, name.len, false);
}

static void read_group(struct reading *r, const char *name, const json_t *value)
{
    r->text->group = read_name(r, name, value, GROUP_MAX, GROUP_FAULT);
}

static void read_after_group(struct reading *r, const char *name, const json_t *value)
{
    r->text->after_group = read_name(r, name, value, GROUP_MAX, GROUP_FAULT);
}

static const char *read_unique_member(struct reading *r, const char *name, const json_t *value)
{
    if (strcmp(name, "key") == 0) {
        size_t len = json_is_string(value) ? json_string_length(value) : 0;
        if (len < 1 || len > UNIQUE_KEY_MAX || has_control(json_string_value(value), len, false))
            return "must be a string of 1 to 255 bytes without control characters";
        r->text->unique_key = slice_of(json_string_value(value), len);
        return NULL;
    }
    if (strcmp(name, "until") == 0) {
        const char *until = json_is_string(value) ? json_string_value(value) : "";
        r->text->unique_until_started = strcmp(until, "started") == 0;
        return r->text->unique_until_started || strcmp(until, "finished") == 0 ? NULL
                                                                               : "must be \"started\" or \"finished\"";
    }
    if (strcmp(name, "for") == 0)
        return read_duration(value, 1, &r->text->unique_for_us);
    return "is not a member of unique; known are key, until and for";
}

static void read_unique(struct reading *r, const char *name, const json_t *value)
{
    if (!json_is_object(value)) {
        fault(r, name, "must be an object, such as {\"key\": \"report-7\", \"until\": \"finished\"}");
        return;
    }
    const char *inner;
    json_t *part;
    json_object_foreach((json_t *)(uintptr_t)value, inner, part)
    {
        const char *why = read_unique_member(r, inner, part);
        if (why)
            fault_in(r, name, inner, why);
    }
    if (!json_object_get(value, "key"))
        fault_in(r, name, "key", "is required: the tenant has one living task of each key");
}

static bool is_callback_url(const char *url, size_t len, const char *host)
{
    if (!host || len > CALLBACK_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if (url[i] <= 0x20 || url[i] >= 0x7f)
            return false;
    size_t host_len = strcspn(host, "/?#");
    return host_len && *host != ':' && !memchr(host, '@', host_len);
}

static void read_callback(struct reading *r, const char *name, const json_t *value)
{
    size_t len = json_is_string(value) ? json_string_length(value) : 0;
    const char *url = json_string_value(value), *host = NULL;
    if (len > 8 && strncasecmp(url, "https://", 8) == 0)
        host = url + 8;
    else if (len > 7 && strncasecmp(url, "http://", 7) == 0)
        host = url + 7;
    if (!is_callback_url(url, len, host))
        fault(r, name, "must be an http or https URL of at most 2048 ASCII characters, without user name or password");
    else
        r->text->callback = slice_of(url, len);
}

static const struct member {
    const char *name;
    void (*read)(struct reading *r, const char *name, const json_t *value);
} members[] = {
    {"task", read_task},
    {"args", read_args},
    {"priority", read_priority},
    {"delay", read_delay},
    {"run_at", read_run_at},
    {"timeout", read_timeout},
    {"deadline", read_deadline},
    {"expires_in", read_expires_in},
    {"max_attempts", read_max_attempts},
    {"max_lost", read_max_lost},
    {"backoff", read_backoff},
    {"labels", read_labels},
    {"context", read_context},
    {"parent_id", read_parent_id},
    {"retain", read_retain},
    {"idempotency_key", read_idempotency_key},
    {"callback", read_callback},
    {"after", read_after},
    {"group", read_group},
    {"after_group", read_after_group},
    {"unique", read_unique},
};

static void read_member(struct reading *r, const char *name, const json_t *value)
{
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        if (strcmp(name, members[i].name) == 0) {
            members[i].read(r, name, value);
            return;
        }
    fault(r, name, "is not known; check its spelling");
}

/* ---- args: the text between the commas, so that every digit stays ---- */

static bool name_is(struct slice raw, const char *name)
{
    if (slice_eq_str(raw, name))
        return true;
    if (!memchr(raw.data, '\\', raw.len))
        return false;
    json_t *decoded = json_loadb(raw.data - 1, raw.len + 2, JSON_DECODE_ANY, NULL); /* with its quotes */
    bool same = json_is_string(decoded) && strcmp(json_string_value(decoded), name) == 0;
    json_decref(decoded);
    return same;
}

static struct slice raw_args(struct slice body)
{
    struct json_member found[MEMBERS_MAX];
    size_t n = json_in_members(body, found, MEMBERS_MAX);
    for (size_t i = 0; i < n && i < MEMBERS_MAX; i++)
        if (name_is(found[i].name, "args"))
            return found[i].value;
    return SLICE_LITERAL("null");
}

bool submission_read(const struct submission_input *input, const json_t *root, struct submission_text *ret,
                     struct problem *problem)
{
    *ret = (struct submission_text){
        .priority = 4,
        .max_attempts = 1,
        .max_lost = 3,
        .backoff = {BACKOFF_EXPONENTIAL, true, SECOND_US, 300 * SECOND_US},
    };
    struct reading r = {.input = input, .text = ret, .problem = problem};
    if (!json_is_object(root)) {
        fault_at(&r, PROBLEM_INVALID_SUBMISSION, input->pointer, "must be a JSON object");
        return false;
    }
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)root, name, value)
    {
        read_member(&r, name, value);
    }
    if (!json_object_get(root, "task"))
        fault(&r, "task", "is required: the name of the task to run");
    if (ret->has_delay && ret->has_run_at)
        fault(&r, "run_at", "contradicts delay: only one of them can say when to run");
    if (!ret->group.data && !slice_eq(ret->after_group, input->group))
        ret->group = input->group;
    if (task_id_is_none(ret->parent))
        ret->parent = input->default_parent;
    if (ret->group.data && slice_eq(ret->group, ret->after_group))
        fault(&r, "after_group", "contradicts group: a task cannot wait for its own group");
    if (!r.faulty)
        ret->args = raw_args(input->body);
    return !r.faulty;
}
