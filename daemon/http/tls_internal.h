/* What tls.c, tls_files.c and transport_tls.c share, and nobody else: OpenSSL's types.
 * Thread: as the file that uses it. */
#ifndef SATCHEL_HTTP_TLS_INTERNAL_H
#define SATCHEL_HTTP_TLS_INTERNAL_H

#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdatomic.h>

#include "http/tls.h"

struct tls {
    atomic_uint refs;
    SSL_CTX *context;
    int64_t valid_until;
};

struct tls_faults { /* what is wrong, as it is found */
    void (*report)(void *arg, const char *line);
    void *arg;
    unsigned count;
};

void tls_fault(struct tls_faults *faults, const struct tls_setting *setting, const char *name, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* OpenSSL's last error in words, and none is left behind; static or thread-local. */
const char *tls_error_text(void);

/* ---- tls_files.c: each reports what is wrong and returns NULL then ---- */

STACK_OF(X509) * tls_read_certificates(struct tls_faults *faults, const struct tls_setting *setting, const char *name);
EVP_PKEY *tls_read_key(struct tls_faults *faults, const struct tls_setting *setting, const char *name);
STACK_OF(X509_CRL) * tls_read_crls(struct tls_faults *faults, const struct tls_setting *setting, const char *name);
int64_t tls_seconds(const ASN1_TIME *time); /* since 1970; -1: unreadable */

#endif
