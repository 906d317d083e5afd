/* The HTTP/1.1 server: bytes in, requests out; replies in, bytes out.  Knows no task.
 *
 * A request is handed to the application as an *exchange*.  The application replies to it at once or later; from
 * another thread it posts to the exchange's loop and finds it again there by its reference: an exchange whose
 * client has gone is not found, and the late answer is dropped.  Requests of one connection are handled strictly
 * one after the other.
 *
 * No call below ever calls back into the application: what it makes possible happens after the caller returned.
 *
 * Thread: everything about an exchange happens on its loop's thread.  Server calls: the thread that owns it. */
#ifndef SATCHEL_HTTP_HTTP_H
#define SATCHEL_HTTP_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "proto/buf.h"
#include "proto/problem.h"

struct http_server;
struct http_exchange;
struct tls;

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_PATCH, HTTP_DELETE, HTTP_OPTIONS, HTTP_OTHER };

struct http_field {
    struct slice name, value; /* as received, white space around the value removed */
};

struct http_certificate { /* what a client has shown, and an issuer vouches for */
    size_t n_names;
    char **names; /* "URI:...", "DNS:...", "email:...", and last "CN:...", without control characters; may be none */
};

struct http_peer {
    char text[64]; /* "127.0.0.1:53412", "unix" */
    bool is_unix;
    bool is_tls;
    const struct http_certificate *certificate; /* verified; NULL: none.  Lives as long as the connection */
    uint32_t uid, gid;                          /* unix: SO_PEERCRED */
    int32_t pid;
};

struct http_request { /* valid until the exchange is replied to */
    enum http_method method;
    struct slice method_text;
    struct slice path;  /* origin-form, still percent-encoded, without the query */
    struct slice query; /* without '?'; empty where there is none */
    const struct http_field *fields;
    size_t n_fields;
    struct slice body; /* complete; empty for a streamed one */
    const struct http_peer *peer;
    int64_t received_ns; /* clock_mono_ns of the last byte of the head */
};

/* The first field of that name (case-insensitive), or data NULL.  *n_found (may be NULL): how many there are. */
struct slice http_find(const struct http_request *request, const char *name, unsigned *n_found);

struct http_ref { /* plain data: may cross threads */
    struct loop *loop;
    uint32_t slot, generation;
};

enum http_body_mode {
    HTTP_BODY_WHOLE, /* collected, up to the limit; then `request` is called */
    HTTP_BODY_STREAM /* `body` is called with pieces as they come, then with end */
};

struct http_app {
    void *arg;
    /* The head is complete and framed correctly; a body may follow.  The application may reply here already (a
     * wrong path, method, type: the body is then discarded or the connection closed).  Else it says how it wants the
     * body and how long it may be. */
    enum http_body_mode (*head)(void *arg, struct http_exchange *exchange, size_t *ret_max_body);
    void (*request)(void *arg, struct http_exchange *exchange);
    /* HTTP_BODY_STREAM: false pauses reading until http_resume. */
    bool (*body)(void *arg, struct http_exchange *exchange, struct slice piece, bool end);
    /* There is nobody to reply to any more: the client went away before the reply was complete, or what it sent of
     * the body was malformed, too long or too slow (the server answers that itself), or the server stops.  Called at
     * most once, and only after `head`; the exchange is gone when this returns.  A client that has shut its sending
     * side alone is given a second for its answer. */
    void (*gone)(void *arg, struct http_exchange *exchange);
    /* The server itself answers a broken request with `problem`: the application writes the body (problem+json). */
    void (*encode_problem)(void *arg, const struct problem *problem, struct buf *out);
    /* Further fields of such a reply, at most `max`; returns how many.  `request` is NULL where no head could be read.
     * The slices must stay valid until the next call on this thread.  May be NULL: none. */
    size_t (*problem_fields)(void *arg, const struct http_request *request, struct http_field *fields, size_t max);
};

const struct http_request *http_request(struct http_exchange *exchange);
struct http_ref http_ref(struct http_exchange *exchange);
struct http_exchange *http_find_exchange(struct http_ref ref);  /* on ref.loop's thread; NULL: gone */
void http_set_data(struct http_exchange *exchange, void *data); /* the application's own */
void *http_data(struct http_exchange *exchange);
/* Counts the exchange's connection to an account, until it ends or is counted to another one.  False: that has `limit`
 * connections already (0: no limit, nothing is counted), or there is no memory; this one stays counted as it was. */
bool http_account(struct http_exchange *exchange, struct slice name, size_t limit);

struct http_reply {
    int status;
    const char *content_type;        /* NULL: none */
    const struct http_field *fields; /* further header fields; values are checked: CR, LF, NUL are refused */
    size_t n_fields;
    struct slice body; /* copied */
    bool close;        /* close the connection afterwards */
};

/* The whole reply; ends the exchange (do not touch it afterwards).  Adds Date, Content-Length, Connection. */
void http_reply(struct http_exchange *exchange, const struct http_reply *reply);
/* As http_reply, with a problem+json body and its status (Retry-After, Allow through fields). */
void http_reply_problem(struct http_exchange *exchange, const struct problem *problem, const struct http_field *fields,
                        size_t n_fields);

/* A streamed reply (chunked; identity until close for HTTP/1.0).  http_stream_write returns the bytes that wait to
 * be sent: a writer that sees more than HTTP_STREAM_HIGH waits for `drained` (called once it fell below a quarter). */
#define HTTP_STREAM_HIGH ((size_t)256 * 1024)
/* reply->body is the first piece. */
void http_stream_begin(struct http_exchange *exchange, const struct http_reply *reply);
size_t http_stream_write(struct http_exchange *exchange, struct slice piece);
void http_stream_on_drained(struct http_exchange *exchange, void (*drained)(void *arg, struct http_exchange *exchange));
void http_stream_end(struct http_exchange *exchange); /* ends the exchange */
void http_resume(struct http_exchange *exchange);     /* go on calling `body` */

struct http_limits {
    size_t header_bytes;           /* the whole header section: 431 beyond */
    size_t header_line;            /* one field line: 431 */
    size_t header_count;           /* 431 */
    size_t target;                 /* 414 */
    int64_t header_us;             /* absolute time for a complete header section: 408 */
    size_t body_rate;              /* bytes a second that a body must keep up, after the grace: 408 */
    int64_t body_grace_us;         /* 0: 10 s */
    int64_t idle_us;               /* keep-alive without a request: closed silently */
    int64_t write_stall_us;        /* a reply that makes no progress for so long: closed */
    size_t connections;            /* in all: 503 and closed beyond */
    size_t connections_per_source; /* of one address (or one uid): 503 and closed */
};

struct http_server_options {
    unsigned loops;
    struct http_limits limits;
    const struct http_app *app; /* must outlive the server */
    const char *server_name;    /* the Server field; NULL: none */
};

int http_server_new(const struct http_server_options *options, struct http_server **ret); /* 0 or -errno */
/* Adds an address "HOST:PORT", "[V6]:PORT" (http:// or https:// may be before them: TLS) or "unix:PATH"; binds and
 * listens now, accepts after start.  On failure -1 and the reason in `error`. */
int http_server_listen(struct http_server *server, const char *address, char *error, size_t error_size);
/* The same with an inherited socket. */
int http_server_adopt(struct http_server *server, int fd, bool secure, char *error, size_t error_size);
/* What connections to TLS addresses are made with from here on (its own reference); those that are there keep theirs.
 * Needed before start where there is such an address. */
void http_server_set_tls(struct http_server *server, struct tls *tls);
bool http_server_needs_tls(const struct http_server *server); /* is there a TLS address? */
int http_server_start(struct http_server *server);            /* 0 or -errno */
/* The bound addresses, "http://127.0.0.1:8640", "https://..." or "unix:/path", by index; NULL: past the end. */
const char *http_server_address(const struct http_server *server, size_t index);
/* Stops accepting (who is connected already is still served), closes idle connections, answers the rest with
 * `Connection: close`.  Returns when every loop has taken note; watch http_stats.connections for the end. */
void http_server_quiesce(struct http_server *server);
void http_server_stop(struct http_server *server); /* closes everything, ends the loops; NULL is fine */
void http_server_free(struct http_server *server); /* NULL is fine; removes unix socket files it made */

struct http_stats {
    uint64_t connections, accepted, refused, requests, framing_errors, timeouts;
    uint64_t handshakes, handshake_failures; /* of TLS; a client that goes away or is too slow counts as a failure */
    int64_t certificate_until;               /* seconds since 1970; 0: there is none */
};
void http_server_stats(struct http_server *server, struct http_stats *ret); /* any thread */
/* Grows with every turn of the slowest loop: the watchdog's food.  Posts a ping to each loop. */
uint64_t http_server_heartbeat(struct http_server *server);

#endif
