/* Flow: api/metrics.c -> here. */
#include "telemetry/exposition.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum kind { COUNTER, GAUGE, HISTOGRAM, INFO };

static const struct family {
    const char *name;
    enum kind kind;
    const char *unit, *text;
} families[METRIC_COUNT] = {
#define METRIC(ID, NAME, KIND, UNIT, LABELS, TEXT) [METRIC_##ID] = {NAME, KIND, UNIT, TEXT},
#include "telemetry/metrics.def"
#undef METRIC
};

const char *exposition_type(bool openmetrics)
{
    return openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                       : "text/plain; version=0.0.4; charset=utf-8";
}

/* ---- what is asked for ---- */

static struct slice trim(struct slice text)
{
    while (text.len && (*text.data == ' ' || *text.data == '\t'))
        text.data++, text.len--;
    while (text.len && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == '\t'))
        text.len--;
    return text;
}

/* Takes what lies before the separator off the front. */
static struct slice split(struct slice *rest, char separator)
{
    const char *at = memchr(rest->data, separator, rest->len);
    struct slice part = slice_of(rest->data, at ? (size_t)(at - rest->data) : rest->len);
    size_t used = part.len + (at ? 1 : 0);
    *rest = slice_of(rest->data + used, rest->len - used);
    return trim(part);
}

/* The weight of one member of Accept in thousandths; 1000 where it has none, 0 where it makes no sense. */
static int weight_of(struct slice parameters)
{
    while (parameters.len) {
        struct slice one = split(&parameters, ';');
        char text[8];
        if (one.len < 3 || strncasecmp(one.data, "q=", 2) != 0)
            continue;
        if (one.len - 2 >= sizeof text)
            return 0;
        memcpy(text, one.data + 2, one.len - 2);
        text[one.len - 2] = '\0';
        char *end;
        double weight = strtod(text, &end);
        return *end == '\0' && weight >= 0 && weight <= 1 ? (int)(weight * 1000) : 0;
    }
    return 1000;
}

static bool is(struct slice type, const char *name)
{
    return type.len == strlen(name) && strncasecmp(type.data, name, type.len) == 0;
}

bool exposition_wants_openmetrics(struct slice accept)
{
    int openmetrics = 0, text = 0;
    while (accept.len) {
        struct slice member = split(&accept, ',');
        if (member.len == 0)
            continue;
        struct slice type = split(&member, ';');
        int weight = weight_of(member);
        if (is(type, "application/openmetrics-text"))
            openmetrics = weight > openmetrics ? weight : openmetrics;
        else if (is(type, "text/plain"))
            text = weight > text ? weight : text;
    }
    return openmetrics > 0 && openmetrics >= text;
}

/* ---- the lines ---- */

void exposition_family(struct exposition *x, enum metric metric)
{
    static const char *const names[] = {
        [COUNTER] = "counter", [GAUGE] = "gauge", [HISTOGRAM] = "histogram", [INFO] = "info"};
    const struct family *family = &families[metric];
    const char *suffix = "", *kind = names[family->kind];
    x->family = metric;
    if (!x->openmetrics && family->kind == COUNTER)
        suffix = "_total";
    if (!x->openmetrics && family->kind == INFO) {
        suffix = "_info";
        kind = names[GAUGE];
    }
    buf_printf(x->to, "# HELP %s%s %s\n# TYPE %s%s %s\n", family->name, suffix, family->text, family->name, suffix,
               kind);
    if (x->openmetrics && *family->unit)
        buf_printf(x->to, "# UNIT %s %s\n", family->name, family->unit);
}

static void put_value(struct buf *to, const char *text)
{
    for (; *text; text++) {
        if (*text == '\\' || *text == '"')
            buf_append_char(to, '\\');
        if (*text == '\n')
            buf_append_str(to, "\\n");
        else
            buf_append_char(to, *text);
    }
}

/* NAME{labels, le="..."} and a space. */
static void put_name(struct exposition *x, const char *suffix, const struct metric_label *labels, size_t n,
                     const char *le)
{
    buf_append_str(x->to, families[x->family].name);
    buf_append_str(x->to, suffix);
    for (size_t i = 0; i < n; i++) {
        buf_printf(x->to, "%s%s=\"", i ? "," : "{", labels[i].name);
        put_value(x->to, labels[i].value);
        buf_append_char(x->to, '"');
    }
    if (le)
        buf_printf(x->to, "%sle=\"%s\"", n ? "," : "{", le);
    buf_append_str(x->to, n || le ? "} " : " ");
}

static const char *suffix_of(const struct exposition *x)
{
    enum kind kind = families[x->family].kind;
    return kind == COUNTER ? "_total" : kind == INFO ? "_info" : "";
}

void exposition_number(struct exposition *x, uint64_t value, const struct metric_label *labels, size_t n)
{
    put_name(x, suffix_of(x), labels, n, NULL);
    buf_append_u64(x->to, value);
    buf_append_char(x->to, '\n');
}

static void put_seconds(struct buf *to, uint64_t ns)
{
    buf_printf(to, "%" PRIu64 ".%09" PRIu64, ns / 1000000000, ns % 1000000000);
}

void exposition_seconds(struct exposition *x, uint64_t ns, const struct metric_label *labels, size_t n)
{
    put_name(x, suffix_of(x), labels, n, NULL);
    put_seconds(x->to, ns);
    buf_append_char(x->to, '\n');
}

static void put_hex(struct buf *to, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_printf(to, "%02x", bytes[i]);
}

static void put_exemplar(struct exposition *x, const struct metric_exemplar *exemplar)
{
    if (!x->openmetrics || !exemplar->at_us)
        return;
    buf_append_str(x->to, " # {trace_id=\"");
    put_hex(x->to, exemplar->trace.trace_id, sizeof exemplar->trace.trace_id);
    buf_append_str(x->to, "\",span_id=\"");
    put_hex(x->to, exemplar->trace.span_id, sizeof exemplar->trace.span_id);
    buf_append_str(x->to, "\"} ");
    put_seconds(x->to, (uint64_t)exemplar->value_ns);
    buf_printf(x->to, " %" PRId64 ".%06" PRId64, exemplar->at_us / 1000000, exemplar->at_us % 1000000);
}

/* A bound as both formats write it: OpenMetrics wants a point in every one. */
static void format_bound(const struct exposition *x, size_t bucket, char out[32])
{
    if (bucket == METRIC_BUCKETS - 1) {
        (void)snprintf(out, 32, "+Inf");
        return;
    }
    double bound = metric_bounds[bucket];
    (void)snprintf(out, 32, x->openmetrics && bound >= 1 ? "%.1f" : "%g", bound);
}

void exposition_histogram(struct exposition *x, const struct metric_histogram *histogram,
                          const struct metric_label *labels, size_t n)
{
    uint64_t count = 0;
    char bound[32];
    for (size_t i = 0; i < METRIC_BUCKETS; i++) {
        count += histogram->buckets[i];
        format_bound(x, i, bound);
        put_name(x, "_bucket", labels, n, bound);
        buf_append_u64(x->to, count);
        put_exemplar(x, &histogram->exemplars[i]);
        buf_append_char(x->to, '\n');
    }
    put_name(x, "_sum", labels, n, NULL);
    put_seconds(x->to, histogram->sum_ns);
    buf_append_char(x->to, '\n');
    put_name(x, "_count", labels, n, NULL);
    buf_append_u64(x->to, count);
    buf_append_char(x->to, '\n');
}

void exposition_end(struct exposition *x)
{
    if (x->openmetrics)
        buf_append_str(x->to, "# EOF\n");
}
