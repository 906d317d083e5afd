/* The context that a submission was captured with, as an object: made from its stored text when somebody needs it, so
 * that reading a task costs nothing for a context that nobody looks at, and the engine's thread parses none.
 * Thread: any; whoever comes first keeps what it has made. */
#include "base/log.h"
#include "task/task.h"

/* A context that lost its variables still belongs to its tenant: a task must not run as nobody. */
static satchel_context *context_of_tenant(struct slice tenant)
{
    static const char header[] = "X-Tenant-ID";
    const satchel_field field = {
        .name = header, .value = tenant.data, .name_len = sizeof header - 1, .value_len = tenant.len};
    size_t n_problems = 0;
    satchel_context *context = NULL;
    return satchel_extract(&field, 1, &context, NULL, &n_problems) == SATCHEL_OK ? context : NULL;
}

static satchel_context *restore(const struct task_spec *spec)
{
    if (!spec->context.len)
        return context_of_tenant(spec->tenant);
    satchel_context *context = NULL;
    int status = satchel_context_from_json(spec->context.data, spec->context.len, &context);
    if (status == SATCHEL_OK)
        return context;
    if (status == SATCHEL_ENOMEM)
        return NULL;
    char id[TASK_ID_TEXT_SIZE];
    task_id_format(spec->id, id);
    LOG_ERROR("a stored context cannot be read; the task keeps its tenant alone", LOG_TEXT("stored_task", id),
              LOG_TEXT("reason", satchel_strerror(status)));
    return context_of_tenant(spec->tenant);
}

satchel_context *task_context(const struct task_spec *spec)
{
    _Atomic(satchel_context *) *place = (_Atomic(satchel_context *) *)(uintptr_t)&spec->restored; /* a cache */
    satchel_context *context = atomic_load_explicit(place, memory_order_acquire);
    if (context)
        return context;
    satchel_context *fresh = restore(spec);
    if (!fresh)
        return NULL;
    if (atomic_compare_exchange_strong_explicit(place, &context, fresh, memory_order_acq_rel, memory_order_acquire))
        return fresh;
    satchel_context_unref(fresh);
    return context;
}

void task_context_set(struct task_spec *spec, satchel_context *context)
{
    atomic_init(&spec->restored, context);
}
