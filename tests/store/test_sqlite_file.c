/* What is SQLite's alone: a full or failing disk, the file and its lock, the schema's version, the log's size. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/sqlite_store.h"
#include "tests/store/sqlite_place.h"

static int set_up(void **state)
{
    return place_set_up(&sqlite_factory, state);
}

static int64_t file_size(const struct place *place, const char *suffix)
{
    char path[160];
    sqlite_place_file(place, suffix, path, sizeof path);
    struct stat file;
    return stat(path, &file) == 0 ? (int64_t)file.st_size : -1;
}

static void assert_sound(const struct place *place) /* the store is closed */
{
    char path[160];
    sqlite_place_file(place, "", path, sizeof path);
    sqlite3 *db;
    sqlite3_stmt *stmt;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(stmt, 0), "ok");
    (void)sqlite3_finalize(stmt);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void run_sql(const struct place *place, const char *sql) /* the store is closed */
{
    char path[160];
    sqlite_place_file(place, "", path, sizeof path);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void assert_refused(const struct place *place, const char *url, const char *expected)
{
    char error[512] = "";
    struct store *store = NULL;
    const struct store_options options = {.url = url ? url : place->url, .retain_us = RETAIN_US};
    assert_int_equal(store_open(&options, &store, error, sizeof error), -1);
    assert_null(store);
    if (!strstr(error, expected))
        fail_msg("\"%s\" does not say \"%s\"", error, expected);
}

/* The first test: what SQLite was told before its first use.  It counts no memory: a lock at every allocation. */
static void test_sqlite_is_configured_before_it_starts(void **state)
{
    struct place *place = *state;
    assert_non_null(place->store);
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 1), SQLITE_MISUSE); /* it has started */
    void *memory = sqlite3_malloc(1000);
    assert_non_null(memory);
    assert_int_equal(sqlite3_memory_used(), 0);
    sqlite3_free(memory);
}

/* ---- faults ---- */

struct faults { /* which call fails, and how */
    enum sqlite_disk_op op;
    int code;
    int after; /* calls of this kind that still work; negative: none fails */
    bool once;
    unsigned failed;
};

static int on_disk(void *arg, enum sqlite_disk_op op, bool is_wal)
{
    struct faults *faults = arg;
    (void)is_wal;
    if (op != faults->op || faults->after < 0 || faults->after-- > 0)
        return SQLITE_OK;
    faults->after = faults->once ? -1 : 0;
    faults->failed++;
    return faults->code;
}

static void open_with(struct place *place, struct faults *faults, size_t wal_limit)
{
    char error[512] = "";
    const struct sqlite_faults hooks = {on_disk, faults};
    const struct store_options options = {.url = place->url, .retain_us = RETAIN_US, .wal_limit = wal_limit};
    place_close(place);
    if (sqlite_store_open(&options, &hooks, &place->store, error, sizeof error) < 0)
        fail_msg("%s", error);
}

#define BATCH 40

/* Commits BATCH tasks of some size; what came of it. */
static enum store_result commit_batch(struct place *place, struct task_id ids[BATCH])
{
    struct slice body = text_of_size(1500, 'y');
    struct task_spec *specs[BATCH];
    struct store_change changes[BATCH], *rows[BATCH];
    for (int i = 0; i < BATCH; i++) {
        char tenant[32];
        (void)snprintf(tenant, sizeof tenant, "full-%08x", (unsigned)random());
        const struct task_spec_text text = {.tenant = slice_str(tenant), .name = SLICE_LITERAL("n"), .args = body};
        specs[i] = spec_of(&text);
        ids[i] = specs[i]->id;
        changes[i] = change_insert(specs[i], status_queued(specs[i]));
        rows[i] = &changes[i];
    }
    enum store_result result = place->store->ops->commit(place->store, rows, BATCH);
    for (int i = 0; i < BATCH; i++)
        task_spec_unref(specs[i]);
    text_free(body);
    return result;
}

static void assert_all(struct place *place, const struct task_id ids[BATCH], bool there)
{
    for (int i = 0; i < BATCH; i++)
        assert_int_equal(is_there(place, ids[i]), there);
}

/* The disk is full at the first, second, ... write of a batch: nothing of it is written, and the next one works. */
static void test_full_disk_at_every_write(void **state)
{
    struct place *place = *state;
    struct faults faults = {SQLITE_DISK_WRITE, SQLITE_FULL, -1, true, 0};
    open_with(place, &faults, 0);
    struct task_id before[BATCH], ids[BATCH];
    assert_int_equal(commit_batch(place, before), STORE_OK);
    unsigned rounds = 0;
    for (int at = 0; at < 400; at++, rounds++) {
        faults.after = at;
        faults.failed = 0;
        enum store_result result = commit_batch(place, ids);
        faults.after = -1;
        if (!faults.failed) {
            assert_int_equal(result, STORE_OK);
            break; /* the batch has no more writes than that */
        }
        assert_int_equal(result, STORE_FULL);
        assert_all(place, ids, false);
        assert_int_equal(commit_batch(place, ids), STORE_OK);
        assert_all(place, ids, true);
    }
    assert_in_range(rounds, 10, 399);
    assert_all(place, before, true);
    place_close(place);
    assert_sound(place);
}

/* Lists stay whole however often a batch is rolled back. */
static void test_lists_after_full_disks(void **state)
{
    struct place *place = *state;
    struct faults faults = {SQLITE_DISK_WRITE, SQLITE_FULL, -1, true, 0};
    open_with(place, &faults, 0);
    enum { N = 18000, STEP = 200 };
    static struct store_change changes[STEP], *rows[STEP];
    static struct task_spec *specs[STEP];
    static uint64_t expected[N];
    size_t n = 0;
    unsigned refused = 0;
    for (unsigned round = 0; round < N / STEP; round++) {
        for (unsigned i = 0; i < STEP; i++) {
            specs[i] = spec_plain("acme", "n");
            changes[i] = change_insert(specs[i], status_queued(specs[i]));
            rows[i] = &changes[i];
        }
        faults.after = round % 2 ? (int)(round * 3 % 40) : -1;
        enum store_result result = place->store->ops->commit(place->store, rows, STEP);
        faults.after = -1;
        assert_true(result == STORE_OK || result == STORE_FULL);
        refused += result == STORE_FULL;
        for (unsigned i = 0; i < STEP; i++) {
            if (result == STORE_OK)
                expected[n++] = task_id_seq(specs[i]->id);
            task_spec_unref(specs[i]);
        }
    }
    assert_true(refused > 5);
    assert_true(n > 8000); /* two steps of the listing */
    struct read_call call = {0};
    for (size_t left = n; left > 0;) {
        struct task_id before = call.next;
        call = (struct read_call){.kind = READ_LIST,
                                  .query = {.tenant = SLICE_LITERAL("acme"), .limit = 1000, .before = before}};
        read_now(place, &call);
        assert_int_equal(call.result, STORE_OK);
        assert_true(call.n > 0 && call.n <= left);
        for (size_t i = 0; i < call.n; i++)
            assert_int_equal(task_id_seq(call.records[i].spec->id), expected[--left]);
        assert_int_equal(left == 0, task_id_is_none(call.next));
        read_release(&call);
    }
}

static void test_disk_stays_full_for_a_while(void **state)
{
    struct place *place = *state;
    struct faults faults = {SQLITE_DISK_WRITE, SQLITE_FULL, -1, false, 0};
    open_with(place, &faults, 0);
    struct task_id before[BATCH], ids[BATCH];
    assert_int_equal(commit_batch(place, before), STORE_OK);
    faults.after = 0;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(commit_batch(place, ids), STORE_FULL);
        (void)place->store->ops->idle(place->store);
        unsigned purged;
        bool more;
        (void)place->store->ops->purge(place->store, START_US + 4 * RETAIN_US, 100, &purged, &more);
    }
    assert_all(place, before, true); /* reading goes on */
    assert_all(place, ids, false);
    faults.after = -1;
    assert_int_equal(commit_batch(place, ids), STORE_OK);
    assert_all(place, ids, true);
    place_reopen(place);
    assert_all(place, ids, true);
    place_close(place);
    assert_sound(place);
}

/* The same with a real limit of the system's, and without our seam. */
static void test_file_size_limit(void **state)
{
    struct place *place = *state;
    struct task_id ids[BATCH];
    assert_int_equal(commit_batch(place, ids), STORE_OK);
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = (rlim_t)file_size(place, "-wal") + 20000;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    struct task_id refused[BATCH];
    enum store_result result = commit_batch(place, refused);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, handler);
    assert_int_equal(result, STORE_FULL);
    assert_all(place, refused, false);
    assert_int_equal(commit_batch(place, refused), STORE_OK);
    assert_all(place, refused, true);
    assert_all(place, ids, true);
    place_close(place);
    assert_sound(place);
}

static void test_failed_fsync_is_fatal(void **state)
{
    struct place *place = *state;
    struct faults faults = {SQLITE_DISK_SYNC, SQLITE_IOERR_FSYNC, -1, true, 0};
    open_with(place, &faults, 0);
    struct task_id before[BATCH], ids[BATCH];
    assert_int_equal(commit_batch(place, before), STORE_OK);
    faults.after = 0;
    assert_int_equal(commit_batch(place, ids), STORE_FATAL);
    assert_int_equal(faults.failed, 1);
    place_reopen(place);
    assert_all(place, before, true);
    place_close(place);
    assert_sound(place);
}

static void test_failed_write_is_fatal(void **state)
{
    struct place *place = *state;
    struct faults faults = {SQLITE_DISK_WRITE, SQLITE_IOERR_WRITE, -1, true, 0};
    open_with(place, &faults, 0);
    struct task_id ids[BATCH];
    faults.after = 3;
    assert_int_equal(commit_batch(place, ids), STORE_FATAL);
    assert_all(place, ids, false);
    place_close(place);
    assert_sound(place);
}

/* A checkpoint that fails loses nothing: the log keeps it all. */
static void test_failed_checkpoint(void **state)
{
    struct place *place = *state;
    struct faults faults = {SQLITE_DISK_WRITE, SQLITE_FULL, -1, false, 0};
    open_with(place, &faults, 0);
    static struct task_id ids[30][BATCH];
    for (int i = 0; i < 30; i++)
        assert_int_equal(commit_batch(place, ids[i]), STORE_OK);
    faults.after = 5;
    place_close(place); /* its checkpoint finds the disk full */
    assert_true(faults.failed > 0);
    assert_true(file_size(place, "-wal") > 0);
    place_open(place);
    for (int i = 0; i < 30; i++)
        assert_all(place, ids[i], true);
    place_close(place);
    assert_sound(place);
}

/* ---- power loss ---- */

static void copy_file(const struct place *from, const struct place *to, const char *suffix, int64_t length)
{
    char source[160], target[160];
    sqlite_place_file(from, suffix, source, sizeof source);
    sqlite_place_file(to, suffix, target, sizeof target);
    FILE *in = fopen(source, "re"), *out = fopen(target, "we");
    assert_non_null(in);
    assert_non_null(out);
    for (int c; length > 0 && (c = getc(in)) != EOF; length--)
        assert_int_equal(putc(c, out), c);
    assert_int_equal(fclose(in), 0);
    assert_int_equal(fclose(out), 0);
}

/* The log as a power loss may leave it: whole up to the last fsync that a commit waited for, and behind that cut off
 * anywhere, with garbage or old bytes in place of what was being written. */
static void test_log_cut_anywhere(void **state)
{
    struct place *place = *state;
    struct task_id sure[BATCH], open_end[BATCH];
    assert_int_equal(commit_batch(place, sure), STORE_OK);
    int64_t synced = file_size(place, "-wal");
    assert_int_equal(commit_batch(place, open_end), STORE_OK);
    int64_t end = file_size(place, "-wal");
    assert_true(end > synced + 20000);
    unsigned whole = 0, rounds = 0;
    for (int64_t cut = synced; cut <= end; cut += cut + 1777 > end && cut < end ? end - cut : 1777, rounds++) {
        struct place copy = {.factory = &sqlite_factory};
        sqlite_factory.make(&copy);
        copy_file(place, &copy, "", INT64_MAX);
        copy_file(place, &copy, "-wal", cut);
        if (rounds % 2) { /* the file's length was written, its bytes were not */
            char path[160];
            sqlite_place_file(&copy, "-wal", path, sizeof path);
            assert_int_equal(truncate(path, end), 0);
        }
        place_open(&copy);
        assert_all(&copy, sure, true);
        bool there = is_there(&copy, open_end[0]);
        assert_all(&copy, open_end, there); /* all of a batch or nothing */
        whole += there;
        struct task_id more[BATCH];
        assert_int_equal(commit_batch(&copy, more), STORE_OK);
        assert_all(&copy, more, true);
        place_close(&copy);
        assert_sound(&copy);
        sqlite_factory.drop(&copy);
    }
    assert_int_equal(whole, 1); /* only the log that was not cut has the second batch */
    assert_true(rounds > 10);
}

/* ---- the file ---- */

static void test_second_opener_is_refused(void **state)
{
    struct place *place = *state;
    assert_refused(place, NULL, "in use by another satcheld (process ");
    place_close(place);
    place_open(place); /* the lock ends with its holder */
}

static void test_newer_schema_is_refused(void **state)
{
    struct place *place = *state;
    place_close(place);
    run_sql(place, "PRAGMA user_version=999");
    assert_refused(place, NULL, "schema is version 999");
    run_sql(place, "PRAGMA user_version=5");
    place_open(place);
}

static int count_waiting(void *arg, const struct store_waiting *task)
{
    (void)task;
    *(unsigned *)arg += 1;
    return 0;
}

static void test_older_schema_is_upgraded(void **state)
{
    struct place *place = *state;
    struct task_spec *spec = spec_plain("acme", "work");
    must_insert(place, spec, status_queued(spec));
    place_close(place);
    run_sql(place, "DROP INDEX task_waiting; ALTER TABLE task DROP COLUMN late; ALTER TABLE listed DROP COLUMN waits;"
                   "CREATE INDEX task_waiting ON task(run_at, seq, lo, state, tenant, name, tries, cancel, limits,"
                   " deadline, expires) WHERE state < 3;"
                   "DROP TABLE schedule; DROP INDEX task_group; DROP TABLE uniq; ALTER TABLE task DROP COLUMN preds;"
                   "ALTER TABLE task DROP COLUMN grp; ALTER TABLE task DROP COLUMN after_grp;"
                   "ALTER TABLE task DROP COLUMN unique_key; ALTER TABLE task DROP COLUMN callback;"
                   "DROP TABLE attempt; DROP TABLE note; DROP TABLE log;"
                   "PRAGMA user_version=1"); /* as the first version left it */
    place_open(place);
    unsigned waiting = 0;
    assert_int_equal(place->store->ops->each_waiting(place->store, count_waiting, &waiting), STORE_OK);
    assert_int_equal(waiting, 1);
    struct task_status backoff = status_queued(spec);
    struct task_attempt ended = {.number = 0, .finished_us = START_US};
    struct store_change change = change_update(spec, TASK_QUEUED, 0, backoff);
    change.ended = &ended;
    assert_int_equal(commit_one(place, &change), STORE_OK);
    assert_true(is_there(place, spec->id));
    task_spec_unref(spec);
}

static void test_foreign_database_is_refused(void **state)
{
    struct place *place = *state;
    place_close(place);
    sqlite_factory.drop(place);
    sqlite_factory.make(place);
    run_sql(place, "CREATE TABLE stamps(value TEXT)");
    assert_refused(place, NULL, "a database of another program");
}

static void test_no_database_is_refused(void **state)
{
    struct place *place = *state;
    char path[160];
    place_close(place);
    sqlite_place_file(place, "", path, sizeof path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 0; i < 1000; i++)
        (void)fputs("this is a letter, not a database\n", file);
    assert_int_equal(fclose(file), 0);
    assert_refused(place, NULL, "it is no Satchel store");
}

static void test_bad_places_are_refused(void **state)
{
    struct place *place = *state;
    assert_refused(place, "sqlite:", "expected sqlite:PATH");
    assert_refused(place, "mysql://x", "this build knows sqlite:PATH");
    assert_refused(place, "sqlite:/nonexistent-folder/x.db", "No such file or directory");
    assert_refused(place, "sqlite:/", "Is a directory");
}

/* Garbage in the middle of a file that was not closed: found before anything is built upon it. */
static void test_damaged_file_is_refused(void **state)
{
    struct place *place = *state;
    must_add_many(place, 2000, 10, "n", NULL);
    place_close(place);
    char path[160], log[160];
    sqlite_place_file(place, "", path, sizeof path);
    sqlite_place_file(place, "-wal", log, sizeof log);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    static unsigned char garbage[4096 * 24];
    memset(garbage, 0xa5, sizeof garbage);
    assert_int_equal(pwrite(fd, garbage, sizeof garbage, (off_t)4096 * 40), (ssize_t)sizeof garbage);
    assert_int_equal(close(fd), 0);
    fd = open(log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600); /* a log says that the last process crashed */
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "x", 1), 1);
    assert_int_equal(close(fd), 0);
    assert_refused(place, NULL, "damaged");
}

static void test_damage_that_is_read_is_fatal(void **state)
{
    struct place *place = *state;
    enum { N = 10000 };
    static struct task_id ids[N];
    must_add_many(place, N, 1, "n", ids);
    place_close(place);
    char path[160];
    sqlite_place_file(place, "", path, sizeof path);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    static unsigned char garbage[4096];
    memset(garbage, 0xa5, sizeof garbage);
    for (off_t page = 60; page < 90; page++) /* of old tasks: what opening reads is sound */
        assert_int_equal(pwrite(fd, garbage, sizeof garbage, page * 4096), (ssize_t)sizeof garbage);
    assert_int_equal(close(fd), 0);
    place_open(place); /* it was closed well: not checked whole */
    unsigned fatal = 0;
    for (int i = 0; i < N; i++) {
        struct task_record record;
        enum store_result result = place->store->ops->load(place->store, &ids[i], 1, &record);
        assert_true(result == STORE_OK || result == STORE_FATAL);
        fatal += result == STORE_FATAL;
        task_record_release(&record);
    }
    assert_true(fatal > 0);
}

static void test_file_is_the_owners_alone(void **state)
{
    struct place *place = *state;
    (void)must_add(place, "acme", "n", TASK_QUEUED, 0);
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        char path[160];
        sqlite_place_file(place, suffixes[i], path, sizeof path);
        struct stat file;
        assert_int_equal(stat(path, &file), 0);
        assert_int_equal(file.st_mode & 0777, 0600);
    }
}

static void test_reader_needs_a_store(void **state)
{
    struct place *place = *state;
    struct reader *reader = NULL;
    char error[512] = "";
    place_close(place);
    sqlite_factory.drop(place);
    sqlite_factory.make(place);
    const struct store_options options = {.url = place->url, .retain_us = RETAIN_US};
    assert_int_equal(reader_new(&options, &reader, error, sizeof error), -1);
    assert_non_null(strstr(error, "store "));
    assert_null(reader);
}

/* ---- the log ---- */

static void test_log_stays_bounded(void **state)
{
    struct place *place = *state;
    struct faults none = {SQLITE_DISK_WRITE, SQLITE_OK, -1, true, 0};
    open_with(place, &none, 1 << 20);
    struct task_id ids[BATCH];
    for (int i = 0; i < 200; i++)
        assert_int_equal(commit_batch(place, ids), STORE_OK);
    assert_true(file_size(place, "") > 10 << 20);
    assert_in_range(file_size(place, "-wal"), 1, 3 << 20);
    place_close(place);
    assert_int_equal(file_size(place, "-wal"), 0);
}

static void settle(struct place *place)
{
    int64_t until = clock_mono_ns() + 20000000000;
    while (clock_mono_ns() < until) {
        if (!place->store->ops->idle(place->store) && file_size(place, "-wal") == 0)
            return;
        const struct timespec pause = {.tv_nsec = 5000000};
        (void)nanosleep(&pause, NULL);
    }
    fail_msg("the log was not emptied");
}

/* A second of quiet, and the log is in the file; what a purge freed is given back. */
static void test_quiet_tidies_up(void **state)
{
    struct place *place = *state;
    must_add_many(place, 1000, 1, "waits", NULL);
    for (int i = 0; i < 20; i++) {
        struct task_spec *spec = spec_plain("acme", "n");
        struct slice body = text_of_size(1 << 20, 'z');
        struct store_change change = change_insert(spec, status_ended(spec, TASK_SUCCEEDED, clock_wall_us()));
        change.outcome = task_outcome_success(blob_new(body));
        assert_int_equal(commit_one(place, &change), STORE_OK);
        union {
            const struct task_outcome *given;
            struct task_outcome *ours;
        } outcome = {.given = change.outcome};
        task_outcome_unref(outcome.ours);
        task_spec_unref(spec);
        text_free(body);
    }
    settle(place);
    int64_t full = file_size(place, "");
    assert_true(full > 20 << 20);
    unsigned purged;
    bool more;
    assert_int_equal(
        place->store->ops->purge(place->store, clock_wall_us() + RETAIN_US + 1000000, 1000, &purged, &more), STORE_OK);
    for (int i = 0; i < 50 && purged; i++)
        assert_int_equal(
            place->store->ops->purge(place->store, clock_wall_us() + RETAIN_US + 1000000, 1000, &purged, &more),
            STORE_OK);
    settle(place);
    assert_true(file_size(place, "") < full / 2);
    assert_false(place->store->ops->idle(place->store)); /* and then there is nothing to do */
    struct task_id ids[BATCH];
    assert_int_equal(commit_batch(place, ids), STORE_OK);
    place_close(place);
    assert_sound(place);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, place_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_sqlite_is_configured_before_it_starts),

        TEST(test_full_disk_at_every_write),
        TEST(test_lists_after_full_disks),
        TEST(test_disk_stays_full_for_a_while),
        TEST(test_file_size_limit),
        TEST(test_failed_fsync_is_fatal),
        TEST(test_failed_write_is_fatal),
        TEST(test_failed_checkpoint),
        TEST(test_log_cut_anywhere),
        TEST(test_second_opener_is_refused),
        TEST(test_newer_schema_is_refused),
        TEST(test_older_schema_is_upgraded),
        TEST(test_foreign_database_is_refused),
        TEST(test_no_database_is_refused),
        TEST(test_bad_places_are_refused),
        TEST(test_damaged_file_is_refused),
        TEST(test_damage_that_is_read_is_fatal),
        TEST(test_file_is_the_owners_alone),
        TEST(test_reader_needs_a_store),
        TEST(test_log_stays_bounded),
        TEST(test_quiet_tidies_up),
    };
    return cmocka_run_group_tests_name("sqlite: the file", tests, NULL, NULL);
}
