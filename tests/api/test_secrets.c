/* What is secret stays so: it is put everywhere where a secret can come in, and looked for everywhere where something
 * comes out; and nobody but root can look into the daemon. */
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
#include "tests/support/receiver.h"

#define SECRET "hunter2" /* a part of every one, whatever it is */
#define HEADERS "X-Key: key-" SECRET "\r\nAuthorization: Bearer token-" SECRET "\r\nCookie: c=" SECRET "\r\n"
#define SOMEBODY 54321

static struct satcheld d;
static struct receiver other;

static void configure(void)
{
    char text[4096];
    (void)snprintf(
        text, sizeof text,
        "workers = 2\nlog_level = debug\ndrain = 100ms\nheader \"X-Key\" { var = \"key\" secret = true }\n"
        "otlp_endpoint = \"%s\"\notlp_headers = \"authorization=Bearer%%20" SECRET "\"\n"
        "task \"call\" { url = \"%s/hook\" allow = {\"127.0.0.1\"}\n"
        "  headers = {\"Authorization: Bearer " SECRET "\", \"X-Api-Key: " SECRET "\", \"X-Plain: seen\"} }\n"
        "task \"refused\" { url = \"%s/hook/" SECRET "?key=" SECRET "\" headers = {\"Cookie: " SECRET "\"} }\n"
        "task \"env\" { command = {/bin/sh, '-c', 'test $API_TOKEN && exit 65'}\n"
        "  environment = {\"API_TOKEN=" SECRET "\", \"MODE=visible\"} }\n",
        other.url, other.url, other.url);
    satcheld_configure(&d, text);
}

static void before_exec(void *arg)
{
    (void)arg;
    (void)setenv("OF_THE_DAEMON", SECRET, 1);
    if (geteuid() == 0 && (setgid(SOMEBODY) < 0 || setuid(SOMEBODY) < 0))
        _exit(60);
}

static int start(void **state)
{
    (void)state;
    receiver_start(&other);
    satcheld_init(&d, NULL);
    configure();
    if (geteuid() == 0) {
        char *config = satcheld_path(&d, "satcheld.conf");
        assert_int_equal(chown(d.dir, SOMEBODY, SOMEBODY), 0);
        assert_int_equal(chown(config, SOMEBODY, SOMEBODY), 0);
        free(config);
    }
    d.before_exec = before_exec;
    satcheld_start(&d);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    satcheld_stop(&d);
    satcheld_release(&d);
    receiver_stop(&other);
    return 0;
}

static void expect_none(const char *where, const char *text)
{
    const char *found = strstr(text, SECRET);
    if (found)
        fail_msg("%s: %.*s", where, 200, found - (found - text < 100 ? found - text : 100));
}

static void ask_all(const char *method, const char *target, const char *body)
{
    struct answer answer = {0};
    ask(&d, &answer, method, target, HEADERS, body);
    expect_none(target, answer.head);
    expect_none(target, answer.body);
    answer_release(&answer);
}

/* Everything that can be asked about a task that ran with secrets around it. */
static void expect_discreet(const char *name)
{
    static const char *const views[] = {"", "/context", "/log", "/result", "/tree"};
    char body[128], target[128];
    (void)snprintf(body, sizeof body, "{\"task\":\"%s\"}", name);
    json_t *task = run(&d, HEADERS, body);
    for (size_t i = 0; i < sizeof views / sizeof views[0]; i++) {
        (void)snprintf(target, sizeof target, "/v1/tasks/%s%s", text_of(task, "id"), views[i]);
        ask_all("GET", target, NULL);
    }
    char *text = json_dumps(task, 0);
    expect_none(name, text);
    free(text);
    json_decref(task);
}

static void tasks(void **state)
{
    (void)state;
    size_t n = receiver_count(&other);
    receiver_answer(&other, "HTTP/1.1 503 Busy\r\n", "try later");
    expect_discreet("call");
    expect_discreet("call");
    expect_discreet("env");
    expect_discreet("refused");
    expect_discreet("satchel.noop");
    ask_all("GET", "/v1/tasks?limit=100", NULL);
    ask_all("GET", "/metrics", NULL);
    ask_all("GET", "/v1/tenants", NULL);
    assert_true(receiver_count(&other) > n); /* they did arrive where they belong */
    bool arrived = false;
    for (size_t i = 0; i < receiver_count(&other); i++) {
        const char *request = receiver_request(&other, i);
        arrived = arrived || strstr(request, "X-Api-Key: " SECRET);
        if (strncmp(request, "POST /hook", 10) == 0)
            assert_null(strstr(request, "key-" SECRET)); /* a secret variable leaves for nobody */
        else
            expect_none("spans", request_content(request));
    }
    assert_true(arrived);
}

static void requests_that_are_refused(void **state)
{
    (void)state;
    ask_all("POST", "/v1/tasks", "{\"task\":\"no-such-task\"}");
    ask_all("POST", "/v1/tasks", "{");
    ask_all("GET", "/v1/tasks/none", NULL);
    ask_all("PATCH", "/v1/tasks", NULL);
    ask_all("POST", "/v1/admin:nothing", NULL);
}

static void faults_of_the_configuration(void **state)
{
    (void)state;
    char *good = satcheld_path(&d, "satcheld.conf"), *text = read_file(good), *out, *err;
    const char *args[] = {"--config", good, "--print-config", NULL};
    assert_int_equal(satcheld_run(args, &out, &err), 0);
    assert_non_null(strstr(out, "X-Plain: seen"));
    assert_non_null(strstr(out, "MODE=visible"));
    assert_non_null(strstr(out, "API_TOKEN=***"));
    assert_non_null(strstr(out, "Authorization: ***"));
    char *environment = strstr(out, "environment = ");
    expect_none("--print-config", environment);
    for (char *line = strstr(out, "headers = "); line; line = strstr(line + 1, "headers = "))
        assert_true(strstr(line, "***") != NULL);
    free(out);
    free(err);
    satcheld_configure(&d, "task \"a\" { url = \"http://x/\" headers = {\"Authorization Bearer " SECRET "\"} }\n"
                           "task \"b\" { command = x environment = {\"API-TOKEN=" SECRET "\", \"-=" SECRET "\"} }\n"
                           "otlp_headers = \"\"\n");
    d.max_error_logs = -1;
    satcheld_signal(&d, SIGHUP);
    satcheld_log_wait(&d, "environment: \\\"API-TOKEN\\\" must be");
    write_file(good, text);
    free(text);
    free(good);
}

/* Last: what all of the above has written. */
static void the_log(void **state)
{
    (void)state;
    char *log = satcheld_log(&d);
    assert_non_null(strstr(log, "\"level\":\"debug\""));
    expect_none("the log", log);
    free(log);
}

/* Who runs as the same user, as commands may, cannot look into the daemon, and no core is dumped. */
static void the_process(void **state)
{
    (void)state;
    char path[64];
    struct stat info;
    (void)snprintf(path, sizeof path, "/proc/%ld/environ", (long)d.pid);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_uid, 0); /* not its own: it is not dumpable */
    (void)snprintf(path, sizeof path, "/proc/%ld/limits", (long)d.pid);
    char *limits = read_file(path), *core = strstr(limits, "Max core file size");
    assert_non_null(core);
    assert_memory_equal(core, "Max core file size        0                    0  ", 49);
    free(limits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks),
        cmocka_unit_test(requests_that_are_refused),
        cmocka_unit_test(faults_of_the_configuration),
        cmocka_unit_test(the_log),
        cmocka_unit_test(the_process),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
