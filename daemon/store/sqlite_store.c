/* The SQLite store: opening and closing, and what the engine reads.  Writing: sqlite_write.c; forgetting:
 * sqlite_purge.c; the log: sqlite_checkpoint.c; a row's form: sqlite_row.c.
 *
 * One process owns the file: a lock on DATA.db.lock says so (SQLite's own locks are per transaction), because the
 * engine's memory is the truth about what runs.
 * Thread: the engine's. */
#include "store/sqlite_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#define CHECK_BYTES (64 << 20) /* up to this size a file that was not closed is checked whole */

static const char *const statement_texts[] = {
#define STATEMENT(name, sql) sql,
#include "store/sqlite_statements.def"
#undef STATEMENT
};

/* ---- reading ---- */

/* The reading statements of one operation see one state and take SQLite's locks once. */
static enum store_result end_reading(struct sqlite_store *store, int rc)
{
    enum store_result result = sqlite_db_result(rc);
    int ended = sqlite_db_run(store->statements[STATEMENT_COMMIT]);
    if (ended != SQLITE_DONE && !sqlite3_get_autocommit(store->db))
        (void)sqlite_db_run(store->statements[STATEMENT_ROLLBACK]);
    return result;
}

static int names_of(struct sqlite_store *store, int64_t tenant, int64_t name, struct slice *ret_tenant,
                    struct slice *ret_name)
{
    int rc = sqlite_names_text(&store->tenants, tenant, ret_tenant);
    if (rc == SQLITE_OK)
        rc = sqlite_names_text(&store->names, name, ret_name);
    return rc == SQLITE_NOTFOUND ? SQLITE_CORRUPT : rc;
}

static int read_row(struct sqlite_store *store, sqlite3_stmt *row, struct task_record *ret)
{
    struct sqlite_row_names names;
    int rc = names_of(store, sqlite3_column_int64(row, COLUMN_TENANT), sqlite3_column_int64(row, COLUMN_NAME),
                      &names.tenant, &names.name);
    return rc == SQLITE_OK ? sqlite_row_read(row, store->statements[STATEMENT_PAYLOAD_GET], &names, ret) : rc;
}

static int load_one(struct sqlite_store *store, struct task_id id, struct task_record *ret)
{
    sqlite3_stmt *stmt = store->statements[STATEMENT_TASK_GET];
    (void)sqlite3_bind_int64(stmt, 1, sqlite_id_seq(id));
    (void)sqlite3_bind_int64(stmt, 2, sqlite_id_lo(id));
    int rc = sqlite3_step(stmt);
    int read = SQLITE_OK;
    if (rc == SQLITE_ROW)
        read = read_row(store, stmt, ret);
    int reset = sqlite3_reset(stmt);
    if (rc == SQLITE_ROW)
        return read;
    return rc == SQLITE_DONE ? SQLITE_OK : reset;
}

static enum store_result load(struct store *base, const struct task_id *ids, size_t n, struct task_record *ret)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    for (size_t i = 0; i < n; i++)
        ret[i] = (struct task_record){0};
    int rc = sqlite_db_run(store->statements[STATEMENT_BEGIN_READ]);
    if (rc == SQLITE_DONE)
        rc = SQLITE_OK;
    for (size_t i = 0; rc == SQLITE_OK && i < n; i++)
        rc = load_one(store, ids[i], &ret[i]);
    enum store_result result = end_reading(store, rc);
    for (size_t i = 0; result != STORE_OK && i < n; i++)
        task_record_release(&ret[i]);
    return result;
}

static int read_waiting(struct sqlite_store *store, sqlite3_stmt *row, struct store_waiting *ret)
{
    struct task_status status = {0};
    sqlite_tries_unpack(sqlite3_column_int64(row, 5), &status);
    struct sqlite_limits limits = sqlite_limits_unpack(sqlite3_column_int64(row, 7));
    *ret = (struct store_waiting){
        .id = sqlite_id_of(sqlite3_column_int64(row, 0), sqlite3_column_int64(row, 1)),
        .state = (enum task_state)sqlite3_column_int(row, 2),
        .priority = limits.priority,
        .has_callback = limits.has_callback,
        .has_after = limits.has_after,
        .has_group = limits.has_group,
        .has_unique = limits.has_unique,
        .unique_until_started = limits.unique_until_started,
        .attempt = status.attempt,
        .lost = status.lost,
        .max_lost = limits.max_lost,
        .size = limits.size,
        .failures = status.failures,
        .cancel_requested = sqlite3_column_int(row, 6) != 0,
        .run_at_us = sqlite3_column_int64(row, 8),
        .deadline_us = sqlite3_column_int64(row, 9),
        .expires_us = sqlite3_column_int64(row, 10),
    };
    return names_of(store, sqlite3_column_int64(row, 3), sqlite3_column_int64(row, 4), &ret->tenant, &ret->name);
}

static enum store_result each_waiting(struct store *base, int (*fn)(void *arg, const struct store_waiting *task),
                                      void *arg)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    sqlite3_stmt *stmt = store->statements[STATEMENT_WAITING];
    int rc = sqlite_db_run(store->statements[STATEMENT_BEGIN_READ]);
    while (rc == SQLITE_DONE || rc == SQLITE_ROW) {
        rc = sqlite3_step(stmt);
        if (rc != SQLITE_ROW)
            break;
        struct store_waiting task;
        int read = read_waiting(store, stmt, &task);
        if (read != SQLITE_OK) {
            rc = read;
            break;
        }
        if (fn(arg, &task) != 0)
            break;
    }
    (void)sqlite3_reset(stmt);
    return end_reading(store, rc);
}

static enum store_result find_key(struct store *base, const unsigned char key[STORE_KEY_SIZE], int64_t now_us,
                                  struct task_id *ret_id, unsigned char ret_fingerprint[STORE_KEY_SIZE])
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    sqlite3_stmt *stmt = store->statements[STATEMENT_KEY_GET];
    (void)sqlite3_bind_blob(stmt, 1, key, STORE_KEY_SIZE, SQLITE_STATIC);
    (void)sqlite3_bind_int64(stmt, 2, now_us);
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        const void *fingerprint = sqlite3_column_blob(stmt, 2);
        if (fingerprint && sqlite3_column_bytes(stmt, 2) == STORE_KEY_SIZE) {
            memcpy(ret_fingerprint, fingerprint, STORE_KEY_SIZE);
            *ret_id = sqlite_id_of(sqlite3_column_int64(stmt, 0), sqlite3_column_int64(stmt, 1));
        } else {
            rc = SQLITE_CORRUPT;
        }
    }
    (void)sqlite3_reset(stmt);
    if (rc == SQLITE_DONE)
        return STORE_NOT_FOUND;
    return sqlite_db_result(rc);
}

/* One row of numbers, or none. */
static enum store_result find_row(sqlite3_stmt *stmt, int64_t *ret, int n)
{
    int rc = sqlite3_step(stmt);
    for (int i = 0; rc == SQLITE_ROW && i < n; i++)
        ret[i] = sqlite3_column_int64(stmt, i);
    int reset = sqlite3_reset(stmt);
    if (rc == SQLITE_DONE)
        return STORE_NOT_FOUND;
    return sqlite_db_result(rc == SQLITE_ROW ? rc : reset);
}

static enum store_result find_unique(struct store *base, struct slice tenant, struct slice key, int64_t now_us,
                                     struct task_id *ret_id)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    sqlite3_stmt *stmt = store->statements[STATEMENT_UNIQUE_GET];
    int64_t row[2];
    sqlite_db_bind_text(stmt, 1, tenant);
    sqlite_db_bind_text(stmt, 2, key);
    (void)sqlite3_bind_int64(stmt, 3, now_us);
    enum store_result found = find_row(stmt, row, 2);
    if (found == STORE_OK)
        *ret_id = sqlite_id_of(row[0], row[1]);
    return found;
}

static enum store_result find_state(struct store *base, struct task_id id, struct slice tenant,
                                    enum task_state *ret_state)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    sqlite3_stmt *stmt = store->statements[STATEMENT_STATE_GET];
    int64_t state;
    (void)sqlite3_bind_int64(stmt, 1, sqlite_id_seq(id));
    (void)sqlite3_bind_int64(stmt, 2, sqlite_id_lo(id));
    sqlite_db_bind_text(stmt, 3, tenant);
    enum store_result found = find_row(stmt, &state, 1);
    if (found == STORE_OK && (state < 0 || state >= TASK_STATE_COUNT))
        return STORE_FATAL;
    if (found == STORE_OK)
        *ret_state = (enum task_state)state;
    return found;
}

static enum store_result each_schedule(struct store *base, int (*fn)(void *arg, const struct store_schedule *schedule),
                                       void *arg)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    sqlite3_stmt *stmt = store->statements[STATEMENT_SCHEDULES];
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct store_schedule schedule = {
            .tenant = sqlite_column_slice(stmt, 0),
            .name = sqlite_column_slice(stmt, 1),
            .body = sqlite_column_slice(stmt, 2),
            .paused = sqlite3_column_int(stmt, 3) != 0,
            .created_us = sqlite3_column_int64(stmt, 4),
            .last_us = sqlite3_column_int64(stmt, 5),
        };
        if (sqlite3_column_type(stmt, 6) != SQLITE_NULL)
            schedule.last_id = sqlite_id_of(sqlite3_column_int64(stmt, 6), sqlite3_column_int64(stmt, 7));
        if (fn(arg, &schedule))
            break;
    }
    int reset = sqlite3_reset(stmt);
    return sqlite_db_result(rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : reset);
}

static enum store_result each_tenant(struct store *base, struct slice from, unsigned limit,
                                     int (*fn)(void *arg, struct slice tenant), void *arg)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    sqlite3_stmt *stmt = store->statements[STATEMENT_TENANTS];
    int rc;
    (void)sqlite3_bind_text64(stmt, 1, from.len ? from.data : "", from.len, SQLITE_STATIC, SQLITE_UTF8);
    (void)sqlite3_bind_int64(stmt, 2, limit ? (int64_t)limit : -1);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
        if (fn(arg, sqlite_column_slice(stmt, 0)))
            break;
    int reset = sqlite3_reset(stmt);
    return sqlite_db_result(rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : reset);
}

static uint64_t greatest_seq(struct store *base)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    sqlite3_stmt *stmt = store->statements[STATEMENT_GREATEST];
    uint64_t seq = sqlite3_step(stmt) == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(stmt, 0) : 0;
    (void)sqlite3_reset(stmt);
    return seq;
}

static void counters(struct store *base, uint64_t *ret_commits, uint64_t *ret_syncs)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    *ret_commits = store->commits;
    *ret_syncs = atomic_load_explicit(&store->vfs.syncs, memory_order_relaxed);
}

/* ---- opening and closing ---- */

static int take_lock(struct sqlite_store *store, char *error, size_t error_size)
{
    char path[sizeof store->path.text + 8];
    (void)snprintf(path, sizeof path, "%s.lock", store->path.text);
    store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
    if (store->lock_fd < 0) {
        (void)snprintf(error, error_size, "store %s: cannot open its lock file %s: %s", store->path.text, path,
                       strerror(errno));
        return -1;
    }
    if (flock(store->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        char holder[24] = "";
        ssize_t n = pread(store->lock_fd, holder, sizeof holder - 1, 0);
        long pid = n > 0 ? strtol(holder, NULL, 10) : 0;
        (void)snprintf(error, error_size,
                       "store %s: in use by another satcheld (process %ld): stop that one, or give this one another "
                       "--data-dir or --store",
                       store->path.text, pid);
        return -1;
    }
    char text[24];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(store->lock_fd, 0) < 0 || pwrite(store->lock_fd, text, (size_t)n, 0) != n)
        LOG_DEBUG("the lock file does not name its holder", LOG_TEXT("file", path));
    return 0;
}

/* A log with something in it: the last process did not close the store. */
static bool was_left_open(const struct sqlite_store *store)
{
    char path[sizeof store->path.text + 8];
    (void)snprintf(path, sizeof path, "%s-wal", store->path.text);
    struct stat log;
    return stat(path, &log) == 0 && log.st_size > 0;
}

static int check_file(struct sqlite_store *store, char *error, size_t error_size)
{
    struct stat file;
    if (stat(store->path.text, &file) < 0 || file.st_size > CHECK_BYTES)
        return 0; /* a large one would take minutes; damage shows when it is read */
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(store->db, "PRAGMA quick_check(1)", -1, &stmt, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    const char *verdict = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : sqlite3_errmsg(store->db);
    bool sound = rc == SQLITE_ROW && verdict && strcmp(verdict, "ok") == 0;
    if (!sound)
        (void)snprintf(error, error_size,
                       "store %s: it is damaged (%s); put a backup in its place, or move it (and its -wal) away",
                       store->path.text, verdict ? verdict : "no memory");
    (void)sqlite3_finalize(stmt);
    return sound ? 0 : -1;
}

static int prepare(struct sqlite_store *store, char *error, size_t error_size)
{
    int rc = SQLITE_OK;
    for (int i = 0; rc == SQLITE_OK && i < STATEMENT_COUNT; i++)
        rc = sqlite_db_prepare(store->db, statement_texts[i], &store->statements[i]);
    if (rc == SQLITE_OK)
        rc = sqlite_names_init(&store->tenants, store->db, "tenant");
    if (rc == SQLITE_OK)
        rc = sqlite_names_init(&store->names, store->db, "name");
    if (rc == SQLITE_OK)
        rc = sqlite_listing_init(store);
    int64_t page_size = 0;
    if (rc == SQLITE_OK)
        rc = sqlite_db_number(store->db, "PRAGMA page_size", &page_size);
    store->page_size = (int)page_size;
    if (rc != SQLITE_OK)
        sqlite_db_explain(store->db, rc, store->path.text, error, error_size);
    return rc == SQLITE_OK ? 0 : -1;
}

static void release(struct sqlite_store *store)
{
    for (int i = 0; i < STATEMENT_COUNT; i++)
        (void)sqlite3_finalize(store->statements[i]);
    sqlite_listing_release(store);
    sqlite_names_release(&store->tenants);
    sqlite_names_release(&store->names);
    if (store->db)
        (void)sqlite3_close(store->db);
    sqlite_vfs_release(&store->vfs);
    if (store->lock_fd >= 0)
        (void)close(store->lock_fd);
    free(store);
}

static void sqlite_close(struct store *base)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    sqlite_checkpoint_close(store);
    release(store);
}

#define MAX_LOG_DEFAULT (INT64_C(8) << 20)

static void set_limits(struct store *base, int64_t retain_us, size_t max_log)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    if (store->retain_us != retain_us)
        sqlite_purge_again(store);
    store->retain_us = retain_us;
    store->max_log = max_log ? (int64_t)max_log : MAX_LOG_DEFAULT;
}

static const struct store_ops ops = {
    .close = sqlite_close,
    .commit = sqlite_commit,
    .each_waiting = each_waiting,
    .load = load,
    .find_key = find_key,
    .find_unique = find_unique,
    .find_state = find_state,
    .each_schedule = each_schedule,
    .each_tenant = each_tenant,
    .each_hold = sqlite_each_hold,
    .purge = sqlite_purge,
    .idle = sqlite_idle,
    .greatest_seq = greatest_seq,
    .counters = counters,
    .set_limits = set_limits,
};

static int open_all(struct sqlite_store *store, const struct store_options *options, const struct sqlite_faults *faults,
                    char *error, size_t error_size)
{
    if (sqlite_db_path(options->url, &store->path, error, error_size) < 0)
        return -1;
    if (take_lock(store, error, error_size) < 0)
        return -1;
    sqlite_db_configure();
    if (sqlite_vfs_init(&store->vfs, faults) < 0) {
        (void)snprintf(error, error_size, "store %s: SQLite has no file system here", store->path.text);
        return -1;
    }
    bool left_open = was_left_open(store);
    if (sqlite_db_open_writer(&store->path, &store->vfs, &store->db, error, error_size) < 0)
        return -1;
    if (left_open && check_file(store, error, error_size) < 0)
        return -1;
    if (prepare(store, error, error_size) < 0)
        return -1;
    sqlite_checkpoint_init(store, options->wal_limit);
    return 0;
}

int sqlite_store_open(const struct store_options *options, const struct sqlite_faults *faults, struct store **ret,
                      char *error, size_t error_size)
{
    struct sqlite_store *store = calloc(1, sizeof *store);
    if (!store) {
        (void)snprintf(error, error_size, "store: no memory");
        return -1;
    }
    store->base.ops = &ops;
    store->lock_fd = -1;
    set_limits(&store->base, options->retain_us, options->max_log);
    if (open_all(store, options, faults, error, error_size) < 0) {
        release(store);
        return -1;
    }
    *ret = &store->base;
    return 0;
}
