#include "sys/signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/thread.h"

static bool stop_seen; /* main's */

static void make_set(sigset_t *set)
{
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGTERM);
    (void)sigaddset(set, SIGINT);
    (void)sigaddset(set, SIGHUP);
}

int signals_block(void)
{
    sigset_t set;
    make_set(&set);
    /* A peer that is gone and a limit on the size of files (LimitFSIZE) are results of a write, not our end. */
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGXFSZ, SIG_IGN) == SIG_ERR)
        return -errno;
    /* A shell starts background jobs with SIGINT ignored, and then it would never arrive. */
    const int ours[] = {SIGTERM, SIGINT, SIGHUP};
    for (unsigned i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (signal(ours[i], SIG_DFL) == SIG_ERR)
            return -errno;
    stop_seen = false;
    return -pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static enum signals_event event_of(int number)
{
    if (number == SIGHUP)
        return SIGNALS_RELOAD;
    bool again = stop_seen;
    stop_seen = true;
    return again ? SIGNALS_STOP_NOW : SIGNALS_STOP;
}

enum signals_event signals_wait(int64_t timeout_ns)
{
    sigset_t set;
    make_set(&set);
    int64_t end = clock_mono_ns() + timeout_ns;
    for (;;) {
        int64_t left = timeout_ns < 0 ? 0 : end - clock_mono_ns();
        if (left < 0)
            left = 0;
        struct timespec wait = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
        int number = timeout_ns < 0 ? sigwaitinfo(&set, NULL) : sigtimedwait(&set, NULL, &wait);
        if (number > 0)
            return event_of(number);
        if (errno != EINTR)
            return SIGNALS_NOTHING;
    }
}

static pthread_mutex_t guard_lock = PTHREAD_MUTEX_INITIALIZER; /* guards `guarded` */
static struct {
    void (*hurry)(void *arg);
    void *arg;
} guarded;

static int wait_for_stop(void)
{
    sigset_t set;
    int number = 0;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    while (sigwait(&set, &number) != 0)
        ;
    return number;
}

static void *guard(void *arg)
{
    (void)arg;
    int number = wait_for_stop();
    (void)pthread_mutex_lock(&guard_lock); /* so that what it hurries is not freed meanwhile */
    bool hurried = guarded.hurry != NULL;
    if (hurried)
        guarded.hurry(guarded.arg);
    (void)pthread_mutex_unlock(&guard_lock);
    if (hurried)
        number = wait_for_stop();
    _exit(128 + number);
}

int signals_guard_stop(void (*hurry)(void *arg), void *arg)
{
    pthread_t thread;
    (void)pthread_mutex_lock(&guard_lock);
    guarded.hurry = hurry;
    guarded.arg = arg;
    (void)pthread_mutex_unlock(&guard_lock);
    int err = thread_start(&thread, "stop-guard", guard, NULL);
    return err ? err : -pthread_detach(thread);
}

void signals_guard_end(void)
{
    (void)pthread_mutex_lock(&guard_lock);
    guarded.hurry = NULL;
    (void)pthread_mutex_unlock(&guard_lock);
}
