/* The write-ahead log: when its pages are carried into the database file.
 *
 * The writer alone does it (see sqlite_db.c), on its own thread:
 *   after a commit      PASSIVE where the log has grown past wal_limit; it then starts again from its beginning, in
 *                       room that the file system has given it already, which makes every later fsync cheaper
 *   when there is a lull  PASSIVE from a fourth of that on, so that the next burst finds an empty log
 *   after a second of quiet  the rest, then TRUNCATE, free pages given back, the page cache freed
 *   at the end          TRUNCATE: the next start has nothing to recover
 * A reader that is in the middle of a list only delays it to the next time. */
#include <malloc.h>

#include "base/clock.h"
#include "base/log.h"
#include "store/sqlite_store.h"

#define DEFAULT_WAL_LIMIT (8 << 20)
#define QUIET_NS 1000000000LL
#define WARN_EVERY_NS 60000000000LL
#define VACUUM_KEEP 1024 /* free pages that stay: they will be needed again */

/* Called where a commit has written something; one that found nothing to do costs no fsync and does not count. */
static int on_commit(void *arg, sqlite3 *db, const char *name, int frames)
{
    (void)db;
    (void)name;
    struct sqlite_store *store = arg;
    store->wal_frames = frames;
    store->wal_pending = true;
    store->settled = false;
    store->commits++;
    store->last_write_ns = clock_mono_ns();
    return SQLITE_OK;
}

void sqlite_checkpoint_init(struct sqlite_store *store, size_t wal_limit)
{
    store->wal_limit = wal_limit ? (int64_t)wal_limit : DEFAULT_WAL_LIMIT;
    store->wal_pending = true; /* what the last process left */
    (void)sqlite3_wal_hook(store->db, on_commit, store);
}

static void warn(struct sqlite_store *store, int rc)
{
    int64_t now = clock_mono_ns();
    if (store->last_warning_ns && now - store->last_warning_ns < WARN_EVERY_NS)
        return;
    store->last_warning_ns = now;
    LOG_WARNING("the write-ahead log cannot be carried into the database file; it grows until that works",
                LOG_TEXT("file", store->path.text), LOG_TEXT("reason", sqlite3_errstr(rc)),
                LOG_NUMBER("log_bytes", (int64_t)store->wal_frames * store->page_size));
}

static int checkpoint(struct sqlite_store *store, int mode)
{
    int in_log = 0, carried = 0;
    int rc = sqlite3_wal_checkpoint_v2(store->db, "main", mode, &in_log, &carried);
    if (rc == SQLITE_OK && in_log >= 0) {
        store->wal_frames = in_log;
        store->wal_pending = carried < in_log;
        if (!store->wal_pending)
            store->wal_frames = 0; /* the next commit starts the log anew unless a reader is in it */
    } else if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY) {
        warn(store, rc);
    }
    return rc;
}

static int64_t pending_bytes(const struct sqlite_store *store)
{
    return store->wal_pending ? (int64_t)store->wal_frames * store->page_size : 0;
}

/* The disk was full: the log's own room is of use again once its pages have been carried over. */
void sqlite_checkpoint_before(struct sqlite_store *store)
{
    if (store->full)
        (void)checkpoint(store, SQLITE_CHECKPOINT_PASSIVE);
}

void sqlite_checkpoint_after(struct sqlite_store *store)
{
    if (pending_bytes(store) >= store->wal_limit)
        (void)checkpoint(store, SQLITE_CHECKPOINT_PASSIVE);
}

static void truncate_log(struct sqlite_store *store)
{
    (void)sqlite3_busy_timeout(store->db, 0); /* never wait for a reader */
    (void)checkpoint(store, SQLITE_CHECKPOINT_TRUNCATE);
    (void)sqlite3_busy_timeout(store->db, SQLITE_STORE_BUSY_MS);
}

void sqlite_checkpoint_close(struct sqlite_store *store)
{
    truncate_log(store);
}

/* Gives back a little of what purges freed.  True: there is more. */
static bool give_back(struct sqlite_store *store)
{
    sqlite3_stmt *count = store->statements[STATEMENT_FREE_PAGES];
    int64_t free_pages = sqlite3_step(count) == SQLITE_ROW ? sqlite3_column_int64(count, 0) : 0;
    (void)sqlite3_reset(count);
    if (free_pages <= VACUUM_KEEP)
        return false;
    int64_t quiet_since = store->last_write_ns;
    int rc = sqlite_begin(store, false);
    sqlite3_stmt *vacuum = store->statements[STATEMENT_VACUUM];
    while (rc == SQLITE_DONE && (rc = sqlite3_step(vacuum)) == SQLITE_ROW)
        rc = SQLITE_DONE;
    int reset = sqlite3_reset(vacuum);
    bool done = sqlite_end(store, rc == SQLITE_DONE ? reset : rc) == STORE_OK;
    store->last_write_ns = quiet_since; /* this is part of the quiet */
    return done;
}

bool sqlite_idle(struct store *base)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    bool quiet = clock_mono_ns() - store->last_write_ns >= QUIET_NS;
    if (pending_bytes(store) >= store->wal_limit / 4 || (quiet && store->wal_pending))
        (void)checkpoint(store, SQLITE_CHECKPOINT_PASSIVE);
    if (!quiet || store->settled)
        return false;
    if (give_back(store))
        return true;
    truncate_log(store);
    (void)sqlite3_db_release_memory(store->db);
    (void)malloc_trim(0); /* the cache's pages lie scattered: without this the system gets none of them back */
    store->settled = true;
    return false;
}
