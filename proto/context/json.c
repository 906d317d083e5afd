/* A context as JSON, {"v":1,"vars":{"traceparent":"00-...","x-tenant-id":"acme"}}: keys are lower-case field names,
 * sorted; values are strings.  The keys of the well-known variables are their standard names, whatever the process is
 * configured to call their headers: what one process stores another one reads.  Written without a tree (once per
 * task), and read without one where it is as it is written here and plain; anything else strictly, by jansson.
 * Thread: any. */
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

static bool is_ours(const char *key, size_t len)
{
    size_t prefix = sizeof TASK_VAR_PREFIX - 1;
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
        if (!is_ours(key, strlen(key)))
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

/* Takes `expected` off the front. */
static bool take(struct slice *text, struct slice expected)
{
    if (text->len < expected.len || memcmp(text->data, expected.data, expected.len) != 0)
        return false;
    *text = slice_of(text->data + expected.len, text->len - expected.len);
    return true;
}

/* Takes a string off the front that reads as it is written: printable ASCII without an escape. */
static bool take_plain(struct slice *text, struct slice *ret)
{
    if (!take(text, SLICE_LITERAL("\"")))
        return false;
    const char *quote = memchr(text->data, '"', text->len);
    if (!quote)
        return false;
    *ret = slice_of(text->data, (size_t)(quote - text->data));
    for (size_t i = 0; i < ret->len; i++)
        if (ret->data[i] < ' ' || ret->data[i] > '~' || ret->data[i] == '\\')
            return false;
    *text = slice_of(quote + 1, text->len - ret->len - 1);
    return true;
}

static bool is_before(struct slice a, struct slice b)
{
    int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
    return order < 0 || (order == 0 && a.len < b.len);
}

/* The form that to_json writes, where all is plain: keys in their order, so none comes twice.  The fields point into
 * the text.  False: it is not of that form, and may be right all the same. */
static bool read_plain(struct slice text, satchel_field fields[FEW], size_t *ret_n)
{
    struct slice last = {0}, key, value;
    size_t n = 0, members = 0;
    if (!take(&text, SLICE_LITERAL("{\"v\":1,\"vars\":{")))
        return false;
    while (text.len && text.data[0] != '}') {
        if (members && !take(&text, SLICE_LITERAL(",")))
            return false;
        if (!take_plain(&text, &key) || !take(&text, SLICE_LITERAL(":")) || !take_plain(&text, &value))
            return false;
        if (members++ && !is_before(last, key))
            return false;
        last = key;
        if (n == FEW)
            return false;
        if (is_ours(key.data, key.len))
            fields[n++] =
                (satchel_field){.name = key.data, .name_len = key.len, .value = value.data, .value_len = value.len};
    }
    *ret_n = n;
    return slice_eq(text, SLICE_LITERAL("}}"));
}

static int with_snapshot(struct snapshot *s, satchel_context **out)
{
    *out = context_with_snapshot(s);
    return *out ? SATCHEL_OK : SATCHEL_ENOMEM;
}

int satchel_context_from_json(const char *json, size_t len, satchel_context **out)
{
    if (!out)
        return SATCHEL_EINVAL;
    *out = NULL;
    if (!json)
        return SATCHEL_EINVAL;
    satchel_field few[FEW], *fields = few;
    size_t n = 0;
    struct snapshot *s = NULL;
    if (read_plain(slice_of(json, len), few, &n)) {
        int status = extract_snapshot(few, n, SOURCE_STORED, NULL, NULL, &s);
        return status == SATCHEL_OK ? with_snapshot(s, out) : status;
    }
    n = 0;
    char error[JSON_IN_ERROR_SIZE];
    json_t *root = json_in_load(slice_of(json, len), MAX_DEPTH, error);
    json_t *vars = json_object_get(root, "vars"), *version = json_object_get(root, "v");
    if (!json_is_number(version) || json_number_value(version) != 1 || !json_is_object(vars)) {
        json_decref(root);
        return SATCHEL_EGRAMMAR;
    }
    size_t size = json_object_size(vars);
    if (size > FEW)
        fields = malloc(size * sizeof *fields);
    int status = fields ? read_members(vars, fields, &n) : SATCHEL_ENOMEM;
    if (status == SATCHEL_OK)
        status = extract_snapshot(fields, n, SOURCE_STORED, NULL, NULL, &s);
    if (fields != few)
        free(fields);
    json_decref(root);
    return status == SATCHEL_OK ? with_snapshot(s, out) : status;
}
