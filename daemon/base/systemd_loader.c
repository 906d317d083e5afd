#include "base/systemd_loader.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "proto/library_loader.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct systemd_functions functions;
static char why[256];
static bool loaded;

static const struct library_symbol symbols[] = {
#define SYMBOL(member)                                                                                                 \
    {                                                                                                                  \
        "sd_" #member, offsetof(struct systemd_functions, member)                                                      \
    }
    SYMBOL(notify), SYMBOL(watchdog_enabled), SYMBOL(listen_fds_with_names), SYMBOL(is_socket), SYMBOL(journal_sendv),
};

static void load(void)
{
    loaded = library_load("libsystemd.so.0", "libsystemd", symbols, sizeof symbols / sizeof symbols[0], &functions, why,
                          sizeof why) != NULL;
}

const struct systemd_functions *systemd_load(void)
{
    (void)pthread_once(&once, load);
    return loaded ? &functions : NULL;
}

const char *systemd_problem(void)
{
    return why;
}
