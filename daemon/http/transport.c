#include "http/transport.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static ssize_t plain_receive(struct transport *transport, void *data, size_t len)
{
    ssize_t n;
    do {
        n = recv(transport->fd, data, len, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static ssize_t plain_send(struct transport *transport, const void *data, size_t len)
{
    ssize_t n;
    do {
        n = send(transport->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static int plain_ended(struct transport *transport)
{
    struct pollfd look = {.fd = transport->fd, .events = POLLRDHUP};
    if (poll(&look, 1, 0) <= 0)
        return 0;
    return look.revents & (POLLERR | POLLHUP | POLLNVAL) ? -ECONNRESET : (look.revents & POLLRDHUP) != 0;
}

static void plain_finish(struct transport *transport)
{
    (void)shutdown(transport->fd, SHUT_WR);
}

static void plain_close(struct transport *transport)
{
    (void)close(transport->fd);
    transport->fd = -1;
}

const struct transport_ops transport_plain = {plain_receive, plain_send, plain_ended, plain_finish, plain_close};
