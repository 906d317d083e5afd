/* B3 (openzipkin/b3-propagation), single and multi: read as an alternative to traceparent where configured; and
 * which propagators are on.  Thread: satchel_set_propagators before threads; the rest any. */
#include <string.h>

#include "proto/context/internal.h"

static _Atomic unsigned enabled = PROPAGATOR_TRACE | PROPAGATOR_BAGGAGE;

unsigned propagators(void)
{
    return atomic_load_explicit(&enabled, memory_order_relaxed);
}

int satchel_set_propagators(const char *list)
{
    static const struct {
        const char *name;
        unsigned bit;
    } names[] = {{"tracecontext", PROPAGATOR_TRACE},
                 {"baggage", PROPAGATOR_BAGGAGE},
                 {"b3", PROPAGATOR_B3},
                 {"b3multi", PROPAGATOR_B3_MULTI},
                 {"none", 0}};
    unsigned bits = 0;
    if (!list)
        return SATCHEL_EINVAL;
    while (*list) {
        size_t len = strcspn(list, ","), i = 0, n = sizeof names / sizeof names[0];
        while (i < n && !(strlen(names[i].name) == len && memcmp(names[i].name, list, len) == 0))
            i++;
        if (i == n)
            return SATCHEL_EINVAL;
        bits |= names[i].bit;
        list += len;
        list += *list == ',';
    }
    atomic_store(&enabled, bits);
    return SATCHEL_OK;
}

/* 32 or 16 lower- or upper-case hex digits, padded on the left with zeros. */
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
    for (size_t i = 0; i < size; i++)
        if (out[i])
            return true;
    return false;
}

bool b3_single(const char *text, size_t len, satchel_trace *out)
{
    const char *dash = memchr(text, '-', len);
    satchel_trace trace = {.remote = true};
    if (!dash) /* a bare sampling decision carries no trace */
        return false;
    size_t id_len = (size_t)(dash - text);
    if (!read_id(text, id_len, trace.trace_id, 16))
        return false;
    const char *span = dash + 1;
    size_t left = len - id_len - 1;
    if (left < 16 || !read_id(span, 16, trace.span_id, 8))
        return false;
    if (left > 16) {
        if (left < 18 || span[16] != '-' || !strchr("01d", span[17]) || span[17] == '\0')
            return false;
        trace.flags = span[17] != '0';
        uint8_t parent[8];
        if (left > 18 && (left != 35 || span[18] != '-' || !read_id(span + 19, 16, parent, 8)))
            return false;
    }
    *out = trace;
    return true;
}

static const satchel_field *first(const satchel_field *const *fields, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (header_equal(fields[i]->name, fields[i]->name_len, name))
            return fields[i];
    return NULL;
}

static bool is_one_of(const satchel_field *field, const char *a, const char *b)
{
    return field &&
           (header_equal(field->value, field->value_len, a) || header_equal(field->value, field->value_len, b));
}

bool b3_multi(const satchel_field *const *fields, size_t n, satchel_trace *out)
{
    const satchel_field *id = first(fields, n, "X-B3-TraceId"), *span = first(fields, n, "X-B3-SpanId");
    satchel_trace trace = {.remote = true};
    if (!id || !span || !read_id(id->value, id->value_len, trace.trace_id, 16) || span->value_len != 16 ||
        !read_id(span->value, span->value_len, trace.span_id, 8))
        return false;
    if (is_one_of(first(fields, n, "X-B3-Sampled"), "1", "true") || is_one_of(first(fields, n, "X-B3-Flags"), "1", "1"))
        trace.flags = 1;
    *out = trace;
    return true;
}
