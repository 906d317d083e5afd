/* From a submission's text and its caller's context to a spec: what is read is checked in submission_read.c; here the
 * task gets its identity and a context of its own.
 *
 * The task's context is a copy of the caller's with the submission's own span, the earlier deadline and the body's
 * variables; it never holds the submitting attempt's id and number.
 * Flow: api/submit.c, api/spawn.c -> submission_parse -> engine_post(ENGINE_SUBMIT). */
#include "task/submission.h"

#include <stdlib.h>

#include "base/clock.h"
#include "config/config.h"
#include "executor/executor.h"
#include "proto/json_in.h"
#include "proto/json_out.h"
#include "proto/timetext.h"
#include "task/submission_read.h"

#define CONTEXT_VARIABLES_MAX 192u /* in all, inherited ones included: a chain of sub-tasks must not grow for ever */
#define FLAG_SAMPLED 1u
#define CONTEXT_BYTES_MAX ((size_t)256 * 1024)
#define ID_TIME_OFF_US 1000

struct building {
    const struct submission_input *input;
    const struct submission_text *text;
    satchel_context *live;
    satchel_trace incoming;
    bool continues; /* the caller's trace; else the submission started one */
    bool body_deadline;
    int64_t deadline_us;
    struct buf labels, origins;
    char *context;
    size_t context_len;
};

static void building_release(struct building *b)
{
    satchel_context_unref(b->live);
    buf_release(&b->labels);
    buf_release(&b->origins);
    satchel_free(b->context);
}

/* ---- the context: called with the copy entered ---- */

static uint64_t random_part(const satchel_trace *trace)
{
    uint64_t value = 0;
    for (size_t i = 9; i < sizeof trace->trace_id; i++)
        value = value << 8 | trace->trace_id[i];
    return value;
}

static int set_trace(struct building *b)
{
    satchel_trace own;
    b->continues = satchel_trace_current(&b->incoming) == SATCHEL_OK;
    int status = b->continues ? satchel_trace_child(&b->incoming, &own) : satchel_trace_root(&own);
    if (status == SATCHEL_OK && !b->continues && random_part(&own) < b->input->root_sampling)
        own.flags |= FLAG_SAMPLED;
    if (status == SATCHEL_OK)
        status = satchel_set_trace(&own, NULL);
    if (status == SATCHEL_OK && !b->continues && satchel_tracestate())
        status = satchel_unset(satchel_known_var(SATCHEL_TRACESTATE), NULL);
    return status;
}

/* The value of a deadline as the header would have brought it: exact to the microsecond. */
static int deadline_value(int64_t us, satchel_value **ret)
{
    char text[TIMESTAMP_TEXT_SIZE];
    timestamp_format(us, text);
    const char *name = satchel_var_header(satchel_known_var(SATCHEL_DEADLINE));
    satchel_field field = {.name = name, .value = text, .name_len = strlen(name), .value_len = TIMESTAMP_TEXT_SIZE - 1};
    satchel_context *carrier;
    int status = satchel_extract(&field, 1, &carrier, NULL, NULL);
    if (status == SATCHEL_OK) {
        status = satchel_context_get(carrier, satchel_known_var(SATCHEL_DEADLINE), ret);
        satchel_context_unref(carrier);
    }
    return status;
}

static int set_deadline(struct building *b)
{
    satchel_var *var = satchel_known_var(SATCHEL_DEADLINE);
    satchel_value *value;
    char text[TIMESTAMP_TEXT_SIZE + 1];
    if (satchel_get_value(var, &value) == SATCHEL_OK) {
        size_t len = satchel_value_text(value, text, sizeof text);
        if (len < sizeof text)
            (void)timestamp_parse(text, len, &b->deadline_us);
        satchel_value_unref(value);
    }
    int64_t wanted = b->text->deadline_us;
    if (!wanted || (b->deadline_us && b->deadline_us <= wanted))
        return SATCHEL_OK;
    int status = deadline_value(wanted, &value);
    if (status != SATCHEL_OK)
        return status;
    status = satchel_set_value(var, value, NULL);
    satchel_value_unref(value);
    b->deadline_us = wanted;
    b->body_deadline = true;
    return status;
}

static int set_variables(struct building *b)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)b->text->variables, name, value)
    {
        satchel_var *var;
        int status = satchel_variable(name, &var);
        if (status == SATCHEL_OK) {
            status = satchel_set_stringn(var, json_string_value(value), json_string_length(value), NULL);
            satchel_var_unref(var);
        }
        if (status != SATCHEL_OK)
            return status;
    }
    return SATCHEL_OK;
}

static int forget_attempt(void)
{
    static const satchel_known known[] = {SATCHEL_TASK_ID, SATCHEL_ATTEMPT};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (satchel_context_has(NULL, satchel_known_var(known[i]))) {
            int status = satchel_unset(satchel_known_var(known[i]), NULL);
            if (status != SATCHEL_OK)
                return status;
        }
    return SATCHEL_OK;
}

static int make_context(struct building *b)
{
    b->live = satchel_context_copy(b->input->context);
    if (!b->live)
        return SATCHEL_ENOMEM;
    int status = satchel_context_enter(b->live);
    if (status != SATCHEL_OK)
        return status;
    status = set_trace(b);
    if (status == SATCHEL_OK)
        status = forget_attempt();
    if (status == SATCHEL_OK)
        status = set_deadline(b);
    if (status == SATCHEL_OK)
        status = set_variables(b);
    (void)satchel_context_exit(b->live);
    if (status == SATCHEL_OK)
        status = satchel_context_to_json(b->live, SATCHEL_JSON_SECRETS, &b->context, &b->context_len);
    return status;
}

/* ---- where each variable came from ---- */

static bool decided_here(const struct building *b, struct slice name)
{
    if (slice_eq_str(name, "traceparent") || slice_eq_str(name, "task_id") || slice_eq_str(name, "attempt"))
        return true;
    if (slice_eq_str(name, "tracestate"))
        return !b->continues;
    if (slice_eq_str(name, "deadline"))
        return b->body_deadline;
    char key[65];
    if (!b->text->variables || name.len >= sizeof key)
        return false;
    memcpy(key, name.data, name.len);
    key[name.len] = '\0';
    return json_object_get(b->text->variables, key) != NULL;
}

static void write_origins(struct building *b)
{
    struct json_member given[256];
    size_t n = json_in_members(b->input->origins, given, 256);
    struct slice trace_origin = SLICE_LITERAL("\"generated\"");
    struct json_out j = json_out_to(&b->origins);
    json_out_begin_object(&j);
    for (size_t i = 0; i < n && i < 256; i++) {
        if (b->continues && slice_eq_str(given[i].name, "traceparent"))
            trace_origin = given[i].value;
        if (decided_here(b, given[i].name))
            continue;
        json_out_key_slice(&j, given[i].name);
        json_out_raw(&j, given[i].value);
    }
    json_out_key(&j, "traceparent");
    json_out_raw(&j, trace_origin);
    if (b->body_deadline)
        json_out_member(&j, "deadline", SLICE_LITERAL("body"));
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)b->text->variables, name, value)
    {
        (void)value;
        json_out_member(&j, name, SLICE_LITERAL("body"));
    }
    json_out_end_object(&j);
}

static void write_labels(struct building *b)
{
    if (!b->text->labels || json_object_size(b->text->labels) == 0)
        return;
    struct json_out j = json_out_to(&b->labels);
    json_out_begin_object(&j);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)b->text->labels, key, value)
    {
        json_out_member(&j, key, slice_of(json_string_value(value), json_string_length(value)));
    }
    json_out_end_object(&j);
}

/* ---- the spec ---- */

/* The time in the id, because that is all that is left of a deleted task; but the clock's where that was set back. */
static int64_t created_time(struct task_id id)
{
    int64_t now = clock_wall_us(), in_id = task_id_time_us(id);
    return in_id > now - ID_TIME_OFF_US && in_id < now + ID_TIME_OFF_US ? in_id : now;
}

static void fill(struct task_spec *spec, struct building *b)
{
    const struct submission_text *text = b->text;
    const struct submission_input *input = b->input;
    task_id_make(&spec->id);
    spec->parent = task_id_is_none(input->parent) ? text->parent : input->parent;
    spec->root = task_id_is_none(input->root) ? spec->id : input->root;
    if (b->continues)
        memcpy(spec->parent_span, b->incoming.span_id, sizeof spec->parent_span);
    spec->created_us = created_time(spec->id);
    if (text->has_run_at)
        spec->run_at_us = text->run_at_us;
    else if (text->delay_us)
        spec->run_at_us = spec->created_us + text->delay_us;
    spec->run_at_is_span = !text->has_run_at;
    spec->deadline_us = b->deadline_us;
    spec->expires_us = text->expires_in_us ? spec->created_us + text->expires_in_us : 0;
    spec->timeout_us = text->timeout_us;
    spec->retain_us = text->has_retain && !text->retain_us ? 1 : text->retain_us; /* "0s": gone as soon as may be */
    spec->backoff = text->backoff;
    spec->unique_until_started = text->unique_until_started;
    spec->unique_for_us = text->unique_for_us;
    spec->max_attempts = (uint16_t)text->max_attempts;
    spec->max_lost = (uint16_t)text->max_lost;
    spec->priority = (uint8_t)text->priority;
    task_context_set(spec, b->live);
    b->live = NULL;
}

static int out_of_memory(struct problem *reterr)
{
    problem_set(reterr, PROBLEM_OVERLOADED, "There is no memory for this submission; try again later.");
    reterr->retry_after_s = 1;
    return -1;
}

static int check_size(const struct building *b, struct problem *reterr)
{
    if (satchel_context_len(b->live) <= CONTEXT_VARIABLES_MAX && b->context_len <= CONTEXT_BYTES_MAX)
        return 0;
    char pointer[PROBLEM_POINTER_SIZE];
    problem_pointer(pointer, b->input->pointer, "context");
    problem_add(reterr, PROBLEM_INVALID_SUBMISSION, pointer,
                "with what is inherited, a task's context has at most %u variables and %zu bytes",
                CONTEXT_VARIABLES_MAX, CONTEXT_BYTES_MAX);
    return -1;
}

static int build(struct building *b, struct submission *ret, struct problem *reterr)
{
    if (make_context(b) != SATCHEL_OK)
        return out_of_memory(reterr);
    if (check_size(b, reterr) < 0)
        return -1;
    write_labels(b);
    write_origins(b);
    satchel_value *tenant;
    if (!buf_ok(&b->labels) || !buf_ok(&b->origins) ||
        satchel_context_get(b->live, satchel_known_var(SATCHEL_TENANT), &tenant) != SATCHEL_OK)
        return out_of_memory(reterr);
    struct task_spec_text text = {
        .tenant = slice_str(satchel_value_data(tenant)),
        .name = slice_str(b->text->type->name),
        .args = b->text->args,
        .labels = buf_slice(&b->labels),
        .context = slice_of(b->context, b->context_len),
        .origins = buf_slice(&b->origins),
        .callback = b->text->callback,
        .after = slice_of((const char *)b->text->after, b->text->n_after * sizeof b->text->after[0]),
        .group = b->text->group,
        .after_group = b->text->after_group,
        .unique_key = b->text->unique_key,
    };
    struct task_spec *spec = task_spec_new(&text);
    satchel_value_unref(tenant);
    if (!spec)
        return out_of_memory(reterr);
    fill(spec, b);
    ret->idempotency_key = (struct slice){0};
    if (b->text->key.data) {
        memcpy(ret->key_buffer, b->text->key.data, b->text->key.len);
        ret->idempotency_key = slice_of(ret->key_buffer, b->text->key.len);
    }
    ret->spec = spec;
    return 0;
}

int submission_parse(const struct submission_input *input, struct submission *ret, struct problem *reterr)
{
    reterr->code = PROBLEM_NONE;
    reterr->n_errors = 0;
    reterr->retry_after_s = 0;
    char error[JSON_IN_ERROR_SIZE];
    json_t *root = json_in_load(input->body, (int)input->config->max_json_depth, error);
    if (!root) {
        problem_set(reterr, PROBLEM_MALFORMED_JSON, "The body is not acceptable JSON: %s.", error);
        return -1;
    }
    struct submission_text text;
    int result = -1;
    if (submission_read(input, root, &text, reterr)) {
        struct building b = {.input = input, .text = &text};
        result = build(&b, ret, reterr);
        building_release(&b);
    }
    json_decref(root);
    return result;
}
