/* Loading and unloading plugins.  Called by registry.c. */
#include "executor/plugin.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/plugin_abi.h"

#define REASON_SIZE 256

struct plugin {
    void *handle; /* of dlopen: the same for every path that leads to one file */
    char *path, *config;
    unsigned refs;
    struct plugin_handler *handlers; /* in the order of their registration */
    void (*fini)(void);
    struct plugin *next;
};

struct plugin_use { /* one registry's reference */
    struct plugin *plugin;
    struct plugin_use *next;
};

static pthread_mutex_t lock =
    PTHREAD_MUTEX_INITIALIZER; /* guards loaded and every refs; never held over a plugin's code */
static struct plugin *loaded;

/* ---- satchel_plugin_init's view ---- */

struct loading {
    satchel_plugin host; /* first: what the plugin holds */
    struct plugin *plugin;
    char reason[REASON_SIZE]; /* the first one; "": none */
};

static void set_reason(struct loading *l, const char *name, const char *what)
{
    if (l->reason[0])
        return;
    if (name)
        (void)snprintf(l->reason, sizeof l->reason, "task \"%.80s\": %s", name, what);
    else
        (void)snprintf(l->reason, sizeof l->reason, "%.200s", what);
}

static bool has_handler(const struct plugin *plugin, const char *name)
{
    for (const struct plugin_handler *h = plugin->handlers; h; h = h->next)
        if (strcmp(h->name, name) == 0)
            return true;
    return false;
}

static bool read_options(const satchel_handler_options *from, satchel_handler_options *ret)
{
    *ret = (satchel_handler_options){.struct_size = sizeof *ret};
    if (!from)
        return true;
    if (from->struct_size < offsetof(satchel_handler_options, flags) + sizeof from->flags)
        return false;
    memcpy(ret, from, sizeof *ret < from->struct_size ? sizeof *ret : from->struct_size);
    return ret->timeout_ms >= 0 && ret->timeout_ms <= INT64_MAX / 1000000 &&
           (ret->flags & ~(unsigned)SATCHEL_HANDLER_QUICK) == 0;
}

static void append_handler(struct plugin *plugin, struct plugin_handler *handler)
{
    struct plugin_handler **at = &plugin->handlers;
    while (*at)
        at = &(*at)->next;
    *at = handler;
}

static int add_handler(satchel_plugin *host, const char *name, satchel_handler fn, void *user,
                       const satchel_handler_options *options)
{
    struct loading *l = (struct loading *)host;
    satchel_handler_options own;
    if (!name || !registry_name_valid(slice_str(name))) {
        set_reason(l, name ? name : "(null)", "a task type's name has 1 to 64 of A-Z a-z 0-9 . _ -");
        return SATCHEL_EINVAL;
    }
    if (!fn || !read_options(options, &own)) {
        set_reason(l, name, fn ? "its options are not valid" : "has no function");
        return SATCHEL_EINVAL;
    }
    if (has_handler(l->plugin, name)) {
        set_reason(l, name, "is registered twice");
        return SATCHEL_EEXIST;
    }
    struct plugin_handler *handler = calloc(1, sizeof *handler);
    if (handler)
        *handler = (struct plugin_handler){.name = strdup(name), .fn = fn, .user = user, .options = own};
    if (!handler || !handler->name) {
        free(handler);
        set_reason(l, name, "out of memory");
        return SATCHEL_ENOMEM;
    }
    append_handler(l->plugin, handler);
    return SATCHEL_OK;
}

static void note_failure(satchel_plugin *host, const char *message)
{
    set_reason((struct loading *)host, NULL, message);
}

static const struct satchel_plugin_ops ops = {add_handler, note_failure};

/* ---- loading ---- */

static void plugin_free(struct plugin *plugin)
{
    while (plugin->handlers) {
        struct plugin_handler *handler = plugin->handlers;
        plugin->handlers = handler->next;
        free(handler->name);
        free(handler);
    }
    if (plugin->handle)
        (void)dlclose(plugin->handle);
    free(plugin->path);
    free(plugin->config);
    free(plugin);
}

/* A function by its name; dlsym's void * and a function's address are the same here (POSIX). */
static bool find(void *handle, const char *name, void *ret_function)
{
    void *address = dlsym(handle, name);
    memcpy(ret_function, &address, sizeof address);
    return address != NULL;
}

static const char *check_symbols(struct plugin *plugin, int (**ret_init)(satchel_plugin *), char room[REASON_SIZE])
{
    unsigned (*abi)(void);
    if (!find(plugin->handle, "satchel_plugin_init", ret_init))
        return "it does not export satchel_plugin_init";
    if (!find(plugin->handle, "satchel_plugin_abi", &abi))
        return "it does not export satchel_plugin_abi";
    if (abi() != SATCHEL_PLUGIN_ABI) {
        (void)snprintf(room, REASON_SIZE, "it was compiled for plugin interface %u, this is %u; compile it anew", abi(),
                       SATCHEL_PLUGIN_ABI);
        return room;
    }
    (void)find(plugin->handle, "satchel_plugin_fini", &plugin->fini);
    return NULL;
}

static const char *initialize(struct plugin *plugin, char room[REASON_SIZE])
{
    struct loading l = {.host = {.ops = &ops, .path = plugin->path, .config = plugin->config}, .plugin = plugin};
    int (*init)(satchel_plugin *);
    const char *reason = check_symbols(plugin, &init, room);
    if (reason)
        return reason;
    int result = init(&l.host);
    if (result != 0 || l.reason[0]) {
        if (!l.reason[0])
            (void)snprintf(l.reason, sizeof l.reason, "satchel_plugin_init returned %d", result);
        memcpy(room, l.reason, sizeof l.reason);
        if (result == 0 && plugin->fini)
            plugin->fini(); /* it thinks that it is running */
        return room;
    }
    return plugin->handlers ? NULL : "it registers no task type";
}

static bool same_config(const struct plugin *plugin, const struct config_plugin *config)
{
    const char *a = plugin->config ? plugin->config : "", *b = config->argument ? config->argument : "";
    return strcmp(a, b) == 0;
}

/* The plugin with one more reference; NULL and the reason. */
static struct plugin *load(const struct config_plugin *config, char room[REASON_SIZE], const char **ret_reason)
{
    void *handle = dlopen(config->path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        (void)snprintf(room, REASON_SIZE, "%.250s", dlerror());
        *ret_reason = room;
        return NULL;
    }
    (void)pthread_mutex_lock(&lock);
    struct plugin *plugin = loaded;
    while (plugin && plugin->handle != handle)
        plugin = plugin->next;
    bool fits = plugin && same_config(plugin, config);
    plugin = plugin ? (plugin->refs += fits, plugin) : NULL;
    (void)pthread_mutex_unlock(&lock);
    if (plugin) {
        (void)dlclose(handle); /* its first reference holds it */
        *ret_reason = fits ? NULL : "it is loaded with another config; restart satcheld to change that";
        return fits ? plugin : NULL;
    }
    plugin = calloc(1, sizeof *plugin);
    if (!plugin) {
        (void)dlclose(handle);
        *ret_reason = "out of memory";
        return NULL;
    }
    *plugin = (struct plugin){.handle = handle, .path = strdup(config->path), .refs = 1};
    plugin->config = config->argument ? strdup(config->argument) : NULL;
    *ret_reason = plugin->path && (plugin->config || !config->argument) ? initialize(plugin, room) : "out of memory";
    if (*ret_reason) {
        plugin_free(plugin);
        return NULL;
    }
    (void)pthread_mutex_lock(&lock);
    plugin->next = loaded;
    loaded = plugin;
    (void)pthread_mutex_unlock(&lock);
    return plugin;
}

static void unload(struct plugin *plugin)
{
    (void)pthread_mutex_lock(&lock);
    bool last = --plugin->refs == 0;
    for (struct plugin **at = &loaded; last && *at; at = &(*at)->next)
        if (*at == plugin) {
            *at = plugin->next;
            break;
        }
    (void)pthread_mutex_unlock(&lock);
    if (!last)
        return;
    if (plugin->fini)
        plugin->fini();
    plugin_free(plugin);
}

static int add_types(struct registry *registry, const struct plugin *plugin, const char *where, char *error,
                     size_t error_size)
{
    for (const struct plugin_handler *h = plugin->handlers; h; h = h->next) {
        struct task_type type = {.name = h->name,
                                 .executor = &plugin_executor,
                                 .detail = h,
                                 .timeout_us = h->options.timeout_ms * 1000,
                                 .concurrency = h->options.concurrency,
                                 .propagate = PROPAGATE_ALL,
                                 .quick = h->options.flags & SATCHEL_HANDLER_QUICK};
        if (registry_add(registry, &type, (struct type_owner){.where = where}, error, error_size) < 0)
            return -1;
    }
    return 0;
}

int plugin_load(struct registry *registry, const struct config_plugin *config, char *error, size_t error_size)
{
    char room[REASON_SIZE], where[512];
    const char *reason = "out of memory";
    struct plugin_use *use = calloc(1, sizeof *use);
    if (use)
        use->plugin = load(config, room, &reason);
    if (!use || !use->plugin) {
        free(use);
        (void)snprintf(error, error_size, "%s: plugin %.200s: %s", config->where, config->path, reason);
        return -1;
    }
    use->next = registry->plugins;
    registry->plugins = use;
    (void)snprintf(where, sizeof where, "%.200s: plugin %.250s", config->where, config->path);
    return add_types(registry, use->plugin, where, error, error_size);
}

void plugins_unload(struct registry *registry)
{
    while (registry->plugins) {
        struct plugin_use *use = registry->plugins;
        registry->plugins = use->next;
        unload(use->plugin);
        free(use);
    }
}
