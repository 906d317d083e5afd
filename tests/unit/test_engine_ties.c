/* Tasks that wait for others, groups and unique keys: what starts when, what fails with whom, what a crash or a store
 * that refuses leaves of it. */
#include "engine_fixture.h"

static struct task_id submit_after(const char *tenant, const struct task_id *after, size_t n)
{
    return submit(make_tied(tenant, &(struct ties){.after = after, .n_after = n}));
}

static enum engine_result try_submit(struct task_spec *spec, struct test_call *t)
{
    call_init(t, ENGINE_SUBMIT);
    (void)submit_spec(spec, t);
    return finish(t);
}

static struct attempt *take_of(struct task_id id)
{
    struct attempt *attempt = take(LIMIT_NS);
    assert_non_null(attempt);
    assert_true(task_id_equal(attempt->spec->id, id));
    return attempt;
}

/* Everything that was posted before has been handled, and nothing has come of it for a worker. */
static void assert_nothing_starts(void)
{
    assert_null(take(20000000));
}

static void stop_and_start(void)
{
    stop_losing_all();
    start();
}

/* ---- after ---- */

static void test_a_task_starts_when_all_before_it_have_succeeded(void **state)
{
    (void)state;
    struct task_id before[2] = {submit(make_tied("a", &(struct ties){0})), submit(make_tied("a", &(struct ties){0}))};
    struct attempt *first = take_of(before[0]), *second = take_of(before[1]);
    struct task_id id = submit_after("a", before, 2);
    assert_int_equal(settled(id, TASK_SCHEDULED), TASK_SCHEDULED);
    report(second, ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(before[1], TASK_SUCCEEDED), TASK_SUCCEEDED);
    assert_nothing_starts();
    report(first, ATTEMPT_SUCCEEDED);
    report(take_of(id), ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(id, TASK_SUCCEEDED), TASK_SUCCEEDED);
}

static void test_one_that_has_succeeded_already_is_not_waited_for(void **state)
{
    (void)state;
    struct task_id before = submit(make_tied("a", &(struct ties){0}));
    report(take_of(before), ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(before, TASK_SUCCEEDED), TASK_SUCCEEDED);
    struct task_id id = submit_after("a", &before, 1);
    report(take_of(id), ATTEMPT_SUCCEEDED);
}

static void test_a_failure_goes_down_the_chain(void **state)
{
    (void)state;
    struct task_id chain[4] = {submit(make_tied("a", &(struct ties){0}))};
    for (size_t i = 1; i < 4; i++)
        chain[i] = submit_after("a", &chain[i - 1], 1);
    report(take_of(chain[0]), ATTEMPT_FAILED);
    for (size_t i = 1; i < 4; i++) {
        assert_int_equal(settled(chain[i], TASK_FAILED), TASK_FAILED);
        assert_int_equal(row_of(chain[i])->outcome->error, ERROR_TYPE_DEPENDENCY);
        assert_int_equal(row_of(chain[i])->status.attempt, 0);
    }
    char id[TASK_ID_TEXT_SIZE];
    task_id_format(chain[0], id);
    assert_non_null(strstr(row_of(chain[1])->outcome->message, id));
    struct task_id late = submit_after("a", &chain[3], 1); /* one that had failed before is no better */
    assert_int_equal(settled(late, TASK_FAILED), TASK_FAILED);
}

static void test_cancel_of_either_side(void **state)
{
    (void)state;
    struct task_id before = submit(make_tied("a", &(struct ties){0}));
    struct attempt *attempt = take_of(before);
    struct task_id first = submit_after("a", &before, 1), second = submit_after("a", &before, 1);
    assert_int_equal(ask(ENGINE_CANCEL, first, "a", 0, NULL), ENGINE_OK);
    assert_int_equal(settled(first, TASK_CANCELED), TASK_CANCELED);
    assert_int_equal(ask(ENGINE_CANCEL, before, "a", 0, NULL), ENGINE_OK);
    report(attempt, ATTEMPT_FAILED);
    assert_int_equal(settled(before, TASK_CANCELED), TASK_CANCELED);
    assert_int_equal(settled(second, TASK_FAILED), TASK_FAILED);
    assert_int_equal(settled(first, TASK_CANCELED), TASK_CANCELED);
}

static void test_who_cannot_be_waited_for_is_refused(void **state)
{
    (void)state;
    struct test_call t;
    struct task_id known = submit(make_tied("a", &(struct ties){0})), ids[2] = {known};
    struct attempt *attempt = take_of(known);
    task_id_make(&ids[1]);
    assert_int_equal(try_submit(make_tied("a", &(struct ties){.after = ids, .n_after = 2}), &t), ENGINE_NO_PREDECESSOR);
    assert_int_equal(t.call.fault, 1);
    assert_int_equal(try_submit(make_tied("b", &(struct ties){.after = ids, .n_after = 1}), &t), ENGINE_NO_PREDECESSOR);
    assert_int_equal(t.call.fault, 0);
    report(attempt, ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(known, TASK_SUCCEEDED), TASK_SUCCEEDED);
    assert_int_equal(try_submit(make_tied("b", &(struct ties){.after = ids, .n_after = 1}), &t), ENGINE_NO_PREDECESSOR);
    assert_int_equal(the_store->inserted, 1);
}

static void test_it_expires_while_it_waits(void **state)
{
    (void)state;
    struct task_id before = submit(make_tied("a", &(struct ties){0}));
    struct attempt *attempt = take_of(before);
    struct task_spec *spec = make_tied("a", &(struct ties){.after = &before, .n_after = 1});
    spec->expires_us = clock_wall_us() + 20000;
    struct task_id id = submit(spec);
    assert_int_equal(settled(id, TASK_EXPIRED), TASK_EXPIRED);
    report(attempt, ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(before, TASK_SUCCEEDED), TASK_SUCCEEDED);
    assert_nothing_starts();
}

static void test_its_own_time_counts_too(void **state)
{
    (void)state;
    struct task_id before = submit(make_tied("a", &(struct ties){0}));
    struct attempt *attempt = take_of(before);
    struct task_spec *spec = make_tied("a", &(struct ties){.after = &before, .n_after = 1});
    int64_t due = spec->run_at_us = clock_wall_us() + 150000;
    struct task_id id = submit(spec);
    report(attempt, ATTEMPT_SUCCEEDED);
    attempt = take_of(id);
    assert_true(clock_wall_us() >= due);
    report(attempt, ATTEMPT_SUCCEEDED);
}

static void test_retries_by_hand_wait_again(void **state)
{
    (void)state;
    struct task_id before = submit(make_tied("a", &(struct ties){0}));
    struct task_id id = submit_after("a", &before, 1);
    report(take_of(before), ATTEMPT_FAILED);
    assert_int_equal(settled(id, TASK_FAILED), TASK_FAILED);
    assert_int_equal(ask(ENGINE_RETRY, id, "a", 0, NULL), ENGINE_OK); /* too early: that one is still failed */
    assert_int_equal(settled(id, TASK_FAILED), TASK_FAILED);
    assert_int_equal(ask(ENGINE_RETRY, before, "a", 0, NULL), ENGINE_OK);
    assert_int_equal(ask(ENGINE_RETRY, id, "a", 0, NULL), ENGINE_OK);
    assert_int_equal(settled(id, TASK_SCHEDULED), TASK_SCHEDULED);
    report(take_of(before), ATTEMPT_SUCCEEDED);
    report(take_of(id), ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(id, TASK_SUCCEEDED), TASK_SUCCEEDED);
}

static void test_a_restart_ties_them_again(void **state)
{
    (void)state;
    struct task_id before = submit(make_tied("a", &(struct ties){0})), gone = submit(make_tied("a", &(struct ties){0}));
    struct attempt *first = take_of(before), *second = take_of(gone);
    struct task_id both[2] = {before, gone};
    struct task_id id = submit_after("a", both, 2), next = submit_after("a", &id, 1);
    report(second, ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(gone, TASK_SUCCEEDED), TASK_SUCCEEDED);
    report(first, ATTEMPT_LOST);
    stop_and_start();
    struct attempt *again = take_of(before);
    assert_nothing_starts();
    report(again, ATTEMPT_SUCCEEDED);
    report(take_of(id), ATTEMPT_SUCCEEDED);
    report(take_of(next), ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(next, TASK_SUCCEEDED), TASK_SUCCEEDED);
}

/* The daemon ended between a task's failure and that of those that wait for it. */
static void test_a_restart_finds_who_failed_meanwhile(void **state)
{
    (void)state;
    struct task_id before = submit(make_tied("a", &(struct ties){0}));
    report(take_of(before), ATTEMPT_LOST);
    struct attempt *attempt = take_of(before);
    struct task_id id = submit_after("a", &before, 1);
    report(attempt, ATTEMPT_LOST);
    stop_losing_all();
    row_of(before)->status.state = TASK_FAILED;
    start();
    assert_int_equal(settled(id, TASK_FAILED), TASK_FAILED);
    assert_int_equal(row_of(id)->outcome->error, ERROR_TYPE_DEPENDENCY);
}

/* ---- groups ---- */

static struct task_id member(const char *group)
{
    return submit(make_tied("a", &(struct ties){.group = group}));
}

static void test_a_group_is_over_when_all_have_ended(void **state)
{
    (void)state;
    struct task_id first = member("g"), second = member("g");
    struct attempt *a = take_of(first), *b = take_of(second);
    struct task_id last = submit(make_tied("a", &(struct ties){.after_group = "g"}));
    struct task_id others = submit(make_tied("b", &(struct ties){.after_group = "g"})); /* not their group */
    report(b, ATTEMPT_FAILED);
    report(take_of(others), ATTEMPT_SUCCEEDED);
    assert_nothing_starts();
    struct task_id late = member("g"); /* after it: not waited for */
    struct attempt *c = take_of(late);
    report(a, ATTEMPT_SUCCEEDED);
    report(take_of(last), ATTEMPT_SUCCEEDED);
    report(c, ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(last, TASK_SUCCEEDED), TASK_SUCCEEDED);
}

static void test_groups_that_wait_for_each_other_are_no_cycle(void **state)
{
    (void)state;
    struct task_id x = member("x");
    struct attempt *of_x = take_of(x);
    struct task_id one = submit(make_tied("a", &(struct ties){.group = "y", .after_group = "x"}));
    struct task_id two = submit(make_tied("a", &(struct ties){.group = "x", .after_group = "y"}));
    struct task_id three = submit(make_tied("a", &(struct ties){.after_group = "x"}));
    assert_int_equal(ask(ENGINE_CANCEL, three, "a", 0, NULL), ENGINE_OK); /* who waited is gone, the group goes on */
    struct task_id four = submit(make_tied("a", &(struct ties){.after_group = "x"}));
    report(of_x, ATTEMPT_LOST);
    stop_and_start();
    report(take_of(x), ATTEMPT_SUCCEEDED);
    report(take_of(one), ATTEMPT_SUCCEEDED);
    report(take_of(two), ATTEMPT_SUCCEEDED);
    report(take_of(four), ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(four, TASK_SUCCEEDED), TASK_SUCCEEDED);
}

/* ---- unique keys ---- */

static void test_one_living_task_of_a_key(void **state)
{
    (void)state;
    struct test_call t;
    const struct ties key = {.unique_key = "k"};
    struct task_id holder = submit(make_tied("a", &key));
    struct attempt *attempt = take_of(holder);
    assert_int_equal(try_submit(make_tied("a", &key), &t), ENGINE_NOT_UNIQUE);
    assert_true(task_id_equal(t.call.record.spec->id, holder));
    task_record_release(&t.call.record);
    struct task_id other = submit(make_tied("b", &key));
    report(take_of(other), ATTEMPT_SUCCEEDED);
    report(attempt, ATTEMPT_FAILED);
    assert_int_equal(settled(holder, TASK_FAILED), TASK_FAILED);
    struct task_id next = submit(make_tied("a", &key));
    assert_int_equal(ask(ENGINE_RETRY, holder, "a", 0, NULL), ENGINE_NOT_UNIQUE);
    report(take_of(next), ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(next, TASK_SUCCEEDED), TASK_SUCCEEDED);
    assert_int_equal(ask(ENGINE_RETRY, holder, "a", 0, NULL), ENGINE_OK);
    attempt = take_of(holder);
    assert_int_equal(try_submit(make_tied("a", &key), &t), ENGINE_NOT_UNIQUE);
    task_record_release(&t.call.record);
    report(attempt, ATTEMPT_SUCCEEDED);
}

static void test_of_many_at_once_one_gets_the_key(void **state)
{
    (void)state;
    enum { MANY = 50 };
    static struct test_call calls[MANY];
    (void)pthread_mutex_lock(&the_store->lock); /* so that they meet in one batch */
    for (size_t i = 0; i < MANY; i++) {
        call_init(&calls[i], ENGINE_SUBMIT);
        (void)submit_spec(make_tied("a", &(struct ties){.unique_key = "k"}), &calls[i]);
    }
    (void)pthread_mutex_unlock(&the_store->lock);
    unsigned made = 0;
    struct task_id holder = {0};
    for (size_t i = 0; i < MANY; i++)
        if (finish(&calls[i]) == ENGINE_OK) {
            made++;
            holder = calls[i].call.record.spec->id;
        }
    assert_int_equal(made, 1);
    for (size_t i = 0; i < MANY; i++) {
        assert_true(task_id_equal(calls[i].call.record.spec->id, holder));
        task_record_release(&calls[i].call.record);
    }
    report(take_of(holder), ATTEMPT_SUCCEEDED);
}

static void test_a_key_until_the_start(void **state)
{
    (void)state;
    struct test_call t;
    struct task_spec *spec = make_tied("a", &(struct ties){.unique_key = "k"});
    spec->unique_until_started = true;
    spec->run_at_us = clock_wall_us() + 100000;
    struct task_id holder = submit(spec);
    assert_int_equal(try_submit(make_tied("a", &(struct ties){.unique_key = "k"}), &t), ENGINE_NOT_UNIQUE);
    task_record_release(&t.call.record);
    struct attempt *attempt = take_of(holder);
    struct task_id next = submit(make_tied("a", &(struct ties){.unique_key = "k"}));
    report(take_of(next), ATTEMPT_SUCCEEDED);
    report(attempt, ATTEMPT_SUCCEEDED);
}

static void test_a_key_is_held_over_a_restart(void **state)
{
    (void)state;
    struct test_call t;
    struct task_id holder = submit(make_tied("a", &(struct ties){.unique_key = "k"}));
    report(take_of(holder), ATTEMPT_LOST);
    report(take_of(holder), ATTEMPT_LOST);
    stop_and_start();
    struct attempt *attempt = take_of(holder);
    assert_int_equal(try_submit(make_tied("a", &(struct ties){.unique_key = "k"}), &t), ENGINE_NOT_UNIQUE);
    task_record_release(&t.call.record);
    report(attempt, ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(holder, TASK_SUCCEEDED), TASK_SUCCEEDED);
    struct task_id next = submit(make_tied("a", &(struct ties){.unique_key = "k"}));
    report(take_of(next), ATTEMPT_SUCCEEDED);
}

/* ---- cascade ---- */

static void test_what_a_doomed_task_submits_is_canceled(void **state)
{
    (void)state;
    struct test_call t;
    struct task_id parent = submit(make_tied("a", &(struct ties){0}));
    struct attempt *attempt = take_of(parent);
    call_init(&t, ENGINE_CANCEL);
    t.call.id = parent;
    t.call.cascade = true;
    post(&t);
    assert_int_equal(finish(&t), ENGINE_OK);
    task_record_release(&t.call.record);
    struct task_spec *spec = make_tied("a", &(struct ties){0});
    spec->parent = spec->root = parent;
    struct task_id child = submit(spec);
    assert_int_equal(settled(child, TASK_CANCELED), TASK_CANCELED);
    report(attempt, ATTEMPT_FAILED);
    assert_nothing_starts();
}

/* ---- with a store that refuses ---- */

#define NODES 120

static void set_refusing(unsigned percent)
{
    (void)pthread_mutex_lock(&the_store->lock);
    the_store->refuse_percent = percent;
    (void)pthread_mutex_unlock(&the_store->lock);
}

static bool work_once(void)
{
    struct attempt *attempt = take(500000);
    if (!attempt)
        return false;
    uint64_t at = attempt->spec->id.lo;
    bool cut_off = at % 5 == 0 && attempt->previous_lost < 2;
    report(attempt, at % 31 == 0 ? ATTEMPT_FAILED : cut_off ? ATTEMPT_LOST : ATTEMPT_SUCCEEDED);
    return true;
}

static bool submit_until_taken(struct task_spec *spec)
{
    for (unsigned tries = 0; tries < 200; tries++) {
        struct test_call t;
        (void)task_spec_ref(spec);
        enum engine_result result = try_submit(spec, &t);
        task_record_release(&t.call.record);
        if (result == ENGINE_OK) {
            task_spec_unref(spec);
            return true;
        }
        (void)work_once();
    }
    task_spec_unref(spec);
    return false;
}

static void check_node(const struct row *row)
{
    bool all = true;
    for (size_t i = 0; i < task_after_count(row->spec); i++)
        all = all && row_of(task_after_at(row->spec, i))->status.state == TASK_SUCCEEDED;
    if (!all) {
        assert_int_equal(row->status.state, TASK_FAILED);
        assert_int_equal(row->status.attempt, 0);
        assert_int_equal(row->outcome->error, ERROR_TYPE_DEPENDENCY);
    } else {
        assert_true(row->status.attempt > 0);
    }
}

static void test_a_web_of_tasks_under_faults_and_restarts(void **state)
{
    (void)state;
    static struct task_id nodes[NODES];
    stop_losing_all();
    engine_test_options.max_waiting = engine_test_options.max_waiting_per_tenant = 0;
    engine_test_pause_ns = 1000000;
    start();
    set_refusing(30);
    for (unsigned i = 0; i < NODES; i++) {
        struct task_id after[3];
        size_t n = i < 10 ? 0 : 1 + i % 3;
        for (size_t k = 0; k < n; k++)
            after[k] = nodes[(i * 7 + k * (i / 5 + 1)) % i];
        if (n > 1 && task_id_equal(after[0], after[1]))
            n = 1;
        if (n > 2 && (task_id_equal(after[0], after[2]) || task_id_equal(after[1], after[2])))
            n = 2;
        struct task_spec *spec = make_tied("a", &(struct ties){.after = after, .n_after = n, .group = "web"});
        nodes[i] = spec->id;
        assert_true(submit_until_taken(spec));
        (void)work_once();
        if (i % 40 == 39) {
            set_refusing(0);
            stop_and_start();
            set_refusing(30);
        }
    }
    struct task_id last = {0};
    struct task_spec *spec = make_tied("a", &(struct ties){.after_group = "web"});
    last = spec->id;
    assert_true(submit_until_taken(spec));
    int64_t until = clock_mono_ns() + 2 * LIMIT_NS;
    bool ended = false;
    while (!ended && clock_mono_ns() < until) {
        (void)work_once();
        (void)pthread_mutex_lock(&the_store->lock);
        ended = true;
        for (size_t i = 0; ended && i < the_store->n; i++)
            ended = task_state_final(the_store->rows[i].status.state);
        (void)pthread_mutex_unlock(&the_store->lock);
    }
    assert_true(ended);
    for (unsigned i = 0; i < NODES; i++)
        check_node(row_of(nodes[i]));
    assert_true(row_of(last)->status.attempt > 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_task_starts_when_all_before_it_have_succeeded),
        TEST(test_one_that_has_succeeded_already_is_not_waited_for),
        TEST(test_a_failure_goes_down_the_chain),
        TEST(test_cancel_of_either_side),
        TEST(test_who_cannot_be_waited_for_is_refused),
        TEST(test_it_expires_while_it_waits),
        TEST(test_its_own_time_counts_too),
        TEST(test_retries_by_hand_wait_again),
        TEST(test_a_restart_ties_them_again),
        TEST(test_a_restart_finds_who_failed_meanwhile),
        TEST(test_a_group_is_over_when_all_have_ended),
        TEST(test_groups_that_wait_for_each_other_are_no_cycle),
        TEST(test_one_living_task_of_a_key),
        TEST(test_of_many_at_once_one_gets_the_key),
        TEST(test_a_key_until_the_start),
        TEST(test_a_key_is_held_over_a_restart),
        TEST(test_what_a_doomed_task_submits_is_canceled),
        TEST(test_a_web_of_tasks_under_faults_and_restarts),
    };
    return cmocka_run_group_tests_name("engine: tasks tied to others", tests, NULL, NULL);
}
