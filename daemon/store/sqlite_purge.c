/* Forgetting: finished tasks that were kept long enough, tombstones, expired keys, tenants without tasks.
 *
 * There is no index on the time of the end: it would cost every task a write.  Instead each purge moves a cursor a
 * bounded number of rows forward, in the order of submission, up to where the youngest possible candidate lies (a
 * task that was made later than retain_us ago cannot have ended earlier).  Only tasks with a retention of their own
 * are found by an index, which has no other entries.
 * Called by the engine now and then; one transaction per call. */
#include <stdlib.h>
#include <string.h>

#include "store/sqlite_store.h"

/* Between the end of a walk and its next beginning: an eighth of the time that tasks are kept, within these bounds. */
#define PASS_PAUSE_LEAST_US INT64_C(1000000)
#define PASS_PAUSE_MOST_US INT64_C(60000000)
#define EXAMINE 4 /* rows looked at for each that may be removed */

enum walk { WALK_TASKS, WALK_TOMBSTONES, WALK_KEYS, WALK_TENANTS };

static int64_t later(int64_t us, int64_t by)
{
    return us > INT64_MAX - by ? INT64_MAX : us + by;
}

/* The walk rests between two passes.  A clock that was set back does not make it rest longer. */
static bool rests(const struct sqlite_purge *purge, enum walk walk, int64_t now_us)
{
    int64_t next = purge->next_pass_us[walk];
    return next > now_us && next - now_us <= PASS_PAUSE_MOST_US;
}

static void end_pass(struct sqlite_store *store, enum walk walk, int64_t now_us)
{
    int64_t pause = store->retain_us / 8;
    if (pause < PASS_PAUSE_LEAST_US)
        pause = PASS_PAUSE_LEAST_US;
    store->purge.next_pass_us[walk] = now_us + (pause < PASS_PAUSE_MOST_US ? pause : PASS_PAUSE_MOST_US);
}

void sqlite_purge_again(struct sqlite_store *store)
{
    store->purge.task_at = 0;
    store->purge.next_pass_us[WALK_TASKS] = 0;
}

/* The columns of TASK_DEAD, PURGE_WALK and PURGE_RETAIN. */
struct sqlite_dead sqlite_dead_read(sqlite3_stmt *row, int64_t now_us, int64_t default_retain_us)
{
    int64_t retain = sqlite3_column_int64(row, 9);
    return (struct sqlite_dead){
        .seq = sqlite3_column_int64(row, 0),
        .lo = sqlite3_column_int64(row, 1),
        .tenant = sqlite3_column_int64(row, 2),
        .state = sqlite3_column_int64(row, 3),
        .tries = sqlite3_column_int64(row, 4),
        .run_at = sqlite3_column_int64(row, 5),
        .started = sqlite3_column_int64(row, 6),
        .finished = sqlite3_column_int64(row, 7),
        .aside = (unsigned)sqlite3_column_int(row, 8),
        .forget_at = later(now_us, retain ? retain : default_retain_us), /* remembered as long as it was kept */
    };
}

static bool due(sqlite3_stmt *row, int64_t now_us, int64_t retain_us)
{
    return sqlite3_column_type(row, 7) != SQLITE_NULL && sqlite3_column_type(row, 9) == SQLITE_NULL &&
           later(sqlite3_column_int64(row, 7), retain_us) <= now_us;
}

struct graves {
    struct sqlite_dead *dead;
    unsigned n, limit;
};

/* Takes from the walk over everything.  SQLITE_DONE or an error. */
static int collect_by_age(struct sqlite_store *store, int64_t now_us, struct graves *graves, bool *ret_more)
{
    struct sqlite_purge *purge = &store->purge;
    int64_t horizon_us = now_us - store->retain_us;
    if (horizon_us <= 0 || rests(purge, WALK_TASKS, now_us))
        return SQLITE_DONE;
    int64_t horizon = (horizon_us / 1000 + 1) << 12, limit = (int64_t)graves->limit * EXAMINE;
    sqlite3_stmt *stmt = store->statements[STATEMENT_PURGE_WALK];
    (void)sqlite3_bind_int64(stmt, 1, purge->task_at);
    (void)sqlite3_bind_int64(stmt, 2, horizon);
    (void)sqlite3_bind_int64(stmt, 3, limit);
    int rc = SQLITE_DONE;
    int64_t seen = 0;
    while (graves->n < graves->limit && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        seen++;
        purge->task_at = sqlite3_column_int64(stmt, 0);
        if (due(stmt, now_us, store->retain_us))
            graves->dead[graves->n++] = sqlite_dead_read(stmt, now_us, store->retain_us);
    }
    if (graves->n == graves->limit)
        rc = SQLITE_DONE;
    else if (rc == SQLITE_DONE && seen < limit) {
        purge->task_at = 0;
        end_pass(store, WALK_TASKS, now_us);
    }
    *ret_more = *ret_more || purge->task_at != 0;
    int reset = sqlite3_reset(stmt);
    return rc == SQLITE_DONE ? rc : reset;
}

static int collect_by_own_retention(struct sqlite_store *store, int64_t now_us, struct graves *graves)
{
    sqlite3_stmt *stmt = store->statements[STATEMENT_PURGE_RETAIN];
    (void)sqlite3_bind_int64(stmt, 1, now_us);
    (void)sqlite3_bind_int64(stmt, 2, graves->limit - graves->n);
    int rc = SQLITE_DONE;
    while (graves->n < graves->limit && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
        graves->dead[graves->n++] = sqlite_dead_read(stmt, now_us, store->retain_us);
    int reset = sqlite3_reset(stmt);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_DONE : reset;
}

static int purge_tasks(struct sqlite_store *store, int64_t now_us, unsigned limit, unsigned *ret_purged, bool *ret_more)
{
    struct graves graves = {.dead = calloc(limit, sizeof *graves.dead), .limit = limit};
    if (!graves.dead)
        return SQLITE_NOMEM;
    int rc = collect_by_own_retention(store, now_us, &graves);
    if (rc == SQLITE_DONE && graves.n < limit)
        rc = collect_by_age(store, now_us, &graves, ret_more);
    *ret_more = *ret_more || graves.n == limit;
    for (unsigned i = 0; rc == SQLITE_DONE && i < graves.n; i++)
        rc = sqlite_bury(store, &graves.dead[i]);
    *ret_purged = graves.n;
    free(graves.dead);
    return rc;
}

static int drop_by_number(struct sqlite_store *store, enum sqlite_statement statement, int64_t number)
{
    sqlite3_stmt *stmt = store->statements[statement];
    (void)sqlite3_bind_int64(stmt, 1, number);
    return sqlite_db_run(stmt);
}

struct numbers { /* a walk over rows that have a number */
    enum walk walk;
    enum sqlite_statement read, drop;
    bool (*wanted)(sqlite3_stmt *row, int64_t now_us);
    int64_t *at;
};

/* One stretch of a walk by number: what `wanted` refuses is dropped while the walk goes on behind it. */
static int walk_numbers(struct sqlite_store *store, const struct numbers *numbers, int64_t now_us, unsigned limit,
                        unsigned *ret_dropped, bool *ret_more)
{
    if (rests(&store->purge, numbers->walk, now_us))
        return SQLITE_DONE;
    sqlite3_stmt *stmt = store->statements[numbers->read];
    int64_t *at = numbers->at;
    (void)sqlite3_bind_int64(stmt, 1, *at);
    (void)sqlite3_bind_int64(stmt, 2, limit);
    int rc;
    unsigned seen = 0;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        seen++;
        *at = sqlite3_column_int64(stmt, 0);
        if (numbers->wanted(stmt, now_us))
            continue;
        int dropped = drop_by_number(store, numbers->drop, *at);
        if (dropped != SQLITE_DONE) {
            (void)sqlite3_reset(stmt);
            return dropped;
        }
        ++*ret_dropped;
    }
    int reset = sqlite3_reset(stmt);
    if (rc == SQLITE_DONE && seen < limit) {
        *at = 0;
        end_pass(store, numbers->walk, now_us);
    }
    *ret_more = *ret_more || *at != 0;
    return rc == SQLITE_DONE ? rc : reset;
}

static bool tombstone_wanted(sqlite3_stmt *row, int64_t now_us)
{
    return sqlite3_column_int64(row, 1) > now_us;
}

static bool tenant_wanted(sqlite3_stmt *row, int64_t now_us)
{
    (void)now_us;
    return sqlite3_column_int(row, 1) != 0;
}

static int purge_keys(struct sqlite_store *store, int64_t now_us, unsigned limit, bool *ret_more)
{
    struct sqlite_purge *purge = &store->purge;
    if (rests(purge, WALK_KEYS, now_us))
        return SQLITE_DONE;
    sqlite3_stmt *stmt = store->statements[STATEMENT_KEY_WALK], *drop = store->statements[STATEMENT_KEY_DROP];
    unsigned char from[STORE_KEY_SIZE];
    memcpy(from, purge->key_at, sizeof from);
    (void)sqlite3_bind_blob(stmt, 1, from, purge->key_started ? (int)sizeof from : 0, SQLITE_STATIC);
    (void)sqlite3_bind_int64(stmt, 2, limit);
    int rc;
    unsigned seen = 0;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        const void *key = sqlite3_column_blob(stmt, 0);
        seen++;
        if (!key || sqlite3_column_bytes(stmt, 0) != STORE_KEY_SIZE) {
            (void)sqlite3_reset(stmt);
            return SQLITE_CORRUPT;
        }
        memcpy(purge->key_at, key, STORE_KEY_SIZE);
        purge->key_started = true;
        if (sqlite3_column_int64(stmt, 1) > now_us)
            continue;
        (void)sqlite3_bind_blob(drop, 1, purge->key_at, STORE_KEY_SIZE, SQLITE_STATIC);
        int dropped = sqlite_db_run(drop);
        if (dropped != SQLITE_DONE) {
            (void)sqlite3_reset(stmt);
            return dropped;
        }
    }
    int reset = sqlite3_reset(stmt);
    if (rc == SQLITE_DONE && seen < limit) {
        purge->key_started = false;
        end_pass(store, WALK_KEYS, now_us);
    }
    *ret_more = *ret_more || purge->key_started;
    return rc == SQLITE_DONE ? rc : reset;
}

enum store_result sqlite_purge(struct store *base, int64_t now_us, unsigned limit, unsigned *ret_purged, bool *ret_more)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    struct sqlite_purge *purge = &store->purge, before = *purge;
    unsigned purged = 0, tombstones = 0, tenants = 0;
    bool more = false;
    const struct numbers graves = {WALK_TOMBSTONES, STATEMENT_TOMBSTONE_WALK, STATEMENT_TOMBSTONE_DROP,
                                   tombstone_wanted, &purge->tombstone_at};
    const struct numbers names = {WALK_TENANTS, STATEMENT_TENANT_WALK, STATEMENT_TENANT_DROP, tenant_wanted,
                                  &purge->tenant_at};
    *ret_purged = 0;
    *ret_more = false;
    if (limit == 0)
        return STORE_OK;
    int rc = sqlite_begin(store, true); /* a tenant has tasks where the listing has some */
    if (rc == SQLITE_DONE)
        rc = purge_tasks(store, now_us, limit, &purged, &more);
    if (rc == SQLITE_DONE)
        rc = walk_numbers(store, &graves, now_us, limit * EXAMINE, &tombstones, &more);
    if (rc == SQLITE_DONE)
        rc = purge_keys(store, now_us, limit * EXAMINE, &more);
    if (rc == SQLITE_DONE)
        rc = walk_numbers(store, &names, now_us, limit * EXAMINE, &tenants, &more);
    enum store_result result = sqlite_end(store, rc);
    if (result != STORE_OK) {
        *purge = before;
        return result;
    }
    if (tenants)
        sqlite_names_forget(&store->tenants);
    *ret_purged = purged;
    *ret_more = more;
    return STORE_OK;
}
