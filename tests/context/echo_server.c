/* See echo_server.h. */
#include "tests/context/echo_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <satchel/context.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PEERS 64
#define REQUEST_MAX 32768

struct peer {
    int fd; /* -1: none */
    size_t len;
    char data[REQUEST_MAX];
};

static void drop(struct peer *peer)
{
    (void)close(peer->fd);
    peer->fd = -1;
    peer->len = 0;
}

/* Answers one whole request.  False: it is not all there, or the peer is gone. */
static bool answer_one(struct peer *peer)
{
    char *end = memmem(peer->data, peer->len, "\r\n\r\n", 4), answer[REQUEST_MAX + 128];
    if (!end)
        return false;
    size_t head = (size_t)(end - peer->data) + 4, body = 0;
    for (char *line = peer->data; line < end; line = strstr(line, "\r\n") + 2)
        if (strncasecmp(line, "Content-Length:", 15) == 0)
            body = strtoul(line + 15, NULL, 10);
    if (peer->len < head + body)
        return false;
    int len = snprintf(answer, sizeof answer,
                       "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%.*s", head,
                       (int)head, peer->data);
    if (send(peer->fd, answer, (size_t)len, MSG_NOSIGNAL) != len) {
        drop(peer);
        return false;
    }
    memmove(peer->data, peer->data + head + body, peer->len - head - body);
    peer->len -= head + body;
    return true;
}

static void read_more(struct peer *peer)
{
    ssize_t n = recv(peer->fd, peer->data + peer->len, sizeof peer->data - 1 - peer->len, 0);
    if (n <= 0) {
        drop(peer);
        return;
    }
    peer->len += (size_t)n;
    peer->data[peer->len] = '\0';
    while (answer_one(peer)) {
    }
}

static void take_peer(int listener, struct peer *peers)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    for (size_t i = 0; i < PEERS && fd >= 0; i++)
        if (peers[i].fd < 0) {
            peers[i].fd = fd;
            return;
        }
    if (fd >= 0)
        (void)close(fd);
}

static void *serve(void *arg)
{
    struct echo_server *e = arg;
    struct peer *peers = calloc(PEERS, sizeof *peers);
    struct pollfd fds[PEERS + 2] = {{.fd = e->wake[0], .events = POLLIN}, {.fd = e->fd, .events = POLLIN}};
    for (size_t i = 0; peers && i < PEERS; i++)
        peers[i].fd = -1;
    while (peers) {
        for (size_t i = 0; i < PEERS; i++)
            fds[i + 2] = (struct pollfd){.fd = peers[i].fd, .events = POLLIN};
        if ((poll(fds, PEERS + 2, -1) < 0 && errno != EINTR) || fds[0].revents)
            break;
        for (size_t i = 0; i < PEERS; i++)
            if (fds[i + 2].revents)
                read_more(&peers[i]);
        if (fds[1].revents)
            take_peer(e->fd, peers);
    }
    for (size_t i = 0; peers && i < PEERS; i++)
        if (peers[i].fd >= 0)
            drop(&peers[i]);
    free(peers);
    return NULL;
}

void echo_start(struct echo_server *e)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    e->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(e->fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(e->fd, 64), 0);
    assert_int_equal(getsockname(e->fd, (struct sockaddr *)&address, &len), 0);
    (void)snprintf(e->url, sizeof e->url, "http://127.0.0.1:%d", ntohs(address.sin_port));
    assert_int_equal(pipe2(e->wake, O_CLOEXEC), 0);
    assert_int_equal(satchel_thread_create(&e->thread, NULL, serve, e), SATCHEL_OK);
}

void echo_stop(struct echo_server *e)
{
    assert_int_equal(write(e->wake[1], "x", 1), 1);
    (void)pthread_join(e->thread, NULL);
    (void)close(e->wake[0]);
    (void)close(e->wake[1]);
    (void)close(e->fd);
}
