/* A task's events as they come: the stream of GET /v1/tasks/{id}/events (text/event-stream), read on after each broken
 * connection where it ended.  Thread: one at a time for each future. */
#include <stdlib.h>
#include <string.h>

#include "client/internal.h"
#include "proto/json_in.h"

#define IDLE_MS 45000 /* the daemon sends something every 15 s */
#define EVENT_MAX ((size_t)64 << 20)
#define ID_MAX 255
#define OVERFLOWN (-1000000) /* on_data's answer where an event does not fit, apart from every caller's */

struct stream {
    int (*on_event)(const satchel_event *event, void *arg);
    void *arg;
    /* the event that is being read */
    struct buf line, name, data;
    char id[ID_MAX + 1];   /* of it */
    bool after_cr;         /* a \n that comes now belongs to the \r before it */
    char last[ID_MAX + 1]; /* of the last one that was told */
    char *progress;        /* the last one that was told: a new connection begins with it again */
    bool finished;         /* a final state was told */
    bool heard;            /* something came over this connection */
};

/* ---- one event ---- */

static bool is_final_state(const struct buf *data)
{
    static const char *const final[] = {"succeeded", "failed", "canceled", "expired"};
    struct slice state = json_in_find(buf_slice(data), SLICE_LITERAL("state"));
    for (size_t i = 0; i < sizeof final / sizeof final[0]; i++)
        if (state.len == strlen(final[i]) + 2 && memcmp(state.data + 1, final[i], state.len - 2) == 0)
            return true;
    return false;
}

/* Whether it says what was said already. */
static bool is_repeated(struct stream *s, const char *name)
{
    if (strcmp(name, "progress") != 0)
        return false;
    if (s->progress && strcmp(s->progress, s->data.data) == 0)
        return true;
    free(s->progress);
    s->progress = strdup(s->data.data); /* no memory: it may come twice */
    return false;
}

static bool is_json(const struct buf *data)
{
    char why[JSON_IN_ERROR_SIZE];
    json_t *json = json_in_load(buf_slice(data), 64, why);
    bool good = json_is_object(json);
    json_decref(json);
    return good;
}

static int tell(struct stream *s)
{
    int stop = 0;
    const char *name = s->name.len ? s->name.data : "message";
    if (s->data.len && is_json(&s->data) && !is_repeated(s, name)) {
        satchel_event event = {
            .struct_size = sizeof event, .name = name, .data = s->data.data, .len = s->data.len, .id = s->id};
        s->finished = s->finished || (strcmp(name, "state") == 0 && is_final_state(&s->data));
        stop = s->on_event(&event, s->arg);
    }
    if (s->data.len)
        memcpy(s->last, s->id, sizeof s->last);
    buf_reset(&s->name);
    buf_reset(&s->data);
    return stop;
}

/* ---- lines (the HTML standard, "Interpreting an event stream") ---- */

static void take_field(struct stream *s, struct slice name, struct slice value)
{
    if (slice_eq_str(name, "data")) {
        if (s->data.len)
            buf_append_char(&s->data, '\n');
        buf_append_slice(&s->data, value);
    } else if (slice_eq_str(name, "event")) {
        buf_reset(&s->name);
        buf_append_slice(&s->name, value);
    } else if (slice_eq_str(name, "id") && value.len <= ID_MAX && !memchr(value.data, '\0', value.len)) {
        memcpy(s->id, value.data, value.len);
        s->id[value.len] = '\0';
    } /* "retry" and unknown ones: nothing to do */
}

static int take_line(struct stream *s)
{
    struct slice line = buf_slice(&s->line);
    int stop = 0;
    if (line.len == 0) {
        stop = tell(s);
    } else if (line.data[0] != ':') {
        const char *colon = memchr(line.data, ':', line.len);
        size_t name = colon ? (size_t)(colon - line.data) : line.len;
        size_t from = colon ? name + 1 : line.len;
        from += from < line.len && line.data[from] == ' ';
        take_field(s, slice_of(line.data, name), slice_of(line.data + from, line.len - from));
    }
    buf_reset(&s->line);
    bool fits = buf_ok(&s->line) && buf_ok(&s->name) && buf_ok(&s->data);
    return fits || stop ? stop : OVERFLOWN;
}

static int on_data(const char *data, size_t len, void *arg)
{
    struct stream *s = arg;
    int stop = 0;
    s->heard = true;
    while (len && !stop) {
        if (s->after_cr && *data == '\n') {
            s->after_cr = false;
            data++, len--;
            continue;
        }
        size_t part = 0;
        while (part < len && data[part] != '\n' && data[part] != '\r')
            part++;
        buf_append(&s->line, data, part);
        s->after_cr = part < len && data[part] == '\r';
        if (part < len)
            stop = take_line(s);
        part += part < len;
        data += part, len -= part;
    }
    return !stop && !buf_ok(&s->line) ? OVERFLOWN : stop;
}

/* ---- connections ---- */

static void begin_again(struct stream *s)
{
    buf_reset(&s->line);
    buf_reset(&s->name);
    buf_reset(&s->data);
    memcpy(s->id, s->last, sizeof s->id); /* what was not told yet is told again */
    s->after_cr = s->heard = false;
}

/* SATCHEL_OK: the stream has ended; *ret_stopped: because on_event said so. */
static int read_stream(satchel_future *future, struct stream *s, int64_t limit_ms, int *ret_stopped,
                       satchel_error *error)
{
    struct buf path = BUF_INIT, line = BUF_INIT;
    begin_again(s);
    buf_printf(&path, "/v1/tasks/%s/events", future->id);
    buf_printf(&line, "Last-Event-ID: %s", s->last);
    struct curl_slist *headers = *s->last && buf_ok(&line) ? future->client->curl->slist_append(NULL, line.data) : NULL;
    bool whole = buf_ok(&path) && buf_ok(&line) && (headers || !*s->last);
    struct request request = {.method = "GET",
                              .path = path.data,
                              .headers = headers,
                              .tenant = future_tenant(future),
                              .accept = "text/event-stream, application/problem+json;q=0.9",
                              .limit_ms = limit_ms,
                              .idle_ms = IDLE_MS,
                              .cancelable = true,
                              .on_data = on_data,
                              .on_data_arg = s};
    struct response response;
    int status = whole ? client_request(future->client, &request, &response, error) : error_out_of_memory(error);
    future->client->curl->slist_free_all(headers);
    buf_release(&path);
    buf_release(&line);
    if (status != SATCHEL_OK)
        return status;
    s->finished = s->finished || response.status == 204; /* all was told */
    *ret_stopped = response.stopped;
    response_release(&response);
    if (*ret_stopped == OVERFLOWN)
        return error_set(error, SATCHEL_EPROTOCOL, "%s: an event is too large", future->client->url);
    return SATCHEL_OK;
}

static int watch(satchel_future *future, struct stream *s, struct patience *w, satchel_error *error)
{
    satchel_error local = SATCHEL_ERROR_INIT;
    satchel_error *said = error ? error : &local;
    for (;;) {
        int stopped = 0;
        int64_t left = patience_left(w);
        if (left == 0)
            return error_set(error, SATCHEL_ETIMEDOUT, "task %s is still %s", future->id, satchel_future_state(future));
        int status = read_stream(future, s, left == INT64_MAX ? -1 : left, &stopped, said);
        if (stopped)
            return status == SATCHEL_OK ? stopped : status;
        if (status == SATCHEL_OK && s->finished)
            status = satchel_future_poll(future, said); /* its result */
        if (status == SATCHEL_OK && satchel_future_done(future))
            return SATCHEL_OK;
        s->finished = false; /* it runs again: somebody has asked for a retry */
        if (s->heard)
            patience_renew(w);
        if (status != SATCHEL_OK && status != SATCHEL_PENDING && !patience_allows(w, future, status))
            return status;
        if (patience_left(w))
            patience_rest(w, status < 0 ? said->retry_after_s : 0);
    }
}

int satchel_future_watch(satchel_future *future, int64_t timeout_ms,
                         int (*on_event)(const satchel_event *event, void *arg), void *arg, satchel_error *error)
{
    struct patience w = patience_for(timeout_ms);
    struct stream s = {.on_event = on_event, .arg = arg, .line.max = EVENT_MAX, .data.max = EVENT_MAX};
    error_clear(error);
    if (!future || !on_event)
        return error_set(error, SATCHEL_EINVAL, "future and on_event are needed");
    int status = satchel_future_poll(future, error); /* whether there is one, and whose */
    if (status == SATCHEL_OK || status == SATCHEL_PENDING)
        status = watch(future, &s, &w, error);
    buf_release(&s.line);
    buf_release(&s.name);
    buf_release(&s.data);
    free(s.progress);
    if (status == SATCHEL_OK)
        error_clear(error);
    return status;
}
