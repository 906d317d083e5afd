/* The engine's surroundings under test: a store in memory that can refuse, a pool that the test itself is, and calls
 * that can be waited for.  One engine at a time. */
#ifndef SATCHEL_TESTS_ENGINE_FIXTURE_H
#define SATCHEL_TESTS_ENGINE_FIXTURE_H

#include <pthread.h>
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

struct row {
    struct task_spec *spec;
    struct task_status status;
    struct task_outcome *outcome;
    unsigned char key[STORE_KEY_SIZE], fingerprint[STORE_KEY_SIZE];
    bool has_key, forgotten;
    bool holds_unique;
};

struct memory_store {
    struct store store;
    pthread_mutex_t lock; /* guards the rest: the test looks in */
    struct row rows[4096];
    size_t n;
    enum store_result refuse;              /* what commits answer; STORE_OK: they work */
    unsigned refuse_percent, busy_percent; /* of commits and of reads, at random */
    uint64_t random;
    enum store_result purge_result;
    int64_t retain_us; /* of set_limits */
    size_t max_log;
    uint64_t commits, writes, inserted, ended[TASK_STATE_COUNT];
    unsigned loads; /* how often it was asked for tasks, however many at once */
};

struct registry { /* NULL as a registry: "work" and "one", which runs one at a time */
    atomic_int refs;
    struct task_type types[4]; /* their `registry` is this one */
    size_t n;
};

struct test_call {
    struct engine_call call;
    pthread_mutex_t lock; /* guards done */
    pthread_cond_t changed;
    bool done;
};

extern struct engine *engine;
extern struct memory_store *the_store;
extern const char *fatal_seen;
extern struct engine_options engine_test_options; /* what start() uses; setup sets it */
extern int64_t engine_test_pause_ns;              /* instead of the engine's own; 0: that */
extern int64_t engine_test_unwritten_ns;          /* the same */

int setup(void **state);
int teardown(void **state);
void start(void);
void stop(void);
void stop_losing_all(void); /* the same, while every attempt that is still handed out is reported as lost */

struct attempt *take(int64_t ns);       /* the next attempt, or NULL when none comes in that time */
void set_mark(struct attempt *attempt); /* as a worker does where marks are kept */
void report(struct attempt *attempt, enum attempt_end end);
void give_back(struct attempt *attempt); /* it never started */
struct row *row_of(struct task_id id);   /* under the store's lock, or while the engine rests */
enum task_state settled(struct task_id id, enum task_state want);

void call_init(struct test_call *t, enum engine_call_kind kind);
void post(struct test_call *t);
bool wait_done(struct test_call *t, int64_t ns);
enum engine_result finish(struct test_call *t);
struct ties { /* of a spec that make_tied makes (a crash never uses up its lives); zero-filled: none */
    const struct task_id *after;
    size_t n_after;
    const char *group, *after_group, *unique_key;
    const char *type; /* NULL: "work" */
};
struct task_spec *make_tied(const char *tenant, const struct ties *ties);
struct task_spec *make_spec(const char *tenant, const char *name);
struct task_id submit_spec(struct task_spec *spec, struct test_call *t);
struct task_id submit(struct task_spec *spec);
enum engine_result ask(enum engine_call_kind kind, struct task_id id, const char *tenant, int64_t wait_ns,
                       struct task_record *ret);

#endif
