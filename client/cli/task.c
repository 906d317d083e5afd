/* satchel get, wait, result, cancel: verbs that take ids. */
#include <stdio.h>
#include <string.h>

#include "client/cli/cli.h"

#define MAX_IDS 4096

const struct option_spec get_options[] = {{NULL, NULL, NULL, 0}};
const struct option_spec cancel_options[] = {{NULL, NULL, NULL, 0}};
const struct option_spec wait_options[] = {
    {"timeout", "DURATION", "how long to wait, for all of them together", 'T'},
    {NULL, NULL, NULL, 0},
};
const struct option_spec result_options[] = {
    {"wait", "DURATION", "wait so long for the end", 'w'},
    {"raw", NULL, "print a result that is a string without its quotes", 'r'},
    {NULL, NULL, NULL, 0},
};

struct visit { /* one verb over its ids */
    const struct verb *verb;
    struct common common;
    satchel_client *client;
    int64_t wait_ms; /* negative: without limit */
    bool raw;
};

static const struct verb *find_verb(const char *name)
{
    const struct verb *verb = verbs;
    while (strcmp(verb->name, name) != 0)
        verb++;
    return verb;
}

static int on_option(void *arg, const char *name, const char *value)
{
    struct visit *v = arg;
    if (strcmp(name, "raw") == 0) {
        v->raw = true;
        return 0;
    }
    return parse_ms(value, &v->wait_ms) ? 0 : usage(v->verb, "--%s takes a duration: 30s, 250ms, 5m", name);
}

/* Calls fn for every id; the first exit code that is not 0 is the verb's. */
static int each_id(struct visit *v, int argc, char *const argv[], int max,
                   int (*fn)(struct visit *v, satchel_future *f))
{
    static const char *ids[MAX_IDS];
    int n;
    int code = options_parse(v->verb, argc, argv, &v->common, ids, max, &n, on_option, v);
    if (code == -1 && n == 0)
        code = usage(v->verb, "a task's id is missing");
    if (code == -1)
        code = cli_connect(&v->common, &v->client);
    if (code != -1)
        return code;
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
    int status = satchel_future_poll(future, &error);
    if (status != SATCHEL_OK && status != SATCHEL_PENDING)
        return fail(&v->common, &error);
    print_future(&v->common, future);
    return 0;
}

int verb_get(int argc, char *const argv[])
{
    struct visit v = {.verb = find_verb("get")};
    return each_id(&v, argc, argv, MAX_IDS, get_one);
}

static int wait_one(struct visit *v, satchel_future *future)
{
    satchel_error error = SATCHEL_ERROR_INIT;
    bool interrupted;
    int status = wait_interruptible(future, v->wait_ms, &error, &interrupted);
    if (interrupted)
        return EXIT_INTERRUPTED;
    if (status != SATCHEL_OK)
        return fail(&v->common, &error);
    if (v->common.json)
        print_future(&v->common, future);
    else
        (void)printf("%s  %s\n", satchel_future_id(future), satchel_future_state(future));
    return outcome_code(future);
}

int verb_wait(int argc, char *const argv[])
{
    struct visit v = {.verb = find_verb("wait"), .wait_ms = -1};
    return each_id(&v, argc, argv, MAX_IDS, wait_one);
}

static int result_one(struct visit *v, satchel_future *future)
{
    satchel_error error = SATCHEL_ERROR_INIT;
    bool interrupted = false;
    int status =
        v->wait_ms ? wait_interruptible(future, v->wait_ms, &error, &interrupted) : satchel_future_poll(future, &error);
    if (interrupted)
        return EXIT_INTERRUPTED;
    if (status != SATCHEL_OK && status != SATCHEL_PENDING)
        return fail(&v->common, &error);
    return print_result(&v->common, future, v->raw);
}

int verb_result(int argc, char *const argv[])
{
    struct visit v = {.verb = find_verb("result")};
    return each_id(&v, argc, argv, 1, result_one);
}

static int cancel_one(struct visit *v, satchel_future *future)
{
    satchel_error error = SATCHEL_ERROR_INIT;
    if (satchel_future_cancel(future, &error) != SATCHEL_OK)
        return fail(&v->common, &error);
    if (v->common.json)
        print_future(&v->common, future);
    else
        (void)printf("%s  %s\n", satchel_future_id(future), satchel_future_state(future));
    return 0;
}

int verb_cancel(int argc, char *const argv[])
{
    struct visit v = {.verb = find_verb("cancel")};
    return each_id(&v, argc, argv, MAX_IDS, cancel_one);
}
