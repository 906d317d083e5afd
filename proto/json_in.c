#include "proto/json_in.h"

#include <stdio.h>
#include <string.h>

void json_in_init(void)
{
    json_object_seed(0);
}

static void printable(char *text)
{
    for (; *text; text++)
        if (*text < 0x20 || *text > 0x7e)
            *text = '?';
}

/* Deepest nesting of [ and { outside strings.  The text need not be valid. */
static int nesting(struct slice text)
{
    int depth = 0, deepest = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            depth++;
            deepest = depth > deepest ? depth : deepest;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return deepest;
}

/* What is valid JSON and not accepted all the same is told in words of ours. */
static const char *explain(const json_error_t *why)
{
    switch (json_error_code(why)) {
    case json_error_null_character:
    case json_error_null_byte_in_key: return "a string holds the character NUL (\\u0000), which is not accepted";
    case json_error_numeric_overflow: return "a number is too large; numbers reach to 1.7e308";
    default: return why->text;
    }
}

json_t *json_in_load(struct slice text, int max_depth, char error[JSON_IN_ERROR_SIZE])
{
    if (text.len == 0) {
        (void)snprintf(error, JSON_IN_ERROR_SIZE, "the text is empty");
        return NULL;
    }
    const char *nul = memchr(text.data, '\0', text.len);
    if (nul) {
        (void)snprintf(error, JSON_IN_ERROR_SIZE, "a NUL byte at offset %zu", (size_t)(nul - text.data));
        return NULL;
    }
    int depth = nesting(text);
    if (depth > max_depth) {
        (void)snprintf(error, JSON_IN_ERROR_SIZE, "nested %d levels deep; the limit is %d", depth, max_depth);
        return NULL;
    }
    json_error_t why;
    json_t *json =
        json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, &why);
    if (!json) {
        (void)snprintf(error, JSON_IN_ERROR_SIZE, "line %d, column %d: %.110s", why.line, why.column, explain(&why));
        printable(error);
    }
    return json;
}

static size_t skip_space(struct slice t, size_t at)
{
    while (at < t.len && (t.data[at] == ' ' || t.data[at] == '\t' || t.data[at] == '\n' || t.data[at] == '\r'))
        at++;
    return at;
}

static size_t skip_string(struct slice t, size_t at) /* at: the opening quote; returns behind the closing one */
{
    for (at++; at < t.len && t.data[at] != '"'; at++)
        if (t.data[at] == '\\')
            at++;
    return at < t.len ? at + 1 : t.len;
}

static size_t skip_value(struct slice t, size_t at)
{
    int depth = 0;
    while (at < t.len) {
        char c = t.data[at];
        if (c == '"') {
            at = skip_string(t, at);
            if (depth == 0)
                return at;
            continue;
        }
        if (depth == 0 && (c == ',' || c == '}' || c == ']' || c == ' ' || c == '\t' || c == '\n' || c == '\r'))
            return at;
        if (c == '{' || c == '[')
            depth++;
        if ((c == '}' || c == ']') && --depth == 0)
            return at + 1;
        at++;
    }
    return at;
}

size_t json_in_members(struct slice text, struct json_member *members, size_t cap)
{
    size_t n = 0;
    size_t at = skip_space(text, 0);
    if (at >= text.len || text.data[at] != '{')
        return 0;
    at = skip_space(text, at + 1);
    while (at < text.len && text.data[at] == '"') {
        size_t name_end = skip_string(text, at);
        struct slice name = slice_of(text.data + at + 1, name_end - at - 2);
        at = skip_space(text, name_end);
        at = skip_space(text, at + 1); /* the colon */
        size_t value_end = skip_value(text, at);
        if (n < cap)
            members[n] = (struct json_member){name, slice_of(text.data + at, value_end - at)};
        n++;
        at = skip_space(text, value_end);
        if (at < text.len && text.data[at] == ',')
            at = skip_space(text, at + 1);
    }
    return n;
}

static bool name_is(struct slice raw, struct slice name)
{
    if (!memchr(raw.data, '\\', raw.len))
        return slice_eq(raw, name);
    json_t *decoded = json_loadb(raw.data - 1, raw.len + 2, JSON_DECODE_ANY, NULL); /* with its quotes */
    bool same =
        json_is_string(decoded) && slice_eq(slice_of(json_string_value(decoded), json_string_length(decoded)), name);
    json_decref(decoded);
    return same;
}

static struct slice find_element(struct slice text, size_t at, size_t index)
{
    for (size_t i = 0; at < text.len && text.data[at] != ']'; i++) {
        size_t end = skip_value(text, at);
        if (i == index)
            return slice_of(text.data + at, end - at);
        at = skip_space(text, end);
        if (at < text.len && text.data[at] == ',')
            at = skip_space(text, at + 1);
    }
    return slice_of(NULL, 0);
}

static struct slice find_member(struct slice text, size_t at, struct slice name)
{
    while (at < text.len && text.data[at] == '"') {
        size_t name_end = skip_string(text, at);
        bool found = name_is(slice_of(text.data + at + 1, name_end - at - 2), name);
        at = skip_space(text, name_end);
        at = skip_space(text, at + 1); /* the colon */
        size_t value_end = skip_value(text, at);
        if (found)
            return slice_of(text.data + at, value_end - at);
        at = skip_space(text, value_end);
        if (at < text.len && text.data[at] == ',')
            at = skip_space(text, at + 1);
    }
    return slice_of(NULL, 0);
}

struct slice json_in_find(struct slice text, struct slice name)
{
    size_t at = skip_space(text, 0), index = 0;
    if (at >= text.len)
        return slice_of(NULL, 0);
    if (text.data[at] == '{')
        return find_member(text, skip_space(text, at + 1), name);
    bool is_index = text.data[at] == '[' && name.len > 0 && name.len < 10 && (name.len == 1 || name.data[0] != '0');
    for (size_t i = 0; i < name.len && is_index; i++) {
        is_index = name.data[i] >= '0' && name.data[i] <= '9';
        index = index * 10 + (size_t)(name.data[i] - '0');
    }
    return is_index ? find_element(text, skip_space(text, at + 1), index) : slice_of(NULL, 0);
}
