/* Functions that run later, on a small pool of the library's own threads, each in a copy of its caller's context.
 *
 * Threads are started as they are needed, up to one per processor (two at least), and end when they had nothing to do
 * for a while.  They begin in an empty context: it must not be the first caller's.  A function that waits for another
 * call on one of these threads runs it itself where nobody has begun it, so that calls which wait for calls
 * cannot starve the pool.
 * Thread: any.  `pool.lock` guards the pool and every call's stage, result and place in the queue; functions run
 * without it. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "proto/context/internal.h"

#define QUEUE_MAX 65536u
#define THREADS_MIN 2
#define THREADS_MAX 16
#define IDLE_S 10

enum stage { QUEUED, RUNNING, DONE };

struct satchel_call {
    atomic_uint refs;
    enum stage stage;
    bool taken;
    void *(*fn)(void *arg);
    void *arg, *result;
    satchel_context *context;
    satchel_call *next, **place; /* while queued */
    pthread_cond_t done;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t work;
    satchel_call *first, **last;
    unsigned queued, threads, idle;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .last = &pool.first};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static __thread bool in_pool;

/* ---- calls ---- */

static void cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(cond, &attr);
    (void)pthread_condattr_destroy(&attr);
}

static void prepare(void)
{
    cond_init(&pool.work);
}

satchel_call *satchel_call_ref(satchel_call *call)
{
    if (call)
        refs_add(&call->refs);
    return call;
}

void satchel_call_unref(satchel_call *call)
{
    if (!call || !refs_drop(&call->refs))
        return;
    satchel_context_unref(call->context);
    (void)pthread_cond_destroy(&call->done);
    free(call);
}

static satchel_call *call_new(void *(*fn)(void *arg), void *arg)
{
    satchel_call *call = calloc(1, sizeof *call);
    if (!call)
        return NULL;
    atomic_init(&call->refs, 2); /* the caller's and the pool's */
    call->fn = fn;
    call->arg = arg;
    call->context = satchel_capture();
    if (!call->context) {
        free(call);
        return NULL;
    }
    cond_init(&call->done);
    return call;
}

static void push_locked(satchel_call *call)
{
    call->next = NULL;
    call->place = pool.last;
    *pool.last = call;
    pool.last = &call->next;
    pool.queued++;
}

static void unqueue_locked(satchel_call *call)
{
    *call->place = call->next;
    if (call->next)
        call->next->place = call->place;
    else
        pool.last = call->place;
    pool.queued--;
}

/* ---- running ---- */

static int invoke(void *arg)
{
    satchel_call *call = arg;
    call->result = call->fn(call->arg); /* nobody reads it before the stage is DONE */
    return 0;
}

/* Also where the function ends its thread. */
static void finish(satchel_call *const *at)
{
    satchel_call *call = *at;
    satchel_context *context = call->context;
    call->context = NULL;
    satchel_context_unref(context); /* first: who has waited finds all of it gone */
    (void)pthread_mutex_lock(&pool.lock);
    call->stage = DONE;
    (void)pthread_cond_broadcast(&call->done);
    (void)pthread_mutex_unlock(&pool.lock);
    satchel_call_unref(call);
}

static void run(satchel_call *call)
{
    __attribute__((cleanup(finish), unused)) satchel_call *running = call;
    (void)satchel_context_run(running->context, invoke, running, NULL);
}

static satchel_call *next_locked(void)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += IDLE_S;
    pool.idle++;
    int err = 0;
    while (!pool.first && err == 0)
        err = pthread_cond_timedwait(&pool.work, &pool.lock, &until);
    pool.idle--;
    satchel_call *call = pool.first;
    if (call) {
        unqueue_locked(call);
        call->stage = RUNNING;
    }
    return call;
}

static void gone(const bool *counted)
{
    (void)counted;
    (void)pthread_mutex_lock(&pool.lock);
    pool.threads--;
    (void)pthread_mutex_unlock(&pool.lock);
}

static void *serve(void *arg)
{
    __attribute__((cleanup(gone), unused)) bool counted = true;
    (void)satchel_thread_reset();
    in_pool = true;
    for (;;) {
        (void)pthread_mutex_lock(&pool.lock);
        satchel_call *call = next_locked();
        (void)pthread_mutex_unlock(&pool.lock);
        if (!call || process_is_ending()) /* then it is left as it is: no callback any more */
            return arg;
        run(call);
        (void)satchel_thread_reset();
    }
}

/* ---- threads ---- */

static unsigned most_threads(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < THREADS_MIN ? THREADS_MIN : n > THREADS_MAX ? THREADS_MAX : (unsigned)n;
}

/* The program's signals are for its own threads. */
static int start_thread(void)
{
    pthread_t thread;
    pthread_attr_t attr;
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int status = satchel_thread_create(&thread, &attr, serve, NULL);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attr);
    return status;
}

/* After a thread could not be started: true where no other will come for the call. */
static bool abandon_locked(satchel_call *call)
{
    pool.threads--;
    if (pool.threads || call->stage != QUEUED)
        return false;
    unqueue_locked(call);
    return true;
}

satchel_call *satchel_async(void *(*fn)(void *arg), void *arg)
{
    (void)pthread_once(&once, prepare);
    satchel_call *call = fn ? call_new(fn, arg) : NULL;
    if (!call)
        return NULL;
    (void)pthread_mutex_lock(&pool.lock);
    bool accepted = pool.queued < QUEUE_MAX;
    if (accepted)
        push_locked(call);
    bool start = accepted && pool.queued > pool.idle && pool.threads < most_threads();
    pool.threads += start;
    if (accepted)
        (void)pthread_cond_signal(&pool.work);
    (void)pthread_mutex_unlock(&pool.lock);
    if (start && start_thread() != SATCHEL_OK) {
        (void)pthread_mutex_lock(&pool.lock);
        accepted = !abandon_locked(call);
        (void)pthread_mutex_unlock(&pool.lock);
    }
    if (accepted)
        return call;
    atomic_store(&call->refs, 1); /* the pool's went with it */
    satchel_call_unref(call);
    return NULL;
}

/* ---- waiting ---- */

static struct timespec moment_in(int64_t ns)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    int64_t nsec = t.tv_nsec + ns % 1000000000;
    t.tv_sec += (time_t)(ns / 1000000000 + nsec / 1000000000);
    t.tv_nsec = (long)(nsec % 1000000000);
    return t;
}

int satchel_call_wait(satchel_call *call, int64_t limit_ns)
{
    if (!call)
        return SATCHEL_EINVAL;
    struct timespec until = moment_in(limit_ns > 0 ? limit_ns : 0);
    int err = 0;
    (void)pthread_mutex_lock(&pool.lock);
    if (in_pool && limit_ns < 0 && call->stage == QUEUED) {
        unqueue_locked(call);
        call->stage = RUNNING;
        (void)pthread_mutex_unlock(&pool.lock);
        run(call);
        return SATCHEL_OK;
    }
    while (call->stage != DONE && err == 0)
        err = limit_ns < 0 ? pthread_cond_wait(&call->done, &pool.lock)
                           : pthread_cond_timedwait(&call->done, &pool.lock, &until);
    bool done = call->stage == DONE;
    (void)pthread_mutex_unlock(&pool.lock);
    return done ? SATCHEL_OK : SATCHEL_UNSET;
}

int satchel_call_take(satchel_call *call, void **result)
{
    if (!call || !result)
        return SATCHEL_EINVAL;
    (void)pthread_mutex_lock(&pool.lock);
    int status = call->stage != DONE ? SATCHEL_UNSET : call->taken ? SATCHEL_EUSED : SATCHEL_OK;
    if (status == SATCHEL_OK) {
        call->taken = true;
        *result = call->result;
        call->result = NULL;
    }
    (void)pthread_mutex_unlock(&pool.lock);
    return status;
}

/* ---- fork: the child has none of the threads; what is queued stays with the parent ---- */

void async_before_fork(void)
{
    (void)pthread_mutex_lock(&pool.lock);
}

void async_after_fork(bool child)
{
    if (child) {
        pool.first = NULL;
        pool.last = &pool.first;
        pool.queued = pool.threads = pool.idle = 0;
        cond_init(&pool.work); /* threads of the parent may have been waiting */
    }
    (void)pthread_mutex_unlock(&pool.lock);
}
