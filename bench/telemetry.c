/* What telemetry costs the engine's thread per task (one submission, one attempt), and the exporter per span.
 *     bench/telemetry [TASKS]
 * Prints nanoseconds; the lower of five rounds. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "telemetry/metrics.h"
#include "telemetry/otlp_json.h"

#define BATCH ((size_t)512)

static struct task_spec *make_spec(const char *traceparent)
{
    satchel_field fields[] = {{"traceparent", traceparent, 11, strlen(traceparent)}, {"X-Tenant-ID", "acme", 11, 4}};
    struct task_spec_text text = {
        .tenant = SLICE_LITERAL("acme"), .name = SLICE_LITERAL("report"), .args = SLICE_LITERAL("null")};
    struct task_spec *spec = task_spec_new(&text);
    satchel_context *context;
    if (!spec || satchel_extract(fields, 2, &context, NULL, NULL) != SATCHEL_OK)
        exit(1);
    task_context_set(spec, context);
    task_id_make(&spec->id);
    spec->created_us = clock_wall_us();
    return spec;
}

struct setting {
    const char *name;
    struct spans *spans;
    struct metrics *metrics;
    struct task_spec *spec;
};

static void one_task(const struct setting *s, int64_t now_us)
{
    struct metric_attempt metric = {.spec = s->spec, .number = 1, .at_us = now_us};
    struct span_attempt attempt = {.spec = s->spec, .number = 1, .started_us = now_us, .finished_us = now_us + 5};
    metrics_note_submitted(s->metrics, "acme");
    metrics_note_wait(s->metrics, &metric, 120);
    metrics_note_run(s->metrics, &metric, 5000, RESULT_SUCCEEDED);
    metrics_note_finished(s->metrics, "acme", TASK_SUCCEEDED);
    if (s->spans)
        spans_submitted(s->spans, s->spec, clock_wall_us());
    spans_attempt(s->spans, &attempt);
}

static void drain(struct spans *spans, struct span *batch)
{
    struct spans_stats stats;
    for (spans_get_stats(spans, &stats); stats.waiting; spans_get_stats(spans, &stats)) {
        size_t n = spans_take(spans, batch, BATCH, 0);
        for (size_t i = 0; i < n; i++)
            span_release(&batch[i]);
    }
}

static void measure(const struct setting *s, size_t tasks)
{
    static struct span batch[BATCH];
    double best = 1e18;
    for (int round = 0; round < 5; round++) {
        int64_t spent = 0, now_us = clock_wall_us();
        for (size_t done = 0; done < tasks; done += BATCH / 2) {
            int64_t start = clock_mono_ns();
            for (size_t i = 0; i < BATCH / 2; i++)
                one_task(s, now_us + (int64_t)(done + i) * 20);
            spent += clock_mono_ns() - start;
            drain(s->spans, batch); /* the exporter's part */
        }
        double each = (double)spent / (double)tasks;
        best = each < best ? each : best;
    }
    (void)printf("%-48s %7.1f ns a task\n", s->name, best);
}

static void measure_encoding(struct task_spec *spec, size_t rounds)
{
    static struct span batch[BATCH];
    struct otlp_pair resource = {(char[]){"service.name"}, (char[]){"satcheld"}};
    struct buf out = BUF_INIT;
    for (size_t i = 0; i < BATCH; i++)
        batch[i] = (struct span){.kind = i % 2 ? SPAN_CONSUMER : SPAN_PRODUCER, .spec = spec, .attempt = 1};
    int64_t start = clock_mono_ns();
    for (size_t i = 0; i < rounds; i++) {
        buf_reset(&out);
        otlp_encode(batch, BATCH, &resource, 1, &out);
    }
    int64_t spent = clock_mono_ns() - start;
    (void)printf("%-48s %7.1f ns a span, %zu bytes\n", "JSON of a span (exporter's thread)",
                 (double)spent / (double)(rounds * BATCH), out.len / BATCH);
    buf_release(&out);
}

int main(int argc, char *argv[])
{
    size_t tasks = argc > 1 ? strtoul(argv[1], NULL, 10) : 200000;
    const char *const types[] = {"report"};
    struct metrics_options options = {.types = types, .n_types = 1};
    struct spans *spans;
    struct metrics *metrics;
    if (tasks == 0 || spans_new(BATCH * 2, false, &spans) < 0 || metrics_new(&options, &metrics) < 0)
        return 1;
    struct task_spec *sampled = make_spec("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    struct task_spec *quiet = make_spec("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
    const struct setting settings[] = {
        {"neither metrics nor spans", NULL, NULL, sampled},
        {"metrics", NULL, metrics, sampled},
        {"metrics, spans exported, trace not sampled", spans, metrics, quiet},
        {"metrics, spans exported, trace sampled", spans, metrics, sampled},
    };
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        measure(&settings[i], tasks);
    measure_encoding(sampled, tasks / BATCH + 1);
    spans_free(spans);
    metrics_free(metrics);
    task_spec_unref(sampled);
    task_spec_unref(quiet);
    return 0;
}
