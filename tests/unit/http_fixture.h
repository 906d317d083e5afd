/* A server with a test application, and a small blocking client, for the tests of daemon/http.
 *
 * The application goes by the path: /echo (answers the body), /hold (keeps the exchange until fixture_answer),
 * /refuse (answers 404 on the head), /tiny (bodies up to 10 bytes), /in (streamed body; ?pause: pauses after every
 * piece and resumes from another thread), /out?N (streamed reply of N bytes), /close (asks to close), /bad-field
 * (tries to split the reply); anything else is answered with "METHOD PATH?QUERY fields=N body=LEN". */
#ifndef TESTS_HTTP_FIXTURE_H
#define TESTS_HTTP_FIXTURE_H

#include <pthread.h>
#include <stdatomic.h>

#include "http/http.h"

#define HELD_MAX 64
#define WAIT_MS 10000 /* every wait for something that must happen ends here, as a failure */

struct fixture {
    struct http_server *server;
    struct http_app app;
    char unix_path[64], dir[32];
    int port;
    atomic_uint heads, requests, gone, found, lost, pieces, in_ends, out_done, drains;
    atomic_size_t in_bytes, out_peak;
    pthread_mutex_t lock; /* guards what follows */
    struct http_ref held[HELD_MAX];
    unsigned n_held;
    char ran[4096]; /* "GET /a;POST /b;": what reached the application, in order */
};

struct http_limits fixture_limits(void); /* the defaults, for changing */
void fixture_start(struct fixture *f, unsigned loops, struct http_limits limits);
void fixture_stop(struct fixture *f);
struct http_ref fixture_wait_held(struct fixture *f, unsigned index); /* waits for the index-th held exchange */
void fixture_answer(struct fixture *f, struct http_ref ref, const char *body); /* from this thread, by reference */
/* Waits until *counter reaches `value`; fails the test when it does not. */
void wait_for(atomic_uint *counter, unsigned value);

int client_connect(const struct fixture *f);
int client_connect_unix(const struct fixture *f);
void client_send(int fd, const char *data, size_t len); /* a closed peer is no failure */
void client_send_text(int fd, const char *text);
void client_send_bytewise(int fd, const char *data, size_t len);
/* Everything until the peer's end (true) or `timeout_ms` without a byte (false). */
bool client_read_all(int fd, struct buf *out, int timeout_ms);
/* One whole response with a Content-Length or none; its status, or -1 at the end. */
int client_response(int fd, struct buf *body);
/* "200 400": the statuses of the responses in `text`.  `head_only`: the first has no body. */
void statuses_of(const struct buf *text, bool head_only, char *out, size_t out_size);

#endif
