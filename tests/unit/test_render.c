/* The task object: every member, what is left out, and payloads byte for byte. */
#include "api_fixture.h"
#include "task/render.h"

static struct fixture f;
static struct header_variables *variables;

static int setup(void **state)
{
    (void)state;
    fixture_init(&f,
                 "header \"X-Region\" { var = \"region\" }\nheader \"X-Secret\" { var = \"hush\" secret = true }\n");
    variables = header_variables_new();
    assert_int_equal(header_variables_update(variables, f.config), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    header_variables_free(variables);
    fixture_release(&f);
    return 0;
}

static struct task_record make(const char *const *lines, const char *body)
{
    struct request_context context;
    struct submission s;
    struct problem problem;
    make_context(&f, lines, &context);
    if (parse_with(&f, &context, body, &s, &problem) != 0)
        fail_msg("%s", problem.detail);
    request_context_release(&context);
    return (struct task_record){.spec = s.spec,
                                .status = {.state = TASK_QUEUED, .run_at_us = s.spec->created_us, .progress = -1}};
}

static char *render(const struct task_record *record)
{
    struct buf out = BUF_INIT;
    struct json_out j = json_out_to(&out);
    task_render(record, NULL, "here", &j);
    assert_true(buf_ok(&out));
    return buf_take(&out, NULL);
}

static json_t *load(const char *text)
{
    char error[JSON_IN_ERROR_SIZE];
    json_t *json = json_in_load(slice_str(text), 64, error);
    if (!json)
        fail_msg("%s: %s", error, text);
    return json;
}

static const char *string_at(const json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));
    return text ? text : "(none)";
}

static void a_waiting_task(void **state)
{
    (void)state;
    struct task_record record =
        make(LINES("X-Tenant-ID: acme", "X-Request-ID: r-1", "baggage: a=b"),
             "{\"task\":\"satchel.echo\",\"args\":{ \"n\": 1.10 },\"context\":{\"k\":\"v\\u00e9\"}}");
    char *text = render(&record);
    assert_non_null(strstr(text, "\"args\":{ \"n\": 1.10 },"));
    json_t *task = load(text);
    static const char *const always[] = {"id",         "task",         "tenant",   "state",      "args",
                                         "context",    "priority",     "labels",   "parent_id",  "root_id",
                                         "attempt",    "max_attempts", "lost",     "created_at", "run_at",
                                         "started_at", "finished_at",  "progress", "node"};
    for (size_t i = 0; i < sizeof always / sizeof always[0]; i++)
        if (!json_object_get(task, always[i]))
            fail_msg("%s is missing", always[i]);
    assert_int_equal(json_object_size(task), sizeof always / sizeof always[0]);
    assert_string_equal(string_at(task, "state"), "queued");
    assert_string_equal(string_at(task, "tenant"), "acme");
    assert_string_equal(string_at(task, "id"), string_at(task, "root_id"));
    assert_true(json_is_null(json_object_get(task, "parent_id")));
    assert_true(json_is_null(json_object_get(task, "started_at")));
    assert_true(json_is_null(json_object_get(task, "node")));
    assert_int_equal(strlen(string_at(task, "created_at")), 27);
    assert_int_equal(json_object_size(json_object_get(task, "labels")), 0);
    json_t *context = json_object_get(task, "context");
    assert_string_equal(string_at(context, "request_id"), "r-1");
    assert_string_equal(string_at(context, "baggage"), "a=b");
    assert_string_equal(string_at(context, "k"), "v\xc3\xa9");
    assert_int_equal(strlen(string_at(context, "traceparent")), 55);
    assert_int_equal(json_object_size(context), 4); /* not the tenant */
    json_decref(task);
    free(text);
    task_record_release(&record);
}

static void secrets_are_left_out(void **state)
{
    (void)state;
    struct task_record record = make(LINES("X-Region: eu", "X-Secret: s3cr3t"), "{\"task\":\"satchel.noop\"}");
    assert_non_null(strstr(record.spec->context.data, "s3cr3t")); /* stored, since the attempt needs it */
    char *text = render(&record);
    assert_null(strstr(text, "s3cr3t"));
    assert_null(strstr(text, "hush"));
    assert_non_null(strstr(text, "\"region\":\"eu\""));
    free(text);
    satchel_context_unref(task_context(record.spec)); /* a header that nothing is known of is not shown either */
    task_context_set(record.spec, satchel_context_new());
    text = render(&record);
    assert_null(strstr(text, "s3cr3t"));
    assert_null(strstr(text, "\"eu\""));
    free(text);
    task_record_release(&record);
}

static void a_success(void **state)
{
    (void)state;
    struct task_record record = make(LINES("X-Tenant-ID: a"), "{\"task\":\"satchel.noop\",\"labels\":{\"l\":\"m\"}}");
    record.status.state = TASK_SUCCEEDED;
    record.status.attempt = 2;
    record.status.lost = 1;
    record.status.started_us = 1767323045678901;
    record.status.finished_us = 1767323045678902;
    record.status.progress = 0.25f;
    record.outcome = task_outcome_success(blob_new(SLICE_LITERAL("{\"x\": 1e2}")));
    record.outcome->has_exit_code = true;
    char *text = render(&record);
    assert_non_null(strstr(text, "\"result\":{\"x\": 1e2}"));
    assert_non_null(strstr(text, "\"exit_code\":0"));
    assert_non_null(strstr(text, "\"started_at\":\"2026-01-02T03:04:05.678901Z\""));
    assert_non_null(strstr(text, "\"finished_at\":\"2026-01-02T03:04:05.678902Z\""));
    assert_non_null(strstr(text, "\"progress\":0.25"));
    assert_non_null(strstr(text, "\"attempt\":2,"));
    assert_non_null(strstr(text, "\"lost\":1,"));
    assert_non_null(strstr(text, "\"node\":\"here\""));
    assert_non_null(strstr(text, "\"labels\":{\"l\":\"m\"}"));
    assert_null(strstr(text, "\"error\""));
    json_decref(load(text));
    free(text);
    task_record_release(&record);
}

static void a_success_without_a_result_is_null(void **state)
{
    (void)state;
    struct task_record record = make(LINES("X-Tenant-ID: a"), "{\"task\":\"satchel.noop\"}");
    record.status.state = TASK_SUCCEEDED;
    char *text = render(&record);
    assert_non_null(strstr(text, "\"result\":null"));
    free(text);
    task_record_release(&record);
}

static void a_failure(void **state)
{
    (void)state;
    struct task_record record = make(LINES("X-Tenant-ID: a"), "{\"task\":\"satchel.noop\"}");
    record.status.state = TASK_FAILED;
    record.outcome = task_outcome_failure(ERROR_TYPE_SIGNAL, SLICE_LITERAL("killed \"hard\"\n\xff"));
    record.outcome->signal_number = 9;
    char *text = render(&record);
    json_t *task = load(text), *error = json_object_get(task, "error");
    assert_string_equal(string_at(error, "type"), "signal");
    assert_string_equal(string_at(error, "message"), "killed \"hard\"\n\xef\xbf\xbd");
    assert_int_equal((int)json_number_value(json_object_get(error, "signal")), 9);
    assert_null(json_object_get(error, "http_status"));
    assert_null(json_object_get(task, "result"));
    assert_null(json_object_get(task, "exit_code"));
    json_decref(task);
    free(text);
    record.outcome->http_status = 503;
    text = render(&record);
    assert_non_null(strstr(text, "\"http_status\":503"));
    free(text);
    task_record_release(&record);
}

static void the_short_form(void **state)
{
    (void)state;
    struct task_record record = make(LINES("X-Tenant-ID: a"), "{\"task\":\"satchel.noop\"}");
    struct buf out = BUF_INIT;
    struct json_out j = json_out_to(&out);
    char id[TASK_ID_TEXT_SIZE], expected[128];
    task_render_minimal(&record, &j);
    task_id_format(record.spec->id, id);
    (void)snprintf(expected, sizeof expected, "{\"id\":\"%s\",\"state\":\"queued\"}", id);
    assert_string_equal(out.data, expected);
    buf_release(&out);
    task_record_release(&record);
}

int main(void)
{
    json_in_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_waiting_task), cmocka_unit_test(secrets_are_left_out),
        cmocka_unit_test(a_success),      cmocka_unit_test(a_success_without_a_result_is_null),
        cmocka_unit_test(a_failure),      cmocka_unit_test(the_short_form),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
