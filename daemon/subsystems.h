/* The daemon as a whole: what is started in which order, and stopped in the reverse.
 * Thread: main alone. */
#ifndef SATCHEL_SUBSYSTEMS_H
#define SATCHEL_SUBSYSTEMS_H

#include "config/config.h"

struct daemon;

struct daemon_socket { /* an inherited listening socket */
    int fd;
    bool secure; /* TLS is spoken on it */
};

/* Takes its own reference of the configuration.  `sockets`: inherited listening sockets, which replace the configured
 * addresses; the daemon owns them from here on.  0, or -1 with what failed in `error`; what had been started is
 * stopped again. */
int daemon_start(struct config *config, const struct daemon_socket *sockets, size_t n_sockets, struct daemon **ret,
                 char *error, size_t error_size);
const char *daemon_address(const struct daemon *daemon, size_t index); /* NULL: past the end */
/* Takes the configuration up, with its task types, plugins and tenants (its own reference), or nothing of it: -1, with
 * each problem told to `report`. */
int daemon_reload(struct daemon *daemon, struct config *config, void (*report)(void *arg, const char *line), void *arg);
/* Unloads what a reload replaced, as far as nothing uses it any more.  True: something is left for later. */
bool daemon_tidy(struct daemon *daemon);
/* True when every loop and the engine have turned since the last call. */
bool daemon_is_alive(struct daemon *daemon);
/* Stops accepting and waits for running work as configured.  daemon_hurry from a signal handler's thread ends the
 * waiting. */
void daemon_stop(struct daemon *daemon);
void daemon_hurry(struct daemon *daemon);
void daemon_free(struct daemon *daemon); /* NULL is fine */

#endif
