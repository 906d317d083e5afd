/* GET /v1/tasks/{id}/events: server-sent events (the HTML standard's text/event-stream) until the task is finished.
 *
 *   state     how the task stands, with its context; not its result, which is fetched
 *   progress  {"attempt", "progress", "message"?}
 *   log       {"offset", "text", "dropped"?}
 *
 * An event's id is ATTEMPT.STATE.OFFSET: what was told of the state and how far the log was.  Last-Event-ID resumes
 * there: of the states in between the last one is told, of the log every byte that is kept. */
#include <stdio.h>
#include <stdlib.h>

#include "api/follow.h"
#include "task/render.h"

struct events {
    struct follow follow;
    bool told; /* some state was: the next three say which */
    uint32_t attempt;
    enum task_state state;
    uint16_t lost;
    float progress; /* negative: none was told */
    struct blob *note;
};

static void release_events(struct api_call *call)
{
    struct events *own = (struct events *)call;
    blob_unref(own->note);
    free(own);
}

/* ---- one event ---- */

static void write_event(const struct events *own, struct http_exchange *exchange, const char *name,
                        const struct buf *data, uint64_t log_end)
{
    struct buf text = BUF_INIT;
    buf_printf(&text, "event: %s\nid: %u.%s.%llu\ndata: ", name, own->attempt, task_state_name(own->state),
               (unsigned long long)log_end);
    buf_append_slice(&text, buf_slice(data));
    buf_append_str(&text, "\n\n");
    if (buf_ok(&text) && buf_ok(data))
        (void)http_stream_write(exchange, buf_slice(&text));
    buf_release(&text);
}

static void tell_state(struct events *own, struct http_exchange *exchange, const struct read_call *read,
                       uint64_t log_end)
{
    const struct task_status *status = &read->record.status;
    if (own->told && own->state == status->state && own->attempt == status->attempt && own->lost == status->lost)
        return;
    own->told = true;
    own->state = status->state;
    own->attempt = status->attempt;
    own->lost = status->lost;
    struct buf *data = scratch();
    struct json_out j = json_out_to(data);
    task_render_event(&read->record, &j);
    write_event(own, exchange, "state", data, log_end);
}

static void tell_progress(struct events *own, struct http_exchange *exchange, const struct read_call *read)
{
    const struct task_record *record = &read->record;
    float progress = record->status.progress;
    if (progress < 0 || (progress == own->progress && slice_eq(blob_slice(record->note), blob_slice(own->note))))
        return;
    own->progress = progress;
    blob_unref(own->note);
    own->note = blob_ref(record->note);
    struct buf *data = scratch();
    struct json_out j = json_out_to(data);
    json_out_begin_object(&j);
    json_out_member_i64(&j, "attempt", record->status.attempt);
    json_out_key(&j, "progress");
    json_out_double(&j, task_progress(&record->status));
    if (record->note)
        json_out_member(&j, "message", blob_slice(record->note));
    json_out_end_object(&j);
    write_event(own, exchange, "progress", data, own->follow.call.log_from);
}

static void tell_log(struct events *own, struct http_exchange *exchange, const struct read_call *read)
{
    if (!read->log.len)
        return;
    struct buf *data = scratch();
    struct json_out j = json_out_to(data);
    json_out_begin_object(&j);
    json_out_member_i64(&j, "offset", (int64_t)read->log_at);
    if (read->log_at > own->follow.call.log_from)
        json_out_member_i64(&j, "dropped", (int64_t)(read->log_at - own->follow.call.log_from));
    json_out_member(&j, "text", buf_slice(&read->log));
    json_out_end_object(&j);
    write_event(own, exchange, "log", data, read->log_at + read->log.len);
}

/* ---- the stream ---- */

static bool begin(struct follow *follow, struct http_exchange *exchange, const struct read_call *read)
{
    const struct events *own = (const struct events *)follow;
    const struct task_status *status = &read->record.status;
    struct reply reply;
    call_reply_begin(&follow->call, exchange, &reply);
    bool all_told = own->told && own->state == status->state && own->attempt == status->attempt;
    if (follow->finished && all_told && !read->log.len) {
        reply_empty(&reply, 204); /* tells an EventSource not to come again */
        return false;
    }
    reply_field(&reply, "X-Accel-Buffering", SLICE_LITERAL("no"));
    http_stream_begin(exchange, &(struct http_reply){.status = 200,
                                                     .content_type = "text/event-stream",
                                                     .fields = reply.fields,
                                                     .n_fields = reply.n,
                                                     .body = SLICE_LITERAL("retry: 1000\n\n")});
    return true;
}

/* A state that goes on is told before what the task says in it, its end after all that it said. */
static void emit(struct follow *follow, struct http_exchange *exchange, const struct read_call *read)
{
    struct events *own = (struct events *)follow;
    uint64_t end = read->log_at + read->log.len;
    bool final = task_state_final(read->record.status.state);
    if (!final)
        tell_state(own, exchange, read, follow->call.log_from);
    tell_progress(own, exchange, read);
    tell_log(own, exchange, read);
    if (final && follow->finished)
        tell_state(own, exchange, read, end);
}

static void beat(struct follow *follow, struct http_exchange *exchange)
{
    (void)follow;
    (void)http_stream_write(exchange, SLICE_LITERAL(":\n\n"));
}

/* ATTEMPT.STATE.OFFSET; anything else is as if it had not been sent. */
static void resume(struct events *own, struct slice id)
{
    char text[64], state[16], tail;
    unsigned attempt;
    unsigned long long offset;
    if (!id.data || id.len >= sizeof text)
        return;
    memcpy(text, id.data, id.len);
    text[id.len] = '\0';
    if (sscanf(text, "%9u.%15[a-z].%18llu%c", &attempt, state, &offset, &tail) != 3)
        return;
    for (int i = 0; i < TASK_STATE_COUNT; i++)
        if (strcmp(task_state_name((enum task_state)i), state) == 0) {
            own->told = true;
            own->attempt = attempt;
            own->state = (enum task_state)i;
            own->follow.call.log_from = offset;
        }
}

void on_events(struct visit *visit)
{
    struct task_id id;
    if (!visit_read_nothing(visit) || !visit_read_id(visit, &id))
        return;
    struct events *own = (struct events *)follow_new(visit, sizeof *own);
    if (!own)
        return;
    own->follow.call.id = id;
    own->follow.call.release = release_events;
    own->follow.ends_here = visit->request->method == HTTP_HEAD;
    own->follow.begin = begin;
    own->follow.emit = emit;
    own->follow.beat = beat;
    own->progress = -1;
    resume(own, http_find(visit->request, "Last-Event-ID", NULL));
    follow_start(&own->follow, visit->exchange);
}
