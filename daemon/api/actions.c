/* Actions by filter: POST /v1/tasks:cancel, POST /v1/tasks:retry, POST /v1/tasks:delete, with the filters of the list.
 *
 * The reader finds ids, a page at a time; each page is changed in one go, which one commit takes, and then the next is
 * read: however many tasks match, neither memory nor the engine is held for long.  A call ends after `limit` tasks and
 * says where to go on.
 * Flow: on_cancel_all ... -> READ_LIST (ids) -> answer_found -> bulk.c -> answer_changed -> READ_LIST ... -> reply. */
#include <stdlib.h>

#include "api/bulk.h"
#include "api/calls.h"
#include "api/cursor.h"
#include "api/list_query.h"
#include "proto/json_out.h"

#define LIMIT_DEFAULT 1000u
#define LIMIT_MAX 10000u
#define READS_MAX 200u /* pages that are read for one call: each may look at thousands of rows that do not match */

static const char *const known[] = {LIST_FILTERS, "limit", "cursor", "all", "dry_run", NULL};

struct action {
    struct api_call call; /* first */
    struct params params; /* the query's slices lie in here */
    struct buf binding;
    struct bulk *bulk; /* under way; NULL: none */
    struct list_query query;
    enum engine_call_kind kind;
    enum task_event event; /* what must be possible; of a deletion: none */
    unsigned limit, reads;
    unsigned matched, changed, conflicts;
    struct task_id next; /* where a later call goes on; none: nothing is left */
    bool dry_run;
};

static void release_action(struct api_call *call)
{
    struct action *action = (struct action *)call;
    bulk_free(action->bulk);
    params_release(&action->params);
    buf_release(&action->binding);
    free(action);
}

/* ---- the reply ---- */

static bool reply_counts(struct action *action, struct http_exchange *exchange, const struct problem *stopped)
{
    struct buf *body = scratch(), text = BUF_INIT;
    struct json_out j = json_out_to(body);
    char cursor[CURSOR_TEXT_SIZE];
    bool more = !task_id_is_none(action->next) && cursor_format(action->next, buf_slice(&action->binding), cursor);
    json_out_begin_object(&j);
    json_out_member_i64(&j, "matched", action->matched);
    json_out_member_i64(&j, "changed", action->changed);
    json_out_member_i64(&j, "conflicts", action->conflicts);
    json_out_key(&j, "more");
    json_out_bool(&j, more || stopped);
    if (more)
        json_out_member(&j, "next_cursor", slice_str(cursor));
    if (stopped) {
        problem_to_json(stopped, &text);
        json_out_key(&j, "stopped");
        json_out_raw(&j, buf_slice(&text));
    }
    json_out_end_object(&j);
    body->failed = body->failed || text.failed;
    struct reply reply;
    call_reply_begin(&action->call, exchange, &reply);
    reply_buffer(&reply, 200, body);
    buf_release(&text);
    return true;
}

/* The engine takes no more for now: what has been changed stays so, and is told. */
static bool reply_stopped(struct action *action, struct http_exchange *exchange, const struct engine_call *refused)
{
    struct problem problem = {0};
    engine_call_problem(refused, action->call.tenant, &problem);
    if (action->changed)
        return reply_counts(action, exchange, &problem);
    struct reply reply;
    call_reply_begin(&action->call, exchange, &reply);
    reply_problem(&reply, &problem);
    return true;
}

/* ---- finding and changing ---- */

static bool is_possible(const struct action *action, enum task_state state)
{
    enum task_state to;
    if (action->kind == ENGINE_DELETE)
        return task_state_final(state);
    if (action->kind == ENGINE_CANCEL)
        return !task_state_final(state);
    return task_state_next(state, action->event, &to);
}

static bool answer_found(struct api_call *call, struct http_exchange *exchange);

static bool read_on(struct action *action, struct http_exchange *exchange)
{
    struct api_call *call = &action->call;
    unsigned left = action->limit - action->matched;
    if (action->reads && (task_id_is_none(action->next) || !left || action->reads == READS_MAX))
        return reply_counts(action, exchange, NULL);
    action->reads++;
    action->query.before = action->reads == 1 ? action->query.before : action->next;
    action->query.limit = left < BULK_MAX ? left : BULK_MAX;
    if (call->holds != CALL_READER) {
        call->holds = CALL_READER;
        call->read = (struct read_call){0};
    }
    call->read.query = action->query;
    call->answer = answer_found;
    call_post_reader(call, exchange, READ_LIST);
    return false;
}

/* What a later call may succeed with ends this one. */
static bool is_refusal(enum engine_result result)
{
    return result == ENGINE_QUOTA || result == ENGINE_DRAINING || result == ENGINE_DRAINED || result == ENGINE_STORE_FULL ||
           result == ENGINE_STORE_FAILED;
}

static bool answer_changed(struct api_call *call, struct http_exchange *exchange)
{
    struct action *action = (struct action *)call;
    const struct engine_call *refused = NULL;
    for (size_t i = 0; i < action->bulk->n; i++) {
        const struct engine_call *one = &action->bulk->items[i].call;
        if (one->result == ENGINE_OK)
            action->changed++;
        else if (is_refusal(one->result))
            refused = one;
        else
            action->conflicts++; /* it has gone on since it was read */
    }
    if (refused)
        return reply_stopped(action, exchange, refused);
    bulk_free(action->bulk);
    action->bulk = NULL;
    return read_on(action, exchange);
}

static bool answer_found(struct api_call *call, struct http_exchange *exchange)
{
    struct action *action = (struct action *)call;
    const struct read_call *read = &call->read;
    size_t n = 0;
    if (read->result != STORE_OK) {
        call_reply_read_failed(call, exchange);
        return true;
    }
    action->next = read->next;
    for (size_t i = 0; i < read->n; i++)
        n += is_possible(action, read->found[i].state);
    action->matched += (unsigned)n;
    if (n == 0 || action->dry_run)
        return read_on(action, exchange);
    action->bulk = bulk_new(call, n);
    if (!action->bulk) {
        call_reply_read_failed(call, exchange);
        return true;
    }
    for (size_t i = 0, at = 0; i < read->n; i++) {
        if (!is_possible(action, read->found[i].state))
            continue;
        struct engine_call *one = &action->bulk->items[at++].call;
        one->kind = action->kind;
        one->id = read->found[i].id;
        memcpy(one->tenant, call->tenant, sizeof one->tenant);
    }
    call->answer = answer_changed;
    bulk_post(action->bulk);
    return false;
}

/* ---- the request ---- */

static bool read_flag(const struct params *params, const char *name, bool *ret, struct problem *reterr)
{
    struct slice value = params_get(params, name);
    *ret = value.data && slice_eq_str(value, "true");
    if (!value.data || *ret || slice_eq_str(value, "false"))
        return true;
    problem_set(reterr, PROBLEM_INVALID_PARAMETER, "Query parameter \"%s\": it must be true or false.", name);
    return false;
}

static bool read_request(struct action *action, struct slice query, struct problem *reterr)
{
    static const char *const words[] = {
        [ENGINE_CANCEL] = "canceled", [ENGINE_RETRY] = "run again", [ENGINE_DELETE] = "deleted"};
    bool all, filtered;
    action->query = (struct list_query){.limit = LIMIT_DEFAULT, .ids_only = true};
    if (params_parse(query, known, &action->params, reterr) < 0 ||
        list_query_read(&action->params, action->call.tenant, LIMIT_MAX, &action->binding, &action->query, reterr) <
            0 ||
        !read_flag(&action->params, "all", &all, reterr) ||
        !read_flag(&action->params, "dry_run", &action->dry_run, reterr))
        return false;
    filtered = list_query_is_filtered(&action->params);
    action->limit = action->query.limit;
    action->query.tenant = slice_str(action->call.tenant);
    if (filtered == all)
        problem_set(reterr, PROBLEM_INVALID_PARAMETER, "%s",
                    all ? "all=true and a filter contradict each other; leave one of them out."
                        : "Say which tasks: give at least one filter, or all=true.");
    else if (action->query.has_state && !is_possible(action, action->query.state))
        problem_set(reterr, PROBLEM_INVALID_PARAMETER, "Query parameter \"state\": tasks that are %s cannot be %s.",
                    task_state_name(action->query.state), words[action->kind]);
    else
        return true;
    return false;
}

static void act(struct visit *visit, enum engine_call_kind kind)
{
    struct problem problem = {0};
    struct action *action = (struct action *)call_new(visit, sizeof *action, NULL);
    if (!action)
        return;
    action->call.release = release_action;
    action->kind = kind;
    action->event = TASK_EVENT_RETRY;
    if (!read_request(action, visit->request->query, &problem)) {
        visit_fail(visit, &problem);
        call_release(&action->call);
        return;
    }
    (void)read_on(action, visit->exchange);
}

void on_cancel_all(struct visit *visit)
{
    if (visit_has_no_body(visit))
        act(visit, ENGINE_CANCEL);
}

void on_retry_all(struct visit *visit)
{
    if (visit_has_no_body(visit))
        act(visit, ENGINE_RETRY);
}

void on_delete_all(struct visit *visit)
{
    if (visit_has_no_body(visit))
        act(visit, ENGINE_DELETE);
}
