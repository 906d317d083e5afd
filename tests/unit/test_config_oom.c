/* Memory that runs out at any one allocation: the configuration is loaded whole or refused with a reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/config.h"
#include "proto/buf.h"

static long left = -1; /* allocations until one fails; negative: none does */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);

static bool fails(void)
{
    return left >= 0 && left-- == 0;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

static const char text[] =
    "listen = {\"127.0.0.1:0\", \"unix:/x\"}\nworkers = 3\ndata_dir = /srv/x\n"
    "header \"X-R\" { var = r }\ntenant \"a\" { weight = 2 }\nplugin \"/p.so\" { config = x }\n"
    "task \"t\" { command = {\"/bin/true\", \"{{args.x}}\"} environment = {\"A=b\"} workdir = /tmp }\n"
    "task \"u\" { url = \"http://x/\" headers = {\"A: b\"} }\n"
    "auth { certificate \"CN:x\" { tenants = {\"a\"} } }\n"
    "tls { certificate = /c.pem key = \"credential:k\" client_ca = /a.pem client_crl = /r.pem min_version = 1.3 "
    "ciphers = ALL }\n";

static void count(void *arg, const char *line)
{
    assert_non_null(line);
    ++*(unsigned *)arg;
}

static void append(void *arg, const char *line)
{
    buf_printf(arg, "%s\n", line);
}

static void test_every_allocation_fails_once(void **state)
{
    const struct config_overrides overrides = {.file = *state};
    struct config *config = NULL;
    struct buf whole = BUF_INIT;
    unsigned problems = 0;
    long failures = 0;
    assert_int_equal(config_load(&overrides, count, &problems, &config), 0);
    config_print(config, append, &whole);
    config_unref(config);
    for (long n = 0;; n++) {
        config = NULL;
        problems = 0;
        left = n;
        int result = config_load(&overrides, count, &problems, &config);
        bool reached = left < 0;
        left = -1;
        if (result == 0) { /* what failed could be done without, or was not reached */
            struct buf again = BUF_INIT;
            config_print(config, append, &again);
            assert_string_equal(again.data, whole.data);
            buf_release(&again);
        } else {
            assert_null(config);
            assert_true(problems > 0);
            failures++;
        }
        config_unref(config);
        if (!reached)
            break;
        assert_true(n < 100000);
    }
    assert_true(failures > 40);
    buf_release(&whole);
}

static char path[] = "/tmp/satchel-oom-XXXXXX";

static int set_up(void **state)
{
    int fd = mkstemp(path);
    *state = path;
    return fd >= 0 && write(fd, text, sizeof text - 1) == (ssize_t)sizeof text - 1 && close(fd) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_allocation_fails_once)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
