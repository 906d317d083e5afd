/* A task with its sub-tasks, at any depth: read page by page, newest first, then put in order.
 * Thread: the loop's, as of every call. */
#ifndef SATCHEL_API_SUBTREE_H
#define SATCHEL_API_SUBTREE_H

#include "api/calls.h"

#define SUBTREE_MAX 10000u
#define SUBTREE_NONE UINT32_MAX

struct subtree_node {
    struct task_id id, parent;
    uint8_t state;
    bool inside;                /* it is the task at the top, or below it */
    uint32_t up;                /* its parent; SUBTREE_NONE: not inside, or the top */
    uint32_t first, last, next; /* children, oldest first; SUBTREE_NONE: none (more) */
    size_t text, text_len;      /* members of its summary, in subtree.text */
};

struct subtree {
    struct api_call call;       /* first; call.id is the task at the top */
    struct subtree_node *nodes; /* oldest first */
    size_t n, room;
    uint32_t top;   /* its place in nodes */
    bool with_text; /* set by the caller: summaries are wanted */
    bool cut;       /* there are more than SUBTREE_MAX tasks of this root: the newest are here */
    struct buf text;
    struct task_id root;
    /* All is read.  As call->answer; false keeps the call. */
    bool (*done)(struct subtree *tree, struct http_exchange *exchange);
};

/* `size`: of the larger struct that starts with a subtree.  NULL: no memory, and replied. */
struct subtree *subtree_new(struct visit *visit, size_t size,
                            bool (*done)(struct subtree *tree, struct http_exchange *exchange));
/* Reads (again).  Where there is no such task, or it cannot be read, that is replied. */
void subtree_read(struct subtree *tree, struct http_exchange *exchange);
void subtree_release(struct subtree *tree); /* what it holds, not itself */

#endif
