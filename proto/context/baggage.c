/* W3C Baggage: members of all lines combined; a bad member is left out, and beyond 64 members or 8192 bytes whole
 * members are; values are kept as they came (percent-encoded) and decoded when read.  Thread: any. */
#include <stdlib.h>
#include <string.h>

#include "proto/context/internal.h"

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

/* One member, white space normalised, appended to out; false: not well-formed (out may then hold a part of it). */
static bool write_member(const char *text, size_t len, struct buf *out)
{
    const char *end = text + len;
    for (bool first = true; text <= end; first = false) {
        const char *semicolon = memchr(text, ';', (size_t)(end - text));
        const char *part_end = semicolon ? semicolon : end;
        const char *equals = memchr(text, '=', (size_t)(part_end - text));
        const char *key = text;
        size_t key_len = trim(&key, (size_t)((equals ? equals : part_end) - text));
        if (key_len == 0 || (first && !equals))
            return false;
        for (size_t i = 0; i < key_len; i++)
            if (!token_char(key[i]))
                return false;
        if (!first)
            buf_append_char(out, ';');
        buf_append(out, key, key_len);
        if (equals) {
            const char *value = equals + 1;
            size_t value_len = trim(&value, (size_t)(part_end - value));
            for (size_t i = 0; i < value_len; i++)
                if (!value_char(value[i]))
                    return false;
            buf_append_char(out, '=');
            buf_append(out, value, value_len);
        }
        if (!semicolon)
            return true;
        text = semicolon + 1;
    }
    return true;
}

static int add_member(const char *text, size_t len, size_t *members, struct buf *out)
{
    size_t before = out->len;
    const char *trimmed = text;
    len = trim(&trimmed, len);
    if (len == 0)
        return SATCHEL_EGRAMMAR;
    if (out->len)
        buf_append_char(out, ',');
    bool good = write_member(trimmed, len, out);
    if (good && out->len <= MAX_BYTES && *members < MAX_MEMBERS) {
        (*members)++;
        return SATCHEL_OK;
    }
    out->len = before;
    if (out->data)
        out->data[before] = '\0';
    return good ? SATCHEL_ELIMIT : SATCHEL_EGRAMMAR;
}

int baggage_combine(const satchel_field *const *fields, size_t n, struct buf *out)
{
    size_t members = 0;
    int worst = SATCHEL_OK;
    for (size_t i = 0; i < n; i++) {
        const char *line = fields[i]->value, *end = line + fields[i]->value_len;
        if (trim(&line, (size_t)(end - line)) == 0)
            continue;
        for (line = fields[i]->value;;) {
            const char *comma = memchr(line, ',', (size_t)(end - line));
            int status = add_member(line, (size_t)((comma ? comma : end) - line), &members, out);
            if (status != SATCHEL_OK)
                worst = status;
            if (!comma)
                break;
            line = comma + 1;
        }
    }
    return buf_ok(out) ? worst : SATCHEL_ENOMEM;
}

static bool text_equal(const void *a, const void *b)
{
    return strcmp(a, b) == 0;
}

static size_t text_encode(const void *data, char *buf, size_t cap)
{
    return satchel_string_type.encode(data, buf, cap);
}

static int baggage_decode(const char *text, size_t len, void **data)
{
    satchel_field field = {.value = text, .value_len = len};
    const satchel_field *one = &field;
    struct buf out = BUF_INIT;
    int status = baggage_combine(&one, 1, &out);
    if (status == SATCHEL_ENOMEM || !out.len) {
        buf_release(&out);
        return status == SATCHEL_OK ? SATCHEL_EGRAMMAR : status;
    }
    *data = buf_take(&out, NULL);
    return *data ? SATCHEL_OK : SATCHEL_ENOMEM;
}

const satchel_type baggage_type = {
    .struct_size = sizeof(satchel_type),
    .name = "baggage",
    .destroy = free,
    .equal = text_equal,
    .encode = text_encode,
    .decode = baggage_decode,
};

/* ---- reading and writing single members ---- */

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

static size_t utf8_length(const unsigned char *s, size_t left)
{
    size_t need = s[0] < 0x80                      ? 1
                  : (s[0] >= 0xc2 && s[0] <= 0xdf) ? 2
                  : (s[0] & 0xf0) == 0xe0          ? 3
                  : s[0] >= 0xf0 && s[0] <= 0xf4   ? 4
                                                   : 0;
    if (need == 0 || left < need)
        return 0;
    for (size_t i = 1; i < need; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return need;
}

/* Invalid UTF-8 becomes U+FFFD; NUL too, since the result is a C string. */
static void repair(const struct buf *raw, struct buf *out)
{
    for (size_t i = 0; i < raw->len;) {
        size_t n = raw->data[i] ? utf8_length((const unsigned char *)raw->data + i, raw->len - i) : 0;
        if (n)
            buf_append(out, raw->data + i, n);
        else
            buf_append(out, "\xef\xbf\xbd", 3);
        i += n ? n : 1;
    }
}

/* The member's value between '=' and ';' or the end; NULL: no such member.  The text is a valid list. */
static const char *find_member(const char *list, const char *key, size_t *ret_len)
{
    size_t key_len = strlen(key);
    for (const char *at = list; *at;) {
        size_t len = strcspn(at, ",");
        if (len > key_len && at[key_len] == '=' && memcmp(at, key, key_len) == 0) {
            *ret_len = strcspn(at + key_len + 1, ",;");
            return at + key_len + 1;
        }
        at += len;
        at += *at == ',';
    }
    return NULL;
}

size_t satchel_baggage_get(const satchel_context *ctx, const char *key, char *buf, size_t cap)
{
    satchel_value *value;
    if (!key || satchel_context_get(ctx, &known_vars[SATCHEL_BAGGAGE], &value) != SATCHEL_OK)
        return SIZE_MAX;
    size_t len;
    const char *text = find_member(value->data, key, &len);
    size_t result = SIZE_MAX;
    if (text) {
        struct buf raw = BUF_INIT, clean = BUF_INIT;
        percent_decode(text, len, &raw);
        repair(&raw, &clean);
        if (buf_ok(&raw) && buf_ok(&clean)) {
            result = clean.len;
            if (cap) {
                size_t n = clean.len < cap ? clean.len : cap - 1;
                if (n)
                    memcpy(buf, clean.data, n);
                buf[n] = '\0';
            }
        }
        buf_release(&raw);
        buf_release(&clean);
    }
    satchel_value_unref(value);
    return result;
}

static void percent_encode(const char *text, struct buf *out)
{
    static const char digits[] = "0123456789ABCDEF";
    for (; *text; text++) {
        if (value_char(*text) && *text != '%') {
            buf_append_char(out, *text);
        } else {
            char code[3] = {'%', digits[(unsigned char)*text >> 4], digits[(unsigned char)*text & 15]};
            buf_append(out, code, 3);
        }
    }
}

/* The current list without `key`. */
static void copy_others(const char *list, const char *key, struct buf *out)
{
    size_t key_len = strlen(key);
    for (const char *at = list; *at;) {
        size_t len = strcspn(at, ",");
        bool same = len > key_len && at[key_len] == '=' && memcmp(at, key, key_len) == 0;
        if (!same) {
            if (out->len)
                buf_append_char(out, ',');
            buf_append(out, at, len);
        }
        at += len;
        at += *at == ',';
    }
}

int satchel_baggage_set(const char *key, const char *value, satchel_token *token)
{
    if (!key || !*key)
        return SATCHEL_EINVAL;
    for (const char *c = key; *c; c++)
        if (!token_char(*c))
            return SATCHEL_EGRAMMAR;
    struct buf out = BUF_INIT;
    const satchel_value *current = current_get(&known_vars[SATCHEL_BAGGAGE]);
    if (current)
        copy_others(current->data, key, &out);
    if (value) {
        if (out.len)
            buf_append_char(&out, ',');
        buf_append_str(&out, key);
        buf_append_char(&out, '=');
        percent_encode(value, &out);
    }
    int status = !buf_ok(&out) ? SATCHEL_ENOMEM : out.len > MAX_BYTES ? SATCHEL_ELIMIT : SATCHEL_OK;
    if (status == SATCHEL_OK && out.len) {
        size_t members = 1;
        for (const char *c = out.data; *c; c++)
            members += *c == ',';
        status = members > MAX_MEMBERS ? SATCHEL_ELIMIT
                                       : satchel_set_stringn(&known_vars[SATCHEL_BAGGAGE], out.data, out.len, token);
    } else if (status == SATCHEL_OK) {
        status = satchel_unset(&known_vars[SATCHEL_BAGGAGE], token);
    }
    buf_release(&out);
    return status;
}
