/* satchel context: every variable of a task's context, where it came from and where it went, as a table. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "proto/buf.h"
#include "proto/json_in.h"

#define COLUMNS 5
#define WIDEST 56 /* a traceparent fits */

struct table {
    char **cells; /* COLUMNS a row; owned */
    size_t n, cap;
    size_t widths[COLUMNS];
    bool failed; /* no memory */
};

/* Takes the text over. */
static void add_cell(struct table *t, char *text)
{
    if (t->n == t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 64;
        char **cells = realloc(t->cells, cap * sizeof *cells);
        if (cells) {
            t->cells = cells;
            t->cap = cap;
        }
    }
    if (!text || t->n == t->cap) {
        t->failed = true;
        free(text);
        return;
    }
    size_t len = strlen(text), *width = &t->widths[t->n % COLUMNS];
    t->cells[t->n++] = text;
    if (len > *width && len <= WIDEST)
        *width = len;
}

static void add_text(struct table *t, const char *text)
{
    add_cell(t, strdup(text ? text : ""));
}

static void print_table(struct table *t)
{
    for (size_t i = 0; i + COLUMNS <= t->n && !t->failed; i += COLUMNS) {
        size_t last = COLUMNS;
        while (last > 0 && !*t->cells[i + last - 1])
            last--;
        for (size_t column = 0; column < last; column++) {
            const char *text = t->cells[i + column];
            size_t len = strlen(text);
            say_to(stdout, text, len);
            size_t end = len > t->widths[column] ? len + 2 : t->widths[column] + 2;
            for (; column + 1 < last && len < end; len++)
                (void)putchar(' ');
        }
        (void)putchar('\n');
    }
    for (size_t i = 0; i < t->n; i++)
        free(t->cells[i]);
    free(t->cells);
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

/* "environment /usr/bin/env as X_TENANT_ID" */
static void add_destination(struct table *t, const json_t *sent)
{
    const char *to = text_of(sent, "to"), *target = text_of(sent, "target"), *as = text_of(sent, "as");
    struct buf text = BUF_INIT;
    const json_t *attempt = json_object_get(sent, "attempt");
    if (attempt)
        buf_printf(&text, "%.0f", json_number_value(attempt));
    add_text(t, text.data);
    t->failed = t->failed || !buf_ok(&text);
    buf_reset(&text);
    buf_append_str(&text, to ? to : "");
    if (target)
        buf_printf(&text, " %s", target);
    if (as)
        buf_printf(&text, " as %s", as);
    add_cell(t, buf_take(&text, NULL));
}

static void add_variable(struct table *t, const char *name, const json_t *variable)
{
    const json_t *sent = json_object_get(variable, "sent");
    size_t n = json_array_size(sent);
    for (size_t i = 0; i == 0 || i < n; i++) {
        add_text(t, i ? "" : name);
        add_text(t, i ? "" : text_of(variable, "value"));
        add_text(t, i ? "" : text_of(variable, "origin"));
        if (n) {
            add_destination(t, json_array_get(sent, i));
        } else {
            add_text(t, "");
            add_text(t, "nowhere yet");
        }
    }
}

static int print_context(const struct common *common, const char *json, size_t len)
{
    static const char *const titles[COLUMNS] = {"VARIABLE", "VALUE", "ORIGIN", "ATTEMPT", "SENT TO"};
    char why[JSON_IN_ERROR_SIZE];
    struct table table = {0};
    const char *name;
    json_t *answer = json_in_load(slice_of(json, len), 64, why), *variable;
    json_t *variables = json_object_get(answer, "variables");
    if (!json_is_object(variables)) {
        complain(common, "the answer is not a task's context");
        json_decref(answer);
        return EXIT_UNREACHABLE;
    }
    for (size_t i = 0; i < COLUMNS; i++)
        add_text(&table, titles[i]);
    json_object_foreach(variables, name, variable)
    {
        add_variable(&table, name, variable);
    }
    json_decref(answer);
    print_table(&table);
    if (table.failed)
        complain(common, "out of memory");
    return table.failed ? EXIT_SOFTWARE : 0;
}

int show_details(const struct verb *verb, int argc, char *const argv[],
                 int (*ask)(satchel_future *future, char **json, size_t *len, satchel_error *error),
                 int (*print)(const struct common *common, const char *json, size_t len))
{
    struct common common;
    satchel_client *client = NULL;
    satchel_future *future = NULL;
    satchel_error error = SATCHEL_ERROR_INIT;
    const char *id[1];
    char *json = NULL;
    size_t len;
    int n;
    int code = options_parse(verb, argc, argv, &common, id, 1, &n, NULL, NULL);
    if (code == -1 && n == 0)
        code = usage(verb, "a task's id is missing");
    if (code == -1)
        code = cli_connect(&common, &client);
    if (code == -1 && (satchel_future_open(client, id[0], &future, &error) != SATCHEL_OK ||
                       ask(future, &json, &len, &error) != SATCHEL_OK))
        code = fail(&common, &error);
    if (code == -1 && common.json)
        code = printf("%s\n", json) < 0 ? EXIT_OUTPUT : 0;
    else if (code == -1)
        code = print(&common, json, len);
    satchel_free(json);
    satchel_future_free(future);
    satchel_client_unref(client);
    return code;
}

int verb_context(const struct verb *verb, int argc, char *const argv[])
{
    return show_details(verb, argc, argv, satchel_future_context, print_context);
}
