/* One suite for every store: what store.h and reader.h promise, whatever lies behind them.  A test program gives a
 * factory and runs the suite; the helpers build tasks and compare what comes back. */
#ifndef SATCHEL_TESTS_STORE_SUITE_H
#define SATCHEL_TESTS_STORE_SUITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
/* after the standard ones */
#include <cmocka.h>

#include "base/clock.h"
#include "store/reader.h"
#include "store/store.h"

struct place { /* where one test's store lives */
    const struct store_factory *factory;
    char folder[64];
    char url[128];
    struct store *store; /* open unless the test closed it */
    struct reader *reader;
};

struct store_factory {
    const char *name;
    void (*make)(struct place *place); /* a fresh and empty one: sets folder and url */
    void (*drop)(struct place *place); /* removes it; the store is closed */
};

#define RETAIN_US (7 * 86400 * INT64_C(1000000))
#define START_US INT64_C(1767323045678901) /* 2026-01-02T03:04:05.678901Z */

int store_suite_write(const struct store_factory *factory); /* the number of tests that failed */
int store_suite_purge(const struct store_factory *factory);
int store_suite_read(const struct store_factory *factory);
int store_suite_ties(const struct store_factory *factory);
int store_suite_attempts(const struct store_factory *factory);

/* ---- support.c ---- */

int place_set_up(const struct store_factory *factory, void **state); /* a place with an open store */
int place_tear_down(void **state);
void place_open(struct place *place);
void place_reopen(struct place *place);
void place_close(struct place *place);
void place_start_reader(struct place *place);

struct task_spec *spec_plain(const char *tenant, const char *name);
struct task_spec *spec_full(void); /* no member has its default */
struct task_spec *spec_of(const struct task_spec_text *text);
struct slice text_of_size(size_t size, char fill); /* JSON string of that many bytes; free(data) */
void text_free(struct slice text);

struct task_status status_queued(const struct task_spec *spec);
struct task_status status_running(const struct task_spec *spec);
struct task_status status_ended(const struct task_spec *spec, enum task_state state, int64_t finished_us);

struct store_change change_insert(const struct task_spec *spec, struct task_status status);
struct store_change change_update(const struct task_spec *spec, enum task_state expect_state, uint32_t expect_attempt,
                                  struct task_status status);
enum store_result commit_one(struct place *place, struct store_change *change);
void must_insert(struct place *place, const struct task_spec *spec, struct task_status status);
void must_update(struct place *place, const struct task_spec *spec, enum task_state expect_state,
                 uint32_t expect_attempt, struct task_status status, const struct task_outcome *outcome);
/* A task that was queued, ran and succeeded (or failed) in one batch; returns its id. */
struct task_id must_add(struct place *place, const char *tenant, const char *name, enum task_state state,
                        int64_t finished_us);
/* n queued tasks with these names, in batches. */
void must_add_many(struct place *place, unsigned n, unsigned tenants, const char *name, struct task_id *ret_ids);

bool is_there(struct place *place, struct task_id id);
void load_one(struct place *place, struct task_id id, struct task_record *ret);
void assert_same_slice(struct slice a, struct slice b);
void assert_same_spec(const struct task_spec *a, const struct task_spec *b);
void assert_same_status(const struct task_status *a, const struct task_status *b);
void assert_same_outcome(const struct task_outcome *a, const struct task_outcome *b);

/* Posts the call and waits for its answer (at most ten seconds). */
void read_now(struct place *place, struct read_call *call);
void read_task(struct place *place, struct task_id id, const char *tenant, struct read_call *ret);
void read_release(struct read_call *call);

#endif
