/* Per shard a ring of records (the oldest makes room) and a chained hash over it.  Bounded by count and bytes.
 * Letting go of what was kept long ago is most of what keeping costs, since it lies in no processor's cache any more.  So
 * an end that somebody was waiting for displaces nobody: it has been told.  Nor does any other once a whole ring of them
 * went by and nobody asked for one. */
#include "engine/recent.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define SHARDS 8u
#define RING 4096u                                       /* records a shard */
#define OUTCOME_BYTES (sizeof(struct task_outcome) + 80) /* with its result's head, and malloc's share of both */
#define NONE 0u                                          /* what a chain has is the ring's index + 1 */

struct slot {
    struct task_record record; /* spec NULL: empty */
    size_t bytes;
    uint16_t next; /* in its hash chain: index + 1 */
};

struct shard {
    pthread_mutex_t lock; /* guards everything below */
    struct slot *ring;
    uint16_t *heads;
    unsigned oldest, count; /* ring positions, empty ones in between included */
    size_t bytes;
    unsigned wanted; /* so many ends may displace older ones before somebody must ask again */
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
        shard->heads = calloc(RING, sizeof *shard->heads);
        if (!shard->ring || !shard->heads) {
            recent_free(recent);
            return NULL;
        }
    }
    return recent;
}

static void unlink_slot(struct shard *shard, uint16_t index)
{
    struct slot *slot = &shard->ring[index];
    uint16_t *at = &shard->heads[hash_of(slot->record.spec->id) & (RING - 1)];
    while (*at != index + 1u)
        at = &shard->ring[*at - 1].next;
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

static struct slot *find_locked(struct shard *shard, struct task_id id)
{
    for (unsigned at = shard->heads[hash_of(id) & (RING - 1)]; at != NONE; at = shard->ring[at - 1].next)
        if (task_id_equal(shard->ring[at - 1].record.spec->id, id))
            return &shard->ring[at - 1];
    return NULL;
}

/* What it takes of memory with all that it refers to, of which it is mostly the last holder. */
static size_t bytes_of(const struct task_record *record)
{
    size_t bytes = record->spec->memory + sizeof(struct slot) + OUTCOME_BYTES;
    if (record->outcome && record->outcome->result)
        bytes += record->outcome->result->len;
    if (record->outcome)
        bytes += strlen(record->outcome->message);
    return record->note ? bytes + record->note->len : bytes;
}

/* It is not there: a task that has ended goes on only through a retry, which drops it. */
void recent_put(struct recent *recent, const struct task_record *record, bool was_told)
{
    struct shard *shard = shard_of(recent, record->spec->id);
    size_t bytes = bytes_of(record);
    if (bytes > recent->max_bytes / 4)
        return;
    (void)pthread_mutex_lock(&shard->lock);
    bool full = shard->count == RING || shard->bytes + bytes > recent->max_bytes;
    if (full && (was_told || shard->wanted == 0)) {
        (void)pthread_mutex_unlock(&shard->lock);
        return;
    }
    shard->wanted -= full;
    while (shard->count && (shard->count == RING || shard->bytes + bytes > recent->max_bytes))
        drop_oldest(shard);
    uint16_t index = (uint16_t)((shard->oldest + shard->count) % RING);
    uint16_t *head = &shard->heads[hash_of(record->spec->id) & (RING - 1)];
    shard->ring[index] = (struct slot){.record = *record, .bytes = bytes, .next = *head};
    (void)task_spec_ref(record->spec);
    (void)task_outcome_ref(record->outcome);
    (void)blob_ref(record->note);
    *head = (uint16_t)(index + 1);
    shard->count++;
    shard->bytes += bytes;
    (void)pthread_mutex_unlock(&shard->lock);
}

void recent_drop(struct recent *recent, struct task_id id)
{
    struct shard *shard = shard_of(recent, id);
    (void)pthread_mutex_lock(&shard->lock);
    const struct slot *slot = find_locked(shard, id);
    if (slot)
        unlink_slot(shard, (uint16_t)(slot - shard->ring));
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
    shard->wanted = RING;
    const struct slot *slot = find_locked(shard, id);
    bool found = slot && (!tenant.data || slice_eq(tenant, slot->record.spec->tenant)) &&
                 !kept_long_enough(recent, &slot->record, now_us);
    if (found) {
        *ret = slot->record;
        (void)task_spec_ref(ret->spec);
        (void)task_outcome_ref(ret->outcome);
        (void)blob_ref(ret->note);
    }
    (void)pthread_mutex_unlock(&shard->lock);
    return found;
}
