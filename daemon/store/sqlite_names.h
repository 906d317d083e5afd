/* Interned texts: a tenant's name and a task type's name are a small number in every row.  A table on disk, and in
 * front of it a bounded hash, so that the writer looks a name up without touching the database.
 * Thread: the connection's. */
#ifndef SATCHEL_STORE_SQLITE_NAMES_H
#define SATCHEL_STORE_SQLITE_NAMES_H

#include "store/sqlite_db.h"

#define SQLITE_NAMES_MAX 65536 /* texts kept in memory; when full, it starts again from empty */

struct sqlite_name {
    int64_t no;
    uint32_t hash;
    uint32_t len;
    char *text; /* NUL-terminated; owned */
};

struct sqlite_names {
    sqlite3_stmt *find, *add, *text;
    struct sqlite_name *names;
    uint32_t *by_text, *by_no; /* open addressing: index + 1 into names, 0: free */
    uint32_t n, cap, mask;
    uint64_t seed;
};

int sqlite_names_init(struct sqlite_names *names, sqlite3 *db, const char *table); /* SQLite's result */
void sqlite_names_release(struct sqlite_names *names);                             /* zeroed is fine */
/* The text's number, made where it has none (inside the caller's transaction).  SQLITE_OK or SQLite's error. */
int sqlite_names_number(struct sqlite_names *names, struct slice text, int64_t *ret_no);
/* The number's text, good until the next call.  SQLITE_NOTFOUND where there is none. */
int sqlite_names_text(struct sqlite_names *names, int64_t no, struct slice *ret_text);
void sqlite_names_forget(struct sqlite_names *names); /* after a rollback: numbers may not have been kept */

#endif
