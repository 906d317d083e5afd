/* Writing JSON straight into a buffer: no tree, commas by themselves, raw values passed through.
 *
 *     struct json_out j = json_out_to(&buf);
 *     json_out_begin_object(&j);
 *     json_out_key(&j, "id");  json_out_string(&j, slice_str("x"));
 *     json_out_end_object(&j);
 *
 * One owner; at most 64 levels. */
#ifndef SATCHEL_PROTO_JSON_OUT_H
#define SATCHEL_PROTO_JSON_OUT_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/buf.h"

struct json_out {
    struct buf *to;     /* borrowed */
    uint64_t has_items; /* bit per level: a comma is due before the next item */
    unsigned level;
    bool after_key;
};

struct json_out json_out_to(struct buf *to);
void json_out_begin_object(struct json_out *j);
void json_out_end_object(struct json_out *j);
void json_out_begin_array(struct json_out *j);
void json_out_end_array(struct json_out *j);
void json_out_key(struct json_out *j, const char *key);
void json_out_key_slice(struct json_out *j, struct slice key);
void json_out_string(struct json_out *j, struct slice text); /* invalid UTF-8 becomes U+FFFD */
void json_out_raw(struct json_out *j, struct slice json);    /* one valid JSON value, verbatim */
void json_out_i64(struct json_out *j, int64_t value);
void json_out_double(struct json_out *j, double value); /* shortest of %.15g/%.17g; not finite: null */
void json_out_bool(struct json_out *j, bool value);
void json_out_null(struct json_out *j);
void json_out_time(struct json_out *j, int64_t us); /* RFC 3339 */

/* key and value in one call */
void json_out_member(struct json_out *j, const char *key, struct slice text);
void json_out_member_i64(struct json_out *j, const char *key, int64_t value);

#endif
