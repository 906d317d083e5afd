/* satchel get, wait, result, cancel, retry, delete: verbs that take ids. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/cli/cli.h"

#define MAX_IDS 4096

struct visit { /* one verb over its ids */
    const struct verb *verb;
    struct common common;
    satchel_client *client;
    int64_t wait_ms; /* negative: without limit */
    int64_t until;   /* when all of them must have ended, where there is a limit */
    bool raw, attempts, cascade;
    satchel_action action; /* of cancel, retry, delete: without ids, on what the filter finds */
    satchel_list_options filter;
    bool filtered;
    unsigned act_flags;
};

static int on_option(void *arg, const char *name, const char *value)
{
    struct visit *v = arg;
    if (strcmp(name, "raw") == 0)
        return v->raw = true, 0;
    if (strcmp(name, "attempts") == 0)
        return v->attempts = true, 0;
    if (filter_option(&v->filter, name, value))
        return v->filtered = true, 0;
    if (strcmp(name, "all") == 0)
        return v->act_flags |= SATCHEL_ACT_ALL, 0;
    if (strcmp(name, "dry-run") == 0)
        return v->act_flags |= SATCHEL_ACT_DRY_RUN, 0;
    if (strcmp(name, "cascade") == 0)
        return v->cascade = true, 0;
    return parse_ms(value, &v->wait_ms) ? 0 : usage(v->verb, "--%s takes a duration: 30s, 250ms, 5m", name);
}

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t left_ms(const struct visit *v)
{
    int64_t left = v->until - now_ms();
    return v->wait_ms < 0 ? -1 : left > 0 ? left : 0;
}

/* Calls fn for every id; the first exit code that is not 0 is the verb's. */
static int each_id(struct visit *v, int argc, char *const argv[], int max,
                   int (*fn)(struct visit *v, satchel_future *f))
{
    static const char *ids[MAX_IDS];
    int n;
    int code = options_parse(v->verb, argc, argv, &v->common, ids, max, &n, on_option, v);
    bool by_filter = v->filtered || v->act_flags;
    if (code == -1 && n == 0 && !by_filter)
        code = usage(v->verb, "a task's id is missing%s", v->action ? ", or a filter, or --all" : "");
    if (code == -1 && by_filter && (n || v->cascade))
        code = usage(v->verb, "ids (and --cascade) and filters exclude each other");
    if (code == -1)
        code = cli_connect(&v->common, &v->client);
    if (code != -1)
        return code;
    if (by_filter) {
        code = act_on_all(v->verb, &v->common, v->client, v->action, &v->filter, v->act_flags);
        satchel_client_unref(v->client);
        return code;
    }
    v->until = v->wait_ms < 0 ? INT64_MAX : now_ms() + v->wait_ms;
    int worst = 0;
    for (int i = 0; i < n && worst != EXIT_INTERRUPTED; i++) {
        satchel_future *future = NULL;
        satchel_error error = SATCHEL_ERROR_INIT;
        if (satchel_future_open(v->client, ids[i], &future, &error) != SATCHEL_OK)
            code = fail(&v->common, &error);
        else
            code = fn(v, future);
        satchel_future_free(future);
        if (worst == 0 || code == EXIT_INTERRUPTED)
            worst = code;
    }
    satchel_client_unref(v->client);
    return worst;
}

static int get_one(struct visit *v, satchel_future *future)
{
    satchel_error error = SATCHEL_ERROR_INIT;
    char *whole = NULL; /* the future keeps it, too */
    int status =
        v->attempts ? satchel_future_attempts(future, &whole, NULL, &error) : satchel_future_poll(future, &error);
    satchel_free(whole);
    if (status != SATCHEL_OK && status != SATCHEL_PENDING)
        return fail(&v->common, &error);
    return print_future(&v->common, future);
}

int verb_get(const struct verb *verb, int argc, char *const argv[])
{
    struct visit v = {.verb = verb};
    return each_id(&v, argc, argv, MAX_IDS, get_one);
}

/* The task in one line for people, or whole as JSON. */
static int print_state(const struct visit *v, satchel_future *future)
{
    if (v->common.json)
        return print_future(&v->common, future);
    (void)printf("%s  %s\n", satchel_future_id(future), satchel_future_state(future));
    return 0;
}

static int wait_one(struct visit *v, satchel_future *future)
{
    satchel_error error = SATCHEL_ERROR_INIT;
    if (interrupts_wait(future, left_ms(v), &error) != SATCHEL_OK)
        return fail(&v->common, &error);
    int code = print_state(v, future);
    return code ? code : outcome_code(future);
}

int verb_wait(const struct verb *verb, int argc, char *const argv[])
{
    struct visit v = {.verb = verb, .wait_ms = -1};
    return each_id(&v, argc, argv, MAX_IDS, wait_one);
}

static int result_one(struct visit *v, satchel_future *future)
{
    satchel_error error = SATCHEL_ERROR_INIT;
    int status = v->wait_ms ? interrupts_wait(future, v->wait_ms, &error) : satchel_future_poll(future, &error);
    if (status != SATCHEL_OK && status != SATCHEL_PENDING)
        return fail(&v->common, &error);
    return print_result(&v->common, future, v->raw);
}

int verb_result(const struct verb *verb, int argc, char *const argv[])
{
    struct visit v = {.verb = verb};
    return each_id(&v, argc, argv, 1, result_one);
}

static int cancel_one(struct visit *v, satchel_future *future)
{
    satchel_error error = SATCHEL_ERROR_INIT;
    int status = v->cascade ? satchel_future_cancel_tree(future, &error) : satchel_future_cancel(future, &error);
    if (status != SATCHEL_OK)
        return fail(&v->common, &error);
    return print_state(v, future);
}

int verb_cancel(const struct verb *verb, int argc, char *const argv[])
{
    struct visit v = {.verb = verb, .action = SATCHEL_CANCEL_TASKS, .filter = {.struct_size = sizeof v.filter}};
    return each_id(&v, argc, argv, MAX_IDS, cancel_one);
}

static int retry_one(struct visit *v, satchel_future *future)
{
    satchel_error error = SATCHEL_ERROR_INIT;
    if (satchel_future_retry(future, &error) != SATCHEL_OK)
        return fail(&v->common, &error);
    return print_state(v, future);
}

int verb_retry(const struct verb *verb, int argc, char *const argv[])
{
    struct visit v = {.verb = verb, .action = SATCHEL_RETRY_TASKS, .filter = {.struct_size = sizeof v.filter}};
    return each_id(&v, argc, argv, MAX_IDS, retry_one);
}

static int delete_one(struct visit *v, satchel_future *future)
{
    satchel_error error = SATCHEL_ERROR_INIT;
    if (satchel_future_delete(future, &error) != SATCHEL_OK)
        return fail(&v->common, &error);
    if (v->common.json)
        (void)printf("{\"id\":\"%s\",\"state\":\"deleted\"}\n", satchel_future_id(future));
    else
        (void)printf("%s  deleted\n", satchel_future_id(future));
    return 0;
}

int verb_delete(const struct verb *verb, int argc, char *const argv[])
{
    struct visit v = {.verb = verb, .action = SATCHEL_DELETE_TASKS, .filter = {.struct_size = sizeof v.filter}};
    return each_id(&v, argc, argv, MAX_IDS, delete_one);
}
