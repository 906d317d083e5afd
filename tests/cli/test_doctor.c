/* satchel doctor: right where all is right; what it says where it cannot look; and whether it finds what is lost,
 * changed or given to another tenant on the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/cli/cli.h"
#include "tests/cli/lossy.h"
#include "tests/support/ask.h"
#include "tests/support/receiver.h"

static struct satcheld d;

static void begin(const char *config)
{
    satcheld_init(&d, config);
    satcheld_start(&d);
    cli_environment(&d);
}

static void end(void)
{
    satcheld_stop(&d);
    satcheld_release(&d);
}

/* Of --json: the entry of one executor. */
static json_t *executor_of(const json_t *report, const char *name)
{
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(report, "executors"), i, one)
    {
        if (strcmp(text_of(one, "name"), name) == 0)
            return one;
    }
    fail_msg("there is no executor %s", name);
    return NULL;
}

static json_t *report_of(const struct cli *c)
{
    json_t *report = json_loads(c->out, 0, NULL);
    if (!report)
        fail_msg("this is no report: %s", c->out);
    return report;
}

static const char *const executors[] = {"handler", "retry by hand", "sub-task", "command",
                                        "http",    "http, retried", "callback"};
#define N_EXECUTORS (sizeof executors / sizeof executors[0])

static void all_is_right(void **state)
{
    (void)state;
    struct cli c;
    begin(NULL);
    cli_run(&c, 0, NULL, ARGS("doctor"));
    for (size_t i = 0; i < N_EXECUTORS; i++) {
        char line[96];
        (void)snprintf(line, sizeof line, "%-14s  20 canaries, 20 right, 0 wrong\n", executors[i]);
        cli_expect(&c, line);
    }
    assert_string_equal(c.err, ""); /* everything could be deleted, too */
    cli_release(&c);
    cli_run(&c, 0, NULL, ARGS("doctor", "--json", "--tenants", "3"));
    json_t *report = report_of(&c);
    expect_number(report, "tenants", 3);
    assert_true(json_is_true(json_object_get(report, "right")));
    for (size_t i = 0; i < N_EXECUTORS; i++)
        expect_number(executor_of(report, executors[i]), "right", 3);
    assert_int_equal(json_array_size(json_object_get(report, "mismatches")), 0);
    json_decref(report);
    cli_release(&c);
    end();
}

static void without_canaries(void **state)
{
    (void)state;
    struct cli c;
    begin("canaries = \"off\"\ncallback_allow = {\"10.0.0.0/8\"}\n");
    cli_run(&c, 0, NULL, ARGS("doctor", "--tenants", "2"));
    cli_expect(&c, "handler         2 canaries, 2 right, 0 wrong\n");
    cli_expect(&c, "command         not checked: the daemon has no canaries; set canaries = \"on\" in satcheld.conf");
    cli_expect(&c, "http            not checked: ");
    cli_expect(&c, "http, retried   not checked: ");
    cli_expect(&c, "callback        not checked: the daemon's callbacks may not go to this machine");
    cli_expect_not(&c, "command         0");
    cli_release(&c);
    cli_run(&c, 0, NULL, ARGS("doctor", "--tenants", "2", "--json"));
    json_t *report = report_of(&c);
    assert_non_null(strstr(text_of(executor_of(report, "http"), "not_checked"), "canaries"));
    assert_null(json_object_get(executor_of(report, "sub-task"), "not_checked"));
    json_decref(report);
    cli_release(&c);
    end();
}

/* Through a proxy that does something to `field` of the requests that have `only` in them. */
static json_t *through(const char *field, const char *only, const char *replacement)
{
    struct lossy lossy = {.daemon = &d, .field = field, .only = only, .replacement = replacement};
    struct cli c;
    lossy_start(&lossy);
    cli_run(&c, 1, NULL, ARGS("doctor", "--tenants", "4", "--json", "--url", lossy.url));
    json_t *report = report_of(&c);
    assert_true(json_is_false(json_object_get(report, "right")));
    cli_release(&c);
    lossy_stop(&lossy);
    return report;
}

/* One mismatch for each executor, all of that variable. */
static void expect_lost(const json_t *report, const char *variable, const char *seen)
{
    size_t i;
    json_t *one;
    for (i = 0; i < N_EXECUTORS; i++) {
        expect_number(executor_of(report, executors[i]), "right", 3);
        expect_number(executor_of(report, executors[i]), "wrong", 1);
    }
    assert_int_equal(json_array_size(json_object_get(report, "mismatches")), N_EXECUTORS);
    json_array_foreach(json_object_get(report, "mismatches"), i, one)
    {
        expect_text(one, "variable", variable);
        assert_true(*text_of(one, "sent") && *text_of(one, "task_id"));
        if (seen)
            expect_text(one, "seen", seen);
        else
            assert_true(json_is_null(json_object_get(one, "seen")));
    }
}

static void what_is_lost_is_found(void **state)
{
    (void)state;
    begin(NULL);
    json_t *report = through("baggage", "-2,note=", NULL);
    expect_lost(report, "baggage", NULL);
    json_decref(report);
    report = through("tracestate", "-1,other@vendor=", "tracestate: somebody=else");
    expect_lost(report, "tracestate", "somebody=else");
    json_decref(report);
    report = through("X-Request-ID", "other@vendor=t3", "X-Request-ID: another");
    expect_lost(report, "request_id", "another");
    json_decref(report);
    end();
}

/* All tasks in one tenant's list, so that they can be counted. */
static void nothing_is_left_behind(void **state)
{
    (void)state;
    begin(NULL);
    json_t *report = through("X-Tenant-ID", "", "X-Tenant-ID: same");
    for (size_t i = 0; i < N_EXECUTORS; i++)
        expect_number(executor_of(report, executors[i]), "wrong", 4);
    json_decref(report);
    json_t *other = run(&d, "X-Tenant-ID: same\r\n", "{\"task\":\"satchel.noop\"}");
    json_t *list = get_json(&d, "/v1/tasks", "X-Tenant-ID: same\r\n", 200);
    assert_int_equal(json_array_size(json_object_get(list, "tasks")), 1); /* the one that is not the doctor's */
    json_decref(list);
    json_decref(other);
    end();
}

static void it_says_what_exactly(void **state)
{
    (void)state;
    struct lossy lossy = {.daemon = &d, .field = "X-Satchel-Deadline", .only = "other@vendor=t0\r\n"};
    struct cli c;
    begin(NULL);
    lossy_start(&lossy);
    cli_run(&c, 1, NULL, ARGS("doctor", "--tenants", "2", "--url", lossy.url));
    cli_expect(&c, "handler         2 canaries, 1 right, 1 wrong\n");
    cli_expect(&c, "\nhandler, tenant doctor-");
    cli_expect(&c, "-0, task ");
    cli_expect(&c, ": deadline: sent \"");
    cli_expect(&c, "\", seen nothing\n");
    cli_release(&c);
    lossy_stop(&lossy);
    end();
}

/* A daemon that takes the tenant from another header than the client writes it to: everybody is somebody else. */
static void another_tenant_header(void **state)
{
    (void)state;
    struct cli c;
    begin("tenant_header = \"X-Org\"\n");
    cli_run(&c, 1, NULL, ARGS("doctor", "--tenants", "1"));
    cli_expect(&c, ": tenant: sent \"doctor-");
    cli_expect(&c, "\", seen \"default\"\n");
    cli_release(&c);
    assert_int_equal(setenv("SATCHEL_TENANT_HEADER", "X-Org", 1), 0);
    cli_run(&c, 0, NULL, ARGS("doctor", "--tenants", "1"));
    cli_release(&c);
    assert_int_equal(unsetenv("SATCHEL_TENANT_HEADER"), 0);
    end();
}

static void bad_command_lines(void **state)
{
    (void)state;
    static const char *const bad[][4] = {{"doctor", "--tenants", "0"},
                                         {"doctor", "--tenants", "1001"},
                                         {"doctor", "--tenants", "two"},
                                         {"doctor", "--tenants", "-1"},
                                         {"doctor", "--timeout", "1ms"},
                                         {"doctor", "--timeout", "never"},
                                         {"doctor", "-t", "acme"},
                                         {"doctor", "-H", "baggage: a=b"},
                                         {"doctor", "-H", "X-Scope-OrgID: b"},
                                         {"doctor", "more"}};
    struct cli c;
    begin(NULL);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cli_run(&c, 64, NULL, bad[i]);
        cli_release(&c);
    }
    cli_run(&c, 69, NULL, ARGS("doctor", "--url", "http://127.0.0.1:1"));
    cli_release(&c);
    end();
}

static void refusals_are_not_mismatches(void **state)
{
    (void)state;
    static const struct {
        const char *head;
        int code;
    } answers[] = {{"HTTP/1.1 503 Busy\r\nContent-Type: application/problem+json\r\nRetry-After: 1\r\n", 75},
                   {"HTTP/1.1 429 Much\r\nContent-Type: application/problem+json\r\n", 75},
                   {"HTTP/1.1 403 No\r\nContent-Type: application/problem+json\r\n", 77}};
    struct cli c;
    cli_environment(NULL);
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        struct receiver stub;
        receiver_start(&stub);
        for (int n = 0; n < 4; n++)
            receiver_answer(&stub, answers[i].head, "{\"title\":\"no\"}");
        cli_run(&c, answers[i].code, NULL, ARGS("doctor", "--tenants", "1", "--url", stub.url));
        cli_expect_error(&c, "no");
        cli_release(&c);
        receiver_stop(&stub);
    }
}

/* A daemon that never gets to it. */
static void the_time_is_bounded(void **state)
{
    (void)state;
    struct cli c;
    begin("workers = 1\n");
    json_t *blocker = submit(&d, NULL, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":120}}", 202);
    json_decref(await_state(&d, NULL, text_of(blocker, "id"), "running"));
    long long start = mono_ms();
    cli_run(&c, 1, NULL, ARGS("doctor", "--tenants", "1", "--timeout", "1s"));
    assert_true(mono_ms() - start < WAIT_MS);
    cli_expect(&c, "handler         1 canaries, 0 right, 1 wrong\n");
    cli_release(&c);
    json_decref(act(&d, NULL, text_of(blocker, "id"), "cancel", 200));
    json_decref(blocker);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_right),         cmocka_unit_test(nothing_is_left_behind),
        cmocka_unit_test(without_canaries),     cmocka_unit_test(what_is_lost_is_found),
        cmocka_unit_test(it_says_what_exactly), cmocka_unit_test(another_tenant_header),
        cmocka_unit_test(bad_command_lines),    cmocka_unit_test(refusals_are_not_mismatches),
        cmocka_unit_test(the_time_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
