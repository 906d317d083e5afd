/* :cancel, :retry and DELETE: in every state, by whom, and what becomes of the processes. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/ask.h"

#define MINE "X-Tenant-ID: mine\r\n"
#define OTHER "X-Tenant-ID: other\r\n"
#define UNKNOWN "01995a2e-7c3b-7d21-9f0e-4b8f6d1c2a35"
#define GRACE_MS 600

/* Each writes the numbers of its processes, one a line, into the file that args.file names, "ready" last. */
#define COMMAND(name, script)                                                                                          \
    "task \"" name "\" { command = {\"/bin/sh\", \"-c\", \"" script "\", \"{{args.file}}\"} kill_grace = \"600ms\" "   \
    "}\n"
static const char config[] = "workers = 2\ndrain = \"100ms\"\n"
    /* Parent and child say that they were told, and go. */
    COMMAND("polite", "trap 'wait; echo told >> $0; exit 0' TERM; echo $$ >> $0; "
                      "(trap 'echo told >> $0; exit 0' TERM; echo ready >> $0; while :; do sleep 0.05; done) & "
                      "echo $! >> $0; while :; do sleep 0.05; done")
    /* Neither goes when told to. */
    COMMAND("stubborn", "trap '' TERM; echo $$ >> $0; (while :; do sleep 1; done) & echo $! >> $0; echo ready >> $0; "
                        "while :; do sleep 1; done")
    /* A grandchild in a session of its own, whose parent is gone. */
    COMMAND("runaway", "echo $$ >> $0; (setsid sleep 1000 & echo $! >> $0); echo ready >> $0; sleep 1000");

static struct satcheld d;

static int start(void **state)
{
    (void)state;
    satcheld_init(&d, config);
    satcheld_start(&d);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    satcheld_stop(&d);
    satcheld_release(&d);
    return 0;
}

static json_t *start_long(void)
{
    json_t *task = submit(&d, MINE, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":600},\"priority\":9}", 202);
    json_decref(await_state(&d, MINE, text_of(task, "id"), "running"));
    return task;
}

static void ask_task(struct answer *answer, const char *method, const json_t *task, const char *rest,
                     const char *headers)
{
    char target[256];
    (void)snprintf(target, sizeof target, "/v1/tasks/%s%s", text_of(task, "id"), rest);
    ask(&d, answer, method, target, headers, NULL);
}

static void cancel(const json_t *task)
{
    json_t *canceled = act(&d, MINE, text_of(task, "id"), "cancel", 200);
    expect_state(canceled, "canceled");
    expect_text(canceled, "id", text_of(task, "id"));
    expect_time(canceled, "finished_at");
    json_decref(canceled);
}

/* ---- cancel ---- */

static void waiting(void **state)
{
    (void)state;
    json_t *first = start_long(), *second = start_long(); /* both workers */
    json_t *queued = submit(&d, MINE, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0}}", 202);
    json_t *scheduled = submit(&d, MINE, "{\"task\":\"satchel.noop\",\"delay\":\"1h\"}", 202);
    expect_state(queued, "queued");
    expect_state(scheduled, "scheduled");
    cancel(queued);
    cancel(scheduled);
    cancel(first);
    cancel(second);
    json_t *all[] = {queued, scheduled, first, second};
    for (int i = 0; i < 4; i++) {
        json_t *after = get_task(&d, MINE, text_of(all[i], "id"), 200);
        expect_state(after, "canceled");
        expect_number(after, "attempt", i < 2 ? 0 : 1);
        assert_null(json_object_get(after, "result"));
        if (i < 2)
            assert_true(json_is_null(json_object_get(after, "started_at")));
        else
            expect_text(json_object_get(after, "error"), "type", "canceled");
        json_decref(after);
        json_decref(all[i]);
    }
}

static void in_backoff(void **state)
{
    (void)state;
    json_t *task = submit(&d, MINE,
                          "{\"task\":\"satchel.fail\",\"args\":{\"message\":\"no\"},\"max_attempts\":9,"
                          "\"backoff\":{\"type\":\"fixed\",\"base\":\"1h\",\"jitter\":false}}",
                          202);
    json_decref(await_state(&d, MINE, text_of(task, "id"), "scheduled"));
    cancel(task);
    json_decref(task);
}

static void finished(void **state)
{
    (void)state;
    static const char *const bodies[] = {"{\"task\":\"satchel.noop\"}",
                                         "{\"task\":\"satchel.fail\",\"args\":{\"message\":\"no\"}}",
                                         "{\"task\":\"satchel.noop\",\"delay\":\"1h\",\"expires_in\":\"10ms\"}"};
    struct answer answer = {0};
    for (size_t i = 0; i < 3; i++) {
        json_t *task = run(&d, MINE, bodies[i]);
        ask_task(&answer, "POST", task, ":cancel", MINE);
        expect_problem(&answer, 409, "state-conflict");
        json_t *problem = answer_json(&answer), *after = get_task(&d, MINE, text_of(task, "id"), 200);
        expect_text(problem, "state", text_of(task, "state"));
        assert_true(json_equal(task, after));
        json_decref(problem);
        json_decref(after);
        json_decref(task);
    }
    json_t *twice = start_long();
    cancel(twice);
    ask_task(&answer, "POST", twice, ":cancel", MINE);
    expect_problem(&answer, 409, "state-conflict");
    json_decref(twice);
    answer_release(&answer);
}

static void not_theirs(void **state)
{
    (void)state;
    static const char *const ids[] = {UNKNOWN, "nonsense", "..%2f", "%00", "01995A2E"};
    static const struct {
        const char *method, *rest;
    } acts[] = {{"POST", ":cancel"}, {"POST", ":retry"}, {"DELETE", ""}};
    struct answer answer = {0};
    json_t *task = start_long(), *done = run(&d, MINE, "{\"task\":\"satchel.fail\",\"args\":{\"message\":\"no\"}}");
    for (size_t a = 0; a < 3; a++) {
        for (size_t i = 0; i < 5; i++) {
            char target[128];
            (void)snprintf(target, sizeof target, "/v1/tasks/%s%s", ids[i], acts[a].rest);
            ask(&d, &answer, acts[a].method, target, MINE, NULL);
            if (answer.status != 404 && !(answer.status == 400 && i == 3))
                fail_msg("%s: status %d: %s", target, answer.status, answer.body);
        }
        static const char *const others[] = {OTHER, NULL, "X-Tenant-ID: mine2\r\n"};
        for (size_t i = 0; i < 3; i++) {
            ask_task(&answer, acts[a].method, task, acts[a].rest, others[i]);
            expect_problem(&answer, 404, "task-not-found");
            ask_task(&answer, acts[a].method, done, acts[a].rest, others[i]);
            expect_problem(&answer, 404, "task-not-found");
        }
    }
    json_t *after = get_task(&d, MINE, text_of(task, "id"), 200);
    expect_state(after, "running");
    json_t *done_after = get_task(&d, MINE, text_of(done, "id"), 200);
    assert_true(json_equal(done, done_after));
    cancel(task);
    json_t *all[] = {task, done, after, done_after};
    for (size_t i = 0; i < 4; i++)
        json_decref(all[i]);
    answer_release(&answer);
}

static void other_methods_and_bodies(void **state)
{
    (void)state;
    struct answer answer = {0};
    json_t *task = start_long();
    static const char *const methods[] = {"GET", "PUT", "DELETE", "PATCH"}, *const rests[] = {":cancel", ":retry"};
    for (size_t i = 0; i < 8; i++) {
        ask_task(&answer, methods[i / 2], task, rests[i % 2], MINE);
        assert_int_equal(answer.status, 405);
        char *allow = answer_header(&answer, "Allow");
        if (!allow || strcmp(allow, "POST, OPTIONS") != 0)
            fail_msg("Allow: %s", allow ? allow : "none");
        free(allow);
    }
    ask_task(&answer, "POST", task, ":stop", MINE);
    assert_int_equal(answer.status, 404);
    ask_task(&answer, "POST", task, ":cancel?force=true", MINE);
    assert_int_equal(answer.status, 400);
    char target[128];
    (void)snprintf(target, sizeof target, "/v1/tasks/%s:cancel", text_of(task, "id"));
    ask(&d, &answer, "POST", target, MINE JSON_TYPE, "{\"reason\":1}");
    assert_int_equal(answer.status, 400);
    (void)snprintf(target, sizeof target, "/v1/tasks/%s%%3Acancel", text_of(task, "id"));
    ask(&d, &answer, "GET", target, MINE, NULL);
    assert_true(answer.status == 404 || answer.status == 405);
    json_t *after = get_task(&d, MINE, text_of(task, "id"), 200);
    expect_state(after, "running");
    json_decref(after);
    (void)snprintf(target, sizeof target, "/v1/tasks/%s:cancel", text_of(task, "id"));
    ask(&d, &answer, "POST", target, MINE JSON_TYPE, "{}"); /* what some clients always send */
    assert_int_equal(answer.status, 200);
    json_decref(task);
    answer_release(&answer);
}

/* Whoever comes first decides; what was answered is what stays. */
static void races_with_the_end(void **state)
{
    (void)state;
    int n = scaled(150), n_canceled = 0;
    struct answer answer = {0};
    for (int i = 0; i < n; i++) {
        char body[128];
        (void)snprintf(body, sizeof body, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":%.4f}}", i % 10 * 0.0005);
        json_t *task = submit(&d, MINE, body, 202);
        ask_task(&answer, "POST", task, ":cancel", MINE);
        json_t *done = finish(&d, MINE, text_of(task, "id"));
        if (answer.status == 200) {
            json_t *said = answer_json(&answer);
            assert_true(json_equal(said, done));
            n_canceled += strcmp(text_of(done, "state"), "canceled") == 0;
            json_decref(said);
        } else {
            expect_problem(&answer, 409, "state-conflict");
            expect_state(done, "succeeded");
        }
        json_decref(done);
        json_decref(task);
    }
    print_message("%d of %d were canceled\n", n_canceled, n);
    answer_release(&answer);
}

/* ---- processes ---- */

struct processes { /* of a command, as it wrote them */
    char *path;
    json_t *task;
    int pids[2];
};

static bool is_ready(void *arg)
{
    const struct processes *p = arg;
    char *text = read_file(p->path);
    bool ready = strstr(text, "ready\n") != NULL;
    int n = 0;
    for (char *line = text, *end; ready && (end = strchr(line, '\n')) != NULL; line = end + 1)
        n += atoi(line) > 0;
    free(text);
    return n == 2;
}

static struct processes start_command(const char *name)
{
    static int n_started;
    char file[64], body[256];
    (void)snprintf(file, sizeof file, "%s.%d", name, ++n_started);
    struct processes p = {.path = satcheld_path(&d, file)};
    (void)snprintf(body, sizeof body, "{\"task\":\"%s\",\"args\":{\"file\":\"%s\"}}", name, p.path);
    p.task = submit(&d, MINE, body, 202);
    if (!until(is_ready, &p, WAIT_MS))
        fail_msg("%s does not start: %s", name, read_file(p.path));
    char *text = read_file(p.path);
    int n = 0;
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
        if (atoi(line) > 0 && n < 2)
            p.pids[n++] = atoi(line);
    free(text);
    for (int i = 0; i < 2; i++)
        assert_int_equal(kill(p.pids[i], 0), 0);
    return p;
}

static bool are_gone(void *arg)
{
    const struct processes *p = arg;
    return kill(p->pids[0], 0) < 0 && errno == ESRCH && kill(p->pids[1], 0) < 0 && errno == ESRCH;
}

static void end_command(struct processes *p)
{
    if (!until(are_gone, p, 2000))
        fail_msg("processes %d and %d: one is still there", p->pids[0], p->pids[1]);
    free(p->path);
    json_decref(p->task);
}

static void polite_command(void **state)
{
    (void)state;
    struct processes p = start_command("polite");
    long long began = mono_ms();
    cancel(p.task);
    assert_true(SANITIZED || mono_ms() - began < GRACE_MS); /* nobody waited for the grace to end */
    assert_true(are_gone(&p));                              /* once it is answered, nothing of it runs */
    char *text = read_file(p.path);
    char *told = strstr(text, "told\n");
    assert_non_null(told);
    assert_non_null(strstr(told + 1, "told\n")); /* the whole group was */
    free(text);
    end_command(&p);
}

static void stubborn_command(void **state)
{
    (void)state;
    struct processes p = start_command("stubborn");
    struct answer answer = {0};
    long long began = mono_ms();
    ask_task(&answer, "POST", p.task, ":cancel", MINE "Prefer: wait=0\r\n");
    assert_int_equal(answer.status, 202); /* under way */
    json_t *task = answer_json(&answer);
    expect_state(task, "running");
    char *location = answer_header(&answer, "Location"), *retry = answer_header(&answer, "Retry-After");
    assert_non_null(location);
    assert_non_null(retry);
    json_decref(task);
    free(location);
    free(retry);
    cancel(p.task); /* again: waits for the same end */
    assert_true(mono_ms() - began >= GRACE_MS - 50);
    assert_true(are_gone(&p));
    end_command(&p);
    answer_release(&answer);
}

static void runaway_grandchild(void **state)
{
    (void)state;
    struct processes p = start_command("runaway");
    cancel(p.task);
    assert_true(are_gone(&p));
    end_command(&p);
}

/* A task that is canceled does not run again, whatever attempts are left, crash or not. */
static void canceled_for_good(void **state)
{
    (void)state;
    struct processes p = start_command("stubborn");
    struct answer answer = {0};
    ask_task(&answer, "POST", p.task, ":cancel", MINE "Prefer: wait=0\r\n");
    assert_int_equal(answer.status, 202);
    satcheld_kill(&d);
    assert_true(until(are_gone, &p, WAIT_MS)); /* the command ends with the daemon */
    satcheld_start(&d);
    json_t *task = finish(&d, MINE, text_of(p.task, "id"));
    expect_state(task, "canceled");
    json_decref(task);
    end_command(&p);
    answer_release(&answer);
}

/* ---- retry ---- */

static void retried(void **state)
{
    (void)state;
    struct answer answer = {0};
    json_t *task =
        run(&d, MINE "traceparent: " TRACEPARENT "\r\nbaggage: a=1\r\n",
            "{\"task\":\"satchel.fail\",\"args\":{\"message\":\"once\",\"times\":1},\"labels\":{\"a\":\"b\"},"
            "\"context\":{\"shard\":\"s1\"}}");
    expect_state(task, "failed");
    ask_task(&answer, "POST", task, ":retry", MINE);
    assert_int_equal(answer.status, 202);
    char *location = answer_header(&answer, "Location");
    assert_non_null(location);
    assert_non_null(strstr(location, text_of(task, "id")));
    free(location);
    json_t *done = finish(&d, MINE, text_of(task, "id"));
    expect_state(done, "succeeded");
    expect_number(done, "attempt", 2);
    assert_null(json_object_get(done, "error"));
    static const char *const same[] = {"id", "context", "labels", "args", "created_at", "root_id", "priority"};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        assert_true(json_equal(json_object_get(task, same[i]), json_object_get(done, same[i])));
    ask_task(&answer, "POST", task, ":retry", MINE); /* it has succeeded */
    expect_problem(&answer, 409, "state-conflict");
    json_t *still = get_task(&d, MINE, text_of(task, "id"), 200);
    assert_true(json_equal(done, still));
    json_t *all[] = {task, done, still};
    for (size_t i = 0; i < 3; i++)
        json_decref(all[i]);
    answer_release(&answer);
}

/* Its context is whole on the second life, too. */
static void retried_with_its_context(void **state)
{
    (void)state;
    json_t *task = submit(&d,
                          MINE "traceparent: " TRACEPARENT "\r\ntracestate: x=y\r\nbaggage: a=1\r\n"
                               "X-Request-ID: again\r\n",
                          "{\"task\":\"satchel.context\",\"delay\":\"1h\",\"context\":{\"shard\":\"s1\"}}", 202);
    cancel(task);
    json_decref(act(&d, MINE, text_of(task, "id"), "retry", 202));
    json_t *done = finish(&d, MINE, text_of(task, "id"));
    expect_state(done, "succeeded");
    const json_t *result = json_object_get(done, "result");
    expect_text(result, "tenant", "mine");
    expect_text(result, "tracestate", "x=y");
    expect_text(result, "baggage", "a=1");
    expect_text(result, "request_id", "again");
    expect_text(result, "shard", "s1");
    assert_memory_equal(text_of(result, "traceparent") + 3, TRACE_ID, 32);
    json_decref(task);
    json_decref(done);
}

static void retried_from_every_end(void **state)
{
    (void)state;
    json_t *expired = run(&d, MINE, "{\"task\":\"satchel.noop\",\"delay\":\"1h\",\"expires_in\":\"10ms\"}");
    json_t *running = start_long();
    cancel(running);
    const char *ids[] = {text_of(expired, "id"), text_of(running, "id")};
    json_decref(act(&d, MINE, ids[0], "retry", 202));
    json_t *done = finish(&d, MINE, ids[0]);
    expect_state(done, "succeeded");
    expect_number(done, "attempt", 1);
    json_decref(act(&d, MINE, ids[1], "retry", 202));
    json_t *again = await_state(&d, MINE, ids[1], "running");
    expect_number(again, "attempt", 2);
    cancel(running);
    json_t *all[] = {expired, running, done, again};
    for (size_t i = 0; i < 4; i++)
        json_decref(all[i]);
}

static void not_retried(void **state)
{
    (void)state;
    struct answer answer = {0};
    json_t *running = start_long(), *scheduled = submit(&d, MINE, "{\"task\":\"satchel.noop\",\"delay\":\"1h\"}", 202);
    json_t *both[] = {running, scheduled};
    for (int i = 0; i < 2; i++) {
        ask_task(&answer, "POST", both[i], ":retry", MINE);
        expect_problem(&answer, 409, "state-conflict");
        ask_task(&answer, "DELETE", both[i], "", MINE);
        expect_problem(&answer, 409, "state-conflict");
        json_t *problem = answer_json(&answer);
        expect_text(problem, "state", i ? "scheduled" : "running");
        json_decref(problem);
        cancel(both[i]);
        json_decref(both[i]);
    }
    answer_release(&answer);
}

/* ---- delete ---- */

static void deleted(void **state)
{
    (void)state;
    struct answer answer = {0};
    json_t *task =
        run(&d, MINE, "{\"task\":\"satchel.fail\",\"args\":{\"message\":\"no\"},\"labels\":{\"gone\":\"1\"}}");
    ask_task(&answer, "DELETE", task, "", MINE);
    assert_int_equal(answer.status, 204);
    assert_int_equal(answer.body_len, 0);
    static const struct {
        const char *method, *rest;
    } asked[] = {{"GET", ""},         {"GET", "/result"}, {"GET", "?wait=30s"},
                 {"POST", ":cancel"}, {"POST", ":retry"}, {"DELETE", ""}};
    for (int crashed = 0; crashed < 2; crashed++) {
        for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
            ask_task(&answer, asked[i].method, task, asked[i].rest, MINE);
            expect_problem(&answer, 410, "task-gone");
            json_t *problem = answer_json(&answer);
            expect_text(problem, "id", text_of(task, "id"));
            expect_text(problem, "state", "failed");
            expect_text(problem, "created_at", text_of(task, "created_at"));
            expect_text(problem, "finished_at", text_of(task, "finished_at"));
            assert_null(json_object_get(problem, "args"));
            assert_null(json_object_get(problem, "context"));
            json_decref(problem);
            ask_task(&answer, asked[i].method, task, asked[i].rest, OTHER);
            expect_problem(&answer, 404, "task-not-found");
        }
        json_t *page = get_json(&d, "/v1/tasks?label=gone:1", MINE, 200);
        assert_int_equal(json_array_size(json_object_get(page, "tasks")), 0);
        json_decref(page);
        satcheld_kill(&d);
        satcheld_start(&d);
    }
    json_decref(task);
    answer_release(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waiting),
        cmocka_unit_test(in_backoff),
        cmocka_unit_test(finished),
        cmocka_unit_test(not_theirs),
        cmocka_unit_test(other_methods_and_bodies),
        cmocka_unit_test(races_with_the_end),
        cmocka_unit_test(polite_command),
        cmocka_unit_test(stubborn_command),
        cmocka_unit_test(runaway_grandchild),
        cmocka_unit_test(canceled_for_good),
        cmocka_unit_test(retried),
        cmocka_unit_test(retried_with_its_context),
        cmocka_unit_test(retried_from_every_end),
        cmocka_unit_test(not_retried),
        cmocka_unit_test(deleted),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
