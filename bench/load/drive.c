/* Sends the scenario's requests and takes the answers, all on one thread.
 *
 * Closed loop: each connection begins its next operation when one has ended.  Open loop: the n-th operation should begin
 * n / rate after the start, whether or not a connection is free then, and its latency counts from that time: what waited
 * here because the daemon was slow is not left out (no coordinated omission).
 *
 * What ends in the window after the warm-up is counted; what was begun in it is waited for (at most DRAIN). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench/load/load.h"

#define DRAIN_NS (10 * (int64_t)1000000000)
#define FINISH_NS (120 * (int64_t)1000000000)
#define EVENTS 256
#define TIMER UINT32_MAX /* instead of a connection's number */

volatile sig_atomic_t load_stopped;

struct drive {
    struct load *load;
    int epoll, timer;
    int64_t begun_ns, window_ns, end_ns; /* start, start of the window, end of it */
    bool in_window;
    double own_cpu_s, server_cpu_s; /* when the window began */
    uint64_t due;                   /* open loop: operations whose time has been used */
    unsigned *idle, n_idle;         /* connections without an operation (a stack) */
    unsigned n_busy;
};

static double own_cpu(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
           ((double)usage.ru_utime.tv_usec + (double)usage.ru_stime.tv_usec) / 1e6;
}

/* ---- connections ---- */

static int open_client(struct drive *drive, unsigned index)
{
    struct client *client = &drive->load->clients[index];
    client->fd = server_connect(&drive->load->server);
    if (client->fd < 0)
        return -1;
    (void)fcntl(client->fd, F_SETFL, O_NONBLOCK);
    wire_init(&client->wire);
    client->busy = client->wants_write = false;
    client->rest = NULL;
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = index};
    return epoll_ctl(drive->epoll, EPOLL_CTL_ADD, client->fd, &event);
}

static void close_client(struct client *client)
{
    if (client->fd >= 0)
        (void)close(client->fd);
    client->fd = -1;
    free(client->rest);
    client->rest = NULL;
}

static void want_write(struct drive *drive, struct client *client, bool wants)
{
    struct epoll_event event = {.events = EPOLLIN | (wants ? (uint32_t)EPOLLOUT : 0),
                                .data.u32 = (uint32_t)(client - drive->load->clients)};
    if (client->wants_write != wants)
        (void)epoll_ctl(drive->epoll, EPOLL_CTL_MOD, client->fd, &event);
    client->wants_write = wants;
}

/* What the socket does not take now is kept. */
static void send_message(struct drive *drive, struct client *client, const struct message *message)
{
    message_fill(drive->load, message, client->id);
    client->message = message;
    ssize_t n = send(client->fd, message->bytes, message->len, MSG_NOSIGNAL);
    size_t sent = n > 0 ? (size_t)n : 0;
    if (sent == message->len)
        return;
    client->rest = malloc(message->len - sent);
    if (!client->rest)
        return; /* it is counted as unanswered */
    client->rest_len = message->len - sent;
    client->rest_sent = 0;
    memcpy(client->rest, message->bytes + sent, client->rest_len);
    want_write(drive, client, true);
}

static void send_rest(struct drive *drive, struct client *client)
{
    while (client->rest && client->rest_sent < client->rest_len) {
        ssize_t n =
            send(client->fd, client->rest + client->rest_sent, client->rest_len - client->rest_sent, MSG_NOSIGNAL);
        if (n < 0)
            return; /* EAGAIN: again later; else reading tells it */
        client->rest_sent += (size_t)n;
    }
    free(client->rest);
    client->rest = NULL;
    want_write(drive, client, false);
}

/* ---- operations ---- */

static void begin_operation(struct drive *drive, struct client *client, int64_t intended_ns)
{
    const struct message *message = drive->load->options.scenario->next(drive->load, client, 0);
    client->busy = true;
    client->step = 0;
    client->operation = message->operation;
    client->tasks = 0;
    client->intended_ns = intended_ns;
    drive->n_busy++;
    send_message(drive, client, message);
    drive->load->turn++;
}

static void fail(struct load *load, int status)
{
    if (!load->errors++)
        load->first_error = status;
}

static void end_operation(struct drive *drive, struct client *client, bool good, int64_t now)
{
    struct load *load = drive->load;
    client->busy = false;
    drive->n_busy--;
    drive->idle[drive->n_idle++] = (unsigned)(client - load->clients);
    if (!good || !drive->in_window || (load->options.rate > 0 && client->intended_ns < drive->window_ns))
        return;
    /* What ends after the window counts with its latency, else the slowest would not be seen; an open loop counts what
     * should have begun in the window in every respect. */
    histogram_record(load->latency[client->operation], now - client->intended_ns);
    if (now >= drive->end_ns && load->options.rate <= 0)
        return;
    load->operations++;
    load->tasks += client->tasks;
}

static bool take_answer(struct load *load, struct client *client)
{
    const struct wire *wire = &client->wire;
    const struct message *message = client->message;
    bool good = wire->status == message->expect && !(message->tasks > 1 && wire->lines != message->tasks);
    size_t refused = message->tasks > 1 ? wire->refused : 0;
    if (!good || refused) {
        fail(load, wire->status);
        load->errors += refused > 1 ? refused - 1 : 0;
    }
    if (!good)
        return false;
    client->tasks += message->tasks - (unsigned)refused;
    load->all_tasks += message->tasks - refused;
    if (message->tasks == 1 && wire->start_len >= 7 + ID_LEN) /* {"id":" */
        memcpy(client->id, wire->start + 7, ID_LEN);
    return true;
}

static void on_broken(struct drive *drive, struct client *client, int64_t now)
{
    bool was_busy = client->busy;
    if (was_busy) {
        fail(drive->load, -1);
        end_operation(drive, client, false, now);
    }
    close_client(client);
    (void)open_client(drive, (unsigned)(client - drive->load->clients));
}

static void on_readable(struct drive *drive, struct client *client)
{
    struct load *load = drive->load;
    int result = wire_read(&client->wire, client->fd);
    if (result == 0)
        return;
    int64_t now = clock_mono_ns();
    if (result < 0 || !client->busy) {
        on_broken(drive, client, now);
        return;
    }
    bool good = take_answer(load, client);
    const struct message *message = good ? load->options.scenario->next(load, client, ++client->step) : NULL;
    if (message) {
        send_message(drive, client, message);
        return;
    }
    end_operation(drive, client, good, now);
    if (client->wire.closes)
        on_broken(drive, client, now);
}

/* ---- the loop ---- */

static int64_t due_ns(const struct drive *drive)
{
    return drive->begun_ns + (int64_t)((double)drive->due * 1e9 / drive->load->options.rate);
}

/* Begins what is due.  Returns when it has to look again, 0: when something has come. */
static int64_t begin_due(struct drive *drive, int64_t now)
{
    bool open = drive->load->options.rate > 0;
    while (drive->n_idle) {
        int64_t intended = open ? due_ns(drive) : now;
        if (intended >= drive->end_ns)
            return 0;
        if (intended > now)
            return intended;
        struct client *client = &drive->load->clients[drive->idle[--drive->n_idle]];
        if (client->fd < 0 && open_client(drive, (unsigned)(client - drive->load->clients)) < 0) {
            drive->n_idle++;
            load_stopped = 1;
            return 0;
        }
        begin_operation(drive, client, intended);
        drive->due++;
    }
    return 0;
}

static void look_at_window(struct drive *drive, int64_t now)
{
    if (!drive->in_window && now >= drive->window_ns && now < drive->end_ns) {
        drive->in_window = true;
        drive->own_cpu_s = own_cpu();
        drive->server_cpu_s = server_cpu(&drive->load->server);
    }
    if (drive->in_window && !drive->load->seconds && now >= drive->end_ns) {
        drive->load->seconds = drive->load->options.seconds;
        drive->load->spent_s = own_cpu() - drive->own_cpu_s;
        drive->load->server_cpu_s = server_cpu(&drive->load->server) - drive->server_cpu_s;
    }
}

static void arm(struct drive *drive, int64_t at_ns)
{
    struct itimerspec when = {.it_value = {.tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000}};
    (void)timerfd_settime(drive->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void wait_and_take(struct drive *drive)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(drive->epoll, events, EVENTS, 100);
    for (int i = 0; i < n; i++) {
        if (events[i].data.u32 == TIMER) {
            uint64_t expired;
            (void)!read(drive->timer, &expired, sizeof expired);
            continue;
        }
        struct client *client = &drive->load->clients[events[i].data.u32];
        if (events[i].events & EPOLLOUT)
            send_rest(drive, client);
        if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
            on_readable(drive, client);
    }
}

static bool is_over(const struct drive *drive, int64_t now)
{
    bool open = drive->load->options.rate > 0;
    bool begins_more = open ? due_ns(drive) < drive->end_ns : now < drive->end_ns;
    return load_stopped || now > drive->end_ns + DRAIN_NS || (now >= drive->end_ns && !begins_more && !drive->n_busy);
}

static void run(struct drive *drive)
{
    const struct options *options = &drive->load->options;
    drive->begun_ns = clock_mono_ns();
    drive->window_ns = drive->begun_ns + (int64_t)(options->warmup * 1e9);
    drive->end_ns = drive->window_ns + (int64_t)(options->seconds * 1e9);
    int64_t now = drive->begun_ns, armed = 0;
    while (!is_over(drive, now)) {
        look_at_window(drive, now);
        int64_t again = begin_due(drive, now);
        if (again && again != armed)
            arm(drive, armed = again);
        wait_and_take(drive);
        now = clock_mono_ns();
    }
    look_at_window(drive, now);
    drive->load->unanswered = drive->n_busy;
    if (options->rate > 0 && !load_stopped) { /* what should have begun and never could */
        uint64_t all = (uint64_t)((options->warmup + options->seconds) * options->rate);
        drive->load->unanswered += all > drive->due ? all - drive->due : 0;
    }
}

static int set_up(struct drive *drive)
{
    struct load *load = drive->load;
    unsigned n = load->options.connections;
    load->clients = calloc(n, sizeof *load->clients);
    drive->idle = calloc(n, sizeof *drive->idle);
    drive->epoll = epoll_create1(EPOLL_CLOEXEC);
    drive->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = TIMER};
    if (!load->clients || !drive->idle || drive->epoll < 0 || drive->timer < 0 ||
        epoll_ctl(drive->epoll, EPOLL_CTL_ADD, drive->timer, &event) < 0)
        return -1;
    for (unsigned i = 0; i < n; i++)
        load->clients[i].fd = -1;
    for (unsigned i = 0; i < n; i++) {
        if (open_client(drive, i) < 0)
            return -1;
        drive->idle[drive->n_idle++] = i;
    }
    return 0;
}

static void tear_down(struct drive *drive)
{
    struct load *load = drive->load;
    for (unsigned i = 0; load->clients && i < load->options.connections; i++)
        close_client(&load->clients[i]);
    free(load->clients);
    load->clients = NULL;
    free(drive->idle);
    if (drive->epoll >= 0)
        (void)close(drive->epoll);
    if (drive->timer >= 0)
        (void)close(drive->timer);
}

int drive_until_finished(struct load *load)
{
    struct timespec pause = {.tv_nsec = 5000000};
    int64_t limit = clock_mono_ns() + FINISH_NS;
    struct usage usage;
    while (!load_stopped && clock_mono_ns() < limit) {
        if (server_usage(&load->server, &usage) < 0)
            return -1;
        if (usage.finished - load->before.finished >= (double)load->all_tasks)
            return 0;
        (void)nanosleep(&pause, NULL);
    }
    (void)fprintf(stderr, "satchel-load: not all tasks have finished\n");
    return -1;
}

int drive(struct load *load)
{
    struct drive drive = {.load = load, .epoll = -1, .timer = -1};
    int result = set_up(&drive);
    if (result < 0)
        (void)fprintf(stderr, "satchel-load: cannot set up %u connections\n", load->options.connections);
    else if ((result = server_usage(&load->server, &load->before)) == 0)
        run(&drive);
    if (result == 0 && load->options.scenario->until_finished) {
        result = drive_until_finished(load);
        load->seconds = (double)(clock_mono_ns() - drive.window_ns) / 1e9;
        load->spent_s = own_cpu() - drive.own_cpu_s;
        load->server_cpu_s = server_cpu(&load->server) - drive.server_cpu_s;
        load->tasks = load->all_tasks;
    }
    tear_down(&drive);
    if (result == 0)
        result = server_usage(&load->server, &load->after);
    return result;
}
