/* The table of settings (options.def) as data, and what is done with a setting: check and set, print, compare.
 * Thread: the table is constant; the rest works on a snapshot that only its maker holds yet. */
#ifndef SATCHEL_CONFIG_OPTIONS_H
#define SATCHEL_CONFIG_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "config/problems.h"
#include "proto/buf.h"

enum option_kind {
    OPTION_TEXT,
    OPTION_SECRET,
    OPTION_LIST,
    OPTION_COUNT,
    OPTION_NUMBER,
    OPTION_BYTES,
    OPTION_DURATION,
    OPTION_SWITCH
};

struct option {
    const char *name;
    enum option_kind kind;
    size_t offset; /* of its field in struct config */
    const char *standard;
    int64_t min, max;
    const char *unit;
    const char *(*check)(const char *text);
    const char *argument;
    bool reload;
    const char *text;
};

enum {
    N_OPTIONS = 0
#define OPTION(...) +1
#include "config/options.def"
#undef OPTION
};
extern const struct option options[N_OPTIONS];

struct option_value {
    const char *text;
    struct config_where where;
};

const struct option *option_find(const char *name); /* NULL: none of that name */
/* Checks the values and sets the field, replacing what it held; on a problem the field stays. */
void option_set(struct config *config, const struct option *option, const struct option_value *values, size_t n,
                struct problems *problems);
void option_format(const struct config *config, const struct option *option,
                   struct buf *out);                                            /* in file syntax; secrets too */
bool option_is_unset(const struct config *config, const struct option *option); /* a text that nobody has set */
bool option_copy(struct config *to, const struct option *option, const struct config *from); /* false: no memory */
void option_release(struct config *config, const struct option *option);

bool config_list_add(struct config_list *list, const char *text); /* copies; false: no memory */
void config_list_release(struct config_list *list);
void config_quote(struct buf *out, const char *text); /* a string in file syntax */

#endif
