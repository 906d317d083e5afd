/* Open addressing with linear probing and backward-shift deletion, at most 3/4 full: no tombstones, and the table
 * stays quick however many tasks have come and gone. */
#include "engine/entries.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_SLOTS 1024u

int entries_init(struct entries *table)
{
    *table = (struct entries){.free_head = ENTRY_NONE, .slot_mask = FIRST_SLOTS - 1};
    table->slots = calloc(FIRST_SLOTS, sizeof *table->slots);
    return table->slots ? 0 : -ENOMEM;
}

void entries_release(struct entries *table)
{
    for (size_t i = 0; i < table->n_segments; i++)
        free(table->segments[i]);
    free(table->segments);
    free(table->slots);
    *table = (struct entries){0};
}

static size_t hash_of(struct task_id id)
{
    uint64_t x = id.lo ^ id.hi * 0x9e3779b97f4a7c15ULL;
    return (size_t)(x ^ x >> 29);
}

static bool grow_slots(struct entries *table)
{
    size_t old_size = table->slot_mask + 1, size = old_size * 2;
    uint32_t *slots = calloc(size, sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = 0; i < old_size; i++) {
        if (!table->slots[i])
            continue;
        size_t at = hash_of(entries_at(table, table->slots[i] - 1)->id) & (size - 1);
        while (slots[at])
            at = (at + 1) & (size - 1);
        slots[at] = table->slots[i];
    }
    free(table->slots);
    table->slots = slots;
    table->slot_mask = size - 1;
    return true;
}

static bool add_segment(struct entries *table)
{
    size_t n = table->n_segments;
    if ((n + 1) * SEGMENT_ENTRIES >= ENTRY_NONE)
        return false;
    if ((n & (n - 1)) == 0) { /* a full power of two: double the directory */
        struct segment **segments = realloc(table->segments, (n ? n * 2 : 1) * sizeof(struct segment *));
        if (!segments)
            return false;
        table->segments = segments;
    }
    struct segment *segment = calloc(1, sizeof *segment);
    if (!segment)
        return false;
    segment->number = (uint32_t)n;
    table->segments[table->n_segments++] = segment;
    return true;
}

/* One that was used before, since it lies in some cache; else the next one. */
static struct entry *take_free(struct entries *table)
{
    struct entry *entry;
    if (table->free_head != ENTRY_NONE) {
        entry = entries_at(table, table->free_head);
        table->free_head = entry->next;
        return entry;
    }
    if (table->n_used == table->n_segments * SEGMENT_ENTRIES && !add_segment(table))
        return NULL;
    entry = entries_at(table, table->n_used);
    entry->place = table->n_used++ % SEGMENT_ENTRIES;
    return entry;
}

struct entry *entries_add(struct entries *table, struct task_id id)
{
    if ((table->count + 1) * 4 > (table->slot_mask + 1) * 3 && !grow_slots(table))
        return NULL;
    struct entry *entry = take_free(table);
    if (!entry)
        return NULL;
    *entry =
        (struct entry){.id = id, .place = entry->place, .next = ENTRY_NONE, .prev = ENTRY_NONE, .lane = ENTRY_NONE};
    size_t at = hash_of(id) & table->slot_mask;
    while (table->slots[at])
        at = (at + 1) & table->slot_mask;
    table->slots[at] = entry_index(entry) + 1;
    table->count++;
    return entry;
}

static size_t slot_of(const struct entries *table, struct task_id id)
{
    size_t at = hash_of(id) & table->slot_mask;
    while (table->slots[at] && !task_id_equal(entries_at(table, table->slots[at] - 1)->id, id))
        at = (at + 1) & table->slot_mask;
    return at;
}

struct entry *entries_find(const struct entries *table, struct task_id id)
{
    uint32_t index = table->slots[slot_of(table, id)];
    return index ? entries_at(table, index - 1) : NULL;
}

void entries_remove(struct entries *table, struct entry *entry)
{
    size_t hole = slot_of(table, entry->id);
    table->slots[hole] = 0;
    for (size_t at = (hole + 1) & table->slot_mask; table->slots[at]; at = (at + 1) & table->slot_mask) {
        size_t home = hash_of(entries_at(table, table->slots[at] - 1)->id) & table->slot_mask;
        if (((at - home) & table->slot_mask) >= ((at - hole) & table->slot_mask)) {
            table->slots[hole] = table->slots[at];
            table->slots[at] = 0;
            hole = at;
        }
    }
    table->count--;
    entry->id = (struct task_id){0, 0};
    entry->next = table->free_head;
    table->free_head = entry_index(entry);
}
