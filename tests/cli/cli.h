/* Running the satchel program in a test: its output, its exit code, and while it still runs.
 * Thread: the test's only one; whatever goes wrong here fails the test. */
#ifndef SATCHEL_TESTS_CLI_H
#define SATCHEL_TESTS_CLI_H

#include <stdbool.h>
#include <sys/types.h>

#include "tests/support/satcheld.h"

struct cli { /* one run */
    pid_t pid;
    char dir[64]; /* of its output's files */
    int code;     /* once it has ended */
    char *out, *err;
};

void cli_environment(const struct satcheld *d); /* SATCHEL_URL, and nothing of the caller's context; NULL: no URL */
void cli_url(const char *url);
/* Starts it with these arguments (NULL-terminated); `input` may be NULL. */
void cli_start(struct cli *c, const char *input, const char *const *args);
void cli_wait(struct cli *c);                                 /* to its end, within WAIT_MS; fills code, out, err */
void cli_await_output(const struct cli *c, const char *text); /* until standard output has it */
void cli_release(struct cli *c);
/* Start and wait; expects that exit code. */
void cli_run(struct cli *c, int code, const char *input, const char *const *args);
void cli_expect(const struct cli *c, const char *text);     /* in standard output */
void cli_expect_not(const struct cli *c, const char *text); /* not there */
void cli_expect_error(const struct cli *c, const char *text);
/* Any program instead of satchel. */
void cli_start_program(struct cli *c, const char *program, const char *input, const char *const *args);

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

#endif
