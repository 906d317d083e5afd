/* satchel: finds the verb in the table and runs it. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "client/cli/cli.h"
#include "proto/json_in.h"

const struct verb verbs[] = {
    {"submit", "TASK [ARGS]", "submit a task and print its id", submit_options, verb_submit},
    {"run", "TASK [ARGS]", "submit, wait, print the result, exit with the outcome", run_options, verb_run},
    {"get", "ID...", "show tasks", get_options, verb_get},
    {"wait", "ID...", "wait until tasks are finished", wait_options, verb_wait},
    {"result", "ID", "print the result of a finished task", result_options, verb_result},
    {"list", "", "list tasks, newest first", list_options, verb_list},
    {"cancel", "ID...", "cancel tasks, also running ones", cancel_options, verb_cancel},
    {"env", "", "print the caller's own context", env_options, verb_env},
    {NULL, NULL, NULL, NULL, NULL},
};

static void print_help(void)
{
    (void)printf("Usage: satchel VERB [OPTION]... [ARGUMENT]...\n"
                 "Submits tasks to satcheld and asks for them, with the context of the environment.\n\nVerbs:\n");
    for (const struct verb *verb = verbs; verb->name; verb++)
        (void)printf("  %-8s %s\n", verb->name, verb->summary);
    (void)printf(
        "\nsatchel VERB --help shows the options of a verb; the manual is satchel(1).\n"
        "Environment: SATCHEL_URL, SATCHEL_TOKEN; TRACEPARENT, TRACESTATE, BAGGAGE, SATCHEL_* (the context).\n");
}

int main(int argc, char *argv[])
{
    json_in_init();
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
    for (const struct verb *verb = verbs; verb->name; verb++)
        if (strcmp(argv[1], verb->name) == 0)
            return verb->run(argc - 1, argv + 1);
    (void)fprintf(stderr, "satchel: there is no verb %s\nTry 'satchel --help'.\n", argv[1]);
    return EXIT_USAGE;
}
