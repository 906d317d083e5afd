/* One reply while it is put together: the fields that every one has, and the bodies that there are.
 * Thread: the exchange's loop. */
#ifndef SATCHEL_API_REPLY_H
#define SATCHEL_API_REPLY_H

#include "engine/engine.h"
#include "http/http.h"
#include "task/task.h"

#define REPLY_FIELDS_MAX 12u

struct reply {
    struct http_exchange *exchange;
    struct http_field fields[REPLY_FIELDS_MAX];
    size_t n;
    char rate_policy[64], rate[64], retry_after[24], location[sizeof "/v1/tasks/" + TASK_ID_TEXT_SIZE];
};

/* X-Request-ID and Cache-Control: no-store. */
void reply_begin(struct reply *r, struct http_exchange *exchange, struct slice request_id);
void reply_field(struct reply *r, const char *name, struct slice value); /* the value must live until the reply */
void reply_location(struct reply *r, struct task_id id);
void reply_retry_after(struct reply *r, int seconds);
/* RateLimit-Policy and RateLimit, as draft-ietf-httpapi-ratelimit-headers-10 has them. */
void reply_rate(struct reply *r, const struct engine_rate *rate);

/* Each of these ends the exchange. */
void reply_json(struct reply *r, int status, struct slice body);
void reply_buffer(struct reply *r, int status, const struct buf *body); /* JSON; a failed buffer: 503 */
void reply_typed(struct reply *r, int status, const char *type, const struct buf *body); /* another media type */
void reply_empty(struct reply *r, int status);
void reply_task(struct reply *r, int status, const struct task_record *record, const char *node);
void reply_task_history(struct reply *r, int status, const struct task_record *record,
                        const struct task_history *history, const char *node); /* history NULL: without attempts */
void reply_task_minimal(struct reply *r, int status, const struct task_record *record);
void reply_problem(struct reply *r, const struct problem *problem);
void reply_not_found(struct reply *r);
/* The problem with the task's id and state as further members: 409 and 410. */
void reply_problem_task(struct reply *r, const struct problem *problem, struct task_id id,
                        const struct task_status *status);

/* The same as JSON. */
void render_problem_task(const struct problem *problem, struct task_id id, const struct task_status *status,
                         struct buf *out);
/* An empty buffer of the calling thread, to be used within one function; its memory is kept for the next. */
struct buf *scratch(void);

#endif
