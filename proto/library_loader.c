#include "proto/library_loader.h"

#include <dlfcn.h>
#include <stdio.h>

void *library_load(const char *file, const char *title, const struct library_symbol *symbols, size_t n_symbols,
                   void *table, char *why, size_t why_size)
{
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        (void)snprintf(why, why_size, "%s cannot be loaded: %s", title, dlerror());
        return NULL;
    }
    for (size_t i = 0; i < n_symbols; i++) {
        void *symbol = dlsym(library, symbols[i].name);
        if (!symbol) {
            (void)snprintf(why, why_size, "%s is too old: it has no %s", title, symbols[i].name);
            (void)dlclose(library);
            return NULL;
        }
        *(void **)((char *)table + symbols[i].offset) = symbol;
    }
    return library;
}
