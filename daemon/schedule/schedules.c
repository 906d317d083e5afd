/* The table of schedules.  Called by api/schedules.c and subsystems.c; what is due is firing.c's. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "proto/json_in.h"
#include "proto/json_out.h"
#include "schedule/internal.h"

static void free_schedule(struct schedule *schedule)
{
    schedule_definition_release(&schedule->definition);
    free(schedule);
}

/* `exact`: of that tenant itself; else also what is for each tenant. */
struct schedule *schedule_find_locked(struct schedules *s, const char *tenant, struct slice name, bool exact)
{
    for (struct schedule *one = s->first; one; one = one->next)
        if (slice_eq_str(name, one->name) && (strcmp(one->tenant, tenant) == 0 || (!exact && !*one->tenant)))
            return one;
    return NULL;
}

static struct schedule *new_schedule(const char *tenant, struct slice name, struct schedule_definition *definition)
{
    struct schedule *schedule = calloc(1, sizeof *schedule);
    if (!schedule)
        return NULL;
    (void)snprintf(schedule->tenant, sizeof schedule->tenant, "%s", tenant);
    (void)snprintf(schedule->name, sizeof schedule->name, "%.*s", (int)name.len, name.data);
    schedule->definition = *definition;
    *definition = (struct schedule_definition){0};
    schedule->paused = schedule->definition.paused;
    schedule->created_us = schedule->last_us = clock_wall_us();
    return schedule;
}

/* ---- of the configuration ---- */

static bool parse_configured(const struct config_schedule *from, struct registry *registry,
                             struct schedule_definition *ret, void (*report)(void *arg, const char *line), void *arg)
{
    struct problem problem;
    const char *tenant = from->tenant ? from->tenant : registry_config(registry)->default_tenant;
    if (schedule_definition_parse(slice_str(from->body), registry, tenant, ret, &problem) == 0)
        return true;
    for (unsigned i = 0; i == 0 || (i < problem.n_errors && i < PROBLEM_MAX_ERRORS); i++) {
        char line[PROBLEM_DETAIL_SIZE + PROBLEM_POINTER_SIZE + 300];
        bool placed = i < problem.n_errors;
        (void)snprintf(line, sizeof line, "%s: schedule \"%s\": %s%s%s", from->where, from->name,
                       placed ? problem.errors[i].pointer + (problem.errors[i].pointer[0] == '/') : "",
                       placed ? " " : "", placed ? problem.errors[i].detail : problem.detail);
        report(arg, line);
    }
    return false;
}

int schedules_check(struct registry *registry, void (*report)(void *arg, const char *line), void *arg)
{
    const struct config *config = registry_config(registry);
    int result = 0;
    for (size_t i = 0; i < config->n_schedules; i++) {
        struct schedule_definition definition;
        if (parse_configured(&config->schedules[i], registry, &definition, report, arg))
            schedule_definition_release(&definition);
        else
            result = -1;
    }
    return result;
}

/* The list of all that are configured; *ret_good false: some are wrong. */
static struct schedule *configured(struct registry *registry, bool *ret_good,
                                   void (*report)(void *arg, const char *line), void *arg)
{
    const struct config *config = registry_config(registry);
    struct schedule *list = NULL;
    *ret_good = true;
    for (size_t i = 0; i < config->n_schedules; i++) {
        const struct config_schedule *from = &config->schedules[i];
        struct schedule_definition definition;
        const char *tenant = from->each_tenant ? "" : from->tenant ? from->tenant : config->default_tenant;
        if (!parse_configured(from, registry, &definition, report, arg)) {
            *ret_good = false;
            continue;
        }
        struct schedule *schedule = new_schedule(tenant, slice_str(from->name), &definition);
        if (!schedule) {
            schedule_definition_release(&definition);
            report(arg, "out of memory");
            *ret_good = false;
            continue;
        }
        schedule->configured = true;
        schedule->next = list;
        list = schedule;
    }
    return list;
}

static void free_list(struct schedule *list)
{
    for (struct schedule *next; list; list = next) {
        next = list->next;
        free_schedule(list);
    }
}

/* A configured schedule goes on where it was: as the running one of its name stands, or as the store says. */
static void take_over_times(struct schedules *s, struct schedule *schedule)
{
    struct schedule *running = schedule_find_locked(s, schedule->tenant, slice_str(schedule->name), true);
    if (running && running->configured) {
        schedule->created_us = running->created_us;
        schedule->last_us = running->last_us;
        schedule->last_id = running->last_id;
        schedule->fired = running->fired;
        schedule->missed = running->missed;
        return;
    }
    for (const struct kept *kept = s->kept; kept; kept = kept->next)
        if (strcmp(kept->tenant, schedule->tenant) == 0 && strcmp(kept->name, schedule->name) == 0) {
            schedule->created_us = kept->created_us;
            schedule->last_us = kept->last_us ? kept->last_us : kept->created_us;
            schedule->last_id = kept->last_id;
        }
}

/* One of the API that has a configured one's name is hidden by it, and comes back when that goes. */
static void replace_configured(struct schedules *s, struct schedule *list)
{
    for (struct schedule *one = list; one; one = one->next)
        take_over_times(s, one);
    for (struct schedule **at = &s->first; *at;) {
        struct schedule *one = *at;
        if (!one->configured) {
            at = &one->next;
            continue;
        }
        *at = one->next;
        free_schedule(one);
    }
    struct schedule **last = &list;
    while (*last)
        last = &(*last)->next;
    *last = s->first;
    s->first = list;
}

int schedules_reload(struct schedules *s, struct registry *registry, void (*report)(void *arg, const char *line),
                     void *arg)
{
    bool good;
    struct schedule *list = configured(registry, &good, report, arg);
    if (!good) {
        free_list(list);
        return -1;
    }
    (void)pthread_mutex_lock(&s->lock);
    replace_configured(s, list);
    struct registry *before = s->registry;
    s->registry = registry_ref(registry);
    (void)pthread_cond_signal(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
    registry_unref(before);
    return 0;
}

/* ---- from the store ---- */

static int keep(struct schedules *s, const struct store_schedule *row)
{
    struct kept *kept = calloc(1, sizeof *kept);
    if (!kept)
        return -ENOMEM;
    (void)snprintf(kept->tenant, sizeof kept->tenant, "%.*s", (int)row->tenant.len, row->tenant.data);
    (void)snprintf(kept->name, sizeof kept->name, "%.*s", (int)row->name.len, row->name.data);
    kept->created_us = row->created_us;
    kept->last_us = row->last_us;
    kept->last_id = row->last_id;
    kept->next = s->kept;
    s->kept = kept;
    return 0;
}

/* What cannot be read any more (its task type is gone) is kept in the store, and does not fire. */
static int load_one(void *arg, const struct store_schedule *row)
{
    struct schedules *s = arg;
    struct schedule_definition definition;
    struct problem problem;
    if (!row->body.len)
        return keep(s, row);
    char tenant[TENANT_SIZE];
    (void)snprintf(tenant, sizeof tenant, "%.*s", (int)row->tenant.len, row->tenant.data);
    if (schedule_definition_parse(row->body, s->registry, tenant, &definition, &problem) < 0) {
        char name[SCHEDULE_NAME_MAX + 1];
        (void)snprintf(name, sizeof name, "%.*s", (int)row->name.len, row->name.data);
        LOG_WARNING("a stored schedule cannot be used; it is left in the store", LOG_TEXT("schedule", name),
                    LOG_TEXT("reason", problem.detail));
        return 0;
    }
    return schedules_put(s, tenant, row->name, &definition, row) ? 0 : -ENOMEM;
}

int schedules_new(const struct schedules_options *options, struct schedules **ret)
{
    struct schedules *s = calloc(1, sizeof *s);
    pthread_condattr_t attributes;
    if (!s)
        return -1;
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&s->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    s->registry = registry_ref(options->registry);
    s->root_sampling = options->root_sampling;
    if (options->store->ops->each_schedule(options->store, load_one, s) != STORE_OK ||
        schedules_reload(s, options->registry, options->report, options->report_arg) < 0) {
        schedules_free(s);
        return -1;
    }
    *ret = s;
    return 0;
}

int schedules_start(struct schedules *s, struct engine *engine)
{
    s->engine = engine;
    int err = thread_start(&s->thread, "schedules", schedule_thread, s);
    s->started = err == 0;
    return err;
}

void schedules_stop(struct schedules *s)
{
    if (!s || !s->started)
        return;
    (void)pthread_mutex_lock(&s->lock);
    s->stopping = true;
    (void)pthread_cond_signal(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
    (void)pthread_join(s->thread, NULL);
    s->started = false;
}

void schedules_free(struct schedules *s)
{
    if (!s)
        return;
    free_list(s->first);
    for (struct kept *next; s->kept; s->kept = next) {
        next = s->kept->next;
        free(s->kept);
    }
    registry_unref(s->registry);
    (void)pthread_cond_destroy(&s->changed);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- the table ---- */

enum schedule_found schedules_find(struct schedules *s, const char *tenant, struct slice name)
{
    (void)pthread_mutex_lock(&s->lock);
    const struct schedule *one = schedule_find_locked(s, tenant, name, false);
    enum schedule_found found = !one ? SCHEDULE_NONE : one->configured ? SCHEDULE_OF_CONFIG : SCHEDULE_OF_API;
    (void)pthread_mutex_unlock(&s->lock);
    return found;
}

static void write_time(struct json_out *j, const char *key, int64_t us)
{
    json_out_key(j, key);
    if (us && us != INT64_MAX)
        json_out_time(j, us);
    else
        json_out_null(j);
}

static void write_next(struct json_out *j, const struct schedule *one, unsigned n)
{
    int64_t at = clock_wall_us(), first;
    at = at > one->last_us ? at : one->last_us;
    bool comes = !one->paused && cron_next(&one->definition.cron, one->definition.zone, at, &first);
    write_time(j, "next_at", comes ? first : 0);
    json_out_key(j, "next");
    json_out_begin_array(j);
    for (unsigned i = 0; i < n && !one->paused && cron_next(&one->definition.cron, one->definition.zone, at, &at); i++)
        json_out_time(j, at);
    json_out_end_array(j);
}

static void write_schedule(const struct schedule *one, unsigned n_next, struct json_out *j)
{
    struct json_member members[64];
    struct slice body = slice_str(one->definition.body);
    size_t n = json_in_members(body, members, 64);
    json_out_begin_object(j);
    json_out_member(j, "name", slice_str(one->name));
    if (*one->tenant)
        json_out_member(j, "tenant", slice_str(one->tenant));
    else
        json_out_member(j, "tenants", SLICE_LITERAL("each"));
    json_out_member(j, "source", slice_str(one->configured ? "config" : "api"));
    for (size_t i = 0; i < n && i < 64; i++) {
        if (slice_eq_str(members[i].name, "paused"))
            continue;
        json_out_key_slice(j, members[i].name);
        json_out_raw(j, members[i].value);
    }
    if (!json_in_find(body, SLICE_LITERAL("timezone")).data)
        json_out_member(j, "timezone", SLICE_LITERAL("UTC"));
    if (!json_in_find(body, SLICE_LITERAL("missed")).data)
        json_out_member(j, "missed", SLICE_LITERAL("skip"));
    json_out_key(j, "paused");
    json_out_bool(j, one->paused);
    write_time(j, "created_at", one->created_us);
    write_next(j, one, n_next);
    write_time(j, "last_at", task_id_is_none(one->last_id) ? 0 : one->last_us);
    json_out_key(j, "last_task_id");
    if (task_id_is_none(one->last_id)) {
        json_out_null(j);
    } else {
        char id[TASK_ID_TEXT_SIZE];
        task_id_format(one->last_id, id);
        json_out_string(j, slice_str(id));
    }
    json_out_member_i64(j, "fired", (int64_t)one->fired);
    json_out_member_i64(j, "times_missed", (int64_t)one->missed);
    json_out_end_object(j);
}

bool schedules_show(struct schedules *s, const char *tenant, struct slice name, unsigned n_next, struct buf *out)
{
    struct json_out j = json_out_to(out);
    (void)pthread_mutex_lock(&s->lock);
    const struct schedule *one = schedule_find_locked(s, tenant, name, false);
    if (one)
        write_schedule(one, n_next, &j);
    (void)pthread_mutex_unlock(&s->lock);
    return one != NULL;
}

void schedules_list(struct schedules *s, const char *tenant, struct buf *out)
{
    struct json_out j = json_out_to(out);
    json_out_begin_array(&j);
    (void)pthread_mutex_lock(&s->lock);
    for (const struct schedule *one = s->first; one; one = one->next)
        if ((!*one->tenant || strcmp(one->tenant, tenant) == 0) &&
            schedule_find_locked(s, tenant, slice_str(one->name), false) == one)
            write_schedule(one, 1, &j);
    (void)pthread_mutex_unlock(&s->lock);
    json_out_end_array(&j);
}

size_t schedules_count(struct schedules *s, const char *tenant)
{
    size_t n = 0;
    (void)pthread_mutex_lock(&s->lock);
    for (const struct schedule *one = s->first; one; one = one->next)
        n += !one->configured && strcmp(one->tenant, tenant) == 0;
    (void)pthread_mutex_unlock(&s->lock);
    return n;
}

bool schedules_copy(struct schedules *s, const char *tenant, struct slice name, char **ret_body, char **ret_submission,
                    struct store_schedule *ret_row)
{
    (void)pthread_mutex_lock(&s->lock);
    const struct schedule *one = schedule_find_locked(s, tenant, name, false);
    *ret_body = one ? strdup(one->definition.body) : NULL;
    *ret_submission = one ? strdup(one->definition.submission) : NULL;
    if (one)
        *ret_row = (struct store_schedule){
            .paused = one->paused, .created_us = one->created_us, .last_us = one->last_us, .last_id = one->last_id};
    (void)pthread_mutex_unlock(&s->lock);
    if (*ret_body && *ret_submission)
        return true;
    free(*ret_body);
    free(*ret_submission);
    *ret_body = *ret_submission = NULL;
    return false;
}

bool schedules_put(struct schedules *s, const char *tenant, struct slice name, struct schedule_definition *definition,
                   const struct store_schedule *row)
{
    struct schedule *fresh = new_schedule(tenant, name, definition);
    if (!fresh)
        return false;
    fresh->created_us = row->created_us;
    fresh->last_us = row->last_us ? row->last_us : row->created_us;
    fresh->last_id = row->last_id;
    fresh->paused = row->paused;
    (void)pthread_mutex_lock(&s->lock);
    struct schedule **at = &s->first;
    while (*at && ((*at)->configured || strcmp((*at)->tenant, tenant) != 0 || !slice_eq_str(name, (*at)->name)))
        at = &(*at)->next;
    struct schedule *before = *at;
    if (before) {
        fresh->fired = before->fired;
        fresh->missed = before->missed;
        if (before->last_us > fresh->last_us) { /* it has fired meanwhile */
            fresh->last_us = before->last_us;
            fresh->last_id = before->last_id;
        }
    }
    fresh->next = before ? before->next : NULL;
    *at = fresh;
    (void)pthread_cond_signal(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
    if (before)
        free_schedule(before);
    return true;
}

void schedules_remove(struct schedules *s, const char *tenant, struct slice name)
{
    (void)pthread_mutex_lock(&s->lock);
    struct schedule **at = &s->first, *gone;
    while (*at && ((*at)->configured || strcmp((*at)->tenant, tenant) != 0 || !slice_eq_str(name, (*at)->name)))
        at = &(*at)->next;
    gone = *at;
    if (gone)
        *at = gone->next;
    (void)pthread_mutex_unlock(&s->lock);
    if (gone)
        free_schedule(gone);
}

void schedules_get_stats(struct schedules *s, struct schedules_stats *ret)
{
    (void)pthread_mutex_lock(&s->lock);
    *ret = s->stats;
    (void)pthread_mutex_unlock(&s->lock);
}
