/* What a command is made to be before its exec: see struct launch_confine.  Called by launcher_main.c between vfork and
 * exec, so: system calls only, on memory that is still the launcher's, which is constant but for the fault. */
#ifndef SATCHEL_EXECUTOR_LAUNCHER_CONFINE_H
#define SATCHEL_EXECUTOR_LAUNCHER_CONFINE_H

#include <stdbool.h>
#include <sys/types.h>

#include "executor/launch.h"

struct launch_fault {
    volatile int why; /* errno; 0: none */
    volatile int step, detail;
};

/* `cgroup`: a descriptor of its cgroup.procs, -1: none.  `streams`: descriptors of pipes that it shall be able to open
 * again by name (/dev/stdout) as whoever it becomes.  False and the fault: it must not be started. */
bool confine_apply(const struct launch_confine *confine, const gid_t *groups, int cgroup, const int *streams,
                   size_t n_streams, struct launch_fault *fault);

#endif
