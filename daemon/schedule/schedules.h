/* The schedules: what fires when, and the thread that submits it.
 *
 * A firing is an ordinary submission with an idempotency key made of schedule, tenant and time, written in one commit
 * with the schedule's last time: whatever crashes in between, and however many nodes look at the clock, it is one task.
 * Times that passed before this process began to look are missed, and those that it is more than SCHEDULE_GRACE late for
 * (the clock was set forward): left out, or, where the schedule says "once", made up for by one firing for the last of
 * them.
 *
 * Thread: everything from any; a lock guards the table, and nothing blocks under it. */
#ifndef SATCHEL_SCHEDULE_SCHEDULES_H
#define SATCHEL_SCHEDULE_SCHEDULES_H

#include "engine/engine.h"
#include "schedule/definition.h"

#define SCHEDULES_PER_TENANT_MAX 1000u
#define SCHEDULE_GRACE_US INT64_C(60000000)
#define SCHEDULE_RESTART_GRACE_US INT64_C(1000000) /* so that a quick restart need not lose one that is skipped */

struct schedules;

struct schedules_options {
    struct registry *registry; /* a reference is taken */
    uint64_t root_sampling;
    struct store *store;                         /* read in schedules_new alone, before the engine has it */
    void (*report)(void *arg, const char *line); /* what is wrong with the configured ones */
    void *report_arg;
};

/* 0, or -1: a configured schedule is wrong (reported), or the store cannot be read. */
int schedules_new(const struct schedules_options *options, struct schedules **ret);
int schedules_start(struct schedules *schedules, struct engine *engine); /* 0 or -errno */
/* The configured ones anew: 0, or -1 (reported) and nothing has changed. */
int schedules_reload(struct schedules *schedules, struct registry *registry,
                     void (*report)(void *arg, const char *line), void *arg);
void schedules_stop(struct schedules *schedules); /* before the engine stops; NULL is fine */
void schedules_free(struct schedules *schedules); /* NULL is fine */

/* Whether the configuration's schedules are right, each against its task type.  0 or -1 (reported). */
int schedules_check(struct registry *registry, void (*report)(void *arg, const char *line), void *arg);

/* ---- the table; `tenant`: who asks, who sees its own and those of each tenant ---- */

enum schedule_found { SCHEDULE_NONE, SCHEDULE_OF_API, SCHEDULE_OF_CONFIG };
enum schedule_found schedules_find(struct schedules *schedules, const char *tenant, struct slice name);
/* The object that the API shows, with the next `n_next` times.  False: there is none. */
bool schedules_show(struct schedules *schedules, const char *tenant, struct slice name, unsigned n_next,
                    struct buf *out);
void schedules_list(struct schedules *schedules, const char *tenant, struct buf *out); /* a JSON array */
size_t schedules_count(struct schedules *schedules, const char *tenant);               /* of the API */
/* The definition's body and submission, malloced; false: there is none (or no memory). */
bool schedules_copy(struct schedules *schedules, const char *tenant, struct slice name, char **ret_body,
                    char **ret_submission, struct store_schedule *ret_row);
/* Puts one of the API in, or in the place of the one of its name; takes the definition over.  It is on disk already.
 * False: no memory. */
bool schedules_put(struct schedules *schedules, const char *tenant, struct slice name,
                   struct schedule_definition *definition, const struct store_schedule *row);
void schedules_remove(struct schedules *schedules, const char *tenant, struct slice name);

struct schedules_stats {
    uint64_t fired, missed, refused;
};
void schedules_get_stats(struct schedules *schedules, struct schedules_stats *ret);

#endif
