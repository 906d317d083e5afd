/* libsystemd, loaded where the environment says that systemd is there: with what it needs (compression, cryptography)
 * it costs a megabyte of resident memory, which a daemon that was started by hand does not have to pay.
 * Thread: any; loaded once. */
#ifndef SATCHEL_BASE_SYSTEMD_LOADER_H
#define SATCHEL_BASE_SYSTEMD_LOADER_H

#include <stdint.h>
#include <sys/uio.h>

struct systemd_functions { /* as in <systemd/sd-daemon.h> and <systemd/sd-journal.h> */
    int (*notify)(int unset_environment, const char *state);
    int (*watchdog_enabled)(int unset_environment, uint64_t *usec);
    int (*listen_fds_with_names)(int unset_environment, char ***names);
    int (*is_socket)(int fd, int family, int type, int listening);
    int (*journal_sendv)(const struct iovec *iov, int n);
};

/* NULL: it cannot be loaded, and systemd_problem says why. */
const struct systemd_functions *systemd_load(void);
const char *systemd_problem(void);

#endif
