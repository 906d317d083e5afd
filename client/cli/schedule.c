/* satchel schedule: what is submitted by the clock. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "proto/buf.h"
#include "proto/json_in.h"

#define DEFINITION_MAX ((size_t)4 << 20)
#define NEXT_DEFAULT 10u
#define NEXT_MAX 100u

struct order { /* schedule ACTION NAME DEFINITION; of next, how many times instead of the definition */
    const struct common *common;
    satchel_client *client;
    const char *name, *definition;
};

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "-";
}

static void print_line(const json_t *one)
{
    const char *next = json_string_value(json_array_get(json_object_get(one, "next"), 0));
    char line[512];
    int n = snprintf(line, sizeof line, "%-24s  %-20s  %-16s  %-28s  %s%s", text_of(one, "name"), text_of(one, "cron"),
                     text_of(one, "timezone"),
                     next                                           ? next
                     : json_is_true(json_object_get(one, "paused")) ? "paused"
                                                                    : "-",
                     text_of(one, "task"), strcmp(text_of(one, "source"), "config") == 0 ? "  (configured)" : "");
    say_to(stdout, line, n < (int)sizeof line ? (size_t)n : sizeof line - 1);
    (void)putchar('\n');
}

/* Takes the answer over. */
static int show(const struct order *o, char *json, size_t len, bool many)
{
    char why[JSON_IN_ERROR_SIZE];
    int code = 0;
    if (o->common->json) {
        code = printf("%s\n", json) < 0 ? EXIT_OUTPUT : 0;
    } else {
        json_t *answer = json_in_load(slice_of(json, len), 64, why);
        const json_t *list = json_object_get(answer, "schedules"), *one;
        size_t i;
        if (!many)
            print_line(answer);
        json_array_foreach(list, i, one)
        {
            print_line(one);
        }
        json_decref(answer);
    }
    satchel_free(json);
    return code;
}

static int list(const struct order *o, satchel_error *error)
{
    char *json;
    size_t len;
    int status = satchel_schedule_list(o->client, &json, &len, error);
    return status == SATCHEL_OK ? show(o, json, len, true) : fail(o->common, error);
}

static int get(const struct order *o, satchel_error *error)
{
    char *json;
    size_t len;
    int status = satchel_schedule_get(o->client, o->name, &json, &len, error);
    return status == SATCHEL_OK ? show(o, json, len, false) : fail(o->common, error);
}

/* The times that come, one a line. */
static int next(const struct order *o, satchel_error *error)
{
    char *json, *end, why[JSON_IN_ERROR_SIZE];
    size_t len, i;
    unsigned long n = o->definition ? strtoul(o->definition, &end, 10) : NEXT_DEFAULT;
    if (o->definition && (*o->definition < '1' || *o->definition > '9' || *end || n > NEXT_MAX))
        return usage(o->common->verb, "next takes a name and how many times, from 1 to %u", NEXT_MAX);
    int code = 0, status = satchel_schedule_next(o->client, o->name, (unsigned)n, &json, &len, error);
    if (status != SATCHEL_OK)
        return fail(o->common, error);
    if (o->common->json)
        return show(o, json, len, false);
    json_t *answer = json_in_load(slice_of(json, len), 64, why), *time;
    json_array_foreach(json_object_get(answer, "next"), i, time)
    {
        code = json_is_string(time) && printf("%s\n", json_string_value(time)) < 0 ? EXIT_OUTPUT : code;
    }
    json_decref(answer);
    satchel_free(json);
    return code;
}

static int put(const struct order *o, satchel_error *error)
{
    struct buf text = {.max = DEFINITION_MAX};
    char piece[4096], *json;
    size_t n, len;
    bool from_input = strcmp(o->definition, "-") == 0;
    while (from_input && (n = fread(piece, 1, sizeof piece, stdin)) > 0)
        buf_append(&text, piece, n);
    if (from_input && (!buf_ok(&text) || !text.len)) {
        complain(o->common, "the definition on standard input is empty or too large");
        buf_release(&text);
        return EXIT_DATA;
    }
    int status = satchel_schedule_put(o->client, o->name, from_input ? text.data : o->definition, &json, &len, error);
    buf_release(&text);
    return status == SATCHEL_OK ? show(o, json, len, false) : fail(o->common, error);
}

static int done(const struct order *o, int status, satchel_error *error)
{
    return status == SATCHEL_OK ? 0 : fail(o->common, error);
}

static int delete (const struct order *o, satchel_error *error)
{
    return done(o, satchel_schedule_delete(o->client, o->name, error), error);
}

static int pause_it(const struct order *o, satchel_error *error)
{
    return done(o, satchel_schedule_pause(o->client, o->name, true, error), error);
}

static int resume(const struct order *o, satchel_error *error)
{
    return done(o, satchel_schedule_pause(o->client, o->name, false, error), error);
}

static int run(const struct order *o, satchel_error *error)
{
    satchel_future *future = NULL;
    if (satchel_schedule_run(o->client, o->name, &future, error) != SATCHEL_OK)
        return fail(o->common, error);
    int code = o->common->json                                 ? print_future(o->common, future)
               : printf("%s\n", satchel_future_id(future)) < 0 ? EXIT_OUTPUT
                                                               : 0;
    satchel_future_free(future);
    return code;
}

static const struct {
    const char *name;
    int least, most; /* operands, with its own name */
    int (*run)(const struct order *order, satchel_error *error);
} actions[] = {{"list", 1, 1, list},     {"get", 2, 2, get},        {"next", 2, 3, next},     {"put", 3, 3, put},
               {"delete", 2, 2, delete}, {"pause", 2, 2, pause_it}, {"resume", 2, 2, resume}, {"run", 2, 2, run}};

int verb_schedule(const struct verb *verb, int argc, char *const argv[])
{
    struct common common;
    satchel_error error = SATCHEL_ERROR_INIT;
    const char *operands[3];
    int n;
    int code = options_parse(verb, argc, argv, &common, operands, 3, &n, NULL, NULL);
    if (code != -1)
        return code;
    const char *action = n ? operands[0] : "list";
    n = n ? n : 1;
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++) {
        if (strcmp(action, actions[i].name) != 0)
            continue;
        if (n < actions[i].least || n > actions[i].most)
            return usage(verb, "%s takes %s", action,
                         actions[i].most == 1    ? "nothing more"
                         : actions[i].least == 2 ? "a name"
                                                 : "a name and a definition");
        struct order order = {
            .common = &common, .name = n > 1 ? operands[1] : NULL, .definition = n > 2 ? operands[2] : NULL};
        code = cli_connect(&common, &order.client);
        if (code == -1)
            code = actions[i].run(&order, &error);
        satchel_client_unref(order.client);
        return code;
    }
    return usage(verb, "%s is not one of list, get, next, put, delete, pause, resume and run", action);
}
