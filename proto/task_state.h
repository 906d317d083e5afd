/* The states and events of a task as numbers and words.  The transitions themselves: task_state_next().
 * Thread: any; pure functions over constant tables. */
#ifndef SATCHEL_PROTO_TASK_STATE_H
#define SATCHEL_PROTO_TASK_STATE_H

#include <stdbool.h>

#include "proto/slice.h"

enum task_state {
#define TASK_STATE(name, wire, final) TASK_##name,
#include "proto/task_states.def"
#undef TASK_STATE
    TASK_STATE_COUNT
};

enum task_event {
#define TASK_EVENT(name) TASK_EVENT_##name,
#include "proto/task_states.def"
#undef TASK_EVENT
    TASK_EVENT_COUNT
};

const char *task_state_name(enum task_state state); /* the wire name: "queued" */
const char *task_event_name(enum task_event event); /* for logs and test messages */
bool task_state_final(enum task_state state);
bool task_state_parse(struct slice text, enum task_state *ret);
/* The state that `event` leads to from `from`; false: refused. */
bool task_state_next(enum task_state from, enum task_event event, enum task_state *ret_to);

#endif
