/* A plugin for the tests of contexts: its handlers tell every variable that they see through the public API, secret
 * ones too, as {"NAME": "text", ...}, and with a deadline "remaining_ns".
 *
 *   seen, seen.quick   args: "fail_until": N   fails before attempt N ("final": 1 for good)
 *                            "block_until": N  waits before attempt N until it is told to end
 *                            "from": "thread" or "async"  looks from there
 *                            "leave": 1        leaves a context entered
 *                            "spawn": NAME     submits that task and tells its id instead */
#include <poll.h>
#include <satchel/context.h>
#include <satchel/plugin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPORT_MAX 16384

struct report {
    char text[REPORT_MAX];
    size_t len;
    bool failed;
};

static void put_char(struct report *r, char c)
{
    if (r->len + 1 < sizeof r->text)
        r->text[r->len++] = c;
    else
        r->failed = true;
}

static void put_string(struct report *r, const char *text)
{
    put_char(r, '"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            put_char(r, '\\');
        put_char(r, *text);
    }
    put_char(r, '"');
}

static int put_variable(satchel_var *var, void *data, void *arg)
{
    struct report *r = arg;
    satchel_value *value;
    char text[9000];
    (void)data;
    if (satchel_get_value(var, &value) != SATCHEL_OK)
        return 0;
    size_t len = satchel_value_text(value, text, sizeof text);
    satchel_value_unref(value);
    if (len >= sizeof text)
        return 0; /* it has none: the cancel object */
    if (r->len > 1)
        put_char(r, ',');
    put_string(r, satchel_var_name(var));
    put_char(r, ':');
    put_string(r, text);
    return 0;
}

static void *look(void *arg)
{
    struct report *r = arg;
    char left[32];
    put_char(r, '{');
    (void)satchel_context_each(NULL, put_variable, r);
    if (satchel_remaining_ns() != INT64_MAX) {
        (void)snprintf(left, sizeof left, "%lld", (long long)satchel_remaining_ns());
        put_char(r, ',');
        put_string(r, "remaining_ns");
        put_char(r, ':');
        put_string(r, left);
    }
    put_char(r, '}');
    return NULL;
}

static void look_from(const char *where, struct report *r)
{
    if (where && strncmp(where, "\"thread\"", 8) == 0) {
        pthread_t thread;
        if (satchel_thread_create(&thread, NULL, look, r) == SATCHEL_OK)
            (void)pthread_join(thread, NULL);
    } else if (where && strncmp(where, "\"async\"", 7) == 0) {
        satchel_call *call = satchel_async(look, r);
        if (call)
            (void)satchel_call_wait(call, INT64_C(20000000000));
        satchel_call_unref(call);
    } else {
        (void)look(r);
    }
}

/* What stands behind "NAME": in the args, or NULL. */
static const char *member(const char *args, const char *name)
{
    char quoted[64];
    (void)snprintf(quoted, sizeof quoted, "\"%s\"", name);
    const char *at = strstr(args, quoted);
    return at ? at + strlen(quoted) + strspn(at + strlen(quoted), " :") : NULL;
}

static unsigned number(const char *args, const char *name)
{
    const char *at = member(args, name);
    return at ? (unsigned)strtoul(at, NULL, 10) : 0;
}

static int spawn(satchel_task *task, const char *name)
{
    char body[128], id[37];
    int len = snprintf(body, sizeof body, "{\"task\":%.*s}", (int)strcspn(name, ",}"), name);
    if (satchel_task_spawn(task, body, (size_t)len, id) != SATCHEL_OK)
        return satchel_task_fail(task, true, satchel_task_error(task));
    return satchel_task_succeed_text(task, id, strlen(id));
}

static int seen(satchel_task *task, void *user)
{
    const char *args = satchel_task_args(task, NULL), *name = member(args, "spawn");
    (void)user;
    if (satchel_task_attempt(task) < number(args, "block_until")) {
        struct pollfd told = {.fd = satchel_task_cancel_fd(task), .events = POLLIN};
        (void)poll(&told, 1, 60000);
        return 1;
    }
    if (satchel_task_attempt(task) < number(args, "fail_until"))
        return satchel_task_fail(task, number(args, "final") != 0, "as it was told to");
    if (name)
        return spawn(task, name);
    struct report *r = calloc(1, sizeof *r);
    if (!r)
        return satchel_task_fail(task, false, "out of memory");
    look_from(member(args, "from"), r);
    int code = r->failed ? satchel_task_fail(task, true, "the report is too long")
                         : satchel_task_succeed(task, r->text, r->len);
    free(r);
    if (number(args, "leave")) { /* the worker removes it, complains, and goes on */
        satchel_context *left = satchel_capture();
        (void)satchel_context_enter(left);
        satchel_context_unref(left);
    }
    return code;
}

unsigned satchel_plugin_abi(void)
{
    return SATCHEL_PLUGIN_ABI;
}

int satchel_plugin_init(satchel_plugin *host)
{
    static const satchel_handler_options quick = {.struct_size = sizeof quick, .flags = SATCHEL_HANDLER_QUICK};
    if (satchel_plugin_handler(host, "seen", seen, NULL, NULL) != SATCHEL_OK)
        return -1;
    return satchel_plugin_handler(host, "seen.quick", seen, NULL, &quick) == SATCHEL_OK ? 0 : -1;
}
