#include "http/chunked.h"

static enum framing_result broken(struct problem *problem, const char *why)
{
    problem_set(problem, PROBLEM_MALFORMED_REQUEST, "%s", why);
    return FRAMING_BROKEN;
}

static int hex_value(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* After the size, or after a whole extension. */
static enum framing_result end_of_part(struct chunked *scan, unsigned char c, struct problem *problem)
{
    if (c != '\r' && c != ';')
        return broken(problem, "A chunk size is not hexadecimal digits, then CR LF.");
    scan->state = c == '\r' ? CHUNK_SIZE_LF : CHUNK_EXT_NAME;
    scan->part = 0;
    return FRAMING_MORE;
}

static enum framing_result on_size(struct chunked *scan, unsigned char c, struct problem *problem)
{
    int value = hex_value(c);
    if (value < 0)
        return scan->digits ? end_of_part(scan, c, problem) : broken(problem, "A chunk has no hexadecimal size.");
    if (++scan->digits > 15)
        return broken(problem, "A chunk size has more than 15 digits.");
    scan->size = scan->size * 16 + (unsigned)value;
    return FRAMING_MORE;
}

static enum framing_result on_extension(struct chunked *scan, unsigned char c, struct problem *problem)
{
    if (++scan->extension > CHUNKED_EXTENSION_MAX || ++scan->extensions > CHUNKED_EXTENSIONS_MAX)
        return broken(problem, "The chunk extensions are too long.");
    switch (scan->state) {
    case CHUNK_EXT_NAME:
        if (framing_is_token_char(c)) {
            scan->part++;
            return FRAMING_MORE;
        }
        if (scan->part && c == '=') {
            scan->state = CHUNK_EXT_VALUE;
            scan->part = 0;
            return FRAMING_MORE;
        }
        break;
    case CHUNK_EXT_VALUE:
        if (framing_is_token_char(c)) {
            scan->part++;
            return FRAMING_MORE;
        }
        if (!scan->part && c == '"') {
            scan->state = CHUNK_EXT_QUOTED;
            return FRAMING_MORE;
        }
        break;
    case CHUNK_EXT_QUOTED:
    case CHUNK_EXT_ESCAPED:
        if (!framing_is_value_char(c))
            return broken(problem, "A chunk extension has a control character.");
        if (scan->state == CHUNK_EXT_ESCAPED)
            scan->state = CHUNK_EXT_QUOTED;
        else if (c == '\\')
            scan->state = CHUNK_EXT_ESCAPED;
        else if (c == '"')
            scan->state = CHUNK_EXT_END;
        return FRAMING_MORE;
    default: /* CHUNK_EXT_END: only the end of the extension may follow */ return end_of_part(scan, c, problem);
    }
    return scan->part ? end_of_part(scan, c, problem) : broken(problem, "A chunk extension has no name or no value.");
}

static enum framing_result on_trailer(struct chunked *scan, const struct framing_limits *limits, unsigned char c,
                                      struct problem *problem)
{
    if (++scan->trailer_bytes > limits->header_bytes || ++scan->trailer_line > limits->header_line + 2) {
        problem_set(problem, PROBLEM_HEADERS_TOO_LARGE, "The trailer fields are too long.");
        return FRAMING_BROKEN;
    }
    switch (scan->state) {
    case CHUNK_TRAILER_START:
        if (c == '\r') {
            scan->state = CHUNK_END_LF;
            return FRAMING_MORE;
        }
        if (++scan->trailers > limits->header_count) {
            problem_set(problem, PROBLEM_HEADERS_TOO_LARGE, "There are more than %zu trailer fields.",
                        limits->header_count);
            return FRAMING_BROKEN;
        }
        scan->state = CHUNK_TRAILER_NAME;
        return framing_is_token_char(c) ? FRAMING_MORE : broken(problem, "A trailer field has no name.");
    case CHUNK_TRAILER_NAME:
        if (c == ':')
            scan->state = CHUNK_TRAILER_VALUE;
        else if (!framing_is_token_char(c))
            return broken(problem, "The name of a trailer field is not a token, directly followed by a colon.");
        return FRAMING_MORE;
    case CHUNK_TRAILER_VALUE:
        if (c == '\r')
            scan->state = CHUNK_TRAILER_LF;
        else if (!framing_is_value_char(c))
            return broken(problem, "The value of a trailer field has a control character.");
        return FRAMING_MORE;
    default: /* CHUNK_TRAILER_LF */
        scan->state = CHUNK_TRAILER_START;
        scan->trailer_line = 0;
        return c == '\n' ? FRAMING_MORE : broken(problem, "A trailer field does not end in CR LF.");
    }
}

static enum framing_result on_byte(struct chunked *scan, const struct framing_limits *limits, unsigned char c,
                                   struct problem *problem)
{
    switch (scan->state) {
    case CHUNK_SIZE: return on_size(scan, c, problem);
    case CHUNK_SIZE_LF:
        scan->state = scan->size ? CHUNK_DATA : CHUNK_TRAILER_START;
        scan->digits = 0;
        scan->extension = 0;
        return c == '\n' ? FRAMING_MORE : broken(problem, "A chunk size does not end in CR LF.");
    case CHUNK_DATA_CR:
        scan->state = CHUNK_DATA_LF;
        return c == '\r' ? FRAMING_MORE : broken(problem, "A chunk is longer than its size says.");
    case CHUNK_DATA_LF:
        scan->state = CHUNK_SIZE;
        return c == '\n' ? FRAMING_MORE : broken(problem, "A chunk is longer than its size says.");
    case CHUNK_END_LF: return c == '\n' ? FRAMING_DONE : broken(problem, "A chunked body does not end in CR LF.");
    case CHUNK_TRAILER_START:
    case CHUNK_TRAILER_NAME:
    case CHUNK_TRAILER_VALUE:
    case CHUNK_TRAILER_LF: return on_trailer(scan, limits, c, problem);
    default: return on_extension(scan, c, problem);
    }
}

/* Is this byte part of an extension?  Those are checked here and dropped: llhttp 8.1 knows no quoted values. */
static bool in_extension(const struct chunked *scan, char c)
{
    switch (scan->state) {
    case CHUNK_SIZE: return c == ';';
    case CHUNK_EXT_NAME:
    case CHUNK_EXT_VALUE:
    case CHUNK_EXT_QUOTED:
    case CHUNK_EXT_ESCAPED:
    case CHUNK_EXT_END: return c != '\r';
    default: return false;
    }
}

enum framing_result chunked_scan(struct chunked *scan, const struct framing_limits *limits, const char *data,
                                 size_t len, size_t *ret_used, size_t *ret_data, struct problem *ret_problem)
{
    size_t used = 0;
    enum framing_result result = FRAMING_MORE;
    *ret_data = 0;
    scan->skip = len && in_extension(scan, data[0]);
    while (used < len && result == FRAMING_MORE && in_extension(scan, data[used]) == scan->skip) {
        if (scan->state == CHUNK_DATA) {
            size_t take = len - used < scan->size ? len - used : (size_t)scan->size;
            scan->size -= take;
            used += take;
            *ret_data = take;
            if (!scan->size)
                scan->state = CHUNK_DATA_CR;
            break;
        }
        result = on_byte(scan, limits, (unsigned char)data[used], ret_problem);
        used += result != FRAMING_BROKEN;
    }
    *ret_used = used;
    return result;
}
