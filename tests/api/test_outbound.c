/* Outbound calls cannot be turned inward: tasks whose URL the submission says, against the real daemon with proxies in
 * its environment.  What each spelling of an address means is tried in tests/unit/test_http_task_targets.c, with names
 * of its own; here is what a client sees, and that nothing arrives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/ask.h"
#include "tests/support/receiver.h"

static struct satcheld d;
static struct receiver inside, proxy; /* what must not be called, unless it is named; what is never */

static void before_exec(void *arg)
{
    (void)arg;
    (void)setenv("http_proxy", proxy.url, 1);
    (void)setenv("https_proxy", proxy.url, 1);
    (void)setenv("ALL_PROXY", proxy.url, 1);
}

static int start(void **state)
{
    (void)state;
    char config[1024];
    receiver_start(&inside);
    receiver_start(&proxy);
    (void)snprintf(
        config, sizeof config,
        "workers = 2\ncallback_allow = {\"10.0.0.0/8\"}\n"
        "task \"closed\" { url = \"{{args.url}}\" allow = {\"*.example.com\", \"8.8.8.0/24\"} timeout = 30s }\n"
        "task \"open\" { url = \"{{args.url}}\" allow = {\"127.0.0.1\"} headers = {\"X-Says: {{args.says}}\"} }\n"
        "task \"fixed\" { url = \"%s/fixed/{{args.part}}\" allow = {\"127.0.0.1\"} }\n"
        "task \"unnamed\" { url = \"%s/\" }\n",
        inside.url, inside.url);
    satcheld_init(&d, config);
    d.before_exec = before_exec;
    satcheld_start(&d);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    satcheld_stop(&d);
    satcheld_release(&d);
    assert_int_equal(receiver_connections(&proxy), 0); /* in all tests */
    receiver_stop(&inside);
    receiver_stop(&proxy);
    return 0;
}

/* `args` has a %d where the port of `inside` belongs, or none. */
static json_t *run_at_inside(const char *task, const char *args)
{
    char body[1024];
    const char *port = strstr(args, "%d");
    (void)snprintf(body, sizeof body, "{\"task\":\"%s\",\"max_attempts\":3,\"args\":%.*s%.*d%s}", task,
                   (int)(port ? port - args : (long)strlen(args)), args, port ? 1 : 0, port ? inside.port : 0,
                   port ? port + 2 : "");
    return run(&d, NULL, body);
}

static void expect_refused(const char *task, const char *args, const char *part)
{
    size_t before = receiver_connections(&inside);
    json_t *ended = run_at_inside(task, args);
    expect_state(ended, "failed");
    const json_t *error = json_object_get(ended, "error");
    expect_text(error, "type", "http");
    if (!strstr(text_of(error, "message"), part))
        fail_msg("%s %s: \"%s\" does not say \"%s\"", task, args, text_of(error, "message"), part);
    expect_number(ended, "attempt", 1); /* it stays so */
    json_decref(ended);
    assert_int_equal(receiver_connections(&inside), before);
}

static void addresses_of_the_inside(void **state)
{
    (void)state;
    static const struct {
        const char *host, *what;
    } cases[] = {
        {"127.0.0.1:%d", "a loopback address"},
        {"127.1:%d", "a loopback address"},
        {"0x7f.1:%d", "a loopback address"},
        {"2130706433:%d", "a loopback address"},
        {"0177.0.0.1:%d", "a loopback address"},
        {"localhost:%d", "a loopback address"},
        {"LocalHost:%d", "a loopback address"},
        {"[::1]:%d", "a loopback address"},
        {"[::ffff:127.0.0.1]:%d", "an IPv4-mapped address"},
        {"[::ffff:7f00:1]:%d", "an IPv4-mapped address"},
        {"[::127.0.0.1]:%d", "a reserved address"},
        {"[64:ff9b::7f00:1]:%d", "NAT64"},
        {"[64:ff9b:1::7f00:1]:%d", "NAT64"},
        {"[2002:7f00:1::]:%d", "6to4"},
        {"[2001:0:7f00:1::]:%d", "a reserved address"},
        {"0.0.0.0:%d", "an address of this host"},
        {"0:%d", "an address of this host"},
        {"[::]:%d", "an address of this host"},
        {"10.0.0.1:%d", "a private address"},
        {"172.16.0.1", "a private address"},
        {"192.168.1.1", "a private address"},
        {"100.64.0.1", "a shared (carrier) address"},
        {"169.254.169.254", "a link-local address"},
        {"0xa9fea9fe", "a link-local address"},
        {"[::ffff:a9fe:a9fe]", "an IPv4-mapped address"},
        {"[fd00:ec2::254]", "a private address"},
        {"[fe80::1]", "a link-local address"},
        {"168.63.129.16", "a cloud's metadata address"},
        {"192.0.0.192", "a reserved address"},
        {"198.18.0.1", "a benchmarking address"},
        {"224.0.0.1", "a multicast address"},
        {"[ff02::1]", "a multicast address"},
        {"255.255.255.255", "a reserved address"},
        {"1.1.1.1", "not among the hosts that allow names"},
        {"u:p@127.0.0.1:%d", "must not hold a user name"},
        {"8.8.8.8@127.0.0.1:%d", "must not hold a user name"},
        {"8.8.8.8\\\\@127.0.0.1:%d", "must not hold a user name"},
        {"127.0.0.1:%d\\\\.example.com", "has a bad port number"},
        {"127.0.0.1\\\\.example.com", "could be understood"},
        {"127.0.0.1:%d#.example.com", "a loopback address"},
        {"127.0.0.1:%d?.example.com", "a loopback address"},
    };
    char args[256];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        (void)snprintf(args, sizeof args, "{\"url\":\"http://%s/x\"}", cases[i].host);
        expect_refused("closed", args, cases[i].what);
    }
}

static void what_is_no_http(void **state)
{
    (void)state;
    static const char *const urls[] = {"file:///etc/passwd", "FILE:/etc/passwd",    "gopher://127.0.0.1:%d/_x",
                                       "dict://127.0.0.1:1", "ftp://127.0.0.1/",    "unix:///run/satchel/satcheld.sock",
                                       "http:/127.0.0.1:%d", "http:///127.0.0.1:1", "//127.0.0.1:%d/",
                                       "127.0.0.1:%d",       "smb://127.0.0.1/x",   "",
                                       " http://127.0.0.1/"};
    char args[256];
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        (void)snprintf(args, sizeof args, "{\"says\":\"\",\"url\":\"%s\"}", urls[i]);
        expect_refused("open", args, "the URL ");
    }
}

static void header_lines_of_ones_own(void **state)
{
    (void)state;
    expect_refused("open", "{\"url\":\"http://127.0.0.1:%d/\",\"says\":\"a\\r\\nX-Tenant-ID: other\"}",
                   "control character");
    expect_refused("open", "{\"url\":\"http://127.0.0.1:%d/\",\"says\":\"a\\nb\"}", "control character");
    expect_refused("open", "{\"url\":\"http://127.0.0.1:%d/ HTTP/1.1\\r\\nX: y\",\"says\":\"\"}", "space or a control");
    expect_refused("open", "{\"url\":\"http://127.0.0.1:%d/\"}", "args.says is missing");
}

/* A value stays within its place of the operator's URL. */
static void parts_of_a_url(void **state)
{
    (void)state;
    static const struct {
        const char *part, *path; /* path NULL: refused */
    } cases[] = {{"a b", "/fixed/a%20b "},
                 {"../../admin", "/fixed/..%2F..%2Fadmin "},
                 {"..", NULL},
                 {".", NULL},
                 {"%2e%2e", "/fixed/%252e%252e "},
                 {"x?y=1#z", "/fixed/x%3Fy%3D1%23z "},
                 {"a\\r\\nb", "/fixed/a%0D%0Ab "},
                 {"@127.0.0.1:1/", "/fixed/%40127.0.0.1%3A1%2F "}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char args[128];
        (void)snprintf(args, sizeof args, "{\"part\":\"%s\"}", cases[i].part);
        if (!cases[i].path) {
            expect_refused("fixed", args, "of a part of the URL's path");
            continue;
        }
        size_t n = receiver_count(&inside);
        json_t *task = run_at_inside("fixed", args);
        expect_state(task, "succeeded");
        json_decref(task);
        const char *request = receiver_request(&inside, n);
        assert_memory_equal(request, "POST ", 5);
        if (strncmp(request + 5, cases[i].path, strlen(cases[i].path)) != 0)
            fail_msg("%s became %.80s", cases[i].part, request);
    }
}

/* Another place that an answer points to is not gone to, be it named or not. */
static void redirects(void **state)
{
    (void)state;
    static const char *const statuses[] = {"301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"};
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        char head[256];
        size_t n = receiver_count(&inside);
        (void)snprintf(head, sizeof head, "HTTP/1.1 %s\r\nLocation: %s/elsewhere\r\nRefresh: 0; url=%s/elsewhere\r\n",
                       statuses[i], inside.url, inside.url);
        receiver_answer(&inside, head, "");
        json_t *task = run_at_inside("open", "{\"url\":\"http://127.0.0.1:%d/first\",\"says\":\"x\"}");
        expect_state(task, "failed");
        expect_number(json_object_get(task, "error"), "http_status", atoi(statuses[i]));
        json_decref(task);
        assert_int_equal(receiver_count(&inside), n + 1);
    }
}

static void what_is_named_is_called(void **state)
{
    (void)state;
    size_t n = receiver_count(&inside);
    json_t *task = run_at_inside("open", "{\"url\":\"http://127.0.0.1:%d/x\",\"says\":\"hello\"}");
    expect_state(task, "succeeded");
    json_decref(task);
    char *says = request_line(receiver_request(&inside, n), "X-Says");
    assert_string_equal(says, "hello");
    free(says);
    expect_refused("open", "{\"url\":\"http://127.0.0.2:%d/x\",\"says\":\"\"}",
                   "a loopback address");                               /* not the next one */
    expect_refused("unnamed", "{}", "127.0.0.1 is a loopback address"); /* the operator's own URL, too */
}

static void callbacks(void **state)
{
    (void)state;
    static const char *const hosts[] = {"127.0.0.1:%d", "[::ffff:127.0.0.1]:%d", "169.254.169.254", "[fd00:ec2::254]"};
    size_t before = receiver_connections(&inside);
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        char body[256], target[128];
        (void)snprintf(body, sizeof body, "{\"task\":\"satchel.noop\",\"callback\":\"http://%.*s%d/\"}",
                       (int)strcspn(hosts[i], "%"), hosts[i], inside.port);
        if (!strchr(hosts[i], '%'))
            (void)snprintf(body, sizeof body, "{\"task\":\"satchel.noop\",\"callback\":\"http://%s/\"}", hosts[i]);
        json_t *task = run(&d, NULL, body);
        (void)snprintf(target, sizeof target, "/v1/tasks?task=satchel.callback&parent=%s", text_of(task, "id"));
        json_t *list = get_json(&d, target, NULL, 200);
        json_t *ended = finish(&d, NULL, text_of(json_array_get(json_object_get(list, "tasks"), 0), "id"));
        expect_state(ended, "failed");
        const char *message = text_of(json_object_get(ended, "error"), "message");
        if (!strstr(message, "may not be called"))
            fail_msg("%s: %s", hosts[i], message);
        json_decref(ended);
        json_decref(list);
        json_decref(task);
    }
    assert_int_equal(receiver_connections(&inside), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_of_the_inside),
        cmocka_unit_test(what_is_no_http),
        cmocka_unit_test(header_lines_of_ones_own),
        cmocka_unit_test(parts_of_a_url),
        cmocka_unit_test(redirects),
        cmocka_unit_test(what_is_named_is_called),
        cmocka_unit_test(callbacks),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
