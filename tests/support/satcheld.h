/* The real daemon, as a process of its own: started in a fresh directory on a free port of loopback, killed, stopped
 * and started again on the same data, its log read, its exit code checked, and nothing of it left behind.
 * For the tests of api/ and crash/.  Thread: the test's only one; whatever goes wrong here fails the test. */
#ifndef SATCHEL_TESTS_SATCHELD_H
#define SATCHEL_TESTS_SATCHELD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#define WAIT_MS (SANITIZED ? 60000 : 20000) /* how long anything may take that takes no time */

struct satcheld {
    pid_t pid;     /* 0: not running */
    char dir[64];  /* everything is in here: satcheld.conf, log, data/ */
    char host[64]; /* of the first TCP address */
    int port;
    const char *const *args;        /* more arguments, NULL-terminated, or NULL; the caller's */
    const char *listen;             /* instead of 127.0.0.1:0; "" for no --listen at all */
    void (*before_exec)(void *arg); /* called in the child, or NULL */
    void *arg;
    size_t log_start;   /* where the log of the running process starts */
    int max_error_logs; /* lines of level "error" that are no failure; -1: any */
};

/* Makes the directory; starts nothing.  config: the text of satcheld.conf, NULL for none. */
void satcheld_init(struct satcheld *d, const char *config);
void satcheld_configure(struct satcheld *d, const char *config); /* writes the file anew */

void satcheld_spawn(struct satcheld *d); /* starts the process and does not wait */
void satcheld_ready(struct satcheld *d); /* waits until it says where it listens */
void satcheld_start(struct satcheld *d); /* both */

void satcheld_signal(const struct satcheld *d, int signal_number);
/* Waits until it has ended; returns its exit code, or minus the number of the signal that ended it. */
int satcheld_wait(struct satcheld *d, int limit_ms);
bool satcheld_ended(struct satcheld *d, int *ret_status); /* the same without waiting */
void satcheld_stop(struct satcheld *d);                   /* SIGTERM; must exit with 0 */
void satcheld_kill(struct satcheld *d);                   /* SIGKILL, and waits */
/* Kills it if it still runs; fails if it left processes behind or its log has a sanitizer's report or more errors
 * than allowed; removes the directory. */
void satcheld_release(struct satcheld *d);

/* Runs the daemon with these arguments to its end: exit code as of satcheld_wait, output to malloced texts. */
int satcheld_run(const char *const *args, char **ret_out, char **ret_err);

char *satcheld_path(const struct satcheld *d, const char *name); /* in its directory; malloced */
char *satcheld_log(const struct satcheld *d);                    /* of the running or last process; malloced */
bool satcheld_log_has(const struct satcheld *d, const char *text);
/* Waits until the log has the text. */
void satcheld_log_wait(const struct satcheld *d, const char *text);

/* A count that sanitized builds make smaller: their programs run several times slower. */
static inline int scaled(int count)
{
    return SANITIZED ? count / 10 + 1 : count;
}
/* A count from the environment, or the default. */
int count_from(const char *variable, int otherwise);

long long mono_ms(void);
/* Asks `done` every few milliseconds until it says yes; false: not within the limit. */
bool until(bool (*done)(void *arg), void *arg, int limit_ms);
void pause_ms(int ms);

char *read_file(const char *path); /* malloced; "" where there is none */
void write_file(const char *path, const char *text);
void remove_tree(const char *path);

#endif
