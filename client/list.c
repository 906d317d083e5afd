/* Pages of tasks.  Thread: any. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/internal.h"
#include "proto/json_in.h"

void append_parameter(struct buf *path, const char *name, const char *value)
{
    if (!value)
        return;
    buf_append_char(path, strchr(path->data, '?') ? '&' : '?');
    buf_append_str(path, name);
    buf_append_char(path, '=');
    append_encoded(path, value);
}

/* A caller of an older library has fewer members.  False: not even those of the first. */
static bool copy_options(satchel_list_options *to, const satchel_list_options *given)
{
    const size_t least = offsetof(satchel_list_options, limit) + sizeof to->limit;
    *to = (satchel_list_options){.struct_size = sizeof *to};
    if (given && given->struct_size < least)
        return false;
    if (given)
        memcpy(to, given, given->struct_size < sizeof *to ? given->struct_size : sizeof *to);
    return true;
}

static void write_path(struct buf *path, const char *base, const satchel_list_options *o)
{
    char limit[16];
    buf_append_str(path, base);
    if (!buf_ok(path))
        return;
    append_parameter(path, "state", o->state);
    append_parameter(path, "task", o->task);
    append_parameter(path, "label", o->label);
    append_parameter(path, "trace_id", o->trace_id);
    append_parameter(path, "request_id", o->request_id);
    append_parameter(path, "parent", o->parent);
    append_parameter(path, "root", o->root);
    append_parameter(path, "group", o->group);
    append_parameter(path, "error", o->error);
    append_parameter(path, "created_after", o->created_after);
    append_parameter(path, "created_before", o->created_before);
    append_parameter(path, "finished_before", o->finished_before);
    append_parameter(path, "cursor", o->cursor);
    (void)snprintf(limit, sizeof limit, "%u", o->limit);
    append_parameter(path, "limit", o->limit ? limit : NULL);
}

int satchel_list(satchel_client *client, const satchel_list_options *given, char **json, size_t *len, char **next,
                 satchel_error *error)
{
    satchel_list_options o;
    error_clear(error);
    if (!copy_options(&o, given) || !client || !json)
        return error_set(error, SATCHEL_EINVAL, "client and json are needed, and struct_size must be set");
    struct buf path = BUF_INIT;
    write_path(&path, "/v1/tasks", &o);
    if (!buf_ok(&path)) {
        buf_release(&path);
        return error_out_of_memory(error);
    }
    struct request request = {.method = "GET", .path = path.data};
    struct response response;
    int status = client_request(client, &request, &response, error);
    buf_release(&path);
    if (status != SATCHEL_OK)
        return status;
    char why[JSON_IN_ERROR_SIZE];
    json_t *page = json_in_load(buf_slice(&response.body), 64, why);
    const char *cursor = json_string_value(json_object_get(page, "next_cursor"));
    char *copy = cursor && next ? strdup(cursor) : NULL;
    bool good = json_is_array(json_object_get(page, "tasks")) && !(cursor && next && !copy);
    json_decref(page);
    if (!good) {
        free(copy);
        response_release(&response);
        return error_set(error, SATCHEL_EPROTOCOL, "the answer is not a list of tasks");
    }
    if (next)
        *next = copy;
    *json = buf_take(&response.body, len);
    return SATCHEL_OK;
}

/* ---- actions ---- */

static uint64_t count_of(const json_t *answer, const char *name)
{
    double value = json_number_value(json_object_get(answer, name));
    if (!(value > 0))
        return 0;
    return value < 18446744073709551616.0 ? (uint64_t)value : UINT64_MAX;
}

static int read_counts(const struct response *response, satchel_action_counts *counts, char **next,
                       satchel_error *error)
{
    char why[JSON_IN_ERROR_SIZE];
    json_t *answer = json_in_load(buf_slice(&response->body), 64, why);
    const char *cursor = json_string_value(json_object_get(answer, "next_cursor"));
    bool good = json_is_number(json_object_get(answer, "matched"));
    char *copy = good && next && cursor ? strdup(cursor) : NULL;
    bool memory = copy || !good || !next || !cursor;
    if (good && memory && counts) {
        counts->matched = count_of(answer, "matched");
        counts->changed = count_of(answer, "changed");
        counts->conflicts = count_of(answer, "conflicts");
        counts->more = json_is_true(json_object_get(answer, "more"));
    }
    if (good && memory && next)
        *next = copy;
    json_decref(answer);
    if (!memory)
        return error_out_of_memory(error);
    return good ? SATCHEL_OK : error_set(error, SATCHEL_EPROTOCOL, "the answer does not count tasks");
}

int satchel_act(satchel_client *client, satchel_action action, const satchel_list_options *filter, unsigned flags,
                satchel_action_counts *counts, char **next, satchel_error *error)
{
    static const struct {
        const char *method, *path;
    } actions[] = {[SATCHEL_CANCEL_TASKS] = {"POST", "/v1/tasks:cancel"},
                   [SATCHEL_RETRY_TASKS] = {"POST", "/v1/tasks:retry"},
                   [SATCHEL_DELETE_TASKS] = {"POST", "/v1/tasks:delete"}};
    satchel_list_options o;
    struct buf path = BUF_INIT;
    struct response response;
    error_clear(error);
    if (!copy_options(&o, filter) || !client || action < SATCHEL_CANCEL_TASKS || action > SATCHEL_DELETE_TASKS ||
        (counts && counts->struct_size < sizeof *counts))
        return error_set(error, SATCHEL_EINVAL, "client and an action are needed, and struct_size must be set");
    write_path(&path, actions[action].path, &o);
    if (buf_ok(&path)) {
        append_parameter(&path, "all", flags & SATCHEL_ACT_ALL ? "true" : NULL);
        append_parameter(&path, "dry_run", flags & SATCHEL_ACT_DRY_RUN ? "true" : NULL);
    }
    if (!buf_ok(&path)) {
        buf_release(&path);
        return error_out_of_memory(error);
    }
    struct request request = {.method = actions[action].method, .path = path.data};
    int status = client_request(client, &request, &response, error);
    buf_release(&path);
    if (status != SATCHEL_OK)
        return status;
    status = read_counts(&response, counts, next, error);
    response_release(&response);
    return status;
}
