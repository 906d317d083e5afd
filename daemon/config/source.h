/* The text of the configuration: files in libConfuse's syntax, read whole and kept as text with its file and line.
 * What the words mean is decided in options.c and sections.c; here only their shape is known.
 * Thread: one at a time (libConfuse keeps global state). */
#ifndef SATCHEL_CONFIG_SOURCE_H
#define SATCHEL_CONFIG_SOURCE_H

#include <stdbool.h>
#include <stddef.h>

#include "config/problems.h"

struct source_shape { /* a NULL name ends the array */
    const char *name;
    bool list;                          /* takes {...} */
    const struct source_shape *section; /* not NULL: a section with these inside; may come any number of times */
    bool titled;
};

struct source;
struct cfg_t; /* a section, or the whole */

int source_new(const struct source_shape *shape, struct problems *problems, struct source **ret); /* both borrowed */
void source_free(struct source *source);                                                          /* NULL is fine */
/* Reads one file and reports everything that is wrong with its shape.  A file that cannot be read is a problem, too,
 * unless it is missing and `optional`. */
void source_add(struct source *source, const char *path, bool optional);
/* Puts the files together, in the order they were added; later settings replace earlier ones.  NULL: no memory. */
struct cfg_t *source_finish(struct source *source);

bool source_is_set(struct cfg_t *section, const char *name);
size_t source_count(struct cfg_t *section, const char *name); /* values of a setting, or sections of that name */
const char *source_value(struct cfg_t *section, const char *name, size_t index, struct config_where *ret_where);
struct cfg_t *source_section(struct cfg_t *section, const char *name, size_t index);
const char *source_title(struct cfg_t *section, struct config_where *ret_where);

#endif
