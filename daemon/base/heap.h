/* A binary min-heap of times.  The owner of each timer keeps its position in a slot of its own, so that it can be
 * moved or removed in O(log n); 16 bytes a timer.
 * Thread: one owner; no locking. */
#ifndef SATCHEL_BASE_HEAP_H
#define SATCHEL_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEAP_NONE 0u /* a slot that holds no timer: zero-filled memory is unarmed */

struct heap_item {
    int64_t when;
    uint32_t *slot; /* in the owner: its position + 1 */
};

struct heap {
    struct heap_item *items;
    size_t n, cap;
};

void heap_release(struct heap *heap);
/* Arms, or moves what is armed already.  False: no memory, nothing changed. */
bool heap_set(struct heap *heap, uint32_t *slot, int64_t when);
void heap_clear(struct heap *heap, uint32_t *slot); /* nothing armed is fine */
/* The earliest, or INT64_MAX and NULL. */
int64_t heap_first(const struct heap *heap, uint32_t **ret_slot);
bool heap_reserve(struct heap *heap, size_t n); /* room for n timers in all, so that heap_set cannot fail */

#endif
