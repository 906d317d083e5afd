/* POST /v1/tasks:batch as a caller sees it. */
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
#define LINES_TYPE "Content-Type: application/x-ndjson\r\n"
#define BATCH "/v1/tasks:batch"

static struct satcheld d;

static int start(void **state)
{
    (void)state;
    satcheld_init(&d, "workers = 4\ndrain = \"100ms\"\ntenant \"few\" { max_queued = 3 }\n");
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

/* The lines of an answer, as an array of JSON values. */
static json_t *lines_of(const struct answer *answer)
{
    json_t *lines = json_array();
    assert_true(answer_has(answer, "Content-Type", "application/x-ndjson"));
    for (const char *at = answer->body; *at;) {
        const char *end = strchr(at, '\n');
        assert_non_null(end);
        json_t *line = json_loadb(at, (size_t)(end - at), JSON_DECODE_ANY, NULL);
        assert_non_null(line);
        (void)json_array_append_new(lines, line);
        at = end + 1;
    }
    return lines;
}

static json_t *send_lines(const char *headers, const char *body)
{
    struct answer answer = {0};
    char all[512];
    (void)snprintf(all, sizeof all, "%s" LINES_TYPE, headers);
    ask(&d, &answer, "POST", BATCH, all, body);
    if (answer.status != 200)
        fail_msg("status %d: %s", answer.status, answer.body);
    json_t *lines = lines_of(&answer);
    answer_release(&answer);
    return lines;
}

static json_t *send_array(const char *body, int status)
{
    struct answer answer = {0};
    ask(&d, &answer, "POST", BATCH, MINE JSON_TYPE, body);
    if (answer.status != status)
        fail_msg("status %d: %s", answer.status, answer.body);
    json_t *array = json_loads(answer.body, 0, NULL);
    answer_release(&answer);
    assert_non_null(array);
    return array;
}

static const json_t *at(const json_t *list, size_t index)
{
    const json_t *value = json_array_get(list, index);
    assert_non_null(value);
    return value;
}

static void expect_refused(const json_t *value, int status, const char *urn, const char *pointer)
{
    char type[128];
    (void)snprintf(type, sizeof type, "urn:satchel:problem:%s", urn);
    expect_text(value, "type", type);
    expect_number(value, "status", status);
    if (pointer)
        expect_pointer(value, pointer);
}

static void one_bad_line_harms_no_other(void **state)
{
    (void)state;
    json_t *lines = send_lines(MINE "traceparent: " TRACEPARENT "\r\nbaggage: k=v\r\n",
                               "{\"task\":\"satchel.context\"}\n\n{\"task\":\"nope\"}\r\n{bad\n"
                               "{\"task\":\"satchel.noop\",\"priority\":77}\n{\"task\":\"satchel.context\"}");
    assert_int_equal(json_array_size(lines), 5);
    expect_refused(at(lines, 1), 422, "unknown-task", "/task");
    expect_refused(at(lines, 2), 400, "malformed-json", NULL);
    expect_refused(at(lines, 3), 422, "invalid-submission", "/priority");
    const char *spans[2];
    json_t *tasks[2];
    for (size_t i = 0; i < 2; i++) {
        tasks[i] = finish(&d, MINE, text_of(at(lines, i * 4), "id"));
        expect_state(tasks[i], "succeeded");
        const json_t *result = json_object_get(tasks[i], "result");
        expect_text(result, "tenant", "mine");
        expect_text(result, "baggage", "k=v");
        assert_non_null(strstr(text_of(result, "traceparent"), TRACE_ID));
        spans[i] = text_of(json_object_get(tasks[i], "context"), "traceparent");
    }
    assert_string_not_equal(spans[0], spans[1]); /* each submission has a span of its own */
    json_decref(tasks[0]);
    json_decref(tasks[1]);
    json_decref(lines);
}

static void arrays(void **state)
{
    (void)state;
    json_t *list = send_array("[{\"task\":\"satchel.noop\"}, {\"task\":\"nope\"},\n3,"
                              "{\"task\":\"satchel.echo\",\"args\":\"],[\"}]",
                              200);
    assert_int_equal(json_array_size(list), 4);
    expect_refused(at(list, 1), 422, "unknown-task", "/1/task");
    expect_refused(at(list, 2), 422, "invalid-submission", "/2");
    expect_text(at(list, 3), "args", "],[");
    json_decref(list);
    list = send_array(" [ ] ", 200);
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);
    list = send_array("[{\"task\":\"satchel.noop\"}] and more", 200);
    assert_int_equal(json_array_size(list), 2);
    expect_text(at(list, 0), "task", "satchel.noop");
    expect_refused(at(list, 1), 400, "malformed-json", NULL);
    json_decref(list);
    static const char *const broken[] = {"", "{}", "[{\"task\":\"satchel.noop\"}", "null"};
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        list = send_array(broken[i], 400);
        expect_refused(list, 400, "malformed-json", NULL);
        json_decref(list);
    }
}

static void what_is_no_batch(void **state)
{
    (void)state;
    static const struct {
        const char *method, *target, *headers, *body;
        int status;
        const char *urn;
    } cases[] = {
        {"POST", BATCH, MINE "Content-Type: text/plain\r\n", "x", 415, "unsupported-media-type"},
        {"POST", BATCH, MINE, "x", 415, "unsupported-media-type"},
        {"POST", BATCH "?a=b", MINE LINES_TYPE, "", 400, "invalid-parameter"},
        {"GET", BATCH, MINE, NULL, 405, "method-not-allowed"},
        {"POST", BATCH, "X-Tenant-ID: a b\r\n" LINES_TYPE, "", 400, "invalid-tenant"},
        {"POST", BATCH, MINE LINES_TYPE "Idempotency-Key: \"k\"\r\n", "", 400, "invalid-parameter"},
        {"POST", BATCH, MINE LINES_TYPE "Content-Encoding: gzip\r\n", "x", 415, "unsupported-media-type"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct answer answer = {0};
        ask(&d, &answer, cases[i].method, cases[i].target, cases[i].headers, cases[i].body);
        expect_problem(&answer, cases[i].status, cases[i].urn);
        answer_release(&answer);
    }
}

static void keys_and_quotas_are_per_line(void **state)
{
    (void)state;
    json_t *lines = send_lines(MINE, "{\"task\":\"satchel.noop\",\"idempotency_key\":\"b\"}\n"
                                     "{\"task\":\"satchel.noop\",\"idempotency_key\":\"b\"}\n"
                                     "{\"task\":\"satchel.echo\",\"idempotency_key\":\"b\"}\n"
                                     "{\"task\":\"satchel.noop\",\"delay\":600,\"unique\":{\"key\":\"u\"}}\n"
                                     "{\"task\":\"satchel.noop\",\"delay\":600,\"unique\":{\"key\":\"u\"}}\n");
    assert_string_equal(text_of(at(lines, 0), "id"), text_of(at(lines, 1), "id"));
    expect_refused(at(lines, 2), 422, "idempotency-mismatch", NULL);
    expect_refused(at(lines, 4), 409, "not-unique", NULL);
    expect_text(at(lines, 4), "id", text_of(at(lines, 3), "id"));
    json_decref(act(&d, MINE, text_of(at(lines, 3), "id"), "cancel", 200));
    json_decref(lines);
    lines = send_lines("X-Tenant-ID: few\r\n", "{\"task\":\"satchel.noop\",\"delay\":600}\n"
                                               "{\"task\":\"satchel.noop\",\"delay\":600}\n"
                                               "{\"task\":\"satchel.noop\",\"delay\":600}\n"
                                               "{\"task\":\"satchel.noop\",\"delay\":600}\n");
    expect_state(at(lines, 2), "scheduled");
    expect_refused(at(lines, 3), 429, "quota-exceeded", NULL);
    json_decref(lines);
}

static void a_long_line_is_passed_over(void **state)
{
    (void)state;
    size_t size = (2 << 20) + 200;
    char *body = malloc(size);
    int len = snprintf(body, size, "{\"task\":\"satchel.echo\",\"args\":\"");
    memset(body + len, 'x', 2 << 20);
    (void)snprintf(body + len + (2 << 20), 100, "\"}\n{\"task\":\"satchel.noop\"}\n");
    json_t *lines = send_lines(MINE, body);
    assert_int_equal(json_array_size(lines), 2);
    expect_refused(at(lines, 0), 413, "body-too-large", NULL);
    expect_text(at(lines, 1), "task", "satchel.noop");
    json_decref(lines);
    free(body);
}

static void preferences(void **state)
{
    (void)state;
    json_t *lines = send_lines(MINE "Prefer: wait=60\r\n",
                               "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.2}}\n{\"task\":\"satchel.echo\","
                               "\"args\":7}\n{\"task\":\"satchel.fail\"}\n");
    expect_state(at(lines, 0), "succeeded");
    expect_number(at(lines, 1), "result", 7);
    expect_state(at(lines, 2), "failed");
    json_decref(lines);
    lines = send_lines(MINE "Prefer: return=minimal\r\n", "{\"task\":\"satchel.noop\"}\n");
    assert_int_equal(json_object_size(at(lines, 0)), 2);
    json_decref(lines);
}

/* A whole batch as a group, with one task behind it, and as sub-tasks. */
static void a_whole_batch_is_a_group(void **state)
{
    (void)state;
    struct answer answer = {0};
    json_t *parent = submit(&d, MINE, "{\"task\":\"satchel.noop\"}", 202);
    char target[160];
    (void)snprintf(target, sizeof target, BATCH "?group=nightly%%20run&parent=%s", text_of(parent, "id"));
    ask(&d, &answer, "POST", target, MINE LINES_TYPE,
        "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.2}}\n"
        "{\"task\":\"satchel.noop\"}\n"
        "{\"task\":\"satchel.noop\",\"group\":\"another\"}\n"
        "{\"task\":\"satchel.noop\",\"after_group\":\"nightly run\"}\n");
    assert_int_equal(answer.status, 200);
    json_t *lines = lines_of(&answer);
    expect_text(at(lines, 0), "group", "nightly run");
    expect_text(at(lines, 1), "group", "nightly run");
    expect_text(at(lines, 2), "group", "another");
    assert_null(json_object_get(at(lines, 3), "group"));
    expect_text(at(lines, 3), "parent_id", text_of(parent, "id"));
    json_t *slow = finish(&d, MINE, text_of(at(lines, 0), "id")), *last = finish(&d, MINE, text_of(at(lines, 3), "id"));
    expect_state(last, "succeeded");
    assert_true(time_of(last, "started_at") >= time_of(slow, "finished_at"));
    static const char *const wrong[] = {"?group=", "?group=a%0ab", "?parent=x", "?group=a&group=b", "?colour=1"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        (void)snprintf(target, sizeof target, BATCH "%s", wrong[i]);
        ask(&d, &answer, "POST", target, MINE LINES_TYPE, "{\"task\":\"satchel.noop\"}\n");
        assert_int_equal(answer.status, 400);
    }
    answer_release(&answer);
    json_decref(last);
    json_decref(slow);
    json_decref(lines);
    json_decref(parent);
}

static long peak_memory_kib(void)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)d.pid);
    char *text = read_file(path), *peak = strstr(text, "VmHWM:");
    long kib = peak ? strtol(peak + 6, NULL, 10) : 0;
    free(text);
    return kib;
}

/* Sends `count` lines of the given length as one body, reading what comes meanwhile; the answer. */
static void send_many(size_t count, size_t line_len, const char *headers, struct answer *answer)
{
    struct client c;
    char head[512], *line = malloc(line_len + 1);
    int n = snprintf(line, line_len, "{\"task\":\"satchel.noop\",\"args\":\"");
    memset(line + n, 'x', line_len - (size_t)n);
    memcpy(line + line_len - 3, "\"}\n", 3);
    client_open(&c, &d);
    (void)snprintf(head, sizeof head,
                   "POST " BATCH " HTTP/1.1\r\nHost: x\r\n%s" LINES_TYPE "Content-Length: %zu\r\n\r\n", headers,
                   count * line_len);
    client_send_text(&c, head);
    long long end = mono_ms() + 10 * WAIT_MS;
    for (size_t i = 0, sent = 0; i < count;) {
        long went = client_send_some(&c, line + sent, line_len - sent);
        assert_true(went >= 0 && mono_ms() < end);
        sent += (size_t)went;
        if (sent == line_len) {
            sent = 0;
            i++;
        }
        if (went == 0)
            assert_int_equal(client_try(&c, answer), 0); /* takes what has come; it is not complete */
    }
    assert_true(client_read_limit(&c, answer, 10 * WAIT_MS));
    client_send_text(&c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); /* the connection goes on */
    struct answer health = {0};
    assert_true(client_read(&c, &health));
    assert_int_equal(health.status, 200);
    answer_release(&health);
    client_close(&c);
    free(line);
}

static void a_long_batch_needs_bounded_memory(void **state)
{
    (void)state;
    struct answer answer = {0};
    size_t count = (size_t)scaled(6000), line_len = 16384; /* about 100 MB */
    long before = peak_memory_kib();
    send_many(count, line_len, "X-Tenant-ID: bulk\r\nPrefer: return=minimal\r\n", &answer);
    assert_int_equal(answer.status, 200);
    json_t *lines = lines_of(&answer);
    assert_int_equal(json_array_size(lines), count);
    for (size_t i = 1; i < count; i++) /* in their order: ids grow */
        assert_true(strcmp(text_of(at(lines, i - 1), "id"), text_of(at(lines, i), "id")) < 0);
    long grown = peak_memory_kib() - before;
    if (!SANITIZED && grown > 90 * 1024)
        fail_msg("a batch of %zu bytes took %ld KiB", count * line_len, grown);
    json_decref(lines);
    answer_release(&answer);
}

static unsigned count_ids(const char *text)
{
    unsigned n = 0;
    while ((text = strstr(text, "\"id\":\"")) && strlen(text) > 42) {
        n++;
        text++;
    }
    return n;
}

/* What was answered before the daemon was killed is there afterwards. */
static void what_is_answered_survives(void **state)
{
    (void)state;
    struct client c;
    struct answer answer = {0};
    client_open(&c, &d);
    client_send_text(&c, "POST " BATCH " HTTP/1.1\r\nHost: x\r\n" MINE LINES_TYPE "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 200; i++)
        client_send_text(&c, "2d\r\n{\"task\":\"satchel.echo\",\"args\":1,\"delay\":600}\n\r\n");
    long long end = mono_ms() + WAIT_MS;
    char *seen = NULL;
    do {
        assert_true(mono_ms() < end);
        assert_int_equal(client_try(&c, &answer), 0); /* the batch goes on */
        free(seen);
        seen = strndup(c.data ? c.data : "", c.len);
    } while (count_ids(seen) < 200);
    satcheld_kill(&d);
    satcheld_start(&d);
    for (const char *found = seen; (found = strstr(found, "\"id\":\"")); found++) {
        char id[37] = "";
        memcpy(id, found + 6, 36);
        json_t *task = get_task(&d, MINE, id, 200);
        expect_state(task, "scheduled");
        json_decref(task);
    }
    free(seen);
    client_close(&c);
}

/* A client that goes in the middle leaves nothing behind but its tasks. */
static void a_client_that_goes(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct client c;
        client_open(&c, &d);
        client_send_text(&c, "POST " BATCH " HTTP/1.1\r\nHost: x\r\n" MINE LINES_TYPE "Content-Length: 100000\r\n\r\n");
        for (int k = 0; k < i * 10; k++)
            client_send_text(&c, "{\"task\":\"satchel.noop\"}\n");
        client_close(&c);
    }
    json_t *lines = send_lines(MINE, "{\"task\":\"satchel.noop\"}\n");
    assert_int_equal(json_array_size(lines), 1);
    json_decref(lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_bad_line_harms_no_other),
        cmocka_unit_test(arrays),
        cmocka_unit_test(what_is_no_batch),
        cmocka_unit_test(keys_and_quotas_are_per_line),
        cmocka_unit_test(a_long_line_is_passed_over),
        cmocka_unit_test(preferences),
        cmocka_unit_test(a_whole_batch_is_a_group),
        cmocka_unit_test(a_long_batch_needs_bounded_memory),
        cmocka_unit_test(what_is_answered_survives),
        cmocka_unit_test(a_client_that_goes),
    };
    return cmocka_run_group_tests_name("batches", tests, start, stop);
}
