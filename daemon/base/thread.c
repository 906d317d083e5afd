/* See thread.h.  The only place in the daemon that starts a thread; tests/sync/libraries.sh holds the tree to it. */
#include "base/thread.h"

#include <errno.h>
#include <satchel/context.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

struct start {
    void *(*fn)(void *arg);
    void *arg;
    char name[THREAD_NAME_MAX + 1];
};

static atomic_uint_fast64_t violations;

bool thread_check(void)
{
    if (!satchel_context_current() && satchel_context_len(NULL) == 0)
        return true;
    char name[THREAD_NAME_MAX + 1] = "";
    (void)pthread_getname_np(pthread_self(), name, sizeof name);
    atomic_fetch_add_explicit(&violations, 1, memory_order_relaxed);
    /* Said in the context that was found: tenant, task and request tell whose it was. */
    LOG_ERROR("context was left on a thread of satcheld's own; it was removed", LOG_TEXT("thread", name));
    for (satchel_context *left; (left = satchel_context_current()) != NULL;)
        (void)satchel_context_exit(left);
    (void)satchel_thread_reset();
    return false;
}

uint64_t thread_violations(void)
{
    return atomic_load_explicit(&violations, memory_order_relaxed);
}

static void *begin(void *arg)
{
    struct start start = *(struct start *)arg;
    free(arg);
    (void)pthread_setname_np(pthread_self(), start.name);
    (void)thread_check();
    void *result = start.fn(start.arg);
    (void)thread_check();
    return result;
}

int thread_start(pthread_t *thread, const char *name, void *(*fn)(void *arg), void *arg)
{
    struct start *start = malloc(sizeof *start);
    satchel_context *empty = satchel_context_new();
    int status = SATCHEL_ENOMEM;
    if (start && empty && satchel_context_enter(empty) == SATCHEL_OK) {
        *start = (struct start){.fn = fn, .arg = arg};
        (void)snprintf(start->name, sizeof start->name, "%s", name);
        status = satchel_thread_create(thread, NULL, begin, start);
        (void)satchel_context_exit(empty);
    }
    satchel_context_unref(empty);
    if (status == SATCHEL_OK)
        return 0;
    free(start);
    return status == SATCHEL_ENOMEM ? -EAGAIN : -EINVAL;
}
