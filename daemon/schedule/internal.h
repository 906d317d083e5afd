/* What schedules.c (the table) and firing.c (the thread) share.  Everything in here is guarded by `lock`, except where
 * a field says otherwise. */
#ifndef SATCHEL_SCHEDULE_INTERNAL_H
#define SATCHEL_SCHEDULE_INTERNAL_H

#include <pthread.h>

#include "schedule/schedules.h"

#define TENANT_SIZE 152u

struct schedule {
    struct schedule *next;
    char tenant[TENANT_SIZE]; /* empty: each tenant */
    char name[SCHEDULE_NAME_MAX + 1];
    struct schedule_definition definition;
    bool configured, paused;
    int64_t created_us, last_us; /* last_us: dealt with up to here */
    int64_t next_us;             /* 0: to be found out; INT64_MAX: never */
    struct task_id last_id;
    uint64_t fired, missed;
};

struct kept { /* what the store knows of a configured schedule's times */
    struct kept *next;
    char tenant[TENANT_SIZE], name[SCHEDULE_NAME_MAX + 1];
    int64_t created_us, last_us;
    struct task_id last_id;
};

struct schedules {
    /* constant once started */
    struct engine *engine;
    uint64_t root_sampling;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t changed;    /* something is due earlier, or it stops */
    struct registry *registry; /* a reference */
    struct schedule *first;
    struct kept *kept;
    struct schedules_stats stats;
    int64_t started_us; /* the wall clock when the thread began to look */
    bool stopping;
};

struct schedule *schedule_find_locked(struct schedules *s, const char *tenant, struct slice name, bool exact);
void *schedule_thread(void *arg); /* firing.c */

#endif
