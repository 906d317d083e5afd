/* What the files of the API share: the api itself, one request while its handler runs, and the handlers.
 * Thread: a visit belongs to its loop. */
#ifndef SATCHEL_API_INTERNAL_H
#define SATCHEL_API_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "api/api.h"
#include "api/request_context.h"
#include "api/routes.h"
#include "auth/auth.h"
#include "engine/engine.h"
#include "store/reader.h"

#define API_WAIT_CANCEL_NS INT64_C(2000000000) /* how long :cancel waits for a running task to end */
#define API_SMALL_BODY ((size_t)64 * 1024)     /* of requests whose body has no meaning */

struct api {
    /* constant once attached */
    struct http_app app;
    struct attempt_host host;
    struct engine *engine;
    struct reader *reader;
    struct schedules *schedules;
    char node[65]; /* this machine's name */
    uint64_t root_sampling;
    struct api_telemetry telemetry;
    size_t max_waits;
    struct auth *auth;
    struct header_variables *variables; /* has its own lock */
    /* any thread */
    atomic_size_t waits;  /* calls that wait for a task's end: bounded, since their clients may be gone */
    pthread_mutex_t lock; /* guards registry */
    struct registry *registry;
};

struct registry *api_registry(struct api *api); /* a reference */

struct visit { /* one request while its handler runs */
    struct api *api;
    struct http_exchange *exchange;
    const struct http_request *request;
    const struct route *route;
    struct registry *registry;   /* a reference, for the time of the visit */
    const struct config *config; /* the registry's */
    struct slice task;           /* what the path has for {id} */
    struct caller caller;
    struct auth_identity identity; /* who that is; its texts are of `config` */
};

/* admit.c: whether the caller may make this request, and for which tenant; sets caller and identity.  False: replied.
 * Call it before anything else of the request counts, wherever a visit begins. */
bool visit_admit(struct visit *visit);
/* 403, noted in the audit log.  challenge NULL: without a scope that would do.  False, always. */
bool visit_forbid(struct visit *visit, const char *challenge, const char *detail);
void visit_audit(const struct visit *visit); /* an administrator's call, for the log */
/* Whether the caller sees the tasks of all tenants at once. */
bool visit_sees_all(const struct visit *visit);

/* actions.c, tasks.c, submit.c, batch.c, list.c, context_view.c, log.c, events.c, tree.c, service.c: one function a route */
void on_submit(struct visit *visit);
void on_batch(struct visit *visit);
void on_list(struct visit *visit);
void on_get(struct visit *visit);
void on_result(struct visit *visit);
void on_context(struct visit *visit);
void on_log(struct visit *visit);
void on_events(struct visit *visit);
void on_tree(struct visit *visit);
void on_cancel(struct visit *visit);
void on_retry(struct visit *visit);
void on_delete(struct visit *visit);
void on_cancel_all(struct visit *visit);
void on_retry_all(struct visit *visit);
void on_delete_all(struct visit *visit);
/* schedules.c */
void on_list_schedules(struct visit *visit);
void on_get_schedule(struct visit *visit);
void on_create_schedule(struct visit *visit);
void on_put_schedule(struct visit *visit);
void on_delete_schedule(struct visit *visit);
void on_pause_schedule(struct visit *visit);
void on_resume_schedule(struct visit *visit);
void on_run_schedule(struct visit *visit);
/* admin.c */
void on_admin_status(struct visit *visit);
void on_pause(struct visit *visit);
void on_drain(struct visit *visit);
void on_resume(struct visit *visit);
void on_tenants(struct visit *visit);
void on_tenant(struct visit *visit);
void on_healthz(struct visit *visit);
void on_readyz(struct visit *visit);
void on_metrics(struct visit *visit);
void on_openapi(struct visit *visit);

/* spawn.c */
extern const struct attempt_host spawn_host;

#endif
