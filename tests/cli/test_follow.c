/* satchel logs, watch, context, retry, delete, get --attempts and env --shell against the real daemon; and where the
 * connection breaks, against a scripted one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/cli/cli.h"
#include "tests/support/ask.h"
#include "tests/support/receiver.h"

#define ACME "X-Tenant-ID: acme\r\n"
#define CONFIG                                                                                                         \
    "header \"X-Region\" { var = \"region\" }\nheader \"X-Key\" { var = \"key\" secret = true }\n"                     \
    "task \"say\" { command = {\"/bin/sh\", \"-c\", \"echo one >&2; printf two >&2; exit {{args.code}}\"} }\n"         \
    "task \"gate\" { command = {\"/bin/sh\", \"-c\", \"echo begun >&2; "                                               \
    "while ! test -e {{args.file}}; do sleep 0.02; done; echo opened >&2\"} }\n"

static struct satcheld d;

static int start(void **state)
{
    (void)state;
    satcheld_init(&d, CONFIG);
    satcheld_start(&d);
    cli_environment(&d);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    satcheld_stop(&d);
    satcheld_release(&d);
    return 0;
}

/* The id of a new task of the tenant acme; static. */
static const char *make(const char *body)
{
    static char id[64];
    json_t *task = submit(&d, ACME, body, 202);
    (void)snprintf(id, sizeof id, "%s", text_of(task, "id"));
    json_decref(task);
    return id;
}

static const char *make_finished(const char *body)
{
    const char *id = make(body);
    json_decref(finish(&d, ACME, id));
    return id;
}

/* ---- logs ---- */

static void logs_as_they_are(void **state)
{
    (void)state;
    struct cli c;
    const char *id = make_finished("{\"task\":\"say\",\"args\":{\"code\":0}}");
    cli_run(&c, 0, NULL, ARGS("logs", "-t", "acme", id));
    assert_string_equal(c.out, "one\ntwo\n");
    cli_release(&c);
    cli_run(&c, 0, NULL, ARGS("logs", "--follow", "-t", "acme", id)); /* of a finished one: the same, at once */
    assert_string_equal(c.out, "one\ntwo\n");
    cli_release(&c);
    cli_run(&c, 0, NULL, ARGS("logs", "--json", "-t", "acme", id));
    json_t *all = json_loads(c.out, 0, NULL);
    expect_text(all, "log", "one\ntwo\n");
    json_decref(all);
    cli_release(&c);
    cli_run(&c, 65, NULL, ARGS("logs", "-t", "other", id)); /* another tenant's */
    assert_string_equal(c.out, "");
    cli_release(&c);
    cli_run(&c, 0, NULL, ARGS("logs", "-t", "acme", make_finished("{\"task\":\"satchel.noop\"}")));
    assert_string_equal(c.out, "");
    cli_release(&c);
}

static void logs_while_they_are_written(void **state)
{
    (void)state;
    struct cli c;
    char *gate = satcheld_path(&d, "gate-logs"), body[256];
    (void)snprintf(body, sizeof body, "{\"task\":\"gate\",\"args\":{\"file\":\"%s\"}}", gate);
    const char *id = make(body);
    cli_start(&c, NULL, ARGS("logs", "-f", "-t", "acme", id));
    cli_await_output(&c, "begun\n");
    write_file(gate, "");
    cli_wait(&c);
    assert_int_equal(c.code, 0);
    assert_string_equal(c.out, "begun\nopened\n");
    cli_release(&c);
    free(gate);
}

/* ---- watch ---- */

static void watch_to_the_end(void **state)
{
    (void)state;
    struct cli c;
    cli_run(&c, 0, NULL, ARGS("watch", "-t", "acme", make("{\"task\":\"say\",\"args\":{\"code\":0}}")));
    cli_expect(&c, "one\ntwo");
    cli_expect(&c, "state      succeeded, attempt 1\n");
    cli_release(&c);
    cli_run(&c, 3, NULL, ARGS("watch", "-t", "acme", make("{\"task\":\"say\",\"args\":{\"code\":3}}")));
    cli_expect(&c, "state      failed, attempt 1: exit: exit status 3: two\n");
    cli_release(&c);
    cli_run(&c, 1, NULL, ARGS("watch", "--json", "-t", "acme", make_finished("{\"task\":\"satchel.fail\"}")));
    cli_expect(&c, "{\"event\":\"state\",\"id\":\"1.failed.");
    cli_release(&c);
}

static void watch_has_its_limits(void **state)
{
    (void)state;
    struct cli c;
    const char *id = make("{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":60}}");
    cli_run(&c, 124, NULL, ARGS("watch", "--timeout", "300ms", "-t", "acme", id));
    cli_release(&c);
    cli_start(&c, NULL, ARGS("watch", "-t", "acme", id));
    cli_await_output(&c, "running");
    json_decref(act(&d, ACME, id, "cancel", 200));
    cli_wait(&c);
    assert_int_equal(c.code, 1);
    cli_expect(&c, "state      canceled");
    cli_release(&c);
    cli_run(&c, 65, NULL, ARGS("watch", "0192f0c4-1111-7111-8111-111111111111"));
    cli_release(&c);
    cli_run(&c, 64, NULL, ARGS("watch"));
    cli_release(&c);
    cli_run(&c, 64, NULL, ARGS("watch", "--timeout", "soon", id));
    cli_release(&c);
    cli_run(&c, 69, NULL, ARGS("watch", "--url", "http://127.0.0.1:1", id));
    cli_release(&c);
}

static void watch_over_a_crash(void **state)
{
    (void)state;
    struct cli c;
    char *gate = satcheld_path(&d, "gate-crash"), body[256], listen[96];
    (void)snprintf(body, sizeof body, "{\"task\":\"gate\",\"args\":{\"file\":\"%s\"}}", gate);
    (void)snprintf(listen, sizeof listen, "%s:%d", d.host, d.port);
    const char *id = make(body);
    cli_start(&c, NULL, ARGS("watch", "-t", "acme", id));
    cli_await_output(&c, "begun\n");
    satcheld_kill(&d);
    write_file(gate, "");
    d.listen = listen;
    satcheld_start(&d);
    d.listen = NULL;
    cli_wait(&c);
    assert_int_equal(c.code, 0);
    cli_expect(&c, "attempt 2");
    cli_expect(&c, "opened\n");
    cli_expect(&c, "state      succeeded, attempt 2\n");
    cli_release(&c);
    free(gate);
}

#define SCRIPTED "0192f0c4-1111-7111-8111-111111111111"
#define TASK_AS(state) "{\"id\":\"" SCRIPTED "\",\"tenant\":\"acme\",\"state\":\"" state "\"}"
#define OK_JSON "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
#define OK_STREAM "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"

static void watch_goes_on_where_it_ended(void **state)
{
    (void)state;
    struct cli c;
    struct receiver stub;
    receiver_start(&stub);
    receiver_answer(&stub, OK_JSON, TASK_AS("running"));
    receiver_answer(
        &stub, OK_STREAM,
        "retry: 1000\n\n:a comment\n\nevent: state\nid: 1.running.0\ndata: " TASK_AS(
            "running") "\n\n"
                       "event: log\r\nid: 1.running.4\r\ndata: {\"offset\":0,\r\ndata: \"text\":\"abc\\n\"}\r\n\r\n"
                       "event: progress\rid: 1.running.4\rdata: {\"attempt\":1,\"progress\":0.25,\"message\":\"m\"}\r\r"
                       "event: log\nid: 1.running.9\ndata: {\"text\":\"cut off");
    receiver_answer(&stub, NULL, NULL); /* closed without an answer */
    receiver_answer(&stub, "HTTP/1.1 503 Busy\r\nContent-Type: application/json\r\n", "{}");
    receiver_answer(&stub, OK_STREAM,
                    "event: progress\nid: 1.running.4\ndata: {\"attempt\":1,\"progress\":0.25,\"message\":\"m\"}\n\n"
                    "event: unknown\nid: 1.running.4\ndata: {}\n\nevent: log\ndata: no json\n\n"
                    "event: log\nid: 1.running.8\ndata: {\"offset\":4,\"text\":\"def\\n\"}\n\n"
                    "event: state\nid: 1.failed.8\ndata: " TASK_AS("failed") "\n\n");
    receiver_answer(&stub, OK_JSON, TASK_AS("failed"));
    cli_run(&c, 1, NULL, ARGS("watch", "-t", "acme", "--url", stub.url, SCRIPTED));
    assert_string_equal(c.out, "state      running\nabc\nprogress   25 %  m\ndef\nstate      failed\n");
    assert_true(receiver_wait(&stub, 6, WAIT_MS)); /* and reads them under its lock */
    assert_int_equal(stub.n, 6);
    assert_null(strstr(stub.requests[1].head, "Last-Event-ID"));
    assert_non_null(strstr(stub.requests[2].head, "Last-Event-ID: 1.running.4\r\n"));
    assert_non_null(strstr(stub.requests[4].head, "Last-Event-ID: 1.running.4\r\n"));
    assert_non_null(strstr(stub.requests[4].head, "X-Tenant-ID: acme\r\n"));
    cli_release(&c);
    receiver_stop(&stub);
}

/* ---- context ---- */

static void context_as_a_table(void **state)
{
    (void)state;
    struct cli c;
    json_t *task = submit(&d, ACME "X-Region: eu-1\r\nX-Key: hush\r\nbaggage: a=1\r\n",
                          "{\"task\":\"say\",\"args\":{\"code\":0},\"context\":{\"shard\":\"7 8\"}}", 202);
    const char *id = text_of(task, "id");
    json_decref(finish(&d, ACME, id));
    cli_run(&c, 0, NULL, ARGS("context", "-t", "acme", id));
    assert_memory_equal(c.out, "VARIABLE ", 9);
    cli_expect(&c, "acme");
    cli_expect(&c, "environment /bin/sh as X_TENANT_ID\n");
    cli_expect(&c, "environment /bin/sh as X_REGION\n");
    cli_expect(&c, "7 8");
    cli_expect(&c, "body");
    cli_expect(&c, "***");
    cli_expect_not(&c, "hush");
    cli_expect_not(&c, "X_KEY");
    cli_release(&c);
    cli_run(&c, 0, NULL, ARGS("context", "--json", "-t", "acme", id));
    json_t *view = json_loads(c.out, 0, NULL);
    expect_text(json_object_get(json_object_get(view, "variables"), "shard"), "value", "7 8");
    json_decref(view);
    cli_release(&c);
    cli_run(&c, 65, NULL, ARGS("context", "-t", "other", id));
    cli_release(&c);
    cli_run(&c, 64, NULL, ARGS("context", "-t", "acme"));
    cli_release(&c);
    json_decref(task);
}

/* ---- retry, delete, attempts ---- */

static void retry_and_delete(void **state)
{
    (void)state;
    struct cli c;
    const char *id = make_finished("{\"task\":\"satchel.fail\",\"args\":{\"message\":\"no luck\",\"times\":1}}");
    cli_run(&c, 0, NULL, ARGS("retry", "-t", "acme", id));
    cli_expect(&c, id);
    cli_release(&c);
    cli_run(&c, 0, NULL, ARGS("wait", "-t", "acme", id));
    cli_expect(&c, "succeeded");
    cli_release(&c);
    cli_run(&c, 0, NULL, ARGS("get", "--attempts", "-t", "acme", id));
    cli_expect(&c, "attempt 1    failed");
    cli_expect(&c, "handler: no luck\n");
    cli_expect(&c, "attempt 2    succeeded");
    cli_release(&c);
    cli_run(&c, 0, NULL, ARGS("get", "--attempts", "--json", "-t", "acme", id));
    cli_expect(&c, "\"attempts\":[{");
    cli_release(&c);
    cli_run(&c, 0, NULL, ARGS("get", "-t", "acme", id));
    cli_expect_not(&c, "handler: no luck");
    cli_release(&c);
    cli_run(&c, 65, NULL, ARGS("retry", "-t", "acme", id)); /* it has succeeded */
    cli_release(&c);
    cli_run(&c, 65, NULL, ARGS("delete", "-t", "other", id));
    cli_release(&c);
    cli_run(&c, 0, NULL, ARGS("delete", "-t", "acme", id));
    cli_expect(&c, "deleted");
    cli_release(&c);
    cli_run(&c, 65, NULL, ARGS("get", "-t", "acme", id));
    cli_release(&c);
    id = make("{\"task\":\"satchel.noop\",\"delay\":\"1h\"}");
    cli_run(&c, 65, NULL, ARGS("delete", "-t", "acme", id)); /* not finished */
    cli_release(&c);
}

static void a_callback_is_told(void **state)
{
    (void)state;
    struct cli c;
    struct receiver hook;
    char url[96];
    receiver_start(&hook);
    (void)snprintf(url, sizeof url, "%s/hook", hook.url);
    cli_run(&c, 0, NULL, ARGS("submit", "-t", "acme", "--callback", url, "satchel.noop"));
    assert_true(receiver_wait(&hook, 1, WAIT_MS));
    assert_memory_equal(hook.requests[0].head, "POST /hook ", 11);
    cli_release(&c);
    cli_run(&c, 65, NULL, ARGS("submit", "--callback", "ftp://x/", "satchel.noop"));
    cli_expect_error(&c, "/callback");
    cli_release(&c);
    receiver_stop(&hook);
}

/* ---- env ---- */

/* Runs the script with `satchel` on its PATH. */
static void shell(struct cli *c, const char *script)
{
    char text[4096];
    (void)snprintf(text, sizeof text, "PATH=%s/client:$PATH\nset -e\n%s", TEST_BUILD_DIR, script);
    cli_start_program(c, "/bin/sh", NULL, ARGS("-c", text));
    cli_wait(c);
    if (c->code != 0)
        fail_msg("the script ended with %d: %s%s", c->code, c->out, c->err);
}

static void a_shell_keeps_the_context(void **state)
{
    (void)state;
    struct cli c;
    shell(&c, "export SATCHEL_TENANT=one SATCHEL_CONTEXT='{\"v\":1,\"vars\":{\"x-satchel-var-a.b\":\"d-o-t\","
              "\"x-satchel-var-quote\":\"it'\\''s $(touch /nope) \\\\ `x` \\\"y\\\"  \xc3\xa4;*\"}}'\n"
              "export BAGGAGE=gone=1 TRACESTATE=gone=2\n"
              "export BAGGAGE= TRACEPARENT=00-" TRACE_ID "-" SPAN_ID "-01 TRACESTATE=kept=1\n"
              "eval \"$(satchel env --shell --tenant two)\"\n"
              "unset SATCHEL_TENANT_NOT_THERE\n"
              "satchel run satchel.context\n");
    json_t *seen = json_loads(c.out, 0, NULL);
    assert_non_null(seen);
    expect_text(seen, "tenant", "two"); /* SATCHEL_TENANT says it too now */
    expect_text(seen, "a.b", "d-o-t");
    expect_text(seen, "quote", "it's $(touch /nope) \\ `x` \"y\"  \xc3\xa4;*");
    expect_text(seen, "tracestate", "kept=1");
    assert_null(json_object_get(seen, "baggage"));
    assert_null(json_object_get(seen, "a_b"));
    json_decref(seen);
    cli_release(&c);
}

static void a_shell_forgets_what_is_not_in_it(void **state)
{
    (void)state;
    struct cli c;
    shell(&c, "export TRACESTATE=orphan=1 B3=1 X_SATCHEL_VAR_OLD=1 X_SCOPE_ORGID=other\n"
              "eval \"$(satchel env --shell)\"\n"
              "env | grep -E '^(TRACESTATE|X_SCOPE_ORGID)=' || true\n"
              "echo tenant $X_TENANT_ID\n");
    cli_expect(&c, "tenant other\n");
    cli_expect_not(&c, "TRACESTATE"); /* without a traceparent it means nothing */
    cli_expect_not(&c, "X_SCOPE_ORGID");
    cli_release(&c);
    cli_run(&c, 64, NULL, ARGS("env", "--shell", "-H", "X-A: b"));
    cli_release(&c);
    cli_run(&c, 64, NULL, ARGS("env", "--json", "-H", "X-A: b"));
    cli_release(&c);
    cli_run(&c, 0, NULL, ARGS("env", "--headers", "-t", "acme", "-H", "X-A: b"));
    cli_expect(&c, "X-Tenant-ID: acme\n");
    cli_expect(&c, "X-A: b\n");
    cli_release(&c);
    cli_run(&c, 0, NULL, ARGS("env", "--json", "-t", "acme"));
    cli_expect(&c, "\"x-tenant-id\":\"acme\"");
    cli_release(&c);
}

static void every_verb_has_help(void **state)
{
    (void)state;
    static const char *const verbs[] = {"logs", "watch", "context", "retry", "delete", "get", "env"};
    struct cli c;
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        cli_run(&c, 0, NULL, ARGS(verbs[i], "--help"));
        cli_expect(&c, verbs[i]);
        cli_expect(&c, "--tenant");
        cli_release(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logs_as_they_are),    cmocka_unit_test(logs_while_they_are_written),
        cmocka_unit_test(watch_to_the_end),    cmocka_unit_test(watch_has_its_limits),
        cmocka_unit_test(watch_over_a_crash),  cmocka_unit_test(watch_goes_on_where_it_ended),
        cmocka_unit_test(context_as_a_table),  cmocka_unit_test(retry_and_delete),
        cmocka_unit_test(a_callback_is_told),  cmocka_unit_test(a_shell_keeps_the_context),
        cmocka_unit_test(every_verb_has_help), cmocka_unit_test(a_shell_forgets_what_is_not_in_it),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
