/* What ties a task to others: it starts when those that it names have succeeded (`after`), or when all that are in a
 * group have ended (`after_group`); it fails where one of the first did not succeed.
 *
 * While it waits it is scheduled and ENTRY_BLOCKED: no time makes it due, but it can be canceled and can expire.  When
 * the last predecessor's end is durable it joins `engine.ready`, and the next turn moves it.  Nothing of the ties is
 * stored beside the rows themselves: a crash in between is found at the start, when every row is tied again.
 * A task can only name tasks that are there already, so that there is no cycle.
 *
 * Called by calls.c and recovery.c (links_tie), batch.c (ends, changes, entries given up) and engine.c (links_run).
 * Thread: the engine's. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/internal.h"

struct edge { /* one task waits for another */
    struct links *before, *after;
    struct edge *next_after, **prev_after; /* in before->successors */
    struct edge *next_before;              /* in after->predecessors */
};

struct links {
    uint32_t entry;
    struct edge *successors, *predecessors;
    struct cohort *cohort; /* what it waits for in a group; NULL: nothing */
    unsigned pending;      /* predecessors and cohorts that it still waits for */
    bool is_ready, broken;
    struct task_id culprit; /* broken: the task that did not succeed, */
    enum task_state end;    /* and how it ended; SUCCEEDED: nobody knows */
    struct links *next_ready, **prev_ready;
};

/* ---- one task's links ---- */

static struct links *links_get(const struct entry *entry) /* NULL: it has none */
{
    const struct live *live = entry_live_get(entry);
    return live ? live->links : NULL;
}

static struct links *links_of(struct engine *e, struct entry *entry)
{
    struct live *live = entry_live(e, entry);
    if (!live)
        return NULL;
    if (!live->links && (live->links = calloc(1, sizeof *live->links)))
        live->links->entry = entry_index(entry);
    return live->links;
}

static void make_ready(struct engine *e, struct links *links)
{
    if (links->is_ready)
        return;
    links->is_ready = true;
    links->next_ready = e->ready;
    links->prev_ready = &e->ready;
    if (e->ready)
        e->ready->prev_ready = &links->next_ready;
    e->ready = links;
}

static void unready(struct links *links)
{
    if (!links->is_ready)
        return;
    links->is_ready = false;
    *links->prev_ready = links->next_ready;
    if (links->next_ready)
        links->next_ready->prev_ready = links->prev_ready;
}

static void break_links(struct links *links, struct task_id culprit, enum task_state end)
{
    if (links->broken)
        return;
    links->broken = true;
    links->culprit = culprit;
    links->end = end;
}

static void release_unneeded(struct engine *e, uint32_t index)
{
    struct entry *entry = entries_at(&e->entries, index);
    struct links *links = links_get(entry);
    if (!links || links->successors || links->predecessors || links->cohort || links->is_ready)
        return;
    links_free(entry_live_get(entry));
    entry_live_release(e, entry);
}

void links_free(struct live *live)
{
    if (!live->links)
        return;
    for (struct edge *edge = live->links->predecessors, *next; edge; edge = next) {
        next = edge->next_before;
        free(edge);
    }
    free(live->links);
    live->links = NULL;
}

static int add_edge(struct engine *e, struct entry *before, struct links *after)
{
    struct links *links = links_of(e, before);
    struct edge *edge = links ? malloc(sizeof *edge) : NULL;
    if (!edge)
        return -ENOMEM;
    *edge = (struct edge){.before = links, .after = after, .next_after = links->successors};
    edge->prev_after = &links->successors;
    if (links->successors)
        links->successors->prev_after = &edge->next_after;
    links->successors = edge;
    edge->next_before = after->predecessors;
    after->predecessors = edge;
    after->pending++;
    return 0;
}

/* Out of the list of the one that it waits for; the edge stays with the one that waits, and is freed with it. */
static void detach(struct edge *edge)
{
    *edge->prev_after = edge->next_after;
    if (edge->next_after)
        edge->next_after->prev_after = edge->prev_after;
    edge->before = NULL;
}

/* ---- tying ---- */

static int tie_after(struct engine *e, struct entry *entry, struct links *links, struct task_id id, bool recovering)
{
    struct entry *before = entries_find(&e->entries, id);
    const struct tenant *tenant = scheduler_lane(&e->scheduler, entry)->tenant;
    if (before && before != entry && scheduler_lane(&e->scheduler, before)->tenant == tenant)
        return add_edge(e, before, links);
    enum task_state end = TASK_SUCCEEDED;
    enum store_result found =
        before ? STORE_NOT_FOUND : e->store->ops->find_state(e->store, id, slice_str(tenant->name), &end);
    if (found == STORE_NOT_FOUND)
        return recovering ? 0 : -ENOENT;
    if (found != STORE_OK)
        return -EIO;
    if (end != TASK_SUCCEEDED)
        break_links(links, id, end);
    return 0;
}

static int tie_group(struct engine *e, struct links *links, struct slice tenant, struct slice name)
{
    int err = groups_wait(&e->groups, tenant, name, links->entry, &links->cohort);
    links->pending += links->cohort != NULL;
    return err;
}

/* What it waits for.  Only before its first attempt: later it has waited already. */
static int tie_waits(struct engine *e, struct entry *entry, const struct task_spec *spec, bool recovering,
                     unsigned *ret_fault)
{
    if ((!spec->after.len && !spec->after_group.len) || entry->attempt || entry->state != TASK_SCHEDULED)
        return 0;
    struct links *links = links_of(e, entry);
    int err = links ? 0 : -ENOMEM;
    for (unsigned i = 0; err == 0 && i < task_after_count(spec); i++) {
        *ret_fault = i;
        err = tie_after(e, entry, links, task_after_at(spec, i), recovering);
    }
    if (err == 0 && spec->after_group.len)
        err = tie_group(e, links, spec->tenant, spec->after_group);
    if (err)
        return err;
    if (links->broken || links->pending)
        entry->ties |= ENTRY_BLOCKED;
    if (links->broken)
        make_ready(e, links);
    else if (!links->pending)
        release_unneeded(e, entry_index(entry));
    return 0;
}

int links_tie(struct engine *e, struct entry *entry, const struct task_spec *spec, bool recovering, unsigned *ret_fault)
{
    int err = tie_waits(e, entry, spec, recovering, ret_fault);
    if (err == 0 && spec->group.len)
        err = groups_join(&e->groups, spec->tenant, spec->group, entry_index(entry));
    if (err == 0 && spec->group.len)
        entry->ties |= ENTRY_GROUPED;
    if (err)
        links_drop(e, entry);
    return err;
}

/* ---- an end ---- */

static void on_released(void *arg, uint32_t index)
{
    struct engine *e = arg;
    struct links *links = entry_live_known(entries_at(&e->entries, index))->links;
    links->cohort = NULL;
    if (--links->pending == 0)
        make_ready(e, links);
}

static void leave_group(struct engine *e, struct entry *entry)
{
    if (entry->ties & ENTRY_GROUPED)
        groups_leave(&e->groups, entry_index(entry), on_released, e);
    entry->ties &= (uint8_t)~ENTRY_GROUPED;
}

static void tell_successors(struct engine *e, struct links *links, struct task_id id, bool succeeded,
                            enum task_state end)
{
    while (links->successors) {
        struct edge *edge = links->successors;
        detach(edge);
        edge->after->pending--;
        if (!succeeded)
            break_links(edge->after, id, end);
        if (edge->after->broken || !edge->after->pending)
            make_ready(e, edge->after);
    }
}

void links_ended(struct engine *e, struct entry *entry)
{
    enum task_state end = (enum task_state)entry->state;
    leave_group(e, entry);
    struct links *links = links_get(entry);
    if (links)
        tell_successors(e, links, entry->id, end == TASK_SUCCEEDED, end);
}

void links_settled(struct engine *e, struct entry *entry)
{
    struct links *links = links_get(entry);
    if (!links || entry->ties & ENTRY_BLOCKED)
        return;
    unready(links);
    for (struct edge *edge = links->predecessors, *next; edge; edge = next) {
        next = edge->next_before;
        free(edge);
    }
    links->predecessors = NULL;
    release_unneeded(e, entry_index(entry));
}

void links_drop(struct engine *e, struct entry *entry)
{
    leave_group(e, entry);
    entry->ties &= (uint8_t)~ENTRY_BLOCKED;
    struct links *links = links_get(entry);
    if (!links)
        return;
    unready(links);
    if (links->cohort)
        groups_unwait(links->cohort);
    links->cohort = NULL;
    while (links->predecessors) {
        struct edge *edge = links->predecessors;
        struct links *before = edge->before;
        links->predecessors = edge->next_before;
        if (before)
            detach(edge);
        free(edge);
        if (before)
            release_unneeded(e, before->entry);
    }
    tell_successors(e, links, entry->id, false, TASK_SUCCEEDED); /* none, unless somebody else changed its row */
    links_free(entry_live_get(entry));
}

/* ---- moving those that wait for nothing more ---- */

static void fail(struct engine *e, struct entry *entry, const struct links *links)
{
    char id[TASK_ID_TEXT_SIZE], text[160];
    task_id_format(links->culprit, id);
    (void)snprintf(text, sizeof text, "task %s, which had to succeed first, %s", id,
                   links->end == TASK_FAILED     ? "failed"
                   : links->end == TASK_CANCELED ? "was canceled"
                   : links->end == TASK_EXPIRED  ? "expired"
                                                 : "is not known any more");
    (void)batch_touch(e, entry);
    entry->ties &= (uint8_t)~ENTRY_BLOCKED;
    if (task_move(e, entry, TASK_EVENT_FAILED))
        e->changes[entry->change - 1].outcome = task_outcome_failure(ERROR_TYPE_DEPENDENCY, slice_str(text));
}

static void release(struct engine *e, struct entry *entry)
{
    if (entry->run_at_us > e->now_us) { /* its time has not come; what it waited for is in other rows */
        entry->ties &= (uint8_t)~ENTRY_BLOCKED;
        task_requeue(e, entry, false);
        links_settled(e, entry);
        return;
    }
    (void)batch_touch(e, entry); /* before the tie is untied: it may have to be put back */
    entry->ties &= (uint8_t)~ENTRY_BLOCKED;
    entry->run_at_us = e->now_us; /* it could not have started before */
    (void)task_move(e, entry, TASK_EVENT_DUE);
}

void links_run(struct engine *e)
{
    if (e->now_ns < e->retry_ns)
        return;
    struct links *next;
    for (struct links *links = e->ready; links && !batch_full(e, CHANGES_OF_AN_END); links = next) {
        struct entry *entry = entries_at(&e->entries, links->entry);
        next = links->next_ready;
        if (entry->change) /* it changes in this batch: what comes of that decides */
            continue;
        if (!(entry->ties & ENTRY_BLOCKED)) {
            links_settled(e, entry);
            continue;
        }
        if (links->broken)
            fail(e, entry, links);
        else
            release(e, entry);
    }
}
