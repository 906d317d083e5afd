/* The log: one bounded line per event, escaped, in each of its three forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <jansson.h>
#include <pty.h>
#include <satchel/context.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/systemd_loader.h"

static int saved_stderr = -1, reader = -1;
static char journal[8192]; /* what the journal was given, a field a line */
static int journal_result;
#define NO_LIBRARY (-2)

const struct systemd_functions *__wrap_systemd_load(void);

static int sendv(const struct iovec *parts, int n)
{
    size_t used = 0;
    for (int i = 0; i < n; i++)
        used += (size_t)snprintf(journal + used, sizeof journal - used, "%.*s\n", (int)parts[i].iov_len,
                                 (const char *)parts[i].iov_base);
    return journal_result;
}

const struct systemd_functions *__wrap_systemd_load(void)
{
    static const struct systemd_functions functions = {.journal_sendv = sendv};
    return journal_result == NO_LIBRARY ? NULL : &functions;
}

/* Standard error becomes a pipe or a terminal whose other end is `reader`. */
static void redirect(bool terminal)
{
    int ends[2];
    if (terminal) {
        assert_int_equal(openpty(&ends[0], &ends[1], NULL, NULL, NULL), 0);
        assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    } else {
        assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    }
    saved_stderr = dup(STDERR_FILENO);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    (void)close(ends[1]);
    reader = ends[0];
    log_open();
}

static const char *written(void)
{
    static char text[16384];
    ssize_t got = read(reader, text, sizeof text - 1);
    text[got > 0 ? got : 0] = '\0';
    return text;
}

static void restore(void)
{
    (void)dup2(saved_stderr, STDERR_FILENO);
    (void)close(saved_stderr);
    (void)close(reader);
}

static json_t *one_line(void)
{
    const char *text = written();
    size_t len = strlen(text);
    assert_true(len > 2 && len <= 4096);
    assert_ptr_equal(strchr(text, '\n'), text + len - 1);
    json_t *tree = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(tree);
    return tree;
}

static const char *member(const json_t *tree, const char *name)
{
    const char *text = json_string_value(json_object_get(tree, name));
    return text ? text : "(none)";
}

static void test_json_line(void **state)
{
    (void)state;
    redirect(false);
    LOG_INFO("task finished", LOG_TEXT("outcome", "succeeded"), LOG_NUMBER("took_us", -42));
    json_t *line = one_line();
    restore();
    assert_string_equal(member(line, "level"), "info");
    assert_string_equal(member(line, "message"), "task finished");
    assert_string_equal(member(line, "outcome"), "succeeded");
    assert_int_equal(json_integer_value(json_object_get(line, "took_us")), -42);
    assert_int_equal(strlen(member(line, "time")), 27);
    assert_null(json_object_get(line, "truncated"));
    assert_null(json_object_get(line, "tenant"));
    json_decref(line);
}

static void test_nothing_can_be_injected(void **state)
{
    (void)state;
    redirect(false);
    LOG_ERROR("a\n{\"level\":\"info\"}\x1b[2J", LOG_TEXT("path", "\"},\n\xff\xfe\x01"));
    json_t *line = one_line();
    restore();
    assert_string_equal(member(line, "message"), "a\n{\"level\":\"info\"}\x1b[2J");
    assert_int_equal(strncmp(member(line, "path"), "\"},\n\xef\xbf\xbd", 7), 0);
    json_decref(line);
}

static void test_line_is_bounded(void **state)
{
    (void)state;
    char *nasty = malloc(100001);
    assert_non_null(nasty);
    memset(nasty, '\x01', 100000);
    nasty[100000] = '\0';
    redirect(false);
    LOG_INFO(nasty, LOG_TEXT("one", nasty), LOG_TEXT("two", nasty), LOG_NUMBER("three", 3));
    json_t *line = one_line();
    assert_true(json_is_true(json_object_get(line, "truncated")));
    assert_int_equal(json_integer_value(json_object_get(line, "three")), 3);
    json_decref(line);
    memset(nasty, 'x', 100000);
    LOG_INFO(nasty, LOG_TEXT("one", nasty), LOG_TEXT("two", nasty), LOG_TEXT("four", nasty), LOG_NUMBER("three", 3));
    line = one_line();
    restore();
    assert_true(json_is_true(json_object_get(line, "truncated")));
    assert_int_equal(strlen(member(line, "one")), 1024);
    json_decref(line);
    free(nasty);
}

static void test_levels(void **state)
{
    (void)state;
    enum log_level level = LOG_LEVEL_ERROR;
    redirect(false);
    LOG_DEBUG("not shown");
    assert_string_equal(written(), "");
    log_level_set(LOG_LEVEL_WARNING);
    LOG_NOTICE("not shown");
    assert_string_equal(written(), "");
    LOG_WARNING("shown");
    assert_non_null(strstr(written(), "\"warning\""));
    log_level_set(LOG_LEVEL_DEBUG);
    LOG_DEBUG("shown");
    assert_non_null(strstr(written(), "\"debug\""));
    log_level_set(LOG_LEVEL_INFO);
    restore();
    assert_true(log_level_parse("debug", &level));
    assert_int_equal(level, LOG_LEVEL_DEBUG);
    assert_false(log_level_parse("DEBUG ", &level));
    assert_false(log_level_parse("", &level));
}

static void test_many_fields(void **state)
{
    (void)state;
    struct log_field fields[65] = {{0}};
    char names[64][16];
    for (int i = 0; i < 64; i++) {
        (void)snprintf(names[i], sizeof names[i], "f%d", i);
        fields[i] = LOG_NUMBER(names[i], i);
    }
    redirect(false);
    log_write(LOG_LEVEL_INFO, "many", fields);
    json_t *line = one_line();
    restore();
    assert_int_equal(json_integer_value(json_object_get(line, "f3")), 3);
    assert_true(json_object_size(line) < 40);
    json_decref(line);
}

static void set_text(satchel_known which, const char *text)
{
    assert_int_equal(satchel_set_string(satchel_known_var(which), text, NULL), SATCHEL_OK);
}

static void test_context_is_added(void **state)
{
    (void)state;
    satchel_context *context = satchel_context_new();
    satchel_var *key;
    satchel_trace trace;
    const satchel_var_spec spec = {
        .struct_size = sizeof spec, .name = "key", .type = &satchel_string_type, .flags = SATCHEL_VAR_SECRET};
    assert_non_null(context);
    assert_int_equal(satchel_context_enter(context), SATCHEL_OK);
    assert_int_equal(satchel_var_new(&spec, &key), SATCHEL_OK);
    assert_int_equal(satchel_set_string(key, "hush-hush", NULL), SATCHEL_OK);
    set_text(SATCHEL_TENANT, "acme");
    set_text(SATCHEL_REQUEST_ID, "r-1");
    set_text(SATCHEL_TASK_ID, "0190-x");
    set_text(SATCHEL_ATTEMPT, "2");
    static const char parent[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_int_equal(satchel_trace_parse(parent, strlen(parent), &trace), SATCHEL_OK);
    assert_int_equal(satchel_set_trace(&trace, NULL), SATCHEL_OK);
    redirect(false);
    LOG_INFO("inside", LOG_TEXT("request_id", "of the caller"));
    char *text = strdup(written());
    assert_int_equal(satchel_context_exit(context), SATCHEL_OK);
    LOG_INFO("outside");
    json_t *outside = one_line();
    restore();
    json_t *line = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(line);
    assert_string_equal(member(line, "tenant"), "acme");
    assert_string_equal(member(line, "task_id"), "0190-x");
    assert_string_equal(member(line, "attempt"), "2");
    assert_string_equal(member(line, "request_id"), "of the caller"); /* the caller's own field wins */
    assert_string_equal(member(line, "trace_id"), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_string_equal(member(line, "span_id"), "00f067aa0ba902b7");
    assert_null(strstr(text, "hush-hush"));
    assert_null(json_object_get(outside, "tenant"));
    json_decref(line);
    json_decref(outside);
    free(text);
    satchel_var_unref(key);
    satchel_context_unref(context);
}

static void test_text_on_a_terminal(void **state)
{
    (void)state;
    redirect(true);
    LOG_NOTICE("ready\x1b[31m\nfake", LOG_TEXT("where", "127.0.0.1:8640"), LOG_TEXT("why", "a b\x1b"),
               LOG_NUMBER("n", 7));
    const char *line = written();
    restore();
    log_open();
    assert_non_null(strstr(line, "notice  ready?[31m?fake  where=127.0.0.1:8640  why=\"a b\\u001b\"  n=7"));
    assert_null(strchr(line, '\x1b'));
}

static void pretend_journal(void)
{
    struct stat status;
    char stream[64];
    assert_int_equal(fstat(STDERR_FILENO, &status), 0);
    (void)snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
    assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
    log_open();
    journal[0] = '\0';
}

static void test_journal(void **state)
{
    (void)state;
    redirect(false);
    pretend_journal();
    journal_result = 0;
    LOG_WARNING("disk\nfull", LOG_TEXT("path", "/x\ny"), LOG_NUMBER("free_bytes", 12));
    assert_string_equal(journal, "MESSAGE=disk\nfull\nPRIORITY=4\nSYSLOG_IDENTIFIER=satcheld\nSATCHEL_PATH=/x\ny\n"
                                 "SATCHEL_FREE_BYTES=12\n");
    assert_string_equal(written(), "");
    journal_result = -1; /* the journal is gone: standard error still gets the line */
    LOG_WARNING("still here");
    json_t *line = one_line();
    assert_string_equal(member(line, "message"), "still here");
    json_decref(line);
    restore();
    redirect(false);
    pretend_journal();
    journal_result = NO_LIBRARY;
    LOG_WARNING("here as well");
    line = one_line();
    assert_string_equal(member(line, "message"), "here as well");
    json_decref(line);
    restore();
    assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
    log_open();
}

static void test_journal_of_another_stream(void **state)
{
    (void)state;
    static const char *const others[] = {"1:2", "", "x", "1", "1:2:3", "99999999999999999999999:1"};
    journal[0] = '\0';
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_int_equal(setenv("JOURNAL_STREAM", others[i], 1), 0);
        redirect(false);
        LOG_INFO("to the pipe");
        json_t *line = one_line();
        json_decref(line);
        restore();
    }
    assert_string_equal(journal, "");
    assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
    log_open();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_line),
        cmocka_unit_test(test_nothing_can_be_injected),
        cmocka_unit_test(test_line_is_bounded),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_many_fields),
        cmocka_unit_test(test_context_is_added),
        cmocka_unit_test(test_text_on_a_terminal),
        cmocka_unit_test(test_journal),
        cmocka_unit_test(test_journal_of_another_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
