/* Commands of the real daemon: who they are, what they may use, and that one which cannot be confined does not run.
 * What only root can give is tried where the test runs as root. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/ask.h"

#define CAP_SYS_NICE 23
#define CAP_SYS_RESOURCE 24
#define NOBODY "65534"

/* A @ in it is the folder of this test's files. */
static const struct {
    const char *name, *script, *settings;
    bool roots;
} tasks[] = {
    {"plain", "grep -E '^(NoNewPrivs|CapAmb)' /proc/self/status | tr -d '[:space:]'; ulimit -c", "", false},
    {"umask", "umask", "umask = 0137", false},
    {"limits", "for l in n v f t d s c; do echo -n $(ulimit -S$l)/$(ulimit -H$l)' '; done",
     "limits = {'nofile=64', 'as=1GiB', 'fsize=2MiB', 'cpu=7s', 'data=512MiB', 'stack=1MiB', 'core=0'}", false},
    {"nice", "nice; cat /proc/self/oom_score_adj", "nice = 19 oom_score_adj = 900", false},
    {"loop", "while :; do :; done", "limits = {'cpu=1s'} timeout = 60s", false},
    {"big", "head -c 200000 /dev/zero > big; exit 3", "limits = {'fsize=64KiB'} workdir = '@'", false},
    {"first", "echo ran > @/ran", "nice = -20", false},
    {"safe", "echo ran > @/ran", "oom_score_adj = -1000", false},
    {"tiny", "echo ran > @/ran", "limits = {'as=4KiB'}", false},
    {"who",
     "id -u; id -g; id -G; echo $HOME $USER $LOGNAME; grep Cap /proc/self/status | grep -v Bnd | cut -f2 | sort -u",
     "user = nobody group = 4242", true},
    {"number", "id -u; id -g; id -G; echo $USER", "user = 54321 group = 4242", true},
    {"group", "id -u; id -g; id -G", "group = 4242", true},
    {"streams",
     "cat /dev/stdin; echo to the log >/dev/stderr; echo '0.5 half' > /proc/self/fd/3; echo out > /dev/stdout",
     "user = nobody", true},
    {"suid", "@/id -u", "user = nobody", true},
    {"closed", "cat @/secret", "user = nobody", true},
    {"away", "id", "user = nobody workdir = '@/private'", true},
    {"stays", "setsid sleep 1000 & echo 0.25 up >&3; sleep 1000", "user = nobody kill_grace = 100ms", true},
};

static struct satcheld d;
static char files[] = "/tmp/satchel-confine-XXXXXX";

static char *in_files(const char *name)
{
    char *path;
    assert_true(asprintf(&path, "%s/%s", files, name) > 0);
    return path;
}

/* Root without the capabilities that `first` and `safe` need, as it is in a container. */
static void before_exec(void *arg)
{
    (void)arg;
    (void)prctl(PR_CAPBSET_DROP, CAP_SYS_NICE, 0, 0, 0);
    (void)prctl(PR_CAPBSET_DROP, CAP_SYS_RESOURCE, 0, 0, 0);
    (void)umask(022);
}

static void make_files(void)
{
    assert_non_null(mkdtemp(files));
    assert_int_equal(chmod(files, 0755), 0);
    char *private = in_files("private"), *secret = in_files("secret"), *id = in_files("id");
    assert_int_equal(mkdir(private, 0700), 0);
    write_file(secret, "x");
    assert_int_equal(chmod(secret, 0600), 0);
    char *copy;
    assert_true(asprintf(&copy, "cp /usr/bin/id %s && chmod 4755 %s", id, id) > 0);
    assert_int_equal(system(copy), 0); /* NOLINT: constant words and a mkdtemp name */
    free(copy);
    free(id);
    free(secret);
    free(private);
}

static void append(char **text, const char *part)
{
    for (; *part; part++)
        if (*part == '@')
            *text = stpcpy(*text, files);
        else
            *(*text)++ = *part;
}

static int start(void **state)
{
    (void)state;
    char text[8192], *at = text;
    make_files();
    append(&at, "workers = 2\n");
    for (size_t i = 0; i < sizeof tasks / sizeof tasks[0]; i++) {
        if (tasks[i].roots && geteuid() != 0)
            continue;
        append(&at, "task ");
        append(&at, tasks[i].name);
        append(&at, " { command = {/bin/sh, '-c', \"");
        append(&at, tasks[i].script);
        append(&at, "\"} ");
        append(&at, tasks[i].settings);
        append(&at, " }\n");
    }
    *at = '\0';
    satcheld_init(&d, text);
    d.before_exec = before_exec;
    satcheld_start(&d);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    satcheld_stop(&d);
    satcheld_release(&d);
    remove_tree(files);
    return 0;
}

static json_t *run_task(const char *name)
{
    char body[128];
    (void)snprintf(body, sizeof body, "{\"task\":\"%s\",\"args\":\"in\"}", name);
    return run(&d, NULL, body);
}

static void expect_output(const char *name, const char *expected)
{
    json_t *task = run_task(name);
    expect_state(task, "succeeded");
    const json_t *result = json_object_get(task, "result");
    char *text = json_is_string(result) ? strdup(json_string_value(result)) : json_dumps(result, JSON_ENCODE_ANY);
    assert_string_equal(text, expected);
    free(text);
    json_decref(task);
}

static void expect_failure(const char *name, const char *type, const char *part)
{
    json_t *task = run_task(name);
    expect_state(task, "failed");
    const json_t *error = json_object_get(task, "error");
    expect_text(error, "type", type);
    if (!strstr(text_of(error, "message"), part))
        fail_msg("%s: \"%s\" does not say \"%s\"", name, text_of(error, "message"), part);
    json_decref(task);
}

static void no_new_privileges(void **state)
{
    (void)state;
    expect_output("plain", "CapAmb:0000000000000000NoNewPrivs:10\n");
}

static void creation_mask(void **state)
{
    (void)state;
    expect_output("umask", "0137\n");
}

static void limits_of_processes(void **state)
{
    (void)state;
    expect_output("limits", "64/64 1048576/1048576 4096/4096 7/8 524288/524288 1024/1024 0/0 ");
    expect_output("nice", "19\n900\n");
    expect_failure("loop", "signal", "SIGXCPU");
    expect_failure("big", "exit", "exit status 3"); /* head got SIGXFSZ */
    char *big = in_files("big");
    struct stat info;
    assert_int_equal(stat(big, &info), 0);
    assert_int_equal(info.st_size, 65536);
    free(big);
}

/* Nothing runs unconfined. */
static void what_cannot_be_applied(void **state)
{
    (void)state;
    char *ran = in_files("ran");
    expect_failure("first", "start", "cannot set nice -20");
    expect_failure("safe", "start", "cannot set oom_score_adj -1000");
    json_t *task = run_task("tiny"); /* too little to begin with: how that shows is the kernel's business */
    expect_state(task, "failed");
    json_decref(task);
    assert_int_equal(access(ran, F_OK), -1);
    free(ran);
}

static void another_user(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    expect_output("number", "54321\n4242\n4242\n\n");
    expect_output("group", "0\n4242\n4242\n");
    json_t *task = run_task("who");
    expect_state(task, "succeeded");
    const char *text = text_of(task, "result");
    assert_memory_equal(text, "65534\n4242\n4242", 15); /* and groups that nobody has been put into */
    assert_non_null(strstr(text, " nobody nobody\n0000000000000000\n"));
    json_decref(task);
    expect_output("suid", "65534");
    expect_failure("closed", "exit", "Permission denied");
    expect_failure("away", "start", "cannot enter the working directory");
}

static void streams_of_another_user(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    json_t *task = run_task("streams");
    expect_state(task, "succeeded");
    expect_text(task, "result", "\"in\"out\n");
    assert_true(json_real_value(json_object_get(task, "progress")) == 0.5);
    char target[128];
    struct answer log = {0};
    (void)snprintf(target, sizeof target, "/v1/tasks/%s/log", text_of(task, "id"));
    ask(&d, &log, "GET", target, NULL, NULL);
    assert_string_equal(log.body, "to the log\n");
    answer_release(&log);
    json_decref(task);
}

static bool has_progress(void *id)
{
    json_t *task = get_task(&d, NULL, id, 200);
    bool there = json_is_real(json_object_get(task, "progress"));
    json_decref(task);
    return there;
}

/* satcheld_release sees to it that nothing is left. */
static void another_users_processes_are_ended(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    json_t *task = submit(&d, NULL, "{\"task\":\"stays\"}", 202);
    char *id = strdup(text_of(task, "id"));
    assert_true(until(has_progress, id, WAIT_MS));
    json_decref(act(&d, NULL, id, "cancel", 200));
    json_t *ended = finish(&d, NULL, id);
    expect_state(ended, "canceled");
    json_decref(ended);
    json_decref(task);
    free(id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_new_privileges),
        cmocka_unit_test(creation_mask),
        cmocka_unit_test(limits_of_processes),
        cmocka_unit_test(what_cannot_be_applied),
        cmocka_unit_test(another_user),
        cmocka_unit_test(streams_of_another_user),
        cmocka_unit_test(another_users_processes_are_ended),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
