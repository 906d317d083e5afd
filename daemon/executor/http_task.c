/* A configured URL: its settings, one attempt at it, and what its answer means for the attempt.
 * Called by registry.c and, through the executor's table, by the workers. */
#include "executor/http_task.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"

#define RETRY_AFTER_MAX_US (INT64_C(86400) * 1000000)
#define EXPLANATION_SHOWN 300u /* bytes of an answer's body, in the message of a failure */

/* ---- settings ---- */

void http_task_free(void *arg)
{
    struct http_task *task = arg;
    if (!task)
        return;
    template_release(&task->url);
    template_release(&task->body);
    for (size_t i = 0; i < task->n_fields; i++) {
        template_release(&task->fields[i].value);
        free(task->fields[i].text);
    }
    free(task->fields);
    http_allow_release(&task->allow);
    free(task);
}

__attribute__((format(printf, 4, 5))) static bool refuse(const struct config_task *config, char *error,
                                                         size_t error_size, const char *format, ...)
{
    char what[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(what, sizeof what, format, args);
    va_end(args);
    (void)snprintf(error, error_size, "%s: task \"%.80s\": %s", config->where, config->name, what);
    return false;
}

static bool read_field(struct http_task *task, const char *line, char *error, size_t error_size)
{
    const char *colon = strchr(line, ':'), *fault;
    struct http_field *field = &task->fields[task->n_fields];
    field->name = slice_of(line, (size_t)(colon - line));
    int name_len = (int)(field->name.len < 80 ? field->name.len : 80);
    if (http_field_is_reserved(task->registry_config, field->name))
        return refuse(task->config, error, error_size, "headers: %.*s is set by satcheld itself", name_len, line);
    const char *value = colon + 1 + strspn(colon + 1, " \t");
    size_t len = strlen(value);
    while (len && (value[len - 1] == ' ' || value[len - 1] == '\t'))
        len--;
    field->text = strndup(value, len);
    if (!field->text) {
        (void)snprintf(error, error_size, "out of memory");
        return false;
    }
    task->n_fields++;
    if (template_parse(field->text, &field->value, &fault) < 0)
        return refuse(task->config, error, error_size, "headers: %.*s %s", name_len, line, fault);
    task->uses_after = task->uses_after || template_uses_after(&field->value);
    if (field->name.len == 12 && strncasecmp(line, "Content-Type", 12) == 0)
        task->has_content_type = true;
    return true;
}

static bool content_type_is(const struct http_task *task, const char *what)
{
    for (size_t i = 0; i < task->n_fields; i++)
        if (task->fields[i].name.len == 12 && strncasecmp(task->fields[i].name.data, "Content-Type", 12) == 0)
            return strcasestr(task->fields[i].text, what) != NULL;
    return false;
}

static enum http_body body_kind(const struct http_task *task)
{
    const char *body = task->config->body;
    if (!body)
        return strcmp(task->config->method, "GET") == 0 || strcmp(task->config->method, "DELETE") == 0 ? HTTP_BODY_NONE
                                                                                                       : HTTP_BODY_ARGS;
    if (task->has_content_type)
        return content_type_is(task, "json")                    ? HTTP_BODY_JSON
               : content_type_is(task, "x-www-form-urlencoded") ? HTTP_BODY_FORM
                                                                : HTTP_BODY_TEXT;
    body += strspn(body, " \t\r\n");
    return strncmp(body, "{{", 2) == 0 || (*body && strchr("{[\"", *body)) ? HTTP_BODY_JSON : HTTP_BODY_TEXT;
}

static bool read_settings(struct http_task *task, char *error, size_t error_size)
{
    const struct config_task *config = task->config;
    const char *fault;
    task->fields = calloc(config->headers.n + 1, sizeof *task->fields);
    if (!task->fields || http_allow_init(&task->allow, &config->allow, config->url_from_args) < 0) {
        (void)snprintf(error, error_size, "out of memory");
        return false;
    }
    if (template_parse(config->url, &task->url, &fault) < 0)
        return refuse(config, error, error_size, "url: \"%.80s\" %s", config->url, fault);
    if (config->body && template_parse(config->body, &task->body, &fault) < 0)
        return refuse(config, error, error_size, "body: \"%.80s\" %s", config->body, fault);
    if (template_uses_after(&task->url))
        return refuse(config, error, error_size, "url: results of other tasks cannot be a part of it");
    task->uses_after = template_uses_after(&task->body);
    for (size_t i = 0; i < config->headers.n; i++)
        if (!read_field(task, config->headers.items[i], error, error_size))
            return false;
    task->body_kind = body_kind(task);
    return true;
}

/* An operator who writes an address into the URL should not have to wait for the first task to learn about `allow`. */
static void warn_of_refused(const struct http_task *task)
{
    const char *host = strstr(task->config->url, "://");
    char name[INET6_ADDRSTRLEN];
    union {
        struct sockaddr any;
        struct sockaddr_in four;
        struct sockaddr_in6 six;
    } address = {0};
    if (task->config->url_from_args || !host)
        return;
    host += 3;
    bool bracket = *host == '[';
    size_t len = bracket ? strcspn(++host, "]") : strcspn(host, ":/?#");
    if (len >= sizeof name)
        return;
    memcpy(name, host, len);
    name[len] = '\0';
    if (inet_pton(AF_INET, strcasecmp(name, "localhost") == 0 ? "127.0.0.1" : name, &address.four.sin_addr) == 1)
        address.any.sa_family = AF_INET;
    else if (inet_pton(AF_INET6, name, &address.six.sin6_addr) == 1)
        address.any.sa_family = AF_INET6;
    const char *what = address.any.sa_family ? http_allow_refuses(&task->allow, name, &address.any) : NULL;
    if (what)
        LOG_WARNING("calls of this task type will be refused: its url has an address that its allow does not name",
                    LOG_TEXT("task", task->config->name), LOG_TEXT("where", task->config->where),
                    LOG_TEXT("host", name), LOG_TEXT("address", what));
}

/* ---- an answer ---- */

int64_t http_retry_after_us(const char *value, int64_t now_us)
{
    static const char *const dates[] = {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT",
                                        "%a %b %d %H:%M:%S %Y"};
    size_t digits = strspn(value, "0123456789");
    int64_t pause = -1;
    if (digits && !value[digits])
        pause = digits > 9 ? RETRY_AFTER_MAX_US : strtoll(value, NULL, 10) * 1000000;
    for (size_t i = 0; !digits && i < sizeof dates / sizeof dates[0]; i++) {
        struct tm date = {0};
        const char *end = strptime(value, dates[i], &date);
        if (end && !*end)
            pause = (int64_t)timegm(&date) * 1000000 - now_us;
    }
    if (pause <= 0) /* at once: the backoff decides */
        return -1;
    return pause < RETRY_AFTER_MAX_US ? pause : RETRY_AFTER_MAX_US;
}

static bool may_pass(int status)
{
    return status == 408 || status == 425 || status == 429 || status >= 500;
}

static void end_status(struct attempt *attempt, const struct http_answer *answer)
{
    struct slice body = buf_slice(&answer->body);
    int len = (int)(body.len < EXPLANATION_SHOWN ? body.len : EXPLANATION_SHOWN);
    bool repeat = may_pass(answer->status);
    attempt_fail(attempt, !repeat, ERROR_TYPE_HTTP, "HTTP status %d%s%.*s", answer->status, len ? ": " : "", len,
                 body.data ? body.data : "");
    if (attempt->outcome)
        attempt->outcome->http_status = answer->status;
    if (repeat)
        attempt->retry_after_us = http_retry_after_us(answer->retry_after, clock_wall_us());
}

/* Who chose the host need not be told what it resolves to in this network; the log has it. */
static void end_refused(const struct http_task *task, struct attempt *attempt, const struct http_request *request,
                        const struct http_answer *answer)
{
    bool theirs = task->config->url_from_args || attempt->type->internal;
    const char *address = theirs ? "" : answer->refused_address;
    attempt_fail(attempt, true, ERROR_TYPE_HTTP, "%.200s may not be called: %s%s%s; %s must name it",
                 request->origin.data, address[0] ? address : "it", " is ", answer->refused,
                 attempt->type->internal ? "callback_allow" : "the task's allow");
    LOG_WARNING("an HTTP task was refused its target", LOG_TEXT("task", attempt->type->name),
                LOG_TEXT("target", request->origin.data), LOG_TEXT("address", answer->refused_address),
                LOG_TEXT("reason", answer->refused));
}

static void end_network(const struct http_task *task, struct attempt *attempt, const struct http_request *request,
                        const struct http_answer *answer)
{
    if (answer->refused) {
        end_refused(task, attempt, request, answer);
        return;
    }
    bool final = answer->code == CURLE_URL_MALFORMAT; /* a host that the resolver finds malformed */
    const char *what = answer->detail[0] ? answer->detail : request->curl->easy_strerror(answer->code);
    attempt_fail(attempt, final, answer->code == CURLE_OUT_OF_MEMORY ? ERROR_TYPE_OOM : ERROR_TYPE_HTTP, "%.200s: %s",
                 request->origin.data, what);
}

static void end(const struct http_task *task, struct attempt *attempt, const struct http_request *request,
                const struct http_answer *answer)
{
    bool good = answer->status >= 200 && answer->status < 300;
    if (answer->canceled)
        attempt_end_canceled(attempt);
    else if (answer->status >= 300)
        end_status(attempt, answer);
    else if (good && answer->too_much)
        attempt_fail(attempt, true, ERROR_TYPE_LIMIT, "the answer has more than %zu bytes", attempt->type->max_result);
    else if (good && answer->code == CURLE_OK)
        attempt_succeed_text(attempt, buf_slice(&answer->body));
    else
        end_network(task, attempt, request, answer);
}

/* ---- the call's span ---- */

/* One of few names, or NULL: an answer came, whose status tells. */
static const char *error_of(const struct http_answer *answer)
{
    if (answer->canceled)
        return "canceled";
    if (answer->too_much)
        return "limit";
    if (answer->status && answer->code == CURLE_OK)
        return NULL;
    if (answer->refused)
        return "refused";
    switch ((int)answer->code) {
    case CURLE_OK: return "internal";
    case CURLE_COULDNT_RESOLVE_HOST: return "dns";
    case CURLE_COULDNT_CONNECT: return "connect";
    case CURLE_OPERATION_TIMEDOUT: return "timeout";
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR: return "tls";
    default: return "network";
    }
}

/* Its id is the parent-id that was sent; where no trace was, one of its own. */
static void record_span(const struct http_task *task, const struct attempt *attempt, const struct http_request *request,
                        const struct http_answer *answer, int64_t start_us)
{
    struct span_request span = {.method = task->config->method,
                                .http_status = answer ? answer->status : 0,
                                .error = answer ? error_of(answer) : "internal",
                                .start_ns = start_us * 1000,
                                .end_ns = clock_wall_us() * 1000};
    char *url = NULL;
    for (size_t i = 0; i < sizeof span.span_id && request->span[0]; i++)
        (void)sscanf(request->span + 2 * i, "%2hhx", &span.span_id[i]);
    if (!request->span[0])
        random_bytes(span.span_id, sizeof span.span_id);
    if (request->curl->url_get(request->url, CURLUPART_URL, &url, 0) != CURLUE_OK)
        url = NULL;
    span.url = slice_str(url ? url : "");
    spans_client(attempt->spans, attempt->spec, attempt->number, attempt->type->own_trace, &span);
    request->curl->free(url);
}

void http_task_run(const struct http_task *task, struct attempt *attempt,
                   bool (*prepare)(struct attempt *attempt, struct http_request *request))
{
    struct http_request request;
    struct http_answer answer;
    const char *why = NULL;
    const struct curl_functions *curl = curl_load(&why);
    if (!curl) {
        attempt_fail(attempt, true, ERROR_TYPE_HTTP, "%s", why);
        return;
    }
    if (!http_request_fill(task, attempt, curl, &request))
        return;
    if (prepare && !prepare(attempt, &request)) {
        http_request_release(&request);
        return;
    }
    int64_t start_ns = clock_mono_ns(), start_us = clock_wall_us();
    int err = http_exchange(task, &request, attempt, &answer);
    if (attempt->spans)
        record_span(task, attempt, &request, err < 0 ? NULL : &answer, start_us);
    if (err < 0) {
        attempt_fail(attempt, false, err == -ENOMEM ? ERROR_TYPE_OOM : ERROR_TYPE_HTTP, "%.200s: cannot be called: %s",
                     request.origin.data, strerrordesc_np(-err));
    } else {
        if (answer.sent)
            attempt_sent(attempt, "http", buf_slice(&request.origin));
        end(task, attempt, &request, &answer);
        LOG_DEBUG("HTTP call", LOG_TEXT("method", task->config->method), LOG_TEXT("target", request.origin.data),
                  LOG_NUMBER("status", answer.status), LOG_TEXT("call_span_id", request.span),
                  LOG_NUMBER("us", (clock_mono_ns() - start_ns) / 1000));
        http_answer_release(&answer);
    }
    http_request_release(&request);
}

static void run_http(const struct task_type *type, struct attempt *attempt)
{
    http_task_run(type->detail, attempt, NULL);
}

static const struct executor http_executor = {"http", run_http};

struct http_task *http_task_new(const struct config_task *config, const struct config *all, char *error,
                                size_t error_size)
{
    static _Atomic uint64_t policies;
    struct http_task *task = calloc(1, sizeof *task);
    if (!task) {
        (void)snprintf(error, error_size, "out of memory");
        return NULL;
    }
    task->config = config;
    task->registry_config = all;
    task->policy = atomic_fetch_add(&policies, 1) + 1;
    if (read_settings(task, error, error_size))
        return task;
    http_task_free(task);
    return NULL;
}

int http_register(struct registry *registry, const struct config_task *config, char *error, size_t error_size)
{
    struct http_task *task = http_task_new(config, registry->config, error, error_size);
    if (!task)
        return -1;
    struct task_type type = {.name = config->name,
                             .executor = &http_executor,
                             .detail = task,
                             .timeout_us = config->timeout_us,
                             .concurrency = config->concurrency,
                             .tenant_concurrency = config->tenant_concurrency,
                             .propagate = config->propagate,
                             .own_trace = config->own_trace};
    if (registry_add(registry, &type, (struct type_owner){config->where, http_task_free, task}, error, error_size) <
        0) {
        http_task_free(task);
        return -1;
    }
    warn_of_refused(task);
    return 0;
}
