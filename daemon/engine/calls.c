/* What callers ask of the engine: submit, wait, cancel, retry, delete.  Each becomes a change in the batch, and its
 * answer leaves with the commit; what changes nothing is answered at once.
 * Called by engine.c (messages) and by batch.c and waiters.c (answers).  Thread: the engine's. */
#include <errno.h>
#include <stdlib.h>

#include "engine/internal.h"

void call_answer(struct engine *e, struct engine_call *call, enum engine_result result)
{
    (void)e;
    call->result = result;
    call->next_waiter = NULL;
    task_spec_unref(call->spec);
    call->spec = NULL;
    if (result == ENGINE_STORE_FULL || result == ENGINE_STORE_FAILED || result == ENGINE_QUOTA)
        call->retry_after_s = call->rate.retry_s ? (int)call->rate.retry_s : 5;
    if (result == ENGINE_DRAINING)
        call->retry_after_s = 1;
    if (result == ENGINE_DRAINED)
        call->retry_after_s = 30; /* somebody will say when it goes on */
    call->deliver(call);
}

void call_answer_entry(struct engine *e, struct engine_call *call, struct entry *entry, struct task_outcome *outcome)
{
    enum engine_result result = call->not_unique ? ENGINE_NOT_UNIQUE : call->replayed ? ENGINE_REPLAYED : ENGINE_OK;
    const struct live *live = entry_live_get(entry);
    if (entry_spec(entry)) {
        call->record.spec = task_spec_ref(entry_spec(entry));
        call->record.status = entry_status_durable(e, entry);
        call->record.outcome = task_outcome_ref(outcome);
        call->record.note = live ? blob_ref(live->note) : NULL;
    } else if (e->store->ops->load(e->store, &entry->id, 1, &call->record) != STORE_OK || !call->record.spec) {
        result = ENGINE_NOT_LIVE;
    }
    call_answer(e, call, result);
}

static void answer_with(struct engine *e, struct engine_call *call, enum engine_result result,
                        struct task_record *record)
{
    call->record = *record; /* takes the references over */
    *record = (struct task_record){0};
    call_answer(e, call, result);
}

static void answer_later(struct change *change, struct engine_call *call)
{
    struct engine_call **last = &change->calls;
    while (*last)
        last = &(*last)->next_waiter;
    call->next_waiter = NULL;
    *last = call;
}

/* A task as the store has it; as it is, where its row does not tell of the running attempt yet (claims.c). */
static enum store_result load_task(struct engine *e, struct task_id id, struct task_record *ret)
{
    enum store_result result = e->store->ops->load(e->store, &id, 1, ret);
    const struct entry *entry = entries_find(&e->entries, id);
    const struct live *live = entry ? entry_live_get(entry) : NULL;
    if (result == STORE_OK && ret->spec && live && live->unwritten)
        ret->status = entry_status_durable(e, entry);
    return result;
}

/* ---- submit ---- */

/* The same key earlier in this batch: its row is not in the store yet. */
static struct change *pending_key(struct engine *e, const struct engine_call *call)
{
    for (size_t i = 0; i < e->n_changes; i++) {
        struct change *change = &e->changes[i];
        if (change->row.key && memcmp(change->row.key, call->key, STORE_KEY_SIZE) == 0)
            return change;
    }
    return NULL;
}

static void replay(struct engine *e, struct engine_call *call, struct task_id id)
{
    struct entry *entry = entries_find(&e->entries, id);
    call->replayed = true;
    task_spec_unref(call->spec);
    call->spec = NULL;
    if (entry && call->wait_until_ns > e->now_ns) {
        waiter_add(e, entry, call);
        return;
    }
    struct task_record record = {0};
    call->id = id;
    if (load_task(e, id, &record) != STORE_OK)
        call_answer(e, call, ENGINE_STORE_FAILED);
    else if (record.spec)
        answer_with(e, call, ENGINE_REPLAYED, &record);
    else
        call_answer(e, call, ENGINE_KEY_GONE);
}

/* True: the key decided the call already. */
static bool decided_by_key(struct engine *e, struct engine_call *call)
{
    struct change *change = pending_key(e, call);
    if (change) {
        if (memcmp(change->row.fingerprint, call->fingerprint, STORE_KEY_SIZE) != 0) {
            call_answer(e, call, ENGINE_KEY_MISMATCH);
        } else {
            call->replayed = true;
            task_spec_unref(call->spec);
            call->spec = NULL;
            answer_later(change, call);
        }
        return true;
    }
    struct task_id id;
    unsigned char fingerprint[STORE_KEY_SIZE];
    enum store_result found = e->store->ops->find_key(e->store, call->key, e->now_us, &id, fingerprint);
    if (found == STORE_NOT_FOUND)
        return false;
    if (found != STORE_OK)
        call_answer(e, call, ENGINE_STORE_FAILED);
    else if (memcmp(fingerprint, call->fingerprint, STORE_KEY_SIZE) != 0)
        call_answer(e, call, ENGINE_KEY_MISMATCH);
    else
        replay(e, call, id);
    return true;
}

/* ---- unique keys ---- */

static bool wants(const struct change *change, const struct task_spec *spec)
{
    const struct task_spec *other = change->row.spec;
    return other && (change->row.kind == STORE_INSERT || change->row.take_unique) &&
           slice_eq(other->unique_key, spec->unique_key) && slice_eq(other->tenant, spec->tenant);
}

/* True: another living task has the key, and the call is (or will be, once that one is durable) answered so. */
static bool held_by_other(struct engine *e, struct engine_call *call, const struct task_spec *spec)
{
    for (size_t i = 0; i < e->n_changes; i++)
        if (wants(&e->changes[i], spec)) {
            call->not_unique = true;
            call->wait_until_ns = 0;
            answer_later(&e->changes[i], call);
            return true;
        }
    struct task_id id;
    struct task_record record = {0};
    enum store_result found = e->store->ops->find_unique(e->store, spec->tenant, spec->unique_key, e->now_us, &id);
    if (found == STORE_NOT_FOUND)
        return false;
    if (found == STORE_OK)
        found = load_task(e, id, &record);
    if (found != STORE_OK || !record.spec)
        call_answer(e, call, ENGINE_STORE_FAILED);
    else
        answer_with(e, call, ENGINE_NOT_UNIQUE, &record);
    return true;
}

static uint8_t unique_tie(const struct task_spec *spec)
{
    if (!spec->unique_key.len)
        return 0;
    return spec->unique_until_started ? ENTRY_UNIQUE_START : ENTRY_UNIQUE;
}

static int64_t earlier(int64_t a, int64_t b) /* of two times, 0 meaning never */
{
    if (a == 0 || b == 0)
        return a ? a : b;
    return a < b ? a : b;
}

static bool is_of_running(const struct engine *e, const struct task_spec *spec)
{
    const struct entry *parent = task_id_is_none(spec->parent) ? NULL : entries_find(&e->entries, spec->parent);
    return parent && parent->state == TASK_RUNNING;
}

/* While draining, only running attempts may still submit: their sub-tasks belong to work that was accepted. */
static bool is_welcome(const struct engine *e, const struct task_spec *spec)
{
    return !atomic_load_explicit(&e->draining, memory_order_relaxed) || is_of_running(e, spec);
}

/* A sub-task belongs to its parent's tenant, and to the tree that the parent belongs to. */
static enum engine_result join_tree(struct engine *e, struct task_spec *spec)
{
    if (task_id_is_none(spec->parent) || !task_id_equal(spec->root, spec->id))
        return ENGINE_OK; /* none, or the attempt that submits it has said so */
    struct entry *entry = entries_find(&e->entries, spec->parent);
    struct task_record record = {0};
    enum store_result found = STORE_OK;
    if (entry && entry_spec(entry))
        record.spec = task_spec_ref(entry_spec(entry));
    else
        found = e->store->ops->load(e->store, &spec->parent, 1, &record);
    enum engine_result result = found == STORE_OK ? ENGINE_NO_PARENT : ENGINE_STORE_FAILED;
    if (record.spec && slice_eq(record.spec->tenant, spec->tenant)) {
        spec->root = record.spec->root; /* nobody else has the spec yet */
        result = ENGINE_OK;
    }
    task_record_release(&record);
    return result;
}

static void give_back(struct engine *e, struct entry *entry)
{
    links_drop(e, entry);
    entry_live_release(e, entry);
    scheduler_detach(&e->scheduler, entry);
    entries_remove(&e->entries, entry);
}

/* Ties the new entry to others.  False: answered, and the entry is gone. */
static bool tie(struct engine *e, struct engine_call *call, struct entry *entry, const struct task_spec *spec,
                bool again)
{
    int err = links_tie(e, entry, spec, again, &call->fault);
    if (err == 0)
        return true;
    give_back(e, entry);
    call_answer(e, call, err == -ENOENT ? ENGINE_NO_PREDECESSOR : ENGINE_STORE_FAILED);
    return false;
}

/* Submitted by a task that is being canceled with all that it submits. */
static bool is_doomed(const struct engine *e, const struct task_spec *spec)
{
    const struct entry *parent = task_id_is_none(spec->parent) ? NULL : entries_find(&e->entries, spec->parent);
    return parent && parent->ties & ENTRY_CASCADE;
}

/* The new entry becomes a row and waits for its turn. */
static void enter(struct engine *e, struct engine_call *call, struct entry *entry)
{
    struct task_spec *spec = call->spec;
    struct change *change = batch_begin(e, entry, STORE_INSERT);
    change->row.spec = spec;
    change->row.schedule = call->schedule;
    entry->ties |= unique_tie(spec);
    if (call->has_key) {
        change->row.key = call->key;
        change->row.fingerprint = call->fingerprint;
        change->row.key_expires_us = e->now_us + KEY_LIFE_US;
    }
    entry_set_spec(entry, spec);
    call->spec = NULL;
    e->hot_bytes += spec->memory;
    entry->priority = spec->priority < PRIORITIES ? spec->priority : PRIORITIES - 1;
    entry->run_at_us = spec->run_at_us ? spec->run_at_us : spec->created_us;
    entry->give_up_us = earlier(spec->deadline_us, spec->expires_us);
    entry->spans = (spec->run_at_is_span ? ENTRY_SPAN_RUN : 0) | give_up_span(spec->deadline_us, spec->expires_us);
    entry->has_callback = spec->callback.len != 0;
    /* One that wants no time is never scheduled, though the turn's clock may lie behind the one that it was made by. */
    bool later = (spec->run_at_us && spec->run_at_us > e->now_us) || entry->ties & ENTRY_BLOCKED;
    task_set_state(e, entry, later ? TASK_SCHEDULED : TASK_QUEUED, true);
    task_requeue(e, entry, false);
    if (is_doomed(e, spec))
        (void)task_move(e, entry, TASK_EVENT_CANCEL);
    answer_later(change, call);
}

static void submit(struct engine *e, struct engine_call *call)
{
    struct task_spec *spec = call->spec;
    if (!is_welcome(e, spec)) {
        call_answer(e, call, ENGINE_DRAINING);
        return;
    }
    if (call->has_key && decided_by_key(e, call))
        return;
    enum engine_result joined = join_tree(e, spec);
    if (joined != ENGINE_OK) {
        call_answer(e, call, joined);
        return;
    }
    if (spec->unique_key.len && held_by_other(e, call, spec))
        return;
    struct entry *entry = entry_new(e, spec->id, spec->tenant, spec->name);
    if (!entry) {
        call_answer(e, call, ENGINE_STORE_FAILED);
        return;
    }
    if (holds_drain(e, entry) && !is_of_running(e, spec)) {
        give_back(e, entry);
        call_answer(e, call, ENGINE_DRAINED);
        return;
    }
    entry->size = admission_code(spec->size);
    enum engine_result admitted = admission_ask(e, call, entry);
    if (admitted != ENGINE_OK) {
        give_back(e, entry);
        call_answer(e, call, admitted);
        return;
    }
    if (!tie(e, call, entry, spec, false))
        return;
    enter(e, call, entry);
}

/* ---- wait and cancel ---- */

bool call_may_see(const struct engine *e, const struct entry *entry, const char *name)
{
    return *name == '\0' || strcmp(scheduler_lane(&e->scheduler, entry)->tenant->name, name) == 0;
}

static void wait_for(struct engine *e, struct engine_call *call)
{
    struct entry *entry = entries_find(&e->entries, call->id);
    if (!entry || !call_may_see(e, entry, call->tenant)) {
        call_answer(e, call, ENGINE_NOT_LIVE);
        return;
    }
    waiter_add(e, entry, call);
}

/* A task that is not among the unfinished ones.  False: it was answered (no such task). */
static bool load_finished(struct engine *e, struct engine_call *call, struct task_record *record)
{
    *record = (struct task_record){0};
    enum store_result result = load_task(e, call->id, record);
    if (result != STORE_OK) {
        call_answer(e, call, ENGINE_STORE_FAILED);
        return false;
    }
    if (!record->spec || (*call->tenant && !slice_eq_str(record->spec->tenant, call->tenant))) {
        task_record_release(record);
        call_answer(e, call, ENGINE_NOT_FOUND);
        return false;
    }
    return true;
}

static void cancel_running(struct engine *e, struct engine_call *call, struct entry *entry)
{
    struct change *change = batch_touch(e, entry);
    if (!change) {
        call_answer(e, call, ENGINE_STORE_FAILED);
        return;
    }
    entry->cancel_requested = true;
    if (call->cascade)
        entry->ties |= ENTRY_CASCADE;
    change->fire = CANCEL_REQUESTED;
    answer_later(change, call);
}

static void cancel(struct engine *e, struct engine_call *call)
{
    struct entry *entry = entries_find(&e->entries, call->id);
    if (entry && !call_may_see(e, entry, call->tenant)) {
        call_answer(e, call, ENGINE_NOT_FOUND);
        return;
    }
    if (!entry) {
        struct task_record record;
        if (load_finished(e, call, &record))
            answer_with(e, call, ENGINE_CONFLICT, &record);
        return;
    }
    if (entry->state == TASK_RUNNING) {
        cancel_running(e, call, entry);
        return;
    }
    if (!task_move(e, entry, TASK_EVENT_CANCEL)) {
        call_answer(e, call, ENGINE_STORE_FAILED);
        return;
    }
    answer_later(&e->changes[entry->change - 1], call);
}

/* ---- retry and delete ---- */

/* Its row is that of a waiting task again.  Takes the record over. */
static void start_again(struct engine *e, struct engine_call *call, struct entry *entry, struct task_record *from,
                        enum task_state to)
{
    struct task_record record = *from;
    struct change *change = batch_begin(e, entry, STORE_UPDATE);
    change->row.spec = record.spec;
    change->row.take_unique = record.spec->unique_key.len != 0;
    entry->ties |= unique_tie(record.spec);
    change->row.expect_state = record.status.state;
    change->row.expect_attempt = record.status.attempt;
    change->row.clear_outcome = true;
    entry_set_spec(entry, record.spec);
    e->hot_bytes += record.spec->memory;
    if (record.status.attempt) /* the row will tell of another one */
        batch_keep_attempt(change, &(struct task_attempt){.number = record.status.attempt,
                                                          .started_us = record.status.started_us,
                                                          .finished_us = record.status.finished_us,
                                                          .outcome = record.outcome});
    task_outcome_unref(record.outcome);
    blob_unref(record.note);
    entry->has_callback = record.spec->callback.len != 0;
    entry->priority = record.spec->priority < PRIORITIES ? record.spec->priority : PRIORITIES - 1;
    entry->run_at_us = e->now_us; /* deadline and expiry were for the first run: whoever retries wants it to run */
    task_set_state(e, entry, to, true);
    task_requeue(e, entry, false);
    recent_drop(e->recent, call->id);
    answer_later(change, call);
}

/* Else the entry is gone again. */
static enum engine_result may_run_again(struct engine *e, struct engine_call *call, struct entry *entry,
                                        const struct task_spec *spec)
{
    entry->size = admission_code(spec->size);
    enum engine_result result = holds_drain(e, entry) ? ENGINE_DRAINED : admission_ask(e, call, entry);
    if (result != ENGINE_OK)
        give_back(e, entry);
    return result;
}

static void retry(struct engine *e, struct engine_call *call)
{
    struct task_record record;
    if (entries_find(&e->entries, call->id)) { /* unfinished: whose it is decides what is said */
        if (load_finished(e, call, &record))
            answer_with(e, call, ENGINE_CONFLICT, &record);
        return;
    }
    if (!load_finished(e, call, &record))
        return;
    enum task_state to;
    if (!task_state_next(record.status.state, TASK_EVENT_RETRY, &to)) {
        answer_with(e, call, ENGINE_CONFLICT, &record);
        return;
    }
    if (record.spec->unique_key.len && held_by_other(e, call, record.spec)) {
        task_record_release(&record);
        return;
    }
    struct entry *entry = entry_new(e, call->id, record.spec->tenant, record.spec->name);
    enum engine_result admitted = entry ? may_run_again(e, call, entry, record.spec) : ENGINE_STORE_FAILED;
    if (admitted != ENGINE_OK) {
        task_record_release(&record);
        call_answer(e, call, admitted);
        return;
    }
    entry->attempt = record.status.attempt;
    if (!tie(e, call, entry, record.spec, true)) {
        task_record_release(&record);
        return;
    }
    start_again(e, call, entry, &record, entry->ties & ENTRY_BLOCKED ? TASK_SCHEDULED : to);
}

static void delete_task(struct engine *e, struct engine_call *call)
{
    struct task_record record;
    bool live = entries_find(&e->entries, call->id) != NULL;
    if (!load_finished(e, call, &record))
        return;
    if (live || !task_state_final(record.status.state)) {
        answer_with(e, call, ENGINE_CONFLICT, &record);
        return;
    }
    struct change *change = batch_add_row(e, call->id);
    change->row.kind = STORE_FORGET;
    change->row.expect_state = record.status.state;
    change->row.expect_attempt = record.status.attempt;
    answer_later(change, call);
    task_record_release(&record);
}

/* ---- schedules ---- */

static void write_schedule(struct engine *e, struct engine_call *call)
{
    struct change *change = batch_add_row(e, (struct task_id){0, 0});
    if (!change) {
        call_answer(e, call, ENGINE_STORE_FAILED);
        return;
    }
    change->row.kind = STORE_SCHEDULE;
    change->row.schedule = call->schedule;
    answer_later(change, call);
}

static int add_tenant(void *arg, struct slice tenant)
{
    buf_append_slice(arg, tenant);
    buf_append_char(arg, '\0');
    return 0;
}

static void list_tenants(struct engine *e, struct engine_call *call)
{
    enum store_result result = e->store->ops->each_tenant(e->store, (struct slice){0}, 0, add_tenant, call->tenants);
    call_answer(e, call, result == STORE_OK && buf_ok(call->tenants) ? ENGINE_OK : ENGINE_STORE_FAILED);
}

/* The task ended in this very batch, or the call asks what the store says of it: whether that holds is known after
 * the commit, so the call is looked at again. */
static bool must_wait(const struct engine *e, const struct engine_call *call)
{
    if (call->kind == ENGINE_SUBMIT || call->kind == ENGINE_WAIT || call->kind == ENGINE_WATCH ||
        call->kind == ENGINE_SCHEDULE || call->kind == ENGINE_TENANTS || call->kind == ENGINE_FIGURES)
        return false;
    if (call->kind == ENGINE_HOLD)
        return e->hold_under_way;
    const struct entry *entry = entries_find(&e->entries, call->id);
    return entry && entry->change && (call->kind != ENGINE_CANCEL || task_state_final((enum task_state)entry->state));
}

void call_handle(struct engine *e, struct engine_call *call)
{
    if (must_wait(e, call)) {
        call->mail.next = e->again;
        e->again = &call->mail;
        return;
    }
    switch (call->kind) {
    case ENGINE_SUBMIT: submit(e, call); return;
    case ENGINE_WAIT: wait_for(e, call); return;
    case ENGINE_WATCH: watch_handle(e, call); return;
    case ENGINE_CANCEL: cancel(e, call); return;
    case ENGINE_RETRY: retry(e, call); return;
    case ENGINE_DELETE: delete_task(e, call); return;
    case ENGINE_SCHEDULE: write_schedule(e, call); return;
    case ENGINE_TENANTS: list_tenants(e, call); return;
    case ENGINE_HOLD: hold_handle(e, call); return;
    case ENGINE_FIGURES: figures_handle(e, call); return;
    }
}
