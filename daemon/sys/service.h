/* What the daemon tells the service manager (systemd's sd_notify protocol) and gets from it: readiness, reloading,
 * stopping, status, watchdog, inherited sockets.  Without a service manager every call does nothing.
 * Thread: main. */
#ifndef SATCHEL_SYS_SERVICE_H
#define SATCHEL_SYS_SERVICE_H

#include <stddef.h>
#include <stdint.h>

void service_ready(const char *status); /* READY=1; also after a reload */
void service_reloading(void);           /* RELOADING=1 with its time; service_ready ends it */
void service_stopping(const char *status);
void service_status(const char *status); /* one line for `systemctl status` */
void service_watchdog(void);             /* WATCHDOG=1: call only when every loop and the engine have turned */
void service_watchdog_trigger(void);     /* something is stuck for good: have the manager act at once */
void service_extend_timeout(int64_t us); /* a start, reload or stop needs so much longer from now */

/* How often to call service_watchdog: half of what the manager grants, in nanoseconds; 0: not wanted. */
int64_t service_watchdog_interval_ns(void);

struct service_socket { /* an inherited listening socket, close-on-exec */
    int fd;
    char name[64]; /* FileDescriptorName=; "" where there is none */
};

#define SERVICE_SOCKETS_MAX 64

/* How many sockets were inherited (0: none), or -1 with what is wrong with them in `error`.  The environment
 * variables are removed, so that children do not take the sockets for theirs: call it once, before threads. */
int service_take_sockets(struct service_socket sockets[SERVICE_SOCKETS_MAX], char *error, size_t error_size);

#endif
