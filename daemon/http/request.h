/* What a request head means: method, target, and the fields that decide about framing and the connection.
 * Pure functions over slices of the head.  Thread: any. */
#ifndef SATCHEL_HTTP_REQUEST_H
#define SATCHEL_HTTP_REQUEST_H

#include "http/framing.h"
#include "http/http.h"

struct request_facts {
    bool http_1_1;
    bool keep_alive;      /* the client would like to send another request */
    bool keep_alive_told; /* it must be told that it may (HTTP/1.0) */
    bool expect_continue;
    bool chunked;
    unsigned long long length; /* Content-Length; 0 where there is none */
};

enum http_method request_method(struct slice text);
/* Origin-form, absolute-form (http, https), and `*` for OPTIONS.  False: none of these. */
bool request_target(struct slice target, enum http_method method, struct slice *ret_path, struct slice *ret_query,
                    struct problem *ret_problem);
/* `facts->http_1_1` is set before.  False: the request must be refused and the connection closed. */
bool request_check(const struct http_request *request, struct request_facts *facts, struct problem *ret_problem);

#endif
