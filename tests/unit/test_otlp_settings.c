/* Where spans go: settings over environment, the variable for traces over the general one, and what makes no sense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/grammar.h"
#include "telemetry/otlp_settings.h"

static const char *const *environment; /* name, value, ...; NULL ends */
static char warned[512];
static struct otlp_settings settings;

static const char *lookup(const char *name)
{
    for (size_t i = 0; environment && environment[i]; i += 2)
        if (strcmp(environment[i], name) == 0)
            return environment[i + 1];
    return NULL;
}

static void warn(const char *name, const char *why)
{
    (void)why;
    (void)snprintf(warned + strlen(warned), sizeof warned - strlen(warned), "%s;", name);
}

static void read_settings(struct otlp_given given)
{
    warned[0] = '\0';
    otlp_settings_release(&settings);
    assert_int_equal(otlp_settings_read(&given, lookup, warn, &settings), 0);
}

#define ENVIRONMENT(...)                                                                                               \
    environment = (const char *const[])                                                                                \
    {                                                                                                                  \
        __VA_ARGS__ __VA_OPT__(, ) NULL                                                                                \
    }
#define READ(...) read_settings((struct otlp_given){__VA_ARGS__})

static int teardown(void **state)
{
    (void)state;
    environment = NULL;
    otlp_settings_release(&settings);
    return 0;
}

static const char *resource(const char *key)
{
    for (size_t i = 0; i < settings.n_resource; i++)
        if (strcmp(settings.resource[i].key, key) == 0)
            return settings.resource[i].value;
    return "(none)";
}

static void nothing_said_nothing_exported(void **state)
{
    (void)state;
    READ(0);
    assert_null(settings.url);
    assert_int_equal(settings.root_sampling, 0);
    assert_false(settings.all);
    assert_string_equal(resource("service.name"), "satcheld");
    assert_int_equal(settings.timeout_us, 10000000);
    assert_int_equal(settings.delay_us, 1000000);
    assert_int_equal(settings.queue, 4096);
    assert_int_equal(settings.batch, 512);
}

static void endpoints(void **state)
{
    (void)state;
    ENVIRONMENT("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:4318");
    READ(0);
    assert_string_equal(settings.url, "http://h:4318/v1/traces");
    ENVIRONMENT("OTEL_EXPORTER_OTLP_ENDPOINT", "https://h/base/");
    READ(0);
    assert_string_equal(settings.url, "https://h/base/v1/traces");
    ENVIRONMENT("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:4318", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t");
    READ(0);
    assert_string_equal(settings.url, "http://t"); /* as it is */
    READ(.endpoint = "http://own");
    assert_string_equal(settings.url, "http://own/v1/traces");
    READ(.endpoint = "http://own", .traces_endpoint = "http://own/x");
    assert_string_equal(settings.url, "http://own/x");
    ENVIRONMENT("OTEL_EXPORTER_OTLP_ENDPOINT", "", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "");
    READ(0);
    assert_null(settings.url);
    assert_string_equal(warned, "");
}

static void endpoints_that_make_no_sense(void **state)
{
    (void)state;
    static const char *const bad[] = {"h:4318", "grpc://h", "http://", "https://", "file:///x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ENVIRONMENT("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", bad[i], "OTEL_EXPORTER_OTLP_ENDPOINT", "http://h");
        READ(0);
        assert_string_equal(settings.url, "http://h/v1/traces"); /* it counts as not set */
        assert_string_equal(warned, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT;");
    }
}

static void switched_off(void **state)
{
    (void)state;
    ENVIRONMENT("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h", "OTEL_SDK_DISABLED", "TRUE");
    READ(.endpoint = "http://own");
    assert_null(settings.url);
    ENVIRONMENT("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h", "OTEL_TRACES_EXPORTER", "none");
    READ(0);
    assert_null(settings.url);
    READ(.endpoint = "http://own"); /* the operator's own word */
    assert_string_equal(settings.url, "http://own/v1/traces");
    ENVIRONMENT("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h", "OTEL_SDK_DISABLED", "no");
    READ(0);
    assert_non_null(settings.url);
    READ(.endpoint = "http://own", .sampler = "always_off");
    assert_null(settings.url);
    assert_int_equal(settings.root_sampling, 0);
}

static void other_protocols_are_warned_of(void **state)
{
    (void)state;
    ENVIRONMENT("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h", "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    READ(0);
    assert_string_equal(warned, "OTEL_EXPORTER_OTLP_PROTOCOL;");
    ENVIRONMENT("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h", "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json");
    READ(0);
    assert_string_equal(warned, "");
}

static void headers(void **state)
{
    (void)state;
    ENVIRONMENT("OTEL_EXPORTER_OTLP_HEADERS", "a=general", "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
                " api-key = k%3D1%2c2 ,b=,a=1,a=2,,c=x%zz%4");
    READ(0);
    assert_string_equal(warned, "");
    assert_int_equal(settings.n_headers, 4);
    assert_string_equal(settings.headers[0].key, "api-key");
    assert_string_equal(settings.headers[0].value, "k=1,2");
    assert_string_equal(settings.headers[1].value, "");
    assert_string_equal(settings.headers[2].value, "2"); /* the last one counts */
    assert_string_equal(settings.headers[3].value, "x%zz%4");
    READ(.headers = "own=1");
    assert_int_equal(settings.n_headers, 1);
    assert_string_equal(settings.headers[0].key, "own");
}

static void headers_that_would_break_the_request(void **state)
{
    (void)state;
    static const char *const bad[] = {"novalue", "=x", "a b=1", "a%0d%0a=1", "a=1%0d%0aevil: 1", "a=%00x%0a", "a:=1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        READ(.headers = bad[i]);
        if (settings.n_headers || strcmp(warned, "otlp_headers;") != 0)
            assert_string_equal(bad[i], "a=%00x%0a"); /* ends at the NUL: an empty value */
    }
}

static void many_headers_have_a_bound(void **state)
{
    (void)state;
    char text[4096] = "";
    for (int i = 0; i < 100; i++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "k%d=v,", i);
    READ(.headers = text);
    assert_int_equal(settings.n_headers, 64);
}

static void the_resource(void **state)
{
    (void)state;
    ENVIRONMENT("OTEL_RESOURCE_ATTRIBUTES", "service.name=r,deployment.environment.name=a%20b,host.name=h");
    READ(0);
    assert_string_equal(resource("service.name"), "r");
    assert_string_equal(resource("deployment.environment.name"), "a b");
    assert_string_equal(resource("host.name"), "h");
    ENVIRONMENT("OTEL_RESOURCE_ATTRIBUTES", "service.name=r", "OTEL_SERVICE_NAME", "s");
    READ(0);
    assert_string_equal(resource("service.name"), "s");
    READ(.resource_attributes = "x=1", .service_name = "own");
    assert_string_equal(resource("service.name"), "own");
    assert_string_equal(resource("x"), "1");
    assert_string_equal(settings.resource[0].key, "service.name");
}

static void numbers(void **state)
{
    (void)state;
    ENVIRONMENT("OTEL_EXPORTER_OTLP_TIMEOUT", "3000", "OTEL_BSP_SCHEDULE_DELAY", "50", "OTEL_BSP_MAX_QUEUE_SIZE", "100",
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "200");
    READ(0);
    assert_int_equal(settings.timeout_us, 3000000);
    assert_int_equal(settings.delay_us, 50000);
    assert_int_equal(settings.queue, 100);
    assert_int_equal(settings.batch, 100); /* never more than there can be */
    READ(.timeout_us = 1000, .delay_us = 7000, .queue = 5, .batch = 3);
    assert_int_equal(settings.timeout_us, 1000);
    assert_int_equal(settings.delay_us, 7000);
    assert_int_equal(settings.queue, 5);
    assert_int_equal(settings.batch, 3);
    static const char *const bad[] = {"0", "-1", "x", "1x", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ENVIRONMENT("OTEL_BSP_MAX_QUEUE_SIZE", bad[i]);
        READ(0);
        assert_int_equal(settings.queue, 4096);
        assert_string_equal(warned, "OTEL_BSP_MAX_QUEUE_SIZE;");
    }
}

static void samplers(void **state)
{
    (void)state;
    const uint64_t all = UINT64_C(1) << 56;
    static const char *const names[] = {"parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio",
                                        "always_on", "always_off"};
    READ(.endpoint = "http://h");
    assert_true(settings.root_sampling == all);
    assert_false(settings.all);
    READ(.endpoint = "http://h", .sampler = "parentbased_always_off");
    assert_true(settings.root_sampling == 0);
    READ(.endpoint = "http://h", .sampler = "parentbased_traceidratio", .sampler_arg = "0.25");
    assert_true(settings.root_sampling == all / 4);
    READ(.endpoint = "http://h", .sampler = "always_on");
    assert_true(settings.root_sampling == all && settings.all);
    ENVIRONMENT("OTEL_TRACES_SAMPLER", "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG", "0.5");
    READ(.endpoint = "http://h");
    assert_true(settings.root_sampling == all / 2);
    ENVIRONMENT("OTEL_TRACES_SAMPLER", "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG", "2");
    READ(.endpoint = "http://h");
    assert_true(settings.root_sampling == all);
    assert_true(*warned);
    ENVIRONMENT("OTEL_TRACES_SAMPLER", "jaeger_remote");
    READ(.endpoint = "http://h");
    assert_string_equal(warned, "OTEL_TRACES_SAMPLER;");
    assert_true(settings.root_sampling == all);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) { /* the configuration's check knows the same names */
        assert_true(otlp_sampler_valid(names[i]));
        assert_null(check_sampler(names[i]));
    }
    assert_false(otlp_sampler_valid("always"));
    assert_non_null(check_sampler("always"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, teardown)
    static const struct CMUnitTest tests[] = {
        TEST(nothing_said_nothing_exported),
        TEST(endpoints),
        TEST(endpoints_that_make_no_sense),
        TEST(switched_off),
        TEST(other_protocols_are_warned_of),
        TEST(headers),
        TEST(headers_that_would_break_the_request),
        TEST(many_headers_have_a_bound),
        TEST(the_resource),
        TEST(numbers),
        TEST(samplers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
