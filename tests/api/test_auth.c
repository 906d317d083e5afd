/* Who may call, from outside: tokens, scopes, tenants, users on a unix socket, tokens of tasks, the audit log. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/token_file.h"
#include "tests/support/ask.h"

#define BEARER_SIZE 160
#define UNKNOWN_ID "01890000-0000-7000-8000-000000000000"

static struct satcheld d;
static char *tokens_path, *socket_path;

/* A header line with a new token. */
static void grant(char out[BEARER_SIZE], const char *tenants, unsigned scopes, int64_t expires_us)
{
    char copy[256], token[TOKEN_TEXT_SIZE], error[TOKEN_ERROR_SIZE];
    const char *names[8];
    struct token_order order = {.tenants = names, .scopes = scopes, .expires_us = expires_us};
    (void)snprintf(copy, sizeof copy, "%s", tenants);
    for (char *rest = copy, *one; (one = strsep(&rest, ",")) && order.n_tenants < 8;)
        names[order.n_tenants++] = one;
    if (token_file_add(tokens_path, &order, token, error) < 0)
        fail_msg("%s", error);
    (void)snprintf(out, BEARER_SIZE, "Authorization: Bearer %s\r\n", token);
}

static char mine[BEARER_SIZE], reader[BEARER_SIZE], submitter[BEARER_SIZE], several[BEARER_SIZE], proxy[BEARER_SIZE],
    operator_[BEARER_SIZE], local_admin[BEARER_SIZE], expired[BEARER_SIZE];

static void configure(const char *more)
{
    char config[2048];
    (void)snprintf(
        config, sizeof config,
        "workers = 4\ndrain = \"100ms\"\nauth { token_file = \"%s\" %s }\n"
        "task \"child\" { command = {\"/bin/sh\", \"-c\", \"satchel submit satchel.noop --json\"} "
        "environment = {\"PATH=" TEST_BUILD_DIR "/client:/usr/bin:/bin\"} }\n"
        "task \"other\" { command = {\"/bin/sh\", \"-c\", "
        "\"satchel submit satchel.noop --tenant victim || echo $? \"} "
        "environment = {\"PATH=" TEST_BUILD_DIR "/client:/usr/bin:/bin\"} }\n"
        "task \"leak\" { command = {\"/bin/sh\", \"-c\", \"echo \\\"\\\\\\\"$SATCHEL_TOKEN\\\\\\\"\\\"\"} }\n",
        tokens_path, more);
    satcheld_configure(&d, config);
}

static int start(void **state)
{
    (void)state;
    satcheld_init(&d, NULL);
    tokens_path = satcheld_path(&d, "tokens");
    socket_path = satcheld_path(&d, "socket");
    grant(mine, "mine", TOKEN_SUBMIT | TOKEN_READ, 0);
    grant(reader, "mine", TOKEN_READ, 0);
    grant(submitter, "mine", TOKEN_SUBMIT, 0);
    grant(several, "mine,second", TOKEN_SUBMIT | TOKEN_READ, 0);
    grant(proxy, "*", TOKEN_SUBMIT | TOKEN_READ, 0);
    grant(operator_, "*", TOKEN_ADMIN, 0);
    grant(local_admin, "mine", TOKEN_ADMIN, 0);
    grant(expired, "mine", TOKEN_SUBMIT | TOKEN_READ, 1000000);
    configure("");
    satcheld_start(&d);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    satcheld_stop(&d);
    satcheld_release(&d);
    free(tokens_path);
    free(socket_path);
    return 0;
}

/* ---- one request, its status ---- */

static void expect(const char *method, const char *target, const char *headers, const char *body, int status,
                   const char *urn)
{
    struct answer a = {0};
    char lines[1200];
    (void)snprintf(lines, sizeof lines, "%.1100s%s", headers, body ? JSON_TYPE : "");
    ask(&d, &a, method, target, lines, body);
    if (urn)
        expect_problem(&a, status, urn);
    else if (a.status != status)
        fail_msg("%s %s: %d, not %d: %s", method, target, a.status, status, a.body);
    if (status == 401) {
        char *challenge = answer_header(&a, "WWW-Authenticate");
        assert_non_null(challenge);
        assert_memory_equal(challenge, "Bearer realm=", 13);
        free(challenge);
    }
    answer_release(&a);
}

#define NOOP "{\"task\":\"satchel.noop\"}"

static void nobody_calls_without_a_token(void **state)
{
    (void)state;
    char two[2 * BEARER_SIZE], wrong[BEARER_SIZE];
    expect("POST", "/v1/tasks", "", NOOP, 401, "unauthenticated");
    expect("GET", "/v1/tasks", "X-Tenant-ID: mine\r\n", NULL, 401, "unauthenticated");
    expect("GET", "/v1/tasks/" UNKNOWN_ID, "", NULL, 401, "unauthenticated");
    expect("GET", "/v1/schedules", "", NULL, 401, "unauthenticated");
    expect("GET", "/metrics", "", NULL, 401, "unauthenticated");
    expect("GET", "/v1/tasks", "Authorization: Basic bWluZTptaW5l\r\n", NULL, 401, "unauthenticated");
    expect("GET", "/v1/tasks", "Authorization: Bearer\r\n", NULL, 401, "unauthenticated");
    expect("GET", "/v1/tasks", expired, NULL, 401, "unauthenticated");
    (void)snprintf(wrong, sizeof wrong, "%s", mine);
    wrong[strlen(wrong) - 3] = wrong[strlen(wrong) - 3] == 'a' ? 'b' : 'a';
    expect("GET", "/v1/tasks", wrong, NULL, 401, "unauthenticated");
    (void)snprintf(two, sizeof two, "%s%s", mine, mine);
    expect("GET", "/v1/tasks", two, NULL, 400, "malformed-request");
    expect("GET", "/healthz", "", NULL, 200, NULL);
    expect("GET", "/readyz", "", NULL, 200, NULL);
    expect("GET", "/openapi.json", "", NULL, 200, NULL);
    expect("GET", "/healthz", wrong, NULL, 200, NULL);
    expect("GET", "/v1/tasks", mine, NULL, 200, NULL);
}

static void a_batch_is_refused_before_its_body(void **state)
{
    (void)state;
    struct client c;
    struct answer a = {0};
    client_open(&c, &d);
    client_send_text(&c, "POST /v1/tasks:batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
                         "Transfer-Encoding: chunked\r\n\r\n");
    assert_true(client_read(&c, &a));
    expect_problem(&a, 401, "unauthenticated");
    answer_release(&a);
    client_close(&c);
    client_open(&c, &d);
    client_send_text(&c, "POST /v1/tasks HTTP/1.1\r\nHost: x\r\n" JSON_TYPE "Content-Length: 1000\r\n"
                         "Expect: 100-continue\r\n\r\n");
    assert_true(client_read(&c, &a));
    expect_problem(&a, 401, "unauthenticated");
    answer_release(&a);
    client_close(&c);
}

static void scopes_hold(void **state)
{
    (void)state;
    expect("GET", "/v1/tasks", reader, NULL, 200, NULL);
    expect("POST", "/v1/tasks", reader, NOOP, 403, "forbidden");
    expect("POST", "/v1/tasks:cancel?all=true", reader, NULL, 403, "forbidden");
    expect("DELETE", "/v1/tasks/" UNKNOWN_ID, reader, NULL, 403, "forbidden");
    expect("PUT", "/v1/schedules/x", reader, "{\"cron\":\"@daily\",\"task\":\"satchel.noop\"}", 403, "forbidden");
    expect("POST", "/v1/tasks", submitter, NOOP, 202, NULL);
    expect("GET", "/v1/tasks", submitter, NULL, 403, "forbidden");
    expect("GET", "/v1/tasks/" UNKNOWN_ID, submitter, NULL, 403, "forbidden");
    expect("GET", "/metrics", mine, NULL, 403, "forbidden");
    expect("GET", "/metrics", operator_, NULL, 200, NULL);
    expect("GET", "/metrics", local_admin, NULL, 200, NULL); /* nothing in it is by tenant here */
    expect("POST", "/v1/tasks", operator_, NOOP, 403, "forbidden");
    struct answer a = {0};
    ask(&d, &a, "GET", "/v1/tasks", submitter, NULL);
    assert_true(
        answer_has(&a, "WWW-Authenticate", "Bearer realm=\"satchel\", error=\"insufficient_scope\", scope=\"read\""));
    answer_release(&a);
}

static void expect_tenant(const char *headers, const char *tenant)
{
    json_t *task = submit(&d, headers, NOOP, 202);
    expect_text(task, "tenant", tenant);
    json_decref(task);
}

static void with_tenant(char out[1024], const char *token, const char *tenant)
{
    (void)snprintf(out, 1024, "%sX-Tenant-ID: %s\r\n", token, tenant);
}

static void the_token_says_the_tenant(void **state)
{
    (void)state;
    char lines[1024];
    expect_tenant(mine, "mine");
    with_tenant(lines, mine, "mine");
    expect_tenant(lines, "mine");
    with_tenant(lines, mine, "victim");
    expect("POST", "/v1/tasks", lines, NOOP, 403, "forbidden");
    (void)snprintf(lines, sizeof lines, "%sX-Scope-OrgID: victim\r\n", mine);
    expect("POST", "/v1/tasks", lines, NOOP, 403, "forbidden");
    expect("POST", "/v1/tasks", several, NOOP, 400, "missing-tenant");
    with_tenant(lines, several, "second");
    expect_tenant(lines, "second");
    with_tenant(lines, several, "victim");
    expect("GET", "/v1/tasks", lines, NULL, 403, "forbidden");
    with_tenant(lines, proxy, "victim");
    expect_tenant(lines, "victim");
    expect_tenant(proxy, "default");
    (void)snprintf(lines, sizeof lines, "%sX-Tenant-ID: mine\r\nX-Tenant-ID: victim\r\n", mine);
    expect("POST", "/v1/tasks", lines, NOOP, 400, NULL);
}

static void an_administrator_sees_all_and_is_noted(void **state)
{
    (void)state;
    char target[128], lines[1024];
    with_tenant(lines, proxy, "hidden");
    json_t *task = run(&d, lines, "{\"task\":\"satchel.echo\",\"args\":17}");
    (void)snprintf(target, sizeof target, "/v1/tasks/%s", text_of(task, "id"));
    expect("GET", target, mine, NULL, 404, "task-not-found");
    expect("GET", target, proxy, NULL, 404, "task-not-found"); /* it has not said that it acts for that one */
    assert_false(satcheld_log_has(&d, "an administrator's call"));
    expect("GET", target, local_admin, NULL, 404, "task-not-found");
    json_t *seen = get_json(&d, target, operator_, 200);
    expect_text(seen, "tenant", "hidden");
    json_decref(seen);
    satcheld_log_wait(&d, "an administrator's call");
    (void)snprintf(target, sizeof target, "/v1/tasks/%s/tree", text_of(task, "id"));
    json_decref(get_json(&d, target, operator_, 200));
    (void)snprintf(target, sizeof target, "/v1/tasks/%s/context", text_of(task, "id"));
    json_decref(get_json(&d, target, operator_, 200));
    json_decref(task);
    seen = get_json(&d, "/v1/tasks?all_tenants=true&task=satchel.echo", operator_, 200);
    assert_int_equal(json_array_size(json_object_get(seen, "tasks")), 1);
    json_decref(seen);
    satcheld_log_wait(&d, "listTasks");
    expect("GET", "/v1/tasks?all_tenants=true", mine, NULL, 403, "forbidden");
    expect("GET", "/v1/tasks?all_tenants=true", proxy, NULL, 403, "forbidden");
    expect("GET", "/v1/tasks?all_tenants=true", local_admin, NULL, 403, "forbidden");
    expect("GET", "/v1/tasks?all_tenants=maybe", operator_, NULL, 400, "invalid-parameter");
}

/* ---- commands of tasks ---- */

static void a_command_submits_as_its_task(void **state)
{
    (void)state;
    char bearer[1024];
    json_t *task = run(&d, mine, "{\"task\":\"child\"}");
    expect_state(task, "succeeded");
    json_t *child = json_object_get(task, "result");
    expect_text(child, "tenant", "mine");
    expect_text(child, "parent_id", text_of(task, "id"));
    json_decref(task);
    task = run(&d, mine, "{\"task\":\"other\"}");
    expect_json(json_object_get(task, "result"), "77"); /* not allowed */
    json_decref(task);
    task = run(&d, mine, "{\"task\":\"leak\"}");
    (void)snprintf(bearer, sizeof bearer, "Authorization: Bearer %s\r\n", text_of(task, "result"));
    json_decref(task);
    expect_tenant(bearer, "mine");
    expect("GET", "/metrics", bearer, NULL, 403, "forbidden");
    with_tenant(bearer + strlen(bearer), "", "victim");
    expect("GET", "/v1/tasks", bearer, NULL, 403, "forbidden");
    *strstr(bearer, "X-Tenant-ID") = '\0';
    satcheld_stop(&d);
    satcheld_start(&d);
    expect("GET", "/v1/tasks", bearer, NULL, 401, "unauthenticated"); /* its key died with the process */
}

/* ---- reload ---- */

static bool is_refused(void *arg)
{
    struct answer a = {0};
    ask(&d, &a, "GET", "/v1/tasks", arg, NULL);
    bool refused = a.status == 401;
    answer_release(&a);
    return refused;
}

static bool is_taken(void *arg)
{
    return !is_refused(arg);
}

static void a_reload_takes_tokens_up_and_out(void **state)
{
    (void)state;
    char fresh[BEARER_SIZE], id[TOKEN_ID_SIZE], error[TOKEN_ERROR_SIZE];
    const char *ids[] = {id};
    grant(fresh, "mine", TOKEN_READ, 0);
    assert_true(is_refused(fresh));
    satcheld_signal(&d, SIGHUP);
    assert_true(until(is_taken, fresh, WAIT_MS));
    satcheld_log_wait(&d, "token_added");
    assert_true(token_parse(slice_of(strstr(fresh, "sat_"), TOKEN_TEXT_SIZE - 1), id));
    assert_int_equal(token_file_remove(tokens_path, ids, 1, error), 0);
    satcheld_signal(&d, SIGHUP);
    assert_true(until(is_refused, fresh, WAIT_MS));
    satcheld_log_wait(&d, "token_removed");
}

static void a_broken_file_changes_nothing(void **state)
{
    (void)state;
    char *good = read_file(tokens_path);
    d.max_error_logs = -1;
    write_file(tokens_path, "satchel-tokens 1 nonsense\n");
    satcheld_signal(&d, SIGHUP);
    satcheld_log_wait(&d, "tokens:1");
    expect("GET", "/v1/tasks", mine, NULL, 200, NULL);
    expect("GET", "/v1/tasks", "", NULL, 401, "unauthenticated");
    write_file(tokens_path, good);
    free(good);
}

/* ---- guessing, and what is kept of it ---- */

static void guessing_is_bounded_and_noted(void **state)
{
    (void)state;
    struct answer a = {0};
    int waited = 0;
    for (int i = 0; i < 15; i++) {
        ask(&d, &a, "GET", "/v1/tasks", "Authorization: Bearer sat_guess\r\nX-Request-ID: guess-1\r\n", NULL);
        if (a.status == 429) {
            char *wait = answer_header(&a, "Retry-After");
            assert_non_null(wait);
            assert_in_range(atoi(wait), 1, 60);
            free(wait);
            waited++;
        } else {
            assert_int_equal(a.status, 401);
        }
        answer_release(&a);
    }
    assert_in_range(waited, 5, 14); /* ten a minute, and others have been before */
    expect("GET", "/v1/tasks", mine, NULL, 200, NULL);
    satcheld_log_wait(&d, "guess-1");
    satcheld_log_wait(&d, "a call was denied");
    char *log = satcheld_log(&d);
    assert_null(strstr(log, strstr(mine, "sat_")));
    assert_null(strstr(log, "sat_guess"));
    free(log);
}

/* ---- users on a unix socket ---- */

static void ask_unix(struct answer *a, const char *method, const char *target, const char *headers, const char *body)
{
    struct client c;
    client_open_unix(&c, socket_path);
    ask_on(&c, a, method, target, headers, body);
    client_close(&c);
}

static void restart_with(const char *auth)
{
    char listen[512];
    satcheld_stop(&d);
    configure(auth);
    (void)snprintf(listen, sizeof listen, "unix:%s", socket_path);
    static const char *args[] = {"--listen", NULL, NULL};
    static char kept[512];
    (void)snprintf(kept, sizeof kept, "%s", listen);
    args[1] = kept;
    d.args = args;
    satcheld_start(&d);
}

static void users_are_known_by_the_kernel(void **state)
{
    (void)state;
    struct answer a = {0};
    char auth[256];
    restart_with("");
    ask_unix(&a, "GET", "/v1/tasks", "", NULL);
    expect_problem(&a, 401, "unauthenticated");
    answer_release(&a);
    (void)snprintf(auth, sizeof auth, "peer \"%u\" { tenants = {\"mine\"} scopes = {\"read\"} }", (unsigned)geteuid());
    restart_with(auth);
    ask_unix(&a, "GET", "/v1/tasks", "", NULL);
    assert_int_equal(a.status, 200);
    answer_release(&a);
    ask_unix(&a, "POST", "/v1/tasks", JSON_TYPE, NOOP);
    expect_problem(&a, 403, "forbidden");
    answer_release(&a);
    ask_unix(&a, "GET", "/v1/tasks", "X-Tenant-ID: victim\r\n", NULL);
    expect_problem(&a, 403, "forbidden");
    answer_release(&a);
    expect("GET", "/v1/tasks", "", NULL, 401, "unauthenticated"); /* over TCP nobody is a user */
    (void)snprintf(auth, sizeof auth, "proxy_uids = {\"%u\"}", (unsigned)geteuid());
    restart_with(auth);
    ask_unix(&a, "POST", "/v1/tasks", JSON_TYPE "X-Tenant-ID: anybodys\r\n", NOOP);
    assert_int_equal(a.status, 202);
    answer_release(&a);
    d.args = NULL;
}

static void every_address_may_be_listened_on_with_tokens(void **state)
{
    (void)state;
    satcheld_stop(&d);
    configure("");
    d.listen = "0.0.0.0:0";
    satcheld_start(&d);
    expect("GET", "/v1/tasks", mine, NULL, 200, NULL);
    expect("GET", "/v1/tasks", "", NULL, 401, "unauthenticated");
    satcheld_stop(&d);
    d.listen = NULL;
    satcheld_start(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_calls_without_a_token),
        cmocka_unit_test(a_batch_is_refused_before_its_body),
        cmocka_unit_test(scopes_hold),
        cmocka_unit_test(the_token_says_the_tenant),
        cmocka_unit_test(an_administrator_sees_all_and_is_noted),
        cmocka_unit_test(a_command_submits_as_its_task),
        cmocka_unit_test(a_reload_takes_tokens_up_and_out),
        cmocka_unit_test(a_broken_file_changes_nothing),
        cmocka_unit_test(guessing_is_bounded_and_noted),
        cmocka_unit_test(users_are_known_by_the_kernel),
        cmocka_unit_test(every_address_may_be_listened_on_with_tokens),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
