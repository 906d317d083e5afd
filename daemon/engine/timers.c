/* Time: tasks that become due or expire (wall clock), attempts that reach their limit (monotonic).
 * Called by engine.c.  Thread: the engine's. */
#include "engine/internal.h"

#define KICK_NS INT64_C(1000000)          /* look at the pool again while attempts wait there */
#define WALL_CHECK_NS INT64_C(1000000000) /* the wall clock may be set: look at least so often */
#define STOP_LOOK_NS INT64_C(20000000)

static void due(struct engine *e, struct entry *entry)
{
    bool given_up = entry->give_up_us && entry->give_up_us <= e->now_us;
    if (!task_move(e, entry, given_up ? TASK_EVENT_EXPIRE : TASK_EVENT_DUE))
        heap_clear(&e->due, &entry->timer); /* not reached: both are allowed where the timer is armed */
}

void timers_run(struct engine *e)
{
    uint32_t *slot;
    for (unsigned n = 0; n < BATCH_TIMERS && heap_first(&e->limits, &slot) <= e->now_ns; n++) {
        struct live *live = (struct live *)((char *)slot - offsetof(struct live, limit_slot));
        heap_clear(&e->limits, slot);
        attempt_fire(e, live, live->at_limit);
    }
    if (e->now_ns < e->retry_ns)
        return;
    told_write_due(e);
    for (unsigned n = 0;
         n < BATCH_TIMERS && !batch_full(e, CHANGES_OF_AN_END) && heap_first(&e->due, &slot) <= e->now_us; n++)
        due(e, (struct entry *)((char *)slot - offsetof(struct entry, timer)));
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t timers_wait_ns(struct engine *e)
{
    uint32_t *slot;
    int64_t wait = e->purge_ns - e->now_ns;
    int64_t first = heap_first(&e->due, &slot);
    if (first != INT64_MAX) {
        int64_t until = WALL_CHECK_NS;
        if (first <= e->now_us + WALL_CHECK_NS / 1000)
            until = first > e->now_us ? (first - e->now_us) * 1000 : 0;
        if (e->now_ns < e->retry_ns && until < e->retry_ns - e->now_ns)
            until = e->retry_ns - e->now_ns;
        wait = sooner(wait, until);
    }
    first = heap_first(&e->limits, &slot);
    if (first != INT64_MAX)
        wait = sooner(wait, first - e->now_ns);
    first = heap_first(&e->waits, &slot);
    if (first != INT64_MAX)
        wait = sooner(wait, first - e->now_ns);
    first = heap_first(&e->writes, &slot);
    if (first != INT64_MAX)
        wait = sooner(wait, first - e->now_ns);
    if (e->ready && e->now_ns >= e->retry_ns)
        return 0;
    if (e->held || e->now_ns < e->retry_ns)
        wait = sooner(wait, e->retry_ns - e->now_ns);
    if (atomic_load_explicit(&e->stopping, memory_order_relaxed))
        wait = sooner(wait, STOP_LOOK_NS);
    if (pool_waiting(e->pool))
        wait = sooner(wait, KICK_NS);
    return wait > 0 ? wait : 0;
}
