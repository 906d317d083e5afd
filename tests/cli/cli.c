#include "tests/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PROGRAM TEST_BUILD_DIR "/client/satchel"
#define MAX_ARGS 64

extern char **environ;

static bool is_context(const char *entry)
{
    static const char *const ours[] = {"SATCHEL_", "X_", "TRACEPARENT=", "TRACESTATE=", "BAGGAGE="};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (strncmp(entry, ours[i], strlen(ours[i])) == 0 && strncmp(entry, "SATCHEL_LAUNCHER=", 17) != 0)
            return true;
    return false;
}

void cli_url(const char *url)
{
    assert_int_equal(setenv("SATCHEL_URL", url, 1), 0);
}

void cli_environment(const struct satcheld *d)
{
    char url[96];
    for (size_t i = 0; environ[i];) {
        char name[256];
        size_t len = strcspn(environ[i], "=");
        if (!is_context(environ[i]) || len >= sizeof name) {
            i++;
            continue;
        }
        memcpy(name, environ[i], len);
        name[len] = '\0';
        assert_int_equal(unsetenv(name), 0); /* the next one is at i now */
    }
    if (!d)
        return;
    (void)snprintf(url, sizeof url, "http://%s:%d", d->host, d->port);
    cli_url(url);
}

static char *path_of(const struct cli *c, const char *name)
{
    char *path;
    assert_true(asprintf(&path, "%s/%s", c->dir, name) > 0);
    return path;
}

static void become(const struct cli *c, const char *program, const char *const *args)
{
    const char *argv[MAX_ARGS + 2] = {program};
    static const struct {
        const char *name;
        int flags;
    } files[] = {{"in", O_RDONLY}, {"out", O_WRONLY | O_CREAT | O_TRUNC}, {"err", O_WRONLY | O_CREAT | O_TRUNC}};
    for (int i = 0; i < 3; i++) {
        char path[96];
        (void)snprintf(path, sizeof path, "%s/%s", c->dir, files[i].name);
        int fd = open(path, files[i].flags, 0600);
        if (fd < 0 || dup2(fd, i) < 0)
            _exit(126);
        if (fd > 2)
            (void)close(fd);
    }
    for (size_t i = 0; args[i] && i < MAX_ARGS; i++)
        argv[i + 1] = args[i];
    (void)execv(program, (char *const *)(uintptr_t)argv);
    _exit(127);
}

void cli_start_program(struct cli *c, const char *program, const char *input, const char *const *args)
{
    *c = (struct cli){.dir = "/tmp/satchel-cli.XXXXXX"};
    assert_non_null(mkdtemp(c->dir));
    char *in = path_of(c, "in");
    write_file(in, input ? input : "");
    free(in);
    c->pid = fork();
    assert_true(c->pid >= 0);
    if (c->pid == 0)
        become(c, program, args);
}

void cli_start(struct cli *c, const char *input, const char *const *args)
{
    cli_start_program(c, PROGRAM, input, args);
}

static bool has_ended(void *arg)
{
    struct cli *c = arg;
    int status;
    pid_t pid = waitpid(c->pid, &status, WNOHANG);
    if (pid != c->pid)
        return false;
    c->pid = 0;
    c->code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return true;
}

static char *text_in(const struct cli *c, const char *name)
{
    char *path = path_of(c, name), *text = read_file(path);
    free(path);
    return text;
}

void cli_wait(struct cli *c)
{
    bool ended = until(has_ended, c, WAIT_MS);
    if (!ended) {
        (void)kill(c->pid, SIGKILL);
        (void)until(has_ended, c, WAIT_MS);
    }
    c->out = text_in(c, "out");
    c->err = text_in(c, "err");
    if (!ended)
        fail_msg("satchel did not end; it said:\n%s%s", c->out, c->err);
}

struct awaited {
    const struct cli *c;
    const char *text;
};

static bool has_said(void *arg)
{
    const struct awaited *a = arg;
    char *out = text_in(a->c, "out");
    bool found = strstr(out, a->text) != NULL;
    free(out);
    return found;
}

void cli_await_output(const struct cli *c, const char *text)
{
    struct awaited a = {c, text};
    if (!until(has_said, &a, WAIT_MS)) {
        char *out = text_in(c, "out"), *err = text_in(c, "err");
        fail_msg("satchel did not say \"%s\", but:\n%s%s", text, out, err);
    }
}

void cli_release(struct cli *c)
{
    if (c->pid > 0) {
        (void)kill(c->pid, SIGKILL);
        (void)until(has_ended, c, WAIT_MS);
    }
    remove_tree(c->dir);
    free(c->out);
    free(c->err);
    c->out = c->err = NULL;
}

void cli_run(struct cli *c, int code, const char *input, const char *const *args)
{
    cli_start(c, input, args);
    cli_wait(c);
    if (c->code != code)
        fail_msg("satchel %s: exit code %d instead of %d; it said:\n%s%s", args[0], c->code, code, c->out, c->err);
}

void cli_expect(const struct cli *c, const char *text)
{
    if (!strstr(c->out, text))
        fail_msg("\"%s\" is not in the output:\n%s%s", text, c->out, c->err);
}

void cli_expect_not(const struct cli *c, const char *text)
{
    if (strstr(c->out, text))
        fail_msg("\"%s\" is in the output:\n%s", text, c->out);
}

void cli_expect_error(const struct cli *c, const char *text)
{
    if (!strstr(c->err, text))
        fail_msg("\"%s\" is not in standard error:\n%s", text, c->err);
}
