/* Flow: events.c, log.c -> follow_start -> engine (watch) -> on_watched -> reader -> on_read -> emit -> engine ... */
#include "api/follow.h"

#include <stdlib.h>

#define BEAT_NS INT64_C(15000000000)

static void watch(struct follow *follow, struct http_exchange *exchange);

static void free_follow(struct api_call *call)
{
    free(call);
}

static bool on_read(struct api_call *call, struct http_exchange *exchange);

static void read_on(struct follow *follow, struct http_exchange *exchange)
{
    follow->call.answer = on_read;
    call_post_reader(&follow->call, exchange, READ_TASK);
}

static bool end(struct http_exchange *exchange)
{
    http_stream_end(exchange);
    return true;
}

/* The client has read enough for more to be written. */
static void on_drained(void *arg, struct http_exchange *exchange)
{
    struct follow *follow = http_data(exchange);
    (void)arg;
    if (!follow)
        return;
    http_set_data(exchange, NULL);
    read_on(follow, exchange);
}

/* Until then the call lies with the exchange; who takes that away (api.c: on_gone) releases it. */
static void park(struct follow *follow, struct http_exchange *exchange)
{
    http_set_data(exchange, follow);
    http_stream_on_drained(exchange, on_drained);
}

/* False: replied, and that was all. */
static bool begin(struct follow *follow, struct http_exchange *exchange)
{
    if (follow->call.streaming)
        return true;
    follow->call.streaming = follow->begin(follow, exchange, &follow->call.read);
    return follow->call.streaming;
}

static bool on_read(struct api_call *call, struct http_exchange *exchange)
{
    struct follow *follow = (struct follow *)call;
    const struct read_call *read = &call->read;
    if (read->result != STORE_OK || !read->record.spec) {
        if (call->streaming) /* deleted meanwhile, or the store cannot be read */
            return end(exchange);
        call_reply_unread(call, exchange);
        return true;
    }
    follow->finished = task_state_final(read->record.status.state) && !read->log_more;
    if (!begin(follow, exchange))
        return true;
    follow->emit(follow, exchange, read);
    call->log_from = read->log_at + read->log.len;
    bool more = read->log_more, final = task_state_final(read->record.status.state);
    if (!more && (final || follow->ends_here))
        return end(exchange);
    if (more && http_stream_write(exchange, (struct slice){0}) > HTTP_STREAM_HIGH)
        park(follow, exchange);
    else if (more)
        read_on(follow, exchange);
    else
        watch(follow, exchange);
    return false;
}

/* ---- waiting for something new ---- */

static bool same(const struct engine_seen *a, const struct engine_seen *b)
{
    return a->valid && b->valid && a->state == b->state && a->attempt == b->attempt && a->version == b->version;
}

static bool on_watched(struct api_call *call, struct http_exchange *exchange)
{
    struct follow *follow = (struct follow *)call;
    struct engine_seen seen = call->engine.seen;
    switch (call->engine.result) {
    case ENGINE_OK:
        if (call->streaming && same(&seen, &call->seen)) {
            follow->beat(follow, exchange);
            watch(follow, exchange);
            return false;
        }
        call->seen = seen;
        break;
    case ENGINE_NOT_LIVE: call->seen.valid = false; break; /* finished, or never there */
    case ENGINE_REPLAYED:
    case ENGINE_KEY_MISMATCH:
    case ENGINE_KEY_GONE:
    case ENGINE_NOT_FOUND:
    case ENGINE_NO_PARENT:
    case ENGINE_NO_PREDECESSOR:
    case ENGINE_NOT_UNIQUE:
    case ENGINE_CONFLICT:
    case ENGINE_QUOTA:
    case ENGINE_DRAINING:
    case ENGINE_DRAINED:
    case ENGINE_STORE_FULL:
    case ENGINE_STORE_FAILED:
    default:
        if (call->streaming)
            return end(exchange);
        call_reply_refused(call, exchange);
        return true;
    }
    read_on(follow, exchange);
    return false;
}

static void watch(struct follow *follow, struct http_exchange *exchange)
{
    follow->call.answer = on_watched;
    call_post_engine(&follow->call, exchange, ENGINE_WATCH, BEAT_NS);
}

struct follow *follow_new(struct visit *visit, size_t size)
{
    struct follow *follow = (struct follow *)call_new(visit, size, on_watched);
    if (!follow)
        return NULL;
    follow->call.release = free_follow;
    follow->call.with_log = true;
    return follow;
}

void follow_start(struct follow *follow, struct http_exchange *exchange)
{
    if (follow->ends_here)
        read_on(follow, exchange);
    else
        watch(follow, exchange);
}
