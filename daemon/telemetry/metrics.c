/* Flow: engine/observe.c -> metrics_note_* -> here <- api/metrics.c, at a scrape.
 * Counters have one writer, so that an increment is a load and a store; an exemplar has several words, which the lock
 * guards, and is renewed so seldom that nobody waits for it. */
#include "telemetry/metrics.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "telemetry/spans.h"

#define EXEMPLAR_US INT64_C(1000000) /* how long one stays */
#define SAMPLED 1u

const double metric_bounds[METRIC_BUCKETS - 1] = {0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5,
                                                  1,      5,      10,    60,    300,  1800, 7200};
static const int64_t bounds_ns[METRIC_BUCKETS - 1] = {
    100000,     500000,     1000000,     5000000,     10000000,     50000000,      100000000,    500000000,
    1000000000, 5000000000, 10000000000, 60000000000, 300000000000, 1800000000000, 7200000000000};

struct histogram {
    _Atomic uint64_t buckets[METRIC_BUCKETS];
    _Atomic uint64_t sum_ns;
    int64_t look_us[METRIC_BUCKETS];                  /* the writer's: when to look for another exemplar */
    struct metric_exemplar exemplars[METRIC_BUCKETS]; /* metrics->lock guards them */
};

struct tenant_counts {
    char *name;
    _Atomic uint64_t submitted, finished[TASK_STATE_COUNT], run_ns;
};

struct metrics {
    /* constant */
    struct tenant_counts *tenants; /* sorted by name; one more for the others */
    size_t n_tenants;
    bool by_tenant;
    /* the engine's thread writes, any reads */
    char *types[METRIC_TYPES_MAX + 1];                    /* the last one is for the others */
    _Atomic size_t n_types;                               /* written after the name that it counts */
    _Atomic(struct histogram *) *histograms[TIMES_COUNT]; /* made at first use */
    _Atomic uint64_t results[RESULT_COUNT];
    pthread_mutex_t lock;
};

static void count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

static uint64_t counted(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)counter, memory_order_relaxed);
}

/* ---- life ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tenant_counts *)a)->name, ((const struct tenant_counts *)b)->name);
}

static bool add_tenants(struct metrics *m, const struct metrics_options *options)
{
    m->tenants = calloc(options->n_tenants + 1, sizeof *m->tenants);
    if (!m->tenants)
        return false;
    for (size_t i = 0; i < options->n_tenants; i++) {
        if (strcmp(options->tenants[i], "*") == 0)
            continue;
        m->tenants[m->n_tenants].name = strdup(options->tenants[i]);
        if (!m->tenants[m->n_tenants++].name)
            return false;
    }
    qsort(m->tenants, m->n_tenants, sizeof *m->tenants, by_name);
    m->tenants[m->n_tenants].name = strdup("*");
    return m->tenants[m->n_tenants].name != NULL;
}

static bool add_types(struct metrics *m, const struct metrics_options *options)
{
    size_t n = options->n_types < METRIC_TYPES_MAX ? options->n_types : METRIC_TYPES_MAX;
    for (size_t i = 0; i < TIMES_COUNT; i++)
        m->histograms[i] = calloc(METRIC_TYPES_MAX + 1, sizeof *m->histograms[i]);
    if (!m->histograms[TIMES_WAIT] || !m->histograms[TIMES_RUN])
        return false;
    for (size_t i = 0; i < n; i++)
        if (metrics_type(m, options->types[i]) == METRIC_TYPES_MAX)
            return false;
    return (m->types[METRIC_TYPES_MAX] = strdup("other")) != NULL;
}

int metrics_new(const struct metrics_options *options, struct metrics **ret)
{
    struct metrics *m = calloc(1, sizeof *m);
    if (!m)
        return -ENOMEM;
    (void)pthread_mutex_init(&m->lock, NULL);
    m->by_tenant = options->by_tenant;
    if (!add_types(m, options) || !add_tenants(m, options)) {
        metrics_free(m);
        return -ENOMEM;
    }
    *ret = m;
    return 0;
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    for (size_t i = 0; i <= METRIC_TYPES_MAX; i++)
        free(m->types[i]);
    for (size_t which = 0; which < TIMES_COUNT; which++) {
        for (size_t i = 0; m->histograms[which] && i <= METRIC_TYPES_MAX; i++)
            free(atomic_load_explicit(&m->histograms[which][i], memory_order_relaxed));
        free(m->histograms[which]);
    }
    for (size_t i = 0; m->tenants && i <= m->n_tenants; i++)
        free(m->tenants[i].name);
    free(m->tenants);
    (void)pthread_mutex_destroy(&m->lock);
    free(m);
}

/* ---- writing ---- */

size_t metrics_type(struct metrics *m, const char *name)
{
    size_t n = m ? atomic_load_explicit(&m->n_types, memory_order_relaxed) : 0;
    for (size_t i = 0; i < n; i++)
        if (strcmp(m->types[i], name) == 0)
            return i;
    if (!m || n == METRIC_TYPES_MAX || !(m->types[n] = strdup(name)))
        return METRIC_TYPES_MAX;
    atomic_store_explicit(&m->n_types, n + 1, memory_order_release);
    return n;
}

static struct tenant_counts *tenant_of(struct metrics *m, const char *name)
{
    struct tenant_counts key = {.name = (char *)(uintptr_t)name};
    struct tenant_counts *found = bsearch(&key, m->tenants, m->n_tenants, sizeof key, by_name);
    return found ? found : &m->tenants[m->n_tenants];
}

void metrics_note_submitted(struct metrics *m, const char *tenant)
{
    if (m && m->by_tenant)
        count(&tenant_of(m, tenant)->submitted, 1);
}

void metrics_note_finished(struct metrics *m, const char *tenant, enum task_state state)
{
    if (m && m->by_tenant)
        count(&tenant_of(m, tenant)->finished[state], 1);
}

/* NULL: no memory; then this one is not counted. */
static struct histogram *histogram_of(struct metrics *m, enum metric_times which, size_t type)
{
    bool is_named = type < atomic_load_explicit(&m->n_types, memory_order_relaxed);
    _Atomic(struct histogram *) *place = &m->histograms[which][is_named ? type : METRIC_TYPES_MAX];
    struct histogram *histogram = atomic_load_explicit(place, memory_order_relaxed);
    if (histogram)
        return histogram;
    histogram = calloc(1, sizeof *histogram);
    atomic_store_explicit(place, histogram, memory_order_release);
    return histogram;
}

/* A sampled trace, since only such a one can be looked up anywhere. */
static void set_exemplar(struct metrics *m, struct metric_exemplar *to, const struct metric_attempt *attempt,
                         int64_t value_ns)
{
    struct metric_exemplar fresh = {.value_ns = value_ns, .at_us = attempt->at_us};
    if (!span_trace_of(attempt->spec, &fresh.trace) || !(fresh.trace.flags & SAMPLED))
        return;
    task_id_attempt_span(attempt->spec->id, attempt->number, fresh.trace.span_id);
    if (attempt->own_trace)
        task_id_attempt_trace(attempt->spec->id, attempt->number, fresh.trace.trace_id);
    (void)pthread_mutex_lock(&m->lock);
    *to = fresh;
    (void)pthread_mutex_unlock(&m->lock);
}

static void observe(struct metrics *m, enum metric_times which, const struct metric_attempt *attempt, int64_t ns)
{
    struct histogram *histogram = histogram_of(m, which, attempt->type);
    if (!histogram)
        return;
    size_t bucket = 0;
    ns = ns > 0 ? ns : 0; /* the wall clock may have been set back */
    while (bucket < METRIC_BUCKETS - 1 && ns > bounds_ns[bucket])
        bucket++;
    count(&histogram->sum_ns, (uint64_t)ns);
    count(&histogram->buckets[bucket], 1);
    int64_t until = histogram->look_us[bucket];
    if (attempt->at_us < until && attempt->at_us > until - 2 * EXEMPLAR_US)
        return;
    histogram->look_us[bucket] = attempt->at_us + EXEMPLAR_US;
    set_exemplar(m, &histogram->exemplars[bucket], attempt, ns);
}

void metrics_note_wait(struct metrics *m, const struct metric_attempt *attempt, int64_t wait_us)
{
    if (m)
        observe(m, TIMES_WAIT, attempt, wait_us * 1000);
}

void metrics_note_run(struct metrics *m, const struct metric_attempt *attempt, int64_t run_ns,
                      enum metric_result result)
{
    if (!m)
        return;
    observe(m, TIMES_RUN, attempt, run_ns);
    count(&m->results[result], 1);
    if (m->by_tenant)
        count(&tenant_of(m, attempt->spec->tenant.data)->run_ns, run_ns > 0 ? (uint64_t)run_ns : 0);
}

/* ---- reading ---- */

bool metrics_histogram(struct metrics *m, enum metric_times which, size_t index, const char **ret_type, bool *ret_some,
                       struct metric_histogram *ret)
{
    size_t n = atomic_load_explicit(&m->n_types, memory_order_acquire);
    if (index > METRIC_TYPES_MAX)
        return false;
    *ret_some = false;
    if (index >= n && index < METRIC_TYPES_MAX)
        return true;
    struct histogram *histogram = atomic_load_explicit(&m->histograms[which][index], memory_order_acquire);
    *ret_type = m->types[index];
    *ret_some = histogram != NULL;
    if (!histogram)
        return true;
    ret->sum_ns = counted(&histogram->sum_ns);
    for (size_t i = 0; i < METRIC_BUCKETS; i++)
        ret->buckets[i] = counted(&histogram->buckets[i]);
    (void)pthread_mutex_lock(&m->lock);
    memcpy(ret->exemplars, histogram->exemplars, sizeof ret->exemplars);
    (void)pthread_mutex_unlock(&m->lock);
    return true;
}

uint64_t metrics_attempts(const struct metrics *m, enum metric_result result)
{
    return counted(&m->results[result]);
}

bool metrics_tenant(const struct metrics *m, size_t index, struct metric_tenant *ret)
{
    if (!m->by_tenant || index > m->n_tenants)
        return false;
    const struct tenant_counts *counts = &m->tenants[index];
    *ret = (struct metric_tenant){
        .name = counts->name, .submitted = counted(&counts->submitted), .run_ns = counted(&counts->run_ns)};
    for (size_t i = 0; i < TASK_STATE_COUNT; i++)
        ret->finished[i] = counted(&counts->finished[i]);
    return true;
}
