/* What each thread has of its own, and the one place that starts a thread: the new one begins in a copy of its
 * creator's current context, as its implicit context.  Nothing else in the tree calls pthread_create.
 *
 * R8: at a thread's end whatever it still has entered is exited (and counted as misuse) and its implicit context is
 * dropped.  Destroy callbacks may use the library meanwhile; then there is another round, as many as the system gives.
 * After main has returned nothing is cleaned up any more: no callback runs then.
 * Thread: each owns its state; `list_lock` guards the list of states, and the totals of those that are gone. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "proto/context/internal.h"

__thread struct thread_state self __attribute__((tls_model("initial-exec"))) = {
    .known = &empty_known,
    .implicit = &empty_snapshot,
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t exit_key;
static bool have_key;
static atomic_bool process_ends;

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows and every next/prev */
static struct thread_state *threads;
static int64_t gone[COUNT_KINDS];           /* what threads that ended have counted */
static _Atomic int64_t strays[COUNT_KINDS]; /* what threads counted that are not (or no longer) listed; no lock */

/* ---- the end ---- */

static void leave_all(void)
{
    while (self.current) {
        count_add(COUNT_MISUSE, 1);
        (void)satchel_context_exit(self.current);
    }
}

static void drop_implicit(void)
{
    struct snapshot *s = self.implicit;
    self.implicit = &empty_snapshot;
    thread_refresh();
    snapshot_unref(s);
}

static void unlist(struct thread_state *state)
{
    *state->prev = state->next;
    if (state->next)
        state->next->prev = state->prev;
    for (unsigned i = 0; i < COUNT_KINDS; i++)
        gone[i] += atomic_load_explicit(&state->counts[i], memory_order_relaxed);
}

static void on_thread_exit(void *arg)
{
    (void)arg;
    if (process_is_ending())
        return;
    for (int rounds = 0; rounds < 8 && (self.current || self.implicit != &empty_snapshot); rounds++) {
        leave_all();
        drop_implicit();
    }
    if (self.stage == THREAD_KNOWN) {
        (void)pthread_mutex_lock(&list_lock);
        unlist(&self);
        self.stage = THREAD_ENDING;
        (void)pthread_mutex_unlock(&list_lock);
    }
}

/* Among the first handlers that exit() calls, since it was registered by main's first use of the library; and where
 * that could not be registered, among the last things that happen. */
__attribute__((destructor)) static void on_process_exit(void)
{
    atomic_store(&process_ends, true);
}

bool process_is_ending(void)
{
    return atomic_load_explicit(&process_ends, memory_order_relaxed);
}

/* ---- fork: the child has this thread alone ---- */

static void before_fork(void)
{
    async_before_fork();
    cancel_lock_all(true);
    registry_lock_all(true);
    (void)pthread_mutex_lock(&list_lock);
}

static void after_fork_in_parent(void)
{
    (void)pthread_mutex_unlock(&list_lock);
    registry_lock_all(false);
    cancel_lock_all(false);
    async_after_fork(false);
}

static void after_fork_in_child(void)
{
    while (threads) { /* their memory is up for reuse */
        struct thread_state *state = threads;
        unlist(state);
        if (state == &self)
            for (unsigned i = 0; i < COUNT_KINDS; i++)
                atomic_store_explicit(&self.counts[i], 0, memory_order_relaxed);
    }
    if (self.stage == THREAD_KNOWN) {
        self.next = NULL;
        self.prev = &threads;
        threads = &self;
    }
    (void)pthread_mutex_unlock(&list_lock);
    registry_lock_all(false);
    cancel_lock_all(false);
    context_after_fork();
    async_after_fork(true);
}

/* ---- the beginning ---- */

static void prepare(void)
{
    have_key = pthread_key_create(&exit_key, on_thread_exit) == 0;
    (void)atexit(on_process_exit);
    (void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

void thread_register(void)
{
    if (self.stage == THREAD_KNOWN)
        return;
    (void)pthread_once(&once, prepare);
    if (!have_key || pthread_setspecific(exit_key, &self) != 0) /* no clean-up at the end then, nor a counter */
        return;
    if (self.stage == THREAD_ENDING) /* another round is due; its memory goes soon: it is not listed again */
        return;
    (void)pthread_mutex_lock(&list_lock);
    self.next = threads;
    self.prev = &threads;
    if (threads)
        threads->prev = &self.next;
    threads = &self;
    self.stage = THREAD_KNOWN;
    (void)pthread_mutex_unlock(&list_lock);
}

void count_slowly(enum count kind, int64_t by)
{
    if (self.stage == THREAD_NEW)
        thread_register();
    if (self.stage == THREAD_KNOWN)
        count_add(kind, by);
    else
        (void)atomic_fetch_add_explicit(&strays[kind], by, memory_order_relaxed);
}

void thread_sum(int64_t totals[COUNT_KINDS])
{
    (void)pthread_mutex_lock(&list_lock);
    for (unsigned i = 0; i < COUNT_KINDS; i++) {
        totals[i] = gone[i] + atomic_load_explicit(&strays[i], memory_order_relaxed);
        for (const struct thread_state *t = threads; t; t = t->next)
            totals[i] += atomic_load_explicit(&t->counts[i], memory_order_relaxed);
    }
    (void)pthread_mutex_unlock(&list_lock);
}

int satchel_thread_reset(void)
{
    if (self.current)
        return SATCHEL_EENTERED;
    self.implicit_id = 0; /* tokens of the earlier bindings are of another context from now on */
    drop_implicit();
    return SATCHEL_OK;
}

struct start {
    struct snapshot *snapshot; /* a reference */
    void *(*fn)(void *);
    void *arg;
};

static void *begin(void *arg)
{
    struct start start = *(struct start *)arg;
    free(arg);
    thread_register();
    self.implicit = start.snapshot;
    thread_refresh();
    return start.fn(start.arg);
}

int satchel_thread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
    if (!thread || !fn)
        return SATCHEL_EINVAL;
    struct start *start = malloc(sizeof *start);
    if (!start)
        return SATCHEL_ENOMEM;
    *start = (struct start){.snapshot = context_snapshot(NULL), .fn = fn, .arg = arg};
    int err = pthread_create(thread, attr, begin, start);
    if (err) {
        snapshot_unref(start->snapshot);
        free(start);
        return err == EINVAL ? SATCHEL_EINVAL : SATCHEL_ENOMEM;
    }
    return SATCHEL_OK;
}
