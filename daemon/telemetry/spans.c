/* The queue between those who end something and the exporter.
 * Flow: engine/observe.c, engine/recovery.c, executor/http -> here -> otlp.c (exporter's thread).
 * One lock, held for a copy of one span; nothing is called under it. */
#include "telemetry/spans.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"

#define URL_MAX 2048u
#define METHOD_MAX 32u
#define ERROR_MAX 64u

struct spans {
    bool all;   /* constant */
    size_t cap; /* constant */
    pthread_mutex_t lock;
    pthread_cond_t filled; /* the exporter waits here */
    /* lock guards: */
    size_t first, n;
    size_t bytes;  /* of the specs held */
    size_t wanted; /* the exporter wants to be woken at so many; 0: it does not wait */
    bool closed;
    uint64_t recorded, dropped;
    struct span ring[];
};

/* ---- life ---- */

int spans_new(size_t max_spans, bool all, struct spans **ret)
{
    struct spans *spans = calloc(1, sizeof *spans + max_spans * sizeof spans->ring[0]);
    if (!spans)
        return -ENOMEM;
    pthread_condattr_t clock;
    (void)pthread_condattr_init(&clock);
    (void)pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&spans->filled, &clock);
    (void)pthread_condattr_destroy(&clock);
    (void)pthread_mutex_init(&spans->lock, NULL);
    spans->all = all;
    spans->cap = max_spans;
    *ret = spans;
    return 0;
}

void span_release(struct span *span)
{
    task_spec_unref(span->spec);
    task_outcome_unref(span->outcome);
    free(span->method);
    *span = (struct span){0};
}

void spans_free(struct spans *spans)
{
    if (!spans)
        return;
    for (; spans->n; spans->n--) {
        span_release(&spans->ring[spans->first]);
        spans->first = (spans->first + 1) % spans->cap;
    }
    (void)pthread_cond_destroy(&spans->filled);
    (void)pthread_mutex_destroy(&spans->lock);
    free(spans);
}

void spans_get_stats(struct spans *spans, struct spans_stats *ret)
{
    *ret = (struct spans_stats){0};
    if (!spans)
        return;
    (void)pthread_mutex_lock(&spans->lock);
    *ret = (struct spans_stats){.recorded = spans->recorded, .dropped = spans->dropped, .waiting = spans->n};
    (void)pthread_mutex_unlock(&spans->lock);
}

/* ---- recording ---- */

/* The submission's traceparent, always written as version 00; false: it has none. */
static bool traceparent_of(const struct task_spec *spec, char out[56])
{
    satchel_value *value;
    satchel_context *context = task_context(spec);
    if (!context || satchel_context_get(context, satchel_known_var(SATCHEL_TRACEPARENT), &value) != SATCHEL_OK)
        return false;
    size_t len = satchel_value_text(value, out, 56);
    satchel_value_unref(value);
    return len == 55;
}

bool span_trace_of(const struct task_spec *spec, satchel_trace *ret)
{
    char text[56];
    return traceparent_of(spec, text) && satchel_trace_parse(text, 55, ret) == SATCHEL_OK;
}

/* All that is asked of the trace on the engine's thread: the last digit is that of the flags, 0 to 3. */
static bool is_wanted(const struct spans *spans, const struct task_spec *spec)
{
    char text[56];
    return traceparent_of(spec, text) && (spans->all || text[54] & 1);
}

/* Takes the span over; one that finds no room is released. */
static void put(struct spans *spans, struct span *span)
{
    bool wake = false, taken = false;
    size_t bytes = span->spec->size;
    (void)pthread_mutex_lock(&spans->lock);
    if (spans->closed || spans->n == spans->cap || (spans->n && spans->bytes + bytes > SPANS_BYTES_MAX)) {
        spans->dropped++;
    } else {
        spans->ring[(spans->first + spans->n++) % spans->cap] = *span;
        spans->bytes += bytes;
        spans->recorded++;
        wake = spans->wanted && (spans->n == 1 || spans->n == spans->wanted);
        taken = true;
    }
    (void)pthread_mutex_unlock(&spans->lock);
    if (wake)
        (void)pthread_cond_signal(&spans->filled);
    if (!taken)
        span_release(span);
}

void spans_record_submitted(struct spans *spans, struct task_spec *spec, int64_t end_us)
{
    if (!is_wanted(spans, spec))
        return;
    struct span span = {.kind = SPAN_PRODUCER,
                        .spec = task_spec_ref(spec),
                        .start_ns = spec->created_us * 1000,
                        .end_ns = (end_us > spec->created_us ? end_us : spec->created_us) * 1000};
    put(spans, &span);
}

void spans_record_attempt(struct spans *spans, const struct span_attempt *attempt)
{
    if (!is_wanted(spans, attempt->spec))
        return;
    const struct task_outcome *outcome = attempt->outcome;
    int64_t end_us = attempt->finished_us > attempt->started_us ? attempt->finished_us : attempt->started_us;
    struct span span = {.kind = SPAN_CONSUMER,
                        .spec = task_spec_ref(attempt->spec),
                        .attempt = attempt->number,
                        .own_trace = attempt->own_trace,
                        .lost = attempt->lost,
                        .start_ns = attempt->started_us * 1000,
                        .end_ns = end_us * 1000};
    if (outcome) {
        span.has_exit_code = outcome->has_exit_code;
        span.exit_code = outcome->exit_code;
        span.http_status = outcome->http_status;
        if (outcome->error != ERROR_TYPE_NONE) /* a success may have megabytes of result */
            span.outcome = task_outcome_ref(attempt->outcome);
    }
    put(spans, &span);
}

/* What a URL may show: no user, no password, no query, no fragment. */
static size_t copy_url(struct slice url, char *out)
{
    const char *end = url.data + url.len;
    size_t n = 0;
    for (const char *at = url.data; at < end; at++)
        if (*at == '?' || *at == '#')
            end = at;
    const char *from = url.data, *host = memmem(url.data, (size_t)(end - url.data), "://", 3);
    if (host) {
        host += 3;
        const char *path = memchr(host, '/', (size_t)(end - host));
        const char *at = memrchr(host, '@', (size_t)((path ? path : end) - host));
        n = (size_t)(host - url.data);
        n = n < 16 ? n : 16;
        memcpy(out, url.data, n);
        from = at ? at + 1 : host;
    }
    size_t rest = (size_t)(end - from) < URL_MAX - n ? (size_t)(end - from) : URL_MAX - n;
    memcpy(out + n, from, rest);
    out[n + rest] = '\0';
    return n + rest + 1;
}

/* Method, URL and error behind each other in one allocation. */
static bool copy_request(const struct span_request *request, struct span *span)
{
    size_t method_len = strnlen(request->method, METHOD_MAX);
    size_t error_len = request->error ? strnlen(request->error, ERROR_MAX) : 0;
    size_t url_len = request->url.len < URL_MAX ? request->url.len : URL_MAX;
    char *text = malloc(method_len + url_len + error_len + 3);
    if (!text)
        return false;
    span->method = text;
    memcpy(text, request->method, method_len);
    text[method_len] = '\0';
    span->url = text + method_len + 1;
    size_t used = copy_url(slice_of(request->url.len ? request->url.data : "", url_len), span->url);
    if (request->error) {
        span->error = span->url + used;
        memcpy(span->error, request->error, error_len);
        span->error[error_len] = '\0';
    }
    return true;
}

void spans_record_request(struct spans *spans, struct task_spec *spec, uint32_t attempt, bool own_trace,
                          const struct span_request *request)
{
    if (!is_wanted(spans, spec))
        return;
    struct span span = {.kind = SPAN_CLIENT,
                        .attempt = attempt,
                        .own_trace = own_trace,
                        .http_status = request->http_status,
                        .start_ns = request->start_ns,
                        .end_ns = request->end_ns > request->start_ns ? request->end_ns : request->start_ns};
    memcpy(span.span_id, request->span_id, sizeof span.span_id);
    if (!copy_request(request, &span)) {
        (void)pthread_mutex_lock(&spans->lock);
        spans->dropped++;
        (void)pthread_mutex_unlock(&spans->lock);
        return;
    }
    span.spec = task_spec_ref(spec);
    put(spans, &span);
}

/* ---- taking ---- */

static void wait_until(struct spans *spans, size_t max, int64_t until_ns)
{
    struct timespec limit = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};
    spans->wanted = max;
    while (!spans->closed && spans->n < max && clock_mono_ns() < until_ns)
        (void)pthread_cond_timedwait(&spans->filled, &spans->lock, &limit);
    spans->wanted = 0;
}

size_t spans_take(struct spans *spans, struct span *out, size_t max, int64_t delay_ns)
{
    size_t n = 0;
    if (max > spans->cap)
        max = spans->cap;
    (void)pthread_mutex_lock(&spans->lock);
    spans->wanted = 1;
    while (!spans->closed && spans->n == 0)
        (void)pthread_cond_wait(&spans->filled, &spans->lock);
    wait_until(spans, max, clock_mono_ns() + delay_ns);
    for (; n < max && spans->n; n++) {
        out[n] = spans->ring[spans->first];
        spans->first = (spans->first + 1) % spans->cap;
        spans->n--;
        spans->bytes -= out[n].spec->size;
    }
    (void)pthread_mutex_unlock(&spans->lock);
    return n;
}

void spans_close(struct spans *spans)
{
    (void)pthread_mutex_lock(&spans->lock);
    spans->closed = true;
    (void)pthread_mutex_unlock(&spans->lock);
    (void)pthread_cond_broadcast(&spans->filled);
}
