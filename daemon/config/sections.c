/* What the sections mean.  A section with a fault is reported and left out; the load fails then anyway. */
#include "config/sections.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config/auth_section.h"
#include "config/grammar.h"
#include "config/options.h"
#include "config/task_section.h"
#include "config/tenant_section.h"
#include "config/tls_section.h"
#include "proto/json_in.h"
#include "proto/json_out.h"
#include "proto/timetext.h"

const struct source_shape header_shape[] = {{.name = "var"}, {.name = "secret"}, {.name = "max_len"}, {0}};
const struct source_shape plugin_shape[] = {{.name = "config"}, {0}};
const struct source_shape schedule_shape[] = {{.name = "cron"},
                                              {.name = "timezone"},
                                              {.name = "missed"},
                                              {.name = "paused"},
                                              {.name = "tenant"},
                                              {.name = "each_tenant"},
                                              {.name = "task"},
                                              {.name = "args"},
                                              {.name = "context", .list = true},
                                              {.name = "options"},
                                              {0}};

#define HEADER_MAX_LEN 256

/* ---- values of a section ---- */

/* How much of a faulty value may be told: what may be a password is not for a log. */
static size_t quotable(const char *name, const char *text)
{
    bool assigns = strcmp(name, "headers") == 0 || strcmp(name, "environment") == 0;
    return assigns ? strcspn(text, " \t:=") : strlen(text);
}

/* `mark` stands between the name and one of its values: ":" where there are several. */
static void add_problem(struct section *s, struct config_where where, const char *name, const char *mark,
                        const char *text, const char *wrong)
{
    int len = (int)quotable(name, text);
    if (*s->title)
        problems_add(s->problems, where, "%s \"%s\": %s%s \"%.*s\" %s", s->kind, s->title, name, mark, len, text,
                     wrong);
    else
        problems_add(s->problems, where, "%s: %s%s \"%.*s\" %s", s->kind, name, mark, len, text, wrong);
}

void section_problem(struct section *s, const char *name, const char *wrong)
{
    struct config_where where;
    const char *text = source_value(s->cfg, name, 0, &where);
    add_problem(s, where, name, "", text, wrong);
}

char *section_copy(struct section *s, const char *text)
{
    char *copy = strdup(text);
    if (!copy)
        problems_add(s->problems, s->where, "out of memory");
    return copy;
}

void section_text(struct section *s, const char *name, const char *(*check)(const char *), char **field)
{
    struct config_where where;
    if (!source_is_set(s->cfg, name))
        return;
    const char *text = source_value(s->cfg, name, 0, &where), *wrong = check ? check(text) : NULL;
    if (wrong) {
        section_problem(s, name, wrong);
        return;
    }
    free(*field);
    *field = section_copy(s, text);
}

void section_list(struct section *s, const char *name, const char *(*check)(const char *), struct config_list *field)
{
    size_t n = source_count(s->cfg, name);
    for (size_t i = 0; i < n; i++) {
        struct config_where where;
        const char *text = source_value(s->cfg, name, i, &where), *wrong = check ? check(text) : NULL;
        if (wrong)
            add_problem(s, where, name, ":", text, wrong);
        else if (!config_list_add(field, text))
            problems_add(s->problems, where, "out of memory");
    }
}

void section_number(struct section *s, const char *name, int64_t min, int64_t max, int64_t *field)
{
    struct config_where where;
    int64_t number;
    char wrong[96];
    if (!source_is_set(s->cfg, name))
        return;
    if (number_parse(source_value(s->cfg, name, 0, &where), &number) && number >= min && number <= max) {
        *field = number;
        return;
    }
    (void)snprintf(wrong, sizeof wrong, "must be a whole number from %lld to %lld", (long long)min, (long long)max);
    section_problem(s, name, wrong);
}

void section_duration(struct section *s, const char *name, int64_t *field_us)
{
    struct config_where where;
    if (!source_is_set(s->cfg, name))
        return;
    const char *text = source_value(s->cfg, name, 0, &where);
    if (!duration_parse(text, strlen(text), field_us))
        section_problem(s, name, "must be a duration such as 250ms, 30s, 5m, 2h or 1d");
}

void section_switch(struct section *s, const char *name, bool *field)
{
    struct config_where where;
    if (source_is_set(s->cfg, name) && !switch_parse(source_value(s->cfg, name, 0, &where), field))
        section_problem(s, name, "must be true or false");
}

bool section_open(struct section *s, struct cfg_t *root, const char *kind, size_t index,
                  const char *(*check)(const char *), struct problems *problems)
{
    *s = (struct section){.kind = kind, .cfg = source_section(root, kind, index), .problems = problems};
    s->title = source_title(s->cfg, &s->where);
    const char *wrong = check ? check(s->title) : NULL;
    if (wrong)
        problems_add(problems, s->where, "%s: \"%s\" %s", kind, s->title, wrong);
    return !wrong;
}

void *section_grow(void *array, size_t n, size_t size, struct section *s)
{
    char *bigger = realloc(array, (n + 1) * size);
    if (bigger)
        memset(bigger + n * size, 0, size);
    else
        problems_add(s->problems, s->where, "out of memory");
    return bigger;
}

/* ---- header ---- */

static void header_release(struct config_header *header)
{
    free(header->header);
    free(header->variable);
}

static const char *check_header(const char *text)
{
    const char *wrong = check_field_name(text);
    if (wrong || grammar_is_own_header(text))
        return wrong ? wrong : "has a meaning of its own and cannot become a variable";
    return grammar_is_environment(text)
               ? "would let clients set an environment variable of commands that has a meaning "
                 "of its own (PATH, LD_*, ...); choose another name, such as X-..."
               : NULL;
}

static void read_header(struct config *config, struct section *s, bool title_ok)
{
    int64_t max_len = HEADER_MAX_LEN;
    struct config_header *array = section_grow(config->headers, config->n_headers, sizeof *array, s);
    if (!array)
        return;
    config->headers = array;
    struct config_header *header = &array[config->n_headers];
    header->header = section_copy(s, s->title);
    section_text(s, "var", check_variable_name, &header->variable);
    section_switch(s, "secret", &header->secret);
    section_number(s, "max_len", 1, 65536, &max_len);
    header->max_len = (size_t)max_len;
    if (!source_is_set(s->cfg, "var"))
        problems_add(s->problems, s->where, "header \"%s\": var is missing: which variable gets it?", s->title);
    if (title_ok && strcasecmp(s->title, config->tenant_header) == 0)
        problems_add(s->problems, s->where, "header \"%s\": is the tenant's header already", s->title);
    for (size_t i = 0; i < config->n_headers; i++) {
        const struct config_header *other = &config->headers[i];
        if (strcasecmp(other->header, s->title) == 0)
            problems_add(s->problems, s->where, "header \"%s\": is configured twice", s->title);
        else if (header->variable && strcmp(other->variable, header->variable) == 0)
            problems_add(s->problems, s->where, "header \"%s\": variable \"%s\" comes from header \"%s\" already",
                         s->title, header->variable, other->header);
    }
    if (header->header && header->variable && title_ok)
        config->n_headers++;
    else
        header_release(header);
}

/* ---- tenant ---- */

static const char *check_tenant_title(const char *text)
{
    return strcmp(text, "*") == 0 ? NULL : check_tenant(text);
}

static void read_tenant(struct config *config, struct section *s, bool title_ok)
{
    struct config_tenant *array = section_grow(config->tenants, config->n_tenants, sizeof *array, s);
    if (!array)
        return;
    config->tenants = array;
    struct config_tenant *tenant = &array[config->n_tenants];
    tenant_section_read(tenant, s);
    bool twice = false;
    for (size_t i = 0; i < config->n_tenants && !twice; i++) /* they are not sorted yet */
        twice = strcmp(array[i].name, s->title) == 0;
    if (twice)
        problems_add(s->problems, s->where, "tenant \"%s\": is configured twice", s->title);
    if (tenant->name && title_ok && !twice)
        config->n_tenants++;
    else
        tenant_section_release(tenant);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct config_tenant *)a)->name, ((const struct config_tenant *)b)->name);
}

static void sort_tenants(struct config *config)
{
    if (config->n_tenants)
        qsort(config->tenants, config->n_tenants, sizeof *config->tenants, by_name);
}

/* Every request asks for its tenant's: sorted, so that a thousand sections cost no more than ten. */
static int compare_name(const void *name, const void *tenant)
{
    return strcmp(name, ((const struct config_tenant *)tenant)->name);
}

static const struct config_tenant *find_tenant(const struct config *config, const char *name)
{
    if (!config->n_tenants)
        return NULL;
    return bsearch(name, config->tenants, config->n_tenants, sizeof *config->tenants, compare_name);
}

const struct config_tenant *config_tenant(const struct config *config, const char *name)
{
    const struct config_tenant *found = find_tenant(config, name);
    return found ? found : find_tenant(config, "*");
}

/* ---- task ---- */

static void read_task(struct config *config, struct section *s, bool title_ok)
{
    struct config_task *array = section_grow(config->tasks, config->n_tasks, sizeof *array, s);
    if (!array)
        return;
    config->tasks = array;
    struct config_task *task = &array[config->n_tasks];
    task_section_read(task, s);
    for (size_t i = 0; i < config->n_tasks; i++) {
        if (strcmp(config->tasks[i].name, s->title) == 0) {
            problems_add(s->problems, s->where, "task \"%s\": is configured twice, first at %s", s->title,
                         config->tasks[i].where);
            title_ok = false;
        }
    }
    if (title_ok && task->name && task->where)
        config->n_tasks++;
    else
        task_section_release(task);
}

/* ---- plugin ---- */

static void plugin_release(struct config_plugin *plugin)
{
    free(plugin->path);
    free(plugin->argument);
    free(plugin->where);
}

static void read_plugin(struct config *config, struct section *s, bool title_ok)
{
    struct config_plugin *array = section_grow(config->plugins, config->n_plugins, sizeof *array, s);
    if (!array)
        return;
    config->plugins = array;
    struct config_plugin *plugin = &array[config->n_plugins];
    plugin->path = section_copy(s, s->title);
    section_text(s, "config", NULL, &plugin->argument);
    plugin->where = section_where(s);
    for (size_t i = 0; i < config->n_plugins; i++) {
        if (strcmp(config->plugins[i].path, s->title) == 0) {
            problems_add(s->problems, s->where, "plugin \"%s\": is configured twice", s->title);
            title_ok = false;
        }
    }
    if (title_ok && plugin->path && plugin->where)
        config->n_plugins++;
    else
        plugin_release(plugin);
}

/* ---- schedule ---- */

static void schedule_release(struct config_schedule *schedule)
{
    free(schedule->name);
    free(schedule->tenant);
    free(schedule->body);
    free(schedule->where);
}

static const char *check_schedule_name(const char *text)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789._-");
    return len >= 1 && len <= 64 && !text[len] && !strchr("._-", text[0])
               ? NULL
               : "must be 1 to 64 of a-z 0-9 . _ - and begin with a letter or a digit";
}

static const char *check_assignment(const char *text)
{
    return strchr(text, '=') && text[0] != '=' ? NULL : "must be written \"name=value\"";
}

static const char *setting(struct section *s, const char *name)
{
    struct config_where where;
    return source_is_set(s->cfg, name) ? source_value(s->cfg, name, 0, &where) : NULL;
}

static void put_text(struct json_out *j, struct section *s, const char *name)
{
    const char *text = setting(s, name);
    if (text)
        json_out_member(j, name, slice_str(text));
}

/* What is JSON already must be valid, since it becomes a part of the whole. */
static void put_json(struct json_out *j, struct section *s, const char *name, bool members)
{
    const char *text = setting(s, name);
    char why[JSON_IN_ERROR_SIZE];
    if (!text)
        return;
    json_t *value = json_in_load(slice_str(text), 64, why);
    bool good = value && (!members || json_is_object(value));
    json_decref(value);
    if (!good) {
        section_problem(s, name, members ? "must be a JSON object" : "must be JSON");
        return;
    }
    if (!members) {
        json_out_key(j, name);
        json_out_raw(j, slice_str(text));
        return;
    }
    struct json_member list[64];
    size_t n = json_in_members(slice_str(text), list, 64);
    for (size_t i = 0; i < n && i < 64; i++) {
        json_out_key_slice(j, list[i].name);
        json_out_raw(j, list[i].value);
    }
}

static void put_context(struct json_out *j, const struct config_list *list)
{
    if (!list->n)
        return;
    json_out_key(j, "context");
    json_out_begin_object(j);
    for (size_t i = 0; i < list->n; i++) {
        const char *equals = strchr(list->items[i], '=');
        json_out_key_slice(j, slice_of(list->items[i], (size_t)(equals - list->items[i])));
        json_out_string(j, slice_str(equals + 1));
    }
    json_out_end_object(j);
}

static char *schedule_body(struct section *s)
{
    struct buf body = BUF_INIT;
    struct json_out j = json_out_to(&body);
    struct config_list context = {0};
    bool paused = false;
    section_list(s, "context", check_assignment, &context);
    section_switch(s, "paused", &paused);
    json_out_begin_object(&j);
    put_text(&j, s, "cron");
    put_text(&j, s, "timezone");
    put_text(&j, s, "missed");
    json_out_key(&j, "paused");
    json_out_bool(&j, paused);
    put_text(&j, s, "task");
    put_json(&j, s, "args", false);
    put_context(&j, &context);
    put_json(&j, s, "options", true);
    json_out_end_object(&j);
    config_list_release(&context);
    char *text = buf_take(&body, NULL);
    if (!text)
        problems_add(s->problems, s->where, "out of memory");
    return text;
}

static void read_schedule(struct config *config, struct section *s, bool title_ok)
{
    struct config_schedule *array = section_grow(config->schedules, config->n_schedules, sizeof *array, s);
    if (!array)
        return;
    config->schedules = array;
    struct config_schedule *schedule = &array[config->n_schedules];
    schedule->name = section_copy(s, s->title);
    section_text(s, "tenant", check_tenant, &schedule->tenant);
    section_switch(s, "each_tenant", &schedule->each_tenant);
    schedule->body = schedule_body(s);
    schedule->where = section_where(s);
    if (schedule->tenant && schedule->each_tenant) {
        problems_add(s->problems, s->where, "schedule \"%s\": tenant and each_tenant contradict each other", s->title);
        title_ok = false;
    }
    for (size_t i = 0; i < config->n_schedules; i++) {
        if (strcmp(config->schedules[i].name, s->title) == 0) {
            problems_add(s->problems, s->where, "schedule \"%s\": is configured twice", s->title);
            title_ok = false;
        }
    }
    if (title_ok && schedule->name && schedule->body && schedule->where)
        config->n_schedules++;
    else
        schedule_release(schedule);
}

char *section_where(struct section *s)
{
    char text[4200];
    (void)snprintf(text, sizeof text, "%s:%u", s->where.file, s->where.line);
    return section_copy(s, text);
}

/* ---- all ---- */

void sections_read(struct config *config, struct cfg_t *root, struct problems *problems)
{
    static const struct {
        const char *kind;
        const char *(*check)(const char *);
        void (*read)(struct config *config, struct section *s, bool title_ok);
    } kinds[] = {{"header", check_header, read_header},
                 {"tenant", check_tenant_title, read_tenant},
                 {"task", check_task_name, read_task},
                 {"plugin", check_absolute_path, read_plugin},
                 {"schedule", check_schedule_name, read_schedule}};
    struct section s;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        size_t n = source_count(root, kinds[k].kind);
        for (size_t i = 0; i < n; i++) {
            bool title_ok = section_open(&s, root, kinds[k].kind, i, kinds[k].check, problems);
            kinds[k].read(config, &s, title_ok);
        }
    }
    sort_tenants(config);
    struct config_where where = {"configuration", 0};
    for (size_t i = 0; i < source_count(root, "auth"); i++) {
        (void)section_open(&s, root, "auth", i, NULL, problems);
        if (i)
            problems_add(problems, s.where, "auth: there is a section already; put all of it into one");
        else
            auth_section_read(&config->auth, &s);
        where = s.where;
    }
    auth_section_finish(&config->auth, problems, where);
    for (size_t i = 0; i < source_count(root, "tls"); i++) {
        (void)section_open(&s, root, "tls", i, NULL, problems);
        if (i)
            problems_add(problems, s.where, "tls: there is a section already; put all of it into one");
        else
            tls_section_read(&config->tls, &s);
    }
}

static void print_line(void (*put)(void *arg, const char *line), void *arg, struct buf *line)
{
    put(arg, buf_ok(line) && line->data ? line->data : "");
    buf_release(line);
}

void sections_print(const struct config *config, void (*put)(void *arg, const char *line), void *arg)
{
    struct buf line = BUF_INIT;
    for (size_t i = 0; i < config->n_headers; i++) {
        const struct config_header *header = &config->headers[i];
        buf_append_str(&line, "header ");
        config_quote(&line, header->header);
        buf_append_str(&line, " { var = ");
        config_quote(&line, header->variable);
        buf_printf(&line, " secret = %s max_len = %zu }", header->secret ? "true" : "false", header->max_len);
        print_line(put, arg, &line);
    }
    for (size_t i = 0; i < config->n_tenants; i++) {
        tenant_section_print(&config->tenants[i], &line);
        print_line(put, arg, &line);
    }
    for (size_t i = 0; i < config->n_tasks; i++) {
        task_section_print(&config->tasks[i], &line);
        print_line(put, arg, &line);
    }
    for (size_t i = 0; i < config->n_plugins; i++) {
        buf_append_str(&line, "plugin ");
        config_quote(&line, config->plugins[i].path);
        buf_append_str(&line, " {");
        if (config->plugins[i].argument) {
            buf_append_str(&line, " config = ");
            config_quote(&line, config->plugins[i].argument);
        }
        buf_append_str(&line, " }");
        print_line(put, arg, &line);
    }
    for (size_t i = 0; i < config->n_schedules; i++) {
        const struct config_schedule *schedule = &config->schedules[i];
        buf_append_str(&line, "schedule ");
        config_quote(&line, schedule->name);
        if (schedule->tenant) {
            buf_append_str(&line, " { tenant = ");
            config_quote(&line, schedule->tenant);
        } else {
            buf_printf(&line, " { each_tenant = %s", schedule->each_tenant ? "true" : "false");
        }
        buf_append_str(&line, " options = ");
        config_quote(&line, schedule->body);
        buf_append_str(&line, " }");
        print_line(put, arg, &line);
    }
    if (config->auth.on) {
        auth_section_print(&config->auth, &line);
        print_line(put, arg, &line);
    }
    if (config->tls.on) {
        tls_section_print(&config->tls, &line);
        print_line(put, arg, &line);
    }
}

void sections_release(struct config *config)
{
    for (size_t i = 0; i < config->n_headers; i++)
        header_release(&config->headers[i]);
    for (size_t i = 0; i < config->n_tenants; i++)
        tenant_section_release(&config->tenants[i]);
    for (size_t i = 0; i < config->n_tasks; i++)
        task_section_release(&config->tasks[i]);
    for (size_t i = 0; i < config->n_plugins; i++)
        plugin_release(&config->plugins[i]);
    for (size_t i = 0; i < config->n_schedules; i++)
        schedule_release(&config->schedules[i]);
    free(config->schedules);
    auth_section_release(&config->auth);
    tls_section_release(&config->tls);
    free(config->headers);
    free(config->tenants);
    free(config->tasks);
    free(config->plugins);
}
