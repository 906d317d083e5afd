/* Ctrl-C: a thread of its own waits for SIGINT, which is blocked everywhere, and cancels the context that the main
 * thread waits in, so that a wait ends at once and may still say or cancel something.
 * Thread: main; the watcher touches what is atomic or immutable. */
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "client/cli/cli.h"

#define SAME_MS 300 /* timeout(1) signals its child and then its process group: once meant, twice sent */

static atomic_bool soft; /* the main thread waits and will see to its end */
static satchel_cancel *interrupted;

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void *watch(void *arg)
{
    (void)arg;
    sigset_t set;
    int number;
    int64_t first_ms = INT64_MIN / 2;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    for (;;) {
        if (sigwait(&set, &number) != 0)
            continue;
        if (atomic_exchange(&soft, false)) {
            first_ms = now_ms();
            satchel_cancel_fire(interrupted, SIGINT);
        } else if (now_ms() - first_ms > SAME_MS) {
            _exit(EXIT_INTERRUPTED);
        }
    }
    return NULL;
}

/* The watcher works for no task: it begins in an empty context. */
static bool start_empty(pthread_t *thread, const pthread_attr_t *attributes)
{
    satchel_context *empty = satchel_context_new();
    bool started = empty && satchel_context_enter(empty) == SATCHEL_OK;
    if (started) {
        started = satchel_thread_create(thread, attributes, watch, NULL) == SATCHEL_OK;
        (void)satchel_context_exit(empty);
    }
    satchel_context_unref(empty);
    return started;
}

void interrupts_start(void)
{
    struct sigaction now;
    sigset_t set;
    pthread_attr_t attributes;
    pthread_t thread;
    if (interrupted || sigaction(SIGINT, NULL, &now) != 0 || now.sa_handler == SIG_IGN)
        return;
    if (satchel_cancel_new(NULL, &interrupted) != SATCHEL_OK || satchel_set_cancel(interrupted, NULL) != SATCHEL_OK)
        return; /* the signal's default stays */
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (!start_empty(&thread, &attributes))
        (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    (void)pthread_attr_destroy(&attributes);
}

int interrupts_wait(satchel_future *future, int64_t timeout_ms, satchel_error *error)
{
    atomic_store(&soft, true);
    int status = satchel_future_wait(future, timeout_ms, error);
    atomic_store(&soft, false);
    return status;
}
