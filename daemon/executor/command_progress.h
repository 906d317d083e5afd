/* What a command tells of its progress: lines "FRACTION MESSAGE" on the descriptor that SATCHEL_PROGRESS_FD names, and
 * among them what it says of its failure (command_verdict.h).
 * Any bytes may come, in any amount: a line is bounded, of lines in quick succession the last is told, and the first
 * one that cannot be understood is noted in the task's log.  Embedded in command_run.c's struct child; worker's thread. */
#ifndef SATCHEL_EXECUTOR_COMMAND_PROGRESS_H
#define SATCHEL_EXECUTOR_COMMAND_PROGRESS_H

#include "executor/attempt.h"
#include "executor/command_verdict.h"

#define PROGRESS_LINE_MAX 1024u /* of a longer one the beginning counts */

struct command_progress {
    struct attempt *attempt; /* borrowed */
    char line[PROGRESS_LINE_MAX];
    size_t len;
    char message[PROGRESS_LINE_MAX]; /* of what is to be told next */
    size_t message_len;
    double fraction;
    struct command_verdict verdict;
    bool waits;      /* something is to be told */
    bool noted;      /* a bad line was */
    int64_t next_ns; /* not before: monotonic */
};

void command_progress_take(struct command_progress *p, const char *data, size_t len);
/* Nanoseconds until command_progress_tell has something to do; negative: nothing waits. */
int64_t command_progress_due(const struct command_progress *p);
void command_progress_tell(struct command_progress *p); /* where it is due */
void command_progress_end(struct command_progress *p);  /* no more comes: the rest, at once */

#endif
