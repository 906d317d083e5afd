/* Claims: which queued task goes to a worker now, and what is written of that before it may start.
 *
 * An attempt is known to have started before its handler is called, so that a task which ends the process counts as cut
 * off.  A claim that is made together with the submission is in the row which that writes.  One of a task whose row is
 * there already would be a row write more: that of a task known to be short is kept by the mark which its worker sets
 * (task/started.h: a crash of the process does not lose it), and gets into the row only if the attempt outlives
 * UNWRITTEN_NS.  All others are written first, and dispatched after the commit (batch.c).
 *
 * Called by engine.c once a turn.  Thread: the engine's. */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "engine/internal.h"

/* Expected work that may wait per worker, so that none idles during a commit.  Where somebody waits for the end, more of
 * it: then short tasks are claimed in the row that their submission writes, not in one more.  Where nobody does, a
 * burst is taken in first. */
#define AHEAD_NS INT64_C(2000000)
#define AHEAD_WAITED_NS INT64_C(8000000)

#define SHORT_NS INT64_C(500000) /* expected: such a task's claim may stay unwritten */

/* Cold tasks that are loaded together with the one whose turn it is, from behind it in its queue. */
#define LOAD_TOGETHER 64u
#define LOAD_BYTES ((uint64_t)1 << 20)
#define LOAD_ROOM ((size_t)4 << 20) /* beyond what may be hot: those that wait for longer may fill that */

/* ---- may it start? ---- */

static bool is_waited_for(const struct engine *e, const struct entry *entry)
{
    const struct live *live = entry_live_get(entry);
    if (live && live->waiters)
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

bool claims_waiting(struct engine *e)
{
    if (e->now_ns < e->retry_ns || atomic_load_explicit(&e->draining, memory_order_relaxed))
        return false;
    struct entry *entry = scheduler_pick(&e->scheduler);
    return entry && may_claim(e, entry);
}

/* ---- its body ---- */

/* The task, and the cold ones behind it in its queue that are likely to be next. */
static size_t choose_cold(const struct engine *e, const struct entry *entry, struct task_id ids[LOAD_TOGETHER])
{
    size_t n = 0;
    uint64_t bytes = e->hot_bytes > e->options.hot_bytes + LOAD_ROOM ? LOAD_BYTES : 0; /* then this one alone */
    ids[n++] = entry->id;
    bytes += admission_bytes(entry->size);
    while (entry->next != ENTRY_NONE && n < LOAD_TOGETHER) {
        entry = entries_at(&e->entries, entry->next);
        bytes += admission_bytes(entry->size);
        if (entry_spec(entry) || bytes > LOAD_BYTES)
            break;
        ids[n++] = entry->id;
    }
    return n;
}

static void warm(struct engine *e, struct entry *entry, const struct task_record *record)
{
    entry_set_spec(entry, task_spec_ref(record->spec));
    entry->failures = record->status.failures;
    if (record->outcome && entry->before == ERROR_TYPE_NONE)
        entry->before = (uint8_t)record->outcome->error;
    e->hot_bytes += record->spec->memory;
}

/* False: it is out of its queue, or claims rest for a moment, where the store can be read again soon. */
static bool make_hot(struct engine *e, struct entry *entry)
{
    if (entry_spec(entry))
        return true;
    struct task_id ids[LOAD_TOGETHER];
    struct task_record records[LOAD_TOGETHER] = {0};
    size_t n = choose_cold(e, entry, ids);
    enum store_result result = e->store->ops->load(e->store, ids, n, records);
    for (size_t i = 0; result == STORE_OK && i < n; i++) {
        if (records[i].spec)
            warm(e, entries_find(&e->entries, ids[i]), &records[i]);
        task_record_release(&records[i]);
    }
    if (result == STORE_FULL || result == STORE_BUSY) {
        batch_pause(e);
        return false;
    }
    if (!entry_spec(entry)) {
        char id[TASK_ID_TEXT_SIZE];
        task_id_format(entry->id, id);
        LOG_ERROR("a queued task cannot be read from the store; it is left there until the next start",
                  LOG_TEXT("task_id", id));
        scheduler_dequeue(&e->scheduler, entry); /* it can still be canceled, and may be part of the batch */
        return false;
    }
    return true;
}

/* ---- the claim ---- */

/* When the attempt must have ended: the earlier of its time limit and the task's deadline. */
static void set_limit(struct engine *e, const struct entry *entry, struct attempt *attempt)
{
    const struct task_spec *spec = attempt->spec;
    struct live *live = entry_live_known(entry);
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
    attempt->spec = task_spec_ref(entry_spec(entry));
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

static void fail_unknown(struct engine *e, struct entry *entry)
{
    char text[160];
    struct slice name = entry_spec(entry)->name;
    (void)snprintf(text, sizeof text, "task type %.*s is not configured on this node any more", (int)name.len,
                   name.data);
    if (task_move(e, entry, TASK_EVENT_FAILED))
        e->changes[entry->change - 1].outcome = task_outcome_failure(ERROR_TYPE_UNKNOWN_TASK, slice_str(text));
}

/* May the mark alone tell that it has started?  Not of a task that must never start twice, or was cut off before: of
 * those a power failure must not lose it either.  Who watches it reads the row.  And nothing is run whose end the store
 * would refuse. */
static bool may_stay_unwritten(const struct engine *e, const struct entry *entry, const struct attempt *attempt,
                               int64_t expected_ns)
{
    return !entry->change && !entry_live_known(entry)->waiters && attempt->mark && expected_ns <= SHORT_NS &&
           entry->lost == 0 && attempt->spec->max_lost > 0 && !(entry->ties & ENTRY_UNIQUE_START) && !e->held &&
           atomic_load_explicit(&e->store_ok, memory_order_relaxed);
}

/* Returns the attempt where it can be dispatched at once. */
static struct attempt *claim(struct engine *e, struct entry *entry, const struct task_type *type)
{
    struct attempt *attempt = attempt_new(e, entry, type);
    if (!attempt) { /* no memory: stays queued */
        batch_pause(e);
        return NULL;
    }
    struct live *live = entry_live_known(entry);
    int64_t expected_ns = scheduler_expected_ns(&e->scheduler, entry);
    live->expected_ns = scheduler_start(&e->scheduler, entry);
    live->ahead_ns = expected_ns == INT64_MAX ? AHEAD_NS : live->expected_ns; /* nothing is to wait behind it */
    live->unwritten = may_stay_unwritten(e, entry, attempt, expected_ns);
    if (live->unwritten)
        task_claim(e, entry);
    else
        (void)task_move(e, entry, TASK_EVENT_CLAIMED); /* a queued task, and room was checked */
    live->started_us = e->now_us;
    if (entry->give_up_us)
        entry->give_up_us = entry_spec(entry)->deadline_us; /* it has started: only the deadline counts from now on */
    entry->spans = 0;
    set_limit(e, entry, attempt);
    run_list_add(e, live);
    if (live->unwritten) {
        (void)heap_set(&e->writes, &live->write_slot, e->now_ns + e->unwritten_ns); /* room came with live */
        observe_claim(e, attempt, entry);
        return attempt;
    }
    e->changes[entry->change - 1].claim = attempt;
    return NULL;
}

/* The next task, out of its queue one way or the other.  False: none, or none for now. */
static bool dispatch_next(struct engine *e, struct attempt ***dispatch)
{
    struct entry *entry = scheduler_pick(&e->scheduler);
    if (!entry || !may_claim(e, entry))
        return false;
    if (!make_hot(e, entry))
        return !entry->queued;
    const struct task_type *type = scheduler_lane(&e->scheduler, entry)->type;
    struct attempt *attempt = NULL;
    if (entry->give_up_us && entry->give_up_us <= e->now_us)
        (void)task_move(e, entry, TASK_EVENT_EXPIRE);
    else if (!type)
        fail_unknown(e, entry);
    else
        attempt = claim(e, entry, type);
    if (attempt) {
        **dispatch = attempt;
        *dispatch = (struct attempt **)&attempt->mail.next;
    }
    return !entry->queued; /* could not be moved: do not pick it again in this turn */
}

void claims_dispatch(struct engine *e)
{
    if (e->now_ns < e->retry_ns || atomic_load_explicit(&e->draining, memory_order_relaxed))
        return;
    struct attempt *first = NULL, **last = &first;
    for (unsigned n = 0; n < BATCH_CLAIMS && !batch_full(e, CHANGES_OF_AN_END); n++)
        if (!dispatch_next(e, &last))
            break;
    *last = NULL;
    if (first)
        pool_push(e->pool, first);
}
