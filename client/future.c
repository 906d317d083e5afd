/* Futures: a task that was submitted, as last heard of.  Thread: one at a time. */
#include <limits.h>
#include <poll.h>
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
#define RETRY_AFTER_MAX_S 10
#define ANSWER_MS 2000 /* how much longer than it is held on purpose an answer may take */
#define FAILURES_MAX 8

int64_t client_now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool is_final(const char *state)
{
    static const char *const final[] = {"succeeded", "failed", "canceled", "expired"};
    for (size_t i = 0; i < sizeof final / sizeof final[0]; i++)
        if (strcmp(state, final[i]) == 0)
            return true;
    return false;
}

int future_learn(satchel_future *future, struct response *response, satchel_error *error)
{
    char why[JSON_IN_ERROR_SIZE];
    struct task_id parsed;
    json_t *task = json_in_load(buf_slice(&response->body), 64, why);
    const char *id = json_string_value(json_object_get(task, "id"));
    const char *state = json_string_value(json_object_get(task, "state"));
    const char *fault = !task ? why : !id || !state ? "it has no id or state" : NULL;
    if (!fault && !task_id_parse(id, strlen(id), &parsed))
        fault = "its id is none";
    if (!fault && *future->id && strcmp(id, future->id) != 0)
        fault = "it is about another task";
    if (fault) {
        int status =
            error_set(error, SATCHEL_EPROTOCOL, "%s: the answer is not the task: %s", future->client->url, fault);
        json_decref(task);
        response_release(response);
        return status;
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
        return error_out_of_memory(error);
    }
    int status = future_learn(future, response, error);
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
        return error_out_of_memory(error);
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
    return future ? future->id : "";
}

const char *satchel_future_state(const satchel_future *future)
{
    const char *state = future ? json_string_value(json_object_get(future->task, "state")) : NULL;
    return state ? state : "";
}

bool satchel_future_done(const satchel_future *future)
{
    return is_final(satchel_future_state(future));
}

const char *future_tenant(const satchel_future *future)
{
    return json_string_value(json_object_get(future->task, "tenant"));
}

/* GET of the task. */
static int ask(satchel_future *future, satchel_error *error)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/v1/tasks/%s", future->id);
    struct request request = {.method = "GET", .path = path, .tenant = future_tenant(future)};
    struct response response;
    int status = client_request(future->client, &request, &response, error);
    return status == SATCHEL_OK ? future_learn(future, &response, error) : status;
}

/* The same, answered when it is finished or after hold_ms. */
static int ask_for_end(satchel_future *future, int64_t hold_ms, int64_t answer_ms, satchel_error *error)
{
    char path[96];
    (void)snprintf(path, sizeof path, "/v1/tasks/%s?wait=%lldms", future->id, (long long)hold_ms);
    struct request request = {.method = "GET",
                              .path = path,
                              .tenant = future_tenant(future),
                              .limit_ms = hold_ms + answer_ms,
                              .cancelable = true};
    struct response response;
    int status = client_request(future->client, &request, &response, error);
    return status == SATCHEL_OK ? future_learn(future, &response, error) : status;
}

int satchel_future_poll(satchel_future *future, satchel_error *error)
{
    error_clear(error);
    if (!future)
        return error_set(error, SATCHEL_EINVAL, "future is NULL");
    if (satchel_future_done(future))
        return SATCHEL_OK;
    int status = ask(future, error);
    if (status != SATCHEL_OK)
        return status;
    return satchel_future_done(future) ? SATCHEL_OK : SATCHEL_PENDING;
}

/* ---- waiting ---- */

struct patience patience_for(int64_t timeout_ms)
{
    int64_t now = client_now_ms();
    bool endless = timeout_ms < 0 || timeout_ms > INT64_MAX - now;
    return (struct patience){.until = endless ? INT64_MAX : now + timeout_ms, .pause_ms = RECONNECT_MIN_MS};
}

void patience_renew(struct patience *w)
{
    w->pause_ms = RECONNECT_MIN_MS;
    w->failures = 0;
}

int64_t patience_left(const struct patience *w)
{
    int64_t left = w->until == INT64_MAX ? INT64_MAX : w->until - client_now_ms();
    return left > 0 ? left : 0;
}

bool patience_allows(struct patience *w, const satchel_future *future, int status)
{
    switch (status) {
    case SATCHEL_EUNREACHABLE: return future->task != NULL; /* else it may never have been there */
    case SATCHEL_EAGAIN: return true;
    case SATCHEL_ESERVER: return ++w->failures < FAILURES_MAX;
    default: return false;
    }
}

void patience_rest(struct patience *w, int retry_after_s)
{
    int64_t retry_after_ms =
        retry_after_s < RETRY_AFTER_MAX_S ? retry_after_s * INT64_C(1000) : RETRY_AFTER_MAX_S * INT64_C(1000);
    int64_t ms = retry_after_ms > w->pause_ms ? retry_after_ms : w->pause_ms, left = patience_left(w);
    struct pollfd fired = {.fd = satchel_cancel_fd(satchel_current_cancel()), .events = POLLIN};
    struct timespec time = {.tv_sec = (ms < left ? ms : left) / 1000,
                            .tv_nsec = (ms < left ? ms : left) % 1000 * 1000000};
    (void)ppoll(&fired, 1, &time, NULL); /* cut short by a signal: one more question */
    w->pause_ms = w->pause_ms * 2 < RECONNECT_MAX_MS ? w->pause_ms * 2 : RECONNECT_MAX_MS;
}

static int wait_for_end(satchel_future *future, struct patience *w, satchel_error *error)
{
    satchel_error local = SATCHEL_ERROR_INIT;
    satchel_error *said = error ? error : &local;
    for (bool asked = false; !satchel_future_done(future); asked = true) {
        int64_t left = patience_left(w);
        if (left == 0 && asked)
            return error_set(error, SATCHEL_ETIMEDOUT, "task %s is still %s", future->id, satchel_future_state(future));
        bool last = left <= LONG_POLL_MS; /* the caller's time ends with this question */
        int64_t hold = last ? left : LONG_POLL_MS, until = client_now_ms() + hold;
        int status = ask_for_end(future, hold, last ? ANSWER_MS : future->client->timeout_ms, said);
        if (status == SATCHEL_OK) {
            patience_renew(w);
            if (!satchel_future_done(future) && client_now_ms() < until)
                patience_rest(w, 0); /* it was not held: not every proxy lets it be */
        } else if (!patience_allows(w, future, status) || patience_left(w) == 0) {
            return status;
        } else {
            patience_rest(w, said->retry_after_s);
        }
    }
    error_clear(error);
    return SATCHEL_OK;
}

int satchel_future_wait(satchel_future *future, int64_t timeout_ms, satchel_error *error)
{
    struct patience w = patience_for(timeout_ms);
    error_clear(error);
    if (!future)
        return error_set(error, SATCHEL_EINVAL, "future is NULL");
    return wait_for_end(future, &w, error);
}

/* ---- what became of it ---- */

int future_copy_out(struct slice text, char **json, size_t *len, satchel_error *error)
{
    char *copy = malloc(text.len + 1);
    if (!copy)
        return error_out_of_memory(error);
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
    if (!future || !json)
        return error_set(error, SATCHEL_EINVAL, "future and json are needed");
    if (!satchel_future_done(future))
        return SATCHEL_PENDING;
    if (strcmp(satchel_future_state(future), "succeeded") != 0)
        return task_error(future, error);
    struct json_member members[64];
    size_t n = json_in_members(buf_slice(&future->text), members, 64);
    for (size_t i = 0; i < n && i < 64; i++)
        if (slice_eq_str(members[i].name, "result"))
            return future_copy_out(members[i].value, json, len, error);
    return future_copy_out(SLICE_LITERAL("null"), json, len, error);
}

int satchel_future_exit_code(const satchel_future *future, int *exit_code)
{
    const json_t *code = future ? json_object_get(future->task, "exit_code") : NULL;
    double value = json_number_value(code);
    if (!json_is_number(code) || !exit_code || !(value >= INT_MIN && value <= INT_MAX) || value != (int)value)
        return SATCHEL_UNSET;
    *exit_code = (int)value;
    return SATCHEL_OK;
}

int satchel_future_json(satchel_future *future, char **json, size_t *len, satchel_error *error)
{
    error_clear(error);
    if (!future || !json)
        return error_set(error, SATCHEL_EINVAL, "future and json are needed");
    if (!future->task) {
        int status = ask(future, error);
        if (status != SATCHEL_OK)
            return status;
    }
    return future_copy_out(buf_slice(&future->text), json, len, error);
}

static int cancel(satchel_future *future, const char *query, satchel_error *error)
{
    char path[128];
    error_clear(error);
    if (!future)
        return error_set(error, SATCHEL_EINVAL, "future is NULL");
    (void)snprintf(path, sizeof path, "/v1/tasks/%s:cancel%s", future->id, query);
    struct request request = {.method = "POST", .path = path, .tenant = future_tenant(future)};
    struct response response;
    int status = client_request(future->client, &request, &response, error);
    return status == SATCHEL_OK ? future_learn(future, &response, error) : status;
}

int satchel_future_cancel(satchel_future *future, satchel_error *error)
{
    return cancel(future, "", error);
}

int satchel_future_cancel_tree(satchel_future *future, satchel_error *error)
{
    return cancel(future, "?cascade=true", error);
}
