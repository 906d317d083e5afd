/* The queue and its threads.
 *
 * Wake-ups are what a short task costs most, so workers that idle lie on a stack (the one that went to sleep last
 * is woken first) and a push wakes only as many as its attempts are worth:
 *
 *   P1  A worker goes idle only when it saw the queue empty.
 *   P2  An attempt that is not quick wakes a worker of its own where one idles: by P1 none waits while another idles.
 *   P3  Quick attempts wake one worker, and none where one runs quick attempts already: it comes back for them.
 *   P4  A worker takes up to TAKE_QUICK quick attempts at a time, never a slow one beside them.
 *
 * Flow: engine -> pool_push -> worker_main -> attempt_run.c -> options.report.  One lock; nothing is called under it. */
#include "worker/pool.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/thread.h"
#include "executor/executor.h"
#include "worker/attempt_run.h"

#define TAKE_QUICK 8u

struct worker {
    struct pool *pool;
    pthread_cond_t wake;
    struct attempt *running; /* the worker's own: what is lost if the handler ends the thread */
    /* pool->lock guards: */
    struct worker *next_idle;
    struct worker *next_woken; /* the pushing thread alone, after it let go of the lock */
    bool woken;
    bool takes_quick;      /* counted in pool->quick_workers */
    pthread_t thread;      /* the newest thread of this slot; written once before or under the lock */
    pthread_t predecessor; /* the replaced thread, which the new one joins */
    bool has_predecessor;
};

struct pool {
    struct pool_options options;
    pthread_mutex_t lock;
    /* lock guards: */
    struct attempt *first, *last;
    struct worker *idle;
    unsigned quick_workers; /* woken for quick attempts or running some */
    bool stopping;
    /* snapshots for other threads; written under the lock */
    atomic_uint n_idle, n_waiting;
    atomic_uint_fast64_t violations;
    unsigned n_workers; /* constant after pool_new */
    struct worker workers[];
};

static struct attempt *next_of(const struct attempt *attempt)
{
    return (struct attempt *)attempt->mail.next; /* its first member */
}

/* ---- waking ---- */

/* Takes a worker off the idle stack; the caller signals it after the lock was given back. */
static struct worker *take_idle_locked(struct pool *pool)
{
    struct worker *worker = pool->idle;
    if (!worker)
        return NULL;
    pool->idle = worker->next_idle;
    worker->woken = true;
    atomic_fetch_sub_explicit(&pool->n_idle, 1, memory_order_relaxed);
    return worker;
}

static void signal_all(struct worker *list)
{
    while (list) {
        struct worker *next = list->next_woken;
        (void)pthread_cond_signal(&list->wake);
        list = next;
    }
}

void pool_push(struct pool *pool, struct attempt *first)
{
    if (!first)
        return;
    unsigned slow = 0, quick = 0;
    struct attempt *last = first;
    for (struct attempt *attempt = first; attempt; attempt = next_of(attempt)) {
        *(attempt->type->quick ? &quick : &slow) += 1;
        last = attempt;
    }
    struct worker *woken = NULL;
    (void)pthread_mutex_lock(&pool->lock);
    if (pool->last)
        pool->last->mail.next = &first->mail;
    else
        pool->first = first;
    pool->last = last;
    atomic_fetch_add_explicit(&pool->n_waiting, slow + quick, memory_order_relaxed);
    bool wake_for_quick = quick > 0 && pool->quick_workers == 0;
    for (unsigned n = slow + wake_for_quick; n > 0; n--) {
        struct worker *worker = take_idle_locked(pool);
        if (!worker)
            break;
        if (wake_for_quick) {
            worker->takes_quick = true;
            pool->quick_workers++;
            wake_for_quick = false;
        }
        worker->next_woken = woken;
        woken = worker;
    }
    (void)pthread_mutex_unlock(&pool->lock);
    signal_all(woken);
}

void pool_kick(struct pool *pool)
{
    struct worker *worker = NULL;
    (void)pthread_mutex_lock(&pool->lock);
    if (pool->first)
        worker = take_idle_locked(pool);
    if (worker)
        worker->next_woken = NULL;
    (void)pthread_mutex_unlock(&pool->lock);
    signal_all(worker);
}

/* ---- the workers ---- */

static void count_quick_locked(struct pool *pool, struct worker *worker, bool takes_quick)
{
    if (worker->takes_quick != takes_quick)
        pool->quick_workers += takes_quick ? 1u : UINT32_MAX;
    worker->takes_quick = takes_quick;
}

/* One slow attempt, or a run of quick ones, linked; waits for them.  NULL: the pool stops. */
static struct attempt *take(struct worker *worker)
{
    struct pool *pool = worker->pool;
    struct attempt *taken = NULL, *end = NULL;
    (void)pthread_mutex_lock(&pool->lock);
    while (!pool->stopping && !pool->first) {
        count_quick_locked(pool, worker, false);
        worker->woken = false;
        worker->next_idle = pool->idle;
        pool->idle = worker;
        atomic_fetch_add_explicit(&pool->n_idle, 1, memory_order_relaxed);
        while (!worker->woken)
            (void)pthread_cond_wait(&worker->wake, &pool->lock);
    }
    if (!pool->stopping) {
        unsigned n = 1;
        taken = end = pool->first;
        for (; n < TAKE_QUICK && taken->type->quick && next_of(end) && next_of(end)->type->quick; n++)
            end = next_of(end);
        pool->first = next_of(end);
        if (!pool->first)
            pool->last = NULL;
        end->mail.next = NULL;
        atomic_fetch_sub_explicit(&pool->n_waiting, n, memory_order_relaxed);
        count_quick_locked(pool, worker, taken->type->quick);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return taken;
}

static void report(struct pool *pool, struct attempt *attempt)
{
    attempt->mail.next = NULL;
    pool->options.report(pool->options.report_arg, attempt);
}

static void *worker_main(void *arg);

static int start_thread(struct worker *worker)
{
    return thread_start(&worker->thread, "worker", worker_main, worker);
}

/* A handler is ending this thread: another takes its place.  False: none could be started, or the pool stops. */
static bool replace_thread(struct worker *worker)
{
    struct pool *pool = worker->pool;
    (void)pthread_mutex_lock(&pool->lock);
    bool replaced = false;
    if (!pool->stopping) {
        worker->predecessor = pthread_self();
        worker->has_predecessor = true;
        replaced = start_thread(worker) == 0;
        if (!replaced) {
            worker->thread = worker->predecessor;
            worker->has_predecessor = false;
        }
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return replaced;
}

/* Runs when a handler ends its thread (pthread_exit, cancellation): the attempt has failed, the worker lives on. */
static void thread_ends(void *arg)
{
    struct worker *worker = arg;
    struct attempt *attempt = worker->running;
    if (!attempt)
        return;
    worker->running = NULL;
    struct attempt *rest = next_of(attempt);
    atomic_fetch_add_explicit(&worker->pool->violations, 1, memory_order_relaxed);
    attempt_run_abandoned(attempt);
    report(worker->pool, attempt);
    for (; rest; rest = attempt) { /* of a run of quick ones: back into the queue */
        attempt = next_of(rest);
        rest->mail.next = NULL;
        pool_push(worker->pool, rest);
    }
    if (!replace_thread(worker))
        LOG_ERROR("a handler ended its worker thread and no other could be started");
}

static void run_taken(struct worker *worker, struct attempt *attempt)
{
    struct pool *pool = worker->pool;
    while (attempt) {
        struct attempt *next = next_of(attempt);
        worker->running = attempt;
        attempt->url = pool->options.url;
        bool clean = attempt_run(attempt);
        worker->running = NULL;
        if (!clean)
            atomic_fetch_add_explicit(&pool->violations, 1, memory_order_relaxed);
        report(pool, attempt);
        attempt = next;
    }
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    (void)pthread_mutex_lock(&worker->pool->lock); /* start_thread's caller may hold it until all fields are set */
    bool join_it = worker->has_predecessor;
    pthread_t predecessor = worker->predecessor;
    worker->has_predecessor = false;
    (void)pthread_mutex_unlock(&worker->pool->lock);
    if (join_it)
        (void)pthread_join(predecessor, NULL);
    pthread_cleanup_push(thread_ends, worker);
    struct attempt *taken;
    while ((taken = take(worker)) != NULL)
        run_taken(worker, taken);
    pthread_cleanup_pop(0);
    return NULL;
}

/* ---- life ---- */

int pool_new(const struct pool_options *options, struct pool **ret)
{
    struct pool *pool = calloc(1, sizeof *pool + options->workers * sizeof pool->workers[0]);
    if (!pool)
        return -ENOMEM;
    pool->options = *options;
    (void)pthread_mutex_init(&pool->lock, NULL);
    (void)pthread_mutex_lock(&pool->lock);
    int err = 0;
    for (; pool->n_workers < options->workers && err == 0; pool->n_workers += err == 0) {
        struct worker *worker = &pool->workers[pool->n_workers];
        worker->pool = pool;
        (void)pthread_cond_init(&worker->wake, NULL);
        err = start_thread(worker);
        if (err)
            (void)pthread_cond_destroy(&worker->wake);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    if (err) {
        pool_stop(pool);
        pool_free(pool);
        return err;
    }
    *ret = pool;
    return 0;
}

unsigned pool_idle(const struct pool *pool)
{
    return atomic_load_explicit(&pool->n_idle, memory_order_relaxed);
}

unsigned pool_waiting(const struct pool *pool)
{
    return atomic_load_explicit(&pool->n_waiting, memory_order_relaxed);
}

uint64_t pool_violations(const struct pool *pool)
{
    return atomic_load_explicit(&pool->violations, memory_order_relaxed);
}

void pool_stop(struct pool *pool)
{
    struct worker *woken = NULL;
    (void)pthread_mutex_lock(&pool->lock);
    pool->stopping = true; /* no thread is replaced from now on */
    for (struct worker *worker = take_idle_locked(pool); worker; worker = take_idle_locked(pool)) {
        worker->next_woken = woken;
        woken = worker;
    }
    (void)pthread_mutex_unlock(&pool->lock);
    signal_all(woken);
    for (unsigned i = 0; i < pool->n_workers; i++)
        (void)pthread_join(pool->workers[i].thread, NULL);
    struct attempt *attempt = pool->first;
    pool->first = pool->last = NULL;
    atomic_store_explicit(&pool->n_waiting, 0, memory_order_relaxed);
    while (attempt) {
        struct attempt *next = next_of(attempt);
        attempt->end = ATTEMPT_LOST;
        report(pool, attempt);
        attempt = next;
    }
}

void pool_free(struct pool *pool)
{
    if (!pool)
        return;
    for (unsigned i = 0; i < pool->n_workers; i++)
        (void)pthread_cond_destroy(&pool->workers[i].wake);
    (void)pthread_mutex_destroy(&pool->lock);
    free(pool);
}
