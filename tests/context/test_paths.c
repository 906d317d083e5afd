/* Every path of paths.def is walked through the real daemon, and each of its cells is looked at.  A path without a
 * walk, a row without a cell for each variable, and a well-known variable without a column do not compile;
 * tests/sync/paths.sh finds what the code has and the tables have not. */
#include <satchel/context.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/context/paths.h"

const struct variable_row variable_rows[VARIABLES] = {
#define VARIABLE(id, known, name, field, environment, shell, sent) {name, field, environment, shell, sent},
#include "tests/context/variables.def"
#undef VARIABLE
};

/* Each well-known variable has a row: twice the same one is a case twice. */
#define UNKNOWN (-__LINE__)
enum {
    KNOWN_ROWS = 0
#define VARIABLE(id, known, name, field, environment, shell, sent) +((int)(known) >= 0)
#include "tests/context/variables.def"
#undef VARIABLE
};
_Static_assert(KNOWN_ROWS == (int)SATCHEL_KNOWN_COUNT,
               "a well-known variable has no row in tests/context/variables.def");
int known_rows_once(int known);
int known_rows_once(int known)
{
    switch (known) {
#define VARIABLE(id, known, name, field, environment, shell, sent)                                                     \
    case (known):                                                                                                      \
        return V_##id;
#include "tests/context/variables.def"
#undef VARIABLE
    default: return -1;
    }
}

enum cell { UNSET_CELL, SENT, OWN, SPAN, MASK, NONE };

#define PATH(id, sources, ...)                                                                                         \
    _Static_assert(sizeof((enum cell[]){__VA_ARGS__}) / sizeof(enum cell) == VARIABLES,                                \
                   "the row " #id " of tests/context/paths.def has not one cell for each variable");
#include "tests/context/paths.def"
#undef PATH

static const struct path {
    const char *name;
    void (*look)(struct seen *s);
    enum cell cells[VARIABLES];
} paths[] = {
#define PATH(id, sources, ...) {#id, look_##id, {__VA_ARGS__}},
#include "tests/context/paths.def"
#undef PATH
};
#define N_PATHS (sizeof paths / sizeof paths[0])

/* ---- one cell ---- */

static bool same(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

/* Of the trace that was sent, with its flags, and with a span that is neither the sender's nor the attempt's. */
static bool is_of_trace(const char *seen, const char *attempts)
{
    return seen && strlen(seen) == strlen(TRACEPARENT) && memcmp(seen, TRACEPARENT, 36) == 0 &&
           strcmp(seen + 52, &TRACEPARENT[52]) == 0 && memcmp(seen + 36, SPAN_ID, 16) != 0 && attempts &&
           strcmp(seen, attempts) != 0;
}

/* NULL: as the cell says; else what was expected. */
static const char *fault(enum cell cell, const struct seen *s, enum variable v)
{
    const char *value = s->value[v], *sent = variable_rows[v].sent, *own = s->own[v];
    switch (cell) {
    case SENT: return same(value, sent) ? NULL : sent ? sent : "(nobody sends it: the table is wrong)";
    case OWN: return same(value, own) ? NULL : own ? own : "(nobody said what is its own)";
    case SPAN: return is_of_trace(value, own) ? NULL : "a span of its own of that trace";
    case MASK: return same(value, "***") ? NULL : "***";
    case NONE: return value ? "nothing" : NULL;
    case UNSET_CELL: break;
    }
    return "(no cell)";
}

static void walk(void **state)
{
    const struct path *path = *state;
    struct seen s = {0};
    int faults = 0;
    path->look(&s);
    for (unsigned v = 0; v < VARIABLES; v++) {
        const char *expected = fault(path->cells[v], &s, (enum variable)v);
        if (expected)
            print_error("%s: %s is \"%s\", expected: %s\n", path->name, variable_rows[v].name,
                        s.value[v] ? s.value[v] : "(absent)", expected);
        faults += expected != NULL;
        free(s.value[v]);
        free(s.own[v]);
    }
    assert_int_equal(faults, 0);
}

/* ---- the daemon ---- */

static int start(void **state)
{
    (void)state;
    char config[4096];
    receiver_start(&hook);
    receiver_start(&spans);
    (void)snprintf(config, sizeof config,
                   "workers = 1\n" /* so that a path can tell what runs and what waits */
                   "drain = \"300ms\"\n"
                   "otlp_endpoint = \"%s\"\nspan_delay = \"10ms\"\n"
                   "header \"X-Region\" { var = \"region\" }\n"
                   "header \"X-Api-Key\" { var = \"api_key\" secret = true }\n"
                   "plugin \"" TEST_BUILD_DIR "/tests/context/.libs/plugin_seen.so\" {}\n"
                   "task \"env\" { command = {\"/usr/bin/env\"} }\n"
                   "task \"env.trace\" { command = {\"/usr/bin/env\"} propagate = {\"trace\"} }\n"
                   "task \"submit\" { command = {\"" TEST_BUILD_DIR "/client/satchel\", \"submit\", \"seen\"} }\n"
                   "task \"call\" { url = \"%s/call\" allow = {\"127.0.0.1\"} }\n"
                   "task \"call.any\" { url = \"{{args.url}}\" allow = {\"127.0.0.1\"} }\n",
                   spans.url, hook.url);
    satcheld_init(&d, config);
    d.max_error_logs = 1; /* LOG_LINE provokes one */
    satcheld_start(&d);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    satcheld_stop(&d);
    satcheld_release(&d);
    receiver_stop(&spans);
    receiver_stop(&hook);
    return 0;
}

int main(void)
{
    struct CMUnitTest tests[N_PATHS];
    for (size_t i = 0; i < N_PATHS; i++)
        tests[i] = (struct CMUnitTest){paths[i].name, walk, NULL, NULL, (void *)(uintptr_t)&paths[i]};
    return cmocka_run_group_tests(tests, start, stop);
}
