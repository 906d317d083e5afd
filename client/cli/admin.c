/* satchel admin and satchel tenants: what administrators ask. */
#include <stdio.h>
#include <string.h>

#include "client/cli/cli.h"
#include "proto/json_in.h"

static long long number_of(const json_t *object, const char *key)
{
    return (long long)json_number_value(json_object_get(object, key));
}

static const char *held(const json_t *object)
{
    bool paused = json_is_true(json_object_get(object, "paused"));
    bool draining = json_is_true(json_object_get(object, "draining"));
    return paused && draining ? "paused, draining" : paused ? "paused" : draining ? "draining" : "-";
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

/* ---- admin ---- */

static void print_status(const json_t *status)
{
    const json_t *hold;
    size_t i;
    (void)printf("daemon: %s  scheduled: %lld  queued: %lld  running: %lld\n", held(status),
                 number_of(status, "scheduled"), number_of(status, "queued"), number_of(status, "running"));
    json_array_foreach(json_object_get(status, "holds"), i, hold)
    {
        const char *tenant = text_of(hold, "tenant"), *task = text_of(hold, "task");
        (void)printf("%s %s: %s\n", tenant ? "tenant" : "task", tenant ? tenant : task ? task : "?", held(hold));
    }
}

/* Takes the answer over. */
static int show(const struct common *common, char *json, size_t len, void (*print)(const json_t *answer))
{
    char why[JSON_IN_ERROR_SIZE];
    if (common->json) {
        (void)printf("%s\n", json);
    } else {
        json_t *answer = json_in_load(slice_of(json, len), 64, why);
        print(answer);
        json_decref(answer);
    }
    satchel_free(json);
    return ferror(stdout) ? EXIT_OUTPUT : 0;
}

static const struct {
    const char *name;
    int order; /* negative: none, the status */
} orders[] = {
    {"status", -1}, {"pause", SATCHEL_ADMIN_PAUSE}, {"drain", SATCHEL_ADMIN_DRAIN}, {"resume", SATCHEL_ADMIN_RESUME}};

static int give(const struct common *common, int order, const char *tenant, const char *task)
{
    satchel_error error = SATCHEL_ERROR_INIT;
    satchel_client *client = NULL;
    char *json = NULL;
    size_t len = 0;
    int code = cli_connect(common, &client);
    if (code != -1)
        return code;
    int status = order < 0 ? satchel_admin_status(client, &json, &len, &error)
                           : satchel_admin_hold(client, (satchel_admin_order)order, tenant, task, &json, &len, &error);
    code = status == SATCHEL_OK ? show(common, json, len, print_status) : fail(common, &error);
    satchel_client_unref(client);
    return code;
}

int verb_admin(const struct verb *verb, int argc, char *const argv[])
{
    struct common common;
    const char *operands[3];
    int n;
    int code = options_parse(verb, argc, argv, &common, operands, 3, &n, NULL, NULL);
    if (code != -1)
        return code;
    const char *action = n ? operands[0] : "status";
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        if (strcmp(action, orders[i].name) != 0)
            continue;
        if (n <= 1)
            return give(&common, orders[i].order, NULL, NULL);
        if (n == 3 && orders[i].order >= 0 && strcmp(operands[1], "tenant") == 0)
            return give(&common, orders[i].order, operands[2], NULL);
        if (n == 3 && orders[i].order >= 0 && strcmp(operands[1], "task") == 0)
            return give(&common, orders[i].order, NULL, operands[2]);
        return usage(verb, "%s takes %s", action,
                     orders[i].order < 0 ? "nothing more" : "nothing more, \"tenant NAME\" or \"task NAME\"");
    }
    return usage(verb, "%s is not one of status, pause, drain and resume", action);
}

/* ---- tenants ---- */

static void print_tenant(const json_t *one)
{
    const json_t *usage = json_object_get(one, "usage"), *limits = json_object_get(one, "limits");
    (void)printf("%-24s  %9lld  %9lld  %7lld  %10lld  %10.3f  %6g  %s\n", text_of(one, "tenant"),
                 number_of(one, "scheduled"), number_of(one, "queued"), number_of(one, "running"),
                 number_of(usage, "attempts"), json_number_value(json_object_get(usage, "run_seconds")),
                 json_number_value(json_object_get(limits, "weight")), held(one));
}

static void print_head(void)
{
    (void)printf("%-24s  %9s  %9s  %7s  %10s  %10s  %6s  %s\n", "TENANT", "SCHEDULED", "QUEUED", "RUNNING", "ATTEMPTS",
                 "RUN-TIME/s", "WEIGHT", "HELD");
}

static int print_all(const struct common *common, satchel_client *client, satchel_error *error)
{
    char cursor[256] = "";
    if (!common->json)
        print_head();
    do {
        char *json, why[JSON_IN_ERROR_SIZE];
        size_t len, i;
        if (satchel_tenant_list(client, cursor, 1000, &json, &len, error) != SATCHEL_OK)
            return fail(common, error);
        json_t *page = json_in_load(slice_of(json, len), 64, why);
        const json_t *one;
        const char *next = text_of(page, "next_cursor");
        (void)snprintf(cursor, sizeof cursor, "%s", next ? next : "");
        if (common->json)
            (void)printf("%s\n", json);
        json_array_foreach(json_object_get(page, "tenants"), i, one)
        {
            if (!common->json)
                print_tenant(one);
        }
        json_decref(page);
        satchel_free(json);
    } while (cursor[0] && !ferror(stdout));
    return ferror(stdout) ? EXIT_OUTPUT : 0;
}

static void print_one(const json_t *one)
{
    print_head();
    print_tenant(one);
}

int verb_tenants(const struct verb *verb, int argc, char *const argv[])
{
    struct common common;
    satchel_error error = SATCHEL_ERROR_INIT;
    satchel_client *client = NULL;
    const char *name = NULL;
    char *json;
    size_t len;
    int n;
    int code = options_parse(verb, argc, argv, &common, &name, 1, &n, NULL, NULL);
    if (code != -1)
        return code;
    code = cli_connect(&common, &client);
    if (code == -1 && n == 0)
        code = print_all(&common, client, &error);
    else if (code == -1)
        code = satchel_tenant_get(client, name, &json, &len, &error) == SATCHEL_OK ? show(&common, json, len, print_one)
                                                                                   : fail(&common, &error);
    satchel_client_unref(client);
    return code;
}
