/* The seam between a connection and its socket: plain bytes, or TLS (transport_tls.c) as another set of operations.
 *
 * bufferevents are not used on this path: for every request they cost an ioctl(FIONREAD), two epoll_ctl and a
 * second turn of the loop, where one recv and one send do.
 * Thread: the loop that owns the connection. */
#ifndef SATCHEL_HTTP_TRANSPORT_H
#define SATCHEL_HTTP_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct transport;

struct transport_ops {
    ssize_t (*receive)(struct transport *transport, void *data, size_t len); /* 0: the end; -EAGAIN; -errno */
    ssize_t (*send)(struct transport *transport, const void *data, size_t len);
    /* Without reading: has the client sent its end?  -errno: it is gone. */
    int (*ended)(struct transport *transport);
    void (*finish)(struct transport *transport); /* nothing more will be sent */
    void (*close)(struct transport *transport);
};

struct transport {
    const struct transport_ops *ops;
    int fd;              /* owned */
    struct ssl_st *ssl;  /* owned; NULL: plain */
    bool looked;         /* TLS: its first byte is one of TLS */
    bool opening;        /* TLS: the handshake is not through */
    bool more;           /* something was received that `receive` has not yet given out, and no event will tell of it */
    bool receive_writes; /* `receive` is to be called again when the socket can be written to */
    bool send_reads;     /* `send` is to be called again when the socket can be read from */
};

extern const struct transport_ops transport_plain;

/* ---- transport_tls.c ---- */

struct tls;
struct http_certificate;

/* Makes a plain transport one that speaks TLS, as the server, beginning with the handshake.  0 or -ENOMEM.
 *
 * Beyond the errors above, `receive` returns while `opening`
 *   -ENOPROTOOPT  the client speaks plain HTTP; nothing was taken from the socket
 *   -EPROTO       the handshake failed, the client was told why
 * and the transport is a plain one again, so that what still comes can be read to its end. */
int transport_secure(struct transport *transport, const struct tls *tls);
/* Once the handshake is through: *ret is the client's verified certificate, the caller's, or NULL where it showed none.
 * 0 or -ENOMEM. */
int transport_certificate(const struct transport *transport, struct http_certificate **ret);
/* "TLSv1.3" */
const char *transport_protocol(const struct transport *transport);
/* Why the handshake has failed: static, valid until the next call on this thread. */
const char *transport_failure(void);
/* Whether it was about the client's certificate: none was shown where one is needed, or it was not accepted. */
bool transport_distrusted(void);

#endif
