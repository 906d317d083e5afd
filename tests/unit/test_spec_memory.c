/* What a task in memory is counted as, held against what malloc says that it takes: small ones, and ones with much. */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "task/task.h"

#define N 2000u

static satchel_field field_of(const char *name, const char *value)
{
    return (satchel_field){.name = name, .value = value, .name_len = strlen(name), .value_len = strlen(value)};
}

static const satchel_field plain[] = {
    {"X-Tenant-ID", "acme", 11, 4},
    {"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", 11, 55},
    {"X-Request-ID", "f2c9a1b77e0d4c55a1d1b6f0c3a49e21", 12, 32},
};

static struct buf text_of(const satchel_field *fields, size_t n)
{
    satchel_context *context = NULL;
    char *text = NULL;
    size_t len = 0;
    assert_int_equal(satchel_extract(fields, n, &context, NULL, NULL), SATCHEL_OK);
    assert_int_equal(satchel_context_to_json(context, SATCHEL_JSON_SECRETS, &text, &len), SATCHEL_OK);
    struct buf out = BUF_INIT;
    buf_append(&out, text, len);
    satchel_free(text);
    satchel_context_unref(context);
    return out;
}

/* Counted and taken, of one task. */
static void compare(struct buf *context, size_t args_len)
{
    static struct task_spec *specs[N];
    struct buf args = BUF_INIT;
    buf_append_char(&args, '"');
    for (size_t i = 0; i < args_len; i++)
        buf_append_char(&args, 'x');
    buf_append_char(&args, '"');
    const struct task_spec_text text = {.tenant = SLICE_LITERAL("acme"),
                                        .name = SLICE_LITERAL("satchel.noop"),
                                        .args = buf_slice(&args),
                                        .context = buf_slice(context),
                                        .origins = SLICE_LITERAL("{\"tenant\":\"header\",\"traceparent\":\"header\"}")};
    size_t counted = 0, before = mallinfo2().uordblks + mallinfo2().hblkhd;
    for (unsigned i = 0; i < N; i++) {
        specs[i] = task_spec_new(&text);
        assert_non_null(specs[i]);
        counted += specs[i]->memory;
        assert_non_null(task_context(specs[i]));
        assert_int_equal(specs[i]->memory, counted / (i + 1)); /* as before it was an object */
    }
    size_t after = mallinfo2().uordblks + mallinfo2().hblkhd, taken = after - before;
    for (unsigned i = 0; i < N; i++)
        task_spec_unref(specs[i]);
    buf_release(&args);
    buf_release(context);
    print_message("counted %zu, taken %zu bytes\n", counted / N, taken / N);
    if (after == 0) /* a sanitizer's malloc tells nothing */
        skip();
    assert_in_range(counted, taken - taken / 8, taken + taken / 3);
}

static void test_a_tenant_alone(void **state)
{
    (void)state;
    struct buf context = text_of(plain, 1);
    compare(&context, 10);
}

static void test_what_every_request_has(void **state)
{
    (void)state;
    struct buf context = text_of(plain, 3);
    compare(&context, 10);
}

static void test_large_arguments(void **state)
{
    (void)state;
    struct buf context = text_of(plain, 3);
    compare(&context, 20000);
}

static void test_long_baggage(void **state)
{
    (void)state;
    char baggage[3000] = "";
    for (int i = 0; strlen(baggage) < sizeof baggage - 40; i++)
        (void)snprintf(baggage + strlen(baggage), 40, "%skey%d=value%d", i ? "," : "", i, i);
    const satchel_field fields[] = {plain[0], plain[1], plain[2], field_of("baggage", baggage)};
    struct buf context = text_of(fields, 4);
    compare(&context, 10);
}

static void test_many_variables(void **state)
{
    (void)state;
    char names[24][32];
    satchel_field fields[3 + 24];
    memcpy(fields, plain, sizeof plain);
    for (int i = 0; i < 24; i++) {
        (void)snprintf(names[i], sizeof names[i], "X-Satchel-Var-name%d", i);
        fields[3 + i] = field_of(names[i], "the value of this one");
    }
    struct buf context = text_of(fields, 3 + 24);
    compare(&context, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_tenant_alone),  cmocka_unit_test(test_what_every_request_has),
        cmocka_unit_test(test_large_arguments), cmocka_unit_test(test_long_baggage),
        cmocka_unit_test(test_many_variables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
