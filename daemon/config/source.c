/* Reading configuration files through libConfuse, and reporting all that is wrong with one, not only the first fault.
 *
 * libConfuse stops at the first unknown name.  So each file is parsed until it passes: a name that it does not know
 * is reported, added to what it knows (as a list, which takes any value; then, as it complains, as a section), and
 * the file is parsed again.  Then all files are parsed into one tree.
 *
 * libConfuse keeps a value's text, but not its line.  So the callbacks store "LINE\1FILE\1text" as every value and
 * every title, which also keeps two sections of one title apart: libConfuse would silently replace the first.
 * Flow: load.c -> here -> options.c, sections.c. */
#include "config/source.h"

#include <confuse.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/scan.h"
#include "proto/buf.h"

#define FILE_MAX_BYTES ((size_t)1 << 20)
#define UNKNOWN_MAX 100
#define BEGIN_NAME "\002begin" /* a hidden list in every section whose default makes libConfuse call on_begin */
#define MARK '\001'

enum unknown_kind { UNKNOWN_VALUE, UNKNOWN_TITLED, UNKNOWN_UNTITLED };

struct source_file {
    char *path, *text;
    size_t len;
};

struct unknown {
    char *section, *name;
    enum unknown_kind kind;
    bool announced;
};

struct source {
    const struct source_shape *shape;
    struct problems *problems;
    struct unknown unknowns[UNKNOWN_MAX];
    size_t n_unknowns;
    struct source_file *files;
    size_t n_files;
    cfg_t *cfg;
    /* while a file is parsed */
    const char *path;
    bool retry, failed;
    bool announce; /* report what is found: this is the last time that it is parsed */
    char *scratch; /* the last value handed to libConfuse, which copies it at once */
};

/* libConfuse's callbacks carry no pointer of ours. */
static struct source *current;

static struct unknown *find_unknown(struct source *source, const char *section, const char *name)
{
    for (size_t i = 0; i < source->n_unknowns; i++)
        if ((!section || strcmp(source->unknowns[i].section, section) == 0) &&
            strcmp(source->unknowns[i].name, name) == 0)
            return &source->unknowns[i];
    return NULL;
}

static bool has_section(const struct source_shape *shape, const char *name)
{
    for (const struct source_shape *one = shape; one->name; one++)
        if (one->section && (strcmp(one->name, name) == 0 || has_section(one->section, name)))
            return true;
    return false;
}

static bool is_known_section(const struct source *source, const char *name)
{
    return strcmp(name, "root") == 0 || has_section(source->shape, name);
}

static char *encode(const cfg_t *cfg, const char *value)
{
    char *text;
    const char *file = cfg->filename ? cfg->filename : "";
    return asprintf(&text, "%d%c%s%c%s", cfg->line, MARK, file, MARK, value ? value : "") < 0 ? NULL : text;
}

static void announce_unknown(struct source *source, struct unknown *unknown, const cfg_t *cfg, unsigned line)
{
    struct config_where where = {source->path, line};
    const char *what = unknown->kind == UNKNOWN_VALUE ? "setting" : "section";
    if (!source->announce || !is_known_section(source, unknown->section))
        return;
    unknown->announced = true;
    if (strcmp(cfg->name, "root") == 0 || strcmp(unknown->section, "root") == 0)
        problems_add(source->problems, where, "unknown %s \"%s\"", what, unknown->name);
    else
        problems_add(source->problems, where, "unknown %s \"%s\" in section \"%s\"", what, unknown->name, cfg->name);
}

static int on_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    struct unknown *unknown = find_unknown(current, cfg->name, opt->name);
    if (unknown && opt->nvalues == 1)
        announce_unknown(current, unknown, cfg, (unsigned)cfg->line);
    free(current->scratch);
    current->scratch = encode(cfg, value);
    *(const char **)result = current->scratch;
    return current->scratch ? 0 : -1;
}

/* A section begins: its line is the current one only now. */
static int on_begin(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    (void)opt;
    struct unknown *unknown = find_unknown(current, NULL, cfg->name);
    if (unknown && !is_known_section(current, cfg->name))
        announce_unknown(current, unknown, cfg, (unsigned)cfg->line);
    char *title = encode(cfg, cfg->title);
    if (!title)
        return -1;
    free(cfg->title);
    cfg->title = title;
    *(const char **)result = value;
    return 0;
}

static void add_unknown(struct source *source, const char *section, const char *name)
{
    struct unknown one = {.section = strdup(section), .name = strdup(name)};
    if (!one.section || !one.name || source->n_unknowns == UNKNOWN_MAX || find_unknown(source, section, name)) {
        free(one.section);
        free(one.name);
        source->failed = true;
        return;
    }
    source->unknowns[source->n_unknowns++] = one;
    source->retry = true;
}

/* What libConfuse says: its format strings tell which fault it is. */
__attribute__((format(printf, 2, 0))) static void on_error(cfg_t *cfg, const char *format, va_list args)
{
    struct source *source = current;
    struct config_where where = {source->path, cfg->line > 0 ? (unsigned)cfg->line : 0};
    char text[256];
    va_list again;
    va_copy(again, args);
    (void)vsnprintf(text, sizeof text, format, args);
    const char *name = strstr(format, "'%s'") ? va_arg(again, const char *) : "";
    va_end(again);
    struct unknown *unknown = find_unknown(source, cfg->name, name);
    if (strncmp(format, "no such option", 14) == 0) {
        add_unknown(source, cfg->name, name);
    } else if (unknown && unknown->kind == UNKNOWN_VALUE && strncmp(format, "missing equal sign", 18) == 0) {
        unknown->kind = UNKNOWN_TITLED;
        source->retry = true;
    } else if (unknown && unknown->kind == UNKNOWN_TITLED && strncmp(format, "missing title", 13) == 0) {
        unknown->kind = UNKNOWN_UNTITLED;
        source->retry = true;
    } else {
        source->failed = true;
        if (source->announce)
            problems_add(source->problems, where, "%s", text);
    }
}

static cfg_opt_t value_opt(const char *name, bool list)
{
    cfg_opt_t list_opt = CFG_STR_LIST_CB(name, NULL, CFGF_NODEFAULT, on_value);
    cfg_opt_t text_opt = CFG_STR_CB(name, NULL, CFGF_NODEFAULT, on_value);
    return list ? list_opt : text_opt;
}

static void free_opts(cfg_opt_t *opts)
{
    for (size_t i = 0; opts && opts[i].name; i++)
        free_opts(opts[i].subopts);
    free(opts);
}

static size_t shape_count(const struct source_shape *shape)
{
    size_t n = 0;
    while (shape && shape[n].name)
        n++;
    return n;
}

static cfg_opt_t *build_opts(struct source *source, const char *section, const struct source_shape *shape, int depth);

/* In a section that we do not know, every setting that we know anywhere is accepted: one fault, one line. */
static size_t add_any(const struct source *source, cfg_opt_t *opts, size_t n)
{
    for (const struct source_shape *top = source->shape; top->name; top++) {
        for (const struct source_shape *one = top->section; one && one->name; one++) {
            size_t i = 0;
            while (i < n && strcmp(opts[i].name, one->name) != 0)
                i++;
            if (i == n)
                opts[n++] = value_opt(one->name, true);
        }
    }
    return n;
}

static bool add_section(struct source *source, cfg_opt_t *opt, const char *name, const struct source_shape *shape,
                        bool titled, int depth)
{
    cfg_opt_t *inside = build_opts(source, name, shape, depth + 1);
    if (!inside)
        return false;
    cfg_opt_t made = CFG_SEC(name, inside, CFGF_MULTI | (titled ? CFGF_TITLE : 0));
    *opt = made;
    return true;
}

/* The settings of one section as libConfuse wants them; NULL: no memory. */
static cfg_opt_t *build_opts(struct source *source, const char *section, const struct source_shape *shape, int depth)
{
    size_t room = shape_count(shape) + source->n_unknowns + 2, n = 0;
    for (const struct source_shape *top = source->shape; !shape && top->name; top++)
        room += shape_count(top->section);
    cfg_opt_t *opts = calloc(room, sizeof *opts);
    bool ok = opts != NULL;
    for (; ok && shape && shape->name; shape++, n++) {
        if (shape->section)
            ok = add_section(source, &opts[n], shape->name, shape->section, shape->titled, depth);
        else
            opts[n] = value_opt(shape->name, shape->list);
    }
    if (ok && !is_known_section(source, section))
        n = add_any(source, opts, n);
    for (size_t i = 0; ok && i < source->n_unknowns; i++) {
        const struct unknown *one = &source->unknowns[i];
        if (strcmp(one->section, section) != 0)
            continue;
        if (one->kind == UNKNOWN_VALUE || depth > 3)
            opts[n] = value_opt(one->name, true);
        else
            ok = add_section(source, &opts[n], one->name, NULL, one->kind == UNKNOWN_TITLED, depth);
        n += ok;
    }
    if (ok && depth > 0) {
        static char standard[] = "x"; /* not empty: else libConfuse does not look at it */
        cfg_opt_t begin = CFG_STR_LIST_CB(BEGIN_NAME, standard, CFGF_NONE, on_begin);
        opts[n] = begin;
    }
    if (ok)
        return opts;
    free_opts(opts);
    return NULL;
}

static cfg_t *make_cfg(struct source *source)
{
    cfg_opt_t *opts = build_opts(source, "root", source->shape, 0);
    cfg_t *cfg = opts ? cfg_init(opts, CFGF_NONE) : NULL;
    free_opts(opts);
    if (cfg)
        (void)cfg_set_error_function(cfg, on_error);
    return cfg;
}

static int parse_into(cfg_t *cfg, const struct source_file *file)
{
    if (file->len == 0)
        return CFG_SUCCESS;
    free(cfg->filename);
    cfg->filename = strdup(file->path);
    FILE *stream = cfg->filename ? fmemopen(file->text, file->len, "r") : NULL;
    if (!stream)
        return CFG_FILE_ERROR;
    int result = cfg_parse_fp(cfg, stream);
    (void)fclose(stream);
    return result;
}

static int parse_alone(struct source *source, const struct source_file *file, unsigned *ret_line)
{
    source->retry = source->failed = false;
    source->path = file->path;
    cfg_t *cfg = make_cfg(source);
    int result = cfg ? parse_into(cfg, file) : CFG_FILE_ERROR;
    *ret_line = cfg && cfg->line > 0 ? (unsigned)cfg->line : 0;
    if (cfg)
        (void)cfg_free(cfg);
    return result;
}

/* Parses the file until nothing unknown is left in it.  False: its syntax is broken, and everything up to the fault
 * has been reported. */
static bool check_file(struct source *source, const struct source_file *file)
{
    size_t known_before = source->n_unknowns;
    unsigned line;
    int result;
    current = source;
    source->announce = false;
    do
        result = parse_alone(source, file, &line);
    while (source->retry && !source->failed);
    if (result == CFG_SUCCESS)
        return true;
    unsigned before = source->problems->count;
    source->announce = true;
    (void)parse_alone(source, file, &line);
    if (source->problems->count == before)
        problems_add(source->problems, (struct config_where){file->path, line}, "not understood here");
    for (size_t i = known_before; i < source->n_unknowns; i++)
        source->unknowns[i].announced = true; /* the file goes, and its syntax was reported */
    return false;
}

static char *read_whole(const char *path, size_t *ret_len, bool *ret_missing)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    *ret_missing = fd < 0 && (errno == ENOENT || errno == ENOTDIR);
    if (fd < 0)
        return NULL;
    struct stat status;
    if (fstat(fd, &status) == 0 && S_ISDIR(status.st_mode)) {
        (void)close(fd);
        errno = EISDIR;
        return NULL;
    }
    struct buf text = {.max = FILE_MAX_BYTES};
    ssize_t got = 0;
    while (buf_reserve(&text, 4096) && (got = read(fd, text.data + text.len, 4096)) > 0)
        text.len += (size_t)got;
    int err = !buf_ok(&text) ? EFBIG : got < 0 ? errno : 0;
    (void)close(fd);
    if (err) {
        buf_release(&text);
        errno = err;
        return NULL;
    }
    text.data[text.len] = '\0';
    return buf_take(&text, ret_len);
}

void source_add(struct source *source, const char *path, bool optional)
{
    struct source_file file = {0};
    struct config_where where = {path, 0};
    bool missing;
    file.text = read_whole(path, &file.len, &missing);
    if (!file.text) {
        if (!(missing && optional))
            problems_add(source->problems, where, "cannot be read: %s", strerror(errno));
        return;
    }
    file.path = strdup(path);
    struct source_file *files = realloc(source->files, (source->n_files + 1) * sizeof *files);
    if (files)
        source->files = files;
    if (!file.path || !files)
        problems_add(source->problems, where, "out of memory");
    else if (scan_text(file.text, file.len, path, source->problems) && check_file(source, &file)) {
        source->files[source->n_files++] = file;
        return;
    }
    free(file.path);
    free(file.text);
}

int source_new(const struct source_shape *shape, struct problems *problems, struct source **ret)
{
    struct source *source = calloc(1, sizeof *source);
    if (!source)
        return -ENOMEM;
    source->shape = shape;
    source->problems = problems;
    *ret = source;
    return 0;
}

void source_free(struct source *source)
{
    if (!source)
        return;
    if (source->cfg)
        (void)cfg_free(source->cfg);
    for (size_t i = 0; i < source->n_unknowns; i++) {
        free(source->unknowns[i].section);
        free(source->unknowns[i].name);
    }
    for (size_t i = 0; i < source->n_files; i++) {
        free(source->files[i].path);
        free(source->files[i].text);
    }
    free(source->files);
    free(source->scratch);
    free(source);
    current = NULL;
}

struct cfg_t *source_finish(struct source *source)
{
    current = source;
    source->announce = true;
    source->path = NULL;
    source->cfg = make_cfg(source);
    for (size_t i = 0; source->cfg && i < source->n_files; i++) {
        source->path = source->files[i].path;
        if (parse_into(source->cfg, &source->files[i]) != CFG_SUCCESS)
            problems_add(source->problems, (struct config_where){source->path, 0}, "cannot be read again");
    }
    for (size_t i = 0; source->cfg && i < source->n_unknowns; i++) /* set to nothing, {}: no value came by */
        if (!source->unknowns[i].announced && source->path)
            announce_unknown(source, &source->unknowns[i], source->cfg, 0);
    return source->cfg;
}

/* ---- the tree ---- */

static cfg_opt_t *find(struct cfg_t *section, const char *name)
{
    for (cfg_opt_t *opt = section->opts; opt && opt->name; opt++)
        if (strcmp(opt->name, name) == 0)
            return opt;
    return NULL;
}

static const char *decode(const char *text, const char *file, struct config_where *ret_where)
{
    const char *first = text ? strchr(text, MARK) : NULL;
    const char *second = first ? strchr(first + 1, MARK) : NULL;
    *ret_where = (struct config_where){file ? file : "configuration", 0};
    if (!second)
        return text ? text : "";
    ret_where->line = (unsigned)strtoul(text, NULL, 10);
    return second + 1;
}

/* The file's name lives as long as the source. */
static const char *file_of(const char *text)
{
    const char *first = text ? strchr(text, MARK) : NULL;
    const char *second = first ? strchr(first + 1, MARK) : NULL;
    for (size_t i = 0; second && i < current->n_files; i++)
        if (strlen(current->files[i].path) == (size_t)(second - first - 1) &&
            memcmp(current->files[i].path, first + 1, (size_t)(second - first - 1)) == 0)
            return current->files[i].path;
    return NULL;
}

bool source_is_set(struct cfg_t *section, const char *name)
{
    const cfg_opt_t *opt = find(section, name);
    return opt && (opt->flags & CFGF_MODIFIED);
}

size_t source_count(struct cfg_t *section, const char *name)
{
    const cfg_opt_t *opt = find(section, name);
    return opt ? opt->nvalues : 0;
}

const char *source_value(struct cfg_t *section, const char *name, size_t index, struct config_where *ret_where)
{
    const cfg_opt_t *opt = find(section, name);
    const char *text = opt && index < opt->nvalues ? opt->values[index]->string : NULL;
    return decode(text, file_of(text), ret_where);
}

struct cfg_t *source_section(struct cfg_t *section, const char *name, size_t index)
{
    const cfg_opt_t *opt = find(section, name);
    return opt && index < opt->nvalues ? opt->values[index]->section : NULL;
}

const char *source_title(struct cfg_t *section, struct config_where *ret_where)
{
    return decode(section->title, file_of(section->title), ret_where);
}
