/* Who is calling: tokens, tokens of tasks, users on a unix socket, and what wrong ones cost. */
#include "api_fixture.h"

#include <pthread.h>
#include <sys/stat.h>

#include "auth/auth.h"
#include "auth/guesses.h"
#include "base/clock.h"

static char directory[] = "/tmp/satchel-auth-XXXXXX";
static char token_path[64];
static struct auth *auth;
static struct config *config;

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(directory))
        return -1;
    (void)snprintf(token_path, sizeof token_path, "%s/tokens", directory);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    (void)unlink(token_path);
    return rmdir(directory);
}

static int end(void **state)
{
    (void)state;
    auth_free(auth);
    config_unref(config);
    auth = NULL;
    config = NULL;
    (void)unlink(token_path);
    return 0;
}

static void make_token(const char *const *tenants, unsigned scopes, int64_t expires_us, char token[TOKEN_TEXT_SIZE])
{
    char error[TOKEN_ERROR_SIZE];
    struct token_order order = {.tenants = tenants, .scopes = scopes, .expires_us = expires_us};
    while (tenants[order.n_tenants])
        order.n_tenants++;
    if (token_file_add(token_path, &order, token, error) < 0)
        fail_msg("%s", error);
}

/* `more` is what the section has besides the tokens' file. */
static void begin(const char *more)
{
    char path[80], text[1024];
    (void)snprintf(path, sizeof path, "%s/conf", directory);
    (void)snprintf(text, sizeof text, "auth { %s%s%s %s }\n", access(token_path, F_OK) == 0 ? "token_file = \"" : "",
                   access(token_path, F_OK) == 0 ? token_path : "", access(token_path, F_OK) == 0 ? "\"" : "", more);
    FILE *stream = fopen(path, "w");
    assert_non_null(stream);
    assert_true(fputs(text, stream) >= 0);
    assert_int_equal(fclose(stream), 0);
    struct config_overrides overrides = {.file = path, .data_dir = "/tmp"};
    assert_int_equal(config_load(&overrides, fixture_report, NULL, &config), 0);
    (void)unlink(path);
    assert_int_equal(auth_new(&auth), 0);
}

static enum auth_result ask_from(const char *peer, const char *authorization, struct auth_identity *ret, int *wait_s)
{
    struct auth_offer offer = {.peer = peer, .authorization = slice_str(authorization)};
    offer.n_authorization = authorization != NULL;
    return auth_identify(auth, &config->auth, &offer, ret, wait_s);
}

static enum auth_result ask(const char *token, struct auth_identity *ret)
{
    char line[600];
    int wait_s;
    (void)snprintf(line, sizeof line, "Bearer %s", token);
    return ask_from("127.0.0.1:5", line, ret, &wait_s);
}

#define TENANTS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* ---- tokens ---- */

static void a_token_says_all(void **state)
{
    (void)state;
    char one[TOKEN_TEXT_SIZE], many[TOKEN_TEXT_SIZE], all[TOKEN_TEXT_SIZE], who[AUTH_WHO_SIZE];
    struct auth_identity identity;
    make_token(TENANTS("acme"), TOKEN_SUBMIT, 0, one);
    make_token(TENANTS("a", "b"), TOKEN_READ, 0, many);
    make_token(TENANTS("*"), TOKEN_ADMIN, 0, all);
    begin("");
    assert_int_equal(ask(one, &identity), AUTH_OK);
    assert_int_equal(identity.kind, AUTH_TOKEN);
    assert_int_equal(identity.scopes, TOKEN_SUBMIT);
    assert_string_equal(auth_only_tenant(&identity), "acme");
    assert_true(auth_has_tenant(&identity, "acme"));
    assert_false(auth_has_tenant(&identity, "acm"));
    assert_false(auth_has_tenant(&identity, "acme2"));
    assert_false(auth_has_tenant(&identity, ""));
    auth_describe(&identity, who);
    assert_memory_equal(who, "token ", 6);
    assert_memory_equal(who + 6, one + 4, 12);
    assert_int_equal(strlen(who), 18); /* nothing of the secret */
    assert_int_equal(ask(many, &identity), AUTH_OK);
    assert_null(auth_only_tenant(&identity));
    assert_true(auth_has_tenant(&identity, "b"));
    assert_false(auth_has_tenant(&identity, "acme"));
    assert_int_equal(ask(all, &identity), AUTH_OK);
    assert_true(identity.all_tenants);
    assert_null(auth_only_tenant(&identity));
    assert_true(auth_has_tenant(&identity, "anything"));
}

static void what_is_no_token_is_refused(void **state)
{
    (void)state;
    char good[TOKEN_TEXT_SIZE], other[TOKEN_TEXT_SIZE], line[600];
    struct auth_identity identity;
    int wait_s;
    make_token(TENANTS("acme"), TOKEN_SUBMIT, 0, good);
    begin("max_failures = 0");
    token_make(other); /* well-formed, but not of this file */
    assert_int_equal(ask(other, &identity), AUTH_UNKNOWN);
    assert_int_equal(identity.scopes, 0);
    assert_int_equal(ask("", &identity), AUTH_UNKNOWN);
    assert_int_equal(ask("sat_", &identity), AUTH_UNKNOWN);
    memset(line, 'a', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    memcpy(line, "Bearer ", 7);
    assert_int_equal(ask_from("1.2.3.4:5", line, &identity, &wait_s), AUTH_UNKNOWN);
    assert_int_equal(ask_from("1.2.3.4:5", NULL, &identity, &wait_s), AUTH_MISSING);
    assert_int_equal(ask_from("1.2.3.4:5", "Basic dXNlcjpwYXNz", &identity, &wait_s), AUTH_MISSING);
    assert_int_equal(ask_from("1.2.3.4:5", "Bearer", &identity, &wait_s), AUTH_MISSING);
    assert_int_equal(ask_from("1.2.3.4:5", good, &identity, &wait_s), AUTH_MISSING); /* no scheme */
    (void)snprintf(line, sizeof line, "bEARER   %s", good);
    assert_int_equal(ask_from("1.2.3.4:5", line, &identity, &wait_s), AUTH_OK);
    (void)snprintf(line, sizeof line, "Bearer %s ", good);
    assert_int_equal(ask_from("1.2.3.4:5", line, &identity, &wait_s), AUTH_UNKNOWN);
    struct auth_offer twice = {.peer = "1.2.3.4:5", .authorization = slice_str(line), .n_authorization = 2};
    assert_int_equal(auth_identify(auth, &config->auth, &twice, &identity, &wait_s), AUTH_MALFORMED);
}

/* The id and the checksum are right, the secret is another token's. */
static void a_secret_of_another_token_does_not_fit(void **state)
{
    (void)state;
    char good[TOKEN_TEXT_SIZE];
    struct auth_identity identity;
    make_token(TENANTS("acme"), TOKEN_SUBMIT, 0, good);
    begin("max_failures = 0");
    assert_int_equal(config->auth.tokens.n, 1);
    config->auth.tokens.records[0].hash[31] ^= 1;
    assert_int_equal(ask(good, &identity), AUTH_UNKNOWN);
    config->auth.tokens.records[0].hash[31] ^= 1;
    config->auth.tokens.key[0] ^= 1;
    assert_int_equal(ask(good, &identity), AUTH_UNKNOWN);
    config->auth.tokens.key[0] ^= 1;
    assert_int_equal(ask(good, &identity), AUTH_OK);
}

static void tokens_expire(void **state)
{
    (void)state;
    char past[TOKEN_TEXT_SIZE], future[TOKEN_TEXT_SIZE];
    struct auth_identity identity;
    make_token(TENANTS("acme"), TOKEN_SUBMIT, clock_wall_us() - 1, past);
    make_token(TENANTS("acme"), TOKEN_SUBMIT, clock_wall_us() + 3600000000, future);
    begin("");
    assert_int_equal(ask(past, &identity), AUTH_EXPIRED);
    assert_int_equal(ask(future, &identity), AUTH_OK);
}

static void without_a_section_everybody_is_trusted(void **state)
{
    (void)state;
    struct config_auth off = {0};
    struct auth_offer offer = {.peer = "127.0.0.1:1"};
    struct auth_identity identity;
    int wait_s;
    assert_int_equal(auth_new(&auth), 0);
    assert_int_equal(auth_identify(auth, &off, &offer, &identity, &wait_s), AUTH_OK);
    assert_int_equal(identity.kind, AUTH_ANYBODY);
    assert_int_equal(identity.scopes, TOKEN_SUBMIT | TOKEN_READ | TOKEN_ADMIN);
    assert_true(auth_has_tenant(&identity, "any"));
    char token[TASK_TOKEN_SIZE];
    assert_false(auth_task_token(auth, &off, slice_str("acme"), (struct task_id){1, 2}, 1, 0, token));
}

/* ---- guessing ---- */

static void wrong_tokens_are_kept_waiting_right_ones_not(void **state)
{
    (void)state;
    char good[TOKEN_TEXT_SIZE], wrong[TOKEN_TEXT_SIZE], line[100], right_line[100];
    struct auth_identity identity;
    int wait_s;
    make_token(TENANTS("acme"), TOKEN_SUBMIT, 0, good);
    begin("max_failures = 5");
    (void)snprintf(right_line, sizeof right_line, "Bearer %s", good);
    for (int i = 0; i < 5; i++) { /* each with another port */
        char peer[32];
        token_make(wrong);
        (void)snprintf(peer, sizeof peer, "192.0.2.7:%d", i + 1000);
        (void)snprintf(line, sizeof line, "Bearer %s", wrong);
        assert_int_equal(ask_from(peer, line, &identity, &wait_s), AUTH_UNKNOWN);
    }
    assert_int_equal(ask_from("192.0.2.7:9", line, &identity, &wait_s), AUTH_TOO_MANY);
    assert_in_range(wait_s, 1, 12); /* one of five a minute */
    assert_int_equal(ask_from("192.0.2.7:9", "Bearer nonsense", &identity, &wait_s), AUTH_TOO_MANY);
    assert_int_equal(ask_from("192.0.2.7:9", "Bearer satt_nonsense", &identity, &wait_s), AUTH_TOO_MANY);
    assert_int_equal(ask_from("192.0.2.7:9", right_line, &identity, &wait_s), AUTH_OK);
    assert_int_equal(ask_from("192.0.2.8:9", line, &identity, &wait_s), AUTH_UNKNOWN); /* another address */
    assert_int_equal(ask_from("192.0.2.7:9", NULL, &identity, &wait_s), AUTH_MISSING); /* no guess */
}

static void one_token_can_be_tried_at_a_bounded_rate(void **state)
{
    (void)state;
    char good[TOKEN_TEXT_SIZE], other[TOKEN_TEXT_SIZE], line[100];
    struct auth_identity identity;
    int wait_s;
    make_token(TENANTS("acme"), TOKEN_SUBMIT, 0, good);
    make_token(TENANTS("acme"), TOKEN_SUBMIT, 0, other);
    begin("max_failures = 3");
    struct token_record *record = &config->auth.tokens.records[0];
    if (strncmp(record->id, good + 4, 12) != 0)
        record++;
    (void)snprintf(line, sizeof line, "Bearer %s", good);
    record->hash[0] ^= 1;
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask_from("[2001:db8::1]:5", line, &identity, &wait_s), AUTH_UNKNOWN);
    record->hash[0] ^= 1;
    assert_int_equal(ask_from("[2001:db8::2]:5", line, &identity, &wait_s), AUTH_TOO_MANY); /* the same /64 */
    assert_int_equal(ask_from("[2001:db8:0:1::2]:5", line, &identity, &wait_s), AUTH_OK);
    (void)snprintf(line, sizeof line, "Bearer %s", other);
    assert_int_equal(ask_from("[2001:db8::1]:5", line, &identity, &wait_s), AUTH_OK);
}

static void guesses_run_off(void **state)
{
    (void)state;
    struct guesses g;
    const int64_t s = 1000000000;
    assert_int_equal(guesses_init(&g), 0);
    uint64_t key = guesses_key(&g, slice_str("a"), slice_str(""));
    for (int i = 0; i < 10; i++) {
        assert_int_equal(guesses_wait(&g, key, 10, 100 * s), 0);
        guesses_failed(&g, key, 10, 100 * s);
    }
    assert_int_equal(guesses_wait(&g, key, 10, 100 * s), 6);
    assert_int_equal(guesses_wait(&g, key, 10, 103 * s), 3);
    assert_int_equal(guesses_wait(&g, key, 10, 106 * s), 0);
    guesses_failed(&g, key, 10, 106 * s);
    assert_int_equal(guesses_wait(&g, key, 10, 106 * s), 6);
    assert_int_equal(guesses_wait(&g, key, 10, 200 * s), 0);
    assert_int_equal(guesses_wait(&g, key, 0, 106 * s), 0);
    guesses_release(&g);
}

/* However many sources there are, the table stays as it is, and a steady offender is not forgotten for one-time ones. */
static void the_table_is_bounded(void **state)
{
    (void)state;
    struct guesses g;
    assert_int_equal(guesses_init(&g), 0);
    uint64_t steady = guesses_key(&g, slice_str("steady"), slice_str(""));
    for (int i = 0; i < 10; i++)
        guesses_failed(&g, steady, 10, 1);
    for (int i = 0; i < 200000; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%d", i);
        guesses_failed(&g, guesses_key(&g, slice_str(name), slice_str("")), 10, 1);
    }
    assert_true(guesses_wait(&g, steady, 10, 1) > 0);
    assert_int_not_equal(guesses_key(&g, slice_str("ab"), slice_str("c")),
                         guesses_key(&g, slice_str("a"), slice_str("bc")));
    guesses_release(&g);
}

static void *fail_often(void *arg)
{
    struct guesses *g = arg;
    uint64_t key = guesses_key(g, slice_str("same"), slice_str(""));
    for (int i = 0; i < 1000; i++) {
        guesses_failed(g, key, 1000000, 1);
        (void)guesses_wait(g, key, 1000000, 1);
    }
    return NULL;
}

static void many_threads_may_fail(void **state)
{
    (void)state;
    struct guesses g;
    pthread_t threads[4];
    assert_int_equal(guesses_init(&g), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(satchel_thread_create(&threads[i], NULL, fail_often, &g), 0);
    for (int i = 0; i < 4; i++)
        (void)pthread_join(threads[i], NULL);
    assert_int_equal(g.newest, 1 + 4000 * (INT64_C(60000000000) / 1000000));
    guesses_release(&g);
}

/* ---- tokens of tasks ---- */

static void a_task_calls_as_its_tenant(void **state)
{
    (void)state;
    char good[TOKEN_TEXT_SIZE], token[TASK_TOKEN_SIZE], who[AUTH_WHO_SIZE];
    struct auth_identity identity;
    struct task_id id;
    task_id_make(&id);
    make_token(TENANTS("acme"), TOKEN_SUBMIT, 0, good);
    begin("");
    assert_true(auth_task_token(auth, &config->auth, slice_str("t'(1)"), id, 7, clock_wall_us() + 1000000, token));
    assert_int_equal(ask(token, &identity), AUTH_OK);
    assert_int_equal(identity.kind, AUTH_TASK);
    assert_int_equal(identity.scopes, TOKEN_SUBMIT | TOKEN_READ);
    assert_string_equal(auth_only_tenant(&identity), "t'(1)");
    assert_false(auth_has_tenant(&identity, "acme"));
    assert_true(task_id_equal(identity.task.task, id));
    auth_describe(&identity, who);
    assert_non_null(strstr(who, "attempt 7"));
    /* good until a minute after the attempt's end */
    assert_true(auth_task_token(auth, &config->auth, slice_str("t"), id, 7, clock_wall_us() - 59000000, token));
    assert_int_equal(ask(token, &identity), AUTH_OK);
    assert_true(auth_task_token(auth, &config->auth, slice_str("t"), id, 7, clock_wall_us() - 61000000, token));
    assert_int_equal(ask(token, &identity), AUTH_EXPIRED);
    char longest[151];
    memset(longest, 'x', 150);
    longest[150] = '\0';
    assert_true(auth_task_token(auth, &config->auth, slice_str(longest), id, UINT32_MAX, 0, token));
    assert_int_equal(ask(token, &identity), AUTH_OK);
    assert_string_equal(auth_only_tenant(&identity), longest);
}

static void no_character_of_a_tasks_token_may_differ(void **state)
{
    (void)state;
    unsigned char key[TOKEN_KEY_SIZE] = {9}, other[TOKEN_KEY_SIZE] = {8};
    struct task_token made = {.task = {3, 4}, .attempt = 1, .expires_us = 1900000000000000, .tenant = "acme"}, read;
    char text[TASK_TOKEN_SIZE];
    assert_true(task_token_make(key, &made, text));
    assert_true(task_token_read(key, slice_str(text), &read));
    assert_string_equal(read.tenant, "acme");
    assert_int_equal(read.expires_us, made.expires_us);
    assert_false(task_token_read(other, slice_str(text), &read));
    for (size_t i = 0, len = strlen(text); i < len; i++) {
        char before = text[i];
        text[i] = before == 'a' ? 'b' : 'a';
        assert_false(task_token_read(key, slice_str(text), &read));
        text[i] = before;
        assert_false(task_token_read(key, slice_of(text, i), &read));
    }
    made.tenant[0] = '\0';
    assert_false(task_token_make(key, &made, text));
}

static void tasks_tokens_can_be_turned_off(void **state)
{
    (void)state;
    char token[TASK_TOKEN_SIZE];
    begin("task_token = 0 proxy_uids = {\"0\"}");
    assert_false(auth_task_token(auth, &config->auth, slice_str("t"), (struct task_id){1, 2}, 1, 0, token));
}

/* ---- users ---- */

static enum auth_result ask_as(uint32_t uid, uint32_t gid, struct auth_identity *ret)
{
    struct auth_offer offer = {.peer = "unix", .is_unix = true, .uid = uid, .gid = gid};
    int wait_s;
    return auth_identify(auth, &config->auth, &offer, ret, &wait_s);
}

static void users_and_groups_are_mapped(void **state)
{
    (void)state;
    struct auth_identity identity;
    begin("proxy_uids = {\"root\", \"4711\"} peer \"@4242\" { tenants = {\"g\"} scopes = {\"read\"} } "
          "peer \"1234\" { tenants = {\"a\", \"b\"} } peer \"4711\" { tenants = {\"x\"} scopes = {\"admin\"} }");
    assert_int_equal(ask_as(1234, 4242, &identity), AUTH_OK); /* the user before the group */
    assert_int_equal(identity.kind, AUTH_PEER);
    assert_int_equal(identity.scopes, TOKEN_SUBMIT | TOKEN_READ);
    assert_true(auth_has_tenant(&identity, "b"));
    assert_false(auth_has_tenant(&identity, "g"));
    assert_int_equal(ask_as(1235, 4242, &identity), AUTH_OK);
    assert_int_equal(identity.scopes, TOKEN_READ);
    assert_string_equal(auth_only_tenant(&identity), "g");
    assert_int_equal(ask_as(0, 0, &identity), AUTH_OK);
    assert_int_equal(identity.kind, AUTH_PROXY);
    assert_true(identity.all_tenants);
    assert_int_equal(identity.scopes, TOKEN_SUBMIT | TOKEN_READ);
    assert_int_equal(ask_as(4711, 1, &identity), AUTH_OK); /* a proxy with more */
    assert_int_equal(identity.scopes, TOKEN_SUBMIT | TOKEN_READ | TOKEN_ADMIN);
    assert_true(identity.all_tenants);
    assert_int_equal(ask_as(1236, 1, &identity), AUTH_MISSING);
    assert_int_equal(ask_as(UINT32_MAX, UINT32_MAX, &identity), AUTH_MISSING); /* nobody knows who */
    struct auth_offer tcp = {.peer = "127.0.0.1:1", .uid = 1234};
    int wait_s;
    assert_int_equal(auth_identify(auth, &config->auth, &tcp, &identity, &wait_s), AUTH_MISSING);
}

static void a_token_counts_before_the_user_that_sends_it(void **state)
{
    (void)state;
    char token[TOKEN_TEXT_SIZE], line[100];
    struct auth_identity identity;
    int wait_s;
    make_token(TENANTS("acme"), TOKEN_READ, 0, token);
    begin("proxy_uids = {\"0\"}");
    (void)snprintf(line, sizeof line, "Bearer %s", token);
    struct auth_offer offer = {
        .peer = "unix", .is_unix = true, .uid = 0, .authorization = slice_str(line), .n_authorization = 1};
    assert_int_equal(auth_identify(auth, &config->auth, &offer, &identity, &wait_s), AUTH_OK);
    assert_int_equal(identity.kind, AUTH_TOKEN);
    assert_false(identity.all_tenants);
    offer.authorization = SLICE_LITERAL("Bearer wrong");
    assert_int_equal(auth_identify(auth, &config->auth, &offer, &identity, &wait_s), AUTH_UNKNOWN);
    offer.authorization = SLICE_LITERAL("Basic of-the-proxys-own");
    assert_int_equal(auth_identify(auth, &config->auth, &offer, &identity, &wait_s), AUTH_OK);
    assert_int_equal(identity.kind, AUTH_PROXY);
}

/* Whether a certificate with this name is let in by that section. */
static bool fits(const char *pattern, const char *name)
{
    char section[600];
    struct auth_identity identity;
    int wait_s;
    const char *names[] = {"CN:an unrelated name", name};
    struct auth_offer offer = {.peer = "10.0.0.1:5", .has_certificate = true, .names = names, .n_names = 2};
    (void)snprintf(section, sizeof section, "certificate \"%s\" { tenants = {\"acme\"} scopes = {\"read\"} }", pattern);
    begin(section);
    enum auth_result result = auth_identify(auth, &config->auth, &offer, &identity, &wait_s);
    if (result == AUTH_OK) {
        assert_int_equal(identity.kind, AUTH_CERTIFICATE);
        assert_int_equal(identity.scopes, TOKEN_READ);
        assert_string_equal(auth_only_tenant(&identity), "acme");
        assert_memory_equal(identity.subject, name, strnlen(name, AUTH_SUBJECT_SIZE - 1));
    } else {
        assert_int_equal(result, AUTH_STRANGER);
    }
    (void)end(NULL);
    return result == AUTH_OK;
}

static void certificates_are_mapped_by_name(void **state)
{
    (void)state;
    assert_true(fits("CN:deploy", "CN:deploy"));
    assert_false(fits("CN:deploy", "CN:Deploy"));
    assert_false(fits("CN:deploy", "DNS:deploy"));
    assert_false(fits("CN:deploy", "CN:deployer"));
    assert_false(fits("CN:deploy", "CN:deplo"));
    assert_true(fits("DNS:*.Example.org", "DNS:a.b.EXAMPLE.org"));
    assert_false(fits("DNS:*.example.org", "DNS:example.org"));
    assert_false(fits("DNS:*.example.org", "DNS:a.example.org.evil.net"));
    assert_true(fits("URI:spiffe://x/*/web/*", "URI:spiffe://x/ns/a/web/1"));
    assert_false(fits("URI:spiffe://x/*/web/*", "URI:spiffe://y/x/ns/web/1"));
    assert_false(fits("URI:spiffe://x/a", "URI:spiffe://X/a"));
    assert_true(fits("email:*", "email:a@b"));
    assert_false(fits("email:*", "CN:email:a@b")); /* a kind is never part of a name */
    assert_false(fits("URI:*", "email:URI:x"));
    assert_true(fits("CN:a*b*c*", "CN:abbc"));
    assert_false(fits("CN:*a*a*a*b", "CN:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

static void the_first_section_that_fits_counts(void **state)
{
    (void)state;
    struct auth_identity identity;
    int wait_s;
    char who[AUTH_WHO_SIZE], long_name[400] = "CN:";
    memset(long_name + 3, 'x', sizeof long_name - 4);
    const char *names[] = {"DNS:b", "CN:a", long_name};
    struct auth_offer offer = {.peer = "10.0.0.1:5", .has_certificate = true, .names = names, .n_names = 2};
    begin("certificate \"CN:a\" { tenants = {\"one\"} } certificate \"DNS:b\" { tenants = {\"two\"} }"
          " certificate \"CN:x*\" { tenants = {\"*\"} }");
    assert_int_equal(auth_identify(auth, &config->auth, &offer, &identity, &wait_s), AUTH_OK);
    assert_string_equal(auth_only_tenant(&identity), "one");
    auth_describe(&identity, who);
    assert_string_equal(who, "certificate CN:a");
    auth_offered_certificate(&offer, who);
    assert_string_equal(who, "certificate DNS:b");
    offer.names = names + 2;
    offer.n_names = 1;
    assert_int_equal(auth_identify(auth, &config->auth, &offer, &identity, &wait_s), AUTH_OK);
    assert_true(identity.all_tenants);
    auth_describe(&identity, who);
    assert_int_equal(strlen(who), strlen("certificate ") + AUTH_SUBJECT_SIZE - 1);
    offer.n_names = 0; /* a certificate without any name */
    assert_int_equal(auth_identify(auth, &config->auth, &offer, &identity, &wait_s), AUTH_STRANGER);
    auth_offered_certificate(&offer, who);
    assert_string_equal(who, "certificate without a name");
    offer.has_certificate = false;
    assert_int_equal(auth_identify(auth, &config->auth, &offer, &identity, &wait_s), AUTH_MISSING);
    auth_offered_certificate(&offer, who);
    assert_string_equal(who, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_token_says_all, end),
        cmocka_unit_test_teardown(what_is_no_token_is_refused, end),
        cmocka_unit_test_teardown(a_secret_of_another_token_does_not_fit, end),
        cmocka_unit_test_teardown(tokens_expire, end),
        cmocka_unit_test_teardown(without_a_section_everybody_is_trusted, end),
        cmocka_unit_test_teardown(wrong_tokens_are_kept_waiting_right_ones_not, end),
        cmocka_unit_test_teardown(one_token_can_be_tried_at_a_bounded_rate, end),
        cmocka_unit_test(guesses_run_off),
        cmocka_unit_test(the_table_is_bounded),
        cmocka_unit_test(many_threads_may_fail),
        cmocka_unit_test_teardown(a_task_calls_as_its_tenant, end),
        cmocka_unit_test(no_character_of_a_tasks_token_may_differ),
        cmocka_unit_test_teardown(tasks_tokens_can_be_turned_off, end),
        cmocka_unit_test_teardown(users_and_groups_are_mapped, end),
        cmocka_unit_test_teardown(a_token_counts_before_the_user_that_sends_it, end),
        cmocka_unit_test_teardown(certificates_are_mapped_by_name, end),
        cmocka_unit_test_teardown(the_first_section_that_fits_counts, end),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
