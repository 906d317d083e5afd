/* satchel submit and satchel run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli.h"
#include "proto/json_in.h"
#include "proto/json_out.h"

#define MAX_ARGS_BYTES ((size_t)64 << 20)
#define MAX_PAIRS 256

struct pairs {
    const char *items[MAX_PAIRS];
    int n;
};

struct submission {
    const struct verb *verb;
    satchel_submit_options options;
    struct pairs args, labels, context, after; /* after: ids */
    const char *unique, *unique_until, *unique_for, *batch;
    const char *for_one; /* an option that a batch cannot have */
    int64_t timeout_ms;  /* negative: none */
    bool raw, cancel_on_interrupt;
};

static int add_pair(const struct verb *verb, struct pairs *pairs, const char *name, const char *value)
{
    if (!strchr(value, '=') || value[0] == '=' || pairs->n == MAX_PAIRS)
        return usage(verb, "--%s takes KEY=VALUE, at most %d times", name, MAX_PAIRS);
    pairs->items[pairs->n++] = value;
    return 0;
}

static int add_id(const struct verb *verb, struct pairs *ids, const char *id)
{
    if (!*id || ids->n == MAX_PAIRS)
        return usage(verb, "--after takes the id of a task, at most %d times", MAX_PAIRS);
    ids->items[ids->n++] = id;
    return 0;
}

static int number(const struct verb *verb, const char *name, const char *value, int least, int most, int *ret)
{
    char *end;
    long n = strtol(value, &end, 10);
    if (!*value || *end || n < least || n > most)
        return usage(verb, "--%s takes a number from %d to %d", name, least, most);
    *ret = (int)n;
    return 0;
}

static int take_number(struct submission *s, const char *name, const char *value)
{
    satchel_submit_options *o = &s->options;
    if (strcmp(name, "priority") == 0) {
        o->has_priority = true;
        return number(s->verb, name, value, 0, 9, &o->priority);
    }
    if (strcmp(name, "max-lost") == 0) {
        o->has_max_lost = true;
        return number(s->verb, name, value, 0, 100, &o->max_lost);
    }
    if (strcmp(name, "retries") == 0) {
        int code = number(s->verb, name, value, 0, 999, &o->max_attempts);
        o->max_attempts++;
        return code;
    }
    return number(s->verb, name, value, 1, 1000, &o->max_attempts);
}

static int take_duration(struct submission *s, const char *name, const char *value, int64_t *ret)
{
    return parse_ms(value, ret) ? 0 : usage(s->verb, "--%s takes a duration: 30s, 250ms, 5m", name);
}

static int on_option(void *arg, const char *name, const char *value)
{
    static const char *const for_batches[] = {"batch", "group", "parent", "context", "wait"};
    struct submission *s = arg;
    bool fits = false;
    for (size_t i = 0; i < sizeof for_batches / sizeof for_batches[0]; i++)
        fits = fits || strcmp(name, for_batches[i]) == 0;
    if (!fits)
        s->for_one = name;
    satchel_submit_options *o = &s->options;
    const struct {
        const char *name;
        const char **text;
    } texts[] = {{"delay", &o->delay},
                 {"run-at", &o->run_at},
                 {"attempt-timeout", &o->timeout},
                 {"deadline", &o->deadline},
                 {"expires-in", &o->expires_in},
                 {"backoff", &o->backoff_json},
                 {"parent", &o->parent_id},
                 {"retain", &o->retain},
                 {"idempotency-key", &o->idempotency_key},
                 {"callback", &o->callback},
                 {"group", &o->group},
                 {"after-group", &o->after_group},
                 {"unique", &s->unique},
                 {"unique-until", &s->unique_until},
                 {"unique-for", &s->unique_for},
                 {"batch", &s->batch}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(name, texts[i].name) == 0) {
            *texts[i].text = value;
            return 0;
        }
    }
    if (strcmp(name, "after") == 0)
        return add_id(s->verb, &s->after, value);
    if (strcmp(name, "arg") == 0)
        return add_pair(s->verb, &s->args, name, value);
    if (strcmp(name, "label") == 0)
        return add_pair(s->verb, &s->labels, name, value);
    if (strcmp(name, "context") == 0)
        return add_pair(s->verb, &s->context, name, value);
    if (strcmp(name, "wait") == 0)
        return take_duration(s, name, value, &o->wait_ms);
    if (strcmp(name, "timeout") == 0)
        return take_duration(s, name, value, &s->timeout_ms);
    if (strcmp(name, "raw") == 0)
        s->raw = true;
    else if (strcmp(name, "cancel-on-interrupt") == 0)
        s->cancel_on_interrupt = true;
    else
        return take_number(s, name, value);
    return 0;
}

/* {"KEY":"VALUE",...}; with `values_are_json`, a value that is JSON stays what it is. */
static char *object_of(const struct pairs *pairs, bool values_are_json)
{
    struct buf out = BUF_INIT;
    struct json_out j = json_out_to(&out);
    json_out_begin_object(&j);
    for (int i = 0; i < pairs->n; i++) {
        const char *equals = strchr(pairs->items[i], '=');
        struct slice value = slice_str(equals + 1);
        char why[JSON_IN_ERROR_SIZE];
        json_t *json = values_are_json ? json_in_load(value, 64, why) : NULL;
        json_out_key_slice(&j, slice_of(pairs->items[i], (size_t)(equals - pairs->items[i])));
        if (json)
            json_out_raw(&j, value);
        else
            json_out_string(&j, value);
        json_decref(json);
    }
    json_out_end_object(&j);
    return buf_take(&out, NULL);
}

static char *array_of(const struct pairs *ids)
{
    struct buf out = BUF_INIT;
    struct json_out j = json_out_to(&out);
    json_out_begin_array(&j);
    for (int i = 0; i < ids->n; i++)
        json_out_string(&j, slice_str(ids->items[i]));
    json_out_end_array(&j);
    return buf_take(&out, NULL);
}

static char *unique_of(const struct submission *s)
{
    struct buf out = BUF_INIT;
    struct json_out j = json_out_to(&out);
    json_out_begin_object(&j);
    json_out_member(&j, "key", slice_str(s->unique));
    if (s->unique_until)
        json_out_member(&j, "until", slice_str(s->unique_until));
    if (s->unique_for)
        json_out_member(&j, "for", slice_str(s->unique_for));
    json_out_end_object(&j);
    return buf_take(&out, NULL);
}

/* The args from standard input.  -1, or the exit code to end with. */
static int read_stdin(const struct common *common, char **ret)
{
    struct buf out = {.max = MAX_ARGS_BYTES};
    char piece[16384];
    size_t n;
    while ((n = fread(piece, 1, sizeof piece, stdin)) > 0)
        buf_append(&out, piece, n);
    const char *fault = ferror(stdin)                             ? "could not be read"
                        : !buf_ok(&out)                           ? "is too large"
                        : out.len == 0                            ? "is empty; args are one JSON document"
                        : memchr(out.data, '\0', out.len) != NULL ? "has a NUL byte in it; args are JSON text"
                                                                  : NULL;
    if (!fault) {
        *ret = buf_take(&out, NULL);
        return -1;
    }
    complain(common, "standard input %s", fault);
    buf_release(&out);
    return EXIT_DATA;
}

/* The variables that the context has already, and those of --context over them. */
static void set_context(const struct submission *s)
{
    for (int i = 0; i < s->context.n; i++) {
        const char *equals = strchr(s->context.items[i], '=');
        char name[65];
        size_t len = (size_t)(equals - s->context.items[i]);
        if (len >= sizeof name)
            continue; /* refused below: the name is too long for any variable */
        memcpy(name, s->context.items[i], len);
        name[len] = '\0';
        satchel_var *var;
        if (satchel_variable(name, &var) == SATCHEL_OK) {
            (void)satchel_set_string(var, equals + 1, NULL);
            satchel_var_unref(var);
        }
    }
}

static int check_context(const struct submission *s)
{
    for (int i = 0; i < s->context.n; i++) {
        size_t len = strcspn(s->context.items[i], "=");
        char name[65] = "";
        satchel_var *var;
        if (len < sizeof name)
            memcpy(name, s->context.items[i], len);
        if (satchel_variable(name, &var) != SATCHEL_OK)
            return usage(s->verb, "--context %.*s: a name is [a-z][a-z0-9_.-]{0,63} and not one of the well-known ones",
                         (int)len, s->context.items[i]);
        satchel_var_unref(var);
    }
    return -1;
}

/* Inside a task: a sub-task of it.  "--parent=" says that it is none. */
static void set_parent(satchel_submit_options *o)
{
    const char *parent = o->parent_id;
    if (!parent)
        parent = getenv("SATCHEL_TASK_ID");
    if (!parent)
        parent = getenv("SATCHEL_PARENT_ID");
    o->parent_id = parent && *parent ? parent : NULL;
}

static int parse(struct submission *s, struct common *common, int argc, char *const argv[], const char *operands[2],
                 int *n)
{
    s->options.struct_size = sizeof s->options;
    s->timeout_ms = -1;
    int code = options_parse(s->verb, argc, argv, common, operands, 2, n, on_option, s);
    if (code == -1 && s->batch && *n)
        code = usage(s->verb, "--batch takes all submissions from its file");
    if (code == -1 && s->batch && s->for_one)
        code = usage(s->verb, "--%s is for one submission; those of a --batch say it themselves", s->for_one);
    if (code == -1 && *n < 1 && !s->batch)
        code = usage(s->verb, "the task's name is missing");
    if (code == -1 && *n == 2 && s->args.n)
        code = usage(s->verb, "ARGS and --arg exclude each other");
    if (code == -1 && !s->unique && (s->unique_until || s->unique_for))
        code = usage(s->verb, "--unique-until and --unique-for need --unique");
    return code == -1 ? check_context(s) : code;
}

static int send_it(struct submission *s, const struct common *common, satchel_client *client, const char *task,
                   const char *args, satchel_future **future)
{
    char *labels = s->labels.n ? object_of(&s->labels, false) : NULL;
    satchel_error error = SATCHEL_ERROR_INIT;
    char *after = s->after.n ? array_of(&s->after) : NULL, *unique = s->unique ? unique_of(s) : NULL;
    int status = SATCHEL_ENOMEM;
    s->options.labels_json = labels;
    s->options.after_json = after;
    s->options.unique_json = unique;
    bool whole = (!s->labels.n || labels) && (!s->after.n || after) && (!s->unique || unique);
    if (whole)
        status = satchel_submit(client, task, args, &s->options, future, &error);
    free(labels);
    free(after);
    free(unique);
    if (!whole) {
        complain(common, "out of memory");
        return EXIT_SOFTWARE;
    }
    return status == SATCHEL_OK ? -1 : fail(common, &error);
}

/* Parses, connects and submits.  -1 and the future, or an exit code. */
static int submit(struct submission *s, struct common *common, int argc, char *const argv[], satchel_client **client,
                  satchel_future **future)
{
    const char *operands[2];
    char *args = NULL;
    int n;
    int code = parse(s, common, argc, argv, operands, &n);
    if (code == -1)
        code = cli_connect(common, client);
    if (code != -1)
        return code;
    set_context(s);
    set_parent(&s->options);
    if (s->batch)
        return -1; /* its lines say the rest */
    bool given = n == 2 || s->args.n;
    if (n == 2 && strcmp(operands[1], "-") == 0)
        code = read_stdin(common, &args);
    else if (given)
        args = n == 2 ? strdup(operands[1]) : object_of(&s->args, true);
    if (code == -1 && given && !args) {
        complain(common, "out of memory");
        code = EXIT_SOFTWARE;
    }
    if (code == -1)
        code = send_it(s, common, *client, operands[0], args, future);
    free(args);
    return code;
}

int verb_submit(const struct verb *verb, int argc, char *const argv[])
{
    struct submission s = {.verb = verb};
    struct common common;
    satchel_client *client = NULL;
    satchel_future *future = NULL;
    int code = submit(&s, &common, argc, argv, &client, &future);
    if (code == -1 && s.batch)
        code = submit_lines(&common, client, s.batch, &s.options);
    else if (code == -1 && common.json)
        code = print_future(&common, future);
    else if (code == -1)
        code = printf("%s\n", satchel_future_id(future)) < 0 ? EXIT_OUTPUT : 0;
    satchel_future_free(future);
    satchel_client_unref(client);
    return code;
}

static int await(const struct submission *s, const struct common *common, satchel_future *future)
{
    satchel_error error = SATCHEL_ERROR_INIT, other = SATCHEL_ERROR_INIT;
    int status = interrupts_wait(future, s->timeout_ms, &error);
    if (status == SATCHEL_OK)
        return -1;
    if (status != SATCHEL_ECANCELED)
        return fail(common, &error);
    if (!s->cancel_on_interrupt)
        complain(common, "task %s goes on", satchel_future_id(future));
    else if (satchel_future_cancel(future, &other) == SATCHEL_OK)
        complain(common, "task %s is canceled", satchel_future_id(future));
    else
        (void)fail(common, &other);
    return EXIT_INTERRUPTED;
}

int verb_run(const struct verb *verb, int argc, char *const argv[])
{
    struct submission s = {.verb = verb};
    struct common common;
    satchel_client *client = NULL;
    satchel_future *future = NULL;
    int code = submit(&s, &common, argc, argv, &client, &future);
    if (code == -1)
        code = await(&s, &common, future);
    if (code == -1 && common.json) {
        code = print_future(&common, future);
        code = code ? code : outcome_code(future);
    } else if (code == -1) {
        code = print_result(&common, future, s.raw);
    }
    satchel_future_free(future);
    satchel_client_unref(client);
    return code;
}
