/* B3 (openzipkin/b3-propagation), one field or several, as an alternative to the W3C's.  Ids of 64 bits are padded
 * with zeros on the left; debug means sampled, and is remembered and sent on.  Thread: any. */
#include <string.h>

#include "proto/context/wire.h"

static bool is(const satchel_field *field, const char *name)
{
    return same_name(field->name, field->name_len, name, strlen(name));
}

bool b3_is_field(const satchel_field *field, unsigned enabled)
{
    if (enabled & PROPAGATOR_B3 && is(field, "b3"))
        return true;
    return enabled & PROPAGATOR_B3_MULTI && field->name_len > 5 && same_name(field->name, 5, "X-B3-", 5);
}

/* 32 or 16 hex digits of either case, padded on the left; not all zero. */
static bool read_id(const char *text, size_t len, uint8_t *out, size_t size)
{
    char low[32];
    if (len > size * 2 || (len != 32 && len != 16))
        return false;
    memset(out, 0, size);
    for (size_t i = 0; i < len; i++)
        low[i] = (char)(text[i] >= 'A' && text[i] <= 'F' ? text[i] + 32 : text[i]);
    if (!hex_decode(low, len, out + size - len / 2))
        return false;
    uint8_t any = 0;
    for (size_t i = 0; i < size; i++)
        any |= out[i];
    return any != 0;
}

bool b3_single(const char *text, size_t len, struct b3 *out)
{
    struct b3 b3 = {.trace = {.remote = true}};
    const char *dash = len ? memchr(text, '-', len) : NULL;
    if (!dash) /* a bare sampling decision names no trace */
        return false;
    size_t id_len = (size_t)(dash - text);
    const char *span = dash + 1;
    size_t left = len - id_len - 1;
    if (!read_id(text, id_len, b3.trace.trace_id, 16) || left < 16 || !read_id(span, 16, b3.trace.span_id, 8))
        return false;
    if (left > 16) {
        if (left < 18 || span[16] != '-' || (span[17] != '0' && span[17] != '1' && span[17] != 'd'))
            return false;
        b3.trace.flags = span[17] != '0';
        b3.debug = span[17] == 'd';
        uint8_t parent[8];
        if (left > 18 && (left != 35 || span[18] != '-' || !read_id(span + 19, 16, parent, 8)))
            return false;
    }
    *out = b3;
    return true;
}

static const satchel_field *first(const satchel_field *fields, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (is(&fields[i], name))
            return &fields[i];
    return NULL;
}

/* The first one's value without the blanks around it; empty: there is none. */
static struct slice value_of(const satchel_field *fields, size_t n, const char *name)
{
    const satchel_field *field = first(fields, n, name);
    struct slice v = field ? slice_of(field->value, field->value_len) : slice_of("", 0);
    for (; v.len && (v.data[0] == ' ' || v.data[0] == '\t'); v.len--)
        v.data++;
    while (v.len && (v.data[v.len - 1] == ' ' || v.data[v.len - 1] == '\t'))
        v.len--;
    return v;
}

static bool says(struct slice value, const char *text)
{
    return same_name(value.data, value.len, text, strlen(text));
}

bool b3_multi(const satchel_field *fields, size_t n, struct b3 *out)
{
    struct slice id = value_of(fields, n, "X-B3-TraceId"), span = value_of(fields, n, "X-B3-SpanId");
    struct slice sampled = value_of(fields, n, "X-B3-Sampled");
    struct b3 b3 = {.trace = {.remote = true}};
    if (!read_id(id.data, id.len, b3.trace.trace_id, 16) || !read_id(span.data, span.len, b3.trace.span_id, 8))
        return false;
    b3.debug = says(value_of(fields, n, "X-B3-Flags"), "1");
    b3.trace.flags = b3.debug || says(sampled, "1") || says(sampled, "true");
    *out = b3;
    return true;
}

int b3_put(const char *traceparent, bool debug, unsigned enabled, put_fn *put, void *arg)
{
    const char *trace = traceparent + 3, *span = traceparent + 36;
    bool sampled = (traceparent[54] - '0') & 1; /* of a hex digit: a letter here is not one that we write */
    int stop = 0;
    if (enabled & PROPAGATOR_B3) {
        char text[52]; /* {32 hex}-{16 hex}-{0,1,d} */
        memcpy(text, trace, 49);
        text[49] = '-';
        text[50] = debug ? 'd' : sampled ? '1' : '0';
        text[51] = '\0';
        stop = put("b3", text, 51, arg);
    }
    if (!(enabled & PROPAGATOR_B3_MULTI))
        return stop;
    char id[33], span_id[17];
    memcpy(id, trace, 32);
    memcpy(span_id, span, 16);
    id[32] = span_id[16] = '\0';
    stop = stop ? stop : put("X-B3-TraceId", id, 32, arg);
    stop = stop ? stop : put("X-B3-SpanId", span_id, 16, arg);
    if (stop)
        return stop;
    return debug ? put("X-B3-Flags", "1", 1, arg) : put("X-B3-Sampled", sampled ? "1" : "0", 1, arg);
}
