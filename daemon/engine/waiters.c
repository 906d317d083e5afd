/* Calls that wait for a task to finish: registered with the task first, answered when it ends or their time is up.
 * Called by batch.c and calls.c.  Thread: the engine's. */
#include "engine/internal.h"

static bool too_many_wait(const struct engine *e, const struct entry *entry)
{
    const struct tenant *tenant = scheduler_lane(&e->scheduler, entry)->tenant;
    return tenant->limits.max_waiters && tenant->waiters >= tenant->limits.max_waiters;
}

void waiter_add(struct engine *e, struct entry *entry, struct engine_call *call)
{
    struct tenant *tenant = scheduler_lane(&e->scheduler, entry)->tenant;
    struct live *live = too_many_wait(e, entry) ? NULL : entry_live(e, entry);
    if (!live || !heap_set(&e->waits, &call->timer_slot, call->wait_until_ns)) {
        if (call->kind == ENGINE_WATCH) {
            call_answer(e, call, ENGINE_STORE_FAILED);
            return;
        }
        call_answer_entry(e, call, entry, NULL); /* no memory to wait, or too many do: tell how it stands */
        return;
    }
    call->next_waiter = live->waiters;
    call->prev_waiter = &live->waiters;
    if (live->waiters)
        live->waiters->prev_waiter = &call->next_waiter;
    live->waiters = call;
    call->waits_for = entry_index(entry);
    e->stats.waiters++;
    tenant->waiters++;
}

static void waiter_remove(struct engine *e, struct engine_call *call)
{
    heap_clear(&e->waits, &call->timer_slot);
    *call->prev_waiter = call->next_waiter;
    if (call->next_waiter)
        call->next_waiter->prev_waiter = call->prev_waiter;
    call->next_waiter = NULL;
    e->stats.waiters--;
    scheduler_lane(&e->scheduler, entries_at(&e->entries, call->waits_for))->tenant->waiters--;
}

void waiters_answer(struct engine *e, struct entry *entry, struct task_outcome *outcome)
{
    struct live *live = entry_live_get(entry);
    while (live && live->waiters) {
        struct engine_call *call = live->waiters;
        waiter_remove(e, call);
        if (call->kind == ENGINE_WATCH)
            call_answer(e, call, ENGINE_NOT_LIVE);
        else
            call_answer_entry(e, call, entry, outcome);
    }
}

void waiters_dismiss(struct engine *e, struct entry *entry)
{
    struct live *live = entry_live_get(entry);
    while (live && live->waiters) {
        struct engine_call *call = live->waiters;
        waiter_remove(e, call);
        call_answer(e, call, ENGINE_NOT_LIVE);
    }
}

static void answer_unfinished(struct engine *e, struct engine_call *call)
{
    struct entry *entry = entries_at(&e->entries, call->waits_for);
    waiter_remove(e, call);
    if (call->kind == ENGINE_WATCH)
        call_answer(e, call, ENGINE_OK); /* as it was seen */
    else
        call_answer_entry(e, call, entry, NULL);
    entry_live_release(e, entry);
}

/* ---- watching ---- */

static void look(struct engine_call *call, const struct entry *entry, const struct live *live)
{
    call->seen =
        (struct engine_seen){.valid = true, .state = entry->state, .attempt = entry->attempt, .version = live->version};
}

/* Nothing that is not durable is told: a task that changes in this batch is looked at after the commit. */
void watch_handle(struct engine *e, struct engine_call *call)
{
    struct entry *entry = entries_find(&e->entries, call->id);
    bool may_see = entry && call_may_see(e, entry, call->tenant);
    bool known = may_see && entry_live_get(entry); /* else nobody has looked since, and state and attempt tell */
    struct live *live = may_see ? entry_live(e, entry) : NULL;
    if (!live) {
        call_answer(e, call, ENGINE_NOT_LIVE);
        return;
    }
    if (too_many_wait(e, entry)) {
        entry_live_release(e, entry);
        call->fault = QUOTA_WAITERS;
        call_answer(e, call, ENGINE_QUOTA);
        return;
    }
    const struct engine_seen *seen = &call->seen;
    bool same = seen->valid && seen->state == entry->state && seen->attempt == entry->attempt;
    if (same && !known)
        live->version = seen->version;
    if (!entry->change && !(same && seen->version == live->version)) {
        look(call, entry, live);
        entry_live_release(e, entry);
        call_answer(e, call, ENGINE_OK);
        return;
    }
    waiter_add(e, entry, call);
}

void watchers_answer(struct engine *e, struct entry *entry)
{
    struct live *live = entry_live_get(entry);
    if (!live)
        return;
    live->version = ++e->version;
    for (struct engine_call *call = live->waiters, *next; call; call = next) {
        next = call->next_waiter;
        if (call->kind != ENGINE_WATCH)
            continue;
        waiter_remove(e, call);
        look(call, entry, live);
        call_answer(e, call, ENGINE_OK);
    }
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
