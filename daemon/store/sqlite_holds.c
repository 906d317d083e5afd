/* What an operator has paused or is draining, as rows of `meta`: "hold:all:", "hold:tenant:acme" or "hold:task:resize",
 * and "paused", "draining" or "paused,draining".
 * Called by sqlite_write.c (a batch) and by the engine at its start.  Thread: the engine's. */
#include <stdio.h>

#include "store/sqlite_store.h"

static const char *const scopes[] = {[HOLD_ALL] = "all", [HOLD_TENANT] = "tenant", [HOLD_TASK] = "task"};
#define N_SCOPES (sizeof scopes / sizeof scopes[0])

int sqlite_put_hold(struct sqlite_store *store, const struct hold *hold)
{
    char key[sizeof hold->name + 16];
    bool kept = hold->paused || hold->draining;
    sqlite3_stmt *stmt = store->statements[kept ? STATEMENT_HOLD_PUT : STATEMENT_HOLD_DROP];
    (void)snprintf(key, sizeof key, "hold:%s:%s", scopes[hold->scope], hold->name);
    (void)sqlite3_clear_bindings(stmt);
    sqlite_db_bind_text(stmt, 1, slice_str(key));
    if (kept)
        sqlite_db_bind_text(stmt, 2,
                            slice_str(hold->paused ? hold->draining ? "paused,draining" : "paused" : "draining"));
    return sqlite_db_run(stmt);
}

/* False: written by nobody we know. */
static bool read_hold(struct slice key, struct slice value, struct hold *ret)
{
    *ret = (struct hold){0};
    for (size_t i = 0; i < N_SCOPES; i++) {
        char prefix[16];
        size_t len = (size_t)snprintf(prefix, sizeof prefix, "hold:%s:", scopes[i]);
        if (key.len < len || memcmp(key.data, prefix, len) != 0 || key.len - len >= sizeof ret->name)
            continue;
        ret->scope = (enum hold_scope)i;
        memcpy(ret->name, key.data + len, key.len - len);
        ret->paused = value.len >= 6 && memcmp(value.data, "paused", 6) == 0;
        ret->draining = value.len >= 8 && memcmp(value.data + value.len - 8, "draining", 8) == 0;
        return true;
    }
    return false;
}

enum store_result sqlite_each_hold(struct store *base, int (*fn)(void *arg, const struct hold *hold), void *arg)
{
    struct sqlite_store *store = (struct sqlite_store *)base;
    sqlite3_stmt *stmt = store->statements[STATEMENT_HOLDS];
    struct hold hold;
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
        if (read_hold(sqlite_column_slice(stmt, 0), sqlite_column_slice(stmt, 1), &hold) && fn(arg, &hold))
            break;
    int reset = sqlite3_reset(stmt);
    return sqlite_db_result(rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : reset);
}
