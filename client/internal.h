/* What the files of the client share: a request and its answer, and the client's connections.
 *   client.c      clients: where the daemon is            wire.c    one request and its answer
 *   connection.c  connections kept open, one exchange     error.c   what went wrong, in words
 *   submit.c      a submission's body and headers         future.c  tasks that were submitted
 *   list.c        pages of tasks                  details.c further questions about a task, retry, delete, log
 *   events.c      a task's events as they come */
#ifndef SATCHEL_CLIENT_INTERNAL_H
#define SATCHEL_CLIENT_INTERNAL_H

#include <jansson.h>
#include <pthread.h>
#include <satchel/client.h>
#include <stdatomic.h>

#include "proto/buf.h"
#include "proto/curl_loader.h"
#include "proto/id.h"

#pragma GCC visibility push(hidden)

#define RESPONSE_MAX ((size_t)64 << 20)
#define CONNECTIONS_KEPT 16

struct connection { /* a handle and what keeps its connection open between two uses */
    CURL *easy;
    CURLM *multi;
};

struct satchel_client {
    atomic_uint refs;
    const struct curl_functions *curl;
    char *base, *unix_path;               /* unix_path NULL: TCP */
    char *url;                            /* as it was given, for messages; without its password */
    char *ca_file, *cert_file, *key_file; /* NULL: the system's; none; in cert_file */
    struct curl_slist *headers;           /* of every request: token, the caller's */
    int64_t connect_timeout_ms, timeout_ms;
    pthread_mutex_t lock; /* guards idle, n_idle */
    struct connection idle[CONNECTIONS_KEPT];
    unsigned n_idle;
};

struct request {
    const char *method;
    const char *path;           /* with its query */
    struct curl_slist *headers; /* owned by the caller; those that the client's own replace are left out */
    struct slice body;          /* data NULL: none */
    const char *tenant;         /* NULL: the calling thread's current one, unless a header names it */
    const char *accept;         /* NULL: application/json */
    int64_t limit_ms;           /* how long it may take in all; 0: as the client's usually may; negative: for ever */
    int64_t idle_ms;            /* how long nothing may come; 0: no limit of its own */
    /* Gets the body of a 2xx answer as it comes, instead of response.body.  Non-zero: enough. */
    int (*on_data)(const char *data, size_t len, void *arg);
    void *on_data_arg;
    bool repeatable; /* a POST that does the same when it comes twice: a broken connection may repeat it unasked */
    bool cancelable; /* ends when the calling thread's context is canceled */
};

struct response {
    int status;
    int retry_after_s;
    int stopped; /* what on_data returned where it had enough; the answer may not be whole then */
    struct buf body;
};

/* ---- wire.c ---- */

/* SATCHEL_OK: a 2xx answer, in *ret.  Else the status that the answer or the network means, and *error. */
int client_request(satchel_client *client, const struct request *request, struct response *ret, satchel_error *error);
void response_release(struct response *response);
/* Whether a header line "name: ..." is among them. */
bool has_header(const struct curl_slist *list, const char *name);
/* Percent-encodes what is not unreserved (RFC 3986). */
void append_encoded(struct buf *out, const char *text);
/* list.c: "?name=value", or with '&' where the path has a query.  A NULL value: nothing. */
void append_parameter(struct buf *path, const char *name, const char *value);

/* ---- connection.c ---- */

int connection_borrow(satchel_client *client, struct connection *ret);            /* SATCHEL_OK or SATCHEL_ENOMEM */
void connection_give_back(satchel_client *client, struct connection *connection); /* kept open, or closed */
void connection_close(const satchel_client *client, struct connection *connection);
/* Runs the exchange that the easy handle is set up for.  True: `cancel` fired before its end.  idle_ms > 0: curl's
 * progress is asked for several times in each such span, also where nothing comes. */
bool connection_perform(const satchel_client *client, const struct connection *connection, satchel_cancel *cancel,
                        int64_t idle_ms, CURLcode *ret);

/* ---- error.c ---- */

int error_set(satchel_error *error, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
void error_clear(satchel_error *error);
int error_out_of_memory(satchel_error *error);
/* What an answer that is not 2xx means, and what the daemon said in it. */
int error_of_response(const struct response *response, satchel_error *error);
/* Nothing came for so long. */
int error_of_silence(const satchel_client *client, int64_t idle_ms, satchel_error *error);
/* What curl's code means; `said`: its own words on this case, "" for none. */
int error_of_network(const satchel_client *client, CURLcode code, const char *said, satchel_error *error);

/* ---- future.c ---- */

struct satchel_future {
    satchel_client *client; /* a reference */
    char id[TASK_ID_TEXT_SIZE];
    json_t *task;    /* NULL: the daemon was not asked yet */
    struct buf text; /* the same as bytes: numbers as they came */
};

int64_t client_now_ms(void);
/* Takes the response's body over as what is known of the task. */
int future_learn(satchel_future *future, struct response *response, satchel_error *error);
/* The tenant it was submitted for; NULL while the daemon has not been asked. */
const char *future_tenant(const satchel_future *future);
int future_copy_out(struct slice text, char **json, size_t *len, satchel_error *error);

struct patience {      /* with a daemon that restarts while somebody waits for a task */
    int64_t until;     /* client_now_ms(); INT64_MAX: no limit */
    int64_t pause_ms;  /* before the daemon is asked again */
    unsigned failures; /* 5xx other than 503, in a row */
};
struct patience patience_for(int64_t timeout_ms); /* negative: without limit */
int64_t patience_left(const struct patience *w);
void patience_renew(struct patience *w); /* it answered */
/* Whether what was answered, or not, is what a restart of the daemon looks like. */
bool patience_allows(struct patience *w, const satchel_future *future, int status);
/* Until it is time to ask again, or the calling thread's context is canceled. */
void patience_rest(struct patience *w, int retry_after_s);

/* A future that holds the task object of an answer (taken over from the response). */
int future_from_response(satchel_client *client, struct response *response, satchel_future **out, satchel_error *error);

#pragma GCC visibility pop

#endif
