/* The client of satcheld: submit a task with the context that is current, hold its future, ask for its result.
 *
 * Threads: a client may be used by any number of threads at once; it keeps connections open and lends one to each
 * call.  A future may be used by one thread at a time.  All calls that talk to the daemon block.
 * Errors: every such call returns SATCHEL_OK or another status and, where `error` is not NULL, fills in what the
 * daemon (or the network) said.  On failure no output is written and nothing is owned.
 * Memory: texts returned through `char **` are the caller's (satchel_free); `const char *` ones are borrowed from the
 * object that returned them and good until it changes or ends.
 * libcurl is loaded at the first call that needs it (dlopen), so that a program which only uses contexts does not pay
 * for it. */
#ifndef SATCHEL_CLIENT_H
#define SATCHEL_CLIENT_H

#include <satchel/context.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

/* ---- results beyond those of satchel_status ---- */

enum {
    SATCHEL_PENDING = 2,        /* the task is not finished yet; not an error */
    SATCHEL_EUNREACHABLE = -30, /* no connection to the daemon, or it broke */
    SATCHEL_EPROTOCOL = -31, /* what answered is not satcheld, or its certificate proves nothing; libcurl is missing */
    SATCHEL_EREFUSED = -32,  /* 4xx: the request is wrong; `error` says what */
    SATCHEL_EDENIED = -33,   /* 401 or 403; or the client's certificate is not accepted, or needed and not there */
    SATCHEL_ENOTFOUND = -34, /* 404 or 410: no such task of this tenant */
    SATCHEL_ECONFLICT = -35, /* 409: the task's state does not allow it */
    SATCHEL_EAGAIN = -36,    /* 429 or 503: later, after retry_after_s */
    SATCHEL_ESERVER = -37,   /* another 5xx */
    SATCHEL_ETIMEDOUT = -38, /* the time given was over before the task was finished */
    SATCHEL_ETASK = -39,     /* the task did not succeed: `error` holds its own error */
    SATCHEL_ECANCELED = -40  /* the calling thread's context was canceled while it waited */
};

/* What went wrong, for people and programs.  Plain data: on the stack, copied freely, owns nothing. */
typedef struct satchel_error {
    size_t struct_size; /* set it to sizeof(satchel_error) */
    int status;         /* what the call returned */
    int http_status;    /* 0: there was no answer */
    int retry_after_s;  /* 0: the daemon named none */
    char type[96];      /* the problem's URN, or the task error's type ("timeout", "exit") */
    char title[128];
    char detail[512];
    char pointers[512]; /* "/max_attempts: must be ...", one a line: the members that are wrong */
} satchel_error;
#define SATCHEL_ERROR_INIT                                                                                             \
    {                                                                                                                  \
        sizeof(satchel_error), 0, 0, 0, "", "", "", ""                                                                 \
    }

/* ---- clients ---- */

typedef struct satchel_client satchel_client;

/* Zero-filled members mean: the default. */
typedef struct satchel_client_options {
    size_t struct_size;
    const char *url;     /* "http://HOST:PORT", "https://...", "unix:/path"; NULL: SATCHEL_URL, else
                                   http://127.0.0.1:8640 */
    const char *token;   /* bearer token; NULL: SATCHEL_TOKEN, where it is set */
    const char *ca_file; /* PEM: who may issue the daemon's certificate; NULL: SATCHEL_CA_FILE, else the system's */
    const char *const *headers; /* further "Name: value" lines for every request, NULL-terminated; NULL: none */
    int64_t connect_timeout_ms; /* 0: 5,000 */
    int64_t timeout_ms;         /* for an answer that is not waited for on purpose; 0: 30,000 */
    const char *cert_file;      /* PEM: the client's own certificate; NULL: SATCHEL_CERT, else none */
    const char *key_file;       /* PEM: its private key; NULL: SATCHEL_KEY, else in the certificate's file */
} satchel_client_options;

/* One reference, owned by the caller.  Texts are copied.  Does not connect yet.  SATCHEL_EINVAL: the url. */
int satchel_client_new(const satchel_client_options *options, satchel_client **out, satchel_error *error);
satchel_client *satchel_client_ref(satchel_client *client); /* any thread */
void satchel_client_unref(satchel_client *client);          /* closes with the last one; NULL is fine */

/* ---- submitting ---- */

typedef struct satchel_future satchel_future;

/* Texts are written as the HTTP API takes them: durations "30s", times RFC 3339, JSON for JSON.  Zero-filled: unset. */
typedef struct satchel_submit_options {
    size_t struct_size;
    const satchel_context *context; /* NULL: the calling thread's current one is captured */
    bool without_context;           /* true: nothing is captured */
    bool has_priority;
    int priority;     /* 0..9, where has_priority */
    int max_attempts; /* 0: unset */
    bool has_max_lost;
    int max_lost;
    const char *delay, *run_at, *timeout, *deadline, *expires_in, *retain;
    const char *parent_id, *idempotency_key;
    const char *backoff_json, *labels_json; /* objects */
    const char *context_json;        /* an object of strings: body variables beside (and over) those of the context */
    const char *members_json;        /* an object: further members of the submission */
    int64_t wait_ms;                 /* > 0: hold the answer until the task is finished or this is over */
    const char *callback;            /* a URL that is told when the task has finished */
    const char *after_json;          /* an array of ids: tasks that must succeed first */
    const char *group, *after_group; /* the group that it belongs to; the group whose members must end first */
    const char *unique_json;         /* an object: {"key": "...", "until"?: "started"|"finished", "for"?: DURATION} */
} satchel_submit_options;

/* Submits; when it returns SATCHEL_OK the task is on the daemon's disk.  args_json NULL: none.  Secret variables never
 * leave the process; variables of the task (satchel_variable) go into the body, all others into header fields. */
int satchel_submit(satchel_client *client, const char *task, const char *args_json,
                   const satchel_submit_options *options, satchel_future **out, satchel_error *error);

/* Submits many: `lines` is one submission (a JSON object as POST /v1/tasks takes it) a line, `len` bytes of them.  All get
 * the context of the call; of `options` (may be NULL) only `context`, `without_context` and `wait_ms` count, and `group`
 * and `parent_id`, for submissions that name none.
 * `on_answer` runs on the calling thread once for each submission, in their order: the task's object, or a problem
 * (RFC 9457) with its "status"; what it returns, where it is not 0, ends the call and is returned.  The whole body is in
 * memory: send a very long batch in parts.  SATCHEL_OK: every submission was answered. */
int satchel_submit_batch(satchel_client *client, const char *lines, size_t len, const satchel_submit_options *options,
                         int (*on_answer)(const char *json, size_t len, void *arg), void *arg, satchel_error *error);

/* ---- futures ---- */

/* The future of a task submitted by somebody else, by its id; does not ask the daemon yet. */
int satchel_future_open(satchel_client *client, const char *id, satchel_future **out, satchel_error *error);
void satchel_future_free(satchel_future *future); /* the task goes on; NULL is fine */
const char *satchel_future_id(const satchel_future *future);
/* As last heard: "queued", "running", "succeeded", ...; "" before the daemon was asked. */
const char *satchel_future_state(const satchel_future *future);
bool satchel_future_done(const satchel_future *future); /* as last heard: in a final state */
/* Asks once.  SATCHEL_OK: finished; SATCHEL_PENDING: not yet. */
int satchel_future_poll(satchel_future *future, satchel_error *error);
/* Waits by long polls, over restarts of the daemon, at most timeout_ms (negative: without limit).  SATCHEL_OK:
 * finished (well or not: see the result); SATCHEL_ETIMEDOUT: not yet. */
int satchel_future_wait(satchel_future *future, int64_t timeout_ms, satchel_error *error);
/* The result's JSON text of a finished task.  SATCHEL_PENDING: it is not finished as last heard; SATCHEL_ETASK: it
 * failed, was canceled or expired, and `error` says how. */
int satchel_future_result(satchel_future *future, char **json, size_t *len, satchel_error *error);
/* The exit code of a command task's last attempt; SATCHEL_UNSET: it has none. */
int satchel_future_exit_code(const satchel_future *future, int *exit_code);
/* The whole task object as last heard. */
int satchel_future_json(satchel_future *future, char **json, size_t *len, satchel_error *error);
/* SATCHEL_OK: canceled, or told to end (poll for the end); SATCHEL_ECONFLICT: it is finished. */
int satchel_future_cancel(satchel_future *future, satchel_error *error);
/* The same with all its sub-tasks, at any depth.  SATCHEL_ECONFLICT: all of them are finished. */
int satchel_future_cancel_tree(satchel_future *future, satchel_error *error);
/* The task with its sub-tasks, nested: {"id","task","state","attempt",...,"children":[...]}. */
int satchel_future_tree(satchel_future *future, char **json, size_t *len, satchel_error *error);

/* The whole task object with the member "attempts": each with its state, times, node, span and error. */
int satchel_future_attempts(satchel_future *future, char **json, size_t *len, satchel_error *error);
/* What the task's context holds: {"id","task","state","variables":{NAME:{"value","origin","header","sent":[{"attempt",
 * "to","as"?,"target"?}...]}},"attempts":[...]}.  Secret values are masked. */
int satchel_future_context(satchel_future *future, char **json, size_t *len, satchel_error *error);
/* Runs a task that has failed, expired or been canceled again.  SATCHEL_ECONFLICT: its state does not allow it. */
int satchel_future_retry(satchel_future *future, satchel_error *error);
/* Forgets a finished task.  SATCHEL_ECONFLICT: it is not finished.  The future is to be freed as ever. */
int satchel_future_delete(satchel_future *future, satchel_error *error);
/* What the task has written up to now, piece by piece, any bytes.  `on_text` runs on the calling thread, must not use
 * this future, and ends it by a non-zero return, which is returned. */
int satchel_future_log(satchel_future *future, int (*on_text)(const char *text, size_t len, void *arg), void *arg,
                       satchel_error *error);

typedef struct satchel_event { /* something that the daemon tells of a task; borrowed, during the call */
    size_t struct_size;
    const char *name; /* "state", "progress" or "log"; others may come: pass over them */
    const char *data; /* state: the task without its result; progress: {"attempt","progress","message"?}; log:
                         {"offset","text","dropped"?} */
    size_t len;
    const char *id; /* where a stream goes on that ended here */
} satchel_event;

/* Follows the task until it is finished, from its beginning (the log as far as it is kept): every event in order, none
 * twice, also over broken connections and restarts of the daemon; of several states that came in quick succession the
 * last may be the only one.  At most timeout_ms (negative: without limit).  `on_event` as `on_text` above.
 * SATCHEL_OK: finished (well or not: see the result); SATCHEL_ETIMEDOUT: not yet. */
int satchel_future_watch(satchel_future *future, int64_t timeout_ms,
                         int (*on_event)(const satchel_event *event, void *arg), void *arg, satchel_error *error);

/* ---- lists ---- */

typedef struct satchel_list_options { /* zero-filled: no filter */
    size_t struct_size;
    const char *state, *task, *label /* "key:value" */, *trace_id, *request_id, *parent, *root, *cursor;
    unsigned limit; /* 0: the daemon's default */
    const char *group, *error /* its type */, *created_after, *created_before, *finished_before /* RFC 3339 */;
} satchel_list_options;

/* One page, newest first: {"tasks": [...], "next_cursor"?}.  `next` (may be NULL) gets the cursor of the next page, or
 * NULL at the end. */
int satchel_list(satchel_client *client, const satchel_list_options *options, char **json, size_t *len, char **next,
                 satchel_error *error);

/* ---- administrators ---- */

typedef enum satchel_admin_order {
    SATCHEL_ADMIN_PAUSE, /* tasks are taken and wait */
    SATCHEL_ADMIN_DRAIN, /* no more tasks are taken; those that are there run */
    SATCHEL_ADMIN_RESUME /* neither */
} satchel_admin_order;

/* What is paused or draining, and how many tasks there are: {"paused", "draining", "holds": [...], "scheduled", "queued",
 * "running"}.  These four need the scope admin for all tenants; `json` (may be NULL): satchel_free. */
int satchel_admin_status(satchel_client *client, char **json, size_t *len, satchel_error *error);
/* For a tenant, a task type, or (both NULL) the whole daemon.  It is on disk when this returns.  `json`: the status. */
int satchel_admin_hold(satchel_client *client, satchel_admin_order order, const char *tenant, const char *task,
                       char **json, size_t *len, satchel_error *error);
/* How a tenant stands: queue, running, limits, usage.  SATCHEL_ENOTFOUND: nothing is known of it. */
int satchel_tenant_get(satchel_client *client, const char *name, char **json, size_t *len, satchel_error *error);
/* One page by name, {"tenants": [...], "next_cursor"?}.  `cursor`: where the page before ended, or NULL; `limit` 0: the
 * daemon's default. */
int satchel_tenant_list(satchel_client *client, const char *cursor, unsigned limit, char **json, size_t *len,
                        satchel_error *error);

/* ---- schedules ---- */

/* {"schedules": [...]}: the tenant's schedules, each with its definition and how it stands. */
int satchel_schedule_list(satchel_client *client, char **json, size_t *len, satchel_error *error);
int satchel_schedule_get(satchel_client *client, const char *name, char **json, size_t *len, satchel_error *error);
/* The same, with the next `n` (1 to 100) times in its member "next". */
int satchel_schedule_next(satchel_client *client, const char *name, unsigned n, char **json, size_t *len,
                          satchel_error *error);
/* Makes or replaces one.  `definition`: a JSON object, {"cron": "0 3 * * *", "timezone"?, "missed"?, "paused"?} and the
 * members of a submission.  `json` (may be NULL) gets the schedule.  SATCHEL_ECONFLICT: it is in the configuration. */
int satchel_schedule_put(satchel_client *client, const char *name, const char *definition, char **json, size_t *len,
                         satchel_error *error);
int satchel_schedule_delete(satchel_client *client, const char *name, satchel_error *error);
/* Lets it rest, or go on. */
int satchel_schedule_pause(satchel_client *client, const char *name, bool paused, satchel_error *error);
/* Submits its task now. */
int satchel_schedule_run(satchel_client *client, const char *name, satchel_future **out, satchel_error *error);

/* ---- actions by filter ---- */

typedef enum satchel_action {
    SATCHEL_CANCEL_TASKS = 1, /* running ones are told to end, and not waited for */
    SATCHEL_RETRY_TASKS,      /* failed, expired and canceled ones run again */
    SATCHEL_DELETE_TASKS      /* finished ones are forgotten */
} satchel_action;

enum {
    SATCHEL_ACT_ALL = 1u << 0,    /* needed where there is no filter: all tasks of the tenant */
    SATCHEL_ACT_DRY_RUN = 1u << 1 /* counts only */
};

typedef struct satchel_action_counts {
    size_t struct_size; /* set before the call */
    uint64_t matched, changed, conflicts;
    bool more; /* there may be more that match: call again, with the cursor where there is one */
} satchel_action_counts;

/* Does that to the tasks that match `filter` (NULL: none), newest first, at most `filter->limit` of them (0: the
 * daemon's default).  `next` (may be NULL) gets where to go on, or NULL. */
int satchel_act(satchel_client *client, satchel_action action, const satchel_list_options *filter, unsigned flags,
                satchel_action_counts *counts, char **next, satchel_error *error);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif
#endif
