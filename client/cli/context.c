/* The context of the environment: what libsatchel reads (TRACEPARENT, TRACESTATE, BAGGAGE, the normalised header names,
 * SATCHEL_CONTEXT), the names for shell authors over it, and --tenant over all.  What is bad in SATCHEL_* is refused:
 * a task must not run without what its author set. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "proto/json_in.h"

#define VAR_PREFIX "SATCHEL_VAR_"
#define CARRIER "SATCHEL_CONTEXT"
#define VALUE_MAX 16384

bool cli_has_header(const struct common *common, const char *name)
{
    size_t len = strlen(name);
    for (unsigned i = 0; i < common->n_headers; i++)
        if (strncasecmp(common->headers[i], name, len) == 0 && common->headers[i][len] == ':')
            return true;
    return false;
}

static bool tenant_is_told(const struct common *common)
{
    const char *shell = getenv("SATCHEL_TENANT");
    return common->tenant || (shell && *shell) ||
           cli_has_header(common, satchel_var_header(satchel_known_var(SATCHEL_TENANT))) ||
           cli_has_header(common, "X-Scope-OrgID");
}

/* ---- headers that the operator named: the daemon knows them, this process learns them from the carrier ---- */

static void declare_header(const char *name)
{
    static const char task_variable[] = "x-satchel-var-";
    satchel_var_spec spec = {.struct_size = sizeof spec,
                             .name = name,
                             .type = &satchel_string_type,
                             .header = name,
                             .max_len = VALUE_MAX,
                             .flags = SATCHEL_VAR_WIRE};
    satchel_var *var;
    if (strncasecmp(name, task_variable, sizeof task_variable - 1) != 0)
        (void)satchel_var_new(&spec, &var); /* for the process's life; those that are known already are refused */
}

static void declare_headers(void)
{
    char why[JSON_IN_ERROR_SIZE];
    const char *text = getenv(CARRIER), *name;
    json_t *carrier = text ? json_in_load(slice_str(text), 8, why) : NULL, *value;
    json_object_foreach(json_object_get(carrier, "vars"), name, value)
    {
        declare_header(name);
    }
    json_decref(carrier);
}

/* ---- the library's names ---- */

/* environ without the tenant: another one is told, and a bad one does not matter. */
static char **environment_without_tenant(void)
{
    size_t n = 0, kept = 0;
    while (environ[n])
        n++;
    char **copy = calloc(n + 1, sizeof *copy);
    for (size_t i = 0; copy && i < n; i++)
        if (strncmp(environ[i], "X_TENANT_ID=", 12) != 0 && strncmp(environ[i], "X_SCOPE_ORGID=", 14) != 0)
            copy[kept++] = environ[i];
    return copy;
}

static int enter_environment(const struct common *common)
{
    satchel_context *ctx;
    char **env = tenant_is_told(common) ? environment_without_tenant() : environ;
    int status = env ? satchel_context_from_env(env, &ctx) : SATCHEL_ENOMEM;
    if (env != environ)
        free(env);
    if (status == SATCHEL_OK) {
        status = satchel_context_enter(ctx);
        satchel_context_unref(ctx); /* entered: it stays until the process ends */
    }
    if (status == SATCHEL_OK)
        return -1;
    complain(common, "the tenant in the environment (X_TENANT_ID, X_SCOPE_ORGID) cannot be used: %s",
             satchel_strerror(status));
    return status == SATCHEL_ENOMEM ? EXIT_SOFTWARE : EXIT_DATA;
}

/* ---- the names for shell authors ---- */

static int take_shell_name(const struct common *common, const char *name, satchel_known which)
{
    const char *text = getenv(name);
    if (!text || !*text)
        return -1;
    int status = satchel_set_string(satchel_known_var(which), text, NULL);
    if (status == SATCHEL_OK)
        return -1;
    complain(common, "%s=%s cannot be used: %s", name, text, satchel_strerror(status));
    return status == SATCHEL_ENOMEM ? EXIT_SOFTWARE : EXIT_DATA;
}

struct match { /* the task's variables that an environment name stands for */
    const char *name, *value;
    size_t len;
    satchel_var *var; /* the last one; a reference */
    unsigned n;
    bool same; /* one of them has that value */
};

static char normalised(char c)
{
    if (c >= 'a' && c <= 'z')
        return (char)(c - 32);
    return (char)((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ? c : '_');
}

static int match_variable(satchel_var *var, void *data, void *arg)
{
    struct match *m = arg;
    const char *name = satchel_var_name(var);
    if (!satchel_var_is_task_variable(var) || strlen(name) != m->len)
        return 0;
    for (size_t i = 0; i < m->len; i++)
        if (normalised(name[i]) != m->name[i])
            return 0;
    satchel_var_unref(m->var);
    m->var = satchel_var_ref(var);
    m->same = m->same || strcmp(data, m->value) == 0;
    m->n++;
    return 0;
}

static int new_variable(struct match *m)
{
    char name[65];
    if (m->len >= sizeof name)
        return SATCHEL_EINVAL;
    for (size_t i = 0; i < m->len; i++)
        name[i] = (char)(m->name[i] >= 'A' && m->name[i] <= 'Z' ? m->name[i] + 32 : m->name[i]);
    name[m->len] = '\0';
    return satchel_variable(name, &m->var);
}

/* SATCHEL_VAR_NAME=value: over the variable of SATCHEL_CONTEXT that is called so, or a new one. */
static int take_variable(const struct common *common, const char *entry)
{
    struct match m = {.name = entry + sizeof VAR_PREFIX - 1};
    m.len = strcspn(m.name, "=");
    m.value = m.name + m.len + 1;
    int status = SATCHEL_OK;
    (void)satchel_context_each(NULL, match_variable, &m);
    if (m.n == 0)
        status = new_variable(&m);
    bool unclear = m.n > 1 && !m.same; /* "a.b" and "a-b" look the same here */
    if (status == SATCHEL_OK && m.n <= 1)
        status = satchel_set_string(m.var, m.value, NULL);
    satchel_var_unref(m.var);
    if (status == SATCHEL_OK && !unclear)
        return -1;
    complain(common, "%.*s %s; use --context", (int)(sizeof VAR_PREFIX - 1 + m.len), entry,
             unclear ? "stands for more than one variable of this task" : "is not the name of a context variable");
    return EXIT_DATA;
}

static int take_variables(const struct common *common)
{
    for (char **at = environ; *at; at++) {
        if (strncmp(*at, VAR_PREFIX, sizeof VAR_PREFIX - 1) != 0 || !strchr(*at, '='))
            continue;
        int code = take_variable(common, *at);
        if (code != -1)
            return code;
    }
    return -1;
}

/* ---- all of it ---- */

static int configure(const struct common *common)
{
    const char *header = getenv("SATCHEL_TENANT_HEADER");
    if (!header || !*header || satchel_configure_header(SATCHEL_TENANT, header) == SATCHEL_OK)
        return -1;
    complain(common, "SATCHEL_TENANT_HEADER=%s is not a header name that can be used", header);
    return EXIT_CONFIG;
}

int cli_enter_context(const struct common *common)
{
    int code = configure(common);
    declare_headers();
    if (code == -1)
        code = enter_environment(common);
    if (code == -1)
        code = take_shell_name(common, "SATCHEL_TENANT", SATCHEL_TENANT);
    if (code == -1)
        code = take_shell_name(common, "SATCHEL_REQUEST_ID", SATCHEL_REQUEST_ID);
    if (code == -1)
        code = take_shell_name(common, "SATCHEL_DEADLINE", SATCHEL_DEADLINE);
    if (code == -1)
        code = take_variables(common);
    if (code == -1 && common->tenant &&
        satchel_set_string(satchel_known_var(SATCHEL_TENANT), common->tenant, NULL) != SATCHEL_OK) {
        complain(common, "--tenant takes 1-150 of A-Z a-z 0-9 ! - _ . * ' ( )");
        code = EXIT_DATA;
    }
    return code;
}
