/* The daemon's command line.  Thread: main, before anything else. */
#ifndef SATCHEL_CONFIG_ARGUMENTS_H
#define SATCHEL_CONFIG_ARGUMENTS_H

#include "config/config.h"

enum arguments_action {
    ARGUMENTS_SERVE,
    ARGUMENTS_CHECK,        /* --check: load the configuration, exit 0 or 78 */
    ARGUMENTS_PRINT_CONFIG, /* --print-config: load and print it */
    ARGUMENTS_VERSION,
    ARGUMENTS_HELP
};

#define ARGUMENTS_MAX_LISTEN 64

struct arguments {
    enum arguments_action action;
    struct config_overrides overrides; /* points into argv and into `listen`: do not copy this struct */
    const char *listen[ARGUMENTS_MAX_LISTEN];
};

/* 0, or -1 with what is wrong in `error`: exit 64 then.  Values are checked by config_load. */
int arguments_parse(int argc, char *const argv[], struct arguments *ret, char *error, size_t error_size);
void arguments_help(void (*put)(void *arg, const char *line), void *arg);

#endif
