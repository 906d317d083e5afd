/* Flow: sqlite_list.c (a single read) -> here, with statements of its connection. */
#include "store/sqlite_beside.h"

#include <stdlib.h>

int sqlite_beside_note(sqlite3_stmt *stmt, int64_t seq, struct blob **ret)
{
    (void)sqlite3_bind_int64(stmt, 1, seq);
    int rc = sqlite3_step(stmt);
    bool found = rc == SQLITE_ROW;
    if (found)
        *ret = blob_new(sqlite_column_slice(stmt, 0));
    int reset = sqlite3_reset(stmt);
    if (found)
        return *ret ? SQLITE_OK : SQLITE_NOMEM;
    return rc == SQLITE_DONE ? SQLITE_OK : reset;
}

/* ---- attempts ---- */

/* Offsets into the text while it grows; they become slices at the end. */
static int add_attempt(sqlite3_stmt *row, struct task_history *history, size_t *cap)
{
    if (history->n == *cap) {
        size_t room = *cap ? *cap * 2 : 4;
        struct task_attempt *attempts = realloc(history->attempts, room * sizeof *attempts);
        if (!attempts)
            return SQLITE_NOMEM;
        history->attempts = attempts;
        *cap = room;
    }
    struct slice sent = sqlite_column_slice(row, 5);
    struct task_attempt attempt = {
        .number = (uint32_t)sqlite3_column_int64(row, 0),
        .started_us = sqlite3_column_int64(row, 1),
        .finished_us = sqlite3_column_int64(row, 2),
        .sent = slice_of(NULL, sent.len),
    };
    if (sqlite3_column_type(row, 3) != SQLITE_NULL) {
        int rc = sqlite_outcome_read(sqlite3_column_int64(row, 3), sqlite_column_slice(row, 4), &attempt.outcome);
        if (rc != SQLITE_OK)
            return rc;
    }
    buf_append_slice(&history->text, sent);
    history->attempts[history->n++] = attempt;
    return buf_ok(&history->text) ? SQLITE_OK : SQLITE_NOMEM;
}

/* Read from the last one backwards, so that the bound keeps the newest. */
static void put_in_order(struct task_history *history)
{
    size_t at = 0, n = history->n;
    for (size_t i = 0; i < n; i++) {
        history->attempts[i].sent.data = history->text.data ? history->text.data + at : NULL;
        at += history->attempts[i].sent.len;
    }
    for (size_t i = 0; i < n / 2; i++) {
        struct task_attempt swap = history->attempts[i];
        history->attempts[i] = history->attempts[n - 1 - i];
        history->attempts[n - 1 - i] = swap;
    }
}

int sqlite_beside_history(sqlite3_stmt *stmt, int64_t seq, struct task_history *ret)
{
    size_t cap = 0;
    int rc, added = SQLITE_OK;
    (void)sqlite3_bind_int64(stmt, 1, seq);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW && added == SQLITE_OK)
        added = add_attempt(stmt, ret, &cap);
    int reset = sqlite3_reset(stmt);
    put_in_order(ret);
    return added != SQLITE_OK ? added : rc == SQLITE_DONE ? SQLITE_OK : reset;
}

/* ---- log ---- */

static void add_piece(sqlite3_stmt *row, struct read_call *call)
{
    uint64_t at = (uint64_t)sqlite3_column_int64(row, 0), end = call->log_at + call->log.len;
    struct slice bytes = sqlite_column_slice(row, 1);
    if (call->log.len == 0 && at > end) { /* what lay between is gone */
        call->log_at = at;
        end = at;
    }
    if (at + bytes.len <= end)
        return;
    size_t skip = end > at ? (size_t)(end - at) : 0;
    buf_append(&call->log, bytes.data + skip, bytes.len - skip);
}

int sqlite_beside_log(sqlite3_stmt *stmt, int64_t seq, struct read_call *call)
{
    int rc;
    (void)sqlite3_bind_int64(stmt, 1, seq);
    (void)sqlite3_bind_int64(stmt, 2, (int64_t)call->log_from);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW && call->log.len < READ_LOG_MAX)
        add_piece(stmt, call);
    call->log_more = rc == SQLITE_ROW;
    int reset = sqlite3_reset(stmt);
    if (!buf_ok(&call->log))
        return SQLITE_NOMEM;
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : reset;
}
