/* Writing: one transaction per batch, one INSERT or UPDATE per task.
 *
 * Flow: engine's batch -> sqlite_commit -> (durable) -> the engine lets the effects leave.
 * 1. An update names the state and attempt that it expects.  Where the row has others, no row changes and the change
 *    is fenced; the rest of the batch is committed all the same.
 * 2. Any error of SQLite's rolls the whole batch back.  Full and busy may pass; everything else is fatal.
 * 3. Nothing is allocated here per row: values are bound where they lie. */
#include <string.h>

#include "base/clock.h"
#include "store/sqlite_store.h"

#define LOG_PIECE ((size_t)32 * 1024)
#define LOG_PIECE_LEAST ((size_t)256)
#define LOG_MARK_ROOM 64 /* for whoever shows it: what was dropped is said */

/* Every writing transaction passes here, so that the listing in arrears catches up in whichever comes next. */
int sqlite_begin(struct sqlite_store *store, bool list_all)
{
    int rc = sqlite_db_run(store->statements[STATEMENT_BEGIN]);
    sqlite_listing_mark(store);
    return rc == SQLITE_DONE ? sqlite_listing_enter(store, list_all) : rc;
}

enum store_result sqlite_end(struct sqlite_store *store, int rc)
{
    if (rc == SQLITE_OK || rc == SQLITE_DONE || rc == SQLITE_ROW)
        rc = sqlite_db_run(store->statements[STATEMENT_COMMIT]);
    if (rc == SQLITE_DONE) {
        store->full = false;
        sqlite_listing_end(store, true);
        return STORE_OK;
    }
    enum store_result result = sqlite_db_result(rc);
    store->full = result == STORE_FULL;
    if (!sqlite3_get_autocommit(store->db)) {
        int undone = sqlite_db_run(store->statements[STATEMENT_ROLLBACK]);
        if (undone != SQLITE_DONE && !sqlite3_get_autocommit(store->db))
            result = STORE_FATAL;
    }
    sqlite_listing_end(store, false);
    sqlite_names_forget(&store->tenants);
    sqlite_names_forget(&store->names);
    return result == STORE_OK ? STORE_FATAL : result;
}

static int put_payload(struct sqlite_store *store, int64_t seq, enum sqlite_body kind, struct slice bytes)
{
    sqlite3_stmt *stmt = store->statements[STATEMENT_PAYLOAD_PUT];
    (void)sqlite3_bind_int64(stmt, 1, sqlite_payload_key(seq, kind));
    (void)sqlite3_bind_blob64(stmt, 2, bytes.data, bytes.len, SQLITE_STATIC);
    return sqlite_db_run(stmt);
}

static int put_payloads(struct sqlite_store *store, const struct store_change *change, unsigned aside)
{
    int rc = SQLITE_DONE;
    for (unsigned kind = 0; rc == SQLITE_DONE && kind < SQLITE_BODY_COUNT; kind++) {
        if (!(aside & 1u << kind))
            continue;
        enum sqlite_body body = (enum sqlite_body)kind;
        struct slice bytes = SQLITE_BODY_ENDING & 1u << kind ? sqlite_outcome_body(change->outcome, body)
                                                             : sqlite_spec_body(change->spec, body);
        rc = put_payload(store, sqlite_id_seq(change->id), body, bytes);
    }
    return rc;
}

static int drop_payloads(struct sqlite_store *store, int64_t seq, enum sqlite_body first, enum sqlite_body last)
{
    sqlite3_stmt *stmt = store->statements[STATEMENT_PAYLOAD_DROP];
    (void)sqlite3_bind_int64(stmt, 1, sqlite_payload_key(seq, first));
    (void)sqlite3_bind_int64(stmt, 2, sqlite_payload_key(seq, last));
    return sqlite_db_run(stmt);
}

/* What lies beside the row: attempts, note, log. */
static int drop_told(struct sqlite_store *store, int64_t seq)
{
    static const enum sqlite_statement drops[] = {STATEMENT_ATTEMPTS_DROP, STATEMENT_NOTE_DROP, STATEMENT_LOG_DROP};
    int rc = SQLITE_DONE;
    for (size_t i = 0; rc == SQLITE_DONE && i < sizeof drops / sizeof drops[0]; i++) {
        (void)sqlite3_bind_int64(store->statements[drops[i]], 1, seq);
        rc = sqlite_db_run(store->statements[drops[i]]);
    }
    return rc;
}

static int drop_row(struct sqlite_store *store, int64_t seq)
{
    sqlite3_stmt *stmt = store->statements[STATEMENT_TASK_DROP];
    (void)sqlite3_bind_int64(stmt, 1, seq);
    return sqlite_db_run(stmt);
}

/* The key's row.  *ret_taken: an unexpired one was there already, and it stays.  "Expired" is judged no earlier than
 * by whoever looked the key up before: a submission's own time may lie a little back. */
static int put_key(struct sqlite_store *store, const struct store_change *change, bool *ret_taken)
{
    int64_t now_us = clock_wall_us();
    if (now_us < change->spec->created_us)
        now_us = change->spec->created_us;
    sqlite3_stmt *stmt = store->statements[STATEMENT_KEY_PUT];
    (void)sqlite3_bind_blob(stmt, 1, change->key, STORE_KEY_SIZE, SQLITE_STATIC);
    (void)sqlite3_bind_int64(stmt, 2, sqlite_id_seq(change->id));
    (void)sqlite3_bind_int64(stmt, 3, sqlite_id_lo(change->id));
    (void)sqlite3_bind_blob(stmt, 4, change->fingerprint, STORE_KEY_SIZE, SQLITE_STATIC);
    (void)sqlite3_bind_int64(stmt, 5, change->key_expires_us);
    (void)sqlite3_bind_int64(stmt, 6, now_us);
    int rc = sqlite_db_run(stmt);
    *ret_taken = rc == SQLITE_DONE && sqlite3_changes(store->db) == 0;
    return rc;
}

/* The unique key's row.  *ret_taken: another task holds it, and goes on doing so. */
static int put_unique(struct sqlite_store *store, const struct store_change *change, int64_t tenant, bool *ret_taken)
{
    const struct task_spec *spec = change->spec;
    int64_t now_us = clock_wall_us(), expires = INT64_MAX;
    if (spec->unique_for_us && spec->unique_for_us < INT64_MAX - now_us)
        expires = now_us + spec->unique_for_us;
    sqlite3_stmt *stmt = store->statements[STATEMENT_UNIQUE_PUT];
    (void)sqlite3_bind_int64(stmt, 1, tenant);
    sqlite_db_bind_text(stmt, 2, spec->unique_key);
    (void)sqlite3_bind_int64(stmt, 3, sqlite_id_seq(change->id));
    (void)sqlite3_bind_int64(stmt, 4, sqlite_id_lo(change->id));
    (void)sqlite3_bind_int64(stmt, 5, expires);
    (void)sqlite3_bind_int64(stmt, 6, now_us);
    int rc = sqlite_db_run(stmt);
    *ret_taken = rc == SQLITE_DONE && sqlite3_changes(store->db) == 0;
    return rc;
}

static int drop_unique(struct sqlite_store *store, int64_t seq)
{
    sqlite3_stmt *stmt = store->statements[STATEMENT_UNIQUE_DROP];
    (void)sqlite3_bind_int64(stmt, 1, seq);
    return sqlite_db_run(stmt);
}

static int take_unique(struct sqlite_store *store, const struct store_change *change, bool *ret_taken)
{
    int64_t tenant;
    int rc = sqlite_names_number(&store->tenants, change->spec->tenant, &tenant);
    return rc == SQLITE_OK ? put_unique(store, change, tenant, ret_taken) : rc;
}

/* The keys that a new task brings.  *ret_taken: one of them is another task's; the row is to go again. */
static int put_keys(struct sqlite_store *store, const struct store_change *change, int64_t tenant, bool *ret_taken)
{
    bool unique = change->spec->unique_key.len && !change->drop_unique; /* else it has started already */
    int rc = SQLITE_DONE;
    *ret_taken = false;
    if (unique)
        rc = put_unique(store, change, tenant, ret_taken);
    if (rc == SQLITE_DONE && change->key && !*ret_taken) {
        rc = put_key(store, change, ret_taken);
        if (rc == SQLITE_DONE && *ret_taken && unique)
            rc = drop_unique(store, sqlite_id_seq(change->id));
    }
    return rc;
}

static void bind_name(sqlite3_stmt *stmt, const struct store_schedule *schedule)
{
    (void)sqlite3_clear_bindings(stmt);
    (void)sqlite3_bind_text64(stmt, 1, schedule->tenant.len ? schedule->tenant.data : "", schedule->tenant.len,
                              SQLITE_STATIC, SQLITE_UTF8);
    sqlite_db_bind_text(stmt, 2, schedule->name);
}

static int put_schedule(struct sqlite_store *store, const struct store_schedule *schedule)
{
    sqlite3_stmt *stmt = store->statements[schedule->remove ? STATEMENT_SCHEDULE_DROP : STATEMENT_SCHEDULE_PUT];
    bind_name(stmt, schedule);
    if (schedule->remove)
        return sqlite_db_run(stmt);
    sqlite_db_bind_text(stmt, 3, schedule->body);
    (void)sqlite3_bind_int64(stmt, 4, schedule->paused);
    (void)sqlite3_bind_int64(stmt, 5, schedule->created_us);
    (void)sqlite3_bind_int64(stmt, 6, schedule->last_us);
    if (!task_id_is_none(schedule->last_id)) {
        (void)sqlite3_bind_int64(stmt, 7, sqlite_id_seq(schedule->last_id));
        (void)sqlite3_bind_int64(stmt, 8, sqlite_id_lo(schedule->last_id));
    }
    return sqlite_db_run(stmt);
}

/* One of the API may have been deleted meanwhile: that stays so. */
static int put_fired(struct sqlite_store *store, const struct store_schedule *schedule)
{
    sqlite3_stmt *stmt = store->statements[STATEMENT_SCHEDULE_FIRED];
    if (!schedule->body.len)
        return put_schedule(store, schedule);
    bind_name(stmt, schedule);
    (void)sqlite3_bind_int64(stmt, 3, schedule->last_us);
    (void)sqlite3_bind_int64(stmt, 4, sqlite_id_seq(schedule->last_id));
    (void)sqlite3_bind_int64(stmt, 5, sqlite_id_lo(schedule->last_id));
    return sqlite_db_run(stmt);
}

static int apply_insert(struct sqlite_store *store, struct store_change *change)
{
    int64_t tenant, name;
    if (change->with && change->with->result != STORE_OK) {
        change->result = STORE_FENCED;
        return SQLITE_DONE;
    }
    int rc = sqlite_names_number(&store->tenants, change->spec->tenant, &tenant);
    if (rc == SQLITE_OK)
        rc = sqlite_names_number(&store->names, change->spec->name, &name);
    if (rc != SQLITE_OK)
        return rc;
    struct sqlite_row_scratch scratch;
    sqlite3_stmt *stmt = store->statements[STATEMENT_INSERT];
    bool late = sqlite_listing_waits(store, change);
    unsigned aside = sqlite_row_bind(stmt, change, tenant, name, late, &scratch);
    rc = sqlite_db_run(stmt);
    if (rc == SQLITE_CONSTRAINT_PRIMARYKEY || rc == SQLITE_CONSTRAINT_ROWID) {
        change->result = STORE_FENCED; /* the id is taken: nothing of this change is written */
        return SQLITE_DONE;
    }
    if (rc == SQLITE_DONE && (change->key || change->spec->unique_key.len)) {
        bool taken;
        rc = put_keys(store, change, tenant, &taken);
        if (rc == SQLITE_DONE && taken) {
            change->result = STORE_FENCED;
            return drop_row(store, sqlite_id_seq(change->id));
        }
    }
    if (rc == SQLITE_DONE && aside)
        rc = put_payloads(store, change, aside);
    if (rc == SQLITE_DONE)
        rc = sqlite_listing_add(store, tenant, sqlite_id_seq(change->id));
    if (rc == SQLITE_DONE && change->schedule)
        rc = put_fired(store, change->schedule);
    return rc;
}

static void bind_update(sqlite3_stmt *stmt, const struct store_change *change)
{
    const struct task_status *status = &change->status;
    (void)sqlite3_clear_bindings(stmt);
    (void)sqlite3_bind_int64(stmt, 1, sqlite_id_seq(change->id));
    (void)sqlite3_bind_int64(stmt, 2, sqlite_id_lo(change->id));
    (void)sqlite3_bind_int64(stmt, 3, change->expect_state);
    (void)sqlite3_bind_int64(stmt, 4, change->expect_attempt);
    (void)sqlite3_bind_int64(stmt, 5, status->state);
    (void)sqlite3_bind_int64(stmt, 6, sqlite_tries_pack(status));
    if (status->cancel_requested)
        (void)sqlite3_bind_int64(stmt, 7, 1);
    (void)sqlite3_bind_int64(stmt, 8, status->run_at_us);
    if (status->started_us)
        (void)sqlite3_bind_int64(stmt, 9, status->started_us);
    if (status->finished_us)
        (void)sqlite3_bind_int64(stmt, 10, status->finished_us);
    if (status->progress >= 0)
        (void)sqlite3_bind_double(stmt, 11, (double)status->progress);
}

static unsigned bind_outcome(struct sqlite_store *store, sqlite3_stmt *stmt, const struct store_change *change)
{
    unsigned aside = 0;
    if (!task_state_final(change->status.state)) {
        (void)sqlite3_bind_zeroblob(stmt, 16, SQLITE_ROOM);
        if (sqlite_listing_waits(store, change))
            (void)sqlite3_bind_int64(stmt, 17, 1);
    }
    if (change->outcome) {
        aside = sqlite_outcome_aside(change->outcome);
        (void)sqlite3_bind_int64(stmt, 12, sqlite_outcome_pack(change->outcome));
        if (!(aside & 1u << SQLITE_BODY_MESSAGE))
            sqlite_db_bind_text(stmt, 14, sqlite_outcome_body(change->outcome, SQLITE_BODY_MESSAGE));
        if (!(aside & 1u << SQLITE_BODY_RESULT))
            sqlite_db_bind_text(stmt, 15, sqlite_outcome_body(change->outcome, SQLITE_BODY_RESULT));
    }
    (void)sqlite3_bind_int64(stmt, 13, aside);
    return aside;
}

static int put_attempt(struct sqlite_store *store, const struct store_change *change)
{
    const struct task_attempt *ended = change->ended;
    sqlite3_stmt *stmt = store->statements[STATEMENT_ATTEMPT_PUT];
    (void)sqlite3_clear_bindings(stmt);
    (void)sqlite3_bind_int64(stmt, 1, sqlite_id_seq(change->id));
    (void)sqlite3_bind_int64(stmt, 2, ended->number);
    if (ended->started_us)
        (void)sqlite3_bind_int64(stmt, 3, ended->started_us);
    (void)sqlite3_bind_int64(stmt, 4, ended->finished_us);
    if (ended->outcome) {
        (void)sqlite3_bind_int64(stmt, 5, sqlite_outcome_pack(ended->outcome));
        sqlite_db_bind_text(stmt, 6, slice_str(ended->outcome->message));
    }
    sqlite_db_bind_text(stmt, 7, ended->sent);
    return sqlite_db_run(stmt);
}

static int put_note(struct sqlite_store *store, const struct store_change *change)
{
    sqlite3_stmt *stmt = store->statements[STATEMENT_NOTE_PUT];
    (void)sqlite3_bind_int64(stmt, 1, sqlite_id_seq(change->id));
    sqlite_db_bind_text(stmt, 2, change->note);
    return sqlite_db_run(stmt);
}

/* SQLITE_DONE, and where the log ends now. */
static int put_log_piece(struct sqlite_store *store, int64_t seq, struct slice piece, int64_t *ret_end)
{
    sqlite3_stmt *stmt = store->statements[STATEMENT_LOG_PUT];
    (void)sqlite3_bind_int64(stmt, 1, seq);
    (void)sqlite3_bind_blob64(stmt, 2, piece.data, piece.len, SQLITE_STATIC);
    int rc = sqlite3_step(stmt);
    *ret_end = rc == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
    if (rc == SQLITE_ROW)
        rc = sqlite3_step(stmt); /* to the statement's end */
    int reset = sqlite3_reset(stmt);
    return rc == SQLITE_DONE ? rc : reset;
}

/* In pieces, since whole pieces are dropped where the log grows too long. */
static int put_log(struct sqlite_store *store, const struct store_change *change)
{
    int64_t seq = sqlite_id_seq(change->id), end = 0;
    struct slice rest = change->log;
    int rc = SQLITE_DONE;
    size_t most = (size_t)store->max_log / 4;
    most = most < LOG_PIECE_LEAST ? LOG_PIECE_LEAST : most < LOG_PIECE ? most : LOG_PIECE;
    while (rc == SQLITE_DONE && rest.len) {
        size_t len = rest.len < most ? rest.len : most;
        rc = put_log_piece(store, seq, slice_of(rest.data, len), &end);
        rest = slice_of(rest.data + len, rest.len - len);
    }
    if (rc != SQLITE_DONE || end <= store->max_log)
        return rc;
    sqlite3_stmt *stmt = store->statements[STATEMENT_LOG_CUT];
    (void)sqlite3_bind_int64(stmt, 1, seq);
    (void)sqlite3_bind_int64(stmt, 2, end - store->max_log + LOG_MARK_ROOM);
    return sqlite_db_run(stmt);
}

/* What a task told beside its row. */
static int put_told(struct sqlite_store *store, const struct store_change *change)
{
    int rc = SQLITE_DONE;
    if (change->ended)
        rc = put_attempt(store, change);
    if (rc == SQLITE_DONE && change->note.len)
        rc = put_note(store, change);
    if (rc == SQLITE_DONE && change->log.len)
        rc = put_log(store, change);
    return rc;
}

/* Can the row have an outcome's bodies in `payload` already?  Not when its first attempt ends. */
static bool may_have_bodies(const struct store_change *change)
{
    return change->clear_outcome || change->expect_attempt > 1 ||
           (change->expect_attempt == 1 && change->expect_state != TASK_RUNNING);
}

static int apply_update(struct sqlite_store *store, struct store_change *change)
{
    bool ending = change->outcome || change->clear_outcome;
    if (change->take_unique) {
        bool taken;
        int rc = take_unique(store, change, &taken);
        if (rc != SQLITE_DONE || taken) {
            change->result = STORE_FENCED;
            return rc;
        }
    }
    sqlite3_stmt *stmt = store->statements[ending ? STATEMENT_UPDATE_OUTCOME : STATEMENT_UPDATE];
    bind_update(stmt, change);
    unsigned aside = ending ? bind_outcome(store, stmt, change) : 0;
    int rc = sqlite_db_run(stmt);
    if (rc != SQLITE_DONE)
        return rc;
    if (sqlite3_changes(store->db) == 0) {
        change->result = STORE_FENCED;
        return change->take_unique ? drop_unique(store, sqlite_id_seq(change->id)) : rc;
    }
    if (ending && may_have_bodies(change))
        rc = drop_payloads(store, sqlite_id_seq(change->id), SQLITE_BODY_RESULT, SQLITE_BODY_MESSAGE);
    if (rc == SQLITE_DONE && aside)
        rc = put_payloads(store, change, aside);
    if (rc == SQLITE_DONE)
        rc = put_told(store, change);
    if (rc == SQLITE_DONE && change->drop_unique)
        rc = drop_unique(store, sqlite_id_seq(change->id));
    return rc;
}

int sqlite_bury(struct sqlite_store *store, const struct sqlite_dead *dead)
{
    sqlite3_stmt *stmt = store->statements[STATEMENT_TOMBSTONE_PUT];
    const int64_t values[] = {dead->seq,    dead->lo,      dead->tenant,   dead->state,    dead->tries,
                              dead->run_at, dead->started, dead->finished, dead->forget_at};
    for (int i = 0; i < (int)(sizeof values / sizeof *values); i++)
        (void)sqlite3_bind_int64(stmt, i + 1, values[i]);
    int rc = sqlite_db_run(stmt);
    if (rc == SQLITE_DONE)
        rc = drop_row(store, dead->seq);
    if (rc == SQLITE_DONE)
        rc = sqlite_listing_remove(store, dead->tenant, dead->seq);
    if (rc == SQLITE_DONE)
        rc = drop_told(store, dead->seq);
    if (rc == SQLITE_DONE && dead->aside)
        rc = drop_payloads(store, dead->seq, SQLITE_BODY_ARGS, SQLITE_BODY_MESSAGE);
    return rc;
}

static int apply_forget(struct sqlite_store *store, struct store_change *change)
{
    sqlite3_stmt *stmt = store->statements[STATEMENT_TASK_DEAD];
    (void)sqlite3_bind_int64(stmt, 1, sqlite_id_seq(change->id));
    (void)sqlite3_bind_int64(stmt, 2, sqlite_id_lo(change->id));
    (void)sqlite3_bind_int64(stmt, 3, change->expect_state);
    (void)sqlite3_bind_int64(stmt, 4, change->expect_attempt);
    int rc = sqlite3_step(stmt);
    struct sqlite_dead dead = {0};
    if (rc == SQLITE_ROW)
        dead = sqlite_dead_read(stmt, clock_wall_us(), store->retain_us);
    int reset = sqlite3_reset(stmt);
    if (rc == SQLITE_ROW)
        return sqlite_bury(store, &dead);
    if (rc == SQLITE_DONE) {
        change->result = STORE_FENCED;
        return rc;
    }
    return reset;
}

static int apply(struct sqlite_store *store, struct store_change *change)
{
    switch (change->kind) {
    case STORE_INSERT: return apply_insert(store, change);
    case STORE_UPDATE: return apply_update(store, change);
    case STORE_FORGET: return apply_forget(store, change);
    case STORE_SCHEDULE: return put_schedule(store, change->schedule);
    case STORE_HOLD: return sqlite_put_hold(store, change->hold);
    }
    return SQLITE_MISUSE;
}

enum store_result sqlite_commit(struct store *base, struct store_change *const changes[], size_t n)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    if (n == 0)
        return STORE_OK;
    sqlite_checkpoint_before(store);
    int rc = sqlite_begin(store, false);
    for (size_t i = 0; rc == SQLITE_DONE && i < n; i++) {
        changes[i]->result = STORE_OK;
        rc = apply(store, changes[i]);
    }
    enum store_result result = sqlite_end(store, rc);
    if (result == STORE_OK)
        sqlite_checkpoint_after(store);
    return result;
}
