#include "config/scan.h"

#include <string.h>

#define DEPTH_MAX 32

struct scanner {
    const char *at, *end;
    unsigned line;
};

static bool looking_at(const struct scanner *s, const char *text)
{
    size_t len = strlen(text);
    return (size_t)(s->end - s->at) >= len && memcmp(s->at, text, len) == 0;
}

static void skip(struct scanner *s, size_t n)
{
    for (; n > 0 && s->at < s->end; n--, s->at++)
        s->line += *s->at == '\n';
}

/* Past the closing text; false: there is none. */
static bool skip_past(struct scanner *s, const char *closing)
{
    while (s->at < s->end && !looking_at(s, closing))
        skip(s, 1);
    bool found = s->at < s->end;
    skip(s, strlen(closing));
    return found;
}

/* s->at is behind the opening quote.  ${...} in double quotes may hold a quote. */
static bool skip_string(struct scanner *s, char quote)
{
    while (s->at < s->end && *s->at != quote) {
        const char *brace = quote == '"' && looking_at(s, "${") ? memchr(s->at, '}', (size_t)(s->end - s->at)) : NULL;
        if (brace)
            skip(s, (size_t)(brace - s->at) + 1);
        else
            skip(s, *s->at == '\\' ? 2 : 1);
    }
    bool closed = s->at < s->end;
    skip(s, 1);
    return closed;
}

static void skip_word(struct scanner *s)
{
    static const char ends[] = " #\"'\t\n\r={}()+,*";
    do
        skip(s, 1);
    while (s->at < s->end && !strchr(ends, *s->at));
}

static void check_characters(struct scanner s, const char *path, struct problems *problems)
{
    for (; s.at < s.end; skip(&s, 1)) {
        unsigned char c = (unsigned char)*s.at;
        if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f) {
            problems_add(problems, (struct config_where){path, s.line}, "control character 0x%02x", c);
            break;
        }
    }
}

/* From `start` to s->at. */
static void blank(const struct scanner *s, char *start)
{
    for (; start < s->at; start++)
        if (*start != '\n')
            *start = ' ';
}

bool scan_text(char *text, size_t len, const char *path, struct problems *problems)
{
    struct scanner s = {text, text + len, 1};
    unsigned before = problems->count, opened[DEPTH_MAX] = {0}, depth = 0;
    check_characters(s, path, problems);
    while (s.at < s.end) {
        struct config_where where = {path, s.line};
        unsigned char c = (unsigned char)*s.at;
        char *start = text + (s.at - text);
        if (c == '#' || looking_at(&s, "//")) {
            (void)skip_past(&s, "\n");
            blank(&s, start);
        } else if (looking_at(&s, "/*")) {
            if (!skip_past(&s, "*/"))
                problems_add(problems, where, "comment without its end");
            blank(&s, start);
        } else if (c == '"' || c == '\'') {
            skip(&s, 1);
            if (!skip_string(&s, (char)c))
                problems_add(problems, where, "string without its closing quote");
        } else if (strchr(" \t\r\n={}()+,*", (char)c) && c) {
            if (c == '{' && depth++ < DEPTH_MAX)
                opened[depth - 1] = s.line;
            else if (c == '}' && depth > 0)
                depth--;
            skip(&s, 1);
        } else {
            skip_word(&s);
        }
    }
    if (depth > 0)
        problems_add(problems, (struct config_where){path, depth <= DEPTH_MAX ? opened[depth - 1] : s.line},
                     "{ without its closing }");
    return problems->count == before;
}
