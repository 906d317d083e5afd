/* One request and its answer over one of the client's connections; errors in words.  Thread: any. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "client/internal.h"
#include "proto/json_in.h"

int64_t client_now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- errors ---- */

void error_clear(satchel_error *error)
{
    if (error)
        *error = (satchel_error)SATCHEL_ERROR_INIT;
}

int error_set(satchel_error *error, int status, const char *format, ...)
{
    if (!error)
        return status;
    error_clear(error);
    error->status = status;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(error->detail, sizeof error->detail, format, args);
    va_end(args);
    return status;
}

static void copy_member(const json_t *object, const char *key, char *out, size_t size)
{
    const char *text = json_string_value(json_object_get(object, key));
    if (text)
        (void)snprintf(out, size, "%s", text);
}

static void copy_pointers(const json_t *errors, satchel_error *error)
{
    size_t at = 0, i;
    const json_t *entry;
    json_array_foreach(errors, i, entry)
    {
        const char *pointer = json_string_value(json_object_get(entry, "pointer"));
        const char *detail = json_string_value(json_object_get(entry, "detail"));
        int n = snprintf(error->pointers + at, sizeof error->pointers - at, "%s%s: %s", at ? "\n" : "",
                         pointer && *pointer ? pointer : "/", detail ? detail : "");
        if (n < 0 || (size_t)n >= sizeof error->pointers - at)
            return;
        at += (size_t)n;
    }
}

static int status_of(int http)
{
    switch (http) {
    case 401:
    case 403: return SATCHEL_EDENIED;
    case 404:
    case 410: return SATCHEL_ENOTFOUND;
    case 409: return SATCHEL_ECONFLICT;
    case 429:
    case 503: return SATCHEL_EAGAIN;
    default: return http >= 500 ? SATCHEL_ESERVER : http >= 400 ? SATCHEL_EREFUSED : SATCHEL_EPROTOCOL;
    }
}

/* What the daemon said, as far as it can be understood. */
static int refused(const struct response *response, satchel_error *error)
{
    int status = status_of(response->status);
    if (!error)
        return status;
    error_clear(error);
    error->status = status;
    error->http_status = response->status;
    error->retry_after_s = response->retry_after_s;
    char why[JSON_IN_ERROR_SIZE];
    json_t *problem = json_in_load(buf_slice(&response->body), 32, why);
    if (json_is_object(problem)) {
        copy_member(problem, "type", error->type, sizeof error->type);
        copy_member(problem, "title", error->title, sizeof error->title);
        copy_member(problem, "detail", error->detail, sizeof error->detail);
        copy_pointers(json_object_get(problem, "errors"), error);
    } else {
        (void)snprintf(error->detail, sizeof error->detail, "the answer was HTTP status %d without an explanation",
                       response->status);
    }
    json_decref(problem);
    return status;
}

/* ---- connections ---- */

static CURL *borrow(satchel_client *client)
{
    CURL *handle = NULL;
    (void)pthread_mutex_lock(&client->lock);
    if (client->n_idle)
        handle = client->idle[--client->n_idle];
    (void)pthread_mutex_unlock(&client->lock);
    return handle ? handle : client->curl->easy_init();
}

static void give_back(satchel_client *client, CURL *handle)
{
    client->curl->easy_reset(handle); /* keeps its connection */
    (void)pthread_mutex_lock(&client->lock);
    bool kept = client->n_idle < CONNECTIONS_KEPT;
    if (kept)
        client->idle[client->n_idle++] = handle;
    (void)pthread_mutex_unlock(&client->lock);
    if (!kept)
        client->curl->easy_cleanup(handle);
}

/* ---- the exchange ---- */

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct response *response = arg;
    buf_append(&response->body, data, size * n);
    return buf_ok(&response->body) ? size * n : 0;
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
    struct response *response = arg;
    static const char name[] = "retry-after:";
    if (size * n > sizeof name && strncasecmp(line, name, sizeof name - 1) == 0)
        response->retry_after_s = atoi(line + sizeof name - 1);
    return size * n;
}

static bool has_header(const struct curl_slist *list, const char *name)
{
    size_t len = strlen(name);
    for (; list; list = list->next)
        if (strncasecmp(list->data, name, len) == 0 && list->data[len] == ':')
            return true;
    return false;
}

/* Whose task is asked for: a submission says it with its context, every other request here. */
static struct curl_slist *add_tenant(const satchel_client *client, const struct request *request,
                                     struct curl_slist *list)
{
    const char *name = satchel_var_header(satchel_known_var(SATCHEL_TENANT));
    const char *tenant = request->tenant ? request->tenant : satchel_tenant();
    if (!tenant || has_header(list, name))
        return list;
    char line[512];
    (void)snprintf(line, sizeof line, "%s: %s", name, tenant);
    return client->curl->slist_append(list, line);
}

static struct curl_slist *all_headers(const satchel_client *client, const struct request *request)
{
    const struct curl_functions *curl = client->curl;
    struct curl_slist *all = curl->slist_append(NULL, "Accept: application/json");
    struct curl_slist *next = all ? curl->slist_append(all, "Expect:") : NULL;
    for (const struct curl_slist *at = client->headers; next && at; at = at->next)
        next = curl->slist_append(all, at->data);
    for (const struct curl_slist *at = request->headers; next && at; at = at->next)
        next = curl->slist_append(all, at->data);
    if (next && request->body.data)
        next = curl->slist_append(all, "Content-Type: application/json");
    if (next && !request->body.data)
        next = add_tenant(client, request, all);
    if (!next) {
        curl->slist_free_all(all);
        return NULL;
    }
    return all;
}

static void prepare(satchel_client *client, CURL *handle, const struct request *request, const char *url,
                    struct curl_slist *headers, struct response *response)
{
    const struct curl_functions *curl = client->curl;
    (void)curl->easy_setopt(handle, CURLOPT_URL, url);
    (void)curl->easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl->easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    (void)curl->easy_setopt(handle, CURLOPT_PROXY, "");
    (void)curl->easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
    (void)curl->easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, (long)client->connect_timeout_ms);
    (void)curl->easy_setopt(handle, CURLOPT_TIMEOUT_MS, (long)(client->timeout_ms + request->extra_ms));
    (void)curl->easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl->easy_setopt(handle, CURLOPT_WRITEDATA, response);
    (void)curl->easy_setopt(handle, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl->easy_setopt(handle, CURLOPT_HEADERDATA, response);
    if (client->unix_path)
        (void)curl->easy_setopt(handle, CURLOPT_UNIX_SOCKET_PATH, client->unix_path);
    if (client->ca_file)
        (void)curl->easy_setopt(handle, CURLOPT_CAINFO, client->ca_file);
    if (request->body.data) {
        (void)curl->easy_setopt(handle, CURLOPT_POST, 1L);
        (void)curl->easy_setopt(handle, CURLOPT_POSTFIELDS, request->body.data);
        (void)curl->easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
    } else if (strcmp(request->method, "GET") != 0) {
        (void)curl->easy_setopt(handle, CURLOPT_POST, 1L);
        (void)curl->easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)0);
        (void)curl->easy_setopt(handle, CURLOPT_POSTFIELDS, "");
        (void)curl->easy_setopt(handle, CURLOPT_CUSTOMREQUEST, request->method);
    }
}

static int failed(satchel_client *client, CURLcode code, const struct response *response, const char *url,
                  satchel_error *error)
{
    const char *where = client->unix_path ? client->unix_path : url;
    if (!buf_ok(&response->body))
        return error_set(error, SATCHEL_EPROTOCOL, "%s: the answer is larger than %zu bytes", where, RESPONSE_MAX);
    switch (code) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
        return error_set(error, SATCHEL_EUNREACHABLE, "%s: %s", where, client->curl->easy_strerror(code));
    case CURLE_OUT_OF_MEMORY: return error_set(error, SATCHEL_ENOMEM, "out of memory");
    default: return error_set(error, SATCHEL_EPROTOCOL, "%s: %s", where, client->curl->easy_strerror(code));
    }
}

int client_request(satchel_client *client, const struct request *request, struct response *ret, satchel_error *error)
{
    struct response response = {.body = {.max = RESPONSE_MAX}};
    struct buf url = BUF_INIT;
    buf_append_str(&url, client->base);
    buf_append_str(&url, request->path);
    CURL *handle = borrow(client);
    struct curl_slist *headers = all_headers(client, request);
    if (!handle || !headers || !buf_ok(&url)) {
        if (handle)
            give_back(client, handle);
        client->curl->slist_free_all(headers);
        buf_release(&url);
        return error_set(error, SATCHEL_ENOMEM, "out of memory");
    }
    prepare(client, handle, request, url.data, headers, &response);
    CURLcode code = client->curl->easy_perform(handle);
    long http = 0;
    (void)client->curl->easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &http);
    response.status = (int)http;
    give_back(client, handle);
    client->curl->slist_free_all(headers);
    int status = SATCHEL_OK;
    if (code != CURLE_OK)
        status = failed(client, code, &response, url.data, error);
    else if (http < 200 || http > 299)
        status = refused(&response, error);
    buf_release(&url);
    if (status != SATCHEL_OK) {
        response_release(&response);
        return status;
    }
    *ret = response;
    return SATCHEL_OK;
}

void response_release(struct response *response)
{
    buf_release(&response->body);
}

void append_encoded(struct buf *out, const char *text)
{
    static const char hex[] = "0123456789ABCDEF";
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr("-._~", c);
        if (plain) {
            buf_append_char(out, (char)c);
        } else {
            char code[3] = {'%', hex[c >> 4], hex[c & 15]};
            buf_append(out, code, 3);
        }
    }
}
