/* openapi.json says what there is: every route, every problem, every option, every member of a task; and no more. */
#include "api_fixture.h"

#include <ctype.h>

#include "api/routes.h"
#include "task/render.h"

#include "daemon/api/openapi.inc"

static json_t *doc;

static int setup(void **state)
{
    (void)state;
    char error[JSON_IN_ERROR_SIZE];
    doc = json_in_load(slice_of((const char *)openapi_text, sizeof openapi_text), 64, error);
    if (!doc)
        fail_msg("%s", error);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    json_decref(doc);
    return 0;
}

/* "/components/schemas/Task": a JSON pointer without escapes. */
static json_t *at(const char *pointer)
{
    json_t *json = doc;
    char text[256];
    (void)snprintf(text, sizeof text, "%s", pointer);
    for (char *rest = text + 1, *part = strsep(&rest, "/"); part; part = strsep(&rest, "/"))
        json = json_object_get(json, part);
    if (!json)
        fail_msg("%s is missing", pointer);
    return json;
}

static bool lists(const json_t *array, const char *text)
{
    for (size_t i = 0; i < json_array_size(array); i++)
        if (strcmp(json_string_value(json_array_get(array, i)), text) == 0)
            return true;
    return false;
}

static json_t *operation_of(const struct route *route)
{
    char method[16];
    size_t n = 0;
    for (; route->method_name[n]; n++)
        method[n] = (char)tolower((unsigned char)route->method_name[n]);
    method[n] = '\0';
    return json_object_get(json_object_get(json_object_get(doc, "paths"), route->pattern), method);
}

static void every_route_is_described(void **state)
{
    (void)state;
    size_t n = 0;
    for (const struct route *route; (route = route_at(n)) != NULL; n++) {
        json_t *operation = operation_of(route);
        if (!operation)
            fail_msg("%s %s is not described", route->method_name, route->pattern);
        assert_string_equal(json_string_value(json_object_get(operation, "operationId")), route->operation);
        assert_true(json_object_size(json_object_get(operation, "responses")) > 0);
        assert_int_equal(json_object_get(operation, "requestBody") != NULL, (route->needs & (ROUTE_JSON | ROUTE_STREAM)) != 0);
    }
    size_t described = 0;
    const char *path, *method;
    json_t *item, *operation;
    json_object_foreach(json_object_get(doc, "paths"), path, item)
    {
        json_object_foreach(item, method, operation)
        {
            described += strcmp(method, "parameters") != 0;
        }
    }
    assert_int_equal(described, n);
}

static void every_problem_is_described(void **state)
{
    (void)state;
    json_t *types = at("/components/schemas/Problem/properties/type/enum");
    json_t *one_of = at("/components/schemas/Problem/oneOf");
    assert_int_equal(json_array_size(types), PROBLEM_COUNT - 1);
    assert_int_equal(json_array_size(one_of), PROBLEM_COUNT - 1);
    for (int code = PROBLEM_NONE + 1; code < PROBLEM_COUNT; code++) {
        const char *urn = problem_urn((enum problem_code)code);
        if (!lists(types, urn))
            fail_msg("%s is not described", urn);
        json_t *entry = json_array_get(one_of, (size_t)code - 1), *members = json_object_get(entry, "properties");
        assert_string_equal(json_string_value(json_object_get(entry, "title")), problem_title((enum problem_code)code));
        assert_string_equal(json_string_value(json_object_get(json_object_get(members, "type"), "const")), urn);
        assert_int_equal((int)json_number_value(json_object_get(json_object_get(members, "status"), "const")),
                         problem_status((enum problem_code)code));
    }
}

static void every_state_and_error_is_described(void **state)
{
    (void)state;
    json_t *states = at("/components/schemas/State/enum"),
           *errors = at("/components/schemas/Error/properties/type/enum");
    assert_int_equal(json_array_size(states), TASK_STATE_COUNT);
    for (int i = 0; i < TASK_STATE_COUNT; i++)
        assert_true(lists(states, task_state_name((enum task_state)i)));
    assert_int_equal(json_array_size(errors), ERROR_TYPE_COUNT - 1);
    for (int i = ERROR_TYPE_NONE + 1; i < ERROR_TYPE_COUNT; i++)
        if (!lists(errors, error_type_name((enum error_type)i)))
            fail_msg("error type %s is not described", error_type_name((enum error_type)i));
}

/* Members with an example value each; what the door takes must be described, and the other way round. */
static void every_option_is_described(void **state)
{
    (void)state;
    struct fixture f;
    struct request_context context;
    fixture_init(&f, "");
    make_context(&f, LINES("X-Tenant-ID: a"), &context);
    const char *name;
    json_t *schema;
    json_object_foreach(at("/components/schemas/Submission/properties"), name, schema)
    {
        char body[256];
        struct submission s;
        struct problem problem = {0};
        (void)snprintf(body, sizeof body, "{\"%s\":[]}", name);
        if (parse_with(&f, &context, body, &s, &problem) == 0)
            task_spec_unref(s.spec);
        for (unsigned i = 0; i < problem.n_errors && i < PROBLEM_MAX_ERRORS; i++)
            if (strstr(problem.errors[i].detail, "not known"))
                fail_msg("%s is described, but not known", name);
    }
    static const char *const taken[] = {
        "task",         "args",     "priority", "delay",       "run_at",  "timeout",   "deadline", "expires_in",
        "max_attempts", "max_lost", "backoff",  "labels",      "context", "parent_id", "retain",   "idempotency_key",
        "callback",     "after",    "group",    "after_group", "unique"};
    assert_int_equal(json_object_size(at("/components/schemas/Submission/properties")), sizeof taken / sizeof taken[0]);
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        if (!json_object_get(at("/components/schemas/Submission/properties"), taken[i]))
            fail_msg("%s is not described", taken[i]);
    request_context_release(&context);
    fixture_release(&f);
}

static void every_member_of_a_task_is_described(void **state)
{
    (void)state;
    struct fixture f;
    struct request_context context;
    struct submission s;
    struct problem problem;
    fixture_init(&f, "");
    make_context(&f, LINES("X-Tenant-ID: a"), &context);
    assert_int_equal(parse_with(&f, &context, "{\"task\":\"satchel.noop\"}", &s, &problem), 0);
    struct task_record record = {.spec = s.spec, .status = {.state = TASK_SUCCEEDED}};
    struct buf out = BUF_INIT;
    struct json_out j = json_out_to(&out);
    struct task_history none = {0};
    task_render(&record, &none, "here", &j);
    json_t *task = json_loadb(out.data, out.len, 0, NULL);
    json_t *described = at("/components/schemas/Task/properties"), *required = at("/components/schemas/Task/required");
    const char *name;
    json_t *value;
    json_object_foreach(task, name, value)
    {
        if (!json_object_get(described, name))
            fail_msg("%s is not described", name);
    }
    for (size_t i = 0; i < json_array_size(required); i++)
        if (!json_object_get(task, json_string_value(json_array_get(required, i))))
            fail_msg("%s is not written", json_string_value(json_array_get(required, i)));
    assert_int_equal(
        json_array_size(required) + 10,
        json_object_size(described)); /* result, exit_code, error, attempts, progress_message, callback, after, group,
                                                        after_group, unique */
    json_decref(task);
    buf_release(&out);
    task_record_release(&record);
    request_context_release(&context);
    fixture_release(&f);
}

/* The examples of request bodies are submissions that are accepted. */
static void examples_are_accepted(void **state)
{
    (void)state;
    struct fixture f;
    struct request_context context;
    fixture_init(&f, "");
    make_context(&f, LINES("X-Tenant-ID: a"), &context);
    json_t *operation = json_object_get(json_object_get(at("/paths"), "/v1/tasks"), "post");
    json_t *content = json_object_get(json_object_get(operation, "requestBody"), "content");
    json_t *examples = json_object_get(json_object_get(content, "application/json"), "examples"), *example;
    const char *name;
    assert_true(json_object_size(examples) >= 2);
    json_object_foreach(examples, name, example)
    {
        char *body = json_dumps(json_object_get(example, "value"), JSON_COMPACT);
        struct submission s;
        struct problem problem;
        if (parse_with(&f, &context, body, &s, &problem) != 0)
            fail_msg("%s: %s", name, problem.detail);
        task_spec_unref(s.spec);
        free(body);
    }
    request_context_release(&context);
    fixture_release(&f);
}

static void check_references(const json_t *json)
{
    const char *key;
    json_t *value;
    if (json_is_object(json))
        json_object_foreach((json_t *)(uintptr_t)json, key, value)
        {
            if (strcmp(key, "$ref") == 0)
                (void)at(json_string_value(value) + 1);
            check_references(value);
        }
    for (size_t i = 0; json_is_array(json) && i < json_array_size(json); i++)
        check_references(json_array_get(json, i));
}

static void references_lead_somewhere(void **state)
{
    (void)state;
    check_references(doc);
    assert_string_equal(json_string_value(at("/openapi")), "3.1.0");
}

int main(void)
{
    json_in_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_route_is_described),
        cmocka_unit_test(every_problem_is_described),
        cmocka_unit_test(every_state_and_error_is_described),
        cmocka_unit_test(every_option_is_described),
        cmocka_unit_test(every_member_of_a_task_is_described),
        cmocka_unit_test(examples_are_accepted),
        cmocka_unit_test(references_lead_somewhere),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
