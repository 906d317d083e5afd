/* satchel.callback: tells a URL that a task has ended.  The body is the task object, the header lines are its context
 * and the signature of Standard Webhooks 1.0 (webhook-id, webhook-timestamp, webhook-signature).
 * The engine makes these tasks (engine/callback.c); nobody can submit one.  Called by registry.c. */
#ifndef SATCHEL_EXECUTOR_CALLBACK_H
#define SATCHEL_EXECUTOR_CALLBACK_H

#include "executor/registry.h"

int callback_register(struct registry *registry, char *error, size_t error_size);

/* ---- callback_keys.c ---- */

#define CALLBACK_KEYS_MAX 16u
#define CALLBACK_KEY_MAX 64u /* bytes, as Standard Webhooks has it: 24 to 64 */

struct callback_keys {
    struct callback_key {
        unsigned char bytes[CALLBACK_KEY_MAX];
        size_t len;
    } list[CALLBACK_KEYS_MAX];
    size_t n;
};

/* Reads the file: a key a line, "whsec_" and base64; # begins a comment.  Where the file is missing and `make` is set
 * it is made with one random key, readable by its owner alone.  0, or -1 and what is wrong in `error`. */
int callback_keys_read(const char *path, bool make, struct callback_keys *ret, char *error, size_t error_size);
/* Appends "v1,BASE64 v1,BASE64 ...": HMAC-SHA256 over id.timestamp.body with each key.  False: no memory. */
bool callback_sign(const struct callback_keys *keys, const char *id, const char *timestamp, struct slice body,
                   struct buf *out);

#endif
