#include "tests/api/tls_fixture.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct satcheld d;
char folder[] = "/tmp/satchel-tls-XXXXXX";
struct tls_wish wish;
int port;

void configure(const char *more, const char *rest)
{
    char *text;
    assert_true(asprintf(&text,
                         "listen = {\"127.0.0.1:0\", \"https://127.0.0.1:0\"}\nheader_timeout = \"1s\"\n"
                         "tls {\n  certificate = \"%s/server.pem\"\n  key = \"%s/server.key\"\n  %s\n}\n%s",
                         folder, folder, more, rest) > 0);
    satcheld_configure(&d, text);
    free(text);
}

void start(const char *more, const char *rest)
{
    satcheld_init(&d, NULL);
    d.listen = "";
    configure(more, rest);
    satcheld_start(&d);
    port = satcheld_tls_port(&d);
}

void stop(void)
{
    satcheld_stop(&d);
    satcheld_release(&d);
}

static int reloads(void)
{
    static const char said[] = "the configuration was reloaded";
    char *log = satcheld_log(&d);
    int n = 0;
    for (const char *at = log; (at = strstr(at, said)) != NULL; at++)
        n++;
    free(log);
    return n;
}

static bool reloaded(void *arg)
{
    return reloads() > *(int *)arg;
}

void reload(void)
{
    int before = reloads();
    satcheld_signal(&d, SIGHUP);
    assert_true(until(reloaded, &before, WAIT_MS));
}

char *with_ca(const char *more)
{
    char *text;
    assert_true(asprintf(&text, "client_ca = \"%s/ca.pem\" %s", folder, more) > 0);
    return text;
}

int set_up(void **state)
{
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    assert_non_null(mkdtemp(folder));
    make_certificates(folder);
    wish = (struct tls_wish){.dir = folder, .ca = "ca"};
    return 0;
}

int tear_down(void **state)
{
    (void)state;
    remove_tree(folder);
    return 0;
}

char *expect(const struct tls_wish *with, int status, const char *method, const char *target, const char *headers,
             const char *body)
{
    char *text, error[256];
    int got = tls_ask(port, with, method, target, headers, body, &text, error);
    if (got != status)
        fail_msg("%s %s: %d, not %d (%s)\n%s", method, target, got, status, error, text ? text : "");
    return text;
}

void expect_no_answer(const struct tls_wish *with, const char *why)
{
    char *text, error[256];
    int got = tls_ask(port, with, "GET", "/healthz", NULL, NULL, &text, error);
    if (got != -1 || !strstr(error, why))
        fail_msg("status %d, error \"%s\", not \"%s\"", got, error, why);
}

void expect_served(const struct tls_wish *with)
{
    free(expect(with, 200, "GET", "/healthz", NULL, NULL));
}
