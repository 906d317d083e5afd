/* One task: get, result, cancel, retry, delete.
 *
 * A read looks into the cache of finished tasks first; one that waits then asks the engine, which knows every
 * unfinished task, and whatever neither knows is read from the store.
 * Flow: dispatch.c -> on_* -> calls.c -> answer_*. */
#include <stdio.h>

#include "api/calls.h"
#include "api/cascade.h"
#include "api/fields.h"
#include "api/params.h"
#include "api/wait.h"
#include "proto/timetext.h"

/* ---- views of a task ---- */

static void reply_result(struct reply *reply, const struct task_record *record, const char *node)
{
    const struct task_outcome *outcome = record->outcome;
    enum task_state state = record->status.state;
    if (!task_state_final(state)) {
        reply_retry_after(reply, 1);
        reply_task(reply, 202, record, node);
        return;
    }
    if (state == TASK_SUCCEEDED) {
        struct slice result = outcome ? blob_slice(outcome->result) : (struct slice){0};
        reply_json(reply, 200, result.len ? result : SLICE_LITERAL("null"));
        return;
    }
    struct problem problem = {0};
    if (state != TASK_CANCELED && outcome && outcome->error != ERROR_TYPE_NONE)
        problem_set(&problem, PROBLEM_STATE_CONFLICT, "The task %s and has no result: %s: %.160s",
                    task_state_name(state), error_type_name(outcome->error), outcome->message);
    else
        problem_set(&problem, PROBLEM_STATE_CONFLICT, "The task is %s and has no result.", task_state_name(state));
    reply_problem_task(reply, &problem, record->spec->id, &record->status);
}

static void reply_view(struct api_call *call, struct http_exchange *exchange, const struct task_record *record)
{
    struct reply reply;
    char applied[32];
    call_reply_begin(call, exchange, &reply);
    reply_field(&reply, "Vary", SLICE_LITERAL("Prefer"));
    if (call->prefer_wait_s >= 0) {
        int len = snprintf(applied, sizeof applied, "wait=%lld", (long long)call->prefer_wait_s);
        reply_field(&reply, "Preference-Applied", slice_of(applied, (size_t)len));
    }
    if (call->view == VIEW_RESULT)
        reply_result(&reply, record, call->api->node);
    else if (call->with_history)
        reply_task_history(&reply, 200, record, &call->read.history, call->api->node);
    else
        reply_task(&reply, 200, record, call->api->node);
}

/* ---- reading ---- */

static bool answer_read(struct api_call *call, struct http_exchange *exchange)
{
    if (call->read.result == STORE_OK && call->read.record.spec)
        reply_view(call, exchange, &call->read.record);
    else
        call_reply_unread(call, exchange);
    return true;
}

static bool view_recent(struct api_call *call, struct http_exchange *exchange)
{
    struct task_record record;
    if (!engine_recent(call->api->engine, call->id, call_tenant(call), &record))
        return false;
    reply_view(call, exchange, &record);
    task_record_release(&record);
    return true;
}

static bool answer_wait(struct api_call *call, struct http_exchange *exchange)
{
    if (call->with_history) { /* the engine does not know the earlier attempts */
        call->answer = answer_read;
        call_post_reader(call, exchange, READ_TASK);
        return false;
    }
    switch (call->engine.result) {
    case ENGINE_OK: reply_view(call, exchange, &call->engine.record); return true;
    case ENGINE_NOT_LIVE: /* finished, or never there */
    case ENGINE_NOT_FOUND:
    case ENGINE_DRAINING:
    case ENGINE_DRAINED:
        if (view_recent(call, exchange))
            return true;
        call->answer = answer_read;
        call_post_reader(call, exchange, READ_TASK);
        return false;
    case ENGINE_REPLAYED:
    case ENGINE_KEY_MISMATCH:
    case ENGINE_KEY_GONE:
    case ENGINE_NO_PARENT:
    case ENGINE_NO_PREDECESSOR:
    case ENGINE_NOT_UNIQUE:
    case ENGINE_CONFLICT:
    case ENGINE_QUOTA:
    case ENGINE_STORE_FULL:
    case ENGINE_STORE_FAILED:
    default: call_reply_refused(call, exchange); return true;
    }
}

struct view_options {
    int64_t wait_ns, prefer_s; /* prefer_s negative: no preference was applied */
    bool attempts;
};

/* NULL, or what is wrong with the value of `wait` or `attempts`. */
static const char *read_options(struct visit *visit, const struct params *params, struct view_options *ret)
{
    struct preferences prefer;
    struct slice wait = params_get(params, "wait"), attempts = params_get(params, "attempts");
    int64_t us;
    ret->wait_ns = 0;
    ret->prefer_s = -1;
    ret->attempts = attempts.data && slice_eq_str(attempts, "true");
    if (attempts.data && !ret->attempts && !slice_eq_str(attempts, "false"))
        return "Query parameter \"attempts\": it must be true or false.";
    if (wait.data && !duration_parse(wait.data, wait.len, &us))
        return "Query parameter \"wait\": it must be a duration, such as 30s or 500ms, or a number of seconds.";
    prefer_read(visit->request, &prefer);
    if (wait.data) /* the query counts before the header */
        ret->wait_ns = wait_of_duration(visit->config, us);
    else if (prefer.has_wait)
        ret->wait_ns = wait_of_preference(visit->config, &prefer, &ret->prefer_s);
    return NULL;
}

/* False: replied. */
static bool read_query(struct visit *visit, enum call_view view, struct view_options *ret)
{
    static const char *const of_task[] = {"wait", "attempts", NULL}, *const of_result[] = {"wait", NULL};
    struct params params;
    struct problem problem = {0};
    if (!visit_read_query(visit, view == VIEW_TASK ? of_task : of_result, &params))
        return false;
    const char *wrong = read_options(visit, &params, ret);
    params_release(&params);
    if (!wrong)
        return true;
    problem_set(&problem, PROBLEM_INVALID_PARAMETER, "%s", wrong);
    visit_fail(visit, &problem);
    return false;
}

static void read_task(struct visit *visit, enum call_view view)
{
    struct task_id id;
    struct view_options options;
    if (!read_query(visit, view, &options) || !visit_read_id(visit, &id))
        return;
    struct api_call *call = call_new(visit, sizeof *call, options.wait_ns > 0 ? answer_wait : answer_read);
    if (!call)
        return;
    call->id = id;
    call->view = view;
    call->prefer_wait_s = options.prefer_s;
    call->with_history = options.attempts;
    if (!options.attempts && view_recent(call, visit->exchange))
        call_release(call);
    else if (options.wait_ns > 0)
        call_post_engine(call, visit->exchange, ENGINE_WAIT, options.wait_ns);
    else
        call_post_reader(call, visit->exchange, READ_TASK);
}

void on_get(struct visit *visit)
{
    read_task(visit, VIEW_TASK);
}

void on_result(struct visit *visit)
{
    read_task(visit, VIEW_RESULT);
}

/* ---- changing ---- */

static void reply_conflict(struct api_call *call, struct http_exchange *exchange)
{
    static const char *const rules[] = {
        [ENGINE_CANCEL] = "only a task that is not finished can be canceled",
        [ENGINE_RETRY] = "only a failed, canceled or expired task can be run again",
        [ENGINE_DELETE] = "only a finished task can be deleted; cancel it first",
    };
    struct problem problem = {0};
    struct reply reply;
    const struct task_status *status = &call->engine.record.status;
    problem_set(&problem, PROBLEM_STATE_CONFLICT, "The task is %s; %s.", task_state_name(status->state),
                rules[call->engine.kind]);
    call_reply_begin(call, exchange, &reply);
    reply_problem_task(&reply, &problem, call->id, status);
}

/* What is not among the tasks may have been deleted: the reader knows. */
static bool answer_change_read(struct api_call *call, struct http_exchange *exchange)
{
    call_reply_unread(call, exchange);
    return true;
}

static void reply_changed(struct api_call *call, struct http_exchange *exchange)
{
    struct reply reply;
    const struct task_record *record = &call->engine.record;
    call_reply_begin(call, exchange, &reply);
    if (call->engine.kind == ENGINE_DELETE) {
        reply_empty(&reply, 204);
        return;
    }
    bool done = task_state_final(record->status.state);
    reply_location(&reply, call->id);
    if (!done)
        reply_retry_after(&reply, 1);
    reply_task(&reply, done ? 200 : 202, record, call->api->node);
}

static bool answer_change(struct api_call *call, struct http_exchange *exchange)
{
    switch (call->engine.result) {
    case ENGINE_OK:
        if (call->engine.kind != ENGINE_DELETE && !call->engine.record.spec)
            call_reply_refused(call, exchange);
        else
            reply_changed(call, exchange);
        return true;
    case ENGINE_CONFLICT: reply_conflict(call, exchange); return true;
    case ENGINE_NOT_FOUND:
        call->answer = answer_change_read;
        call_post_reader(call, exchange, READ_TASK);
        return false;
    case ENGINE_REPLAYED:
    case ENGINE_KEY_MISMATCH:
    case ENGINE_KEY_GONE:
    case ENGINE_NOT_LIVE:
    case ENGINE_NO_PARENT:
    case ENGINE_NO_PREDECESSOR:
    case ENGINE_NOT_UNIQUE:
    case ENGINE_QUOTA:
    case ENGINE_DRAINING:
    case ENGINE_DRAINED:
    case ENGINE_STORE_FULL:
    case ENGINE_STORE_FAILED:
    default: call_reply_refused(call, exchange); return true;
    }
}

static void change(struct visit *visit, struct task_id id, enum engine_call_kind kind, int64_t wait_ns)
{
    struct api_call *call = call_new(visit, sizeof *call, answer_change);
    if (!call)
        return;
    call->id = id;
    call_post_engine(call, visit->exchange, kind, wait_ns);
}

/* The top of a cascade, read again after all were told; or what the engine said of it. */
static bool answer_cascade(struct api_call *call, struct http_exchange *exchange)
{
    if (call->holds == CALL_ENGINE)
        return answer_change(call, exchange);
    if (call->read.result != STORE_OK || !call->read.record.spec) {
        call_reply_unread(call, exchange);
        return true;
    }
    struct reply reply;
    const struct task_record *record = &call->read.record;
    bool done = task_state_final(record->status.state);
    call_reply_begin(call, exchange, &reply);
    if (done && !cascade_changed(call)) {
        struct problem problem = {0};
        problem_set(&problem, PROBLEM_STATE_CONFLICT, "The task is %s, and none of its sub-tasks is unfinished.",
                    task_state_name(record->status.state));
        reply_problem_task(&reply, &problem, call->id, &record->status);
        return true;
    }
    reply_location(&reply, call->id);
    if (!done)
        reply_retry_after(&reply, 1);
    reply_task(&reply, done ? 200 : 202, record, call->api->node);
    return true;
}

/* False: replied. */
static bool read_cascade(struct visit *visit, bool *ret)
{
    static const char *const known[] = {"cascade", NULL};
    struct params params;
    struct problem problem = {0};
    if (!visit_read_query(visit, known, &params))
        return false;
    struct slice value = params_get(&params, "cascade");
    *ret = value.data && slice_eq_str(value, "true");
    bool good = !value.data || *ret || slice_eq_str(value, "false");
    params_release(&params);
    if (good)
        return true;
    problem_set(&problem, PROBLEM_INVALID_PARAMETER, "Query parameter \"cascade\": it must be true or false.");
    visit_fail(visit, &problem);
    return false;
}

void on_cancel(struct visit *visit)
{
    bool is_cascade;
    struct task_id id;
    struct preferences prefer;
    int64_t wait_ns = API_WAIT_CANCEL_NS, applied;
    prefer_read(visit->request, &prefer);
    if (prefer.has_wait)
        wait_ns = wait_of_preference(visit->config, &prefer, &applied);
    if (!read_cascade(visit, &is_cascade) || !visit_has_no_body(visit) || !visit_read_id(visit, &id))
        return;
    if (is_cascade)
        cascade_cancel(visit, id, wait_ns, answer_cascade);
    else
        change(visit, id, ENGINE_CANCEL, wait_ns);
}

void on_retry(struct visit *visit)
{
    struct task_id id;
    if (visit_read_nothing(visit) && visit_has_no_body(visit) && visit_read_id(visit, &id))
        change(visit, id, ENGINE_RETRY, 0);
}

void on_delete(struct visit *visit)
{
    struct task_id id;
    if (visit_read_nothing(visit) && visit_has_no_body(visit) && visit_read_id(visit, &id))
        change(visit, id, ENGINE_DELETE, 0);
}
