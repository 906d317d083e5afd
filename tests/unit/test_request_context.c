/* Who is calling and with which variables: what headers may say, what is an error, what is left out. */
#include "api_fixture.h"

#define PARENT "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

static struct fixture f, strict;
static struct header_variables *variables;

static int setup(void **state)
{
    (void)state;
    fixture_init(&f, "header \"X-Region\" { var = \"region\" }\nheader \"User-Agent\" { var = \"agent\" }\n");
    fixture_init(&strict, "require_tenant = true\ntenant_header = \"X-Org\"\n");
    variables = header_variables_new();
    assert_int_equal(header_variables_update(variables, f.config), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    header_variables_free(variables);
    fixture_release(&f);
    fixture_release(&strict);
    return 0;
}

/* ---- the request id ---- */

static void read_id(const char *const *lines, struct caller *caller, struct made_request *made)
{
    caller_read_id(make_request(made, lines), caller);
}

static void a_request_id_is_kept(void **state)
{
    (void)state;
    struct made_request made;
    struct caller caller;
    read_id(LINES("Host: x", "x-request-ID: req~1!"), &caller, &made);
    assert_true(slice_eq_str(caller.request_id, "req~1!"));
    assert_false(caller.made_id);
    char longest[250] = "X-Request-ID: ";
    memset(longest + 14, 'a', 200);
    read_id(LINES(longest), &caller, &made);
    assert_int_equal(caller.request_id.len, 200);
    assert_false(caller.made_id);
}

static void a_bad_request_id_is_replaced(void **state)
{
    (void)state;
    struct made_request made;
    struct caller caller, other;
    char longest[250] = "X-Request-ID: ";
    memset(longest + 14, 'a', 201);
    const char *const bad[] = {"Host: x", "X-Request-ID:", "X-Request-ID: a b", "X-Request-ID: \xc3\xa9", longest};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        read_id(LINES(bad[i]), &caller, &made);
        assert_true(caller.made_id);
        assert_int_equal(caller.request_id.len, 32);
    }
    read_id(LINES("Host: x"), &other, &made);
    assert_false(slice_eq(caller.request_id, other.request_id));
}

/* ---- the tenant ---- */

static int read_tenant(const struct fixture *fixture, const char *const *lines, struct caller *caller,
                       struct problem *problem)
{
    struct made_request made;
    *problem = (struct problem){0};
    return caller_read_tenant(make_request(&made, lines), fixture->config, caller, problem);
}

static void tenants_are_read(void **state)
{
    (void)state;
    struct caller caller;
    struct problem problem;
    assert_int_equal(read_tenant(&f, LINES("X-Tenant-ID: acme"), &caller, &problem), 0);
    assert_string_equal(caller.tenant, "acme");
    assert_false(caller.default_tenant);
    assert_int_equal(read_tenant(&f, LINES("x-scope-orgid: A!-_.*'()9"), &caller, &problem), 0);
    assert_string_equal(caller.tenant, "A!-_.*'()9");
    assert_int_equal(read_tenant(&f, LINES("X-Tenant-ID: a", "X-Scope-OrgID: a", "X-Tenant-ID: a"), &caller, &problem),
                     0);
    assert_string_equal(caller.tenant, "a");
    assert_int_equal(read_tenant(&f, LINES("Host: x"), &caller, &problem), 0);
    assert_string_equal(caller.tenant, "default");
    assert_true(caller.default_tenant);
    char longest[200] = "X-Tenant-ID: ";
    memset(longest + 13, 'a', 150);
    assert_int_equal(read_tenant(&f, LINES(longest), &caller, &problem), 0);
    assert_int_equal(strlen(caller.tenant), 150);
}

static void bad_tenants_are_400(void **state)
{
    (void)state;
    struct caller caller;
    struct problem problem;
    char longest[200] = "X-Tenant-ID: ";
    memset(longest + 13, 'a', 151);
    const char *const bad[] = {"X-Tenant-ID:",     "X-Tenant-ID: .",        "X-Tenant-ID: ..",    "X-Tenant-ID: a b",
                               "X-Tenant-ID: a/b", "X-Tenant-ID: \xc3\xa9", "X-Scope-OrgID: a|b", longest};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(read_tenant(&f, LINES(bad[i]), &caller, &problem), -1);
        assert_int_equal(problem.code, PROBLEM_INVALID_TENANT);
        assert_int_equal(problem_status(problem.code), 400);
    }
    assert_int_equal(read_tenant(&f, LINES("X-Tenant-ID: a", "X-Scope-OrgID: b"), &caller, &problem), -1);
    assert_int_equal(problem.code, PROBLEM_INVALID_TENANT);
    assert_non_null(strstr(problem.detail, "different"));
    assert_int_equal(read_tenant(&f, LINES("X-Tenant-ID: a", "X-Tenant-ID: b"), &caller, &problem), -1);
}

static void a_tenant_may_be_required(void **state)
{
    (void)state;
    struct caller caller;
    struct problem problem;
    assert_int_equal(read_tenant(&strict, LINES("X-Tenant-ID: a"), &caller, &problem), -1);
    assert_int_equal(problem.code, PROBLEM_MISSING_TENANT);
    assert_non_null(strstr(problem.detail, "X-Org"));
    assert_int_equal(read_tenant(&strict, LINES("X-ORG: a"), &caller, &problem), 0);
    assert_string_equal(caller.tenant, "a");
}

/* ---- the context ---- */

static void all_variables_are_read(void **state)
{
    (void)state;
    struct request_context c;
    make_context(&f,
                 LINES("Host: x", "X-Tenant-ID: acme", "X-Request-ID: r-1", "traceparent: " PARENT, "tracestate: a=1",
                       "tracestate: b=2", "baggage: k=v", "baggage: l=w", "X-Correlation-ID: c-1",
                       "X-Satchel-Deadline: 2099-01-01T00:00:00Z", "x-region: eu", "User-Agent: curl/8",
                       "X-Satchel-Var-Shard: 7", "X-Unknown: dropped"),
                 &c);
    assert_string_equal(known_text(c.context, SATCHEL_TENANT), "acme");
    assert_string_equal(known_text(c.context, SATCHEL_REQUEST_ID), "r-1");
    assert_string_equal(known_text(c.context, SATCHEL_TRACEPARENT), PARENT);
    assert_string_equal(known_text(c.context, SATCHEL_TRACESTATE), "a=1,b=2");
    assert_string_equal(known_text(c.context, SATCHEL_BAGGAGE), "k=v,l=w");
    assert_string_equal(known_text(c.context, SATCHEL_CORRELATION_ID), "c-1");
    assert_string_equal(known_text(c.context, SATCHEL_DEADLINE), "2099-01-01T00:00:00.000000Z");
    assert_string_equal(variable_text(c.context, "shard"), "7");
    assert_int_equal(satchel_context_len(c.context), 10);
    json_t *origins = json_loadb(c.origins.data, c.origins.len, JSON_REJECT_DUPLICATES, NULL);
    assert_int_equal(json_object_size(origins), 10);
    const char *name;
    json_t *origin;
    json_object_foreach(origins, name, origin)
    {
        if (strcmp(json_string_value(origin), "header") != 0)
            fail_msg("%s", name);
    }
    assert_non_null(json_object_get(origins, "region"));
    assert_non_null(json_object_get(origins, "agent"));
    json_decref(origins);
    request_context_release(&c);
}

static void what_is_made_up_says_so(void **state)
{
    (void)state;
    struct request_context c;
    make_context(&f, LINES("Host: x"), &c);
    assert_string_equal(known_text(c.context, SATCHEL_TENANT), "default");
    assert_int_equal(strlen(known_text(c.context, SATCHEL_REQUEST_ID)), 32);
    assert_non_null(strstr(c.origins.data, "\"tenant\":\"config\""));
    assert_non_null(strstr(c.origins.data, "\"request_id\":\"generated\""));
    request_context_release(&c);
}

static void bad_traces_and_baggage_are_ignored(void **state)
{
    (void)state;
    struct request_context c;
    make_context(&f, LINES("traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", "tracestate: a=b"),
                 &c);
    assert_string_equal(known_text(c.context, SATCHEL_TRACEPARENT), "(unset)");
    assert_string_equal(known_text(c.context, SATCHEL_TRACESTATE), "(unset)");
    request_context_release(&c);
    make_context(&f, LINES("traceparent: " PARENT, "traceparent: " PARENT), &c);
    assert_string_equal(known_text(c.context, SATCHEL_TRACEPARENT), "(unset)");
    request_context_release(&c);
    make_context(&f, LINES("traceparent: " PARENT, "tracestate: ,=;"), &c);
    assert_string_equal(known_text(c.context, SATCHEL_TRACEPARENT), PARENT);
    assert_string_equal(known_text(c.context, SATCHEL_TRACESTATE), "(unset)");
    request_context_release(&c);
    make_context(&f, LINES("baggage: =;,,"), &c);
    request_context_release(&c);
    make_context(&f, LINES("X-Correlation-ID: a b"), &c);
    assert_string_equal(known_text(c.context, SATCHEL_CORRELATION_ID), "(unset)");
    request_context_release(&c);
}

static void the_workers_variables_do_not_come_in(void **state)
{
    (void)state;
    struct request_context c;
    make_context(&f, LINES("X-Satchel-Task-ID: 01995a2e-7c3b-7d21-9f0e-4b8f6d1c2a35", "X-Satchel-Attempt: 3"), &c);
    assert_false(satchel_context_has(c.context, satchel_known_var(SATCHEL_TASK_ID)));
    assert_false(satchel_context_has(c.context, satchel_known_var(SATCHEL_ATTEMPT)));
    request_context_release(&c);
}

static void refuse(const char *const *lines, const char *part)
{
    struct made_request made;
    struct caller caller;
    struct problem problem = {0};
    struct request_context c;
    const struct http_request *request = make_request(&made, lines);
    caller_read_id(request, &caller);
    assert_int_equal(caller_read_tenant(request, f.config, &caller, &problem), 0);
    if (request_context_read(request, f.config, NULL, &caller, &c, &problem) == 0)
        fail_msg("%s was accepted", lines[0]);
    assert_int_equal(problem.code, PROBLEM_INVALID_PARAMETER);
    if (!strstr(problem.detail, part))
        fail_msg("%s: \"%s\" says nothing of \"%s\"", lines[0], problem.detail, part);
}

static void bad_variables_are_400(void **state)
{
    (void)state;
    refuse(LINES("X-Satchel-Deadline: soon"), "X-Satchel-Deadline");
    refuse(LINES("X-Satchel-Deadline:"), "RFC 3339");
    refuse(LINES("X-Satchel-Deadline: 2099-01-01T00:00:00Z", "X-Satchel-Deadline: 2099-01-01T00:00:00Z"),
           "more than once");
    refuse(LINES("X-Satchel-Var-1a: x"), "1a");
    refuse(LINES("X-Satchel-Var-tenant: x"), "tenant");
    refuse(LINES("X-Satchel-Var-Region: x"), "another header");
    refuse(LINES("X-Satchel-Var-A: x", "X-Satchel-Var-a: y"), "X-Satchel-Var-a: it is given twice");
    refuse(LINES("X-Satchel-Var-bad: \xff"), "X-Satchel-Var-bad: its value is not UTF-8");
    refuse(LINES("X-Region: \xe4"), "X-Region: its value is not UTF-8");
    refuse(LINES("X-Region: a", "X-Region: b"), "twice");
    char line[9000] = "X-Satchel-Var-a: ";
    memset(line + 17, 'x', 8193);
    refuse(LINES(line), "8192");
    char name[128] = "X-Satchel-Var-";
    memset(name + 14, 'a', 65);
    strcat(name, ": x");
    refuse(LINES(name), "64");
    char region[400] = "X-Region: ";
    memset(region + 10, 'x', 300); /* the default is 256 */
    refuse(LINES(region), "X-Region");
}

static void too_many_variables_are_400(void **state)
{
    (void)state;
    static char lines[65][32];
    const char *list[66] = {NULL};
    for (int i = 0; i < 65; i++) {
        (void)snprintf(lines[i], sizeof lines[i], "X-Satchel-Var-v%d: x", i);
        list[i] = lines[i];
    }
    refuse(list, "64");
    list[64] = NULL;
    struct request_context c;
    make_context(&f, list, &c);
    assert_int_equal(satchel_context_len(c.context), 66);
    request_context_release(&c);
}

static void many_header_lines_fit(void **state)
{
    (void)state;
    static char lines[150][24];
    const char *list[151] = {NULL};
    for (int i = 0; i < 150; i++) {
        (void)snprintf(lines[i], sizeof lines[i], "X-Other-%d: x", i);
        list[i] = lines[i];
    }
    struct request_context c;
    make_context(&f, list, &c);
    assert_int_equal(satchel_context_len(c.context), 2);
    request_context_release(&c);
}

static void a_reload_keeps_variables(void **state)
{
    (void)state;
    struct fixture next;
    fixture_init(&next, "header \"x-region\" { var = \"region\" }\nheader \"X-More\" { var = \"more\" }\n");
    assert_int_equal(header_variables_update(variables, next.config), 0);
    assert_int_equal(header_variables_update(variables, next.config), 0);
    struct request_context c;
    make_context(&next, LINES("X-Region: eu", "X-More: m"), &c);
    assert_int_equal(satchel_context_len(c.context), 4);
    assert_non_null(strstr(c.origins.data, "\"more\":\"header\""));
    request_context_release(&c);
    fixture_release(&next);
}

int main(void)
{
    json_in_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_id_is_kept),
        cmocka_unit_test(a_bad_request_id_is_replaced),
        cmocka_unit_test(tenants_are_read),
        cmocka_unit_test(bad_tenants_are_400),
        cmocka_unit_test(a_tenant_may_be_required),
        cmocka_unit_test(all_variables_are_read),
        cmocka_unit_test(what_is_made_up_says_so),
        cmocka_unit_test(bad_traces_and_baggage_are_ignored),
        cmocka_unit_test(the_workers_variables_do_not_come_in),
        cmocka_unit_test(bad_variables_are_400),
        cmocka_unit_test(too_many_variables_are_400),
        cmocka_unit_test(many_header_lines_fit),
        cmocka_unit_test(a_reload_keeps_variables),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
