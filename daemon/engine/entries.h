/* The table of unfinished tasks: a small fixed-size entry each (about 90 bytes with its index slot), in segments
 * that never move, found by id through a hash.  Bodies stay in the store; an entry's `spec` is set only while the
 * task is hot (just submitted, or running).
 * Thread: the engine's alone. */
#ifndef SATCHEL_ENGINE_ENTRIES_H
#define SATCHEL_ENGINE_ENTRIES_H

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

struct entry {
    struct task_id id;
    struct task_spec *spec; /* a reference, or NULL: cold */
    struct live *live;      /* what only a running or waited-for task has; owned */
    int64_t run_at_us;      /* when it is or was due */
    int64_t give_up_us;     /* the earlier of deadline and expiry; 0: never */
    uint32_t attempt;
    uint16_t lost, failures;
    uint32_t lane;       /* the scheduler's: (tenant, task type) */
    uint32_t next, prev; /* the scheduler's: neighbours in the lane's queue */
    uint32_t timer;      /* slot in the wall clock heap */
    uint32_t change;     /* index + 1 in the batch under way; 0: untouched */
    uint8_t state, priority;
    bool cancel_requested : 1;
    bool has_callback : 1;
    bool queued : 1; /* the scheduler's: it is linked into its lane */
    uint8_t ties;    /* enum entry_tie */
    uint8_t spans;   /* enum entry_span */
    uint8_t size;    /* of its submission, as admission.c codes it */
    uint8_t before;  /* enum error_type that the last attempt ended with; NONE: it is not known here */
    uint32_t self;   /* its own index */
};

_Static_assert(sizeof(struct entry) <= 88, "each waiting task has one");

struct entries {
    struct entry **segments;
    size_t n_segments;
    uint32_t free_head; /* linked by next */
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
struct entry *entries_at(const struct entries *table, uint32_t index);

#endif
