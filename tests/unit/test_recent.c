/* The cache of recent ends: what is found, who makes room for whom, what is dropped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* after the standard ones */
#include <cmocka.h>

#include "engine/recent.h"

#define NOW_US INT64_C(1767323045000000)
#define FAR 20000 /* more than there is ever room for */

static struct recent *recent;

static int set_up(void **state)
{
    (void)state;
    recent = recent_new(8 << 20, 0);
    return recent ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    recent_free(recent);
    return 0;
}

static struct task_id put(const char *tenant, int64_t retain_us, bool was_told)
{
    const struct task_spec_text text = {
        .tenant = slice_str(tenant), .name = SLICE_LITERAL("n"), .args = SLICE_LITERAL("null")};
    struct task_spec *spec = task_spec_new(&text);
    struct task_outcome *outcome = task_outcome_success(blob_new(SLICE_LITERAL("42")));
    assert_true(spec && outcome);
    task_id_make(&spec->id);
    spec->retain_us = retain_us;
    const struct task_record record = {
        .spec = spec, .outcome = outcome, .status = {.state = TASK_SUCCEEDED, .finished_us = NOW_US}};
    recent_put(recent, &record, was_told);
    struct task_id id = spec->id;
    task_spec_unref(spec);
    task_outcome_unref(outcome);
    return id;
}

static bool is_found(struct task_id id, const char *tenant, int64_t now_us)
{
    struct task_record record;
    if (!recent_find(recent, id, tenant ? slice_str(tenant) : (struct slice){0}, now_us, &record))
        return false;
    assert_true(task_id_equal(record.spec->id, id));
    assert_true(record.status.state != TASK_SUCCEEDED || slice_eq_str(blob_slice(record.outcome->result), "42"));
    task_record_release(&record);
    return true;
}

static void test_found_by_its_tenant_until_it_is_dropped(void **state)
{
    (void)state;
    struct task_id id = put("a", 0, true), other = put("a", 0, false), unknown;
    task_id_make(&unknown);
    assert_true(is_found(id, "a", NOW_US));
    assert_true(is_found(id, NULL, NOW_US));
    assert_false(is_found(id, "b", NOW_US));
    assert_false(is_found(unknown, NULL, NOW_US));
    recent_drop(recent, unknown);
    recent_drop(recent, id);
    assert_false(is_found(id, NULL, NOW_US));
    assert_true(is_found(other, "a", NOW_US));
}

static void test_no_longer_than_it_is_kept(void **state)
{
    (void)state;
    struct task_id own = put("a", 1000, false), others = put("a", 0, false);
    assert_true(is_found(own, "a", NOW_US + 999));
    assert_false(is_found(own, "a", NOW_US + 1000));
    assert_true(is_found(others, "a", INT64_MAX));
    recent_set_retain(recent, 5000);
    assert_true(is_found(others, "a", NOW_US + 4999));
    assert_false(is_found(others, "a", NOW_US + 5000));
}

static unsigned count(const struct task_id *ids, unsigned n)
{
    unsigned found = 0;
    for (unsigned i = 0; i < n; i++)
        found += is_found(ids[i], "a", NOW_US);
    return found;
}

static void test_the_oldest_makes_room(void **state)
{
    (void)state;
    static struct task_id ids[FAR];
    for (unsigned i = 0; i < FAR; i++) {
        ids[i] = put("a", 0, false);
        assert_true(is_found(ids[i], "a", NOW_US));
    }
    assert_false(is_found(ids[0], "a", NOW_US));
    assert_in_range(count(ids, FAR), 1000, FAR - 1000);
    for (unsigned i = FAR - 500; i < FAR; i++)
        assert_true(is_found(ids[i], "a", NOW_US));
}

static void test_who_was_told_displaces_nobody(void **state)
{
    (void)state;
    static struct task_id ids[FAR], told[FAR];
    for (unsigned i = 0; i < FAR; i++)
        told[i] = put("a", 0, true);
    unsigned kept = count(told, FAR);
    assert_in_range(kept, 1000, FAR - 1000); /* there was room for these */
    for (unsigned i = 0; i < 500; i++)
        assert_true(is_found(told[i], "a", NOW_US));
    for (unsigned i = 0; i < FAR; i++) /* they make room for whoever will be asked for */
        ids[i] = put("a", 0, false);
    assert_int_equal(count(told, FAR), 0);
    kept = count(ids, FAR);
    for (unsigned i = 0; i < 1000; i++)
        (void)put("a", 0, true);
    assert_int_equal(count(ids, FAR), kept);
}

/* All that a record refers to counts: what its attempt said last, and why it failed. */
static void test_long_messages_and_notes_take_their_room(void **state)
{
    (void)state;
    enum { LONG = 100000, N = 400 };
    static char text[LONG];
    static struct task_id ids[N];
    const struct task_spec_text spec_text = {
        .tenant = SLICE_LITERAL("a"), .name = SLICE_LITERAL("n"), .args = SLICE_LITERAL("null")};
    memset(text, 'x', sizeof text);
    for (unsigned i = 0; i < N; i++) {
        struct task_record record = {.spec = task_spec_new(&spec_text),
                                     .status = {.state = TASK_FAILED, .finished_us = NOW_US}};
        assert_non_null(record.spec);
        if (i % 2)
            assert_non_null(record.outcome = task_outcome_failure(ERROR_TYPE_HANDLER, slice_of(text, LONG)));
        else
            assert_non_null(record.note = blob_new(slice_of(text, LONG)));
        task_id_make(&record.spec->id);
        ids[i] = record.spec->id;
        recent_put(recent, &record, true);
        task_record_release(&record);
    }
    assert_in_range(count(ids, N), 40, (8 << 20) / LONG);
}

/* They would be put in and let go for nothing. */
static void test_where_nobody_asks_none_makes_room(void **state)
{
    (void)state;
    static struct task_id ids[FAR], late[FAR];
    for (unsigned i = 0; i < FAR; i++)
        ids[i] = put("a", 0, false);
    for (unsigned i = 0; i < FAR; i++)
        late[i] = put("a", 0, false);
    assert_int_equal(count(late, FAR), 0);
    assert_true(count(ids, FAR) >= 1000); /* there was room for these */
    for (unsigned i = 0; i < FAR; i++)    /* now somebody has asked */
        late[i] = put("a", 0, false);
    for (unsigned i = FAR - 500; i < FAR; i++)
        assert_true(is_found(late[i], "a", NOW_US));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_found_by_its_tenant_until_it_is_dropped),
        TEST(test_no_longer_than_it_is_kept),
        TEST(test_the_oldest_makes_room),
        TEST(test_who_was_told_displaces_nobody),
        TEST(test_long_messages_and_notes_take_their_room),
        TEST(test_where_nobody_asks_none_makes_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
