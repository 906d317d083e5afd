/* The engine when things go wrong: a store that refuses batches at random, reads that fail, rows that others change,
 * stops in the middle.  Whatever happens: every call is answered once, what was accepted ends once, what was refused
 * is not there, and all of the engine's counts return to nothing. */
#include "engine_fixture.h"

#include <unistd.h>

#include "engine/internal.h"

#define ROUND_NS INT64_C(20000000000)

/* ---- a crowd of calls ---- */

#define CALLS 3000

struct crowd_call {
    struct engine_call call; /* first: what is delivered */
    atomic_int deliveries;
    enum engine_result result;
    enum task_state state; /* of the record that came with it */
    bool had_record;
    struct task_id id; /* what it was about */
};

static struct crowd_call crowd[CALLS];
static unsigned n_crowd;
static atomic_uint n_delivered;
static const char *_Atomic wrong; /* what the engine's thread saw: only the test's own may fail it */
static uint64_t dice;

static unsigned below(unsigned n)
{
    dice = dice * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(dice >> 33) % n;
}

static void on_crowd(struct engine_call *call)
{
    struct crowd_call *c = (struct crowd_call *)call;
    c->result = call->result;
    c->had_record = call->record.spec != NULL;
    c->state = call->record.status.state;
    if (c->had_record && call->result != ENGINE_REPLAYED && !task_id_equal(call->record.spec->id, c->id))
        atomic_store(&wrong, "an answer holds another task");
    if (c->had_record && task_state_final(c->state) && call->record.status.finished_us < call->record.status.started_us)
        atomic_store(&wrong, "a task finished before it started");
    if (call->spec)
        atomic_store(&wrong, "an answered call still holds its submission");
    task_record_release(&call->record);
    (void)atomic_fetch_add(&c->deliveries, 1);
    (void)atomic_fetch_add(&n_delivered, 1);
}

static struct task_spec *random_spec(void)
{
    static const char *const tenants[] = {"a", "b", "c", "d"};
    struct task_spec *spec = make_spec(tenants[below(4)], below(4) ? "work" : "one");
    spec->priority = (uint8_t)below(10);
    spec->max_attempts = (uint16_t)(1 + below(4));
    spec->max_lost = (uint16_t)below(4);
    spec->backoff = (struct backoff){.type = BACKOFF_FIXED, .base_us = below(2000)};
    if (below(4) == 0)
        spec->run_at_us = spec->created_us + below(5000);
    if (below(6) == 0)
        spec->expires_us = spec->created_us + below(5000);
    if (below(8) == 0)
        spec->deadline_us = spec->created_us + below(8000);
    if (below(8) == 0)
        spec->timeout_us = 1 + below(3000);
    return spec;
}

static struct task_id some_id(void)
{
    return n_crowd ? crowd[below(n_crowd)].id : (struct task_id){0, 0};
}

static void say_something(void)
{
    struct crowd_call *c = &crowd[n_crowd];
    *c = (struct crowd_call){.call = {.deliver = on_crowd}};
    unsigned what = below(20);
    if (what < 11) {
        c->call.kind = ENGINE_SUBMIT;
        c->call.spec = random_spec();
        c->id = c->call.spec->id;
        if (below(5) == 0) {
            c->call.has_key = true;
            memset(c->call.key, (int)below(20), STORE_KEY_SIZE);
        }
    } else {
        static const enum engine_call_kind kinds[] = {ENGINE_WAIT,   ENGINE_WAIT,  ENGINE_CANCEL, ENGINE_CANCEL,
                                                      ENGINE_CANCEL, ENGINE_RETRY, ENGINE_RETRY,  ENGINE_DELETE};
        c->call.kind = kinds[below(8)];
        c->call.id = c->id = some_id();
    }
    if (below(3) == 0)
        c->call.wait_until_ns = clock_mono_ns() + below(20000000);
    n_crowd++;
    assert_true(engine_post(engine, &c->call));
}

/* ---- the work that goes on meanwhile ---- */

static struct attempt *in_hand[4096];
static unsigned n_in_hand;

static void end_one(unsigned at)
{
    struct attempt *attempt = in_hand[at];
    in_hand[at] = in_hand[--n_in_hand];
    unsigned how = below(10);
    report(attempt, how < 6   ? ATTEMPT_SUCCEEDED
                    : how < 8 ? ATTEMPT_FAILED
                    : how < 9 ? ATTEMPT_LOST
                              : ATTEMPT_FAILED_FINAL);
}

static void work_a_little(void)
{
    struct attempt *attempt;
    while (n_in_hand < 4096 && (attempt = take(0)) != NULL) {
        set_mark(attempt);
        in_hand[n_in_hand++] = attempt;
    }
    while (n_in_hand && below(3))
        end_one(below(n_in_hand));
}

static void let_others_change_a_row(void)
{
    (void)pthread_mutex_lock(&the_store->lock);
    if (the_store->n) {
        struct row *row = &the_store->rows[below((unsigned)the_store->n)];
        if (!row->forgotten && !task_state_final(row->status.state)) {
            row->status.state = TASK_CANCELED;
            row->status.attempt += 1000;
            row->status.finished_us = clock_wall_us();
        }
    }
    (void)pthread_mutex_unlock(&the_store->lock);
}

static void set_faults(unsigned refuse, unsigned busy)
{
    (void)pthread_mutex_lock(&the_store->lock);
    the_store->refuse_percent = refuse;
    the_store->busy_percent = busy;
    (void)pthread_mutex_unlock(&the_store->lock);
}

static bool all_ended(void)
{
    bool ended = true;
    (void)pthread_mutex_lock(&the_store->lock);
    for (size_t i = 0; ended && i < the_store->n; i++)
        ended = the_store->rows[i].forgotten || task_state_final(the_store->rows[i].status.state);
    (void)pthread_mutex_unlock(&the_store->lock);
    return ended;
}

/* True: everything ended and was answered in time. */
static bool bring_to_an_end(void)
{
    int64_t until = clock_mono_ns() + ROUND_NS;
    struct timespec pause = {.tv_nsec = 100000};
    while ((!all_ended() || atomic_load(&n_delivered) < n_crowd) && clock_mono_ns() < until) {
        work_a_little();
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    }
    return all_ended() && atomic_load(&n_delivered) == n_crowd;
}

/* ---- what must hold ---- */

static void check_answers(void)
{
    if (atomic_load(&wrong))
        fail_msg("%s", atomic_load(&wrong));
    for (unsigned i = 0; i < n_crowd; i++) {
        const struct crowd_call *c = &crowd[i];
        assert_int_equal(atomic_load(&c->deliveries), 1);
        if (c->call.kind != ENGINE_SUBMIT)
            continue;
        bool there = false;
        for (size_t k = 0; !there && k < the_store->n; k++)
            there = task_id_equal(the_store->rows[k].spec->id, c->id);
        if (c->result == ENGINE_OK)
            assert_true(there);
        else if (c->result != ENGINE_NOT_LIVE) /* the store could not be read for the answer */
            assert_false(there);
    }
}

static void check_counts(bool fenced)
{
    const struct engine *e = engine; /* its thread has ended */
    assert_int_equal(e->in_flight, 0);
    assert_int_equal(e->in_flight_ns, 0);
    assert_int_equal(e->hot_bytes, 0);
    assert_int_equal(e->entries.count, 0);
    assert_int_equal(e->due.n, 0);
    assert_int_equal(e->limits.n, 0);
    assert_int_equal(e->waits.n, 0);
    assert_null(e->running);
    assert_null(e->held);
    assert_int_equal(e->scheduler.n_tenants, e->scheduler.n_idle);
    assert_int_equal(e->scheduler.suspects_running, 0);
    assert_int_equal(e->scheduler.suspects.head, ENTRY_NONE);
    assert_null(e->scheduler.blocked);
    for (size_t i = 0; i <= e->scheduler.n_types; i++)
        assert_int_equal(e->scheduler.types[i].running, 0);
    assert_int_equal(e->stats.waiters, 0);
    for (int state = 0; state < TASK_STATE_COUNT; state++) {
        assert_int_equal(e->stats.waiting[state], 0);
        if (!fenced)
            assert_int_equal(e->stats.finished[state], the_store->ended[state]);
    }
    assert_int_equal(e->stats.submitted, the_store->inserted);
}

static void round_of(uint64_t seed, unsigned refuse, unsigned busy, bool fenced, size_t hot_bytes)
{
    stop();
    engine_test_options.hot_bytes = hot_bytes;
    engine_test_options.workers = 1 + (unsigned)(seed % 5);
    engine_test_pause_ns = 300000;
    engine_test_unwritten_ns = (int64_t)seed * 200000;
    start();
    dice = the_store->random = seed;
    n_crowd = n_in_hand = 0;
    atomic_store(&n_delivered, 0);
    atomic_store(&wrong, NULL);
    set_faults(refuse, busy);
    while (n_crowd < CALLS) {
        say_something();
        if (below(4) == 0)
            work_a_little();
        if (fenced && below(50) == 0)
            let_others_change_a_row();
        if (below(8) == 0)
            (void)sched_yield();
    }
    set_faults(refuse / 4, 0);
    assert_true(bring_to_an_end());
    set_faults(0, 0);
    assert_true(engine_stop(engine));
    check_answers();
    check_counts(fenced);
    engine_free(engine);
    engine = NULL;
}

static void test_a_sound_store(void **state)
{
    (void)state;
    round_of(1, 0, 0, false, 1 << 20);
}

static void test_batches_refused_at_random(void **state)
{
    (void)state;
    round_of(2, 30, 0, false, 1 << 20);
}

static void test_batches_refused_at_random_and_nothing_in_memory(void **state)
{
    (void)state;
    round_of(3, 30, 0, false, 0);
}

static void test_reads_fail_at_random(void **state)
{
    (void)state;
    round_of(4, 10, 20, false, 0);
}

static void test_others_change_rows(void **state)
{
    (void)state;
    round_of(5, 10, 5, true, 0);
}

/* ---- a stop at any moment, and a start after it ---- */

static void test_stops_and_starts(void **state)
{
    (void)state;
    stop();
    engine_test_options.max_waiting = engine_test_options.max_waiting_per_tenant = 0;
    engine_test_options.drain_us = 2000;
    engine_test_pause_ns = 300000;
    dice = the_store->random = 6;
    n_crowd = n_in_hand = 0;
    atomic_store(&n_delivered, 0);
    atomic_store(&wrong, NULL);
    for (unsigned round = 1; round <= 10; round++) {
        start();
        set_faults(10, 0);
        while (n_crowd < round * CALLS / 10) {
            say_something();
            if (below(4) == 0)
                work_a_little();
        }
        set_faults(0, 0);
        while (n_in_hand)
            report(in_hand[--n_in_hand], ATTEMPT_LOST);
        stop_losing_all();
        assert_int_equal(atomic_load(&n_delivered), n_crowd); /* nobody is left without an answer */
    }
    start();
    assert_true(bring_to_an_end());
    assert_true(engine_stop(engine));
    check_answers();
    engine_free(engine);
    engine = NULL;
}

static char folder[] = "/tmp/satchel-faults-XXXXXX";
static char marks[64];

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    (void)snprintf(marks, sizeof marks, "%s/started", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    (void)unlink(marks);
    return rmdir(folder);
}

/* Claims that only marks tell of take part. */
static int setup_marks(void **state)
{
    (void)unlink(marks);
    (void)setup(state);
    engine_test_options.started_path = marks;
    return 0;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_marks, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_sound_store),
        TEST(test_batches_refused_at_random),
        TEST(test_batches_refused_at_random_and_nothing_in_memory),
        TEST(test_reads_fail_at_random),
        TEST(test_others_change_rows),
        TEST(test_stops_and_starts),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
