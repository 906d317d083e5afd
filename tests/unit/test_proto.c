/* The stateless helpers: ids, times, durations, JSON in and out, problems, states, the heap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/heap.h"
#include "proto/id.h"
#include "proto/json_in.h"
#include "proto/json_out.h"
#include "proto/problem.h"
#include "proto/task_state.h"
#include "proto/timetext.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof(a)[0])

static void test_ids_increase_and_round_trip(void **state)
{
    (void)state;
    struct task_id last = {0};
    for (int i = 0; i < 10000; i++) {
        struct task_id id, parsed;
        char text[TASK_ID_TEXT_SIZE];
        task_id_make(&id);
        task_id_format(id, text);
        assert_int_equal(strlen(text), 36);
        assert_int_equal(text[14], '7');
        assert_true(strchr("89ab", text[19]) != NULL);
        assert_true(task_id_parse(text, 36, &parsed));
        assert_true(task_id_equal(id, parsed));
        assert_true(task_id_seq(id) > task_id_seq(last));
        assert_true(task_id_equal(task_id_from_seq(task_id_seq(id), id.lo), id));
        last = id;
    }
}

static void test_ids_go_on_after_a_clock_that_stepped_back(void **state)
{
    (void)state;
    struct task_id before, after;
    task_id_make(&before);
    task_id_seed(task_id_seq(before) + 1000000);
    task_id_make(&after);
    assert_true(task_id_seq(after) > task_id_seq(before) + 1000000);
}

static void test_texts_that_are_no_ids(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "0190f5a0-0000-7000-8000-00000000000",
        "0190f5a0-0000-7000-8000-0000000000000",
        "0190f5a0-0000-4000-8000-000000000000",
        "0190f5a0-0000-7000-c000-000000000000",
        "0190f5a0-0000-7000-8000-00000000000g",
        "0190f5a000007000800000000000000000000",
        "0190f5a0_0000-7000-8000-000000000000",
    };
    struct task_id id;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(task_id_parse(bad[i], strlen(bad[i]), &id));
}

static void test_attempt_spans_differ(void **state)
{
    (void)state;
    struct task_id id;
    uint8_t one[8], again[8], two[8];
    task_id_make(&id);
    task_id_attempt_span(id, 1, one);
    task_id_attempt_span(id, 1, again);
    task_id_attempt_span(id, 2, two);
    assert_memory_equal(one, again, 8);
    assert_memory_not_equal(one, two, 8);
}

static void test_timestamps(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t us; /* negative: refused */
    } table[] = {
        {"1970-01-01T00:00:00.000000Z", 0},
        {"2026-01-02T03:04:05.678901Z", 1767323045678901},
        {"2026-01-02T03:04:05Z", 1767323045000000},
        {"2026-01-02t03:04:05.5z", 1767323045500000},
        {"2026-01-02T05:04:05+02:00", 1767323045000000},
        {"2026-01-01T21:34:05-05:30", 1767323045000000},
        {"2024-02-29T00:00:00Z", 1709164800000000},
        {"2023-02-29T00:00:00Z", -1},
        {"2026-13-01T00:00:00Z", -1},
        {"2026-01-02T24:00:00Z", -1},
        {"2026-01-02T03:04:05", -1},
        {"2026-01-02T03:04:05.Z", -1},
        {"2026-01-02", -1},
        {"2026-01-02T03:04:05Zx", -1},
        {"1969-12-31T23:59:59Z", -1},
        {"1970-01-01T00:00:00+01:00", -1},
        {"", -1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        int64_t us = -1;
        bool ok = timestamp_parse(table[i].text, strlen(table[i].text), &us);
        assert_int_equal(ok, table[i].us >= 0);
        if (ok)
            assert_int_equal(us, table[i].us);
    }
    char text[TIMESTAMP_TEXT_SIZE];
    timestamp_format(1767323045678901, text);
    assert_string_equal(text, "2026-01-02T03:04:05.678901Z");
    timestamp_format(1709164799999999, text);
    assert_string_equal(text, "2024-02-28T23:59:59.999999Z");
}

static void test_durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t us;
    } table[] = {
        {"250ms", 250000},    {"30s", 30000000}, {"5m", 300000000}, {"2h", 7200000000},
        {"1d", 86400000000},  {"1.5s", 1500000}, {"100us", 100},    {"30", 30000000},
        {"0.25", 250000},     {"0", 0},          {"", -1},          {"s", -1},
        {"-1s", -1},          {"1 s", -1},       {"1w", -1},        {"1.s", -1},
        {"99999999999d", -1}, {"1e3", -1},       {"0x10", -1},      {"10S", -1},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        int64_t us = -1;
        bool ok = duration_parse(table[i].text, strlen(table[i].text), &us);
        assert_int_equal(ok, table[i].us >= 0);
        if (ok)
            assert_int_equal(us, table[i].us);
    }
    int64_t us;
    assert_true(duration_from_seconds(0.1, &us) && us == 100000);
    assert_false(duration_from_seconds(-0.1, &us));
    assert_false(duration_from_seconds(1e300, &us));
    char text[DURATION_TEXT_SIZE];
    duration_format(90000000, text);
    assert_string_equal(text, "90s");
    duration_format(0, text);
    assert_string_equal(text, "0s");
    duration_format(86400000000, text);
    assert_string_equal(text, "1d");
}

static void test_json_in_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t len;
    } bad[] = {
        {"", 0},           {"{", 1},         {"[1,]", 4},        {"{\"a\":1,\"a\":2}", 13},
        {"[1\0]", 4},      {"1 2", 3},       {"\"\\u0000\"", 8}, {"nul", 3},
        {"[\"\xff\"]", 5}, {"[[[[1]]]]", 9}, {"{'a':1}", 7},
    };
    char error[JSON_IN_ERROR_SIZE];
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        error[0] = '\0';
        json_t *json = json_in_load(slice_of(bad[i].text, bad[i].len), 3, error);
        assert_null(json);
        assert_true(strlen(error) > 0);
    }
}

/* What is refused although JSON has it is told in words that are not those of a library. */
static void test_json_in_tells(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } told[] = {{"{\"a\":\"x\\u0000\"}", "the character NUL (\\u0000), which is not accepted"},
                {"{\"\\u0000\":1}", "the character NUL (\\u0000), which is not accepted"},
                {"[1e400]", "line 1, column 6: a number is too large"},
                {"[-1e400]", "a number is too large"}};
    char error[JSON_IN_ERROR_SIZE];
    for (size_t i = 0; i < ARRAY_SIZE(told); i++) {
        assert_null(json_in_load(slice_str(told[i].text), 3, error));
        if (!strstr(error, told[i].why))
            fail_msg("%s: %s", told[i].text, error);
    }
}

static void test_json_in_takes(void **state)
{
    (void)state;
    static const char *const good[] = {
        "null", " 1 ", "[[1]]", "{\"a\":{\"b\":[1]}}", "12345678901234567890123", "\"[[[[\"", "\"\\\"{{{{{\""};
    char error[JSON_IN_ERROR_SIZE];
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        json_t *json = json_in_load(slice_str(good[i]), 3, error);
        assert_non_null(json);
        json_decref(json);
    }
}

static void test_json_members_keep_their_bytes(void **state)
{
    (void)state;
    const char *text = " { \"task\" : \"x}\\\"\" ,\"args\":{\"a\":[1, 2.50,\"],}\"]} , \"n\":12345678901234567890 } ";
    struct json_member members[4];
    assert_int_equal(json_in_members(slice_str(text), members, 4), 3);
    assert_true(slice_eq_str(members[0].name, "task"));
    assert_true(slice_eq_str(members[0].value, "\"x}\\\"\""));
    assert_true(slice_eq_str(members[1].value, "{\"a\":[1, 2.50,\"],}\"]}"));
    assert_true(slice_eq_str(members[2].value, "12345678901234567890"));
    assert_int_equal(json_in_members(slice_str("{}"), members, 4), 0);
    assert_int_equal(json_in_members(slice_str("[1]"), members, 4), 0);
}

static void test_json_out(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct json_out j = json_out_to(&b);
    json_out_begin_object(&j);
    json_out_member(&j, "text", slice_of("a\"\\\n\x01\xc3\xa9\xff", 8));
    json_out_key(&j, "list");
    json_out_begin_array(&j);
    json_out_i64(&j, INT64_MIN);
    json_out_double(&j, 0.1);
    json_out_bool(&j, true);
    json_out_null(&j);
    json_out_begin_object(&j);
    json_out_end_object(&j);
    json_out_end_array(&j);
    json_out_key(&j, "at");
    json_out_time(&j, 0);
    json_out_end_object(&j);
    assert_true(buf_ok(&b));
    assert_string_equal(b.data,
                        "{\"text\":\"a\\\"\\\\\\n\\u0001\xc3\xa9\xef\xbf\xbd\",\"list\":[-9223372036854775808,0.1,"
                        "true,null,{}],\"at\":\"1970-01-01T00:00:00.000000Z\"}");
    buf_release(&b);
}

static void test_a_bounded_buffer_fails_and_says_so(void **state)
{
    (void)state;
    struct buf b = {.max = 10};
    buf_append_str(&b, "0123456789");
    assert_true(buf_ok(&b));
    buf_append_char(&b, 'x');
    assert_false(buf_ok(&b));
    assert_null(buf_take(&b, NULL));
}

static void test_problems(void **state)
{
    (void)state;
    struct problem p = {0};
    char pointer[PROBLEM_POINTER_SIZE];
    problem_pointer(pointer, "/context", "a/b~c");
    assert_string_equal(pointer, "/context/a~1b~0c");
    problem_add(&p, PROBLEM_INVALID_SUBMISSION, pointer, "is %s", "wrong");
    problem_add(&p, PROBLEM_INVALID_SUBMISSION, "/x", "too");
    struct buf b = BUF_INIT;
    problem_to_json(&p, &b);
    char error[JSON_IN_ERROR_SIZE];
    json_t *json = json_in_load(buf_slice(&b), 8, error);
    assert_non_null(json);
    assert_string_equal(json_string_value(json_object_get(json, "type")), "urn:satchel:problem:invalid-submission");
    assert_int_equal(json_array_size(json_object_get(json, "errors")), 2);
    assert_int_equal(problem_status(PROBLEM_INVALID_SUBMISSION), 422);
    json_decref(json);
    buf_release(&b);
    for (int code = PROBLEM_NONE + 1; code < PROBLEM_COUNT; code++)
        assert_true(problem_status((enum problem_code)code) >= 400 && *problem_title((enum problem_code)code));
}

static void test_final_states_are_left_by_retry_alone(void **state)
{
    (void)state;
    for (int from = 0; from < TASK_STATE_COUNT; from++) {
        bool any = false;
        for (int event = 0; event < TASK_EVENT_COUNT; event++) {
            enum task_state to;
            bool allowed = task_state_next((enum task_state)from, (enum task_event)event, &to);
            any |= allowed;
            if (allowed && task_state_final((enum task_state)from))
                assert_int_equal(event, TASK_EVENT_RETRY);
        }
        assert_int_equal(any, from != TASK_SUCCEEDED); /* a result never changes */
        enum task_state parsed;
        assert_true(task_state_parse(slice_str(task_state_name((enum task_state)from)), &parsed));
        assert_int_equal(parsed, from);
    }
}

static void test_the_heap_keeps_order_and_positions(void **state)
{
    (void)state;
    enum { N = 2000 };
    struct heap heap = {0};
    uint32_t *slots = calloc(N, sizeof *slots);
    int64_t *whens = calloc(N, sizeof *whens);
    assert_true(slots && whens);
    unsigned seed = 1;
    for (int i = 0; i < N; i++) {
        seed = seed * 1103515245 + 12345;
        whens[i] = seed >> 8;
        assert_true(heap_set(&heap, &slots[i], whens[i]));
    }
    for (int i = 0; i < N; i += 2) /* move half of them, remove a quarter */
        assert_true(heap_set(&heap, &slots[i], whens[i] = whens[i] / 3));
    for (int i = 0; i < N; i += 4)
        heap_clear(&heap, &slots[i]);
    int64_t last = -1;
    size_t n = 0;
    uint32_t *slot;
    for (int64_t when; (when = heap_first(&heap, &slot)) != INT64_MAX; n++) {
        assert_true(when >= last);
        assert_int_equal(when, whens[slot - slots]);
        last = when;
        heap_clear(&heap, slot);
        assert_int_equal(*slot, HEAP_NONE);
    }
    assert_int_equal(n, N - N / 4);
    heap_release(&heap);
    free(slots);
    free(whens);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids_increase_and_round_trip),
        cmocka_unit_test(test_texts_that_are_no_ids),
        cmocka_unit_test(test_attempt_spans_differ),
        cmocka_unit_test(test_timestamps),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_json_in_refuses),
        cmocka_unit_test(test_json_in_tells),
        cmocka_unit_test(test_json_in_takes),
        cmocka_unit_test(test_json_members_keep_their_bytes),
        cmocka_unit_test(test_json_out),
        cmocka_unit_test(test_a_bounded_buffer_fails_and_says_so),
        cmocka_unit_test(test_problems),
        cmocka_unit_test(test_final_states_are_left_by_retry_alone),
        cmocka_unit_test(test_the_heap_keeps_order_and_positions),
        cmocka_unit_test(test_ids_go_on_after_a_clock_that_stepped_back),
    };
    json_in_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
