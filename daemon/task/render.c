/* The task object, written straight from the record: payloads are copied as the bytes they are.
 *
 * The variables are read from the stored text of the context, whose keys are header names; the names that people know
 * them by come from the variables themselves. */
#include "task/render.h"

#include <stdlib.h>
#include <strings.h>

#include "proto/json_in.h"
#include "task/attempts.h"

/* ---- context ---- */

static bool same_header(struct slice key, const char *header)
{
    return header && strlen(header) == key.len && strncasecmp(key.data, header, key.len) == 0;
}

struct search {
    struct slice key;
    const satchel_var *found;
};

static int compare_header(satchel_var *var, void *data, void *arg)
{
    (void)data;
    struct search *search = arg;
    if (!same_header(search->key, satchel_var_header(var)))
        return 0;
    search->found = var;
    return 1;
}

/* The name to show a variable under, or false where it is not shown: the tenant, secrets, unknown ones. */
static bool shown_name(const struct task_spec *spec, struct slice key, struct slice *ret)
{
    static const char prefix[] = "x-satchel-var-";
    if (key.len > sizeof prefix - 1 && memcmp(key.data, prefix, sizeof prefix - 1) == 0) {
        *ret = slice_of(key.data + sizeof prefix - 1, key.len - (sizeof prefix - 1));
        return true;
    }
    for (unsigned i = 0; i < SATCHEL_KNOWN_COUNT; i++) {
        const satchel_var *var = satchel_known_var((satchel_known)i);
        if (same_header(key, satchel_var_header(var))) {
            *ret = slice_str(satchel_var_name(var));
            return i != SATCHEL_TENANT;
        }
    }
    struct search search = {.key = key};
    satchel_context *context = task_context(spec);
    if (context)
        (void)satchel_context_each(context, compare_header, &search);
    if (!search.found || satchel_var_flags(search.found) & SATCHEL_VAR_SECRET)
        return false;
    *ret = slice_str(satchel_var_name(search.found));
    return true;
}

static void write_context(const struct task_spec *spec, struct json_out *j)
{
    struct json_member outer[8], vars[CONTEXT_MEMBERS_MAX];
    size_t n_outer = json_in_members(spec->context, outer, 8), n = 0;
    for (size_t i = 0; i < n_outer && i < 8; i++)
        if (slice_eq_str(outer[i].name, "vars"))
            n = json_in_members(outer[i].value, vars, CONTEXT_MEMBERS_MAX);
    json_out_key(j, "context");
    json_out_begin_object(j);
    for (size_t i = 0; i < n && i < CONTEXT_MEMBERS_MAX; i++) {
        struct slice name;
        if (!shown_name(spec, vars[i].name, &name))
            continue;
        json_out_key_slice(j, name);
        json_out_raw(j, vars[i].value);
    }
    json_out_end_object(j);
}

/* ---- the rest ---- */

static void write_id_text(struct json_out *j, struct task_id id)
{
    char text[TASK_ID_TEXT_SIZE];
    task_id_format(id, text);
    json_out_string(j, slice_of(text, TASK_ID_TEXT_SIZE - 1));
}

static void write_id(struct json_out *j, const char *key, struct task_id id)
{
    json_out_key(j, key);
    if (task_id_is_none(id)) {
        json_out_null(j);
        return;
    }
    write_id_text(j, id);
}

/* What ties it to other tasks, where anything does. */
static void write_ties(const struct task_spec *spec, struct json_out *j)
{
    if (spec->after.len) {
        json_out_key(j, "after");
        json_out_begin_array(j);
        for (size_t i = 0; i < task_after_count(spec); i++)
            write_id_text(j, task_after_at(spec, i));
        json_out_end_array(j);
    }
    if (spec->group.len)
        json_out_member(j, "group", spec->group);
    if (spec->after_group.len)
        json_out_member(j, "after_group", spec->after_group);
    if (!spec->unique_key.len)
        return;
    json_out_key(j, "unique");
    json_out_begin_object(j);
    json_out_member(j, "key", spec->unique_key);
    json_out_member(j, "until", slice_str(spec->unique_until_started ? "started" : "finished"));
    if (spec->unique_for_us) {
        json_out_key(j, "for");
        json_out_double(j, (double)spec->unique_for_us / 1e6);
    }
    json_out_end_object(j);
}

static void write_time(struct json_out *j, const char *key, int64_t us)
{
    json_out_key(j, key);
    if (us)
        json_out_time(j, us);
    else
        json_out_null(j);
}

static void write_error(const struct task_outcome *outcome, struct json_out *j)
{
    json_out_key(j, "error");
    json_out_begin_object(j);
    json_out_member(j, "type", slice_str(error_type_name(outcome->error)));
    json_out_member(j, "message", slice_str(outcome->message));
    if (outcome->signal_number)
        json_out_member_i64(j, "signal", outcome->signal_number);
    if (outcome->http_status)
        json_out_member_i64(j, "http_status", outcome->http_status);
    json_out_end_object(j);
}

void task_render_end(const struct task_outcome *outcome, struct json_out *j)
{
    if (outcome->has_exit_code)
        json_out_member_i64(j, "exit_code", outcome->exit_code);
    if (outcome->error != ERROR_TYPE_NONE)
        write_error(outcome, j);
}

static void write_outcome(const struct task_record *record, struct json_out *j)
{
    const struct task_outcome *outcome = record->outcome;
    if (record->status.state == TASK_SUCCEEDED) {
        json_out_key(j, "result");
        if (outcome && outcome->result && outcome->result->len)
            json_out_raw(j, blob_slice(outcome->result));
        else
            json_out_null(j);
    }
    if (outcome)
        task_render_end(outcome, j);
}

static void write_status(const struct task_status *status, const struct blob *note, const char *node,
                         struct json_out *j)
{
    write_time(j, "run_at", status->run_at_us);
    write_time(j, "started_at", status->started_us);
    write_time(j, "finished_at", status->finished_us);
    json_out_key(j, "progress");
    if (status->progress >= 0)
        json_out_double(j, task_progress(status));
    else
        json_out_null(j);
    if (note && note->len)
        json_out_member(j, "progress_message", blob_slice(note));
    json_out_key(j, "node");
    if (status->started_us && node)
        json_out_string(j, slice_str(node));
    else
        json_out_null(j);
}

void task_render(const struct task_record *record, const struct task_history *history, const char *node,
                 struct json_out *j)
{
    const struct task_spec *spec = record->spec;
    const struct task_status *status = &record->status;
    (void)buf_reserve(j->to, spec->size + 512);
    json_out_begin_object(j);
    write_id(j, "id", spec->id);
    json_out_member(j, "task", spec->name);
    json_out_member(j, "tenant", spec->tenant);
    json_out_member(j, "state", slice_str(task_state_name(status->state)));
    json_out_key(j, "args");
    json_out_raw(j, spec->args);
    write_context(spec, j);
    json_out_member_i64(j, "priority", spec->priority);
    json_out_key(j, "labels");
    json_out_raw(j, spec->labels.len ? spec->labels : SLICE_LITERAL("{}"));
    write_id(j, "parent_id", spec->parent);
    write_id(j, "root_id", spec->root);
    if (spec->callback.len)
        json_out_member(j, "callback", spec->callback);
    write_ties(spec, j);
    json_out_member_i64(j, "attempt", status->attempt);
    json_out_member_i64(j, "max_attempts", spec->max_attempts);
    json_out_member_i64(j, "lost", status->lost);
    json_out_key(j, "created_at");
    json_out_time(j, spec->created_us);
    write_status(status, record->note, node, j);
    write_outcome(record, j);
    if (history) {
        json_out_key(j, "attempts");
        task_attempts_render(record, history, node, j);
    }
    json_out_end_object(j);
}

void task_render_event(const struct task_record *record, struct json_out *j)
{
    const struct task_spec *spec = record->spec;
    const struct task_status *status = &record->status;
    json_out_begin_object(j);
    write_id(j, "id", spec->id);
    json_out_member(j, "task", spec->name);
    json_out_member(j, "tenant", spec->tenant);
    json_out_member(j, "state", slice_str(task_state_name(status->state)));
    json_out_member_i64(j, "attempt", status->attempt);
    json_out_member_i64(j, "lost", status->lost);
    write_time(j, "run_at", status->run_at_us);
    write_time(j, "started_at", status->started_us);
    write_time(j, "finished_at", status->finished_us);
    write_context(spec, j);
    if (record->outcome)
        task_render_end(record->outcome, j);
    json_out_end_object(j);
}

void task_render_summary(const struct task_record *record, struct json_out *j)
{
    const struct task_spec *spec = record->spec;
    const struct task_status *status = &record->status;
    json_out_begin_object(j);
    write_id(j, "id", spec->id);
    json_out_member(j, "task", spec->name);
    json_out_member(j, "state", slice_str(task_state_name(status->state)));
    json_out_member_i64(j, "attempt", status->attempt);
    json_out_key(j, "created_at");
    json_out_time(j, spec->created_us);
    write_time(j, "started_at", status->started_us);
    write_time(j, "finished_at", status->finished_us);
    if (record->outcome)
        task_render_end(record->outcome, j);
}

void task_render_minimal(const struct task_record *record, struct json_out *j)
{
    json_out_begin_object(j);
    write_id(j, "id", record->spec->id);
    json_out_member(j, "state", slice_str(task_state_name(record->status.state)));
    json_out_end_object(j);
}
