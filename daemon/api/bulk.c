/* Called by cascade.c.  Flow: bulk_post -> the engine -> on_delivered (its thread), the last one -> call_return -> the
 * owner's loop. */
#include "api/bulk.h"

#include <stddef.h>
#include <stdlib.h>

struct bulk *bulk_new(struct api_call *owner, size_t n)
{
    struct bulk *bulk = calloc(1, sizeof *bulk + n * sizeof bulk->items[0]);
    if (!bulk)
        return NULL;
    bulk->owner = owner;
    bulk->n = n;
    return bulk;
}

static void close_one(struct bulk *bulk)
{
    if (atomic_fetch_sub_explicit(&bulk->open, 1, memory_order_acq_rel) == 1)
        call_return(bulk->owner);
}

static void on_delivered(struct engine_call *call)
{
    close_one(((struct bulk_item *)(void *)((char *)call - offsetof(struct bulk_item, call)))->bulk);
}

void bulk_post(struct bulk *bulk)
{
    atomic_init(&bulk->open, bulk->n + 1); /* one for this loop: nothing is back before all are away */
    for (size_t i = 0; i < bulk->n; i++) {
        struct bulk_item *item = &bulk->items[i];
        item->bulk = bulk;
        item->call.deliver = on_delivered;
        if (engine_post(bulk->owner->api->engine, &item->call))
            continue;
        item->call.result = ENGINE_STORE_FAILED;
        atomic_fetch_sub_explicit(&bulk->open, 1, memory_order_relaxed);
    }
    close_one(bulk);
}

void bulk_free(struct bulk *bulk)
{
    if (!bulk)
        return;
    for (size_t i = 0; i < bulk->n; i++)
        task_record_release(&bulk->items[i].call.record);
    free(bulk);
}
