/* The client library against a scripted server: what it sends, and what it makes of each answer, whole, broken, slow,
 * endless, foreign, or none. */
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/client_fixture.h"

/* ---- no answer, or not all of it ---- */

static void nobody_is_there(void **state)
{
    (void)state;
    struct receiver gone;
    receiver_start(&gone);
    receiver_stop(&gone); /* its port is free again */
    satchel_client *other =
        client_with(&(satchel_client_options){.struct_size = sizeof(satchel_client_options), .url = gone.url});
    satchel_future *future = NULL;
    assert_int_equal(satchel_submit(other, "t", NULL, NULL, &future, &error), SATCHEL_EUNREACHABLE);
    assert_null(future);
    assert_int_equal(error.status, SATCHEL_EUNREACHABLE);
    assert_int_equal(error.http_status, 0);
    assert_string_equal(error.title, "satcheld cannot be reached");
    assert_non_null(strstr(error.detail, gone.url));
    assert_int_equal(satchel_submit(other, "t", NULL, NULL, &future, NULL), SATCHEL_EUNREACHABLE); /* no error wanted */
    satchel_client_unref(other);
}

static void answers_that_break_off(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum receiver_after after;
    } broken[] = {
        {"", RECEIVER_CLOSE},
        {"", RECEIVER_RESET},
        {"HTTP/1.1 202 Acc", RECEIVER_RESET},
        {"HTTP/1.1 202 Accepted\r\nContent-Length: 1000\r\n\r\n{\"id\":", RECEIVER_CLOSE},
        {"HTTP/1.1 202 Accepted\r\nContent-Length: 1000\r\n\r\n{\"id\":", RECEIVER_RESET},
        {"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n{\"id\":", RECEIVER_CLOSE},
        {"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"id\"\r\n", RECEIVER_RESET},
    };
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        receiver_say(&r, broken[i].text, broken[i].after);
        if (submit() != SATCHEL_EUNREACHABLE)
            fail_msg("answer %zu: %d %s", i, error.status, error.detail);
        receiver_forget(&r);
    }
}

static void slow_answers_have_a_limit(void **state)
{
    (void)state;
    client_start(300);
    for (int i = 0; i < 2; i++) {
        receiver_say(&r,
                     "HTTP/1.1 202 Accepted\r\nContent-Length: 9000\r\n\r\n{\"id\":                             "
                     "                                                                                     "
                     "                                                                                     ",
                     i ? RECEIVER_DRIP : RECEIVER_HANG);
        long long began = now_ms();
        assert_int_equal(submit(), SATCHEL_EUNREACHABLE);
        assert_in_range(now_ms() - began, 250, 5000);
        assert_string_equal(error.title, "satcheld did not answer in time");
        receiver_forget(&r);
    }
}

static int on_text(const char *part, size_t len, void *arg)
{
    (void)strncat(arg, part, len < 15 ? len : 15);
    return 0;
}

static void a_log_that_stops_coming_has_a_limit(void **state)
{
    (void)state;
    client_start(300);
    satchel_future *future = future_running();
    receiver_say(&r, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nfirst", RECEIVER_HANG);
    long long began = now_ms();
    char text[16] = "";
    assert_int_equal(satchel_future_log(future, on_text, text, &error), SATCHEL_EUNREACHABLE);
    assert_in_range(now_ms() - began, 250, 5000);
    assert_string_equal(text, "first"); /* what came was told */
    satchel_future_free(future);
}

/* ---- what answers is not satcheld ---- */

static void foreign_answers(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "SSH-2.0-OpenSSH_9.2\r\n",
        "220 mail.example.com ESMTP\r\n",
        "HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        receiver_say(&r, texts[i], RECEIVER_CLOSE);
        if (submit() != SATCHEL_EPROTOCOL)
            fail_msg("answer %zu: %d %s", i, error.status, error.detail);
        receiver_forget(&r);
    }
}

static void bodies_that_are_no_task(void **state)
{
    (void)state;
    static const char *const bodies[] = {"",
                                         "null",
                                         "[]",
                                         "{",
                                         "{}",
                                         "<html>",
                                         "\"queued\"",
                                         "{\"id\":\"" ID "\"}",
                                         "{\"state\":\"queued\"}",
                                         "{\"id\":7,\"state\":\"queued\"}",
                                         "{\"id\":\"../../etc\",\"state\":\"queued\"}",
                                         "{\"id\":\"" ID "\",\"state\":\"queued\"} trailing",
                                         "{\"id\":\"" ID "\",\"state\":\"que\xff\"}",
                                         "{\"id\":\"" ID "\",\"state\":\"queued\",\"id\":\"" OTHER_ID "\"}"};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        receiver_answer(&r, ACCEPTED, bodies[i]);
        if (submit() != SATCHEL_EPROTOCOL)
            fail_msg("body %s: %d %s", bodies[i], error.status, error.detail);
    }
    char deep[4096] = "{\"id\":\"" ID "\",\"state\":\"queued\",\"args\":";
    memset(deep + strlen(deep), '[', 2000);
    receiver_answer(&r, ACCEPTED, deep);
    assert_int_equal(submit(), SATCHEL_EPROTOCOL);
    satchel_future *future = future_running();
    receiver_answer(&r, OK_HEAD, "{\"id\":\"" OTHER_ID "\",\"state\":\"succeeded\"}");
    assert_int_equal(satchel_future_poll(future, &error), SATCHEL_EPROTOCOL);
    assert_string_equal(satchel_future_state(future), "running"); /* nothing changed */
    satchel_future_free(future);
}

static void endless_answers_have_a_bound(void **state)
{
    (void)state;
    static char text[65536] = "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\n\r\n";
    memset(text + strlen(text), ' ', sizeof text - 1 - strlen(text));
    receiver_say(&r, text, RECEIVER_REPEAT);
    assert_int_equal(submit(), SATCHEL_EPROTOCOL);
    assert_non_null(strstr(error.detail, "larger"));
    receiver_forget(&r);
    receiver_say(&r, "HTTP/1.1 100 Continue\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n",
                 RECEIVER_REPEAT);
    long long began = now_ms();
    assert_int_equal(submit(), SATCHEL_EPROTOCOL);
    assert_in_range(now_ms() - began, 0, 20000); /* not the time limit ended it */
}

static void redirects_are_not_followed(void **state)
{
    (void)state;
    struct receiver elsewhere;
    char head[256];
    receiver_start(&elsewhere);
    for (int code = 301; code <= 308; code += code == 303 ? 4 : 1) {
        (void)snprintf(head, sizeof head, "HTTP/1.1 %d Elsewhere\r\nLocation: %s/v1/tasks\r\n", code, elsewhere.url);
        receiver_answer(&r, head, "");
        assert_int_equal(submit(), SATCHEL_EPROTOCOL);
        assert_int_equal(error.http_status, code);
    }
    assert_int_equal(receiver_count(&elsewhere), 0);
    receiver_stop(&elsewhere);
}

/* ---- problems ---- */

static void problems_are_told(void **state)
{
    (void)state;
    static const struct {
        int http, status;
    } cases[] = {{400, SATCHEL_EREFUSED},  {401, SATCHEL_EDENIED},   {403, SATCHEL_EDENIED},  {404, SATCHEL_ENOTFOUND},
                 {409, SATCHEL_ECONFLICT}, {410, SATCHEL_ENOTFOUND}, {413, SATCHEL_EREFUSED}, {422, SATCHEL_EREFUSED},
                 {429, SATCHEL_EAGAIN},    {500, SATCHEL_ESERVER},   {502, SATCHEL_ESERVER},  {503, SATCHEL_EAGAIN},
                 {504, SATCHEL_ESERVER},   {599, SATCHEL_ESERVER}};
    char head[160];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        (void)snprintf(head, sizeof head,
                       "HTTP/1.1 %d X\r\nContent-Type: application/problem+json\r\nRetry-After: %zu\r\n", cases[i].http,
                       7 + i);
        receiver_answer(
            &r, head,
            "{\"type\":\"urn:satchel:problem:x\",\"title\":\"A title\",\"detail\":\"A d\\u00e9tail\","
            "\"errors\":[{\"pointer\":\"/a\",\"detail\":\"one\"},{\"pointer\":\"\",\"detail\":\"two\"},3,{}]}");
        assert_int_equal(submit(), cases[i].status);
        assert_int_equal(error.http_status, cases[i].http);
        assert_int_equal(error.retry_after_s, 7 + i);
        assert_string_equal(error.type, "urn:satchel:problem:x");
        assert_string_equal(error.title, "A title");
        assert_string_equal(error.detail, "A d\xc3\xa9tail");
        assert_int_equal(strncmp(error.pointers, "/a: one\n/: two\n", 15), 0);
        assert_int_equal(receiver_count(&r), i + 1); /* a submission is not repeated, whatever Retry-After says */
    }
}

static void answers_without_a_problem(void **state)
{
    (void)state;
    static const char *const bodies[] = {"", "<h1>Bad gateway</h1>", "{", "[]", "null", "{\"title\":7,\"errors\":{}}"};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        receiver_answer(&r, "HTTP/1.1 502 Bad Gateway\r\nRetry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\n", bodies[i]);
        assert_int_equal(submit(), SATCHEL_ESERVER);
        assert_non_null(strstr(error.detail, "502"));
        assert_int_equal(error.retry_after_s, 0);
        assert_string_equal(error.type, "");
    }
}

static void long_problems_are_cut(void **state)
{
    (void)state;
    char *body = calloc(1, 200000), *at = body;
    assert_non_null(body);
    at += sprintf(at, "{\"title\":\"");
    memset(at, 'T', 20000);
    at += 20000;
    at += sprintf(at, "\",\"detail\":\"");
    memset(at, 'D', 20000);
    at += 20000;
    at += sprintf(at, "\",\"errors\":[");
    for (int i = 0; i < 500; i++)
        at += sprintf(at, "%s{\"pointer\":\"/member/%d\",\"detail\":\"is wrong\"}", i ? "," : "", i);
    (void)sprintf(at, "]}");
    receiver_answer(&r, "HTTP/1.1 422 Unprocessable Content\r\nRetry-After: 99999999999999999999\r\n", body);
    free(body);
    assert_int_equal(submit(), SATCHEL_EREFUSED);
    assert_int_equal(strlen(error.title), sizeof error.title - 1);
    assert_int_equal(strlen(error.detail), sizeof error.detail - 1);
    assert_in_range(strlen(error.pointers), 400, sizeof error.pointers - 1);
    assert_true(error.retry_after_s > 0); /* no overflow */
}

/* ---- what is sent, and where ---- */

static void a_unix_socket(void **state)
{
    (void)state;
    char folder[] = "/tmp/satchel-client-XXXXXX", path[64];
    struct receiver local;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/socket", folder);
    receiver_start_unix(&local, path);
    satchel_client *other =
        client_with(&(satchel_client_options){.struct_size = sizeof(satchel_client_options), .url = local.url});
    satchel_future *future = NULL;
    receiver_answer(&local, ACCEPTED, TASK("queued"));
    assert_int_equal(satchel_submit(other, "t", "[7]", NULL, &future, &error), SATCHEL_OK);
    assert_string_equal(satchel_future_id(future), ID);
    assert_int_equal(strncmp(receiver_request(&local, 0), "POST /v1/tasks HTTP/1.1\r\n", 25), 0);
    assert_non_null(strstr(request_content(receiver_request(&local, 0)), "\"args\":[7]"));
    satchel_future_free(future);
    receiver_stop(&local);
    assert_int_equal(unlink(path), 0);
    future = NULL;
    assert_int_equal(satchel_submit(other, "t", NULL, NULL, &future, &error), SATCHEL_EUNREACHABLE);
    assert_non_null(strstr(error.detail, path));
    satchel_client_unref(other);
    (void)rmdir(folder);
}

/* No member of the error, whatever happens, may have it. */
static void expect_unspoken(const char *secret)
{
    for (size_t i = 0; i + strlen(secret) <= sizeof error; i++)
        if (memcmp((const char *)&error + i, secret, strlen(secret)) == 0)
            fail_msg("told: %s %s", error.title, error.detail);
}

static void the_token_is_sent_and_never_told(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "HTTP/1.1 401 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "", "garbage\r\n",
        "HTTP/1.1 302 Go\r\nLocation: http://127.0.0.1:1/\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"};
    static const char *const headers[] = {"X-Api-Key: another-secret", NULL};
    satchel_client_unref(client);
    client = client_with(&(satchel_client_options){
        .struct_size = sizeof(satchel_client_options), .url = r.url, .token = "st_very-secret", .headers = headers});
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        receiver_say(&r, texts[i], RECEIVER_CLOSE);
        assert_int_not_equal(submit(), SATCHEL_OK);
        char *line = request_line(receiver_request(&r, 0), "Authorization");
        assert_string_equal(line, "Bearer st_very-secret");
        free(line);
        expect_unspoken("very-secret");
        expect_unspoken("another-secret");
        receiver_forget(&r);
    }
    satchel_client_options bad = {.struct_size = sizeof bad, .url = r.url, .token = "st_very-secret\r\nX-Evil: 1"};
    satchel_client *none = NULL;
    assert_int_equal(satchel_client_new(&bad, &none, &error), SATCHEL_EINVAL);
    assert_null(none);
    expect_unspoken("very-secret");
}

static void a_password_in_the_url_is_not_told(void **state)
{
    (void)state;
    char url[128];
    (void)snprintf(url, sizeof url, "http://user:pass%%40word@127.0.0.1:%d/", r.port);
    satchel_client_options options = {.struct_size = sizeof options, .url = url};
    satchel_client_unref(client);
    client = client_with(&options);
    receiver_say(&r, "", RECEIVER_CLOSE);
    assert_int_equal(submit(), SATCHEL_EUNREACHABLE);
    expect_unspoken("word");
    char where[64];
    (void)snprintf(where, sizeof where, "http://***@127.0.0.1:%d", r.port);
    assert_non_null(strstr(error.detail, where));
    static const char *const wrong[] = {"http://user:pass@word@h?query", "ftp://user:password@host",
                                        "http://u:password@h#f"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        options.url = wrong[i];
        satchel_client *none = NULL;
        assert_int_equal(satchel_client_new(&options, &none, &error), SATCHEL_EINVAL);
        expect_unspoken("word");
    }
}

static void the_environment_says_where(void **state)
{
    (void)state;
    satchel_client_unref(client);
    (void)setenv("SATCHEL_URL", r.url, 1);
    (void)setenv("SATCHEL_TOKEN", "st_from-outside", 1);
    client = client_with(NULL);
    receiver_answer(&r, ACCEPTED, TASK("queued"));
    assert_int_equal(submit(), SATCHEL_OK);
    char *line = request_line(receiver_request(&r, 0), "Authorization");
    assert_string_equal(line, "Bearer st_from-outside");
    free(line);
    (void)setenv("http_proxy", "http://127.0.0.1:1", 1); /* is none of ours */
    receiver_answer(&r, ACCEPTED, TASK("queued"));
    assert_int_equal(submit(), SATCHEL_OK);
    (void)unsetenv("http_proxy");
}

static void connections_are_used_again(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        receiver_answer(&r, i % 2 ? ACCEPTED : "HTTP/1.1 422 No\r\n", i % 2 ? TASK("queued") : "{\"title\":\"no\"}");
        assert_int_equal(submit(), i % 2 ? SATCHEL_OK : SATCHEL_EREFUSED);
    }
    assert_int_equal(receiver_connections(&r), 1);
}

/* A connection that was open already breaks once the request is there: it may have been taken. */
static void a_submission_is_made_once(void **state)
{
    (void)state;
    for (int with_key = 0; with_key < 2; with_key++) {
        satchel_submit_options options = {.struct_size = sizeof options, .idempotency_key = with_key ? "key-1" : NULL};
        receiver_answer(&r, ACCEPTED, TASK("queued"));
        receiver_answer(&r, NULL, NULL);
        receiver_answer(&r, ACCEPTED, TASK("queued"));
        assert_int_equal(submit_with(&options), SATCHEL_OK);
        int status = submit_with(&options);
        assert_int_equal(status, with_key ? SATCHEL_OK : SATCHEL_EUNREACHABLE);
        assert_int_equal(receiver_count(&r), with_key ? 3 : 2);
        receiver_forget(&r);
    }
}

/* ---- callers of other versions, and wrong ones ---- */

static void smaller_structs_are_read_as_far_as_they_go(void **state)
{
    (void)state;
    char *garbage = (char *)1; /* not to be looked at */
    satchel_client_options options = {.struct_size = offsetof(satchel_client_options, cert_file),
                                      .url = r.url,
                                      .cert_file = garbage,
                                      .key_file = garbage};
    satchel_client_unref(client);
    client = client_with(&options);
    satchel_submit_options old = {.struct_size = offsetof(satchel_submit_options, after_json),
                                  .labels_json = "{\"a\":\"b\"}",
                                  .after_json = garbage,
                                  .group = garbage,
                                  .after_group = garbage,
                                  .unique_json = garbage};
    receiver_answer(&r, ACCEPTED, TASK("queued"));
    assert_int_equal(submit_with(&old), SATCHEL_OK);
    assert_non_null(strstr(request_content(receiver_request(&r, 0)), "\"labels\":{\"a\":\"b\"}"));
    satchel_list_options list = {
        .struct_size = offsetof(satchel_list_options, group), .state = "queued", .group = garbage};
    char *json = NULL;
    receiver_answer(&r, OK_HEAD, "{\"tasks\":[]}");
    assert_int_equal(satchel_list(client, &list, &json, NULL, NULL, &error), SATCHEL_OK);
    assert_string_equal(json, "{\"tasks\":[]}");
    satchel_free(json);
    struct {
        satchel_submit_options known;
        char later[64];
    } later = {.known.struct_size = sizeof later, .known.group = "g"};
    receiver_answer(&r, ACCEPTED, TASK("queued"));
    assert_int_equal(submit_with(&later.known), SATCHEL_OK); /* a caller of a later version */
}

static int never(const char *json, size_t len, void *arg)
{
    (void)json, (void)len, (void)arg;
    fail();
    return 0;
}

static void structs_without_a_size_are_refused(void **state)
{
    (void)state;
    satchel_client *none = NULL;
    satchel_submit_options submit_options = {.without_context = true};
    satchel_list_options list = {.state = "queued"};
    satchel_action_counts counts = {.matched = 7};
    char *json = NULL;
    assert_int_equal(satchel_client_new(&(satchel_client_options){.url = r.url}, &none, &error), SATCHEL_EINVAL);
    assert_int_equal(submit_with(&submit_options), SATCHEL_EINVAL);
    assert_int_equal(satchel_submit_batch(client, "{}", 2, &submit_options, never, NULL, &error), SATCHEL_EINVAL);
    assert_int_equal(satchel_list(client, &list, &json, NULL, NULL, &error), SATCHEL_EINVAL);
    assert_int_equal(satchel_act(client, SATCHEL_CANCEL_TASKS, NULL, 0, &counts, NULL, &error), SATCHEL_EINVAL);
    assert_int_equal(receiver_count(&r), 0);
}

static void nulls_are_refused(void **state)
{
    (void)state;
    satchel_future *future = NULL;
    char *json = NULL;
    int code;
    assert_int_equal(satchel_client_new(NULL, NULL, &error), SATCHEL_EINVAL);
    assert_int_equal(satchel_submit(NULL, "t", NULL, NULL, &future, &error), SATCHEL_EINVAL);
    assert_int_equal(satchel_submit(client, NULL, NULL, NULL, &future, &error), SATCHEL_EINVAL);
    assert_int_equal(satchel_submit(client, "t", NULL, NULL, NULL, &error), SATCHEL_EINVAL);
    assert_int_equal(satchel_submit_batch(client, "{}", 2, NULL, NULL, NULL, &error), SATCHEL_EINVAL);
    assert_int_equal(satchel_future_open(client, NULL, &future, &error), SATCHEL_EINVAL);
    assert_int_equal(satchel_future_open(client, "not-an-id", &future, &error), SATCHEL_EGRAMMAR);
    assert_int_equal(satchel_future_poll(NULL, &error), SATCHEL_EINVAL);
    assert_int_equal(satchel_future_wait(NULL, 0, &error), SATCHEL_EINVAL);
    assert_int_equal(satchel_future_result(NULL, &json, NULL, &error), SATCHEL_EINVAL);
    assert_int_equal(satchel_future_json(NULL, &json, NULL, &error), SATCHEL_EINVAL);
    assert_int_equal(satchel_future_attempts(NULL, &json, NULL, &error), SATCHEL_EINVAL);
    assert_int_equal(satchel_future_context(NULL, &json, NULL, &error), SATCHEL_EINVAL);
    assert_int_equal(satchel_future_tree(NULL, &json, NULL, &error), SATCHEL_EINVAL);
    assert_int_equal(satchel_future_cancel(NULL, &error), SATCHEL_EINVAL);
    assert_int_equal(satchel_future_retry(NULL, &error), SATCHEL_EINVAL);
    assert_int_equal(satchel_future_delete(NULL, &error), SATCHEL_EINVAL);
    assert_int_equal(satchel_future_log(NULL, never, NULL, &error), SATCHEL_EINVAL);
    assert_int_equal(satchel_future_exit_code(NULL, &code), SATCHEL_UNSET);
    assert_string_equal(satchel_future_id(NULL), "");
    assert_string_equal(satchel_future_state(NULL), "");
    assert_false(satchel_future_done(NULL));
    satchel_future_free(NULL);
    satchel_client_unref(NULL);
    assert_null(satchel_client_ref(NULL));
    assert_int_equal(receiver_count(&r), 0);
}

static void numbers_that_are_too_large(void **state)
{
    (void)state;
    static const char *const codes[] = {"1e300", "-1e300", "1.5", "\"1\"", "9999999999"};
    satchel_action_counts counts = {.struct_size = sizeof counts};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        char body[256];
        int code = 77;
        (void)snprintf(body, sizeof body, "{\"id\":\"" ID "\",\"state\":\"failed\",\"exit_code\":%s}", codes[i]);
        satchel_future *future = NULL;
        receiver_answer(&r, OK_HEAD, body);
        assert_int_equal(satchel_submit(client, "t", NULL, NULL, &future, &error), SATCHEL_OK);
        assert_int_equal(satchel_future_exit_code(future, &code), SATCHEL_UNSET);
        assert_int_equal(code, 77);
        satchel_future_free(future);
    }
    receiver_answer(&r, OK_HEAD, "{\"matched\":1e300,\"changed\":-5,\"conflicts\":3}");
    assert_int_equal(satchel_act(client, SATCHEL_CANCEL_TASKS, NULL, SATCHEL_ACT_ALL, &counts, NULL, &error),
                     SATCHEL_OK);
    assert_true(counts.matched == UINT64_MAX && counts.changed == 0 && counts.conflicts == 3 && !counts.more);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nobody_is_there),
        TEST(answers_that_break_off),
        TEST(slow_answers_have_a_limit),
        TEST(a_log_that_stops_coming_has_a_limit),
        TEST(foreign_answers),
        TEST(bodies_that_are_no_task),
        TEST(endless_answers_have_a_bound),
        TEST(redirects_are_not_followed),
        TEST(problems_are_told),
        TEST(answers_without_a_problem),
        TEST(long_problems_are_cut),
        TEST(a_unix_socket),
        TEST(the_token_is_sent_and_never_told),
        TEST(a_password_in_the_url_is_not_told),
        TEST(the_environment_says_where),
        TEST(connections_are_used_again),
        TEST(a_submission_is_made_once),
        TEST(smaller_structs_are_read_as_far_as_they_go),
        TEST(structs_without_a_size_are_refused),
        TEST(nulls_are_refused),
        TEST(numbers_that_are_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
