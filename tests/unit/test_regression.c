/* The bug that the project was born from, and its cure: a thread started without its creator's context loses tenant
 * and trace.  Here: set in the parent, seen on another thread; changed there, unchanged here; gone from the thread
 * afterwards.  And the rules of variables that the cure stands on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <satchel/context.h>

#define TRACEPARENT "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static void set_all(void)
{
    assert_int_equal(satchel_set_string(satchel_known_var(SATCHEL_TENANT), "acme", NULL), SATCHEL_OK);
    assert_int_equal(satchel_set_string(satchel_known_var(SATCHEL_TRACEPARENT), TRACEPARENT, NULL), SATCHEL_OK);
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(satchel_thread_reset(), SATCHEL_OK);
    return 0;
}

struct seen {
    char tenant[64], trace[64];
};

static void look(struct seen *seen)
{
    *seen = (struct seen){0};
    if (satchel_tenant())
        strcpy(seen->tenant, satchel_tenant());
    if (satchel_traceparent())
        strcpy(seen->trace, satchel_traceparent());
}

static void *look_and_change(void *arg)
{
    look(arg);
    (void)satchel_set_string(satchel_known_var(SATCHEL_TENANT), "mallory", NULL);
    (void)satchel_unset(satchel_known_var(SATCHEL_TRACEPARENT), NULL);
    return NULL;
}

static void test_a_new_thread_has_its_creators_context(void **state)
{
    (void)state;
    struct seen seen;
    pthread_t thread;
    set_all();
    assert_int_equal(satchel_thread_create(&thread, NULL, look_and_change, &seen), SATCHEL_OK);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_string_equal(seen.tenant, "acme");
    assert_string_equal(seen.trace, TRACEPARENT);
    assert_string_equal(satchel_tenant(), "acme"); /* what it changed stayed there */
    assert_string_equal(satchel_traceparent(), TRACEPARENT);
}

/* A worker thread that runs one task after the other, each in a copy of its submitter's context. */
struct worker_job {
    satchel_context *ctx; /* NULL: look at the bare thread */
    struct seen seen;
};

static int run_job(void *arg)
{
    (void)look_and_change(arg);
    return 0;
}

static void *worker(void *arg)
{
    struct worker_job *jobs = arg;
    for (int i = 0; i < 3; i++) {
        if (jobs[i].ctx)
            (void)satchel_context_run(jobs[i].ctx, run_job, &jobs[i].seen, NULL);
        else
            look(&jobs[i].seen);
    }
    return NULL;
}

static void test_the_next_task_on_a_thread_sees_nothing_of_the_last(void **state)
{
    (void)state;
    pthread_t thread;
    struct worker_job jobs[3] = {{0}};
    set_all();
    jobs[0].ctx = satchel_capture();
    jobs[2].ctx = satchel_context_new();
    assert_int_equal(satchel_thread_reset(), SATCHEL_OK); /* the worker starts clean, as a pool's does */
    assert_int_equal(satchel_thread_create(&thread, NULL, worker, jobs), SATCHEL_OK);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_string_equal(jobs[0].seen.tenant, "acme");
    assert_string_equal(jobs[1].seen.tenant, "");
    assert_string_equal(jobs[1].seen.trace, "");
    assert_string_equal(jobs[2].seen.tenant, "");
    satchel_value *value;
    assert_int_equal(satchel_context_get(jobs[0].ctx, satchel_known_var(SATCHEL_TENANT), &value), SATCHEL_OK);
    assert_string_equal(satchel_value_data(value), "mallory"); /* what a run sets stays in the context it ran in */
    satchel_value_unref(value);
    satchel_context_unref(jobs[0].ctx);
    satchel_context_unref(jobs[2].ctx);
}

static void test_copies_do_not_affect_each_other(void **state)
{
    (void)state;
    set_all();
    satchel_context *one = satchel_capture(), *two = satchel_context_copy(one);
    assert_true(satchel_context_equal(one, two));
    assert_int_equal(satchel_context_enter(one), SATCHEL_OK);
    assert_int_equal(satchel_context_enter(one), SATCHEL_EENTERED);
    assert_int_equal(satchel_set_string(satchel_known_var(SATCHEL_TENANT), "other", NULL), SATCHEL_OK);
    assert_int_equal(satchel_context_exit(two), SATCHEL_ENOTCURRENT);
    assert_int_equal(satchel_context_exit(one), SATCHEL_OK);
    assert_false(satchel_context_equal(one, two));
    assert_string_equal(satchel_tenant(), "acme");
    satchel_context_unref(one);
    satchel_context_unref(two);
}

static void test_tokens_are_checked_in_order(void **state)
{
    (void)state;
    satchel_var *var, *other;
    satchel_token token = SATCHEL_TOKEN_INIT;
    void *data;
    assert_int_equal(satchel_var_string("a", "default", NULL, &var), SATCHEL_OK);
    assert_int_equal(satchel_var_string("a", NULL, NULL, &other), SATCHEL_OK);
    assert_int_equal(satchel_get(var, &data), SATCHEL_OK);
    assert_string_equal(data, "default");
    assert_int_equal(satchel_get(other, &data), SATCHEL_UNSET);
    char argument[] = "argument"; /* hides the variable's own default */
    assert_string_equal(satchel_get_or(var, argument), "argument");
    assert_int_equal(satchel_reset(var, &token), SATCHEL_EINVAL);
    assert_int_equal(satchel_set_string(var, "1", &token), SATCHEL_OK);
    assert_int_equal(satchel_token_old(&token, &data), SATCHEL_UNSET);
    assert_int_equal(satchel_set_string(var, "2", &token), SATCHEL_EINVAL); /* still pending */
    assert_int_equal(satchel_reset(other, &token), SATCHEL_EVAR);
    satchel_context *ctx = satchel_capture();
    assert_int_equal(satchel_context_enter(ctx), SATCHEL_OK);
    assert_int_equal(satchel_reset(var, &token), SATCHEL_ECONTEXT);
    assert_int_equal(satchel_context_exit(ctx), SATCHEL_OK);
    satchel_context_unref(ctx);
    assert_int_equal(satchel_reset(var, &token), SATCHEL_OK);
    assert_int_equal(satchel_reset(var, &token), SATCHEL_EUSED);
    assert_int_equal(satchel_reset(other, &token), SATCHEL_EUSED); /* used comes before the wrong variable */
    assert_int_equal(satchel_get(var, &data), SATCHEL_OK);
    assert_string_equal(data, "default");
    satchel_var_unref(var);
    satchel_var_unref(other);
}

static void test_hundreds_of_variables(void **state)
{
    (void)state;
    enum { N = 500 };
    static satchel_var *vars[N];
    satchel_context *snapshots[5];
    for (int i = 0; i < N; i++) {
        char text[16];
        assert_int_equal(satchel_var_string("v", NULL, NULL, &vars[i]), SATCHEL_OK);
        (void)snprintf(text, sizeof text, "%d", i);
        assert_int_equal(satchel_set_string(vars[i], text, NULL), SATCHEL_OK);
        if (i % 100 == 0)
            snapshots[i / 100] = satchel_capture();
    }
    for (int i = 0; i < N; i += 2)
        assert_int_equal(satchel_unset(vars[i], NULL), SATCHEL_OK);
    for (int i = 0; i < N; i++) {
        void *data;
        assert_int_equal(satchel_get(vars[i], &data), i % 2 ? SATCHEL_OK : SATCHEL_UNSET);
        if (i % 2)
            assert_int_equal(atoi(data), i);
    }
    assert_int_equal(satchel_context_len(NULL), N / 2);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(satchel_context_len(snapshots[i]), i * 100 + 1);
        satchel_context_unref(snapshots[i]);
    }
    assert_int_equal(satchel_thread_reset(), SATCHEL_OK);
    for (int i = 0; i < N; i++)
        satchel_var_unref(vars[i]);
    satchel_counts counts = {.struct_size = sizeof counts};
    satchel_get_counts(&counts);
    assert_int_equal(counts.values, 0);
    assert_int_equal(counts.contexts, 0);
    assert_int_equal(counts.vars, 0);
    assert_int_equal(counts.pending_tokens, 0);
}

static satchel_field field(const char *name, const char *value)
{
    return (satchel_field){name, value, strlen(name), strlen(value)};
}

static void test_headers_to_context_to_json_and_back(void **state)
{
    (void)state;
    satchel_field fields[] = {field("x-tenant-id", "acme"),    field("TraceParent", TRACEPARENT),
                              field("tracestate", "a=1"),      field("tracestate", "b=2"),
                              field("Baggage", "k=v%20w,bad"), field("X-Satchel-Var-region", "eu")};
    satchel_context *ctx, *again;
    char *json;
    size_t len;
    assert_int_equal(satchel_extract(fields, 6, &ctx, NULL, NULL), SATCHEL_OK);
    assert_int_equal(satchel_context_to_json(ctx, 0, &json, &len), SATCHEL_OK);
    assert_string_equal(json,
                        "{\"v\":1,\"vars\":{\"baggage\":\"k=v%20w\",\"traceparent\":\"" TRACEPARENT
                        "\",\"tracestate\":\"a=1,b=2\",\"x-satchel-var-region\":\"eu\",\"x-tenant-id\":\"acme\"}}");
    assert_int_equal(satchel_context_from_json(json, len, &again), SATCHEL_OK);
    assert_true(satchel_context_equal(ctx, again));
    char value[16];
    assert_int_equal(satchel_baggage_get(ctx, "k", value, sizeof value), 3);
    assert_string_equal(value, "v w");
    satchel_free(json);
    satchel_context_unref(ctx);
    satchel_context_unref(again);
}

static void test_broken_traceparents_are_dropped(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        TRACEPARENT "-x",
        TRACEPARENT "," TRACEPARENT,
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        satchel_field fields[] = {field("traceparent", bad[i]), field("tracestate", "a=1")};
        satchel_context *ctx;
        assert_int_equal(satchel_extract(fields, 2, &ctx, NULL, NULL), SATCHEL_OK);
        assert_int_equal(satchel_context_len(ctx), 0);
        satchel_context_unref(ctx);
    }
    satchel_trace trace;
    assert_int_equal(satchel_trace_parse("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff-more", 60, &trace),
                     SATCHEL_OK);
    char text[56];
    satchel_trace_format(&trace, text);
    assert_string_equal(text, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03");
}

static void test_a_bad_tenant_is_an_error(void **state)
{
    (void)state;
    satchel_context *ctx;
    satchel_field bad = field("X-Tenant-ID", "a/b"), one = field("X-Tenant-ID", "a"), two = field("X-Scope-OrgID", "b");
    assert_int_equal(satchel_extract(&bad, 1, &ctx, NULL, NULL), SATCHEL_EGRAMMAR);
    assert_null(ctx);
    satchel_field both[] = {one, two};
    assert_int_equal(satchel_extract(both, 2, &ctx, NULL, NULL), SATCHEL_EGRAMMAR);
    assert_int_equal(satchel_extract(&two, 1, &ctx, NULL, NULL), SATCHEL_OK);
    satchel_context_unref(ctx);
}

static void test_a_deadline_only_moves_earlier(void **state)
{
    (void)state;
    assert_true(satchel_remaining_ns() == INT64_MAX);
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t now_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    assert_int_equal(satchel_set_deadline(now_ns + 5000000000, NULL), SATCHEL_OK);
    assert_int_equal(satchel_set_deadline(now_ns + 60000000000, NULL), SATCHEL_OK);
    assert_true(satchel_remaining_ns() <= 5000000000);
    assert_false(satchel_done());
    assert_int_equal(satchel_set_deadline(now_ns, NULL), SATCHEL_OK);
    assert_true(satchel_done());
}

static void test_cancel_reaches_children_and_descriptors(void **state)
{
    (void)state;
    satchel_cancel *parent, *child;
    assert_int_equal(satchel_cancel_new(NULL, &parent), SATCHEL_OK);
    assert_int_equal(satchel_cancel_new(parent, &child), SATCHEL_OK);
    assert_true(satchel_cancel_fd(child) >= 0);
    satchel_cancel_fire(parent, 7);
    assert_int_equal(satchel_cancel_reason(child), 7);
    satchel_cancel_fire(child, 8);
    assert_int_equal(satchel_cancel_reason(child), 7); /* the first one counts */
    satchel_cancel_unref(parent);
    satchel_cancel_unref(child);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_new_thread_has_its_creators_context),
        TEST(test_the_next_task_on_a_thread_sees_nothing_of_the_last),
        TEST(test_copies_do_not_affect_each_other),
        TEST(test_tokens_are_checked_in_order),
        TEST(test_headers_to_context_to_json_and_back),
        TEST(test_broken_traceparents_are_dropped),
        TEST(test_a_bad_tenant_is_an_error),
        TEST(test_a_deadline_only_moves_earlier),
        TEST(test_cancel_reaches_children_and_descriptors),
        TEST(test_hundreds_of_variables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
