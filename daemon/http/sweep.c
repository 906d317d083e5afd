/* Deadlines, looked at four times a second: a plain walk over the loop's connections costs less than a timer that
 * is set and cleared for every request, and an absolute deadline cannot be put off by a trickle of bytes. */
#include "http/connection.h"
#include "http/reply.h"

#define BUFFERS_KEPT_NS 1000000000LL /* of an idle connection */
#define HALF_CLOSED_NS 1000000000LL  /* a client that has shut its sending side may still want its answer */
#define BODY_GRACE_US 10000000LL

static bool since(int64_t start, int64_t now, int64_t limit_us)
{
    return start && limit_us && (now - start) / 1000 >= limit_us;
}

static void too_slow(struct connection *c, const char *what)
{
    http_count(&c->home->counters.timeouts);
    struct problem problem = {0};
    problem_set(&problem, PROBLEM_REQUEST_TIMEOUT, "%s", what);
    c->busy = true;
    exchange_fail(c, &problem);
    connection_turn(c);
}

static void give_up(struct connection *c)
{
    http_count(&c->home->counters.timeouts);
    connection_abort(c);
}

static void sweep_idle(struct connection *c, int64_t now)
{
    if (connection_pending(c) || connection_unparsed(c))
        return;
    if (!c->idle_since)
        c->idle_since = now;
    else if (since(c->idle_since, now, c->home->server->limits.idle_us))
        connection_abort(c);
    else if (now - c->idle_since > BUFFERS_KEPT_NS)
        connection_drop_buffers(c);
}

static bool body_too_slow(const struct connection *c, int64_t now)
{
    const struct http_limits *limits = &c->home->server->limits;
    if (!limits->body_rate || c->body_over || (c->exchange.paused && c->exchange.reply != REPLY_DONE))
        return false;
    int64_t grace = limits->body_grace_us ? limits->body_grace_us : BODY_GRACE_US;
    int64_t late = (now - c->body_since) / 1000 - grace;
    return late > 0 && (double)c->body_wire < (double)late * (double)limits->body_rate / 1e6;
}

void sweep_connection(struct connection *c, int64_t now)
{
    const struct http_limits *limits = &c->home->server->limits;
    if (connection_pending(c) && since(c->sent_at, now, limits->write_stall_us)) {
        give_up(c);
        return;
    }
    if (c->handshake_since) {
        if (since(c->handshake_since, now, limits->header_us))
            give_up(c);
        return;
    }
    switch (c->input) {
    case INPUT_HEAD:
        if (!c->head_since)
            sweep_idle(c, now);
        else if (since(c->head_since, now, limits->header_us))
            too_slow(c, "The header section did not arrive in time.");
        break;
    case INPUT_BODY:
        if (body_too_slow(c, now))
            too_slow(c, "The body arrived too slowly.");
        break;
    case INPUT_HELD:
        if (c->end_at && now - c->end_at > HALF_CLOSED_NS && now - c->held_since > HALF_CLOSED_NS)
            connection_abort(c);
        break;
    case INPUT_DISCARD:
        if (c->finished && now > c->linger_until)
            connection_abort(c);
        break;
    }
}
