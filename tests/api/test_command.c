/* Command tasks from end to end: what a submission makes of argv, standard input and the environment, and what the
 * task shows of the output, the exit and the limits. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/ask.h"

#define MINE "X-Tenant-ID: mine\r\n"

static const char config[] =
    "workers = 8\ndrain = \"100ms\"\nmax_result = \"64KiB\"\nheader \"X-Region\" { var = \"region\" }\n"
    "header \"X-Key\" { var = \"key\" secret = true }\n"
    "task \"argv\" { command = {\"/usr/bin/printf\", \"[%s]\", \"a{{args.x}}b\", \"{{args.x}}\", \"{{args.deep.y}}\", "
    "\"{{ args.n }}\", \"plain text\", \"$HOME;`id`\", \"{{args.l}}\"} }\n"
    "task \"one\" { command = {\"/usr/bin/printf\", \"%s|\", \"{{args.x}}\"} }\n"
    "task \"dash\" { command = {\"/usr/bin/printf\", \"%s|\", \"{{args.x}}\"} allow_dash = true }\n"
    "task \"behind\" { command = {\"/usr/bin/printf\", \"%s|\", \"--\", \"{{args.x}}\"} }\n"
    "task \"script\" { command = {\"/bin/sh\", \"-ec\", \"echo {{args.x}}\"} }\n"
    "task \"cat\" { command = {\"/bin/cat\"} }\n"
    "task \"say\" { command = {\"/bin/sh\", \"-c\", \"printf '%b' \\\"$1\\\"\", \"sh\", \"{{args}}\"} }\n"
    "task \"print\" { command = {\"/bin/sh\", \"-c\", \"printf '%b' \\\"$1\\\"\", \"sh\", \"{{args.text}}\"} }\n"
    "task \"env\" { command = {\"/usr/bin/env\", \"-0\"} environment = {\"GREETING=hello you\", \"TAKEN\", "
    "\"NOT_THERE\"} }\n"
    "task \"narrow\" { command = {\"/usr/bin/env\", \"-0\"} propagate = {\"trace\"} }\n"
    "task \"exit\" { command = {\"/bin/sh\", \"-c\", \"echo oops >&2; exit $0\", \"{{args.code}}\"} }\n"
    "task \"exit3\" { command = {\"/bin/sh\", \"-c\", \"exit $0\", \"{{args.code}}\"} final_exit = {3} }\n"
    "task \"flaky\" { command = {\"/bin/sh\", \"-c\", \"[ $SATCHEL_ATTEMPT = 3 ] && echo $SATCHEL_ATTEMPT\"} }\n"
    "task \"signal\" { command = {\"/bin/sh\", \"-c\", \"kill -$0 $$; sleep 100\", \"{{args.name}}\"} }\n"
    "task \"slow\" { command = {\"/bin/sleep\", \"1000\"} timeout = \"300ms\" kill_grace = \"200ms\" }\n"
    "task \"sleep\" { command = {\"/bin/sleep\", \"1000\"} }\n"
    "task \"bytes\" { command = {\"/usr/bin/head\", \"-c\", \"{{args.n}}\", \"/dev/zero\"} }\n"
    "task \"flood\" { command = {\"/usr/bin/yes\"} }\n"
    "task \"missing\" { command = {\"/nowhere/program\"} }\n"
    "task \"not-a-program\" { command = {\"/etc/passwd\"} }\n"
    "task \"two\" { command = {\"/bin/sh\", \"-c\", \"date +%s%N; sleep 0.3; date +%s%N\"} concurrency = 2 }\n";

static struct satcheld d;

static void before_exec(void *arg)
{
    (void)arg;
    (void)setenv("TAKEN", "from the daemon", 1);
    (void)setenv("SECRET_OF_THE_DAEMON", "x", 1);
    (void)setenv("LD_BIND_NOW", "1", 1);
    (void)setenv("TZ", "Europe/Berlin", 1);
    (void)setenv("LANG", "C.UTF-8", 1);
    (void)setenv("HOME", "/nonexistent", 1);
    (void)setenv("PATH", "/usr/bin:/bin", 1);
}

static int start(void **state)
{
    (void)state;
    satcheld_init(&d, config);
    d.before_exec = before_exec;
    satcheld_start(&d);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    satcheld_stop(&d);
    satcheld_release(&d);
    return 0;
}

static json_t *run_task(const char *name, const char *args, const char *more)
{
    char *body;
    assert_true(asprintf(&body, "{\"task\":\"%s\",\"args\":%s%s}", name, args, more) > 0);
    json_t *task = run(&d, MINE, body);
    free(body);
    return task;
}

static void expect_result(const char *name, const char *args, const char *expected)
{
    json_t *task = run_task(name, args, "");
    expect_state(task, "succeeded");
    expect_json(json_object_get(task, "result"), expected);
    expect_number(task, "exit_code", 0);
    assert_null(json_object_get(task, "error"));
    json_decref(task);
}

/* Fails with an error of that type whose message has `part`; the task. */
static json_t *expect_error(const char *name, const char *args, const char *more, const char *type, const char *part)
{
    json_t *task = run_task(name, args, more);
    expect_state(task, "failed");
    const json_t *error = json_object_get(task, "error");
    expect_text(error, "type", type);
    if (!strstr(text_of(error, "message"), part))
        fail_msg("%s: \"%s\" does not say \"%s\"", name, text_of(error, "message"), part);
    assert_null(json_object_get(task, "result"));
    return task;
}

/* ---- argv and standard input ---- */

static void templates(void **state)
{
    (void)state;
    expect_result("argv", "{\"x\":\"1 2'\\\"$(id)\",\"deep\":{\"y\":true},\"n\":1.50,\"l\":[1,\"a b\"]}",
                  "\"[a1 2'\\\"$(id)b][1 2'\\\"$(id)][true][1.50][plain text][$HOME;`id`][[1,\\\"a b\\\"]]\"");
    expect_result("one", "{\"x\":\"\"}", "\"|\"");
    expect_result("one", "{\"x\":\"{{args.y}}\",\"y\":1}", "\"{{args.y}}|\""); /* filled once */
    expect_result("one", "{\"x\":\"\\u00e4\\n\\t*\"}", "\"\\u00e4\\n\\t*|\"");
    expect_result("dash", "{\"x\":\"-v\"}", "\"-v|\"");
    expect_result("behind", "{\"x\":\"-v\"}", "\"--|-v|\""); /* printf's own is the format */
}

/* A script that values become a part of is told of at the start; one that gets them as arguments is not. */
static void script_warned(void **state)
{
    (void)state;
    char *log = satcheld_log(&d), *told = strstr(log, "shell script");
    assert_non_null(told);
    char *end = strchr(told, '\n');
    assert_non_null(end);
    *end = '\0';
    assert_non_null(strstr(told, "\"task\":\"script\""));
    assert_null(strstr(end + 1, "shell script"));
    free(log);
}

static void template_faults(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{}", "args.x"}, {"{\"x\":null}", "args.x"}, {"null", "args.x"}, {"[1]", "args.x"}, {"{\"x\":\"-rf\"}", "-"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *task = expect_error("one", cases[i][0], ",\"max_attempts\":5", "handler", cases[i][1]);
        expect_number(task, "attempt", 1); /* the same args fail each time */
        json_decref(task);
    }
}

static void standard_input(void **state)
{
    (void)state;
    static const char *const values[] = {"null", "{\"a\":[1,2.50,-0.0,1e300],\"b\":\"\\u00e4\\ud83d\\ude00\"}", "[]",
                                         "\"\"", "0.10000000000000000000001"};
    struct answer answer = {0};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        json_t *task = run_task("cat", values[i], "");
        expect_state(task, "succeeded");
        char target[128];
        (void)snprintf(target, sizeof target, "/v1/tasks/%s/result", text_of(task, "id"));
        ask(&d, &answer, "GET", target, MINE, NULL);
        assert_string_equal(answer.body, values[i]); /* not a digit lost on the way */
        json_decref(task);
    }
    json_t *without = run(&d, MINE, "{\"task\":\"cat\"}");
    expect_json(json_object_get(without, "result"), "null");
    json_decref(without);
    answer_release(&answer);
}

/* ---- output ---- */

static void output(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"\"{\\\"a\\\": 1}\\\\n\"", "{\"a\":1}"},
        {"\" [1, 2]\\\\n\\\\n\"", "[1,2]"},
        {"\"17\\\\n\"", "17"},
        {"\"true\"", "true"},
        {"\"\\\"s\\\"\"", "\"s\""},
        {"\"hello\\\\n\"", "\"hello\\n\""},
        {"\"{broken\"", "\"{broken\""},
        {"\"1 2\"", "\"1 2\""},
        {"\"{\\\"a\\\":1,\\\"a\\\":2}\"", "\"{\\\"a\\\":1,\\\"a\\\":2}\""}, /* two of a name: no JSON of ours */
        {"\"nan\"", "\"nan\""},
        {"\"\"", NULL}, /* nothing */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char args[256];
        (void)snprintf(args, sizeof args, "{\"text\":%s}", cases[i][0]);
        json_t *task = run_task("print", args, "");
        expect_state(task, "succeeded");
        const json_t *result = json_object_get(task, "result");
        if (cases[i][1])
            expect_json(result, cases[i][1]);
        else
            assert_true(json_is_null(result) || (json_is_string(result) && json_string_length(result) == 0));
        json_decref(task);
    }
}

static void binary_output(void **state)
{
    (void)state;
    struct answer answer = {0};
    static const char *const texts[] = {"\\\\0377\\\\0376a\\\\0000b\\\\0200", "\\\\0355\\\\0240\\\\0200",
                                        "\\\"\\\\0300\\\\0257\\\"", "[\\\"\\\\0000\\\"]"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char args[256], target[128];
        (void)snprintf(args, sizeof args, "{\"text\":\"%s\"}", texts[i]);
        json_t *task = run_task("print", args, ""); /* whatever it wrote, the answer is JSON */
        expect_state(task, "succeeded");
        assert_true(json_is_string(json_object_get(task, "result")));
        (void)snprintf(target, sizeof target, "/v1/tasks/%s/result", text_of(task, "id"));
        ask(&d, &answer, "GET", target, MINE, NULL);
        json_t *result = answer_json(&answer);
        assert_true(json_equal(result, json_object_get(task, "result")));
        json_decref(result);
        json_decref(task);
    }
    answer_release(&answer);
}

static void output_at_the_limit(void **state)
{
    (void)state;
    json_t *fits = run_task("bytes", "{\"n\":10000}", "");
    expect_state(fits, "succeeded");
    json_decref(fits);
    json_t *over = expect_error("bytes", "{\"n\":65537}", ",\"max_attempts\":3", "limit", "65536");
    expect_number(over, "attempt", 1);
    json_decref(over);
    json_decref(expect_error("flood", "null", "", "limit", "65536")); /* one that never ends by itself */
}

/* ---- how it ends ---- */

static void exit_codes(void **state)
{
    (void)state;
    static const int codes[] = {1, 2, 64, 65, 77, 78, 126, 127, 255}, final[] = {64, 65, 77, 78};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        char args[64], status[64];
        bool is_final = false;
        for (size_t f = 0; f < 4; f++)
            is_final = is_final || final[f] == codes[i];
        (void)snprintf(args, sizeof args, "{\"code\":%d}", codes[i]);
        (void)snprintf(status, sizeof status, "exit status %d: oops", codes[i]); /* and the last line of its log */
        json_t *task = expect_error(
            "exit", args, ",\"max_attempts\":2,\"backoff\":{\"type\":\"fixed\",\"base\":\"1ms\",\"jitter\":false}",
            "exit", status);
        expect_number(task, "exit_code", codes[i]);
        expect_number(task, "attempt", is_final ? 1 : 2);
        json_decref(task);
    }
    json_t *three = run_task("exit3", "{\"code\":3}", ",\"max_attempts\":2");
    expect_number(three, "attempt", 1);
    json_decref(three);
    three = run_task("exit3", "{\"code\":64}",
                     ",\"max_attempts\":2,\"backoff\":{\"type\":\"fixed\",\"base\":\"1ms\",\"jitter\":false}");
    expect_number(three, "attempt", 2); /* the operator's list replaces the standard one */
    json_decref(three);
}

static void succeeds_in_the_end(void **state)
{
    (void)state;
    json_t *task = run_task("flaky", "null",
                            ",\"max_attempts\":5,\"backoff\":{\"type\":\"fixed\",\"base\":\"1ms\",\"jitter\":false}");
    expect_state(task, "succeeded");
    expect_number(task, "result", 3);
    expect_number(task, "attempt", 3);
    expect_number(task, "exit_code", 0);
    assert_null(json_object_get(task, "error"));
    json_decref(task);
}

static void signals(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int number;
    } cases[] = {{"TERM", SIGTERM}, {"KILL", SIGKILL}, {"SEGV", SIGSEGV}, {"USR1", SIGUSR1}, {"HUP", SIGHUP}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char args[64];
        (void)snprintf(args, sizeof args, "{\"name\":\"%s\"}", cases[i].name);
        json_t *task = expect_error("signal", args, "", "signal", cases[i].name);
        const json_t *signal_member = json_object_get(json_object_get(task, "error"), "signal");
        if (json_is_integer(signal_member)) {
            assert_int_equal(json_integer_value(signal_member), cases[i].number);
        } else {
            assert_true(json_is_string(signal_member));
            assert_non_null(strstr(json_string_value(signal_member), cases[i].name));
        }
        expect_number(task, "lost", 0);
        json_decref(task);
    }
}

static void timeouts(void **state)
{
    (void)state;
    long long began = mono_ms();
    json_decref(expect_error("slow", "null", "", "timeout", ""));
    json_decref(expect_error("sleep", "null", ",\"timeout\":\"200ms\"", "timeout", ""));
    assert_true(mono_ms() - began >= 500 && mono_ms() - began < (SANITIZED ? 60000 : 8000));
}

static void not_started(void **state)
{
    (void)state;
    json_t *task = expect_error("missing", "null", ",\"max_attempts\":3", "start", "/nowhere/program");
    expect_number(task, "attempt", 1); /* it will not be there next time */
    json_decref(task);
    json_decref(expect_error("not-a-program", "null", "", "start", "/etc/passwd"));
}

/* ---- the environment ---- */

struct environment {
    const json_t *task;
    char *text;
    const char *name[64];
    char *value[64];
    size_t n;
};

/* The result of env -0: each NUL became U+FFFD. */
static struct environment environment_of(const json_t *task)
{
    expect_state(task, "succeeded");
    struct environment e = {.task = task, .text = strdup(text_of(task, "result"))};
    assert_non_null(e.text);
    for (char *at = e.text, *end; (end = strstr(at, "\xef\xbf\xbd")) != NULL; at = end + 3) {
        *end = '\0';
        assert_true(e.n < 64);
        e.name[e.n] = at;
        e.value[e.n] = strchr(at, '=');
        assert_non_null(e.value[e.n]);
        *e.value[e.n++]++ = '\0';
    }
    return e;
}

/* NULL: any value but none.  Each is taken out, so that what is left over was not expected. */
static const char *take(struct environment *e, const char *name, const char *value)
{
    for (size_t i = 0; i < e->n; i++) {
        if (!e->name[i] || strcmp(e->name[i], name) != 0)
            continue;
        e->name[i] = NULL;
        if (value && strcmp(e->value[i], value) != 0)
            fail_msg("%s is \"%s\", not \"%s\"", name, e->value[i], value);
        assert_true(*e->value[i]);
        return e->value[i];
    }
    fail_msg("%s is not in the environment", name);
    return "";
}

static void expect_none_left(struct environment *e)
{
    for (size_t i = 0; i < e->n; i++)
        if (e->name[i])
            fail_msg("%s=%s is in the environment", e->name[i], e->value[i]);
    free(e->text);
}

static void take_base(struct environment *e)
{
    take(e, "PATH", "/usr/bin:/bin");
    take(e, "LANG", "C.UTF-8");
    take(e, "TZ", "Europe/Berlin");
    take(e, "HOME", "/nonexistent");
}

static void take_task(struct environment *e, const char *name)
{
    char url[128];
    const char *id = text_of(e->task, "id");
    (void)snprintf(url, sizeof url, "http://%s:%d", d.host, d.port);
    take(e, "SATCHEL_TASK", name);
    take(e, "SATCHEL_TASK_ID", id);
    take(e, "SATCHEL_ROOT_ID", id);
    take(e, "SATCHEL_ATTEMPT", "1");
    take(e, "SATCHEL_MAX_ATTEMPTS", "1");
    take(e, "SATCHEL_PROGRESS_FD", "3");
    take(e, "SATCHEL_URL", url);
    take(e, "SATCHEL_TENANT_HEADER", "X-Tenant-ID");
    take(e, "X_SATCHEL_TASK_ID", id); /* they have header names, and travel by these, too */
    take(e, "X_SATCHEL_ATTEMPT", "1");
}

static void whole_environment(void **state)
{
    (void)state;
    json_t *task = run(&d,
                       MINE "traceparent: " TRACEPARENT "\r\ntracestate: a=1,b=2\r\nbaggage: k=v;p=1\r\n"
                            "X-Request-ID: req-7\r\nX-Satchel-Deadline: 2099-01-02T03:04:05Z\r\nX-Region: eu\r\n"
                            "X-Key: do-not-tell\r\n",
                       "{\"task\":\"env\",\"context\":{\"shard\":\"s 1\",\"color.of-it\":\"r\\u00f6t\"}}");
    struct environment e = environment_of(task);
    take_base(&e);
    take(&e, "GREETING", "hello you");
    take(&e, "TAKEN", "from the daemon");
    take_task(&e, "env");
    const char *traceparent = take(&e, "TRACEPARENT", NULL);
    assert_int_equal(strlen(traceparent), 55);
    assert_memory_equal(traceparent, "00-" TRACE_ID "-", 36);
    assert_memory_not_equal(traceparent + 36, SPAN_ID, 16);
    assert_string_not_equal(traceparent, text_of(json_object_get(task, "context"), "traceparent"));
    take(&e, "TRACESTATE", "a=1,b=2");
    take(&e, "BAGGAGE", "k=v;p=1");
    take(&e, "X_TENANT_ID", "mine");
    take(&e, "X_REQUEST_ID", "req-7");
    take(&e, "X_SATCHEL_DEADLINE", NULL);
    take(&e, "X_REGION", "eu");
    take(&e, "SATCHEL_TENANT", "mine");
    take(&e, "SATCHEL_REQUEST_ID", "req-7");
    assert_memory_equal(take(&e, "SATCHEL_DEADLINE", NULL), "2099-01-02T03:04:05", 19);
    take(&e, "SATCHEL_VAR_SHARD", "s 1");
    take(&e, "X_SATCHEL_VAR_SHARD", "s 1");
    take(&e, "X_SATCHEL_VAR_COLOR_OF_IT", "r\303\266t");
    take(&e, "SATCHEL_VAR_COLOR_OF_IT", "r\303\266t");
    const char *json = take(&e, "SATCHEL_CONTEXT", NULL);
    json_t *context = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(context);
    assert_null(strstr(json, "do-not-tell"));
    assert_non_null(strstr(json, "s 1"));
    json_decref(context);
    expect_none_left(&e);
    json_decref(task);
}

static void sparse_environment(void **state)
{
    (void)state;
    json_t *task = run(&d, MINE, "{\"task\":\"env\"}");
    struct environment e = environment_of(task);
    take_base(&e);
    take(&e, "GREETING", "hello you");
    take(&e, "TAKEN", "from the daemon");
    take_task(&e, "env");
    take(&e, "TRACEPARENT", NULL); /* a trace is started, a request id made up */
    take(&e, "X_TENANT_ID", "mine");
    take(&e, "SATCHEL_TENANT", "mine");
    const char *id = text_of(json_object_get(task, "context"), "request_id");
    take(&e, "X_REQUEST_ID", id);
    take(&e, "SATCHEL_REQUEST_ID", id);
    take(&e, "SATCHEL_CONTEXT", NULL);
    expect_none_left(&e);
    json_decref(task);
}

static void narrowed_environment(void **state)
{
    (void)state;
    json_t *task = run(&d, MINE "traceparent: " TRACEPARENT "\r\ntracestate: a=1\r\nbaggage: k=v\r\nX-Region: eu\r\n",
                       "{\"task\":\"narrow\",\"context\":{\"shard\":\"s1\"}}");
    struct environment e = environment_of(task);
    take_base(&e);
    take_task(&e, "narrow");
    take(&e, "TRACEPARENT", NULL);
    take(&e, "TRACESTATE", "a=1");
    const char *json = take(&e, "SATCHEL_CONTEXT", NULL);
    assert_null(strstr(json, "mine"));
    assert_null(strstr(json, "s1"));
    expect_none_left(&e);
    json_decref(task);
}

/* ---- concurrency ---- */

static void concurrency(void **state)
{
    (void)state;
    enum { N = 6 };
    json_t *tasks[N];
    long long began[N], ended[N];
    for (int i = 0; i < N; i++)
        tasks[i] = submit(&d, MINE, "{\"task\":\"two\"}", 202);
    for (int i = 0; i < N; i++) {
        json_t *done = finish(&d, MINE, text_of(tasks[i], "id"));
        expect_state(done, "succeeded");
        assert_int_equal(sscanf(text_of(done, "result"), "%lld %lld", &began[i], &ended[i]), 2);
        json_decref(done);
        json_decref(tasks[i]);
    }
    int most = 0;
    for (int i = 0; i < N; i++) {
        int together = 0;
        for (int k = 0; k < N; k++)
            together += began[k] <= began[i] && began[i] < ended[k];
        most = together > most ? together : most;
    }
    assert_int_equal(most, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(templates),
        cmocka_unit_test(script_warned),
        cmocka_unit_test(template_faults),
        cmocka_unit_test(standard_input),
        cmocka_unit_test(output),
        cmocka_unit_test(binary_output),
        cmocka_unit_test(output_at_the_limit),
        cmocka_unit_test(exit_codes),
        cmocka_unit_test(succeeds_in_the_end),
        cmocka_unit_test(signals),
        cmocka_unit_test(timeouts),
        cmocka_unit_test(not_started),
        cmocka_unit_test(whole_environment),
        cmocka_unit_test(sparse_environment),
        cmocka_unit_test(narrowed_environment),
        cmocka_unit_test(concurrency),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
