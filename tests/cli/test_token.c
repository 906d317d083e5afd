/* satchel token: what it prints, what it writes, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/cli/cli.h"

static char directory[] = "/tmp/satchel-cli-token-XXXXXX";
static char path[64];

static int setup(void **state)
{
    (void)state;
    cli_environment(NULL);
    return mkdtemp(directory) && snprintf(path, sizeof path, "%s/tokens", directory) > 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    remove_tree(directory);
    return 0;
}

static int fresh(void **state)
{
    (void)state;
    (void)unlink(path);
    return 0;
}

#define RUN(code, ...)                                                                                                 \
    do {                                                                                                               \
        cli_release(&c);                                                                                               \
        cli_run(&c, (code), NULL, ARGS("token", __VA_ARGS__));                                                         \
    } while (0)

static void a_token_is_made_listed_and_revoked(void **state)
{
    (void)state;
    struct cli c = {0};
    char token[128], id[13];
    RUN(0, "create", "--file", path, "--tenant", "acme,globex", "--scope", "submit,read", "--expires", "90d");
    assert_int_equal(strlen(c.out), 77); /* the token and a line's end: nothing else */
    assert_memory_equal(c.out, "sat_", 4);
    assert_string_equal(c.err, "");
    (void)snprintf(token, sizeof token, "%.76s", c.out);
    (void)snprintf(id, sizeof id, "%.12s", token + 4);
    RUN(0, "create", "-f", path, "-t", "*", "-s", "admin");
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    char *text = read_file(path);
    assert_null(strstr(text, token));
    assert_null(strstr(text, token + 17));
    assert_non_null(strstr(text, id));
    free(text);
    RUN(0, "list", "--file", path);
    cli_expect(&c, id);
    cli_expect(&c, "acme,globex");
    cli_expect(&c, "never");
    cli_expect_not(&c, token + 17);
    RUN(0, "list", "--file", path, "--json");
    cli_expect(&c, "\"tenants\":[\"acme\",\"globex\"]");
    cli_expect(&c, "\"expires_at\":null");
    RUN(65, "revoke", "--file", path, "aaaaaaaaaaaa");
    cli_expect_error(&c, "there is no token of the id aaaaaaaaaaaa");
    RUN(0, "revoke", "--file", path, id);
    RUN(0, "list", "--file", path);
    cli_expect_not(&c, id);
    cli_expect(&c, "admin");
    RUN(65, "revoke", "--file", path, id);
    cli_release(&c);
}

static void as_json(void **state)
{
    (void)state;
    struct cli c = {0};
    RUN(0, "create", "--file", path, "--tenant", "t", "--scope", "read", "--expires", "2099-01-02T03:04:05Z", "--json");
    cli_expect(&c, "\"token\":\"sat_");
    cli_expect(&c, "\"expires_at\":\"2099-01-02T03:04:05.000000Z\"");
    cli_release(&c);
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    struct cli c = {0};
    RUN(64, "create", "--tenant", "t", "--scope", "read");
    cli_expect_error(&c, "--file is missing");
    RUN(64, "create", "--file", path, "--scope", "read");
    cli_expect_error(&c, "--tenant");
    RUN(64, "create", "--file", path, "--tenant", "t");
    cli_expect_error(&c, "--scope");
    RUN(64, "create", "--file", path, "--tenant", "t", "--scope", "write");
    RUN(64, "create", "--file", path, "--tenant", "t,,u", "--scope", "read");
    RUN(64, "create", "--file", path, "--tenant", "t,*", "--scope", "read");
    cli_expect_error(&c, "stands alone");
    RUN(64, "create", "--file", path, "--tenant", "a b", "--scope", "read");
    RUN(64, "create", "--file", path, "--tenant", "t", "--scope", "read", "--expires", "soon");
    RUN(64, "create", "--file", path, "--tenant", "t", "--scope", "read", "--expires", "2001-01-01T00:00:00Z");
    RUN(64, "create", "--file", path, "--tenant", "t", "--scope", "read", "more");
    RUN(64, "destroy", "--file", path);
    RUN(64, "--file", path);
    RUN(64, "revoke", "--file", path);
    RUN(64, "revoke", "--file", path, "sat_notatoken");
    cli_expect_not(&c, "sat_notatoken");
    assert_null(strstr(c.err, "sat_notatoken")); /* it may be most of a secret */
    assert_int_equal(access(path, F_OK), -1);    /* nothing was made */
    RUN(78, "list", "--file", path);
    cli_expect_error(&c, "No such file");
    RUN(78, "create", "--file", "/nonexistent/tokens", "--tenant", "t", "--scope", "read");
    assert_string_equal(c.out, ""); /* no token that is kept nowhere */
    write_file(path, "precious\n");
    RUN(78, "create", "--file", path, "--tenant", "t", "--scope", "read");
    cli_expect_error(&c, "is not a file of tokens");
    char *text = read_file(path);
    assert_string_equal(text, "precious\n");
    free(text);
    cli_release(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_token_is_made_listed_and_revoked, fresh),
        cmocka_unit_test_setup(as_json, fresh),
        cmocka_unit_test_setup(what_is_wrong_is_said, fresh),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
