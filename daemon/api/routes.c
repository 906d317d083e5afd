/* Which function serves which request.  A new route is one line here and one operation in docs/api/openapi.json. */
#include "api/routes.h"

#include <stdio.h>

#include "api/internal.h"
#include "api/params.h"

#define ROUTE(method, pattern, operation, needs, handle)                                                               \
    {                                                                                                                  \
        HTTP_##method, #method, pattern, operation, needs, handle                                                      \
    }

static const struct route routes[] = {
    ROUTE(POST, "/v1/tasks", "submitTask", ROUTE_TENANT | ROUTE_JSON, on_submit),
    ROUTE(POST, "/v1/tasks:batch", "submitBatch", ROUTE_TENANT | ROUTE_STREAM, on_batch),
    ROUTE(GET, "/v1/tasks/{id}", "getTask", ROUTE_TENANT | ROUTE_ALL, on_get),
    ROUTE(GET, "/v1/tasks/{id}/result", "getTaskResult", ROUTE_TENANT | ROUTE_ALL, on_result),
    ROUTE(GET, "/v1/tasks/{id}/context", "getTaskContext", ROUTE_TENANT | ROUTE_ALL, on_context),
    ROUTE(GET, "/v1/tasks/{id}/log", "getTaskLog", ROUTE_TENANT | ROUTE_ALL, on_log),
    ROUTE(GET, "/v1/tasks/{id}/events", "getTaskEvents", ROUTE_TENANT | ROUTE_ALL, on_events),
    ROUTE(GET, "/v1/tasks/{id}/tree", "getTaskTree", ROUTE_TENANT | ROUTE_ALL, on_tree),
    ROUTE(GET, "/v1/tasks", "listTasks", ROUTE_TENANT | ROUTE_ALL, on_list),
    ROUTE(POST, "/v1/tasks/{id}:cancel", "cancelTask", ROUTE_TENANT, on_cancel),
    ROUTE(POST, "/v1/tasks/{id}:retry", "retryTask", ROUTE_TENANT, on_retry),
    ROUTE(DELETE, "/v1/tasks/{id}", "deleteTask", ROUTE_TENANT, on_delete),
    ROUTE(POST, "/v1/tasks:cancel", "cancelTasks", ROUTE_TENANT, on_cancel_all),
    ROUTE(POST, "/v1/tasks:retry", "retryTasks", ROUTE_TENANT, on_retry_all),
    ROUTE(POST, "/v1/tasks:delete", "deleteTasks", ROUTE_TENANT, on_delete_all),
    ROUTE(GET, "/v1/schedules", "listSchedules", ROUTE_TENANT, on_list_schedules),
    ROUTE(POST, "/v1/schedules", "createSchedule", ROUTE_TENANT | ROUTE_JSON, on_create_schedule),
    ROUTE(GET, "/v1/schedules/{id}", "getSchedule", ROUTE_TENANT, on_get_schedule),
    ROUTE(PUT, "/v1/schedules/{id}", "putSchedule", ROUTE_TENANT | ROUTE_JSON, on_put_schedule),
    ROUTE(DELETE, "/v1/schedules/{id}", "deleteSchedule", ROUTE_TENANT, on_delete_schedule),
    ROUTE(POST, "/v1/schedules/{id}:pause", "pauseSchedule", ROUTE_TENANT, on_pause_schedule),
    ROUTE(POST, "/v1/schedules/{id}:resume", "resumeSchedule", ROUTE_TENANT, on_resume_schedule),
    ROUTE(POST, "/v1/schedules/{id}:run", "runSchedule", ROUTE_TENANT, on_run_schedule),
    ROUTE(GET, "/v1/tenants", "listTenants", 0, on_tenants),
    ROUTE(GET, "/v1/tenants/{id}", "getTenant", 0, on_tenant),
    ROUTE(GET, "/v1/admin", "getStatus", 0, on_admin_status),
    ROUTE(POST, "/v1/admin:pause", "pause", 0, on_pause),
    ROUTE(POST, "/v1/admin:resume", "resume", 0, on_resume),
    ROUTE(POST, "/v1/admin:drain", "drain", 0, on_drain),
    ROUTE(GET, "/healthz", "getHealth", ROUTE_OPEN, on_healthz),
    ROUTE(GET, "/readyz", "getReadiness", ROUTE_OPEN, on_readyz),
    ROUTE(GET, "/metrics", "getMetrics", ROUTE_METRICS, on_metrics),
    ROUTE(GET, "/openapi.json", "getDescription", ROUTE_OPEN, on_openapi),
};
#define N_ROUTES (sizeof routes / sizeof routes[0])

const struct route *route_at(size_t index)
{
    return index < N_ROUTES ? &routes[index] : NULL;
}

bool route_is(const void *pointer)
{
    for (size_t i = 0; i < N_ROUTES; i++)
        if (pointer == &routes[i])
            return true;
    return false;
}

/* The path decoded into `out`; an encoded slash becomes a byte that no pattern and no id has.  0, -1: broken,
 * -2: longer than any path that there is. */
static int decode(struct slice path, char out[ROUTE_PATH_MAX], size_t *ret_len)
{
    if (!memchr(path.data, '%', path.len)) {
        if (path.len > ROUTE_PATH_MAX)
            return -2;
        memcpy(out, path.data, path.len);
        *ret_len = path.len;
        return 0;
    }
    struct buf decoded = BUF_INIT;
    int result = percent_decode(path, false, &decoded);
    if (result == 0 && (!buf_ok(&decoded) || decoded.len > ROUTE_PATH_MAX))
        result = -2;
    size_t n = 0;
    for (size_t i = 0; result == 0 && i < path.len; i++) { /* once more, to tell a slash from an encoded one */
        bool encoded = path.data[i] == '%';
        out[n] = decoded.data[n];
        if (encoded && out[n] == '/')
            out[n] = '\1';
        n++;
        i += encoded ? 2 : 0;
    }
    buf_release(&decoded);
    *ret_len = n;
    return result;
}

static bool matches(const char *pattern, struct slice path, struct slice *ret_id)
{
    size_t at = 0;
    for (; *pattern; pattern++) {
        if (*pattern == '{') {
            size_t start = at;
            while (at < path.len && path.data[at] != '/' && path.data[at] != ':')
                at++;
            if (at == start)
                return false;
            *ret_id = slice_of(path.data + start, at - start);
            pattern = strchr(pattern, '}');
        } else if (at < path.len && path.data[at] == *pattern) {
            at++;
        } else {
            return false;
        }
    }
    return at == path.len;
}

enum route_result route_find(enum http_method method, struct slice path, struct route_match *ret)
{
    size_t len;
    ret->route = NULL;
    ret->id = (struct slice){0};
    int decoded = decode(path, ret->path, &len);
    if (decoded < 0)
        return decoded == -1 ? ROUTE_BROKEN : ROUTE_NOWHERE;
    bool somewhere = false;
    if (method == HTTP_HEAD)
        method = HTTP_GET;
    for (size_t i = 0; i < N_ROUTES; i++) {
        if (!matches(routes[i].pattern, slice_of(ret->path, len), &ret->id))
            continue;
        somewhere = true;
        if (routes[i].method == method) {
            ret->route = &routes[i];
            return ROUTE_FOUND;
        }
    }
    return somewhere ? ROUTE_OTHER_METHOD : ROUTE_NOWHERE;
}

void route_allow(struct slice path, char out[ROUTE_ALLOW_SIZE])
{
    char decoded[ROUTE_PATH_MAX];
    size_t len = 0;
    bool all = slice_eq_str(path, "*");
    bool known = !all && decode(path, decoded, &len) == 0;
    struct slice id;
    bool has[HTTP_OTHER + 1] = {false};
    for (size_t i = 0; i < N_ROUTES; i++)
        if (all || (known && matches(routes[i].pattern, slice_of(decoded, len), &id)))
            has[routes[i].method] = true;
    (void)snprintf(out, ROUTE_ALLOW_SIZE, "%s%s%s%sOPTIONS", has[HTTP_GET] ? "GET, HEAD, " : "",
                   has[HTTP_PUT] ? "PUT, " : "", has[HTTP_POST] ? "POST, " : "", has[HTTP_DELETE] ? "DELETE, " : "");
}
