/* Called by list.c and actions.c. */
#include "api/list_query.h"

#include <stdio.h>

#include "api/cursor.h"
#include "proto/timetext.h"

static const char *const filters[] = {LIST_FILTERS};
#define N_FILTERS (sizeof filters / sizeof filters[0])

struct reading {
    struct slice binding;
    unsigned limit_max;
    char why[64];
};

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

static const char *read_limit(struct reading *r, struct slice value, struct list_query *query)
{
    unsigned limit = 0;
    for (size_t i = 0; i < value.len && limit <= r->limit_max; i++)
        limit = value.data[i] < '0' || value.data[i] > '9' ? r->limit_max + 1
                                                           : limit * 10 + (unsigned)(value.data[i] - '0');
    query->limit = limit;
    if (limit >= 1 && limit <= r->limit_max)
        return NULL;
    (void)snprintf(r->why, sizeof r->why, "it must be a number from 1 to %u", r->limit_max);
    return r->why;
}

static const char *read_id(struct slice value, struct task_id *ret)
{
    return task_id_parse(value.data, value.len, ret) ? NULL : "it must be the id of a task";
}

static const char *read_state(struct slice value, struct list_query *query)
{
    query->has_state = true;
    return task_state_parse(value, &query->state)
               ? NULL
               : "it must be scheduled, queued, running, succeeded, failed, canceled or expired";
}

static const char *read_error(struct slice value, struct list_query *query)
{
    query->has_error = true;
    for (int i = ERROR_TYPE_NONE + 1; i < ERROR_TYPE_COUNT; i++)
        if (slice_eq_str(value, error_type_name((enum error_type)i))) {
            query->error = (enum error_type)i;
            return NULL;
        }
    return "it must be the type of an error, such as handler, timeout, exit, http or lost";
}

static const char *read_time(struct slice value, int64_t *ret)
{
    return timestamp_parse(value.data, value.len, ret) && *ret > 0
               ? NULL
               : "it must be an RFC 3339 time, such as 2026-01-02T03:04:05Z";
}

static const char *read_filter(struct slice name, struct slice value, struct list_query *query)
{
    if (slice_eq_str(name, "state"))
        return read_state(value, query);
    if (slice_eq_str(name, "label"))
        return read_label(value, query);
    if (slice_eq_str(name, "parent"))
        return read_id(value, &query->parent);
    if (slice_eq_str(name, "root"))
        return read_id(value, &query->root);
    if (slice_eq_str(name, "error"))
        return read_error(value, query);
    if (slice_eq_str(name, "created_after"))
        return read_time(value, &query->created_after_us);
    if (slice_eq_str(name, "created_before"))
        return read_time(value, &query->created_before_us);
    if (slice_eq_str(name, "finished_before"))
        return read_time(value, &query->finished_before_us);
    if (slice_eq_str(name, "trace_id")) {
        query->trace_id = value;
        return is_trace_id(value) ? NULL : "it must be 32 hexadecimal digits in lower case";
    }
    if (slice_eq_str(name, "task"))
        query->name = value;
    else if (slice_eq_str(name, "request_id"))
        query->request_id = value;
    else if (slice_eq_str(name, "group"))
        query->group = value;
    return NULL;
}

static const char *read_param(struct reading *r, const struct param *param, struct list_query *query)
{
    struct slice name = param->name, value = param->value;
    if (value.len == 0)
        return "it is empty; leave it out";
    if (slice_eq_str(name, "limit"))
        return read_limit(r, value, query);
    if (slice_eq_str(name, "cursor"))
        return cursor_parse(value, r->binding, &query->before)
                   ? NULL
                   : "it is not a cursor of this list; start again without one";
    return read_filter(name, value, query);
}

/* So that no two lists look alike. */
static void write_binding(const struct params *params, const char *tenant, struct buf *binding)
{
    buf_append_str(binding, tenant);
    for (size_t i = 0; i < N_FILTERS; i++) {
        struct slice value = params_get(params, filters[i]);
        buf_append_char(binding, '\0');
        buf_append_u64(binding, value.data ? value.len + 1 : 0);
        buf_append_char(binding, ':');
        buf_append_slice(binding, value);
    }
}

int list_query_read(const struct params *params, const char *tenant, unsigned limit_max, struct buf *binding,
                    struct list_query *ret, struct problem *reterr)
{
    write_binding(params, tenant, binding);
    if (!buf_ok(binding)) {
        problem_set(reterr, PROBLEM_OVERLOADED, "There is no memory for this request; try again later.");
        reterr->retry_after_s = 1;
        return -1;
    }
    struct reading r = {.binding = buf_slice(binding), .limit_max = limit_max};
    for (size_t i = 0; i < params->n; i++) {
        const struct param *param = &params->list[i];
        const char *why = read_param(&r, param, ret);
        if (why) {
            problem_set(reterr, PROBLEM_INVALID_PARAMETER, "Query parameter \"%.*s\": %s.", (int)param->name.len,
                        param->name.data, why);
            return -1;
        }
    }
    return 0;
}

bool list_query_is_filtered(const struct params *params)
{
    for (size_t i = 0; i < N_FILTERS; i++)
        if (params_get(params, filters[i]).data)
            return true;
    return false;
}
