/* Options: the common ones, a verb's own, and the client and context that they describe. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "proto/timetext.h"

#define MAX_OPTIONS 64

const struct option_spec common_options[] = {
    {"url", "URL", "where satcheld is: http://HOST:PORT, https://..., unix:/path", 0},
    {"token-file", "FILE", "read the bearer token from FILE", 0},
    {"ca-file", "FILE", "trust the certificates in FILE", 0},
    {"tenant", "NAME", "the tenant; replaces the environment's", 't'},
    {"header", "LINE", "a further header field, \"Name: value\"; replaces the context's; repeatable", 'H'},
    {"json", NULL, "print JSON, one document a line", 'j'},
    {"help", NULL, "show this help", 'h'},
    {NULL, NULL, NULL, 0},
};

int usage(const struct verb *verb, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fprintf(stderr, "satchel %s: ", verb->name);
    (void)vfprintf(stderr, format, args);
    (void)fprintf(stderr, "\nTry 'satchel %s --help'.\n", verb->name);
    va_end(args);
    return EXIT_USAGE;
}

static void print_options(const struct option_spec *options)
{
    for (const struct option_spec *o = options; o->name; o++) {
        char left[64];
        (void)snprintf(left, sizeof left, "%c%c%s--%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
                       o->letter ? ", " : "  ", o->name, o->value ? "=" : "", o->value ? o->value : "");
        (void)printf("  %-28s %s\n", left, o->help);
    }
}

void print_verb_help(const struct verb *verb)
{
    (void)printf("Usage: satchel %s [OPTION]... %s\n%s\n\n", verb->name, verb->arguments, verb->summary);
    print_options(verb->options);
    print_options(common_options);
}

/* The tables as getopt_long wants them.  Every option's value is its index + 1000, so that letters do not collide. */
struct parser {
    const struct option_spec *specs[MAX_OPTIONS];
    struct option longs[MAX_OPTIONS];
    char shorts[2 * MAX_OPTIONS + 2];
    int n;
};

static void add_specs(struct parser *p, const struct option_spec *specs)
{
    for (const struct option_spec *o = specs; o->name && p->n < MAX_OPTIONS - 1; o++) {
        p->specs[p->n] = o;
        p->longs[p->n] = (struct option){o->name, o->value ? required_argument : no_argument, NULL, 1000 + p->n};
        if (o->letter) {
            size_t len = strlen(p->shorts);
            p->shorts[len] = o->letter;
            if (o->value)
                p->shorts[len + 1] = ':';
        }
        p->n++;
    }
}

static const struct option_spec *spec_of(const struct parser *p, int found)
{
    if (found >= 1000)
        return p->specs[found - 1000];
    for (int i = 0; i < p->n; i++)
        if (p->specs[i]->letter == found)
            return p->specs[i];
    return NULL;
}

/* -1: not a common option; 0: taken; else an exit code. */
static int take_common(struct common *c, const char *name, const char *value)
{
    if (strcmp(name, "url") == 0)
        c->url = value;
    else if (strcmp(name, "token-file") == 0)
        c->token_file = value;
    else if (strcmp(name, "ca-file") == 0)
        c->ca_file = value;
    else if (strcmp(name, "tenant") == 0)
        c->tenant = value;
    else if (strcmp(name, "json") == 0)
        c->json = true;
    else if (strcmp(name, "header") == 0) {
        if (!strchr(value, ':') || strpbrk(value, "\r\n") || c->n_headers == 64)
            return usage(c->verb, "--header takes \"Name: value\", at most 64 times");
        c->headers[c->n_headers++] = value;
    } else
        return -1;
    return 0;
}

int options_parse(const struct verb *verb, int argc, char *const argv[], struct common *common, const char *operands[],
                  int max_operands, int *ret_n, int (*on_option)(void *arg, const char *name, const char *value),
                  void *arg)
{
    struct parser p = {.n = 0};
    add_specs(&p, verb->options);
    add_specs(&p, common_options);
    *common = (struct common){.verb = verb};
    opterr = 0;
    optind = 1;
    for (;;) {
        int found = getopt_long(argc, argv, p.shorts, p.longs, NULL);
        if (found == -1)
            break;
        const struct option_spec *spec = found == '?' || found == ':' ? NULL : spec_of(&p, found);
        if (!spec)
            return usage(verb, "%s is not an option, or its argument is missing", argv[optind - 1]);
        if (strcmp(spec->name, "help") == 0) {
            print_verb_help(verb);
            return 0;
        }
        int code = take_common(common, spec->name, optarg);
        if (code == -1)
            code = on_option ? on_option(arg, spec->name, optarg) : -1;
        if (code)
            return code;
    }
    *ret_n = argc - optind;
    if (*ret_n > max_operands)
        return usage(verb, "too many arguments: %s", argv[optind + max_operands]);
    for (int i = 0; i < *ret_n; i++)
        operands[i] = argv[optind + i];
    return -1;
}

bool parse_ms(const char *text, int64_t *ret_ms)
{
    int64_t us;
    if (!duration_parse(text, strlen(text), &us))
        return false;
    *ret_ms = (us + 999) / 1000;
    return true;
}

/* ---- the context ---- */

/* What shells know the values as, beside the normalised header names that the library reads. */
static void take_shell_name(const char *name, satchel_known which)
{
    const char *text = getenv(name);
    if (text && *text)
        (void)satchel_set_string(satchel_known_var(which), text, NULL);
}

static void take_shell_variables(void)
{
    static const char prefix[] = "SATCHEL_VAR_";
    extern char **environ;
    for (char **at = environ; *at; at++) {
        if (strncmp(*at, prefix, sizeof prefix - 1) != 0)
            continue;
        const char *equals = strchr(*at, '=');
        size_t len = (size_t)(equals - *at) - (sizeof prefix - 1);
        char name[65];
        if (!equals || len < 1 || len > 64)
            continue;
        for (size_t i = 0; i < len; i++) {
            char c = (*at)[sizeof prefix - 1 + i];
            name[i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
        }
        name[len] = '\0';
        satchel_var *var;
        if (satchel_variable(name, &var) != SATCHEL_OK)
            continue;
        if (!getenv("SATCHEL_CONTEXT")) /* the exact carrier is there: names do not have to be guessed */
            (void)satchel_set_string(var, equals + 1, NULL);
        satchel_var_unref(var);
    }
}

static int enter_context(struct common *common)
{
    satchel_context *ctx;
    int status = satchel_context_from_env(NULL, &ctx);
    if (status == SATCHEL_OK) {
        status = satchel_context_enter(ctx);
        satchel_context_unref(ctx); /* entered: it stays until the process ends */
    }
    if (status != SATCHEL_OK) {
        (void)fprintf(stderr, "satchel %s: the environment's tenant cannot be used: %s\n", common->verb->name,
                      satchel_strerror(status));
        return EXIT_DATA;
    }
    take_shell_name("SATCHEL_TENANT", SATCHEL_TENANT);
    take_shell_name("SATCHEL_REQUEST_ID", SATCHEL_REQUEST_ID);
    take_shell_name("SATCHEL_DEADLINE", SATCHEL_DEADLINE);
    take_shell_variables();
    if (common->tenant && satchel_set_string(satchel_known_var(SATCHEL_TENANT), common->tenant, NULL) != SATCHEL_OK) {
        (void)fprintf(stderr, "satchel %s: --tenant takes 1-150 of A-Z a-z 0-9 ! - _ . * ' ( )\n", common->verb->name);
        return EXIT_DATA;
    }
    return -1;
}

/* A --header replaces what the context would send under the same name. */
static void drop_replaced(const struct common *common)
{
    for (unsigned i = 0; i < common->n_headers; i++) {
        size_t len = strcspn(common->headers[i], ":");
        for (int k = 0; k < SATCHEL_KNOWN_COUNT; k++) {
            satchel_var *var = satchel_known_var((satchel_known)k);
            const char *header = satchel_var_header(var);
            if (header && strlen(header) == len && strncasecmp(header, common->headers[i], len) == 0)
                (void)satchel_unset(var, NULL);
        }
    }
}

static int read_token(struct common *common)
{
    int fd = open(common->token_file, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, common->token, sizeof common->token - 1);
    if (fd >= 0)
        (void)close(fd);
    if (n < 0) {
        (void)fprintf(stderr, "satchel %s: cannot read %s: %s\n", common->verb->name, common->token_file,
                      strerror(errno));
        return EXIT_CONFIG;
    }
    common->token[strcspn(common->token, "\r\n")] = '\0';
    return -1;
}

int cli_connect(struct common *common, satchel_client **ret)
{
    int code = enter_context(common);
    if (code == -1 && common->token_file)
        code = read_token(common);
    if (code != -1)
        return code;
    drop_replaced(common);
    /* Calls about a task carry the tenant, too: a submission sends it with the context. */
    satchel_client_options options = {.struct_size = sizeof options,
                                      .url = common->url,
                                      .token = common->token_file ? common->token : NULL,
                                      .ca_file = common->ca_file,
                                      .headers = common->n_headers ? common->headers : NULL};
    satchel_error error = SATCHEL_ERROR_INIT;
    if (satchel_client_new(&options, ret, &error) != SATCHEL_OK)
        return fail(common, &error);
    return -1;
}
