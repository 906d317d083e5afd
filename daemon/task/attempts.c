/* Flow: api (a GET with attempts=true, the context view) -> here, with what the reader found. */
#include "task/attempts.h"

#include "task/render.h"

bool task_attempts_last(const struct task_record *record, const struct task_history *history, struct task_attempt *ret)
{
    const struct task_status *status = &record->status;
    uint32_t newest = history->n ? history->attempts[history->n - 1].number : 0;
    if (status->attempt <= newest)
        return false;
    bool ended = task_state_final(status->state);
    *ret = (struct task_attempt){
        .number = status->attempt,
        .started_us = status->started_us,
        .finished_us = ended ? status->finished_us : 0,
        .outcome = ended ? record->outcome : NULL,
    };
    return true;
}

static const char *state_of(const struct task_attempt *attempt)
{
    if (!attempt->finished_us)
        return "running";
    switch (attempt->outcome ? attempt->outcome->error : ERROR_TYPE_LOST) {
    case ERROR_TYPE_NONE: return "succeeded";
    case ERROR_TYPE_LOST: return "lost";
    case ERROR_TYPE_CANCELED: return "canceled";
    default: return "failed";
    }
}

static void write_time(struct json_out *j, const char *key, int64_t us)
{
    json_out_key(j, key);
    if (us)
        json_out_time(j, us);
    else
        json_out_null(j);
}

static void write_attempt(const struct task_spec *spec, const struct task_attempt *attempt, const char *node,
                          struct json_out *j)
{
    static const char hex[] = "0123456789abcdef";
    uint8_t span[8];
    char text[16];
    task_id_attempt_span(spec->id, attempt->number, span);
    for (size_t i = 0; i < sizeof span; i++) {
        text[2 * i] = hex[span[i] >> 4];
        text[2 * i + 1] = hex[span[i] & 15];
    }
    json_out_begin_object(j);
    json_out_member_i64(j, "attempt", attempt->number);
    json_out_member(j, "state", slice_str(state_of(attempt)));
    json_out_member(j, "span_id", slice_of(text, sizeof text));
    json_out_member(j, "node", slice_str(node));
    write_time(j, "started_at", attempt->started_us);
    write_time(j, "finished_at", attempt->finished_us);
    if (attempt->outcome)
        task_render_end(attempt->outcome, j);
    json_out_end_object(j);
}

void task_attempts_render(const struct task_record *record, const struct task_history *history, const char *node,
                          struct json_out *j)
{
    struct task_attempt last;
    json_out_begin_array(j);
    for (size_t i = 0; i < history->n; i++)
        write_attempt(record->spec, &history->attempts[i], node, j);
    if (task_attempts_last(record, history, &last))
        write_attempt(record->spec, &last, node, j);
    json_out_end_array(j);
}
