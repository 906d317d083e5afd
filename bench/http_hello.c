/* The HTTP server alone: answers every request at once with "hello".  For measuring what a request costs.
 * usage: http_hello [HOST:PORT [LOOPS]]; ends with the end of standard input. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "http/http.h"

static enum http_body_mode on_head(void *arg, struct http_exchange *exchange, size_t *ret_max_body)
{
    (void)arg, (void)exchange;
    *ret_max_body = (size_t)1024 * 1024;
    return HTTP_BODY_WHOLE;
}

static void on_request(void *arg, struct http_exchange *exchange)
{
    (void)arg;
    struct http_reply reply = {.status = 200, .content_type = "text/plain", .body = SLICE_LITERAL("hello\n")};
    http_reply(exchange, &reply);
}

static bool on_body(void *arg, struct http_exchange *exchange, struct slice piece, bool end)
{
    (void)arg, (void)exchange, (void)piece, (void)end;
    return true;
}

static void on_gone(void *arg, struct http_exchange *exchange)
{
    (void)arg, (void)exchange;
}

static void encode(void *arg, const struct problem *problem, struct buf *out)
{
    (void)arg;
    problem_to_json(problem, out);
}

int main(int argc, char **argv)
{
    static const struct http_app app = {NULL, on_head, on_request, on_body, on_gone, encode, NULL};
    struct http_server_options options = {
        .loops = argc > 2 ? (unsigned)atoi(argv[2]) : 1,
        .limits = {.header_bytes = 65536,
                   .header_line = 16384,
                   .header_count = 128,
                   .target = 8192,
                   .header_us = 10000000,
                   .body_rate = 1024,
                   .idle_us = 75000000,
                   .write_stall_us = 60000000,
                   .connections = 10000,
                   .connections_per_source = 1000},
        .app = &app,
        .server_name = "hello",
    };
    struct http_server *server;
    char error[256] = "out of memory";
    if (http_server_new(&options, &server) < 0 ||
        http_server_listen(server, argc > 1 ? argv[1] : "127.0.0.1:0", error, sizeof error) < 0 ||
        http_server_start(server) < 0) {
        fprintf(stderr, "http_hello: %s\n", error);
        return 1;
    }
    printf("%s\n", http_server_address(server, 0));
    fflush(stdout);
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    http_server_stop(server);
    http_server_free(server);
    return 0;
}
