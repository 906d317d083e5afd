/* W3C Trace Context, level 2: the traceparent and its type; fresh ids.  Thread: any. */
#include <stdlib.h>
#include <string.h>

#include "proto/context/internal.h"
#include "proto/id.h"

#define TRACEPARENT_LEN 55u
#define FLAGS_KNOWN 0x03u
#define FLAG_RANDOM 0x02u

struct trace_data { /* a traceparent as a value: its text comes first, so that readers get it as a string */
    char text[TRACEPARENT_LEN + 1];
    satchel_trace trace;
};

bool hex_decode(const char *text, size_t len, uint8_t *out)
{
    for (size_t i = 0; i < len; i++) {
        int v;
        if (text[i] >= '0' && text[i] <= '9')
            v = text[i] - '0';
        else if (text[i] >= 'a' && text[i] <= 'f')
            v = text[i] - 'a' + 10;
        else
            return false;
        out[i / 2] = (uint8_t)(i % 2 ? out[i / 2] | v : v << 4);
    }
    return true;
}

static void hex_encode(const uint8_t *bytes, size_t n, char *out)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = hex[bytes[i] >> 4];
        out[2 * i + 1] = hex[bytes[i] & 15];
    }
}

static bool all_zero(const uint8_t *bytes, size_t n)
{
    uint8_t any = 0;
    for (size_t i = 0; i < n; i++)
        any |= bytes[i];
    return any == 0;
}

int satchel_trace_parse(const char *text, size_t len, satchel_trace *out)
{
    if (!out || (!text && len))
        return SATCHEL_EINVAL;
    while (len && (*text == ' ' || *text == '\t')) {
        text++;
        len--;
    }
    while (len && (text[len - 1] == ' ' || text[len - 1] == '\t'))
        len--;
    uint8_t version, flags;
    satchel_trace trace = {.remote = true};
    if (len < TRACEPARENT_LEN || text[2] != '-' || text[35] != '-' || text[52] != '-')
        return SATCHEL_EGRAMMAR;
    if (!hex_decode(text, 2, &version) || !hex_decode(text + 3, 32, trace.trace_id) ||
        !hex_decode(text + 36, 16, trace.span_id) || !hex_decode(text + 53, 2, &flags))
        return SATCHEL_EGRAMMAR;
    if (version == 0xff || (version == 0 && len != TRACEPARENT_LEN) || (len > TRACEPARENT_LEN && text[55] != '-'))
        return SATCHEL_EGRAMMAR;
    if (all_zero(trace.trace_id, 16) || all_zero(trace.span_id, 8))
        return SATCHEL_EGRAMMAR;
    trace.flags = flags & FLAGS_KNOWN;
    *out = trace;
    return SATCHEL_OK;
}

void satchel_trace_format(const satchel_trace *trace, char out[56])
{
    if (!trace || !out)
        return;
    memcpy(out, "00-", 3);
    hex_encode(trace->trace_id, 16, out + 3);
    out[35] = '-';
    hex_encode(trace->span_id, 8, out + 36);
    out[52] = '-';
    uint8_t flags = trace->flags & FLAGS_KNOWN;
    hex_encode(&flags, 1, out + 53);
    out[55] = '\0';
}

static void fresh(uint8_t *id, size_t n)
{
    do {
        random_bytes(id, n);
    } while (all_zero(id, n));
}

int satchel_trace_root(satchel_trace *out)
{
    if (!out)
        return SATCHEL_EINVAL;
    *out = (satchel_trace){.flags = FLAG_RANDOM};
    fresh(out->trace_id, 16);
    fresh(out->span_id, 8);
    return SATCHEL_OK;
}

int satchel_trace_child(const satchel_trace *parent, satchel_trace *out)
{
    if (!parent || !out)
        return SATCHEL_EINVAL;
    *out = *parent;
    out->flags &= FLAGS_KNOWN;
    out->remote = false;
    fresh(out->span_id, 8);
    return SATCHEL_OK;
}

/* ---- the type ---- */

static bool trace_equal(const void *a, const void *b)
{
    const struct trace_data *x = a, *y = b;
    return memcmp(x->text, y->text, sizeof x->text) == 0;
}

static size_t trace_encode(const void *data, char *buf, size_t cap)
{
    size_t n = TRACEPARENT_LEN < cap ? TRACEPARENT_LEN : cap;
    if (n)
        memcpy(buf, data, n);
    return TRACEPARENT_LEN;
}

static int trace_decode(const char *text, size_t len, void **data)
{
    struct trace_data *parsed = malloc(sizeof *parsed);
    if (!parsed)
        return SATCHEL_ENOMEM;
    int status = satchel_trace_parse(text, len, &parsed->trace);
    if (status != SATCHEL_OK) {
        free(parsed);
        return status;
    }
    satchel_trace_format(&parsed->trace, parsed->text);
    *data = parsed;
    return SATCHEL_OK;
}

const satchel_type trace_type = {
    .struct_size = sizeof(satchel_type),
    .name = "traceparent",
    .destroy = free,
    .equal = trace_equal,
    .encode = trace_encode,
    .decode = trace_decode,
};

int make_traceparent(const char *text, size_t len, satchel_value **out)
{
    return value_from_text(&trace_type, text, len, out);
}

int satchel_trace_current(satchel_trace *out)
{
    if (!out)
        return SATCHEL_EINVAL;
    const struct trace_data *data = self.known->data[SATCHEL_TRACEPARENT];
    if (!data)
        return SATCHEL_UNSET;
    *out = data->trace;
    return SATCHEL_OK;
}

int satchel_set_trace(const satchel_trace *trace, satchel_token *token)
{
    if (!trace || all_zero(trace->trace_id, 16) || all_zero(trace->span_id, 8))
        return SATCHEL_EINVAL;
    struct trace_data *data = malloc(sizeof *data);
    if (!data)
        return SATCHEL_ENOMEM;
    data->trace = *trace;
    data->trace.flags &= FLAGS_KNOWN;
    satchel_trace_format(trace, data->text);
    satchel_value *value;
    int status = satchel_value_new(&trace_type, data, &value);
    if (status != SATCHEL_OK) {
        free(data);
        return status;
    }
    status = current_bind(&known_vars[SATCHEL_TRACEPARENT], value, token);
    if (status != SATCHEL_OK)
        value_unref(value);
    return status;
}
