/* What the TLS addresses serve with: certificate, key, whose certificates are trusted, which versions and ciphers.
 * Made from files at once or not at all, immutable afterwards, counted: a reload makes another one, and the connections
 * of before keep theirs.
 * Thread: any. */
#ifndef SATCHEL_HTTP_TLS_H
#define SATCHEL_HTTP_TLS_H

#include <stdbool.h>
#include <stdint.h>

struct tls;

struct tls_setting {
    const char *value; /* NULL: not set */
    const char *where; /* "file:line" for messages */
};

struct tls_options {
    struct tls_setting certificate, key; /* PEM files; the certificate's may go on with those that issued it */
    struct tls_setting client_ca;   /* PEM file: who may issue clients' certificates.  Not set: none is asked for */
    struct tls_setting client_crl;  /* PEM file: certificates of clients that have been revoked */
    struct tls_setting min_version; /* "1.2" or "1.3"; not set: 1.2 */
    struct tls_setting ciphers;     /* of TLS 1.2, in OpenSSL's notation; not set: forward secrecy and AEAD alone */
    bool client_required;           /* with client_ca: a client without a certificate gets no connection */
    bool expired_too;               /* a certificate that is not valid now is no fault */
};

/* 0, or -1 with each fault passed to `report` as "file:line: what is wrong".  Blocks on files. */
int tls_build(const struct tls_options *options, void (*report)(void *arg, const char *line), void *arg,
              struct tls **ret);
struct tls *tls_ref(struct tls *tls);           /* NULL is fine */
void tls_unref(struct tls *tls);                /* NULL is fine */
int64_t tls_valid_until(const struct tls *tls); /* of the certificate: seconds since 1970 */

#endif
