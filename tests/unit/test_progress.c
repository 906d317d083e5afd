/* The lines in which a command tells its progress: whole and in pieces, good, bad, too long and too many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "executor/command_progress.h"

struct heard { /* what the host was told */
    unsigned tells, logs;
    double fraction;
    char message[2048], log[512];
};

static void on_progress(void *arg, struct attempt *attempt, double fraction, struct slice message)
{
    struct heard *h = arg;
    (void)attempt;
    h->tells++;
    h->fraction = fraction;
    assert_true(message.len < sizeof h->message);
    memcpy(h->message, message.data, message.len);
    h->message[message.len] = '\0';
}

static void on_log(void *arg, struct attempt *attempt, struct slice lines)
{
    struct heard *h = arg;
    (void)attempt;
    h->logs++;
    assert_true(lines.len < sizeof h->log);
    memcpy(h->log, lines.data, lines.len);
    h->log[lines.len] = '\0';
}

static const struct attempt_host host = {.progress = on_progress, .log = on_log};

static struct heard heard;
static struct attempt attempt;
static struct command_progress progress;

static void begin(void)
{
    heard = (struct heard){.fraction = -1};
    attempt = (struct attempt){.host = &host, .host_arg = &heard};
    progress = (struct command_progress){.attempt = &attempt};
}

static void take(const char *text)
{
    command_progress_take(&progress, text, strlen(text));
}

static void expect(const char *text, double fraction, const char *message)
{
    begin();
    take(text);
    command_progress_end(&progress);
    if (heard.tells != 1 || heard.fraction != fraction || strcmp(heard.message, message) != 0)
        fail_msg("\"%s\": told %u times, %g \"%s\"", text, heard.tells, heard.fraction, heard.message);
    assert_int_equal(heard.logs, 0);
}

static void test_good_lines(void **state)
{
    (void)state;
    expect("0.25 half of the half\n", 0.25, "half of the half");
    expect("0\n", 0, "");
    expect("1\n", 1, "");
    expect("1.000 done\r\n", 1, "done");
    expect(".5\tx\n", 0.5, "x");
    expect("0.5   blanks \n", 0.5, "blanks ");
    expect("0.75 without an end", 0.75, "without an end");
    expect("0.1 \x1b[31mred\x01\n", 0.1, " [31mred ");
    expect("0.1 \xff\xfe\n", 0.1, "\xff\xfe"); /* whoever shows it makes text of it */
    expect("\n\n0.2 x\n\n", 0.2, "x");
}

static void expect_verdict(const char *text, bool final, bool again, int64_t pause_us, const char *message)
{
    begin();
    take(text);
    command_progress_end(&progress);
    const struct command_verdict *v = &progress.verdict;
    if (!v->said || v->final != final || v->again != again || v->pause_us != pause_us ||
        v->message_len != strlen(message) || memcmp(v->message, message, v->message_len) != 0)
        fail_msg("\"%s\": final %d, again %d after %lld, \"%.*s\"", text, v->final, v->again, (long long)v->pause_us,
                 (int)v->message_len, v->message);
    assert_int_equal(heard.tells + heard.logs, 0);
}

static void test_verdicts(void **state)
{
    (void)state;
    expect_verdict("error it is so\n", false, false, 0, "it is so");
    expect_verdict("error\n", false, false, 0, "");
    expect_verdict("no-retry", true, false, 0, "");
    expect_verdict("no-retry\tnever\x1b\r\n", true, false, 0, "never ");
    expect_verdict("retry-in 250ms  in a moment\n", false, true, 250000, "in a moment");
    expect_verdict("retry-in 0\n", false, true, 0, "");
    expect_verdict("no-retry a\nretry-in 2h b\n", false, true, INT64_C(7200000000), "b"); /* the last one counts */
    expect_verdict("retry-in 2h b\nno-retry a\n", true, false, 0, "a");
    static const char *const bad[] = {"retry-in\n", "retry-in x\n", "retry-in -1s\n", "retries\n",
                                      "errors x\n", "no-retryx\n",  "Error x\n",      "no retry\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        begin();
        take(bad[i]);
        command_progress_end(&progress);
        assert_int_equal(heard.logs, 1);
    }
    begin();
    take("no-retry ");
    for (int i = 0; i < 100000; i++)
        take("longer and longer");
    command_progress_end(&progress);
    assert_true(progress.verdict.final && progress.verdict.message_len == PROGRESS_LINE_MAX - strlen("no-retry "));
}

static void test_bad_lines(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "1.1\n",    "-0.1 x\n", "2\n",    "nan\n", "inf\n",
        "0x1p-2\n", "1e-3\n",   "0..1\n", ".\n",   "x 0.5\n",
        "0.5x\n",   " 0.5\n",   "0,5\n",  "50%\n", "0.00000000000000000000000000000000000000001\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        begin();
        take(bad[i]);
        take(bad[i]);
        command_progress_end(&progress);
        if (heard.tells != 0 || heard.logs != 1)
            fail_msg("\"%s\": told %u times, noted %u times", bad[i], heard.tells, heard.logs);
        assert_non_null(strstr(heard.log, "a number from 0 to 1"));
    }
    begin();
    take("bad\x1b[2J\n0.5 good\n");
    assert_int_equal(heard.tells, 1); /* a bad one does not harm the others */
    assert_null(strchr(heard.log, 0x1b));
}

static void test_a_nul_is_no_number(void **state)
{
    (void)state;
    begin();
    command_progress_take(&progress, "0.5\0\n", 5);
    command_progress_take(&progress, "0.5 a\0b\n", 8);
    command_progress_end(&progress);
    assert_int_equal(heard.logs, 1);
    assert_string_equal(heard.message, "a b");
}

static void test_in_pieces(void **state)
{
    (void)state;
    static const char text[] = "0.125 one message\n";
    for (size_t cut = 0; cut < sizeof text; cut++) {
        begin();
        command_progress_take(&progress, text, cut);
        command_progress_take(&progress, text + cut, sizeof text - 1 - (cut < sizeof text - 1 ? cut : sizeof text - 1));
        command_progress_end(&progress);
        assert_int_equal(heard.tells, 1);
        assert_string_equal(heard.message, "one message");
    }
}

static void test_a_long_line(void **state)
{
    (void)state;
    begin();
    take("0.5 ");
    for (int i = 0; i < 100000; i++)
        take("0.9 abcdef");
    take("\n");
    command_progress_end(&progress);
    assert_int_equal(heard.tells, 1);
    assert_true(heard.fraction == 0.5);
    assert_int_equal(strlen(heard.message), PROGRESS_LINE_MAX - 4);
}

static void test_the_last_of_many(void **state)
{
    (void)state;
    begin();
    int64_t start = clock_mono_ns();
    for (int i = 0; i <= 10000; i++) {
        char line[64];
        (void)snprintf(line, sizeof line, "%.6f step %d\n", i / 10000.0, i);
        take(line);
    }
    command_progress_end(&progress);
    int64_t spent = clock_mono_ns() - start;
    assert_true(heard.tells >= 2);
    assert_true(heard.tells <= 3 + (unsigned)(spent / 100000000)); /* ten a second */
    assert_true(heard.fraction == 1);
    assert_string_equal(heard.message, "step 10000");
}

static void test_when_it_is_due(void **state)
{
    (void)state;
    begin();
    assert_true(command_progress_due(&progress) < 0);
    take("0.1 first\n"); /* at once */
    assert_int_equal(heard.tells, 1);
    assert_true(command_progress_due(&progress) < 0);
    take("0.2 second\n");
    int64_t due = command_progress_due(&progress);
    assert_true(due >= 0 && due <= 100000000);
    progress.next_ns = clock_mono_ns(); /* time passes */
    assert_int_equal(command_progress_due(&progress), 0);
    command_progress_tell(&progress);
    assert_int_equal(heard.tells, 2);
    assert_string_equal(heard.message, "second");
    command_progress_tell(&progress);
    assert_int_equal(heard.tells, 2);
}

static void test_any_bytes(void **state)
{
    (void)state;
    unsigned seed = 7;
    for (int round = 0; round < 300; round++) {
        char bytes[4096];
        begin();
        for (size_t i = 0; i < sizeof bytes; i++) {
            seed = seed * 1103515245u + 12345u;
            bytes[i] = seed >> 28 ? (char)(seed >> 16) : "0.1 \n9"[(seed >> 16) % 6];
        }
        for (size_t at = 0, part; at < sizeof bytes; at += part) {
            part = 1 + (seed >> 8) % 200;
            part = part < sizeof bytes - at ? part : sizeof bytes - at;
            command_progress_take(&progress, bytes + at, part);
        }
        command_progress_end(&progress);
        assert_true(heard.logs <= 1);
        assert_true(heard.tells == 0 || (heard.fraction >= 0 && heard.fraction <= 1));
    }
}

static void test_nobody_listens(void **state)
{
    (void)state;
    begin();
    attempt.host = NULL;
    take("0.5 x\nbad\n");
    command_progress_end(&progress);
    static const struct attempt_host deaf = {.progress = NULL};
    attempt.host = &deaf;
    take("0.6 x\nbad\n");
    command_progress_end(&progress);
    assert_int_equal(heard.tells + heard.logs, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_lines),       cmocka_unit_test(test_bad_lines),
        cmocka_unit_test(test_verdicts),         cmocka_unit_test(test_a_nul_is_no_number),
        cmocka_unit_test(test_in_pieces),        cmocka_unit_test(test_a_long_line),
        cmocka_unit_test(test_the_last_of_many), cmocka_unit_test(test_when_it_is_due),
        cmocka_unit_test(test_any_bytes),        cmocka_unit_test(test_nobody_listens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
