/* An example plugin: what a handler can do, one task type for each.
 *
 *   example.greet      reads a context variable            {"greeting": "Hello acme"}
 *   example.wordcount  reads its args, answers a number    args {"text": "..."}
 *   example.thread     starts a thread that has the context too
 *   example.countdown  reports progress, logs, can be canceled while it waits   args {"steps": N}
 *   example.tree       submits two sub-tasks, with the context inherited
 *   example.flaky      asks to be repeated, until its third attempt
 *
 * Build: cc -shared -fPIC -o example.so example.c $(pkg-config --cflags --libs satchel)
 * Configure: plugin "/path/to/example.so" { config = "Hello" } */
#include <poll.h>
#include <satchel/context.h>
#include <satchel/plugin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The example reads its simple args without a JSON library: the text or number behind "NAME":, if any. */
static const char *member(const char *args, const char *name)
{
    char quoted[64];
    (void)snprintf(quoted, sizeof quoted, "\"%s\"", name);
    const char *at = strstr(args, quoted);
    if (!at)
        return NULL;
    at += strlen(quoted);
    return at + strspn(at, " \t\r\n:");
}

static int greet(satchel_task *task, void *user)
{
    char json[400];
    const char *tenant = satchel_tenant(); /* as the submitter sent it */
    int len = snprintf(json, sizeof json, "{\"greeting\":\"%s %s\"}", (const char *)user, tenant ? tenant : "nobody");
    return satchel_task_succeed(task, json, (size_t)len);
}

static int wordcount(satchel_task *task, void *user)
{
    (void)user;
    const char *text = member(satchel_task_args(task, NULL), "text");
    if (!text || *text != '"')
        return satchel_task_fail(task, true, "args.text must be a string");
    unsigned words = 0;
    bool in_word = false;
    for (text++; *text && *text != '"'; text++) {
        bool blank = *text == ' ' || (text[0] == '\\' && (text[1] == 'n' || text[1] == 't'));
        words += !blank && !in_word;
        in_word = !blank;
        text += text[0] == '\\' && text[1];
    }
    char json[16];
    int len = snprintf(json, sizeof json, "%u", words);
    return satchel_task_succeed(task, json, (size_t)len);
}

/* ---- a thread of the handler's own ---- */

static void *look(void *arg)
{
    char *seen = arg;
    const char *tenant = satchel_tenant(), *trace = satchel_traceparent(), *id = satchel_task_id();
    (void)snprintf(seen, 300, "%s %s %s", tenant ? tenant : "-", trace ? trace : "-", id ? id : "-");
    /* A change here is this thread's alone. */
    (void)satchel_set_string(satchel_known_var(SATCHEL_TENANT), "changed", NULL);
    return NULL;
}

static int with_thread(satchel_task *task, void *user)
{
    char seen[300] = "", mine[300], json[700];
    pthread_t thread;
    (void)user;
    if (satchel_thread_create(&thread, NULL, look, seen) != SATCHEL_OK) /* not pthread_create: it carries the context */
        return satchel_task_fail(task, false, "no thread could be started");
    (void)pthread_join(thread, NULL);
    const char *tenant = satchel_tenant(), *trace = satchel_traceparent();
    (void)snprintf(mine, sizeof mine, "%s %s %s", tenant ? tenant : "-", trace ? trace : "-",
                   satchel_task_get_id(task));
    int len = snprintf(json, sizeof json, "{\"handler\":\"%s\",\"thread\":\"%s\"}", mine, seen);
    return satchel_task_succeed(task, json, (size_t)len);
}

/* ---- progress, log, cancellation ---- */

static int countdown(satchel_task *task, void *user)
{
    (void)user;
    const char *number = member(satchel_task_args(task, NULL), "steps");
    long steps = number ? strtol(number, NULL, 10) : 3;
    if (steps < 1 || steps > 100000)
        return satchel_task_fail(task, true, "args.steps must be a number from 1 to 100000");
    struct pollfd cancel = {.fd = satchel_task_cancel_fd(task), .events = POLLIN};
    for (long i = 0; i < steps; i++) {
        char line[40];
        int len = snprintf(line, sizeof line, "%ld to go", steps - i);
        (void)satchel_task_log(task, line, (size_t)len);
        (void)satchel_task_progress(task, (double)i / (double)steps, line);
        if (poll(&cancel, 1, 10) > 0) /* ten milliseconds of work, and an ear for the cancellation */
            return 1;                 /* canceled: nothing more to say */
    }
    (void)satchel_task_progress(task, 1, "done");
    return 0; /* the result is null */
}

static int tree(satchel_task *task, void *user)
{
    static const char submission[] = "{\"task\":\"example.greet\",\"labels\":{\"by\":\"example.tree\"}}";
    char ids[2][37], json[100];
    (void)user;
    for (int i = 0; i < 2; i++) {
        int status = satchel_task_spawn(task, submission, sizeof submission - 1, ids[i]);
        if (status != SATCHEL_OK)
            return satchel_task_fail(task, status == SATCHEL_EGRAMMAR, satchel_task_error(task));
    }
    int len = snprintf(json, sizeof json, "[\"%s\",\"%s\"]", ids[0], ids[1]);
    return satchel_task_succeed(task, json, (size_t)len);
}

static int flaky(satchel_task *task, void *user)
{
    (void)user;
    if (satchel_task_attempt(task) < 3)
        return satchel_task_retry_in(task, 20, "not yet");
    return satchel_task_succeed_text(task, "at last", 7);
}

/* ---- what came before ---- */

/* The results of the tasks that this one waited for, by their ids. */
static int gather(satchel_task *task, void *user)
{
    char *json = NULL;
    size_t len = 0;
    (void)user;
    FILE *out = open_memstream(&json, &len);
    if (!out)
        return satchel_task_fail(task, false, "no memory");
    for (size_t i = 0; i < satchel_task_after_count(task); i++) {
        size_t n;
        const char *result = satchel_task_after_result(task, i, &n);
        if (!result) {
            (void)fclose(out);
            free(json);
            return satchel_task_fail(task, false, satchel_task_error(task));
        }
        (void)fprintf(out, "%s\"%s\":%.*s", i ? "," : "{", satchel_task_after_id(task, i), (int)n, result);
    }
    (void)fputs(satchel_task_after_count(task) ? "}" : "{}", out);
    int code = fclose(out) == 0 ? satchel_task_succeed(task, json, len) : satchel_task_fail(task, false, "no memory");
    free(json);
    return code;
}

/* ---- the plugin ---- */

static char greeting[64];

unsigned satchel_plugin_abi(void)
{
    return SATCHEL_PLUGIN_ABI;
}

int satchel_plugin_init(satchel_plugin *host)
{
    static const satchel_handler_options quick = {.struct_size = sizeof quick, .flags = SATCHEL_HANDLER_QUICK};
    static const satchel_handler_options slow = {.struct_size = sizeof slow, .timeout_ms = 60000, .concurrency = 8};
    const char *word = satchel_plugin_config(host);
    if (strlen(word) >= sizeof greeting || strpbrk(word, "\"\\"))
        return satchel_plugin_fail(host, "config must be a short word to greet with");
    (void)snprintf(greeting, sizeof greeting, "%s", *word ? word : "Hello");
    if (satchel_plugin_handler(host, "example.greet", greet, greeting, &quick) != SATCHEL_OK ||
        satchel_plugin_handler(host, "example.wordcount", wordcount, NULL, &quick) != SATCHEL_OK ||
        satchel_plugin_handler(host, "example.thread", with_thread, NULL, NULL) != SATCHEL_OK ||
        satchel_plugin_handler(host, "example.countdown", countdown, NULL, &slow) != SATCHEL_OK ||
        satchel_plugin_handler(host, "example.tree", tree, NULL, NULL) != SATCHEL_OK ||
        satchel_plugin_handler(host, "example.gather", gather, NULL, NULL) != SATCHEL_OK ||
        satchel_plugin_handler(host, "example.flaky", flaky, NULL, NULL) != SATCHEL_OK)
        return -1; /* the reason is known to satcheld */
    return 0;
}

void satchel_plugin_fini(void)
{
    greeting[0] = '\0';
}
