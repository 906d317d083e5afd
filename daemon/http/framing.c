#include "http/framing.h"

#include <limits.h>
#include <string.h>

enum { TOKEN = 1, VALUE = 2, TARGET = 4, HOST = 8 };

/* What each byte may be part of. */
static unsigned char class_of[256];

__attribute__((constructor)) static void build_classes(void)
{
    for (unsigned c = 0; c < 256; c++) {
        bool digit = c >= '0' && c <= '9';
        bool alpha = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        unsigned char class = 0;
        if (digit || alpha || (c && c < 128 && strchr("!#$%&'*+-.^_`|~", (int)c)))
            class |= TOKEN;
        if (c == '\t' || (c >= ' ' && c != 127))
            class |= VALUE;
        if (c > ' ' && c < 127 && c != '#')
            class |= TARGET;
        if (digit || alpha || (c && c < 128 && strchr("-._~!$&'()*+;=%:[]", (int)c)))
            class |= HOST;
        class_of[c] = class;
    }
}

static bool all_of(const char *data, size_t len, unsigned char class)
{
    for (size_t i = 0; i < len; i++)
        if (!(class_of[(unsigned char)data[i]] & class))
            return false;
    return true;
}

bool framing_is_token_char(unsigned char c)
{
    return class_of[c] & TOKEN;
}

bool framing_is_value_char(unsigned char c)
{
    return class_of[c] & VALUE;
}

bool framing_is_token(struct slice text)
{
    return text.len && all_of(text.data, text.len, TOKEN);
}

bool framing_is_value(struct slice text)
{
    return all_of(text.data, text.len, VALUE);
}

static bool is_port(const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (data[i] < '0' || data[i] > '9')
            return false;
    return len <= 5;
}

bool framing_is_host(struct slice text)
{
    if (!text.len || !all_of(text.data, text.len, HOST))
        return false;
    if (text.data[0] == '[') {
        const char *end = memchr(text.data, ']', text.len);
        if (!end || end == text.data + 1 || memchr(text.data + 1, '[', text.len - 1))
            return false;
        size_t rest = text.len - (size_t)(end + 1 - text.data);
        return rest == 0 || (end[1] == ':' && is_port(end + 2, rest - 1));
    }
    if (memchr(text.data, '[', text.len) || memchr(text.data, ']', text.len) || text.data[0] == ':')
        return false;
    const char *colon = memchr(text.data, ':', text.len);
    return !colon || is_port(colon + 1, text.len - (size_t)(colon + 1 - text.data));
}

bool framing_parse_length(struct slice text, unsigned long long *ret)
{
    unsigned long long value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || value > (LLONG_MAX - 9) / 10)
            return false;
        value = value * 10 + (unsigned)(text.data[i] - '0');
    }
    *ret = value;
    return text.len > 0;
}

static enum framing_result broken(struct problem *problem, const char *why)
{
    problem_set(problem, PROBLEM_MALFORMED_REQUEST, "%s", why);
    return FRAMING_BROKEN;
}

static enum framing_result check_version(const char *text, size_t len, bool *ret_1_1, struct problem *problem)
{
    if (len != 8 || memcmp(text, "HTTP/", 5) != 0 || text[5] < '0' || text[5] > '9' || text[6] != '.' ||
        text[7] < '0' || text[7] > '9')
        return broken(problem, "The request line does not end in a space and HTTP/1.1.");
    if (text[5] != '1' || text[7] > '1') {
        problem_set(problem, PROBLEM_VERSION_NOT_SUPPORTED, "HTTP/%c.%c is not spoken here; use HTTP/1.1.", text[5],
                    text[7]);
        return FRAMING_BROKEN;
    }
    *ret_1_1 = text[7] == '1';
    return FRAMING_DONE;
}

/* The request line, without its CRLF; or, while not `complete`, what is there of it.  The checks stand in the order
 * of the bytes, so that feeding byte by byte finds the same fault. */
static enum framing_result check_request_line(struct framing_head *scan, const struct framing_limits *limits,
                                              const char *line, size_t len, bool complete, struct problem *problem)
{
    size_t method_room = len < FRAMING_METHOD_MAX + 1 ? len : FRAMING_METHOD_MAX + 1;
    size_t method = 0;
    while (method < method_room && framing_is_token_char((unsigned char)line[method]))
        method++;
    if (method == len && method <= FRAMING_METHOD_MAX && !complete)
        return FRAMING_MORE;
    if (method == 0 || method > FRAMING_METHOD_MAX || method == len || line[method] != ' ') {
        if (!complete && method && method + 1 == len && line[method] == '\r')
            return FRAMING_MORE; /* the CR of CRLF, perhaps: wait for its LF and say the same then */
        return broken(problem, "The request line does not start with a method (a token) and one space.");
    }
    const char *target = line + method + 1, *end = line + len;
    const char *space = memchr(target, ' ', (size_t)(end - target));
    size_t target_len = (size_t)((space ? space : end) - target);
    if (!complete && !space && target_len && end[-1] == '\r')
        target_len--;
    if (target_len > limits->target) {
        problem_set(problem, PROBLEM_TARGET_TOO_LONG, "The request target is longer than %zu bytes.", limits->target);
        return FRAMING_BROKEN;
    }
    if (!complete)
        return space && end - space > 10 ? broken(problem, "The request line has too many parts.") : FRAMING_MORE;
    if (!target_len || !all_of(target, target_len, TARGET))
        return broken(problem, "The request target is empty or has a byte that must be percent-encoded.");
    if (!space)
        return broken(problem, "The request line has no HTTP version.");
    scan->method_len = method;
    return check_version(space + 1, (size_t)(end - space - 1), &scan->http_1_1, problem);
}

static enum framing_result check_field_line(const char *line, size_t len, struct problem *problem)
{
    size_t name = 0;
    while (name < len && framing_is_token_char((unsigned char)line[name]))
        name++;
    if (name == 0 && (line[0] == ' ' || line[0] == '\t'))
        return broken(problem, "A header line starts with white space (line folding is not accepted).");
    if (name == 0 || name == len || line[name] != ':')
        return broken(problem, "A header line is not a name (a token), directly followed by a colon, and a value.");
    if (!all_of(line + name + 1, len - name - 1, VALUE)) {
        problem_set(problem, PROBLEM_MALFORMED_REQUEST, "The value of header field \"%.*s\" has a control character.",
                    (int)(name < 64 ? name : 64), line);
        return FRAMING_BROKEN;
    }
    return FRAMING_DONE;
}

static enum framing_result check_sizes(const struct framing_head *scan, const struct framing_limits *limits,
                                       size_t line_len, size_t end, size_t n_fields, struct problem *problem)
{
    if (line_len > limits->header_line)
        problem_set(problem, PROBLEM_HEADERS_TOO_LARGE, "A header line is longer than %zu bytes.", limits->header_line);
    else if (end - scan->fields_at > limits->header_bytes)
        problem_set(problem, PROBLEM_HEADERS_TOO_LARGE, "The header fields are longer than %zu bytes.",
                    limits->header_bytes);
    else if (n_fields > limits->header_count)
        problem_set(problem, PROBLEM_HEADERS_TOO_LARGE, "There are more than %zu header fields.", limits->header_count);
    else
        return FRAMING_DONE;
    return FRAMING_BROKEN;
}

/* One whole line: [scan->line, lf).  DONE: it was the empty one. */
static enum framing_result check_line(struct framing_head *scan, const struct framing_limits *limits, const char *data,
                                      size_t lf, struct problem *problem)
{
    const char *line = data + scan->line;
    size_t len = lf - scan->line;
    if (scan->fields_at && len == 1 && line[0] == '\r')
        return FRAMING_DONE;
    bool crlf = len && line[len - 1] == '\r';
    len -= crlf;
    if (!scan->fields_at) {
        enum framing_result result = check_request_line(scan, limits, line, len, true, problem);
        if (result != FRAMING_DONE)
            return result;
    } else {
        if (check_sizes(scan, limits, len, lf + 1, scan->n_fields + 1, problem) == FRAMING_BROKEN)
            return FRAMING_BROKEN;
        if (len && check_field_line(line, len, problem) == FRAMING_BROKEN)
            return FRAMING_BROKEN;
        scan->n_fields++;
    }
    return crlf ? FRAMING_MORE : broken(problem, "A line of the header section does not end in CR LF.");
}

enum framing_result framing_head_scan(struct framing_head *scan, const struct framing_limits *limits, const char *data,
                                      size_t len, size_t *ret_end, struct problem *ret_problem)
{
    const char *lf;
    while (scan->at < len && (lf = memchr(data + scan->at, '\n', len - scan->at))) {
        size_t at = (size_t)(lf - data);
        enum framing_result result = check_line(scan, limits, data, at, ret_problem);
        if (result == FRAMING_DONE)
            *ret_end = at + 1;
        if (result != FRAMING_MORE)
            return result;
        scan->at = scan->line = at + 1;
        if (!scan->fields_at)
            scan->fields_at = scan->line;
    }
    scan->at = len;
    const char *line = data + scan->line;
    size_t rest = len - scan->line;
    if (!rest)
        return FRAMING_MORE;
    if (!scan->fields_at)
        return check_request_line(scan, limits, line, rest, false, ret_problem);
    size_t sure = rest - (line[rest - 1] == '\r');
    return check_sizes(scan, limits, sure, scan->line + sure, scan->n_fields + (sure > 0), ret_problem) ==
                   FRAMING_BROKEN
               ? FRAMING_BROKEN
               : FRAMING_MORE;
}
