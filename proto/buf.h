/* A growable byte buffer.  Embedded or on the stack; one owner; no locking.
 *
 * A failed allocation makes the buffer "failed": further appends do nothing, and buf_ok() tells at the end,
 * so that a writer checks once and not at every append. */
#ifndef SATCHEL_PROTO_BUF_H
#define SATCHEL_PROTO_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/slice.h"

struct buf {
    char *data; /* NULL until the first append; NUL-terminated whenever not NULL */
    size_t len;
    size_t cap;
    size_t max; /* longest it may grow to, in bytes; 0: no limit of its own */
    bool failed;
};

#define BUF_INIT                                                                                                       \
    {                                                                                                                  \
        0                                                                                                              \
    }

void buf_release(struct buf *b);           /* frees the bytes; the buffer can be used again */
void buf_reset(struct buf *b);             /* empties it and keeps the memory */
bool buf_reserve(struct buf *b, size_t n); /* room for n more bytes, or false and failed */
void buf_append(struct buf *b, const void *data, size_t len);
void buf_append_slice(struct buf *b, struct slice s);
void buf_append_str(struct buf *b, const char *text);
void buf_append_char(struct buf *b, char c);
void buf_append_u64(struct buf *b, uint64_t value); /* decimal */
void buf_append_i64(struct buf *b, int64_t value);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool buf_ok(const struct buf *b);
struct slice buf_slice(const struct buf *b);
char *buf_take(struct buf *b, size_t *ret_len); /* the caller owns (free) the bytes; NULL where it failed */

#endif
