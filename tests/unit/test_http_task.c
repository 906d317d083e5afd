/* HTTP tasks: what is sent.  Every header line, the URL, the body, what is kept back, and settings that are refused. */
#include "tests/unit/http_task_fixture.h"

#include "config.h"

#include "proto/json_in.h"

#define TRACE_ID "0af7651916cd43dd8448eb211c80319c"

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The header lines of a request, sorted, one a line; the parent-id of traceparent and the task's id masked. */
static char *sorted_head(const char *request, const struct attempt *attempt)
{
    char *copy = strdup(request), *lines[64], *rest = NULL, id[TASK_ID_TEXT_SIZE];
    size_t n = 0;
    *strstr(copy, "\r\n\r\n") = '\0';
    task_id_format(attempt->spec->id, id);
    for (char *line = strtok_r(copy, "\r\n", &rest); line && n < 64; line = strtok_r(NULL, "\r\n", &rest))
        lines[n++] = line;
    qsort(lines + 1, n - 1, sizeof lines[0], by_text);
    struct buf out = BUF_INIT;
    for (size_t i = 0; i < n; i++) {
        char *at = strstr(lines[i], id);
        if (at)
            memcpy(at, "ID..................................", TASK_ID_TEXT_SIZE - 1);
        if (strncmp(lines[i], "traceparent: ", 13) == 0)
            memcpy(lines[i] + 13 + 36, "SPAN............", 16);
        buf_append_str(&out, lines[i]);
        buf_append_char(&out, '\n');
    }
    free(copy);
    return buf_take(&out, NULL);
}

static void expect_field(const char *request, const char *name, const char *expected)
{
    char *value = request_line(request, name);
    if (!expected)
        assert_null(value);
    else if (!value)
        fail_msg("no %s in: %s", name, request);
    else
        assert_string_equal(value, expected);
    free(value);
}

/* ---- the whole request, byte for byte ---- */

static void test_every_line(void **state)
{
    (void)state;
    struct calls c;
    struct config_task *task = calls_usual(&c);
    calls_list(&task->headers, "X-Source:   satchel ");
    satchel_var *region, *variable;
    assert_int_equal(satchel_var_string("region", NULL, "X-Region", &region), SATCHEL_OK);
    assert_int_equal(satchel_variable("shard", &variable), SATCHEL_OK);
    calls_open(&c, 1);
    struct attempt *attempt = bench_attempt(&c.bench, "call", "{\"n\": 1.50}", "acme");
    bench_bind(attempt, "baggage", "k=v,other=1");
    bench_bind(attempt, "X-Satchel-Deadline", "2101-02-03T04:05:06Z");
    bench_bind(attempt, "X-Region", "eu");
    bench_bind(attempt, "X-Satchel-Var-shard", "7");
    bench_bind(attempt, "X-Correlation-ID", "order-9");
    attempt = bench_run(&c.bench, attempt);
    assert_int_equal(attempt->end, ATTEMPT_SUCCEEDED);
    const char *request = receiver_request(&c.peer, 0);
    char expected[2048], *head = sorted_head(request, attempt);
    (void)snprintf(expected, sizeof expected,
                   "POST /hook HTTP/1.1\n"
                   "Accept: */*\n"
                   "Content-Length: 11\n"
                   "Content-Type: application/json\n"
                   "Host: 127.0.0.1:%d\n"
                   "User-Agent: satcheld/" PACKAGE_VERSION "\n"
                   "X-Correlation-ID: order-9\n"
                   "X-Region: eu\n"
                   "X-Request-ID: request-of-acme\n"
                   "X-Satchel-Attempt: 1\n"
                   "X-Satchel-Deadline: 2101-02-03T04:05:06.000000Z\n"
                   "X-Satchel-Task-ID: ID..................................\n"
                   "X-Satchel-Var-shard: 7\n"
                   "X-Source: satchel\n"
                   "X-Tenant-ID: acme\n"
                   "baggage: k=v,other=1\n"
                   "traceparent: 00-" TRACE_ID "-SPAN............-01\n",
                   c.peer.port);
    assert_string_equal(head, expected);
    assert_string_equal(request_content(request), "{\"n\": 1.50}");
    free(head);
    attempt_free(attempt);
    calls_close(&c);
    satchel_var_unref(region);
    satchel_var_unref(variable);
}

static void test_tracestate(void **state)
{
    (void)state;
    struct calls c;
    calls_usual(&c);
    calls_open(&c, 1);
    struct attempt *attempt = bench_attempt(&c.bench, "call", NULL, "acme");
    assert_int_equal(satchel_context_enter(task_context(attempt->spec)), SATCHEL_OK);
    assert_int_equal(satchel_set_string(satchel_known_var(SATCHEL_TRACESTATE), "a=1,b=2", NULL), SATCHEL_OK);
    assert_int_equal(satchel_context_exit(task_context(attempt->spec)), SATCHEL_OK);
    attempt_free(bench_run(&c.bench, attempt));
    expect_field(receiver_request(&c.peer, 0), "tracestate", "a=1,b=2");
    assert_string_equal(request_content(receiver_request(&c.peer, 0)), "null");
    calls_close(&c);
}

/* Each call has a span of its own: neither the submission's nor the attempt's, and another one each time. */
static void test_span(void **state)
{
    (void)state;
    struct calls c;
    calls_usual(&c);
    calls_open(&c, 1);
    char seen[2][17], own[17];
    for (size_t i = 0; i < 2; i++) {
        struct attempt *attempt = calls_run(&c, "call", "{}");
        uint8_t span[8];
        task_id_attempt_span(attempt->spec->id, 1, span);
        for (size_t at = 0; at < 8; at++)
            snprintf(own + 2 * at, 3, "%02x", span[at]);
        char *value = request_line(receiver_request(&c.peer, i), "traceparent");
        assert_non_null(value);
        assert_memory_equal(value, "00-" TRACE_ID "-", 36);
        assert_string_equal(value + 52, "-01");
        snprintf(seen[i], sizeof seen[i], "%.16s", value + 36);
        assert_string_not_equal(seen[i], own);
        assert_string_not_equal(seen[i], "b7ad6b7169203331");
        assert_string_not_equal(seen[i], "0000000000000000");
        free(value);
        attempt_free(attempt);
    }
    assert_string_not_equal(seen[0], seen[1]);
    calls_close(&c);
}

static void test_secret_variables(void **state)
{
    (void)state;
    struct calls c;
    calls_usual(&c);
    satchel_var *secret;
    satchel_var_spec spec = {.struct_size = sizeof spec,
                             .name = "card",
                             .type = &satchel_string_type,
                             .header = "X-Card",
                             .flags = SATCHEL_VAR_WIRE | SATCHEL_VAR_SECRET};
    assert_int_equal(satchel_var_new(&spec, &secret), SATCHEL_OK);
    calls_open(&c, 1);
    struct attempt *attempt = bench_attempt(&c.bench, "call", "{}", "acme");
    bench_bind(attempt, "X-Card", "4111-secret");
    attempt_free(bench_run(&c.bench, attempt));
    const char *request = receiver_request(&c.peer, 0);
    expect_field(request, "X-Tenant-ID", "acme");
    assert_null(strstr(request, "X-Card"));
    assert_null(strstr(request, "4111"));
    calls_close(&c);
    satchel_var_unref(secret);
}

static void test_propagate(void **state)
{
    (void)state;
    static const struct {
        unsigned bit;
        const char *name;
    } lines[] = {{PROPAGATE_TRACE, "traceparent"},           {PROPAGATE_TENANT, "X-Tenant-ID"},
                 {PROPAGATE_REQUEST_ID, "X-Request-ID"},     {PROPAGATE_REQUEST_ID, "X-Correlation-ID"},
                 {PROPAGATE_DEADLINE, "X-Satchel-Deadline"}, {PROPAGATE_BAGGAGE, "baggage"},
                 {PROPAGATE_VARIABLES, "X-Satchel-Var-v"}};
    satchel_var *variable;
    assert_int_equal(satchel_variable("v", &variable), SATCHEL_OK);
    for (unsigned mask = 0; mask <= PROPAGATE_ALL; mask = mask ? mask * 2 : 1) {
        struct calls c;
        struct config_task *task = calls_usual(&c);
        task->propagate = mask;
        calls_open(&c, 1);
        struct attempt *attempt = bench_attempt(&c.bench, "call", "{}", "acme");
        bench_bind(attempt, "baggage", "k=v");
        bench_bind(attempt, "X-Satchel-Deadline", "2101-02-03T04:05:06Z");
        bench_bind(attempt, "X-Satchel-Var-v", "1");
        bench_bind(attempt, "X-Correlation-ID", "c");
        attempt_free(bench_run(&c.bench, attempt));
        const char *request = receiver_request(&c.peer, 0);
        for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
            char *value = request_line(request, lines[i].name);
            if ((value != NULL) != ((mask & lines[i].bit) != 0))
                fail_msg("propagate %x: %s was %ssent", mask, lines[i].name, value ? "" : "not ");
            free(value);
        }
        expect_field(request, "X-Satchel-Attempt", "1"); /* the task's own, not the caller's */
        calls_close(&c);
    }
    satchel_var_unref(variable);
}

static void test_retry_reason(void **state)
{
    (void)state;
    static const struct {
        uint32_t number, failures;
        int64_t lost;
        enum error_type before;
        const char *reason;
    } cases[] = {{1, 0, 0, ERROR_TYPE_NONE, NULL},         {2, 1, 0, ERROR_TYPE_HTTP, "http"},
                 {2, 1, 0, ERROR_TYPE_TIMEOUT, "timeout"}, {2, 0, 1, ERROR_TYPE_LOST, "lost"},
                 {2, 0, 1, ERROR_TYPE_NONE, "lost"},       {3, 2, 0, ERROR_TYPE_NONE, "failed"},
                 {3, 0, 0, ERROR_TYPE_HTTP, "retry"}};
    struct calls c;
    calls_usual(&c);
    calls_open(&c, 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct attempt *attempt = bench_attempt(&c.bench, "call", "{}", "acme");
        attempt->number = cases[i].number;
        attempt->failures = cases[i].failures;
        attempt->previous_lost = cases[i].lost;
        attempt->before = cases[i].before;
        attempt_free(bench_run(&c.bench, attempt));
        char number[16];
        snprintf(number, sizeof number, "%u", cases[i].number);
        expect_field(receiver_request(&c.peer, i), "X-Satchel-Retry-Reason", cases[i].reason);
        expect_field(receiver_request(&c.peer, i), "X-Satchel-Attempt", number);
    }
    calls_close(&c);
}

/* ---- templates ---- */

static void expect_target(const char *url, const char *args, const char *expected)
{
    struct calls c;
    calls_init(&c);
    struct config_task *task = calls_add(&c, "call", url, false);
    calls_list(&task->allow, "127.0.0.0/8");
    calls_open(&c, 1);
    struct attempt *attempt = calls_run(&c, "call", args);
    if (expected) {
        if (attempt->end != ATTEMPT_SUCCEEDED)
            fail_msg("%s %s: %s", url, args, outcome_message(attempt));
        const char *request = receiver_request(&c.peer, 0);
        char *line = strndup(request, strcspn(request, "\r")), whole[512];
        snprintf(whole, sizeof whole, "POST %s HTTP/1.1", expected);
        assert_string_equal(line, whole);
        free(line);
    } else {
        if (attempt->end != ATTEMPT_FAILED_FINAL)
            fail_msg("%s %s: was not refused", url, args);
        assert_int_equal(outcome_error(attempt), ERROR_TYPE_HTTP);
        assert_int_equal(receiver_count(&c.peer), 0);
    }
    attempt_free(attempt);
    calls_close(&c);
}

static void test_url_templates(void **state)
{
    (void)state;
    expect_target("http://127.0.0.1:%d/a/{{args.id}}/c?q={{args.q}}", "{\"id\":\"x y/z?#&\",\"q\":\"1&admin=1+2%\"}",
                  "/a/x%20y%2Fz%3F%23%26/c?q=1%26admin%3D1%2B2%25");
    expect_target("http://127.0.0.1:%d/a/{{args.id}}", "{\"id\":\"\\r\\nX-Evil: 1\"}", "/a/%0D%0AX-Evil%3A%201");
    expect_target("http://127.0.0.1:%d/a/{{args.id}}", "{\"id\":\"\\u00fc\"}", "/a/%C3%BC");
    expect_target("http://127.0.0.1:%d/a/{{args.id}}", "{\"id\":42}", "/a/42");
    expect_target("http://127.0.0.1:%d/a?o={{args.o}}", "{\"o\":{\"k\":[1]}}", "/a?o=%7B%22k%22%3A%5B1%5D%7D");
    expect_target("http://127.0.0.1:%d?o={{args.o}}", "{\"o\":1}", "/?o=1");
    expect_target("http://127.0.0.1:%d/a/{{args.id}}", "{\"id\":\"\\u0000\"}", NULL);
    expect_target("http://127.0.0.1:%d/a/{{args.id}}", "{}", NULL);
    expect_target("http://127.0.0.1:%d/a/{{args.id}}", "{\"id\":null}", NULL);
    expect_target("http://127.0.0.1:%d/a/{{args.id}}", "null", NULL);
}

static void test_dot_segments(void **state)
{
    (void)state;
    expect_target("http://127.0.0.1:%d/a/{{args.id}}/c", "{\"id\":\"..\"}", NULL);
    expect_target("http://127.0.0.1:%d/a/{{args.id}}", "{\"id\":\".\"}", NULL);
    expect_target("http://127.0.0.1:%d/a/.{{args.id}}/c", "{\"id\":\".\"}", NULL);
    expect_target("http://127.0.0.1:%d/a/{{args.id}}?x", "{\"id\":\"..\"}", NULL);
    expect_target("http://127.0.0.1:%d/a/{{args.id}}/c", "{\"id\":\"...\"}", "/a/.../c");
    expect_target("http://127.0.0.1:%d/a/{{args.id}}", "{\"id\":\"../../etc\"}", "/a/..%2F..%2Fetc");
    expect_target("http://127.0.0.1:%d/a?x={{args.id}}", "{\"id\":\"..\"}", "/a?x=..");
}

/* What would change the host is refused, whatever the list says. */
static void test_host_template(void **state)
{
    (void)state;
    struct calls c;
    calls_init(&c);
    struct config_task *task = calls_add(&c, "call", "http://127.0.0.{{args.n}}:%d/hook", true);
    calls_list(&task->allow, "127.0.0.0/8");
    calls_open(&c, 1);
    calls_expect(&c, "call", "{\"n\":1}", ATTEMPT_SUCCEEDED, ERROR_TYPE_NONE);
    static const char *const bad[] = {
        "{\"n\":\"1@x\"}",    "{\"n\":\"1/..\"}", "{\"n\":\"1:80\"}",     "{\"n\":\"1#\"}", "{\"n\":\"\"}",
        "{\"n\":\"1\\\\x\"}", "{\"n\":\"1 \"}",   "{\"n\":\"1\\u0000\"}", "{\"n\":{}}",     "{\"n\":\"1%00\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        calls_expect(&c, "call", bad[i], ATTEMPT_FAILED_FINAL, ERROR_TYPE_HTTP);
    assert_int_equal(receiver_count(&c.peer), 1);
    calls_close(&c);
}

static void test_header_templates(void **state)
{
    (void)state;
    struct calls c;
    struct config_task *task = calls_usual(&c);
    calls_list(&task->headers, "X-Kind: <{{args.kind}}>");
    calls_list(&task->headers, "X-Empty: {{args.empty}}");
    calls_open(&c, 1);
    calls_expect(&c, "call", "{\"kind\":\"a: b\",\"empty\":\"\"}", ATTEMPT_SUCCEEDED, ERROR_TYPE_NONE);
    expect_field(receiver_request(&c.peer, 0), "X-Kind", "<a: b>");
    expect_field(receiver_request(&c.peer, 0), "X-Empty", "");
    static const char *const bad[] = {"a\\r\\nX-Evil: 1", "a\\nX-Evil: 1", "a\\r", "\\u0000", "a\\u0001", "\\u007f"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char args[128];
        snprintf(args, sizeof args, "{\"kind\":\"%s\",\"empty\":\"\"}", bad[i]);
        calls_expect(&c, "call", args, ATTEMPT_FAILED_FINAL, ERROR_TYPE_HTTP);
    }
    struct buf args = BUF_INIT; /* no server takes such a line */
    buf_append_str(&args, "{\"empty\":\"\",\"kind\":\"");
    for (size_t i = 0; i < 20000; i++)
        buf_append_char(&args, 'x');
    buf_append_str(&args, "\"}");
    calls_expect(&c, "call", args.data, ATTEMPT_FAILED_FINAL, ERROR_TYPE_HTTP);
    buf_release(&args);
    assert_int_equal(receiver_count(&c.peer), 1);
    calls_close(&c);
}

static void expect_body(const char *method, const char *type, const char *body, const char *args, const char *expected,
                        const char *expected_type)
{
    struct calls c;
    struct config_task *task = calls_usual(&c);
    task->method = constant(method);
    task->body = constant(body);
    if (type)
        calls_list(&task->headers, type);
    calls_open(&c, 1);
    struct attempt *attempt = calls_run(&c, "call", args);
    if (!expected && body) {
        assert_int_equal(attempt->end, ATTEMPT_FAILED_FINAL);
        assert_int_equal(receiver_count(&c.peer), 0);
    } else {
        if (attempt->end != ATTEMPT_SUCCEEDED)
            fail_msg("%s %s: %s", body, args, outcome_message(attempt));
        const char *request = receiver_request(&c.peer, 0);
        assert_memory_equal(request, method, strlen(method));
        assert_int_equal(request[strlen(method)], ' ');
        expect_field(request, "Content-Type", expected_type);
        assert_string_equal(request_content(request), expected ? expected : "");
        char length[24];
        snprintf(length, sizeof length, "%zu", expected ? strlen(expected) : 0);
        expect_field(request, "Content-Length", expected ? length : NULL);
    }
    attempt_free(attempt);
    calls_close(&c);
}

static void test_bodies(void **state)
{
    (void)state;
    static const char json[] = "application/json", plain[] = "text/plain; charset=utf-8";
    static const char form[] = "application/x-www-form-urlencoded";
    expect_body("POST", NULL, NULL, "{ \"a\" : 1e400 }", "{ \"a\" : 1e400 }", json);
    expect_body("PUT", NULL, NULL, "[1]", "[1]", json);
    expect_body("PATCH", NULL, NULL, "[1]", "[1]", json);
    expect_body("GET", NULL, NULL, "[1]", NULL, NULL);
    expect_body("DELETE", NULL, NULL, "[1]", NULL, NULL);
    expect_body("DELETE", NULL, "{{args.body}}", "{\"body\":1}", "1", json);
    expect_body("POST", NULL, "{{args.body}}", "{\"body\":{\"x\": [1]},\"url\":2}", "{\"x\": [1]}", json);
    expect_body("POST", NULL, "{{args.body}}", "{\"body\":\"he said \\\"a\\\"\"}", "\"he said \\\"a\\\"\"", json);
    expect_body("POST", NULL, "{{args.body}}", "{\"body\":null}", "null", json);
    expect_body("POST", NULL, "{{args.body}}", "{}", NULL, NULL);
    expect_body("POST", NULL, "{{args}}", "{}", "{}", json);
    expect_body("POST", NULL, "{\"t\":\"<{{args.t}}>\",\"n\":{{args.n}},\"s\":{{args.t}}}",
                "{\"t\":\"a\\\"b\\n\",\"n\":[1]}", "{\"t\":\"<a\\\"b\\n>\",\"n\":[1],\"s\":\"a\\\"b\\n\"}", json);
    expect_body("POST", NULL, "hello {{args.t}}", "{\"t\":\"a&b\"}", "hello a&b", plain);
    expect_body("POST", "Content-Type: application/x-www-form-urlencoded", "a={{args.t}}&b=1", "{\"t\":\"x&y=1 %\"}",
                "a=x%26y%3D1%20%25&b=1", form);
    expect_body("POST", "content-type: text/csv", "{{args.t}}", "{\"t\":\"a,b\"}", "a,b", "text/csv");
    expect_body("POST", "Content-Type: application/problem+json", NULL, "{}", "{}", "application/problem+json");
}

static void test_large_body(void **state)
{
    (void)state;
    struct calls c;
    calls_usual(&c);
    calls_open(&c, 1);
    struct buf args = BUF_INIT;
    buf_append_char(&args, '"');
    for (size_t i = 0; i < 1000000; i++)
        buf_append_char(&args, (char)('a' + i % 26));
    buf_append_char(&args, '"');
    calls_expect(&c, "call", args.data, ATTEMPT_SUCCEEDED, ERROR_TYPE_NONE);
    const char *request = receiver_request(&c.peer, 0);
    expect_field(request, "Expect", NULL);
    assert_string_equal(request_content(request), args.data);
    buf_release(&args);
    calls_close(&c);
}

/* ---- what is not taken from anywhere ---- */

static void test_environment_proxies(void **state)
{
    (void)state;
    static const char *const names[] = {"http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"};
    struct calls c;
    calls_usual(&c);
    calls_open(&c, 1);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(setenv(names[i], "http://127.0.0.1:1", 1), 0);
    calls_expect(&c, "call", "{}", ATTEMPT_SUCCEEDED, ERROR_TYPE_NONE);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(unsetenv(names[i]), 0);
    calls_close(&c);
}

static void test_cookies(void **state)
{
    (void)state;
    struct calls c;
    calls_usual(&c);
    receiver_say(&c.peer, "HTTP/1.1 200 OK\r\nSet-Cookie: id=1; Path=/\r\nContent-Length: 0\r\n\r\n", RECEIVER_KEEP);
    calls_open(&c, 1);
    calls_expect(&c, "call", "{}", ATTEMPT_SUCCEEDED, ERROR_TYPE_NONE);
    calls_expect(&c, "call", "{}", ATTEMPT_SUCCEEDED, ERROR_TYPE_NONE);
    expect_field(receiver_request(&c.peer, 1), "Cookie", NULL);
    calls_close(&c);
}

/* ---- settings ---- */

static void expect_refused(const char *header, const char *body)
{
    struct calls c;
    struct config_task *task = calls_usual(&c);
    struct config_header region = {.header = constant("X-Region"), .variable = constant("region")};
    if (header)
        calls_list(&task->headers, header);
    task->body = constant(body);
    c.config.headers = &region;
    c.config.n_headers = 1;
    c.config.tenant_header = constant("X-Customer");
    atomic_init(&c.config.refs, 1000);
    struct registry *registry;
    char error[300] = "";
    if (registry_new(&c.config, &registry, error, sizeof error) == 0)
        fail_msg("%s was accepted", header ? header : body);
    assert_memory_equal(error, "test.conf:1: task \"call\": ", 26);
    receiver_stop(&c.peer);
}

static void test_settings_that_are_refused(void **state)
{
    (void)state;
    static const char *const headers[] = {
        "traceparent: 00-1-1-01", "TraceState: a=1",     "Baggage: a=1",          "X-Tenant-ID: other",
        "x-scope-orgid: other",   "X-Customer: other",   "X-Request-ID: mine",    "X-Region: us",
        "X-Satchel-Task-ID: 1",   "x-satchel-var-k: 1",  "X-Satchel-Deadline: 1", "b3: 1",
        "X-B3-TraceId: 1",        "Host: other",         "Content-Length: 5",     "Transfer-Encoding: x",
        "Connection: close",      "X-Correlation-ID: 1", "X-A: {{argh}}",         "X-A: {{args.a"};
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
        expect_refused(headers[i], NULL);
    expect_refused(NULL, "{{args.");
}

static void test_nothing_leaks(void **state)
{
    (void)state;
    satchel_counts before = {.struct_size = sizeof before}, after = {.struct_size = sizeof after};
    satchel_get_counts(&before);
    struct calls c;
    calls_usual(&c);
    calls_open(&c, 2);
    for (size_t i = 0; i < 20; i++)
        calls_expect(&c, "call", "{}", ATTEMPT_SUCCEEDED, ERROR_TYPE_NONE);
    assert_int_equal(pool_violations(c.bench.pool), 0);
    calls_close(&c);
    satchel_get_counts(&after);
    assert_int_equal(after.contexts, before.contexts);
    assert_int_equal(after.values, before.values);
    assert_int_equal(after.misuse, before.misuse);
}

int main(void)
{
    json_in_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_line),
        cmocka_unit_test(test_tracestate),
        cmocka_unit_test(test_span),
        cmocka_unit_test(test_secret_variables),
        cmocka_unit_test(test_propagate),
        cmocka_unit_test(test_retry_reason),
        cmocka_unit_test(test_url_templates),
        cmocka_unit_test(test_dot_segments),
        cmocka_unit_test(test_host_template),
        cmocka_unit_test(test_header_templates),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_large_body),
        cmocka_unit_test(test_environment_proxies),
        cmocka_unit_test(test_cookies),
        cmocka_unit_test(test_settings_that_are_refused),
        cmocka_unit_test(test_nothing_leaks),
    };
    return cmocka_run_group_tests_name("HTTP tasks: requests", tests, NULL, NULL);
}
