/* A small cursor over header text: tokens, quoted strings, blanks; on it Prefer, Idempotency-Key and Content-Type. */
#include "api/fields.h"

#include <strings.h>

struct cursor {
    const char *at, *end;
};

static bool is_token_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

static void skip_blanks(struct cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t'))
        c->at++;
}

static bool take(struct cursor *c, char expected)
{
    skip_blanks(c);
    if (c->at >= c->end || *c->at != expected)
        return false;
    c->at++;
    return true;
}

static struct slice token(struct cursor *c)
{
    skip_blanks(c);
    const char *start = c->at;
    while (c->at < c->end && is_token_char(*c->at))
        c->at++;
    return slice_of(start, (size_t)(c->at - start));
}

/* A token, or a quoted string's inside (escapes left as they are). */
static struct slice word(struct cursor *c)
{
    skip_blanks(c);
    if (c->at >= c->end || *c->at != '"')
        return token(c);
    const char *start = ++c->at;
    while (c->at < c->end && *c->at != '"')
        c->at += *c->at == '\\' && c->at + 1 < c->end ? 2 : 1;
    struct slice inside = slice_of(start, (size_t)(c->at - start));
    if (c->at < c->end)
        c->at++;
    return inside;
}

static bool same(struct slice text, const char *lower)
{
    return text.len == strlen(lower) && strncasecmp(text.data, lower, text.len) == 0;
}

static struct cursor cursor_of(struct slice text)
{
    return (struct cursor){text.data, text.data + text.len};
}

/* ---- Prefer ---- */

static bool seconds_of(struct slice text, int64_t *ret)
{
    int64_t seconds = 0;
    if (text.len < 1 || text.len > 9)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        seconds = seconds * 10 + (text.data[i] - '0');
    }
    *ret = seconds;
    return true;
}

static void prefer_one(struct slice name, struct slice value, struct preferences *ret)
{
    int64_t seconds;
    if (same(name, "wait") && !ret->has_wait && seconds_of(value, &seconds)) {
        ret->has_wait = true;
        ret->wait_s = seconds;
    } else if (same(name, "respond-async") && value.len == 0) {
        ret->respond_async = true;
    } else if (same(name, "return") && same(value, "minimal")) {
        ret->minimal = true;
    }
}

static void prefer_field(struct slice text, struct preferences *ret)
{
    struct cursor c = cursor_of(text);
    while (c.at < c.end) {
        struct slice name = token(&c), value = {0};
        if (take(&c, '='))
            value = word(&c);
        if (name.len)
            prefer_one(name, value, ret);
        while (take(&c, ';')) { /* parameters: none has a meaning here */
            (void)token(&c);
            if (take(&c, '='))
                (void)word(&c);
        }
        while (c.at < c.end && *c.at != ',') /* rubbish spoils its own element alone */
            c.at++;
        c.at += c.at < c.end;
    }
}

void prefer_read(const struct http_request *request, struct preferences *ret)
{
    *ret = (struct preferences){0};
    for (size_t i = 0; i < request->n_fields; i++)
        if (request->fields[i].name.len == 6 && same(request->fields[i].name, "prefer"))
            prefer_field(request->fields[i].value, ret);
}

/* ---- Idempotency-Key ---- */

static bool is_visible(char c)
{
    return c >= 0x21 && c <= 0x7e;
}

/* A structured-field string (RFC 8941, section 3.3.3): visible ASCII and blanks, \" and \\ escaped. */
static bool quoted_key(struct cursor *c, char *out, size_t *ret_len)
{
    size_t n = 0;
    for (c->at++; c->at < c->end && *c->at != '"'; c->at++) {
        if (*c->at == '\\') {
            c->at++;
            if (c->at >= c->end || (*c->at != '"' && *c->at != '\\'))
                return false;
        } else if (!is_visible(*c->at) && *c->at != ' ') {
            return false;
        }
        if (n == IDEMPOTENCY_KEY_MAX)
            return false;
        out[n++] = *c->at;
    }
    if (c->at >= c->end)
        return false;
    c->at++;
    *ret_len = n;
    return c->at == c->end || *c->at == ';'; /* parameters have no meaning here */
}

static bool bare_key(const struct cursor *c, char *out, size_t *ret_len)
{
    size_t n = (size_t)(c->end - c->at);
    if (n > IDEMPOTENCY_KEY_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!is_visible(c->at[i]) || c->at[i] == '"')
            return false;
    memcpy(out, c->at, n);
    *ret_len = n;
    return true;
}

int idempotency_key_read(const struct http_request *request, char out[IDEMPOTENCY_KEY_MAX + 1], struct slice *ret,
                         struct problem *reterr)
{
    unsigned n;
    struct slice value = http_find(request, "Idempotency-Key", &n);
    *ret = (struct slice){0};
    if (n == 0)
        return 0;
    struct cursor c = cursor_of(value);
    size_t len = 0;
    bool good = n == 1 && value.len && (*c.at == '"' ? quoted_key(&c, out, &len) : bare_key(&c, out, &len));
    if (!good || len == 0) {
        problem_set(reterr, PROBLEM_INVALID_PARAMETER, "Header Idempotency-Key: %s.",
                    n > 1 ? "it is given more than once"
                          : "it must be one string in quotes, or 1 to 255 visible ASCII characters without quotes");
        return -1;
    }
    out[len] = '\0';
    *ret = slice_of(out, len);
    return 0;
}

/* ---- Content-Type ---- */

static bool is_json(struct slice type, struct slice subtype)
{
    if (!same(type, "application"))
        return false;
    return same(subtype, "json") || (subtype.len > 5 && same(slice_of(subtype.data + subtype.len - 5, 5), "+json"));
}

static int unsupported(struct problem *reterr, const char *what, struct slice value)
{
    problem_set(reterr, PROBLEM_UNSUPPORTED_TYPE, "%s \"%.*s\"; send application/json in UTF-8.", what,
                (int)(value.len < 80 ? value.len : 80), value.len ? value.data : "");
    return -1;
}

static bool is_json_lines(struct slice type, struct slice subtype)
{
    return same(type, "application") &&
           (same(subtype, "x-ndjson") || same(subtype, "ndjson") || same(subtype, "jsonl"));
}

/* `ret_lines` NULL: lines are not wanted. */
static int check_body(const struct http_request *request, bool *ret_lines, struct problem *reterr)
{
    unsigned n;
    struct slice value = http_find(request, "Content-Encoding", &n);
    if (n && !same(value, "identity"))
        return unsupported(reterr, "The body has the content coding", value);
    value = http_find(request, "Content-Type", &n);
    if (n == 0) { /* refused, since browsers send such requests across origins without asking */
        problem_set(reterr, PROBLEM_UNSUPPORTED_TYPE, "There is no Content-Type; send application/json%s in UTF-8.",
                    ret_lines ? " or application/x-ndjson" : "");
        return -1;
    }
    if (n > 1)
        return unsupported(reterr, "There is more than one Content-Type, the first is", value);
    if (slice_eq_str(value, "application/json"))
        return 0;
    struct cursor c = cursor_of(value);
    struct slice type = token(&c), subtype = {0};
    if (c.at < c.end && *c.at == '/') {
        c.at++;
        subtype = token(&c);
    }
    if (ret_lines)
        *ret_lines = is_json_lines(type, subtype);
    if (!is_json(type, subtype) && !(ret_lines && *ret_lines))
        return unsupported(reterr, "The body's type is", value);
    while (take(&c, ';')) {
        struct slice name = token(&c), text = {0};
        if (take(&c, '='))
            text = word(&c);
        if (same(name, "charset") && !same(text, "utf-8") && !same(text, "utf8") && !same(text, "us-ascii"))
            return unsupported(reterr, "The body's character set is", text);
    }
    skip_blanks(&c);
    return c.at == c.end ? 0 : unsupported(reterr, "The body's type is not understood:", value);
}

int json_body_check(const struct http_request *request, struct problem *reterr)
{
    return check_body(request, NULL, reterr);
}

int json_lines_body_check(const struct http_request *request, bool *ret_lines, struct problem *reterr)
{
    *ret_lines = false;
    return check_body(request, ret_lines, reterr);
}
