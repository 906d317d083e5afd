/* Called by batch.c. */
#include "api/batch_split.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct slice trimmed(struct slice text)
{
    while (text.len && is_blank(text.data[0]))
        text = slice_of(text.data + 1, text.len - 1);
    while (text.len && is_blank(text.data[text.len - 1]))
        text.len--;
    return text;
}

static void advance(struct slice *bytes, size_t n)
{
    *bytes = slice_of(bytes->data + n, bytes->len - n);
}

/* Keeps the beginning of a submission whose end has not come. */
static void keep(struct batch_split *split, struct slice part)
{
    if (split->too_long || split->item.len + part.len > split->max + 2) { /* a line end's bytes do not count */
        split->too_long = true;
        buf_reset(&split->item);
        return;
    }
    buf_append_slice(&split->item, part);
    if (!buf_ok(&split->item)) { /* no memory for it is as good as no room */
        split->too_long = true;
        buf_release(&split->item);
    }
}

/* The submission ends with `part`, which may be all of it. */
static enum batch_piece whole(struct batch_split *split, struct slice part, struct slice *ret)
{
    bool kept = split->item.len || split->too_long;
    if (kept)
        keep(split, part);
    *ret = trimmed(kept ? buf_slice(&split->item) : part);
    bool too_long = split->too_long || ret->len > split->max;
    split->too_long = false;
    split->item.len = 0; /* its bytes stay until the next one is kept */
    return too_long ? BATCH_TOO_LONG : BATCH_ITEM;
}

/* ---- lines ---- */

static enum batch_piece next_line(struct batch_split *split, struct slice *bytes, struct slice *ret)
{
    while (bytes->len) {
        const char *end = memchr(bytes->data, '\n', bytes->len);
        if (!end) {
            keep(split, *bytes);
            advance(bytes, bytes->len);
            return BATCH_MORE;
        }
        struct slice part = slice_of(bytes->data, (size_t)(end - bytes->data));
        advance(bytes, part.len + 1);
        enum batch_piece piece = whole(split, part, ret);
        if (piece == BATCH_TOO_LONG || ret->len) /* an empty line is nothing */
            return piece;
    }
    return BATCH_MORE;
}

/* ---- an array ---- */

static enum batch_piece broken(struct batch_split *split, const char *why)
{
    split->at = SPLIT_BROKEN;
    split->fault = why;
    return BATCH_BROKEN;
}

/* True at the byte that ends an element: ',' or ']' outside of everything. */
static bool ends_element(struct batch_split *split, char c)
{
    if (split->in_string) {
        if (split->escaped)
            split->escaped = false;
        else if (c == '\\')
            split->escaped = true;
        else if (c == '"')
            split->in_string = false;
        return false;
    }
    switch (c) {
    case '"': split->in_string = true; return false;
    case '{':
    case '[': split->depth++; return false;
    case '}':
    case ']':
        if (split->depth == 0)
            return c == ']';
        split->depth--;
        return false;
    case ',': return split->depth == 0;
    default: return false;
    }
}

static enum batch_piece end_element(struct batch_split *split, struct slice part, char end, struct slice *ret)
{
    enum batch_piece piece = whole(split, part, ret);
    bool empty_array = end == ']' && !split->seen_any && piece == BATCH_ITEM && ret->len == 0;
    split->seen_any = true;
    split->in_string = split->escaped = false;
    if (end == ']')
        split->at = SPLIT_END;
    return empty_array ? BATCH_OVER : piece;
}

static enum batch_piece next_element(struct batch_split *split, struct slice *bytes, struct slice *ret)
{
    while (split->at == SPLIT_START || split->at == SPLIT_END) {
        while (bytes->len && is_blank(bytes->data[0]))
            advance(bytes, 1);
        if (!bytes->len)
            return BATCH_MORE;
        if (split->at == SPLIT_END)
            return broken(split, "something follows the array");
        if (bytes->data[0] != '[')
            return broken(split, "the body is not a JSON array");
        advance(bytes, 1);
        split->at = SPLIT_ITEM;
    }
    if (split->at == SPLIT_BROKEN)
        return BATCH_BROKEN;
    for (size_t i = 0; i < bytes->len; i++) {
        char c = bytes->data[i];
        if (!ends_element(split, c))
            continue;
        struct slice part = slice_of(bytes->data, i);
        advance(bytes, i + 1);
        return end_element(split, part, c, ret);
    }
    keep(split, *bytes);
    advance(bytes, bytes->len);
    return BATCH_MORE;
}

enum batch_piece batch_split_next(struct batch_split *split, struct slice *bytes, struct slice *ret)
{
    return split->is_array ? next_element(split, bytes, ret) : next_line(split, bytes, ret);
}

enum batch_piece batch_split_end(struct batch_split *split, struct slice *ret)
{
    if (!split->is_array) {
        enum batch_piece piece = whole(split, (struct slice){0}, ret);
        return piece == BATCH_ITEM && !ret->len ? BATCH_OVER : piece;
    }
    if (split->at == SPLIT_END)
        return BATCH_OVER;
    return split->at == SPLIT_BROKEN ? BATCH_BROKEN : broken(split, "the array is not closed");
}

void batch_split_release(struct batch_split *split)
{
    buf_release(&split->item);
}
