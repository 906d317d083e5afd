/* What a row costs: rows inserted and updated per second, CPU time per row, fsyncs per commit and bytes of log per
 * task, at several sizes of a commit; then start-up over a long queue.  The figures in docs are made with it.
 *
 *     bench/store [FOLDER] [ROWS] [tenants]     default: the current folder, 65536 rows, 10 tenants */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "store/store.h"

static const size_t sizes[] = {1, 16, 64, 256, 1024};
#define SIZES (sizeof sizes / sizeof *sizes)
#define BATCH_MAX 1024
#define LAG 3 /* commits between a task's submission and its end */

static const char context_text[] =
    "{\"v\":1,\"vars\":{\"baggage\":\"user=alice,plan=gold\",\"traceparent\":"
    "\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\",\"x-request-id\":\"req-0123456789\","
    "\"x-tenant-id\":\"tenant-0001\"}}";
static const char args_text[] =
    "{\"user\":12345,\"image\":\"https://example.com/images/2026/01/02/0123456789abcdef.png\",\"size\":\"640x480\","
    "\"tags\":[\"a\",\"b\",\"c\"],\"note\":\"the quick brown fox jumps over the lazy dog\"}";
static const char origins_text[] = "{\"baggage\":\"header\",\"traceparent\":\"header\",\"request_id\":\"header\"}";

static double cpu_seconds(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
           ((double)usage.ru_utime.tv_usec + (double)usage.ru_stime.tv_usec) / 1e6;
}

/* What the process has handed to write(2) and its kin: log and checkpoints together. */
static uint64_t bytes_written(void)
{
    uint64_t bytes = 0;
    FILE *io = fopen("/proc/self/io", "re");
    char line[128];
    while (io && fgets(line, sizeof line, io))
        if (sscanf(line, "wchar: %" SCNu64, &bytes) == 1)
            break;
    if (io)
        (void)fclose(io);
    return bytes;
}

static _Noreturn void fail(const char *what)
{
    (void)fprintf(stderr, "bench/store: %s\n", what);
    exit(1);
}

struct task_row {
    struct task_id id;
    struct task_spec *spec;
};

static struct task_spec *make_spec(unsigned n, unsigned tenants)
{
    char tenant[32];
    int len = snprintf(tenant, sizeof tenant, "tenant-%04u", n % tenants);
    const struct task_spec_text text = {.tenant = slice_of(tenant, (size_t)len),
                                        .name = SLICE_LITERAL("satchel.noop"),
                                        .args = SLICE_LITERAL(args_text),
                                        .labels = SLICE_LITERAL("{\"team\":\"images\"}"),
                                        .context = SLICE_LITERAL(context_text),
                                        .origins = SLICE_LITERAL(origins_text)};
    struct task_spec *spec = task_spec_new(&text);
    if (!spec)
        fail("no memory");
    task_id_make(&spec->id);
    spec->root = spec->id;
    spec->created_us = clock_wall_us();
    spec->backoff = (struct backoff){BACKOFF_EXPONENTIAL, true, 1000000, 300000000};
    random_bytes(spec->parent_span, sizeof spec->parent_span);
    return spec;
}

struct measure {
    int64_t wall_ns;
    double cpu;
    uint64_t commits, syncs, bytes;
    int64_t worst_ns;
};

/* One commit; what it takes is added to *m. */
static void commit_one(struct store *store, struct store_change *changes, size_t n, struct measure *m)
{
    struct store_change *batch[BATCH_MAX];
    uint64_t commits_before, syncs_before, commits, syncs;
    store->ops->counters(store, &commits_before, &syncs_before);
    uint64_t bytes = bytes_written();
    for (size_t i = 0; i < n; i++)
        batch[i] = &changes[i];
    double cpu = cpu_seconds();
    int64_t start = clock_mono_ns();
    if (store->ops->commit(store, batch, n) != STORE_OK)
        fail("a commit failed");
    int64_t took = clock_mono_ns() - start;
    m->cpu += cpu_seconds() - cpu;
    m->wall_ns += took;
    m->worst_ns = took > m->worst_ns ? took : m->worst_ns;
    m->bytes += bytes_written() - bytes;
    store->ops->counters(store, &commits, &syncs);
    m->commits += commits - commits_before;
    m->syncs += syncs - syncs_before;
}

static void report(const char *what, size_t size, size_t rows, const struct measure *m)
{
    (void)printf("%-7s %5zu a commit: %7.0f rows/s %7.2f us CPU/row %6.0f bytes written/row %6.3f fsyncs/commit "
                 "%6.1f ms worst commit\n",
                 what, size, (double)rows / ((double)m->wall_ns / 1e9), m->cpu * 1e6 / (double)rows,
                 (double)m->bytes / (double)rows, (double)m->syncs / (double)m->commits, (double)m->worst_ns / 1e6);
}

static void end_rows(struct store_change *changes, size_t n, struct task_outcome *outcome)
{
    for (size_t i = 0; i < n; i++) {
        changes[i].kind = STORE_UPDATE;
        changes[i].expect_state = TASK_RUNNING;
        changes[i].expect_attempt = 1;
        changes[i].status.state = TASK_SUCCEEDED;
        changes[i].status.finished_us = clock_wall_us();
        changes[i].outcome = outcome;
    }
}

static void begin_rows(struct store_change *changes, size_t n, size_t first, unsigned tenants)
{
    for (size_t i = 0; i < n; i++) {
        struct task_spec *spec = make_spec((unsigned)(first + i), tenants);
        changes[i] = (struct store_change){
            .kind = STORE_INSERT,
            .id = spec->id,
            .spec = spec,
            .status = {.state = TASK_RUNNING,
                       .attempt = 1,
                       .run_at_us = spec->created_us,
                       .started_us = spec->created_us + 40,
                       .progress = -1},
        };
    }
}

static void release_rows(struct store_change *changes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (changes[i].result != STORE_OK)
            fail("an update was fenced");
        union {
            const struct task_spec *given;
            struct task_spec *ours;
        } spec = {.given = changes[i].spec};
        task_spec_unref(spec.ours);
    }
}

/* As it goes under load: submissions, and the ends of those that came a few commits before. */
static void one_size(struct store *store, size_t size, size_t rows, unsigned tenants)
{
    struct store_change *changes = calloc(rows, sizeof *changes);
    struct task_outcome *outcome = task_outcome_success(blob_new(SLICE_LITERAL("null")));
    if (!changes || !outcome)
        fail("no memory");
    struct measure insert = {0}, update = {0};
    size_t behind = LAG * size;
    for (size_t at = 0; at < rows + behind; at += size) {
        if (at < rows) {
            size_t n = rows - at < size ? rows - at : size;
            begin_rows(&changes[at], n, at, tenants);
            commit_one(store, &changes[at], n, &insert);
        }
        if (at >= behind) {
            size_t ended = at - behind, n = rows - ended < size ? rows - ended : size;
            end_rows(&changes[ended], n, outcome);
            commit_one(store, &changes[ended], n, &update);
        }
    }
    report("insert", size, rows, &insert);
    report("update", size, rows, &update);
    release_rows(changes, rows);
    task_outcome_unref(outcome);
    free(changes);
}

static int count_one(void *arg, const struct store_waiting *task)
{
    uint64_t *n = arg;
    *n += task->tenant.len > 0;
    return 0;
}

static void long_queue(struct store *store, size_t rows, unsigned tenants)
{
    struct store_change change[BATCH_MAX], *batch[BATCH_MAX];
    for (size_t at = 0; at < rows; at += BATCH_MAX) {
        for (size_t i = 0; i < BATCH_MAX; i++) {
            struct task_spec *spec = make_spec((unsigned)i, tenants);
            change[i] =
                (struct store_change){.kind = STORE_INSERT,
                                      .id = spec->id,
                                      .spec = spec,
                                      .status = {.state = TASK_QUEUED, .run_at_us = spec->created_us, .progress = -1}};
            batch[i] = &change[i];
        }
        if (store->ops->commit(store, batch, BATCH_MAX) != STORE_OK)
            fail("a commit failed");
        for (size_t i = 0; i < BATCH_MAX; i++) {
            union {
                const struct task_spec *given;
                struct task_spec *ours;
            } spec = {.given = change[i].spec};
            task_spec_unref(spec.ours);
        }
    }
    uint64_t n = 0;
    int64_t start = clock_mono_ns();
    if (store->ops->each_waiting(store, count_one, &n) != STORE_OK)
        fail("the queue cannot be read");
    (void)printf("start    %" PRIu64 " waiting tasks read in %.0f ms\n", n, (double)(clock_mono_ns() - start) / 1e6);
}

static int64_t file_bytes(const char *path)
{
    struct stat file;
    return stat(path, &file) == 0 ? (int64_t)file.st_size : 0;
}

int main(int argc, char **argv)
{
    const char *folder = argc > 1 ? argv[1] : ".";
    size_t rows = argc > 2 ? strtoul(argv[2], NULL, 10) : 65536;
    unsigned tenants = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 10;
    if (rows == 0 || tenants == 0)
        fail("usage: bench/store [FOLDER] [ROWS] [TENANTS]");
    char url[1200], path[1024], error[512];
    for (size_t i = 0; i <= SIZES; i++) {
        (void)snprintf(path, sizeof path, "%s/bench-store-%ld.db", folder, (long)getpid());
        (void)snprintf(url, sizeof url, "sqlite:%s", path);
        struct store *store;
        const struct store_options options = {.url = url, .retain_us = 604800000000};
        if (store_open(&options, &store, error, sizeof error) < 0)
            fail(error);
        size_t n = i < SIZES && sizes[i] * 1000 < rows ? sizes[i] * 1000 : rows;
        if (i < SIZES)
            one_size(store, sizes[i], n, tenants);
        else
            long_queue(store, rows, tenants);
        store_close(store);
        (void)printf("         file: %" PRId64 " bytes a task\n", file_bytes(path) / (int64_t)n);
        (void)unlink(path);
        for (const char *const *suffix = (const char *const[]){"-wal", "-shm", ".lock", NULL}; *suffix; suffix++) {
            char other[1100];
            (void)snprintf(other, sizeof other, "%s%s", path, *suffix);
            (void)unlink(other);
        }
    }
    return 0;
}
