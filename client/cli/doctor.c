/* satchel doctor: does a context arrive whole, whichever way it takes?  For many tenants at once it submits tasks of
 * every kind with contexts that have nothing in common, and compares what handlers, child processes and a server of
 * its own saw with what was sent.
 * Flow: verb_doctor -> examine -> phases (submit, check, clean), each over all tenants on several threads -> report. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/cli/doctor.h"
#include "proto/json_out.h"

#define TENANTS_MAX 1000u
#define THREADS_MAX 16u
#define LIMIT_MIN_MS 1000
#define LIMIT_MAX_MS 3600000

static const char *const route_names[N_ROUTES] = {
#define ROUTE(name, shown, task, canary) shown,
    DOCTOR_ROUTES(ROUTE)
#undef ROUTE
};

static int64_t now_ms(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t doctor_left(const struct doctor *doctor)
{
    int64_t left = doctor->until - now_ms(CLOCK_MONOTONIC);
    return left > 0 ? left : 0;
}

static int on_option(void *arg, const char *name, const char *value)
{
    struct doctor *d = arg;
    if (strcmp(name, "timeout") == 0)
        return parse_ms(value, &d->limit_ms) && d->limit_ms >= LIMIT_MIN_MS && d->limit_ms <= LIMIT_MAX_MS
                   ? 0
                   : usage(d->verb, "--timeout takes a duration from 1s to 1h");
    char *end;
    unsigned long n = strtoul(value, &end, 10);
    if (*value < '0' || *value > '9' || *end || n < 1 || n > TENANTS_MAX)
        return usage(d->verb, "--tenants takes a number from 1 to %u", TENANTS_MAX);
    d->n_tenants = (unsigned)n;
    return 0;
}

/* ---- phases ---- */

static void submit_all(struct doctor *d, unsigned tenant)
{
    for (int route = 0; route < N_ROUTES; route++)
        canary_submit(d, tenant, (enum route)route);
}

static void check_all(struct doctor *d, unsigned tenant)
{
    for (int route = 0; route < N_ROUTES; route++)
        canary_check(d, tenant, (enum route)route);
}

static void clean_all(struct doctor *d, unsigned tenant)
{
    for (int route = 0; route < N_ROUTES; route++)
        canary_clean(d, tenant, (enum route)route);
}

static void *work(void *arg)
{
    struct doctor *d = arg;
    unsigned tenant;
    while ((tenant = atomic_fetch_add(&d->next, 1)) < d->n_tenants) {
        if (satchel_context_enter(d->sent[tenant].context) != SATCHEL_OK)
            continue; /* cannot be: each is entered by one thread at a time */
        d->phase(d, tenant);
        (void)satchel_context_exit(d->sent[tenant].context);
    }
    return NULL;
}

/* As many threads as can be had, this one among them. */
static void run_phase(struct doctor *d, void (*phase)(struct doctor *, unsigned))
{
    pthread_t threads[THREADS_MAX];
    unsigned n = 0;
    d->phase = phase;
    atomic_store(&d->next, 0);
    while (n < THREADS_MAX - 1 && n + 1 < d->n_tenants && satchel_thread_create(&threads[n], NULL, work, d) == 0)
        n++;
    (void)work(d);
    while (n > 0)
        (void)pthread_join(threads[--n], NULL);
}

/* ---- the report ---- */

struct tally {
    unsigned canaries, right, wrong;
    const char *skipped; /* why one or more could not be checked */
};

static struct tally tally_of(const struct doctor *d, enum route route)
{
    struct tally t = {0};
    for (unsigned tenant = 0; tenant < d->n_tenants; tenant++) {
        const struct canary *canary = &d->canaries[(size_t)tenant * N_ROUTES + route];
        if (canary->skipped) {
            t.skipped = canary->skipped;
            continue;
        }
        t.canaries++;
        if (canary->wrong)
            t.wrong++;
        else
            t.right++;
    }
    return t;
}

static void print_mismatch(const struct doctor *d, unsigned tenant, enum route route, const struct mismatch *m)
{
    const struct canary *canary = &d->canaries[(size_t)tenant * N_ROUTES + route];
    (void)printf("%s, tenant %s, task %s: ", route_names[route], d->sent[tenant].values[VAR_TENANT],
                 satchel_future_id(canary->future));
    if (!m->variable) {
        say_to(stdout, m->seen, strlen(m->seen));
    } else {
        (void)printf("%s: sent \"%s\", ", m->variable, m->sent);
        (void)fputs(m->seen ? "seen \"" : "seen nothing", stdout);
        if (m->seen)
            say_to(stdout, m->seen, strlen(m->seen));
        (void)fputs(m->seen ? "\"" : "", stdout);
    }
    (void)putchar('\n');
}

static void each_mismatch(const struct doctor *d, void *arg,
                          void (*fn)(const struct doctor *d, unsigned tenant, enum route route,
                                     const struct mismatch *m, void *arg))
{
    for (int route = 0; route < N_ROUTES; route++)
        for (unsigned tenant = 0; tenant < d->n_tenants; tenant++)
            for (const struct mismatch *m = d->canaries[(size_t)tenant * N_ROUTES + (size_t)route].wrong; m;
                 m = m->next)
                fn(d, tenant, (enum route)route, m, arg);
}

static void print_one(const struct doctor *d, unsigned tenant, enum route route, const struct mismatch *m, void *arg)
{
    (void)arg;
    print_mismatch(d, tenant, route, m);
}

static void print_report(const struct doctor *d)
{
    for (int route = 0; route < N_ROUTES; route++) {
        struct tally t = tally_of(d, (enum route)route);
        if (t.canaries)
            (void)printf("%-14s  %u canaries, %u right, %u wrong\n", route_names[route], t.canaries, t.right, t.wrong);
        if (t.skipped)
            (void)printf("%-14s  not checked: %s\n", route_names[route], t.skipped);
    }
    each_mismatch(d, NULL, print_one);
}

static void write_text(struct json_out *j, const char *key, const char *text)
{
    json_out_key(j, key);
    if (text)
        json_out_string(j, slice_str(text));
    else
        json_out_null(j);
}

static void write_one(const struct doctor *d, unsigned tenant, enum route route, const struct mismatch *m, void *arg)
{
    struct json_out *j = arg;
    json_out_begin_object(j);
    write_text(j, "executor", route_names[route]);
    write_text(j, "tenant", d->sent[tenant].values[VAR_TENANT]);
    write_text(j, "task_id", satchel_future_id(d->canaries[(size_t)tenant * N_ROUTES + route].future));
    if (m->variable) {
        write_text(j, "variable", m->variable);
        write_text(j, "sent", m->sent);
        write_text(j, "seen", m->seen);
    } else {
        write_text(j, "error", m->seen);
    }
    json_out_end_object(j);
}

static void write_tally(struct json_out *j, const struct tally *t, const char *name)
{
    json_out_begin_object(j);
    write_text(j, "name", name);
    json_out_member_i64(j, "canaries", t->canaries);
    json_out_member_i64(j, "right", t->right);
    json_out_member_i64(j, "wrong", t->wrong);
    if (t->skipped)
        write_text(j, "not_checked", t->skipped);
    json_out_end_object(j);
}

static int print_json_report(const struct doctor *d, bool good)
{
    struct buf out = BUF_INIT;
    struct json_out j = json_out_to(&out);
    json_out_begin_object(&j);
    json_out_member_i64(&j, "tenants", d->n_tenants);
    json_out_key(&j, "right");
    json_out_bool(&j, good);
    json_out_key(&j, "executors");
    json_out_begin_array(&j);
    for (int route = 0; route < N_ROUTES; route++) {
        struct tally t = tally_of(d, (enum route)route);
        write_tally(&j, &t, route_names[route]);
    }
    json_out_end_array(&j);
    json_out_key(&j, "mismatches");
    json_out_begin_array(&j);
    each_mismatch(d, &j, write_one);
    json_out_end_array(&j);
    json_out_end_object(&j);
    bool whole = buf_ok(&out);
    if (whole)
        (void)printf("%s\n", out.data);
    buf_release(&out);
    return whole ? 0 : EXIT_SOFTWARE;
}

/* The exit code. */
static int report(struct doctor *d)
{
    unsigned left = atomic_load(&d->left_behind);
    if (left)
        complain(&d->common, "%u of its tasks could not be deleted; they go away by themselves", left);
    if (d->failed)
        return fail(&d->common, &d->failure);
    bool good = true;
    for (int route = 0; route < N_ROUTES; route++)
        good = good && tally_of(d, (enum route)route).wrong == 0;
    int code = 0;
    if (d->common.json)
        code = print_json_report(d, good);
    else
        print_report(d);
    return code ? code : good ? 0 : EXIT_TASK_FAILED;
}

/* ---- all of it ---- */

static void make_nonce(char nonce[40])
{
    satchel_trace trace = {0};
    (void)satchel_trace_root(&trace);
    for (size_t i = 0; i < sizeof trace.trace_id; i++)
        (void)snprintf(nonce + 2 * i, 3, "%02x", trace.trace_id[i]);
}

/* -1, or the exit code to end with. */
static int make_contexts(struct doctor *d, const char *nonce)
{
    int64_t deadline_us = (now_ms(CLOCK_REALTIME) + d->limit_ms) * 1000;
    d->sent = calloc(d->n_tenants, sizeof *d->sent);
    d->canaries = calloc((size_t)d->n_tenants * N_ROUTES, sizeof *d->canaries);
    int status = d->sent && d->canaries ? SATCHEL_OK : SATCHEL_ENOMEM;
    for (unsigned i = 0; i < d->n_tenants && status == SATCHEL_OK; i++)
        status = sent_init(&d->sent[i], nonce, i, deadline_us);
    if (status == SATCHEL_OK)
        return -1;
    complain(&d->common, "the contexts cannot be made: %s", satchel_strerror(status));
    return EXIT_SOFTWARE;
}

static int examine(struct doctor *d)
{
    char nonce[40];
    make_nonce(nonce);
    int code = make_contexts(d, nonce);
    if (code != -1)
        return code;
    int err = stub_start(&d->stub, nonce, d->n_tenants);
    if (err == 0) {
        d->until = now_ms(CLOCK_MONOTONIC) + d->limit_ms;
        run_phase(d, submit_all);
        run_phase(d, check_all);
        if (!d->failed || d->failure.status != SATCHEL_EUNREACHABLE)
            run_phase(d, clean_all);
        code = report(d);
    } else {
        complain(&d->common, "a server on loopback cannot be started: %s", strerror(-err));
        code = EXIT_SOFTWARE;
    }
    stub_stop(&d->stub);
    return code;
}

static void release(struct doctor *d)
{
    for (size_t i = 0; d->canaries && i < (size_t)d->n_tenants * N_ROUTES; i++)
        canary_release(&d->canaries[i]);
    for (unsigned i = 0; d->sent && i < d->n_tenants; i++)
        sent_release(&d->sent[i]);
    free(d->canaries);
    free(d->sent);
    satchel_client_unref(d->client);
    (void)pthread_mutex_destroy(&d->lock);
}

/* What is sent is the doctor's to choose. */
static int refuse_own_context(const struct doctor *d)
{
    static const satchel_known known[] = {SATCHEL_TENANT,  SATCHEL_TRACEPARENT, SATCHEL_TRACESTATE,
                                          SATCHEL_BAGGAGE, SATCHEL_REQUEST_ID,  SATCHEL_DEADLINE};
    if (d->common.tenant)
        return usage(d->verb, "--tenant does not go with it: it makes tenants of its own, see --tenants");
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (cli_has_header(&d->common, satchel_var_header(satchel_known_var(known[i]))) ||
            cli_has_header(&d->common, "X-Scope-OrgID"))
            return usage(d->verb, "--header may not set the context: it sends contexts of its own");
    return -1;
}

int verb_doctor(const struct verb *verb, int argc, char *const argv[])
{
    struct doctor d = {.verb = verb, .n_tenants = 20, .limit_ms = 60000};
    const char *none[1];
    int n;
    (void)pthread_mutex_init(&d.lock, NULL);
    int code = options_parse(verb, argc, argv, &d.common, none, 0, &n, on_option, &d);
    if (code == -1)
        code = cli_connect(&d.common, &d.client);
    if (code == -1)
        code = refuse_own_context(&d);
    if (code == -1)
        code = examine(&d);
    release(&d);
    return code;
}
