/* Reads for answers: a thread with a read-only connection of its own, so that a long list delays neither a commit
 * nor a loop.
 * Thread: reader_post from any; `deliver` is called on the reader's thread and must not block (it posts on). */
#ifndef SATCHEL_STORE_READER_H
#define SATCHEL_STORE_READER_H

#include "base/mailbox.h"
#include "proto/problem.h"
#include "store/store.h"

enum read_kind { READ_TASK, READ_LIST };

#define READ_LOG_MAX ((size_t)256 * 1024)

struct list_query {
    struct slice tenant; /* data NULL: of all tenants (admin) */
    bool has_state;
    enum task_state state;
    struct slice name; /* data NULL: any; the same for the next */
    struct slice label_key, label_value;
    struct slice trace_id; /* 32 hex digits */
    struct slice request_id;
    struct slice group;
    bool has_error;
    enum error_type error;                                           /* of the last attempt */
    int64_t created_after_us, created_before_us, finished_before_us; /* 0: any */
    struct task_id parent, root;                                     /* none: any */
    struct task_id before; /* the cursor: only older ones; none: from the newest */
    unsigned limit;        /* 1..1000 */
    bool ids_only;         /* what is found is in `found`, not in `records` */
};

struct list_found {
    struct task_id id;
    enum task_state state;
};

struct read_call { /* embedded in the caller's request; the reader's until delivered */
    struct mail mail;
    enum read_kind kind;
    void (*deliver)(struct read_call *call);
    /* READ_TASK */
    struct task_id id;
    struct slice tenant; /* data NULL: any; another tenant's task is not found */
    bool with_history;
    /* READ_TASK with_log, from this place in the whole; a piece of at most READ_LOG_MAX bytes */
    bool with_log;
    uint64_t log_from;
    /* READ_LIST: slices must stay valid until delivered */
    struct list_query query;
    /* the answer: owned by the caller once delivered */
    enum store_result result;    /* OK, NOT_FOUND, BUSY, FATAL */
    bool gone;                   /* READ_TASK, NOT_FOUND: it existed and was deleted; `record.status` holds what is
                                     left (state, times) and record.spec is NULL */
    struct task_record record;   /* READ_TASK */
    struct task_history history; /* READ_TASK with_history */
    struct buf log;              /* READ_TASK with_log: the bytes from log_at on */
    uint64_t log_at;             /* larger than log_from where what lay between is gone */
    bool log_more;               /* there is more than this piece */
    struct task_record *records; /* READ_LIST: an array of n (free each with task_record_release, then free) */
    struct list_found *found;    /* READ_LIST with ids_only: an array of n (free it) */
    size_t n;
    struct task_id next; /* READ_LIST: where the next page starts; none: the end */
};

struct reader;

int reader_new(const struct store_options *options, struct reader **ret, char *error, size_t error_size);
bool reader_post(struct reader *reader, struct read_call *call); /* false: too many reads wait; answer 503 */
void reader_stop(struct reader *reader); /* answers what waits, then ends the thread; NULL is fine */
void reader_free(struct reader *reader); /* NULL is fine */

#endif
