/* One attempt's request.  Values from the args are put in for their place: percent-encoded in a URL, escaped in JSON,
 * refused where they could end a header line.  The context's header lines are what the task type's `propagate` lets
 * out, never secret variables, and the trace's parent-id is a span of the call's own.
 * Called by http_task.c.  Thread: the attempt's worker, inside the attempt's context. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "executor/http_task.h"
#include "proto/json_out.h"
#include "task/propagate.h"

#define URL_MAX 16384u
#define FIELD_MAX 16384u

static bool is_unreserved(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c && strchr("-._~", c));
}

static void append_encoded(struct buf *out, struct slice text)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        char code[3] = {'%', hex[c >> 4], hex[c & 15]};
        if (is_unreserved((char)c))
            buf_append_char(out, (char)c);
        else
            buf_append(out, code, sizeof code);
    }
}

/* ---- the URL ---- */

/* Is the end of this beginning of a URL still within scheme and host? */
static bool in_authority(struct slice url)
{
    const char *slashes = memmem(url.data, url.len, "://", 3);
    size_t start = slashes ? (size_t)(slashes - url.data) + 3 : 0;
    for (size_t i = start; i < url.len; i++)
        if (strchr("/?#", url.data[i]))
            return false;
    return true;
}

static bool fits_host(struct slice value)
{
    for (size_t i = 0; i < value.len; i++)
        if (!is_unreserved(value.data[i]) || value.data[i] == '_' || value.data[i] == '~')
            return false;
    return value.len > 0;
}

/* "/./", "/../" and their encoded forms: a server would take them for a way to another place. */
static bool has_dot_segment(const char *url)
{
    const char *at = strstr(url, "://");
    at = at ? at + 3 + strcspn(at + 3, "/?#") : url;
    while (*at == '/') {
        unsigned dots = 0;
        const char *c = at + 1;
        for (; *c == '.' || strncasecmp(c, "%2e", 3) == 0; c += *c == '.' ? 1 : 3)
            dots++;
        if ((dots == 1 || dots == 2) && strchr("/?#", *c))
            return true;
        at = c + strcspn(c, "/?#");
    }
    return false;
}

static bool expand_url(const struct http_task *task, const struct template_values *values, struct buf *out,
                       char error[TEMPLATE_ERROR_SIZE])
{
    bool path_template = false;
    for (size_t i = 0; i < task->url.n; i++) {
        const struct template_part *part = &task->url.parts[i];
        struct buf value = BUF_INIT;
        bool good = template_part_expand(part, values, false, &value, error);
        if (good && (!part->is_path || i == 0)) { /* what the URL begins with is a URL itself */
            buf_append_slice(out, buf_slice(&value));
        } else if (good && in_authority(buf_slice(out))) {
            good = fits_host(buf_slice(&value));
            buf_append_slice(out, buf_slice(&value));
            if (!good)
                (void)snprintf(error, TEMPLATE_ERROR_SIZE, "args.%.*s cannot be a part of a host's name",
                               (int)part->text.len, part->text.data);
        } else if (good) {
            append_encoded(out, buf_slice(&value));
            path_template = true;
        }
        out->failed = out->failed || value.failed;
        buf_release(&value);
        if (!good)
            return false;
    }
    if (buf_ok(out) && path_template && has_dot_segment(out->data)) {
        (void)snprintf(error, TEMPLATE_ERROR_SIZE, "the args make \".\" or \"..\" of a part of the URL's path");
        return false;
    }
    return true;
}

static const char *fault_of(CURLUcode code)
{
    switch ((int)code) {
    case CURLUE_BAD_SCHEME:
    case CURLUE_UNSUPPORTED_SCHEME: return "must begin with http:// or https://";
    case CURLUE_USER_NOT_ALLOWED: return "must not hold a user name or a password";
    case CURLUE_BAD_PORT_NUMBER: return "has a bad port number";
    case CURLUE_NO_HOST:
    case CURLUE_BAD_HOSTNAME:
    case CURLUE_BAD_IPV6: return "has no host that could be understood";
    default: return "cannot be understood";
    }
}

/* Takes the URL apart with the parser that the connection is made by, so that both see the same host. */
static const char *parse_url(struct http_request *r, const struct buf *text)
{
    char *scheme = NULL, *port = NULL;
    if (text->len > URL_MAX)
        return "is too long";
    size_t scheme_len = strncasecmp(text->data, "http://", 7) == 0    ? 7
                        : strncasecmp(text->data, "https://", 8) == 0 ? 8
                                                                      : 0;
    if (!scheme_len) /* libcurl would take one slash or three, too */
        return fault_of(CURLUE_UNSUPPORTED_SCHEME);
    if (text->data[scheme_len] == '/')
        return fault_of(CURLUE_NO_HOST);
    if (memchr(text->data + scheme_len, '@', strcspn(text->data + scheme_len, "/?#")))
        return fault_of(CURLUE_USER_NOT_ALLOWED); /* an empty one, too */
    for (size_t i = 0; i < text->len; i++)
        if ((unsigned char)text->data[i] <= 0x20 || text->data[i] == 0x7f)
            return "has a space or a control character";
    CURLUcode code = r->curl->url_set(r->url, CURLUPART_URL, text->data, CURLU_DISALLOW_USER | CURLU_URLENCODE);
    if (code == CURLUE_OK)
        code = r->curl->url_get(r->url, CURLUPART_SCHEME, &scheme, 0);
    if (code == CURLUE_OK)
        code = r->curl->url_get(r->url, CURLUPART_HOST, &r->host, 0);
    if (code == CURLUE_OK)
        code = r->curl->url_get(r->url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT);
    if (code == CURLUE_OK) {
        (void)r->curl->url_set(r->url, CURLUPART_FRAGMENT, NULL, 0);
        buf_printf(&r->origin, "%s://%.255s:%s", scheme, r->host, port);
    }
    r->curl->free(scheme);
    r->curl->free(port);
    return code == CURLUE_OK ? NULL : fault_of(code);
}

static bool fill_url(const struct http_task *task, const struct template_values *values, struct http_request *r,
                     char error[TEMPLATE_ERROR_SIZE])
{
    struct buf text = BUF_INIT;
    bool good = expand_url(task, values, &text, error);
    r->url = good && buf_ok(&text) && text.data ? r->curl->url() : NULL;
    if (good && !r->url && text.len == 0 && buf_ok(&text)) {
        (void)snprintf(error, TEMPLATE_ERROR_SIZE, "the URL is empty");
        good = false;
    }
    const char *fault = r->url ? parse_url(r, &text) : NULL;
    if (fault) {
        (void)snprintf(error, TEMPLATE_ERROR_SIZE, "the URL %s", fault);
        good = false;
    }
    buf_release(&text);
    return good; /* r->url NULL: no memory */
}

/* ---- the body ---- */

/* Does the template's JSON stand within a string behind this text? */
static bool in_string_after(struct slice text, bool in_string)
{
    for (size_t i = 0; i < text.len; i++) {
        if (in_string && text.data[i] == '\\')
            i++;
        else if (text.data[i] == '"')
            in_string = !in_string;
    }
    return in_string;
}

static bool append_in_string(const struct template_part *part, const struct template_values *values, struct buf *out,
                             char error[TEMPLATE_ERROR_SIZE])
{
    struct buf value = BUF_INIT, quoted = BUF_INIT;
    bool good = template_part_expand(part, values, false, &value, error);
    if (good) {
        struct json_out j = json_out_to(&quoted);
        json_out_string(&j, buf_slice(&value));
        if (buf_ok(&value) && buf_ok(&quoted))
            buf_append(out, quoted.data + 1, quoted.len - 2);
        else
            out->failed = true;
    }
    buf_release(&quoted);
    buf_release(&value);
    return good;
}

static bool append_form(const struct template_part *part, const struct template_values *values, struct buf *out,
                        char error[TEMPLATE_ERROR_SIZE])
{
    struct buf value = BUF_INIT;
    bool good = template_part_expand(part, values, false, &value, error);
    append_encoded(out, buf_slice(&value));
    out->failed = out->failed || value.failed;
    buf_release(&value);
    return good;
}

static bool fill_body(const struct http_task *task, const struct template_values *values, struct buf *out,
                      char error[TEMPLATE_ERROR_SIZE])
{
    bool in_string = false, good = true;
    if (task->body_kind == HTTP_BODY_ARGS)
        buf_append_slice(out, values->args);
    for (size_t i = 0; good && i < task->body.n; i++) {
        const struct template_part *part = &task->body.parts[i];
        if (!part->is_path) {
            in_string = in_string_after(part->text, in_string);
            buf_append_slice(out, part->text);
        } else if (task->body_kind == HTTP_BODY_JSON) {
            good = in_string ? append_in_string(part, values, out, error)
                             : template_part_expand(part, values, true, out, error);
        } else if (task->body_kind == HTTP_BODY_FORM) {
            good = append_form(part, values, out, error);
        } else {
            good = template_part_expand(part, values, false, out, error);
        }
    }
    return good;
}

/* ---- the header lines ---- */

static const char *const framing[] = {"Host",
                                      "Content-Length",
                                      "Transfer-Encoding",
                                      "Connection",
                                      "Keep-Alive",
                                      "TE",
                                      "Trailer",
                                      "Upgrade",
                                      "Expect",
                                      "Proxy-Connection",
                                      "Cookie2",
                                      "Proxy-Authenticate",
                                      "Proxy-Authorization",
                                      "HTTP2-Settings"};

static bool same_name(struct slice name, const char *other)
{
    return other && strlen(other) == name.len && strncasecmp(other, name.data, name.len) == 0;
}

static bool is_framing(struct slice name)
{
    for (size_t i = 0; i < sizeof framing / sizeof framing[0]; i++)
        if (same_name(name, framing[i]))
            return true;
    return false;
}

bool http_field_is_reserved(const struct config *config, struct slice name)
{
    static const char *const others[] = {"X-Tenant-ID", "X-Scope-OrgID", "b3"};
    static const char *const prefixes[] = {"X-Satchel-", "X-B3-"};
    if (is_framing(name) || same_name(name, config->tenant_header))
        return true;
    for (int which = 0; which < SATCHEL_KNOWN_COUNT; which++)
        if (same_name(name, satchel_var_header(satchel_known_var((satchel_known)which))))
            return true;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (same_name(name, others[i]))
            return true;
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (name.len > strlen(prefixes[i]) && strncasecmp(name.data, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    for (size_t i = 0; i < config->n_headers; i++)
        if (same_name(name, config->headers[i].header))
            return true;
    return false;
}

static bool add_field(struct http_request *r, struct slice name, struct slice value)
{
    struct buf line = BUF_INIT;
    buf_append_slice(&line, name);
    buf_append_str(&line, value.len ? ": " : ";"); /* libcurl's way of saying "Name:" with nothing behind */
    buf_append_slice(&line, value);
    struct curl_slist *longer = buf_ok(&line) ? r->curl->slist_append(r->fields, line.data) : NULL;
    buf_release(&line);
    if (longer)
        r->fields = longer;
    return longer != NULL;
}

bool http_request_add(struct http_request *request, const char *name, struct slice value)
{
    return add_field(request, slice_str(name), value);
}

static int put_field(const char *name, const char *value, size_t len, void *arg)
{
    if (is_framing(slice_str(name))) /* a variable of a plugin's own choice */
        return 0;
    return add_field(arg, slice_str(name), slice_of(value, len)) ? 0 : SATCHEL_ENOMEM;
}

static int keep_secret(satchel_var *var, void *data, void *arg)
{
    (void)data;
    (void)arg;
    return satchel_var_flags(var) & SATCHEL_VAR_SECRET ? satchel_unset(var, NULL) : SATCHEL_OK;
}

/* The call's own span below the attempt's, where a trace may be told at all. */
static int set_span(char span[17])
{
    satchel_trace attempt, call;
    int status = satchel_trace_current(&attempt);
    if (status == SATCHEL_UNSET)
        return SATCHEL_OK;
    if (status == SATCHEL_OK)
        status = satchel_trace_child(&attempt, &call);
    if (status == SATCHEL_OK)
        status = satchel_set_trace(&call, NULL);
    for (size_t i = 0; status == SATCHEL_OK && i < sizeof call.span_id; i++)
        (void)snprintf(span + 2 * i, 3, "%02x", call.span_id[i]);
    return status;
}

static bool add_context(const struct task_type *type, struct http_request *r)
{
    satchel_context *context = propagate_permitted(type->propagate);
    if (!context || satchel_context_enter(context) != SATCHEL_OK) {
        satchel_context_unref(context);
        return false;
    }
    int status = satchel_context_each(context, keep_secret, NULL);
    if (status == SATCHEL_OK)
        status = set_span(r->span);
    (void)satchel_context_exit(context);
    if (status == SATCHEL_OK)
        status = satchel_inject(context, put_field, r);
    satchel_context_unref(context);
    return status == SATCHEL_OK;
}

/* False and `error`: a value may not stand in a header line; false without: no memory. */
static bool add_configured(const struct http_task *task, const struct template_values *values, struct http_request *r,
                           char error[TEMPLATE_ERROR_SIZE])
{
    bool good = true;
    for (size_t i = 0; good && i < task->n_fields; i++) {
        const struct http_field *field = &task->fields[i];
        struct buf value = BUF_INIT;
        good = template_expand(&field->value, values, true, &value, error);
        for (size_t at = 0; good && at < value.len; at++)
            good = ((unsigned char)value.data[at] >= 0x20 || value.data[at] == '\t') && value.data[at] != 0x7f;
        if (!good && !error[0])
            (void)snprintf(error, TEMPLATE_ERROR_SIZE, "the args put a control character into the header %.*s",
                           (int)(field->name.len < 80 ? field->name.len : 80), field->name.data);
        if (good && value.len > FIELD_MAX) {
            (void)snprintf(error, TEMPLATE_ERROR_SIZE, "the args make the header %.*s longer than %u bytes",
                           (int)(field->name.len < 80 ? field->name.len : 80), field->name.data, FIELD_MAX);
            good = false;
        }
        good = good && buf_ok(&value) && add_field(r, field->name, buf_slice(&value));
        buf_release(&value);
    }
    return good;
}

/* Which tasks it waited for, so that the other side can ask for what they did. */
static bool add_after(const struct task_spec *spec, struct http_request *r)
{
    struct buf ids = BUF_INIT;
    if (!spec->after.len)
        return true;
    task_after_list(spec, ", ", &ids);
    bool good = buf_ok(&ids) && add_field(r, SLICE_LITERAL("X-Satchel-After"), buf_slice(&ids));
    buf_release(&ids);
    return good;
}

static bool add_own(const struct http_task *task, const struct attempt *attempt, struct http_request *r)
{
    const char *reason = attempt_retry_reason(attempt), *content = NULL;
    if (!task->has_content_type && task->body_kind != HTTP_BODY_NONE)
        content = task->body_kind == HTTP_BODY_TEXT ? "text/plain; charset=utf-8" : "application/json";
    return add_after(attempt->spec, r) &&
           (!reason || add_field(r, SLICE_LITERAL("X-Satchel-Retry-Reason"), slice_str(reason))) &&
           (!content || add_field(r, SLICE_LITERAL("Content-Type"), slice_str(content))) &&
           r->curl->slist_append(r->fields, "Expect:") != NULL; /* none: the body follows at once */
}

/* ---- all of it ---- */

bool http_request_fill(const struct http_task *task, struct attempt *attempt, const struct curl_functions *curl,
                       struct http_request *ret)
{
    struct http_request r = {.curl = curl};
    struct buf after = BUF_INIT;
    char error[TEMPLATE_ERROR_SIZE] = "";
    bool read = !task->uses_after || attempt_after(attempt, &after, error, sizeof error);
    const struct template_values values = {attempt->spec->args, buf_slice(&after)};
    bool good = read && fill_url(task, &values, &r, error) && r.url && fill_body(task, &values, &r.body, error) &&
                buf_ok(&r.body) && buf_ok(&r.origin) && add_configured(task, &values, &r, error) &&
                add_context(attempt->type, &r) && add_own(task, attempt, &r);
    buf_release(&after);
    if (good) {
        *ret = r;
        return true;
    }
    if (error[0])
        attempt_fail(attempt, read, ERROR_TYPE_HTTP, "%s", error);
    else
        attempt_fail(attempt, false, ERROR_TYPE_OOM, "no memory for the request");
    http_request_release(&r);
    return false;
}

void http_request_release(struct http_request *request)
{
    request->curl->free(request->host);
    request->curl->url_cleanup(request->url);
    request->curl->slist_free_all(request->fields);
    buf_release(&request->body);
    buf_release(&request->origin);
    *request = (struct http_request){0};
}
