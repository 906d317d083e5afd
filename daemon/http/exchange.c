/* One exchange from its first byte to the next one's: head -> the application -> body -> reply -> next head.
 * exchange_consume tells it whole, as the steps that the input takes; what it waits for is the input state. */
#include <stdlib.h>
#include <string.h>

#include "http/connection.h"
#include "http/reply.h"

enum { DISCARD_MAX = 256 * 1024 }; /* bytes of a body that is read for nothing */

static const struct http_app *app_of(const struct connection *c)
{
    return c->home->server->app;
}

/* ---- the end of an exchange ---- */

static void forget(struct connection *c)
{
    c->exchange.live = false;
    c->exchange.waits_for_drain = false;
    c->home->slots[c->slot].generation++;
}

void exchange_gone(struct connection *c)
{
    struct http_exchange *exchange = &c->exchange;
    if (!exchange->live)
        return;
    bool told = exchange->reply != REPLY_DONE;
    forget(c);
    if (told)
        app_of(c)->gone(app_of(c)->arg, exchange);
}

void exchange_fail(struct connection *c, const struct problem *problem)
{
    struct http_exchange *exchange = &c->exchange;
    enum reply_state reply = exchange->live ? exchange->reply : REPLY_NONE;
    bool head = exchange->live && exchange->request.method == HTTP_HEAD;
    exchange_gone(c);
    if (reply == REPLY_NONE)
        reply_refusal(c, problem, !head);
    else if (reply == REPLY_STREAM)
        c->broken = true; /* a part of it has been sent: cutting it off is all that can be said */
    c->input = INPUT_DISCARD;
    c->close = true;
}

static bool fail_framing(struct connection *c, const struct problem *problem)
{
    http_count(&c->home->counters.framing_errors);
    exchange_fail(c, problem);
    return true;
}

static bool fail_malformed(struct connection *c, const char *why)
{
    struct problem problem = {0};
    problem_set(&problem, PROBLEM_MALFORMED_REQUEST, "%s", why);
    return fail_framing(c, &problem);
}

static bool fail_memory(struct connection *c)
{
    struct problem problem = {0};
    problem_set(&problem, PROBLEM_OVERLOADED, "There is no memory for this request; try again later.");
    problem.retry_after_s = 1;
    exchange_fail(c, &problem);
    return true;
}

static bool fail_too_large(struct connection *c)
{
    struct problem problem = {0};
    problem_set(&problem, PROBLEM_BODY_TOO_LARGE, "The body is longer than %zu bytes.", c->exchange.max_body);
    exchange_fail(c, &problem);
    return true;
}

/* ---- what the parser reports ---- */

static bool on_field(void *arg, struct slice name, struct slice value)
{
    struct connection *c = arg;
    struct http_request *request = &c->exchange.request;
    if (request->n_fields == c->fields_cap) {
        size_t cap = c->fields_cap ? c->fields_cap * 2 : 16;
        struct http_field *fields = realloc(c->fields, cap * sizeof *fields);
        if (!fields)
            return false;
        c->fields = fields;
        c->fields_cap = cap;
    }
    c->fields[request->n_fields++] = (struct http_field){name, value};
    return true;
}

static void on_body(void *arg, struct slice piece)
{
    struct connection *c = arg;
    struct http_exchange *exchange = &c->exchange;
    c->body_size += piece.len;
    if (exchange->reply == REPLY_DONE)
        return; /* answered already: the rest is read and dropped */
    if (exchange->mode == HTTP_BODY_WHOLE) {
        buf_append_slice(&c->body, piece);
    } else if (!app_of(c)->body(app_of(c)->arg, exchange, piece, false) && exchange->reply != REPLY_DONE) {
        exchange->paused = true;
        c->paused_since = clock_mono_ns();
    }
}

const struct parser_events exchange_parser_events = {on_field, on_body};

/* ---- steps: each says what it used, and whether the next one may be tried ---- */

static void hand_over(struct connection *c)
{
    struct http_exchange *exchange = &c->exchange;
    c->input = INPUT_HELD;
    c->held_since = exchange->request.received_ns;
    if (exchange->reply == REPLY_DONE)
        return;
    if (exchange->mode == HTTP_BODY_WHOLE) {
        exchange->request.body = buf_slice(&c->body);
        app_of(c)->request(app_of(c)->arg, exchange);
    } else {
        (void)app_of(c)->body(app_of(c)->arg, exchange, (struct slice){0}, true);
    }
}

/* Fills exchange->request from a complete head.  False: refused, and answered. */
static bool read_head(struct connection *c, struct slice head)
{
    struct http_exchange *exchange = &c->exchange;
    struct http_request *request = &exchange->request;
    buf_reset(&c->head);
    buf_append_slice(&c->head, head);
    if (!buf_ok(&c->head))
        return !fail_memory(c);
    *exchange = (struct http_exchange){.facts.http_1_1 = c->scan.http_1_1};
    struct slice target;
    if (!parser_head(c->parser, buf_slice(&c->head), c->scan.method_len, &target))
        return !fail_malformed(c, parser_error(c->parser));
    request->fields = c->fields;
    request->method_text = slice_of(c->head.data, c->scan.method_len);
    request->method = request_method(request->method_text);
    request->peer = &c->peer;
    request->received_ns = clock_mono_ns();
    struct problem problem = {0};
    if (!request_target(target, request->method, &request->path, &request->query, &problem) ||
        !request_check(request, &exchange->facts, &problem))
        return !fail_framing(c, &problem);
    if (!exchange->facts.chunked && !exchange->facts.length != parser_complete(c->parser))
        return !fail_malformed(c, "The length of the body is not clear.");
    return true;
}

static bool begin_exchange(struct connection *c, struct slice head, bool more_is_there)
{
    if (!read_head(c, head))
        return true;
    struct http_exchange *exchange = &c->exchange;
    struct request_facts *facts = &exchange->facts;
    bool has_body = facts->chunked || facts->length;
    c->input = has_body ? INPUT_BODY : INPUT_HELD;
    c->body_left = facts->length;
    c->body_size = c->body_wire = 0;
    c->body_over = false;
    c->body_since = exchange->request.received_ns;
    c->chunked = (struct chunked){0};
    buf_reset(&c->body);
    exchange->live = true;
    exchange->expecting = has_body && facts->expect_continue;
    http_count(&c->home->counters.requests);
    exchange->mode = app_of(c)->head(app_of(c)->arg, exchange, &exchange->max_body);
    if (!has_body) {
        hand_over(c);
        return true;
    }
    if (exchange->reply == REPLY_DONE)
        return true;
    if (facts->length > exchange->max_body)
        return fail_too_large(c);
    if (exchange->expecting) {
        exchange->expecting = false;
        if (!more_is_there)
            reply_continue(c);
    }
    return true;
}

static bool step_head(struct connection *c, const char *data, size_t len, size_t *ret_used)
{
    if (!len)
        return false;
    if (connection_pending(c) > HTTP_STREAM_HIGH) {
        c->throttled = true;
        return false;
    }
    if (!c->head_since) {
        c->head_since = clock_mono_ns();
        c->idle_since = 0;
    }
    if (!c->skipped_crlf && !c->scan.at && data[0] == '\r') {
        if (len < 2)
            return false;
        if (data[1] == '\n') {
            c->skipped_crlf = true;
            c->head_since = 0; /* it belongs to no request */
            *ret_used = 2;
            return true;
        }
    }
    size_t end;
    struct problem problem = {0};
    switch (framing_head_scan(&c->scan, &c->home->server->framing, data, len, &end, &problem)) {
    case FRAMING_MORE: return false;
    case FRAMING_BROKEN: return fail_framing(c, &problem);
    case FRAMING_DONE: break;
    }
    *ret_used = end;
    return begin_exchange(c, slice_of(data, end), len > end);
}

/* Finds out how much of the input belongs to the body and may go to the parser. */
static enum framing_result scan_body(struct connection *c, const char *data, size_t len, size_t *ret_used,
                                     size_t *ret_data, struct problem *problem)
{
    if (c->exchange.facts.chunked)
        return chunked_scan(&c->chunked, &c->home->server->framing, data, len, ret_used, ret_data, problem);
    *ret_used = *ret_data = len < c->body_left ? len : (size_t)c->body_left;
    c->body_left -= *ret_used;
    return c->body_left ? FRAMING_MORE : FRAMING_DONE;
}

static bool step_body(struct connection *c, const char *data, size_t len, size_t *ret_used)
{
    struct http_exchange *exchange = &c->exchange;
    bool answered = exchange->reply == REPLY_DONE;
    if (answered && (c->close || c->body_size > DISCARD_MAX)) {
        c->close = true;
        c->input = INPUT_DISCARD;
        exchange_gone(c);
        return true;
    }
    if (exchange->paused && !answered)
        return false;
    if (c->body_over) {
        hand_over(c);
        return true;
    }
    if (!len)
        return false;
    size_t used, n_data;
    struct problem problem = {0};
    enum framing_result result = scan_body(c, data, len, &used, &n_data, &problem);
    if (result == FRAMING_BROKEN)
        return fail_framing(c, &problem);
    if (!answered && n_data > exchange->max_body - c->body_size)
        return fail_too_large(c);
    c->body_wire += used;
    c->body_over = result == FRAMING_DONE;
    unsigned long long expected = c->body_size + n_data;
    *ret_used = used;
    bool show = !exchange->facts.chunked || !c->chunked.skip;
    if ((show && !parser_body(c->parser, slice_of(data, used))) || c->body_size != expected ||
        parser_complete(c->parser) != c->body_over)
        return fail_malformed(c, "The framing of the body is not clear.");
    return buf_ok(&c->body) || fail_memory(c);
}

static bool step_held(struct connection *c)
{
    if (c->exchange.reply != REPLY_DONE)
        return false;
    forget(c);
    c->exchange.request = (struct http_request){0}; /* its bytes go now */
    connection_empty(&c->head);
    connection_empty(&c->body);
    c->scan = (struct framing_head){0};
    c->skipped_crlf = false;
    c->head_since = c->idle_since = c->paused_since = 0;
    c->close = c->close || c->home->draining;
    c->input = c->close ? INPUT_DISCARD : INPUT_HEAD;
    return true;
}

size_t exchange_consume(struct connection *c, const char *data, size_t len)
{
    size_t at = 0;
    for (bool go = true; go && !c->broken;) {
        size_t used = 0;
        switch (c->input) {
        case INPUT_HEAD: go = step_head(c, data + at, len - at, &used); break;
        case INPUT_BODY: go = step_body(c, data + at, len - at, &used); break;
        case INPUT_HELD: go = step_held(c); break;
        case INPUT_DISCARD: return len;
        }
        at += used;
    }
    return at;
}

/* ---- what the application asks ---- */

const struct http_request *http_request(struct http_exchange *exchange)
{
    return &exchange->request;
}

struct http_ref http_ref(struct http_exchange *exchange)
{
    struct connection *c = connection_of(exchange);
    return (struct http_ref){c->home->loop, c->slot, c->home->slots[c->slot].generation};
}

struct http_exchange *http_find_exchange(struct http_ref ref)
{
    struct http_loop *home = http_loop_current();
    if (!home || home->loop != ref.loop || ref.slot >= home->n_slots)
        return NULL;
    struct slot *slot = &home->slots[ref.slot];
    if (!slot->connection || slot->generation != ref.generation || !slot->connection->exchange.live ||
        slot->connection->exchange.reply == REPLY_DONE)
        return NULL;
    return &slot->connection->exchange;
}

bool http_account(struct http_exchange *exchange, struct slice name, size_t limit)
{
    struct connection *c = connection_of(exchange);
    struct sources *sources = &c->home->server->sources;
    if (!limit && !c->has_account)
        return true;
    struct source_key account = source_of_account(name);
    if (limit && c->has_account && memcmp(&c->account, &account, sizeof account) == 0)
        return true;
    if (limit && !sources_enter(sources, &account, limit))
        return false;
    if (c->has_account)
        sources_leave(sources, &c->account);
    c->account = account;
    c->has_account = limit != 0;
    return true;
}

void http_set_data(struct http_exchange *exchange, void *data)
{
    exchange->data = data;
}

void *http_data(struct http_exchange *exchange)
{
    return exchange->data;
}

void http_resume(struct http_exchange *exchange)
{
    struct connection *c = connection_of(exchange);
    if (!exchange->live || !exchange->paused)
        return;
    exchange->paused = false;
    c->body_since += clock_mono_ns() - c->paused_since; /* the client did not choose to wait */
    connection_schedule(c);
}
