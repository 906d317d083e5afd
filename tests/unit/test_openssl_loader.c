/* OpenSSL at first use: nothing of it before, a failure that is none for good, and then the library's own answers. */
#include <fcntl.h>
#include <link.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/openssl_loader.h"

static int is_openssl(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    unsigned *n = arg;
    *n += strstr(info->dlpi_name, "libcrypto") != NULL;
    *n += strstr(info->dlpi_name, "libssl") != NULL;
    return 0;
}

static unsigned count_loaded(void)
{
    unsigned n = 0;
    (void)dl_iterate_phdr(is_openssl, &n);
    return n;
}

static void test_a_program_starts_without_it(void **state)
{
    (void)state;
    assert_int_equal(count_loaded(), 0);
}

static void test_memory_is_cleansed_without_it(void **state)
{
    (void)state;
    char secret[] = "a secret";
    OPENSSL_cleanse(secret, sizeof secret);
    for (size_t i = 0; i < sizeof secret; i++)
        assert_int_equal(secret[i], 0);
    assert_int_equal(count_loaded(), 0);
}

/* No file can be opened: each call fails, in its own way, and none says that two secrets are alike. */
static void test_each_fails_where_it_cannot_be_loaded(void **state)
{
    (void)state;
    unsigned char digest[EVP_MAX_MD_SIZE], text[16];
    unsigned len = 0;
    char why[256] = "";
    struct rlimit before, none = {0};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    bool loaded = openssl_load(why, sizeof why);
    const EVP_MD *sha256 = EVP_sha256();
    int digested = EVP_Digest("abc", 3, digest, NULL, sha256, NULL);
    const unsigned char *mac = HMAC(sha256, "key", 3, (const unsigned char *)"abc", 3, digest, &len);
    EVP_MAC *fetched = EVP_MAC_fetch(NULL, "HMAC", NULL);
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    int same = CRYPTO_memcmp("abc", "abc", 3), decoded = EVP_DecodeBlock(text, (const unsigned char *)"YWJj", 4);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_false(loaded);
    assert_non_null(strstr(why, "libcrypto cannot be loaded"));
    assert_null(sha256);
    assert_int_not_equal(digested, 1);
    assert_null(mac);
    assert_null(fetched);
    assert_null(context);
    assert_int_not_equal(same, 0);
    assert_true(decoded < 0);
    assert_int_equal(count_loaded(), 0);
}

static void test_a_digest_loads_what_it_needs(void **state)
{
    (void)state;
    static const unsigned char expected[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
                                             0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
                                             0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    unsigned char digest[EVP_MAX_MD_SIZE];
    assert_int_equal(EVP_Digest("abc", 3, digest, NULL, EVP_sha256(), NULL), 1);
    assert_memory_equal(digest, expected, sizeof expected);
    assert_int_equal(CRYPTO_memcmp(digest, expected, sizeof expected), 0);
    assert_int_equal(count_loaded(), 1);
}

static void test_tls_loads_the_rest(void **state)
{
    (void)state;
    char why[256] = "";
    assert_true(openssl_load(why, sizeof why));
    assert_int_equal(count_loaded(), 2);
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    assert_non_null(context);
    assert_int_equal(SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION), 1);
    SSL_CTX_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* in this order */
        cmocka_unit_test(test_a_program_starts_without_it),
        cmocka_unit_test(test_memory_is_cleansed_without_it),
        cmocka_unit_test(test_each_fails_where_it_cannot_be_loaded),
        cmocka_unit_test(test_a_digest_loads_what_it_needs),
        cmocka_unit_test(test_tls_loads_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
