/* What is kept of each attempt, and that it goes with its task. */
#include "tests/store/suite.h"

static const struct store_factory *factory;

static int set_up(void **state)
{
    return place_set_up(factory, state);
}

static void read_history(struct place *place, struct task_id id, struct read_call *ret)
{
    *ret = (struct read_call){.kind = READ_TASK, .id = id, .with_history = true};
    read_now(place, ret);
}

/* The task runs attempt `number`, which ends as told, and goes on waiting. */
static void must_end_attempt(struct place *place, const struct task_spec *spec, const struct task_attempt *ended)
{
    struct task_status status = status_running(spec);
    status.attempt = ended->number;
    must_update(place, spec, TASK_QUEUED, ended->number - 1, status, NULL);
    status.state = TASK_QUEUED;
    struct store_change change = change_update(spec, TASK_RUNNING, ended->number, status);
    change.outcome = ended->outcome;
    change.ended = ended;
    assert_int_equal(commit_one(place, &change), STORE_OK);
}

static void test_attempts_are_kept_in_order(void **state)
{
    struct place *place = *state;
    struct task_spec *spec = spec_plain("acme", "work");
    struct task_outcome *outcome = task_outcome_failure(ERROR_TYPE_HTTP, SLICE_LITERAL("no answer"));
    outcome->http_status = 503;
    outcome->has_exit_code = true;
    outcome->exit_code = -3;
    must_insert(place, spec, status_queued(spec));
    const struct task_attempt ended[] = {
        {.number = 1, .started_us = START_US, .finished_us = START_US + 5, .outcome = outcome},
        {.number = 2, .started_us = START_US + 10, .finished_us = START_US + 15, .outcome = NULL},
        {.number = 3,
         .started_us = START_US + 20,
         .finished_us = START_US + 25,
         .outcome = outcome,
         .sent = SLICE_LITERAL("{\"to\":\"http\"}")},
    };
    for (size_t i = 0; i < 3; i++)
        must_end_attempt(place, spec, &ended[i]);
    place_reopen(place);
    struct read_call call;
    read_history(place, spec->id, &call);
    assert_int_equal(call.result, STORE_OK);
    assert_int_equal(call.history.n, 3);
    for (size_t i = 0; i < 3; i++) {
        const struct task_attempt *found = &call.history.attempts[i];
        assert_int_equal(found->number, ended[i].number);
        assert_int_equal(found->started_us, ended[i].started_us);
        assert_int_equal(found->finished_us, ended[i].finished_us);
        assert_same_slice(found->sent, ended[i].sent);
        if (ended[i].outcome)
            assert_same_outcome(found->outcome, ended[i].outcome);
        else
            assert_null(found->outcome);
    }
    read_release(&call);
    task_outcome_unref(outcome);
    task_spec_unref(spec);
}

static void test_the_first_word_on_an_attempt_counts(void **state)
{
    struct place *place = *state;
    struct task_spec *spec = spec_plain("acme", "work");
    struct task_attempt ended = {.number = 1, .started_us = START_US, .finished_us = START_US + 5};
    must_insert(place, spec, status_queued(spec));
    must_end_attempt(place, spec, &ended);
    struct task_status status = status_queued(spec);
    status.attempt = 1;
    struct store_change change = change_update(spec, TASK_QUEUED, 1, status);
    ended.finished_us = START_US + 99;
    change.ended = &ended;
    assert_int_equal(commit_one(place, &change), STORE_OK);
    struct read_call call;
    read_history(place, spec->id, &call);
    assert_int_equal(call.history.n, 1);
    assert_int_equal(call.history.attempts[0].finished_us, START_US + 5);
    read_release(&call);
    task_spec_unref(spec);
}

static void test_a_start_that_nobody_remembers_is_the_rows(void **state)
{
    struct place *place = *state;
    struct task_spec *spec = spec_plain("acme", "work");
    struct task_status status = status_running(spec);
    must_insert(place, spec, status);
    int64_t started_us = status.started_us;
    struct task_attempt ended = {.number = status.attempt, .finished_us = started_us + 7};
    struct store_change change = change_update(spec, TASK_RUNNING, status.attempt, status);
    change.status.state = TASK_QUEUED;
    change.status.started_us = 0;
    change.ended = &ended;
    assert_int_equal(commit_one(place, &change), STORE_OK);
    struct read_call call;
    read_history(place, spec->id, &call);
    assert_int_equal(call.history.n, 1);
    assert_int_equal(call.history.attempts[0].started_us, started_us);
    read_release(&call);
    task_spec_unref(spec);
}

static void test_a_fenced_change_keeps_nothing(void **state)
{
    struct place *place = *state;
    struct task_spec *spec = spec_plain("acme", "work");
    must_insert(place, spec, status_queued(spec));
    struct task_attempt ended = {.number = 1, .started_us = START_US, .finished_us = START_US + 5};
    struct store_change change = change_update(spec, TASK_RUNNING, 1, status_queued(spec));
    change.ended = &ended;
    assert_int_equal(commit_one(place, &change), STORE_OK);
    assert_int_equal(change.result, STORE_FENCED);
    struct read_call call;
    read_history(place, spec->id, &call);
    assert_int_equal(call.history.n, 0);
    read_release(&call);
    task_spec_unref(spec);
}

static void test_attempts_go_with_their_task(void **state)
{
    struct place *place = *state;
    struct task_spec *spec = spec_plain("acme", "work");
    struct task_attempt ended = {.number = 1, .started_us = START_US, .finished_us = START_US + 5};
    must_insert(place, spec, status_queued(spec));
    must_end_attempt(place, spec, &ended);
    struct task_status status = status_ended(spec, TASK_CANCELED, START_US + 50);
    status.attempt = 1;
    must_update(place, spec, TASK_QUEUED, 1, status, NULL);
    struct store_change forget = change_update(spec, TASK_CANCELED, 1, status);
    forget.kind = STORE_FORGET;
    assert_int_equal(commit_one(place, &forget), STORE_OK);
    assert_int_equal(forget.result, STORE_OK);
    must_insert(place, spec, status_queued(spec)); /* the same id again: nothing of the old one shows */
    struct read_call call;
    read_history(place, spec->id, &call);
    assert_int_equal(call.result, STORE_OK);
    assert_int_equal(call.history.n, 0);
    read_release(&call);
    task_spec_unref(spec);
}

int store_suite_attempts(const struct store_factory *given)
{
    factory = given;
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, place_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_attempts_are_kept_in_order),
        TEST(test_the_first_word_on_an_attempt_counts),
        TEST(test_a_start_that_nobody_remembers_is_the_rows),
        TEST(test_a_fenced_change_keeps_nothing),
        TEST(test_attempts_go_with_their_task),
    };
    return cmocka_run_group_tests_name("store: attempts", tests, NULL, NULL);
}
