/* The pool and the context of attempts: there in the worker thread, each attempt's own, gone afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/attempts.h"

/* Types of the test's own: what a handler may do wrong. */
static void run_with(struct attempt *attempt, void (*fn)(struct attempt *attempt))
{
    fn(attempt);
    attempt_succeed(attempt, SLICE_LITERAL("null"));
}

static void run_handler(const struct task_type *type, struct attempt *attempt)
{
    void (*const *fn)(struct attempt *) = type->detail;
    run_with(attempt, *fn);
}

static const struct executor handler_executor = {"test", run_handler};

#define HANDLER(fn_, quick_)                                                                                           \
    static void (*const fn_##_detail)(struct attempt *) = fn_;                                                         \
    static const struct task_type fn_##_type = {.name = #fn_,                                                          \
                                                .executor = &handler_executor,                                         \
                                                .detail = &fn_##_detail,                                               \
                                                .max_result = 1000,                                                    \
                                                .max_depth = 32,                                                       \
                                                .quick = (quick_)}

static struct attempt *custom(struct bench *bench, const struct task_type *type, const char *tenant)
{
    struct attempt *attempt = bench_attempt(bench, "satchel.noop", NULL, tenant);
    attempt->type = type;
    return attempt;
}

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    assert_non_null(bench);
    bench_init(bench, 4, NULL);
    *state = bench;
    return 0;
}

static int setup_one(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    assert_non_null(bench);
    bench_init(bench, 1, NULL);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    bench_release(bench);
    free(bench);
    return 0;
}

static void test_runs_and_reports(void **state)
{
    struct attempt *attempt = bench_run(*state, bench_attempt(*state, "satchel.noop", NULL, "acme"));
    assert_int_equal(attempt->end, ATTEMPT_SUCCEEDED);
    assert_string_equal(outcome_result(attempt), "null");
    assert_true(attempt->started_us > 1600000000000000);
    assert_true(attempt->finished_us >= attempt->started_us);
    assert_true(attempt->run_ns > 0);
    attempt_free(attempt);
}

/* The regression that the project was born from: parent's variables on another thread, changes not seen back. */
static void change_tenant(struct attempt *attempt)
{
    (void)attempt;
    assert_string_equal(satchel_tenant(), "parent");
    assert_int_equal(satchel_set_string(satchel_known_var(SATCHEL_TENANT), "changed", NULL), SATCHEL_OK);
    assert_string_equal(satchel_tenant(), "changed");
}
HANDLER(change_tenant, false);

static void sees_nothing(struct attempt *attempt)
{
    (void)attempt;
    if (satchel_tenant() && strcmp(satchel_tenant(), "changed") == 0)
        fail_msg("the change of an earlier attempt is seen");
}
HANDLER(sees_nothing, false);

static void test_isolated_from_parent_and_next(void **state)
{
    struct attempt *attempt = custom(*state, &change_tenant_type, "parent");
    attempt = bench_run(*state, attempt);
    assert_int_equal(attempt->end, ATTEMPT_SUCCEEDED);
    satchel_value *value;
    assert_int_equal(satchel_context_get(task_context(attempt->spec), satchel_known_var(SATCHEL_TENANT), &value),
                     SATCHEL_OK);
    assert_string_equal(satchel_value_data(value), "parent");
    satchel_value_unref(value);
    assert_int_equal(satchel_context_has(task_context(attempt->spec), satchel_known_var(SATCHEL_TASK_ID)), false);
    attempt->number = 2; /* again: a second attempt of the same submission */
    attempt = bench_run(*state, attempt);
    assert_int_equal(attempt->end, ATTEMPT_SUCCEEDED);
    attempt_free(attempt);
    attempt = bench_run(*state, custom(*state, &sees_nothing_type, "next"));
    attempt_free(attempt);
    assert_int_equal(pool_violations(((struct bench *)*state)->pool), 0);
}

static void test_no_context_between_attempts(void **state)
{
    struct bench *bench = *state;
    struct attempt *attempt = custom(bench, &sees_nothing_type, "unused");
    satchel_context_unref(task_context(attempt->spec));
    task_context_set(attempt->spec, satchel_context_new()); /* a submission with nothing in it */
    bench_push(bench, bench_attempt(bench, "satchel.noop", NULL, "first"));
    attempt_free(bench_wait(bench, 1));
    attempt->type = registry_find(bench->registry, SLICE_LITERAL("satchel.context"));
    attempt = bench_run(bench, attempt);
    assert_null(result_member(attempt, "tenant"));
    assert_null(result_member(attempt, "request_id"));
    assert_non_null(result_member(attempt, "traceparent"));
    attempt_free(attempt);
}

static int workers_context_seen;
static void count_bindings(struct attempt *attempt)
{
    (void)attempt;
    workers_context_seen = (int)satchel_context_len(NULL);
}
HANDLER(count_bindings, false);

static void test_workers_do_not_inherit_the_creators_context(void **state)
{
    struct bench bench;
    (void)state;
    assert_int_equal(satchel_set_string(satchel_known_var(SATCHEL_CORRELATION_ID), "creator", NULL), SATCHEL_OK);
    bench_init(&bench, 1, NULL);
    struct attempt *attempt = custom(&bench, &count_bindings_type, "x");
    satchel_context_unref(task_context(attempt->spec));
    task_context_set(attempt->spec, satchel_context_new());
    attempt_free(bench_run(&bench, attempt));
    assert_int_equal(pool_violations(bench.pool), 0);
    /* trace, task id, attempt, and perhaps the cancel object */
    assert_in_range(workers_context_seen, 3, 4);
    bench_release(&bench);
    assert_int_equal(satchel_thread_reset(), SATCHEL_OK);
}

/* ---- what handlers do wrong is noticed and repaired ---- */

static void leaves_entered(struct attempt *attempt)
{
    (void)attempt;
    satchel_context *mine = satchel_capture();
    assert_int_equal(satchel_context_enter(mine), SATCHEL_OK);
    satchel_context_unref(mine);
}
HANDLER(leaves_entered, false);

static void sets_below(struct attempt *attempt)
{
    (void)attempt;
    satchel_context *ours = satchel_context_ref(satchel_context_current());
    assert_int_equal(satchel_context_exit(ours), SATCHEL_OK);
    assert_int_equal(satchel_set_string(satchel_known_var(SATCHEL_TENANT), "leaked", NULL), SATCHEL_OK);
    assert_int_equal(satchel_context_enter(ours), SATCHEL_OK);
    satchel_context_unref(ours);
}
HANDLER(sets_below, false);

static void exits_ours(struct attempt *attempt)
{
    (void)attempt;
    assert_int_equal(satchel_context_exit(satchel_context_current()), SATCHEL_OK);
    assert_int_equal(satchel_set_string(satchel_known_var(SATCHEL_TENANT), "leaked", NULL), SATCHEL_OK);
}
HANDLER(exits_ours, false);

static void ends_thread(struct attempt *attempt)
{
    (void)attempt;
    pthread_exit(NULL);
}
HANDLER(ends_thread, false);

static int base_len;
static void looks_below(struct attempt *attempt)
{
    (void)attempt;
    satchel_context *ours = satchel_context_ref(satchel_context_current());
    assert_int_equal(satchel_context_exit(ours), SATCHEL_OK);
    base_len = (int)satchel_context_len(NULL);
    assert_int_equal(satchel_context_enter(ours), SATCHEL_OK);
    satchel_context_unref(ours);
}
HANDLER(looks_below, false);

static void check_violation(struct bench *bench, const struct task_type *type, enum attempt_end end)
{
    uint64_t before = pool_violations(bench->pool);
    struct attempt *attempt = bench_run(bench, custom(bench, type, "bad"));
    assert_int_equal(attempt->end, end);
    attempt_free(attempt);
    assert_int_equal(pool_violations(bench->pool), before + 1);
    base_len = -1; /* one worker: the same thread, or the one that took its place */
    attempt_free(bench_run(bench, custom(bench, &looks_below_type, "next")));
    assert_int_equal(base_len, 0);
    attempt = bench_run(bench, bench_attempt(bench, "satchel.context", NULL, "good"));
    assert_string_equal(result_member(attempt, "tenant"), "good");
    attempt_free(attempt);
    assert_int_equal(pool_violations(bench->pool), before + 1);
}

static void test_left_entered_is_noticed(void **state)
{
    check_violation(*state, &leaves_entered_type, ATTEMPT_SUCCEEDED);
}

static void test_set_below_is_noticed(void **state)
{
    check_violation(*state, &sets_below_type, ATTEMPT_SUCCEEDED);
}

static void test_exited_is_noticed(void **state)
{
    check_violation(*state, &exits_ours_type, ATTEMPT_SUCCEEDED);
}

static void test_ended_thread_is_replaced(void **state)
{
    for (int i = 0; i < 20; i++)
        check_violation(*state, &ends_thread_type, ATTEMPT_FAILED);
}

static void quick_ends_thread(struct attempt *attempt)
{
    if (slice_eq_str(attempt->spec->tenant, "bad"))
        pthread_exit(NULL);
}
HANDLER(quick_ends_thread, true);

static void test_ended_thread_keeps_the_rest_of_its_run(void **state)
{
    struct bench *bench = *state;
    struct attempt *first = NULL, **last = &first;
    for (int i = 0; i < 8; i++) {
        *last = custom(bench, &quick_ends_thread_type, i == 2 ? "bad" : "good");
        last = (struct attempt **)&(*last)->mail.next;
    }
    pool_push(bench->pool, first);
    int failed = 0;
    for (struct attempt *attempt = bench_wait(bench, 8), *next; attempt; attempt = next) {
        next = (struct attempt *)attempt->mail.next;
        failed += attempt->end == ATTEMPT_FAILED;
        attempt_free(attempt);
    }
    assert_int_equal(failed, 1);
}

/* ---- many ---- */

#define TENANTS 1000
#define MANY 20000

static void test_many_attempts_see_their_own(void **state)
{
    struct bench *bench = *state;
    char tenant[32], request[64], expect[64];
    for (size_t done = 0; done < MANY; done += 1000) {
        struct attempt *first = NULL, **last = &first;
        for (size_t i = 0; i < 1000; i++) {
            snprintf(tenant, sizeof tenant, "tenant-%zu", (done + i * 7) % TENANTS);
            struct attempt *attempt = bench_attempt(bench, "satchel.context", NULL, tenant);
            attempt->number = (uint32_t)(i + 1);
            *last = attempt;
            last = (struct attempt **)&attempt->mail.next;
        }
        pool_push(bench->pool, first);
        pool_kick(bench->pool); /* more than one worker on quick ones */
        pool_kick(bench->pool);
        struct attempt *attempt = bench_wait(bench, 1000);
        for (struct attempt *next; attempt; attempt = next) {
            next = (struct attempt *)attempt->mail.next;
            snprintf(request, sizeof request, "request-of-%s", attempt->spec->tenant.data);
            assert_string_equal(result_member(attempt, "tenant"), attempt->spec->tenant.data);
            assert_string_equal(result_member(attempt, "request_id"), request);
            task_id_format(attempt->spec->id, expect);
            assert_string_equal(result_member(attempt, "task_id"), expect);
            snprintf(expect, sizeof expect, "%u", attempt->number);
            assert_string_equal(result_member(attempt, "attempt"), expect);
            attempt_free(attempt);
        }
    }
    assert_int_equal(pool_violations(bench->pool), 0);
}

static void test_span_is_the_attempts(void **state)
{
    struct attempt *attempt = bench_attempt(*state, "satchel.context", NULL, "acme");
    attempt->number = 3;
    attempt = bench_run(*state, attempt);
    uint8_t span[8];
    char expect[56];
    task_id_attempt_span(attempt->spec->id, 3, span);
    int n = snprintf(expect, sizeof expect, "00-0af7651916cd43dd8448eb211c80319c-");
    for (int i = 0; i < 8; i++)
        n += snprintf(expect + n, sizeof expect - (size_t)n, "%02x", span[i]);
    snprintf(expect + n, sizeof expect - (size_t)n, "-01");
    assert_string_equal(result_member(attempt, "traceparent"), expect);
    attempt_free(attempt);
}

static void test_deadline_is_the_earlier_one(void **state)
{
    struct attempt *attempt = bench_attempt(*state, "satchel.context", NULL, "acme");
    bench_bind(attempt, "X-Satchel-Deadline", "2100-01-02T03:04:05.000006Z");
    attempt = bench_run(*state, attempt);
    assert_string_equal(result_member(attempt, "deadline"), "2100-01-02T03:04:05.000006Z");
    attempt->deadline_us = 4102444800000000; /* 2100-01-01: the attempt's limit */
    attempt = bench_run(*state, attempt);
    assert_string_equal(result_member(attempt, "deadline"), "2100-01-01T00:00:00.000000Z");
    attempt->deadline_us = 4133980800000000; /* a year later than the task's */
    attempt = bench_run(*state, attempt);
    assert_string_equal(result_member(attempt, "deadline"), "2100-01-02T03:04:05.000006Z");
    attempt_free(attempt);
}

/* ---- the queue ---- */

static bool all_idle(void *arg)
{
    struct bench *bench = arg;
    return pool_idle(bench->pool) == 4 && pool_waiting(bench->pool) == 0;
}

static void test_idle_and_waiting_are_counted(void **state)
{
    struct bench *bench = *state;
    assert_true(wait_until(all_idle, bench));
    struct attempt *slow[6];
    for (int i = 0; i < 6; i++) {
        slow[i] = bench_attempt(bench, "satchel.sleep", "{\"seconds\":60}", "acme");
        satchel_cancel_ref(slow[i]->cancel);
    }
    satchel_cancel *cancels[6];
    for (int i = 0; i < 6; i++) {
        cancels[i] = slow[i]->cancel;
        bench_push(bench, slow[i]);
    }
    for (int i = 0; i < 2000 && (pool_waiting(bench->pool) != 2 || pool_idle(bench->pool) != 0); i++)
        usleep(5000);
    assert_int_equal(pool_waiting(bench->pool), 2);
    assert_int_equal(pool_idle(bench->pool), 0);
    for (int i = 0; i < 6; i++) {
        satchel_cancel_fire(cancels[i], CANCEL_REQUESTED);
        satchel_cancel_unref(cancels[i]);
    }
    for (struct attempt *attempt = bench_wait(bench, 6), *next; attempt; attempt = next) {
        next = (struct attempt *)attempt->mail.next;
        assert_int_equal(outcome_error(attempt), ERROR_TYPE_CANCELED);
        attempt_free(attempt);
    }
    assert_true(wait_until(all_idle, bench));
}

/* Three of four workers are busy for long; quick and slow ones in any mixture must all get through the last one. */
static void test_nothing_waits_behind_a_busy_worker(void **state)
{
    struct bench *bench = *state;
    satchel_cancel *cancels[3];
    for (int i = 0; i < 3; i++) {
        struct attempt *slow = bench_attempt(bench, "satchel.sleep", "{\"seconds\":60}", "acme");
        cancels[i] = satchel_cancel_ref(slow->cancel);
        bench_push(bench, slow);
    }
    for (unsigned round = 0; round < 50; round++) {
        struct attempt *first = NULL, **last = &first;
        for (unsigned i = 0; i < 20; i++) {
            bool quick = (round >> (i % 6)) & 1;
            *last = bench_attempt(bench, quick ? "satchel.noop" : "satchel.sleep", "{\"seconds\":0.0001}", "acme");
            last = (struct attempt **)&(*last)->mail.next;
        }
        pool_push(bench->pool, first);
        for (struct attempt *attempt = bench_wait(bench, 20), *next; attempt; attempt = next) {
            next = (struct attempt *)attempt->mail.next;
            assert_int_equal(attempt->end, ATTEMPT_SUCCEEDED);
            attempt_free(attempt);
        }
    }
    for (int i = 0; i < 3; i++) {
        satchel_cancel_fire(cancels[i], CANCEL_SHUTDOWN);
        satchel_cancel_unref(cancels[i]);
    }
    for (struct attempt *attempt = bench_wait(bench, 3), *next; attempt; attempt = next) {
        next = (struct attempt *)attempt->mail.next;
        assert_int_equal(attempt->end, ATTEMPT_LOST);
        attempt_free(attempt);
    }
}

/* Slow ones pushed one by one while workers idle run at once, each on a worker of its own. */
static void test_slow_ones_run_side_by_side(void **state)
{
    struct bench *bench = *state;
    assert_true(wait_until(all_idle, bench));
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 4; i++)
            bench_push(bench, bench_attempt(bench, "satchel.sleep", "{\"seconds\":0.2}", "acme"));
        int64_t start = INT64_MAX, end = 0, last_start = 0;
        for (struct attempt *attempt = bench_wait(bench, 4), *next; attempt; attempt = next) {
            next = (struct attempt *)attempt->mail.next;
            start = attempt->started_us < start ? attempt->started_us : start;
            last_start = attempt->started_us > last_start ? attempt->started_us : last_start;
            end = attempt->finished_us > end ? attempt->finished_us : end;
            attempt_free(attempt);
        }
        assert_true(last_start - start < 200000); /* the last one began before the first one can have ended */
    }
}

static void test_stop_reports_the_queue_as_lost(void **state)
{
    struct bench *bench = *state;
    struct attempt *slow = bench_attempt(bench, "satchel.sleep", "{\"seconds\":60}", "acme");
    satchel_cancel *cancel = satchel_cancel_ref(slow->cancel);
    bench_push(bench, slow);
    for (int i = 0; i < 2000 && pool_waiting(bench->pool) != 0; i++)
        usleep(5000);
    for (int i = 0; i < 100; i++)
        bench_push(bench, bench_attempt(bench, "satchel.noop", NULL, "acme"));
    satchel_cancel_fire(cancel, CANCEL_SHUTDOWN);
    satchel_cancel_unref(cancel);
    pool_stop(bench->pool);
    pool_free(bench->pool);
    bench->pool = NULL;
    int lost = 0, unstarted = 0, succeeded = 0;
    for (struct attempt *attempt = bench_wait(bench, 101), *next; attempt; attempt = next) {
        next = (struct attempt *)attempt->mail.next;
        lost += attempt->end == ATTEMPT_LOST;
        unstarted += attempt->started_us == 0;
        succeeded += attempt->end == ATTEMPT_SUCCEEDED;
        attempt_free(attempt);
    }
    assert_int_equal(lost + succeeded, 101);
    assert_in_range(lost, 1, 101);
    assert_int_equal(unstarted, lost - 1); /* all but the sleeper */
}

static void test_canceled_before_it_starts(void **state)
{
    struct attempt *attempt = bench_attempt(*state, "satchel.noop", NULL, "acme");
    satchel_cancel_fire(attempt->cancel, CANCEL_DEADLINE);
    attempt = bench_run(*state, attempt);
    assert_int_equal(attempt->end, ATTEMPT_FAILED_FINAL);
    assert_int_equal(outcome_error(attempt), ERROR_TYPE_DEADLINE);
    attempt_free(attempt);
}

/* The last test: nothing of all that is left. */
static void test_no_live_contexts(void **state)
{
    (void)state;
    satchel_counts counts = {.struct_size = sizeof counts};
    satchel_get_counts(&counts);
    assert_int_equal(counts.contexts, 0);
    assert_int_equal(counts.pending_tokens, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_runs_and_reports, setup, teardown),
        cmocka_unit_test_setup_teardown(test_isolated_from_parent_and_next, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_no_context_between_attempts, setup_one, teardown),
        cmocka_unit_test(test_workers_do_not_inherit_the_creators_context),
        cmocka_unit_test_setup_teardown(test_left_entered_is_noticed, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_set_below_is_noticed, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_exited_is_noticed, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_ended_thread_is_replaced, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_ended_thread_keeps_the_rest_of_its_run, setup_one, teardown),
        cmocka_unit_test_setup_teardown(test_many_attempts_see_their_own, setup, teardown),
        cmocka_unit_test_setup_teardown(test_span_is_the_attempts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deadline_is_the_earlier_one, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idle_and_waiting_are_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nothing_waits_behind_a_busy_worker, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slow_ones_run_side_by_side, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop_reports_the_queue_as_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(test_canceled_before_it_starts, setup, teardown),
        cmocka_unit_test(test_no_live_contexts),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
