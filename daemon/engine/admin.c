/* What administrators ask: to pause, drain and resume the daemon, a tenant or a task type, and how the tenants stand.
 *
 * A hold is a row of its own, committed like any other change; it takes effect once it is durable.  The scheduler asks
 * for a tenant's limits when the tenant comes up, and is told what is held with them.
 * Called by calls.c (the calls), batch.c (the commit), reload.c and recovery.c.  Thread: the engine's. */
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "engine/internal.h"

/* ---- what is held ---- */

void tenant_limits_get(void *arg, struct slice tenant, struct tenant_limits *ret)
{
    const struct engine *e = arg;
    if (e->options.tenant_limits)
        e->options.tenant_limits(e->options.tenant_limits_arg, tenant, ret);
    struct hold hold = holds_find(&e->holds, HOLD_TENANT, tenant);
    ret->paused = hold.paused;
    ret->draining = hold.draining;
}

void holds_apply(struct engine *e)
{
    const struct task_type *type;
    for (size_t i = 0; (type = registry_at(e->registry, i)) != NULL; i++) {
        struct hold hold = holds_find(&e->holds, HOLD_TASK, slice_str(type->name));
        e->scheduler.types[i].paused = hold.paused;
        e->scheduler.types[i].draining = hold.draining;
    }
    struct hold all = holds_find(&e->holds, HOLD_ALL, SLICE_LITERAL(""));
    e->scheduler.paused = all.paused;
    e->stats.drained = all.draining;
    e->stats.paused = e->stats.held = 0;
    for (size_t i = 0; i < e->holds.n; i++) {
        e->stats.paused += e->holds.list[i].paused;
        e->stats.held += e->holds.list[i].draining;
    }
    scheduler_refresh(&e->scheduler);
}

static int add_hold(void *arg, const struct hold *hold)
{
    struct engine *e = arg;
    int err = holds_reserve(&e->holds);
    if (err == 0)
        holds_set(&e->holds, hold);
    return err;
}

int holds_load(struct engine *e)
{
    if (e->store->ops->each_hold(e->store, add_hold, e) != STORE_OK)
        return -EIO;
    holds_apply(e);
    if (e->holds.n)
        LOG_NOTICE("operators have paused or are draining some of it", LOG_NUMBER("paused", (int64_t)e->stats.paused),
                   LOG_NUMBER("draining", (int64_t)e->stats.held));
    return 0;
}

bool holds_drain(const struct engine *e, const struct entry *entry)
{
    const struct lane *lane = scheduler_lane(&e->scheduler, entry);
    if (e->holds.n == 0)
        return false;
    return e->stats.drained || lane->tenant->limits.draining ||
           (lane->type && e->scheduler.types[lane->type->index].draining);
}

/* ---- to pause, drain, resume ---- */

void hold_handle(struct engine *e, struct engine_call *call)
{
    struct engine_admin *admin = call->admin;
    struct hold *hold = &admin->hold;
    if (hold->scope == HOLD_TASK && !registry_find(e->registry, slice_str(hold->name))) {
        call_answer(e, call, ENGINE_NOT_FOUND);
        return;
    }
    struct hold now = holds_find(&e->holds, hold->scope, slice_str(hold->name));
    hold->paused = admin->order == HOLD_PAUSE || (admin->order == HOLD_DRAIN && now.paused);
    hold->draining = admin->order == HOLD_DRAIN || (admin->order == HOLD_PAUSE && now.draining);
    int err = holds_reserve(&e->holds);
    struct change *change = err ? NULL : batch_add_row(e, (struct task_id){0, 0});
    if (!change) {
        call->fault = QUOTA_HOLDS;
        call_answer(e, call, err == -ENOSPC ? ENGINE_QUOTA : ENGINE_STORE_FAILED);
        return;
    }
    change->row.kind = STORE_HOLD;
    change->row.hold = hold;
    change->calls = call;
    e->hold_under_way = true; /* the next one is decided by what this one leaves */
}

static void copy_holds(const struct engine *e, struct engine_admin *admin)
{
    admin->holds = malloc((e->holds.n + 1) * sizeof *admin->holds);
    admin->n_holds = admin->holds ? e->holds.n : 0;
    if (admin->n_holds)
        memcpy(admin->holds, e->holds.list, e->holds.n * sizeof *admin->holds);
    memcpy(admin->waiting, e->stats.waiting, sizeof admin->waiting);
}

void hold_committed(struct engine *e, const struct change *change)
{
    if (change->row.kind != STORE_HOLD)
        return;
    holds_set(&e->holds, change->row.hold);
    holds_apply(e);
    copy_holds(e, change->calls->admin);
    LOG_NOTICE("an operator has changed what is held", LOG_TEXT("name", change->row.hold->name),
               LOG_NUMBER("scope", change->row.hold->scope), LOG_NUMBER("paused", change->row.hold->paused),
               LOG_NUMBER("draining", change->row.hold->draining));
}

/* ---- figures ---- */

static void fill_figures(const struct engine *e, struct slice name, struct engine_tenant *ret)
{
    const struct tenant *tenant = scheduler_tenant(&e->scheduler, name);
    *ret = (struct engine_tenant){.limits = {.weight = 1}};
    if (name.len < sizeof ret->name)
        memcpy(ret->name, name.data, name.len);
    tenant_limits_get((void *)(uintptr_t)e, name, &ret->limits);
    if (!ret->limits.max_waiting)
        ret->limits.max_waiting = (uint32_t)e->options.max_waiting_per_tenant;
    if (!tenant)
        return;
    ret->known = true;
    ret->queued = tenant->queued;
    ret->scheduled = tenant->waiting - tenant->queued;
    ret->running = tenant->running;
    ret->waiters = tenant->waiters;
    ret->waiting_bytes = tenant->waiting_bytes;
    ret->submitted = tenant->submitted;
    ret->attempts = tenant->attempts;
    ret->run_us = tenant->run_ns / 1000;
    memcpy(ret->finished, tenant->finished, sizeof ret->finished);
}

struct figures {
    const struct engine *engine;
    struct engine_admin *admin;
};

static int add_figures(void *arg, struct slice tenant)
{
    struct figures *f = arg;
    struct engine_admin *admin = f->admin;
    if (admin->n_tenants == admin->limit) {
        memcpy(admin->next, tenant.data, tenant.len < sizeof admin->next ? tenant.len : 0);
        return 1;
    }
    struct engine_tenant *ret = &admin->tenants[admin->n_tenants++];
    fill_figures(f->engine, tenant, ret);
    ret->known = true;
    return 0;
}

static int note_known(void *arg, struct slice tenant)
{
    struct engine_admin *admin = arg;
    admin->tenants[0].known = admin->tenants[0].known || slice_eq(tenant, admin->only);
    return 1;
}

void figures_handle(struct engine *e, struct engine_call *call)
{
    struct engine_admin *admin = call->admin;
    enum store_result result = STORE_OK;
    copy_holds(e, admin);
    admin->tenants = calloc((size_t)admin->limit + 1, sizeof *admin->tenants);
    if (!admin->tenants || !admin->holds)
        result = STORE_BUSY;
    else if (admin->only.len) {
        fill_figures(e, admin->only, &admin->tenants[admin->n_tenants++]);
        result = e->store->ops->each_tenant(e->store, admin->only, 1, note_known, admin);
    } else if (admin->limit) {
        result = e->store->ops->each_tenant(e->store, admin->from, admin->limit + 1, add_figures,
                                            &(struct figures){e, admin});
    }
    call_answer(e, call, result == STORE_OK ? ENGINE_OK : ENGINE_STORE_FAILED);
}
