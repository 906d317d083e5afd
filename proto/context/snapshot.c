/* Immutable maps from variable to value.
 *
 * Well-known variables sit in an array (one load to read); all others in a trie with 16-way nodes indexed by the
 * variable's unique id, so that there are no collisions and a change copies one node per level (two at 100
 * variables).  Nodes and snapshots are counted; copying a map is one increment.
 * Thread: any, on immutable data; in-place changes as internal.h says. */
#include <stdlib.h>
#include <string.h>

#include "proto/context/internal.h"

#define BITS 4u
#define FANOUT 16u

struct leaf {
    satchel_var *var; /* NULL: the slot holds a child */
    union {
        satchel_value *value;
        struct node *child;
    } u;
};

struct node {
    atomic_uint refs;
    uint16_t used; /* bit per branch that has a slot, in order */
    struct leaf slots[];
};

struct snapshot empty_snapshot = {.refs = 1};

/* ---- nodes ---- */

static unsigned branch_of(uint64_t id, unsigned level)
{
    return level < 16 ? (unsigned)(id >> (level * BITS)) & (FANOUT - 1) : 0;
}

static unsigned slot_index(const struct node *node, unsigned branch)
{
    return (unsigned)__builtin_popcount(node->used & ((1u << branch) - 1));
}

static struct node *node_new(unsigned n)
{
    struct node *node = malloc(sizeof *node + n * sizeof(struct leaf));
    if (node) {
        atomic_init(&node->refs, 1);
        node->used = 0;
    }
    return node;
}

static void leaf_ref(struct leaf *leaf)
{
    if (leaf->var) {
        (void)satchel_var_ref(leaf->var);
        (void)satchel_value_ref(leaf->u.value);
    } else {
        atomic_fetch_add_explicit(&leaf->u.child->refs, 1, memory_order_relaxed);
    }
}

static void node_unref(struct node *node)
{
    if (!node || atomic_fetch_sub_explicit(&node->refs, 1, memory_order_acq_rel) != 1)
        return;
    unsigned n = (unsigned)__builtin_popcount(node->used);
    for (unsigned i = 0; i < n; i++) {
        if (node->slots[i].var) {
            satchel_value_unref(node->slots[i].u.value);
            satchel_var_unref(node->slots[i].var);
        } else {
            node_unref(node->slots[i].u.child);
        }
    }
    free(node);
}

static satchel_value *trie_get(const struct node *node, const satchel_var *var)
{
    for (unsigned level = 0; node; level++) {
        unsigned branch = branch_of(var->id, level);
        if (!(node->used & 1u << branch))
            return NULL;
        const struct leaf *leaf = &node->slots[slot_index(node, branch)];
        if (leaf->var)
            return leaf->var == var ? leaf->u.value : NULL;
        node = leaf->u.child;
    }
    return NULL;
}

/* A copy of `node` with `with` put at `branch` (an existing slot is replaced and not referenced; `with` NULL: the
 * slot is left out).  References of all kept leaves are added; `with`'s is taken over. */
static struct node *node_copy(const struct node *node, unsigned branch, const struct leaf *with)
{
    unsigned n = node ? (unsigned)__builtin_popcount(node->used) : 0;
    uint16_t bit = (uint16_t)(1u << branch);
    struct node *copy = node_new(n + 1);
    if (!copy)
        return NULL;
    unsigned from = 0, to = 0;
    uint16_t used = node ? node->used : 0;
    copy->used = with ? (uint16_t)(used | bit) : (uint16_t)(used & ~bit);
    for (unsigned b = 0; b < FANOUT; b++) {
        if (b == branch && with)
            copy->slots[to++] = *with;
        if (!(used & 1u << b))
            continue;
        if (b != branch) {
            copy->slots[to] = node->slots[from];
            leaf_ref(&copy->slots[to++]);
        }
        from++;
    }
    return copy;
}

/* The trie with the binding put in (takes no references over; adds its own).  NULL: no memory. */
static struct node *trie_put(const struct node *node, satchel_var *var, satchel_value *value, unsigned level)
{
    unsigned branch = branch_of(var->id, level);
    const struct leaf *there = node && (node->used & 1u << branch) ? &node->slots[slot_index(node, branch)] : NULL;
    struct leaf leaf = {.var = var, .u.value = value};
    if (there && !there->var) {
        struct node *child = trie_put(there->u.child, var, value, level + 1);
        leaf = (struct leaf){.var = NULL, .u.child = child};
        if (!child)
            return NULL;
    } else if (there && there->var != var) { /* two variables on one branch: one level deeper */
        struct node *one = trie_put(NULL, there->var, there->u.value, level + 1);
        struct node *both = one ? trie_put(one, var, value, level + 1) : NULL;
        node_unref(one);
        leaf = (struct leaf){.var = NULL, .u.child = both};
        if (!both)
            return NULL;
    } else {
        leaf_ref(&leaf);
    }
    struct node *copy = node_copy(node, branch, &leaf);
    if (!copy) {
        if (leaf.var) {
            satchel_value_unref(leaf.u.value);
            satchel_var_unref(leaf.var);
        } else {
            node_unref(leaf.u.child);
        }
    }
    return copy;
}

/* The trie without the variable, which is in it.  *ret NULL: it is empty now.  False: no memory. */
static bool trie_take(const struct node *node, const satchel_var *var, unsigned level, struct node **ret)
{
    unsigned branch = branch_of(var->id, level);
    const struct leaf *there = &node->slots[slot_index(node, branch)];
    struct leaf leaf = {0};
    if (!there->var) {
        if (!trie_take(there->u.child, var, level + 1, &leaf.u.child))
            return false;
    }
    if (!leaf.u.child && node->used == 1u << branch) {
        *ret = NULL;
        return true;
    }
    *ret = node_copy(node, branch, leaf.u.child ? &leaf : NULL);
    if (!*ret)
        node_unref(leaf.u.child);
    return *ret != NULL;
}

/* The slot of a binding whose whole path is unshared, so that it may be changed in place; else NULL. */
static struct leaf *trie_own(struct node *node, const satchel_var *var)
{
    for (unsigned level = 0; node && atomic_load_explicit(&node->refs, memory_order_acquire) == 1; level++) {
        unsigned branch = branch_of(var->id, level);
        if (!(node->used & 1u << branch))
            return NULL;
        struct leaf *leaf = &node->slots[slot_index(node, branch)];
        if (leaf->var)
            return leaf->var == var ? leaf : NULL;
        node = leaf->u.child;
    }
    return NULL;
}

/* ---- snapshots ---- */

struct snapshot *snapshot_ref(struct snapshot *s)
{
    if (s != &empty_snapshot)
        atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void snapshot_unref(struct snapshot *s)
{
    if (!s || s == &empty_snapshot || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (unsigned i = 0; i < SLOT_COUNT; i++)
        satchel_value_unref(s->known[i]);
    node_unref(s->rest);
    free(s);
}

satchel_value *snapshot_get(const struct snapshot *s, const satchel_var *var)
{
    return var->slot != SLOT_NONE ? s->known[var->slot] : trie_get(s->rest, var);
}

static struct snapshot *snapshot_copy(const struct snapshot *s)
{
    struct snapshot *copy = malloc(sizeof *copy);
    if (!copy)
        return NULL;
    atomic_init(&copy->refs, 1);
    copy->count = s->count;
    for (unsigned i = 0; i < SLOT_COUNT; i++)
        copy->known[i] = s->known[i] ? satchel_value_ref(s->known[i]) : NULL;
    copy->rest = s->rest;
    if (copy->rest)
        atomic_fetch_add_explicit(&copy->rest->refs, 1, memory_order_relaxed);
    return copy;
}

/* A changed trie, or NULL in *ret where it became empty. */
static bool changed_trie(const struct snapshot *s, satchel_var *var, satchel_value *value, struct node **ret)
{
    if (value)
        return (*ret = trie_put(s->rest, var, value, 0)) != NULL;
    return trie_take(s->rest, var, 0, ret);
}

int snapshot_set(struct snapshot **s_ref, satchel_var *var, satchel_value *value, bool owned, satchel_value **ret_old,
                 struct snapshot **ret_garbage)
{
    struct snapshot *s = *s_ref;
    satchel_value *old = snapshot_get(s, var);
    *ret_garbage = NULL;
    *ret_old = NULL;
    if (!old && !value)
        return SATCHEL_OK;
    bool in_place = owned && s != &empty_snapshot && atomic_load_explicit(&s->refs, memory_order_acquire) == 1;
    struct leaf *leaf = in_place && var->slot == SLOT_NONE && value ? trie_own(s->rest, var) : NULL;
    if (leaf) { /* the whole path is ours: one pointer changes */
        *ret_old = leaf->u.value;
        leaf->u.value = satchel_value_ref(value);
        return SATCHEL_OK;
    }
    struct node *rest = NULL;
    if (var->slot == SLOT_NONE && !changed_trie(s, var, value, &rest))
        return SATCHEL_ENOMEM;
    struct snapshot *to = in_place ? s : snapshot_copy(s);
    if (!to) {
        node_unref(rest);
        return SATCHEL_ENOMEM;
    }
    *ret_old = old ? satchel_value_ref(old) : NULL;
    struct snapshot *garbage = NULL;
    if (var->slot != SLOT_NONE) {
        if (old) /* the map's own reference; *ret_old keeps it alive */
            satchel_value_unref(old);
        to->known[var->slot] = value ? satchel_value_ref(value) : NULL;
    } else if (in_place) { /* the old trie must not be freed under the lock: hand it out in a shell */
        garbage = calloc(1, sizeof *garbage);
        if (!garbage) {
            satchel_value_unref(*ret_old);
            *ret_old = NULL;
            node_unref(rest);
            return SATCHEL_ENOMEM;
        }
        atomic_init(&garbage->refs, 1);
        garbage->rest = to->rest;
        to->rest = rest;
    } else {
        node_unref(to->rest); /* the copy's: never the last */
        to->rest = rest;
    }
    to->count += (value != NULL) - (old != NULL);
    if (!in_place) {
        garbage = s;
        *s_ref = to;
    }
    *ret_garbage = garbage;
    return SATCHEL_OK;
}

struct walk {
    int (*fn)(satchel_var *var, satchel_value *value, void *arg);
    void *arg;
};

static int node_each(const struct node *node, const struct walk *walk)
{
    unsigned n = node ? (unsigned)__builtin_popcount(node->used) : 0;
    for (unsigned i = 0; i < n; i++) {
        const struct leaf *leaf = &node->slots[i];
        int stop = leaf->var ? walk->fn(leaf->var, leaf->u.value, walk->arg) : node_each(leaf->u.child, walk);
        if (stop)
            return stop;
    }
    return 0;
}

int snapshot_each(const struct snapshot *s, int (*fn)(satchel_var *var, satchel_value *value, void *arg), void *arg)
{
    for (unsigned i = 0; i < SLOT_COUNT; i++) {
        int stop = s->known[i] ? fn(&known_vars[i], s->known[i], arg) : 0;
        if (stop)
            return stop;
    }
    return node_each(s->rest, &(struct walk){fn, arg});
}

static int differs(satchel_var *var, satchel_value *value, void *arg)
{
    satchel_value *other = snapshot_get(arg, var);
    return !other || !value_equal(value, other);
}

bool snapshot_equal(const struct snapshot *a, const struct snapshot *b)
{
    if (a == b)
        return true;
    return a->count == b->count && snapshot_each(a, differs, (void *)(uintptr_t)b) == 0;
}
