/* A receiver of OTLP/HTTP JSON on loopback, scripted: it keeps what it is sent and answers what it is told to, 200 {}
 * where nothing is.  Thread: one of its own; every function below from the test's. */
#ifndef SATCHEL_TESTS_RECEIVER_H
#define SATCHEL_TESTS_RECEIVER_H

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#define RECEIVER_REQUESTS 512

struct received {
    char *head; /* request line and header lines */
    char *body;
    long long at_ms; /* monotonic */
};

struct receiver {
    int fd, wake[2];
    char url[64]; /* "http://127.0.0.1:PORT" */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* lock guards: */
    struct received requests[RECEIVER_REQUESTS];
    size_t n;
    char *script[32]; /* whole answers, first to last */
    size_t n_script, at_script;
};

void receiver_start(struct receiver *r);
void receiver_stop(struct receiver *r);
/* The next answer that nobody has been given yet: status line and header lines, each ended by \r\n, and a body;
 * Content-Length is added.  head NULL: the connection is closed without an answer; "": none comes. */
void receiver_answer(struct receiver *r, const char *head, const char *body);
size_t receiver_count(struct receiver *r);                      /* requests so far; those do not change any more */
bool receiver_wait(struct receiver *r, size_t n, int limit_ms); /* until so many requests are there */
/* All spans of all requests that were answered with 2xx, in one new array; each with "resource", "scope" added. */
json_t *receiver_spans(struct receiver *r);
/* Waits until a span of that name (and kind; 0: any) of that trace is there, and returns a new reference; `skip` so
 * many before it.  NULL: none came in time. */
json_t *receiver_span(struct receiver *r, const char *trace_id, const char *name, int kind, size_t skip, int limit_ms);
/* The value of an attribute as JSON text ({"stringValue":"x"}), or NULL; borrowed. */
const json_t *span_attribute(const json_t *span, const char *key);
const char *span_text(const json_t *span, const char *key);   /* of a stringValue; NULL: there is none */
const char *span_number(const json_t *span, const char *key); /* of an intValue */

#endif
