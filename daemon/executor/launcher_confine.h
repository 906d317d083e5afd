/* What a command is made to be before its exec: see struct launch_confine.  Called by launcher_main.c. */
#ifndef SATCHEL_EXECUTOR_LAUNCHER_CONFINE_H
#define SATCHEL_EXECUTOR_LAUNCHER_CONFINE_H

#include <stdbool.h>
#include <sys/types.h>

#include "executor/launch.h"

struct launch_fault {
    volatile int why; /* errno; 0: none */
    volatile int step, detail;
};

/* Once, before the launcher makes itself undumpable: what it has of its own in /proc is root's alone after that, and a
 * child's between vfork and exec, too. */
void confine_open(void);
/* What the launcher takes on itself for its child to inherit, and gives back behind the exec. */
bool confine_begin(const struct launch_confine *confine, struct launch_fault *fault);
void confine_end(const struct launch_confine *confine);

/* Between vfork and exec, so: system calls only, on memory that is still the launcher's, and only the fault is written.
 * `cgroup`: a descriptor of its cgroup.procs, -1: none.  `streams`: descriptors of pipes that it shall be able to open
 * again by name (/dev/stdout) as whoever it becomes.  False and the fault: it must not be started. */
bool confine_apply(const struct launch_confine *confine, const gid_t *groups, int cgroup, const int *streams,
                   size_t n_streams, struct launch_fault *fault);

#endif
