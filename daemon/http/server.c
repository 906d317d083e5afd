/* The server: its loops, which connection goes to which, limits, figures, start and stop. */
#include "http/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "http/connection.h"
#include "http/tls.h"

enum { REFUSALS_MAX = 64 }; /* connections that are told so at the same time; more are closed without a word */

static _Thread_local struct http_loop *current_loop;

struct http_loop *http_loop_current(void)
{
    return current_loop;
}

/* ---- slots ---- */

uint32_t http_loop_take_slot(struct http_loop *home, struct connection *connection)
{
    if (!home->free_slot) {
        uint32_t n = home->n_slots ? home->n_slots * 2 : 64;
        struct slot *slots = realloc(home->slots, n * sizeof *slots);
        if (!slots)
            return UINT32_MAX;
        home->slots = slots;
        for (uint32_t i = home->n_slots; i < n; i++)
            slots[i] = (struct slot){.generation = 1, .next_free = i + 1 < n ? i + 2 : 0};
        home->free_slot = home->n_slots + 1;
        home->n_slots = n;
    }
    uint32_t slot = home->free_slot - 1;
    home->free_slot = home->slots[slot].next_free;
    home->slots[slot].connection = connection;
    http_loop_keep_sweeping(home);
    return slot;
}

void http_loop_keep_sweeping(struct http_loop *home)
{
    struct timeval period = {.tv_usec = HTTP_SWEEP_US};
    if (!home->sweeping)
        home->sweeping = event_add(home->sweep_event, &period) == 0;
}

static struct connection *connection_at(const struct http_loop *home, uint32_t slot)
{
    return home->slots ? home->slots[slot].connection : NULL;
}

void http_loop_free_slot(struct http_loop *home, uint32_t slot)
{
    home->slots[slot].connection = NULL;
    home->slots[slot].generation++;
    home->slots[slot].next_free = home->free_slot;
    home->free_slot = slot + 1;
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct http_loop *home = arg;
    struct http_server *server = home->server;
    bool any = false;
    if (home == &server->loops[0])
        for (size_t i = 0; i < server->n_listeners; i++)
            any = listener_wake(&server->listeners[i]) || any;
    int64_t now = clock_mono_ns();
    for (uint32_t i = 0; i < home->n_slots; i++) {
        struct connection *connection = connection_at(home, i);
        if (!connection)
            continue;
        any = true;
        sweep_connection(connection, now);
    }
    if (!any) {
        home->sweeping = false;
        (void)event_del(home->sweep_event);
    }
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    connection_run_ready(arg);
}

/* ---- accepting ---- */

static void fill_peer(struct handover *handover, const struct listener *listener, const void *address)
{
    struct http_peer *peer = &handover->peer;
    uint8_t *key = handover->source.bytes;
    char text[INET6_ADDRSTRLEN] = "";
    const struct sockaddr *any = address;
    peer->is_unix = listener->is_unix;
    peer->is_tls = listener->secure;
    if (peer->is_unix) {
        struct ucred who = {.uid = UINT32_MAX, .gid = UINT32_MAX};
        socklen_t len = sizeof who;
        (void)getsockopt(handover->fd, SOL_SOCKET, SO_PEERCRED, &who, &len);
        peer->uid = who.uid;
        peer->gid = who.gid;
        peer->pid = who.pid;
        (void)snprintf(peer->text, sizeof peer->text, "unix");
        key[0] = 'u';
        memcpy(key + 1, &who.uid, sizeof who.uid);
    } else if (any->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        (void)inet_ntop(AF_INET, &in.sin_addr, text, sizeof text);
        (void)snprintf(peer->text, sizeof peer->text, "%s:%u", text, ntohs(in.sin_port));
        key[0] = 4;
        memcpy(key + 1, &in.sin_addr, sizeof in.sin_addr);
    } else {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof in6);
        (void)inet_ntop(AF_INET6, &in6.sin6_addr, text, sizeof text);
        (void)snprintf(peer->text, sizeof peer->text, "[%s]:%u", text, ntohs(in6.sin6_port));
        key[0] = 6;
        memcpy(key + 1, &in6.sin6_addr, sizeof in6.sin6_addr);
    }
}

/* Counts it against the limits; false: there are too many. */
static bool admit(struct http_server *server, const struct source_key *source)
{
    size_t limit = server->limits.connections;
    if (atomic_fetch_add(&server->connections, 1) >= limit && limit) {
        (void)atomic_fetch_sub(&server->connections, 1);
        return false;
    }
    if (sources_enter(&server->sources, source, server->limits.connections_per_source))
        return true;
    (void)atomic_fetch_sub(&server->connections, 1);
    return false;
}

static bool may_tell(struct http_server *server)
{
    if (atomic_fetch_add(&server->refusals, 1) < REFUSALS_MAX)
        return true;
    (void)atomic_fetch_sub(&server->refusals, 1);
    return false;
}

static struct http_loop *choose_loop(struct http_server *server)
{
    struct http_loop *best = &server->loops[server->next_loop++ % server->n_loops];
    for (unsigned i = 0; i < server->n_loops; i++)
        if (atomic_load(&server->loops[i].connections) < atomic_load(&best->connections))
            best = &server->loops[i];
    return best;
}

static void run_handover(struct loop_mail *mail)
{
    connection_open((struct handover *)mail);
}

void http_server_accepted(const struct listener *listener, int fd, const void *address)
{
    struct http_server *server = listener->server;
    struct handover *handover = calloc(1, sizeof *handover);
    if (!handover) {
        (void)close(fd);
        return;
    }
    handover->fd = fd;
    fill_peer(handover, listener, address);
    handover->counted = admit(server, &handover->source);
    if (!handover->counted) {
        http_count(&server->loops[0].counters.refused);
        if (listener->secure || !may_tell(server)) { /* a handshake is too dear for saying no */
            (void)close(fd);
            free(handover);
            return;
        }
    }
    struct http_loop *home = handover->home = choose_loop(server);
    (void)atomic_fetch_add(&home->connections, 1);
    handover->mail.run = run_handover;
    if (listener->secure)
        handover->tls = tls_ref(server->tls);
    if (home == &server->loops[0])
        connection_open(handover);
    else
        loop_post(home->loop, &handover->mail);
}

/* ---- life ---- */

static int init_loop(struct http_server *server, struct http_loop *home)
{
    char name[16];
    (void)snprintf(name, sizeof name, "http-%u", (unsigned)(home - server->loops));
    home->server = server;
    home->input = malloc(HTTP_INPUT_SIZE);
    int err = loop_new(name, &home->loop);
    if (err || !home->input)
        return err ? err : -ENOMEM;
    home->ready_event = event_new(loop_base(home->loop), -1, 0, on_ready, home);
    home->sweep_event = event_new(loop_base(home->loop), -1, EV_PERSIST, on_sweep, home);
    return home->ready_event && home->sweep_event ? 0 : -ENOMEM;
}

static bool set_up(struct http_server *server, const struct http_server_options *options)
{
    server->limits = options->limits;
    server->framing = (struct framing_limits){options->limits.header_bytes, options->limits.header_line,
                                              options->limits.header_count, options->limits.target};
    /* A whole head must always fit, or a connection could wait for room for ever. */
    server->input_max = options->limits.header_bytes + options->limits.target + 1024;
    server->app = options->app;
    if (options->server_name && asprintf(&server->server_line, "Server: %s\r\n", options->server_name) < 0)
        server->server_line = NULL;
    else if (!options->server_name)
        server->server_line = strdup("");
    server->server_line_len = server->server_line ? strlen(server->server_line) : 0;
    server->n_loops = options->loops ? options->loops : 1;
    server->loops = calloc(server->n_loops, sizeof *server->loops);
    return server->server_line && server->loops;
}

int http_server_new(const struct http_server_options *options, struct http_server **ret)
{
    struct http_server *server = calloc(1, sizeof *server);
    if (!server)
        return -ENOMEM;
    int err = sources_init(&server->sources);
    if (err) {
        free(server);
        return err;
    }
    err = set_up(server, options) ? 0 : -ENOMEM;
    for (unsigned i = 0; !err && i < server->n_loops; i++)
        err = init_loop(server, &server->loops[i]);
    if (err) {
        http_server_free(server);
        return err;
    }
    *ret = server;
    return 0;
}

int http_server_listen(struct http_server *server, const char *address, char *error, size_t error_size)
{
    return listener_open(server, address, error, error_size);
}

int http_server_adopt(struct http_server *server, int fd, bool secure, char *error, size_t error_size)
{
    return listener_adopt(server, fd, secure, error, error_size);
}

bool http_server_needs_tls(const struct http_server *server)
{
    for (size_t i = 0; i < server->n_listeners; i++)
        if (server->listeners[i].secure)
            return true;
    return false;
}

const char *http_server_address(const struct http_server *server, size_t index)
{
    return index < server->n_listeners ? server->listeners[index].address : NULL;
}

/* A job on a loop, awaited by the server's owner. */
struct job {
    struct loop_mail mail;
    struct http_loop *home;
    void (*fn)(struct http_loop *home);
    sem_t done;
};

static void run_job(struct loop_mail *mail)
{
    struct job *job = (struct job *)mail;
    job->fn(job->home);
    (void)sem_post(&job->done);
}

static void on_loop(struct http_loop *home, void (*fn)(struct http_loop *home))
{
    struct job job = {.mail.run = run_job, .home = home, .fn = fn};
    (void)sem_init(&job.done, 0, 0);
    loop_post(home->loop, &job.mail);
    while (sem_wait(&job.done) < 0 && errno == EINTR) {
    }
    (void)sem_destroy(&job.done);
}

static void take_tls(struct http_loop *home)
{
    struct tls *before = home->server->tls;
    home->server->tls = home->server->fresh_tls;
    home->server->fresh_tls = NULL;
    atomic_store(&home->server->certificate_until, home->server->tls ? tls_valid_until(home->server->tls) : 0);
    tls_unref(before);
}

void http_server_set_tls(struct http_server *server, struct tls *tls)
{
    server->fresh_tls = tls_ref(tls);
    if (server->started)
        on_loop(&server->loops[0], take_tls);
    else
        take_tls(&server->loops[0]);
}

static void begin_loop(struct http_loop *home)
{
    current_loop = home;
}

static void begin_accepting(struct http_loop *home)
{
    struct http_server *server = home->server;
    for (size_t i = 0; i < server->n_listeners && !server->start_error; i++)
        server->start_error = listener_start(&server->listeners[i]);
}

int http_server_start(struct http_server *server)
{
    unsigned running = 0;
    int err = http_server_needs_tls(server) && !server->tls ? -EINVAL : 0;
    while (!err && running < server->n_loops && (err = loop_start(server->loops[running].loop)) == 0)
        running++;
    if (err) {
        while (running--)
            loop_stop(server->loops[running].loop);
        return err;
    }
    server->started = true;
    for (unsigned i = 0; i < server->n_loops; i++)
        on_loop(&server->loops[i], begin_loop);
    on_loop(&server->loops[0], begin_accepting);
    if (server->start_error)
        http_server_stop(server);
    return server->start_error;
}

static void end_accepting(struct http_loop *home)
{
    for (size_t i = 0; i < home->server->n_listeners; i++)
        listener_stop(&home->server->listeners[i]);
}

static void drain_loop(struct http_loop *home)
{
    home->draining = true;
    for (uint32_t i = 0; i < home->n_slots; i++)
        if (connection_at(home, i))
            connection_drain(connection_at(home, i));
}

void http_server_quiesce(struct http_server *server)
{
    if (!server->started || server->quiesced)
        return;
    server->quiesced = true;
    on_loop(&server->loops[0], end_accepting);
    for (unsigned i = 0; i < server->n_loops; i++)
        on_loop(&server->loops[i], drain_loop);
}

static void close_all(struct http_loop *home)
{
    for (uint32_t i = 0; i < home->n_slots; i++)
        if (connection_at(home, i))
            connection_abort(connection_at(home, i));
    connection_run_ready(home); /* frees what was still on the list */
}

void http_server_stop(struct http_server *server)
{
    if (!server || !server->started || !server->loops)
        return;
    on_loop(&server->loops[0], end_accepting);
    for (unsigned i = 0; i < server->n_loops; i++)
        on_loop(&server->loops[i], close_all);
    for (unsigned i = 0; i < server->n_loops; i++)
        loop_stop(server->loops[i].loop);
    server->started = false;
}

static void release_loop(struct http_loop *home)
{
    if (home->ready_event)
        event_free(home->ready_event);
    if (home->sweep_event)
        event_free(home->sweep_event);
    loop_free(home->loop);
    buf_release(&home->problem_body);
    free(home->slots);
    free(home->input);
}

void http_server_free(struct http_server *server)
{
    if (!server)
        return;
    http_server_stop(server);
    for (size_t i = 0; i < server->n_listeners; i++)
        listener_release(&server->listeners[i]);
    for (unsigned i = 0; server->loops && i < server->n_loops; i++)
        release_loop(&server->loops[i]);
    free(server->loops);
    free(server->server_line);
    tls_unref(server->tls);
    sources_release(&server->sources);
    free(server);
}

/* ---- figures ---- */

void http_server_stats(struct http_server *server, struct http_stats *ret)
{
    *ret = (struct http_stats){.certificate_until = atomic_load(&server->certificate_until)};
    for (unsigned i = 0; i < server->n_loops; i++) {
        struct http_loop *home = &server->loops[i];
        ret->connections += atomic_load(&home->connections);
        ret->accepted += atomic_load(&home->counters.accepted);
        ret->refused += atomic_load(&home->counters.refused);
        ret->requests += atomic_load(&home->counters.requests);
        ret->framing_errors += atomic_load(&home->counters.framing_errors);
        ret->timeouts += atomic_load(&home->counters.timeouts);
        ret->handshakes += atomic_load(&home->counters.handshakes);
        ret->handshake_failures += atomic_load(&home->counters.handshake_failures);
    }
}

static void run_ping(struct loop_mail *mail)
{
    struct http_loop *home = http_loop_current();
    (void)mail;
    http_count(&home->counters.beats);
    atomic_store(&home->ping_under_way, false);
}

uint64_t http_server_heartbeat(struct http_server *server)
{
    uint64_t slowest = UINT64_MAX;
    for (unsigned i = 0; i < server->n_loops; i++) {
        struct http_loop *home = &server->loops[i];
        uint64_t beats = atomic_load(&home->counters.beats);
        slowest = beats < slowest ? beats : slowest;
        if (server->started && !atomic_exchange(&home->ping_under_way, true)) {
            home->ping.run = run_ping;
            loop_post(home->loop, &home->ping);
        }
    }
    return slowest;
}
