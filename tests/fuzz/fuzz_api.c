/* Fuzzing what takes text from clients above HTTP: submissions, and paths, queries and header fields.
 *
 * The first byte says what the rest is.  Held to: no crash; a refusal is a 400, 415 or 422; what is accepted can be
 * stored, read back to the same context and shown as valid JSON.
 * With -DSATCHEL_LIBFUZZER it is a libFuzzer target (clang -fsanitize=fuzzer,address); else a program that runs the
 * files it is given, or, without any, a fixed number of damaged seeds, which is what `make check` does. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../unit/http_mutate.h"
#include "api/cursor.h"
#include "api/fields.h"
#include "api/params.h"
#include "api/request_context.h"
#include "api/routes.h"
#include "executor/executor.h"
#include "proto/json_in.h"
#include "task/render.h"
#include "task/submission.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static struct config *config;
static struct registry *registry;
static struct request_context plain;

static void check(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "fuzz_api: %s\n", what);
    abort();
}

static void report(void *arg, const char *line)
{
    (void)arg;
    fprintf(stderr, "%s\n", line);
}

static void set_up(void)
{
    static const struct http_request empty;
    struct config_overrides overrides = {.directory = "/nonexistent", .data_dir = "/tmp"};
    struct caller caller;
    struct problem problem = {0};
    char error[256];
    json_in_init();
    check(config_load(&overrides, report, NULL, &config) == 0, "no configuration");
    check(registry_new(config, &registry, error, sizeof error) == 0, "no task types");
    caller_read_id(&empty, &caller);
    check(caller_read_tenant(&empty, config, &caller, &problem) == 0, "no tenant");
    check(request_context_read(&empty, config, NULL, &caller, &plain, &problem) == 0, "no context");
}

static void check_refusal(const struct problem *problem)
{
    int status = problem_status(problem->code);
    check(status == 400 || status == 415 || status == 422, "a refusal that is not the client's fault");
    struct buf out = BUF_INIT;
    char error[JSON_IN_ERROR_SIZE];
    problem_to_json(problem, &out);
    json_t *json = json_in_load(buf_slice(&out), 8, error);
    check(json != NULL, "a problem that is not JSON");
    json_decref(json);
    buf_release(&out);
}

/* ---- submissions ---- */

static void check_spec(struct task_spec *spec)
{
    satchel_context *back;
    struct buf out = BUF_INIT;
    struct json_out j = json_out_to(&out);
    char error[JSON_IN_ERROR_SIZE];
    struct task_record record = {.spec = spec};
    check(satchel_context_from_json(spec->context.data, spec->context.len, &back) == SATCHEL_OK,
          "a context that cannot be read back");
    check(satchel_context_equal(back, task_context(spec)), "a context that comes back changed");
    satchel_context_unref(back);
    task_render(&record, NULL, "node", &j);
    json_t *json = json_in_load(buf_slice(&out), 64, error);
    check(json != NULL, "a task that is not JSON");
    json_decref(json);
    json = json_in_load(spec->origins, 4, error);
    check(json_is_object(json) && json_object_size(json) == satchel_context_len(task_context(spec)),
          "variables and origins are not the same");
    json_decref(json);
    buf_release(&out);
    check(spec->priority <= 9 && spec->max_attempts >= 1 && spec->max_attempts <= 1000 && spec->max_lost <= 100,
          "a number out of its bounds");
}

static void run_submission(struct slice body)
{
    struct submission submission;
    struct problem problem;
    struct submission_input input = {.config = config,
                                     .registry = registry,
                                     .body = body,
                                     .pointer = "",
                                     .context = plain.context,
                                     .origins = buf_slice(&plain.origins)};
    if (submission_parse(&input, &submission, &problem) < 0) {
        check_refusal(&problem);
        return;
    }
    check_spec(submission.spec);
    task_spec_unref(submission.spec);
}

/* ---- header fields: lines, "name: value" ---- */

static size_t split_lines(struct slice text, struct http_field *fields, size_t max)
{
    size_t n = 0;
    while (text.len && n < max) {
        const char *end = memchr(text.data, '\n', text.len);
        struct slice line = slice_of(text.data, end ? (size_t)(end - text.data) : text.len);
        const char *colon = line.len ? memchr(line.data, ':', line.len) : NULL;
        if (colon)
            fields[n++] = (struct http_field){slice_of(line.data, (size_t)(colon - line.data)),
                                              slice_of(colon + 1, line.len - (size_t)(colon + 1 - line.data))};
        size_t skip = end ? line.len + 1 : line.len;
        text = slice_of(text.data + skip, text.len - skip);
    }
    return n;
}

static void run_fields(struct slice text)
{
    struct http_field fields[32];
    struct http_request request = {.fields = fields, .n_fields = split_lines(text, fields, 32)};
    struct preferences prefer;
    struct caller caller;
    struct request_context context;
    struct problem problem = {0};
    struct slice key;
    char key_text[IDEMPOTENCY_KEY_MAX + 1];
    prefer_read(&request, &prefer);
    check(!prefer.has_wait || prefer.wait_s >= 0, "a negative wait");
    if (idempotency_key_read(&request, key_text, &key, &problem) < 0)
        check_refusal(&problem);
    if (json_body_check(&request, &problem) < 0)
        check_refusal(&problem);
    caller_read_id(&request, &caller);
    check(caller.request_id.len >= 1 && caller.request_id.len <= REQUEST_ID_MAX, "a request id out of its bounds");
    if (caller_read_tenant(&request, config, &caller, &problem) < 0 ||
        request_context_read(&request, config, NULL, &caller, &context, &problem) < 0) {
        check_refusal(&problem);
        return;
    }
    check(satchel_context_has(context.context, satchel_known_var(SATCHEL_TENANT)), "a task as nobody");
    request_context_release(&context);
}

static void run_target(struct slice text)
{
    static const char *const known[] = {"a", "limit", "label", NULL};
    struct route_match match;
    struct params params;
    struct problem problem = {0};
    struct task_id id;
    char allow[ROUTE_ALLOW_SIZE];
    enum route_result result = route_find(HTTP_GET, text, &match);
    check((result == ROUTE_FOUND) == (match.route != NULL), "found, and no route");
    route_allow(text, allow);
    if (params_parse(text, known, &params, &problem) < 0)
        check_refusal(&problem);
    else
        params_release(&params);
    check(!cursor_parse(text, SLICE_LITERAL("fuzz"), &id), "a cursor that nobody made");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (!config)
        set_up();
    if (size < 1)
        return 0;
    char *data = malloc(size); /* exactly as long as the text, so that reading beyond it is seen */
    check(data != NULL, "no memory");
    memcpy(data, bytes + 1, size - 1);
    struct slice text = slice_of(data, size - 1);
    switch (bytes[0] % 3) {
    case 0: run_submission(text); break;
    case 1: run_fields(text); break;
    default: run_target(text); break;
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
        "0{\"task\":\"satchel.echo\",\"args\":{\"a\":[1,\"x\\\"y\",null]},\"labels\":{\"a\":\"b\"},\"delay\":\"1s\"}",
        "0{\"task\":\"satchel.noop\",\"backoff\":{\"type\":\"fixed\",\"base\":1},\"context\":{\"v\":\"w\\u00e9\"}}",
        "0{\"\\u0061rgs\":1e5,\"task\":\"satchel.noop\",\"deadline\":\"2099-01-01T00:00:00Z\",\"priority\":9}",
        "1X-Tenant-ID:acme\ntraceparent:00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\ntracestate:a=b",
        "1X-Request-ID:r\nbaggage:a=b;c,d=%20\nX-Satchel-Var-A:x\nX-Satchel-Deadline:2099-01-01T00:00:00Z",
        "1Prefer:wait=10;a=\"b\\\"c\", respond-async\nContent-Type:application/json;charset=x",
        "1Idempotency-Key:\"a\\\\b\"\nPrefer:return=minimal",
        "2/v1/tasks/01995a2e-7c3b-7d21-9f0e-4b8f6d1c2a35:cancel",
        "2a=%41&limit=1&label=x%3ay+z",
        "2AaIHKCVEeLyWASsUoI4FKe9I77_y3az3",
    };
    for (unsigned i = 0; i < 90000; i++) {
        char data[512];
        const char *seed = seeds[i % (sizeof seeds / sizeof *seeds)];
        size_t len = strlen(seed);
        memcpy(data, seed, len);
        data[0] = (char)(seed[0] - '0'); /* 0, 1, 2 */
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
    request_context_release(&plain);
    registry_unref(registry);
    config_unref(config);
    return status;
}
#endif
