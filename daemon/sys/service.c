#include "sys/service.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

#include "base/clock.h"

/* A status is one line: what follows a newline would be read as a variable of its own. */
static void notify_with_status(const char *head, const char *status)
{
    char line[256];
    (void)snprintf(line, sizeof line, "%s", status ? status : "");
    line[strcspn(line, "\r\n")] = '\0';
    (void)sd_notifyf(0, "%s%s%s", head, line[0] ? "STATUS=" : "", line);
}

void service_ready(const char *status)
{
    notify_with_status("READY=1\n", status);
}

void service_reloading(void)
{
    (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRId64 "\nSTATUS=Reloading", clock_mono_ns() / 1000);
}

void service_stopping(const char *status)
{
    notify_with_status("STOPPING=1\n", status);
}

void service_status(const char *status)
{
    notify_with_status("", status);
}

void service_watchdog(void)
{
    (void)sd_notify(0, "WATCHDOG=1");
}

void service_watchdog_trigger(void)
{
    (void)sd_notify(0, "WATCHDOG=trigger");
}

void service_extend_timeout(int64_t us)
{
    (void)sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%" PRId64, us);
}

int64_t service_watchdog_interval_ns(void)
{
    uint64_t us;
    if (sd_watchdog_enabled(0, &us) <= 0 || us > INT64_MAX / 1000)
        return 0;
    return (int64_t)us * 1000 / 2;
}

int service_take_sockets(struct service_socket sockets[SERVICE_SOCKETS_MAX], char *error, size_t error_size)
{
    char **names = NULL;
    int n = sd_listen_fds_with_names(1, &names);
    int result = n;
    if (n < 0) {
        (void)snprintf(error, error_size, "inherited sockets (LISTEN_FDS): %s", strerror(-n));
        result = -1;
    } else if (n > SERVICE_SOCKETS_MAX) {
        (void)snprintf(error, error_size, "inherited sockets: %d are more than %d", n, SERVICE_SOCKETS_MAX);
        result = -1;
    }
    for (int i = 0; i < n && result > 0; i++) {
        int fd = SD_LISTEN_FDS_START + i;
        if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0) {
            (void)snprintf(error, error_size, "inherited descriptor %d is not a listening stream socket", fd);
            result = -1;
            break;
        }
        sockets[i].fd = fd;
        (void)snprintf(sockets[i].name, sizeof sockets[i].name, "%s", names && names[i] ? names[i] : "");
    }
    for (int i = 0; names && names[i]; i++)
        free(names[i]);
    free(names);
    return result;
}
