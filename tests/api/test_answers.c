/* Answers that are easily got wrong: the request id in every one, tasks that are gone, results that there are none of,
 * pages that belong together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/ask.h"

#define JSON_TYPE "Content-Type: application/json\r\n"

static struct satcheld d;

static int start(void **state)
{
    (void)state;
    satcheld_init(&d, "workers = 4\nmax_body = \"4KiB\"\n");
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

static void every_answer_has_the_request_id(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int status;
    } cases[] = {
        {"GET /healthz HTTP/1.1\r\nHost: h\r\nX-Request-ID: mine\r\n\r\n", 200},
        {"GET /nowhere HTTP/1.1\r\nHost: h\r\nX-Request-ID: mine\r\n\r\n", 404},
        {"GET /v1/tasks/%zz HTTP/1.1\r\nHost: h\r\nX-Request-ID: mine\r\n\r\n", 400},
        {"PATCH /v1/tasks HTTP/1.1\r\nHost: h\r\nX-Request-ID: mine\r\n\r\n", 405},
        {"OPTIONS * HTTP/1.1\r\nHost: h\r\nX-Request-ID: mine\r\n\r\n", 204},
        {"GET /v1/tasks HTTP/1.1\r\nHost: h\r\nX-Request-ID: mine\r\nX-Tenant-ID: a b\r\n\r\n", 400},
        {"GET /v1/tasks?limit=0 HTTP/1.1\r\nHost: h\r\nX-Request-ID: mine\r\n\r\n", 400},
        {"GET /v1/tasks/x HTTP/1.1\r\nHost: h\r\nX-Request-ID: mine\r\n\r\n", 404},
        {"GET /v1/tasks/x?wait=x HTTP/1.1\r\nHost: h\r\nX-Request-ID: mine\r\n\r\n", 400},
        {"POST /v1/tasks HTTP/1.1\r\nHost: h\r\nX-Request-ID: mine\r\nContent-Length: 2\r\n\r\n{}", 415},
        {"POST /v1/tasks HTTP/1.1\r\nHost: h\r\nX-Request-ID: mine\r\n" JSON_TYPE "Content-Length: 2\r\n\r\n{}", 422},
        {"POST /v1/tasks HTTP/1.1\r\nHost: h\r\nX-Request-ID: mine\r\n" JSON_TYPE "Content-Length: 1\r\n\r\n{", 400},
        {"POST /v1/tasks HTTP/1.1\r\nHost: h\r\nX-Request-ID: mine\r\n" JSON_TYPE "Content-Length: 5000\r\n\r\n", 413},
        {"GET /healthz HTTP/1.1\r\nX-Request-ID: mine\r\n\r\n", 400},
        {"GET /healthz HTTP/1.1\r\nHost: h\r\nX-Request-ID: mine\r\nHost: h\r\n\r\n",
         400},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct client c;
        struct answer answer = {0};
        client_open(&c, &d);
        client_send_text(&c, cases[i].text);
        assert_true(client_read(&c, &answer));
        if (answer.status != cases[i].status || !answer_has(&answer, "X-Request-ID", "mine"))
            fail_msg("%s: %s", cases[i].text, answer.head);
        answer_release(&answer);
        client_close(&c);
    }
}

static void a_request_id_is_made_up(void **state)
{
    (void)state;
    static const char *const headers[] = {"", "X-Request-ID: a b\r\n", "X-Request-ID:\r\n"};
    char *before = NULL;
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        struct answer answer = {0};
        ask(&d, &answer, "GET", "/healthz", headers[i], NULL);
        char *id = answer_header(&answer, "X-Request-ID");
        assert_non_null(id);
        assert_int_equal(strlen(id), 32);
        assert_true(!before || strcmp(before, id) != 0);
        free(before);
        before = id;
        answer_release(&answer);
    }
    free(before);
}

/* What a deleted task leaves: 410 with its state, for its tenant alone; and its idempotency key does not make 503. */
static void a_deleted_task_is_gone(void **state)
{
    (void)state;
    static const char tenant[] = "X-Tenant-ID: gone\r\n", other[] = "X-Tenant-ID: other\r\n";
    static const char key[] = JSON_TYPE "X-Tenant-ID: gone\r\nIdempotency-Key: once\r\n";
    json_t *task = run(&d, "X-Tenant-ID: gone\r\nIdempotency-Key: once\r\n", "{\"task\":\"satchel.noop\"}");
    char target[64];
    const char *id = text_of(task, "id");
    (void)snprintf(target, sizeof target, "/v1/tasks/%s", id);
    assert_null(act(&d, tenant, id, "delete", 204));
    struct answer answer = {0};
    ask(&d, &answer, "GET", target, tenant, NULL);
    expect_problem(&answer, 410, "task-gone");
    json_t *problem = answer_json(&answer);
    expect_text(problem, "id", id);
    expect_text(problem, "state", "succeeded");
    expect_time(problem, "created_at");
    expect_time(problem, "finished_at");
    json_decref(problem);
    ask(&d, &answer, "DELETE", target, tenant, NULL);
    expect_problem(&answer, 410, "task-gone");
    ask(&d, &answer, "GET", target, other, NULL);
    expect_problem(&answer, 404, "task-not-found");
    ask(&d, &answer, "POST", "/v1/tasks", key, "{\"task\":\"satchel.noop\"}");
    expect_problem(&answer, 410, "task-gone");
    assert_non_null(strstr(answer.body, id));
    assert_null(answer_header(&answer, "Retry-After"));
    ask(&d, &answer, "POST", "/v1/tasks", key, "{\"task\":\"satchel.echo\"}");
    expect_problem(&answer, 422, "idempotency-mismatch");
    answer_release(&answer);
    json_decref(task);
}

/* The same answer, byte for byte but for the request id and the date, whatever makes the task not be there. */
static void not_found_tells_nothing(void **state)
{
    (void)state;
    json_t *theirs = submit(&d, "X-Tenant-ID: theirs\r\n", "{\"task\":\"satchel.noop\",\"delay\":\"1h\"}", 202);
    char target[3][64];
    (void)snprintf(target[0], sizeof target[0], "/v1/tasks/%s", text_of(theirs, "id"));
    strcpy(target[1], "/v1/tasks/01995a2e-7c3b-7d21-9f0e-4b8f6d1c2a35");
    strcpy(target[2], "/v1/tasks/nonsense");
    static const char *const suffixes[] = {"", "/result", ":cancel", ":retry"};
    for (size_t s = 0; s < sizeof suffixes / sizeof suffixes[0]; s++) {
        struct answer first = {0}, answer = {0};
        for (size_t i = 0; i < 3; i++) {
            char whole[96];
            (void)snprintf(whole, sizeof whole, "%s%s", target[i], suffixes[s]);
            ask(&d, i ? &answer : &first, s < 2 ? "GET" : "POST", whole, "X-Tenant-ID: mine\r\nX-Request-ID: r\r\n",
                NULL);
            if (i == 0) {
                expect_problem(&first, 404, "task-not-found");
                continue;
            }
            assert_string_equal(answer.body, first.body);
            char *date = strstr(answer.head, "Date: "), *first_date = strstr(first.head, "Date: ");
            assert_non_null(date);
            assert_memory_equal(answer.head, first.head, (size_t)(date - answer.head));
            assert_string_equal(strstr(date, "\r\n"), strstr(first_date, "\r\n"));
        }
        answer_release(&first);
        answer_release(&answer);
    }
    json_decref(act(&d, "X-Tenant-ID: theirs\r\n", text_of(theirs, "id"), "cancel", 200));
    json_decref(theirs);
}

static void no_result_is_a_conflict(void **state)
{
    (void)state;
    json_t *task = run(&d, NULL, "{\"task\":\"satchel.fail\",\"args\":{\"message\":\"out of paper\"}}");
    char target[96];
    struct answer answer = {0};
    (void)snprintf(target, sizeof target, "/v1/tasks/%s/result", text_of(task, "id"));
    ask(&d, &answer, "GET", target, NULL, NULL);
    expect_problem(&answer, 409, "state-conflict");
    assert_non_null(strstr(answer.body, "out of paper"));
    assert_non_null(strstr(answer.body, "\"state\":\"failed\""));
    json_decref(task);
    task = submit(&d, NULL, "{\"task\":\"satchel.noop\",\"delay\":\"1h\"}", 202);
    (void)snprintf(target, sizeof target, "/v1/tasks/%s/result", text_of(task, "id"));
    ask(&d, &answer, "GET", target, NULL, NULL);
    assert_int_equal(answer.status, 202);
    char *retry = answer_header(&answer, "Retry-After");
    assert_non_null(retry);
    free(retry);
    answer_release(&answer);
    json_decref(task);
}

static void pages_hold_together(void **state)
{
    (void)state;
    enum { N = 7 };
    static const char tenant[] = "X-Tenant-ID: pages\r\n";
    for (int i = 0; i < N; i++)
        json_decref(run(&d, tenant, "{\"task\":\"satchel.noop\",\"labels\":{\"a\":\"x&y=z\"}}"));
    json_decref(run(&d, tenant, "{\"task\":\"satchel.noop\"}"));
    char target[256] = "/v1/tasks?limit=3&label=a:x%26y%3Dz", last[64] = "~";
    int seen = 0;
    for (int page = 0; page < 3; page++) {
        struct answer answer = {0};
        ask(&d, &answer, "GET", target, tenant, NULL);
        assert_int_equal(answer.status, 200);
        json_t *body = answer_json(&answer), *tasks = json_object_get(body, "tasks"), *task;
        size_t i;
        json_array_foreach(tasks, i, task)
        {
            assert_true(strcmp(text_of(task, "id"), last) < 0); /* newest first, none twice */
            (void)snprintf(last, sizeof last, "%s", text_of(task, "id"));
            seen++;
        }
        char *link = answer_header(&answer, "Link");
        assert_int_equal(link != NULL, page < 2);
        assert_int_equal(json_object_get(body, "next_cursor") != NULL, page < 2);
        if (link) {
            char *end = strstr(link, ">; rel=\"next\"");
            assert_true(link[0] == '<' && end && end[13] == '\0');
            *end = '\0';
            assert_non_null(strstr(link, text_of(body, "next_cursor")));
            (void)snprintf(target, sizeof target, "%s", link + 1);
            struct answer foreign = {0};
            ask(&d, &foreign, "GET", target, "X-Tenant-ID: pages2\r\n", NULL);
            expect_problem(&foreign, 400, "invalid-parameter");
            answer_release(&foreign);
        }
        free(link);
        json_decref(body);
        answer_release(&answer);
    }
    assert_int_equal(seen, N);
}

static void a_sub_task_inherits(void **state)
{
    (void)state;
    static const char headers[] = "X-Tenant-ID: heirs\r\nbaggage: k=v\r\n"
                                  "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"
                                  "X-Satchel-Deadline: 2099-01-01T00:00:00Z\r\n";
    json_t *task = run(&d, headers,
                       "{\"task\":\"satchel.spawn\",\"args\":{\"task\":\"satchel.context\",\"args\":1,\"count\":1},"
                       "\"context\":{\"shard\":\"7\"}}");
    expect_state(task, "succeeded");
    const char *child_id = json_string_value(json_array_get(json_object_get(task, "result"), 0));
    assert_non_null(child_id);
    json_t *child = finish(&d, "X-Tenant-ID: heirs\r\n", child_id), *context = json_object_get(child, "context");
    expect_state(child, "succeeded");
    expect_text(child, "parent_id", text_of(task, "id"));
    expect_text(child, "root_id", text_of(task, "id"));
    expect_text(context, "shard", "7");
    expect_text(context, "baggage", "k=v");
    expect_text(context, "deadline", "2099-01-01T00:00:00.000000Z");
    assert_memory_equal(text_of(context, "traceparent"), "00-4bf92f3577b34da6a3ce929d0e0e4736-", 36);
    assert_string_not_equal(text_of(context, "traceparent"), text_of(json_object_get(task, "context"), "traceparent"));
    assert_null(json_object_get(context, "task_id"));
    assert_null(json_object_get(context, "attempt"));
    expect_text(json_object_get(child, "result"), "task_id", child_id);
    json_decref(child);
    json_decref(task);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_answer_has_the_request_id),
        cmocka_unit_test(a_request_id_is_made_up),
        cmocka_unit_test(a_deleted_task_is_gone),
        cmocka_unit_test(not_found_tells_nothing),
        cmocka_unit_test(no_result_is_a_conflict),
        cmocka_unit_test(pages_hold_together),
        cmocka_unit_test(a_sub_task_inherits),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
