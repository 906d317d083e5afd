/* Bearer tokens as text, and the keyed hash under which they are kept.
 *
 * sat_IIIIIIIIIIII_SSSS...CCCCCCC: an id of 60 bits, by which a token is found, listed and revoked; 256 random bits; and
 * a CRC-32 of all before it, by which a mistyped token, or one in a text that should not have it, is told without any
 * list.  All in lower-case base32 (RFC 4648's alphabet), so that a double click selects it.
 * What is stored is HMAC-SHA-256 of the whole text: of 256 random bits no slower hash is needed.
 * Thread: any; nothing is shared. */
#ifndef SATCHEL_PROTO_TOKEN_H
#define SATCHEL_PROTO_TOKEN_H

#include "proto/slice.h"

enum token_scope { TOKEN_SUBMIT = 1u << 0, TOKEN_READ = 1u << 1, TOKEN_ADMIN = 1u << 2 };

#define TOKEN_ID_SIZE 13u   /* 12 characters and a NUL */
#define TOKEN_TEXT_SIZE 77u /* 76 characters and a NUL */
#define TOKEN_KEY_SIZE 32u
#define TOKEN_HASH_SIZE 32u
#define TOKEN_SCOPES_SIZE 24u /* "submit,read,admin" */

/* From the kernel, for every call anew: at most 256 bytes. */
void token_random(unsigned char *out, size_t len);
void token_make(char out[TOKEN_TEXT_SIZE]);
/* The id of a text that has the form of a token, its checksum included. */
bool token_parse(struct slice text, char ret_id[TOKEN_ID_SIZE]);
bool token_id_is_valid(struct slice text);
/* False: no memory. */
bool token_hash(const unsigned char key[TOKEN_KEY_SIZE], struct slice text, unsigned char out[TOKEN_HASH_SIZE]);
/* In a time that does not depend on where they differ. */
bool token_hash_equal(const unsigned char a[TOKEN_HASH_SIZE], const unsigned char b[TOKEN_HASH_SIZE]);

/* "submit,read,admin", in any order and with blanks; false: not such a list, or an empty one. */
bool token_scopes_parse(struct slice text, unsigned *ret_scopes);
bool token_scope_parse(struct slice word, unsigned *ret_scope); /* one of them */
void token_scopes_format(unsigned scopes, char out[TOKEN_SCOPES_SIZE]);

/* Base32 without padding; `out` has room for (len * 8 + 4) / 5 characters and a NUL.  Returns the characters. */
size_t token_base32_encode(const unsigned char *bytes, size_t len, char *out);
/* Returns the bytes, at most `size`, or 0: another alphabet, a length or last bits that no encoder makes, too long. */
size_t token_base32_decode(struct slice text, unsigned char *out, size_t size);

#endif
