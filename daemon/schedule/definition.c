/* Called by schedules.c and api/schedules.c. */
#include "schedule/definition.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/json_in.h"
#include "proto/json_out.h"
#include "proto/zone.h"
#include "task/tenant_defaults.h"

#define MEMBERS_MAX 64u

static const char *const own_members[] = {"cron", "timezone", "missed", "paused"};
/* They are for one task at one time. */
static const char *const foreign_members[] = {"run_at", "deadline", "parent_id", "idempotency_key", "after"};

bool schedule_name_is_valid(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!plain && !(i && (c == '.' || c == '_' || c == '-')))
            return false;
    }
    return name.len >= 1 && name.len <= SCHEDULE_NAME_MAX;
}

static bool is_among(struct slice name, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (slice_eq_str(name, names[i]))
            return true;
    return false;
}

static void fault(struct problem *problem, const char *member, const char *what)
{
    char pointer[PROBLEM_POINTER_SIZE];
    problem_pointer(pointer, "", member);
    problem_add(problem, PROBLEM_INVALID_SUBMISSION, pointer, "%s", what);
}

/* ---- when ---- */

static void read_cron(const json_t *value, struct schedule_definition *d, struct problem *problem)
{
    char why[CRON_ERROR_SIZE];
    if (!json_is_string(value))
        fault(problem, "cron", "is required: a cron expression, such as \"0 3 * * *\"");
    else if (!cron_parse(json_string_value(value), json_string_length(value), &d->cron, why))
        fault(problem, "cron", why);
}

static void read_zone(const json_t *value, struct schedule_definition *d, struct problem *problem)
{
    char why[200];
    if (!value)
        return;
    if (!json_is_string(value) || !zone_name_is_valid(json_string_value(value), json_string_length(value)))
        fault(problem, "timezone", "must be the name of a time zone, such as \"Europe/Berlin\"");
    else if (strcmp(json_string_value(value), "UTC") != 0 &&
             zone_load(json_string_value(value), &d->zone, why, sizeof why) < 0)
        fault(problem, "timezone", why);
}

static void read_rest(const json_t *root, struct schedule_definition *d, struct problem *problem)
{
    const json_t *missed = json_object_get(root, "missed"), *paused = json_object_get(root, "paused");
    const char *text = json_string_value(missed);
    d->once = text && strcmp(text, "once") == 0;
    d->paused = json_is_true(paused);
    if (missed && !d->once && !(text && strcmp(text, "skip") == 0))
        fault(problem, "missed", "must be \"skip\" or \"once\"");
    if (paused && !json_is_boolean(paused))
        fault(problem, "paused", "must be true or false");
    for (size_t i = 0; i < sizeof foreign_members / sizeof foreign_members[0]; i++)
        if (json_object_get(root, foreign_members[i]))
            fault(problem, foreign_members[i], "has no meaning in a schedule: it is for one task");
}

/* ---- what ---- */

/* The other members, as the bytes they are. */
static char *copy_submission(struct slice body)
{
    struct json_member members[MEMBERS_MAX];
    size_t n = json_in_members(body, members, MEMBERS_MAX);
    struct buf out = BUF_INIT;
    struct json_out j = json_out_to(&out);
    json_out_begin_object(&j);
    for (size_t i = 0; i < n && i < MEMBERS_MAX; i++) {
        if (is_among(members[i].name, own_members, sizeof own_members / sizeof own_members[0]))
            continue;
        json_out_key_slice(&j, members[i].name);
        json_out_raw(&j, members[i].value);
    }
    json_out_end_object(&j);
    return buf_take(&out, NULL);
}

static satchel_context *context_of(const struct config *config, const char *tenant, struct tenant_defaults *defaults)
{
    const char *header = satchel_var_header(satchel_known_var(SATCHEL_TENANT));
    unsigned char random[16];
    char id[33];
    random_bytes(random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        (void)snprintf(id + 2 * i, 3, "%02x", random[i]);
    const char *id_header = satchel_var_header(satchel_known_var(SATCHEL_REQUEST_ID));
    satchel_field fields[2 + CONFIG_TENANT_VARIABLES_MAX + 1] = {
        {.name = header, .value = tenant, .name_len = strlen(header), .value_len = strlen(tenant)},
        {.name = id_header, .value = id, .name_len = strlen(id_header), .value_len = 32}};
    satchel_context *context = NULL;
    size_t problems = 0, n = 2;
    if (!tenant_defaults_add(config, config_tenant(config, tenant), fields, &n, defaults))
        return NULL;
    return satchel_extract(fields, n, &context, NULL, &problems) == SATCHEL_OK ? context : NULL;
}

struct origin_writer {
    struct json_out j;
    const struct tenant_defaults *defaults;
};

static int write_origin(satchel_var *var, void *data, void *arg)
{
    struct origin_writer *w = arg;
    (void)data;
    if (tenant_defaults_gave(w->defaults, satchel_var_name(var)))
        json_out_member(&w->j, satchel_var_name(var), SLICE_LITERAL("config"));
    return 0;
}

static void write_origins(const char *name, satchel_context *context, const struct tenant_defaults *defaults,
                          struct buf *out)
{
    char schedule[SCHEDULE_NAME_MAX + 16];
    struct origin_writer w = {json_out_to(out), defaults};
    (void)snprintf(schedule, sizeof schedule, "schedule:%s", name);
    json_out_begin_object(&w.j);
    json_out_member(&w.j, "tenant", slice_str(schedule));
    json_out_member(&w.j, "request_id", SLICE_LITERAL("generated"));
    (void)satchel_context_each(context, write_origin, &w);
    json_out_end_object(&w.j);
}

int schedule_submission(const char *text, struct registry *registry, uint64_t root_sampling, const char *tenant,
                        const char *name, struct submission *ret, struct problem *reterr)
{
    struct buf origins = BUF_INIT;
    struct tenant_defaults defaults = {0};
    satchel_context *context = context_of(registry_config(registry), tenant, &defaults);
    if (context)
        write_origins(name, context, &defaults, &origins);
    int result = -1;
    if (!context || !buf_ok(&origins)) {
        problem_set(reterr, PROBLEM_OVERLOADED, "There is no memory for this submission.");
    } else {
        const struct submission_input input = {
            .config = registry_config(registry),
            .registry = registry,
            .body = slice_str(text),
            .pointer = "",
            .root_sampling = root_sampling,
            .context = context,
            .origins = buf_slice(&origins),
        };
        result = submission_parse(&input, ret, reterr);
    }
    satchel_context_unref(context);
    tenant_defaults_release(&defaults);
    buf_release(&origins);
    return result;
}

/* ---- both ---- */

void schedule_definition_release(struct schedule_definition *d)
{
    free(d->body);
    free(d->submission);
    zone_free(d->zone);
    *d = (struct schedule_definition){0};
}

static void check_submission(const struct schedule_definition *d, struct registry *registry, const char *tenant,
                             struct problem *reterr)
{
    struct submission submission;
    struct problem problem = {0};
    if (schedule_submission(d->submission, registry, 0, tenant, "check", &submission, &problem) == 0) {
        task_spec_unref(submission.spec);
        return;
    }
    for (unsigned i = 0; i < problem.n_errors && i < PROBLEM_MAX_ERRORS; i++)
        problem_add(reterr, problem.code, problem.errors[i].pointer, "%s", problem.errors[i].detail);
    if (!problem.n_errors)
        *reterr = problem;
}

int schedule_definition_parse(struct slice body, struct registry *registry, const char *tenant,
                              struct schedule_definition *ret, struct problem *reterr)
{
    char why[JSON_IN_ERROR_SIZE];
    struct schedule_definition d = {0};
    json_t *root = json_in_load(body, (int)registry_config(registry)->max_json_depth, why);
    *reterr = (struct problem){0};
    if (!root) {
        problem_set(reterr, PROBLEM_MALFORMED_JSON, "The body is not acceptable JSON: %s.", why);
        return -1;
    }
    if (!json_is_object(root)) {
        problem_add(reterr, PROBLEM_INVALID_SUBMISSION, "", "must be a JSON object");
    } else {
        read_cron(json_object_get(root, "cron"), &d, reterr);
        read_zone(json_object_get(root, "timezone"), &d, reterr);
        read_rest(root, &d, reterr);
        d.body = strndup(body.data, body.len);
        d.submission = copy_submission(body);
        if (!d.body || !d.submission)
            problem_set(reterr, PROBLEM_OVERLOADED, "There is no memory for this schedule; try again later.");
        else
            check_submission(&d, registry, tenant, reterr);
    }
    json_decref(root);
    if (reterr->code == PROBLEM_NONE) {
        *ret = d;
        return 0;
    }
    schedule_definition_release(&d);
    return -1;
}
