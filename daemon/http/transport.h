/* The seam between a connection and its socket: plain bytes now; TLS fits in as another set of operations.
 *
 * bufferevents are not used on this path: for every request they cost an ioctl(FIONREAD), two epoll_ctl and a
 * second turn of the loop, where one recv and one send do.
 * Thread: the loop that owns the connection. */
#ifndef SATCHEL_HTTP_TRANSPORT_H
#define SATCHEL_HTTP_TRANSPORT_H

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
    int fd; /* owned */
};

extern const struct transport_ops transport_plain;

#endif
