/* What the load generator measures with: percentiles, and the reading of responses however they are cut. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "bench/load/histogram.h"
#include "bench/load/wire.h"

/* ---- histogram ---- */

static void test_empty(void **state)
{
    struct histogram *histogram = histogram_new();
    (void)state;
    assert_non_null(histogram);
    assert_true(histogram_ms(histogram, 0.5) <= 0);
    assert_true(histogram_mean_ms(histogram) <= 0);
    histogram_free(histogram);
}

static void assert_close(double value, double wanted)
{
    if (value < wanted || value > wanted * 1.001)
        fail_msg("%.9f is not %.9f to three digits", value, wanted);
}

static void test_percentiles(void **state)
{
    struct histogram *histogram = histogram_new();
    (void)state;
    assert_non_null(histogram);
    for (int64_t us = 1; us <= 100000; us++)
        histogram_record(histogram, us * 1000);
    assert_close(histogram_ms(histogram, 0.5), 50);
    assert_close(histogram_ms(histogram, 0.9), 90);
    assert_close(histogram_ms(histogram, 0.99), 99);
    assert_close(histogram_ms(histogram, 0.999), 99.9);
    assert_true(histogram_ms(histogram, 1) <= 100 && histogram->max_ns == 100000000);
    assert_close(histogram_mean_ms(histogram), 50.0005);
    histogram_free(histogram);
}

/* Every value comes out again as itself to three digits, over the whole range. */
static void test_every_size(void **state)
{
    struct histogram *histogram = histogram_new();
    (void)state;
    assert_non_null(histogram);
    for (int64_t ns = 1; ns < (int64_t)1 << 40; ns += ns / 7 + 1) {
        memset(histogram, 0, sizeof *histogram);
        histogram_record(histogram, ns);
        histogram_record(histogram, (int64_t)1 << 41); /* so that the largest one does not hide the step's error */
        assert_close(histogram_ms(histogram, 0.5) * 1e6, (double)ns);
    }
    histogram_free(histogram);
}

static void test_beyond(void **state)
{
    struct histogram *histogram = histogram_new();
    (void)state;
    assert_non_null(histogram);
    histogram_record(histogram, -5);
    histogram_record(histogram, INT64_MAX);
    assert_int_equal(histogram->total, 2);
    assert_true(histogram_ms(histogram, 0.5) <= 0);
    assert_true(histogram_ms(histogram, 1) > 2e6);
    histogram_free(histogram);
}

/* ---- responses ---- */

static const char lengthy[] = "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 21\r\n\r\n"
                              "{\"id\":\"0123456789ab\"}";
static const char chunked[] =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    "b\r\n{\"id\":\"1\"}\n\r\n16\r\n{\"type\":\"urn:x\"}\n{\"id\"\r\n6\r\n:\"2\"}\n\r\n0\r\n\r\n";
static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 422 No\r\nContent-Length: 0\r\n\r\n";

/* Sends the text in two pieces; the result of the last wire_read. */
static int read_cut(struct wire *wire, const char *text, size_t cut)
{
    int fds[2], result = 0;
    size_t len = strlen(text);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    wire_init(wire);
    if (cut) {
        assert_int_equal(write(fds[1], text, cut), cut);
        result = wire_read(wire, fds[0]);
        assert_int_equal(result, cut == len ? 1 : 0);
    }
    if (cut < len) {
        assert_int_equal(write(fds[1], text + cut, len - cut), len - cut);
        result = wire_read(wire, fds[0]);
    }
    (void)close(fds[0]);
    (void)close(fds[1]);
    return result;
}

static void test_length(void **state)
{
    struct wire *wire = malloc(sizeof *wire);
    (void)state;
    assert_non_null(wire);
    for (size_t cut = 0; cut <= sizeof lengthy - 1; cut++) {
        assert_int_equal(read_cut(wire, lengthy, cut), 1);
        assert_int_equal(wire->status, 202);
        assert_int_equal(wire->body_len, 21);
        assert_memory_equal(wire->start, "{\"id\":\"0123456789ab\"}", 21);
        assert_false(wire->closes);
    }
    free(wire);
}

static void test_chunks(void **state)
{
    struct wire *wire = malloc(sizeof *wire);
    (void)state;
    assert_non_null(wire);
    for (size_t cut = 0; cut <= sizeof chunked - 1; cut++) {
        assert_int_equal(read_cut(wire, chunked, cut), 1);
        assert_int_equal(wire->status, 200);
        assert_int_equal(wire->lines, 3);
        assert_int_equal(wire->refused, 1);
        assert_true(wire->closes);
    }
    free(wire);
}

static void test_interim(void **state)
{
    struct wire *wire = malloc(sizeof *wire);
    (void)state;
    assert_non_null(wire);
    for (size_t cut = 0; cut <= sizeof interim - 1; cut++) {
        assert_int_equal(read_cut(wire, interim, cut), 1);
        assert_int_equal(wire->status, 422);
        assert_int_equal(wire->body_len, 0);
    }
    free(wire);
}

static void test_no_http(void **state)
{
    struct wire *wire = malloc(sizeof *wire);
    (void)state;
    assert_non_null(wire);
    assert_int_equal(read_cut(wire, "SSH-2.0-x\r\n\r\n", 0), -1);
    free(wire);
}

/* A body that is longer than the buffer: counted, not kept. */
static void test_long(void **state)
{
    struct wire *wire = malloc(sizeof *wire);
    size_t len = 5 * (size_t)WIRE_BUFFER, head;
    char *text = malloc(len + 200);
    (void)state;
    assert_non_null(wire);
    assert_non_null(text);
    head = (size_t)sprintf(text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", len);
    for (size_t i = 0; i < len; i++)
        text[head + i] = i % 10 == 9 ? '\n' : 'x';
    text[head + len] = '\0';
    assert_int_equal(read_cut(wire, text, WIRE_BUFFER - 1), 1);
    assert_int_equal(wire->body_len, len);
    assert_int_equal(wire->lines, len / 10);
    assert_int_equal(wire->start_len, WIRE_START);
    free(text);
    free(wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),   cmocka_unit_test(test_percentiles), cmocka_unit_test(test_every_size),
        cmocka_unit_test(test_beyond),  cmocka_unit_test(test_length),      cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_interim), cmocka_unit_test(test_no_http),     cmocka_unit_test(test_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
