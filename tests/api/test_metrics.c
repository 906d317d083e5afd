/* /metrics of the real daemon: both forms obey their grammar, name everything that there is, and count what happened;
 * an exemplar leads to the trace; no secret and no tenant is told. */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/ask.h"

#define OPENMETRICS "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n"

static struct satcheld d;

static void start_with(const char *config)
{
    satcheld_init(&d, config);
    satcheld_start(&d);
}

static int teardown(void **state)
{
    (void)state;
    satcheld_release(&d);
    return 0;
}

/* The body; the caller's. */
static char *scrape(const char *headers, const char *type)
{
    struct answer answer = {0};
    ask(&d, &answer, "GET", "/metrics", headers, NULL);
    assert_int_equal(answer.status, 200);
    if (!answer_has(&answer, "Content-Type", type))
        fail_msg("not %s:\n%s", type, answer.head);
    char *body = strdup(answer.body);
    answer_release(&answer);
    return body;
}

static char *scrape_openmetrics(void)
{
    return scrape(OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8");
}

static char *scrape_text(void)
{
    return scrape(NULL, "text/plain; version=0.0.4; charset=utf-8");
}

/* ---- the grammar ---- */

static size_t name_len(const char *at)
{
    size_t n = 0;
    while (isalnum((unsigned char)at[n]) || at[n] == '_')
        n++;
    return n;
}

/* {name="value",...}; returns what comes behind it, or NULL. */
static const char *pass_labels(const char *at)
{
    if (*at != '{')
        return at;
    do {
        size_t n = name_len(++at);
        if (n == 0 || strncmp(at + n, "=\"", 2) != 0)
            return NULL;
        for (at += n + 2; *at && *at != '"'; at++)
            if (*at == '\\' && *++at == '\0')
                return NULL;
        if (*at++ != '"')
            return NULL;
    } while (*at == ',');
    return *at == '}' ? at + 1 : NULL;
}

static const char *pass_number(const char *at)
{
    char *end;
    (void)strtod(at, &end);
    return end == at ? NULL : end;
}

static bool is_sample(const char *line, bool openmetrics)
{
    const char *at = pass_labels(line + name_len(line));
    at = at && *at == ' ' ? pass_number(at + 1) : NULL;
    if (at && openmetrics && strncmp(at, " # ", 3) == 0) {
        at = pass_labels(at + 3);
        at = at && *at == ' ' ? pass_number(at + 1) : NULL;
        at = at && *at == ' ' ? pass_number(at + 1) : NULL;
    }
    return at && *at == '\0';
}

/* Every sample belongs to the family above it, and no family comes twice. */
static void check_grammar(const char *text, bool openmetrics)
{
    char *copy = strdup(text), *rest = copy, family[128] = "", seen[8192] = " ";
    assert_string_equal(text + strlen(text) - 1, "\n");
    for (char *line; (line = strsep(&rest, "\n")) != NULL && (*line || rest);) {
        if (strncmp(line, "# HELP ", 7) == 0) {
            char mark[160];
            (void)snprintf(family, sizeof family, "%.*s", (int)name_len(line + 7), line + 7);
            (void)snprintf(mark, sizeof mark, " %s ", family);
            if (strstr(seen, mark))
                fail_msg("%s comes twice", family);
            (void)snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%s ", family);
        } else if (strncmp(line, "# TYPE ", 7) == 0 || (openmetrics && strncmp(line, "# UNIT ", 7) == 0)) {
            assert_memory_equal(line + 7, family, strlen(family));
        } else if (openmetrics && strcmp(line, "# EOF") == 0) {
            assert_true(!rest || !*rest);
        } else if (!is_sample(line, openmetrics) || strncmp(line, family, strlen(family)) != 0) {
            fail_msg("not a sample of %s: %s", family, line);
        }
    }
    assert_int_equal(strstr(text, "\n# EOF\n") != NULL, openmetrics);
    free(copy);
}

/* ---- values ---- */

/* The value of the sample whose name and labels these are; fails where there is none. */
static double value_of(const char *text, const char *sample)
{
    char *wanted;
    assert_true(asprintf(&wanted, "\n%s ", sample) > 0);
    const char *at = strstr(text, wanted);
    if (!at)
        fail_msg("no sample %s in:\n%s", sample, text);
    double value = strtod(at + strlen(wanted), NULL);
    free(wanted);
    return value;
}

static void expect_sample(const char *text, const char *sample, double expected)
{
    double value = value_of(text, sample);
    if (value != expected)
        fail_msg("%s is %g, not %g", sample, value, expected);
}

/* Statistics are published once a turn: asks until the sample has that value. */
static char *await_value(const char *sample, double expected)
{
    long long until = mono_ms() + WAIT_MS;
    for (;;) {
        char *text = scrape_openmetrics();
        if (value_of(text, sample) == expected || mono_ms() > until) {
            expect_sample(text, sample, expected);
            return text;
        }
        free(text);
        pause_ms(5);
    }
}

static const char *const names[] = {
#define METRIC(ID, NAME, ...) NAME,
#include "telemetry/metrics.def"
#undef METRIC
};

static void run_some(void)
{
    json_decref(run(&d, "traceparent: " TRACEPARENT "\r\nX-Tenant-ID: acme\r\nX-Key: hunter2\r\n",
                    "{\"task\":\"satchel.echo\",\"args\":\"hunter2\"}"));
    json_decref(run(&d, "X-Tenant-ID: zeta\r\n", "{\"task\":\"satchel.fail\",\"args\":{\"message\":\"no\"}}"));
}

static void both_forms(void **state)
{
    (void)state;
    start_with("header \"X-Key\" { var = \"key\" secret = true }\n");
    run_some();
    free(await_value("satchel_tasks_finished_total{state=\"failed\"}", 1));
    char *openmetrics = scrape_openmetrics(), *text = scrape_text();
    check_grammar(openmetrics, true);
    check_grammar(text, false);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char line[160];
        (void)snprintf(line, sizeof line, "# TYPE %s", names[i]);
        /* The latter: tests/api/test_tls_setup.c. */
        bool where_configured = strstr(names[i], "_tenant_") || strstr(names[i], "_tls_");
        if ((strstr(openmetrics, line) != NULL) == where_configured || (strstr(text, line) != NULL) == where_configured)
            fail_msg("%s", names[i]);
    }
    assert_null(strstr(openmetrics, "hunter2"));
    assert_null(strstr(openmetrics, "acme"));
    assert_null(strstr(text, "trace_id"));
    free(openmetrics);
    free(text);
}

static void what_happened_is_counted(void **state)
{
    (void)state;
    start_with(NULL);
    run_some();
    json_decref(submit(&d, NULL, "{\"task\":\"satchel.noop\",\"delay\":\"1h\"}", 202));
    char *text = await_value("satchel_tasks{state=\"scheduled\"}", 1);
    expect_sample(text, "satchel_tasks_submitted_total", 3);
    expect_sample(text, "satchel_tasks_finished_total{state=\"succeeded\"}", 1);
    expect_sample(text, "satchel_tasks_finished_total{state=\"failed\"}", 1);
    expect_sample(text, "satchel_tasks_finished_total{state=\"canceled\"}", 0);
    expect_sample(text, "satchel_attempts_total{result=\"succeeded\"}", 1);
    expect_sample(text, "satchel_attempts_total{result=\"failed\"}", 1);
    expect_sample(text, "satchel_attempts_total{result=\"lost\"}", 0);
    expect_sample(text, "satchel_run_seconds_count{task=\"satchel.echo\"}", 1);
    expect_sample(text, "satchel_run_seconds_bucket{task=\"satchel.fail\",le=\"+Inf\"}", 1);
    expect_sample(text, "satchel_queue_wait_seconds_count{task=\"satchel.echo\"}", 1);
    expect_sample(text, "satchel_store_up", 1);
    expect_sample(text, "satchel_draining", 0);
    expect_sample(text, "satchel_context_misuse_total", 0);
    expect_sample(text, "satchel_context_violations_total", 0);
    assert_true(value_of(text, "satchel_store_commits_total") >= 2);
    assert_true(value_of(text, "satchel_store_syncs_total") >= 2);
    assert_true(value_of(text, "satchel_http_requests_total") >= 4);
    assert_true(value_of(text, "process_resident_memory_bytes") > 1e6);
    assert_true(value_of(text, "process_cpu_seconds_total") > 0);
    assert_null(strstr(text, "satchel.noop")); /* never ran: no series of its own */
    free(text);
}

static void an_exemplar_leads_to_the_trace(void **state)
{
    (void)state;
    start_with(NULL);
    run_some();
    json_t *tasks = get_json(&d, "/v1/tasks?task=satchel.echo", "X-Tenant-ID: acme\r\n", 200);
    const char *id = text_of(json_array_get(json_object_get(tasks, "tasks"), 0), "id");
    char target[128], exemplar[160];
    (void)snprintf(target, sizeof target, "/v1/tasks/%s?attempts=true", id);
    json_t *task = get_json(&d, target, "X-Tenant-ID: acme\r\n", 200);
    const char *span = text_of(json_array_get(json_object_get(task, "attempts"), 0), "span_id");
    (void)snprintf(exemplar, sizeof exemplar, " # {trace_id=\"" TRACE_ID "\",span_id=\"%s\"} ", span);
    char *text = await_value("satchel_run_seconds_count{task=\"satchel.echo\"}", 1);
    const char *first = strstr(text, exemplar);
    if (!first)
        fail_msg("no exemplar%s in:\n%s", exemplar, text);
    assert_non_null(strstr(first + 1, exemplar)); /* of the wait and of the run */
    free(text);
    json_decref(task);
    json_decref(tasks);
}

static void by_tenant_where_configured(void **state)
{
    (void)state;
    start_with("metrics_tenants = true\ntenant \"acme\" { weight = 2 }\n");
    run_some();
    char *text = await_value("satchel_tenant_tasks_finished_total{tenant=\"*\",state=\"failed\"}", 1);
    check_grammar(text, true);
    expect_sample(text, "satchel_tenant_tasks_submitted_total{tenant=\"acme\"}", 1);
    expect_sample(text, "satchel_tenant_tasks_submitted_total{tenant=\"*\"}", 1);
    expect_sample(text, "satchel_tenant_tasks_finished_total{tenant=\"acme\",state=\"succeeded\"}", 1);
    assert_true(value_of(text, "satchel_tenant_run_seconds_total{tenant=\"acme\"}") > 0);
    assert_null(strstr(text, "zeta"));
    free(text);
}

static void lost_attempts_are_counted_after_a_crash(void **state)
{
    (void)state;
    start_with(NULL);
    json_t *task = submit(&d, NULL, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.5}}", 202);
    char *id = strdup(text_of(task, "id"));
    json_decref(task);
    json_decref(await_state(&d, NULL, id, "running"));
    pause_ms(50);
    satcheld_kill(&d);
    satcheld_start(&d);
    json_decref(finish(&d, NULL, id));
    char *text = await_value("satchel_tasks_finished_total{state=\"succeeded\"}", 1);
    expect_sample(text, "satchel_attempts_total{result=\"lost\"}", 1);
    free(text);
    free(id);
}

static void head_and_other_methods(void **state)
{
    (void)state;
    start_with(NULL);
    struct answer answer = {0};
    struct client client;
    client_open(&client, &d);
    ask_on(&client, &answer, "HEAD", "/metrics", NULL, NULL);
    assert_int_equal(answer.status, 200);
    ask_on(&client, &answer, "POST", "/metrics", NULL, "");
    assert_int_equal(answer.status, 405);
    client_close(&client);
    answer_release(&answer);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, teardown)
    static const struct CMUnitTest tests[] = {
        TEST(both_forms),
        TEST(what_happened_is_counted),
        TEST(an_exemplar_leads_to_the_trace),
        TEST(by_tenant_where_configured),
        TEST(lost_attempts_are_counted_after_a_crash),
        TEST(head_and_other_methods),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
