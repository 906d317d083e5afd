/* Calls that wait for a task to finish: registered with the task first, answered when it ends or their time is up.
 * Called by batch.c and calls.c.  Thread: the engine's. */
#include "engine/internal.h"

void waiter_add(struct engine *e, struct entry *entry, struct engine_call *call)
{
    struct live *live = entry_live(e, entry);
    if (!live || !heap_set(&e->waits, &call->timer_slot, call->wait_until_ns)) {
        call_answer_entry(e, call, entry, NULL); /* no memory to wait: tell how it stands */
        return;
    }
    call->next_waiter = live->waiters;
    call->prev_waiter = &live->waiters;
    if (live->waiters)
        live->waiters->prev_waiter = &call->next_waiter;
    live->waiters = call;
    call->waits_for = entry->self;
    e->stats.waiters++;
}

static void waiter_remove(struct engine *e, struct engine_call *call)
{
    heap_clear(&e->waits, &call->timer_slot);
    *call->prev_waiter = call->next_waiter;
    if (call->next_waiter)
        call->next_waiter->prev_waiter = call->prev_waiter;
    call->next_waiter = NULL;
    e->stats.waiters--;
}

void waiters_answer(struct engine *e, struct entry *entry, struct task_outcome *outcome)
{
    while (entry->live && entry->live->waiters) {
        struct engine_call *call = entry->live->waiters;
        waiter_remove(e, call);
        call_answer_entry(e, call, entry, outcome);
    }
}

void waiters_dismiss(struct engine *e, struct entry *entry)
{
    while (entry->live && entry->live->waiters) {
        struct engine_call *call = entry->live->waiters;
        waiter_remove(e, call);
        call_answer(e, call, ENGINE_NOT_LIVE);
    }
}

static void answer_unfinished(struct engine *e, struct engine_call *call)
{
    struct entry *entry = entries_at(&e->entries, call->waits_for);
    waiter_remove(e, call);
    call_answer_entry(e, call, entry, NULL);
    entry_live_release(e, entry);
}

void waiters_expire(struct engine *e)
{
    uint32_t *slot;
    while (heap_first(&e->waits, &slot) <= e->now_ns)
        answer_unfinished(e, (struct engine_call *)((char *)slot - offsetof(struct engine_call, timer_slot)));
}

void waiters_answer_all(struct engine *e)
{
    uint32_t *slot;
    while (heap_first(&e->waits, &slot) != INT64_MAX)
        answer_unfinished(e, (struct engine_call *)((char *)slot - offsetof(struct engine_call, timer_slot)));
}
