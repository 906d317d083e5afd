/* satchel tree: a task with all its sub-tasks, as a tree of lines. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "proto/buf.h"
#include "proto/json_in.h"

#define DEPTH_MAX 1000 /* levels that are drawn; deeper ones are shown by a tree of their own */

static void say(const char *text)
{
    say_to(stdout, text, strlen(text));
}

static void print_line(const json_t *node)
{
    const char *id = json_string_value(json_object_get(node, "id"));
    const char *task = json_string_value(json_object_get(node, "task"));
    const char *state = json_string_value(json_object_get(node, "state"));
    const json_t *error = json_object_get(node, "error");
    const char *message = json_string_value(json_object_get(error, "message"));
    say(id ? id : "?");
    say("  ");
    say(state ? state : "?");
    say("  ");
    say(task ? task : "?");
    if (message) {
        say("  (");
        say(message);
        say(")");
    }
    (void)putchar('\n');
}

/* The lines that go down beside a node are those of its ancestors that have younger siblings. */
static void print_node(const json_t *node, struct buf *beside, int depth)
{
    const json_t *children = json_object_get(node, "children");
    size_t n = json_array_size(children), len = beside->len;
    print_line(node);
    for (size_t i = 0; i < n; i++) {
        bool last = i + 1 == n;
        say(beside->len ? beside->data : "");
        say(last ? "\u2514\u2500 " : "\u251c\u2500 ");
        buf_append_str(beside, last ? "   " : "\u2502  ");
        if (depth < DEPTH_MAX && buf_ok(beside))
            print_node(json_array_get(children, i), beside, depth + 1);
        else
            (void)printf("...\n");
        beside->len = len;
        if (beside->data)
            beside->data[len] = '\0';
    }
}

static int print_tree(const struct common *common, const char *json, size_t len)
{
    char why[JSON_IN_ERROR_SIZE];
    struct buf beside = BUF_INIT;
    json_t *tree = json_in_load(slice_of(json, len), 2 * DEPTH_MAX, why);
    if (!json_is_object(tree)) {
        complain(common, "the answer is not a task's tree, or its tasks are nested too deeply; --json prints it");
        json_decref(tree);
        return EXIT_UNREACHABLE;
    }
    print_node(tree, &beside, 0);
    if (json_is_true(json_object_get(tree, "truncated")))
        complain(common, "the tree is larger than what can be shown; the oldest tasks are left out");
    buf_release(&beside);
    json_decref(tree);
    return 0;
}

int verb_tree(const struct verb *verb, int argc, char *const argv[])
{
    return show_details(verb, argc, argv, satchel_future_tree, print_tree);
}
