/* The index of unfinished tasks is written in arrears (sqlite_listing.c): whatever it holds already and whatever is still
 * behind its mark, the start and lists by state find every unfinished task, once and in order. */
#include <string.h>

#include "store/sqlite_store.h"
#include "tests/store/sqlite_place.h"

#define STEP 500
#define ROUNDS 70 /* 35,000 tasks: the mark goes on several times */
#define LEFT 37   /* every so many-th task does not end at once */
#define UNFINISHED_MAX (STEP * ROUNDS / LEFT + 1)

static int set_up(void **state)
{
    return place_set_up(&sqlite_factory, state);
}

static int64_t number(const struct place *place, const char *sql)
{
    char path[160];
    sqlite_place_file(place, "", path, sizeof path);
    sqlite3 *db;
    int64_t value = -1;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite_db_number(db, sql, &value), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    return value;
}

struct unfinished {
    struct task_spec *specs[UNFINISHED_MAX];
    size_t n;
};

struct disk {
    int after; /* writes that still work; negative: all */
};

static int on_disk(void *arg, enum sqlite_disk_op op, bool is_wal)
{
    struct disk *disk = arg;
    (void)is_wal;
    if (op != SQLITE_DISK_WRITE || disk->after < 0 || disk->after-- > 0)
        return SQLITE_OK;
    disk->after = -1;
    return SQLITE_FULL;
}

/* STEP tasks that begin with their rows; all but every LEFT-th of them end in the next commit.  A disk that is full at
 * some write refuses the whole first one. */
static void add_round(struct place *place, struct disk *disk, unsigned round, struct unfinished *unfinished)
{
    static struct task_spec *specs[STEP];
    static struct store_change changes[STEP], *rows[STEP];
    for (unsigned i = 0; i < STEP; i++) {
        specs[i] = spec_plain("acme", "n");
        changes[i] = change_insert(specs[i], status_running(specs[i]));
        rows[i] = &changes[i];
    }
    disk->after = round % 3 == 2 ? (int)(round * 5 % 60) : -1;
    enum store_result result = place->store->ops->commit(place->store, rows, STEP);
    disk->after = -1;
    assert_true(result == STORE_OK || result == STORE_FULL);
    size_t n = 0;
    for (unsigned i = 0; i < STEP; i++) {
        if (result == STORE_OK && (round * STEP + i) % LEFT == 0) {
            unfinished->specs[unfinished->n++] = specs[i];
            continue;
        }
        if (result == STORE_OK)
            changes[n++] =
                change_update(specs[i], TASK_RUNNING, 1, status_ended(specs[i], TASK_SUCCEEDED, START_US + 1));
        task_spec_unref(specs[i]);
    }
    for (size_t i = 0; i < n; i++)
        rows[i] = &changes[i];
    if (n)
        assert_int_equal(place->store->ops->commit(place->store, rows, n), STORE_OK);
}

struct walk {
    const struct unfinished *expected;
    size_t n;
};

static int on_waiting(void *arg, const struct store_waiting *task)
{
    struct walk *walk = arg;
    assert_true(walk->n < walk->expected->n);
    assert_true(task_id_equal(task->id, walk->expected->specs[walk->n]->id));
    walk->n++;
    return 0;
}

static void assert_walk(struct place *place, const struct unfinished *expected)
{
    struct walk walk = {.expected = expected};
    assert_int_equal(place->store->ops->each_waiting(place->store, on_waiting, &walk), STORE_OK);
    assert_int_equal(walk.n, expected->n);
}

static void assert_list(struct place *place, const struct unfinished *expected)
{
    struct task_id before = {0, 0};
    for (size_t left = expected->n; left > 0;) {
        struct read_call call = {.kind = READ_LIST,
                                 .query = {.tenant = SLICE_LITERAL("acme"),
                                           .has_state = true,
                                           .state = TASK_RUNNING,
                                           .limit = 100,
                                           .before = before}};
        read_now(place, &call);
        assert_int_equal(call.result, STORE_OK);
        assert_true(call.n > 0 && call.n <= left);
        for (size_t i = 0; i < call.n; i++)
            assert_true(task_id_equal(call.records[i].spec->id, expected->specs[--left]->id));
        before = call.next;
        assert_int_equal(left == 0, task_id_is_none(before));
        read_release(&call);
    }
}

/* They are all due at the time that they were made, in the order of their ids. */
static void test_unfinished_tasks_are_found(void **state)
{
    struct place *place = *state;
    struct disk disk = {-1};
    char error[512] = "";
    const struct sqlite_faults hooks = {on_disk, &disk};
    const struct store_options options = {.url = place->url, .retain_us = RETAIN_US};
    place_close(place);
    assert_int_equal(sqlite_store_open(&options, &hooks, &place->store, error, sizeof error), 0);
    static struct unfinished unfinished;
    unfinished.n = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        add_round(place, &disk, round, &unfinished);
        if (round % 10 == 9)
            assert_walk(place, &unfinished);
    }
    assert_true(unfinished.n > 500);
    assert_list(place, &unfinished);
    place_reopen(place);
    assert_walk(place, &unfinished);
    /* What is in the index: the unfinished ones up to the mark, no others; what lies behind it is not much. */
    assert_true(number(place, "SELECT waits FROM listed") > 0);
    assert_int_equal(number(place, "SELECT count(*) FROM task WHERE late IS NOT NULL AND state < 3"),
                     number(place, "SELECT count(*) FROM task WHERE state < 3 AND seq <= (SELECT waits FROM listed)"));
    assert_in_range(number(place, "SELECT count(*) FROM task WHERE seq > (SELECT waits FROM listed)"), 8000, 24600);
    for (size_t i = 0; i < unfinished.n; i++)
        task_spec_unref(unfinished.specs[i]);
}

/* One that ended long ago and is retried is in the index again, since the mark has passed it. */
static void test_retried_ones_are_found(void **state)
{
    struct place *place = *state;
    struct disk disk = {-1};
    static struct unfinished unfinished;
    struct task_spec *first = spec_plain("acme", "first");
    must_insert(place, first, status_running(first));
    must_update(place, first, TASK_RUNNING, 1, status_ended(first, TASK_FAILED, START_US + 1), NULL);
    unfinished.n = 0;
    for (unsigned round = 0; round < ROUNDS; round += 3) {
        add_round(place, &disk, round, &unfinished);
        add_round(place, &disk, round, &unfinished);
    }
    assert_true(number(place, "SELECT waits FROM listed") >= (int64_t)task_id_seq(first->id));
    for (size_t i = 0; i < unfinished.n; i++)
        must_update(place, unfinished.specs[i], TASK_RUNNING, 1,
                    status_ended(unfinished.specs[i], TASK_SUCCEEDED, START_US + 1), NULL);
    struct unfinished one = {.specs = {first}, .n = 1};
    struct task_status again = status_queued(first);
    again.attempt = 1;
    struct store_change change = change_update(first, TASK_FAILED, 1, again);
    change.clear_outcome = true;
    assert_int_equal(commit_one(place, &change), STORE_OK);
    assert_walk(place, &one);
    must_update(place, first, TASK_QUEUED, 1, status_running(first), NULL);
    place_reopen(place);
    assert_walk(place, &one);
    assert_list(place, &one);
    for (size_t i = 0; i < unfinished.n; i++)
        task_spec_unref(unfinished.specs[i]);
    task_spec_unref(first);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, place_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_unfinished_tasks_are_found),
        TEST(test_retried_ones_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
