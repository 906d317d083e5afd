/* The payload: expiry, attempt, task (20 bytes, big-endian), then the tenant. */
#include "auth/task_token.h"

#define PREFIX_LEN (sizeof TASK_TOKEN_PREFIX - 1)
#define FIXED 28u
#define PAYLOAD_MAX (FIXED + TASK_TOKEN_TENANT_MAX)
#define SIGNATURE_LEN 52u

_Static_assert(PREFIX_LEN + (PAYLOAD_MAX * 8 + 4) / 5 + 1 + SIGNATURE_LEN + 1 <= TASK_TOKEN_SIZE, "the longest fits");

static void put(unsigned char *out, uint64_t value, unsigned bytes)
{
    while (bytes--) {
        out[bytes] = (unsigned char)value;
        value >>= 8;
    }
}

static uint64_t get(const unsigned char *from, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value = value << 8 | from[i];
    return value;
}

bool task_token_is_one(struct slice text)
{
    return text.len > PREFIX_LEN && memcmp(text.data, TASK_TOKEN_PREFIX, PREFIX_LEN) == 0;
}

bool task_token_make(const unsigned char key[TOKEN_KEY_SIZE], const struct task_token *token, char out[TASK_TOKEN_SIZE])
{
    unsigned char payload[PAYLOAD_MAX], signature[TOKEN_HASH_SIZE];
    size_t len = strnlen(token->tenant, sizeof token->tenant), at = PREFIX_LEN;
    if (len < 1 || len > TASK_TOKEN_TENANT_MAX)
        return false;
    put(payload, (uint64_t)token->expires_us, 8);
    put(payload + 8, token->attempt, 4);
    put(payload + 12, token->task.hi, 8);
    put(payload + 20, token->task.lo, 8);
    memcpy(payload + FIXED, token->tenant, len);
    memcpy(out, TASK_TOKEN_PREFIX, PREFIX_LEN);
    at += token_base32_encode(payload, FIXED + len, out + at);
    if (!token_hash(key, slice_of(out, at), signature))
        return false;
    out[at++] = '_';
    (void)token_base32_encode(signature, sizeof signature, out + at);
    return true;
}

bool task_token_read(const unsigned char key[TOKEN_KEY_SIZE], struct slice text, struct task_token *ret)
{
    unsigned char payload[PAYLOAD_MAX], given[TOKEN_HASH_SIZE], signature[TOKEN_HASH_SIZE];
    if (!task_token_is_one(text) || text.len >= TASK_TOKEN_SIZE || text.len <= PREFIX_LEN + SIGNATURE_LEN + 1)
        return false;
    size_t signed_len = text.len - SIGNATURE_LEN - 1;
    if (text.data[signed_len] != '_' ||
        token_base32_decode(slice_of(text.data + signed_len + 1, SIGNATURE_LEN), given, sizeof given) != sizeof given ||
        !token_hash(key, slice_of(text.data, signed_len), signature) || !token_hash_equal(given, signature))
        return false;
    size_t len =
        token_base32_decode(slice_of(text.data + PREFIX_LEN, signed_len - PREFIX_LEN), payload, sizeof payload);
    if (len <= FIXED)
        return false; /* nobody signs that */
    *ret = (struct task_token){.expires_us = (int64_t)get(payload, 8),
                               .attempt = (uint32_t)get(payload + 8, 4),
                               .task = {get(payload + 12, 8), get(payload + 20, 8)}};
    memcpy(ret->tenant, payload + FIXED, len - FIXED);
    return true;
}
