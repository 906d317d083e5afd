/* The cursor of a list: where the next page starts, bound to the tenant and the filters it was made for.
 * Opaque to clients; not a secret: a made-up one can only name a place in the tenant's own list.
 * Pure; any thread. */
#ifndef SATCHEL_API_CURSOR_H
#define SATCHEL_API_CURSOR_H

#include "proto/id.h"
#include "proto/slice.h"

#define CURSOR_TEXT_SIZE 33 /* 32 characters and a NUL */

/* `binding`: any text that must be the same when the cursor comes back. */
bool cursor_format(struct task_id before, struct slice binding, char out[CURSOR_TEXT_SIZE]);
bool cursor_parse(struct slice text, struct slice binding, struct task_id *ret_before);

#endif
