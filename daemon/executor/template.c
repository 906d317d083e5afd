#include "executor/template.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/json_in.h"

#define PARTS_MAX 64u

static bool path_valid(struct slice path)
{
    bool in_name = false;
    for (size_t i = 0; i < path.len; i++) {
        char c = path.data[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
        if (!ok && !(c == '.' && in_name))
            return false;
        in_name = ok;
    }
    return in_name;
}

static struct slice trimmed(const char *from, const char *to)
{
    while (from < to && *from == ' ')
        from++;
    while (to > from && to[-1] == ' ')
        to--;
    return slice_of(from, (size_t)(to - from));
}

/* What stands between {{ and }}: "args", "args.PATH", "after" or "after.PATH". */
static const char *read_path(struct slice inside, struct template_part *ret)
{
    static const char *const fault = "has a template that is neither {{args.NAME}} nor {{after.N}}";
    ret->is_path = true;
    ret->of_after = inside.len >= 5 && memcmp(inside.data, "after", 5) == 0;
    size_t root = ret->of_after ? 5 : 4;
    if (!ret->of_after && (inside.len < 4 || memcmp(inside.data, "args", 4) != 0))
        return fault;
    ret->text = slice_of(inside.data + root, inside.len - root);
    if (ret->text.len == 0)
        return NULL;
    if (ret->text.data[0] != '.')
        return fault;
    ret->text = slice_of(ret->text.data + 1, ret->text.len - 1);
    return path_valid(ret->text) ? NULL : "has a template whose NAME in {{args.NAME}} is not made of A-Z a-z 0-9 _ -";
}

static bool add_part(struct template *t, struct template_part part)
{
    if (part.text.len == 0 && !part.is_path)
        return true;
    t->parts[t->n++] = part;
    return t->n < PARTS_MAX;
}

int template_parse(const char *text, struct template *ret, const char **ret_fault)
{
    struct template t = {.parts = calloc(PARTS_MAX + 1, sizeof *t.parts)};
    const char *fault = t.parts ? NULL : "out of memory";
    while (!fault) {
        const char *open = strstr(text, "{{");
        struct slice plain = slice_of(text, open ? (size_t)(open - text) : strlen(text));
        bool room = add_part(&t, (struct template_part){.text = plain});
        if (!open)
            break;
        const char *close = strstr(open, "}}");
        struct template_part path = {.is_path = true};
        fault = !close ? "has a {{ without its }}" : read_path(trimmed(open + 2, close), &path);
        if (!fault && !(room && add_part(&t, path)))
            fault = "has too many templates in one text";
        text = close ? close + 2 : open;
    }
    if (fault) {
        template_release(&t);
        *ret_fault = fault;
        return -1;
    }
    *ret = t;
    return 0;
}

void template_release(struct template *t)
{
    free(t->parts);
    *t = (struct template){0};
}

bool template_uses_after(const struct template *t)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->parts[i].of_after)
            return true;
    return false;
}

static bool refuse(char error[TEMPLATE_ERROR_SIZE], const struct template_part *part, const char *what)
{
    (void)snprintf(error, TEMPLATE_ERROR_SIZE, "%s%s%.*s %s", part->of_after ? "after" : "args",
                   part->text.len ? "." : "", (int)part->text.len, part->text.data, what);
    return false;
}

static struct slice look_up(struct slice args, struct slice path)
{
    while (path.len && args.data) {
        const char *dot = memchr(path.data, '.', path.len);
        size_t len = dot ? (size_t)(dot - path.data) : path.len;
        args = json_in_find(args, slice_of(path.data, len));
        path = dot ? slice_of(dot + 1, path.len - len - 1) : slice_of(NULL, 0);
    }
    return args;
}

static bool append_value(struct slice json, const struct template_part *part, bool as_json, struct buf *out,
                         char error[TEMPLATE_ERROR_SIZE])
{
    if (json.len == 0)
        return refuse(error, part, "is missing: the task needs it");
    if (slice_eq_str(json, "null") && part->text.len && !as_json)
        return refuse(error, part, "is null: the task needs a value");
    if (json.data[0] != '"' || part->text.len == 0 || as_json) { /* {{args}} is the JSON text, a string's too */
        buf_append_slice(out, json);
        return true;
    }
    json_t *string = json_loadb(json.data, json.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    const char *text = json_string_value(string);
    bool fits = text && !memchr(text, '\0', json_string_length(string));
    if (fits)
        buf_append(out, text, json_string_length(string));
    json_decref(string);
    return fits || refuse(error, part, text ? "has a NUL character, which cannot be filled in" : "cannot be read");
}

bool template_part_expand(const struct template_part *part, const struct template_values *values, bool json,
                          struct buf *out, char error[TEMPLATE_ERROR_SIZE])
{
    if (part->is_path)
        return append_value(look_up(part->of_after ? values->after : values->args, part->text), part, json, out, error);
    buf_append_slice(out, part->text);
    return true;
}

bool template_expand(const struct template *t, const struct template_values *values, bool allow_dash, struct buf *out,
                     char error[TEMPLATE_ERROR_SIZE])
{
    size_t start = out->len;
    const struct template_part *first = NULL; /* the value that the text begins with, be it empty */
    for (size_t i = 0; i < t->n; i++) {
        const struct template_part *part = &t->parts[i];
        if (out->len == start && part->is_path)
            first = part;
        if (!template_part_expand(part, values, false, out, error))
            return false;
        if (first && out->len > start && out->data[start] == '-' && !allow_dash)
            return refuse(error, first,
                          first == part
                              ? "begins with '-': a program would take it for an option (allow_dash permits it)"
                              : "is empty, so that the argument begins with '-': a program would take it for "
                                "an option (allow_dash permits it)");
    }
    return true;
}
