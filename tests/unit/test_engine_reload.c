/* The engine's reload: another registry while tasks wait and run.  The pool is the test itself. */
#include <errno.h>

#include "engine/scheduler.h"
#include "engine_fixture.h"

static struct registry *registry_of(const char *const *names, size_t n)
{
    struct registry *registry = calloc(1, sizeof *registry);
    assert_non_null(registry);
    atomic_init(&registry->refs, 1);
    for (size_t i = 0; i < n; i++)
        registry->types[i] = (struct task_type){.registry = registry, .name = names[i], .index = (uint16_t)i};
    registry->n = n;
    return registry;
}

#define REGISTRY(...)                                                                                                  \
    registry_of((const char *const[]){__VA_ARGS__}, sizeof(const char *const[]){__VA_ARGS__} / sizeof(const char *))

static void reload(struct registry *registry, void *limits)
{
    struct engine_settings settings = {
        .registry = registry, .tenant_limits_arg = limits, .retain_us = 1234, .max_log = 99};
    assert_int_equal(engine_reload(engine, &settings), 0);
}

/* Whoever posts a call after the reload finds it done. */
static void pass_through(void)
{
    struct task_record record = {0};
    (void)ask(ENGINE_CANCEL, (struct task_id){1, 1}, "a", 0, &record);
}

static enum error_type error_of(struct task_id id)
{
    return row_of(id)->outcome ? row_of(id)->outcome->error : ERROR_TYPE_NONE;
}

/* ---- tests ---- */

static void types_change_while_tasks_wait(void **state)
{
    (void)state;
    struct registry *second = REGISTRY("one", "new");
    struct attempt *busy[2];
    for (int i = 0; i < 2; i++) {
        (void)submit(make_spec("a", "work"));
        busy[i] = take(LIMIT_NS);
    }
    struct task_id gone = submit(make_spec("a", "work")), stays = submit(make_spec("a", "one")),
                   not_yet = submit(make_spec("a", "new"));
    reload(second, NULL);
    for (int i = 0; i < 2; i++) { /* what runs goes on and ends as it would have */
        struct task_id id = busy[i]->spec->id;
        assert_string_equal(busy[i]->type->name, "work");
        report(busy[i], ATTEMPT_SUCCEEDED);
        assert_int_equal(settled(id, TASK_SUCCEEDED), TASK_SUCCEEDED);
    }
    assert_int_equal(settled(gone, TASK_FAILED), TASK_FAILED);
    assert_int_equal(error_of(gone), ERROR_TYPE_UNKNOWN_TASK);
    for (int i = 0; i < 2; i++) {
        struct attempt *attempt = take(LIMIT_NS);
        assert_non_null(attempt);
        assert_ptr_equal(attempt->type->registry, second);
        report(attempt, ATTEMPT_SUCCEEDED);
    }
    assert_int_equal(settled(stays, TASK_SUCCEEDED), TASK_SUCCEEDED);
    assert_int_equal(settled(not_yet, TASK_SUCCEEDED), TASK_SUCCEEDED);
    stop();
    assert_int_equal(second->refs, 1);
    free(second);
}

/* An attempt keeps the registry that it began with until it is released, over any number of reloads. */
static void an_attempt_keeps_its_registry(void **state)
{
    (void)state;
    struct registry *all[3];
    struct attempt *attempts[2];
    for (int i = 0; i < 3; i++)
        all[i] = REGISTRY("work");
    for (int i = 0; i < 2; i++) {
        reload(all[i], NULL);
        (void)submit(make_spec("a", "work"));
        attempts[i] = take(LIMIT_NS);
        assert_ptr_equal(attempts[i]->type, &all[i]->types[0]);
    }
    reload(all[2], NULL);
    pass_through();
    assert_int_equal(all[0]->refs, 2); /* the test's and the attempt's */
    assert_int_equal(all[1]->refs, 2);
    assert_int_equal(all[2]->refs, 2); /* the test's and the engine's */
    struct task_id id = attempts[0]->spec->id;
    report(attempts[0], ATTEMPT_SUCCEEDED);
    assert_int_equal(settled(id, TASK_SUCCEEDED), TASK_SUCCEEDED);
    pass_through();
    assert_int_equal(all[0]->refs, 1);
    assert_int_equal(all[1]->refs, 2);
    report(attempts[1], ATTEMPT_FAILED);
    stop();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(all[i]->refs, 1);
        free(all[i]);
    }
}

/* The limit of a type counts what runs of it, whichever registry it began with; a raised one lets waiting tasks go. */
static void concurrency_over_reloads(void **state)
{
    (void)state;
    struct registry *wide = REGISTRY("new", "one"), *narrow = REGISTRY("one"), *none = REGISTRY("work");
    wide->types[1].concurrency = 2;
    narrow->types[0].concurrency = 1;
    for (int i = 0; i < 4; i++)
        (void)submit(make_spec("a", "one"));
    struct attempt *first = take(LIMIT_NS);
    assert_null(take(50000000)); /* one at a time */
    reload(wide, NULL);
    struct attempt *second = take(LIMIT_NS);
    assert_non_null(second);
    reload(none, NULL); /* gone and back while both run */
    reload(narrow, NULL);
    report(first, ATTEMPT_SUCCEEDED);
    assert_null(take(50000000));
    report(second, ATTEMPT_SUCCEEDED);
    struct attempt *third = take(LIMIT_NS);
    assert_non_null(third);
    assert_null(take(50000000));
    report(third, ATTEMPT_SUCCEEDED);
    report(take(LIMIT_NS), ATTEMPT_SUCCEEDED);
    stop();
    free(wide);
    free(narrow);
    free(none);
}

static void limits_of(void *arg, struct slice tenant, struct tenant_limits *ret)
{
    (void)tenant;
    if (arg)
        ret->max_running = *(uint32_t *)arg;
}

static void limits_of_active_tenants(void **state)
{
    (void)state;
    static uint32_t one = 1, two = 2;
    stop();
    engine_test_options.tenant_limits = limits_of;
    engine_test_options.tenant_limits_arg = &one;
    start();
    struct task_id ids[5];
    struct registry *same = REGISTRY("work", "one");
    for (int i = 0; i < 5; i++)
        ids[i] = submit(make_spec("a", "work"));
    struct attempt *first = take(LIMIT_NS);
    assert_null(take(50000000));
    reload(same, &two);
    struct attempt *second = take(LIMIT_NS);
    assert_non_null(second);
    reload(same, &one);
    report(first, ATTEMPT_SUCCEEDED);
    assert_null(take(50000000));
    reload(same, NULL); /* no limit at all */
    struct attempt *third = take(LIMIT_NS);
    report(second, ATTEMPT_SUCCEEDED);
    report(third, ATTEMPT_SUCCEEDED);
    for (int i = 0; i < 2; i++)
        report(take(LIMIT_NS), ATTEMPT_SUCCEEDED);
    for (int i = 0; i < 5; i++)
        assert_int_equal(settled(ids[i], TASK_SUCCEEDED), TASK_SUCCEEDED);
    assert_int_equal(the_store->retain_us, 1234);
    assert_int_equal(the_store->max_log, 99);
    stop();
    assert_int_equal(same->refs, 1);
    free(same);
}

/* A reload in the middle of everything: each task ends exactly once, as its type is there or not. */
static void reloads_under_load(void **state)
{
    (void)state;
    enum { ROUNDS = 40, EACH = 8 };
    struct registry *both = REGISTRY("one", "work"), *other = REGISTRY("work");
    struct task_id ids[ROUNDS * EACH];
    size_t n = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < EACH; i++)
            ids[n++] = submit(make_spec(i % 2 ? "a" : "b", i % 4 < 2 ? "work" : "one"));
        reload(round % 2 ? both : other, NULL);
        for (struct attempt *attempt; (attempt = take(5000000)) != NULL;)
            report(attempt, ATTEMPT_SUCCEEDED);
    }
    reload(both, NULL);
    for (struct attempt *attempt; (attempt = take(100000000)) != NULL;)
        report(attempt, ATTEMPT_SUCCEEDED);
    unsigned failed = 0;
    pass_through(); /* the engine rests */
    for (size_t i = 0; i < n; i++) {
        enum task_state ended = row_of(ids[i])->status.state;
        assert_true(ended == TASK_SUCCEEDED || (ended == TASK_FAILED && error_of(ids[i]) == ERROR_TYPE_UNKNOWN_TASK));
        failed += ended == TASK_FAILED;
        if (ended == TASK_FAILED)
            assert_true(slice_eq_str(row_of(ids[i])->spec->name, "one"));
    }
    assert_true(failed > 0);
    stop();
    assert_int_equal(both->refs, 1);
    assert_int_equal(other->refs, 1);
    free(both);
    free(other);
}

static void a_reload_after_the_end(void **state)
{
    (void)state;
    struct registry *late = REGISTRY("work");
    assert_true(engine_stop(engine));
    assert_int_equal(engine_reload(engine, &(struct engine_settings){.registry = late}), -ESHUTDOWN);
    engine_free(engine);
    engine = NULL;
    assert_int_equal(late->refs, 1);
    free(late);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(types_change_while_tasks_wait),
        TEST(an_attempt_keeps_its_registry),
        TEST(concurrency_over_reloads),
        TEST(limits_of_active_tenants),
        TEST(reloads_under_load),
        TEST(a_reload_after_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
