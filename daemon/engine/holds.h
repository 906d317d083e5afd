/* What an operator holds: the daemon as a whole, tenants, task types.  Paused: tasks are taken and wait.  Draining: no
 * more are taken, and those that are there run.
 * A small table, in the store as well (store_hold); asked when a tenant or a registry comes up, not for each task.
 * Thread: the engine's alone. */
#ifndef SATCHEL_ENGINE_HOLDS_H
#define SATCHEL_ENGINE_HOLDS_H

#include "store/store.h"

#define HOLDS_MAX 10000u

struct holds {
    struct hold *list;
    size_t n;
};

void holds_release(struct holds *holds);
/* What holds it; neither paused nor draining where nothing does. */
struct hold holds_find(const struct holds *holds, enum hold_scope scope, struct slice name);
/* Room for one more.  0, -ENOMEM, -ENOSPC. */
int holds_reserve(struct holds *holds);
void holds_set(struct holds *holds, const struct hold *hold); /* room was reserved; neither: it is taken out */

#endif
