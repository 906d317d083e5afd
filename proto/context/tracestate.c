/* W3C tracestate, level 2: one bad member drops the whole list; order is kept; duplicates keep the first.
 * Also the small text types: tenant, request id, task id, attempt.  Thread: any. */
#include <stdlib.h>
#include <string.h>

#include "proto/context/internal.h"

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

int tracestate_combine(const satchel_field *const *fields, size_t n, struct buf *out)
{
    struct member members[MAX_MEMBERS];
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        int status = add_line(members, &count, fields[i]->value, fields[i]->value_len);
        if (status != SATCHEL_OK)
            return status;
    }
    write_members(members, count, out);
    return buf_ok(out) ? SATCHEL_OK : SATCHEL_ENOMEM;
}

static size_t text_encode(const void *data, char *buf, size_t cap)
{
    return satchel_string_type.encode(data, buf, cap);
}

static bool text_equal(const void *a, const void *b)
{
    return strcmp(a, b) == 0;
}

static int copy_text(const char *text, size_t len, void **data)
{
    char *copy = malloc(len + 1);
    if (!copy)
        return SATCHEL_ENOMEM;
    memcpy(copy, text, len);
    copy[len] = '\0';
    *data = copy;
    return SATCHEL_OK;
}

static int tracestate_decode(const char *text, size_t len, void **data)
{
    satchel_field field = {.value = text, .value_len = len};
    const satchel_field *one = &field;
    struct buf out = BUF_INIT;
    int status = tracestate_combine(&one, 1, &out);
    if (status == SATCHEL_OK && !out.len)
        status = SATCHEL_EGRAMMAR;
    if (status == SATCHEL_OK)
        status = copy_text(out.data, out.len, data);
    buf_release(&out);
    return status;
}

static int tenant_decode(const char *text, size_t len, void **data)
{
    static const char extra[] = "!-_.*'()";
    if (len < 1 || (len == 1 && text[0] == '.') || (len == 2 && text[0] == '.' && text[1] == '.'))
        return SATCHEL_EGRAMMAR;
    if (len > 150)
        return SATCHEL_ELIMIT;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!plain && (c == '\0' || !strchr(extra, c)))
            return SATCHEL_EGRAMMAR;
    }
    return copy_text(text, len, data);
}

static int visible_decode(const char *text, size_t len, void **data)
{
    if (len < 1)
        return SATCHEL_EGRAMMAR;
    for (size_t i = 0; i < len; i++)
        if (text[i] < 0x21 || text[i] > 0x7e)
            return SATCHEL_EGRAMMAR;
    return copy_text(text, len, data);
}

static int number_decode(const char *text, size_t len, void **data)
{
    if (len < 1 || len > 10)
        return SATCHEL_EGRAMMAR;
    for (size_t i = 0; i < len; i++)
        if (text[i] < '0' || text[i] > '9')
            return SATCHEL_EGRAMMAR;
    return copy_text(text, len, data);
}

#define TEXT_TYPE(symbol, type_name, decoder)                                                                          \
    const satchel_type symbol = {.struct_size = sizeof(satchel_type),                                                  \
                                 .name = (type_name),                                                                  \
                                 .destroy = free,                                                                      \
                                 .equal = text_equal,                                                                  \
                                 .encode = text_encode,                                                                \
                                 .decode = (decoder)}
TEXT_TYPE(tracestate_type, "tracestate", tracestate_decode);
TEXT_TYPE(tenant_type, "tenant", tenant_decode);
TEXT_TYPE(request_id_type, "request id", visible_decode);
TEXT_TYPE(task_id_type, "task id", visible_decode);
TEXT_TYPE(attempt_type, "attempt", number_decode);
