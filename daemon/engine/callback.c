/* The callback of a task that ends: a task of its own, written with the end itself, so that no crash comes between
 * the two.  It carries the ended task's context, is tried again as any task is, and is listed, canceled and retried
 * like one.
 * Called by batch.c.  Thread: the engine's. */
#include <stdlib.h>

#include "base/log.h"
#include "engine/internal.h"
#include "proto/json_out.h"
#include "task/inherit.h"

#define BASE_US INT64_C(5000000)
#define CAP_US INT64_C(3600000000)

static struct slice args_of(const struct task_spec *ended, struct buf *to)
{
    char id[TASK_ID_TEXT_SIZE];
    struct json_out j = json_out_to(to);
    task_id_format(ended->id, id);
    json_out_begin_object(&j);
    json_out_member(&j, "task_id", slice_str(id));
    json_out_member(&j, "url", ended->callback);
    json_out_end_object(&j);
    return buf_slice(to);
}

static struct task_spec *spec_of(const struct engine *e, const struct task_spec *ended, uint32_t attempt)
{
    struct buf args = BUF_INIT, origins = BUF_INIT;
    inherit_origins(task_context(ended), ended->id, &origins);
    struct task_spec_text text = {
        .tenant = ended->tenant,
        .name = SLICE_LITERAL(TASK_CALLBACK_NAME),
        .args = args_of(ended, &args),
        .context = ended->context,
        .origins = buf_slice(&origins),
    };
    struct task_spec *spec = buf_ok(&args) && buf_ok(&origins) ? task_spec_new(&text) : NULL;
    buf_release(&args);
    buf_release(&origins);
    if (!spec)
        return NULL;
    task_id_make(&spec->id);
    spec->parent = ended->id;
    spec->root = ended->root;
    if (attempt)
        task_id_attempt_span(ended->id, attempt, spec->parent_span);
    spec->created_us = task_id_time_us(spec->id);
    spec->backoff = (struct backoff){.type = BACKOFF_EXPONENTIAL, .jitter = true, .base_us = BASE_US, .cap_us = CAP_US};
    spec->max_attempts = (uint16_t)e->options.callback_attempts;
    spec->max_lost = UINT16_MAX; /* a crash is not the receiver's fault */
    spec->priority = ended->priority;
    task_context_set(spec, satchel_context_ref(task_context(ended)));
    return spec;
}

/* What is not in memory is read: the batch has its row, and nothing of it has been written yet. */
static struct task_spec *ended_spec(struct engine *e, const struct entry *entry)
{
    struct task_record record = {0};
    if (entry_spec(entry))
        return task_spec_ref(entry_spec(entry));
    if (e->store->ops->load(e->store, &entry->id, 1, &record) != STORE_OK)
        return NULL;
    struct task_spec *spec = task_spec_ref(record.spec);
    task_record_release(&record);
    return spec;
}

void callback_add(struct engine *e, struct entry *entry)
{
    struct task_spec *ended = ended_spec(e, entry), *spec = ended ? spec_of(e, ended, entry->attempt) : NULL;
    struct entry *callback = spec ? entry_new(e, spec->id, spec->tenant, spec->name) : NULL;
    task_spec_unref(ended);
    if (!callback) {
        char id[TASK_ID_TEXT_SIZE];
        task_id_format(entry->id, id);
        LOG_ERROR("a callback is lost: no memory, or its task cannot be read", LOG_TEXT("ended_task", id));
        task_spec_unref(spec);
        return;
    }
    uint32_t end = entry->change;
    struct change *change = batch_begin(e, callback, STORE_INSERT); /* room was kept: CHANGES_OF_AN_END */
    change->row.with = &e->changes[end - 1].row;
    entry_set_spec(callback, spec);
    callback->size = admission_code(spec->size);
    e->hot_bytes += spec->memory;
    callback->priority = spec->priority < PRIORITIES ? spec->priority : PRIORITIES - 1;
    callback->run_at_us = spec->created_us;
    task_set_state(e, callback, TASK_QUEUED, true);
    task_requeue(e, callback, false);
}
