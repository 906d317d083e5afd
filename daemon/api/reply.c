/* Replies of the API.  Flow: the handlers and calls.c -> here -> http_reply. */
#include "api/reply.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "task/render.h"

#define SCRATCH_KEEP ((size_t)64 * 1024)

/* ---- a buffer a thread ---- */

static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;

static void scratch_end(void *arg)
{
    buf_release(arg);
    free(arg);
}

static void scratch_key_make(void)
{
    (void)pthread_key_create(&scratch_key, scratch_end);
}

struct buf *scratch(void)
{
    static struct buf failed = {.failed = true}; /* never written: every append sees that it failed */
    (void)pthread_once(&scratch_once, scratch_key_make);
    struct buf *buf = pthread_getspecific(scratch_key);
    if (!buf) {
        buf = calloc(1, sizeof *buf);
        if (!buf || pthread_setspecific(scratch_key, buf) != 0) {
            free(buf);
            return &failed;
        }
    }
    if (buf->cap > SCRATCH_KEEP)
        buf_release(buf);
    buf_reset(buf);
    return buf;
}

/* ---- fields ---- */

void reply_field(struct reply *r, const char *name, struct slice value)
{
    if (r->n < REPLY_FIELDS_MAX)
        r->fields[r->n++] = (struct http_field){slice_str(name), value};
}

void reply_begin(struct reply *r, struct http_exchange *exchange, struct slice request_id)
{
    r->exchange = exchange;
    r->n = 0;
    reply_field(r, "X-Request-ID", request_id);
    reply_field(r, "Cache-Control", SLICE_LITERAL("no-store"));
}

void reply_location(struct reply *r, struct task_id id)
{
    memcpy(r->location, "/v1/tasks/", 10);
    task_id_format(id, r->location + 10);
    reply_field(r, "Location", slice_of(r->location, 10 + TASK_ID_TEXT_SIZE - 1));
}

void reply_retry_after(struct reply *r, int seconds)
{
    int len = snprintf(r->retry_after, sizeof r->retry_after, "%d", seconds);
    reply_field(r, "Retry-After", slice_of(r->retry_after, (size_t)len));
}

void reply_rate(struct reply *r, const struct engine_rate *rate)
{
    int len = snprintf(r->rate_policy, sizeof r->rate_policy, "\"submissions\";q=%u;w=%u", rate->limit, rate->window_s);
    reply_field(r, "RateLimit-Policy", slice_of(r->rate_policy, (size_t)len));
    len = snprintf(r->rate, sizeof r->rate, "\"submissions\";r=%u;t=%u", rate->left, rate->reset_s);
    reply_field(r, "RateLimit", slice_of(r->rate, (size_t)len));
}

/* ---- bodies ---- */

static void send(struct reply *r, int status, const char *type, struct slice body)
{
    struct http_reply reply = {
        .status = status, .content_type = type, .fields = r->fields, .n_fields = r->n, .body = body};
    http_reply(r->exchange, &reply);
}

static void send_buffer(struct reply *r, int status, const char *type, const struct buf *body)
{
    if (buf_ok(body)) {
        send(r, status, type, buf_slice(body));
        return;
    }
    static const char text[] = "{\"type\":\"urn:satchel:problem:overloaded\",\"title\":\"satcheld is overloaded\","
                               "\"status\":503,\"detail\":\"There is no memory for the answer; try again later.\"}";
    r->n = 2; /* what every reply has */
    reply_retry_after(r, 1);
    send(r, 503, "application/problem+json", slice_of(text, sizeof text - 1));
}

void reply_json(struct reply *r, int status, struct slice body)
{
    send(r, status, "application/json", body);
}

void reply_buffer(struct reply *r, int status, const struct buf *body)
{
    send_buffer(r, status, "application/json", body);
}

void reply_typed(struct reply *r, int status, const char *type, const struct buf *body)
{
    send_buffer(r, status, type, body);
}

void reply_empty(struct reply *r, int status)
{
    send(r, status, NULL, (struct slice){0});
}

void reply_task(struct reply *r, int status, const struct task_record *record, const char *node)
{
    reply_task_history(r, status, record, NULL, node);
}

void reply_task_history(struct reply *r, int status, const struct task_record *record,
                        const struct task_history *history, const char *node)
{
    struct buf *body = scratch();
    struct json_out j = json_out_to(body);
    task_render(record, history, node, &j);
    send_buffer(r, status, "application/json", body);
}

void reply_task_minimal(struct reply *r, int status, const struct task_record *record)
{
    struct buf *body = scratch();
    struct json_out j = json_out_to(body);
    task_render_minimal(record, &j);
    send_buffer(r, status, "application/json", body);
}

void reply_problem(struct reply *r, const struct problem *problem)
{
    struct buf *body = scratch();
    int status = problem_status(problem->code);
    problem_to_json(problem, body);
    if (problem->retry_after_s > 0 || status == 429 || status == 503) /* these two always say when */
        reply_retry_after(r, problem->retry_after_s > 0 ? problem->retry_after_s : 1);
    send_buffer(r, status, "application/problem+json", body);
}

void reply_not_found(struct reply *r)
{
    struct problem problem = {0};
    problem_set(&problem, PROBLEM_TASK_NOT_FOUND, "This tenant has no task of this id.");
    reply_problem(r, &problem);
}

static void member_time(struct json_out *j, const char *key, int64_t us)
{
    if (us <= 0)
        return;
    json_out_key(j, key);
    json_out_time(j, us);
}

void render_problem_task(const struct problem *problem, struct task_id id, const struct task_status *status,
                         struct buf *out)
{
    char text[TASK_ID_TEXT_SIZE];
    struct json_out j = json_out_to(out);
    task_id_format(id, text);
    json_out_begin_object(&j);
    json_out_member(&j, "type", slice_str(problem_urn(problem->code)));
    json_out_member(&j, "title", slice_str(problem_title(problem->code)));
    json_out_member_i64(&j, "status", problem_status(problem->code));
    json_out_member(&j, "detail", slice_str(problem->detail));
    json_out_member(&j, "id", slice_str(text));
    json_out_member(&j, "state", slice_str(task_state_name(status->state)));
    member_time(&j, "created_at", task_id_time_us(id));
    member_time(&j, "started_at", status->started_us);
    member_time(&j, "finished_at", status->finished_us);
    json_out_end_object(&j);
}

void reply_problem_task(struct reply *r, const struct problem *problem, struct task_id id,
                        const struct task_status *status)
{
    struct buf *body = scratch();
    render_problem_task(problem, id, status, body);
    send_buffer(r, problem_status(problem->code), "application/problem+json", body);
}
