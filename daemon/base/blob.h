/* Immutable bytes with a reference count: results and other payloads that several threads hold at once.
 * Thread: any (the count is atomic; the bytes never change after blob_new). */
#ifndef SATCHEL_BASE_BLOB_H
#define SATCHEL_BASE_BLOB_H

#include <stdatomic.h>

#include "proto/slice.h"

struct blob {
    atomic_uint refs;
    size_t len;
    char data[]; /* NUL-terminated */
};

struct blob *blob_new(struct slice bytes); /* copies; one reference; NULL: no memory */
struct blob *blob_ref(struct blob *blob);
void blob_unref(struct blob *blob); /* NULL is fine */
struct slice blob_slice(const struct blob *blob); /* empty for NULL */

#endif
