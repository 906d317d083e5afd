/* satchel/plugin.h - task types in C, inside satcheld.
 *
 * A plugin is a shared object that the configuration names (plugin "/path/resize.so" {}).  satcheld loads it when it
 * starts, calls its satchel_plugin_init(), and the plugin registers the task types that it can run:
 *
 *     #include <satchel/context.h>
 *     #include <satchel/plugin.h>
 *
 *     static int greet(satchel_task *task, void *user)
 *     {
 *         (void)user;
 *         const char *tenant = satchel_tenant();        // the submitter's context is the current one
 *         return satchel_task_succeed_text(task, tenant, strlen(tenant));
 *     }
 *
 *     unsigned satchel_plugin_abi(void) { return SATCHEL_PLUGIN_ABI; }
 *     int satchel_plugin_init(satchel_plugin *host)
 *     {
 *         return satchel_plugin_handler(host, "example.greet", greet, NULL, NULL);
 *     }
 *
 * Build it with `cc -shared -fPIC -o greet.so greet.c $(pkg-config --cflags --libs satchel)`.
 *
 * Threads: a handler runs on one of satcheld's worker threads, several handlers (and the same one, for several tasks)
 * at the same time.  While it runs, the thread's current context is the task's: satchel_tenant(),
 * satchel_traceparent(), satchel_remaining_ns() and all of <satchel/context.h> tell about it; what a handler sets there
 * is gone when it returns.  A handler must not end its thread and must leave every context that it entered.
 *
 * Everything here is a function on opaque handles, so that other languages can call it.  All texts are UTF-8.
 * Functions that return a status return SATCHEL_OK or a negative satchel_status. */
#ifndef SATCHEL_PLUGIN_H
#define SATCHEL_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

/* The version of this interface.  It grows when a plugin has to be compiled anew. */
#define SATCHEL_PLUGIN_ABI 1u

typedef struct satchel_plugin satchel_plugin; /* the loading of one plugin */
typedef struct satchel_task satchel_task;     /* one attempt at one task */

/* ---- what a plugin exports -------------------------------------------------------------------- */

/* Returns SATCHEL_PLUGIN_ABI as it was compiled; satcheld refuses a plugin of another version. */
unsigned satchel_plugin_abi(void); /* defined by the plugin */
/* Called once, on one thread, before any handler.  Registers handlers and returns 0; anything else, or a registration
 * that failed, makes satcheld refuse to start (or the reload to fail).  `host` is good during the call alone. */
int satchel_plugin_init(satchel_plugin *host); /* defined by the plugin */
/* Optional: called once when satcheld stops, after the last handler has returned; before the code is unmapped. */
void satchel_plugin_fini(void); /* defined by the plugin */

/* ---- during satchel_plugin_init --------------------------------------------------------------- */

/* Runs one attempt.  `task` is good until it returns.  What it returns:
 *   0      the attempt ended as the last satchel_task_succeed or satchel_task_fail said; without any: it succeeded
 *          with the result null
 *   other  as the last satchel_task_fail said; without any: canceled where satchel_task_canceled(), else failed, to be
 *          repeated while attempts are left
 * A failure that is not final, told once satchel_task_canceled() is true, counts as what the cancellation was: canceled,
 * timeout or deadline; where satcheld stops, the attempt is repeated after the next start.
 * The satchel_task_succeed and satchel_task_fail functions return the value to be returned. */
typedef int (*satchel_handler)(satchel_task *task, void *user);

enum {
    SATCHEL_HANDLER_QUICK = 1u << 0 /* returns within microseconds, never waits: several may run on one wake-up */
};

/* Zero-filled but for struct_size: the defaults. */
typedef struct satchel_handler_options {
    size_t struct_size;   /* sizeof(satchel_handler_options) */
    int64_t timeout_ms;   /* of one attempt, where the submission has none; 0: no limit */
    unsigned concurrency; /* attempts at once in this process; 0: no limit */
    unsigned flags;       /* SATCHEL_HANDLER_... */
} satchel_handler_options;

/* Registers a task type.  `name`: 1 to 64 of A-Za-z0-9._-, not beginning with "satchel.", not taken yet; copied.
 * `user` is passed to each call and stays the plugin's.  `options` may be NULL.
 * SATCHEL_EINVAL: a NULL, a bad name or bad options; SATCHEL_EEXIST: the name is taken; SATCHEL_ENOMEM.  An error is
 * remembered: the plugin will not be loaded, whatever satchel_plugin_init returns. */
int satchel_plugin_handler(satchel_plugin *host, const char *name, satchel_handler fn, void *user,
                           const satchel_handler_options *options);
/* What the configuration says: plugin "..." { config = "TEXT" }.  "" where it says nothing; borrowed. */
const char *satchel_plugin_config(const satchel_plugin *host);
/* The path it was loaded from; borrowed. */
const char *satchel_plugin_path(const satchel_plugin *host);
/* Tells why satchel_plugin_init is going to return an error; copied, cut at 200 bytes.  Returns -1, to be returned. */
int satchel_plugin_fail(satchel_plugin *host, const char *message);

/* ---- the task --------------------------------------------------------------------------------- */
/* On any thread, while the handler runs: */

const char *satchel_task_name(const satchel_task *task);      /* of its type; borrowed */
const char *satchel_task_get_id(const satchel_task *task);    /* 36 characters; borrowed */
const char *satchel_task_parent_id(const satchel_task *task); /* NULL: it is no sub-task */
const char *satchel_task_root_id(const satchel_task *task);   /* its own where it has no parent */
unsigned satchel_task_attempt(const satchel_task *task);      /* 1 is the first */
unsigned satchel_task_max_attempts(const satchel_task *task); /* how many may fail */
/* The args as they were submitted: valid JSON, NUL-terminated; "null" where there were none.  `len` may be NULL. */
const char *satchel_task_args(const satchel_task *task, size_t *len);
/* How many tasks this one waited for (`after` of its submission), and their ids: 36 characters; borrowed; NULL: there
 * are not so many. */
size_t satchel_task_after_count(const satchel_task *task);
const char *satchel_task_after_id(const satchel_task *task, size_t index);
/* True once the task was canceled, its time limit or deadline has passed, or satcheld stops: return soon. */
bool satchel_task_canceled(const satchel_task *task);
/* The same as a descriptor for poll(): readable once it is so.  Borrowed: neither read nor close it.  -1: no
 * descriptor is left. */
int satchel_task_cancel_fd(const satchel_task *task);

/* On the handler's own thread alone (SATCHEL_EINVAL elsewhere): */

/* How far it is, 0 to 1, and what it is doing (may be NULL). */
int satchel_task_progress(satchel_task *task, double fraction, const char *message);
/* One line of the task's log, without its newline. */
int satchel_task_log(satchel_task *task, const char *line, size_t len);
/* The result of the task at `index` of `after`, as JSON text of `len` bytes (may be NULL), not NUL-terminated; good
 * until the handler returns.  "null" where that task is not kept any more.  NULL: there are not so many, or it cannot
 * be read (satchel_task_error tells why). */
const char *satchel_task_after_result(satchel_task *task, size_t index, size_t *len);
/* Submits a sub-task: `submission` is the JSON that POST /v1/tasks takes ({"task": "...", "args": ...}).  It inherits
 * the thread's current context, so what the handler has set there too.  Returns when the sub-task is durable; `id` (37
 * bytes, may be NULL) gets its id.  SATCHEL_EGRAMMAR: refused, and will be again; SATCHEL_ELIMIT: refused for now
 * (quota, overload, stopping); satchel_task_error tells why. */
int satchel_task_spawn(satchel_task *task, const char *submission, size_t len, char *id);
/* Why the last satchel_task_spawn or satchel_task_succeed that failed did; "" where none has; borrowed until the next
 * one fails.  May be passed to satchel_task_fail. */
const char *satchel_task_error(const satchel_task *task);

/* The attempt succeeded.  `json` is one JSON value, copied.  A text that is no JSON, or is larger than results may be,
 * makes it a failure that is not repeated.  Returns what the handler should return. */
int satchel_task_succeed(satchel_task *task, const char *json, size_t len);
/* The same with any text, which becomes a JSON string. */
int satchel_task_succeed_text(satchel_task *task, const char *text, size_t len);
/* The attempt failed: `message` says why, for people (NULL: nothing to say); `final`: it must not be repeated. */
int satchel_task_fail(satchel_task *task, bool final, const char *message);
/* The attempt failed and should be repeated after `delay_ms`, not after the submission's backoff, while attempts are
 * left. */
int satchel_task_retry_in(satchel_task *task, int64_t delay_ms, const char *message);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif
#endif
