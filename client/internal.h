/* What the files of the client share: a request and its answer, and the client's connections.
 *   client.c     clients, their connections            wire.c   one request over one connection, errors
 *   submit.c     a submission's body and headers       future.c tasks that were submitted
 *   list.c       pages of tasks */
#ifndef SATCHEL_CLIENT_INTERNAL_H
#define SATCHEL_CLIENT_INTERNAL_H

#include <pthread.h>
#include <satchel/client.h>
#include <stdatomic.h>

#include "client/curl_loader.h"
#include "proto/buf.h"

#pragma GCC visibility push(hidden)

#define RESPONSE_MAX ((size_t)64 << 20)
#define CONNECTIONS_KEPT 16

struct satchel_client {
    atomic_uint refs;
    const struct curl_functions *curl;
    char *base, *unix_path; /* unix_path NULL: TCP */
    char *ca_file;
    struct curl_slist *headers; /* of every request: token, the caller's */
    int64_t connect_timeout_ms, timeout_ms;
    pthread_mutex_t lock; /* guards idle, n_idle */
    CURL *idle[CONNECTIONS_KEPT];
    unsigned n_idle;
};

struct request {
    const char *method;
    const char *path;           /* with its query */
    struct curl_slist *headers; /* owned by the caller */
    struct slice body;          /* data NULL: none */
    const char *tenant;         /* NULL: the calling thread's current one, unless a header names it */
    int64_t extra_ms;           /* how much longer than usual the answer may take, being waited for */
};

struct response {
    int status;
    int retry_after_s;
    struct buf body;
};

/* SATCHEL_OK: a 2xx answer, in *ret.  Else the status that the answer or the network means, and *error. */
int client_request(satchel_client *client, const struct request *request, struct response *ret, satchel_error *error);
void response_release(struct response *response);
int error_set(satchel_error *error, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
void error_clear(satchel_error *error);
int64_t client_now_ms(void);
/* Percent-encodes what is not unreserved (RFC 3986). */
void append_encoded(struct buf *out, const char *text);
/* A future that holds the task object of an answer (taken over from the response). */
int future_from_response(satchel_client *client, struct response *response, satchel_future **out, satchel_error *error);

#pragma GCC visibility pop

#endif
