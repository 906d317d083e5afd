/* The options of all verbs, one table, and the walk over a verb's arguments. */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "proto/timetext.h"

#define MAX_OPTIONS 64

struct option_spec {
    unsigned group;
    const char *name;  /* long name, without the dashes */
    const char *value; /* placeholder of its argument; NULL: a flag */
    char letter;       /* short form; 0: none */
    const char *help;
};

static const struct option_spec specs[] = {
#define OPTION(group, name, value, letter, help) {group, name, value, letter, help},
#include "client/cli/options.def"
#undef OPTION
};
#define N_SPECS (sizeof specs / sizeof specs[0])

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

static void print_options(unsigned groups)
{
    for (size_t i = 0; i < N_SPECS; i++) {
        const struct option_spec *o = &specs[i];
        char left[64];
        if (!(o->group & groups))
            continue;
        (void)snprintf(left, sizeof left, "%c%c%s--%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
                       o->letter ? ", " : "  ", o->name, o->value ? "=" : "", o->value ? o->value : "");
        (void)printf("  %-28s %s\n", left, o->help);
    }
}

static void print_verb_help(const struct verb *verb)
{
    (void)printf("Usage: satchel %s [OPTION]...%s%s\n%s\n\n", verb->name, *verb->arguments ? " " : "", verb->arguments,
                 verb->summary);
    print_options(verb->groups);
    print_options(FOR_ALL);
}

/* The table as getopt_long wants it.  Every option's value is its index + 1000, so that letters do not collide. */
struct parser {
    const struct option_spec *specs[MAX_OPTIONS];
    struct option longs[MAX_OPTIONS];
    char shorts[2 * MAX_OPTIONS + 3];
    int n;
};

static void add_specs(struct parser *p, unsigned groups)
{
    p->shorts[0] = ':'; /* a missing argument is told apart from an unknown option */
    for (size_t i = 0; i < N_SPECS && p->n < MAX_OPTIONS - 1; i++) {
        const struct option_spec *o = &specs[i];
        if (!(o->group & groups))
            continue;
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
    else if (strcmp(name, "cert") == 0)
        c->cert_file = value;
    else if (strcmp(name, "key") == 0)
        c->key_file = value;
    else if (strcmp(name, "tenant") == 0)
        c->tenant = value;
    else if (strcmp(name, "json") == 0)
        c->json = true;
    else if (strcmp(name, "header") == 0) {
        if (!strchr(value, ':') || *value == ':' || strpbrk(value, "\r\n") || c->n_headers == MAX_HEADERS)
            return usage(c->verb, "--header takes \"Name: value\", at most %d times", MAX_HEADERS);
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
    add_specs(&p, verb->groups | FOR_ALL);
    *common = (struct common){.verb = verb};
    opterr = 0;
    optind = 1;
    for (;;) {
        int found = getopt_long(argc, argv, p.shorts, p.longs, NULL);
        if (found == -1)
            break;
        if (found == ':')
            return usage(verb, "%s needs an argument", argv[optind - 1]);
        const struct option_spec *spec = found == '?' ? NULL : spec_of(&p, found);
        if (!spec)
            return usage(verb, "%s is not an option, or is short for several, or takes no argument", argv[optind - 1]);
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
