#include "tests/support/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- bytes ---- */

static void start(struct client *c, int fd)
{
    assert_true(fd >= 0);
    *c = (struct client){.fd = fd};
}

void client_open(struct client *c, const struct satcheld *d)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)d->port)};
    assert_int_equal(inet_pton(AF_INET, d->host, &address.sin_addr), 1);
    start(c, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail_msg("connect: %s", strerror(errno));
}

void client_open_unix(struct client *c, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    assert_true(strlen(path) < sizeof address.sun_path);
    memcpy(address.sun_path, path, strlen(path));
    start(c, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail_msg("connect %s: %s", path, strerror(errno));
}

void client_close(struct client *c)
{
    if (c->fd >= 0)
        (void)close(c->fd);
    free(c->data);
    *c = (struct client){.fd = -1};
}

long client_send_some(struct client *c, const char *bytes, size_t len)
{
    ssize_t n = send(c->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    return n;
}

/* Takes what has come, too: two sides that only write would wait for each other. */
static void take(struct client *c)
{
    while (!c->ended) {
        if (c->cap - c->len < 65536) {
            c->cap = c->cap * 2 + 131072;
            assert_non_null(c->data = realloc(c->data, c->cap));
        }
        ssize_t n = recv(c->fd, c->data + c->len, c->cap - c->len, MSG_DONTWAIT);
        if (n > 0) {
            c->len += (size_t)n;
            if (c->cap - c->len >= 65536)
                return; /* most likely all there was */
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            c->ended = true;
        } else if (errno == EAGAIN) {
            return;
        }
    }
}

void client_send(struct client *c, const void *bytes, size_t len)
{
    long long end = mono_ms() + WAIT_MS;
    for (size_t at = 0; at < len;) {
        long n = client_send_some(c, (const char *)bytes + at, len - at);
        if (n < 0)
            return; /* an answer that was sent before the connection broke is still read */
        at += (size_t)n;
        if (n == 0) {
            struct pollfd polled = {.fd = c->fd, .events = POLLOUT | POLLIN};
            if (mono_ms() > end)
                fail_msg("satcheld does not read");
            (void)poll(&polled, 1, 100);
            take(c);
        }
    }
}

void client_send_text(struct client *c, const char *text)
{
    client_send(c, text, strlen(text));
}

/* ---- one answer ---- */

void answer_release(struct answer *answer)
{
    free(answer->head);
    free(answer->body);
    *answer = (struct answer){0};
}

/* The next line of that name from *at on; moves *at behind it. */
static const char *find_header(const char **at, const char *name, size_t *ret_len)
{
    size_t len = strlen(name);
    for (const char *line = strstr(*at, "\r\n"); line && line[2]; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, len) != 0 || line[2 + len] != ':')
            continue;
        const char *value = line + 3 + len, *end = strstr(value, "\r\n");
        value += strspn(value, " \t");
        *ret_len = (size_t)(end - value);
        *at = end;
        return value;
    }
    return NULL;
}

char *answer_header(const struct answer *answer, const char *name)
{
    size_t len, other;
    const char *at = answer->head;
    const char *value = find_header(&at, name, &len);
    if (!value)
        return NULL;
    if (find_header(&at, name, &other))
        fail_msg("header %s comes twice: %s", name, answer->head);
    char *copy = strndup(value, len);
    assert_non_null(copy);
    return copy;
}

bool answer_has(const struct answer *answer, const char *name, const char *value)
{
    char *text = answer_header(answer, name);
    bool same = text && strcmp(text, value) == 0;
    free(text);
    return same;
}

/* Decodes in place what follows: 1 with lengths, 0 incomplete, -1 broken. */
static int read_chunks(char *from, size_t len, char *to, size_t *ret_len, size_t *ret_used)
{
    size_t at = 0, n = 0;
    for (;;) {
        char *end = memmem(from + at, len - at, "\r\n", 2), *stop;
        if (!end)
            return len - at > 32 ? -1 : 0;
        size_t size = strtoul(from + at, &stop, 16);
        if (stop == from + at || (stop != end && *stop != ';'))
            return -1;
        at = (size_t)(end - from) + 2;
        if (len < at + size + 2)
            return 0;
        if (size == 0) {
            *ret_len = n;
            *ret_used = at + 2;
            return memcmp(from + at, "\r\n", 2) == 0 ? 1 : -1; /* we get no trailers */
        }
        if (to)
            memcpy(to + n, from + at, size);
        n += size;
        at += size + 2;
    }
}

static int read_body(struct client *c, size_t head, struct answer *ret)
{
    size_t len = 0, used = 0, value_len, rest = c->len - head;
    const char *at = ret->head, *value;
    char *from = c->data + head;
    bool none = ret->status < 200 || ret->status == 204 || ret->status == 304;
    if (c->awaited_heads > 0 && ret->status >= 200) {
        c->awaited_heads--;
        none = true;
    }
    bool chunked = false;
    if (none) {
        used = len = 0;
    } else if ((value = find_header(&at, "Transfer-Encoding", &value_len)) != NULL) {
        if (value_len != 7 || strncmp(value, "chunked", 7) != 0)
            return -1;
        chunked = true;
        int result = read_chunks(from, rest, NULL, &len, &used);
        if (result != 1)
            return result;
    } else if ((at = ret->head, value = find_header(&at, "Content-Length", &value_len)) != NULL) {
        used = len = strtoul(value, NULL, 10);
        if (rest < len)
            return 0;
    } else {
        used = len = rest;
        if (!c->ended)
            return 0;
    }
    ret->body = malloc(len + 1);
    assert_non_null(ret->body);
    if (chunked)
        (void)read_chunks(from, rest, ret->body, &len, &used);
    else if (len)
        memcpy(ret->body, from, len);
    ret->body[len] = '\0';
    ret->body_len = len;
    memmove(c->data, from + used, rest - used);
    c->len = rest - used;
    return 1;
}

static int parse(struct client *c, struct answer *ret)
{
    answer_release(ret);
    char *end = c->len ? memmem(c->data, c->len, "\r\n\r\n", 4) : NULL;
    if (!end)
        return c->ended ? -1 : 0;
    size_t head = (size_t)(end - c->data) + 4;
    ret->head = strndup(c->data, head - 2);
    assert_non_null(ret->head);
    if (strlen(ret->head) != head - 2 || sscanf(ret->head, "HTTP/1.1 %3d ", &ret->status) != 1)
        return -1;
    int heads = c->awaited_heads, result = read_body(c, head, ret);
    if (result == 0 && c->ended)
        result = -1;
    if (result != 1) {
        c->awaited_heads = heads;
        answer_release(ret);
    }
    return result;
}

int client_try(struct client *c, struct answer *ret)
{
    take(c);
    return parse(c, ret);
}

bool client_read_limit(struct client *c, struct answer *ret, int limit_ms)
{
    long long end = mono_ms() + limit_ms;
    int result;
    while ((result = client_try(c, ret)) == 0) {
        struct pollfd polled = {.fd = c->fd, .events = POLLIN};
        long long left = end - mono_ms();
        if (left <= 0)
            fail_msg("no answer after %d ms; so far: %.*s", limit_ms, (int)c->len, c->data ? c->data : "");
        (void)poll(&polled, 1, (int)left);
    }
    if (result < 0 && c->len)
        fail_msg("this is not an answer: %.*s", (int)c->len, c->data);
    return result == 1;
}

bool client_read(struct client *c, struct answer *ret)
{
    return client_read_limit(c, ret, WAIT_MS);
}

bool client_is_closed(struct client *c)
{
    long long end = mono_ms() + WAIT_MS;
    while (!c->ended && c->len == 0 && mono_ms() < end) {
        struct pollfd polled = {.fd = c->fd, .events = POLLIN};
        (void)poll(&polled, 1, 100);
        take(c);
    }
    return c->ended && c->len == 0;
}
