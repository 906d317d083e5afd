/* Spans of the real daemon at a scripted receiver: one trace, the right parents and links, over retries, crashes,
 * sub-tasks and HTTP tasks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/ask.h"
#include "tests/support/receiver.h"

#define TRACED "traceparent: " TRACEPARENT "\r\nX-Tenant-ID: acme\r\n"
#define PRODUCER 4
#define CONSUMER 5
#define CLIENT 3

static struct receiver receiver;
static struct satcheld d;

static void start_with(const char *more)
{
    char config[2048];
    (void)snprintf(config, sizeof config, "otlp_endpoint = \"%s\"\nspan_delay = \"10ms\"\n%s", receiver.url,
                   more ? more : "");
    satcheld_init(&d, config);
    satcheld_start(&d);
}

static int setup(void **state)
{
    (void)state;
    receiver_start(&receiver);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    satcheld_release(&d);
    receiver_stop(&receiver);
    return 0;
}

/* Waits for it; `skip` so many of the same name before it. */
static json_t *span_of(const char *trace_id, const char *name, int kind, size_t skip)
{
    json_t *span = receiver_span(&receiver, trace_id, name, kind, skip, WAIT_MS);
    if (!span)
        fail_msg("no span \"%s\" (kind %d, number %zu) of trace %s came", name, kind, skip, trace_id);
    return span;
}

static const char *id_of(const json_t *span)
{
    return text_of(span, "spanId");
}

static void expect_link(const json_t *span, size_t index, const char *trace_id, const char *span_id)
{
    const json_t *link = json_array_get(json_object_get(span, "links"), index);
    if (!link)
        fail_msg("there is no link %zu", index);
    expect_text(link, "traceId", trace_id);
    expect_text(link, "spanId", span_id);
}

/* The parent-id of the task's traceparent: the submission's own span. */
static void expect_submission(const json_t *task, const json_t *span)
{
    const char *traceparent = text_of(json_object_get(task, "context"), "traceparent");
    assert_memory_equal(traceparent + 3, text_of(span, "traceId"), 32);
    assert_memory_equal(traceparent + 36, id_of(span), 16);
}

static void one_task_one_trace(void **state)
{
    (void)state;
    start_with(NULL);
    json_t *task = run(&d, TRACED "X-Correlation-ID: order-7\r\n", "{\"task\":\"satchel.echo\",\"args\":1}");
    expect_state(task, "succeeded");
    json_t *sent = span_of(TRACE_ID, "send satchel.echo", PRODUCER, 0);
    json_t *processed = span_of(TRACE_ID, "process satchel.echo", CONSUMER, 0);
    expect_submission(task, sent);
    expect_text(sent, "parentSpanId", SPAN_ID);
    expect_text(processed, "parentSpanId", id_of(sent));
    expect_link(processed, 0, TRACE_ID, id_of(sent));
    assert_int_equal(json_array_size(json_object_get(processed, "links")), 1);
    assert_string_equal(span_text(sent, "messaging.message.id"), text_of(task, "id"));
    assert_string_equal(span_text(processed, "messaging.message.id"), text_of(task, "id"));
    assert_string_equal(span_text(processed, "messaging.message.conversation_id"), "order-7");
    assert_string_equal(span_text(processed, "satchel.tenant"), "acme");
    assert_string_equal(span_number(processed, "satchel.task.attempt"), "1");
    assert_string_equal(span_text(json_object_get(sent, "resource"), "service.name"), "satcheld");
    assert_true(strcmp(text_of(sent, "endTimeUnixNano"), text_of(sent, "startTimeUnixNano")) >= 0);
    json_decref(sent);
    json_decref(processed);
    json_decref(task);
}

static void a_retry_links_to_the_attempt_before(void **state)
{
    (void)state;
    start_with(NULL);
    json_t *task = run(&d, TRACED,
                       "{\"task\":\"satchel.fail\",\"args\":{\"times\":1,\"message\":\"first\"},\"max_attempts\":2,"
                       "\"backoff\":{\"type\":\"fixed\",\"base\":\"1ms\"}}");
    expect_state(task, "succeeded");
    json_t *sent = span_of(TRACE_ID, "send satchel.fail", PRODUCER, 0);
    json_t *first = span_of(TRACE_ID, "process satchel.fail", CONSUMER, 0);
    json_t *second = span_of(TRACE_ID, "process satchel.fail", CONSUMER, 1);
    assert_int_equal(number_of(json_object_get(first, "status"), "code"), 2);
    expect_text(json_object_get(first, "status"), "message", "first");
    assert_string_equal(span_text(first, "error.type"), "handler");
    assert_null(json_object_get(second, "status"));
    expect_text(first, "parentSpanId", id_of(sent));
    expect_text(second, "parentSpanId", id_of(sent));
    expect_link(second, 0, TRACE_ID, id_of(sent));
    expect_link(second, 1, TRACE_ID, id_of(first));
    assert_string_equal(span_number(second, "satchel.task.attempt"), "2");
    assert_null(receiver_span(&receiver, TRACE_ID, "send satchel.fail", PRODUCER, 1, 0));
    json_decref(sent);
    json_decref(first);
    json_decref(second);
    json_decref(task);
}

static void a_retry_by_hand_is_one_attempt_more(void **state)
{
    (void)state;
    start_with(NULL);
    json_t *task = run(&d, TRACED, "{\"task\":\"satchel.fail\",\"args\":{\"times\":1,\"message\":\"first\"}}");
    expect_state(task, "failed");
    json_t *sent = span_of(TRACE_ID, "send satchel.fail", PRODUCER, 0);
    json_t *first = span_of(TRACE_ID, "process satchel.fail", CONSUMER, 0);
    json_decref(act(&d, "X-Tenant-ID: acme\r\n", text_of(task, "id"), "retry", 202));
    json_t *second = span_of(TRACE_ID, "process satchel.fail", CONSUMER, 1);
    expect_text(second, "parentSpanId", id_of(sent));
    expect_link(second, 1, TRACE_ID, id_of(first));
    assert_null(receiver_span(&receiver, TRACE_ID, "send satchel.fail", PRODUCER, 1, 0));
    json_decref(sent);
    json_decref(first);
    json_decref(second);
    json_decref(task);
}

static void a_crash_leaves_no_span_open(void **state)
{
    (void)state;
    start_with(NULL);
    json_t *task = submit(&d, TRACED, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":1}}", 202);
    char *id = strdup(text_of(task, "id"));
    json_decref(task);
    json_t *sent = span_of(TRACE_ID, "send satchel.sleep", PRODUCER, 0);
    json_decref(await_state(&d, "X-Tenant-ID: acme\r\n", id, "running"));
    pause_ms(50); /* claimed is not yet started */
    satcheld_kill(&d);
    satcheld_start(&d);
    json_t *lost = span_of(TRACE_ID, "process satchel.sleep", CONSUMER, 0);
    assert_string_equal(span_text(lost, "error.type"), "lost");
    assert_int_equal(number_of(json_object_get(lost, "status"), "code"), 2);
    expect_text(lost, "parentSpanId", id_of(sent));
    assert_string_equal(span_number(lost, "satchel.task.attempt"), "1");
    assert_true(strcmp(text_of(lost, "startTimeUnixNano"), text_of(sent, "startTimeUnixNano")) >= 0);
    task = finish(&d, "X-Tenant-ID: acme\r\n", id);
    expect_state(task, "succeeded");
    json_t *second = span_of(TRACE_ID, "process satchel.sleep", CONSUMER, 1);
    expect_link(second, 1, TRACE_ID, id_of(lost));
    expect_text(second, "parentSpanId", id_of(sent));
    json_decref(sent);
    json_decref(lost);
    json_decref(second);
    json_decref(task);
    free(id);
}

static void a_sub_task_is_a_child_of_the_attempt(void **state)
{
    (void)state;
    start_with(NULL);
    json_t *task =
        run(&d, TRACED, "{\"task\":\"satchel.spawn\",\"args\":{\"task\":\"satchel.echo\",\"args\":1,\"count\":2}}");
    expect_state(task, "succeeded");
    json_t *attempt = span_of(TRACE_ID, "process satchel.spawn", CONSUMER, 0);
    for (size_t i = 0; i < 2; i++) {
        json_t *sent = span_of(TRACE_ID, "send satchel.echo", PRODUCER, i);
        expect_text(sent, "parentSpanId", id_of(attempt));
        assert_string_equal(span_text(sent, "satchel.task.parent_id"), text_of(task, "id"));
        json_decref(sent);
    }
    json_decref(span_of(TRACE_ID, "process satchel.echo", CONSUMER, 1));
    json_decref(attempt);
    json_decref(task);
}

static void only_what_is_sampled(void **state)
{
    (void)state;
    start_with(NULL);
    json_t *task = run(&d, "traceparent: 00-11111111111111111111111111111111-2222222222222222-00\r\n",
                       "{\"task\":\"satchel.noop\"}");
    assert_string_equal(text_of(json_object_get(task, "context"), "traceparent") + 53, "00");
    json_decref(task);
    json_decref(run(&d, TRACED, "{\"task\":\"satchel.noop\"}"));
    json_decref(span_of(TRACE_ID, "process satchel.noop", CONSUMER, 0));
    assert_null(receiver_span(&receiver, "11111111111111111111111111111111", "send satchel.noop", 0, 0, 0));
    json_t *all = receiver_spans(&receiver);
    assert_int_equal(json_array_size(all), 2);
    json_decref(all);
}

static void a_trace_that_starts_here_is_sampled(void **state)
{
    (void)state;
    start_with(NULL);
    json_t *task = run(&d, NULL, "{\"task\":\"satchel.noop\"}");
    const char *traceparent = text_of(json_object_get(task, "context"), "traceparent");
    char trace_id[33];
    assert_string_equal(traceparent + 53, "03");
    (void)snprintf(trace_id, sizeof trace_id, "%.32s", traceparent + 3);
    json_t *sent = span_of(trace_id, "send satchel.noop", PRODUCER, 0);
    assert_null(json_object_get(sent, "parentSpanId"));
    json_decref(sent);
    json_decref(task);
}

static void nothing_is_flagged_where_nothing_is_exported(void **state)
{
    (void)state;
    satcheld_init(&d, NULL);
    satcheld_start(&d);
    json_t *task = run(&d, NULL, "{\"task\":\"satchel.noop\"}");
    assert_string_equal(text_of(json_object_get(task, "context"), "traceparent") + 53, "02");
    json_decref(task);
}

static void commands_and_links(void **state)
{
    (void)state;
    start_with("task \"no\" { command = {\"/bin/sh\", \"-c\", \"exit 65\"} }\n"
               "task \"apart\" { command = {\"/bin/sh\", \"-c\", \"printf %s $TRACEPARENT\"} trace = link }\n");
    json_t *task = run(&d, TRACED, "{\"task\":\"no\"}");
    expect_state(task, "failed");
    json_t *failed = span_of(TRACE_ID, "process no", CONSUMER, 0);
    assert_string_equal(span_number(failed, "process.exit.code"), "65");
    assert_string_equal(span_text(failed, "error.type"), "exit");
    json_decref(failed);
    json_decref(task);
    task = run(&d, TRACED "tracestate: vendor=1\r\n", "{\"task\":\"apart\"}");
    expect_state(task, "succeeded");
    const char *seen = text_of(task, "result");
    char trace_id[33];
    (void)snprintf(trace_id, sizeof trace_id, "%.32s", seen + 3);
    assert_string_not_equal(trace_id, TRACE_ID);
    json_t *apart = span_of(trace_id, "process apart", CONSUMER, 0);
    json_t *sent = span_of(TRACE_ID, "send apart", PRODUCER, 0);
    assert_memory_equal(seen + 36, id_of(apart), 16);
    assert_null(json_object_get(apart, "parentSpanId"));
    expect_link(apart, 0, TRACE_ID, id_of(sent));
    json_decref(apart);
    json_decref(sent);
    json_decref(task);
}

static void an_http_task_has_a_span_of_its_own(void **state)
{
    (void)state;
    char more[512];
    (void)snprintf(more, sizeof more, "task \"notify\" { url = \"%s/hook?key=hunter2\" allow = {\"127.0.0.1\"} }\n",
                   receiver.url);
    start_with(more);
    json_t *task = run(&d, TRACED, "{\"task\":\"notify\",\"args\":{\"x\":1}}");
    expect_state(task, "succeeded");
    json_t *attempt = span_of(TRACE_ID, "process notify", CONSUMER, 0);
    json_t *call = span_of(TRACE_ID, "POST", CLIENT, 0);
    expect_text(call, "parentSpanId", id_of(attempt));
    assert_string_equal(span_number(call, "http.response.status_code"), "200");
    assert_string_equal(span_text(call, "http.request.method"), "POST");
    assert_string_equal(span_text(call, "server.address"), "127.0.0.1");
    assert_null(strstr(span_text(call, "url.full"), "hunter2"));
    char line[128];
    (void)snprintf(line, sizeof line, "traceparent: 00-%s-%s-01\r\n", TRACE_ID, id_of(call));
    bool sent = false;
    (void)pthread_mutex_lock(&receiver.lock);
    for (size_t i = 0; i < receiver.n; i++)
        sent = sent || strstr(receiver.requests[i].head, line);
    (void)pthread_mutex_unlock(&receiver.lock);
    assert_true(sent);
    json_decref(attempt);
    json_decref(call);
    json_decref(task);
}

/* The line with that message, of those that have been logged. */
static json_t *log_line(const char *message)
{
    char *log = satcheld_log(&d), *rest = log;
    json_t *found = NULL;
    assert_null(strstr(log, "hunter2"));
    for (char *line; !found && (line = strsep(&rest, "\n")) != NULL;) {
        json_t *parsed = json_loads(line, 0, NULL);
        const char *text = json_string_value(json_object_get(parsed, "message"));
        if (text && strcmp(text, message) == 0)
            found = json_incref(parsed);
        json_decref(parsed);
    }
    free(log);
    if (!found)
        fail_msg("no line \"%s\" was logged", message);
    return found;
}

static void log_lines_have_the_same_ids(void **state)
{
    (void)state;
    char more[512];
    (void)snprintf(more, sizeof more,
                   "log_level = debug\nheader \"X-Key\" { var = \"key\" secret = true }\n"
                   "task \"notify\" { url = \"%s/hook\" allow = {\"127.0.0.1\"} }\n",
                   receiver.url);
    start_with(more);
    json_t *task = run(&d, TRACED "X-Key: hunter2\r\nX-Request-ID: req-9\r\n", "{\"task\":\"notify\"}");
    expect_state(task, "succeeded");
    satcheld_log_wait(&d, "HTTP call");
    json_t *attempt = span_of(TRACE_ID, "process notify", CONSUMER, 0), *line = log_line("HTTP call");
    expect_text(line, "tenant", "acme");
    expect_text(line, "task_id", text_of(task, "id"));
    expect_text(line, "attempt", "1");
    expect_text(line, "request_id", "req-9");
    expect_text(line, "trace_id", TRACE_ID);
    expect_text(line, "span_id", id_of(attempt));
    json_decref(attempt);
    json_decref(line);
    json_decref(task);
}

/* It is nobody's submission: its attempts are children of the ended task's. */
static void a_callback_is_in_the_same_trace(void **state)
{
    (void)state;
    start_with(NULL);
    char body[256];
    (void)snprintf(body, sizeof body, "{\"task\":\"satchel.noop\",\"callback\":\"%s/hook\"}", receiver.url);
    json_decref(run(&d, TRACED, body));
    json_t *sent = span_of(TRACE_ID, "send satchel.noop", PRODUCER, 0);
    json_t *told = span_of(TRACE_ID, "process satchel.callback", CONSUMER, 0);
    json_t *call = span_of(TRACE_ID, "POST", CLIENT, 0);
    expect_text(told, "parentSpanId", id_of(sent));
    expect_text(call, "parentSpanId", id_of(told));
    assert_null(receiver_span(&receiver, TRACE_ID, "send satchel.callback", 0, 0, 0));
    json_decref(sent);
    json_decref(told);
    json_decref(call);
}

static void a_stop_sends_what_waits(void **state)
{
    (void)state;
    char config[256];
    (void)snprintf(config, sizeof config, "otlp_traces_endpoint = \"%s/own/path\"\nspan_delay = \"1h\"\n",
                   receiver.url);
    satcheld_init(&d, config);
    satcheld_start(&d);
    json_decref(run(&d, TRACED, "{\"task\":\"satchel.noop\"}"));
    satcheld_stop(&d);
    json_decref(span_of(TRACE_ID, "process satchel.noop", CONSUMER, 0));
    assert_int_equal(receiver_count(&receiver), 1);
    assert_memory_equal(receiver.requests[0].head, "POST /own/path HTTP/1.1\r\n", 25);
}

static void a_receiver_that_is_away_stops_nothing(void **state)
{
    (void)state;
    satcheld_init(&d, "otlp_endpoint = \"http://127.0.0.1:1\"\nspan_delay = \"10ms\"\notlp_flush = \"100ms\"\n");
    satcheld_start(&d);
    json_t *task = run(&d, TRACED, "{\"task\":\"satchel.echo\",\"args\":1}");
    expect_state(task, "succeeded");
    json_decref(task);
    satcheld_log_wait(&d, "spans cannot be exported");
    long long before = mono_ms();
    satcheld_stop(&d);
    assert_true(mono_ms() - before < WAIT_MS / 2);
}

static void the_environment_says_where(void **state)
{
    (void)state;
    assert_int_equal(setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url, 1), 0);
    assert_int_equal(setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=k%3D1", 1), 0);
    assert_int_equal(setenv("OTEL_SERVICE_NAME", "jobs", 1), 0);
    assert_int_equal(setenv("OTEL_BSP_SCHEDULE_DELAY", "10", 1), 0);
    satcheld_init(&d, NULL);
    satcheld_start(&d);
    static const char *const names[] = {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS",
                                        "OTEL_SERVICE_NAME", "OTEL_BSP_SCHEDULE_DELAY"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_int_equal(unsetenv(names[i]), 0);
    json_decref(run(&d, TRACED, "{\"task\":\"satchel.noop\"}"));
    json_t *span = span_of(TRACE_ID, "send satchel.noop", PRODUCER, 0);
    assert_string_equal(span_text(json_object_get(span, "resource"), "service.name"), "jobs");
    assert_non_null(strstr(receiver.requests[0].head, "api-key: k=1\r\n"));
    assert_memory_equal(receiver.requests[0].head, "POST /v1/traces HTTP/1.1\r\n", 26);
    json_decref(span);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    static const struct CMUnitTest tests[] = {
        TEST(one_task_one_trace),
        TEST(a_retry_links_to_the_attempt_before),
        TEST(a_retry_by_hand_is_one_attempt_more),
        TEST(a_crash_leaves_no_span_open),
        TEST(a_sub_task_is_a_child_of_the_attempt),
        TEST(only_what_is_sampled),
        TEST(a_trace_that_starts_here_is_sampled),
        TEST(nothing_is_flagged_where_nothing_is_exported),
        TEST(commands_and_links),
        TEST(an_http_task_has_a_span_of_its_own),
        TEST(log_lines_have_the_same_ids),
        TEST(a_callback_is_in_the_same_trace),
        TEST(a_stop_sends_what_waits),
        TEST(a_receiver_that_is_away_stops_nothing),
        TEST(the_environment_says_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
