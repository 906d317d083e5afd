/* The table of unfinished tasks: a small fixed-size entry each (72 bytes, and 5 to 11 of its index slot), in segments
 * that never move, found by id through a hash.  Bodies stay in the store; an entry has its spec only while the task is
 * hot (just submitted, or running).
 * Thread: the engine's alone. */
#ifndef SATCHEL_ENGINE_ENTRIES_H
#define SATCHEL_ENGINE_ENTRIES_H

#include <stddef.h>

#include "task/task.h"

#define ENTRY_NONE UINT32_MAX
#define SEGMENT_ENTRIES 1024u

struct live;

enum entry_tie {                              /* to other tasks, and keys */
                 ENTRY_BLOCKED = 1 << 0,      /* it waits for other tasks (links.c) */
                 ENTRY_GROUPED = 1 << 1,      /* it is a member of a group (groups.c) */
                 ENTRY_UNIQUE = 1 << 2,       /* it holds a unique key until it ends */
                 ENTRY_UNIQUE_START = 1 << 3, /* it holds one until an attempt is claimed */
                 ENTRY_CASCADE = 1 << 4       /* it is being canceled with whatever it submits */
};

enum entry_span {                             /* which of its dates began as a span (clocks.c) */
                  ENTRY_SPAN_RUN = 1 << 0,    /* run_at_us: a delay, a backoff */
                  ENTRY_SPAN_GIVE_UP = 1 << 1 /* give_up_us: expires_in */
};

/* Millions of them wait, so what is rarely there is not given room: few have a spec, fewer what a running one has
 * (struct live), and those keep the spec there.  Read `body` and `place` through the functions below. */
struct entry {
    struct task_id id;
    uintptr_t body;     /* 0, a spec, or a live part and LIVE_BIT */
    int64_t run_at_us;  /* when it is or was due */
    int64_t give_up_us; /* the earlier of deadline and expiry; 0: never */
    uint32_t attempt;   /* also the fencing token: it never comes back to a number that it had */
    uint16_t lost, failures;
    uint32_t lane;       /* the scheduler's: (tenant, task type) */
    uint32_t next, prev; /* the scheduler's: neighbours in the lane's queue */
    uint32_t timer;      /* slot in the wall clock heap */
    uint16_t change;     /* index + 1 in the batch under way; 0: untouched */
    uint16_t place : 10; /* in its segment */
    uint16_t spans : 2;  /* enum entry_span */
    bool cancel_requested : 1;
    bool has_callback : 1;
    bool queued : 1;   /* the scheduler's: it is linked into its lane */
    uint8_t ties;      /* enum entry_tie */
    uint8_t size;      /* of its submission, as admission.c codes it */
    uint8_t state : 4; /* enum task_state */
    uint8_t priority : 4;
    uint8_t before; /* enum error_type that the last attempt ended with; NONE: it is not known here */
};

_Static_assert(sizeof(struct entry) <= 72, "each waiting task has one");
_Static_assert(TASK_STATE_COUNT <= 16 && ERROR_TYPE_COUNT <= 256, "they have their bits");

struct segment {
    uint32_t number;
    struct entry entries[SEGMENT_ENTRIES];
};

_Static_assert(SEGMENT_ENTRIES <= 1u << 10, "a place has its bits");

struct entries {
    struct segment **segments;
    size_t n_segments;
    uint32_t free_head; /* those that were used before, linked by next */
    uint32_t n_used;    /* of the segments; what lies behind was never touched */
    uint32_t *slots;    /* hash: index + 1; 0: empty */
    size_t slot_mask;
    size_t count;
};

/* Of a task that gives up at the earlier of the two: is it the span? */
static inline unsigned give_up_span(int64_t deadline_us, int64_t expires_us)
{
    return expires_us && (!deadline_us || expires_us < deadline_us) ? ENTRY_SPAN_GIVE_UP : 0;
}

int entries_init(struct entries *table); /* 0 or -ENOMEM */
void entries_release(struct entries *table);
/* A zero-filled entry for a new id; NULL: no memory. */
struct entry *entries_add(struct entries *table, struct task_id id);
struct entry *entries_find(const struct entries *table, struct task_id id); /* NULL: none */
void entries_remove(struct entries *table, struct entry *entry);

static inline struct entry *entries_at(const struct entries *table, uint32_t index)
{
    return &table->segments[index / SEGMENT_ENTRIES]->entries[index % SEGMENT_ENTRIES];
}

static inline uint32_t entry_index(const struct entry *entry)
{
    const struct entry *first = entry - entry->place;
    const struct segment *segment = (const struct segment *)((const char *)first - offsetof(struct segment, entries));
    return segment->number * SEGMENT_ENTRIES + entry->place;
}

/* ---- its body ---- */

#define LIVE_BIT ((uintptr_t)1) /* both are from malloc, so it is free */

struct live_head { /* what a struct live begins with */
    struct task_spec *spec;
};

/* What only a running or waited-for task has; NULL: it has none.  entry_live makes it (batch.c). */
static inline struct live *entry_live_get(const struct entry *entry)
{
    return entry->body & LIVE_BIT ? (struct live *)(entry->body & ~LIVE_BIT) : NULL;
}

/* The same, of an entry that is known to have it: it runs, or somebody waits for it. */
static inline struct live *entry_live_known(const struct entry *entry)
{
    return (struct live *)(entry->body & ~LIVE_BIT);
}

/* Its spec, by a reference that the entry holds; NULL: it is cold. */
static inline struct task_spec *entry_spec(const struct entry *entry)
{
    const struct live_head *head = (const struct live_head *)entry_live_get(entry);
    return head ? head->spec : (struct task_spec *)entry->body;
}

static inline void entry_set_spec(struct entry *entry, struct task_spec *spec)
{
    struct live_head *head = (struct live_head *)entry_live_get(entry);
    if (head)
        head->spec = spec;
    else
        entry->body = (uintptr_t)spec;
}

/* NULL: none any more.  The spec stays the entry's either way; the live part that it had is the caller's. */
static inline void entry_set_live(struct entry *entry, struct live *live)
{
    struct task_spec *spec = entry_spec(entry);
    entry->body = (uintptr_t)live | (live ? LIVE_BIT : 0);
    entry_set_spec(entry, spec);
}

#endif
