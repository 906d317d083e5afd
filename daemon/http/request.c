#include "http/request.h"

#include <strings.h>

static bool is(struct slice text, const char *lower)
{
    size_t len = strlen(lower);
    return text.len == len && strncasecmp(text.data, lower, len) == 0;
}

struct slice http_find(const struct http_request *request, const char *name, unsigned *n_found)
{
    struct slice first = {0};
    unsigned n = 0;
    size_t len = strlen(name);
    for (size_t i = 0; i < request->n_fields; i++) {
        const struct http_field *field = &request->fields[i];
        if (field->name.len != len || strncasecmp(field->name.data, name, len) != 0)
            continue;
        if (!n++)
            first = field->value.data ? field->value : SLICE_LITERAL("");
        if (!n_found)
            break;
    }
    if (n_found)
        *n_found = n;
    return first;
}

enum http_method request_method(struct slice text)
{
    static const struct {
        const char *name;
        enum http_method method;
    } known[] = {{"GET", HTTP_GET},     {"POST", HTTP_POST},     {"HEAD", HTTP_HEAD},      {"PUT", HTTP_PUT},
                 {"PATCH", HTTP_PATCH}, {"DELETE", HTTP_DELETE}, {"OPTIONS", HTTP_OPTIONS}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (slice_eq_str(text, known[i].name))
            return known[i].method;
    return HTTP_OTHER;
}

static bool malformed(struct problem *problem, const char *why)
{
    problem_set(problem, PROBLEM_MALFORMED_REQUEST, "%s", why);
    return false;
}

bool request_target(struct slice target, enum http_method method, struct slice *ret_path, struct slice *ret_query,
                    struct problem *ret_problem)
{
    *ret_query = (struct slice){0};
    if (target.len == 1 && target.data[0] == '*') {
        *ret_path = target;
        return method == HTTP_OPTIONS || malformed(ret_problem, "The target * is for OPTIONS alone.");
    }
    struct slice rest = target;
    if (!rest.len || rest.data[0] != '/') {
        size_t scheme = rest.len > 7 && strncasecmp(rest.data, "http://", 7) == 0    ? 7
                        : rest.len > 8 && strncasecmp(rest.data, "https://", 8) == 0 ? 8
                                                                                     : 0;
        if (!scheme)
            return malformed(ret_problem, "The request target does not start with a slash.");
        size_t host = scheme;
        while (host < rest.len && rest.data[host] != '/' && rest.data[host] != '?')
            host++;
        if (!framing_is_host(slice_of(rest.data + scheme, host - scheme)))
            return malformed(ret_problem, "The request target has no valid host.");
        rest = slice_of(rest.data + host, rest.len - host);
    }
    const char *mark = rest.len ? memchr(rest.data, '?', rest.len) : NULL;
    *ret_path = slice_of(rest.data, mark ? (size_t)(mark - rest.data) : rest.len);
    if (!ret_path->len)
        *ret_path = SLICE_LITERAL("/");
    if (mark)
        *ret_query = slice_of(mark + 1, rest.len - (size_t)(mark + 1 - rest.data));
    return true;
}

/* Takes the next element of a comma-separated list off `*list`. */
static struct slice next_element(struct slice *list)
{
    const char *comma = list->len ? memchr(list->data, ',', list->len) : NULL;
    size_t len = comma ? (size_t)(comma - list->data) : list->len;
    struct slice element = slice_of(list->data, len);
    size_t skip = comma ? len + 1 : len;
    *list = slice_of(list->data + skip, list->len - skip);
    while (element.len && (element.data[0] == ' ' || element.data[0] == '\t'))
        element = slice_of(element.data + 1, element.len - 1);
    while (element.len && (element.data[element.len - 1] == ' ' || element.data[element.len - 1] == '\t'))
        element.len--;
    return element;
}

struct counts { /* how often a field was seen that must be there once */
    unsigned host, length, coding;
    bool close, keep_alive;
};

static void take_connection(struct slice value, struct counts *seen)
{
    while (value.len) {
        struct slice element = next_element(&value);
        seen->close = seen->close || is(element, "close");
        seen->keep_alive = seen->keep_alive || is(element, "keep-alive");
    }
}

/* RFC 9112 section 6.3: chunked must be the last coding (else 400); others before it are not spoken here (501). */
static bool take_coding(struct slice value, struct request_facts *facts, struct problem *problem)
{
    if (!facts->http_1_1)
        return malformed(problem, "Transfer-Encoding is not part of HTTP/1.0.");
    if (is(value, "chunked")) {
        facts->chunked = true;
        return true;
    }
    unsigned chunked = 0, others = 0;
    bool last = false;
    while (value.len) {
        struct slice coding = next_element(&value);
        if (!framing_is_token(coding))
            return malformed(problem, "Transfer-Encoding is not a list of coding names.");
        last = is(coding, "chunked");
        chunked += last;
        others += !last;
    }
    if (chunked != 1 || !last || !others)
        return malformed(problem, "The last transfer coding of a request must be chunked, once.");
    problem_set(problem, PROBLEM_NOT_IMPLEMENTED, "Only the transfer coding chunked is understood here.");
    return false;
}

static bool take_expect(struct slice value, struct request_facts *facts, struct problem *problem)
{
    if (!facts->http_1_1)
        return true; /* not part of HTTP/1.0: ignored */
    facts->expect_continue = is(value, "100-continue");
    if (!facts->expect_continue)
        problem_set(problem, PROBLEM_EXPECTATION_FAILED, "The only expectation that can be met is 100-continue.");
    return facts->expect_continue;
}

static bool take_field(const struct http_field *field, struct request_facts *facts, struct counts *seen,
                       struct problem *problem)
{
    switch (field->name.len) { /* few names have one of these lengths */
    case 4:
        if (!is(field->name, "host"))
            return true;
        if (seen->host++)
            return malformed(problem, "There is more than one Host field.");
        return framing_is_host(field->value) || malformed(problem, "The Host field is not a host and a port.");
    case 6: return !is(field->name, "expect") || take_expect(field->value, facts, problem);
    case 10:
        if (is(field->name, "connection"))
            take_connection(field->value, seen);
        return true;
    case 14:
        if (!is(field->name, "content-length"))
            return true;
        if (seen->length++)
            return malformed(problem, "There is more than one Content-Length field.");
        return framing_parse_length(field->value, &facts->length) ||
               malformed(problem, "Content-Length is not one decimal number.");
    case 17:
        if (!is(field->name, "transfer-encoding"))
            return true;
        if (seen->coding++)
            return malformed(problem, "There is more than one Transfer-Encoding field.");
        return take_coding(field->value, facts, problem);
    default: return true;
    }
}

bool request_check(const struct http_request *request, struct request_facts *facts, struct problem *ret_problem)
{
    struct counts seen = {0};
    *facts = (struct request_facts){.http_1_1 = facts->http_1_1};
    for (size_t i = 0; i < request->n_fields; i++)
        if (!take_field(&request->fields[i], facts, &seen, ret_problem))
            return false;
    if (facts->http_1_1 && !seen.host)
        return malformed(ret_problem, "There is no Host field.");
    if (seen.length && seen.coding)
        return malformed(ret_problem, "Content-Length and Transfer-Encoding exclude each other.");
    facts->keep_alive = !seen.close && (facts->http_1_1 || seen.keep_alive);
    facts->keep_alive_told = facts->keep_alive && !facts->http_1_1;
    return true;
}
