/* Attempts: their limits and cancel signals, and what becomes of a task when one has ended.  Where they begin: claims.c.
 * Called by engine.c (reports) and by claims.c, batch.c and timers.c.  Thread: the engine's. */
#include <stdlib.h>

#include "engine/internal.h"

void attempt_release(struct engine *e, struct attempt *attempt)
{
    if (e->marks)
        started_give(e->marks, attempt->mark);
    task_spec_unref(attempt->spec);
    satchel_cancel_unref(attempt->cancel);
    task_outcome_unref(attempt->outcome);
    if (attempt->type)
        registry_unref(attempt->type->registry);
    buf_release(&attempt->sent);
    free(attempt);
}

void attempt_fire(struct engine *e, struct live *live, enum cancel_reason reason)
{
    (void)e;
    if (live->reason)
        return;
    live->reason = reason;
    satchel_cancel_fire(live->cancel, (int)reason);
}

void attempt_arm_limit(struct engine *e, const struct entry *entry)
{
    struct live *live = entry_live_known(entry);
    int64_t until_ns = live->timeout_ns, left_us = entry->give_up_us - e->now_us;
    live->at_limit = CANCEL_TIMEOUT;
    if (entry->give_up_us && left_us < FAR_US && e->now_ns + left_us * 1000 < until_ns) {
        until_ns = e->now_ns + left_us * 1000;
        live->at_limit = CANCEL_DEADLINE;
    }
    if (until_ns == INT64_MAX || live->reason)
        heap_clear(&e->limits, &live->limit_slot);
    else
        (void)heap_set(&e->limits, &live->limit_slot, until_ns);
}

/* ---- ending ---- */

static int64_t backoff_us(const struct task_spec *spec, unsigned failures)
{
    const struct backoff *b = &spec->backoff;
    int64_t pause = b->base_us;
    if (b->type == BACKOFF_EXPONENTIAL)
        for (unsigned i = 1; i < failures && pause < b->cap_us; i++)
            pause *= 2;
    if (b->cap_us && pause > b->cap_us)
        pause = b->cap_us;
    if (b->jitter && pause > 0) { /* full jitter: anywhere between at once and the whole pause */
        uint64_t random;
        random_bytes(&random, sizeof random);
        pause = (int64_t)(random % (uint64_t)(pause + 1));
    }
    return pause;
}

static enum task_event event_of(const struct entry *entry, const struct attempt *attempt)
{
    if (attempt->end == ATTEMPT_SUCCEEDED)
        return TASK_EVENT_SUCCEEDED;
    if (entry->cancel_requested)
        return TASK_EVENT_CANCEL;
    if (attempt->slot == CANCEL_DEADLINE)
        return TASK_EVENT_EXPIRE;
    if (attempt->end == ATTEMPT_LOST && !attempt->started_us)
        return TASK_EVENT_RELEASED;
    if (attempt->end == ATTEMPT_LOST)
        return entry->lost >= attempt->spec->max_lost ? TASK_EVENT_GAVE_UP : TASK_EVENT_LOST;
    if (attempt->end == ATTEMPT_FAILED_FINAL || entry->failures + 1u >= attempt->spec->max_attempts)
        return TASK_EVENT_FAILED;
    return TASK_EVENT_BACKOFF;
}

static struct task_outcome *outcome_of(struct attempt *attempt, enum task_event event)
{
    if (event == TASK_EVENT_GAVE_UP)
        return task_outcome_failure(ERROR_TYPE_LOST,
                                    SLICE_LITERAL("the attempt was cut off, once more than max_lost allows"));
    if (attempt->outcome)
        return task_outcome_ref(attempt->outcome);
    if (event == TASK_EVENT_LOST || event == TASK_EVENT_RELEASED)
        return NULL;
    return task_outcome_failure(ERROR_TYPE_OOM, SLICE_LITERAL("no memory for the attempt's outcome"));
}

static void run_list_remove(struct engine *e, struct live *live)
{
    live->running = false;
    *live->prev_running = live->next_running;
    if (live->next_running)
        live->next_running->prev_running = live->prev_running;
    e->in_flight--;
    e->in_flight_ns -= live->ahead_ns;
}

/* The slot is free again, whatever the store says of the end. */
static void free_slot(struct engine *e, struct entry *entry, struct attempt *attempt)
{
    struct live *live = entry_live_known(entry);
    scheduler_end(&e->scheduler, entry, live->expected_ns, attempt->run_ns, attempt->started_us != 0);
    heap_clear(&e->limits, &live->limit_slot);
    attempt->slot = (uint32_t)live->reason;
    run_list_remove(e, live);
}

/* The task's row tells of the last attempt; of an earlier one, or where its variables went, a row of its own does. */
static void keep_attempt(struct change *change, struct attempt *attempt, enum task_event event)
{
    bool goes_on = event == TASK_EVENT_BACKOFF || event == TASK_EVENT_LOST;
    if (event == TASK_EVENT_RELEASED || !(goes_on || attempt->sent.len))
        return;
    batch_keep_attempt(change, &(struct task_attempt){
                                   .number = attempt->number,
                                   .started_us = attempt->started_us,
                                   .finished_us = attempt->finished_us,
                                   .outcome = change->outcome,
                                   .sent = buf_ok(&attempt->sent) ? buf_slice(&attempt->sent) : (struct slice){0},
                               });
}

bool attempt_report(struct engine *e, struct attempt *attempt)
{
    struct entry *entry = entries_find(&e->entries, attempt->spec->id);
    if (!entry || entry->attempt != attempt->number || entry->state != TASK_RUNNING) {
        attempt_release(e, attempt); /* of an attempt that is over: changes nothing */
        return true;
    }
    if (batch_full(e, CHANGES_OF_AN_END))
        return false;
    struct live *live = entry_live(e, entry);
    bool again = !live || !live->running; /* the store had refused it */
    if (!again)
        free_slot(e, entry, attempt);
    enum task_event event = event_of(entry, attempt);
    if (!again && (event == TASK_EVENT_LOST || event == TASK_EVENT_GAVE_UP))
        e->stats.attempts_lost++;
    struct change *change = batch_touch(e, entry);
    change->outcome = outcome_of(attempt, event);
    change->report = attempt;
    keep_attempt(change, attempt, event);
    if (event == TASK_EVENT_LOST)
        entry->before = ERROR_TYPE_LOST;
    else if (event != TASK_EVENT_RELEASED)
        entry->before = (uint8_t)(change->outcome ? change->outcome->error : ERROR_TYPE_NONE);
    if (live && attempt->started_us)
        live->started_us = attempt->started_us;
    if (event == TASK_EVENT_BACKOFF) {
        int64_t pause =
            attempt->retry_after_us >= 0 ? attempt->retry_after_us : backoff_us(attempt->spec, entry->failures + 1u);
        entry->run_at_us = e->now_us + pause;
        entry->spans = ENTRY_SPAN_RUN;
    }
    (void)task_move(e, entry, event); /* every event that event_of names is allowed from running */
    return true;
}
