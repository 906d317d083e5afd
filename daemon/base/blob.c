#include "base/blob.h"

#include <stdlib.h>

struct blob *blob_new(struct slice bytes)
{
    struct blob *blob = malloc(sizeof *blob + bytes.len + 1);
    if (!blob)
        return NULL;
    atomic_init(&blob->refs, 1);
    blob->len = bytes.len;
    if (bytes.len)
        memcpy(blob->data, bytes.data, bytes.len);
    blob->data[bytes.len] = '\0';
    return blob;
}

struct blob *blob_ref(struct blob *blob)
{
    if (blob)
        atomic_fetch_add_explicit(&blob->refs, 1, memory_order_relaxed);
    return blob;
}

void blob_unref(struct blob *blob)
{
    if (blob && atomic_fetch_sub_explicit(&blob->refs, 1, memory_order_acq_rel) == 1)
        free(blob);
}

struct slice blob_slice(const struct blob *blob)
{
    return blob ? slice_of(blob->data, blob->len) : slice_of(NULL, 0);
}
