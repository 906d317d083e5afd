/* Attempts: claiming queued tasks for the workers, and what becomes of a task when an attempt has ended.
 * Called by engine.c (claims, reports) and by batch.c and timers.c (cancel signals).  Thread: the engine's. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/internal.h"

#define FAR_US (INT64_MAX / 2000) /* a limit that lies further ahead needs no timer */

/* Expected work that may wait per worker, so that none idles during a commit.  Where somebody waits for the end, more of
 * it: then short tasks are claimed in the row that their submission writes, not in one more.  Where nobody does, a
 * burst is taken in first. */
#define AHEAD_NS INT64_C(2000000)
#define AHEAD_WAITED_NS INT64_C(8000000)

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

/* ---- claiming ---- */

static bool is_waited_for(const struct engine *e, const struct entry *entry)
{
    if (entry->live && entry->live->waiters)
        return true;
    const struct engine_call *call = entry->change ? e->changes[entry->change - 1].calls : NULL;
    return call && call->wait_until_ns > e->now_ns;
}

/* A worker is free, or the task is known to be so short that one will be by the time the claim is durable. */
static bool may_claim(const struct engine *e, const struct entry *entry)
{
    if (e->in_flight < e->options.workers)
        return true;
    int64_t expected = scheduler_expected_ns(&e->scheduler, entry);
    if (expected == INT64_MAX)
        return false;
    bool waited = is_waited_for(e, entry);
    return e->in_flight < e->options.workers + (waited ? CLAIMS_AHEAD_MAX : CLAIMS_AHEAD) &&
           e->in_flight_ns + expected < (waited ? AHEAD_WAITED_NS : AHEAD_NS) * e->options.workers;
}

/* False: it is out of its queue, or claims rest for a moment, where the store can be read again soon. */
static bool make_hot(struct engine *e, struct entry *entry)
{
    if (entry->spec)
        return true;
    struct task_record record = {0};
    enum store_result result = e->store->ops->load(e->store, &entry->id, 1, &record);
    if (result == STORE_FULL || result == STORE_BUSY) {
        batch_pause(e);
        return false;
    }
    if (result != STORE_OK || !record.spec) {
        char id[TASK_ID_TEXT_SIZE];
        task_id_format(entry->id, id);
        LOG_ERROR("a queued task cannot be read from the store; it is left there until the next start",
                  LOG_TEXT("task_id", id));
        scheduler_dequeue(&e->scheduler, entry); /* it can still be canceled, and may be part of the batch */
        return false;
    }
    entry->spec = record.spec;
    entry->failures = record.status.failures;
    if (record.outcome && entry->before == ERROR_TYPE_NONE)
        entry->before = (uint8_t)record.outcome->error;
    e->hot_bytes += record.spec->size;
    task_outcome_unref(record.outcome);
    return true;
}

void attempt_arm_limit(struct engine *e, const struct entry *entry)
{
    struct live *live = entry->live;
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

/* When the attempt must have ended: the earlier of its time limit and the task's deadline. */
static void set_limit(struct engine *e, const struct entry *entry, struct attempt *attempt)
{
    const struct task_spec *spec = attempt->spec;
    struct live *live = entry->live;
    int64_t timeout_us = spec->timeout_us ? spec->timeout_us : attempt->type->timeout_us;
    int64_t limit_us = timeout_us ? e->now_us + timeout_us : 0;
    live->timeout_ns = timeout_us && timeout_us < FAR_US ? e->now_ns + timeout_us * 1000 : INT64_MAX;
    if (entry->give_up_us && (limit_us == 0 || entry->give_up_us < limit_us))
        limit_us = entry->give_up_us;
    attempt->deadline_us = limit_us;
    attempt_arm_limit(e, entry);
}

static struct attempt *attempt_new(struct engine *e, struct entry *entry, const struct task_type *type)
{
    struct live *live = entry_live(e, entry);
    struct attempt *attempt = live ? calloc(1, sizeof *attempt) : NULL;
    if (!attempt || satchel_cancel_new(NULL, &attempt->cancel) != SATCHEL_OK) {
        free(attempt);
        return NULL;
    }
    attempt->spec = task_spec_ref(entry->spec);
    attempt->type = type;
    (void)registry_ref(type->registry); /* it runs with what it began with, whatever is reloaded */
    attempt->number = entry->attempt + 1;
    attempt->failures = entry->failures;
    attempt->before = (enum error_type)entry->before;
    attempt->previous_lost = entry->lost;
    attempt->host = e->options.host;
    attempt->host_arg = e->options.host_arg;
    attempt->mail_kind = MAIL_REPORT;
    attempt->retry_after_us = -1;
    attempt->spans = e->options.spans;
    attempt->mark = e->marks ? started_take(e->marks) : NULL;
    satchel_cancel_unref(live->cancel); /* of an earlier attempt */
    live->cancel = satchel_cancel_ref(attempt->cancel);
    live->reason = (enum cancel_reason)0;
    return attempt;
}

static void run_list_add(struct engine *e, struct live *live)
{
    live->running = true;
    live->next_running = e->running;
    live->prev_running = &e->running;
    if (e->running)
        e->running->prev_running = &live->next_running;
    e->running = live;
    e->in_flight++;
    e->in_flight_ns += live->ahead_ns;
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

static void fail_unknown(struct engine *e, struct entry *entry)
{
    char text[160];
    (void)snprintf(text, sizeof text, "task type %.*s is not configured on this node any more",
                   (int)entry->spec->name.len, entry->spec->name.data);
    if (task_move(e, entry, TASK_EVENT_FAILED))
        e->changes[entry->change - 1].outcome = task_outcome_failure(ERROR_TYPE_UNKNOWN_TASK, slice_str(text));
}

static void claim(struct engine *e, struct entry *entry, const struct task_type *type)
{
    struct attempt *attempt = attempt_new(e, entry, type);
    if (!attempt) { /* no memory: stays queued */
        batch_pause(e);
        return;
    }
    struct live *live = entry->live;
    bool unknown = scheduler_expected_ns(&e->scheduler, entry) == INT64_MAX;
    live->expected_ns = scheduler_start(&e->scheduler, entry);
    live->ahead_ns = unknown ? AHEAD_NS : live->expected_ns; /* nothing is claimed to wait behind it */
    (void)task_move(e, entry, TASK_EVENT_CLAIMED);           /* a queued task, and room was checked */
    live->started_us = e->now_us;
    if (entry->give_up_us)
        entry->give_up_us = entry->spec->deadline_us; /* it has started: only the deadline counts from now on */
    entry->spans = 0;
    set_limit(e, entry, attempt);
    run_list_add(e, live);
    e->changes[entry->change - 1].claim = attempt;
}

bool attempts_waiting(struct engine *e)
{
    if (e->now_ns < e->retry_ns || atomic_load_explicit(&e->draining, memory_order_relaxed))
        return false;
    struct entry *entry = scheduler_pick(&e->scheduler);
    return entry && may_claim(e, entry);
}

void attempts_dispatch(struct engine *e)
{
    if (e->now_ns < e->retry_ns || atomic_load_explicit(&e->draining, memory_order_relaxed))
        return;
    for (unsigned n = 0; n < BATCH_CLAIMS && !batch_full(e, CHANGES_OF_AN_END); n++) {
        struct entry *entry = scheduler_pick(&e->scheduler);
        if (!entry || !may_claim(e, entry))
            return;
        if (!make_hot(e, entry)) {
            if (entry->queued)
                return;
            continue;
        }
        const struct task_type *type = scheduler_lane(&e->scheduler, entry)->type;
        if (entry->give_up_us && entry->give_up_us <= e->now_us)
            (void)task_move(e, entry, TASK_EVENT_EXPIRE);
        else if (!type)
            fail_unknown(e, entry);
        else
            claim(e, entry, type);
        if (entry->queued)
            return; /* could not be moved: do not pick it again in this turn */
    }
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

/* The slot is free again, whatever the store says of the end. */
static void free_slot(struct engine *e, struct entry *entry, struct attempt *attempt)
{
    struct live *live = entry->live;
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
