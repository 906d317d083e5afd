/* Per shard a ring of records (the oldest makes room) and a chained hash over it.  Bounded by count and bytes. */
#include "engine/recent.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define SHARDS 8u
#define RING 4096u /* records a shard */
#define NONE UINT16_MAX

struct slot {
    struct task_record record; /* spec NULL: empty */
    size_t bytes;
    uint16_t next; /* in its hash chain */
};

struct shard {
    pthread_mutex_t lock; /* guards everything below */
    struct slot *ring;
    uint16_t *heads;
    unsigned oldest, count; /* ring positions, empty ones in between included */
    size_t bytes;
};

struct recent {
    size_t max_bytes; /* per shard */
    _Atomic int64_t retain_us;
    struct shard shards[SHARDS];
};

static uint64_t hash_of(struct task_id id)
{
    uint64_t x = (id.lo ^ id.hi) * 0x9e3779b97f4a7c15ULL;
    return x ^ x >> 32;
}

static struct shard *shard_of(struct recent *recent, struct task_id id)
{
    return &recent->shards[hash_of(id) >> 60 & (SHARDS - 1)];
}

void recent_set_retain(struct recent *recent, int64_t retain_us)
{
    atomic_store_explicit(&recent->retain_us, retain_us, memory_order_relaxed);
}

struct recent *recent_new(size_t max_bytes, int64_t retain_us)
{
    struct recent *recent = calloc(1, sizeof *recent);
    if (!recent)
        return NULL;
    recent->max_bytes = max_bytes / SHARDS;
    recent_set_retain(recent, retain_us);
    for (unsigned i = 0; i < SHARDS; i++) {
        struct shard *shard = &recent->shards[i];
        (void)pthread_mutex_init(&shard->lock, NULL);
        shard->ring = calloc(RING, sizeof *shard->ring); /* untouched pages cost nothing */
        shard->heads = malloc(RING * sizeof *shard->heads);
        if (!shard->ring || !shard->heads) {
            recent_free(recent);
            return NULL;
        }
        memset(shard->heads, 0xff, RING * sizeof *shard->heads);
    }
    return recent;
}

static void unlink_slot(struct shard *shard, uint16_t index)
{
    struct slot *slot = &shard->ring[index];
    uint16_t *at = &shard->heads[hash_of(slot->record.spec->id) & (RING - 1)];
    while (*at != index)
        at = &shard->ring[*at].next;
    *at = slot->next;
    shard->bytes -= slot->bytes;
    task_record_release(&slot->record);
}

static void drop_oldest(struct shard *shard)
{
    if (shard->ring[shard->oldest].record.spec)
        unlink_slot(shard, (uint16_t)shard->oldest);
    shard->oldest = (shard->oldest + 1) % RING;
    shard->count--;
}

void recent_free(struct recent *recent)
{
    if (!recent)
        return;
    for (unsigned i = 0; i < SHARDS; i++) {
        struct shard *shard = &recent->shards[i];
        while (shard->ring && shard->heads && shard->count)
            drop_oldest(shard);
        free(shard->ring);
        free(shard->heads);
        (void)pthread_mutex_destroy(&shard->lock);
    }
    free(recent);
}

static uint16_t find_locked(struct shard *shard, struct task_id id)
{
    uint16_t index = shard->heads[hash_of(id) & (RING - 1)];
    while (index != NONE && !task_id_equal(shard->ring[index].record.spec->id, id))
        index = shard->ring[index].next;
    return index;
}

void recent_put(struct recent *recent, const struct task_record *record)
{
    struct shard *shard = shard_of(recent, record->spec->id);
    size_t bytes = record->spec->size + sizeof(struct slot) + 256;
    if (record->outcome && record->outcome->result)
        bytes += record->outcome->result->len;
    if (bytes > recent->max_bytes / 4)
        return;
    (void)pthread_mutex_lock(&shard->lock);
    uint16_t known = find_locked(shard, record->spec->id);
    if (known != NONE)
        unlink_slot(shard, known);
    while (shard->count && (shard->count == RING || shard->bytes + bytes > recent->max_bytes))
        drop_oldest(shard);
    uint16_t index = (uint16_t)((shard->oldest + shard->count) % RING);
    uint16_t *head = &shard->heads[hash_of(record->spec->id) & (RING - 1)];
    shard->ring[index] = (struct slot){.record = *record, .bytes = bytes, .next = *head};
    (void)task_spec_ref(record->spec);
    (void)task_outcome_ref(record->outcome);
    (void)blob_ref(record->note);
    *head = index;
    shard->count++;
    shard->bytes += bytes;
    (void)pthread_mutex_unlock(&shard->lock);
}

void recent_drop(struct recent *recent, struct task_id id)
{
    struct shard *shard = shard_of(recent, id);
    (void)pthread_mutex_lock(&shard->lock);
    uint16_t index = find_locked(shard, id);
    if (index != NONE)
        unlink_slot(shard, index);
    (void)pthread_mutex_unlock(&shard->lock);
}

static bool kept_long_enough(struct recent *recent, const struct task_record *record, int64_t now_us)
{
    int64_t retain_us = record->spec->retain_us;
    if (!retain_us)
        retain_us = atomic_load_explicit(&recent->retain_us, memory_order_relaxed);
    return retain_us && now_us - record->status.finished_us >= retain_us;
}

bool recent_find(struct recent *recent, struct task_id id, struct slice tenant, int64_t now_us, struct task_record *ret)
{
    struct shard *shard = shard_of(recent, id);
    (void)pthread_mutex_lock(&shard->lock);
    uint16_t index = find_locked(shard, id);
    bool found = index != NONE && (!tenant.data || slice_eq(tenant, shard->ring[index].record.spec->tenant)) &&
                 !kept_long_enough(recent, &shard->ring[index].record, now_us);
    if (found) {
        *ret = shard->ring[index].record;
        (void)task_spec_ref(ret->spec);
        (void)task_outcome_ref(ret->outcome);
        (void)blob_ref(ret->note);
    }
    (void)pthread_mutex_unlock(&shard->lock);
    return found;
}
