/* The one door: what a submission may say, every fault with its pointer, and the context that the task gets. */
#include "api_fixture.h"
#include "base/clock.h"
#include "proto/timetext.h"

#define PARENT "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
#define SECOND INT64_C(1000000)

static struct fixture f;
static struct request_context plain;

static int setup(void **state)
{
    (void)state;
    fixture_init(&f, "header \"X-Region\" { var = \"region\" }\nmax_json_depth = 8\n");
    make_context(&f, LINES("X-Tenant-ID: acme", "X-Request-ID: r-1"), &plain);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    request_context_release(&plain);
    fixture_release(&f);
    return 0;
}

static struct task_spec *accept(const char *body)
{
    struct submission s;
    struct problem problem;
    if (parse_with(&f, &plain, body, &s, &problem) != 0)
        fail_msg("%s: %s", body, problem.detail);
    return s.spec;
}

static struct problem refuse(const char *body)
{
    struct submission s;
    struct problem problem;
    if (parse_with(&f, &plain, body, &s, &problem) == 0)
        fail_msg("%s was accepted", body);
    return problem;
}

/* One fault at `pointer`, with this status. */
static void refuse_at(const char *body, int status, const char *pointer, const char *part)
{
    struct problem problem = refuse(body);
    if (problem_status(problem.code) != status)
        fail_msg("%s: status %d, %s", body, problem_status(problem.code), problem.detail);
    if (status == 400)
        return;
    assert_int_equal(problem.n_errors, 1);
    assert_string_equal(problem.errors[0].pointer, pointer);
    if (!strstr(problem.errors[0].detail, part))
        fail_msg("%s: \"%s\" says nothing of \"%s\"", body, problem.errors[0].detail, part);
}

static void the_smallest(void **state)
{
    (void)state;
    int64_t before = clock_wall_us();
    struct task_spec *spec = accept("{\"task\":\"satchel.noop\"}");
    assert_string_equal(spec->name.data, "satchel.noop");
    assert_string_equal(spec->tenant.data, "acme");
    assert_string_equal(spec->args.data, "null");
    assert_int_equal(spec->labels.len, 0);
    assert_int_equal(spec->priority, 4);
    assert_int_equal(spec->max_attempts, 1);
    assert_int_equal(spec->max_lost, 3);
    assert_int_equal(spec->backoff.type, BACKOFF_EXPONENTIAL);
    assert_int_equal(spec->backoff.base_us, SECOND);
    assert_int_equal(spec->backoff.cap_us, 300 * SECOND);
    assert_true(spec->backoff.jitter);
    assert_int_equal(spec->run_at_us, 0);
    assert_int_equal(spec->deadline_us, 0);
    assert_int_equal(spec->expires_us, 0);
    assert_int_equal(spec->timeout_us, 0);
    assert_int_equal(spec->retain_us, 0);
    assert_true(spec->created_us >= before && spec->created_us <= clock_wall_us());
    assert_true(task_id_is_none(spec->parent));
    assert_true(task_id_equal(spec->root, spec->id));
    assert_string_equal(known_text(task_context(spec), SATCHEL_REQUEST_ID), "r-1");
    task_spec_unref(spec);
}

static void every_option(void **state)
{
    (void)state;
    struct task_spec *spec =
        accept("{\"task\":\"satchel.echo\",\"args\":{\"a\":[1,2]},\"priority\":9,\"delay\":\"1.5s\",\"timeout\":30,"
               "\"deadline\":\"2099-01-02T03:04:05.678901+01:00\",\"expires_in\":\"1h\",\"max_attempts\":1000,"
               "\"max_lost\":0,\"backoff\":{\"type\":\"fixed\",\"base\":\"250ms\",\"cap\":1,\"jitter\":false},"
               "\"labels\":{\"app\":\"sh\\u006fp\",\"x/y.z_-\":\"\"},\"context\":{\"shard\":\"eu-1\"},"
               "\"parent_id\":\"01995a2e-7c3b-7d21-9f0e-4b8f6d1c2a35\",\"retain\":\"2d\"}");
    assert_string_equal(spec->args.data, "{\"a\":[1,2]}");
    assert_int_equal(spec->priority, 9);
    assert_int_equal(spec->run_at_us, spec->created_us + 1500000);
    assert_int_equal(spec->timeout_us, 30 * SECOND);
    int64_t deadline;
    assert_true(timestamp_parse("2099-01-02T02:04:05.678901Z", 27, &deadline));
    assert_int_equal(spec->deadline_us, deadline);
    assert_string_equal(known_text(task_context(spec), SATCHEL_DEADLINE), "2099-01-02T02:04:05.678901Z");
    assert_int_equal(spec->expires_us, spec->created_us + 3600 * SECOND);
    assert_int_equal(spec->max_attempts, 1000);
    assert_int_equal(spec->max_lost, 0);
    assert_int_equal(spec->backoff.type, BACKOFF_FIXED);
    assert_int_equal(spec->backoff.base_us, 250000);
    assert_int_equal(spec->backoff.cap_us, SECOND);
    assert_false(spec->backoff.jitter);
    assert_string_equal(spec->labels.data, "{\"app\":\"shop\",\"x/y.z_-\":\"\"}");
    assert_string_equal(variable_text(task_context(spec), "shard"), "eu-1");
    char parent[TASK_ID_TEXT_SIZE];
    task_id_format(spec->parent, parent);
    assert_string_equal(parent, "01995a2e-7c3b-7d21-9f0e-4b8f6d1c2a35");
    assert_true(task_id_equal(spec->root, spec->id));
    assert_int_equal(spec->retain_us, 2 * 86400 * SECOND);
    task_spec_unref(spec);
}

static void run_at_is_taken_as_it_is(void **state)
{
    (void)state;
    struct task_spec *spec = accept("{\"task\":\"satchel.noop\",\"run_at\":\"2026-01-02T03:04:05Z\"}");
    int64_t expected;
    assert_true(timestamp_parse("2026-01-02T03:04:05Z", 20, &expected));
    assert_int_equal(spec->run_at_us, expected);
    task_spec_unref(spec);
    spec = accept("{\"task\":\"satchel.noop\",\"delay\":0,\"retain\":\"0s\"}");
    assert_int_equal(spec->run_at_us, 0);
    assert_int_equal(spec->retain_us, 1); /* 0 would mean the configured time */
    task_spec_unref(spec);
}

static void args_keep_their_bytes(void **state)
{
    (void)state;
    struct task_spec *spec = accept(" {\"args\" : { \"n\": 1.10, \"big\": 123456789012345678901234567890,\n \"e\": "
                                    "1E5, \"u\": \"\\u00e9\"} , \"task\":\"satchel.echo\"} ");
    assert_string_equal(spec->args.data,
                        "{ \"n\": 1.10, \"big\": 123456789012345678901234567890,\n \"e\": 1E5, \"u\": \"\\u00e9\"}");
    task_spec_unref(spec);
    spec = accept("{\"\\u0061rgs\":[7],\"task\":\"satchel.echo\"}"); /* the same name, written otherwise */
    assert_string_equal(spec->args.data, "[7]");
    task_spec_unref(spec);
    spec = accept("{\"task\":\"satchel.echo\",\"args\":null}");
    assert_string_equal(spec->args.data, "null");
    task_spec_unref(spec);
}

static void malformed_json_is_400(void **state)
{
    (void)state;
    static const char *const bodies[] = {"",
                                         " ",
                                         "{",
                                         "{\"task\":}",
                                         "{\"task\":\"satchel.noop\"} x",
                                         "{\"task\":\"satchel.noop\",\"task\":\"satchel.noop\"}",
                                         "{\"task\":\"\xff\"}",
                                         "{'task':1}",
                                         "[1,]",
                                         "{\"task\":\"a\\u0000b\"}",
                                         "{\"task\":\"satchel.echo\",\"args\":[[[[[[[[1]]]]]]]]}",
                                         "nul"};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        struct problem problem = refuse(bodies[i]);
        assert_int_equal(problem.code, PROBLEM_MALFORMED_JSON);
        assert_true(strlen(problem.detail) > 20);
    }
    struct problem problem = refuse("{\n \"task\" 1}");
    assert_non_null(strstr(problem.detail, "line 2"));
    problem = refuse("{\"task\":\"satchel.echo\",\"args\":[[[[[[[[1]]]]]]]]}");
    assert_non_null(strstr(problem.detail, "the limit is 8"));
}

static void faults_have_pointers(void **state)
{
    (void)state;
    refuse_at("[]", 422, "", "object");
    refuse_at("1", 422, "", "object");
    refuse_at("{}", 422, "/task", "required");
    refuse_at("{\"task\":1}", 422, "/task", "string");
    refuse_at("{\"task\":\"\"}", 422, "/task", "name");
#define WITH(member) "{\"task\":\"satchel.noop\"," member "}"
    refuse_at(WITH("\"priority\":10"), 422, "/priority", "0 to 9");
    refuse_at(WITH("\"priority\":-1"), 422, "/priority", "0 to 9");
    refuse_at(WITH("\"priority\":1.5"), 422, "/priority", "whole");
    refuse_at(WITH("\"priority\":\"1\""), 422, "/priority", "whole");
    refuse_at(WITH("\"priority\":null"), 422, "/priority", "whole");
    refuse_at(WITH("\"max_attempts\":0"), 422, "/max_attempts", "1 to 1000");
    refuse_at(WITH("\"max_attempts\":1001"), 422, "/max_attempts", "1 to 1000");
    refuse_at(WITH("\"max_attempts\":1e300"), 422, "/max_attempts", "1 to 1000");
    refuse_at(WITH("\"max_lost\":101"), 422, "/max_lost", "0 to 100");
    refuse_at(WITH("\"delay\":\"1 s\""), 422, "/delay", "duration");
    refuse_at(WITH("\"delay\":-1"), 422, "/delay", "duration");
    refuse_at(WITH("\"delay\":true"), 422, "/delay", "duration");
    refuse_at(WITH("\"run_at\":5"), 422, "/run_at", "RFC 3339");
    refuse_at(WITH("\"run_at\":\"2026-02-30T00:00:00Z\""), 422, "/run_at", "RFC 3339");
    refuse_at(WITH("\"delay\":1,\"run_at\":\"2026-01-02T03:04:05Z\""), 422, "/run_at", "delay");
    refuse_at(WITH("\"timeout\":0"), 422, "/timeout", "longer than zero");
    refuse_at(WITH("\"deadline\":\"tomorrow\""), 422, "/deadline", "RFC 3339");
    refuse_at(WITH("\"expires_in\":\"0s\""), 422, "/expires_in", "longer than zero");
    refuse_at(WITH("\"retain\":{}"), 422, "/retain", "duration");
    refuse_at(WITH("\"backoff\":[]"), 422, "/backoff", "object");
    refuse_at(WITH("\"backoff\":{\"type\":\"linear\"}"), 422, "/backoff/type", "exponential");
    refuse_at(WITH("\"backoff\":{\"base\":\"x\"}"), 422, "/backoff/base", "duration");
    refuse_at(WITH("\"backoff\":{\"jitter\":1}"), 422, "/backoff/jitter", "true or false");
    refuse_at(WITH("\"backoff\":{\"base\":\"10s\",\"cap\":\"1s\"}"), 422, "/backoff/cap", "base");
    refuse_at(WITH("\"backoff\":{\"factor\":2}"), 422, "/backoff/factor", "not a member");
    refuse_at(WITH("\"labels\":[]"), 422, "/labels", "object");
    refuse_at(WITH("\"labels\":{\"a\":1}"), 422, "/labels/a", "string");
    refuse_at(WITH("\"labels\":{\"a:b\":\"x\"}"), 422, "/labels/a:b", "name");
    refuse_at(WITH("\"labels\":{\"\":\"x\"}"), 422, "/labels/", "63");
    refuse_at(WITH("\"labels\":{\"a\":\"x\\ny\"}"), 422, "/labels/a", "control");
    refuse_at(WITH("\"context\":\"x\""), 422, "/context", "object");
    refuse_at(WITH("\"context\":{\"a\":1}"), 422, "/context/a", "string");
    refuse_at(WITH("\"context\":{\"A\":\"1\"}"), 422, "/context/A", "variable");
    refuse_at(WITH("\"context\":{\"1a\":\"1\"}"), 422, "/context/1a", "variable");
    refuse_at(WITH("\"context\":{\"a\":\"x\\r\\nX-Evil: 1\"}"), 422, "/context/a", "control");
    refuse_at(WITH("\"context\":{\"region\":\"x\"}"), 422, "/context/region", "header");
    refuse_at(WITH("\"parent_id\":\"x\""), 422, "/parent_id", "id");
    refuse_at(WITH("\"parent_id\":null"), 422, "/parent_id", "id");
    refuse_at(WITH("\"idempotency_key\":\"\""), 422, "/idempotency_key", "1 to 255");
    refuse_at(WITH("\"idempotency_key\":7"), 422, "/idempotency_key", "1 to 255");
    refuse_at(WITH("\"callback\":\"file:///x\""), 422, "/callback", "http or https URL");
    refuse_at(WITH("\"colour\":1"), 422, "/colour", "not known");
    refuse_at(WITH("\"a/b~c\":1"), 422, "/a~1b~0c", "not known");
    assert_int_equal(refuse("{\"task\":\"satchel.nope\"}").code, PROBLEM_UNKNOWN_TASK);
    refuse_at("{\"task\":\"satchel.nope\"}", 422, "/task", "satchel.nope");
}

static void reserved_variables_are_refused(void **state)
{
    (void)state;
    static const char *const own[] = {"tenant",         "traceparent", "tracestate", "baggage", "request_id",
                                      "correlation_id", "deadline",    "task_id",    "attempt"};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        char body[128], pointer[64];
        (void)snprintf(body, sizeof body, "{\"task\":\"satchel.noop\",\"context\":{\"%s\":\"x\"}}", own[i]);
        (void)snprintf(pointer, sizeof pointer, "/context/%s", own[i]);
        refuse_at(body, 422, pointer, "cannot be set here");
    }
}

static void all_faults_are_told(void **state)
{
    (void)state;
    struct problem problem = refuse("{\"task\":\"satchel.noop\",\"priority\":77,\"x\":1,\"max_lost\":-1}");
    assert_int_equal(problem.n_errors, 3);
    assert_string_equal(problem.errors[0].pointer, "/priority");
    assert_string_equal(problem.errors[1].pointer, "/x");
    assert_string_equal(problem.errors[2].pointer, "/max_lost");
    char many[4096] = "{\"task\":\"satchel.noop\"";
    for (int i = 0; i < 100; i++)
        (void)snprintf(many + strlen(many), sizeof many - strlen(many), ",\"m%d\":%d", i, i);
    strcat(many, "}");
    problem = refuse(many);
    assert_int_equal(problem.n_errors, 100);
    assert_string_equal(problem.errors[PROBLEM_MAX_ERRORS - 1].pointer, "/m7");
}

static void pointers_start_where_the_body_lies(void **state)
{
    (void)state;
    struct submission s;
    struct problem problem;
    struct submission_input input = {.config = f.config,
                                     .registry = f.registry,
                                     .body = slice_str("{\"task\":\"satchel.noop\",\"backoff\":{\"x\":1}}"),
                                     .pointer = "/3",
                                     .context = plain.context,
                                     .origins = buf_slice(&plain.origins)};
    assert_int_equal(submission_parse(&input, &s, &problem), -1);
    assert_string_equal(problem.errors[0].pointer, "/3/backoff/x");
    input.body = slice_str("[]");
    assert_int_equal(submission_parse(&input, &s, &problem), -1);
    assert_string_equal(problem.errors[0].pointer, "/3");
}

static void bounds_hold(void **state)
{
    (void)state;
    struct buf body = BUF_INIT;
    for (int too_many = 0; too_many < 2; too_many++) {
        buf_reset(&body);
        buf_append_str(&body, "{\"task\":\"satchel.noop\",\"context\":{");
        for (int i = 0; i < 64 + too_many; i++)
            buf_printf(&body, "%s\"v%d\":\"x\"", i ? "," : "", i);
        buf_append_str(&body, "}}");
        if (too_many)
            refuse_at(body.data, 422, "/context", "64");
        else
            task_spec_unref(accept(body.data));
    }
    for (size_t extra = 0; extra < 2; extra++) {
        buf_reset(&body);
        buf_append_str(&body, "{\"task\":\"satchel.noop\",\"context\":{\"v\":\"");
        for (size_t i = 0; i < 8192 + extra; i++)
            buf_append_char(&body, 'x');
        buf_append_str(&body, "\"}}");
        if (extra)
            refuse_at(body.data, 422, "/context/v", "8192");
        else
            task_spec_unref(accept(body.data));
    }
    buf_reset(&body);
    buf_append_str(&body, "{\"task\":\"satchel.noop\",\"labels\":{");
    for (int i = 0; i < 65; i++)
        buf_printf(&body, "%s\"v%d\":\"x\"", i ? "," : "", i);
    buf_append_str(&body, "}}");
    refuse_at(body.data, 422, "/labels", "64");
    buf_release(&body);
}

/* ---- the task's context ---- */

static struct task_spec *accept_with(const char *const *lines, const char *body)
{
    struct request_context context;
    struct submission s;
    struct problem problem;
    make_context(&f, lines, &context);
    if (parse_with(&f, &context, body, &s, &problem) != 0)
        fail_msg("%s: %s", body, problem.detail);
    request_context_release(&context);
    return s.spec;
}

static void the_trace_goes_on(void **state)
{
    (void)state;
    static const uint8_t parent_span[8] = {0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7};
    struct task_spec *spec =
        accept_with(LINES("traceparent: " PARENT, "tracestate: a=b"), "{\"task\":\"satchel.noop\"}");
    const char *own = known_text(task_context(spec), SATCHEL_TRACEPARENT);
    assert_memory_equal(own, PARENT, 36);
    assert_memory_not_equal(own + 36, &PARENT[36], 16);
    assert_string_equal(own + 52, "-01");
    assert_memory_equal(spec->parent_span, parent_span, 8);
    assert_string_equal(known_text(task_context(spec), SATCHEL_TRACESTATE), "a=b");
    assert_non_null(strstr(spec->origins.data, "\"traceparent\":\"header\""));
    task_spec_unref(spec);
}

static void a_new_trace_is_started(void **state)
{
    (void)state;
    static const uint8_t none[8];
    struct task_spec *first = accept_with(LINES("tracestate: a=b"), "{\"task\":\"satchel.noop\"}");
    struct task_spec *second =
        accept_with(LINES("traceparent: 00-zz", "tracestate: a=b"), "{\"task\":\"satchel.noop\"}");
    char trace[56];
    assert_int_equal(strlen(known_text(task_context(first), SATCHEL_TRACEPARENT)), 55);
    memcpy(trace, known_text(task_context(first), SATCHEL_TRACEPARENT), 56);
    assert_string_not_equal(trace, known_text(task_context(second), SATCHEL_TRACEPARENT));
    assert_memory_equal(first->parent_span, none, 8);
    assert_memory_equal(second->parent_span, none, 8);
    assert_string_equal(known_text(task_context(first), SATCHEL_TRACESTATE), "(unset)");
    assert_string_equal(known_text(task_context(second), SATCHEL_TRACESTATE), "(unset)");
    assert_non_null(strstr(second->origins.data, "\"traceparent\":\"generated\""));
    task_spec_unref(first);
    task_spec_unref(second);
}

static void the_earlier_deadline_counts(void **state)
{
    (void)state;
    static const char late[] = "2099-01-01T00:00:00.000000Z", early[] = "2098-01-01T00:00:00.000001Z";
    for (int body_is_early = 0; body_is_early < 2; body_is_early++) {
        char line[80], body[128];
        (void)snprintf(line, sizeof line, "X-Satchel-Deadline: %s", body_is_early ? late : early);
        (void)snprintf(body, sizeof body, "{\"task\":\"satchel.noop\",\"deadline\":\"%s\"}",
                       body_is_early ? early : late);
        struct task_spec *spec = accept_with(LINES(line), body);
        int64_t expected;
        assert_true(timestamp_parse(early, strlen(early), &expected));
        assert_int_equal(spec->deadline_us, expected);
        assert_string_equal(known_text(task_context(spec), SATCHEL_DEADLINE), early);
        assert_non_null(
            strstr(spec->origins.data, body_is_early ? "\"deadline\":\"body\"" : "\"deadline\":\"header\""));
        task_spec_unref(spec);
    }
}

static void a_past_deadline_is_accepted(void **state)
{
    (void)state;
    struct task_spec *spec = accept("{\"task\":\"satchel.noop\",\"deadline\":\"2001-01-01T00:00:00Z\"}");
    assert_true(spec->deadline_us > 0 && spec->deadline_us < spec->created_us);
    task_spec_unref(spec);
}

static void the_body_wins_over_a_variable_header(void **state)
{
    (void)state;
    struct task_spec *spec = accept_with(LINES("X-Satchel-Var-Shard: from-header", "X-Satchel-Var-Other: kept"),
                                         "{\"task\":\"satchel.noop\",\"context\":{\"shard\":\"from-body\"}}");
    assert_string_equal(variable_text(task_context(spec), "shard"), "from-body");
    assert_string_equal(variable_text(task_context(spec), "other"), "kept");
    assert_non_null(strstr(spec->origins.data, "\"shard\":\"body\""));
    assert_non_null(strstr(spec->origins.data, "\"other\":\"header\""));
    assert_null(strstr(spec->origins.data, "\"shard\":\"header\""));
    task_spec_unref(spec);
}

static void the_callers_context_is_not_changed(void **state)
{
    (void)state;
    struct request_context context;
    struct submission s;
    struct problem problem;
    make_context(&f, LINES("X-Tenant-ID: acme", "traceparent: " PARENT), &context);
    size_t before = satchel_context_len(context.context);
    assert_int_equal(parse_with(&f, &context, "{\"task\":\"satchel.noop\",\"context\":{\"a\":\"b\"}}", &s, &problem),
                     0);
    assert_int_equal(satchel_context_len(context.context), before);
    assert_string_equal(known_text(context.context, SATCHEL_TRACEPARENT), PARENT);
    assert_string_equal(variable_text(context.context, "a"), "(unset)");
    assert_null(satchel_tenant()); /* nothing is left entered on this thread */
    assert_false(satchel_context_entered(task_context(s.spec)));
    task_spec_unref(s.spec);
    request_context_release(&context);
}

static void the_stored_text_gives_the_context_back(void **state)
{
    (void)state;
    struct task_spec *spec = accept_with(LINES("X-Tenant-ID: acme", "baggage: k=v", "traceparent: " PARENT),
                                         "{\"task\":\"satchel.noop\",\"context\":{\"a\":\"\\u00e9 \\\"q\\\"\"}}");
    satchel_context *back;
    assert_int_equal(satchel_context_from_json(spec->context.data, spec->context.len, &back), SATCHEL_OK);
    assert_true(satchel_context_equal(back, task_context(spec)));
    satchel_context_unref(back);
    task_spec_unref(spec);
}

static void a_sub_task_does_not_inherit_the_attempt(void **state)
{
    (void)state;
    satchel_context *context;
    static const char json[] = "{\"v\":1,\"vars\":{\"x-tenant-id\":\"acme\",\"x-satchel-task-id\":"
                               "\"01995a2e-7c3b-7d21-9f0e-4b8f6d1c2a35\",\"x-satchel-attempt\":\"2\"}}";
    assert_int_equal(satchel_context_from_json(json, sizeof json - 1, &context), SATCHEL_OK);
    assert_true(satchel_context_has(context, satchel_known_var(SATCHEL_ATTEMPT)));
    struct task_id parent = {.hi = 0x01995a2e7c3b7d21, .lo = 0x9f0e4b8f6d1c2a35};
    struct submission s;
    struct problem problem;
    struct submission_input input = {.config = f.config,
                                     .registry = f.registry,
                                     .body = slice_str("{\"task\":\"satchel.noop\"}"),
                                     .pointer = "",
                                     .context = context,
                                     .origins = slice_str("{\"tenant\":\"inherited:x\",\"task_id\":\"inherited:x\"}"),
                                     .parent = parent,
                                     .root = parent};
    assert_int_equal(submission_parse(&input, &s, &problem), 0);
    assert_false(satchel_context_has(task_context(s.spec), satchel_known_var(SATCHEL_ATTEMPT)));
    assert_false(satchel_context_has(task_context(s.spec), satchel_known_var(SATCHEL_TASK_ID)));
    assert_true(task_id_equal(s.spec->parent, parent));
    assert_true(task_id_equal(s.spec->root, parent));
    assert_string_equal(s.spec->origins.data, "{\"tenant\":\"inherited:x\",\"traceparent\":\"generated\"}");
    task_spec_unref(s.spec);
    input.body = slice_str("{\"task\":\"satchel.noop\",\"parent_id\":\"01995a2e-7c3b-7d21-9f0e-4b8f6d1c2a36\"}");
    assert_int_equal(submission_parse(&input, &s, &problem), -1);
    assert_string_equal(problem.errors[0].pointer, "/parent_id");
    satchel_context_unref(context);
}

static void a_chain_cannot_grow_for_ever(void **state)
{
    (void)state;
    struct buf json = BUF_INIT;
    buf_append_str(&json, "{\"v\":1,\"vars\":{\"x-tenant-id\":\"acme\"");
    for (int i = 0; i < 190; i++)
        buf_printf(&json, ",\"x-satchel-var-v%d\":\"x\"", i);
    buf_append_str(&json, "}}");
    struct request_context context = {0};
    assert_int_equal(satchel_context_from_json(json.data, json.len, &context.context), SATCHEL_OK);
    buf_release(&json);
    struct submission s;
    struct problem problem;
    assert_int_equal(parse_with(&f, &context, "{\"task\":\"satchel.noop\"}", &s, &problem), 0);
    task_spec_unref(s.spec);
    assert_int_equal(parse_with(&f, &context, "{\"task\":\"satchel.noop\",\"context\":{\"more\":\"x\"}}", &s, &problem),
                     -1);
    assert_int_equal(problem_status(problem.code), 422);
    assert_string_equal(problem.errors[0].pointer, "/context");
    request_context_release(&context);
}

static void the_key_comes_back(void **state)
{
    (void)state;
    struct submission s;
    struct problem problem;
    assert_int_equal(
        parse_with(&f, &plain, "{\"task\":\"satchel.noop\",\"idempotency_key\":\"k \\u00e9\"}", &s, &problem), 0);
    assert_true(slice_eq_str(s.idempotency_key, "k \xc3\xa9"));
    task_spec_unref(s.spec);
    assert_int_equal(parse_with(&f, &plain, "{\"task\":\"satchel.noop\"}", &s, &problem), 0);
    assert_null(s.idempotency_key.data);
    task_spec_unref(s.spec);
}

/* Whatever is cut off or damaged is refused or accepted, never more. */
static void damaged_bodies_are_harmless(void **state)
{
    (void)state;
    static const char whole[] =
        "{\"task\":\"satchel.echo\",\"args\":{\"a\":[1,\"x\\\"y\",null]},\"labels\":{\"a\":\"b\"},"
        "\"backoff\":{\"base\":\"1s\"},\"context\":{\"v\":\"w\"},\"delay\":\"1s\"}";
    char body[sizeof whole];
    unsigned random = 12345;
    for (unsigned round = 0; round < 20000; round++) {
        memcpy(body, whole, sizeof whole);
        for (unsigned i = 0; i < 1 + round % 3; i++) {
            random = random * 1103515245u + 12345u;
            body[(random >> 8) % (sizeof whole - 1)] = (char)(random >> 20);
        }
        size_t len = round % 5 ? sizeof whole - 1 : (random >> 4) % (sizeof whole - 1);
        struct submission s;
        struct problem problem;
        struct submission_input input = {.config = f.config,
                                         .registry = f.registry,
                                         .body = slice_of(body, len),
                                         .pointer = "",
                                         .context = plain.context,
                                         .origins = buf_slice(&plain.origins)};
        if (submission_parse(&input, &s, &problem) == 0) {
            assert_true(s.spec->args.len > 0);
            task_spec_unref(s.spec);
        } else {
            int status = problem_status(problem.code);
            assert_true(status == 400 || status == 422);
        }
    }
}

int main(void)
{
    json_in_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_smallest),
        cmocka_unit_test(every_option),
        cmocka_unit_test(run_at_is_taken_as_it_is),
        cmocka_unit_test(args_keep_their_bytes),
        cmocka_unit_test(malformed_json_is_400),
        cmocka_unit_test(faults_have_pointers),
        cmocka_unit_test(reserved_variables_are_refused),
        cmocka_unit_test(all_faults_are_told),
        cmocka_unit_test(pointers_start_where_the_body_lies),
        cmocka_unit_test(bounds_hold),
        cmocka_unit_test(the_trace_goes_on),
        cmocka_unit_test(a_new_trace_is_started),
        cmocka_unit_test(the_earlier_deadline_counts),
        cmocka_unit_test(a_past_deadline_is_accepted),
        cmocka_unit_test(the_body_wins_over_a_variable_header),
        cmocka_unit_test(the_callers_context_is_not_changed),
        cmocka_unit_test(the_stored_text_gives_the_context_back),
        cmocka_unit_test(a_sub_task_does_not_inherit_the_attempt),
        cmocka_unit_test(a_chain_cannot_grow_for_ever),
        cmocka_unit_test(the_key_comes_back),
        cmocka_unit_test(damaged_bodies_are_harmless),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
