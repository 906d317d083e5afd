/* A call on its way: from a loop to the engine or the reader and back to the same loop.
 *
 * A call belongs to the loop until it is posted, to the engine or the reader until delivered, then to the loop again.
 * It holds what its reply needs, since the client may be gone when it comes back: then it is only released.
 * Thread: the loop's, between posts. */
#ifndef SATCHEL_API_CALLS_H
#define SATCHEL_API_CALLS_H

#include "api/internal.h"
#include "api/params.h"
#include "api/reply.h"

enum call_view { VIEW_TASK, VIEW_RESULT };

struct api_call {
    struct loop_mail mail;
    struct api *api;
    struct http_ref ref;
    /* The client is gone; while the call is under way it must not be freed.  NULL: it is released. */
    void (*gone)(struct api_call *call);
    /* Back on the loop: reply, or post again.  Returns false to keep the call (it was posted again). */
    bool (*answer)(struct api_call *call, struct http_exchange *exchange);
    void (*release)(struct api_call *call); /* frees it with what it holds; call_release unless it is larger */
    enum { CALL_EMPTY, CALL_ENGINE, CALL_READER } holds;
    union {
        struct engine_call engine;
        struct read_call read;
    };
    bool counted; /* in api->waits */
    /* what the reply depends on */
    enum call_view view;
    int64_t prefer_wait_s; /* applied Prefer: wait; negative: none */
    bool prefer_async, prefer_minimal;
    bool cascade;      /* ENGINE_CANCEL */
    bool with_history; /* READ_TASK: the attempts as well */
    bool with_log;     /* READ_TASK: a piece of the log, from log_from on */
    uint64_t log_from;
    struct engine_seen seen; /* ENGINE_WATCH: what the caller knows */
    bool streaming;          /* the reply has begun: what goes wrong can only end it */
    struct task_id id;
    char tenant[TENANT_MAX + 2];
    char request_id[REQUEST_ID_MAX];
    size_t request_id_len;
};

/* `size`: of the larger struct that starts with a call; zero-filled.  NULL: no memory, and replied. */
struct api_call *call_new(struct visit *visit, size_t size, bool (*answer)(struct api_call *, struct http_exchange *));
void call_release(struct api_call *call);
/* Posts; where the queue is full the exchange is answered and the call released.  `wait_ns`: how long to wait for the
 * task's end, 0: not at all; less where too many calls wait already. */
void call_post_engine(struct api_call *call, struct http_exchange *exchange, enum engine_call_kind kind,
                      int64_t wait_ns);
void call_post_reader(struct api_call *call, struct http_exchange *exchange, enum read_kind kind);
void call_return(struct api_call *call); /* back to its loop, where `answer` is called; from any thread */
/* What a request about a task begins with: its query (`known`, NULL-ended, may be given), or none, and the id of the
 * path.  False: replied. */
bool visit_read_query(struct visit *visit, const char *const *known, struct params *ret);
bool visit_read_nothing(struct visit *visit);
bool visit_read_id(struct visit *visit, struct task_id *ret);
/* Requests that change tasks carry no body; {} is what some clients always send. */
bool visit_has_no_body(struct visit *visit);
void visit_fail(struct visit *visit, const struct problem *problem);
void call_reply_begin(const struct api_call *call, struct http_exchange *exchange, struct reply *ret);
/* A call that waits for a task's end is counted, since its client may be gone.  False: too many do already. */
bool api_wait_begin(struct api *api);
void api_wait_end(struct api *api);
/* The problem that an engine's result means. */
/* Whose task it must be; none (data NULL): an administrator asks, for anybody's. */
struct slice call_tenant(const struct api_call *call);
void engine_call_problem(const struct engine_call *engine, const char *tenant, struct problem *problem);
/* The same, replied. */
void call_reply_refused(struct api_call *call, struct http_exchange *exchange);
void call_reply_read_failed(struct api_call *call, struct http_exchange *exchange);
/* A single read that found no task: gone, never there, or the store cannot be read. */
void call_reply_unread(struct api_call *call, struct http_exchange *exchange);

#endif
