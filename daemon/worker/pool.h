/* The worker pool: threads that each run one attempt at a time.
 *
 * A worker takes an attempt from the queue, enters a copy of the submission's context with the attempt's own
 * variables added (worker/attempt_context.c), runs the executor, leaves the context, checks that the thread is
 * clean, and reports.  Thread: every function from the engine's thread alone, except that `report` is called on
 * the workers. */
#ifndef SATCHEL_WORKER_POOL_H
#define SATCHEL_WORKER_POOL_H

#include "executor/attempt.h"

struct pool;

struct pool_options {
    unsigned workers;
    const char *url; /* what a child process is told as SATCHEL_URL; NULL: none */
    /* Called on the worker when an attempt has ended; takes the attempt over. */
    void (*report)(void *arg, struct attempt *attempt);
    void *report_arg;
};

int pool_new(const struct pool_options *options, struct pool **ret); /* 0 or -errno; starts the threads */
/* Queues attempts linked by mail.next and wakes as many workers as they are worth: one for a run of quick ones. */
void pool_push(struct pool *pool, struct attempt *first);
/* Wakes one more worker if something still waits: the engine calls it when a push has not drained in time. */
void pool_kick(struct pool *pool);
unsigned pool_idle(const struct pool *pool);    /* workers that wait for work; a snapshot */
unsigned pool_waiting(const struct pool *pool); /* attempts in the queue; a snapshot */
/* How often a thread was found dirty after an attempt (and was repaired). */
uint64_t pool_violations(const struct pool *pool);
/* Ends and joins the threads; attempts still queued are reported as ATTEMPT_LOST unstarted (started_us 0).  The
 * engine has fired the running ones' cancel objects before. */
void pool_stop(struct pool *pool);
void pool_free(struct pool *pool); /* NULL is fine */

#endif
