/* POST /v1/tasks: what is answered, what the task object holds, what each option does, what each built-in task does. */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tests/support/ask.h"

static struct satcheld d;

static int start(void **state)
{
    (void)state;
    satcheld_init(&d, "workers = 4\n");
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

/* ---- answers ---- */

static void expect_uuid7(const char *id)
{
    static const char form[] = "xxxxxxxx-xxxx-7xxx-vxxx-xxxxxxxxxxxx";
    assert_int_equal(strlen(id), sizeof form - 1);
    for (size_t i = 0; form[i]; i++) {
        bool good = form[i] == 'x'   ? isxdigit((unsigned char)id[i]) && !isupper((unsigned char)id[i])
                    : form[i] == 'v' ? strchr("89ab", id[i]) != NULL
                                     : form[i] == id[i];
        if (!good)
            fail_msg("not a UUIDv7: %s", id);
    }
    long long ms = 0;
    for (int i = 0; i < 13; i++)
        if (id[i] != '-')
            ms = ms * 16 + (isdigit((unsigned char)id[i]) ? id[i] - '0' : id[i] - 'a' + 10);
    long long now = (long long)time(NULL) * 1000;
    assert_true(ms > now - 60000 && ms < now + 60000);
}

static void accepted(void **state)
{
    (void)state;
    struct answer answer = {0};
    char expected[128];
    ask(&d, &answer, "POST", "/v1/tasks", JSON_TYPE, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.3}}");
    assert_int_equal(answer.status, 202);
    json_t *task = answer_json(&answer);
    (void)snprintf(expected, sizeof expected, "/v1/tasks/%s", text_of(task, "id"));
    assert_true(answer_has(&answer, "Location", expected));
    assert_true(answer_has(&answer, "Content-Type", "application/json"));
    expect_uuid7(text_of(task, "id"));
    char *request_id = answer_header(&answer, "X-Request-ID");
    assert_non_null(request_id);
    expect_text(json_object_get(task, "context"), "request_id", request_id);
    free(request_id);
    json_decref(finish(&d, NULL, text_of(task, "id")));
    json_decref(task);
    answer_release(&answer);
}

/* Every member of the contract is there, with its kind, before and after. */
static void members(void **state)
{
    (void)state;
    json_t *task = submit(&d, "X-Tenant-ID: acme\r\n",
                          "{\"task\":\"satchel.echo\",\"args\":[1],\"delay\":\"10m\",\"labels\":{\"a\":\"b\"},"
                          "\"priority\":7,\"max_attempts\":3}",
                          202);
    expect_text(task, "task", "satchel.echo");
    expect_text(task, "tenant", "acme");
    expect_text(task, "state", "scheduled");
    expect_json(json_object_get(task, "args"), "[1]");
    assert_true(json_is_object(json_object_get(task, "context")));
    assert_null(json_object_get(json_object_get(task, "context"), "tenant"));
    expect_number(task, "priority", 7);
    expect_json(json_object_get(task, "labels"), "{\"a\":\"b\"}");
    assert_true(json_is_null(json_object_get(task, "parent_id")));
    expect_text(task, "root_id", text_of(task, "id"));
    expect_number(task, "attempt", 0);
    expect_number(task, "max_attempts", 3);
    expect_number(task, "lost", 0);
    long long wait = time_of(task, "run_at") - time_of(task, "created_at");
    assert_int_equal(wait, 600 * 1000000LL);
    static const char *const unset[] = {"started_at", "finished_at", "progress"};
    for (size_t i = 0; i < 3; i++)
        assert_true(json_is_null(json_object_get(task, unset[i])));
    static const char *const absent[] = {"result", "error", "exit_code"};
    for (size_t i = 0; i < 3; i++)
        assert_null(json_object_get(task, absent[i]));
    json_decref(task);

    task = run(&d, NULL, "{\"task\":\"satchel.echo\",\"args\":{\"x\":[true,null]}}");
    expect_state(task, "succeeded");
    expect_text(task, "tenant", "default");
    expect_number(task, "attempt", 1);
    expect_number(task, "priority", 4);
    expect_number(task, "max_attempts", 1);
    expect_json(json_object_get(task, "result"), "{\"x\":[true,null]}");
    long long created = time_of(task, "created_at"), began = time_of(task, "started_at");
    assert_true(created <= began && began <= time_of(task, "finished_at"));
    assert_true(created > (time(NULL) - 60) * 1000000LL && created < (time(NULL) + 2) * 1000000LL);
    assert_true(*text_of(task, "node"));
    assert_null(json_object_get(task, "error"));
    assert_null(json_object_get(task, "exit_code")); /* of command tasks alone */
    json_decref(task);
}

static void waited_for(void **state)
{
    (void)state;
    struct answer answer = {0};
    ask(&d, &answer, "POST", "/v1/tasks", JSON_TYPE "Prefer: wait=20\r\n", "{\"task\":\"satchel.noop\"}");
    assert_int_equal(answer.status, 200);
    assert_true(answer_has(&answer, "Preference-Applied", "wait=20"));
    char *location = answer_header(&answer, "Location");
    assert_non_null(location);
    free(location);
    json_t *task = answer_json(&answer);
    expect_state(task, "succeeded");
    assert_true(json_is_null(json_object_get(task, "result")));
    assert_non_null(json_object_get(task, "result"));
    json_decref(task);

    long long before = mono_ms();
    ask(&d, &answer, "POST", "/v1/tasks", JSON_TYPE "Prefer: wait=1\r\n",
        "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":30}}");
    long long took = mono_ms() - before;
    assert_int_equal(answer.status, 202);
    assert_true(took >= 950 && took < 10000);
    assert_null(answer_header(&answer, "Preference-Applied"));
    task = answer_json(&answer);
    json_decref(act(&d, NULL, text_of(task, "id"), "cancel", 200));
    json_decref(task);
    answer_release(&answer);
}

/* What a finished answer says is what a later GET says, byte for byte. */
static void same_again(void **state)
{
    (void)state;
    struct answer first = {0}, again = {0};
    ask(&d, &first, "POST", "/v1/tasks", JSON_TYPE "Prefer: wait=20\r\n",
        "{\"task\":\"satchel.echo\",\"args\":{\"k\":1.50}}");
    assert_int_equal(first.status, 200);
    char *location = answer_header(&first, "Location");
    ask(&d, &again, "GET", location, NULL, NULL);
    assert_int_equal(again.status, 200);
    assert_string_equal(first.body, again.body);
    free(location);
    answer_release(&first);
    answer_release(&again);
}

static void result_endpoint(void **state)
{
    (void)state;
    char target[128];
    struct answer answer = {0};
    json_t *task = submit(&d, NULL, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.4}}", 202);
    (void)snprintf(target, sizeof target, "/v1/tasks/%s/result", text_of(task, "id"));
    ask(&d, &answer, "GET", target, NULL, NULL);
    assert_int_equal(answer.status, 202);
    char *retry_after = answer_header(&answer, "Retry-After");
    assert_true(retry_after && atoi(retry_after) >= 1);
    free(retry_after);
    json_decref(finish(&d, NULL, text_of(task, "id")));
    json_decref(task);

    task = run(&d, NULL, "{\"task\":\"satchel.echo\",\"args\":  {\"z\": 0.1}  }");
    (void)snprintf(target, sizeof target, "/v1/tasks/%s/result", text_of(task, "id"));
    ask(&d, &answer, "GET", target, NULL, NULL);
    assert_int_equal(answer.status, 200);
    assert_true(answer_has(&answer, "Content-Type", "application/json"));
    assert_string_equal(answer.body, "{\"z\": 0.1}");
    json_decref(task);

    task = run(&d, NULL, "{\"task\":\"satchel.fail\",\"args\":{\"message\":\"no luck\"}}");
    (void)snprintf(target, sizeof target, "/v1/tasks/%s/result", text_of(task, "id"));
    ask(&d, &answer, "GET", target, NULL, NULL);
    expect_problem(&answer, 409, "state-conflict");
    assert_non_null(strstr(answer.body, "no luck"));
    json_decref(task);
    answer_release(&answer);
}

static void minimal(void **state)
{
    (void)state;
    struct answer answer = {0};
    ask(&d, &answer, "POST", "/v1/tasks", JSON_TYPE "Prefer: return=minimal\r\n", "{\"task\":\"satchel.noop\"}");
    assert_int_equal(answer.status, 202);
    assert_true(answer_has(&answer, "Preference-Applied", "return=minimal"));
    json_t *task = answer_json(&answer);
    assert_int_equal(json_object_size(task), 2);
    expect_uuid7(text_of(task, "id"));
    assert_true(*text_of(task, "state"));
    json_decref(task);
    answer_release(&answer);
}

/* ---- args: the bytes that came ---- */

static void echo_bytes(const char *args)
{
    char *body, *wanted;
    struct answer answer = {0};
    assert_true(asprintf(&body, "{\"args\":%s ,\"task\":\"satchel.echo\"}", args) > 0);
    ask(&d, &answer, "POST", "/v1/tasks", JSON_TYPE "Prefer: wait=20\r\n", body);
    if (answer.status != 200)
        fail_msg("status %d for %.200s: %.300s", answer.status, args, answer.body);
    assert_true(asprintf(&wanted, "\"args\":%s,\"context\"", args) > 0);
    if (!strstr(answer.body, wanted))
        fail_msg("args changed: %.300s is not in %.600s", wanted, answer.body);
    free(wanted);
    assert_true(asprintf(&wanted, "\"result\":%s}", args) > 0);
    if (!strstr(answer.body, wanted))
        fail_msg("the result is not %.300s: %.600s", wanted, answer.body);
    free(wanted);
    free(body);
    answer_release(&answer);
}

static void args_are_bytes(void **state)
{
    (void)state;
    static const char *const all[] = {
        "0.1",
        "1.0",
        "-0.0",
        "1e2",
        "123456789012345678",
        "0.1000000000000000055511151231257827",
        "[1, 2 ,3]",
        "{\"b\":1,\"a\":2}",
        "\"\\u00fc\\u20AC \\/ \\\" \"",
        "\"gr\xc3\xbc\xc3\x9f \xe6\xb5\x8b\xe8\xaf\x95 \xf0\x9f\x98\x80\"",
        "{\"\":null}",
        "null",
        "true",
        "\"\"",
        "[]",
        "{\"args\":{\"args\":1},\"task\":\"x\"}",
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        echo_bytes(all[i]);
}

static void numbers_beyond_a_double(void **state)
{
    (void)state;
    echo_bytes("9223372036854775807");
    echo_bytes("-9223372036854775808");
    echo_bytes("3.141592653589793238462643383279502884197");
    echo_bytes("1.7976931348623157e308");
}

/* The body is one level, args a second: 30 more fit into the 32. */
static void nesting_at_the_limit(void **state)
{
    (void)state;
    char args[128] = "";
    for (int i = 0; i < 31; i++)
        strcat(args, "[");
    for (int i = 0; i < 31; i++)
        strcat(args, "]");
    echo_bytes(args);
    char body[256];
    struct answer answer = {0};
    (void)snprintf(body, sizeof body, "{\"task\":\"satchel.echo\",\"args\":[%s]}", args);
    ask(&d, &answer, "POST", "/v1/tasks", JSON_TYPE, body);
    expect_problem(&answer, 400, "malformed-json");
    answer_release(&answer);
}

static void large_args(void **state)
{
    (void)state;
    size_t size = 1000 * 1000;
    char *args = malloc(size + 1);
    assert_non_null(args);
    memset(args, 'x', size);
    args[0] = args[size - 1] = '"';
    args[size] = '\0';
    echo_bytes(args);
    free(args);
}

/* ---- built-in tasks ---- */

static void sleeps(void **state)
{
    (void)state;
    json_t *task = run(&d, NULL, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.25}}");
    expect_state(task, "succeeded");
    long long took = time_of(task, "finished_at") - time_of(task, "started_at");
    assert_true(took >= 250000 && took < 10 * 1000000);
    json_decref(task);
}

static void fails_with_its_message(void **state)
{
    (void)state;
    json_t *task = run(&d, NULL, "{\"task\":\"satchel.fail\",\"args\":{\"message\":\"kaput \\\"1\\\"\"}}");
    expect_state(task, "failed");
    expect_text(json_object_get(task, "error"), "type", "handler");
    expect_text(json_object_get(task, "error"), "message", "kaput \"1\"");
    assert_null(json_object_get(task, "result"));
    expect_number(task, "attempt", 1);
    json_decref(task);
}

static void fails_the_first_times(void **state)
{
    (void)state;
    json_t *task = run(&d, NULL,
                       "{\"task\":\"satchel.fail\",\"args\":{\"message\":\"m\",\"times\":2},\"max_attempts\":5,"
                       "\"backoff\":{\"type\":\"fixed\",\"base\":\"120ms\",\"jitter\":false}}");
    expect_state(task, "succeeded");
    expect_number(task, "attempt", 3);
    assert_null(json_object_get(task, "error"));
    assert_true(time_of(task, "finished_at") - time_of(task, "created_at") >= 240000);
    json_decref(task);
}

static void fails_each_time(void **state)
{
    (void)state;
    json_t *task = run(&d, NULL,
                       "{\"task\":\"satchel.fail\",\"args\":{\"message\":\"m\"},\"max_attempts\":3,"
                       "\"backoff\":{\"base\":\"10ms\",\"cap\":\"20ms\"}}");
    expect_state(task, "failed");
    expect_number(task, "attempt", 3);
    json_decref(task);
}

static void backs_off_exponentially(void **state)
{
    (void)state;
    json_t *task = run(&d, NULL,
                       "{\"task\":\"satchel.fail\",\"args\":{\"message\":\"m\"},\"max_attempts\":4,\"backoff\":"
                       "{\"type\":\"exponential\",\"base\":\"100ms\",\"cap\":\"1s\",\"jitter\":false}}");
    expect_state(task, "failed");
    long long took = time_of(task, "finished_at") - time_of(task, "created_at");
    assert_true(took >= 700000); /* 100 + 200 + 400 ms */
    json_decref(task);
}

static void spawns(void **state)
{
    (void)state;
    json_t *task = run(&d, "X-Tenant-ID: spawner\r\n",
                       "{\"task\":\"satchel.spawn\",\"args\":{\"task\":\"satchel.echo\",\"args\":{\"n\":1},"
                       "\"count\":3}}");
    expect_state(task, "succeeded");
    const json_t *ids = json_object_get(task, "result");
    assert_int_equal(json_array_size(ids), 3);
    for (size_t i = 0; i < 3; i++) {
        json_t *child = finish(&d, "X-Tenant-ID: spawner\r\n", json_string_value(json_array_get(ids, i)));
        expect_state(child, "succeeded");
        expect_text(child, "parent_id", text_of(task, "id"));
        expect_text(child, "root_id", text_of(task, "id"));
        expect_json(json_object_get(child, "result"), "{\"n\":1}");
        json_decref(child);
    }
    json_decref(task);
}

static void bad_args_fail_the_task(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":\"x\"}}",
        "{\"task\":\"satchel.sleep\",\"args\":[]}",
        "{\"task\":\"satchel.spawn\",\"args\":{\"task\":\"no.such\"}}",
        "{\"task\":\"satchel.spawn\",\"args\":7}",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        json_t *task = run(&d, NULL, bodies[i]);
        expect_state(task, "failed");
        expect_text(json_object_get(task, "error"), "type", "handler");
        assert_true(*text_of(json_object_get(task, "error"), "message"));
        json_decref(task);
    }
}

/* ---- options ---- */

static void delayed(void **state)
{
    (void)state;
    json_t *task = run(&d, NULL, "{\"task\":\"satchel.noop\",\"delay\":\"300ms\"}");
    expect_state(task, "succeeded");
    assert_int_equal(time_of(task, "run_at") - time_of(task, "created_at"), 300000);
    assert_true(time_of(task, "started_at") >= time_of(task, "run_at"));
    json_decref(task);
    task = run(&d, NULL, "{\"task\":\"satchel.noop\",\"delay\":0.2}");
    assert_int_equal(time_of(task, "run_at") - time_of(task, "created_at"), 200000);
    json_decref(task);
}

static void at_a_time(void **state)
{
    (void)state;
    json_t *task = submit(&d, NULL, "{\"task\":\"satchel.noop\",\"run_at\":\"2099-01-02T03:04:05.678901+01:00\"}", 202);
    expect_state(task, "scheduled");
    expect_text(task, "run_at", "2099-01-02T02:04:05.678901Z");
    json_decref(act(&d, NULL, text_of(task, "id"), "cancel", 200));
    json_decref(task);
    task = run(&d, NULL, "{\"task\":\"satchel.noop\",\"run_at\":\"2001-01-01T00:00:00Z\"}"); /* past: at once */
    expect_state(task, "succeeded");
    json_decref(task);
}

static void gives_up_if_not_started(void **state)
{
    (void)state;
    json_t *task = run(&d, NULL, "{\"task\":\"satchel.noop\",\"delay\":\"1h\",\"expires_in\":\"150ms\"}");
    expect_state(task, "expired");
    assert_true(time_of(task, "finished_at") - time_of(task, "created_at") >= 150000);
    expect_number(task, "attempt", 0);
    json_decref(task);
}

static void expires_at_its_deadline(void **state)
{
    (void)state;
    json_t *task = run(&d, NULL, "{\"task\":\"satchel.noop\",\"deadline\":\"2001-01-01T00:00:00Z\"}");
    expect_state(task, "expired");
    expect_number(task, "attempt", 0);
    json_decref(task);
    task = run(&d, "X-Satchel-Deadline: 2001-01-01T00:00:00Z\r\n", "{\"task\":\"satchel.noop\"}");
    expect_state(task, "expired");
    json_decref(task);
    task = run(&d, "X-Satchel-Deadline: 2099-01-01T00:00:00Z\r\n", "{\"task\":\"satchel.noop\"}");
    expect_state(task, "succeeded");
    json_decref(task);
}

static void times_out(void **state)
{
    (void)state;
    json_t *task = run(&d, NULL, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":30},\"timeout\":\"200ms\"}");
    expect_state(task, "failed");
    expect_text(json_object_get(task, "error"), "type", "timeout");
    assert_true(time_of(task, "finished_at") - time_of(task, "created_at") >= 200000);
    json_decref(task);
}

static void labels_stay(void **state)
{
    (void)state;
    json_t *task =
        run(&d, NULL, "{\"task\":\"satchel.noop\",\"labels\":{\"app\":\"shop\",\"who/what.x\":\"\xc3\xa4:b\"}}");
    expect_json(json_object_get(task, "labels"), "{\"app\":\"shop\",\"who/what.x\":\"\xc3\xa4:b\"}");
    json_decref(task);
}

/* ---- idempotency ---- */

static void same_key_same_task(void **state)
{
    (void)state;
    struct answer first = {0}, again = {0}, other = {0};
    static const char key[] = JSON_TYPE "X-Tenant-ID: keys\r\nIdempotency-Key: \"once-1\"\r\n";
    static const char bare[] = JSON_TYPE "X-Tenant-ID: keys\r\nIdempotency-Key: once-1\r\n";
    ask(&d, &first, "POST", "/v1/tasks", key, "{\"task\":\"satchel.echo\",\"args\":1}");
    assert_int_equal(first.status, 202);
    assert_null(answer_header(&first, "Idempotency-Replayed"));
    ask(&d, &again, "POST", "/v1/tasks", bare, "{\"task\":\"satchel.echo\",\"args\":1}");
    assert_int_equal(again.status, 200);
    assert_true(answer_has(&again, "Idempotency-Replayed", "true"));
    json_t *one = answer_json(&first), *two = answer_json(&again);
    assert_string_equal(text_of(one, "id"), text_of(two, "id"));
    ask(&d, &other, "POST", "/v1/tasks", key, "{\"task\":\"satchel.echo\",\"args\":2}");
    expect_problem(&other, 422, "idempotency-mismatch");
    json_t *elsewhere =
        submit(&d, "X-Tenant-ID: keys2\r\nIdempotency-Key: once-1\r\n", "{\"task\":\"satchel.echo\",\"args\":1}", 202);
    assert_string_not_equal(text_of(elsewhere, "id"), text_of(one, "id"));
    json_decref(elsewhere);
    json_decref(one);
    json_decref(two);
    answer_release(&first);
    answer_release(&again);
    answer_release(&other);
}

#define N_KEYED 50

static void simultaneous_keys_make_one_task(void **state)
{
    (void)state;
    struct client clients[N_KEYED];
    struct answer answer = {0};
    char id[64] = "";
    int n_new = 0;
    char *text = request_text("POST", "/v1/tasks", JSON_TYPE "X-Tenant-ID: crowd\r\nIdempotency-Key: \"k\"\r\n",
                              "{\"task\":\"satchel.noop\"}", 23);
    for (int i = 0; i < N_KEYED; i++)
        client_open(&clients[i], &d);
    for (int i = 0; i < N_KEYED; i++)
        client_send_text(&clients[i], text);
    for (int i = 0; i < N_KEYED; i++) {
        assert_true(client_read(&clients[i], &answer));
        assert_true(answer.status == 202 || answer.status == 200);
        n_new += answer.status == 202;
        json_t *task = answer_json(&answer);
        if (*id)
            assert_string_equal(id, text_of(task, "id"));
        (void)snprintf(id, sizeof id, "%s", text_of(task, "id"));
        json_decref(task);
        client_close(&clients[i]);
    }
    assert_int_equal(n_new, 1);
    json_t *list = get_json(&d, "/v1/tasks", "X-Tenant-ID: crowd\r\n", 200);
    assert_int_equal(json_array_size(json_object_get(list, "tasks")), 1);
    json_decref(list);
    free(text);
    answer_release(&answer);
}

/* ---- order ---- */

static void higher_priority_first(void **state)
{
    (void)state;
    struct satcheld one;
    satcheld_init(&one, "workers = 1\n");
    satcheld_start(&one);
    json_t *blocker = submit(&one, NULL, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.5}}", 202);
    json_t *low = submit(&one, NULL, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.01},\"priority\":1}", 202);
    json_t *high = submit(&one, NULL, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.01},\"priority\":9}", 202);
    json_t *low_done = finish(&one, NULL, text_of(low, "id")), *high_done = finish(&one, NULL, text_of(high, "id"));
    assert_true(time_of(high_done, "started_at") <= time_of(low_done, "started_at"));
    json_t *all[] = {blocker, low, high, low_done, high_done};
    for (size_t i = 0; i < 5; i++)
        json_decref(all[i]);
    satcheld_stop(&one);
    satcheld_release(&one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted),
        cmocka_unit_test(members),
        cmocka_unit_test(waited_for),
        cmocka_unit_test(same_again),
        cmocka_unit_test(result_endpoint),
        cmocka_unit_test(minimal),
        cmocka_unit_test(args_are_bytes),
        cmocka_unit_test(numbers_beyond_a_double),
        cmocka_unit_test(nesting_at_the_limit),
        cmocka_unit_test(large_args),
        cmocka_unit_test(sleeps),
        cmocka_unit_test(fails_with_its_message),
        cmocka_unit_test(fails_the_first_times),
        cmocka_unit_test(fails_each_time),
        cmocka_unit_test(backs_off_exponentially),
        cmocka_unit_test(spawns),
        cmocka_unit_test(bad_args_fail_the_task),
        cmocka_unit_test(delayed),
        cmocka_unit_test(at_a_time),
        cmocka_unit_test(gives_up_if_not_started),
        cmocka_unit_test(expires_at_its_deadline),
        cmocka_unit_test(times_out),
        cmocka_unit_test(labels_stay),
        cmocka_unit_test(same_key_same_task),
        cmocka_unit_test(simultaneous_keys_make_one_task),
        cmocka_unit_test(higher_priority_first),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
