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

struct task_spec *task_spec_new(const struct task_spec_text *text)
{
    size_t size = sizeof(struct task_spec) + text->tenant.len + text->name.len + text->args.len + text->labels.len +
                  text->context.len + text->origins.len + text->callback.len + 7;
    struct task_spec *spec = malloc(size);
    if (!spec)
        return NULL;
    *spec = (struct task_spec){.size = size, .max_attempts = 1, .max_lost = 3, .priority = 4};
    atomic_init(&spec->refs, 1);
    char *at = (char *)(spec + 1);
    spec->tenant = place(&at, text->tenant);
    spec->name = place(&at, text->name);
    spec->args = place(&at, text->args);
    spec->labels = place(&at, text->labels);
    spec->context = place(&at, text->context);
    spec->origins = place(&at, text->origins);
    spec->callback = place(&at, text->callback);
    return spec;
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
    satchel_context_unref(spec->live);
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
