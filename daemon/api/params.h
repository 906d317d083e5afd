/* The query of a request: names and values, percent-decoded, strictly.
 * Thread: any; values lie in the set's own memory. */
#ifndef SATCHEL_API_PARAMS_H
#define SATCHEL_API_PARAMS_H

#include "proto/buf.h"
#include "proto/problem.h"

#define PARAMS_MAX 32u

struct params {
    struct param {
        struct slice name, value; /* decoded; into text */
    } list[PARAMS_MAX];
    size_t n;
    struct buf text;
};

/* Decodes %XX (and + as a blank where `plus`).  -1: a broken escape or a NUL; nothing is appended then. */
int percent_decode(struct slice text, bool plus, struct buf *out);
void percent_encode(struct slice text, struct buf *out); /* everything but RFC 3986's unreserved characters */

/* 0, or -1 and *reterr (400): a broken escape, too many, one given twice, one that is not among `known` (NULL-ended). */
int params_parse(struct slice query, const char *const *known, struct params *ret, struct problem *reterr);
void params_release(struct params *params);
/* The value, or data NULL where it was not given. */
struct slice params_get(const struct params *params, const char *name);

#endif
