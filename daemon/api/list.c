/* GET /v1/tasks: filters and a cursor to a query of the reader, its rows to one page.
 * Flow: dispatch.c -> on_list -> call_post_reader -> answer_list. */
#include <stdlib.h>

#include "api/calls.h"
#include "api/cursor.h"
#include "api/list_query.h"
#include "api/params.h"
#include "task/render.h"

#define LIMIT_DEFAULT 50u
#define LIMIT_MAX 1000u
#define PAGE_BYTES ((size_t)8 * 1024 * 1024) /* a page ends here, however many tasks were asked for */

static const char *const known[] = {LIST_FILTERS, "all_tenants", "limit", "cursor", NULL};

struct list_call {
    struct api_call call; /* first */
    struct params params; /* the query's slices lie in here */
    struct buf binding;   /* what the cursor is bound to: tenant and filters */
    bool of_all;          /* the tasks of all tenants */
};

static void release_list(struct api_call *call)
{
    struct list_call *list = (struct list_call *)call;
    params_release(&list->params);
    buf_release(&list->binding);
    free(list);
}

/* ---- the query ---- */

static int read_query(struct list_call *list, struct slice text, struct list_query *ret, struct problem *reterr)
{
    *ret = (struct list_query){.limit = LIMIT_DEFAULT};
    if (params_parse(text, known, &list->params, reterr) < 0)
        return -1;
    struct slice all = params_get(&list->params, "all_tenants");
    list->of_all = slice_eq_str(all, "true");
    if (all.data && !list->of_all && !slice_eq_str(all, "false")) {
        problem_set(reterr, PROBLEM_INVALID_PARAMETER, "Query parameter \"all_tenants\": it must be true or false.");
        return -1;
    }
    return list_query_read(&list->params, list->of_all ? "" : list->call.tenant, LIMIT_MAX, &list->binding, ret, reterr);
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

/* False: replied. */
static bool may_see(struct visit *visit, const struct list_call *list)
{
    struct problem problem = {0};
    if (list->of_all && !visit_sees_all(visit))
        return visit_forbid(visit, NULL, "Query parameter \"all_tenants\": it is for administrators of all tenants.");
    if (list->of_all && visit->caller.tenant[0] && visit->config->auth.on)
        visit_audit(visit); /* without a tenant it has been noted */
    if (list->of_all || list->call.tenant[0])
        return true;
    problem_set(&problem, PROBLEM_MISSING_TENANT, "Name the tenant in the header %.80s, or ask for all_tenants=true.",
                visit->config->tenant_header);
    visit_fail(visit, &problem);
    return false;
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
    if (!may_see(visit, list)) {
        call_release(&list->call);
        return;
    }
    if (!list->of_all)
        query.tenant = slice_str(list->call.tenant);
    list->call.read.query = query;
    call_post_reader(&list->call, visit->exchange, READ_LIST);
}
