#include "engine_fixture.h"

#include "engine/internal.h"

/* ---- the pool: what is dispatched waits here for the test ---- */

struct pool {
    struct pool_options options;
    pthread_mutex_t lock; /* guards the list */
    pthread_cond_t more;
    struct attempt *first, **last;
};

struct pool *the_pool;

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
    (void)clock_gettime(CLOCK_MONOTONIC, at);
    ns += at->tv_nsec;
    at->tv_sec += ns / 1000000000;
    at->tv_nsec = ns % 1000000000;
}

/* The next attempt, or NULL when none comes within `ns`. */
struct attempt *take(int64_t ns)
{
    struct timespec until;
    absolute(&until, ns);
    (void)pthread_mutex_lock(&the_pool->lock);
    while (!the_pool->first && pthread_cond_clockwait(&the_pool->more, &the_pool->lock, CLOCK_MONOTONIC, &until) == 0) {
    }
    struct attempt *attempt = the_pool->first;
    if (attempt && !(the_pool->first = (struct attempt *)attempt->mail.next))
        the_pool->last = &the_pool->first;
    (void)pthread_mutex_unlock(&the_pool->lock);
    return attempt;
}

void set_mark(struct attempt *attempt)
{
    started_set(attempt->mark, attempt->spec->id, attempt->number, clock_wall_us());
}

void report(struct attempt *attempt, enum attempt_end end)
{
    attempt->started_us = clock_wall_us();
    attempt->run_ns = 1000;
    attempt->end = end;
    attempt->outcome = end == ATTEMPT_SUCCEEDED
                           ? task_outcome_success(blob_new(SLICE_LITERAL("42")))
                           : task_outcome_failure(ERROR_TYPE_HANDLER, SLICE_LITERAL("it went wrong"));
    the_pool->options.report(the_pool->options.report_arg, attempt);
}

void give_back(struct attempt *attempt)
{
    attempt->end = ATTEMPT_LOST;
    the_pool->options.report(the_pool->options.report_arg, attempt);
}

/* ---- the store: rows in memory ---- */

struct memory_store *the_store;

struct row *row_of(struct task_id id)
{
    for (size_t i = 0; i < the_store->n; i++)
        if (!the_store->rows[i].forgotten && task_id_equal(the_store->rows[i].spec->id, id))
            return &the_store->rows[i];
    return NULL;
}

/* Under the store's lock. */
static unsigned random_below(unsigned n)
{
    the_store->random = the_store->random * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(the_store->random >> 33) % n;
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
        row->holds_unique = change->spec->unique_key.len && !change->drop_unique;
    } else if (!row || row->status.state != change->expect_state || row->status.attempt != change->expect_attempt) {
        change->result = STORE_FENCED;
        return;
    }
    if (change->kind == STORE_FORGET) {
        row->forgotten = true;
        return;
    }
    if (change->kind == STORE_UPDATE &&
        task_state_final(row->status.state)) /* only a retry by hand goes on from an end */
        assert_true(change->clear_outcome && row->status.state != TASK_SUCCEEDED);
    the_store->inserted += change->kind == STORE_INSERT;
    if (task_state_final(change->status.state))
        the_store->ended[change->status.state]++;
    row->status = change->status;
    if (change->kind == STORE_UPDATE && change->take_unique)
        row->holds_unique = true;
    if (change->drop_unique)
        row->holds_unique = false;
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
    if (result == STORE_OK && random_below(100) < the_store->refuse_percent)
        result = STORE_FULL;
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
            .has_after = row->spec->after.len || row->spec->after_group.len,
            .has_group = row->spec->group.len != 0,
            .has_unique = row->spec->unique_key.len != 0,
            .unique_until_started = row->spec->unique_until_started,
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
    bool busy = random_below(100) < the_store->busy_percent;
    the_store->loads++;
    for (size_t i = 0; i < n; i++) {
        struct row *row = row_of(ids[i]);
        ret[i] = (struct task_record){0};
        if (row && !busy)
            ret[i] = (struct task_record){
                .spec = task_spec_ref(row->spec), .status = row->status, .outcome = task_outcome_ref(row->outcome)};
    }
    (void)pthread_mutex_unlock(&the_store->lock);
    return busy ? STORE_BUSY : STORE_OK;
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

static enum store_result find_unique(struct store *store, struct slice tenant, struct slice key, int64_t now_us,
                                     struct task_id *ret_id)
{
    (void)store, (void)now_us;
    for (size_t i = 0; i < the_store->n; i++) {
        struct row *row = &the_store->rows[i];
        if (row->holds_unique && slice_eq(row->spec->unique_key, key) && slice_eq(row->spec->tenant, tenant)) {
            *ret_id = row->spec->id;
            return STORE_OK;
        }
    }
    return STORE_NOT_FOUND;
}

static enum store_result find_state(struct store *store, struct task_id id, struct slice tenant,
                                    enum task_state *ret_state)
{
    (void)store;
    for (size_t i = 0; i < the_store->n; i++) {
        struct row *row = &the_store->rows[i];
        if (task_id_equal(row->spec->id, id) && slice_eq(row->spec->tenant, tenant)) {
            *ret_state = row->status.state;
            return STORE_OK;
        }
    }
    return STORE_NOT_FOUND;
}

static enum store_result purge(struct store *store, int64_t now_us, unsigned limit, unsigned *ret_purged,
                               bool *ret_more)
{
    (void)store, (void)now_us, (void)limit;
    *ret_purged = 0;
    *ret_more = false;
    return the_store->purge_result;
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

static void set_limits(struct store *store, int64_t retain_us, size_t max_log)
{
    (void)store;
    the_store->retain_us = retain_us;
    the_store->max_log = max_log;
}

static void close_store(struct store *store)
{
    (void)store;
}

static enum store_result each_hold(struct store *store, int (*fn)(void *arg, const struct hold *hold), void *arg)
{
    (void)store;
    (void)fn;
    (void)arg;
    return STORE_OK;
}

static const struct store_ops memory_ops = {
    .each_hold = each_hold,
    .close = close_store,
    .commit = commit,
    .each_waiting = each_waiting,
    .load = load,
    .find_key = find_key,
    .find_unique = find_unique,
    .find_state = find_state,
    .purge = purge,
    .idle = idle,
    .greatest_seq = greatest_seq,
    .counters = counters,
    .set_limits = set_limits,
};

/* ---- the registry ---- */

static const struct task_type types[] = {{.name = "work", .index = 0}, {.name = "one", .index = 1, .concurrency = 1}};

const struct task_type *registry_at(const struct registry *registry, size_t index)
{
    if (registry)
        return index < registry->n ? &registry->types[index] : NULL;
    return index < 2 ? &types[index] : NULL;
}

const struct task_type *registry_find(const struct registry *registry, struct slice name)
{
    for (size_t i = 0; registry_at(registry, i); i++)
        if (slice_eq_str(name, registry_at(registry, i)->name))
            return registry_at(registry, i);
    return NULL;
}

struct registry *registry_ref(struct registry *registry)
{
    if (registry)
        atomic_fetch_add(&registry->refs, 1);
    return registry;
}

void registry_unref(struct registry *registry)
{
    if (registry)
        atomic_fetch_sub(&registry->refs, 1);
}

/* ---- calls ---- */

static void on_delivered(struct engine_call *call)
{
    struct test_call *t = (struct test_call *)call;
    (void)pthread_mutex_lock(&t->lock);
    t->done = true;
    (void)pthread_cond_broadcast(&t->changed);
    (void)pthread_mutex_unlock(&t->lock);
}

struct engine *engine;

void call_init(struct test_call *t, enum engine_call_kind kind)
{
    *t = (struct test_call){.call = {.kind = kind, .deliver = on_delivered}};
    (void)pthread_mutex_init(&t->lock, NULL);
    (void)pthread_cond_init(&t->changed, NULL);
}

bool wait_done(struct test_call *t, int64_t ns)
{
    struct timespec until;
    absolute(&until, ns);
    (void)pthread_mutex_lock(&t->lock);
    while (!t->done && pthread_cond_clockwait(&t->changed, &t->lock, CLOCK_MONOTONIC, &until) == 0) {
    }
    bool done = t->done;
    (void)pthread_mutex_unlock(&t->lock);
    return done;
}

void post(struct test_call *t)
{
    assert_true(engine_post(engine, &t->call));
}

enum engine_result finish(struct test_call *t)
{
    assert_true(wait_done(t, LIMIT_NS));
    return t->call.result;
}

static struct slice text_or_none(const char *text)
{
    return text ? slice_str(text) : (struct slice){0};
}

static struct task_spec *make(const char *tenant, const char *name, const struct ties *ties)
{
    struct task_spec_text text = {.tenant = slice_str(tenant),
                                  .name = slice_str(name),
                                  .args = SLICE_LITERAL("null"),
                                  .context = SLICE_LITERAL("{\"v\":1,\"vars\":{}}"),
                                  .after = slice_of((const char *)ties->after, ties->n_after * sizeof(struct task_id)),
                                  .group = text_or_none(ties->group),
                                  .after_group = text_or_none(ties->after_group),
                                  .unique_key = text_or_none(ties->unique_key)};
    struct task_spec *spec = task_spec_new(&text);
    assert_non_null(spec);
    task_id_make(&spec->id);
    spec->root = spec->id;
    spec->created_us = clock_wall_us();
    return spec;
}

struct task_spec *make_spec(const char *tenant, const char *name)
{
    return make(tenant, name, &(struct ties){0});
}

struct task_spec *make_tied(const char *tenant, const struct ties *ties)
{
    struct task_spec *spec = make(tenant, ties->type ? ties->type : "work", ties);
    spec->max_lost = UINT16_MAX;
    return spec;
}

struct task_id submit_spec(struct task_spec *spec, struct test_call *t)
{
    struct task_id id = spec->id;
    t->call.spec = spec;
    post(t);
    return id;
}

/* Submits and waits for the answer (not for the end). */
struct task_id submit(struct task_spec *spec)
{
    struct test_call t;
    call_init(&t, ENGINE_SUBMIT);
    struct task_id id = submit_spec(spec, &t);
    assert_int_equal(finish(&t), ENGINE_OK);
    task_record_release(&t.call.record);
    return id;
}

enum engine_result ask(enum engine_call_kind kind, struct task_id id, const char *tenant, int64_t wait_ns,
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
enum task_state settled(struct task_id id, enum task_state want)
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

const char *fatal_seen;

static void on_fatal(void *arg, const char *why)
{
    (void)arg;
    fatal_seen = why;
}

struct engine_options engine_test_options;
int64_t engine_test_pause_ns, engine_test_unwritten_ns;

void start(void)
{
    char error[256];
    assert_int_equal(engine_new(&engine_test_options, &engine, error, sizeof error), 0);
    if (engine_test_pause_ns)
        engine->pause_ns = engine_test_pause_ns;
    if (engine_test_unwritten_ns)
        engine->unwritten_ns = engine_test_unwritten_ns;
    assert_int_equal(engine_start(engine, error, sizeof error), 0);
}

void stop(void)
{
    engine_stop(engine);
    engine_free(engine);
    engine = NULL;
}

static void *stop_main(void *arg)
{
    return engine_stop(arg) ? NULL : arg;
}

void stop_losing_all(void)
{
    pthread_t stopper;
    void *stuck = engine;
    struct timespec now;
    assert_int_equal(satchel_thread_create(&stopper, NULL, stop_main, engine), 0);
    do {
        struct attempt *attempt;
        while ((attempt = take(1000000)) != NULL)
            report(attempt, ATTEMPT_LOST);
        (void)clock_gettime(CLOCK_REALTIME, &now);
    } while (pthread_timedjoin_np(stopper, &stuck, &now) != 0);
    assert_null(stuck);
    engine_free(engine);
    engine = NULL;
}

int setup(void **state)
{
    (void)state;
    the_store = calloc(1, sizeof *the_store);
    the_store->store.ops = &memory_ops;
    (void)pthread_mutex_init(&the_store->lock, NULL);
    engine_test_options = (struct engine_options){
        .store = &the_store->store,
        .workers = 2,
        .max_waiting = 50,
        .max_waiting_per_tenant = 20,
        .hot_bytes = 1 << 20,
        .recent_bytes = 1 << 20,
        .drain_us = 100000,
        .fatal = on_fatal,
    };
    engine_test_pause_ns = engine_test_unwritten_ns = 0;
    start();
    return 0;
}

int teardown(void **state)
{
    (void)state;
    if (engine)
        stop_losing_all();
    for (size_t i = 0; i < the_store->n; i++) {
        task_spec_unref(the_store->rows[i].spec);
        task_outcome_unref(the_store->rows[i].outcome);
    }
    free(the_store);
    return 0;
}
