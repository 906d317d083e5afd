/* The part of a snapshot that holds variables without a slot: a trie with 8-way nodes, indexed by the variable's
 * unique id.  Ids are dense and never equal, so there are no collisions to keep lists for, and a change of a shared
 * trie of 100 variables copies three small nodes.  A node that nobody else holds is changed in place, or its content
 * moved over to a node with more room.
 * Thread: any, on immutable nodes; in-place changes as internal.h says. */
#include <stdlib.h>
#include <string.h>

#include "proto/context/internal.h"

#define BITS 3u
#define FANOUT (1u << BITS)
#define LEVELS (64u / BITS + 1u)

struct slot {
    satchel_var *var; /* NULL: the slot is a branch */
    union {
        satchel_value *value;
        struct node *child;
    };
};

struct node {
    atomic_uint refs;
    uint8_t used; /* bit per branch that has a slot; slots lie in order of branches */
    struct slot slots[];
};

/* ---- nodes ---- */

static unsigned branch_of(uint64_t id, unsigned level)
{
    return level < LEVELS ? (unsigned)(id >> (level * BITS)) & (FANOUT - 1) : 0;
}

static unsigned index_of(const struct node *node, unsigned branch)
{
    return (unsigned)__builtin_popcount(node->used & ((1u << branch) - 1));
}

static unsigned slots_of(const struct node *node)
{
    return node ? (unsigned)__builtin_popcount(node->used) : 0;
}

static bool has_branch(const struct node *node, unsigned branch)
{
    return node->used & 1u << branch;
}

static struct node *node_new(unsigned n)
{
    struct node *node = malloc(sizeof *node + n * sizeof(struct slot));
    if (node)
        atomic_init(&node->refs, 1);
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
    unsigned n = slots_of(node);
    for (unsigned i = 0; i < n; i++)
        slot_unref(&node->slots[i]);
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

/* The slots of `node` (NULL: none) with `with` put at `branch`, or that branch left out (`with` NULL), into a new node.
 * No reference is added.  NULL: no memory. */
static struct node *node_reshape(const struct node *node, unsigned branch, const struct slot *with)
{
    uint8_t used = node ? node->used : 0, bit = (uint8_t)(1u << branch);
    struct node *copy = node_new(slots_of(node) + 1);
    if (!copy)
        return NULL;
    copy->used = with ? (uint8_t)(used | bit) : (uint8_t)(used & ~bit);
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

/* The same as a copy: references are added to all but the slot at `branch`. */
static struct node *node_copy(const struct node *node, unsigned branch, const struct slot *with)
{
    struct node *copy = node_reshape(node, branch, with);
    unsigned n = slots_of(copy), skip = with && copy ? index_of(copy, branch) : FANOUT;
    for (unsigned i = 0; i < n; i++)
        if (i != skip)
            slot_ref(&copy->slots[i]);
    return copy;
}

/* ---- persistent changes ---- */

/* A trie of exactly two variables, below `level`; references are added. */
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
    slot_ref(b);
    node->slots[a_branch > b_branch] = *a;
    node->slots[a_branch < b_branch] = *b;
    return node;
}

static struct node *put_at(const struct node *node, satchel_var *var, satchel_value *value, unsigned level)
{
    unsigned branch = branch_of(var->id, level);
    const struct slot *there = node && has_branch(node, branch) ? &node->slots[index_of(node, branch)] : NULL;
    struct slot slot = {.var = var, .value = value};
    if (there && there->var != var) {
        struct node *child = there->var ? pair(there, &slot, level + 1) : put_at(there->child, var, value, level + 1);
        if (!child)
            return NULL;
        slot = (struct slot){.var = NULL, .child = child};
    } else {
        slot_ref(&slot);
    }
    struct node *copy = node_copy(node, branch, &slot);
    if (!copy)
        slot_unref(&slot);
    return copy;
}

struct node *trie_put(const struct node *node, satchel_var *var, satchel_value *value)
{
    return put_at(node, var, value, 0);
}

static bool take_at(const struct node *node, const satchel_var *var, unsigned level, struct node **ret)
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

bool trie_take(const struct node *node, const satchel_var *var, struct node **ret)
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

static bool replace_all(struct node **link, satchel_var *var, satchel_value *value, unsigned level,
                        struct trie_patch *patch)
{
    patch->link = link;
    patch->stale = *link;
    if (!value)
        return *link && take_at(*link, var, level, &patch->fresh); /* what is taken out is there */
    patch->fresh = put_at(*link, var, value, level);
    patch->value = patch->fresh ? value : NULL; /* the reference that was handed over is one too many */
    return patch->fresh != NULL;
}

static bool move_over(struct node **link, unsigned branch, const struct slot *with, struct trie_patch *patch)
{
    patch->link = link;
    patch->stale = *link;
    patch->moved = true;
    patch->fresh = node_reshape(*link, branch, with);
    return patch->fresh != NULL;
}

bool trie_patch_prepare(struct node **root, satchel_var *var, satchel_value *value, struct trie_patch *patch)
{
    struct node **link = root;
    *patch = (struct trie_patch){0};
    for (unsigned level = 0;; level++) {
        struct node *node = *link;
        if (!node || !refs_one(&node->refs))
            return replace_all(link, var, value, level, patch); /* shared from here down */
        unsigned branch = branch_of(var->id, level);
        struct slot slot = {.var = var, .value = value};
        if (!has_branch(node, branch)) {
            if (!move_over(link, branch, &slot, patch))
                return false;
            patch->new_var = var_ref(var);
            return true;
        }
        struct slot *there = &node->slots[index_of(node, branch)];
        if (there->var == var && value) {
            patch->slot = there;
            patch->value = value;
            return true;
        }
        if (there->var == var) {
            if (slots_of(node) == 1) /* branches above may have to go as well */
                return replace_all(root, var, NULL, 0, patch);
            patch->old_var = var;
            patch->old_value = there->value;
            return move_over(link, branch, NULL, patch);
        }
        if (there->var) { /* two variables on one branch: it gets a node of its own */
            struct node *child = pair(there, &slot, level + 1);
            if (!child)
                return false;
            if (!move_over(link, branch, &(struct slot){.var = NULL, .child = child}, patch)) {
                trie_unref(child);
                return false;
            }
            patch->child = child;
            patch->value = value;
            patch->old_var = there->var;
            patch->old_value = there->value;
            return true;
        }
        link = &there->child;
    }
}

void trie_patch_apply(struct trie_patch *patch) /* one store: a signal handler that reads sees all or nothing of it */
{
    struct slot *slot = patch->slot;
    atomic_signal_fence(memory_order_release);
    if (slot) {
        patch->old_value = slot->value;
        slot->value = patch->value;
        patch->value = NULL;
    } else {
        *patch->link = patch->fresh;
    }
}

void trie_patch_drop(struct trie_patch *patch)
{
    satchel_var_unref(patch->new_var);
    if (patch->moved)
        free(patch->fresh);
    else
        trie_unref(patch->fresh);
    trie_unref(patch->child);
    *patch = (struct trie_patch){0};
}

void trie_patch_release(struct trie_patch *patch)
{
    if (patch->moved)
        free(patch->stale);
    else
        trie_unref(patch->stale);
    value_unref(patch->value);
    value_unref(patch->old_value);
    satchel_var_unref(patch->old_var);
    *patch = (struct trie_patch){0};
}
