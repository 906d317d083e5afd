/* What administrators ask: to pause, drain and resume the daemon, a tenant or a task type; how the tenants stand.
 * Flow: on_* -> ENGINE_HOLD or ENGINE_FIGURES -> answer_*. */
#include <stdio.h>
#include <stdlib.h>

#include "api/calls.h"
#include "api/params.h"
#include "config/grammar.h"
#include "proto/json_out.h"

#define LIMIT_DEFAULT 100u
#define LIMIT_MAX 1000u

struct admin_call {
    struct api_call call; /* first */
    struct engine_admin admin;
    char name[TENANT_MAX + 2]; /* the tenant that is asked for, or where a list begins */
    bool configured;           /* it has a section of its own */
};

static void release(struct api_call *call)
{
    struct admin_call *own = (struct admin_call *)call;
    free(own->admin.holds);
    free(own->admin.tenants);
    free(own);
}

static struct admin_call *begin(struct visit *visit, bool (*answer)(struct api_call *, struct http_exchange *))
{
    struct admin_call *own = (struct admin_call *)call_new(visit, sizeof *own, answer);
    if (own)
        own->call.release = release;
    return own;
}

static void post(struct admin_call *own, struct http_exchange *exchange, enum engine_call_kind kind)
{
    own->call.holds = CALL_ENGINE;
    own->call.engine.admin = &own->admin;
    call_post_engine(&own->call, exchange, kind, 0);
}

static void fail_parameter(struct visit *visit, const char *name, const char *wrong)
{
    struct problem problem = {0};
    problem_set(&problem, PROBLEM_INVALID_PARAMETER, "Query parameter \"%s\": %s.", name, wrong);
    visit_fail(visit, &problem);
}

static void member_bool(struct json_out *j, const char *key, bool value)
{
    json_out_key(j, key);
    json_out_bool(j, value);
}

static void member_double(struct json_out *j, const char *key, double value)
{
    json_out_key(j, key);
    json_out_double(j, value);
}

/* False: no tenant has such a name. */
static bool copy_tenant(struct slice name, char out[TENANT_MAX + 2])
{
    out[0] = '\0';
    if (name.len == 0 || name.len > TENANT_MAX || memchr(name.data, '\0', name.len))
        return false;
    memcpy(out, name.data, name.len);
    out[name.len] = '\0';
    return !check_tenant(out);
}

/* ---- what is held ---- */

static void write_holds(const struct engine_admin *admin, struct json_out *j)
{
    static const char *const scopes[] = {[HOLD_TENANT] = "tenant", [HOLD_TASK] = "task"};
    struct hold all = {0};
    for (size_t i = 0; i < admin->n_holds; i++)
        if (admin->holds[i].scope == HOLD_ALL)
            all = admin->holds[i];
    member_bool(j, "paused", all.paused);
    member_bool(j, "draining", all.draining);
    json_out_key(j, "holds");
    json_out_begin_array(j);
    for (size_t i = 0; i < admin->n_holds; i++) {
        const struct hold *hold = &admin->holds[i];
        if (hold->scope == HOLD_ALL)
            continue;
        json_out_begin_object(j);
        json_out_member(j, scopes[hold->scope], slice_str(hold->name));
        member_bool(j, "paused", hold->paused);
        member_bool(j, "draining", hold->draining);
        json_out_end_object(j);
    }
    json_out_end_array(j);
}

static bool answer_status(struct api_call *call, struct http_exchange *exchange)
{
    const struct admin_call *own = (struct admin_call *)call;
    struct reply reply;
    if (call->engine.result == ENGINE_NOT_FOUND) {
        struct problem problem = {0};
        problem_set(&problem, PROBLEM_INVALID_PARAMETER, "Query parameter \"task\": there is no task type %.64s.",
                    own->admin.hold.name);
        call_reply_begin(call, exchange, &reply);
        reply_problem(&reply, &problem);
        return true;
    }
    if (call->engine.result != ENGINE_OK || !own->admin.holds) {
        call_reply_refused(call, exchange);
        return true;
    }
    struct buf *body = scratch();
    struct json_out j = json_out_to(body);
    json_out_begin_object(&j);
    write_holds(&own->admin, &j);
    json_out_member_i64(&j, "scheduled", (int64_t)own->admin.waiting[TASK_SCHEDULED]);
    json_out_member_i64(&j, "queued", (int64_t)own->admin.waiting[TASK_QUEUED]);
    json_out_member_i64(&j, "running", (int64_t)own->admin.waiting[TASK_RUNNING]);
    json_out_end_object(&j);
    call_reply_begin(call, exchange, &reply);
    reply_buffer(&reply, 200, body);
    return true;
}

void on_admin_status(struct visit *visit)
{
    struct admin_call *own;
    if (visit_read_nothing(visit) && (own = begin(visit, answer_status)))
        post(own, visit->exchange, ENGINE_FIGURES);
}

/* False: replied. */
static bool read_scope(struct visit *visit, struct hold *ret)
{
    static const char *const known[] = {"tenant", "task", NULL};
    struct params params;
    if (!visit_read_query(visit, known, &params))
        return false;
    struct slice tenant = params_get(&params, "tenant"), task = params_get(&params, "task");
    *ret = (struct hold){.scope = tenant.data ? HOLD_TENANT : task.data ? HOLD_TASK : HOLD_ALL};
    bool good = false;
    if (tenant.data && task.data)
        fail_parameter(visit, "task", "name a tenant or a task type, not both");
    else if (tenant.data && !copy_tenant(tenant, ret->name))
        fail_parameter(visit, "tenant", "it is not the name of a tenant");
    else if (task.data && (task.len == 0 || task.len >= sizeof ret->name))
        fail_parameter(visit, "task", "it is not the name of a task type");
    else
        good = true;
    if (good && task.data)
        memcpy(ret->name, task.data, task.len);
    params_release(&params);
    return good;
}

static void give_order(struct visit *visit, enum hold_order order)
{
    struct hold hold;
    struct admin_call *own;
    if (!visit_has_no_body(visit) || !read_scope(visit, &hold) || !(own = begin(visit, answer_status)))
        return;
    own->admin.hold = hold;
    own->admin.order = order;
    post(own, visit->exchange, ENGINE_HOLD);
}

void on_pause(struct visit *visit)
{
    give_order(visit, HOLD_PAUSE);
}

void on_drain(struct visit *visit)
{
    give_order(visit, HOLD_DRAIN);
}

void on_resume(struct visit *visit)
{
    give_order(visit, HOLD_RESUME);
}

/* ---- tenants ---- */

static void write_limits(const struct tenant_limits *limits, struct json_out *j)
{
    json_out_key(j, "limits");
    json_out_begin_object(j);
    member_double(j, "weight", limits->weight);
    if (limits->max_running)
        json_out_member_i64(j, "max_running", limits->max_running);
    if (limits->max_waiting)
        json_out_member_i64(j, "max_queued", limits->max_waiting);
    if (limits->max_waiting_bytes)
        json_out_member_i64(j, "max_queued_bytes", (int64_t)limits->max_waiting_bytes);
    if (limits->max_waiters)
        json_out_member_i64(j, "max_waiters", limits->max_waiters);
    if (limits->rate > 0)
        member_double(j, "rate", limits->rate);
    if (limits->burst)
        json_out_member_i64(j, "burst", limits->burst);
    json_out_end_object(j);
}

static void write_usage(const struct engine_tenant *tenant, struct json_out *j)
{
    json_out_key(j, "usage");
    json_out_begin_object(j);
    json_out_member_i64(j, "submitted", (int64_t)tenant->submitted);
    json_out_member_i64(j, "attempts", (int64_t)tenant->attempts);
    member_double(j, "run_seconds", (double)tenant->run_us / 1e6);
    for (int state = 0; state < TASK_STATE_COUNT; state++)
        if (task_state_final((enum task_state)state))
            json_out_member_i64(j, task_state_name((enum task_state)state), (int64_t)tenant->finished[state]);
    json_out_end_object(j);
}

static void write_tenant(const struct engine_tenant *tenant, struct json_out *j)
{
    json_out_begin_object(j);
    json_out_member(j, "tenant", slice_str(tenant->name));
    json_out_member_i64(j, "scheduled", tenant->scheduled);
    json_out_member_i64(j, "queued", tenant->queued);
    json_out_member_i64(j, "running", tenant->running);
    json_out_member_i64(j, "queued_bytes", (int64_t)tenant->waiting_bytes);
    json_out_member_i64(j, "waiters", tenant->waiters);
    member_bool(j, "paused", tenant->limits.paused);
    member_bool(j, "draining", tenant->limits.draining);
    write_limits(&tenant->limits, j);
    write_usage(tenant, j);
    json_out_end_object(j);
}

static bool answer_tenants(struct api_call *call, struct http_exchange *exchange)
{
    const struct admin_call *own = (struct admin_call *)call;
    const struct engine_admin *admin = &own->admin;
    struct reply reply;
    if (call->engine.result != ENGINE_OK) {
        call_reply_refused(call, exchange);
        return true;
    }
    struct buf *body = scratch();
    struct json_out j = json_out_to(body);
    char link[sizeof admin->next * 3 + 64];
    json_out_begin_object(&j);
    json_out_key(&j, "tenants");
    json_out_begin_array(&j);
    for (size_t i = 0; i < admin->n_tenants; i++)
        write_tenant(&admin->tenants[i], &j);
    json_out_end_array(&j);
    call_reply_begin(call, exchange, &reply);
    if (admin->next[0]) {
        struct buf encoded = BUF_INIT;
        json_out_member(&j, "next_cursor", slice_str(admin->next));
        percent_encode(slice_str(admin->next), &encoded);
        (void)snprintf(link, sizeof link, "</v1/tenants?limit=%u&cursor=%.*s>; rel=\"next\"", admin->limit,
                       (int)encoded.len, encoded.data ? encoded.data : "");
        if (buf_ok(&encoded))
            reply_field(&reply, "Link", slice_str(link));
        buf_release(&encoded);
    }
    json_out_end_object(&j);
    reply_buffer(&reply, 200, body);
    return true;
}

static bool answer_tenant(struct api_call *call, struct http_exchange *exchange)
{
    const struct admin_call *own = (struct admin_call *)call;
    const struct engine_tenant *tenant = own->admin.tenants;
    struct reply reply;
    if (call->engine.result != ENGINE_OK) {
        call_reply_refused(call, exchange);
        return true;
    }
    call_reply_begin(call, exchange, &reply);
    if (!tenant->known && !own->configured && !tenant->limits.paused && !tenant->limits.draining) {
        struct problem problem = {0};
        problem_set(&problem, PROBLEM_NOT_FOUND, "Nothing is known of a tenant of this name.");
        reply_problem(&reply, &problem);
        return true;
    }
    struct buf *body = scratch();
    struct json_out j = json_out_to(body);
    write_tenant(tenant, &j);
    reply_buffer(&reply, 200, body);
    return true;
}

void on_tenant(struct visit *visit)
{
    if (!visit_read_nothing(visit))
        return;
    struct admin_call *own = begin(visit, answer_tenant);
    if (!own)
        return;
    if (!copy_tenant(visit->task, own->name))
        (void)snprintf(own->name, sizeof own->name, "/"); /* nobody's */
    const struct config_tenant *configured = config_tenant(visit->config, own->name);
    own->configured = configured && strcmp(configured->name, own->name) == 0;
    own->admin.only = slice_str(own->name);
    post(own, visit->exchange, ENGINE_FIGURES);
}

/* 0: not a number that may be. */
static unsigned read_limit(struct slice text)
{
    unsigned limit = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || limit > LIMIT_MAX)
            return 0;
        limit = limit * 10 + (unsigned)(text.data[i] - '0');
    }
    return limit <= LIMIT_MAX ? limit : 0;
}

void on_tenants(struct visit *visit)
{
    static const char *const known[] = {"limit", "cursor", NULL};
    struct params params;
    struct admin_call *own;
    char from[TENANT_MAX + 2] = "";
    if (!visit_read_query(visit, known, &params))
        return;
    struct slice limit = params_get(&params, "limit"), cursor = params_get(&params, "cursor");
    unsigned n = limit.data ? read_limit(limit) : LIMIT_DEFAULT;
    if (n == 0) {
        fail_parameter(visit, "limit", "it must be a number from 1 to 1000");
    } else if (cursor.data && !copy_tenant(cursor, from)) {
        fail_parameter(visit, "cursor", "it is not a cursor of this list; start again without one");
    } else if ((own = begin(visit, answer_tenants))) {
        memcpy(own->name, from, sizeof from);
        own->admin.from = slice_str(own->name);
        own->admin.limit = n;
        post(own, visit->exchange, ENGINE_FIGURES);
    }
    params_release(&params);
}
