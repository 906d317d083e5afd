/* Signals: blocked in every thread, and taken one by one by the main thread.
 *
 * SIGTERM and SIGINT ask for a stop, a second one for a stop at once; SIGHUP for a reload.  SIGPIPE and
 * SIGXFSZ are ignored.
 * Thread: main; signals_block before any other thread is started. */
#ifndef SATCHEL_SYS_SIGNALS_H
#define SATCHEL_SYS_SIGNALS_H

#include <stdint.h>

enum signals_event {
    SIGNALS_NOTHING, /* the time was up */
    SIGNALS_RELOAD,
    SIGNALS_STOP,
    SIGNALS_STOP_NOW /* every SIGTERM or SIGINT after the first */
};

int signals_block(void); /* 0 or -errno */
/* Waits for the next one, at most `timeout_ns` (negative: for ever). */
enum signals_event signals_wait(int64_t timeout_ns);
/* For the time in which main is busy stopping: a thread of its own takes the signals from now on.  The next SIGTERM or
 * SIGINT calls `hurry` (on that thread; it may come never), the one after that ends the process at once with status
 * 128 + its number; where `hurry` is NULL, the next one does.  0 or -errno. */
int signals_guard_stop(void (*hurry)(void *arg), void *arg);
void signals_guard_end(void); /* `hurry` is not called any more; the next signal ends the process */

#endif
