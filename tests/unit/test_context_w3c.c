/* What travels, in and out, against the letter of W3C Trace Context and Baggage: the cases of the W3C's own
 * conformance suite (github.com/w3c/trace-context, test/test.py), the limits and the grammar of baggage, B3 as a
 * configured alternative, environment and JSON. */
#include <satchel/context.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TRACE_ID "12345678901234567890123456789012"
#define PARENT "1234567890123456"
#define GOOD "00-" TRACE_ID "-" PARENT "-01"

struct line {
    const char *name, *value;
};

static satchel_problem problems[64];
static size_t n_problems;

static satchel_context *extract_sized(const satchel_field *fields, size_t n)
{
    satchel_context *context = NULL;
    n_problems = 64;
    assert_int_equal(satchel_extract(fields, n, &context, problems, &n_problems), SATCHEL_OK);
    assert_non_null(context);
    return context;
}

static satchel_context *extract(const struct line *lines, size_t n)
{
    satchel_field fields[256];
    assert_true(n <= 256);
    for (size_t i = 0; i < n; i++)
        fields[i] = (satchel_field){lines[i].name, lines[i].value, strlen(lines[i].name), strlen(lines[i].value)};
    return extract_sized(fields, n);
}
#define EXTRACT(...)                                                                                                   \
    extract((const struct line[]){__VA_ARGS__}, sizeof((const struct line[]){__VA_ARGS__}) / sizeof(struct line))

struct wanted {
    const char *name;
    char *value;
    unsigned times;
};

static int keep(const char *name, const char *value, size_t len, void *arg)
{
    struct wanted *wanted = arg;
    if (strcmp(name, wanted->name) != 0)
        return 0;
    wanted->times++;
    free(wanted->value);
    wanted->value = strndup(value, len);
    return 0;
}

/* What would be sent under that name; NULL: nothing.  The caller's. */
static char *sent(const satchel_context *context, const char *name)
{
    struct wanted wanted = {.name = name};
    assert_int_equal(satchel_inject(context, keep, &wanted), 0);
    assert_true(wanted.times <= 1);
    return wanted.value;
}

static void expect_sent(satchel_context *context, const char *name, const char *expected)
{
    char *value = sent(context, name);
    if (!expected && value)
        fail_msg("%s is sent: %s", name, value);
    if (expected && (!value || strcmp(value, expected) != 0))
        fail_msg("%s is %s, expected %s", name, value ? value : "not sent", expected);
    free(value);
}

static void expect_one(const struct line *lines, size_t n, const char *name, const char *expected)
{
    satchel_context *context = extract(lines, n);
    expect_sent(context, name, expected);
    satchel_context_unref(context);
}
#define EXPECT(name, expected, ...)                                                                                    \
    expect_one((const struct line[]){__VA_ARGS__}, sizeof((const struct line[]){__VA_ARGS__}) / sizeof(struct line),   \
               name, expected)

/* ---- traceparent ---- */

static void nothing_sent_nothing_made_up(void **state)
{
    (void)state;
    satchel_context *context = extract(NULL, 0);
    assert_int_equal(satchel_context_len(context), 0);
    satchel_context_unref(context);
    EXPECT("tracestate", NULL, {"tracestate", "foo=1"}); /* of no trace */
}

static void header_names_in_any_case(void **state)
{
    (void)state;
    EXPECT("traceparent", GOOD, {"traceparent", GOOD});
    EXPECT("traceparent", GOOD, {"TraceParent", GOOD});
    EXPECT("traceparent", GOOD, {"TrAcEpArEnT", GOOD});
    EXPECT("traceparent", GOOD, {"TRACEPARENT", GOOD});
    EXPECT("traceparent", NULL, {"trace-parent", GOOD});
    EXPECT("traceparent", NULL, {"trace.parent", GOOD});
}

static void a_repeated_traceparent_counts_for_nothing(void **state)
{
    (void)state;
    EXPECT("traceparent", NULL, {"traceparent", GOOD}, {"traceparent", GOOD});
    EXPECT("traceparent", NULL, {"traceparent", "00-12345678901234567890123456789011-1234567890123456-01"},
           {"TraceParent", GOOD});
    EXPECT("tracestate", NULL, {"traceparent", GOOD}, {"traceparent", GOOD}, {"tracestate", "foo=1"});
    EXPECT("traceparent", NULL, {"traceparent", GOOD "," GOOD});
}

static void traceparents_that_restart_the_trace(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "00",
        "00-" TRACE_ID,
        "00-" TRACE_ID "-" PARENT,
        "00-" TRACE_ID "-" PARENT "-",
        /* version 00 with anything behind */
        GOOD ".",
        GOOD "-",
        GOOD "-what-the-future-will-be-like",
        GOOD ".what-the-future-will-be-like",
        GOOD " x",
        /* versions */
        "ff-" TRACE_ID "-" PARENT "-01",
        ".0-" TRACE_ID "-" PARENT "-01",
        "0.-" TRACE_ID "-" PARENT "-01",
        "000-" TRACE_ID "-" PARENT "-01",
        "0000-" TRACE_ID "-" PARENT "-01",
        "0-" TRACE_ID "-" PARENT "-01",
        "cc-" TRACE_ID "-" PARENT "-01.what-the-future-will-be-like",
        "FF-" TRACE_ID "-" PARENT "-01",
        "CC-" TRACE_ID "-" PARENT "-01",
        "01-" TRACE_ID "-" PARENT "-0",
        "01" TRACE_ID "-" PARENT "-01",
        /* trace-id */
        "00-00000000000000000000000000000000-" PARENT "-01",
        "00-.2345678901234567890123456789012-" PARENT "-01",
        "00-1234567890123456789012345678901.-" PARENT "-01",
        "00-123456789012345678901234567890123-" PARENT "-01",
        "00-1234567890123456789012345678901-" PARENT "-01",
        "00-1234567890123456789012345678901A-" PARENT "-01",
        "00-12345678901234567890 23456789012-" PARENT "-01",
        /* parent-id */
        "00-" TRACE_ID "-0000000000000000-01",
        "00-" TRACE_ID "-.234567890123456-01",
        "00-" TRACE_ID "-123456789012345.-01",
        "00-" TRACE_ID "-12345678901234567-01",
        "00-" TRACE_ID "-123456789012345-01",
        "00-" TRACE_ID "-123456789012345F-01",
        /* flags */
        "00-" TRACE_ID "-" PARENT "-.0",
        "00-" TRACE_ID "-" PARENT "-0.",
        "00-" TRACE_ID "-" PARENT "-001",
        "00-" TRACE_ID "-" PARENT "-1",
        "00-" TRACE_ID "-" PARENT "-0A",
        "00_" TRACE_ID "-" PARENT "-01",
        "00-" TRACE_ID "_" PARENT "-01",
        "00-" TRACE_ID "-" PARENT "_01",
        "\xc3\xbc" GOOD,
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        satchel_trace trace;
        if (satchel_trace_parse(bad[i], strlen(bad[i]), &trace) == SATCHEL_OK)
            fail_msg("%s was parsed", bad[i]);
        satchel_context *context = EXTRACT({"traceparent", bad[i]}, {"tracestate", "foo=1"});
        expect_sent(context, "traceparent", NULL);
        expect_sent(context, "tracestate", NULL); /* goes with it */
        assert_true(n_problems >= 1);
        satchel_context_unref(context);
    }
}

static void later_versions_are_read_as_far_as_they_are_known(void **state)
{
    (void)state;
    EXPECT("traceparent", GOOD, {"traceparent", "cc-" TRACE_ID "-" PARENT "-01"});
    EXPECT("traceparent", GOOD, {"traceparent", "cc-" TRACE_ID "-" PARENT "-01-what-the-future-will-be-like"});
    EXPECT("traceparent", GOOD, {"traceparent", "01-" TRACE_ID "-" PARENT "-01-"});
    EXPECT("traceparent", GOOD, {"traceparent", "fe-" TRACE_ID "-" PARENT "-01-x"});
}

static void white_space_around(void **state)
{
    (void)state;
    EXPECT("traceparent", GOOD, {"traceparent", " " GOOD});
    EXPECT("traceparent", GOOD, {"traceparent", "\t" GOOD});
    EXPECT("traceparent", GOOD, {"traceparent", GOOD " "});
    EXPECT("traceparent", GOOD, {"traceparent", GOOD "\t"});
    EXPECT("traceparent", GOOD, {"traceparent", "\t " GOOD " \t"});
}

static void flags_that_are_not_known_are_dropped(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {{"00", "00"}, {"01", "01"}, {"02", "02"}, {"03", "03"}, {"04", "00"}, {"ff", "03"}, {"81", "01"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char in[64], out[64];
        (void)snprintf(in, sizeof in, "00-" TRACE_ID "-" PARENT "-%s", cases[i].in);
        (void)snprintf(out, sizeof out, "00-" TRACE_ID "-" PARENT "-%s", cases[i].out);
        EXPECT("traceparent", out, {"traceparent", in});
    }
}

static void roots_and_children(void **state)
{
    (void)state;
    satchel_trace root, other, child;
    char text[56];
    assert_int_equal(satchel_trace_root(&root), SATCHEL_OK);
    assert_int_equal(satchel_trace_root(&other), SATCHEL_OK);
    assert_memory_not_equal(root.trace_id, other.trace_id, 16);
    assert_int_equal(root.flags & 2, 2); /* its right-most bytes are random */
    assert_int_equal(satchel_trace_child(&root, &child), SATCHEL_OK);
    assert_memory_equal(root.trace_id, child.trace_id, 16);
    assert_memory_not_equal(root.span_id, child.span_id, 8);
    assert_int_equal(child.flags, root.flags);
    satchel_trace_format(&child, text);
    assert_int_equal(strlen(text), 55);
    assert_memory_equal(text, "00-", 3);
    assert_int_equal(satchel_trace_parse(text, 55, &other), SATCHEL_OK);
    assert_memory_equal(other.span_id, child.span_id, 8);
    other.flags = 0; /* a continued trace keeps what it was told: nothing is random that was not */
    assert_int_equal(satchel_trace_child(&other, &child), SATCHEL_OK);
    assert_int_equal(child.flags, 0);
}

/* ---- tracestate ---- */

#define STATE(expected, ...) EXPECT("tracestate", expected, {"traceparent", GOOD}, __VA_ARGS__)

static void lists_of_several_lines(void **state)
{
    (void)state;
    STATE("foo=1,bar=2", {"tracestate", "foo=1,bar=2"});
    STATE("foo=1,bar=2", {"tracestate", "foo=1"}, {"TraceState", "bar=2"});
    STATE("foo=1,bar=2,rojo=1,congo=2,baz=3", {"tracestate", "foo=1,bar=2"}, {"tracestate", "rojo=1,congo=2"},
          {"tracestate", "baz=3"});
    STATE("foo=1", {"tracestate", "foo=1"}, {"tracestate", ""});
    STATE("foo=1", {"tracestate", ""}, {"tracestate", "foo=1"});
    STATE("foo=1,bar=2", {"tracestate", "foo=1,,bar=2,"});
    STATE("foo=1,bar=2", {"tracestate", ", \t ,foo=1, ,bar=2"});
    STATE(NULL, {"tracestate", ""});
    STATE(NULL, {"tracestate", " ,\t,"});
    STATE("foo=1", {"tracestate", "foo=1,foo=2"}); /* one of them; ours is the first */
}

static void white_space_in_lists(void **state)
{
    (void)state;
    STATE("foo=1,bar=2,baz=3", {"tracestate", "foo=1 \t , \t bar=2, \t baz=3"});
    STATE("foo=1,bar=2,baz=3", {"tracestate", "foo=1\t \t,\t \tbar=2,\t \tbaz=3"});
    STATE("foo=1", {"tracestate", " foo=1"});
    STATE("foo=1", {"tracestate", "\tfoo=1\t"});
    STATE("foo= 1 2", {"tracestate", "foo= 1 2 "}); /* leading blanks are the value's */
}

static void one_bad_member_drops_the_list(void **state)
{
    (void)state;
    static const char *const bad[] = {"foo =1",       "FOO=1",        "foo.bar=1",    "foo=1,FOO=2", "@foo=1,bar=2",
                                      "foo=bar=baz",  "foo=,bar=3",   "foo",          "=1",          "foo=1;x",
                                      "fo\xc3\xb6=1", "foo=\xc3\xb6", "foo=1,bar=\t", "foo=a\tb",    "-a=1",
                                      "_a=1",         "*a=1",         "/a=1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        satchel_context *context = EXTRACT({"traceparent", GOOD}, {"tracestate", bad[i]});
        if (strcmp(bad[i], "foo=1;x") == 0)
            expect_sent(context, "tracestate", bad[i]); /* a semicolon is nothing special */
        else
            expect_sent(context, "tracestate", NULL);
        expect_sent(context, "traceparent", GOOD); /* never harmed by it */
        satchel_context_unref(context);
    }
    STATE(NULL, {"tracestate", "foo=1"}, {"tracestate", "B=1"}); /* in another line, too */
}

static void all_characters_that_are_allowed(void **state)
{
    (void)state;
    STATE("abcdefghijklmnopqrstuvwxyz0123456789_-*/=1", {"tracestate", "abcdefghijklmnopqrstuvwxyz0123456789_-*/=1"});
    STATE("0a@b=1", {"tracestate", "0a@b=1"});
    char value[128] = "foo=";
    size_t n = 4;
    for (char c = 0x20; c < 0x7f; c++)
        if (c != ',' && c != '=')
            value[n++] = c;
    value[n] = '\0';
    STATE(value, {"tracestate", value});
}

static char *members(unsigned n, const char *separator)
{
    char *text = malloc((size_t)n * 16 + 1);
    size_t at = 0;
    assert_non_null(text);
    text[0] = '\0';
    for (unsigned i = 0; i < n; i++)
        at += (size_t)sprintf(text + at, "%sbar%02u=%02u", i ? separator : "", i, i);
    return text;
}

static void limits_of_lists(void **state)
{
    (void)state;
    char *most = members(32, ","), *more = members(33, ",");
    assert_true(strlen(most) < 512);
    STATE(most, {"tracestate", most});
    STATE(NULL, {"tracestate", more});
    STATE(NULL, {"tracestate", most}, {"tracestate", "one=more"});
    STATE(most, {"tracestate", most}, {"tracestate", "bar00=again"});
    free(more);
    free(most);
    char key[300], text[900];
    memset(key, 'z', 256);
    (void)snprintf(text, sizeof text, "%.256s=1", key);
    STATE(text, {"tracestate", text});
    key[256] = 'z';
    (void)snprintf(text, sizeof text, "%.257s=1", key);
    STATE(NULL, {"tracestate", text});
    (void)snprintf(text, sizeof text, "%.241s@%.14s=1", key, key);
    STATE(text, {"tracestate", text});
    (void)snprintf(text, sizeof text, "a=%.256s", key);
    STATE(text, {"tracestate", text});
    (void)snprintf(text, sizeof text, "a=%.257s", key);
    STATE(NULL, {"tracestate", text});
    (void)snprintf(text, sizeof text, "a=%.250s,b=%.250s,c=%.250s", key, key, key);
    STATE(text, {"tracestate", text}); /* 512 characters at least are passed on */
}

/* ---- baggage ---- */

#define BAGGAGE(expected, ...) EXPECT("baggage", expected, __VA_ARGS__)

static void baggage_lists(void **state)
{
    (void)state;
    BAGGAGE("a=1", {"baggage", "a=1"});
    BAGGAGE("a=1", {"Baggage", "a=1"});
    BAGGAGE("a=1,b=2,c=3", {"baggage", "a=1,b=2"}, {"baggage", "c=3"});
    BAGGAGE("a=1,b=2", {"baggage", " a = 1 ,\tb\t=\t2"});
    BAGGAGE("a=1;p;q=2,b=2", {"baggage", "a=1 ; p ; q = 2 , b=2"});
    BAGGAGE("a=", {"baggage", "a="});
    BAGGAGE("a==b=c", {"baggage", "a==b=c"});
    BAGGAGE("A=1,a=2", {"baggage", "A=1,a=2"});         /* keys are case-sensitive */
    BAGGAGE("a=%20%C3%BC", {"baggage", "a=%20%C3%BC"}); /* as it came */
    BAGGAGE(NULL, {"baggage", ""});
    BAGGAGE("a=1", {"baggage", "a=1"}, {"traceparent", "broken"}); /* of any trace, or of none */
}

static void bad_members_are_left_out(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"a=1,,b=2", "a=1,b=2"}, {"a=1,b", "a=1"},       {"=1,b=2", "b=2"},     {"a b=1,c=2", "c=2"},
        {"a=x y,c=2", "c=2"},    {"a=\"q\",c=2", "c=2"}, {"a=\\,c=2", "c=2"},   {"a=\xc3\xbc,c=2", "c=2"},
        {"(a)=1,c=2", "c=2"},    {"a=1;,c=2", "c=2"},    {"a=1;=2,c=2", "c=2"}, {"a=1;p=x y,c=2", "c=2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        satchel_context *context = EXTRACT({"baggage", cases[i].in});
        expect_sent(context, "baggage", cases[i].out);
        assert_int_equal(n_problems, 1);
        assert_string_equal(problems[0].name, "baggage");
        satchel_context_unref(context);
    }
}

static void limits_of_baggage(void **state)
{
    (void)state;
    char *most = members(64, ","), *more = members(65, ",");
    BAGGAGE(most, {"baggage", most});
    BAGGAGE(most, {"baggage", more}); /* whole members go, from the right */
    free(more);
    free(most);
    static char large[70000], fits[8193], beyond[8300];
    (void)snprintf(fits, sizeof fits, "k=%08190d", 0);
    assert_int_equal(strlen(fits), 8192);
    BAGGAGE(fits, {"baggage", fits});
    (void)snprintf(beyond, sizeof beyond, "%s0", fits);
    BAGGAGE(NULL, {"baggage", beyond});
    BAGGAGE("a=1", {"baggage", "a=1"}, {"baggage", beyond});
    memset(large, 'x', 65536); /* 64 KiB that are no member at all */
    BAGGAGE(NULL, {"baggage", large});
    (void)memcpy(large, "k=", 2);
    BAGGAGE("z=9", {"baggage", large}, {"baggage", "z=9"});
}

static void baggage_values(void **state)
{
    (void)state;
    satchel_context *context =
        EXTRACT({"baggage", "a=%41%62,bad=%C3%28,half=%4,nul=%00,plus=a+b,prop=v;x=1,e=,dup=1,dup=2"});
    char value[32];
    assert_int_equal(satchel_baggage_get(context, "a", value, sizeof value), 2);
    assert_string_equal(value, "Ab");
    assert_int_equal(satchel_baggage_get(context, "bad", value, sizeof value), 4);
    assert_string_equal(value, "\xef\xbf\xbd("); /* what is not UTF-8 becomes U+FFFD */
    assert_int_equal(satchel_baggage_get(context, "plus", value, sizeof value), 3);
    assert_string_equal(value, "a+b");
    assert_int_equal(satchel_baggage_get(context, "prop", value, sizeof value), 1);
    assert_int_equal(satchel_baggage_get(context, "e", value, sizeof value), 0);
    assert_int_equal(satchel_baggage_get(context, "absent", value, sizeof value), SIZE_MAX);
    assert_int_equal(satchel_baggage_get(context, "A", value, sizeof value), SIZE_MAX);
    assert_int_equal(satchel_baggage_get(context, "a", NULL, 0), 2); /* as snprintf */
    assert_int_equal(satchel_baggage_get(context, "a", value, 2), 2);
    assert_string_equal(value, "A");
    assert_true(satchel_baggage_get(context, "dup", value, sizeof value) == 1);
    satchel_context_unref(context);
}

static void baggage_of_ones_own(void **state)
{
    (void)state;
    char value[64];
    assert_int_equal(satchel_thread_reset(), SATCHEL_OK);
    assert_int_equal(satchel_baggage_set("user", "Zo\xc3\xab, \"x\" 100%", NULL), SATCHEL_OK);
    satchel_context *context = satchel_capture();
    char *text = sent(context, "baggage");
    assert_non_null(text);
    for (const char *c = text; *c; c++)
        assert_true(*c > 0x20 && *c < 0x7f && *c != '"' && *c != '\\');
    assert_true(satchel_baggage_get(context, "user", value, sizeof value) != SIZE_MAX);
    assert_string_equal(value, "Zo\xc3\xab, \"x\" 100%");
    satchel_context *back = EXTRACT({"baggage", text});
    assert_true(satchel_baggage_get(back, "user", value, sizeof value) != SIZE_MAX);
    assert_string_equal(value, "Zo\xc3\xab, \"x\" 100%");
    free(text);
    satchel_context_unref(back);
    satchel_context_unref(context);
    assert_int_equal(satchel_baggage_set("user", "again", NULL), SATCHEL_OK); /* the same key: in its place */
    assert_int_equal(satchel_baggage_get(NULL, "user", value, sizeof value), 5);
    assert_int_equal(satchel_baggage_set("bad key", "x", NULL), SATCHEL_EGRAMMAR);
    assert_int_equal(satchel_baggage_set("", "x", NULL), SATCHEL_EINVAL);
    assert_int_equal(satchel_baggage_set(NULL, "x", NULL), SATCHEL_EINVAL);
    assert_int_equal(satchel_thread_reset(), SATCHEL_OK);
}

/* ---- tenant and the ids ---- */

static void expect_refused(const struct line *lines, size_t n, int status)
{
    satchel_field fields[8];
    satchel_context *context = (satchel_context *)&fields; /* must become NULL */
    for (size_t i = 0; i < n; i++)
        fields[i] = (satchel_field){lines[i].name, lines[i].value, strlen(lines[i].name), strlen(lines[i].value)};
    assert_int_equal(satchel_extract(fields, n, &context, NULL, NULL), status);
    assert_null(context);
}
#define REFUSED(status, ...)                                                                                           \
    expect_refused((const struct line[]){__VA_ARGS__},                                                                 \
                   sizeof((const struct line[]){__VA_ARGS__}) / sizeof(struct line), status)

static void a_task_must_not_run_as_nobody(void **state)
{
    (void)state;
    char longest[152];
    memset(longest, 't', 151);
    longest[151] = '\0';
    REFUSED(SATCHEL_ELIMIT, {"X-Tenant-ID", longest});
    longest[150] = '\0';
    EXPECT("X-Tenant-ID", longest, {"X-Tenant-ID", longest});
    EXPECT("X-Tenant-ID", "a!-_.*'()Z9", {"x-tenant-id", "a!-_.*'()Z9"});
    EXPECT("X-Tenant-ID", "acme", {"X-Scope-OrgID", "acme"});
    EXPECT("X-Tenant-ID", "acme", {"X-Scope-OrgID", "acme"}, {"X-Tenant-ID", "acme"});
    REFUSED(SATCHEL_EGRAMMAR, {"X-Tenant-ID", "a"}, {"X-Tenant-ID", "b"});
    REFUSED(SATCHEL_EGRAMMAR, {"X-Tenant-ID", "a"}, {"X-Scope-OrgID", "b"});
    static const char *const bad[] = {"", ".", "..", "a b", "a/b", "a|b", "a:b", "a\xc3\xbc", "a\"", "a\\", "a,b"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        REFUSED(SATCHEL_EGRAMMAR, {"X-Tenant-ID", bad[i]}, {"traceparent", GOOD});
}

static void request_ids(void **state)
{
    (void)state;
    char longest[257];
    memset(longest, 'r', 256);
    longest[256] = '\0';
    EXPECT("X-Request-ID", NULL, {"X-Request-ID", longest});
    longest[255] = '\0';
    EXPECT("X-Request-ID", longest, {"X-Request-ID", longest});
    EXPECT("X-Request-ID", NULL, {"X-Request-ID", "a b"});
    EXPECT("X-Request-ID", NULL, {"X-Request-ID", "\xc3\xbc"});
    EXPECT("X-Request-ID", NULL, {"X-Request-ID", ""});
    EXPECT("X-Correlation-ID", "c-1", {"x-correlation-id", "c-1"});
    EXPECT("X-Satchel-Task-ID", NULL, {"X-Satchel-Task-ID", "mine"}); /* the worker's to set */
}

static void bytes_that_no_field_may_hold(void **state)
{
    (void)state;
    static const char nul[] = "a\0b", lines[] = "a\r\nX-Evil: 1";
    const satchel_field with_nul = {"X-Request-ID", nul, 12, 3},
                        with_crlf = {"X-Request-ID", lines, 12, sizeof lines - 1};
    satchel_context *context = extract_sized(&with_nul, 1);
    expect_sent(context, "X-Request-ID", NULL);
    satchel_context_unref(context);
    context = extract_sized(&with_crlf, 1);
    expect_sent(context, "X-Request-ID", NULL);
    satchel_context_unref(context);
    const satchel_field name = {"X-Satchel-Var-a\0b", "1", 17, 1};
    context = extract_sized(&name, 1);
    assert_int_equal(satchel_context_len(context), 0);
    satchel_context_unref(context);
}

/* ---- B3 ---- */

#define B3_64 "a3ce929d0e0e4736"
#define B3_SPAN "00f067aa0ba902b7"

static int set_b3(void **state)
{
    (void)state;
    return satchel_set_propagators("b3,b3multi,baggage");
}

static int set_w3c(void **state)
{
    (void)state;
    return satchel_set_propagators("tracecontext,baggage");
}

static void expect_trace(satchel_context *context, const char *expected)
{
    satchel_value *value;
    int status = satchel_context_get(context, satchel_known_var(SATCHEL_TRACEPARENT), &value);
    assert_int_equal(status, expected ? SATCHEL_OK : SATCHEL_UNSET);
    if (expected) {
        assert_string_equal(satchel_value_data(value), expected);
        satchel_value_unref(value);
    }
    satchel_context_unref(context);
}

static void b3_of_one_line(void **state)
{
    (void)state;
    expect_trace(EXTRACT({"b3", TRACE_ID "-" B3_SPAN "-1"}), "00-" TRACE_ID "-" B3_SPAN "-01");
    expect_trace(EXTRACT({"b3", TRACE_ID "-" B3_SPAN "-0"}), "00-" TRACE_ID "-" B3_SPAN "-00");
    expect_trace(EXTRACT({"B3", TRACE_ID "-" B3_SPAN "-d"}), "00-" TRACE_ID "-" B3_SPAN "-01");
    expect_trace(EXTRACT({"b3", B3_64 "-" B3_SPAN "-1-" PARENT}), "00-0000000000000000" B3_64 "-" B3_SPAN "-01");
    expect_trace(EXTRACT({"b3", "0"}), NULL); /* a decision, and no trace to apply it to */
    static const char *const bad[] = {"",
                                      "x",
                                      TRACE_ID,
                                      TRACE_ID "-",
                                      "00000000000000000000000000000000-" B3_SPAN "-1",
                                      TRACE_ID "-0000000000000000-1",
                                      TRACE_ID "-" B3_SPAN "-2",
                                      TRACE_ID "-" B3_SPAN "-1-x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        expect_trace(EXTRACT({"b3", bad[i]}), NULL);
}

static void b3_of_several_lines(void **state)
{
    (void)state;
    expect_trace(EXTRACT({"X-B3-TraceId", TRACE_ID}, {"X-B3-SpanId", B3_SPAN}, {"X-B3-Sampled", "1"}),
                 "00-" TRACE_ID "-" B3_SPAN "-01");
    expect_trace(EXTRACT({"x-b3-traceid", B3_64}, {"x-b3-spanid", B3_SPAN}, {"x-b3-flags", "1"}),
                 "00-0000000000000000" B3_64 "-" B3_SPAN "-01");
    expect_trace(EXTRACT({"X-B3-TraceId", TRACE_ID}, {"X-B3-SpanId", B3_SPAN}, {"X-B3-Sampled", "0"}),
                 "00-" TRACE_ID "-" B3_SPAN "-00");
    expect_trace(EXTRACT({"X-B3-TraceId", TRACE_ID}), NULL);
    expect_trace(EXTRACT({"b3", TRACE_ID "-" B3_SPAN "-1"}, {"X-B3-TraceId", B3_64}, {"X-B3-SpanId", PARENT}),
                 "00-" TRACE_ID "-" B3_SPAN "-01");     /* the single line first */
    expect_trace(EXTRACT({"traceparent", GOOD}), NULL); /* not asked for */
}

static void b3_is_not_read_unless_asked_for(void **state)
{
    (void)state;
    expect_trace(EXTRACT({"b3", TRACE_ID "-" B3_SPAN "-1"}), NULL);
    assert_int_equal(satchel_set_propagators("nonsense"), SATCHEL_EINVAL);
    expect_trace(EXTRACT({"traceparent", GOOD}), GOOD); /* and nothing has changed */
}

/* ---- environment and JSON ---- */

static satchel_context *full(void)
{
    return EXTRACT({"traceparent", GOOD}, {"tracestate", "foo=1"}, {"baggage", "a=1"}, {"X-Tenant-ID", "acme"},
                   {"X-Request-ID", "r-1"}, {"X-Satchel-Var-shard.no", "7"});
}

static const char *entry(char *const *env, const char *name)
{
    size_t len = strlen(name);
    for (; *env; env++)
        if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
            return *env + len + 1;
    return NULL;
}

static void environment_and_back(void **state)
{
    (void)state;
    satchel_context *context = full(), *back;
    char home[] = "HOME=/root", old[] = "TRACEPARENT=00-old", other[] = "X_TENANT_ID=somebody",
         *base[] = {home, old, other, NULL};
    char **env;
    assert_int_equal(satchel_context_to_env(context, base, &env), SATCHEL_OK);
    assert_string_equal(entry(env, "HOME"), "/root");
    assert_string_equal(entry(env, "TRACEPARENT"), GOOD);
    assert_string_equal(entry(env, "TRACESTATE"), "foo=1");
    assert_string_equal(entry(env, "BAGGAGE"), "a=1");
    assert_string_equal(entry(env, "X_TENANT_ID"), "acme");
    assert_string_equal(entry(env, "X_REQUEST_ID"), "r-1");
    assert_string_equal(entry(env, "X_SATCHEL_VAR_SHARD_NO"), "7");
    assert_int_equal(satchel_context_from_env(env, &back), SATCHEL_OK);
    expect_sent(back, "traceparent", GOOD);
    expect_sent(back, "X-Tenant-ID", "acme");
    satchel_context_unref(back);
    satchel_free(env);
    satchel_context_unref(context);
    context = satchel_context_new(); /* a child never sees its parent's trace */
    assert_int_equal(satchel_context_to_env(context, base, &env), SATCHEL_OK);
    assert_null(entry(env, "TRACEPARENT"));
    assert_null(entry(env, "X_TENANT_ID"));
    assert_string_equal(entry(env, "HOME"), "/root");
    satchel_free(env);
    satchel_context_unref(context);
}

static void environments_with_any_bytes(void **state)
{
    (void)state;
    char a[] = "TRACEPARENT=\xff\xfe", b[] = "=", c[] = "noequals", d[] = "BAGGAGE=a=1,\x01", e[] = "",
         f[] = "traceparent=" GOOD, *env[] = {a, b, c, d, e, f, NULL};
    satchel_context *context;
    assert_int_equal(satchel_context_from_env(env, &context), SATCHEL_OK);
    expect_sent(context, "traceparent", NULL); /* normalised names alone are read */
    expect_sent(context, "baggage", "a=1");
    satchel_context_unref(context);
    char bad[] = "X_TENANT_ID=not a tenant", *wrong[] = {bad, NULL};
    assert_int_equal(satchel_context_from_env(wrong, &context), SATCHEL_EGRAMMAR);
}

static void json_and_back(void **state)
{
    (void)state;
    satchel_context *context = full(), *back;
    char *json;
    size_t len;
    assert_int_equal(satchel_context_to_json(context, 0, &json, &len), SATCHEL_OK);
    assert_int_equal(strlen(json), len);
    assert_string_equal(json, "{\"v\":1,\"vars\":{\"baggage\":\"a=1\",\"traceparent\":\"" GOOD
                              "\",\"tracestate\":\"foo=1\",\"x-request-id\":\"r-1\",\"x-satchel-var-shard.no\":\"7\","
                              "\"x-tenant-id\":\"acme\"}}"); /* sorted */
    assert_int_equal(satchel_context_from_json(json, len, &back), SATCHEL_OK);
    assert_true(satchel_context_equal(context, back));
    satchel_context_unref(back);
    satchel_free(json);
    satchel_context_unref(context);
}

static void json_that_is_odd(void **state)
{
    (void)state;
    static const char *const good[] = {
        "{\"v\":1,\"vars\":{}}",
        "{\"v\":1,\"vars\":{\"unknown\":\"x\"}}",
        "{\"v\":1,\"vars\":{\"unknown\":\"x\",\"unknown-too\":\"\"}}",
        "{\"v\":1,\"vars\":{\"unknown\":7}}",
        "{\"more\":[1,{}],\"v\":1,\"vars\":{}}",
        " {\"v\":1 , \"vars\" : { } } ",
    };
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "null",
        "7",
        "{}",
        "{\"v\":1}",
        "{\"v\":2,\"vars\":{}}",
        "{\"v\":1,\"vars\":[]}",
        "{\"v\":1,\"vars\":{\"x-tenant-id\":7}}",
        "{\"v\":1,\"vars\":{}} x",
        "{\"v\":1,\"vars\":{\"x-tenant-id\":\"a b\"}}",
        "{\"v\":1,\"vars\":{\"x-request-id\":\"a\",\"x-request-id\":\"b\"}}",
        "{\"v\":\"1\",\"vars\":{}}",
        "{\"v\":1,\"vars\":{",
        "{\"v\":1,\"vars\":{}",
        "{\"v\":1,\"vars\":{}}}",
        "{\"v\":1,\"vars\":{,}}",
        "{\"v\":1,\"vars\":{\"x-request-id\":\"a\",}}",
        "{\"v\":1,\"vars\":{\"x-request-id\":\"a\"\"x-tenant-id\":\"b\"}}",
        "{\"v\":1,\"vars\":{\"x-request-id\"}}",
        "{\"v\":1,\"vars\":{\"x-request-id\":}}",
        "{\"v\":1,\"vars\":{\"x-request-id\":\"a}}",
        "{\"v\":1,\"vars\":{\"x-request-id\":\"a\nb\"}}",
        "{\"v\":1,\"vars\":{\"x-request-id\":\"\\q\"}}",
    };
    satchel_context *context;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        if (satchel_context_from_json(good[i], strlen(good[i]), &context) != SATCHEL_OK)
            fail_msg("%s was refused", good[i]);
        assert_int_equal(satchel_context_len(context), 0);
        satchel_context_unref(context);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        context = NULL;
        if (satchel_context_from_json(bad[i], strlen(bad[i]), &context) == SATCHEL_OK)
            fail_msg("%s was taken", bad[i]);
        assert_null(context);
    }
    static char deep[20001];
    memset(deep, '[', 20000);
    assert_true(satchel_context_from_json(deep, 20000, &context) < 0);
}

/* What is as we write it is read without a tree; each of these says the same in another way. */
static void json_is_the_same_however_it_is_written(void **state)
{
    (void)state;
    static const char *const forms[] = {
        "{\"v\":1,\"vars\":{\"baggage\":\"a=%2F\",\"x-request-id\":\"r-1\",\"x-tenant-id\":\"acme\"}}",
        "{\"v\":1,\"vars\":{\"x-tenant-id\":\"acme\",\"x-request-id\":\"r-1\",\"baggage\":\"a=%2F\"}}",
        "{\"v\":1,\"vars\":{\"baggage\":\"a=%2F\",\"x-request-id\":\"r-1\",\"x-tenant-id\":\"acme\"} }",
        "{\"v\":1,\"vars\":{\"baggage\":\"a=%2F\",\"x-request-id\":\"\\u0072-1\",\"x-tenant-id\":\"acme\"}}",
        "{\"vars\":{\"baggage\":\"a=%2F\",\"x-request-id\":\"r-1\",\"x-tenant-id\":\"acme\"},\"v\":1}",
        "{\"v\":1,\"vars\":{\"a\":\"\",\"baggage\":\"a=%2F\",\"x-request-id\":\"r-1\",\"x-tenant-id\":\"acme\"}}",
        "{\"v\":1,\"vars\":{\"baggage\":\"a=%2F\",\"other\":\"\xc3\xa9\",\"x-request-id\":\"r-1\","
        "\"x-tenant-id\":\"acme\"}}",
    };
    satchel_context *first = NULL;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        satchel_context *context;
        assert_int_equal(satchel_context_from_json(forms[i], strlen(forms[i]), &context), SATCHEL_OK);
        if (first && !satchel_context_equal(first, context))
            fail_msg("%s is not as the first", forms[i]);
        expect_sent(context, "X-Request-ID", "r-1");
        if (first)
            satchel_context_unref(context);
        else
            first = context;
    }
    satchel_context_unref(first);
}

static void json_of_more_than_a_few(void **state)
{
    (void)state;
    char json[4000] = "{\"v\":1,\"vars\":{", one[80];
    for (int i = 10; i < 60; i++) {
        (void)snprintf(one, sizeof one, "%s\"x-satchel-var-n%d\":\"%d\"", i > 10 ? "," : "", i, i);
        (void)strcat(json, one);
    }
    (void)strcat(json, "}}");
    satchel_context *context;
    assert_int_equal(satchel_context_from_json(json, strlen(json), &context), SATCHEL_OK);
    assert_int_equal(satchel_context_len(context), 50);
    expect_sent(context, "X-Satchel-Var-n59", "59");
    satchel_context_unref(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_sent_nothing_made_up),
        cmocka_unit_test(header_names_in_any_case),
        cmocka_unit_test(a_repeated_traceparent_counts_for_nothing),
        cmocka_unit_test(traceparents_that_restart_the_trace),
        cmocka_unit_test(later_versions_are_read_as_far_as_they_are_known),
        cmocka_unit_test(white_space_around),
        cmocka_unit_test(flags_that_are_not_known_are_dropped),
        cmocka_unit_test(roots_and_children),
        cmocka_unit_test(lists_of_several_lines),
        cmocka_unit_test(white_space_in_lists),
        cmocka_unit_test(one_bad_member_drops_the_list),
        cmocka_unit_test(all_characters_that_are_allowed),
        cmocka_unit_test(limits_of_lists),
        cmocka_unit_test(baggage_lists),
        cmocka_unit_test(bad_members_are_left_out),
        cmocka_unit_test(limits_of_baggage),
        cmocka_unit_test(baggage_values),
        cmocka_unit_test(baggage_of_ones_own),
        cmocka_unit_test(a_task_must_not_run_as_nobody),
        cmocka_unit_test(request_ids),
        cmocka_unit_test(bytes_that_no_field_may_hold),
        cmocka_unit_test_setup_teardown(b3_of_one_line, set_b3, set_w3c),
        cmocka_unit_test_setup_teardown(b3_of_several_lines, set_b3, set_w3c),
        cmocka_unit_test(b3_is_not_read_unless_asked_for),
        cmocka_unit_test(environment_and_back),
        cmocka_unit_test(environments_with_any_bytes),
        cmocka_unit_test(json_and_back),
        cmocka_unit_test(json_that_is_odd),
        cmocka_unit_test(json_is_the_same_however_it_is_written),
        cmocka_unit_test(json_of_more_than_a_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
