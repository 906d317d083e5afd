/* Called by api/request_context.c (requests) and schedule/definition.c (firings). */
#include "task/tenant_defaults.h"

#include <string.h>
#include <strings.h>

static const char variable_prefix[] = "X-Satchel-Var-";

size_t tenant_defaults_room(const struct config_tenant *tenant)
{
    return tenant ? tenant->context.n + (tenant->baggage.n != 0) : 0;
}

static bool is_named(const satchel_field *field, struct slice name)
{
    return field->name_len == name.len && strncasecmp(field->name, name.data, name.len) == 0;
}

/* Is there a member of this key in what came? */
static bool has_member(const satchel_field *fields, size_t n, struct slice key)
{
    for (size_t i = 0; i < n; i++) {
        const char *at = fields[i].value, *end = at + fields[i].value_len;
        if (!is_named(&fields[i], SLICE_LITERAL("baggage")))
            continue;
        while (at < end) {
            while (at < end && (*at == ' ' || *at == '\t' || *at == ','))
                at++;
            if ((size_t)(end - at) > key.len && memcmp(at, key.data, key.len) == 0 && strchr("= \t", at[key.len]))
                return true;
            while (at < end && *at != ',')
                at++;
        }
    }
    return false;
}

static struct slice name_of(const char *item)
{
    return slice_of(item, (size_t)(strchr(item, '=') - item));
}

/* The field that carries a variable: that of its header section, else one of the task's variables. */
static void append_field_name(const struct config *config, struct slice variable, struct buf *out)
{
    for (size_t i = 0; i < config->n_headers; i++) {
        if (slice_eq_str(variable, config->headers[i].variable)) {
            buf_append_str(out, config->headers[i].header);
            return;
        }
    }
    buf_append_str(out, variable_prefix);
    buf_append_slice(out, variable);
}

static bool came(const satchel_field *fields, size_t n, struct slice name)
{
    for (size_t i = 0; i < n; i++)
        if (is_named(&fields[i], name))
            return true;
    return false;
}

/* Names and values lie in the text, which does not grow any more once the fields point into it. */
struct piece {
    size_t name_at, name_len, value_at, value_len;
};

static struct piece add_baggage(const satchel_field *fields, size_t n, struct tenant_defaults *ret)
{
    const struct config_list *list = &ret->tenant->baggage;
    struct piece piece = {.name_at = ret->text.len, .name_len = 7};
    ret->baggage = !came(fields, n, SLICE_LITERAL("baggage"));
    buf_append_str(&ret->text, "baggage");
    piece.value_at = ret->text.len;
    for (size_t i = 0; i < list->n; i++) {
        if (has_member(fields, n, name_of(list->items[i])))
            continue;
        if (ret->text.len > piece.value_at)
            buf_append_char(&ret->text, ',');
        buf_append_str(&ret->text, list->items[i]);
    }
    piece.value_len = ret->text.len - piece.value_at;
    return piece;
}

static struct piece add_variable(const struct config *config, size_t index, const satchel_field *fields, size_t n,
                                 struct tenant_defaults *ret)
{
    const char *item = ret->tenant->context.items[index];
    struct piece piece = {.name_at = ret->text.len};
    append_field_name(config, name_of(item), &ret->text);
    piece.name_len = ret->text.len - piece.name_at;
    piece.value_at = ret->text.len;
    if (!buf_ok(&ret->text) || came(fields, n, slice_of(ret->text.data + piece.name_at, piece.name_len)))
        return piece; /* it has no value: left out */
    buf_append_str(&ret->text, strchr(item, '=') + 1);
    piece.value_len = ret->text.len - piece.value_at;
    ret->given |= UINT64_C(1) << index;
    return piece;
}

bool tenant_defaults_add(const struct config *config, const struct config_tenant *tenant, satchel_field *fields,
                         size_t *n, struct tenant_defaults *ret)
{
    struct piece pieces[CONFIG_TENANT_VARIABLES_MAX + 1];
    size_t n_pieces = 0, n_came = *n;
    *ret = (struct tenant_defaults){.tenant = tenant};
    if (!ret->tenant || (!ret->tenant->context.n && !ret->tenant->baggage.n)) {
        ret->tenant = NULL;
        return true;
    }
    for (size_t i = 0; i < ret->tenant->context.n; i++)
        pieces[n_pieces++] = add_variable(config, i, fields, n_came, ret);
    if (ret->tenant->baggage.n)
        pieces[n_pieces++] = add_baggage(fields, n_came, ret);
    if (!buf_ok(&ret->text))
        return false;
    for (size_t i = 0; i < n_pieces; i++)
        if (pieces[i].value_len)
            fields[(*n)++] = (satchel_field){.name = ret->text.data + pieces[i].name_at,
                                             .name_len = pieces[i].name_len,
                                             .value = ret->text.data + pieces[i].value_at,
                                             .value_len = pieces[i].value_len};
    return true;
}

bool tenant_defaults_gave(const struct tenant_defaults *defaults, const char *variable)
{
    if (!defaults->tenant)
        return false;
    if (strcmp(variable, "baggage") == 0)
        return defaults->baggage && defaults->tenant->baggage.n;
    for (size_t i = 0; i < defaults->tenant->context.n; i++)
        if (defaults->given >> i & 1 && slice_eq_str(name_of(defaults->tenant->context.items[i]), variable))
            return true;
    return false;
}

void tenant_defaults_release(struct tenant_defaults *defaults)
{
    buf_release(&defaults->text);
}
