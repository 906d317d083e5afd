/* The pure parts: heads, chunks, targets, hosts, lengths, sources, dates.  Above all: fed in any pieces, the verdict
 * is the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/chunked.h"
#include "http/date.h"
#include "http/request.h"
#include "http/source.h"
#include "http_mutate.h"

static const struct framing_limits limits = {.header_bytes = 200, .header_line = 80, .header_count = 6, .target = 40};

struct verdict {
    enum framing_result result;
    size_t end; /* of the message; where it is broken: 0 */
    enum problem_code code;
};

/* `step` bytes more at a time; 0: all at once. */
static struct verdict scan_head(const char *data, size_t len, size_t step)
{
    struct framing_head scan = {0};
    struct problem problem = {0};
    struct verdict verdict = {0};
    for (size_t have = step ? 0 : len;; have = have + step < len ? have + step : len) {
        verdict.result = framing_head_scan(&scan, &limits, data, have, &verdict.end, &problem);
        if (verdict.result != FRAMING_MORE || have == len)
            break;
    }
    verdict.code = problem.code;
    return verdict;
}

static struct verdict scan_chunks(const char *data, size_t len, size_t step, char *decoded, size_t *ret_decoded)
{
    struct chunked scan = {0};
    struct problem problem = {0};
    struct verdict verdict = {.result = FRAMING_MORE};
    *ret_decoded = 0;
    size_t at = 0;
    while (at < len && verdict.result == FRAMING_MORE) {
        size_t give = step && step < len - at ? step : len - at, used, n_data;
        verdict.result = chunked_scan(&scan, &limits, data + at, give, &used, &n_data, &problem);
        assert_true(used <= give && n_data <= used);
        if (verdict.result == FRAMING_MORE)
            assert_true(used > 0);
        memcpy(decoded + *ret_decoded, data + at + used - n_data, n_data);
        *ret_decoded += n_data;
        at += used;
    }
    verdict.end = verdict.result == FRAMING_DONE ? at : 0;
    verdict.code = problem.code;
    return verdict;
}

static void assert_same(const char *what, const char *data, size_t len, struct verdict a, struct verdict b, size_t step)
{
    if (a.result == b.result && a.code == b.code && (a.result != FRAMING_DONE || a.end == b.end))
        return;
    print_error("%s in steps of %zu: %d/%d/%zu, at once %d/%d/%zu:\n", what, step, b.result, b.code, b.end, a.result,
                a.code, a.end);
    for (size_t i = 0; i < len; i++)
        print_error(data[i] >= ' ' && data[i] < 127 ? "%c" : "\\x%02x", (unsigned char)data[i]);
    fail_msg("the verdict depends on the pieces");
}

static void test_head_in_pieces(void **state)
{
    (void)state;
    static const char *const seeds[] = {
        "GET /a?b=c HTTP/1.1\r\nHost: h:80\r\nX-A: b c\t\r\nContent-Length: 5\r\n\r\n",
        "POST /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.0\r\nA:\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\nF: 6\r\n\r\n",
        "GET / HTTP/1.1\r\nA: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\n\r\n",
    };
    unsigned done = 0, broken = 0;
    for (unsigned i = 0; i < 60000; i++) {
        char data[512];
        const char *seed = seeds[i % (sizeof seeds / sizeof *seeds)];
        size_t len = strlen(seed);
        memcpy(data, seed, len);
        len = mutate(data, len, sizeof data);
        struct verdict whole = scan_head(data, len, 0);
        done += whole.result == FRAMING_DONE;
        broken += whole.result == FRAMING_BROKEN;
        assert_same("head", data, len, whole, scan_head(data, len, 1), 1);
        size_t step = 2 + random_below(20);
        assert_same("head", data, len, whole, scan_head(data, len, step), step);
    }
    assert_true(done > 5000 && broken > 5000); /* the test would be worth little else */
}

static void test_chunks_in_pieces(void **state)
{
    (void)state;
    static const char *const seeds[] = {
        "5\r\nhello\r\n0\r\n\r\n",
        "5;a=b;c=\"d\\\"e\";f\r\nhello\r\nA\r\n0123456789\r\n00;x\r\nT: u\r\nV: w\r\n\r\n",
        "1\r\nx\r\n1\r\ny\r\n1\r\nz\r\n0\r\nA: b\r\n\r\n",
    };
    unsigned done = 0, broken = 0;
    for (unsigned i = 0; i < 60000; i++) {
        char data[256], decoded[256], again[256];
        const char *seed = seeds[i % (sizeof seeds / sizeof *seeds)];
        size_t len = strlen(seed), n, m;
        memcpy(data, seed, len);
        len = mutate(data, len, sizeof data);
        struct verdict whole = scan_chunks(data, len, 0, decoded, &n);
        done += whole.result == FRAMING_DONE;
        broken += whole.result == FRAMING_BROKEN;
        for (size_t step = 1; step < 8; step += 1 + random_below(4)) {
            assert_same("chunks", data, len, whole, scan_chunks(data, len, step, again, &m), step);
            if (whole.result != FRAMING_BROKEN) {
                assert_int_equal(n, m);
                assert_memory_equal(decoded, again, n);
            }
        }
    }
    assert_true(done > 5000 && broken > 5000);
}

static void test_chunks_decoded(void **state)
{
    (void)state;
    static const char text[] = "5;a=\"b;c\"\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\nX: y\r\n\r\nGET /";
    char decoded[64];
    size_t n;
    struct verdict verdict = scan_chunks(text, sizeof text - 1, 0, decoded, &n);
    assert_int_equal(verdict.result, FRAMING_DONE);
    assert_int_equal(verdict.end, sizeof text - 1 - 5); /* what follows is the next request's */
    assert_int_equal(n, 11);
    assert_memory_equal(decoded, "hello world", 11);
}

static void test_lengths(void **state)
{
    (void)state;
    unsigned long long value = 7;
    assert_true(framing_parse_length(SLICE_LITERAL("0"), &value) && value == 0);
    assert_true(framing_parse_length(SLICE_LITERAL("0012"), &value) && value == 12);
    assert_true(framing_parse_length(SLICE_LITERAL("9223372036854775799"), &value));
    static const char *const bad[] = {
        "", "-1", "+1", "1 ", " 1", "1,1", "0x1", "9223372036854775810", "99999999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(framing_parse_length(slice_str(bad[i]), &value));
}

static void test_hosts(void **state)
{
    (void)state;
    static const char *const good[] = {"h", "a.b-c.example:80", "127.0.0.1:8640", "[::1]", "[::1]:8640", "h:", "h%20x"};
    static const char *const bad[] = {"",     ":80",  "h:x", "h:123456", "a b",     "u@h",   "h/p",    "h?q", "h#f",
                                      "[::1", "::1]", "[]",  "[::1]x",   "[::1]:x", "a:b:c", "[[::1]", "h\\", "h,i@"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!framing_is_host(slice_str(good[i])))
            fail_msg("%s is a host", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (framing_is_host(slice_str(bad[i])))
            fail_msg("%s is no host", bad[i]);
}

static void test_targets(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        enum http_method method;
        const char *path, *query; /* NULL: refused */
    } rows[] = {
        {"/", HTTP_GET, "/", ""},
        {"/a/b?c=d?e", HTTP_GET, "/a/b", "c=d?e"},
        {"//x/y", HTTP_GET, "//x/y", ""},
        {"/?", HTTP_GET, "/", ""},
        {"http://h/a?b", HTTP_GET, "/a", "b"},
        {"HTTPS://h:1", HTTP_GET, "/", ""},
        {"http://h?q", HTTP_GET, "/", "q"},
        {"*", HTTP_OPTIONS, "*", ""},
        {"*", HTTP_GET, NULL, NULL},
        {"*x", HTTP_OPTIONS, NULL, NULL},
        {"a", HTTP_GET, NULL, NULL},
        {"h:80", HTTP_OTHER, NULL, NULL},
        {"http://", HTTP_GET, NULL, NULL},
        {"http:///a", HTTP_GET, NULL, NULL},
        {"http://u@h/", HTTP_GET, NULL, NULL},
        {"ws://h/", HTTP_GET, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct slice path, query;
        struct problem problem = {0};
        bool ok = request_target(slice_str(rows[i].target), rows[i].method, &path, &query, &problem);
        assert_int_equal(ok, rows[i].path != NULL);
        if (ok) {
            assert_true(slice_eq_str(path, rows[i].path));
            assert_true(slice_eq_str(query, rows[i].query));
        } else {
            assert_int_equal(problem.code, PROBLEM_MALFORMED_REQUEST);
        }
    }
}

static void test_methods(void **state)
{
    (void)state;
    assert_int_equal(request_method(SLICE_LITERAL("GET")), HTTP_GET);
    assert_int_equal(request_method(SLICE_LITERAL("DELETE")), HTTP_DELETE);
    assert_int_equal(request_method(SLICE_LITERAL("get")), HTTP_OTHER); /* methods are case-sensitive */
    assert_int_equal(request_method(SLICE_LITERAL("GETS")), HTTP_OTHER);
}

static struct source_key key_of(unsigned n)
{
    struct source_key key = {{4}};
    memcpy(key.bytes + 1, &n, sizeof n);
    return key;
}

static void test_sources(void **state)
{
    (void)state;
    struct sources sources;
    assert_int_equal(sources_init(&sources), 0);
    unsigned counts[500] = {0};
    for (unsigned i = 0; i < 200000; i++) { /* against a plain array */
        unsigned n = random_below(500);
        struct source_key key = key_of(n);
        if (random_below(2)) {
            bool ok = sources_enter(&sources, &key, 5);
            assert_int_equal(ok, counts[n] < 5);
            counts[n] += ok;
        } else if (counts[n]) {
            sources_leave(&sources, &key);
            counts[n]--;
        }
    }
    for (unsigned n = 0; n < 500; n++) {
        struct source_key key = key_of(n);
        while (counts[n]--)
            sources_leave(&sources, &key);
    }
    assert_int_equal(sources.used, 0);
    sources_release(&sources);
}

static void test_date(void **state)
{
    (void)state;
    struct date date = {0};
    struct slice line = date_line(&date);
    char text[DATE_LINE_SIZE + 1] = "";
    memcpy(text, line.data, line.len);
    struct tm t = {0};
    const char *end = strptime(text, "Date: %a, %d %b %Y %H:%M:%S GMT", &t);
    assert_non_null(end);
    assert_string_equal(end, "\r\n");
    time_t now = time(NULL), then = timegm(&t);
    assert_true(now - then >= 0 && now - then < 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head_in_pieces), cmocka_unit_test(test_chunks_in_pieces),
        cmocka_unit_test(test_chunks_decoded), cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_hosts),          cmocka_unit_test(test_targets),
        cmocka_unit_test(test_methods),        cmocka_unit_test(test_sources),
        cmocka_unit_test(test_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
