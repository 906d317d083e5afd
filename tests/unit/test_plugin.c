/* Plugins, through registry and pool: the example, a probe that tries everything, and those that must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/attempts.h"

#define EXAMPLE TEST_BUILD_DIR "/examples/plugin/.libs/example.so"
#define VARIANT(name) TEST_BUILD_DIR "/tests/support/.libs/plugin_" name ".so"

static struct config_plugin plugin_of(const char *path, const char *argument)
{
    static char where[] = "test.conf:7";
    return (struct config_plugin){
        .path = (char *)(uintptr_t)path, .argument = (char *)(uintptr_t)argument, .where = where};
}

static void open_bench(struct bench *bench, const char *path, const char *argument, unsigned workers)
{
    struct config_plugin plugin = plugin_of(path, argument);
    struct config config = {.plugins = &plugin, .n_plugins = 1};
    bench_init(bench, workers, &config);
}

static int setup_example(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    assert_non_null(bench);
    open_bench(bench, EXAMPLE, NULL, 4);
    *state = bench;
    return 0;
}

static int setup_probe(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    assert_non_null(bench);
    open_bench(bench, VARIANT("probe"), NULL, 2);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    bench_release(*state);
    free(*state);
    return 0;
}

static struct attempt *run(struct bench *bench, const char *task, const char *args)
{
    return bench_run(bench, bench_attempt(bench, task, args, "acme"));
}

static void check_result(struct bench *bench, const char *task, const char *args, const char *expect)
{
    struct attempt *attempt = run(bench, task, args);
    if (attempt->end != ATTEMPT_SUCCEEDED)
        fail_msg("%s: %s", task, outcome_message(attempt));
    assert_string_equal(outcome_result(attempt), expect);
    attempt_free(attempt);
}

static void check_failure(struct bench *bench, const char *task, const char *args, enum attempt_end end,
                          const char *message)
{
    struct attempt *attempt = run(bench, task, args);
    assert_int_equal(attempt->end, end);
    assert_int_equal(outcome_error(attempt), ERROR_TYPE_HANDLER);
    assert_string_equal(outcome_message(attempt), message);
    attempt_free(attempt);
}

/* ---- the example ---- */

static void test_example_reads_the_context(void **state)
{
    check_result(*state, "example.greet", "null", "{\"greeting\":\"Hello acme\"}");
}

static void test_example_config(void **state)
{
    struct bench bench;
    (void)state;
    open_bench(&bench, EXAMPLE, "Moin", 1);
    check_result(&bench, "example.greet", "null", "{\"greeting\":\"Moin acme\"}");
    bench_release(&bench);
}

static void test_example_reads_args(void **state)
{
    check_result(*state, "example.wordcount", "{\"text\": \" one  two\\nthree \\\"q\\\" \"}", "4");
    check_result(*state, "example.wordcount", "{\"text\":\"\"}", "0");
    check_failure(*state, "example.wordcount", "{\"text\":5}", ATTEMPT_FAILED_FINAL, "args.text must be a string");
}

static void test_example_thread_has_the_context(void **state)
{
    struct attempt *attempt = run(*state, "example.thread", "null");
    char handler[512], id[TASK_ID_TEXT_SIZE];
    assert_int_equal(attempt->end, ATTEMPT_SUCCEEDED);
    snprintf(handler, sizeof handler, "%s", result_member(attempt, "handler"));
    assert_string_equal(result_member(attempt, "thread"), handler); /* and "changed" is not seen back */
    assert_memory_equal(handler, "acme 00-0af7651916cd43dd8448eb211c80319c-", 40);
    task_id_format(attempt->spec->id, id);
    assert_non_null(strstr(handler, id));
    attempt_free(attempt);
}

static void test_example_progress_and_log(void **state)
{
    struct bench *bench = *state;
    check_result(bench, "example.countdown", "{\"steps\":2}", "null");
    assert_string_equal(bench->log.data, "2 to go\n1 to go\n");
    assert_true(bench->progress == 1);
}

static void test_example_is_canceled(void **state)
{
    struct bench *bench = *state;
    struct attempt *attempt = bench_attempt(bench, "example.countdown", "{\"steps\":100000}", "acme");
    satchel_cancel *cancel = satchel_cancel_ref(attempt->cancel);
    bench_push(bench, attempt);
    satchel_cancel_fire(cancel, CANCEL_TIMEOUT);
    satchel_cancel_unref(cancel);
    attempt = bench_wait(bench, 1);
    assert_int_equal(outcome_error(attempt), ERROR_TYPE_TIMEOUT);
    assert_int_equal(attempt->end, ATTEMPT_FAILED);
    attempt_free(attempt);
}

static void test_example_submits(void **state)
{
    struct bench *bench = *state;
    struct attempt *attempt = run(bench, "example.tree", "null");
    assert_int_equal(attempt->end, ATTEMPT_SUCCEEDED);
    assert_int_equal(strlen(outcome_result(attempt)), 79);
    assert_int_equal(bench->n_spawned, 2);
    assert_string_equal(bench->spawn_tenants.data, "acme\nacme\n");
    attempt_free(attempt);
    bench->refuse_spawn = PROBLEM_QUOTA_EXCEEDED;
    check_failure(bench, "example.tree", "null", ATTEMPT_FAILED, "A quota is used up: the test refuses it");
    bench->refuse_spawn = PROBLEM_UNKNOWN_TASK;
    check_failure(bench, "example.tree", "null", ATTEMPT_FAILED_FINAL,
                  "There is no task of this name: the test refuses it");
}

static void test_example_asks_for_a_retry(void **state)
{
    struct attempt *attempt = bench_attempt(*state, "example.flaky", "null", "acme");
    attempt = bench_run(*state, attempt);
    assert_int_equal(attempt->end, ATTEMPT_FAILED);
    assert_int_equal(attempt->retry_after_us, 20000);
    attempt->number = 3;
    attempt->retry_after_us = -1;
    attempt = bench_run(*state, attempt);
    assert_int_equal(attempt->end, ATTEMPT_SUCCEEDED);
    assert_string_equal(outcome_result(attempt), "\"at last\"");
    attempt_free(attempt);
}

static void test_example_many_tenants(void **state)
{
    struct bench *bench = *state;
    char tenant[32], expect[80];
    for (int i = 0; i < 2000; i++) {
        snprintf(tenant, sizeof tenant, "tenant-%d", i % 1000);
        bench_push(bench, bench_attempt(bench, i % 20 ? "example.greet" : "example.thread", "null", tenant));
    }
    for (struct attempt *attempt = bench_wait(bench, 2000), *next; attempt; attempt = next) {
        next = (struct attempt *)attempt->mail.next;
        snprintf(expect, sizeof expect, "Hello %s", attempt->spec->tenant.data);
        if (strcmp(attempt->type->name, "example.greet") == 0)
            assert_string_equal(result_member(attempt, "greeting"), expect);
        else
            assert_memory_equal(result_member(attempt, "thread"), expect + 6, strlen(expect + 6));
        attempt_free(attempt);
    }
    assert_int_equal(pool_violations(bench->pool), 0);
}

/* ---- the probe ---- */

static void test_probe_reads_everything(void **state)
{
    struct attempt *attempt = bench_attempt(*state, "probe.say", "[1, \"x\"]", "acme");
    char id[TASK_ID_TEXT_SIZE];
    attempt->number = 4;
    attempt->spec->max_attempts = 9;
    attempt = bench_run(*state, attempt);
    task_id_format(attempt->spec->id, id);
    assert_string_equal(result_member(attempt, "name"), "probe.say");
    assert_string_equal(result_member(attempt, "id"), id);
    assert_string_equal(result_member(attempt, "parent"), "none");
    assert_string_equal(result_member(attempt, "root"), id);
    assert_string_equal(result_member(attempt, "attempt"), "4");
    assert_string_equal(result_member(attempt, "max"), "9");
    assert_string_equal(result_member(attempt, "user"), "user data");
    assert_string_equal(result_member(attempt, "len"), "8");
    task_id_make(&attempt->spec->parent);
    attempt = bench_run(*state, attempt);
    task_id_format(attempt->spec->parent, id);
    assert_string_equal(result_member(attempt, "parent"), id);
    attempt_free(attempt);
}

static void test_probe_options(void **state)
{
    struct bench *bench = *state;
    const struct task_type *type = registry_find(bench->registry, SLICE_LITERAL("probe.say"));
    assert_int_equal(type->timeout_us, 1500000);
    assert_int_equal(type->concurrency, 3);
    assert_true(type->quick);
    type = registry_find(bench->registry, SLICE_LITERAL("probe.wait"));
    assert_int_equal(type->timeout_us, 0);
    assert_int_equal(type->concurrency, 0);
    assert_false(type->quick);
    assert_string_equal(type->executor->kind, "plugin");
}

static void test_probe_return_values(void **state)
{
    check_result(*state, "probe.returns", "0", "null");
    check_failure(*state, "probe.returns", "5", ATTEMPT_FAILED, "the handler returned 5 and did not say why");
    check_failure(*state, "probe.returns", "-1", ATTEMPT_FAILED, "the handler returned -1 and did not say why");
    check_failure(*state, "probe.invalid", "0", ATTEMPT_FAILED_FINAL, "the handler's result is not valid JSON");
    check_failure(*state, "probe.fail0", "0", ATTEMPT_FAILED_FINAL, "said so");
    check_failure(*state, "probe.succeed1", "0", ATTEMPT_FAILED, "the handler returned 1 and did not say why");
    struct attempt *attempt = run(*state, "probe.last", "0");
    assert_string_equal(outcome_result(attempt), "\"1\""); /* text, not a number */
    assert_int_equal(attempt->retry_after_us, -1);
    attempt_free(attempt);
}

static void test_probe_threads_and_nonsense(void **state)
{
    check_result(*state, "probe.thread", "0", "true");
    check_result(*state, "probe.nonsense", "0", "null");
}

static void test_probe_canceled(void **state)
{
    struct bench *bench = *state;
    struct attempt *attempt = bench_attempt(bench, "probe.wait", "null", "acme");
    satchel_cancel *cancel = satchel_cancel_ref(attempt->cancel);
    bench_push(bench, attempt);
    satchel_cancel_fire(cancel, CANCEL_SHUTDOWN);
    satchel_cancel_unref(cancel);
    attempt = bench_wait(bench, 1);
    assert_int_equal(attempt->end, ATTEMPT_LOST);
    attempt_free(attempt);
}

/* The attempt of a handler that fails once it has been told to end.  One that was told before it had begun never ran. */
static struct attempt *gives_way(struct bench *bench, const char *final, enum cancel_reason reason)
{
    for (useconds_t pause = 1000;; pause *= 2) {
        struct attempt *attempt = bench_attempt(bench, "probe.gives_way", final, "acme");
        satchel_cancel *cancel = satchel_cancel_ref(attempt->cancel);
        bench_push(bench, attempt);
        (void)usleep(pause);
        satchel_cancel_fire(cancel, (int)reason);
        satchel_cancel_unref(cancel);
        attempt = bench_wait(bench, 1);
        if (pause > 1000000 || attempt->end == ATTEMPT_LOST || strstr(attempt->outcome->message, "gave way"))
            return attempt;
        attempt_free(attempt);
    }
}

static void test_probe_gives_way(void **state)
{
    struct attempt *attempt = gives_way(*state, "null", CANCEL_TIMEOUT);
    assert_int_equal(attempt->end, ATTEMPT_FAILED);
    assert_int_equal(outcome_error(attempt), ERROR_TYPE_TIMEOUT);
    assert_non_null(strstr(attempt->outcome->message, "time limit ran out: gave way"));
    attempt_free(attempt);
    attempt = gives_way(*state, "null", CANCEL_REQUESTED);
    assert_int_equal(attempt->end, ATTEMPT_FAILED_FINAL);
    assert_int_equal(outcome_error(attempt), ERROR_TYPE_CANCELED);
    attempt_free(attempt);
    attempt = gives_way(*state, "null", CANCEL_SHUTDOWN);
    assert_int_equal(attempt->end, ATTEMPT_LOST);
    attempt_free(attempt);
    attempt = gives_way(*state, "true", CANCEL_SHUTDOWN); /* it knows better */
    assert_int_equal(attempt->end, ATTEMPT_FAILED_FINAL);
    assert_int_equal(outcome_error(attempt), ERROR_TYPE_HANDLER);
    attempt_free(attempt);
}

static void test_probe_violation(void **state)
{
    struct bench *bench = *state;
    check_result(bench, "probe.leaves", "null", "null");
    assert_int_equal(pool_violations(bench->pool), 1);
}

static void test_probe_sub_task_inherits_changes(void **state)
{
    struct bench *bench = *state;
    check_result(bench, "probe.sets", "null", "null");
    assert_string_equal(bench->spawn_tenants.data, "inherited\n");
}

static void test_result_limit(void **state)
{
    struct config_plugin plugin = plugin_of(VARIANT("probe"), NULL);
    struct config config = {.plugins = &plugin, .n_plugins = 1, .max_result = 50};
    struct bench bench;
    (void)state;
    bench_init(&bench, 1, &config);
    struct attempt *attempt = run(&bench, "probe.say", "1");
    assert_int_equal(attempt->end, ATTEMPT_FAILED_FINAL);
    assert_int_equal(outcome_error(attempt), ERROR_TYPE_LIMIT);
    attempt_free(attempt);
    bench_release(&bench);
}

/* ---- loading ---- */

static int fini_calls(const char *path)
{
    FILE *in = fopen(path, "r");
    char line[16];
    int n = 0;
    while (in && fgets(line, sizeof line, in))
        n++;
    if (in)
        fclose(in);
    return n;
}

static void test_loaded_once_over_a_reload(void **state)
{
    struct bench first, second;
    char path[] = "/tmp/satchel-probe-XXXXXX";
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    setenv("PROBE_FINI", path, 1);
    open_bench(&first, VARIANT("probe"), NULL, 1);
    open_bench(&second, VARIANT("probe"), NULL, 1);
    bench_release(&first);
    assert_int_equal(fini_calls(path), 0); /* the second one still uses it */
    check_result(&second, "probe.returns", "0", "null");
    struct config_plugin plugin = plugin_of(VARIANT("probe"), "other");
    struct config config = {.plugins = &plugin, .n_plugins = 1};
    struct registry *registry;
    char error[600];
    atomic_init(&config.refs, 100);
    assert_int_equal(registry_new(&config, &registry, error, sizeof error), -1);
    assert_non_null(strstr(error, "restart"));
    bench_release(&second);
    assert_int_equal(fini_calls(path), 1);
    unsetenv("PROBE_FINI");
    unlink(path);
}

static void check_refused(const char *path, const char *argument, const char *part)
{
    struct config_plugin plugin = plugin_of(path, argument);
    struct config config = {.plugins = &plugin, .n_plugins = 1};
    struct registry *registry = NULL;
    char error[600] = "";
    atomic_init(&config.refs, 100);
    assert_int_equal(registry_new(&config, &registry, error, sizeof error), -1);
    assert_null(registry);
    if (!strstr(error, part) || !strstr(error, "test.conf:7") || !strstr(error, path))
        fail_msg("\"%s\" lacks \"%s\", the file or the place", error, part);
}

static void test_refused(void **state)
{
    (void)state;
    check_refused("/no/such/plugin.so", NULL, "No such file");
    check_refused("/etc/passwd", NULL, "invalid ELF header");
    check_refused(VARIANT("no_init"), NULL, "satchel_plugin_init");
    check_refused(VARIANT("no_abi"), NULL, "satchel_plugin_abi");
    check_refused(VARIANT("other_abi"), NULL, "plugin interface 2, this is 1");
    check_refused(VARIANT("bad_name"), NULL, "1 to 64");
    check_refused(VARIANT("twice"), NULL, "registered twice");
    check_refused(VARIANT("reserved"), NULL, "satchel.");
    check_refused(VARIANT("fails"), NULL, "returned 42");
    check_refused(VARIANT("empty"), NULL, "no task type");
    check_refused(VARIANT("bad_options"), NULL, "options");
    check_refused(VARIANT("probe"), "please fail", "as the config wants");
    check_refused(EXAMPLE, "quote\"", "short word");
}

static void test_two_plugins_with_one_name(void **state)
{
    struct config_plugin plugins[] = {plugin_of(EXAMPLE, NULL), plugin_of(VARIANT("probe"), NULL),
                                      plugin_of(EXAMPLE, NULL)};
    struct config config = {.plugins = plugins, .n_plugins = 3};
    struct registry *registry = NULL;
    char error[600] = "";
    (void)state;
    atomic_init(&config.refs, 100);
    assert_int_equal(registry_new(&config, &registry, error, sizeof error), -1);
    assert_non_null(strstr(error, "example.greet"));
    assert_non_null(strstr(error, "already"));
}

int main(void)
{
#define ON_EXAMPLE(name) cmocka_unit_test_setup_teardown(name, setup_example, teardown)
#define ON_PROBE(name) cmocka_unit_test_setup_teardown(name, setup_probe, teardown)
    const struct CMUnitTest tests[] = {
        ON_EXAMPLE(test_example_reads_the_context),
        cmocka_unit_test(test_example_config),
        ON_EXAMPLE(test_example_reads_args),
        ON_EXAMPLE(test_example_thread_has_the_context),
        ON_EXAMPLE(test_example_progress_and_log),
        ON_EXAMPLE(test_example_is_canceled),
        ON_EXAMPLE(test_example_submits),
        ON_EXAMPLE(test_example_asks_for_a_retry),
        ON_EXAMPLE(test_example_many_tenants),
        ON_PROBE(test_probe_reads_everything),
        ON_PROBE(test_probe_options),
        ON_PROBE(test_probe_return_values),
        ON_PROBE(test_probe_threads_and_nonsense),
        ON_PROBE(test_probe_canceled),
        ON_PROBE(test_probe_gives_way),
        ON_PROBE(test_probe_violation),
        ON_PROBE(test_probe_sub_task_inherits_changes),
        cmocka_unit_test(test_result_limit),
        cmocka_unit_test(test_loaded_once_over_a_reload),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_two_plugins_with_one_name),
    };
    return cmocka_run_group_tests_name("plugin", tests, NULL, NULL);
}
