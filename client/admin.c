/* What administrators ask.  Thread: any. */
#include "client/internal.h"

static int ask(satchel_client *client, const char *method, struct buf *path, char **json, size_t *len,
               satchel_error *error)
{
    struct response response;
    int status = buf_ok(path) ? SATCHEL_OK : error_out_of_memory(error);
    const struct request request = {.method = method, .path = path->data};
    if (status == SATCHEL_OK)
        status = client_request(client, &request, &response, error);
    buf_release(path);
    if (status != SATCHEL_OK)
        return status;
    if (!json) {
        response_release(&response);
        return SATCHEL_OK;
    }
    *json = buf_take(&response.body, len);
    return *json ? SATCHEL_OK : error_set(error, SATCHEL_EPROTOCOL, "the answer is empty");
}

int satchel_admin_status(satchel_client *client, char **json, size_t *len, satchel_error *error)
{
    struct buf path = BUF_INIT;
    error_clear(error);
    if (!client)
        return error_set(error, SATCHEL_EINVAL, "client is NULL");
    buf_append_str(&path, "/v1/admin");
    return ask(client, "GET", &path, json, len, error);
}

int satchel_admin_hold(satchel_client *client, satchel_admin_order order, const char *tenant, const char *task,
                       char **json, size_t *len, satchel_error *error)
{
    static const char *const orders[] = {
        [SATCHEL_ADMIN_PAUSE] = "pause", [SATCHEL_ADMIN_DRAIN] = "drain", [SATCHEL_ADMIN_RESUME] = "resume"};
    struct buf path = BUF_INIT;
    error_clear(error);
    if (!client)
        return error_set(error, SATCHEL_EINVAL, "client is NULL");
    if ((unsigned)order >= sizeof orders / sizeof orders[0])
        return error_set(error, SATCHEL_EINVAL, "order is not one of SATCHEL_ADMIN_PAUSE, _DRAIN and _RESUME");
    if (tenant && task)
        return error_set(error, SATCHEL_EINVAL, "name a tenant or a task type, not both");
    buf_append_str(&path, "/v1/admin:");
    buf_append_str(&path, orders[order]);
    if (tenant || task) {
        buf_append_str(&path, tenant ? "?tenant=" : "?task=");
        append_encoded(&path, tenant ? tenant : task);
    }
    return ask(client, "POST", &path, json, len, error);
}

int satchel_tenant_get(satchel_client *client, const char *name, char **json, size_t *len, satchel_error *error)
{
    struct buf path = BUF_INIT;
    error_clear(error);
    if (!client || !name || !*name)
        return error_set(error, SATCHEL_EINVAL, client ? "a tenant's name is needed" : "client is NULL");
    buf_append_str(&path, "/v1/tenants/");
    append_encoded(&path, name);
    return ask(client, "GET", &path, json, len, error);
}

int satchel_tenant_list(satchel_client *client, const char *cursor, unsigned limit, char **json, size_t *len,
                        satchel_error *error)
{
    struct buf path = BUF_INIT;
    error_clear(error);
    if (!client)
        return error_set(error, SATCHEL_EINVAL, "client is NULL");
    buf_append_str(&path, "/v1/tenants");
    if (limit)
        buf_printf(&path, "?limit=%u", limit);
    if (cursor && *cursor) {
        buf_append_str(&path, limit ? "&cursor=" : "?cursor=");
        append_encoded(&path, cursor);
    }
    return ask(client, "GET", &path, json, len, error);
}
