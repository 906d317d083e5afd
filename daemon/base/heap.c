#include "base/heap.h"

#include <stdlib.h>

void heap_release(struct heap *heap)
{
    free(heap->items);
    *heap = (struct heap){0};
}

bool heap_reserve(struct heap *heap, size_t n)
{
    if (n <= heap->cap)
        return true;
    size_t cap = heap->cap ? heap->cap : 64;
    while (cap < n)
        cap += cap / 2;
    if (cap >= UINT32_MAX)
        return false;
    struct heap_item *items = realloc(heap->items, cap * sizeof *items);
    if (!items)
        return false;
    heap->items = items;
    heap->cap = cap;
    return true;
}

static void put(struct heap *heap, size_t at, struct heap_item item)
{
    heap->items[at] = item;
    *item.slot = (uint32_t)at + 1;
}

static void sift_up(struct heap *heap, size_t at, struct heap_item item)
{
    while (at > 0 && heap->items[(at - 1) / 2].when > item.when) {
        put(heap, at, heap->items[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put(heap, at, item);
}

static void sift_down(struct heap *heap, size_t at, struct heap_item item)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= heap->n)
            break;
        if (child + 1 < heap->n && heap->items[child + 1].when < heap->items[child].when)
            child++;
        if (heap->items[child].when >= item.when)
            break;
        put(heap, at, heap->items[child]);
        at = child;
    }
    put(heap, at, item);
}

static void place(struct heap *heap, size_t at, struct heap_item item)
{
    if (at > 0 && heap->items[(at - 1) / 2].when > item.when)
        sift_up(heap, at, item);
    else
        sift_down(heap, at, item);
}

bool heap_set(struct heap *heap, uint32_t *slot, int64_t when)
{
    struct heap_item item = {.when = when, .slot = slot};
    if (*slot != HEAP_NONE) {
        place(heap, *slot - 1, item);
        return true;
    }
    if (!heap_reserve(heap, heap->n + 1))
        return false;
    sift_up(heap, heap->n++, item);
    return true;
}

void heap_clear(struct heap *heap, uint32_t *slot)
{
    if (*slot == HEAP_NONE)
        return;
    size_t at = *slot - 1;
    *slot = HEAP_NONE;
    struct heap_item last = heap->items[--heap->n];
    if (at < heap->n)
        place(heap, at, last);
}

int64_t heap_first(const struct heap *heap, uint32_t **ret_slot)
{
    *ret_slot = heap->n ? heap->items[0].slot : NULL;
    return heap->n ? heap->items[0].when : INT64_MAX;
}
