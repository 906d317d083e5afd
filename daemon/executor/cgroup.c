#include "executor/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

#define DAEMON "daemon"
#define ATTEMPT "attempt-"
#define ANCESTORS_MAX 64
#define ROUNDS_MAX 100       /* of moving processes that go on forking */
#define CPU_PERIOD_US 100000 /* the kernel's default */
#define GONE_MS 5000         /* how long killed processes may take */

enum controller { MEMORY = 1, CPU = 2, PIDS = 4 };

static const struct {
    enum controller bit;
    const char *name;
} controllers[] = {{MEMORY, "memory"}, {CPU, "cpu"}, {PIDS, "pids"}};
#define N_CONTROLLERS (sizeof controllers / sizeof controllers[0])

/* Written by cgroup_prepare() alone, before any attempt needs it. */
static char own[CGROUP_PATH_MAX - 64];
static unsigned enabled; /* controllers that attempts' groups have */

static atomic_uint next_number;

static unsigned controllers_of(const struct config_confine *confine)
{
    return (confine->memory_max ? MEMORY : 0u) | (confine->cpu_max_milli ? CPU : 0u) | (confine->pids_max ? PIDS : 0u);
}

bool cgroup_wanted(const struct config_confine *confine)
{
    return controllers_of(confine) != 0;
}

/* ---- files ---- */

/* Files of a control group are there with it; O_CREAT makes nothing there, and files in a folder that stands for one. */
static int write_at(int dir, const char *name, const char *text)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    size_t len = strlen(text);
    ssize_t n = write(fd, text, len);
    int err = n < 0 ? -errno : n == (ssize_t)len ? 0 : -EIO;
    (void)close(fd);
    return err;
}

/* NUL-terminated and cut to the size; false: it cannot be read. */
static bool read_at(int dir, const char *name, char *out, size_t size)
{
    size_t len = 0;
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    for (ssize_t n; len + 1 < size && (n = read(fd, out + len, size - 1 - len)) > 0;)
        len += (size_t)n;
    (void)close(fd);
    out[len] = '\0';
    return true;
}

static bool has_word(const char *text, const char *word)
{
    size_t len = strlen(word);
    for (; *text; text += strcspn(text, " \n"), text += strspn(text, " \n"))
        if (strncmp(text, word, len) == 0 && (text[len] == '\0' || strchr(" \n", text[len])))
            return true;
    return false;
}

/* ---- finding our own group ---- */

/* Where cgroup v2 is mounted, and which of its groups that shows. */
static bool find_mount(char *ret_mount, char *ret_root, size_t size)
{
    char line[8192], mount[PATH_MAX], root[PATH_MAX];
    bool found = false;
    FILE *file = fopen("/proc/self/mountinfo", "re");
    while (file && !found && fgets(line, sizeof line, file)) {
        const char *rest = strstr(line, " - ");
        found = rest && strncmp(rest, " - cgroup2 ", 11) == 0 &&
                sscanf(line, "%*s %*s %*s %4095s %4095s", root, mount) == 2 && strlen(root) < size &&
                strlen(mount) < size;
    }
    if (found) {
        (void)snprintf(ret_mount, size, "%s", mount);
        (void)snprintf(ret_root, size, "%s", root);
    }
    if (file)
        (void)fclose(file);
    return found;
}

static bool find_path(char *ret, size_t size)
{
    char line[PATH_MAX + 16];
    bool found = false;
    FILE *file = fopen("/proc/self/cgroup", "re");
    while (file && !found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        found = strncmp(line, "0::/", 4) == 0 && strlen(line + 3) < size;
    }
    if (found)
        (void)snprintf(ret, size, "%s", line + 3);
    if (file)
        (void)fclose(file);
    return found;
}

static int find_own(char *error, size_t error_size)
{
    char mount[PATH_MAX], root[PATH_MAX], path[PATH_MAX];
    const char *told = secure_getenv("SATCHEL_CGROUP"), *below = path;
    if (told && *told && strlen(told) < sizeof own) {
        memcpy(own, told, strlen(told) + 1);
        return 0;
    }
    if (!find_mount(mount, root, sizeof mount) || !find_path(path, sizeof path)) {
        (void)snprintf(error, error_size, "there is no cgroup v2 here");
        return -1;
    }
    size_t len = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (len && strncmp(path, root, len) == 0 && (path[len] == '/' || !path[len]))
        below = path + len;
    int n = snprintf(own, sizeof own, "%s%s", mount, strcmp(below, "/") == 0 ? "" : below);
    if (n > 0 && (size_t)n < sizeof own)
        return 0;
    own[0] = '\0';
    (void)snprintf(error, error_size, "the path of satcheld's control group is too long");
    return -1;
}

/* ---- making it ours ---- */

static pid_t parent_of(pid_t pid)
{
    char path[64], text[512];
    int parent = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    const char *behind_name = read_at(AT_FDCWD, path, text, sizeof text) ? strrchr(text, ')') : NULL;
    return behind_name && sscanf(behind_name + 1, " %*c %d", &parent) == 1 ? (pid_t)parent : 0;
}

/* Ourselves, or what we have started. */
static bool is_ours(pid_t pid)
{
    pid_t self = getpid();
    for (int i = 0; i < ANCESTORS_MAX && pid > 1 && pid != self; i++)
        pid = parent_of(pid);
    return pid == self;
}

/* Moves every process of ours out of the group.  0; -1: somebody else's is in it (*ret_other), or errno. */
static int move_out(int dir, int daemon_dir, long *ret_other)
{
    char text[65536], number[24];
    *ret_other = 0;
    for (int round = 0; round < ROUNDS_MAX; round++) {
        if (!read_at(dir, "cgroup.procs", text, sizeof text))
            return -1;
        if (!text[0])
            return 0;
        for (char *at = text; *at; at += strspn(at, "\n")) {
            long pid = strtol(at, &at, 10);
            if (pid <= 0 || !is_ours((pid_t)pid)) { /* 0: of another pid namespace */
                if (pid > 0 && kill((pid_t)pid, 0) < 0 && errno == ESRCH)
                    continue; /* it has ended */
                *ret_other = pid;
                return -1;
            }
            (void)snprintf(number, sizeof number, "%ld", pid);
            int err = write_at(daemon_dir, "cgroup.procs", number);
            if (err < 0 && err != -ESRCH) {
                errno = -err;
                return -1;
            }
        }
    }
    errno = EBUSY;
    return -1;
}

static bool remove_group(int dir, const char *name)
{
    struct timespec pause = {.tv_nsec = 1000000};
    for (int waited = 0; waited < GONE_MS; waited += (int)(pause.tv_nsec / 1000000)) {
        if (unlinkat(dir, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
            return true;
        if (errno != EBUSY)
            return false;
        (void)nanosleep(&pause, NULL);
        if (pause.tv_nsec < 50000000)
            pause.tv_nsec *= 2;
    }
    return false;
}

/* What a satcheld before us has left behind. */
static void remove_stale(int dir)
{
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = copy < 0 ? NULL : fdopendir(copy);
    if (!list) {
        if (copy >= 0)
            (void)close(copy);
        return;
    }
    for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
        int group = strncmp(entry->d_name, ATTEMPT, sizeof ATTEMPT - 1) == 0
                        ? openat(dir, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                        : -1;
        if (group < 0)
            continue;
        (void)write_at(group, "cgroup.kill", "1");
        (void)close(group);
        (void)remove_group(dir, entry->d_name);
    }
    (void)closedir(list);
}

static int enable(int dir, unsigned wanted, char *error, size_t error_size)
{
    char text[1024];
    if (!read_at(dir, "cgroup.controllers", text, sizeof text))
        text[0] = '\0';
    for (size_t i = 0; i < N_CONTROLLERS; i++) {
        char word[16];
        if (!(wanted & controllers[i].bit) || enabled & controllers[i].bit)
            continue;
        if (!has_word(text, controllers[i].name)) {
            (void)snprintf(error, error_size, "the controller %s is not delegated to the control group %.300s",
                           controllers[i].name, own);
            return -1;
        }
        (void)snprintf(word, sizeof word, "+%s", controllers[i].name);
        int err = write_at(dir, "cgroup.subtree_control", word);
        if (err < 0) {
            (void)snprintf(error, error_size, "the controller %s of the control group %.300s cannot be handed on: %s",
                           controllers[i].name, own, strerrordesc_np(-err));
            return -1;
        }
        enabled |= (unsigned)controllers[i].bit;
    }
    return 0;
}

static int take(int dir, char *error, size_t error_size)
{
    long other = 0;
    int daemon_dir = mkdirat(dir, DAEMON, 0755) == 0 || errno == EEXIST
                         ? openat(dir, DAEMON, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                         : -1;
    if (daemon_dir < 0) {
        (void)snprintf(error, error_size, "the control group %.300s cannot be divided: %s", own,
                       strerrordesc_np(errno));
        return -1;
    }
    int result = move_out(dir, daemon_dir, &other);
    int err = errno;
    (void)close(daemon_dir);
    if (result == 0) {
        remove_stale(dir);
        return 0;
    }
    (void)unlinkat(dir, DAEMON, AT_REMOVEDIR); /* unless something is in it by now */
    if (other)
        (void)snprintf(error, error_size, "the control group %.300s is not satcheld's alone: process %ld is in it, too",
                       own, other);
    else
        (void)snprintf(error, error_size, "the control group %.300s cannot be emptied: %s", own, strerrordesc_np(err));
    return -1;
}

int cgroup_prepare(const struct config_confine *confine, char *error, size_t error_size)
{
    static bool taken;
    unsigned wanted = controllers_of(confine);
    if (taken && (wanted & ~enabled) == 0)
        return 0;
    if (!own[0] && find_own(error, error_size) < 0)
        return -1;
    int dir = open(own, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        (void)snprintf(error, error_size, "the control group %.300s: %s", own, strerrordesc_np(errno));
        own[0] = '\0';
        return -1;
    }
    int result = taken ? 0 : take(dir, error, error_size);
    taken = result == 0;
    if (result == 0)
        result = enable(dir, wanted, error, error_size);
    (void)close(dir);
    if (!taken)
        own[0] = '\0'; /* another time it may be another one */
    return result;
}

/* ---- an attempt's group ---- */

static int write_limits(int dir, const struct config_confine *confine)
{
    char text[64];
    int err = 0;
    if (confine->memory_max) {
        (void)snprintf(text, sizeof text, "%lld", (long long)confine->memory_max);
        err = write_at(dir, "memory.max", text);
        if (err == 0) {
            int grouped = write_at(dir, "memory.oom.group", "1"); /* all of the command, not a part of it */
            err = grouped == -ENOENT || grouped == -EACCES || grouped == -EPERM ? 0 : grouped;
        }
    }
    if (err == 0 && confine->cpu_max_milli) {
        (void)snprintf(text, sizeof text, "%lld %d", (long long)confine->cpu_max_milli * (CPU_PERIOD_US / 1000),
                       CPU_PERIOD_US);
        err = write_at(dir, "cpu.max", text);
    }
    if (err == 0 && confine->pids_max) {
        (void)snprintf(text, sizeof text, "%lld", (long long)confine->pids_max);
        err = write_at(dir, "pids.max", text);
    }
    return err;
}

int cgroup_new(const struct config_confine *confine, struct cgroup *ret)
{
    ret->procs = ret->dir = -1;
    (void)snprintf(ret->path, sizeof ret->path, "%s/" ATTEMPT "%u", own,
                   atomic_fetch_add_explicit(&next_number, 1, memory_order_relaxed) + 1);
    if (mkdir(ret->path, 0755) < 0)
        return -errno;
    ret->dir = open(ret->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int err = ret->dir < 0 ? -errno : write_limits(ret->dir, confine);
    if (err == 0) {
        ret->procs = openat(ret->dir, "cgroup.procs", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        err = ret->procs < 0 ? -errno : 0;
    }
    if (err < 0)
        cgroup_release(ret);
    return err;
}

bool cgroup_had_oom(const struct cgroup *group)
{
    char text[1024];
    if (!read_at(group->dir, "memory.events", text, sizeof text))
        return false;
    for (const char *at = text; *at; at += strcspn(at, "\n"), at += *at == '\n')
        if (strncmp(at, "oom_kill ", 9) == 0)
            return strtoul(at + 9, NULL, 10) > 0;
    return false;
}

void cgroup_release(struct cgroup *group)
{
    if (group->dir >= 0) {
        (void)write_at(group->dir, "cgroup.kill",
                       "1"); /* since Linux 5.14; before, the launcher has killed what it could */
        (void)close(group->dir);
    }
    if (group->procs >= 0)
        (void)close(group->procs);
    if (!remove_group(AT_FDCWD, group->path))
        LOG_WARNING("a command's control group cannot be removed", LOG_TEXT("group", group->path),
                    LOG_TEXT("why", strerrordesc_np(errno)));
    group->dir = group->procs = -1;
}
