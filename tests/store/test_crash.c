/* Killed at any moment: what a commit has answered is there afterwards, and the file is sound.
 *
 * The program starts itself as a child that commits batches without end and tells each one through a pipe once the
 * store has said STORE_OK; the parent kills it after a random time, opens the file and looks. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sqlite3.h>

#include "tests/store/sqlite_place.h"

#define ROUNDS 20
#define BATCH_MAX 60
#define TASKS_MAX 400000

struct told { /* one task as the child last committed it */
    uint64_t hi, lo;
    uint32_t state, attempt;
};

/* ---- the child ---- */

static _Noreturn void child_fails(const char *why)
{
    (void)fprintf(stderr, "child: %s\n", why);
    _exit(3);
}

static void tell(const struct told *told, size_t n)
{
    const char *at = (const char *)told;
    size_t left = n * sizeof *told;
    while (left) {
        ssize_t wrote = write(STDOUT_FILENO, at, left);
        if (wrote < 0 && errno != EINTR)
            _exit(0); /* nobody listens any more */
        at += wrote > 0 ? wrote : 0;
        left -= wrote > 0 ? (size_t)wrote : 0;
    }
}

static void commit_or_fail(struct store *store, struct store_change *changes, size_t n)
{
    struct store_change *rows[BATCH_MAX];
    for (size_t i = 0; i < n; i++)
        rows[i] = &changes[i];
    if (store->ops->commit(store, rows, n) != STORE_OK)
        child_fails("a commit failed");
    for (size_t i = 0; i < n; i++)
        if (changes[i].result != STORE_OK)
            child_fails("a change was fenced");
}

static void report(const struct store_change *changes, size_t n)
{
    struct told told[BATCH_MAX];
    for (size_t i = 0; i < n; i++)
        told[i] = (struct told){changes[i].id.hi, changes[i].id.lo, changes[i].status.state, changes[i].status.attempt};
    tell(told, n);
}

static void one_batch(struct store *store, unsigned round)
{
    static struct store_change changes[BATCH_MAX];
    struct task_spec *specs[BATCH_MAX];
    size_t n = 1 + (unsigned)random() % BATCH_MAX;
    struct slice body = text_of_size(2 + (unsigned)random() % 5000, 'c');
    for (size_t i = 0; i < n; i++) {
        const struct task_spec_text text = {.tenant = SLICE_LITERAL("acme"), .name = SLICE_LITERAL("n"), .args = body};
        specs[i] = spec_of(&text);
        changes[i] = change_insert(specs[i], status_running(specs[i]));
    }
    commit_or_fail(store, changes, n);
    report(changes, n);
    struct task_outcome *outcome = task_outcome_success(blob_new(body));
    for (size_t i = 0; i < n; i++) {
        changes[i] = change_update(specs[i], TASK_RUNNING, 1, status_ended(specs[i], TASK_SUCCEEDED, START_US));
        changes[i].outcome = outcome;
    }
    if (round % 3) {
        commit_or_fail(store, changes, n);
        report(changes, n);
    }
    task_outcome_unref(outcome);
    for (size_t i = 0; i < n; i++)
        task_spec_unref(specs[i]);
    text_free(body);
}

static int child(const char *url, const char *seed)
{
    char error[512];
    struct store *store;
    const struct store_options options = {.url = url, .retain_us = RETAIN_US, .wal_limit = 1 << 20};
    srandom((unsigned)strtoul(seed, NULL, 10));
    if (store_open(&options, &store, error, sizeof error) < 0)
        child_fails(error);
    task_id_seed(store->ops->greatest_seq(store));
    tell(&(struct told){0}, 1); /* it is open */
    for (unsigned round = 0; round < 1000000; round++) {
        one_batch(store, round);
        (void)store->ops->idle(store);
    }
    return 0;
}

/* ---- the parent ---- */

static struct told all[TASKS_MAX];
static size_t n_all;

static void remember(const struct told *told)
{
    if (told->hi == 0)
        return;
    for (size_t i = n_all, back = 0; i-- > 0 && back < 4 * BATCH_MAX; back++)
        if (all[i].hi == told->hi && all[i].lo == told->lo) {
            all[i] = *told;
            return;
        }
    assert_true(n_all < TASKS_MAX);
    all[n_all++] = *told;
}

static pid_t start(const struct place *place, unsigned seed, int *ret_from)
{
    char number[16], word[] = "child", name[] = "test_crash", url[sizeof place->url];
    (void)snprintf(number, sizeof number, "%u", seed);
    memcpy(url, place->url, sizeof url);
    char *const argv[] = {name, word, url, number, NULL};
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO), 0);
    pid_t pid;
    assert_int_equal(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ), 0);
    (void)posix_spawn_file_actions_destroy(&actions);
    assert_int_equal(close(ends[1]), 0);
    *ret_from = ends[0];
    return pid;
}

/* Takes what the child tells, kills it `after_ns` after it opened the store, and takes what is left in the pipe. */
static void listen_and_kill(pid_t pid, int from, int64_t after_ns)
{
    int64_t kill_at = 0, give_up = clock_mono_ns() + 60000000000;
    bool killed = false;
    struct told told;
    size_t have = 0;
    for (;;) {
        int64_t now = clock_mono_ns();
        if (now > give_up || (kill_at && !killed && now >= kill_at)) {
            (void)kill(pid, SIGKILL);
            killed = true;
        }
        int64_t wait_ns = killed || !kill_at ? 1000000000 : kill_at - now;
        const struct timespec wait = {.tv_sec = wait_ns / 1000000000, .tv_nsec = wait_ns % 1000000000};
        struct pollfd poll_for = {.fd = from, .events = POLLIN};
        if (ppoll(&poll_for, 1, &wait, NULL) <= 0)
            continue;
        ssize_t n = read(from, (char *)&told + have, sizeof told - have);
        if (n <= 0)
            break;
        have += (size_t)n;
        if (have < sizeof told)
            continue;
        have = 0;
        if (!kill_at)
            kill_at = clock_mono_ns() + after_ns;
        remember(&told);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_true(clock_mono_ns() < give_up);
}

static void assert_all_there(struct place *place)
{
    for (size_t i = 0; i < n_all; i++) {
        struct task_record record;
        load_one(place, (struct task_id){all[i].hi, all[i].lo}, &record);
        assert_non_null(record.spec);
        /* what it had not told yet may have happened too: a later state, never an earlier one */
        assert_true(record.status.state >= all[i].state);
        assert_int_equal(record.status.attempt, all[i].attempt);
        assert_int_equal(record.outcome != NULL, task_state_final(record.status.state));
        if (record.outcome)
            assert_same_slice(blob_slice(record.outcome->result), record.spec->args);
        task_record_release(&record);
    }
}

static void assert_sound(const struct place *place)
{
    char path[160];
    sqlite_place_file(place, "", path, sizeof path);
    sqlite3 *db;
    sqlite3_stmt *stmt;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(stmt, 0), "ok");
    (void)sqlite3_finalize(stmt);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void test_killed_at_any_moment(void **state)
{
    (void)state;
    struct place place = {.factory = &sqlite_factory};
    sqlite_factory.make(&place);
    unsigned seed = (unsigned)clock_wall_us();
    print_message("seed %u\n", seed);
    srandom(seed);
    for (unsigned round = 0; round < ROUNDS; round++) {
        int from;
        pid_t pid = start(&place, seed + round, &from);
        listen_and_kill(pid, from, (int64_t)((unsigned)random() % 80000000));
        assert_int_equal(close(from), 0);
        place_open(&place);
        assert_all_there(&place);
        place_close(&place);
        assert_sound(&place);
    }
    print_message("%zu committed tasks, none lost\n", n_all);
    assert_true(n_all > 100);
    sqlite_factory.drop(&place);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "child") == 0)
        return child(argv[2], argv[3]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_killed_at_any_moment)};
    return cmocka_run_group_tests_name("sqlite: killed", tests, NULL, NULL);
}
