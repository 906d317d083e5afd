/* GET /v1/tasks: filters and a cursor to a query of the reader, its rows to one page.
 * Flow: dispatch.c -> on_list -> call_post_reader -> answer_list. */
#include <stdlib.h>

#include "api/calls.h"
#include "api/cursor.h"
#include "api/params.h"
#include "task/render.h"

#define LIMIT_DEFAULT 50u
#define LIMIT_MAX 1000u
#define PAGE_BYTES ((size_t)8 * 1024 * 1024) /* a page ends here, however many tasks were asked for */

static const char *const filters[] = {"state", "task", "label", "trace_id", "request_id", "parent", "root"};
#define N_FILTERS (sizeof filters / sizeof filters[0])
static const char *const known[] = {"state",  "task", "label", "trace_id", "request_id",
                                    "parent", "root", "limit", "cursor",   NULL};

struct list_call {
    struct api_call call; /* first */
    struct params params; /* the query's slices lie in here */
    struct buf binding;   /* what the cursor is bound to: tenant and filters */
};

static void release_list(struct api_call *call)
{
    struct list_call *list = (struct list_call *)call;
    params_release(&list->params);
    buf_release(&list->binding);
    free(list);
}

/* ---- the query ---- */

static bool is_trace_id(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!((text.data[i] >= '0' && text.data[i] <= '9') || (text.data[i] >= 'a' && text.data[i] <= 'f')))
            return false;
    return text.len == 32;
}

static const char *read_label(struct slice value, struct list_query *query)
{
    const char *colon = memchr(value.data, ':', value.len);
    if (!colon || colon == value.data)
        return "it must be name:value";
    query->label_key = slice_of(value.data, (size_t)(colon - value.data));
    query->label_value = slice_of(colon + 1, value.len - query->label_key.len - 1);
    return NULL;
}

static const char *read_limit(struct slice value, struct list_query *query)
{
    unsigned limit = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] < '0' || value.data[i] > '9' || limit > LIMIT_MAX)
            return "it must be a number from 1 to 1000";
        limit = limit * 10 + (unsigned)(value.data[i] - '0');
    }
    if (limit < 1 || limit > LIMIT_MAX)
        return "it must be a number from 1 to 1000";
    query->limit = limit;
    return NULL;
}

static const char *read_id(struct slice value, struct task_id *ret)
{
    return task_id_parse(value.data, value.len, ret) ? NULL : "it must be the id of a task";
}

static const char *read_param(const struct param *param, const struct list_call *list, struct list_query *query)
{
    struct slice name = param->name, value = param->value;
    if (value.len == 0)
        return "it is empty; leave it out";
    if (slice_eq_str(name, "state")) {
        query->has_state = true;
        return task_state_parse(value, &query->state)
                   ? NULL
                   : "it must be scheduled, queued, running, succeeded, failed, canceled or expired";
    }
    if (slice_eq_str(name, "task"))
        query->name = value;
    else if (slice_eq_str(name, "label"))
        return read_label(value, query);
    else if (slice_eq_str(name, "trace_id")) {
        query->trace_id = value;
        return is_trace_id(value) ? NULL : "it must be 32 hexadecimal digits in lower case";
    } else if (slice_eq_str(name, "request_id"))
        query->request_id = value;
    else if (slice_eq_str(name, "parent"))
        return read_id(value, &query->parent);
    else if (slice_eq_str(name, "root"))
        return read_id(value, &query->root);
    else if (slice_eq_str(name, "limit"))
        return read_limit(value, query);
    else if (!cursor_parse(value, buf_slice(&list->binding), &query->before))
        return "it is not a cursor of this list; start again without one";
    return NULL;
}

static void write_binding(struct list_call *list)
{
    buf_append_str(&list->binding, list->call.tenant);
    for (size_t i = 0; i < N_FILTERS; i++) {
        struct slice value = params_get(&list->params, filters[i]);
        buf_append_char(&list->binding, '\0');
        buf_append_u64(&list->binding, value.data ? value.len + 1 : 0); /* so that no two lists look alike */
        buf_append_char(&list->binding, ':');
        buf_append_slice(&list->binding, value);
    }
}

static int read_query(struct list_call *list, struct slice text, struct list_query *ret, struct problem *reterr)
{
    *ret = (struct list_query){.limit = LIMIT_DEFAULT};
    if (params_parse(text, known, &list->params, reterr) < 0)
        return -1;
    write_binding(list);
    if (!buf_ok(&list->binding)) {
        problem_set(reterr, PROBLEM_OVERLOADED, "There is no memory for this request; try again later.");
        reterr->retry_after_s = 1;
        return -1;
    }
    for (size_t i = 0; i < list->params.n; i++) {
        const struct param *param = &list->params.list[i];
        const char *why = read_param(param, list, ret);
        if (why) {
            problem_set(reterr, PROBLEM_INVALID_PARAMETER, "Query parameter \"%.*s\": %s.", (int)param->name.len,
                        param->name.data, why);
            return -1;
        }
    }
    return 0;
}

/* ---- the page ---- */

/* Returns how many tasks are on the page: fewer than there are where they are large. */
static size_t write_tasks(const struct list_call *list, struct json_out *j)
{
    const struct read_call *read = &list->call.read;
    size_t i = 0;
    json_out_key(j, "tasks");
    json_out_begin_array(j);
    for (; i < read->n && (i == 0 || j->to->len < PAGE_BYTES); i++)
        task_render(&read->records[i], NULL, list->call.api->node, j);
    json_out_end_array(j);
    return i;
}

static void write_link(const struct list_call *list, const char *cursor, struct buf *out)
{
    buf_append_str(out, "</v1/tasks?");
    for (size_t i = 0; i < list->params.n; i++) {
        const struct param *param = &list->params.list[i];
        if (slice_eq_str(param->name, "cursor"))
            continue;
        buf_append_slice(out, param->name);
        buf_append_char(out, '=');
        percent_encode(param->value, out);
        buf_append_char(out, '&');
    }
    buf_append_str(out, "cursor=");
    buf_append_str(out, cursor);
    buf_append_str(out, ">; rel=\"next\"");
}

static void reply_page(struct list_call *list, struct http_exchange *exchange)
{
    const struct read_call *read = &list->call.read;
    struct buf *body = scratch(), link = BUF_INIT;
    struct json_out j = json_out_to(body);
    json_out_begin_object(&j);
    size_t n = write_tasks(list, &j);
    struct task_id next = n < read->n ? read->records[n - 1].spec->id : read->next;
    char cursor[CURSOR_TEXT_SIZE];
    bool more = !task_id_is_none(next) && cursor_format(next, buf_slice(&list->binding), cursor);
    if (more) {
        json_out_member(&j, "next_cursor", slice_str(cursor));
        write_link(list, cursor, &link);
    }
    json_out_end_object(&j);
    struct reply reply;
    call_reply_begin(&list->call, exchange, &reply);
    if (more && buf_ok(&link))
        reply_field(&reply, "Link", buf_slice(&link));
    reply_buffer(&reply, 200, body);
    buf_release(&link);
}

static bool answer_list(struct api_call *call, struct http_exchange *exchange)
{
    if (call->read.result == STORE_OK)
        reply_page((struct list_call *)call, exchange);
    else
        call_reply_read_failed(call, exchange);
    return true;
}

void on_list(struct visit *visit)
{
    struct problem problem = {0};
    struct list_call *list = (struct list_call *)call_new(visit, sizeof *list, answer_list);
    if (!list)
        return;
    list->call.release = release_list;
    list->call.holds = CALL_READER;
    struct list_query query;
    if (read_query(list, visit->request->query, &query, &problem) < 0) {
        struct reply reply;
        reply_begin(&reply, visit->exchange, visit->caller.request_id);
        reply_problem(&reply, &problem);
        call_release(&list->call);
        return;
    }
    query.tenant = slice_str(list->call.tenant);
    list->call.read.query = query;
    call_post_reader(&list->call, visit->exchange, READ_LIST);
}
