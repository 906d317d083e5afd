/* What a tenant may have, held to the exact number while 64 connections ask for more at once; and what its submissions
 * start with. */
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
#define LATER "{\"task\":\"satchel.noop\",\"delay\":\"1h\"}"
#define BASE                                                                                                           \
    "workers = 8\nheader \"X-Region\" { var = region }\n"                                                              \
    "task \"sleep\" { command = {\"/bin/sleep\", \"0.03\"} tenant_concurrency = 2 }\n"                                 \
    "tenant \"rate\" { rate = 0.01 burst = 500 }\ntenant \"lines\" { rate = 0.01 burst = 10 }\n"                       \
    "tenant \"again\" { rate = 20 burst = 1 }\n"                                                                       \
    "tenant \"bytes\" { max_queued_bytes = 256KiB }\ntenant \"waits\" { max_waiters = 5 }\n"                           \
    "tenant \"runs\" { max_running = 3 }\ntenant \"conns\" { max_connections = 3 }\n"                                  \
    "tenant \"eu\" { context = {\"region=eu\", \"team=a b\"} baggage = {\"plan=gold\", \"zone=7\"}\n"                  \
    " require_headers = {\"X-Project\"} }\n"
#define EU "X-Tenant-ID: eu\r\nX-Project: p\r\n"

enum { CONNECTIONS = 64 };

static struct satcheld d;

static int start(void **state)
{
    (void)state;
    satcheld_init(&d, BASE "tenant \"queue\" { max_queued = 100 }\n");
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

/* ---- many at once ---- */

struct counts {
    int taken, refused;
    char *first_refusal; /* its head and body */
};

static void count(const struct answer *answer, struct counts *ret)
{
    if (answer->status == 202) {
        ret->taken++;
        return;
    }
    expect_problem(answer, 429, "quota-exceeded");
    char *wait = answer_header(answer, "Retry-After");
    assert_non_null(wait);
    assert_true(atoi(wait) >= 1);
    free(wait);
    if (!ret->refused++)
        assert_true(asprintf(&ret->first_refusal, "%s%s", answer->head, answer->body) > 0);
}

/* `each` submissions on each of 64 connections, all sent before the first answer is read. */
static struct counts submit_at_once(const char *headers, const char *body, int each)
{
    static struct client clients[CONNECTIONS];
    struct counts counts = {0};
    struct answer answer = {0};
    char *text = request_text("POST", "/v1/tasks", headers, body, strlen(body));
    for (int i = 0; i < CONNECTIONS; i++)
        client_open(&clients[i], &d);
    for (int k = 0; k < each; k++)
        for (int i = 0; i < CONNECTIONS; i++)
            client_send_text(&clients[i], text);
    for (int i = 0; i < CONNECTIONS; i++) {
        for (int k = 0; k < each; k++) {
            assert_true(client_read(&clients[i], &answer));
            count(&answer, &counts);
        }
        client_close(&clients[i]);
    }
    answer_release(&answer);
    free(text);
    return counts;
}

static void expect_refusal(struct counts *counts, const char *text)
{
    if (!counts->first_refusal || !strstr(counts->first_refusal, text))
        fail_msg("\"%s\" is not in: %s", text, counts->first_refusal ? counts->first_refusal : "nothing was refused");
}

static json_t *tenant(const char *name)
{
    char target[64];
    (void)snprintf(target, sizeof target, "/v1/tenants/%s", name);
    return get_json(&d, target, NULL, 200);
}

static long long tenant_number(const char *name, const char *member)
{
    json_t *shown = tenant(name);
    long long number = number_of(shown, member);
    json_decref(shown);
    return number;
}

/* ---- submissions a second ---- */

static void a_rate_is_exact(void **state)
{
    (void)state;
    struct counts counts = submit_at_once("X-Tenant-ID: rate\r\n" JSON_TYPE, "{\"task\":\"satchel.noop\"}", 10);
    assert_int_equal(counts.taken, 500);
    assert_int_equal(counts.refused, CONNECTIONS * 10 - 500);
    expect_refusal(&counts, "RateLimit-Policy: \"submissions\";q=500;w=50000\r\n");
    expect_refusal(&counts, "RateLimit: \"submissions\";r=0;t=50000\r\n");
    expect_refusal(&counts, "submits faster than it may: 500 in 50000 s");
    free(counts.first_refusal);
    json_t *shown = tenant("rate");
    expect_json(json_object_get(shown, "limits"), "{\"weight\":1,\"max_queued\":1000000,\"rate\":0.01,\"burst\":500}");
    json_decref(shown);
    json_decref(run(&d, "X-Tenant-ID: other\r\n", "{\"task\":\"satchel.noop\"}")); /* nobody else's matter */
}

static void each_line_of_a_batch_counts(void **state)
{
    (void)state;
    struct answer answer = {0};
    char body[25 * 26 + 1] = "";
    for (int i = 0; i < 25; i++)
        strcat(body, "{\"task\":\"satchel.noop\"}\n");
    ask(&d, &answer, "POST", "/v1/tasks:batch", "X-Tenant-ID: lines\r\n" LINES_TYPE, body);
    assert_int_equal(answer.status, 200);
    int taken = 0, refused = 0;
    for (const char *at = answer.body; (at = strstr(at, "\"id\":\"")); at++)
        taken++;
    for (const char *at = answer.body; (at = strstr(at, "\"status\":429")); at++)
        refused++;
    assert_int_equal(taken, 10);
    assert_int_equal(refused, 15);
    answer_release(&answer);
}

/* What waits as long as Retry-After says is taken; answers that are no refusal say how it stands, too. */
static void a_rate_lets_in_again(void **state)
{
    (void)state;
    struct answer answer = {0};
    for (int taken = 0; taken < 2;) {
        ask(&d, &answer, "POST", "/v1/tasks", "X-Tenant-ID: again\r\n" JSON_TYPE, "{\"task\":\"satchel.noop\"}");
        if (answer.status == 202) {
            taken++;
            assert_true(answer_has(&answer, "RateLimit-Policy", "\"submissions\";q=1;w=1"));
            assert_true(answer_has(&answer, "RateLimit", "\"submissions\";r=0;t=1"));
            continue;
        }
        expect_problem(&answer, 429, "quota-exceeded");
        char *wait = answer_header(&answer, "Retry-After");
        assert_string_equal(wait, "1");
        free(wait);
        pause_ms(1000);
    }
    answer_release(&answer);
}

/* ---- tasks and bytes that wait ---- */

static void a_queue_is_exact(void **state)
{
    (void)state;
    struct counts counts = submit_at_once("X-Tenant-ID: queue\r\n" JSON_TYPE, LATER, 4);
    assert_int_equal(counts.taken, 100);
    expect_refusal(&counts, "Tenant queue has as many waiting tasks as it may have");
    free(counts.first_refusal);
    assert_int_equal(tenant_number("queue", "scheduled"), 100);
    satcheld_kill(&d);
    satcheld_start(&d);
    json_decref(submit(&d, "X-Tenant-ID: queue\r\n", LATER, 429));
    json_t *list = get_json(&d, "/v1/tasks?limit=1", "X-Tenant-ID: queue\r\n", 200);
    const char *id = text_of(json_array_get(json_object_get(list, "tasks"), 0), "id");
    json_decref(act(&d, "X-Tenant-ID: queue\r\n", id, "cancel", 200));
    json_decref(list);
    json_decref(submit(&d, "X-Tenant-ID: queue\r\n", LATER, 202)); /* there is room for one */
    json_decref(submit(&d, "X-Tenant-ID: queue\r\n", LATER, 429));
}

static void bytes_are_held_to(void **state)
{
    (void)state;
    char body[4200];
    (void)snprintf(body, sizeof body, "{\"task\":\"satchel.echo\",\"delay\":\"1h\",\"args\":\"%04000d\"}", 7);
    struct counts counts = submit_at_once("X-Tenant-ID: bytes\r\n" JSON_TYPE, body, 4);
    assert_in_range(counts.taken, 256 * 1024 / 5000, 256 * 1024 / 4000); /* a size is known to an eighth */
    expect_refusal(&counts, "max_queued_bytes");
    free(counts.first_refusal);
    long long bytes = tenant_number("bytes", "queued_bytes");
    assert_in_range(bytes, counts.taken * 4000, 256 * 1024);
    json_decref(submit(&d, "X-Tenant-ID: bytes\r\n", LATER, 202)); /* a small one still fits */
    bytes = tenant_number("bytes", "queued_bytes");
    satcheld_kill(&d);
    satcheld_start(&d);
    assert_int_equal(tenant_number("bytes", "queued_bytes"), bytes);
    json_decref(submit(&d, "X-Tenant-ID: bytes\r\n", body, 429));
}

/* ---- requests that wait ---- */

static bool five_wait(void *arg)
{
    (void)arg;
    return tenant_number("waits", "waiters") == 5;
}

static bool none_waits(void *arg)
{
    (void)arg;
    return tenant_number("waits", "waiters") == 0;
}

static void waiters_are_held_to(void **state)
{
    (void)state;
    struct client waiting[5];
    struct answer answer = {0};
    char target[80];
    json_t *task = submit(&d, "X-Tenant-ID: waits\r\n", LATER, 202);
    (void)snprintf(target, sizeof target, "/v1/tasks/%s?wait=60", text_of(task, "id"));
    char *text = request_text("GET", target, "X-Tenant-ID: waits\r\n", NULL, 0);
    for (int i = 0; i < 5; i++) {
        client_open(&waiting[i], &d);
        client_send_text(&waiting[i], text);
    }
    assert_true(until(five_wait, NULL, WAIT_MS));
    json_t *shown = get_json(&d, target, "X-Tenant-ID: waits\r\n", 200); /* at once */
    expect_state(shown, "scheduled");
    json_decref(shown);
    (void)snprintf(target, sizeof target, "/v1/tasks/%s/events", text_of(task, "id"));
    ask(&d, &answer, "GET", target, "X-Tenant-ID: waits\r\n", NULL);
    expect_problem(&answer, 429, "quota-exceeded");
    json_decref(act(&d, "X-Tenant-ID: waits\r\n", text_of(task, "id"), "cancel", 200));
    for (int i = 0; i < 5; i++) {
        assert_true(client_read(&waiting[i], &answer));
        assert_int_equal(answer.status, 200);
        client_close(&waiting[i]);
    }
    assert_true(until(none_waits, NULL, WAIT_MS));
    answer_release(&answer);
    json_decref(task);
    free(text);
}

/* ---- connections ---- */

static int list_on(struct client *c, const char *tenant)
{
    struct answer answer = {0};
    char headers[64];
    (void)snprintf(headers, sizeof headers, "X-Tenant-ID: %s\r\n", tenant);
    ask_on(c, &answer, "GET", "/v1/tasks", headers, NULL);
    int status = answer.status;
    if (status == 429)
        expect_problem(&answer, 429, "quota-exceeded");
    answer_release(&answer);
    return status;
}

static bool gets_in(void *arg)
{
    return list_on(arg, "conns") == 200;
}

static void connections_are_held_to(void **state)
{
    (void)state;
    struct client clients[4];
    for (int i = 0; i < 4; i++) {
        client_open(&clients[i], &d);
        assert_int_equal(list_on(&clients[i], "conns"), i < 3 ? 200 : 429);
    }
    assert_int_equal(list_on(&clients[3], "other"), 200); /* nobody else's matter */
    assert_int_equal(list_on(&clients[0], "conns"), 200); /* who is in stays in */
    assert_int_equal(list_on(&clients[0], "other"), 200); /* and makes room by going over to another tenant */
    assert_int_equal(list_on(&clients[3], "conns"), 200);
    assert_int_equal(list_on(&clients[0], "conns"), 429);
    client_close(&clients[3]);
    assert_true(until(gets_in, &clients[0], WAIT_MS));
    for (int i = 0; i < 3; i++)
        client_close(&clients[i]);
}

/* ---- attempts at once ---- */

struct span {
    long long from, to;
};

/* The most that ran at one time. */
static int at_once(const struct span *spans, int n)
{
    int most = 0;
    for (int i = 0; i < n; i++) {
        int here = 0;
        for (int k = 0; k < n; k++)
            here += spans[k].from <= spans[i].from && spans[i].from < spans[k].to;
        most = here > most ? here : most;
    }
    return most;
}

static int most_at_once(const char *const *tenants, int n_tenants, const char *body, int each)
{
    struct span spans[64];
    json_t *tasks[64];
    int n = 0, most = 0;
    for (int i = 0; i < each * n_tenants; i++)
        tasks[i] = submit(&d, tenants[i % n_tenants], body, 202);
    for (int k = 0; k < n_tenants; k++) {
        n = 0;
        for (int i = k; i < each * n_tenants; i += n_tenants) {
            json_t *task = finish(&d, tenants[k], text_of(tasks[i], "id"));
            expect_state(task, "succeeded");
            spans[n++] = (struct span){time_of(task, "started_at"), time_of(task, "finished_at")};
            json_decref(task);
            json_decref(tasks[i]);
        }
        int here = at_once(spans, n);
        most = here > most ? here : most;
    }
    return most;
}

static void running_is_held_to(void **state)
{
    (void)state;
    static const char *const runs[] = {"X-Tenant-ID: runs\r\n"}, *const two[] = {"X-Tenant-ID: p\r\n",
                                                                                 "X-Tenant-ID: q\r\n"};
    assert_int_equal(most_at_once(runs, 1, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.02}}", 30), 3);
    assert_int_equal(most_at_once(two, 2, "{\"task\":\"sleep\"}", 12), 2);
}

/* ---- a reload ---- */

static bool is_reloaded(void *arg)
{
    (void)arg;
    return satcheld_log_has(&d, RELOADED);
}

static void a_reload_changes_limits_and_loses_nothing(void **state)
{
    (void)state;
    long long before = tenant_number("queue", "scheduled");
    assert_int_equal(before, 100);
    satcheld_configure(&d, BASE "tenant \"queue\" { max_queued = 50 rate = 3 max_waiters = 4 }\n");
    satcheld_signal(&d, SIGHUP);
    assert_true(until(is_reloaded, NULL, WAIT_MS));
    json_t *shown = tenant("queue");
    expect_json(json_object_get(shown, "limits"), "{\"weight\":1,\"max_queued\":50,\"max_waiters\":4,\"rate\":3}");
    expect_number(shown, "scheduled", before); /* more than it may have now, and all of it is kept */
    json_decref(shown);
    json_decref(submit(&d, "X-Tenant-ID: queue\r\n", LATER, 429));
}

/* ---- what submissions start with ---- */

static void expect_variable(const json_t *view, const char *name, const char *value, const char *origin)
{
    json_t *found = json_object_get(json_object_get(view, "variables"), name);
    if (!found)
        fail_msg("%s is not told", name);
    expect_text(found, "value", value);
    expect_text(found, "origin", origin);
}

static json_t *context_of(const json_t *task)
{
    char target[80];
    (void)snprintf(target, sizeof target, "/v1/tasks/%s/context", text_of(task, "id"));
    return get_json(&d, target, EU, 200);
}

static void a_tenant_has_variables(void **state)
{
    (void)state;
    json_t *task = run(&d, EU, "{\"task\":\"satchel.context\"}");
    const json_t *result = json_object_get(task, "result");
    expect_text(result, "region", "eu");
    expect_text(result, "team", "a b");
    expect_text(result, "baggage", "plan=gold,zone=7");
    json_t *view = context_of(task);
    expect_variable(view, "region", "eu", "config");
    expect_variable(view, "team", "a b", "config");
    expect_variable(view, "baggage", "plan=gold,zone=7", "config");
    json_decref(view);
    json_decref(task);
}

static void who_says_so_itself_is_heard(void **state)
{
    (void)state;
    json_t *task = run(&d, EU "X-Region: us\r\nX-Satchel-Var-Team: b\r\nbaggage: zone=1;x=y, own=2\r\n",
                       "{\"task\":\"satchel.context\"}");
    const json_t *result = json_object_get(task, "result");
    expect_text(result, "region", "us");
    expect_text(result, "team", "b");
    expect_text(result, "baggage", "zone=1;x=y,own=2,plan=gold");
    json_t *view = context_of(task);
    expect_variable(view, "region", "us", "header");
    json_decref(view);
    json_decref(task);
    task = run(&d, EU, "{\"task\":\"satchel.context\",\"context\":{\"team\":\"of the body\"}}");
    expect_text(json_object_get(task, "result"), "team", "of the body");
    view = context_of(task);
    expect_variable(view, "team", "of the body", "body");
    json_decref(view);
    json_decref(task);
}

static void headers_may_be_required(void **state)
{
    (void)state;
    struct answer answer = {0};
    ask(&d, &answer, "POST", "/v1/tasks", "X-Tenant-ID: eu\r\n" JSON_TYPE, LATER);
    expect_problem(&answer, 400, "invalid-parameter");
    assert_non_null(strstr(answer.body, "X-Project"));
    ask(&d, &answer, "POST", "/v1/tasks:batch", "X-Tenant-ID: eu\r\n" LINES_TYPE, LATER "\n");
    expect_problem(&answer, 400, "invalid-parameter");
    answer_release(&answer);
    json_decref(get_json(&d, "/v1/tasks", "X-Tenant-ID: eu\r\n", 200)); /* of submissions alone */
}

static void schedules_start_with_them_too(void **state)
{
    (void)state;
    struct answer answer = {0};
    ask(&d, &answer, "PUT", "/v1/schedules/nightly", EU JSON_TYPE,
        "{\"cron\":\"0 3 * * *\",\"task\":\"satchel.context\"}");
    assert_in_range(answer.status, 200, 201);
    ask(&d, &answer, "POST", "/v1/schedules/nightly:run", EU, "");
    assert_int_equal(answer.status, 202);
    json_t *made = answer_json(&answer), *task = finish(&d, EU, text_of(made, "id"));
    expect_text(json_object_get(task, "result"), "region", "eu");
    expect_text(json_object_get(task, "result"), "baggage", "plan=gold,zone=7");
    json_t *view = context_of(task);
    expect_variable(view, "region", "eu", "config");
    json_decref(view);
    json_decref(task);
    json_decref(made);
    answer_release(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_is_exact),
        cmocka_unit_test(each_line_of_a_batch_counts),
        cmocka_unit_test(a_rate_lets_in_again),
        cmocka_unit_test(a_queue_is_exact),
        cmocka_unit_test(bytes_are_held_to),
        cmocka_unit_test(waiters_are_held_to),
        cmocka_unit_test(connections_are_held_to),
        cmocka_unit_test(running_is_held_to),
        cmocka_unit_test(a_reload_changes_limits_and_loses_nothing),
        cmocka_unit_test(a_tenant_has_variables),
        cmocka_unit_test(who_says_so_itself_is_heard),
        cmocka_unit_test(headers_may_be_required),
        cmocka_unit_test(schedules_start_with_them_too),
    };
    return cmocka_run_group_tests_name("limits", tests, start, stop);
}
