/* What one task is, as every room of the daemon sees it: the *spec* that was submitted and never changes, the
 * *status* that does, and the *outcome* of its last attempt.
 *
 * Ownership: spec and outcome are immutable after they were built and are shared by reference count (atomic), so
 * that loop, engine, worker, cache and answer hold the same one.  A status is plain data and is copied.
 * Thread: the engine alone decides a status; anybody may read the one it was handed. */
#ifndef SATCHEL_TASK_TASK_H
#define SATCHEL_TASK_TASK_H

#include <satchel/context.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/blob.h"
#include "proto/buf.h"
#include "proto/id.h"
#include "proto/task_state.h"

enum error_type {
#define ERROR_TYPE(name, wire) ERROR_TYPE_##name,
#include "proto/error_types.def"
#undef ERROR_TYPE
    ERROR_TYPE_COUNT
};

const char *error_type_name(enum error_type type);

enum backoff_type { BACKOFF_EXPONENTIAL, BACKOFF_FIXED };

struct backoff {
    enum backoff_type type;
    bool jitter;
    int64_t base_us, cap_us;
};

#define TASK_CALLBACK_NAME "satchel.callback" /* the type of the tasks that tell of an end */

/* How much of a spec is variable: all slices point into one allocation with the struct. */
struct task_spec {
    atomic_uint refs;
    struct task_id id;
    struct task_id parent;    /* none: not a sub-task */
    struct task_id root;      /* itself where it has no parent */
    struct slice tenant;      /* NUL-terminated, as all slices here are */
    struct slice name;        /* the task type's name */
    struct slice args;        /* the submitted JSON text, verbatim; "null" where none was sent */
    struct slice labels;      /* a JSON object's text, or empty */
    struct slice context;     /* satchel_context_to_json with secrets: what is stored and what an attempt gets back */
    struct slice callback;    /* the URL that gets the finished task; empty: none */
    struct slice after;       /* the ids of the tasks that must succeed first: struct task_id each, as bytes */
    struct slice group;       /* the group that it belongs to; empty: none */
    struct slice after_group; /* the group whose members must end first; empty: none */
    struct slice unique_key;  /* no other living task of the tenant has it; empty: any may */
    struct slice origins;     /* JSON object: variable name -> "header", "body", ... ; for the audit view */
    uint8_t parent_span[8];   /* span id of the incoming traceparent; zero: the submission started the trace */
    int64_t created_us;       /* wall clock */
    int64_t run_at_us;        /* not before; 0: at once */
    int64_t deadline_us;      /* 0: none */
    int64_t expires_us;       /* not started by then: expired; 0: never */
    int64_t timeout_us;       /* of one attempt; 0: the task type's */
    int64_t retain_us;        /* how long it is kept once finished; 0: the configured time */
    int64_t unique_for_us;    /* the key is held no longer than this; 0: no such limit */
    struct backoff backoff;
    uint16_t max_attempts, max_lost;
    uint8_t priority;
    bool run_at_is_span;                 /* run_at_us was given as a delay; known while it is hot alone */
    bool unique_until_started;           /* the key is free once an attempt has been claimed; else once it has ended */
    _Atomic(satchel_context *) restored; /* task_context; owned */
    uint32_t size;                       /* bytes of the allocation */
    /* What it takes in all, with its context as an object, whether or not that was made yet: an estimate, since tasks of
     * one request share parts of theirs. */
    uint32_t memory;
};

/* What spec_new copies into the one allocation.  Numbers and ids are set on the result before it is shared. */
struct task_spec_text {
    struct slice tenant, name, args, labels, context, origins, callback, after, group, after_group, unique_key;
};
#define TASK_AFTER_MAX 64u /* how many tasks one may wait for */
size_t task_after_count(const struct task_spec *spec);
void task_after_list(const struct task_spec *spec, const char *between, struct buf *out); /* their texts */
struct task_id task_after_at(const struct task_spec *spec, size_t index);
struct task_spec *task_spec_new(const struct task_spec_text *text); /* one reference; NULL: no memory */
struct task_spec *task_spec_ref(struct task_spec *spec);
void task_spec_unref(struct task_spec *spec); /* NULL is fine */

/* The captured context: never entered itself, copied per attempt.  Of a task that was read from the store it is restored
 * when somebody asks for it first.  Borrowed, as long as the spec.  NULL: no memory.  Any thread.  context.c. */
satchel_context *task_context(const struct task_spec *spec);
void task_context_set(struct task_spec *spec,
                      satchel_context *context); /* takes it over; nobody else has the spec yet */

struct task_status {
    enum task_state state;
    uint32_t attempt;      /* claims so far: the number of the current or last attempt, and the fencing token */
    uint16_t lost;         /* attempts that were cut off, since the last retry by hand */
    uint16_t failures;     /* attempts that failed, since the last retry by hand */
    bool cancel_requested; /* stored, so that it holds over a crash */
    int64_t run_at_us;     /* when it is or was due */
    int64_t started_us;    /* of the last attempt; 0: never */
    int64_t finished_us;   /* 0: not finished */
    float progress;        /* 0..1; negative: never reported */
};

double task_progress(const struct task_status *status); /* in a float's own digits; negative: never reported */

/* How the last attempt ended. */
struct task_outcome {
    atomic_uint refs;
    struct blob *result; /* JSON text; only of a success */
    bool has_exit_code;
    int exit_code;
    enum error_type error; /* ERROR_TYPE_NONE: it succeeded */
    int signal_number;     /* 0: none */
    int http_status;       /* 0: none */
    char message[];        /* UTF-8, for people */
};

struct task_outcome *task_outcome_success(struct blob *result); /* takes the reference over; NULL: no memory */
struct task_outcome *task_outcome_failure(enum error_type error, struct slice message);
struct task_outcome *task_outcome_ref(struct task_outcome *outcome);
void task_outcome_unref(struct task_outcome *outcome);

/* One attempt that has ended, as it is kept beside its task. */
struct task_attempt {
    uint32_t number;
    int64_t started_us; /* 0: as the task's row says */
    int64_t finished_us;
    struct task_outcome *outcome; /* NULL: cut off */
    struct slice sent;            /* members of a JSON array: where its context's variables went; empty: nowhere but to
                                     an in-process handler */
};

/* The attempts that ended before the last one, and the last one where something is kept of it; by number. */
struct task_history {
    struct task_attempt *attempts;
    size_t n;
    struct buf text; /* what the slices point into */
};
void task_history_release(struct task_history *history);

/* One whole task, as an answer shows it. */
struct task_record {
    struct task_spec *spec;
    struct task_status status;
    struct task_outcome *outcome; /* NULL: no attempt has ended */
    struct blob *note;            /* what was said last about its progress; NULL: nothing */
};
void task_record_release(struct task_record *record);

#endif
