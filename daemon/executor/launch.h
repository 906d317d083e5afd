/* What satcheld and its launchers say to each other over a socket pair.  Both are of one build, so the messages are
 * plain structs.  Included by launcher.c (the daemon's side) and launcher_main.c (the program). */
#ifndef SATCHEL_EXECUTOR_LAUNCH_H
#define SATCHEL_EXECUTOR_LAUNCH_H

#include <stdint.h>

#define LAUNCH_VERSION "2" /* the program's only argument: another one's launcher refuses */
#define LAUNCH_SOCKET 3    /* its descriptor in the launcher */
#define LAUNCH_FDS 4       /* of a command: standard input, output, error, and LAUNCH_PROGRESS */
#define LAUNCH_PROGRESS 3  /* where it writes its progress to; its number there, told as SATCHEL_PROGRESS_FD */
#define LAUNCH_BYTES_MAX (4u << 20)

enum launch_kind {
    LAUNCH_RUN = 1, /* with LAUNCH_FDS descriptors and the strings behind it */
    LAUNCH_TERM,    /* SIGTERM to the run's process group */
    LAUNCH_KILL     /* SIGKILL to everything the run has started */
};

struct launch_order {
    uint32_t kind, run; /* orders for a run that is over are ignored */
    /* LAUNCH_RUN: the working directory, n_arguments and n_variables strings, each with its NUL */
    uint32_t n_arguments, n_variables, bytes;
};

enum launch_event {
    LAUNCH_STARTED = 1, /* value: the process id, which is its group's and session's */
    LAUNCH_REFUSED,     /* value: errno; step tells of what */
    LAUNCH_ENDED        /* value: the wait status; everything it has started is gone, or `survivors` */
};

enum launch_step { LAUNCH_STEP_READ, LAUNCH_STEP_FORK, LAUNCH_STEP_WORKDIR, LAUNCH_STEP_EXEC };

struct launch_reply {
    uint32_t event, run;
    int32_t value;
    uint32_t step, survivors;
    int64_t user_us, system_us, max_rss_kb; /* LAUNCH_ENDED: of the command and what it waited for */
};

#endif
