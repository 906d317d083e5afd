/* Start, run, leave, look whether the thread is clean, and the times. */
#include "worker/attempt_run.h"

#include "base/clock.h"
#include "base/log.h"
#include "executor/executor.h"
#include "worker/attempt_context.h"

/* Said in the attempt's context, which was left before: tenant, trace and request belong to the line. */
static void complain(struct attempt *attempt, const char *what)
{
    char id[TASK_ID_TEXT_SIZE];
    task_id_format(attempt->spec->id, id);
    satchel_context *context = attempt_context_enter(attempt);
    LOG_ERROR(what, LOG_TEXT("task", attempt->type->name), LOG_TEXT("task_id", id),
              LOG_NUMBER("attempt", attempt->number));
    if (context)
        (void)attempt_context_leave(context);
}

static void set_end_times(struct attempt *attempt, int64_t start_ns)
{
    attempt->run_ns = clock_mono_ns() - start_ns;
    attempt->finished_us = attempt->started_us + attempt->run_ns / 1000; /* never before the start */
}

/* A handler that ends its thread does not come back to attempt_context_leave. */
static void drop_context(void *context)
{
    satchel_context_unref(context);
}

static void run_in(satchel_context *context, struct attempt *attempt)
{
    pthread_cleanup_push(drop_context, context);
    if (satchel_cancel_reason(attempt->cancel))
        attempt_end_canceled(attempt);
    else
        attempt->type->executor->run(attempt->type, attempt);
    pthread_cleanup_pop(0);
}

bool attempt_run(struct attempt *attempt)
{
    bool clean = true;
    int64_t start_ns = clock_mono_ns();
    attempt->started_us = clock_wall_us();
    attempt->end = ATTEMPT_FAILED;
    started_set(attempt->mark, attempt->spec->id, attempt->number, attempt->started_us);
    satchel_context *context = attempt_context_enter(attempt);
    if (context) {
        run_in(context, attempt);
        clean = attempt_context_leave(context);
    } else {
        attempt_fail(attempt, false, ERROR_TYPE_OOM, "no memory for the attempt's context");
    }
    set_end_times(attempt, start_ns);
    if (!clean)
        complain(attempt, "a handler left context behind on its worker thread; it was removed");
    return clean;
}

void attempt_run_abandoned(struct attempt *attempt)
{
    attempt_fail(attempt, false, ERROR_TYPE_HANDLER, "the handler ended its worker thread instead of returning");
    attempt->finished_us = clock_wall_us();
    if (attempt->finished_us < attempt->started_us)
        attempt->finished_us = attempt->started_us;
    attempt->run_ns = (attempt->finished_us - attempt->started_us) * 1000;
    complain(attempt, "a handler ended its worker thread");
}
