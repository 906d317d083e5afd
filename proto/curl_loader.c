#include "proto/curl_loader.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct curl_functions functions;
static char why[256];
static bool loaded;

static const struct {
    const char *name;
    size_t offset;
} symbols[] = {
#define SYMBOL(member)                                                                                                 \
    {                                                                                                                  \
        "curl_" #member, offsetof(struct curl_functions, member)                                                       \
    }
    SYMBOL(easy_init),
    SYMBOL(easy_cleanup),
    SYMBOL(easy_reset),
    SYMBOL(easy_perform),
    SYMBOL(easy_setopt),
    SYMBOL(easy_getinfo),
    SYMBOL(easy_strerror),
    SYMBOL(multi_init),
    SYMBOL(multi_cleanup),
    SYMBOL(multi_add_handle),
    SYMBOL(multi_remove_handle),
    SYMBOL(multi_perform),
    SYMBOL(multi_poll),
    SYMBOL(multi_info_read),
    SYMBOL(multi_setopt),
    SYMBOL(slist_append),
    SYMBOL(slist_free_all),
    SYMBOL(url),
    SYMBOL(url_cleanup),
    SYMBOL(url_set),
    SYMBOL(url_get),
    SYMBOL(free),
};

static void load(void)
{
    void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        (void)snprintf(why, sizeof why, "libcurl cannot be loaded: %s", dlerror());
        return;
    }
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        void *symbol = dlsym(library, symbols[i].name);
        if (!symbol) {
            (void)snprintf(why, sizeof why, "libcurl is too old: it has no %s", symbols[i].name);
            return;
        }
        *(void **)((char *)&functions + symbols[i].offset) = symbol;
    }
    CURLcode (*global_init)(long flags);
    *(void **)&global_init = dlsym(library, "curl_global_init");
    if (!global_init || global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        (void)snprintf(why, sizeof why, "libcurl cannot be initialised");
        return;
    }
    loaded = true;
}

const struct curl_functions *curl_load(const char **ret_why)
{
    (void)pthread_once(&once, load);
    if (!loaded && ret_why)
        *ret_why = why;
    return loaded ? &functions : NULL;
}
