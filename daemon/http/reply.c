#include "http/reply.h"

#include <strings.h>

#include "base/log.h"

enum { BODY_LEFT_MAX = 256 * 1024, COMPACT_FROM = 64 * 1024 };

static const char *status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } known[] = {{200, "OK"},
                 {202, "Accepted"},
                 {201, "Created"},
                 {204, "No Content"},
                 {206, "Partial Content"},
                 {304, "Not Modified"},
                 {400, "Bad Request"},
                 {401, "Unauthorized"},
                 {403, "Forbidden"},
                 {404, "Not Found"},
                 {405, "Method Not Allowed"},
                 {406, "Not Acceptable"},
                 {408, "Request Timeout"},
                 {409, "Conflict"},
                 {410, "Gone"},
                 {411, "Length Required"},
                 {412, "Precondition Failed"},
                 {413, "Content Too Large"},
                 {414, "URI Too Long"},
                 {415, "Unsupported Media Type"},
                 {417, "Expectation Failed"},
                 {422, "Unprocessable Content"},
                 {429, "Too Many Requests"},
                 {431, "Request Header Fields Too Large"},
                 {500, "Internal Server Error"},
                 {501, "Not Implemented"},
                 {503, "Service Unavailable"},
                 {505, "HTTP Version Not Supported"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].status == status)
            return known[i].text;
    return "Status";
}

/* ---- the head ---- */

/* A cursor into room that was reserved beforehand. */
static char *put(char *at, const char *text, size_t len)
{
    memcpy(at, text, len);
    return at + len;
}

#define PUT_LITERAL(at, text) put((at), (text), sizeof(text) - 1)

static char *put_number(char *at, unsigned long long value)
{
    char digits[20];
    size_t n = sizeof digits;
    do {
        digits[--n] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    return put(at, digits + n, sizeof digits - n);
}

enum length_kind { LENGTH_NONE, LENGTH_KNOWN, LENGTH_CHUNKED };

struct reply_head {
    const struct http_reply *reply;
    enum length_kind kind;
    size_t length;
    bool close, keep_alive;
};

static size_t head_room(const struct connection *c, const struct http_reply *reply)
{
    size_t room = 256 + c->home->server->server_line_len;
    if (reply->content_type)
        room += strlen(reply->content_type);
    for (size_t i = 0; i < reply->n_fields; i++)
        room += reply->fields[i].name.len + reply->fields[i].value.len + 4;
    return room;
}

static char *put_fields(char *at, const struct http_reply *reply)
{
    for (size_t i = 0; i < reply->n_fields; i++) {
        const struct http_field *field = &reply->fields[i];
        if (!framing_is_token(field->name) || !framing_is_value(field->value)) {
            LOG_ERROR("a reply's header field with control characters was left out");
            continue;
        }
        at = put(at, field->name.data, field->name.len);
        at = PUT_LITERAL(at, ": ");
        if (field->value.len)
            at = put(at, field->value.data, field->value.len);
        at = PUT_LITERAL(at, "\r\n");
    }
    return at;
}

/* Takes out what has been sent, once that is worth moving the rest. */
static void compact(struct connection *c)
{
    if (c->out_at >= COMPACT_FROM && c->out_at >= c->out.len / 2) {
        memmove(c->out.data, c->out.data + c->out_at, connection_pending(c));
        c->out.len -= c->out_at;
        c->out_at = 0;
    }
}

/* Room for the head and `extra` bytes after it is reserved at once; false: no memory. */
static bool write_head(struct connection *c, const struct reply_head *head, size_t extra)
{
    const struct http_reply *reply = head->reply;
    compact(c);
    if (!buf_reserve(&c->out, head_room(c, reply) + extra))
        return false;
    char *at = c->out.data + c->out.len;
    if (reply->status == 200) {
        at = PUT_LITERAL(at, "HTTP/1.1 200 OK\r\n");
    } else {
        const char *text = status_text(reply->status);
        at = PUT_LITERAL(at, "HTTP/1.1 ");
        at = put_number(at, (unsigned)reply->status);
        *at++ = ' ';
        at = put(at, text, strlen(text));
        at = PUT_LITERAL(at, "\r\n");
    }
    at = put(at, c->home->server->server_line, c->home->server->server_line_len);
    struct slice date = date_line(&c->home->date);
    at = put(at, date.data, date.len);
    if (reply->content_type) {
        at = PUT_LITERAL(at, "Content-Type: ");
        at = put(at, reply->content_type, strlen(reply->content_type));
        at = PUT_LITERAL(at, "\r\n");
    }
    if (head->kind == LENGTH_KNOWN) {
        at = PUT_LITERAL(at, "Content-Length: ");
        at = put_number(at, head->length);
        at = PUT_LITERAL(at, "\r\n");
    } else if (head->kind == LENGTH_CHUNKED) {
        at = PUT_LITERAL(at, "Transfer-Encoding: chunked\r\n");
    }
    if (head->close)
        at = PUT_LITERAL(at, "Connection: close\r\n");
    else if (head->keep_alive)
        at = PUT_LITERAL(at, "Connection: keep-alive\r\n");
    at = put_fields(at, reply);
    at = PUT_LITERAL(at, "\r\n");
    c->out.len = (size_t)(at - c->out.data);
    *at = '\0';
    return true;
}

/* Must the connection close after this reply? */
/* `goes_on`: the application still takes the body, and answers meanwhile. */
static bool must_close(const struct connection *c, const struct http_reply *reply, bool goes_on)
{
    const struct http_exchange *exchange = &c->exchange;
    if (reply->close || c->close || !exchange->facts.keep_alive || c->home->draining)
        return true;
    if (c->input != INPUT_BODY || c->body_over || goes_on)
        return false;
    /* The body is not all here: a client that waits for 100 may or may not send it; a long one is not worth it. */
    return exchange->expecting || c->body_left > BODY_LEFT_MAX;
}

static bool has_no_body(int status)
{
    return status < 200 || status == 204 || status == 304;
}

static void done(struct connection *c)
{
    c->exchange.reply = REPLY_DONE;
    connection_schedule(c);
}

/* ---- whole replies ---- */

void http_reply(struct http_exchange *exchange, const struct http_reply *reply)
{
    struct connection *c = connection_of(exchange);
    if (!exchange->live || exchange->reply != REPLY_NONE)
        return;
    c->close = must_close(c, reply, false);
    bool no_body = has_no_body(reply->status);
    struct reply_head head = {.reply = reply,
                              .kind = no_body ? LENGTH_NONE : LENGTH_KNOWN,
                              .length = reply->body.len,
                              .close = c->close,
                              .keep_alive = exchange->facts.keep_alive_told};
    bool with_body = !no_body && exchange->request.method != HTTP_HEAD;
    if (!write_head(c, &head, with_body ? reply->body.len : 0))
        c->broken = true;
    else if (with_body)
        buf_append_slice(&c->out, reply->body);
    done(c);
}

static struct slice encode_problem(struct http_loop *home, const struct problem *problem)
{
    const struct http_app *app = home->server->app;
    buf_reset(&home->problem_body);
    app->encode_problem(app->arg, problem, &home->problem_body);
    return buf_ok(&home->problem_body) ? buf_slice(&home->problem_body) : (struct slice){0};
}

enum { FIELDS_MAX = 32 };

/* `fields` with Retry-After where the problem has one and they do not.  Returns how many. */
static size_t problem_fields(const struct problem *problem, const struct http_field *fields, size_t n_fields,
                             struct http_field out[FIELDS_MAX + 1], char number[24])
{
    bool retry_after = false;
    n_fields = n_fields < FIELDS_MAX ? n_fields : FIELDS_MAX;
    for (size_t i = 0; i < n_fields; i++) {
        out[i] = fields[i];
        retry_after =
            retry_after || (fields[i].name.len == 11 && strncasecmp(fields[i].name.data, "retry-after", 11) == 0);
    }
    if (problem->retry_after_s > 0 && !retry_after) {
        size_t len = (size_t)(put_number(number, (unsigned)problem->retry_after_s) - number);
        out[n_fields++] = (struct http_field){SLICE_LITERAL("Retry-After"), slice_of(number, len)};
    }
    return n_fields;
}

void http_reply_problem(struct http_exchange *exchange, const struct problem *problem, const struct http_field *fields,
                        size_t n_fields)
{
    struct http_field all[FIELDS_MAX + 1];
    char number[24];
    struct http_reply reply = {.status = problem_status(problem->code),
                               .content_type = "application/problem+json",
                               .fields = all,
                               .n_fields = problem_fields(problem, fields, n_fields, all, number),
                               .body = encode_problem(connection_of(exchange)->home, problem)};
    http_reply(exchange, &reply);
}

/* What the application adds: the request is there only if its head was read and is the current one. */
static size_t refusal_fields(const struct connection *c, struct http_field own[FIELDS_MAX])
{
    const struct http_app *app = c->home->server->app;
    const struct http_request *request = c->exchange.request.fields ? &c->exchange.request : NULL;
    return app->problem_fields ? app->problem_fields(app->arg, request, own, FIELDS_MAX) : 0;
}

void reply_refusal(struct connection *c, const struct problem *problem, bool with_body)
{
    struct http_field own[FIELDS_MAX], all[FIELDS_MAX + 1];
    size_t n_own = refusal_fields(c, own);
    char number[24];
    struct http_reply reply = {.status = problem_status(problem->code),
                               .content_type = "application/problem+json",
                               .fields = all,
                               .n_fields = problem_fields(problem, own, n_own, all, number),
                               .body = encode_problem(c->home, problem)};
    struct reply_head head = {.reply = &reply, .kind = LENGTH_KNOWN, .length = reply.body.len, .close = true};
    if (!write_head(c, &head, reply.body.len))
        c->broken = true;
    else if (with_body)
        buf_append_slice(&c->out, reply.body);
}

void reply_continue(struct connection *c)
{
    buf_append_str(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
    c->broken = c->broken || !buf_ok(&c->out);
}

/* ---- streamed replies ---- */

static void append_piece(struct connection *c, struct slice piece)
{
    if (!piece.len || c->exchange.silent)
        return;
    compact(c);
    if (c->exchange.chunked_reply)
        buf_printf(&c->out, "%zx\r\n", piece.len);
    buf_append_slice(&c->out, piece);
    if (c->exchange.chunked_reply)
        buf_append(&c->out, "\r\n", 2);
    c->broken = c->broken || !buf_ok(&c->out);
}

void http_stream_begin(struct http_exchange *exchange, const struct http_reply *reply)
{
    struct connection *c = connection_of(exchange);
    if (!exchange->live || exchange->reply != REPLY_NONE)
        return;
    bool no_body = has_no_body(reply->status), chunked = exchange->facts.http_1_1 && !no_body;
    c->close = must_close(c, reply, exchange->mode == HTTP_BODY_STREAM) || (!chunked && !no_body);
    exchange->silent = no_body || exchange->request.method == HTTP_HEAD;
    exchange->chunked_reply = chunked;
    exchange->reply = REPLY_STREAM;
    struct reply_head head = {.reply = reply,
                              .kind = chunked ? LENGTH_CHUNKED : LENGTH_NONE,
                              .close = c->close,
                              .keep_alive = exchange->facts.keep_alive_told};
    if (!write_head(c, &head, reply->body.len))
        c->broken = true;
    else
        append_piece(c, reply->body);
    connection_schedule(c);
}

size_t http_stream_write(struct http_exchange *exchange, struct slice piece)
{
    struct connection *c = connection_of(exchange);
    if (!exchange->live || exchange->reply != REPLY_STREAM)
        return 0;
    append_piece(c, piece);
    connection_schedule(c);
    size_t pending = connection_pending(c);
    exchange->waits_for_drain = exchange->waits_for_drain || pending > HTTP_STREAM_HIGH;
    return pending;
}

void http_stream_on_drained(struct http_exchange *exchange, void (*drained)(void *arg, struct http_exchange *exchange))
{
    exchange->drained = drained;
}

void http_stream_end(struct http_exchange *exchange)
{
    struct connection *c = connection_of(exchange);
    if (!exchange->live || exchange->reply != REPLY_STREAM)
        return;
    if (exchange->chunked_reply && !exchange->silent)
        buf_append(&c->out, "0\r\n\r\n", 5);
    c->broken = c->broken || !buf_ok(&c->out);
    done(c);
}
