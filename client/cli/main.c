/* satchel: finds the verb in the table and runs it. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/cli/cli.h"
#include "proto/json_in.h"

static const struct verb verbs[] = {
#define VERB(name, arguments, summary, groups) {#name, arguments, summary, groups, verb_##name},
#include "client/cli/verbs.def"
#undef VERB
};
#define N_VERBS (sizeof verbs / sizeof verbs[0])

static void print_help(void)
{
    (void)printf("Usage: satchel VERB [OPTION]... [ARGUMENT]...\n"
                 "Submits tasks to satcheld and asks for them, with the context of the environment.\n\nVerbs:\n");
    for (size_t i = 0; i < N_VERBS; i++)
        (void)printf("  %-8s %s\n", verbs[i].name, verbs[i].summary);
    (void)printf("\nsatchel VERB --help shows the options of a verb; the manual is satchel(1).\n"
                 "Environment: SATCHEL_URL, SATCHEL_TOKEN, SATCHEL_CA_FILE, SATCHEL_CERT, SATCHEL_KEY; TRACEPARENT, "
                 "TRACESTATE, BAGGAGE, SATCHEL_* (the context).\n");
}

static int run(int argc, char *const argv[])
{
    if (argc < 2) {
        (void)fprintf(stderr, "satchel: a verb is missing\nTry 'satchel --help'.\n");
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_help();
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)printf("satchel %s\n", PACKAGE_VERSION);
        return 0;
    }
    for (size_t i = 0; i < N_VERBS; i++)
        if (strcmp(argv[1], verbs[i].name) == 0)
            return verbs[i].run(&verbs[i], argc - 1, argv + 1);
    (void)fprintf(stderr, "satchel: there is no verb %s\nTry 'satchel --help'.\n", argv[1]);
    return EXIT_USAGE;
}

int main(int argc, char *argv[])
{
    json_in_init();
    int code = run(argc, argv);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    (void)fprintf(stderr, "satchel: the output could not be written: %s\n", strerror(errno));
    return code ? code : EXIT_OUTPUT;
}
