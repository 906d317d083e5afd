/* The engine with a store in memory and a pool that the test itself is: every path of a task, what leaves when, and
 * what happens when the store refuses.  The real store and pool have tests of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "engine/engine.h"
#include "worker/pool.h"

#define LIMIT_NS INT64_C(10000000000) /* no test waits longer than this for anything */

/* ---- the pool: what is dispatched waits here for the test ---- */

struct pool {
    struct pool_options options;
    pthread_mutex_t lock; /* guards the list */
    pthread_cond_t more;
    struct attempt *first, **last;
};

static struct pool *the_pool;

int pool_new(const struct pool_options *options, struct pool **ret)
{
    struct pool *pool = calloc(1, sizeof *pool);
    pool->options = *options;
    pool->last = &pool->first;
    (void)pthread_mutex_init(&pool->lock, NULL);
    (void)pthread_cond_init(&pool->more, NULL);
    *ret = the_pool = pool;
    return 0;
}

void pool_push(struct pool *pool, struct attempt *first)
{
    (void)pthread_mutex_lock(&pool->lock);
    *pool->last = first;
    while (*pool->last)
        pool->last = (struct attempt **)&(*pool->last)->mail.next;
    (void)pthread_cond_broadcast(&pool->more);
    (void)pthread_mutex_unlock(&pool->lock);
}

void pool_kick(struct pool *pool)
{
    (void)pool;
}

unsigned pool_idle(const struct pool *pool)
{
    (void)pool;
    return 0;
}

unsigned pool_waiting(const struct pool *pool)
{
    (void)pool;
    return 0;
}

uint64_t pool_violations(const struct pool *pool)
{
    (void)pool;
    return 0;
}

void pool_stop(struct pool *pool)
{
    (void)pool;
}

void pool_free(struct pool *pool)
{
    free(pool);
}

static void absolute(struct timespec *at, int64_t ns)
{
    (void)clock_gettime(CLOCK_REALTIME, at);
    ns += at->tv_nsec;
    at->tv_sec += ns / 1000000000;
    at->tv_nsec = ns % 1000000000;
}

/* The next attempt, or NULL when none comes within `ns`. */
static struct attempt *take(int64_t ns)
{
    struct timespec until;
    absolute(&until, ns);
    (void)pthread_mutex_lock(&the_pool->lock);
    while (!the_pool->first && pthread_cond_timedwait(&the_pool->more, &the_pool->lock, &until) == 0) {
    }
    struct attempt *attempt = the_pool->first;
    if (attempt && !(the_pool->first = (struct attempt *)attempt->mail.next))
        the_pool->last = &the_pool->first;
    (void)pthread_mutex_unlock(&the_pool->lock);
    return attempt;
}

static void report(struct attempt *attempt, enum attempt_end end)
{
    attempt->started_us = clock_wall_us();
    attempt->run_ns = 1000;
    attempt->end = end;
    attempt->outcome = end == ATTEMPT_SUCCEEDED
                           ? task_outcome_success(blob_new(SLICE_LITERAL("42")))
                           : task_outcome_failure(ERROR_TYPE_HANDLER, SLICE_LITERAL("it went wrong"));
    the_pool->options.report(the_pool->options.report_arg, attempt);
}

/* ---- the store: rows in memory ---- */

struct row {
    struct task_spec *spec;
    struct task_status status;
    struct task_outcome *outcome;
    unsigned char key[STORE_KEY_SIZE], fingerprint[STORE_KEY_SIZE];
    bool has_key, forgotten;
};

struct memory_store {
    struct store store;
    pthread_mutex_t lock; /* guards the rest: the test looks in */
    struct row rows[4096];
    size_t n;
    enum store_result refuse; /* what commits answer; STORE_OK: they work */
    uint64_t commits, writes;
};

static struct memory_store *the_store;

static struct row *row_of(struct task_id id)
{
    for (size_t i = 0; i < the_store->n; i++)
        if (!the_store->rows[i].forgotten && task_id_equal(the_store->rows[i].spec->id, id))
            return &the_store->rows[i];
    return NULL;
}

static void apply(struct store_change *change)
{
    struct row *row = row_of(change->id);
    change->result = STORE_OK;
    if (change->kind == STORE_INSERT) {
        assert_null(row);
        assert_true(the_store->n < 4096);
        row = &the_store->rows[the_store->n++];
        *row = (struct row){.spec = task_spec_ref((struct task_spec *)(uintptr_t)change->spec)};
        if (change->key) {
            row->has_key = true;
            memcpy(row->key, change->key, STORE_KEY_SIZE);
            memcpy(row->fingerprint, change->fingerprint, STORE_KEY_SIZE);
        }
    } else if (!row || row->status.state != change->expect_state || row->status.attempt != change->expect_attempt) {
        change->result = STORE_FENCED;
        return;
    }
    if (change->kind == STORE_FORGET) {
        row->forgotten = true;
        return;
    }
    row->status = change->status;
    if (change->clear_outcome || change->outcome) {
        task_outcome_unref(row->outcome);
        row->outcome = task_outcome_ref((struct task_outcome *)(uintptr_t)change->outcome);
    }
}

static enum store_result commit(struct store *store, struct store_change *const changes[], size_t n)
{
    (void)store;
    (void)pthread_mutex_lock(&the_store->lock);
    enum store_result result = the_store->refuse;
    if (result == STORE_OK) {
        for (size_t i = 0; i < n; i++)
            apply(changes[i]);
        the_store->commits++;
        the_store->writes += n;
    }
    (void)pthread_mutex_unlock(&the_store->lock);
    return result;
}

static enum store_result each_waiting(struct store *store, int (*fn)(void *arg, const struct store_waiting *task),
                                      void *arg)
{
    (void)store;
    for (size_t i = 0; i < the_store->n; i++) {
        struct row *row = &the_store->rows[i];
        if (row->forgotten || task_state_final(row->status.state))
            continue;
        struct store_waiting waiting = {
            .id = row->spec->id,
            .state = row->status.state,
            .priority = row->spec->priority,
            .attempt = row->status.attempt,
            .lost = row->status.lost,
            .max_lost = row->spec->max_lost,
            .failures = row->status.failures,
            .cancel_requested = row->status.cancel_requested,
            .run_at_us = row->status.run_at_us,
            .expires_us = row->spec->expires_us,
            .deadline_us = row->spec->deadline_us,
            .tenant = row->spec->tenant,
            .name = row->spec->name,
        };
        if (fn(arg, &waiting))
            return STORE_OK;
    }
    return STORE_OK;
}

static enum store_result load(struct store *store, const struct task_id *ids, size_t n, struct task_record *ret)
{
    (void)store;
    (void)pthread_mutex_lock(&the_store->lock);
    for (size_t i = 0; i < n; i++) {
        struct row *row = row_of(ids[i]);
        ret[i] = (struct task_record){0};
        if (row)
            ret[i] = (struct task_record){task_spec_ref(row->spec), row->status, task_outcome_ref(row->outcome)};
    }
    (void)pthread_mutex_unlock(&the_store->lock);
    return STORE_OK;
}

static enum store_result find_key(struct store *store, const unsigned char key[STORE_KEY_SIZE], int64_t now_us,
                                  struct task_id *ret_id, unsigned char ret_fingerprint[STORE_KEY_SIZE])
{
    (void)store, (void)now_us;
    for (size_t i = 0; i < the_store->n; i++) {
        struct row *row = &the_store->rows[i];
        if (row->has_key && memcmp(row->key, key, STORE_KEY_SIZE) == 0) {
            *ret_id = row->spec->id;
            memcpy(ret_fingerprint, row->fingerprint, STORE_KEY_SIZE);
            return STORE_OK;
        }
    }
    return STORE_NOT_FOUND;
}

static enum store_result purge(struct store *store, int64_t now_us, unsigned limit, unsigned *ret_purged)
{
    (void)store, (void)now_us, (void)limit;
    *ret_purged = 0;
    return STORE_OK;
}

static bool idle(struct store *store)
{
    (void)store;
    return false;
}

static uint64_t greatest_seq(struct store *store)
{
    (void)store;
    return 0;
}

static void counters(struct store *store, uint64_t *ret_commits, uint64_t *ret_syncs)
{
    (void)store;
    *ret_commits = *ret_syncs = 0;
}

static void close_store(struct store *store)
{
    (void)store;
}

static const struct store_ops memory_ops = {close_store, commit, each_waiting, load,        find_key,
                                            purge,       idle,   greatest_seq, counters};

/* ---- the registry ---- */

static const struct task_type types[] = {{.name = "work", .index = 0}, {.name = "one", .index = 1, .concurrency = 1}};

const struct task_type *registry_at(const struct registry *registry, size_t index)
{
    (void)registry;
    return index < 2 ? &types[index] : NULL;
}

const struct task_type *registry_find(const struct registry *registry, struct slice name)
{
    for (size_t i = 0; registry_at(registry, i); i++)
        if (slice_eq_str(name, types[i].name))
            return &types[i];
    return NULL;
}

/* ---- calls ---- */

struct test_call {
    struct engine_call call;
    pthread_mutex_t lock; /* guards done */
    pthread_cond_t changed;
    bool done;
};

static void on_delivered(struct engine_call *call)
{
    struct test_call *t = (struct test_call *)call;
    (void)pthread_mutex_lock(&t->lock);
    t->done = true;
    (void)pthread_cond_broadcast(&t->changed);
    (void)pthread_mutex_unlock(&t->lock);
}

static struct engine *engine;

static void call_init(struct test_call *t, enum engine_call_kind kind)
{
    *t = (struct test_call){.call = {.kind = kind, .deliver = on_delivered}};
    (void)pthread_mutex_init(&t->lock, NULL);
    (void)pthread_cond_init(&t->changed, NULL);
}

static bool wait_done(struct test_call *t, int64_t ns)
{
    struct timespec until;
    absolute(&until, ns);
    (void)pthread_mutex_lock(&t->lock);
    while (!t->done && pthread_cond_timedwait(&t->changed, &t->lock, &until) == 0) {
    }
    bool done = t->done;
    (void)pthread_mutex_unlock(&t->lock);
    return done;
}

static void post(struct test_call *t)
{
    assert_true(engine_post(engine, &t->call));
}

static enum engine_result finish(struct test_call *t)
{
    assert_true(wait_done(t, LIMIT_NS));
    return t->call.result;
}

static struct task_spec *make_spec(const char *tenant, const char *name)
{
    struct task_spec_text text = {.tenant = slice_str(tenant),
                                  .name = slice_str(name),
                                  .args = SLICE_LITERAL("null"),
                                  .context = SLICE_LITERAL("{\"v\":1,\"vars\":{}}")};
    struct task_spec *spec = task_spec_new(&text);
    assert_non_null(spec);
    task_id_make(&spec->id);
    spec->root = spec->id;
    spec->created_us = clock_wall_us();
    return spec;
}

static struct task_id submit_spec(struct task_spec *spec, struct test_call *t)
{
    struct task_id id = spec->id;
    t->call.spec = spec;
    post(t);
    return id;
}

/* Submits and waits for the answer (not for the end). */
static struct task_id submit(struct task_spec *spec)
{
    struct test_call t;
    call_init(&t, ENGINE_SUBMIT);
    struct task_id id = submit_spec(spec, &t);
    assert_int_equal(finish(&t), ENGINE_OK);
    task_record_release(&t.call.record);
    return id;
}

static enum engine_result ask(enum engine_call_kind kind, struct task_id id, const char *tenant, int64_t wait_ns,
                              struct task_record *ret)
{
    struct test_call t;
    call_init(&t, kind);
    t.call.id = id;
    (void)snprintf(t.call.tenant, sizeof t.call.tenant, "%s", tenant);
    t.call.wait_until_ns = wait_ns ? clock_mono_ns() + wait_ns : 0;
    post(&t);
    enum engine_result result = finish(&t);
    if (ret)
        *ret = t.call.record;
    else
        task_record_release(&t.call.record);
    return result;
}

/* The state in the store, once it is `want` (bounded). */
static enum task_state settled(struct task_id id, enum task_state want)
{
    int64_t until = clock_mono_ns() + LIMIT_NS;
    enum task_state state;
    do {
        (void)pthread_mutex_lock(&the_store->lock);
        struct row *row = row_of(id);
        state = row ? row->status.state : TASK_STATE_COUNT;
        (void)pthread_mutex_unlock(&the_store->lock);
        if (state != want)
            (void)sched_yield();
    } while (state != want && clock_mono_ns() < until);
    return state;
}

static const char *fatal_seen;

static void on_fatal(void *arg, const char *why)
{
    (void)arg;
    fatal_seen = why;
}

static void start(void)
{
    struct engine_options options = {
        .store = &the_store->store,
        .workers = 2,
        .max_waiting = 50,
        .max_waiting_per_tenant = 20,
        .hot_bytes = 1 << 20,
        .recent_bytes = 1 << 20,
        .drain_us = 100000,
        .fatal = on_fatal,
    };
    char error[256];
    assert_int_equal(engine_new(&options, &engine, error, sizeof error), 0);
    assert_int_equal(engine_start(engine, error, sizeof error), 0);
}

static void stop(void)
{
    engine_stop(engine);
    engine_free(engine);
    engine = NULL;
}

static int setup(void **state)
{
    (void)state;
    the_store = calloc(1, sizeof *the_store);
    the_store->store.ops = &memory_ops;
    (void)pthread_mutex_init(&the_store->lock, NULL);
    start();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    struct attempt *attempt;
    while (engine && (attempt = take(0)) != NULL)
        report(attempt, ATTEMPT_LOST);
    if (engine)
        stop();
    for (size_t i = 0; i < the_store->n; i++) {
        task_spec_unref(the_store->rows[i].spec);
        task_outcome_unref(the_store->rows[i].outcome);
    }
    free(the_store);
    return 0;
}

/* ---- tests ---- */

static void test_submit_claim_succeed_in_two_writes(void **state)
{
    (void)state;
    struct test_call t;
    call_init(&t, ENGINE_SUBMIT);
    t.call.wait_until_ns = clock_mono_ns() + LIMIT_NS;
    struct task_id id = submit_spec(make_spec("a", "work"), &t);
    struct attempt *attempt = take(LIMIT_NS);
    assert_non_null(attempt);
    assert_int_equal(attempt->number, 1);
    assert_int_equal(settled(id, TASK_RUNNING), TASK_RUNNING); /* the claim is on disk before the handler starts */
    report(attempt, ATTEMPT_SUCCEEDED);
    assert_int_equal(finish(&t), ENGINE_OK);
    assert_int_equal(t.call.record.status.state, TASK_SUCCEEDED);
    assert_true(t.call.record.status.finished_us > 0);
    assert_true(slice_eq_str(blob_slice(t.call.record.outcome->result), "42"));
    assert_int_equal(the_store->writes, 2); /* submission and claim are one row write */
    task_record_release(&t.call.record);
    struct task_record cached;
    assert_true(engine_recent(engine, id, slice_str("a"), &cached));
    task_record_release(&cached);
    assert_false(engine_recent(engine, id, slice_str("b"), &cached));
}

static void test_the_answer_waits_for_the_commit(void **state)
{
    (void)state;
    (void)pthread_mutex_lock(&the_store->lock); /* the commit cannot go on */
    struct test_call t;
    call_init(&t, ENGINE_SUBMIT);
    (void)submit_spec(make_spec("a", "work"), &t);
    assert_false(wait_done(&t, 50000000));
    assert_null(take(1000000));
    (void)pthread_mutex_unlock(&the_store->lock);
    assert_int_equal(finish(&t), ENGINE_OK);
    task_record_release(&t.call.record);
}

static void test_failures_are_repeated_with_backoff_until_used_up(void **state)
{
    (void)state;
    struct task_spec *spec = make_spec("a", "work");
    spec->max_attempts = 3;
    spec->backoff = (struct backoff){.type = BACKOFF_FIXED, .base_us = 1000};
    struct task_id id = submit(spec);
    for (unsigned n = 1; n <= 3; n++) {
        struct attempt *attempt = take(LIMIT_NS);
        assert_non_null(attempt);
        assert_int_equal(attempt->number, n);
        assert_int_equal(attempt->failures, n - 1);
        report(attempt, ATTEMPT_FAILED);
    }
    assert_int_equal(settled(id, TASK_FAILED), TASK_FAILED);
    assert_int_equal(row_of(id)->status.failures, 3);
    assert_int_equal(row_of(id)->outcome->error, ERROR_TYPE_HANDLER);
    assert_null(take(5000000));
}

static void test_a_final_failure_is_not_repeated(void **state)
{
    (void)state;
    struct task_spec *spec = make_spec("a", "work");
    spec->max_attempts = 5;
    struct task_id id = submit(spec);
    report(take(LIMIT_NS), ATTEMPT_FAILED_FINAL);
    assert_int_equal(settled(id, TASK_FAILED), TASK_FAILED);
}

static void test_lost_attempts_are_counted_apart(void **state)
{
    (void)state;
    struct task_spec *spec = make_spec("a", "work");
    spec->max_lost = 2;
    struct task_id id = submit(spec);
    for (unsigned n = 1; n <= 3; n++) {
        struct attempt *attempt = take(LIMIT_NS);
        assert_non_null(attempt);
        assert_int_equal(attempt->number, n);
        assert_int_equal(attempt->failures, 0);
        report(attempt, ATTEMPT_LOST);
    }
    assert_int_equal(settled(id, TASK_FAILED), TASK_FAILED);
    assert_int_equal(row_of(id)->status.lost, 3);
    assert_int_equal(row_of(id)->outcome->error, ERROR_TYPE_LOST);
}

static void test_a_late_report_changes_nothing(void **state)
{
    (void)state;
    struct task_spec *spec = make_spec("a", "work");
    spec->max_attempts = 2;
    spec->backoff = (struct backoff){.type = BACKOFF_FIXED, .base_us = 1};
    struct task_id id = submit(spec);
    struct attempt *first = take(LIMIT_NS);
    struct attempt *ghost = calloc(1, sizeof *ghost); /* the same attempt, reported twice */
    ghost->mail_kind = first->mail_kind;
    ghost->spec = task_spec_ref(first->spec);
    ghost->number = first->number;
    report(first, ATTEMPT_FAILED);
    struct attempt *second = take(LIMIT_NS);
    assert_int_equal(second->number, 2);
    report(ghost, ATTEMPT_SUCCEEDED);
    report(second, ATTEMPT_FAILED);
    assert_int_equal(settled(id, TASK_FAILED), TASK_FAILED);
}

static void test_scheduled_tasks_become_due(void **state)
{
    (void)state;
    struct task_spec *spec = make_spec("a", "work");
    spec->run_at_us = clock_wall_us() + 60000;
    struct task_id id = submit(spec);
    assert_int_equal(settled(id, TASK_SCHEDULED), TASK_SCHEDULED);
    int64_t due = spec->run_at_us;
    struct attempt *attempt = take(LIMIT_NS);
    assert_non_null(attempt);
    assert_true(clock_wall_us() >= due);
    report(attempt, ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(id, TASK_SUCCEEDED), TASK_SUCCEEDED);
}

static void test_what_is_not_started_in_time_expires(void **state)
{
    (void)state;
    struct attempt *busy[2];
    for (int i = 0; i < 2; i++) {
        (void)submit(make_spec("a", "work"));
        busy[i] = take(LIMIT_NS);
    }
    struct task_spec *spec = make_spec("a", "work");
    spec->expires_us = clock_wall_us() + 30000;
    struct task_id id = submit(spec);
    assert_int_equal(settled(id, TASK_EXPIRED), TASK_EXPIRED);
    struct task_spec *late = make_spec("a", "work");
    late->deadline_us = clock_wall_us() - 1;
    assert_int_equal(settled(submit(late), TASK_EXPIRED), TASK_EXPIRED);
    report(busy[0], ATTEMPT_SUCCEEDED);
    report(busy[1], ATTEMPT_SUCCEEDED);
}

static bool fired(struct attempt *attempt)
{
    int64_t until = clock_mono_ns() + LIMIT_NS;
    struct timespec pause = {.tv_nsec = 1000000};
    satchel_context *ctx = satchel_context_new();
    assert_int_equal(satchel_context_enter(ctx), SATCHEL_OK);
    assert_int_equal(satchel_set_cancel(attempt->cancel, NULL), SATCHEL_OK);
    while (!satchel_done() && clock_mono_ns() < until)
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    bool done = satchel_done();
    assert_int_equal(satchel_context_exit(ctx), SATCHEL_OK);
    satchel_context_unref(ctx);
    return done;
}

static void test_the_time_limit_and_the_deadline_fire_the_cancel_object(void **state)
{
    (void)state;
    struct task_spec *spec = make_spec("a", "work");
    spec->timeout_us = 20000;
    struct task_id timed = submit(spec);
    struct attempt *attempt = take(LIMIT_NS);
    assert_true(fired(attempt));
    report(attempt, ATTEMPT_FAILED);
    assert_int_equal(settled(timed, TASK_FAILED), TASK_FAILED);

    spec = make_spec("a", "work");
    spec->deadline_us = clock_wall_us() + 20000;
    spec->max_attempts = 5;
    struct task_id late = submit(spec);
    attempt = take(LIMIT_NS);
    assert_true(fired(attempt));
    report(attempt, ATTEMPT_FAILED);
    assert_int_equal(settled(late, TASK_EXPIRED), TASK_EXPIRED);
}

static void test_cancel_waiting_and_running(void **state)
{
    (void)state;
    struct task_spec *spec = make_spec("a", "work");
    spec->run_at_us = clock_wall_us() + 60000000;
    struct task_id waiting = submit(spec);
    struct task_record record;
    assert_int_equal(ask(ENGINE_CANCEL, waiting, "b", 0, NULL), ENGINE_NOT_FOUND);
    assert_int_equal(ask(ENGINE_CANCEL, waiting, "a", 0, &record), ENGINE_OK);
    assert_int_equal(record.status.state, TASK_CANCELED);
    task_record_release(&record);
    assert_int_equal(ask(ENGINE_CANCEL, waiting, "a", 0, NULL), ENGINE_CONFLICT);

    struct task_id running = submit(make_spec("a", "work"));
    struct attempt *attempt = take(LIMIT_NS);
    struct test_call t;
    call_init(&t, ENGINE_CANCEL);
    t.call.id = running;
    t.call.wait_until_ns = clock_mono_ns() + LIMIT_NS;
    post(&t);
    assert_true(fired(attempt));
    assert_true(row_of(running)->status.cancel_requested);
    report(attempt, ATTEMPT_FAILED);
    assert_int_equal(finish(&t), ENGINE_OK);
    assert_int_equal(t.call.record.status.state, TASK_CANCELED);
    task_record_release(&t.call.record);
}

static void test_waiters_get_the_end_or_their_time(void **state)
{
    (void)state;
    struct task_id id = submit(make_spec("a", "work"));
    struct attempt *attempt = take(LIMIT_NS);
    struct task_record record;
    assert_int_equal(ask(ENGINE_WAIT, id, "a", 20000000, &record), ENGINE_OK);
    assert_int_equal(record.status.state, TASK_RUNNING);
    task_record_release(&record);
    assert_int_equal(ask(ENGINE_WAIT, id, "b", 20000000, NULL), ENGINE_NOT_LIVE);
    enum { N = 100 };
    static struct test_call waiters[N];
    for (int i = 0; i < N; i++) {
        call_init(&waiters[i], ENGINE_WAIT);
        waiters[i].call.id = id;
        waiters[i].call.wait_until_ns = clock_mono_ns() + LIMIT_NS;
        post(&waiters[i]);
    }
    report(attempt, ATTEMPT_SUCCEEDED);
    for (int i = 0; i < N; i++) {
        assert_int_equal(finish(&waiters[i]), ENGINE_OK);
        assert_int_equal(waiters[i].call.record.status.state, TASK_SUCCEEDED);
        task_record_release(&waiters[i].call.record);
    }
    assert_int_equal(ask(ENGINE_WAIT, id, "a", LIMIT_NS, NULL), ENGINE_NOT_LIVE);
}

static void test_retry_and_delete(void **state)
{
    (void)state;
    struct task_id id = submit(make_spec("a", "work"));
    assert_int_equal(ask(ENGINE_RETRY, id, "a", 0, NULL), ENGINE_CONFLICT);
    assert_int_equal(ask(ENGINE_DELETE, id, "a", 0, NULL), ENGINE_CONFLICT);
    report(take(LIMIT_NS), ATTEMPT_FAILED);
    assert_int_equal(settled(id, TASK_FAILED), TASK_FAILED);
    assert_int_equal(ask(ENGINE_RETRY, id, "b", 0, NULL), ENGINE_NOT_FOUND);
    assert_int_equal(ask(ENGINE_RETRY, id, "a", 0, NULL), ENGINE_OK);
    struct attempt *attempt = take(LIMIT_NS);
    assert_int_equal(attempt->number, 2);
    assert_int_equal(attempt->failures, 0);
    report(attempt, ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(id, TASK_SUCCEEDED), TASK_SUCCEEDED);
    assert_int_equal(ask(ENGINE_RETRY, id, "a", 0, NULL), ENGINE_CONFLICT); /* a result never changes */
    assert_int_equal(ask(ENGINE_DELETE, id, "a", 0, NULL), ENGINE_OK);
    assert_int_equal(ask(ENGINE_DELETE, id, "a", 0, NULL), ENGINE_NOT_FOUND);
}

static void test_one_key_makes_one_task(void **state)
{
    (void)state;
    enum { N = 50 };
    static struct test_call calls[N];
    for (int i = 0; i < N; i++) {
        call_init(&calls[i], ENGINE_SUBMIT);
        calls[i].call.has_key = true;
        memset(calls[i].call.key, 7, STORE_KEY_SIZE);
        (void)submit_spec(make_spec("a", "work"), &calls[i]);
    }
    int made = 0;
    struct task_id id = {0};
    for (int i = 0; i < N; i++) {
        enum engine_result result = finish(&calls[i]);
        assert_true(result == ENGINE_OK || result == ENGINE_REPLAYED);
        made += result == ENGINE_OK;
        if (i == 0)
            id = calls[i].call.record.spec->id;
        assert_true(task_id_equal(id, calls[i].call.record.spec->id));
        task_record_release(&calls[i].call.record);
    }
    assert_int_equal(made, 1);
    struct test_call other;
    call_init(&other, ENGINE_SUBMIT);
    other.call.has_key = true;
    memset(other.call.key, 7, STORE_KEY_SIZE);
    memset(other.call.fingerprint, 1, STORE_KEY_SIZE);
    (void)submit_spec(make_spec("a", "work"), &other);
    assert_int_equal(finish(&other), ENGINE_KEY_MISMATCH);
}

static void test_quotas_are_exact(void **state)
{
    (void)state;
    int accepted = 0, refused = 0;
    for (int i = 0; i < 30; i++) {
        struct task_spec *spec = make_spec("a", "work");
        spec->run_at_us = clock_wall_us() + 60000000;
        struct test_call t;
        call_init(&t, ENGINE_SUBMIT);
        (void)submit_spec(spec, &t);
        enum engine_result result = finish(&t);
        accepted += result == ENGINE_OK;
        refused += result == ENGINE_QUOTA;
        task_record_release(&t.call.record);
    }
    assert_int_equal(accepted, 20);
    assert_int_equal(refused, 10);
}

static void test_a_full_store_accepts_nothing_and_loses_nothing(void **state)
{
    (void)state;
    struct task_id running = submit(make_spec("a", "work"));
    struct attempt *attempt = take(LIMIT_NS);
    (void)pthread_mutex_lock(&the_store->lock);
    the_store->refuse = STORE_FULL;
    size_t rows = the_store->n;
    (void)pthread_mutex_unlock(&the_store->lock);
    for (int i = 0; i < 5; i++) {
        struct test_call t;
        call_init(&t, ENGINE_SUBMIT);
        (void)submit_spec(make_spec("a", "work"), &t);
        assert_int_equal(finish(&t), ENGINE_STORE_FULL);
    }
    report(attempt, ATTEMPT_SUCCEEDED); /* cannot be recorded now */
    assert_int_equal(ask(ENGINE_CANCEL, running, "a", 0, NULL), ENGINE_STORE_FULL);
    struct engine_stats stats;
    engine_get_stats(engine, &stats);
    assert_false(stats.store_ok);
    assert_null(take(5000000));
    assert_int_equal(the_store->n, rows);
    assert_int_equal(row_of(running)->status.state, TASK_RUNNING);
    (void)pthread_mutex_lock(&the_store->lock);
    the_store->refuse = STORE_OK;
    (void)pthread_mutex_unlock(&the_store->lock);
    assert_int_equal(settled(running, TASK_SUCCEEDED), TASK_SUCCEEDED);
    (void)submit(make_spec("a", "work"));
    report(take(LIMIT_NS), ATTEMPT_SUCCEEDED);
    engine_get_stats(engine, &stats);
    assert_true(stats.store_ok);
}

static void test_a_fatal_store_is_told(void **state)
{
    (void)state;
    fatal_seen = NULL;
    (void)pthread_mutex_lock(&the_store->lock);
    the_store->refuse = STORE_FATAL;
    (void)pthread_mutex_unlock(&the_store->lock);
    struct test_call t;
    call_init(&t, ENGINE_SUBMIT);
    (void)submit_spec(make_spec("a", "work"), &t);
    assert_int_equal(finish(&t), ENGINE_STORE_FAILED);
    assert_non_null(fatal_seen);
}

static void test_concurrency_of_a_type(void **state)
{
    (void)state;
    (void)submit(make_spec("a", "one"));
    (void)submit(make_spec("b", "one"));
    struct attempt *first = take(LIMIT_NS);
    assert_null(take(5000000));
    report(first, ATTEMPT_SUCCEEDED);
    struct attempt *second = take(LIMIT_NS);
    assert_non_null(second);
    report(second, ATTEMPT_SUCCEEDED);
}

static void test_no_more_claims_than_workers(void **state)
{
    (void)state;
    struct attempt *attempts[2];
    for (int i = 0; i < 5; i++)
        (void)submit(make_spec("a", "work"));
    attempts[0] = take(LIMIT_NS);
    attempts[1] = take(LIMIT_NS);
    assert_null(take(5000000));
    report(attempts[0], ATTEMPT_SUCCEEDED);
    struct attempt *third = take(LIMIT_NS);
    assert_non_null(third);
    report(attempts[1], ATTEMPT_SUCCEEDED);
    report(third, ATTEMPT_SUCCEEDED);
}

static void test_a_restart_recovers_everything(void **state)
{
    (void)state;
    struct task_id running = submit(make_spec("a", "work"));
    struct attempt *attempt = take(LIMIT_NS);
    struct task_spec *spec = make_spec("b", "work");
    spec->run_at_us = clock_wall_us() + 200000;
    struct task_id scheduled = submit(spec);
    struct task_spec *unknown = make_spec("c", "gone");
    unknown->run_at_us = clock_wall_us() + 1000;
    struct task_id gone = submit(unknown);
    report(attempt, ATTEMPT_LOST);
    attempt = take(LIMIT_NS);
    assert_int_equal(attempt->number, 2);
    report(attempt, ATTEMPT_LOST);
    engine_drain(engine);
    while ((attempt = take(20000000)) != NULL)
        report(attempt, ATTEMPT_LOST);
    stop();
    start();
    int seen = 0;
    while (seen < 2) {
        attempt = take(LIMIT_NS);
        assert_non_null(attempt);
        assert_true(task_id_equal(attempt->spec->id, running) || task_id_equal(attempt->spec->id, scheduled));
        if (task_id_equal(attempt->spec->id, running))
            assert_true(attempt->previous_lost >= 2);
        report(attempt, ATTEMPT_SUCCEEDED);
        seen++;
    }
    assert_int_equal(settled(running, TASK_SUCCEEDED), TASK_SUCCEEDED);
    assert_int_equal(settled(scheduled, TASK_SUCCEEDED), TASK_SUCCEEDED);
    assert_int_equal(settled(gone, TASK_FAILED), TASK_FAILED);
    assert_int_equal(row_of(gone)->outcome->error, ERROR_TYPE_UNKNOWN_TASK);
}

static void seed(enum task_state at, unsigned attempt, unsigned lost, bool cancel_requested, struct task_id *ret)
{
    struct task_spec *spec = make_spec("a", "work");
    *ret = spec->id;
    the_store->rows[the_store->n++] = (struct row){
        .spec = spec,
        .status = {.state = at, .attempt = attempt, .lost = (uint16_t)lost, .cancel_requested = cancel_requested}};
}

static void test_what_a_crash_left_running(void **state)
{
    (void)state;
    stop();
    struct task_id repeated, used_up, canceled;
    seed(TASK_RUNNING, 1, 0, false, &repeated);
    seed(TASK_RUNNING, 4, 3, false, &used_up);
    seed(TASK_RUNNING, 1, 0, true, &canceled);
    start();
    struct attempt *attempt = take(LIMIT_NS);
    assert_true(task_id_equal(attempt->spec->id, repeated));
    assert_int_equal(attempt->number, 2);
    assert_int_equal(attempt->previous_lost, 1);
    assert_int_equal(attempt->failures, 0);
    report(attempt, ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(repeated, TASK_SUCCEEDED), TASK_SUCCEEDED);
    assert_int_equal(settled(used_up, TASK_FAILED), TASK_FAILED);
    assert_int_equal(row_of(used_up)->outcome->error, ERROR_TYPE_LOST);
    assert_int_equal(row_of(used_up)->status.lost, 4);
    assert_int_equal(settled(canceled, TASK_CANCELED), TASK_CANCELED);
}

static void *stop_main(void *arg)
{
    engine_stop(arg);
    return NULL;
}

static void test_a_stop_cuts_off_what_does_not_end(void **state)
{
    (void)state;
    struct task_id id = submit(make_spec("a", "work"));
    struct attempt *attempt = take(LIMIT_NS);
    engine_drain(engine);
    struct test_call t;
    call_init(&t, ENGINE_SUBMIT);
    (void)submit_spec(make_spec("a", "work"), &t);
    assert_int_equal(finish(&t), ENGINE_DRAINING);
    struct task_spec *child = make_spec("a", "work"); /* a running task's sub-task is still taken */
    child->parent = id;
    (void)submit(child);
    pthread_t stopper;
    assert_int_equal(satchel_thread_create(&stopper, NULL, stop_main, engine), 0);
    assert_true(fired(attempt)); /* after the drain time */
    report(attempt, ATTEMPT_LOST);
    assert_int_equal(pthread_join(stopper, NULL), 0);
    assert_int_equal(row_of(id)->status.state, TASK_QUEUED);
    assert_int_equal(row_of(id)->status.lost, 1);
    engine_free(engine);
    engine = NULL;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_submit_claim_succeed_in_two_writes),
        TEST(test_the_answer_waits_for_the_commit),
        TEST(test_failures_are_repeated_with_backoff_until_used_up),
        TEST(test_a_final_failure_is_not_repeated),
        TEST(test_lost_attempts_are_counted_apart),
        TEST(test_a_late_report_changes_nothing),
        TEST(test_scheduled_tasks_become_due),
        TEST(test_what_is_not_started_in_time_expires),
        TEST(test_the_time_limit_and_the_deadline_fire_the_cancel_object),
        TEST(test_cancel_waiting_and_running),
        TEST(test_waiters_get_the_end_or_their_time),
        TEST(test_retry_and_delete),
        TEST(test_one_key_makes_one_task),
        TEST(test_quotas_are_exact),
        TEST(test_a_full_store_accepts_nothing_and_loses_nothing),
        TEST(test_a_fatal_store_is_told),
        TEST(test_concurrency_of_a_type),
        TEST(test_no_more_claims_than_workers),
        TEST(test_a_restart_recovers_everything),
        TEST(test_what_a_crash_left_running),
        TEST(test_a_stop_cuts_off_what_does_not_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
