/* Compiled with -fvisibility=hidden: a library that is loaded later (libcurl) must find OpenSSL's own, not ours. */
#include "proto/openssl_loader.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "proto/library_loader.h"

#define TEXT_OF(number) #number
#define FILE_OF(name, version) name ".so." TEXT_OF(version)

struct library {
    const char *file, *title;
    const struct library_symbol *symbols;
    size_t n_symbols;
    void *table;
    atomic_bool loaded;   /* the table is filled, and never changes again */
    pthread_mutex_t lock; /* held while it is loaded, that it is done once */
};

static bool load(struct library *library, char *why, size_t why_size)
{
    if (atomic_load_explicit(&library->loaded, memory_order_acquire))
        return true;
    (void)pthread_mutex_lock(&library->lock);
    bool loaded = atomic_load_explicit(&library->loaded, memory_order_relaxed) ||
                  library_load(library->file, library->title, library->symbols, library->n_symbols, library->table, why,
                               why_size) != NULL;
    atomic_store_explicit(&library->loaded, loaded, memory_order_release);
    (void)pthread_mutex_unlock(&library->lock);
    return loaded;
}

/* ---- their functions ---- */

#define FUNCTION(result, name, parameters, arguments, otherwise) __typeof__(name) *name;
#define PROCEDURE(name, parameters, arguments) __typeof__(name) *name;
static struct crypto_functions {
#include "proto/libcrypto.def"
} crypto_functions;
static struct ssl_functions {
#include "proto/libssl.def"
} ssl_functions;
#undef FUNCTION
#undef PROCEDURE

#define FUNCTION(result, name, parameters, arguments, otherwise) {#name, offsetof(struct crypto_functions, name)},
#define PROCEDURE(name, parameters, arguments) {#name, offsetof(struct crypto_functions, name)},
static const struct library_symbol crypto_symbols[] = {
#include "proto/libcrypto.def"
};
#undef FUNCTION
#undef PROCEDURE

#define FUNCTION(result, name, parameters, arguments, otherwise) {#name, offsetof(struct ssl_functions, name)},
#define PROCEDURE(name, parameters, arguments) {#name, offsetof(struct ssl_functions, name)},
static const struct library_symbol ssl_symbols[] = {
#include "proto/libssl.def"
};
#undef FUNCTION
#undef PROCEDURE

static struct library libcrypto = {.file = FILE_OF("libcrypto", OPENSSL_SHLIB_VERSION),
                                   .title = "libcrypto",
                                   .symbols = crypto_symbols,
                                   .n_symbols = sizeof crypto_symbols / sizeof crypto_symbols[0],
                                   .table = &crypto_functions,
                                   .lock = PTHREAD_MUTEX_INITIALIZER};
static struct library libssl = {.file = FILE_OF("libssl", OPENSSL_SHLIB_VERSION),
                                .title = "libssl",
                                .symbols = ssl_symbols,
                                .n_symbols = sizeof ssl_symbols / sizeof ssl_symbols[0],
                                .table = &ssl_functions,
                                .lock = PTHREAD_MUTEX_INITIALIZER};

bool openssl_load(char *why, size_t why_size)
{
    return load(&libcrypto, why, why_size) && load(&libssl, why, why_size);
}

/* ---- ours by the same names ---- */

static bool is_there(struct library *library)
{
    char why[256];
    return load(library, why, sizeof why);
}

#define FUNCTION(result, name, parameters, arguments, otherwise)                                                       \
    result name parameters                                                                                             \
    {                                                                                                                  \
        return is_there(&libcrypto) ? crypto_functions.name arguments : (otherwise);                                   \
    }
#define PROCEDURE(name, parameters, arguments)                                                                         \
    void name parameters                                                                                               \
    {                                                                                                                  \
        if (is_there(&libcrypto))                                                                                      \
            crypto_functions.name arguments;                                                                           \
    }
#include "proto/libcrypto.def"
#undef FUNCTION
#undef PROCEDURE

#define FUNCTION(result, name, parameters, arguments, otherwise)                                                       \
    result name parameters                                                                                             \
    {                                                                                                                  \
        return is_there(&libssl) ? ssl_functions.name arguments : (otherwise);                                         \
    }
#define PROCEDURE(name, parameters, arguments)                                                                         \
    void name parameters                                                                                               \
    {                                                                                                                  \
        if (is_there(&libssl))                                                                                         \
            ssl_functions.name arguments;                                                                              \
    }
#include "proto/libssl.def"
#undef FUNCTION
#undef PROCEDURE

void OPENSSL_cleanse(void *ptr, size_t len)
{
    explicit_bzero(ptr, len);
}
