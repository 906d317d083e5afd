/* What ties a task to others, and unique keys: kept with the row, held by one task at a time. */
#include "tests/store/suite.h"

static const struct store_factory *factory;

static int set_up(void **state)
{
    return place_set_up(factory, state);
}

static struct task_spec *spec_unique(const char *tenant, const char *key)
{
    struct task_spec_text text = {.tenant = slice_str(tenant),
                                  .name = SLICE_LITERAL("work"),
                                  .args = SLICE_LITERAL("null"),
                                  .context = SLICE_LITERAL("{\"v\":1,\"vars\":{}}"),
                                  .unique_key = slice_str(key)};
    return spec_of(&text);
}

static enum store_result insert(struct place *place, const struct task_spec *spec)
{
    struct store_change change = change_insert(spec, status_queued(spec));
    assert_int_equal(commit_one(place, &change), STORE_OK);
    return change.result;
}

static bool holds(struct place *place, const struct task_spec *spec, int64_t now_us)
{
    struct task_id id;
    enum store_result found = place->store->ops->find_unique(place->store, spec->tenant, spec->unique_key, now_us, &id);
    assert_true(found == STORE_OK || found == STORE_NOT_FOUND);
    return found == STORE_OK && task_id_equal(id, spec->id);
}

static void end(struct place *place, const struct task_spec *spec)
{
    struct store_change change = change_update(spec, TASK_QUEUED, 0, status_ended(spec, TASK_CANCELED, START_US));
    change.drop_unique = true;
    assert_int_equal(commit_one(place, &change), STORE_OK);
}

static void test_a_unique_key_has_one_holder(void **state)
{
    struct place *place = *state;
    struct task_spec *first = spec_unique("acme", "k"), *second = spec_unique("acme", "k");
    struct task_spec *other = spec_unique("umbrella", "k");
    assert_false(holds(place, first, START_US));
    assert_int_equal(insert(place, first), STORE_OK);
    assert_int_equal(insert(place, other), STORE_OK);
    struct store_change change = change_insert(second, status_queued(second));
    assert_int_equal(commit_one(place, &change), STORE_OK);
    assert_int_equal(change.result, STORE_FENCED);
    assert_false(is_there(place, second->id));
    place_reopen(place);
    assert_true(holds(place, first, START_US));
    assert_true(holds(place, other, START_US));
    end(place, first);
    assert_false(holds(place, first, START_US));
    assert_int_equal(insert(place, second), STORE_OK);
    assert_true(holds(place, second, START_US));
    task_spec_unref(first);
    task_spec_unref(second);
    task_spec_unref(other);
}

static void test_a_key_that_is_free_before_it_was_taken(void **state)
{
    struct place *place = *state;
    struct task_spec *spec = spec_unique("acme", "k");
    struct store_change change = change_insert(spec, status_queued(spec));
    change.drop_unique = true; /* it started in the batch that it came in */
    assert_int_equal(commit_one(place, &change), STORE_OK);
    assert_true(is_there(place, spec->id));
    assert_false(holds(place, spec, START_US));
    task_spec_unref(spec);
}

static void test_a_key_for_a_time(void **state)
{
    struct place *place = *state;
    struct task_spec *first = spec_unique("acme", "k"), *second = spec_unique("acme", "k");
    first->unique_for_us = 1;
    int64_t now = clock_wall_us();
    assert_int_equal(insert(place, first), STORE_OK);
    assert_false(holds(place, first, now + 3600 * INT64_C(1000000)));
    while (clock_wall_us() < now + 1000) {
    }
    assert_int_equal(insert(place, second), STORE_OK);
    assert_true(holds(place, second, now));
    end(place, first); /* it has none any more: the other one's stays */
    assert_true(holds(place, second, now));
    task_spec_unref(first);
    task_spec_unref(second);
}

static void test_a_retry_takes_the_key_again(void **state)
{
    struct place *place = *state;
    struct task_spec *first = spec_unique("acme", "k"), *second = spec_unique("acme", "k");
    assert_int_equal(insert(place, first), STORE_OK);
    end(place, first);
    assert_int_equal(insert(place, second), STORE_OK);
    struct store_change again = change_update(first, TASK_CANCELED, 1, status_queued(first));
    again.spec = first;
    again.clear_outcome = again.take_unique = true;
    assert_int_equal(commit_one(place, &again), STORE_OK);
    assert_int_equal(again.result, STORE_FENCED);
    end(place, second);
    assert_int_equal(commit_one(place, &again), STORE_OK);
    assert_true(holds(place, first, START_US));
    again.expect_attempt = 7; /* not as expected: the key is not taken either */
    end(place, first);
    assert_int_equal(commit_one(place, &again), STORE_OK);
    assert_int_equal(again.result, STORE_FENCED);
    assert_false(holds(place, first, START_US));
    task_spec_unref(first);
    task_spec_unref(second);
}

static void test_the_state_of_a_task(void **state)
{
    struct place *place = *state;
    struct task_id id = must_add(place, "acme", "work", TASK_FAILED, START_US), unknown = id;
    enum task_state found;
    const struct store_ops *ops = place->store->ops;
    unknown.lo ^= 1;
    assert_int_equal(ops->find_state(place->store, id, slice_str("acme"), &found), STORE_OK);
    assert_int_equal(found, TASK_FAILED);
    assert_int_equal(ops->find_state(place->store, id, slice_str("umbrella"), &found), STORE_NOT_FOUND);
    assert_int_equal(ops->find_state(place->store, unknown, slice_str("acme"), &found), STORE_NOT_FOUND);
    struct store_change forget = {.kind = STORE_FORGET, .id = id, .expect_state = TASK_FAILED, .expect_attempt = 1};
    assert_int_equal(commit_one(place, &forget), STORE_OK);
    assert_int_equal(ops->find_state(place->store, id, slice_str("acme"), &found), STORE_OK); /* remembered */
    assert_int_equal(found, TASK_FAILED);
}

struct seen {
    unsigned n, tied, grouped, unique, until_started;
};

static int look(void *arg, const struct store_waiting *task)
{
    struct seen *seen = arg;
    seen->n++;
    seen->tied += task->has_after;
    seen->grouped += task->has_group;
    seen->unique += task->has_unique;
    seen->until_started += task->unique_until_started;
    return 0;
}

static void test_start_up_is_told_of_ties(void **state)
{
    struct place *place = *state;
    struct task_spec *plain = spec_plain("acme", "work"), *full = spec_full();
    must_insert(place, plain, status_queued(plain));
    must_insert(place, full, status_queued(full));
    place_reopen(place);
    struct seen seen = {0};
    assert_int_equal(place->store->ops->each_waiting(place->store, look, &seen), STORE_OK);
    assert_int_equal(seen.n, 2);
    assert_int_equal(seen.tied, 1);
    assert_int_equal(seen.grouped, 1);
    assert_int_equal(seen.unique, 1);
    assert_int_equal(seen.until_started, 1);
    task_spec_unref(plain);
    task_spec_unref(full);
}

int store_suite_ties(const struct store_factory *given)
{
    factory = given;
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, place_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_a_unique_key_has_one_holder),
        TEST(test_a_key_that_is_free_before_it_was_taken),
        TEST(test_a_key_for_a_time),
        TEST(test_a_retry_takes_the_key_again),
        TEST(test_the_state_of_a_task),
        TEST(test_start_up_is_told_of_ties),
    };
    return cmocka_run_group_tests_name("store: ties", tests, NULL, NULL);
}
