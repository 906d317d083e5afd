/* The one place that starts a thread: the new one begins in a copy of its creator's current context, as its
 * implicit context, and leaves it when it ends.  Nothing else in the tree calls pthread_create.  Thread: any. */
#include <errno.h>
#include <stdlib.h>

#include "proto/context/internal.h"

struct start {
    struct snapshot *snapshot; /* a reference */
    void *(*fn)(void *);
    void *arg;
};

static void *begin(void *arg)
{
    struct start start = *(struct start *)arg;
    free(arg);
    thread_adopt(start.snapshot);
    return start.fn(start.arg);
}

int satchel_thread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
    if (!thread || !fn)
        return SATCHEL_EINVAL;
    struct start *start = malloc(sizeof *start);
    if (!start)
        return SATCHEL_ENOMEM;
    *start = (struct start){.snapshot = context_snapshot(NULL), .fn = fn, .arg = arg};
    int err = pthread_create(thread, attr, begin, start);
    if (err) {
        snapshot_unref(start->snapshot);
        free(start);
        return err == EINVAL ? SATCHEL_EINVAL : SATCHEL_ENOMEM;
    }
    return SATCHEL_OK;
}
