/* satchel env: the context that a submission from here would carry, as header fields, shell assignments or JSON.
 *     eval "$(satchel env --shell)"   keeps it for what a script starts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"

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

static int print_shell(void)
{
    char *const nothing[] = {NULL};
    char **env;
    if (satchel_context_to_env(NULL, nothing, &env) != SATCHEL_OK)
        return EXIT_SOFTWARE;
    for (char **at = env; *at; at++) {
        size_t len = strcspn(*at, "=");
        (void)printf("export %.*s=", (int)len, *at);
        put_quoted(*at + len + 1);
        (void)putchar('\n');
    }
    satchel_free(env);
    return 0;
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
    if (code == -1)
        code = cli_enter_context(&common);
    if (code != -1)
        return code;
    if (common.json)
        return print_json();
    return shell ? print_shell() : print_headers(&common);
}
