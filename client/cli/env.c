/* satchel env: the context that a submission from here would carry, as header fields, shell assignments or JSON.
 *     eval "$(satchel env --shell)"   keeps it for what a script starts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"

#define CARRIER "SATCHEL_CONTEXT" /* the exact form, which the library reads first */

static int on_option(void *arg, const char *name, const char *value)
{
    (void)value;
    *(bool *)arg = strcmp(name, "shell") == 0;
    return 0;
}

static int put_header(const char *name, const char *value, size_t len, void *arg)
{
    if (!cli_has_header(arg, name))
        (void)printf("%s: %.*s\n", name, (int)len, value);
    return 0;
}

static int print_headers(struct common *common)
{
    (void)satchel_inject(NULL, put_header, common);
    for (unsigned i = 0; i < common->n_headers; i++)
        (void)printf("%s\n", common->headers[i]);
    return 0;
}

/* 'value' with every quote as '\'' : safe whatever the bytes are. */
static void put_quoted(const char *value)
{
    (void)putchar('\'');
    for (; *value; value++) {
        if (*value == '\'')
            (void)fputs("'\\''", stdout);
        else
            (void)putchar(*value);
    }
    (void)putchar('\'');
}

static bool is_identifier(const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
        if (!letter && !(i > 0 && c >= '0' && c <= '9'))
            return false;
    }
    return len > 0;
}

static void put_export(const char *name, size_t len, const char *value)
{
    if (!is_identifier(name, len))
        return;
    (void)printf("export %.*s=", (int)len, name);
    put_quoted(value);
    (void)putchar('\n');
}

static bool is_in(char *const *env, const char *entry)
{
    size_t len = strcspn(entry, "=") + 1;
    for (; *env; env++)
        if (strncmp(*env, entry, len) == 0)
            return true;
    return false;
}

/* What names a context in the shell's environment and is not part of this one. */
static void put_unsets(char *const *kept)
{
    for (char **at = environ; *at; at++) {
        size_t len = strcspn(*at, "=");
        if ((*at)[len] == '=' && is_identifier(*at, len) && !is_in(kept, *at) &&
            strncmp(*at, CARRIER "=", len + 1) != 0)
            (void)printf("unset %.*s\n", (int)len, *at);
    }
}

/* The names for shell authors, which count more than the library's: where they are, they have to say the same. */
static void put_shell_names(void)
{
    static const struct {
        const char *name;
        satchel_known which;
    } names[] = {{"SATCHEL_TENANT", SATCHEL_TENANT},
                 {"SATCHEL_REQUEST_ID", SATCHEL_REQUEST_ID},
                 {"SATCHEL_DEADLINE", SATCHEL_DEADLINE}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        void *text;
        if (!getenv(names[i].name))
            continue;
        if (satchel_get(satchel_known_var(names[i].which), &text) == SATCHEL_OK)
            put_export(names[i].name, strlen(names[i].name), text);
        else
            (void)printf("unset %s\n", names[i].name);
    }
}

static int print_shell(void)
{
    char *const nothing[] = {NULL};
    char **env = NULL, **whole = NULL, *carrier = NULL;
    bool good = satchel_context_to_env(NULL, nothing, &env) == SATCHEL_OK &&
                satchel_context_to_env(NULL, environ, &whole) == SATCHEL_OK &&
                satchel_context_to_json(NULL, 0, &carrier, NULL) == SATCHEL_OK;
    if (good) {
        put_unsets(whole);
        for (char **at = env; *at; at++) {
            size_t len = strcspn(*at, "=");
            put_export(*at, len, *at + len + 1);
        }
        put_shell_names();
        put_export(CARRIER, sizeof CARRIER - 1, carrier); /* the exact names: X_SATCHEL_VAR_A_B may be a.b or a-b */
    }
    satchel_free(env);
    satchel_free(whole);
    satchel_free(carrier);
    return good ? 0 : EXIT_SOFTWARE;
}

static int print_json(void)
{
    char *json;
    if (satchel_context_to_json(NULL, 0, &json, NULL) != SATCHEL_OK)
        return EXIT_SOFTWARE;
    (void)printf("%s\n", json);
    satchel_free(json);
    return 0;
}

int verb_env(const struct verb *verb, int argc, char *const argv[])
{
    struct common common;
    const char *none[1];
    bool shell = false;
    int n;
    int code = options_parse(verb, argc, argv, &common, none, 0, &n, on_option, &shell);
    if (code == -1 && (shell || common.json) && common.n_headers)
        code = usage(verb, "--header goes into headers alone: the environment has no place for it");
    if (code == -1)
        code = cli_enter_context(&common);
    if (code != -1)
        return code;
    if (common.json)
        return print_json();
    return shell ? print_shell() : print_headers(&common);
}
