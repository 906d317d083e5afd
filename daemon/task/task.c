#include "task/task.h"

#include <stdlib.h>

static const char *const error_names[] = {
#define ERROR_TYPE(name, wire) wire,
#include "proto/error_types.def"
#undef ERROR_TYPE
};

const char *error_type_name(enum error_type type)
{
    return error_names[type];
}

static struct slice place(char **at, struct slice text)
{
    char *to = *at;
    if (text.len)
        memcpy(to, text.data, text.len);
    to[text.len] = '\0';
    *at += text.len + 1;
    return slice_of(to, text.len);
}

#define ALLOCATION_BYTES 16u /* malloc's own, and what it rounds up */
#define CONTEXT_BYTES 288u   /* itself, its snapshot and the array of the well-known variables */
#define VARIABLE_BYTES 56u   /* a value beyond its text, and its place */

/* Of an object whose members are strings: `","` lies between two of them and nowhere else, since a quote in a string is
 * escaped. */
static size_t count_members(struct slice json)
{
    size_t n = 1;
    const char *at = json.data, *end = json.data + json.len;
    while (at != end && (at = memchr(at, ',', (size_t)(end - at))) != NULL) {
        n += at > json.data && at[-1] == '"' && at + 1 < end && at[1] == '"';
        at++;
    }
    return n;
}

struct task_spec *task_spec_new(const struct task_spec_text *text)
{
    struct task_spec places = {0}, *spec;
    const struct {
        struct slice *to, from;
    } parts[] = {
        {&places.tenant, text->tenant},
        {&places.name, text->name},
        {&places.args, text->args},
        {&places.labels, text->labels},
        {&places.context, text->context},
        {&places.origins, text->origins},
        {&places.callback, text->callback},
        {&places.after, text->after},
        {&places.group, text->group},
        {&places.after_group, text->after_group},
        {&places.unique_key, text->unique_key},
    };
    size_t n = sizeof parts / sizeof parts[0], size = sizeof *spec + n;
    for (size_t i = 0; i < n; i++)
        size += parts[i].from.len;
    spec = size <= UINT32_MAX ? malloc(size) : NULL;
    if (!spec)
        return NULL;
    char *at = (char *)(spec + 1);
    for (size_t i = 0; i < n; i++)
        *parts[i].to = place(&at, parts[i].from);
    *spec = places;
    size_t memory =
        size + ALLOCATION_BYTES + CONTEXT_BYTES + spec->context.len + VARIABLE_BYTES * count_members(spec->context);
    spec->size = (uint32_t)size;
    spec->memory = memory < UINT32_MAX ? (uint32_t)memory : UINT32_MAX;
    spec->max_attempts = 1;
    spec->max_lost = 3;
    spec->priority = 4;
    atomic_init(&spec->refs, 1);
    return spec;
}

size_t task_after_count(const struct task_spec *spec)
{
    return spec->after.len / sizeof(struct task_id);
}

struct task_id task_after_at(const struct task_spec *spec, size_t index)
{
    struct task_id id;
    memcpy(&id, spec->after.data + index * sizeof id, sizeof id);
    return id;
}

void task_after_list(const struct task_spec *spec, const char *between, struct buf *out)
{
    for (size_t i = 0; i < task_after_count(spec); i++) {
        char id[TASK_ID_TEXT_SIZE];
        task_id_format(task_after_at(spec, i), id);
        if (i)
            buf_append_str(out, between);
        buf_append_str(out, id);
    }
}

struct task_spec *task_spec_ref(struct task_spec *spec)
{
    if (spec)
        atomic_fetch_add_explicit(&spec->refs, 1, memory_order_relaxed);
    return spec;
}

void task_spec_unref(struct task_spec *spec)
{
    if (!spec || atomic_fetch_sub_explicit(&spec->refs, 1, memory_order_acq_rel) != 1)
        return;
    satchel_context_unref(atomic_load_explicit(&spec->restored, memory_order_relaxed));
    free(spec);
}

double task_progress(const struct task_status *status)
{
    return status->progress < 0 ? -1 : (double)(long long)((double)status->progress * 1e6 + 0.5) / 1e6;
}

static struct task_outcome *outcome_new(struct slice message)
{
    struct task_outcome *outcome = calloc(1, sizeof *outcome + message.len + 1);
    if (!outcome)
        return NULL;
    atomic_init(&outcome->refs, 1);
    if (message.len)
        memcpy(outcome->message, message.data, message.len);
    return outcome;
}

struct task_outcome *task_outcome_success(struct blob *result)
{
    struct task_outcome *outcome = outcome_new(slice_of(NULL, 0));
    if (outcome)
        outcome->result = result;
    return outcome;
}

struct task_outcome *task_outcome_failure(enum error_type error, struct slice message)
{
    struct task_outcome *outcome = outcome_new(message);
    if (outcome)
        outcome->error = error;
    return outcome;
}

struct task_outcome *task_outcome_ref(struct task_outcome *outcome)
{
    if (outcome)
        atomic_fetch_add_explicit(&outcome->refs, 1, memory_order_relaxed);
    return outcome;
}

void task_outcome_unref(struct task_outcome *outcome)
{
    if (!outcome || atomic_fetch_sub_explicit(&outcome->refs, 1, memory_order_acq_rel) != 1)
        return;
    blob_unref(outcome->result);
    free(outcome);
}

void task_record_release(struct task_record *record)
{
    task_spec_unref(record->spec);
    task_outcome_unref(record->outcome);
    blob_unref(record->note);
    *record = (struct task_record){0};
}

void task_history_release(struct task_history *history)
{
    for (size_t i = 0; i < history->n; i++)
        task_outcome_unref(history->attempts[i].outcome);
    free(history->attempts);
    buf_release(&history->text);
    *history = (struct task_history){0};
}
