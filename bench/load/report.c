/* What was measured: for people on standard error, as one line of JSON on standard output. */
#include <stdio.h>

#include "bench/load/load.h"

static const char *const names[] = {
#define X(id, name) name,
    OPERATIONS(X)
#undef X
};

static double per(double amount, double count)
{
    return count > 0 ? amount / count : 0;
}

static void latency_json(const struct histogram *latency)
{
    (void)printf("{\"count\":%llu,\"mean\":%.4f,\"p50\":%.4f,\"p90\":%.4f,\"p99\":%.4f,\"p99.9\":%.4f,\"max\":%.4f}",
                 (unsigned long long)latency->total, histogram_mean_ms(latency), histogram_ms(latency, 0.5),
                 histogram_ms(latency, 0.9), histogram_ms(latency, 0.99), histogram_ms(latency, 0.999),
                 (double)latency->max_ns / 1e6);
}

static void daemon_json(const struct load *load)
{
    const struct usage *before = &load->before, *after = &load->after;
    double all = after->submitted - before->submitted, counted = (double)(load->tasks ? load->tasks : load->operations);
    (void)printf(",\"daemon\":{\"rss_idle_kib\":%ld,\"rss_before_kib\":%ld,\"rss_kib\":%ld,\"cpu_s\":%.3f,"
                 "\"cpu_us_per_task\":%.3f,\"syncs\":%.0f,\"syncs_per_task\":%.5f,\"commits_per_task\":%.5f,"
                 "\"switches_per_task\":%.4f,\"start_s\":%.3f}",
                 load->idle.rss_kib, before->rss_kib, after->rss_kib, load->server_cpu_s,
                 per(load->server_cpu_s * 1e6, counted), after->syncs - before->syncs,
                 per(after->syncs - before->syncs, all), per(after->commits - before->commits, all),
                 per((double)(after->switches - before->switches), all > 0 ? all : counted), load->server.ready_s);
}

static double bytes_per_waiting(const struct load *load)
{
    return per((double)(load->preloaded.rss_kib - load->idle.rss_kib) * 1024, (double)load->options.preload);
}

static void extra_json(const struct load *load)
{
    if (load->options.preload && load->preload_s > 0)
        (void)printf(",\"preload\":{\"tasks\":%llu,\"queued\":%s,\"per_s\":%.0f,\"rss_kib\":%ld,"
                     "\"bytes_per_task\":%.1f}",
                     (unsigned long long)load->options.preload, load->options.queued ? "true" : "false",
                     per((double)load->options.preload, load->preload_s), load->preloaded.rss_kib,
                     bytes_per_waiting(load));
    if (load->start_killed_s > 0)
        (void)printf(",\"start\":{\"killed_s\":%.3f,\"stopped_s\":%.3f}", load->start_killed_s, load->start_stopped_s);
    if (load->bare_rate > 0)
        (void)printf(",\"posix_spawn\":{\"one_loop_per_s\":%.0f,\"all_processors_per_s\":%.0f}", load->bare_rate,
                     load->bare_all_rate);
}

static void report_json(const struct load *load)
{
    const struct options *options = &load->options;
    const char *between = "";
    (void)printf("{\"scenario\":\"%s\",\"connections\":%u,\"batch\":%u,\"tenants\":%u,\"rate\":%.0f,\"seconds\":%.3f,"
                 "\"operations\":%llu,\"tasks\":%llu,\"operations_per_s\":%.1f,\"tasks_per_s\":%.1f,\"errors\":%llu,"
                 "\"first_error\":%d,\"unanswered\":%llu,\"load_cpu_s\":%.3f,\"latency_ms\":{",
                 options->scenario->name, options->connections, options->batch, options->tenants, options->rate,
                 load->seconds, (unsigned long long)load->operations, (unsigned long long)load->tasks,
                 per((double)load->operations, load->seconds), per((double)load->tasks, load->seconds),
                 (unsigned long long)load->errors, load->first_error, (unsigned long long)load->unanswered,
                 load->spent_s);
    for (unsigned i = 0; i < OPERATIONS_END; i++)
        if (load->latency[i]->total) {
            (void)printf("%s\"%s\":", between, names[i]);
            latency_json(load->latency[i]);
            between = ",";
        }
    (void)printf("}");
    daemon_json(load);
    extra_json(load);
    (void)printf("}\n");
    (void)fflush(stdout);
}

static void report_text(const struct load *load)
{
    const struct options *options = &load->options;
    (void)fprintf(stderr, "%s: %s\n", options->scenario->name, options->scenario->text);
    if (load->seconds > 0)
        (void)fprintf(stderr,
                      "  %u connections%s, %.1f s: %.0f operations/s, %.0f tasks/s; errors %llu, unanswered %llu\n",
                      options->connections, options->rate > 0 ? " (open loop)" : "", load->seconds,
                      per((double)load->operations, load->seconds), per((double)load->tasks, load->seconds),
                      (unsigned long long)load->errors, (unsigned long long)load->unanswered);
    for (unsigned i = 0; i < OPERATIONS_END; i++) {
        const struct histogram *latency = load->latency[i];
        if (latency->total)
            (void)fprintf(stderr, "  %-6s ms: p50 %.3f  p90 %.3f  p99 %.3f  p99.9 %.3f  max %.3f\n", names[i],
                          histogram_ms(latency, 0.5), histogram_ms(latency, 0.9), histogram_ms(latency, 0.99),
                          histogram_ms(latency, 0.999), (double)latency->max_ns / 1e6);
    }
    if (load->errors)
        (void)fprintf(stderr, "  the first wrong answer had status %d (-1: the connection broke)\n", load->first_error);
    if (load->seconds > 0) {
        double all = load->after.submitted - load->before.submitted;
        double counted = (double)(load->tasks ? load->tasks : load->operations);
        (void)fprintf(stderr,
                      "  daemon: %.2f s of processor time (%.1f us each), %.4f fsyncs and %.3f thread switches a task, "
                      "%.1f MiB; load: %.2f s of processor time\n",
                      load->server_cpu_s, per(load->server_cpu_s * 1e6, counted),
                      per(load->after.syncs - load->before.syncs, all),
                      per((double)(load->after.switches - load->before.switches), all > 0 ? all : counted),
                      (double)load->after.rss_kib / 1024, load->spent_s);
    }
    if (options->preload && load->preload_s > 0)
        (void)fprintf(stderr, "  %llu waiting tasks, submitted at %.0f/s; %.1f MiB: %.1f bytes each\n",
                      (unsigned long long)options->preload, per((double)options->preload, load->preload_s),
                      (double)load->preloaded.rss_kib / 1024, bytes_per_waiting(load));
    if (load->start_killed_s > 0)
        (void)fprintf(stderr, "  ready %.2f s after a kill, %.2f s after a stop\n", load->start_killed_s,
                      load->start_stopped_s);
    if (load->bare_rate > 0)
        (void)fprintf(stderr,
                      "  posix_spawn alone: %.0f/s in one loop (%.0f %%), %.0f/s in one for each processor (%.0f %%)\n",
                      load->bare_rate, 100 * per(per((double)load->tasks, load->seconds), load->bare_rate),
                      load->bare_all_rate, 100 * per(per((double)load->tasks, load->seconds), load->bare_all_rate));
    (void)fprintf(stderr, "  idle: %.1f MiB; ready in %.3f s\n", (double)load->idle.rss_kib / 1024,
                  load->server.ready_s);
}

void report(const struct load *load)
{
    if (!load->options.quiet)
        report_text(load);
    report_json(load);
}
