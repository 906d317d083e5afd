/* W3C Baggage: members of all lines combined; a bad member is left out, and beyond 64 members or 8192 bytes whole
 * members are; values are kept as they came (percent-encoded) and decoded when read.  Thread: any. */
#include <string.h>

#include "proto/context/wire.h"

#define MAX_MEMBERS 64u
#define MAX_BYTES 8192u

static bool token_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

static bool value_char(char c)
{
    unsigned char u = (unsigned char)c;
    return u == 0x21 || (u >= 0x23 && u <= 0x2b) || (u >= 0x2d && u <= 0x3a) || (u >= 0x3c && u <= 0x5b) ||
           (u >= 0x5d && u <= 0x7e);
}

static bool is_key(const char *key, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!token_char(key[i]))
            return false;
    return len > 0;
}

static bool is_value(const char *value, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!value_char(value[i]))
            return false;
    return true;
}

static size_t trim(const char **text, size_t len)
{
    while (len && (**text == ' ' || **text == '\t')) {
        (*text)++;
        len--;
    }
    while (len && ((*text)[len - 1] == ' ' || (*text)[len - 1] == '\t'))
        len--;
    return len;
}

/* key[=value] with its blanks taken away, appended to out.  A member's first part needs a value. */
static bool write_part(const char *text, size_t len, bool first, struct buf *out)
{
    const char *equals = len ? memchr(text, '=', len) : NULL;
    const char *key = text, *value = equals ? equals + 1 : NULL;
    size_t key_len = trim(&key, equals ? (size_t)(equals - text) : len);
    if (!is_key(key, key_len) || (first && !equals))
        return false;
    buf_append(out, key, key_len);
    if (!equals)
        return true;
    size_t value_len = trim(&value, len - (size_t)(value - text));
    if (!is_value(value, value_len))
        return false;
    buf_append_char(out, '=');
    buf_append(out, value, value_len);
    return true;
}

/* One member, key=value;property;property=value.  False: not well-formed; out may then hold a part of it. */
static bool write_member(const char *text, size_t len, struct buf *out)
{
    const char *end = text + len;
    for (bool first = true;; first = false) {
        const char *semicolon = text < end ? memchr(text, ';', (size_t)(end - text)) : NULL;
        if (!first)
            buf_append_char(out, ';');
        if (!write_part(text, (size_t)((semicolon ? semicolon : end) - text), first, out))
            return false;
        if (!semicolon)
            return true;
        text = semicolon + 1;
    }
}

static int add_member(const char *text, size_t len, size_t *members, struct buf *out)
{
    size_t before = out->len;
    if (out->len)
        buf_append_char(out, ',');
    bool good = write_member(text, len, out);
    if (good && out->len <= MAX_BYTES && *members < MAX_MEMBERS) {
        (*members)++;
        return SATCHEL_OK;
    }
    out->len = before;
    if (out->data)
        out->data[before] = '\0';
    return good ? SATCHEL_ELIMIT : SATCHEL_EGRAMMAR;
}

int baggage_combine(const satchel_field *const *lines, size_t n, struct buf *out)
{
    size_t members = 0;
    int worst = SATCHEL_OK;
    for (size_t i = 0; i < n; i++) {
        const char *line = lines[i]->value, *end = line + lines[i]->value_len, *blank = line;
        if (trim(&blank, lines[i]->value_len) == 0)
            continue; /* an empty line is no member */
        for (;;) {
            const char *comma = line < end ? memchr(line, ',', (size_t)(end - line)) : NULL;
            int status = add_member(line, (size_t)((comma ? comma : end) - line), &members, out);
            worst = status != SATCHEL_OK ? status : worst;
            if (!comma)
                break;
            line = comma + 1;
        }
    }
    return buf_ok(out) ? worst : SATCHEL_ENOMEM;
}

int make_baggage(const char *text, size_t len, satchel_value **out)
{
    const satchel_field field = {.value = text, .value_len = len};
    const satchel_field *one = &field;
    struct buf list = BUF_INIT;
    int status = baggage_combine(&one, 1, &list);
    if (status == SATCHEL_OK && !list.len)
        status = SATCHEL_EGRAMMAR;
    if (status == SATCHEL_OK)
        status = satchel_value_string(list.data, list.len, out);
    buf_release(&list);
    return status;
}

/* ---- reading and writing single members: the text is a valid list from here on ---- */

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void percent_decode(const char *text, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '%' && i + 2 < len && hex(text[i + 1]) >= 0 && hex(text[i + 2]) >= 0) {
            buf_append_char(out, (char)(hex(text[i + 1]) * 16 + hex(text[i + 2])));
            i += 2;
        } else {
            buf_append_char(out, text[i]);
        }
    }
}

/* Invalid UTF-8 becomes U+FFFD; NUL too, since the result is a C string. */
static void repair(const struct buf *raw, struct buf *out)
{
    for (size_t i = 0; i < raw->len;) {
        size_t n = 1;
        while (n <= 4 && i + n <= raw->len && !is_utf8(raw->data + i, n))
            n++;
        bool good = raw->data[i] && n <= 4 && i + n <= raw->len;
        buf_append(out, good ? raw->data + i : "\xef\xbf\xbd", good ? n : 3);
        i += good ? n : 1;
    }
}

static bool has_key(const char *member, size_t len, const char *key, size_t key_len)
{
    return len > key_len && member[key_len] == '=' && memcmp(member, key, key_len) == 0;
}

/* The member's value; of several with one key the last one.  NULL: no such member. */
static const char *find_member(const char *list, const char *key, size_t *ret_len)
{
    size_t key_len = strlen(key);
    const char *found = NULL;
    for (const char *at = list; *at;) {
        size_t len = strcspn(at, ",");
        if (has_key(at, len, key, key_len)) {
            found = at + key_len + 1;
            *ret_len = strcspn(found, ",;");
        }
        at += len;
        at += *at == ',';
    }
    return found;
}

static size_t copy_decoded(const char *text, size_t len, char *buf, size_t cap)
{
    struct buf raw = BUF_INIT, clean = BUF_INIT;
    percent_decode(text, len, &raw);
    repair(&raw, &clean);
    size_t result = buf_ok(&raw) && buf_ok(&clean) ? clean.len : SIZE_MAX;
    if (result != SIZE_MAX && cap) {
        size_t n = clean.len < cap ? clean.len : cap - 1;
        if (n)
            memcpy(buf, clean.data, n);
        buf[n] = '\0';
    }
    buf_release(&raw);
    buf_release(&clean);
    return result;
}

size_t satchel_baggage_get(const satchel_context *ctx, const char *key, char *buf, size_t cap)
{
    satchel_value *value;
    if (!key || !*key || (!buf && cap) || satchel_context_get(ctx, &known_vars[SATCHEL_BAGGAGE], &value) != SATCHEL_OK)
        return SIZE_MAX;
    size_t len;
    const char *text = find_member(value->data, key, &len);
    size_t result = text ? copy_decoded(text, len, buf, cap) : SIZE_MAX;
    value_unref(value);
    return result;
}

static void percent_encode(const char *text, struct buf *out)
{
    static const char digits[] = "0123456789ABCDEF";
    for (; *text; text++) {
        if (value_char(*text) && *text != '%') {
            buf_append_char(out, *text);
        } else {
            unsigned char c = (unsigned char)*text;
            char code[3] = {'%', digits[c >> 4], digits[c & 15]};
            buf_append(out, code, 3);
        }
    }
}

/* The list without `key`; returns how many members are left. */
static size_t copy_others(const char *list, const char *key, struct buf *out)
{
    size_t key_len = strlen(key), members = 0;
    for (const char *at = list; *at;) {
        size_t len = strcspn(at, ",");
        if (!has_key(at, len, key, key_len)) {
            if (members++)
                buf_append_char(out, ',');
            buf_append(out, at, len);
        }
        at += len;
        at += *at == ',';
    }
    return members;
}

int satchel_baggage_set(const char *key, const char *value, satchel_token *token)
{
    if (!key || !*key)
        return SATCHEL_EINVAL;
    if (!is_key(key, strlen(key)))
        return SATCHEL_EGRAMMAR;
    struct buf list = BUF_INIT;
    const char *current = satchel_baggage();
    size_t members = current ? copy_others(current, key, &list) : 0;
    if (value) {
        if (members++)
            buf_append_char(&list, ',');
        buf_append_str(&list, key);
        buf_append_char(&list, '=');
        percent_encode(value, &list);
    }
    int status = SATCHEL_OK;
    if (!buf_ok(&list))
        status = SATCHEL_ENOMEM;
    else if (list.len > MAX_BYTES || members > MAX_MEMBERS)
        status = SATCHEL_ELIMIT;
    else if (members)
        status = satchel_set_stringn(&known_vars[SATCHEL_BAGGAGE], list.data, list.len, token);
    else
        status = satchel_unset(&known_vars[SATCHEL_BAGGAGE], token);
    buf_release(&list);
    return status;
}
