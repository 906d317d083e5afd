/* The context an attempt runs in: a copy of the submission's, with what is the attempt's own set inside it.
 * Nothing that a handler changes reaches the submission's context or another attempt.
 * Thread: the worker that runs the attempt.  Called by attempt_run.c alone. */
#ifndef SATCHEL_WORKER_ATTEMPT_CONTEXT_H
#define SATCHEL_WORKER_ATTEMPT_CONTEXT_H

#include "executor/attempt.h"

/* Makes the context and enters it.  NULL: no memory, nothing is entered. */
satchel_context *attempt_context_enter(struct attempt *attempt);
/* Leaves and releases it, and empties the thread.  False: a handler had left something behind. */
bool attempt_context_leave(satchel_context *context);

#endif
