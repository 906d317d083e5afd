/* Reading for answers from SQLite: single tasks, tombstones and pages of lists, on a read-only connection.
 *
 * A list goes from the newest to older ones along one path (an index, or the rows themselves), looks at no more than
 * READ_EXAMINED_MAX rows, or for READ_SEARCH_NS while it has found nothing, and fetches whole only what matches.  Where
 * it stops early it says where to go on.  The tenant is part of every WHERE.
 * Thread: the reader's; reader.c calls in. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "store/read_source.h"
#include "store/sqlite_beside.h"
#include "store/sqlite_match.h"
#include "store/sqlite_row.h"

enum path { PATH_ALL, PATH_TENANT, PATH_PARENT, PATH_ROOT, PATH_GROUP, PATH_WAITING, PATH_COUNT };

/* ?1: only older ones; ?2: the tenant, NULL: any; ?3: parent, root, group or state */
#define SCAN "SELECT seq, lo, name, state FROM task "
#define OF_TENANT " AND (?2 IS NULL OR tenant = ?2) "
static const char *const path_texts[] = {
    [PATH_ALL] = SCAN "WHERE seq < ?1" OF_TENANT "ORDER BY seq DESC",
    /* the few that are not listed yet, then the listing */
    [PATH_TENANT] = SCAN "WHERE seq < ?1 AND seq > (SELECT upto FROM listed) AND tenant = ?2"
                         " UNION ALL SELECT listing.seq, task.lo, task.name, task.state FROM listing CROSS JOIN task"
                         " ON task.seq = listing.seq WHERE listing.tenant = ?2 AND listing.seq < ?1 ORDER BY 1 DESC",
    [PATH_PARENT] = SCAN "INDEXED BY task_parent WHERE parent = ?3 AND seq < ?1" OF_TENANT "ORDER BY seq DESC",
    [PATH_ROOT] = SCAN "INDEXED BY task_root WHERE root = ?3 AND seq < ?1" OF_TENANT "UNION ALL " SCAN
                       "WHERE seq = ?3 AND seq < ?1" OF_TENANT "ORDER BY 1 DESC",
    [PATH_GROUP] = SCAN "INDEXED BY task_group WHERE tenant = ?2 AND grp = ?3 AND seq < ?1 ORDER BY seq DESC",
    [PATH_WAITING] =
        SCAN "INDEXED BY task_waiting WHERE late IS NOT NULL AND state < 3 AND state = ?3 AND seq < ?1" OF_TENANT
             "UNION ALL " SCAN "NOT INDEXED WHERE seq > (SELECT waits FROM listed) AND late IS NULL AND state = ?3"
             " AND seq < ?1" OF_TENANT "ORDER BY 1 DESC",
};

#define CREATED_OFF_US INT64_C(60000000) /* how far the clock may have been set back between two submissions */

/* With no more unfinished tasks than this, those of one state are sorted out of their index: exact and quick however
 * long the history is.  With more of them, the newest ones are near anyway; but not those that run, which are few and
 * have waited longest, so they are always sorted out. */
#define WAITING_SORT_MAX "50001"

enum {
    FIND_TENANT,
    FIND_NAME,
    GET,
    NOTE,
    HISTORY,
    LOG,
    TOMBSTONE,
    TEXTS,
    PAYLOAD,
    BEGIN,
    END,
    MANY_WAITING,
    SINGLE_COUNT
};
static const char *const single_texts[] = {
    [FIND_TENANT] = "SELECT no FROM tenant WHERE text = ?1",
    [FIND_NAME] = "SELECT no FROM name WHERE text = ?1",
    [GET] = SQLITE_TASK_SELECT "WHERE seq = ?1 AND lo = ?3" OF_TENANT,
    [NOTE] = SQLITE_NOTE_SELECT,
    [HISTORY] = SQLITE_HISTORY_SELECT,
    [LOG] = SQLITE_LOG_SELECT,
    [TOMBSTONE] = "SELECT state, tries, run_at, started, finished FROM tombstone WHERE seq = ?1 AND lo = ?3" OF_TENANT,
    [TEXTS] = "SELECT labels, context, aside, created, finished, outcome, grp FROM task WHERE seq = ?1",
    [PAYLOAD] = SQLITE_PAYLOAD_SELECT,
    [BEGIN] = "BEGIN",
    [END] = "COMMIT",
    [MANY_WAITING] =
        "SELECT count(*) FROM (SELECT 1 FROM task INDEXED BY task_waiting WHERE late IS NOT NULL AND state < 3"
        " LIMIT " WAITING_SORT_MAX ")",
};

struct source {
    struct read_source base;
    sqlite3 *db;
    sqlite3_stmt *single[SINGLE_COUNT], *paths[PATH_COUNT];
    int64_t until_ns; /* of the read in progress */
};

struct scan { /* one list in progress */
    struct source *source;
    struct read_call *call;
    bool has_tenant, has_name, has_texts;
    int64_t tenant, name;
    bool past; /* the walk has come to what is too old */
    size_t bytes, limit;
    unsigned examined;
    int64_t started_ns;
};

/* ---- small reads ---- */

static int on_progress(void *arg)
{
    const struct source *source = arg;
    return clock_mono_ns() > source->until_ns;
}

/* SQLITE_ROW with the number, SQLITE_DONE where the text has none, or an error. */
static int find_number(sqlite3_stmt *stmt, struct slice text, int64_t *ret)
{
    (void)sqlite3_bind_text64(stmt, 1, text.data, text.len, SQLITE_STATIC, SQLITE_UTF8);
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        *ret = sqlite3_column_int64(stmt, 0);
    int reset = sqlite3_reset(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? rc : reset;
}

static void bind_tenant(sqlite3_stmt *stmt, bool has_tenant, int64_t tenant)
{
    if (has_tenant)
        (void)sqlite3_bind_int64(stmt, 2, tenant);
    else
        (void)sqlite3_bind_null(stmt, 2);
}

static int get(struct source *source, struct task_id id, bool has_tenant, int64_t tenant, struct task_record *ret)
{
    sqlite3_stmt *stmt = source->single[GET];
    (void)sqlite3_bind_int64(stmt, 1, sqlite_id_seq(id));
    (void)sqlite3_bind_int64(stmt, 3, sqlite_id_lo(id));
    bind_tenant(stmt, has_tenant, tenant);
    int rc = sqlite3_step(stmt);
    int read = rc == SQLITE_ROW ? sqlite_row_read(stmt, source->single[PAYLOAD], NULL, ret) : SQLITE_OK;
    int reset = sqlite3_reset(stmt);
    if (rc == SQLITE_ROW)
        return read == SQLITE_OK ? SQLITE_ROW : read;
    return rc == SQLITE_DONE ? rc : reset;
}

static int get_tombstone(struct source *source, const struct read_call *call, bool has_tenant, int64_t tenant,
                         struct task_status *ret)
{
    sqlite3_stmt *stmt = source->single[TOMBSTONE];
    (void)sqlite3_bind_int64(stmt, 1, sqlite_id_seq(call->id));
    (void)sqlite3_bind_int64(stmt, 3, sqlite_id_lo(call->id));
    bind_tenant(stmt, has_tenant, tenant);
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        int64_t state = sqlite3_column_int64(stmt, 0);
        *ret = (struct task_status){.state = (enum task_state)state, .progress = -1};
        sqlite_tries_unpack(sqlite3_column_int64(stmt, 1), ret);
        ret->run_at_us = sqlite3_column_int64(stmt, 2);
        ret->started_us = sqlite3_column_int64(stmt, 3);
        ret->finished_us = sqlite3_column_int64(stmt, 4);
        if (state < 0 || state >= TASK_STATE_COUNT)
            rc = SQLITE_CORRUPT;
    }
    int reset = sqlite3_reset(stmt);
    return rc == SQLITE_ROW || rc == SQLITE_DONE || rc == SQLITE_CORRUPT ? rc : reset;
}

static enum store_result find_task(struct source *source, struct read_call *call)
{
    bool has_tenant = call->tenant.data != NULL;
    int64_t tenant = 0;
    int rc = has_tenant ? find_number(source->single[FIND_TENANT], call->tenant, &tenant) : SQLITE_ROW;
    if (rc == SQLITE_DONE)
        return STORE_NOT_FOUND; /* a tenant that we do not know has neither tasks nor tombstones */
    if (rc == SQLITE_ROW)
        rc = get(source, call->id, has_tenant, tenant, &call->record);
    if (rc == SQLITE_DONE) {
        rc = get_tombstone(source, call, has_tenant, tenant, &call->record.status);
        call->gone = rc == SQLITE_ROW;
        if (rc == SQLITE_ROW || rc == SQLITE_DONE)
            return STORE_NOT_FOUND;
    }
    return sqlite_db_result(rc);
}

/* What lies beside the row, as far as it is asked for. */
static int find_beside(struct source *source, struct read_call *call)
{
    int64_t seq = sqlite_id_seq(call->id);
    int rc = SQLITE_OK;
    if (call->record.status.progress >= 0)
        rc = sqlite_beside_note(source->single[NOTE], seq, &call->record.note);
    if (rc == SQLITE_OK && call->with_history)
        rc = sqlite_beside_history(source->single[HISTORY], seq, &call->history);
    if (rc == SQLITE_OK && call->with_log)
        rc = sqlite_beside_log(source->single[LOG], seq, call);
    return rc;
}

static void read_task(struct read_source *base, struct read_call *call)
{
    struct source *source = (struct source *)base;
    source->until_ns = clock_mono_ns() + READ_TIME_NS;
    call->result = find_task(source, call);
    if (call->result != STORE_OK)
        return;
    call->result = sqlite_db_result(find_beside(source, call));
    if (call->result != STORE_OK) {
        task_record_release(&call->record);
        task_history_release(&call->history);
        buf_release(&call->log);
    }
}

/* ---- lists ---- */

struct texts {
    const struct list_query *query;
    bool label, trace, request, rest; /* what is asked for and was not seen to differ */
};

static void match_labels(struct texts *texts, struct slice labels)
{
    const struct list_query *query = texts->query;
    texts->label = !query->label_key.data || match_label(labels, query->label_key, query->label_value);
}

static void match_context(struct texts *texts, struct slice context)
{
    const struct list_query *query = texts->query;
    texts->trace = !query->trace_id.data || match_trace_id(context, query->trace_id);
    texts->request = !query->request_id.data || match_request_id(context, query->request_id);
}

/* False: what is asked for differs.  *ret_past: the task is older than what is asked for, and so are all that follow. */
static bool match_columns(const struct list_query *query, sqlite3_stmt *row, bool *ret_past)
{
    int64_t created = sqlite3_column_int64(row, 3), finished = sqlite3_column_int64(row, 4);
    int64_t error = sqlite3_column_int64(row, 5) & 0xff; /* of no outcome: ERROR_TYPE_NONE */
    *ret_past = query->created_after_us && created < query->created_after_us - CREATED_OFF_US;
    return (!query->created_after_us || created > query->created_after_us) &&
           (!query->created_before_us || created < query->created_before_us) &&
           (!query->finished_before_us || (finished && finished < query->finished_before_us)) &&
           (!query->has_error || error == (int64_t)query->error) &&
           (!query->group.data || slice_eq(sqlite_column_slice(row, 6), query->group));
}

/* Those of the two that are too large for the row. */
static int match_aside(struct texts *texts, sqlite3_stmt *payload, int64_t seq, unsigned aside)
{
    (void)sqlite3_bind_int64(payload, 1, sqlite_payload_key(seq, SQLITE_BODY_CONTEXT));
    (void)sqlite3_bind_int64(payload, 2, sqlite_payload_key(seq, SQLITE_BODY_LABELS));
    int rc;
    while ((rc = sqlite3_step(payload)) == SQLITE_ROW) {
        int kind = sqlite3_column_int(payload, 0);
        if (kind == SQLITE_BODY_LABELS && aside & 1u << SQLITE_BODY_LABELS)
            match_labels(texts, sqlite_column_slice(payload, 1));
        if (kind == SQLITE_BODY_CONTEXT && aside & 1u << SQLITE_BODY_CONTEXT)
            match_context(texts, sqlite_column_slice(payload, 1));
    }
    int reset = sqlite3_reset(payload);
    return rc == SQLITE_DONE ? SQLITE_OK : reset;
}

static int texts_match(struct scan *scan, int64_t seq, bool *ret)
{
    struct texts texts = {.query = &scan->call->query};
    sqlite3_stmt *stmt = scan->source->single[TEXTS];
    (void)sqlite3_bind_int64(stmt, 1, seq);
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        match_labels(&texts, sqlite_column_slice(stmt, 0));
        match_context(&texts, sqlite_column_slice(stmt, 1));
        texts.rest = match_columns(&scan->call->query, stmt, &scan->past);
        unsigned aside = (unsigned)sqlite3_column_int(stmt, 2);
        if (aside & (1u << SQLITE_BODY_LABELS | 1u << SQLITE_BODY_CONTEXT))
            rc = match_aside(&texts, scan->source->single[PAYLOAD], seq, aside);
    }
    *ret = texts.label && texts.trace && texts.request && texts.rest;
    int reset = sqlite3_reset(stmt);
    if (reset != SQLITE_OK)
        return reset;
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int row_matches(struct scan *scan, sqlite3_stmt *row, bool *ret)
{
    const struct list_query *query = &scan->call->query;
    *ret = (!scan->has_name || sqlite3_column_int64(row, 2) == scan->name) &&
           (!query->has_state || sqlite3_column_int64(row, 3) == (int64_t)query->state);
    if (!*ret || !scan->has_texts)
        return SQLITE_OK;
    *ret = false;
    return texts_match(scan, sqlite3_column_int64(row, 0), ret);
}

static size_t record_bytes(const struct task_record *record)
{
    size_t bytes = record->spec ? record->spec->size : 0;
    if (record->outcome)
        bytes += sizeof *record->outcome + strlen(record->outcome->message) + blob_slice(record->outcome->result).len;
    return bytes;
}

/* Adds a matching task.  False: it does not fit this page (it will begin the next one). */
static int add(struct scan *scan, struct task_id id, enum task_state state, bool *ret_added)
{
    *ret_added = true;
    struct read_call *call = scan->call;
    if (call->query.ids_only) {
        call->found[call->n++] = (struct list_found){id, state};
        return SQLITE_OK;
    }
    struct task_record *record = &call->records[call->n];
    int rc = get(scan->source, id, scan->has_tenant, scan->tenant, record);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_OK : rc;
    size_t bytes = record_bytes(record);
    if (call->n > 0 && scan->bytes + bytes > READ_PAGE_BYTES) {
        task_record_release(record);
        *ret_added = false;
        return SQLITE_OK;
    }
    scan->bytes += bytes;
    call->n++;
    return SQLITE_OK;
}

/* It has looked at enough rows.  Of a page that is still empty it makes the client ask again only where going on would
 * keep other readers waiting. */
static bool looked_enough(const struct scan *scan)
{
    return scan->examined >= READ_EXAMINED_MAX && scan->examined % READ_EXAMINED_MAX == 0 &&
           (scan->call->n > 0 || clock_mono_ns() - scan->started_ns > READ_SEARCH_NS);
}

/* Goes along the path.  SQLITE_OK: the page is made; call->next says where the next one begins. */
static int walk(struct scan *scan, sqlite3_stmt *path)
{
    struct read_call *call = scan->call;
    struct task_id last = {0, 0}; /* the last one that was dealt with */
    int rc;
    while ((rc = sqlite3_step(path)) == SQLITE_ROW) {
        struct task_id id = sqlite_id_of(sqlite3_column_int64(path, 0), sqlite3_column_int64(path, 1));
        if (call->n == scan->limit || looked_enough(scan)) {
            call->next = last;
            return SQLITE_OK;
        }
        bool matches, added = true;
        int found = row_matches(scan, path, &matches);
        if (found == SQLITE_OK && matches)
            found = add(scan, id, (enum task_state)sqlite3_column_int(path, 3), &added);
        if (found != SQLITE_OK) {
            rc = found;
            break;
        }
        if (!added) {
            call->next = last;
            return SQLITE_OK;
        }
        last = id;
        scan->examined++;
        if (scan->past)
            return SQLITE_OK;
    }
    if (rc == SQLITE_DONE)
        return SQLITE_OK;
    if ((rc & 0xff) == SQLITE_INTERRUPT && !task_id_is_none(last)) { /* its time is up: what it has is an answer */
        call->next = last;
        return SQLITE_OK;
    }
    return rc;
}

static int choose_path(struct source *source, const struct list_query *query, bool has_tenant, enum path *ret)
{
    *ret = has_tenant ? PATH_TENANT : PATH_ALL;
    if (!task_id_is_none(query->parent)) {
        *ret = PATH_PARENT;
    } else if (!task_id_is_none(query->root)) {
        *ret = PATH_ROOT;
    } else if (query->group.data && has_tenant) {
        *ret = PATH_GROUP;
    } else if (query->has_state && query->state == TASK_RUNNING) {
        *ret = PATH_WAITING;
    } else if (query->has_state && !task_state_final(query->state)) {
        sqlite3_stmt *stmt = source->single[MANY_WAITING];
        int rc = sqlite3_step(stmt);
        if (rc == SQLITE_ROW && sqlite3_column_int64(stmt, 0) < atoi(WAITING_SORT_MAX))
            *ret = PATH_WAITING;
        int reset = sqlite3_reset(stmt);
        return rc == SQLITE_ROW ? SQLITE_OK : reset;
    }
    return SQLITE_OK;
}

static void bind_path(sqlite3_stmt *stmt, enum path path, const struct scan *scan)
{
    const struct list_query *query = &scan->call->query;
    int64_t before = task_id_is_none(query->before) ? INT64_MAX : sqlite_id_seq(query->before);
    if (query->created_before_us) { /* what is younger need not be looked at: the sequence begins with the time */
        int64_t youngest = ((query->created_before_us + CREATED_OFF_US) / 1000) << 12;
        before = youngest < before ? youngest : before;
    }
    (void)sqlite3_bind_int64(stmt, 1, before);
    bind_tenant(stmt, scan->has_tenant, scan->tenant);
    if (path == PATH_PARENT)
        (void)sqlite3_bind_int64(stmt, 3, sqlite_id_seq(query->parent));
    else if (path == PATH_ROOT)
        (void)sqlite3_bind_int64(stmt, 3, sqlite_id_seq(query->root));
    else if (path == PATH_GROUP)
        sqlite_db_bind_text(stmt, 3, query->group);
    else if (path == PATH_WAITING)
        (void)sqlite3_bind_int64(stmt, 3, query->state);
}

static int list(struct source *source, struct scan *scan)
{
    const struct list_query *query = &scan->call->query;
    if (query->tenant.data) {
        int rc = find_number(source->single[FIND_TENANT], query->tenant, &scan->tenant);
        if (rc != SQLITE_ROW)
            return rc == SQLITE_DONE ? SQLITE_OK : rc;
        scan->has_tenant = true;
    }
    if (query->name.data) {
        int rc = find_number(source->single[FIND_NAME], query->name, &scan->name);
        if (rc != SQLITE_ROW)
            return rc == SQLITE_DONE ? SQLITE_OK : rc;
        scan->has_name = true;
    }
    scan->has_texts = query->label_key.data || query->trace_id.data || query->request_id.data || query->group.data ||
                      query->has_error || query->created_after_us || query->created_before_us ||
                      query->finished_before_us;
    scan->limit = query->limit < 1 ? 1 : query->limit > READ_LIMIT_MAX ? READ_LIMIT_MAX : query->limit;
    if (query->ids_only)
        scan->call->found = calloc(scan->limit, sizeof *scan->call->found);
    else
        scan->call->records = calloc(scan->limit, sizeof *scan->call->records);
    if (!scan->call->found && !scan->call->records)
        return SQLITE_NOMEM;
    enum path path;
    int rc = choose_path(source, query, scan->has_tenant, &path);
    if (rc != SQLITE_OK)
        return rc;
    bind_path(source->paths[path], path, scan);
    rc = walk(scan, source->paths[path]);
    (void)sqlite3_reset(source->paths[path]);
    return rc;
}

static void read_list(struct read_source *base, struct read_call *call)
{
    struct source *source = (struct source *)base;
    source->until_ns = clock_mono_ns() + READ_TIME_NS;
    struct scan scan = {.source = source, .call = call, .started_ns = clock_mono_ns()};
    int rc = list(source, &scan);
    call->result = sqlite_db_result(rc);
    if (call->result == STORE_OK)
        return;
    for (size_t i = 0; call->records && i < call->n; i++)
        task_record_release(&call->records[i]);
    free(call->records);
    free(call->found);
    call->records = NULL;
    call->found = NULL;
    call->n = 0;
    call->next = (struct task_id){0, 0};
}

/* ---- the connection ---- */

static enum store_result begin(struct read_source *base)
{
    struct source *source = (struct source *)base;
    source->until_ns = INT64_MAX;
    int rc = sqlite_db_run(source->single[BEGIN]);
    return sqlite_db_result(rc);
}

static void end(struct read_source *base)
{
    struct source *source = (struct source *)base;
    source->until_ns = INT64_MAX;
    (void)sqlite_db_run(source->single[END]);
    if (!sqlite3_get_autocommit(source->db))
        (void)sqlite_db_exec(source->db, "ROLLBACK");
}

static void close_source(struct read_source *base)
{
    struct source *source = (struct source *)base;
    for (int i = 0; i < SINGLE_COUNT; i++)
        (void)sqlite3_finalize(source->single[i]);
    for (int i = 0; i < PATH_COUNT; i++)
        (void)sqlite3_finalize(source->paths[i]);
    (void)sqlite3_close(source->db);
    free(source);
}

static const struct read_source_ops ops = {
    .close = close_source,
    .begin = begin,
    .end = end,
    .task = read_task,
    .list = read_list,
};

int sqlite_source_open(const struct store_options *options, struct read_source **ret, char *error, size_t error_size)
{
    struct sqlite_store_path path;
    if (sqlite_db_path(options->url, &path, error, error_size) < 0)
        return -1;
    struct source *source = calloc(1, sizeof *source);
    if (!source) {
        (void)snprintf(error, error_size, "reader: no memory");
        return -1;
    }
    source->base.ops = &ops;
    source->until_ns = INT64_MAX;
    if (sqlite_db_open_reader(&path, &source->db, error, error_size) < 0) {
        free(source);
        return -1;
    }
    int rc = SQLITE_OK;
    for (int i = 0; rc == SQLITE_OK && i < SINGLE_COUNT; i++)
        rc = sqlite_db_prepare(source->db, single_texts[i], &source->single[i]);
    for (int i = 0; rc == SQLITE_OK && i < PATH_COUNT; i++)
        rc = sqlite_db_prepare(source->db, path_texts[i], &source->paths[i]);
    if (rc != SQLITE_OK) {
        sqlite_db_explain(source->db, rc, path.text, error, error_size);
        close_source(&source->base);
        return -1;
    }
    sqlite3_progress_handler(source->db, 20000, on_progress, source);
    *ret = &source->base;
    return 0;
}
