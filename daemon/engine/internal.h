/* What the files of the engine share.  Everything in here belongs to the engine's thread, except where a field
 * says otherwise.
 *
 * One turn (engine.c):
 *     take messages -> calls.c, attempts.c;  due timers -> timers.c;  claims -> claims.c
 *       each moves entries (batch.c: task_move), which notes the entry as changed
 *     batch_commit: one row per changed entry, one transaction
 *       committed: the effects leave (answers, dispatches, cancel signals, the cache)
 *       refused:   every entry is put back as it was, submissions are answered "store full", reports wait */
#ifndef SATCHEL_ENGINE_INTERNAL_H
#define SATCHEL_ENGINE_INTERNAL_H

#include <pthread.h>

#include "base/heap.h"
#include "engine/engine.h"
#include "engine/entries.h"
#include "engine/groups.h"
#include "engine/holds.h"
#include "engine/recent.h"
#include "engine/scheduler.h"
#include "worker/pool.h"

enum mail_kind { MAIL_CALL = 1, MAIL_REPORT, MAIL_TOLD, MAIL_RELOAD };

struct engine_mail { /* the common start of struct engine_call, struct attempt, struct told and struct reload */
    struct mail mail;
    uint8_t kind;
};

/* What a running or waited-for task has beyond its entry. */
struct live {
    struct live_head head; /* first: read through entry_spec */
    uint32_t entry;
    struct engine_call *waiters;
    bool running; /* an attempt is with the pool */
    struct live *next_running, **prev_running;
    satchel_cancel *cancel;      /* of the running attempt; a reference */
    enum cancel_reason reason;   /* 0: not fired */
    enum cancel_reason at_limit; /* what the limit timer means */
    uint32_t limit_slot;         /* in the heap of time limits */
    int64_t expected_ns;         /* what its tenant was charged */
    int64_t ahead_ns;            /* its share of in_flight_ns */
    int64_t started_us;
    int64_t timeout_ns; /* monotonic: when the attempt's time is over; INT64_MAX: never */
    /* what it tells (told.c) */
    uint64_t version;    /* a new one with every change that somebody may have seen */
    float progress;      /* negative: nothing */
    struct blob *note;   /* a reference */
    struct buf log;      /* not written yet */
    struct links *links; /* links.c: to tasks that it waits for, or that wait for it; NULL: none */
    bool told;           /* progress, note or log are to be written */
    bool unwritten;      /* the row does not tell of the running attempt yet (claims.c): it is that of a queued task */
    int64_t written_ns;
    uint32_t write_slot; /* in the heap of writes that are due */
};

struct before { /* an entry as it was before the batch */
    bool existed;
    uint8_t state;
    bool cancel_requested, unwritten;
    uint16_t lost, failures;
    uint8_t ties;
    uint32_t attempt;
    int64_t run_at_us, give_up_us;
};

struct change {
    struct store_change row;
    struct before before;
    uint32_t entry;               /* ENTRY_NONE: a row without an entry (DELETE) */
    bool forced;                  /* written although only a flag changed */
    struct task_outcome *outcome; /* a reference */
    struct task_attempt ended;    /* row.ended points here; holds a reference of its outcome */
    struct engine_call *calls;    /* answered after the commit */
    struct attempt *claim;        /* dispatched after the commit */
    struct attempt *report;       /* what ended; released after the commit, kept if it is refused */
    enum cancel_reason fire;      /* cancel signal to send after the commit */
};

#define BATCH_MESSAGES 1024u
#define BATCH_TIMERS 1024u
#define BATCH_CLAIMS 1024u
#define BATCH_CHANGES (BATCH_MESSAGES + BATCH_TIMERS + BATCH_CLAIMS + 64u)
_Static_assert(BATCH_CHANGES <= UINT16_MAX, "an entry tells which change is its own in 16 bits");
_Static_assert(offsetof(struct live, head) == 0, "entry_spec finds it there");

struct engine {
    struct engine_options options;
    struct store *store;
    struct pool *pool;
    struct started *marks;     /* NULL: none are kept, every cut-off attempt counts as lost */
    struct registry *registry; /* a reference; the engine's thread once started */
    uint16_t *labels;          /* of its types in the metrics, by index */
    pthread_t thread;
    bool started;
    /* any thread */
    struct mailbox box;
    atomic_bool draining, stopping, hurry, store_ok;
    atomic_bool closed;         /* nobody takes messages any more */
    struct recent *recent;      /* has its own locks */
    atomic_size_t told_bytes;   /* on their way to the engine's thread */
    pthread_mutex_t stats_lock; /* guards published */
    struct engine_stats published;
    /* the engine's thread */
    struct mail *inbox; /* taken and not yet handled */
    struct mail *again; /* calls to be handled after the commit under way; newest first */
    struct entries entries;
    struct scheduler scheduler;
    struct heap due;    /* wall clock: entries */
    struct heap limits; /* monotonic: running attempts */
    struct heap waits;  /* monotonic: waiting calls */
    struct heap writes; /* monotonic: what running tasks have told */
    struct groups groups;
    struct holds holds;
    bool hold_under_way; /* one is in this batch */
    struct links *ready; /* blocked tasks that wait for nothing more, or in vain */
    uint64_t version;    /* the last that was given out */
    struct live *running;
    uint32_t in_flight;
    int64_t in_flight_ns; /* expected run time of all claimed attempts; one of unknown length fills its worker */
    struct change *changes;
    size_t n_changes;
    struct store_change **rows; /* what is handed to the store */
    struct attempt *held;       /* reports that the store has refused, to be tried again; linked by mail.next */
    int64_t now_us, now_ns;     /* of this turn */
    int64_t wall_offset_us;     /* of the wall clock, to the time since the machine started: as it was last */
    bool clocks_known;          /* ... and it was looked at */
    int64_t retry_ns;           /* the store refused: claims and timers rest until then */
    int64_t pause_ns;           /* how long; constant once started */
    int64_t grace_ns;           /* for attempts that a stop has told to end, and their rows; constant once started */
    int64_t unwritten_ns;       /* for so long a claim may be in no row (claims.c); constant once started */
    int64_t purge_ns;
    unsigned purge_step;      /* how many finished tasks the next purge may remove */
    int64_t stop_ns, kill_ns; /* stages of a stop */
    bool abandoned;           /* the stop gave up on a worker that does not return */
    size_t hot_bytes;
    uint32_t recovering; /* during recovery: entries that were running, linked by next */
    struct engine_stats stats;
};

/* batch.c */
struct change *batch_touch(struct engine *e, struct entry *entry); /* NULL: the batch is full or out of memory */
void batch_keep_attempt(struct change *change, const struct task_attempt *ended); /* adds a reference to its outcome */
struct change *batch_add_row(struct engine *e, struct task_id id);
/* Applies an event: state, counters, queues and timers.  False: the table refuses it, or no room in the batch. */
bool task_move(struct engine *e, struct entry *entry, enum task_event event);
void task_claim(struct engine *e, struct entry *entry); /* a queued task runs; no row is written of it for now */
void task_requeue(struct engine *e, struct entry *entry, bool first); /* links and arms as its state says */
void task_set_state(struct engine *e, struct entry *entry, enum task_state state, bool is_new);
void batch_commit(struct engine *e);
void batch_pause(struct engine *e); /* claims and timers rest for a moment: the store or memory is short */
bool batch_full(const struct engine *e, size_t room);
struct entry *entry_new(struct engine *e, struct task_id id, struct slice tenant, struct slice name);
void entry_drop(struct engine *e, struct entry *entry);
struct live *entry_live(struct engine *e, struct entry *entry); /* made where missing; NULL: no memory */
void entry_live_release(struct engine *e, struct entry *entry); /* if nothing needs it any more */
void entry_cool(struct engine *e, struct entry *entry);         /* drops its spec from memory */
struct task_status entry_status(const struct engine *e, const struct entry *entry);
/* The same without what the batch under way makes of it, which is told to nobody yet. */
struct task_status entry_status_durable(const struct engine *e, const struct entry *entry);

/* clocks.c */
void clocks_look(struct engine *e); /* the turn's times */

/* calls.c */
void call_handle(struct engine *e, struct engine_call *call);
bool call_may_see(const struct engine *e, const struct entry *entry, const char *tenant); /* "": anybody may */
void call_answer(struct engine *e, struct engine_call *call, enum engine_result result);
/* With the record of an entry; a cold one is loaded. */
void call_answer_entry(struct engine *e, struct engine_call *call, struct entry *entry, struct task_outcome *outcome);

struct change *batch_begin(struct engine *e, struct entry *entry, enum store_change_kind kind); /* a new entry's row */
#define CHANGES_OF_AN_END 2u /* a task's own row, and its callback's */

/* admission.c */
enum engine_result admission_ask(struct engine *e, struct engine_call *call, const struct entry *entry);
uint8_t admission_code(size_t bytes);
uint64_t admission_bytes(uint8_t code);

/* admin.c */
void hold_handle(struct engine *e, struct engine_call *call);
void hold_committed(struct engine *e, const struct change *change);
void figures_handle(struct engine *e, struct engine_call *call);
int holds_load(struct engine *e);                                    /* at the start: 0, -ENOMEM, -EIO */
void holds_apply(struct engine *e);                                  /* the scheduler learns what is held */
bool holds_drain(const struct engine *e, const struct entry *entry); /* no more tasks like this one are taken */
void tenant_limits_get(void *arg, struct slice tenant,
                       struct tenant_limits *ret); /* of the scheduler; arg: the engine */

/* callback.c */
void callback_add(struct engine *e, struct entry *entry); /* the entry has just ended, in this batch */

/* links.c */
/* Ties a new entry to what its spec names: the tasks and the group that it waits for (ENTRY_BLOCKED where it does), and
 * the group that it belongs to.  0; -ENOENT: the tenant has no task of the id at *ret_fault; -ENOMEM, -EIO.  Nothing is
 * tied then.  `recovering`: who is not there any more had succeeded. */
int links_tie(struct engine *e, struct entry *entry, const struct task_spec *spec, bool recovering,
              unsigned *ret_fault);
void links_ended(struct engine *e, struct entry *entry);   /* its end is durable */
void links_settled(struct engine *e, struct entry *entry); /* a change of it is durable, and it goes on */
void links_drop(struct engine *e, struct entry *entry);    /* the entry is given up, whatever it waits for */
void links_run(struct engine *e);                          /* moves tasks that wait for nothing more */
void links_free(struct live *live);

/* waiters.c */
void waiter_add(struct engine *e, struct entry *entry, struct engine_call *call);
void waiters_answer(struct engine *e, struct entry *entry, struct task_outcome *outcome);
void waiters_dismiss(struct engine *e, struct entry *entry); /* the engine knows the task no longer: ask the store */
void waiters_expire(struct engine *e);
void waiters_answer_all(struct engine *e); /* at a stop */

void watch_handle(struct engine *e, struct engine_call *call);
void watchers_answer(struct engine *e, struct entry *entry); /* the task changed, durably, and goes on */

/* told.c */
void told_handle(struct engine *e, struct mail *mail);
void told_write_due(struct engine *e); /* touches what is due to be written */
void told_fill(struct live *live, struct change *change);
void told_written(struct engine *e, struct live *live);
void told_again(struct engine *e, struct live *live); /* the store refused it */
void told_release(struct engine *e, struct live *live);
void told_drop(struct mail *mail, struct engine *e);

/* reload.c */
int labels_new(struct metrics *metrics, const struct registry *registry, uint16_t **ret); /* 0 or -ENOMEM */
void reload_handle(struct engine *e, struct mail *mail);                                  /* takes it over */
void reload_drop(struct mail *mail);

/* claims.c */
void claims_dispatch(struct engine *e);
bool claims_waiting(struct engine *e); /* is there a task that could be claimed right now? */
#define CLAIMS_AHEAD 512u              /* claims beyond the number of workers, */
#define CLAIMS_AHEAD_MAX 4096u         /* and of tasks whose end somebody waits for */

/* attempts.c */
#define FAR_US (INT64_MAX / 2000)                               /* a limit that lies further ahead needs no timer */
bool attempt_report(struct engine *e, struct attempt *attempt); /* false: no room in this batch: again later */
void attempt_release(struct engine *e, struct attempt *attempt);
void attempt_fire(struct engine *e, struct live *live, enum cancel_reason reason);
void attempt_arm_limit(struct engine *e,
                       const struct entry *entry); /* its time limit or its deadline, whichever is next */

/* observe.c */
void observe_claim(struct engine *e, const struct attempt *attempt, const struct entry *entry);
void observe_change(struct engine *e, const struct change *change, const struct entry *entry); /* it is durable */
/* Recovery: the entry's last attempt had started and was cut off.  Before the row is changed. */
void observe_cut_off(struct engine *e, const struct entry *entry, struct task_outcome *outcome);

/* timers.c */
void timers_run(struct engine *e);
int64_t timers_wait_ns(struct engine *e); /* how long the engine may sleep; negative: for ever */

/* recovery.c */
int engine_recover(struct engine *e, char *error, size_t error_size);

#endif
