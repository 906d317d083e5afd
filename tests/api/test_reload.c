/* SIGHUP while tasks wait and run: task types that come, go and change, plugins, tenants' limits, and a configuration
 * that is broken.  Nothing that was accepted is lost by it. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/ask.h"

#define BASE "workers = 4\nmax_waiting_per_tenant = 5000\ndrain = \"10s\"\n"
#define RELOADED "the configuration was reloaded"
#define PLUGINS TEST_BUILD_DIR "/tests/support/.libs/"

static struct satcheld d;

static int start(void **state)
{
    (void)state;
    satcheld_init(&d, BASE);
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

static size_t count_in_log(const char *text)
{
    char *log = satcheld_log(&d);
    size_t n = 0;
    for (char *at = log; (at = strstr(at, text)) != NULL; at++)
        n++;
    free(log);
    return n;
}

struct awaited {
    const char *text;
    size_t n;
};

static bool is_said(void *arg)
{
    const struct awaited *awaited = arg;
    return count_in_log(awaited->text) >= awaited->n;
}

/* Writes the configuration, has it reloaded and waits until the log says so once more. */
static void reload_until(const char *config, const char *said)
{
    struct awaited awaited = {said, count_in_log(said) + 1};
    satcheld_configure(&d, config);
    satcheld_signal(&d, SIGHUP);
    if (!until(is_said, &awaited, WAIT_MS))
        fail_msg("the log does not say \"%s\" again", said);
}

static void reload(const char *config)
{
    reload_until(config, RELOADED);
}

static void expect_error(const json_t *task, const char *type)
{
    expect_state(task, "failed");
    expect_text(json_object_get(task, "error"), "type", type);
}

/* ---- headers ---- */

#define REGION "X-Region: \xff\r\nX-Team: blue\r\n" /* what is no variable may be anything */

static void a_header_comes_and_goes(void **state)
{
    (void)state;
    static const char body[] = "{\"task\":\"satchel.context\"}";
    reload(BASE "header \"X-Region\" { var = region }\nheader \"X-Team\" { var = team }\n");
    json_t *task = run(&d, "X-Region: eu\r\nX-Team: blue\r\n", body);
    expect_text(json_object_get(task, "result"), "region", "eu");
    json_decref(task);
    json_decref(submit(&d, REGION, body, 400));
    reload(BASE "header \"X-Team\" { var = team }\n");
    task = run(&d, REGION, body);
    assert_null(json_object_get(json_object_get(task, "result"), "region"));
    expect_text(json_object_get(task, "result"), "team", "blue");
    json_decref(task);
    reload(BASE "header \"x-region\" { var = region }\n");
    task = run(&d, "X-Region: us\r\nX-Team: blue\r\n", body);
    expect_text(json_object_get(task, "result"), "region", "us");
    assert_null(json_object_get(json_object_get(task, "result"), "team"));
    json_decref(task);
    reload(BASE);
}

/* ---- task types ---- */

static void a_type_is_added(void **state)
{
    (void)state;
    json_decref(submit(&d, NULL, "{\"task\":\"hello\"}", 422));
    reload(BASE "task \"hello\" { command = {\"/bin/echo\", \"hello\"} }\n");
    json_t *task = run(&d, NULL, "{\"task\":\"hello\"}");
    expect_text(task, "result", "hello\n");
    json_decref(task);
}

/* What waits of a type that is gone fails when it is its turn; what runs of it ends as it would have. */
static void a_type_is_removed(void **state)
{
    (void)state;
    reload(BASE "task \"slow\" { command = {\"/bin/sh\", \"-c\", \"sleep 1; echo done\"} concurrency = 1 }\n");
    json_t *runs = submit(&d, NULL, "{\"task\":\"slow\"}", 202), *waits = submit(&d, NULL, "{\"task\":\"slow\"}", 202);
    json_t *later = submit(&d, NULL, "{\"task\":\"slow\",\"delay\":\"1500ms\"}", 202);
    json_decref(await_state(&d, NULL, text_of(runs, "id"), "running"));
    reload(BASE);
    json_decref(submit(&d, NULL, "{\"task\":\"slow\"}", 422)); /* at once */
    json_t *first = finish(&d, NULL, text_of(runs, "id")), *second = finish(&d, NULL, text_of(waits, "id")),
           *third = finish(&d, NULL, text_of(later, "id"));
    expect_state(first, "succeeded");
    expect_text(first, "result", "done\n");
    expect_error(second, "unknown-task");
    expect_error(third, "unknown-task");
    json_t *all[] = {runs, waits, later, first, second, third};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        json_decref(all[i]);
}

/* Removed and added again before it was its turn: nothing happened. */
static void a_type_comes_back(void **state)
{
    (void)state;
    static const char with[] = BASE "task \"slow\" { command = {\"/bin/sh\", \"-c\", \"echo $SATCHEL_ATTEMPT\"} }\n";
    reload(with);
    json_t *task = submit(&d, NULL, "{\"task\":\"slow\",\"delay\":\"3s\"}", 202);
    reload(BASE);
    reload(with);
    json_t *done = finish(&d, NULL, text_of(task, "id"));
    expect_state(done, "succeeded");
    expect_json(json_object_get(done, "result"), "1");
    json_decref(task);
    json_decref(done);
}

static void argv_changes(void **state)
{
    (void)state;
    reload(BASE "task \"t\" { command = {\"/bin/sh\", \"-c\", \"sleep 1; echo $0\", \"old\"} concurrency = 1 }\n");
    json_t *runs = submit(&d, NULL, "{\"task\":\"t\"}", 202), *waits = submit(&d, NULL, "{\"task\":\"t\"}", 202);
    json_decref(await_state(&d, NULL, text_of(runs, "id"), "running"));
    reload(BASE "task \"t\" { command = {\"/bin/sh\", \"-c\", \"echo $0\", \"new\"} concurrency = 1 }\n");
    json_t *first = finish(&d, NULL, text_of(runs, "id")), *second = finish(&d, NULL, text_of(waits, "id"));
    expect_text(first, "result", "old\n");
    expect_text(second, "result", "new\n");
    assert_true(time_of(second, "started_at") >=
                time_of(first, "finished_at")); /* one at a time, over the reload too */
    json_t *all[] = {runs, waits, first, second};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        json_decref(all[i]);
}

static void timeout_changes(void **state)
{
    (void)state;
    reload(BASE "task \"t\" { command = {\"/bin/sleep\", \"1\"} timeout = \"60s\" }\n");
    json_t *runs = submit(&d, NULL, "{\"task\":\"t\"}", 202);
    json_decref(await_state(&d, NULL, text_of(runs, "id"), "running"));
    reload(BASE "task \"t\" { command = {\"/bin/sleep\", \"60\"} timeout = \"100ms\" kill_grace = \"1s\" }\n");
    json_t *second = run(&d, NULL, "{\"task\":\"t\"}"), *first = finish(&d, NULL, text_of(runs, "id"));
    expect_state(first, "succeeded"); /* with the limit that it began with */
    expect_error(second, "timeout");
    json_decref(runs);
    json_decref(first);
    json_decref(second);
}

static json_t *list_of(const char *state)
{
    char target[64];
    (void)snprintf(target, sizeof target, "/v1/tasks?state=%s&limit=1000", state);
    return get_json(&d, target, NULL, 200);
}

static size_t count_of(const char *state)
{
    json_t *list = list_of(state);
    size_t n = json_array_size(json_object_get(list, "tasks"));
    json_decref(list);
    return n;
}

static bool runs_three(void *arg)
{
    (void)arg;
    return count_of("running") == 3;
}

static void concurrency_changes(void **state)
{
    (void)state;
    char *gate = satcheld_path(&d, "gate"), *with;
    static const char text[] = BASE
        "task \"t\" { command = {\"/bin/sh\", \"-c\", \"until test -e %s; do sleep 0.02; done\"} concurrency = %d }\n";
    assert_true(asprintf(&with, text, gate, 1) > 0);
    reload(with);
    free(with);
    json_t *tasks[6];
    for (int i = 0; i < 6; i++)
        tasks[i] = submit(&d, NULL, "{\"task\":\"t\"}", 202);
    json_decref(await_state(&d, NULL, text_of(tasks[0], "id"), "running"));
    assert_int_equal(count_of("running"), 1);
    assert_true(asprintf(&with, text, gate, 3) > 0);
    reload(with);
    free(with);
    assert_true(until(runs_three, NULL, WAIT_MS)); /* nothing has ended meanwhile */
    pause_ms(100);
    assert_int_equal(count_of("running"), 3);
    write_file(gate, "");
    for (int i = 0; i < 6; i++) {
        json_t *done = finish(&d, NULL, text_of(tasks[i], "id"));
        expect_state(done, "succeeded");
        json_decref(done);
        json_decref(tasks[i]);
    }
    free(gate);
}

/* ---- tenants ---- */

static void tenants_change(void **state)
{
    (void)state;
    reload(BASE "tenant \"acme\" { max_running = 1 max_queued = 4 }\n");
    static const char body[] = "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":1}}";
    json_t *tasks[5];
    for (int i = 0; i < 5; i++)
        tasks[i] = submit(&d, "X-Tenant-ID: acme\r\n", body, 202);
    json_decref(await_state(&d, "X-Tenant-ID: acme\r\n", text_of(tasks[0], "id"), "running"));
    json_t *problem = submit(&d, "X-Tenant-ID: acme\r\n", body, 429);
    json_decref(problem);
    reload(BASE "tenant \"acme\" { max_running = 3 max_queued = 100 }\n");
    json_decref(submit(&d, "X-Tenant-ID: acme\r\n", body, 202));
    json_decref(await_state(&d, "X-Tenant-ID: acme\r\n", text_of(tasks[2], "id"), "running"));
    reload(BASE "tenant \"acme\" { max_running = 1 max_queued = 1 }\n"); /* fewer than wait: they stay all the same */
    for (int i = 0; i < 5; i++) {
        json_t *done = finish(&d, "X-Tenant-ID: acme\r\n", text_of(tasks[i], "id"));
        expect_state(done, "succeeded");
        json_decref(done);
        json_decref(tasks[i]);
    }
}

/* ---- plugins ---- */

static void a_plugin_comes_and_goes(void **state)
{
    (void)state;
    static const char with[] = BASE "plugin \"" PLUGINS "plugin_probe.so\" {}\n";
    char *fini = satcheld_path(&d, "fini");
    satcheld_stop(&d);
    (void)setenv("PROBE_FINI", fini, 1);
    satcheld_start(&d);
    (void)unsetenv("PROBE_FINI");
    reload(with);
    json_t *first = run(&d, NULL, "{\"task\":\"probe.returns\",\"args\":0}");
    expect_state(first, "succeeded");
    json_t *runs = submit(&d, NULL, "{\"task\":\"probe.wait\"}", 202);
    json_decref(await_state(&d, NULL, text_of(runs, "id"), "running"));
    reload(with); /* the same one: it is loaded once, and stays */
    reload(BASE);
    json_decref(submit(&d, NULL, "{\"task\":\"probe.returns\",\"args\":0}", 422));
    pause_ms(1500);
    char *text = read_file(fini);
    assert_string_equal(text, ""); /* its code still runs */
    free(text);
    json_decref(act(&d, NULL, text_of(runs, "id"), "cancel", 200));
    json_t *canceled = finish(&d, NULL, text_of(runs, "id"));
    expect_state(canceled, "canceled");
    for (int i = 0; i < WAIT_MS / 20; i++) { /* now it is unloaded, once */
        text = read_file(fini);
        bool there = *text != '\0';
        free(text);
        if (there)
            break;
        pause_ms(20);
    }
    text = read_file(fini);
    assert_string_equal(text, "fini\n");
    free(text);
    reload(with); /* and comes back */
    json_t *again = run(&d, NULL, "{\"task\":\"probe.returns\",\"args\":0}");
    expect_state(again, "succeeded");
    json_t *all[] = {first, runs, canceled, again};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        json_decref(all[i]);
    satcheld_stop(&d);
    text = read_file(fini);
    assert_string_equal(text, "fini\nfini\n");
    free(text);
    free(fini);
}

/* ---- what cannot be taken up ---- */

static void broken_configurations(void **state)
{
    (void)state;
    static const char good[] = BASE "task \"t\" { command = {\"/bin/echo\", \"good\"} }\n";
    static const struct {
        const char *config, *said;
    } cases[] = {
        {BASE "task \"t\" { command = {\"/bin/echo\", \"bad\"}\n", "satcheld.conf"},
        {BASE "task \"t\" { }\n", "satcheld.conf:4"},
        {BASE
         "task \"t\" { command = {\"/bin/echo\", \"bad\"} }\ntask \"u\" { command = {\"/bin/echo\", \"{{args.\"} }\n",
         "satcheld.conf:5"},
        {BASE "task \"t\" { command = {\"/bin/echo\", \"bad\"} }\nplugin \"/nowhere/x.so\" {}\n", "satcheld.conf:5"},
        {BASE "task \"t\" { command = {\"/bin/echo\", \"bad\"} }\nplugin \"" PLUGINS "plugin_fails.so\" {}\n",
         "satcheld.conf:5"},
        {BASE "task \"t\" { command = {\"/bin/echo\", \"bad\"} }\ntask \"u\" { url = \"gopher://x/\" }\n",
         "satcheld.conf:5"},
    };
    reload(good);
    d.max_error_logs = -1;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        reload_until(cases[i].config, cases[i].said);
        json_t *task = run(&d, NULL, "{\"task\":\"t\"}");
        expect_text(task, "result", "good\n"); /* nothing of it */
        json_decref(task);
        json_decref(submit(&d, NULL, "{\"task\":\"u\"}", 422));
    }
    assert_int_equal(count_in_log(RELOADED), 1);
}

/* ---- settings ---- */

static void settings_take_effect(void **state)
{
    (void)state;
    json_t *task = run(&d, NULL, "{\"task\":\"satchel.echo\",\"args\":\"0123456789\"}");
    pause_ms(1200); /* so that the walk which the reload begins finds it */
    reload(BASE
           "max_result = 1024\nmax_body = 4096\nmax_json_depth = 4\nmax_wait = \"100ms\"\ndefault_tenant = \"other\"\n"
           "log_level = debug\nmax_log = 2048\nretain = \"1s\"\n"
           "task \"long\" { command = {\"/bin/sh\", \"-c\", \"for i in 1 2 3 4; do seq 5000 >&2; sleep 0.6; done\"} }\n"
           "task \"large\" { command = {\"/usr/bin/seq\", \"1000\"} }\n");
    json_decref(submit(&d, NULL, "{\"task\":\"satchel.echo\",\"args\":[[[[[1]]]]]}", 400));
    struct answer answer = {0};
    char *big = malloc(5001);
    memset(big, ' ', 5000);
    memcpy(big, "{\"task\":\"satchel.noop\"}", 23);
    big[5000] = '\0';
    ask(&d, &answer, "POST", "/v1/tasks", JSON_TYPE, big);
    expect_problem(&answer, 413, "body-too-large");
    free(big);
    json_t *large = submit(&d, NULL, "{\"task\":\"large\"}", 202),
           *done = await_state(&d, "X-Tenant-ID: other\r\n", text_of(large, "id"), "failed");
    expect_text(done, "tenant", "other");
    expect_error(done, "limit");
    json_t *noisy = submit(&d, NULL, "{\"task\":\"long\",\"retain\":\"1h\"}", 202);
    json_decref(await_state(&d, NULL, text_of(noisy, "id"), "succeeded"));
    char target[128];
    (void)snprintf(target, sizeof target, "/v1/tasks/%s/log", text_of(noisy, "id"));
    ask(&d, &answer, "GET", target, NULL, NULL);
    assert_int_equal(answer.status, 200);
    assert_true(answer.body_len < 3 * 23893); /* of four; whole pieces are dropped */
    assert_non_null(strstr(answer.body, "5000\n"));
    for (int i = 0; i < WAIT_MS / 50 && answer.status != 410;
         i++) { /* what finished before is kept as long as now said */
        (void)snprintf(target, sizeof target, "/v1/tasks/%s", text_of(task, "id"));
        ask(&d, &answer, "GET", target, "X-Tenant-ID: default\r\n", NULL);
        pause_ms(50);
    }
    assert_int_equal(answer.status, 410);
    answer_release(&answer);
    json_decref(task);
    json_decref(large);
    json_decref(done);
    json_decref(noisy);
}

/* ---- all at once ---- */

/* 200 tasks run and wait while types come and go and change: each ends exactly once, and as its type says. */
static void two_hundred_tasks(void **state)
{
    (void)state;
    enum { TASKS = 200 };
    static const char *const configs[] = {
        BASE "task \"a\" { command = {\"/bin/echo\", \"a1\"} concurrency = 2 }\n"
             "task \"b\" { command = {\"/bin/echo\", \"b1\"} }\ntenant \"t1\" { weight = 3 max_running = 2 }\n",
        BASE "task \"b\" { command = {\"/bin/echo\", \"b2\"} timeout = \"20s\" }\n"
             "task \"a\" { command = {\"/bin/echo\", \"a2\"} concurrency = 1 }\n"
             "plugin \"" PLUGINS "plugin_probe.so\" {}\n",
        BASE "task \"a\" { command = {\"/bin/echo\", \"a3\"} }\n",
    };
    static const char *const kinds[] = {"a", "b", "satchel.noop", "satchel.sleep"};
    char *ids[TASKS];
    reload(configs[0]);
    struct client c;
    struct answer answer = {0};
    client_open(&c, &d);
    for (int i = 0; i < TASKS; i++) {
        char body[128], tenant[96];
        const char *kind = kinds[i % 4];
        if (i % 25 == 24)
            reload(configs[i / 25 % 3]);
        (void)snprintf(body, sizeof body, "{\"task\":\"%s\",\"args\":{\"seconds\":0.01},\"delay\":%s}", kind,
                       i % 3 ? "0" : "0.3");
        (void)snprintf(tenant, sizeof tenant, JSON_TYPE "X-Tenant-ID: t%d\r\n", i % 3);
        ask_on(&c, &answer, "POST", "/v1/tasks", tenant, body);
        if (answer.status == 422 && i % 4 == 1) { /* b is not there just now */
            ids[i] = NULL;
            continue;
        }
        assert_int_equal(answer.status, 202);
        json_t *task = answer_json(&answer);
        ids[i] = strdup(text_of(task, "id"));
        json_decref(task);
    }
    for (int i = 0; i < 6; i++)
        reload(configs[i % 3]);
    for (int i = 0; i < TASKS; i++) {
        char tenant[64];
        if (!ids[i])
            continue;
        (void)snprintf(tenant, sizeof tenant, "X-Tenant-ID: t%d\r\n", i % 3);
        json_t *done = finish(&d, tenant, ids[i]);
        const char *kind = kinds[i % 4];
        if (strcmp(kind, "b") == 0 && strcmp(text_of(done, "state"), "failed") == 0) {
            expect_error(done, "unknown-task");
        } else {
            expect_state(done, "succeeded");
            expect_number(done, "attempt", 1);
            if (strlen(kind) == 1)
                assert_true(text_of(done, "result")[0] == *kind);
        }
        json_decref(done);
        free(ids[i]);
    }
    client_close(&c);
    answer_release(&answer);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_header_comes_and_goes), TEST(a_type_is_added),      TEST(a_type_is_removed),
        TEST(a_type_comes_back),       TEST(argv_changes),         TEST(timeout_changes),
        TEST(concurrency_changes),     TEST(tenants_change),       TEST(a_plugin_comes_and_goes),
        TEST(broken_configurations),   TEST(settings_take_effect), TEST(two_hundred_tasks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
