/* The satchel command: what its verbs share.
 *   main.c     the table of verbs, --help, exit codes       options.c  options that several verbs take
 *   submit.c   submit and run                               task.c     get, wait, result, cancel
 *   list.c     list                                         env.c      env
 *   print.c    human and JSON output, errors
 * Exit codes (sysexits and timeout(1)): 0 done, 1 the task failed, 64 usage, 65 bad data, 69 not reachable, 75 try
 * again, 77 not allowed, 78 configuration, 124 the wait ran out, 130 interrupted.
 * Thread: one. */
#ifndef SATCHEL_CLI_H
#define SATCHEL_CLI_H

#include <jansson.h>
#include <satchel/client.h>

#include "proto/slice.h"

#define EXIT_TASK_FAILED 1
#define EXIT_USAGE 64
#define EXIT_DATA 65
#define EXIT_UNREACHABLE 69
#define EXIT_SOFTWARE 70
#define EXIT_AGAIN 75
#define EXIT_DENIED 77
#define EXIT_CONFIG 78
#define EXIT_TIMED_OUT 124
#define EXIT_INTERRUPTED 130

struct option_spec {
    const char *name;  /* long name, without the dashes */
    const char *value; /* placeholder of its argument; NULL: a flag */
    const char *help;
    char letter; /* short form; 0: none */
};

struct verb {
    const char *name, *arguments, *summary;
    const struct option_spec *options;        /* ends with a NULL name; the common ones come on top */
    int (*run)(int argc, char *const argv[]); /* argv[0] is the verb; returns the exit code */
};
extern const struct verb verbs[]; /* ends with a NULL name */

/* ---- options.c ---- */

struct common {
    const struct verb *verb;
    const char *url, *token_file, *ca_file, *tenant;
    const char *headers[65]; /* NULL-terminated */
    unsigned n_headers;
    bool json;
    char token[512];
};

/* Walks the arguments: common options are taken, others go to `on_option` (0, or an exit code).  Operands are left in
 * operands[0..*n-1].  Returns -1 to go on, or the exit code to end with (--help, a usage error). */
int options_parse(const struct verb *verb, int argc, char *const argv[], struct common *common, const char *operands[],
                  int max_operands, int *ret_n, int (*on_option)(void *arg, const char *name, const char *value),
                  void *arg);
int usage(const struct verb *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));
void print_verb_help(const struct verb *verb);
/* The client that the common options describe, and the context of the environment entered on this thread. */
int cli_connect(struct common *common, satchel_client **ret);
/* "30s", "250ms", "5" (seconds) as milliseconds; false: not a duration. */
bool parse_ms(const char *text, int64_t *ret_ms);

/* ---- print.c ---- */

int fail(const struct common *common, const satchel_error *error); /* says it, and returns the exit code for it */
void print_future(const struct common *common, satchel_future *future);
void print_task(struct slice task);       /* its JSON text, for people: a line a member */
void print_task_line(const json_t *task); /* for people, one line */
int print_result(const struct common *common, satchel_future *future, bool raw); /* result or error; the exit code */
int outcome_code(const satchel_future *future);                                  /* of a finished task */

/* ---- waiting, with Ctrl-C ---- */

/* As satchel_future_wait, in rounds; SIGINT ends it with *interrupted. */
int wait_interruptible(satchel_future *future, int64_t timeout_ms, satchel_error *error, bool *interrupted);

/* ---- verbs ---- */
int verb_submit(int argc, char *const argv[]);
int verb_run(int argc, char *const argv[]);
int verb_get(int argc, char *const argv[]);
int verb_wait(int argc, char *const argv[]);
int verb_result(int argc, char *const argv[]);
int verb_cancel(int argc, char *const argv[]);
int verb_list(int argc, char *const argv[]);
int verb_env(int argc, char *const argv[]);

extern const struct option_spec submit_options[], run_options[], get_options[], wait_options[], result_options[],
    cancel_options[], list_options[], env_options[], common_options[];

#endif
