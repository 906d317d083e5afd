/* satchel progress: inside a command task, one line to the descriptor that the daemon reads progress from. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"

#define VARIABLE "SATCHEL_PROGRESS_FD"
#define WORDS_MAX 512
#define MESSAGE_MAX 1000u /* with the number it stays below PIPE_BUF: it is written whole or not at all */

/* -1: there is none. */
static int progress_fd(void)
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

/* "FRACTION WORD WORD ...\n", as one line whatever is in the words. */
static size_t make_line(double fraction, const char *const *words, int n, char line[MESSAGE_MAX + 48])
{
    int number = snprintf(line, 16, "%.6f", fraction);
    size_t len = (size_t)number, most = len + 1 + MESSAGE_MAX;
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

static int write_line(const struct common *common, int fd, const char *line, size_t len)
{
    ssize_t n;
    (void)signal(SIGPIPE, SIG_IGN);
    do {
        n = write(fd, line, len);
    } while (n < 0 && errno == EINTR);
    if (n == (ssize_t)len)
        return 0;
    complain(common, "the progress could not be written: %s", n < 0 ? strerror(errno) : "not all of it");
    return EXIT_OUTPUT;
}

int verb_progress(const struct verb *verb, int argc, char *const argv[])
{
    struct common common;
    const char *operands[WORDS_MAX];
    char line[MESSAGE_MAX + 48];
    double fraction;
    int n;
    int code = options_parse(verb, argc, argv, &common, operands, WORDS_MAX, &n, NULL, NULL);
    if (code != -1)
        return code;
    if (n == 0 || !parse_fraction(operands[0], &fraction))
        return usage(verb, "how far it is takes a number from 0 to 1");
    int fd = progress_fd();
    if (fd < 0) {
        complain(&common, VARIABLE " names no descriptor to write to: this is for what a command task runs");
        return EXIT_CONFIG;
    }
    return write_line(&common, fd, line, make_line(fraction, operands + 1, n - 1, line));
}
