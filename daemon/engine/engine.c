/* The engine's life and its turn: take messages, let time pass, claim, commit, let the effects out.
 * Flow: api/ -> engine_post -> here -> calls.c | attempts.c -> batch.c -> store, then worker/pool.h and the callers.
 * Thread: engine_post, engine_recent, engine_drain and the statistics from any; the turn on the engine's own. */
#include "engine/engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "engine/internal.h"

#define MAILBOX_LIMIT 65536u
#define GRACE_NS INT64_C(15000000000)
#define PURGE_NS INT64_C(1000000000)
#define PURGE_BUSY_NS INT64_C(20000000)
#define PURGE_STEP 200u     /* grows while there is always more: or a file would grow for ever under a steady load */
#define PURGE_STEP_MAX 800u /* some milliseconds */
#define PAUSE_NS INT64_C(250000000)
#define UNWRITTEN_NS INT64_C(20000000)

static void report(void *arg, struct attempt *attempt)
{
    struct engine *e = arg;
    mailbox_post_always(&e->box, &attempt->mail); /* bounded by the claims it answers */
}

int engine_new(const struct engine_options *options, struct engine **ret, char *error, size_t error_size)
{
    struct engine *e = calloc(1, sizeof *e);
    if (!e) {
        (void)snprintf(error, error_size, "out of memory");
        return -1;
    }
    e->options = *options;
    e->store = options->store;
    e->box.event_fd = -1;
    (void)pthread_mutex_init(&e->stats_lock, NULL);
    atomic_init(&e->store_ok, true);
    e->pause_ns = PAUSE_NS;
    e->grace_ns = GRACE_NS;
    e->unwritten_ns = UNWRITTEN_NS;
    e->purge_step = PURGE_STEP;
    e->changes = malloc(BATCH_CHANGES * sizeof *e->changes);
    e->rows = malloc(BATCH_CHANGES * sizeof(struct store_change *));
    e->recent = recent_new(options->recent_bytes, options->retain_us);
    int err = mailbox_init(&e->box, MAILBOX_LIMIT);
    if (err || !e->changes || !e->rows || !e->recent || entries_init(&e->entries) < 0 ||
        scheduler_init(&e->scheduler, &e->entries, options->registry) < 0 ||
        labels_new(options->metrics, options->registry, &e->labels) < 0) {
        (void)snprintf(error, error_size, "cannot set up the engine: %s", strerror(err ? -err : ENOMEM));
        engine_free(e);
        return -1;
    }
    e->registry = registry_ref(options->registry);
    e->scheduler.limits = tenant_limits_get;
    e->scheduler.limits_arg = e;
    *ret = e;
    return 0;
}

bool engine_post(struct engine *e, struct engine_call *call)
{
    call->mail_kind = MAIL_CALL;
    call->timer_slot = HEAP_NONE;
    call->next_waiter = NULL;
    call->replayed = call->not_unique = false;
    call->fault = 0;
    call->retry_after_s = 0;
    call->rate = (struct engine_rate){0};
    call->record = (struct task_record){0};
    return !atomic_load_explicit(&e->closed, memory_order_relaxed) && mailbox_post(&e->box, &call->mail);
}

bool engine_recent(struct engine *e, struct task_id id, struct slice tenant, struct task_record *ret)
{
    return recent_find(e->recent, id, tenant, clock_wall_us(), ret);
}

/* ---- the turn ---- */

static void publish(struct engine *e)
{
    e->stats.heartbeat++;
    e->stats.store_ok = atomic_load_explicit(&e->store_ok, memory_order_relaxed);
    e->store->ops->counters(e->store, &e->stats.commits, &e->stats.syncs);
    e->stats.violations = pool_violations(e->pool);
    e->stats.draining = atomic_load_explicit(&e->draining, memory_order_relaxed);
    (void)pthread_mutex_lock(&e->stats_lock);
    e->published = e->stats;
    (void)pthread_mutex_unlock(&e->stats_lock);
}

static void take_messages(struct engine *e)
{
    if (!e->inbox)
        e->inbox = mailbox_take(&e->box);
    for (unsigned n = 0; e->inbox && n < BATCH_MESSAGES && !batch_full(e, CHANGES_OF_AN_END); n++) {
        struct mail *mail = e->inbox;
        struct mail *next = mail->next;
        struct engine_mail *kind = (struct engine_mail *)mail;
        if (kind->kind == MAIL_CALL) {
            call_handle(e, (struct engine_call *)mail);
        } else if (kind->kind == MAIL_TOLD) {
            told_handle(e, mail);
            told_drop(mail, e);
        } else if (kind->kind == MAIL_RELOAD) {
            reload_handle(e, mail);
        } else if (!attempt_report(e, (struct attempt *)mail)) {
            return;
        }
        e->inbox = next;
    }
}

/* Reports that the store refused: the same again, once the pause is over. */
static void take_held(struct engine *e)
{
    if (!e->held || e->now_ns < e->retry_ns)
        return;
    while (e->held && !batch_full(e, BATCH_CLAIMS)) {
        struct attempt *attempt = e->held;
        e->held = (struct attempt *)attempt->mail.next;
        if (!attempt_report(e, attempt)) {
            attempt->mail.next = (struct mail *)e->held;
            e->held = attempt;
            return;
        }
    }
}

static void purge(struct engine *e)
{
    if (e->now_ns < e->purge_ns)
        return;
    unsigned purged = 0;
    bool more = false;
    if (e->now_ns >= e->retry_ns &&
        e->store->ops->purge(e->store, e->now_us, e->purge_step, &purged, &more) == STORE_FATAL)
        e->options.fatal(e->options.fatal_arg, "the store failed while it forgot old tasks");
    if (purged < e->purge_step)
        e->purge_step = PURGE_STEP;
    else if (e->purge_step < PURGE_STEP_MAX)
        e->purge_step += PURGE_STEP / 20;
    e->purge_ns = e->now_ns + (more ? PURGE_BUSY_NS : PURGE_NS);
}

/* Calls that waited for the commit go first in the next turn. */
static void take_again(struct engine *e)
{
    while (e->again) {
        struct mail *mail = e->again;
        e->again = mail->next;
        mail->next = e->inbox;
        e->inbox = mail;
    }
}

static void turn(struct engine *e)
{
    clocks_look(e);
    take_held(e);
    take_messages(e);
    timers_run(e);
    links_run(e);
    claims_dispatch(e);
    batch_commit(e);
    take_again(e);
    waiters_expire(e);
    purge(e);
    publish(e);
}

static void rest(struct engine *e)
{
    if (e->inbox || claims_waiting(e))
        return;
    bool more = e->store->ops->idle(e->store);
    clocks_look(e);
    int64_t wait = timers_wait_ns(e);
    if (more && wait > 1000000)
        wait = 1000000;
    mailbox_wait(&e->box, wait);
    if (pool_waiting(e->pool))
        pool_kick(e->pool);
}

/* ---- stopping ---- */

static void fire_all(struct engine *e)
{
    for (struct live *live = e->running; live; live = live->next_running)
        attempt_fire(e, live, CANCEL_SHUTDOWN);
}

/* True: the engine's thread may end. */
static bool stopped(struct engine *e)
{
    if (!atomic_load_explicit(&e->stopping, memory_order_relaxed))
        return false;
    if (e->in_flight == 0 && !e->held && !e->inbox)
        return true;
    if (!e->stop_ns)
        e->stop_ns = e->now_ns + e->options.drain_us * 1000;
    if (!e->kill_ns && (e->now_ns >= e->stop_ns || atomic_load_explicit(&e->hurry, memory_order_relaxed))) {
        if (e->in_flight)
            LOG_NOTICE("the drain time is over; running attempts are cut off", LOG_NUMBER("attempts", e->in_flight));
        e->kill_ns = e->now_ns + e->grace_ns;
        fire_all(e);
    }
    return e->kill_ns && e->now_ns >= e->kill_ns;
}

static void *engine_main(void *arg)
{
    struct engine *e = arg;
    while (!stopped(e)) {
        rest(e);
        turn(e);
        (void)thread_check();
    }
    waiters_answer_all(e);
    e->abandoned = e->in_flight > 0;
    if (e->abandoned)
        LOG_ERROR("attempts did not end when told to; they are counted as lost at the next start",
                  LOG_NUMBER("attempts", e->in_flight));
    return NULL;
}

/* Without the file everything works; a crash then costs claims that had not started a life, too.  A batch holds the
 * marks of its reports until the commit, and takes others for its claims. */
static void open_marks(struct engine *e)
{
    if (!e->options.started_path)
        return;
    int err = started_open(e->options.started_path, e->options.workers + CLAIMS_AHEAD_MAX + BATCH_CLAIMS, &e->marks);
    if (err)
        LOG_WARNING("cannot keep which attempts have started; after a crash all claimed ones count as lost",
                    LOG_TEXT("file", e->options.started_path), LOG_TEXT("reason", strerror(-err)));
}

int engine_start(struct engine *e, char *error, size_t error_size)
{
    open_marks(e);
    if (engine_recover(e, error, error_size) < 0)
        return -1;
    if (e->marks)
        started_begin(e->marks);
    struct pool_options pool = {
        .workers = e->options.workers, .url = e->options.url, .report = report, .report_arg = e};
    int err = pool_new(&pool, &e->pool);
    if (err == 0) {
        clocks_look(e);
        publish(e);
        err = thread_start(&e->thread, "engine", engine_main, e);
    }
    if (err) {
        if (e->pool)
            pool_stop(e->pool);
        (void)snprintf(error, error_size, "cannot start the worker threads: %s", strerror(-err));
        return -1;
    }
    e->started = true;
    return 0;
}

void engine_drain(struct engine *e)
{
    atomic_store(&e->draining, true);
    mailbox_wake(&e->box);
}

void engine_hurry(struct engine *e)
{
    atomic_store(&e->hurry, true);
    mailbox_wake(&e->box);
}

/* No row tells of its end: its mark stays, by which the next start knows that it had begun. */
static void attempt_leave(struct engine *e, struct attempt *attempt)
{
    attempt->mark = NULL;
    attempt_release(e, attempt);
}

/* Whatever still comes in after the thread has ended: calls are answered, reports released. */
static void empty_box(struct engine *e)
{
    struct mail *next;
    for (struct mail *mail = e->inbox ? e->inbox : mailbox_take(&e->box); mail; mail = next) {
        next = mail->next;
        if (((struct engine_mail *)mail)->kind == MAIL_CALL)
            call_answer(e, (struct engine_call *)mail, ENGINE_DRAINING);
        else if (((struct engine_mail *)mail)->kind == MAIL_TOLD)
            told_drop(mail, e);
        else if (((struct engine_mail *)mail)->kind == MAIL_RELOAD)
            reload_drop(mail);
        else
            attempt_leave(e, (struct attempt *)mail);
    }
    e->inbox = NULL;
}

bool engine_stop(struct engine *e)
{
    if (!e || !e->started)
        return true;
    engine_drain(e);
    atomic_store(&e->stopping, true);
    mailbox_wake(&e->box);
    (void)pthread_join(e->thread, NULL);
    e->started = false;
    if (!e->abandoned)
        pool_stop(e->pool);
    atomic_store(&e->closed, true);
    empty_box(e);
    empty_box(e); /* the first round may have found an inbox */
    return !e->abandoned;
}

void engine_free(struct engine *e)
{
    if (!e || e->abandoned) /* a stuck worker may still use it: the process is about to end */
        return;
    pool_free(e->pool);
    for (struct attempt *next; e->held; e->held = next) { /* the store took no reports to the end */
        next = (struct attempt *)e->held->mail.next;
        attempt_leave(e, e->held);
    }
    for (uint32_t i = 0; i < e->entries.n_used; i++) {
        struct entry *entry = entries_at(&e->entries, i);
        struct live *live = entry_live_get(entry);
        task_spec_unref(entry_spec(entry));
        if (live) {
            told_release(e, live);
            satchel_cancel_unref(live->cancel);
            links_free(live);
        }
        free(live);
    }
    groups_release(&e->groups);
    scheduler_release(&e->scheduler);
    holds_release(&e->holds);
    entries_release(&e->entries);
    heap_release(&e->due);
    heap_release(&e->limits);
    heap_release(&e->waits);
    heap_release(&e->writes);
    recent_free(e->recent);
    started_close(e->marks);
    mailbox_release(&e->box);
    (void)pthread_mutex_destroy(&e->stats_lock);
    registry_unref(e->registry);
    free(e->labels);
    free(e->changes);
    free(e->rows);
    free(e);
}

void engine_get_stats(struct engine *e, struct engine_stats *ret)
{
    (void)pthread_mutex_lock(&e->stats_lock);
    *ret = e->published;
    (void)pthread_mutex_unlock(&e->stats_lock);
    ret->store_ok = atomic_load_explicit(&e->store_ok, memory_order_relaxed);
    ret->draining = atomic_load_explicit(&e->draining, memory_order_relaxed); /* told at once, not after a turn */
}
