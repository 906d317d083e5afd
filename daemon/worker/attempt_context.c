/* What an attempt adds to its submission's context: its own span, the task's id, the attempt's number, the cancel
 * object and the deadline. */
#include "worker/attempt_context.h"

#include <stdio.h>
#include <string.h>

#include "executor/executor.h"
#include "proto/timetext.h"

/* The submission's trace-id and flags with the attempt's span as parent: what a handler passes on. */
static int set_span(const struct attempt *attempt)
{
    satchel_trace trace;
    int status = satchel_trace_current(&trace);
    if (status == SATCHEL_UNSET) /* a submission without a trace: the attempt starts one */
        status = satchel_trace_root(&trace);
    if (status != SATCHEL_OK)
        return status;
    task_id_attempt_span(attempt->spec->id, attempt->number, trace.span_id);
    if (attempt->type->own_trace) { /* linked to the submission's by its span alone */
        task_id_attempt_trace(attempt->spec->id, attempt->number, trace.trace_id);
        trace.flags |= 2;
        if (satchel_tracestate())
            status = satchel_unset(satchel_known_var(SATCHEL_TRACESTATE), NULL);
        if (status != SATCHEL_OK)
            return status;
    }
    trace.remote = false;
    return satchel_set_trace(&trace, NULL);
}

static int set_names(const struct attempt *attempt)
{
    char id[TASK_ID_TEXT_SIZE], number[16];
    task_id_format(attempt->spec->id, id);
    int status = satchel_set_stringn(satchel_known_var(SATCHEL_TASK_ID), id, TASK_ID_TEXT_SIZE - 1, NULL);
    if (status != SATCHEL_OK)
        return status;
    int len = snprintf(number, sizeof number, "%u", attempt->number);
    return satchel_set_stringn(satchel_known_var(SATCHEL_ATTEMPT), number, (size_t)len, NULL);
}

/* The cancel object, and the earlier of the deadline that the submission's context holds and the attempt's own.  A
 * callback tells of another task: its receiver is shown that one's deadline, not how long this delivery may take. */
static int set_limits(const struct attempt *attempt)
{
    int status = satchel_set_cancel(attempt->cancel, NULL);
    if (status != SATCHEL_OK || attempt->deadline_us == 0 || attempt->type->internal)
        return status;
    satchel_var *deadline = satchel_known_var(SATCHEL_DEADLINE);
    char text[TIMESTAMP_TEXT_SIZE];
    timestamp_format(attempt->deadline_us, text);
    void *bound;
    if (satchel_get(deadline, &bound) == SATCHEL_OK && strcmp(bound, text) <= 0)
        return SATCHEL_OK; /* both are written alike, so that text order is time order */
    return satchel_set_stringn(deadline, text, TIMESTAMP_TEXT_SIZE - 1, NULL);
}

satchel_context *attempt_context_enter(struct attempt *attempt)
{
    satchel_context *captured = task_context(attempt->spec);
    satchel_context *context = captured ? satchel_context_copy(captured) : NULL;
    if (!context)
        return NULL;
    if (satchel_context_enter(context) != SATCHEL_OK) {
        satchel_context_unref(context);
        return NULL;
    }
    if (set_span(attempt) == SATCHEL_OK && set_names(attempt) == SATCHEL_OK && set_limits(attempt) == SATCHEL_OK)
        return context;
    (void)satchel_context_exit(context);
    satchel_context_unref(context);
    return NULL;
}

bool attempt_context_leave(satchel_context *context)
{
    bool clean = satchel_context_current() == context;
    for (satchel_context *left; (left = satchel_context_current()) != NULL;)
        (void)satchel_context_exit(left); /* the attempt's own, and what the handler left entered above it */
    satchel_context_unref(context);
    if (satchel_context_len(NULL) > 0) { /* set by a handler that had left the attempt's context */
        clean = false;
        (void)satchel_thread_reset();
    }
    return clean;
}
