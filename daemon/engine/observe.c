/* What telemetry is told of a change once it is durable: spans of submissions and attempts.
 * Called by batch.c (after a commit) and recovery.c (attempts that a crash cut off).  Thread: the engine's, or the
 * starting one during recovery. */
#include "base/clock.h"
#include "engine/internal.h"

static void attempt_ended(struct engine *e, const struct change *change)
{
    const struct attempt *attempt = change->report;
    if (!attempt->started_us) /* the claim was given back: nothing happened */
        return;
    struct span_attempt span = {.spec = attempt->spec,
                                .outcome = change->outcome,
                                .number = attempt->number,
                                .own_trace = attempt->type->own_trace,
                                .lost = attempt->end == ATTEMPT_LOST,
                                .started_us = attempt->started_us,
                                .finished_us = attempt->finished_us};
    spans_attempt(e->options.spans, &span);
}

void observe_change(struct engine *e, const struct change *change, const struct entry *entry)
{
    if (!e->options.spans)
        return;
    if (change->row.kind == STORE_INSERT)
        spans_submitted(e->options.spans, entry->spec, clock_wall_us());
    if (change->report)
        attempt_ended(e, change);
}

void observe_cut_off(struct engine *e, const struct entry *entry, struct task_outcome *outcome)
{
    struct task_record record = {0};
    if (!e->options.spans || e->store->ops->load(e->store, &entry->id, 1, &record) != STORE_OK || !record.spec)
        return;
    const struct task_type *type = scheduler_lane(&e->scheduler, entry)->type;
    struct span_attempt span = {.spec = record.spec,
                                .outcome = outcome,
                                .number = record.status.attempt,
                                .own_trace = type && type->own_trace,
                                .lost = true,
                                .started_us = record.status.started_us,
                                .finished_us = e->now_us};
    if (span.started_us)
        spans_attempt(e->options.spans, &span);
    task_record_release(&record);
}
