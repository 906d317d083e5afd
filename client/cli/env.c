/* satchel env: the context that a submission from here would carry, as header fields, shell assignments or JSON.
 *     eval "$(satchel env --shell)"   keeps it for what a script starts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"

const struct option_spec env_options[] = {
    {"headers", NULL, "as header fields, for curl -H @- (the default)", 0},
    {"shell", NULL, "as export lines for a shell's eval", 0},
    {NULL, NULL, NULL, 0},
};

static int on_option(void *arg, const char *name, const char *value)
{
    (void)value;
    *(bool *)arg = strcmp(name, "shell") == 0;
    return 0;
}

static int put_header(const char *name, const char *value, size_t len, void *arg)
{
    (void)arg;
    (void)printf("%s: %.*s\n", name, (int)len, value);
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

int verb_env(int argc, char *const argv[])
{
    const struct verb *verb = verbs;
    while (strcmp(verb->name, "env") != 0)
        verb++;
    struct common common;
    satchel_client *client = NULL;
    const char *none[1];
    bool shell = false;
    int n;
    int code = options_parse(verb, argc, argv, &common, none, 0, &n, on_option, &shell);
    if (code == -1)
        code = cli_connect(&common, &client);
    if (code != -1)
        return code;
    satchel_client_unref(client);
    if (common.json)
        return print_json();
    return shell ? print_shell() : satchel_inject(NULL, put_header, NULL);
}
