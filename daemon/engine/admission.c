/* May one more task come in?  What its tenant and the daemon may have waiting, in tasks and in bytes, and how many a
 * second: a leaky bucket (GCRA), which is one time per tenant and needs no clearing.
 * Called by calls.c (submit and retry) before anything else of the task counts.  Thread: the engine's. */
#include "engine/internal.h"

#define SECOND_NS 1e9

/* Eight bits for a size: three of them are the mantissa, so it is at most an eighth too large. */
uint8_t admission_code(size_t bytes)
{
    unsigned exponent = 0;
    uint64_t mantissa = bytes;
    while (mantissa > 15) {
        mantissa = mantissa / 2 + (mantissa & 1);
        exponent++;
    }
    if (exponent >= 31)
        return 0xff;
    return (uint8_t)(mantissa < 8 ? mantissa : (exponent + 1) << 3 | (mantissa & 7));
}

uint64_t admission_bytes(uint8_t code)
{
    return code < 8 ? code : (uint64_t)(8 | (code & 7)) << ((code >> 3) - 1);
}

static double burst_of(const struct tenant_limits *limits)
{
    return limits->burst ? (double)limits->burst : limits->rate > 1 ? limits->rate : 1;
}

/* How full the bucket is goes out with each answer. */
static void tell_rate(const struct engine *e, const struct tenant *tenant, struct engine_rate *ret)
{
    const struct tenant_limits *limits = &tenant->limits;
    double interval = SECOND_NS / limits->rate, burst = burst_of(limits);
    double ahead = tenant->bucket_ns > e->now_ns ? (double)(tenant->bucket_ns - e->now_ns) : 0;
    double left = burst - ahead / interval;
    ret->limit = (uint32_t)burst;
    ret->window_s = (uint32_t)(burst / limits->rate + 0.999);
    ret->left = left > 0 ? (uint32_t)(left + 1e-6) : 0;
    ret->reset_s = (uint32_t)(ahead / SECOND_NS + 0.999);
}

/* Takes one from the bucket; 0, or in how many nanoseconds there is one. */
static int64_t take(const struct engine *e, struct tenant *tenant)
{
    const struct tenant_limits *limits = &tenant->limits;
    double interval = SECOND_NS / limits->rate;
    int64_t from = tenant->bucket_ns > e->now_ns ? tenant->bucket_ns : e->now_ns;
    double over = (double)(from - e->now_ns) + interval - burst_of(limits) * interval;
    if (over > 0.5)
        return (int64_t)over + 1;
    tenant->bucket_ns = from + (int64_t)interval;
    return 0;
}

static bool is_full(const struct engine *e, const struct tenant *tenant, uint8_t size, unsigned *ret_which)
{
    const struct tenant_limits *limits = &tenant->limits;
    size_t limit = limits->max_waiting ? limits->max_waiting : e->options.max_waiting_per_tenant;
    uint64_t waiting = e->stats.waiting[TASK_SCHEDULED] + e->stats.waiting[TASK_QUEUED];
    *ret_which = QUOTA_TASKS;
    if (limit && tenant->waiting >= limit)
        return true;
    *ret_which = QUOTA_ALL_TASKS;
    if (e->options.max_waiting && waiting >= e->options.max_waiting)
        return true;
    *ret_which = QUOTA_BYTES;
    return limits->max_waiting_bytes && tenant->waiting_bytes + admission_bytes(size) > limits->max_waiting_bytes;
}

enum engine_result admission_ask(struct engine *e, struct engine_call *call, const struct entry *entry)
{
    struct tenant *tenant = scheduler_lane(&e->scheduler, entry)->tenant;
    if (is_full(e, tenant, entry->size, &call->fault))
        return ENGINE_QUOTA;
    if (tenant->limits.rate <= 0)
        return ENGINE_OK;
    int64_t wait_ns = take(e, tenant);
    tell_rate(e, tenant, &call->rate);
    if (wait_ns == 0)
        return ENGINE_OK;
    call->fault = QUOTA_RATE;
    call->rate.retry_s = (uint32_t)((double)wait_ns / SECOND_NS + 0.999999);
    return ENGINE_QUOTA;
}
