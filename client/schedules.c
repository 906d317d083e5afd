/* Schedules.  Thread: any. */
#include <stdio.h>

#include "client/internal.h"

/* One request; `action` goes behind the name.  `definition` NULL: no body. */
static int ask(satchel_client *client, const char *method, const char *name, const char *action, const char *definition,
               struct response *ret, satchel_error *error)
{
    struct buf path = BUF_INIT;
    error_clear(error);
    if (!client)
        return error_set(error, SATCHEL_EINVAL, "client is NULL");
    buf_append_str(&path, "/v1/schedules");
    if (name) {
        buf_append_char(&path, '/');
        append_encoded(&path, name);
        buf_append_str(&path, action);
    }
    if (!buf_ok(&path)) {
        buf_release(&path);
        return error_out_of_memory(error);
    }
    struct request request = {.method = method,
                              .path = path.data,
                              .body = definition ? slice_str(definition) : (struct slice){0},
                              .tenant = NULL};
    struct curl_slist *tenant = NULL;
    if (definition && satchel_tenant()) { /* a request with a body says its tenant itself */
        struct buf line = BUF_INIT;
        buf_append_str(&line, satchel_var_header(satchel_known_var(SATCHEL_TENANT)));
        buf_append_str(&line, ": ");
        buf_append_str(&line, satchel_tenant());
        tenant = buf_ok(&line) ? client->curl->slist_append(NULL, line.data) : NULL;
        buf_release(&line);
        if (!tenant) {
            buf_release(&path);
            return error_out_of_memory(error);
        }
        request.headers = tenant;
    }
    int status = client_request(client, &request, ret, error);
    client->curl->slist_free_all(tenant);
    buf_release(&path);
    return status;
}

static int take_text(struct response *response, char **json, size_t *len, satchel_error *error)
{
    if (!json) {
        response_release(response);
        return SATCHEL_OK;
    }
    *json = buf_take(&response->body, len);
    return *json ? SATCHEL_OK : error_set(error, SATCHEL_EPROTOCOL, "the answer is empty");
}

int satchel_schedule_list(satchel_client *client, char **json, size_t *len, satchel_error *error)
{
    struct response response;
    int status = ask(client, "GET", NULL, "", NULL, &response, error);
    return status == SATCHEL_OK ? take_text(&response, json, len, error) : status;
}

static int check_name(const char *name, satchel_error *error)
{
    error_clear(error);
    return name && *name ? SATCHEL_OK : error_set(error, SATCHEL_EINVAL, "a schedule's name is needed");
}

int satchel_schedule_get(satchel_client *client, const char *name, char **json, size_t *len, satchel_error *error)
{
    struct response response;
    int status = check_name(name, error);
    if (status == SATCHEL_OK)
        status = ask(client, "GET", name, "", NULL, &response, error);
    return status == SATCHEL_OK ? take_text(&response, json, len, error) : status;
}

int satchel_schedule_next(satchel_client *client, const char *name, unsigned n, char **json, size_t *len,
                          satchel_error *error)
{
    struct response response;
    char query[32];
    int status = check_name(name, error);
    (void)snprintf(query, sizeof query, "?next=%u", n);
    if (status == SATCHEL_OK)
        status = ask(client, "GET", name, query, NULL, &response, error);
    return status == SATCHEL_OK ? take_text(&response, json, len, error) : status;
}

int satchel_schedule_put(satchel_client *client, const char *name, const char *definition, char **json, size_t *len,
                         satchel_error *error)
{
    struct response response;
    int status = check_name(name, error);
    if (status == SATCHEL_OK && !definition)
        status = error_set(error, SATCHEL_EINVAL, "a definition is needed");
    if (status == SATCHEL_OK)
        status = ask(client, "PUT", name, "", definition, &response, error);
    return status == SATCHEL_OK ? take_text(&response, json, len, error) : status;
}

int satchel_schedule_delete(satchel_client *client, const char *name, satchel_error *error)
{
    struct response response;
    int status = check_name(name, error);
    if (status == SATCHEL_OK)
        status = ask(client, "DELETE", name, "", NULL, &response, error);
    return status == SATCHEL_OK ? take_text(&response, NULL, NULL, error) : status;
}

int satchel_schedule_pause(satchel_client *client, const char *name, bool paused, satchel_error *error)
{
    struct response response;
    int status = check_name(name, error);
    if (status == SATCHEL_OK)
        status = ask(client, "POST", name, paused ? ":pause" : ":resume", NULL, &response, error);
    return status == SATCHEL_OK ? take_text(&response, NULL, NULL, error) : status;
}

int satchel_schedule_run(satchel_client *client, const char *name, satchel_future **out, satchel_error *error)
{
    struct response response;
    int status = check_name(name, error);
    if (status == SATCHEL_OK && !out)
        status = error_set(error, SATCHEL_EINVAL, "out is NULL");
    if (status == SATCHEL_OK)
        status = ask(client, "POST", name, ":run", NULL, &response, error);
    return status == SATCHEL_OK ? future_from_response(client, &response, out, error) : status;
}
