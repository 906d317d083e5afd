/* A task as a row: what lies in which column, packed and unpacked.  The writer binds with it, writer and reader
 * decode with it.
 * Thread: the connection's. */
#ifndef SATCHEL_STORE_SQLITE_ROW_H
#define SATCHEL_STORE_SQLITE_ROW_H

#include "store/sqlite_db.h"

/* Bodies: whatever is larger than SQLITE_INLINE_MAX lies in `payload`, so that a change of the status does not
 * rewrite it.  Bit 1 << kind of task.aside says so. */
enum sqlite_body {
    SQLITE_BODY_ARGS,
    SQLITE_BODY_CONTEXT,
    SQLITE_BODY_LABELS,
    SQLITE_BODY_ORIGINS,
    SQLITE_BODY_RESULT,
    SQLITE_BODY_MESSAGE,
    SQLITE_BODY_COUNT
};
#define SQLITE_INLINE_MAX 2048
#define SQLITE_BODY_ENDING (1u << SQLITE_BODY_RESULT | 1u << SQLITE_BODY_MESSAGE) /* what an outcome brings */

static inline int64_t sqlite_payload_key(int64_t seq, enum sqlite_body kind)
{
    return (int64_t)((uint64_t)seq << 3 | kind);
}

/* The order of SQLITE_TASK_COLUMNS, of the INSERT's parameters and of every whole SELECT. */
enum sqlite_column {
    COLUMN_SEQ,
    COLUMN_LO,
    COLUMN_TENANT,
    COLUMN_NAME,
    COLUMN_STATE,
    COLUMN_TRIES,
    COLUMN_CANCEL,
    COLUMN_LIMITS,
    COLUMN_CREATED,
    COLUMN_RUN_AT,
    COLUMN_STARTED,
    COLUMN_FINISHED,
    COLUMN_PROGRESS,
    COLUMN_DEADLINE,
    COLUMN_EXPIRES,
    COLUMN_RETAIN,
    COLUMN_PARENT,
    COLUMN_ROOT,
    COLUMN_PARENT_SPAN,
    COLUMN_OPTIONS,
    COLUMN_OUTCOME,
    COLUMN_ASIDE,
    COLUMN_MESSAGE,
    COLUMN_RESULT,
    COLUMN_LABELS,
    COLUMN_ORIGINS,
    COLUMN_CONTEXT,
    COLUMN_ARGS,
    COLUMN_CALLBACK,
    COLUMN_AFTER,
    COLUMN_GROUP,
    COLUMN_AFTER_GROUP,
    COLUMN_UNIQUE,
    COLUMN_ROOM, /* INSERT alone, as the next */
    COLUMN_LATE,
    COLUMN_TENANT_TEXT = COLUMN_ROOM, /* SELECT alone, as the next */
    COLUMN_NAME_TEXT
};
#define SQLITE_TASK_COLUMNS                                                                                            \
    "seq, lo, tenant, name, state, tries, cancel, limits, created, run_at, started, finished, progress, deadline, "    \
    "expires, retain, parent, root, parent_span, options, outcome, aside, message, result, labels, origins, context, " \
    "args, callback, preds, grp, after_grp, unique_key"
#define SQLITE_TASK_SELECT                                                                                             \
    "SELECT " SQLITE_TASK_COLUMNS ", (SELECT text FROM tenant WHERE no = task.tenant),"                                \
    " (SELECT text FROM name WHERE no = task.name) FROM task "
#define SQLITE_ROOM 48 /* bytes kept free in the row of an unfinished task */

static inline int64_t sqlite_tries_pack(const struct task_status *status)
{
    return (int64_t)(status->attempt | (uint64_t)status->lost << 32 | (uint64_t)status->failures << 48);
}

static inline void sqlite_tries_unpack(int64_t packed, struct task_status *ret)
{
    ret->attempt = (uint32_t)packed;
    ret->lost = (uint16_t)((uint64_t)packed >> 32);
    ret->failures = (uint16_t)((uint64_t)packed >> 48);
}

struct sqlite_limits {
    uint16_t max_attempts, max_lost;
    uint8_t priority;
    bool has_callback, has_after, has_group, has_unique, unique_until_started;
    uint8_t size;
};

static inline struct sqlite_limits sqlite_limits_unpack(int64_t packed)
{
    return (struct sqlite_limits){.max_attempts = (uint16_t)packed,
                                  .max_lost = (uint16_t)((uint64_t)packed >> 16),
                                  .priority = (uint8_t)((uint64_t)packed >> 32),
                                  .has_callback = (uint64_t)packed >> 40 & 1,
                                  .has_after = (uint64_t)packed >> 41 & 1,
                                  .has_group = (uint64_t)packed >> 42 & 1,
                                  .has_unique = (uint64_t)packed >> 43 & 1,
                                  .unique_until_started = (uint64_t)packed >> 44 & 1,
                                  .size = (uint8_t)((uint64_t)packed >> 45)};
}

/* What is bound must stay good until the statement is reset: the bytes of the options lie with the caller. */
struct sqlite_row_scratch {
    unsigned char options[128];
};

int64_t sqlite_outcome_pack(const struct task_outcome *outcome);
int sqlite_outcome_read(int64_t stored, struct slice message, struct task_outcome **ret); /* without its result */
/* The bodies that an outcome has; `ret_aside` gets the bits of those that do not fit the row. */
struct slice sqlite_outcome_body(const struct task_outcome *outcome, enum sqlite_body kind);
unsigned sqlite_outcome_aside(const struct task_outcome *outcome);
struct slice sqlite_spec_body(const struct task_spec *spec, enum sqlite_body kind);

/* Binds every column of an INSERT; returns the bits of the bodies that must go to `payload`.  `late`: whether the row
 * goes to the index of waiting tasks at once. */
unsigned sqlite_row_bind(sqlite3_stmt *insert, const struct store_change *change, int64_t tenant, int64_t name,
                         bool late, struct sqlite_row_scratch *scratch);

struct slice sqlite_column_slice(sqlite3_stmt *row, int column); /* good until the next step or reset */

/* Who keeps the texts of tenants and task types in memory (sqlite_names.h) needs no row of theirs. */
struct sqlite_row_names {
    struct slice tenant, name;
};
/* From the current row of a SQLITE_TASK_SELECT; with `names`, of a SELECT of SQLITE_TASK_COLUMNS.  `payload` is "SELECT key & 7, bytes FROM payload WHERE key BETWEEN
 * ?1 AND ?2", prepared.  SQLITE_OK, or SQLite's error and *ret is empty. */
int sqlite_row_read(sqlite3_stmt *row, sqlite3_stmt *payload, const struct sqlite_row_names *names,
                    struct task_record *ret);
#define SQLITE_PAYLOAD_SELECT "SELECT key & 7, bytes FROM payload WHERE key BETWEEN ?1 AND ?2"

#endif
