/* One attempt at one task: what travels from the engine through the pool to an executor and back with its end.
 *
 * Ownership: exactly one room holds it at a time: the engine makes it, the pool's queue holds it, a worker runs
 * it, and the engine gets it back with the report filled in.
 * Thread: whoever holds it.  `cancel` may be fired by the engine at any time. */
#ifndef SATCHEL_EXECUTOR_ATTEMPT_H
#define SATCHEL_EXECUTOR_ATTEMPT_H

#include "base/mailbox.h"
#include "proto/problem.h"
#include "task/started.h"
#include "task/task.h"
#include "telemetry/spans.h"

struct attempt;
struct task_type;

/* Why an attempt's cancel object was fired (satchel_cancel_fire's reason). */
enum cancel_reason {
    CANCEL_REQUESTED = 1, /* somebody called :cancel */
    CANCEL_TIMEOUT,       /* the attempt's time ran out */
    CANCEL_DEADLINE,      /* the task's deadline passed */
    CANCEL_SHUTDOWN       /* the daemon stops: report the attempt as lost */
};

enum attempt_end {
    ATTEMPT_SUCCEEDED,
    ATTEMPT_FAILED,       /* may be repeated while attempts are left */
    ATTEMPT_FAILED_FINAL, /* must not be repeated */
    ATTEMPT_LOST          /* cut off, by a shutdown for one: repeated, counted apart */
};

#define ATTEMPT_TOKEN_SIZE 352u

/* What an attempt may do besides ending: filled by the engine's side, so that executors never include it.
 * Every call is made on the worker's thread, inside the attempt's context. */
struct attempt_host {
    /* Submits a sub-task through the same door as requests, with the calling thread's current context.
     * `body` is a submission as POST /v1/tasks takes it.  Blocks until it is durable.  0 or -1 and *reterr. */
    int (*spawn)(void *host, struct attempt *attempt, struct slice body, struct task_id *ret_id,
                 struct problem *reterr);
    /* Appends the task object of a task of the attempt's tenant, as the API shows it.  Blocks.  0, -ENOENT: there is
     * none, -EAGAIN: it cannot be read just now. */
    int (*show)(void *host, const struct attempt *attempt, struct task_id id, struct buf *out);
    void (*progress)(void *host, struct attempt *attempt, double fraction, struct slice message);
    void (*log)(void *host, struct attempt *attempt, struct slice lines); /* one or several, without the last \n */
    /* The token with which a child process of the attempt may call this daemon, until the attempt's end.  False: it
     * needs none. */
    bool (*token)(void *host, const struct attempt *attempt, char out[ATTEMPT_TOKEN_SIZE]);
};

struct attempt {
    /* the order */
    struct mail mail;
    uint8_t mail_kind;      /* the engine's: tells its messages apart */
    struct task_spec *spec; /* a reference of its own */
    const struct task_type *type;
    uint32_t number;        /* 1 is the first */
    uint32_t failures;      /* attempts that failed before this one (lost ones not counted) */
    enum error_type before; /* what the attempt before this one ended with; NONE: there was none, or nobody knows */
    satchel_cancel *cancel; /* a reference of its own; fired with an enum cancel_reason */
    int64_t deadline_us;    /* wall clock: the task's deadline or this attempt's time limit; 0: none */
    int64_t previous_lost;  /* how many attempts were cut off before */
    const struct attempt_host *host;
    void *host_arg;
    const char *url;           /* the pool's: where child processes reach this daemon; NULL: nowhere */
    struct started_mark *mark; /* set by the worker at the start; NULL: none is kept */
    unsigned log_lines_lost;   /* the host's: lines that it could not take, since the last that it took */
    struct spans *spans;       /* for spans_client; NULL: nothing is exported */
    uint32_t slot;             /* the engine's: why it fired the cancel object */
    /* the report: set by the worker and the executor */
    int64_t started_us, finished_us; /* wall clock */
    int64_t run_ns;                  /* monotonic time from start to end */
    enum attempt_end end;
    struct task_outcome *outcome; /* owned; NULL: out of memory (counts as failed, oom) */
    int64_t retry_after_us;       /* the executor asks for this pause; negative: the backoff decides */
    struct buf sent;              /* see attempt_sent */
};

/* Shorthands for executors: each ends the attempt; the last call counts. */
void attempt_succeed(struct attempt *attempt, struct slice result_json); /* copies; too large: failed, limit */
void attempt_fail(struct attempt *attempt, bool final, enum error_type error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The same with the bytes of any text: a string where it is not strict JSON (invalid UTF-8 and NUL: U+FFFD). */
void attempt_succeed_text(struct attempt *attempt, struct slice text);
/* Cut off by no fault of its own: repeated, and counted apart from failures. */
void attempt_lose(struct attempt *attempt, const char *message);
/* Notes for the audit view that the current context left the process: `to` is the kind of destination, `target` names
 * it, and the task type's `propagate` says which variables went. */
void attempt_sent(struct attempt *attempt, const char *to, struct slice target);
/* Fails the attempt as its fired cancel object says: canceled, timeout, deadline, or lost at a shutdown. */
void attempt_end_canceled(struct attempt *attempt);

/* The results of the tasks that it waited for, in the order of its `after`: appends a JSON array, null where there is
 * none (any more).  Blocks.  False and the reason. */
bool attempt_after(struct attempt *attempt, struct buf *out, char *error, size_t error_size);

/* Why this is not the first attempt: "retry" (by hand), or the type of the error that the one before ended with.
 * NULL: it is the first. */
const char *attempt_retry_reason(const struct attempt *attempt);

#endif
