/* POST /v1/tasks: body and headers to a spec, the spec to the engine, its answer back once it is durable.
 * Flow: dispatch.c -> on_submit -> submission_parse -> call_post_engine -> answer_submit. */
#include <stdio.h>

#include "api/calls.h"
#include "api/fields.h"
#include "api/idempotency.h"
#include "api/wait.h"
#include "task/submission.h"

/* ---- idempotency ---- */

/* Header or body, or both alike. */
static int choose_key(struct slice header, struct slice member, struct slice *ret, struct problem *reterr)
{
    *ret = header.data ? header : member;
    if (!header.data || !member.data || slice_eq(header, member))
        return 0;
    reterr->code = PROBLEM_NONE;
    problem_add(reterr, PROBLEM_INVALID_SUBMISSION, "/idempotency_key",
                "differs from the header Idempotency-Key; send one of them");
    return -1;
}

/* ---- the way there ---- */

static int read_submission(struct visit *visit, struct submission *ret, struct problem *reterr)
{
    struct request_context context;
    if (request_context_read(visit->request, visit->config, visit->api->variables, &visit->caller, &context, reterr) <
        0)
        return -1;
    struct submission_input input = {
        .config = visit->config,
        .registry = visit->registry,
        .body = visit->request->body,
        .pointer = "",
        .root_sampling = visit->api->root_sampling,
        .context = context.context,
        .origins = buf_slice(&context.origins),
    };
    int result = submission_parse(&input, ret, reterr);
    request_context_release(&context);
    return result;
}

static bool answer_submit(struct api_call *call, struct http_exchange *exchange);

static void post(struct visit *visit, struct submission *submission, struct slice key, const struct preferences *prefer)
{
    struct api_call *call = call_new(visit, sizeof *call, answer_submit);
    if (!call) {
        task_spec_unref(submission->spec);
        return;
    }
    call->holds = CALL_ENGINE;
    call->engine.spec = submission->spec;
    call->id = submission->spec->id;
    call->prefer_async = prefer->respond_async;
    call->prefer_minimal = prefer->minimal;
    if (key.data && !idempotency_set(&call->engine, slice_str(call->tenant), key, visit->request->body)) {
        struct problem problem = {0};
        problem_set(&problem, PROBLEM_OVERLOADED, "The idempotency key cannot be hashed; try again later.");
        problem.retry_after_s = 1;
        visit_fail(visit, &problem);
        call_release(call);
        return;
    }
    int64_t wait_ns = 0;
    if (prefer->has_wait)
        wait_ns = wait_of_preference(visit->config, prefer, &call->prefer_wait_s);
    call_post_engine(call, visit->exchange, ENGINE_SUBMIT, wait_ns);
}

void on_submit(struct visit *visit)
{
    struct preferences prefer;
    struct problem problem = {0};
    char key_text[IDEMPOTENCY_KEY_MAX + 1];
    struct slice header_key, key;
    struct submission submission;
    if (idempotency_key_read(visit->request, key_text, &header_key, &problem) < 0 ||
        read_submission(visit, &submission, &problem) < 0) {
        visit_fail(visit, &problem);
        return;
    }
    if (choose_key(header_key, submission.idempotency_key, &key, &problem) < 0) {
        task_spec_unref(submission.spec);
        visit_fail(visit, &problem);
        return;
    }
    prefer_read(visit->request, &prefer);
    post(visit, &submission, key, &prefer);
}

/* ---- and back ---- */

static void reply_accepted(const struct api_call *call, struct http_exchange *exchange)
{
    const struct task_record *record = &call->engine.record;
    bool finished = call->prefer_wait_s >= 0 && task_state_final(record->status.state);
    bool replayed = call->engine.result == ENGINE_REPLAYED;
    bool minimal = call->prefer_minimal && !finished && !replayed;
    char applied[64] = "";
    struct reply reply;
    call_reply_begin(call, exchange, &reply);
    reply_field(&reply, "Vary", SLICE_LITERAL("Prefer"));
    reply_location(&reply, record->spec->id);
    if (finished)
        (void)snprintf(applied, sizeof applied, "wait=%lld", (long long)call->prefer_wait_s);
    else if (call->prefer_async && !replayed)
        (void)snprintf(applied, sizeof applied, minimal ? "respond-async, return=minimal" : "respond-async");
    else if (minimal)
        (void)snprintf(applied, sizeof applied, "return=minimal");
    if (*applied)
        reply_field(&reply, "Preference-Applied", slice_str(applied));
    if (replayed)
        reply_field(&reply, "Idempotency-Replayed", SLICE_LITERAL("true"));
    int status = finished || replayed ? 200 : 202;
    if (status == 202)
        reply_retry_after(&reply, 1);
    if (minimal)
        reply_task_minimal(&reply, status, record);
    else
        reply_task(&reply, status, record, call->api->node);
}

static bool answer_submit(struct api_call *call, struct http_exchange *exchange)
{
    enum engine_result result = call->engine.result;
    if (result == ENGINE_OK || result == ENGINE_REPLAYED)
        reply_accepted(call, exchange);
    else
        call_reply_refused(call, exchange);
    return true;
}
