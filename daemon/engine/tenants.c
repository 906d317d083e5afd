/* The scheduler's tenants and their lanes: found by name, made for the first task, kept for their figures while idle.
 * Called by whoever has an entry (scheduler_attach, scheduler_detach) and by scheduler.c.  Thread: the engine's. */
#include "engine/tenants.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_TENANTS_MAX 4096u

static uint64_t hash_text(struct slice text)
{
    uint64_t h = 0xcbf29ce484222325ULL; /* FNV-1a */
    for (size_t i = 0; i < text.len; i++)
        h = (h ^ (unsigned char)text.data[i]) * 0x100000001b3ULL;
    return h ^ h >> 31;
}

static void grow_buckets(struct scheduler *s)
{
    size_t size = (s->bucket_mask + 1) * 2;
    struct tenant **buckets = calloc(size, sizeof *buckets);
    if (!buckets)
        return; /* longer chains, nothing worse */
    for (size_t i = 0; i <= s->bucket_mask; i++) {
        struct tenant *next;
        for (struct tenant *t = s->buckets[i]; t; t = next) {
            next = t->next_in_hash;
            t->next_in_hash = buckets[t->hash & (size - 1)];
            buckets[t->hash & (size - 1)] = t;
        }
    }
    free(s->buckets);
    s->buckets = buckets;
    s->bucket_mask = size - 1;
}

void tenant_ask_limits(const struct scheduler *s, struct tenant *tenant)
{
    tenant->limits = (struct tenant_limits){.weight = 1};
    if (s->limits)
        s->limits(s->limits_arg, slice_of(tenant->name, tenant->name_len), &tenant->limits);
}

static struct tenant *find_tenant(const struct scheduler *s, struct slice name, uint64_t hash)
{
    for (struct tenant *t = s->buckets[hash & s->bucket_mask]; t; t = t->next_in_hash)
        if (t->hash == hash && slice_eq(name, slice_of(t->name, t->name_len)))
            return t;
    return NULL;
}

struct tenant *scheduler_tenant(const struct scheduler *s, struct slice name)
{
    return find_tenant(s, name, hash_text(name));
}

static struct tenant *tenant_get(struct scheduler *s, struct slice name)
{
    uint64_t hash = hash_text(name);
    struct tenant *found = find_tenant(s, name, hash);
    if (found)
        return found;
    if (!heap_reserve(&s->ready, s->n_tenants + 1))
        return NULL;
    struct tenant *tenant = calloc(1, sizeof *tenant + name.len + 1);
    if (!tenant)
        return NULL;
    tenant->hash = hash;
    tenant->name_len = name.len;
    memcpy(tenant->name, name.data, name.len);
    tenant_ask_limits(s, tenant);
    if (s->n_tenants > s->bucket_mask)
        grow_buckets(s);
    tenant->next_in_hash = s->buckets[hash & s->bucket_mask];
    s->buckets[hash & s->bucket_mask] = tenant;
    s->n_tenants++;
    return tenant;
}

void tenant_unblock(struct tenant *tenant)
{
    if (!tenant->blocked)
        return;
    tenant->blocked = false;
    *tenant->prev_blocked = tenant->next_blocked;
    if (tenant->next_blocked)
        tenant->next_blocked->prev_blocked = tenant->prev_blocked;
}

/* It has tasks again. */
static void leave_idle(struct scheduler *s, struct tenant *tenant)
{
    if (!tenant->idle)
        return;
    tenant->idle = false;
    s->n_idle--;
    *(tenant->prev_idle ? &tenant->prev_idle->next_idle : &s->oldest_idle) = tenant->next_idle;
    *(tenant->next_idle ? &tenant->next_idle->prev_idle : &s->newest_idle) = tenant->prev_idle;
}

static void tenant_drop(struct scheduler *s, struct tenant *tenant)
{
    leave_idle(s, tenant);
    struct tenant **at = &s->buckets[tenant->hash & s->bucket_mask];
    while (*at != tenant)
        at = &(*at)->next_in_hash;
    *at = tenant->next_in_hash;
    s->n_tenants--;
    free(tenant);
}

/* It has no tasks any more.  Its figures stay for a while: who has been idle longest makes room. */
static void tenant_idle(struct scheduler *s, struct tenant *tenant)
{
    heap_clear(&s->ready, &tenant->heap_slot);
    tenant_unblock(tenant);
    if (tenant->idle)
        return;
    tenant->idle = true;
    tenant->next_idle = NULL;
    tenant->prev_idle = s->newest_idle;
    *(s->newest_idle ? &s->newest_idle->next_idle : &s->oldest_idle) = tenant;
    s->newest_idle = tenant;
    if (++s->n_idle > IDLE_TENANTS_MAX)
        tenant_drop(s, s->oldest_idle);
}

static bool lane_number(struct scheduler *s, uint32_t *ret)
{
    for (uint32_t i = s->free_lane_hint; i < s->n_lanes; i++) {
        if (!s->lanes[i]) {
            *ret = i;
            s->free_lane_hint = i + 1;
            return true;
        }
    }
    if (s->n_lanes == s->cap_lanes) {
        size_t cap = s->cap_lanes ? s->cap_lanes * 2 : 64;
        struct lane **lanes = realloc(s->lanes, cap * sizeof *lanes);
        if (!lanes)
            return false;
        s->lanes = lanes;
        s->cap_lanes = cap;
    }
    *ret = (uint32_t)s->n_lanes;
    s->lanes[s->n_lanes++] = NULL;
    s->free_lane_hint = (uint32_t)s->n_lanes;
    return true;
}

static struct lane *lane_get(struct scheduler *s, struct tenant *tenant, struct slice name,
                             const struct task_type *type)
{
    for (struct lane *lane = tenant->lanes; lane; lane = lane->next)
        if (lane->type == type && (type || slice_eq_str(name, lane->name)))
            return lane;
    struct lane *lane = calloc(1, sizeof *lane + name.len + 1);
    if (!lane || !lane_number(s, &lane->index)) {
        free(lane);
        return NULL;
    }
    lane->tenant = tenant;
    lane->type = type;
    memcpy(lane->name, name.data, name.len);
    for (int i = 0; i < PRIORITIES; i++)
        lane->queues[i] = (struct queue){ENTRY_NONE, ENTRY_NONE};
    lane->next = tenant->lanes;
    tenant->lanes = lane;
    s->lanes[lane->index] = lane;
    leave_idle(s, tenant);
    return lane;
}

int scheduler_attach(struct scheduler *s, struct entry *entry, struct slice tenant_name, struct slice name,
                     const struct task_type *type)
{
    struct tenant *tenant = tenant_get(s, tenant_name);
    struct lane *lane = tenant ? lane_get(s, tenant, name, type) : NULL;
    if (!lane) {
        if (tenant && !tenant->lanes)
            tenant_idle(s, tenant);
        return -ENOMEM;
    }
    lane->entries++;
    entry->lane = lane->index;
    return 0;
}

void scheduler_detach(struct scheduler *s, struct entry *entry)
{
    struct lane *lane = scheduler_lane(s, entry);
    if (!lane)
        return;
    entry->lane = ENTRY_NONE;
    if (--lane->entries)
        return;
    struct tenant *tenant = lane->tenant;
    struct lane **at = &tenant->lanes;
    while (*at != lane)
        at = &(*at)->next;
    *at = lane->next;
    s->lanes[lane->index] = NULL;
    if (lane->index < s->free_lane_hint)
        s->free_lane_hint = lane->index;
    free(lane);
    if (!tenant->lanes)
        tenant_idle(s, tenant);
}

struct lane *scheduler_lane(const struct scheduler *s, const struct entry *entry)
{
    return entry->lane == ENTRY_NONE ? NULL : s->lanes[entry->lane];
}
