/* What a tenant may have, asked at times that the test makes up; and the sizes that eight bits keep. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/internal.h"

#define SECOND INT64_C(1000000000)

const struct task_type *registry_at(const struct registry *registry, size_t index)
{
    (void)registry, (void)index;
    return NULL;
}

const struct task_type *registry_find(const struct registry *registry, struct slice name)
{
    (void)registry, (void)name;
    return NULL;
}

static struct tenant_limits limits;
static struct engine *e;
static struct entry *entry;

static void tell_limits(void *arg, struct slice tenant, struct tenant_limits *ret)
{
    (void)arg, (void)tenant;
    *ret = limits;
}

/* An engine that knows one task of one tenant, and nothing else. */
static void begin(struct tenant_limits with)
{
    limits = with;
    limits.weight = 1;
    e = calloc(1, sizeof *e);
    assert_non_null(e);
    assert_int_equal(entries_init(&e->entries), 0);
    assert_int_equal(scheduler_init(&e->scheduler, &e->entries, NULL), 0);
    e->scheduler.limits = tell_limits;
    e->now_ns = 1000 * SECOND;
    entry = entries_add(&e->entries, (struct task_id){1, 2});
    assert_non_null(entry);
    assert_int_equal(scheduler_attach(&e->scheduler, entry, slice_str("t"), slice_str("x"), NULL), 0);
}

static void end(void)
{
    scheduler_detach(&e->scheduler, entry);
    entries_remove(&e->entries, entry);
    scheduler_release(&e->scheduler);
    entries_release(&e->entries);
    free(e);
}

static enum engine_result ask_once(struct engine_call *ret)
{
    *ret = (struct engine_call){.kind = ENGINE_SUBMIT};
    return admission_ask(e, ret, entry);
}

/* How many of many come through at this moment. */
static unsigned ask_many(unsigned n)
{
    unsigned taken = 0;
    struct engine_call call;
    while (n--)
        taken += ask_once(&call) == ENGINE_OK;
    return taken;
}

static void test_a_burst_and_then_the_rate(void **state)
{
    (void)state;
    begin((struct tenant_limits){.rate = 10, .burst = 25});
    assert_int_equal(ask_many(1000), 25);
    e->now_ns += SECOND;
    assert_int_equal(ask_many(1000), 10);
    e->now_ns += SECOND / 20; /* half of one */
    assert_int_equal(ask_many(1000), 0);
    e->now_ns += SECOND / 20;
    assert_int_equal(ask_many(1000), 1);
    e->now_ns += 3600 * SECOND; /* no more is saved up than a burst */
    assert_int_equal(ask_many(1000), 25);
    end();
}

static void test_any_window_holds_the_rate(void **state)
{
    (void)state;
    static const double rates[] = {0.5, 1, 3, 7, 333, 49999.5};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        begin((struct tenant_limits){.rate = rates[i]});
        double burst = rates[i] > 1 ? rates[i] : 1, expected = burst + rates[i] * 10;
        unsigned taken = 0;
        for (int step = 0; step < 1000; step++) { /* ten seconds in steps of a hundredth */
            taken += ask_many((unsigned)(rates[i] / 50) + 2);
            e->now_ns += SECOND / 100;
        }
        if (taken > expected + 1 || taken < expected - rates[i] / 50 - 2)
            fail_msg("rate %g: %u, not about %g", rates[i], taken, expected);
        end();
    }
}

static void test_what_is_told(void **state)
{
    (void)state;
    struct engine_call call;
    begin((struct tenant_limits){.rate = 2, .burst = 4});
    for (uint32_t left = 4; left-- > 0;) {
        assert_int_equal(ask_once(&call), ENGINE_OK);
        assert_int_equal(call.rate.limit, 4);
        assert_int_equal(call.rate.window_s, 2);
        assert_int_equal(call.rate.left, left);
    }
    assert_int_equal(ask_once(&call), ENGINE_QUOTA);
    assert_int_equal(call.fault, QUOTA_RATE);
    assert_int_equal(call.rate.retry_s, 1);
    assert_int_equal(call.rate.reset_s, 2);
    e->now_ns += SECOND; /* whoever waits as long as it was told to is taken */
    assert_int_equal(ask_once(&call), ENGINE_OK);
    end();
}

static void test_without_a_rate_nothing_is_told(void **state)
{
    (void)state;
    struct engine_call call;
    begin((struct tenant_limits){0});
    assert_int_equal(ask_many(100000), 100000);
    assert_int_equal(ask_once(&call), ENGINE_OK);
    assert_int_equal(call.rate.limit, 0);
    end();
}

static void test_what_is_full_takes_nothing_from_the_rate(void **state)
{
    (void)state;
    struct engine_call call;
    begin((struct tenant_limits){.rate = 1, .burst = 1, .max_waiting = 1});
    struct tenant *tenant = scheduler_lane(&e->scheduler, entry)->tenant;
    tenant->waiting = 1;
    assert_int_equal(ask_once(&call), ENGINE_QUOTA);
    assert_int_equal(call.fault, QUOTA_TASKS);
    tenant->waiting = 0;
    assert_int_equal(ask_once(&call), ENGINE_OK);
    tenant->waiting = 0;
    end();
}

static void test_bytes(void **state)
{
    (void)state;
    struct engine_call call;
    begin((struct tenant_limits){.max_waiting_bytes = 1000});
    struct tenant *tenant = scheduler_lane(&e->scheduler, entry)->tenant;
    entry->size = admission_code(600);
    assert_int_equal(ask_once(&call), ENGINE_OK);
    tenant->waiting_bytes = 600;
    assert_int_equal(ask_once(&call), ENGINE_QUOTA);
    assert_int_equal(call.fault, QUOTA_BYTES);
    entry->size = admission_code(100);
    assert_int_equal(ask_once(&call), ENGINE_OK);
    tenant->waiting_bytes = 0;
    entry->size = admission_code(2000);
    assert_int_equal(ask_once(&call), ENGINE_QUOTA); /* alone, too */
    end();
}

static void test_sizes_in_eight_bits(void **state)
{
    (void)state;
    uint64_t before = 0;
    for (size_t size = 0; size < 3u << 30; size += size < 5000 ? 1 : size / 777) {
        uint64_t kept = admission_bytes(admission_code(size));
        if (kept < size || kept > size + size / 8 + 1 || kept < before)
            fail_msg("%zu is kept as %llu", size, (unsigned long long)kept);
        before = kept;
    }
    assert_int_equal(admission_code(SIZE_MAX), 0xff);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_burst_and_then_the_rate),
        cmocka_unit_test(test_any_window_holds_the_rate),
        cmocka_unit_test(test_what_is_told),
        cmocka_unit_test(test_without_a_rate_nothing_is_told),
        cmocka_unit_test(test_what_is_full_takes_nothing_from_the_rate),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_sizes_in_eight_bits),
    };
    return cmocka_run_group_tests_name("admission", tests, NULL, NULL);
}
