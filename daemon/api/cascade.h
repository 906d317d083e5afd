/* Canceling a task with all its sub-tasks.  Thread: the loop's. */
#ifndef SATCHEL_API_CASCADE_H
#define SATCHEL_API_CASCADE_H

#include "api/calls.h"

/* Once all are told, the task at the top is read and `answer` is called with it (call->holds is CALL_READER), or with
 * the engine's refusal of the top (CALL_ENGINE). */
void cascade_cancel(struct visit *visit, struct task_id id, int64_t wait_ns,
                    bool (*answer)(struct api_call *call, struct http_exchange *exchange));
bool cascade_changed(const struct api_call *call); /* something was canceled, or told to end */

#endif
