/* A task section's user, group, umask, limits and so on in the launcher's words, and what it could not do in ours.
 * Called by command.c. */
#include <stdio.h>
#include <sys/resource.h>

#include "config/confine.h"
#include "executor/command.h"

void command_confine_init(struct command *command)
{
    const struct config_confine *from = &command->task->confine;
    struct launch_confine to = {.uid = from->uid,
                                .gid = from->gid,
                                .n_groups = (uint32_t)from->n_groups,
                                .umask = from->umask,
                                .nice = from->nice,
                                .oom_score_adj = from->oom_score_adj};
    if (from->identity)
        to.parts |= LAUNCH_IDENTITY;
    else
        to.n_groups = 0;
    if (from->has_umask)
        to.parts |= LAUNCH_UMASK;
    if (from->has_nice)
        to.parts |= LAUNCH_NICE;
    if (from->has_oom_score_adj)
        to.parts |= LAUNCH_OOM_SCORE_ADJ;
    for (; to.n_limits < from->n_limits; to.n_limits++) {
        const struct config_limit *limit = &from->limits[to.n_limits];
        to.limits[to.n_limits].resource = (uint32_t)limit->resource;
        to.limits[to.n_limits].soft = limit->value;
        to.limits[to.n_limits].hard = limit->value;
        if (limit->resource == RLIMIT_CPU && limit->value != RLIM_INFINITY)
            to.limits[to.n_limits].hard++; /* SIGXCPU, which says what it is, a second before SIGKILL */
    }
    command->confine = to;
}

void command_step_text(const struct command *command, const struct command_result *result, char *out, size_t size)
{
    const struct config_task *task = command->task;
    const char *user = task->confine.user ? task->confine.user : "of satcheld";
    const char *group = task->confine.group ? task->confine.group : "of the user";
    switch ((enum launch_step)result->step) {
    case LAUNCH_STEP_CGROUP: (void)snprintf(out, size, "cannot be put into a control group"); return;
    case LAUNCH_STEP_LIMIT:
        (void)snprintf(out, size, "cannot set the limit %s", confine_limit_name(result->detail));
        return;
    case LAUNCH_STEP_NICE: (void)snprintf(out, size, "cannot set nice %d", task->confine.nice); return;
    case LAUNCH_STEP_OOM_SCORE_ADJ:
        (void)snprintf(out, size, "cannot set oom_score_adj %d", task->confine.oom_score_adj);
        return;
    case LAUNCH_STEP_GROUPS: (void)snprintf(out, size, "cannot take the groups of the user %.80s", user); return;
    case LAUNCH_STEP_GROUP: (void)snprintf(out, size, "cannot take the group %.80s", group); return;
    case LAUNCH_STEP_USER: (void)snprintf(out, size, "cannot become the user %.80s", user); return;
    case LAUNCH_STEP_PRIVILEGES: (void)snprintf(out, size, "cannot give up privileges"); return;
    case LAUNCH_STEP_WORKDIR:
        (void)snprintf(out, size, "cannot enter the working directory %.200s", task->workdir ? task->workdir : "/");
        return;
    case LAUNCH_STEP_READ:
    case LAUNCH_STEP_FORK:
    case LAUNCH_STEP_EXEC: break;
    }
    (void)snprintf(out, size, "cannot start %.200s", task->command.items[0]);
}
