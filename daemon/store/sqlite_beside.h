/* What SQLite keeps beside a task's row, read: the attempts that ended, what it said of its progress, its log.
 * Numbers are SQLite's results.  Thread: the connection's. */
#ifndef SATCHEL_STORE_SQLITE_BESIDE_H
#define SATCHEL_STORE_SQLITE_BESIDE_H

#include "store/reader.h"
#include "store/sqlite_row.h"

#define SQLITE_NOTE_SELECT "SELECT text FROM note WHERE seq = ?1"
int sqlite_beside_note(sqlite3_stmt *stmt, int64_t seq, struct blob **ret);

#define SQLITE_HISTORY_SELECT                                                                                          \
    "SELECT number, started, finished, outcome, message, sent FROM attempt WHERE seq = ?1"                             \
    " ORDER BY number DESC LIMIT 1000"
int sqlite_beside_history(sqlite3_stmt *stmt, int64_t seq, struct task_history *ret);

/* From the piece that holds the byte at ?2 on. */
#define SQLITE_LOG_SELECT                                                                                              \
    "SELECT at, bytes FROM log WHERE seq = ?1"                                                                         \
    " AND at >= ifnull((SELECT max(at) FROM log WHERE seq = ?1 AND at <= ?2), 0) ORDER BY at"
int sqlite_beside_log(sqlite3_stmt *stmt, int64_t seq, struct read_call *call);

#endif
