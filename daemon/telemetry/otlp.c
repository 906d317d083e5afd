/* Flow: spans.c -> exporter_main: take, encode (otlp_json.c), post, look at the answer.
 * Thread: its own, in an empty context; nobody else touches anything here but the flags and counters. */
#include "telemetry/otlp.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "config.h"
#include "proto/curl_loader.h"
#include "proto/json_in.h"

#define ANSWER_MAX ((size_t)4 * 1024 * 1024)
#define ANSWER_DEPTH 16
#define REQUEST_MAX ((size_t)64 * 1024 * 1024)
#define RETRY_AFTER_MAX_S 3600

const struct otlp_pace otlp_pace_standard = {.first_pause_ns = INT64_C(1000000000),
                                             .longest_pause_ns = INT64_C(30000000000),
                                             .give_up_ns = INT64_C(300000000000)};

struct otlp {
    /* constant */
    const struct otlp_settings *settings;
    struct otlp_pace pace;
    struct spans *spans;
    pthread_t thread;
    int wake_fd; /* readable once it is to stop */
    /* any thread */
    atomic_bool stopping;
    _Atomic int64_t flush_until_ns; /* written before stopping */
    _Atomic uint64_t exported, rejected, failed, requests, warnings;
    /* the exporter's thread */
    const struct curl_functions *curl;
    CURLM *multi;
    CURL *easy;
    struct curl_slist *headers;
    struct span *batch;
    struct buf request, answer;
    bool complained; /* said that the receiver does not take spans; not yet that it does again */
};

enum verdict { VERDICT_TAKEN, VERDICT_REFUSED, VERDICT_LATER, VERDICT_TOO_LATE };

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* ---- time ---- */

static bool is_stopping(const struct otlp *o)
{
    return atomic_load_explicit(&o->stopping, memory_order_acquire);
}

/* When the exporter must be done with what it is doing: far away, or the end of the flush. */
static int64_t end_of_time(const struct otlp *o)
{
    return is_stopping(o) ? atomic_load_explicit(&o->flush_until_ns, memory_order_relaxed) : INT64_MAX;
}

static int milliseconds_until(int64_t at_ns)
{
    int64_t left = at_ns - clock_mono_ns();
    return left <= 0 ? 0 : left > INT64_C(1000000000) ? 1000 : (int)(left / 1000000) + 1;
}

/* A stop cuts a pause short once: what was refused before is tried at once, for the last time perhaps. */
static void pause_for(struct otlp *o, int64_t pause_ns)
{
    int64_t until = clock_mono_ns() + pause_ns;
    bool stopping = is_stopping(o);
    while (stopping == is_stopping(o) && clock_mono_ns() < until && clock_mono_ns() < end_of_time(o)) {
        struct pollfd wake = {.fd = stopping ? -1 : o->wake_fd, .events = POLLIN};
        int64_t next = until < end_of_time(o) ? until : end_of_time(o);
        (void)poll(&wake, 1, milliseconds_until(next));
    }
}

/* ---- one request ---- */

static size_t on_answer(char *data, size_t size, size_t n, void *arg)
{
    struct otlp *o = arg;
    if (o->answer.len + size * n > ANSWER_MAX)
        return 0;
    buf_append(&o->answer, data, size * n);
    return size * n; /* one that finds no memory is not read */
}

/* What the transfer came to; CURLE_ABORTED_BY_CALLBACK: the time of a stop was over. */
static CURLcode transfer(struct otlp *o)
{
    const struct curl_functions *curl = o->curl;
    CURLcode result = CURLE_ABORTED_BY_CALLBACK;
    int running = 1, left;
    if (curl->multi_add_handle(o->multi, o->easy) != CURLM_OK)
        return CURLE_OUT_OF_MEMORY;
    for (;;) {
        if (curl->multi_perform(o->multi, &running) != CURLM_OK || !running)
            break;
        int64_t end = end_of_time(o);
        if (clock_mono_ns() >= end)
            break;
        struct curl_waitfd wake = {.fd = o->wake_fd, .events = CURL_WAIT_POLLIN};
        (void)curl->multi_poll(o->multi, &wake, is_stopping(o) ? 0 : 1, milliseconds_until(end), NULL);
    }
    for (CURLMsg *message; (message = curl->multi_info_read(o->multi, &left)) != NULL;)
        if (message->msg == CURLMSG_DONE)
            result = message->data.result;
    (void)curl->multi_remove_handle(o->multi, o->easy);
    return result;
}

static void complain(struct otlp *o, const char *reason, long status)
{
    if (o->complained)
        return;
    o->complained = true;
    LOG_WARNING("spans cannot be exported", LOG_TEXT("reason", reason), LOG_NUMBER("http_status", status));
}

/* {"partialSuccess": {"rejectedSpans": "2", "errorMessage": "..."}}: counted, and never sent again. */
static uint64_t count_rejected(struct otlp *o, size_t n)
{
    char error[JSON_IN_ERROR_SIZE];
    if (!buf_ok(&o->answer) || o->answer.len == 0)
        return 0;
    json_t *root = json_in_load(buf_slice(&o->answer), ANSWER_DEPTH, error);
    const json_t *partial = json_object_get(root, "partialSuccess");
    const json_t *rejected = json_object_get(partial, "rejectedSpans");
    const char *message = json_string_value(json_object_get(partial, "errorMessage"));
    double count = json_is_string(rejected) ? strtod(json_string_value(rejected), NULL) : json_number_value(rejected);
    count = !(count > 0) ? 0 : count > (double)n ? (double)n : count;
    if (count > 0)
        complain(o, message ? message : "the receiver rejected some of them", 200);
    else if (message && *message) {
        add(&o->warnings, 1);
        LOG_WARNING("the receiver of spans warns", LOG_TEXT("reason", message));
    }
    json_decref(root);
    return (uint64_t)count;
}

static bool may_be_repeated(CURLcode result, long status)
{
    if (result == CURLE_OK)
        return status == 429 || status == 502 || status == 503 || status == 504;
    return result != CURLE_UNSUPPORTED_PROTOCOL && result != CURLE_URL_MALFORMAT && result != CURLE_WRITE_ERROR;
}

/* Sends o->request once.  *ret_pause_ns: what the receiver asked for; 0: nothing. */
static enum verdict post(struct otlp *o, size_t n, int64_t *ret_pause_ns)
{
    const struct curl_functions *curl = o->curl;
    long status = 0;
    curl_off_t retry_after = 0;
    buf_reset(&o->answer);
    add(&o->requests, 1);
    CURLcode result = transfer(o);
    (void)curl->easy_getinfo(o->easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl->easy_getinfo(o->easy, CURLINFO_RETRY_AFTER, &retry_after);
    *ret_pause_ns = 0;
    if (result == CURLE_OK && status / 100 == 2) {
        uint64_t rejected = count_rejected(o, n);
        add(&o->rejected, rejected);
        add(&o->exported, n - rejected);
        if (o->complained && rejected == 0) {
            o->complained = false;
            LOG_NOTICE("spans are exported again");
        }
        return VERDICT_TAKEN;
    }
    if (result == CURLE_ABORTED_BY_CALLBACK)
        return VERDICT_TOO_LATE;
    complain(o, result == CURLE_OK ? "the receiver refuses them" : curl->easy_strerror(result), status);
    if (!may_be_repeated(result, status))
        return VERDICT_REFUSED;
    if (result == CURLE_OK && retry_after > 0)
        *ret_pause_ns = (retry_after < RETRY_AFTER_MAX_S ? retry_after : RETRY_AFTER_MAX_S) * INT64_C(1000000000);
    return VERDICT_LATER;
}

/* Half of the pause for certain, the other half by chance. */
static int64_t jittered(int64_t pause_ns)
{
    uint32_t random;
    random_bytes(&random, sizeof random);
    return pause_ns / 2 + (int64_t)((double)pause_ns / 2 * random / UINT32_MAX);
}

static void deliver(struct otlp *o, size_t n)
{
    int64_t start = clock_mono_ns(), pause = o->pace.first_pause_ns, asked;
    for (;;) {
        enum verdict verdict = post(o, n, &asked);
        if (verdict == VERDICT_TAKEN)
            return;
        if (verdict == VERDICT_REFUSED) {
            add(&o->rejected, n);
            return;
        }
        int64_t wait = asked ? asked : jittered(pause);
        if (verdict == VERDICT_TOO_LATE || clock_mono_ns() + wait - start > o->pace.give_up_ns)
            break;
        pause_for(o, wait);
        if (clock_mono_ns() >= end_of_time(o))
            break;
        pause = pause * 2 < o->pace.longest_pause_ns ? pause * 2 : o->pace.longest_pause_ns;
    }
    add(&o->failed, n);
}

/* ---- the thread ---- */

static bool set_up_headers(struct otlp *o)
{
    const struct otlp_settings *settings = o->settings;
    o->headers = o->curl->slist_append(NULL, "Content-Type: application/json");
    if (!o->headers)
        return false;
    struct curl_slist *all = o->curl->slist_append(o->headers, "Expect:");
    for (size_t i = 0; all && i < settings->n_headers; i++) {
        char *line;
        if (asprintf(&line, *settings->headers[i].value ? "%s: %s" : "%s;", settings->headers[i].key,
                     settings->headers[i].value) < 0)
            return false;
        all = o->curl->slist_append(o->headers, line);
        free(line);
    }
    return all != NULL;
}

static bool set_up(struct otlp *o)
{
    const char *why = NULL;
    o->curl = curl_load(&why);
    if (!o->curl) {
        LOG_ERROR("spans cannot be exported", LOG_TEXT("reason", why));
        return false;
    }
    o->multi = o->curl->multi_init();
    o->easy = o->curl->easy_init();
    if (!o->multi || !o->easy || !set_up_headers(o)) {
        LOG_ERROR("spans cannot be exported", LOG_TEXT("reason", "out of memory"));
        return false;
    }
    const struct curl_functions *curl = o->curl;
    (void)curl->easy_setopt(o->easy, CURLOPT_URL, o->settings->url);
    (void)curl->easy_setopt(o->easy, CURLOPT_POST, 1L);
    (void)curl->easy_setopt(o->easy, CURLOPT_HTTPHEADER, o->headers);
    (void)curl->easy_setopt(o->easy, CURLOPT_USERAGENT, "satcheld/" PACKAGE_VERSION);
    (void)curl->easy_setopt(o->easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl->easy_setopt(o->easy, CURLOPT_TIMEOUT_MS, (long)(o->settings->timeout_us / 1000));
    (void)curl->easy_setopt(o->easy, CURLOPT_WRITEFUNCTION, on_answer);
    (void)curl->easy_setopt(o->easy, CURLOPT_WRITEDATA, o);
    return true;
}

static void tear_down(struct otlp *o)
{
    buf_release(&o->request);
    buf_release(&o->answer);
    if (!o->curl)
        return;
    o->curl->easy_cleanup(o->easy);
    if (o->multi)
        (void)o->curl->multi_cleanup(o->multi);
    o->curl->slist_free_all(o->headers);
}

static void export(struct otlp *o, size_t n)
{
    buf_reset(&o->request);
    otlp_encode(o->batch, n, o->settings->resource, o->settings->n_resource, &o->request);
    for (size_t i = 0; i < n; i++)
        span_release(&o->batch[i]); /* before the network: a retry holds bytes, not tasks */
    if (!buf_ok(&o->request) || clock_mono_ns() >= end_of_time(o)) {
        add(&o->failed, n);
        return;
    }
    (void)o->curl->easy_setopt(o->easy, CURLOPT_POSTFIELDS, o->request.data);
    (void)o->curl->easy_setopt(o->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)o->request.len);
    deliver(o, n);
    if (o->request.cap > ANSWER_MAX)
        buf_release(&o->request);
}

static void *exporter_main(void *arg)
{
    struct otlp *o = arg;
    bool usable = set_up(o);
    size_t n;
    while ((n = spans_take(o->spans, o->batch, o->settings->batch, o->settings->delay_us * 1000)) > 0) {
        if (usable) {
            export(o, n);
            (void)thread_check();
            continue;
        }
        add(&o->failed, n);
        for (size_t i = 0; i < n; i++)
            span_release(&o->batch[i]);
    }
    tear_down(o);
    return NULL;
}

/* ---- life ---- */

static void release(struct otlp *o)
{
    if (o->wake_fd >= 0)
        (void)close(o->wake_fd);
    free(o->batch);
    free(o);
}

int otlp_start(const struct otlp_settings *settings, const struct otlp_pace *pace, struct spans *spans,
               struct otlp **ret)
{
    struct otlp *o = calloc(1, sizeof *o);
    if (!o)
        return -ENOMEM;
    o->settings = settings;
    o->pace = *pace;
    o->spans = spans;
    o->request.max = REQUEST_MAX;
    o->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    o->batch = calloc(settings->batch, sizeof *o->batch);
    int err = o->wake_fd < 0 ? -errno : o->batch ? thread_start(&o->thread, "otlp", exporter_main, o) : -ENOMEM;
    if (err) {
        release(o);
        return err;
    }
    *ret = o;
    return 0;
}

void otlp_stop(struct otlp *o, int64_t flush_ns)
{
    if (!o)
        return;
    atomic_store_explicit(&o->flush_until_ns, clock_mono_ns() + flush_ns, memory_order_relaxed);
    atomic_store_explicit(&o->stopping, true, memory_order_release);
    (void)eventfd_write(o->wake_fd, 1);
    spans_close(o->spans);
    (void)pthread_join(o->thread, NULL);
    release(o);
}

void otlp_get_stats(const struct otlp *o, struct otlp_stats *ret)
{
    *ret = (struct otlp_stats){0};
    if (!o)
        return;
    ret->exported = atomic_load_explicit(&o->exported, memory_order_relaxed);
    ret->rejected = atomic_load_explicit(&o->rejected, memory_order_relaxed);
    ret->failed = atomic_load_explicit(&o->failed, memory_order_relaxed);
    ret->requests = atomic_load_explicit(&o->requests, memory_order_relaxed);
    ret->warnings = atomic_load_explicit(&o->warnings, memory_order_relaxed);
}
