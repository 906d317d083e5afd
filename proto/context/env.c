/* A context as environment variables: OpenTelemetry's normalised names (upper case, everything else '_').
 * SATCHEL_CONTEXT, the library's JSON form, is read first where it is there; single names override it.  Thread: any. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/context/internal.h"

#define NAME_MAX_LEN 260u

static void normalise(const char *header, char out[NAME_MAX_LEN])
{
    size_t n = 0;
    if (header[0] >= '0' && header[0] <= '9')
        out[n++] = '_';
    for (; *header && n + 1 < NAME_MAX_LEN; header++) {
        char c = *header;
        if (c >= 'a' && c <= 'z')
            c = (char)(c - 32);
        out[n++] = (char)((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ? c : '_');
    }
    out[n] = '\0';
}

struct entries {
    struct buf names; /* "NAME\0..." of what the context binds, for removing them from the base */
    struct buf text;  /* "NAME=value\0" one after the other */
    struct buf value;
    size_t n;
};

static int add_entry(satchel_var *var, satchel_value *value, void *arg)
{
    struct entries *e = arg;
    if (!(var->flags & SATCHEL_VAR_WIRE) || var->flags & SATCHEL_VAR_SECRET || !value_text(var, value, &e->value) ||
        (e->value.len && memchr(e->value.data, '\0', e->value.len)))
        return 0;
    char name[NAME_MAX_LEN];
    normalise(var->header, name);
    buf_append_str(&e->text, name);
    buf_append_char(&e->text, '=');
    buf_append(&e->text, e->value.data, e->value.len);
    buf_append_char(&e->text, '\0');
    e->n++;
    return 0;
}

/* Is this entry of the base one that a variable of ours would have? */
static bool is_ours(const char *entry, const struct buf *names)
{
    size_t len = strcspn(entry, "=");
    for (const char *name = names->data; name && name < names->data + names->len; name += strlen(name) + 1)
        if (strlen(name) == len && memcmp(name, entry, len) == 0)
            return true;
    size_t prefix = sizeof "X_SATCHEL_VAR_" - 1;
    return (len > prefix && memcmp(entry, "X_SATCHEL_VAR_", prefix) == 0) ||
           (len == 15 && memcmp(entry, "SATCHEL_CONTEXT", 15) == 0);
}

static void add_name(struct buf *names, const satchel_var *var)
{
    char name[NAME_MAX_LEN];
    normalise(var->header, name);
    buf_append(names, name, strlen(name) + 1);
}

static void all_names(struct buf *names)
{
    for (unsigned i = 0; i < SATCHEL_KNOWN_COUNT; i++)
        add_name(names, &known_vars[i]);
    for (satchel_var *var = var_each_wire(NULL); var; var = var_each_wire(var))
        add_name(names, var);
}

int satchel_context_to_env(const satchel_context *ctx, char *const base[], char ***env)
{
    if (!env)
        return SATCHEL_EINVAL;
    if (!base)
        base = environ;
    struct entries e = {0};
    struct snapshot *s = context_snapshot(ctx);
    all_names(&e.names);
    (void)snapshot_each(s, add_entry, &e);
    snapshot_unref(s);
    for (size_t i = 0; base && base[i]; i++) {
        if (is_ours(base[i], &e.names))
            continue;
        buf_append(&e.text, base[i], strlen(base[i]) + 1);
        e.n++;
    }
    size_t pointers = (e.n + 1) * sizeof(char *);
    char **block = buf_ok(&e.text) && buf_ok(&e.names) && buf_ok(&e.value) ? malloc(pointers + e.text.len) : NULL;
    if (block) { /* one block: the pointers, then the text they point into */
        char *text = (char *)block + pointers;
        if (e.text.len)
            memcpy(text, e.text.data, e.text.len);
        for (size_t i = 0; i < e.n; i++) {
            block[i] = text;
            text += strlen(text) + 1;
        }
        block[e.n] = NULL;
        *env = block;
    }
    buf_release(&e.names);
    buf_release(&e.text);
    buf_release(&e.value);
    return block ? SATCHEL_OK : SATCHEL_ENOMEM;
}

/* ---- in ---- */

static const char *lookup(char *const env[], const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; env && env[i]; i++)
        if (strncmp(env[i], name, len) == 0 && env[i][len] == '=')
            return env[i] + len + 1;
    return NULL;
}

struct reading {
    char *const *env;
    satchel_field fields[SATCHEL_KNOWN_COUNT + 1];
    size_t n;
};

static void read_known(struct reading *r)
{
    for (unsigned i = 0; i < SATCHEL_KNOWN_COUNT; i++) {
        char name[NAME_MAX_LEN];
        const char *header = known_vars[i].header;
        normalise(header, name);
        const char *value = lookup(r->env, name);
        if (!value && i == SATCHEL_TENANT) {
            header = "X-Scope-OrgID";
            value = lookup(r->env, "X_SCOPE_ORGID");
        }
        if (value && *value)
            r->fields[r->n++] = (satchel_field){header, value, strlen(header), strlen(value)};
    }
}

static int overlay(satchel_var *var, satchel_value *value, void *arg)
{
    struct snapshot **s = arg, *garbage;
    satchel_value *old;
    int status = snapshot_set(s, var, value, true, &old, &garbage);
    if (status != SATCHEL_OK)
        return status;
    snapshot_unref(garbage);
    satchel_value_unref(old);
    return 0;
}

static int read_registered(struct snapshot **s, char *const env[])
{
    int status = SATCHEL_OK;
    for (satchel_var *var = var_each_wire(NULL); var; var = var_each_wire(var)) {
        char name[NAME_MAX_LEN];
        normalise(var->header, name);
        const char *text = lookup(env, name);
        satchel_value *value;
        if (!text || status != SATCHEL_OK || var_decode(var, text, strlen(text), &value) != SATCHEL_OK)
            continue;
        status = overlay(var, value, s);
        satchel_value_unref(value);
    }
    return status;
}

int satchel_context_from_env(char *const env[], satchel_context **out)
{
    if (!out)
        return SATCHEL_EINVAL;
    *out = NULL;
    if (!env)
        env = environ;
    struct reading r = {.env = env};
    read_known(&r);
    satchel_context *single;
    int status = satchel_extract(r.fields, r.n, &single, NULL, NULL);
    if (status != SATCHEL_OK)
        return status;
    const char *json = lookup(env, "SATCHEL_CONTEXT");
    satchel_context *whole = NULL;
    if (json && satchel_context_from_json(json, strlen(json), &whole) == SATCHEL_ENOMEM)
        status = SATCHEL_ENOMEM;
    struct snapshot *s = whole ? snapshot_ref(whole->snapshot) : &empty_snapshot;
    if (status == SATCHEL_OK)
        status = snapshot_each(single->snapshot, overlay, &s);
    if (status == SATCHEL_OK)
        status = read_registered(&s, env);
    satchel_context_unref(single);
    satchel_context_unref(whole);
    if (status != SATCHEL_OK) {
        snapshot_unref(s);
        return status;
    }
    *out = context_with_snapshot(s);
    return *out ? SATCHEL_OK : SATCHEL_ENOMEM;
}
