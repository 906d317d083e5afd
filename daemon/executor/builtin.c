/* satchel.noop, echo, sleep, fail and spawn; satchel.context has a file of its own.
 * Their args are checked here: what is wrong with them ends the task as failed, finally, and says what it was. */
#include "executor/builtin.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <stdarg.h>

#include "base/clock.h"
#include "proto/json_in.h"
#include "proto/json_out.h"

#define SLEEP_MAX_S (100.0 * 366 * 86400)
#define SPAWN_MAX 1000
#define ARGS_DEPTH 64 /* the submission's own limit is at most that */

static void bad_args(struct attempt *attempt, const char *what)
{
    attempt_fail(attempt, true, ERROR_TYPE_HANDLER, "%s: %s", attempt->type->name, what);
}

/* The args as an object; null counts as an empty one.  NULL: the attempt has failed. */
static json_t *args_object(struct attempt *attempt)
{
    char error[JSON_IN_ERROR_SIZE];
    json_t *args = json_in_load(attempt->spec->args, ARGS_DEPTH, error);
    if (json_is_object(args))
        return args;
    bool null = json_is_null(args);
    json_decref(args);
    args = null ? json_object() : NULL;
    if (!args && null)
        attempt_fail(attempt, false, ERROR_TYPE_OOM, "no memory for the args");
    else if (!args)
        bad_args(attempt, "args must be a JSON object");
    return args;
}

/* A whole number in 0..max, or `absent` where there is no such member.  -1: it is something else. */
static int64_t whole_number(const json_t *args, const char *name, int64_t absent, int64_t max)
{
    const json_t *member = json_object_get(args, name);
    if (!member)
        return absent;
    double value = json_number_value(member);
    return json_is_number(member) && value >= 0 && value <= (double)max && floor(value) == value ? (int64_t)value : -1;
}

static void run_noop(struct attempt *attempt)
{
    attempt_succeed(attempt, SLICE_LITERAL("null"));
}

static void run_echo(struct attempt *attempt)
{
    attempt_succeed(attempt, attempt->spec->args);
}

/* Waits on the cancel object's descriptor, so that a cancellation ends it at once.  False: canceled. */
static bool sleep_until(struct attempt *attempt, int64_t end_ns)
{
    struct pollfd cancel = {.fd = satchel_cancel_fd(attempt->cancel), .events = POLLIN};
    for (;;) {
        if (satchel_cancel_reason(attempt->cancel))
            return false;
        int64_t left = end_ns - clock_mono_ns();
        if (left <= 0)
            return true;
        struct timespec wait = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
        (void)ppoll(&cancel, 1, &wait, NULL);
    }
}

static void run_sleep(struct attempt *attempt)
{
    json_t *args = args_object(attempt);
    if (!args)
        return;
    const json_t *member = json_object_get(args, "seconds");
    double seconds = json_number_value(member);
    bool valid = json_is_number(member) && seconds >= 0 && seconds <= SLEEP_MAX_S;
    json_decref(args);
    if (!valid)
        bad_args(attempt, "args.seconds must be a number of seconds, 0 or more");
    else if (satchel_cancel_fd(attempt->cancel) < 0)
        attempt_fail(attempt, false, ERROR_TYPE_OOM, "no descriptor to wait for a cancellation");
    else if (sleep_until(attempt, clock_mono_ns() + (int64_t)(seconds * 1e9)))
        attempt_succeed(attempt, SLICE_LITERAL("null"));
    else
        attempt_end_canceled(attempt);
}

static void run_fail(struct attempt *attempt)
{
    json_t *args = args_object(attempt);
    if (!args)
        return;
    const json_t *member = json_object_get(args, "message");
    const char *message = member ? json_string_value(member) : "failed, as asked";
    int64_t times = whole_number(args, "times", INT64_MAX, UINT32_MAX);
    if (!message)
        bad_args(attempt, "args.message must be a string");
    else if (times < 0)
        bad_args(attempt, "args.times must be a whole number, 0 or more");
    else if (attempt->number > times)
        attempt_succeed(attempt, SLICE_LITERAL("null"));
    else
        attempt_fail(attempt, false, ERROR_TYPE_HANDLER, "%s", message);
    json_decref(args);
}

/* ---- satchel.spawn ---- */

static const char *spawn_fault(const json_t *args)
{
    static const char *const known[] = {"task", "args", "count"};
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)args, name, value)
    {
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
            found = found || strcmp(name, known[i]) == 0;
        if (!found)
            return "args may have the members task, args and count only";
    }
    if (!json_is_string(json_object_get(args, "task")))
        return "args.task must be the name of a task type";
    return whole_number(args, "count", 1, SPAWN_MAX) < 0 ? "args.count must be a whole number from 0 to 1000" : NULL;
}

/* {"task": NAME, "args": the raw text}: both as they were sent, so that numbers keep every digit. */
static void spawn_body(struct slice args, struct buf *body)
{
    struct json_member members[3];
    size_t n = json_in_members(args, members, 3);
    struct json_out j = json_out_to(body);
    json_out_begin_object(&j);
    for (size_t i = 0; i < n && i < 3; i++)
        if (slice_eq_str(members[i].name, "task") || slice_eq_str(members[i].name, "args")) {
            json_out_key_slice(&j, members[i].name);
            json_out_raw(&j, members[i].value);
        }
    json_out_end_object(&j);
}

static void spawn_all(struct attempt *attempt, struct slice body, int64_t count)
{
    struct buf ids = BUF_INIT;
    struct json_out j = json_out_to(&ids);
    struct problem problem = {0};
    bool submitted = true, canceled = false;
    json_out_begin_array(&j);
    for (int64_t i = 0; i < count && submitted && !canceled; i++) {
        struct task_id id;
        char text[TASK_ID_TEXT_SIZE];
        canceled = satchel_cancel_reason(attempt->cancel) != 0;
        submitted = canceled || attempt->host->spawn(attempt->host_arg, attempt, body, &id, &problem) == 0;
        if (!submitted || canceled)
            break;
        task_id_format(id, text);
        json_out_string(&j, slice_str(text));
    }
    json_out_end_array(&j);
    if (canceled) {
        attempt_end_canceled(attempt);
    } else if (!submitted) {
        int status = problem_status(problem.code);
        const char *detail = problem.n_errors ? problem.errors[0].detail : problem.detail;
        attempt_fail(attempt, status < 500 && status != 429, ERROR_TYPE_HANDLER, "the sub-task was refused: %s%s%s",
                     problem_title(problem.code), detail[0] ? ": " : "", detail);
    } else if (buf_ok(&ids)) {
        attempt_succeed(attempt, buf_slice(&ids));
    } else {
        attempt_fail(attempt, false, ERROR_TYPE_OOM, "no memory for the ids");
    }
    buf_release(&ids);
}

static void run_spawn(struct attempt *attempt)
{
    json_t *args = args_object(attempt);
    if (!args)
        return;
    const char *fault = spawn_fault(args);
    int64_t count = whole_number(args, "count", 1, SPAWN_MAX);
    struct buf body = BUF_INIT;
    spawn_body(attempt->spec->args, &body);
    if (fault)
        bad_args(attempt, fault);
    else if (!attempt->host || !attempt->host->spawn)
        attempt_fail(attempt, true, ERROR_TYPE_HANDLER, "sub-tasks cannot be submitted here");
    else if (!buf_ok(&body))
        attempt_fail(attempt, false, ERROR_TYPE_OOM, "no memory for the sub-task");
    else
        spawn_all(attempt, buf_slice(&body), count);
    buf_release(&body);
    json_decref(args);
}

const struct builtin builtins[] = {
    {"satchel.noop", run_noop, true}, {"satchel.echo", run_echo, true},           {"satchel.sleep", run_sleep, false},
    {"satchel.fail", run_fail, true}, {"satchel.context", builtin_context, true}, {"satchel.spawn", run_spawn, false},
};
const size_t n_builtins = sizeof builtins / sizeof builtins[0];

static void run_builtin(const struct task_type *type, struct attempt *attempt)
{
    const struct builtin *builtin = type->detail;
    builtin->run(attempt);
}

const struct executor builtin_executor = {"builtin", run_builtin};
