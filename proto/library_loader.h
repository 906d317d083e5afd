/* A library that is loaded when it is first used: its functions into a table of pointers.
 * For curl_loader.c and base/systemd_loader.c, which call it once.  Thread: any. */
#ifndef SATCHEL_LIBRARY_LOADER_H
#define SATCHEL_LIBRARY_LOADER_H

#include <stddef.h>

struct library_symbol {
    const char *name;
    size_t offset; /* of its pointer in the table */
};

/* The library's handle; it is never unloaded.  NULL: why[] says why, with `title` as the library's name; the table may be
 * filled in part. */
void *library_load(const char *file, const char *title, const struct library_symbol *symbols, size_t n_symbols,
                   void *table, char *why, size_t why_size);

#endif
