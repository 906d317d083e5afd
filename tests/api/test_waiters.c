/* How many requests wait at once, all tenants together: what happens beyond that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/ask.h"

#define LATER "{\"task\":\"satchel.noop\",\"delay\":\"1h\"}"

enum { WAITS = 12 }; /* two a connection */

static struct satcheld d;

static int start(void **state)
{
    (void)state;
    satcheld_init(&d, "max_connections = 6\ndrain = \"100ms\"\n");
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

/* A tenant is not known before its first task is: nobody waits then. */
static long long waiters(void)
{
    struct answer answer = {0};
    long long n = 0;
    ask(&d, &answer, "GET", "/v1/tenants/a", NULL, NULL);
    if (answer.status != 404) {
        assert_int_equal(answer.status, 200);
        json_t *shown = answer_json(&answer);
        n = number_of(shown, "waiters");
        json_decref(shown);
    }
    answer_release(&answer);
    return n;
}

static bool all_wait(void *arg)
{
    (void)arg;
    return waiters() == WAITS;
}

static bool none_waits(void *arg)
{
    (void)arg;
    return waiters() == 0;
}

/* One batch whose answers wait for as many tasks as may be waited for. */
static void take_all_waits(struct client *c, const char *headers)
{
    char body[WAITS * sizeof LATER + 2] = "";
    for (int i = 0; i < WAITS; i++)
        strcat(strcat(body, i ? "," : "["), LATER);
    strcat(body, "]");
    char *text = request_text("POST", "/v1/tasks:batch", headers, body, strlen(body));
    client_open(c, &d);
    client_send_text(c, text);
    free(text);
}

static void cancel_all(const char *headers)
{
    struct answer answer = {0};
    ask(&d, &answer, "POST", "/v1/tasks:cancel?all=true", headers, "");
    assert_int_equal(answer.status, 200);
    answer_release(&answer);
}

/* A stream that cannot wait would ask the engine over and over, and tell its client that it is still there. */
static void a_stream_that_cannot_wait_is_refused(void **state)
{
    (void)state;
    static const char *const views[] = {"events", "log?follow=true"};
    struct answer answer = {0};
    struct client busy;
    char target[128];
    json_t *task = submit(&d, "X-Tenant-ID: b\r\n", LATER, 202);
    take_all_waits(&busy, "X-Tenant-ID: a\r\nPrefer: wait=60\r\n" JSON_TYPE);
    assert_true(until(all_wait, NULL, WAIT_MS));
    for (int i = 0; i < 2; i++) {
        (void)snprintf(target, sizeof target, "/v1/tasks/%s/%s", text_of(task, "id"), views[i]);
        ask(&d, &answer, "GET", target, "X-Tenant-ID: b\r\n", NULL);
        expect_problem(&answer, 503, "overloaded");
        assert_true(answer_has(&answer, "Retry-After", "1"));
    }
    (void)snprintf(target, sizeof target, "/v1/tasks/%s?wait=60s", text_of(task, "id"));
    ask(&d, &answer, "GET", target, "X-Tenant-ID: b\r\n", NULL); /* how it stands is told at once */
    assert_int_equal(answer.status, 200);
    cancel_all("X-Tenant-ID: a\r\n");
    assert_true(client_read(&busy, &answer));
    assert_int_equal(answer.status, 200);
    client_close(&busy);
    assert_true(until(none_waits, NULL, WAIT_MS));
    cancel_all("X-Tenant-ID: b\r\n");
    answer_release(&answer);
    json_decref(task);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_that_cannot_wait_is_refused),
    };
    return cmocka_run_group_tests_name("waiters", tests, start, stop);
}
