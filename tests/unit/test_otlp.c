/* The exporter against a scripted receiver: what is on the wire, which answers are tried again, what is counted. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "proto/json_in.h"
#include "telemetry/otlp.h"
#include "tests/support/receiver.h"

#define TRACE_ID "0af7651916cd43dd8448eb211c80319c"
#define OWN_SPAN "b7ad6b7169203331"
#define PARENT_SPAN "00f067aa0ba902b7"
#define LIMIT_MS 20000
#define SECOND INT64_C(1000000000)

static struct receiver receiver;
static struct otlp_settings settings;
static struct spans *spans;
static struct otlp *otlp;

/* ---- fixtures ---- */

static const char *no_environment(const char *name)
{
    (void)name;
    return NULL;
}

static void no_warning(const char *name, const char *why)
{
    fail_msg("%s: %s", name, why);
}

static void start_with(struct otlp_given given, size_t queue)
{
    static const struct otlp_pace quick = {
        .first_pause_ns = 5000000, .longest_pause_ns = 20000000, .give_up_ns = SECOND * 5};
    given.endpoint = receiver.url;
    given.delay_us = 10000;
    given.queue = (int64_t)queue;
    assert_int_equal(otlp_settings_read(&given, no_environment, no_warning, &settings), 0);
    assert_int_equal(spans_new(queue, settings.all, &spans), 0);
    assert_int_equal(otlp_start(&settings, &quick, spans, &otlp), 0);
}

static void start(void)
{
    start_with((struct otlp_given){0}, 256);
}

static int setup(void **state)
{
    (void)state;
    log_level_set(LOG_LEVEL_ERROR);
    receiver_start(&receiver);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    otlp_stop(otlp, SECOND);
    otlp = NULL;
    spans_free(spans);
    spans = NULL;
    otlp_settings_release(&settings);
    receiver_stop(&receiver);
    return 0;
}

static struct task_spec *make_spec(const char *traceparent)
{
    satchel_field fields[] = {{.name = "traceparent", .value = traceparent},
                              {.name = "X-Tenant-ID", .value = "acme"},
                              {.name = "X-Request-ID", .value = "req-1"},
                              {.name = "X-Correlation-ID", .value = "order-7"},
                              {.name = "tracestate", .value = "vendor=1"}};
    size_t n = sizeof fields / sizeof fields[0], first = traceparent ? 0 : 1;
    for (size_t i = first; i < n; i++) {
        fields[i].name_len = strlen(fields[i].name);
        fields[i].value_len = strlen(fields[i].value);
    }
    struct task_spec_text text = {.tenant = SLICE_LITERAL("acme"),
                                  .name = SLICE_LITERAL("report"),
                                  .args = SLICE_LITERAL("{\"secret\":\"hunter2\"}")};
    struct task_spec *spec = task_spec_new(&text);
    assert_non_null(spec);
    satchel_context *context;
    assert_int_equal(satchel_extract(fields + first, n - first, &context, NULL, NULL), SATCHEL_OK);
    task_context_set(spec, context);
    task_id_make(&spec->id);
    spec->root = spec->id;
    spec->created_us = INT64_C(1544712660000001);
    return spec;
}

static struct task_spec *sampled_spec(void)
{
    struct task_spec *spec = make_spec("00-" TRACE_ID "-" OWN_SPAN "-01");
    static const uint8_t parent[8] = {0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7};
    memcpy(spec->parent_span, parent, sizeof parent);
    return spec;
}

static void record_attempt(struct task_spec *spec, uint32_t number, struct task_outcome *outcome)
{
    struct span_attempt attempt = {
        .spec = spec, .outcome = outcome, .number = number, .started_us = 1000000, .finished_us = 3000000};
    spans_attempt(spans, &attempt);
}

static void record_submission(void)
{
    struct task_spec *spec = sampled_spec();
    spans_submitted(spans, spec, spec->created_us + 5);
    task_spec_unref(spec);
}

static json_t *await_span(const char *name)
{
    json_t *span = receiver_span(&receiver, TRACE_ID, name, 0, 0, LIMIT_MS);
    if (!span)
        fail_msg("no span \"%s\" came", name);
    return span;
}

static void expect(const json_t *object, const char *key, const char *expected)
{
    const char *value = json_string_value(json_object_get(object, key));
    if (!value || strcmp(value, expected) != 0)
        fail_msg("%s is %s, not %s", key, value ? value : "(no string)", expected);
}

static void expect_attribute(const json_t *span, const char *key, const char *expected)
{
    const char *value = span_text(span, key);
    if (!value || strcmp(value, expected) != 0)
        fail_msg("%s is %s, not %s", key, value ? value : "(no string)", expected);
}

static void attempt_span_hex(const struct task_spec *spec, uint32_t number, char out[17])
{
    uint8_t id[8];
    task_id_attempt_span(spec->id, number, id);
    for (size_t i = 0; i < 8; i++)
        (void)snprintf(out + 2 * i, 3, "%02x", id[i]);
}

static bool stats_reach(uint64_t (*of)(const struct otlp_stats *), uint64_t wanted)
{
    struct otlp_stats stats;
    for (int i = 0; i < LIMIT_MS / 2; i++) {
        otlp_get_stats(otlp, &stats);
        if (of(&stats) >= wanted)
            return true;
        (void)nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    return false;
}

static uint64_t exported(const struct otlp_stats *s)
{
    return s->exported;
}

static uint64_t rejected(const struct otlp_stats *s)
{
    return s->rejected;
}

static uint64_t failed(const struct otlp_stats *s)
{
    return s->failed;
}

static uint64_t warnings(const struct otlp_stats *s)
{
    return s->warnings;
}

/* ---- on the wire ---- */

static void a_submission(void **state)
{
    (void)state;
    start();
    struct task_spec *spec = sampled_spec();
    char id[TASK_ID_TEXT_SIZE];
    task_id_format(spec->id, id);
    spans_submitted(spans, spec, spec->created_us + 5);
    json_t *span = await_span("send report");
    expect(span, "traceId", TRACE_ID);
    expect(span, "spanId", OWN_SPAN);
    expect(span, "parentSpanId", PARENT_SPAN);
    expect(span, "traceState", "vendor=1");
    expect(span, "startTimeUnixNano", "1544712660000001000");
    expect(span, "endTimeUnixNano", "1544712660000006000");
    assert_true(json_is_integer(json_object_get(span, "kind")));
    assert_int_equal(json_integer_value(json_object_get(span, "kind")), 4);
    assert_true(json_is_integer(json_object_get(span, "flags")));
    assert_int_equal(json_integer_value(json_object_get(span, "flags")), 0x301);
    assert_null(json_object_get(span, "links"));
    assert_null(json_object_get(span, "status"));
    expect_attribute(span, "messaging.system", "satchel");
    expect_attribute(span, "messaging.operation.name", "send");
    expect_attribute(span, "messaging.operation.type", "send");
    expect_attribute(span, "messaging.destination.name", "report");
    expect_attribute(span, "messaging.message.id", id);
    expect_attribute(span, "messaging.message.conversation_id", "order-7");
    expect_attribute(span, "satchel.tenant", "acme");
    expect_attribute(span, "satchel.request_id", "req-1");
    json_decref(span);
    task_spec_unref(spec);
}

static void the_envelope(void **state)
{
    (void)state;
    start_with((struct otlp_given){.service_name = "jobs", .headers = "x-key=a%20b,authorization=Bearer t"}, 16);
    record_submission();
    json_t *span = await_span("send report");
    expect(json_object_get(span, "scope"), "name", "satchel");
    json_t *resource = json_object_get(span, "resource");
    expect_attribute(resource, "service.name", "jobs");
    assert_non_null(span_text(resource, "service.version"));
    const char *head = receiver.requests[0].head;
    assert_memory_equal(head, "POST /v1/traces HTTP/1.1\r\n", 26);
    assert_non_null(strstr(head, "Content-Type: application/json\r\n"));
    assert_non_null(strstr(head, "x-key: a b\r\n"));
    assert_non_null(strstr(head, "authorization: Bearer t\r\n"));
    assert_null(strstr(head, "Expect:"));
    json_t *root = json_loads(receiver.requests[0].body, 0, NULL);
    assert_int_equal(json_object_size(root), 1);
    assert_int_equal(json_array_size(json_object_get(root, "resourceSpans")), 1);
    assert_null(strstr(receiver.requests[0].body, "hunter2")); /* the args are nobody's business */
    json_decref(root);
    json_decref(span);
}

static void a_root_has_no_parent(void **state)
{
    (void)state;
    start();
    struct task_spec *spec = make_spec("00-" TRACE_ID "-" OWN_SPAN "-03");
    spans_submitted(spans, spec, spec->created_us);
    json_t *span = await_span("send report");
    assert_null(json_object_get(span, "parentSpanId"));
    assert_int_equal(json_integer_value(json_object_get(span, "flags")), 0x103);
    json_decref(span);
    task_spec_unref(spec);
}

static void an_attempt(void **state)
{
    (void)state;
    start();
    struct task_spec *spec = sampled_spec();
    char first[17];
    attempt_span_hex(spec, 1, first);
    record_attempt(spec, 1, NULL);
    json_t *span = await_span("process report"), *links = json_object_get(span, "links");
    expect(span, "spanId", first);
    expect(span, "parentSpanId", OWN_SPAN);
    expect(span, "startTimeUnixNano", "1000000000");
    expect(span, "endTimeUnixNano", "3000000000");
    assert_int_equal(json_integer_value(json_object_get(span, "kind")), 5);
    assert_string_equal(span_number(span, "satchel.task.attempt"), "1");
    expect_attribute(span, "messaging.operation.type", "process");
    assert_int_equal(json_array_size(links), 1);
    expect(json_array_get(links, 0), "traceId", TRACE_ID);
    expect(json_array_get(links, 0), "spanId", OWN_SPAN);
    assert_null(json_object_get(span, "status"));
    assert_null(span_attribute(span, "error.type"));
    json_decref(span);
    task_spec_unref(spec);
}

static void a_repeated_attempt_that_failed(void **state)
{
    (void)state;
    start();
    struct task_spec *spec = sampled_spec();
    struct task_outcome *outcome = task_outcome_failure(ERROR_TYPE_EXIT, SLICE_LITERAL("exited with 3"));
    outcome->has_exit_code = true;
    outcome->exit_code = 3;
    char second[17];
    attempt_span_hex(spec, 2, second);
    record_attempt(spec, 3, outcome);
    task_outcome_unref(outcome);
    json_t *span = await_span("process report"), *links = json_object_get(span, "links");
    assert_int_equal(json_array_size(links), 2);
    expect(json_array_get(links, 1), "traceId", TRACE_ID);
    expect(json_array_get(links, 1), "spanId", second);
    json_t *status = json_object_get(span, "status");
    assert_int_equal(json_integer_value(json_object_get(status, "code")), 2);
    expect(status, "message", "exited with 3");
    expect_attribute(span, "error.type", error_type_name(ERROR_TYPE_EXIT));
    assert_string_equal(span_number(span, "process.exit.code"), "3");
    json_decref(span);
    task_spec_unref(spec);
}

static void a_lost_attempt(void **state)
{
    (void)state;
    start();
    struct task_spec *spec = sampled_spec();
    spans_attempt(spans, &(struct span_attempt){.spec = spec, .number = 1, .lost = true, .started_us = 5});
    json_t *span = await_span("process report");
    expect_attribute(span, "error.type", "lost");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(span, "status"), "code")), 2);
    expect(span, "endTimeUnixNano", "5000"); /* never before its start */
    json_decref(span);
    task_spec_unref(spec);
}

static void an_attempt_with_a_trace_of_its_own(void **state)
{
    (void)state;
    start();
    struct task_spec *spec = sampled_spec();
    uint8_t id[16];
    char trace[33];
    task_id_attempt_trace(spec->id, 2, id);
    for (size_t i = 0; i < 16; i++)
        (void)snprintf(trace + 2 * i, 3, "%02x", id[i]);
    spans_attempt(spans, &(struct span_attempt){.spec = spec, .number = 2, .own_trace = true, .started_us = 5});
    json_t *span = receiver_span(&receiver, trace, "process report", 5, 0, LIMIT_MS);
    assert_non_null(span);
    json_t *links = json_object_get(span, "links");
    assert_null(json_object_get(span, "parentSpanId"));
    assert_null(json_object_get(span, "traceState"));
    expect(json_array_get(links, 0), "traceId", TRACE_ID);
    expect(json_array_get(links, 0), "spanId", OWN_SPAN);
    assert_string_not_equal(json_string_value(json_object_get(json_array_get(links, 1), "traceId")), trace);
    json_decref(span);
    task_spec_unref(spec);
}

static json_t *client_span(const char *url, int http_status, const char *error)
{
    struct task_spec *spec = sampled_spec();
    struct span_request request = {.span_id = {1, 2, 3, 4, 5, 6, 7, 8},
                                   .method = "POST",
                                   .url = slice_str(url),
                                   .http_status = http_status,
                                   .error = error,
                                   .start_ns = 1000000001,
                                   .end_ns = 1000000007};
    spans_client(spans, spec, 2, false, &request);
    json_t *span = await_span("POST");
    char parent[17];
    attempt_span_hex(spec, 2, parent);
    expect(span, "parentSpanId", parent);
    task_spec_unref(spec);
    return span;
}

static void an_outgoing_request(void **state)
{
    (void)state;
    start();
    json_t *span = client_span("https://user:hunter2@api.example.com:8443/hook?token=hunter2#x", 503, NULL);
    expect(span, "spanId", "0102030405060708");
    expect(span, "startTimeUnixNano", "1000000001");
    expect(span, "endTimeUnixNano", "1000000007");
    assert_int_equal(json_integer_value(json_object_get(span, "kind")), 3);
    expect_attribute(span, "http.request.method", "POST");
    expect_attribute(span, "url.full", "https://api.example.com:8443/hook");
    expect_attribute(span, "server.address", "api.example.com");
    assert_string_equal(span_number(span, "server.port"), "8443");
    assert_string_equal(span_number(span, "http.response.status_code"), "503");
    expect_attribute(span, "error.type", "503");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(span, "status"), "code")), 2);
    assert_null(strstr(receiver.requests[0].body, "hunter2"));
    json_decref(span);
}

static void odd_urls(void **state)
{
    (void)state;
    static const struct {
        const char *url, *full, *host, *port;
    } cases[] = {
        {"http://[::1]/x", "http://[::1]/x", "::1", "80"},
        {"http://[::1]:81", "http://[::1]:81", "::1", "81"},
        {"https://h", "https://h", "h", "443"},
        {"http://h/a@b", "http://h/a@b", "h", "80"},
        {"http://u@h@g/", "http://g/", "g", "80"},
        {"http:?://x@y", "http:", NULL, NULL},
        {"?", "", NULL, NULL},
        {"", "", NULL, NULL},
        {"http://[", "http://[", "[", "80"},
        {"http://h:99999999999/", "http://h:99999999999/", "h", NULL},
    };
    start();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct task_spec *spec = sampled_spec();
        struct span_request request = {.method = "GET", .url = slice_str(cases[i].url), .error = "dns"};
        spans_client(spans, spec, 1, false, &request);
        task_spec_unref(spec);
        json_t *span = receiver_span(&receiver, TRACE_ID, "GET", 3, i, LIMIT_MS);
        assert_non_null(span);
        expect_attribute(span, "url.full", cases[i].full);
        expect_attribute(span, "error.type", "dns");
        if (cases[i].host)
            expect_attribute(span, "server.address", cases[i].host);
        else
            assert_null(span_attribute(span, "server.address"));
        if (cases[i].port)
            assert_string_equal(span_number(span, "server.port"), cases[i].port);
        json_decref(span);
    }
}

/* ---- what is recorded at all ---- */

static void only_sampled_traces(void **state)
{
    (void)state;
    start();
    struct task_spec *quiet = make_spec("00-" TRACE_ID "-" OWN_SPAN "-00"), *none = make_spec(NULL);
    spans_submitted(spans, quiet, 1);
    spans_submitted(spans, none, 1);
    record_attempt(quiet, 1, NULL);
    record_attempt(none, 1, NULL);
    struct spans_stats stats;
    spans_get_stats(spans, &stats);
    assert_int_equal(stats.recorded, 0);
    assert_int_equal(stats.dropped, 0);
    task_spec_unref(quiet);
    task_spec_unref(none);
}

static void all_traces_where_configured(void **state)
{
    (void)state;
    start_with((struct otlp_given){.sampler = "always_on"}, 16);
    struct task_spec *quiet = make_spec("00-" TRACE_ID "-" OWN_SPAN "-00");
    spans_submitted(spans, quiet, 1);
    json_t *span = await_span("send report");
    assert_int_equal(json_integer_value(json_object_get(span, "flags")), 0x100);
    json_decref(span);
    task_spec_unref(quiet);
}

static void without_a_queue_nothing_happens(void **state)
{
    (void)state;
    struct task_spec *spec = sampled_spec();
    struct spans_stats stats = {.recorded = 7};
    spans_submitted(NULL, spec, 1);
    spans_attempt(NULL, &(struct span_attempt){.spec = spec});
    spans_client(NULL, spec, 1, false, &(struct span_request){.method = "GET"});
    spans_get_stats(NULL, &stats);
    assert_int_equal(stats.recorded, 0);
    assert_int_equal(atomic_load(&spec->refs), 1);
    task_spec_unref(spec);
}

static void a_full_queue_drops_and_counts(void **state)
{
    (void)state;
    struct spans *queue;
    struct spans_stats stats;
    struct span taken[8];
    assert_int_equal(spans_new(4, false, &queue), 0);
    struct task_spec *spec = sampled_spec();
    for (int i = 0; i < 10; i++)
        spans_submitted(queue, spec, 1);
    spans_get_stats(queue, &stats);
    assert_int_equal(stats.recorded, 4);
    assert_int_equal(stats.dropped, 6);
    assert_int_equal(stats.waiting, 4);
    assert_int_equal(atomic_load(&spec->refs), 5);
    assert_int_equal(spans_take(queue, taken, 8, 0), 4);
    for (size_t i = 0; i < 4; i++)
        span_release(&taken[i]);
    spans_submitted(queue, spec, 1);
    spans_close(queue);
    spans_submitted(queue, spec, 1); /* too late */
    spans_get_stats(queue, &stats);
    assert_int_equal(stats.dropped, 7);
    spans_free(queue);
    assert_int_equal(atomic_load(&spec->refs), 1);
    task_spec_unref(spec);
}

static void the_tasks_that_wait_have_a_bound(void **state)
{
    (void)state;
    struct spans *queue;
    struct spans_stats stats;
    assert_int_equal(spans_new(1000, false, &queue), 0);
    struct task_spec *spec = sampled_spec();
    spec->size = SPANS_BYTES_MAX / 4 + 1;
    for (int i = 0; i < 10; i++)
        spans_submitted(queue, spec, 1);
    spans_get_stats(queue, &stats);
    assert_int_equal(stats.recorded, 3);
    assert_int_equal(stats.dropped, 7);
    spans_free(queue);
    task_spec_unref(spec);
}

/* ---- answers ---- */

static void some_are_tried_again(void **state)
{
    (void)state;
    static const char *const heads[] = {"HTTP/1.1 429 Too Many Requests\r\n", "HTTP/1.1 502 Bad Gateway\r\n",
                                        "HTTP/1.1 503 Service Unavailable\r\n", "HTTP/1.1 504 Gateway Timeout\r\n"};
    start();
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        receiver_answer(&receiver, heads[i], "");
    receiver_answer(&receiver, NULL, NULL); /* a broken connection */
    record_submission();
    json_decref(await_span("send report"));
    assert_int_equal(receiver_count(&receiver), 6);
    for (size_t i = 1; i < 5; i++) /* the same bytes each time */
        assert_string_equal(receiver.requests[i].body, receiver.requests[0].body);
    assert_true(stats_reach(exported, 1));
    struct otlp_stats stats;
    otlp_get_stats(otlp, &stats);
    assert_int_equal(stats.rejected + stats.failed, 0);
}

static void others_are_dropped(void **state)
{
    (void)state;
    static const char *const heads[] = {"HTTP/1.1 400 Bad Request\r\n", "HTTP/1.1 401 Unauthorized\r\n",
                                        "HTTP/1.1 413 Content Too Large\r\n", "HTTP/1.1 500 Internal Server Error\r\n",
                                        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n"};
    start();
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        receiver_answer(&receiver, heads[i], "{}");
        record_submission();
        assert_true(stats_reach(rejected, i + 1));
    }
    assert_int_equal(receiver_count(&receiver), 5);
    record_submission();
    assert_true(stats_reach(exported, 1)); /* and it goes on */
}

static void retry_after(const char *value, long long least_ms)
{
    char head[128];
    (void)snprintf(head, sizeof head, "HTTP/1.1 503 Service Unavailable\r\nRetry-After: %s\r\n", value);
    receiver_answer(&receiver, head, "");
    record_submission();
    assert_true(receiver_wait(&receiver, 2, LIMIT_MS));
    long long waited = receiver.requests[1].at_ms - receiver.requests[0].at_ms;
    if (waited < least_ms)
        fail_msg("asked again after %lld ms", waited);
}

static void retry_after_seconds(void **state)
{
    (void)state;
    start();
    retry_after("1", 990);
}

static void retry_after_a_date(void **state)
{
    (void)state;
    char text[64];
    time_t at = time(NULL) + 3;
    struct tm parts;
    start();
    assert_true(strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&at, &parts)) > 0);
    retry_after(text, 900);
}

static void retry_after_longer_than_is_tried(void **state)
{
    (void)state;
    start();
    receiver_answer(&receiver, "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 60\r\n", "");
    record_submission();
    assert_true(stats_reach(failed, 1));
    assert_int_equal(receiver_count(&receiver), 1);
}

static void a_receiver_that_does_not_answer(void **state)
{
    (void)state;
    start_with((struct otlp_given){.timeout_us = 100000}, 16);
    receiver_answer(&receiver, "", "");
    record_submission();
    assert_true(receiver_wait(&receiver, 2, LIMIT_MS)); /* it is asked again */
    assert_true(stats_reach(exported, 1));
}

static void a_stop_does_not_wait_for_an_answer(void **state)
{
    (void)state;
    start();
    receiver_answer(&receiver, "", "");
    record_submission();
    assert_true(receiver_wait(&receiver, 1, LIMIT_MS));
    int64_t before = clock_mono_ns();
    otlp_stop(otlp, SECOND / 5);
    otlp = NULL;
    assert_true(clock_mono_ns() - before < 3 * SECOND);
}

static void partial_success(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{\"partialSuccess\":{\"rejectedSpans\":\"1\",\"errorMessage\":\"no\"}}",
        "{\"partialSuccess\":{\"rejectedSpans\":1}}",
        "{\"partialSuccess\":{\"rejectedSpans\":\"99999\"}}", /* more than there were */
    };
    start();
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        receiver_answer(&receiver, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n", bodies[i]);
        record_submission();
        assert_true(stats_reach(rejected, i + 1));
    }
    receiver_answer(&receiver, "HTTP/1.1 200 OK\r\n", "{\"partialSuccess\":{\"errorMessage\":\"mind the gap\"}}");
    record_submission();
    assert_true(stats_reach(warnings, 1));
    assert_true(stats_reach(exported, 1));
    assert_int_equal(receiver_count(&receiver), 4); /* none was sent twice */
}

static void answers_that_make_no_sense(void **state)
{
    (void)state;
    static const char *const bodies[] = {"",
                                         "<html>",
                                         "[]",
                                         "{\"partialSuccess\":7}",
                                         "{\"partialSuccess\":{}}",
                                         "{\"partialSuccess\":{\"rejectedSpans\":\"-3\"}}",
                                         "{\"unknown\":{}}"};
    start();
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        receiver_answer(&receiver, "HTTP/1.1 200 OK\r\n", bodies[i]);
        record_submission();
        assert_true(stats_reach(exported, i + 1));
    }
}

/* ---- the end ---- */

static void a_stop_flushes(void **state)
{
    (void)state;
    start_with((struct otlp_given){.batch = 4}, 256);
    for (int i = 0; i < 50; i++)
        record_submission();
    otlp_stop(otlp, SECOND * 20);
    otlp = NULL;
    json_t *all = receiver_spans(&receiver);
    assert_int_equal(json_array_size(all), 50);
    json_decref(all);
    size_t n_requests = receiver_count(&receiver);
    for (size_t i = 0; i < n_requests; i++) { /* batches, and never an empty envelope */
        json_t *root = json_loads(receiver.requests[i].body, 0, NULL);
        json_t *scope =
            json_array_get(json_object_get(json_array_get(json_object_get(root, "resourceSpans"), 0), "scopeSpans"), 0);
        size_t n = json_array_size(json_object_get(scope, "spans"));
        assert_true(n >= 1 && n <= 4);
        json_decref(root);
    }
}

static void a_stop_has_a_time_limit(void **state)
{
    (void)state;
    start();
    for (int i = 0; i < 30; i++)
        receiver_answer(&receiver, "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n", "");
    record_submission();
    assert_true(receiver_wait(&receiver, 1, LIMIT_MS));
    int64_t before = clock_mono_ns();
    otlp_stop(otlp, SECOND / 5);
    otlp = NULL;
    assert_true(clock_mono_ns() - before < 5 * SECOND);
    assert_true(receiver_count(&receiver) <= 3);
}

static void nobody_listens(void **state)
{
    (void)state;
    struct otlp_given given = {.endpoint = "http://127.0.0.1:1", .delay_us = 1000};
    static const struct otlp_pace pace = {
        .first_pause_ns = 1000000, .longest_pause_ns = 2000000, .give_up_ns = 20000000};
    assert_int_equal(otlp_settings_read(&given, no_environment, no_warning, &settings), 0);
    assert_int_equal(spans_new(16, false, &spans), 0);
    assert_int_equal(otlp_start(&settings, &pace, spans, &otlp), 0);
    record_submission();
    assert_true(stats_reach(failed, 1));
    struct otlp_stats stats;
    otlp_get_stats(otlp, &stats);
    assert_true(stats.requests > 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    static const struct CMUnitTest tests[] = {
        TEST(a_submission),
        TEST(the_envelope),
        TEST(a_root_has_no_parent),
        TEST(an_attempt),
        TEST(a_repeated_attempt_that_failed),
        TEST(a_lost_attempt),
        TEST(an_attempt_with_a_trace_of_its_own),
        TEST(an_outgoing_request),
        TEST(odd_urls),
        TEST(only_sampled_traces),
        TEST(all_traces_where_configured),
        TEST(without_a_queue_nothing_happens),
        TEST(a_full_queue_drops_and_counts),
        TEST(the_tasks_that_wait_have_a_bound),
        TEST(some_are_tried_again),
        TEST(others_are_dropped),
        TEST(retry_after_seconds),
        TEST(retry_after_a_date),
        TEST(retry_after_longer_than_is_tried),
        TEST(a_receiver_that_does_not_answer),
        TEST(a_stop_does_not_wait_for_an_answer),
        TEST(partial_success),
        TEST(answers_that_make_no_sense),
        TEST(a_stop_flushes),
        TEST(a_stop_has_a_time_limit),
        TEST(nobody_listens),
    };
    json_in_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
