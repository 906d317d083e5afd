/* What telemetry is told of a change once it is durable: metrics, and spans of submissions and attempts.
 * Called by batch.c (after a commit), claims.c (a claim that is not written) and recovery.c (attempts that a crash cut off).  Thread: the engine's, or the
 * starting one during recovery. */
#include "base/clock.h"
#include "engine/internal.h"

static struct metric_attempt metric_of(const struct engine *e, const struct attempt *attempt, int64_t at_us)
{
    const struct task_type *type = attempt->type;
    bool is_present = type->registry == e->registry; /* else it began before a reload */
    return (struct metric_attempt){.spec = attempt->spec,
                                   .type = is_present ? e->labels[type->index]
                                                      : metrics_type(e->options.metrics, type->name),
                                   .number = attempt->number,
                                   .own_trace = attempt->type->own_trace,
                                   .at_us = at_us};
}

/* What is repeated after it was cut off was due before its first attempt: no wait that would mean anything. */
void observe_claim(struct engine *e, const struct attempt *attempt, const struct entry *entry)
{
    if (entry->lost)
        return;
    struct metric_attempt metric = metric_of(e, attempt, e->now_us);
    metrics_note_wait(e->options.metrics, &metric, e->now_us - entry->run_at_us);
}

static enum metric_result result_of(const struct attempt *attempt, const struct entry *entry)
{
    if (attempt->end == ATTEMPT_SUCCEEDED)
        return RESULT_SUCCEEDED;
    if (entry->state == TASK_CANCELED)
        return RESULT_CANCELED;
    return attempt->end == ATTEMPT_LOST ? RESULT_LOST : RESULT_FAILED;
}

static void attempt_ended(struct engine *e, const struct change *change, const struct entry *entry)
{
    const struct attempt *attempt = change->report;
    if (!attempt->started_us) /* the claim was given back: nothing happened */
        return;
    struct metric_attempt metric = metric_of(e, attempt, attempt->finished_us);
    metrics_note_run(e->options.metrics, &metric, attempt->run_ns, result_of(attempt, entry));
    if (!e->options.spans)
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

/* It has the ended task's context, traceparent included: the submission's span that its attempts are children of was
 * told when that task was submitted. */
static bool is_callback(const struct task_spec *spec)
{
    return slice_eq_str(spec->name, TASK_CALLBACK_NAME);
}

void observe_change(struct engine *e, const struct change *change, const struct entry *entry)
{
    const char *tenant = scheduler_lane(&e->scheduler, entry)->tenant->name;
    if (change->row.kind == STORE_INSERT) {
        metrics_note_submitted(e->options.metrics, tenant);
        if (e->options.spans && !is_callback(entry_spec(entry)))
            spans_submitted(e->options.spans, entry_spec(entry), clock_wall_us());
    }
    if (change->report)
        attempt_ended(e, change, entry);
    if (change->claim)
        observe_claim(e, change->claim, entry);
    if (task_state_final((enum task_state)entry->state))
        metrics_note_finished(e->options.metrics, tenant, (enum task_state)entry->state);
}

void observe_cut_off(struct engine *e, const struct entry *entry, struct task_outcome *outcome)
{
    struct task_record record = {0};
    if (!e->options.spans || e->store->ops->load(e->store, &entry->id, 1, &record) != STORE_OK || !record.spec)
        return;
    const struct task_type *type = scheduler_lane(&e->scheduler, entry)->type;
    const struct live *live = entry_live_get(entry);
    bool marked = live && live->started_us; /* the row did not tell of it yet */
    struct span_attempt span = {.spec = record.spec,
                                .outcome = outcome,
                                .number = entry->attempt,
                                .own_trace = type && type->own_trace,
                                .lost = true,
                                .started_us = marked ? live->started_us : record.status.started_us,
                                .finished_us = e->now_us};
    if (span.started_us)
        spans_attempt(e->options.spans, &span);
    task_record_release(&record);
}
