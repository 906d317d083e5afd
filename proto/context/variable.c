/* Variables: keys with identity.  Contexts, pending tokens and their makers hold references; the registry of what
 * travels (registry.c) does not, so that a variable ends with its last reference.  Thread: any. */
#include <stdlib.h>
#include <string.h>

#include "proto/context/internal.h"

#define DEFAULT_MAX_LEN 256u

static _Atomic uint64_t next_id; /* dense, for the trie */

/* ---- names ---- */

static bool is_token_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

bool is_field_name(const char *text)
{
    size_t n = 0;
    while (n < 256 && is_token_char(text[n]))
        n++;
    return n >= 1 && n <= 255 && text[n] == '\0';
}

bool is_utf8(const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;
    for (size_t i = 0; i < len;) {
        size_t need = s[i] < 0x80                    ? 1
                      : s[i] >= 0xc2 && s[i] <= 0xdf ? 2
                      : (s[i] & 0xf0) == 0xe0        ? 3
                      : s[i] >= 0xf0 && s[i] <= 0xf4 ? 4
                                                     : 0;
        if (need == 0 || len - i < need)
            return false;
        for (size_t k = 1; k < need; k++)
            if ((s[i + k] & 0xc0) != 0x80)
                return false;
        if ((s[i] == 0xe0 && s[i + 1] < 0xa0) || (s[i] == 0xed && s[i + 1] > 0x9f) ||
            (s[i] == 0xf0 && s[i + 1] < 0x90) || (s[i] == 0xf4 && s[i + 1] > 0x8f))
            return false;
        i += need;
    }
    return true;
}

static char *lower_copy(const char *text)
{
    char *copy = strdup(text);
    for (char *c = copy; c && *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c + 32);
    return copy;
}

/* ---- life ---- */

void var_destroy(satchel_var *var)
{
    value_unref(var->dflt);
    free(var->name);
    free(var->header);
    free(var->key);
    free(var);
    count_add(COUNT_VARS, -1);
}

int var_make(const struct var_make *how, satchel_var **out)
{
    satchel_var *var = calloc(1, sizeof *var);
    if (!var)
        return SATCHEL_ENOMEM;
    count_add(COUNT_VARS, 1);
    atomic_init(&var->refs, 1);
    var->slot = SLOT_NONE;
    var->interned = how->interned;
    var->flags = how->flags;
    var->id = atomic_fetch_add_explicit(&next_id, 1, memory_order_relaxed);
    var->type = how->type;
    var->max_len = how->max_len;
    var->name = strdup(how->name);
    bool named = var->name != NULL;
    if (how->header) {
        var->header = strdup(how->header);
        var->key = lower_copy(how->header);
        var->header_len = strlen(how->header);
        named = named && var->header && var->key;
    }
    if (!named) {
        var_destroy(var);
        return SATCHEL_ENOMEM;
    }
    var->dflt = how->dflt;
    *out = var;
    return SATCHEL_OK;
}

static int check_spec(const satchel_var_spec *spec)
{
    if (!spec || spec->struct_size < sizeof *spec || !spec->name || !*spec->name)
        return SATCHEL_EINVAL;
    size_t len = strnlen(spec->name, 256);
    if (len > 255 || !is_utf8(spec->name, len))
        return SATCHEL_EINVAL;
    if (spec->flags & ~(unsigned)(SATCHEL_VAR_WIRE | SATCHEL_VAR_SECRET | SATCHEL_VAR_DEFAULT))
        return SATCHEL_EINVAL;
    if (spec->type && spec->type->struct_size < sizeof *spec->type)
        return SATCHEL_EINVAL;
    if (!(spec->flags & SATCHEL_VAR_WIRE))
        return SATCHEL_OK;
    if (!is_field_name(spec->header ? spec->header : spec->name))
        return SATCHEL_EINVAL;
    return spec->type && spec->type->encode && spec->type->decode ? SATCHEL_OK : SATCHEL_EINVAL;
}

int satchel_var_new(const satchel_var_spec *spec, satchel_var **out)
{
    int status = out ? check_spec(spec) : SATCHEL_EINVAL;
    if (status != SATCHEL_OK)
        return status;
    bool wire = spec->flags & SATCHEL_VAR_WIRE;
    struct var_make how = {.name = spec->name,
                           .header = !wire          ? NULL
                                     : spec->header ? spec->header
                                                    : spec->name,
                           .type = spec->type,
                           .max_len = spec->max_len ? spec->max_len : DEFAULT_MAX_LEN,
                           .flags = spec->flags};
    if (spec->default_data || spec->flags & SATCHEL_VAR_DEFAULT) {
        status = satchel_value_new(spec->type, spec->default_data, &how.dflt);
        how.flags |= SATCHEL_VAR_DEFAULT;
    }
    satchel_var *var = NULL;
    if (status == SATCHEL_OK)
        status = var_make(&how, &var);
    if (status == SATCHEL_OK && wire && (status = registry_add(var, NULL)) != SATCHEL_OK) {
        var->dflt = NULL;
        var_destroy(var);
    }
    if (status == SATCHEL_OK)
        *out = var;
    else if (how.dflt) /* on failure the data stays the caller's */
        value_disown(how.dflt);
    return status;
}

int satchel_var_string(const char *name, const char *dflt, const char *header, satchel_var **out)
{
    satchel_var_spec spec = {.struct_size = sizeof spec,
                             .name = name,
                             .type = &satchel_string_type,
                             .header = header,
                             .flags = header ? SATCHEL_VAR_WIRE : 0u};
    if (dflt && !(spec.default_data = strdup(dflt)))
        return SATCHEL_ENOMEM;
    int status = satchel_var_new(&spec, out);
    if (status != SATCHEL_OK)
        free(spec.default_data);
    return status;
}

satchel_var *satchel_var_ref(satchel_var *var)
{
    return var ? var_ref(var) : NULL;
}

void satchel_var_unref(satchel_var *var)
{
    if (!var || var->slot != SLOT_NONE)
        return;
    if (!var->header) {
        if (refs_drop(&var->refs))
            var_destroy(var);
        return;
    }
    /* Found by name without a reference: the count really has to go through zero, where nobody revives it. */
    if (atomic_fetch_sub_explicit(&var->refs, 1, memory_order_acq_rel) != 1)
        return;
    registry_remove(var);
    var_destroy(var);
}

/* ---- what it is ---- */

const char *satchel_var_name(const satchel_var *var)
{
    return var ? var->name : NULL;
}

const char *satchel_var_header(const satchel_var *var)
{
    return var ? var->header : NULL;
}

unsigned satchel_var_flags(const satchel_var *var)
{
    return var ? var->flags : 0;
}

const satchel_type *satchel_var_type(const satchel_var *var)
{
    return var ? var->type : NULL;
}

int satchel_var_default(const satchel_var *var, void **data)
{
    if (!var || !data)
        return SATCHEL_EINVAL;
    *data = var->dflt ? var->dflt->data : NULL;
    return var->dflt ? SATCHEL_OK : SATCHEL_UNSET;
}

/* ---- a task's own variables ---- */

static bool is_task_variable_name(const char *name)
{
    static const char *const reserved[] = {"tenant",         "traceparent", "tracestate", "baggage", "request_id",
                                           "correlation_id", "deadline",    "task_id",    "attempt"};
    size_t len = strnlen(name, TASK_VAR_NAME_MAX + 1);
    if (len < 1 || len > TASK_VAR_NAME_MAX || name[0] < 'a' || name[0] > 'z')
        return false;
    for (const char *c = name; *c; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '_' || *c == '.' || *c == '-'))
            return false;
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
        if (strcmp(name, reserved[i]) == 0)
            return false;
    return true;
}

int satchel_variable(const char *name, satchel_var **out)
{
    if (!name || !out || !is_task_variable_name(name))
        return SATCHEL_EINVAL;
    char header[sizeof TASK_VAR_PREFIX + TASK_VAR_NAME_MAX];
    size_t prefix = sizeof TASK_VAR_PREFIX - 1, len = strlen(name);
    memcpy(header, TASK_VAR_PREFIX, prefix);
    memcpy(header + prefix, name, len + 1);
    satchel_var *var = registry_find(header, prefix + len), *made;
    if (!var) {
        struct var_make how = {.name = name,
                               .header = header,
                               .type = &satchel_string_type,
                               .max_len = TASK_VAR_MAX_LEN,
                               .flags = SATCHEL_VAR_WIRE,
                               .interned = true};
        int status = var_make(&how, &made);
        if (status != SATCHEL_OK)
            return status;
        status = registry_add(made, &var);
        if (status == SATCHEL_OK)
            var = made;
        else
            var_destroy(made);
        if (status != SATCHEL_OK && status != SATCHEL_EEXIST) /* EEXIST: somebody was quicker */
            return status;
    }
    *out = var;
    return SATCHEL_OK;
}

bool satchel_var_is_task_variable(const satchel_var *var)
{
    return var && var->interned;
}
