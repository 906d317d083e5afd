/* Metrics that nobody else keeps: how long tasks waited and ran, how attempts ended, and what each tenant did.
 *
 * One writer (the engine's thread) and any number of readers: counters are plain atomic stores.  Each bucket of a
 * histogram remembers one sampled trace (an exemplar), renewed about once a second.
 * Labels are bounded: METRIC_TYPES_MAX task types, the others together as "other"; tenants that the configuration had
 * a section for at the start, the others together as "*".
 * Thread: metrics_note_* from the engine's alone; reading from any. */
#ifndef SATCHEL_TELEMETRY_METRICS_H
#define SATCHEL_TELEMETRY_METRICS_H

#include "task/task.h"

#define METRIC_TYPES_MAX 256u
#define METRIC_BUCKETS 16u /* with the last one, which has no upper bound */

enum metric {
#define METRIC(ID, ...) METRIC_##ID,
#include "telemetry/metrics.def"
#undef METRIC
    METRIC_COUNT
};

struct metrics;

struct metrics_options {      /* texts are copied */
    const char *const *types; /* the first names of task types; metrics_type adds others */
    size_t n_types;
    const char *const *tenants;
    size_t n_tenants;
    bool by_tenant;
};

int metrics_new(const struct metrics_options *options, struct metrics **ret); /* 0 or -ENOMEM */
void metrics_free(struct metrics *metrics);                                   /* NULL is fine */

/* ---- the engine's side; NULL metrics: nothing happens ---- */

enum metric_result { RESULT_SUCCEEDED, RESULT_FAILED, RESULT_CANCELED, RESULT_LOST, RESULT_COUNT };

struct metric_attempt {
    const struct task_spec *spec;
    size_t type; /* of metrics_type */
    uint32_t number;
    bool own_trace;
    int64_t at_us; /* wall clock */
};

/* What counts a task type: its place, from the first time it is asked for and over all reloads. */
size_t metrics_type(struct metrics *m, const char *name);
void metrics_note_submitted(struct metrics *m, const char *tenant);
void metrics_note_finished(struct metrics *m, const char *tenant, enum task_state state);
void metrics_note_wait(struct metrics *m, const struct metric_attempt *attempt, int64_t wait_us);
/* Of a lost attempt only the time counts here: the engine's own statistics count them, those that recovery finds too. */
void metrics_note_run(struct metrics *m, const struct metric_attempt *attempt, int64_t run_ns,
                      enum metric_result result);

/* ---- reading ---- */

extern const double metric_bounds[METRIC_BUCKETS - 1]; /* seconds */

struct metric_exemplar {
    satchel_trace trace; /* of the attempt */
    int64_t value_ns;
    int64_t at_us; /* 0: there is none */
};

struct metric_histogram {             /* a copy */
    uint64_t buckets[METRIC_BUCKETS]; /* not cumulative */
    uint64_t sum_ns;
    struct metric_exemplar exemplars[METRIC_BUCKETS];
};

enum metric_times { TIMES_WAIT, TIMES_RUN, TIMES_COUNT };

/* The histograms in turn, by index from 0: false past the end, which is METRIC_TYPES_MAX, the others'.  *ret_type is good as long as the metrics;
 * types that never ran have none: *ret_some is false. */
bool metrics_histogram(struct metrics *m, enum metric_times which, size_t index, const char **ret_type, bool *ret_some,
                       struct metric_histogram *ret);
uint64_t metrics_attempts(const struct metrics *m, enum metric_result result);

struct metric_tenant {
    const char *name;
    uint64_t submitted, finished[TASK_STATE_COUNT], run_ns;
};
bool metrics_tenant(const struct metrics *m, size_t index, struct metric_tenant *ret); /* false: past the end */

#endif
