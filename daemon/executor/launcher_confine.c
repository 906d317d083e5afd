#include "executor/launcher_confine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool failed(struct launch_fault *fault, enum launch_step step, int detail)
{
    fault->step = (int)step;
    fault->detail = detail;
    fault->why = errno ? errno : EPERM;
    return false;
}

static bool set_limits(const struct launch_confine *confine, struct launch_fault *fault)
{
    for (uint32_t i = 0; i < confine->n_limits; i++) {
        const struct rlimit limit = {confine->limits[i].soft, confine->limits[i].hard};
        if (setrlimit((__rlimit_resource_t)confine->limits[i].resource, &limit) < 0)
            return failed(fault, LAUNCH_STEP_LIMIT, (int)confine->limits[i].resource);
    }
    return true;
}

/* ---- oom_score_adj ---- */

static int oom_fd = -1;
static int oom_own;

static bool write_oom_score_adj(int value)
{
    char text[16];
    int len = snprintf(text, sizeof text, "%d", value);
    return write(oom_fd, text, (size_t)len) == len;
}

void confine_open(void)
{
    char text[16] = "";
    oom_fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    if (oom_fd >= 0 && read(oom_fd, text, sizeof text - 1) > 0)
        oom_own = atoi(text);
}

bool confine_begin(const struct launch_confine *confine, struct launch_fault *fault)
{
    if (!(confine->parts & LAUNCH_OOM_SCORE_ADJ) || write_oom_score_adj(confine->oom_score_adj))
        return true;
    return failed(fault, LAUNCH_STEP_OOM_SCORE_ADJ, 0);
}

void confine_end(const struct launch_confine *confine)
{
    if (confine->parts & LAUNCH_OOM_SCORE_ADJ)
        (void)write_oom_score_adj(oom_own); /* back to where it began is always allowed */
}

/* ---- in the child ---- */

/* Raw calls: glibc's would talk to the threads of a process that is not ours yet. */
static bool become(const struct launch_confine *confine, const gid_t *groups, struct launch_fault *fault)
{
    uid_t real = 0, effective = 0, saved = 0;
    if (syscall(SYS_setgroups, (size_t)confine->n_groups, groups) < 0)
        return failed(fault, LAUNCH_STEP_GROUPS, 0);
    if (syscall(SYS_setresgid, confine->gid, confine->gid, confine->gid) < 0)
        return failed(fault, LAUNCH_STEP_GROUP, 0);
    if (syscall(SYS_setresuid, confine->uid, confine->uid, confine->uid) < 0)
        return failed(fault, LAUNCH_STEP_USER, 0);
    errno = 0;
    if (syscall(SYS_getresuid, &real, &effective, &saved) < 0 || real != confine->uid || effective != real ||
        saved != real)
        return failed(fault, LAUNCH_STEP_USER, 0);
    return true;
}

/* Before the identity what needs the launcher's privileges, behind it that there are no others to be had. */
bool confine_apply(const struct launch_confine *confine, const gid_t *groups, int cgroup, const int *streams,
                   size_t n_streams, struct launch_fault *fault)
{
    if (cgroup >= 0 && write(cgroup, "0", 1) != 1)
        return failed(fault, LAUNCH_STEP_CGROUP, 0);
    if (confine->parts & LAUNCH_NICE && setpriority(PRIO_PROCESS, 0, confine->nice) < 0)
        return failed(fault, LAUNCH_STEP_NICE, 0);
    if (!set_limits(confine, fault))
        return false;
    if (confine->parts & LAUNCH_IDENTITY) {
        for (size_t i = 0; i < n_streams; i++)
            (void)fchown(streams[i], confine->uid, confine->gid); /* of use to some; nothing rests on it */
        if (!become(confine, groups, fault))
            return false;
    }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL) /* EINVAL: there are none */
        return failed(fault, LAUNCH_STEP_PRIVILEGES, 0);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return failed(fault, LAUNCH_STEP_PRIVILEGES, 0);
    if (confine->parts & LAUNCH_UMASK)
        (void)umask((mode_t)confine->umask);
    return true;
}
