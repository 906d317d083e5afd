/* The wall clock is set while tasks wait and run: what was given as a span takes as long as it did, a date comes when
 * the clock says so.  The clock is this program's own: clock_gettime is defined here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine_fixture.h"

#define HOUR_S INT64_C(3600)
#define HOUR_US (HOUR_S * 1000000)
#define SHORT_NS INT64_C(300000000)

static atomic_llong set_by_s;

int clock_gettime(clockid_t clock, struct timespec *ret)
{
    long result = syscall(SYS_clock_gettime, clock, ret);
    if (clock == CLOCK_REALTIME)
        ret->tv_sec += atomic_load(&set_by_s);
    return (int)result;
}

static void set_clock(int64_t by_s)
{
    atomic_fetch_add(&set_by_s, by_s);
}

static struct task_spec *after_a_delay(int64_t delay_us)
{
    struct task_spec *spec = make_spec("a", "work");
    spec->run_at_us = spec->created_us + delay_us;
    spec->run_at_is_span = true;
    return spec;
}

static void expect_attempt(struct task_id id, int64_t within_ns)
{
    struct attempt *attempt = take(within_ns);
    assert_non_null(attempt);
    assert_true(task_id_equal(attempt->spec->id, id));
    report(attempt, ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(id, TASK_SUCCEEDED), TASK_SUCCEEDED);
}

/* Lets the engine look at the clock. */
static void look(struct task_id id)
{
    (void)ask(ENGINE_WAIT, id, "a", 0, NULL);
}

static void a_delay_outlasts_no_clock(void **state)
{
    (void)state;
    struct task_id soon = submit(after_a_delay(400000)), late = submit(after_a_delay(HOUR_US / 2));
    set_clock(-HOUR_S);
    expect_attempt(soon, LIMIT_NS / 2); /* and not an hour later */
    set_clock(2 * HOUR_S);
    look(late);
    assert_null(take(SHORT_NS)); /* and not at once */
    assert_int_equal(ask(ENGINE_CANCEL, late, "a", 0, NULL), ENGINE_OK);
    set_clock(-HOUR_S);
}

static void a_date_comes_with_the_clock(void **state)
{
    (void)state;
    struct task_spec *spec = make_spec("a", "work");
    spec->run_at_us = clock_wall_us() + HOUR_US;
    struct task_id id = submit(spec);
    look(id);
    set_clock(HOUR_S + 1);
    expect_attempt(id, LIMIT_NS / 2);
    set_clock(-HOUR_S - 1);
}

static void a_backoff_goes_on(void **state)
{
    (void)state;
    struct task_spec *spec = make_spec("a", "work");
    spec->max_attempts = 2;
    spec->backoff = (struct backoff){BACKOFF_FIXED, false, 300000, 300000};
    struct task_id id = submit(spec);
    struct attempt *attempt = take(LIMIT_NS);
    assert_non_null(attempt);
    report(attempt, ATTEMPT_FAILED);
    assert_int_equal(settled(id, TASK_SCHEDULED), TASK_SCHEDULED);
    set_clock(-HOUR_S);
    expect_attempt(id, LIMIT_NS / 2);
    set_clock(HOUR_S);
}

/* Neither the span of one that waits for a worker, nor that of one whose time has not come. */
static void what_expires_after_a_time(void **state)
{
    (void)state;
    struct task_spec *spec = after_a_delay(2 * HOUR_US);
    spec->expires_us = spec->created_us + HOUR_US;
    struct task_id waits = submit(spec);
    spec = after_a_delay(2 * HOUR_US);
    spec->expires_us = spec->created_us + HOUR_US;
    spec->deadline_us = spec->created_us + HOUR_US / 2; /* a date, which comes first */
    struct task_id dated = submit(spec);
    spec = after_a_delay(HOUR_US);
    spec->expires_us = spec->created_us + 300000;
    struct task_id brief = submit(spec);
    set_clock(2 * HOUR_S);
    assert_int_equal(settled(dated, TASK_EXPIRED), TASK_EXPIRED);
    set_clock(-4 * HOUR_S);
    assert_int_equal(settled(brief, TASK_EXPIRED), TASK_EXPIRED);
    assert_int_equal(settled(waits, TASK_SCHEDULED), TASK_SCHEDULED);
    assert_int_equal(ask(ENGINE_CANCEL, waits, "a", 0, NULL), ENGINE_OK);
    set_clock(2 * HOUR_S);
}

static bool is_fired(struct attempt *attempt, int64_t within_ns)
{
    int64_t until = clock_mono_ns() + within_ns;
    const struct timespec pause = {.tv_nsec = 1000000};
    while (!satchel_cancel_reason(attempt->cancel) && clock_mono_ns() < until)
        (void)nanosleep(&pause, NULL);
    return satchel_cancel_reason(attempt->cancel) != 0;
}

static void limits_of_what_runs(void **state)
{
    (void)state;
    struct task_spec *spec = make_spec("a", "work");
    spec->timeout_us = HOUR_US;
    spec->deadline_us = spec->created_us + 3 * HOUR_US;
    struct task_id id = submit(spec);
    struct attempt *attempt = take(LIMIT_NS);
    assert_non_null(attempt);
    set_clock(2 * HOUR_S);
    look(id);
    assert_false(is_fired(attempt, SHORT_NS)); /* the time limit is a span */
    set_clock(HOUR_S + 1);
    look(id);
    assert_true(is_fired(attempt, LIMIT_NS)); /* the deadline is a date */
    assert_int_equal(satchel_cancel_reason(attempt->cancel), CANCEL_DEADLINE);
    report(attempt, ATTEMPT_FAILED);
    assert_int_equal(settled(id, TASK_EXPIRED), TASK_EXPIRED);
    set_clock(-3 * HOUR_S - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_delay_outlasts_no_clock, setup, teardown),
        cmocka_unit_test_setup_teardown(a_date_comes_with_the_clock, setup, teardown),
        cmocka_unit_test_setup_teardown(a_backoff_goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(what_expires_after_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(limits_of_what_runs, setup, teardown),
    };
    return cmocka_run_group_tests_name("clocks that are set", tests, NULL, NULL);
}
