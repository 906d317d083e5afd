/* What the engine tells telemetry, and when: only what is durable, each end once, nothing of what never started. */
#include "engine_fixture.h"

#include "telemetry/spans.h"

static struct spans *spans;
static struct metrics *metrics;

static int begin(void **state)
{
    static const char *const types[] = {"work"};
    struct metrics_options options = {.types = types, .n_types = 1};
    if (setup(state) != 0)
        return -1;
    stop();
    assert_int_equal(spans_new(1000, false, &spans), 0);
    assert_int_equal(metrics_new(&options, &metrics), 0);
    engine_test_options.spans = spans;
    engine_test_options.metrics = metrics;
    start();
    return 0;
}

static int end(void **state)
{
    (void)teardown(state);
    spans_free(spans);
    metrics_free(metrics);
    return 0;
}

static struct task_spec *traced_spec(void)
{
    static const char traceparent[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    satchel_field field = {"traceparent", traceparent, 11, sizeof traceparent - 1};
    struct task_spec *spec = make_spec("acme", "work");
    satchel_context *context;
    assert_int_equal(satchel_extract(&field, 1, &context, NULL, NULL), SATCHEL_OK);
    task_context_set(spec, context);
    return spec;
}

static uint64_t recorded(void)
{
    struct spans_stats stats;
    spans_get_stats(spans, &stats);
    return stats.recorded;
}

static void await_recorded(uint64_t n)
{
    int64_t until = clock_mono_ns() + LIMIT_NS;
    while (recorded() < n && clock_mono_ns() < until)
        (void)sched_yield();
    assert_int_equal(recorded(), n);
}

/* The oldest one that waits. */
static struct span next_span(void)
{
    struct span span;
    assert_int_equal(spans_take(spans, &span, 1, 0), 1);
    return span;
}

static struct attempt *take_next(void)
{
    struct attempt *attempt = take(LIMIT_NS);
    assert_non_null(attempt);
    return attempt;
}

static void from_start_to_end(void **state)
{
    (void)state;
    struct task_spec *spec = traced_spec();
    struct task_id id = submit(spec);
    await_recorded(1);
    struct span span = next_span();
    assert_int_equal(span.kind, SPAN_PRODUCER);
    assert_true(task_id_equal(span.spec->id, id));
    assert_true(span.end_ns >= span.start_ns);
    span_release(&span);
    report(take_next(), ATTEMPT_SUCCEEDED);
    await_recorded(2);
    span = next_span();
    assert_int_equal(span.kind, SPAN_CONSUMER);
    assert_int_equal(span.attempt, 1);
    assert_false(span.lost);
    assert_null(span.outcome);
    assert_true(span.start_ns > 0 && span.end_ns >= span.start_ns);
    span_release(&span);
    assert_int_equal(metrics_attempts(metrics, RESULT_SUCCEEDED), 1);
}

static void each_attempt_has_one(void **state)
{
    (void)state;
    struct task_spec *spec = traced_spec();
    spec->max_attempts = 2;
    spec->backoff.base_us = 1;
    struct task_id id = submit(spec);
    report(take_next(), ATTEMPT_LOST);
    report(take_next(), ATTEMPT_FAILED);
    report(take_next(), ATTEMPT_FAILED);
    assert_int_equal(settled(id, TASK_FAILED), TASK_FAILED);
    await_recorded(4);
    struct span span = next_span();
    span_release(&span);
    for (uint32_t number = 1; number <= 3; number++) {
        span = next_span();
        assert_int_equal(span.attempt, number);
        assert_int_equal(span.lost, number == 1);
        span_release(&span);
    }
    assert_int_equal(metrics_attempts(metrics, RESULT_LOST), 1);
    assert_int_equal(metrics_attempts(metrics, RESULT_FAILED), 2);
}

static void what_never_started_has_none(void **state)
{
    (void)state;
    struct task_id id = submit(traced_spec());
    give_back(take_next());
    report(take_next(), ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(id, TASK_SUCCEEDED), TASK_SUCCEEDED);
    await_recorded(2);
    struct span span = next_span();
    span_release(&span);
    span = next_span();
    assert_int_equal(span.attempt, 1); /* the claim was given back */
    span_release(&span);
}

static void a_refused_batch_tells_nothing(void **state)
{
    (void)state;
    struct test_call t;
    (void)pthread_mutex_lock(&the_store->lock);
    the_store->refuse = STORE_FULL;
    (void)pthread_mutex_unlock(&the_store->lock);
    call_init(&t, ENGINE_SUBMIT);
    (void)submit_spec(traced_spec(), &t);
    assert_int_equal(finish(&t), ENGINE_STORE_FULL);
    assert_int_equal(recorded(), 0);
    (void)pthread_mutex_lock(&the_store->lock);
    the_store->refuse = STORE_OK;
    (void)pthread_mutex_unlock(&the_store->lock);
    struct task_id id = submit(traced_spec());
    await_recorded(1);
    struct attempt *attempt = take_next();
    (void)pthread_mutex_lock(&the_store->lock);
    the_store->refuse = STORE_FULL;
    (void)pthread_mutex_unlock(&the_store->lock);
    report(attempt, ATTEMPT_SUCCEEDED);
    int64_t until = clock_mono_ns() + 50000000;
    while (clock_mono_ns() < until) { /* its end is not durable: nobody is told */
        assert_int_equal(recorded(), 1);
        (void)sched_yield();
    }
    (void)pthread_mutex_lock(&the_store->lock);
    the_store->refuse = STORE_OK;
    (void)pthread_mutex_unlock(&the_store->lock);
    assert_int_equal(settled(id, TASK_SUCCEEDED), TASK_SUCCEEDED);
    await_recorded(2);
}

static void a_replayed_submission_has_none(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct test_call t;
        call_init(&t, ENGINE_SUBMIT);
        t.call.has_key = true;
        memset(t.call.key, 7, sizeof t.call.key);
        (void)submit_spec(traced_spec(), &t);
        assert_int_equal(finish(&t), i ? ENGINE_REPLAYED : ENGINE_OK);
        task_record_release(&t.call.record);
    }
    assert_int_equal(recorded(), 1);
}

static void recovery_closes_what_was_cut_off(void **state)
{
    (void)state;
    struct task_id id = submit(traced_spec());
    struct attempt *attempt = take_next();
    assert_int_equal(settled(id, TASK_RUNNING), TASK_RUNNING);
    struct row copy = *row_of(id); /* as a crash would leave it */
    copy.spec = task_spec_ref(copy.spec);
    report(attempt, ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(id, TASK_SUCCEEDED), TASK_SUCCEEDED);
    stop();
    uint64_t before = recorded();
    struct row *row = row_of(id);
    task_spec_unref(row->spec);
    task_outcome_unref(row->outcome);
    *row = copy;
    start();
    await_recorded(before + 1);
    struct span span = next_span();
    for (uint64_t i = 0; i < before; i++) {
        span_release(&span);
        span = next_span();
    }
    assert_true(span.lost);
    assert_int_equal(span.kind, SPAN_CONSUMER);
    assert_int_equal(span.attempt, 1);
    assert_true(span.start_ns > 0 && span.end_ns >= span.start_ns);
    span_release(&span);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    static const struct CMUnitTest tests[] = {
        TEST(from_start_to_end),
        TEST(each_attempt_has_one),
        TEST(what_never_started_has_none),
        TEST(a_refused_batch_tells_nothing),
        TEST(a_replayed_submission_has_none),
        TEST(recovery_closes_what_was_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
