/* Making a configuration: defaults, then the files in order, then the command line, then what is worked out.
 * Flow: main.c -> here -> source.c (text), options.c (settings), sections.c -> one immutable struct config. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/address.h"
#include "config/config.h"
#include "config/options.h"
#include "config/sections.h"
#include "config/source.h"
#include "config/tls_section.h"

#define STATE_DIRECTORY_ROOT "/var/lib/satchel"

struct loading {
    struct config *config;
    const struct config_overrides *overrides;
    struct problems problems;
    struct source_shape shape[N_OPTIONS + 8];
    struct source *source;
    struct config_where listen_where[64];
};

static const struct config_where built_in = {"built-in defaults", 0}, command_line = {"command line", 0};

static void make_shape(struct source_shape *shape)
{
    static const struct source_shape sections[] = {{.name = "header", .section = header_shape, .titled = true},
                                                   {.name = "tenant", .section = tenant_shape, .titled = true},
                                                   {.name = "task", .section = task_shape, .titled = true},
                                                   {.name = "plugin", .section = plugin_shape, .titled = true},
                                                   {.name = "schedule", .section = schedule_shape, .titled = true},
                                                   {.name = "auth", .section = auth_shape},
                                                   {.name = "tls", .section = tls_shape},
                                                   {0}};
    size_t n = 0;
    for (; n < N_OPTIONS; n++)
        shape[n] = (struct source_shape){.name = options[n].name, .list = options[n].kind == OPTION_LIST};
    memcpy(&shape[n], sections, sizeof sections);
}

static int is_drop_in(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return entry->d_name[0] != '.' && len > 5 && strcmp(entry->d_name + len - 5, ".conf") == 0;
}

/* By byte, whatever the locale. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void read_files(struct loading *load)
{
    if (load->overrides->file) {
        source_add(load->source, load->overrides->file, false);
        return;
    }
    const char *directory = load->overrides->directory ? load->overrides->directory : SATCHEL_SYSCONFDIR "/satchel";
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/satcheld.conf", directory);
    source_add(load->source, path, true);
    (void)snprintf(path, sizeof path, "%s/conf.d", directory);
    struct dirent **entries;
    int n = scandir(path, &entries, is_drop_in, by_name);
    if (n < 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            problems_add(&load->problems, (struct config_where){path, 0}, "cannot be read: %s", strerror(errno));
        return;
    }
    for (int i = 0; i < n; i++) {
        (void)snprintf(path, sizeof path, "%s/conf.d/%s", directory, entries[i]->d_name);
        source_add(load->source, path, true);
        free(entries[i]);
    }
    free(entries);
}

static void set_one(struct loading *load, const char *name, const char *text, struct config_where where)
{
    struct option_value value = {text, where};
    if (text)
        option_set(load->config, option_find(name), &value, 1, &load->problems);
}

static void set_defaults(struct loading *load)
{
    for (size_t i = 0; i < N_OPTIONS; i++)
        set_one(load, options[i].name, options[i].standard, built_in);
}

static void set_from_files(struct loading *load, struct cfg_t *root)
{
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const struct option *option = &options[i];
        struct option_value values[64] = {0};
        size_t n = source_count(root, option->name);
        if (!source_is_set(root, option->name))
            continue;
        for (size_t k = 0; k < n && k < 64; k++)
            values[k].text = source_value(root, option->name, k, &values[k].where);
        if (n > 64)
            problems_add(&load->problems, values[0].where, "%s has more than 64 values", option->name);
        else
            option_set(load->config, option, values, n, &load->problems);
        if (strcmp(option->name, "listen") == 0)
            for (size_t k = 0; k < n && k < 64; k++)
                load->listen_where[k] = values[k].where;
    }
}

static void set_from_command_line(struct loading *load)
{
    const struct config_overrides *o = load->overrides;
    set_one(load, "data_dir", o->data_dir, command_line);
    set_one(load, "store", o->store, command_line);
    set_one(load, "log_level", o->log_level, command_line);
    set_one(load, "workers", o->workers, command_line);
    if (o->n_listen == 0)
        return;
    struct option_value values[64];
    for (size_t i = 0; i < o->n_listen && i < 64; i++) {
        values[i] = (struct option_value){o->listen[i], command_line};
        load->listen_where[i] = command_line;
    }
    if (o->n_listen > 64)
        problems_add(&load->problems, command_line, "--listen: more than 64 addresses");
    else
        option_set(load->config, option_find("listen"), values, o->n_listen, &load->problems);
}

/* systemd's state directory, else the system's where it can be written, else the user's own. */
static char *default_data_dir(void)
{
    const char *given = getenv("STATE_DIRECTORY"), *home = getenv("HOME"), *state = getenv("XDG_STATE_HOME");
    char *path = NULL;
    if (given && given[0] == '/')
        return strndup(given, strcspn(given, ":"));
    if (geteuid() == 0 || access(STATE_DIRECTORY_ROOT, W_OK) == 0)
        return strdup(STATE_DIRECTORY_ROOT);
    if (state && state[0] == '/')
        return asprintf(&path, "%s/satchel", state) < 0 ? NULL : path;
    if (home && home[0] == '/')
        return asprintf(&path, "%s/.local/state/satchel", home) < 0 ? NULL : path;
    return NULL;
}

static void work_out(struct loading *load)
{
    struct config *config = load->config;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned n = cores < 1 ? 1 : cores > 1024 ? 1024 : (unsigned)cores;
    if (config->workers == 0)
        config->workers = n < 4 ? 4 : n;
    if (config->loops == 0)
        config->loops = n > 4 ? 4 : n;
    if (!config->data_dir)
        config->data_dir = default_data_dir();
    if (!config->data_dir && !config->store)
        problems_add(&load->problems, built_in, "no data directory: set data_dir, or HOME in the environment");
    else if (!config->store && asprintf(&config->store, "sqlite:%s/satchel.db", config->data_dir) < 0)
        config->store = NULL;
    if (config->data_dir && !config->store)
        problems_add(&load->problems, built_in, "out of memory");
}

/* Where nobody is asked who they are, nobody from outside may ask.  Inherited sockets are main's to check. */
static void check_listen_addresses(struct loading *load)
{
    const struct config_list *list = &load->config->listen;
    for (size_t i = 0; i < list->n; i++) {
        struct config_where where = load->listen_where[i].file ? load->listen_where[i] : built_in;
        int local = address_is_local(list->items[i]);
        if (local < 0)
            problems_add(&load->problems, where, "listen: the host of \"%s\" is not known", list->items[i]);
        else if (local == 0 && !load->config->auth.on)
            problems_add(&load->problems, where, "listen: \"%s\" " ADDRESS_OPEN_ADVICE, list->items[i]);
        if (address_is_secure(list->items[i]) && !load->config->tls.on)
            problems_add(&load->problems, where,
                         "listen: \"%s\" needs a certificate: tls { certificate = \"...\" key = \"...\" }",
                         list->items[i]);
        for (size_t k = 0; k < i; k++)
            if (strcmp(address_bare(list->items[k]), address_bare(list->items[i])) == 0 &&
                strcmp(strrchr(list->items[i], ':'), ":0") != 0)
                problems_add(&load->problems, where, "listen: \"%s\" is there twice", list->items[i]);
    }
}

static void load_all(struct loading *load)
{
    make_shape(load->shape);
    if (source_new(load->shape, &load->problems, &load->source) < 0) {
        problems_add(&load->problems, built_in, "out of memory");
        return;
    }
    set_defaults(load);
    bool complete = load->problems.count == 0; /* else memory ran out, and nothing below may rely on a default */
    if (complete)
        read_files(load);
    struct cfg_t *root = complete ? source_finish(load->source) : NULL;
    if (root) {
        set_from_files(load, root);
        set_from_command_line(load);
        sections_read(load->config, root, &load->problems);
        work_out(load);
        check_listen_addresses(load);
    } else if (complete) {
        problems_add(&load->problems, built_in, "out of memory");
    }
    source_free(load->source);
}

int config_load(const struct config_overrides *overrides, void (*report)(void *arg, const char *line), void *arg,
                struct config **ret)
{
    static const struct config_overrides nothing = {0};
    struct loading *load = calloc(1, sizeof *load);
    struct config *config = calloc(1, sizeof *config);
    int result = -1;
    if (load && config) {
        load->config = config;
        load->overrides = overrides ? overrides : &nothing;
        load->problems = (struct problems){.report = report, .arg = arg};
        atomic_init(&config->refs, 1);
        load_all(load);
        result = load->problems.count ? -1 : 0;
    } else if (report) {
        report(arg, "out of memory while reading the configuration");
    }
    if (result == 0)
        *ret = config;
    else if (load && config)
        config_unref(config);
    else
        free(config);
    free(load);
    return result;
}

struct config *config_ref(struct config *config)
{
    atomic_fetch_add_explicit(&config->refs, 1, memory_order_relaxed);
    return config;
}

void config_unref(struct config *config)
{
    if (!config || atomic_fetch_sub_explicit(&config->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < N_OPTIONS; i++)
        option_release(config, &options[i]);
    sections_release(config);
    free(config);
}

void config_print(const struct config *config, void (*put)(void *arg, const char *line), void *arg)
{
    struct buf line = BUF_INIT;
    for (size_t i = 0; i < N_OPTIONS; i++) {
        buf_reset(&line);
        if (option_is_unset(config, &options[i]))
            continue;
        if (options[i].kind == OPTION_SECRET) {
            buf_printf(&line, "# %s is set, and not shown", options[i].name);
        } else {
            buf_printf(&line, "%s = ", options[i].name);
            option_format(config, &options[i], &line);
        }
        put(arg, buf_ok(&line) ? line.data : "# out of memory");
    }
    buf_release(&line);
    sections_print(config, put, arg);
}

void config_needs_restart(const struct config *before, const struct config *after,
                          void (*report)(void *arg, const char *name), void *arg)
{
    for (size_t i = 0; i < N_OPTIONS; i++) {
        struct buf old = BUF_INIT, new = BUF_INIT;
        if (!options[i].reload) {
            option_format(before, &options[i], &old);
            option_format(after, &options[i], &new);
            if (!slice_eq(buf_slice(&old), buf_slice(&new)))
                report(arg, options[i].name);
        }
        buf_release(&old);
        buf_release(&new);
    }
}

int config_keep_constant(struct config *fresh, const struct config *running)
{
    for (size_t i = 0; i < N_OPTIONS; i++)
        if (!options[i].reload && !option_copy(fresh, &options[i], running))
            return -ENOMEM;
    return 0;
}
