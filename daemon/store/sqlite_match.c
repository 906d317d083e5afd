/* The context is compared in its JSON text: a list may look at thousands of tasks, and restoring each context would
 * cost more than reading its row.  A member's name cannot be found inside a value, because a quotation mark there is
 * escaped.
 * Called by sqlite_list.c. */
#include "store/sqlite_match.h"

#include <string.h>
#include <strings.h>

#include "proto/json_in.h"

#define LABELS_RAW_MAX 64

static bool match_parsed_label(struct slice labels, struct slice key, struct slice value)
{
    char error[JSON_IN_ERROR_SIZE];
    json_t *tree = json_in_load(labels, 8, error);
    bool found = false;
    const char *name;
    json_t *member;
    if (tree)
        json_object_foreach(tree, name, member)
        {
            if (slice_eq_str(key, name) && json_is_string(member) &&
                slice_eq(value, slice_of(json_string_value(member), json_string_length(member))))
                found = true;
        }
    json_decref(tree);
    return found;
}

bool match_label(struct slice labels, struct slice key, struct slice value)
{
    if (!labels.len)
        return false;
    struct json_member members[LABELS_RAW_MAX];
    size_t n = json_in_members(labels, members, LABELS_RAW_MAX);
    if (n > LABELS_RAW_MAX || memchr(labels.data, '\\', labels.len))
        return match_parsed_label(labels, key, value);
    for (size_t i = 0; i < n; i++) {
        struct slice text = members[i].value;
        if (slice_eq(members[i].name, key) && text.len >= 2 && text.data[0] == '"' &&
            slice_eq(slice_of(text.data + 1, text.len - 2), value))
            return true;
    }
    return false;
}

/* What follows the opening quotation mark of the member's value; empty where there is no such member. */
static struct slice member_text(struct slice json, struct slice quoted_name)
{
    const char *at = json.len ? memmem(json.data, json.len, quoted_name.data, quoted_name.len) : NULL;
    if (!at)
        return slice_of(NULL, 0);
    const char *end = json.data + json.len;
    at += quoted_name.len;
    while (at < end && (*at == ' ' || *at == ':'))
        at++;
    if (at == end || *at != '"')
        return slice_of(NULL, 0);
    at++;
    return slice_of(at, (size_t)(end - at));
}

bool match_trace_id(struct slice context, struct slice trace_id)
{
    struct slice text = member_text(context, SLICE_LITERAL("\"traceparent\"")); /* 00-TRACE_ID-... */
    return trace_id.len == 32 && text.len > 3 + 32 && strncasecmp(text.data + 3, trace_id.data, 32) == 0 &&
           text.data[3 + 32] == '-';
}

bool match_request_id(struct slice context, struct slice request_id)
{
    struct slice text = member_text(context, SLICE_LITERAL("\"x-request-id\""));
    size_t at = 0;
    for (size_t i = 0; i < request_id.len; i++, at++) {
        if (at < text.len && text.data[at] == '\\') /* of visible ASCII only " and \ are escaped, and perhaps / */
            at++;
        else if (at < text.len && text.data[at] == '"')
            return false;
        if (at >= text.len || text.data[at] != request_id.data[i])
            return false;
    }
    return at < text.len && text.data[at] == '"';
}
