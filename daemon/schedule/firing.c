/* The thread that looks at the clock and submits what is due.  Called by schedules.c.
 *
 * A turn copies what is due under the lock and submits it without; the table may change meanwhile, so what has come of
 * it is noted by name. */
#include <errno.h>
#include <openssl/evp.h>
#include <semaphore.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "schedule/internal.h"

#define LOOK_NS INT64_C(1000000000) /* the wall clock may be set: look at least so often */
#define TURN_MAX 64u                /* firings a turn */

struct firing { /* one time of one schedule */
    char tenant[TENANT_SIZE], name[SCHEDULE_NAME_MAX + 1];
    bool configured;
    int64_t at_us, created_us;
    char *submission; /* owned */
};

/* ---- one submission ---- */

struct posted {
    struct engine_call call;
    sem_t done;
};

static void on_delivered(struct engine_call *call)
{
    (void)sem_post(&((struct posted *)(void *)((char *)call - offsetof(struct posted, call)))->done);
}

/* False: the engine has no room. */
static bool post_and_wait(struct schedules *s, struct posted *own)
{
    own->call.deliver = on_delivered;
    (void)sem_init(&own->done, 0, 0);
    bool posted = engine_post(s->engine, &own->call);
    while (posted && sem_wait(&own->done) < 0 && errno == EINTR) {
    }
    (void)sem_destroy(&own->done);
    return posted;
}

static bool set_key(struct engine_call *call, const struct firing *firing, const char *tenant)
{
    char text[512];
    int n =
        snprintf(text, sizeof text, "schedule%c%s%c%s%c%lld", 0, tenant, 0, firing->name, 0, (long long)firing->at_us);
    call->has_key = EVP_Digest(text, (size_t)n, call->key, NULL, EVP_sha256(), NULL) == 1 &&
                    EVP_Digest("", 0, call->fingerprint, NULL, EVP_sha256(), NULL) == 1;
    return call->has_key;
}

enum fired { FIRED, FIRED_LATER, FIRED_NEVER }; /* never: it will be refused again */

/* `last`: the schedule's times are written with it. */
static enum fired fire_for(struct schedules *s, const struct firing *firing, struct registry *registry,
                           const char *tenant, bool last, struct task_id *ret_id)
{
    struct submission submission;
    struct problem problem = {0};
    if (schedule_submission(firing->submission, registry, s->root_sampling, tenant, firing->name, &submission,
                            &problem) < 0) {
        LOG_ERROR("a schedule's submission is refused", LOG_TEXT("schedule", firing->name),
                  LOG_TEXT("reason", problem.detail));
        return FIRED_NEVER;
    }
    const struct store_schedule row = {.tenant = slice_str(firing->tenant),
                                       .name = slice_str(firing->name),
                                       .body = slice_str(firing->configured ? "" : firing->submission),
                                       .created_us = firing->created_us,
                                       .last_us = firing->at_us,
                                       .last_id = submission.spec->id};
    struct posted own = {.call = {.kind = ENGINE_SUBMIT, .spec = submission.spec, .schedule = last ? &row : NULL}};
    if (!set_key(&own.call, firing, tenant) || !post_and_wait(s, &own)) {
        task_spec_unref(submission.spec);
        return FIRED_LATER;
    }
    bool made = own.call.result == ENGINE_OK || own.call.result == ENGINE_REPLAYED;
    enum fired result = FIRED;
    if (made)
        *ret_id = own.call.record.spec->id;
    else if (own.call.result == ENGINE_NOT_UNIQUE || own.call.result == ENGINE_KEY_GONE)
        result = FIRED_NEVER; /* the one before is not finished: what `unique` is for */
    else
        result = FIRED_LATER;
    task_record_release(&own.call.record);
    return result;
}

/* ---- each tenant ---- */

static bool is_listed(struct slice names, const char *name)
{
    for (size_t at = 0; at < names.len; at += strlen(names.data + at) + 1)
        if (strcmp(names.data + at, name) == 0)
            return true;
    return false;
}

/* Who has tasks in the store, and who has a section of its own in the configuration. */
static bool list_tenants(struct schedules *s, const struct config *config, struct buf *names)
{
    struct posted own = {.call = {.kind = ENGINE_TENANTS, .tenants = names}};
    if (!post_and_wait(s, &own) || own.call.result != ENGINE_OK)
        return false;
    for (size_t i = 0; i < config->n_tenants; i++) {
        const char *name = config->tenants[i].name;
        if (strcmp(name, "*") != 0 && !is_listed(buf_slice(names), name))
            buf_append(names, name, strlen(name) + 1);
    }
    return buf_ok(names);
}

static enum fired fire_for_each(struct schedules *s, const struct firing *firing, struct registry *registry,
                                struct task_id *ret_id)
{
    struct buf names = BUF_INIT;
    enum fired result = list_tenants(s, registry_config(registry), &names) ? FIRED : FIRED_LATER;
    for (size_t at = 0, next; result == FIRED && at < names.len; at = next) {
        next = at + strlen(names.data + at) + 1;
        enum fired one = fire_for(s, firing, registry, names.data + at, next == names.len, ret_id);
        result = one == FIRED_LATER ? FIRED_LATER : FIRED; /* one tenant's refusal is not the others' */
    }
    buf_release(&names);
    return result;
}

/* ---- a turn ---- */

/* What lies before this, and was not dealt with, is missed. */
static int64_t missed_until(const struct schedules *s, const struct schedule_definition *d, int64_t now_us)
{
    int64_t late = now_us - SCHEDULE_GRACE_US, before = s->started_us < now_us ? s->started_us : now_us;
    if (!d->once)
        before -= SCHEDULE_RESTART_GRACE_US;
    return late > before ? late : before;
}

/* The next time to be dealt with, in the order of time.  Missed ones are counted and passed over here. */
static bool take_due_locked(struct schedules *s, struct schedule *one, int64_t now_us, struct firing *ret)
{
    const struct schedule_definition *d = &one->definition;
    int64_t at, last;
    unsigned missed;
    one->next_us = INT64_MAX;
    if (one->paused) {
        one->last_us = now_us > one->last_us ? now_us : one->last_us; /* what passes meanwhile is not missed */
        return false;
    }
    if (cron_last(&d->cron, d->zone, one->last_us, missed_until(s, d, now_us), 1000000, &last, &missed)) {
        bool make_up = d->once;
        one->missed += missed - make_up;
        s->stats.missed += missed - make_up;
        if (make_up) {
            at = last;
            goto due;
        }
        one->last_us = last;
    }
    if (!cron_next(&d->cron, d->zone, one->last_us, &at))
        return false;
    if (at > now_us) {
        one->next_us = at;
        return false;
    }
due:
    one->next_us = 0;
    *ret = (struct firing){.configured = one->configured, .at_us = at, .created_us = one->created_us};
    memcpy(ret->tenant, one->tenant, sizeof ret->tenant);
    memcpy(ret->name, one->name, sizeof ret->name);
    ret->submission = strdup(d->submission);
    return ret->submission != NULL;
}

static void note_locked(struct schedules *s, const struct firing *firing, enum fired result, struct task_id id)
{
    struct schedule *one = schedule_find_locked(s, firing->tenant, slice_str(firing->name), true);
    s->stats.fired += result == FIRED;
    s->stats.refused += result != FIRED;
    if (!one || one->configured != firing->configured || result == FIRED_LATER || one->last_us >= firing->at_us)
        return;
    one->last_us = firing->at_us;
    one->missed += result == FIRED_NEVER;
    if (result != FIRED)
        return;
    one->last_id = id;
    one->fired++;
}

/* True: something could not be done and is to be tried again in a while. */
static bool fire(struct schedules *s, struct firing *firings, size_t n, struct registry *registry)
{
    bool again = false;
    for (size_t i = 0; i < n; i++) {
        struct firing *firing = &firings[i];
        struct task_id id = {0, 0};
        enum fired result = *firing->tenant ? fire_for(s, firing, registry, firing->tenant, true, &id)
                                            : fire_for_each(s, firing, registry, &id);
        (void)pthread_mutex_lock(&s->lock);
        note_locked(s, firing, result, id);
        (void)pthread_mutex_unlock(&s->lock);
        again = again || result == FIRED_LATER;
        free(firing->submission);
    }
    return again;
}

/* Nanoseconds until the next one is due, at most LOOK_NS. */
static int64_t wait_ns_locked(const struct schedules *s)
{
    int64_t now_us = clock_wall_us(), wait = LOOK_NS;
    for (const struct schedule *one = s->first; one; one = one->next)
        if (one->next_us != INT64_MAX && (one->next_us - now_us) * 1000 < wait)
            wait = one->next_us > now_us ? (one->next_us - now_us) * 1000 : 0;
    return wait;
}

static void rest_locked(struct schedules *s, int64_t wait_ns)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    wait_ns += until.tv_nsec;
    until.tv_sec += wait_ns / 1000000000;
    until.tv_nsec = wait_ns % 1000000000;
    if (wait_ns > 0 && !s->stopping)
        (void)pthread_cond_timedwait(&s->changed, &s->lock, &until);
}

void *schedule_thread(void *arg)
{
    struct schedules *s = arg;
    struct firing *firings = calloc(TURN_MAX, sizeof *firings);
    (void)pthread_mutex_lock(&s->lock);
    s->started_us = clock_wall_us();
    while (!s->stopping && firings) {
        size_t n = 0;
        int64_t now_us = clock_wall_us();
        for (struct schedule *one = s->first; one && n < TURN_MAX; one = one->next)
            n += take_due_locked(s, one, now_us, &firings[n]);
        bool again = false;
        if (n) {
            struct registry *registry = registry_ref(s->registry);
            (void)pthread_mutex_unlock(&s->lock);
            again = fire(s, firings, n, registry);
            registry_unref(registry);
            (void)thread_check();
            (void)pthread_mutex_lock(&s->lock);
        }
        if (!n || again)
            rest_locked(s, again ? LOOK_NS : wait_ns_locked(s));
    }
    (void)pthread_mutex_unlock(&s->lock);
    free(firings);
    return NULL;
}
