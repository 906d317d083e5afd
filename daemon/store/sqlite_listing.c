/* The list of each tenant's tasks, written in arrears.
 *
 * An index on task(tenant) would touch one page per tenant in every commit: with a hundred tenants it is most of what
 * is written.  So new tasks are noted in memory, and every LISTING_STEP of them are entered into `listing` at once,
 * sorted by tenant, as part of a later batch's transaction.
 *
 * 1. `listed.upto` says how far the listing goes: every task up to that sequence is in it, none behind.  Readers scan
 *    the few rows behind it themselves (sqlite_list.c).
 * 2. A task whose sequence is not greater (ids are made before batches are formed) is entered with its own commit.
 * 3. After a crash the noted ones are found again: they are the rows behind `upto`.

 * The index of unfinished tasks (task_waiting) is written in arrears, too: most tasks have ended long before anybody
 * asks for it, and never touch it.
 *
 * 4. A task that does not begin with its row is in it at once (task.late).  Any other one is entered where it has not
 *    ended when WAITS_STEP to twice as many tasks have come after it: up to the sequence `listed.waits` every
 *    unfinished task is in the index, and the rows behind it are scanned (at the start, and for lists by state).
 * Called by sqlite_write.c and sqlite_purge.c, inside their transactions. */
#include <stdlib.h>

#include "store/sqlite_store.h"

#define LISTING_STEP 4096
#define WAITS_STEP (2 * (size_t)LISTING_STEP)

static int by_tenant(const void *a, const void *b)
{
    const struct sqlite_listed *x = a, *y = b;
    if (x->tenant != y->tenant)
        return x->tenant < y->tenant ? -1 : 1;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

static bool note(struct sqlite_listing *listing, int64_t tenant, int64_t seq)
{
    if (listing->n == listing->cap) {
        size_t cap = listing->cap ? listing->cap * 2 : 64;
        struct sqlite_listed *noted = reallocarray(listing->noted, cap, sizeof *noted);
        if (!noted)
            return false;
        listing->noted = noted;
        listing->cap = cap;
    }
    listing->noted[listing->n++] = (struct sqlite_listed){tenant, seq};
    return true;
}

static int read_marks(struct sqlite_store *store)
{
    struct sqlite_listing *listing = &store->listing;
    sqlite3_stmt *stmt = store->statements[STATEMENT_LISTED_GET];
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        listing->upto = listing->waits_next = sqlite3_column_int64(stmt, 0);
        listing->waits = sqlite3_column_int64(stmt, 1);
    }
    int reset = sqlite3_reset(stmt);
    if (rc == SQLITE_ROW)
        return SQLITE_OK;
    return rc == SQLITE_DONE ? SQLITE_CORRUPT : reset;
}

int sqlite_listing_init(struct sqlite_store *store)
{
    struct sqlite_listing *listing = &store->listing;
    int rc = read_marks(store);
    if (rc != SQLITE_OK)
        return rc;
    sqlite3_stmt *stmt = store->statements[STATEMENT_UNLISTED];
    (void)sqlite3_bind_int64(stmt, 1, listing->upto);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
        if (!note(listing, sqlite3_column_int64(stmt, 0), sqlite3_column_int64(stmt, 1)))
            break;
    int reset = sqlite3_reset(stmt);
    if (rc == SQLITE_ROW)
        return SQLITE_NOMEM;
    return rc == SQLITE_DONE ? SQLITE_OK : reset;
}

static int enter(struct sqlite_store *store, enum sqlite_statement statement, int64_t tenant, int64_t seq)
{
    sqlite3_stmt *stmt = store->statements[statement];
    (void)sqlite3_bind_int64(stmt, 1, tenant);
    (void)sqlite3_bind_int64(stmt, 2, seq);
    return sqlite_db_run(stmt);
}

void sqlite_listing_mark(struct sqlite_store *store)
{
    struct sqlite_listing *listing = &store->listing;
    listing->n_before = listing->n;
    listing->upto_before = listing->upto;
    listing->waits_before = listing->waits;
    listing->waits_next_before = listing->waits_next;
    listing->since_before = listing->since;
    listing->written = false;
}

/* Lets task_waiting go on, where enough tasks have come.  `upto`: how far the listing goes now. */
static int enter_waiting(struct sqlite_store *store, int64_t upto)
{
    struct sqlite_listing *listing = &store->listing;
    listing->since += listing->n;
    if (listing->since < WAITS_STEP)
        return SQLITE_DONE;
    sqlite3_stmt *stmt = store->statements[STATEMENT_LATE];
    (void)sqlite3_bind_int64(stmt, 1, listing->waits);
    (void)sqlite3_bind_int64(stmt, 2, listing->waits_next);
    int rc = sqlite_db_run(stmt);
    listing->waits = listing->waits_next;
    listing->waits_next = upto;
    listing->since = 0;
    return rc;
}

bool sqlite_listing_waits(const struct sqlite_store *store, const struct store_change *change)
{
    if (task_state_final(change->status.state))
        return false;
    return change->status.state != TASK_RUNNING || sqlite_id_seq(change->id) <= store->listing.waits;
}

int sqlite_listing_enter(struct sqlite_store *store, bool all)
{
    struct sqlite_listing *listing = &store->listing;
    if (listing->n == 0 || (listing->n < LISTING_STEP && !all))
        return SQLITE_DONE;
    qsort(listing->noted, listing->n, sizeof *listing->noted, by_tenant);
    int64_t upto = listing->upto;
    int rc = SQLITE_DONE;
    for (size_t i = 0; rc == SQLITE_DONE && i < listing->n; i++) {
        const struct sqlite_listed *task = &listing->noted[i];
        rc = enter(store, listing->some_gone ? STATEMENT_LIST_CHECKED : STATEMENT_LIST, task->tenant, task->seq);
        upto = task->seq > upto ? task->seq : upto;
    }
    if (rc == SQLITE_DONE)
        rc = enter_waiting(store, upto);
    if (rc != SQLITE_DONE)
        return rc;
    sqlite3_stmt *stmt = store->statements[STATEMENT_LISTED];
    (void)sqlite3_bind_int64(stmt, 1, upto);
    (void)sqlite3_bind_int64(stmt, 2, listing->waits);
    rc = sqlite_db_run(stmt);
    listing->upto = upto;
    listing->written = true;
    return rc;
}

int sqlite_listing_add(struct sqlite_store *store, int64_t tenant, int64_t seq)
{
    if (seq <= store->listing.upto)
        return enter(store, STATEMENT_LIST, tenant, seq);
    return note(&store->listing, tenant, seq) ? SQLITE_DONE : SQLITE_NOMEM;
}

int sqlite_listing_remove(struct sqlite_store *store, int64_t tenant, int64_t seq)
{
    if (seq <= store->listing.upto)
        return enter(store, STATEMENT_UNLIST, tenant, seq);
    store->listing.some_gone = true; /* looked after when the noted ones are entered */
    return SQLITE_DONE;
}

void sqlite_listing_end(struct sqlite_store *store, bool committed)
{
    struct sqlite_listing *listing = &store->listing;
    if (!committed) {
        listing->n = listing->n_before;
        listing->upto = listing->upto_before;
        listing->waits = listing->waits_before;
        listing->waits_next = listing->waits_next_before;
        listing->since = listing->since_before;
    } else if (listing->written) {
        size_t left = listing->n - listing->n_before; /* noted since */
        for (size_t i = 0; i < left; i++)
            listing->noted[i] = listing->noted[listing->n_before + i];
        listing->n = left;
        listing->some_gone = left > 0 && listing->some_gone;
    }
}

void sqlite_listing_release(struct sqlite_store *store)
{
    free(store->listing.noted);
    store->listing = (struct sqlite_listing){0};
}
