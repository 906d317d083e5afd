/* The table of task types: the built-in ones, then the configuration's, then what plugins register.
 * Built by one thread and immutable from then on.  Flow: subsystems, reload -> registry_new -> command.c, http_task.c, plugin.c. */
#include "executor/registry.h"

#include <stdio.h>
#include <stdlib.h>

#include "executor/builtin.h"
#include "executor/callback.h"
#include "executor/canary.h"
#include "executor/command.h"
#include "executor/http_task.h"
#include "executor/plugin.h"

#define TYPES_MAX 4096u
#define NAME_MAX_LEN 64u
#define RESERVED "satchel."

static uint32_t hash_of(struct slice name)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < name.len; i++)
        hash = (hash ^ (unsigned char)name.data[i]) * 16777619u;
    return hash;
}

bool registry_name_valid(struct slice name)
{
    if (name.len == 0 || name.len > NAME_MAX_LEN)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
              c == '-'))
            return false;
    }
    return true;
}

static struct registered *slot_of(const struct registry *registry, struct slice name)
{
    size_t at = hash_of(name) % REGISTRY_SLOTS;
    while (registry->slots[at] && !slice_eq_str(name, registry->slots[at]->type.name))
        at = (at + 1) % REGISTRY_SLOTS;
    return registry->slots[at];
}

int registry_add(struct registry *registry, const struct task_type *type, struct type_owner owner, char *error,
                 size_t error_size)
{
    struct slice name = slice_str(type->name);
    const char *fault = NULL;
    if (!registry_name_valid(name))
        fault = "a task type's name has 1 to 64 of A-Z a-z 0-9 . _ -";
    else if (owner.where && strncmp(type->name, RESERVED, strlen(RESERVED)) == 0)
        fault = "names that begin with satchel. are the built-in task types'";
    else if (slot_of(registry, name))
        fault = "there is a task type of that name already";
    else if (registry->n == TYPES_MAX)
        fault = "there are too many task types";
    if (fault) {
        (void)snprintf(error, error_size, "%s: task \"%.80s\": %s", owner.where ? owner.where : "built in", type->name,
                       fault);
        return -1;
    }
    struct registered *one = calloc(1, sizeof *one);
    char *own_name = strdup(type->name);
    if (!one || !own_name) {
        free(one);
        free(own_name);
        (void)snprintf(error, error_size, "out of memory");
        return -1;
    }
    one->type = *type;
    one->type.name = own_name;
    one->type.index = (uint16_t)registry->n;
    one->type.max_result = (size_t)registry->config->max_result;
    one->type.max_depth = (int)registry->config->max_json_depth;
    one->release = owner.release;
    one->detail = owner.detail;
    registry->types[registry->n++] = one;
    size_t at = hash_of(name) % REGISTRY_SLOTS;
    while (registry->slots[at])
        at = (at + 1) % REGISTRY_SLOTS;
    registry->slots[at] = one;
    return 0;
}

static int add_builtins(struct registry *registry, char *error, size_t error_size)
{
    for (size_t i = 0; i < n_builtins; i++) {
        struct task_type type = {.name = builtins[i].name,
                                 .executor = &builtin_executor,
                                 .detail = &builtins[i],
                                 .propagate = PROPAGATE_ALL,
                                 .quick = builtins[i].quick};
        if (registry_add(registry, &type, (struct type_owner){0}, error, error_size) < 0)
            return -1;
    }
    return 0;
}

static int add_internal(struct registry *registry, char *error, size_t error_size)
{
    if (callback_register(registry, error, error_size) < 0)
        return -1;
    return canaries_register(registry, error, error_size);
}

static int add_configured(struct registry *registry, char *error, size_t error_size)
{
    const struct config *config = registry->config;
    for (size_t i = 0; i < config->n_tasks; i++) {
        const struct config_task *task = &config->tasks[i];
        int err = task->url ? http_register(registry, task, error, error_size)
                            : command_register(registry, task, error, error_size);
        if (err < 0)
            return -1;
    }
    for (size_t i = 0; i < config->n_plugins; i++)
        if (plugin_load(registry, &config->plugins[i], error, error_size) < 0)
            return -1;
    return 0;
}

int registry_new(const struct config *config, struct registry **ret, char *error, size_t error_size)
{
    struct registry *registry = calloc(1, sizeof *registry);
    if (registry)
        registry->types = calloc(TYPES_MAX, sizeof registry->types[0]);
    if (!registry || !registry->types) {
        free(registry);
        (void)snprintf(error, error_size, "out of memory");
        return -1;
    }
    registry->config = config_ref((struct config *)(uintptr_t)config);
    if (add_builtins(registry, error, error_size) < 0 || add_internal(registry, error, error_size) < 0 ||
        add_configured(registry, error, error_size) < 0) {
        registry_free(registry);
        return -1;
    }
    *ret = registry;
    return 0;
}

void registry_free(struct registry *registry)
{
    if (!registry)
        return;
    for (size_t i = 0; i < registry->n; i++) {
        struct registered *one = registry->types[i];
        if (one->release)
            one->release(one->detail);
        free((char *)(uintptr_t)one->type.name);
        free(one);
    }
    plugins_unload(registry);
    config_unref(registry->config);
    free(registry->types);
    free(registry);
}

const struct task_type *registry_find(const struct registry *registry, struct slice name)
{
    const struct registered *one = slot_of(registry, name);
    return one ? &one->type : NULL;
}

const struct task_type *registry_at(const struct registry *registry, size_t index)
{
    return index < registry->n ? &registry->types[index]->type : NULL;
}
