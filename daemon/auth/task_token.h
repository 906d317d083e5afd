/* The short-lived token that a child process of a task gets: whose task it is and until when, signed with a key that
 * lives as long as the daemon, so that nothing is kept of it.  satt_PAYLOAD_SIGNATURE, both in base32.
 * Thread: any; pure. */
#ifndef SATCHEL_AUTH_TASK_TOKEN_H
#define SATCHEL_AUTH_TASK_TOKEN_H

#include <stdint.h>

#include "proto/id.h"
#include "proto/token.h"

#define TASK_TOKEN_PREFIX "satt_"
#define TASK_TOKEN_TENANT_MAX 150u
#define TASK_TOKEN_SIZE 352u /* the longest, with its NUL */

struct task_token {
    struct task_id task;
    uint32_t attempt;
    int64_t expires_us; /* wall clock */
    char tenant[TASK_TOKEN_TENANT_MAX + 1];
};

bool task_token_is_one(struct slice text); /* by its prefix alone */
/* False: no memory, or a tenant that is none. */
bool task_token_make(const unsigned char key[TOKEN_KEY_SIZE], const struct task_token *token,
                     char out[TASK_TOKEN_SIZE]);
/* False: not one that was made with this key.  Whether it has expired is the caller's to see. */
bool task_token_read(const unsigned char key[TOKEN_KEY_SIZE], struct slice text, struct task_token *ret);

#endif
