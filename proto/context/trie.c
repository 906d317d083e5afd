/* The part of a snapshot that holds variables without a slot: a trie with 8-way nodes, indexed by the variable's
 * unique id.  Ids are dense and never equal, so there are no collisions to keep lists for, and a change of a shared
 * trie of 100 variables copies two or three small nodes.  A node that nobody else holds is changed in place, or its
 * content moved over to a node with more room.
 *
 * A copied node shares all its slots but one with the node that it was copied from.  To count each of them up, and
 * down again later, was most of what a copy cost; so nodes that were copied from one another are a family, which
 * has one reference of what lies in each slot, and counts how many of them use that slot: eight small numbers in one
 * word, so that a node comes and goes with one instruction.  family.h has it.  A node's own slots (those that differ
 * from the family's) are held by the node itself, as are all slots of a node without a family.
 * Thread: any, on immutable nodes; in-place changes as internal.h says. */
#include <stdlib.h>
#include <string.h>

#include "proto/context/family.h"
#include "proto/context/internal.h"

#define BITS 3u
#define FANOUT (1u << BITS)
#define LEVELS (64u / BITS + 1u)
#define OWN_MAX 2u /* a copy of a node with more slots of its own starts a family anew */

struct slot {
    satchel_var *var; /* NULL: the slot is a branch */
    union {
        satchel_value *value;
        struct node *child; /* may be NULL, once what lay there was taken out */
    };
};

struct node {
    atomic_uint refs;
    uint8_t used;                  /* bit per branch that has a slot; slots lie in order of branches */
    uint8_t own;                   /* of those: not the family's.  0 while there is no family */
    struct family *_Atomic family; /* NULL: the node holds its slots itself.  Set at the first copy, by any thread */
    struct slot slots[];
};

/* ---- nodes ---- */

/* Bits set, of eight.  What the compiler has for it is a call where the processor is not known to have it. */
static unsigned bits_in(unsigned mask)
{
    const uint64_t counts = UINT64_C(0x4332322132212110); /* of each value of four bits */
    return (unsigned)((counts >> (mask & 15u) * 4 & 15u) + (counts >> (mask >> 4) * 4 & 15u));
}

static unsigned branch_of(uint64_t id, unsigned level)
{
    return level < LEVELS ? (unsigned)(id >> (level * BITS)) & (FANOUT - 1) : 0;
}

static unsigned index_of(const struct node *node, unsigned branch)
{
    return bits_in(node->used & ((1u << branch) - 1));
}

static unsigned slots_of(const struct node *node)
{
    return node ? bits_in(node->used) : 0;
}

static bool has_branch(const struct node *node, unsigned branch)
{
    return node->used & 1u << branch;
}

static struct node *node_new(unsigned n)
{
    struct node *node = malloc(sizeof *node + n * sizeof(struct slot));
    if (!node)
        return NULL;
    atomic_init(&node->refs, 1);
    atomic_init(&node->family, NULL);
    node->own = 0;
    return node;
}

static void slot_ref(const struct slot *slot)
{
    if (slot->var) {
        (void)var_ref(slot->var);
        (void)value_ref(slot->value);
    } else {
        (void)trie_ref(slot->child);
    }
}

static void slot_unref(const struct slot *slot)
{
    if (slot->var) {
        value_unref(slot->value);
        satchel_var_unref(slot->var);
    } else {
        trie_unref(slot->child);
    }
}

/* The family of an unshared node, or NULL; *ret_theirs: the slots that it has from it. */
static struct family *family_of(const struct node *node, uint8_t *ret_theirs)
{
    struct family *family = atomic_load_explicit(&node->family, memory_order_acquire);
    *ret_theirs = family ? (uint8_t)(node->used & ~node->own) : 0;
    return family;
}

struct node *trie_ref(struct node *node)
{
    if (node)
        refs_add(&node->refs);
    return node;
}

void trie_unref(struct node *node) /* recursion ends at LEVELS */
{
    if (!node || !refs_drop(&node->refs))
        return;
    uint8_t theirs;
    struct family *family = family_of(node, &theirs);
    uint8_t mine = (uint8_t)(node->used & ~theirs);
    if (family)
        mine |= family_leave(family, theirs);
    for (unsigned left = mine; left; left &= left - 1)
        slot_unref(&node->slots[index_of(node, (unsigned)__builtin_ctz(left))]);
    free(node);
}

satchel_value *trie_get(const struct node *node, const satchel_var *var)
{
    uint64_t id = var->id;
    for (; node; id >>= BITS) {
        unsigned branch = (unsigned)id & (FANOUT - 1);
        if (!has_branch(node, branch))
            return NULL;
        const struct slot *slot = &node->slots[index_of(node, branch)];
        if (slot->var)
            return slot->var == var ? slot->value : NULL;
        node = slot->child;
    }
    return NULL;
}

/* The slots of `node` (NULL: none) with `with` put at `branch`, or that branch left out (`with` NULL), into a new node
 * without a family.  No reference is added.  NULL: no memory. */
static struct node *node_reshape(const struct node *node, unsigned branch, const struct slot *with)
{
    uint8_t used = node ? node->used : 0, bit = (uint8_t)(1u << branch);
    uint8_t used_then = with ? (uint8_t)(used | bit) : (uint8_t)(used & ~bit);
    struct node *copy = node_new(bits_in(used_then));
    if (!copy)
        return NULL;
    copy->used = used_then;
    unsigned before = node ? index_of(node, branch) : 0;
    unsigned after = before + (used & bit ? 1 : 0), end = slots_of(node), to = before;
    if (before)
        memcpy(copy->slots, node->slots, before * sizeof *copy->slots);
    if (with)
        copy->slots[to++] = *with;
    if (end > after)
        memcpy(&copy->slots[to], &node->slots[after], (end - after) * sizeof *copy->slots);
    return copy;
}

/* The family that copies of `node` are to join; one is founded where there is none yet.  NULL: no memory. */
static struct family *family_to_join(struct node *node)
{
    struct family *there = atomic_load_explicit(&node->family, memory_order_acquire);
    if (there)
        return there;
    struct family *made = family_new(node->used);
    if (!made)
        return NULL;
    if (atomic_compare_exchange_strong_explicit(&node->family, &there, made, memory_order_acq_rel,
                                                memory_order_acquire))
        return made;
    free(made); /* another thread was quicker */
    return there;
}

/* The same as a copy: it gets references of all but the slot at `branch`, by way of the family where that is less
 * work.  Where that is full (128 copies are alive), one by one. */
static struct node *node_copy(struct node *node, unsigned branch, const struct slot *with)
{
    struct node *copy = node_reshape(node, branch, with);
    if (!copy || !node)
        return copy;
    uint8_t bit = (uint8_t)(1u << branch), kept = (uint8_t)(node->used & ~bit), one_by_one = kept;
    uint8_t own = node->own & kept, theirs = (uint8_t)(kept & ~own);
    if (bits_in(theirs) > 2 && bits_in(own) <= OWN_MAX) {
        struct family *family = family_to_join(node);
        if (family && family_join(family, theirs)) {
            atomic_store_explicit(&copy->family, family, memory_order_relaxed);
            copy->own = with ? own | bit : own;
            one_by_one = own;
        }
    }
    for (unsigned left = one_by_one; left; left &= left - 1)
        slot_ref(&copy->slots[index_of(copy, (unsigned)__builtin_ctz(left))]);
    return copy;
}

/* ---- persistent changes ---- */

/* A trie of exactly two variables, below `level`.  References are added, but that of b's value is taken over. */
static struct node *pair(const struct slot *a, const struct slot *b, unsigned level)
{
    unsigned a_branch = branch_of(a->var->id, level), b_branch = branch_of(b->var->id, level);
    struct node *node = node_new(2);
    if (!node)
        return NULL;
    node->used = (uint8_t)(1u << a_branch | 1u << b_branch);
    if (a_branch == b_branch) {
        struct node *child = pair(a, b, level + 1); /* ids differ: this ends */
        if (!child) {
            free(node);
            return NULL;
        }
        node->slots[0] = (struct slot){.var = NULL, .child = child};
        return node;
    }
    slot_ref(a);
    (void)var_ref(b->var);
    node->slots[a_branch > b_branch] = *a;
    node->slots[a_branch < b_branch] = *b;
    return node;
}

static struct node *put_at(struct node *node, satchel_var *var, satchel_value *value, unsigned level)
{
    unsigned branch = branch_of(var->id, level);
    const struct slot *there = node && has_branch(node, branch) ? &node->slots[index_of(node, branch)] : NULL;
    struct slot slot = {.var = var, .value = value};
    if (!there || there->var == var) {
        struct node *copy = node_copy(node, branch, &slot);
        if (copy)
            (void)var_ref(var);
        return copy;
    }
    struct node *child = there->var ? pair(there, &slot, level + 1) : put_at(there->child, var, value, level + 1);
    if (!child)
        return NULL;
    slot = (struct slot){.var = NULL, .child = child};
    struct node *copy = node_copy(node, branch, &slot);
    if (!copy) {
        (void)value_ref(value); /* it stays the caller's */
        trie_unref(child);
    }
    return copy;
}

struct node *trie_put(struct node *node, satchel_var *var, satchel_value *value)
{
    return put_at(node, var, value, 0);
}

static bool take_at(struct node *node, const satchel_var *var, unsigned level, struct node **ret)
{
    unsigned branch = branch_of(var->id, level);
    const struct slot *there = &node->slots[index_of(node, branch)];
    struct slot slot = {.var = NULL, .child = NULL};
    if (!there->var && !take_at(there->child, var, level + 1, &slot.child))
        return false;
    if (!slot.child && slots_of(node) == 1) {
        *ret = NULL;
        return true;
    }
    *ret = node_copy(node, branch, slot.child ? &slot : NULL);
    if (!*ret)
        trie_unref(slot.child);
    return *ret != NULL;
}

bool trie_take(struct node *node, const satchel_var *var, struct node **ret)
{
    return take_at(node, var, 0, ret);
}

int trie_each(const struct node *node, int (*fn)(satchel_var *var, satchel_value *value, void *arg), void *arg)
{
    unsigned n = slots_of(node);
    for (unsigned i = 0; i < n; i++) {
        const struct slot *slot = &node->slots[i];
        int stop = slot->var ? fn(slot->var, slot->value, arg) : trie_each(slot->child, fn, arg);
        if (stop)
            return stop;
    }
    return 0;
}

/* ---- changes in place ---- */

/* Is what the branch leads to held by this unshared node alone? */
static bool alone(const struct node *node, unsigned branch)
{
    uint8_t theirs;
    const struct node *child = node->slots[index_of(node, branch)].child;
    struct family *family = family_of(node, &theirs);
    return child && refs_one(&child->refs) && (!(theirs & 1u << branch) || family_alone(family, branch));
}

/* What lies at the branch of an unshared node is to go: who has the reference of it? */
static void gives_up(const struct node *node, unsigned branch, struct trie_patch *patch)
{
    uint8_t theirs;
    struct family *family = family_of(node, &theirs);
    patch->bit = (uint8_t)(1u << branch);
    patch->family = theirs & patch->bit ? family : NULL;
}

static void owns_from_now(struct node *node, uint8_t bit)
{
    node->own |= bit;
    if (node->used & ~node->own)
        return;
    atomic_store_explicit(&node->family, NULL, memory_order_relaxed); /* it has left all of it */
    node->own = 0;
}

/* A node that others hold as well, or none at all, at `link`: in `holder`, at `branch`, or the root (NULL). */
static bool replace_all(struct node **link, struct node *holder, unsigned branch, unsigned level, satchel_var *var,
                        satchel_value *value, struct trie_patch *patch)
{
    patch->link = link;
    patch->old_child = *link;
    if (holder) {
        gives_up(holder, branch, patch);
        patch->holder = patch->family ? holder : NULL;
    }
    if (!value)
        return *link && take_at(*link, var, level, &patch->fresh); /* what is taken out is there */
    patch->fresh = put_at(*link, var, value, level);
    patch->consumed = value;
    return patch->fresh != NULL;
}

static bool move_over(struct node **link, unsigned branch, const struct slot *with, struct trie_patch *patch)
{
    struct node *node = *link, *fresh = node_reshape(node, branch, with);
    if (!fresh)
        return false;
    struct family *family = atomic_load_explicit(&node->family, memory_order_acquire);
    if (has_branch(node, branch))
        gives_up(node, branch, patch);
    uint8_t bit = (uint8_t)(1u << branch);
    if (family) {
        atomic_store_explicit(&fresh->family, family, memory_order_relaxed);
        fresh->own = node->own & (uint8_t)~bit;
        owns_from_now(fresh, with ? bit : 0);
    }
    patch->link = link;
    patch->shell = node;
    patch->fresh = fresh;
    return true;
}

/* The variable's own slot, in an unshared node. */
static bool change_slot(struct node **root, struct node **link, unsigned branch, satchel_var *var, satchel_value *value,
                        struct trie_patch *patch)
{
    struct node *node = *link;
    struct slot *there = &node->slots[index_of(node, branch)];
    if (!value && slots_of(node) == 1) /* branches above may have to go as well */
        return replace_all(root, NULL, 0, 0, var, NULL, patch);
    if (!value && !move_over(link, branch, NULL, patch))
        return false;
    patch->old_value = there->value;
    if (!value) {
        patch->old_var = var;
        return true;
    }
    gives_up(node, branch, patch);
    patch->slot = there;
    patch->value = value;
    if (patch->family) { /* which has a reference of the variable, too */
        patch->holder = node;
        patch->old_var = var;
        patch->new_var = var_ref(var);
    }
    return true;
}

/* Two variables on one branch of an unshared node: it gets a node of its own. */
static bool part(struct node **link, unsigned branch, const struct slot *slot, unsigned level, struct trie_patch *patch)
{
    const struct slot *there = &(*link)->slots[index_of(*link, branch)];
    struct node *child = pair(there, slot, level + 1);
    if (!child)
        return false;
    if (!move_over(link, branch, &(struct slot){.var = NULL, .child = child}, patch)) {
        (void)value_ref(slot->value);
        trie_unref(child);
        return false;
    }
    patch->child = child;
    patch->consumed = slot->value;
    patch->old_var = there->var;
    patch->old_value = there->value;
    return true;
}

bool trie_patch_prepare(struct node **root, satchel_var *var, satchel_value *value, struct trie_patch *patch)
{
    struct node **link = root, *holder = NULL;
    unsigned branch = 0;
    if (!*root || !refs_one(&(*root)->refs))
        return replace_all(root, NULL, 0, 0, var, value, patch);
    for (unsigned level = 0;; level++) {
        if (holder && !alone(holder, branch))
            return replace_all(link, holder, branch, level, var, value, patch); /* shared from here down */
        struct node *node = *link;
        branch = branch_of(var->id, level);
        struct slot slot = {.var = var, .value = value};
        if (!has_branch(node, branch)) {
            if (!move_over(link, branch, &slot, patch))
                return false;
            patch->new_var = var_ref(var);
            return true;
        }
        struct slot *there = &node->slots[index_of(node, branch)];
        if (there->var == var)
            return change_slot(root, link, branch, var, value, patch);
        if (there->var)
            return part(link, branch, &slot, level, patch);
        holder = node;
        link = &there->child;
    }
}

void trie_patch_apply(struct trie_patch *patch) /* one store: a signal handler that reads sees all or nothing of it */
{
    atomic_signal_fence(memory_order_release);
    if (patch->slot)
        ((struct slot *)patch->slot)->value = patch->value;
    else
        *patch->link = patch->fresh;
    if (patch->holder)
        owns_from_now(patch->holder, patch->bit);
}

satchel_value *trie_patch_old(struct trie_patch *patch, satchel_value *old)
{
    if (patch->family || patch->old_value != old)
        return value_ref(old);
    patch->old_value = NULL; /* the map's own reference is the caller's now */
    return old;
}

void trie_patch_drop(struct trie_patch *patch)
{
    if (patch->consumed)
        (void)value_ref(patch->consumed);
    satchel_var_unref(patch->new_var);
    if (patch->shell)
        free(patch->fresh);
    else
        trie_unref(patch->fresh);
    trie_unref(patch->child);
    *patch = (struct trie_patch){0};
}

void trie_patch_release(struct trie_patch *patch)
{
    free(patch->shell);
    if (!patch->family || family_leave(patch->family, patch->bit)) {
        trie_unref(patch->old_child);
        value_unref(patch->old_value);
        satchel_var_unref(patch->old_var);
    }
}
