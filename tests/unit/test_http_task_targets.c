/* HTTP tasks: what may be called.  The list alone, and through libcurl with names that the test resolves. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>

#include "tests/unit/http_task_fixture.h"

#include "base/clock.h"
#include "executor/http_allow.h"
#include "proto/json_in.h"

/* ---- the names of this test ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the three */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int hanging;
static bool released;
static unsigned turns;

static void hang(void)
{
    pthread_mutex_lock(&lock);
    hanging++;
    pthread_cond_broadcast(&changed);
    while (!released)
        pthread_cond_wait(&changed, &lock);
    hanging--;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static const char *turn(const char *first, const char *later)
{
    pthread_mutex_lock(&lock);
    bool is_first = turns++ == 0;
    pthread_mutex_unlock(&lock);
    return is_first ? first : later;
}

/* libcurl's: every name but literal addresses and these is unknown, and none leaves the machine. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret)
{
    static const struct {
        const char *name, *address;
    } names[] = {{"in.example.com", "127.0.0.1"},
                 {"metadata.example.com", "169.254.169.254"},
                 {"ten.example.com", "10.1.2.3"},
                 {"mapped.example.com", "::ffff:127.0.0.1"},
                 {"nat.example.com", "64:ff9b::7f00:1"},
                 {"named.test", "127.0.0.1"},
                 {"localhost.", "127.0.0.1"}};
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    struct addrinfo numeric = hints ? *hints : (struct addrinfo){0};
    const char *address = node;
    if (node && strcmp(node, "hang.example.com") == 0) {
        hang();
        return EAI_AGAIN;
    }
    if (node && strcmp(node, "rebind.example.com") == 0)
        address = turn("203.0.113.1", "127.0.0.1");
    for (size_t i = 0; node && i < sizeof names / sizeof names[0]; i++)
        if (strcasecmp(node, names[i].name) == 0)
            address = names[i].address;
    numeric.ai_flags |= AI_NUMERICHOST;
    numeric.ai_family = AF_UNSPEC;
    return real(address, service, &numeric, ret);
}

/* ---- the list alone ---- */

static const char *ask(const struct config_list *list, bool exclusive, const char *host, const char *address)
{
    struct http_allow allow;
    union {
        struct sockaddr any;
        struct sockaddr_in four;
        struct sockaddr_in6 six;
    } to = {0};
    if (inet_pton(AF_INET, address, &to.four.sin_addr) == 1)
        to.any.sa_family = AF_INET;
    else if (inet_pton(AF_INET6, address, &to.six.sin6_addr) == 1)
        to.any.sa_family = AF_INET6;
    else
        fail_msg("%s is no address", address);
    assert_int_equal(http_allow_init(&allow, list, exclusive), 0);
    const char *what = http_allow_refuses(&allow, host, &to.any);
    http_allow_release(&allow);
    return what;
}

static void test_special_addresses(void **state)
{
    (void)state;
    static const char *const refused[] = {"127.0.0.1",        "127.255.255.254", "0.0.0.0",       "0.1.2.3",
                                          "10.0.0.1",         "10.255.255.255",  "172.16.0.1",    "172.31.255.255",
                                          "192.168.0.1",      "169.254.169.254", "169.254.0.1",   "100.64.0.1",
                                          "100.127.255.255",  "100.100.100.200", "192.0.0.8",     "192.0.2.1",
                                          "198.18.0.1",       "198.19.255.255",  "198.51.100.1",  "203.0.113.1",
                                          "224.0.0.1",        "239.255.255.255", "240.0.0.1",     "255.255.255.255",
                                          "168.63.129.16",    "192.88.99.1",     "::1",           "::",
                                          "::ffff:127.0.0.1", "::ffff:8.8.8.8",  "::127.0.0.1",   "fe80::1",
                                          "febf::1",          "fc00::1",         "fd00:ec2::254", "fec0::1",
                                          "ff02::1",          "64:ff9b::7f00:1", "64:ff9b:1::1",  "2002:7f00:1::1",
                                          "2001::1",          "2001:db8::1",     "3fff::1",       "100::1",
                                          "5f00::1",          "4000::1"};
    static const char *const good[] = {
        "1.1.1.1",         "8.8.8.8",     "9.255.255.255",   "11.0.0.1",    "126.255.255.255", "128.0.0.1",
        "100.63.255.255",  "100.128.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255",  "172.32.0.0",
        "192.167.255.255", "192.169.0.0", "198.17.255.255",  "198.20.0.0",  "223.255.255.255", "2606:4700::1111",
        "2a00:1450::1",    "2001:200::1", "2003::1"};
    struct config_list none = {0};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        if (!ask(&none, false, "h.example.com", refused[i]))
            fail_msg("%s may be called", refused[i]);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        if (ask(&none, false, "h.example.com", good[i]))
            fail_msg("%s may not be called", good[i]);
        if (!ask(&none, true, "h.example.com", good[i])) /* ... and not where the submission says the host */
            fail_msg("%s may be called though nothing names it", good[i]);
    }
}

static void expect_named(const char *entry, const char *host, const char *address, bool permitted)
{
    char *items[] = {constant(entry), NULL};
    struct config_list list = {items, 1};
    const char *what = ask(&list, true, host, address);
    if ((what == NULL) != permitted)
        fail_msg("allow %s, host %s at %s: %s", entry, host, address, what ? what : "may be called");
}

static void test_named(void **state)
{
    (void)state;
    expect_named("127.0.0.0/8", "127.0.0.1", "127.0.0.1", true);
    expect_named("127.0.0.0/8", "x", "127.200.0.1", true);
    expect_named("127.0.0.0/8", "x", "128.0.0.1", false);
    expect_named("127.0.0.0/8", "[::ffff:127.0.0.1]", "::ffff:127.0.0.1", true);
    expect_named("127.0.0.0/8", "[::1]", "::1", false);
    expect_named("127.0.0.1", "127.0.0.1", "127.0.0.1", true);
    expect_named("127.0.0.1", "127.0.0.1", "127.0.0.2", false);
    expect_named("10.1.2.3/12", "x", "10.15.255.255", true); /* host bits do not count */
    expect_named("10.1.2.3/12", "x", "10.16.0.0", false);
    expect_named("10.0.0.0/7", "x", "11.255.0.1", true);
    expect_named("0.0.0.0/0", "x", "127.0.0.1", true);
    expect_named("0.0.0.0/0", "x", "::1", false);
    expect_named("::/0", "x", "::1", true);
    expect_named("::/0", "x", "127.0.0.1", false);
    expect_named("::1", "[::1]", "::1", true);
    expect_named("fd00::/8", "x", "fd12::1", true);
    expect_named("fd00::/8", "x", "fc12::1", false);
    expect_named("::ffff:0:0/96", "x", "::ffff:10.0.0.1", true);
    expect_named("::ffff:0:0/96", "x", "10.0.0.1", false);
    expect_named("hooks.test", "hooks.test", "8.8.8.8", true);
    expect_named("hooks.test", "hooks.test", "10.0.0.1",
                 false); /* who holds the name does not choose among our addresses */
    expect_named("hooks.test", "hooks.test", "127.0.0.1", false);
    expect_named("hooks.test", "hooks.test", "169.254.169.254", false);
    expect_named("hooks.test", "hooks.test", "::ffff:8.8.8.8", false);
    expect_named("localhost", "LOCALHOST.", "127.0.0.1", true); /* this machine's own name */
    expect_named("localhost", "localhost", "::1", true);
    expect_named("localhost", "localhost", "10.0.0.1", false);
    expect_named("localhost", "localhost", "::ffff:127.0.0.1", false);
    expect_named("*.localhost", "a.localhost", "127.0.0.1", false);
    expect_named("db.test=10.1.0.0/16", "db.test", "10.1.2.3", true);
    expect_named("db.test=10.1.0.0/16", "DB.test.", "::ffff:10.1.2.3", true);
    expect_named("db.test=10.1.0.0/16", "db.test", "10.2.0.1", false);
    expect_named("db.test=10.1.0.0/16", "db.test", "8.8.8.8", false);
    expect_named("db.test=10.1.0.0/16", "evil.test", "10.1.2.3", false);
    expect_named("db.test=10.1.0.0/16", "10.1.2.3", "10.1.2.3", false);
    expect_named("*.svc.test=fd00::/8", "a.svc.test", "fd12::1", true);
    expect_named("*.svc.test=fd00::/8", "svc.test", "fd12::1", false);
    expect_named("*.svc.test=fd00::/8", "a.svc.test", "fe80::1", false);
    expect_named("meta.test=169.254.169.254", "meta.test", "169.254.169.254", true); /* if somebody really wants it */
    expect_named("hooks.test", "HOOKS.test.", "8.8.8.8", true);
    expect_named("hooks.test", "a.hooks.test", "8.8.8.8", false);
    expect_named("hooks.test", "hooks.test.evil", "8.8.8.8", false);
    expect_named("hooks.test", "xhooks.test", "8.8.8.8", false);
    expect_named("*.example.com", "a.example.com", "8.8.8.8", true);
    expect_named("*.example.com", "A.B.EXAMPLE.com.", "8.8.8.8", true);
    expect_named("*.example.com", "example.com", "8.8.8.8", false);
    expect_named("*.example.com", ".example.com", "8.8.8.8", false);
    expect_named("*.example.com", "aexample.com", "8.8.8.8", false);
    expect_named("*.example.com", "a.example.com.evil", "8.8.8.8", false);
    expect_named("*.example.com", "a.example.com", "127.0.0.1", false);
    expect_named("*.example.com", "a.example.com", "169.254.169.254", false);
    expect_named("*.example.com", "a.example.com", "::ffff:8.8.8.8", false);
}

/* ---- through libcurl ---- */

/* A task type whose URL comes from the submission; "%d" in `url` is the peer's port. */
static void expect_call(const char *const *allow, const char *url, const char *what)
{
    struct calls c;
    calls_init(&c);
    struct config_task *task = calls_add(&c, "call", "{{args.url}}", true);
    for (; *allow; allow++)
        calls_list(&task->allow, *allow);
    char args[512], filled[256];
    const char *port = strstr(url, "%d");
    snprintf(filled, sizeof filled, "%.*s%.*d%s", (int)(port ? port - url : (long)strlen(url)), url, port ? 1 : 0,
             port ? c.peer.port : 0, port ? port + 2 : "");
    snprintf(args, sizeof args, "{\"url\":\"%s\"}", filled);
    calls_open(&c, 1);
    struct attempt *attempt = calls_run(&c, "call", args);
    if (!what) {
        if (attempt->end != ATTEMPT_SUCCEEDED)
            fail_msg("%s: %s", filled, outcome_message(attempt));
        assert_int_equal(receiver_count(&c.peer), 1);
    } else {
        if (attempt->end != ATTEMPT_FAILED_FINAL || !strstr(outcome_message(attempt), what))
            fail_msg("%s: %d %s", filled, (int)attempt->end, outcome_message(attempt));
        assert_int_equal(outcome_error(attempt), ERROR_TYPE_HTTP);
        assert_int_equal(receiver_count(&c.peer), 0);
        assert_int_equal(receiver_connections(&c.peer), 0);
    }
    attempt_free(attempt);
    calls_close(&c);
}

static void test_refused_spellings(void **state)
{
    (void)state;
    static const char *const allow[] = {"*.example.com", "hooks.test", "8.8.8.0/24", NULL};
    static const char *const loopback[] = {"http://127.0.0.1:%d/",
                                           "http://127.1:%d/",
                                           "http://2130706433:%d/",
                                           "http://017700000001:%d/",
                                           "http://0x7f.0.0.1:%d/",
                                           "http://0x7f000001:%d/",
                                           "http://0177.0.0.01:%d/",
                                           "http://[::1]:%d/",
                                           "http://localhost:%d/",
                                           "http://LOCALHOST:%d/",
                                           "http://localhost.:%d/",
                                           "http://in.example.com:%d/",
                                           "http://%31%32%37.0.0.1:%d/",
                                           "http://127.0.0.1:%d/?x=.example.com",
                                           "http://127.0.0.1:%d/#.example.com"};
    for (size_t i = 0; i < sizeof loopback / sizeof loopback[0]; i++)
        expect_call(allow, loopback[i], "a loopback address");
    expect_call(allow, "http://[::ffff:127.0.0.1]:%d/", "an IPv4-mapped address");
    expect_call(allow, "http://[::ffff:7f00:1]:%d/", "an IPv4-mapped address");
    expect_call(allow, "http://mapped.example.com:%d/", "an IPv4-mapped address");
    expect_call(allow, "http://nat.example.com:%d/", "NAT64");
    expect_call(allow, "http://\\u2460\\u2461\\u2466.0.0.1:%d/",
                ""); /* circled digits: where names may be international */
    expect_call(allow, "http://0.0.0.0:%d/", "an address of this host");
    expect_call(allow, "http://0:%d/", "an address of this host");
    expect_call(allow, "http://[::]:%d/", "an address of this host");
    expect_call(allow, "http://169.254.169.254/latest/meta-data/", "a link-local address");
    expect_call(allow, "http://metadata.example.com/", "a link-local address");
    expect_call(allow, "http://ten.example.com/", "a private address");
    expect_call(allow, "http://[fe80::1%25lo]/", "");
    expect_call(allow, "http://1.1.1.1/", "not among the hosts that allow names");
}

static void test_urls_that_are_none(void **state)
{
    (void)state;
    static const char *const allow[] = {"0.0.0.0/0", "::/0", "*.example.com", "localhost", NULL};
    static const char *const bad[] = {"",
                                      "x",
                                      "/etc/passwd",
                                      "127.0.0.1:%d",
                                      "file:///etc/passwd",
                                      "ftp://127.0.0.1:%d/",
                                      "gopher://127.0.0.1:%d/",
                                      "dict://127.0.0.1:%d/",
                                      "javascript:alert(1)",
                                      "http://",
                                      "http:///x",
                                      "http://u:p@127.0.0.1:%d/",
                                      "http://u@127.0.0.1:%d/",
                                      "http://in.example.com@127.0.0.1:%d/",
                                      "http://@127.0.0.1:%d/",
                                      "http://:@127.0.0.1:%d/",
                                      "http://in.example.com\\\\@127.0.0.1:%d/",
                                      "http://in.example.com%2f@127.0.0.1:%d/",
                                      "http://127.0.0.1%00.example.com:%d/",
                                      "http://127.0.0.1%0d%0aX:1/",
                                      "http:/127.0.0.1:%d/",
                                      "http:127.0.0.1:%d/",
                                      "//127.0.0.1:%d/",
                                      "http://127.0.0.1:-%d/",
                                      "http+unix://%2frun%2fx/",
                                      "http://127.0.0.1:99999/",
                                      "http://127.0.0.1:%d/ x",
                                      "http://127.0.0.1:%d/\\r\\nX: 1",
                                      "http://127.0.0.1:%d/\\u0000",
                                      "http://[::1/",
                                      "http://a b:%d/",
                                      "unix:/run/x",
                                      "HTTP+UNIX://x/"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        expect_call(allow, bad[i], "");
}

static void test_permitted(void **state)
{
    (void)state;
    static const char *const network[] = {"127.0.0.0/8", NULL}, *const name[] = {"named.test", NULL};
    static const char *const pinned[] = {"named.test=127.0.0.0/8", NULL};
    static const char *const both[] = {"*.example.com", "127.0.0.1", NULL}, *const local[] = {"localhost", NULL};
    expect_call(network, "http://127.0.0.1:%d/x?y#z", NULL);
    expect_call(network, "HTTP://127.1:%d", NULL);
    expect_call(network, "http://in.example.com:%d/", NULL);
    expect_call(both, "http://in.example.com:%d/", NULL);
    expect_call(name, "http://NAMED.test:%d/", "a loopback address");
    expect_call(pinned, "http://NAMED.test:%d/", NULL);
    expect_call(pinned, "http://in.example.com:%d/", "a loopback address");
    expect_call(pinned, "http://127.0.0.1:%d/", "a loopback address");
    expect_call(local, "http://localhost:%d/", NULL);
    expect_call(local, "http://named.test:%d/", "a loopback address");
}

/* The operator's own URL: an address that is not public needs an allow as well. */
static void test_constant_url(void **state)
{
    (void)state;
    static const char *const urls[] = {"http://127.0.0.1:%d/", "http://localhost:%d/", "http://in.example.com:%d/",
                                       "http://[::ffff:127.0.0.1]:%d/"};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++)
        for (unsigned allowed = 0; allowed < 2; allowed++) {
            struct calls c;
            calls_init(&c);
            struct config_task *task = calls_add(&c, "call", urls[i], false);
            if (allowed)
                calls_list(&task->allow, "127.0.0.1"); /* of localhost's two, the other one is passed by */
            calls_open(&c, 1);
            if (allowed)
                calls_expect(&c, "call", "{}", ATTEMPT_SUCCEEDED, ERROR_TYPE_NONE);
            else
                calls_expect(&c, "call", "{}", ATTEMPT_FAILED_FINAL, ERROR_TYPE_HTTP);
            assert_int_equal(receiver_count(&c.peer), allowed);
            calls_close(&c);
        }
}

/* The address of a name that the operator has permitted is chosen by whoever holds the name; the public one is let
 * through here by nobody answering to it. */
static void test_rebinding_of_a_permitted_name(void **state)
{
    (void)state;
    static const char *const allow[] = {"rebind.example.com", NULL}, *const suffix[] = {"*.example.com", NULL};
    turns = 1;
    expect_call(allow, "http://rebind.example.com:%d/", "a loopback address");
    expect_call(suffix, "http://rebind.example.com:%d/", "a loopback address");
}

/* Who chose the host does not hear what it resolves to; the operator of a constant URL does. */
static void test_addresses_in_messages(void **state)
{
    (void)state;
    struct calls c;
    calls_init(&c);
    struct config_task *theirs = calls_add(&c, "theirs", "{{args.url}}", true);
    calls_list(&theirs->allow, "*.example.com");
    (void)calls_add(&c, "mine", "http://ten.example.com/", false);
    calls_open(&c, 1);
    struct attempt *attempt = calls_run(&c, "theirs", "{\"url\":\"http://ten.example.com/\"}");
    assert_null(strstr(outcome_message(attempt), "10.1.2.3"));
    attempt_free(attempt);
    attempt = calls_run(&c, "mine", "{}");
    assert_non_null(strstr(outcome_message(attempt), "10.1.2.3 is a private address"));
    attempt_free(attempt);
    calls_close(&c);
}

/* A name that resolves to a public address once and to loopback the next time is looked at each time. */
static void test_rebinding(void **state)
{
    (void)state;
    struct calls c;
    calls_init(&c);
    struct config_task *task = calls_add(&c, "call", "http://rebind.example.com:%d/", false);
    calls_list(&task->allow, "203.0.113.1");
    turns = 1; /* only the second address: nothing is to leave the machine */
    calls_open(&c, 1);
    calls_expect(&c, "call", "{}", ATTEMPT_FAILED_FINAL, ERROR_TYPE_HTTP);
    assert_int_equal(receiver_connections(&c.peer), 0);
    calls_close(&c);
}

static void test_unknown_name(void **state)
{
    (void)state;
    struct calls c;
    calls_init(&c);
    (void)calls_add(&c, "call", "http://nobody.example.com:%d/", false);
    calls_open(&c, 1);
    struct attempt *attempt = calls_run(&c, "call", "{}");
    assert_int_equal(attempt->end, ATTEMPT_FAILED); /* may pass */
    assert_int_equal(outcome_error(attempt), ERROR_TYPE_HTTP);
    attempt_free(attempt);
    calls_close(&c);
}

static void wait_hanging(int n)
{
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 20;
    int late = 0;
    pthread_mutex_lock(&lock);
    while (hanging != n && !late)
        late = pthread_cond_timedwait(&changed, &lock, &limit);
    pthread_mutex_unlock(&lock);
    assert_int_equal(late, 0);
}

/* A name server that does not answer delays no cancel, and not the end of the worker's thread. */
static void test_cancel_while_resolving(void **state)
{
    (void)state;
    struct calls c;
    calls_init(&c);
    (void)calls_add(&c, "call", "http://hang.example.com:%d/", false);
    calls_open(&c, 1);
    struct attempt *attempt = bench_attempt(&c.bench, "call", "{}", "acme");
    bench_push(&c.bench, attempt);
    wait_hanging(1);
    int64_t start = clock_mono_ns();
    satchel_cancel_fire(attempt->cancel, CANCEL_TIMEOUT);
    attempt = bench_wait(&c.bench, 1);
    assert_int_equal(outcome_error(attempt), ERROR_TYPE_TIMEOUT);
    attempt_free(attempt);
    calls_close(&c);
    assert_true(clock_mono_ns() - start < INT64_C(3000000000));
    pthread_mutex_lock(&lock);
    released = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    wait_hanging(0);
}

int main(void)
{
    json_in_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_special_addresses),
        cmocka_unit_test(test_named),
        cmocka_unit_test(test_refused_spellings),
        cmocka_unit_test(test_urls_that_are_none),
        cmocka_unit_test(test_permitted),
        cmocka_unit_test(test_constant_url),
        cmocka_unit_test(test_rebinding),
        cmocka_unit_test(test_rebinding_of_a_permitted_name),
        cmocka_unit_test(test_addresses_in_messages),
        cmocka_unit_test(test_unknown_name),
        cmocka_unit_test(test_cancel_while_resolving),
    };
    return cmocka_run_group_tests_name("HTTP tasks: targets", tests, NULL, NULL);
}
