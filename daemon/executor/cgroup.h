/* Control groups of commands (cgroup v2), for task types with memory_max, cpu_max or pids_max: one below satcheld's own
 * group for each attempt, made before the command starts in it and removed with everything in it at the end.
 *
 * Only where satcheld has a group to itself that it may divide (a unit with Delegate=): satcheld moves itself to
 * GROUP/daemon, since a group that hands controllers on holds no processes, and makes GROUP/attempt-N beside it.
 * Nobody else's processes are ever moved, and nothing outside that group is touched. */
#ifndef SATCHEL_EXECUTOR_CGROUP_H
#define SATCHEL_EXECUTOR_CGROUP_H

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"

#define CGROUP_PATH_MAX 4096

struct cgroup {
    char path[CGROUP_PATH_MAX];
    int procs; /* of its cgroup.procs: who writes "0" to it is in it */
    int dir;
};

bool cgroup_wanted(const struct config_confine *confine);
/* Makes everything ready for groups with these limits.  0, or -1 and the reason: they cannot be kept.
 * Thread: one at a time, the one that builds registries.  $SATCHEL_CGROUP: use this folder as satcheld's own group. */
int cgroup_prepare(const struct config_confine *confine, char *error, size_t error_size);

/* A new group with the limits.  0, or -errno and nothing is left.  Thread: any, once prepared. */
int cgroup_new(const struct config_confine *confine, struct cgroup *ret);
bool cgroup_had_oom(const struct cgroup *group); /* something in it was killed since it used up its memory */
/* Kills what is in it, waits for that (a few seconds at most) and removes it. */
void cgroup_release(struct cgroup *group);

#endif
