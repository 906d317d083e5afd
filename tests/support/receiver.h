/* An HTTP server of loopback, scripted: it keeps what it is sent and says what it is told to, byte for byte, 200 {}
 * where nothing is.  For the tests of what goes out: spans (OTLP/HTTP JSON), callbacks, HTTP tasks.
 * Thread: one of its own; every function below from the test's. */
#ifndef SATCHEL_TESTS_RECEIVER_H
#define SATCHEL_TESTS_RECEIVER_H

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#define RECEIVER_REQUESTS 512
#define RECEIVER_ANSWERS 256

struct received {
    char *whole;
    char *head; /* request line and header lines */
    char *body;
    long long at_ms; /* monotonic */
};

enum receiver_after {                  /* what follows an answer */
                      RECEIVER_KEEP,   /* the connection stays open for another request */
                      RECEIVER_CLOSE,  /* it is closed */
                      RECEIVER_RESET,  /* it is closed with a reset */
                      RECEIVER_HANG,   /* nothing more is ever said on it */
                      RECEIVER_REPEAT, /* the answer is said over and over until the other side has gone */
                      RECEIVER_DRIP    /* it is said byte by byte, a few milliseconds apart; then as RECEIVER_KEEP */
};

struct receiver_answer {
    char *text; /* malloced; NULL: the connection is closed at once */
    size_t len;
    enum receiver_after after;
};

struct receiver {
    int fd, wake[2], port;
    char url[64]; /* "http://127.0.0.1:PORT", "unix:PATH" */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* lock guards: */
    struct received requests[RECEIVER_REQUESTS];
    size_t n;
    struct receiver_answer script[RECEIVER_ANSWERS]; /* first to last */
    size_t n_script, at_script;
    bool last_stands;             /* the script's last answer is the answer to all that comes later */
    size_t n_connections, n_gone; /* ever made; ended by the other side */
};

void receiver_start(struct receiver *r);
void receiver_start_at(struct receiver *r, const char *address); /* "127.0.0.1" or "::1" */
void receiver_start_unix(struct receiver *r, const char *path);  /* url: "unix:PATH" */
void receiver_stop(struct receiver *r);
/* The next answer that nobody has been given yet: status line and header lines, each ended by \r\n, and a body;
 * Content-Length is added.  head NULL: the connection is closed without an answer; "": none comes. */
void receiver_answer(struct receiver *r, const char *head, const char *body);
/* The next answer as it is on the wire, with what follows it; the last one that is said so stands for all that come
 * later. */
void receiver_say(struct receiver *r, const char *text, enum receiver_after after);
void receiver_say_bytes(struct receiver *r, const char *bytes, size_t len, enum receiver_after after);
void receiver_forget(struct receiver *r); /* answers and requests so far */
/* The index-th request, waited for; whole. */
const char *receiver_request(struct receiver *r, size_t index);
size_t receiver_connections(struct receiver *r);
void receiver_wait_gone(struct receiver *r, size_t n); /* until that many connections were ended by the other side */
/* The value of a header line of a request, malloced; NULL: it has none.  Twice fails the test. */
char *request_line(const char *request, const char *name);
const char *request_content(const char *request);
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
