/* The ends of an attempt.  Called by every executor, on the attempt's worker thread. */
#include "executor/attempt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "executor/executor.h"
#include "executor/result.h"
#include "proto/json_in.h"
#include "proto/json_out.h"

#define MESSAGE_SIZE 1024
#define AFTER_RESULTS_MAX ((size_t)64 << 20) /* of the results of all tasks that one waited for */

static void end(struct attempt *attempt, enum attempt_end how, struct task_outcome *outcome)
{
    task_outcome_unref(attempt->outcome);
    attempt->outcome = outcome;
    attempt->end = outcome || how == ATTEMPT_LOST ? how : ATTEMPT_FAILED; /* no memory: may be repeated */
}

void attempt_succeed(struct attempt *attempt, struct slice result_json)
{
    if (result_json.len > attempt->type->max_result) {
        attempt_fail(attempt, true, ERROR_TYPE_LIMIT, "the result has %zu bytes; the limit is %zu", result_json.len,
                     attempt->type->max_result);
        return;
    }
    struct blob *blob = blob_new(result_json);
    struct task_outcome *outcome = blob ? task_outcome_success(blob) : NULL;
    if (!outcome)
        blob_unref(blob);
    end(attempt, ATTEMPT_SUCCEEDED, outcome);
}

void attempt_succeed_text(struct attempt *attempt, struct slice text)
{
    struct buf json = BUF_INIT;
    result_from_text(text, attempt->type->max_depth, &json);
    if (buf_ok(&json))
        attempt_succeed(attempt, buf_slice(&json));
    else
        attempt_fail(attempt, false, ERROR_TYPE_OOM, "no memory for a result of %zu bytes", text.len);
    buf_release(&json);
}

void attempt_fail(struct attempt *attempt, bool final, enum error_type error, const char *format, ...)
{
    char message[MESSAGE_SIZE];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    struct buf clean = BUF_INIT; /* a cut or a handler's bytes must not make invalid UTF-8 */
    result_clean_utf8(slice_str(message), &clean);
    struct slice text = buf_ok(&clean) && clean.len ? buf_slice(&clean) : SLICE_LITERAL("failed");
    end(attempt, final ? ATTEMPT_FAILED_FINAL : ATTEMPT_FAILED, task_outcome_failure(error, text));
    buf_release(&clean);
}

void attempt_lose(struct attempt *attempt, const char *message)
{
    end(attempt, ATTEMPT_LOST, task_outcome_failure(ERROR_TYPE_LOST, slice_str(message)));
}

void attempt_sent(struct attempt *attempt, const char *to, struct slice target)
{
    if (attempt->sent.len)
        buf_append_char(&attempt->sent, ',');
    struct json_out j = json_out_to(&attempt->sent);
    json_out_begin_object(&j);
    json_out_member(&j, "to", slice_str(to));
    json_out_member(&j, "target", target);
    json_out_member_i64(&j, "propagate", attempt->type->propagate);
    json_out_end_object(&j);
}

void attempt_end_canceled(struct attempt *attempt)
{
    switch ((enum cancel_reason)satchel_cancel_reason(attempt->cancel)) {
    case CANCEL_TIMEOUT: attempt_fail(attempt, false, ERROR_TYPE_TIMEOUT, "the attempt's time limit ran out"); return;
    case CANCEL_DEADLINE: attempt_fail(attempt, true, ERROR_TYPE_DEADLINE, "the task's deadline passed"); return;
    case CANCEL_SHUTDOWN: attempt_lose(attempt, "the daemon was stopped"); return;
    case CANCEL_REQUESTED: break;
    }
    attempt_fail(attempt, true, ERROR_TYPE_CANCELED, "canceled");
}

/* One result, of the task's text as the API shows it. */
static bool append_result(struct attempt *attempt, struct task_id id, struct buf *out)
{
    struct buf task = BUF_INIT;
    struct slice result = {0};
    int err =
        attempt->host && attempt->host->show ? attempt->host->show(attempt->host_arg, attempt, id, &task) : -ENOENT;
    if (err == 0 && buf_ok(&task))
        result = json_in_find(buf_slice(&task), SLICE_LITERAL("result"));
    buf_append_slice(out, result.len ? result : SLICE_LITERAL("null"));
    buf_release(&task);
    return err == 0 || err == -ENOENT;
}

bool attempt_after(struct attempt *attempt, struct buf *out, char *error, size_t error_size)
{
    bool read = true;
    buf_append_char(out, '[');
    for (size_t i = 0; read && i < task_after_count(attempt->spec); i++) {
        if (i)
            buf_append_char(out, ',');
        read = append_result(attempt, task_after_at(attempt->spec, i), out);
        if (out->len > AFTER_RESULTS_MAX) {
            (void)snprintf(error, error_size, "the results of the tasks before it have more than %zu bytes together",
                           AFTER_RESULTS_MAX);
            return false;
        }
    }
    buf_append_char(out, ']');
    if (!read)
        (void)snprintf(error, error_size, "the results of the tasks before it cannot be read just now");
    return read;
}

const char *attempt_retry_reason(const struct attempt *attempt)
{
    if (attempt->number <= 1)
        return NULL;
    if (attempt->failures == 0 && attempt->previous_lost == 0)
        return "retry"; /* both are counted from the last retry by hand */
    if (attempt->before == ERROR_TYPE_NONE)
        return attempt->failures ? "failed" : error_type_name(ERROR_TYPE_LOST);
    return error_type_name(attempt->before);
}
