/* The life of the API, and the two entries of the server into it: the head of a request and the whole of it.
 * Flow: http/ -> on_head (route, type, length) -> on_request (caller, handler) -> submit.c, tasks.c, list.c, service.c. */
#include "api/api.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/batch.h"
#include "api/calls.h"
#include "api/fields.h"
#include "base/log.h"

#define WAITS_PER_CONNECTION 2 /* calls whose client is gone still wait for a while */

struct registry *api_registry(struct api *api)
{
    (void)pthread_mutex_lock(&api->lock);
    struct registry *registry = registry_ref(api->registry);
    (void)pthread_mutex_unlock(&api->lock);
    return registry;
}

/* ---- the head ---- */

static void refuse(struct http_exchange *exchange, const struct problem *problem, const char *allow)
{
    struct caller caller;
    struct reply reply;
    caller_read_id(http_request(exchange), &caller);
    reply_begin(&reply, exchange, caller.request_id);
    if (allow)
        reply_field(&reply, "Allow", slice_str(allow));
    reply_problem(&reply, problem);
}

static void reply_options(struct http_exchange *exchange, const char *allow)
{
    struct caller caller;
    struct reply reply;
    caller_read_id(http_request(exchange), &caller);
    reply_begin(&reply, exchange, caller.request_id);
    reply_field(&reply, "Allow", slice_str(allow));
    reply_empty(&reply, 204);
}

static void refuse_route(struct http_exchange *exchange, enum route_result result)
{
    const struct http_request *request = http_request(exchange);
    struct problem problem = {0};
    char allow[ROUTE_ALLOW_SIZE] = "";
    if (result == ROUTE_BROKEN) {
        problem_set(&problem, PROBLEM_MALFORMED_REQUEST, "The path has a broken percent escape.");
    } else if (result == ROUTE_NOWHERE) {
        problem_set(&problem, PROBLEM_NOT_FOUND, "There is nothing at this path; /openapi.json says what there is.");
    } else {
        route_allow(request->path, allow);
        problem_set(&problem, PROBLEM_METHOD_NOT_ALLOWED, "This path allows %s, not %.*s.", allow,
                    (int)(request->method_text.len < 32 ? request->method_text.len : 32), request->method_text.data);
    }
    refuse(exchange, &problem, *allow ? allow : NULL);
}

static bool announces_more(const struct http_request *request, size_t max)
{
    struct slice text = http_find(request, "Content-Length", NULL);
    size_t length = 0;
    for (size_t i = 0; i < text.len; i++) { /* the server has checked that it is a number */
        length = length * 10 + (size_t)(text.data[i] - '0');
        if (length > max)
            return true;
    }
    return false;
}

static void handle(struct api *api, struct http_exchange *exchange, const struct route_match *match)
{
    struct visit visit = {.api = api,
                          .exchange = exchange,
                          .request = http_request(exchange),
                          .route = match->route,
                          .registry = api_registry(api),
                          .task = match->id};
    visit.config = registry_config(visit.registry);
    if (visit_admit(&visit))
        match->route->handle(&visit);
    registry_unref(visit.registry);
}

/* Nobody who may not make the request sends a long body first.  False: replied. */
static bool admit_body(struct api *api, struct http_exchange *exchange, const struct route *route, size_t *ret_max_body)
{
    struct visit visit = {.api = api,
                          .exchange = exchange,
                          .request = http_request(exchange),
                          .route = route,
                          .registry = api_registry(api)};
    visit.config = registry_config(visit.registry);
    *ret_max_body = (size_t)visit.config->max_body;
    bool admitted = !visit.config->auth.on || visit_admit(&visit);
    registry_unref(visit.registry);
    return admitted;
}

static enum http_body_mode on_head(void *arg, struct http_exchange *exchange, size_t *ret_max_body)
{
    struct api *api = arg;
    const struct http_request *request = http_request(exchange);
    struct route_match match;
    struct problem problem = {0};
    *ret_max_body = API_SMALL_BODY;
    enum route_result result = route_find(request->method, request->path, &match);
    if (request->method == HTTP_OPTIONS && (result == ROUTE_OTHER_METHOD || slice_eq_str(request->path, "*"))) {
        char allow[ROUTE_ALLOW_SIZE];
        route_allow(request->path, allow);
        reply_options(exchange, allow);
    } else if (result != ROUTE_FOUND) {
        refuse_route(exchange, result);
    } else if (match.route->needs & ROUTE_STREAM) {
        *ret_max_body = SIZE_MAX; /* whoever takes it piece by piece bounds the pieces */
        handle(api, exchange, &match);
        return HTTP_BODY_STREAM;
    } else {
        if (match.route->needs & ROUTE_JSON && !admit_body(api, exchange, match.route, ret_max_body))
            return HTTP_BODY_WHOLE;
        http_set_data(exchange, (void *)(uintptr_t)match.route);
        if (match.route->needs & ROUTE_JSON && json_body_check(request, &problem) < 0) {
            refuse(exchange, &problem, NULL);
        } else if (announces_more(request, *ret_max_body)) {
            problem_set(&problem, PROBLEM_BODY_TOO_LARGE, "The body may have at most %zu bytes.", *ret_max_body);
            refuse(exchange, &problem, NULL);
        }
    }
    return HTTP_BODY_WHOLE;
}

/* ---- the whole request ---- */

static void on_request(void *arg, struct http_exchange *exchange)
{
    struct api *api = arg;
    const struct http_request *request = http_request(exchange);
    const struct route *route = http_data(exchange);
    struct route_match match;
    if (!route || route_find(request->method, request->path, &match) != ROUTE_FOUND)
        return; /* answered at its head */
    http_set_data(exchange, NULL);
    handle(api, exchange, &match);
}

static bool on_body(void *arg, struct http_exchange *exchange, struct slice piece, bool end)
{
    (void)arg;
    return batch_take(http_data(exchange), exchange, piece, end); /* the one route that streams its body */
}

static void on_gone(void *arg, struct http_exchange *exchange)
{
    struct api_call *parked = http_data(exchange); /* a call under way finds out when it comes back */
    (void)arg;
    if (!parked || route_is(parked))
        return;
    if (parked->gone)
        parked->gone(parked);
    else
        call_release(parked);
}

static void on_encode_problem(void *arg, const struct problem *problem, struct buf *out)
{
    (void)arg;
    problem_to_json(problem, out);
}

/* What the server refuses by itself carries a request id, too. */
static size_t on_problem_fields(void *arg, const struct http_request *request, struct http_field *fields, size_t max)
{
    static _Thread_local struct caller caller; /* the field lies in here until it is sent */
    static const struct http_request none;
    (void)arg;
    if (max < 2)
        return 0;
    caller_read_id(request ? request : &none, &caller);
    fields[0] = (struct http_field){SLICE_LITERAL("X-Request-ID"), caller.request_id};
    fields[1] = (struct http_field){SLICE_LITERAL("Cache-Control"), SLICE_LITERAL("no-store")};
    return 2;
}

/* ---- life ---- */

static int use_tenant_header(const struct config *config)
{
    const char *now = satchel_var_header(satchel_known_var(SATCHEL_TENANT));
    if (strcmp(now, config->tenant_header) == 0)
        return 0;
    int status = satchel_configure_header(SATCHEL_TENANT, config->tenant_header);
    if (status == SATCHEL_OK)
        return 0;
    LOG_ERROR("the configured tenant header cannot be used", LOG_TEXT("header", config->tenant_header),
              LOG_TEXT("reason", satchel_strerror(status)));
    return status == SATCHEL_ENOMEM ? -ENOMEM : -EINVAL;
}

int api_new(const struct api_options *options, struct api **ret)
{
    struct api *api = calloc(1, sizeof *api);
    if (!api)
        return -ENOMEM;
    (void)pthread_mutex_init(&api->lock, NULL);
    const struct config *config = registry_config(options->registry);
    api->registry = registry_ref(options->registry);
    api->root_sampling = options->root_sampling;
    api->host = spawn_host;
    api->max_waits = (size_t)config->max_connections * WAITS_PER_CONNECTION;
    api->app = (struct http_app){.arg = api,
                                 .head = on_head,
                                 .request = on_request,
                                 .body = on_body,
                                 .gone = on_gone,
                                 .encode_problem = on_encode_problem,
                                 .problem_fields = on_problem_fields};
    if (gethostname(api->node, sizeof api->node - 1) < 0)
        strcpy(api->node, "localhost");
    api->variables = header_variables_new();
    int err = api->variables ? use_tenant_header(config) : -ENOMEM;
    if (!err)
        err = auth_new(&api->auth);
    if (!err)
        err = header_variables_update(api->variables, config);
    if (err) {
        api_free(api);
        return err;
    }
    *ret = api;
    return 0;
}

void api_attach(struct api *api, struct engine *engine, struct reader *reader, struct schedules *schedules)
{
    api->schedules = schedules;
    api->engine = engine;
    api->reader = reader;
}

void api_attach_telemetry(struct api *api, const struct api_telemetry *telemetry)
{
    api->telemetry = *telemetry;
}

void api_set_registry(struct api *api, struct registry *registry)
{
    if (header_variables_update(api->variables, registry_config(registry)) < 0)
        LOG_ERROR("there is no memory for the variables of new headers");
    (void)registry_ref(registry);
    (void)pthread_mutex_lock(&api->lock);
    struct registry *before = api->registry;
    api->registry = registry;
    (void)pthread_mutex_unlock(&api->lock);
    registry_unref(before);
}

const struct http_app *api_http_app(const struct api *api)
{
    return &api->app;
}

const struct attempt_host *api_attempt_host(const struct api *api)
{
    return &api->host;
}

void api_free(struct api *api)
{
    if (!api)
        return;
    header_variables_free(api->variables);
    auth_free(api->auth);
    registry_unref(api->registry);
    (void)pthread_mutex_destroy(&api->lock);
    free(api);
}
