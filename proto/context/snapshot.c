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

static enum way known_in_place(struct snapshot *s, satchel_context *box, unsigned slot, satchel_value *value,
                               struct leftover *left)
{
    struct known *fresh = NULL, *known = s->known;
    satchel_value *old = known->value[slot];
    if (!refs_one(&known->refs) && !(fresh = known_copy(known, slot, value)))
        return NO_MEMORY;
    lock(box);
    if (!refs_one(&s->refs)) {
        unlock(box);
        if (fresh)
            known_uncopy(fresh, slot);
        return SHARED_NOW;
    }
    s->count = count_with(s, old, value);
    if (fresh)
        s->known = fresh;
    else
        known_put(known, slot, value);
    unlock(box);
    if (fresh) {
        left->old = old ? value_ref(old) : NULL;
        left->known = known;
    } else {
        left->old = old;
    }
    return DONE;
}

static enum way trie_in_place(struct snapshot *s, satchel_context *box, satchel_var *var, satchel_value *value,
                              satchel_value *old, struct leftover *left)
{
    struct trie_patch *patch = &left->patch;
    if (!trie_patch_prepare(&s->rest, var, value, patch)) {
        *patch = (struct trie_patch){0};
        return NO_MEMORY;
    }
    lock(box);
    if (!refs_one(&s->refs)) {
        unlock(box);
        trie_patch_drop(patch);
        return SHARED_NOW;
    }
    s->count = count_with(s, old, value);
    trie_patch_apply(patch);
    unlock(box);
    if (old && patch->old_value == old)
        patch->old_value = NULL; /* the map's own reference is the caller's now */
    else if (old)
        (void)value_ref(old);
    left->old = old;
    return DONE;
}

static enum way with_new_snapshot(struct snapshot **at, satchel_context *box, satchel_var *var, satchel_value *value,
                                  satchel_value *old, struct leftover *left)
{
    struct snapshot *s = *at;
    bool slotted = var->slot != SLOT_NONE;
    struct known *known = slotted ? known_copy(s->known, var->slot, value) : known_ref(s->known);
    struct node *rest = NULL;
    bool made = known != NULL;
    if (made && slotted)
        rest = trie_ref(s->rest);
    else if (made && value)
        made = (rest = trie_put(s->rest, var, value)) != NULL;
    else if (made)
        made = trie_take(s->rest, var, &rest);
    struct snapshot *fresh = made ? snapshot_new(known, rest, count_with(s, old, value)) : NULL;
    if (!fresh) {
        if (known && slotted)
            known_uncopy(known, var->slot);
        else
            known_unref(known);
        if (made)
            trie_unref(rest);
        return NO_MEMORY;
    }
    left->old = old ? value_ref(old) : NULL;
    lock(box);
    *at = fresh;
    unlock(box);
    left->snapshot = s;
    if (!slotted && value)
        left->patch.value = value; /* the trie took a reference of its own */
    return DONE;
}

int snapshot_bind(struct snapshot **at, satchel_context *box, satchel_var *var, satchel_value *value,
                  struct leftover *left)
{
    struct snapshot *s = *at;
    satchel_value *old = snapshot_get(s, var);
    *left = (struct leftover){0};
    if (!old && !value)
        return SATCHEL_OK;
    enum way way = SHARED_NOW;
    if (refs_one(&s->refs))
        way = var->slot != SLOT_NONE ? known_in_place(s, box, var->slot, value, left)
                                     : trie_in_place(s, box, var, value, old, left);
    if (way == SHARED_NOW)
        way = with_new_snapshot(at, box, var, value, old, left);
    return way == DONE ? SATCHEL_OK : SATCHEL_ENOMEM;
}

void leftover_release(struct leftover *left)
{
    trie_patch_release(&left->patch);
    known_unref(left->known);
    snapshot_unref(left->snapshot);
}

int snapshot_build(struct snapshot **at, satchel_var *var, satchel_value *value)
{
    struct leftover left;
    int status = snapshot_bind(at, NULL, var, value, &left);
    if (status != SATCHEL_OK)
        return status;
    leftover_release(&left);
    value_unref(left.old);
    return SATCHEL_OK;
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
