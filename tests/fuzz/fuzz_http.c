/* Fuzzing the pure parts of the HTTP server, and llhttp against our own framing.
 *
 * The first byte says in which pieces the rest is fed.  Held to: no crash; the same verdict in any pieces; where both
 * our framing and llhttp accept, they agree about the end of the message and about every byte of the body.
 * With -DSATCHEL_LIBFUZZER it is a libFuzzer target (clang -fsanitize=fuzzer,address); else a program that runs the
 * files it is given, or, without any, a fixed number of damaged seeds, which is what `make check` does. */
#include <stdio.h>
#include <stdlib.h>

#include "../unit/http_mutate.h"
#include "http/chunked.h"
#include "http/parser.h"
#include "http/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static const struct framing_limits limits = {
    .header_bytes = 4096, .header_line = 1024, .header_count = 32, .target = 512};

struct sink {
    struct http_field fields[32];
    size_t n_fields, body;
    const char *next; /* where the next body byte must be */
};

static void check(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "fuzz_http: %s\n", what);
    abort();
}

static bool on_field(void *arg, struct slice name, struct slice value)
{
    struct sink *sink = arg;
    check(sink->n_fields < 32, "more fields than the framing let through");
    check(framing_is_token(name) && framing_is_value(value), "a field that the framing should have refused");
    sink->fields[sink->n_fields++] = (struct http_field){name, value};
    return true;
}

static void on_body(void *arg, struct slice piece)
{
    struct sink *sink = arg;
    check(piece.data == sink->next, "llhttp's body is elsewhere");
    sink->body += piece.len;
    sink->next += piece.len;
}

static enum framing_result scan_head(const char *data, size_t len, size_t step, struct framing_head *scan,
                                     size_t *ret_end, struct problem *problem)
{
    enum framing_result result = FRAMING_MORE;
    *scan = (struct framing_head){0};
    for (size_t have = step < len ? step : len;; have = len - have > step ? have + step : len) {
        result = framing_head_scan(scan, &limits, data, have, ret_end, problem);
        if (result != FRAMING_MORE || have == len)
            return result;
    }
}

/* True: the message is complete. */
static bool run_chunks(struct parser *parser, struct sink *sink, const char *data, size_t len, size_t step)
{
    struct chunked scan = {0};
    struct problem problem = {0};
    enum framing_result result = FRAMING_MORE;
    for (size_t at = 0; at < len && result == FRAMING_MORE;) {
        size_t give = step < len - at ? step : len - at, used, n_data;
        result = chunked_scan(&scan, &limits, data + at, give, &used, &n_data, &problem);
        if (result == FRAMING_BROKEN)
            return false;
        check(used > 0 && used <= give && n_data <= used, "the chunk scanner stands still");
        sink->next = data + at + used - n_data;
        size_t before = sink->body;
        if (!scan.skip && !parser_body(parser, slice_of(data + at, used)))
            return false; /* llhttp is stricter here: refused */
        check(sink->body - before == n_data, "llhttp sees another body");
        check(parser_complete(parser) == (result == FRAMING_DONE), "llhttp sees another end");
        at += used;
    }
    return result == FRAMING_DONE;
}

static void run_message(const char *data, size_t len, size_t end, const struct framing_head *scan, size_t step)
{
    static const struct parser_events events = {on_field, on_body};
    struct sink sink = {0};
    struct parser *parser = parser_new(&events, &sink);
    check(parser != NULL, "no memory");
    struct slice target, path, query;
    struct problem problem = {0};
    if (parser_head(parser, slice_of(data, end), scan->method_len, &target)) {
        struct http_request request = {.fields = sink.fields, .n_fields = sink.n_fields};
        struct request_facts facts = {.http_1_1 = scan->http_1_1};
        check(sink.n_fields == scan->n_fields, "llhttp sees other fields");
        check(target.data == data + scan->method_len + 1, "llhttp sees another target");
        (void)request_target(target, request_method(slice_of(data, scan->method_len)), &path, &query, &problem);
        if (request_check(&request, &facts, &problem)) {
            check(facts.chunked || parser_complete(parser) == !facts.length, "llhttp sees another length");
            if (facts.chunked)
                (void)run_chunks(parser, &sink, data + end, len - end, step);
        }
    }
    parser_free(parser);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size < 2)
        return 0;
    size_t step = bytes[0] % 32 + 1, len = size - 1, end = 0, again = 0;
    char *data = malloc(len); /* exactly as long: reading beyond is seen */
    check(data != NULL, "no memory");
    memcpy(data, bytes + 1, len);
    struct framing_head scan, pieces;
    struct problem problem = {0}, other = {0};
    enum framing_result result = scan_head(data, len, len, &scan, &end, &problem);
    check(scan_head(data, len, step, &pieces, &again, &other) == result && problem.code == other.code,
          "the verdict on the head depends on the pieces");
    if (result == FRAMING_DONE) {
        check(end == again && end <= len, "the end of the head depends on the pieces");
        run_message(data, len, end, &scan, len);
        run_message(data, len, end, &scan, step);
    }
    free(data);
    return 0;
}

#ifndef SATCHEL_LIBFUZZER
static int run_file(const char *name)
{
    FILE *file = fopen(name, "rb");
    if (!file) {
        perror(name);
        return 1;
    }
    static uint8_t bytes[1 << 20];
    size_t n = fread(bytes, 1, sizeof bytes, file);
    (void)fclose(file);
    (void)LLVMFuzzerTestOneInput(bytes, n);
    return 0;
}

static void run_seeds(void)
{
    static const char *const seeds[] = {
        "\x01GET /a?b HTTP/1.1\r\nHost: h\r\nX-A: b\r\n\r\n",
        "\x02POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        "\x03POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b;c=\"d\"\r\nhello\r\n0\r\nX: "
        "y\r\n\r\n",
        "\x04PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\nA\r\n0123456789\r\n0\r\n\r\nGET "
        "/",
        "\x05OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close, x\r\nExpect: 100-continue\r\n\r\n",
        "\x06GET http://h/a HTTP/1.0\r\nConnection: keep-alive\r\nUpgrade: x\r\nX:\t \r\n\r\n",
        "\x07CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\nProxy-Connection: x\r\n\r\n",
    };
    for (unsigned i = 0; i < 200000; i++) {
        char data[512];
        const char *seed = seeds[i % (sizeof seeds / sizeof *seeds)];
        size_t len = strlen(seed);
        memcpy(data, seed, len);
        data[0] = (char)random_below(256);
        len = 1 + mutate(data + 1, len - 1, sizeof data - 1);
        (void)LLVMFuzzerTestOneInput((const uint8_t *)data, len);
    }
}

int main(int argc, char **argv)
{
    int status = 0;
    for (int i = 1; i < argc; i++)
        status |= run_file(argv[i]);
    if (argc == 1)
        run_seeds();
    return status;
}
#endif
