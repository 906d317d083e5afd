/* What the tests of the client library share: a scripted server, a client of it, and answers. */
#ifndef SATCHEL_TESTS_CLIENT_FIXTURE_H
#define SATCHEL_TESTS_CLIENT_FIXTURE_H

#include <satchel/client.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tests/support/receiver.h"

#define ID "018f4b3e-0000-7000-8000-000000000001"
#define OTHER_ID "018f4b3e-0000-7000-8000-000000000002"
#define TASK(state) "{\"id\":\"" ID "\",\"task\":\"t\",\"tenant\":\"acme\",\"state\":\"" state "\"}"
#define DONE "{\"id\":\"" ID "\",\"task\":\"t\",\"tenant\":\"acme\",\"state\":\"succeeded\",\"result\":[1,2.50]}"
#define OK_HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
#define ACCEPTED "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\n"

static struct receiver r;
static satchel_client *client;
static satchel_error error;

static inline long long now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static inline satchel_client *client_with(const satchel_client_options *options)
{
    satchel_client *made = NULL;
    assert_int_equal(satchel_client_new(options, &made, &error), SATCHEL_OK);
    return made;
}

/* Of the scripted server; an answer may take `timeout_ms` (0: as ever). */
static inline void client_start(int64_t timeout_ms)
{
    satchel_client_unref(client);
    client = client_with(&(satchel_client_options){
        .struct_size = sizeof(satchel_client_options), .url = r.url, .timeout_ms = timeout_ms});
}

static int setup(void **state)
{
    (void)state;
    (void)unsetenv("SATCHEL_URL");
    (void)unsetenv("SATCHEL_TOKEN");
    receiver_start(&r);
    client_start(0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    satchel_client_unref(client);
    client = NULL;
    receiver_stop(&r);
    (void)satchel_thread_reset();
    return 0;
}

/* The future of a task that the server has told of already, as running. */
static inline satchel_future *future_running(void)
{
    satchel_future *future = NULL;
    assert_int_equal(satchel_future_open(client, ID, &future, &error), SATCHEL_OK);
    receiver_answer(&r, OK_HEAD, TASK("running"));
    assert_int_equal(satchel_future_poll(future, &error), SATCHEL_PENDING);
    return future;
}

static inline int submit_with(const satchel_submit_options *options)
{
    satchel_future *future = NULL;
    int status = satchel_submit(client, "t", "{}", options, &future, &error);
    assert_int_equal(status, error.status);
    assert_true((status == SATCHEL_OK) == (future != NULL));
    satchel_future_free(future);
    return status;
}

static inline int submit(void)
{
    return submit_with(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
