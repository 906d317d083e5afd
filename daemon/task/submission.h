/* The one door by which a task comes in: requests, sub-tasks, batches and (later) schedules all pass here.
 * Text and a captured context in, a checked and immutable spec out.  Knows neither HTTP nor the engine.
 * Thread: any. */
#ifndef SATCHEL_TASK_SUBMISSION_H
#define SATCHEL_TASK_SUBMISSION_H

#include "proto/problem.h"
#include "task/task.h"

struct config;
struct registry;

struct submission_input {
    const struct config *config;     /* limits, defaults */
    const struct registry *registry; /* which task names there are */
    struct slice body;               /* the JSON text of one submission */
    const char *pointer;             /* where `body` lies in a larger document, for error pointers: "" or "/3" */
    /* The caller's context, extracted from headers or captured from a running attempt; borrowed and not changed.
     * Has a valid tenant. */
    const satchel_context *context;
    struct slice origins; /* JSON object text: variable -> origin; for what `context` holds */
    /* Of the 56 random bits that end a trace id: a trace that starts here is flagged as sampled where they are less.
     * 0: none is; 1 << 56: all are. */
    uint64_t root_sampling;
    struct slice group;            /* of one that names none; empty: none.  Not of one that waits for this group */
    struct task_id default_parent; /* of one that names none; none: none */
    struct task_id parent, root;   /* of the submitting attempt; none for requests (a body's parent_id then counts) */
};

/* The idempotency key of the body (member `idempotency_key`) is returned to the caller, who compares it with the
 * header.  `data` NULL: none.  Points into `key_buffer`. */
struct submission {
    struct task_spec *spec; /* a reference of the caller's */
    struct slice idempotency_key;
    char key_buffer[256];
};

bool submission_group_is_valid(struct slice name); /* as the name of a group */

/* 0, or -1 and *reterr: malformed JSON 400, everything else 422 with pointers; all faults of a body are listed. */
int submission_parse(const struct submission_input *input, struct submission *ret, struct problem *reterr);

#endif
