#include "proto/task_state.h"

static const struct {
    const char *name;
    bool final;
} states[] = {
#define TASK_STATE(name, wire, final) {wire, final},
#include "proto/task_states.def"
#undef TASK_STATE
};

static const char *const events[] = {
#define TASK_EVENT(name) #name,
#include "proto/task_states.def"
#undef TASK_EVENT
};

/* 0: refused; else the next state + 1. */
static const unsigned char moves[TASK_STATE_COUNT][TASK_EVENT_COUNT] = {
#define TASK_MOVE(from, event, to) [TASK_##from][TASK_EVENT_##event] = TASK_##to + 1,
#include "proto/task_states.def"
#undef TASK_MOVE
};

const char *task_state_name(enum task_state state)
{
    return states[state].name;
}

const char *task_event_name(enum task_event event)
{
    return events[event];
}

bool task_state_final(enum task_state state)
{
    return states[state].final;
}

bool task_state_parse(struct slice text, enum task_state *ret)
{
    for (int i = 0; i < TASK_STATE_COUNT; i++) {
        if (slice_eq_str(text, states[i].name)) {
            *ret = (enum task_state)i;
            return true;
        }
    }
    return false;
}

bool task_state_next(enum task_state from, enum task_event event, enum task_state *ret_to)
{
    if (!moves[from][event])
        return false;
    *ret_to = (enum task_state)(moves[from][event] - 1);
    return true;
}
