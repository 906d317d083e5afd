/* Command tasks, through registry, pool, launcher and real child processes. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/json_in.h"
#include "tests/support/attempts.h"

#define ARGV_MAX 8
static char folder[] = "/tmp/satchel-command-XXXXXX";

/* One task type "test" with that argv; NULL ends it. */
static struct config_task *task_of(const char *first, ...)
{
    static struct config_task task;
    static char *items[ARGV_MAX + 1];
    static int finals[] = {64, 65, 77, 78};
    static char name[] = "test", where[] = "test.conf:1";
    va_list rest;
    size_t n = 0;
    va_start(rest, first);
    for (const char *item = first; item; item = va_arg(rest, const char *))
        items[n++] = (char *)(uintptr_t)item;
    va_end(rest);
    items[n] = NULL;
    task = (struct config_task){.name = name,
                                .command = {items, n},
                                .where = where,
                                .kill_grace_us = 5000000,
                                .final_exit = finals,
                                .n_final_exit = 4,
                                .propagate = PROPAGATE_ALL};
    return &task;
}

static struct config_task *shell(const char *script)
{
    return task_of("/bin/sh", "-c", script, NULL);
}

static void open_bench(struct bench *bench, struct config_task *task, unsigned workers)
{
    struct config config = {.tasks = task, .n_tasks = 1};
    bench_init(bench, workers, &config);
}

static struct attempt *run_once(struct bench *bench, struct config_task *task, const char *args)
{
    open_bench(bench, task, 1);
    return bench_run(bench, bench_attempt(bench, "test", args, "acme"));
}

static void close_bench(struct bench *bench, struct attempt *attempt)
{
    attempt_free(attempt);
    bench_release(bench);
}

static void check_success(struct config_task *task, const char *args, const char *expect)
{
    struct bench bench;
    struct attempt *attempt = run_once(&bench, task, args);
    if (attempt->end != ATTEMPT_SUCCEEDED)
        fail_msg("%s", outcome_message(attempt));
    assert_string_equal(outcome_result(attempt), expect);
    assert_true(attempt->outcome->has_exit_code);
    assert_int_equal(attempt->outcome->exit_code, 0);
    close_bench(&bench, attempt);
}

/* ---- streams ---- */

static void test_args_are_standard_input(void **state)
{
    (void)state;
    check_success(task_of("/bin/cat", NULL), "{\"a\": [1, 2.50]}", "{\"a\":[1,2.50]}");
}

static void test_output_is_the_result(void **state)
{
    (void)state;
    check_success(task_of("/bin/echo", "-n", "plain text", NULL), "{}", "\"plain text\"");
    check_success(shell("printf 'a\\n'"), "{}", "\"a\\n\"");
    check_success(shell("printf ' {\"x\":\\n1} '"), "{}", "{\"x\":1}");
    check_success(shell("printf '\\377\\376'"), "{}", "\"\xef\xbf\xbd\xef\xbf\xbd\"");
    check_success(task_of("/bin/true", NULL), "{}", "\"\"");
}

static void test_child_that_does_not_read(void **state)
{
    (void)state;
    size_t len = 900000;
    char *args = malloc(len + 3);
    assert_non_null(args);
    memset(args, 'x', len + 2);
    args[0] = args[len + 1] = '"';
    args[len + 2] = '\0';
    check_success(task_of("/bin/echo", "-n", "1", NULL), args, "1");
    check_success(shell("wc -c"), args, "900002");
    free(args);
}

static void test_large_output(void **state)
{
    (void)state;
    struct bench bench;
    struct attempt *attempt = run_once(&bench, shell("head -c 1000000 /dev/zero | tr '\\0' x; echo done >&2"), "{}");
    assert_int_equal(attempt->end, ATTEMPT_SUCCEEDED);
    assert_int_equal(strlen(outcome_result(attempt)), 1000002);
    assert_string_equal(bench.log.data, "done\n");
    close_bench(&bench, attempt);
}

static void test_too_much_output(void **state)
{
    (void)state;
    struct bench bench;
    struct attempt *attempt = run_once(&bench, task_of("/usr/bin/yes", NULL), "{}");
    assert_int_equal(attempt->end, ATTEMPT_FAILED_FINAL);
    assert_int_equal(outcome_error(attempt), ERROR_TYPE_LIMIT);
    close_bench(&bench, attempt);
    attempt = run_once(&bench, shell("head -c 1048577 /dev/zero"), "{}"); /* one byte too much, and then the end */
    assert_int_equal(outcome_error(attempt), ERROR_TYPE_LIMIT);
    close_bench(&bench, attempt);
}

static void test_standard_error_is_the_log(void **state)
{
    (void)state;
    struct bench bench;
    struct attempt *attempt =
        run_once(&bench, shell("echo one >&2; printf 'two\\n\\nlast' >&2; exec 2>&-; exec 1>&-"), "{}");
    assert_int_equal(attempt->end, ATTEMPT_SUCCEEDED);
    assert_string_equal(bench.log.data, "one\ntwo\n\nlast\n");
    close_bench(&bench, attempt);
    attempt = run_once(&bench, shell("head -c 40000 /dev/zero | tr '\\0' y >&2"), "{}");
    assert_int_equal(attempt->end, ATTEMPT_SUCCEEDED);
    assert_int_equal(bench.log.len, 40003); /* in three parts */
    close_bench(&bench, attempt);
}

/* ---- ends ---- */

static void check_exit(int code, enum attempt_end end)
{
    struct bench bench;
    char script[64];
    snprintf(script, sizeof script, "echo because >&2; exit %d", code);
    struct attempt *attempt = run_once(&bench, shell(script), "{}");
    assert_int_equal(attempt->end, end);
    assert_int_equal(outcome_error(attempt), ERROR_TYPE_EXIT);
    assert_true(attempt->outcome->has_exit_code);
    assert_int_equal(attempt->outcome->exit_code, code);
    snprintf(script, sizeof script, "exit status %d: because", code);
    assert_string_equal(outcome_message(attempt), script);
    close_bench(&bench, attempt);
}

static void test_exit_codes(void **state)
{
    (void)state;
    check_exit(1, ATTEMPT_FAILED);
    check_exit(75, ATTEMPT_FAILED);
    check_exit(127, ATTEMPT_FAILED); /* the program's own 127 is not "could not start" */
    check_exit(255, ATTEMPT_FAILED);
    check_exit(64, ATTEMPT_FAILED_FINAL);
    check_exit(65, ATTEMPT_FAILED_FINAL);
    check_exit(77, ATTEMPT_FAILED_FINAL);
    check_exit(78, ATTEMPT_FAILED_FINAL);
}

static void test_signal(void **state)
{
    (void)state;
    struct bench bench;
    struct attempt *attempt = run_once(&bench, shell("kill -SEGV $$"), "{}");
    assert_int_equal(attempt->end, ATTEMPT_FAILED);
    assert_int_equal(outcome_error(attempt), ERROR_TYPE_SIGNAL);
    assert_int_equal(attempt->outcome->signal_number, SIGSEGV);
    assert_false(attempt->outcome->has_exit_code);
    assert_non_null(strstr(outcome_message(attempt), "SIGSEGV"));
    close_bench(&bench, attempt);
}

static void check_not_started(struct config_task *task, bool final, const char *part)
{
    struct bench bench;
    struct attempt *attempt = run_once(&bench, task, "{}");
    assert_int_equal(attempt->end, final ? ATTEMPT_FAILED_FINAL : ATTEMPT_FAILED);
    assert_int_equal(outcome_error(attempt), ERROR_TYPE_START);
    assert_false(attempt->outcome->has_exit_code);
    if (!strstr(outcome_message(attempt), part))
        fail_msg("\"%s\" lacks \"%s\"", outcome_message(attempt), part);
    close_bench(&bench, attempt);
}

static void test_cannot_start(void **state)
{
    (void)state;
    check_not_started(task_of("/no/such/program", NULL), true, "/no/such/program: No such file");
    check_not_started(task_of("no-such-program-at-all", NULL), true, "No such file");
    check_not_started(task_of("/etc/passwd", NULL), true, "Permission denied");
    struct config_task *task = task_of("/bin/true", NULL);
    static char nowhere[] = "/no/such/folder";
    task->workdir = nowhere;
    check_not_started(task, true, "working directory /no/such/folder");
}

static void test_looked_up_on_the_path(void **state)
{
    (void)state;
    check_success(task_of("echo", "-n", "found", NULL), "{}", "\"found\"");
}

static void test_workdir(void **state)
{
    (void)state;
    check_success(task_of("/bin/pwd", NULL), "{}", "\"/\\n\"");
    struct config_task *task = task_of("/bin/pwd", NULL);
    static char tmp[] = "/usr";
    task->workdir = tmp;
    check_success(task, "{}", "\"/usr\\n\"");
}

/* ---- arguments ---- */

static void test_templates_fill_arguments(void **state)
{
    (void)state;
    check_success(task_of("/usr/bin/printf", "<%s>", "a{{args.x}}", "{{args.y.0}}", NULL),
                  "{\"x\":\" b  c \",\"y\":[\"$HOME;'\\\"\"]}", "\"<a b  c ><$HOME;'\\\">\"");
}

static void test_argument_faults_are_final(void **state)
{
    static const char *const args[] = {"{}", "{\"x\":\"-rf\"}", "{\"x\":null}", "{\"x\":\"a\\u0000\"}"};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct bench bench;
        struct attempt *attempt = run_once(&bench, task_of("/bin/echo", "{{args.x}}", NULL), args[i]);
        assert_int_equal(attempt->end, ATTEMPT_FAILED_FINAL);
        assert_int_equal(outcome_error(attempt), ERROR_TYPE_HANDLER);
        assert_non_null(strstr(outcome_message(attempt), "args.x"));
        close_bench(&bench, attempt);
    }
    struct config_task *task = task_of("/bin/echo", "{{args.x}}", NULL);
    task->allow_dash = true;
    check_success(task, "{\"x\":\"-n\"}", "\"\"");
}

static void test_argument_too_long(void **state)
{
    (void)state;
    char *args = malloc(140010);
    assert_non_null(args);
    memset(args, 'x', 140010);
    memcpy(args, "{\"x\":\"", 6);
    memcpy(args + 140007, "\"}", 3);
    struct bench bench;
    struct attempt *attempt = run_once(&bench, task_of("/bin/echo", "{{args.x}}", NULL), args);
    assert_int_equal(attempt->end, ATTEMPT_FAILED_FINAL);
    close_bench(&bench, attempt);
    free(args);
}

/* A context so large that SATCHEL_CONTEXT is longer than any variable can be. */
static void test_context_too_large(void **state)
{
    struct bench bench;
    char header[64], value[8001];
    (void)state;
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    open_bench(&bench, task_of("/bin/true", NULL), 1);
    struct attempt *attempt = bench_attempt(&bench, "test", "{}", "acme");
    for (int i = 0; i < 20; i++) {
        snprintf(header, sizeof header, "X-Satchel-Var-large%d", i);
        bench_bind(attempt, header, value);
    }
    attempt = bench_run(&bench, attempt);
    assert_int_equal(attempt->end, ATTEMPT_FAILED_FINAL);
    assert_int_equal(outcome_error(attempt), ERROR_TYPE_START);
    assert_non_null(strstr(outcome_message(attempt), "too large together"));
    attempt_free(attempt);
    attempt = bench_run(&bench, bench_attempt(&bench, "test", "{}", "acme")); /* the launcher is as good as before */
    assert_int_equal(attempt->end, ATTEMPT_SUCCEEDED);
    close_bench(&bench, attempt);
}

/* ---- environment ---- */

static const char *variable(const char *environment, const char *name)
{
    static char value[4096];
    size_t len = strlen(name);
    for (const char *at = environment; *at; at += strcspn(at, "\n"), at += *at == '\n')
        if (strncmp(at, name, len) == 0 && at[len] == '=') {
            snprintf(value, sizeof value, "%.*s", (int)strcspn(at + len + 1, "\n"), at + len + 1);
            return value;
        }
    return NULL;
}

static char *environment_of(struct attempt *attempt) /* the child ran env(1) */
{
    json_t *json = json_loads(outcome_result(attempt), JSON_DECODE_ANY, NULL);
    assert_true(json_is_string(json));
    char *text = strdup(json_string_value(json));
    json_decref(json);
    return text;
}

static struct attempt *with_everything(struct bench *bench)
{
    struct attempt *attempt = bench_attempt(bench, "test", "{}", "acme");
    assert_int_equal(satchel_context_enter(task_context(attempt->spec)), SATCHEL_OK);
    assert_int_equal(satchel_set_string(satchel_known_var(SATCHEL_TRACESTATE), "a=1", NULL), SATCHEL_OK);
    assert_int_equal(satchel_context_exit(task_context(attempt->spec)), SATCHEL_OK);
    bench_bind(attempt, "baggage", "k=v");
    bench_bind(attempt, "X-Satchel-Deadline", "2100-01-02T03:04:05.000006Z");
    bench_bind(attempt, "X-Satchel-Var-shard.no-1", "seven");
    task_id_make(&attempt->spec->parent);
    attempt->spec->root = attempt->spec->parent;
    attempt->spec->max_attempts = 5;
    attempt->number = 2;
    return attempt;
}

static void test_environment(void **state)
{
    struct bench bench;
    (void)state;
    setenv("LEAKED_FROM_THE_DAEMON", "1", 1);
    setenv("TZ", "UTC", 1);
    open_bench(&bench, task_of("/usr/bin/env", NULL), 1);
    struct attempt *attempt = bench_run(&bench, with_everything(&bench));
    char *env = environment_of(attempt), id[TASK_ID_TEXT_SIZE], json[400];
    assert_string_equal(variable(env, "TRACESTATE"), "a=1");
    assert_string_equal(variable(env, "BAGGAGE"), "k=v");
    assert_string_equal(variable(env, "X_TENANT_ID"), "acme");
    assert_string_equal(variable(env, "X_REQUEST_ID"), "request-of-acme");
    assert_string_equal(variable(env, "SATCHEL_TENANT"), "acme");
    assert_string_equal(variable(env, "SATCHEL_REQUEST_ID"), "request-of-acme");
    assert_string_equal(variable(env, "SATCHEL_DEADLINE"), "2100-01-02T03:04:05.000006Z");
    assert_string_equal(variable(env, "SATCHEL_TASK"), "test");
    assert_string_equal(variable(env, "SATCHEL_ATTEMPT"), "2");
    assert_string_equal(variable(env, "SATCHEL_MAX_ATTEMPTS"), "5");
    assert_string_equal(variable(env, "SATCHEL_URL"), "http://127.0.0.1:8640");
    assert_string_equal(variable(env, "SATCHEL_VAR_SHARD_NO_1"), "seven");
    assert_string_equal(variable(env, "X_SATCHEL_VAR_SHARD_NO_1"), "seven");
    task_id_format(attempt->spec->id, id);
    assert_string_equal(variable(env, "SATCHEL_TASK_ID"), id);
    task_id_format(attempt->spec->parent, id);
    assert_string_equal(variable(env, "SATCHEL_PARENT_ID"), id);
    assert_string_equal(variable(env, "SATCHEL_ROOT_ID"), id);
    uint8_t span[8];
    task_id_attempt_span(attempt->spec->id, 2, span);
    const char *trace = variable(env, "TRACEPARENT");
    assert_non_null(trace);
    assert_memory_equal(trace, "00-0af7651916cd43dd8448eb211c80319c-", 36);
    for (int i = 0; i < 8; i++) {
        snprintf(json, sizeof json, "%02x", span[i]);
        assert_memory_equal(trace + 36 + 2 * i, json, 2);
    }
    assert_null(variable(env, "LEAKED_FROM_THE_DAEMON"));
    assert_string_equal(variable(env, "TZ"), "UTC");
    assert_non_null(variable(env, "PATH"));
    satchel_context *again;
    const char *whole = variable(env, "SATCHEL_CONTEXT");
    assert_non_null(whole);
    assert_int_equal(satchel_context_from_json(whole, strlen(whole), &again), SATCHEL_OK);
    assert_true(satchel_context_has(again, satchel_known_var(SATCHEL_TENANT)));
    satchel_context_unref(again);
    free(env);
    close_bench(&bench, attempt);
}

static void test_environment_is_only_that(void **state)
{
    static const char *const known[] = {"PATH=", "LANG=", "TZ=", "HOME=", "SATCHEL_", "X_", "TRACEPARENT=", "PWD="};
    struct bench bench;
    (void)state;
    struct attempt *attempt = run_once(&bench, task_of("/usr/bin/env", NULL), "{}");
    char *env = environment_of(attempt);
    for (char *line = strtok(env, "\n"); line; line = strtok(NULL, "\n")) {
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
            found = found || strncmp(line, known[i], strlen(known[i])) == 0;
        if (!found)
            fail_msg("a child found %s", line);
    }
    free(env);
    close_bench(&bench, attempt);
}

static void test_operators_environment(void **state)
{
    static char one[] = "COLOUR=blue", two[] = "PASSED", three[] = "PATH=/usr/bin", four[] = "ABSENT";
    static char *items[] = {one, two, three, four, NULL};
    struct bench bench;
    (void)state;
    setenv("PASSED", "through", 1);
    unsetenv("ABSENT");
    struct config_task *task = task_of("/usr/bin/env", NULL);
    task->environment = (struct config_list){items, 4};
    struct attempt *attempt = run_once(&bench, task, "{}");
    char *env = environment_of(attempt);
    assert_string_equal(variable(env, "COLOUR"), "blue");
    assert_string_equal(variable(env, "PASSED"), "through");
    assert_string_equal(variable(env, "PATH"), "/usr/bin");
    assert_null(variable(env, "ABSENT"));
    free(env);
    close_bench(&bench, attempt);
}

static void check_propagate(unsigned propagate, const char *const *there, const char *const *absent)
{
    struct bench bench;
    struct config_task *task = task_of("/usr/bin/env", NULL);
    task->propagate = propagate;
    open_bench(&bench, task, 1);
    struct attempt *attempt = bench_run(&bench, with_everything(&bench));
    char *env = environment_of(attempt);
    for (; *there; there++)
        if (!variable(env, *there))
            fail_msg("%s is not there with %#x", *there, propagate);
    for (; *absent; absent++) {
        if (variable(env, *absent))
            fail_msg("%s is there with %#x", *absent, propagate);
    }
    const char *json = variable(env, "SATCHEL_CONTEXT");
    assert_non_null(json);
    if (!(propagate & PROPAGATE_TENANT))
        assert_null(strstr(json, "acme"));
    if (!(propagate & PROPAGATE_VARIABLES))
        assert_null(strstr(json, "seven"));
    free(env);
    close_bench(&bench, attempt);
}

static void test_propagate(void **state)
{
    (void)state;
    check_propagate(PROPAGATE_TRACE, (const char *[]){"TRACEPARENT", "TRACESTATE", "SATCHEL_TASK_ID", NULL},
                    (const char *[]){"BAGGAGE", "X_TENANT_ID", "X_REQUEST_ID", "SATCHEL_TENANT", "SATCHEL_REQUEST_ID",
                                     "SATCHEL_DEADLINE", "X_SATCHEL_DEADLINE", "SATCHEL_VAR_SHARD_NO_1",
                                     "X_SATCHEL_VAR_SHARD_NO_1", NULL});
    check_propagate(PROPAGATE_ALL & ~(unsigned)PROPAGATE_TRACE,
                    (const char *[]){"BAGGAGE", "X_TENANT_ID", "SATCHEL_DEADLINE", "SATCHEL_VAR_SHARD_NO_1", NULL},
                    (const char *[]){"TRACEPARENT", "TRACESTATE", NULL});
    check_propagate(0, (const char *[]){"SATCHEL_TASK_ID", "SATCHEL_ATTEMPT", NULL},
                    (const char *[]){"BAGGAGE", "SATCHEL_TENANT", "TRACEPARENT", NULL});
}

static void test_secrets_stay_inside(void **state)
{
    struct bench bench;
    satchel_var *secret;
    (void)state;
    satchel_var_spec spec = {.struct_size = sizeof spec,
                             .name = "password",
                             .type = &satchel_string_type,
                             .header = "X-Password",
                             .flags = SATCHEL_VAR_WIRE | SATCHEL_VAR_SECRET};
    assert_int_equal(satchel_var_new(&spec, &secret), SATCHEL_OK);
    open_bench(&bench, task_of("/usr/bin/env", NULL), 1);
    struct attempt *attempt = bench_attempt(&bench, "test", "{}", "acme");
    bench_bind(attempt, "X-Password", "sesame");
    attempt = bench_run(&bench, attempt);
    assert_int_equal(attempt->end, ATTEMPT_SUCCEEDED);
    assert_null(strstr(outcome_result(attempt), "sesame"));
    close_bench(&bench, attempt);
    satchel_var_unref(secret);
}

/* ---- cancellation, process trees ---- */

struct mark { /* a process that touched `path` with its id, and whether it is still there */
    char path[200];
    pid_t pid;
};

static bool is_written(void *arg)
{
    struct mark *mark = arg;
    FILE *file = fopen(mark->path, "r");
    if (!file)
        return false;
    int pid = 0;
    bool ok = fscanf(file, "%d\n", &pid) == 1;
    fclose(file);
    mark->pid = pid;
    return ok && pid > 1;
}

static bool is_gone(void *arg)
{
    const struct mark *mark = arg;
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/%d/stat", mark->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return true;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return true;
    text[n] = '\0';
    const char *name_end = strrchr(text, ')');
    return name_end && (name_end[2] == 'Z' || name_end[2] == 'X'); /* dead, whoever is to reap it */
}

static struct mark mark_new(const char *name)
{
    struct mark mark = {.pid = 0};
    snprintf(mark.path, sizeof mark.path, "%s/%s", folder, name);
    unlink(mark.path);
    return mark;
}

/* The script writes its processes' ids; $M is the folder. */
static struct attempt *start_script(struct bench *bench, const char *script, satchel_cancel **ret_cancel)
{
    static char whole[1000];
    snprintf(whole, sizeof whole, "export M=%s; %s", folder, script);
    struct config_task *task = shell(whole);
    task->kill_grace_us = 300000;
    open_bench(bench, task, 1);
    struct attempt *attempt = bench_attempt(bench, "test", "{}", "acme");
    *ret_cancel = satchel_cancel_ref(attempt->cancel);
    bench_push(bench, attempt);
    return attempt;
}

static void check_cancel(const char *script, enum cancel_reason reason, enum error_type error, enum attempt_end end)
{
    struct bench bench;
    satchel_cancel *cancel;
    struct mark mark = mark_new("pid");
    start_script(&bench, script, &cancel);
    assert_true(wait_until(is_written, &mark));
    satchel_cancel_fire(cancel, (int)reason);
    satchel_cancel_unref(cancel);
    struct attempt *attempt = bench_wait(&bench, 1);
    assert_int_equal(outcome_error(attempt), error);
    assert_int_equal(attempt->end, end);
    assert_true(is_gone(&mark)); /* at the report, not some time later */
    close_bench(&bench, attempt);
}

static void test_cancel(void **state)
{
    (void)state;
    check_cancel("echo $$ >$M/pid; exec sleep 100", CANCEL_REQUESTED, ERROR_TYPE_CANCELED, ATTEMPT_FAILED_FINAL);
    check_cancel("echo $$ >$M/pid; exec sleep 100", CANCEL_TIMEOUT, ERROR_TYPE_TIMEOUT, ATTEMPT_FAILED);
    check_cancel("echo $$ >$M/pid; exec sleep 100", CANCEL_DEADLINE, ERROR_TYPE_DEADLINE, ATTEMPT_FAILED_FINAL);
    check_cancel("echo $$ >$M/pid; exec sleep 100", CANCEL_SHUTDOWN, ERROR_TYPE_LOST, ATTEMPT_LOST);
}

static void test_cancel_of_one_that_ignores_it(void **state)
{
    (void)state;
    check_cancel("trap '' TERM; echo $$ >$M/pid; while :; do sleep 1; done", CANCEL_REQUESTED, ERROR_TYPE_CANCELED,
                 ATTEMPT_FAILED_FINAL);
}

static void test_cancel_lets_it_clean_up(void **state)
{
    struct bench bench;
    satchel_cancel *cancel;
    struct mark mark = mark_new("pid"), cleaned = mark_new("cleaned");
    (void)state;
    start_script(&bench, "trap 'echo $$ >$M/cleaned; exit 3' TERM; echo $$ >$M/pid; while :; do sleep 0.05; done",
                 &cancel);
    assert_true(wait_until(is_written, &mark));
    satchel_cancel_fire(cancel, CANCEL_REQUESTED);
    satchel_cancel_unref(cancel);
    struct attempt *attempt = bench_wait(&bench, 1);
    assert_true(is_written(&cleaned));
    assert_int_equal(outcome_error(attempt), ERROR_TYPE_CANCELED);
    assert_true(attempt->outcome->has_exit_code);
    assert_int_equal(attempt->outcome->exit_code, 3);
    close_bench(&bench, attempt);
}

/* What the command leaves behind when it ends on SIGTERM has the rest of the grace time, too. */
static void test_cancel_lets_grandchildren_clean_up(void **state)
{
    static const char *const scripts[] = {
        /* in its group: SIGTERM reaches both at once, and the leader is the first to go */
        "sh -c 'trap \"sleep 0.1; echo \\$\\$ >$M/cleaned; exit\" TERM; echo $$ >$M/pid; "
        "while :; do sleep 0.02; done' & trap 'exit 0' TERM; wait",
        /* in a session of its own: it is told when the leader has gone */
        "setsid sh -c 'trap \"sleep 0.1; echo \\$\\$ >$M/cleaned; exit\" TERM; echo $$ >$M/pid; "
        "while :; do sleep 0.02; done' & trap 'exit 0' TERM; wait",
    };
    (void)state;
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
        struct bench bench;
        satchel_cancel *cancel;
        struct mark mark = mark_new("pid"), cleaned = mark_new("cleaned");
        start_script(&bench, scripts[i], &cancel);
        assert_true(wait_until(is_written, &mark));
        satchel_cancel_fire(cancel, CANCEL_REQUESTED);
        satchel_cancel_unref(cancel);
        struct attempt *attempt = bench_wait(&bench, 1);
        assert_true(is_written(&cleaned));
        assert_int_equal(outcome_error(attempt), ERROR_TYPE_CANCELED);
        assert_true(attempt->outcome->has_exit_code);
        assert_int_equal(attempt->outcome->exit_code, 0);
        close_bench(&bench, attempt);
    }
}

/* ... and no more than that. */
static void test_grandchildren_that_do_not_end(void **state)
{
    (void)state;
    check_cancel("sh -c 'trap \"\" TERM; echo $$ >$M/pid; while :; do sleep 1; done' & trap 'exit 0' TERM; wait",
                 CANCEL_REQUESTED, ERROR_TYPE_CANCELED, ATTEMPT_FAILED_FINAL);
    check_cancel("setsid sh -c 'trap \"\" TERM; echo $$ >$M/pid; while :; do sleep 1; done' & trap 'exit 0' TERM; wait",
                 CANCEL_TIMEOUT, ERROR_TYPE_TIMEOUT, ATTEMPT_FAILED);
}

static void test_cancel_of_a_stopped_one(void **state)
{
    (void)state;
    check_cancel("echo $$ >$M/pid; kill -STOP $$", CANCEL_REQUESTED, ERROR_TYPE_CANCELED, ATTEMPT_FAILED_FINAL);
}

/* A grandchild: in the group, in a session of its own, and twice forked. */
static void check_grandchild(const char *script, bool cancel_it)
{
    struct bench bench;
    satchel_cancel *cancel;
    struct mark mark = mark_new("grandchild");
    start_script(&bench, script, &cancel);
    assert_true(wait_until(is_written, &mark));
    if (cancel_it)
        satchel_cancel_fire(cancel, CANCEL_REQUESTED);
    satchel_cancel_unref(cancel);
    struct attempt *attempt = bench_wait(&bench, 1);
    assert_true(is_gone(&mark));
    assert_int_equal(attempt->end, cancel_it ? ATTEMPT_FAILED_FINAL : ATTEMPT_SUCCEEDED);
    assert_in_range(attempt->run_ns, 0, 20000000000);
    close_bench(&bench, attempt);
}

static void test_grandchildren_end_with_the_command(void **state)
{
    (void)state;
    check_grandchild("sleep 100 & echo $! >$M/grandchild; echo ok", false);
    check_grandchild("setsid sh -c 'echo $$ >'$M'/grandchild; exec sleep 100' & "
                     "while [ ! -s $M/grandchild ]; do sleep 0.01; done",
                     false);
    check_grandchild("(setsid sh -c 'trap \"\" TERM HUP; echo $$ >'$M'/grandchild; sleep 100; sleep 100' &) ; "
                     "while [ ! -s $M/grandchild ]; do sleep 0.01; done",
                     false);
}

static void test_grandchildren_end_with_a_cancellation(void **state)
{
    (void)state;
    check_grandchild("trap '' TERM; sleep 100 & echo $! >$M/grandchild; wait; wait", true);
    check_grandchild("(setsid sh -c 'trap \"\" TERM; echo $$ >'$M'/grandchild; sleep 100' &); sleep 100", true);
}

/* ---- the launcher ---- */

static pid_t only_launcher(void) /* our child of that name */
{
    DIR *proc = opendir("/proc");
    pid_t found = 0;
    assert_non_null(proc);
    for (struct dirent *entry; (entry = readdir(proc));) {
        char path[300], text[300];
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        int fd = entry->d_name[0] >= '0' && entry->d_name[0] <= '9' ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
        if (fd >= 0)
            close(fd);
        text[n > 0 ? n : 0] = '\0';
        int parent = 0;
        char kind = 0;
        const char *name_end = strrchr(text, ')');
        if (name_end && strstr(text, "(satchel-launche") && sscanf(name_end + 1, " %c %d", &kind, &parent) == 2 &&
            parent == getpid() && kind != 'Z')
            found = atoi(entry->d_name);
    }
    closedir(proc);
    return found;
}

static void test_one_launcher_serves_many(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench, task_of("/bin/sh", "-c", "echo -n $PPID", NULL), 1);
    char first[64] = "";
    for (int i = 0; i < 50; i++) {
        struct attempt *attempt = bench_run(&bench, bench_attempt(&bench, "test", "{}", "acme"));
        assert_int_equal(attempt->end, ATTEMPT_SUCCEEDED);
        if (i == 0)
            snprintf(first, sizeof first, "%s", outcome_result(attempt));
        assert_string_equal(outcome_result(attempt), first);
        attempt_free(attempt);
    }
    pid_t launcher = only_launcher();
    assert_int_equal(launcher, atoi(first));
    bench_release(&bench);
    assert_int_equal(only_launcher(), 0); /* it ends with its worker */
}

static void test_killed_launcher_is_replaced(void **state)
{
    struct bench bench;
    satchel_cancel *cancel;
    struct mark mark = mark_new("pid");
    (void)state;
    start_script(&bench, "[ -e $M/again ] && { echo 1; exit; }; echo $$ >$M/pid; exec sleep 100", &cancel);
    satchel_cancel_unref(cancel);
    assert_true(wait_until(is_written, &mark));
    assert_int_equal(kill(only_launcher(), SIGKILL), 0);
    struct attempt *attempt = bench_wait(&bench, 1); /* while it ran: the attempt was cut off */
    assert_int_equal(attempt->end, ATTEMPT_LOST);
    assert_int_equal(outcome_error(attempt), ERROR_TYPE_LOST);
    assert_true(wait_until(is_gone, &mark));
    attempt_free(attempt);
    struct mark again = mark_new("again");
    fclose(fopen(again.path, "w"));
    attempt = bench_run(&bench, bench_attempt(&bench, "test", "{}", "acme"));
    assert_string_equal(outcome_result(attempt), "1");
    attempt_free(attempt);
    struct mark idle = {.pid = only_launcher()}; /* while it is idle: nobody notices */
    assert_int_equal(kill(idle.pid, SIGKILL), 0);
    assert_true(wait_until(is_gone, &idle));
    attempt = bench_run(&bench, bench_attempt(&bench, "test", "{}", "acme"));
    assert_string_equal(outcome_result(attempt), "1");
    unlink(again.path);
    close_bench(&bench, attempt);
}

static void test_child_has_three_descriptors(void **state)
{
    (void)state;
    check_success(shell("ls /proc/self/fd | tr '\\n' ' '"), "{}",
                  "\"0 1 2 3 4 \""); /* 3 is for its progress, 4 is ls's own */
}

static void test_child_starts_with_a_clean_state(void **state)
{
    (void)state;
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &blocked, NULL); /* the workers inherit it, a child must not */
    signal(SIGPIPE, SIG_IGN);
    check_success(shell("grep -E 'SigBlk|SigIgn' /proc/self/status | tr -d ' \\t\\n'; ulimit -c; ulimit -Sn"), "{}",
                  "\"SigBlk:0000000000000000SigIgn:00000000000000000\\n1024\\n\"");
    signal(SIGPIPE, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &blocked, NULL);
}

/* ---- the daemon dies ---- */

/* A process with a pool of its own runs the script and is killed with SIGKILL: nothing may be left. */
static void check_killed_daemon(const char *script, const char *const *names)
{
    struct mark marks[3];
    size_t n = 0;
    for (; names[n]; n++)
        marks[n] = mark_new(names[n]);
    pid_t daemon = fork();
    assert_true(daemon >= 0);
    if (daemon == 0) {
        struct bench bench;
        satchel_cancel *cancel;
        start_script(&bench, script, &cancel);
        for (;;)
            pause();
    }
    for (size_t i = 0; i < n; i++)
        assert_true(wait_until(is_written, &marks[i]));
    assert_int_equal(kill(daemon, SIGKILL), 0);
    assert_int_equal(waitpid(daemon, NULL, 0), daemon);
    for (size_t i = 0; i < n; i++)
        assert_true(wait_until(is_gone, &marks[i]));
}

static void test_no_orphan_after_a_killed_daemon(void **state)
{
    (void)state;
    check_killed_daemon(
        "trap '' TERM HUP; echo $$ >$M/pid; sleep 100 & echo $! >$M/child; "
        "(setsid sh -c 'trap \"\" TERM HUP; echo $$ >'$M'/escaped; sleep 100; sleep 100' &); wait; wait",
        (const char *[]){"pid", "child", "escaped", NULL});
}

/* ---- descriptors, many at once ---- */

static int open_descriptors(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void test_no_descriptor_leaks(void **state)
{
    struct bench bench;
    (void)state;
    int before = open_descriptors();
    open_bench(&bench, task_of("/bin/cat", NULL), 4);
    for (int i = 0; i < 100; i++)
        bench_push(&bench, bench_attempt(&bench, "test", "{\"n\":1}", "acme"));
    for (struct attempt *attempt = bench_wait(&bench, 100), *next; attempt; attempt = next) {
        next = (struct attempt *)attempt->mail.next;
        assert_string_equal(outcome_result(attempt), "{\"n\":1}");
        attempt_free(attempt);
    }
    assert_in_range(open_descriptors(), before, before + 4); /* one socket a worker */
    bench_release(&bench);
    assert_int_equal(open_descriptors(), before);
}

static void test_contexts_of_many_children(void **state)
{
    struct bench bench;
    char tenant[32];
    (void)state;
    open_bench(&bench, task_of("/bin/sh", "-c", "printf %s \"$SATCHEL_TENANT\"", NULL), 4);
    for (int i = 0; i < 300; i++) {
        snprintf(tenant, sizeof tenant, "tenant-%d", i);
        bench_push(&bench, bench_attempt(&bench, "test", "{}", tenant));
    }
    for (struct attempt *attempt = bench_wait(&bench, 300), *next; attempt; attempt = next) {
        next = (struct attempt *)attempt->mail.next;
        char expect[40];
        snprintf(expect, sizeof expect, "\"%s\"", attempt->spec->tenant.data);
        assert_string_equal(outcome_result(attempt), expect);
        attempt_free(attempt);
    }
    assert_int_equal(pool_violations(bench.pool), 0);
    bench_release(&bench);
}

/* ---- settings ---- */

static void check_refused(struct config_task *task, const char *part)
{
    struct config config = {.tasks = task, .n_tasks = 1, .max_result = 1000, .max_json_depth = 32};
    struct registry *registry = NULL;
    char error[300] = "";
    atomic_init(&config.refs, 100);
    assert_int_equal(registry_new(&config, &registry, error, sizeof error), -1);
    if (!strstr(error, part) || !strstr(error, "test.conf:1"))
        fail_msg("\"%s\" lacks \"%s\" or where it is", error, part);
}

static void test_settings_that_are_refused(void **state)
{
    (void)state;
    static char bad_name[] = "with space", reserved[] = "satchel.noop", own[] = "SATCHEL_TENANT=x";
    static char *items[] = {own, NULL};
    check_refused(task_of("/bin/echo", "{{env.HOME}}", NULL), "neither {{args.NAME}}");
    struct config_task *task = task_of("/bin/true", NULL);
    task->name = bad_name;
    check_refused(task, "1 to 64");
    task = task_of("/bin/true", NULL);
    task->name = reserved;
    check_refused(task, "built-in");
    task = task_of("/bin/true", NULL);
    task->environment = (struct config_list){items, 1};
    check_refused(task, "SATCHEL_TENANT");
    struct config_task two[2] = {*task_of("/bin/true", NULL), *task_of("/bin/true", NULL)};
    struct config config = {.tasks = two, .n_tasks = 2, .max_result = 1000};
    struct registry *registry = NULL;
    char error[300] = "";
    atomic_init(&config.refs, 100);
    assert_int_equal(registry_new(&config, &registry, error, sizeof error), -1);
    assert_non_null(strstr(error, "already"));
    const char *old = getenv("SATCHEL_LAUNCHER");
    char *keep = old ? strdup(old) : NULL;
    setenv("SATCHEL_LAUNCHER", "/no/such/launcher", 1);
    check_refused(task_of("/bin/true", NULL), "/no/such/launcher");
    setenv("SATCHEL_LAUNCHER", keep ? keep : "", 1);
    free(keep);
}

static int setup_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"pid", "cleaned", "grandchild", "child", "escaped", "again"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        (void)mark_new(names[i]);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_orphan_after_a_killed_daemon), /* forks: before any thread */
        cmocka_unit_test(test_args_are_standard_input),
        cmocka_unit_test(test_output_is_the_result),
        cmocka_unit_test(test_child_that_does_not_read),
        cmocka_unit_test(test_large_output),
        cmocka_unit_test(test_too_much_output),
        cmocka_unit_test(test_standard_error_is_the_log),
        cmocka_unit_test(test_exit_codes),
        cmocka_unit_test(test_signal),
        cmocka_unit_test(test_cannot_start),
        cmocka_unit_test(test_looked_up_on_the_path),
        cmocka_unit_test(test_workdir),
        cmocka_unit_test(test_templates_fill_arguments),
        cmocka_unit_test(test_argument_faults_are_final),
        cmocka_unit_test(test_argument_too_long),
        cmocka_unit_test(test_context_too_large),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_environment_is_only_that),
        cmocka_unit_test(test_operators_environment),
        cmocka_unit_test(test_propagate),
        cmocka_unit_test(test_secrets_stay_inside),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancel_of_one_that_ignores_it),
        cmocka_unit_test(test_cancel_lets_it_clean_up),
        cmocka_unit_test(test_cancel_lets_grandchildren_clean_up),
        cmocka_unit_test(test_grandchildren_that_do_not_end),
        cmocka_unit_test(test_cancel_of_a_stopped_one),
        cmocka_unit_test(test_grandchildren_end_with_the_command),
        cmocka_unit_test(test_grandchildren_end_with_a_cancellation),
        cmocka_unit_test(test_one_launcher_serves_many),
        cmocka_unit_test(test_killed_launcher_is_replaced),
        cmocka_unit_test(test_child_has_three_descriptors),
        cmocka_unit_test(test_child_starts_with_a_clean_state),
        cmocka_unit_test(test_no_descriptor_leaks),
        cmocka_unit_test(test_contexts_of_many_children),
        cmocka_unit_test(test_settings_that_are_refused),
    };
    return cmocka_run_group_tests_name("command", tests, setup_folder, remove_folder);
}
