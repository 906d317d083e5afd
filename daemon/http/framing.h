/* Our own rules for the bytes of a request head, stricter than llhttp 8.1: pure functions over bytes.
 *
 * llhttp (strict) lets through bare LF at line ends, obsolete line folding and more; every line is checked here
 * before llhttp sees it.  CRLF only; token names with no space before the colon; no folding; no control characters;
 * one space between the parts of the request line; HTTP/1.0 and HTTP/1.1 only.
 * Fed in pieces of any size the result is the same.  Thread: any. */
#ifndef SATCHEL_HTTP_FRAMING_H
#define SATCHEL_HTTP_FRAMING_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/problem.h"

enum framing_result { FRAMING_MORE, FRAMING_DONE, FRAMING_BROKEN };

#define FRAMING_METHOD_MAX 32

struct framing_limits {
    size_t header_bytes, header_line, header_count, target;
};

struct framing_head {
    size_t at;        /* looked at so far */
    size_t line;      /* where the current line starts */
    size_t fields_at; /* where the first field line starts; 0: still in the request line */
    size_t n_fields;
    size_t method_len;
    bool http_1_1; /* valid when done */
};

/* `data` is the head from its first byte, `len` all that is there of it.  DONE: the head ends at *ret_end. */
enum framing_result framing_head_scan(struct framing_head *scan, const struct framing_limits *limits, const char *data,
                                      size_t len, size_t *ret_end, struct problem *ret_problem);

bool framing_is_token(struct slice text); /* RFC 9110 token, not empty */
bool framing_is_token_char(unsigned char c);
bool framing_is_value(struct slice text); /* field value: no control character but HTAB */
bool framing_is_value_char(unsigned char c);
bool framing_is_host(struct slice text); /* host [":" port], not empty */
/* 1*DIGIT below 2^63. */
bool framing_parse_length(struct slice text, unsigned long long *ret);

#endif
