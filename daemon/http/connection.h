/* One connection: a socket, what came in and is not yet parsed, what is to go out, and the exchange in hand.
 *
 * Input is taken by exchange.c (head, body, reply, next head), replies are written by reply.c, both on the bytes
 * that connection.c reads and sends; sweep.c ends what takes too long.  No call of the application ever calls back
 * into it: what a call makes possible is done by the loop afterwards (connection_schedule).
 * Thread: the loop that owns it, for everything. */
#ifndef SATCHEL_HTTP_CONNECTION_H
#define SATCHEL_HTTP_CONNECTION_H

#include <event2/event.h>
#include <event2/event_struct.h>

#include "http/chunked.h"
#include "http/parser.h"
#include "http/request.h"
#include "http/server.h"
#include "http/transport.h"

#define CONNECTION_KEEP_CAP ((size_t)16 * 1024)

enum input_state {
    INPUT_HEAD,   /* a head is awaited or on its way */
    INPUT_BODY,   /* a head was accepted; its body is on its way */
    INPUT_HELD,   /* the request is complete; its reply is not */
    INPUT_DISCARD /* the last reply is on its way: what comes in is thrown away */
};

enum reply_state { REPLY_NONE, REPLY_STREAM, REPLY_DONE };

struct http_exchange {
    struct http_request request;
    struct request_facts facts;
    void *data; /* the application's */
    void (*drained)(void *arg, struct http_exchange *exchange);
    enum reply_state reply;
    enum http_body_mode mode;
    size_t max_body;
    bool live;      /* the application knows it */
    bool paused;    /* the application wants no more body for now */
    bool expecting; /* the client waits for 100 (Continue) */
    bool chunked_reply;
    bool silent;          /* the reply has no body (HEAD) */
    bool waits_for_drain; /* the writer saw more than HTTP_STREAM_HIGH */
};

struct connection {
    struct http_exchange exchange; /* first: an exchange is found from its connection and back */
    struct http_loop *home;
    struct transport transport;
    struct event event;
    short watched; /* what `event` waits for */
    uint32_t slot;
    struct http_peer peer;
    struct http_certificate *certificate; /* peer's */
    struct source_key source;
    bool counted;              /* for the limits; else it is only told that there are too many */
    struct source_key account; /* what http_account has counted it to */
    bool has_account;
    /* input */
    enum input_state input;
    bool at_end;   /* the client has sent all it will */
    struct buf in; /* unparsed */
    size_t in_at;  /* where the unparsed part starts */
    struct framing_head scan;
    struct chunked chunked;
    bool skipped_crlf; /* one empty line before a request line is tolerated */
    struct parser *parser;
    struct buf head; /* the current request's head: slices point into it */
    struct http_field *fields;
    size_t fields_cap;
    struct buf body;
    unsigned long long body_left; /* of Content-Length */
    unsigned long long body_size; /* decoded so far */
    unsigned long long body_wire; /* the same as it came, with its framing */
    bool body_over;               /* all of it is here; the application may not yet know */
    /* output */
    struct buf out;
    size_t out_at;  /* sent so far */
    bool close;     /* after what is in `out` */
    bool finished;  /* our side of the socket is shut */
    bool broken;    /* cannot go on: no memory, or a reply that cannot be completed */
    bool throttled; /* no further request is taken until output has left */
    /* the loop's list of things to do */
    bool scheduled, busy;
    bool yielding; /* there is more to do, after the other connections */
    bool reading;  /* on the loop's list to read what the transport holds, no event telling of it */
    bool dead;     /* closed; freed when the list is run */
    struct connection *next_ready;
    /* clocks (clock_mono_ns; 0: not running) */
    int64_t handshake_since;
    int64_t idle_since; /* seen idle by the sweep */
    int64_t head_since; /* first byte of the head */
    int64_t body_since; /* start of the body, moved on by the time it was paused */
    int64_t paused_since;
    int64_t held_since; /* the request was complete */
    int64_t sent_at;    /* the last progress of the output */
    int64_t end_at;     /* the client's end was seen */
    int64_t linger_until;
};

struct handover { /* an accepted socket on its way to its loop */
    struct loop_mail mail;
    struct http_loop *home;
    int fd;
    struct tls *tls; /* a reference; NULL: plain */
    struct http_peer peer;
    struct source_key source;
    bool counted;
};

void connection_open(struct handover *handover); /* on home's thread; takes it over */
void connection_schedule(struct connection *connection);
void connection_run_ready(struct http_loop *home);
void connection_abort(struct connection *connection); /* tells the application, closes, frees */
void connection_drain(struct connection *connection); /* the server stops: serve what is there, close when idle */
void connection_turn(struct connection *connection);  /* does what can be done now; may free it */
void connection_drop_buffers(struct connection *connection);

static inline size_t connection_pending(const struct connection *connection) /* bytes that wait to be sent */
{
    return connection->out.len - connection->out_at;
}

static inline size_t connection_unparsed(const struct connection *connection)
{
    return connection->in.len - connection->in_at;
}

static inline struct connection *connection_of(struct http_exchange *exchange)
{
    return (struct connection *)exchange;
}

/* Empties a buffer for its next use; what has grown large is given back. */
static inline void connection_empty(struct buf *buf)
{
    if (buf->cap > CONNECTION_KEEP_CAP)
        buf_release(buf);
    else
        buf_reset(buf);
}

/* exchange.c */
size_t exchange_consume(struct connection *connection, const char *data, size_t len);
/* The request cannot be served: tells the application if it knows of it, answers, closes. */
void exchange_fail(struct connection *connection, const struct problem *problem);
void exchange_gone(struct connection *connection);
extern const struct parser_events exchange_parser_events;

/* sweep.c */
void sweep_connection(struct connection *connection, int64_t now);

#endif
