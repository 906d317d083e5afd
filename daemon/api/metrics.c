/* GET /metrics: what the engine, the server, the store, the context library and the exporter count, as text.
 * Flow: a scrape -> on_metrics -> telemetry/exposition.c.  Everything is read from snapshots: nothing here waits for
 * the engine. */
#include "api/calls.h"
#include "base/thread.h"
#include "config.h"
#include "schedule/schedules.h"
#include "telemetry/exposition.h"
#include "telemetry/process.h"

#define LABELS(...)                                                                                                    \
    ((const struct metric_label[]){__VA_ARGS__}),                                                                      \
        (sizeof((const struct metric_label[]){__VA_ARGS__}) / sizeof(struct metric_label))

static void one(struct exposition *x, enum metric metric, uint64_t value)
{
    exposition_family(x, metric);
    exposition_number(x, value, NULL, 0);
}

static void one_in_seconds(struct exposition *x, enum metric metric, uint64_t ns)
{
    exposition_family(x, metric);
    exposition_seconds(x, ns, NULL, 0);
}

static const char *state_name(int state)
{
    return task_state_name((enum task_state)state);
}

/* ---- tasks ---- */

static void write_histograms(struct exposition *x, struct metrics *metrics, enum metric family, enum metric_times which)
{
    const char *type;
    bool some;
    struct metric_histogram histogram;
    exposition_family(x, family);
    for (size_t i = 0; metrics_histogram(metrics, which, i, &type, &some, &histogram); i++)
        if (some)
            exposition_histogram(x, &histogram, LABELS({"task", type}));
}

static void write_tasks(struct exposition *x, struct metrics *metrics, const struct engine_stats *engine)
{
    static const char *const results[] = {
        [RESULT_SUCCEEDED] = "succeeded", [RESULT_FAILED] = "failed", [RESULT_CANCELED] = "canceled"};
    exposition_family(x, METRIC_TASKS);
    for (int state = 0; state < TASK_STATE_COUNT; state++)
        if (!task_state_final((enum task_state)state))
            exposition_number(x, engine->waiting[state], LABELS({"state", state_name(state)}));
    one(x, METRIC_TASKS_SUBMITTED, engine->submitted);
    exposition_family(x, METRIC_TASKS_FINISHED);
    for (int state = 0; state < TASK_STATE_COUNT; state++)
        if (task_state_final((enum task_state)state))
            exposition_number(x, engine->finished[state], LABELS({"state", state_name(state)}));
    exposition_family(x, METRIC_ATTEMPTS);
    for (int result = 0; result < RESULT_LOST; result++)
        exposition_number(x, metrics_attempts(metrics, (enum metric_result)result),
                          LABELS({"result", results[result]}));
    exposition_number(x, engine->attempts_lost, LABELS({"result", "lost"}));
    write_histograms(x, metrics, METRIC_QUEUE_WAIT, TIMES_WAIT);
    write_histograms(x, metrics, METRIC_RUN_TIME, TIMES_RUN);
    one(x, METRIC_WAITERS, engine->waiters);
}

static void write_tenants(struct exposition *x, struct metrics *metrics)
{
    struct metric_tenant tenant;
    if (!metrics_tenant(metrics, 0, &tenant))
        return;
    exposition_family(x, METRIC_TENANT_SUBMITTED);
    for (size_t i = 0; metrics_tenant(metrics, i, &tenant); i++)
        exposition_number(x, tenant.submitted, LABELS({"tenant", tenant.name}));
    exposition_family(x, METRIC_TENANT_FINISHED);
    for (size_t i = 0; metrics_tenant(metrics, i, &tenant); i++)
        for (int state = 0; state < TASK_STATE_COUNT; state++)
            if (task_state_final((enum task_state)state))
                exposition_number(x, tenant.finished[state],
                                  LABELS({"tenant", tenant.name}, {"state", state_name(state)}));
    exposition_family(x, METRIC_TENANT_RUN_TIME);
    for (size_t i = 0; metrics_tenant(metrics, i, &tenant); i++)
        exposition_seconds(x, tenant.run_ns, LABELS({"tenant", tenant.name}));
}

/* ---- the rest ---- */

static void write_http(struct exposition *x, struct http_server *server)
{
    struct http_stats http;
    if (!server)
        return;
    http_server_stats(server, &http);
    one(x, METRIC_HTTP_REQUESTS, http.requests);
    one(x, METRIC_HTTP_CONNECTIONS, http.connections);
    one(x, METRIC_HTTP_ACCEPTED, http.accepted);
    one(x, METRIC_HTTP_REFUSED, http.refused);
    one(x, METRIC_HTTP_FRAMING_ERRORS, http.framing_errors);
    one(x, METRIC_HTTP_TIMEOUTS, http.timeouts);
    if (!http.certificate_until)
        return;
    exposition_family(x, METRIC_TLS_HANDSHAKES);
    exposition_number(x, http.handshakes, LABELS({"result", "completed"}));
    exposition_number(x, http.handshake_failures, LABELS({"result", "failed"}));
    one(x, METRIC_TLS_CERTIFICATE, (uint64_t)http.certificate_until);
}

static void write_store(struct exposition *x, const struct engine_stats *engine)
{
    one(x, METRIC_STORE_UP, engine->store_ok);
    one(x, METRIC_STORE_COMMITS, engine->commits);
    one(x, METRIC_STORE_SYNCS, engine->syncs);
    one(x, METRIC_ENGINE_BATCHES, engine->batches);
    one(x, METRIC_ENGINE_CHANGES, engine->changes);
    one(x, METRIC_DRAINING, engine->draining || engine->drained);
    one(x, METRIC_HOLDS_PAUSED, engine->paused);
    one(x, METRIC_HOLDS_DRAINING, engine->held);
}

static void write_schedules(struct exposition *x, struct schedules *schedules)
{
    struct schedules_stats stats;
    schedules_get_stats(schedules, &stats);
    exposition_family(x, METRIC_SCHEDULE_TIMES);
    exposition_number(x, stats.fired, LABELS({"result", "fired"}));
    exposition_number(x, stats.missed, LABELS({"result", "missed"}));
    exposition_number(x, stats.refused, LABELS({"result", "refused"}));
}

static void write_context(struct exposition *x, const struct engine_stats *engine)
{
    satchel_counts counts = {.struct_size = sizeof counts};
    satchel_get_counts(&counts);
    one(x, METRIC_CONTEXT_VARIABLES, counts.vars);
    one(x, METRIC_CONTEXT_VALUES, counts.values);
    one(x, METRIC_CONTEXT_CONTEXTS, counts.contexts);
    one(x, METRIC_CONTEXT_TOKENS, counts.pending_tokens);
    one(x, METRIC_CONTEXT_MISUSE, counts.misuse);
    one(x, METRIC_CONTEXT_VIOLATIONS, engine->violations + thread_violations());
}

static void write_spans(struct exposition *x, const struct api_telemetry *telemetry)
{
    struct spans_stats spans;
    struct otlp_stats otlp;
    spans_get_stats(telemetry->spans, &spans);
    otlp_get_stats(telemetry->otlp, &otlp);
    one(x, METRIC_SPANS_RECORDED, spans.recorded);
    one(x, METRIC_SPANS_WAITING, spans.waiting);
    one(x, METRIC_SPANS_EXPORTED, otlp.exported);
    exposition_family(x, METRIC_SPANS_DROPPED);
    exposition_number(x, spans.dropped, LABELS({"reason", "queue_full"}));
    exposition_number(x, otlp.rejected, LABELS({"reason", "rejected"}));
    exposition_number(x, otlp.failed, LABELS({"reason", "undelivered"}));
}

static void write_process(struct exposition *x)
{
    struct process_stats process;
    process_get_stats(&process);
    one_in_seconds(x, METRIC_PROCESS_CPU, process.cpu_ns);
    one(x, METRIC_PROCESS_MEMORY, process.resident_bytes);
    one(x, METRIC_PROCESS_VIRTUAL, process.virtual_bytes);
    one(x, METRIC_PROCESS_THREADS, process.threads);
    one(x, METRIC_PROCESS_FDS, process.open_fds);
    one(x, METRIC_PROCESS_MAX_FDS, process.max_fds);
    one(x, METRIC_PROCESS_START, process.start_s);
}

void on_metrics(struct visit *visit)
{
    const struct api_telemetry *telemetry = &visit->api->telemetry;
    struct exposition x = {.to = scratch(),
                           .openmetrics = exposition_wants_openmetrics(http_find(visit->request, "Accept", NULL))};
    struct engine_stats engine;
    struct reply reply;
    engine_get_stats(visit->api->engine, &engine);
    exposition_family(&x, METRIC_BUILD);
    exposition_number(&x, 1, LABELS({"version", PACKAGE_VERSION}));
    write_tasks(&x, telemetry->metrics, &engine);
    write_tenants(&x, telemetry->metrics);
    write_http(&x, telemetry->server);
    write_schedules(&x, visit->api->schedules);
    write_store(&x, &engine);
    write_context(&x, &engine);
    write_spans(&x, telemetry);
    write_process(&x);
    exposition_end(&x);
    reply_begin(&reply, visit->exchange, visit->caller.request_id);
    reply_field(&reply, "Vary", SLICE_LITERAL("Accept"));
    reply_typed(&reply, 200, exposition_type(x.openmetrics), x.to);
}
