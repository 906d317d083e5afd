/* The task object: a record as the API shows it.  Thread: any. */
#ifndef SATCHEL_TASK_RENDER_H
#define SATCHEL_TASK_RENDER_H

#include "proto/json_out.h"
#include "task/task.h"

#define CONTEXT_MEMBERS_MAX 256u /* more than a context may hold: submission.c bounds it */

/* Writes one JSON object.  `node` names this daemon; shown for tasks that have been started.  Secret variables are
 * left out.  `history` (NULL: not shown) becomes "attempts". */
void task_render(const struct task_record *record, const struct task_history *history, const char *node,
                 struct json_out *j);
/* "exit_code" and "error" as members of the object that is open. */
void task_render_end(const struct task_outcome *outcome, struct json_out *j);
/* What an event tells of a change: how the task stands, with its context, without args and result. */
void task_render_event(const struct task_record *record, struct json_out *j);
/* {"id": ..., "state": ...}: for callers that asked for little. */
/* Members alone, after an opening brace that it writes: what a list of many shows of each. */
void task_render_summary(const struct task_record *record, struct json_out *j);
void task_render_minimal(const struct task_record *record, struct json_out *j);

#endif
