/* Contexts: boxes with one snapshot; made, copied, entered, left, and read as a mapping.
 * Thread: as the public header says for each function; internal.h says how R6 is kept. */
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "proto/context/internal.h"

/* ---- the lock ---- */

atomic_uint generation = 1;

static void pause_a_little(unsigned turn)
{
    if (turn < 100) {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#endif
    } else if (turn < 200) {
        (void)sched_yield();
    } else { /* its holder does not run and cannot, below us in priority */
        (void)nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    }
}

void context_wait(satchel_context *ctx)
{
    unsigned turn = 0, mine = atomic_load_explicit(&generation, memory_order_relaxed);
    do {
        while (atomic_load_explicit(&ctx->lock, memory_order_relaxed) == mine)
            pause_a_little(turn++);
    } while (atomic_exchange_explicit(&ctx->lock, mine, memory_order_acquire) == mine);
}

void context_after_fork(void)
{
    unsigned mine = atomic_fetch_add(&generation, 1) + 1;
    for (satchel_context *ctx = self.current; ctx; ctx = ctx->below)
        atomic_store(&ctx->entered, mine);
}

struct snapshot *context_snapshot(const satchel_context *ctx)
{
    if (!ctx || ctx == self.current) /* nobody else changes it */
        return snapshot_ref(current_snapshot());
    satchel_context *box = (satchel_context *)(uintptr_t)ctx;
    context_lock(box);
    struct snapshot *s = snapshot_ref(box->snapshot);
    unsigned taken = atomic_load_explicit(&box->taken, memory_order_relaxed);
    atomic_store_explicit(&box->taken, taken + 1, memory_order_release); /* whoever sees it sees the reference */
    context_unlock(box);
    return s;
}

/* ---- life ---- */

satchel_context *context_with_snapshot(struct snapshot *s)
{
    satchel_context *ctx = malloc(sizeof *ctx);
    if (!ctx) {
        snapshot_unref(s);
        return NULL;
    }
    ctx->snapshot = s;
    ctx->below = NULL;
    ctx->id = unique_id();
    atomic_init(&ctx->refs, 1);
    atomic_init(&ctx->lock, 0);
    atomic_init(&ctx->entered, 0);
    atomic_init(&ctx->taken, 0);
    count_add(COUNT_CONTEXTS, 1);
    return ctx;
}

satchel_context *satchel_context_new(void)
{
    return context_with_snapshot(&empty_snapshot);
}

satchel_context *satchel_capture(void)
{
    return context_with_snapshot(snapshot_ref(current_snapshot()));
}

satchel_context *satchel_context_copy(const satchel_context *ctx)
{
    return context_with_snapshot(context_snapshot(ctx));
}

int satchel_context_with(const satchel_context *base, satchel_var *var, satchel_value *value, satchel_context **out)
{
    if (!var || !value || !out)
        return SATCHEL_EINVAL;
    satchel_value *taken;
    struct snapshot *s = context_snapshot(base);
    int status = SATCHEL_OK;
    if (var->slot != SLOT_NONE)
        status = known_value(var, value, snapshot_get(s, var), &taken);
    else
        taken = value_ref(value);
    if (status == SATCHEL_OK && (status = snapshot_build(&s, var, taken)) != SATCHEL_OK)
        value_unref(taken);
    if (status != SATCHEL_OK) {
        snapshot_unref(s);
        return status;
    }
    satchel_context *ctx = context_with_snapshot(s);
    if (!ctx)
        return SATCHEL_ENOMEM;
    *out = ctx;
    return SATCHEL_OK;
}

satchel_context *satchel_context_ref(satchel_context *ctx)
{
    if (ctx)
        refs_add(&ctx->refs);
    return ctx;
}

void satchel_context_unref(satchel_context *ctx)
{
    if (!ctx || !refs_drop(&ctx->refs))
        return;
    struct snapshot *s = ctx->snapshot;
    free(ctx);
    count_add(COUNT_CONTEXTS, -1);
    snapshot_unref(s);
}

/* ---- entering and leaving ---- */

int satchel_context_enter(satchel_context *ctx)
{
    if (!ctx)
        return SATCHEL_EINVAL;
    unsigned mine = atomic_load_explicit(&generation, memory_order_relaxed);
    if (atomic_exchange_explicit(&ctx->entered, mine, memory_order_acquire) == mine)
        return SATCHEL_EENTERED;
    thread_register();
    refs_add(&ctx->refs);
    ctx->below = self.current;
    self.current = ctx;
    thread_refresh();
    return SATCHEL_OK;
}

static void leave(satchel_context *ctx)
{
    self.current = ctx->below;
    thread_refresh();
    ctx->below = NULL;
    atomic_store_explicit(&ctx->entered, 0, memory_order_release);
    satchel_context_unref(ctx);
}

int satchel_context_exit(satchel_context *ctx)
{
    if (!ctx)
        return SATCHEL_EINVAL;
    if (self.current != ctx) {
        count_add(COUNT_MISUSE, 1);
        return SATCHEL_ENOTCURRENT;
    }
    leave(ctx);
    return SATCHEL_OK;
}

/* Also where fn ends the thread, or throws: this file is compiled with exception tables. */
static void leave_run(satchel_context *const *ctx)
{
    const satchel_context *at = self.current;
    while (at && at != *ctx)
        at = at->below;
    if (!at) { /* fn left it itself */
        count_add(COUNT_MISUSE, 1);
        return;
    }
    while (self.current != *ctx) { /* entered by fn, and not left */
        count_add(COUNT_MISUSE, 1);
        leave(self.current);
    }
    leave(*ctx);
}

int satchel_context_run(satchel_context *ctx, int (*fn)(void *arg), void *arg, int *result)
{
    if (!ctx || !fn)
        return SATCHEL_EINVAL;
    int status = satchel_context_enter(ctx);
    if (status != SATCHEL_OK)
        return status;
    int returned;
    {
        __attribute__((cleanup(leave_run), unused)) satchel_context *entered = ctx;
        returned = fn(arg);
    }
    if (result)
        *result = returned;
    return SATCHEL_OK;
}

bool satchel_context_entered(const satchel_context *ctx)
{
    return ctx ? atomic_load_explicit(&ctx->entered, memory_order_relaxed) ==
                     atomic_load_explicit(&generation, memory_order_relaxed)
               : self.current != NULL;
}

satchel_context *satchel_context_current(void)
{
    return self.current;
}

/* ---- as a mapping ---- */

size_t satchel_context_len(const satchel_context *ctx)
{
    struct snapshot *s = context_snapshot(ctx);
    size_t len = s->count;
    snapshot_unref(s);
    return len;
}

bool satchel_context_has(const satchel_context *ctx, const satchel_var *var)
{
    if (!var)
        return false;
    struct snapshot *s = context_snapshot(ctx);
    bool has = snapshot_get(s, var) != NULL;
    snapshot_unref(s);
    return has;
}

int satchel_context_get(const satchel_context *ctx, const satchel_var *var, satchel_value **value)
{
    if (!var || !value)
        return SATCHEL_EINVAL;
    struct snapshot *s = context_snapshot(ctx);
    satchel_value *found = snapshot_get(s, var);
    *value = found ? value_ref(found) : NULL;
    snapshot_unref(s);
    return found ? SATCHEL_OK : SATCHEL_UNSET;
}

struct each {
    int (*fn)(satchel_var *var, void *data, void *arg);
    void *arg;
};

static int each_data(satchel_var *var, satchel_value *value, void *arg)
{
    const struct each *each = arg;
    return each->fn(var, value->data, each->arg);
}

static void drop_snapshot(struct snapshot *const *s)
{
    snapshot_unref(*s);
}

int satchel_context_each(const satchel_context *ctx, int (*fn)(satchel_var *var, void *data, void *arg), void *arg)
{
    if (!fn)
        return SATCHEL_EINVAL;
    __attribute__((cleanup(drop_snapshot), unused)) struct snapshot *s = context_snapshot(ctx);
    return snapshot_each(s, each_data, &(struct each){fn, arg});
}

bool satchel_context_equal(const satchel_context *a, const satchel_context *b)
{
    struct snapshot *x = context_snapshot(a), *y = context_snapshot(b);
    bool equal = snapshot_equal(x, y);
    snapshot_unref(x);
    snapshot_unref(y);
    return equal;
}
