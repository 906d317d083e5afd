/* The client library against a scripted server: waiting for tasks and following them, batches, and pages, over answers
 * that break, come in pieces, too early, or not at all. */
#include "tests/unit/client_fixture.h"

#define UNAVAILABLE "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
#define NDJSON "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
/* On a connection that nobody takes for one to use again. */
#define LAST NDJSON "Connection: close\r\n"
#define STREAM "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"

/* ---- waiting ---- */

static void a_wait_goes_on_over_broken_answers(void **state)
{
    (void)state;
    satchel_future *future = future_running();
    receiver_answer(&r, NULL, NULL);
    receiver_answer(&r, UNAVAILABLE, "{\"title\":\"It starts\"}");
    receiver_answer(&r, "HTTP/1.1 502 Bad Gateway\r\n", "<h1>");
    receiver_answer(&r, OK_HEAD, TASK("queued"));
    receiver_answer(&r, OK_HEAD, DONE);
    assert_int_equal(satchel_future_wait(future, 20000, &error), SATCHEL_OK);
    assert_int_equal(error.status, SATCHEL_OK); /* nothing of what was overcome is left */
    assert_string_equal(error.title, "");
    char *json = NULL;
    size_t len = 0;
    assert_int_equal(satchel_future_result(future, &json, &len, &error), SATCHEL_OK);
    assert_string_equal(json, "[1,2.50]"); /* as it came: not written anew */
    assert_int_equal(len, 8);
    satchel_free(json);
    size_t asked = receiver_count(&r);
    assert_int_equal(satchel_future_wait(future, -1, &error), SATCHEL_OK);
    assert_int_equal(satchel_future_poll(future, &error), SATCHEL_OK);
    assert_int_equal(receiver_count(&r), asked); /* it is known */
    satchel_future_free(future);
}

static void a_wait_that_is_not_held_does_not_spin(void **state)
{
    (void)state;
    satchel_future *future = future_running();
    char text[512];
    (void)snprintf(text, sizeof text, OK_HEAD "Content-Length: %zu\r\n\r\n%s", strlen(TASK("running")),
                   TASK("running"));
    receiver_say(&r, text, RECEIVER_KEEP);
    long long began = now_ms();
    assert_int_equal(satchel_future_wait(future, 500, &error), SATCHEL_ETIMEDOUT);
    assert_in_range(now_ms() - began, 500, 10000);
    assert_in_range(receiver_count(&r), 3, 20);
    assert_string_equal(satchel_future_state(future), "running");
    size_t asked = receiver_count(&r);
    assert_int_equal(satchel_future_wait(future, 0, &error), SATCHEL_ETIMEDOUT);
    assert_int_equal(receiver_count(&r), asked + 1);
    satchel_future_free(future);
}

static void a_wait_ends_where_there_is_no_hope(void **state)
{
    (void)state;
    satchel_future *future = NULL;
    assert_int_equal(satchel_future_open(client, ID, &future, &error), SATCHEL_OK);
    receiver_answer(&r, NULL, NULL);
    assert_int_equal(satchel_future_wait(future, 20000, &error), SATCHEL_EUNREACHABLE); /* never heard of */
    satchel_future_free(future);
    static const struct {
        const char *head, *body;
        int status;
    } ends[] = {{"HTTP/1.1 404 Not Found\r\n", "{}", SATCHEL_ENOTFOUND},
                {"HTTP/1.1 410 Gone\r\n", "{}", SATCHEL_ENOTFOUND},
                {"HTTP/1.1 401 Who\r\n", "{}", SATCHEL_EDENIED},
                {OK_HEAD, "<html>", SATCHEL_EPROTOCOL}};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        receiver_forget(&r);
        future = future_running();
        receiver_answer(&r, ends[i].head, ends[i].body);
        assert_int_equal(satchel_future_wait(future, 20000, &error), ends[i].status);
        assert_int_equal(receiver_count(&r), 2);
        assert_string_equal(satchel_future_state(future), "running");
        satchel_future_free(future);
    }
}

static void *fire(void *arg)
{
    if (receiver_wait(&r, 2, 30000)) /* the question is there, and is not answered */
        satchel_cancel_fire(arg, 1);
    return NULL;
}

static void a_wait_ends_with_its_context(void **state)
{
    (void)state;
    satchel_future *future = future_running();
    satchel_cancel *cancel = NULL;
    pthread_t thread;
    assert_int_equal(satchel_cancel_new(NULL, &cancel), SATCHEL_OK);
    assert_int_equal(satchel_set_cancel(cancel, NULL), SATCHEL_OK);
    receiver_answer(&r, "", "");
    assert_int_equal(satchel_thread_create(&thread, NULL, fire, cancel), SATCHEL_OK);
    long long began = now_ms();
    assert_int_equal(satchel_future_wait(future, 60000, &error), SATCHEL_ECANCELED);
    assert_in_range(now_ms() - began, 0, 30000);
    assert_int_equal(pthread_join(thread, NULL), 0);
    satchel_cancel_unref(cancel);
    satchel_future_free(future);
}

static void what_became_of_it(void **state)
{
    (void)state;
    satchel_future *future = future_running();
    char kept[] = "kept", *json = kept;
    assert_int_equal(satchel_future_result(future, &json, NULL, &error), SATCHEL_PENDING);
    receiver_answer(&r, OK_HEAD,
                    "{\"id\":\"" ID "\",\"state\":\"failed\",\"exit_code\":3,"
                    "\"error\":{\"type\":\"exit\",\"message\":\"it left with 3\"}}");
    assert_int_equal(satchel_future_poll(future, &error), SATCHEL_OK);
    assert_int_equal(satchel_future_result(future, &json, NULL, &error), SATCHEL_ETASK);
    assert_ptr_equal(json, kept);
    assert_string_equal(error.type, "exit");
    assert_string_equal(error.detail, "it left with 3");
    int code = 0;
    assert_int_equal(satchel_future_exit_code(future, &code), SATCHEL_OK);
    assert_int_equal(code, 3);
    satchel_future_free(future);
}

/* ---- following ---- */

struct seen {
    char text[512];
    int left; /* ends it at the event that makes this 0 */
};

static int on_event(const satchel_event *event, void *arg)
{
    struct seen *seen = arg;
    size_t at = strlen(seen->text);
    assert_int_equal(strlen(event->data), event->len);
    (void)snprintf(seen->text + at, sizeof seen->text - at, "%s=%s;", event->name, event->data);
    return --seen->left == 0 ? 77 : 0;
}

static void a_stream_goes_on_where_it_broke(void **state)
{
    (void)state;
    satchel_future *future = NULL;
    struct seen seen = {.left = 100};
    assert_int_equal(satchel_future_open(client, ID, &future, &error), SATCHEL_OK);
    receiver_answer(&r, OK_HEAD, TASK("running"));
    /* the second event is cut off: it is told once, when it comes whole */
    receiver_say(&r,
                 STREAM ": hello\r\nretry: 5\nid: 1-a\nevent: log\ndata: {\"text\":\ndata: \"x\"}\r\n\r\n"
                        "id: 2-b\nevent: progress\ndata: {\"progr",
                 RECEIVER_CLOSE);
    receiver_say(&r, STREAM "id: 2-b\revent: progress\rdata:{\"progress\":7}\r\rid: 3\nevent: later\ndata: {}\n\n",
                 RECEIVER_CLOSE);
    receiver_say(&r,
                 "HTTP/1.1 200 OK\r\nContent-Length: 93\r\n\r\nevent: progress\ndata: {\"progress\":7}\n\n"
                 "id: 4\nevent: state\ndata: {\"state\":\"succeeded\"}\n\n       ",
                 RECEIVER_DRIP);
    receiver_answer(&r, OK_HEAD, DONE);
    assert_int_equal(satchel_future_watch(future, 20000, on_event, &seen, &error), SATCHEL_OK);
    assert_string_equal(seen.text,
                        "log={\"text\":\n\"x\"};progress={\"progress\":7};later={};state={\"state\":\"succeeded\"};");
    char *line = request_line(receiver_request(&r, 2), "Last-Event-ID");
    assert_string_equal(line, "1-a");
    free(line);
    line = request_line(receiver_request(&r, 1), "Last-Event-ID");
    assert_null(line);
    satchel_future_free(future);
}

static void whoever_follows_may_leave(void **state)
{
    (void)state;
    satchel_future *future = NULL;
    struct seen seen = {.left = 2};
    assert_int_equal(satchel_future_open(client, ID, &future, &error), SATCHEL_OK);
    receiver_answer(&r, OK_HEAD, TASK("running"));
    receiver_say(&r, STREAM "data: not json\n\ndata: {\"a\":1}\n\ndata: {\"a\":2}\n\ndata: {\"a\":3}\n\n",
                 RECEIVER_HANG);
    assert_int_equal(satchel_future_watch(future, 20000, on_event, &seen, &error), 77);
    assert_string_equal(seen.text, "message={\"a\":1};message={\"a\":2};");
    receiver_forget(&r);
    receiver_answer(&r, OK_HEAD, TASK("running"));
    receiver_say(&r, STREAM ": nothing\n\n", RECEIVER_HANG);
    assert_int_equal(satchel_future_watch(future, 300, on_event, &seen, &error), SATCHEL_ETIMEDOUT);
    satchel_future_free(future);
}

/* ---- batches ---- */

struct told {
    char text[256];
    unsigned n;
    int at_last; /* what the second answer is answered with */
};

static int on_answer(const char *json, size_t len, void *arg)
{
    struct told *told = arg;
    size_t at = strlen(told->text);
    (void)snprintf(told->text + at, sizeof told->text - at, "%.*s|", (int)(len < 100 ? len : 100), json);
    return ++told->n == 2 ? told->at_last : 0;
}

static int batch(const char *lines, struct told *told)
{
    int status = satchel_submit_batch(client, lines, strlen(lines), NULL, on_answer, told, &error);
    assert_int_equal(status < 0 ? status : 0, error.status);
    return status;
}

static void answers_of_a_batch(void **state)
{
    (void)state;
    struct told told = {0};
    receiver_say(&r, NDJSON "Content-Length: 15\r\n\r\n{\"a\":1}\r\n\n{\"b\"}", RECEIVER_DRIP);
    assert_int_equal(batch("{}\n\n \t\r\n{}", &told), SATCHEL_OK);
    assert_string_equal(told.text, "{\"a\":1}|{\"b\"}|"); /* also the last one, which has no line break */
    char *type = request_line(receiver_request(&r, 0), "Content-Type");
    assert_string_equal(type, "application/x-ndjson");
    free(type);
    told = (struct told){.at_last = 55};
    receiver_forget(&r);
    receiver_answer(&r, NDJSON, "1\n2\n3\n");
    assert_int_equal(satchel_submit_batch(client, "a\nb\nc", 5, NULL, on_answer, &told, &error), 55);
    assert_string_equal(told.text, "1|2|");
    told = (struct told){0};
    receiver_answer(&r, NDJSON, "");
    assert_int_equal(batch("", &told), SATCHEL_OK); /* nothing in, nothing out */
    assert_int_equal(told.n, 0);
}

static void batches_that_are_not_answered_whole(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int status;
        unsigned told;
    } cases[] = {{LAST "Content-Length: 2\r\n\r\n1\n", SATCHEL_EPROTOCOL, 1},
                 {NDJSON "\r\n1\n", SATCHEL_EPROTOCOL, 1}, /* it ends with its connection: nothing says that it broke */
                 {NDJSON "Content-Length: 99\r\n\r\n1\n2", SATCHEL_EUNREACHABLE, 1},
                 {LAST "Content-Length: 0\r\n\r\n", SATCHEL_EPROTOCOL, 0},
                 {"HTTP/1.1 401 Who\r\nConnection: close\r\nContent-Length: 4\r\n\r\n1\n2\n", SATCHEL_EDENIED, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct told told = {0};
        receiver_say(&r, cases[i].text, RECEIVER_CLOSE);
        if (batch("{}\n{}\n", &told) != cases[i].status || told.n != cases[i].told)
            fail_msg("case %zu: %d %s, %u told", i, error.status, error.detail, told.n);
        assert_int_equal(receiver_count(&r), 1); /* and never sent again */
        receiver_forget(&r);
    }
    client_start(300);
    struct told told = {0};
    receiver_say(&r, NDJSON "\r\n1\n", RECEIVER_HANG);
    long long began = now_ms();
    assert_int_equal(batch("{}\n{}\n", &told), SATCHEL_EUNREACHABLE);
    assert_in_range(now_ms() - began, 250, 4500);
    assert_int_equal(told.n, 1);
}

static void endless_answers_of_a_batch(void **state)
{
    (void)state;
    struct told told = {0};
    receiver_say(&r, NDJSON "\r\n1\n", RECEIVER_REPEAT); /* line after line */
    assert_int_equal(batch("{}\n{}", &told), SATCHEL_EPROTOCOL);
    assert_int_equal(told.n, 2);
    receiver_forget(&r);
    size_t len = (size_t)80 << 20, head = strlen(NDJSON "\r\n");
    char *text = malloc(len); /* one line */
    assert_non_null(text);
    memcpy(text, NDJSON "\r\n", head);
    memset(text + head, 'x', len - head);
    receiver_say_bytes(&r, text, len, RECEIVER_CLOSE);
    free(text);
    told = (struct told){0};
    assert_int_equal(batch("{}\n", &told), SATCHEL_EPROTOCOL);
    assert_non_null(strstr(error.detail, "larger"));
    assert_int_equal(told.n, 0);
}

/* ---- pages ---- */

static void pages_and_their_cursors(void **state)
{
    (void)state;
    satchel_list_options options = {.struct_size = sizeof options, .label = "a:b&c=d #%\xc3\xa4", .limit = 3};
    char *json = NULL, *next = NULL;
    size_t len = 0;
    receiver_answer(&r, OK_HEAD, "{\"tasks\":[{\"n\":1.0}],\"next_cursor\":\"a/b+c\"}");
    assert_int_equal(satchel_list(client, &options, &json, &len, &next, &error), SATCHEL_OK);
    assert_string_equal(json, "{\"tasks\":[{\"n\":1.0}],\"next_cursor\":\"a/b+c\"}");
    assert_int_equal(len, strlen(json));
    assert_string_equal(next, "a/b+c");
    assert_non_null(strstr(receiver_request(&r, 0), "GET /v1/tasks?label=a%3Ab%26c%3Dd%20%23%25%C3%A4&limit=3 HTTP"));
    satchel_free(json);
    options.cursor = next;
    receiver_answer(&r, OK_HEAD, "{\"tasks\":[]}");
    char kept[] = "kept", *end = kept;
    assert_int_equal(satchel_list(client, &options, &json, NULL, &end, &error), SATCHEL_OK);
    assert_null(end);
    assert_non_null(strstr(receiver_request(&r, 1), "&cursor=a%2Fb%2Bc&"));
    satchel_free(json);
    satchel_free(next);
}

/* Nothing is written where a call fails. */
static void outputs_of_failures(void **state)
{
    (void)state;
    static const char *const bodies[] = {"", "[]", "{}", "{\"tasks\":{}}", "{\"matched\":\"1\"}"};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        char kept[] = "kept", *json = kept, *next = kept;
        size_t len = 7;
        satchel_action_counts counts = {.struct_size = sizeof counts, .matched = 7};
        receiver_answer(&r, OK_HEAD, bodies[i]);
        receiver_answer(&r, OK_HEAD, bodies[i]);
        assert_int_equal(satchel_list(client, NULL, &json, &len, &next, &error), SATCHEL_EPROTOCOL);
        assert_int_equal(satchel_act(client, SATCHEL_CANCEL_TASKS, NULL, SATCHEL_ACT_ALL, &counts, &next, &error),
                         SATCHEL_EPROTOCOL);
        assert_true(json == kept && next == kept && len == 7 && counts.matched == 7);
    }
    char kept[] = "kept", *json = kept;
    satchel_future *future = future_running();
    for (int i = 0; i < 5; i++) {
        receiver_answer(&r, "HTTP/1.1 500 No\r\n", "{}");
        int status = i == 0   ? satchel_future_attempts(future, &json, NULL, &error)
                     : i == 1 ? satchel_future_context(future, &json, NULL, &error)
                     : i == 2 ? satchel_future_tree(future, &json, NULL, &error)
                     : i == 3 ? satchel_admin_status(client, &json, NULL, &error)
                              : satchel_schedule_list(client, &json, NULL, &error);
        assert_int_equal(status, SATCHEL_ESERVER);
        assert_ptr_equal(json, kept);
    }
    satchel_future_free(future);
}

/* ---- what is not asked twice ---- */

static void orders_are_given_once(void **state)
{
    (void)state;
    satchel_future *future = future_running(), *made = NULL; /* from now on there is a connection to use again */
    receiver_answer(&r, NULL, NULL);
    assert_int_equal(satchel_schedule_run(client, "s", &made, &error), SATCHEL_EUNREACHABLE);
    assert_int_equal(receiver_count(&r), 2);
    receiver_answer(&r, OK_HEAD, TASK("running"));
    assert_int_equal(satchel_future_poll(future, &error), SATCHEL_PENDING);
    receiver_answer(&r, NULL, NULL);
    assert_int_equal(satchel_future_retry(future, &error), SATCHEL_EUNREACHABLE);
    assert_int_equal(receiver_count(&r), 4);
    satchel_future_free(future);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_wait_goes_on_over_broken_answers),
        TEST(a_wait_that_is_not_held_does_not_spin),
        TEST(a_wait_ends_where_there_is_no_hope),
        TEST(a_wait_ends_with_its_context),
        TEST(what_became_of_it),
        TEST(a_stream_goes_on_where_it_broke),
        TEST(whoever_follows_may_leave),
        TEST(answers_of_a_batch),
        TEST(batches_that_are_not_answered_whole),
        TEST(endless_answers_of_a_batch),
        TEST(pages_and_their_cursors),
        TEST(outputs_of_failures),
        TEST(orders_are_given_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
