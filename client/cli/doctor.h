/* What the files of satchel doctor share.
 *   doctor.c         the verb: options, the phases over all tenants, the report
 *   doctor_canary.c  one canary: how it is submitted, where what it saw is found, how it is taken away again
 *   doctor_sent.c    what a tenant's context holds, and comparing what was seen with it
 *   doctor_stub.c    the HTTP server of its own that HTTP tasks and callbacks reach */
#ifndef SATCHEL_CLI_DOCTOR_H
#define SATCHEL_CLI_DOCTOR_H

#include <pthread.h>
#include <stdatomic.h>

#include "client/cli/cli.h"
#include "proto/buf.h"

/* The ways that a context takes through the daemon: ROUTE(name, "as it is shown", "task type", needs the canaries). */
#define DOCTOR_ROUTES(ROUTE)                                                                                           \
    ROUTE(HANDLER, "handler", "satchel.context", false)                                                                \
    ROUTE(BY_HAND, "retry by hand", "satchel.context", false)                                                          \
    ROUTE(SUB_TASK, "sub-task", "satchel.spawn", false)                                                                \
    ROUTE(COMMAND, "command", "satchel.canary.command", true)                                                          \
    ROUTE(HTTP, "http", "satchel.canary.http", true)                                                                   \
    ROUTE(HTTP_RETRY, "http, retried", "satchel.canary.http", true)                                                    \
    ROUTE(CALLBACK, "callback", "satchel.noop", false)

enum route {
#define ROUTE(name, shown, task, canary) ROUTE_##name,
    DOCTOR_ROUTES(ROUTE)
#undef ROUTE
        N_ROUTES
};

/* The variables that are compared: VARIABLE(name, "name", well-known or -1, environment name, header or NULL: the
 * well-known one's). */
#define DOCTOR_VARIABLES(VARIABLE)                                                                                     \
    VARIABLE(TENANT, "tenant", SATCHEL_TENANT, "SATCHEL_TENANT", NULL)                                                 \
    VARIABLE(TRACEPARENT, "traceparent", SATCHEL_TRACEPARENT, "TRACEPARENT", NULL)                                     \
    VARIABLE(TRACESTATE, "tracestate", SATCHEL_TRACESTATE, "TRACESTATE", NULL)                                         \
    VARIABLE(BAGGAGE, "baggage", SATCHEL_BAGGAGE, "BAGGAGE", NULL)                                                     \
    VARIABLE(REQUEST_ID, "request_id", SATCHEL_REQUEST_ID, "SATCHEL_REQUEST_ID", NULL)                                 \
    VARIABLE(DEADLINE, "deadline", SATCHEL_DEADLINE, "SATCHEL_DEADLINE", NULL)                                         \
    VARIABLE(OWN, "doctor", -1, "SATCHEL_VAR_DOCTOR", "X-Satchel-Var-doctor")

enum {
#define VARIABLE(name, shown, known, environment, header) VAR_##name,
    DOCTOR_VARIABLES(VARIABLE)
#undef VARIABLE
        N_VARIABLES
};

#define TEXT_MAX 192

/* ---- doctor_sent.c ---- */

struct sent { /* one tenant's context */
    satchel_context *context;
    char values[N_VARIABLES][TEXT_MAX];
};

struct seen {
    char *values[N_VARIABLES]; /* owned; NULL: absent */
};

struct mismatch {
    struct mismatch *next;
    char *variable;    /* NULL: the canary itself went wrong, and `seen` says how */
    char *sent, *seen; /* seen NULL: absent */
};

/* SATCHEL_OK, or why there is none.  `nonce`: of this run; deadline_us: wall clock. */
int sent_init(struct sent *sent, const char *nonce, unsigned tenant, int64_t deadline_us);
void sent_release(struct sent *sent);

bool seen_by_handler(const char *json, size_t len, struct seen *ret); /* satchel.context's result; false: it is none */
bool seen_by_command(const char *json, size_t len, struct seen *ret); /* the environment as a JSON string */
void seen_by_server(const char *head, struct seen *ret);              /* request line and header lines */
void seen_release(struct seen *seen);
/* One mismatch for every variable that did not arrive as it was sent.  False: no memory. */
bool sent_compare(const struct sent *sent, const struct seen *seen, struct mismatch **list);
bool mismatch_add(struct mismatch **list, const char *variable, const char *sent, const char *seen);
void mismatches_free(struct mismatch *list);

/* ---- doctor_stub.c ---- */

struct stub_record { /* of one path */
    unsigned requests;
    char *head; /* of the last one that was answered with 200; NULL: none was */
};

struct stub {
    int fd, wake[2];
    int port;
    pthread_t thread;
    bool running;
    char nonce[40];
    unsigned n_tenants;
    pthread_mutex_t lock; /* guards the records */
    pthread_cond_t changed;
    struct stub_record *records; /* N_ROUTES a tenant */
};

int stub_start(struct stub *stub, const char *nonce, unsigned n_tenants); /* 0 or -errno */
void stub_stop(struct stub *stub);
void stub_url(const struct stub *stub, enum route route, unsigned tenant, char *out, size_t size);
/* Waits until a request was answered with 200; a copy of its head, the caller's.  NULL: none in time. */
char *stub_head(struct stub *stub, enum route route, unsigned tenant, int64_t limit_ms);

/* ---- doctor_canary.c ---- */

struct canary {
    satchel_future *future; /* NULL: not submitted */
    const char *skipped;    /* why it could not be checked, and what to do; static.  NULL: it could */
    struct mismatch *wrong;
};

struct doctor {
    const struct verb *verb;
    struct common common;
    satchel_client *client;
    unsigned n_tenants;
    int64_t limit_ms, until; /* client's monotonic milliseconds */
    struct stub stub;
    struct sent *sent;       /* a tenant each */
    struct canary *canaries; /* N_ROUTES a tenant */
    atomic_uint next;        /* the tenant whose turn it is in this phase */
    void (*phase)(struct doctor *doctor, unsigned tenant);
    atomic_uint left_behind; /* tasks that could not be deleted */
    pthread_mutex_t lock;    /* guards the two */
    bool failed;             /* nothing more is to be asked */
    satchel_error failure;
};

int64_t doctor_left(const struct doctor *doctor); /* milliseconds */
/* On any of its threads, in the tenant's context. */
void canary_submit(struct doctor *doctor, unsigned tenant, enum route route);
void canary_check(struct doctor *doctor, unsigned tenant, enum route route);
void canary_clean(struct doctor *doctor, unsigned tenant, enum route route);
void canary_release(struct canary *canary);

#endif
