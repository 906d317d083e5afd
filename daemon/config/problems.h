/* Problems of a configuration: reported one line each as "file:line: what is wrong", and counted.
 * Thread: the one that loads the configuration. */
#ifndef SATCHEL_CONFIG_PROBLEMS_H
#define SATCHEL_CONFIG_PROBLEMS_H

struct config_where {
    const char *file; /* a path, or "command line", or "environment" */
    unsigned line;    /* 0: the whole of it */
};

struct problems {
    void (*report)(void *arg, const char *line);
    void *arg;
    unsigned count;
};

void problems_add(struct problems *problems, struct config_where where, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
