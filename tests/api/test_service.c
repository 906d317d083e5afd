/* The daemon as a service, over its sockets: alive, ready and draining; reloads that change what is served; addresses;
 * starts that are refused. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/ask.h"

static struct satcheld d;

static int start(void **state)
{
    (void)state;
    satcheld_init(&d, "workers = 2\ndrain = \"10s\"\n");
    satcheld_start(&d);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    if (d.pid)
        satcheld_stop(&d);
    satcheld_release(&d);
    return 0;
}

static void reload(const char *config, const char *said)
{
    satcheld_configure(&d, config);
    satcheld_signal(&d, SIGHUP);
    satcheld_log_wait(&d, said);
}

static bool is_refused(void *arg)
{
    (void)arg;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)d.port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool refused = connect(fd, (const struct sockaddr *)&address, sizeof address) < 0 && errno == ECONNREFUSED;
    (void)close(fd);
    return refused;
}

/* ---- alive and ready ---- */

static void alive_and_ready(void **state)
{
    (void)state;
    struct answer answer = {0};
    static const char *const targets[] = {"/healthz", "/readyz"};
    for (size_t i = 0; i < 2; i++) {
        ask(&d, &answer, "GET", targets[i], "X-Tenant-ID: a b\r\n", NULL); /* a probe has no tenant */
        assert_true(answer.status == 200 || answer.status == 400);
        ask(&d, &answer, "GET", targets[i], NULL, NULL);
        assert_int_equal(answer.status, 200);
        assert_true(answer_has(&answer, "Content-Type", "application/json"));
        ask(&d, &answer, "HEAD", targets[i], NULL, NULL);
        assert_int_equal(answer.status, 200);
        assert_int_equal(answer.body_len, 0);
        ask(&d, &answer, "POST", targets[i], NULL, "");
        assert_int_equal(answer.status, 405);
    }
    answer_release(&answer);
}

/* While it drains, who is connected is told: alive, but not ready; reads go on, submissions are refused. */
static void draining(void **state)
{
    (void)state;
    enum { READY, ALIVE, SUBMIT, READ, N };
    static const char submission[] =
        "POST /v1/tasks HTTP/1.1\r\nHost: h\r\n" JSON_TYPE "Content-Length: 23\r\n\r\n{\"task\":\"satchel.noop\"}";
    struct client clients[N], waits;
    struct answer answer = {0};
    char read[128], wait[128];
    json_t *task = submit(&d, NULL, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":2}}", 202);
    json_decref(await_state(&d, NULL, text_of(task, "id"), "running"));
    (void)snprintf(read, sizeof read, "GET /v1/tasks/%s HTTP/1.1\r\nHost: h\r\n\r\n", text_of(task, "id"));
    (void)snprintf(wait, sizeof wait, "GET /v1/tasks/%s?wait=60s HTTP/1.1\r\nHost: h\r\n\r\n", text_of(task, "id"));
    const char *texts[N] = {"GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n", "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n",
                            submission, read};
    client_open(&waits, &d);
    client_send_text(&waits, wait);
    for (int i = 0; i < N; i++) { /* each has begun its request, so that none is idle and closed */
        client_open(&clients[i], &d);
        client_send(&clients[i], texts[i], 20);
    }
    json_decref(get_json(&d, "/healthz", NULL, 200));
    satcheld_signal(&d, SIGTERM);
    assert_true(until(is_refused, NULL, WAIT_MS)); /* no new connections */
    static const int statuses[N] = {503, 200, 503, 200};
    for (int i = 0; i < N; i++) {
        client_send_text(&clients[i], texts[i] + 20);
        assert_true(client_read(&clients[i], &answer));
        if (answer.status != statuses[i])
            fail_msg("%s: status %d: %s", texts[i], answer.status, answer.body);
        assert_true(answer_has(&answer, "Connection", "close"));
        if (statuses[i] == 503) {
            expect_problem(&answer, 503, "draining");
            char *retry = answer_header(&answer, "Retry-After");
            assert_non_null(retry);
            free(retry);
        }
        client_close(&clients[i]);
    }
    assert_true(client_read(&waits, &answer)); /* what runs may end, and who waits for it is answered */
    json_t *done = answer_json(&answer);
    expect_state(done, "succeeded");
    client_close(&waits);
    assert_int_equal(satcheld_wait(&d, WAIT_MS), 0);
    json_decref(done);
    json_decref(task);
    answer_release(&answer);
}

/* ---- reload ---- */

static void reload_takes_up_headers(void **state)
{
    (void)state;
    static const char region[] = "X-Region: eu\r\n";
    json_t *before = run(&d, region, "{\"task\":\"satchel.context\"}");
    assert_null(json_object_get(json_object_get(before, "result"), "region"));
    reload("workers = 2\nheader \"X-Region\" { var = \"region\" }\n", "the configuration was reloaded");
    json_t *after = run(&d, region, "{\"task\":\"satchel.context\"}");
    expect_text(json_object_get(after, "result"), "region", "eu");
    json_decref(before);
    json_decref(after);
}

/* What it cannot take up it names, and that stays as it was. */
static void reload_names_what_needs_a_restart(void **state)
{
    (void)state;
    reload("workers = 3\ntenant_header = \"X-Team\"\n", "the configuration was reloaded");
    assert_true(satcheld_log_has(&d, "\"setting\":\"workers\""));
    assert_true(satcheld_log_has(&d, "\"setting\":\"tenant_header\""));
    json_t *task = run(&d, "X-Tenant-ID: a\r\nX-Team: b\r\n", "{\"task\":\"satchel.noop\"}");
    expect_text(task, "tenant", "a");
    json_decref(task);
    satcheld_stop(&d);
    satcheld_start(&d);
    task = run(&d, "X-Tenant-ID: a\r\nX-Team: b\r\n", "{\"task\":\"satchel.noop\"}");
    expect_text(task, "tenant", "b");
    json_decref(task);
}

static void reload_that_is_refused(void **state)
{
    (void)state;
    reload("workers = 2\nrequire_tenant = perhaps\n", "the configuration is not taken up");
    json_t *task = run(&d, NULL, "{\"task\":\"satchel.noop\"}"); /* it serves on with what it had */
    json_decref(task);
    reload("workers = 2\nrequire_tenant = true\n", "the configuration was reloaded");
    json_t *problem = submit(&d, NULL, "{\"task\":\"satchel.noop\"}", 400);
    expect_text(problem, "type", "urn:satchel:problem:missing-tenant");
    json_decref(problem);
    json_decref(run(&d, "X-Tenant-ID: a\r\n", "{\"task\":\"satchel.noop\"}"));
    d.max_error_logs = -1; /* the refused one */
}

static void many_reloads_under_load(void **state)
{
    (void)state;
    struct client c;
    struct answer answer = {0};
    client_open(&c, &d);
    for (int i = 0; i < 30; i++) {
        satcheld_signal(&d, SIGHUP);
        ask_on(&c, &answer, "POST", "/v1/tasks", JSON_TYPE "Prefer: wait=20\r\n", "{\"task\":\"satchel.noop\"}");
        assert_int_equal(answer.status, 200);
    }
    client_close(&c);
    answer_release(&answer);
}

/* ---- addresses ---- */

static void several_addresses(void **state)
{
    (void)state;
    satcheld_stop(&d);
    char *path = satcheld_path(&d, "sock"), *listen;
    assert_true(asprintf(&listen, "unix:%s", path) > 0);
    const char *args[] = {"--listen", listen, "--listen", "127.0.0.1:0", NULL};
    d.args = args;
    satcheld_start(&d);
    char *log = satcheld_log(&d), *at = log;
    int n = 0;
    while ((at = strstr(at, "satcheld: listening on ")) != NULL) {
        n++;
        at++;
    }
    assert_int_equal(n, 3);
    struct client c;
    struct answer answer = {0};
    client_open_unix(&c, path);
    ask_on(&c, &answer, "POST", "/v1/tasks", JSON_TYPE "Prefer: wait=20\r\n", "{\"task\":\"satchel.noop\"}");
    assert_int_equal(answer.status, 200);
    client_close(&c);
    satcheld_kill(&d);
    satcheld_start(&d); /* a socket that a crash left behind is in nobody's way */
    client_open_unix(&c, path);
    ask_on(&c, &answer, "GET", "/readyz", NULL, NULL);
    assert_int_equal(answer.status, 200);
    client_close(&c);
    satcheld_stop(&d);
    d.args = NULL;
    struct stat info;
    assert_int_equal(stat(path, &info), -1); /* a stop takes it away */
    answer_release(&answer);
    free(log);
    free(listen);
    free(path);
}

/* ---- starts that are refused ---- */

static void expect_exit(const char *const *args, int status, const char *said)
{
    char *out, *err;
    int ended = satcheld_run(args, &out, &err);
    if (ended != status || (said && !strstr(err, said) && !strstr(out, said)))
        fail_msg("exit %d instead of %d, it said: %s%s", ended, status, out, err);
    free(out);
    free(err);
}

static void one_daemon_a_store(void **state)
{
    (void)state;
    char *data = satcheld_path(&d, "data");
    const char *args[] = {"--config", "/dev/null", "--data-dir", data, "--listen", "127.0.0.1:0", NULL};
    expect_exit(args, 73, "satchel.db");
    json_decref(run(&d, NULL, "{\"task\":\"satchel.noop\"}")); /* the first is not harmed */
    free(data);
}

static void broken_store(void **state)
{
    (void)state;
    satcheld_stop(&d);
    char *data = satcheld_path(&d, "data2"), *db = satcheld_path(&d, "data2/satchel.db");
    assert_int_equal(mkdir(data, 0700), 0);
    write_file(db, "this is not a database, and long enough that nobody takes it for an empty one\n");
    const char *args[] = {"--config", "/dev/null", "--data-dir", data, "--listen", "127.0.0.1:0", NULL};
    expect_exit(args, 73, "satchel.db");
    char *text = read_file(db);
    assert_memory_equal(text, "this is not", 11); /* it is not overwritten either */
    free(text);
    free(db);
    free(data);
}

static void command_lines(void **state)
{
    (void)state;
    static const struct {
        const char *args[6];
        int status;
        const char *said;
    } cases[] = {
        {{"--listen", "0.0.0.0:0", "--config", "/dev/null"}, 78, "0.0.0.0"},
        {{"--listen", "[::]:0", "--config", "/dev/null"}, 78, "[::]"},
        {{"--listen", "192.0.2.1:0", "--config", "/dev/null"}, 78, "192.0.2.1"},
        {{"--listen", "nonsense", "--config", "/dev/null"}, 78, "nonsense"},
        {{"--listen", "127.0.0.1:70000", "--config", "/dev/null"}, 78, "70000"},
        {{"--workers", "-1", "--config", "/dev/null"}, 78, "workers"},
        {{"--store", "mysql://h/d", "--config", "/dev/null"}, 78, "mysql"},
        {{"--config", "/nowhere/satcheld.conf", "--check"}, 78, "/nowhere/satcheld.conf"},
        {{"--check", "--config", "/dev/null"}, 0, NULL},
        {{"--print-config", "--config", "/dev/null"}, 0, "default_tenant"},
        {{"--version"}, 0, "satcheld "},
        {{"--help"}, 0, "--listen"},
        {{"--no-such-option"}, 64, "--no-such-option"},
        {{"serve"}, 64, "serve"},
        {{"--workers"}, 64, "workers"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_exit(cases[i].args, cases[i].status, cases[i].said);
}

/* What --print-config prints is a configuration, the same one. */
static void printed_configuration(void **state)
{
    (void)state;
    char *path = satcheld_path(&d, "satcheld.conf"), *printed = satcheld_path(&d, "printed.conf"), *out, *err, *again;
    satcheld_configure(
        &d, "workers = 3\nheader \"X-Region\" { var = \"region\" }\ntenant \"a\\\"b\" { weight = 2 }\n"
            "tenant \"acme\" { weight = 3 max_running = 20 }\n"
            "task \"t\" { command = {\"/bin/echo\", \"{{args.x}}\", \"a \\\"b\\\" \\\\ c\"} timeout = \"1500ms\" }\n");
    const char *check[] = {"--config", path, "--check", NULL};
    int status = satcheld_run(check, &out, &err);
    assert_true(status == 78 && strstr(err, "a\"b")); /* no tenant is named so */
    free(out);
    free(err);
    satcheld_configure(
        &d, "workers = 3\nheader \"X-Region\" { var = \"region\" }\n"
            "tenant \"acme\" { weight = 3 max_running = 20 }\n"
            "task \"t\" { command = {\"/bin/echo\", \"{{args.x}}\", \"a \\\"b\\\" \\\\ c\"} timeout = \"1500ms\" }\n");
    const char *first[] = {"--config", path, "--print-config", NULL};
    assert_int_equal(satcheld_run(first, &out, &err), 0);
    free(err);
    write_file(printed, out);
    const char *second[] = {"--config", printed, "--print-config", NULL};
    status = satcheld_run(second, &again, &err);
    if (status != 0 || strcmp(out, again) != 0)
        fail_msg("exit %d: %s\n%s\ninstead of\n%s", status, err, again, out);
    assert_non_null(strstr(out, "1500ms"));
    assert_non_null(strstr(out, "\"region\""));
    free(out);
    free(again);
    free(err);
    free(path);
    free(printed);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(alive_and_ready),
        TEST(draining),
        TEST(reload_takes_up_headers),
        TEST(reload_names_what_needs_a_restart),
        TEST(reload_that_is_refused),
        TEST(many_reloads_under_load),
        TEST(several_addresses),
        TEST(one_daemon_a_store),
        TEST(broken_store),
        cmocka_unit_test(command_lines),
        TEST(printed_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
