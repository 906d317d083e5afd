#include "proto/token.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define PREFIX "sat_"
#define PREFIX_LEN 4u
#define ID_LEN (TOKEN_ID_SIZE - 1)
#define SECRET_BYTES 32u
#define SECRET_LEN 52u
#define CHECK_LEN 7u
#define TEXT_LEN (PREFIX_LEN + ID_LEN + 1 + SECRET_LEN + CHECK_LEN)

_Static_assert(TEXT_LEN + 1 == TOKEN_TEXT_SIZE, "the parts make the whole");

static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";

/* ---- base32 ---- */

static int digit(char c)
{
    if (c >= 'a' && c <= 'z')
        return c - 'a';
    return c >= '2' && c <= '7' ? c - '2' + 26 : -1;
}

size_t token_base32_encode(const unsigned char *bytes, size_t len, char *out)
{
    uint32_t held = 0;
    unsigned bits = 0;
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        held = held << 8 | bytes[i];
        for (bits += 8; bits >= 5; bits -= 5)
            out[n++] = alphabet[held >> (bits - 5) & 31];
    }
    if (bits)
        out[n++] = alphabet[held << (5 - bits) & 31];
    out[n] = '\0';
    return n;
}

size_t token_base32_decode(struct slice text, unsigned char *out, size_t size)
{
    uint32_t held = 0;
    unsigned bits = 0;
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        int value = digit(text.data[i]);
        if (value < 0)
            return 0;
        held = held << 5 | (uint32_t)value;
        bits += 5;
        if (bits < 8)
            continue;
        if (n == size)
            return 0;
        bits -= 8;
        out[n++] = (unsigned char)(held >> bits);
    }
    return bits < 5 && (held & ((1u << bits) - 1)) == 0 ? n : 0;
}

/* ---- the text ---- */

static uint32_t crc32_of(const char *data, size_t len)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < len; i++) {
        crc ^= (unsigned char)data[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static void write_check(const char *text, size_t len, char out[CHECK_LEN])
{
    uint32_t crc = crc32_of(text, len);
    for (unsigned i = 0; i < CHECK_LEN; i++) {
        out[CHECK_LEN - 1 - i] = alphabet[crc & 31];
        crc >>= 5;
    }
}

void token_random(unsigned char *out, size_t len)
{
    if (len > 256 || getentropy(out, len) < 0)
        abort(); /* the kernel has no random numbers: nothing here may go on */
}

void token_make(char out[TOKEN_TEXT_SIZE])
{
    unsigned char id[ID_LEN], secret[SECRET_BYTES];
    size_t at = PREFIX_LEN;
    token_random(id, sizeof id);
    token_random(secret, sizeof secret);
    memcpy(out, PREFIX, PREFIX_LEN);
    for (unsigned i = 0; i < ID_LEN; i++)
        out[at++] = alphabet[id[i] & 31];
    out[at++] = '_';
    at += token_base32_encode(secret, sizeof secret, out + at);
    write_check(out, at, out + at);
    out[TEXT_LEN] = '\0';
    OPENSSL_cleanse(secret, sizeof secret);
}

bool token_id_is_valid(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (digit(text.data[i]) < 0)
            return false;
    return text.len == ID_LEN;
}

bool token_parse(struct slice text, char ret_id[TOKEN_ID_SIZE])
{
    char check[CHECK_LEN];
    if (text.len != TEXT_LEN || memcmp(text.data, PREFIX, PREFIX_LEN) != 0 || text.data[PREFIX_LEN + ID_LEN] != '_' ||
        !token_id_is_valid(slice_of(text.data + PREFIX_LEN, ID_LEN)))
        return false;
    for (size_t i = PREFIX_LEN + ID_LEN + 1; i < TEXT_LEN; i++)
        if (digit(text.data[i]) < 0)
            return false;
    write_check(text.data, TEXT_LEN - CHECK_LEN, check);
    if (memcmp(check, text.data + TEXT_LEN - CHECK_LEN, CHECK_LEN) != 0)
        return false;
    memcpy(ret_id, text.data + PREFIX_LEN, ID_LEN);
    ret_id[ID_LEN] = '\0';
    return true;
}

/* ---- the hash ---- */

/* A MAC is set up once a thread: that is most of what a short one costs. */
struct hasher {
    EVP_MAC_CTX *mac;
    unsigned char key[TOKEN_KEY_SIZE]; /* the one that it is set up with */
    bool keyed;
};

static pthread_key_t hasher_key;
static pthread_once_t hasher_once = PTHREAD_ONCE_INIT;
static bool have_hasher_key;

static void free_hasher(void *arg)
{
    struct hasher *hasher = arg;
    EVP_MAC_CTX_free(hasher->mac);
    OPENSSL_cleanse(hasher, sizeof *hasher);
    free(hasher);
}

static void make_hasher_key(void)
{
    have_hasher_key = pthread_key_create(&hasher_key, free_hasher) == 0;
}

static struct hasher *own_hasher(void)
{
    (void)pthread_once(&hasher_once, make_hasher_key);
    struct hasher *hasher = have_hasher_key ? pthread_getspecific(hasher_key) : NULL;
    if (hasher || !have_hasher_key || !(hasher = calloc(1, sizeof *hasher)))
        return hasher;
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    hasher->mac = mac ? EVP_MAC_CTX_new(mac) : NULL;
    EVP_MAC_free(mac);
    if (hasher->mac && pthread_setspecific(hasher_key, hasher) == 0)
        return hasher;
    free_hasher(hasher);
    return NULL;
}

static bool set_up(struct hasher *hasher, const unsigned char key[TOKEN_KEY_SIZE])
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string("digest", digest, 0), OSSL_PARAM_construct_end()};
    if (hasher->keyed && memcmp(hasher->key, key, TOKEN_KEY_SIZE) == 0)
        return EVP_MAC_init(hasher->mac, NULL, 0, NULL) == 1;
    hasher->keyed = EVP_MAC_init(hasher->mac, key, TOKEN_KEY_SIZE, params) == 1;
    memcpy(hasher->key, key, TOKEN_KEY_SIZE);
    return hasher->keyed;
}

bool token_hash(const unsigned char key[TOKEN_KEY_SIZE], struct slice text, unsigned char out[TOKEN_HASH_SIZE])
{
    struct hasher *hasher = own_hasher();
    size_t len = 0;
    bool done = hasher && set_up(hasher, key) &&
                EVP_MAC_update(hasher->mac, (const unsigned char *)text.data, text.len) == 1 &&
                EVP_MAC_final(hasher->mac, out, &len, TOKEN_HASH_SIZE) == 1 && len == TOKEN_HASH_SIZE;
    if (hasher && !done)
        hasher->keyed = false;
    return done;
}

bool token_hash_equal(const unsigned char a[TOKEN_HASH_SIZE], const unsigned char b[TOKEN_HASH_SIZE])
{
    return CRYPTO_memcmp(a, b, TOKEN_HASH_SIZE) == 0;
}

/* ---- scopes ---- */

static const struct {
    const char *name;
    unsigned scope;
} scopes_known[] = {{"submit", TOKEN_SUBMIT}, {"read", TOKEN_READ}, {"admin", TOKEN_ADMIN}};
#define N_SCOPES (sizeof scopes_known / sizeof scopes_known[0])

bool token_scope_parse(struct slice word, unsigned *ret_scope)
{
    for (size_t i = 0; i < N_SCOPES; i++) {
        if (slice_eq_str(word, scopes_known[i].name)) {
            *ret_scope = scopes_known[i].scope;
            return true;
        }
    }
    return false;
}

bool token_scopes_parse(struct slice text, unsigned *ret_scopes)
{
    unsigned scopes = 0, one;
    for (size_t at = 0; at <= text.len;) {
        size_t end = at;
        while (end < text.len && text.data[end] != ',')
            end++;
        struct slice word = slice_of(text.data + at, end - at);
        while (word.len && word.data[0] == ' ')
            word = slice_of(word.data + 1, word.len - 1);
        while (word.len && word.data[word.len - 1] == ' ')
            word.len--;
        if (!token_scope_parse(word, &one))
            return false;
        scopes |= one;
        at = end + 1;
    }
    *ret_scopes = scopes;
    return true;
}

void token_scopes_format(unsigned scopes, char out[TOKEN_SCOPES_SIZE])
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < N_SCOPES; i++) {
        size_t len = strlen(scopes_known[i].name);
        if (!(scopes & scopes_known[i].scope))
            continue;
        if (at)
            out[at++] = ',';
        memcpy(out + at, scopes_known[i].name, len + 1);
        at += len;
    }
}
