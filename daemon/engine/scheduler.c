#include "engine/scheduler.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/tenants.h"

#define LEAST_CHARGE_NS 10000 /* so that tasks of no length still take turns */
#define UNKNOWN_CHARGE_NS 1000000
#define SAMPLES_KNOWN 8u
#define QUICK_NS 2000
#define BEHIND_PART 4 /* see begin_at */

static size_t count_types(const struct registry *registry)
{
    size_t n = 0;
    while (registry_at(registry, n))
        n++;
    return n;
}

struct type_state *scheduler_types(const struct registry *registry)
{
    return calloc(count_types(registry) + 1, sizeof(struct type_state));
}

int scheduler_init(struct scheduler *s, struct entries *entries, const struct registry *registry)
{
    *s = (struct scheduler){.entries = entries, .suspects = {ENTRY_NONE, ENTRY_NONE}, .bucket_mask = 255};
    s->n_types = count_types(registry);
    s->types = scheduler_types(registry);
    s->buckets = calloc(s->bucket_mask + 1, sizeof *s->buckets);
    return s->types && s->buckets ? 0 : -ENOMEM;
}

void scheduler_release(struct scheduler *s)
{
    for (size_t i = 0; i < s->n_lanes; i++)
        free(s->lanes[i]);
    free(s->lanes);
    for (size_t i = 0; s->buckets && i <= s->bucket_mask; i++) {
        struct tenant *next;
        for (struct tenant *t = s->buckets[i]; t; t = next) {
            next = t->next_in_hash;
            free(t);
        }
    }
    free(s->buckets);
    free(s->types);
    heap_release(&s->ready);
    *s = (struct scheduler){0};
}

static struct type_state *type_of(const struct scheduler *s, const struct lane *lane)
{
    return &s->types[lane->type ? lane->type->index : s->n_types];
}

/* ---- queues ---- */

static void link_entry(struct scheduler *s, struct queue *q, struct entry *entry, bool first)
{
    entry->prev = first ? ENTRY_NONE : q->tail;
    entry->next = first ? q->head : ENTRY_NONE;
    if (entry->prev != ENTRY_NONE)
        entries_at(s->entries, entry->prev)->next = entry_index(entry);
    else
        q->head = entry_index(entry);
    if (entry->next != ENTRY_NONE)
        entries_at(s->entries, entry->next)->prev = entry_index(entry);
    else
        q->tail = entry_index(entry);
}

static void unlink_entry(struct scheduler *s, struct queue *q, struct entry *entry)
{
    if (entry->prev != ENTRY_NONE)
        entries_at(s->entries, entry->prev)->next = entry->next;
    else
        q->head = entry->next;
    if (entry->next != ENTRY_NONE)
        entries_at(s->entries, entry->next)->prev = entry->prev;
    else
        q->tail = entry->prev;
    entry->next = entry->prev = ENTRY_NONE;
}

static bool is_suspect(const struct entry *entry)
{
    return entry->lost >= SUSPECT_LOST;
}

/* What an attempt of it is charged with in advance. */
static int64_t charge_of(const struct scheduler *s, const struct entry *entry)
{
    int64_t expected = scheduler_expected_ns(s, entry);
    if (expected == INT64_MAX)
        expected = UNKNOWN_CHARGE_NS;
    return expected < LEAST_CHARGE_NS ? LEAST_CHARGE_NS : expected;
}

/* Where those are that are served now.  The last pick may lie far ahead, if what it was charged was given back. */
static int64_t base_vtime(const struct scheduler *s)
{
    uint32_t *slot;
    int64_t first = heap_first(&s->ready, &slot);
    return slot && first < s->vtime ? first : s->vtime;
}

/* Time spent idle is no credit; and who comes begins a part of its task behind, or those who come and go without end
 * would all begin at the same time and keep out for ever who has run already. */
static int64_t begin_at(const struct scheduler *s, const struct tenant *tenant, const struct entry *entry, int64_t base)
{
    return base + (int64_t)((double)(charge_of(s, entry) / BEHIND_PART) / tenant->limits.weight);
}

/* It may run again, perhaps.  What it could not use while it was blocked is no credit either. */
static void wake(struct scheduler *s, struct tenant *tenant)
{
    int64_t base = base_vtime(s);
    tenant_unblock(tenant);
    if (tenant->vtime < base)
        tenant->vtime = base;
    (void)heap_set(&s->ready, &tenant->heap_slot, tenant->vtime); /* room was reserved */
}

static void activate(struct scheduler *s, struct tenant *tenant, const struct entry *entry)
{
    if (tenant->blocked) {
        wake(s, tenant); /* something new: perhaps of a type that may run */
    } else if (tenant->heap_slot == HEAP_NONE) {
        int64_t base = base_vtime(s);
        if (tenant->vtime <= base)
            tenant->vtime = begin_at(s, tenant, entry, base);
        (void)heap_set(&s->ready, &tenant->heap_slot, tenant->vtime);
    }
}

static bool is_contended(const struct lane *lane)
{
    return lane->type && lane->type->concurrency;
}

static void enqueue(struct scheduler *s, struct entry *entry, bool first)
{
    entry->queued = true;
    if (is_suspect(entry)) {
        link_entry(s, &s->suspects, entry, first);
        return;
    }
    struct lane *lane = scheduler_lane(s, entry);
    if (is_contended(lane) && !lane->mask && lane->vtime <= type_of(s, lane)->vtime)
        lane->vtime = begin_at(s, lane->tenant, entry, type_of(s, lane)->vtime);
    link_entry(s, &lane->queues[entry->priority], entry, first);
    lane->mask |= (uint16_t)(1u << entry->priority);
    lane->tenant->queued++;
    activate(s, lane->tenant, entry);
}

void scheduler_enqueue(struct scheduler *s, struct entry *entry)
{
    enqueue(s, entry, false);
}

void scheduler_enqueue_first(struct scheduler *s, struct entry *entry)
{
    enqueue(s, entry, true);
}

static void take(struct scheduler *s, struct entry *entry)
{
    entry->queued = false;
    if (is_suspect(entry)) {
        unlink_entry(s, &s->suspects, entry);
        return;
    }
    struct lane *lane = scheduler_lane(s, entry);
    struct queue *q = &lane->queues[entry->priority];
    unlink_entry(s, q, entry);
    if (q->head == ENTRY_NONE)
        lane->mask &= (uint16_t) ~(1u << entry->priority);
    if (--lane->tenant->queued == 0) {
        heap_clear(&s->ready, &lane->tenant->heap_slot);
        tenant_unblock(lane->tenant);
    }
}

/* ---- picking ---- */

static bool lane_may_run(const struct scheduler *s, const struct lane *lane)
{
    return lane->mask && !type_of(s, lane)->paused &&
           !(lane->type && lane->type->tenant_concurrency && lane->running >= lane->type->tenant_concurrency) &&
           !(lane->type && lane->type->concurrency && type_of(s, lane)->running >= lane->type->concurrency);
}

static struct entry *lane_first(const struct scheduler *s, const struct lane *lane, int *ret_priority)
{
    *ret_priority = 31 - __builtin_clz((unsigned)lane->mask);
    return entries_at(s->entries, lane->queues[*ret_priority].head);
}

static struct entry *tenant_first(const struct scheduler *s, const struct tenant *tenant)
{
    struct entry *best = NULL;
    int best_priority = -1;
    if (tenant->limits.paused || (tenant->limits.max_running && tenant->running >= tenant->limits.max_running))
        return NULL;
    for (const struct lane *lane = tenant->lanes; lane; lane = lane->next) {
        int priority;
        if (!lane_may_run(s, lane))
            continue;
        struct entry *first = lane_first(s, lane, &priority);
        if (!best || priority > best_priority || (priority == best_priority && first->run_at_us < best->run_at_us)) {
            best = first;
            best_priority = priority;
        }
    }
    return best;
}

static void block(struct scheduler *s, struct tenant *tenant)
{
    heap_clear(&s->ready, &tenant->heap_slot);
    tenant->blocked = true;
    tenant->next_blocked = s->blocked;
    tenant->prev_blocked = &s->blocked;
    if (s->blocked)
        s->blocked->prev_blocked = &tenant->next_blocked;
    s->blocked = tenant;
}

static void wake_for_place(struct scheduler *s, struct tenant *tenant)
{
    tenant->woken = true;
    wake(s, tenant);
}

/* Was it its own limit that held the tenant of the lane, where an attempt has just ended? */
static bool was_at_own_limit(const struct lane *lane)
{
    const struct tenant *tenant = lane->tenant;
    return (tenant->limits.max_running && tenant->running + 1 >= tenant->limits.max_running) ||
           (lane->type && lane->type->tenant_concurrency && lane->running + 1 >= lane->type->tenant_concurrency);
}

/* A place became free, of `freed`'s type and tenant, or of nobody knows whose (NULL): wakes the tenant that it was, if that
 * was at its own limit, and of those who wait for the type the one that has used least of it. */
static void wake_one(struct scheduler *s, const struct lane *freed)
{
    struct tenant *best = NULL;
    int64_t least = INT64_MAX;
    if (freed && freed->tenant->blocked && was_at_own_limit(freed) && tenant_first(s, freed->tenant))
        wake_for_place(s, freed->tenant);
    if (freed && !is_contended(freed))
        return; /* nobody else waits for it */
    for (struct tenant *tenant = s->blocked; tenant; tenant = tenant->next_blocked) {
        const struct entry *first = tenant_first(s, tenant);
        if (!first)
            continue;
        const struct lane *lane = scheduler_lane(s, first);
        int64_t key = freed && lane->type != freed->type ? INT64_MIN : lane->vtime; /* one that was forgotten? */
        if (!best || key < least) {
            best = tenant;
            least = key;
        }
    }
    if (best)
        wake_for_place(s, best);
}

/* It was woken for a place that it does not take: perhaps somebody else can. */
static void hand_on(struct scheduler *s, struct tenant *tenant)
{
    if (!tenant->woken)
        return;
    tenant->woken = false;
    if (s->blocked)
        wake_one(s, NULL);
}

void scheduler_dequeue(struct scheduler *s, struct entry *entry)
{
    if (!entry->queued)
        return;
    struct tenant *tenant = scheduler_lane(s, entry)->tenant;
    take(s, entry);
    if (tenant->queued == 0)
        hand_on(s, tenant);
}

/* There are few, and they go one at a time: the first that nobody has paused. */
static struct entry *first_suspect(const struct scheduler *s)
{
    for (uint32_t at = s->suspects.head; at != ENTRY_NONE;) {
        struct entry *entry = entries_at(s->entries, at);
        const struct lane *lane = scheduler_lane(s, entry);
        if (!lane->tenant->limits.paused && !type_of(s, lane)->paused)
            return entry;
        at = entry->next;
    }
    return NULL;
}

struct entry *scheduler_pick(struct scheduler *s)
{
    if (s->paused)
        return NULL;
    if (s->suspects.head != ENTRY_NONE && s->suspects_running == 0) {
        struct entry *suspect = first_suspect(s);
        if (suspect)
            return suspect;
    }
    for (;;) {
        uint32_t *slot;
        int64_t vtime = heap_first(&s->ready, &slot);
        if (!slot)
            return NULL;
        struct tenant *tenant = (struct tenant *)((char *)slot - offsetof(struct tenant, heap_slot));
        struct entry *entry = tenant_first(s, tenant);
        if (entry) {
            s->vtime = vtime;
            return entry;
        }
        block(s, tenant); /* until something of it ends */
        hand_on(s, tenant);
    }
}

int64_t scheduler_expected_ns(const struct scheduler *s, const struct entry *entry)
{
    struct lane *lane = scheduler_lane(s, entry);
    const struct type_state *type = type_of(s, lane);
    if (entry->lost)
        return INT64_MAX; /* never behind a busy worker: it must not be cut off unstarted once more */
    if (type->samples >= SAMPLES_KNOWN)
        return type->run_ns;
    return lane->type && lane->type->quick ? QUICK_NS : INT64_MAX;
}

static void charge(struct scheduler *s, struct lane *lane, int64_t ns)
{
    struct tenant *tenant = lane->tenant;
    int64_t virtual = (int64_t)((double)ns / tenant->limits.weight);
    tenant->vtime += virtual;
    if (tenant->vtime > s->vtime_most)
        s->vtime_most = tenant->vtime;
    if (is_contended(lane))
        lane->vtime += virtual;
    if (tenant->heap_slot != HEAP_NONE)
        (void)heap_set(&s->ready, &tenant->heap_slot, tenant->vtime);
}

int64_t scheduler_start(struct scheduler *s, struct entry *entry)
{
    struct lane *lane = scheduler_lane(s, entry);
    int64_t expected = charge_of(s, entry);
    take(s, entry);
    if (is_contended(lane) || !lane->tenant->queued)
        lane->tenant->woken = false;
    s->running++;
    lane->tenant->running++;
    lane->running++;
    type_of(s, lane)->running++;
    type_of(s, lane)->vtime = lane->vtime;
    if (is_suspect(entry))
        s->suspects_running++;
    charge(s, lane, expected);
    return expected;
}

static void learn(struct type_state *type, int64_t run_ns)
{
    if (type->samples == 0 || run_ns > type->run_ns * 8)
        type->run_ns = run_ns; /* quick to believe that a type is slow */
    else
        type->run_ns += (run_ns - type->run_ns) / 8;
    if (type->samples < UINT32_MAX)
        type->samples++;
}

void scheduler_end(struct scheduler *s, struct entry *entry, int64_t expected_ns, int64_t run_ns, bool started)
{
    struct lane *lane = scheduler_lane(s, entry);
    struct type_state *type = type_of(s, lane);
    s->running--;
    lane->tenant->running--;
    lane->running--;
    type->running--;
    if (is_suspect(entry))
        s->suspects_running--;
    if (started) {
        learn(type, run_ns);
        lane->tenant->attempts++;
        lane->tenant->run_ns += run_ns;
    }
    charge(s, lane, (run_ns > LEAST_CHARGE_NS || !started ? run_ns : LEAST_CHARGE_NS) - expected_ns);
    if (s->blocked)
        wake_one(s, lane);
    else if (s->running == 0 && s->ready.n == 0)
        s->vtime = s->vtime_most; /* nobody waits: what has run was nobody's loss, and all begin alike */
}

/* ---- a reload ---- */

void scheduler_set_registry(struct scheduler *s, const struct registry *registry, struct type_state *types)
{
    free(s->types);
    s->types = types;
    s->n_types = count_types(registry);
    for (size_t i = 0; i < s->n_lanes; i++) {
        struct lane *lane = s->lanes[i];
        if (!lane)
            continue;
        lane->type = registry_find(registry, slice_str(lane->name));
        lane->vtime = 0;                            /* all contend anew, also for what had no limit */
        type_of(s, lane)->running += lane->running; /* of the older registry, and under the same limit */
    }
    scheduler_refresh(s);
}

/* What it has used beyond the others is worth as much at the new weight as it was at the old one. */
static int64_t ahead(int64_t vtime, int64_t base, double factor)
{
    double at = (double)base + (double)(vtime - base) * factor;
    return vtime <= base ? vtime : at < 0x1p62 ? (int64_t)at : INT64_C(1) << 62;
}

static void reweigh(struct scheduler *s, struct tenant *tenant)
{
    double before = tenant->limits.weight;
    tenant_ask_limits(s, tenant);
    double factor = before / tenant->limits.weight;
    if (factor == 1)
        return;
    tenant->vtime = ahead(tenant->vtime, s->vtime, factor);
    if (tenant->heap_slot != HEAP_NONE)
        (void)heap_set(&s->ready, &tenant->heap_slot, tenant->vtime);
    for (struct lane *lane = tenant->lanes; lane; lane = lane->next)
        lane->vtime = ahead(lane->vtime, type_of(s, lane)->vtime, factor);
}

void scheduler_refresh(struct scheduler *s)
{
    for (size_t i = 0; i <= s->bucket_mask; i++)
        for (struct tenant *tenant = s->buckets[i]; tenant; tenant = tenant->next_in_hash)
            reweigh(s, tenant);
    while (s->blocked) /* perhaps by a limit that is gone */
        wake(s, s->blocked);
}
