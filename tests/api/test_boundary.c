/* Twenty tenants with tokens of their own attack each other through every way in, with each other's ids, cursors, keys,
 * groups and names: nothing of another tenant's is seen, changed or told apart from what never was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/token_file.h"
#include "tests/support/ask.h"

#define TENANTS 20
#define ID_SIZE 37
#define NOBODYS "01890000-0000-7000-8000-0000000000%02d"

static struct satcheld d;
static char *tokens_path;

static struct tenant {
    char name[16], bearer[160];
    char done[ID_SIZE], running[ID_SIZE], waiting[ID_SIZE], failed[ID_SIZE], keyed[ID_SIZE];
    char cursor[128];
    struct client c;
} tenants[TENANTS];

/* ---- what each of them has ---- */

static void keep_id(const json_t *task, char out[ID_SIZE])
{
    assert_int_equal(strlen(text_of(task, "id")), ID_SIZE - 1);
    memcpy(out, text_of(task, "id"), ID_SIZE);
}

static void made(const struct tenant *t, const char *body, char out[ID_SIZE])
{
    json_t *task = submit(&d, t->bearer, body, 202);
    expect_text(task, "tenant", t->name);
    keep_id(task, out);
    json_decref(task);
}

static void settle(struct tenant *t)
{
    char headers[256];
    json_t *task =
        run(&d, t->bearer, "{\"task\":\"satchel.echo\",\"args\":\"secret\",\"labels\":{\"shared\":\"yes\"}}");
    keep_id(task, t->done);
    json_decref(task);
    task = run(&d, t->bearer, "{\"task\":\"satchel.fail\",\"args\":{\"message\":\"secret\"}}");
    keep_id(task, t->failed);
    json_decref(task);
    made(t, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":600}}", t->running);
    made(t, "{\"task\":\"satchel.noop\",\"delay\":\"1h\",\"group\":\"shared\",\"unique\":{\"key\":\"shared\"}}",
         t->waiting);
    (void)snprintf(headers, sizeof headers, "%sIdempotency-Key: \"shared\"\r\n", t->bearer);
    task = submit(&d, headers, "{\"task\":\"satchel.noop\",\"delay\":\"1h\"}", 202);
    keep_id(task, t->keyed);
    json_decref(task);
    json_t *page = get_json(&d, "/v1/tasks?limit=1", t->bearer, 200);
    (void)snprintf(t->cursor, sizeof t->cursor, "%s", text_of(page, "next_cursor"));
    json_decref(page);
    struct answer a = {0};
    (void)snprintf(headers, sizeof headers, "%s" JSON_TYPE, t->bearer);
    ask(&d, &a, "PUT", "/v1/schedules/shared", headers, "{\"cron\":\"@yearly\",\"task\":\"satchel.noop\"}");
    assert_int_equal(a.status, 201);
    answer_release(&a);
}

static int start(void **state)
{
    (void)state;
    char config[512], error[TOKEN_ERROR_SIZE], token[TOKEN_TEXT_SIZE];
    satcheld_init(&d, NULL);
    tokens_path = satcheld_path(&d, "tokens");
    for (int i = 0; i < TENANTS; i++) {
        (void)snprintf(tenants[i].name, sizeof tenants[i].name, "tenant-%d", i);
        const char *names[] = {tenants[i].name};
        struct token_order order = {.tenants = names, .n_tenants = 1, .scopes = TOKEN_SUBMIT | TOKEN_READ};
        assert_int_equal(token_file_add(tokens_path, &order, token, error), 0);
        (void)snprintf(tenants[i].bearer, sizeof tenants[i].bearer, "Authorization: Bearer %s\r\n", token);
    }
    (void)snprintf(config, sizeof config,
                   "workers = %d\ndrain = \"100ms\"\nlog_level = \"error\"\nauth { token_file = \"%s\" }\n",
                   TENANTS + 4, tokens_path);
    satcheld_configure(&d, config);
    satcheld_start(&d);
    for (int i = 0; i < TENANTS; i++) {
        settle(&tenants[i]);
        client_open(&tenants[i].c, &d);
    }
    return 0;
}

static int stop(void **state)
{
    (void)state;
    for (int i = 0; i < TENANTS; i++)
        client_close(&tenants[i].c);
    satcheld_stop(&d);
    satcheld_release(&d);
    free(tokens_path);
    return 0;
}

/* ---- one attempt at somebody else's ---- */

static void attack(struct tenant *by, struct answer *a, const char *method, const char *target, const char *more,
                   const char *body)
{
    char headers[512];
    (void)snprintf(headers, sizeof headers, "%s%sX-Request-ID: same\r\n%s", by->bearer, more, body ? JSON_TYPE : "");
    ask_on(&by->c, a, method, target, headers, body);
}

/* The answer without what is different in each: the id that was asked for, and the date. */
static char *blurred(const struct answer *a, const char *id)
{
    char *text = malloc(strlen(a->head) + a->body_len + 1), *at;
    assert_non_null(text);
    (void)sprintf(text, "%s%s", a->head, a->body);
    while ((at = strstr(text, id)))
        memset(at, 'i', ID_SIZE - 1);
    if ((at = strstr(text, "\r\nDate: ")))
        memset(at + 8, 'd', 29);
    return text;
}

/* Somebody's id must be answered with 404, byte for byte as one that nobody has. */
static void expect_nobodys(struct tenant *by, const char *method, const char *pattern, const char *id)
{
    char target[256], unknown[ID_SIZE];
    struct answer theirs = {0}, nobodys = {0};
    (void)snprintf(unknown, sizeof unknown, NOBODYS, (int)(by - tenants));
    (void)snprintf(target, sizeof target, pattern, id);
    attack(by, &theirs, method, target, "", NULL);
    (void)snprintf(target, sizeof target, pattern, unknown);
    attack(by, &nobodys, method, target, "", NULL);
    if (theirs.status != 404)
        fail_msg("%s %s of another tenant's: %d %s", method, pattern, theirs.status, theirs.body);
    char *a = blurred(&theirs, id), *b = blurred(&nobodys, unknown);
    assert_string_equal(a, b);
    free(a);
    free(b);
    answer_release(&theirs);
    answer_release(&nobodys);
}

static const struct {
    const char *method, *pattern;
} by_id[] = {{"GET", "/v1/tasks/%s"},
             {"GET", "/v1/tasks/%s?wait=0"},
             {"GET", "/v1/tasks/%s?attempts=true"},
             {"GET", "/v1/tasks/%s/result"},
             {"GET", "/v1/tasks/%s/context"},
             {"GET", "/v1/tasks/%s/log"},
             {"GET", "/v1/tasks/%s/log?follow=true"},
             {"GET", "/v1/tasks/%s/events"},
             {"GET", "/v1/tasks/%s/tree"},
             {"HEAD", "/v1/tasks/%s"},
             {"POST", "/v1/tasks/%s:cancel"},
             {"POST", "/v1/tasks/%s:cancel?cascade=true"},
             {"POST", "/v1/tasks/%s:retry"},
             {"DELETE", "/v1/tasks/%s"}};

static void ids_of_others_are_nobodys(void **state)
{
    (void)state;
    for (int i = 0; i < TENANTS; i++) {
        for (int k = 0; k < TENANTS; k++) {
            const char *const ids[] = {tenants[k].done, tenants[k].running, tenants[k].waiting, tenants[k].failed};
            if (i == k)
                continue;
            for (size_t way = 0; way < sizeof by_id / sizeof by_id[0]; way++) {
                expect_nobodys(&tenants[i], by_id[way].method, by_id[way].pattern, ids[(way + (size_t)k) % 4]);
            }
        }
    }
}

static size_t listed(struct tenant *by, const char *query)
{
    char target[256];
    struct answer a = {0};
    (void)snprintf(target, sizeof target, "/v1/tasks?limit=1000&%s", query);
    attack(by, &a, "GET", target, "", NULL);
    assert_int_equal(a.status, 200);
    json_t *page = answer_json(&a), *list = json_object_get(page, "tasks"), *task;
    size_t n = json_array_size(list), i;
    json_array_foreach(list, i, task)
    {
        expect_text(task, "tenant", by->name);
    }
    json_decref(page);
    answer_release(&a);
    return n;
}

static void expect_status(struct tenant *by, const char *method, const char *target, const char *more, const char *body,
                          int status)
{
    struct answer a = {0};
    attack(by, &a, method, target, more, body);
    if (a.status != status)
        fail_msg("%s %s %s: %d, not %d: %s", method, target, body ? body : "", a.status, status, a.body);
    answer_release(&a);
}

static void lists_and_filters_stay_inside(void **state)
{
    (void)state;
    char query[160];
    for (int i = 0; i < TENANTS; i++) {
        struct tenant *by = &tenants[i], *victim = &tenants[(i + 7) % TENANTS];
        assert_int_equal(listed(by, "label=shared:yes"), 1);
        assert_int_equal(listed(by, "group=shared"), 1);
        assert_int_equal(listed(by, "state=failed"), 1);
        assert_int_equal(listed(by, "request_id=same"), 0);
        (void)snprintf(query, sizeof query, "root=%s", victim->running);
        assert_int_equal(listed(by, query), 0);
        (void)snprintf(query, sizeof query, "parent=%s", victim->running);
        assert_int_equal(listed(by, query), 0);
        (void)snprintf(query, sizeof query, "/v1/tasks?limit=1&cursor=%s", victim->cursor);
        expect_status(by, "GET", query, "", NULL, 400); /* a cursor is bound to its tenant */
        (void)snprintf(query, sizeof query, "/v1/tasks:cancel?root=%s", victim->running);
        struct answer a = {0};
        attack(by, &a, "POST", query, "", NULL);
        assert_int_equal(a.status, 200);
        assert_non_null(strstr(a.body, "\"matched\":0"));
        answer_release(&a);
        expect_status(by, "GET", "/v1/tasks?all_tenants=true", "", NULL, 403);
        expect_status(by, "GET", "/metrics", "", NULL, 403);
    }
}

static void a_named_tenant_is_not_believed(void **state)
{
    (void)state;
    char line[128];
    static const struct {
        const char *method, *target, *body;
    } ways[] = {{"GET", "/v1/tasks", NULL},
                {"POST", "/v1/tasks", "{\"task\":\"satchel.noop\"}"},
                {"POST", "/v1/tasks:cancel?all=true", NULL},
                {"POST", "/v1/tasks:retry?all=true", NULL},
                {"POST", "/v1/tasks:delete?all=true", NULL},
                {"GET", "/v1/schedules", NULL},
                {"GET", "/v1/schedules/shared", NULL},
                {"DELETE", "/v1/schedules/shared", NULL},
                {"POST", "/v1/schedules/shared:run", NULL}};
    for (int i = 0; i < TENANTS; i++) {
        struct tenant *by = &tenants[i], *victim = &tenants[(i + 3) % TENANTS];
        for (size_t way = 0; way < sizeof ways / sizeof ways[0]; way++) {
            (void)snprintf(line, sizeof line, "X-Tenant-ID: %s\r\n", victim->name);
            expect_status(by, ways[way].method, ways[way].target, line, ways[way].body, 403);
            (void)snprintf(line, sizeof line, "X-Scope-OrgID: %s\r\n", victim->name);
            expect_status(by, ways[way].method, ways[way].target, line, ways[way].body, 403);
        }
        (void)snprintf(line, sizeof line, "X-Tenant-ID: %.15s\r\nX-Tenant-ID: %.15s\r\n", by->name, victim->name);
        expect_status(by, "GET", "/v1/tasks", line, NULL, 400);
    }
}

static void nothing_can_be_tied_to_others(void **state)
{
    (void)state;
    char body[256];
    for (int i = 0; i < TENANTS; i++) {
        struct tenant *by = &tenants[i], *victim = &tenants[(i + 11) % TENANTS];
        static const char *const ties[] = {"\"parent_id\":\"%s\"", "\"after\":[\"%s\"]"};
        for (size_t k = 0; k < 2; k++) {
            char tie[80];
            struct answer theirs = {0}, nobodys = {0};
            char unknown[ID_SIZE];
            (void)snprintf(unknown, sizeof unknown, NOBODYS, i);
            (void)snprintf(tie, sizeof tie, ties[k], victim->done); // NOLINT: the two formats above
            (void)snprintf(body, sizeof body, "{\"task\":\"satchel.noop\",%s}", tie);
            attack(by, &theirs, "POST", "/v1/tasks", "", body);
            (void)snprintf(tie, sizeof tie, ties[k], unknown); // NOLINT: the two formats above
            (void)snprintf(body, sizeof body, "{\"task\":\"satchel.noop\",%s}", tie);
            attack(by, &nobodys, "POST", "/v1/tasks", "", body);
            assert_int_equal(theirs.status, 422);
            char *a = blurred(&theirs, victim->done), *b = blurred(&nobodys, unknown);
            assert_string_equal(a, b);
            free(a);
            free(b);
            answer_release(&theirs);
            answer_release(&nobodys);
        }
    }
}

/* The same key, group or name of two tenants are two. */
static void keys_are_a_tenants_own(void **state)
{
    (void)state;
    struct answer a = {0};
    for (int i = 0; i < TENANTS; i++) {
        struct tenant *by = &tenants[i];
        attack(by, &a, "POST", "/v1/tasks", "Idempotency-Key: \"shared\"\r\n",
               "{\"task\":\"satchel.noop\",\"delay\":\"1h\"}");
        assert_int_equal(a.status, 200);
        json_t *task = answer_json(&a);
        expect_text(task, "id", by->keyed);
        json_decref(task);
        answer_release(&a);
        attack(by, &a, "POST", "/v1/tasks", "", "{\"task\":\"satchel.noop\",\"unique\":{\"key\":\"shared\"}}");
        assert_int_equal(a.status, 409);
        assert_non_null(strstr(a.head, by->waiting)); /* Location: the own one that holds it */
        answer_release(&a);
    }
    /* One tenant takes its schedule and its group away; nobody else's change. */
    expect_status(&tenants[0], "DELETE", "/v1/schedules/shared", "", NULL, 204);
    expect_status(&tenants[0], "POST", "/v1/tasks:cancel?group=shared", "", NULL, 200);
    for (int i = 1; i < TENANTS; i++) {
        expect_status(&tenants[i], "GET", "/v1/schedules/shared", "", NULL, 200);
        json_t *task = get_task(&d, tenants[i].bearer, tenants[i].waiting, 200);
        expect_state(task, "scheduled");
        json_decref(task);
    }
    expect_status(&tenants[0], "GET", "/v1/schedules/shared", "", NULL, 404);
}

/* After all of it. */
static void everything_is_as_it_was(void **state)
{
    (void)state;
    for (int i = 1; i < TENANTS; i++) {
        const struct tenant *t = &tenants[i];
        json_t *task = get_task(&d, t->bearer, t->done, 200);
        expect_state(task, "succeeded");
        expect_json(json_object_get(task, "result"), "\"secret\"");
        json_decref(task);
        json_decref(await_state(&d, t->bearer, t->running, "running"));
        task = get_task(&d, t->bearer, t->failed, 200);
        expect_state(task, "failed");
        expect_number(task, "attempt", 1);
        json_decref(task);
        task = get_task(&d, t->bearer, t->keyed, 200);
        expect_state(task, "scheduled");
        json_decref(task);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_of_others_are_nobodys),      cmocka_unit_test(lists_and_filters_stay_inside),
        cmocka_unit_test(a_named_tenant_is_not_believed), cmocka_unit_test(nothing_can_be_tied_to_others),
        cmocka_unit_test(keys_are_a_tenants_own),         cmocka_unit_test(everything_is_as_it_was),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
