/* satchel progress and satchel fail: inside a command task, one line to the descriptor that the daemon reads what it
 * tells from. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"

#define VARIABLE "SATCHEL_PROGRESS_FD"
#define WORDS_MAX 512
#define MESSAGE_MAX 1000u /* with its start it stays below PIPE_BUF: it is written whole or not at all */
#define START_SIZE 64u
#define LINE_SIZE (START_SIZE + MESSAGE_MAX + 8u)

/* -1: there is none. */
static int told_fd(void)
{
    const char *text = getenv(VARIABLE);
    char *end;
    long fd = text && *text >= '0' && *text <= '9' ? strtol(text, &end, 10) : -1;
    if (fd < 0 || fd > 1 << 20 || *end)
        return -1;
    int flags = fcntl((int)fd, F_GETFL);
    return flags < 0 || (flags & O_ACCMODE) == O_RDONLY ? -1 : (int)fd;
}

static bool parse_fraction(const char *text, double *ret)
{
    if (!*text || text[strspn(text, "0123456789.")] || strlen(text) > 30)
        return false;
    char *end;
    *ret = strtod(text, &end);
    return !*end && end != text && *ret <= 1;
}

/* "START WORD WORD ...\n", as one line whatever is in the words. */
static size_t make_line(const char *start, const char *const *words, int n, char line[LINE_SIZE])
{
    size_t len = (size_t)snprintf(line, START_SIZE, "%s", start), most = len + 1 + MESSAGE_MAX;
    for (int i = 0; i < n; i++) {
        line[len++] = ' ';
        for (const char *from = words[i]; *from && len < most; from++)
            line[len++] = (char)(*from == '\n' || *from == '\r' ? ' ' : *from);
        if (len >= most)
            break;
    }
    line[len++] = '\n';
    return len;
}

static int write_line(const struct common *common, const char *start, const char *const *words, int n_words)
{
    char line[LINE_SIZE];
    int fd = told_fd();
    if (fd < 0) {
        complain(common, VARIABLE " names no descriptor to write to: this is for what a command task runs");
        return EXIT_CONFIG;
    }
    size_t len = make_line(start, words, n_words, line);
    ssize_t n;
    (void)signal(SIGPIPE, SIG_IGN);
    do {
        n = write(fd, line, len);
    } while (n < 0 && errno == EINTR);
    if (n == (ssize_t)len)
        return 0;
    complain(common, "it could not be told: %s", n < 0 ? strerror(errno) : "not all of it");
    return EXIT_OUTPUT;
}

int verb_progress(const struct verb *verb, int argc, char *const argv[])
{
    struct common common;
    const char *operands[WORDS_MAX];
    char start[START_SIZE];
    double fraction;
    int n;
    int code = options_parse(verb, argc, argv, &common, operands, WORDS_MAX, &n, NULL, NULL);
    if (code != -1)
        return code;
    if (n == 0 || !parse_fraction(operands[0], &fraction))
        return usage(verb, "how far it is takes a number from 0 to 1");
    (void)snprintf(start, sizeof start, "%.6f", fraction);
    return write_line(&common, start, operands + 1, n - 1);
}

/* ---- fail ---- */

struct failure {
    const struct verb *verb;
    bool final;
    const char *retry_in;
};

static int on_fail_option(void *arg, const char *name, const char *value)
{
    struct failure *failure = arg;
    int64_t ms;
    if (strcmp(name, "final") == 0) {
        failure->final = true;
        return 0;
    }
    if (!parse_ms(value, &ms) || strlen(value) > 40)
        return usage(failure->verb, "--retry-in takes a duration, such as 30s");
    failure->retry_in = value;
    return 0;
}

/* The command fails with what it says here: so this fails, too, and ends a script that runs with set -e. */
int verb_fail(const struct verb *verb, int argc, char *const argv[])
{
    struct failure failure = {.verb = verb};
    struct common common;
    const char *operands[WORDS_MAX];
    char start[START_SIZE];
    int n;
    int code = options_parse(verb, argc, argv, &common, operands, WORDS_MAX, &n, on_fail_option, &failure);
    if (code != -1)
        return code;
    if (failure.final && failure.retry_in)
        return usage(verb, "--final contradicts --retry-in");
    if (failure.retry_in)
        (void)snprintf(start, sizeof start, "retry-in %s", failure.retry_in);
    else
        (void)snprintf(start, sizeof start, "%s", failure.final ? "no-retry" : "error");
    code = write_line(&common, start, operands, n);
    return code ? code : EXIT_TASK_FAILED;
}
