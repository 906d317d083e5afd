/* Open addressing with linear probing; an entry that falls to zero is taken out by moving later ones back. */
#include "http/source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_SIZE = 64 }; /* a power of two, like every size */

int sources_init(struct sources *sources)
{
    sources->table = calloc(FIRST_SIZE, sizeof *sources->table);
    if (!sources->table)
        return -ENOMEM;
    sources->size = FIRST_SIZE;
    sources->used = 0;
    int err = pthread_mutex_init(&sources->lock, NULL);
    if (err)
        free(sources->table);
    return -err;
}

void sources_release(struct sources *sources)
{
    (void)pthread_mutex_destroy(&sources->lock);
    free(sources->table);
}

static size_t home_of(const struct source_key *key, size_t size)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < sizeof key->bytes; i++)
        hash = (hash ^ key->bytes[i]) * 1099511628211u;
    return (size_t)(hash ^ hash >> 32) & (size - 1);
}

static size_t find(const struct source_entry *table, size_t size, const struct source_key *key)
{
    size_t at = home_of(key, size);
    while (table[at].count && memcmp(&table[at].key, key, sizeof *key) != 0)
        at = (at + 1) & (size - 1);
    return at;
}

static bool grow_locked(struct sources *sources)
{
    size_t size = sources->size * 2;
    struct source_entry *table = calloc(size, sizeof *table);
    if (!table)
        return false;
    for (size_t i = 0; i < sources->size; i++)
        if (sources->table[i].count)
            table[find(table, size, &sources->table[i].key)] = sources->table[i];
    free(sources->table);
    sources->table = table;
    sources->size = size;
    return true;
}

struct source_key source_of_account(struct slice name)
{
    struct source_key key = {.bytes = {'a'}};
    uint64_t hashes[2] = {14695981039346656037u, 0x9e3779b97f4a7c15u};
    for (size_t i = 0; i < name.len; i++)
        for (size_t k = 0; k < 2; k++)
            hashes[k] = (hashes[k] ^ (unsigned char)name.data[i]) * (k ? 0xff51afd7ed558ccdu : 1099511628211u);
    memcpy(key.bytes + 1, hashes, sizeof hashes);
    return key;
}

bool sources_enter(struct sources *sources, const struct source_key *key, size_t limit)
{
    (void)pthread_mutex_lock(&sources->lock);
    bool ok = sources->used * 2 < sources->size || grow_locked(sources);
    if (ok) {
        struct source_entry *entry = &sources->table[find(sources->table, sources->size, key)];
        ok = !limit || entry->count < limit;
        if (ok && entry->count++ == 0) {
            entry->key = *key;
            sources->used++;
        }
    }
    (void)pthread_mutex_unlock(&sources->lock);
    return ok;
}

static void remove_locked(struct sources *sources, size_t hole)
{
    size_t mask = sources->size - 1;
    for (size_t at = (hole + 1) & mask; sources->table[at].count; at = (at + 1) & mask) {
        size_t home = home_of(&sources->table[at].key, sources->size);
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            sources->table[hole] = sources->table[at];
            hole = at;
        }
    }
    sources->table[hole].count = 0;
    sources->used--;
}

void sources_leave(struct sources *sources, const struct source_key *key)
{
    (void)pthread_mutex_lock(&sources->lock);
    size_t at = find(sources->table, sources->size, key);
    if (sources->table[at].count && --sources->table[at].count == 0)
        remove_locked(sources, at);
    (void)pthread_mutex_unlock(&sources->lock);
}
