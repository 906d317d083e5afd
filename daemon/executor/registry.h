/* The registry's inside, for the executors that add types to it while it is built.  Nobody else includes this. */
#ifndef SATCHEL_EXECUTOR_REGISTRY_H
#define SATCHEL_EXECUTOR_REGISTRY_H

#include "executor/executor.h"

#define REGISTRY_SLOTS 8192u /* of the hash table: twice as many as types */

struct plugin_use;

struct registered {
    struct task_type type; /* its name is owned */
    void (*release)(void *detail);
    void *detail;
};

struct registry {
    atomic_uint refs;
    struct config *config; /* a reference: commands point into it */
    struct registered **types;
    size_t n;
    struct plugin_use *plugins; /* a list; unloaded after all types are gone */
    struct registered *slots[REGISTRY_SLOTS];
};

struct type_owner {
    const char *where;             /* "file:line", or a plugin's path; NULL: built in */
    void (*release)(void *detail); /* of the type's detail, when the registry goes; NULL: nothing to do */
    void *detail;
};

bool registry_name_valid(struct slice name);
/* Copies the type and its name; takes owner.detail over on success.  -1 and the reason in `error`. */
int registry_add(struct registry *registry, const struct task_type *type, struct type_owner owner, char *error,
                 size_t error_size);

#endif
