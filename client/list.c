/* Pages of tasks.  Thread: any. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/internal.h"
#include "proto/json_in.h"

static void add_parameter(struct buf *path, const char *name, const char *value)
{
    if (!value)
        return;
    buf_append_char(path, strchr(path->data, '?') ? '&' : '?');
    buf_append_str(path, name);
    buf_append_char(path, '=');
    append_encoded(path, value);
}

static void write_path(struct buf *path, const satchel_list_options *o)
{
    char limit[16];
    buf_append_str(path, "/v1/tasks");
    if (!buf_ok(path))
        return;
    add_parameter(path, "state", o->state);
    add_parameter(path, "task", o->task);
    add_parameter(path, "label", o->label);
    add_parameter(path, "trace_id", o->trace_id);
    add_parameter(path, "request_id", o->request_id);
    add_parameter(path, "parent", o->parent);
    add_parameter(path, "root", o->root);
    add_parameter(path, "cursor", o->cursor);
    (void)snprintf(limit, sizeof limit, "%u", o->limit);
    add_parameter(path, "limit", o->limit ? limit : NULL);
}

int satchel_list(satchel_client *client, const satchel_list_options *given, char **json, size_t *len, char **next,
                 satchel_error *error)
{
    static const satchel_list_options none = {.struct_size = sizeof none};
    const satchel_list_options *o = given ? given : &none;
    error_clear(error);
    if (!client || !json || o->struct_size < sizeof *o)
        return error_set(error, SATCHEL_EINVAL, "client and json are needed, and struct_size must be set");
    struct buf path = BUF_INIT;
    write_path(&path, o);
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
