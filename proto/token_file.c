/* Reading: the whole text is kept, cut into its words where it lies; the records point into it.
 * Writing: read under a lock on the folder, written anew beside, synced, renamed. */
#include "proto/token_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/buf.h"
#include "proto/timetext.h"

#define HEADER "satchel-tokens"
#define WORDS_MAX 7

static int fail(char error[TOKEN_ERROR_SIZE], const char *path, unsigned line, const char *what)
{
    if (line)
        (void)snprintf(error, TOKEN_ERROR_SIZE, "%s:%u: %s", path, line, what);
    else
        (void)snprintf(error, TOKEN_ERROR_SIZE, "%s: %s", path, what);
    return -1;
}

const char *token_tenant_check(struct slice name)
{
    static const char wrong[] =
        "a tenant is 1 to 150 of A-Z a-z 0-9 ! - _ . * ' ( ), and not \".\" or \"..\"; \"*\" alone means all";
    if (name.len < 1 || name.len > TOKEN_TENANT_MAX || slice_eq_str(name, ".") || slice_eq_str(name, ".."))
        return wrong;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (c == '\0' || (!plain && !strchr("!-_.*'()", c)))
            return wrong;
    }
    return NULL;
}

/* ---- reading ---- */

static bool read_hex(const char *text, unsigned char *out, size_t size)
{
    if (strlen(text) != 2 * size)
        return false;
    for (size_t i = 0; i < 2 * size; i++) {
        char c = text[i];
        int value = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (value < 0)
            return false;
        out[i / 2] = (unsigned char)(i % 2 ? out[i / 2] << 4 | value : value);
    }
    return true;
}

/* Cuts the line into its words, in place; more than `max` count as max + 1. */
static unsigned cut(char *line, char *words[], unsigned max)
{
    unsigned n = 0;
    for (;;) {
        line += strspn(line, " \t\r");
        if (!*line)
            return n;
        if (n == max)
            return max + 1;
        words[n++] = line;
        line += strcspn(line, " \t\r");
        if (*line)
            *line++ = '\0';
    }
}

static const char *read_tenants(char *text, struct token_file *file, size_t *used, struct token_record *record)
{
    record->all_tenants = strcmp(text, "*") == 0;
    record->tenants = file->tenants + *used;
    for (char *next; text && !record->all_tenants; text = next) {
        next = strchr(text, ',');
        if (next)
            *next++ = '\0';
        const char *wrong = token_tenant_check(slice_str(text));
        if (wrong)
            return wrong;
        if (strcmp(text, "*") == 0 || ++record->n_tenants > TOKEN_TENANTS_MAX)
            return "a token is for up to 1000 tenants, or for \"*\" alone";
        file->tenants[(*used)++] = text;
    }
    return NULL;
}

/* NULL, or what is wrong with the line. */
static const char *read_record(char *words[], struct token_file *file, size_t *used, struct token_record *record)
{
    if (!token_id_is_valid(slice_str(words[0])))
        return "the line does not begin with the id of a token";
    memcpy(record->id, words[0], TOKEN_ID_SIZE);
    if (!read_hex(words[1], record->hash, sizeof record->hash))
        return "the hash is not 64 hexadecimal digits";
    if (!timestamp_parse(words[2], strlen(words[2]), &record->created_us))
        return "the time of creation is not an RFC 3339 time";
    if (strcmp(words[3], "never") != 0 &&
        (!timestamp_parse(words[3], strlen(words[3]), &record->expires_us) || record->expires_us <= 0))
        return "the expiry is neither an RFC 3339 time nor \"never\"";
    if (!token_scopes_parse(slice_str(words[4]), &record->scopes))
        return "the scopes are not a list of submit, read, admin";
    return read_tenants(words[5], file, used, record);
}

static const char *read_header(char *line, struct token_file *file)
{
    char *words[3];
    if (cut(line, words, 3) != 3 || strcmp(words[0], HEADER) != 0)
        return "is not a file of tokens: its first line is not \"satchel-tokens 1 KEY\"; satchel token makes one";
    if (strcmp(words[1], "1") != 0)
        return "is of a version that is not known here";
    bool good = read_hex(words[2], file->key, sizeof file->key);
    OPENSSL_cleanse(words[2], strlen(words[2]));
    return good ? NULL : "the key is not 64 hexadecimal digits";
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct token_record *)a)->id, ((const struct token_record *)b)->id);
}

/* An id is random: any bits of it are a hash. */
static size_t place_of(const char *id, size_t size)
{
    uint64_t bits;
    memcpy(&bits, id, sizeof bits);
    return (size_t)(bits * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (size - 1);
}

static bool make_index(struct token_file *file)
{
    for (file->index_size = 8; file->index_size < 2 * file->n;)
        file->index_size *= 2;
    file->index = calloc(file->index_size, sizeof *file->index);
    for (size_t i = 0; file->index && i < file->n; i++) {
        size_t at = place_of(file->records[i].id, file->index_size);
        while (file->index[at])
            at = (at + 1) & (file->index_size - 1);
        file->index[at] = (uint32_t)i + 1;
    }
    return file->index != NULL;
}

static size_t count_of(const char *text, char wanted)
{
    size_t n = 0;
    for (; *text; text++)
        n += *text == wanted;
    return n;
}

static int read_lines(const char *name, struct token_file *file, char error[TOKEN_ERROR_SIZE])
{
    bool header = false;
    size_t used = 0;
    unsigned number = 1;
    for (char *line = file->text, *next; line; line = next, number++) {
        char *words[WORDS_MAX];
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        if (!*line || *line == '#' || strspn(line, " \t\r") == strlen(line))
            continue;
        const char *wrong = NULL;
        if (!header) {
            wrong = read_header(line, file);
            header = true;
        } else if (cut(line, words, WORDS_MAX - 1) != WORDS_MAX - 1) {
            wrong = "a line is ID HASH CREATED EXPIRES SCOPES TENANTS";
        } else {
            wrong = read_record(words, file, &used, &file->records[file->n++]);
        }
        if (wrong)
            return fail(error, name, number, wrong);
    }
    if (!header)
        return fail(error, name, 0, "is empty; satchel token create makes one");
    qsort(file->records, file->n, sizeof *file->records, by_id);
    for (size_t i = 1; i < file->n; i++)
        if (strcmp(file->records[i].id, file->records[i - 1].id) == 0)
            return fail(error, name, 0, "has a token twice");
    return make_index(file) ? 0 : fail(error, name, 0, "out of memory");
}

int token_file_parse(struct slice text, const char *name, struct token_file *ret, char error[TOKEN_ERROR_SIZE])
{
    struct token_file file = {0};
    int result = -1;
    if (text.len && memchr(text.data, '\0', text.len))
        return fail(error, name, 0, "has a zero byte");
    file.text = strndup(text.len ? text.data : "", text.len);
    if (file.text) {
        size_t lines = count_of(file.text, '\n') + 1;
        file.records = calloc(lines, sizeof *file.records);
        file.tenants = calloc(lines + count_of(file.text, ',') + 1, sizeof *file.tenants);
    }
    if (file.records && file.tenants)
        result = read_lines(name, &file, error);
    else
        (void)fail(error, name, 0, "out of memory");
    if (result < 0)
        token_file_release(&file);
    else
        *ret = file;
    return result;
}

void token_file_release(struct token_file *file)
{
    OPENSSL_cleanse(file->key, sizeof file->key);
    free(file->records);
    free(file->tenants);
    free(file->index);
    free(file->text);
    *file = (struct token_file){0};
}

const struct token_record *token_file_find(const struct token_file *file, const char *id)
{
    if (!file->n || !token_id_is_valid(slice_str(id)))
        return NULL;
    for (size_t at = place_of(id, file->index_size); file->index[at]; at = (at + 1) & (file->index_size - 1))
        if (strcmp(file->records[file->index[at] - 1].id, id) == 0)
            return &file->records[file->index[at] - 1];
    return NULL;
}

/* errno is set where it is not 0. */
static int read_whole(const char *path, struct buf *text, struct stat *ret_status)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    ssize_t got = -1;
    if (fd < 0)
        return -1;
    text->max = TOKEN_FILE_MAX;
    int err = fstat(fd, ret_status) < 0 ? errno : S_ISDIR(ret_status->st_mode) ? EISDIR : 0;
    while (!err && got) {
        got = buf_reserve(text, 4096) ? read(fd, text->data + text->len, 4096) : -1;
        if (got > 0)
            text->len += (size_t)got;
        else if (got < 0 && (!buf_ok(text) || errno != EINTR))
            err = buf_ok(text) ? errno : EFBIG;
    }
    (void)close(fd);
    errno = err;
    return err ? -1 : 0;
}

static void forget(struct buf *text)
{
    if (text->data)
        OPENSSL_cleanse(text->data, text->cap);
    buf_release(text);
}

int token_file_read(const char *path, struct token_file *ret, char error[TOKEN_ERROR_SIZE])
{
    struct buf text = BUF_INIT;
    struct stat status;
    char why[128];
    int result = -1;
    if (read_whole(path, &text, &status) < 0) {
        (void)snprintf(why, sizeof why, "cannot be read: %s", strerror(errno));
        (void)fail(error, path, 0, why);
    } else if (S_ISREG(status.st_mode) && status.st_mode & S_IWOTH) {
        (void)fail(error, path, 0, "anybody may write to it; chmod 600 it, and make its tokens anew");
    } else {
        result = token_file_parse(buf_slice(&text), path, ret, error);
    }
    forget(&text);
    return result;
}

/* ---- writing ---- */

static void append_hex(struct buf *out, const unsigned char *bytes, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        buf_append_char(out, hex[bytes[i] >> 4]);
        buf_append_char(out, hex[bytes[i] & 15]);
    }
}

static void append_record(struct buf *out, const struct token_record *record)
{
    char time[TIMESTAMP_TEXT_SIZE], scopes[TOKEN_SCOPES_SIZE];
    buf_append_str(out, record->id);
    buf_append_char(out, ' ');
    append_hex(out, record->hash, sizeof record->hash);
    timestamp_format(record->created_us, time);
    buf_printf(out, " %s", time);
    if (record->expires_us)
        timestamp_format(record->expires_us, time);
    token_scopes_format(record->scopes, scopes);
    buf_printf(out, " %s %s ", record->expires_us ? time : "never", scopes);
    for (size_t i = 0; i < record->n_tenants; i++)
        buf_printf(out, "%s%s", i ? "," : "", record->tenants[i]);
    buf_append_str(out, record->all_tenants ? "*\n" : "\n");
}

static void append_file(struct buf *out, const unsigned char key[TOKEN_KEY_SIZE])
{
    buf_append_str(out, HEADER " 1 ");
    append_hex(out, key, TOKEN_KEY_SIZE);
    buf_append_str(out, "\n# ID HASH CREATED EXPIRES SCOPES TENANTS; satchel token changes this file.\n");
}

struct change {           /* of one file */
    char *path;           /* no link */
    char error_path[256]; /* as it was given */
    int lock;             /* the folder, locked */
    struct stat status;   /* of the old file */
    bool exists;
    struct token_file old;
};

static int say(char error[TOKEN_ERROR_SIZE], const struct change *change, const char *what)
{
    int err = errno;
    (void)snprintf(error, TOKEN_ERROR_SIZE, "%s: %s: %s", change->error_path, what, strerror(err));
    return -1;
}

static int lock_folder(struct change *change, char error[TOKEN_ERROR_SIZE])
{
    char *copy = strdup(change->path);
    if (!copy)
        return say(error, change, "cannot be changed");
    change->lock = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(copy);
    int result;
    do
        result = change->lock < 0 ? -1 : flock(change->lock, LOCK_EX);
    while (result < 0 && change->lock >= 0 && errno == EINTR);
    return result < 0 ? say(error, change, "its folder cannot be opened and locked") : 0;
}

static int change_begin(struct change *change, const char *path, char error[TOKEN_ERROR_SIZE])
{
    *change = (struct change){.lock = -1};
    (void)snprintf(change->error_path, sizeof change->error_path, "%s", path);
    change->path = realpath(path, NULL);
    if (!change->path)
        change->path = strdup(path);
    if (!change->path)
        return say(error, change, "cannot be changed");
    if (lock_folder(change, error) < 0)
        return -1;
    struct buf text = BUF_INIT;
    change->exists = read_whole(change->path, &text, &change->status) == 0;
    if (!change->exists && errno != ENOENT) {
        forget(&text);
        return say(error, change, "cannot be read");
    }
    int result = 0;
    if (change->exists && text.len)
        result = token_file_parse(buf_slice(&text), path, &change->old, error);
    else
        token_random(change->old.key, sizeof change->old.key);
    forget(&text);
    return result;
}

static void change_end(struct change *change)
{
    token_file_release(&change->old);
    if (change->lock >= 0)
        (void)close(change->lock);
    free(change->path);
}

static bool write_all(int fd, struct slice text)
{
    while (text.len) {
        ssize_t n = write(fd, text.data, text.len);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0)
            text = slice_of(text.data + n, text.len - (size_t)n);
    }
    return true;
}

static int change_write(const struct change *change, const struct buf *text, char error[TOKEN_ERROR_SIZE])
{
    char *beside;
    if (!buf_ok(text) || asprintf(&beside, "%s.XXXXXX", change->path) < 0) {
        errno = ENOMEM;
        return say(error, change, "cannot be written");
    }
    int fd = mkostemp(beside, O_CLOEXEC); /* mode 0600 */
    bool done = fd >= 0 && write_all(fd, buf_slice(text));
    if (done && change->exists) /* whoever could read it before can do so after */
        done = (fchown(fd, change->status.st_uid, change->status.st_gid) == 0 || errno == EPERM) &&
               fchmod(fd, change->status.st_mode & 0640) == 0;
    done = done && fsync(fd) == 0 && rename(beside, change->path) == 0;
    int err = errno;
    if (fd >= 0)
        (void)close(fd);
    if (!done && fd >= 0)
        (void)unlink(beside);
    free(beside);
    errno = err;
    if (!done)
        return say(error, change, "cannot be written");
    return fsync(change->lock) < 0 && errno != EINVAL ? say(error, change, "its folder cannot be synced") : 0;
}

static int new_record(const struct token_file *old, const struct token_order *order, const char *token,
                      struct token_record *ret)
{
    struct slice text = slice_of(token, TOKEN_TEXT_SIZE - 1);
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    *ret = (struct token_record){.created_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000,
                                 .expires_us = order->expires_us,
                                 .scopes = order->scopes,
                                 .tenants = order->tenants,
                                 .n_tenants = order->n_tenants};
    if (order->n_tenants == 1 && strcmp(order->tenants[0], "*") == 0) {
        ret->all_tenants = true;
        ret->n_tenants = 0;
    }
    return token_parse(text, ret->id) && token_hash(old->key, text, ret->hash) ? 0 : -1;
}

int token_file_add(const char *path, const struct token_order *order, char ret_token[TOKEN_TEXT_SIZE],
                   char error[TOKEN_ERROR_SIZE])
{
    struct change change;
    struct buf text = BUF_INIT;
    struct token_record record;
    char token[TOKEN_TEXT_SIZE];
    int result = change_begin(&change, path, error);
    do
        token_make(token);
    while (result == 0 && token_parse(slice_str(token), record.id) && token_file_find(&change.old, record.id));
    if (result == 0 && new_record(&change.old, order, token, &record) < 0)
        result = fail(error, path, 0, "out of memory");
    if (result == 0) {
        append_file(&text, change.old.key);
        for (size_t i = 0; i < change.old.n; i++)
            append_record(&text, &change.old.records[i]);
        append_record(&text, &record);
        result = change_write(&change, &text, error);
    }
    if (result == 0)
        memcpy(ret_token, token, sizeof token);
    OPENSSL_cleanse(token, sizeof token);
    forget(&text);
    change_end(&change);
    return result;
}

static bool is_among(const char *id, const char *const *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(ids[i], id) == 0)
            return true;
    return false;
}

int token_file_remove(const char *path, const char *const *ids, size_t n, char error[TOKEN_ERROR_SIZE])
{
    struct change change;
    struct buf text = BUF_INIT;
    int result = change_begin(&change, path, error);
    for (size_t i = 0; result == 0 && i < n; i++) {
        if (token_file_find(&change.old, ids[i]))
            continue;
        (void)snprintf(error, TOKEN_ERROR_SIZE, "%s: there is no token of the id %.40s", path, ids[i]);
        result = 1;
    }
    if (result == 0) {
        append_file(&text, change.old.key);
        for (size_t i = 0; i < change.old.n; i++)
            if (!is_among(change.old.records[i].id, ids, n))
                append_record(&text, &change.old.records[i]);
        result = change_write(&change, &text, error);
    }
    forget(&text);
    change_end(&change);
    return result;
}
