/* GET /v1/tasks: every filter, the order, the pages while tasks come and go, and cursors that are not ours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/ask.h"

#define MINE "X-Tenant-ID: mine\r\n"
#define OTHER "X-Tenant-ID: other\r\n"
#define ID_SIZE 40

static struct satcheld d;

/* One in each state, and a child; in the order in which they were submitted. */
enum { SUCCEEDED, FAILED, PARENT, CHILD, SCHEDULED, CANCELED, EXPIRED, RUNNING, QUEUED, N_TASKS };
static char ids[N_TASKS][ID_SIZE];

static void keep(int which, json_t *task)
{
    (void)snprintf(ids[which], ID_SIZE, "%s", text_of(task, "id"));
    json_decref(task);
}

static void submit_one_of_each(void)
{
    keep(SUCCEEDED, run(&d, MINE "traceparent: " TRACEPARENT "\r\nX-Request-ID: r-1\r\n",
                        "{\"task\":\"satchel.noop\",\"labels\":{\"env\":\"prod\",\"app\":\"a:b c\"}}"));
    keep(FAILED, run(&d, MINE "X-Request-ID: r-1\r\n",
                     "{\"task\":\"satchel.fail\",\"args\":{\"message\":\"no\"},\"labels\":{\"env\":\"dev\"}}"));
    json_t *parent = run(&d, MINE "X-Request-ID: r-2\r\n",
                         "{\"task\":\"satchel.spawn\",\"args\":{\"task\":\"satchel.echo\",\"args\":1,\"count\":1}}");
    const char *child = json_string_value(json_array_get(json_object_get(parent, "result"), 0));
    assert_non_null(child);
    keep(CHILD, finish(&d, MINE, child));
    keep(PARENT, parent);
    keep(SCHEDULED,
         submit(&d, MINE, "{\"task\":\"satchel.noop\",\"delay\":\"1h\",\"labels\":{\"env\":\"prod\"}}", 202));
    keep(CANCELED, submit(&d, MINE, "{\"task\":\"satchel.noop\",\"delay\":\"1h\"}", 202));
    json_decref(act(&d, MINE, ids[CANCELED], "cancel", 200));
    keep(EXPIRED, run(&d, MINE, "{\"task\":\"satchel.noop\",\"delay\":\"1h\",\"expires_in\":\"20ms\"}"));
    keep(RUNNING, submit(&d, MINE, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":600}}", 202));
    json_decref(await_state(&d, MINE, ids[RUNNING], "running"));
    keep(QUEUED, submit(&d, MINE, "{\"task\":\"satchel.noop\",\"labels\":{\"env\":\"\",\"app\":\"late\"}}", 202));
}

static int start(void **state)
{
    (void)state;
    satcheld_init(&d, "workers = 1\ndrain = \"1ms\"\n");
    satcheld_start(&d);
    submit_one_of_each();
    return 0;
}

static int stop(void **state)
{
    (void)state;
    satcheld_stop(&d);
    satcheld_release(&d);
    return 0;
}

static const char *id_at(const json_t *page, size_t i)
{
    return text_of(json_array_get(json_object_get(page, "tasks"), i), "id");
}

static size_t length(const json_t *page)
{
    assert_true(json_is_array(json_object_get(page, "tasks")));
    return json_array_size(json_object_get(page, "tasks"));
}

static json_t *list(const char *query, const char *headers)
{
    char target[1024];
    (void)snprintf(target, sizeof target, "/v1/tasks%s%s", *query ? "?" : "", query);
    return get_json(&d, target, headers, 200);
}

/* Exactly the tasks of `mask`, newest first. */
static void expect_tasks(const char *query, unsigned mask)
{
    json_t *page = list(query, MINE);
    size_t n = 0;
    for (int which = N_TASKS - 1; which >= 0; which--) {
        if (!(mask & 1u << which))
            continue;
        if (n >= length(page) || strcmp(id_at(page, n), ids[which]) != 0) {
            char *text = json_dumps(page, 0);
            fail_msg("%s: task %d is not at %zu: %s", query, which, n, text);
        }
        n++;
    }
    if (length(page) != n)
        fail_msg("%s: %zu tasks instead of %zu", query, length(page), n);
    assert_null(json_object_get(page, "next_cursor"));
    json_decref(page);
}

#define BIT(which) (1u << (which))
#define ALL (BIT(N_TASKS) - 1)

static void every_state(void **state)
{
    (void)state;
    expect_tasks("", ALL);
    expect_tasks("state=succeeded", BIT(SUCCEEDED) | BIT(PARENT) | BIT(CHILD));
    expect_tasks("state=failed", BIT(FAILED));
    expect_tasks("state=scheduled", BIT(SCHEDULED));
    expect_tasks("state=canceled", BIT(CANCELED));
    expect_tasks("state=expired", BIT(EXPIRED));
    expect_tasks("state=running", BIT(RUNNING));
    expect_tasks("state=queued", BIT(QUEUED));
}

static void by_name(void **state)
{
    (void)state;
    expect_tasks("task=satchel.noop", BIT(SUCCEEDED) | BIT(SCHEDULED) | BIT(CANCELED) | BIT(EXPIRED) | BIT(QUEUED));
    expect_tasks("task=satchel.spawn", BIT(PARENT));
    expect_tasks("task=satchel%2Eecho", BIT(CHILD));
    expect_tasks("task=satchel.", 0);
    expect_tasks("task=SATCHEL.NOOP", 0);
    expect_tasks("task=%27%20OR%201=1--", 0);
    expect_tasks("task=%25", 0);
}

static void by_label(void **state)
{
    (void)state;
    expect_tasks("label=env:prod", BIT(SUCCEEDED) | BIT(SCHEDULED));
    expect_tasks("label=env:dev", BIT(FAILED));
    expect_tasks("label=env:", BIT(QUEUED));
    expect_tasks("label=app:a:b%20c", BIT(SUCCEEDED));
    expect_tasks("label=app:a:b+c", BIT(SUCCEEDED)); /* as forms write it */
    expect_tasks("label=app:a", 0);
    expect_tasks("label=env:pro", 0);
    expect_tasks("label=en:prod", 0);
    expect_tasks("label=prod:env", 0);
}

static void by_trace_and_request(void **state)
{
    (void)state;
    expect_tasks("trace_id=" TRACE_ID, BIT(SUCCEEDED));
    expect_tasks("trace_id=0af7651916cd43dd8448eb211c80319d", 0);
    expect_tasks("request_id=r-1", BIT(SUCCEEDED) | BIT(FAILED));
    expect_tasks("request_id=r-2", BIT(PARENT) | BIT(CHILD)); /* inherited */
    expect_tasks("request_id=r-", 0);
    json_t *parent = get_task(&d, MINE, ids[PARENT], 200);
    char query[64];
    (void)snprintf(query, sizeof query, "trace_id=%.32s",
                   text_of(json_object_get(parent, "context"), "traceparent") + 3);
    expect_tasks(query, BIT(PARENT) | BIT(CHILD));
    json_decref(parent);
}

static void by_family(void **state)
{
    (void)state;
    char query[128];
    (void)snprintf(query, sizeof query, "parent=%s", ids[PARENT]);
    expect_tasks(query, BIT(CHILD));
    (void)snprintf(query, sizeof query, "root=%s", ids[PARENT]);
    expect_tasks(query, BIT(PARENT) | BIT(CHILD)); /* a task is in its own tree */
    (void)snprintf(query, sizeof query, "parent=%s", ids[CHILD]);
    expect_tasks(query, 0);
    (void)snprintf(query, sizeof query, "root=%s", ids[FAILED]);
    expect_tasks(query, BIT(FAILED));
}

static void together(void **state)
{
    (void)state;
    char query[256];
    expect_tasks("label=env:prod&state=scheduled", BIT(SCHEDULED));
    expect_tasks("label=env:prod&state=failed", 0);
    expect_tasks("request_id=r-1&task=satchel.fail&state=failed&label=env:dev", BIT(FAILED));
    expect_tasks("request_id=r-1&trace_id=" TRACE_ID, BIT(SUCCEEDED));
    (void)snprintf(query, sizeof query, "root=%s&parent=%s&state=succeeded&task=satchel.echo&request_id=r-2",
                   ids[PARENT], ids[PARENT]);
    expect_tasks(query, BIT(CHILD));
}

/* None of them is seen by anybody else, whatever is asked for. */
static void other_tenants(void **state)
{
    (void)state;
    char parent[64], root[64];
    (void)snprintf(parent, sizeof parent, "parent=%s", ids[PARENT]);
    (void)snprintf(root, sizeof root, "root=%s", ids[PARENT]);
    const char *queries[] = {"",
                             "state=succeeded",
                             "state=queued",
                             "task=satchel.noop",
                             "label=env:prod",
                             "trace_id=" TRACE_ID,
                             "request_id=r-1",
                             "limit=1000",
                             parent,
                             root};
    static const char *const tenants[] = {OTHER, NULL, "X-Tenant-ID: min\r\n", "X-Tenant-ID: MINE\r\n",
                                          "X-Tenant-ID: '\r\n"};
    for (size_t t = 0; t < sizeof tenants / sizeof tenants[0]; t++) {
        for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++) {
            json_t *page = list(queries[i], tenants[t]);
            assert_int_equal(length(page), 0);
            assert_null(json_object_get(page, "next_cursor"));
            json_decref(page);
        }
    }
}

/* What a list shows of a task is what the task shows. */
static void whole_tasks(void **state)
{
    (void)state;
    json_t *page = list("", MINE), *task;
    size_t i;
    json_array_foreach(json_object_get(page, "tasks"), i, task)
    {
        json_t *alone = get_task(&d, MINE, text_of(task, "id"), 200);
        if (!json_equal(task, alone))
            fail_msg("%s\n%s", json_dumps(task, 0), json_dumps(alone, 0));
        json_decref(alone);
    }
    json_decref(page);
}

static void refused(void **state)
{
    (void)state;
    static const char *const queries[] = {
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=1e3",
        "limit=x",
        "limit=",
        "limit=1.0",
        "limit=%31%20",
        "limit=99999999999999999999",
        "state=done",
        "state=",
        "state=FAILED",
        "state=failed,queued",
        "label=env",
        "label=:prod",
        "label=",
        "trace_id=1",
        "trace_id=0AF7651916CD43DD8448EB211C80319C",
        "trace_id=",
        "request_id=",
        "parent=x",
        "parent=",
        "root=0",
        "root=01995a2e-7c3b-7d21-9f0e-4b8f6d1c2a3",
        "task=",
        "cursor=",
        "cursor=x",
        "states=failed",
        "tenant=mine",
        "limit=1&limit=2",
        "state=failed&state=queued",
        "task=%zz",
        "task=%",
        "task=%f",
        "task=satchel.noop%00",
        "wait=1s",
    };
    struct answer answer = {0};
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++) {
        char target[256];
        (void)snprintf(target, sizeof target, "/v1/tasks?%s", queries[i]);
        ask(&d, &answer, "GET", target, MINE, NULL);
        if (answer.status != 400)
            fail_msg("%s: status %d: %s", queries[i], answer.status, answer.body);
        assert_true(answer_has(&answer, "Content-Type", "application/problem+json"));
    }
    answer_release(&answer);
}

/* ---- pages ---- */

static void refuse_cursor(const char *cursor, const char *more, const char *headers)
{
    struct answer answer = {0};
    char target[1024];
    (void)snprintf(target, sizeof target, "/v1/tasks?cursor=%s%s", cursor, more);
    ask(&d, &answer, "GET", target, headers, NULL);
    expect_problem(&answer, 400, "invalid-parameter");
    answer_release(&answer);
}

static void foreign_cursors(void **state)
{
    (void)state;
    json_t *page = list("limit=2", MINE),
           *theirs = submit(&d, OTHER, "{\"task\":\"satchel.noop\",\"delay\":\"1h\"}", 202);
    const char *cursor = text_of(page, "next_cursor");
    size_t len = strlen(cursor);
    char changed[256], query[256];
    assert_true(len < sizeof changed - 8);
    refuse_cursor(cursor, "", OTHER);
    refuse_cursor(cursor, "", NULL);
    refuse_cursor(cursor, "&state=failed", MINE); /* of another list */
    refuse_cursor(cursor, "&task=satchel.noop", MINE);
    for (size_t i = 0; i < len; i++) { /* each character counts */
        (void)snprintf(changed, sizeof changed, "%s", cursor);
        changed[i] = changed[i] == 'A' ? 'B' : 'A';
        refuse_cursor(changed, "", MINE);
    }
    (void)snprintf(changed, sizeof changed, "%.*s", (int)len - 1, cursor);
    refuse_cursor(changed, "", MINE);
    (void)snprintf(changed, sizeof changed, "%sA", cursor);
    refuse_cursor(changed, "", MINE);
    (void)snprintf(changed, sizeof changed, "%s%%00", cursor);
    refuse_cursor(changed, "", MINE);
    refuse_cursor(ids[QUEUED], "", MINE);
    refuse_cursor("..%2F..%2Fetc%2Fpasswd", "", MINE);
    (void)snprintf(query, sizeof query, "cursor=%s&limit=5", cursor); /* but the size of a page may change */
    json_t *next = list(query, MINE);
    assert_int_equal(length(next), 5);
    assert_string_equal(id_at(next, 0), ids[N_TASKS - 3]);
    json_decref(act(&d, OTHER, text_of(theirs, "id"), "cancel", 200));
    assert_null(act(&d, OTHER, text_of(theirs, "id"), "delete", 204));
    json_decref(theirs);
    json_decref(next);
    json_decref(page);
}

#define LATER "{\"task\":\"satchel.noop\",\"delay\":\"1h\",\"labels\":{\"r\":\"%d\"}}"

static char *submit_many(const char *headers, int n)
{
    char *many = calloc((size_t)n, ID_SIZE), lines[256], body[256];
    struct client c;
    struct answer answer = {0};
    assert_non_null(many);
    (void)snprintf(lines, sizeof lines, JSON_TYPE "%s", headers);
    client_open(&c, &d);
    for (int from = 0; from < n; from += 50) {
        int to = from + 50 < n ? from + 50 : n;
        for (int i = from; i < to; i++) {
            (void)snprintf(body, sizeof body, LATER, i % 3);
            char *text = request_text("POST", "/v1/tasks", lines, body, strlen(body));
            client_send_text(&c, text);
            free(text);
        }
        for (int i = from; i < to; i++) {
            assert_true(client_read(&c, &answer));
            assert_int_equal(answer.status, 202);
            json_t *task = answer_json(&answer);
            (void)snprintf(many + (size_t)i * ID_SIZE, ID_SIZE, "%s", text_of(task, "id"));
            json_decref(task);
        }
    }
    client_close(&c);
    answer_release(&answer);
    return many;
}

/* Follows Link while new tasks come; exactly `many` (those i where i % step == rest), newest first. */
static void walk(const char *headers, const char *first, const char *many, int n, int step, int rest, bool arrivals)
{
    char target[1024];
    struct answer answer = {0};
    int at = n - 1;
    (void)snprintf(target, sizeof target, "/v1/tasks?%s", first);
    for (int pages = 0; *target; pages++) {
        assert_true(pages <= n);
        ask(&d, &answer, "GET", target, headers, NULL);
        assert_int_equal(answer.status, 200);
        json_t *page = answer_json(&answer), *task;
        size_t i;
        json_array_foreach(json_object_get(page, "tasks"), i, task)
        {
            while (at >= 0 && at % step != rest)
                at--;
            assert_true(at >= 0);
            expect_text(task, "id", many + (size_t)at-- * ID_SIZE);
        }
        char *link = answer_header(&answer, "Link");
        assert_int_equal(link != NULL, json_object_get(page, "next_cursor") != NULL);
        *target = '\0';
        if (link) {
            assert_true(i > 0); /* a page before the last is not empty */
            char *end = strstr(link, ">; rel=\"next\"");
            assert_true(link[0] == '<' && end);
            (void)snprintf(target, sizeof target, "%.*s", (int)(end - link - 1), link + 1);
        }
        if (arrivals) {
            json_decref(
                submit(&d, headers, "{\"task\":\"satchel.noop\",\"delay\":\"1h\",\"labels\":{\"r\":\"0\"}}", 202));
            json_decref(
                submit(&d, OTHER, "{\"task\":\"satchel.noop\",\"delay\":\"1h\",\"labels\":{\"r\":\"0\"}}", 202));
        }
        free(link);
        json_decref(page);
    }
    while (at >= 0 && at % step != rest)
        at--;
    assert_int_equal(at, -1);
    answer_release(&answer);
}

static void a_thousand(void **state)
{
    (void)state;
    static const char many_tenant[] = "X-Tenant-ID: many\r\n";
    int n = 1000;
    char *many = submit_many(many_tenant, n);
    walk(many_tenant, "limit=1000", many, n, 1, 0, false);
    walk(many_tenant, "limit=250", many, n, 1, 0, false); /* the last page is full: none follows */
    walk(many_tenant, "limit=500&label=r:1", many, n, 3, 1, false);
    walk(many_tenant, "limit=7&label=r:2&state=scheduled", many, n, 3, 2, true);
    free(many);
}

static void a_thousand_while_new_ones_come(void **state)
{
    (void)state;
    static const char tenant[] = "X-Tenant-ID: busy\r\n";
    int n = 1000;
    char *many = submit_many(tenant, n);
    walk(tenant, "limit=37", many, n, 1, 0, true);
    free(many);
}

/* The task that the cursor stands on may go. */
static void deleted_between_pages(void **state)
{
    (void)state;
    static const char tenant[] = "X-Tenant-ID: thinning\r\n";
    enum { N = 12 };
    char *many = submit_many(tenant, N), query[256];
    json_t *page = list("limit=4", tenant);
    for (int i = N - 5; i < N - 2; i++) { /* the last of this page, the first of the next, and one more */
        json_decref(act(&d, tenant, many + i * ID_SIZE, "cancel", 200));
        assert_null(act(&d, tenant, many + i * ID_SIZE, "delete", 204));
    }
    (void)snprintf(query, sizeof query, "limit=100&cursor=%s", text_of(page, "next_cursor"));
    json_t *next = list(query, tenant);
    assert_int_equal(length(next), N - 5);
    for (size_t i = 0; i < length(next); i++)
        assert_string_equal(id_at(next, i), many + (N - 6 - i) * ID_SIZE);
    json_decref(page);
    json_decref(next);
    free(many);
}

/* 50 unless asked otherwise, as documented. */
static void default_limit(void **state)
{
    (void)state;
    static const char tenant[] = "X-Tenant-ID: fifty\r\n";
    char *many = submit_many(tenant, 51);
    json_t *page = list("", tenant);
    assert_int_equal(length(page), 50);
    assert_non_null(json_object_get(page, "next_cursor"));
    json_decref(page);
    free(many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_state),
        cmocka_unit_test(by_name),
        cmocka_unit_test(by_label),
        cmocka_unit_test(by_trace_and_request),
        cmocka_unit_test(by_family),
        cmocka_unit_test(together),
        cmocka_unit_test(other_tenants),
        cmocka_unit_test(whole_tasks),
        cmocka_unit_test(refused),
        cmocka_unit_test(foreign_cursors),
        cmocka_unit_test(a_thousand),
        cmocka_unit_test(a_thousand_while_new_ones_come),
        cmocka_unit_test(deleted_between_pages),
        cmocka_unit_test(default_limit),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
