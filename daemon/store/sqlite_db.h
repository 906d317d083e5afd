/* One connection to the database file: opening, settings, the meaning of SQLite's results, small helpers.
 * Thread: a connection belongs to one thread at a time (SQLite's own locks are off). */
#ifndef SATCHEL_STORE_SQLITE_DB_H
#define SATCHEL_STORE_SQLITE_DB_H

#include <sqlite3.h>

#include "proto/id.h"
#include "store/sqlite_vfs.h"
#include "store/store.h"

#define SQLITE_STORE_APPLICATION_ID 0x53617463 /* "Satc" */

#define SQLITE_STORE_BUSY_MS 1000 /* only a stranger (the sqlite3 shell) can hold a lock that we want */

struct sqlite_store_path {
    char text[4096 - 16]; /* absolute or with a leading "./": never one of SQLite's special names */
};

/* How SQLite works in this process: before anything else is asked of it, or it refuses to be told (harmlessly).  Any
 * thread, any number of times. */
void sqlite_db_configure(void);

/* The path in "sqlite:PATH"; -1 with the reason. */
int sqlite_db_path(const char *url, struct sqlite_store_path *ret, char *error, size_t error_size);

/* The writer's connection: makes the file (mode 0600) where there is none. */
int sqlite_db_open_writer(const struct sqlite_store_path *path, struct sqlite_vfs *vfs, sqlite3 **ret, char *error,
                          size_t error_size);
/* A reader's: the file must be there and have a schema that we know. */
int sqlite_db_open_reader(const struct sqlite_store_path *path, sqlite3 **ret, char *error, size_t error_size);

/* Brings the schema up to date in one transaction; refuses a newer one and other programs' files. */
int sqlite_schema_upgrade(sqlite3 *db, const char *path, char *error, size_t error_size);
int sqlite_schema_check(sqlite3 *db, const char *path, char *error, size_t error_size); /* a reader's look at it */

enum store_result sqlite_db_result(int rc); /* what a failed call means to the engine */
/* Why a call failed while opening, as a sentence for people: what, which file, what to do.  db may be NULL. */
void sqlite_db_explain(sqlite3 *db, int rc, const char *path, char *error, size_t error_size);
int sqlite_db_exec(sqlite3 *db, const char *sql);                        /* SQLite's result */
int sqlite_db_number(sqlite3 *db, const char *sql, int64_t *ret);        /* one row, one number */
int sqlite_db_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret); /* kept for the connection's life */
int sqlite_db_run(sqlite3_stmt *stmt); /* one step and reset; SQLITE_DONE means done */
void sqlite_db_bind_text(sqlite3_stmt *stmt, int column, struct slice text); /* borrowed; empty: NULL */

static inline int64_t sqlite_id_seq(struct task_id id)
{
    return (int64_t)task_id_seq(id);
}

static inline int64_t sqlite_id_lo(struct task_id id)
{
    return (int64_t)id.lo;
}

static inline struct task_id sqlite_id_of(int64_t seq, int64_t lo)
{
    return task_id_from_seq((uint64_t)seq, (uint64_t)lo);
}

#endif
