/* What a task tells while it runs, kept and followed: its log, its progress, its states as server-sent events. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/ask.h"

#define ACME "X-Tenant-ID: acme\r\n"

static struct satcheld d;

static int start(void **state)
{
    (void)state;
    satcheld_init(&d, "max_log = \"64KiB\"\n"
                      "task \"lines\" { command = {\"/bin/sh\", \"-c\", \"seq {{args.n}} >&2\"} }\n"
                      "task \"gate\" { command = {\"/bin/sh\", \"-c\","
                      " \"echo before >&2; while [ ! -e {{args.gate}} ]; do sleep 0.02; done; echo after >&2\"} }\n"
                      "task \"bytes\" { command = {\"/bin/sh\", \"-c\", \"printf 'a\\\\377b\\\\n' >&2\"} }\n"
                      "task \"flood\" { command = {\"/bin/sh\", \"-c\","
                      " \"yes a line of a flood | head -c 60000000 >&2; echo; echo the end. >&2\"} }\n"
                      "plugin \"" TEST_BUILD_DIR "/examples/plugin/.libs/example.so\" {}\n");
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

static void fetch(struct answer *answer, const char *id, const char *view, const char *headers)
{
    char target[128];
    (void)snprintf(target, sizeof target, "/v1/tasks/%s/%s", id, view);
    ask(&d, answer, "GET", target, headers, NULL);
}

static void expect_log(const char *id, const char *expected)
{
    struct answer answer = {0};
    fetch(&answer, id, "log", ACME);
    assert_int_equal(answer.status, 200);
    assert_true(answer_has(&answer, "Content-Type", "text/plain; charset=utf-8"));
    assert_string_equal(answer.body, expected);
    answer_release(&answer);
}

/* ---- the log ---- */

static void kept_whole_and_in_order(void **state)
{
    (void)state;
    json_t *task = run(&d, ACME, "{\"task\":\"lines\",\"args\":{\"n\":3}}");
    expect_state(task, "succeeded");
    expect_log(text_of(task, "id"), "1\n2\n3\n");
    satcheld_stop(&d);
    satcheld_start(&d);
    expect_log(text_of(task, "id"), "1\n2\n3\n");
    json_decref(task);
}

static void of_a_task_that_wrote_nothing(void **state)
{
    (void)state;
    json_t *task = run(&d, ACME, "{\"task\":\"satchel.noop\"}");
    expect_log(text_of(task, "id"), "");
    json_decref(task);
}

static void bytes_as_they_are(void **state)
{
    (void)state;
    json_t *task = run(&d, ACME, "{\"task\":\"bytes\"}");
    expect_log(text_of(task, "id"), "a\377b\n");
    json_decref(task);
}

static void the_oldest_goes_first_with_a_mark(void **state)
{
    (void)state;
    json_t *task = run(&d, ACME, "{\"task\":\"lines\",\"args\":{\"n\":100000}}"); /* 588,895 bytes */
    expect_state(task, "succeeded");
    struct answer answer = {0};
    fetch(&answer, text_of(task, "id"), "log", ACME);
    const char *rest = strchr(answer.body, '\n') + 1;
    unsigned long dropped = 0;
    assert_int_equal(sscanf(answer.body, "[satcheld: %lu bytes were dropped here]", &dropped), 1);
    assert_true(answer.body_len <= 64 * 1024 && strlen(rest) >= 40 * 1024);
    assert_int_equal(dropped + strlen(rest), 588895);
    assert_string_equal(rest + strlen(rest) - 7, "100000\n");
    answer_release(&answer);
    json_decref(task);
}

static void of_every_attempt(void **state)
{
    (void)state;
    json_t *task = run(&d, ACME,
                       "{\"task\":\"lines\",\"args\":{\"n\":\"x\"},\"max_attempts\":2,"
                       "\"backoff\":{\"type\":\"fixed\",\"base\":\"1ms\"}}");
    expect_state(task, "failed");
    struct answer answer = {0};
    fetch(&answer, text_of(task, "id"), "log", ACME);
    const char *first = strstr(answer.body, "seq:");
    assert_non_null(first);
    assert_non_null(strstr(first + 4, "seq:"));
    answer_release(&answer);
    json_decref(task);
}

static void of_nobody_else(void **state)
{
    (void)state;
    static const char *const views[] = {"log", "events", "log?follow=true"};
    json_t *task = run(&d, ACME, "{\"task\":\"satchel.noop\"}");
    struct answer answer = {0};
    for (size_t i = 0; i < sizeof views / sizeof views[0]; i++) {
        fetch(&answer, text_of(task, "id"), views[i], "X-Tenant-ID: other\r\n");
        expect_problem(&answer, 404, "task-not-found");
        fetch(&answer, "01995a2e-7c3b-7d21-9f0e-4b8f6d1c2a35", views[i], ACME);
        expect_problem(&answer, 404, "task-not-found");
        fetch(&answer, "nonsense", views[i], ACME);
        expect_problem(&answer, 404, "task-not-found");
    }
    fetch(&answer, text_of(task, "id"), "log?follow=perhaps", ACME);
    expect_problem(&answer, 400, "invalid-parameter");
    (void)act(&d, ACME, text_of(task, "id"), "delete", 204);
    fetch(&answer, text_of(task, "id"), "log", ACME);
    expect_problem(&answer, 410, "task-gone");
    answer_release(&answer);
    json_decref(task);
}

/* ---- following ---- */

struct stream { /* one chunked answer, read as it comes */
    struct client client;
    char text[65536];
    size_t len;
};

static void stream_open(struct stream *s, const char *id, const char *view, const char *headers)
{
    char target[128];
    (void)snprintf(target, sizeof target, "/v1/tasks/%s/%s", id, view);
    char *request = request_text("GET", target, headers, NULL, 0);
    s->len = 0;
    client_open(&s->client, &d);
    client_send_text(&s->client, request);
    free(request);
}

static bool has_come(void *arg)
{
    struct stream *s = ((void **)arg)[0];
    const char *text = ((void **)arg)[1];
    struct answer none = {0};
    (void)client_try(&s->client, &none); /* takes what is there; the answer is not complete */
    answer_release(&none);
    s->len = s->client.len < sizeof s->text - 1 ? s->client.len : sizeof s->text - 1;
    memcpy(s->text, s->client.data ? s->client.data : "", s->len);
    s->text[s->len] = '\0';
    return strstr(s->text, text) != NULL;
}

static void stream_await(struct stream *s, const char *text)
{
    void *args[] = {s, (void *)(uintptr_t)text};
    if (!until(has_come, args, WAIT_MS))
        fail_msg("%s did not come: %s", text, s->text);
}

static json_t *gated(char gate[128])
{
    static int n;
    char body[256];
    (void)snprintf(gate, 128, "%s/gate%d", d.dir, n++);
    (void)snprintf(body, sizeof body, "{\"task\":\"gate\",\"args\":{\"gate\":\"%s\"}}", gate);
    return submit(&d, ACME "X-Request-ID: r-7\r\n", body, 202);
}

static void lines_as_they_come(void **state)
{
    (void)state;
    char gate[128];
    static struct stream s;
    struct answer answer = {0};
    json_t *task = gated(gate);
    stream_open(&s, text_of(task, "id"), "log?follow=true", ACME);
    stream_await(&s, "before\n");
    assert_null(strstr(s.text, "after"));
    write_file(gate, "");
    assert_true(client_read(&s.client, &answer));
    assert_string_equal(answer.body, "before\nafter\n");
    answer_release(&answer);
    client_close(&s.client);
    json_decref(task);
}

/* The data of the n-th event of that name in a whole stream; the caller's. */
static json_t *event_data(const char *body, const char *name, unsigned n)
{
    char start[32];
    (void)snprintf(start, sizeof start, "event: %s\n", name);
    const char *at = strstr(body, start);
    for (; at && n; n--)
        at = strstr(at + 1, start);
    if (!at)
        return NULL;
    at = strstr(at, "data: ");
    assert_non_null(at);
    json_t *data = json_loadb(at + 6, strcspn(at + 6, "\n"), 0, NULL);
    assert_non_null(data);
    return data;
}

static void states_with_their_context(void **state)
{
    (void)state;
    char gate[128];
    static struct stream s;
    struct answer answer = {0};
    json_t *task = gated(gate), *data;
    json_decref(await_state(&d, ACME, text_of(task, "id"), "running"));
    stream_open(&s, text_of(task, "id"), "events", ACME);
    stream_await(&s, "before\\n");
    write_file(gate, "");
    assert_true(client_read(&s.client, &answer));
    assert_true(answer_has(&answer, "Content-Type", "text/event-stream"));
    assert_true(answer_has(&answer, "Cache-Control", "no-store"));
    data = event_data(answer.body, "state", 0);
    expect_text(data, "state", "running");
    expect_text(data, "id", text_of(task, "id"));
    expect_text(data, "tenant", "acme");
    expect_text(json_object_get(data, "context"), "request_id", "r-7");
    expect_text(json_object_get(data, "context"), "traceparent",
                text_of(json_object_get(task, "context"), "traceparent"));
    json_decref(data);
    data = event_data(answer.body, "state", 1);
    expect_text(data, "state", "succeeded");
    expect_number(data, "exit_code", 0);
    json_decref(data);
    assert_null(event_data(answer.body, "state", 2));
    data = event_data(answer.body, "log", 0);
    expect_number(data, "offset", 0);
    expect_text(data, "text", "before\n");
    json_decref(data);
    data = event_data(answer.body, "log", 1);
    expect_number(data, "offset", 7);
    expect_text(data, "text", "after\n");
    json_decref(data);
    const char *end = strstr(answer.body, "event: state\nid: 1.succeeded.13.0\n");
    assert_non_null(end);
    assert_null(strstr(end, "event: log")); /* the end is told last */
    answer_release(&answer);
    client_close(&s.client);
    json_decref(task);
}

static void a_stream_resumes_where_it_was_cut_off(void **state)
{
    (void)state;
    struct answer answer = {0};
    json_t *task = run(&d, ACME, "{\"task\":\"lines\",\"args\":{\"n\":3}}"), *data;
    fetch(&answer, text_of(task, "id"), "events", ACME "Last-Event-ID: 1.running.2\r\n");
    assert_int_equal(answer.status, 200);
    data = event_data(answer.body, "log", 0);
    expect_number(data, "offset", 2);
    expect_text(data, "text", "2\n3\n");
    json_decref(data);
    data = event_data(answer.body, "state", 0);
    expect_text(data, "state", "succeeded");
    json_decref(data);
    fetch(&answer, text_of(task, "id"), "events", ACME "Last-Event-ID: 1.succeeded.6\r\n");
    assert_int_equal(answer.status, 204);
    static const char *const strange[] = {
        "1.succeeded.99999", "x", "1.nostate.0", "-1.running.-5", "1.running.2.3", "99999999999999999999.running.0"};
    for (size_t i = 0; i < sizeof strange / sizeof strange[0]; i++) {
        char headers[128];
        (void)snprintf(headers, sizeof headers, ACME "Last-Event-ID: %s\r\n", strange[i]);
        fetch(&answer, text_of(task, "id"), "events", headers);
        assert_true(answer.status == 200 || answer.status == 204);
    }
    answer_release(&answer);
    json_decref(task);
}

/* What was told once is not told again: the rest of a stream goes on behind each of its events. */
static void a_stream_resumes_behind_each_event(void **state)
{
    (void)state;
    struct answer whole = {0}, rest = {0};
    json_t *task = run(&d, ACME, "{\"task\":\"example.countdown\",\"args\":{\"steps\":3}}");
    fetch(&whole, text_of(task, "id"), "events", ACME);
    const char *at = whole.body;
    unsigned n = 0;
    while ((at = strstr(at, "\nid: ")) != NULL) {
        char headers[160];
        at += strlen("\nid: ");
        (void)snprintf(headers, sizeof headers, ACME "Last-Event-ID: %.*s\r\n", (int)strcspn(at, "\n"), at);
        at = strstr(at, "\n\n") + 2;
        fetch(&rest, text_of(task, "id"), "events", headers);
        if (*at) {
            assert_int_equal(rest.status, 200);
            assert_string_equal(rest.body + strlen("retry: 1000\n\n"), at);
        } else {
            assert_int_equal(rest.status, 204);
        }
        n++;
        at--;
    }
    assert_true(n >= 2);
    answer_release(&whole);
    answer_release(&rest);
    json_decref(task);
}

/* Of more than can be written down at a time the end is kept: it says why the task ended as it did. */
static void the_end_of_a_flood_is_kept(void **state)
{
    (void)state;
    struct answer answer = {0};
    json_t *task = run(&d, ACME, "{\"task\":\"flood\"}");
    expect_state(task, "succeeded");
    fetch(&answer, text_of(task, "id"), "log", ACME);
    assert_int_equal(answer.status, 200);
    assert_true(answer.body_len <= 65536 && answer.body_len > 30000);
    assert_memory_equal(answer.body, "[satcheld: ", 11);
    assert_string_equal(answer.body + answer.body_len - 9, "the end.\n");
    answer_release(&answer);
    json_decref(task);
}

static void progress_and_what_is_being_done(void **state)
{
    (void)state;
    struct answer answer = {0};
    json_t *task = submit(&d, ACME, "{\"task\":\"example.countdown\",\"args\":{\"steps\":3}}", 202), *data = NULL;
    fetch(&answer, text_of(task, "id"), "events", ACME);
    unsigned n = 0;
    double last = -1;
    for (json_t *next; (next = event_data(answer.body, "progress", n)) != NULL; n++) {
        json_decref(data);
        data = next;
        assert_true(json_number_value(json_object_get(data, "progress")) >= last);
        last = json_number_value(json_object_get(data, "progress"));
    }
    assert_true(n >= 1);
    assert_true(last == 1);
    expect_text(data, "message", "done");
    json_decref(data);
    json_t *ended = finish(&d, ACME, text_of(task, "id"));
    assert_true(json_number_value(json_object_get(ended, "progress")) == 1);
    expect_text(ended, "progress_message", "done");
    json_decref(ended);
    satcheld_stop(&d); /* and not only from memory */
    satcheld_start(&d);
    ended = get_task(&d, ACME, text_of(task, "id"), 200);
    assert_true(json_number_value(json_object_get(ended, "progress")) == 1);
    expect_text(ended, "progress_message", "done");
    json_decref(ended);
    answer_release(&answer);
    json_decref(task);
}

static void waiting_tasks_are_followed_too(void **state)
{
    (void)state;
    static struct stream s;
    struct answer answer = {0};
    json_t *task = submit(&d, ACME, "{\"task\":\"satchel.noop\",\"delay\":\"1h\"}", 202);
    stream_open(&s, text_of(task, "id"), "events", ACME);
    stream_await(&s, "\"state\":\"scheduled\"");
    json_decref(act(&d, ACME, text_of(task, "id"), "cancel", 200));
    assert_true(client_read(&s.client, &answer));
    json_t *data = event_data(answer.body, "state", 1);
    expect_text(data, "state", "canceled");
    json_decref(data);
    answer_release(&answer);
    client_close(&s.client);
    json_decref(task);
}

static void who_leaves_is_forgotten(void **state)
{
    (void)state;
    enum { N = 200 };
    static struct client clients[N];
    json_t *task = submit(&d, ACME, "{\"task\":\"satchel.noop\",\"delay\":\"1h\"}", 202);
    char target[128];
    (void)snprintf(target, sizeof target, "/v1/tasks/%s/events", text_of(task, "id"));
    char *request = request_text("GET", target, ACME, NULL, 0);
    for (int i = 0; i < N; i++) {
        client_open(&clients[i], &d);
        client_send_text(&clients[i], request);
    }
    for (int i = 0; i < N; i++)
        client_close(&clients[i]);
    free(request);
    json_decref(act(&d, ACME, text_of(task, "id"), "cancel", 200));
    json_decref(run(&d, ACME, "{\"task\":\"satchel.noop\"}"));
    json_decref(task);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_whole_and_in_order),
        cmocka_unit_test(of_a_task_that_wrote_nothing),
        cmocka_unit_test(bytes_as_they_are),
        cmocka_unit_test(the_oldest_goes_first_with_a_mark),
        cmocka_unit_test(of_every_attempt),
        cmocka_unit_test(of_nobody_else),
        cmocka_unit_test(lines_as_they_come),
        cmocka_unit_test(states_with_their_context),
        cmocka_unit_test(a_stream_resumes_where_it_was_cut_off),
        cmocka_unit_test(a_stream_resumes_behind_each_event),
        cmocka_unit_test(the_end_of_a_flood_is_kept),
        cmocka_unit_test(progress_and_what_is_being_done),
        cmocka_unit_test(waiting_tasks_are_followed_too),
        cmocka_unit_test(who_leaves_is_forgotten),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
