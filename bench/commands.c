/* How many commands a second one worker runs, beside a bare loop of posix_spawn and waitpid of the same program.
 * usage: bench/commands [N].  Prints both rates and their ratio. */
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "executor/executor.h"
#include "worker/pool.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards done */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int done, failed;

static void on_report(void *arg, struct attempt *attempt)
{
    (void)arg;
    (void)pthread_mutex_lock(&lock);
    done++;
    failed += attempt->end != ATTEMPT_SUCCEEDED;
    (void)pthread_cond_signal(&changed);
    (void)pthread_mutex_unlock(&lock);
    task_spec_unref(attempt->spec);
    task_outcome_unref(attempt->outcome);
    satchel_cancel_unref(attempt->cancel);
    free(attempt);
}

static double bare(int n)
{
    char program[] = "/bin/true";
    char *arguments[] = {program, NULL}, *variables[] = {NULL};
    int64_t start = clock_mono_ns();
    for (int i = 0; i < n; i++) {
        pid_t pid;
        if (posix_spawn(&pid, program, NULL, NULL, arguments, variables) == 0)
            (void)waitpid(pid, NULL, 0);
    }
    return n / ((double)(clock_mono_ns() - start) / 1e9);
}

static struct attempt *attempt_new(const struct registry *registry)
{
    struct attempt *attempt = calloc(1, sizeof *attempt);
    struct task_spec_text text = {
        .tenant = SLICE_LITERAL("bench"), .name = SLICE_LITERAL("true"), .args = SLICE_LITERAL("{\"n\":1}")};
    satchel_field fields[] = {{"X-Tenant-ID", "bench", 11, 5},
                              {"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", 11, 55}};
    satchel_context *context;
    if (!attempt || !(attempt->spec = task_spec_new(&text)) ||
        satchel_extract(fields, 2, &context, NULL, NULL) != SATCHEL_OK ||
        satchel_cancel_new(NULL, &attempt->cancel) != SATCHEL_OK)
        abort();
    task_context_set(attempt->spec, context);
    task_id_make(&attempt->spec->id);
    attempt->type = registry_find(registry, text.name);
    attempt->number = 1;
    return attempt;
}

static double through_pool(struct pool *pool, const struct registry *registry, int n)
{
    int64_t start = clock_mono_ns();
    for (int i = 0; i < n; i++) {
        pool_push(pool, attempt_new(registry));
        (void)pthread_mutex_lock(&lock);
        while (done < i) /* one is queued while another runs, as the engine has it */
            (void)pthread_cond_wait(&changed, &lock);
        (void)pthread_mutex_unlock(&lock);
    }
    (void)pthread_mutex_lock(&lock);
    while (done < n)
        (void)pthread_cond_wait(&changed, &lock);
    done = 0;
    (void)pthread_mutex_unlock(&lock);
    return n / ((double)(clock_mono_ns() - start) / 1e9);
}

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 500;
    char name[] = "true", program[] = "/bin/true", where[] = "bench";
    char *items[] = {program, NULL};
    struct config_task task = {
        .name = name, .command = {items, 1}, .where = where, .propagate = PROPAGATE_ALL, .kill_grace_us = 1000000};
    struct config config = {.tasks = &task, .n_tasks = 1, .max_result = 1 << 20, .max_json_depth = 32};
    struct pool_options options = {.workers = 1, .report = on_report, .url = "http://127.0.0.1:8640"};
    struct registry *registry = NULL;
    struct pool *pool = NULL;
    char error[300];
    atomic_init(&config.refs, 100);
    if (registry_new(&config, &registry, error, sizeof error) < 0 || pool_new(&options, &pool) < 0) {
        (void)fprintf(stderr, "bench/commands: %s\n", error);
        return 1;
    }
    double best_bare = 0, best_pool = 0; /* the best of five rounds each, taken in turn */
    (void)through_pool(pool, registry, 10);
    for (int round = 0; round < 5; round++) {
        double rate = bare(n);
        best_bare = rate > best_bare ? rate : best_bare;
        rate = through_pool(pool, registry, n);
        best_pool = rate > best_pool ? rate : best_pool;
    }
    (void)printf("posix_spawn alone %.0f/s, as command tasks %.0f/s: %.0f %%, %d failed\n", best_bare, best_pool,
                 100 * best_pool / best_bare, failed);
    pool_stop(pool);
    pool_free(pool);
    registry_unref(registry);
    return failed > 0;
}
