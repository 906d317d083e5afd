/* One canary: a task that is submitted in its tenant's context, and what was seen at the end of its way.
 * Thread: any of the doctor's, in the tenant's context; each canary is touched by one thread a phase. */
#include <stdlib.h>
#include <string.h>

#include "client/cli/doctor.h"
#include "proto/json_in.h"

#define CANARIES_OFF "the daemon has no canaries; set canaries = \"on\" in satcheld.conf and restart it"
#define CALLBACKS_ELSEWHERE                                                                                            \
    "the daemon's callbacks may not go to this machine; name it in callback_allow of satcheld.conf"
#define RETAIN "10m" /* what could not be deleted goes away by itself */
#define CLEAN_MS 3000
#define LOOK_MS 300

static const char *const task_types[N_ROUTES] = {
#define ROUTE(name, shown, task, canary) task,
    DOCTOR_ROUTES(ROUTE)
#undef ROUTE
};

static const bool needs_canaries[N_ROUTES] = {
#define ROUTE(name, shown, task, canary) canary,
    DOCTOR_ROUTES(ROUTE)
#undef ROUTE
};

static struct canary *canary_at(const struct doctor *doctor, unsigned tenant, enum route route)
{
    return &doctor->canaries[(size_t)tenant * N_ROUTES + route];
}

/* The first one counts; from then on nothing more is asked. */
static void give_up(struct doctor *doctor, const satchel_error *error)
{
    (void)pthread_mutex_lock(&doctor->lock);
    if (!doctor->failed)
        doctor->failure = *error;
    doctor->failed = true;
    (void)pthread_mutex_unlock(&doctor->lock);
}

static bool has_failed(struct doctor *doctor)
{
    (void)pthread_mutex_lock(&doctor->lock);
    bool failed = doctor->failed;
    (void)pthread_mutex_unlock(&doctor->lock);
    return failed;
}

static void out_of_memory(struct doctor *doctor)
{
    satchel_error error = SATCHEL_ERROR_INIT;
    error.status = SATCHEL_ENOMEM;
    (void)snprintf(error.detail, sizeof error.detail, "out of memory");
    give_up(doctor, &error);
}

static void is_wrong(struct doctor *doctor, struct canary *canary, const char *what)
{
    if (!mismatch_add(&canary->wrong, NULL, NULL, what))
        out_of_memory(doctor);
}

/* ---- submitting ---- */

/* Puts it off, cancels it and runs it again by hand.  False: *ret_error. */
static bool retry_by_hand(struct canary *canary, satchel_error *ret_error)
{
    return satchel_future_cancel(canary->future, ret_error) == SATCHEL_OK &&
           satchel_future_retry(canary->future, ret_error) == SATCHEL_OK;
}

void canary_submit(struct doctor *doctor, unsigned tenant, enum route route)
{
    struct canary *canary = canary_at(doctor, tenant, route);
    char url[128], args[160] = "", delay[32];
    satchel_error error = SATCHEL_ERROR_INIT;
    satchel_submit_options options = {.struct_size = sizeof options, .retain = RETAIN};
    if (has_failed(doctor))
        return;
    stub_url(&doctor->stub, route, tenant, url, sizeof url);
    if (route == ROUTE_BY_HAND) {
        (void)snprintf(delay, sizeof delay, "%lldms", (long long)doctor->limit_ms / 2);
        options.delay = delay;
    } else if (route == ROUTE_SUB_TASK) {
        (void)snprintf(args, sizeof args, "{\"task\":\"satchel.context\"}");
    } else if (route == ROUTE_HTTP || route == ROUTE_HTTP_RETRY) {
        (void)snprintf(args, sizeof args, "{\"url\":\"%s\"}", url);
    } else if (route == ROUTE_CALLBACK) {
        options.callback = url;
    }
    if (route == ROUTE_HTTP_RETRY) {
        options.max_attempts = 3;
        options.backoff_json = "{\"type\":\"fixed\",\"base\":\"10ms\",\"jitter\":false}";
    }
    int status =
        satchel_submit(doctor->client, task_types[route], *args ? args : NULL, &options, &canary->future, &error);
    if (status == SATCHEL_OK && route == ROUTE_BY_HAND && !retry_by_hand(canary, &error))
        status = error.status;
    if (needs_canaries[route] && strcmp(error.type, "urn:satchel:problem:unknown-task") == 0)
        canary->skipped = CANARIES_OFF;
    else if (status != SATCHEL_OK)
        give_up(doctor, &error);
}

/* ---- checking ---- */

/* The result of a task that has ended well; NULL: it did not, which is noted. */
static char *result_of(struct doctor *doctor, struct canary *canary, satchel_future *future, size_t *len)
{
    satchel_error error = SATCHEL_ERROR_INIT;
    char *json, text[sizeof error.type + sizeof error.title + sizeof error.detail + 8];
    int status = satchel_future_wait(future, doctor_left(doctor), &error);
    if (status == SATCHEL_OK)
        status = satchel_future_result(future, &json, len, &error);
    if (status == SATCHEL_OK)
        return json;
    if (status == SATCHEL_ETASK)
        (void)snprintf(text, sizeof text, "%s (%s): %s", error.title, error.type, error.detail);
    else if (status == SATCHEL_ETIMEDOUT)
        (void)snprintf(text, sizeof text, "%s when the time was over", error.detail);
    if (status == SATCHEL_ETASK || status == SATCHEL_ETIMEDOUT)
        is_wrong(doctor, canary, text);
    else
        give_up(doctor, &error);
    return NULL;
}

/* The only id of satchel.spawn's result. */
static satchel_future *sub_task_of(struct doctor *doctor, struct canary *canary, const char *json, size_t len)
{
    char why[JSON_IN_ERROR_SIZE];
    satchel_error error = SATCHEL_ERROR_INIT;
    satchel_future *child = NULL;
    json_t *ids = json_in_load(slice_of(json, len), 4, why);
    const char *id = json_string_value(json_array_get(ids, 0));
    if (!id || satchel_future_open(doctor->client, id, &child, &error) != SATCHEL_OK)
        is_wrong(doctor, canary, "the result is not the id of a sub-task");
    json_decref(ids);
    return child;
}

static void compare_result(struct doctor *doctor, unsigned tenant, enum route route, const char *json, size_t len)
{
    struct canary *canary = canary_at(doctor, tenant, route);
    struct seen seen = {{NULL}};
    bool told = route == ROUTE_COMMAND ? seen_by_command(json, len, &seen) : seen_by_handler(json, len, &seen);
    if (!told)
        is_wrong(doctor, canary, "the result does not tell what was seen");
    else if (!sent_compare(&doctor->sent[tenant], &seen, &canary->wrong))
        out_of_memory(doctor);
    seen_release(&seen);
}

static void compare_head(struct doctor *doctor, unsigned tenant, enum route route, char *head)
{
    struct canary *canary = canary_at(doctor, tenant, route);
    struct seen seen = {{NULL}};
    seen_by_server(head, &seen);
    if (!sent_compare(&doctor->sent[tenant], &seen, &canary->wrong))
        out_of_memory(doctor);
    seen_release(&seen);
    free(head);
}

/* ---- the callback's task ---- */

/* The sub-tasks of this canary as a list of task objects; NULL: they cannot be told. */
static json_t *children_of(struct doctor *doctor, const struct canary *canary)
{
    satchel_list_options options = {.struct_size = sizeof options, .parent = satchel_future_id(canary->future)};
    satchel_error error = SATCHEL_ERROR_INIT;
    char *page, why[JSON_IN_ERROR_SIZE];
    size_t len;
    if (satchel_list(doctor->client, &options, &page, &len, NULL, &error) != SATCHEL_OK)
        return NULL;
    json_t *answer = json_in_load(slice_of(page, len), 64, why);
    satchel_free(page);
    json_t *tasks = json_incref(json_object_get(answer, "tasks"));
    json_decref(answer);
    return tasks;
}

/* Whether the callback has been given up, which is noted. */
static bool callback_has_failed(struct doctor *doctor, struct canary *canary)
{
    json_t *tasks = children_of(doctor, canary);
    const json_t *task = json_array_get(tasks, 0);
    const char *state = json_string_value(json_object_get(task, "state"));
    const char *why = json_string_value(json_object_get(json_object_get(task, "error"), "message"));
    bool failed = state && (strcmp(state, "failed") == 0 || strcmp(state, "expired") == 0);
    if (failed && why && strstr(why, "callback_allow"))
        canary->skipped = CALLBACKS_ELSEWHERE;
    else if (failed)
        is_wrong(doctor, canary, why ? why : "the callback was not delivered");
    json_decref(tasks);
    return failed;
}

static void check_callback(struct doctor *doctor, unsigned tenant)
{
    struct canary *canary = canary_at(doctor, tenant, ROUTE_CALLBACK);
    char *head;
    int64_t left;
    while ((left = doctor_left(doctor)) > 0 && !has_failed(doctor)) {
        head = stub_head(&doctor->stub, ROUTE_CALLBACK, tenant, left < LOOK_MS ? left : LOOK_MS);
        if (head)
            compare_head(doctor, tenant, ROUTE_CALLBACK, head);
        if (head || callback_has_failed(doctor, canary))
            return;
    }
    is_wrong(doctor, canary, "no callback came before the time was over");
}

void canary_check(struct doctor *doctor, unsigned tenant, enum route route)
{
    struct canary *canary = canary_at(doctor, tenant, route);
    size_t len;
    if (!canary->future || canary->skipped || has_failed(doctor))
        return;
    char *json = result_of(doctor, canary, canary->future, &len);
    satchel_future *child = NULL;
    if (json && route == ROUTE_SUB_TASK) {
        child = sub_task_of(doctor, canary, json, len);
        satchel_free(json);
        json = child ? result_of(doctor, canary, child, &len) : NULL;
    }
    if (json && route == ROUTE_CALLBACK) {
        check_callback(doctor, tenant);
    } else if (json && (route == ROUTE_HTTP || route == ROUTE_HTTP_RETRY)) {
        char *head = stub_head(&doctor->stub, route, tenant, 0);
        if (head)
            compare_head(doctor, tenant, route, head);
        else
            is_wrong(doctor, canary, "the task succeeded, but the server was never called");
    } else if (json) {
        compare_result(doctor, tenant, route, json, len);
    }
    satchel_future_free(child);
    satchel_free(json);
}

/* ---- cleaning up ---- */

static void delete_one(struct doctor *doctor, satchel_future *future)
{
    satchel_error error = SATCHEL_ERROR_INIT;
    int status = satchel_future_wait(future, 0, &error);
    if (status == SATCHEL_ETIMEDOUT && satchel_future_cancel(future, &error) == SATCHEL_OK)
        status = satchel_future_wait(future, CLEAN_MS, &error);
    if (status == SATCHEL_OK)
        status = satchel_future_delete(future, &error);
    if (status != SATCHEL_OK && status != SATCHEL_ENOTFOUND)
        (void)atomic_fetch_add(&doctor->left_behind, 1);
}

/* The callback's task may still write down that it was answered. */
static void delete_child(struct doctor *doctor, const char *id)
{
    satchel_error error = SATCHEL_ERROR_INIT;
    satchel_future *child;
    if (!id || satchel_future_open(doctor->client, id, &child, &error) != SATCHEL_OK)
        return;
    (void)satchel_future_wait(child, LOOK_MS, &error);
    delete_one(doctor, child);
    satchel_future_free(child);
}

void canary_clean(struct doctor *doctor, unsigned tenant, enum route route)
{
    struct canary *canary = canary_at(doctor, tenant, route);
    if (!canary->future)
        return;
    if (route == ROUTE_SUB_TASK || route == ROUTE_CALLBACK) {
        json_t *tasks = children_of(doctor, canary), *task;
        size_t i;
        json_array_foreach(tasks, i, task)
        {
            delete_child(doctor, json_string_value(json_object_get(task, "id")));
        }
        json_decref(tasks);
    }
    delete_one(doctor, canary->future);
}

void canary_release(struct canary *canary)
{
    satchel_future_free(canary->future);
    mismatches_free(canary->wrong);
}
