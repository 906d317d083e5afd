/* The canary task types: there where the daemon is this machine's alone or where the configuration says so, and
 * carrying the whole context to a child process and a local server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/ask.h"
#include "tests/support/receiver.h"

#define CONTEXT                                                                                                        \
    "X-Tenant-ID: acme\r\nbaggage: a=1\r\ntracestate: v=1\r\nX-Request-ID: r-1\r\ntraceparent: " TRACEPARENT "\r\n"    \
    "X-Satchel-Deadline: 2099-01-01T00:00:00.000000Z\r\n"
#define ACME "X-Tenant-ID: acme\r\n"

static struct satcheld d;
static struct receiver stub;

static void begin(const char *config)
{
    receiver_start(&stub);
    satcheld_init(&d, config);
    satcheld_start(&d);
}

static void end(void)
{
    satcheld_stop(&d);
    satcheld_release(&d);
    receiver_stop(&stub);
}

static void expect_line(const char *text, const char *line)
{
    size_t len = strlen(line);
    for (const char *at = text; (at = strstr(at, line)) != NULL; at += len)
        if ((at == text || at[-1] == '\n') && (at[len] == '\n' || at[len] == '\r' || at[len] == '\0'))
            return;
    fail_msg("the line %s is not in:\n%s", line, text);
}

static void a_child_gets_the_whole_context(void **state)
{
    (void)state;
    begin(NULL);
    json_t *task = run(&d, CONTEXT, "{\"task\":\"satchel.canary.command\",\"context\":{\"k\":\"v w\"}}");
    expect_state(task, "succeeded");
    const char *env = text_of(task, "result");
    expect_line(env, "X_TENANT_ID=acme");
    expect_line(env, "TRACESTATE=v=1");
    expect_line(env, "BAGGAGE=a=1");
    expect_line(env, "X_REQUEST_ID=r-1");
    expect_line(env, "SATCHEL_VAR_K=v w");
    expect_line(env, "SATCHEL_DEADLINE=2099-01-01T00:00:00.000000Z");
    assert_non_null(strstr(env, "TRACEPARENT=00-" TRACE_ID "-"));
    json_decref(task);
    end();
}

static void a_local_server_gets_the_whole_context(void **state)
{
    (void)state;
    char body[256];
    begin(NULL);
    receiver_answer(&stub, "HTTP/1.1 200 OK\r\n", "\"seen\"");
    (void)snprintf(body, sizeof body,
                   "{\"task\":\"satchel.canary.http\",\"args\":{\"url\":\"%s/c\"},\"context\":{\"k\":\"v w\"}}",
                   stub.url);
    json_t *task = run(&d, CONTEXT, body);
    expect_state(task, "succeeded");
    expect_text(task, "result", "seen");
    const char *head = stub.requests[0].head;
    expect_line(head, "X-Tenant-ID: acme");
    expect_line(head, "tracestate: v=1");
    expect_line(head, "baggage: a=1");
    expect_line(head, "X-Request-ID: r-1");
    expect_line(head, "X-Satchel-Var-k: v w");
    expect_line(head, "X-Satchel-Deadline: 2099-01-01T00:00:00.000000Z");
    assert_non_null(strstr(head, "traceparent: 00-" TRACE_ID "-"));
    json_decref(task);
    end();
}

static void nothing_but_loopback_is_called(void **state)
{
    (void)state;
    begin(NULL);
    static const char *const urls[] = {"http://169.254.169.254/", "http://10.0.0.1/", "http://[fe80::1]/",
                                       "http://192.0.2.1/"};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        char body[160];
        (void)snprintf(body, sizeof body, "{\"task\":\"satchel.canary.http\",\"args\":{\"url\":\"%s\"}}", urls[i]);
        json_t *task = run(&d, ACME, body);
        expect_state(task, "failed");
        expect_text(json_object_get(task, "error"), "type", "http");
        json_decref(task);
    }
    end();
}

static void expect_unknown(const char *task)
{
    char body[96];
    (void)snprintf(body, sizeof body, "{\"task\":\"%s\"}", task);
    json_t *problem = submit(&d, ACME, body, 422);
    expect_text(problem, "type", "urn:satchel:problem:unknown-task");
    json_decref(problem);
}

static void they_can_be_switched_off(void **state)
{
    (void)state;
    begin("canaries = \"off\"\n");
    expect_unknown("satchel.canary.command");
    expect_unknown("satchel.canary.http");
    json_t *task = run(&d, ACME, "{\"task\":\"satchel.context\"}");
    expect_state(task, "succeeded"); /* what a handler sees is always to be seen */
    json_decref(task);
    end();
}

static void other_words_are_refused(void **state)
{
    (void)state;
    satcheld_init(&d, "canaries = \"maybe\"\n");
    char *path = satcheld_path(&d, "satcheld.conf"), *out, *err;
    const char *args[] = {"--check", "--config", path, NULL};
    assert_int_equal(satcheld_run(args, &out, &err), 78);
    assert_true(strstr(out, "canaries") || strstr(err, "canaries"));
    free(out);
    free(err);
    free(path);
    satcheld_release(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_gets_the_whole_context), cmocka_unit_test(a_local_server_gets_the_whole_context),
        cmocka_unit_test(nothing_but_loopback_is_called), cmocka_unit_test(they_can_be_switched_off),
        cmocka_unit_test(other_words_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
