#include "tests/support/satcheld.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PROGRAM TEST_BUILD_DIR "/daemon/satcheld"
#define MAX_ARGS 40

static int n_running; /* daemons of this test */

/* ---- small helpers ---- */

long long mono_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

void pause_ms(int ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    (void)nanosleep(&pause, NULL);
}

bool until(bool (*done)(void *arg), void *arg, int limit_ms)
{
    long long end = mono_ms() + limit_ms;
    while (!done(arg)) {
        if (mono_ms() > end)
            return false;
        pause_ms(3);
    }
    return true;
}

int count_from(const char *variable, int otherwise)
{
    const char *text = getenv(variable);
    int count = text ? atoi(text) : 0;
    return count > 0 ? count : otherwise;
}

static char *read_from(const char *path, size_t start)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0, cap = 65536;
    char *text = malloc(cap + 1);
    assert_non_null(text);
    if (fd >= 0) {
        ssize_t n;
        (void)lseek(fd, (off_t)start, SEEK_SET);
        while ((n = read(fd, text + len, cap - len)) > 0) {
            len += (size_t)n;
            if (cap - len < 4096)
                assert_non_null(text = realloc(text, (cap *= 2) + 1));
        }
        (void)close(fd);
    }
    text[len] = '\0';
    return text;
}

char *read_file(const char *path)
{
    return read_from(path, 0);
}

void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info, (void)kind, (void)walk;
    return remove(path);
}

void remove_tree(const char *path)
{
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- the directory ---- */

char *satcheld_path(const struct satcheld *d, const char *name)
{
    char *path;
    assert_true(asprintf(&path, "%s/%s", d->dir, name) > 0);
    return path;
}

void satcheld_configure(struct satcheld *d, const char *config)
{
    char *path = satcheld_path(d, "satcheld.conf");
    write_file(path, config ? config : "");
    free(path);
}

void satcheld_init(struct satcheld *d, const char *config)
{
    *d = (struct satcheld){0};
    (void)signal(SIGPIPE, SIG_IGN);
    /* What the daemon leaves behind becomes our child, and is found in the end. */
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    (void)snprintf(d->dir, sizeof d->dir, "/tmp/satcheld-test.XXXXXX");
    assert_non_null(mkdtemp(d->dir));
    satcheld_configure(d, config);
}

/* ---- starting ---- */

static void exec_daemon(const char *const *argv, int out, int err, pid_t parent)
{
    int null = open("/dev/null", O_RDONLY);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent || null < 0)
        _exit(99);
    (void)dup2(null, 0);
    (void)dup2(out, 1);
    (void)dup2(err, 2);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)setenv("SATCHEL_LAUNCHER", TEST_BUILD_DIR "/daemon/satchel-launcher", 1);
    (void)execv(argv[0], (char *const *)(uintptr_t)argv);
    _exit(98);
}

void satcheld_spawn(struct satcheld *d)
{
    assert_int_equal(d->pid, 0);
    char *data = satcheld_path(d, "data"), *config = satcheld_path(d, "satcheld.conf"), *log = satcheld_path(d, "log");
    const char *argv[MAX_ARGS] = {PROGRAM, "--config", config, "--data-dir", data};
    size_t n = 5;
    if (!d->listen || *d->listen) {
        argv[n++] = "--listen";
        argv[n++] = d->listen ? d->listen : "127.0.0.1:0";
    }
    for (size_t i = 0; d->args && d->args[i]; i++) {
        assert_true(n < MAX_ARGS - 1);
        argv[n++] = d->args[i];
    }
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    d->log_start = (size_t)lseek(fd, 0, SEEK_END);
    d->port = 0;
    pid_t parent = getpid();
    d->pid = fork();
    assert_true(d->pid >= 0);
    n_running++;
    if (d->pid == 0) {
        if (d->before_exec)
            d->before_exec(d->arg);
        exec_daemon(argv, fd, fd, parent);
    }
    (void)close(fd);
    free(data);
    free(config);
    free(log);
}

char *satcheld_log(const struct satcheld *d)
{
    char *path = satcheld_path(d, "log"), *text = read_from(path, d->log_start);
    free(path);
    return text;
}

bool satcheld_log_has(const struct satcheld *d, const char *text)
{
    char *log = satcheld_log(d);
    bool has = strstr(log, text) != NULL;
    free(log);
    return has;
}

struct log_text {
    const struct satcheld *d;
    const char *text;
};

static bool log_has(void *arg)
{
    const struct log_text *wanted = arg;
    return satcheld_log_has(wanted->d, wanted->text);
}

void satcheld_log_wait(const struct satcheld *d, const char *text)
{
    struct log_text wanted = {d, text};
    if (!until(log_has, &wanted, WAIT_MS)) {
        char *log = satcheld_log(d);
        print_error("%s\n", log);
        free(log);
        fail_msg("the log does not say: %s", text);
    }
}

/* True when it says where it listens: on a TCP address where there is one. */
static bool says_address(void *arg)
{
    struct satcheld *d = arg;
    static const char said[] = "satcheld: listening on ", http[] = "http://";
    int status;
    if (satcheld_ended(d, &status)) {
        char *log = satcheld_log(d);
        print_error("%s\n", log);
        free(log);
        fail_msg("satcheld ended with %d instead of serving", status);
    }
    char *log = satcheld_log(d);
    char *line = strstr(log, said);
    bool found = line && strchr(line, '\n');
    for (; found && line; line = strstr(line + 1, said)) {
        char *address = line + sizeof said - 1, *end = strchr(address, '\n');
        if (!end || strncmp(address, http, sizeof http - 1) != 0)
            continue;
        *end = '\0';
        char *colon = strrchr(address, ':');
        (void)snprintf(d->host, sizeof d->host, "%.*s", (int)(colon - address) - (int)(sizeof http - 1),
                       address + sizeof http - 1);
        d->port = atoi(colon + 1);
        break;
    }
    free(log);
    return found;
}

void satcheld_ready(struct satcheld *d)
{
    if (!until(says_address, d, WAIT_MS))
        fail_msg("satcheld does not say where it listens");
}

void satcheld_start(struct satcheld *d)
{
    satcheld_spawn(d);
    satcheld_ready(d);
}

/* ---- ending ---- */

void satcheld_signal(const struct satcheld *d, int signal_number)
{
    assert_true(d->pid > 0);
    assert_int_equal(kill(d->pid, signal_number), 0);
}

static int exit_of(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

bool satcheld_ended(struct satcheld *d, int *ret_status)
{
    int status;
    assert_true(d->pid > 0);
    pid_t pid = waitpid(d->pid, &status, WNOHANG);
    if (pid == 0)
        return false;
    assert_int_equal(pid, d->pid);
    d->pid = 0;
    n_running--;
    *ret_status = exit_of(status);
    return true;
}

struct ending {
    struct satcheld *d;
    int status;
};

static bool has_ended(void *arg)
{
    struct ending *ending = arg;
    return satcheld_ended(ending->d, &ending->status);
}

int satcheld_wait(struct satcheld *d, int limit_ms)
{
    struct ending ending = {.d = d};
    if (!until(has_ended, &ending, limit_ms))
        fail_msg("satcheld does not end");
    return ending.status;
}

void satcheld_stop(struct satcheld *d)
{
    satcheld_signal(d, SIGTERM);
    int status = satcheld_wait(d, WAIT_MS + 30000);
    if (status == 0)
        return;
    char *log = satcheld_log(d);
    print_error("%s\n", log);
    free(log);
    fail_msg("satcheld was asked to stop and ended with %d", status);
}

void satcheld_kill(struct satcheld *d)
{
    satcheld_signal(d, SIGKILL);
    assert_int_equal(satcheld_wait(d, WAIT_MS), -SIGKILL);
}

static bool no_children(void *arg)
{
    (void)arg;
    pid_t pid;
    do
        pid = waitpid(-1, NULL, WNOHANG);
    while (pid > 0);
    return pid < 0 && errno == ECHILD;
}

/* Names what is left, and kills it. */
static int kill_children(void)
{
    int n = 0;
    char path[64], stat[512], *end;
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; proc && (entry = readdir(proc)) != NULL;) {
        int pid = atoi(entry->d_name), parent;
        (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
        FILE *file = pid > 0 ? fopen(path, "re") : NULL;
        if (!file)
            continue;
        size_t len = fread(stat, 1, sizeof stat - 1, file);
        (void)fclose(file);
        stat[len] = '\0';
        end = strrchr(stat, ')');
        if (end && sscanf(end, ") %*c %d", &parent) == 1 && parent == getpid()) {
            print_error("left behind: %s\n", stat);
            (void)kill(pid, SIGKILL);
            n++;
        }
    }
    if (proc)
        (void)closedir(proc);
    (void)until(no_children, NULL, 2000);
    return n;
}

static int count_lines_with(const char *log, const char *text, bool print)
{
    int n = 0;
    for (const char *at = strstr(log, text); at; at = strstr(at + 1, text), n++) {
        const char *line = at, *end = strchr(at, '\n');
        while (line > log && line[-1] != '\n')
            line--;
        if (print)
            print_error("log: %.*s\n", (int)((end ? end : line + strlen(line)) - line), line);
    }
    return n;
}

static int log_faults(const struct satcheld *d)
{
    static const char *const reports[] = {"ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer",
                                          "runtime error: "};
    char *path = satcheld_path(d, "log"), *log = read_file(path);
    int n = 0;
    for (size_t i = 0; i < sizeof reports / sizeof reports[0]; i++) {
        const char *report = strstr(log, reports[i]);
        if (report) {
            print_error("%.6000s\n", report);
            n++;
        }
    }
    int errors = count_lines_with(log, "\"level\":\"error\"", d->max_error_logs >= 0);
    if (d->max_error_logs >= 0 && errors > d->max_error_logs)
        n++;
    free(log);
    free(path);
    return n;
}

void satcheld_release(struct satcheld *d)
{
    int status, left = 0;
    if (d->pid > 0 && !satcheld_ended(d, &status))
        satcheld_kill(d);
    if (n_running == 0 && !until(no_children, NULL, SANITIZED ? 20000 : 5000))
        left = kill_children();
    int faults = log_faults(d);
    if (!getenv("SATCHEL_TEST_KEEP"))
        remove_tree(d->dir);
    else
        print_message("kept: %s\n", d->dir);
    assert_int_equal(left, 0);
    assert_int_equal(faults, 0);
}

int satcheld_run(const char *const *args, char **ret_out, char **ret_err)
{
    char out[] = "/tmp/satcheld-out.XXXXXX", err[] = "/tmp/satcheld-err.XXXXXX";
    int out_fd = mkostemp(out, O_CLOEXEC), err_fd = mkostemp(err, O_CLOEXEC);
    assert_true(out_fd >= 0 && err_fd >= 0);
    const char *argv[MAX_ARGS] = {PROGRAM};
    for (size_t i = 0; args[i]; i++) {
        assert_true(i < MAX_ARGS - 2);
        argv[i + 1] = args[i];
    }
    pid_t parent = getpid();
    struct satcheld d = {.pid = fork()};
    assert_true(d.pid >= 0);
    n_running++;
    if (d.pid == 0)
        exec_daemon(argv, out_fd, err_fd, parent);
    int status = satcheld_wait(&d, WAIT_MS);
    *ret_out = read_file(out);
    *ret_err = read_file(err);
    (void)close(out_fd);
    (void)close(err_fd);
    (void)unlink(out);
    (void)unlink(err);
    return status;
}
