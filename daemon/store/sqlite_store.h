/* The SQLite store from inside: one object, its statements, and who implements which operation.
 * Thread: the engine's (see store.h). */
#ifndef SATCHEL_STORE_SQLITE_STORE_H
#define SATCHEL_STORE_SQLITE_STORE_H

#include "store/sqlite_db.h"
#include "store/sqlite_names.h"
#include "store/sqlite_row.h"

enum sqlite_statement {
#define STATEMENT(name, sql) STATEMENT_##name,
#include "store/sqlite_statements.def"
#undef STATEMENT
    STATEMENT_COUNT
};

struct sqlite_purge { /* sqlite_purge.c: where the walks over history stand */
    int64_t task_at;  /* the greatest sequence looked at in this pass; 0: none */
    int64_t tombstone_at, tenant_at;
    unsigned char key_at[STORE_KEY_SIZE];
    bool key_started;
    int64_t next_pass_us[4]; /* by walk: not before */
};

struct sqlite_listed {
    int64_t tenant, seq;
};

struct sqlite_listing { /* sqlite_listing.c: tasks that the listing on disk does not have yet */
    struct sqlite_listed *noted;
    size_t n, cap;
    int64_t upto;
    int64_t waits, waits_next; /* how far task_waiting goes, and how far it will go next */
    size_t since;              /* entered since `waits` went on */
    bool some_gone;            /* some of the noted ones were deleted since */
    /* of the transaction in progress */
    size_t n_before;
    int64_t upto_before, waits_before, waits_next_before;
    size_t since_before;
    bool written;
};

struct sqlite_store {
    struct store base;
    sqlite3 *db;
    struct sqlite_vfs vfs;
    int lock_fd;
    sqlite3_stmt *statements[STATEMENT_COUNT];
    struct sqlite_names tenants, names;
    struct sqlite_purge purge;
    struct sqlite_listing listing;
    int64_t retain_us, max_log;
    uint64_t commits;
    int page_size;
    /* the write-ahead log: sqlite_checkpoint.c */
    int64_t wal_limit; /* bytes */
    int wal_frames;    /* in the log after the last commit */
    bool wal_pending;  /* some of them are not in the database file yet */
    bool settled;      /* nothing was written since the last quiet was used */
    bool full;         /* the last commit found no space */
    int64_t last_write_ns;
    int64_t last_warning_ns;
    struct sqlite_store_path path;
};

/* As store_open, and with faults for tests (NULL: none). */
int sqlite_store_open(const struct store_options *options, const struct sqlite_faults *faults, struct store **ret,
                      char *error, size_t error_size);

/* sqlite_write.c */
enum store_result sqlite_commit(struct store *base, struct store_change *const changes[], size_t n);
int sqlite_begin(struct sqlite_store *store, bool list_all);      /* SQLite's result */
enum store_result sqlite_end(struct sqlite_store *store, int rc); /* COMMIT, or ROLLBACK where rc is an error */
/* Deletes the row of a task that is no longer wanted and leaves a tombstone. */
struct sqlite_dead {
    int64_t seq, lo, tenant, state, tries, run_at, started, finished, forget_at;
    unsigned aside;
};
/* sqlite_holds.c */
int sqlite_put_hold(struct sqlite_store *store, const struct hold *hold); /* SQLITE_DONE or an error */
enum store_result sqlite_each_hold(struct store *base, int (*fn)(void *arg, const struct hold *hold), void *arg);
int sqlite_bury(struct sqlite_store *store, const struct sqlite_dead *dead); /* SQLITE_DONE or an error */

/* sqlite_listing.c; numbers are SQLite's results.  _mark at a BEGIN, _end after its COMMIT or ROLLBACK. */
int sqlite_listing_init(struct sqlite_store *store);
void sqlite_listing_mark(struct sqlite_store *store);
int sqlite_listing_enter(struct sqlite_store *store, bool all); /* enters what was noted, where it is enough or `all` */
int sqlite_listing_add(struct sqlite_store *store, int64_t tenant, int64_t seq);
/* Is the row, as the change leaves it, to be in task_waiting now, and not only once the listing has passed it? */
bool sqlite_listing_waits(const struct sqlite_store *store, const struct store_change *change);
int sqlite_listing_remove(struct sqlite_store *store, int64_t tenant, int64_t seq);
void sqlite_listing_end(struct sqlite_store *store, bool committed);
void sqlite_listing_release(struct sqlite_store *store);

/* sqlite_purge.c */
void sqlite_purge_again(struct sqlite_store *store); /* the time that tasks are kept has changed */
struct sqlite_dead sqlite_dead_read(sqlite3_stmt *row, int64_t now_us, int64_t default_retain_us);
enum store_result sqlite_purge(struct store *base, int64_t now_us, unsigned limit, unsigned *ret_purged,
                               bool *ret_more);

/* sqlite_checkpoint.c */
void sqlite_checkpoint_init(struct sqlite_store *store, size_t wal_limit);
void sqlite_checkpoint_before(struct sqlite_store *store); /* a commit: where the last one found no space */
void sqlite_checkpoint_after(struct sqlite_store *store);  /* a commit: where the log has grown too long */
void sqlite_checkpoint_close(struct sqlite_store *store);
bool sqlite_idle(struct store *base);

#endif
