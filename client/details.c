/* Further questions about one task, and what is done to it: attempts, context, log, retry, delete.
 * Thread: one at a time for each future. */
#include <stdio.h>

#include "client/internal.h"

/* One request about the task; `suffix` goes behind its path. */
static int ask(satchel_future *future, const char *method, const char *suffix, struct response *ret,
               satchel_error *error)
{
    char path[128];
    error_clear(error);
    if (!future)
        return error_set(error, SATCHEL_EINVAL, "future is NULL");
    (void)snprintf(path, sizeof path, "/v1/tasks/%s%s", future->id, suffix);
    struct request request = {.method = method, .path = path, .tenant = future_tenant(future)};
    return client_request(future->client, &request, ret, error);
}

int satchel_future_attempts(satchel_future *future, char **json, size_t *len, satchel_error *error)
{
    struct response response;
    if (!future || !json)
        return error_set(error, SATCHEL_EINVAL, "future and json are needed");
    int status = ask(future, "GET", "?attempts=true", &response, error);
    if (status == SATCHEL_OK)
        status = future_learn(future, &response, error);
    return status == SATCHEL_OK ? future_copy_out(buf_slice(&future->text), json, len, error) : status;
}

static int ask_whole(satchel_future *future, const char *suffix, char **json, size_t *len, satchel_error *error)
{
    struct response response;
    if (!future || !json)
        return error_set(error, SATCHEL_EINVAL, "future and json are needed");
    int status = ask(future, "GET", suffix, &response, error);
    if (status != SATCHEL_OK)
        return status;
    char *text = buf_take(&response.body, len);
    if (!text)
        return error_set(error, SATCHEL_EPROTOCOL, "%s: the answer is empty", future->client->url);
    *json = text;
    return SATCHEL_OK;
}

int satchel_future_context(satchel_future *future, char **json, size_t *len, satchel_error *error)
{
    return ask_whole(future, "/context", json, len, error);
}

int satchel_future_tree(satchel_future *future, char **json, size_t *len, satchel_error *error)
{
    return ask_whole(future, "/tree", json, len, error);
}

int satchel_future_retry(satchel_future *future, satchel_error *error)
{
    struct response response;
    int status = ask(future, "POST", ":retry", &response, error);
    return status == SATCHEL_OK ? future_learn(future, &response, error) : status;
}

int satchel_future_delete(satchel_future *future, satchel_error *error)
{
    struct response response;
    int status = ask(future, "DELETE", "", &response, error);
    if (status == SATCHEL_OK)
        response_release(&response);
    return status;
}

int satchel_future_log(satchel_future *future, int (*on_text)(const char *text, size_t len, void *arg), void *arg,
                       satchel_error *error)
{
    char path[96];
    struct response response;
    error_clear(error);
    if (!future || !on_text)
        return error_set(error, SATCHEL_EINVAL, "future and on_text are needed");
    (void)snprintf(path, sizeof path, "/v1/tasks/%s/log", future->id);
    struct request request = {.method = "GET",
                              .path = path,
                              .tenant = future_tenant(future),
                              .accept = "text/plain, application/problem+json;q=0.9",
                              .limit_ms = -1,
                              .idle_ms = future->client->timeout_ms,
                              .cancelable = true,
                              .on_data = on_text,
                              .on_data_arg = arg};
    int status = client_request(future->client, &request, &response, error);
    if (status != SATCHEL_OK)
        return status;
    status = response.stopped;
    response_release(&response);
    return status;
}
