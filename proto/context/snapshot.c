/* Immutable maps from variable to value: the well-known variables in an array, all others in a trie, each half shared
 * with other snapshots for as long as it is the same.
 *
 * A change goes one of two ways: a new snapshot is put in place of the old one, or, where nobody else holds the old
 * one, it is changed in place; internal.h says why that is safe.
 * Thread: any, on immutable data. */
#include <stdlib.h>
#include <string.h>

#include "proto/context/internal.h"

struct known empty_known = {.refs = 2};                              /* never counted, and never the only one */
struct snapshot empty_snapshot = {.refs = 2, .known = &empty_known}; /* the same */

/* ---- the array of the well-known ones ---- */

static struct known *known_ref(struct known *known)
{
    if (known != &empty_known)
        refs_add(&known->refs);
    return known;
}

static void known_unref(struct known *known)
{
    if (!known || known == &empty_known || !refs_drop(&known->refs))
        return;
    for (unsigned i = 0; i < SLOT_COUNT; i++)
        value_unref(known->value[i]);
    free(known);
}

static void known_put(struct known *known, unsigned slot, satchel_value *value)
{
    known->value[slot] = value;
    known->data[slot] = value ? value->data : NULL;
}

/* A copy with `value` in the slot; adds a reference to every other value, and takes `value`'s over. */
static struct known *known_copy(const struct known *known, unsigned slot, satchel_value *value)
{
    struct known *copy = malloc(sizeof *copy);
    if (!copy)
        return NULL;
    atomic_init(&copy->refs, 1);
    memcpy(copy->data, known->data, sizeof copy->data);
    memcpy(copy->value, known->value, sizeof copy->value);
    known_put(copy, slot, value);
    for (unsigned i = 0; i < SLOT_COUNT; i++)
        if (copy->value[i] && i != slot)
            (void)value_ref(copy->value[i]);
    return copy;
}

/* Undoes known_copy; `value` goes back to the caller. */
static void known_uncopy(struct known *copy, unsigned slot)
{
    known_put(copy, slot, NULL);
    known_unref(copy);
}

/* ---- snapshots ---- */

void snapshot_destroy(struct snapshot *s)
{
    known_unref(s->known);
    trie_unref(s->rest);
    free(s);
}

static struct snapshot *snapshot_new(struct known *known, struct node *rest, uint32_t count)
{
    struct snapshot *s = malloc(sizeof *s);
    if (!s)
        return NULL;
    atomic_init(&s->refs, 1);
    s->known = known;
    s->rest = rest;
    s->count = count;
    return s;
}

static void lock(satchel_context *box)
{
    if (box)
        context_lock(box);
}

static void unlock(satchel_context *box)
{
    if (box)
        context_unlock(box);
}

static uint32_t count_with(const struct snapshot *s, const satchel_value *old, const satchel_value *value)
{
    return s->count + (value != NULL) - (old != NULL);
}

enum way { DONE, SHARED_NOW, NO_MEMORY };

/* A change of *at, in `box`. */
struct change {
    struct snapshot **at;
    satchel_context *box; /* NULL: none that another thread could know */
    satchel_var *var;
    satchel_value *value, *old;
    bool want_old;
    unsigned taken; /* by foreign threads, when it began */
};

static unsigned taken_of(satchel_context *box)
{
    return box ? atomic_load_explicit(&box->taken, memory_order_acquire) : 0;
}

static enum way known_in_place(const struct change *c, struct leftover *left)
{
    struct snapshot *s = *c->at;
    struct known *fresh = NULL, *known = s->known;
    unsigned slot = c->var->slot;
    if (!refs_one(&known->refs) && !(fresh = known_copy(known, slot, c->value)))
        return NO_MEMORY;
    lock(c->box);
    if (taken_of(c->box) != c->taken) {
        unlock(c->box);
        if (fresh)
            known_uncopy(fresh, slot);
        return SHARED_NOW;
    }
    s->count = count_with(s, c->old, c->value);
    if (fresh)
        s->known = fresh;
    else
        known_put(known, slot, c->value);
    unlock(c->box);
    if (fresh) {
        left->old = c->old && c->want_old ? value_ref(c->old) : NULL;
        left->known = known;
    } else if (c->want_old) {
        left->old = c->old;
    } else {
        left->unwanted = c->old;
    }
    return DONE;
}

static enum way trie_in_place(const struct change *c, struct leftover *left)
{
    struct snapshot *s = *c->at;
    struct trie_patch *patch = &left->patch;
    if (!trie_patch_prepare(&s->rest, c->var, c->value, patch)) {
        *patch = (struct trie_patch){0};
        return NO_MEMORY;
    }
    lock(c->box);
    if (taken_of(c->box) != c->taken) {
        unlock(c->box);
        trie_patch_drop(patch);
        return SHARED_NOW;
    }
    s->count = count_with(s, c->old, c->value);
    trie_patch_apply(patch);
    unlock(c->box);
    if (c->old && c->want_old)
        left->old = trie_patch_old(patch, c->old);
    return DONE;
}

/* The two halves of a new snapshot.  *ret_known NULL: no memory. */
static void make_halves(const struct change *c, struct known **ret_known, struct node **ret_rest)
{
    const struct snapshot *s = *c->at;
    *ret_known = NULL;
    if (c->var->slot != SLOT_NONE) {
        *ret_known = known_copy(s->known, c->var->slot, c->value);
        *ret_rest = *ret_known ? trie_ref(s->rest) : NULL;
        return;
    }
    bool made =
        c->value ? (*ret_rest = trie_put(s->rest, c->var, c->value)) != NULL : trie_take(s->rest, c->var, ret_rest);
    if (made)
        *ret_known = known_ref(s->known);
}

static enum way with_new_snapshot(const struct change *c, struct leftover *left)
{
    struct snapshot *s = *c->at;
    struct known *known;
    struct node *rest;
    make_halves(c, &known, &rest);
    if (!known)
        return NO_MEMORY;
    struct snapshot *fresh = snapshot_new(known, rest, count_with(s, c->old, c->value));
    if (!fresh) {
        if (c->value)
            (void)value_ref(c->value); /* it stays the caller's */
        known_unref(known);
        trie_unref(rest);
        return NO_MEMORY;
    }
    left->old = c->old && c->want_old ? value_ref(c->old) : NULL;
    lock(c->box);
    *c->at = fresh;
    unlock(c->box);
    left->snapshot = s;
    return DONE;
}

int snapshot_bind(struct snapshot **at, satchel_context *box, satchel_var *var, satchel_value *value, bool want_old,
                  struct leftover *left)
{
    struct change change = {.at = at, .box = box, .var = var, .value = value, .want_old = want_old};
    change.taken = taken_of(box); /* before anything is looked at */
    change.old = snapshot_get(*at, var);
    *left = (struct leftover){0};
    if (!change.old && !value)
        return SATCHEL_OK;
    enum way way = SHARED_NOW;
    if (refs_one(&(*at)->refs))
        way = var->slot != SLOT_NONE ? known_in_place(&change, left) : trie_in_place(&change, left);
    if (way == SHARED_NOW)
        way = with_new_snapshot(&change, left);
    return way == DONE ? SATCHEL_OK : SATCHEL_ENOMEM;
}

void leftover_release(struct leftover *left)
{
    trie_patch_release(&left->patch);
    known_unref(left->known);
    snapshot_unref(left->snapshot);
    value_unref(left->unwanted);
}

int snapshot_build(struct snapshot **at, satchel_var *var, satchel_value *value)
{
    struct leftover left;
    int status = snapshot_bind(at, NULL, var, value, false, &left);
    if (status == SATCHEL_OK)
        leftover_release(&left);
    return status;
}

/* ---- as a mapping ---- */

int snapshot_each(const struct snapshot *s, int (*fn)(satchel_var *var, satchel_value *value, void *arg), void *arg)
{
    for (unsigned i = 0; i < SLOT_COUNT; i++) {
        int stop = s->known->value[i] ? fn(&known_vars[i], s->known->value[i], arg) : 0;
        if (stop)
            return stop;
    }
    return trie_each(s->rest, fn, arg);
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
    return a->count == b->count && snapshot_each(a, differs, (struct snapshot *)(uintptr_t)b) == 0;
}
