/* The turn's two times, and what a wall clock that is set means: dates stay where they are, spans go on.
 *
 * Waiting tasks lie in one heap by wall clock.  What was given as a span (a delay, a backoff, expires_in) is turned into
 * a date when it begins; where the wall clock jumps, those dates jump with it.  Attempts' limits lie in a heap by
 * monotonic clock; there it is the deadlines, which are dates, that move.
 * A start knows no jump: what the store says of a task's times is taken as it is.
 * Called by engine.c.  Thread: the engine's, between two batches. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/internal.h"

#define STEP_US INT64_C(50000)       /* a smaller difference between two looks is a clock that is slewed */
#define TOGETHER_NS INT64_C(1000000) /* readings that lie further apart (the thread did not run) tell nothing */

static int64_t clock_boot_ns(void) /* like the monotonic clock, and goes on while the machine sleeps */
{
    struct timespec t;
    (void)clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void shift_waiting(struct engine *e, int64_t by_us)
{
    for (size_t i = 0; i <= e->entries.slot_mask; i++) {
        if (!e->entries.slots[i])
            continue;
        struct entry *entry = entries_at(&e->entries, e->entries.slots[i] - 1);
        bool waits = entry->state == TASK_SCHEDULED || entry->state == TASK_QUEUED;
        if (!waits || !entry->spans)
            continue;
        if (entry->spans & ENTRY_SPAN_RUN)
            entry->run_at_us += by_us;
        if (entry->spans & ENTRY_SPAN_GIVE_UP)
            entry->give_up_us += by_us;
        task_requeue(e, entry, false); /* arms its timer anew */
    }
}

static void step(struct engine *e, int64_t by_us)
{
    shift_waiting(e, by_us);
    for (struct live *live = e->running; live; live = live->next_running)
        attempt_arm_limit(e, entries_at(&e->entries, live->entry));
    LOG_NOTICE("the wall clock was set; spans go on as they were", LOG_NUMBER("milliseconds", by_us / 1000));
}

void clocks_look(struct engine *e)
{
    int64_t before = clock_boot_ns(), wall_us = clock_wall_us();
    bool together = clock_boot_ns() - before < TOGETHER_NS;
    int64_t offset_us = wall_us - before / 1000, by_us = offset_us - e->wall_offset_us;
    e->now_us = wall_us;
    e->now_ns = clock_mono_ns();
    if (!together)
        return;
    e->wall_offset_us = offset_us;
    if (e->clocks_known && (by_us > STEP_US || by_us < -STEP_US))
        step(e, by_us);
    e->clocks_known = true;
}
