/* Posting calls and taking their answers.  Flow: the handlers -> call_post_* -> engine | reader -> on_delivered (their
 * thread) -> loop_post -> on_back (the loop) -> call->answer. */
#include "api/calls.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

static void free_call(struct api_call *call)
{
    free(call);
}

static void drop_held(struct api_call *call)
{
    if (call->holds == CALL_ENGINE) {
        task_spec_unref(call->engine.spec);
        task_record_release(&call->engine.record);
    } else if (call->holds == CALL_READER) {
        task_record_release(&call->read.record);
        task_history_release(&call->read.history);
        buf_release(&call->read.log);
        for (size_t i = 0; call->read.records && i < call->read.n; i++)
            task_record_release(&call->read.records[i]);
        free(call->read.records);
        free(call->read.found);
    }
    call->holds = CALL_EMPTY;
}

void call_release(struct api_call *call)
{
    drop_held(call);
    call->release(call);
}

struct api_call *call_new(struct visit *visit, size_t size, bool (*answer)(struct api_call *, struct http_exchange *))
{
    struct api_call *call = calloc(1, size);
    if (!call) {
        struct problem problem = {0};
        struct reply reply;
        problem_set(&problem, PROBLEM_OVERLOADED, "There is no memory for this request; try again later.");
        problem.retry_after_s = 1;
        reply_begin(&reply, visit->exchange, visit->caller.request_id);
        reply_problem(&reply, &problem);
        return NULL;
    }
    call->api = visit->api;
    call->ref = http_ref(visit->exchange);
    call->answer = answer;
    call->release = free_call;
    call->prefer_wait_s = -1;
    memcpy(call->tenant, visit->caller.tenant, sizeof call->tenant);
    memcpy(call->request_id, visit->caller.request_id.data, visit->caller.request_id.len);
    call->request_id_len = visit->caller.request_id.len;
    return call;
}

/* ---- reading the request ---- */

void visit_fail(struct visit *visit, const struct problem *problem)
{
    struct reply reply;
    reply_begin(&reply, visit->exchange, visit->caller.request_id);
    reply_problem(&reply, problem);
}

bool visit_read_query(struct visit *visit, const char *const *known, struct params *ret)
{
    struct problem problem = {0};
    if (params_parse(visit->request->query, known, ret, &problem) == 0)
        return true;
    visit_fail(visit, &problem);
    return false;
}

bool visit_read_id(struct visit *visit, struct task_id *ret)
{
    struct reply reply;
    if (task_id_parse(visit->task.data, visit->task.len, ret))
        return true;
    reply_begin(&reply, visit->exchange, visit->caller.request_id);
    reply_field(&reply, "Vary", SLICE_LITERAL("Prefer"));
    reply_not_found(&reply); /* what is not an id is a task that does not exist */
    return false;
}

bool visit_read_nothing(struct visit *visit)
{
    static const char *const none[] = {NULL};
    struct params params;
    if (!visit_read_query(visit, none, &params))
        return false;
    params_release(&params);
    return true;
}

bool visit_has_no_body(struct visit *visit)
{
    struct problem problem = {0};
    struct slice body = visit->request->body;
    while (body.len && strchr(" \t\r\n", body.data[body.len - 1]))
        body.len--;
    if (body.len == 0 || slice_eq_str(body, "{}"))
        return true;
    problem_set(&problem, PROBLEM_INVALID_PARAMETER, "This request takes no body; send none, or {}.");
    visit_fail(visit, &problem);
    return false;
}

/* ---- the way back ---- */

static void on_back(struct loop_mail *mail)
{
    struct api_call *call = (struct api_call *)mail;
    if (call->counted) {
        atomic_fetch_sub_explicit(&call->api->waits, 1, memory_order_relaxed);
        call->counted = false;
    }
    struct http_exchange *exchange = http_find_exchange(call->ref);
    if (!exchange || call->answer(call, exchange))
        call_release(call);
}

void call_return(struct api_call *call)
{
    call->mail.run = on_back;
    loop_post(call->ref.loop, &call->mail);
}

static void on_engine_delivered(struct engine_call *engine)
{
    call_return((struct api_call *)(void *)((char *)engine - offsetof(struct api_call, engine)));
}

static void on_reader_delivered(struct read_call *read)
{
    call_return((struct api_call *)(void *)((char *)read - offsetof(struct api_call, read)));
}

/* ---- the way there ---- */

void call_reply_begin(const struct api_call *call, struct http_exchange *exchange, struct reply *ret)
{
    reply_begin(ret, exchange, slice_of(call->request_id, call->request_id_len));
    if (call->holds == CALL_ENGINE && call->engine.rate.limit)
        reply_rate(ret, &call->engine.rate);
}

static void reply_overloaded(struct api_call *call, struct http_exchange *exchange, const char *what)
{
    if (call->streaming) {
        http_stream_end(exchange);
        return;
    }
    struct reply reply;
    struct problem problem = {0};
    problem_set(&problem, PROBLEM_OVERLOADED, "%s; try again later.", what);
    problem.retry_after_s = 1;
    call_reply_begin(call, exchange, &reply);
    reply_problem(&reply, &problem);
}

bool api_wait_begin(struct api *api)
{
    if (atomic_fetch_add_explicit(&api->waits, 1, memory_order_relaxed) < api->max_waits)
        return true;
    api_wait_end(api);
    return false;
}

void api_wait_end(struct api *api)
{
    atomic_fetch_sub_explicit(&api->waits, 1, memory_order_relaxed);
}

static bool may_wait(struct api_call *call)
{
    return call->counted = api_wait_begin(call->api);
}

static void uncount(struct api_call *call)
{
    if (call->counted)
        api_wait_end(call->api);
    call->counted = false;
}

void call_post_engine(struct api_call *call, struct http_exchange *exchange, enum engine_call_kind kind,
                      int64_t wait_ns)
{
    struct engine_call *engine = &call->engine;
    struct task_spec *spec = call->holds == CALL_ENGINE ? engine->spec : NULL;
    if (call->holds == CALL_READER)
        drop_held(call);
    call->holds = CALL_ENGINE;
    engine->spec = spec;
    engine->kind = kind;
    engine->deliver = on_engine_delivered;
    engine->id = call->id;
    engine->cascade = call->cascade;
    engine->seen = call->seen;
    memcpy(engine->tenant, call->tenant, sizeof engine->tenant);
    bool waits = wait_ns > 0 && may_wait(call);
    if (kind == ENGINE_WATCH && !waits) { /* it would be answered at once, and ask again, and again */
        reply_overloaded(call, exchange, "Too many requests wait for tasks");
        call_release(call);
        return;
    }
    engine->wait_until_ns = waits ? clock_mono_ns() + wait_ns : 0;
    if (engine_post(call->api->engine, engine))
        return;
    uncount(call);
    reply_overloaded(call, exchange, "Too many requests wait for the engine");
    call_release(call);
}

struct slice call_tenant(const struct api_call *call)
{
    return call->tenant[0] ? slice_str(call->tenant) : (struct slice){0};
}

void call_post_reader(struct api_call *call, struct http_exchange *exchange, enum read_kind kind)
{
    struct list_query query = call->holds == CALL_READER ? call->read.query : (struct list_query){0};
    drop_held(call);
    call->holds = CALL_READER;
    call->read = (struct read_call){.kind = kind,
                                    .deliver = on_reader_delivered,
                                    .id = call->id,
                                    .tenant = call_tenant(call),
                                    .with_history = call->with_history,
                                    .with_log = call->with_log,
                                    .log_from = call->log_from,
                                    .query = query};
    if (reader_post(call->api->reader, &call->read))
        return;
    reply_overloaded(call, exchange, "Too many requests wait for the store");
    call_release(call);
}

/* ---- what is said when the answer is no ---- */

/* It names the task that has the key. */
static void not_unique_problem(const struct task_record *holder, struct problem *problem)
{
    char id[TASK_ID_TEXT_SIZE];
    task_id_format(holder->spec->id, id);
    problem_set(problem, PROBLEM_NOT_UNIQUE, "Task %s, which is %s, has this unique key.", id,
                task_state_name(holder->status.state));
}

static void quota_problem(const struct engine_call *engine, const char *tenant, struct problem *problem)
{
    switch ((enum engine_quota)engine->fault) {
    case QUOTA_ALL_TASKS:
        problem_set(problem, PROBLEM_QUOTA_EXCEEDED,
                    "All tenants together have as many waiting tasks as they may have.");
        break;
    case QUOTA_BYTES:
        problem_set(problem, PROBLEM_QUOTA_EXCEEDED,
                    "The waiting tasks of tenant %s would have more bytes than they may have (max_queued_bytes).",
                    tenant);
        break;
    case QUOTA_RATE:
        problem_set(problem, PROBLEM_QUOTA_EXCEEDED, "Tenant %s submits faster than it may: %u in %u s.", tenant,
                    engine->rate.limit, engine->rate.window_s);
        break;
    case QUOTA_WAITERS:
        problem_set(problem, PROBLEM_QUOTA_EXCEEDED,
                    "Tenant %s has as many requests that wait for tasks as it may have (max_waiters).", tenant);
        break;
    case QUOTA_HOLDS:
        problem_set(problem, PROBLEM_QUOTA_EXCEEDED, "There are as many holds as there may be; resume some.");
        break;
    case QUOTA_TASKS:
    default:
        problem_set(problem, PROBLEM_QUOTA_EXCEEDED, "Tenant %s has as many waiting tasks as it may have.", tenant);
        break;
    }
}

void engine_call_problem(const struct engine_call *engine, const char *tenant, struct problem *problem)
{
    switch (engine->result) {
    case ENGINE_KEY_MISMATCH:
        problem_set(problem, PROBLEM_IDEMPOTENCY_MISMATCH,
                    "This idempotency key was used within the last 24 hours for another body. Use a new key, or "
                    "send the same bytes again.");
        break;
    case ENGINE_KEY_GONE: {
        char id[TASK_ID_TEXT_SIZE];
        task_id_format(engine->id, id);
        problem_set(problem, PROBLEM_TASK_GONE,
                    "The task that this idempotency key made, %s, was deleted. Use a new key to submit again.", id);
        break;
    }
    case ENGINE_QUOTA: quota_problem(engine, tenant, problem); break;
    case ENGINE_NO_PARENT:
        problem_add(problem, PROBLEM_INVALID_SUBMISSION, "/parent_id", "this tenant has no task of this id");
        return;
    case ENGINE_NO_PREDECESSOR: {
        char pointer[PROBLEM_POINTER_SIZE];
        (void)snprintf(pointer, sizeof pointer, "/after/%u", engine->fault);
        problem_add(problem, PROBLEM_INVALID_SUBMISSION, pointer, "this tenant has no task of this id");
        return;
    }
    case ENGINE_DRAINING:
        problem_set(problem, PROBLEM_DRAINING, "satcheld is shutting down; send the request again.");
        break;
    case ENGINE_DRAINED:
        problem_set(problem, PROBLEM_DRAINING,
                    "An operator lets the daemon, tenant %s or this task type run dry: no more tasks are taken.",
                    tenant);
        break;
    case ENGINE_STORE_FULL:
        problem_set(problem, PROBLEM_STORE_UNAVAILABLE, "The store is full; nothing of this request was taken.");
        break;
    case ENGINE_NOT_UNIQUE: not_unique_problem(&engine->record, problem); return;
    case ENGINE_OK:
    case ENGINE_REPLAYED:
    case ENGINE_NOT_LIVE:
    case ENGINE_NOT_FOUND:
    case ENGINE_CONFLICT:
    case ENGINE_STORE_FAILED:
    default: problem_set(problem, PROBLEM_STORE_UNAVAILABLE, "The store cannot be written or read just now."); break;
    }
    if (engine->result != ENGINE_KEY_MISMATCH && engine->result != ENGINE_KEY_GONE)
        problem->retry_after_s = engine->retry_after_s > 0 ? engine->retry_after_s : 1;
}

void call_reply_refused(struct api_call *call, struct http_exchange *exchange)
{
    struct reply reply;
    call_reply_begin(call, exchange, &reply);
    if (call->engine.result == ENGINE_NOT_FOUND) {
        reply_not_found(&reply);
        return;
    }
    struct problem problem = {0};
    engine_call_problem(&call->engine, call->tenant, &problem);
    if (call->engine.result == ENGINE_NOT_UNIQUE) {
        const struct task_record *holder = &call->engine.record;
        reply_location(&reply, holder->spec->id);
        reply_problem_task(&reply, &problem, holder->spec->id, &holder->status);
        return;
    }
    reply_problem(&reply, &problem);
}

void call_reply_read_failed(struct api_call *call, struct http_exchange *exchange)
{
    struct reply reply;
    struct problem problem = {0};
    problem_set(&problem, PROBLEM_STORE_UNAVAILABLE, "The store cannot be read just now.");
    problem.retry_after_s = 1;
    call_reply_begin(call, exchange, &reply);
    reply_problem(&reply, &problem);
}

static void reply_absent(struct api_call *call, struct http_exchange *exchange)
{
    struct reply reply;
    call_reply_begin(call, exchange, &reply);
    reply_field(&reply, "Vary", SLICE_LITERAL("Prefer"));
    if (!call->read.gone) {
        reply_not_found(&reply);
        return;
    }
    struct problem problem = {0};
    problem_set(&problem, PROBLEM_TASK_GONE, "The task was deleted; only its state and times are left.");
    reply_problem_task(&reply, &problem, call->id, &call->read.record.status);
}

void call_reply_unread(struct api_call *call, struct http_exchange *exchange)
{
    if (call->read.result == STORE_NOT_FOUND)
        reply_absent(call, exchange);
    else
        call_reply_read_failed(call, exchange);
}
