#include "tests/cli/lossy.h"

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

#define PAIRS 64
#define HEAD_MAX 65536

struct pair {           /* a client's connection and ours to the daemon for it */
    int client, daemon; /* -1: none */
    char head[HEAD_MAX];
    size_t len;
    size_t body_left;
};

static void close_pair(struct pair *p)
{
    if (p->client >= 0)
        (void)close(p->client);
    if (p->daemon >= 0)
        (void)close(p->daemon);
    p->client = p->daemon = -1;
    p->len = p->body_left = 0;
}

static bool send_all(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n <= 0 && errno != EINTR)
            return false;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return true;
}

static bool has_name(const char *line, const char *name)
{
    size_t len = strlen(name);
    return strncasecmp(line, name, len) == 0 && line[len] == ':';
}

/* Sends the head of a request on, without what is to be lost. */
static bool forward_head(const struct lossy *l, struct pair *p, size_t head_len)
{
    char *head = strndup(p->head, head_len);
    bool mine = head && strstr(head, l->only), good = head != NULL;
    p->body_left = 0;
    for (char *line = head; good && line < head + head_len;) {
        size_t len = (size_t)(strstr(line, "\r\n") - line) + 2;
        if (has_name(line, "Content-Length"))
            p->body_left = strtoul(line + 15, NULL, 10);
        if (!mine || !has_name(line, l->field))
            good = send_all(p->daemon, line, len);
        else if (l->replacement)
            good = send_all(p->daemon, l->replacement, strlen(l->replacement)) && send_all(p->daemon, "\r\n", 2);
        line += len;
    }
    free(head);
    return good;
}

static bool from_client(const struct lossy *l, struct pair *p)
{
    ssize_t n = recv(p->client, p->head + p->len, HEAD_MAX - 1 - p->len, 0);
    if (n <= 0)
        return false;
    p->len += (size_t)n;
    while (p->len) {
        if (p->body_left) {
            size_t part = p->len < p->body_left ? p->len : p->body_left;
            if (!send_all(p->daemon, p->head, part))
                return false;
            p->body_left -= part;
            memmove(p->head, p->head + part, p->len -= part);
            continue;
        }
        p->head[p->len] = '\0';
        char *end = strstr(p->head, "\r\n\r\n");
        if (!end)
            return p->len < HEAD_MAX - 1;
        size_t head_len = (size_t)(end - p->head) + 4;
        if (!forward_head(l, p, head_len))
            return false;
        memmove(p->head, p->head + head_len, p->len -= head_len);
    }
    return true;
}

static bool from_daemon(const struct pair *p)
{
    char room[16384];
    ssize_t n = recv(p->daemon, room, sizeof room, 0);
    return n > 0 && send_all(p->client, room, (size_t)n);
}

static void take_client(const struct lossy *l, struct pair *pairs)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)l->daemon->port)};
    (void)inet_pton(AF_INET, l->daemon->host, &to.sin_addr);
    for (size_t i = 0; i < PAIRS; i++) {
        struct pair *p = &pairs[i];
        if (p->client >= 0)
            continue;
        p->client = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
        p->daemon = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (p->client < 0 || connect(p->daemon, (struct sockaddr *)&to, sizeof to) < 0)
            close_pair(p);
        return;
    }
}

static void *serve(void *arg)
{
    const struct lossy *l = arg;
    struct pair *pairs = calloc(PAIRS, sizeof *pairs);
    for (size_t i = 0; pairs && i < PAIRS; i++)
        pairs[i].client = pairs[i].daemon = -1;
    while (pairs) {
        struct pollfd on[2 * PAIRS + 2] = {{.fd = l->wake[0], .events = POLLIN}, {.fd = l->fd, .events = POLLIN}};
        for (size_t i = 0; i < PAIRS; i++) {
            on[2 + 2 * i] = (struct pollfd){.fd = pairs[i].client, .events = POLLIN};
            on[3 + 2 * i] = (struct pollfd){.fd = pairs[i].daemon, .events = POLLIN};
        }
        if (poll(on, 2 * PAIRS + 2, -1) < 0 || on[0].revents)
            break;
        for (size_t i = 0; i < PAIRS; i++) {
            bool alive = !on[2 + 2 * i].revents || from_client(l, &pairs[i]);
            alive = alive && (!on[3 + 2 * i].revents || from_daemon(&pairs[i]));
            if (!alive)
                close_pair(&pairs[i]);
        }
        if (on[1].revents)
            take_client(l, pairs);
    }
    for (size_t i = 0; pairs && i < PAIRS; i++)
        close_pair(&pairs[i]);
    free(pairs);
    return NULL;
}

void lossy_start(struct lossy *l)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(l->fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(l->fd, 128), 0);
    assert_int_equal(getsockname(l->fd, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(pipe2(l->wake, O_CLOEXEC), 0);
    (void)snprintf(l->url, sizeof l->url, "http://127.0.0.1:%d", ntohs(address.sin_port));
    assert_int_equal(satchel_thread_create(&l->thread, NULL, serve, l), 0);
}

void lossy_stop(struct lossy *l)
{
    assert_int_equal(write(l->wake[1], "", 1), 1);
    (void)pthread_join(l->thread, NULL);
    (void)close(l->wake[0]);
    (void)close(l->wake[1]);
    (void)close(l->fd);
}
