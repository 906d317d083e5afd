#include "proto/curl_loader.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "proto/library_loader.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct curl_functions functions;
static char why[256];
static bool loaded;

static const struct library_symbol symbols[] = {
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
    void *library = library_load("libcurl.so.4", "libcurl", symbols, sizeof symbols / sizeof symbols[0], &functions,
                                 why, sizeof why);
    if (!library)
        return;
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
