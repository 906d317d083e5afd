/* What is not right is refused with the contract's status and problem, and harms nothing: afterwards the daemon
 * serves as before, and its log has no error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "tests/support/ask.h"

static struct satcheld d;

static int start(void **state)
{
    (void)state;
    satcheld_init(&d, "header_timeout = \"2s\"\n");
    satcheld_start(&d);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    json_decref(run(&d, NULL, "{\"task\":\"satchel.noop\"}"));
    satcheld_stop(&d);
    satcheld_release(&d);
    return 0;
}

/* ---- bodies ---- */

static void refused(const char *body, size_t len, int status, const char *urn, const char *pointer)
{
    struct client c;
    struct answer answer = {0};
    char head[256];
    client_open(&c, &d);
    int head_len = snprintf(
        head, sizeof head,
        "POST /v1/tasks HTTP/1.1\r\nHost: h\r\n" JSON_TYPE "X-Tenant-ID: bad\r\nContent-Length: %zu\r\n\r\n", len);
    client_send(&c, head, (size_t)head_len);
    client_send(&c, body, len);
    assert_true(client_read(&c, &answer));
    if (answer.status != status)
        fail_msg("status %d, not %d, for %.300s: %s", answer.status, status, body, answer.body);
    expect_problem(&answer, status, urn);
    if (pointer) {
        json_t *problem = answer_json(&answer);
        expect_pointer(problem, pointer);
        json_decref(problem);
    }
    answer_release(&answer);
    client_close(&c);
}

static void refused_text(const char *body, int status, const char *urn, const char *pointer)
{
    refused(body, strlen(body), status, urn, pointer);
}

static void json_faults(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",
        " ",
        "{",
        "}",
        "[1,]",
        "{\"task\":\"satchel.noop\",}",
        "{\"task\":\"satchel.noop\"} x",
        "{\"task\":\"satchel.noop\"}{}",
        "{'task':'satchel.noop'}",
        "{task:\"satchel.noop\"}",
        "{\"task\":\"satchel.noop\",\"task\":\"satchel.echo\"}",
        "{\"task\":\"satchel.noop\",\"args\":{\"a\":1,\"a\":2}}",
        "{\"task\":\"satchel.noop\",\"args\":NaN}",
        "{\"task\":\"satchel.noop\",\"args\":Infinity}",
        "{\"task\":\"satchel.noop\",\"args\":01}",
        "{\"task\":\"satchel.noop\",\"args\":.5}",
        "{\"task\":\"satchel.noop\",\"args\":+1}",
        "{\"task\":\"satchel.noop\",\"args\":\"\t\"}",
        "{\"task\":\"satchel.noop\",\"args\":\"\\x\"}",
        "{\"task\":\"satchel.noop\",\"args\":\"\\ud800\"}",
        "{\"task\":\"satchel.noop\",\"args\":\"\xff\"}",
        "{\"task\":\"satchel.noop\",\"args\":\"\xc0\x80\"}",
        "{\"task\":\"satchel.noop\",\"args\":\"\xed\xa0\x80\"}",
        "{\"task\":\"satchel.noop\",\"args\":\"unfinished",
        "{\"task\":\"satchel.noop\" // comment\n}",
        "\xef\xbb\xbf{\"task\":\"satchel.noop\"}",
        "nul",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++)
        refused_text(bodies[i], 400, "malformed-json", NULL);
}

static void nul_bytes(void **state)
{
    (void)state;
    static const char after_number[] = "{\"task\":\"satchel.echo\",\"args\":[1\0]}";
    static const char in_string[] = "{\"task\":\"satchel.echo\",\"args\":\"a\0b\"}";
    static const char in_name[] = "{\"task\0x\":\"satchel.echo\"}";
    static const char behind[] = "{\"task\":\"satchel.echo\"}\0";
    refused(after_number, sizeof after_number - 1, 400, "malformed-json", NULL);
    refused(in_string, sizeof in_string - 1, 400, "malformed-json", NULL);
    refused(in_name, sizeof in_name - 1, 400, "malformed-json", NULL);
    refused(behind, sizeof behind - 1, 400, "malformed-json", NULL);
}

static void deep_nesting(void **state)
{
    (void)state;
    size_t depth = 200000;
    char *body = malloc(depth + 64);
    assert_non_null(body);
    int n = snprintf(body, 64, "{\"task\":\"satchel.echo\",\"args\":");
    memset(body + n, '[', depth);
    refused(body, (size_t)n + depth, 400, "malformed-json", NULL);
    free(body);
}

static void not_an_object(void **state)
{
    (void)state;
    static const char *const bodies[] = {"[]", "null", "1", "\"satchel.noop\"", "[{\"task\":\"satchel.noop\"}]"};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++)
        refused_text(bodies[i], 422, "invalid-submission", "");
}

static void wrong_members(void **state)
{
    (void)state;
    static const struct {
        const char *member, *pointer;
    } all[] = {
        {"\"tsk\":1", "/tsk"},
        {"\"Task\":\"x\"", "/Task"},
        {"\"a/b~c\":1", "/a~1b~0c"},
        {"\"\":1", "/"},
        {"\"id\":\"x\"", "/id"},
        {"\"tenant\":\"other\"", "/tenant"},
        {"\"state\":\"succeeded\"", "/state"},
        {"\"priority\":10", "/priority"},
        {"\"priority\":-1", "/priority"},
        {"\"priority\":1.5", "/priority"},
        {"\"priority\":\"4\"", "/priority"},
        {"\"priority\":null", "/priority"},
        {"\"priority\":1e300", "/priority"},
        {"\"delay\":\"soon\"", "/delay"},
        {"\"delay\":\"-1s\"", "/delay"},
        {"\"delay\":-1", "/delay"},
        {"\"delay\":true", "/delay"},
        {"\"delay\":\"1y\"", "/delay"},
        {"\"delay\":\"99999999999999999999d\"", "/delay"},
        {"\"run_at\":\"tomorrow\"", "/run_at"},
        {"\"run_at\":\"2026-02-30T00:00:00Z\"", "/run_at"},
        {"\"run_at\":\"2026-01-01 00:00:00\"", "/run_at"},
        {"\"run_at\":1700000000", "/run_at"},
        {"\"run_at\":\"2099-01-01T00:00:00Z\",\"delay\":1", "/run_at"},
        {"\"timeout\":0", "/timeout"},
        {"\"timeout\":\"x\"", "/timeout"},
        {"\"timeout\":[]", "/timeout"},
        {"\"deadline\":7", "/deadline"},
        {"\"deadline\":\"2026-13-01T00:00:00Z\"", "/deadline"},
        {"\"expires_in\":0", "/expires_in"},
        {"\"expires_in\":{}", "/expires_in"},
        {"\"max_attempts\":0", "/max_attempts"},
        {"\"max_attempts\":-5", "/max_attempts"},
        {"\"max_attempts\":\"3\"", "/max_attempts"},
        {"\"max_attempts\":99999999999", "/max_attempts"},
        {"\"max_lost\":-1", "/max_lost"},
        {"\"max_lost\":false", "/max_lost"},
        {"\"backoff\":\"fixed\"", "/backoff"},
        {"\"backoff\":{\"type\":\"linear\"}", "/backoff/type"},
        {"\"backoff\":{\"base\":\"x\"}", "/backoff/base"},
        {"\"backoff\":{\"cap\":-1}", "/backoff/cap"},
        {"\"backoff\":{\"jitter\":1}", "/backoff/jitter"},
        {"\"backoff\":{\"bse\":1}", "/backoff/bse"},
        {"\"labels\":[]", "/labels"},
        {"\"labels\":{\"a\":1}", "/labels/a"},
        {"\"labels\":{\"\":\"x\"}", "/labels/"},
        {"\"labels\":{\"a:b\":\"x\"}", "/labels/a:b"},
        {"\"context\":\"x\"", "/context"},
        {"\"context\":{\"a\":1}", "/context/a"},
        {"\"context\":{\"A\":\"x\"}", "/context/A"},
        {"\"context\":{\"9\":\"x\"}", "/context/9"},
        {"\"context\":{\"a b\":\"x\"}", "/context/a b"},
        {"\"context\":{\"tenant\":\"x\"}", "/context/tenant"},
        {"\"context\":{\"traceparent\":\"x\"}", "/context/traceparent"},
        {"\"context\":{\"request_id\":\"x\"}", "/context/request_id"},
        {"\"context\":{\"deadline\":\"x\"}", "/context/deadline"},
        {"\"context\":{\"baggage\":\"x\"}", "/context/baggage"},
        {"\"context\":{\"a\":\"x\\ny\"}", "/context/a"},
        {"\"parent_id\":\"x\"", "/parent_id"},
        {"\"parent_id\":7", "/parent_id"},
        {"\"retain\":\"for ever\"", "/retain"},
        {"\"idempotency_key\":\"\"", "/idempotency_key"},
        {"\"idempotency_key\":9", "/idempotency_key"},
    };
    char body[512];
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        (void)snprintf(body, sizeof body, "{\"task\":\"satchel.noop\",%s}", all[i].member);
        refused_text(body, 422, "invalid-submission", all[i].pointer);
    }
}

static void every_fault_is_named(void **state)
{
    (void)state;
    json_t *problem =
        submit(&d, NULL, "{\"task\":\"satchel.noop\",\"priority\":11,\"nope\":1,\"labels\":{\"x\":2}}", 422);
    expect_pointer(problem, "/priority");
    expect_pointer(problem, "/nope");
    expect_pointer(problem, "/labels/x");
    json_decref(problem);
}

static void many_faults_are_bounded(void **state)
{
    (void)state;
    size_t size = 900000, n = 1;
    char *body = malloc(size + 64);
    assert_non_null(body);
    body[0] = '{';
    for (int i = 0; n < size; i++)
        n += (size_t)snprintf(body + n, 64, "\"unknown%d\":%d,", i, i);
    n += (size_t)snprintf(body + n, 64, "\"task\":\"satchel.noop\"}");
    struct answer answer = {0};
    ask(&d, &answer, "POST", "/v1/tasks", JSON_TYPE, body);
    expect_problem(&answer, 422, "invalid-submission");
    assert_true(answer.body_len < 100000);
    answer_release(&answer);
    free(body);
}

static void task_names(void **state)
{
    (void)state;
    refused_text("{\"args\":1}", 422, "invalid-submission", "/task");
    refused_text("{\"task\":null}", 422, "invalid-submission", "/task");
    refused_text("{\"task\":\"\"}", 422, "invalid-submission", "/task");
    refused_text("{\"task\":[\"satchel.noop\"]}", 422, "invalid-submission", "/task");
    refused_text("{\"task\":\"satchel.nope\"}", 422, "unknown-task", "/task");
    refused_text("{\"task\":\"Satchel.Noop\"}", 422, "unknown-task", "/task");
    refused_text("{\"task\":\"satchel.noop \"}", 422, "unknown-task", "/task");
    refused_text("{\"task\":\"../../bin/sh\"}", 422, "unknown-task", "/task");
    char body[20100] = "{\"task\":\"";
    memset(body + 9, 'n', 20000);
    strcpy(body + 20009, "\"}");
    refused_text(body, 422, "unknown-task", "/task");
}

static void body_sizes(void **state)
{
    (void)state;
    const size_t limit = 1024 * 1024;
    char *body = malloc(limit + 64);
    assert_non_null(body);
    int n = snprintf(body, 64, "{\"task\":\"satchel.noop\",\"args\":\"");
    memset(body + n, 'a', limit - (size_t)n);
    strcpy(body + limit - 2, "\"}");
    assert_int_equal(strlen(body), limit);
    json_decref(submit(&d, NULL, body, 202)); /* exactly as much as is allowed */
    strcpy(body + limit - 1, "\"}");
    struct client c;
    struct answer answer = {0};
    client_open(&c, &d);
    char *text = request_text("POST", "/v1/tasks", JSON_TYPE, body, limit + 1);
    client_send_text(&c, text);
    assert_true(client_read(&c, &answer));
    expect_problem(&answer, 413, "body-too-large");
    client_close(&c);
    free(text);
    free(body);

    client_open(&c, &d); /* announced, never sent: answered at once */
    client_send_text(&c, "POST /v1/tasks HTTP/1.1\r\nHost: h\r\n" JSON_TYPE "Content-Length: 99999999999\r\n\r\n");
    assert_true(client_read(&c, &answer));
    expect_problem(&answer, 413, "body-too-large");
    client_close(&c);
    answer_release(&answer);
}

static void endless_chunks(void **state)
{
    (void)state;
    struct client c;
    struct answer answer = {0};
    static char chunk[65536];
    memset(chunk, ' ', sizeof chunk);
    client_open(&c, &d);
    client_send_text(&c, "POST /v1/tasks HTTP/1.1\r\nHost: h\r\n" JSON_TYPE "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 40; i++) { /* 2.5 MiB */
        client_send_text(&c, "10000\r\n");
        client_send(&c, chunk, sizeof chunk);
        client_send_text(&c, "\r\n");
    }
    assert_true(client_read(&c, &answer));
    expect_problem(&answer, 413, "body-too-large");
    client_close(&c);
    answer_release(&answer);
}

/* ---- headers ---- */

static void refused_head(const char *method, const char *target, const char *headers, const char *body, int status,
                         const char *urn)
{
    struct answer answer = {0};
    ask(&d, &answer, method, target, headers, body);
    if (answer.status != status)
        fail_msg("%s %.100s %.100s: status %d, not %d: %s", method, target, headers ? headers : "", answer.status,
                 status, answer.body);
    expect_problem(&answer, status, urn);
    answer_release(&answer);
}

static void tenants(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "X-Tenant-ID: \r\n",
        "X-Tenant-ID: .\r\n",
        "X-Tenant-ID: ..\r\n",
        "X-Tenant-ID: a b\r\n",
        "X-Tenant-ID: a/b\r\n",
        "X-Tenant-ID: a|b\r\n",
        "X-Tenant-ID: a,b\r\n",
        "X-Tenant-ID: \xc3\xa4\r\n",
        "X-Tenant-ID: a\r\nX-Tenant-ID: b\r\n",
        "X-Tenant-ID: a\r\nX-Scope-OrgID: b\r\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        refused_head("GET", "/v1/tasks", bad[i], NULL, 400, "invalid-tenant");
        char *headers;
        assert_true(asprintf(&headers, JSON_TYPE "%s", bad[i]) > 0);
        refused_head("POST", "/v1/tasks", headers, "{\"task\":\"satchel.noop\"}", 400, "invalid-tenant");
        free(headers);
    }
    char longer[200] = "X-Tenant-ID: ";
    memset(longer + 13, 'q', 151);
    strcpy(longer + 164, "\r\n");
    refused_head("GET", "/v1/tasks", longer, NULL, 400, "invalid-tenant");
}

static void required_tenant(void **state)
{
    (void)state;
    struct satcheld strict;
    struct answer answer = {0};
    satcheld_init(&strict, "require_tenant = true\n");
    satcheld_start(&strict);
    ask(&strict, &answer, "POST", "/v1/tasks", JSON_TYPE, "{\"task\":\"satchel.noop\"}");
    expect_problem(&answer, 400, "missing-tenant");
    ask(&strict, &answer, "GET", "/v1/tasks", NULL, NULL);
    expect_problem(&answer, 400, "missing-tenant");
    json_decref(run(&strict, "X-Tenant-ID: a\r\n", "{\"task\":\"satchel.noop\"}"));
    json_decref(get_json(&strict, "/healthz", NULL, 200));
    answer_release(&answer);
    satcheld_stop(&strict);
    satcheld_release(&strict);
}

static void media_types(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: application/jsonp\r\n",
        "Content-Type: json\r\n",
        "Content-Type: application/json; charset=iso-8859-1\r\n",
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refused_head("POST", "/v1/tasks", bad[i], "{\"task\":\"satchel.noop\"}", 415, "unsupported-media-type");
    struct answer answer = {0};
    ask(&d, &answer, "POST", "/v1/tasks", "Content-Type: Application/JSON; charset=\"UTF-8\"\r\n",
        "{\"task\":\"satchel.noop\"}");
    assert_int_equal(answer.status, 202);
    answer_release(&answer);
}

static void methods(void **state)
{
    (void)state;
    static const struct {
        const char *method, *target, *allow;
    } all[] = {
        {"PUT", "/v1/tasks", "GET, HEAD, POST, OPTIONS"},
        {"DELETE", "/v1/tasks", "GET, HEAD, POST, OPTIONS"},
        {"PATCH", "/v1/tasks/x", "GET, HEAD, DELETE, OPTIONS"},
        {"POST", "/v1/tasks/x", "GET, HEAD, DELETE, OPTIONS"},
        {"GET", "/v1/tasks/x:cancel", "POST, OPTIONS"},
        {"DELETE", "/v1/tasks/x/result", "GET, HEAD, OPTIONS"},
        {"POST", "/healthz", "GET, HEAD, OPTIONS"},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct answer answer = {0};
        ask(&d, &answer, all[i].method, all[i].target, NULL, NULL);
        expect_problem(&answer, 405, "method-not-allowed");
        if (!answer_has(&answer, "Allow", all[i].allow))
            fail_msg("%s %s: not Allow: %s in %s", all[i].method, all[i].target, all[i].allow, answer.head);
        answer_release(&answer);
    }
}

static void targets(void **state)
{
    (void)state;
    static const char *const nowhere[] = {"/",
                                          "/v1",
                                          "/v1/",
                                          "/v1/task",
                                          "/v1/tasks/",
                                          "/v2/tasks",
                                          "/v1/tasks/x/y",
                                          "/v1/tasks/x:pause",
                                          "/v1/tasks/a/../b",
                                          "//v1/tasks",
                                          "/V1/tasks",
                                          "/v1/tasks%2fx"};
    for (size_t i = 0; i < sizeof nowhere / sizeof nowhere[0]; i++)
        refused_head("GET", nowhere[i], NULL, NULL, 404, "not-found");
    refused_head("GET", "/v1/%zz", NULL, NULL, 400, "malformed-request");
    char *target = malloc(9001);
    assert_non_null(target);
    memset(target, 'a', 9000);
    target[0] = '/';
    target[9000] = '\0';
    refused_head("GET", target, NULL, NULL, 414, "target-too-long");
    free(target);
}

static void header_sizes(void **state)
{
    (void)state;
    char *lines = malloc(100000);
    assert_non_null(lines);
    memset(lines, 'v', 17000);
    memcpy(lines, "X-Long: ", 8);
    strcpy(lines + 17000, "\r\n");
    refused_head("GET", "/v1/tasks", lines, NULL, 431, "headers-too-large");
    size_t n = 0;
    for (int i = 0; i < 140; i++)
        n += (size_t)snprintf(lines + n, 32, "X-%d: %d\r\n", i, i);
    refused_head("GET", "/v1/tasks", lines, NULL, 431, "headers-too-large");
    n = 0;
    for (int i = 0; i < 9; i++) { /* each line is short enough, all of them are not */
        n += (size_t)snprintf(lines + n, 32, "X-%d: ", i);
        memset(lines + n, 'v', 8000);
        n += 8000;
        n += (size_t)snprintf(lines + n, 32, "\r\n");
    }
    refused_head("GET", "/v1/tasks", lines, NULL, 431, "headers-too-large");
    free(lines);
}

static void idempotency_keys(void **state)
{
    (void)state;
    static const char *const bad[] = {"Idempotency-Key: \"\"\r\n", "Idempotency-Key: \"open\r\n",
                                      "Idempotency-Key: a b\r\n", "Idempotency-Key: a\r\nIdempotency-Key: b\r\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char *headers;
        assert_true(asprintf(&headers, JSON_TYPE "%s", bad[i]) > 0);
        refused_head("POST", "/v1/tasks", headers, "{\"task\":\"satchel.noop\"}", 400, "invalid-parameter");
        free(headers);
    }
}

/* ---- queries and ids ---- */

static void queries(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "/v1/tasks?limit=0",
        "/v1/tasks?limit=1001",
        "/v1/tasks?limit=-1",
        "/v1/tasks?limit=x",
        "/v1/tasks?limit=",
        "/v1/tasks?limit=99999999999999999999",
        "/v1/tasks?state=done",
        "/v1/tasks?state=Queued",
        "/v1/tasks?foo=1",
        "/v1/tasks?Limit=1",
        "/v1/tasks?limit=1&limit=1",
        "/v1/tasks?cursor=x",
        "/v1/tasks?cursor=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "/v1/tasks?cursor=%00",
        "/v1/tasks?trace_id=1",
        "/v1/tasks?trace_id=" TRACE_ID "0",
        "/v1/tasks?parent=x",
        "/v1/tasks?root=1",
        "/v1/tasks?label=novalue",
        "/v1/tasks?label=:v",
        "/v1/tasks?task=%zz",
        "/v1/tasks?task=a%00b",
        "/v1/tasks?task=%f",
        "/v1/tasks/x?wait=soon",
        "/v1/tasks/x?wait=-1",
        "/v1/tasks/x?wait=1s&wait=2s",
        "/v1/tasks/x?waits=1s",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refused_head("GET", bad[i], NULL, NULL, 400, "invalid-parameter");
    refused_head("POST", "/v1/tasks/x:cancel?force=1", NULL, "", 400, "invalid-parameter");
    refused_head("POST", "/v1/tasks/x:cancel", JSON_TYPE, "{\"why\":1}", 400, "invalid-parameter");
}

static void ids(void **state)
{
    (void)state;
    static const char *const none[] = {"x",
                                       "0",
                                       "-",
                                       "01a2072d-d15a-7012-86b1-97fa535946b2",
                                       "01a2072dd15a701286b197fa535946b2",
                                       "01a2072d-d15a-7012-86b1-97fa535946b",
                                       "01a2072d-d15a-7012-86b1-97fa535946b22",
                                       "{01a2072d-d15a-7012-86b1-97fa535946b2}",
                                       "00000000-0000-0000-0000-000000000000",
                                       "ffffffff-ffff-ffff-ffff-ffffffffffff",
                                       "550e8400-e29b-41d4-a716-446655440000",
                                       "%2e%2e",
                                       "%27%20or%201=1--",
                                       "\xc3\xa4"};
    char target[256];
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        if ((unsigned char)none[i][0] >= 0x80)
            continue; /* not a target at all: see the framing */
        (void)snprintf(target, sizeof target, "/v1/tasks/%s", none[i]);
        refused_head("GET", target, NULL, NULL, 404, "task-not-found");
        refused_head("DELETE", target, NULL, NULL, 404, "task-not-found");
        (void)snprintf(target, sizeof target, "/v1/tasks/%s/result?wait=1s", none[i]);
        refused_head("GET", target, NULL, NULL, 404, "task-not-found");
        (void)snprintf(target, sizeof target, "/v1/tasks/%s:cancel", none[i]);
        refused_head("POST", target, NULL, "", 404, "task-not-found");
        (void)snprintf(target, sizeof target, "/v1/tasks/%s:retry", none[i]);
        refused_head("POST", target, NULL, "", 404, "task-not-found");
    }
}

static void forged_cursors(void **state)
{
    (void)state;
    static const char mine[] = "X-Tenant-ID: pages\r\n";
    for (int i = 0; i < 3; i++)
        json_decref(submit(&d, mine, "{\"task\":\"satchel.noop\"}", 202));
    json_t *page = get_json(&d, "/v1/tasks?limit=1", mine, 200);
    const char *cursor = text_of(page, "next_cursor");
    char target[256];
    (void)snprintf(target, sizeof target, "/v1/tasks?limit=1&cursor=%s", cursor);
    json_decref(get_json(&d, target, mine, 200));
    refused_head("GET", target, "X-Tenant-ID: others\r\n", NULL, 400, "invalid-parameter");
    (void)snprintf(target, sizeof target, "/v1/tasks?limit=1&state=queued&cursor=%s", cursor);
    refused_head("GET", target, mine, NULL, 400, "invalid-parameter");
    for (size_t i = 0; i < strlen(cursor); i++) {
        int n = snprintf(target, sizeof target, "/v1/tasks?limit=1&cursor=%s", cursor);
        char *at = target + n - strlen(cursor) + i;
        *at = *at == 'A' ? 'B' : 'A';
        refused_head("GET", target, mine, NULL, 400, "invalid-parameter");
    }
    json_decref(page);
}

/* ---- framing ---- */

#define SMUGGLED                                                                                                       \
    "POST /v1/tasks HTTP/1.1\r\nHost: h\r\n" JSON_TYPE "X-Tenant-ID: smuggled\r\nContent-Length: 23\r\n\r\n"           \
    "{\"task\":\"satchel.noop\"}"
#define POST_HEAD "POST /v1/tasks HTTP/1.1\r\nHost: h\r\n" JSON_TYPE
#define NOOP "{\"task\":\"satchel.noop\"}"
#define RAW(text, status)                                                                                              \
    {                                                                                                                  \
        text, sizeof(text) - 1, status                                                                                 \
    }

/* Refused, nothing behind it is read, and the connection is closed. */
static void framing(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        int status;
    } all[] = {
        RAW(POST_HEAD "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        RAW(POST_HEAD "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400),
        RAW(POST_HEAD "Content-Length: 0\r\nContent-Length: 23\r\n\r\n", 400),
        RAW(POST_HEAD "Content-Length: 23\r\nContent-Length: 23\r\n\r\n" NOOP, 400),
        RAW(POST_HEAD "Content-Length: 0, 0\r\n\r\n", 400),
        RAW(POST_HEAD "Content-Length: +0\r\n\r\n", 400),
        RAW(POST_HEAD "Content-Length: -1\r\n\r\n", 400),
        RAW(POST_HEAD "Content-Length: 0x0\r\n\r\n", 400),
        RAW(POST_HEAD "Content-Length: \r\n\r\n", 400),
        RAW(POST_HEAD "Content-Length : 0\r\n\r\n", 400),
        RAW(POST_HEAD "Content-Length: 99999999999999999999999\r\n\r\n", 400),
        RAW(POST_HEAD "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        RAW(POST_HEAD "Transfer-Encoding: gzip\r\n\r\n", 400),
        RAW(POST_HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        RAW(POST_HEAD "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        RAW(POST_HEAD "Transfer-Encoding:\x0b"
                      "chunked\r\n\r\n0\r\n\r\n",
            400),
        RAW("POST /v1/tasks HTTP/1.0\r\nHost: h\r\n" JSON_TYPE "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        RAW(POST_HEAD "Transfer-Encoding: chunked\r\n\r\n0x5\r\nabcde\r\n0\r\n\r\n", 400),
        RAW(POST_HEAD "Transfer-Encoding: chunked\r\n\r\n+5\r\nabcde\r\n0\r\n\r\n", 400),
        RAW(POST_HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\nabcdeXX0\r\n\r\n", 400),
        RAW(POST_HEAD "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 400),
        RAW(POST_HEAD "Transfer-Encoding: chunked\r\n\r\n-1\r\n", 400),
        RAW(POST_HEAD "Transfer-Encoding: chunked\r\n\r\n5\nabcde\r\n0\r\n\r\n", 400),
        RAW("GET /healthz HTTP/1.1\r\n\r\n", 400),
        RAW("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        RAW("GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        RAW("GET /healthz HTTP/1.1\r\nHost: h\r\nX: a\r\n folded\r\n\r\n", 400),
        RAW("GET /healthz HTTP/1.1\r\nHost: h\r\n X: a\r\n\r\n", 400),
        RAW("GET /healthz HTTP/1.1\nHost: h\n\n", 400),
        RAW("GET /healthz HTTP/1.1\r\nHost: h\nX: a\r\n\r\n", 400),
        RAW("GET /healthz HTTP/1.1\r\nHost: h\rX: a\r\n\r\n", 400),
        RAW("GET /healthz HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", 400),
        RAW("GET /healthz HTTP/1.1\r\nHost: h\r\n\0X: a\r\n\r\n", 400),
        RAW("GET /heal\0thz HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        RAW("GET /healthz HTTP/1.1\r\nHost: h\r\nX y: a\r\n\r\n", 400),
        RAW("GET /healthz HTTP/1.1\r\nHost: h\r\n: a\r\n\r\n", 400),
        RAW("GET /healthz HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n", 400),
        RAW("GET  /healthz HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        RAW("GET /healthz  HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        RAW("GET healthz HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        RAW("GET /healthz\r\nHost: h\r\n\r\n", 400),
        RAW("GET /\xc3\xa4 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        RAW("GET /healthz http/1.1\r\nHost: h\r\n\r\n", 400),
        RAW("GET /healthz HTTP/1.1 \r\nHost: h\r\n\r\n", 400),
        RAW("GET /healthz HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        RAW("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        RAW("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct client c;
        struct answer answer = {0};
        client_open(&c, &d);
        client_send(&c, all[i].bytes, all[i].len);
        client_send_text(&c, SMUGGLED);
        if (!client_read(&c, &answer))
            fail_msg("no answer to: %.*s", (int)all[i].len, all[i].bytes);
        if (answer.status != all[i].status)
            fail_msg("status %d, not %d, for: %.*s\n%s", answer.status, all[i].status, (int)all[i].len, all[i].bytes,
                     answer.body);
        assert_true(answer_has(&answer, "Content-Type", "application/problem+json"));
        assert_true(answer_has(&answer, "Connection", "close"));
        if (!client_is_closed(&c))
            fail_msg("the connection stays open after: %.*s", (int)all[i].len, all[i].bytes);
        answer_release(&answer);
        client_close(&c);
    }
    json_t *list = get_json(&d, "/v1/tasks", "X-Tenant-ID: smuggled\r\n", 200);
    assert_int_equal(json_array_size(json_object_get(list, "tasks")), 0);
    json_decref(list);
}

static void good_framing(void **state)
{
    (void)state;
    struct client c;
    struct answer answer = {0};
    client_open(&c, &d);
    client_send_text(&c, POST_HEAD "Transfer-Encoding: chunked\r\n\r\n5;x=y\r\n{\"tas\r\n12\r\nk\":\"satchel.noop\"}"
                                   "\r\n0\r\nX-Tenant-ID: trailer\r\n\r\n" SMUGGLED);
    assert_true(client_read(&c, &answer));
    assert_int_equal(answer.status, 202);
    json_t *task = answer_json(&answer);
    expect_text(task, "tenant", "default"); /* a trailer is no header */
    json_decref(task);
    assert_true(client_read(&c, &answer)); /* and what comes behind is a request of its own */
    assert_int_equal(answer.status, 202);
    task = answer_json(&answer);
    expect_text(task, "tenant", "smuggled");
    json_decref(task);
    client_close(&c);

    client_open(&c, &d);
    client_send_text(&c, POST_HEAD "Expect: 100-continue\r\nContent-Length: 23\r\n\r\n");
    assert_true(client_read(&c, &answer));
    assert_int_equal(answer.status, 100);
    client_send_text(&c, NOOP);
    assert_true(client_read(&c, &answer));
    assert_int_equal(answer.status, 202);
    ask_on(&c, &answer, "HEAD", "/healthz", NULL, NULL);
    assert_int_equal(answer.status, 200);
    assert_true(answer_has(&answer, "Content-Length", "15"));
    ask_on(&c, &answer, "OPTIONS", "/v1/tasks", NULL, NULL);
    assert_int_equal(answer.status, 204);
    assert_true(answer_has(&answer, "Allow", "GET, HEAD, POST, OPTIONS"));
    client_close(&c);

    client_open(&c, &d); /* refused before a byte of the body is sent */
    client_send_text(&c, "POST /v1/tasks HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\nExpect: 100-continue\r\n"
                         "Content-Length: 23\r\n\r\n");
    assert_true(client_read(&c, &answer));
    expect_problem(&answer, 415, "unsupported-media-type");
    client_close(&c);
    answer_release(&answer);
}

static void slow_headers(void **state)
{
    (void)state;
    struct client c;
    struct answer answer = {0};
    long long began = mono_ms();
    client_open(&c, &d);
    client_send_text(&c, "GET /healthz HTTP/1.1\r\nHost: h\r\n");
    for (int i = 0; i < 100 && !c.ended && client_try(&c, &answer) == 0; i++) { /* a trickle keeps no clock waiting */
        client_send_text(&c, "X: y\r\n");
        pause_ms(100);
    }
    long long took = mono_ms() - began;
    if (answer.status)
        expect_problem(&answer, 408, "request-timeout");
    else
        assert_true(c.ended);
    assert_true(took >= 1500 && took < 8000);
    answer_release(&answer);
    client_close(&c);
}

/* ---- damage ---- */

static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* A good request with a few bytes changed, cut or doubled: an answer that blames the request, or success, or a closed
 * connection; never a fault of the daemon's, and never nothing. */
static void damaged_requests(void **state)
{
    (void)state;
    static const char good[] =
        "POST /v1/tasks?x=1 HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nX-Tenant-ID: fuzz\r\n"
        "traceparent: " TRACEPARENT "\r\nbaggage: a=1;p,b=2\r\nPrefer: wait=1, return=minimal\r\n"
        "Idempotency-Key: \"abc\"\r\nX-Satchel-Deadline: 2099-01-01T00:00:00Z\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3a\r\n{\"task\":\"satchel.noop\",\"args\":[1,{\"a\":\"b\"}],\"delay\":\"1ms\"}\r\n0\r\n\r\n";
    unsigned seed = 20260923;
    int answered = 0, n = scaled(3000);
    for (int i = 0; i < n; i++) {
        char bytes[sizeof good * 2];
        size_t len = sizeof good - 1;
        memcpy(bytes, good, len);
        unsigned changes = 1 + next_random(&seed) % 4;
        for (unsigned k = 0; k < changes; k++) {
            size_t at = next_random(&seed) % len;
            switch (next_random(&seed) % 4) {
            case 0: bytes[at] = (char)next_random(&seed); break;
            case 1: bytes[at] = "\r\n\0 :,;\"{}[]%0"[next_random(&seed) % 14]; break;
            case 2:
                memmove(bytes + at, bytes + at + 1, len - at - 1);
                len--;
                break;
            default:
                if (len < sizeof bytes - 1) {
                    memmove(bytes + at + 1, bytes + at, len - at);
                    len++;
                }
            }
        }
        struct client c;
        struct answer answer = {0};
        client_open(&c, &d);
        client_send(&c, bytes, len);
        (void)shutdown(c.fd, SHUT_WR);
        while (client_read(&c, &answer)) {
            answered++;
            bool blamed = answer.status < 500 || answer.status == 501 || answer.status == 505;
            if (!blamed)
                fail_msg("status %d for: %.*s", answer.status, (int)len, bytes);
        }
        answer_release(&answer);
        client_close(&c);
    }
    assert_true(answered > n / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_faults),
        cmocka_unit_test(nul_bytes),
        cmocka_unit_test(deep_nesting),
        cmocka_unit_test(not_an_object),
        cmocka_unit_test(wrong_members),
        cmocka_unit_test(every_fault_is_named),
        cmocka_unit_test(many_faults_are_bounded),
        cmocka_unit_test(task_names),
        cmocka_unit_test(body_sizes),
        cmocka_unit_test(endless_chunks),
        cmocka_unit_test(tenants),
        cmocka_unit_test(required_tenant),
        cmocka_unit_test(media_types),
        cmocka_unit_test(methods),
        cmocka_unit_test(targets),
        cmocka_unit_test(header_sizes),
        cmocka_unit_test(idempotency_keys),
        cmocka_unit_test(queries),
        cmocka_unit_test(ids),
        cmocka_unit_test(forged_cursors),
        cmocka_unit_test(framing),
        cmocka_unit_test(good_framing),
        cmocka_unit_test(slow_headers),
        cmocka_unit_test(damaged_requests),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
