/* The built-in task types, through registry and pool. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "executor/result.h"
#include "proto/json_in.h"
#include "tests/support/attempts.h"

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    assert_non_null(bench);
    bench_init(bench, 2, NULL);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    bench_release(*state);
    free(*state);
    return 0;
}

static struct attempt *run(struct bench *bench, const char *task, const char *args)
{
    return bench_run(bench, bench_attempt(bench, task, args, "acme"));
}

static void check_result(struct bench *bench, const char *task, const char *args, const char *expect)
{
    struct attempt *attempt = run(bench, task, args);
    if (attempt->end != ATTEMPT_SUCCEEDED)
        fail_msg("%s %s: %s", task, args, outcome_message(attempt));
    assert_string_equal(outcome_result(attempt), expect);
    attempt_free(attempt);
}

static void check_final(struct bench *bench, const char *task, const char *args, const char *part)
{
    struct attempt *attempt = run(bench, task, args);
    assert_int_equal(attempt->end, ATTEMPT_FAILED_FINAL);
    assert_int_equal(outcome_error(attempt), ERROR_TYPE_HANDLER);
    if (!strstr(outcome_message(attempt), part))
        fail_msg("%s %s: \"%s\" lacks \"%s\"", task, args, outcome_message(attempt), part);
    attempt_free(attempt);
}

static void test_registry(void **state)
{
    struct bench *bench = *state;
    const char *names[] = {"satchel.noop", "satchel.echo",    "satchel.sleep",
                           "satchel.fail", "satchel.context", "satchel.spawn"};
    for (size_t i = 0; i < 6; i++) {
        const struct task_type *type = registry_find(bench->registry, slice_str(names[i]));
        assert_non_null(type);
        assert_string_equal(type->name, names[i]);
        assert_ptr_equal(registry_at(bench->registry, type->index), type);
    }
    assert_null(registry_find(bench->registry, SLICE_LITERAL("satchel.nothing")));
    assert_null(registry_find(bench->registry, SLICE_LITERAL("satchel.noo")));
    assert_null(registry_find(bench->registry, SLICE_LITERAL("")));
    const struct task_type *last = registry_at(bench->registry, 6); /* what nobody can submit */
    assert_string_equal(last->name, "satchel.callback");
    assert_true(last->internal);
    static const char *const canaries[] = {"satchel.canary.http", "satchel.canary.command"};
    for (size_t i = 0; i < 2; i++)
        assert_string_equal(registry_at(bench->registry, 7 + i)->name, canaries[i]);
    assert_null(registry_at(bench->registry, 9));
}

static void test_echo(void **state)
{
    check_result(*state, "satchel.echo", "{\"a\":[1,2.50,1e400,\"\\u00e9\"]}",
                 "{\"a\":[1,2.50,1e400,\"\\u00e9\"]}"); /* verbatim: no digit is lost */
    check_result(*state, "satchel.echo", NULL, "null");
    check_result(*state, "satchel.noop", "{\"anything\":1}", "null");
}

static void test_sleep(void **state)
{
    check_result(*state, "satchel.sleep", "{\"seconds\":0}", "null");
    struct attempt *attempt = run(*state, "satchel.sleep", "{\"seconds\":0.05}");
    assert_int_equal(attempt->end, ATTEMPT_SUCCEEDED);
    assert_in_range(attempt->run_ns, 50000000, 5000000000);
    attempt_free(attempt);
}

static void test_sleep_bad_args(void **state)
{
    check_final(*state, "satchel.sleep", NULL, "args.seconds");
    check_final(*state, "satchel.sleep", "{}", "args.seconds");
    check_final(*state, "satchel.sleep", "{\"seconds\":\"1\"}", "args.seconds");
    check_final(*state, "satchel.sleep", "{\"seconds\":-0.001}", "args.seconds");
    check_final(*state, "satchel.sleep", "{\"seconds\":1e300}", "args.seconds");
    check_final(*state, "satchel.sleep", "{\"seconds\":null}", "args.seconds");
    check_final(*state, "satchel.sleep", "[1]", "JSON object");
    check_final(*state, "satchel.sleep", "7", "JSON object");
}

static void check_cancel(struct bench *bench, enum cancel_reason reason, enum attempt_end end, enum error_type error)
{
    struct attempt *attempt = bench_attempt(bench, "satchel.sleep", "{\"seconds\":100}", "acme");
    satchel_cancel *cancel = satchel_cancel_ref(attempt->cancel);
    bench_push(bench, attempt);
    satchel_cancel_fire(cancel, reason);
    satchel_cancel_unref(cancel);
    attempt = bench_wait(bench, 1);
    assert_int_equal(attempt->end, end);
    assert_int_equal(outcome_error(attempt), error);
    attempt_free(attempt);
}

static void test_sleep_is_canceled(void **state)
{
    check_cancel(*state, CANCEL_REQUESTED, ATTEMPT_FAILED_FINAL, ERROR_TYPE_CANCELED);
    check_cancel(*state, CANCEL_TIMEOUT, ATTEMPT_FAILED, ERROR_TYPE_TIMEOUT);
    check_cancel(*state, CANCEL_DEADLINE, ATTEMPT_FAILED_FINAL, ERROR_TYPE_DEADLINE);
    check_cancel(*state, CANCEL_SHUTDOWN, ATTEMPT_LOST, ERROR_TYPE_LOST);
}

static void test_fail(void **state)
{
    struct attempt *attempt = run(*state, "satchel.fail", "{\"message\":\"b\\u00f6\\nom\"}");
    assert_int_equal(attempt->end, ATTEMPT_FAILED);
    assert_int_equal(outcome_error(attempt), ERROR_TYPE_HANDLER);
    assert_string_equal(outcome_message(attempt), "b\xc3\xb6 om");
    attempt_free(attempt);
    attempt = run(*state, "satchel.fail", NULL);
    assert_int_equal(attempt->end, ATTEMPT_FAILED);
    attempt_free(attempt);
    attempt = bench_attempt(*state, "satchel.fail", "{\"times\":2}", "acme");
    static const enum attempt_end ends[] = {ATTEMPT_FAILED, ATTEMPT_FAILED, ATTEMPT_SUCCEEDED, ATTEMPT_SUCCEEDED};
    for (uint32_t i = 0; i < 4; i++) {
        attempt->number = i + 1;
        attempt = bench_run(*state, attempt);
        assert_int_equal(attempt->end, ends[i]);
    }
    attempt_free(attempt);
    check_final(*state, "satchel.fail", "{\"times\":-1}", "args.times");
    check_final(*state, "satchel.fail", "{\"times\":1.5}", "args.times");
    check_final(*state, "satchel.fail", "{\"message\":5}", "args.message");
}

static void test_long_message_is_cut(void **state)
{
    char args[3100], *at = args;
    at += sprintf(at, "{\"message\":\"");
    for (int i = 0; i < 1500; i++)
        at += sprintf(at, "\xc3\xa9");
    sprintf(at, "\"}");
    struct attempt *attempt = run(*state, "satchel.fail", args);
    size_t len = strlen(outcome_message(attempt));
    assert_in_range(len, 900, 1030);
    struct buf clean = BUF_INIT;
    result_clean_utf8(slice_str(outcome_message(attempt)), &clean);
    assert_string_equal(clean.data, outcome_message(attempt)); /* valid UTF-8 in spite of the cut */
    buf_release(&clean);
    attempt_free(attempt);
}

static void test_context(void **state)
{
    struct attempt *attempt = bench_attempt(*state, "satchel.context", NULL, "acme");
    assert_int_equal(satchel_context_enter(task_context(attempt->spec)), SATCHEL_OK);
    assert_int_equal(satchel_set_string(satchel_known_var(SATCHEL_TRACESTATE), "a=1,b=2", NULL), SATCHEL_OK);
    assert_int_equal(satchel_context_exit(task_context(attempt->spec)), SATCHEL_OK);
    bench_bind(attempt, "baggage", "user=al%20ice,x=y");
    bench_bind(attempt, "X-Satchel-Var-shard", "s\"7\xc3\xa9");
    attempt = bench_run(*state, attempt);
    assert_string_equal(result_member(attempt, "tenant"), "acme");
    assert_string_equal(result_member(attempt, "request_id"), "request-of-acme");
    assert_string_equal(result_member(attempt, "tracestate"), "a=1,b=2");
    assert_string_equal(result_member(attempt, "baggage"), "user=al%20ice,x=y");
    assert_string_equal(result_member(attempt, "shard"), "s\"7\xc3\xa9");
    assert_string_equal(result_member(attempt, "attempt"), "1");
    assert_null(result_member(attempt, "deadline"));
    assert_null(result_member(attempt, "correlation_id"));
    attempt_free(attempt);
}

static void test_context_masks_secrets(void **state)
{
    satchel_var *secret;
    satchel_var_spec spec = {.struct_size = sizeof spec,
                             .name = "password",
                             .type = &satchel_string_type,
                             .header = "X-Password",
                             .flags = SATCHEL_VAR_WIRE | SATCHEL_VAR_SECRET};
    assert_int_equal(satchel_var_new(&spec, &secret), SATCHEL_OK);
    struct attempt *attempt = bench_attempt(*state, "satchel.context", NULL, "acme");
    bench_bind(attempt, "X-Password", "sesame");
    attempt = bench_run(*state, attempt);
    assert_string_equal(result_member(attempt, "password"), "***");
    assert_null(strstr(outcome_result(attempt), "sesame"));
    attempt_free(attempt);
    satchel_var_unref(secret);
}

static void test_spawn(void **state)
{
    struct bench *bench = *state;
    struct attempt *attempt = run(
        bench, "satchel.spawn", "{ \"args\": {\"n\": 10000000000000000000001},\"count\":3,\"task\":\"satchel.echo\"}");
    assert_int_equal(attempt->end, ATTEMPT_SUCCEEDED);
    json_t *ids = json_loads(outcome_result(attempt), 0, NULL);
    assert_true(json_is_array(ids));
    assert_int_equal(json_array_size(ids), 3);
    for (size_t i = 0; i < 3; i++) {
        struct task_id id;
        const char *text = json_string_value(json_array_get(ids, i));
        assert_non_null(text);
        assert_true(task_id_parse(text, strlen(text), &id));
    }
    json_decref(ids);
    attempt_free(attempt);
    assert_int_equal(bench->n_spawned, 3);
    assert_non_null(strstr(bench->spawned.data, "10000000000000000000001"));
    assert_string_equal(bench->spawn_tenants.data, "acme\nacme\nacme\n"); /* inside the attempt's context */
}

static void test_spawn_default_count(void **state)
{
    struct attempt *attempt = run(*state, "satchel.spawn", "{\"task\":\"satchel.noop\"}");
    assert_int_equal(attempt->end, ATTEMPT_SUCCEEDED);
    assert_int_equal(strlen(outcome_result(attempt)), 40); /* ["36 characters"] */
    attempt_free(attempt);
    check_result(*state, "satchel.spawn", "{\"task\":\"satchel.noop\",\"count\":0}", "[]");
}

static void test_spawn_bad_args(void **state)
{
    check_final(*state, "satchel.spawn", NULL, "args.task");
    check_final(*state, "satchel.spawn", "{\"task\":1}", "args.task");
    check_final(*state, "satchel.spawn", "{\"task\":\"a\",\"count\":1001}", "args.count");
    check_final(*state, "satchel.spawn", "{\"task\":\"a\",\"count\":-1}", "args.count");
    check_final(*state, "satchel.spawn", "{\"task\":\"a\",\"priority\":1}", "task, args and count");
    check_final(*state, "satchel.spawn", "[]", "JSON object");
}

static void test_spawn_refused(void **state)
{
    struct bench *bench = *state;
    bench->refuse_spawn = PROBLEM_UNKNOWN_TASK;
    check_final(bench, "satchel.spawn", "{\"task\":\"no.such\"}", "the test refuses it");
    bench->refuse_spawn = PROBLEM_QUOTA_EXCEEDED;
    struct attempt *attempt = run(bench, "satchel.spawn", "{\"task\":\"satchel.noop\"}");
    assert_int_equal(attempt->end, ATTEMPT_FAILED); /* may succeed later */
    attempt_free(attempt);
}

static void test_result_limit(void **state)
{
    struct config config = {.max_result = 20};
    struct bench bench;
    (void)state;
    bench_init(&bench, 1, &config);
    check_result(&bench, "satchel.echo", "\"exactly 20 bytes!!\"", "\"exactly 20 bytes!!\"");
    struct attempt *attempt = run(&bench, "satchel.echo", "\"exactly twenty-1 bytes\"");
    assert_int_equal(attempt->end, ATTEMPT_FAILED_FINAL);
    assert_int_equal(outcome_error(attempt), ERROR_TYPE_LIMIT);
    attempt_free(attempt);
    bench_release(&bench);
}

/* ---- results from text ---- */

static void check_text(const char *text, size_t len, const char *expect)
{
    struct buf out = BUF_INIT;
    result_from_text(slice_of(text, len), 8, &out);
    assert_true(buf_ok(&out));
    if (strcmp(out.data, expect) != 0)
        fail_msg("%.*s became %s, not %s", (int)len, text, out.data, expect);
    buf_release(&out);
}

#define CHECK_TEXT(text, expect) check_text(text, sizeof(text) - 1, expect)

static void test_result_text(void **state)
{
    (void)state;
    CHECK_TEXT("{\"a\": [1,\n 2 ], \"b c\" : \" x  y\\\" z\" }\n", "{\"a\":[1,2],\"b c\":\" x  y\\\" z\"}");
    CHECK_TEXT(" 12345678901234567890.0100 \n", "12345678901234567890.0100");
    CHECK_TEXT("true", "true");
    CHECK_TEXT("hello\n", "\"hello\\n\"");
    CHECK_TEXT("", "\"\"");
    CHECK_TEXT("  \n", "\"  \\n\"");
    CHECK_TEXT("{\"a\":1,\"a\":2}", "\"{\\\"a\\\":1,\\\"a\\\":2}\""); /* not strict */
    CHECK_TEXT("{} {}", "\"{} {}\"");
    CHECK_TEXT("nul", "\"nul\"");
    CHECK_TEXT("1\0", "\"1\xef\xbf\xbd\"");
    CHECK_TEXT("a\0b", "\"a\xef\xbf\xbd"
                       "b\"");
    CHECK_TEXT("\xff\xfe", "\"\xef\xbf\xbd\xef\xbf\xbd\"");
    CHECK_TEXT("\"\xff\"", "\"\\\"\xef\xbf\xbd\\\"\"");
    CHECK_TEXT("[[[[[[[[[1]]]]]]]]]", "\"[[[[[[[[[1]]]]]]]]]\"");                       /* too deep */
    CHECK_TEXT("\"\xed\xa0\x80\"", "\"\\\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\\\"\""); /* a surrogate */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_registry),
        TEST(test_echo),
        TEST(test_sleep),
        TEST(test_sleep_bad_args),
        TEST(test_sleep_is_canceled),
        TEST(test_fail),
        TEST(test_long_message_is_cut),
        TEST(test_context),
        TEST(test_context_masks_secrets),
        TEST(test_spawn),
        TEST(test_spawn_default_count),
        TEST(test_spawn_bad_args),
        TEST(test_spawn_refused),
        cmocka_unit_test(test_result_limit),
        cmocka_unit_test(test_result_text),
    };
    return cmocka_run_group_tests_name("builtin", tests, NULL, NULL);
}
