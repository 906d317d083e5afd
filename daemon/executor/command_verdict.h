/* What a command says of its own failure, in lines on the descriptor that SATCHEL_PROGRESS_FD names:
 *
 *   error MESSAGE                 why it fails, for people
 *   no-retry [MESSAGE]            ... and it must not be tried again
 *   retry-in DURATION [MESSAGE]   ... or after this time, while attempts are left
 *
 * The last one counts, and only where the command then fails: with exit status 0 it has succeeded all the same.
 * command_progress.c reads the lines, command.c asks when the command has ended.  Worker's thread. */
#ifndef SATCHEL_EXECUTOR_COMMAND_VERDICT_H
#define SATCHEL_EXECUTOR_COMMAND_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/slice.h"

#define VERDICT_MESSAGE_MAX 1024u

struct command_verdict { /* zero-filled: it has said nothing */
    bool said;
    bool final;       /* no-retry */
    bool again;       /* retry-in ... */
    int64_t pause_us; /* ... this */
    char message[VERDICT_MESSAGE_MAX];
    size_t message_len; /* 0: no reason was given */
};

/* False: the line is none of these, and nothing has changed. */
bool command_verdict_take(struct command_verdict *verdict, struct slice line);

#endif
