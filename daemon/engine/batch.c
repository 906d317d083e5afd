/* The batch: which tasks changed in this turn, how they were before, and what is to happen once that is durable.
 * Called by calls.c, attempts.c, timers.c and recovery.c (to change tasks) and by engine.c (to commit).
 * Thread: the engine's. */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/internal.h"

#define HOT_WAIT_US INT64_C(1000000) /* a task that waits longer than this for its time is kept in the store only */

/* ---- entries ---- */

struct entry *entry_new(struct engine *e, struct task_id id, struct slice tenant, struct slice name)
{
    if (!heap_reserve(&e->due, e->entries.count + 1))
        return NULL;
    struct entry *entry = entries_add(&e->entries, id);
    if (!entry)
        return NULL;
    if (scheduler_attach(&e->scheduler, entry, tenant, name, registry_find(e->registry, name)) < 0) {
        entries_remove(&e->entries, entry);
        return NULL;
    }
    return entry;
}

static bool is_waiting(int state)
{
    return state == TASK_SCHEDULED || state == TASK_QUEUED;
}

static void count_waiting(struct tenant *tenant, const struct entry *entry, int by)
{
    if (!is_waiting(entry->state))
        return;
    tenant->waiting += (uint32_t)by;
    tenant->waiting_bytes += (uint64_t)by * admission_bytes(entry->size);
}

void task_set_state(struct engine *e, struct entry *entry, enum task_state state, bool is_new)
{
    struct lane *lane = scheduler_lane(&e->scheduler, entry);
    if (!is_new) {
        e->stats.waiting[entry->state]--;
        count_waiting(lane->tenant, entry, -1);
    }
    entry->state = (uint8_t)state;
    e->stats.waiting[state]++;
    count_waiting(lane->tenant, entry, 1);
}

struct live *entry_live(struct engine *e, struct entry *entry)
{
    struct live *live = entry_live_get(entry);
    if (live)
        return live;
    if (!heap_reserve(&e->limits, e->limits.n + 1) || !heap_reserve(&e->writes, e->writes.n + 1))
        return NULL;
    live = calloc(1, sizeof *live);
    if (!live)
        return NULL;
    live->entry = entry_index(entry);
    live->progress = -1;
    live->version = ++e->version;
    entry_set_live(entry, live);
    return live;
}

static void free_live(struct engine *e, struct entry *entry)
{
    struct live *live = entry_live_get(entry);
    if (!live)
        return;
    heap_clear(&e->limits, &live->limit_slot);
    told_release(e, live);
    satchel_cancel_unref(live->cancel);
    entry_set_live(entry, NULL);
    free(live);
}

/* What the row lacks stays here until it is written: while a batch is under way, and where it refused an attempt's end. */
void entry_live_release(struct engine *e, struct entry *entry)
{
    const struct live *live = entry_live_get(entry);
    bool lacks = entry->change || entry->state == TASK_RUNNING;
    if (live && !lacks && !live->running && !live->waiters && !live->links)
        free_live(e, entry);
}

void entry_cool(struct engine *e, struct entry *entry)
{
    struct task_spec *spec = entry_spec(entry);
    if (!spec)
        return;
    e->hot_bytes -= spec->memory;
    task_spec_unref(spec);
    entry_set_spec(entry, NULL);
}

void entry_drop(struct engine *e, struct entry *entry)
{
    struct lane *lane = scheduler_lane(&e->scheduler, entry);
    e->stats.waiting[entry->state]--;
    count_waiting(lane->tenant, entry, -1);
    scheduler_dequeue(&e->scheduler, entry);
    heap_clear(&e->due, &entry->timer);
    entry_cool(e, entry);
    links_drop(e, entry);
    free_live(e, entry);
    scheduler_detach(&e->scheduler, entry);
    entries_remove(&e->entries, entry);
}

struct task_status entry_status(const struct engine *e, const struct entry *entry)
{
    const struct live *live = entry_live_get(entry);
    struct task_status status = {
        .state = (enum task_state)entry->state,
        .attempt = entry->attempt,
        .lost = entry->lost,
        .failures = entry->failures,
        .cancel_requested = entry->cancel_requested,
        .run_at_us = entry->run_at_us,
        .started_us = live ? live->started_us : 0,
        .progress = live ? live->progress : -1,
    };
    if (task_state_final(status.state)) /* the turn's clock may lie behind the worker's */
        status.finished_us = e->now_us > status.started_us ? e->now_us : status.started_us;
    return status;
}

struct task_status entry_status_durable(const struct engine *e, const struct entry *entry)
{
    struct task_status status = entry_status(e, entry);
    const struct before *before = entry->change ? &e->changes[entry->change - 1].before : NULL;
    if (!before || !before->existed)
        return status;
    status.state = (enum task_state)before->state;
    status.attempt = before->attempt;
    status.lost = before->lost;
    status.failures = before->failures;
    status.cancel_requested = before->cancel_requested;
    status.run_at_us = before->run_at_us;
    if (!task_state_final(status.state))
        status.finished_us = 0;
    return status;
}

/* ---- changing ---- */

bool batch_full(const struct engine *e, size_t room)
{
    return e->n_changes + room > BATCH_CHANGES;
}

struct change *batch_add_row(struct engine *e, struct task_id id)
{
    if (batch_full(e, 1))
        return NULL;
    struct change *change = &e->changes[e->n_changes++];
    *change = (struct change){.entry = ENTRY_NONE, .row = {.kind = STORE_UPDATE, .id = id}};
    return change;
}

struct change *batch_touch(struct engine *e, struct entry *entry)
{
    if (entry->change)
        return &e->changes[entry->change - 1];
    struct change *change = batch_add_row(e, entry->id);
    if (!change)
        return NULL;
    change->entry = entry_index(entry);
    const struct live *live = entry_live_get(entry);
    bool unwritten = live && live->unwritten;
    change->row.expect_state = unwritten ? TASK_QUEUED : (enum task_state)entry->state;
    change->row.expect_attempt = unwritten ? entry->attempt - 1 : entry->attempt;
    change->before = (struct before){
        .existed = true,
        .state = entry->state,
        .cancel_requested = entry->cancel_requested,
        .unwritten = unwritten,
        .ties = entry->ties,
        .lost = entry->lost,
        .failures = entry->failures,
        .attempt = entry->attempt,
        .run_at_us = entry->run_at_us,
        .give_up_us = entry->give_up_us,
    };
    entry->change = (uint16_t)e->n_changes;
    return change;
}

struct change *batch_begin(struct engine *e, struct entry *entry, enum store_change_kind kind)
{
    struct change *change = batch_add_row(e, entry->id); /* room was checked */
    change->entry = entry_index(entry);
    change->row.kind = kind;
    entry->change = (uint16_t)e->n_changes;
    return change;
}

void batch_keep_attempt(struct change *change, const struct task_attempt *ended)
{
    task_outcome_unref(change->ended.outcome);
    change->ended = *ended;
    change->ended.outcome = task_outcome_ref(ended->outcome);
    change->row.ended = &change->ended;
}

/* Arms the entry's wall clock timer as its state says. */
static void arm(struct engine *e, struct entry *entry)
{
    int64_t when = INT64_MAX;
    if (entry->state == TASK_SCHEDULED && !(entry->ties & ENTRY_BLOCKED))
        when = entry->run_at_us;
    if (is_waiting(entry->state) && entry->give_up_us && entry->give_up_us < when)
        when = entry->give_up_us;
    if (when == INT64_MAX)
        heap_clear(&e->due, &entry->timer);
    else
        (void)heap_set(&e->due, &entry->timer, when); /* room was reserved with the entry */
}

void task_requeue(struct engine *e, struct entry *entry, bool first)
{
    if (entry->queued && entry->state != TASK_QUEUED)
        scheduler_dequeue(&e->scheduler, entry);
    if (!entry->queued && entry->state == TASK_QUEUED) {
        if (first)
            scheduler_enqueue_first(&e->scheduler, entry);
        else
            scheduler_enqueue(&e->scheduler, entry);
    }
    arm(e, entry);
}

/* The unique key that it holds is free again, at the latest at its end. */
static void let_go(struct entry *entry, struct change *change, bool ended)
{
    unsigned over = entry->ties & (ended ? ENTRY_UNIQUE | ENTRY_UNIQUE_START : ENTRY_UNIQUE_START);
    if (over)
        change->row.drop_unique = true;
    entry->ties &= (uint8_t)~over;
}

bool task_move(struct engine *e, struct entry *entry, enum task_event event)
{
    enum task_state to;
    if (!task_state_next((enum task_state)entry->state, event, &to))
        return false;
    struct change *change = batch_touch(e, entry);
    if (!change)
        return false;
    scheduler_dequeue(&e->scheduler, entry); /* before `lost` changes: it decides which queue */
    if (event == TASK_EVENT_CLAIMED)
        entry->attempt++;
    if (event == TASK_EVENT_RELEASED)
        entry->attempt--;
    if (event == TASK_EVENT_LOST || event == TASK_EVENT_GAVE_UP)
        entry->lost++;
    if (event == TASK_EVENT_BACKOFF || (event == TASK_EVENT_FAILED && entry->state == TASK_RUNNING))
        entry->failures++;
    if (event == TASK_EVENT_RETRY) {
        entry->failures = 0;
        entry->lost = 0;
        entry->cancel_requested = false;
    }
    if (event == TASK_EVENT_CLAIMED || task_state_final(to))
        let_go(entry, change, task_state_final(to));
    task_set_state(e, entry, to, false);
    /* whoever had its turn and was cut off through no fault of its own does not wait behind everybody once more */
    task_requeue(e, entry, event == TASK_EVENT_LOST || event == TASK_EVENT_RELEASED);
    if (task_state_final(to) && entry->has_callback)
        callback_add(e, entry);
    return true;
}

void task_claim(struct engine *e, struct entry *entry)
{
    enum task_state to;
    if (!task_state_next((enum task_state)entry->state, TASK_EVENT_CLAIMED, &to))
        return;
    entry->attempt++;
    task_set_state(e, entry, to, false);
    task_requeue(e, entry, false);
}

/* ---- committing ---- */

static void fill_row(struct engine *e, struct change *change)
{
    struct entry *entry = entries_at(&e->entries, change->entry);
    struct live *live = entry_live_get(entry);
    change->row.status = entry_status(e, entry);
    change->row.outcome = change->outcome;
    if (live)
        told_fill(live, change);
    if (change->row.kind == STORE_INSERT) {
        change->row.spec = entry_spec(entry);
        change->row.size = entry->size;
    }
}

static void answer_calls(struct engine *e, struct change *change, struct entry *entry)
{
    bool final = task_state_final((enum task_state)entry->state);
    while (change->calls) {
        struct engine_call *call = change->calls;
        change->calls = call->next_waiter;
        call->next_waiter = NULL;
        if (call->wait_until_ns > e->now_ns && !final)
            waiter_add(e, entry, call);
        else
            call_answer_entry(e, call, entry, change->outcome);
    }
}

static void remember(struct engine *e, struct change *change, struct entry *entry)
{
    struct task_spec *spec = entry_spec(entry);
    const struct live *live = entry_live_get(entry);
    e->stats.finished[entry->state]++;
    scheduler_lane(&e->scheduler, entry)->tenant->finished[entry->state]++;
    if (!spec)
        return;
    struct task_record record = {
        .spec = spec, .status = change->row.status, .outcome = change->outcome, .note = live ? live->note : NULL};
    recent_put(e->recent, &record, live && live->waiters);
}

static bool is_cold(const struct engine *e, const struct entry *entry)
{
    return e->hot_bytes > e->options.hot_bytes || entry->run_at_us > e->now_us + HOT_WAIT_US ||
           entry->ties & ENTRY_BLOCKED;
}

/* The change is durable: let its effects out.  `dispatch` collects what goes to the pool. */
static void effect(struct engine *e, struct change *change, struct attempt ***dispatch)
{
    struct entry *entry = entries_at(&e->entries, change->entry);
    struct live *live = entry_live_get(entry);
    entry->change = 0;
    if (change->row.kind == STORE_INSERT) {
        e->stats.submitted++;
        scheduler_lane(&e->scheduler, entry)->tenant->submitted++;
    }
    observe_change(e, change, entry);
    if (change->claim) {
        **dispatch = change->claim;
        *dispatch = (struct attempt **)&change->claim->mail.next;
    }
    if (change->fire && live && live->running)
        attempt_fire(e, live, change->fire);
    bool final = task_state_final((enum task_state)entry->state);
    if (live)
        told_written(e, live);
    if (final)
        remember(e, change, entry); /* before the answers: a poll that follows one must find it */
    answer_calls(e, change, entry);
    if (final) {
        waiters_answer(e, entry, change->outcome);
        links_ended(e, entry);
        entry_drop(e, entry);
    } else {
        watchers_answer(e, entry);
        links_settled(e, entry);
        if (is_waiting(entry->state) && is_cold(e, entry))
            entry_cool(e, entry);
        entry_live_release(e, entry);
    }
}

/* A claim that will not be dispatched after all. */
static void withdraw_claim(struct engine *e, struct change *change, struct entry *entry)
{
    struct live *live = entry_live_known(entry);
    scheduler_end(&e->scheduler, entry, live->expected_ns, 0, false);
    e->in_flight--;
    e->in_flight_ns -= live->ahead_ns;
    live->running = false;
    *live->prev_running = live->next_running;
    if (live->next_running)
        live->next_running->prev_running = live->prev_running;
    heap_clear(&e->limits, &live->limit_slot);
    satchel_cancel_unref(live->cancel);
    live->cancel = NULL;
    attempt_release(e, change->claim);
}

/* The row was not as expected: somebody else changed it.  The entry is given up; who waits is sent to the store. */
static void fenced(struct engine *e, struct change *change)
{
    struct entry *entry = change->entry == ENTRY_NONE ? NULL : entries_at(&e->entries, change->entry);
    while (change->calls) {
        struct engine_call *call = change->calls;
        change->calls = call->next_waiter;
        call_answer(e, call, call->kind == ENGINE_SUBMIT ? ENGINE_STORE_FAILED : ENGINE_NOT_FOUND);
    }
    if (!entry)
        return;
    if (change->before.existed) {
        char id[TASK_ID_TEXT_SIZE];
        task_id_format(entry->id, id);
        LOG_ERROR("a task's row was changed by someone else; it is left to them", LOG_TEXT("task_id", id));
    }
    entry->change = 0;
    if (change->claim)
        withdraw_claim(e, change, entry);
    struct live *live = entry_live_get(entry);
    if (live && live->running) {
        attempt_fire(e, live, CANCEL_SHUTDOWN); /* its report comes back here and ends the entry */
        return;
    }
    waiters_dismiss(e, entry);
    entry_drop(e, entry);
}

static void release_outcomes(struct change *change)
{
    task_outcome_unref(change->outcome);
    task_outcome_unref(change->ended.outcome);
}

static void committed(struct engine *e)
{
    struct attempt *first = NULL, **last = &first;
    for (size_t i = 0; i < e->n_changes; i++) {
        struct change *change = &e->changes[i];
        if (change->row.result == STORE_FENCED) {
            fenced(e, change);
        } else if (change->entry == ENTRY_NONE) { /* a deletion */
            recent_drop(e->recent, change->row.id);
            hold_committed(e, change);
            call_answer(e, change->calls, ENGINE_OK);
        } else {
            effect(e, change, &last);
        }
        if (change->report)
            attempt_release(e, change->report);
        release_outcomes(change);
    }
    *last = NULL;
    if (first)
        pool_push(e->pool, first);
}

/* ---- refused by the store ---- */

static void put_back(struct engine *e, struct change *change, enum engine_result result)
{
    while (change->calls) {
        struct engine_call *call = change->calls;
        change->calls = call->next_waiter;
        call_answer(e, call, result);
    }
    release_outcomes(change);
    if (change->entry == ENTRY_NONE)
        return;
    struct entry *entry = entries_at(&e->entries, change->entry);
    entry->change = 0;
    if (change->claim)
        withdraw_claim(e, change, entry);
    if (!change->before.existed) {
        waiters_dismiss(e, entry); /* who came within this batch */
        entry_drop(e, entry);
        return;
    }
    scheduler_dequeue(&e->scheduler, entry);
    entry->attempt = change->before.attempt;
    entry->lost = change->before.lost;
    entry->failures = change->before.failures;
    entry->run_at_us = change->before.run_at_us;
    entry->give_up_us = change->before.give_up_us;
    entry->cancel_requested = change->before.cancel_requested;
    entry->ties = change->before.ties;
    task_set_state(e, entry, (enum task_state)change->before.state, false);
    task_requeue(e, entry, true);
    struct live *live = entry_live_get(entry);
    if (live) {
        live->unwritten = change->before.unwritten;
        told_again(e, live);
    }
    entry_live_release(e, entry);
    if (change->report) { /* the attempt has ended all the same: report it again later */
        change->report->mail.next = (struct mail *)e->held;
        e->held = change->report;
    }
}

void batch_pause(struct engine *e)
{
    e->retry_ns = e->now_ns + e->pause_ns;
}

static void refused(struct engine *e, enum store_result result)
{
    if (atomic_exchange(&e->store_ok, false))
        LOG_ERROR("the store refuses writes; submissions are answered 503 until it takes them again",
                  LOG_TEXT("reason", result == STORE_FULL ? "no space left" : "busy"));
    batch_pause(e);
    for (size_t i = e->n_changes; i-- > 0;)
        put_back(e, &e->changes[i], result == STORE_FULL ? ENGINE_STORE_FULL : ENGINE_STORE_FAILED);
}

void batch_commit(struct engine *e)
{
    if (e->n_changes == 0)
        return;
    for (size_t i = 0; i < e->n_changes; i++) {
        if (e->changes[i].entry != ENTRY_NONE)
            fill_row(e, &e->changes[i]);
        e->rows[i] = &e->changes[i].row;
    }
    enum store_result result = e->store->ops->commit(e->store, e->rows, e->n_changes);
    e->stats.batches++;
    e->stats.changes += e->n_changes;
    if (result == STORE_OK) {
        if (!atomic_exchange(&e->store_ok, true))
            LOG_NOTICE("the store takes writes again");
        committed(e);
    } else {
        if (result == STORE_FATAL)
            e->options.fatal(e->options.fatal_arg, "the store failed; what it holds is recovered at the next start");
        refused(e, result);
    }
    e->n_changes = 0;
    e->hold_under_way = false;
}
