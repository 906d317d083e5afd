/* What of a context may leave the process, or enter a sub-task: the one place that applies a task type's `propagate`.
 * Thread: any; works on the calling thread's current context.  Called by the executors and by api/spawn.c. */
#ifndef SATCHEL_TASK_PROPAGATE_H
#define SATCHEL_TASK_PROPAGATE_H

#include <satchel/context.h>

#include "config/config.h" /* enum propagate */

/* Which bit of `propagate` lets this variable out.  0: none does, it is the worker's own (task id, attempt). */
unsigned propagate_bit(const satchel_var *var);
/* A copy of the current context without what `propagate` keeps back; a reference of the caller's.  NULL: no memory. */
satchel_context *propagate_permitted(unsigned propagate);

#endif
