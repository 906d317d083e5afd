/* The attempts of a task, as answers show them: those that are kept beside the task, and the last one, of which the
 * task's own row tells.  Thread: any. */
#ifndef SATCHEL_TASK_ATTEMPTS_H
#define SATCHEL_TASK_ATTEMPTS_H

#include "proto/json_out.h"
#include "task/task.h"

/* Is there an attempt of which only the record tells?  *ret borrows from the record. */
bool task_attempts_last(const struct task_record *record, const struct task_history *history, struct task_attempt *ret);
/* Writes an array with one object an attempt, the first one first. */
void task_attempts_render(const struct task_record *record, const struct task_history *history, const char *node,
                          struct json_out *j);

#endif
