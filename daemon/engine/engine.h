/* The engine: the single owner of every task that this node knows.  Messages in, a batch at a time; the state
 * machine decides; the store commits the batch; only then do the effects leave (answers, dispatches, events).
 *
 * Thread: engine_post from any; the rest from the thread that owns the subsystems.  Everything inside runs on
 * the engine's own thread, so tasks have no locks. */
#ifndef SATCHEL_ENGINE_ENGINE_H
#define SATCHEL_ENGINE_ENGINE_H

#include "base/mailbox.h"
#include "executor/executor.h"
#include "store/store.h"
#include "telemetry/metrics.h"
#include "telemetry/spans.h"

#define KEY_LIFE_US (INT64_C(24) * 3600 * 1000000) /* how long an idempotency key is remembered */

struct tenant_limits {          /* what a tenant may; engine_options.tenant_limits fills it in */
    double weight;              /* > 0 */
    uint32_t max_running;       /* 0: no limit */
    uint32_t max_waiting;       /* 0: the daemon's own */
    uint64_t max_waiting_bytes; /* of submissions that wait; 0: no limit */
    uint32_t max_waiters;       /* requests that wait for a task; 0: no limit */
    double rate;                /* submissions a second; 0: no limit */
    uint32_t burst;             /* how many at once; 0: those of a second */
    bool paused;                /* the engine's: an operator holds it */
    bool draining;
};

enum engine_call_kind {
    ENGINE_SUBMIT, /* a new task; with wait_until_ns: answered when it is finished */
    ENGINE_WAIT,   /* answered when the task is finished or the time is up */
    ENGINE_WATCH,  /* answered when the task is not, or is no longer, as `seen`; or the time is up */
    ENGINE_CANCEL,
    ENGINE_RETRY,    /* run a failed, canceled or expired task again */
    ENGINE_DELETE,   /* forget a finished task */
    ENGINE_SCHEDULE, /* write or remove the row of `schedule` */
    ENGINE_TENANTS,  /* the names of the store's tenants into `tenants`, each with a NUL behind it */
    ENGINE_HOLD,     /* pause, drain or resume what `admin` says */
    ENGINE_FIGURES   /* how the daemon and its tenants stand, into `admin` */
};

enum engine_result {
    ENGINE_OK,
    ENGINE_REPLAYED,       /* SUBMIT: the idempotency key's first task; `record` is that one */
    ENGINE_KEY_MISMATCH,   /* SUBMIT: the key was used with another body */
    ENGINE_KEY_GONE,       /* SUBMIT: the key's first task, now `id`, has been deleted */
    ENGINE_NOT_LIVE,       /* WAIT: not among the unfinished tasks: ask the reader */
    ENGINE_NOT_FOUND,      /* CANCEL, RETRY, DELETE: no such task of this tenant */
    ENGINE_NO_PARENT,      /* SUBMIT: the tenant has no task of the parent's id */
    ENGINE_NO_PREDECESSOR, /* SUBMIT: the tenant has no task of the id at `fault` of `after` */
    ENGINE_NOT_UNIQUE,     /* SUBMIT, RETRY: `record` is the task that has the unique key */
    ENGINE_CONFLICT,       /* the task's state does not allow it; `record` shows it */
    ENGINE_QUOTA,          /* the tenant or the daemon has as much as it may have; `fault` says of what */
    ENGINE_DRAINING,
    ENGINE_DRAINED,    /* SUBMIT, RETRY: an operator drains the daemon, the tenant or the task type */
    ENGINE_STORE_FULL, /* nothing was accepted */
    ENGINE_STORE_FAILED
};

/* How a task stood when somebody looked: what its watcher compares.  Zero-filled: never looked. */
struct engine_seen {
    bool valid;
    uint8_t state;
    uint32_t attempt;
    uint64_t version; /* of what it tells while it runs */
};

enum engine_quota { QUOTA_TASKS, QUOTA_ALL_TASKS, QUOTA_BYTES, QUOTA_RATE, QUOTA_WAITERS, QUOTA_HOLDS };

struct engine_rate { /* how a tenant with a rate stands; limit 0: it has none */
    uint32_t limit, window_s, left, reset_s;
    uint32_t retry_s; /* refused: when there is room again */
};

enum hold_order { HOLD_PAUSE, HOLD_DRAIN, HOLD_RESUME };

struct engine_tenant { /* a tenant's figures; what is counted is counted from when it was first seen or long idle */
    char name[152];
    struct tenant_limits limits;
    bool known; /* it has tasks, or had some not long ago */
    uint32_t scheduled, queued, running, waiters;
    uint64_t waiting_bytes;
    uint64_t submitted, attempts, finished[TASK_STATE_COUNT];
    int64_t run_us; /* of its attempts together */
};

struct engine_admin {
    /* in */
    struct hold hold; /* HOLD: scope and name */
    enum hold_order order;
    struct slice from; /* FIGURES: tenants from this name on */
    struct slice only; /* FIGURES: this tenant alone */
    unsigned limit;    /* FIGURES: of tenants; 0: none */
    /* out */
    struct hold *holds; /* malloced; the poster's */
    size_t n_holds;
    struct engine_tenant *tenants; /* malloced; the poster's */
    size_t n_tenants;
    char next[152]; /* where the list goes on; empty: it ends here */
    uint64_t waiting[TASK_STATE_COUNT];
};

/* A call belongs to whoever holds it: the poster until engine_post returned true, the engine until it calls
 * `deliver` (once, on the engine's thread, after the commit), then the receiver.  The poster embeds it in its own
 * request object. */
struct engine_call {
    struct mail mail;
    uint8_t mail_kind; /* the engine's */
    enum engine_call_kind kind;
    void (*deliver)(struct engine_call *call);
    /* in */
    struct task_spec *spec;  /* SUBMIT: a reference that the call owns */
    struct task_id id;       /* the others */
    char tenant[152];        /* the others: NUL-terminated; empty: any tenant (admin) */
    int64_t wait_until_ns;   /* SUBMIT, WAIT, WATCH, CANCEL: clock_mono_ns; 0: do not wait */
    struct engine_seen seen; /* WATCH: also out */
    bool cascade;            /* CANCEL: what a running task submits from now on is canceled, too */
    /* SCHEDULE; SUBMIT: what has fired (may be NULL).  The poster's until the call is delivered. */
    const struct store_schedule *schedule;
    struct buf *tenants;        /* TENANTS; the poster's */
    struct engine_admin *admin; /* HOLD, FIGURES; the poster's */
    bool has_key;               /* SUBMIT */
    unsigned char key[STORE_KEY_SIZE], fingerprint[STORE_KEY_SIZE];
    /* out */
    enum engine_result result;
    int retry_after_s;
    unsigned fault;            /* NO_PREDECESSOR: its place in `after`; QUOTA: enum engine_quota */
    struct engine_rate rate;   /* SUBMIT, RETRY */
    struct task_record record; /* owned by the receiver: task_record_release */
    /* the engine's while it waits */
    struct engine_call *next_waiter, **prev_waiter;
    uint32_t waits_for;
    bool replayed, not_unique;
    uint32_t timer_slot;
};

struct engine_options {
    struct store *store;       /* the engine's thread uses it from engine_start on; not owned */
    struct registry *registry; /* a reference is taken */
    unsigned workers;
    const char *url;          /* for child processes */
    const char *started_path; /* where it is kept which attempts have started; NULL: nowhere */
    size_t max_waiting, max_waiting_per_tenant;
    size_t hot_bytes;                /* how many bytes of specs are kept in memory for waiting tasks */
    size_t recent_bytes;             /* size of the cache of finished tasks */
    int64_t retain_us;               /* how long a finished task is kept that says nothing else; 0: for ever */
    unsigned callback_attempts;      /* how often the callback of an ended task is tried */
    int64_t drain_us;                /* how long a stop waits for running attempts */
    const struct attempt_host *host; /* what attempts may do; host_arg is host_arg */
    void *host_arg;
    /* Called on the engine's thread when the store failed for good: the process must exit. */
    void (*fatal)(void *arg, const char *why);
    void *fatal_arg;
    /* A tenant's weight and limits; called on the engine's thread when it becomes active.  NULL: all alike.
     * tenant_limits_arg must live as long as the registry. */
    void (*tenant_limits)(void *arg, struct slice tenant, struct tenant_limits *ret);
    void *tenant_limits_arg;
    struct metrics *metrics; /* NULL: none are kept; not owned */
    struct spans *spans;     /* NULL: nothing is exported; not owned */
};

struct engine_settings {       /* what a reload changes */
    struct registry *registry; /* a reference is taken */
    void *tenant_limits_arg;   /* lives as long as the registry */
    int64_t retain_us;
    size_t max_log; /* of the store */
};

struct engine;

int engine_new(const struct engine_options *options, struct engine **ret, char *error, size_t error_size);
/* Recovers what a crash left, starts the workers and the engine's thread. */
int engine_start(struct engine *engine, char *error, size_t error_size);
bool engine_post(struct engine *engine, struct engine_call *call); /* false: overloaded; the call stays the caller's */
/* Takes effect before everything that is posted later.  Nothing that waits or runs is lost: running attempts keep the
 * registry that they began with, and tasks whose type is gone fail once it is their turn.  0, -ENOMEM, or -ESHUTDOWN: the engine has stopped. */
int engine_reload(struct engine *engine, const struct engine_settings *settings);
/* What a running attempt tells: how far it is (negative: nothing new) and what it is doing, and a piece of its log.
 * Copied; from the attempt's worker.  False: more waits to be written than may; nothing was taken. */
bool engine_tell(struct engine *engine, const struct attempt *attempt, double progress, struct slice note,
                 struct slice log);
/* A finished task from the cache, or false.  Any thread.  `tenant` empty: any. */
bool engine_recent(struct engine *engine, struct task_id id, struct slice tenant, struct task_record *ret);
void engine_drain(struct engine *engine); /* refuse submissions and claims from now on; any thread */
void engine_hurry(struct engine *engine); /* a stop under way: cut off running attempts now; any thread */
/* Drains, waits, ends the workers, commits, ends the thread; NULL is fine.  Calls are refused from then on.  False: a
 * handler did not end and still runs; what it may use must stay. */
bool engine_stop(struct engine *engine);
void engine_free(struct engine *engine); /* NULL is fine */

struct engine_stats { /* a snapshot; any thread */
    uint64_t submitted, finished[TASK_STATE_COUNT], attempts_lost, commits, syncs, batches, changes;
    uint64_t waiting[TASK_STATE_COUNT], waiters, violations;
    uint64_t heartbeat;               /* grows with every turn of the engine: the watchdog's food */
    uint64_t paused, held;            /* what operators have paused, and what they are draining */
    bool store_ok, draining, drained; /* drained: an operator takes no more tasks */
};
void engine_get_stats(struct engine *engine, struct engine_stats *ret);

#endif
