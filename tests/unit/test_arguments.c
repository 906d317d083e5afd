/* The daemon's command line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "config/arguments.h"
#include "config/options.h"
#include "proto/buf.h"

static struct arguments arguments;
static char error[256];

/* Up to 8 words after the program's name; the strings are not written to. */
#define PARSE(...) parse((const char *const[]){"satcheld", __VA_ARGS__, NULL})
static int parse(const char *const *words)
{
    union {
        const char *text;
        char *bare;
    } copy;
    char *argv[80];
    int argc = 0;
    for (; words[argc]; argc++) {
        copy.text = words[argc];
        argv[argc] = copy.bare;
    }
    error[0] = '\0';
    return arguments_parse(argc, argv, &arguments, error, sizeof error);
}

static void test_nothing(void **state)
{
    (void)state;
    assert_int_equal(parse((const char *const[]){"satcheld", NULL}), 0);
    assert_int_equal(arguments.action, ARGUMENTS_SERVE);
    assert_null(arguments.overrides.file);
    assert_int_equal(arguments.overrides.n_listen, 0);
}

static void test_all(void **state)
{
    (void)state;
    assert_int_equal(PARSE("--config", "/x.conf", "--listen=127.0.0.1:1", "--listen", "unix:/s", "--data-dir=/d",
                           "--store", "sqlite:/f", "--workers=3", "--log-level", "debug"),
                     0);
    const struct config_overrides *o = &arguments.overrides;
    assert_string_equal(o->file, "/x.conf");
    assert_int_equal(o->n_listen, 2);
    assert_string_equal(o->listen[0], "127.0.0.1:1");
    assert_string_equal(o->listen[1], "unix:/s");
    assert_string_equal(o->data_dir, "/d");
    assert_string_equal(o->store, "sqlite:/f");
    assert_string_equal(o->workers, "3");
    assert_string_equal(o->log_level, "debug");
}

static void test_actions(void **state)
{
    (void)state;
    assert_int_equal(PARSE("--check", "--config=/x"), 0);
    assert_int_equal(arguments.action, ARGUMENTS_CHECK);
    assert_int_equal(PARSE("--print-config"), 0);
    assert_int_equal(arguments.action, ARGUMENTS_PRINT_CONFIG);
    assert_int_equal(PARSE("--version"), 0);
    assert_int_equal(arguments.action, ARGUMENTS_VERSION);
    assert_int_equal(PARSE("-V"), 0);
    assert_int_equal(arguments.action, ARGUMENTS_VERSION);
    assert_int_equal(PARSE("--check", "-h"), 0);
    assert_int_equal(arguments.action, ARGUMENTS_HELP);
}

static void test_beginnings(void **state)
{
    (void)state;
    assert_int_equal(PARSE("--work=3"), 0);
    assert_string_equal(arguments.overrides.workers, "3");
    assert_int_equal(PARSE("--c=3"), -1); /* --config, --check */
    assert_int_equal(PARSE("--l=3"), -1); /* --listen, --log-level */
}

static void test_wrong(void **state)
{
    (void)state;
    assert_int_equal(PARSE("--nonsense"), -1);
    assert_non_null(strstr(error, "--nonsense"));
    assert_int_equal(PARSE("start"), -1);
    assert_int_equal(PARSE("-x"), -1);
    assert_int_equal(PARSE("--"), -1);
    assert_int_equal(PARSE("--="), -1);
    assert_int_equal(PARSE(""), -1);
    assert_int_equal(PARSE("--config"), -1);
    assert_non_null(strstr(error, "--config needs a value"));
    assert_int_equal(PARSE("--config="), -1);
    assert_int_equal(PARSE("--check=yes"), -1);
    assert_non_null(strstr(error, "--check takes no value"));
}

static void test_too_many_addresses(void **state)
{
    (void)state;
    const char *words[80] = {"satcheld"};
    for (int i = 1; i <= ARGUMENTS_MAX_LISTEN + 1; i++)
        words[i] = "--listen=127.0.0.1:0";
    assert_int_equal(parse(words), -1);
    words[ARGUMENTS_MAX_LISTEN + 1] = NULL;
    assert_int_equal(parse(words), 0);
    assert_int_equal(arguments.overrides.n_listen, ARGUMENTS_MAX_LISTEN);
}

static void collect(void *arg, const char *line)
{
    assert_true(strlen(line) <= 88 || strstr(line, SATCHEL_SYSCONFDIR));
    buf_printf(arg, "%s\n", line);
}

static void test_help_names_every_option(void **state)
{
    (void)state;
    struct buf text = BUF_INIT;
    arguments_help(collect, &text);
    static const char *const fixed[] = {"--config=FILE",  "--listen=ADDR", "--data-dir=DIR",
                                        "--store=URL",    "--workers=N",   "--check",
                                        "--print-config", "--version",     "--help"};
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
        if (!strstr(text.data, fixed[i]))
            fail_msg("no %s in:\n%s", fixed[i], text.data);
    for (size_t i = 0; i < N_OPTIONS; i++)
        if (options[i].argument)
            assert_non_null(strstr(text.data, options[i].argument));
    buf_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_actions),
        cmocka_unit_test(test_beginnings),
        cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_too_many_addresses),
        cmocka_unit_test(test_help_names_every_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
