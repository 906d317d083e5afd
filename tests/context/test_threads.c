/* The daemon's own threads run in an empty context: they begin in one, whoever starts them, and what is left on one is
 * found, told, counted and removed. */
#include <dirent.h>
#include <fcntl.h>
#include <satchel/context.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/thread.h"
#include "tests/support/ask.h"
#include "tests/support/receiver.h"

/* ---- a caller with a context of its own ---- */

static satchel_context *context;

static int enter(void **state)
{
    (void)state;
    context = satchel_context_new();
    assert_int_equal(satchel_context_enter(context), SATCHEL_OK);
    return satchel_set_string(satchel_known_var(SATCHEL_TENANT), "acme", NULL);
}

static int leave(void **state)
{
    (void)state;
    assert_string_equal(satchel_tenant(), "acme"); /* whatever the thread did */
    assert_int_equal(satchel_context_exit(context), SATCHEL_OK);
    satchel_context_unref(context);
    return 0;
}

struct look {
    size_t len;
    bool entered;
    char name[16];
};

static void *look(void *arg)
{
    struct look *l = arg;
    l->len = satchel_context_len(NULL);
    l->entered = satchel_context_current() != NULL;
    (void)pthread_getname_np(pthread_self(), l->name, sizeof l->name);
    return arg;
}

static void leave_entered(void)
{
    satchel_context *left = satchel_capture();
    assert_int_equal(satchel_context_enter(left), SATCHEL_OK);
    satchel_context_unref(left);
    assert_int_equal(satchel_set_string(satchel_known_var(SATCHEL_TENANT), "left-entered", NULL), SATCHEL_OK);
}

static void leave_bound(void)
{
    assert_int_equal(satchel_set_string(satchel_known_var(SATCHEL_TENANT), "left-bound", NULL), SATCHEL_OK);
}

static void *run_it(void *arg)
{
    void (*const *fn)(void) = arg;
    (*fn)();
    return NULL;
}

static void run_on_thread(void *(*fn)(void *arg), void *arg)
{
    pthread_t thread;
    void *result = NULL;
    assert_int_equal(thread_start(&thread, "a-name-that-is-too-long", fn, arg), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_true(fn != look || result == arg);
}

static void begins_empty(void **state)
{
    (void)state;
    struct look l = {.len = 99, .entered = true};
    uint64_t before = thread_violations();
    run_on_thread(look, &l);
    assert_int_equal(l.len, 0);
    assert_false(l.entered);
    assert_string_equal(l.name, "a-name-that-is-");
    assert_int_equal(thread_violations(), before);
}

static char *in_file(int *saved)
{
    char *path = strdup("/tmp/satchel-threads.XXXXXX");
    int fd = mkostemp(path, O_CLOEXEC);
    *saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    assert_true(fd >= 0 && *saved >= 0 && dup2(fd, STDERR_FILENO) >= 0);
    (void)close(fd);
    log_open();
    return path;
}

static char *from_file(char *path, int saved)
{
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    (void)close(saved);
    char *text = read_file(path);
    (void)unlink(path);
    free(path);
    return text;
}

static void what_is_left_is_found(void **state)
{
    (void)state;
    void (*ways[])(void) = {leave_entered, leave_bound};
    for (size_t i = 0; i < 2; i++) {
        int saved;
        uint64_t before = thread_violations();
        satchel_counts was = {.struct_size = sizeof was}, is = {.struct_size = sizeof is};
        satchel_get_counts(&was);
        char *path = in_file(&saved);
        run_on_thread(run_it, &ways[i]);
        char *log = from_file(path, saved);
        satchel_get_counts(&is);
        assert_int_equal(thread_violations(), before + 1);
        assert_int_equal(is.misuse, was.misuse); /* the library found nothing left at the thread's end */
        assert_int_equal(is.contexts, was.contexts);
        assert_int_equal(is.values, was.values);
        assert_non_null(strstr(log, "\"thread\":\"a-name-that-is-\""));
        assert_non_null(strstr(log, i == 0 ? "\"tenant\":\"left-entered\"" : "\"tenant\":\"left-bound\""));
        free(log);
    }
}

/* ---- a loop ---- */

struct job {
    struct loop_mail mail;
    void (*leave)(void);
    struct look seen;
    atomic_bool done;
};

static void run_job(struct loop_mail *mail)
{
    struct job *job = (struct job *)mail;
    (void)look(&job->seen);
    if (job->leave)
        job->leave();
    atomic_store(&job->done, true);
}

static bool is_done(void *arg)
{
    return atomic_load(&((struct job *)arg)->done);
}

static bool has_grown(void *arg)
{
    return thread_violations() > *(uint64_t *)arg;
}

static void do_job(struct loop *loop, struct job *job)
{
    job->mail.run = run_job;
    loop_post(loop, &job->mail);
    assert_true(until(is_done, job, WAIT_MS));
    assert_int_equal(job->seen.len, 0);
    assert_false(job->seen.entered);
}

static void of_a_loop(void **state)
{
    (void)state;
    struct loop *loop;
    int saved;
    uint64_t before = thread_violations();
    struct job first = {.leave = NULL}, entered = {.leave = leave_entered}, bound = {.leave = leave_bound},
               last = {.leave = NULL};
    assert_int_equal(loop_new("loop-test", &loop), 0);
    assert_int_equal(loop_start(loop), 0);
    do_job(loop, &first);
    assert_string_equal(first.seen.name, "loop-test");
    assert_int_equal(thread_violations(), before);
    char *path = in_file(&saved);
    do_job(loop, &entered);
    assert_true(until(has_grown, &before, WAIT_MS));
    before++;
    do_job(loop, &bound);
    assert_true(until(has_grown, &before, WAIT_MS));
    free(from_file(path, saved));
    do_job(loop, &last); /* nothing of it is left */
    loop_stop(loop);
    loop_free(loop);
    assert_int_equal(thread_violations(), before + 1);
}

/* ---- the real daemon ---- */

static bool is_ours(const char *name)
{
    static const char *const names[] = {"http-", "engine", "reader", "worker", "otlp", "stop-guard", "schedules"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strncmp(name, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

/* Each thread but main was named by thread_start: one that was started otherwise has its creator's name. */
static void all_threads_of_the_daemon(void **state)
{
    (void)state;
    static struct satcheld d;
    static struct receiver receiver;
    char config[256], path[64], line[64];
    unsigned n = 0, foreign = 0;
    receiver_start(&receiver);
    (void)snprintf(config, sizeof config, "workers = 3\notlp_endpoint = \"%s\"\nspan_delay = \"10ms\"\n", receiver.url);
    satcheld_init(&d, config);
    satcheld_start(&d);
    json_decref(run(&d, "X-Tenant-ID: acme\r\n", "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.01}}"));
    (void)snprintf(path, sizeof path, "/proc/%d/task", (int)d.pid);
    DIR *threads = opendir(path);
    assert_non_null(threads);
    for (struct dirent *entry; (entry = readdir(threads)) != NULL;) {
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == d.pid)
            continue;
        char comm[400];
        (void)snprintf(comm, sizeof comm, "%s/%s/comm", path, entry->d_name);
        char *name = read_file(comm);
        (void)snprintf(line, sizeof line, "%.*s", (int)strcspn(name, "\n"), name);
        free(name);
        n++;
        if (line[0] && !is_ours(line)) {
            print_error("thread \"%s\" was not started by thread_start\n", line);
            foreign++;
        }
    }
    (void)closedir(threads);
    assert_in_range(foreign, 0, SANITIZED); /* a sanitizer may have one of its own */
    assert_true(n >= 3 + 4);                /* workers, loops, engine, reader, exporter */
    struct answer answer = {0};
    ask(&d, &answer, "GET", "/metrics", NULL, NULL);
    assert_non_null(strstr(answer.body, "\nsatchel_context_violations_total 0\n"));
    answer_release(&answer);
    satcheld_stop(&d);
    assert_false(satcheld_log_has(&d, "context was left"));
    satcheld_release(&d);
    receiver_stop(&receiver);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(begins_empty, enter, leave),
        cmocka_unit_test_setup_teardown(what_is_left_is_found, enter, leave),
        cmocka_unit_test_setup_teardown(of_a_loop, enter, leave),
        cmocka_unit_test(all_threads_of_the_daemon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
