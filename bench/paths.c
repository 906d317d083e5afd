/* The hot paths of a task, each on its own and on one thread, to be counted in instructions: bench/check-perf runs this
 * under callgrind, which counts what measure_path() calls and nothing else.  The rooms are the real ones; nothing is
 * imitated but the bytes that a socket would bring.
 *
 *     bench/paths                runs all of them
 *     bench/paths --list         their names and how often each is called, in order
 *     bench/paths --fingerprint  what the counts depend on beside our own code */
#include <dirent.h>
#include <gnu/libc-version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <jansson.h>

#include "api/batch_split.h"
#include "api/request_context.h"
#include "base/clock.h"
#include "engine/scheduler.h"
#include "http/connection.h"
#include "store/store.h"
#include "task/render.h"
#include "task/submission.h"
#include "worker/attempt_context.h"

#ifndef PERF_FLAGS
#define PERF_FLAGS ""
#endif

#define WARM 64u /* calls before the counted ones: what is made once, and what memory keeps */
#define BODY                                                                                                           \
    "{\"task\":\"satchel.noop\",\"args\":{\"user\":12345,\"size\":\"640x480\"},\"labels\":{\"team\":\"images\"}}"
#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

extern const char *sqlite3_libversion(void); /* whose header belongs to daemon/store */

void measure_path(void (*run)(unsigned n), unsigned n);

static _Noreturn void fail(const char *what)
{
    (void)fprintf(stderr, "bench/paths: %s\n", what);
    exit(1);
}

static void must(bool holds, const char *what)
{
    if (!holds)
        fail(what);
}

/* ---- what several paths need ---- */

static struct config *config;
static struct registry *registry;
static struct request_context context; /* of the request below */
static struct task_spec *spec;         /* of BODY */
static char folder[64];

static const struct http_field fields[] = {
    {SLICE_LITERAL("Host"), SLICE_LITERAL("127.0.0.1:8640")},
    {SLICE_LITERAL("Content-Type"), SLICE_LITERAL("application/json")},
    {SLICE_LITERAL("X-Tenant-ID"), SLICE_LITERAL("acme")},
    {SLICE_LITERAL("X-Request-ID"), SLICE_LITERAL("req-0123456789")},
    {SLICE_LITERAL("traceparent"), SLICE_LITERAL(TRACE)},
    {SLICE_LITERAL("baggage"), SLICE_LITERAL("user=alice,plan=gold")},
};
static const struct http_request request = {
    .method = HTTP_POST, .fields = fields, .n_fields = sizeof fields / sizeof fields[0]};

static void on_config_problem(void *arg, const char *line)
{
    (void)arg;
    (void)fprintf(stderr, "bench/paths: %s\n", line);
}

static void read_context(struct request_context *ret)
{
    struct caller caller;
    struct problem problem = {0};
    caller_read_id(&request, &caller);
    must(caller_read_tenant(&request, config, &caller, &problem) == 0, "no tenant");
    must(request_context_read(&request, config, NULL, &caller, ret, &problem) == 0, "no context");
}

static struct task_spec *read_submission(void)
{
    const struct submission_input input = {
        .config = config,
        .registry = registry,
        .body = SLICE_LITERAL(BODY),
        .pointer = "",
        .context = context.context,
        .origins = buf_slice(&context.origins),
    };
    struct submission submission;
    struct problem problem = {0};
    must(submission_parse(&input, &submission, &problem) == 0, "the submission was refused");
    return submission.spec;
}

static void set_up(void)
{
    char error[256], path[128];
    (void)snprintf(folder, sizeof folder, "/tmp/satchel-paths-XXXXXX");
    must(mkdtemp(folder) != NULL, "no directory in /tmp");
    (void)snprintf(path, sizeof path, "%s/conf", folder);
    FILE *file = fopen(path, "we");
    must(file && fputs("canaries = \"off\"\n", file) >= 0 && fclose(file) == 0, "no configuration file");
    const struct config_overrides overrides = {.file = path, .data_dir = folder};
    must(config_load(&overrides, on_config_problem, NULL, &config) == 0, "no configuration");
    must(registry_new(config, &registry, error, sizeof error) == 0, error);
    read_context(&context);
    spec = read_submission();
}

/* ---- HTTP: a submission in, its reply out ---- */

static struct {
    struct http_server server;
    struct http_loop home;
    struct slot slot;
    struct connection connection;
    unsigned requests;
    struct buf bytes;
    struct buf reply;
} wire;

static enum http_body_mode on_head(void *arg, struct http_exchange *exchange, size_t *ret_max_body)
{
    (void)arg;
    (void)exchange;
    *ret_max_body = 1 << 20;
    return HTTP_BODY_WHOLE;
}

static void on_request(void *arg, struct http_exchange *exchange)
{
    static const struct http_field out[] = {
        {SLICE_LITERAL("X-Request-ID"), SLICE_LITERAL("req-0123456789")},
        {SLICE_LITERAL("Cache-Control"), SLICE_LITERAL("no-store")},
        {SLICE_LITERAL("Location"), SLICE_LITERAL("/v1/tasks/01a208f6-5334-7a03-8b5a-0e6e8543c585")}};
    (void)arg;
    must(http_request(exchange)->body.len == sizeof BODY - 1, "another body");
    wire.requests++;
    http_reply(exchange, &(struct http_reply){.status = 202,
                                              .content_type = "application/json",
                                              .fields = out,
                                              .n_fields = 3,
                                              .body = buf_slice(&wire.reply)});
}

static void on_nobody(void *arg, struct http_exchange *exchange)
{
    (void)arg;
    (void)exchange;
    fail("the request was refused");
}

static void set_up_http(void)
{
    static const struct http_app app = {.head = on_head, .request = on_request, .gone = on_nobody};
    static char server_line[] = "Server: satcheld\r\n";
    wire.server = (struct http_server){
        .framing = {.header_bytes = 65536, .header_line = 16384, .header_count = 128, .target = 8192},
        .app = &app,
        .server_line = server_line,
        .server_line_len = sizeof server_line - 1};
    wire.slot.connection = &wire.connection;
    wire.home = (struct http_loop){.server = &wire.server, .slots = &wire.slot, .n_slots = 1};
    wire.connection = (struct connection){.home = &wire.home, .scheduled = true}; /* no loop is to be woken */
    wire.connection.parser = parser_new(&exchange_parser_events, &wire.connection);
    must(wire.connection.parser != NULL, "no parser");
    buf_append_str(&wire.bytes, "POST /v1/tasks HTTP/1.1\r\n");
    for (size_t i = 0; i < request.n_fields; i++) {
        buf_append_slice(&wire.bytes, fields[i].name);
        buf_append_str(&wire.bytes, ": ");
        buf_append_slice(&wire.bytes, fields[i].value);
        buf_append_str(&wire.bytes, "\r\n");
    }
    char length[64];
    (void)snprintf(length, sizeof length, "Content-Length: %zu\r\n\r\n", sizeof BODY - 1);
    buf_append_str(&wire.bytes, length);
    buf_append_str(&wire.bytes, BODY);
    for (unsigned i = 0; i < 600; i++)
        buf_append_char(&wire.reply, 'x');
}

static void run_http(unsigned n)
{
    unsigned before = wire.requests;
    for (unsigned i = 0; i < n; i++) {
        must(exchange_consume(&wire.connection, wire.bytes.data, wire.bytes.len) == wire.bytes.len, "unread bytes");
        buf_reset(&wire.connection.out);
    }
    must(wire.requests - before == n, "requests were lost");
}

/* ---- from headers and JSON to a task ---- */

static void run_context(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct request_context one;
        read_context(&one);
        request_context_release(&one);
    }
}

static void run_submission(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        task_spec_unref(read_submission());
}

static void run_batch_split(unsigned n)
{
    static const char line[] = BODY "\n";
    static char lines[100 * (sizeof line - 1)];
    struct batch_split split = {.max = 1 << 20};
    for (size_t i = 0; i < 100; i++)
        memcpy(lines + i * (sizeof line - 1), line, sizeof line - 1);
    for (unsigned done = 0; done < n;) {
        struct slice bytes = slice_of(lines, sizeof lines), text;
        while (batch_split_next(&split, &bytes, &text) == BATCH_ITEM)
            done++;
        must(bytes.len == 0, "a piece is left");
    }
    batch_split_release(&split);
}

/* ---- the context library ---- */

static void run_variables(unsigned n)
{
    satchel_var *var = satchel_known_var(SATCHEL_TENANT);
    for (unsigned i = 0; i < n; i++) {
        satchel_context *copy = satchel_context_copy(context.context);
        satchel_token token = SATCHEL_TOKEN_INIT;
        void *data = NULL;
        must(copy && satchel_context_enter(copy) == SATCHEL_OK, "not entered");
        must(satchel_set_string(var, "other", &token) == SATCHEL_OK, "not set");
        must(satchel_get(var, &data) == SATCHEL_OK && data, "not there");
        must(satchel_reset(var, &token) == SATCHEL_OK, "not reset");
        satchel_context *captured = satchel_capture();
        must(satchel_context_exit(copy) == SATCHEL_OK, "not left");
        satchel_context_unref(captured);
        satchel_context_unref(copy);
    }
}

static void run_attempt(unsigned n)
{
    struct attempt attempt = {.spec = spec, .number = 1, .type = registry_find(registry, spec->name)};
    must(satchel_cancel_new(NULL, &attempt.cancel) == SATCHEL_OK, "no cancel object");
    for (unsigned i = 0; i < n; i++) {
        satchel_context *entered = attempt_context_enter(&attempt);
        must(entered && attempt_context_leave(entered), "the attempt's context");
    }
    satchel_cancel_unref(attempt.cancel);
}

/* ---- the scheduler ---- */

#define TENANTS 100u
static struct {
    struct entries entries;
    struct scheduler scheduler;
    struct entry *waiting[TENANTS * 10];
    uint64_t id;
} queue;

static void enqueue_one(unsigned i)
{
    char tenant[32];
    int len = snprintf(tenant, sizeof tenant, "tenant-%u", i % TENANTS);
    struct task_id id = {++queue.id, queue.id * 77};
    struct entry *entry = entries_add(&queue.entries, id);
    must(entry != NULL, "no entry");
    entry->priority = (uint8_t)(i % PRIORITIES);
    must(scheduler_attach(&queue.scheduler, entry, slice_of(tenant, (size_t)len), spec->name,
                          registry_find(registry, spec->name)) == 0,
         "not attached");
    scheduler_enqueue(&queue.scheduler, entry);
}

static void set_up_scheduler(void)
{
    must(entries_init(&queue.entries) == 0 && scheduler_init(&queue.scheduler, &queue.entries, registry) == 0,
         "no scheduler");
    for (unsigned i = 0; i < TENANTS * 10; i++)
        enqueue_one(i);
}

/* One comes, one is chosen, started and ended: beside a thousand that wait. */
static void run_scheduler(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        enqueue_one(i);
        struct entry *entry = scheduler_pick(&queue.scheduler);
        must(entry != NULL, "nothing to run");
        int64_t expected = scheduler_start(&queue.scheduler, entry);
        scheduler_end(&queue.scheduler, entry, expected, 2000, true);
        scheduler_detach(&queue.scheduler, entry);
        entries_remove(&queue.entries, entry);
    }
}

/* ---- the store ---- */

#define COMMIT 64u
static struct store *store;
static struct task_spec *stored[COMMIT];

static void set_up_store(void)
{
    char url[128], error[256];
    (void)snprintf(url, sizeof url, "sqlite:%s/paths.db", folder);
    const struct store_options options = {.url = url, .retain_us = 86400000000};
    must(store_open(&options, &store, error, sizeof error) == 0, error);
    for (unsigned i = 0; i < COMMIT; i++)
        stored[i] = read_submission();
}

static void commit(struct store_change *changes)
{
    struct store_change *rows[COMMIT];
    for (unsigned i = 0; i < COMMIT; i++)
        rows[i] = &changes[i];
    must(store->ops->commit(store, rows, COMMIT) == STORE_OK, "a commit failed");
    for (unsigned i = 0; i < COMMIT; i++)
        must(changes[i].result == STORE_OK, "a row was not written");
}

/* Each task is inserted as running, as most are, and then ended: commits of 64. */
static void run_store(unsigned n)
{
    static struct store_change changes[COMMIT];
    struct task_outcome *outcome = task_outcome_success(NULL);
    must(outcome != NULL, "no memory");
    for (unsigned done = 0; done < n; done += COMMIT) {
        for (unsigned i = 0; i < COMMIT; i++) {
            struct task_spec *each = stored[i]; /* the same text again and again, as another task */
            task_id_make(&each->id);
            each->root = each->id;
            changes[i] = (struct store_change){.kind = STORE_INSERT,
                                               .id = each->id,
                                               .spec = each,
                                               .status = {.state = TASK_RUNNING,
                                                          .attempt = 1,
                                                          .run_at_us = each->created_us,
                                                          .started_us = each->created_us,
                                                          .progress = -1}};
        }
        commit(changes);
        for (unsigned i = 0; i < COMMIT; i++) {
            struct store_change *change = &changes[i];
            change->kind = STORE_UPDATE;
            change->expect_state = TASK_RUNNING;
            change->expect_attempt = 1;
            change->status.state = TASK_SUCCEEDED;
            change->status.finished_us = change->status.started_us + 30;
            change->outcome = outcome;
        }
        commit(changes);
    }
    task_outcome_unref(outcome);
}

/* Those that were let go of are read again, with their context. */
static void run_load(unsigned n)
{
    static struct task_record records[COMMIT];
    struct task_id ids[COMMIT];
    for (unsigned i = 0; i < COMMIT; i++)
        ids[i] = stored[i]->id;
    for (unsigned done = 0; done < n; done += COMMIT) {
        must(store->ops->load(store, ids, COMMIT, records) == STORE_OK, "not read");
        for (unsigned i = 0; i < COMMIT; i++) {
            must(records[i].spec && task_context(records[i].spec), "no task or no context");
            task_record_release(&records[i]);
        }
    }
}

/* ---- the task as JSON ---- */

static void run_render(unsigned n)
{
    static struct buf out;
    const struct task_record record = {.spec = spec,
                                       .status = {.state = TASK_SUCCEEDED,
                                                  .attempt = 1,
                                                  .progress = -1,
                                                  .run_at_us = spec->created_us,
                                                  .started_us = spec->created_us + 100,
                                                  .finished_us = spec->created_us + 150}};
    for (unsigned i = 0; i < n; i++) {
        buf_reset(&out);
        struct json_out j = json_out_to(&out);
        task_render(&record, NULL, "node", &j);
        must(buf_ok(&out) && out.len > 300, "not rendered");
    }
}

/* ---- all of them ---- */

static const struct path {
    const char *name;
    void (*run)(unsigned n);
    unsigned n;
} paths[] = {
    {"http", run_http, 2000},
    {"context", run_context, 2000},
    {"submission", run_submission, 2000},
    {"batch-split", run_batch_split, 2000},
    {"variables", run_variables, 2000},
    {"attempt", run_attempt, 2000},
    {"scheduler", run_scheduler, 2000},
    {"store", run_store, 1024},
    {"load", run_load, 1024},
    {"render", run_render, 2000},
};
#define PATHS (sizeof paths / sizeof paths[0])

/* Callgrind counts what this calls, and writes it down when it returns. */
__attribute__((noinline)) void measure_path(void (*run)(unsigned n), unsigned n)
{
    run(n);
    __asm__ volatile("" ::: "memory"); /* no tail call: this function ends last */
}

static void fingerprint(void)
{
    struct utsname system;
    must(uname(&system) == 0, "uname");
    (void)printf("%s, compiler %s, flags %s, glibc %s, SQLite %s, jansson %s, AVX2 %s\n", system.machine, __VERSION__,
                 PERF_FLAGS, gnu_get_libc_version(), sqlite3_libversion(), jansson_version_str(),
                 __builtin_cpu_supports("avx2") ? "yes" : "no");
}

static void clean_up(void)
{
    struct dirent *entry;
    char path[400];
    store_close(store);
    DIR *directory = opendir(folder);
    while (directory && (entry = readdir(directory))) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        (void)unlink(path);
    }
    if (directory)
        (void)closedir(directory);
    (void)rmdir(folder);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--list") == 0) {
        for (size_t i = 0; i < PATHS; i++)
            (void)printf("%s %u\n", paths[i].name, paths[i].n);
        return 0;
    }
    if (argc > 1 && strcmp(argv[1], "--fingerprint") == 0) {
        fingerprint();
        return 0;
    }
    set_up();
    set_up_http();
    set_up_scheduler();
    set_up_store();
    for (size_t i = 0; i < PATHS; i++) {
        paths[i].run(WARM);
        measure_path(paths[i].run, paths[i].n);
    }
    clean_up();
    return 0;
}
