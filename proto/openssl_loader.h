/* OpenSSL, loaded at first use: with its tables it costs 1.6 MB of resident memory, which a daemon without TLS, tokens
 * and idempotency keys does not have to pay.
 *
 * Nobody calls anything for that: the functions of OpenSSL's that we use (libcrypto.def, libssl.def) are ours by name,
 * and go on to the library's, which the first call loads.  Where it cannot be loaded each returns what it returns when
 * it has failed; a later call tries again.
 * Thread: any. */
#ifndef SATCHEL_OPENSSL_LOADER_H
#define SATCHEL_OPENSSL_LOADER_H

#include <stdbool.h>
#include <stddef.h>

bool openssl_load(char *why, size_t why_size); /* both libraries; false: why[] says why not */

#endif
