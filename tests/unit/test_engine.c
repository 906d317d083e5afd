/* The engine with a store in memory and a pool that the test itself is: every path of a task, what leaves when, and
 * what happens when the store refuses.  The real store and pool have tests of their own. */
#include "engine_fixture.h"

/* ---- tests ---- */

static void test_submit_claim_succeed_in_two_writes(void **state)
{
    (void)state;
    struct test_call t;
    call_init(&t, ENGINE_SUBMIT);
    t.call.wait_until_ns = clock_mono_ns() + LIMIT_NS;
    struct task_id id = submit_spec(make_spec("a", "work"), &t);
    struct attempt *attempt = take(LIMIT_NS);
    assert_non_null(attempt);
    assert_int_equal(attempt->number, 1);
    assert_int_equal(settled(id, TASK_RUNNING), TASK_RUNNING); /* the claim is on disk before the handler starts */
    report(attempt, ATTEMPT_SUCCEEDED);
    assert_int_equal(finish(&t), ENGINE_OK);
    assert_int_equal(t.call.record.status.state, TASK_SUCCEEDED);
    assert_true(t.call.record.status.finished_us > 0);
    assert_true(slice_eq_str(blob_slice(t.call.record.outcome->result), "42"));
    assert_int_equal(the_store->writes, 2); /* submission and claim are one row write */
    task_record_release(&t.call.record);
    struct task_record cached;
    assert_true(engine_recent(engine, id, slice_str("a"), &cached));
    task_record_release(&cached);
    assert_false(engine_recent(engine, id, slice_str("b"), &cached));
}

static void test_the_answer_waits_for_the_commit(void **state)
{
    (void)state;
    (void)pthread_mutex_lock(&the_store->lock); /* the commit cannot go on */
    struct test_call t;
    call_init(&t, ENGINE_SUBMIT);
    (void)submit_spec(make_spec("a", "work"), &t);
    assert_false(wait_done(&t, 50000000));
    assert_null(take(1000000));
    (void)pthread_mutex_unlock(&the_store->lock);
    assert_int_equal(finish(&t), ENGINE_OK);
    task_record_release(&t.call.record);
}

static void test_failures_are_repeated_with_backoff_until_used_up(void **state)
{
    (void)state;
    struct task_spec *spec = make_spec("a", "work");
    spec->max_attempts = 3;
    spec->backoff = (struct backoff){.type = BACKOFF_FIXED, .base_us = 1000};
    struct task_id id = submit(spec);
    for (unsigned n = 1; n <= 3; n++) {
        struct attempt *attempt = take(LIMIT_NS);
        assert_non_null(attempt);
        assert_int_equal(attempt->number, n);
        assert_int_equal(attempt->failures, n - 1);
        report(attempt, ATTEMPT_FAILED);
    }
    assert_int_equal(settled(id, TASK_FAILED), TASK_FAILED);
    assert_int_equal(row_of(id)->status.failures, 3);
    assert_int_equal(row_of(id)->outcome->error, ERROR_TYPE_HANDLER);
    assert_null(take(5000000));
}

static void test_a_final_failure_is_not_repeated(void **state)
{
    (void)state;
    struct task_spec *spec = make_spec("a", "work");
    spec->max_attempts = 5;
    struct task_id id = submit(spec);
    report(take(LIMIT_NS), ATTEMPT_FAILED_FINAL);
    assert_int_equal(settled(id, TASK_FAILED), TASK_FAILED);
}

static void test_lost_attempts_are_counted_apart(void **state)
{
    (void)state;
    struct task_spec *spec = make_spec("a", "work");
    spec->max_lost = 2;
    struct task_id id = submit(spec);
    for (unsigned n = 1; n <= 3; n++) {
        struct attempt *attempt = take(LIMIT_NS);
        assert_non_null(attempt);
        assert_int_equal(attempt->number, n);
        assert_int_equal(attempt->failures, 0);
        report(attempt, ATTEMPT_LOST);
    }
    assert_int_equal(settled(id, TASK_FAILED), TASK_FAILED);
    assert_int_equal(row_of(id)->status.lost, 3);
    assert_int_equal(row_of(id)->outcome->error, ERROR_TYPE_LOST);
}

static void test_a_late_report_changes_nothing(void **state)
{
    (void)state;
    struct task_spec *spec = make_spec("a", "work");
    spec->max_attempts = 2;
    spec->backoff = (struct backoff){.type = BACKOFF_FIXED, .base_us = 1};
    struct task_id id = submit(spec);
    struct attempt *first = take(LIMIT_NS);
    struct attempt *ghost = calloc(1, sizeof *ghost); /* the same attempt, reported twice */
    ghost->mail_kind = first->mail_kind;
    ghost->spec = task_spec_ref(first->spec);
    ghost->number = first->number;
    report(first, ATTEMPT_FAILED);
    struct attempt *second = take(LIMIT_NS);
    assert_int_equal(second->number, 2);
    report(ghost, ATTEMPT_SUCCEEDED);
    report(second, ATTEMPT_FAILED);
    assert_int_equal(settled(id, TASK_FAILED), TASK_FAILED);
}

static void test_scheduled_tasks_become_due(void **state)
{
    (void)state;
    struct task_spec *spec = make_spec("a", "work");
    spec->run_at_us = clock_wall_us() + 60000;
    struct task_id id = submit(spec);
    assert_int_equal(settled(id, TASK_SCHEDULED), TASK_SCHEDULED);
    int64_t due = spec->run_at_us;
    struct attempt *attempt = take(LIMIT_NS);
    assert_non_null(attempt);
    assert_true(clock_wall_us() >= due);
    report(attempt, ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(id, TASK_SUCCEEDED), TASK_SUCCEEDED);
}

static void test_what_is_not_started_in_time_expires(void **state)
{
    (void)state;
    struct attempt *busy[2];
    for (int i = 0; i < 2; i++) {
        (void)submit(make_spec("a", "work"));
        busy[i] = take(LIMIT_NS);
    }
    struct task_spec *spec = make_spec("a", "work");
    spec->expires_us = clock_wall_us() + 30000;
    struct task_id id = submit(spec);
    assert_int_equal(settled(id, TASK_EXPIRED), TASK_EXPIRED);
    struct task_spec *late = make_spec("a", "work");
    late->deadline_us = clock_wall_us() - 1;
    assert_int_equal(settled(submit(late), TASK_EXPIRED), TASK_EXPIRED);
    report(busy[0], ATTEMPT_SUCCEEDED);
    report(busy[1], ATTEMPT_SUCCEEDED);
}

static bool fired(struct attempt *attempt)
{
    int64_t until = clock_mono_ns() + LIMIT_NS;
    struct timespec pause = {.tv_nsec = 1000000};
    satchel_context *ctx = satchel_context_new();
    assert_int_equal(satchel_context_enter(ctx), SATCHEL_OK);
    assert_int_equal(satchel_set_cancel(attempt->cancel, NULL), SATCHEL_OK);
    while (!satchel_done() && clock_mono_ns() < until)
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    bool done = satchel_done();
    assert_int_equal(satchel_context_exit(ctx), SATCHEL_OK);
    satchel_context_unref(ctx);
    return done;
}

static void test_the_time_limit_and_the_deadline_fire_the_cancel_object(void **state)
{
    (void)state;
    struct task_spec *spec = make_spec("a", "work");
    spec->timeout_us = 20000;
    struct task_id timed = submit(spec);
    struct attempt *attempt = take(LIMIT_NS);
    assert_true(fired(attempt));
    report(attempt, ATTEMPT_FAILED);
    assert_int_equal(settled(timed, TASK_FAILED), TASK_FAILED);

    spec = make_spec("a", "work");
    spec->deadline_us = clock_wall_us() + 20000;
    spec->max_attempts = 5;
    struct task_id late = submit(spec);
    attempt = take(LIMIT_NS);
    assert_true(fired(attempt));
    report(attempt, ATTEMPT_FAILED);
    assert_int_equal(settled(late, TASK_EXPIRED), TASK_EXPIRED);
}

static void test_cancel_waiting_and_running(void **state)
{
    (void)state;
    struct task_spec *spec = make_spec("a", "work");
    spec->run_at_us = clock_wall_us() + 60000000;
    struct task_id waiting = submit(spec);
    struct task_record record;
    assert_int_equal(ask(ENGINE_CANCEL, waiting, "b", 0, NULL), ENGINE_NOT_FOUND);
    assert_int_equal(ask(ENGINE_CANCEL, waiting, "a", 0, &record), ENGINE_OK);
    assert_int_equal(record.status.state, TASK_CANCELED);
    task_record_release(&record);
    assert_int_equal(ask(ENGINE_CANCEL, waiting, "a", 0, NULL), ENGINE_CONFLICT);

    struct task_id running = submit(make_spec("a", "work"));
    struct attempt *attempt = take(LIMIT_NS);
    struct test_call t;
    call_init(&t, ENGINE_CANCEL);
    t.call.id = running;
    t.call.wait_until_ns = clock_mono_ns() + LIMIT_NS;
    post(&t);
    assert_true(fired(attempt));
    assert_true(row_of(running)->status.cancel_requested);
    report(attempt, ATTEMPT_FAILED);
    assert_int_equal(finish(&t), ENGINE_OK);
    assert_int_equal(t.call.record.status.state, TASK_CANCELED);
    task_record_release(&t.call.record);
}

static void test_waiters_get_the_end_or_their_time(void **state)
{
    (void)state;
    struct task_id id = submit(make_spec("a", "work"));
    struct attempt *attempt = take(LIMIT_NS);
    struct task_record record;
    assert_int_equal(ask(ENGINE_WAIT, id, "a", 20000000, &record), ENGINE_OK);
    assert_int_equal(record.status.state, TASK_RUNNING);
    task_record_release(&record);
    assert_int_equal(ask(ENGINE_WAIT, id, "b", 20000000, NULL), ENGINE_NOT_LIVE);
    enum { N = 100 };
    static struct test_call waiters[N];
    for (int i = 0; i < N; i++) {
        call_init(&waiters[i], ENGINE_WAIT);
        waiters[i].call.id = id;
        waiters[i].call.wait_until_ns = clock_mono_ns() + LIMIT_NS;
        post(&waiters[i]);
    }
    report(attempt, ATTEMPT_SUCCEEDED);
    for (int i = 0; i < N; i++) {
        assert_int_equal(finish(&waiters[i]), ENGINE_OK);
        assert_int_equal(waiters[i].call.record.status.state, TASK_SUCCEEDED);
        task_record_release(&waiters[i].call.record);
    }
    assert_int_equal(ask(ENGINE_WAIT, id, "a", LIMIT_NS, NULL), ENGINE_NOT_LIVE);
}

static void test_retry_and_delete(void **state)
{
    (void)state;
    struct task_id id = submit(make_spec("a", "work"));
    assert_int_equal(ask(ENGINE_RETRY, id, "a", 0, NULL), ENGINE_CONFLICT);
    assert_int_equal(ask(ENGINE_DELETE, id, "a", 0, NULL), ENGINE_CONFLICT);
    report(take(LIMIT_NS), ATTEMPT_FAILED);
    assert_int_equal(settled(id, TASK_FAILED), TASK_FAILED);
    assert_int_equal(ask(ENGINE_RETRY, id, "b", 0, NULL), ENGINE_NOT_FOUND);
    assert_int_equal(ask(ENGINE_RETRY, id, "a", 0, NULL), ENGINE_OK);
    struct attempt *attempt = take(LIMIT_NS);
    assert_int_equal(attempt->number, 2);
    assert_int_equal(attempt->failures, 0);
    report(attempt, ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(id, TASK_SUCCEEDED), TASK_SUCCEEDED);
    assert_int_equal(ask(ENGINE_RETRY, id, "a", 0, NULL), ENGINE_CONFLICT); /* a result never changes */
    assert_int_equal(ask(ENGINE_DELETE, id, "a", 0, NULL), ENGINE_OK);
    assert_int_equal(ask(ENGINE_DELETE, id, "a", 0, NULL), ENGINE_NOT_FOUND);
}

static void test_one_key_makes_one_task(void **state)
{
    (void)state;
    enum { N = 50 };
    static struct test_call calls[N];
    for (int i = 0; i < N; i++) {
        call_init(&calls[i], ENGINE_SUBMIT);
        calls[i].call.has_key = true;
        memset(calls[i].call.key, 7, STORE_KEY_SIZE);
        (void)submit_spec(make_spec("a", "work"), &calls[i]);
    }
    int made = 0;
    struct task_id id = {0};
    for (int i = 0; i < N; i++) {
        enum engine_result result = finish(&calls[i]);
        assert_true(result == ENGINE_OK || result == ENGINE_REPLAYED);
        made += result == ENGINE_OK;
        if (i == 0)
            id = calls[i].call.record.spec->id;
        assert_true(task_id_equal(id, calls[i].call.record.spec->id));
        task_record_release(&calls[i].call.record);
    }
    assert_int_equal(made, 1);
    struct test_call other;
    call_init(&other, ENGINE_SUBMIT);
    other.call.has_key = true;
    memset(other.call.key, 7, STORE_KEY_SIZE);
    memset(other.call.fingerprint, 1, STORE_KEY_SIZE);
    (void)submit_spec(make_spec("a", "work"), &other);
    assert_int_equal(finish(&other), ENGINE_KEY_MISMATCH);
}

static void test_quotas_are_exact(void **state)
{
    (void)state;
    int accepted = 0, refused = 0;
    for (int i = 0; i < 30; i++) {
        struct task_spec *spec = make_spec("a", "work");
        spec->run_at_us = clock_wall_us() + 60000000;
        struct test_call t;
        call_init(&t, ENGINE_SUBMIT);
        (void)submit_spec(spec, &t);
        enum engine_result result = finish(&t);
        accepted += result == ENGINE_OK;
        refused += result == ENGINE_QUOTA;
        task_record_release(&t.call.record);
    }
    assert_int_equal(accepted, 20);
    assert_int_equal(refused, 10);
}

static void test_a_full_store_accepts_nothing_and_loses_nothing(void **state)
{
    (void)state;
    struct task_id running = submit(make_spec("a", "work"));
    struct attempt *attempt = take(LIMIT_NS);
    (void)pthread_mutex_lock(&the_store->lock);
    the_store->refuse = STORE_FULL;
    size_t rows = the_store->n;
    (void)pthread_mutex_unlock(&the_store->lock);
    for (int i = 0; i < 5; i++) {
        struct test_call t;
        call_init(&t, ENGINE_SUBMIT);
        (void)submit_spec(make_spec("a", "work"), &t);
        assert_int_equal(finish(&t), ENGINE_STORE_FULL);
    }
    report(attempt, ATTEMPT_SUCCEEDED); /* cannot be recorded now */
    assert_int_equal(ask(ENGINE_CANCEL, running, "a", 0, NULL), ENGINE_STORE_FULL);
    struct engine_stats stats;
    engine_get_stats(engine, &stats);
    assert_false(stats.store_ok);
    assert_null(take(5000000));
    assert_int_equal(the_store->n, rows);
    assert_int_equal(row_of(running)->status.state, TASK_RUNNING);
    (void)pthread_mutex_lock(&the_store->lock);
    the_store->refuse = STORE_OK;
    (void)pthread_mutex_unlock(&the_store->lock);
    assert_int_equal(settled(running, TASK_SUCCEEDED), TASK_SUCCEEDED);
    (void)submit(make_spec("a", "work"));
    report(take(LIMIT_NS), ATTEMPT_SUCCEEDED);
    engine_get_stats(engine, &stats);
    assert_true(stats.store_ok);
}

static void test_a_fatal_store_is_told(void **state)
{
    (void)state;
    fatal_seen = NULL;
    (void)pthread_mutex_lock(&the_store->lock);
    the_store->refuse = STORE_FATAL;
    (void)pthread_mutex_unlock(&the_store->lock);
    struct test_call t;
    call_init(&t, ENGINE_SUBMIT);
    (void)submit_spec(make_spec("a", "work"), &t);
    assert_int_equal(finish(&t), ENGINE_STORE_FAILED);
    assert_non_null(fatal_seen);
}

static void test_concurrency_of_a_type(void **state)
{
    (void)state;
    (void)submit(make_spec("a", "one"));
    (void)submit(make_spec("b", "one"));
    struct attempt *first = take(LIMIT_NS);
    assert_null(take(5000000));
    report(first, ATTEMPT_SUCCEEDED);
    struct attempt *second = take(LIMIT_NS);
    assert_non_null(second);
    report(second, ATTEMPT_SUCCEEDED);
}

static void test_no_more_claims_than_workers(void **state)
{
    (void)state;
    struct attempt *attempts[2];
    for (int i = 0; i < 5; i++)
        (void)submit(make_spec("a", "work"));
    attempts[0] = take(LIMIT_NS);
    attempts[1] = take(LIMIT_NS);
    assert_null(take(5000000));
    report(attempts[0], ATTEMPT_SUCCEEDED);
    struct attempt *third = take(LIMIT_NS);
    assert_non_null(third);
    report(attempts[1], ATTEMPT_SUCCEEDED);
    report(third, ATTEMPT_SUCCEEDED);
}

static void test_a_restart_recovers_everything(void **state)
{
    (void)state;
    struct task_id running = submit(make_spec("a", "work"));
    struct attempt *attempt = take(LIMIT_NS);
    struct task_spec *spec = make_spec("b", "work");
    spec->run_at_us = clock_wall_us() + 200000;
    struct task_id scheduled = submit(spec);
    struct task_spec *unknown = make_spec("c", "gone");
    unknown->run_at_us = clock_wall_us() + 1000;
    struct task_id gone = submit(unknown);
    report(attempt, ATTEMPT_LOST);
    attempt = take(LIMIT_NS);
    assert_int_equal(attempt->number, 2);
    report(attempt, ATTEMPT_LOST);
    engine_drain(engine);
    while ((attempt = take(20000000)) != NULL)
        report(attempt, ATTEMPT_LOST);
    stop();
    start();
    int seen = 0;
    while (seen < 2) {
        attempt = take(LIMIT_NS);
        assert_non_null(attempt);
        assert_true(task_id_equal(attempt->spec->id, running) || task_id_equal(attempt->spec->id, scheduled));
        if (task_id_equal(attempt->spec->id, running))
            assert_true(attempt->previous_lost >= 2);
        report(attempt, ATTEMPT_SUCCEEDED);
        seen++;
    }
    assert_int_equal(settled(running, TASK_SUCCEEDED), TASK_SUCCEEDED);
    assert_int_equal(settled(scheduled, TASK_SUCCEEDED), TASK_SUCCEEDED);
    assert_int_equal(settled(gone, TASK_FAILED), TASK_FAILED);
    assert_int_equal(row_of(gone)->outcome->error, ERROR_TYPE_UNKNOWN_TASK);
}

static void seed(enum task_state at, unsigned attempt, unsigned lost, bool cancel_requested, struct task_id *ret)
{
    struct task_spec *spec = make_spec("a", "work");
    *ret = spec->id;
    the_store->rows[the_store->n++] = (struct row){
        .spec = spec,
        .status = {.state = at, .attempt = attempt, .lost = (uint16_t)lost, .cancel_requested = cancel_requested}};
}

static void test_what_a_crash_left_running(void **state)
{
    (void)state;
    stop();
    struct task_id repeated, used_up, canceled;
    seed(TASK_RUNNING, 1, 0, false, &repeated);
    seed(TASK_RUNNING, 4, 3, false, &used_up);
    seed(TASK_RUNNING, 1, 0, true, &canceled);
    start();
    struct attempt *attempt = take(LIMIT_NS);
    assert_true(task_id_equal(attempt->spec->id, repeated));
    assert_int_equal(attempt->number, 2);
    assert_int_equal(attempt->previous_lost, 1);
    assert_int_equal(attempt->failures, 0);
    report(attempt, ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(repeated, TASK_SUCCEEDED), TASK_SUCCEEDED);
    assert_int_equal(settled(used_up, TASK_FAILED), TASK_FAILED);
    assert_int_equal(row_of(used_up)->outcome->error, ERROR_TYPE_LOST);
    assert_int_equal(row_of(used_up)->status.lost, 4);
    assert_int_equal(settled(canceled, TASK_CANCELED), TASK_CANCELED);
}

static void *stop_main(void *arg)
{
    engine_stop(arg);
    return NULL;
}

static void test_a_stop_cuts_off_what_does_not_end(void **state)
{
    (void)state;
    struct task_id id = submit(make_spec("a", "work"));
    struct attempt *attempt = take(LIMIT_NS);
    engine_drain(engine);
    struct test_call t;
    call_init(&t, ENGINE_SUBMIT);
    (void)submit_spec(make_spec("a", "work"), &t);
    assert_int_equal(finish(&t), ENGINE_DRAINING);
    struct task_spec *child = make_spec("a", "work"); /* a running task's sub-task is still taken */
    child->parent = id;
    (void)submit(child);
    pthread_t stopper;
    assert_int_equal(satchel_thread_create(&stopper, NULL, stop_main, engine), 0);
    assert_true(fired(attempt)); /* after the drain time */
    report(attempt, ATTEMPT_LOST);
    assert_int_equal(pthread_join(stopper, NULL), 0);
    assert_int_equal(row_of(id)->status.state, TASK_QUEUED);
    assert_int_equal(row_of(id)->status.lost, 1);
    engine_free(engine);
    engine = NULL;
}

/* ---- claims ahead ---- */

enum { MANY = 1000 };

static unsigned claimed_of_many(bool waited)
{
    static struct test_call calls[MANY];
    static struct attempt *attempts[MANY];
    stop();
    engine_test_options.max_waiting = engine_test_options.max_waiting_per_tenant = 2 * MANY;
    start();
    for (unsigned i = 0; i < 20; i++) { /* so that it is known how short they are */
        (void)submit(make_spec("a", "work"));
        struct attempt *attempt = take(LIMIT_NS);
        assert_non_null(attempt);
        report(attempt, ATTEMPT_SUCCEEDED);
    }
    for (unsigned i = 0; i < MANY; i++) {
        call_init(&calls[i], ENGINE_SUBMIT);
        calls[i].call.wait_until_ns = waited ? clock_mono_ns() + LIMIT_NS : 0;
        (void)submit_spec(make_spec("a", "work"), &calls[i]);
    }
    unsigned n = 0, ended = 0;
    while (n < MANY && (attempts[n] = take(200000000)) != NULL)
        n++;
    for (; ended < n; ended++)
        report(attempts[ended], ATTEMPT_SUCCEEDED);
    for (; ended < MANY; ended++) {
        struct attempt *attempt = take(LIMIT_NS);
        assert_non_null(attempt);
        report(attempt, ATTEMPT_SUCCEEDED);
    }
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(finish(&calls[i]), ENGINE_OK);
        task_record_release(&calls[i].call.record);
    }
    return n;
}

static void test_a_burst_is_taken_in_before_it_is_claimed(void **state)
{
    (void)state;
    assert_in_range(claimed_of_many(false), 100, 512 + 2); /* the two workers, and some ahead */
}

static void test_short_tasks_that_somebody_waits_for_are_claimed_at_once(void **state)
{
    (void)state;
    uint64_t before = the_store->writes;
    assert_int_equal(claimed_of_many(true), MANY);
    assert_int_equal(the_store->writes - before, 2 * (MANY + 20)); /* each claim in its submission's row */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_submit_claim_succeed_in_two_writes),
        TEST(test_the_answer_waits_for_the_commit),
        TEST(test_failures_are_repeated_with_backoff_until_used_up),
        TEST(test_a_final_failure_is_not_repeated),
        TEST(test_lost_attempts_are_counted_apart),
        TEST(test_a_late_report_changes_nothing),
        TEST(test_scheduled_tasks_become_due),
        TEST(test_what_is_not_started_in_time_expires),
        TEST(test_the_time_limit_and_the_deadline_fire_the_cancel_object),
        TEST(test_cancel_waiting_and_running),
        TEST(test_waiters_get_the_end_or_their_time),
        TEST(test_retry_and_delete),
        TEST(test_one_key_makes_one_task),
        TEST(test_quotas_are_exact),
        TEST(test_a_burst_is_taken_in_before_it_is_claimed),
        TEST(test_short_tasks_that_somebody_waits_for_are_claimed_at_once),
        TEST(test_a_full_store_accepts_nothing_and_loses_nothing),
        TEST(test_a_fatal_store_is_told),
        TEST(test_concurrency_of_a_type),
        TEST(test_no_more_claims_than_workers),
        TEST(test_a_restart_recovers_everything),
        TEST(test_what_a_crash_left_running),
        TEST(test_a_stop_cuts_off_what_does_not_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
