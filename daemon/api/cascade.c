/* POST /v1/tasks/{id}:cancel?cascade=true: a task and all that it has submitted, and what that has submitted.
 *
 * The task at the top goes first, and everything that is being canceled this way submits nothing more that would run:
 * the engine cancels it as it comes in.  Then the tree is read and canceled, in rounds, until a round finds nothing
 * that has not been told yet.
 * Flow: tasks.c -> cascade_cancel -> the engine -> subtree.c -> bulk.c -> subtree.c ... -> READ_TASK -> the answer. */
#include "api/cascade.h"

#include <stdlib.h>

#include "api/bulk.h"
#include "api/subtree.h"

#define ROUNDS_MAX 64u /* each finds what came in beside the one before it */

struct cascade {
    struct subtree tree; /* first */
    struct bulk *bulk;   /* under way; NULL: none */
    struct task_id *told;
    size_t n_told, told_room, told_before; /* told_before: sorted */
    unsigned round;
    bool refused, changed;
    bool (*answer)(struct api_call *call, struct http_exchange *exchange);
};

static void release_cascade(struct api_call *call)
{
    struct cascade *cascade = (struct cascade *)call;
    bulk_free(cascade->bulk);
    free(cascade->told);
    subtree_release(&cascade->tree);
    free(cascade);
}

/* ---- who has been told ---- */

static int by_id(const void *a, const void *b)
{
    const struct task_id *x = a, *y = b;
    uint64_t left = task_id_seq(*x), right = task_id_seq(*y);
    return left < right ? -1 : left > right;
}

static bool was_told(const struct cascade *cascade, struct task_id id)
{
    return cascade->n_told && bsearch(&id, cascade->told, cascade->told_before, sizeof id, by_id);
}

static bool note_told(struct cascade *cascade, struct task_id id)
{
    if (cascade->n_told == cascade->told_room) {
        size_t room = cascade->told_room ? cascade->told_room * 2 : 64;
        struct task_id *told = realloc(cascade->told, room * sizeof *told);
        if (!told)
            return false;
        cascade->told = told;
        cascade->told_room = room;
    }
    cascade->told[cascade->n_told++] = id;
    return true;
}

/* ---- rounds ---- */

static bool finish(struct cascade *cascade, struct http_exchange *exchange)
{
    struct api_call *call = &cascade->tree.call;
    call->answer = cascade->answer;
    call_post_reader(call, exchange, READ_TASK);
    return false;
}

static bool answer_round(struct api_call *call, struct http_exchange *exchange)
{
    struct cascade *cascade = (struct cascade *)call;
    for (size_t i = 0; i < cascade->bulk->n; i++) {
        enum engine_result result = cascade->bulk->items[i].call.result;
        cascade->refused =
            cascade->refused || (result != ENGINE_OK && result != ENGINE_CONFLICT && result != ENGINE_NOT_FOUND);
        cascade->changed = cascade->changed || result == ENGINE_OK;
    }
    bulk_free(cascade->bulk);
    cascade->bulk = NULL;
    qsort(cascade->told, cascade->n_told, sizeof *cascade->told, by_id);
    cascade->told_before = cascade->n_told;
    if (cascade->refused || ++cascade->round == ROUNDS_MAX) {
        call_reply_read_failed(call, exchange); /* the rest is to be told again */
        return true;
    }
    subtree_read(&cascade->tree, exchange);
    return false;
}

static bool cancel_next(struct subtree *tree, struct http_exchange *exchange)
{
    struct cascade *cascade = (struct cascade *)tree;
    uint32_t chosen[BULK_MAX];
    size_t n = 0;
    for (uint32_t i = 0; n < BULK_MAX && i < tree->n; i++) {
        const struct subtree_node *node = &tree->nodes[i];
        if (node->inside && i != tree->top && !task_state_final((enum task_state)node->state) &&
            !was_told(cascade, node->id))
            chosen[n++] = i;
    }
    if (n == 0)
        return finish(cascade, exchange);
    cascade->bulk = bulk_new(&tree->call, n);
    for (size_t i = 0; cascade->bulk && i < n; i++) {
        struct engine_call *call = &cascade->bulk->items[i].call;
        call->kind = ENGINE_CANCEL;
        call->id = tree->nodes[chosen[i]].id;
        call->cascade = true;
        memcpy(call->tenant, tree->call.tenant, sizeof call->tenant);
        if (!note_told(cascade, call->id)) {
            bulk_free(cascade->bulk);
            cascade->bulk = NULL;
        }
    }
    if (!cascade->bulk) {
        call_reply_read_failed(&tree->call, exchange);
        return true;
    }
    tree->call.answer = answer_round;
    bulk_post(cascade->bulk);
    return false;
}

static bool answer_top(struct api_call *call, struct http_exchange *exchange)
{
    struct cascade *cascade = (struct cascade *)call;
    enum engine_result result = call->engine.result;
    if (result != ENGINE_OK && result != ENGINE_CONFLICT) /* one that has ended may have left sub-tasks behind */
        return cascade->answer(call, exchange);
    cascade->changed = result == ENGINE_OK;
    task_record_release(&call->engine.record);
    subtree_read(&cascade->tree, exchange);
    return false;
}

bool cascade_changed(const struct api_call *call)
{
    return ((const struct cascade *)(const void *)call)->changed;
}

void cascade_cancel(struct visit *visit, struct task_id id, int64_t wait_ns,
                    bool (*answer)(struct api_call *call, struct http_exchange *exchange))
{
    struct cascade *cascade = (struct cascade *)subtree_new(visit, sizeof *cascade, cancel_next);
    if (!cascade)
        return;
    struct api_call *call = &cascade->tree.call;
    call->release = release_cascade;
    call->answer = answer_top;
    call->id = id;
    call->cascade = true;
    cascade->answer = answer;
    call_post_engine(call, visit->exchange, ENGINE_CANCEL, wait_ns);
}
