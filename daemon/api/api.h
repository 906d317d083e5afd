/* The HTTP API: requests in, calls of the engine and the reader out, and their answers back as replies.
 *
 * Lifecycle: api_new -> api_http_app to the server, api_attempt_host to the engine -> api_attach before either runs
 * -> engine and reader stop (every call has come back) -> the server's loops end -> api_free.
 * Thread: api_set_registry from any; the rest from the thread that owns the subsystems. */
#ifndef SATCHEL_API_API_H
#define SATCHEL_API_API_H

#include "config/config.h"
#include "executor/executor.h"
#include "http/http.h"
#include "telemetry/metrics.h"
#include "telemetry/otlp.h"

struct api;
struct engine;
struct reader;
struct schedules;

struct api_options {
    struct registry *registry; /* a reference is taken; its configuration is the API's */
    uint64_t root_sampling;    /* see task/submission.h */
};

int api_new(const struct api_options *options, struct api **ret); /* 0 or -errno */
void api_attach(struct api *api, struct engine *engine, struct reader *reader, struct schedules *schedules);
/* What /metrics reads; none of it is owned, and all of it outlives the last request. */
struct api_telemetry {
    struct metrics *metrics;
    struct spans *spans; /* NULL: nothing is exported */
    const struct otlp *otlp;
    struct http_server *server; /* NULL: not told of */
};
void api_attach_telemetry(struct api *api, const struct api_telemetry *telemetry);
/* From now on requests see these task types and their configuration; those under way keep theirs.  Takes a
 * reference. */
void api_set_registry(struct api *api, struct registry *registry);
const struct http_app *api_http_app(const struct api *api);
/* What attempts may do: submit sub-tasks through the same door as requests.  Its argument is the api. */
const struct attempt_host *api_attempt_host(const struct api *api);
void api_free(struct api *api); /* NULL is fine; no call may be under way */

#endif
