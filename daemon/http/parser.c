#include "http/parser.h"

#include <llhttp.h>
#include <stdlib.h>

struct parser {
    llhttp_t llhttp;
    const struct parser_events *events;
    void *arg;
    struct slice target, name, value;
    bool in_body; /* the head is over: further fields are trailers, which are dropped */
    bool complete;
};

/* llhttp may report one span in several calls; all lie in the same head, one after the other. */
static void extend(struct slice *s, const char *at, size_t len)
{
    if (!s->len)
        s->data = at;
    s->len = (size_t)(at - s->data) + len;
}

static int on_url(llhttp_t *llhttp, const char *at, size_t len)
{
    struct parser *parser = llhttp->data;
    extend(&parser->target, at, len);
    return 0;
}

static int on_name(llhttp_t *llhttp, const char *at, size_t len)
{
    struct parser *parser = llhttp->data;
    if (!parser->in_body)
        extend(&parser->name, at, len);
    return 0;
}

static int on_value(llhttp_t *llhttp, const char *at, size_t len)
{
    struct parser *parser = llhttp->data;
    if (!parser->in_body)
        extend(&parser->value, at, len);
    return 0;
}

static int on_value_complete(llhttp_t *llhttp)
{
    struct parser *parser = llhttp->data;
    if (parser->in_body)
        return 0;
    struct slice value = parser->value;
    while (value.len && (value.data[value.len - 1] == ' ' || value.data[value.len - 1] == '\t'))
        value.len--;
    bool ok = parser->events->field(parser->arg, parser->name, value);
    parser->name = parser->value = (struct slice){0};
    return ok ? 0 : -1;
}

static int on_headers_complete(llhttp_t *llhttp)
{
    struct parser *parser = llhttp->data;
    parser->in_body = true;
    llhttp->upgrade = 0; /* no other protocol is offered: `Upgrade` is ignored, as RFC 9110 allows */
    return 0;
}

static int on_body(llhttp_t *llhttp, const char *at, size_t len)
{
    struct parser *parser = llhttp->data;
    parser->events->body(parser->arg, slice_of(at, len));
    return 0;
}

static int on_message_complete(llhttp_t *llhttp)
{
    struct parser *parser = llhttp->data;
    parser->complete = true;
    return 0;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

struct parser *parser_new(const struct parser_events *events, void *arg)
{
    struct parser *parser = calloc(1, sizeof *parser);
    if (!parser)
        return NULL;
    llhttp_init(&parser->llhttp, HTTP_REQUEST, &settings);
    parser->llhttp.data = parser;
    parser->events = events;
    parser->arg = arg;
    return parser;
}

void parser_free(struct parser *parser)
{
    free(parser);
}

bool parser_head(struct parser *parser, struct slice head, size_t method_len, struct slice *ret_target)
{
    llhttp_reset(&parser->llhttp);
    parser->in_body = parser->complete = false;
    parser->target = parser->name = parser->value = (struct slice){0};
    if (llhttp_execute(&parser->llhttp, "POST", 4) != HPE_OK ||
        llhttp_execute(&parser->llhttp, head.data + method_len, head.len - method_len) != HPE_OK || !parser->in_body)
        return false;
    *ret_target = parser->target;
    return true;
}

bool parser_body(struct parser *parser, struct slice bytes)
{
    return llhttp_execute(&parser->llhttp, bytes.data, bytes.len) == HPE_OK;
}

bool parser_complete(const struct parser *parser)
{
    return parser->complete;
}

const char *parser_error(const struct parser *parser)
{
    const char *reason = llhttp_get_error_reason(&parser->llhttp);
    return reason && *reason ? reason : "not well-formed";
}
