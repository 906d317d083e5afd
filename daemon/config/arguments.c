/* One table of command-line options, made from options.def and the few that are not settings; --help prints it. */
#include "config/arguments.h"

#include <stdio.h>
#include <string.h>

#include "config/options.h"

#define HELP_COLUMN 22
#define HELP_WIDTH 80
#define HELP_HEAD_SIZE 64

struct argument {
    char name[32];           /* without the dashes */
    const char *placeholder; /* NULL: takes no value */
    const char *text;
    enum arguments_action action;
};

enum { N_FIXED = 5, N_ARGUMENTS_MAX = N_FIXED + N_OPTIONS };

static const struct argument fixed[N_FIXED] = {
    {"config", "FILE", "Read only this file, instead of the default one and its drop-ins.", ARGUMENTS_SERVE},
    {"check", NULL, "Check the whole configuration, print every problem, exit 0 or 78.", ARGUMENTS_CHECK},
    {"print-config", NULL, "Print every setting with the value in force, and exit.", ARGUMENTS_PRINT_CONFIG},
    {"version", NULL, "Print the version, and exit.", ARGUMENTS_VERSION},
    {"help", NULL, "Print this, and exit.", ARGUMENTS_HELP}};

static size_t make_table(struct argument table[N_ARGUMENTS_MAX])
{
    size_t n = 0;
    table[n++] = fixed[0];
    for (size_t i = 0; i < N_OPTIONS; i++) {
        if (!options[i].argument)
            continue;
        table[n] = (struct argument){.placeholder = options[i].argument, .text = options[i].text};
        (void)snprintf(table[n].name, sizeof table[n].name, "%s", options[i].name);
        for (char *at = table[n].name; *at; at++)
            if (*at == '_')
                *at = '-';
        n++;
    }
    for (size_t i = 1; i < N_FIXED; i++)
        table[n++] = fixed[i];
    return n;
}

/* By its whole name, or by a beginning that fits only one; NULL: none or several. */
static const struct argument *find(const struct argument *table, size_t n, const char *name, size_t len)
{
    const struct argument *found = NULL;
    unsigned fits = 0;
    for (size_t i = 0; i < n; i++) {
        if (strncmp(table[i].name, name, len) != 0)
            continue;
        if (table[i].name[len] == '\0')
            return &table[i];
        found = &table[i];
        fits++;
    }
    return len && fits == 1 ? found : NULL;
}

static int take_value(struct arguments *a, const char *name, const char *value, char *error, size_t error_size)
{
    struct config_overrides *o = &a->overrides;
    const struct {
        const char *name;
        const char **field;
    } fields[] = {{"config", &o->file},
                  {"data-dir", &o->data_dir},
                  {"store", &o->store},
                  {"workers", &o->workers},
                  {"log-level", &o->log_level}};
    if (value[0] == '\0') {
        (void)snprintf(error, error_size, "--%s needs a value", name);
        return -1;
    }
    if (strcmp(name, "listen") == 0) {
        if (o->n_listen == ARGUMENTS_MAX_LISTEN) {
            (void)snprintf(error, error_size, "--listen is there more than %d times", ARGUMENTS_MAX_LISTEN);
            return -1;
        }
        a->listen[o->n_listen++] = value;
        o->listen = a->listen;
        return 0;
    }
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (strcmp(fields[i].name, name) == 0)
            *fields[i].field = value;
    return 0;
}

int arguments_parse(int argc, char *const argv[], struct arguments *ret, char *error, size_t error_size)
{
    struct argument table[N_ARGUMENTS_MAX];
    size_t n = make_table(table);
    *ret = (struct arguments){0};
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *name = word + 2, *equals = strchr(word, '=');
        if (strcmp(word, "-h") == 0)
            name = "help", equals = NULL;
        else if (strcmp(word, "-V") == 0)
            name = "version", equals = NULL;
        else if (strncmp(word, "--", 2) != 0) {
            (void)snprintf(error, error_size, "\"%s\" is not an option; see satcheld --help", word);
            return -1;
        }
        size_t len = equals ? (size_t)(equals - name) : strlen(name);
        const struct argument *argument = find(table, n, name, len);
        if (!argument) {
            (void)snprintf(error, error_size, "unknown option \"%s\"; see satcheld --help", word);
            return -1;
        }
        if (!argument->placeholder) {
            if (equals) {
                (void)snprintf(error, error_size, "--%s takes no value", argument->name);
                return -1;
            }
            if (argument->action > ret->action)
                ret->action = argument->action;
            continue;
        }
        const char *value = equals ? equals + 1 : i + 1 < argc ? argv[++i] : "";
        if (take_value(ret, argument->name, value, error, error_size) < 0)
            return -1;
    }
    return 0;
}

static void put_buf(struct buf *line, void (*put)(void *arg, const char *line), void *arg)
{
    put(arg, buf_ok(line) && line->data ? line->data : "");
    buf_reset(line);
}

static void put_wrapped(const char *head, const char *text, void (*put)(void *arg, const char *line), void *arg)
{
    struct buf line = BUF_INIT;
    buf_printf(&line, "%-*s", HELP_COLUMN, head);
    if (line.len > HELP_COLUMN)
        put_buf(&line, put, arg);
    bool empty = true; /* no words on this line yet */
    while (*text) {
        size_t len = strcspn(text, " ");
        if (line.len == 0 || (!empty && line.len + 1 + len > HELP_WIDTH)) {
            if (line.len)
                put_buf(&line, put, arg);
            buf_printf(&line, "%*s", HELP_COLUMN, "");
            empty = true;
        }
        if (!empty)
            buf_append_char(&line, ' ');
        buf_append_slice(&line, slice_of(text, len));
        empty = false;
        text += len;
        text += *text == ' ';
    }
    put_buf(&line, put, arg);
    buf_release(&line);
}

void arguments_help(void (*put)(void *arg, const char *line), void *arg)
{
    struct argument table[N_ARGUMENTS_MAX];
    size_t n = make_table(table);
    put(arg, "Usage: satcheld [OPTION]...");
    put(arg, "Takes tasks over HTTP and runs each with the context it was submitted in.");
    put(arg, "");
    for (size_t i = 0; i < n; i++) {
        char head[HELP_HEAD_SIZE];
        (void)snprintf(head, sizeof head, "  --%.31s%s%.15s", table[i].name, table[i].placeholder ? "=" : "",
                       table[i].placeholder ? table[i].placeholder : "");
        put_wrapped(head, table[i].text, put, arg);
    }
    put(arg, "");
    put(arg, "Every setting can be given in these files, see satcheld.conf(5); the command line wins:");
    put(arg, "  " SATCHEL_SYSCONFDIR "/satchel/satcheld.conf");
    put(arg, "  " SATCHEL_SYSCONFDIR "/satchel/conf.d/*.conf");
}
