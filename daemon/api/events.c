/* GET /v1/tasks/{id}/events: server-sent events (the HTML standard's text/event-stream) until the task is finished.
 *
 *   state     how the task stands, with its context; not its result, which is fetched
 *   progress  {"attempt", "progress", "message"?}
 *   log       {"offset", "text", "dropped"?}
 *
 * An event's id is ATTEMPT.STATE.OFFSET.PROGRESS: what was told of the state, how far the log was, and a hash of the
 * progress that was told.  Last-Event-ID resumes there: of the states and the progress in between the last one is told,
 * of the log every byte that is kept. */
#include <stdio.h>
#include <stdlib.h>

#include "api/follow.h"
#include "task/render.h"

struct events {
    struct follow follow;
    bool told; /* some state was: the next two say which */
    uint32_t attempt;
    enum task_state state;
    uint32_t progress; /* a hash of what was told last; 0: nothing */
};

static void release_events(struct api_call *call)
{
    free(call);
}

/* ---- one event ---- */

static void write_event(const struct events *own, struct http_exchange *exchange, const char *name,
                        const struct buf *data, uint64_t log_end)
{
    struct buf text = BUF_INIT;
    buf_printf(&text, "event: %s\nid: %u.%s.%llu.%x\ndata: ", name, own->attempt, task_state_name(own->state),
               (unsigned long long)log_end, own->progress);
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
    if (own->told && own->state == status->state && own->attempt == status->attempt)
        return;
    own->told = true;
    own->state = status->state;
    own->attempt = status->attempt;
    struct buf *data = scratch();
    struct json_out j = json_out_to(data);
    task_render_event(&read->record, &j);
    write_event(own, exchange, "state", data, log_end);
}

static uint32_t hash_progress(const struct task_record *record)
{
    struct slice note = blob_slice(record->note);
    uint32_t bits, hash = 0x811c9dc5u; /* FNV-1a */
    float progress = record->status.progress;
    memcpy(&bits, &progress, sizeof bits);
    for (int i = 0; i < 4; i++)
        hash = (hash ^ (bits >> (8 * i) & 0xff)) * 0x01000193u;
    hash = (hash ^ record->status.attempt) * 0x01000193u;
    for (size_t i = 0; i < note.len; i++)
        hash = (hash ^ (unsigned char)note.data[i]) * 0x01000193u;
    return hash ? hash : 1;
}

static void tell_progress(struct events *own, struct http_exchange *exchange, const struct read_call *read)
{
    const struct task_record *record = &read->record;
    uint32_t hash = hash_progress(record);
    if (record->status.progress < 0 || hash == own->progress)
        return;
    own->progress = hash;
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

/* ATTEMPT.STATE.OFFSET.PROGRESS, the last of which may be missing; anything else is as if it had not been sent. */
static void resume(struct events *own, struct slice id)
{
    char text[64], state[16], tail;
    unsigned attempt, progress = 0;
    unsigned long long offset;
    if (!id.data || id.len >= sizeof text)
        return;
    memcpy(text, id.data, id.len);
    text[id.len] = '\0';
    if (sscanf(text, "%9u.%15[a-z].%18llu.%8x%c", &attempt, state, &offset, &progress, &tail) != 4 &&
        sscanf(text, "%9u.%15[a-z].%18llu%c", &attempt, state, &offset, &tail) != 3)
        return;
    for (int i = 0; i < TASK_STATE_COUNT; i++)
        if (strcmp(task_state_name((enum task_state)i), state) == 0) {
            own->told = true;
            own->attempt = attempt;
            own->state = (enum task_state)i;
            own->follow.call.log_from = offset;
            own->progress = progress;
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
    resume(own, http_find(visit->request, "Last-Event-ID", NULL));
    follow_start(&own->follow, visit->exchange);
}
