#include "proto/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_release(struct buf *b)
{
    free(b->data);
    size_t max = b->max;
    *b = (struct buf){.max = max};
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->data)
        b->data[0] = '\0';
}

bool buf_reserve(struct buf *b, size_t n)
{
    if (b->failed)
        return false;
    size_t need;
    if (__builtin_add_overflow(b->len, n, &need) || (b->max && need > b->max) || need > SIZE_MAX / 2) {
        b->failed = true;
        return false;
    }
    if (need < b->cap)
        return true;
    size_t cap = b->cap ? b->cap : 128;
    while (cap <= need)
        cap *= 2;
    char *data = realloc(b->data, cap);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

void buf_append(struct buf *b, const void *data, size_t len)
{
    if (!buf_reserve(b, len))
        return;
    if (len)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void buf_append_slice(struct buf *b, struct slice s)
{
    buf_append(b, s.data, s.len);
}

void buf_append_str(struct buf *b, const char *text)
{
    buf_append(b, text, strlen(text));
}

void buf_append_char(struct buf *b, char c)
{
    buf_append(b, &c, 1);
}

void buf_append_u64(struct buf *b, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    buf_append(b, digits + at, sizeof digits - at);
}

void buf_append_i64(struct buf *b, int64_t value)
{
    if (value < 0) {
        buf_append_char(b, '-');
        buf_append_u64(b, 0 - (uint64_t)value);
    } else {
        buf_append_u64(b, (uint64_t)value);
    }
}

void buf_printf(struct buf *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int need = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (need < 0 || !buf_reserve(b, (size_t)need + 1)) {
        b->failed = true;
        return;
    }
    va_start(args, format);
    (void)vsnprintf(b->data + b->len, (size_t)need + 1, format, args);
    va_end(args);
    b->len += (size_t)need;
}

bool buf_ok(const struct buf *b)
{
    return !b->failed;
}

struct slice buf_slice(const struct buf *b)
{
    return (struct slice){b->data, b->len};
}

char *buf_take(struct buf *b, size_t *ret_len)
{
    if (b->failed || !buf_reserve(b, 1)) {
        buf_release(b);
        return NULL;
    }
    char *data = b->data;
    data[b->len] = '\0';
    if (ret_len)
        *ret_len = b->len;
    *b = (struct buf){.max = b->max};
    return data;
}
