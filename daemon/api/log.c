/* GET /v1/tasks/{id}/log: what the task wrote, as it is; with follow=true until the task is finished. */
#include <stdio.h>

#include "api/follow.h"

static bool begin(struct follow *follow, struct http_exchange *exchange, const struct read_call *read)
{
    struct reply reply;
    (void)read;
    call_reply_begin(&follow->call, exchange, &reply);
    reply_field(&reply, "X-Content-Type-Options", SLICE_LITERAL("nosniff"));
    http_stream_begin(exchange, &(struct http_reply){.status = 200,
                                                     .content_type = "text/plain; charset=utf-8",
                                                     .fields = reply.fields,
                                                     .n_fields = reply.n});
    return true;
}

static void emit(struct follow *follow, struct http_exchange *exchange, const struct read_call *read)
{
    if (read->log_at > follow->call.log_from) {
        char mark[80];
        int len = snprintf(mark, sizeof mark, "[satcheld: %llu bytes were dropped here]\n",
                           (unsigned long long)(read->log_at - follow->call.log_from));
        (void)http_stream_write(exchange, slice_of(mark, (size_t)len));
    }
    if (read->log.len)
        (void)http_stream_write(exchange, buf_slice(&read->log));
}

static void beat(struct follow *follow, struct http_exchange *exchange)
{
    (void)follow, (void)exchange; /* plain text has nothing that means nothing */
}

void on_log(struct visit *visit)
{
    static const char *const known[] = {"follow", NULL};
    struct params params;
    struct task_id id;
    if (!visit_read_query(visit, known, &params))
        return;
    struct slice value = params_get(&params, "follow");
    bool following = value.data && slice_eq_str(value, "true");
    bool good = !value.data || following || slice_eq_str(value, "false");
    params_release(&params);
    if (!good) {
        struct problem problem = {0};
        problem_set(&problem, PROBLEM_INVALID_PARAMETER, "Query parameter \"follow\": it must be true or false.");
        visit_fail(visit, &problem);
        return;
    }
    if (!visit_read_id(visit, &id))
        return;
    struct follow *follow = follow_new(visit, sizeof *follow);
    if (!follow)
        return;
    follow->call.id = id;
    follow->ends_here = !following || visit->request->method == HTTP_HEAD;
    follow->begin = begin;
    follow->emit = emit;
    follow->beat = beat;
    follow_start(follow, visit->exchange);
}
