#include "sys/service.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/systemd_loader.h"

#define FIRST_FD 3 /* of the inherited ones: sd_listen_fds(3) */

/* NULL where nobody has set the variable, and (told once) where the library is missing. */
static const struct systemd_functions *where_set(const char *variable)
{
    static atomic_bool told;
    if (!getenv(variable))
        return NULL;
    const struct systemd_functions *systemd = systemd_load();
    if (!systemd && !atomic_exchange(&told, true))
        LOG_ERROR("the service manager cannot be told anything", LOG_TEXT("reason", systemd_problem()));
    return systemd;
}

static void notify(const char *state)
{
    const struct systemd_functions *systemd = where_set("NOTIFY_SOCKET");
    if (systemd)
        (void)systemd->notify(0, state);
}

/* A status is one line: what follows a newline would be read as a variable of its own. */
static void notify_with_status(const char *head, const char *status)
{
    char line[256], state[320];
    (void)snprintf(line, sizeof line, "%s", status ? status : "");
    line[strcspn(line, "\r\n")] = '\0';
    (void)snprintf(state, sizeof state, "%s%s%s", head, line[0] ? "STATUS=" : "", line);
    notify(state);
}

void service_ready(const char *status)
{
    notify_with_status("READY=1\n", status);
}

void service_reloading(void)
{
    char state[96];
    (void)snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%" PRId64 "\nSTATUS=Reloading",
                   clock_mono_ns() / 1000);
    notify(state);
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
    notify("WATCHDOG=1");
}

void service_watchdog_trigger(void)
{
    notify("WATCHDOG=trigger");
}

void service_extend_timeout(int64_t us)
{
    char state[64];
    (void)snprintf(state, sizeof state, "EXTEND_TIMEOUT_USEC=%" PRId64, us);
    notify(state);
}

int64_t service_watchdog_interval_ns(void)
{
    uint64_t us;
    const struct systemd_functions *systemd = where_set("WATCHDOG_USEC");
    if (!systemd || systemd->watchdog_enabled(0, &us) <= 0 || us > INT64_MAX / 1000)
        return 0;
    return (int64_t)us * 1000 / 2;
}

int service_take_sockets(struct service_socket sockets[SERVICE_SOCKETS_MAX], char *error, size_t error_size)
{
    char **names = NULL;
    if (!getenv("LISTEN_FDS"))
        return 0;
    const struct systemd_functions *systemd = systemd_load();
    if (!systemd) {
        (void)snprintf(error, error_size, "inherited sockets (LISTEN_FDS): %s", systemd_problem());
        return -1;
    }
    int n = systemd->listen_fds_with_names(1, &names);
    int result = n;
    if (n < 0) {
        (void)snprintf(error, error_size, "inherited sockets (LISTEN_FDS): %s", strerror(-n));
        result = -1;
    } else if (n > SERVICE_SOCKETS_MAX) {
        (void)snprintf(error, error_size, "inherited sockets: %d are more than %d", n, SERVICE_SOCKETS_MAX);
        result = -1;
    }
    for (int i = 0; i < n && result > 0; i++) {
        int fd = FIRST_FD + i;
        if (systemd->is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0) {
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
