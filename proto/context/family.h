/* Who holds what the slots of nodes that were copied from one another have in common.  A family has one reference of
 * what lies at each of its branches, and counts per branch how many of its nodes use it: eight counts of eight bits
 * in one word.  What the nodes of a family have at a branch is the same for all that are counted there; so whoever
 * leaves a branch as the last one knows what lay there, and drops the reference.  trie.c is its only caller.
 * Thread: any; all is atomic.  Only a node that is counted at a branch may add another one there. */
#ifndef SATCHEL_CONTEXT_FAMILY_H
#define SATCHEL_CONTEXT_FAMILY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define FAMILY_ONES UINT64_C(0x0101010101010101)

struct family {
    _Atomic uint64_t users;
};

/* One in the count of every branch of the mask. */
static inline uint64_t family_lanes(uint8_t mask)
{
    uint64_t bits = mask * FAMILY_ONES & UINT64_C(0x8040201008040201); /* bit b of the mask, in byte b */
    return (bits + 0x7f * FAMILY_ONES) >> 7 & FAMILY_ONES;
}

/* The branches whose count is not zero. */
static inline uint8_t family_used(uint64_t users)
{
    uint64_t low = 0x7f * FAMILY_ONES;
    uint64_t nonzero = (((users & low) + low) | users) >> 7 & FAMILY_ONES;
    return (uint8_t)(nonzero * UINT64_C(0x0102040810204080) >> 56);
}

/* With one node, which gives it the references that it has; free() as long as no node knows it.  NULL: no memory. */
static inline struct family *family_new(uint8_t mask)
{
    struct family *family = malloc(sizeof *family);
    if (family)
        atomic_init(&family->users, family_lanes(mask));
    return family;
}

/* One node more at the branches of the mask, all of which the caller is counted at.  False: full there. */
static inline bool family_join(struct family *family, uint8_t mask)
{
    uint64_t more = family_lanes(mask), users = atomic_load_explicit(&family->users, memory_order_relaxed);
    do {
        if (users & more << 7)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&family->users, &users, users + more, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

/* One node less.  The branches that nobody uses any more: their references are the caller's. */
static inline uint8_t family_leave(struct family *family, uint8_t mask)
{
    uint64_t less = family_lanes(mask);
    uint64_t users = atomic_load_explicit(&family->users, memory_order_acquire);
    if (users != less) /* else nobody else is there, and nobody can come */
        users = atomic_fetch_sub_explicit(&family->users, less, memory_order_acq_rel);
    users -= less;
    if (!users)
        free(family);
    return mask & (uint8_t)~family_used(users);
}

/* Is one node alone counted at the branch? */
static inline bool family_alone(const struct family *family, unsigned branch)
{
    return (atomic_load_explicit(&family->users, memory_order_acquire) >> (branch * 8) & 0xff) == 1;
}

#endif
