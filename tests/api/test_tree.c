/* A task's tree, and canceling all of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/ask.h"

#define MINE "X-Tenant-ID: mine\r\n"
#define OTHER "X-Tenant-ID: other\r\n"

static struct satcheld d;

static int start(void **state)
{
    (void)state;
    /* "breed" submits sub-tasks without end until it is told to stop, and two after that. */
    satcheld_init(&d, "workers = 4\ndrain = \"100ms\"\n"
                      "task \"breed\" { command = {\"/bin/sh\", \"-c\", "
                      "\"trap 'satchel submit satchel.sleep --arg seconds=600; exit 0' TERM; "
                      "echo ready >&2; while :; do sleep 0.02; done\"} kill_grace = \"20s\" "
                      "environment = {\"PATH=" TEST_BUILD_DIR "/client:/usr/bin:/bin\"} }\n");
    satcheld_start(&d);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    satcheld_stop(&d);
    satcheld_release(&d);
    return 0;
}

static json_t *tree_of(const char *id)
{
    char target[128];
    (void)snprintf(target, sizeof target, "/v1/tasks/%s/tree", id);
    return get_json(&d, target, MINE, 200);
}

static json_t *children(const json_t *node)
{
    json_t *list = json_object_get(node, "children");
    assert_true(json_is_array(list));
    return list;
}

/* Two levels: 3 tasks that submitted 2 long ones each; its id. */
static char *plant(void)
{
    json_t *task = run(&d, MINE,
                       "{\"task\":\"satchel.spawn\",\"args\":{\"count\":3,\"task\":\"satchel.spawn\",\"args\":"
                       "{\"count\":2,\"task\":\"satchel.sleep\",\"args\":{\"seconds\":600}}}}");
    char *id = strdup(text_of(task, "id"));
    json_decref(task);
    json_t *tree = tree_of(id), *child;
    size_t i;
    json_array_foreach(children(tree), i, child)
    {
        json_decref(finish(&d, MINE, text_of(child, "id")));
    }
    json_decref(tree);
    return id;
}

static unsigned count_state(const json_t *node, const char *state)
{
    unsigned n = strcmp(text_of(node, "state"), state) == 0;
    json_t *child;
    size_t i;
    json_array_foreach(children(node), i, child)
    {
        n += count_state(child, state);
    }
    return n;
}

static bool all_canceled(void *arg)
{
    json_t *tree = tree_of(arg);
    bool all = count_state(tree, "running") + count_state(tree, "queued") == 0;
    json_decref(tree);
    return all;
}

static void cancel_tree(const char *id, int status)
{
    struct answer answer = {0};
    char target[128];
    (void)snprintf(target, sizeof target, "/v1/tasks/%s:cancel?cascade=true", id);
    ask(&d, &answer, "POST", target, MINE, NULL);
    if (answer.status != status)
        fail_msg("status %d, not %d: %s", answer.status, status, answer.body);
    answer_release(&answer);
}

static void a_tree_is_shown_nested(void **state)
{
    (void)state;
    struct answer answer = {0};
    char target[128], *id = plant();
    json_t *tree = tree_of(id);
    expect_text(tree, "id", id);
    expect_text(tree, "task", "satchel.spawn");
    expect_time(tree, "created_at");
    assert_int_equal(json_array_size(children(tree)), 3);
    for (size_t i = 0; i < 3; i++) {
        json_t *child = json_array_get(children(tree), i);
        expect_state(child, "succeeded");
        assert_int_equal(json_array_size(children(child)), 2);
        expect_text(json_array_get(children(child), 1), "task", "satchel.sleep");
    }
    json_t *branch = tree_of(text_of(json_array_get(children(tree), 1), "id"));
    assert_true(json_equal(branch, json_array_get(children(tree), 1)));
    (void)snprintf(target, sizeof target, "/v1/tasks/%s/tree", id);
    ask(&d, &answer, "GET", target, OTHER, NULL);
    expect_problem(&answer, 404, "task-not-found");
    answer_release(&answer);
    cancel_tree(id, 200);
    json_decref(branch);
    json_decref(tree);
    free(id);
}

static void a_cascade_reaches_all_below_and_nothing_beside(void **state)
{
    (void)state;
    char *id = plant();
    json_t *tree = tree_of(id);
    char *branch = strdup(text_of(json_array_get(children(tree), 0), "id"));
    json_decref(tree);
    json_decref(act(&d, MINE, branch, "cancel", 409)); /* it has ended itself */
    cancel_tree(branch, 200);
    assert_true(until(all_canceled, branch, WAIT_MS));
    tree = tree_of(id);
    assert_int_equal(count_state(tree, "canceled"), 2);
    json_decref(tree);
    cancel_tree(branch, 409); /* nothing is left to be canceled */
    cancel_tree(id, 200);
    assert_true(until(all_canceled, id, WAIT_MS));
    tree = tree_of(id);
    assert_int_equal(count_state(tree, "canceled"), 6);
    json_decref(tree);
    free(branch);
    free(id);
}

/* What a task that is being canceled submits on its last legs is canceled, too. */
static void nothing_grows_behind_a_cascade(void **state)
{
    (void)state;
    json_t *task = submit(&d, MINE, "{\"task\":\"breed\"}", 202);
    char target[128];
    const char *id = text_of(task, "id");
    struct answer answer = {0};
    (void)snprintf(target, sizeof target, "/v1/tasks/%s/log", id);
    do {
        answer_release(&answer);
        ask(&d, &answer, "GET", target, MINE, NULL);
    } while (!strstr(answer.body, "ready"));
    answer_release(&answer);
    (void)snprintf(target, sizeof target, "/v1/tasks/%s:cancel?cascade=true", id);
    ask(&d, &answer, "POST", target, MINE "Prefer: wait=20\r\n", NULL);
    assert_int_equal(answer.status, 200);
    answer_release(&answer);
    json_t *tree = tree_of(id);
    assert_int_equal(json_array_size(children(tree)), 1);
    expect_state(json_array_get(children(tree), 0), "canceled");
    json_decref(tree);
    json_decref(task);
}

static void bad_questions(void **state)
{
    (void)state;
    static const char unknown[] = "/v1/tasks/01995a2e-7c3b-7d21-9f0e-4b8f6d1c2a35";
    static const struct {
        const char *method, *rest;
        int status;
        const char *urn;
    } cases[] = {{"GET", "/tree", 404, "task-not-found"},
                 {"GET", "/tree?depth=1", 400, "invalid-parameter"},
                 {"POST", "/tree", 405, "method-not-allowed"},
                 {"POST", ":cancel?cascade=true", 404, "task-not-found"},
                 {"POST", ":cancel?cascade=1", 400, "invalid-parameter"},
                 {"POST", ":cancel?cascade=true&cascade=true", 400, "invalid-parameter"},
                 {"POST", ":retry?cascade=true", 400, "invalid-parameter"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct answer answer = {0};
        char target[128];
        (void)snprintf(target, sizeof target, "%s%s", unknown, cases[i].rest);
        ask(&d, &answer, cases[i].method, target, MINE, NULL);
        expect_problem(&answer, cases[i].status, cases[i].urn);
        answer_release(&answer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree_is_shown_nested),
        cmocka_unit_test(a_cascade_reaches_all_below_and_nothing_beside),
        cmocka_unit_test(nothing_grows_behind_a_cascade),
        cmocka_unit_test(bad_questions),
    };
    return cmocka_run_group_tests_name("trees", tests, start, stop);
}
