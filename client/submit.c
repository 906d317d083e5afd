/* A submission: the caller's context into header fields and the member "context", the rest into the body.
 * Thread: any. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "client/internal.h"
#include "proto/json_in.h"
#include "proto/json_out.h"

struct draft { /* a submission while it is put together */
    satchel_client *client;
    const satchel_context *ctx;
    struct curl_slist *headers;
    struct buf body, text;
    struct json_out json;
    bool header_pass, failed;
};

static void add_line(struct draft *d, const char *name, const char *value)
{
    struct buf line = BUF_INIT;
    buf_append_str(&line, name);
    buf_append_str(&line, ": ");
    buf_append_str(&line, value);
    struct curl_slist *list = buf_ok(&line) ? d->client->curl->slist_append(d->headers, line.data) : NULL;
    if (list)
        d->headers = list;
    else
        d->failed = true;
    buf_release(&line);
}

static bool value_text_of(struct draft *d, const satchel_var *var)
{
    satchel_value *value;
    if (satchel_context_get(d->ctx, var, &value) != SATCHEL_OK)
        return false;
    size_t need = satchel_value_text(value, NULL, 0);
    buf_reset(&d->text);
    bool ok = need != SIZE_MAX && buf_reserve(&d->text, need + 1) &&
              satchel_value_text(value, d->text.data, need + 1) == need;
    satchel_value_unref(value);
    if (!ok || strlen(d->text.data) != need || strpbrk(d->text.data, "\r\n"))
        return false;
    d->text.len = need;
    return true;
}

/* Header fields in one pass, variables of the task (for the body) in the other. */
static int on_binding(satchel_var *var, void *data, void *arg)
{
    (void)data;
    struct draft *d = arg;
    const char *header = satchel_var_header(var);
    if (!header || satchel_var_flags(var) & SATCHEL_VAR_SECRET || satchel_var_is_task_variable(var) == d->header_pass)
        return 0;
    if (var == satchel_known_var(SATCHEL_TASK_ID) || var == satchel_known_var(SATCHEL_ATTEMPT))
        return 0; /* of the attempt that submits: not the new task's */
    if (!value_text_of(d, var))
        return 0;
    if (d->header_pass)
        add_line(d, header, d->text.data);
    else
        json_out_member(&d->json, satchel_var_name(var), buf_slice(&d->text));
    return 0;
}

/* A raw JSON text of the caller's, checked: it must be what it is said to be. */
static int put_json(struct draft *d, const char *key, const char *text, bool object, satchel_error *error)
{
    char why[JSON_IN_ERROR_SIZE];
    json_t *json = json_in_load(slice_str(text), 64, why);
    if (!json)
        return error_set(error, SATCHEL_EGRAMMAR, "%s is not valid JSON: %s", key, why);
    bool right = !object || json_is_object(json);
    json_decref(json);
    if (!right)
        return error_set(error, SATCHEL_EGRAMMAR, "%s must be a JSON object", key);
    json_out_key(&d->json, key);
    json_out_raw(&d->json, slice_str(text));
    return SATCHEL_OK;
}

static void put_text(struct draft *d, const char *key, const char *text)
{
    if (text)
        json_out_member(&d->json, key, slice_str(text));
}

/* The members of an object given as text, one by one into the object being written. */
static int put_members(struct draft *d, const char *what, const char *text, satchel_error *error)
{
    struct json_member *members;
    char why[JSON_IN_ERROR_SIZE];
    json_t *json = json_in_load(slice_str(text), 64, why);
    bool is_object = json_is_object(json);
    json_decref(json);
    if (!is_object)
        return error_set(error, SATCHEL_EGRAMMAR, "%s must be a JSON object%s%s", what, json ? "" : ": ",
                         json ? "" : why);
    size_t n = json_in_members(slice_str(text), NULL, 0);
    members = calloc(n + 1, sizeof *members);
    if (!members)
        return error_set(error, SATCHEL_ENOMEM, "out of memory");
    (void)json_in_members(slice_str(text), members, n);
    for (size_t i = 0; i < n; i++) {
        buf_reset(&d->text);
        buf_append_slice(&d->text, members[i].name); /* raw: its escapes stay as they are */
        if (buf_ok(&d->text))
            json_out_key(&d->json, d->text.len ? d->text.data : "");
        json_out_raw(&d->json, members[i].value);
    }
    free(members);
    return SATCHEL_OK;
}

static int write_context(struct draft *d, const satchel_submit_options *o, satchel_error *error)
{
    int status = SATCHEL_OK;
    size_t before = d->body.len;
    struct json_out outer = d->json;
    json_out_key(&d->json, "context");
    json_out_begin_object(&d->json);
    size_t empty = d->body.len;
    if (o->context_json)
        status = put_members(d, "context", o->context_json, error);
    if (status == SATCHEL_OK && !o->without_context && !o->context_json)
        (void)satchel_context_each(d->ctx, on_binding, d);
    if (d->body.len == empty) { /* nothing: leave the member out */
        d->body.len = before;
        d->json = outer;
        return status;
    }
    json_out_end_object(&d->json);
    return status;
}

static int write_body(struct draft *d, const char *task, const char *args, const satchel_submit_options *o,
                      satchel_error *error)
{
    int status = SATCHEL_OK;
    d->json = json_out_to(&d->body);
    json_out_begin_object(&d->json);
    json_out_member(&d->json, "task", slice_str(task));
    if (args)
        status = put_json(d, "args", args, false, error);
    if (o->has_priority)
        json_out_member_i64(&d->json, "priority", o->priority);
    if (o->max_attempts)
        json_out_member_i64(&d->json, "max_attempts", o->max_attempts);
    if (o->has_max_lost)
        json_out_member_i64(&d->json, "max_lost", o->max_lost);
    put_text(d, "delay", o->delay);
    put_text(d, "run_at", o->run_at);
    put_text(d, "timeout", o->timeout);
    put_text(d, "deadline", o->deadline);
    put_text(d, "expires_in", o->expires_in);
    put_text(d, "retain", o->retain);
    put_text(d, "parent_id", o->parent_id);
    if (status == SATCHEL_OK && o->backoff_json)
        status = put_json(d, "backoff", o->backoff_json, true, error);
    if (status == SATCHEL_OK && o->labels_json)
        status = put_json(d, "labels", o->labels_json, true, error);
    if (status == SATCHEL_OK)
        status = write_context(d, o, error);
    if (status == SATCHEL_OK && o->members_json)
        status = put_members(d, "members", o->members_json, error);
    json_out_end_object(&d->json);
    return status;
}

static void write_headers(struct draft *d, const satchel_submit_options *o)
{
    char text[300];
    if (!o->without_context) {
        d->header_pass = true;
        (void)satchel_context_each(d->ctx, on_binding, d);
        d->header_pass = false;
    }
    if (o->wait_ms > 0) {
        (void)snprintf(text, sizeof text, "wait=%lld", (long long)((o->wait_ms + 999) / 1000));
        add_line(d, "Prefer", text);
    }
    if (o->idempotency_key && strlen(o->idempotency_key) < 256 && !strpbrk(o->idempotency_key, "\r\n\"\\"))
        add_line(d, "Idempotency-Key", (snprintf(text, sizeof text, "\"%s\"", o->idempotency_key), text));
}

int satchel_submit(satchel_client *client, const char *task, const char *args_json, const satchel_submit_options *given,
                   satchel_future **out, satchel_error *error)
{
    static const satchel_submit_options none = {.struct_size = sizeof none};
    const satchel_submit_options *o = given ? given : &none;
    error_clear(error);
    if (!client || !task || !out || o->struct_size < sizeof *o)
        return error_set(error, SATCHEL_EINVAL, "client, task and out are needed, and struct_size must be set");
    struct draft d = {.client = client};
    satchel_context *captured = o->context ? NULL : satchel_capture();
    d.ctx = o->context ? o->context : captured;
    if (!d.ctx)
        return error_set(error, SATCHEL_ENOMEM, "out of memory");
    int status = write_body(&d, task, args_json, o, error);
    write_headers(&d, o);
    if (status == SATCHEL_OK && (d.failed || !buf_ok(&d.body)))
        status = error_set(error, SATCHEL_ENOMEM, "out of memory");
    struct response response;
    if (status == SATCHEL_OK) {
        struct request request = {.method = "POST",
                                  .path = "/v1/tasks",
                                  .headers = d.headers,
                                  .body = buf_slice(&d.body),
                                  .extra_ms = o->wait_ms};
        status = client_request(client, &request, &response, error);
    }
    client->curl->slist_free_all(d.headers);
    buf_release(&d.body);
    buf_release(&d.text);
    satchel_context_unref(captured);
    return status == SATCHEL_OK ? future_from_response(client, &response, out, error) : status;
}
