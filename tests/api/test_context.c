/* Headers and body become context variables, and each task sees its own, whatever thread runs it. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/ask.h"

#define CONTEXT "{\"task\":\"satchel.context\"}"

static struct satcheld d;

static int start(void **state)
{
    (void)state;
    satcheld_init(&d, "workers = 8\n"
                      "header \"X-Region\" { var = \"region\" }\n"
                      "header \"X-Api-Key\" { var = \"api_key\" secret = true }\n");
    satcheld_start(&d);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    satcheld_stop(&d);
    satcheld_release(&d);
    return 0;
}

/* What the handler of satchel.context read; the task itself to *ret_task, both the caller's. */
static json_t *seen(const char *headers, const char *body, json_t **ret_task)
{
    json_t *task = run(&d, headers, body);
    expect_state(task, "succeeded");
    json_t *result = json_incref(json_object_get(task, "result"));
    assert_true(json_is_object(result));
    if (ret_task)
        *ret_task = task;
    else
        json_decref(task);
    return result;
}

static void expect_seen(const char *headers, const char *name, const char *value)
{
    json_t *result = seen(headers, CONTEXT, NULL);
    if (value)
        expect_text(result, name, value);
    else if (json_object_get(result, name))
        fail_msg("%s is set: %s", name, text_of(result, name));
    json_decref(result);
}

/* ---- single variables ---- */

static void tenant(void **state)
{
    (void)state;
    expect_seen("X-Tenant-ID: acme\r\n", "tenant", "acme");
    expect_seen("x-tenant-id:   a!-_.*'()Z9  \r\n", "tenant", "a!-_.*'()Z9");
    expect_seen("X-Scope-OrgID: other\r\n", "tenant", "other");
    expect_seen(NULL, "tenant", "default");
    char longest[200] = "X-Tenant-ID: ";
    memset(longest + 13, 'q', 150);
    strcpy(longest + 163, "\r\n");
    char expected[151] = "";
    memset(expected, 'q', 150);
    expect_seen(longest, "tenant", expected);
}

static void only_what_was_sent(void **state)
{
    (void)state;
    json_t *result = seen(NULL, CONTEXT, NULL);
    static const char *const absent[] = {"tracestate", "baggage", "deadline", "region", "api_key", "parent_id"};
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++)
        if (json_object_get(result, absent[i]))
            fail_msg("%s is set, though nobody sent it", absent[i]);
    expect_number(result, "attempt", 1);
    json_decref(result);
}

static void request_id(void **state)
{
    (void)state;
    struct answer answer = {0};
    expect_seen("X-Request-ID: r-1/2\r\n", "request_id", "r-1/2");
    ask(&d, &answer, "GET", "/healthz", "X-Request-ID: abc.DEF-9\r\n", NULL);
    assert_true(answer_has(&answer, "X-Request-ID", "abc.DEF-9"));
    ask(&d, &answer, "GET", "/nowhere", "X-Request-ID: in-errors-too\r\n", NULL);
    assert_true(answer_has(&answer, "X-Request-ID", "in-errors-too"));
    ask(&d, &answer, "POST", "/v1/tasks", JSON_TYPE "Prefer: wait=20\r\nX-Request-ID: not valid\r\n", CONTEXT);
    assert_int_equal(answer.status, 200);
    char *made = answer_header(&answer, "X-Request-ID");
    assert_true(made && strlen(made) >= 8 && strcmp(made, "not valid") != 0);
    json_t *task = answer_json(&answer);
    expect_text(json_object_get(task, "result"), "request_id", made);
    json_decref(task);
    free(made);
    answer_release(&answer);
}

static void deadline(void **state)
{
    (void)state;
    expect_seen("X-Satchel-Deadline: 2099-01-02T03:04:05.678901Z\r\n", "deadline", "2099-01-02T03:04:05.678901Z");
    expect_seen("X-Satchel-Deadline: 2099-01-02T03:04:05+02:00\r\n", "deadline", "2099-01-02T01:04:05.000000Z");
}

static void configured_header(void **state)
{
    (void)state;
    json_t *task, *result = seen("X-Region: eu-1\r\nX-Other: no\r\n", CONTEXT, &task);
    expect_text(result, "region", "eu-1");
    expect_text(json_object_get(task, "context"), "region", "eu-1");
    assert_null(json_object_get(result, "other"));
    json_decref(result);
    json_decref(task);
}

/* A secret reaches the handler and is shown nowhere. */
static void secret_header(void **state)
{
    (void)state;
    struct answer answer = {0};
    ask(&d, &answer, "POST", "/v1/tasks", JSON_TYPE "X-Api-Key: swordfish\r\n",
        "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0}}");
    assert_int_equal(answer.status, 202);
    assert_null(strstr(answer.body, "swordfish"));
    json_t *task = answer_json(&answer), *later = finish(&d, NULL, text_of(task, "id"));
    char *text = json_dumps(later, 0);
    assert_null(strstr(text, "swordfish"));
    free(text);
    json_decref(task);
    json_decref(later);
    answer_release(&answer);
}

static void body_variables(void **state)
{
    (void)state;
    json_t *task, *result = seen("X-Region: us\r\n",
                                 "{\"task\":\"satchel.context\",\"context\":{\"shard\":\"eu-1\",\"a.b-c_9\":"
                                 "\"gr\xc3\xbc\xc3\x9f, \\\"x\\\" = 1;%25\"}}",
                                 &task);
    expect_text(result, "shard", "eu-1");
    expect_text(result, "a.b-c_9", "gr\xc3\xbc\xc3\x9f, \"x\" = 1;%25");
    expect_text(json_object_get(task, "context"), "shard", "eu-1");
    expect_text(json_object_get(task, "context"), "a.b-c_9", "gr\xc3\xbc\xc3\x9f, \"x\" = 1;%25");
    json_decref(result);
    json_decref(task);
}

/* ---- the trace ---- */

static void split_traceparent(const json_t *object, char trace[33], char span[17], char flags[3])
{
    const char *text = text_of(object, "traceparent");
    if (strlen(text) != 55 || sscanf(text, "00-%32[0-9a-f]-%16[0-9a-f]-%2[0-9a-f]", trace, span, flags) != 3)
        fail_msg("not a traceparent: %s", text);
}

static void trace_goes_on(void **state)
{
    (void)state;
    char trace[33], span[17], flags[3], own_trace[33], own_span[17];
    json_t *task, *result = seen("traceparent: " TRACEPARENT "\r\n", CONTEXT, &task);
    split_traceparent(result, trace, span, flags);
    assert_string_equal(trace, TRACE_ID);
    assert_string_equal(flags, "01");
    split_traceparent(json_object_get(task, "context"), own_trace, own_span, flags);
    assert_string_equal(own_trace, TRACE_ID);
    assert_string_equal(flags, "01");
    assert_string_not_equal(span, SPAN_ID);
    assert_string_not_equal(own_span, SPAN_ID);
    assert_string_not_equal(own_span, span); /* the submission's and the attempt's are two */
    json_decref(result);
    json_decref(task);
}

static void flags_of(const char *sent, const char *expected)
{
    char header[128], trace[33], span[17], flags[3];
    (void)snprintf(header, sizeof header, "traceparent: 00-" TRACE_ID "-" SPAN_ID "-%s\r\n", sent);
    json_t *result = seen(header, CONTEXT, NULL);
    split_traceparent(result, trace, span, flags);
    assert_string_equal(trace, TRACE_ID);
    assert_string_equal(flags, expected);
    json_decref(result);
}

static void trace_flags(void **state)
{
    (void)state;
    flags_of("00", "00");
    flags_of("01", "01");
    flags_of("02", "02");
    flags_of("03", "03");
    flags_of("ff", "03"); /* bits that are not known do not travel */
}

static void later_versions_are_read(void **state)
{
    (void)state;
    char trace[33], span[17], flags[3];
    json_t *result = seen("traceparent: cc-" TRACE_ID "-" SPAN_ID "-01-what-comes\r\n", CONTEXT, NULL);
    split_traceparent(result, trace, span, flags);
    assert_string_equal(trace, TRACE_ID);
    json_decref(result);
}

static void broken_trace_starts_a_new_one(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "garbage",
        "00-" TRACE_ID "-" SPAN_ID,
        "00-" TRACE_ID "-" SPAN_ID "-1",
        "00-" TRACE_ID "-" SPAN_ID "-01-more",
        "00-0AF7651916CD43DD8448EB211C80319C-" SPAN_ID "-01",
        "00-00000000000000000000000000000000-" SPAN_ID "-01",
        "00-" TRACE_ID "-0000000000000000-01",
        "ff-" TRACE_ID "-" SPAN_ID "-01",
        "00-" TRACE_ID "-" SPAN_ID "-0x",
        "00_" TRACE_ID "_" SPAN_ID "_01",
    };
    char header[256], trace[33], span[17], flags[3];
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        (void)snprintf(header, sizeof header, "traceparent: %s\r\ntracestate: a=1\r\n", broken[i]);
        json_t *result = seen(header, CONTEXT, NULL);
        split_traceparent(result, trace, span, flags);
        if (strcmp(trace, TRACE_ID) == 0)
            fail_msg("the trace of %s was taken", broken[i]);
        assert_null(json_object_get(result, "tracestate")); /* it belongs to the trace that was dropped */
        json_decref(result);
    }
    json_t *result = seen("traceparent: " TRACEPARENT "\r\ntraceparent: 00-1" TRACE_ID "\r\n", CONTEXT, NULL);
    split_traceparent(result, trace, span, flags);
    assert_string_not_equal(trace, TRACE_ID); /* two of them: neither counts */
    json_decref(result);
}

static void lists_are_combined(void **state)
{
    (void)state;
    expect_seen("traceparent: " TRACEPARENT "\r\ntracestate: a=1\r\nTracestate: b=2,c=3\r\n", "tracestate",
                "a=1,b=2,c=3");
    expect_seen("baggage: k1=v1\r\nX-Else: x\r\nbaggage: k2=v%202;p=1\r\n", "baggage", "k1=v1,k2=v%202;p=1");
}

static void broken_lists_are_no_errors(void **state)
{
    (void)state;
    static const char *const headers[] = {"traceparent: " TRACEPARENT "\r\ntracestate: =,=,,,\r\n", "baggage: ====\r\n",
                                          "baggage: ,,;;\r\n", "baggage: \xff\xfe=1\r\n"};
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
        json_decref(seen(headers[i], CONTEXT, NULL));
}

/* ---- sub-tasks, retries, recovery by hand ---- */

static void sub_tasks_inherit(void **state)
{
    (void)state;
    static const char mine[] = "X-Tenant-ID: family\r\n";
    json_t *task = run(&d,
                       "X-Tenant-ID: family\r\nX-Region: eu\r\nX-Request-ID: req-7\r\ntraceparent: " TRACEPARENT
                       "\r\ntracestate: a=1\r\nbaggage: b=2\r\nX-Satchel-Deadline: 2099-01-01T00:00:00Z\r\n",
                       "{\"task\":\"satchel.spawn\",\"context\":{\"shard\":\"s1\"},\"args\":"
                       "{\"task\":\"satchel.context\",\"count\":2}}");
    expect_state(task, "succeeded");
    char trace[33], parent_span[17], span[17], flags[3];
    split_traceparent(json_object_get(task, "context"), trace, parent_span, flags);
    for (size_t i = 0; i < 2; i++) {
        const char *id = json_string_value(json_array_get(json_object_get(task, "result"), i));
        json_t *child = finish(&d, mine, id);
        expect_state(child, "succeeded");
        const json_t *result = json_object_get(child, "result");
        expect_text(result, "tenant", "family");
        expect_text(result, "region", "eu");
        expect_text(result, "request_id", "req-7");
        expect_text(result, "tracestate", "a=1");
        expect_text(result, "baggage", "b=2");
        expect_text(result, "shard", "s1");
        expect_text(result, "deadline", "2099-01-01T00:00:00.000000Z");
        expect_text(result, "task_id", id);
        split_traceparent(result, trace, span, flags);
        assert_string_equal(trace, TRACE_ID);
        assert_string_not_equal(span, parent_span);
        json_decref(child);
    }
    json_decref(task);
}

/* Canceled before it ran, then run again by hand: nothing of its context is lost. */
static void retry_by_hand_keeps_all(void **state)
{
    (void)state;
    static const char headers[] =
        "X-Tenant-ID: again\r\nX-Region: eu\r\nX-Request-ID: req-8\r\ntraceparent: " TRACEPARENT
        "\r\ntracestate: a=1\r\nbaggage: b=2\r\n";
    json_t *task =
        submit(&d, headers, "{\"task\":\"satchel.context\",\"context\":{\"shard\":\"s2\"},\"delay\":\"1h\"}", 202);
    const char *id = text_of(task, "id");
    json_decref(act(&d, "X-Tenant-ID: again\r\n", id, "cancel", 200));
    json_decref(act(&d, "X-Tenant-ID: again\r\n", id, "retry", 202));
    json_t *done = finish(&d, "X-Tenant-ID: again\r\n", id);
    expect_state(done, "succeeded");
    const json_t *result = json_object_get(done, "result");
    expect_text(result, "tenant", "again");
    expect_text(result, "region", "eu");
    expect_text(result, "request_id", "req-8");
    expect_text(result, "tracestate", "a=1");
    expect_text(result, "baggage", "b=2");
    expect_text(result, "shard", "s2");
    char trace[33], span[17], flags[3];
    split_traceparent(result, trace, span, flags);
    assert_string_equal(trace, TRACE_ID);
    json_decref(task);
    json_decref(done);
}

static void tenants_do_not_see_each_other(void **state)
{
    (void)state;
    json_t *task = run(&d, "X-Tenant-ID: mine\r\n", CONTEXT);
    const char *id = text_of(task, "id");
    json_decref(get_task(&d, "X-Tenant-ID: mine\r\n", id, 200));
    json_t *problem = get_task(&d, "X-Tenant-ID: yours\r\n", id, 404);
    expect_text(problem, "type", "urn:satchel:problem:task-not-found");
    json_decref(problem);
    json_decref(get_task(&d, NULL, id, 404));
    json_decref(act(&d, "X-Tenant-ID: yours\r\n", id, "cancel", 404));
    json_decref(act(&d, "X-Tenant-ID: yours\r\n", id, "retry", 404));
    json_decref(act(&d, "X-Tenant-ID: yours\r\n", id, "delete", 404));
    json_decref(get_task(&d, "X-Tenant-ID: mine\r\n", id, 200));
    json_decref(task);
}

/* ---- 100,000 tasks of 1,000 tenants on all workers at once ---- */

#define N_LANES 64
#define N_TENANTS 1000

struct lane {
    struct client client;
    int task; /* the one under way, or -1 */
};

static void trace_of(int i, char out[33])
{
    (void)snprintf(out, 33, "%08x%08x%08x%08x", i + 1, i * 2654435761u, 0xabcdefu ^ (unsigned)i, 7u);
}

static void send_task(struct lane *lane, int i)
{
    char text[1024], body[256], trace[33];
    trace_of(i, trace);
    int len =
        snprintf(body, sizeof body, "{\"task\":\"satchel.context\",\"context\":{\"n%d\":\"value of %d\"}}", i % 7, i);
    int total = snprintf(text, sizeof text,
                         "POST /v1/tasks HTTP/1.1\r\nHost: h\r\n" JSON_TYPE "Prefer: wait=60\r\nX-Tenant-ID: t%d\r\n"
                         "traceparent: 00-%s-" SPAN_ID "-0%d\r\nX-Request-ID: r-%d\r\n%sContent-Length: %d\r\n\r\n%s",
                         i % N_TENANTS, trace, i % 2, i, i % 3 == 0 ? "baggage: b=3\r\n" : "", len, body);
    lane->task = i;
    client_send(&lane->client, text, (size_t)total);
}

static uint64_t check_own(const struct answer *answer, int i)
{
    char name[16], value[64], expected_trace[33], trace[33], span[17], flags[3];
    if (answer->status != 200)
        fail_msg("task %d: status %d: %s", i, answer->status, answer->body);
    json_t *task = answer_json(answer);
    const json_t *result = json_object_get(task, "result");
    (void)snprintf(value, sizeof value, "t%d", i % N_TENANTS);
    expect_text(result, "tenant", value);
    (void)snprintf(value, sizeof value, "r-%d", i);
    expect_text(result, "request_id", value);
    (void)snprintf(name, sizeof name, "n%d", i % 7);
    (void)snprintf(value, sizeof value, "value of %d", i);
    expect_text(result, name, value);
    expect_text(result, "task_id", text_of(task, "id"));
    split_traceparent(result, trace, span, flags);
    trace_of(i, expected_trace);
    assert_string_equal(trace, expected_trace);
    assert_int_equal(flags[1], '0' + i % 2);
    assert_string_not_equal(span, SPAN_ID);
    if (i % 3 == 0)
        expect_text(result, "baggage", "b=3");
    /* tenant, traceparent, request_id, task_id, attempt, its own variable: and nothing of anybody else's */
    assert_int_equal(json_object_size(result), i % 3 == 0 ? 7 : 6);
    json_decref(task);
    return strtoull(span, NULL, 16);
}

static int compare_u64(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void each_of_many_sees_its_own(void **state)
{
    (void)state;
    int n = count_from("SATCHEL_TEST_TASKS", scaled(100000)), sent = 0, done = 0;
    struct lane lanes[N_LANES];
    struct answer answer = {0};
    uint64_t *spans = calloc((size_t)n, sizeof *spans);
    assert_non_null(spans);
    long long began = mono_ms(), last = began;
    for (int i = 0; i < N_LANES; i++) {
        client_open(&lanes[i].client, &d);
        lanes[i].task = -1;
        if (sent < n)
            send_task(&lanes[i], sent++);
    }
    while (done < n) {
        struct pollfd polled[N_LANES];
        for (int i = 0; i < N_LANES; i++)
            polled[i] = (struct pollfd){.fd = lanes[i].task < 0 ? -1 : lanes[i].client.fd, .events = POLLIN};
        if (poll(polled, N_LANES, 1000) == 0 && mono_ms() - last > WAIT_MS)
            fail_msg("%d of %d tasks are done, and nothing more comes", done, n);
        for (int i = 0; i < N_LANES; i++) {
            int result = polled[i].revents ? client_try(&lanes[i].client, &answer) : 0;
            if (result < 0)
                fail_msg("a connection broke");
            if (result == 0)
                continue;
            spans[done++] = check_own(&answer, lanes[i].task);
            lanes[i].task = -1;
            last = mono_ms();
            if (sent < n)
                send_task(&lanes[i], sent++);
        }
    }
    qsort(spans, (size_t)n, sizeof *spans, compare_u64);
    for (int i = 1; i < n; i++)
        assert_true(spans[i] != spans[i - 1]); /* every attempt has a span of its own */
    print_message("%d tasks in %lld ms\n", n, mono_ms() - began);
    for (int i = 0; i < N_LANES; i++)
        client_close(&lanes[i].client);
    answer_release(&answer);
    free(spans);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tenant),
        cmocka_unit_test(only_what_was_sent),
        cmocka_unit_test(request_id),
        cmocka_unit_test(deadline),
        cmocka_unit_test(configured_header),
        cmocka_unit_test(secret_header),
        cmocka_unit_test(body_variables),
        cmocka_unit_test(trace_goes_on),
        cmocka_unit_test(trace_flags),
        cmocka_unit_test(later_versions_are_read),
        cmocka_unit_test(broken_trace_starts_a_new_one),
        cmocka_unit_test(lists_are_combined),
        cmocka_unit_test(broken_lists_are_no_errors),
        cmocka_unit_test(sub_tasks_inherit),
        cmocka_unit_test(retry_by_hand_keeps_all),
        cmocka_unit_test(tenants_do_not_see_each_other),
        cmocka_unit_test(each_of_many_sees_its_own),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
