/* The store: what must survive.  A batch interface; sqlite and (later) postgresql implement it, and both pass the
 * same tests.  The state machine is not in here: a store writes the states that it is told.
 *
 * Thread: a `struct store` belongs to the engine's thread.  Reading for answers goes through store/reader.h,
 * which has connections and a thread of its own. */
#ifndef SATCHEL_STORE_STORE_H
#define SATCHEL_STORE_STORE_H

#include "task/task.h"

struct store;

enum store_result {
    STORE_OK = 0,
    STORE_FENCED = 1, /* an update whose expected state and attempt are not the row's: nothing written */
    STORE_NOT_FOUND = 2,
    STORE_FULL = -1, /* no space (or a limit): nothing of the batch was written; may work later */
    STORE_BUSY = -2, /* not reachable or locked just now; nothing written */
    STORE_FATAL = -3 /* a failed fsync, corruption: the process must stop and recover */
};

#define STORE_KEY_SIZE 32

enum store_change_kind { STORE_INSERT, STORE_UPDATE, STORE_FORGET, STORE_SCHEDULE, STORE_HOLD };

enum hold_scope { HOLD_ALL, HOLD_TENANT, HOLD_TASK };

struct hold { /* what an operator has paused or is draining */
    enum hold_scope scope;
    bool paused, draining; /* neither: nothing is kept of it */
    char name[152];        /* of the tenant or the task type */
};

struct store_schedule {  /* a schedule's row */
    struct slice tenant; /* empty: of each tenant */
    struct slice name;
    struct slice body; /* JSON; empty: it is in the configuration, and only its times are kept */
    bool paused, remove;
    int64_t created_us, last_us; /* last_us: the last time that it has fired for; 0: none */
    struct task_id last_id;
};

/* One task's row after this batch.  The engine folds all transitions that a task makes within a batch into one. */
struct store_change {
    enum store_change_kind kind;
    struct task_id id;
    const struct task_spec *spec; /* INSERT: the whole of it.  UPDATE: may be NULL */
    enum task_state expect_state; /* UPDATE, FORGET: the row's state and attempt before the batch */
    uint32_t expect_attempt;
    struct task_status status;          /* what to write.  UPDATE: started_us 0 and a negative progress leave the
                                             row's own values, since a waiting task's are not kept in memory */
    const struct task_outcome *outcome; /* NULL: leave what is there; written with a finished attempt */
    struct slice note;                  /* UPDATE: what is said of the progress; empty: leaves what is there */
    struct slice log;                   /* UPDATE: goes to the end of the task's log */
    bool clear_outcome;                 /* a retry by hand: forget result and error */
    const struct store_change *with;    /* INSERT: an earlier change of the batch; fenced where that one is */
    const struct task_attempt *ended;   /* an attempt to be kept beside the task; NULL: none.  One that is kept
                                             already stays as it is */
    /* INSERT with an idempotency key: SHA-256 over tenant and key, and over the submission; else key is NULL */
    const unsigned char *key, *fingerprint;
    int64_t key_expires_us;
    const struct store_schedule *schedule; /* SCHEDULE: to be written or removed.  INSERT: it has fired, and its times
                                              (last_us; the task is last_id) are written with the task */
    const struct hold *hold;               /* HOLD: to be written, or removed */
    /* The unique key of the task, which an INSERT takes where its spec has one: fenced where another task has it. */
    bool take_unique;         /* UPDATE with a spec: takes it, too */
    bool drop_unique;         /* UPDATE: it is free again */
    uint8_t size;             /* INSERT: kept for store_waiting */
    enum store_result result; /* out: OK or FENCED */
};

/* What recovery and start-up need to know of a task that is not finished. */
struct store_waiting {
    struct task_id id;
    enum task_state state;
    uint8_t priority;
    uint32_t attempt;
    uint16_t lost, max_lost, failures;
    bool cancel_requested, has_callback;
    uint8_t size; /* as the engine gave it */
    bool has_after, has_group, has_unique, unique_until_started;
    int64_t run_at_us, expires_us, deadline_us;
    struct slice tenant, name; /* good during the call */
};

struct store_ops {
    void (*close)(struct store *store); /* checkpoints where it can */
    /* All changes in one transaction, durable when it returns STORE_OK.  Anything else: nothing was written. */
    enum store_result (*commit)(struct store *store, struct store_change *const changes[], size_t n);
    /* Every task that is not finished, ordered by (run_at, id).  fn's non-zero return stops the walk. */
    enum store_result (*each_waiting)(struct store *store, int (*fn)(void *arg, const struct store_waiting *task),
                                      void *arg);
    /* Loads whole tasks for running them; *ret[i].spec is NULL where ids[i] is gone.  Sees its own commits. */
    enum store_result (*load)(struct store *store, const struct task_id *ids, size_t n, struct task_record *ret);
    /* The task that a key made, within its time.  STORE_NOT_FOUND: none. */
    enum store_result (*find_key)(struct store *store, const unsigned char key[STORE_KEY_SIZE], int64_t now_us,
                                  struct task_id *ret_id, unsigned char ret_fingerprint[STORE_KEY_SIZE]);
    /* The task that holds a tenant's unique key.  STORE_NOT_FOUND: none. */
    enum store_result (*find_unique)(struct store *store, struct slice tenant, struct slice key, int64_t now_us,
                                     struct task_id *ret_id);
    /* The state of a task of the tenant, of a deleted one too while that is remembered.  STORE_NOT_FOUND: none. */
    enum store_result (*find_state)(struct store *store, struct task_id id, struct slice tenant,
                                    enum task_state *ret_state);
    enum store_result (*each_schedule)(struct store *store, int (*fn)(void *arg, const struct store_schedule *schedule),
                                       void *arg);
    /* The tenants that have tasks, or had some not long ago, by name: from `from` on, at most `limit` (0: all). */
    enum store_result (*each_tenant)(struct store *store, struct slice from, unsigned limit,
                                     int (*fn)(void *arg, struct slice tenant), void *arg);
    enum store_result (*each_hold)(struct store *store, int (*fn)(void *arg, const struct hold *hold), void *arg);
    /* Removes up to `limit` tasks that finished and were kept long enough, and expired keys; counts the tasks.
     * *ret_more: it stopped at a bound, and there is more to look at now. */
    enum store_result (*purge)(struct store *store, int64_t now_us, unsigned limit, unsigned *ret_purged,
                               bool *ret_more);
    /* Idle work: checkpoints.  Returns true while there is more to do. */
    bool (*idle)(struct store *store);
    uint64_t (*greatest_seq)(struct store *store); /* seeds task_id_seed */
    void (*counters)(struct store *store, uint64_t *ret_commits, uint64_t *ret_syncs);
    /* Changes what store_options said of these (a reload). */
    void (*set_limits)(struct store *store, int64_t retain_us, size_t max_log);
};

struct store {
    const struct store_ops *ops;
};

struct store_options {
    const char *url;   /* "sqlite:PATH"; later "postgresql://..." */
    int64_t retain_us; /* default time a finished task is kept */
    size_t max_log;    /* bytes of one task's log: the oldest go first; 0: the default */
    size_t wal_limit;  /* bytes of write-ahead log before a checkpoint is forced; 0: the default */
};

/* 0, or -1 with the reason (what, which file, what to do) in `error`. */
int store_open(const struct store_options *options, struct store **ret, char *error, size_t error_size);

static inline void store_close(struct store *store)
{
    if (store)
        store->ops->close(store);
}

#endif
