/* The context of OpenSSL that all connections of the TLS addresses are made from, and every check of what it is made of.
 *
 * No session is ever resumed: no cache, no tickets.  So each connection shows its certificate anew, what was revoked or
 * no longer trusted after a reload is out with the next handshake, and no ticket key has to be kept secret for months.
 * Clients that care about handshakes keep their connections. */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/tls_internal.h"
#include "proto/openssl_loader.h"

#define CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20"

enum { DEPTH_MAX = 8, CLIENT_CHAIN_BYTES = 64 * 1024 };

void tls_fault(struct tls_faults *faults, const struct tls_setting *setting, const char *name, const char *format, ...)
{
    char why[512], line[5200];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(why, sizeof why, format, args);
    va_end(args);
    (void)snprintf(line, sizeof line, "%s: tls: %s \"%s\" %s", setting->where ? setting->where : "configuration", name,
                   setting->value ? setting->value : "", why);
    faults->count++;
    if (faults->report)
        faults->report(faults->arg, line);
}

const char *tls_error_text(void)
{
    unsigned long error = ERR_peek_last_error();
    const char *reason = error ? ERR_reason_error_string(error) : NULL;
    ERR_clear_error();
    return reason ? reason : "unknown error";
}

/* ---- the daemon's own certificate ---- */

static void check_time(struct tls_faults *faults, const struct tls_options *options, const X509 *certificate)
{
    char text[32] = "";
    time_t now = time(NULL);
    const int64_t from = tls_seconds(X509_get0_notBefore(certificate)),
                  until = tls_seconds(X509_get0_notAfter(certificate));
    for (unsigned i = 0; i < 2; i++) {
        time_t at = (time_t)(i ? until : from);
        struct tm parts;
        if (options->expired_too || (i ? until >= now : from <= now))
            continue;
        (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&at, &parts));
        tls_fault(faults, &options->certificate, "certificate", "%s %s", i ? "expired at" : "is not valid before",
                  text);
    }
}

static void use_certificate(struct tls *tls, struct tls_faults *faults, const struct tls_options *options)
{
    STACK_OF(X509) *chain = tls_read_certificates(faults, &options->certificate, "certificate");
    EVP_PKEY *key = tls_read_key(faults, &options->key, "key");
    X509 *own = chain ? sk_X509_shift(chain) : NULL;
    if (own) {
        check_time(faults, options, own);
        if (X509_check_purpose(own, X509_PURPOSE_SSL_SERVER, 0) != 1)
            tls_fault(faults, &options->certificate, "certificate", "is not made for servers (its key usage says so)");
    }
    if (own && key && X509_check_private_key(own, key) != 1)
        tls_fault(faults, &options->key, "key", "does not belong to the certificate %s", options->certificate.value);
    else if (own && key && SSL_CTX_use_cert_and_key(tls->context, own, key, chain, 1) != 1)
        tls_fault(faults, &options->certificate, "certificate", "cannot be used: %s", tls_error_text());
    ERR_clear_error();
    tls->valid_until = own ? tls_seconds(X509_get0_notAfter(own)) : 0;
    X509_free(own);
    EVP_PKEY_free(key);
    sk_X509_pop_free(chain, X509_free);
}

/* ---- the clients' ---- */

static void trust(struct tls *tls, struct tls_faults *faults, const struct tls_options *options)
{
    X509_STORE *store = SSL_CTX_get_cert_store(tls->context);
    STACK_OF(X509) *issuers = tls_read_certificates(faults, &options->client_ca, "client_ca");
    for (int i = 0; i < sk_X509_num(issuers); i++) {
        X509 *issuer = sk_X509_value(issuers, i);
        if (X509_check_ca(issuer) == 0)
            tls_fault(faults, &options->client_ca, "client_ca",
                      "holds a certificate that may not issue others (number %d); name who issued the clients'", i + 1);
        else if (X509_STORE_add_cert(store, issuer) != 1 || SSL_CTX_add_client_CA(tls->context, issuer) != 1)
            tls_fault(faults, &options->client_ca, "client_ca", "cannot be used: %s", tls_error_text());
    }
    sk_X509_pop_free(issuers, X509_free);
    if (!options->client_crl.value)
        return;
    STACK_OF(X509_CRL) *revoked = tls_read_crls(faults, &options->client_crl, "client_crl");
    for (int i = 0; i < sk_X509_CRL_num(revoked); i++)
        if (X509_STORE_add_crl(store, sk_X509_CRL_value(revoked, i)) != 1)
            tls_fault(faults, &options->client_crl, "client_crl", "cannot be used: %s", tls_error_text());
    sk_X509_CRL_pop_free(revoked, X509_CRL_free);
    (void)X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
}

static void ask_for_certificates(struct tls *tls, struct tls_faults *faults, const struct tls_options *options)
{
    if (!options->client_ca.value) {
        if (options->client_crl.value)
            tls_fault(faults, &options->client_crl, "client_crl", "means nothing without client_ca");
        return;
    }
    trust(tls, faults, options);
    SSL_CTX_set_verify(tls->context, SSL_VERIFY_PEER | (options->client_required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                       NULL);
    SSL_CTX_set_verify_depth(tls->context, DEPTH_MAX);
    SSL_CTX_set_max_cert_list(tls->context, CLIENT_CHAIN_BYTES);
}

/* ---- how it is spoken ---- */

/* RFC 7301: a client that names protocols must name ours. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                           unsigned in_len, void *arg)
{
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *chosen = NULL;
    (void)ssl, (void)arg;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof ours - 1, in, in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static void set_manners(struct tls *tls, struct tls_faults *faults, const struct tls_options *options)
{
    SSL_CTX *context = tls->context;
    bool only_13 = options->min_version.value && strcmp(options->min_version.value, "1.3") == 0;
    /* An end without close-notify is an end: HTTP knows itself whether a message is whole. */
    (void)SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |
                                           SSL_OP_IGNORE_UNEXPECTED_EOF);
    /* Without AUTO_RETRY one call reads one record: nobody can keep a loop busy with records that carry no data. */
    (void)SSL_CTX_clear_mode(context, SSL_MODE_AUTO_RETRY);
    (void)SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                        SSL_MODE_RELEASE_BUFFERS);
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
    if (SSL_CTX_set_min_proto_version(context, only_13 ? TLS1_3_VERSION : TLS1_2_VERSION) != 1)
        tls_fault(faults, &options->min_version, "min_version", "cannot be used: %s", tls_error_text());
    if (SSL_CTX_set_cipher_list(context, options->ciphers.value ? options->ciphers.value : CIPHERS) != 1)
        tls_fault(faults, &options->ciphers, "ciphers", "names no cipher that there is");
    ERR_clear_error();
}

/* ---- life ---- */

int tls_build(const struct tls_options *options, void (*report)(void *arg, const char *line), void *arg,
              struct tls **ret)
{
    struct tls_faults faults = {report, arg, 0};
    char why[256];
    if (!openssl_load(why, sizeof why)) {
        tls_fault(&faults, &options->certificate, "certificate", "cannot be used: %s", why);
        return -1;
    }
    struct tls *tls = calloc(1, sizeof *tls);
    if (tls) {
        atomic_init(&tls->refs, 1);
        tls->context = SSL_CTX_new(TLS_server_method());
    }
    if (!tls || !tls->context) {
        tls_fault(&faults, &options->certificate, "certificate", "cannot be used: out of memory");
        tls_unref(tls);
        return -1;
    }
    set_manners(tls, &faults, options);
    use_certificate(tls, &faults, options);
    ask_for_certificates(tls, &faults, options);
    if (faults.count) {
        tls_unref(tls);
        return -1;
    }
    *ret = tls;
    return 0;
}

struct tls *tls_ref(struct tls *tls)
{
    if (tls)
        (void)atomic_fetch_add_explicit(&tls->refs, 1, memory_order_relaxed);
    return tls;
}

void tls_unref(struct tls *tls)
{
    if (!tls || atomic_fetch_sub_explicit(&tls->refs, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(tls->context);
    free(tls);
}

int64_t tls_valid_until(const struct tls *tls)
{
    return tls->valid_until;
}
