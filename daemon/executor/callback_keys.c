/* The keys of callbacks and what they sign (Standard Webhooks 1.0, symmetric signatures).
 * The file is read for each callback: a new key counts at once, and a callback costs a connection anyway.
 * Called by callback.c.  Thread: any. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "executor/callback.h"
#include "proto/id.h"

#define PREFIX "whsec_"
#define KEY_LEAST 24u
#define MADE_LEN 32u
#define LINE_SIZE 256

/* ---- reading ---- */

static bool read_key(const char *text, size_t len, struct callback_key *ret)
{
    unsigned char decoded[LINE_SIZE];
    size_t padding = 0;
    if (len % 4 || len == 0 || len / 4 * 3 > sizeof decoded)
        return false;
    while (padding < 2 && text[len - 1 - padding] == '=')
        padding++;
    int n = EVP_DecodeBlock(decoded, (const unsigned char *)text, (int)len);
    if (n < 0 || (size_t)n - padding < KEY_LEAST || (size_t)n - padding > CALLBACK_KEY_MAX)
        return false;
    ret->len = (size_t)n - padding;
    memcpy(ret->bytes, decoded, ret->len);
    return true;
}

/* False: the line is neither a key nor a comment. */
static bool read_line(const char *line, struct callback_keys *keys)
{
    const char *start = line + strspn(line, " \t");
    size_t len = strcspn(start, " \t\r\n#"), prefix = sizeof PREFIX - 1;
    if (len == 0)
        return true;
    if (len < prefix || memcmp(start, PREFIX, prefix) != 0 || keys->n == CALLBACK_KEYS_MAX ||
        !read_key(start + prefix, len - prefix, &keys->list[keys->n]))
        return false;
    keys->n++;
    return true;
}

static int read_file(FILE *file, const char *path, struct callback_keys *ret, char *error, size_t error_size)
{
    char line[LINE_SIZE];
    struct stat status;
    if (fstat(fileno(file), &status) == 0 && status.st_mode & (S_IRWXG & ~S_IRGRP & ~S_IXGRP)) {
        (void)snprintf(error, error_size, "%s can be written by others: chmod 600 it", path);
        return -1;
    }
    if (fstat(fileno(file), &status) == 0 && status.st_mode & S_IRWXO) {
        (void)snprintf(error, error_size, "%s can be read by everybody: chmod 600 it", path);
        return -1;
    }
    for (unsigned number = 1; fgets(line, sizeof line, file); number++)
        if (!read_line(line, ret)) {
            (void)snprintf(error, error_size,
                           "%s:%u: expected whsec_ and the base64 of 24 to 64 bytes, at most %u such lines", path,
                           number, CALLBACK_KEYS_MAX);
            return -1;
        }
    if (ret->n)
        return 0;
    (void)snprintf(error, error_size, "%s has no key: add a line with whsec_ and the base64 of 32 random bytes", path);
    return -1;
}

/* ---- making ---- */

/* Under another name first: nobody may find a file that is half there. */
static int make_file(const char *path, char *error, size_t error_size)
{
    unsigned char key[MADE_LEN], text[MADE_LEN * 2];
    char draft[4096], line[LINE_SIZE];
    random_bytes(key, sizeof key);
    if (EVP_EncodeBlock(text, key, sizeof key) <= 0) {
        (void)snprintf(error, error_size, "cannot make %s: there is no base64 without libcrypto", path);
        return -1;
    }
    int len = snprintf(line, sizeof line, PREFIX "%s\n", (const char *)text);
    int drafted = snprintf(draft, sizeof draft, "%s.%ld.%lx", path, (long)getpid(), (unsigned long)pthread_self());
    int fd = drafted < (int)sizeof draft ? open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
    bool good = fd >= 0 && write(fd, line, (size_t)len) == len && fsync(fd) == 0;
    good = good && (link(draft, path) == 0 || errno == EEXIST); /* another thread was quicker */
    if (!good)
        (void)snprintf(error, error_size, "cannot make %s: %s", path, strerror(errno));
    if (fd >= 0) {
        (void)close(fd);
        (void)unlink(draft);
    }
    return good ? 0 : -1;
}

int callback_keys_read(const char *path, bool make, struct callback_keys *ret, char *error, size_t error_size)
{
    ret->n = 0;
    FILE *file = fopen(path, "re");
    if (!file && errno == ENOENT && make) {
        if (make_file(path, error, error_size) < 0)
            return -1;
        file = fopen(path, "re");
    }
    if (!file) {
        (void)snprintf(error, error_size, "cannot read the keys of callbacks from %s: %s", path, strerror(errno));
        return -1;
    }
    int result = read_file(file, path, ret, error, error_size);
    (void)fclose(file);
    return result;
}

/* ---- signing ---- */

bool callback_sign(const struct callback_keys *keys, const char *id, const char *timestamp, struct slice body,
                   struct buf *out)
{
    struct buf signed_text = BUF_INIT;
    buf_printf(&signed_text, "%s.%s.", id, timestamp);
    buf_append_slice(&signed_text, body);
    bool good = buf_ok(&signed_text);
    for (size_t i = 0; good && i < keys->n; i++) {
        unsigned char digest[EVP_MAX_MD_SIZE], text[EVP_MAX_MD_SIZE * 2];
        unsigned len = 0;
        good = HMAC(EVP_sha256(), keys->list[i].bytes, (int)keys->list[i].len, (const unsigned char *)signed_text.data,
                    signed_text.len, digest, &len) != NULL;
        if (!good)
            break;
        good = EVP_EncodeBlock(text, digest, (int)len) > 0;
        if (!good)
            break;
        buf_printf(out, "%sv1,%s", i ? " " : "", (const char *)text);
    }
    buf_release(&signed_text);
    return good && buf_ok(out);
}
