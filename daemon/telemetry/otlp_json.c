/* What a span looks like on the wire: names and attributes of OpenTelemetry's messaging conventions.
 * Flow: otlp.c -> here.  Ids are hex, times decimal strings, enums numbers. */
#include "telemetry/otlp_json.h"

#include "config.h"

#include <inttypes.h>
#include <stdio.h>

#include "proto/json_out.h"

#define FLAG_REMOTE_KNOWN 0x100
#define FLAG_REMOTE 0x200
#define STATUS_ERROR 2

/* ---- the small forms ---- */

static void member_hex(struct json_out *j, const char *key, const uint8_t *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    char text[32];
    for (size_t i = 0; i < n; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    json_out_member(j, key, slice_of(text, 2 * n));
}

/* 64-bit numbers are strings in the JSON form of protocol buffers. */
static void member_i64_text(struct json_out *j, const char *key, int64_t value)
{
    char text[24];
    int len = snprintf(text, sizeof text, "%" PRId64, value);
    json_out_member(j, key, slice_of(text, (size_t)len));
}

static void attribute(struct json_out *j, const char *key, struct slice value)
{
    json_out_begin_object(j);
    json_out_member(j, "key", slice_str(key));
    json_out_key(j, "value");
    json_out_begin_object(j);
    json_out_member(j, "stringValue", value);
    json_out_end_object(j);
    json_out_end_object(j);
}

static void attribute_number(struct json_out *j, const char *key, int64_t value)
{
    json_out_begin_object(j);
    json_out_member(j, "key", slice_str(key));
    json_out_key(j, "value");
    json_out_begin_object(j);
    member_i64_text(j, "intValue", value);
    json_out_end_object(j);
    json_out_end_object(j);
}

/* ---- what the task knows ---- */

static void attribute_id(struct json_out *j, const char *key, struct task_id id)
{
    char text[TASK_ID_TEXT_SIZE];
    task_id_format(id, text);
    attribute(j, key, slice_str(text));
}

/* A variable of the submission's context, as text, where it is bound. */
static void attribute_known(struct json_out *j, const char *key, const struct task_spec *spec, satchel_known which)
{
    satchel_value *value;
    char text[512];
    satchel_context *context = task_context(spec);
    if (!context || satchel_context_get(context, satchel_known_var(which), &value) != SATCHEL_OK)
        return;
    size_t len = satchel_value_text(value, text, sizeof text);
    if (len < sizeof text)
        attribute(j, key, slice_of(text, len));
    satchel_value_unref(value);
}

static void messaging(struct json_out *j, const struct span *span, const char *operation)
{
    const struct task_spec *spec = span->spec;
    attribute(j, "messaging.system", SLICE_LITERAL("satchel"));
    attribute(j, "messaging.operation.name", slice_str(operation));
    attribute(j, "messaging.operation.type", slice_str(operation));
    attribute(j, "messaging.destination.name", spec->name);
    attribute_id(j, "messaging.message.id", spec->id);
    attribute_known(j, "messaging.message.conversation_id", spec, SATCHEL_CORRELATION_ID);
    attribute(j, "satchel.tenant", spec->tenant);
    attribute_known(j, "satchel.request_id", spec, SATCHEL_REQUEST_ID);
    if (!task_id_is_none(spec->parent))
        attribute_id(j, "satchel.task.parent_id", spec->parent);
}

static void consumer_attributes(struct json_out *j, const struct span *span)
{
    messaging(j, span, "process");
    attribute_number(j, "satchel.task.attempt", span->attempt);
    if (span->has_exit_code)
        attribute_number(j, "process.exit.code", span->exit_code);
    if (span->http_status)
        attribute_number(j, "http.response.status_code", span->http_status);
    if (span->outcome && span->outcome->signal_number)
        attribute_number(j, "satchel.task.signal", span->outcome->signal_number);
    if (span->outcome)
        attribute(j, "error.type", slice_str(error_type_name(span->outcome->error)));
    else if (span->lost)
        attribute(j, "error.type", slice_str(error_type_name(ERROR_TYPE_LOST)));
}

/* "http://host:8080/path" gives host and 8080; the scheme's own port where none is named. */
static void attribute_server(struct json_out *j, const char *url)
{
    const char *host = strstr(url, "://");
    if (!host)
        return;
    int64_t port = strncmp(url, "https", 5) == 0 ? 443 : 80;
    host += 3;
    size_t len = strcspn(host, "/");
    const char *bracket = *host == '[' ? memchr(host, ']', len) : NULL;
    const char *colon = memrchr(host, ':', len);
    if (colon && (!bracket || colon > bracket)) {
        int64_t named = 0;
        for (const char *at = colon + 1; at < host + len && *at >= '0' && *at <= '9' && named < 65536; at++)
            named = named * 10 + (*at - '0');
        port = named ? named : port;
        len = (size_t)(colon - host);
    }
    if (bracket && len >= 2) {
        host++;
        len -= 2;
    }
    attribute(j, "server.address", slice_of(host, len));
    attribute_number(j, "server.port", port);
}

static void client_attributes(struct json_out *j, const struct span *span)
{
    char status[16];
    attribute(j, "http.request.method", slice_str(span->method));
    attribute(j, "url.full", slice_str(span->url));
    attribute_server(j, span->url);
    attribute_id(j, "messaging.message.id", span->spec->id);
    attribute(j, "satchel.tenant", span->spec->tenant);
    attribute_number(j, "satchel.task.attempt", span->attempt);
    if (span->http_status)
        attribute_number(j, "http.response.status_code", span->http_status);
    if (span->error) {
        attribute(j, "error.type", slice_str(span->error));
    } else if (span->http_status >= 400) {
        int len = snprintf(status, sizeof status, "%d", span->http_status);
        attribute(j, "error.type", slice_of(status, (size_t)len));
    }
}

/* ---- the span ---- */

static void link_to(struct json_out *j, const uint8_t trace_id[16], const uint8_t span_id[8], unsigned flags)
{
    json_out_begin_object(j);
    member_hex(j, "traceId", trace_id, 16);
    member_hex(j, "spanId", span_id, 8);
    json_out_member_i64(j, "flags", flags);
    json_out_end_object(j);
}

/* The submission, and the attempt before. */
static void write_links(struct json_out *j, const struct span *span, const satchel_trace *submission)
{
    unsigned flags = submission->flags | FLAG_REMOTE_KNOWN | FLAG_REMOTE;
    json_out_key(j, "links");
    json_out_begin_array(j);
    link_to(j, submission->trace_id, submission->span_id, flags);
    if (span->attempt > 1) {
        uint8_t trace_id[16], before[8];
        memcpy(trace_id, submission->trace_id, sizeof trace_id);
        if (span->own_trace)
            task_id_attempt_trace(span->spec->id, span->attempt - 1, trace_id);
        task_id_attempt_span(span->spec->id, span->attempt - 1, before);
        link_to(j, trace_id, before, flags);
    }
    json_out_end_array(j);
}

static void write_status(struct json_out *j, const struct span *span)
{
    char text[64];
    struct slice message = {0};
    if (span->outcome)
        message = slice_str(span->outcome->message);
    else if (span->lost)
        message = SLICE_LITERAL("the attempt was cut off");
    else if (span->error)
        message = slice_str(span->error);
    else if (span->kind == SPAN_CLIENT && span->http_status >= 400)
        message = slice_of(text, (size_t)snprintf(text, sizeof text, "the server answered %d", span->http_status));
    if (!message.data)
        return;
    json_out_key(j, "status");
    json_out_begin_object(j);
    json_out_member(j, "message", message);
    json_out_member_i64(j, "code", STATUS_ERROR);
    json_out_end_object(j);
}

static void write_name(struct json_out *j, const struct span *span)
{
    char name[256];
    const struct task_spec *spec = span->spec;
    if (span->kind == SPAN_CLIENT)
        (void)snprintf(name, sizeof name, "%s", span->method);
    else
        (void)snprintf(name, sizeof name, "%s %.*s", span->kind == SPAN_PRODUCER ? "send" : "process",
                       (int)spec->name.len, spec->name.data);
    json_out_member(j, "name", slice_str(name));
}

static bool is_zero(const uint8_t *bytes, size_t n)
{
    uint8_t any = 0;
    for (size_t i = 0; i < n; i++)
        any |= bytes[i];
    return any == 0;
}

/* Ids, flags: of the span itself and of its parent. */
static void write_place(struct json_out *j, const struct span *span, const satchel_trace *submission)
{
    const struct task_spec *spec = span->spec;
    uint8_t trace_id[16], span_id[8], parent[8] = {0};
    unsigned flags = submission->flags | FLAG_REMOTE_KNOWN;
    memcpy(trace_id, submission->trace_id, sizeof trace_id);
    if (span->own_trace)
        task_id_attempt_trace(spec->id, span->attempt, trace_id);
    if (span->kind == SPAN_PRODUCER) {
        memcpy(span_id, submission->span_id, sizeof span_id);
        memcpy(parent, spec->parent_span, sizeof parent);
        if (!task_id_is_none(spec->parent))
            flags = submission->flags; /* from a handler in here, or from a child process: not known */
        else if (!is_zero(parent, sizeof parent))
            flags |= FLAG_REMOTE;
    } else if (span->kind == SPAN_CONSUMER) {
        task_id_attempt_span(spec->id, span->attempt, span_id);
        if (!span->own_trace) {
            memcpy(parent, submission->span_id, sizeof parent);
            flags |= FLAG_REMOTE; /* it was stored and read back */
        }
    } else {
        memcpy(span_id, span->span_id, sizeof span_id);
        task_id_attempt_span(spec->id, span->attempt, parent);
    }
    member_hex(j, "traceId", trace_id, sizeof trace_id);
    member_hex(j, "spanId", span_id, sizeof span_id);
    if (!is_zero(parent, sizeof parent))
        member_hex(j, "parentSpanId", parent, sizeof parent);
    json_out_member_i64(j, "flags", flags);
}

static void write_tracestate(struct json_out *j, const struct span *span)
{
    satchel_value *value;
    satchel_context *context = span->own_trace ? NULL : task_context(span->spec); /* a trace of its own has none */
    if (!context || satchel_context_get(context, satchel_known_var(SATCHEL_TRACESTATE), &value) != SATCHEL_OK)
        return;
    json_out_member(j, "traceState", slice_str(satchel_value_data(value)));
    satchel_value_unref(value);
}

static void write_span(struct json_out *j, const struct span *span)
{
    satchel_trace submission;
    if (!span_trace_of(span->spec, &submission)) /* not reached: only spans of a trace are recorded */
        return;
    json_out_begin_object(j);
    write_place(j, span, &submission);
    write_tracestate(j, span);
    write_name(j, span);
    json_out_member_i64(j, "kind", span->kind);
    member_i64_text(j, "startTimeUnixNano", span->start_ns);
    member_i64_text(j, "endTimeUnixNano", span->end_ns);
    json_out_key(j, "attributes");
    json_out_begin_array(j);
    if (span->kind == SPAN_PRODUCER)
        messaging(j, span, "send");
    else if (span->kind == SPAN_CONSUMER)
        consumer_attributes(j, span);
    else
        client_attributes(j, span);
    json_out_end_array(j);
    if (span->kind == SPAN_CONSUMER)
        write_links(j, span, &submission);
    write_status(j, span);
    json_out_end_object(j);
}

/* ---- the request ---- */

static void write_resource(struct json_out *j, const struct otlp_pair *resource, size_t n)
{
    json_out_key(j, "resource");
    json_out_begin_object(j);
    json_out_key(j, "attributes");
    json_out_begin_array(j);
    for (size_t i = 0; i < n; i++)
        attribute(j, resource[i].key, slice_str(resource[i].value));
    json_out_end_array(j);
    json_out_end_object(j);
}

void otlp_encode(const struct span *spans, size_t n, const struct otlp_pair *resource, size_t n_resource,
                 struct buf *out)
{
    struct json_out j = json_out_to(out);
    json_out_begin_object(&j);
    json_out_key(&j, "resourceSpans");
    json_out_begin_array(&j);
    json_out_begin_object(&j);
    write_resource(&j, resource, n_resource);
    json_out_key(&j, "scopeSpans");
    json_out_begin_array(&j);
    json_out_begin_object(&j);
    json_out_key(&j, "scope");
    json_out_begin_object(&j);
    json_out_member(&j, "name", SLICE_LITERAL("satchel"));
    json_out_member(&j, "version", SLICE_LITERAL(PACKAGE_VERSION));
    json_out_end_object(&j);
    json_out_key(&j, "spans");
    json_out_begin_array(&j);
    for (size_t i = 0; i < n; i++)
        write_span(&j, &spans[i]);
    json_out_end_array(&j);
    json_out_end_object(&j);
    json_out_end_array(&j);
    json_out_end_object(&j);
    json_out_end_array(&j);
    json_out_end_object(&j);
}
