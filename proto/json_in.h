/* Reading JSON from outside: jansson behind the guards it needs (RFC 8259, strict).
 *
 * Refused beyond jansson's own checks: a NUL byte anywhere, duplicate member names, nesting deeper than asked,
 * trailing bytes.  Integers of any size are numbers (jansson's reals): bytes that only pass through are taken
 * from the text with json_members(), so that a payload keeps every digit it came with.
 * Thread: any, after json_in_init(). */
#ifndef SATCHEL_PROTO_JSON_IN_H
#define SATCHEL_PROTO_JSON_IN_H

#include <jansson.h>
#include <stdbool.h>

#include "proto/slice.h"

#define JSON_IN_ERROR_SIZE 160

void json_in_init(void); /* seeds jansson's hash; once, before any thread */

/* NULL: not acceptable, and `error` says where and why (printable ASCII only).  The caller owns the tree. */
json_t *json_in_load(struct slice text, int max_depth, char error[JSON_IN_ERROR_SIZE]);

/* The raw text of each member's value of the object that `text` (valid, checked by json_in_load) is.
 * Calls fn for every member in order; `name` is the raw name between its quotes, escapes not decoded. */
struct json_member {
    struct slice name, value;
};
size_t json_in_members(struct slice text, struct json_member *members, size_t cap); /* how many there are */

/* The raw text of one member of an object, or of one element of an array ("0" is the first), of valid JSON.
 * `data` is NULL where there is none.  Names written with escapes are found too. */
struct slice json_in_find(struct slice text, struct slice name);

#endif
