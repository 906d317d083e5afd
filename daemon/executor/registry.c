/* The table of task types: the built-in ones, then the configuration's, then what plugins register.
 * Built by one thread and immutable from then on; counted by any.
 * Flow: subsystems (start, reload), main (--check) -> registry_build -> command.c, http_task.c, plugin.c. */
#include "executor/registry.h"

#include <stdio.h>
#include <stdlib.h>

#include "executor/builtin.h"
#include "executor/callback.h"
#include "executor/canary.h"
#include "executor/cgroup.h"
#include "executor/command.h"
#include "executor/http_task.h"
#include "executor/plugin.h"

#define TYPES_MAX 4096u
#define NAME_MAX_LEN 64u
#define RESERVED "satchel."
#define ERROR_SIZE 512

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
    one->type.registry = registry;
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

/* ---- building ---- */

struct problems { /* told one by one */
    void (*report)(void *arg, const char *line);
    void *arg;
    unsigned n;
};

static void note(struct problems *problems, int err, const char *error)
{
    if (err >= 0)
        return;
    problems->n++;
    problems->report(problems->arg, error);
}

static void add_builtins(struct registry *registry, struct problems *problems)
{
    char error[ERROR_SIZE];
    for (size_t i = 0; i < n_builtins; i++) {
        struct task_type type = {.name = builtins[i].name,
                                 .executor = &builtin_executor,
                                 .detail = &builtins[i],
                                 .propagate = PROPAGATE_ALL,
                                 .quick = builtins[i].quick};
        note(problems, registry_add(registry, &type, (struct type_owner){0}, error, sizeof error), error);
    }
}

static void add_internal(struct registry *registry, struct problems *problems)
{
    char error[ERROR_SIZE];
    note(problems, callback_register(registry, error, sizeof error), error);
    note(problems, canaries_register(registry, error, sizeof error), error);
}

/* A registry was built to run tasks, not only to check the configuration. */
static atomic_bool serving;

/* Only the process that runs the commands can say whether it may divide its control group. */
static int prepare_group(const struct config_task *task, char *error, size_t error_size)
{
    char why[512];
    if (!atomic_load(&serving) || !cgroup_wanted(&task->confine) ||
        cgroup_prepare(&task->confine, why, sizeof why) == 0)
        return 0;
    (void)snprintf(error, error_size,
                   "%s: task \"%.80s\": memory_max, cpu_max and pids_max need a unit with Delegate=yes: %.350s",
                   task->where, task->name, why);
    return -1;
}

static void add_configured(struct registry *registry, struct problems *problems)
{
    const struct config *config = registry->config;
    char error[ERROR_SIZE];
    for (size_t i = 0; i < config->n_tasks; i++) {
        const struct config_task *task = &config->tasks[i];
        int err = prepare_group(task, error, sizeof error);
        if (err == 0)
            err = task->url ? http_register(registry, task, error, sizeof error)
                            : command_register(registry, task, error, sizeof error);
        note(problems, err, error);
    }
    for (size_t i = 0; i < config->n_plugins; i++)
        note(problems, plugin_load(registry, &config->plugins[i], error, sizeof error), error);
}

int registry_build(const struct config *config, void (*report)(void *arg, const char *line), void *arg,
                   struct registry **ret)
{
    struct problems problems = {.report = report, .arg = arg};
    struct registry *registry = calloc(1, sizeof *registry);
    if (registry)
        registry->types = calloc(TYPES_MAX, sizeof registry->types[0]);
    if (!registry || !registry->types) {
        free(registry);
        report(arg, "out of memory");
        return -1;
    }
    atomic_init(&registry->refs, 1);
    registry->config = config_ref((struct config *)(uintptr_t)config);
    add_builtins(registry, &problems);
    add_internal(registry, &problems);
    add_configured(registry, &problems);
    if (problems.n) {
        registry_unref(registry);
        return -1;
    }
    *ret = registry;
    return 0;
}

struct first_problem {
    char *text;
    size_t size;
    bool told;
};

static void keep_first(void *arg, const char *line)
{
    struct first_problem *first = arg;
    if (!first->told)
        (void)snprintf(first->text, first->size, "%s", line);
    first->told = true;
}

int registry_new(const struct config *config, struct registry **ret, char *error, size_t error_size)
{
    struct first_problem first = {.text = error, .size = error_size};
    atomic_store(&serving, true);
    return registry_build(config, keep_first, &first, ret);
}

/* ---- life ---- */

static void registry_free(struct registry *registry)
{
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

struct registry *registry_ref(struct registry *registry)
{
    if (registry)
        (void)atomic_fetch_add_explicit(&registry->refs, 1, memory_order_relaxed);
    return registry;
}

void registry_unref(struct registry *registry)
{
    if (registry && atomic_fetch_sub_explicit(&registry->refs, 1, memory_order_acq_rel) == 1)
        registry_free(registry);
}

bool registry_in_use(const struct registry *registry)
{
    /* acquire: what the others did with it lies before the end that follows */
    return atomic_load_explicit(&((struct registry *)(uintptr_t)registry)->refs, memory_order_acquire) > 1;
}

struct config *registry_config(const struct registry *registry)
{
    return registry->config;
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
