/* Which queued task runs next.
 *
 * Among tenants: weighted fair sharing of *measured run time* (stride scheduling: the tenant with the least
 * virtual time is next; a claim is charged with the type's average and corrected when the attempt ends).  Inside a
 * tenant: priority, then the order of becoming due.  A tenant's queue is split into lanes, one per task type, so
 * that a type at its concurrency limit does not hold up the tenant's other tasks.  Those that wait for such a limit share
 * its places in the same way among themselves, whatever they or others use besides.  Tasks that were cut off twice
 * (suspects) wait apart and run one at a time, so that one which kills the daemon does not use up its neighbours'
 * lives.
 *
 * All operations are O(log tenants) or O(lanes of one tenant); nothing is scanned but, at an end, the tenants that are
 * blocked.
 * Thread: the engine's alone. */
#ifndef SATCHEL_ENGINE_SCHEDULER_H
#define SATCHEL_ENGINE_SCHEDULER_H

#include "base/heap.h"
#include "engine/engine.h"
#include "engine/entries.h"
#include "executor/executor.h"

#define PRIORITIES 10
#define SUSPECT_LOST 2 /* from this many lost attempts on a task runs apart */

struct queue { /* linked by entry->next/prev */
    uint32_t head, tail;
};

struct tenant {
    struct tenant *next_in_hash, *next_blocked, **prev_blocked;
    struct lane *lanes;
    struct tenant_limits limits;
    int64_t vtime;                     /* nanoseconds of run time divided by weight */
    uint32_t heap_slot;                /* in the heap while it has something that may run */
    uint32_t queued, running, waiting; /* waiting: scheduled and queued */
    uint32_t waiters;
    uint64_t waiting_bytes;
    int64_t bucket_ns; /* admission.c: when what it has submitted is within its rate again */
    bool blocked;      /* has queued tasks, but all at some limit */
    bool woken;        /* not blocked any more since a place became free, which it has not taken yet */
    bool idle;         /* has no tasks: kept for its figures, while there is room */
    struct tenant *next_idle, *prev_idle;
    uint64_t submitted, attempts, finished[TASK_STATE_COUNT];
    int64_t run_ns;
    uint64_t hash;
    size_t name_len;
    char name[];
};

struct lane {
    struct tenant *tenant;
    struct lane *next;            /* of this tenant */
    const struct task_type *type; /* of the present registry; NULL: not configured (any more) */
    int64_t vtime;                /* as the tenant's, of this type alone, where that has a limit to contend for */
    uint32_t running;             /* attempts of its entries */
    uint32_t index;
    uint32_t entries; /* that name this lane; the lane lives as long */
    uint16_t mask;    /* bit per priority that has something queued */
    struct queue queues[PRIORITIES];
    char name[]; /* of the task type: a reload looks it up anew */
};

struct type_state {
    uint32_t running;
    uint32_t samples;
    int64_t run_ns; /* moving average of an attempt's run time */
    int64_t vtime;  /* of the lane that began last */
    bool paused, draining;
};

struct scheduler {
    struct entries *entries; /* not owned */
    struct tenant **buckets;
    size_t bucket_mask, n_tenants;
    struct lane **lanes; /* by index; NULL: free */
    size_t n_lanes, cap_lanes;
    uint32_t free_lane_hint;
    struct heap ready; /* tenants by virtual time */
    struct tenant *blocked;
    struct tenant *oldest_idle, *newest_idle;
    size_t n_idle;
    bool paused;        /* nothing starts */
    int64_t vtime;      /* of the last pick: where a newly active tenant starts */
    int64_t vtime_most; /* of any tenant */
    uint32_t running;
    struct type_state *types; /* by registry index; one more for unknown types */
    size_t n_types;
    struct queue suspects;
    uint32_t suspects_running;
    void (*limits)(void *arg, struct slice tenant, struct tenant_limits *ret); /* may be NULL */
    void *limits_arg;
};

int scheduler_init(struct scheduler *s, struct entries *entries, const struct registry *registry);
void scheduler_release(struct scheduler *s);

/* A reload: `registry` from now on, whose types scheduler_types has made room for (taken over).  Lanes find their types
 * in it by name, what the types' attempts take is learnt anew, and the tenants' limits are asked for again. */
struct type_state *scheduler_types(const struct registry *registry); /* NULL: no memory; any thread */
void scheduler_set_registry(struct scheduler *s, const struct registry *registry, struct type_state *types);

/* Attaches an entry to its lane (made where missing).  0 or -ENOMEM. */
int scheduler_attach(struct scheduler *s, struct entry *entry, struct slice tenant_name, struct slice name,
                     const struct task_type *type);
void scheduler_detach(struct scheduler *s, struct entry *entry); /* the entry is not queued any more */
struct lane *scheduler_lane(const struct scheduler *s, const struct entry *entry);

/* What is held has changed: tenants are asked about anew, and whoever was kept waiting is looked at again. */
void scheduler_refresh(struct scheduler *s);
struct tenant *scheduler_tenant(const struct scheduler *s, struct slice name); /* NULL: not known here */

void scheduler_enqueue(struct scheduler *s, struct entry *entry);
void scheduler_enqueue_first(struct scheduler *s, struct entry *entry); /* puts a withdrawn claim back */
void scheduler_dequeue(struct scheduler *s, struct entry *entry);
/* The next to run, still queued; NULL: nothing may run now. */
struct entry *scheduler_pick(struct scheduler *s);
/* The picked entry was claimed: takes it from its queue and charges its tenant.  Returns the expected run time. */
int64_t scheduler_start(struct scheduler *s, struct entry *entry);
/* Its attempt ended after run_ns (or was never started: run_ns 0 and started false). */
void scheduler_end(struct scheduler *s, struct entry *entry, int64_t expected_ns, int64_t run_ns, bool started);
/* What one attempt of this type takes, in nanoseconds; INT64_MAX: not known yet. */
int64_t scheduler_expected_ns(const struct scheduler *s, const struct entry *entry);

#endif
