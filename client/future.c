/* Futures: a task that was submitted, as last heard of.  Thread: one at a time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/internal.h"
#include "proto/id.h"
#include "proto/json_in.h"

#define LONG_POLL_MS 60000
#define RECONNECT_MIN_MS 50
#define RECONNECT_MAX_MS 2000

struct satchel_future {
    satchel_client *client; /* a reference */
    char id[TASK_ID_TEXT_SIZE];
    json_t *task;    /* NULL: the daemon was not asked yet */
    struct buf text; /* the same as bytes: numbers as they came */
};

static bool is_final(const char *state)
{
    static const char *const final[] = {"succeeded", "failed", "canceled", "expired"};
    for (size_t i = 0; i < sizeof final / sizeof final[0]; i++)
        if (strcmp(state, final[i]) == 0)
            return true;
    return false;
}

/* Takes the response's body over as what is known of the task. */
static int learn(satchel_future *future, struct response *response, satchel_error *error)
{
    char why[JSON_IN_ERROR_SIZE];
    json_t *task = json_in_load(buf_slice(&response->body), 64, why);
    const char *id = json_string_value(json_object_get(task, "id"));
    const char *state = json_string_value(json_object_get(task, "state"));
    if (!id || !state || strlen(id) >= sizeof future->id) {
        json_decref(task);
        response_release(response);
        return error_set(error, SATCHEL_EPROTOCOL, "the answer is not a task: %s", task ? "no id or state" : why);
    }
    memcpy(future->id, id, strlen(id) + 1);
    json_decref(future->task);
    buf_release(&future->text);
    future->task = task;
    future->text = response->body;
    return SATCHEL_OK;
}

static satchel_future *future_new(satchel_client *client)
{
    satchel_future *future = calloc(1, sizeof *future);
    if (future)
        future->client = satchel_client_ref(client);
    return future;
}

int future_from_response(satchel_client *client, struct response *response, satchel_future **out, satchel_error *error)
{
    satchel_future *future = future_new(client);
    if (!future) {
        response_release(response);
        return error_set(error, SATCHEL_ENOMEM, "out of memory");
    }
    int status = learn(future, response, error);
    if (status != SATCHEL_OK) {
        satchel_future_free(future);
        return status;
    }
    *out = future;
    return SATCHEL_OK;
}

int satchel_future_open(satchel_client *client, const char *id, satchel_future **out, satchel_error *error)
{
    struct task_id parsed;
    error_clear(error);
    if (!client || !id || !out)
        return error_set(error, SATCHEL_EINVAL, "client, id and out are needed");
    if (!task_id_parse(id, strlen(id), &parsed))
        return error_set(error, SATCHEL_EGRAMMAR, "%.64s is not a task id", id);
    satchel_future *future = future_new(client);
    if (!future)
        return error_set(error, SATCHEL_ENOMEM, "out of memory");
    task_id_format(parsed, future->id);
    *out = future;
    return SATCHEL_OK;
}

void satchel_future_free(satchel_future *future)
{
    if (!future)
        return;
    json_decref(future->task);
    buf_release(&future->text);
    satchel_client_unref(future->client);
    free(future);
}

const char *satchel_future_id(const satchel_future *future)
{
    return future->id;
}

const char *satchel_future_state(const satchel_future *future)
{
    const char *state = json_string_value(json_object_get(future->task, "state"));
    return state ? state : "";
}

bool satchel_future_done(const satchel_future *future)
{
    return is_final(satchel_future_state(future));
}

/* The tenant it was submitted for; NULL while the daemon has not been asked. */
static const char *tenant_of(const satchel_future *future)
{
    return json_string_value(json_object_get(future->task, "tenant"));
}

/* GET of the task, held for up to hold_ms while it is not finished. */
static int ask(satchel_future *future, int64_t hold_ms, satchel_error *error)
{
    char path[128];
    int n = snprintf(path, sizeof path, "/v1/tasks/%s", future->id);
    if (hold_ms > 0)
        (void)snprintf(path + n, sizeof path - (size_t)n, "?wait=%lldms", (long long)hold_ms);
    struct request request = {.method = "GET", .path = path, .extra_ms = hold_ms, .tenant = tenant_of(future)};
    struct response response;
    int status = client_request(future->client, &request, &response, error);
    return status == SATCHEL_OK ? learn(future, &response, error) : status;
}

int satchel_future_poll(satchel_future *future, satchel_error *error)
{
    error_clear(error);
    if (satchel_future_done(future))
        return SATCHEL_OK;
    int status = ask(future, 0, error);
    if (status != SATCHEL_OK)
        return status;
    return satchel_future_done(future) ? SATCHEL_OK : SATCHEL_PENDING;
}

static void pause_ms(int64_t ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) != 0) {
    }
}

static bool may_pass(int status)
{
    return status == SATCHEL_EUNREACHABLE || status == SATCHEL_EAGAIN || status == SATCHEL_ESERVER;
}

int satchel_future_wait(satchel_future *future, int64_t timeout_ms, satchel_error *error)
{
    int64_t until = timeout_ms < 0 ? INT64_MAX : client_now_ms() + timeout_ms;
    int64_t reconnect = RECONNECT_MIN_MS;
    error_clear(error);
    while (!satchel_future_done(future)) {
        int64_t left = until - client_now_ms();
        if (left <= 0 && future->task)
            return error_set(error, SATCHEL_ETIMEDOUT, "task %s is still %s", future->id, satchel_future_state(future));
        int status = ask(future, left < LONG_POLL_MS ? (left > 0 ? left : 0) : LONG_POLL_MS, error);
        if (status == SATCHEL_OK) {
            reconnect = RECONNECT_MIN_MS;
            continue;
        }
        left = until - client_now_ms();
        if (!may_pass(status) || left <= 0) /* not a restart, or no time to wait for its end */
            return status;
        pause_ms(reconnect < left ? reconnect : left);
        reconnect = reconnect * 2 < RECONNECT_MAX_MS ? reconnect * 2 : RECONNECT_MAX_MS;
    }
    error_clear(error);
    return SATCHEL_OK;
}

static int copy_out(struct slice text, char **json, size_t *len, satchel_error *error)
{
    char *copy = malloc(text.len + 1);
    if (!copy)
        return error_set(error, SATCHEL_ENOMEM, "out of memory");
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    *json = copy;
    if (len)
        *len = text.len;
    return SATCHEL_OK;
}

static int task_error(const satchel_future *future, satchel_error *error)
{
    const json_t *why = json_object_get(future->task, "error");
    const char *type = json_string_value(json_object_get(why, "type"));
    const char *message = json_string_value(json_object_get(why, "message"));
    const char *state = satchel_future_state(future);
    (void)error_set(error, SATCHEL_ETASK, "%s", message ? message : "");
    if (error) {
        (void)snprintf(error->type, sizeof error->type, "%s", type ? type : state);
        (void)snprintf(error->title, sizeof error->title, "The task %s",
                       strcmp(state, "failed") == 0    ? "failed"
                       : strcmp(state, "expired") == 0 ? "expired"
                                                       : "was canceled");
    }
    return SATCHEL_ETASK;
}

int satchel_future_result(satchel_future *future, char **json, size_t *len, satchel_error *error)
{
    error_clear(error);
    if (!json)
        return error_set(error, SATCHEL_EINVAL, "json is NULL");
    if (!satchel_future_done(future))
        return SATCHEL_PENDING;
    if (strcmp(satchel_future_state(future), "succeeded") != 0)
        return task_error(future, error);
    struct json_member members[64];
    size_t n = json_in_members(buf_slice(&future->text), members, 64);
    for (size_t i = 0; i < n && i < 64; i++)
        if (slice_eq_str(members[i].name, "result"))
            return copy_out(members[i].value, json, len, error);
    return copy_out(SLICE_LITERAL("null"), json, len, error);
}

int satchel_future_exit_code(const satchel_future *future, int *exit_code)
{
    const json_t *code = json_object_get(future->task, "exit_code");
    if (!json_is_number(code) || !exit_code)
        return SATCHEL_UNSET;
    *exit_code = (int)json_number_value(code);
    return SATCHEL_OK;
}

int satchel_future_json(satchel_future *future, char **json, size_t *len, satchel_error *error)
{
    error_clear(error);
    if (!json)
        return error_set(error, SATCHEL_EINVAL, "json is NULL");
    if (!future->task) {
        int status = ask(future, 0, error);
        if (status != SATCHEL_OK)
            return status;
    }
    return copy_out(buf_slice(&future->text), json, len, error);
}

int satchel_future_cancel(satchel_future *future, satchel_error *error)
{
    char path[128];
    error_clear(error);
    (void)snprintf(path, sizeof path, "/v1/tasks/%s:cancel", future->id);
    struct request request = {.method = "POST", .path = path, .tenant = tenant_of(future)};
    struct response response;
    int status = client_request(future->client, &request, &response, error);
    return status == SATCHEL_OK ? learn(future, &response, error) : status;
}
