/* The client's and the worker's side of beanstalkd and gearmand, at once and on one thread, as spare as the load
 * generator's own: so many tasks in flight, each submitted, taken by a worker, done, and seen to be done by whoever
 * submitted it.  Workers send the end of one task and the wish for the next in one write.
 *
 *     peer-client beanstalkd|gearmand|gearmand-background PORT SECONDS IN-FLIGHT WORKERS
 *
 * Prints one line of JSON.  A background job of gearmand is done when its worker has said so: nobody is told. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench/load/histogram.h"

#define INPUT 65536u
#define MANY 1024u /* connections, at most */
#define WARM_NS INT64_C(1500000000)
#define WORKLOAD 64 /* bytes of a task: the submitter's number and filling */

enum gearman {
    CAN_DO = 1,
    PRE_SLEEP = 4,
    NOOP = 6,
    SUBMIT = 7,
    CREATED,
    GRAB,
    NO_JOB,
    ASSIGN,
    COMPLETE = 13,
    SUBMIT_BACKGROUND = 18
};

struct peer;

struct connection {
    int fd;
    bool works;         /* else it submits */
    unsigned number;    /* of the submitter */
    bool created, done; /* of the task in flight: the server has it; it is finished */
    int64_t begun_ns;
    size_t len;
    char input[INPUT];
};

struct protocol {
    const char *name;
    void (*begin_work)(struct peer *peer, struct connection *worker);
    void (*submit)(struct peer *peer, struct connection *submitter);
    /* One whole message at the input's start: what it took; 0: it is not whole; -1: it is not understood. */
    ssize_t (*take)(struct peer *peer, struct connection *connection);
};

struct peer {
    const struct protocol *protocol;
    struct connection *connections;
    unsigned in_flight, workers;
    bool background;
    uint64_t unique;
    int64_t window_ns, end_ns;
    struct histogram *latency;
    uint64_t tasks, errors;
};

static _Noreturn void fail(const char *what)
{
    (void)fprintf(stderr, "peer-client: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* The requests are small and the sockets empty: what is not taken at once means that the server is stuck. */
static void say(struct connection *connection, const char *data, size_t len)
{
    if (send(connection->fd, data, len, MSG_NOSIGNAL) != (ssize_t)len)
        fail("send");
}

/* ---- tasks ---- */

static void submit(struct peer *peer, struct connection *submitter)
{
    submitter->created = submitter->done = false;
    submitter->begun_ns = clock_mono_ns();
    peer->protocol->submit(peer, submitter);
}

static void look_whether_over(struct peer *peer, struct connection *submitter)
{
    int64_t now = clock_mono_ns();
    if (!submitter->created || !submitter->done)
        return;
    if (now >= peer->window_ns && now < peer->end_ns) {
        peer->tasks++;
        histogram_record(peer->latency, now - submitter->begun_ns);
    }
    if (now < peer->end_ns)
        submit(peer, submitter);
}

static void on_created(struct peer *peer, struct connection *submitter)
{
    submitter->created = true;
    look_whether_over(peer, submitter);
}

static void on_done(struct peer *peer, unsigned number)
{
    if (number >= peer->in_flight) {
        peer->errors++;
        return;
    }
    peer->connections[number].done = true;
    look_whether_over(peer, &peer->connections[number]);
}

/* ---- beanstalkd ---- */

static void bean_begin_work(struct peer *peer, struct connection *worker)
{
    (void)peer;
    worker->number = UINT32_MAX;
    say(worker, "reserve\r\n", 9);
}

static void bean_submit(struct peer *peer, struct connection *submitter)
{
    char text[200];
    (void)peer;
    int n = snprintf(text, sizeof text, "put 4 0 60 %d\r\n%-*u\r\n", WORKLOAD, WORKLOAD, submitter->number);
    say(submitter, text, (size_t)n);
}

static void bean_reserved(struct connection *worker, const char *body)
{
    char text[100];
    unsigned long id = strtoul(worker->input + 9, NULL, 10);
    worker->number = (unsigned)strtoul(body, NULL, 10);
    int n = snprintf(text, sizeof text, "delete %lu\r\nreserve\r\n", id);
    say(worker, text, (size_t)n);
}

static ssize_t bean_take(struct peer *peer, struct connection *connection)
{
    const char *end = memmem(connection->input, connection->len, "\r\n", 2);
    size_t line = end ? (size_t)(end - connection->input) + 2 : 0;
    if (!end)
        return 0;
    if (strncmp(connection->input, "INSERTED ", 9) == 0) {
        on_created(peer, connection);
    } else if (strncmp(connection->input, "DELETED", 7) == 0) {
        on_done(peer, connection->number);
    } else if (strncmp(connection->input, "RESERVED ", 9) == 0) {
        if (connection->len < line + WORKLOAD + 2)
            return 0;
        bean_reserved(connection, end + 2);
        return (ssize_t)(line + WORKLOAD + 2);
    } else {
        return -1;
    }
    return (ssize_t)line;
}

/* ---- gearmand ---- */

static size_t gear_put(char *to, enum gearman type, const char *data, size_t len)
{
    uint32_t numbers[2] = {htonl((uint32_t)type), htonl((uint32_t)len)};
    memcpy(to, "\0REQ", 4);
    memcpy(to + 4, numbers, 8);
    if (len)
        memcpy(to + 12, data, len);
    return 12 + len;
}

static void gear_begin_work(struct peer *peer, struct connection *worker)
{
    char text[100];
    (void)peer;
    size_t n = gear_put(text, CAN_DO, "noop", 4);
    n += gear_put(text + n, GRAB, NULL, 0);
    say(worker, text, n);
}

static void gear_submit(struct peer *peer, struct connection *submitter)
{
    char data[200], text[300];
    int n = snprintf(data, sizeof data, "noop%c%llu%c%-*u", 0, (unsigned long long)++peer->unique, 0, WORKLOAD,
                     submitter->number);
    say(submitter, text, gear_put(text, peer->background ? SUBMIT_BACKGROUND : SUBMIT, data, (size_t)n));
}

/* handle, function, workload, with a NUL between them */
static ssize_t gear_assigned(struct peer *peer, struct connection *worker, const char *data, size_t len)
{
    char text[300], done[200];
    size_t handle = strnlen(data, len), function = handle < len ? strnlen(data + handle + 1, len - handle - 1) : 0;
    if (handle >= 150 || len < handle + function + 2 + WORKLOAD)
        return -1;
    memcpy(done, data, handle + 1);
    size_t n = gear_put(text, COMPLETE, done, handle + 1);
    n += gear_put(text + n, GRAB, NULL, 0);
    say(worker, text, n);
    if (peer->background)
        on_done(peer, (unsigned)strtoul(data + handle + function + 2, NULL, 10));
    return 0;
}

static ssize_t gear_take(struct peer *peer, struct connection *connection)
{
    uint32_t numbers[2];
    char text[24];
    if (connection->len < 12)
        return 0;
    memcpy(numbers, connection->input + 4, sizeof numbers);
    size_t len = ntohl(numbers[1]);
    if (len > INPUT - 12)
        return -1;
    if (connection->len < 12 + len)
        return 0;
    switch (ntohl(numbers[0])) {
    case CREATED: on_created(peer, connection); break;
    case COMPLETE: on_done(peer, connection->number); break;
    case NO_JOB: say(connection, text, gear_put(text, PRE_SLEEP, NULL, 0)); break;
    case NOOP: say(connection, text, gear_put(text, GRAB, NULL, 0)); break;
    case ASSIGN:
        if (gear_assigned(peer, connection, connection->input + 12, len) < 0)
            return -1;
        break;
    default: return -1;
    }
    return (ssize_t)(12 + len);
}

static const struct protocol protocols[] = {{"beanstalkd", bean_begin_work, bean_submit, bean_take},
                                            {"gearmand", gear_begin_work, gear_submit, gear_take},
                                            {"gearmand-background", gear_begin_work, gear_submit, gear_take}};

/* ---- the loop ---- */

static void take_all(struct peer *peer, struct connection *connection)
{
    ssize_t n = recv(connection->fd, connection->input + connection->len, INPUT - connection->len, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        fail("the server closed a connection");
    connection->len += (size_t)n;
    while ((n = peer->protocol->take(peer, connection)) > 0) {
        connection->len -= (size_t)n;
        memmove(connection->input, connection->input + n, connection->len);
    }
    if (n < 0) {
        (void)fprintf(stderr, "peer-client: not understood: %.*s\n", (int)(connection->len < 60 ? connection->len : 60),
                      connection->input);
        exit(1);
    }
}

static void open_all(struct peer *peer, int epoll, uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (unsigned i = 0; i < peer->in_flight + peer->workers; i++) {
        struct connection *connection = &peer->connections[i];
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        int one = 1;
        connection->number = i;
        connection->works = i >= peer->in_flight;
        connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connection->fd < 0 || connect(connection->fd, (struct sockaddr *)&address, sizeof address) < 0 ||
            epoll_ctl(epoll, EPOLL_CTL_ADD, connection->fd, &event) < 0)
            fail("connect");
        (void)setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
}

static void run(struct peer *peer, int epoll, double seconds)
{
    struct epoll_event events[256];
    int64_t begun = clock_mono_ns();
    peer->window_ns = begun + WARM_NS;
    peer->end_ns = peer->window_ns + (int64_t)(seconds * 1e9);
    for (unsigned i = peer->in_flight; i < peer->in_flight + peer->workers; i++)
        peer->protocol->begin_work(peer, &peer->connections[i]);
    for (unsigned i = 0; i < peer->in_flight; i++)
        submit(peer, &peer->connections[i]);
    while (clock_mono_ns() < peer->end_ns) {
        int n = epoll_wait(epoll, events, 256, 100);
        for (int i = 0; i < n; i++)
            take_all(peer, &peer->connections[events[i].data.u32]);
    }
    /* What is still in flight has taken this long at least: else who is never served would not be seen. */
    for (unsigned i = 0; i < peer->in_flight; i++)
        if (peer->connections[i].begun_ns < peer->end_ns)
            histogram_record(peer->latency, peer->end_ns - peer->connections[i].begun_ns);
}

int main(int argc, char **argv)
{
    struct peer peer = {0};
    for (size_t i = 0; argc == 6 && i < sizeof protocols / sizeof protocols[0]; i++)
        if (strcmp(argv[1], protocols[i].name) == 0)
            peer.protocol = &protocols[i];
    if (!peer.protocol) {
        (void)fprintf(stderr,
                      "usage: peer-client beanstalkd|gearmand|gearmand-background PORT SECONDS IN-FLIGHT WORKERS\n");
        return 64;
    }
    double seconds = strtod(argv[3], NULL);
    peer.in_flight = (unsigned)strtoul(argv[4], NULL, 10);
    peer.workers = (unsigned)strtoul(argv[5], NULL, 10);
    peer.background = strcmp(argv[1], "gearmand-background") == 0;
    if (!peer.in_flight || !peer.workers || peer.in_flight > MANY || peer.workers > MANY)
        return 64;
    peer.connections = calloc(peer.in_flight + peer.workers, sizeof *peer.connections);
    peer.latency = histogram_new();
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!peer.connections || !peer.latency || epoll < 0)
        fail("memory");
    open_all(&peer, epoll, (uint16_t)strtoul(argv[2], NULL, 10));
    run(&peer, epoll, seconds);
    (void)printf("{\"tasks\":%llu,\"tasks_per_s\":%.1f,\"p50_ms\":%.4f,\"p99_ms\":%.4f,\"errors\":%llu}\n",
                 (unsigned long long)peer.tasks, (double)peer.tasks / seconds, histogram_ms(peer.latency, 0.5),
                 histogram_ms(peer.latency, 0.99), (unsigned long long)peer.errors);
    histogram_free(peer.latency);
    free(peer.connections);
    return peer.errors != 0;
}
