#include "tests/support/receiver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <satchel/context.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define CONNECTIONS 16
#define REQUEST_MAX ((size_t)16 * 1024 * 1024)

struct peer {
    int fd;
    char *data;
    size_t len;
};

static long long now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void peer_close(struct peer *peer)
{
    if (peer->fd >= 0)
        (void)close(peer->fd);
    free(peer->data);
    *peer = (struct peer){.fd = -1};
}

/* The answer that is due, malloced; NULL: the connection is to be closed. */
static char *next_answer_locked(struct receiver *r)
{
    if (r->at_script < r->n_script)
        return r->script[r->at_script++];
    return strdup("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
}

/* Takes one whole request out of what has come.  False: it is not all there yet. */
static bool take_request(struct receiver *r, struct peer *peer)
{
    char *end = peer->data ? memmem(peer->data, peer->len, "\r\n\r\n", 4) : NULL;
    if (!end)
        return false;
    size_t head = (size_t)(end - peer->data) + 4, length = 0;
    for (char *line = peer->data; line < end; line = strstr(line, "\r\n") + 2)
        if (strncasecmp(line, "Content-Length:", 15) == 0)
            length = strtoul(line + 15, NULL, 10);
    if (peer->len < head + length)
        return false;
    (void)pthread_mutex_lock(&r->lock);
    char *answer = next_answer_locked(r);
    if (r->n < RECEIVER_REQUESTS)
        r->requests[r->n++] =
            (struct received){strndup(peer->data, head), strndup(peer->data + head, length), now_ms()};
    if (r->n && (!answer || strncmp(answer, "HTTP/1.1 2", 10) != 0)) { /* not taken: its spans do not count */
        char *body = r->requests[r->n - 1].body, *marked;
        if (asprintf(&marked, "!%s", body) > 0) {
            free(body);
            r->requests[r->n - 1].body = marked;
        }
    }
    (void)pthread_mutex_unlock(&r->lock);
    if (answer) {
        (void)send(peer->fd, answer, strlen(answer), MSG_NOSIGNAL);
        memmove(peer->data, peer->data + head + length, peer->len - head - length + 1);
        peer->len -= head + length;
    } else {
        peer_close(peer);
    }
    free(answer);
    (void)pthread_cond_broadcast(&r->changed);
    return answer != NULL;
}

static void read_more(struct receiver *r, struct peer *peer)
{
    char *grown = realloc(peer->data, peer->len + 65537);
    if (!grown || peer->len > REQUEST_MAX) {
        free(grown ? NULL : peer->data);
        peer->data = grown;
        peer_close(peer);
        return;
    }
    peer->data = grown;
    ssize_t n = recv(peer->fd, peer->data + peer->len, 65536, 0);
    if (n <= 0) {
        peer_close(peer);
        return;
    }
    peer->len += (size_t)n;
    peer->data[peer->len] = '\0';
    while (peer->fd >= 0 && take_request(r, peer)) {
    }
}

static void accept_one(struct receiver *r, struct peer *peers)
{
    int fd = accept4(r->fd, NULL, NULL, SOCK_CLOEXEC);
    for (size_t i = 0; i < CONNECTIONS && fd >= 0; i++)
        if (peers[i].fd < 0) {
            peers[i].fd = fd;
            return;
        }
    if (fd >= 0)
        (void)close(fd);
}

static void *receive(void *arg)
{
    struct receiver *r = arg;
    struct peer peers[CONNECTIONS];
    for (size_t i = 0; i < CONNECTIONS; i++)
        peers[i] = (struct peer){.fd = -1};
    for (;;) {
        struct pollfd fds[CONNECTIONS + 2] = {{.fd = r->wake[0], .events = POLLIN}, {.fd = r->fd, .events = POLLIN}};
        for (size_t i = 0; i < CONNECTIONS; i++)
            fds[i + 2] = (struct pollfd){.fd = peers[i].fd, .events = POLLIN};
        if (poll(fds, CONNECTIONS + 2, -1) < 0 && errno != EINTR)
            break;
        if (fds[0].revents)
            break;
        for (size_t i = 0; i < CONNECTIONS; i++)
            if (fds[i + 2].revents)
                read_more(r, &peers[i]);
        if (fds[1].revents)
            accept_one(r, peers);
    }
    for (size_t i = 0; i < CONNECTIONS; i++)
        peer_close(&peers[i]);
    return NULL;
}

void receiver_start(struct receiver *r)
{
    *r = (struct receiver){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    assert_true(r->fd >= 0);
    assert_int_equal(bind(r->fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(r->fd, 16), 0);
    assert_int_equal(getsockname(r->fd, (struct sockaddr *)&address, &len), 0);
    (void)snprintf(r->url, sizeof r->url, "http://127.0.0.1:%d", ntohs(address.sin_port));
    assert_int_equal(pipe(r->wake), 0);
    pthread_condattr_t clock;
    (void)pthread_condattr_init(&clock);
    (void)pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&r->changed, &clock);
    (void)pthread_condattr_destroy(&clock);
    (void)pthread_mutex_init(&r->lock, NULL);
    assert_int_equal(satchel_thread_create(&r->thread, NULL, receive, r), SATCHEL_OK);
}

void receiver_stop(struct receiver *r)
{
    assert_int_equal(write(r->wake[1], "x", 1), 1);
    (void)pthread_join(r->thread, NULL);
    (void)close(r->wake[0]);
    (void)close(r->wake[1]);
    (void)close(r->fd);
    for (size_t i = 0; i < r->n; i++) {
        free(r->requests[i].head);
        free(r->requests[i].body);
    }
    while (r->at_script < r->n_script)
        free(r->script[r->at_script++]);
    (void)pthread_cond_destroy(&r->changed);
    (void)pthread_mutex_destroy(&r->lock);
}

void receiver_answer(struct receiver *r, const char *head, const char *body)
{
    char *text = NULL;
    if (head && !*head)
        text = strdup("");
    else if (head)
        assert_true(asprintf(&text, "%sContent-Length: %zu\r\n\r\n%s", head, strlen(body), body) > 0);
    (void)pthread_mutex_lock(&r->lock);
    assert_true(r->n_script < sizeof r->script / sizeof r->script[0]);
    r->script[r->n_script++] = text;
    (void)pthread_mutex_unlock(&r->lock);
}

/* False: the time is over. */
static bool wait_locked(struct receiver *r, long long until_ms)
{
    struct timespec limit = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
    return pthread_cond_timedwait(&r->changed, &r->lock, &limit) == 0 || now_ms() < until_ms;
}

size_t receiver_count(struct receiver *r)
{
    (void)pthread_mutex_lock(&r->lock);
    size_t n = r->n;
    (void)pthread_mutex_unlock(&r->lock);
    return n;
}

bool receiver_wait(struct receiver *r, size_t n, int limit_ms)
{
    long long until = now_ms() + limit_ms;
    (void)pthread_mutex_lock(&r->lock);
    while (r->n < n && wait_locked(r, until)) {
    }
    bool there = r->n >= n;
    (void)pthread_mutex_unlock(&r->lock);
    return there;
}

static void add_spans(json_t *all, const char *body)
{
    json_t *root = json_loads(body, JSON_DECODE_ANY, NULL), *resource_spans, *scope_spans, *span;
    size_t i, k, m;
    assert_non_null(root);
    json_array_foreach(json_object_get(root, "resourceSpans"), i, resource_spans)
    {
        json_array_foreach(json_object_get(resource_spans, "scopeSpans"), k, scope_spans)
        {
            json_array_foreach(json_object_get(scope_spans, "spans"), m, span)
            {
                json_t *copy = json_deep_copy(span);
                (void)json_object_set(copy, "resource", json_object_get(resource_spans, "resource"));
                (void)json_object_set(copy, "scope", json_object_get(scope_spans, "scope"));
                (void)json_array_append_new(all, copy);
            }
        }
    }
    json_decref(root);
}

static json_t *spans_locked(struct receiver *r)
{
    json_t *all = json_array();
    for (size_t i = 0; i < r->n; i++)
        if (r->requests[i].body[0] != '!')
            add_spans(all, r->requests[i].body);
    return all;
}

json_t *receiver_spans(struct receiver *r)
{
    (void)pthread_mutex_lock(&r->lock);
    json_t *all = spans_locked(r);
    (void)pthread_mutex_unlock(&r->lock);
    return all;
}

static json_t *find(json_t *all, const char *trace_id, const char *name, int kind, size_t skip)
{
    size_t i;
    json_t *span;
    json_array_foreach(all, i, span)
    {
        const char *trace = json_string_value(json_object_get(span, "traceId"));
        if (strcmp(trace, trace_id) == 0 && strcmp(json_string_value(json_object_get(span, "name")), name) == 0 &&
            (kind == 0 || json_integer_value(json_object_get(span, "kind")) == kind) && skip-- == 0)
            return json_incref(span);
    }
    return NULL;
}

json_t *receiver_span(struct receiver *r, const char *trace_id, const char *name, int kind, size_t skip, int limit_ms)
{
    long long until = now_ms() + limit_ms;
    json_t *found = NULL;
    (void)pthread_mutex_lock(&r->lock);
    do {
        json_t *all = spans_locked(r);
        found = find(all, trace_id, name, kind, skip);
        json_decref(all);
    } while (!found && wait_locked(r, until));
    (void)pthread_mutex_unlock(&r->lock);
    return found;
}

const json_t *span_attribute(const json_t *span, const char *key)
{
    size_t i;
    const json_t *attribute;
    json_array_foreach(json_object_get(span, "attributes"), i, attribute)
    {
        if (strcmp(json_string_value(json_object_get(attribute, "key")), key) == 0)
            return json_object_get(attribute, "value");
    }
    return NULL;
}

const char *span_text(const json_t *span, const char *key)
{
    return json_string_value(json_object_get(span_attribute(span, key), "stringValue"));
}

const char *span_number(const json_t *span, const char *key)
{
    return json_string_value(json_object_get(span_attribute(span, key), "intValue"));
}
