/* Attempts without an engine: a pool, a registry, tasks with a context of their own, and the reports they come back
 * with.  For the tests of worker/ and executor/. */
#ifndef SATCHEL_TESTS_ATTEMPTS_H
#define SATCHEL_TESTS_ATTEMPTS_H

#include "executor/executor.h"
#include "worker/pool.h"

struct bench { /* one per test */
    struct pool *pool;
    struct registry *registry;
    struct config *config;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* lock guards: */
    struct attempt *reports; /* newest first, linked by mail.next */
    size_t n_reports;
    struct buf log;  /* what attempts logged, each line ended by \n */
    double progress; /* the last one reported */
    size_t n_spawned;
    struct buf spawned;       /* the bodies, one a line */
    struct buf spawn_tenants; /* the tenant each spawn was made in, one a line */
    int refuse_spawn;         /* a problem_code: spawns are refused with it */
};

/* A pool of `workers` threads, or none (0): the registry alone. `extra` has the tasks and plugins; may be NULL. */
void bench_init(struct bench *bench, unsigned workers, const struct config *extra);
void bench_release(struct bench *bench); /* stops the pool */

/* A task of that type with one attempt; tenant and request id are bound in its context.  Never NULL. */
struct attempt *bench_attempt(struct bench *bench, const char *task, const char *args, const char *tenant);
void bench_bind(struct attempt *attempt, const char *header, const char *value); /* one more variable, before a push */
void bench_push(struct bench *bench, struct attempt *attempt);
/* Waits until n reports are there (20 s at most) and takes them, oldest first. */
struct attempt *bench_wait(struct bench *bench, size_t n);
/* push and wait for one. */
struct attempt *bench_run(struct bench *bench, struct attempt *attempt);
void attempt_free(struct attempt *attempt);

const char *outcome_result(const struct attempt *attempt); /* its JSON text; "" where there is none */
const char *outcome_message(const struct attempt *attempt);
enum error_type outcome_error(const struct attempt *attempt);
/* The string member of a result object, or NULL; good until the next call. */
const char *result_member(const struct attempt *attempt, const char *name);
/* Until `done` says so; false: not within 10 s. */
bool wait_until(bool (*done)(void *arg), void *arg);

#endif
