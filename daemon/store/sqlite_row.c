/* Flow: sqlite_write.c binds -> the row -> sqlite_store.c (load) and sqlite_list.c decode.
 *
 * options: pairs of a tag byte and a number (seven bits a byte, low first), only where it differs from the default.
 * Tags are stored: append only; unknown ones are skipped. */
#include "store/sqlite_row.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

enum option {
    OPTION_TIMEOUT = 1,
    OPTION_BACKOFF_FIXED,
    OPTION_NO_JITTER,
    OPTION_BASE,
    OPTION_CAP,
    OPTION_RUN_AT,
    OPTION_PARENT_LO,
    OPTION_ROOT_LO,
    OPTION_UNIQUE_FOR
};
#define DEFAULT_BASE_US 1000000
#define DEFAULT_CAP_US 300000000

static unsigned char *put_option(unsigned char *at, enum option tag, uint64_t value)
{
    *at++ = (unsigned char)tag;
    for (; value >= 0x80; value >>= 7)
        *at++ = (unsigned char)(value | 0x80);
    *at++ = (unsigned char)value;
    return at;
}

static size_t pack_options(const struct task_spec *spec, unsigned char *to)
{
    unsigned char *at = to; /* at most nine options of eleven bytes */
    if (spec->timeout_us)
        at = put_option(at, OPTION_TIMEOUT, (uint64_t)spec->timeout_us);
    if (spec->backoff.type == BACKOFF_FIXED)
        at = put_option(at, OPTION_BACKOFF_FIXED, 1);
    if (!spec->backoff.jitter)
        at = put_option(at, OPTION_NO_JITTER, 1);
    if (spec->backoff.base_us != DEFAULT_BASE_US)
        at = put_option(at, OPTION_BASE, (uint64_t)spec->backoff.base_us);
    if (spec->backoff.cap_us != DEFAULT_CAP_US)
        at = put_option(at, OPTION_CAP, (uint64_t)spec->backoff.cap_us);
    if (spec->run_at_us)
        at = put_option(at, OPTION_RUN_AT, (uint64_t)spec->run_at_us);
    if (!task_id_is_none(spec->parent))
        at = put_option(at, OPTION_PARENT_LO, spec->parent.lo);
    if (!task_id_is_none(spec->root) && !task_id_equal(spec->root, spec->id))
        at = put_option(at, OPTION_ROOT_LO, spec->root.lo);
    if (spec->unique_for_us)
        at = put_option(at, OPTION_UNIQUE_FOR, (uint64_t)spec->unique_for_us);
    return (size_t)(at - to);
}

/* The next option of [at, end), or NULL at the end or where the bytes are cut off. */
static const unsigned char *next_option(const unsigned char *at, const unsigned char *end, int *ret_tag,
                                        uint64_t *ret_value)
{
    if (at == end)
        return NULL;
    *ret_tag = *at++;
    *ret_value = 0;
    for (unsigned shift = 0; at < end && shift < 64; shift += 7) {
        *ret_value |= (uint64_t)(*at & 0x7f) << shift;
        if (!(*at++ & 0x80))
            return at;
    }
    return NULL;
}

static void unpack_options(const unsigned char *at, size_t len, struct task_spec *spec)
{
    spec->backoff = (struct backoff){BACKOFF_EXPONENTIAL, true, DEFAULT_BASE_US, DEFAULT_CAP_US};
    const unsigned char *end = at ? at + len : at;
    int tag;
    uint64_t value;
    while ((at = next_option(at, end, &tag, &value))) {
        switch (tag) {
        case OPTION_TIMEOUT: spec->timeout_us = (int64_t)value; break;
        case OPTION_BACKOFF_FIXED: spec->backoff.type = BACKOFF_FIXED; break;
        case OPTION_NO_JITTER: spec->backoff.jitter = false; break;
        case OPTION_BASE: spec->backoff.base_us = (int64_t)value; break;
        case OPTION_CAP: spec->backoff.cap_us = (int64_t)value; break;
        case OPTION_RUN_AT: spec->run_at_us = (int64_t)value; break;
        case OPTION_PARENT_LO: spec->parent.lo = value; break;
        case OPTION_ROOT_LO: spec->root.lo = value; break;
        case OPTION_UNIQUE_FOR: spec->unique_for_us = (int64_t)value; break;
        default: break;
        }
    }
}

/* ---- outcome ---- */

#define HAS_EXIT_CODE 0x100u

int64_t sqlite_outcome_pack(const struct task_outcome *outcome)
{
    uint64_t packed = (uint64_t)outcome->error & 0xff;
    if (outcome->has_exit_code)
        packed |= HAS_EXIT_CODE | (uint64_t)(uint32_t)outcome->exit_code << 32;
    packed |= (uint64_t)(outcome->signal_number & 0x7f) << 9;
    packed |= (uint64_t)(outcome->http_status & 0xffff) << 16;
    return (int64_t)packed;
}

struct slice sqlite_outcome_body(const struct task_outcome *outcome, enum sqlite_body kind)
{
    if (kind == SQLITE_BODY_RESULT)
        return blob_slice(outcome->result);
    return slice_str(outcome->message);
}

unsigned sqlite_outcome_aside(const struct task_outcome *outcome)
{
    unsigned aside = 0;
    for (unsigned kind = SQLITE_BODY_RESULT; kind <= SQLITE_BODY_MESSAGE; kind++)
        if (sqlite_outcome_body(outcome, (enum sqlite_body)kind).len > SQLITE_INLINE_MAX)
            aside |= 1u << kind;
    return aside;
}

/* ---- to the row ---- */

struct slice sqlite_spec_body(const struct task_spec *spec, enum sqlite_body kind)
{
    switch (kind) {
    case SQLITE_BODY_ARGS: return spec->args;
    case SQLITE_BODY_CONTEXT: return spec->context;
    case SQLITE_BODY_LABELS: return spec->labels;
    case SQLITE_BODY_ORIGINS: return spec->origins;
    case SQLITE_BODY_RESULT:
    case SQLITE_BODY_MESSAGE:
    case SQLITE_BODY_COUNT: break;
    }
    return slice_of(NULL, 0);
}

static void bind_number(sqlite3_stmt *stmt, enum sqlite_column column, int64_t value)
{
    (void)sqlite3_bind_int64(stmt, (int)column + 1, value);
}

static void bind_if(sqlite3_stmt *stmt, enum sqlite_column column, int64_t value) /* 0: NULL, as cleared */
{
    if (value)
        bind_number(stmt, column, value);
}

static unsigned bind_body(sqlite3_stmt *stmt, enum sqlite_column column, struct slice text, enum sqlite_body kind)
{
    if (text.len > SQLITE_INLINE_MAX)
        return 1u << kind;
    if (text.len)
        (void)sqlite3_bind_text64(stmt, (int)column + 1, text.data, text.len, SQLITE_STATIC, SQLITE_UTF8);
    return 0;
}

static int64_t pack_limits(const struct task_spec *spec, uint8_t size)
{
    uint64_t packed = spec->max_attempts | (uint64_t)spec->max_lost << 16 | (uint64_t)spec->priority << 32;
    packed |= (uint64_t)(spec->callback.len != 0) << 40;
    packed |= (uint64_t)(spec->after.len || spec->after_group.len) << 41;
    packed |= (uint64_t)(spec->group.len != 0) << 42;
    packed |= (uint64_t)(spec->unique_key.len != 0) << 43 | (uint64_t)spec->unique_until_started << 44;
    packed |= (uint64_t)size << 45;
    return (int64_t)packed;
}

static void bind_text(sqlite3_stmt *stmt, enum sqlite_column column, struct slice text) /* empty: NULL, as cleared */
{
    if (text.len)
        (void)sqlite3_bind_text64(stmt, (int)column + 1, text.data, text.len, SQLITE_STATIC, SQLITE_UTF8);
}

static void bind_ties(sqlite3_stmt *stmt, const struct task_spec *spec)
{
    bind_text(stmt, COLUMN_CALLBACK, spec->callback);
    bind_text(stmt, COLUMN_GROUP, spec->group);
    bind_text(stmt, COLUMN_AFTER_GROUP, spec->after_group);
    bind_text(stmt, COLUMN_UNIQUE, spec->unique_key);
    if (spec->after.len)
        (void)sqlite3_bind_blob64(stmt, COLUMN_AFTER + 1, spec->after.data, spec->after.len, SQLITE_STATIC);
}

static void bind_spec(sqlite3_stmt *stmt, const struct task_spec *spec, uint8_t size,
                      struct sqlite_row_scratch *scratch)
{
    bind_number(stmt, COLUMN_LIMITS, pack_limits(spec, size));
    bind_number(stmt, COLUMN_CREATED, spec->created_us);
    bind_if(stmt, COLUMN_DEADLINE, spec->deadline_us);
    bind_if(stmt, COLUMN_EXPIRES, spec->expires_us);
    bind_if(stmt, COLUMN_RETAIN, spec->retain_us);
    bind_if(stmt, COLUMN_PARENT, sqlite_id_seq(spec->parent));
    if (!task_id_equal(spec->root, spec->id))
        bind_if(stmt, COLUMN_ROOT, sqlite_id_seq(spec->root));
    int64_t span;
    memcpy(&span, spec->parent_span, sizeof span);
    bind_if(stmt, COLUMN_PARENT_SPAN, span);
    size_t len = pack_options(spec, scratch->options);
    if (len)
        (void)sqlite3_bind_blob(stmt, COLUMN_OPTIONS + 1, scratch->options, (int)len, SQLITE_STATIC);
}

static void bind_status(sqlite3_stmt *stmt, const struct task_status *status)
{
    bind_number(stmt, COLUMN_STATE, status->state);
    bind_number(stmt, COLUMN_TRIES, sqlite_tries_pack(status));
    bind_if(stmt, COLUMN_CANCEL, status->cancel_requested);
    bind_number(stmt, COLUMN_RUN_AT, status->run_at_us);
    bind_if(stmt, COLUMN_STARTED, status->started_us);
    bind_if(stmt, COLUMN_FINISHED, status->finished_us);
    if (status->progress >= 0)
        (void)sqlite3_bind_double(stmt, COLUMN_PROGRESS + 1, (double)status->progress);
}

unsigned sqlite_row_bind(sqlite3_stmt *insert, const struct store_change *change, int64_t tenant, int64_t name,
                         bool late, struct sqlite_row_scratch *scratch)
{
    const struct task_spec *spec = change->spec;
    (void)sqlite3_clear_bindings(insert);
    bind_number(insert, COLUMN_SEQ, sqlite_id_seq(change->id));
    bind_number(insert, COLUMN_LO, sqlite_id_lo(change->id));
    bind_number(insert, COLUMN_TENANT, tenant);
    bind_number(insert, COLUMN_NAME, name);
    bind_status(insert, &change->status);
    bind_spec(insert, spec, change->size, scratch);
    unsigned aside = 0;
    if (!slice_eq_str(spec->args, "null"))
        aside |= bind_body(insert, COLUMN_ARGS, spec->args, SQLITE_BODY_ARGS);
    aside |= bind_body(insert, COLUMN_CONTEXT, spec->context, SQLITE_BODY_CONTEXT);
    aside |= bind_body(insert, COLUMN_LABELS, spec->labels, SQLITE_BODY_LABELS);
    aside |= bind_body(insert, COLUMN_ORIGINS, spec->origins, SQLITE_BODY_ORIGINS);
    if (change->outcome) {
        bind_number(insert, COLUMN_OUTCOME, sqlite_outcome_pack(change->outcome));
        struct slice result = sqlite_outcome_body(change->outcome, SQLITE_BODY_RESULT);
        struct slice message = sqlite_outcome_body(change->outcome, SQLITE_BODY_MESSAGE);
        aside |= bind_body(insert, COLUMN_RESULT, result, SQLITE_BODY_RESULT);
        aside |= bind_body(insert, COLUMN_MESSAGE, message, SQLITE_BODY_MESSAGE);
    }
    bind_ties(insert, spec);
    if (!task_state_final(change->status.state))
        (void)sqlite3_bind_zeroblob(insert, COLUMN_ROOM + 1, SQLITE_ROOM);
    bind_if(insert, COLUMN_LATE, late);
    bind_number(insert, COLUMN_ASIDE, aside);
    return aside;
}

/* ---- from the row ---- */

struct bodies {
    struct slice text[SQLITE_BODY_COUNT];
    char *owned[SQLITE_BODY_COUNT];
};

static void bodies_release(struct bodies *bodies)
{
    for (int kind = 0; kind < SQLITE_BODY_COUNT; kind++)
        free(bodies->owned[kind]);
}

struct slice sqlite_column_slice(sqlite3_stmt *row, int column)
{
    const char *data = sqlite3_column_blob(row, column); /* as bytes: no copy to add a NUL */
    return slice_of(data, data ? (size_t)sqlite3_column_bytes(row, column) : 0);
}

static int fetch_aside(sqlite3_stmt *payload, int64_t seq, unsigned aside, struct bodies *ret)
{
    (void)sqlite3_bind_int64(payload, 1, sqlite_payload_key(seq, (enum sqlite_body)0));
    (void)sqlite3_bind_int64(payload, 2, sqlite_payload_key(seq, (enum sqlite_body)7));
    int rc;
    unsigned got = 0;
    while ((rc = sqlite3_step(payload)) == SQLITE_ROW) {
        unsigned kind = (unsigned)sqlite3_column_int(payload, 0);
        if (kind >= SQLITE_BODY_COUNT || !(aside & 1u << kind))
            continue;
        const void *data = sqlite3_column_blob(payload, 1);
        size_t len = (size_t)sqlite3_column_bytes(payload, 1);
        free(ret->owned[kind]);
        ret->owned[kind] = data ? malloc(len) : NULL;
        if (!ret->owned[kind]) {
            (void)sqlite3_reset(payload);
            return SQLITE_NOMEM;
        }
        memcpy(ret->owned[kind], data, len);
        ret->text[kind] = slice_of(ret->owned[kind], len);
        /* freed in bodies_release, a longer loop than the analyzer follows */
        got |= 1u << kind; /* NOLINT(clang-analyzer-unix.Malloc) */
    }
    int reset = sqlite3_reset(payload);
    if (rc != SQLITE_DONE)
        return reset;
    return got == aside ? SQLITE_OK : SQLITE_CORRUPT;
}

static int gather(sqlite3_stmt *row, sqlite3_stmt *payload, struct bodies *ret)
{
    ret->text[SQLITE_BODY_MESSAGE] = sqlite_column_slice(row, COLUMN_MESSAGE);
    ret->text[SQLITE_BODY_RESULT] = sqlite_column_slice(row, COLUMN_RESULT);
    ret->text[SQLITE_BODY_LABELS] = sqlite_column_slice(row, COLUMN_LABELS);
    ret->text[SQLITE_BODY_ORIGINS] = sqlite_column_slice(row, COLUMN_ORIGINS);
    ret->text[SQLITE_BODY_CONTEXT] = sqlite_column_slice(row, COLUMN_CONTEXT);
    ret->text[SQLITE_BODY_ARGS] = sqlite_column_slice(row, COLUMN_ARGS);
    unsigned aside = (unsigned)sqlite3_column_int(row, COLUMN_ASIDE);
    if (aside) {
        int rc = fetch_aside(payload, sqlite3_column_int64(row, COLUMN_SEQ), aside, ret);
        if (rc != SQLITE_OK)
            return rc;
    }
    if (!ret->text[SQLITE_BODY_ARGS].len)
        ret->text[SQLITE_BODY_ARGS] = SLICE_LITERAL("null");
    return SQLITE_OK;
}

static int read_spec(sqlite3_stmt *row, const struct bodies *bodies, const struct sqlite_row_names *names,
                     struct task_spec **ret)
{
    struct task_spec_text text = {
        .tenant = names ? names->tenant : sqlite_column_slice(row, COLUMN_TENANT_TEXT),
        .name = names ? names->name : sqlite_column_slice(row, COLUMN_NAME_TEXT),
        .args = bodies->text[SQLITE_BODY_ARGS],
        .labels = bodies->text[SQLITE_BODY_LABELS],
        .context = bodies->text[SQLITE_BODY_CONTEXT],
        .origins = bodies->text[SQLITE_BODY_ORIGINS],
        .callback = sqlite_column_slice(row, COLUMN_CALLBACK),
        .after = sqlite_column_slice(row, COLUMN_AFTER),
        .group = sqlite_column_slice(row, COLUMN_GROUP),
        .after_group = sqlite_column_slice(row, COLUMN_AFTER_GROUP),
        .unique_key = sqlite_column_slice(row, COLUMN_UNIQUE),
    };
    struct task_spec *spec = task_spec_new(&text);
    if (!spec)
        return SQLITE_NOMEM;
    spec->id = sqlite_id_of(sqlite3_column_int64(row, COLUMN_SEQ), sqlite3_column_int64(row, COLUMN_LO));
    spec->root = spec->id;
    struct task_spec other = {0}; /* collects the random halves of parent and root */
    const unsigned char *options = sqlite3_column_blob(row, COLUMN_OPTIONS);
    unpack_options(options, options ? (size_t)sqlite3_column_bytes(row, COLUMN_OPTIONS) : 0, &other);
    if (sqlite3_column_type(row, COLUMN_PARENT) != SQLITE_NULL)
        spec->parent = sqlite_id_of(sqlite3_column_int64(row, COLUMN_PARENT), (int64_t)other.parent.lo);
    if (sqlite3_column_type(row, COLUMN_ROOT) != SQLITE_NULL)
        spec->root = sqlite_id_of(sqlite3_column_int64(row, COLUMN_ROOT), (int64_t)other.root.lo);
    int64_t span = sqlite3_column_int64(row, COLUMN_PARENT_SPAN);
    memcpy(spec->parent_span, &span, sizeof span);
    struct sqlite_limits limits = sqlite_limits_unpack(sqlite3_column_int64(row, COLUMN_LIMITS));
    spec->max_attempts = limits.max_attempts;
    spec->max_lost = limits.max_lost;
    spec->priority = limits.priority;
    spec->unique_until_started = limits.unique_until_started;
    spec->created_us = sqlite3_column_int64(row, COLUMN_CREATED);
    spec->deadline_us = sqlite3_column_int64(row, COLUMN_DEADLINE);
    spec->expires_us = sqlite3_column_int64(row, COLUMN_EXPIRES);
    spec->retain_us = sqlite3_column_int64(row, COLUMN_RETAIN);
    spec->run_at_us = other.run_at_us;
    spec->timeout_us = other.timeout_us;
    spec->backoff = other.backoff;
    spec->unique_for_us = other.unique_for_us;
    *ret = spec;
    return SQLITE_OK;
}

int sqlite_outcome_read(int64_t stored, struct slice message, struct task_outcome **ret)
{
    uint64_t packed = (uint64_t)stored;
    if ((packed & 0xff) >= ERROR_TYPE_COUNT)
        return SQLITE_CORRUPT;
    struct task_outcome *outcome = task_outcome_failure((enum error_type)(packed & 0xff), message);
    if (!outcome)
        return SQLITE_NOMEM;
    outcome->has_exit_code = packed & HAS_EXIT_CODE;
    outcome->exit_code = outcome->has_exit_code ? (int)(uint32_t)(packed >> 32) : 0;
    outcome->signal_number = (int)(packed >> 9 & 0x7f);
    outcome->http_status = (int)(packed >> 16 & 0xffff);
    *ret = outcome;
    return SQLITE_OK;
}

static int read_outcome(sqlite3_stmt *row, const struct bodies *bodies, struct task_outcome **ret)
{
    if (sqlite3_column_type(row, COLUMN_OUTCOME) == SQLITE_NULL)
        return SQLITE_OK;
    struct task_outcome *outcome;
    int rc =
        sqlite_outcome_read(sqlite3_column_int64(row, COLUMN_OUTCOME), bodies->text[SQLITE_BODY_MESSAGE], &outcome);
    if (rc != SQLITE_OK)
        return rc;
    if (bodies->text[SQLITE_BODY_RESULT].len && !(outcome->result = blob_new(bodies->text[SQLITE_BODY_RESULT]))) {
        task_outcome_unref(outcome);
        return SQLITE_NOMEM;
    }
    *ret = outcome;
    return SQLITE_OK;
}

static int read_status(sqlite3_stmt *row, struct task_status *ret)
{
    int64_t state = sqlite3_column_int64(row, COLUMN_STATE);
    if (state < 0 || state >= TASK_STATE_COUNT)
        return SQLITE_CORRUPT;
    ret->state = (enum task_state)state;
    sqlite_tries_unpack(sqlite3_column_int64(row, COLUMN_TRIES), ret);
    ret->cancel_requested = sqlite3_column_int64(row, COLUMN_CANCEL) != 0;
    ret->run_at_us = sqlite3_column_int64(row, COLUMN_RUN_AT);
    ret->started_us = sqlite3_column_int64(row, COLUMN_STARTED);
    ret->finished_us = sqlite3_column_int64(row, COLUMN_FINISHED);
    bool reported = sqlite3_column_type(row, COLUMN_PROGRESS) != SQLITE_NULL;
    ret->progress = reported ? (float)sqlite3_column_double(row, COLUMN_PROGRESS) : -1;
    return SQLITE_OK;
}

int sqlite_row_read(sqlite3_stmt *row, sqlite3_stmt *payload, const struct sqlite_row_names *names,
                    struct task_record *ret)
{
    struct bodies bodies = {0};
    *ret = (struct task_record){0};
    int rc = gather(row, payload, &bodies);
    if (rc == SQLITE_OK)
        rc = read_status(row, &ret->status);
    if (rc == SQLITE_OK)
        rc = read_outcome(row, &bodies, &ret->outcome);
    if (rc == SQLITE_OK)
        rc = read_spec(row, &bodies, names, &ret->spec);
    bodies_release(&bodies);
    if (rc != SQLITE_OK)
        task_record_release(ret);
    return rc;
}
