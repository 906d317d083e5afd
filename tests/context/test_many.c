/* Many tasks of many tenants at once, through every executor, with repetitions, cancellations and sub-tasks; each
 * handler tells what it saw, and everything that it saw must be its own task's.  Afterwards the context library has
 * seen no misuse and holds no more than before.
 * SATCHEL_TEST_TASKS: how many (a million: of 1,000 tenants). */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/context/echo_server.h"
#include "tests/context/many.h"
#include "tests/support/ask.h"

#define N_LANES 128
#define LANE_LIMIT_MS (WAIT_MS + 70000) /* an answer is held for a minute at most */

enum step { SUBMIT, CANCEL, END, CHILD };

struct lane { /* one connection, and the task under way on it */
    struct client client;
    struct answer answer;
    bool busy;
    enum step step;
    unsigned n;
    char id[40];
    long long since_ms;
};

struct run {
    unsigned total, tenants, next, done, mismatches, unexpected;
    unsigned long attempts, children, canceled;
    struct lane lanes[N_LANES];
};

static struct satcheld d;
static struct echo_server echo;

/* ---- one lane ---- */

static void send_request(struct run *r, struct lane *lane, enum step step, const char *method, const char *after)
{
    char target[128], tenant[64];
    (void)snprintf(target, sizeof target, "/v1/tasks/%s%s", lane->id, after);
    many_tenant_line(lane->n, r->tenants, tenant);
    char *request = request_text(method, target, tenant, strcmp(method, "POST") == 0 ? "" : NULL, 0);
    lane->step = step;
    lane->since_ms = mono_ms();
    client_send_text(&lane->client, request);
    free(request);
}

static void begin(struct run *r, struct lane *lane)
{
    lane->busy = r->next < r->total;
    if (!lane->busy)
        return;
    lane->n = r->next++;
    lane->step = SUBMIT;
    lane->since_ms = mono_ms();
    char *request = many_request(lane->n, r->tenants);
    client_send_text(&lane->client, request);
    free(request);
}

static void unexpected(struct run *r, const struct lane *lane, const char *what)
{
    if (r->unexpected++ < 10)
        print_error("task %u (%s), step %d: %s: %d %.600s\n", lane->n, many_kind_of(lane->n)->name, (int)lane->step,
                    what, lane->answer.status, lane->answer.body);
}

static bool is_final(const json_t *task)
{
    const char *state = text_of(task, "state");
    return strcmp(state, "scheduled") != 0 && strcmp(state, "queued") != 0 && strcmp(state, "running") != 0;
}

static void end(struct run *r, struct lane *lane)
{
    r->done++;
    begin(r, lane);
}

static void look_at_end(struct run *r, struct lane *lane, const json_t *task)
{
    const struct many_kind *kind = many_kind_of(lane->n);
    bool child_comes = kind->has_child && lane->step != CHILD, canceled = kind->report == REPORT_NONE;
    r->attempts += (unsigned long)number_of(task, "attempt");
    r->canceled += canceled;
    if (strcmp(text_of(task, "state"), canceled ? "canceled" : "succeeded") != 0) {
        unexpected(r, lane, "another end");
        end(r, lane);
        return;
    }
    r->mismatches += many_mismatches(lane->n, r->tenants, task, !canceled && !child_comes);
    if (!child_comes) {
        end(r, lane);
        return;
    }
    r->children++;
    (void)snprintf(lane->id, sizeof lane->id, "%s", many_child(task) ? many_child(task) : "none");
    send_request(r, lane, CHILD, "GET", "?wait=60s");
}

static void on_answer(struct run *r, struct lane *lane)
{
    if (lane->answer.status != 200 && lane->answer.status != 202) {
        unexpected(r, lane, "refused");
        end(r, lane);
        return;
    }
    json_t *task = answer_json(&lane->answer);
    if (lane->step != CHILD)
        (void)snprintf(lane->id, sizeof lane->id, "%s", text_of(task, "id"));
    if (lane->step == SUBMIT && many_kind_of(lane->n)->report == REPORT_NONE)
        send_request(r, lane, CANCEL, "POST", ":cancel");
    else if (is_final(task))
        look_at_end(r, lane, task);
    else if (lane->step == END || lane->step == CHILD)
        unexpected(r, lane, "not finished after a minute"), end(r, lane);
    else
        send_request(r, lane, END, "GET", "?wait=60s");
    json_decref(task);
}

/* ---- all of them ---- */

static void serve_lanes(struct run *r)
{
    struct pollfd fds[N_LANES];
    for (int i = 0; i < N_LANES; i++)
        fds[i] = (struct pollfd){.fd = r->lanes[i].busy ? r->lanes[i].client.fd : -1, .events = POLLIN};
    (void)poll(fds, N_LANES, 1000);
    for (int i = 0; i < N_LANES; i++) {
        struct lane *lane = &r->lanes[i];
        if (!lane->busy)
            continue;
        int came = fds[i].revents ? client_try(&lane->client, &lane->answer) : 0;
        if (came > 0)
            on_answer(r, lane);
        else if (came < 0 || mono_ms() - lane->since_ms > LANE_LIMIT_MS)
            fail_msg("task %u (%s), step %d: no answer came", lane->n, many_kind_of(lane->n)->name, (int)lane->step);
    }
}

static void run_many(struct run *r, unsigned total, unsigned tenants)
{
    *r = (struct run){.total = total, .tenants = tenants};
    for (int i = 0; i < N_LANES; i++) {
        client_open(&r->lanes[i].client, &d);
        begin(r, &r->lanes[i]);
    }
    while (r->done < r->total)
        serve_lanes(r);
    for (int i = 0; i < N_LANES; i++) {
        client_close(&r->lanes[i].client);
        answer_release(&r->lanes[i].answer);
    }
}

/* ---- counts ---- */

static const char *const counts[] = {"satchel_context_variables", "satchel_context_values", "satchel_context_contexts",
                                     "satchel_context_pending_tokens"};
#define N_COUNTS (sizeof counts / sizeof counts[0])

static double metric_of(const char *text, const char *name)
{
    size_t len = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
        if (strncmp(line, name, len) == 0 && line[len] == ' ')
            return strtod(line + len, NULL);
    fail_msg("/metrics has no %s", name);
    return 0;
}

static char *metrics(void)
{
    struct answer answer = {0};
    ask(&d, &answer, "GET", "/metrics", NULL, NULL);
    assert_int_equal(answer.status, 200);
    char *text = strdup(answer.body);
    answer_release(&answer);
    return text;
}

static bool is_idle(void *arg)
{
    double *before = arg;
    char *text = metrics();
    bool idle = true;
    for (size_t i = 0; i < N_COUNTS; i++)
        idle = idle && metric_of(text, counts[i]) <= before[i];
    free(text);
    return idle;
}

static void read_counts(double out[N_COUNTS])
{
    char *text = metrics();
    for (size_t i = 0; i < N_COUNTS; i++)
        out[i] = metric_of(text, counts[i]);
    free(text);
}

static void expect_as_before(double before[N_COUNTS])
{
    double after[N_COUNTS];
    bool idle = until(is_idle, before, WAIT_MS);
    read_counts(after);
    for (size_t i = 0; i < N_COUNTS; i++)
        print_message("%s: %.0f before, %.0f after\n", counts[i], before[i], after[i]);
    assert_true(idle);
    char *text = metrics();
    assert_int_equal(metric_of(text, "satchel_tasks{state=\"queued\"}"), 0); /* none was forgotten either */
    assert_int_equal(metric_of(text, "satchel_tasks{state=\"running\"}"), 0);
    assert_int_equal(metric_of(text, "satchel_tasks{state=\"scheduled\"}"), 0);
    assert_int_equal(metric_of(text, "satchel_context_misuse_total"), 0);
    assert_int_equal(metric_of(text, "satchel_context_violations_total"), 0);
    free(text);
}

/* ---- the test ---- */

static int start(void **state)
{
    (void)state;
    char config[2048];
    echo_start(&echo);
    (void)snprintf(config, sizeof config,
                   "workers = 8\n"
                   "recent_bytes = \"0\"\n" /* so that nothing of a finished task stays in memory */
                   "retain = \"1m\"\n"
                   "header \"X-Region\" { var = \"region\" }\n"
                   "header \"X-Api-Key\" { var = \"api_key\" secret = true }\n"
                   "plugin \"" TEST_BUILD_DIR "/tests/context/.libs/plugin_seen.so\" {}\n"
                   "task \"env\" { command = {\"/usr/bin/env\"} }\n"
                   "task \"call\" { url = \"%s/call\" allow = {\"127.0.0.1\"} }\n",
                   echo.url);
    satcheld_init(&d, config);
    satcheld_start(&d);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    satcheld_stop(&d);
    satcheld_release(&d);
    echo_stop(&echo);
    return 0;
}

static void nobody_sees_anothers(void **state)
{
    (void)state;
    static struct run r;
    double before[N_COUNTS];
    unsigned total = (unsigned)count_from("SATCHEL_TEST_TASKS", scaled(20000));
    run_many(&r, 400, 400); /* each kind, on each worker: what stays from the first time stays for good */
    assert_int_equal(r.mismatches + r.unexpected, 0);
    pause_ms(200);
    read_counts(before);
    long long began = mono_ms();
    run_many(&r, total, many_tenants(total));
    print_message("%u tasks of %u tenants in %.1f s: %lu attempts, %lu sub-tasks, %lu canceled; %u mismatches\n", total,
                  r.tenants, (double)(mono_ms() - began) / 1000, r.attempts, r.children, r.canceled, r.mismatches);
    assert_int_equal(r.mismatches, 0);
    assert_int_equal(r.unexpected, 0);
    expect_as_before(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nobody_sees_anothers)};
    unsigned sum = 0;
    for (size_t i = 0; i < n_many_kinds; i++)
        sum += many_kinds[i].percent;
    if (sum != 100) {
        print_error("the kinds are %u percent of all\n", sum);
        return 1;
    }
    return cmocka_run_group_tests(tests, start, stop);
}
