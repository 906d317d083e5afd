/* What one run is: its settings, its requests, its connections, what was counted.  One thread, but for what spawn.c forks.
 *
 * Flow: main.c -> scenarios.c (prepares) -> drive.c (sends and receives) -> report.c. */
#ifndef SATCHEL_BENCH_LOAD_H
#define SATCHEL_BENCH_LOAD_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "bench/load/daemon.h"
#include "bench/load/histogram.h"
#include "bench/load/wire.h"

#define ID_LEN 36u
#define IDS_MAX 4096u /* finished tasks that GET asks for */

/* The kinds of requests (or pairs of them) that are measured apart. */
#define OPERATIONS(X)                                                                                                  \
    X(SUBMIT, "submit")                                                                                                \
    X(FINISH, "finish")                                                                                                \
    X(BATCH, "batch")                                                                                                  \
    X(GET, "get")                                                                                                      \
    X(LIST, "list")                                                                                                    \
    X(LATER, "later")
enum operation {
#define X(id, name) OPERATION_##id,
    OPERATIONS(X)
#undef X
        OPERATIONS_END
};

/* A request as it is sent; the places that differ from one to the next are written just before. */
struct message {
    enum operation operation;
    char *bytes;
    size_t len;
    size_t trace_at, tenant_at, id_at; /* 0: it has none */
    unsigned tasks;                    /* that it submits */
    int expect;                        /* the status */
};

struct client {
    int fd;
    bool busy;
    bool wants_write;
    unsigned step; /* of the operation under way */
    enum operation operation;
    unsigned tasks;
    int64_t intended_ns; /* when the operation should have begun */
    const struct message *message;
    char *rest; /* of a request that did not fit into the socket: owned */
    size_t rest_len, rest_sent;
    char id[ID_LEN + 1]; /* of the task that was submitted last */
    struct wire wire;
};

struct options {
    const struct scenario *scenario;
    const char *program, *directory, *config, *address;
    unsigned connections, batch, tenants;
    double seconds, warmup, rate; /* rate: operations a second; 0: closed loop */
    uint64_t preload;
    bool queued; /* what is preloaded is due, and held back by its type's concurrency; else it is scheduled */
    bool quiet;
};

struct load {
    struct options options;
    struct server server;
    struct client *clients;
    struct message submit, polled, finish, batch, batch_finish, get, poll, list, later, hold, warm;
    char (*ids)[ID_LEN];
    unsigned n_ids;
    uint64_t turn; /* operations that were begun: tenants, traces and the mix go by it */
    uint64_t random;

    struct histogram *latency[OPERATIONS_END];
    uint64_t operations, tasks;  /* that ended inside the window */
    uint64_t all_tasks;          /* accepted in all */
    uint64_t errors, unanswered; /* answers that were not as expected, connections that broke; none at all in time */
    int first_error;             /* the status of the first wrong answer; -1: a broken connection */
    double seconds;              /* the window's real length */
    double spent_s;              /* processor time of this process in it */
    struct usage before, after;  /* around everything that drive() did */
    double server_cpu_s;         /* in the window */
    struct usage idle;           /* once it was ready */
    struct usage preloaded;      /* after the preload */
    double preload_s, bare_rate, bare_all_rate; /* see scenarios.c */
    double start_killed_s, start_stopped_s;
};

struct scenario {
    const char *name, *text;
    unsigned connections, batch, tenants;
    double warmup; /* seconds */
    /* Before anything is measured; -1: said why.  NULL: nothing to do. */
    int (*prepare)(struct load *load);
    /* The request of an operation's step (0: the first one); NULL: the operation is over.  NULL function: nothing is driven. */
    const struct message *(*next)(struct load *load, struct client *client, unsigned step);
    bool until_finished;  /* the run ends when the daemon has finished all tasks */
    const char *settings; /* of the daemon, beyond its defaults; NULL: none */
    const char *body;     /* of single submissions; NULL: a satchel.noop */
};

extern volatile sig_atomic_t load_stopped; /* a signal came */

const struct scenario *scenario_find(const char *name);
const struct scenario *scenario_at(unsigned index); /* NULL: there are no more */

/* Runs the scenario; -1: said why. */
int drive(struct load *load);
/* Until the daemon has finished everything; -1: not within two minutes. */
int drive_until_finished(struct load *load);

/* Requests. */
int messages_make(struct load *load);
void messages_free(struct load *load);
/* Writes what differs: trace and tenant of this turn, and the task's id. */
void message_fill(struct load *load, const struct message *message, const char *id);

/* Many tasks that wait, before anything is measured; -1: said why. */
int preload_waiting(struct load *load);
/* Some that have finished, whose ids are kept. */
int preload_finished(struct load *load);

/* How many /bin/true a second posix_spawn starts and waits for, in `processes` loops beside each other. */
double spawn_rate(unsigned processes, double seconds);

void report(const struct load *load);

#endif
