/* Clients: where the daemon is, what every request carries, and the connections that are kept open.
 * Thread: any; the lock guards the idle connections, and no request is made under it. */
#include <stdlib.h>
#include <string.h>

#include "client/internal.h"

#define DEFAULT_URL "http://127.0.0.1:8640"

static int add_header(satchel_client *client, const char *line)
{
    size_t name = strcspn(line, ":");
    if (strpbrk(line, "\r\n") || !line[name] || name == 0)
        return SATCHEL_EINVAL;
    struct curl_slist *list = client->curl->slist_append(client->headers, line);
    if (!list)
        return SATCHEL_ENOMEM;
    client->headers = list;
    return SATCHEL_OK;
}

/* The URL as messages may have it: what stands before an @ is somebody's password.  NULL: no memory. */
static char *url_to_tell(const char *url)
{
    const char *scheme = strstr(url, "://"), *at = scheme ? strrchr(url, '@') : NULL;
    if (!at || at < scheme)
        return strdup(url);
    struct buf text = BUF_INIT;
    buf_append(&text, url, (size_t)(scheme + 3 - url));
    buf_append_str(&text, "***");
    buf_append_str(&text, at);
    if (buf_ok(&text))
        return text.data;
    buf_release(&text);
    return NULL;
}

static int set_url(satchel_client *client, const char *url, satchel_error *error)
{
    bool is_unix = strncmp(url, "unix:", 5) == 0;
    client->url = is_unix ? strdup(url) : url_to_tell(url);
    if (!client->url)
        return error_out_of_memory(error);
    if (is_unix && !url[5])
        return error_set(error, SATCHEL_EINVAL, "%s: a path is missing behind unix:", url);
    if (!is_unix && strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
        return error_set(error, SATCHEL_EINVAL, "%s: not a URL of the form http://HOST:PORT, https://... or unix:/path",
                         client->url);
    if (strpbrk(url, "?#"))
        return error_set(error, SATCHEL_EINVAL, "%s: a base URL has no query and no fragment", client->url);
    client->base = strdup(is_unix ? "http://localhost" : url);
    if (is_unix)
        client->unix_path = strdup(url + 5);
    for (size_t n = client->base ? strlen(client->base) : 0; n && client->base[n - 1] == '/'; n--)
        client->base[n - 1] = '\0';
    bool whole = client->base && (!is_unix || client->unix_path);
    return whole ? SATCHEL_OK : error_out_of_memory(error);
}

static int set_headers(satchel_client *client, const satchel_client_options *options, satchel_error *error)
{
    const char *token = options->token ? options->token : getenv("SATCHEL_TOKEN");
    int status = SATCHEL_OK;
    if (token && *token) {
        struct buf line = BUF_INIT;
        buf_append_str(&line, "Authorization: Bearer ");
        buf_append_str(&line, token);
        status = buf_ok(&line) ? add_header(client, line.data) : SATCHEL_ENOMEM;
        if (line.data)
            explicit_bzero(line.data, line.len);
        buf_release(&line);
    }
    for (size_t i = 0; status == SATCHEL_OK && options->headers && options->headers[i]; i++)
        status = add_header(client, options->headers[i]);
    if (status == SATCHEL_EINVAL)
        return error_set(error, status, "a header line is not \"Name: value\", or it or the token has a line break");
    return status == SATCHEL_OK ? SATCHEL_OK : error_out_of_memory(error);
}

/* False: no memory. */
static bool set_file(char **file, const char *given, const char *variable)
{
    const char *path = given ? given : getenv(variable);
    if (!path || !*path)
        return true;
    *file = strdup(path);
    return *file != NULL;
}

static int set_files(satchel_client *client, const satchel_client_options *options, satchel_error *error)
{
    bool good = set_file(&client->ca_file, options->ca_file, "SATCHEL_CA_FILE") &&
                set_file(&client->cert_file, options->cert_file, "SATCHEL_CERT") &&
                set_file(&client->key_file, options->key_file, "SATCHEL_KEY");
    return good ? SATCHEL_OK : error_out_of_memory(error);
}

int satchel_client_new(const satchel_client_options *given, satchel_client **out, satchel_error *error)
{
    satchel_client_options copy = {.struct_size = sizeof copy};
    const satchel_client_options *options = &copy;
    error_clear(error);
    if (given) /* a program that was built with an earlier version knows fewer members */
        memcpy(&copy, given, given->struct_size < sizeof copy ? given->struct_size : sizeof copy);
    if (!out || (given && given->struct_size < offsetof(satchel_client_options, cert_file)))
        return error_set(error, SATCHEL_EINVAL, "out is NULL, or struct_size is not set");
    const char *why = "";
    const struct curl_functions *curl = curl_load(&why);
    if (!curl)
        return error_set(error, SATCHEL_EPROTOCOL, "%s", why);
    satchel_client *client = calloc(1, sizeof *client);
    if (!client)
        return error_out_of_memory(error);
    atomic_init(&client->refs, 1);
    (void)pthread_mutex_init(&client->lock, NULL);
    client->curl = curl;
    client->connect_timeout_ms = options->connect_timeout_ms > 0 ? options->connect_timeout_ms : 5000;
    client->timeout_ms = options->timeout_ms > 0 ? options->timeout_ms : 30000;
    const char *url = options->url ? options->url : getenv("SATCHEL_URL");
    int status = set_url(client, url && *url ? url : DEFAULT_URL, error);
    if (status == SATCHEL_OK)
        status = set_headers(client, options, error);
    if (status == SATCHEL_OK)
        status = set_files(client, options, error);
    if (status != SATCHEL_OK) {
        satchel_client_unref(client);
        return status;
    }
    *out = client;
    return SATCHEL_OK;
}

satchel_client *satchel_client_ref(satchel_client *client)
{
    if (client)
        atomic_fetch_add_explicit(&client->refs, 1, memory_order_relaxed);
    return client;
}

void satchel_client_unref(satchel_client *client)
{
    if (!client || atomic_fetch_sub_explicit(&client->refs, 1, memory_order_acq_rel) != 1)
        return;
    while (client->n_idle)
        connection_close(client, &client->idle[--client->n_idle]);
    for (struct curl_slist *at = client->headers; at; at = at->next)
        explicit_bzero(at->data, strlen(at->data)); /* a token may be among them */
    client->curl->slist_free_all(client->headers);
    (void)pthread_mutex_destroy(&client->lock);
    free(client->url);
    free(client->base);
    free(client->unix_path);
    free(client->ca_file);
    free(client->cert_file);
    free(client->key_file);
    free(client);
}
