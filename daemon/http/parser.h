/* llhttp behind a small door: one message at a time, whole heads, pieces of bodies.
 *
 * Only parser.c includes llhttp.h (its names and http.h's are the same).  The bytes have passed framing.c and
 * chunked.c before, which know exactly where a message ends: what llhttp says must agree with them, and any
 * disagreement is a framing error.
 * Thread: the loop that owns the parser. */
#ifndef SATCHEL_HTTP_PARSER_H
#define SATCHEL_HTTP_PARSER_H

#include <stdbool.h>

#include "proto/slice.h"

struct parser;

struct parser_events {
    /* One header field; slices of the head that was passed in.  False: no memory. */
    bool (*field)(void *arg, struct slice name, struct slice value);
    void (*body)(void *arg, struct slice piece); /* decoded body bytes, as they come */
};

struct parser *parser_new(const struct parser_events *events, void *arg); /* NULL: no memory */
void parser_free(struct parser *parser);                                  /* NULL is fine */

/* The complete head of a new message, from its first byte to the empty line.  llhttp knows a fixed list of
 * methods and treats some in a special way; since the framing never depends on the method, it is shown POST
 * instead of the first `method_len` bytes.  False: not well-formed for llhttp, or no memory. */
bool parser_head(struct parser *parser, struct slice head, size_t method_len, struct slice *ret_target);
/* Bytes of the body of the same message, framing included.  False: not well-formed. */
bool parser_body(struct parser *parser, struct slice bytes);
bool parser_complete(const struct parser *parser); /* has llhttp seen the end of the message? */
const char *parser_error(const struct parser *parser);

#endif
