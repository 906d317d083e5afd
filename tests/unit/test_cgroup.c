/* Control groups of commands: what is written where, against a folder that stands for a control group; and against a
 * real one where this process may make some (skipped elsewhere). */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "executor/cgroup.h"

static const struct config_confine all = {.memory_max = 536870912, .cpu_max_milli = 1500, .pids_max = 64};
static const struct config_confine no_limits;
static char base[] = "/tmp/satchel-cgroup-XXXXXX";
static unsigned made;

static void put(const char *dir, const char *name, const char *text)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    (void)fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void expect(const char *dir, const char *name, const char *text)
{
    char path[5000], got[256] = "";
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "re");
    if (!file)
        fail_msg("there is no %s", path);
    (void)!fread(got, 1, sizeof got - 1, file);
    (void)fclose(file);
    assert_string_equal(got, text);
}

static bool is_there(const char *dir, const char *name)
{
    char path[5000];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

/* A folder with what a delegated group would have. */
static void make(char dir[256], const char *controllers, const char *procs)
{
    (void)snprintf(dir, 256, "%s/group-%u", base, ++made);
    assert_int_equal(mkdir(dir, 0755), 0);
    put(dir, "cgroup.controllers", controllers);
    put(dir, "cgroup.procs", procs);
    put(dir, "cgroup.subtree_control", "");
    assert_int_equal(setenv("SATCHEL_CGROUP", dir, 1), 0);
}

/* Each in a process of its own: what is prepared stays so.  Returns the exit status; 0 is good. */
static int apart(int (*test)(void))
{
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(test());
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void test_wanted(void **state)
{
    (void)state;
    assert_false(cgroup_wanted(&no_limits));
    assert_true(cgroup_wanted(&all));
    assert_true(cgroup_wanted(&(struct config_confine){.pids_max = 1}));
    assert_true(cgroup_wanted(&(struct config_confine){.cpu_max_milli = 1}));
    assert_true(cgroup_wanted(&(struct config_confine){.memory_max = 1}));
}

static char dir[256];

static int prepare(const char *part)
{
    char error[512] = "";
    if (cgroup_prepare(&all, error, sizeof error) == 0)
        return part ? 50 : 0;
    if (part && strstr(error, part))
        return 0;
    print_error("%s\n", error);
    return 51;
}

static int refuse_controller(void)
{
    return prepare("the controller memory is not delegated");
}

static int refuse_other(void)
{
    return prepare("is not satcheld's alone: process 1 is in it, too");
}

static int refuse_missing(void)
{
    return prepare("No such file or directory");
}

static int refuse_divide(void)
{
    return prepare("cannot be divided: Not a directory") == 0 ? 0 : prepare("cannot be divided");
}

static void test_refusals(void **state)
{
    (void)state;
    make(dir, "cpuset cpu memory-x pids\n", "");
    assert_int_equal(apart(refuse_controller), 0);
    make(dir, "cpu memory pids\n", "1\n");
    assert_int_equal(apart(refuse_other), 0);
    assert_false(is_there(dir, "daemon")); /* left as it was */
    (void)setenv("SATCHEL_CGROUP", "/nonexistent/group", 1);
    assert_int_equal(apart(refuse_missing), 0);
    make(dir, "cpu memory pids\n", "");
    put(dir, "daemon", "");
    assert_int_equal(apart(refuse_divide), 0);
}

static int limits_in_files(void)
{
    struct cgroup group, second;
    char stale[300];
    (void)snprintf(stale, sizeof stale, "%s/attempt-77", dir);
    if (mkdir(stale, 0755) < 0 || prepare(NULL) != 0)
        return 1;
    if (prepare(NULL) != 0) /* again: nothing to do */
        return 2;
    if (cgroup_new(&all, &group) < 0 || cgroup_new(&(struct config_confine){.pids_max = 3}, &second) < 0)
        return 3;
    expect(group.path, "memory.max", "536870912");
    expect(group.path, "memory.oom.group", "1");
    expect(group.path, "cpu.max", "150000 100000");
    expect(group.path, "pids.max", "64");
    expect(second.path, "pids.max", "3");
    if (strcmp(group.path, second.path) == 0 || is_there(second.path, "memory.max") || is_there(second.path, "cpu.max"))
        return 4;
    if (cgroup_had_oom(&group)) /* it has no such file */
        return 5;
    put(group.path, "memory.events", "low 0\noom 1\noom_kill 0\noom_group_kill 0\n");
    if (cgroup_had_oom(&group))
        return 6;
    put(group.path, "memory.events", "low 0\noom 1\noom_kill 2\noom_group_kill 1\n");
    if (!cgroup_had_oom(&group))
        return 7;
    cgroup_release(&group); /* a folder with files is not removed, and that is no more than a warning */
    expect(group.path, "cgroup.kill", "1");
    return 0;
}

static void test_limits(void **state)
{
    (void)state;
    make(dir, "cpuset cpu io memory pids\n", "");
    assert_int_equal(apart(limits_in_files), 0);
    expect(dir, "cgroup.subtree_control", "+pids"); /* the last of the three, in a file */
    assert_true(is_there(dir, "daemon"));
}

/* Where cgroup v2 is and lets us make groups: a fresh one, or false. */
static bool make_real(void)
{
    static const char *const mounts[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    for (size_t i = 0; i < 2; i++) {
        if (!is_there(mounts[i], "cgroup.procs") || !is_there(mounts[i], "cgroup.subtree_control"))
            continue;
        (void)snprintf(dir, sizeof dir, "%s/satchel-test-%ld", mounts[i], (long)getpid());
        if (mkdir(dir, 0755) == 0)
            return true;
    }
    return false;
}

static void enter(const char *path)
{
    char procs[5000];
    (void)snprintf(procs, sizeof procs, "%s/cgroup.procs", path);
    int fd = open(procs, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0", 1) != 1)
        _exit(60);
    (void)close(fd);
}

/* In a group of its own, with a child beside it: both are moved; a command that runs away is killed. */
static int real_group(void)
{
    char error[512], line[512] = "";
    struct cgroup group;
    enter(dir);
    pid_t helper = fork();
    if (helper == 0) {
        (void)pause();
        _exit(0);
    }
    (void)unsetenv("SATCHEL_CGROUP"); /* found in /proc */
    if (cgroup_prepare(&no_limits, error, sizeof error) < 0) {
        print_error("%s\n", error);
        return 1;
    }
    if (cgroup_new(&no_limits, &group) < 0)
        return 2;
    int told[2];
    if (pipe(told) < 0)
        return 3;
    pid_t command = fork();
    if (command == 0) {
        if (write(group.procs, "0", 1) != 1)
            _exit(61);
        for (int i = 0; i < 3; i++)
            if (fork() == 0) {
                (void)setsid();
                (void)write(told[1], "x", 1);
                (void)pause();
                _exit(0);
            }
        _exit(0); /* and leaves them to nobody */
    }
    for (int i = 0; i < 3; i++)
        if (read(told[0], line, 1) != 1)
            return 4;
    (void)close(told[1]);
    (void)waitpid(command, NULL, 0);
    cgroup_release(&group);
    if (access(group.path, F_OK) == 0)
        return 5;
    if (read(told[0], line, 1) != 0) /* all of them are gone */
        return 6;
    FILE *file = fopen("/proc/self/cgroup", "re");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "0::", 3) == 0)
            break;
    if (!file || !strstr(line, "/daemon\n"))
        return 7;
    (void)fclose(file);
    (void)kill(helper, SIGKILL);
    (void)waitpid(helper, NULL, 0);
    return 0;
}

static int real_foreign(void)
{
    char error[512] = "";
    enter(dir);
    return cgroup_prepare(&no_limits, error, sizeof error) < 0 && strstr(error, "not satcheld's alone") ? 0 : 1;
}

static void test_real(void **state)
{
    (void)state;
    if (!make_real()) {
        print_message("no control group can be made here\n");
        skip();
    }
    assert_int_equal(apart(real_group), 0);
    char daemon[300], number[24];
    (void)snprintf(daemon, sizeof daemon, "%s/daemon", dir);
    assert_int_equal(rmdir(daemon), 0);
    (void)unsetenv("SATCHEL_CGROUP");
    pid_t stranger = fork();
    if (stranger == 0) {
        (void)pause();
        _exit(0);
    }
    (void)snprintf(number, sizeof number, "%ld", (long)stranger);
    put(dir, "cgroup.procs", number);
    assert_int_equal(apart(real_foreign), 0);
    (void)kill(stranger, SIGKILL);
    (void)waitpid(stranger, NULL, 0);
    (void)rmdir(daemon);
    assert_int_equal(rmdir(dir), 0);
}

static int start(void **state)
{
    (void)state;
    return mkdtemp(base) ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    char command[64];
    (void)snprintf(command, sizeof command, "rm -rf %s", base);
    return system(command); /* NOLINT: a mkdtemp name */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wanted),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_real),
    };
    return cmocka_run_group_tests_name("control groups", tests, start, stop);
}
