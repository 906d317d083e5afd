/* The scheduler alone: fair shares, priorities, limits, suspects.  Time is what the test says it is. */
#include "tests/unit/scheduler_fixture.h"

static void test_priority_then_order_within_a_tenant(void **state)
{
    struct fixture *f = *state;
    struct entry *low = queue(f, "a", 0, 1), *first = queue(f, "a", 0, 5), *second = queue(f, "a", 2, 5),
                 *high = queue(f, "a", 2, 9);
    struct entry *expected[] = {high, first, second, low};
    for (int i = 0; i < 4; i++) {
        struct entry *entry = scheduler_pick(&f->s);
        assert_ptr_equal(entry, expected[i]);
        (void)scheduler_start(&f->s, entry);
    }
    assert_null(scheduler_pick(&f->s));
}

static void test_a_withdrawn_claim_is_first_again(void **state)
{
    struct fixture *f = *state;
    struct entry *first = queue(f, "a", 0, 4);
    (void)queue(f, "a", 0, 4);
    int64_t expected = scheduler_start(&f->s, scheduler_pick(&f->s));
    scheduler_end(&f->s, first, expected, 0, false);
    scheduler_enqueue_first(&f->s, first);
    assert_ptr_equal(scheduler_pick(&f->s), first);
}

static void test_a_dequeued_task_is_not_picked(void **state)
{
    struct fixture *f = *state;
    struct entry *middle;
    (void)queue(f, "a", 0, 4);
    middle = queue(f, "a", 0, 4);
    struct entry *last = queue(f, "a", 0, 4);
    scheduler_dequeue(&f->s, middle);
    scheduler_detach(&f->s, middle);
    entries_remove(&f->entries, middle);
    run_one(f, 1000);
    assert_ptr_equal(scheduler_pick(&f->s), last);
}

/* Tenants that come, run one task and are gone, without end, always others waiting: they do not keep out for ever who is
 * ahead of them, and who stays gets a good part of its share. */
static void test_newcomers_keep_nobody_out(void **state)
{
    enum { WAITING = 3 };
    struct fixture *f = *state;
    static const int64_t lengths[] = {5000, 100000, 1000000000};
    char name[24];
    for (size_t l = 0; l < 3; l++) {
        int n_stays = 0, first = -1;
        (void)queue(f, "stays", 0, 4);
        (void)queue(f, "stays", 0, 4);
        run_one(f, 30 * lengths[l]); /* ahead of the others by this much */
        for (int i = -WAITING; i < 3000; i++) {
            struct entry *entry = scheduler_pick(&f->s);
            bool stays = strcmp(scheduler_lane(&f->s, entry)->tenant->name, "stays") == 0;
            (void)snprintf(name, sizeof name, stays && i >= 0 ? "stays" : "new%zu.%d", l, i);
            (void)queue(f, name, 0, 4);
            if (i < 0)
                continue;
            first = stays && first < 0 ? i : first;
            n_stays += stays;
            finish(f, entry, scheduler_start(&f->s, entry), lengths[l]);
        }
        assert_in_range(first, 0, 600);
        assert_in_range(n_stays, 3000 / (5 * WAITING), 3000 / 2);
        while (scheduler_pick(&f->s))
            run_one(f, lengths[l]);
    }
}

/* Everybody has work at all times; how much run time did each tenant get?  Lengths differ between tenants. */
static void test_shares_follow_the_weights(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"w1", "w2", "w4"};
    static const int64_t lengths[] = {9000000, 3000000, 20000000};
    double got[3] = {0}, total = 0;
    for (int i = 0; i < 3; i++)
        for (int n = 0; n < 20; n++)
            (void)queue(f, names[i], 0, 4);
    for (int n = 0; n < 30000; n++) {
        struct entry *entry = scheduler_pick(&f->s);
        const char *name = scheduler_lane(&f->s, entry)->tenant->name;
        int who = name[1] == '1' ? 0 : name[1] == '2' ? 1 : 2;
        int64_t length = lengths[who] + (n * 7919) % 1000000;
        finish(f, entry, scheduler_start(&f->s, entry), length);
        got[who] += (double)length;
        total += (double)length;
        (void)queue(f, names[who], 0, 4);
    }
    assert_true(got[0] / total > 1.0 / 7 * 0.95 && got[0] / total < 1.0 / 7 * 1.05);
    assert_true(got[1] / total > 2.0 / 7 * 0.95 && got[1] / total < 2.0 / 7 * 1.05);
    assert_true(got[2] / total > 4.0 / 7 * 0.95 && got[2] / total < 4.0 / 7 * 1.05);
}

static void test_a_newcomer_waits_for_one_task_at_most(void **state)
{
    struct fixture *f = *state;
    for (int n = 0; n < 10000; n++)
        (void)queue(f, "flood", 0, 9);
    for (int n = 0; n < 5000; n++)
        run_one(f, 10000000);
    struct entry *newcomer = queue(f, "new", 0, 0);
    struct entry *first = scheduler_pick(&f->s);
    if (first != newcomer) {
        (void)scheduler_start(&f->s, first);
        assert_ptr_equal(scheduler_pick(&f->s), newcomer);
    }
}

static void test_idle_time_is_no_credit(void **state)
{
    struct fixture *f = *state;
    struct entry *early = queue(f, "idler", 0, 4);
    finish(f, early, scheduler_start(&f->s, scheduler_pick(&f->s)), 1000000);
    (void)queue(f, "idler", 0, 4); /* keeps the tenant known, far behind in virtual time */
    struct entry *kept = scheduler_pick(&f->s);
    scheduler_dequeue(&f->s, kept);
    for (int n = 0; n < 300; n++)
        (void)queue(f, "busy", 0, 4);
    for (int n = 0; n < 100; n++)
        run_one(f, 1000000);
    scheduler_enqueue(&f->s, kept);
    for (int n = 0; n < 50; n++)
        (void)queue(f, "idler", 0, 4);
    int idler = 0;
    for (int n = 0; n < 20; n++) {
        struct entry *entry = scheduler_pick(&f->s);
        idler += scheduler_lane(&f->s, entry)->tenant->name[0] == 'i';
        run_one(f, 1000000);
    }
    assert_true(idler <= 12); /* half of the turns, not all of them */
}

static void test_a_type_at_its_limit_does_not_hold_up_others(void **state)
{
    struct fixture *f = *state;
    struct entry *one = queue(f, "a", 1, 9), *two = queue(f, "a", 1, 9), *three = queue(f, "a", 1, 9),
                 *other = queue(f, "a", 0, 0);
    int64_t expected = scheduler_start(&f->s, scheduler_pick(&f->s));
    (void)scheduler_start(&f->s, scheduler_pick(&f->s));
    assert_false(one->queued || two->queued);
    assert_ptr_equal(scheduler_pick(&f->s), other);
    (void)scheduler_start(&f->s, other);
    assert_null(scheduler_pick(&f->s));
    finish(f, one, expected, 5000);
    assert_ptr_equal(scheduler_pick(&f->s), three);
}

static void test_a_tenant_at_its_limit_waits_for_its_own(void **state)
{
    struct fixture *f = *state;
    struct entry *mine = queue(f, "narrow", 0, 4), *next = queue(f, "narrow", 0, 4);
    int64_t expected = scheduler_start(&f->s, scheduler_pick(&f->s));
    assert_null(scheduler_pick(&f->s));
    struct entry *other = queue(f, "b", 0, 4);
    assert_ptr_equal(scheduler_pick(&f->s), other);
    (void)scheduler_start(&f->s, other);
    finish(f, mine, expected, 1000);
    assert_ptr_equal(scheduler_pick(&f->s), next);
}

static void test_a_tenant_has_a_limit_per_type(void **state)
{
    struct fixture *f = *state;
    struct entry *running[4];
    int64_t expected[4];
    for (int i = 0; i < 4; i++) {
        (void)queue(f, "a", OWN, 9);
        (void)queue(f, "a", PLAIN, 1);
    }
    for (int i = 0; i < 4; i++) {
        running[i] = scheduler_pick(&f->s);
        expected[i] = scheduler_start(&f->s, running[i]);
        assert_int_equal(running[i]->priority, i < 2 ? 9 : 1); /* what is at its limit holds nothing else up */
    }
    (void)queue(f, "b", OWN, 4);
    assert_string_equal(scheduler_lane(&f->s, scheduler_pick(&f->s))->tenant->name, "b"); /* its limit is its own */
    run_one(f, 1000);
    finish(f, running[0], expected[0], 1000);
    assert_int_equal(scheduler_pick(&f->s)->priority, 9);
}

/* One end makes two tenants able to go on: the one whose own limit it was, and one that waits for the type. */
static void test_a_free_slot_serves_all_that_wait_for_it(void **state)
{
    struct fixture *f = *state;
    (void)queue(f, "narrow", SHARED, 4);
    struct entry *first = scheduler_pick(&f->s);
    int64_t expected = scheduler_start(&f->s, first);
    (void)queue(f, "b", SHARED, 4);
    struct entry *second = scheduler_pick(&f->s);
    (void)scheduler_start(&f->s, second);
    (void)queue(f, "narrow", 0, 4);
    (void)queue(f, "c", SHARED, 4);
    assert_null(scheduler_pick(&f->s)); /* narrow runs one, the type is full */
    finish(f, first, expected, 1000);
    struct entry *one = scheduler_pick(&f->s);
    assert_non_null(one);
    (void)scheduler_start(&f->s, one);
    struct entry *other = scheduler_pick(&f->s);
    assert_non_null(other);
    assert_ptr_not_equal(scheduler_lane(&f->s, one)->tenant, scheduler_lane(&f->s, other)->tenant);
}

static void test_suspects_run_one_at_a_time(void **state)
{
    struct fixture *f = *state;
    struct entry *bad = add(f, "a", 0, 4), *worse = add(f, "b", 0, 4);
    bad->lost = worse->lost = SUSPECT_LOST;
    scheduler_enqueue(&f->s, bad);
    scheduler_enqueue(&f->s, worse);
    struct entry *good = queue(f, "c", 0, 4);
    assert_ptr_equal(scheduler_pick(&f->s), bad);
    assert_true(scheduler_expected_ns(&f->s, bad) == INT64_MAX);
    int64_t expected = scheduler_start(&f->s, bad);
    assert_ptr_equal(scheduler_pick(&f->s), good);
    (void)scheduler_start(&f->s, good);
    assert_null(scheduler_pick(&f->s));
    finish(f, bad, expected, 1000);
    assert_ptr_equal(scheduler_pick(&f->s), worse);
}

static void test_expected_time_is_learned(void **state)
{
    struct fixture *f = *state;
    struct entry *probe = queue(f, "a", 0, 0);
    assert_true(scheduler_expected_ns(&f->s, probe) == INT64_MAX);
    struct entry *quick = queue(f, "a", 2, 0);
    assert_true(scheduler_expected_ns(&f->s, quick) < 100000);
    for (int n = 0; n < 50; n++) {
        (void)queue(f, "a", 0, 9);
        run_one(f, 4000000);
    }
    int64_t known = scheduler_expected_ns(&f->s, probe);
    assert_true(known > 3000000 && known < 5000000);
    (void)queue(f, "a", 0, 9);
    run_one(f, 900000000); /* suddenly slow: believed at once */
    assert_true(scheduler_expected_ns(&f->s, probe) > 500000000);
}

static void test_unknown_types_have_lanes_too(void **state)
{
    struct fixture *f = *state;
    struct entry *entry = queue(f, "a", -1, 4);
    assert_ptr_equal(scheduler_pick(&f->s), entry);
    assert_null(scheduler_lane(&f->s, entry)->type);
}

static void test_tenants_and_lanes_go_away(void **state)
{
    struct fixture *f = *state;
    for (int n = 0; n < 3000; n++) {
        char name[16];
        (void)snprintf(name, sizeof name, "tenant-%d", n);
        (void)queue(f, name, n % 3, n % 10);
    }
    assert_int_equal(f->s.n_tenants, 3000);
    for (int n = 0; n < 3000; n++)
        run_one(f, 1000);
    assert_int_equal(f->s.n_idle, 3000); /* their figures stay, while there is room */
    for (int n = 0; n < 6000; n++) {
        char name[16];
        (void)snprintf(name, sizeof name, "later-%d", n);
        (void)queue(f, name, 0, 4);
        run_one(f, 1000);
    }
    assert_int_equal(f->s.n_idle, 4096);
    assert_int_equal(f->s.n_tenants, 4096);
    assert_null(scheduler_tenant(&f->s, SLICE_LITERAL("tenant-0")));
    assert_int_equal(scheduler_tenant(&f->s, SLICE_LITERAL("later-5999"))->attempts, 1);
    assert_int_equal(f->entries.count, 0);
    assert_null(scheduler_pick(&f->s));
}

static void test_entries_survive_any_order(void **state)
{
    struct fixture *f = *state;
    enum { N = 20000 };
    struct task_id *ids = calloc(N, sizeof *ids);
    assert_non_null(ids);
    for (uint64_t n = 0; n < N; n++) {
        ids[n] = (struct task_id){n << 16 | 0x7000, n % 7};
        assert_non_null(entries_add(&f->entries, ids[n]));
    }
    for (uint64_t n = 0; n < N; n += 3)
        entries_remove(&f->entries, entries_find(&f->entries, ids[n]));
    for (uint64_t n = 0; n < N; n++) {
        struct entry *entry = entries_find(&f->entries, ids[n]);
        if (n % 3 == 0)
            assert_null(entry);
        else
            assert_true(entry && task_id_equal(entry->id, ids[n]) &&
                        entries_at(&f->entries, entry_index(entry)) == entry);
    }
    free(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_priority_then_order_within_a_tenant, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_withdrawn_claim_is_first_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_dequeued_task_is_not_picked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_newcomers_keep_nobody_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shares_follow_the_weights, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_newcomer_waits_for_one_task_at_most, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idle_time_is_no_credit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_type_at_its_limit_does_not_hold_up_others, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_tenant_at_its_limit_waits_for_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_tenant_has_a_limit_per_type, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_free_slot_serves_all_that_wait_for_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_suspects_run_one_at_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_expected_time_is_learned, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_types_have_lanes_too, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tenants_and_lanes_go_away, setup, teardown),
        cmocka_unit_test_setup_teardown(test_entries_survive_any_order, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
