/* memory_max, cpu_max and pids_max with the real daemon: against a folder that stands for its control group, and against
 * a real one where the kernel's memory and pids controllers can be had (skipped elsewhere). */
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
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/ask.h"

static const char config[] = "workers = 2\n"
                             "task \"plain\" { command = {/bin/cat} }\n"
                             "task \"limited\" { command = {/bin/sh, '-c', 'for g in \"$0\"/attempt-*; do cd \"$g\"; "
                             "head -v -n9 *; done', '@'}\n"
                             "  memory_max = \"64MiB\" cpu_max = 0.5 pids_max = 9 }\n"
                             "task \"hungry\" { command = {/bin/sh, '-c', 'cd \"$0\"/attempt-*; echo \"oom_kill 1\" > "
                             "memory.events; rm -f *.max "
                             "*.group cgroup.*; kill -9 $$', '@'} memory_max = \"1GiB\" }\n"
                             "task \"unharmed\" { command = {/bin/sh, '-c', 'cd \"$0\"/attempt-*; echo \"oom_kill 1\" "
                             "> memory.events; echo 7', '@'}\n"
                             "  memory_max = \"1GiB\" }\n";

static char group[256];

static void put(const char *name, const char *text)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", group, name);
    write_file(path, text);
}

static void make_folder(const char *controllers)
{
    (void)snprintf(group, sizeof group, "/tmp/satchel-group-XXXXXX");
    assert_non_null(mkdtemp(group));
    put("cgroup.controllers", controllers);
    put("cgroup.procs", "");
    put("cgroup.subtree_control", "");
}

static void in_folder(void *arg)
{
    (void)arg;
    (void)setenv("SATCHEL_CGROUP", group, 1);
}

/* A @ becomes the group's folder. */
static char *with_group(const char *text)
{
    char *out = calloc(1, strlen(text) + 16 * sizeof group), *at = out;
    assert_non_null(out);
    for (; *text; text++)
        if (*text == '@')
            at = stpcpy(at, group);
        else
            *at++ = *text;
    return out;
}

static json_t *run_task(const struct satcheld *d, const char *name)
{
    char body[128];
    (void)snprintf(body, sizeof body, "{\"task\":\"%s\",\"args\":1}", name);
    return run(d, NULL, body);
}

static void remove_attempts(void)
{
    char *command;
    assert_true(asprintf(&command, "rm -rf %s/attempt-*", group) > 0);
    assert_int_equal(system(command), 0); /* NOLINT: a mkdtemp name */
    free(command);
}

static void what_is_written(void **state)
{
    (void)state;
    static const char *const wanted[] = {"==> cgroup.procs <==\n0\n", "==> cpu.max <==\n50000 100000\n",
                                         "==> memory.max <==\n67108864\n", "==> memory.oom.group <==\n1\n",
                                         "==> pids.max <==\n9"};
    struct satcheld d = {0};
    make_folder("cpuset cpu memory pids\n");
    char *text = with_group(config);
    satcheld_init(&d, text);
    free(text);
    d.before_exec = in_folder;
    satcheld_start(&d);
    json_t *task = run_task(&d, "limited");
    expect_state(task, "succeeded");
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        if (!strstr(text_of(task, "result"), wanted[i]))
            fail_msg("no \"%s\" in %s", wanted[i], text_of(task, "result"));
    json_decref(task);
    remove_attempts();
    task = run_task(&d, "hungry");
    expect_state(task, "failed");
    const json_t *error = json_object_get(task, "error");
    expect_text(error, "type", "oom");
    assert_non_null(strstr(text_of(error, "message"), "memory_max = 1GiB"));
    json_decref(task);
    remove_attempts();
    task = run_task(&d, "unharmed"); /* it has lost a part of itself, and went on */
    expect_state(task, "succeeded");
    json_decref(task);
    task = run_task(&d, "plain"); /* has no group */
    expect_state(task, "succeeded");
    json_decref(task);
    satcheld_stop(&d);
    satcheld_release(&d);
    remove_tree(group);
}

/* Commands that were to be limited do not run without: the daemon does not start, a reload is not taken up. */
static void not_delegated(void **state)
{
    (void)state;
    char *out, *err;
    struct satcheld d = {0};
    make_folder("cpuset cpu pids\n");
    char *text = with_group(config);
    satcheld_init(&d, text);
    d.before_exec = in_folder;
    satcheld_spawn(&d);
    assert_int_not_equal(satcheld_wait(&d, WAIT_MS), 0);
    char *log = satcheld_log(&d);
    if (!strstr(
            log,
            "satcheld.conf:3: task \"limited\": memory_max, cpu_max and pids_max need a unit with Delegate=yes: the "
            "controller memory is not delegated"))
        fail_msg("%s", log);
    free(log);
    char *path = satcheld_path(&d, "satcheld.conf"); /* elsewhere it may be: the check does not ask */
    const char *args[] = {"--config", path, "--check", NULL};
    assert_int_equal(satcheld_run(args, &out, &err), 0);
    free(out);
    free(err);
    free(path);
    satcheld_configure(&d, "workers = 2\n");
    satcheld_start(&d);
    satcheld_configure(&d, text);
    d.max_error_logs = -1;
    satcheld_signal(&d, SIGHUP);
    satcheld_log_wait(&d, "the controller memory is not delegated");
    struct answer answer = {0};
    ask(&d, &answer, "POST", "/v1/tasks", JSON_TYPE, "{\"task\":\"limited\"}");
    assert_int_equal(answer.status, 422);
    answer_release(&answer);
    satcheld_stop(&d);
    satcheld_release(&d);
    free(text);
    remove_tree(group);
}

/* ---- a real one ---- */

static const char real_config[] =
    "workers = 2\n"
    "task \"hungry\" { command = {/bin/sh, '-c', 'head -c 300000000 /dev/zero | tail'} memory_max = \"16MiB\" }\n"
    "task \"many\" { command = {/bin/sh, '-c', 'for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1000 & done; wait'}\n"
    "  pids_max = 6 }\n"
    "task \"within\" { command = {/bin/sh, '-c', 'cat /proc/self/cgroup; setsid sleep 1000 & echo'} memory_max = "
    "\"64MiB\"\n"
    "  cpu_max = 0.5 pids_max = 9 }\n";

static bool make_real(void)
{
    char path[512];
    (void)snprintf(group, sizeof group, "/sys/fs/cgroup/satchel-test-%ld", (long)getpid());
    if (access("/sys/fs/cgroup/cgroup.controllers", R_OK) < 0 || mkdir(group, 0755) < 0)
        return false;
    (void)snprintf(path, sizeof path, "%s/cgroup.controllers", group);
    char *controllers = read_file(path);
    bool good = strstr(controllers, "memory") && strstr(controllers, "pids") && strstr(controllers, "cpu ");
    free(controllers);
    if (!good)
        (void)rmdir(group);
    return good;
}

static void in_real(void *arg)
{
    (void)arg;
    char path[512];
    (void)snprintf(path, sizeof path, "%s/cgroup.procs", group);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0", 1) != 1)
        _exit(60);
    (void)close(fd);
}

static void real_limits(void **state)
{
    (void)state;
    if (!make_real()) {
        print_message("the memory, cpu and pids controllers of cgroup v2 cannot be had here\n");
        skip();
    }
    struct satcheld d = {0};
    satcheld_init(&d, real_config);
    d.before_exec = in_real;
    satcheld_start(&d);
    json_t *task = run_task(&d, "hungry");
    expect_state(task, "failed");
    expect_text(json_object_get(task, "error"), "type", "oom");
    json_decref(task);
    task = run_task(&d, "many");
    expect_state(task, "failed");
    expect_text(json_object_get(task, "error"), "type", "exit"); /* the shell cannot fork */
    json_decref(task);
    task = run_task(&d, "within");
    expect_state(task, "succeeded");
    assert_non_null(strstr(text_of(task, "result"), "/attempt-"));
    json_decref(task);
    satcheld_stop(&d);
    satcheld_release(&d);
    char path[512];
    (void)snprintf(path, sizeof path, "%s/daemon", group);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(group), 0); /* no attempt's group is left */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written),
        cmocka_unit_test(not_delegated),
        cmocka_unit_test(real_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
