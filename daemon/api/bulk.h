/* Many changes at once for one request: all are posted together, so that one commit takes them, and the request's call
 * comes back to its loop when the last of them has been answered.
 * Thread: the loop's, but for the answers, which the engine's thread brings. */
#ifndef SATCHEL_API_BULK_H
#define SATCHEL_API_BULK_H

#include "api/calls.h"

#define BULK_MAX 512u /* in one go: the engine's batch has room for others' changes, too */

struct bulk;

struct bulk_item {
    struct engine_call call; /* result and record once it is back */
    struct bulk *bulk;
};

struct bulk {
    struct api_call *owner;
    atomic_size_t open;
    size_t n;
    struct bulk_item items[];
};

/* Room for n (at most BULK_MAX), zero-filled; the caller sets kind, id and tenant of each.  NULL: no memory. */
struct bulk *bulk_new(struct api_call *owner, size_t n);
/* The owner's `answer` is called once all are answered; until then neither may be touched.  What the engine has no room
 * for is answered ENGINE_STORE_FAILED. */
void bulk_post(struct bulk *bulk);
void bulk_free(struct bulk *bulk); /* with the records; NULL is fine */

#endif
