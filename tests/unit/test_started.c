/* The file of started attempts: what a process that was killed leaves, and what the next one makes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "task/started.h"

static char folder[] = "/tmp/satchel-started-XXXXXX";
static char path[64];

static int setup(void **state)
{
    (void)state;
    (void)snprintf(path, sizeof path, "%s/started", folder);
    (void)unlink(path);
    return 0;
}

static struct started *reopen(struct started *before, unsigned n)
{
    struct started *started;
    started_close(before); /* as a kill does: the marks stay as they are */
    assert_int_equal(started_open(path, n, &started), 0);
    return started;
}

static void test_a_new_file_knows_nothing(void **state)
{
    (void)state;
    struct started *started = reopen(NULL, 4);
    assert_true(started_before(started, (struct task_id){1, 2}, 1)); /* so it must be assumed */
    started_close(started);
}

static void test_only_what_had_started_is_found(void **state)
{
    (void)state;
    struct task_id ran = {1, 10}, claimed = {2, 20}, ended = {3, 30};
    struct started *started = reopen(NULL, 4);
    started_begin(started);
    started_set(started_take(started), ran, 3, 1000);
    assert_non_null(started_take(started)); /* claimed, never started */
    struct started_mark *mark = started_take(started);
    started_set(mark, ended, 1, 1000);
    started_give(started, mark);
    started = reopen(started, 4);
    assert_true(started_before(started, ran, 3));
    assert_false(started_before(started, ran, 2));
    assert_false(started_before(started, claimed, 1));
    assert_false(started_before(started, ended, 1));
    started = reopen(started, 4); /* killed again before it was recorded elsewhere: still known */
    assert_true(started_before(started, ran, 3));
    started_begin(started);
    started = reopen(started, 4);
    assert_false(started_before(started, ran, 3));
    started_close(started);
}

static void test_the_number_of_marks_may_change(void **state)
{
    (void)state;
    struct started *started = reopen(NULL, 100);
    started_begin(started);
    for (unsigned i = 0; i < 100; i++)
        started_set(started_take(started), (struct task_id){i + 1, i}, 1, 1000);
    assert_null(started_take(started));
    started = reopen(started, 2);
    for (unsigned i = 0; i < 100; i++)
        assert_true(started_before(started, (struct task_id){i + 1, i}, 1));
    started_begin(started);
    assert_non_null(started_take(started));
    assert_non_null(started_take(started));
    assert_null(started_take(started));
    started = reopen(started, 50);
    started_begin(started);
    started_close(started);
}

static void test_another_boot_or_a_damaged_file_is_not_believed(void **state)
{
    (void)state;
    struct started *started = reopen(NULL, 4);
    started_begin(started);
    started_close(started);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, 30, SEEK_SET), 0); /* into the boot id */
    assert_int_equal(fwrite("xxxx", 1, 4, file), 4);
    assert_int_equal(fclose(file), 0);
    started = reopen(NULL, 4);
    assert_true(started_before(started, (struct task_id){9, 9}, 1));
    started_close(started);
    assert_int_equal(truncate(path, 7), 0);
    started = reopen(NULL, 4);
    assert_true(started_before(started, (struct task_id){9, 9}, 1));
    started_close(started);
}

static void test_a_path_that_cannot_be(void **state)
{
    (void)state;
    struct started *started;
    assert_true(started_open("/nowhere/at/all", 4, &started) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_new_file_knows_nothing, setup),
        cmocka_unit_test_setup(test_only_what_had_started_is_found, setup),
        cmocka_unit_test_setup(test_the_number_of_marks_may_change, setup),
        cmocka_unit_test_setup(test_another_boot_or_a_damaged_file_is_not_believed, setup),
        cmocka_unit_test_setup(test_a_path_that_cannot_be, setup),
    };
    if (!mkdtemp(folder))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(path);
    (void)rmdir(folder);
    return failed;
}
