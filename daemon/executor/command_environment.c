/* The environment of a child process is built from nothing: a few of the daemon's variables and what the operator
 * names, the context under OpenTelemetry's normalised names, and SATCHEL_* for shell authors; each as the task type's
 * `propagate` permits.  Variables marked secret never get in (the context library leaves them out). */
#include <stdio.h>
#include <stdlib.h>

#include "executor/command.h"
#include "executor/launch.h"
#include "task/propagate.h"

#define PATH_DEFAULT "PATH=/usr/local/bin:/usr/bin:/bin"

extern char **environ;

/* Ours in every child: the operator's `environment` may not set them (SATCHEL_URL it may). */
static const char *const reserved[] = {
    "SATCHEL_TENANT",      "SATCHEL_REQUEST_ID",    "SATCHEL_DEADLINE",  "SATCHEL_TASK_ID", "SATCHEL_TASK",
    "SATCHEL_ATTEMPT",     "SATCHEL_CONTEXT",       "SATCHEL_PARENT_ID", "SATCHEL_ROOT_ID", "SATCHEL_MAX_ATTEMPTS",
    "SATCHEL_PROGRESS_FD", "SATCHEL_TENANT_HEADER", "SATCHEL_AFTER",     "SATCHEL_TOKEN"};
#define N_RESERVED (sizeof reserved / sizeof reserved[0])

static bool same_name(const char *entry, const char *name, size_t len)
{
    return strncmp(entry, name, len) == 0 && (entry[len] == '=' || entry[len] == '\0');
}

static bool is_reserved(const char *name, size_t len)
{
    for (size_t i = 0; i < N_RESERVED; i++)
        if (strlen(reserved[i]) == len && memcmp(reserved[i], name, len) == 0)
            return true;
    return len > 12 && memcmp(name, "SATCHEL_VAR_", 12) == 0;
}

static const char *daemons_own(const char *name, size_t len)
{
    for (char **entry = environ; *entry; entry++)
        if (strncmp(*entry, name, len) == 0 && (*entry)[len] == '=')
            return *entry;
    return NULL;
}

/* ---- the base, once ---- */

/* Adds "NAME=value", over an earlier one of that name.  NULL entry: the daemon has none. */
static bool put_base(struct command *command, const char *entry)
{
    if (!entry)
        return true;
    char *copy = strdup(entry);
    if (!copy)
        return false;
    for (size_t i = 0; i < command->n_base; i++)
        if (command->base[i] && same_name(command->base[i], copy, strcspn(copy, "="))) {
            free(command->base[i]);
            command->base[i] = copy;
            return true;
        }
    command->base[command->n_base++] = copy;
    return true;
}

/* Another user's command is at home where that user is. */
static bool put_user(struct command *command)
{
    const struct config_confine *confine = &command->task->confine;
    const char *const names[] = {"HOME", "USER", "LOGNAME"};
    const char *const values[] = {confine->home, confine->login, confine->login};
    for (size_t i = 0; confine->identity && confine->login && i < 3; i++) {
        char *entry;
        if (asprintf(&entry, "%s=%s", names[i], values[i]) < 0)
            return false;
        bool put = put_base(command, entry);
        free(entry);
        if (!put)
            return false;
    }
    return true;
}

int command_environment_init(struct command *command, char *error, size_t error_size)
{
    static const char *const inherited[] = {"PATH", "LANG", "TZ", "HOME"};
    const struct config_list *list = &command->task->environment;
    command->base = calloc(list->n + sizeof inherited / sizeof inherited[0] + 3 + 1, sizeof(char *));
    bool room = command->base && put_base(command, PATH_DEFAULT);
    for (size_t i = 0; room && i < sizeof inherited / sizeof inherited[0]; i++)
        room = put_base(command, daemons_own(inherited[i], strlen(inherited[i])));
    room = room && put_user(command);
    for (size_t i = 0; room && i < list->n; i++) {
        const char *entry = list->items[i];
        size_t len = strcspn(entry, "=");
        if (is_reserved(entry, len)) {
            (void)snprintf(error, error_size, "%s: task \"%.80s\": environment: %.*s is set by satcheld itself",
                           command->task->where, command->task->name, (int)(len < 80 ? len : 80), entry);
            return -1;
        }
        room = put_base(command, entry[len] ? entry : daemons_own(entry, len));
    }
    if (!room)
        (void)snprintf(error, error_size, "out of memory");
    return room ? 0 : -1;
}

void command_environment_release(struct command *command)
{
    for (size_t i = 0; i < command->n_base; i++)
        free(command->base[i]);
    free(command->base);
}

/* ---- one attempt's ---- */

struct collect {
    struct buf *text; /* "NAME=value\0" one after the other */
    size_t n;
};

static void add(struct collect *c, const char *name, const char *value)
{
    if (!value)
        return;
    buf_append_str(c->text, name);
    buf_append_char(c->text, '=');
    buf_append(c->text, value, strlen(value) + 1);
    c->n++;
}

static void add_number(struct collect *c, const char *name, uint64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    add(c, name, text);
}

static void add_id(struct collect *c, const char *name, struct task_id id)
{
    char text[TASK_ID_TEXT_SIZE];
    if (task_id_is_none(id))
        return;
    task_id_format(id, text);
    add(c, name, text);
}

static char normalised(char c)
{
    if (c >= 'a' && c <= 'z')
        return (char)(c - 32);
    return (char)(c >= '0' && c <= '9' ? c : '_');
}

/* SATCHEL_VAR_NAME for each variable that was set through the body. */
static int add_variable(satchel_var *var, void *data, void *arg)
{
    struct collect *c = arg;
    char name[12 + 64 + 1] = "SATCHEL_VAR_";
    size_t at = 12;
    if (!satchel_var_is_task_variable(var) || satchel_var_flags(var) & SATCHEL_VAR_SECRET)
        return 0;
    for (const char *from = satchel_var_name(var); *from && at + 1 < sizeof name; from++, at++)
        name[at] = normalised(*from);
    name[at] = '\0';
    add(c, name, data);
    return 0;
}

static void add_known(struct collect *c, const satchel_context *context, const char *name, satchel_known which)
{
    satchel_value *value;
    if (satchel_context_get(context, satchel_known_var(which), &value) != SATCHEL_OK)
        return;
    add(c, name, satchel_value_data(value)); /* each of them begins with its text */
    satchel_value_unref(value);
}

/* The tasks that it waited for: ids, a space between; `satchel result ID` shows what each did. */
static void add_after(struct collect *c, const struct task_spec *spec)
{
    struct buf ids = BUF_INIT;
    if (!spec->after.len)
        return;
    task_after_list(spec, " ", &ids);
    if (buf_ok(&ids))
        add(c, "SATCHEL_AFTER", ids.data);
    else
        c->text->failed = true;
    buf_release(&ids);
}

/* What `satchel submit` in the command needs where callers must say who they are. */
static void add_token(struct collect *c, const struct attempt *attempt)
{
    char token[ATTEMPT_TOKEN_SIZE];
    if (!attempt->host || !attempt->host->token || !attempt->host->token(attempt->host_arg, attempt, token))
        return;
    add(c, "SATCHEL_TOKEN", token);
    explicit_bzero(token, sizeof token);
}

static bool add_own(struct collect *c, const struct command *command, const struct attempt *attempt,
                    const satchel_context *context)
{
    const struct task_spec *spec = attempt->spec;
    char *json;
    size_t len;
    add_known(c, context, "SATCHEL_TENANT", SATCHEL_TENANT);
    add_known(c, context, "SATCHEL_REQUEST_ID", SATCHEL_REQUEST_ID);
    add_known(c, context, "SATCHEL_DEADLINE", SATCHEL_DEADLINE);
    add_id(c, "SATCHEL_TASK_ID", spec->id);
    add(c, "SATCHEL_TASK", attempt->type->name);
    add_number(c, "SATCHEL_ATTEMPT", attempt->number);
    add_id(c, "SATCHEL_PARENT_ID", spec->parent);
    add_id(c, "SATCHEL_ROOT_ID", spec->root);
    add_number(c, "SATCHEL_MAX_ATTEMPTS", spec->max_attempts);
    add_after(c, spec);
    add_number(c, "SATCHEL_PROGRESS_FD", LAUNCH_PROGRESS);
    add(c, "SATCHEL_TENANT_HEADER", satchel_var_header(satchel_known_var(SATCHEL_TENANT))); /* for satchel in there */
    bool operators_url = false;
    for (size_t i = 0; i < command->n_base; i++)
        operators_url = operators_url || same_name(command->base[i], "SATCHEL_URL", 11);
    if (!operators_url)
        add(c, "SATCHEL_URL", attempt->url);
    add_token(c, attempt);
    (void)satchel_context_each(context, add_variable, c);
    if (satchel_context_to_json(context, 0, &json, &len) != SATCHEL_OK)
        return false;
    add(c, "SATCHEL_CONTEXT", json);
    satchel_free(json);
    return buf_ok(c->text);
}

int command_environment(const struct command *command, const struct attempt *attempt, struct environment *ret)
{
    struct environment e = {0};
    struct collect own = {&e.text, 0};
    satchel_context *context = propagate_permitted(attempt->type->propagate);
    bool ok = context && satchel_context_to_env(context, command->base, &e.propagated) == SATCHEL_OK &&
              add_own(&own, command, attempt, context);
    satchel_context_unref(context);
    size_t n = 0;
    while (ok && e.propagated[n])
        n++;
    if (ok)
        e.variables = calloc(n + own.n + 1, sizeof(char *));
    if (!e.variables) {
        environment_release(&e);
        return -1;
    }
    memcpy(e.variables, e.propagated, n * sizeof(char *));
    for (char *at = e.text.data; own.n; own.n--, at += strlen(at) + 1)
        e.variables[n++] = at;
    *ret = e;
    return 0;
}

void environment_release(struct environment *environment)
{
    satchel_free(environment->propagated);
    buf_release(&environment->text);
    free(environment->variables);
    *environment = (struct environment){0};
}
