#include "tests/support/tls.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/ask.h"

/* ---- certificates ---- */

static FILE *file_of(const char *dir, const char *name, const char *ending, const char *mode)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s.%s", dir, name, ending);
    FILE *file = fopen(path, mode);
    assert_non_null(file);
    if (*mode == 'w')
        assert_int_equal(fchmod(fileno(file), 0600), 0);
    return file;
}

static X509 *read_certificate(const char *dir, const char *name)
{
    FILE *file = file_of(dir, name, "pem", "re");
    X509 *certificate = PEM_read_X509(file, NULL, NULL, NULL);
    assert_non_null(certificate);
    assert_int_equal(fclose(file), 0);
    return certificate;
}

static EVP_PKEY *read_key(const char *dir, const char *name)
{
    FILE *file = file_of(dir, name, "key", "re");
    EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    assert_non_null(key);
    assert_int_equal(fclose(file), 0);
    return key;
}

static void extend(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static X509 *certificate_for(const struct certificate *wanted, EVP_PKEY *key)
{
    X509 *certificate = X509_new();
    const char *name = wanted->common_name ? wanted->common_name : wanted->name;
    uint64_t serial;
    assert_non_null(certificate);
    assert_int_equal(getentropy(&serial, sizeof serial), 0);
    assert_int_equal(X509_set_version(certificate, X509_VERSION_3), 1);
    assert_int_equal(ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1), 1);
    bool usual = !wanted->from_s && !wanted->until_s;
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(certificate), usual ? -3600 : wanted->from_s));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(certificate), usual ? 86400 : wanted->until_s));
    assert_int_equal(X509_set_pubkey(certificate, key), 1);
    assert_int_equal(X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
                                                (const unsigned char *)name, -1, -1, 0),
                     1);
    return certificate;
}

void make_certificate(const struct certificate *wanted)
{
    EVP_PKEY *key = wanted->rsa ? EVP_RSA_gen(2048) : wanted->legacy ? EVP_RSA_gen(1024) : EVP_EC_gen("P-256");
    assert_non_null(key);
    X509 *certificate = certificate_for(wanted, key);
    X509 *issuer = wanted->issuer ? read_certificate(wanted->dir, wanted->issuer) : certificate;
    EVP_PKEY *issuer_key = wanted->issuer ? read_key(wanted->dir, wanted->issuer) : key;
    assert_int_equal(X509_set_issuer_name(certificate, X509_get_subject_name(issuer)), 1);
    extend(certificate, issuer, NID_basic_constraints, wanted->is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (wanted->is_ca)
        extend(certificate, issuer, NID_key_usage, "critical,keyCertSign,cRLSign");
    if (wanted->alternatives)
        extend(certificate, issuer, NID_subject_alt_name, wanted->alternatives);
    if (wanted->usage)
        extend(certificate, issuer, NID_ext_key_usage, wanted->usage);
    assert_true(X509_sign(certificate, issuer_key, EVP_sha256()) > 0);
    FILE *file = file_of(wanted->dir, wanted->name, "pem", "we");
    assert_int_equal(PEM_write_X509(file, certificate), 1);
    assert_int_equal(fclose(file), 0);
    file = file_of(wanted->dir, wanted->name, "key", "we");
    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fclose(file), 0);
    if (wanted->issuer) {
        X509_free(issuer);
        EVP_PKEY_free(issuer_key);
    }
    X509_free(certificate);
    EVP_PKEY_free(key);
}

void make_certificates(const char *dir)
{
    const struct certificate all[] = {
        {.dir = dir, .name = "ca", .common_name = "Test CA", .is_ca = true},
        {.dir = dir, .name = "server", .issuer = "ca", .alternatives = "DNS:localhost,IP:127.0.0.1"},
        {.dir = dir,
         .name = "client",
         .issuer = "ca",
         .common_name = "deploy",
         .alternatives = "URI:spiffe://example/deploy,DNS:deploy.example,email:deploy@example",
         .usage = "clientAuth"},
        {.dir = dir, .name = "other-ca", .common_name = "Another CA", .is_ca = true},
        {.dir = dir, .name = "stranger", .issuer = "other-ca", .common_name = "deploy", .usage = "clientAuth"},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        make_certificate(&all[i]);
}

void make_revocations(const char *dir, const char *name, const char *issuer, const char *revoked)
{
    X509 *by = read_certificate(dir, issuer), *one = read_certificate(dir, revoked);
    EVP_PKEY *key = read_key(dir, issuer);
    X509_CRL *list = X509_CRL_new();
    X509_REVOKED *entry = X509_REVOKED_new();
    ASN1_TIME *now = X509_gmtime_adj(NULL, -60), *next = X509_gmtime_adj(NULL, 86400);
    assert_true(list && entry && now && next);
    assert_int_equal(X509_CRL_set_version(list, X509_CRL_VERSION_2), 1);
    assert_int_equal(X509_CRL_set_issuer_name(list, X509_get_subject_name(by)), 1);
    assert_int_equal(X509_CRL_set1_lastUpdate(list, now), 1);
    assert_int_equal(X509_CRL_set1_nextUpdate(list, next), 1);
    assert_int_equal(X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(one)), 1);
    assert_int_equal(X509_REVOKED_set_revocationDate(entry, now), 1);
    assert_int_equal(X509_CRL_add0_revoked(list, entry), 1);
    assert_true(X509_CRL_sign(list, key, EVP_sha256()) > 0);
    FILE *file = file_of(dir, name, "crl", "we");
    assert_int_equal(PEM_write_X509_CRL(file, list), 1);
    assert_int_equal(fclose(file), 0);
    ASN1_TIME_free(now);
    ASN1_TIME_free(next);
    X509_CRL_free(list);
    X509_free(by);
    X509_free(one);
    EVP_PKEY_free(key);
}

/* ---- the client ---- */

int satcheld_tls_port(const struct satcheld *d)
{
    static const char said[] = "satcheld: listening on https://";
    satcheld_log_wait(d, said);
    char *log = satcheld_log(d), *line = strstr(log, said);
    assert_non_null(line);
    line += sizeof said - 1;
    line[strcspn(line, "\n")] = '\0';
    int port = atoi(strrchr(line, ':') + 1);
    free(log);
    assert_true(port > 0);
    return port;
}

int tls_connect(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {.tv_sec = WAIT_MS / 1000};
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit), 0);
    return fd;
}

static long fail_with(struct tls_link *link, int result)
{
    int why = SSL_get_error(link->ssl, result);
    unsigned long error = ERR_peek_last_error();
    long verified = SSL_get_verify_result(link->ssl);
    const char *reason = error ? ERR_reason_error_string(error) : NULL;
    (void)snprintf(link->error, sizeof link->error, "%s%s%s",
                   why == SSL_ERROR_SYSCALL ? "cut off"
                   : reason                 ? reason
                                            : "no reason",
                   verified ? ": " : "", verified ? X509_verify_cert_error_string(verified) : "");
    ERR_clear_error();
    return -1;
}

static SSL_CTX *context_for(const struct tls_wish *wish)
{
    char path[512];
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    assert_non_null(context);
    if (wish->ca) {
        (void)snprintf(path, sizeof path, "%s/%s.pem", wish->dir, wish->ca);
        assert_int_equal(SSL_CTX_load_verify_file(context, path), 1);
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    }
    if (wish->own) {
        (void)snprintf(path, sizeof path, "%s/%s.pem", wish->dir, wish->own);
        assert_int_equal(SSL_CTX_use_certificate_chain_file(context, path), 1);
        (void)snprintf(path, sizeof path, "%s/%s.key", wish->dir, wish->own);
        assert_int_equal(SSL_CTX_use_PrivateKey_file(context, path, SSL_FILETYPE_PEM), 1);
    }
    if (wish->weak) {
        SSL_CTX_set_security_level(context, 0);
        assert_int_equal(SSL_CTX_set_min_proto_version(context, TLS1_VERSION), 1);
        assert_int_equal(SSL_CTX_set_cipher_list(context, "ALL:@SECLEVEL=0"), 1);
    }
    if (wish->max_version)
        assert_int_equal(SSL_CTX_set_max_proto_version(context, wish->max_version), 1);
    if (wish->protocols)
        assert_int_equal(
            SSL_CTX_set_alpn_protos(context, (const unsigned char *)wish->protocols, (unsigned)strlen(wish->protocols)),
            0);
    return context;
}

bool tls_open_on(struct tls_link *link, int fd, const struct tls_wish *wish)
{
    *link = (struct tls_link){.fd = fd, .context = context_for(wish)};
    link->ssl = SSL_new(link->context);
    assert_non_null(link->ssl);
    assert_int_equal(SSL_set1_host(link->ssl, "localhost"), 1);
    assert_int_equal(SSL_set_tlsext_host_name(link->ssl, "localhost"), 1);
    assert_int_equal(SSL_set_fd(link->ssl, fd), 1);
    ERR_clear_error();
    int result = SSL_connect(link->ssl);
    return result == 1 || fail_with(link, result) == 0;
}

bool tls_open(struct tls_link *link, int port, const struct tls_wish *wish)
{
    return tls_open_on(link, tls_connect(port), wish);
}

void tls_close(struct tls_link *link)
{
    SSL_free(link->ssl);
    SSL_CTX_free(link->context);
    if (link->fd >= 0)
        (void)close(link->fd);
    *link = (struct tls_link){.fd = -1};
}

bool tls_write(struct tls_link *link, const void *data, size_t len)
{
    const char *at = data;
    ERR_clear_error();
    while (len) {
        int n = SSL_write(link->ssl, at, len > 1 << 20 ? 1 << 20 : (int)len);
        if (n <= 0)
            return fail_with(link, n) == 0;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

long tls_read(struct tls_link *link, void *data, size_t len)
{
    ERR_clear_error();
    int n = SSL_read(link->ssl, data, (int)len);
    if (n > 0)
        return n;
    return SSL_get_error(link->ssl, n) == SSL_ERROR_ZERO_RETURN ? 0 : fail_with(link, n);
}

/* How long the answer in `text` is; 0: not all of it is here. */
static size_t answer_len(const char *text, size_t len)
{
    const char *end = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "\r\nContent-Length:");
    if (!end)
        return 0;
    size_t head = (size_t)(end + 4 - text), body = 0;
    if (length && length < end)
        body = strtoul(length + 17, NULL, 10);
    else if (strcasestr(text, "Transfer-Encoding: chunked"))
        return len >= 5 && memcmp(text + len - 5, "0\r\n\r\n", 5) == 0 ? len : 0;
    return len >= head + body ? head + body : 0;
}

int tls_answer(struct tls_link *link, char **ret_text)
{
    size_t len = 0, cap = 65536;
    char *text = malloc(cap);
    assert_non_null(text);
    text[0] = '\0';
    while (!answer_len(text, len)) {
        if (cap - len < 20000)
            assert_non_null(text = realloc(text, cap *= 2));
        long n = tls_read(link, text + len, 16384);
        if (n <= 0) {
            free(text);
            *ret_text = NULL;
            return -1;
        }
        len += (size_t)n;
        text[len] = '\0';
    }
    *ret_text = text;
    return atoi(text + 9);
}

int tls_ask(int port, const struct tls_wish *wish, const char *method, const char *target, const char *headers,
            const char *body, char **ret_text, char *error)
{
    struct tls_link link;
    char *request = request_text(method, target, headers, body, body ? strlen(body) : 0);
    int status = -1;
    *ret_text = NULL;
    if (tls_open(&link, port, wish) && tls_write(&link, request, strlen(request)))
        status = tls_answer(&link, ret_text);
    (void)snprintf(error, 256, "%s", link.error);
    tls_close(&link);
    free(request);
    return status;
}
