/* The satchel command: what its verbs share.
 *   main.c       the verbs, exit                           options.c    the options, a table
 *   submit.c     submit and run                            task.c       get, wait, result, cancel, retry, delete
 *   actions.c    cancel, retry, delete by filter            batch.c      submit --batch
 *   list.c       list                                      env.c        env
 *   follow.c     logs, watch                               details.c    context
 *   tree.c       tree                                      progress.c   progress, fail
 *   token.c      token
 *   doctor.c     doctor, with doctor_*.c
 *   schedule.c   schedule                                  admin.c      admin, tenants
 *   connect.c    the client that the options describe      context.c    the context of the environment
 *   print.c      human and JSON output, errors             interrupt.c  Ctrl-C
 * Exit codes (sysexits and timeout(1)): 0 done, 1 the task failed, 64 usage, 65 bad data, 69 not reachable, 75 try
 * again, 77 not allowed, 78 configuration, 124 the wait ran out, 130 interrupted.
 * Thread: one, and interrupt.c's. */
#ifndef SATCHEL_CLI_H
#define SATCHEL_CLI_H

#include <jansson.h>
#include <satchel/client.h>
#include <stdio.h>

#include "proto/slice.h"

#define EXIT_TASK_FAILED 1
#define EXIT_USAGE 64
#define EXIT_DATA 65
#define EXIT_UNREACHABLE 69
#define EXIT_SOFTWARE 70
#define EXIT_OUTPUT 74
#define EXIT_AGAIN 75
#define EXIT_DENIED 77
#define EXIT_CONFIG 78
#define EXIT_TIMED_OUT 124
#define EXIT_INTERRUPTED 130

enum { /* groups of options, of options.def */
       FOR_ALL = 1 << 0,
       FOR_SUBMISSION = 1 << 1,
       FOR_SUBMIT = 1 << 2,
       FOR_RUN = 1 << 3,
       FOR_RAW = 1 << 4,
       FOR_WAIT = 1 << 5,
       FOR_RESULT = 1 << 6,
       FOR_LIST = 1 << 7,
       FOR_ENV = 1 << 8,
       FOR_GET = 1 << 9,
       FOR_LOGS = 1 << 10,
       FOR_DOCTOR = 1 << 11,
       FOR_CANCEL = 1 << 12,
       FOR_FILTER = 1 << 13,
       FOR_ACTION = 1 << 14,
       FOR_TOKEN = 1 << 15,
       FOR_FAIL = 1 << 16
};

struct verb {
    const char *name, *arguments, *summary;
    unsigned groups;
    int (*run)(const struct verb *verb, int argc, char *const argv[]); /* argv[0] is the verb; the exit code */
};
#define VERB(name, arguments, summary, groups) int verb_##name(const struct verb *verb, int argc, char *const argv[]);
#include "client/cli/verbs.def"
#undef VERB

#define MAX_HEADERS 64

struct common { /* what the common options say */
    const struct verb *verb;
    const char *url, *token_file, *ca_file, *cert_file, *key_file, *tenant;
    const char *headers[MAX_HEADERS + 1]; /* NULL-terminated */
    unsigned n_headers;
    bool json;
};

/* ---- options.c ---- */

/* Walks the arguments: common options are taken, others go to `on_option` (0, or an exit code).  Operands are left in
 * operands[0..*n-1].  Returns -1 to go on, or the exit code to end with (--help, a usage error). */
int options_parse(const struct verb *verb, int argc, char *const argv[], struct common *common, const char *operands[],
                  int max_operands, int *ret_n, int (*on_option)(void *arg, const char *name, const char *value),
                  void *arg);
int usage(const struct verb *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* "30s", "250ms", "5" (seconds) as milliseconds; false: not a duration. */
bool parse_ms(const char *text, int64_t *ret_ms);

/* ---- list.c, actions.c ---- */

/* One of the options that say which tasks; false: another one. */
bool filter_option(satchel_list_options *filter, const char *name, const char *value);
/* cancel, retry or delete without ids: on all tasks that match, page by page.  The exit code. */
int act_on_all(const struct verb *verb, const struct common *common, satchel_client *client, satchel_action action,
               satchel_list_options *filter, unsigned flags);

/* ---- details.c ---- */

/* A verb that takes one id, asks for a document about the task and prints it, or with --json as it is. */
int show_details(const struct verb *verb, int argc, char *const argv[],
                 int (*ask)(satchel_future *future, char **json, size_t *len, satchel_error *error),
                 int (*print)(const struct common *common, const char *json, size_t len));

/* ---- submit.c ---- */

/* submit --batch: the submissions of a file, one a line.  The exit code. */
int submit_lines(const struct common *common, satchel_client *client, const char *path,
                 const satchel_submit_options *options);

/* ---- context.c, connect.c ---- */

/* Enters the environment's context, with --tenant over it, on this thread.  -1, or the exit code to end with. */
int cli_enter_context(const struct common *common);
bool cli_has_header(const struct common *common, const char *name); /* among --header */
/* The same, and the client.  From here on Ctrl-C ends the process with 130 (interrupt.c). */
int cli_connect(const struct common *common, satchel_client **ret);

/* ---- print.c ---- */

int fail(const struct common *common, const satchel_error *error); /* says it, and returns the exit code for it */
/* One complaint of our own, to standard error. */
void complain(const struct common *common, const char *format, ...) __attribute__((format(printf, 2, 3)));
int print_future(const struct common *common, satchel_future *future); /* 0, or the exit code to end with */
/* What others said, for a terminal: control characters of theirs do nothing here. */
void say_to(FILE *to, const char *text, size_t len);
void print_task_line(const json_t *task);                                        /* for people, one line */
int print_result(const struct common *common, satchel_future *future, bool raw); /* result or error; the exit code */
int outcome_code(const satchel_future *future);                                  /* of a finished task */

/* ---- interrupt.c ---- */

/* From here on Ctrl-C ends the process at once with 130, except in interrupts_wait.  Where it is ignored (nohup, a
 * shell's background job), it stays so.  The cancel object is bound in the current context. */
void interrupts_start(void);
/* satchel_future_wait that Ctrl-C ends with SATCHEL_ECANCELED; a second one ends the process. */
int interrupts_wait(satchel_future *future, int64_t timeout_ms, satchel_error *error);

#endif
