/* satchel progress and satchel fail inside a command task, and lines written to its descriptor by hand: they become
 * the task's progress, and what becomes of a failure, whatever else is written there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/cli/cli.h"
#include "tests/support/ask.h"

#define SATCHEL TEST_BUILD_DIR "/client/satchel"
#define TASK(name, script) "task \"" name "\" { command = {\"/bin/sh\", \"-c\", \"" script "\"} }\n"
#define CONFIG                                                                                                         \
    TASK("steps",                                                                                                      \
         SATCHEL " progress 0.25 reading the input && while ! test -e {{args.file}}; do sleep 0.02; done; " SATCHEL    \
                 " progress 1 'all done'")                                                                             \
    TASK("by_hand", "echo 0.5 by hand >&$SATCHEL_PROGRESS_FD")                                                         \
    TASK("garbage", "head -c 300000 /dev/urandom >&$SATCHEL_PROGRESS_FD; "                                             \
                    "printf '\\\\nnot a line\\\\n0.75 after it\\\\n' >&$SATCHEL_PROGRESS_FD")                          \
    TASK("flood", "i=0; while test $i -lt 20000; do echo 0.5 step $i; i=$((i+1)); done >&$SATCHEL_PROGRESS_FD; "       \
                  "echo 0.9 the last >&$SATCHEL_PROGRESS_FD")                                                          \
    TASK("open", "sleep 300 & echo 0.1 x >&$SATCHEL_PROGRESS_FD")                                                      \
    TASK("closed", "exec 3>&-; echo $SATCHEL_PROGRESS_FD")                                                             \
    TASK("final", SATCHEL " fail --final no such customer; exit 3")                                                    \
    TASK("last_word", "exec " SATCHEL " fail --final")                                                                 \
    TASK("reason", "set -e; " SATCHEL " fail because; exit 0")                                                         \
    TASK("later", "test $SATCHEL_ATTEMPT = 2 || exec " SATCHEL " fail --retry-in 200ms not yet")                       \
    TASK("all_the_same", "echo retry-in 1ms >&$SATCHEL_PROGRESS_FD; test $SATCHEL_ATTEMPT = 2 || exit 65")             \
    TASK("never_mind", SATCHEL " fail --final oops; exit 0")                                                           \
    TASK("killed", "echo no-retry boom >&$SATCHEL_PROGRESS_FD; kill -SEGV $$")                                         \
    TASK("line_breaks", SATCHEL " progress 0.5 \\\"$(printf 'a\\\\nb')\\\" c")

static struct satcheld d;

static int start(void **state)
{
    (void)state;
    satcheld_init(&d, CONFIG);
    satcheld_start(&d);
    cli_environment(&d);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    satcheld_stop(&d);
    satcheld_release(&d);
    return 0;
}

static void expect_progress(const char *body, double progress, const char *message)
{
    json_t *task = run(&d, NULL, body);
    expect_state(task, "succeeded");
    if (json_number_value(json_object_get(task, "progress")) != progress)
        fail_msg("progress is %g", json_number_value(json_object_get(task, "progress")));
    expect_text(task, "progress_message", message);
    json_decref(task);
}

static void it_is_seen_while_it_runs(void **state)
{
    (void)state;
    struct cli c;
    char *gate = satcheld_path(&d, "gate"), body[256];
    (void)snprintf(body, sizeof body, "{\"task\":\"steps\",\"args\":{\"file\":\"%s\"}}", gate);
    json_t *task = submit(&d, NULL, body, 202);
    cli_start(&c, NULL, ARGS("watch", text_of(task, "id")));
    cli_await_output(&c, "progress   25 %  reading the input\n");
    write_file(gate, "");
    cli_wait(&c);
    assert_int_equal(c.code, 0);
    cli_expect(&c, "progress   100 %  all done\n");
    cli_release(&c);
    json_decref(task);
    free(gate);
}

static void lines_by_hand(void **state)
{
    (void)state;
    expect_progress("{\"task\":\"by_hand\"}", 0.5, "by hand");
    expect_progress("{\"task\":\"line_breaks\"}", 0.5, "a b c");
    expect_progress("{\"task\":\"open\"}", 0.1, "x"); /* a process that is left over does not keep it waiting */
}

static void garbage_harms_nothing(void **state)
{
    (void)state;
    json_t *task = run(&d, NULL, "{\"task\":\"garbage\"}");
    expect_state(task, "succeeded");
    expect_text(task, "progress_message", "after it");
    char target[128];
    struct answer answer = {0};
    (void)snprintf(target, sizeof target, "/v1/tasks/%s/log", text_of(task, "id"));
    ask(&d, &answer, "GET", target, NULL, NULL);
    const char *mark = strstr(answer.body, "[satcheld: not progress");
    assert_non_null(mark);
    assert_null(strstr(mark + 1, "[satcheld: not progress")); /* once */
    answer_release(&answer);
    json_decref(task);
    expect_progress("{\"task\":\"flood\"}", 0.9, "the last");
}

static void who_does_not_use_it_has_none(void **state)
{
    (void)state;
    json_t *task = run(&d, NULL, "{\"task\":\"closed\"}");
    expect_state(task, "succeeded");
    expect_number(task, "result", 3);
    assert_true(json_is_null(json_object_get(task, "progress")));
    json_decref(task);
}

static void outside_a_task(void **state)
{
    (void)state;
    struct cli c;
    static const char *const no_descriptor[] = {"", "x", "-1", "0", "99", "1000000000000", "3x"};
    cli_run(&c, 78, NULL, ARGS("progress", "0.5", "message"));
    cli_expect_error(&c, "SATCHEL_PROGRESS_FD");
    cli_release(&c);
    for (size_t i = 0; i < sizeof no_descriptor / sizeof no_descriptor[0]; i++) {
        assert_int_equal(setenv("SATCHEL_PROGRESS_FD", no_descriptor[i], 1), 0); /* 0 is open for reading alone */
        cli_run(&c, 78, NULL, ARGS("progress", "0.5"));
        cli_release(&c);
    }
    assert_int_equal(setenv("SATCHEL_PROGRESS_FD", "1", 1), 0);
    cli_run(&c, 0, NULL, ARGS("progress", "0.5", "two", "words"));
    assert_string_equal(c.out, "0.500000 two words\n");
    cli_release(&c);
    char *longer = malloc(5001);
    memset(longer, 'x', 5000);
    longer[5000] = '\0';
    cli_run(&c, 0, NULL, ARGS("progress", "1", longer));
    assert_int_equal(strlen(c.out), strlen("1.000000 ") + 1000 + 1);
    cli_release(&c);
    free(longer);
    static const char *const bad[] = {"", "1.5", "-1", "half", "nan", "0x1", "50%", "1e-1", "."};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cli_run(&c, 64, NULL, ARGS("progress", "--", bad[i]));
        cli_release(&c);
    }
    cli_run(&c, 64, NULL, ARGS("progress"));
    cli_release(&c);
    assert_int_equal(unsetenv("SATCHEL_PROGRESS_FD"), 0);
}

/* The task as it ended; with many attempts, and pauses between them that no test would wait for. */
static json_t *failing(const char *type)
{
    char body[256];
    (void)snprintf(
        body, sizeof body,
        "{\"task\":\"%s\",\"max_attempts\":3,\"backoff\":{\"type\":\"fixed\",\"base\":\"1h\",\"jitter\":false}}", type);
    return run(&d, NULL, body);
}

static void expect_failure(const char *type, const char *error, const char *message, int exit_code)
{
    json_t *task = failing(type);
    const json_t *failure = json_object_get(task, "error");
    expect_state(task, "failed");
    expect_number(task, "attempt", 1);
    expect_text(failure, "type", error);
    expect_text(failure, "message", message);
    if (exit_code)
        expect_number(task, "exit_code", exit_code);
    else
        expect_number(failure, "signal", 11);
    json_decref(task);
}

static void a_failure_that_is_final(void **state)
{
    (void)state;
    expect_failure("final", "exit", "no such customer", 3);
    expect_failure("last_word", "exit", "exit status 1", 1);
    expect_failure("killed", "signal", "boom", 0);
}

static void a_failure_with_a_reason(void **state)
{
    (void)state;
    json_t *task = run(&d, NULL, "{\"task\":\"reason\"}");
    expect_state(task, "failed");
    expect_number(task, "exit_code", 1);
    expect_text(json_object_get(task, "error"), "message", "because");
    json_decref(task);
}

static void a_failure_that_passes(void **state)
{
    (void)state;
    char target[128];
    struct answer answer = {0};
    json_t *task = failing("later");
    expect_state(task, "succeeded");
    expect_number(task, "attempt", 2);
    (void)snprintf(target, sizeof target, "/v1/tasks/%s?attempts=true", text_of(task, "id"));
    ask(&d, &answer, "GET", target, NULL, NULL);
    json_t *whole = json_loads(answer.body, 0, NULL);
    const json_t *first = json_array_get(json_object_get(whole, "attempts"), 0);
    expect_text(json_object_get(first, "error"), "message", "not yet");
    assert_true(time_of(task, "started_at") - time_of(first, "finished_at") >= 200000);
    json_decref(whole);
    answer_release(&answer);
    json_decref(task);
    task = failing("all_the_same"); /* with an exit status that is final otherwise */
    expect_state(task, "succeeded");
    expect_number(task, "attempt", 2);
    json_decref(task);
}

static void who_succeeds_has_not_failed(void **state)
{
    (void)state;
    json_t *task = failing("never_mind");
    expect_state(task, "succeeded");
    json_decref(task);
}

static void wrong_failures(void **state)
{
    (void)state;
    struct cli c;
    cli_run(&c, 78, NULL, ARGS("fail", "--final", "x"));
    cli_release(&c);
    assert_int_equal(setenv("SATCHEL_PROGRESS_FD", "1", 1), 0);
    cli_run(&c, 64, NULL, ARGS("fail", "--final", "--retry-in", "3s"));
    cli_release(&c);
    cli_run(&c, 64, NULL, ARGS("fail", "--retry-in", "soon"));
    cli_release(&c);
    cli_run(&c, 1, NULL, ARGS("fail", "--retry-in=1.5s", "a\nb", "c"));
    assert_string_equal(c.out, "retry-in 1.5s a b c\n");
    cli_release(&c);
    assert_int_equal(unsetenv("SATCHEL_PROGRESS_FD"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_seen_while_it_runs),     cmocka_unit_test(lines_by_hand),
        cmocka_unit_test(garbage_harms_nothing),        cmocka_unit_test(outside_a_task),
        cmocka_unit_test(who_does_not_use_it_has_none), cmocka_unit_test(a_failure_that_is_final),
        cmocka_unit_test(a_failure_with_a_reason),      cmocka_unit_test(a_failure_that_passes),
        cmocka_unit_test(who_succeeds_has_not_failed),  cmocka_unit_test(wrong_failures),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
