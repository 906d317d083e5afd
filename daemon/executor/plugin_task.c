/* One attempt in a plugin's handler: the table behind its satchel_task, and the end of the attempt.
 * Thread: the attempt's worker; canceled, cancel_fd and own_thread any. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "executor/plugin.h"
#include "executor/result.h"
#include "proto/json_in.h"
#include "proto/plugin_abi.h"

struct running {
    satchel_task task; /* first: what the handler holds */
    struct attempt *attempt;
    pthread_t thread;
    bool succeeded, failed; /* what the last of the two calls said */
    bool gave_way;          /* ... that it failed, when it had been told to end */
    struct buf results;     /* of the tasks before it, a JSON array; empty: not read yet */
    char id[TASK_ID_TEXT_SIZE], parent_id[TASK_ID_TEXT_SIZE], root_id[TASK_ID_TEXT_SIZE];
};

static struct running *running_of(const satchel_task *task)
{
    return (struct running *)(uintptr_t)task;
}

static bool own_thread(const satchel_task *task)
{
    return pthread_equal(running_of(task)->thread, pthread_self());
}

static bool canceled(const satchel_task *task)
{
    return satchel_cancel_reason(running_of(task)->attempt->cancel) != 0;
}

static int cancel_fd(const satchel_task *task)
{
    return satchel_cancel_fd(running_of(task)->attempt->cancel);
}

static int progress(satchel_task *task, double fraction, struct slice message)
{
    struct attempt *attempt = running_of(task)->attempt;
    if (attempt->host && attempt->host->progress)
        attempt->host->progress(attempt->host_arg, attempt, fraction, message);
    return SATCHEL_OK;
}

static int log_line(satchel_task *task, struct slice line)
{
    struct attempt *attempt = running_of(task)->attempt;
    if (attempt->host && attempt->host->log)
        attempt->host->log(attempt->host_arg, attempt, line);
    return SATCHEL_OK;
}

static int spawn(satchel_task *task, struct slice submission, char *id)
{
    struct attempt *attempt = running_of(task)->attempt;
    struct problem problem = {0};
    struct task_id made;
    if (!attempt->host || !attempt->host->spawn) {
        (void)snprintf(task->error, sizeof task->error, "sub-tasks cannot be submitted here");
        return SATCHEL_EGRAMMAR;
    }
    if (attempt->host->spawn(attempt->host_arg, attempt, submission, &made, &problem) == 0) {
        if (id)
            task_id_format(made, id);
        return SATCHEL_OK;
    }
    const char *detail = problem.n_errors ? problem.errors[0].detail : problem.detail;
    (void)snprintf(task->error, sizeof task->error, "%.100s%s%.150s", problem_title(problem.code),
                   detail[0] ? ": " : "", detail);
    int status = problem_status(problem.code);
    return status == 429 || status >= 500 ? SATCHEL_ELIMIT : SATCHEL_EGRAMMAR;
}

static int refuse_result(struct running *r, bool final, enum error_type type, const char *why)
{
    (void)snprintf(r->task.error, sizeof r->task.error, "%s", why);
    attempt_fail(r->attempt, final, type, "%s", why);
    r->succeeded = false;
    r->failed = true;
    return 1;
}

static int succeed(satchel_task *task, struct slice result, bool is_json)
{
    struct running *r = running_of(task);
    struct attempt *attempt = r->attempt;
    struct buf json = BUF_INIT;
    bool valid = true;
    r->attempt->retry_after_us = -1;
    if (is_json)
        valid = result_from_json(result, attempt->type->max_depth, &json);
    else
        result_from_string(result, &json);
    int code = 0;
    if (!valid)
        code = refuse_result(r, true, ERROR_TYPE_HANDLER, "the handler's result is not valid JSON");
    else if (!buf_ok(&json))
        code = refuse_result(r, false, ERROR_TYPE_OOM, "no memory for the handler's result");
    else if (json.len > attempt->type->max_result)
        code = refuse_result(r, true, ERROR_TYPE_LIMIT, "the handler's result is larger than results may be");
    else {
        attempt_succeed(attempt, buf_slice(&json));
        r->succeeded = true;
        r->failed = false;
    }
    buf_release(&json);
    return code;
}

static int fail(satchel_task *task, bool final, int64_t delay_ms, const char *message)
{
    struct running *r = running_of(task);
    int64_t delay_us;
    attempt_fail(r->attempt, final, ERROR_TYPE_HANDLER, "%s",
                 message && *message ? message : "the handler failed and did not say why");
    if (__builtin_mul_overflow(delay_ms, INT64_C(1000), &delay_us))
        delay_us = INT64_MAX / 2;
    r->attempt->retry_after_us = delay_ms < 0 ? -1 : delay_us;
    r->succeeded = false;
    r->failed = true;
    r->gave_way = !final && canceled(task);
    return 1;
}

static struct slice after_result(satchel_task *task, size_t index)
{
    struct running *r = running_of(task);
    char place[24];
    if (!r->results.len && !attempt_after(r->attempt, &r->results, task->error, sizeof task->error)) {
        buf_release(&r->results);
        return (struct slice){0};
    }
    if (!buf_ok(&r->results)) {
        (void)snprintf(task->error, sizeof task->error, "no memory for the results of the tasks before it");
        return (struct slice){0};
    }
    int len = snprintf(place, sizeof place, "%zu", index);
    return json_in_find(buf_slice(&r->results), slice_of(place, (size_t)len));
}

static const struct satchel_task_ops ops = {.own_thread = own_thread,
                                            .canceled = canceled,
                                            .cancel_fd = cancel_fd,
                                            .progress = progress,
                                            .log = log_line,
                                            .spawn = spawn,
                                            .succeed = succeed,
                                            .after_result = after_result,
                                            .fail = fail};

static const char *id_text(struct task_id id, char room[TASK_ID_TEXT_SIZE])
{
    if (task_id_is_none(id))
        return NULL;
    task_id_format(id, room);
    return room;
}

/* It was told to end, and failed: why it was told counts, and what it said is added.  A stop is no failure of its own. */
static void give_way(struct attempt *attempt)
{
    struct task_outcome *said = task_outcome_ref(attempt->outcome);
    attempt_end_canceled(attempt);
    if (said && attempt->outcome && attempt->end != ATTEMPT_LOST) {
        struct task_outcome *why = task_outcome_ref(attempt->outcome);
        attempt_fail(attempt, attempt->end == ATTEMPT_FAILED_FINAL, why->error, "%s: %s", why->message, said->message);
        task_outcome_unref(why);
    }
    task_outcome_unref(said);
}

/* What the handler returned, beside what it said while it ran. */
static void finish(struct running *r, int returned)
{
    struct attempt *attempt = r->attempt;
    if (r->failed && r->gave_way)
        give_way(attempt);
    if (r->failed || (r->succeeded && returned == 0))
        return;
    if (returned == 0)
        attempt_succeed(attempt, SLICE_LITERAL("null"));
    else if (canceled(&r->task))
        attempt_end_canceled(attempt);
    else
        attempt_fail(attempt, false, ERROR_TYPE_HANDLER, "the handler returned %d and did not say why", returned);
}

static void run_plugin(const struct task_type *type, struct attempt *attempt)
{
    const struct plugin_handler *handler = type->detail;
    const struct task_spec *spec = attempt->spec;
    struct running r = {.attempt = attempt, .thread = pthread_self(), .results = BUF_INIT};
    char after_text[TASK_AFTER_MAX][TASK_ID_TEXT_SIZE];
    const char *after[TASK_AFTER_MAX];
    size_t n_after = task_after_count(spec);
    for (size_t i = 0; i < n_after; i++)
        after[i] = id_text(task_after_at(spec, i), after_text[i]);
    r.task = (satchel_task){.ops = &ops,
                            .name = type->name,
                            .id = id_text(spec->id, r.id),
                            .parent_id = id_text(spec->parent, r.parent_id),
                            .root_id = id_text(task_id_is_none(spec->root) ? spec->id : spec->root, r.root_id),
                            .attempt = attempt->number,
                            .max_attempts = spec->max_attempts,
                            .n_after = n_after,
                            .after = after,
                            .args = spec->args};
    finish(&r, handler->fn(&r.task, handler->user));
    buf_release(&r.results);
}

const struct executor plugin_executor = {"plugin", run_plugin};
