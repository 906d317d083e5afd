/* What waits, runs or has ended when the daemon goes, and how it is found when it comes back. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/ask.h"

#define MINE "X-Tenant-ID: phoenix\r\n"
#define ALL_HEADERS                                                                                                    \
    MINE "X-Region: eu\r\nX-Request-ID: req-1\r\ntraceparent: " TRACEPARENT "\r\ntracestate: a=1\r\nbaggage: b=2\r\n"  \
         "X-Satchel-Deadline: 2099-01-01T00:00:00Z\r\n"

static struct satcheld d;

static int start(void **state)
{
    (void)state;
    satcheld_init(&d, "workers = 1\ndrain = \"300ms\"\nheader \"X-Region\" { var = \"region\" }\n"
                      "plugin \"" TEST_BUILD_DIR "/tests/support/.libs/plugin_aborts.so\" {}\n");
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

static void crash(void)
{
    satcheld_kill(&d);
    satcheld_start(&d);
}

/* Occupies the only worker, and again after a crash, whatever waits; the task. */
static json_t *occupy(void)
{
    json_t *task = submit(&d, MINE, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":600},\"priority\":9}", 202);
    json_decref(await_state(&d, MINE, text_of(task, "id"), "running"));
    return task;
}

static void free_worker(json_t *task)
{
    json_t *canceled = act(&d, MINE, text_of(task, "id"), "cancel", 200);
    expect_state(canceled, "canceled");
    json_decref(canceled);
    json_decref(task);
}

static void expect_whole_context(const json_t *task)
{
    const json_t *result = json_object_get(task, "result");
    expect_state(task, "succeeded");
    expect_text(result, "tenant", "phoenix");
    expect_text(result, "region", "eu");
    expect_text(result, "request_id", "req-1");
    expect_text(result, "tracestate", "a=1");
    expect_text(result, "baggage", "b=2");
    expect_text(result, "deadline", "2099-01-01T00:00:00.000000Z");
    expect_text(result, "shard", "s9");
    assert_memory_equal(text_of(result, "traceparent"), "00-" TRACE_ID "-", 36);
    assert_memory_not_equal(text_of(result, "traceparent") + 36, SPAN_ID, 16);
    const json_t *context = json_object_get(task, "context");
    expect_text(context, "region", "eu");
    expect_text(context, "shard", "s9");
    assert_string_not_equal(text_of(context, "traceparent"), text_of(result, "traceparent"));
}

/* ---- what waits ---- */

static void queued(void **state)
{
    (void)state;
    json_t *blocker = occupy();
    json_t *task = submit(&d, ALL_HEADERS, "{\"task\":\"satchel.context\",\"context\":{\"shard\":\"s9\"}}", 202);
    expect_state(task, "queued");
    crash();
    json_t *found = get_task(&d, MINE, text_of(task, "id"), 200);
    expect_state(found, "queued");
    expect_number(found, "attempt", 0);
    expect_number(found, "lost", 0);
    assert_true(json_equal(json_object_get(found, "context"), json_object_get(task, "context")));
    free_worker(blocker);
    json_t *done = finish(&d, MINE, text_of(task, "id"));
    expect_whole_context(done);
    expect_number(json_object_get(done, "result"), "attempt", 1);
    json_decref(task);
    json_decref(found);
    json_decref(done);
}

static void scheduled(void **state)
{
    (void)state;
    json_t *later = submit(&d, ALL_HEADERS, "{\"task\":\"satchel.noop\",\"delay\":\"1h\"}", 202);
    json_t *soon = submit(&d, ALL_HEADERS,
                          "{\"task\":\"satchel.context\",\"context\":{\"shard\":\"s9\"},\"delay\":\"1500ms\"}", 202);
    crash();
    json_t *found = get_task(&d, MINE, text_of(later, "id"), 200);
    expect_state(found, "scheduled");
    assert_true(json_equal(found, later));
    json_t *done = finish(&d, MINE, text_of(soon, "id"));
    expect_whole_context(done);
    assert_true(time_of(done, "started_at") >= time_of(soon, "run_at"));
    json_decref(act(&d, MINE, text_of(later, "id"), "cancel", 200));
    json_decref(later);
    json_decref(soon);
    json_decref(found);
    json_decref(done);
}

/* Its time comes while nobody is there. */
static void due_meanwhile(void **state)
{
    (void)state;
    json_t *task = submit(&d, MINE, "{\"task\":\"satchel.echo\",\"args\":7,\"delay\":\"150ms\"}", 202);
    satcheld_kill(&d);
    pause_ms(200);
    satcheld_start(&d);
    json_t *done = finish(&d, MINE, text_of(task, "id"));
    expect_state(done, "succeeded");
    expect_number(done, "result", 7);
    json_decref(task);
    json_decref(done);
}

static void expired_meanwhile(void **state)
{
    (void)state;
    json_t *task = submit(&d, MINE, "{\"task\":\"satchel.noop\",\"delay\":\"1h\",\"expires_in\":\"150ms\"}", 202);
    satcheld_kill(&d);
    pause_ms(200);
    satcheld_start(&d);
    json_t *done = finish(&d, MINE, text_of(task, "id"));
    expect_state(done, "expired");
    json_decref(task);
    json_decref(done);
}

static void in_backoff(void **state)
{
    (void)state;
    json_t *task = submit(&d, MINE,
                          "{\"task\":\"satchel.fail\",\"args\":{\"message\":\"once\",\"times\":1},\"max_attempts\":3,"
                          "\"backoff\":{\"type\":\"fixed\",\"base\":\"1500ms\",\"jitter\":false}}",
                          202);
    json_t *waits = await_state(&d, MINE, text_of(task, "id"), "scheduled");
    expect_number(waits, "attempt", 1);
    expect_text(json_object_get(waits, "error"), "message", "once");
    crash();
    json_t *found = get_task(&d, MINE, text_of(task, "id"), 200);
    expect_state(found, "scheduled");
    expect_number(found, "attempt", 1);
    expect_text(found, "run_at", text_of(waits, "run_at"));
    json_t *done = finish(&d, MINE, text_of(task, "id"));
    expect_state(done, "succeeded");
    expect_number(done, "attempt", 2);
    expect_number(done, "lost", 0);
    assert_true(time_of(done, "started_at") >= time_of(waits, "run_at"));
    json_t *all[] = {task, waits, found, done};
    for (size_t i = 0; i < 4; i++)
        json_decref(all[i]);
}

static void order_is_kept(void **state)
{
    (void)state;
    json_t *blocker = occupy(), *tasks[3], *done[3];
    static const int priorities[] = {2, 9, 5};
    char body[128];
    for (int i = 0; i < 3; i++) {
        (void)snprintf(body, sizeof body, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.02},\"priority\":%d}",
                       priorities[i]);
        tasks[i] = submit(&d, MINE, body, 202);
    }
    json_t *first = submit(&d, MINE, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.02},\"priority\":9}", 202);
    crash();
    free_worker(blocker);
    for (int i = 0; i < 3; i++)
        done[i] = finish(&d, MINE, text_of(tasks[i], "id"));
    json_t *second_nine = finish(&d, MINE, text_of(first, "id"));
    assert_true(time_of(done[1], "started_at") < time_of(second_nine, "started_at"));
    assert_true(time_of(second_nine, "started_at") < time_of(done[2], "started_at"));
    assert_true(time_of(done[2], "started_at") < time_of(done[0], "started_at"));
    for (int i = 0; i < 3; i++) {
        json_decref(tasks[i]);
        json_decref(done[i]);
    }
    json_decref(first);
    json_decref(second_nine);
}

/* ---- what runs ---- */

static void running(void **state)
{
    (void)state;
    json_t *task = occupy();
    crash();
    json_t *again = await_state(&d, MINE, text_of(task, "id"), "running");
    expect_number(again, "attempt", 2);
    expect_number(again, "lost", 1);
    json_decref(again);
    free_worker(task);
}

static void runs_again_before_those_that_wait(void **state)
{
    (void)state;
    static const char body[] = "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.3}}";
    json_t *cut_off = submit(&d, MINE, body, 202), *waiting[4];
    json_decref(await_state(&d, MINE, text_of(cut_off, "id"), "running"));
    for (int i = 0; i < 4; i++)
        waiting[i] = submit(&d, MINE, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.01}}", 202);
    crash();
    json_t *again = finish(&d, MINE, text_of(cut_off, "id"));
    expect_state(again, "succeeded");
    expect_number(again, "lost", 1);
    for (int i = 0; i < 4; i++) {
        json_t *other = finish(&d, MINE, text_of(waiting[i], "id"));
        assert_true(time_of(again, "started_at") < time_of(other, "started_at"));
        json_decref(other);
        json_decref(waiting[i]);
    }
    json_decref(again);
    json_decref(cut_off);
}

static void runs_to_its_end_the_second_time(void **state)
{
    (void)state;
    json_t *task = submit(&d, ALL_HEADERS, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.7}}", 202);
    json_decref(await_state(&d, MINE, text_of(task, "id"), "running"));
    crash();
    json_t *done = finish(&d, MINE, text_of(task, "id"));
    expect_state(done, "succeeded");
    expect_number(done, "attempt", 2);
    expect_number(done, "max_attempts", 1); /* what was lost does not use them up */
    expect_number(done, "lost", 1);
    assert_true(time_of(done, "finished_at") - time_of(done, "started_at") >= 700000);
    json_decref(task);
    json_decref(done);
}

static void lost_once_too_often(void **state)
{
    (void)state;
    json_t *task = submit(&d, MINE, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":600},\"max_lost\":1}", 202);
    const char *id = text_of(task, "id");
    for (int i = 1; i <= 2; i++) {
        json_t *runs = await_state(&d, MINE, id, "running");
        expect_number(runs, "attempt", i);
        json_decref(runs);
        crash();
    }
    json_t *done = finish(&d, MINE, id);
    expect_state(done, "failed");
    expect_text(json_object_get(done, "error"), "type", "lost");
    expect_number(done, "lost", 2);
    expect_number(done, "attempt", 2);
    json_decref(done);

    /* By hand it may be run once more, with its lives back. */
    json_decref(act(&d, MINE, id, "retry", 202));
    json_t *runs = await_state(&d, MINE, id, "running");
    expect_number(runs, "attempt", 3);
    json_decref(runs);
    free_worker(task);
}

/* A stop waits for `drain`, then cuts off; that counts as lost, not as failed. */
static void cut_off_by_a_stop(void **state)
{
    (void)state;
    json_t *task = occupy();
    long long began = mono_ms();
    satcheld_stop(&d);
    long long took = mono_ms() - began;
    assert_true(took >= 250 && took < 15000);
    satcheld_start(&d);
    json_t *again = await_state(&d, MINE, text_of(task, "id"), "running");
    expect_number(again, "attempt", 2);
    expect_number(again, "lost", 1);
    json_decref(again);
    free_worker(task);
}

static void stop_while_running(void **state)
{
    (void)state;
    satcheld_stop(&d);
    satcheld_configure(&d, "workers = 1\ndrain = \"20s\"\n");
    satcheld_start(&d);
    json_t *task = submit(&d, MINE, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":0.5}}", 202);
    json_decref(await_state(&d, MINE, text_of(task, "id"), "running"));
    json_t *next = submit(&d, MINE, "{\"task\":\"satchel.noop\"}", 202);
    long long began = mono_ms();
    satcheld_stop(&d); /* what runs may end; what waits is left for the next start */
    assert_true(mono_ms() - began < 15000);
    satcheld_start(&d);
    json_t *done = get_task(&d, MINE, text_of(task, "id"), 200);
    expect_state(done, "succeeded");
    expect_number(done, "attempt", 1);
    expect_number(done, "lost", 0);
    json_t *next_done = finish(&d, MINE, text_of(next, "id"));
    expect_state(next_done, "succeeded");
    expect_number(next_done, "attempt", 1);
    json_t *all[] = {task, next, done, next_done};
    for (size_t i = 0; i < 4; i++)
        json_decref(all[i]);
}

static bool is_refused(void *arg)
{
    (void)arg;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)d.port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool refused = connect(fd, (const struct sockaddr *)&address, sizeof address) < 0 && errno == ECONNREFUSED;
    (void)close(fd);
    return refused;
}

/* The second signal ends the drain, the third would end the process; nothing is forgotten. */
static void second_sigterm(void **state)
{
    (void)state;
    satcheld_stop(&d);
    satcheld_configure(&d, "workers = 1\ndrain = \"600s\"\n");
    satcheld_start(&d);
    json_t *task = occupy();
    int status;
    satcheld_signal(&d, SIGTERM);
    assert_true(until(is_refused, NULL, WAIT_MS));
    assert_false(satcheld_ended(&d, &status));
    long long began = mono_ms();
    satcheld_signal(&d, SIGINT);
    assert_int_equal(satcheld_wait(&d, WAIT_MS), 0);
    assert_true(mono_ms() - began < (SANITIZED ? 30000 : 8000));
    satcheld_start(&d);
    json_t *again = await_state(&d, MINE, text_of(task, "id"), "running");
    expect_number(again, "attempt", 2);
    expect_number(again, "lost", 1);
    json_decref(again);
    free_worker(task);
}

/* ---- what kills the daemon ---- */

/* Delayed, so that the submission is answered first. */
static void poison(void **state)
{
    (void)state;
    json_t *task = submit(
        &d, MINE, "{\"task\":\"probe.poison\",\"args\":1000,\"delay\":\"300ms\",\"priority\":9,\"max_lost\":2}", 202);
    const char *id = text_of(task, "id");
    for (int i = 0; i < 3; i++) {
        int status = satcheld_wait(&d, WAIT_MS);
        assert_true(status == -SIGABRT || status > 0);
        satcheld_spawn(&d);
        if (i == 2)
            satcheld_ready(&d);
    }
    json_t *done = finish(&d, MINE, id);
    expect_state(done, "failed");
    expect_text(json_object_get(done, "error"), "type", "lost");
    expect_number(done, "lost", 3);
    expect_number(done, "attempt", 3);
    assert_true(json_is_null(json_object_get(done, "result")) || !json_object_get(done, "result"));
    json_t *neighbour = run(&d, MINE, "{\"task\":\"satchel.echo\",\"args\":\"well\"}");
    expect_state(neighbour, "succeeded");
    expect_number(neighbour, "lost", 0);
    satcheld_kill(&d);
    satcheld_start(&d); /* and it is not tried again */
    json_t *still = get_task(&d, MINE, id, 200);
    assert_true(json_equal(done, still));
    json_t *all[] = {task, neighbour, done, still};
    for (size_t i = 0; i < 4; i++)
        json_decref(all[i]);
}

static void poison_that_wears_off(void **state)
{
    (void)state;
    json_t *task = submit(&d, ALL_HEADERS, "{\"task\":\"probe.poison\",\"args\":2,\"delay\":\"300ms\"}", 202);
    for (int i = 0; i < 2; i++) {
        int status = satcheld_wait(&d, WAIT_MS);
        assert_true(status == -SIGABRT || status > 0);
        satcheld_spawn(&d);
    }
    satcheld_ready(&d);
    json_t *done = finish(&d, MINE, text_of(task, "id"));
    expect_state(done, "succeeded");
    expect_text(done, "result", "alive");
    expect_number(done, "lost", 2);
    expect_number(done, "attempt", 3);
    json_decref(task);
    json_decref(done);
}

/* Its row is written while it waits for the only worker, and it is claimed when that is free. */
static json_t *poison_that_was_short(const char *body)
{
    struct client c;
    char target[100];
    for (int i = 0; i < 20; i++)
        json_decref(run(&d, MINE, "{\"task\":\"probe.poison\",\"args\":0}"));
    json_t *runs = submit(&d, MINE, "{\"task\":\"satchel.sleep\",\"args\":{\"seconds\":600},\"max_lost\":0}", 202);
    json_decref(await_state(&d, MINE, text_of(runs, "id"), "running"));
    json_t *task = submit(&d, ALL_HEADERS, body, 202);
    expect_state(task, "queued");
    (void)snprintf(target, sizeof target, "/v1/tasks/%s:cancel", text_of(runs, "id"));
    char *text = request_text("POST", target, MINE, "", 0);
    client_open(&c, &d);
    client_send_text(&c, text); /* its answer may not come any more */
    int status = satcheld_wait(&d, WAIT_MS);
    assert_true(status == -SIGABRT || status > 0);
    client_close(&c);
    satcheld_start(&d);
    json_t *done = finish(&d, MINE, text_of(task, "id"));
    free(text);
    json_decref(runs);
    json_decref(task);
    return done;
}

/* Of a task of a type that is known to be short no row may tell that it runs: that it had started is known all the same. */
static void poison_of_a_short_type(void **state)
{
    (void)state;
    json_t *done = poison_that_was_short("{\"task\":\"probe.poison\",\"args\":1}");
    expect_state(done, "succeeded");
    expect_number(done, "lost", 1);
    expect_number(done, "attempt", 2);
    char target[100];
    (void)snprintf(target, sizeof target, "/v1/tasks/%s?attempts=true", text_of(done, "id"));
    json_t *task = get_json(&d, target, MINE, 200), *attempts = json_object_get(task, "attempts");
    assert_int_equal(json_array_size(attempts), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *attempt = json_array_get(attempts, i);
        expect_number(attempt, "attempt", (long long)i + 1);
        assert_true(time_of(attempt, "started_at") >= time_of(done, "created_at"));
    }
    json_decref(task);
    json_decref(done);
}

static void poison_of_a_short_type_that_must_start_once(void **state)
{
    (void)state;
    json_t *done = poison_that_was_short("{\"task\":\"probe.poison\",\"args\":1,\"max_lost\":0}");
    expect_state(done, "failed");
    expect_text(json_object_get(done, "error"), "type", "lost");
    expect_number(done, "lost", 1);
    expect_number(done, "attempt", 1);
    json_decref(done);
}

/* ---- what has ended ---- */

static void finished(void **state)
{
    (void)state;
    struct answer before = {0}, after = {0};
    ask(&d, &before, "POST", "/v1/tasks", JSON_TYPE ALL_HEADERS "Prefer: wait=20\r\n",
        "{\"task\":\"satchel.context\",\"context\":{\"shard\":\"s9\"},\"labels\":{\"l\":\"1\"},\"args\":[0.10]}");
    assert_int_equal(before.status, 200);
    char *location = answer_header(&before, "Location");
    crash();
    ask(&d, &after, "GET", location, MINE, NULL);
    assert_string_equal(before.body, after.body);
    satcheld_stop(&d);
    satcheld_start(&d);
    ask(&d, &after, "GET", location, MINE, NULL);
    assert_string_equal(before.body, after.body);
    ask(&d, &after, "GET", location, NULL, NULL); /* still another tenant's */
    assert_int_equal(after.status, 404);
    free(location);
    answer_release(&before);
    answer_release(&after);
}

static void canceled(void **state)
{
    (void)state;
    json_t *waits = submit(&d, MINE, "{\"task\":\"satchel.noop\",\"delay\":\"1h\"}", 202), *runs = occupy();
    json_t *first = act(&d, MINE, text_of(waits, "id"), "cancel", 200);
    json_t *second = act(&d, MINE, text_of(runs, "id"), "cancel", 200);
    expect_state(second, "canceled");
    crash();
    json_t *first_again = get_task(&d, MINE, text_of(waits, "id"), 200);
    json_t *second_again = get_task(&d, MINE, text_of(runs, "id"), 200);
    assert_true(json_equal(first, first_again));
    assert_true(json_equal(second, second_again));
    json_t *all[] = {waits, runs, first, second, first_again, second_again};
    for (size_t i = 0; i < 6; i++)
        json_decref(all[i]);
}

static void deleted(void **state)
{
    (void)state;
    json_t *task = run(&d, MINE, "{\"task\":\"satchel.noop\"}");
    assert_null(act(&d, MINE, text_of(task, "id"), "delete", 204));
    crash();
    json_t *gone = get_task(&d, MINE, text_of(task, "id"), 410);
    expect_text(gone, "id", text_of(task, "id"));
    expect_text(gone, "state", "succeeded");
    json_decref(gone);
    json_decref(task);
}

static void keys(void **state)
{
    (void)state;
    struct answer answer = {0};
    static const char key[] = JSON_TYPE MINE "Idempotency-Key: \"after the crash\"\r\n";
    json_t *task = submit(&d, MINE "Idempotency-Key: \"after the crash\"\r\n", "{\"task\":\"satchel.noop\"}", 202);
    crash();
    ask(&d, &answer, "POST", "/v1/tasks", key, "{\"task\":\"satchel.noop\"}");
    assert_int_equal(answer.status, 200);
    assert_true(answer_has(&answer, "Idempotency-Replayed", "true"));
    assert_non_null(strstr(answer.body, text_of(task, "id")));
    ask(&d, &answer, "POST", "/v1/tasks", key, "{\"task\":\"satchel.echo\"}");
    expect_problem(&answer, 422, "idempotency-mismatch");
    answer_release(&answer);
    json_decref(task);
}

static void ids_stay_in_order(void **state)
{
    (void)state;
    json_t *before = submit(&d, MINE, "{\"task\":\"satchel.noop\"}", 202);
    crash();
    json_t *after = submit(&d, MINE, "{\"task\":\"satchel.noop\"}", 202);
    assert_true(strcmp(text_of(before, "id"), text_of(after, "id")) < 0);
    json_t *page = get_json(&d, "/v1/tasks?limit=2", MINE, 200);
    const json_t *tasks = json_object_get(page, "tasks");
    expect_text(json_array_get(tasks, 0), "id", text_of(after, "id"));
    expect_text(json_array_get(tasks, 1), "id", text_of(before, "id"));
    json_decref(page);
    json_decref(before);
    json_decref(after);
}

/* Each with a daemon and a store of its own: what one leaves behind fails no other. */
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(queued),
        TEST(scheduled),
        TEST(due_meanwhile),
        TEST(expired_meanwhile),
        TEST(in_backoff),
        TEST(order_is_kept),
        TEST(running),
        TEST(runs_again_before_those_that_wait),
        TEST(runs_to_its_end_the_second_time),
        TEST(lost_once_too_often),
        TEST(cut_off_by_a_stop),
        TEST(stop_while_running),
        TEST(second_sigterm),
        TEST(poison),
        TEST(poison_that_wears_off),
        TEST(poison_of_a_short_type),
        TEST(poison_of_a_short_type_that_must_start_once),
        TEST(finished),
        TEST(canceled),
        TEST(deleted),
        TEST(keys),
        TEST(ids_stay_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
