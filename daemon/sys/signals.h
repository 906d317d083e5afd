/* Signals: blocked in every thread, and taken one by one by the main thread.
 *
 * SIGTERM and SIGINT ask for a stop, a second one for a stop at once; SIGHUP for a reload.  SIGPIPE is ignored.
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
/* From now on a second SIGTERM or SIGINT ends the process at once with status 128 + the signal's number, even while
 * main is busy stopping: a thread of its own waits for it.  0 or -errno. */
int signals_guard_stop(void);

#endif
