#include "auth/guesses.h"

#include <errno.h>
#include <stdlib.h>

#include "proto/id.h"

#define ENTRIES 4096u /* a power of two */
#define WAYS 8u       /* places where a source may be */
#define MINUTE_NS INT64_C(60000000000)
#define SECOND_NS INT64_C(1000000000)

int guesses_init(struct guesses *guesses)
{
    random_bytes(guesses->seed, sizeof guesses->seed);
    atomic_init(&guesses->newest, 0);
    guesses->table = calloc(ENTRIES, sizeof *guesses->table);
    if (!guesses->table)
        return -ENOMEM;
    int err = pthread_mutex_init(&guesses->lock, NULL);
    if (err)
        free(guesses->table);
    return -err;
}

void guesses_release(struct guesses *guesses)
{
    (void)pthread_mutex_destroy(&guesses->lock);
    free(guesses->table);
}

static uint64_t mix(uint64_t hash, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        __uint128_t product = (__uint128_t)(hash ^ (unsigned char)text.data[i]) * UINT64_C(0xa0761d6478bd642f);
        hash = (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    return hash * UINT64_C(0xe7037ed1a0b428db) + text.len;
}

uint64_t guesses_key(const struct guesses *guesses, struct slice source, struct slice id)
{
    uint64_t key = mix(mix(guesses->seed[0], source) ^ guesses->seed[1], id);
    key ^= key >> 29;
    return key ? key : 1;
}

/* Where the key is; else, to write, the place that is worth least. */
static struct guess_entry *find_locked(struct guesses *guesses, uint64_t key, bool make)
{
    struct guess_entry *first = &guesses->table[(key & (ENTRIES - 1)) / WAYS * WAYS], *oldest = first;
    for (unsigned i = 0; i < WAYS; i++) {
        if (first[i].key == key)
            return &first[i];
        if (first[i].allowed_at < oldest->allowed_at)
            oldest = &first[i];
    }
    if (!make)
        return NULL;
    *oldest = (struct guess_entry){.key = key};
    return oldest;
}

int guesses_wait(struct guesses *guesses, uint64_t key, int64_t a_minute, int64_t now_ns)
{
    if (a_minute <= 0 || atomic_load_explicit(&guesses->newest, memory_order_relaxed) <= now_ns)
        return 0;
    (void)pthread_mutex_lock(&guesses->lock);
    const struct guess_entry *entry = find_locked(guesses, key, false);
    int64_t ahead = entry ? entry->allowed_at - now_ns : 0;
    (void)pthread_mutex_unlock(&guesses->lock);
    int64_t over = ahead - (MINUTE_NS - MINUTE_NS / a_minute); /* one more must fit into the minute */
    return over > 0 ? (int)((over + SECOND_NS - 1) / SECOND_NS) : 0;
}

void guesses_failed(struct guesses *guesses, uint64_t key, int64_t a_minute, int64_t now_ns)
{
    if (a_minute <= 0)
        return;
    (void)pthread_mutex_lock(&guesses->lock);
    struct guess_entry *entry = find_locked(guesses, key, true);
    if (entry->allowed_at < now_ns)
        entry->allowed_at = now_ns;
    entry->allowed_at += MINUTE_NS / a_minute;
    if (entry->allowed_at > atomic_load_explicit(&guesses->newest, memory_order_relaxed))
        atomic_store_explicit(&guesses->newest, entry->allowed_at, memory_order_relaxed);
    (void)pthread_mutex_unlock(&guesses->lock);
}
