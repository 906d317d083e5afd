/* Who is next: tenants by weight, tasks of a tenant by priority; all that is asserted is an order. */
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

#define LINES_TYPE "Content-Type: application/x-ndjson\r\n"
#define RELOADED "the configuration was reloaded"
#define BASE "workers = 1\ndrain = \"100ms\"\n"
#define SLEEP "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.004}}\n"

enum { EACH = 70, MOST = 200 };

static struct satcheld d;

static int start(void **state)
{
    (void)state;
    satcheld_init(&d, BASE "tenant \"two\" { weight = 2 }\ntenant \"four\" { weight = 4 }\n");
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

static void order(const char *what)
{
    struct answer answer = {0};
    char target[64];
    (void)snprintf(target, sizeof target, "/v1/admin:%s", what);
    ask(&d, &answer, "POST", target, NULL, NULL);
    assert_int_equal(answer.status, 200);
    answer_release(&answer);
}

static void submit_many(const char *tenant, int n)
{
    struct answer answer = {0};
    char headers[128], *body = calloc((size_t)n + 1, sizeof SLEEP);
    assert_non_null(body);
    for (int i = 0; i < n; i++)
        memcpy(body + (size_t)i * (sizeof SLEEP - 1), SLEEP, sizeof SLEEP);
    (void)snprintf(headers, sizeof headers, "X-Tenant-ID: %s\r\nPrefer: return=minimal\r\n" LINES_TYPE, tenant);
    ask(&d, &answer, "POST", "/v1/tasks:batch", headers, body);
    assert_int_equal(answer.status, 200);
    assert_null(strstr(answer.body, "urn:satchel:problem"));
    answer_release(&answer);
    free(body);
}

struct expected {
    const char *tenant;
    size_t n;
    json_t *list; /* out */
};

static bool have_succeeded(void *arg)
{
    struct expected *expected = arg;
    char headers[64];
    (void)snprintf(headers, sizeof headers, "X-Tenant-ID: %s\r\n", expected->tenant);
    json_decref(expected->list);
    expected->list = get_json(&d, "/v1/tasks?limit=1000&state=succeeded", headers, 200);
    return json_array_size(json_object_get(expected->list, "tasks")) == expected->n;
}

/* When the tenant's tasks began, each in microseconds; all n have succeeded. */
static void starts_of(const char *tenant, size_t n, long long *ret)
{
    struct expected expected = {tenant, n, NULL};
    assert_true(until(have_succeeded, &expected, WAIT_MS));
    for (size_t i = 0; i < n; i++)
        ret[i] = time_of(json_array_get(json_object_get(expected.list, "tasks"), i), "started_at");
    json_decref(expected.list);
}

static void forget(const char *tenant)
{
    struct answer answer = {0};
    char headers[64];
    (void)snprintf(headers, sizeof headers, "X-Tenant-ID: %s\r\n", tenant);
    ask(&d, &answer, "POST", "/v1/tasks:delete?state=succeeded", headers, NULL);
    assert_int_equal(answer.status, 200);
    answer_release(&answer);
}

static int earlier(const long long *times, int n, long long than)
{
    int count = 0;
    for (int i = 0; i < n; i++)
        count += times[i] < than;
    return count;
}

static int by_time(const void *a, const void *b)
{
    long long x = *(const long long *)a, y = *(const long long *)b;
    return (x > y) - (x < y);
}

/* One that has queued many does not hold up another that comes later. */
static void a_backlog_is_its_own_tenants(void **state)
{
    (void)state;
    static long long noisy[MOST], quiet[MOST];
    order("pause");
    submit_many("noisy", 200);
    submit_many("quiet", 5);
    order("resume");
    starts_of("quiet", 5, quiet);
    starts_of("noisy", 200, noisy);
    qsort(quiet, 5, sizeof *quiet, by_time);
    assert_in_range(earlier(noisy, 200, quiet[0]), 0, 4);
    assert_in_range(earlier(noisy, 200, quiet[4]), 1, 20);
    forget("noisy");
    forget("quiet");
}

/* How many of each were among the first 70 that began. */
static void shares(const char *const *tenants, int *ret)
{
    static long long each[3][MOST], all[3 * EACH];
    int n = 0;
    order("pause");
    for (int i = 0; i < 3; i++)
        submit_many(tenants[i], EACH);
    order("resume");
    for (int i = 0; i < 3; i++) {
        starts_of(tenants[i], EACH, each[i]); /* and none is lost */
        memcpy(all + n, each[i], EACH * sizeof *all);
        n += EACH;
    }
    qsort(all, (size_t)n, sizeof *all, by_time);
    for (int i = 0; i < 3; i++) {
        ret[i] = earlier(each[i], EACH, all[EACH]);
        forget(tenants[i]);
    }
}

static void expect_about(int n, int expected)
{
    if (n < expected * 2 / 3 || n > expected * 3 / 2)
        fail_msg("%d of the first %d, not about %d", n, EACH, expected);
}

static void weights_decide(void **state)
{
    (void)state;
    static const char *const tenants[] = {"one", "two", "four"};
    int n[3];
    shares(tenants, n);
    expect_about(n[0], 10);
    expect_about(n[1], 20);
    expect_about(n[2], 40);
}

static bool is_reloaded(void *arg)
{
    (void)arg;
    return satcheld_log_has(&d, RELOADED);
}

/* What waits already runs at the new weights. */
static void a_reload_changes_weights(void **state)
{
    (void)state;
    static const char *const tenants[] = {"one", "two", "four"};
    int n[3];
    satcheld_configure(&d, BASE "tenant \"one\" { weight = 4 }\ntenant \"two\" { weight = 2 }\n");
    satcheld_signal(&d, SIGHUP);
    assert_true(until(is_reloaded, NULL, WAIT_MS));
    shares(tenants, n);
    expect_about(n[0], 40);
    expect_about(n[1], 20);
    expect_about(n[2], 10);
}

static void priority_decides_inside_a_tenant(void **state)
{
    (void)state;
    char *ids[10];
    long long before = 0;
    order("pause");
    for (int i = 0; i < 10; i++) {
        char body[80];
        (void)snprintf(body, sizeof body, "{\"task\":\"satchel.noop\",\"priority\":%d}", i);
        json_t *task = submit(&d, "X-Tenant-ID: ranks\r\n", body, 202);
        ids[i] = strdup(text_of(task, "id"));
        json_decref(task);
    }
    order("resume");
    for (int i = 9; i >= 0; i--) {
        json_t *task = finish(&d, "X-Tenant-ID: ranks\r\n", ids[i]);
        long long began = time_of(task, "started_at");
        if (began < before)
            fail_msg("priority %d began before %d", i, i + 1);
        before = began;
        json_decref(task);
        free(ids[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_backlog_is_its_own_tenants),
        cmocka_unit_test(weights_decide),
        cmocka_unit_test(a_reload_changes_weights),
        cmocka_unit_test(priority_decides_inside_a_tenant),
    };
    return cmocka_run_group_tests_name("fair shares", tests, start, stop);
}
