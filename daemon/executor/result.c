#include "executor/result.h"

#include <stdlib.h>

#include "proto/json_in.h"
#include "proto/json_out.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* `text` is valid JSON: only blanks between tokens go, so that the result is one line and keeps every digit. */
static void append_compact(struct slice text, struct buf *out)
{
    if (!buf_reserve(out, text.len))
        return;
    bool in_string = false;
    size_t start = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (is_blank(c)) {
            buf_append(out, text.data + start, i - start);
            start = i + 1;
        }
    }
    buf_append(out, text.data + start, text.len - start);
}

/* Could a JSON text begin like this?  Spares most plain output the parser. */
static bool looks_like_json(struct slice text)
{
    size_t i = 0;
    while (i < text.len && is_blank(text.data[i]))
        i++;
    return i < text.len && text.data[i] && strchr("{[\"-0123456789tfn", text.data[i]);
}

bool result_from_json(struct slice text, int max_depth, struct buf *out)
{
    char error[JSON_IN_ERROR_SIZE];
    if (!looks_like_json(text))
        return false;
    json_t *json = json_in_load(text, max_depth, error);
    if (!json)
        return false;
    json_decref(json);
    append_compact(text, out);
    return true;
}

static void replace_nul(struct slice text, struct buf *out)
{
    const char *at = text.data, *end = text.data + text.len, *nul;
    while ((nul = memchr(at, '\0', (size_t)(end - at)))) {
        buf_append(out, at, (size_t)(nul - at));
        buf_append_str(out, "\xef\xbf\xbd");
        at = nul + 1;
    }
    buf_append(out, at, (size_t)(end - at));
}

void result_from_text(struct slice text, int max_depth, struct buf *out)
{
    if (!result_from_json(text, max_depth, out))
        result_from_string(text, out);
}

void result_from_string(struct slice text, struct buf *out)
{
    struct json_out j = json_out_to(out);
    if (text.len == 0 || !memchr(text.data, '\0', text.len)) {
        json_out_string(&j, text);
        return;
    }
    struct buf clean = BUF_INIT; /* many readers of JSON refuse \u0000 */
    replace_nul(text, &clean);
    if (buf_ok(&clean))
        json_out_string(&j, buf_slice(&clean));
    else
        out->failed = true;
    buf_release(&clean);
}

/* Length of the UTF-8 sequence at the start of `text` (RFC 3629); 0: not one. */
static size_t sequence(const unsigned char *s, size_t left)
{
    size_t need = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] <= 0xdf ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : 4;
    if (need == 1)
        return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4 || left < need)
        return 0;
    for (size_t i = 1; i < need; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool outside = (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f);
    return overlong || outside ? 0 : need;
}

void result_clean_utf8(struct slice text, struct buf *out)
{
    const unsigned char *s = (const unsigned char *)text.data;
    for (size_t i = 0; i < text.len;) {
        size_t n = sequence(s + i, text.len - i);
        if (n == 0)
            buf_append_str(out, "\xef\xbf\xbd");
        else if (n == 1 && (s[i] < 0x20 || s[i] == 0x7f))
            buf_append_char(out, ' ');
        else
            buf_append(out, s + i, n);
        i += n ? n : 1;
    }
}
