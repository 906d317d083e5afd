/* What the tests of the scheduler share: task types, tenants whose names say what they may, tasks without a store.  Time
 * is what the test says it is. */
#ifndef SATCHEL_TESTS_SCHEDULER_FIXTURE_H
#define SATCHEL_TESTS_SCHEDULER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/scheduler.h"

enum { PLAIN, LIMITED, QUICK, SHARED, OWN };

static struct task_type types[] = {
    {.name = "plain", .index = PLAIN},
    {.name = "limited", .index = LIMITED, .concurrency = 2},
    {.name = "quick", .index = QUICK, .quick = true},
    {.name = "shared", .index = SHARED, .concurrency = 2, .tenant_concurrency = 1},
    {.name = "own", .index = OWN, .tenant_concurrency = 2},
};

const struct task_type *registry_at(const struct registry *registry, size_t index)
{
    (void)registry;
    return index < sizeof types / sizeof types[0] ? &types[index] : NULL;
}

const struct task_type *registry_find(const struct registry *registry, struct slice name)
{
    for (size_t i = 0; registry_at(registry, i); i++)
        if (slice_eq_str(name, registry_at(registry, i)->name))
            return registry_at(registry, i);
    return NULL;
}

static double new_weight = 1; /* times what the names say */
static const char *paused = "";

struct fixture {
    struct entries entries;
    struct scheduler s;
    uint64_t next_id;
};

/* "w4" has the weight 4, until a test says otherwise. */
static inline double weights(const char *name)
{
    return name[0] == 'w' ? atof(name + 1) * new_weight : 1;
}

static inline void limits(void *arg, struct slice tenant, struct tenant_limits *ret)
{
    (void)arg;
    ret->weight = weights(tenant.data);
    ret->paused = slice_eq_str(tenant, paused);
    if (slice_eq_str(tenant, "narrow"))
        ret->max_running = 1;
}

static inline int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    new_weight = 1;
    paused = "";
    assert_int_equal(entries_init(&f->entries), 0);
    assert_int_equal(scheduler_init(&f->s, &f->entries, NULL), 0);
    f->s.limits = limits;
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    scheduler_release(&f->s);
    entries_release(&f->entries);
    free(f);
    return 0;
}

static inline struct entry *add(struct fixture *f, const char *tenant, int type, int priority)
{
    struct task_id id = {++f->next_id, f->next_id * 77};
    struct entry *entry = entries_add(&f->entries, id);
    assert_non_null(entry);
    entry->priority = (uint8_t)priority;
    entry->run_at_us = (int64_t)f->next_id;
    assert_int_equal(scheduler_attach(&f->s, entry, slice_str(tenant), slice_str(type < 0 ? "gone" : types[type].name),
                                      type < 0 ? NULL : &types[type]),
                     0);
    return entry;
}

static inline struct entry *queue(struct fixture *f, const char *tenant, int type, int priority)
{
    struct entry *entry = add(f, tenant, type, priority);
    scheduler_enqueue(&f->s, entry);
    return entry;
}

static inline void finish(struct fixture *f, struct entry *entry, int64_t expected, int64_t run_ns)
{
    scheduler_end(&f->s, entry, expected, run_ns, true);
    scheduler_detach(&f->s, entry);
    entries_remove(&f->entries, entry);
}

static inline void run_one(struct fixture *f, int64_t run_ns)
{
    struct entry *entry = scheduler_pick(&f->s);
    assert_non_null(entry);
    finish(f, entry, scheduler_start(&f->s, entry), run_ns);
}

#endif
