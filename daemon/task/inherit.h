/* Where the variables of a task come from that another task made: all that travel, from that task.
 * Thread: any.  Called by api/spawn.c (sub-tasks) and engine/callback.c. */
#ifndef SATCHEL_TASK_INHERIT_H
#define SATCHEL_TASK_INHERIT_H

#include "proto/buf.h"
#include "proto/id.h"

#include <satchel/context.h>

/* Appends the JSON object that task_spec.origins is. */
void inherit_origins(const satchel_context *context, struct task_id from, struct buf *out);

#endif
