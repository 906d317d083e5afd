/* Flow: subtree_read -> READ_TASK (whose is it, which root) -> READ_LIST of that root, page by page -> done.
 * Called by tree.c and cascade.c. */
#include "api/subtree.h"

#include <stdlib.h>

#include "task/render.h"

#define PAGE 1000u

void subtree_release(struct subtree *tree)
{
    free(tree->nodes);
    buf_release(&tree->text);
}

static void release_tree(struct api_call *call)
{
    subtree_release((struct subtree *)call);
    free(call);
}

/* ---- collecting ---- */

static bool add(struct subtree *tree, const struct task_record *record)
{
    if (tree->n == tree->room) {
        size_t room = tree->room ? tree->room * 2 : 64;
        struct subtree_node *nodes = realloc(tree->nodes, room * sizeof *nodes);
        if (!nodes)
            return false;
        tree->nodes = nodes;
        tree->room = room;
    }
    struct subtree_node *node = &tree->nodes[tree->n++];
    *node = (struct subtree_node){.id = record->spec->id,
                                  .parent = record->spec->parent,
                                  .state = (uint8_t)record->status.state,
                                  .up = SUBTREE_NONE,
                                  .first = SUBTREE_NONE,
                                  .last = SUBTREE_NONE,
                                  .next = SUBTREE_NONE,
                                  .text = tree->text.len};
    if (tree->with_text) {
        struct json_out j = json_out_to(&tree->text);
        task_render_summary(record, &j);
    }
    node->text_len = tree->text.len - node->text;
    return buf_ok(&tree->text);
}

static int by_id(const void *a, const void *b)
{
    const struct subtree_node *x = a, *y = b;
    uint64_t left = task_id_seq(x->id), right = task_id_seq(y->id);
    return left < right ? -1 : left > right;
}

static uint32_t find(const struct subtree *tree, struct task_id id)
{
    struct subtree_node key = {.id = id};
    const struct subtree_node *node = bsearch(&key, tree->nodes, tree->n, sizeof key, by_id);
    return node && task_id_equal(node->id, id) ? (uint32_t)(node - tree->nodes) : SUBTREE_NONE;
}

/* A task is younger than its parent, so that one pass from the oldest on finds all. */
static bool put_in_order(struct subtree *tree)
{
    qsort(tree->nodes, tree->n, sizeof *tree->nodes, by_id);
    tree->top = find(tree, tree->call.id);
    if (tree->top == SUBTREE_NONE)
        return false;
    tree->nodes[tree->top].inside = true;
    for (uint32_t i = tree->top + 1; i < tree->n; i++) {
        struct subtree_node *node = &tree->nodes[i];
        uint32_t at = task_id_is_none(node->parent) ? SUBTREE_NONE : find(tree, node->parent);
        if (at == SUBTREE_NONE || at >= i || !tree->nodes[at].inside)
            continue;
        struct subtree_node *parent = &tree->nodes[at];
        node->inside = true;
        node->up = at;
        if (parent->last == SUBTREE_NONE)
            parent->first = i;
        else
            tree->nodes[parent->last].next = i;
        parent->last = i;
    }
    return true;
}

/* ---- reading ---- */

static bool fail(struct subtree *tree, struct http_exchange *exchange)
{
    call_reply_read_failed(&tree->call, exchange);
    return true;
}

static bool answer_page(struct api_call *call, struct http_exchange *exchange)
{
    struct subtree *tree = (struct subtree *)call;
    struct read_call *read = &call->read;
    struct task_id next = read->next;
    if (read->result != STORE_OK)
        return fail(tree, exchange);
    for (size_t i = 0; i < read->n; i++)
        if (!task_id_equal(read->records[i].spec->id, call->id) && !add(tree, &read->records[i]))
            return fail(tree, exchange);
    if (!task_id_is_none(next) && tree->n < SUBTREE_MAX) {
        read->query.before = next;
        call_post_reader(call, exchange, READ_LIST);
        return false;
    }
    tree->cut = !task_id_is_none(next);
    return put_in_order(tree) ? tree->done(tree, exchange) : fail(tree, exchange);
}

static bool answer_top(struct api_call *call, struct http_exchange *exchange)
{
    struct subtree *tree = (struct subtree *)call;
    if (call->read.result != STORE_OK || !call->read.record.spec) {
        call_reply_unread(call, exchange);
        return true;
    }
    tree->root = call->read.record.spec->root;
    if (!add(tree, &call->read.record))
        return fail(tree, exchange);
    call->read.query = (struct list_query){.tenant = call_tenant(call), .root = tree->root, .limit = PAGE};
    call->answer = answer_page;
    call_post_reader(call, exchange, READ_LIST);
    return false;
}

struct subtree *subtree_new(struct visit *visit, size_t size,
                            bool (*done)(struct subtree *tree, struct http_exchange *exchange))
{
    struct subtree *tree = (struct subtree *)call_new(visit, size, answer_top);
    if (!tree)
        return NULL;
    tree->call.release = release_tree;
    tree->done = done;
    return tree;
}

void subtree_read(struct subtree *tree, struct http_exchange *exchange)
{
    tree->n = 0;
    tree->text.len = 0;
    tree->call.answer = answer_top;
    call_post_reader(&tree->call, exchange, READ_TASK);
}
