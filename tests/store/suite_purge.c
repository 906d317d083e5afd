/* Forgetting: what is kept how long, and what is left of it. */
#include <string.h>

#include "tests/store/suite.h"

static const struct store_factory *factory;

static int set_up(void **state)
{
    return place_set_up(factory, state);
}

/* Purges until a call removes nothing, at most `calls` times; how many went. */
static unsigned purge_all(struct place *place, int64_t now_us, unsigned limit, unsigned calls)
{
    unsigned all = 0, purged = 1;
    bool more;
    for (unsigned i = 0; i < calls && purged; i++) {
        assert_int_equal(place->store->ops->purge(place->store, now_us, limit, &purged, &more), STORE_OK);
        assert_true(purged <= limit);
        all += purged;
    }
    return all;
}

static void assert_gone(struct place *place, struct task_id id, enum task_state state)
{
    assert_false(is_there(place, id));
    struct read_call call;
    read_task(place, id, "acme", &call);
    assert_int_equal(call.result, STORE_NOT_FOUND);
    assert_true(call.gone);
    assert_null(call.record.spec);
    assert_int_equal(call.record.status.state, state);
    read_release(&call);
}

static void assert_never_seen(struct place *place, struct task_id id, const char *tenant)
{
    struct read_call call;
    read_task(place, id, tenant, &call);
    assert_int_equal(call.result, STORE_NOT_FOUND);
    assert_false(call.gone);
    read_release(&call);
}

static void test_finished_tasks_are_kept_their_time(void **state)
{
    struct place *place = *state;
    struct task_id ended = must_add(place, "acme", "n", TASK_SUCCEEDED, clock_wall_us());
    struct task_id later = must_add(place, "acme", "n", TASK_FAILED, clock_wall_us() + 3600000000);
    struct task_id waiting = must_add(place, "acme", "n", TASK_QUEUED, 0);
    int64_t now = clock_wall_us();
    assert_int_equal(purge_all(place, now, 100, 10), 0);
    assert_int_equal(purge_all(place, now + RETAIN_US / 2, 100, 10), 0);
    assert_int_equal(purge_all(place, now + RETAIN_US + 1000000, 100, 10), 1);
    assert_gone(place, ended, TASK_SUCCEEDED);
    assert_true(is_there(place, later));
    assert_true(is_there(place, waiting));
    assert_int_equal(purge_all(place, now + RETAIN_US + 2 * INT64_C(3600000000), 100, 10), 1);
    assert_gone(place, later, TASK_FAILED);
    assert_true(is_there(place, waiting));
}

static void test_retention_of_its_own(void **state)
{
    struct place *place = *state;
    int64_t now = clock_wall_us();
    struct task_spec *brief = spec_plain("acme", "n"), *lasting = spec_plain("acme", "n");
    brief->retain_us = 1000000;
    lasting->retain_us = 3 * RETAIN_US;
    must_insert(place, brief, status_running(brief));
    must_insert(place, lasting, status_ended(lasting, TASK_SUCCEEDED, now));
    assert_int_equal(purge_all(place, now + 10 * INT64_C(1000000), 100, 10), 0); /* not finished */
    must_update(place, brief, TASK_RUNNING, 1, status_ended(brief, TASK_FAILED, now), NULL);
    assert_int_equal(purge_all(place, now + 999999, 100, 10), 0);
    assert_int_equal(purge_all(place, now + 1000000, 100, 10), 1);
    assert_gone(place, brief->id, TASK_FAILED);
    assert_int_equal(purge_all(place, now + 2 * RETAIN_US, 100, 10), 0);
    assert_true(is_there(place, lasting->id));
    assert_int_equal(purge_all(place, now + 3 * RETAIN_US, 100, 10), 1);
    assert_gone(place, lasting->id, TASK_SUCCEEDED);
    task_spec_unref(brief);
    task_spec_unref(lasting);
}

/* A bounded step at a time, and all of them in the end, also behind many that stay. */
static void test_small_steps(void **state)
{
    struct place *place = *state;
    must_add_many(place, 1000, 3, "stays", NULL);
    enum { N = 200 };
    static struct task_id ids[N];
    for (unsigned i = 0; i < N; i++)
        ids[i] = must_add(place, "acme", "n", TASK_CANCELED, clock_wall_us());
    int64_t later = clock_wall_us() + RETAIN_US + 60000000;
    unsigned all = 0, purged = 0, calls = 0;
    bool more;
    for (; all < N && calls < 400; calls++) {
        assert_int_equal(place->store->ops->purge(place->store, later, 7, &purged, &more), STORE_OK);
        assert_true(purged <= 7);
        all += purged;
    }
    assert_int_equal(all, N);
    for (unsigned i = 0; i < N; i++)
        assert_false(is_there(place, ids[i]));
    assert_int_equal(place->store->ops->purge(place->store, later, 0, &purged, &more), STORE_OK);
    assert_int_equal(purged, 0);
}

/* Whoever keeps tasks for a second does not wait a minute for the next pass; and a bound that was met is told. */
static void test_short_retention(void **state)
{
    struct place *place = *state;
    const struct store_ops *ops = place->store->ops;
    int64_t now = clock_wall_us() + 10000000;
    unsigned purged;
    bool more;
    ops->set_limits(place->store, 1000000, 1 << 20);
    must_add_many(place, 100, 1, "stays", NULL);
    struct task_id first = must_add(place, "acme", "n", TASK_SUCCEEDED, now);
    struct task_id second = must_add(place, "acme", "n", TASK_SUCCEEDED, now + 2000000);
    for (unsigned i = 0; i < 100 / (10 * 4); i++) {
        assert_int_equal(ops->purge(place->store, now + 1500000, 10, &purged, &more), STORE_OK);
        assert_int_equal(purged, 0);
        assert_true(more);
    }
    assert_int_equal(ops->purge(place->store, now + 1500000, 10, &purged, &more), STORE_OK);
    assert_int_equal(purged, 1);
    assert_false(more);
    assert_false(is_there(place, first));
    assert_int_equal(purge_all(place, now + 2000000, 10, 10), 0);
    assert_true(is_there(place, second));
    assert_int_equal(ops->purge(place->store, now + 2600000, 10, &purged, &more), STORE_OK);
    assert_true(more); /* of the next pass, a second after the last */
    for (unsigned i = 0; i < 10 && more; i++)
        assert_int_equal(ops->purge(place->store, now + 3100000, 10, &purged, &more), STORE_OK);
    assert_false(is_there(place, second));
}

static void test_forget(void **state)
{
    struct place *place = *state;
    struct task_spec *spec = spec_full();
    struct task_status status = status_ended(spec, TASK_FAILED, START_US + 77);
    must_insert(place, spec, status_running(spec));
    struct store_change forget = {
        .kind = STORE_FORGET, .id = spec->id, .expect_state = TASK_FAILED, .expect_attempt = 1};
    assert_int_equal(commit_one(place, &forget), STORE_OK);
    assert_int_equal(forget.result, STORE_FENCED);
    assert_true(is_there(place, spec->id));
    must_update(place, spec, TASK_RUNNING, 1, status, NULL);
    assert_int_equal(commit_one(place, &forget), STORE_OK);
    assert_int_equal(forget.result, STORE_OK);
    assert_gone(place, spec->id, TASK_FAILED);
    struct read_call call;
    read_task(place, spec->id, NULL, &call);
    assert_true(call.gone);
    assert_same_status(&call.record.status, &status);
    assert_never_seen(place, spec->id, "other");
    struct task_id forged = spec->id;
    forged.lo ^= 1;
    assert_never_seen(place, forged, "acme");
    assert_int_equal(commit_one(place, &forget), STORE_OK);
    assert_int_equal(forget.result, STORE_FENCED);
    task_spec_unref(spec);
}

static void test_tombstones_end_too(void **state)
{
    struct place *place = *state;
    struct task_id id = must_add(place, "acme", "n", TASK_SUCCEEDED, clock_wall_us());
    (void)must_add(place, "acme", "n", TASK_QUEUED, 0); /* keeps the tenant */
    int64_t now = clock_wall_us() + RETAIN_US + 1000000;
    assert_int_equal(purge_all(place, now, 100, 10), 1);
    (void)purge_all(place, now + RETAIN_US / 2, 100, 10);
    assert_gone(place, id, TASK_SUCCEEDED);
    (void)purge_all(place, now + 2 * RETAIN_US, 100, 10);
    assert_never_seen(place, id, "acme");
}

static void test_forgotten_bodies_leave_nothing(void **state)
{
    struct place *place = *state;
    struct slice body = text_of_size(5000, 'x');
    const struct task_spec_text text = {.tenant = SLICE_LITERAL("acme"), .name = SLICE_LITERAL("n"), .args = body};
    struct task_spec *spec = spec_of(&text);
    must_insert(place, spec, status_ended(spec, TASK_FAILED, START_US));
    struct store_change forget = {
        .kind = STORE_FORGET, .id = spec->id, .expect_state = TASK_FAILED, .expect_attempt = 1};
    assert_int_equal(commit_one(place, &forget), STORE_OK);
    /* the same row again, with a small body: nothing of the old one shows */
    struct slice none = SLICE_LITERAL("7");
    const struct task_spec_text small = {.tenant = SLICE_LITERAL("acme"), .name = SLICE_LITERAL("n"), .args = none};
    struct task_spec *second = spec_of(&small);
    second->id = second->root = spec->id;
    must_insert(place, second, status_queued(second));
    struct task_record record;
    load_one(place, second->id, &record);
    assert_same_spec(second, record.spec);
    task_record_release(&record);
    task_spec_unref(spec);
    task_spec_unref(second);
    text_free(body);
}

static void test_expired_keys_are_removed(void **state)
{
    struct place *place = *state;
    enum { N = 300 };
    static unsigned char keys[N][STORE_KEY_SIZE];
    int64_t now = clock_wall_us();
    for (unsigned i = 0; i < N; i++) {
        struct task_spec *spec = spec_plain("acme", "n");
        random_bytes(keys[i], STORE_KEY_SIZE);
        struct store_change change = change_insert(spec, status_queued(spec));
        change.key = change.fingerprint = keys[i];
        change.key_expires_us = now + (i % 2 ? 1000000 : 2 * RETAIN_US);
        assert_int_equal(commit_one(place, &change), STORE_OK);
        task_spec_unref(spec);
    }
    unsigned purged;
    bool more;
    for (unsigned i = 0; i < 100; i++) /* in steps */
        assert_int_equal(place->store->ops->purge(place->store, now + 2000000, 10, &purged, &more), STORE_OK);
    for (unsigned i = 0; i < N; i++) {
        struct task_id id;
        unsigned char print[STORE_KEY_SIZE];
        /* asked for a time at which none had expired: only what was removed is missing */
        enum store_result expected = i % 2 ? STORE_NOT_FOUND : STORE_OK;
        assert_int_equal(place->store->ops->find_key(place->store, keys[i], now, &id, print), expected);
    }
}

/* A tenant that has nothing left may come back. */
static void test_tenants_come_and_go(void **state)
{
    struct place *place = *state;
    struct task_id id = must_add(place, "acme", "n", TASK_SUCCEEDED, clock_wall_us());
    assert_int_equal(purge_all(place, clock_wall_us() + RETAIN_US + 1000000, 100, 10), 1);
    (void)purge_all(place, clock_wall_us() + 4 * RETAIN_US, 100, 10);
    assert_never_seen(place, id, "acme");
    struct task_id again = must_add(place, "acme", "n", TASK_QUEUED, 0);
    struct read_call call;
    read_task(place, again, "acme", &call);
    assert_int_equal(call.result, STORE_OK);
    assert_string_equal(call.record.spec->tenant.data, "acme");
    read_release(&call);
}

int store_suite_purge(const struct store_factory *given)
{
    factory = given;
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, place_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_finished_tasks_are_kept_their_time),
        TEST(test_retention_of_its_own),
        TEST(test_small_steps),
        TEST(test_short_retention),
        TEST(test_forget),
        TEST(test_tombstones_end_too),
        TEST(test_forgotten_bodies_leave_nothing),
        TEST(test_expired_keys_are_removed),
        TEST(test_tenants_come_and_go),
    };
    return cmocka_run_group_tests_name("store: forgetting", tests, NULL, NULL);
}
