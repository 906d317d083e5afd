/* What a crash or a stop left: every unfinished task becomes an entry again, and attempts that were running are
 * counted as lost.  Recovery enters where a stored submission would: the queues.
 * Called by engine.c before the engine's thread starts; runs on the starting thread. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/internal.h"

struct recovery {
    struct engine *engine;
    struct task_id *tied; /* tasks that are tied to others, by links or a group; owned */
    size_t n_tied, tied_room;
    uint64_t waiting, lost; /* lost: claimed, to be looked at in the second pass */
    bool out_of_memory;
};

static int64_t earlier(int64_t a, int64_t b)
{
    if (a == 0 || b == 0)
        return a ? a : b;
    return a < b ? a : b;
}

static bool note_tied(struct recovery *r, struct task_id id)
{
    if (r->n_tied == r->tied_room) {
        size_t room = r->tied_room ? r->tied_room * 2 : 256;
        struct task_id *tied = realloc(r->tied, room * sizeof *tied);
        if (!tied)
            return false;
        r->tied = tied;
        r->tied_room = room;
    }
    r->tied[r->n_tied++] = id;
    return true;
}

static uint8_t unique_tie(const struct store_waiting *task)
{
    if (!task->has_unique)
        return 0;
    return task->unique_until_started ? ENTRY_UNIQUE_START : ENTRY_UNIQUE;
}

static int add(void *arg, const struct store_waiting *task)
{
    struct recovery *r = arg;
    struct engine *e = r->engine;
    struct entry *entry = entry_new(e, task->id, task->tenant, task->name);
    if (!entry || ((task->has_after || task->has_group) && !note_tied(r, task->id))) {
        r->out_of_memory = true;
        return 1;
    }
    entry->attempt = task->attempt;
    entry->lost = task->lost;
    entry->failures = task->failures;
    entry->priority = task->priority < PRIORITIES ? task->priority : PRIORITIES - 1;
    entry->cancel_requested = task->cancel_requested;
    entry->has_callback = task->has_callback;
    entry->size = task->size;
    entry->ties = unique_tie(task);
    entry->run_at_us = task->run_at_us;
    entry->give_up_us = task->attempt ? task->deadline_us : earlier(task->deadline_us, task->expires_us);
    if (task->attempt)
        entry->spans = task->state == TASK_SCHEDULED ? ENTRY_SPAN_RUN : 0; /* of its first time it is not known */
    else
        entry->spans = (uint8_t)give_up_span(task->deadline_us, task->expires_us);
    if (task->state != TASK_SCHEDULED && entry->give_up_us <= entry->run_at_us)
        entry->give_up_us = 0; /* retried by hand when it was over already: it does not count (calls.c: retry) */
    task_set_state(e, entry, task->state, true);
    r->waiting++;
    if (task->state == TASK_RUNNING) { /* for the second pass: nothing is written during the walk */
        entry->next = r->lost ? e->recovering : ENTRY_NONE;
        e->recovering = entry_index(entry);
        r->lost++;
        if (task->lost >= task->max_lost)
            entry->prev = 0; /* its last life is used up */
        return 0;
    }
    task_requeue(e, entry, false);
    return 0;
}

static int by_id(const void *a, const void *b)
{
    const struct task_id *x = a, *y = b;
    uint64_t left = task_id_seq(*x), right = task_id_seq(*y);
    return left < right ? -1 : left > right;
}

/* In the order of their ids, which is that of their submission: so each waits for those that were there before it. */
static int tie_again(struct recovery *r)
{
    enum { TOGETHER = 64 };
    struct engine *e = r->engine;
    struct task_record records[TOGETHER];
    if (r->n_tied)
        qsort(r->tied, r->n_tied, sizeof *r->tied, by_id);
    int err = 0;
    for (size_t at = 0; err == 0 && at < r->n_tied; at += TOGETHER) {
        size_t n = r->n_tied - at < TOGETHER ? r->n_tied - at : TOGETHER;
        if (e->store->ops->load(e->store, r->tied + at, n, records) != STORE_OK)
            return -EIO;
        for (size_t i = 0; i < n; i++) {
            struct entry *entry = entries_find(&e->entries, r->tied[at + i]);
            unsigned fault;
            if (err == 0 && entry && records[i].spec)
                err = links_tie(e, entry, records[i].spec, true, &fault);
            if (err == 0 && entry && entry->ties & ENTRY_BLOCKED)
                task_requeue(e, entry, false);
            task_record_release(&records[i]);
        }
    }
    return err;
}

static bool was_started(const struct engine *e, const struct entry *entry)
{
    return !e->marks || started_before(e->marks, entry->id, entry->attempt);
}

static void recover_running(struct engine *e, struct entry *entry, bool used_up)
{
    const struct live *live = entry_live_get(entry);
    enum task_event event = used_up ? TASK_EVENT_GAVE_UP : TASK_EVENT_LOST;
    if (!was_started(e, entry))
        event = TASK_EVENT_RELEASED;
    if (entry->cancel_requested)
        event = TASK_EVENT_CANCEL;
    if (event == TASK_EVENT_LOST)
        entry->before = ERROR_TYPE_LOST;
    (void)task_move(e, entry, event);
    struct change *change = &e->changes[entry->change - 1];
    if (event == TASK_EVENT_GAVE_UP)
        change->outcome = task_outcome_failure(
            ERROR_TYPE_LOST, SLICE_LITERAL("the attempt was cut off by a crash, once more than max_lost allows"));
    if (event == TASK_EVENT_CANCEL)
        change->outcome = task_outcome_failure(ERROR_TYPE_CANCELED, SLICE_LITERAL("canceled while it ran"));
    if (event == TASK_EVENT_LOST)
        batch_keep_attempt(change, &(struct task_attempt){.number = entry->attempt,
                                                          .started_us = live ? live->started_us : 0,
                                                          .finished_us = e->now_us});
    if (event != TASK_EVENT_RELEASED && was_started(e, entry))
        observe_cut_off(e, entry, change->outcome);
    e->stats.attempts_lost += event == TASK_EVENT_LOST || event == TASK_EVENT_GAVE_UP;
}

static int commit_some(struct engine *e, char *error, size_t error_size)
{
    batch_commit(e);
    if (atomic_load(&e->store_ok))
        return 0;
    (void)snprintf(error, error_size, "the store refuses to record the attempts that were cut off: is the disk full?");
    return -1;
}

/* Rows that tell of a claim. */
static int recover_claimed(struct engine *e, char *error, size_t error_size)
{
    uint32_t next;
    for (uint32_t at = e->recovering; at != ENTRY_NONE; at = next) {
        struct entry *entry = entries_at(&e->entries, at);
        next = entry->next;
        bool used_up = entry->prev == 0;
        entry->next = entry->prev = ENTRY_NONE;
        recover_running(e, entry, used_up);
        if ((batch_full(e, CHANGES_OF_AN_END) || next == ENTRY_NONE) && commit_some(e, error, error_size) < 0)
            return -1;
    }
    return 0;
}

/* Marks of attempts that no row tells of: claims.c leaves none unwritten of a task whose last life it would be. */
static int recover_marked(struct engine *e, char *error, size_t error_size)
{
    unsigned n = 0;
    const struct started_mark *marks = e->marks ? started_found(e->marks, &n) : NULL;
    for (unsigned i = 0; i < n; i++) {
        struct entry *entry = entries_find(&e->entries, (struct task_id){marks[i].hi, marks[i].lo});
        uint32_t attempt = atomic_load_explicit(&marks[i].attempt, memory_order_relaxed);
        if (!entry || entry->state != TASK_QUEUED || entry->attempt + 1 != attempt)
            continue;
        struct live *live = entry_live(e, entry);
        if (!live) {
            (void)snprintf(error, error_size, "out of memory");
            return -1;
        }
        (void)batch_touch(e, entry); /* as its row is */
        task_claim(e, entry);
        live->started_us = marks[i].started_us;
        recover_running(e, entry, false);
        if (batch_full(e, CHANGES_OF_AN_END) && commit_some(e, error, error_size) < 0)
            return -1;
    }
    return commit_some(e, error, error_size);
}

int engine_recover(struct engine *e, char *error, size_t error_size)
{
    struct recovery r = {.engine = e};
    int64_t start = clock_mono_ns();
    e->now_us = clock_wall_us();
    e->now_ns = start;
    e->recovering = ENTRY_NONE;
    task_id_seed(e->store->ops->greatest_seq(e->store));
    if (holds_load(e) < 0) {
        (void)snprintf(error, error_size, "cannot load what is paused: the store cannot be read");
        return -1;
    }
    enum store_result result = e->store->ops->each_waiting(e->store, add, &r);
    if (result == STORE_OK && !r.out_of_memory) {
        int err = tie_again(&r);
        r.out_of_memory = err == -ENOMEM;
        if (err)
            result = STORE_BUSY;
    }
    free(r.tied);
    if (result != STORE_OK || r.out_of_memory) {
        (void)snprintf(error, error_size, "cannot load the waiting tasks: %s",
                       r.out_of_memory ? "out of memory" : "the store cannot be read");
        return -1;
    }
    if (recover_claimed(e, error, error_size) < 0 || recover_marked(e, error, error_size) < 0)
        return -1;
    if (r.waiting)
        LOG_NOTICE("recovered the unfinished tasks", LOG_NUMBER("tasks", r.waiting), LOG_NUMBER("claimed", r.lost),
                   LOG_NUMBER("lost_attempts", e->stats.attempts_lost),
                   LOG_NUMBER("milliseconds", (clock_mono_ns() - start) / 1000000));
    return 0;
}
