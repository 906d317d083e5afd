/* The names in a client's certificate.  Pure functions; any thread. */
#ifndef SATCHEL_HTTP_CERTIFICATE_H
#define SATCHEL_HTTP_CERTIFICATE_H

#include <openssl/x509.h>

#include "http/http.h"

int certificate_read(const X509 *certificate, struct http_certificate **ret); /* 0 or -ENOMEM */
void certificate_free(struct http_certificate *certificate);                  /* NULL is fine */

#endif
