/* Histograms, exemplars, tenants, and their two forms as text; which form a request asks for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "telemetry/exposition.h"
#include "telemetry/process.h"

#define TRACE_ID "0af7651916cd43dd8448eb211c80319c"
#define SECOND_US INT64_C(1000000)

static struct metrics *m;
static struct buf out;

static const char *const types[] = {"echo", "sleep"};
static const char *const tenants[] = {"zeta", "*", "acme"};

static int setup(void **state)
{
    (void)state;
    struct metrics_options options = {
        .types = types, .n_types = 2, .tenants = tenants, .n_tenants = 3, .by_tenant = true};
    assert_int_equal(metrics_new(&options, &m), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    metrics_free(m);
    buf_release(&out);
    return 0;
}

static struct task_spec *make_spec(const char *tenant, const char *flags)
{
    char traceparent[64];
    (void)snprintf(traceparent, sizeof traceparent, "00-" TRACE_ID "-b7ad6b7169203331-%s", flags);
    satchel_field field = {
        .name = "traceparent", .value = traceparent, .name_len = 11, .value_len = strlen(traceparent)};
    struct task_spec_text text = {
        .tenant = slice_str(tenant), .name = SLICE_LITERAL("echo"), .args = SLICE_LITERAL("null")};
    struct task_spec *spec = task_spec_new(&text);
    assert_non_null(spec);
    satchel_context *context;
    assert_int_equal(satchel_extract(&field, 1, &context, NULL, NULL), SATCHEL_OK);
    task_context_set(spec, context);
    task_id_make(&spec->id);
    return spec;
}

static struct metric_histogram histogram_of(enum metric_times which, size_t index)
{
    const char *type;
    bool some;
    struct metric_histogram histogram = {0};
    assert_true(metrics_histogram(m, which, index, &type, &some, &histogram));
    assert_true(some);
    return histogram;
}

static void run(const struct task_spec *spec, size_t type, int64_t at_us, int64_t ns)
{
    struct metric_attempt attempt = {.spec = spec, .type = type, .number = 1, .at_us = at_us};
    metrics_note_run(m, &attempt, ns, RESULT_SUCCEEDED);
}

static void buckets(void **state)
{
    (void)state;
    struct task_spec *spec = make_spec("acme", "01");
    static const int64_t ns[] = {-5, 0, 100000, 100001, 1000000000, INT64_C(7200000000000), INT64_C(7200000000001)};
    for (size_t i = 0; i < sizeof ns / sizeof ns[0]; i++)
        run(spec, 0, 1000 * SECOND_US, ns[i]);
    struct metric_histogram histogram = histogram_of(TIMES_RUN, 0);
    assert_int_equal(histogram.buckets[0], 3); /* a bound belongs to its bucket */
    assert_int_equal(histogram.buckets[1], 1);
    assert_int_equal(histogram.buckets[8], 1);
    assert_int_equal(histogram.buckets[14], 1);
    assert_int_equal(histogram.buckets[15], 1);
    assert_int_equal(histogram.sum_ns, 100000 + 100001 + 1000000000 + 2 * INT64_C(7200000000000) + 1);
    assert_int_equal(metrics_attempts(m, RESULT_SUCCEEDED), 7);
    assert_int_equal(metrics_attempts(m, RESULT_FAILED), 0);
    task_spec_unref(spec);
}

/* A reload brings new types; those that are known keep their place, and past the last place all are "other". */
static void types_come_later(void **state)
{
    (void)state;
    struct task_spec *spec = make_spec("acme", "01");
    const char *type;
    bool some;
    struct metric_histogram histogram;
    assert_int_equal(metrics_type(m, "sleep"), 1);
    assert_int_equal(metrics_type(m, "new"), 2);
    assert_int_equal(metrics_type(m, "new"), 2);
    run(spec, 2, 1, 1);
    assert_true(metrics_histogram(m, TIMES_RUN, 2, &type, &some, &histogram));
    assert_true(some);
    assert_string_equal(type, "new");
    for (unsigned i = 3; i < METRIC_TYPES_MAX; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "t%u", i);
        assert_int_equal(metrics_type(m, name), i);
    }
    assert_int_equal(metrics_type(m, "one more"), METRIC_TYPES_MAX);
    assert_int_equal(metrics_type(m, "t3"), 3);
    assert_int_equal(metrics_type(NULL, "t3"), METRIC_TYPES_MAX);
    task_spec_unref(spec);
}

static void types_that_never_ran_have_none(void **state)
{
    (void)state;
    struct task_spec *spec = make_spec("acme", "01");
    const char *type;
    bool some;
    struct metric_histogram histogram;
    run(spec, 1, 1, 1);
    run(spec, SIZE_MAX, 1, 1);
    run(spec, 77, 1, 1);
    assert_true(metrics_histogram(m, TIMES_RUN, 0, &type, &some, &histogram));
    assert_false(some);
    assert_string_equal(type, "echo");
    assert_true(metrics_histogram(m, TIMES_RUN, 2, &type, &some, &histogram));
    assert_false(some);
    assert_true(metrics_histogram(m, TIMES_RUN, METRIC_TYPES_MAX, &type, &some, &histogram));
    assert_true(some);
    assert_string_equal(type, "other");
    assert_int_equal(histogram.buckets[0], 2);
    assert_false(metrics_histogram(m, TIMES_RUN, METRIC_TYPES_MAX + 1, &type, &some, &histogram));
    assert_true(metrics_histogram(m, TIMES_WAIT, 1, &type, &some, &histogram));
    assert_false(some);
    task_spec_unref(spec);
}

static void exemplars(void **state)
{
    (void)state;
    struct task_spec *first = make_spec("acme", "01"), *second = make_spec("acme", "01");
    struct task_spec *quiet = make_spec("acme", "00");
    uint8_t span[8];
    int64_t at = 1000 * SECOND_US;
    run(quiet, 0, at, 10);
    assert_int_equal(histogram_of(TIMES_RUN, 0).exemplars[0].at_us, 0); /* nobody could look it up */
    at += 2 * SECOND_US;
    run(first, 0, at, 20);
    struct metric_exemplar exemplar = histogram_of(TIMES_RUN, 0).exemplars[0];
    task_id_attempt_span(first->id, 1, span);
    assert_memory_equal(exemplar.trace.span_id, span, 8);
    assert_int_equal(exemplar.value_ns, 20);
    run(second, 0, at + SECOND_US / 2, 30); /* too soon for another one */
    assert_int_equal(histogram_of(TIMES_RUN, 0).exemplars[0].value_ns, 20);
    run(second, 0, at + SECOND_US, 40);
    assert_int_equal(histogram_of(TIMES_RUN, 0).exemplars[0].value_ns, 40);
    run(first, 0, at - 5000 * SECOND_US, 50); /* the clock was set back */
    assert_int_equal(histogram_of(TIMES_RUN, 0).exemplars[0].value_ns, 50);
    task_spec_unref(first);
    task_spec_unref(second);
    task_spec_unref(quiet);
}

static void tenants_without_a_section_are_one(void **state)
{
    (void)state;
    struct metric_tenant tenant;
    struct task_spec *spec = make_spec("zeta", "01");
    metrics_note_submitted(m, "acme");
    metrics_note_submitted(m, "stranger");
    metrics_note_submitted(m, "another");
    metrics_note_finished(m, "zeta", TASK_FAILED);
    run(spec, 0, 1, 12345);
    assert_true(metrics_tenant(m, 0, &tenant));
    assert_string_equal(tenant.name, "acme");
    assert_int_equal(tenant.submitted, 1);
    assert_true(metrics_tenant(m, 1, &tenant));
    assert_string_equal(tenant.name, "zeta");
    assert_int_equal(tenant.finished[TASK_FAILED], 1);
    assert_int_equal(tenant.run_ns, 12345);
    assert_true(metrics_tenant(m, 2, &tenant));
    assert_string_equal(tenant.name, "*");
    assert_int_equal(tenant.submitted, 2);
    assert_false(metrics_tenant(m, 3, &tenant));
    task_spec_unref(spec);
}

static void tenants_only_where_configured(void **state)
{
    (void)state;
    struct metrics *quiet;
    struct metric_tenant tenant;
    struct metrics_options options = {.types = types, .n_types = 2, .tenants = tenants, .n_tenants = 3};
    assert_int_equal(metrics_new(&options, &quiet), 0);
    metrics_note_submitted(quiet, "acme");
    assert_false(metrics_tenant(quiet, 0, &tenant));
    metrics_free(quiet);
    metrics_note_submitted(NULL, "acme");
    metrics_note_run(NULL, NULL, 1, RESULT_FAILED);
    metrics_note_wait(NULL, NULL, 1);
}

static void expect_line(const char *line)
{
    char *wanted;
    assert_true(asprintf(&wanted, "\n%s\n", line) > 0);
    if (!out.data || !strstr(out.data, wanted))
        fail_msg("no line \"%s\" in:\n%s", line, out.data);
    free(wanted);
}

static struct exposition begin(bool openmetrics)
{
    buf_reset(&out);
    buf_append_char(&out, '\n');
    return (struct exposition){.to = &out, .openmetrics = openmetrics};
}

static void a_histogram_as_text(void **state)
{
    (void)state;
    struct task_spec *spec = make_spec("acme", "01");
    uint8_t span[8];
    char line[256], hex[17];
    run(spec, 0, 1500000, 200000);
    run(spec, 0, 1500000, INT64_C(2000000000));
    task_id_attempt_span(spec->id, 1, span);
    for (size_t i = 0; i < 8; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", span[i]);
    struct metric_histogram histogram = histogram_of(TIMES_RUN, 0);
    struct metric_label label = {"task", "echo"};
    struct exposition x = begin(true);
    exposition_family(&x, METRIC_RUN_TIME);
    exposition_histogram(&x, &histogram, &label, 1);
    exposition_end(&x);
    expect_line("# TYPE satchel_run_seconds histogram");
    expect_line("# UNIT satchel_run_seconds seconds");
    expect_line("satchel_run_seconds_bucket{task=\"echo\",le=\"0.0001\"} 0");
    (void)snprintf(line, sizeof line,
                   "satchel_run_seconds_bucket{task=\"echo\",le=\"0.0005\"} 1 # {trace_id=\"" TRACE_ID
                   "\",span_id=\"%s\"} 0.000200000 1.500000",
                   hex);
    expect_line(line);
    expect_line("satchel_run_seconds_bucket{task=\"echo\",le=\"1.0\"} 1");
    expect_line("satchel_run_seconds_bucket{task=\"echo\",le=\"+Inf\"} 2");
    expect_line("satchel_run_seconds_sum{task=\"echo\"} 2.000200000");
    expect_line("satchel_run_seconds_count{task=\"echo\"} 2");
    assert_string_equal(out.data + out.len - 7, "\n# EOF\n");
    x = begin(false);
    exposition_family(&x, METRIC_RUN_TIME);
    exposition_histogram(&x, &histogram, &label, 1);
    exposition_end(&x);
    expect_line("satchel_run_seconds_bucket{task=\"echo\",le=\"0.0005\"} 1");
    expect_line("satchel_run_seconds_bucket{task=\"echo\",le=\"1\"} 1");
    assert_null(strstr(out.data, "EOF"));
    assert_null(strstr(out.data, "UNIT"));
    assert_null(strstr(out.data, "trace_id"));
    task_spec_unref(spec);
}

static void names_and_suffixes(void **state)
{
    (void)state;
    struct exposition x = begin(true);
    exposition_family(&x, METRIC_TASKS_SUBMITTED);
    exposition_number(&x, 3, NULL, 0);
    exposition_family(&x, METRIC_BUILD);
    exposition_number(&x, 1, &(struct metric_label){"version", "a\"b\\c\nd"}, 1);
    exposition_family(&x, METRIC_PROCESS_CPU);
    exposition_seconds(&x, UINT64_C(1000000001), NULL, 0);
    expect_line("# TYPE satchel_tasks_submitted counter");
    expect_line("satchel_tasks_submitted_total 3");
    expect_line("# TYPE satchel_build info");
    expect_line("satchel_build_info{version=\"a\\\"b\\\\c\\nd\"} 1");
    expect_line("process_cpu_seconds_total 1.000000001");
    x = begin(false);
    exposition_family(&x, METRIC_TASKS_SUBMITTED);
    exposition_number(&x, 3, NULL, 0);
    exposition_family(&x, METRIC_BUILD);
    exposition_number(&x, 1, &(struct metric_label){"version", "1"}, 1);
    expect_line("# TYPE satchel_tasks_submitted_total counter");
    expect_line("satchel_tasks_submitted_total 3");
    expect_line("# TYPE satchel_build_info gauge");
    expect_line("satchel_build_info{version=\"1\"} 1");
}

/* OpenMetrics wants a unit at the end of the name, and no suffix of its own there. */
static void the_table_is_sound(void **state)
{
    (void)state;
    static const struct {
        const char *name, *unit, *text;
    } all[] = {
#define METRIC(ID, NAME, KIND, UNIT, LABELS, TEXT) {NAME, UNIT, TEXT},
#include "telemetry/metrics.def"
#undef METRIC
    };
    static const char *const suffixes[] = {"_total", "_count", "_sum", "_bucket", "_info", "_created"};
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        size_t len = strlen(all[i].name), unit = strlen(all[i].unit);
        assert_true(unit == 0 || (len > unit && strcmp(all[i].name + len - unit, all[i].unit) == 0));
        for (size_t k = 0; k < sizeof suffixes / sizeof suffixes[0]; k++)
            assert_true(len < strlen(suffixes[k]) || strcmp(all[i].name + len - strlen(suffixes[k]), suffixes[k]) != 0);
        assert_null(strpbrk(all[i].text, "\\\n\""));
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(all[i].name, all[k].name);
    }
}

static void what_accept_asks_for(void **state)
{
    (void)state;
    static const struct {
        const char *accept;
        bool openmetrics;
    } cases[] = {
        {"", false},
        {"*/*", false},
        {"text/plain", false},
        {"application/openmetrics-text", true},
        {"Application/OpenMetrics-Text; version=1.0.0", true},
        {"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
         "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
         true},
        {"text/plain;version=0.0.4;q=0.9, application/openmetrics-text;q=0.8", false},
        {"application/openmetrics-text;q=0", false},
        {"application/openmetrics-text;q=0.0, */*", false},
        {"application/openmetrics-text;q=x", false},
        {"application/openmetrics-text;q=-1", false},
        {"application/openmetrics-text;q=0.00000000001", false},
        {"application/openmetrics-textual", false},
        {",;,;q=,=,", false},
        {" , application/openmetrics-text ; q=1.0 ,", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (exposition_wants_openmetrics(slice_str(cases[i].accept)) != cases[i].openmetrics)
            fail_msg("Accept: %s", cases[i].accept);
    assert_false(exposition_wants_openmetrics((struct slice){0}));
}

static void the_process(void **state)
{
    (void)state;
    struct process_stats process;
    process_get_stats(&process);
    assert_true(process.resident_bytes > 100000);
    assert_true(process.virtual_bytes >= process.resident_bytes);
    assert_true(process.threads >= 1 && process.threads < 10000);
    assert_true(process.open_fds >= 1 && process.open_fds < 100000);
    time_t now = time(NULL);
    assert_true((time_t)process.start_s <= now + 1 && (time_t)process.start_s > now - 3600);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    static const struct CMUnitTest tests[] = {
        TEST(buckets),
        TEST(types_that_never_ran_have_none),
        TEST(types_come_later),
        TEST(exemplars),
        TEST(tenants_without_a_section_are_one),
        TEST(tenants_only_where_configured),
        TEST(a_histogram_as_text),
        TEST(names_and_suffixes),
        TEST(the_table_is_sound),
        TEST(what_accept_asks_for),
        TEST(the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
