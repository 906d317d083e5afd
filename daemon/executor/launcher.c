/* Starting launchers, and talking with them.  Called by command.c and command_run.c. */
#include "executor/launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/buf.h"

#define PROGRAM "satchel-launcher"
#define ABANDONED_MAX 64u
#define GRACE_MS 1000 /* an idle launcher needs no more to see its socket closed */

struct launcher {
    int socket;
    pid_t pid;
    uint32_t run;
    bool running;
};

static pthread_key_t thread_key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static bool key_made;

static pthread_mutex_t path_lock = PTHREAD_MUTEX_INITIALIZER; /* guards the two */
static char program_path[PATH_MAX];
/* Launchers that were given up while they still killed something: to be reaped some time. */
static pid_t abandoned[ABANDONED_MAX];

/* ---- the program ---- */

static bool try_path(const char *dir, const char *rest)
{
    int len = snprintf(program_path, sizeof program_path, "%s%s", dir, rest);
    return len > 0 && (size_t)len < sizeof program_path && access(program_path, X_OK) == 0;
}

static bool try_build_tree(void)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *name = n > 0 ? (self[n] = '\0', strrchr(self, '/')) : NULL;
    if (!name)
        return false;
    *name = '\0'; /* libtool keeps the program proper in .libs */
    size_t len = strlen(self);
    return len > 6 && strcmp(self + len - 6, "/.libs") == 0 && try_path(self, "/../" PROGRAM);
}

int launcher_find(char *error, size_t error_size)
{
    const char *told = secure_getenv("SATCHEL_LAUNCHER");
    (void)pthread_mutex_lock(&path_lock);
    bool found = told && *told ? try_path(told, "") : try_build_tree() || try_path(SATCHEL_LIBEXECDIR, "/" PROGRAM);
    if (!found) {
        (void)snprintf(error, error_size, "commands need %.200s, which is not there or cannot be executed",
                       program_path);
        program_path[0] = '\0';
    }
    (void)pthread_mutex_unlock(&path_lock);
    return found ? 0 : -1;
}

/* ---- life ---- */

static void abandon(pid_t pid)
{
    (void)pthread_mutex_lock(&path_lock);
    for (size_t i = 0; i < ABANDONED_MAX; i++) {
        if (abandoned[i] && waitpid(abandoned[i], NULL, WNOHANG) != 0)
            abandoned[i] = 0;
        if (!abandoned[i]) {
            abandoned[i] = pid;
            pid = 0;
        }
    }
    (void)pthread_mutex_unlock(&path_lock);
}

static void end_launcher(struct launcher *launcher)
{
    bool idle = !launcher->running;
    (void)close(launcher->socket);
    struct timespec pause = {.tv_nsec = 1000000};
    for (int i = 0; launcher->pid && i < (idle ? GRACE_MS : 5); i++) {
        pid_t pid = waitpid(launcher->pid, NULL, WNOHANG);
        if (pid != 0)
            launcher->pid = 0;
        else
            (void)nanosleep(&pause, NULL);
    }
    if (launcher->pid)
        abandon(launcher->pid);
    free(launcher);
}

static void on_thread_end(void *launcher)
{
    end_launcher(launcher);
}

static void make_key(void)
{
    key_made = pthread_key_create(&thread_key, on_thread_end) == 0;
}

/* posix_spawn with a session of its own (a Ctrl-C at the daemon's terminal is not for its commands), default signals,
 * no environment, and no descriptor but the socket. */
static int spawn(int socket, pid_t *ret_pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t all, none;
    char program[] = PROGRAM, version[] = LAUNCH_VERSION;
    char *arguments[] = {program, version, NULL}, *variables[] = {NULL};
    if (posix_spawn_file_actions_init(&files) != 0)
        return ENOMEM;
    if (posix_spawnattr_init(&attributes) != 0) {
        (void)posix_spawn_file_actions_destroy(&files);
        return ENOMEM;
    }
    (void)sigfillset(&all);
    (void)sigemptyset(&none);
    (void)posix_spawnattr_setsigdefault(&attributes, &all);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
    int err = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDWR, 0);
    if (err == 0)
        err = posix_spawn_file_actions_adddup2(&files, 0, 1);
    if (err == 0)
        err = posix_spawn_file_actions_adddup2(&files, 0, 2);
    if (err == 0)
        err = posix_spawn_file_actions_adddup2(&files, socket, LAUNCH_SOCKET);
    if (err == 0)
        err = posix_spawn_file_actions_addclosefrom_np(&files, LAUNCH_SOCKET + 1);
    if (err == 0) {
        (void)pthread_mutex_lock(&path_lock);
        char path[PATH_MAX];
        (void)memcpy(path, program_path, sizeof path);
        (void)pthread_mutex_unlock(&path_lock);
        err = posix_spawn(ret_pid, path, &files, &attributes, arguments, variables);
    }
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&files);
    return err;
}

static struct launcher *start_launcher(void)
{
    int pair[2];
    struct launcher *launcher = calloc(1, sizeof *launcher);
    if (!launcher)
        return NULL;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        free(launcher);
        return NULL;
    }
    int theirs = pair[1];
    if (theirs == LAUNCH_SOCKET) { /* dup2 onto itself would leave close-on-exec on */
        theirs = fcntl(theirs, F_DUPFD_CLOEXEC, LAUNCH_SOCKET + 1);
        (void)close(pair[1]);
    }
    int err = theirs < 0 ? errno : spawn(theirs, &launcher->pid);
    if (theirs >= 0)
        (void)close(theirs);
    if (err) {
        (void)close(pair[0]);
        free(launcher);
        errno = err;
        return NULL;
    }
    launcher->socket = pair[0];
    return launcher;
}

struct launcher *launcher_get(void)
{
    (void)pthread_once(&key_once, make_key);
    if (!key_made) {
        errno = EAGAIN;
        return NULL;
    }
    struct launcher *launcher = pthread_getspecific(thread_key);
    if (launcher)
        return launcher;
    launcher = start_launcher();
    if (launcher && pthread_setspecific(thread_key, launcher) != 0) {
        end_launcher(launcher);
        launcher = NULL;
        errno = ENOMEM;
    }
    return launcher;
}

void launcher_drop(struct launcher *launcher)
{
    (void)pthread_setspecific(thread_key, NULL);
    end_launcher(launcher);
}

/* ---- talking ---- */

static int send_all(int socket, const char *data, size_t len)
{
    while (len) {
        ssize_t n = send(socket, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

static int send_with_fds(int socket, const char *data, size_t len, const int fds[LAUNCH_FDS_MAX])
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(LAUNCH_FDS_MAX * sizeof(int))];
    } control = {.room = {0}};
    size_t size = (fds[LAUNCH_CGROUP] < 0 ? LAUNCH_FDS : LAUNCH_FDS_MAX) * sizeof(int);
    struct iovec part = {(char *)(uintptr_t)data, len};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE(size)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(c), fds, size);
    ssize_t n;
    do {
        n = sendmsg(socket, &message, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : send_all(socket, data + n, len - (size_t)n);
}

static uint32_t append_strings(struct buf *to, char *const *strings)
{
    uint32_t n = 0;
    for (; strings[n]; n++)
        buf_append(to, strings[n], strlen(strings[n]) + 1);
    return n;
}

int launcher_run(struct launcher *launcher, const struct launch_command *command)
{
    struct launch_order order = {.kind = LAUNCH_RUN, .run = ++launcher->run};
    struct buf text = {.max = LAUNCH_BYTES_MAX};
    buf_append(&text, &order, sizeof order);
    buf_append(&text, command->confine, sizeof *command->confine);
    if (command->confine->n_groups)
        buf_append(&text, command->groups, command->confine->n_groups * sizeof(gid_t));
    buf_append(&text, command->workdir, strlen(command->workdir) + 1);
    order.n_arguments = append_strings(&text, command->arguments);
    order.n_variables = append_strings(&text, command->variables);
    if (!buf_ok(&text)) {
        buf_release(&text);
        return -E2BIG; /* nothing was sent: the launcher is as it was */
    }
    order.bytes = (uint32_t)(text.len - sizeof order);
    memcpy(text.data, &order, sizeof order);
    int err = send_with_fds(launcher->socket, text.data, text.len, command->fds);
    buf_release(&text);
    launcher->running = err == 0;
    return err;
}

void launcher_signal(struct launcher *launcher, enum launch_kind kind)
{
    struct launch_order order = {.kind = kind, .run = launcher->run};
    (void)send_all(launcher->socket, (const char *)&order, sizeof order);
}

int launcher_fd(const struct launcher *launcher)
{
    return launcher->socket;
}

int launcher_read(struct launcher *launcher, struct launch_reply *ret)
{
    ssize_t n;
    do { /* replies are sent whole and are small: they arrive whole */
        n = recv(launcher->socket, ret, sizeof *ret, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n != (ssize_t)sizeof *ret)
        return -1;
    if (ret->run != launcher->run)
        return 0;
    if (ret->event != LAUNCH_STARTED)
        launcher->running = false;
    return 1;
}
