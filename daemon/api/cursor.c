/* 16 bytes of id and 8 of a digest over id and binding, in base64url. */
#include "api/cursor.h"

#include <openssl/evp.h>

#include "proto/buf.h"

enum { ID_BYTES = 16, MARK_BYTES = 8, CURSOR_BYTES = ID_BYTES + MARK_BYTES };

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void put_u64(unsigned char *out, uint64_t value)
{
    for (int i = 7; i >= 0; i--, value >>= 8)
        out[i] = (unsigned char)value;
}

static uint64_t get_u64(const unsigned char *bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value = value << 8 | bytes[i];
    return value;
}

static bool mark(const unsigned char id[ID_BYTES], struct slice binding, unsigned char out[MARK_BYTES])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    struct buf text = BUF_INIT;
    buf_append_str(&text, "satchel cursor 1");
    buf_append(&text, id, ID_BYTES);
    buf_append_slice(&text, binding);
    bool good = buf_ok(&text) && EVP_Digest(text.data, text.len, digest, NULL, EVP_sha256(), NULL) == 1;
    if (good)
        memcpy(out, digest, MARK_BYTES);
    buf_release(&text);
    return good;
}

bool cursor_format(struct task_id before, struct slice binding, char out[CURSOR_TEXT_SIZE])
{
    unsigned char bytes[CURSOR_BYTES];
    put_u64(bytes, before.hi);
    put_u64(bytes + 8, before.lo);
    if (!mark(bytes, binding, bytes + ID_BYTES))
        return false;
    for (size_t i = 0; i < CURSOR_BYTES / 3; i++) {
        uint32_t group = (uint32_t)bytes[3 * i] << 16 | (uint32_t)bytes[3 * i + 1] << 8 | bytes[3 * i + 2];
        for (int k = 0; k < 4; k++)
            out[4 * i + (size_t)k] = alphabet[group >> (18 - 6 * k) & 63];
    }
    out[CURSOR_TEXT_SIZE - 1] = '\0';
    return true;
}

bool cursor_parse(struct slice text, struct slice binding, struct task_id *ret_before)
{
    unsigned char bytes[CURSOR_BYTES], expected[MARK_BYTES];
    if (text.len != CURSOR_TEXT_SIZE - 1)
        return false;
    for (size_t i = 0; i < CURSOR_BYTES / 3; i++) {
        uint32_t group = 0;
        for (size_t k = 0; k < 4; k++) {
            char c = text.data[4 * i + k];
            const char *at = c ? strchr(alphabet, c) : NULL;
            if (!at)
                return false;
            group = group << 6 | (uint32_t)(at - alphabet);
        }
        bytes[3 * i] = (unsigned char)(group >> 16);
        bytes[3 * i + 1] = (unsigned char)(group >> 8);
        bytes[3 * i + 2] = (unsigned char)group;
    }
    if (!mark(bytes, binding, expected) || memcmp(expected, bytes + ID_BYTES, MARK_BYTES) != 0)
        return false;
    *ret_before = (struct task_id){get_u64(bytes), get_u64(bytes + 8)};
    return true;
}
