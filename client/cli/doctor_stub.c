/* A small HTTP server on loopback that keeps the header lines of what it is asked, for satchel doctor alone: one
 * request a connection, on paths that hold a number nobody else knows.
 * Thread: one of its own; the functions of doctor.h any other.  The lock guards the records alone. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "client/cli/doctor.h"

#define PEERS 128u /* at once; others wait in the listen queue */
#define HEAD_MAX 65536u
#define BODY_MAX ((size_t)64 << 20) /* is read and dropped */

struct peer {
    int fd; /* -1: none */
    struct buf head;
    size_t body_left;
    bool in_body;
};

/* ---- one request ---- */

static void drop(struct peer *peer)
{
    (void)close(peer->fd);
    peer->fd = -1;
    buf_release(&peer->head);
    peer->in_body = false;
}

static void answer(struct peer *peer, int status)
{
    char text[160];
    int len = snprintf(text, sizeof text,
                       "HTTP/1.1 %d X\r\nContent-Type: application/json\r\n%sContent-Length: 2\r\n"
                       "Connection: close\r\n\r\n{}",
                       status, status == 503 ? "Retry-After: 0\r\n" : "");
    (void)send(peer->fd, text, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT); /* fits every fresh socket's buffer */
    drop(peer);
}

/* The record of "POST /NONCE/ROUTE/TENANT HTTP/1.1". */
static struct stub_record *record_of(const struct stub *stub, const char *head, enum route *ret_route)
{
    char nonce[40], tail;
    unsigned route, tenant;
    if (sscanf(head, "POST /%39[0-9a-f]/%9u/%9u HTTP/1.1%c", nonce, &route, &tenant, &tail) != 4 || tail != '\r' ||
        strcmp(nonce, stub->nonce) != 0 || route >= N_ROUTES || tenant >= stub->n_tenants)
        return NULL;
    *ret_route = (enum route)route;
    return &stub->records[(size_t)tenant * N_ROUTES + route];
}

static void handle(struct stub *stub, struct peer *peer)
{
    int status = 404;
    enum route route;
    struct stub_record *record = record_of(stub, peer->head.data, &route);
    if (record) {
        char *head = strdup(peer->head.data);
        (void)pthread_mutex_lock(&stub->lock);
        record->requests++;
        status = route == ROUTE_HTTP_RETRY && record->requests == 1 ? 503 : 200;
        if (status == 200) {
            char *old = record->head;
            record->head = head;
            head = old;
        }
        (void)pthread_cond_broadcast(&stub->changed);
        (void)pthread_mutex_unlock(&stub->lock);
        free(head);
    }
    answer(peer, status);
}

static size_t content_length(const char *head)
{
    static const char name[] = "\r\ncontent-length:";
    for (const char *at = head; (at = strstr(at, "\r\n")) != NULL; at += 2)
        if (strncasecmp(at, name, sizeof name - 1) == 0)
            return (size_t)strtoull(at + sizeof name - 1, NULL, 10);
    return 0;
}

static void take(struct stub *stub, struct peer *peer, const char *data, size_t len)
{
    if (!peer->in_body) {
        size_t before = peer->head.len;
        buf_append(&peer->head, data, len);
        char *end = buf_ok(&peer->head) && !memchr(data, '\0', len) ? strstr(peer->head.data, "\r\n\r\n") : NULL;
        if (!end && buf_ok(&peer->head) && !memchr(data, '\0', len))
            return;
        if (!end) {
            drop(peer);
            return;
        }
        size_t head_len = (size_t)(end - peer->head.data) + 4, used = head_len - before;
        peer->head.data[head_len] = '\0';
        peer->in_body = true;
        peer->body_left = content_length(peer->head.data);
        len -= used;
        if (peer->body_left > BODY_MAX) {
            drop(peer);
            return;
        }
    }
    peer->body_left -= len < peer->body_left ? len : peer->body_left;
    if (peer->body_left == 0)
        handle(stub, peer);
}

static void read_peer(struct stub *stub, struct peer *peer)
{
    char room[16384];
    ssize_t n = recv(peer->fd, room, sizeof room, MSG_DONTWAIT);
    if (n > 0)
        take(stub, peer, room, (size_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        drop(peer);
}

/* ---- the thread ---- */

static void accept_one(const struct stub *stub, struct peer peers[PEERS])
{
    int fd = accept4(stub->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    for (size_t i = 0; i < PEERS; i++)
        if (peers[i].fd < 0) {
            peers[i] = (struct peer){.fd = fd, .head.max = HEAD_MAX};
            return;
        }
    (void)close(fd);
}

static void *serve(void *arg)
{
    struct stub *stub = arg;
    struct peer peers[PEERS];
    struct pollfd on[PEERS + 2];
    for (size_t i = 0; i < PEERS; i++)
        peers[i] = (struct peer){.fd = -1};
    for (;;) {
        size_t n = 0;
        for (size_t i = 0; i < PEERS; i++) {
            on[i] = (struct pollfd){.fd = peers[i].fd, .events = POLLIN};
            n += peers[i].fd >= 0;
        }
        on[PEERS] = (struct pollfd){.fd = stub->wake[0], .events = POLLIN};
        on[PEERS + 1] = (struct pollfd){.fd = n < PEERS ? stub->fd : -1, .events = POLLIN};
        if (poll(on, PEERS + 2, -1) < 0 && errno != EINTR)
            break;
        if (on[PEERS].revents)
            break;
        for (size_t i = 0; i < PEERS; i++)
            if (on[i].revents && peers[i].fd >= 0)
                read_peer(stub, &peers[i]);
        if (on[PEERS + 1].revents)
            accept_one(stub, peers);
    }
    for (size_t i = 0; i < PEERS; i++)
        if (peers[i].fd >= 0)
            drop(&peers[i]);
    return NULL;
}

/* ---- start and stop ---- */

static int listen_on_loopback(struct stub *stub)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    stub->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (stub->fd < 0 || bind(stub->fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(stub->fd, 4096) < 0 ||
        getsockname(stub->fd, (struct sockaddr *)&address, &size) < 0 || pipe2(stub->wake, O_CLOEXEC) < 0)
        return -errno;
    stub->port = ntohs(address.sin_port);
    return 0;
}

int stub_start(struct stub *stub, const char *nonce, unsigned n_tenants)
{
    pthread_condattr_t attributes;
    *stub = (struct stub){.fd = -1, .wake = {-1, -1}, .n_tenants = n_tenants};
    (void)snprintf(stub->nonce, sizeof stub->nonce, "%s", nonce);
    (void)pthread_mutex_init(&stub->lock, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&stub->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    stub->records = calloc((size_t)n_tenants * N_ROUTES, sizeof *stub->records);
    int err = stub->records ? listen_on_loopback(stub) : -ENOMEM;
    if (err == 0)
        err = -satchel_thread_create(&stub->thread, NULL, serve, stub);
    stub->running = err == 0;
    return err;
}

void stub_stop(struct stub *stub)
{
    if (stub->running) {
        ssize_t told;
        do {
            told = write(stub->wake[1], "", 1);
        } while (told < 0 && errno == EINTR);
        (void)pthread_join(stub->thread, NULL);
    }
    int fds[] = {stub->fd, stub->wake[0], stub->wake[1]};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (fds[i] >= 0)
            (void)close(fds[i]);
    for (size_t i = 0; stub->records && i < (size_t)stub->n_tenants * N_ROUTES; i++)
        free(stub->records[i].head);
    free(stub->records);
    (void)pthread_cond_destroy(&stub->changed);
    (void)pthread_mutex_destroy(&stub->lock);
}

void stub_url(const struct stub *stub, enum route route, unsigned tenant, char *out, size_t size)
{
    (void)snprintf(out, size, "http://127.0.0.1:%d/%s/%d/%u", stub->port, stub->nonce, (int)route, tenant);
}

char *stub_head(struct stub *stub, enum route route, unsigned tenant, int64_t limit_ms)
{
    const struct stub_record *record = &stub->records[(size_t)tenant * N_ROUTES + route];
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + limit_ms % 1000 * 1000000;
    until.tv_sec += limit_ms / 1000 + ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    (void)pthread_mutex_lock(&stub->lock);
    while (!record->head && pthread_cond_timedwait(&stub->changed, &stub->lock, &until) != ETIMEDOUT) {
    }
    char *head = record->head ? strdup(record->head) : NULL;
    (void)pthread_mutex_unlock(&stub->lock);
    return head;
}
