/* Paths, queries, cursors and the header fields with a grammar of their own. */
#include "api_fixture.h"

#include "api/cursor.h"
#include "api/fields.h"
#include "api/params.h"
#include "api/routes.h"

/* ---- routes ---- */

static const char *found(enum http_method method, const char *path)
{
    static struct route_match match;
    switch (route_find(method, slice_str(path), &match)) {
    case ROUTE_FOUND: return match.route->operation;
    case ROUTE_OTHER_METHOD: return "other method";
    case ROUTE_NOWHERE: return "nowhere";
    case ROUTE_BROKEN:
    default: return "broken";
    }
}

static void paths_are_found(void **state)
{
    (void)state;
    assert_string_equal(found(HTTP_POST, "/v1/tasks"), "submitTask");
    assert_string_equal(found(HTTP_GET, "/v1/tasks"), "listTasks");
    assert_string_equal(found(HTTP_HEAD, "/v1/tasks"), "listTasks");
    assert_string_equal(found(HTTP_GET, "/v1/tasks/abc"), "getTask");
    assert_string_equal(found(HTTP_DELETE, "/v1/tasks/abc"), "deleteTask");
    assert_string_equal(found(HTTP_GET, "/v1/tasks/abc/result"), "getTaskResult");
    assert_string_equal(found(HTTP_POST, "/v1/tasks/abc:cancel"), "cancelTask");
    assert_string_equal(found(HTTP_POST, "/v1/tasks/abc%3Acancel"), "cancelTask");
    assert_string_equal(found(HTTP_POST, "/v1/tasks/abc:retry"), "retryTask");
    assert_string_equal(found(HTTP_GET, "/healthz"), "getHealth");
    assert_string_equal(found(HTTP_GET, "/%68ealthz"), "getHealth");
    assert_string_equal(found(HTTP_GET, "/readyz"), "getReadiness");
    assert_string_equal(found(HTTP_GET, "/openapi.json"), "getDescription");
}

static void other_paths_are_not(void **state)
{
    (void)state;
    static const char *const nowhere[] = {"/",
                                          "",
                                          "/v1",
                                          "/v1/tasks/",
                                          "/v1/tasks//result",
                                          "/v1/tasks/a/",
                                          "/v1/tasks/a/b",
                                          "/v1/tasks/a:stop",
                                          "/v1/tasks/:cancel",
                                          "/v1/tasks/a:cancel/result",
                                          "/v1/tasks/a/result/",
                                          "/v1/tasksx",
                                          "/V1/tasks",
                                          "//v1/tasks",
                                          "/healthz/",
                                          "/v1%2Ftasks",
                                          "*"};
    for (size_t i = 0; i < sizeof nowhere / sizeof nowhere[0]; i++)
        if (strcmp(found(HTTP_GET, nowhere[i]), "nowhere") != 0)
            fail_msg("%s: %s", nowhere[i], found(HTTP_GET, nowhere[i]));
    char path[600] = "/v1/tasks/";
    memset(path + 10, 'a', 500);
    assert_string_equal(found(HTTP_GET, path), "nowhere");
    memcpy(path + 10, "%61", 3);
    assert_string_equal(found(HTTP_GET, path), "nowhere");
}

static void other_methods_are_told(void **state)
{
    (void)state;
    char allow[ROUTE_ALLOW_SIZE];
    assert_string_equal(found(HTTP_PUT, "/v1/tasks"), "other method");
    assert_string_equal(found(HTTP_OPTIONS, "/v1/tasks"), "other method");
    assert_string_equal(found(HTTP_GET, "/v1/tasks/a:cancel"), "other method");
    route_allow(slice_str("/v1/tasks"), allow);
    assert_string_equal(allow, "GET, HEAD, POST, OPTIONS");
    route_allow(slice_str("/v1/tasks/a"), allow);
    assert_string_equal(allow, "GET, HEAD, DELETE, OPTIONS");
    route_allow(slice_str("/v1/tasks/a:retry"), allow);
    assert_string_equal(allow, "POST, OPTIONS");
    route_allow(slice_str("*"), allow);
    assert_string_equal(allow, "GET, HEAD, PUT, POST, DELETE, OPTIONS");
}

static void broken_escapes_are_told(void **state)
{
    (void)state;
    assert_string_equal(found(HTTP_GET, "/v1/tasks/%"), "broken");
    assert_string_equal(found(HTTP_GET, "/v1/tasks/%4"), "broken");
    assert_string_equal(found(HTTP_GET, "/v1/tasks/%zz"), "broken");
    assert_string_equal(found(HTTP_GET, "/v1/tasks/a%00"), "broken");
}

static void an_encoded_slash_is_no_separator(void **state)
{
    (void)state;
    struct route_match match;
    assert_int_equal(route_find(HTTP_GET, slice_str("/v1/tasks/a%2Fresult"), &match), ROUTE_FOUND);
    assert_string_equal(match.route->operation, "getTask");
    assert_int_equal(match.id.len, 8);
    assert_int_equal(route_find(HTTP_GET, slice_str("/v1/tasks/a%20b"), &match), ROUTE_FOUND);
    assert_true(slice_eq_str(match.id, "a b"));
}

/* ---- queries ---- */

static const char *const known[] = {"a", "b", NULL};

static void queries_are_decoded(void **state)
{
    (void)state;
    struct params params;
    struct problem problem = {0};
    assert_int_equal(params_parse(slice_str("a=x%20y+z&&%62=%C3%A9%2B"), known, &params, &problem), 0);
    assert_true(slice_eq_str(params_get(&params, "a"), "x y z"));
    assert_true(slice_eq_str(params_get(&params, "b"), "\xc3\xa9+"));
    assert_null(params_get(&params, "c").data);
    params_release(&params);
    assert_int_equal(params_parse(slice_str("a"), known, &params, &problem), 0);
    assert_non_null(params_get(&params, "a").data);
    assert_int_equal(params_get(&params, "a").len, 0);
    params_release(&params);
    assert_int_equal(params_parse(slice_str(""), known, &params, &problem), 0);
    params_release(&params);
    assert_int_equal(params_parse(slice_str("a=b=c"), known, &params, &problem), 0);
    assert_true(slice_eq_str(params_get(&params, "a"), "b=c"));
    params_release(&params);
}

static void bad_queries_are_400(void **state)
{
    (void)state;
    static const char *const bad[] = {"c=1",   "a=1&a=2", "a=1&%61=2", "a=%", "a=%0",
                                      "a=%0g", "a=%00",   "%zz=1",     "=1",  "A=1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct params params;
        struct problem problem = {0};
        if (params_parse(slice_str(bad[i]), known, &params, &problem) == 0)
            fail_msg("%s was accepted", bad[i]);
        assert_int_equal(problem.code, PROBLEM_INVALID_PARAMETER);
    }
}

static void encoding_is_undone_by_decoding(void **state)
{
    (void)state;
    char all[255];
    for (int i = 1; i < 256; i++)
        all[i - 1] = (char)i;
    struct buf encoded = BUF_INIT, decoded = BUF_INIT;
    percent_encode(slice_of(all, 255), &encoded);
    for (size_t i = 0; i < encoded.len; i++)
        assert_true(encoded.data[i] > 0x20 && encoded.data[i] < 0x7f && !strchr("&=+#?<>\"", encoded.data[i]));
    assert_int_equal(percent_decode(buf_slice(&encoded), true, &decoded), 0);
    assert_int_equal(decoded.len, 255);
    assert_memory_equal(decoded.data, all, 255);
    buf_release(&encoded);
    buf_release(&decoded);
}

/* ---- cursors ---- */

static void cursors_come_back(void **state)
{
    (void)state;
    struct task_id id, back;
    char text[CURSOR_TEXT_SIZE];
    task_id_make(&id);
    assert_true(cursor_format(id, slice_str("acme:queued"), text));
    assert_int_equal(strlen(text), CURSOR_TEXT_SIZE - 1);
    assert_true(cursor_parse(slice_str(text), slice_str("acme:queued"), &back));
    assert_true(task_id_equal(id, back));
    assert_false(cursor_parse(slice_str(text), slice_str("other:queued"), &back));
    assert_false(cursor_parse(slice_str(""), slice_str("acme:queued"), &back));
    assert_false(cursor_parse(slice_of(text, 31), slice_str("acme:queued"), &back));
    for (size_t i = 0; i < CURSOR_TEXT_SIZE - 1; i++) {
        char kept = text[i];
        text[i] = kept == 'A' ? 'B' : 'A';
        assert_false(cursor_parse(slice_str(text), slice_str("acme:queued"), &back));
        text[i] = '=';
        assert_false(cursor_parse(slice_str(text), slice_str("acme:queued"), &back));
        text[i] = kept;
    }
}

/* ---- Prefer ---- */

static struct preferences prefer(const char *const *lines)
{
    struct made_request made;
    struct preferences p;
    prefer_read(make_request(&made, lines), &p);
    return p;
}

static void preferences_are_read(void **state)
{
    (void)state;
    struct preferences p = prefer(LINES("Prefer: respond-async, wait=10; x=y , return=minimal"));
    assert_true(p.has_wait && p.respond_async && p.minimal);
    assert_int_equal(p.wait_s, 10);
    p = prefer(LINES("prefer: WAIT = \"7\"", "Prefer: wait=9"));
    assert_true(p.has_wait && !p.respond_async);
    assert_int_equal(p.wait_s, 7);
    p = prefer(LINES("Prefer: foo; a=\"b,wait=3\", return=representation,,wait=0"));
    assert_true(p.has_wait && !p.minimal);
    assert_int_equal(p.wait_s, 0);
}

static void what_is_not_understood_is_ignored(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "Prefer:",         "Prefer: wait",     "Prefer: wait=",           "Prefer: wait=1s",
        "Prefer: wait=-1", "Prefer: wait=1.5", "Prefer: wait=9999999999", "Prefer: \"wait=1",
        "Prefer: =3",      "Prefer: a=\"x\\",  "Preferred: wait=1",       "Prefer: @@, ;;, =,"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (prefer(LINES(bad[i])).has_wait)
            fail_msg("%s", bad[i]);
    assert_true(prefer(LINES("Prefer: @rubbish@, wait=1")).has_wait);
}

/* ---- Idempotency-Key ---- */

static int key_of(const char *const *lines, char out[IDEMPOTENCY_KEY_MAX + 1], struct slice *ret)
{
    struct made_request made;
    struct problem problem = {0};
    int result = idempotency_key_read(make_request(&made, lines), out, ret, &problem);
    assert_true(result == 0 || problem.code == PROBLEM_INVALID_PARAMETER);
    return result;
}

static void keys_are_read(void **state)
{
    (void)state;
    char out[IDEMPOTENCY_KEY_MAX + 1];
    struct slice key;
    assert_int_equal(key_of(LINES("Host: x"), out, &key), 0);
    assert_null(key.data);
    assert_int_equal(key_of(LINES("Idempotency-Key: abc-1"), out, &key), 0);
    assert_true(slice_eq_str(key, "abc-1"));
    assert_int_equal(key_of(LINES("idempotency-key: \"abc-1\""), out, &key), 0);
    assert_true(slice_eq_str(key, "abc-1"));
    assert_int_equal(key_of(LINES("Idempotency-Key: \"a \\\"b\\\\ c\";x=1"), out, &key), 0);
    assert_true(slice_eq_str(key, "a \"b\\ c"));
    char longest[300] = "Idempotency-Key: ";
    memset(longest + 17, 'k', 255);
    assert_int_equal(key_of(LINES(longest), out, &key), 0);
    assert_int_equal(key.len, 255);
}

static void bad_keys_are_400(void **state)
{
    (void)state;
    char out[IDEMPOTENCY_KEY_MAX + 1], longest[300] = "Idempotency-Key: ";
    struct slice key;
    memset(longest + 17, 'k', 256);
    const char *const bad[] = {"Idempotency-Key:",
                               "Idempotency-Key: \"\"",
                               "Idempotency-Key: \"a",
                               "Idempotency-Key: a\"b",
                               "Idempotency-Key: a b",
                               "Idempotency-Key: \"a\"b",
                               "Idempotency-Key: \"a\\n\"",
                               "Idempotency-Key: \xc3\xa9",
                               "Idempotency-Key: \"\xc3\xa9\"",
                               "Idempotency-Key: \"a\\",
                               longest};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (key_of(LINES(bad[i]), out, &key) == 0)
            fail_msg("%s was accepted", bad[i]);
    assert_int_equal(key_of(LINES("Idempotency-Key: a", "Idempotency-Key: a"), out, &key), -1);
}

/* ---- Content-Type ---- */

static int json_check(const char *const *lines)
{
    struct made_request made;
    struct problem problem = {0};
    int result = json_body_check(make_request(&made, lines), &problem);
    assert_true(result == 0 || problem.code == PROBLEM_UNSUPPORTED_TYPE);
    return result;
}

static void json_types_are_accepted(void **state)
{
    (void)state;
    static const char *const good[] = {"Content-Type: application/json",
                                       "content-type: Application/JSON",
                                       "Content-Type: application/json; charset=utf-8",
                                       "Content-Type: application/json;charset=\"UTF-8\"",
                                       "Content-Type: application/cloudevents+json",
                                       "Content-Type: application/json ; v=1"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (json_check(LINES(good[i])) != 0)
            fail_msg("%s", good[i]);
    assert_int_equal(json_check(LINES("Content-Type: application/json", "Content-Encoding: identity")), 0);
}

static void other_types_are_415(void **state)
{
    (void)state;
    static const char *const bad[] = {"Host: x",
                                      "Content-Type:",
                                      "Content-Type: text/plain",
                                      "Content-Type: json",
                                      "Content-Type: application/jsonx",
                                      "Content-Type: application/",
                                      "Content-Type: application/json; charset=latin1",
                                      "Content-Type: text/json",
                                      "Content-Type: application/json, text/plain",
                                      "Content-Type: application/+json",
                                      "Content-Type: application/x-www-form-urlencoded"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (json_check(LINES(bad[i])) == 0)
            fail_msg("%s", bad[i]);
    assert_int_equal(json_check(LINES("Content-Type: application/json", "Content-Encoding: gzip")), -1);
    assert_int_equal(json_check(LINES("Content-Type: application/json", "Content-Type: application/json")), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_are_found),
        cmocka_unit_test(other_paths_are_not),
        cmocka_unit_test(other_methods_are_told),
        cmocka_unit_test(broken_escapes_are_told),
        cmocka_unit_test(an_encoded_slash_is_no_separator),
        cmocka_unit_test(queries_are_decoded),
        cmocka_unit_test(bad_queries_are_400),
        cmocka_unit_test(encoding_is_undone_by_decoding),
        cmocka_unit_test(cursors_come_back),
        cmocka_unit_test(preferences_are_read),
        cmocka_unit_test(what_is_not_understood_is_ignored),
        cmocka_unit_test(keys_are_read),
        cmocka_unit_test(bad_keys_are_400),
        cmocka_unit_test(json_types_are_accepted),
        cmocka_unit_test(other_types_are_415),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
