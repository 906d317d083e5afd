/* What is not about tasks: liveness, readiness, and the description of the API itself. */
#include "api/calls.h"

#include "daemon/api/openapi.inc" /* openapi_text, made from docs/api/openapi.json */

void on_healthz(struct visit *visit)
{
    struct reply reply;
    reply_begin(&reply, visit->exchange, visit->caller.request_id);
    reply_json(&reply, 200, SLICE_LITERAL("{\"status\":\"ok\"}"));
}

void on_readyz(struct visit *visit)
{
    struct engine_stats stats;
    struct reply reply;
    struct problem problem = {0};
    reply_begin(&reply, visit->exchange, visit->caller.request_id);
    engine_get_stats(visit->api->engine, &stats);
    if (stats.store_ok && !stats.draining && !stats.drained) {
        reply_json(&reply, 200, SLICE_LITERAL("{\"status\":\"ready\"}"));
        return;
    }
    if (stats.draining)
        problem_set(&problem, PROBLEM_DRAINING, "satcheld is shutting down and takes no more tasks.");
    else if (stats.drained)
        problem_set(&problem, PROBLEM_DRAINING, "An operator drains satcheld: it takes no more tasks.");
    else
        problem_set(&problem, PROBLEM_STORE_UNAVAILABLE, "The store cannot be written just now.");
    problem.retry_after_s = 1;
    reply_problem(&reply, &problem);
}

void on_openapi(struct visit *visit)
{
    struct reply reply;
    reply_begin(&reply, visit->exchange, visit->caller.request_id);
    reply.n = 1; /* it may be cached */
    reply_field(&reply, "Cache-Control", SLICE_LITERAL("max-age=300"));
    reply_json(&reply, 200, slice_of((const char *)openapi_text, sizeof openapi_text));
}
