/* Which claimed attempts have really started, kept where a kill -9 cannot lose it: a small file, mapped and shared.
 *
 * Claims wait a moment for their worker.  After a crash, only those that had started count as lost; the others are given
 * back as if they had never been claimed, so that a task does not lose a life to its neighbour's crash.  A short task's
 * claim may be in no row at all (engine/claims.c): then the mark is what tells that it had started.  After a power
 * failure the file's last pages may be missing: it names the boot that it belongs to, and of another boot's attempts
 * those count as started that the store has as claimed.
 *
 * Thread: a mark is written by the worker that runs the attempt; everything else belongs to the engine's thread. */
#ifndef SATCHEL_TASK_STARTED_H
#define SATCHEL_TASK_STARTED_H

#include <stdatomic.h>

#include "proto/id.h"

struct started_mark { /* in the file; 32 bytes */
    uint64_t hi, lo;
    _Atomic uint32_t attempt; /* 0: not started; written last, cleared first */
    uint32_t unused;
    union {
        int64_t started_us;             /* wall clock */
        struct started_mark *next_free; /* where attempt is 0; of no meaning in the file */
    };
};

struct started;

/* Maps `path` (made where missing) with room for n attempts at once and keeps what an earlier process left in it.
 * 0 or -errno. */
int started_open(const char *path, unsigned n, struct started **ret);
/* Had this attempt started when the earlier process ended?  True also where nothing is known. */
bool started_before(const struct started *started, struct task_id id, uint32_t attempt);
/* All that had started, as far as that is known; until started_begin. */
const struct started_mark *started_found(const struct started *started, unsigned *ret_n);
/* What was found is recorded elsewhere now: the file is this process's. */
void started_begin(struct started *started);
struct started_mark *started_take(struct started *started);            /* NULL: all are taken */
void started_give(struct started *started, struct started_mark *mark); /* NULL is fine */
void started_close(struct started *started);                           /* NULL is fine */

/* On the worker, before the handler is called.  NULL is fine. */
static inline void started_set(struct started_mark *mark, struct task_id id, uint32_t attempt, int64_t now_us)
{
    if (!mark)
        return;
    mark->started_us = now_us;
    mark->hi = id.hi;
    mark->lo = id.lo;
    atomic_store_explicit(&mark->attempt, attempt, memory_order_release);
}

#endif
