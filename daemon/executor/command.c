/* A configured command: its settings, its argv for one attempt, and what its end means for the attempt.
 * Called by registry.c and, through the executor's table, by the workers. */
#include "executor/command.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "base/log.h"
#include "config/grammar.h"
#include "executor/launcher.h"
#include "executor/result.h"

#define ARGUMENT_MAX 131071u /* the kernel's longest argument, without its NUL */
#define LAST_LINE_MAX 300u   /* of standard error, in the message of a failure */

/* ---- settings ---- */

static void command_free(void *arg)
{
    struct command *command = arg;
    if (!command)
        return;
    for (size_t i = 0; i < command->n_arguments; i++)
        template_release(&command->arguments[i]);
    free(command->arguments);
    command_environment_release(command);
    free(command);
}

static struct command *command_new(const struct config_task *task, char *error, size_t error_size)
{
    struct command *command = calloc(1, sizeof *command);
    if (command)
        command->arguments = calloc(task->command.n, sizeof command->arguments[0]);
    if (!command || !command->arguments) {
        (void)snprintf(error, error_size, "out of memory");
        free(command);
        return NULL;
    }
    command->task = task;
    command_confine_init(command);
    for (; command->n_arguments < task->command.n; command->n_arguments++) {
        const char *fault;
        if (template_parse(task->command.items[command->n_arguments], &command->arguments[command->n_arguments],
                           &fault) < 0) {
            (void)snprintf(error, error_size, "%s: task \"%.80s\": command: \"%.80s\" %s", task->where, task->name,
                           task->command.items[command->n_arguments], fault);
            command_free(command);
            return NULL;
        }
        command->uses_after = command->uses_after || template_uses_after(&command->arguments[command->n_arguments]);
    }
    if (command_environment_init(command, error, error_size) < 0) {
        command_free(command);
        return NULL;
    }
    return command;
}

static bool is_shell(const char *program)
{
    static const char *const shells[] = {"sh",  "bash",    "dash", "ash", "ksh", "mksh",
                                         "zsh", "busybox", "fish", "csh", "tcsh"};
    const char *slash = strrchr(program, '/');
    for (size_t i = 0; i < sizeof shells / sizeof shells[0]; i++)
        if (strcmp(slash ? slash + 1 : program, shells[i]) == 0)
            return true;
    return false;
}

/* A value that is filled into a shell's script is run by it; as an argument behind the script it is not. */
static void warn_of_script(const struct config_task *task)
{
    bool shell = false;
    for (size_t i = 0; i + 1 < task->command.n; i++) {
        const char *option = task->command.items[i];
        shell = shell || is_shell(option);
        if (!shell || option[0] != '-' || option[1] == '-' || !strchr(option, 'c'))
            continue;
        if (strstr(task->command.items[i + 1], "{{"))
            LOG_WARNING("a submission's values become a part of this shell script, which runs them: give them as "
                        "further arguments and write \"$1\" in it",
                        LOG_TEXT("task", task->name), LOG_TEXT("where", task->where));
        return;
    }
}

/* ---- an attempt ---- */

static void free_arguments(char **arguments)
{
    for (size_t i = 0; arguments && arguments[i]; i++)
        free(arguments[i]);
    free(arguments);
}

/* The argv; NULL: the attempt has failed. */
static char **fill_arguments(const struct command *command, struct attempt *attempt)
{
    char **arguments = calloc(command->n_arguments + 1, sizeof(char *));
    char error[TEMPLATE_ERROR_SIZE] = "";
    bool memory = arguments != NULL;
    struct buf after = BUF_INIT;
    bool read = !command->uses_after || attempt_after(attempt, &after, error, sizeof error);
    const struct template_values values = {attempt->spec->args, buf_slice(&after)};
    bool dash = command->task->allow_dash;
    for (size_t i = 0; read && memory && i < command->n_arguments; i++) {
        struct buf text = BUF_INIT;
        bool filled = template_expand(&command->arguments[i], &values, dash, &text, error);
        dash = dash || (i > 0 && strcmp(command->task->command.items[i], "--") == 0); /* no options behind it */
        if (filled && text.len > ARGUMENT_MAX) {
            (void)snprintf(error, sizeof error, "argument %zu would have %zu bytes; no program takes more than %u", i,
                           text.len, ARGUMENT_MAX);
            filled = false;
        }
        if (filled)
            memory = (arguments[i] = buf_take(&text, NULL)) != NULL;
        buf_release(&text);
        if (!filled)
            break;
    }
    buf_release(&after);
    if (!error[0] && memory)
        return arguments;
    if (error[0])
        attempt_fail(attempt, read, ERROR_TYPE_HANDLER, "%s", error);
    else
        attempt_fail(attempt, false, ERROR_TYPE_OOM, "no memory for the command's arguments");
    free_arguments(arguments);
    return NULL;
}

static bool is_final(const struct command *command, int code)
{
    for (size_t i = 0; i < command->task->n_final_exit; i++)
        if (command->task->final_exit[i] == code)
            return true;
    return false;
}

static void end_exited(const struct command *command, struct attempt *attempt, const struct command_result *result)
{
    int code = WEXITSTATUS(result->status);
    struct slice last = buf_slice(&result->last_line);
    int len = (int)(last.len < LAST_LINE_MAX ? last.len : LAST_LINE_MAX);
    if (WIFSIGNALED(result->status)) {
        int number = WTERMSIG(result->status);
        const char *name = sigabbrev_np(number);
        attempt_fail(attempt, false, ERROR_TYPE_SIGNAL, "killed by signal %d (%s%s)%s%.*s", number, name ? "SIG" : "",
                     name ? name : "real-time", len ? ": " : "", len, last.data ? last.data : "");
        if (attempt->outcome)
            attempt->outcome->signal_number = number;
        return;
    }
    if (code == 0)
        attempt_succeed_text(attempt, buf_slice(&result->output));
    else
        attempt_fail(attempt, is_final(command, code), ERROR_TYPE_EXIT, "exit status %d%s%.*s", code, len ? ": " : "",
                     len, last.data ? last.data : "");
}

/* The command has failed, and has said what that means: it knows better than its exit status does. */
static void heed_verdict(struct attempt *attempt, const struct command_result *result)
{
    const struct command_verdict *verdict = &result->verdict;
    bool succeeded = WIFEXITED(result->status) && WEXITSTATUS(result->status) == 0;
    if (!verdict->said || succeeded || !attempt->outcome)
        return;
    bool final = verdict->final || (attempt->end == ATTEMPT_FAILED_FINAL && !verdict->again);
    int signal_number = attempt->outcome->signal_number;
    enum error_type error = attempt->outcome->error;
    if (verdict->message_len) {
        attempt_fail(attempt, final, error, "%.*s", (int)verdict->message_len, verdict->message);
        if (attempt->outcome)
            attempt->outcome->signal_number = signal_number;
    } else {
        attempt->end = final ? ATTEMPT_FAILED_FINAL : ATTEMPT_FAILED;
    }
    if (verdict->again)
        attempt->retry_after_us = verdict->pause_us;
}

/* A program that is not there or may not be run stays so; a lack of memory or processes passes. */
static bool passes(int why)
{
    return why == ENOMEM || why == EAGAIN || why == ENFILE || why == EMFILE || why == ETXTBSY || why == EIO;
}

static void end_not_started(const struct command *command, struct attempt *attempt, const struct command_result *result)
{
    char what[300];
    command_step_text(command, result, what, sizeof what);
    attempt_fail(attempt, !passes(result->why), ERROR_TYPE_START, "%s: %s", what,
                 result->why == E2BIG ? "its arguments and its context are too large together"
                                      : strerrordesc_np(result->why));
}

static void end_oom(const struct command *command, struct attempt *attempt, const struct command_result *result)
{
    char size[SIZE_TEXT_SIZE];
    size_format(command->task->confine.memory_max, size);
    attempt_fail(attempt, false, ERROR_TYPE_OOM, "killed when it had used up its memory (memory_max = %s)", size);
    if (attempt->outcome && WIFSIGNALED(result->status))
        attempt->outcome->signal_number = WTERMSIG(result->status);
}

static void end(const struct command *command, struct attempt *attempt, const struct command_result *result)
{
    switch (result->end) {
    case COMMAND_EXITED:
        end_exited(command, attempt, result);
        heed_verdict(attempt, result);
        break;
    case COMMAND_CANCELED: attempt_end_canceled(attempt); break;
    case COMMAND_TOO_MUCH:
        attempt_fail(attempt, true, ERROR_TYPE_LIMIT, "the command wrote more than %zu bytes to its standard output",
                     attempt->type->max_result);
        break;
    case COMMAND_OOM: end_oom(command, attempt, result); break;
    case COMMAND_NOT_STARTED: end_not_started(command, attempt, result); return;
    case COMMAND_LOST: attempt_lose(attempt, "the process that looks after the command was killed"); return;
    }
    if (attempt->outcome && WIFEXITED(result->status)) {
        attempt->outcome->has_exit_code = true;
        attempt->outcome->exit_code = WEXITSTATUS(result->status);
    }
}

static void run_command(const struct task_type *type, struct attempt *attempt)
{
    const struct command *command = type->detail;
    struct environment environment;
    struct command_result result;
    char **arguments = fill_arguments(command, attempt);
    if (!arguments)
        return;
    if (command_environment(command, attempt, &environment) < 0) {
        attempt_fail(attempt, false, ERROR_TYPE_OOM, "no memory for the command's environment");
        free_arguments(arguments);
        return;
    }
    attempt_sent(attempt, "environment", slice_str(arguments[0]));
    int err = command_run(command, attempt, arguments, environment.variables, &result);
    environment_release(&environment);
    free_arguments(arguments);
    if (err < 0)
        attempt_fail(attempt, err == -E2BIG, err == -ENOMEM ? ERROR_TYPE_OOM : ERROR_TYPE_START,
                     "cannot start %.200s: %s", command->task->command.items[0], strerrordesc_np(-err));
    else
        end(command, attempt, &result);
    buf_release(&result.output);
    buf_release(&result.last_line);
}

static const struct executor command_executor = {"command", run_command};

int command_register(struct registry *registry, const struct config_task *task, char *error, size_t error_size)
{
    char why[280];
    if (launcher_find(why, sizeof why) < 0) {
        (void)snprintf(error, error_size, "%s: task \"%.80s\": %s", task->where, task->name, why);
        return -1;
    }
    struct command *command = command_new(task, error, error_size);
    if (!command)
        return -1;
    struct task_type type = {.name = task->name,
                             .executor = &command_executor,
                             .detail = command,
                             .timeout_us = task->timeout_us,
                             .concurrency = task->concurrency,
                             .tenant_concurrency = task->tenant_concurrency,
                             .propagate = task->propagate,
                             .own_trace = task->own_trace};
    if (registry_add(registry, &type, (struct type_owner){task->where, command_free, command}, error, error_size) ==
        0) {
        warn_of_script(task);
        return 0;
    }
    command_free(command);
    return -1;
}
