/* The plugin side of <satchel/plugin.h>: checks what a plugin hands in and passes it on to the daemon that runs it.
 * Called by plugins alone.  Thread: as the header says; a task's own thread where it must be that. */
#include <satchel/context.h>
#include <string.h>

#include "proto/plugin_abi.h"

int satchel_plugin_handler(satchel_plugin *host, const char *name, satchel_handler fn, void *user,
                           const satchel_handler_options *options)
{
    return host ? host->ops->handler(host, name, fn, user, options) : SATCHEL_EINVAL;
}

const char *satchel_plugin_config(const satchel_plugin *host)
{
    return host && host->config ? host->config : "";
}

const char *satchel_plugin_path(const satchel_plugin *host)
{
    return host ? host->path : "";
}

int satchel_plugin_fail(satchel_plugin *host, const char *message)
{
    if (host)
        host->ops->fail(host, message ? message : "");
    return -1;
}

/* ---- reading ---- */

const char *satchel_task_name(const satchel_task *task)
{
    return task ? task->name : NULL;
}

const char *satchel_task_get_id(const satchel_task *task)
{
    return task ? task->id : NULL;
}

const char *satchel_task_parent_id(const satchel_task *task)
{
    return task ? task->parent_id : NULL;
}

const char *satchel_task_root_id(const satchel_task *task)
{
    return task ? task->root_id : NULL;
}

unsigned satchel_task_attempt(const satchel_task *task)
{
    return task ? task->attempt : 0;
}

unsigned satchel_task_max_attempts(const satchel_task *task)
{
    return task ? task->max_attempts : 0;
}

const char *satchel_task_args(const satchel_task *task, size_t *len)
{
    if (len)
        *len = task ? task->args.len : 0;
    return task ? task->args.data : NULL;
}

size_t satchel_task_after_count(const satchel_task *task)
{
    return task ? task->n_after : 0;
}

const char *satchel_task_after_id(const satchel_task *task, size_t index)
{
    return task && index < task->n_after ? task->after[index] : NULL;
}

const char *satchel_task_after_result(satchel_task *task, size_t index, size_t *len)
{
    struct slice result = {0};
    if (task && index < task->n_after && task->ops->own_thread(task))
        result = task->ops->after_result(task, index);
    if (len)
        *len = result.len;
    return result.data;
}

bool satchel_task_canceled(const satchel_task *task)
{
    return task && task->ops->canceled(task);
}

int satchel_task_cancel_fd(const satchel_task *task)
{
    return task ? task->ops->cancel_fd(task) : -1;
}

const char *satchel_task_error(const satchel_task *task)
{
    return task ? task->error : "";
}

/* ---- doing ---- */

static bool may(const satchel_task *task)
{
    return task && task->ops->own_thread(task);
}

static struct slice text_of(const char *text, size_t len)
{
    return text ? (struct slice){text, len} : (struct slice){"", 0};
}

int satchel_task_progress(satchel_task *task, double fraction, const char *message)
{
    if (!may(task) || !(fraction >= 0 && fraction <= 1))
        return SATCHEL_EINVAL;
    return task->ops->progress(task, fraction, slice_str(message ? message : ""));
}

int satchel_task_log(satchel_task *task, const char *line, size_t len)
{
    return may(task) && (line || len == 0) ? task->ops->log(task, text_of(line, len)) : SATCHEL_EINVAL;
}

int satchel_task_spawn(satchel_task *task, const char *submission, size_t len, char *id)
{
    return may(task) && submission ? task->ops->spawn(task, text_of(submission, len), id) : SATCHEL_EINVAL;
}

int satchel_task_succeed(satchel_task *task, const char *json, size_t len)
{
    return may(task) ? task->ops->succeed(task, text_of(json, json ? len : 0), true) : SATCHEL_EINVAL;
}

int satchel_task_succeed_text(satchel_task *task, const char *text, size_t len)
{
    return may(task) ? task->ops->succeed(task, text_of(text, text ? len : 0), false) : SATCHEL_EINVAL;
}

int satchel_task_fail(satchel_task *task, bool final, const char *message)
{
    return may(task) ? task->ops->fail(task, final, -1, message) : SATCHEL_EINVAL;
}

int satchel_task_retry_in(satchel_task *task, int64_t delay_ms, const char *message)
{
    return may(task) ? task->ops->fail(task, false, delay_ms > 0 ? delay_ms : 0, message) : SATCHEL_EINVAL;
}
