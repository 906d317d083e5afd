/* Task types and what runs them.  The registry is built at start (and anew at a reload) from the built-in table,
 * the configuration and the plugins, and is immutable from then on: any thread may look things up.
 *
 * It is counted: whoever uses a task type holds the registry, an attempt until it is released, so that what runs goes
 * on with the settings and the plugin code that it began with.  The last reference is given up by the thread that
 * builds registries (registry_in_use), since plugins are unloaded with it. */
#ifndef SATCHEL_EXECUTOR_EXECUTOR_H
#define SATCHEL_EXECUTOR_EXECUTOR_H

#include "config/config.h" /* enum propagate */
#include "executor/attempt.h"

struct executor {
    const char *kind; /* "builtin", "command", "plugin", "http" */
    /* Runs one attempt to its end on the calling worker thread, whose current context is the attempt's.  Must
     * call attempt_succeed, attempt_fail or attempt_end_canceled, must return soon after the cancel object
     * fired, and leaves no process or thread behind. */
    void (*run)(const struct task_type *type, struct attempt *attempt);
};

struct task_type {
    struct registry *registry; /* the one it is of; not counted */
    const char *name;          /* 1..64 of A-Za-z0-9._-; unique */
    uint16_t index;            /* position in the registry */
    const struct executor *executor;
    const void *detail;          /* the executor's own: a handler, a command's settings */
    int64_t timeout_us;          /* of one attempt, unless the submission says otherwise; 0: none */
    unsigned concurrency;        /* attempts at once on this node; 0: no limit of its own */
    unsigned tenant_concurrency; /* the same of one tenant */
    unsigned propagate;          /* enum propagate */
    size_t max_result;           /* longest result, bytes */
    int max_depth;               /* deepest nesting of a result */
    bool own_trace;              /* an attempt starts a trace of its own, which links to the submission's */
    bool internal;               /* nobody can submit it: the engine makes such tasks itself */
    bool quick;                  /* runs in microseconds and never blocks (noop, echo) */
};

struct registry;

/* 0, or -1 with the reason in `error` (file:line where it comes from the configuration). */
int registry_new(const struct config *config, struct registry **ret, char *error, size_t error_size);
/* The same, and every problem is told, one line each, not only the first. */
int registry_build(const struct config *config, void (*report)(void *arg, const char *line), void *arg,
                   struct registry **ret);
struct registry *registry_ref(struct registry *registry); /* any thread; NULL is fine */
void registry_unref(struct registry *registry);           /* NULL is fine */
bool registry_in_use(const struct registry *registry);    /* somebody else has a reference, too */
/* What it was built from; the registry's reference. */
struct config *registry_config(const struct registry *registry);
const struct task_type *registry_find(const struct registry *registry, struct slice name); /* NULL: unknown */
const struct task_type *registry_at(const struct registry *registry, size_t index);        /* NULL: past the end */

#endif
