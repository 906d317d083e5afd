#include "base/systemd_loader.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct systemd_functions functions;
static char why[256];
static bool loaded;

static const struct {
    const char *name;
    size_t offset;
} symbols[] = {
#define SYMBOL(member)                                                                                                 \
    {                                                                                                                  \
        "sd_" #member, offsetof(struct systemd_functions, member)                                                      \
    }
    SYMBOL(notify), SYMBOL(watchdog_enabled), SYMBOL(listen_fds_with_names), SYMBOL(is_socket), SYMBOL(journal_sendv),
};

static void load(void)
{
    void *library = dlopen("libsystemd.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        (void)snprintf(why, sizeof why, "libsystemd cannot be loaded: %s", dlerror());
        return;
    }
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        void *symbol = dlsym(library, symbols[i].name);
        if (!symbol) {
            (void)snprintf(why, sizeof why, "libsystemd is too old: it has no %s", symbols[i].name);
            return;
        }
        *(void **)((char *)&functions + symbols[i].offset) = symbol;
    }
    loaded = true;
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
