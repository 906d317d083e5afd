/* Templates: what they accept, what they put in, and what hostile args cannot do with them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "executor/template.h"
#include "proto/json_in.h"

static char error[TEMPLATE_ERROR_SIZE];

/* The filled text, or NULL with the reason in `error`.  Good until the next call. */
static const char *fill(const char *text, const char *args, bool allow_dash)
{
    static struct buf out;
    struct template t;
    const char *fault = "";
    buf_release(&out);
    if (template_parse(text, &t, &fault) < 0)
        fail_msg("%s: %s", text, fault);
    bool ok = template_expand(&t, &(struct template_values){.args = slice_str(args)}, allow_dash, &out, error);
    template_release(&t);
    assert_true(buf_ok(&out));
    buf_append(&out, "", 0);
    const char *result = ok ? (out.data ? out.data : "") : NULL;
    return result;
}

static void check(const char *text, const char *args, const char *expect)
{
    const char *got = fill(text, args, false);
    if (!got)
        fail_msg("%s with %s: %s", text, args, error);
    assert_string_equal(got, expect);
}

static void check_refused(const char *text, const char *args, const char *part)
{
    const char *got = fill(text, args, false);
    if (got)
        fail_msg("%s with %s gave \"%s\"", text, args, got);
    if (!strstr(error, part))
        fail_msg("%s with %s: \"%s\" lacks \"%s\"", text, args, error, part);
}

static void test_plain(void **state)
{
    (void)state;
    check("", "{}", "");
    check("plain } { text", "null", "plain } { text");
    check("{args.a}", "{}", "{args.a}");
    check("-flag", "{}", "-flag"); /* the operator's own dash */
}

static void test_values(void **state)
{
    (void)state;
    check("{{args.a}}", "{\"a\":\"x y\"}", "x y");
    check("{{ args.a }}", "{\"a\":\"x\"}", "x");
    check("--size={{args.size}}px", "{\"size\":100}", "--size=100px");
    check("{{args.n}}", "{\"n\":1.50e+10}", "1.50e+10");
    check("{{args.n}}", "{\"n\":123456789012345678901234567890}", "123456789012345678901234567890");
    check("{{args.t}}{{args.f}}", "{\"t\":true,\"f\":false}", "truefalse");
    check("{{args.s}}", "{\"s\":\"\"}", "");
    check("{{args.s}}", "{\"s\":\"\\u00e9\\n\\\"\\\\\"}", "\xc3\xa9\n\"\\");
    check("{{args.o}}", "{\"o\":{\"k\": [1, 2]}}", "{\"k\": [1, 2]}");
    check("{{args}}", "{\"a\": 1}", "{\"a\": 1}");
    check("{{args}}", "\"text\"", "\"text\"");
    check("{{args}}", "null", "null");
    check("a{{args.x}}b{{args.y}}c", "{\"y\":2,\"x\":1}", "a1b2c");
}

static void test_paths(void **state)
{
    (void)state;
    const char *args = "{ \"a\" : { \"b\" : [ 10 , { \"c\" : \"deep\" } , [ 7,8 ] ] , \"1\":\"one\" } }";
    check("{{args.a.b.0}}", args, "10");
    check("{{args.a.b.1.c}}", args, "deep");
    check("{{args.a.b.2.1}}", args, "8");
    check("{{args.a.1}}", args, "one");
    check("{{args.0}}", "[\"first\"]", "first");
    check("{{args.b}}", "{\"a\":\"]},\\\"b\\\":1\",\"b\":\"right\"}", "right");
    check("{{args.ab}}", "{\"\\u0061b\":\"escaped name\"}", "escaped name");
    check_refused("{{args.a.b.3}}", args, "missing");
    check_refused("{{args.a.b.01}}", args, "missing");
    check_refused("{{args.a.b.-1}}", args, "missing");
    check_refused("{{args.a.b.99999999999999999999}}", args, "missing");
    check_refused("{{args.a.b.0.x}}", args, "missing");
}

static void test_missing_and_null(void **state)
{
    (void)state;
    check_refused("{{args.a}}", "{}", "args.a is missing");
    check_refused("{{args.a}}", "null", "args.a is missing");
    check_refused("{{args.a}}", "7", "args.a is missing");
    check_refused("{{args.a}}", "\"a\"", "args.a is missing");
    check_refused("{{args.a}}", "{\"A\":1}", "args.a is missing");
    check_refused("{{args.a}}", "{\"a\":null}", "args.a is null");
}

static void test_hostile_values(void **state)
{
    (void)state;
    check("{{args.a}}", "{\"a\":\"$(reboot) `x` ; | & > < * ? ~ !\"}", "$(reboot) `x` ; | & > < * ? ~ !");
    check("{{args.a}}", "{\"a\":\"{{args.b}}\",\"b\":\"second\"}", "{{args.b}}"); /* never looked at again */
    check_refused("{{args.a}}", "{\"a\":\"x\\u0000y\"}", "NUL");
    check_refused("{{args.a}}", "{\"a\":\"-rf\"}", "begins with '-'");
    check_refused("{{args.a}}", "{\"a\":-5}", "begins with '-'");
    check_refused("{{args.a}}{{args.b}}", "{\"a\":\"\",\"b\":\"--x\"}", "begins with '-'");
    check_refused("{{args.a}}-{{args.b}}", "{\"a\":\"\",\"b\":\"rf\"}", "args.a is empty");
    check_refused("{{args.a}}{{args.b}}-x", "{\"a\":\"\",\"b\":\"\"}", "begins with '-'");
    check_refused("{{args}}", "-5", "begins with '-'");
    check("-{{args.a}}", "{\"a\":\"-rf\"}", "--rf"); /* an option by the operator's will */
    check("x{{args.a}}", "{\"a\":\"-rf\"}", "x-rf");
    check("{{args.a}}{{args.b}}", "{\"a\":\"f\",\"b\":\"-x\"}", "f-x");
    assert_string_equal(fill("{{args.a}}", "{\"a\":\"-5\"}", true), "-5");
}

static void test_results_of_other_tasks(void **state)
{
    (void)state;
    struct template t;
    const char *fault;
    error[0] = 0;
    struct buf out = BUF_INIT;
    const struct template_values values = {.args = SLICE_LITERAL("{\"a\":1}"),
                                           .after = SLICE_LITERAL("[{\"a\":\"one\"},[2],null]")};
    assert_int_equal(template_parse("{{args.a}} {{after.0.a}} {{ after.1 }} {{after}}", &t, &fault), 0);
    assert_true(template_uses_after(&t));
    assert_true(template_expand(&t, &values, false, &out, error));
    assert_string_equal(out.data, "1 one [2] [{\"a\":\"one\"},[2],null]");
    template_release(&t);
    buf_release(&out);
    assert_int_equal(template_parse("{{after.2}}", &t, &fault), 0);
    assert_false(template_expand(&t, &values, false, &out, error));
    assert_string_equal(error, "after.2 is null: the task needs a value");
    template_release(&t);
    buf_release(&out);
    assert_int_equal(template_parse("{{args.after}}", &t, &fault), 0);
    assert_false(template_uses_after(&t));
    template_release(&t);
    assert_int_equal(template_parse("{{afters.0}}", &t, &fault), -1);
}

static void check_fault(const char *text, const char *part)
{
    struct template t;
    const char *fault = "";
    assert_int_equal(template_parse(text, &t, &fault), -1);
    if (!strstr(fault, part))
        fail_msg("%s: \"%s\" lacks \"%s\"", text, fault, part);
}

static void test_faults(void **state)
{
    (void)state;
    check_fault("{{args.a", "without its }}");
    check_fault("{{", "without its }}");
    check_fault("{{}}", "neither {{args.NAME}}");
    check_fault("{{env.HOME}}", "neither {{args.NAME}}");
    check_fault("{{argsx}}", "neither {{args.NAME}}");
    check_fault("{{args.}}", "NAME");
    check_fault("{{args..a}}", "NAME");
    check_fault("{{args.a.}}", "NAME");
    check_fault("{{args.a b}}", "NAME");
    check_fault("{{args.a[0]}}", "NAME");
    char many[1000] = "";
    for (int i = 0; i < 70; i++)
        strcat(many, "{{args.a}}");
    check_fault(many, "too many");
}

static void check_find(const char *json, const char *name, const char *expect)
{
    struct slice got = json_in_find(slice_str(json), slice_str(name));
    if (!expect) {
        assert_null(got.data);
        return;
    }
    assert_int_equal(got.len, strlen(expect));
    assert_memory_equal(got.data, expect, got.len);
}

static void test_find(void **state)
{
    (void)state;
    check_find("{}", "a", NULL);
    check_find("[]", "0", NULL);
    check_find(" [ 1 ]", "0", "1");
    check_find("[1,[2],{\"a\":3}]", "1", "[2]");
    check_find("[1,[2],{\"a\":3}]", "2", "{\"a\":3}");
    check_find("[true]", "", NULL);
    check_find("{\"\":1}", "", "1");
    check_find("{\"a\\\"b\":1,\"b\":2}", "b", "2");
    check_find("{\"a\\\"b\":1,\"b\":2}", "a\"b", "1");
    check_find("", "a", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),          cmocka_unit_test(test_values),
        cmocka_unit_test(test_paths),          cmocka_unit_test(test_missing_and_null),
        cmocka_unit_test(test_hostile_values), cmocka_unit_test(test_results_of_other_tasks),
        cmocka_unit_test(test_faults),         cmocka_unit_test(test_find),
    };
    return cmocka_run_group_tests_name("template", tests, NULL, NULL);
}
