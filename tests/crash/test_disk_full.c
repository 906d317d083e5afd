/* The disk is full: what cannot be kept is refused whole, everything else goes on, and it takes tasks again once there
 * is room.  Twice: on a small file system of the test's own, and with a limit on the size of files. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/ask.h"

#define MINE "X-Tenant-ID: mine\r\n"
#define MOST 3000 /* submissions until it must be full */

static struct satcheld d;
static char filler[6001]; /* makes each submission large */

/* ---- two ways to be full ---- */

static struct way {
    const char *name;
    void (*prepare)(void), (*fill)(void), (*empty)(void), (*clean)(void);
} const *way;

static char *in_data(const char *name)
{
    char *path;
    assert_true(asprintf(&path, "%s/data%s%s", d.dir, *name ? "/" : "", name) > 0);
    return path;
}

static void mount_small(void)
{
    char *data = in_data("");
    assert_int_equal(mkdir(data, 0700), 0);
    if (mount("none", data, "tmpfs", MS_NOSUID | MS_NODEV, "size=8m,mode=700") < 0)
        fail_msg("cannot mount: %s", strerror(errno));
    free(data);
}

static void fill_ballast(void)
{
    static char block[4096];
    char *path = in_data("ballast");
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    while (write(fd, block, sizeof block) > 0)
        ;
    assert_int_equal(errno, ENOSPC);
    (void)close(fd);
    free(path);
}

static void drop_ballast(void)
{
    char *path = in_data("ballast");
    assert_int_equal(unlink(path), 0);
    free(path);
}

static void unmount_small(void)
{
    char *data = in_data("");
    assert_int_equal(umount2(data, MNT_DETACH), 0);
    free(data);
}

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(prlimit(d.pid, RLIMIT_FSIZE, NULL, &limit), 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    assert_int_equal(prlimit(d.pid, RLIMIT_FSIZE, &limit, NULL), 0);
}

static void lower_limit(void)
{
    limit_files((rlim_t)512 * 1024);
}

static void lift_limit(void)
{
    limit_files(RLIM_INFINITY);
}

static void nothing(void)
{
}

static const struct way small_disk = {"small disk", mount_small, fill_ballast, drop_ballast, unmount_small};
static const struct way limited_files = {"limited files", nothing, lower_limit, lift_limit, nothing};

/* Mounts of our own, as root or as what a user namespace makes of us. */
static bool can_mount(void)
{
    char map[64];
    uid_t uid = geteuid();
    if (unshare(CLONE_NEWNS) < 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
            return false;
        (void)snprintf(map, sizeof map, "0 %u 1", uid);
        FILE *file = fopen("/proc/self/uid_map", "we");
        if (!file || fputs(map, file) < 0 || fclose(file) != 0)
            return false;
    }
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static int start(void **state)
{
    (void)state;
    memset(filler, 'x', sizeof filler - 1);
    satcheld_init(&d, "workers = 2\ndrain = \"300ms\"\nwal_limit = \"1MiB\"\n");
    d.max_error_logs = -1; /* it says so, as an error */
    way->prepare();
    satcheld_start(&d);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    if (d.pid)
        satcheld_stop(&d);
    way->clean();
    satcheld_release(&d);
    return 0;
}

/* ---- */

struct accepted {
    char (*ids)[40];
    int n;
};

static void expect_full(const struct answer *answer)
{
    expect_problem(answer, 503, "store-unavailable");
    char *retry = answer_header(answer, "Retry-After");
    assert_non_null(retry);
    assert_true(atoi(retry) >= 1 && atoi(retry) <= 60);
    free(retry);
}

/* One submission that waits for an hour, with a key of its own; its status. */
static int submit_large(struct client *c, struct answer *answer, int number)
{
    char *body, headers[256];
    assert_true(asprintf(&body,
                         "{\"task\":\"satchel.echo\",\"args\":\"%s\",\"delay\":\"1h\",\"labels\":{\"large\":\"1\"}}",
                         filler) > 0);
    (void)snprintf(headers, sizeof headers, JSON_TYPE MINE "Idempotency-Key: \"n%d\"\r\n", number);
    ask_on(c, answer, "POST", "/v1/tasks", headers, body);
    free(body);
    return answer->status;
}

/* Submits until it is full, and a few times more. */
static struct accepted submit_until_full(int from)
{
    struct accepted accepted = {.ids = calloc(MOST, sizeof *accepted.ids)};
    struct client c;
    struct answer answer = {0};
    assert_non_null(accepted.ids);
    client_open(&c, &d);
    for (int refused = 0, i = from; refused < 5; i++) {
        assert_true(i - from < MOST);
        if (submit_large(&c, &answer, i) == 202) {
            json_t *task = answer_json(&answer);
            (void)snprintf(accepted.ids[accepted.n++], sizeof *accepted.ids, "%s", text_of(task, "id"));
            json_decref(task);
        } else {
            expect_full(&answer);
            refused++;
        }
    }
    client_close(&c);
    answer_release(&answer);
    return accepted;
}

/* The list holds what was accepted and nothing else. */
static void expect_accepted(const struct accepted *accepted)
{
    char target[512] = "/v1/tasks?label=large:1&limit=200";
    int at = accepted->n;
    while (*target) {
        json_t *page = get_json(&d, target, MINE, 200), *task;
        size_t i;
        json_array_foreach(json_object_get(page, "tasks"), i, task)
        {
            assert_true(at > 0);
            expect_text(task, "id", accepted->ids[--at]);
            expect_state(task, "scheduled");
            assert_int_equal(json_string_length(json_object_get(task, "args")), sizeof filler - 1);
        }
        const char *next = json_string_value(json_object_get(page, "next_cursor"));
        if (next)
            (void)snprintf(target, sizeof target, "/v1/tasks?label=large:1&limit=200&cursor=%s", next);
        else
            *target = '\0';
        json_decref(page);
    }
    assert_int_equal(at, 0);
}

static bool is_accepted(void *arg)
{
    struct answer answer = {0};
    (void)arg;
    ask(&d, &answer, "POST", "/v1/tasks", JSON_TYPE MINE, "{\"task\":\"satchel.noop\"}");
    bool accepted = answer.status == 202;
    if (!accepted)
        expect_full(&answer);
    answer_release(&answer);
    return accepted;
}

static void expect_recovery(void)
{
    struct answer answer = {0};
    if (!until(is_accepted, NULL, WAIT_MS))
        fail_msg("there is room again, and it still takes nothing");
    ask(&d, &answer, "GET", "/readyz", NULL, NULL);
    assert_int_equal(answer.status, 200);
    json_t *task = run(&d, MINE, "{\"task\":\"satchel.echo\",\"args\":\"after\"}");
    expect_state(task, "succeeded");
    json_decref(task);
    answer_release(&answer);
}

static void refuses_and_recovers(void **state)
{
    (void)state;
    struct answer answer = {0};
    char target[128];
    json_t *before = run(&d, MINE, "{\"task\":\"satchel.echo\",\"args\":\"before\"}");
    json_t *runs = submit(&d, MINE, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":600}}", 202);
    json_decref(await_state(&d, MINE, text_of(runs, "id"), "running"));
    way->fill();
    struct accepted accepted = submit_until_full(0);

    /* Reads go on, and who asks is told. */
    expect_accepted(&accepted);
    (void)snprintf(target, sizeof target, "/v1/tasks/%s/result", text_of(before, "id"));
    ask(&d, &answer, "GET", target, MINE, NULL);
    assert_string_equal(answer.body, "\"before\"");
    ask(&d, &answer, "GET", "/healthz", NULL, NULL);
    assert_int_equal(answer.status, 200);
    ask(&d, &answer, "GET", "/readyz", NULL, NULL);
    expect_full(&answer);
    for (int tries = 0; tries < 50; tries++) {
        long long began = mono_ms(); /* a small one may find a last bit of room; nobody waits for more of it */
        ask(&d, &answer, "POST", "/v1/tasks", JSON_TYPE MINE "Prefer: wait=1\r\n", "{\"task\":\"satchel.noop\"}");
        assert_true(mono_ms() - began < 10000);
        if (answer.status == 503)
            break;
    }
    expect_full(&answer);

    /* What was refused was never there: its key is free. */
    way->empty();
    expect_recovery();
    expect_accepted(&accepted);
    struct client c;
    client_open(&c, &d);
    int n = accepted.n;
    for (int i = n; i < n + 3; i++) {
        assert_int_equal(submit_large(&c, &answer, MOST + i), 202);
        json_t *task = answer_json(&answer);
        (void)snprintf(accepted.ids[accepted.n++], sizeof *accepted.ids, "%s", text_of(task, "id"));
        json_decref(task);
    }
    client_close(&c);
    satcheld_kill(&d);
    satcheld_start(&d);
    expect_accepted(&accepted);
    json_t *again = await_state(&d, MINE, text_of(runs, "id"), "running");
    expect_number(again, "attempt", 2);
    json_decref(act(&d, MINE, text_of(runs, "id"), "cancel", 200));
    json_t *all[] = {before, runs, again};
    for (size_t i = 0; i < 3; i++)
        json_decref(all[i]);
    free(accepted.ids);
    answer_release(&answer);
}

/* It was done, so it is not done again: its end is kept until there is room. */
static void ends_meanwhile(void **state)
{
    (void)state;
    json_t *task = submit(&d, MINE, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":1.5}}", 202);
    json_decref(await_state(&d, MINE, text_of(task, "id"), "running"));
    way->fill();
    struct accepted accepted = submit_until_full(0);
    char target[128];
    struct answer answer = {0};
    (void)snprintf(target, sizeof target, "/v1/tasks/%s?wait=3s", text_of(task, "id"));
    ask(&d, &answer, "GET", target, MINE, NULL); /* it cannot end yet, or found a last bit of room */
    assert_int_equal(answer.status, 200);
    way->empty();
    json_t *done = finish(&d, MINE, text_of(task, "id"));
    expect_state(done, "succeeded");
    expect_number(done, "attempt", 1);
    expect_number(done, "lost", 0);
    expect_recovery();
    json_decref(task);
    json_decref(done);
    free(accepted.ids);
    answer_release(&answer);
}

static void killed_while_full(void **state)
{
    (void)state;
    way->fill();
    struct accepted accepted = submit_until_full(0);
    satcheld_kill(&d);
    if (way == &small_disk)
        way->empty(); /* the limit went with the process */
    satcheld_start(&d);
    expect_accepted(&accepted);
    expect_recovery();
    free(accepted.ids);
}

static void stopped_while_full(void **state)
{
    (void)state;
    json_t *task = submit(&d, MINE, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":600}}", 202);
    json_decref(await_state(&d, MINE, text_of(task, "id"), "running"));
    way->fill();
    struct accepted accepted = submit_until_full(0);
    satcheld_signal(&d, SIGTERM);
    (void)satcheld_wait(&d, WAIT_MS + 30000); /* it ends, though the end of the attempt cannot be written */
    if (way == &small_disk)
        way->empty();
    satcheld_start(&d);
    expect_accepted(&accepted);
    json_t *again = await_state(&d, MINE, text_of(task, "id"), "running");
    expect_number(again, "attempt", 2);
    expect_number(again, "lost", 1);
    json_decref(act(&d, MINE, text_of(task, "id"), "cancel", 200));
    expect_recovery();
    json_decref(again);
    json_decref(task);
    free(accepted.ids);
}

/* Full again and again: nothing is worn out. */
static void many_times(void **state)
{
    (void)state;
    int total = 0;
    for (int round = 0; round < 4; round++) {
        way->fill();
        struct accepted accepted = submit_until_full(round * MOST);
        total += accepted.n;
        way->empty();
        expect_recovery();
        free(accepted.ids);
    }
    json_t *page = get_json(&d, "/v1/tasks?label=large:1&limit=1000", MINE, 200);
    assert_true((int)json_array_size(json_object_get(page, "tasks")) == total || total > 1000);
    json_decref(page);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

static int run_all(const struct way *which)
{
    const struct CMUnitTest tests[] = {
        TEST(refuses_and_recovers), TEST(ends_meanwhile), TEST(killed_while_full),
        TEST(stopped_while_full),   TEST(many_times),
    };
    way = which;
    return cmocka_run_group_tests_name(which->name, tests, NULL, NULL);
}

int main(void)
{
    int failed = run_all(&limited_files);
    if (can_mount())
        failed += run_all(&small_disk);
    else
        print_message("no mounts for us here: the small disk is left out\n");
    return failed;
}
