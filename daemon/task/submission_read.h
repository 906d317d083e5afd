/* The members of a submission, read and checked one by one; every fault is noted with its JSON pointer.
 * Private to submission.c.  Thread: any. */
#ifndef SATCHEL_TASK_SUBMISSION_READ_H
#define SATCHEL_TASK_SUBMISSION_READ_H

#include <jansson.h>

#include "task/submission.h"

#define CALLBACK_MAX 2048u
#define LABELS_MAX 64u
#define LABEL_KEY_MAX 63u
#define LABEL_VALUE_MAX 256u
#define GROUP_MAX 200u
#define UNIQUE_KEY_MAX 255u
#define VARIABLES_MAX 64u
#define VARIABLE_VALUE_MAX 8192u
#define VARIABLES_BYTES_MAX 32768u

struct submission_text { /* what the body says; times and durations in microseconds, 0: not said */
    const struct task_type *type;
    struct slice args;    /* verbatim; into the body */
    const json_t *labels; /* checked objects of strings, borrowed from the tree; NULL: none */
    const json_t *variables;
    struct slice callback;
    struct slice key; /* idempotency_key; borrowed from the tree */
    struct task_id parent;
    struct task_id after[TASK_AFTER_MAX];
    size_t n_after;
    struct slice group, after_group, unique_key; /* borrowed from the tree */
    bool unique_until_started;
    struct backoff backoff;
    int64_t delay_us, run_at_us, timeout_us, deadline_us, expires_in_us, retain_us, unique_for_us;
    bool has_delay, has_run_at, has_retain;
    int priority, max_attempts, max_lost;
};

/* False: faults were added to `problem`. */
bool submission_read(const struct submission_input *input, const json_t *root, struct submission_text *ret,
                     struct problem *problem);

#endif
