/* Called by admin.c. */
#include "engine/holds.h"

#include <errno.h>
#include <stdlib.h>

void holds_release(struct holds *holds)
{
    free(holds->list);
    *holds = (struct holds){0};
}

static struct hold *find(const struct holds *holds, enum hold_scope scope, struct slice name)
{
    for (size_t i = 0; i < holds->n; i++)
        if (holds->list[i].scope == scope && slice_eq_str(name, holds->list[i].name))
            return &holds->list[i];
    return NULL;
}

struct hold holds_find(const struct holds *holds, enum hold_scope scope, struct slice name)
{
    const struct hold *found = find(holds, scope, name);
    if (found)
        return *found;
    struct hold none = {.scope = scope};
    if (name.len < sizeof none.name)
        memcpy(none.name, name.data, name.len);
    return none;
}

int holds_reserve(struct holds *holds)
{
    if (holds->n >= HOLDS_MAX)
        return -ENOSPC;
    struct hold *list = realloc(holds->list, (holds->n + 1) * sizeof *list);
    if (!list)
        return -ENOMEM;
    holds->list = list;
    return 0;
}

void holds_set(struct holds *holds, const struct hold *hold)
{
    struct hold *found = find(holds, hold->scope, slice_str(hold->name));
    if (hold->paused || hold->draining) {
        if (!found)
            found = &holds->list[holds->n++];
        *found = *hold;
    } else if (found) {
        *found = holds->list[--holds->n];
    }
}
