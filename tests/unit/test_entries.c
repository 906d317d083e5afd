/* The table of unfinished tasks: an entry's body in all its forms, its bits, its place, and what the table costs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/internal.h"

struct fixture {
    struct entries table;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    if (!f || entries_init(&f->table) < 0)
        return -1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    entries_release(&f->table);
    free(f);
    return 0;
}

static struct task_id id_of(uint64_t n)
{
    return (struct task_id){n << 16 | 0x7000, n * 2654435761u};
}

static struct entry *add(struct fixture *f, uint64_t n)
{
    struct entry *entry = entries_add(&f->table, id_of(n));
    assert_non_null(entry);
    return entry;
}

/* ---- the body ---- */

static void test_a_new_entry_is_cold_and_has_no_live_part(void **state)
{
    struct entry *entry = add(*state, 1);
    assert_null(entry_spec(entry));
    assert_null(entry_live_get(entry));
}

static void test_a_spec_alone(void **state)
{
    struct entry *entry = add(*state, 1);
    struct task_spec spec;
    entry_set_spec(entry, &spec);
    assert_ptr_equal(entry_spec(entry), &spec);
    assert_null(entry_live_get(entry));
    entry_set_spec(entry, NULL);
    assert_null(entry_spec(entry));
    assert_null(entry_live_get(entry));
}

static void test_a_live_part_alone(void **state)
{
    struct entry *entry = add(*state, 1);
    struct live live = {.version = 7};
    entry_set_live(entry, &live);
    assert_ptr_equal(entry_live_get(entry), &live);
    assert_ptr_equal(entry_live_known(entry), &live);
    assert_null(entry_spec(entry));
    assert_int_equal(live.version, 7);
    entry_set_live(entry, NULL);
    assert_null(entry_live_get(entry));
    assert_null(entry_spec(entry));
}

static void test_a_spec_goes_with_the_live_part_and_comes_back(void **state)
{
    struct entry *entry = add(*state, 1);
    struct task_spec spec;
    struct live live = {0}, other = {0};
    entry_set_spec(entry, &spec);
    entry_set_live(entry, &live);
    assert_ptr_equal(entry_spec(entry), &spec);
    assert_ptr_equal(live.head.spec, &spec);
    entry_set_live(entry, &other);
    assert_ptr_equal(entry_live_get(entry), &other);
    assert_ptr_equal(entry_spec(entry), &spec);
    entry_set_live(entry, NULL);
    assert_null(entry_live_get(entry));
    assert_ptr_equal(entry_spec(entry), &spec);
}

static void test_a_spec_comes_and_goes_under_a_live_part(void **state)
{
    struct entry *entry = add(*state, 1);
    struct task_spec spec, other;
    struct live live = {0};
    entry_set_live(entry, &live);
    entry_set_spec(entry, &spec);
    assert_ptr_equal(entry_spec(entry), &spec);
    assert_ptr_equal(entry_live_get(entry), &live);
    entry_set_spec(entry, &other);
    assert_ptr_equal(entry_spec(entry), &other);
    entry_set_spec(entry, NULL);
    assert_null(entry_spec(entry));
    assert_ptr_equal(entry_live_get(entry), &live);
    entry_set_live(entry, NULL);
    assert_null(entry_spec(entry));
}

/* ---- the bits ---- */

static void test_bits_hold_every_value_and_touch_no_other(void **state)
{
    struct entry *entry = add(*state, 1);
    uint32_t index = entry_index(entry);
    for (unsigned n = 0; n < TASK_STATE_COUNT * PRIORITIES * 32u; n++) {
        unsigned task_state = n % TASK_STATE_COUNT, priority = n / TASK_STATE_COUNT % PRIORITIES;
        unsigned flags = n / TASK_STATE_COUNT / PRIORITIES;
        entry->state = (uint8_t)task_state;
        entry->priority = (uint8_t)priority;
        entry->cancel_requested = flags & 1;
        entry->has_callback = flags >> 1 & 1;
        entry->queued = flags >> 2 & 1;
        entry->spans = flags >> 3 & 3;
        assert_int_equal(entry->state, task_state);
        assert_int_equal(entry->priority, priority);
        assert_int_equal(entry->cancel_requested, flags & 1);
        assert_int_equal(entry->has_callback, flags >> 1 & 1);
        assert_int_equal(entry->queued, flags >> 2 & 1);
        assert_int_equal(entry->spans, flags >> 3 & 3);
        assert_int_equal(entry_index(entry), index);
        assert_int_equal(entry->change, 0);
    }
}

static void test_both_spans_fit(void **state)
{
    struct entry *entry = add(*state, 1);
    entry->spans = ENTRY_SPAN_RUN | ENTRY_SPAN_GIVE_UP;
    assert_int_equal(entry->spans, ENTRY_SPAN_RUN | ENTRY_SPAN_GIVE_UP);
}

static void test_all_ties_fit(void **state)
{
    struct entry *entry = add(*state, 1);
    const unsigned all = ENTRY_BLOCKED | ENTRY_GROUPED | ENTRY_UNIQUE | ENTRY_UNIQUE_START | ENTRY_CASCADE;
    entry->ties = (uint8_t)all;
    assert_int_equal(entry->ties, all);
}

static void test_the_last_change_of_a_batch_fits(void **state)
{
    struct entry *entry = add(*state, 1);
    entry->change = (uint16_t)BATCH_CHANGES;
    assert_int_equal(entry->change, BATCH_CHANGES);
}

static void test_attempts_count_to_the_end(void **state)
{
    struct entry *entry = add(*state, 1);
    entry->attempt = UINT32_MAX;
    entry->lost = entry->failures = UINT16_MAX;
    assert_true(entry->attempt == UINT32_MAX && entry->lost == UINT16_MAX && entry->failures == UINT16_MAX);
}

/* ---- places ---- */

static void test_each_knows_its_place_in_every_segment(void **state)
{
    struct fixture *f = *state;
    for (uint32_t n = 0; n < 3 * SEGMENT_ENTRIES + 1; n++)
        assert_int_equal(entry_index(add(f, n)), n);
    assert_int_equal(f->table.n_segments, 4);
    assert_int_equal(f->table.n_used, 3 * SEGMENT_ENTRIES + 1);
    for (uint32_t n = 0; n < 3 * SEGMENT_ENTRIES + 1; n++) {
        struct entry *entry = entries_find(&f->table, id_of(n));
        assert_ptr_equal(entries_at(&f->table, n), entry);
        assert_int_equal(entry_index(entry), n);
    }
}

static void test_a_place_is_used_again_and_clean(void **state)
{
    struct fixture *f = *state;
    struct entry *first = add(f, 1), *second = add(f, 2), *third = add(f, 3);
    second->state = TASK_FAILED;
    second->attempt = 9;
    second->ties = ENTRY_CASCADE;
    second->cancel_requested = second->has_callback = true;
    second->spans = ENTRY_SPAN_RUN;
    second->before = ERROR_TYPE_LOST;
    entries_remove(&f->table, second);
    entries_remove(&f->table, first);
    assert_ptr_equal(add(f, 4), first); /* the last that was given back */
    struct entry *again = add(f, 5);
    assert_ptr_equal(again, second);
    assert_int_equal(entry_index(again), 1);
    assert_true(again->state == 0 && again->attempt == 0 && again->ties == 0 && again->spans == 0);
    assert_true(!again->cancel_requested && !again->has_callback && !again->queued && again->before == 0);
    assert_true(again->next == ENTRY_NONE && again->prev == ENTRY_NONE && again->lane == ENTRY_NONE);
    assert_null(entry_spec(again));
    assert_int_equal(entry_index(add(f, 6)), 3); /* and only then a new one */
    assert_ptr_equal(entries_find(&f->table, id_of(3)), third);
    assert_null(entries_find(&f->table, id_of(1)));
}

static void test_coming_and_going_takes_no_more_room(void **state)
{
    struct fixture *f = *state;
    for (uint64_t n = 0; n < 100000; n++) {
        (void)add(f, n);
        if (n >= 500)
            entries_remove(&f->table, entries_find(&f->table, id_of(n - 500)));
    }
    assert_int_equal(f->table.n_segments, 1);
    assert_int_equal(f->table.n_used, 501);
    assert_int_equal(f->table.count, 500);
}

/* ---- what it costs ---- */

static void test_a_hundred_bytes_a_task_whatever_their_number(void **state)
{
    struct fixture *f = *state;
    for (uint64_t n = 0; n < 300000; n++) {
        (void)add(f, n);
        if (n < 100000)
            continue;
        size_t bytes = f->table.n_segments * sizeof(struct segment) +
                       (f->table.slot_mask + 1) * sizeof *f->table.slots + f->table.count * sizeof(struct heap_item);
        assert_true(bytes <= 100 * f->table.count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_new_entry_is_cold_and_has_no_live_part, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_spec_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_live_part_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_spec_goes_with_the_live_part_and_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_spec_comes_and_goes_under_a_live_part, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bits_hold_every_value_and_touch_no_other, setup, teardown),
        cmocka_unit_test_setup_teardown(test_both_spans_fit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all_ties_fit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_last_change_of_a_batch_fits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_attempts_count_to_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_each_knows_its_place_in_every_segment, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_place_is_used_again_and_clean, setup, teardown),
        cmocka_unit_test_setup_teardown(test_coming_and_going_takes_no_more_room, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_hundred_bytes_a_task_whatever_their_number, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
