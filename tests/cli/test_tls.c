/* satchel over TLS: whom it trusts, what it shows, and what it says when one of both does not fit. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/api/tls_fixture.h"
#include "tests/cli/cli.h"

static char *file_named(const char *name)
{
    char *path;
    assert_true(asprintf(&path, "%s/%s", folder, name) > 0);
    return path;
}

static void begin(const char *more, const char *rest)
{
    char url[64];
    start(more, rest);
    cli_environment(&d);
    (void)snprintf(url, sizeof url, "https://localhost:%d", port);
    cli_url(url);
    (void)unsetenv("SATCHEL_CA_FILE");
    (void)unsetenv("SATCHEL_CERT");
    (void)unsetenv("SATCHEL_KEY");
}

/* Echoes over TLS with these options; else ends with `code` and says `why`. */
static void echo(int code, const char *why, const char *ca, const char *cert, const char *key)
{
    const char *args[16] = {"run", "satchel.echo", "\"through\""};
    const char *options[] = {"--ca-file", "--cert", "--key"}, *names[] = {ca, cert, key};
    char *paths[3] = {NULL};
    size_t n = 3;
    struct cli c;
    for (size_t i = 0; i < 3; i++) {
        if (!names[i])
            continue;
        args[n++] = options[i];
        args[n++] = paths[i] = file_named(names[i]);
    }
    cli_run(&c, code, NULL, args);
    if (code == 0)
        assert_string_equal(c.out, "\"through\"\n");
    else
        cli_expect_error(&c, why);
    cli_release(&c);
    for (size_t i = 0; i < 3; i++)
        free(paths[i]);
}

static void test_the_daemons_certificate(void **state)
{
    (void)state;
    begin("", "");
    echo(0, NULL, "ca.pem", NULL, NULL);
    echo(69, "is not to be trusted", "other-ca.pem", NULL, NULL);
    echo(69, "SATCHEL_CA_FILE", NULL, NULL, NULL); /* how to name it is said */
    echo(78, "cannot read", "nothing.pem", NULL, NULL);
    echo(69, "cannot be read", "server.key", NULL, NULL);
    /* The right issuer, another name. */
    const struct certificate elsewhere = {
        .dir = folder, .name = "server", .issuer = "ca", .alternatives = "DNS:elsewhere.example"};
    make_certificate(&elsewhere);
    reload();
    echo(69, "matches target host name", "ca.pem", NULL, NULL);
    stop();
    make_certificates(folder);
}

static void test_expired(void **state)
{
    (void)state;
    const struct certificate expired = {.dir = folder,
                                        .name = "server",
                                        .issuer = "ca",
                                        .alternatives = "DNS:localhost",
                                        .from_s = -7200,
                                        .until_s = -3600};
    make_certificate(&expired);
    begin("", "");
    echo(69, "certificate has expired", "ca.pem", NULL, NULL);
    stop();
    make_certificates(folder);
}

static void test_the_clients_certificate(void **state)
{
    (void)state;
    char *section = with_ca(""), *both, *pem = file_named("client.pem"), *key = file_named("client.key");
    begin(section, "auth { certificate \"CN:deploy\" { tenants = {\"acme\"} } }\n");
    echo(0, NULL, "ca.pem", "client.pem", "client.key");
    echo(77, "wants a certificate from its clients", "ca.pem", NULL, NULL);
    echo(77, "does not accept the client's certificate", "ca.pem", "stranger.pem", "stranger.key");
    echo(77, "cannot be used", "ca.pem", "client.pem", "server.key");
    echo(77, "cannot be used", "ca.pem", "client.pem", NULL);
    echo(78, "cannot read", "ca.pem", "client.pem", "nothing.key");
    echo(77, "grants nothing to this certificate", "ca.pem", "server.pem", "server.key");
    /* Certificate and key in one file. */
    char *first = read_file(pem), *second = read_file(key), *path = file_named("both.pem");
    assert_true(asprintf(&both, "%s%s", second, first) > 0);
    write_file(path, both);
    echo(0, NULL, "ca.pem", "both.pem", NULL);
    free(first);
    free(second);
    free(both);
    free(path);
    free(pem);
    free(key);
    free(section);
    stop();
}

static void test_environment(void **state)
{
    (void)state;
    char *section = with_ca(""), *ca = file_named("ca.pem"), *pem = file_named("client.pem"),
         *key = file_named("client.key");
    struct cli c;
    begin(section, "auth { certificate \"CN:deploy\" { tenants = {\"acme\"} } }\n");
    assert_int_equal(setenv("SATCHEL_CA_FILE", ca, 1) | setenv("SATCHEL_CERT", pem, 1) | setenv("SATCHEL_KEY", key, 1),
                     0);
    cli_run(&c, 0, NULL, ARGS("run", "satchel.context"));
    cli_expect(&c, "\"tenant\":\"acme\"");
    cli_release(&c);
    assert_int_equal(setenv("SATCHEL_CERT", "/nonexistent", 1), 0);
    cli_run(&c, 78, NULL, ARGS("list"));
    cli_expect_error(&c, "SATCHEL_CERT");
    cli_release(&c);
    assert_int_equal(unsetenv("SATCHEL_CA_FILE") | unsetenv("SATCHEL_CERT") | unsetenv("SATCHEL_KEY"), 0);
    free(section);
    free(ca);
    free(pem);
    free(key);
    stop();
}

/* Each verb's way: submit, wait, watch, logs, list. */
static void test_verbs(void **state)
{
    (void)state;
    char *ca = file_named("ca.pem"), id[64];
    struct cli c;
    begin("", "task \"say\" { command = {\"/bin/sh\", \"-c\", \"echo said >&2; echo 1\"} }\n");
    assert_int_equal(setenv("SATCHEL_CA_FILE", ca, 1), 0);
    cli_run(&c, 0, NULL, ARGS("submit", "say"));
    (void)snprintf(id, sizeof id, "%.36s", c.out);
    cli_release(&c);
    cli_run(&c, 0, NULL, ARGS("wait", id));
    cli_release(&c);
    cli_run(&c, 0, NULL, ARGS("logs", "--follow", id));
    assert_string_equal(c.out, "said\n");
    cli_release(&c);
    cli_run(&c, 0, NULL, ARGS("watch", id));
    cli_expect(&c, "succeeded");
    cli_release(&c);
    cli_run(&c, 0, NULL, ARGS("list"));
    cli_expect(&c, id);
    cli_release(&c);
    assert_int_equal(unsetenv("SATCHEL_CA_FILE"), 0);
    free(ca);
    stop();
}

static void test_wrong_scheme(void **state)
{
    (void)state;
    char url[64];
    begin("", "");
    (void)snprintf(url, sizeof url, "http://localhost:%d", port);
    cli_url(url);
    echo(65, "use https://", NULL, NULL, NULL);
    (void)snprintf(url, sizeof url, "https://localhost:%d", d.port);
    cli_url(url);
    echo(69, "does not speak TLS", "ca.pem", NULL, NULL);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_daemons_certificate),
        cmocka_unit_test(test_expired),
        cmocka_unit_test(test_the_clients_certificate),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_verbs),
        cmocka_unit_test(test_wrong_scheme),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
