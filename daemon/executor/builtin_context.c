/* satchel.context: tells what the thread that runs it reads through the public context API, and nothing else: it is
 * how anybody can see whether a context arrived whole.  Values are strings as the headers would have them. */
#include <stdlib.h>

#include "executor/builtin.h"
#include "proto/json_out.h"

#define SECRET_MASK "***"

static void put(struct json_out *j, const char *name, const char *value)
{
    if (value)
        json_out_member(j, name, slice_str(value));
}

static const char *read_text(satchel_known which)
{
    void *data;
    return satchel_get(satchel_known_var(which), &data) == SATCHEL_OK ? data : NULL;
}

static bool is_known(const satchel_var *var)
{
    for (int which = 0; which < SATCHEL_KNOWN_COUNT; which++)
        if (var == satchel_known_var((satchel_known)which))
            return true;
    return false;
}

/* Variables set through the body, by configured headers, or by a program of its own kind: those that have a text. */
static int put_other(satchel_var *var, void *data, void *arg)
{
    struct json_out *j = arg;
    satchel_value *value;
    (void)data;
    if (is_known(var))
        return 0;
    if (satchel_var_flags(var) & SATCHEL_VAR_SECRET) { /* a result is public: only that there is one is told */
        json_out_member(j, satchel_var_name(var), SLICE_LITERAL(SECRET_MASK));
        return 0;
    }
    if (satchel_get_value(var, &value) != SATCHEL_OK)
        return 0;
    size_t len = satchel_value_text(value, NULL, 0);
    char *text = len < SIZE_MAX ? malloc(len + 1) : NULL;
    if (text && satchel_value_text(value, text, len + 1) == len)
        json_out_member(j, satchel_var_name(var), slice_of(text, len));
    else if (len < SIZE_MAX)
        j->to->failed = true;
    free(text);
    satchel_value_unref(value);
    return 0;
}

void builtin_context(struct attempt *attempt)
{
    struct buf out = BUF_INIT;
    struct json_out j = json_out_to(&out);
    json_out_begin_object(&j);
    put(&j, "tenant", satchel_tenant());
    put(&j, "traceparent", satchel_traceparent());
    put(&j, "tracestate", satchel_tracestate());
    put(&j, "baggage", satchel_baggage());
    put(&j, "request_id", satchel_request_id());
    put(&j, "correlation_id", satchel_correlation_id());
    put(&j, "deadline", read_text(SATCHEL_DEADLINE));
    put(&j, "task_id", satchel_task_id());
    const char *number = read_text(SATCHEL_ATTEMPT);
    if (number)
        json_out_member_i64(&j, "attempt", strtoll(number, NULL, 10));
    (void)satchel_context_each(NULL, put_other, &j);
    json_out_end_object(&j);
    if (buf_ok(&out))
        attempt_succeed(attempt, buf_slice(&out));
    else
        attempt_fail(attempt, false, ERROR_TYPE_OOM, "no memory for the context's text");
    buf_release(&out);
}
