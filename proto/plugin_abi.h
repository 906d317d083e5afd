/* What is behind the opaque handles of <satchel/plugin.h>: the functions of libsatchel (client/plugin.c) call through
 * these tables into the daemon (daemon/executor/plugin*.c).  libsatchel and satcheld are of one build; plugins never
 * see this. */
#ifndef SATCHEL_PROTO_PLUGIN_ABI_H
#define SATCHEL_PROTO_PLUGIN_ABI_H

#include <satchel/plugin.h>

#include "proto/slice.h"

struct satchel_plugin_ops {
    int (*handler)(satchel_plugin *host, const char *name, satchel_handler fn, void *user,
                   const satchel_handler_options *options);
    void (*fail)(satchel_plugin *host, const char *message);
};

struct satchel_plugin {
    const struct satchel_plugin_ops *ops;
    const char *path, *config;
};

struct satchel_task_ops { /* the task's own thread has been checked where that is a rule */
    bool (*own_thread)(const satchel_task *task);
    bool (*canceled)(const satchel_task *task);
    int (*cancel_fd)(const satchel_task *task);
    int (*progress)(satchel_task *task, double fraction, struct slice message);
    int (*log)(satchel_task *task, struct slice line);
    int (*spawn)(satchel_task *task, struct slice submission, char *id);
    int (*succeed)(satchel_task *task, struct slice result, bool is_json);
    struct slice (*after_result)(satchel_task *task, size_t index); /* empty: not known */
    int (*fail)(satchel_task *task, bool final, int64_t delay_ms, const char *message); /* delay negative: none */
};

struct satchel_task {
    const struct satchel_task_ops *ops;
    const char *name, *id, *parent_id, *root_id;
    unsigned attempt, max_attempts;
    size_t n_after;
    const char *const *after; /* ids */
    struct slice args; /* NUL-terminated */
    char error[256];
};

#endif
