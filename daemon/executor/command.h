/* Task types that run a program (contract: "Task types an operator configures").
 *
 *   command.c              the settings, checked and parsed once; filling the templates; what an end means
 *   command_confine.c      who it is and what it may use, as the launcher wants to hear it
 *   command_environment.c  what a child process finds in its environment
 *   command_run.c          one child process: its three streams, cancellation, its end
 *
 * Thread: a struct command is immutable; each attempt runs on its worker thread. */
#ifndef SATCHEL_EXECUTOR_COMMAND_H
#define SATCHEL_EXECUTOR_COMMAND_H

#include <sys/types.h>

#include "executor/command_verdict.h"
#include "executor/launch.h"
#include "executor/registry.h"
#include "executor/template.h"

struct command {
    const struct config_task *task; /* of the registry's configuration */
    struct template *arguments;
    size_t n_arguments;
    bool uses_after; /* an argument is made of the results of the tasks that it waited for */
    struct launch_confine confine;
    char **base; /* PATH, LANG, TZ, HOME and what `environment` names; NULL-terminated */
    size_t n_base;
};

int command_register(struct registry *registry, const struct config_task *task, char *error, size_t error_size);

/* ---- command_confine.c ---- */

struct command_result;
void command_confine_init(struct command *command);
/* What went wrong in one of the steps before its exec, for a message: "cannot become the user nobody". */
void command_step_text(const struct command *command, const struct command_result *result, char *out, size_t size);

/* ---- command_environment.c ---- */

/* Reads the daemon's environment once.  0, or -1 and the reason. */
int command_environment_init(struct command *command, char *error, size_t error_size);
void command_environment_release(struct command *command);

struct environment {  /* what one child gets */
    char **variables; /* NULL-terminated; point into the two below */
    struct buf text;
    char **propagated; /* the context library's block */
};
/* From the calling thread's current context.  0, or -1: no memory. */
int command_environment(const struct command *command, const struct attempt *attempt, struct environment *ret);
void environment_release(struct environment *environment);

/* ---- command_run.c ---- */

enum command_end {
    COMMAND_EXITED,      /* status: as waitpid's */
    COMMAND_CANCELED,    /* the attempt's cancel object ended it; status: as waitpid's */
    COMMAND_TOO_MUCH,    /* its result was larger than allowed, so it was ended */
    COMMAND_NOT_STARTED, /* why: an errno; step, detail: of what */
    COMMAND_OOM,         /* something of it was killed when memory_max was used up; status: as waitpid's */
    COMMAND_LOST         /* its launcher was killed: nobody knows how it ended */
};

struct command_result {
    enum command_end end;
    int status, why, step, detail;
    struct buf output;    /* standard output */
    struct buf last_line; /* of standard error */
    struct command_verdict verdict;
};

/* Runs the program to its end and leaves nothing of it behind.  0, or -errno: there was no memory or descriptor. */
int command_run(const struct command *command, struct attempt *attempt, char *const *arguments, char *const *variables,
                struct command_result *ret);

#endif
