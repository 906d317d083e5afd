/* satchel-launcher: starts the commands of one worker thread, one after the other, and makes sure that nothing of them
 * is left.  It is the parent of each command and the reaper of what the command leaves behind:
 *
 *   - every command begins a session and a process group of its own, with nothing but its four descriptors, the
 *     arguments and the environment that it was given;
 *   - as "child subreaper" the launcher inherits whatever loses its parent below the command, also what called setsid
 *     or forked twice; when the command has ended, everything that is left is killed before the end is told;
 *   - when satcheld goes away, however it does (the socket says so), all of it is killed.
 *
 * A command is killed if the launcher is (PR_SET_PDEATHSIG).  What can still escape: descendants of a launcher that
 * somebody kills with SIGKILL, where the command has no control group.  Who the command is and what it may use is seen
 * to in launcher_confine.c.
 * One thread.  Started by launcher.c; speaks launch.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "executor/launch.h"
#include "executor/launcher_confine.h"

#define SURVIVORS_MS 3000 /* how long killed processes may take to go before the end is told all the same */
#define FILES_SOFT 1024   /* satcheld has raised its own limit; programs expect this one */
#define NO_FDS                                                                                                         \
    {                                                                                                                  \
        -1, -1, -1, -1, -1                                                                                             \
    }
#define PATH_DEFAULT "/usr/local/bin:/usr/bin:/bin"

static volatile sig_atomic_t parent_gone;
static sigset_t asleep; /* the signal mask while waiting */
static pid_t own_pid;

static void on_signal(int number)
{
    if (number == SIGHUP)
        parent_gone = 1;
}

struct run {
    struct launch_order order;
    int fds[LAUNCH_FDS_MAX]; /* -1: none */
    char *text;
    const struct launch_confine *confine;
    const gid_t *groups;
    const char *workdir;
    char **arguments, **variables;
    char *candidate; /* room for a path that is tried */
    pid_t pid;
    bool stopping, killing; /* it was told to end; its time for that is over */
    bool reaped;            /* its group's number may be somebody else's */
};

/* ---- the socket ---- */

static bool read_all(void *to, size_t len)
{
    char *at = to;
    while (len) {
        ssize_t n = read(LAUNCH_SOCKET, at, len);
        if (n <= 0 && !(n < 0 && errno == EINTR))
            return false;
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
    return true;
}

/* One order with the descriptors that came along.  False: satcheld has gone. */
static bool read_order(struct launch_order *order, int fds[LAUNCH_FDS_MAX])
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(LAUNCH_FDS_MAX * sizeof(int))];
    } control;
    struct iovec part = {order, sizeof *order};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n;
    do {
        n = recvmsg(LAUNCH_SOCKET, &message, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR && !parent_gone);
    if (n <= 0)
        return false;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len > CMSG_LEN(0) &&
            c->cmsg_len <= CMSG_LEN(LAUNCH_FDS_MAX * sizeof(int)))
            memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
    return (size_t)n == sizeof *order || read_all((char *)order + n, sizeof *order - (size_t)n);
}

static void reply(const struct launch_reply *r)
{
    ssize_t n;
    do {
        n = send(LAUNCH_SOCKET, r, sizeof *r, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
}

static void reply_refused(const struct run *run, const struct launch_fault *fault)
{
    struct launch_reply r = {.event = LAUNCH_REFUSED,
                             .run = run->order.run,
                             .value = fault->why,
                             .step = (uint32_t)fault->step,
                             .detail = (uint32_t)fault->detail};
    reply(&r);
}

/* ---- taking everything down ---- */

/* To a child; `spared` is a process group that is left out (0: none). */
static void send_signal(pid_t pid, int number, pid_t spared)
{
    if (!spared || getpgid(pid) != spared)
        (void)kill(pid, number);
}

/* Sends a signal to each process whose parent this one is; false: the kernel has no such list. */
static bool signal_listed_children(int number, pid_t spared)
{
    char path[64], text[4096];
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)own_pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    long pid = 0;
    ssize_t n;
    while ((n = read(fd, text, sizeof text)) > 0)
        for (ssize_t i = 0; i < n; i++) {
            if (text[i] >= '0' && text[i] <= '9') {
                pid = pid * 10 + (text[i] - '0');
                continue;
            }
            if (pid > 1)
                send_signal((pid_t)pid, number, spared);
            pid = 0;
        }
    (void)close(fd);
    return true;
}

static bool is_child(const char *pid)
{
    char path[300], text[512];
    (void)snprintf(path, sizeof path, "/proc/%s/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    (void)close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    const char *behind_name = strrchr(text, ')');
    int parent = 0;
    return behind_name && sscanf(behind_name + 1, " %*c %d", &parent) == 1 && parent == own_pid;
}

static void signal_found_children(int number, pid_t spared)
{
    DIR *proc = opendir("/proc");
    if (!proc)
        return;
    for (struct dirent *entry; (entry = readdir(proc)) != NULL;)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && is_child(entry->d_name))
            send_signal((pid_t)atoi(entry->d_name), number, spared);
    (void)closedir(proc);
}

static void signal_children(int number, pid_t spared)
{
    if (!signal_listed_children(number, spared))
        signal_found_children(number, spared);
}

static void nap(int milliseconds)
{
    struct timespec limit = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000L};
    (void)ppoll(NULL, 0, &limit, &asleep); /* a child's end wakes it */
}

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Kills and reaps until no child is left.  What dies hands its own children to us, so this ends with the whole tree
 * gone; a process that cannot be killed (another user's) lets it give up after the time.  False then. */
static bool kill_tree(int64_t limit_ms)
{
    int64_t end = now_ms() + limit_ms;
    for (;;) {
        pid_t pid;
        do {
            pid = waitpid(-1, NULL, WNOHANG);
        } while (pid > 0 || (pid < 0 && errno == EINTR));
        if (pid < 0)
            return true; /* ECHILD */
        if (now_ms() >= end)
            return false;
        signal_children(SIGKILL, 0);
        nap(20);
    }
}

/* satcheld has gone, or does not wait any longer: nothing of ours may stay. */
static _Noreturn void finish(void)
{
    (void)close(LAUNCH_SOCKET);
    while (!kill_tree(60000)) {
    }
    _exit(0);
}

/* ---- starting ---- */

static void free_run(struct run *run)
{
    for (int i = 0; i < LAUNCH_FDS_MAX; i++)
        if (run->fds[i] >= 0)
            (void)close(run->fds[i]);
    free(run->text);
    free(run->arguments);
    free(run->candidate);
    *run = (struct run){.fds = NO_FDS};
}

/* What stands before the strings.  NULL: it is not of this protocol. */
static char *read_confine(struct run *run, char *end)
{
    size_t size = sizeof *run->confine;
    if ((size_t)(end - run->text) < size)
        return NULL;
    run->confine = (const struct launch_confine *)(const void *)run->text; /* malloc has aligned it */
    run->groups = (const gid_t *)(const void *)(run->text + size);
    if (run->confine->n_limits > LAUNCH_LIMITS_MAX || run->confine->n_groups > LAUNCH_GROUPS_MAX)
        return NULL;
    size += run->confine->n_groups * sizeof(gid_t);
    return size <= (size_t)(end - run->text) ? run->text + size : NULL;
}

static char *next_string(char **at, const char *end)
{
    char *start = *at;
    char *nul = start < end ? memchr(start, '\0', (size_t)(end - start)) : NULL;
    if (nul)
        *at = nul + 1;
    return nul ? start : NULL;
}

/* Reads what follows a LAUNCH_RUN.  0, an errno, or -1: satcheld has gone. */
static int read_run(struct run *run)
{
    const struct launch_order *order = &run->order;
    if (order->bytes > LAUNCH_BYTES_MAX || order->n_arguments > order->bytes || order->n_variables > order->bytes)
        return -1; /* not of this protocol */
    run->text = malloc(order->bytes + 1u);
    run->arguments = calloc((size_t)order->n_arguments + order->n_variables + 2, sizeof(char *));
    if (!run->text || !run->arguments) {
        char sink[4096];
        for (size_t left = order->bytes; left;) {
            size_t part = left < sizeof sink ? left : sizeof sink;
            if (!read_all(sink, part))
                return -1;
            left -= part;
        }
        return ENOMEM;
    }
    if (!read_all(run->text, order->bytes))
        return -1;
    char *end = run->text + order->bytes, *at = read_confine(run, end);
    if (!at)
        return EINVAL;
    run->workdir = next_string(&at, end);
    for (uint32_t i = 0; i < order->n_arguments; i++)
        if (!(run->arguments[i] = next_string(&at, end)))
            return EINVAL;
    run->variables = run->arguments + order->n_arguments + 1;
    for (uint32_t i = 0; i < order->n_variables; i++)
        if (!(run->variables[i] = next_string(&at, end)))
            return EINVAL;
    if (!run->workdir || !run->arguments[0] || run->fds[LAUNCH_PROGRESS] < 0)
        return EINVAL;
    run->candidate = malloc(order->bytes + sizeof PATH_DEFAULT + 2);
    return run->candidate ? 0 : ENOMEM;
}

static const char *path_of(char *const variables[])
{
    for (; *variables; variables++)
        if (strncmp(*variables, "PATH=", 5) == 0)
            return *variables + 5;
    return PATH_DEFAULT;
}

/* execve, looking along the command's own PATH where its name has no slash.  Returns the errno. */
static int execute(const struct run *run)
{
    const char *name = run->arguments[0];
    if (strchr(name, '/')) {
        (void)execve(name, run->arguments, run->variables);
        return errno;
    }
    int why = ENOENT;
    for (const char *dir = path_of(run->variables);; dir++) {
        size_t len = strcspn(dir, ":");
        if (len > 0 && dir[0] == '/') { /* never the working directory */
            memcpy(run->candidate, dir, len);
            run->candidate[len] = '/';
            memcpy(run->candidate + len + 1, name, strlen(name) + 1); /* read_run made room */
            (void)execve(run->candidate, run->arguments, run->variables);
            if (errno != ENOENT && errno != ENOTDIR)
                why = errno;
            if (errno != ENOENT && errno != ENOTDIR && errno != EACCES)
                return why;
        }
        dir += len;
        if (!*dir)
            return why;
    }
}

static void die_with_launcher(void)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != own_pid)
        _exit(127);
}

/* Between vfork and exec: system calls only, on memory that is still the launcher's. */
static _Noreturn void become(const struct run *run, struct launch_fault *fault)
{
    sigset_t none;
    (void)sigemptyset(&none);
    (void)setsid();
    die_with_launcher();
    fault->step = LAUNCH_STEP_FORK;
    for (int i = 0; i < LAUNCH_FDS; i++)
        if (dup2(run->fds[i], i) < 0) {
            fault->why = errno;
            _exit(127);
        }
    if (!confine_apply(run->confine, run->groups, run->fds[LAUNCH_CGROUP], run->fds + 1, LAUNCH_FDS - 1, fault))
        _exit(127);
    die_with_launcher(); /* another identity has taken that back */
    fault->step = LAUNCH_STEP_WORKDIR;
    if (chdir(run->workdir) < 0) {
        fault->why = errno;
        _exit(127);
    }
    fault->step = LAUNCH_STEP_EXEC;
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    fault->why = execute(run);
    _exit(127);
}

static bool start(struct run *run)
{
    struct launch_fault fault = {.step = LAUNCH_STEP_FORK};
    if (!confine_begin(run->confine, &fault)) {
        reply_refused(run, &fault);
        return false;
    }
    pid_t pid = vfork(); /* NOLINT: posix_spawn knows no PR_SET_PDEATHSIG, and tells nothing of what failed */
    if (pid == 0)
        become(run, &fault); /* NOLINT: system calls alone; does not return */
    if (pid < 0)
        fault.why = errno;
    confine_end(run->confine);
    if (pid > 0 && fault.why)
        (void)waitpid(pid, NULL, 0);
    if (fault.why) {
        reply_refused(run, &fault);
        return false;
    }
    run->pid = pid;
    struct launch_reply r = {.event = LAUNCH_STARTED, .run = run->order.run, .value = pid};
    reply(&r);
    return true;
}

/* ---- a run ---- */

static bool has_ended(pid_t pid)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

static void obey(struct run *run)
{
    struct launch_order order;
    int fds[LAUNCH_FDS_MAX] = NO_FDS;
    if (!read_order(&order, fds))
        finish();
    if (order.run != run->order.run)
        return;
    if (order.kind == LAUNCH_TERM && !run->stopping) {
        run->stopping = true;
        (void)kill(-run->pid, SIGTERM);
        (void)kill(-run->pid, SIGCONT); /* a stopped one hears it too */
    } else if (order.kind == LAUNCH_KILL) {
        run->killing = true;
        if (!run->reaped)
            (void)kill(-run->pid, SIGKILL);
    }
}

static void reap_orphans(pid_t leader)
{
    siginfo_t info;
    for (;;) {
        info.si_pid = 0;
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0 || info.si_pid == leader)
            return;
        (void)waitpid(info.si_pid, NULL, WNOHANG);
    }
}

static void wait_for_end(struct run *run)
{
    while (!has_ended(run->pid)) {
        struct pollfd from = {.fd = LAUNCH_SOCKET, .events = POLLIN};
        if (parent_gone)
            finish();
        if (ppoll(&from, 1, NULL, &asleep) > 0)
            obey(run);
        else
            reap_orphans(run->pid);
    }
}

/* The command was told to end and did: what it leaves behind has the rest of the time, which satcheld measures.  Its
 * group has had SIGTERM; what left the group gets it now, or when it becomes ours, and once more for each that ends. */
static void wait_for_rest(struct run *run)
{
    bool look = true;
    while (!run->killing) {
        pid_t pid;
        do {
            pid = waitpid(-1, NULL, WNOHANG);
            look = look || pid > 0;
        } while (pid > 0 || (pid < 0 && errno == EINTR));
        if (pid < 0)
            return; /* ECHILD */
        if (look)
            signal_children(SIGTERM, run->pid);
        look = false;
        struct pollfd from = {.fd = LAUNCH_SOCKET, .events = POLLIN};
        if (parent_gone)
            finish();
        if (ppoll(&from, 1, NULL, &asleep) > 0)
            obey(run);
    }
}

static void tell_end(struct run *run)
{
    struct rusage usage = {0};
    int status = 0;
    if (!run->stopping || run->killing)
        (void)kill(-run->pid, SIGKILL); /* its zombie keeps the group's number ours */
    while (wait4(run->pid, &status, 0, &usage) < 0 && errno == EINTR) {
    }
    run->reaped = true;
    if (run->stopping)
        wait_for_rest(run);
    bool gone = kill_tree(SURVIVORS_MS);
    struct launch_reply r = {
        .event = LAUNCH_ENDED,
        .run = run->order.run,
        .value = status,
        .survivors = !gone,
        .user_us = (int64_t)usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec,
        .system_us = (int64_t)usage.ru_stime.tv_sec * 1000000 + usage.ru_stime.tv_usec,
        .max_rss_kb = usage.ru_maxrss,
    };
    reply(&r);
    if (!gone)
        finish(); /* satcheld takes another launcher */
}

static void close_fds(struct run *run)
{
    for (int i = 0; i < LAUNCH_FDS_MAX; i++) {
        if (run->fds[i] >= 0)
            (void)close(run->fds[i]);
        run->fds[i] = -1;
    }
}

static void serve(void)
{
    struct run run = {.fds = NO_FDS};
    struct pollfd from = {.fd = LAUNCH_SOCKET, .events = POLLIN};
    while (!parent_gone) {
        if (ppoll(&from, 1, NULL, &asleep) <= 0)
            continue;
        if (!read_order(&run.order, run.fds))
            return;
        if (run.order.kind != LAUNCH_RUN)
            continue; /* late, for a run that is over */
        int why = read_run(&run);
        if (why < 0) {
            free_run(&run);
            return;
        }
        if (why > 0) {
            reply_refused(&run, &(struct launch_fault){.why = why, .step = LAUNCH_STEP_READ});
        } else if (start(&run)) {
            close_fds(&run);
            wait_for_end(&run);
            tell_end(&run);
        }
        free_run(&run);
    }
}

static void limit(int resource, rlim_t soft, bool hard_too)
{
    struct rlimit l;
    if (getrlimit((__rlimit_resource_t)resource, &l) < 0)
        return;
    l.rlim_cur = l.rlim_max < soft ? l.rlim_max : soft;
    if (hard_too)
        l.rlim_max = l.rlim_cur;
    (void)setrlimit((__rlimit_resource_t)resource, &l);
}

/* posix_spawn has glibc's own two signals ignored in what it starts; our commands shall find everything at its default. */
static void reset_internal_signals(void)
{
    const unsigned char defaults[256] = {0}; /* the kernel's struct sigaction: no handler, no flags, no mask */
    for (int number = 32; number < SIGRTMIN; number++)
        (void)syscall(SYS_rt_sigaction, number, defaults, NULL, (size_t)_NSIG / 8);
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t blocked;
    if (argc != 2 || strcmp(argv[1], LAUNCH_VERSION) != 0) {
        (void)fprintf(stderr, "satchel-launcher: started by satcheld of the same version, and by nothing else\n");
        return 78;
    }
    own_pid = getpid();
    (void)fcntl(LAUNCH_SOCKET, F_SETFD, FD_CLOEXEC);
    reset_internal_signals();
    (void)sigprocmask(SIG_SETMASK, NULL, &asleep);
    (void)sigemptyset(&blocked);
    (void)sigaddset(&blocked, SIGCHLD);
    (void)sigaddset(&blocked, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &blocked, NULL);
    (void)sigaction(SIGCHLD, &action, NULL);
    (void)sigaction(SIGHUP, &action, NULL);
    (void)prctl(PR_SET_PDEATHSIG, SIGHUP); /* beside the socket, which a fork of satcheld's could keep open */
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    confine_open();
    (void)prctl(PR_SET_DUMPABLE, 0);
    limit(RLIMIT_CORE, 0, true);
    limit(RLIMIT_NOFILE, FILES_SOFT, false);
    serve();
    finish();
}
