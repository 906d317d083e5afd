/* The settings of a connection and why:
 *   WAL, synchronous=FULL   a commit is one append and one fsync, and survives power loss
 *   wal_autocheckpoint=0,   the writer alone checkpoints: SQLite before 3.51.3 can corrupt the file when another
 *   NO_CKPT_ON_CLOSE        connection checkpoints while the log is being reset
 *   mmap_size=0             an I/O error is a result, not SIGBUS
 *   secure_delete=OFF       overwriting what is deleted doubles the pages that a purge writes; who can read the
 *                           file's free pages can read its tasks too (the file's mode is 0600)
 *   auto_vacuum=INCREMENTAL room that a purge frees can be given back in small steps
 *   trusted_schema=OFF, DEFENSIVE  a file from elsewhere cannot make us run anything
 *   cell_size_check=ON      damage is found where it lies */
#include "store/sqlite_db.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WRITER_CACHE "-1024" /* KiB */
#define READER_CACHE "-1024"

int sqlite_db_path(const char *url, struct sqlite_store_path *ret, char *error, size_t error_size)
{
    static const char scheme[] = "sqlite:";
    if (!url || strncmp(url, scheme, sizeof scheme - 1) != 0 || url[sizeof scheme - 1] == '\0') {
        (void)snprintf(error, error_size, "store \"%s\": expected sqlite:PATH", url ? url : "");
        return -1;
    }
    const char *path = url + sizeof scheme - 1;
    int n = snprintf(ret->text, sizeof ret->text, "%s%s", *path == '/' ? "" : "./", path);
    if (n < 0 || (size_t)n >= sizeof ret->text) {
        (void)snprintf(error, error_size, "store: the path is longer than %zu bytes", sizeof ret->text - 1);
        return -1;
    }
    return 0;
}

static void configure_once(void)
{
    /* Counting memory takes a process-wide lock at every allocation. */
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    /* Pages are allocated one by one: twenty in advance for every connection, as by default, are never given back. */
    (void)sqlite3_config(SQLITE_CONFIG_PAGECACHE, NULL, 0, 0);
    (void)sqlite3_initialize();
}

void sqlite_db_configure(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, configure_once);
}

int sqlite_db_exec(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

int sqlite_db_number(sqlite3 *db, const char *sql, int64_t *ret)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
        if (rc == SQLITE_ROW) {
            *ret = sqlite3_column_int64(stmt, 0);
            rc = SQLITE_OK;
        }
    }
    int finalized = sqlite3_finalize(stmt);
    return rc == SQLITE_OK ? finalized : rc;
}

int sqlite_db_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret)
{
    return sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL);
}

int sqlite_db_run(sqlite3_stmt *stmt)
{
    int rc = sqlite3_step(stmt);
    int reset = sqlite3_reset(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? rc : reset;
}

void sqlite_db_bind_text(sqlite3_stmt *stmt, int column, struct slice text)
{
    if (text.len)
        (void)sqlite3_bind_text64(stmt, column, text.data, text.len, SQLITE_STATIC, SQLITE_UTF8);
    else
        (void)sqlite3_bind_null(stmt, column);
}

enum store_result sqlite_db_result(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE: return STORE_OK;
    case SQLITE_FULL: return STORE_FULL;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_INTERRUPT:
    case SQLITE_NOMEM: return STORE_BUSY;
    case SQLITE_IOERR: /* after a failed fsync nobody knows what is on disk: the process must recover */
        return rc == SQLITE_IOERR_NOMEM ? STORE_BUSY : STORE_FATAL;
    default: return STORE_FATAL;
    }
}

void sqlite_db_explain(sqlite3 *db, int rc, const char *path, char *error, size_t error_size)
{
    const char *what = db ? sqlite3_errmsg(db) : sqlite3_errstr(rc);
    int number = db ? sqlite3_system_errno(db) : 0;
    const char *advice = "";
    switch (rc & 0xff) {
    case SQLITE_NOTADB: advice = ": it is no Satchel store; name another file, or move this one away"; break;
    case SQLITE_CORRUPT: advice = ": it is damaged; put a backup in its place, or move it (and its -wal) away"; break;
    case SQLITE_BUSY: advice = ": another program has it locked; end that one"; break;
    case SQLITE_FULL: advice = ": make room on its disk"; break;
    default: break;
    }
    (void)snprintf(error, error_size, "store %s: %s%s%s%s", path, what, number ? ": " : "",
                   number ? strerror(number) : "", advice);
}

static int set_up(sqlite3 *db, const char *pragmas)
{
    int rc = sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_busy_timeout(db, SQLITE_STORE_BUSY_MS);
    (void)sqlite3_extended_result_codes(db, 1);
    return rc == SQLITE_OK ? sqlite_db_exec(db, pragmas) : rc;
}

static int open_connection(const char *path, int flags, const char *vfs, const char *pragmas, sqlite3 **ret,
                           char *error, size_t error_size)
{
    sqlite_db_configure();
    sqlite3 *db = NULL;
    int rc = sqlite3_open_v2(path, &db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, vfs);
    if (rc == SQLITE_OK)
        rc = set_up(db, pragmas);
    if (rc != SQLITE_OK) {
        sqlite_db_explain(db, rc, path, error, error_size);
        (void)sqlite3_close(db);
        return -1;
    }
    *ret = db;
    return 0;
}

int sqlite_db_open_writer(const struct sqlite_store_path *path, struct sqlite_vfs *vfs, sqlite3 **ret, char *error,
                          size_t error_size)
{
    /* Made by us, so that tasks (which may hold secrets) are the owner's alone; SQLite gives its log the same mode. */
    int fd = open(path->text, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
    if (fd < 0) {
        (void)snprintf(error, error_size, "store %s: cannot open it: %s", path->text, strerror(errno));
        return -1;
    }
    (void)close(fd);
    sqlite3 *db = NULL;
    if (open_connection(path->text, SQLITE_OPEN_READWRITE, vfs->name,
                        "PRAGMA page_size=8192; PRAGMA auto_vacuum=INCREMENTAL;"
                        "PRAGMA locking_mode=NORMAL; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                        "PRAGMA wal_autocheckpoint=0; PRAGMA mmap_size=0; PRAGMA secure_delete=OFF;"
                        "PRAGMA cell_size_check=ON; PRAGMA temp_store=MEMORY; PRAGMA cache_size=" WRITER_CACHE ";",
                        &db, error, error_size) < 0)
        return -1;
    if (sqlite_schema_upgrade(db, path->text, error, error_size) < 0) {
        (void)sqlite3_close(db);
        return -1;
    }
    *ret = db;
    return 0;
}

int sqlite_db_open_reader(const struct sqlite_store_path *path, sqlite3 **ret, char *error, size_t error_size)
{
    sqlite3 *db = NULL;
    if (open_connection(path->text, SQLITE_OPEN_READONLY, NULL,
                        "PRAGMA query_only=ON; PRAGMA wal_autocheckpoint=0; PRAGMA mmap_size=0;"
                        "PRAGMA temp_store=MEMORY; PRAGMA cache_size=" READER_CACHE ";",
                        &db, error, error_size) < 0)
        return -1;
    if (sqlite_schema_check(db, path->text, error, error_size) < 0) {
        (void)sqlite3_close(db);
        return -1;
    }
    *ret = db;
    return 0;
}

/* ---- schema ---- */

struct step {
    int version;
    const char *sql;
};

static const struct step steps[] = {
#define SCHEMA_STEP(version, sql) {version, sql},
#include "store/schema/sqlite_steps.def"
#undef SCHEMA_STEP
};
#define N_STEPS (sizeof steps / sizeof *steps)

static int schema_state(sqlite3 *db, const char *path, int64_t *ret_version, int64_t *ret_application, char *error,
                        size_t error_size)
{
    int rc = sqlite_db_number(db, "PRAGMA user_version", ret_version);
    if (rc == SQLITE_OK)
        rc = sqlite_db_number(db, "PRAGMA application_id", ret_application);
    if (rc != SQLITE_OK) {
        sqlite_db_explain(db, rc, path, error, error_size);
        return -1;
    }
    int64_t ours = steps[N_STEPS - 1].version;
    if (*ret_application == SQLITE_STORE_APPLICATION_ID && *ret_version > ours) {
        (void)snprintf(error, error_size,
                       "store %s: its schema is version %lld and this program knows %lld: use a newer satcheld, or "
                       "another file",
                       path, (long long)*ret_version, (long long)ours);
        return -1;
    }
    return 0;
}

int sqlite_schema_check(sqlite3 *db, const char *path, char *error, size_t error_size)
{
    int64_t version = 0, application = 0;
    if (schema_state(db, path, &version, &application, error, error_size) < 0)
        return -1;
    if (application != SQLITE_STORE_APPLICATION_ID || version != steps[N_STEPS - 1].version) {
        (void)snprintf(error, error_size, "store %s: has no schema of ours yet: open the store before its reader",
                       path);
        return -1;
    }
    return 0;
}

static int apply_steps(sqlite3 *db, int64_t version)
{
    int rc = sqlite_db_exec(db, "BEGIN IMMEDIATE");
    if (rc != SQLITE_OK)
        return rc;
    for (size_t i = 0; rc == SQLITE_OK && i < N_STEPS; i++)
        if (steps[i].version > version)
            rc = sqlite_db_exec(db, steps[i].sql);
    char sql[128];
    (void)snprintf(sql, sizeof sql, "PRAGMA application_id=%d; PRAGMA user_version=%d", SQLITE_STORE_APPLICATION_ID,
                   steps[N_STEPS - 1].version);
    if (rc == SQLITE_OK)
        rc = sqlite_db_exec(db, sql);
    if (rc == SQLITE_OK)
        rc = sqlite_db_exec(db, "COMMIT");
    return rc;
}

int sqlite_schema_upgrade(sqlite3 *db, const char *path, char *error, size_t error_size)
{
    int64_t version = 0, application = 0, tables = 0;
    if (schema_state(db, path, &version, &application, error, error_size) < 0)
        return -1;
    int rc = sqlite_db_number(db, "SELECT count(*) FROM sqlite_schema", &tables);
    if (rc == SQLITE_OK && application != SQLITE_STORE_APPLICATION_ID && (tables > 0 || version || application)) {
        (void)snprintf(error, error_size,
                       "store %s: a database of another program; name another file, or move this one away", path);
        return -1;
    }
    if (rc == SQLITE_OK && version < steps[N_STEPS - 1].version)
        rc = apply_steps(db, version);
    if (rc == SQLITE_OK)
        return 0;
    sqlite_db_explain(db, rc, path, error, error_size);
    if (!sqlite3_get_autocommit(db))
        (void)sqlite_db_exec(db, "ROLLBACK");
    return -1;
}
