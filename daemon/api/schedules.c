/* /v1/schedules: a tenant's schedules, read from the table, changed through the engine (the row is on disk before the
 * table has it).
 * Flow: on_*_schedule -> schedule/definition.c -> ENGINE_SCHEDULE -> answer_* -> schedule/schedules.c. */
#include "schedule/schedules.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/calls.h"
#include "base/clock.h"
#include "proto/json_in.h"
#include "proto/json_out.h"

#define NEXT_MAX 100u
#define MEMBERS_MAX 64u

struct schedule_call {
    struct api_call call; /* first */
    struct schedule_definition definition;
    struct store_schedule row; /* its slices lie in here */
    char name[SCHEDULE_NAME_MAX + 1];
    bool is_new;
};

static void release(struct api_call *call)
{
    struct schedule_call *own = (struct schedule_call *)call;
    schedule_definition_release(&own->definition);
    free(own);
}

/* ---- replies ---- */

static void fail_not_found(struct visit *visit)
{
    struct problem problem = {0};
    problem_set(&problem, PROBLEM_NOT_FOUND, "This tenant has no schedule of this name.");
    visit_fail(visit, &problem);
}

static void reply_schedule(struct api_call *call, struct http_exchange *exchange, int status, const char *name)
{
    struct buf *body = scratch();
    struct reply reply;
    char location[sizeof "/v1/schedules/" + SCHEDULE_NAME_MAX];
    call_reply_begin(call, exchange, &reply);
    (void)snprintf(location, sizeof location, "/v1/schedules/%s", name);
    if (status == 201)
        reply_field(&reply, "Location", slice_str(location));
    if (schedules_show(call->api->schedules, call->tenant, slice_str(name), 1, body))
        reply_buffer(&reply, status, body);
    else
        reply_not_found(&reply); /* deleted in between */
}

/* ---- reading ---- */

void on_list_schedules(struct visit *visit)
{
    struct buf list = BUF_INIT, *body = scratch();
    struct reply reply;
    if (!visit_read_nothing(visit))
        return;
    schedules_list(visit->api->schedules, visit->caller.tenant, &list);
    buf_append_str(body, "{\"schedules\":");
    buf_append_slice(body, buf_slice(&list));
    buf_append_char(body, '}');
    body->failed = body->failed || !buf_ok(&list);
    reply_begin(&reply, visit->exchange, visit->caller.request_id);
    reply_buffer(&reply, 200, body);
    buf_release(&list);
}

void on_get_schedule(struct visit *visit)
{
    static const char *const known[] = {"next", NULL};
    struct params params;
    unsigned n = 1;
    if (!visit_read_query(visit, known, &params))
        return;
    struct slice next = params_get(&params, "next");
    bool good = true;
    if (next.data) {
        n = 0;
        for (size_t i = 0; i < next.len && n <= NEXT_MAX; i++)
            n = next.data[i] < '0' || next.data[i] > '9' ? NEXT_MAX + 1 : n * 10 + (unsigned)(next.data[i] - '0');
        good = n >= 1 && n <= NEXT_MAX;
    }
    params_release(&params);
    if (!good) {
        struct problem problem = {0};
        problem_set(&problem, PROBLEM_INVALID_PARAMETER, "Query parameter \"next\": it must be a number from 1 to %u.",
                    NEXT_MAX);
        visit_fail(visit, &problem);
        return;
    }
    struct buf *body = scratch();
    if (!schedules_show(visit->api->schedules, visit->caller.tenant, visit->task, n, body)) {
        fail_not_found(visit);
        return;
    }
    struct reply reply;
    reply_begin(&reply, visit->exchange, visit->caller.request_id);
    reply_buffer(&reply, 200, body);
}

/* ---- changing ---- */

static void full(struct problem *problem)
{
    problem_set(problem, PROBLEM_QUOTA_EXCEEDED, "A tenant may have %u schedules; delete one first.",
                SCHEDULES_PER_TENANT_MAX);
    problem->retry_after_s = 60;
}

/* The call, with the name; NULL: replied.  What the configuration says cannot be changed here. */
static struct schedule_call *begin(struct visit *visit, bool may_be_new,
                                   bool (*answer)(struct api_call *, struct http_exchange *))
{
    struct problem problem = {0};
    struct schedules *schedules = visit->api->schedules;
    enum schedule_found found = schedules_find(schedules, visit->caller.tenant, visit->task);
    if (!schedule_name_is_valid(visit->task) && may_be_new)
        problem_set(&problem, PROBLEM_INVALID_SUBMISSION,
                    "A schedule's name has 1 to 64 of a-z 0-9 . _ - and begins with a letter or a digit.");
    else if (found == SCHEDULE_OF_CONFIG)
        problem_set(&problem, PROBLEM_STATE_CONFLICT, "This schedule is in the configuration: change it there.");
    else if (found == SCHEDULE_NONE && may_be_new &&
             schedules_count(schedules, visit->caller.tenant) >= SCHEDULES_PER_TENANT_MAX)
        full(&problem);
    if (problem.code != PROBLEM_NONE) {
        visit_fail(visit, &problem);
        return NULL;
    }
    if (found == SCHEDULE_NONE && !may_be_new) {
        fail_not_found(visit);
        return NULL;
    }
    struct schedule_call *own = (struct schedule_call *)call_new(visit, sizeof *own, answer);
    if (!own)
        return NULL;
    own->call.release = release;
    own->is_new = found == SCHEDULE_NONE;
    (void)snprintf(own->name, sizeof own->name, "%.*s", (int)visit->task.len, visit->task.data);
    return own;
}

static void post(struct schedule_call *own, struct http_exchange *exchange)
{
    own->row.tenant = slice_str(own->call.tenant);
    own->row.name = slice_str(own->name);
    own->row.body = own->definition.body ? slice_str(own->definition.body) : (struct slice){0};
    own->call.holds = CALL_ENGINE;
    own->call.engine.schedule = &own->row;
    call_post_engine(&own->call, exchange, ENGINE_SCHEDULE, 0);
}

static bool answer_put(struct api_call *call, struct http_exchange *exchange)
{
    struct schedule_call *own = (struct schedule_call *)call;
    if (call->engine.result != ENGINE_OK ||
        !schedules_put(call->api->schedules, call->tenant, slice_str(own->name), &own->definition, &own->row)) {
        call_reply_refused(call, exchange);
        return true;
    }
    reply_schedule(call, exchange, own->is_new ? 201 : 200, own->name);
    return true;
}

static void put_schedule(struct visit *visit, struct slice definition)
{
    struct problem problem;
    char *body, *submission;
    struct schedule_call *own = begin(visit, true, answer_put);
    if (!own)
        return;
    if (schedule_definition_parse(definition, visit->registry, visit->caller.tenant, &own->definition, &problem) < 0) {
        visit_fail(visit, &problem);
        call_release(&own->call);
        return;
    }
    own->row.created_us = own->row.last_us = clock_wall_us(); /* times before this are nobody's */
    if (!own->is_new &&
        schedules_copy(visit->api->schedules, visit->caller.tenant, visit->task, &body, &submission, &own->row)) {
        free(body);
        free(submission);
        own->row.last_us = clock_wall_us();
    }
    own->row.paused = own->definition.paused;
    post(own, visit->exchange);
}

void on_put_schedule(struct visit *visit)
{
    if (visit_read_nothing(visit))
        put_schedule(visit, visit->request->body);
}

static void refuse_name(struct visit *visit, const char *why)
{
    struct problem problem = {0};
    problem_add(&problem, PROBLEM_INVALID_SUBMISSION, "/name", "%s", why);
    visit_fail(visit, &problem);
}

/* The definition without its name, as the bytes it is. */
static void without_name(struct slice body, struct buf *out)
{
    struct json_member members[MEMBERS_MAX];
    size_t n = json_in_members(body, members, MEMBERS_MAX);
    struct json_out j = json_out_to(out);
    json_out_begin_object(&j);
    for (size_t i = 0; i < n && i < MEMBERS_MAX; i++) {
        if (slice_eq_str(members[i].name, "name"))
            continue;
        json_out_key_slice(&j, members[i].name);
        json_out_raw(&j, members[i].value);
    }
    json_out_end_object(&j);
}

/* With its name among its members; never in the place of another one. */
void on_create_schedule(struct visit *visit)
{
    char error[JSON_IN_ERROR_SIZE], name[SCHEDULE_NAME_MAX + 1];
    struct problem problem = {0};
    struct slice body = visit->request->body;
    struct buf definition = BUF_INIT;
    if (!visit_read_nothing(visit))
        return;
    json_t *root = json_in_load(body, (int)registry_config(visit->registry)->max_json_depth, error);
    if (!root) {
        problem_set(&problem, PROBLEM_MALFORMED_JSON, "The body is not acceptable JSON: %s.", error);
        visit_fail(visit, &problem);
        return;
    }
    const json_t *given = json_object_get(root, "name");
    const char *text = json_string_value(given);
    bool good = text && schedule_name_is_valid(slice_str(text)) && json_in_members(body, NULL, 0) <= MEMBERS_MAX;
    (void)snprintf(name, sizeof name, "%s", good ? text : "");
    json_decref(root);
    if (!good) {
        refuse_name(visit, "is required: 1 to 64 of a-z 0-9 . _ - that begin with a letter or a digit");
        return;
    }
    visit->task = slice_str(name);
    if (schedules_find(visit->api->schedules, visit->caller.tenant, visit->task) == SCHEDULE_OF_API) {
        problem_set(&problem, PROBLEM_STATE_CONFLICT, "There is a schedule of this name; PUT replaces it.");
        visit_fail(visit, &problem);
        return;
    }
    without_name(body, &definition);
    if (buf_ok(&definition)) {
        put_schedule(visit, buf_slice(&definition));
    } else {
        problem_set(&problem, PROBLEM_OVERLOADED, "There is no memory for this request; try again later.");
        visit_fail(visit, &problem);
    }
    buf_release(&definition);
}

static void set_paused(struct visit *visit, bool paused)
{
    struct problem problem;
    char *body, *submission;
    if (!visit_read_nothing(visit) || !visit_has_no_body(visit))
        return;
    struct schedule_call *own = begin(visit, false, answer_put);
    if (!own)
        return;
    if (!schedules_copy(visit->api->schedules, visit->caller.tenant, visit->task, &body, &submission, &own->row)) {
        fail_not_found(visit);
        call_release(&own->call);
        return;
    }
    int parsed =
        schedule_definition_parse(slice_str(body), visit->registry, visit->caller.tenant, &own->definition, &problem);
    free(body);
    free(submission);
    if (parsed < 0) {
        visit_fail(visit, &problem);
        call_release(&own->call);
        return;
    }
    if (own->row.paused && !paused)
        own->row.last_us = clock_wall_us(); /* what passed while it was paused is not missed */
    own->row.paused = paused;
    post(own, visit->exchange);
}

void on_pause_schedule(struct visit *visit)
{
    set_paused(visit, true);
}

void on_resume_schedule(struct visit *visit)
{
    set_paused(visit, false);
}

static bool answer_delete(struct api_call *call, struct http_exchange *exchange)
{
    struct schedule_call *own = (struct schedule_call *)call;
    struct reply reply;
    if (call->engine.result != ENGINE_OK) {
        call_reply_refused(call, exchange);
        return true;
    }
    schedules_remove(call->api->schedules, call->tenant, slice_str(own->name));
    call_reply_begin(call, exchange, &reply);
    reply_empty(&reply, 204);
    return true;
}

void on_delete_schedule(struct visit *visit)
{
    if (!visit_read_nothing(visit) || !visit_has_no_body(visit))
        return;
    struct schedule_call *own = begin(visit, false, answer_delete);
    if (!own)
        return;
    own->row.remove = true;
    post(own, visit->exchange);
}

/* ---- now ---- */

static bool answer_run(struct api_call *call, struct http_exchange *exchange)
{
    if (call->engine.result != ENGINE_OK) {
        call_reply_refused(call, exchange);
        return true;
    }
    struct reply reply;
    call_reply_begin(call, exchange, &reply);
    reply_location(&reply, call->id);
    reply_task(&reply, 202, &call->engine.record, call->api->node);
    return true;
}

void on_run_schedule(struct visit *visit)
{
    struct problem problem = {0};
    struct submission submission;
    struct store_schedule row;
    char *body, *text, name[SCHEDULE_NAME_MAX + 1];
    if (!visit_read_nothing(visit) || !visit_has_no_body(visit))
        return;
    if (!schedules_copy(visit->api->schedules, visit->caller.tenant, visit->task, &body, &text, &row)) {
        fail_not_found(visit);
        return;
    }
    (void)snprintf(name, sizeof name, "%.*s", (int)visit->task.len, visit->task.data);
    int made = schedule_submission(text, visit->registry, visit->api->root_sampling, visit->caller.tenant, name,
                                   &submission, &problem);
    free(body);
    free(text);
    if (made < 0) {
        visit_fail(visit, &problem);
        return;
    }
    struct api_call *call = call_new(visit, sizeof *call, answer_run);
    if (!call) {
        task_spec_unref(submission.spec);
        return;
    }
    call->holds = CALL_ENGINE;
    call->engine.spec = submission.spec;
    call->id = submission.spec->id;
    call_post_engine(call, visit->exchange, ENGINE_SUBMIT, 0);
}
