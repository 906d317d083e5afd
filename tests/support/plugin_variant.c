/* Plugins that satcheld must refuse, one per VARIANT, and "probe", which tries everything a handler may do. */
#include <satchel/context.h>
#include <satchel/plugin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NO_INIT 1
#define NO_ABI 2
#define OTHER_ABI 3
#define BAD_NAME 4
#define TWICE 5
#define RESERVED 6
#define FAILS 7
#define EMPTY 8
#define BAD_OPTIONS 9
#define PROBE 10
#define ABORTS 11

#if VARIANT != NO_ABI
unsigned satchel_plugin_abi(void)
{
    return VARIANT == OTHER_ABI ? SATCHEL_PLUGIN_ABI + 1 : SATCHEL_PLUGIN_ABI;
}
#endif

#if VARIANT == PROBE
static char user_data[] = "user data";
static volatile double zero;

static int say(satchel_task *task, void *user)
{
    char json[600];
    size_t len;
    const char *args = satchel_task_args(task, &len);
    int n =
        snprintf(json, sizeof json,
                 "{\"name\":\"%s\",\"id\":\"%s\",\"parent\":\"%s\",\"root\":\"%s\",\"attempt\":\"%u\",\"max\":\"%u\","
                 "\"user\":\"%s\",\"args\":%s,\"len\":\"%zu\"}",
                 satchel_task_name(task), satchel_task_get_id(task),
                 satchel_task_parent_id(task) ? satchel_task_parent_id(task) : "none", satchel_task_root_id(task),
                 satchel_task_attempt(task), satchel_task_max_attempts(task), (const char *)user, args, len);
    return satchel_task_succeed(task, json, (size_t)n);
}

static int returns(satchel_task *task, void *user) /* what args say */
{
    (void)user;
    return atoi(satchel_task_args(task, NULL));
}

static int invalid_json(satchel_task *task, void *user)
{
    (void)user;
    (void)satchel_task_succeed(task, "{\"a\":", 5);
    return strstr(satchel_task_error(task), "JSON") ? 0 : 7; /* a 0 does not make it a success */
}

static int last_word(satchel_task *task, void *user) /* the last call counts */
{
    (void)user;
    (void)satchel_task_retry_in(task, 5, "first");
    return satchel_task_succeed_text(task, "1", 1);
}

static int fail_then_zero(satchel_task *task, void *user)
{
    (void)user;
    (void)satchel_task_fail(task, true, "said so");
    return 0;
}

static int succeed_then_one(satchel_task *task, void *user)
{
    (void)user;
    (void)satchel_task_succeed(task, "1", 1);
    return 1;
}

static void *from_elsewhere(void *arg)
{
    satchel_task *task = arg;
    bool refused =
        satchel_task_log(task, "x", 1) == SATCHEL_EINVAL && satchel_task_progress(task, 0.5, NULL) == SATCHEL_EINVAL &&
        satchel_task_spawn(task, "{}", 2, NULL) == SATCHEL_EINVAL &&
        satchel_task_succeed(task, "1", 1) == SATCHEL_EINVAL && satchel_task_fail(task, true, "x") == SATCHEL_EINVAL;
    bool readable = satchel_task_attempt(task) == 1 && !satchel_task_canceled(task);
    return refused && readable ? task : NULL;
}

static int other_thread(satchel_task *task, void *user)
{
    pthread_t thread;
    void *result = NULL;
    (void)user;
    if (satchel_thread_create(&thread, NULL, from_elsewhere, task) == SATCHEL_OK)
        (void)pthread_join(thread, &result);
    return result ? satchel_task_succeed(task, "true", 4) : satchel_task_fail(task, true, "not refused");
}

static int nonsense(satchel_task *task, void *user)
{
    (void)user;
    bool ok = satchel_task_progress(task, -0.1, NULL) == SATCHEL_EINVAL &&
              satchel_task_progress(task, 1.1, NULL) == SATCHEL_EINVAL &&
              satchel_task_progress(task, 0.0 / zero, NULL) == SATCHEL_EINVAL &&
              satchel_task_progress(task, 0.25, NULL) == SATCHEL_OK &&
              satchel_task_spawn(task, NULL, 0, NULL) == SATCHEL_EINVAL &&
              satchel_task_log(task, NULL, 3) == SATCHEL_EINVAL &&
              satchel_task_succeed(NULL, "1", 1) == SATCHEL_EINVAL && satchel_task_args(NULL, NULL) == NULL &&
              !satchel_task_canceled(NULL) && satchel_task_cancel_fd(NULL) == -1;
    return ok ? 0 : satchel_task_fail(task, true, "something was accepted");
}

static int wait_canceled(satchel_task *task, void *user)
{
    (void)user;
    for (int i = 0; i < 5000 && !satchel_task_canceled(task); i++)
        (void)usleep(2000);
    return 1;
}

static int fails_when_canceled(satchel_task *task, void *user)
{
    (void)wait_canceled(task, user);
    return satchel_task_fail(task, strcmp(satchel_task_args(task, NULL), "true") == 0, "gave way");
}

static int leaves_entered(satchel_task *task, void *user)
{
    (void)task;
    (void)user;
    satchel_context *mine = satchel_context_new();
    (void)satchel_context_enter(mine);
    satchel_context_unref(mine);
    return 0;
}

static int sets_tenant(satchel_task *task, void *user)
{
    (void)user;
    (void)satchel_set_string(satchel_known_var(SATCHEL_TENANT), "inherited", NULL);
    int status = satchel_task_spawn(task, "{\"task\":\"satchel.noop\"}", 23, NULL);
    return status == SATCHEL_OK ? 0 : satchel_task_fail(task, status == SATCHEL_EGRAMMAR, satchel_task_error(task));
}

static int add(satchel_plugin *host, const char *name, satchel_handler fn)
{
    return satchel_plugin_handler(host, name, fn, user_data, NULL);
}

int satchel_plugin_init(satchel_plugin *host)
{
    const satchel_handler_options options = {
        .struct_size = sizeof options, .timeout_ms = 1500, .concurrency = 3, .flags = SATCHEL_HANDLER_QUICK};
    if (strcmp(satchel_plugin_config(host), "please fail") == 0)
        return satchel_plugin_fail(host, "as the config wants");
    return satchel_plugin_handler(host, "probe.say", say, user_data, &options) | add(host, "probe.returns", returns) |
           add(host, "probe.invalid", invalid_json) | add(host, "probe.last", last_word) |
           add(host, "probe.fail0", fail_then_zero) | add(host, "probe.succeed1", succeed_then_one) |
           add(host, "probe.thread", other_thread) | add(host, "probe.nonsense", nonsense) |
           add(host, "probe.wait", wait_canceled) | add(host, "probe.leaves", leaves_entered) |
           add(host, "probe.sets", sets_tenant) | add(host, "probe.gives_way", fails_when_canceled);
}

void satchel_plugin_fini(void)
{
    const char *file = getenv("PROBE_FINI"); /* the test looks whether it was called */
    FILE *out = file ? fopen(file, "a") : NULL;
    if (out) {
        (void)fputs("fini\n", out);
        (void)fclose(out);
    }
}

#elif VARIANT == ABORTS

/* Takes the daemon with it: in each attempt up to the number that args say. */
static int poison(satchel_task *task, void *user)
{
    (void)user;
    if ((int)satchel_task_attempt(task) <= atoi(satchel_task_args(task, NULL)))
        abort();
    return satchel_task_succeed(task, "\"alive\"", 7);
}

int satchel_plugin_init(satchel_plugin *host)
{
    return satchel_plugin_handler(host, "probe.poison", poison, NULL, NULL);
}

#elif VARIANT != NO_INIT

static int handler(satchel_task *task, void *user)
{
    (void)task;
    (void)user;
    return 0;
}

int satchel_plugin_init(satchel_plugin *host)
{
    satchel_handler_options options = {.struct_size = VARIANT == BAD_OPTIONS ? 4 : sizeof options};
    if (VARIANT == EMPTY)
        return 0;
    const char *name = VARIANT == BAD_NAME ? "with space" : VARIANT == RESERVED ? "satchel.mine" : "variant.one";
    (void)satchel_plugin_handler(host, name, handler, NULL, &options);
    if (VARIANT == TWICE)
        (void)satchel_plugin_handler(host, name, handler, NULL, NULL);
    return VARIANT == FAILS ? 42 : 0; /* 0 in spite of a refused registration */
}
#endif
