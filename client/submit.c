/* A submission: the caller's context into header fields and the member "context", the rest into the body.  What cannot
 * be sent is refused, never left out.  Thread: any. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/internal.h"
#include "proto/json_in.h"
#include "proto/json_out.h"

#define KEY_MAX 255 /* characters of an idempotency key */

struct draft { /* a submission while it is put together */
    satchel_client *client;
    const satchel_context *ctx;
    struct curl_slist *headers;
    struct buf body, text;
    struct json_out json;
    const json_t *given; /* the variables that the caller names: those of the context do not replace them */
    bool header_pass, failed;
    bool batch; /* every variable goes into a header field: the submissions are the caller's text */
    satchel_error *error;
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

/* The variable's text into d->text.  False: it has none, or there is no memory (d->failed). */
static bool value_text_of(struct draft *d, const satchel_var *var)
{
    satchel_value *value;
    if (satchel_context_get(d->ctx, var, &value) != SATCHEL_OK)
        return false;
    size_t need = satchel_value_text(value, NULL, 0);
    buf_reset(&d->text);
    bool room = need != SIZE_MAX && buf_reserve(&d->text, need + 1);
    bool whole = room && satchel_value_text(value, d->text.data, need + 1) == need;
    satchel_value_unref(value);
    d->failed = d->failed || (need != SIZE_MAX && !room);
    if (whole)
        d->text.len = need;
    return whole;
}

static bool fits_a_line(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (((unsigned char)text.data[i] < 0x20 && text.data[i] != '\t') || text.data[i] == 0x7f)
            return false;
    return true;
}

static bool is_named(const json_t *object, const char *name)
{
    return json_object_get(object, name) != NULL;
}

/* Header fields in one pass, variables of the task (for the body) in the other.  Non-zero: one cannot be sent. */
static int on_binding(satchel_var *var, void *data, void *arg)
{
    (void)data;
    struct draft *d = arg;
    const char *header = satchel_var_header(var);
    if (!header || satchel_var_flags(var) & SATCHEL_VAR_SECRET)
        return 0;
    if (!d->batch && satchel_var_is_task_variable(var) == d->header_pass)
        return 0;
    if (var == satchel_known_var(SATCHEL_TASK_ID) || var == satchel_known_var(SATCHEL_ATTEMPT))
        return 0; /* of the attempt that submits: not the new task's */
    if ((!d->header_pass && is_named(d->given, satchel_var_name(var))) || !value_text_of(d, var))
        return 0;
    if (!d->header_pass) {
        json_out_member(&d->json, satchel_var_name(var), buf_slice(&d->text));
        return 0;
    }
    if (!fits_a_line(buf_slice(&d->text)))
        return error_set(d->error, SATCHEL_EGRAMMAR,
                         "the context variable %.200s cannot be sent: its value has control characters in it", header);
    add_line(d, header, d->text.data);
    return 0;
}

enum json_kind { ANY_JSON, AN_OBJECT, AN_ARRAY };

/* A raw JSON text of the caller's, checked: it must be what it is said to be. */
static int put_json(struct draft *d, const char *key, const char *text, enum json_kind kind, satchel_error *error)
{
    char why[JSON_IN_ERROR_SIZE];
    json_t *json = json_in_load(slice_str(text), 64, why);
    if (!json)
        return error_set(error, SATCHEL_EGRAMMAR, "%s is not valid JSON: %s", key, why);
    bool right = kind == ANY_JSON || (kind == AN_OBJECT ? json_is_object(json) : json_is_array(json));
    json_decref(json);
    if (!right)
        return error_set(error, SATCHEL_EGRAMMAR, "%s must be a JSON %s", key, kind == AN_OBJECT ? "object" : "array");
    json_out_key(&d->json, key);
    json_out_raw(&d->json, slice_str(text));
    return SATCHEL_OK;
}

static void put_text(struct draft *d, const char *key, const char *text)
{
    if (text)
        json_out_member(&d->json, key, slice_str(text));
}

/* An object of the caller's, or NULL and what is wrong with it. */
static json_t *load_object(const char *what, const char *text, satchel_error *error)
{
    char why[JSON_IN_ERROR_SIZE];
    json_t *json = json_in_load(slice_str(text), 64, why);
    if (json_is_object(json))
        return json;
    (void)error_set(error, SATCHEL_EGRAMMAR, "%s must be a JSON object%s%s", what, json ? "" : ": ", json ? "" : why);
    json_decref(json);
    return NULL;
}

/* The members of a valid object, one by one into the object being written. */
static void put_members(struct draft *d, const char *text)
{
    size_t n = json_in_members(slice_str(text), NULL, 0);
    struct json_member *members = calloc(n + 1, sizeof *members);
    if (!members) {
        d->failed = true;
        return;
    }
    (void)json_in_members(slice_str(text), members, n);
    for (size_t i = 0; i < n; i++) {
        buf_reset(&d->text);
        buf_append_slice(&d->text, members[i].name); /* raw: its escapes stay as they are */
        if (buf_ok(&d->text))
            json_out_key(&d->json, d->text.len ? d->text.data : "");
        json_out_raw(&d->json, members[i].value);
    }
    d->failed = d->failed || !buf_ok(&d->text);
    free(members);
}

static int write_context(struct draft *d, const satchel_submit_options *o)
{
    size_t before = d->body.len;
    struct json_out outer = d->json;
    json_t *given = o->context_json ? load_object("context", o->context_json, d->error) : NULL;
    if (o->context_json && !given)
        return SATCHEL_EGRAMMAR;
    json_out_key(&d->json, "context");
    json_out_begin_object(&d->json);
    size_t empty = d->body.len;
    if (given)
        put_members(d, o->context_json);
    d->given = given;
    if (!o->without_context)
        (void)satchel_context_each(d->ctx, on_binding, d);
    d->given = NULL;
    json_decref(given);
    if (d->body.len == empty) { /* nothing: leave the member out */
        d->body.len = before;
        d->json = outer;
        return SATCHEL_OK;
    }
    json_out_end_object(&d->json);
    return SATCHEL_OK;
}

static int write_further(struct draft *d, const char *text)
{
    json_t *object = text ? load_object("members", text, d->error) : NULL;
    if (text && !object)
        return SATCHEL_EGRAMMAR;
    if (text)
        put_members(d, text);
    json_decref(object);
    return SATCHEL_OK;
}

static int write_body(struct draft *d, const char *task, const char *args, const satchel_submit_options *o)
{
    satchel_error *error = d->error;
    int status = SATCHEL_OK;
    d->json = json_out_to(&d->body);
    json_out_begin_object(&d->json);
    json_out_member(&d->json, "task", slice_str(task));
    if (args)
        status = put_json(d, "args", args, ANY_JSON, error);
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
    put_text(d, "callback", o->callback);
    if (status == SATCHEL_OK && o->backoff_json)
        status = put_json(d, "backoff", o->backoff_json, AN_OBJECT, error);
    if (status == SATCHEL_OK && o->labels_json)
        status = put_json(d, "labels", o->labels_json, AN_OBJECT, error);
    put_text(d, "group", o->group);
    put_text(d, "after_group", o->after_group);
    if (status == SATCHEL_OK && o->after_json)
        status = put_json(d, "after", o->after_json, AN_ARRAY, error);
    if (status == SATCHEL_OK && o->unique_json)
        status = put_json(d, "unique", o->unique_json, AN_OBJECT, error);
    if (status == SATCHEL_OK)
        status = write_context(d, o);
    if (status == SATCHEL_OK)
        status = write_further(d, o->members_json);
    json_out_end_object(&d->json);
    return status;
}

/* As a structured-field string (RFC 8941): visible ASCII and blanks in quotes. */
static int write_key(struct draft *d, const char *key)
{
    size_t len = strlen(key);
    struct buf text = BUF_INIT;
    bool good = len >= 1 && len <= KEY_MAX;
    buf_append_char(&text, '"');
    for (; *key && good; key++) {
        good = *key >= 0x20 && *key <= 0x7e;
        if (*key == '"' || *key == '\\')
            buf_append_char(&text, '\\');
        buf_append_char(&text, *key);
    }
    buf_append_char(&text, '"');
    if (good && buf_ok(&text))
        add_line(d, "Idempotency-Key", text.data);
    d->failed = d->failed || !buf_ok(&text);
    buf_release(&text);
    return good ? SATCHEL_OK
                : error_set(d->error, SATCHEL_EGRAMMAR, "an idempotency key has 1 to %d printable ASCII characters",
                            KEY_MAX);
}

static int write_headers(struct draft *d, const satchel_submit_options *o)
{
    char text[40];
    int status = SATCHEL_OK;
    d->header_pass = true;
    if (!o->without_context)
        status = satchel_context_each(d->ctx, on_binding, d);
    if (o->wait_ms > 0) {
        (void)snprintf(text, sizeof text, "wait=%lld", (long long)(o->wait_ms / 1000 + (o->wait_ms % 1000 != 0)));
        add_line(d, "Prefer", text);
    }
    if (status == SATCHEL_OK && o->idempotency_key)
        status = write_key(d, o->idempotency_key);
    return status;
}

static int send_draft(const struct draft *d, const satchel_submit_options *o, satchel_future **out,
                      satchel_error *error)
{
    int64_t limit = d->client->timeout_ms;
    if (o->wait_ms > 0)
        limit = o->wait_ms < INT64_MAX / 4 ? limit + o->wait_ms : INT64_MAX / 4;
    struct request request = {.method = "POST",
                              .path = "/v1/tasks",
                              .headers = d->headers,
                              .body = buf_slice(&d->body),
                              .limit_ms = limit,
                              .repeatable = o->idempotency_key != NULL,
                              .cancelable = true};
    struct response response;
    int status = client_request(d->client, &request, &response, error);
    return status == SATCHEL_OK ? future_from_response(d->client, &response, out, error) : status;
}

/* A caller of an older library has fewer members.  False: not even those of the first. */
static bool copy_options(satchel_submit_options *to, const satchel_submit_options *given)
{
    const size_t least = offsetof(satchel_submit_options, callback) + sizeof to->callback;
    *to = (satchel_submit_options){.struct_size = sizeof *to};
    if (given && given->struct_size < least)
        return false;
    if (given)
        memcpy(to, given, given->struct_size < sizeof *to ? given->struct_size : sizeof *to);
    return true;
}

int satchel_submit(satchel_client *client, const char *task, const char *args_json, const satchel_submit_options *given,
                   satchel_future **out, satchel_error *error)
{
    satchel_submit_options options;
    const satchel_submit_options *o = &options;
    error_clear(error);
    if (!copy_options(&options, given) || !client || !task || !out)
        return error_set(error, SATCHEL_EINVAL, "client, task and out are needed, and struct_size must be set");
    satchel_context *ctx = o->context ? satchel_context_copy(o->context) : satchel_capture(); /* one whole snapshot */
    if (!ctx)
        return error_out_of_memory(error);
    struct draft d = {.client = client, .ctx = ctx, .error = error};
    int status = write_body(&d, task, args_json, o);
    if (status == SATCHEL_OK)
        status = write_headers(&d, o);
    if (status == SATCHEL_OK && (d.failed || !buf_ok(&d.body) || !buf_ok(&d.text)))
        status = error_out_of_memory(error);
    if (status == SATCHEL_OK)
        status = send_draft(&d, o, out, error);
    client->curl->slist_free_all(d.headers);
    buf_release(&d.body);
    buf_release(&d.text);
    satchel_context_unref(ctx);
    return status;
}

/* ---- many at once ---- */

struct answers { /* of a batch, taken apart as they come */
    int (*on_answer)(const char *json, size_t len, void *arg);
    void *arg;
    struct buf line;
    size_t n, due; /* told; submissions */
    bool surplus;  /* there are more of them than submissions */
};

/* As the daemon counts them: a line with nothing in it is no submission. */
static size_t count_submissions(const char *at, size_t len)
{
    size_t n = 0;
    bool any = false;
    for (; len; at++, len--) {
        n += *at == '\n' && any;
        bool blank = *at == ' ' || *at == '\t' || *at == '\r';
        any = *at != '\n' && (any || !blank);
    }
    return n + any;
}

static int tell_answer(struct answers *a)
{
    struct slice line = buf_slice(&a->line);
    if (line.len && line.data[line.len - 1] == '\r')
        line.len--;
    int stop = 0;
    a->surplus = line.len && a->n == a->due;
    if (a->surplus) {
        stop = SATCHEL_EPROTOCOL;
    } else if (line.len) {
        a->n++;
        stop = a->on_answer(line.data, line.len, a->arg);
    }
    buf_reset(&a->line);
    return stop;
}

static int on_answers(const char *data, size_t len, void *arg)
{
    struct answers *a = arg;
    int stop = 0;
    while (len && !stop) {
        const char *end = memchr(data, '\n', len);
        size_t part = end ? (size_t)(end - data) : len;
        buf_append(&a->line, data, part);
        if (!buf_ok(&a->line))
            return SATCHEL_EPROTOCOL;
        if (end)
            stop = tell_answer(a);
        part += end != NULL;
        data += part;
        len -= part;
    }
    return stop;
}

static int send_batch(const struct draft *d, struct slice lines, const satchel_submit_options *o,
                      struct answers *answers, satchel_error *error)
{
    struct buf path = BUF_INIT;
    buf_append_str(&path, "/v1/tasks:batch");
    if (buf_ok(&path)) {
        append_parameter(&path, "group", o->group);
        append_parameter(&path, "parent", o->parent_id);
    }
    if (!buf_ok(&path)) {
        buf_release(&path);
        return error_out_of_memory(error);
    }
    struct request request = {.method = "POST",
                              .path = path.data,
                              .headers = d->headers,
                              .body = lines,
                              .accept = "application/x-ndjson, application/problem+json;q=0.9",
                              .limit_ms = -1,
                              .idle_ms = d->client->timeout_ms + (o->wait_ms > 0 ? o->wait_ms : 0),
                              .cancelable = true,
                              .on_data = on_answers,
                              .on_data_arg = answers};
    struct response response;
    int status = client_request(d->client, &request, &response, error);
    buf_release(&path);
    if (status != SATCHEL_OK)
        return status;
    status = response.stopped;
    response_release(&response);
    if (!buf_ok(&answers->line))
        return error_set(error, SATCHEL_EPROTOCOL, "%s: an answer is larger than %zu bytes", d->client->url,
                         RESPONSE_MAX);
    if (status == 0)
        status = tell_answer(answers); /* the last one needs no line break */
    if (answers->surplus || (status == 0 && answers->n < answers->due))
        return error_set(error, SATCHEL_EPROTOCOL, "%s: %s%zu answers came for %zu submissions", d->client->url,
                         answers->surplus ? "more than " : "", answers->n, answers->due);
    return status;
}

int satchel_submit_batch(satchel_client *client, const char *lines, size_t len, const satchel_submit_options *given,
                         int (*on_answer)(const char *json, size_t len, void *arg), void *arg, satchel_error *error)
{
    satchel_submit_options o;
    error_clear(error);
    if (!copy_options(&o, given) || !client || (!lines && len) || !on_answer)
        return error_set(error, SATCHEL_EINVAL, "client, lines and on_answer are needed, and struct_size must be set");
    satchel_context *ctx = o.context ? satchel_context_copy(o.context) : satchel_capture();
    if (!ctx)
        return error_out_of_memory(error);
    struct draft d = {.client = client, .ctx = ctx, .error = error, .batch = true};
    struct answers answers = {
        .on_answer = on_answer, .arg = arg, .line = {.max = RESPONSE_MAX}, .due = count_submissions(lines, len)};
    o.idempotency_key = NULL;
    add_line(&d, "Content-Type", "application/x-ndjson");
    int status = write_headers(&d, &o);
    if (status == SATCHEL_OK && (d.failed || !buf_ok(&d.text)))
        status = error_out_of_memory(error);
    if (status == SATCHEL_OK)
        status = send_batch(&d, slice_of(lines ? lines : "", len), &o, &answers, error);
    client->curl->slist_free_all(d.headers);
    buf_release(&d.text);
    buf_release(&answers.line);
    satchel_context_unref(ctx);
    return status;
}
