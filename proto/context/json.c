/* A context as JSON, {"v":1,"vars":{"traceparent":"00-...","x-tenant-id":"acme"}}: keys are lower-case field names,
 * sorted; values are strings.  Written without a tree; read strictly.  Thread: any. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "proto/context/internal.h"
#include "proto/json_in.h"
#include "proto/json_out.h"

#define INLINE_ITEMS 32u

struct item {
    satchel_var *var;
    satchel_value *value;
};

struct items {
    struct item *list, inline_list[INLINE_ITEMS];
    size_t n, cap;
    unsigned flags;
    bool failed;
};

static int add_item(satchel_var *var, satchel_value *value, void *arg)
{
    struct items *items = arg;
    if (!(var->flags & SATCHEL_VAR_WIRE) || (var->flags & SATCHEL_VAR_SECRET && !(items->flags & SATCHEL_JSON_SECRETS)))
        return 0;
    if (items->n == items->cap) {
        struct item *list = malloc(items->cap * 2 * sizeof *list);
        if (!list) {
            items->failed = true;
            return 1;
        }
        memcpy(list, items->list, items->n * sizeof *list);
        if (items->list != items->inline_list)
            free(items->list);
        items->list = list;
        items->cap *= 2;
    }
    size_t at = items->n++; /* insertion: there are few, and mostly in order */
    while (at && strcasecmp(items->list[at - 1].var->header, var->header) > 0) {
        items->list[at] = items->list[at - 1];
        at--;
    }
    items->list[at] = (struct item){var, value};
    return 0;
}

static void write_key(struct json_out *j, const char *header)
{
    char key[256];
    size_t n = 0;
    for (; header[n] && n + 1 < sizeof key; n++)
        key[n] = (char)(header[n] >= 'A' && header[n] <= 'Z' ? header[n] + 32 : header[n]);
    json_out_key_slice(j, slice_of(key, n));
}

int satchel_context_to_json(const satchel_context *ctx, unsigned flags, char **json, size_t *len)
{
    if (!json)
        return SATCHEL_EINVAL;
    struct snapshot *s = context_snapshot(ctx);
    struct items items = {.cap = INLINE_ITEMS, .flags = flags};
    items.list = items.inline_list;
    (void)snapshot_each(s, add_item, &items);
    struct buf out = BUF_INIT, text = BUF_INIT;
    struct json_out j = json_out_to(&out);
    (void)buf_reserve(&out, 512);
    json_out_begin_object(&j);
    json_out_member_i64(&j, "v", 1);
    json_out_key(&j, "vars");
    json_out_begin_object(&j);
    for (size_t i = 0; i < items.n; i++) {
        if (!value_text(items.list[i].var, items.list[i].value, &text))
            continue;
        write_key(&j, items.list[i].var->header);
        json_out_string(&j, buf_slice(&text));
    }
    json_out_end_object(&j);
    json_out_end_object(&j);
    if (items.list != items.inline_list)
        free(items.list);
    buf_release(&text);
    snapshot_unref(s);
    char *result = items.failed ? NULL : buf_take(&out, len);
    buf_release(&out);
    if (!result)
        return SATCHEL_ENOMEM;
    *json = result;
    return SATCHEL_OK;
}

static int bind_member(struct snapshot **s, const char *key, const json_t *text)
{
    satchel_var *var = var_by_header(key, strlen(key));
    if (!var)
        return SATCHEL_OK; /* unknown keys are ignored */
    satchel_value *value = NULL, *old = NULL;
    struct snapshot *garbage = NULL;
    int status = var_decode(var, json_string_value(text), json_string_length(text), &value);
    if (status == SATCHEL_OK)
        status = snapshot_set(s, var, value, true, &old, &garbage);
    snapshot_unref(garbage);
    satchel_value_unref(old);
    satchel_value_unref(value);
    satchel_var_unref(var);
    return status;
}

int satchel_context_from_json(const char *json, size_t len, satchel_context **out)
{
    if (!json || !out)
        return SATCHEL_EINVAL;
    *out = NULL;
    char error[JSON_IN_ERROR_SIZE];
    json_t *root = json_in_load(slice_of(json, len), 8, error);
    json_t *vars = json_object_get(root, "vars");
    json_t *version = json_object_get(root, "v");
    if (!root || !json_is_number(version) || json_number_value(version) != 1 || !json_is_object(vars)) {
        json_decref(root);
        return SATCHEL_EGRAMMAR;
    }
    struct snapshot *s = &empty_snapshot;
    int status = SATCHEL_OK;
    const char *key;
    json_t *value;
    json_object_foreach(vars, key, value)
    {
        status = json_is_string(value) ? bind_member(&s, key, value) : SATCHEL_EGRAMMAR;
        if (status != SATCHEL_OK)
            break;
    }
    json_decref(root);
    if (status != SATCHEL_OK) {
        snapshot_unref(s);
        return status;
    }
    *out = context_with_snapshot(s);
    return *out ? SATCHEL_OK : SATCHEL_ENOMEM;
}

void satchel_free(void *block)
{
    free(block);
}
