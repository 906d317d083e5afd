/* A reply that follows a task: it streams what is there, then what comes, until the task is finished.
 *
 * One call goes round: the engine says that something has changed since it was seen, the reader reads the task and the
 * next piece of its log, `emit` writes what is new.  So nothing but what is durable is told, however much happens in
 * between costs one read, and a client that was cut off goes on where it was.
 * Thread: the loop's, as of every call. */
#ifndef SATCHEL_API_FOLLOW_H
#define SATCHEL_API_FOLLOW_H

#include "api/calls.h"

struct follow {
    struct api_call call;
    bool ends_here; /* what is there now, and no more */
    bool live;      /* the engine knows the task: it is not finished */
    bool finished;  /* `record` is the task's end, and its log is told whole */
    /* Nothing is streamed yet: begins the stream, or replies otherwise and returns false. */
    bool (*begin)(struct follow *follow, struct http_exchange *exchange, const struct read_call *read);
    void (*emit)(struct follow *follow, struct http_exchange *exchange, const struct read_call *read);
    void (*beat)(struct follow *follow, struct http_exchange *exchange); /* nothing has happened for a while */
};

/* `size`: of the larger struct that starts with a follow; zero-filled.  NULL: no memory, and replied. */
struct follow *follow_new(struct visit *visit, size_t size);
void follow_start(struct follow *follow, struct http_exchange *exchange); /* call.id and call.log_from are set */

#endif
