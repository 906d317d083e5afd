/* What satcheld and its launchers say to each other over a socket pair.  Both are of one build, so the messages are
 * plain structs.  Included by launcher.c (the daemon's side) and launcher_main.c (the program). */
#ifndef SATCHEL_EXECUTOR_LAUNCH_H
#define SATCHEL_EXECUTOR_LAUNCH_H

#include <stdint.h>

#define LAUNCH_VERSION "3" /* the program's only argument: another one's launcher refuses */
#define LAUNCH_SOCKET 3    /* its descriptor in the launcher */
#define LAUNCH_FDS 4       /* of a command: standard input, output, error, and LAUNCH_PROGRESS */
#define LAUNCH_PROGRESS 3  /* where it writes its progress to; its number there, told as SATCHEL_PROGRESS_FD */
#define LAUNCH_CGROUP 4    /* one more for the launcher: the cgroup.procs of the control group to run in, or none */
#define LAUNCH_FDS_MAX 5
#define LAUNCH_LIMITS_MAX 16
#define LAUNCH_GROUPS_MAX 65536u
#define LAUNCH_BYTES_MAX (4u << 20)

enum launch_kind {
    LAUNCH_RUN = 1, /* with descriptors, and struct launch_confine, groups and strings behind it */
    LAUNCH_TERM,    /* SIGTERM to the run's process group */
    LAUNCH_KILL     /* SIGKILL to everything the run has started */
};

enum launch_confine_parts { LAUNCH_IDENTITY = 1, LAUNCH_UMASK = 2, LAUNCH_NICE = 4, LAUNCH_OOM_SCORE_ADJ = 8 };

/* Who the command is, and how much it may use: all of it, or it is not started.  New privileges (set-user-ID programs,
 * file capabilities) it never gets, ambient capabilities neither. */
struct launch_confine {
    uint32_t parts;
    uint32_t uid, gid, n_groups;
    uint32_t umask;
    int32_t nice, oom_score_adj;
    uint32_t n_limits;
    struct {
        uint32_t resource;
        uint64_t soft, hard;
    } limits[LAUNCH_LIMITS_MAX];
};

struct launch_order {
    uint32_t kind, run; /* orders for a run that is over are ignored */
    /* LAUNCH_RUN: struct launch_confine, its n_groups gid_t, then the working directory, n_arguments and n_variables
     * strings, each with its NUL */
    uint32_t n_arguments, n_variables, bytes;
};

enum launch_event {
    LAUNCH_STARTED = 1, /* value: the process id, which is its group's and session's */
    LAUNCH_REFUSED,     /* value: errno; step tells of what */
    LAUNCH_ENDED        /* value: the wait status; everything it has started is gone, or `survivors` */
};

enum launch_step {
    LAUNCH_STEP_READ,
    LAUNCH_STEP_FORK,
    LAUNCH_STEP_CGROUP,
    LAUNCH_STEP_LIMIT, /* detail: which */
    LAUNCH_STEP_NICE,
    LAUNCH_STEP_OOM_SCORE_ADJ,
    LAUNCH_STEP_GROUPS,
    LAUNCH_STEP_GROUP,
    LAUNCH_STEP_USER,
    LAUNCH_STEP_PRIVILEGES,
    LAUNCH_STEP_WORKDIR,
    LAUNCH_STEP_EXEC
};

struct launch_reply {
    uint32_t event, run;
    int32_t value;
    uint32_t step, detail, survivors;
    int64_t user_us, system_us, max_rss_kb; /* LAUNCH_ENDED: of the command and what it waited for */
};

#endif
