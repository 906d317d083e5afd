/* Pause, drain and resume, of the daemon, a tenant or a task type; and how the tenants stand. */
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

#define ACME "X-Tenant-ID: acme\r\n"
#define OTHER "X-Tenant-ID: other\r\n"
#define NOOP "{\"task\":\"satchel.noop\"}"
#define ECHO "{\"task\":\"satchel.echo\"}"

static struct satcheld d;

static int start(void **state)
{
    (void)state;
    satcheld_init(&d, "workers = 2\ndrain = \"100ms\"\ntenant \"configured\" { weight = 3 max_running = 7 }\n");
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

static json_t *post(const char *target, int status)
{
    struct answer a = {0};
    ask(&d, &a, "POST", target, NULL, NULL);
    if (a.status != status)
        fail_msg("%s: %d, not %d: %s", target, a.status, status, a.body);
    json_t *json = answer_json(&a);
    answer_release(&a);
    return json;
}

static void order(const char *target)
{
    json_decref(post(target, 200));
}

static char *waiting(const char *tenant, const char *body)
{
    json_t *task = submit(&d, tenant, body, 202);
    char *id = strdup(text_of(task, "id"));
    json_decref(task);
    return id;
}

/* Whatever could start has: a task of somebody else, submitted later, is finished. */
static void others_run(const char *tenant, const char *body)
{
    json_t *task = run(&d, tenant, body);
    expect_state(task, "succeeded");
    json_decref(task);
}

static void expect_waits(const char *tenant, const char *id)
{
    json_t *task = get_task(&d, tenant, id, 200);
    expect_state(task, "queued");
    json_decref(task);
}

static void expect_runs(const char *tenant, char *id)
{
    json_t *task = finish(&d, tenant, id);
    expect_state(task, "succeeded");
    json_decref(task);
    free(id);
}

static void a_paused_tenant_waits_and_others_run(void **state)
{
    (void)state;
    order("/v1/admin:pause?tenant=acme");
    char *id = waiting(ACME, NOOP);
    others_run(OTHER, NOOP);
    expect_waits(ACME, id);
    json_t *tenant = get_json(&d, "/v1/tenants/acme", NULL, 200);
    assert_true(json_is_true(json_object_get(tenant, "paused")));
    expect_number(tenant, "queued", 1);
    json_decref(tenant);
    order("/v1/admin:resume?tenant=acme");
    expect_runs(ACME, id);
}

static void a_paused_type_waits_and_others_run(void **state)
{
    (void)state;
    order("/v1/admin:pause?task=satchel.echo");
    char *id = waiting(ACME, ECHO);
    others_run(ACME, NOOP);
    expect_waits(ACME, id);
    order("/v1/admin:resume?task=satchel.echo");
    expect_runs(ACME, id);
}

static void nothing_starts_while_all_is_paused(void **state)
{
    (void)state;
    char *running = waiting(ACME, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.3}}");
    json_decref(await_state(&d, ACME, running, "running"));
    order("/v1/admin:pause");
    char *id = waiting(OTHER, NOOP);
    expect_runs(ACME, running); /* goes on to its end */
    expect_waits(OTHER, id);
    json_decref(get_json(&d, "/readyz", NULL, 200)); /* it takes tasks */
    order("/v1/admin:resume");
    expect_runs(OTHER, id);
}

static void expect_refused(const char *tenant, const char *body)
{
    struct answer a = {0};
    char headers[256];
    (void)snprintf(headers, sizeof headers, "%s" JSON_TYPE, tenant);
    ask(&d, &a, "POST", "/v1/tasks", headers, body);
    expect_problem(&a, 503, "draining");
    char *wait = answer_header(&a, "Retry-After");
    assert_non_null(wait);
    free(wait);
    answer_release(&a);
}

static void a_draining_tenant_runs_dry(void **state)
{
    (void)state;
    order("/v1/admin:pause?tenant=acme");
    char *id = waiting(ACME, "{\"task\":\"satchel.spawn\",\"args\":{\"task\":\"satchel.noop\",\"count\":2}}");
    json_t *failed = run(&d, OTHER, "{\"task\":\"satchel.fail\"}");
    order("/v1/admin:drain?tenant=acme");
    order("/v1/admin:drain?tenant=other");
    expect_refused(ACME, NOOP);
    json_decref(act(&d, OTHER, text_of(failed, "id"), "retry", 503));
    json_decref(failed);
    others_run("X-Tenant-ID: third\r\n", NOOP);
    expect_waits(ACME, id); /* still paused */
    order("/v1/admin:resume?tenant=acme");
    order("/v1/admin:drain?tenant=acme");
    expect_runs(ACME, id); /* with the sub-tasks that it makes */
    order("/v1/admin:resume?tenant=acme");
    order("/v1/admin:resume?tenant=other");
    others_run(ACME, NOOP);
}

static void all_or_a_type_may_drain(void **state)
{
    (void)state;
    struct answer a = {0};
    order("/v1/admin:drain?task=satchel.echo");
    expect_refused(ACME, ECHO);
    others_run(ACME, NOOP);
    order("/v1/admin:resume?task=satchel.echo");
    order("/v1/admin:drain");
    expect_refused(OTHER, NOOP);
    ask(&d, &a, "GET", "/readyz", NULL, NULL);
    expect_problem(&a, 503, "draining");
    answer_release(&a);
    order("/v1/admin:resume");
    others_run(OTHER, NOOP);
}

static void what_is_held_survives(void **state)
{
    (void)state;
    order("/v1/admin:pause?tenant=acme");
    order("/v1/admin:drain?task=satchel.echo");
    char *id = waiting(ACME, NOOP);
    satcheld_kill(&d);
    satcheld_start(&d);
    others_run(OTHER, NOOP);
    expect_waits(ACME, id);
    expect_refused(OTHER, ECHO);
    json_t *status = get_json(&d, "/v1/admin", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(status, "holds")), 2);
    json_decref(status);
    satcheld_signal(&d, SIGHUP);
    satcheld_log_wait(&d, "reload");
    others_run(OTHER, NOOP);
    expect_waits(ACME, id);
    order("/v1/admin:resume?task=satchel.echo");
    order("/v1/admin:resume?tenant=acme");
    expect_runs(ACME, id);
    status = get_json(&d, "/v1/admin", NULL, 200);
    assert_int_equal(json_array_size(json_object_get(status, "holds")), 0);
    json_decref(status);
}

static void tenants_are_listed_by_name(void **state)
{
    (void)state;
    const char *expected[] = {"acme", "other", "third"};
    char target[128] = "/v1/tenants?limit=1";
    for (size_t i = 0; i < 3; i++) {
        json_t *page = get_json(&d, target, NULL, 200), *one = json_array_get(json_object_get(page, "tenants"), 0);
        expect_text(one, "tenant", expected[i]);
        assert_true(number_of(json_object_get(one, "usage"), "submitted") >= 0);
        const char *next = json_string_value(json_object_get(page, "next_cursor"));
        assert_int_equal(next != NULL, i < 2);
        if (next)
            (void)snprintf(target, sizeof target, "/v1/tenants?limit=1&cursor=%s", next);
        json_decref(page);
    }
    json_t *one = get_json(&d, "/v1/tenants/configured", NULL, 200);
    expect_number(json_object_get(one, "limits"), "weight", 3);
    expect_number(json_object_get(one, "limits"), "max_running", 7);
    json_decref(one);
    json_decref(run(&d, "X-Tenant-ID: counted\r\n", NOOP));
    json_decref(run(&d, "X-Tenant-ID: counted\r\n", "{\"task\":\"satchel.fail\"}"));
    one = get_json(&d, "/v1/tenants/counted", NULL, 200);
    const json_t *usage = json_object_get(one, "usage");
    expect_number(usage, "submitted", 2);
    expect_number(usage, "attempts", 2);
    expect_number(usage, "succeeded", 1);
    expect_number(usage, "failed", 1);
    json_decref(one);
}

static void what_is_not_right_is_told(void **state)
{
    (void)state;
    json_decref(post("/v1/admin:pause?tenant=acme&task=satchel.echo", 400));
    json_decref(post("/v1/admin:pause?task=nothing", 400));
    json_decref(post("/v1/admin:pause?tenant=", 400));
    json_decref(post("/v1/admin:pause?tenant=a%20b", 400));
    json_decref(post("/v1/admin:pause?all=true", 400));
    json_decref(get_json(&d, "/v1/tenants/nobody", NULL, 404));
    json_decref(get_json(&d, "/v1/tenants/%2e%2e", NULL, 404));
    json_decref(get_json(&d, "/v1/tenants?limit=0", NULL, 400));
    json_decref(get_json(&d, "/v1/tenants?limit=1001", NULL, 400));
    json_decref(get_json(&d, "/v1/tenants?cursor=%00", NULL, 400));
    json_decref(get_json(&d, "/v1/admin:pause", NULL, 405));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_paused_tenant_waits_and_others_run),
        cmocka_unit_test(a_paused_type_waits_and_others_run),
        cmocka_unit_test(nothing_starts_while_all_is_paused),
        cmocka_unit_test(a_draining_tenant_runs_dry),
        cmocka_unit_test(all_or_a_type_may_drain),
        cmocka_unit_test(what_is_held_survives),
        cmocka_unit_test(tenants_are_listed_by_name),
        cmocka_unit_test(what_is_not_right_is_told),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
