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
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define CONNECTIONS 32
#define REQUEST_MAX ((size_t)16 * 1024 * 1024)
#define WAIT_MS 30000

struct peer {
    int fd;
    bool hangs; /* it is not answered any more */
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

/* ---- answers ---- */

/* The answer that is due; its text is the caller's. */
static struct receiver_answer next_answer_locked(struct receiver *r)
{
    static const char standard[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    if (r->at_script < r->n_script && !(r->last_stands && r->at_script + 1 == r->n_script))
        return r->script[r->at_script++];
    struct receiver_answer a = {.len = sizeof standard - 1};
    const char *text = standard;
    if (r->at_script < r->n_script) {
        a = r->script[r->at_script];
        text = a.text;
    }
    a.text = text ? malloc(a.len + 1) : NULL;
    if (a.text) {
        memcpy(a.text, text, a.len);
        a.text[a.len] = '\0';
    }
    return a;
}

static bool send_all(int fd, const char *bytes, size_t len)
{
    while (len) {
        struct pollfd on = {.fd = fd, .events = POLLOUT};
        if (poll(&on, 1, WAIT_MS) <= 0)
            return false;
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0)
            return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

static bool is_stopping(const struct receiver *r)
{
    struct pollfd on = {.fd = r->wake[0], .events = POLLIN};
    return poll(&on, 1, 0) > 0;
}

/* False: the connection is to be closed. */
static bool say(const struct receiver *r, struct peer *peer, const struct receiver_answer *a)
{
    const struct timespec pause = {.tv_nsec = 2000000};
    bool open = a->text != NULL;
    if (a->after == RECEIVER_DRIP) {
        for (size_t i = 0; i < a->len && open; i++, (void)nanosleep(&pause, NULL))
            open = send_all(peer->fd, a->text + i, 1);
        return open;
    }
    do {
        open = open && send_all(peer->fd, a->text, a->len);
    } while (open && a->after == RECEIVER_REPEAT && !is_stopping(r));
    peer->hangs = a->after == RECEIVER_HANG;
    if (a->after == RECEIVER_RESET)
        (void)setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    return open && a->after != RECEIVER_CLOSE && a->after != RECEIVER_RESET;
}

/* ---- requests ---- */

static void keep_locked(struct receiver *r, const char *data, size_t head, size_t length, bool taken)
{
    char *body;
    if (r->n == RECEIVER_REQUESTS)
        return;
    /* not taken: its spans do not count */
    if (asprintf(&body, "%s%.*s", taken ? "" : "!", (int)length, data + head) < 0)
        body = NULL;
    r->requests[r->n++] = (struct received){strndup(data, head + length), strndup(data, head), body, now_ms()};
}

/* Takes one whole request out of what has come.  False: it is not all there yet, or no other one is to be taken. */
static bool take_request(struct receiver *r, struct peer *peer)
{
    char *end = peer->data ? memmem(peer->data, peer->len, "\r\n\r\n", 4) : NULL;
    if (!end || peer->hangs)
        return false;
    size_t head = (size_t)(end - peer->data) + 4, length = 0;
    for (char *line = peer->data; line < end; line = strstr(line, "\r\n") + 2)
        if (strncasecmp(line, "Content-Length:", 15) == 0)
            length = strtoul(line + 15, NULL, 10);
    if (peer->len < head + length)
        return false;
    (void)pthread_mutex_lock(&r->lock);
    struct receiver_answer answer = next_answer_locked(r);
    keep_locked(r, peer->data, head, length, answer.text && strncmp(answer.text, "HTTP/1.1 2", 10) == 0);
    (void)pthread_mutex_unlock(&r->lock);
    (void)pthread_cond_broadcast(&r->changed);
    memmove(peer->data, peer->data + head + length, peer->len - head - length + 1);
    peer->len -= head + length;
    bool open = say(r, peer, &answer);
    if (!open)
        peer_close(peer);
    free(answer.text);
    return open;
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
        (void)pthread_mutex_lock(&r->lock);
        r->n_gone++;
        (void)pthread_mutex_unlock(&r->lock);
        (void)pthread_cond_broadcast(&r->changed);
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
            (void)pthread_mutex_lock(&r->lock);
            r->n_connections++;
            (void)pthread_mutex_unlock(&r->lock);
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
    receiver_start_at(r, "127.0.0.1");
}

static void begin(struct receiver *r)
{
    assert_int_equal(listen(r->fd, 64), 0);
    assert_int_equal(pipe(r->wake), 0);
    pthread_condattr_t clock;
    (void)pthread_condattr_init(&clock);
    (void)pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&r->changed, &clock);
    (void)pthread_condattr_destroy(&clock);
    (void)pthread_mutex_init(&r->lock, NULL);
    assert_int_equal(satchel_thread_create(&r->thread, NULL, receive, r), SATCHEL_OK);
}

void receiver_start_unix(struct receiver *r, const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    *r = (struct receiver){.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_true(r->fd >= 0);
    assert_true(strlen(path) + 5 < sizeof r->url);
    memcpy(at.sun_path, path, strlen(path));
    assert_int_equal(bind(r->fd, (const struct sockaddr *)&at, sizeof at), 0);
    (void)snprintf(r->url, sizeof r->url, "unix:%s", path);
    begin(r);
}

void receiver_start_at(struct receiver *r, const char *address)
{
    union {
        struct sockaddr any;
        struct sockaddr_in four;
        struct sockaddr_in6 six;
    } at = {0};
    bool six = strchr(address, ':') != NULL;
    socklen_t len = six ? sizeof at.six : sizeof at.four;
    at.any.sa_family = six ? AF_INET6 : AF_INET;
    assert_int_equal(inet_pton(at.any.sa_family, address, six ? (void *)&at.six.sin6_addr : (void *)&at.four.sin_addr),
                     1);
    *r = (struct receiver){.fd = socket(at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_true(r->fd >= 0);
    assert_int_equal(bind(r->fd, &at.any, len), 0);
    assert_int_equal(getsockname(r->fd, &at.any, &len), 0);
    r->port = ntohs(six ? at.six.sin6_port : at.four.sin_port);
    (void)snprintf(r->url, sizeof r->url, six ? "http://[%.40s]:%d" : "http://%.40s:%d", address, r->port);
    begin(r);
}

void receiver_stop(struct receiver *r)
{
    assert_int_equal(write(r->wake[1], "x", 1), 1);
    (void)pthread_join(r->thread, NULL);
    (void)close(r->wake[0]);
    (void)close(r->wake[1]);
    (void)close(r->fd);
    receiver_forget(r);
    (void)pthread_cond_destroy(&r->changed);
    (void)pthread_mutex_destroy(&r->lock);
}

void receiver_forget(struct receiver *r)
{
    (void)pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->n; i++) {
        free(r->requests[i].whole);
        free(r->requests[i].head);
        free(r->requests[i].body);
    }
    while (r->at_script < r->n_script)
        free(r->script[r->at_script++].text);
    r->n = r->n_script = r->at_script = 0;
    r->last_stands = false;
    (void)pthread_mutex_unlock(&r->lock);
}

static void add_answer(struct receiver *r, struct receiver_answer answer, bool stands)
{
    (void)pthread_mutex_lock(&r->lock);
    bool room = r->n_script < RECEIVER_ANSWERS;
    if (room)
        r->script[r->n_script++] = answer;
    r->last_stands = stands;
    (void)pthread_mutex_unlock(&r->lock);
    assert_true(room);
}

void receiver_answer(struct receiver *r, const char *head, const char *body)
{
    struct receiver_answer answer = {.after = RECEIVER_KEEP};
    if (head && !*head)
        answer.text = strdup("");
    else if (head)
        assert_true(asprintf(&answer.text, "%sContent-Length: %zu\r\n\r\n%s", head, strlen(body), body) > 0);
    answer.len = answer.text ? strlen(answer.text) : 0;
    add_answer(r, answer, false);
}

void receiver_say_bytes(struct receiver *r, const char *bytes, size_t len, enum receiver_after after)
{
    struct receiver_answer answer = {malloc(len + 1), len, after};
    assert_non_null(answer.text);
    memcpy(answer.text, bytes, len);
    answer.text[len] = '\0';
    add_answer(r, answer, true);
}

void receiver_say(struct receiver *r, const char *text, enum receiver_after after)
{
    receiver_say_bytes(r, text, strlen(text), after);
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

const char *receiver_request(struct receiver *r, size_t index)
{
    if (!receiver_wait(r, index + 1, WAIT_MS))
        fail_msg("%zu of %zu requests came", receiver_count(r), index + 1);
    return r->requests[index].whole;
}

size_t receiver_connections(struct receiver *r)
{
    (void)pthread_mutex_lock(&r->lock);
    size_t n = r->n_connections;
    (void)pthread_mutex_unlock(&r->lock);
    return n;
}

void receiver_wait_gone(struct receiver *r, size_t n)
{
    long long until = now_ms() + WAIT_MS;
    (void)pthread_mutex_lock(&r->lock);
    while (r->n_gone < n && wait_locked(r, until)) {
    }
    size_t got = r->n_gone;
    (void)pthread_mutex_unlock(&r->lock);
    if (got < n)
        fail_msg("%zu of %zu connections were ended", got, n);
}

char *request_line(const char *request, const char *name)
{
    size_t len = strlen(name);
    char *found = NULL;
    for (const char *line = strstr(request, "\r\n"); line && strncmp(line, "\r\n\r\n", 4) != 0;
         line = strstr(line + 2, "\r\n")) {
        const char *at = line + 2;
        if (strncasecmp(at, name, len) != 0 || at[len] != ':')
            continue;
        at += len + 1 + strspn(at + len + 1, " ");
        if (found)
            fail_msg("%s twice in: %s", name, request);
        found = strndup(at, strcspn(at, "\r"));
    }
    return found;
}

const char *request_content(const char *request)
{
    const char *end = strstr(request, "\r\n\r\n");
    return end ? end + 4 : "";
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
