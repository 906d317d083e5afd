/* Sub-tasks: an attempt submits through the same door as a request, with the context that its handler has set up.
 * The worker's thread waits until the sub-task is durable.
 * Flow: executor -> attempt_host.spawn -> submission_parse -> engine_post -> on_delivered -> the worker again. */
#include <errno.h>
#include <semaphore.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>

#include "api/idempotency.h"
#include "api/internal.h"
#include "task/inherit.h"
#include "task/propagate.h"
#include "task/render.h"
#include "task/submission.h"

#define TELL_TRIES 100 /* 2 ms apart */

struct spawn_call {
    struct engine_call call;
    sem_t done;
};

static void on_delivered(struct engine_call *call)
{
    struct spawn_call *spawn = (struct spawn_call *)(void *)((char *)call - offsetof(struct spawn_call, call));
    (void)sem_post(&spawn->done); /* the last access: the worker may be gone with it now */
}

static void wait_for(sem_t *done)
{
    while (sem_wait(done) < 0 && errno == EINTR) {
    }
}

/* ---- the submission ---- */

static int out_of_memory(struct problem *reterr)
{
    problem_set(reterr, PROBLEM_OVERLOADED, "There is no memory for this sub-task.");
    return -1;
}

static int read_submission(struct api *api, const struct attempt *attempt, struct slice body, struct submission *ret,
                           struct problem *reterr)
{
    struct buf origins = BUF_INIT;
    struct registry *registry = api_registry(api);
    satchel_context *context = propagate_permitted(attempt->type->propagate | PROPAGATE_TENANT); /* not as nobody */
    int result = -1;
    if (context)
        inherit_origins(context, attempt->spec->id, &origins);
    if (!context || !buf_ok(&origins)) {
        (void)out_of_memory(reterr);
    } else if (!satchel_context_has(context, satchel_known_var(SATCHEL_TENANT))) {
        problem_set(reterr, PROBLEM_MISSING_TENANT, "The calling context has no tenant; a task cannot run as nobody.");
    } else {
        struct submission_input input = {
            .config = registry_config(registry),
            .registry = registry,
            .body = body,
            .pointer = "",
            .root_sampling = api->root_sampling,
            .context = context,
            .origins = buf_slice(&origins),
            .parent = attempt->spec->id,
            .root = attempt->spec->root,
        };
        result = submission_parse(&input, ret, reterr);
    }
    satchel_context_unref(context);
    registry_unref(registry);
    buf_release(&origins);
    return result;
}

/* ---- the call ---- */

static int read_answer(struct engine_call *call, struct task_id *ret_id, struct problem *reterr)
{
    int result = -1;
    switch (call->result) {
    case ENGINE_OK:
    case ENGINE_REPLAYED:
        *ret_id = call->record.spec->id;
        result = 0;
        break;
    case ENGINE_KEY_MISMATCH:
        problem_set(reterr, PROBLEM_IDEMPOTENCY_MISMATCH, "The idempotency key was used for another submission.");
        break;
    case ENGINE_KEY_GONE:
        problem_set(reterr, PROBLEM_TASK_GONE, "The task that this idempotency key made was deleted.");
        break;
    case ENGINE_QUOTA:
        problem_set(reterr, PROBLEM_QUOTA_EXCEEDED, "%s",
                    call->fault == QUOTA_RATE ? "The tenant submits faster than it may."
                                              : "There are as many waiting tasks as there may be.");
        break;
    case ENGINE_DRAINED:
        problem_set(reterr, PROBLEM_DRAINING, "An operator drains the daemon, the tenant or the task type.");
        break;
    case ENGINE_DRAINING: problem_set(reterr, PROBLEM_DRAINING, "satcheld is shutting down."); break;
    case ENGINE_NO_PREDECESSOR:
        problem_add(reterr, PROBLEM_INVALID_SUBMISSION, "/after", "this tenant has no task of the id at %u of after",
                    call->fault);
        break;
    case ENGINE_NOT_UNIQUE: {
        char id[TASK_ID_TEXT_SIZE];
        task_id_format(call->record.spec->id, id);
        problem_set(reterr, PROBLEM_NOT_UNIQUE, "Task %s has this unique key.", id);
        break;
    }
    case ENGINE_NO_PARENT:
    case ENGINE_NOT_LIVE:
    case ENGINE_NOT_FOUND:
    case ENGINE_CONFLICT:
    case ENGINE_STORE_FULL:
    case ENGINE_STORE_FAILED:
    default: problem_set(reterr, PROBLEM_STORE_UNAVAILABLE, "The store cannot take the sub-task now."); break;
    }
    if (result < 0)
        reterr->retry_after_s = call->retry_after_s;
    task_record_release(&call->record);
    return result;
}

static int spawn(void *host, struct attempt *attempt, struct slice body, struct task_id *ret_id, struct problem *reterr)
{
    struct api *api = host;
    struct submission submission;
    if (read_submission(api, attempt, body, &submission, reterr) < 0)
        return -1;
    struct spawn_call own = {
        .call = {.kind = ENGINE_SUBMIT, .deliver = on_delivered, .spec = submission.spec, .id = submission.spec->id}};
    if (submission.idempotency_key.data &&
        !idempotency_set(&own.call, attempt->spec->tenant, submission.idempotency_key, body)) {
        task_spec_unref(submission.spec);
        return out_of_memory(reterr);
    }
    (void)sem_init(&own.done, 0, 0);
    int result = -1;
    if (engine_post(api->engine, &own.call)) {
        wait_for(&own.done);
        result = read_answer(&own.call, ret_id, reterr);
    } else {
        task_spec_unref(submission.spec);
        problem_set(reterr, PROBLEM_OVERLOADED, "Too many requests wait for the engine.");
        reterr->retry_after_s = 1;
    }
    (void)sem_destroy(&own.done);
    return result;
}

/* ---- a task shown to an attempt ---- */

struct show_call {
    struct read_call call;
    sem_t done;
};

static void on_read(struct read_call *call)
{
    struct show_call *show = (struct show_call *)(void *)((char *)call - offsetof(struct show_call, call));
    (void)sem_post(&show->done);
}

static int show(void *host, const struct attempt *attempt, struct task_id id, struct buf *out)
{
    struct api *api = host;
    struct show_call own = {.call = {.kind = READ_TASK, .deliver = on_read, .id = id, .tenant = attempt->spec->tenant}};
    (void)sem_init(&own.done, 0, 0);
    int result = -EAGAIN;
    if (reader_post(api->reader, &own.call)) {
        wait_for(&own.done);
        if (own.call.result == STORE_OK && own.call.record.spec) {
            struct json_out j = json_out_to(out);
            task_render(&own.call.record, NULL, api->node, &j);
            result = 0;
        } else if (own.call.result == STORE_NOT_FOUND) {
            result = -ENOENT;
        }
        task_record_release(&own.call.record);
    }
    (void)sem_destroy(&own.done);
    return result;
}

/* ---- what an attempt tells ---- */

static void progress(void *host, struct attempt *attempt, double fraction, struct slice message)
{
    enum { NOTE_MAX = 1024 };
    const struct api *api = host;
    if (message.len > NOTE_MAX) /* and not in the middle of a character */
        for (message.len = NOTE_MAX; message.len && ((unsigned char)message.data[message.len] & 0xc0) == 0x80;)
            message.len--;
    (void)engine_tell(api->engine, attempt, fraction, message, (struct slice){0});
}

/* A flood is slowed down: its command waits at its pipe meanwhile.  Where the engine takes nothing at all (the disk is
 * full), what is told gets lost in the end, and not the worker. */
static bool tell_log(const struct api *api, const struct attempt *attempt, struct slice text)
{
    const struct timespec moment = {.tv_nsec = 2000000};
    for (int i = 0; i < TELL_TRIES; i++) {
        if (engine_tell(api->engine, attempt, -1, (struct slice){0}, text))
            return true;
        (void)nanosleep(&moment, NULL);
    }
    return false;
}

static void log_line(void *host, struct attempt *attempt, struct slice line)
{
    const struct api *api = host;
    struct buf text = BUF_INIT;
    if (attempt->log_lines_lost) {
        char mark[64];
        (void)snprintf(mark, sizeof mark, "[satcheld: %u lines were left out]\n", attempt->log_lines_lost);
        buf_append_str(&text, mark);
    }
    buf_append_slice(&text, line);
    buf_append_char(&text, '\n');
    bool told = buf_ok(&text) && tell_log(api, attempt, buf_slice(&text));
    attempt->log_lines_lost = told ? 0 : attempt->log_lines_lost + 1;
    buf_release(&text);
}

/* ---- what its child processes call with ---- */

_Static_assert(TASK_TOKEN_SIZE <= ATTEMPT_TOKEN_SIZE, "it fits");

static bool token(void *host, const struct attempt *attempt, char out[ATTEMPT_TOKEN_SIZE])
{
    struct api *api = host;
    struct registry *registry = api_registry(api);
    bool made = auth_task_token(api->auth, &registry_config(registry)->auth, attempt->spec->tenant, attempt->spec->id,
                                attempt->number, attempt->deadline_us, out);
    registry_unref(registry);
    return made;
}

const struct attempt_host spawn_host = {
    .spawn = spawn, .show = show, .progress = progress, .log = log_line, .token = token};
