/* Queries and percent-encoding (RFC 3986; + is a blank in a query, as forms write it). */
#include "api/params.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int percent_decode(struct slice text, bool plus, struct buf *out)
{
    size_t before = out->len;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '%') {
            int high = i + 2 < text.len ? hex_digit(text.data[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(text.data[i + 2]) : -1;
            c = (char)(high * 16 + low);
            i += 2;
            if (high < 0 || low < 0 || c == '\0') {
                out->len = before;
                return -1;
            }
        } else if (c == '+' && plus) {
            c = ' ';
        }
        buf_append_char(out, c);
    }
    return 0;
}

void percent_encode(struct slice text, struct buf *out)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '.' ||
            c == '_' || c == '~') {
            buf_append_char(out, (char)c);
        } else {
            char code[3] = {'%', hex[c >> 4], hex[c & 15]};
            buf_append(out, code, sizeof code);
        }
    }
}

static int refuse(struct problem *reterr, const char *what, struct slice name)
{
    int shown = (int)(name.len < 64 ? name.len : 64);
    problem_set(reterr, PROBLEM_INVALID_PARAMETER, "Query parameter \"%.*s\": %s.", shown, name.len ? name.data : "",
                what);
    return -1;
}

static bool is_known(struct slice name, const char *const *known)
{
    for (; *known; known++)
        if (slice_eq_str(name, *known))
            return true;
    return false;
}

static int add(struct params *params, struct slice pair, const char *const *known, struct problem *reterr)
{
    const char *equals = memchr(pair.data, '=', pair.len);
    struct slice raw = slice_of(pair.data, equals ? (size_t)(equals - pair.data) : pair.len);
    struct slice rest = equals ? slice_of(equals + 1, pair.len - raw.len - 1) : slice_of(pair.data, 0);
    size_t at = params->text.len;
    if (percent_decode(raw, true, &params->text) < 0)
        return refuse(reterr, "its name has a broken percent escape", raw);
    struct slice name = slice_of(params->text.data + at, params->text.len - at);
    at = params->text.len;
    if (percent_decode(rest, true, &params->text) < 0)
        return refuse(reterr, "its value has a broken percent escape or a NUL", name);
    struct slice value = slice_of(params->text.data + at, params->text.len - at);
    if (!is_known(name, known))
        return refuse(reterr, *known ? "it is not known here" : "this address takes none", name);
    for (size_t i = 0; i < params->n; i++)
        if (slice_eq(params->list[i].name, name))
            return refuse(reterr, "it is given more than once", name);
    if (params->n == PARAMS_MAX)
        return refuse(reterr, "there are too many parameters", name);
    params->list[params->n++] = (struct param){name, value};
    return 0;
}

int params_parse(struct slice query, const char *const *known, struct params *ret, struct problem *reterr)
{
    ret->n = 0;
    ret->text = (struct buf)BUF_INIT;
    if (!query.len)
        return 0;
    if (!buf_reserve(&ret->text, query.len + 1)) { /* decoding never lengthens: slices stay where they are */
        problem_set(reterr, PROBLEM_OVERLOADED, "There is no memory for this request; try again later.");
        reterr->retry_after_s = 1;
        return -1;
    }
    while (query.len) {
        const char *end = memchr(query.data, '&', query.len);
        size_t len = end ? (size_t)(end - query.data) : query.len;
        if (len && add(ret, slice_of(query.data, len), known, reterr) < 0) {
            params_release(ret);
            return -1;
        }
        size_t skip = end ? len + 1 : len;
        query = slice_of(query.data + skip, query.len - skip);
    }
    return 0;
}

void params_release(struct params *params)
{
    buf_release(&params->text);
    params->n = 0;
}

struct slice params_get(const struct params *params, const char *name)
{
    for (size_t i = 0; i < params->n; i++)
        if (slice_eq_str(params->list[i].name, name))
            return params->list[i].value;
    return (struct slice){0};
}
