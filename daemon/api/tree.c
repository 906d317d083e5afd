/* GET /v1/tasks/{id}/tree: a task with its sub-tasks, nested.
 * Flow: on_tree -> subtree.c -> reply_tree. */
#include "api/subtree.h"

static void open_node(const struct subtree *tree, uint32_t at, struct buf *out)
{
    const struct subtree_node *node = &tree->nodes[at];
    buf_append_slice(out, slice_of(tree->text.data + node->text, node->text_len));
    buf_append_str(out, ",\"children\":[");
}

/* Not recursive: a chain of sub-tasks may be as long as a tree may be large. */
static void write_tree(const struct subtree *tree, struct buf *out)
{
    uint32_t at = tree->top;
    open_node(tree, at, out);
    for (;;) {
        const struct subtree_node *node = &tree->nodes[at];
        if (node->first != SUBTREE_NONE) {
            at = node->first;
        } else {
            for (; at != tree->top && tree->nodes[at].next == SUBTREE_NONE; at = tree->nodes[at].up)
                buf_append_str(out, "]}");
            if (at == tree->top)
                break;
            buf_append_str(out, "]},");
            at = tree->nodes[at].next;
        }
        open_node(tree, at, out);
    }
    buf_append_str(out, tree->cut ? "],\"truncated\":true}" : "]}");
}

static bool reply_tree(struct subtree *tree, struct http_exchange *exchange)
{
    struct buf *body = scratch();
    struct reply reply;
    write_tree(tree, body);
    call_reply_begin(&tree->call, exchange, &reply);
    reply_buffer(&reply, 200, body);
    return true;
}

void on_tree(struct visit *visit)
{
    struct task_id id;
    if (!visit_read_nothing(visit) || !visit_read_id(visit, &id))
        return;
    struct subtree *tree = subtree_new(visit, sizeof *tree, reply_tree);
    if (!tree)
        return;
    tree->call.id = id;
    tree->with_text = true;
    subtree_read(tree, visit->exchange);
}
