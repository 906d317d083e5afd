#include "proto/json_out.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/timetext.h"

struct json_out json_out_to(struct buf *to)
{
    return (struct json_out){.to = to};
}

static void before_item(struct json_out *j)
{
    if (j->after_key) {
        j->after_key = false;
        return;
    }
    uint64_t bit = UINT64_C(1) << (j->level & 63);
    if (j->has_items & bit)
        buf_append_char(j->to, ',');
    j->has_items |= bit;
}

static void begin(struct json_out *j, char bracket)
{
    before_item(j);
    buf_append_char(j->to, bracket);
    j->level++;
    j->has_items &= ~(UINT64_C(1) << (j->level & 63));
}

static void end(struct json_out *j, char bracket)
{
    buf_append_char(j->to, bracket);
    j->level--;
}

void json_out_begin_object(struct json_out *j)
{
    begin(j, '{');
}

void json_out_end_object(struct json_out *j)
{
    end(j, '}');
}

void json_out_begin_array(struct json_out *j)
{
    begin(j, '[');
}

void json_out_end_array(struct json_out *j)
{
    end(j, ']');
}

/* The length of the valid UTF-8 sequence at s, or 0 (RFC 3629: no overlong forms, no surrogates). */
static size_t utf8_sequence(const unsigned char *s, size_t left)
{
    static const unsigned char least[] = {0x80, 0xa0, 0x90};
    size_t need;
    unsigned char low = 0x80, high = 0xbf;
    if (s[0] >= 0xc2 && s[0] <= 0xdf) {
        need = 2;
    } else if (s[0] >= 0xe0 && s[0] <= 0xef) {
        need = 3;
        low = s[0] == 0xe0 ? least[1] : low;
        high = s[0] == 0xed ? 0x9f : high;
    } else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        need = 4;
        low = s[0] == 0xf0 ? least[2] : low;
        high = s[0] == 0xf4 ? 0x8f : high;
    } else {
        return 0;
    }
    if (left < need || s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < need; i++)
        if (s[i] < 0x80 || s[i] > 0xbf)
            return 0;
    return need;
}

static void append_escaped(struct buf *to, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    switch (c) {
    case '"': buf_append(to, "\\\"", 2); return;
    case '\\': buf_append(to, "\\\\", 2); return;
    case '\n': buf_append(to, "\\n", 2); return;
    case '\r': buf_append(to, "\\r", 2); return;
    case '\t': buf_append(to, "\\t", 2); return;
    default: {
        char code[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        buf_append(to, code, sizeof code);
    }
    }
}

void json_out_string(struct json_out *j, struct slice text)
{
    before_item(j);
    buf_append_char(j->to, '"');
    const unsigned char *s = (const unsigned char *)text.data;
    size_t plain = 0; /* start of the run not yet copied */
    size_t i = 0;
    while (i < text.len) {
        if (s[i] < 0x80 && s[i] >= 0x20 && s[i] != '"' && s[i] != '\\' && s[i] != 0x7f) {
            i++;
            continue;
        }
        size_t sequence = s[i] >= 0x80 ? utf8_sequence(s + i, text.len - i) : 0;
        if (sequence) {
            i += sequence;
            continue;
        }
        buf_append(j->to, s + plain, i - plain);
        if (s[i] >= 0x80)
            buf_append(j->to, "\xef\xbf\xbd", 3);
        else
            append_escaped(j->to, s[i]);
        plain = ++i;
    }
    buf_append(j->to, s + plain, text.len - plain);
    buf_append_char(j->to, '"');
}

void json_out_key_slice(struct json_out *j, struct slice key)
{
    json_out_string(j, key);
    buf_append_char(j->to, ':');
    j->after_key = true;
}

void json_out_key(struct json_out *j, const char *key)
{
    before_item(j);
    buf_append_char(j->to, '"');
    buf_append_str(j->to, key);
    buf_append(j->to, "\":", 2);
    j->after_key = true;
}

void json_out_raw(struct json_out *j, struct slice json)
{
    before_item(j);
    buf_append_slice(j->to, json);
}

void json_out_i64(struct json_out *j, int64_t value)
{
    before_item(j);
    buf_append_i64(j->to, value);
}

void json_out_double(struct json_out *j, double value)
{
    before_item(j);
    if (!isfinite(value)) {
        buf_append_str(j->to, "null");
        return;
    }
    char text[32];
    (void)snprintf(text, sizeof text, "%.15g", value);
    if (strtod(text, NULL) != value)
        (void)snprintf(text, sizeof text, "%.17g", value);
    buf_append_str(j->to, text);
}

void json_out_bool(struct json_out *j, bool value)
{
    json_out_raw(j, value ? SLICE_LITERAL("true") : SLICE_LITERAL("false"));
}

void json_out_null(struct json_out *j)
{
    json_out_raw(j, SLICE_LITERAL("null"));
}

void json_out_time(struct json_out *j, int64_t us)
{
    char text[TIMESTAMP_TEXT_SIZE];
    timestamp_format(us, text);
    before_item(j);
    buf_append_char(j->to, '"');
    buf_append(j->to, text, TIMESTAMP_TEXT_SIZE - 1);
    buf_append_char(j->to, '"');
}

void json_out_member(struct json_out *j, const char *key, struct slice text)
{
    json_out_key(j, key);
    json_out_string(j, text);
}

void json_out_member_i64(struct json_out *j, const char *key, int64_t value)
{
    json_out_key(j, key);
    json_out_i64(j, value);
}
