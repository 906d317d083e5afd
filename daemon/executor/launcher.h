/* The daemon's side of satchel-launcher: each worker thread that runs commands has one launcher process, started at
 * its first command and ended with the thread.
 *
 * Why a process in between: nothing has to be done between fork and exec in this process with its many threads; what
 * a command leaves behind has a parent that ends it; and when this process dies, however it does, the launcher kills
 * the command with everything below it.
 *
 * Thread: a launcher belongs to the thread that got it, and is never handed to another one. */
#ifndef SATCHEL_EXECUTOR_LAUNCHER_H
#define SATCHEL_EXECUTOR_LAUNCHER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "executor/launch.h"

struct launcher;

/* The program: SATCHEL_LAUNCHER in the environment, or beside a program that runs from its build tree, or where it is
 * installed.  0, or -1 and the reason: called while the registry is built, so that a missing one is told at once. */
int launcher_find(char *error, size_t error_size);

/* The calling thread's launcher.  NULL: it could not be started; errno tells. */
struct launcher *launcher_get(void);

struct launch_command {
    const char *workdir;
    const struct launch_confine *confine;
    const gid_t *groups;                       /* confine->n_groups */
    char *const *arguments, *const *variables; /* NULL-terminated */
    int fds[LAUNCH_FDS_MAX];                   /* stay the caller's; the last one may be -1 */
};

/* 0 or -errno.  After an error the launcher is gone: drop it. */
int launcher_run(struct launcher *launcher, const struct launch_command *command);
void launcher_signal(struct launcher *launcher, enum launch_kind kind); /* LAUNCH_TERM, LAUNCH_KILL */
int launcher_fd(const struct launcher *launcher);                       /* readable: launcher_read */
/* 1: a reply of the present run; 0: none yet; -1: the launcher has gone. */
int launcher_read(struct launcher *launcher, struct launch_reply *ret);
/* Gives the thread's launcher up, which then kills what it still has; the next launcher_get starts another. */
void launcher_drop(struct launcher *launcher);

#endif
