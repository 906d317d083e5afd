/* A reload: another registry of task types, other limits, in one message to the engine's thread.  All memory is there
 * before the message leaves, so that taking it up cannot fail half-way.
 * Flow: subsystems.c -> engine_reload -> engine.c (the mailbox) -> reload_handle -> scheduler.c, the store, recent.c.
 * Thread: engine_reload from the one that owns the subsystems; the rest on the engine's. */
#include <errno.h>
#include <stdlib.h>

#include "engine/internal.h"

struct reload {
    struct mail mail;
    uint8_t mail_kind;
    struct engine_settings settings; /* with a reference of the registry */
    struct type_state *types;
    uint16_t *labels;
};

static int labels_room(const struct registry *registry, uint16_t **ret)
{
    size_t n = 0;
    while (registry_at(registry, n))
        n++;
    *ret = calloc(n + 1, sizeof **ret);
    return *ret ? 0 : -ENOMEM;
}

static void fill_labels(struct metrics *metrics, const struct registry *registry, uint16_t *labels)
{
    const struct task_type *type;
    for (size_t i = 0; (type = registry_at(registry, i)) != NULL; i++)
        labels[i] = (uint16_t)metrics_type(metrics, type->name);
}

int labels_new(struct metrics *metrics, const struct registry *registry, uint16_t **ret)
{
    if (labels_room(registry, ret) < 0)
        return -ENOMEM;
    fill_labels(metrics, registry, *ret);
    return 0;
}

int engine_reload(struct engine *e, const struct engine_settings *settings)
{
    if (atomic_load_explicit(&e->closed, memory_order_relaxed))
        return -ESHUTDOWN;
    struct reload *reload = calloc(1, sizeof *reload);
    if (!reload)
        return -ENOMEM;
    reload->mail_kind = MAIL_RELOAD;
    reload->settings = *settings;
    reload->types = scheduler_types(settings->registry);
    if (!reload->types || labels_room(settings->registry, &reload->labels) < 0) {
        free(reload->types);
        free(reload);
        return -ENOMEM;
    }
    (void)registry_ref(settings->registry);
    mailbox_post_always(&e->box, &reload->mail); /* one a signal: nobody floods it */
    return 0;
}

void reload_handle(struct engine *e, struct mail *mail)
{
    struct reload *reload = (struct reload *)mail;
    struct registry *before = e->registry;
    e->registry = reload->settings.registry;
    free(e->labels);
    e->labels = reload->labels;
    fill_labels(e->options.metrics, e->registry, e->labels);
    e->options.tenant_limits_arg = reload->settings.tenant_limits_arg;
    scheduler_set_registry(&e->scheduler, e->registry, reload->types);
    holds_apply(e);
    e->store->ops->set_limits(e->store, reload->settings.retain_us, reload->settings.max_log);
    recent_set_retain(e->recent, reload->settings.retain_us);
    registry_unref(before); /* whoever builds registries still has it */
    free(reload);
}

void reload_drop(struct mail *mail)
{
    struct reload *reload = (struct reload *)mail;
    registry_unref(reload->settings.registry);
    free(reload->types);
    free(reload->labels);
    free(reload);
}
