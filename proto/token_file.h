/* The file that holds the tokens: what `satchel token` writes and satcheld reads.
 *
 * Text.  A first line "satchel-tokens 1 KEY" with the random key of this file's hashes (hexadecimal); then a line a
 * token: "ID HASH CREATED EXPIRES SCOPES TENANTS", blanks between; EXPIRES may be "never", TENANTS is a list with commas
 * or "*" for all.  Empty lines and lines that start with # mean nothing.  A file with a single fault is refused whole:
 * half of the tokens is worse than none of the change.
 * Thread: any; nothing is shared.  Reading and writing block on the disk. */
#ifndef SATCHEL_PROTO_TOKEN_FILE_H
#define SATCHEL_PROTO_TOKEN_FILE_H

#include <stdint.h>

#include "proto/token.h"

#define TOKEN_FILE_MAX ((size_t)64 << 20)
#define TOKEN_TENANTS_MAX 1000u
#define TOKEN_TENANT_MAX 150u

struct token_record {
    char id[TOKEN_ID_SIZE];
    unsigned char hash[TOKEN_HASH_SIZE];
    int64_t created_us, expires_us; /* wall clock; expires 0: never */
    unsigned scopes;                /* enum token_scope */
    bool all_tenants;
    const char *const *tenants; /* each NUL-terminated; owned by the file */
    size_t n_tenants;
};

struct token_file {
    unsigned char key[TOKEN_KEY_SIZE];
    struct token_record *records; /* by id */
    size_t n;
    char *text; /* what the records' texts lie in */
    const char **tenants;
    uint32_t *index; /* a hash table: 1 + the number of a record, 0: free */
    size_t index_size;
};

#define TOKEN_ERROR_SIZE 512u

/* 0, or -1 and `error` ("PATH:LINE: what is wrong", no secret in it). */
int token_file_read(const char *path, struct token_file *ret, char error[TOKEN_ERROR_SIZE]);
/* The same from memory; `name` is for messages. */
int token_file_parse(struct slice text, const char *name, struct token_file *ret, char error[TOKEN_ERROR_SIZE]);
void token_file_release(struct token_file *file);                                          /* zeroed is fine */
const struct token_record *token_file_find(const struct token_file *file, const char *id); /* NULL: none */

/* Adds the token to the file, which is made (mode 0600) where it is missing: under a lock, by a new file that replaces
 * the old one, with its owner and mode; on the disk when it returns.  `tenants`: names, or "*". */
struct token_order {
    const char *const *tenants;
    size_t n_tenants;
    unsigned scopes;
    int64_t expires_us; /* 0: never */
};
/* 0 and the new token, which is nowhere else; or -1 and `error`. */
int token_file_add(const char *path, const struct token_order *order, char ret_token[TOKEN_TEXT_SIZE],
                   char error[TOKEN_ERROR_SIZE]);
/* Takes these ids out, all or none.  0, 1: one of them is not there (`error` names it), or -1 and `error`. */
int token_file_remove(const char *path, const char *const *ids, size_t n, char error[TOKEN_ERROR_SIZE]);
/* NULL, or what is wrong with it as the name of a tenant of a token ("*" is right alone). */
const char *token_tenant_check(struct slice name);

#endif
