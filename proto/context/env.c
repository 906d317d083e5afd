/* A context as environment variables, under OpenTelemetry's normalised names: upper case, everything else '_'.
 *
 * Normalising loses the difference between "a.b" and "a-b"; the exact carrier is SATCHEL_CONTEXT, the JSON form, which
 * a worker adds for its child: where it is there it is read first, and single names override it.
 * Thread: any; `environ` must not be changed meanwhile. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/context/wire.h"

#define NAME_ROOM 260u /* a field name, a leading '_', a NUL */
#define WHOLE "SATCHEL_CONTEXT"
#define TASK_VAR_ENV "X_SATCHEL_VAR_"

static size_t normalise(const char *header, char out[NAME_ROOM])
{
    size_t n = 0;
    if (*header == '\0' || (*header >= '0' && *header <= '9'))
        out[n++] = '_';
    for (; *header && n + 1 < NAME_ROOM; header++) {
        char c = *header;
        if (c >= 'a' && c <= 'z')
            c = (char)(c - 32);
        out[n++] = (char)((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ? c : '_');
    }
    out[n] = '\0';
    return n;
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* ---- names: what a variable of ours is called in an environment ---- */

static void add_name(const char *header, struct buf *names)
{
    char name[NAME_ROOM];
    size_t len = normalise(header, name);
    buf_append(names, name, len);
    buf_append_char(names, '=');
    buf_append_char(names, '\0');
}

static void add_variable(const satchel_var *var, void *arg)
{
    add_name(var->header, arg);
}

static void all_names(struct buf *names) /* "NAME=\0NAME=\0..." */
{
    static const char *const others[] = {"X-Scope-OrgID", "b3",         "X-B3-TraceId",     "X-B3-SpanId",
                                         "X-B3-Sampled",  "X-B3-Flags", "X-B3-ParentSpanId"};
    for (unsigned i = 0; i < SATCHEL_KNOWN_COUNT; i++)
        add_name(known_vars[i].header, names);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        add_name(others[i], names);
    registry_each(add_variable, names);
}

static bool is_ours(const char *entry, const struct buf *names)
{
    if (starts_with(entry, TASK_VAR_ENV) || starts_with(entry, WHOLE "="))
        return true;
    for (const char *name = names->data, *end = name + names->len; name < end; name += strlen(name) + 1)
        if (starts_with(entry, name))
            return true;
    return false;
}

/* ---- out ---- */

struct entries {
    struct buf text; /* "NAME=value\0" one after the other */
    size_t n;
};

static int add_entry(const char *name, const char *value, size_t len, void *arg)
{
    struct entries *e = arg;
    char normal[NAME_ROOM];
    if (len && memchr(value, '\0', len))
        return 0;
    buf_append(&e->text, normal, normalise(name, normal));
    buf_append_char(&e->text, '=');
    buf_append(&e->text, value, len);
    buf_append_char(&e->text, '\0');
    e->n++;
    return 0;
}

static char **as_block(const struct entries *e) /* the pointers, then the text that they point into */
{
    size_t pointers = (e->n + 1) * sizeof(char *);
    char **block = malloc(pointers + e->text.len);
    if (!block)
        return NULL;
    char *text = (char *)block + pointers;
    if (e->text.len)
        memcpy(text, e->text.data, e->text.len);
    for (size_t i = 0; i < e->n; i++) {
        block[i] = text;
        text += strlen(text) + 1;
    }
    block[e->n] = NULL;
    return block;
}

int satchel_context_to_env(const satchel_context *ctx, char *const base[], char ***env)
{
    if (!env)
        return SATCHEL_EINVAL;
    if (!base)
        base = environ;
    struct buf names = BUF_INIT;
    struct entries e = {.text = BUF_INIT};
    all_names(&names);
    struct snapshot *s = context_snapshot(ctx);
    (void)wire_each(s, false, add_entry, &e);
    snapshot_unref(s);
    for (size_t i = 0; base && base[i] && buf_ok(&names); i++) {
        if (is_ours(base[i], &names))
            continue;
        buf_append(&e.text, base[i], strlen(base[i]) + 1);
        e.n++;
    }
    char **block = buf_ok(&e.text) && buf_ok(&names) ? as_block(&e) : NULL;
    buf_release(&names);
    buf_release(&e.text);
    if (!block)
        return SATCHEL_ENOMEM;
    *env = block;
    return SATCHEL_OK;
}

/* ---- in ---- */

static const char *lookup(char *const env[], const char *name) /* the first one counts, as for getenv */
{
    size_t len = strlen(name);
    for (size_t i = 0; env && env[i]; i++)
        if (strncmp(env[i], name, len) == 0 && env[i][len] == '=')
            return env[i] + len + 1;
    return NULL;
}

struct reading {
    char *const *env;
    const struct snapshot *whole; /* from SATCHEL_CONTEXT */
    struct buf headers;           /* "Header-Name\0" of each field, in order */
    struct buf fields;            /* of satchel_field; names are set at the end, since the buffer moves */
    size_t n;
};

static void add_field(struct reading *r, const char *header, const char *value)
{
    if (!value || !*value) /* OpenTelemetry: empty means unset */
        return;
    satchel_field field = {.name_len = strlen(header), .value = value, .value_len = strlen(value)};
    buf_append(&r->headers, header, field.name_len + 1);
    buf_append(&r->fields, &field, sizeof field);
    r->n++;
}

static void read_header(const char *header, struct reading *r)
{
    char name[NAME_ROOM];
    (void)normalise(header, name);
    add_field(r, header, lookup(r->env, name));
}

static void read_variable(const satchel_var *var, void *arg)
{
    if (!(var->flags & SATCHEL_VAR_SECRET)) /* never in an environment: not from there either */
        read_header(var->header, arg);
}

struct match {
    const char *env_name;
    size_t len;
    const satchel_var *found;
    unsigned n;
};

static int match_one(satchel_var *var, satchel_value *value, void *arg)
{
    struct match *m = arg;
    char name[NAME_ROOM];
    (void)value;
    if (var->interned && normalise(var->header, name) == m->len && memcmp(name, m->env_name, m->len) == 0) {
        m->found = var;
        m->n++;
    }
    return 0;
}

/* X_SATCHEL_VAR_NAME: the variable of SATCHEL_CONTEXT that is called so, where that is clear, else `name`. */
static void read_task_variable(struct reading *r, const char *entry)
{
    struct match m = {.env_name = entry, .len = strcspn(entry, "=")};
    char header[sizeof TASK_VAR_PREFIX + TASK_VAR_NAME_MAX];
    size_t prefix = sizeof TASK_VAR_ENV - 1;
    if (entry[m.len] != '=' || m.len <= prefix || m.len - prefix > TASK_VAR_NAME_MAX)
        return;
    (void)trie_each(r->whole->rest, match_one, &m);
    if (m.n == 1)
        add_field(r, m.found->header, entry + m.len + 1);
    if (m.n)
        return;
    size_t n = sizeof TASK_VAR_PREFIX - 1;
    memcpy(header, TASK_VAR_PREFIX, n);
    for (size_t i = prefix; i < m.len; i++)
        header[n++] = (char)(entry[i] >= 'A' && entry[i] <= 'Z' ? entry[i] + 32 : entry[i]);
    header[n] = '\0';
    add_field(r, header, entry + m.len + 1);
}

static void read_all(struct reading *r)
{
    static const char *const b3[] = {"b3", "X-B3-TraceId", "X-B3-SpanId", "X-B3-Sampled", "X-B3-Flags"};
    for (unsigned i = 0; i < SATCHEL_KNOWN_COUNT; i++)
        read_header(known_vars[i].header, r);
    read_header("X-Scope-OrgID", r);
    for (size_t i = 0; i < sizeof b3 / sizeof b3[0] && propagators() & (PROPAGATOR_B3 | PROPAGATOR_B3_MULTI); i++)
        read_header(b3[i], r);
    registry_each(read_variable, r);
    for (size_t i = 0; r->env && r->env[i]; i++)
        if (starts_with(r->env[i], TASK_VAR_ENV))
            read_task_variable(r, r->env[i]);
}

static int extract_single(struct reading *r, struct snapshot **ret)
{
    if (!buf_ok(&r->headers) || !buf_ok(&r->fields))
        return SATCHEL_ENOMEM;
    satchel_field *fields = (satchel_field *)(void *)r->fields.data;
    const char *header = r->headers.data;
    for (size_t i = 0; i < r->n; i++) {
        fields[i].name = header;
        header += fields[i].name_len + 1;
    }
    return extract_snapshot(fields, r->n, SOURCE_ENV, NULL, NULL, ret);
}

static int overlay(satchel_var *var, satchel_value *value, void *arg)
{
    struct snapshot **s = arg;
    int status = snapshot_build(s, var, value_ref(value));
    if (status != SATCHEL_OK)
        value_unref(value);
    return status;
}

/* A traceparent of another trace takes the tracestate that came with SATCHEL_CONTEXT away. */
static int drop_foreign_state(struct snapshot **whole, const struct snapshot *single)
{
    const char *mine = (*whole)->known->data[SATCHEL_TRACEPARENT], *other = single->known->data[SATCHEL_TRACEPARENT];
    if (!other || (mine && memcmp(mine + 3, other + 3, 32) == 0))
        return SATCHEL_OK;
    return snapshot_build(whole, &known_vars[SATCHEL_TRACESTATE], NULL);
}

int satchel_context_from_env(char *const env[], satchel_context **out)
{
    if (!out)
        return SATCHEL_EINVAL;
    *out = NULL;
    if (!env)
        env = environ;
    const char *json = lookup(env, WHOLE);
    satchel_context *start = NULL; /* not ours to judge: where it cannot be read the single names remain */
    if (json && satchel_context_from_json(json, strlen(json), &start) == SATCHEL_ENOMEM)
        return SATCHEL_ENOMEM;
    struct snapshot *s = start ? context_snapshot(start) : &empty_snapshot, *single = NULL;
    satchel_context_unref(start);
    struct reading r = {.env = env, .whole = s, .headers = BUF_INIT, .fields = BUF_INIT};
    read_all(&r);
    int status = extract_single(&r, &single);
    if (status == SATCHEL_OK)
        status = drop_foreign_state(&s, single);
    if (status == SATCHEL_OK)
        status = snapshot_each(single, overlay, &s);
    snapshot_unref(single);
    buf_release(&r.headers);
    buf_release(&r.fields);
    if (status != SATCHEL_OK) {
        snapshot_unref(s);
        return status;
    }
    *out = context_with_snapshot(s);
    return *out ? SATCHEL_OK : SATCHEL_ENOMEM;
}
