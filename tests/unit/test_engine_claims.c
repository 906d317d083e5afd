/* Claims that only a mark tells of, not the task's row: when there are such, what others see of them, and what a crash
 * makes of them.  And how tasks that are not in memory come there. */
#include "engine_fixture.h"

#include <string.h>
#include <unistd.h>

#include "engine/internal.h"

#define NEVER_NS INT64_C(1000000000000000) /* longer than any test: the row stays behind until the attempt has ended */
#define AT_ONCE_NS INT64_C(1)

static char folder[] = "/tmp/satchel-claims-XXXXXX";
static char marks[64], copy[64];

static void restart(int64_t unwritten_ns)
{
    if (engine)
        stop();
    engine_test_options.started_path = marks;
    engine_test_unwritten_ns = unwritten_ns;
    start();
}

static int setup_marks(void **state)
{
    (void)setup(state);
    (void)unlink(marks);
    (void)unlink(copy);
    restart(NEVER_NS);
    return 0;
}

/* So often that it is known how short such tasks are. */
static void run_some(void)
{
    for (int i = 0; i < 20; i++) {
        struct task_id id = submit(make_spec("a", "one"));
        struct attempt *attempt = take(LIMIT_NS);
        assert_non_null(attempt);
        set_mark(attempt);
        report(attempt, ATTEMPT_SUCCEEDED);
        assert_int_equal(settled(id, TASK_SUCCEEDED), TASK_SUCCEEDED);
    }
}

static struct task_spec *repeatable(void)
{
    struct task_spec *spec = make_spec("a", "one");
    spec->max_lost = 3;
    spec->max_attempts = 3;
    return spec;
}

/* "one" runs one at a time: the second task is written as queued, and claimed when the first one has ended. */
static struct attempt *second_of(struct task_spec *spec)
{
    struct task_id first = submit(make_spec("a", "one")), second = submit(spec);
    struct attempt *attempt = take(LIMIT_NS);
    assert_true(task_id_equal(attempt->spec->id, first));
    assert_int_equal(settled(second, TASK_QUEUED), TASK_QUEUED);
    set_mark(attempt);
    report(attempt, ATTEMPT_SUCCEEDED);
    attempt = take(LIMIT_NS);
    assert_non_null(attempt);
    assert_true(task_id_equal(attempt->spec->id, second));
    assert_int_equal(attempt->number, 1);
    return attempt;
}

static struct task_status row_status(struct task_id id)
{
    (void)pthread_mutex_lock(&the_store->lock);
    struct task_status status = row_of(id)->status;
    (void)pthread_mutex_unlock(&the_store->lock);
    return status;
}

/* Once what was asked before is answered, and with it the turn that came before. */
static enum task_state shown(struct task_id id, unsigned *ret_attempt)
{
    struct task_record record = {0};
    assert_int_equal(ask(ENGINE_WAIT, id, "a", 0, &record), ENGINE_OK);
    enum task_state state = record.status.state;
    *ret_attempt = record.status.attempt;
    task_record_release(&record);
    return state;
}

/* ---- when ---- */

static void test_a_short_tasks_claim_is_in_no_row(void **state)
{
    (void)state;
    run_some();
    uint64_t before = the_store->writes;
    struct attempt *attempt = second_of(repeatable());
    struct task_id id = attempt->spec->id;
    unsigned number;
    assert_int_equal(shown(id, &number), TASK_RUNNING);
    assert_int_equal(number, 1);
    assert_int_equal(row_status(id).state, TASK_QUEUED);
    assert_int_equal(row_status(id).attempt, 0);
    set_mark(attempt);
    report(attempt, ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(id, TASK_SUCCEEDED), TASK_SUCCEEDED);
    assert_int_equal(row_status(id).attempt, 1);
    assert_true(row_status(id).started_us > 0);
    assert_int_equal(the_store->writes - before, 4); /* two submitted, one of them claimed by that; two ended */
}

static void test_one_that_lasts_gets_into_its_row(void **state)
{
    (void)state;
    restart(AT_ONCE_NS);
    run_some();
    struct attempt *attempt = second_of(repeatable());
    struct task_id id = attempt->spec->id;
    assert_int_equal(settled(id, TASK_RUNNING), TASK_RUNNING);
    assert_int_equal(row_status(id).attempt, 1);
    set_mark(attempt);
    report(attempt, ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(id, TASK_SUCCEEDED), TASK_SUCCEEDED);
}

static void expect_written(struct attempt *attempt)
{
    assert_int_equal(row_status(attempt->spec->id).state, TASK_RUNNING);
    assert_int_equal(row_status(attempt->spec->id).attempt, 1);
    set_mark(attempt);
    report(attempt, ATTEMPT_SUCCEEDED);
}

static void test_what_must_not_start_twice_is_written_first(void **state)
{
    (void)state;
    run_some();
    struct task_spec *spec = repeatable();
    spec->max_lost = 0;
    expect_written(second_of(spec));
}

static void test_a_key_that_is_free_at_the_start_is_written_first(void **state)
{
    (void)state;
    run_some();
    struct task_spec *spec = make_tied("a", &(struct ties){.unique_key = "k", .type = "one"});
    spec->unique_until_started = true;
    expect_written(second_of(spec));
}

static void test_what_may_last_is_written_first(void **state)
{
    (void)state;
    expect_written(second_of(repeatable())); /* nothing is known of its type */
}

static void test_without_marks_all_are_written_first(void **state)
{
    (void)state;
    stop();
    engine_test_options.started_path = NULL;
    start();
    run_some();
    expect_written(second_of(repeatable()));
}

static void test_who_watches_sees_it_in_the_row(void **state)
{
    (void)state;
    run_some();
    struct task_id first = submit(make_spec("a", "one")), second = submit(repeatable());
    struct attempt *attempt = take(LIMIT_NS);
    assert_true(task_id_equal(attempt->spec->id, first));
    struct test_call watch;
    call_init(&watch, ENGINE_WATCH);
    watch.call.id = second;
    watch.call.wait_until_ns = clock_mono_ns() + LIMIT_NS;
    post(&watch);
    assert_int_equal(finish(&watch), ENGINE_OK);
    assert_int_equal(watch.call.seen.state, TASK_QUEUED);
    struct engine_seen seen = watch.call.seen;
    call_init(&watch, ENGINE_WATCH);
    watch.call.id = second;
    watch.call.seen = seen;
    watch.call.wait_until_ns = clock_mono_ns() + LIMIT_NS;
    post(&watch);
    unsigned number;
    (void)shown(second, &number); /* it watches now */
    set_mark(attempt);
    report(attempt, ATTEMPT_SUCCEEDED);
    attempt = take(LIMIT_NS);
    assert_int_equal(finish(&watch), ENGINE_OK);
    assert_int_equal(watch.call.seen.state, TASK_RUNNING);
    expect_written(attempt);
}

static void test_nothing_starts_that_the_store_would_refuse(void **state)
{
    (void)state;
    engine_test_pause_ns = 300000;
    restart(NEVER_NS);
    run_some();
    struct task_id first = submit(make_spec("a", "one")), second = submit(repeatable());
    struct attempt *attempt = take(LIMIT_NS);
    assert_true(task_id_equal(attempt->spec->id, first));
    (void)pthread_mutex_lock(&the_store->lock);
    the_store->refuse = STORE_FULL;
    (void)pthread_mutex_unlock(&the_store->lock);
    set_mark(attempt);
    report(attempt, ATTEMPT_SUCCEEDED); /* cannot be written: claims rest */
    attempt = take(50000000);
    if (attempt) { /* claimed in the turn that took the report, before it was refused: that is the last one */
        assert_true(task_id_equal(attempt->spec->id, second));
        set_mark(attempt);
        report(attempt, ATTEMPT_SUCCEEDED);
    }
    struct test_call refused;
    call_init(&refused, ENGINE_SUBMIT);
    (void)submit_spec(repeatable(), &refused);
    assert_int_equal(finish(&refused), ENGINE_STORE_FULL);
    assert_null(take(20000000));
    (void)pthread_mutex_lock(&the_store->lock);
    the_store->refuse = STORE_OK;
    (void)pthread_mutex_unlock(&the_store->lock);
    if (!attempt) {
        attempt = take(LIMIT_NS);
        assert_true(task_id_equal(attempt->spec->id, second));
        set_mark(attempt);
        report(attempt, ATTEMPT_SUCCEEDED);
    }
    assert_int_equal(settled(first, TASK_SUCCEEDED), TASK_SUCCEEDED);
    assert_int_equal(settled(second, TASK_SUCCEEDED), TASK_SUCCEEDED);
}

/* The end and the same submission once more are taken in one turn: the end is in no row yet, and told to nobody. */
static void test_an_end_is_not_told_before_it_is_written(void **state)
{
    (void)state;
    struct test_call first, again, other;
    run_some();
    call_init(&first, ENGINE_SUBMIT);
    call_init(&again, ENGINE_SUBMIT);
    call_init(&other, ENGINE_SUBMIT);
    first.call.has_key = again.call.has_key = true;
    memset(first.call.key, 7, STORE_KEY_SIZE);
    memset(again.call.key, 7, STORE_KEY_SIZE);
    struct task_id ahead = submit(make_spec("a", "one")), id = submit_spec(make_spec("a", "one"), &first);
    assert_int_equal(finish(&first), ENGINE_OK);
    task_record_release(&first.call.record);
    struct attempt *attempt = take(LIMIT_NS);
    assert_true(task_id_equal(attempt->spec->id, ahead));
    set_mark(attempt);
    report(attempt, ATTEMPT_SUCCEEDED);
    attempt = take(LIMIT_NS);
    assert_true(task_id_equal(attempt->spec->id, id));
    assert_int_equal(row_status(id).state, TASK_QUEUED);
    (void)pthread_mutex_lock(&the_store->lock); /* the commit of this one waits, and the next turn has all the rest */
    (void)submit_spec(make_spec("b", "work"), &other);
    (void)nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    report(attempt, ATTEMPT_SUCCEEDED);
    (void)submit_spec(make_spec("a", "one"), &again);
    (void)pthread_mutex_unlock(&the_store->lock);
    assert_int_equal(finish(&again), ENGINE_REPLAYED);
    const struct task_record *record = &again.call.record;
    if (record->status.state == TASK_SUCCEEDED)
        assert_true(record->outcome && record->outcome->result && record->status.finished_us);
    else
        assert_true(record->status.state == TASK_RUNNING && record->status.attempt == 1 && !record->status.finished_us);
    task_record_release(&again.call.record);
    assert_int_equal(finish(&other), ENGINE_OK);
    task_record_release(&other.call.record);
    attempt = take(LIMIT_NS);
    set_mark(attempt);
    report(attempt, ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(id, TASK_SUCCEEDED), TASK_SUCCEEDED);
}

/* ---- what happens to it ---- */

static void test_it_is_canceled_while_it_runs(void **state)
{
    (void)state;
    run_some();
    struct attempt *attempt = second_of(repeatable());
    struct task_id id = attempt->spec->id;
    set_mark(attempt);
    assert_int_equal(ask(ENGINE_CANCEL, id, "a", 0, NULL), ENGINE_OK);
    assert_int_equal(settled(id, TASK_RUNNING), TASK_RUNNING);
    assert_true(row_status(id).cancel_requested);
    report(attempt, ATTEMPT_FAILED);
    assert_int_equal(settled(id, TASK_CANCELED), TASK_CANCELED);
}

static void test_it_fails_and_is_repeated(void **state)
{
    (void)state;
    run_some();
    struct attempt *attempt = second_of(repeatable());
    struct task_id id = attempt->spec->id;
    set_mark(attempt);
    report(attempt, ATTEMPT_FAILED);
    attempt = take(LIMIT_NS);
    assert_non_null(attempt);
    assert_int_equal(attempt->number, 2);
    assert_int_equal(attempt->failures, 1);
    set_mark(attempt);
    report(attempt, ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(id, TASK_SUCCEEDED), TASK_SUCCEEDED);
    assert_int_equal(row_status(id).attempt, 2);
}

static void test_a_worker_gives_it_back(void **state)
{
    (void)state;
    run_some();
    struct attempt *attempt = second_of(repeatable());
    struct task_id id = attempt->spec->id;
    engine_drain(engine);
    give_back(attempt);
    stop();
    assert_int_equal(row_status(id).state, TASK_QUEUED);
    assert_int_equal(row_status(id).attempt, 0);
    assert_int_equal(row_status(id).lost, 0);
}

/* ---- a crash ---- */

static void copy_marks(void)
{
    static char bytes[1 << 20];
    FILE *from = fopen(marks, "rb"), *to = fopen(copy, "wb");
    assert_non_null(from);
    assert_non_null(to);
    size_t n = fread(bytes, 1, sizeof bytes, from);
    assert_int_equal(fwrite(bytes, 1, n, to), n);
    assert_int_equal(fclose(from), 0);
    assert_int_equal(fclose(to), 0);
}

/* The next engine finds row and marks as they were when the process was killed. */
static struct attempt *after_a_kill(struct attempt *attempt)
{
    struct task_id id = attempt->spec->id;
    struct task_status status = row_status(id);
    copy_marks();
    report(attempt, ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(id, TASK_SUCCEEDED), TASK_SUCCEEDED);
    stop();
    row_of(id)->status = status;
    assert_int_equal(rename(copy, marks), 0);
    start();
    attempt = take(LIMIT_NS);
    assert_non_null(attempt);
    assert_true(task_id_equal(attempt->spec->id, id));
    return attempt;
}

static void test_a_crash_counts_what_its_mark_tells_of(void **state)
{
    (void)state;
    run_some();
    struct attempt *attempt = second_of(repeatable());
    set_mark(attempt);
    assert_int_equal(row_status(attempt->spec->id).state, TASK_QUEUED);
    attempt = after_a_kill(attempt);
    assert_int_equal(attempt->number, 2);
    assert_int_equal(attempt->previous_lost, 1);
    assert_int_equal(row_status(attempt->spec->id).lost, 1);
    report(attempt, ATTEMPT_SUCCEEDED);
}

/* Its end is in no row, because the store took none to the last: that it had begun must not be forgotten. */
static void test_a_stop_that_cannot_write_an_end_keeps_its_mark(void **state)
{
    (void)state;
    struct task_spec *spec = make_spec("a", "work");
    spec->max_lost = 3;
    struct task_id id = submit(spec);
    struct attempt *attempt = take(LIMIT_NS);
    set_mark(attempt);
    engine->grace_ns = 100000000; /* nobody else reads it before the stop */
    (void)pthread_mutex_lock(&the_store->lock);
    the_store->refuse = STORE_FULL;
    (void)pthread_mutex_unlock(&the_store->lock);
    report(attempt, ATTEMPT_LOST);
    stop();
    assert_int_equal(row_of(id)->status.state, TASK_RUNNING);
    the_store->refuse = STORE_OK;
    restart(NEVER_NS);
    attempt = take(LIMIT_NS);
    assert_non_null(attempt);
    assert_int_equal(attempt->number, 2);
    assert_int_equal(row_status(id).lost, 1);
    set_mark(attempt);
    report(attempt, ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(id, TASK_SUCCEEDED), TASK_SUCCEEDED);
}

static void test_a_crash_forgets_what_had_not_started(void **state)
{
    (void)state;
    run_some();
    struct attempt *attempt = after_a_kill(second_of(repeatable()));
    assert_int_equal(attempt->number, 1);
    assert_int_equal(attempt->previous_lost, 0);
    report(attempt, ATTEMPT_SUCCEEDED);
}

/* What was cut off once is written first from then on: a task that ends the process comes to its end. */
static void test_a_task_that_was_cut_off_is_written_first(void **state)
{
    (void)state;
    run_some();
    struct attempt *attempt = second_of(repeatable());
    set_mark(attempt);
    attempt = after_a_kill(attempt);
    assert_int_equal(row_status(attempt->spec->id).state, TASK_RUNNING);
    assert_int_equal(row_status(attempt->spec->id).attempt, 2);
    report(attempt, ATTEMPT_SUCCEEDED);
}

/* ---- what is not in memory ---- */

static void test_tasks_behind_a_cold_one_are_loaded_with_it(void **state)
{
    (void)state;
    enum { TASKS = 150 };
    stop();
    engine_test_options.hot_bytes = 0;
    engine_test_options.max_waiting = engine_test_options.max_waiting_per_tenant = 2 * TASKS;
    start();
    run_some();
    struct task_id ids[TASKS];
    for (unsigned i = 0; i < TASKS; i++)
        ids[i] = submit(make_spec("a", "one"));
    unsigned before = the_store->loads;
    for (unsigned i = 0; i < TASKS; i++) {
        struct attempt *attempt = take(LIMIT_NS);
        assert_non_null(attempt);
        assert_true(task_id_equal(attempt->spec->id, ids[i])); /* in their order */
        report(attempt, ATTEMPT_SUCCEEDED);
    }
    assert_int_equal(settled(ids[TASKS - 1], TASK_SUCCEEDED), TASK_SUCCEEDED);
    assert_in_range(the_store->loads - before, 1, 6);
}

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    (void)snprintf(marks, sizeof marks, "%s/started", folder);
    (void)snprintf(copy, sizeof copy, "%s/copy", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    (void)unlink(marks);
    (void)unlink(copy);
    return rmdir(folder);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_marks, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_short_tasks_claim_is_in_no_row),
        TEST(test_one_that_lasts_gets_into_its_row),
        TEST(test_what_must_not_start_twice_is_written_first),
        TEST(test_a_key_that_is_free_at_the_start_is_written_first),
        TEST(test_what_may_last_is_written_first),
        TEST(test_without_marks_all_are_written_first),
        TEST(test_who_watches_sees_it_in_the_row),
        TEST(test_nothing_starts_that_the_store_would_refuse),
        TEST(test_an_end_is_not_told_before_it_is_written),
        TEST(test_it_is_canceled_while_it_runs),
        TEST(test_it_fails_and_is_repeated),
        TEST(test_a_worker_gives_it_back),
        TEST(test_a_crash_counts_what_its_mark_tells_of),
        TEST(test_a_stop_that_cannot_write_an_end_keeps_its_mark),
        TEST(test_a_crash_forgets_what_had_not_started),
        TEST(test_a_task_that_was_cut_off_is_written_first),
        TEST(test_tasks_behind_a_cold_one_are_loaded_with_it),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
