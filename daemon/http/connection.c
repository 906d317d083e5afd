/* Flow: listener.c -> server.c (which loop) -> connection_open -> on_event -> exchange.c -> reply.c -> flush.
 *
 * connection_turn is the only place where a connection ends (with the sweep and the server's stop), and it is
 * never entered from a call of the application: nothing is freed under a caller's hands. */
#include "http/connection.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "http/certificate.h"
#include "http/reply.h"
#include "http/tls.h"

enum { TURNS_MAX = 16 };

#define LINGER_NS (5 * 1000000000LL)
#define DISTRUST_PAUSE_NS 1000000000LL
#define REFUSAL_LINGER_NS 1000000000LL /* of who was not let in */

void connection_drop_buffers(struct connection *c)
{
    buf_release(&c->in);
    buf_release(&c->out);
    buf_release(&c->head);
    buf_release(&c->body);
    c->in_at = c->out_at = 0;
    free(c->fields);
    c->fields = NULL;
    c->fields_cap = 0;
}

static void release(struct connection *c)
{
    connection_drop_buffers(c);
    parser_free(c->parser);
    certificate_free(c->certificate);
    free(c);
}

static void close_connection(struct connection *c)
{
    struct http_loop *home = c->home;
    if (c->watched)
        (void)event_del(&c->event);
    if (c->handshake_since)
        http_count(&home->counters.handshake_failures);
    c->transport.ops->close(&c->transport);
    http_loop_free_slot(home, c->slot);
    if (c->has_account)
        sources_leave(&home->server->sources, &c->account);
    if (c->counted) {
        sources_leave(&home->server->sources, &c->source);
        (void)atomic_fetch_sub(&home->server->connections, 1);
    } else {
        (void)atomic_fetch_sub(&home->server->refusals, 1);
    }
    (void)atomic_fetch_sub(&home->connections, 1);
    if (c->scheduled)
        c->dead = true; /* connection_run_ready frees it */
    else
        release(c);
}

void connection_abort(struct connection *c)
{
    c->busy = true;
    exchange_gone(c);
    close_connection(c);
}

/* ---- output ---- */

/* False: the client is gone. */
static bool flush(struct connection *c)
{
    while (connection_pending(c)) {
        ssize_t n = c->transport.ops->send(&c->transport, c->out.data + c->out_at, connection_pending(c));
        if (n == -EAGAIN) {
            if (!(c->watched & EV_WRITE) || !c->sent_at)
                c->sent_at = clock_mono_ns();
            return true;
        }
        if (n < 0)
            return false;
        c->out_at += (size_t)n;
        c->sent_at = 0;
    }
    if (c->out.len) {
        c->out_at = 0;
        connection_empty(&c->out);
    }
    return true;
}

/* ---- input ---- */

static void consume_stored(struct connection *c)
{
    c->in_at += exchange_consume(c, c->in.data ? c->in.data + c->in_at : "", connection_unparsed(c));
    if (c->input == INPUT_DISCARD || c->in_at == c->in.len) {
        c->in_at = 0;
        connection_empty(&c->in);
    }
}

static void store(struct connection *c, const char *data, size_t len)
{
    if (c->in_at) {
        memmove(c->in.data, c->in.data + c->in_at, connection_unparsed(c));
        c->in.len -= c->in_at;
        c->in_at = 0;
    }
    buf_append(&c->in, data, len);
    c->broken = c->broken || !buf_ok(&c->in);
}

static size_t input_room(const struct connection *c)
{
    if (c->input == INPUT_DISCARD)
        return HTTP_INPUT_SIZE;
    size_t have = connection_unparsed(c), max = c->home->server->input_max;
    size_t room = have < max ? max - have : 0;
    return room < HTTP_INPUT_SIZE ? room : HTTP_INPUT_SIZE;
}

/* ---- the beginning of TLS ---- */

/* The handshake is through.  False: no memory. */
static bool on_secured(struct connection *c)
{
    c->handshake_since = 0;
    http_count(&c->home->counters.handshakes);
    if (transport_certificate(&c->transport, &c->certificate) < 0)
        return false;
    c->peer.certificate = c->certificate;
    return true;
}

/* For the audit log (auth/audit.h), where nothing of a request is known yet.  One line a second and loop: whoever may
 * connect can make them. */
static void note_distrust(const struct connection *c)
{
    struct http_loop *home = c->home;
    int64_t now = clock_mono_ns();
    if (home->distrust_logged && now - home->distrust_logged < DISTRUST_PAUSE_NS) {
        home->distrust_missed++;
        return;
    }
    LOG_NOTICE("a client's certificate was refused", LOG_TEXT("audit", "denied"),
               LOG_TEXT("reason", transport_failure()), LOG_TEXT("peer", c->peer.text),
               LOG_NUMBER("not_logged_before", home->distrust_missed));
    home->distrust_logged = now;
    home->distrust_missed = 0;
}

/* There is no TLS with this client, and the transport is plain: what still comes is thrown away, so that our last
 * word is not lost in a reset. */
static void refuse_insecure(struct connection *c, ssize_t why)
{
    struct problem problem = {0};
    c->handshake_since = 0;
    http_count(&c->home->counters.handshake_failures);
    if (transport_distrusted())
        note_distrust(c);
    else
        LOG_DEBUG("no TLS with a client", LOG_TEXT("peer", c->peer.text), LOG_TEXT("reason", transport_failure()));
    if (why == -ENOPROTOOPT) {
        problem_set(&problem, PROBLEM_MALFORMED_REQUEST, "This address speaks TLS alone; use https://.");
        reply_refusal(c, &problem, true);
    }
    c->input = INPUT_DISCARD;
    c->close = true;
}

/* What the transport's `receive` returned while the connection was being made, as it is to be taken. */
static ssize_t received_opening(struct connection *c, ssize_t n)
{
    if (c->transport.ssl && !c->transport.opening)
        return on_secured(c) ? n : -ENOMEM;
    if (n != -ENOPROTOOPT && n != -EPROTO)
        return n;
    refuse_insecure(c, n);
    return -EAGAIN;
}

/* False: the client is gone. */
static bool receive(struct connection *c)
{
    size_t room = input_room(c);
    if (c->at_end)
        return true;
    if (!room) {
        int ended = c->transport.ops->ended(&c->transport);
        if (ended > 0 && !c->end_at)
            c->end_at = clock_mono_ns();
        return ended >= 0;
    }
    char *data = c->home->input;
    ssize_t n = c->transport.ops->receive(&c->transport, data, room);
    if (c->handshake_since)
        n = received_opening(c, n);
    if (n < 0)
        return n == -EAGAIN;
    if (n == 0) {
        c->at_end = true;
        if (!c->end_at)
            c->end_at = clock_mono_ns();
        return true;
    }
    if (connection_unparsed(c)) {
        store(c, data, (size_t)n);
        return true; /* connection_turn goes on with it */
    }
    size_t used = exchange_consume(c, data, (size_t)n);
    if (used < (size_t)n && c->input != INPUT_DISCARD)
        store(c, data + used, (size_t)n - used);
    return true;
}

/* ---- what is due next ---- */

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    struct connection *c = arg;
    c->busy = true;
    if ((what & EV_READ || c->transport.receive_writes) && !receive(c))
        connection_abort(c);
    else
        connection_turn(c);
}

static void watch(struct connection *c)
{
    short what = 0;
    if (!c->at_end || c->transport.send_reads)
        what |= EV_READ;
    if (!c->at_end && !input_room(c))
        what |= EV_ET; /* nothing can be read, but a disconnect shall be seen: be told of news only */
    if ((connection_pending(c) && !c->transport.send_reads) || c->yielding)
        what |= EV_WRITE;
    if (c->transport.receive_writes)
        what = EV_WRITE;
    if (what == c->watched)
        return;
    if (c->watched)
        (void)event_del(&c->event);
    c->watched = 0;
    if (!what)
        return;
    if (event_assign(&c->event, loop_base(c->home->loop), c->transport.fd, (short)(what | EV_PERSIST), on_event, c) <
            0 ||
        event_add(&c->event, NULL) < 0) {
        c->broken = true;
        return;
    }
    c->watched = what;
}

static bool is_idle(const struct connection *c)
{
    return c->input == INPUT_HEAD && !c->head_since && !connection_unparsed(c) && !connection_pending(c);
}

/* True: there is nothing left to do with it. */
static bool is_over(struct connection *c)
{
    if (c->home->draining && is_idle(c))
        return true;
    if (connection_pending(c))
        return false;
    if (c->input == INPUT_DISCARD && !c->finished) {
        c->transport.ops->finish(&c->transport);
        c->finished = true;
        bool served = c->counted && (!c->peer.is_tls || c->transport.ssl);
        c->linger_until = clock_mono_ns() + (served ? LINGER_NS : REFUSAL_LINGER_NS);
    }
    if (!c->at_end)
        return false;
    /* The rest of a message never comes; but a paused stream may still have it in store. */
    return c->input == INPUT_DISCARD || c->input == INPUT_HEAD || (c->input == INPUT_BODY && !c->exchange.paused);
}

void connection_turn(struct connection *c)
{
    c->busy = true;
    c->yielding = false;
    struct http_exchange *exchange = &c->exchange;
    for (unsigned turns = 0;; turns++) {
        consume_stored(c);
        if (c->broken || !flush(c)) {
            connection_abort(c);
            return;
        }
        bool again = false;
        if (exchange->waits_for_drain && connection_pending(c) < HTTP_STREAM_HIGH / 4) {
            exchange->waits_for_drain = false;
            if (exchange->live && exchange->drained) {
                exchange->drained(c->home->server->app->arg, exchange);
                again = true;
            }
        }
        if (c->throttled && connection_pending(c) < HTTP_STREAM_HIGH / 4) {
            c->throttled = false;
            again = true;
        }
        if (!again)
            break;
        if (turns == TURNS_MAX) { /* a fast reader: others want their turn; the socket will say when to go on */
            c->yielding = true;
            break;
        }
    }
    if (!is_over(c))
        watch(c);
    else
        c->broken = true;
    if (c->broken) {
        connection_abort(c);
        return;
    }
    c->busy = false;
    if (c->transport.more && !c->at_end && input_room(c)) {
        c->reading = true;
        connection_schedule(c);
    }
}

void connection_schedule(struct connection *c)
{
    if (c->busy || c->scheduled)
        return;
    struct http_loop *home = c->home;
    c->scheduled = true;
    c->next_ready = NULL;
    if (home->ready_last) {
        home->ready_last->next_ready = c;
    } else {
        home->ready_first = c;
        event_active(home->ready_event, EV_TIMEOUT, 0);
    }
    home->ready_last = c;
}

void connection_run_ready(struct http_loop *home)
{
    struct connection *c = home->ready_first, *next;
    home->ready_first = home->ready_last = NULL;
    for (; c; c = next) {
        next = c->next_ready;
        c->scheduled = false;
        bool reading = c->reading;
        c->reading = false;
        c->busy = true;
        if (c->dead)
            release(c);
        else if (reading && !receive(c))
            connection_abort(c);
        else
            connection_turn(c);
    }
}

void connection_drain(struct connection *c)
{
    c->busy = true;
    if (receive(c))
        connection_turn(c);
    else
        connection_abort(c);
}

/* ---- begin ---- */

static void tell_refused(struct connection *c)
{
    struct problem problem = {0};
    problem_set(&problem, PROBLEM_OVERLOADED, "There are too many connections; try again later.");
    problem.retry_after_s = 1;
    reply_refusal(c, &problem, true);
    c->input = INPUT_DISCARD;
    c->close = true;
}

static bool init(struct connection *c, struct handover *handover)
{
    c->home = handover->home;
    c->transport = (struct transport){.ops = &transport_plain, .fd = handover->fd};
    c->peer = handover->peer;
    c->source = handover->source;
    c->counted = handover->counted;
    c->parser = parser_new(&exchange_parser_events, c);
    c->slot = UINT32_MAX;
    if (c->peer.is_tls) {
        if (!handover->tls || transport_secure(&c->transport, handover->tls) < 0)
            return false;
        c->handshake_since = clock_mono_ns();
    }
    if (c->parser)
        c->slot = http_loop_take_slot(c->home, c);
    return c->slot != UINT32_MAX;
}

void connection_open(struct handover *handover)
{
    struct http_loop *home = handover->home;
    struct connection *c = calloc(1, sizeof *c);
    bool good = c && init(c, handover);
    tls_unref(handover->tls);
    if (!good) {
        struct transport lost = {.ops = &transport_plain, .fd = handover->fd};
        if (c && c->transport.ops)
            lost = c->transport;
        lost.ops->close(&lost);
        if (handover->counted) {
            sources_leave(&home->server->sources, &handover->source);
            (void)atomic_fetch_sub(&home->server->connections, 1);
        } else {
            (void)atomic_fetch_sub(&home->server->refusals, 1);
        }
        (void)atomic_fetch_sub(&home->connections, 1);
        if (c)
            release(c);
        free(handover);
        return;
    }
    free(handover);
    if (c->counted)
        http_count(&home->counters.accepted);
    else
        tell_refused(c);
    if (home->draining)
        connection_drain(c);
    else
        connection_turn(c);
}
