/* The inside of the server that its files share: the server, and what belongs to each of its loops. */
#ifndef SATCHEL_HTTP_SERVER_H
#define SATCHEL_HTTP_SERVER_H

#include <stdatomic.h>

#include "base/clock.h"
#include "http/date.h"
#include "http/framing.h"
#include "http/http.h"
#include "http/listener.h"
#include "http/source.h"

struct connection;
struct event;

struct slot {                      /* where an http_ref points to */
    struct connection *connection; /* NULL: free */
    uint32_t generation;           /* of the current exchange */
    uint32_t next_free;
};

struct http_counters { /* written by the loop's thread alone, read by any */
    _Atomic uint64_t accepted, refused, requests, framing_errors, timeouts, handshakes, handshake_failures, beats;
};

struct http_loop {
    /* constant after http_server_new */
    struct http_server *server;
    struct loop *loop;
    struct event *ready_event, *sweep_event;
    char *input; /* what one read brings: shared by the loop's connections */
    /* the loop's thread alone */
    struct connection *ready_first, *ready_last; /* something is to be done for these before the loop waits again */
    struct slot *slots;
    uint32_t n_slots, free_slot; /* free_slot: index + 1; 0: none */
    struct date date;
    struct buf problem_body;
    int64_t distrust_logged;  /* when a refused certificate was last logged */
    uint64_t distrust_missed; /* how many were not, since */
    bool draining;
    bool sweeping; /* the sweep's timer runs: there are connections */
    /* any thread */
    atomic_size_t connections; /* including those on their way to the loop */
    struct http_counters counters;
    struct loop_mail ping;
    atomic_bool ping_under_way;
};

#define HTTP_INPUT_SIZE ((size_t)64 * 1024)
#define HTTP_SWEEP_US 250000
#define HTTP_LISTENERS_MAX 64

struct http_server {
    /* constant after http_server_start */
    struct http_limits limits;
    struct framing_limits framing;
    const struct http_app *app;
    char *server_line; /* "Server: x\r\n" or "" */
    size_t server_line_len;
    size_t input_max; /* how much unparsed input a connection may hold */
    struct http_loop *loops;
    unsigned n_loops;
    bool started;
    struct listener listeners[HTTP_LISTENERS_MAX];
    size_t n_listeners;
    /* the first loop's thread, which accepts */
    unsigned next_loop;
    struct tls *fresh_tls; /* on its way from http_server_set_tls, which waits */
    struct tls *tls;       /* a reference; NULL: no TLS address.  Before the start: the owner's */
    int start_error;       /* of listener_start; read by http_server_start */
    /* any thread */
    struct sources sources;
    atomic_size_t connections; /* those that count for the limit */
    atomic_size_t refusals;    /* connections that are just being told so */
    atomic_bool quiesced;
    _Atomic int64_t certificate_until;
};

static inline void http_count(_Atomic uint64_t *counter)
{
    /* one writer: no need for an atomic addition */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1, memory_order_relaxed);
}

/* The calling thread's loop, or NULL. */
struct http_loop *http_loop_current(void);
/* A slot for the connection, or UINT32_MAX (no memory). */
uint32_t http_loop_take_slot(struct http_loop *home, struct connection *connection);
void http_loop_free_slot(struct http_loop *home, uint32_t slot);
/* Runs the sweep also while there are no connections, until nothing is left for it to do. */
void http_loop_keep_sweeping(struct http_loop *home);
/* An accepted socket: chooses a loop and hands it over.  On the first loop's thread; takes the descriptor. */
void http_server_accepted(const struct listener *listener, int fd, const void *address);

#endif
