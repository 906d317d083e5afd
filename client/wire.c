/* One request and its answer: its header fields, its limits, what came back.  Thread: any.
 * Called by submit.c, future.c, list.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "client/internal.h"

#define HEAD_MAX ((size_t)256 << 10)

/* ---- the answer, as it comes ---- */

struct transfer { /* one exchange while it runs */
    const struct curl_functions *curl;
    CURL *handle;
    const struct request *request;
    struct response *response;
    int64_t heard_ms; /* when something came or went last */
    curl_off_t sent;  /* of the body, as of then */
    size_t head;      /* bytes of header lines so far */
    size_t given;     /* bytes of the request's body that curl has read */
    bool idle;        /* nothing came for too long */
    bool endless;     /* the header is larger than any of satcheld's */
};

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    struct response *response = t->response;
    long http = 0;
    t->heard_ms = client_now_ms();
    (void)t->curl->easy_getinfo(t->handle, CURLINFO_RESPONSE_CODE, &http);
    if (t->request->on_data && http >= 200 && http <= 299) {
        response->stopped = t->request->on_data(data, size * n, t->request->on_data_arg);
        return response->stopped ? 0 : size * n;
    }
    buf_append(&response->body, data, size * n);
    return buf_ok(&response->body) ? size * n : 0;
}

static int on_progress(void *arg, curl_off_t due, curl_off_t got, curl_off_t to_send, curl_off_t sent)
{
    struct transfer *t = arg;
    (void)due, (void)got, (void)to_send;
    if (sent != t->sent)
        t->heard_ms = client_now_ms();
    t->sent = sent;
    t->idle = client_now_ms() - t->heard_ms > t->request->idle_ms;
    return t->idle;
}

static size_t on_header(char *line, size_t size, size_t n, void *arg) /* not NUL-terminated */
{
    struct transfer *t = arg;
    static const char name[] = "retry-after:";
    size_t len = size * n, at = sizeof name - 1;
    int seconds = 0;
    t->head += len;
    t->endless = t->head > HEAD_MAX; /* those of answers before the last, such as 100, count too */
    if (t->endless)
        return 0;
    if (len <= at || strncasecmp(line, name, at) != 0)
        return len;
    while (at < len && (line[at] == ' ' || line[at] == '\t'))
        at++;
    for (; at < len && line[at] >= '0' && line[at] <= '9' && seconds < 100000000; at++)
        seconds = seconds * 10 + (line[at] - '0');
    t->response->retry_after_s = seconds; /* a date counts as none */
    return len;
}

static size_t on_read(char *out, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    size_t len = t->request->body.len - t->given;
    if (len > size * n)
        len = size * n;
    if (len)
        memcpy(out, t->request->body.data + t->given, len);
    t->given += len;
    return len;
}

void response_release(struct response *response)
{
    buf_release(&response->body);
}

/* ---- header fields ---- */

bool has_header(const struct curl_slist *list, const char *name)
{
    size_t len = strlen(name);
    for (; list; list = list->next)
        if (strncasecmp(list->data, name, len) == 0 && list->data[len] == ':')
            return true;
    return false;
}

struct lines { /* a list under construction */
    const struct curl_functions *curl;
    struct curl_slist *list;
    bool failed;
};

static void add_line(struct lines *lines, const char *line)
{
    struct curl_slist *longer = lines->failed ? NULL : lines->curl->slist_append(lines->list, line);
    if (longer)
        lines->list = longer;
    else
        lines->failed = true;
}

/* Unless the caller of the client has set that field. */
static void add_default(struct lines *lines, const satchel_client *client, const char *name, const char *value)
{
    struct buf line = BUF_INIT;
    if (has_header(client->headers, name))
        return;
    buf_append_str(&line, name);
    buf_append_str(&line, ": ");
    buf_append_str(&line, value);
    if (buf_ok(&line))
        add_line(lines, line.data);
    else
        lines->failed = true;
    buf_release(&line);
}

/* Whether the client's own headers have the field of this line, or say the same by another name. */
static bool is_replaced(const satchel_client *client, const char *line)
{
    char name[256];
    size_t len = strcspn(line, ":");
    if (len >= sizeof name)
        return false;
    memcpy(name, line, len);
    name[len] = '\0';
    const char *tenant = satchel_var_header(satchel_known_var(SATCHEL_TENANT));
    bool foreign_tenant = strcasecmp(name, tenant) == 0 && has_header(client->headers, "X-Scope-OrgID");
    /* The state is the vendors' part of one traceparent: it means nothing beside another one. */
    bool foreign_state = strcasecmp(name, "tracestate") == 0 && has_header(client->headers, "traceparent");
    return foreign_tenant || foreign_state || has_header(client->headers, name);
}

/* Whose task is asked for: a submission says it with its context, every other request here. */
static void add_tenant(struct lines *lines, const satchel_client *client, const struct request *request)
{
    const char *name = satchel_var_header(satchel_known_var(SATCHEL_TENANT));
    const char *tenant = request->tenant ? request->tenant : satchel_tenant();
    if (tenant && !has_header(client->headers, "X-Scope-OrgID"))
        add_default(lines, client, name, tenant);
}

/* NULL: no memory. */
static struct curl_slist *all_headers(const satchel_client *client, const struct request *request)
{
    struct lines lines = {.curl = client->curl};
    add_default(&lines, client, "Accept", request->accept ? request->accept : "application/json");
    add_line(&lines, "Expect:"); /* curl would wait for 100 Continue */
    for (const struct curl_slist *at = client->headers; at; at = at->next)
        add_line(&lines, at->data);
    for (const struct curl_slist *at = request->headers; at; at = at->next)
        if (!is_replaced(client, at->data))
            add_line(&lines, at->data);
    if (request->body.data && !has_header(request->headers, "Content-Type"))
        add_default(&lines, client, "Content-Type", "application/json");
    if (!request->body.data)
        add_tenant(&lines, client, request);
    if (lines.failed) {
        client->curl->slist_free_all(lines.list);
        return NULL;
    }
    return lines.list;
}

/* ---- the exchange ---- */

/* Where a connection that was used before breaks without an answer, curl sends the request again by itself.  One that
 * may have been taken must not be: its body is read but once (curl cannot rewind it), or, where it has none, the
 * connection is a new one. */
static void set_body(const struct curl_functions *curl, struct transfer *t)
{
    const struct request *request = t->request;
    CURL *handle = t->handle;
    bool once = strcmp(request->method, "POST") == 0 && !request->repeatable;
    if (once && request->body.len == 0)
        (void)curl->easy_setopt(handle, CURLOPT_FRESH_CONNECT, 1L);
    if (request->body.data) {
        (void)curl->easy_setopt(handle, CURLOPT_POST, 1L);
        if (once && request->body.len) {
            (void)curl->easy_setopt(handle, CURLOPT_READFUNCTION, on_read);
            (void)curl->easy_setopt(handle, CURLOPT_READDATA, t);
        } else {
            (void)curl->easy_setopt(handle, CURLOPT_POSTFIELDS, request->body.data);
        }
        (void)curl->easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
        (void)curl->easy_setopt(handle, CURLOPT_CUSTOMREQUEST, request->method);
    } else if (strcmp(request->method, "GET") != 0) {
        (void)curl->easy_setopt(handle, CURLOPT_POST, 1L);
        (void)curl->easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)0);
        (void)curl->easy_setopt(handle, CURLOPT_POSTFIELDS, "");
        (void)curl->easy_setopt(handle, CURLOPT_CUSTOMREQUEST, request->method);
    }
}

/* The daemon's certificate is always verified: there is no switch against it. */
static void set_trust(const satchel_client *client, CURL *handle)
{
    const struct curl_functions *curl = client->curl;
    (void)curl->easy_setopt(handle, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2); /* or newer */
    if (client->ca_file) {                                                              /* instead of the system's */
        (void)curl->easy_setopt(handle, CURLOPT_CAINFO, client->ca_file);
        (void)curl->easy_setopt(handle, CURLOPT_CAPATH, NULL);
    }
    if (client->cert_file)
        (void)curl->easy_setopt(handle, CURLOPT_SSLCERT, client->cert_file);
    if (client->key_file)
        (void)curl->easy_setopt(handle, CURLOPT_SSLKEY, client->key_file);
}

static void prepare(const satchel_client *client, struct transfer *t, const char *url, struct curl_slist *headers)
{
    const struct curl_functions *curl = client->curl;
    const struct request *request = t->request;
    CURL *handle = t->handle;
    int64_t limit = request->limit_ms < 0 ? 0 : request->limit_ms ? request->limit_ms : client->timeout_ms;
    (void)curl->easy_setopt(handle, CURLOPT_URL, url);
    (void)curl->easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl->easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    (void)curl->easy_setopt(handle, CURLOPT_PROXY, "");
    (void)curl->easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
    (void)curl->easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, (long)client->connect_timeout_ms);
    (void)curl->easy_setopt(handle, CURLOPT_TIMEOUT_MS, (long)limit);
    (void)curl->easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl->easy_setopt(handle, CURLOPT_WRITEDATA, t);
    (void)curl->easy_setopt(handle, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl->easy_setopt(handle, CURLOPT_HEADERDATA, t);
    if (request->idle_ms) {
        (void)curl->easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
        (void)curl->easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, on_progress);
        (void)curl->easy_setopt(handle, CURLOPT_XFERINFODATA, t);
    }
    if (client->unix_path)
        (void)curl->easy_setopt(handle, CURLOPT_UNIX_SOCKET_PATH, client->unix_path);
    set_trust(client, handle);
    set_body(curl, t);
}

static int exchange(satchel_client *client, const struct request *request, const char *url, struct curl_slist *headers,
                    struct response *response, satchel_error *error)
{
    struct connection connection;
    char said[CURL_ERROR_SIZE] = "";
    CURLcode code;
    long http = 0;
    if (connection_borrow(client, &connection) != SATCHEL_OK)
        return error_out_of_memory(error);
    struct transfer t = {.curl = client->curl,
                         .handle = connection.easy,
                         .request = request,
                         .response = response,
                         .heard_ms = client_now_ms()};
    prepare(client, &t, url, headers);
    (void)client->curl->easy_setopt(connection.easy, CURLOPT_ERRORBUFFER, said);
    satchel_cancel *cancel = request->cancelable ? satchel_current_cancel() : NULL;
    bool canceled = connection_perform(client, &connection, cancel, request->idle_ms, &code);
    (void)client->curl->easy_getinfo(connection.easy, CURLINFO_RESPONSE_CODE, &http);
    response->status = (int)http;
    connection_give_back(client, &connection);
    if (canceled)
        return error_set(error, SATCHEL_ECANCELED, "the caller was canceled");
    if (!buf_ok(&response->body))
        return error_set(error, SATCHEL_EPROTOCOL, "%s: the answer is larger than %zu bytes", client->url,
                         RESPONSE_MAX);
    if (response->stopped)
        return SATCHEL_OK;
    if (t.endless)
        return error_set(error, SATCHEL_EPROTOCOL, "%s: the answer's header is larger than %zu bytes", client->url,
                         HEAD_MAX);
    if (t.idle)
        return error_of_silence(client, request->idle_ms, error);
    if (code != CURLE_OK)
        return error_of_network(client, code, said, error);
    return http < 200 || http > 299 ? error_of_response(response, error) : SATCHEL_OK;
}

int client_request(satchel_client *client, const struct request *request, struct response *ret, satchel_error *error)
{
    struct response response = {.body = {.max = RESPONSE_MAX}};
    struct buf url = BUF_INIT;
    buf_append_str(&url, client->base);
    buf_append_str(&url, request->path);
    struct curl_slist *headers = all_headers(client, request);
    int status = headers && buf_ok(&url) ? exchange(client, request, url.data, headers, &response, error)
                                         : error_out_of_memory(error);
    client->curl->slist_free_all(headers);
    buf_release(&url);
    if (status != SATCHEL_OK) {
        response_release(&response);
        return status;
    }
    *ret = response;
    return SATCHEL_OK;
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
