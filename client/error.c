/* What went wrong, in words and as a status: of the caller's making, the daemon's answer, or the network's.
 * Thread: any; called by all files of the client. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client/internal.h"
#include "proto/json_in.h"

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

int error_out_of_memory(satchel_error *error)
{
    return error_set(error, SATCHEL_ENOMEM, "out of memory");
}

/* ---- answers ---- */

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

int error_of_response(const struct response *response, satchel_error *error)
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
    }
    if (!*error->title && !*error->detail)
        (void)snprintf(error->detail, sizeof error->detail, "the answer was HTTP status %d without an explanation",
                       response->status);
    json_decref(problem);
    return status;
}

/* ---- the network ---- */

static int error_titled(satchel_error *error, int status, const char *title, const satchel_client *client,
                        const char *detail, const char *advice)
{
    (void)error_set(error, status, "%s: %s%s%s", client->url, detail, *advice ? "; " : "", advice);
    if (error)
        (void)snprintf(error->title, sizeof error->title, "%s", title);
    return status;
}

static bool has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

/* TLS went wrong: who does not trust whom?  curl has one code for much of it; its words are those of OpenSSL. */
static int error_of_tls(const satchel_client *client, CURLcode code, const char *said, satchel_error *error)
{
    static const char refused[] = "satcheld does not accept the client's certificate";
    if (code == CURLE_PEER_FAILED_VERIFICATION)
        return error_titled(error, SATCHEL_EPROTOCOL, "satcheld's certificate is not to be trusted", client, said,
                            client->ca_file ? "" : "who issued it can be named with --ca-file or SATCHEL_CA_FILE");
    if (code == CURLE_SSL_CACERT_BADFILE)
        return error_titled(error, SATCHEL_EPROTOCOL, "the certificates that are to be trusted cannot be read", client,
                            said, "");
    if (code == CURLE_SSL_CERTPROBLEM)
        return error_titled(error, SATCHEL_EDENIED, "the client's certificate or key cannot be used", client, said, "");
    if (has(said, "alert certificate required"))
        return error_titled(error, SATCHEL_EDENIED, "satcheld wants a certificate from its clients", client, said,
                            "it can be named with --cert and --key, or SATCHEL_CERT and SATCHEL_KEY");
    if (has(said, "alert") && (has(said, "certificate") || has(said, "unknown ca")))
        return error_titled(error, SATCHEL_EDENIED, refused, client, said, "");
    if (has(said, "wrong version number"))
        return error_titled(error, SATCHEL_EPROTOCOL, "what is there does not speak TLS", client, said,
                            "is it http:// instead of https://?");
    return 0;
}

int error_of_silence(const satchel_client *client, int64_t idle_ms, satchel_error *error)
{
    (void)error_set(error, SATCHEL_EUNREACHABLE, "%s: nothing came for %lld ms", client->url, (long long)idle_ms);
    if (error)
        (void)snprintf(error->title, sizeof error->title, "satcheld did not answer in time");
    return SATCHEL_EUNREACHABLE;
}

int error_of_network(const satchel_client *client, CURLcode code, const char *said, satchel_error *error)
{
    int status = error_of_tls(client, code, said, error);
    if (status)
        return status;
    if (code == CURLE_RECV_ERROR && has(said, "chunk")) /* nothing broke: it is wrong */
        code = CURLE_WEIRD_SERVER_REPLY;
    switch (code) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SSL_CONNECT_ERROR: /* cut off in the handshake */
    case CURLE_SEND_FAIL_REWIND:  /* broke, and must not be sent again */
    case CURLE_PARTIAL_FILE: status = SATCHEL_EUNREACHABLE; break;
    case CURLE_URL_MALFORMAT: status = SATCHEL_EINVAL; break;
    case CURLE_OUT_OF_MEMORY: return error_out_of_memory(error);
    default: status = SATCHEL_EPROTOCOL; break;
    }
    (void)error_set(error, status, "%s: %s", client->url, *said ? said : client->curl->easy_strerror(code));
    if (error && status == SATCHEL_EUNREACHABLE)
        (void)snprintf(error->title, sizeof error->title, "%s",
                       code == CURLE_OPERATION_TIMEDOUT ? "satcheld did not answer in time"
                                                        : "satcheld cannot be reached");
    return status;
}
