/* Groups: how many unfinished members each has, and which tasks wait for their end.
 *
 * A task that waits for a group waits for the members that were there before it: it closes the group's current cohort,
 * and later members belong to the next one.  So no two tasks can wait for each other, whatever is submitted later.
 * Nothing of this is stored: members and who waits are in the rows of tasks, and start-up replays them by id.
 * Called by links.c.  Thread: the engine's. */
#ifndef SATCHEL_ENGINE_GROUPS_H
#define SATCHEL_ENGINE_GROUPS_H

#include "engine/entries.h"

struct cohort {
    struct group *group;
    struct cohort *next; /* younger */
    uint32_t members;    /* unfinished ones */
    uint32_t waits;      /* the entry that waits for it and all before it; ENTRY_NONE: none (any more) */
    bool closed;
};

struct groups {
    struct group **slots; /* hash by tenant and name; a power of two, or NULL */
    size_t n_slots, n;
    struct cohort ***of; /* by segment of the entries, then by place in it; NULL: no member in that segment */
    size_t n_segments;
};

void groups_release(struct groups *groups);
int groups_join(struct groups *groups, struct slice tenant, struct slice name, uint32_t entry); /* 0 or -ENOMEM */
/* `entry` is to wait for all that are in the group now.  *ret NULL: nobody is. */
int groups_wait(struct groups *groups, struct slice tenant, struct slice name, uint32_t entry, struct cohort **ret);
void groups_unwait(struct cohort *cohort); /* its waiting entry is gone */
/* A member has ended.  `released` is called for each entry that waits no longer. */
void groups_leave(struct groups *groups, uint32_t entry, void (*released)(void *arg, uint32_t entry), void *arg);

#endif
