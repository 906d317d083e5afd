/* A context as JSON, {"v":1,"vars":{"traceparent":"00-...","x-tenant-id":"acme"}}: keys are lower-case field names,
 * sorted; values are strings.  The keys of the well-known variables are their standard names, whatever the process is
 * configured to call their headers: what one process stores another one reads.  Written without a tree (once per
 * task); read strictly.  Thread: any. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "proto/context/wire.h"
#include "proto/json_in.h"
#include "proto/json_out.h"

#define FEW 32u      /* bindings that are sorted in place */
#define MAX_DEPTH 64 /* of what we read: unknown members are ignored, whatever they hold */

struct item {
    const satchel_var *var;
    satchel_value *value;
};

struct items {
    struct item *list;
    size_t n, cap;
    unsigned flags;
    bool sorted;
};

static int add_item(satchel_var *var, satchel_value *value, void *arg)
{
    struct items *items = arg;
    if (!(var->flags & SATCHEL_VAR_WIRE) || (var->flags & SATCHEL_VAR_SECRET && !(items->flags & SATCHEL_JSON_SECRETS)))
        return 0;
    size_t at = items->n++;
    while (items->sorted && at && strcmp(items->list[at - 1].var->key, var->key) > 0) { /* mostly in order already */
        items->list[at] = items->list[at - 1];
        at--;
    }
    items->list[at] = (struct item){var, value};
    return 0;
}

static int by_key(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    return strcmp(x->var->key, y->var->key);
}

static bool write_items(const struct items *items, struct buf *out)
{
    struct buf scratch = BUF_INIT;
    struct json_out j = json_out_to(out);
    json_out_begin_object(&j);
    json_out_member_i64(&j, "v", 1);
    json_out_key(&j, "vars");
    json_out_begin_object(&j);
    for (size_t i = 0; i < items->n; i++) {
        struct slice text;
        if (!wire_text(items->list[i].value, &scratch, &text)) {
            if (!buf_ok(&scratch))
                break;
            continue;
        }
        json_out_key(&j, items->list[i].var->key); /* of token characters: none needs an escape */
        json_out_string(&j, text);
    }
    json_out_end_object(&j);
    json_out_end_object(&j);
    bool good = buf_ok(&scratch);
    buf_release(&scratch);
    return good;
}

int satchel_context_to_json(const satchel_context *ctx, unsigned flags, char **json, size_t *len)
{
    if (!json)
        return SATCHEL_EINVAL;
    struct snapshot *s = context_snapshot(ctx);
    struct item few[FEW];
    struct items items = {.list = few, .cap = FEW, .flags = flags, .sorted = true};
    if (s->count > FEW) {
        items.sorted = false;
        items.list = malloc(s->count * sizeof *items.list);
    }
    char *result = NULL;
    if (items.list) {
        (void)snapshot_each(s, add_item, &items);
        if (!items.sorted)
            qsort(items.list, items.n, sizeof *items.list, by_key);
        struct buf out = BUF_INIT;
        (void)buf_reserve(&out, 500);
        bool good = write_items(&items, &out);
        result = buf_take(&out, len);
        if (!good) {
            free(result);
            result = NULL;
        }
    }
    if (items.list != few)
        free(items.list);
    snapshot_unref(s);
    if (!result)
        return SATCHEL_ENOMEM;
    *json = result;
    return SATCHEL_OK;
}

/* ---- in ---- */

static bool is_ours(const char *key)
{
    size_t len = strlen(key), prefix = sizeof TASK_VAR_PREFIX - 1;
    satchel_var *made = NULL;
    bool ours = known_by_key(key, len) || (made = registry_find(key, len)) != NULL ||
                (len > prefix && same_name(key, prefix, TASK_VAR_PREFIX, prefix));
    satchel_var_unref(made);
    return ours;
}

/* The members as fields; they point into the tree.  Unknown keys are left out, whatever they hold. */
static int read_members(json_t *vars, satchel_field *fields, size_t *n)
{
    const char *key;
    json_t *value;
    json_object_foreach(vars, key, value)
    {
        if (!is_ours(key))
            continue;
        if (!json_is_string(value))
            return SATCHEL_EGRAMMAR;
        fields[(*n)++] = (satchel_field){.name = key,
                                         .name_len = strlen(key),
                                         .value = json_string_value(value),
                                         .value_len = json_string_length(value)};
    }
    return SATCHEL_OK;
}

int satchel_context_from_json(const char *json, size_t len, satchel_context **out)
{
    if (!out)
        return SATCHEL_EINVAL;
    *out = NULL;
    if (!json)
        return SATCHEL_EINVAL;
    char error[JSON_IN_ERROR_SIZE];
    json_t *root = json_in_load(slice_of(json, len), MAX_DEPTH, error);
    json_t *vars = json_object_get(root, "vars"), *version = json_object_get(root, "v");
    if (!json_is_number(version) || json_number_value(version) != 1 || !json_is_object(vars)) {
        json_decref(root);
        return SATCHEL_EGRAMMAR;
    }
    satchel_field few[FEW], *fields = few;
    size_t n = 0, size = json_object_size(vars);
    if (size > FEW)
        fields = malloc(size * sizeof *fields);
    struct snapshot *s = NULL;
    int status = fields ? read_members(vars, fields, &n) : SATCHEL_ENOMEM;
    if (status == SATCHEL_OK)
        status = extract_snapshot(fields, n, SOURCE_STORED, NULL, NULL, &s);
    if (fields != few)
        free(fields);
    json_decref(root);
    if (status != SATCHEL_OK)
        return status;
    *out = context_with_snapshot(s);
    return *out ? SATCHEL_OK : SATCHEL_ENOMEM;
}
