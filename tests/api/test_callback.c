/* The callback of a task: delivered once it has ended, whatever the end, with its context and signed; tried again
 * until the receiver takes it, over a crash too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <cmocka.h>

#include "tests/support/ask.h"
#include "tests/support/receiver.h"

#define CONTEXT                                                                                                        \
    "X-Tenant-ID: acme\r\nX-Region: eu-1\r\nX-Api-Key: hush-hush\r\nbaggage: a=1\r\ntracestate: v=1\r\n"               \
    "X-Request-ID: r-1\r\ntraceparent: " TRACEPARENT "\r\n"
#define ACME "X-Tenant-ID: acme\r\n"

static struct satcheld d;
static struct receiver hook;

static int start(void **state)
{
    (void)state;
    receiver_start(&hook);
    satcheld_init(&d, "header \"X-Region\" { var = \"region\" }\n"
                      "header \"X-Api-Key\" { var = \"api_key\" secret = true }\n");
    satcheld_start(&d);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    satcheld_stop(&d);
    satcheld_release(&d);
    receiver_stop(&hook);
    return 0;
}

/* Submits {"task": ..., "callback": the hook's URL, ...members}. */
static json_t *submit_with(const char *members)
{
    char body[512];
    (void)snprintf(body, sizeof body, "{%s,\"callback\":\"%s/hook?x=1\",\"context\":{\"k\":\"v\"}}", members, hook.url);
    return submit(&d, CONTEXT, body, 202);
}

static char *field(const char *head, const char *name)
{
    size_t len = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line && line[2]; line = strstr(line + 2, "\r\n"))
        if (strncasecmp(line + 2, name, len) == 0 && line[2 + len] == ':') {
            const char *value = line + 3 + len + strspn(line + 3 + len, " ");
            return strndup(value, strcspn(value, "\r"));
        }
    return NULL;
}

static void expect_field(const struct received *request, const char *name, const char *expected)
{
    char *value = field(request->head, name);
    if (!value || strcmp(value, expected) != 0)
        fail_msg("%s is %s, expected %s", name, value ? value : "absent", expected);
    free(value);
}

/* The n-th request since the test began to look; waits for it. */
static const struct received *request_at(size_t n)
{
    if (!receiver_wait(&hook, n + 1, WAIT_MS))
        fail_msg("no callback came");
    return &hook.requests[n];
}

/* With the first key of the file. */
static void expect_signed(const struct received *request, const char *key_line)
{
    unsigned char key[128], digest[64];
    char text[128] = "v1,";
    assert_memory_equal(key_line, "whsec_", 6);
    size_t coded = strcspn(key_line + 6, "\n");
    int len = EVP_DecodeBlock(key, (const unsigned char *)key_line + 6, (int)coded);
    for (size_t at = coded; key_line[6 + at - 1] == '='; at--)
        len--;
    char *id = field(request->head, "webhook-id"), *at = field(request->head, "webhook-timestamp");
    char *signature = field(request->head, "webhook-signature"), *all;
    assert_true(id && at && signature);
    assert_true(asprintf(&all, "%s.%s.%s", id, at, request->body) > 0);
    unsigned n = 0;
    assert_non_null(HMAC(EVP_sha256(), key, len, (unsigned char *)all, strlen(all), digest, &n));
    (void)EVP_EncodeBlock((unsigned char *)text + 3, digest, (int)n);
    if (!strstr(signature, text))
        fail_msg("%s is not among %s", text, signature);
    free(all);
    free(signature);
    free(at);
    free(id);
}

static char *keys_text(void)
{
    char *path = satcheld_path(&d, "data/callback.keys"), *text = read_file(path);
    free(path);
    return text;
}

static json_t *body_of(const struct received *request)
{
    json_t *body = json_loads(request->body, 0, NULL);
    assert_non_null(body);
    return body;
}

/* ---- tests ---- */

static void the_finished_task_with_its_context(void **state)
{
    (void)state;
    size_t n = hook.n;
    json_t *task = submit_with("\"task\":\"satchel.echo\",\"args\":{\"x\":1}");
    const struct received *request = request_at(n);
    assert_memory_equal(request->head, "POST /hook?x=1 HTTP/1.1\r\n", 25);
    expect_field(request, "Content-Type", "application/json");
    expect_field(request, "X-Tenant-ID", "acme");
    expect_field(request, "X-Region", "eu-1");
    expect_field(request, "baggage", "a=1");
    expect_field(request, "tracestate", "v=1");
    expect_field(request, "X-Request-ID", "r-1");
    expect_field(request, "X-Satchel-Var-k", "v");
    assert_null(strstr(request->head, "hush-hush"));
    char *trace = field(request->head, "traceparent");
    assert_memory_equal(trace + 3, TRACE_ID, 32);
    free(trace);
    json_t *body = body_of(request), *now = get_task(&d, ACME, text_of(task, "id"), 200);
    expect_state(body, "succeeded");
    assert_true(json_equal(body, now)); /* what GET shows */
    char *keys = keys_text();
    expect_signed(request, keys);
    free(keys);
    json_decref(now);
    json_decref(body);
    json_decref(task);
}

static void every_kind_of_end(void **state)
{
    (void)state;
    static const struct {
        const char *members, *state;
    } ends[] = {
        {"\"task\":\"satchel.fail\",\"args\":{\"message\":\"no\"}", "failed"},
        {"\"task\":\"satchel.noop\",\"delay\":\"1h\",\"expires_in\":\"1ms\"", "expired"},
        {"\"task\":\"satchel.noop\",\"delay\":\"1h\"", "canceled"},
        {"\"task\":\"satchel.sleep\",\"args\":{\"seconds\":60}", "canceled"},
    };
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        size_t n = hook.n;
        json_t *task = submit_with(ends[i].members);
        if (strcmp(ends[i].state, "canceled") == 0)
            json_decref(act(&d, ACME, text_of(task, "id"), "cancel", 200));
        json_t *body = body_of(request_at(n));
        expect_text(body, "id", text_of(task, "id"));
        expect_state(body, ends[i].state);
        json_decref(body);
        json_decref(task);
    }
}

static void tried_again_as_the_receiver_asks(void **state)
{
    (void)state;
    size_t n = hook.n;
    receiver_answer(&hook, "HTTP/1.1 503 Busy\r\nRetry-After: 1\r\n", "");
    receiver_answer(&hook, "HTTP/1.1 429 Slow\r\nRetry-After: 1\r\n", "");
    json_t *task = submit_with("\"task\":\"satchel.noop\"");
    const struct received *last = request_at(n + 2);
    char *first_id = field(hook.requests[n].head, "webhook-id"), *last_id = field(last->head, "webhook-id");
    assert_string_equal(first_id, last_id); /* by which the receiver knows that it is the same */
    assert_true(last->at_ms - hook.requests[n].at_ms >= 1900);
    expect_field(last, "X-Satchel-Attempt", "3");
    free(last_id);
    free(first_id);
    json_decref(task);
}

static void refused_for_good_is_a_failed_task(void **state)
{
    (void)state;
    size_t n = hook.n;
    receiver_answer(&hook, "HTTP/1.1 410 Gone\r\n", "");
    json_t *task = submit_with("\"task\":\"satchel.noop\"");
    (void)request_at(n);
    char target[128];
    (void)snprintf(target, sizeof target, "/v1/tasks?task=satchel.callback&parent=%s", text_of(task, "id"));
    json_t *list = get_json(&d, target, ACME, 200), *callback = json_array_get(json_object_get(list, "tasks"), 0);
    assert_non_null(callback);
    json_t *ended = finish(&d, ACME, text_of(callback, "id"));
    expect_state(ended, "failed");
    expect_number(json_object_get(ended, "error"), "http_status", 410);
    json_decref(act(&d, ACME, text_of(callback, "id"), "retry", 202)); /* and can be run again like one */
    (void)request_at(n + 1);
    json_decref(finish(&d, ACME, text_of(callback, "id")));
    json_decref(ended);
    json_decref(list);
    json_decref(task);
}

static void a_crash_between_end_and_delivery(void **state)
{
    (void)state;
    size_t n = hook.n;
    receiver_answer(&hook, "HTTP/1.1 503 Busy\r\nRetry-After: 1\r\n", "");
    json_t *task = submit_with("\"task\":\"satchel.noop\"");
    (void)request_at(n);
    satcheld_kill(&d);
    satcheld_start(&d);
    json_t *body = body_of(request_at(n + 1));
    expect_text(body, "id", text_of(task, "id"));
    expect_field(&hook.requests[n + 1], "X-Tenant-ID", "acme");
    expect_field(&hook.requests[n + 1], "X-Satchel-Var-k", "v");
    json_decref(body);
    json_decref(task);
}

static void a_second_key_signs_too(void **state)
{
    (void)state;
    static const char second[] = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";
    char *path = satcheld_path(&d, "data/callback.keys"), *first = keys_text(), both[512];
    (void)snprintf(both, sizeof both, "# rotated\n%s%s", second, first);
    write_file(path, both);
    size_t n = hook.n;
    json_decref(submit_with("\"task\":\"satchel.noop\""));
    const struct received *request = request_at(n);
    expect_signed(request, first);
    expect_signed(request, second);
    free(first);
    free(path);
}

static void urls_that_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"\"\"",
                                      "7",
                                      "\"ftp://a/\"",
                                      "\"http://\"",
                                      "\"http://:80/\"",
                                      "\"https:///x\"",
                                      "\"http://u:p@h/\"",
                                      "\"http://a b/\"",
                                      "\"http://a/\\r\\nX: y\"",
                                      "\"//a/\"",
                                      "null"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char body[256];
        (void)snprintf(body, sizeof body, "{\"task\":\"satchel.noop\",\"callback\":%s}", bad[i]);
        json_t *problem = submit(&d, ACME, body, 422);
        expect_pointer(problem, "/callback");
        json_decref(problem);
    }
    json_t *problem = submit(&d, ACME, "{\"task\":\"satchel.callback\",\"args\":{\"url\":\"http://127.0.0.1/\"}}", 422);
    expect_text(problem, "type", "urn:satchel:problem:unknown-task"); /* nobody submits one */
    json_decref(problem);
}

static void private_addresses_are_not_called(void **state)
{
    (void)state;
    json_t *task = run(&d, ACME, "{\"task\":\"satchel.noop\",\"callback\":\"http://169.254.169.254/latest\"}");
    char target[128];
    (void)snprintf(target, sizeof target, "/v1/tasks?task=satchel.callback&parent=%s", text_of(task, "id"));
    json_t *list = get_json(&d, target, ACME, 200);
    json_t *ended = finish(&d, ACME, text_of(json_array_get(json_object_get(list, "tasks"), 0), "id"));
    expect_state(ended, "failed");
    assert_non_null(strstr(text_of(json_object_get(ended, "error"), "message"), "callback_allow"));
    json_decref(ended);
    json_decref(list);
    json_decref(task);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_finished_task_with_its_context),
        cmocka_unit_test(every_kind_of_end),
        cmocka_unit_test(tried_again_as_the_receiver_asks),
        cmocka_unit_test(refused_for_good_is_a_failed_task),
        cmocka_unit_test(a_crash_between_end_and_delivery),
        cmocka_unit_test(a_second_key_signs_too),
        cmocka_unit_test(urls_that_are_refused),
        cmocka_unit_test(private_addresses_are_not_called),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
