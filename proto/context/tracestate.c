/* W3C tracestate, level 2: one bad member drops the whole list; the order is kept; of duplicates the first one.
 * Thread: any. */
#include <string.h>

#include "proto/context/wire.h"

#define MAX_MEMBERS 32u

static bool key_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '*' || c == '/' || c == '@';
}

static bool is_key(const char *key, size_t len)
{
    if (len < 1 || len > 256 || !((key[0] >= 'a' && key[0] <= 'z') || (key[0] >= '0' && key[0] <= '9')))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!key_char(key[i]))
            return false;
    return true;
}

static bool is_value(const char *value, size_t len)
{
    if (len < 1 || len > 256 || value[len - 1] == ' ')
        return false;
    for (size_t i = 0; i < len; i++)
        if (value[i] < 0x20 || value[i] > 0x7e || value[i] == ',' || value[i] == '=')
            return false;
    return true;
}

struct member {
    const char *text;
    size_t len, key_len;
};

static bool seen(const struct member *members, size_t n, const struct member *m)
{
    for (size_t i = 0; i < n; i++)
        if (members[i].key_len == m->key_len && memcmp(members[i].text, m->text, m->key_len) == 0)
            return true;
    return false;
}

static int add_member(struct member *members, size_t *n, const char *text, size_t len)
{
    while (len && (*text == ' ' || *text == '\t')) {
        text++;
        len--;
    }
    while (len && (text[len - 1] == ' ' || text[len - 1] == '\t'))
        len--;
    if (len == 0)
        return SATCHEL_OK; /* empty members are fine */
    const char *equals = memchr(text, '=', len);
    if (!equals)
        return SATCHEL_EGRAMMAR;
    struct member m = {.text = text, .len = len, .key_len = (size_t)(equals - text)};
    if (!is_key(text, m.key_len) || !is_value(equals + 1, len - m.key_len - 1))
        return SATCHEL_EGRAMMAR;
    if (seen(members, *n, &m))
        return SATCHEL_OK;
    if (*n == MAX_MEMBERS)
        return SATCHEL_ELIMIT;
    members[(*n)++] = m;
    return SATCHEL_OK;
}

static int add_line(struct member *members, size_t *n, const char *line, size_t len)
{
    const char *end = line + len;
    for (;;) {
        const char *comma = memchr(line, ',', (size_t)(end - line));
        int status = add_member(members, n, line, (size_t)((comma ? comma : end) - line));
        if (status != SATCHEL_OK || !comma)
            return status;
        line = comma + 1;
    }
}

static void write_members(const struct member *members, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_append_char(out, ',');
        buf_append(out, members[i].text, members[i].len);
    }
}

int tracestate_combine(const satchel_field *const *lines, size_t n, struct buf *out)
{
    struct member members[MAX_MEMBERS];
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        int status = add_line(members, &count, lines[i]->value, lines[i]->value_len);
        if (status != SATCHEL_OK)
            return status;
    }
    write_members(members, count, out);
    return buf_ok(out) ? SATCHEL_OK : SATCHEL_ENOMEM;
}

int make_tracestate(const char *text, size_t len, satchel_value **out)
{
    const satchel_field field = {.value = text, .value_len = len};
    const satchel_field *one = &field;
    struct buf list = BUF_INIT;
    int status = tracestate_combine(&one, 1, &list);
    if (status == SATCHEL_OK && !list.len)
        status = SATCHEL_EGRAMMAR;
    if (status == SATCHEL_OK)
        status = satchel_value_string(list.data, list.len, out);
    buf_release(&list);
    return status;
}
