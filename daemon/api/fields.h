/* Header fields with a grammar of their own: Prefer (RFC 7240), Idempotency-Key, Content-Type.
 * Pure functions over a request; any thread. */
#ifndef SATCHEL_API_FIELDS_H
#define SATCHEL_API_FIELDS_H

#include "http/http.h"

struct preferences {
    bool has_wait, respond_async, minimal;
    int64_t wait_s; /* whole seconds */
};

/* Every Prefer field; the first of a repeated preference counts, what is not understood is ignored. */
void prefer_read(const struct http_request *request, struct preferences *ret);

#define IDEMPOTENCY_KEY_MAX 255u

/* The decoded key into `out`; ret->data NULL: there is none.  -1 and *reterr (400): not a key. */
int idempotency_key_read(const struct http_request *request, char out[IDEMPOTENCY_KEY_MAX + 1], struct slice *ret,
                         struct problem *reterr);

/* application/json or application/...+json, in UTF-8, not encoded; else -1 and *reterr (415). */
int json_body_check(const struct http_request *request, struct problem *reterr);
/* The same, or one document a line: application/x-ndjson, application/ndjson, application/jsonl. */
int json_lines_body_check(const struct http_request *request, bool *ret_lines, struct problem *reterr);

#endif
