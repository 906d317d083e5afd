/* Plugins: shared objects whose handlers run on the worker threads (<satchel/plugin.h>).
 *
 *   plugin.c       loading, registering, unloading
 *   plugin_task.c  what a handler may do while it runs; what its return means
 *
 * A shared object is loaded once in a process, however many registries (a reload makes a second one) refer to it: its
 * satchel_plugin_init is called at the first, its satchel_plugin_fini after the last one is gone.
 * Thread: registries are made and freed on one thread at a time; handlers run on any worker. */
#ifndef SATCHEL_EXECUTOR_PLUGIN_H
#define SATCHEL_EXECUTOR_PLUGIN_H

#include <satchel/plugin.h>

#include "executor/registry.h"

struct plugin_handler { /* a task type's detail */
    char *name;
    satchel_handler fn;
    void *user;
    satchel_handler_options options;
    struct plugin_handler *next;
};

/* Loads it, or takes one more reference of it, and adds its task types.  -1: the reason names file and cause. */
int plugin_load(struct registry *registry, const struct config_plugin *config, char *error, size_t error_size);
void plugins_unload(struct registry *registry); /* no handler may be running */

extern const struct executor plugin_executor; /* plugin_task.c */

#endif
