/* The context library's core: what CPython's own tests for contextvars assert (get, set, reset, order of errors, run,
 * copies, isolation), the rules R1 to R8 that one thread can see, and every status of every function. */
#include <satchel/context.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static satchel_counts before;

static int setup(void **state)
{
    (void)state;
    assert_int_equal(satchel_thread_reset(), SATCHEL_OK);
    before.struct_size = sizeof before;
    satchel_get_counts(&before);
    return 0;
}

static int teardown(void **state) /* every test leaves nothing behind */
{
    (void)state;
    assert_int_equal(satchel_thread_reset(), SATCHEL_OK);
    satchel_counts now = {.struct_size = sizeof now};
    satchel_get_counts(&now);
    assert_int_equal(now.vars, before.vars);
    assert_int_equal(now.values, before.values);
    assert_int_equal(now.contexts, before.contexts);
    assert_int_equal(now.pending_tokens, before.pending_tokens);
    return 0;
}

static uint64_t misuse(void)
{
    satchel_counts now = {.struct_size = sizeof now};
    satchel_get_counts(&now);
    return now.misuse - before.misuse;
}

static satchel_var *var_new(const char *name)
{
    satchel_var *var = NULL;
    assert_int_equal(satchel_var_string(name, NULL, NULL, &var), SATCHEL_OK);
    return var;
}

static const char *get(const satchel_var *var)
{
    void *data;
    return satchel_get(var, &data) == SATCHEL_OK ? data : NULL;
}

static void set(satchel_var *var, const char *text)
{
    assert_int_equal(satchel_set_string(var, text, NULL), SATCHEL_OK);
}

/* ---- variables ---- */

static void test_var_new_refuses(void **state)
{
    (void)state;
    satchel_var *var = (satchel_var *)&before;
    satchel_var_spec spec = {.struct_size = sizeof spec, .name = "v"};
    assert_int_equal(satchel_var_new(NULL, &var), SATCHEL_EINVAL);
    assert_int_equal(satchel_var_new(&spec, NULL), SATCHEL_EINVAL);
    satchel_var_spec bad = spec;
    bad.name = NULL;
    assert_int_equal(satchel_var_new(&bad, &var), SATCHEL_EINVAL);
    bad.name = "";
    assert_int_equal(satchel_var_new(&bad, &var), SATCHEL_EINVAL);
    bad.name = "\xc3\x28";
    assert_int_equal(satchel_var_new(&bad, &var), SATCHEL_EINVAL);
    char name[257];
    memset(name, 'n', 256);
    name[256] = '\0';
    bad.name = name;
    assert_int_equal(satchel_var_new(&bad, &var), SATCHEL_EINVAL);
    bad = spec;
    bad.struct_size = 8;
    assert_int_equal(satchel_var_new(&bad, &var), SATCHEL_EINVAL);
    bad = spec;
    bad.flags = 1u << 20;
    assert_int_equal(satchel_var_new(&bad, &var), SATCHEL_EINVAL);
    bad = spec;
    bad.flags = SATCHEL_VAR_WIRE; /* without a type nobody can write it down */
    assert_int_equal(satchel_var_new(&bad, &var), SATCHEL_EINVAL);
    bad.type = &satchel_string_type;
    bad.header = "no token";
    assert_int_equal(satchel_var_new(&bad, &var), SATCHEL_EINVAL);
    assert_ptr_equal(var, &before); /* nothing was written */
    name[255] = '\0';
    bad = spec;
    bad.name = name;
    assert_int_equal(satchel_var_new(&bad, &var), SATCHEL_OK);
    satchel_var_unref(var);
}

static void test_wire_names_are_unique(void **state)
{
    (void)state;
    satchel_var *a, *b = NULL;
    assert_int_equal(satchel_var_string("a", NULL, "X-Region", &a), SATCHEL_OK);
    assert_int_equal(satchel_var_string("b", "dflt", "x-REGION", &b), SATCHEL_EEXIST);
    assert_int_equal(satchel_var_string("b", NULL, "X-Tenant-ID", &b), SATCHEL_EEXIST);
    assert_int_equal(satchel_var_string("b", NULL, "x-scope-orgid", &b), SATCHEL_EEXIST);
    assert_int_equal(satchel_var_string("b", NULL, "TRACEPARENT", &b), SATCHEL_EEXIST);
    assert_null(b);
    satchel_var_unref(a); /* the name is free again with its last reference */
    assert_int_equal(satchel_var_string("b", NULL, "x-REGION", &b), SATCHEL_OK);
    assert_string_equal(satchel_var_header(b), "x-REGION");
    satchel_var_unref(b);
}

static void test_var_queries(void **state)
{
    (void)state;
    satchel_var *plain = var_new("plain"), *wire;
    assert_int_equal(satchel_var_string("wire", "d", "X-Wire", &wire), SATCHEL_OK);
    assert_string_equal(satchel_var_name(plain), "plain");
    assert_null(satchel_var_header(plain));
    assert_int_equal(satchel_var_flags(plain), 0);
    assert_int_equal(satchel_var_flags(wire), SATCHEL_VAR_WIRE | SATCHEL_VAR_DEFAULT);
    assert_ptr_equal(satchel_var_type(wire), &satchel_string_type);
    assert_false(satchel_var_is_task_variable(wire));
    void *data;
    assert_int_equal(satchel_var_default(plain, &data), SATCHEL_UNSET);
    assert_null(data);
    assert_int_equal(satchel_var_default(wire, &data), SATCHEL_OK);
    assert_string_equal(data, "d");
    assert_int_equal(satchel_var_default(NULL, &data), SATCHEL_EINVAL);
    assert_int_equal(satchel_var_default(wire, NULL), SATCHEL_EINVAL);
    assert_null(satchel_var_name(NULL));
    assert_null(satchel_var_ref(NULL));
    satchel_var_unref(NULL);
    satchel_var_unref(plain);
    satchel_var_unref(wire);
}

static void test_same_name_two_variables(void **state)
{
    (void)state;
    satchel_var *a = var_new("same"), *b = var_new("same");
    set(a, "1");
    assert_string_equal(get(a), "1");
    assert_null(get(b));
    satchel_var_unref(a);
    satchel_var_unref(b);
}

/* ---- get ---- */

static void test_default_fallback_and_none(void **state)
{
    (void)state;
    satchel_var *with, *without = var_new("without");
    assert_int_equal(satchel_var_string("with", "dflt", NULL, &with), SATCHEL_OK);
    void *data = &before;
    assert_int_equal(satchel_get(without, &data), SATCHEL_UNSET);
    assert_null(data);
    assert_string_equal(get(with), "dflt");
    char mine[] = "mine";
    assert_string_equal(satchel_get_or(with, mine), "mine"); /* hides the variable's own default */
    set(with, "bound");
    assert_string_equal(satchel_get_or(with, mine), "bound");
    assert_int_equal(satchel_get(NULL, &data), SATCHEL_EINVAL);
    assert_int_equal(satchel_get(with, NULL), SATCHEL_EINVAL);
    assert_null(satchel_get_or(NULL, NULL));
    satchel_var_unref(with);
    satchel_var_unref(without);
}

static void test_null_is_a_value(void **state)
{
    (void)state;
    satchel_var *var;
    satchel_var_spec spec = {.struct_size = sizeof spec, .name = "null", .flags = SATCHEL_VAR_DEFAULT};
    assert_int_equal(satchel_var_new(&spec, &var), SATCHEL_OK);
    void *data = &before;
    assert_int_equal(satchel_get(var, &data), SATCHEL_OK); /* a default that is NULL is one */
    assert_null(data);
    assert_int_equal(satchel_unset(var, NULL), SATCHEL_OK);
    assert_int_equal(satchel_set(var, NULL, NULL), SATCHEL_OK);
    assert_null(satchel_get_or(var, &before));
    assert_int_equal(satchel_context_len(NULL), 1);
    satchel_var_unref(var);
}

static void test_default_without_flag_counts_where_not_null(void **state)
{
    (void)state;
    satchel_var *var;
    satchel_var_spec spec = {.struct_size = sizeof spec, .name = "d", .default_data = &before};
    assert_int_equal(satchel_var_new(&spec, &var), SATCHEL_OK);
    void *data;
    assert_int_equal(satchel_get(var, &data), SATCHEL_OK);
    assert_ptr_equal(data, &before);
    satchel_var_unref(var);
}

static void test_get_value_outlives_the_binding(void **state)
{
    (void)state;
    satchel_var *var = var_new("v");
    satchel_value *value;
    assert_int_equal(satchel_get_value(var, &value), SATCHEL_UNSET);
    assert_null(value);
    set(var, "kept");
    assert_int_equal(satchel_get_value(var, &value), SATCHEL_OK);
    assert_int_equal(satchel_unset(var, NULL), SATCHEL_OK);
    assert_string_equal(satchel_value_data(value), "kept");
    assert_ptr_equal(satchel_value_type(value), &satchel_string_type);
    char text[8];
    assert_int_equal(satchel_value_text(value, text, sizeof text), 4);
    assert_string_equal(text, "kept");
    assert_int_equal(satchel_value_text(value, NULL, 0), 4);
    assert_true(satchel_value_text(NULL, text, 1) == SIZE_MAX);
    satchel_value_unref(value);
    assert_int_equal(satchel_get_value(NULL, &value), SATCHEL_EINVAL);
    assert_int_equal(satchel_get_value(var, NULL), SATCHEL_EINVAL);
    satchel_var_unref(var);
}

/* ---- set and reset ---- */

static void test_set_reset_restores(void **state)
{
    (void)state;
    satchel_var *var = var_new("v");
    satchel_token first = SATCHEL_TOKEN_INIT, second = SATCHEL_TOKEN_INIT;
    void *old;
    assert_int_equal(satchel_set_string(var, "1", &first), SATCHEL_OK);
    assert_int_equal(satchel_token_old(&first, &old), SATCHEL_UNSET); /* Token.MISSING */
    assert_null(old);
    assert_ptr_equal(satchel_token_var(&first), var);
    assert_int_equal(satchel_set_string(var, "2", &second), SATCHEL_OK);
    assert_int_equal(satchel_token_old(&second, &old), SATCHEL_OK);
    assert_string_equal(old, "1");
    assert_string_equal(get(var), "2");
    assert_int_equal(satchel_reset(var, &second), SATCHEL_OK);
    assert_string_equal(get(var), "1");
    assert_true(satchel_token_used(&second));
    assert_false(satchel_token_used(&first));
    assert_int_equal(satchel_reset(var, &first), SATCHEL_OK);
    assert_null(get(var));
    assert_int_equal(satchel_context_len(NULL), 0);
    satchel_var_unref(var);
}

static void test_reset_need_not_be_lifo(void **state)
{
    (void)state;
    satchel_var *var = var_new("v");
    satchel_token one = SATCHEL_TOKEN_INIT, two = SATCHEL_TOKEN_INIT;
    set(var, "0");
    assert_int_equal(satchel_set_string(var, "1", &one), SATCHEL_OK);
    assert_int_equal(satchel_set_string(var, "2", &two), SATCHEL_OK);
    assert_int_equal(satchel_reset(var, &one), SATCHEL_OK);
    assert_string_equal(get(var), "0");
    assert_int_equal(satchel_reset(var, &two), SATCHEL_OK);
    assert_string_equal(get(var), "1");
    satchel_var_unref(var);
}

static void test_reset_errors_in_order(void **state)
{
    (void)state;
    satchel_var *var = var_new("v"), *other = var_new("o");
    satchel_token token = SATCHEL_TOKEN_INIT;
    assert_int_equal(satchel_reset(var, &token), SATCHEL_EINVAL); /* an empty one */
    assert_int_equal(satchel_reset(NULL, &token), SATCHEL_EINVAL);
    assert_int_equal(satchel_reset(var, NULL), SATCHEL_EINVAL);
    satchel_context *ctx = satchel_context_new();
    assert_int_equal(satchel_context_enter(ctx), SATCHEL_OK);
    assert_int_equal(satchel_set_string(var, "1", &token), SATCHEL_OK);
    assert_int_equal(satchel_context_exit(ctx), SATCHEL_OK);
    assert_int_equal(satchel_reset(other, &token), SATCHEL_EVAR); /* before the context is looked at */
    assert_int_equal(satchel_reset(var, &token), SATCHEL_ECONTEXT);
    void *old;
    assert_int_equal(satchel_token_old(&token, &old), SATCHEL_UNSET); /* still pending */
    assert_int_equal(satchel_context_enter(ctx), SATCHEL_OK);         /* and still good there */
    assert_string_equal(get(var), "1");
    assert_int_equal(satchel_reset(var, &token), SATCHEL_OK);
    assert_int_equal(satchel_reset(other, &token), SATCHEL_EUSED); /* used comes first */
    assert_int_equal(satchel_reset(var, &token), SATCHEL_EUSED);
    assert_int_equal(satchel_context_exit(ctx), SATCHEL_OK);
    assert_int_equal(satchel_reset(var, &token), SATCHEL_EUSED);
    assert_int_equal(misuse(), 1);
    satchel_context_unref(ctx);
    satchel_var_unref(var);
    satchel_var_unref(other);
}

static void test_token_of_a_copy_is_refused(void **state)
{
    (void)state;
    satchel_var *var = var_new("v");
    satchel_token token = SATCHEL_TOKEN_INIT;
    assert_int_equal(satchel_set_string(var, "1", &token), SATCHEL_OK);
    satchel_context *copy = satchel_capture();
    assert_int_equal(satchel_context_enter(copy), SATCHEL_OK);
    assert_int_equal(satchel_reset(var, &token), SATCHEL_ECONTEXT); /* equal contents are not the same context */
    assert_int_equal(satchel_context_exit(copy), SATCHEL_OK);
    assert_int_equal(satchel_reset(var, &token), SATCHEL_OK);
    satchel_context_unref(copy);
    satchel_var_unref(var);
}

static void test_token_is_reusable_only_when_done(void **state)
{
    (void)state;
    satchel_var *var = var_new("v");
    satchel_token token = SATCHEL_TOKEN_INIT;
    assert_int_equal(satchel_set_string(var, "1", &token), SATCHEL_OK);
    assert_int_equal(satchel_set_string(var, "2", &token), SATCHEL_EINVAL);
    assert_int_equal(satchel_unset(var, &token), SATCHEL_EINVAL);
    char *data = strdup("mine");
    assert_int_equal(satchel_set(var, data, &token), SATCHEL_EINVAL);
    free(data); /* still the caller's */
    assert_string_equal(get(var), "1");
    satchel_token_clear(&token); /* keeps the binding */
    assert_string_equal(get(var), "1");
    assert_null(satchel_token_var(&token));
    assert_int_equal(satchel_set_string(var, "2", &token), SATCHEL_OK);
    assert_int_equal(satchel_reset(var, &token), SATCHEL_OK);
    assert_int_equal(satchel_set_string(var, "3", &token), SATCHEL_OK); /* a used one */
    satchel_token_clear(&token);
    satchel_token_clear(&token);
    satchel_token_clear(NULL);
    void *old;
    assert_int_equal(satchel_token_old(&token, &old), SATCHEL_EINVAL);
    assert_int_equal(satchel_token_old(NULL, &old), SATCHEL_EINVAL);
    assert_false(satchel_token_used(NULL));
    satchel_var_unref(var);
}

static void test_token_after_thread_reset(void **state)
{
    (void)state;
    satchel_var *var = var_new("v");
    satchel_token token = SATCHEL_TOKEN_INIT;
    assert_int_equal(satchel_set_string(var, "1", &token), SATCHEL_OK);
    assert_int_equal(satchel_thread_reset(), SATCHEL_OK);
    assert_null(get(var));
    assert_int_equal(satchel_reset(var, &token), SATCHEL_ECONTEXT);
    satchel_token_clear(&token);
    satchel_var_unref(var);
}

static void test_unset_is_resettable(void **state)
{
    (void)state;
    satchel_var *var = var_new("v");
    satchel_token token = SATCHEL_TOKEN_INIT;
    assert_int_equal(satchel_unset(NULL, NULL), SATCHEL_EINVAL);
    assert_int_equal(satchel_unset(var, &token), SATCHEL_OK); /* nothing there: reset to nothing */
    set(var, "x");
    assert_int_equal(satchel_reset(var, &token), SATCHEL_OK);
    assert_null(get(var));
    set(var, "1");
    assert_int_equal(satchel_unset(var, &token), SATCHEL_OK);
    assert_null(get(var));
    assert_int_equal(satchel_reset(var, &token), SATCHEL_OK);
    assert_string_equal(get(var), "1");
    satchel_var_unref(var);
}

static void test_setters_refuse(void **state)
{
    (void)state;
    satchel_var *var = var_new("v");
    satchel_value *value;
    assert_int_equal(satchel_set(NULL, NULL, NULL), SATCHEL_EINVAL);
    assert_int_equal(satchel_set_value(var, NULL, NULL), SATCHEL_EINVAL);
    assert_int_equal(satchel_set_string(var, NULL, NULL), SATCHEL_EINVAL);
    assert_int_equal(satchel_set_stringn(NULL, "x", 1, NULL), SATCHEL_EINVAL);
    assert_int_equal(satchel_set_stringn(var, "a\0b", 3, NULL), SATCHEL_EGRAMMAR);
    assert_int_equal(satchel_value_string("a\0b", 3, &value), SATCHEL_EGRAMMAR);
    assert_int_equal(satchel_value_string(NULL, 1, &value), SATCHEL_EINVAL);
    assert_int_equal(satchel_value_string("x", SIZE_MAX, NULL), SATCHEL_EINVAL);
    assert_int_equal(satchel_value_new(&satchel_string_type, NULL, NULL), SATCHEL_EINVAL);
    satchel_type small = satchel_string_type;
    small.struct_size = 8;
    assert_int_equal(satchel_value_new(&small, NULL, &value), SATCHEL_EINVAL);
    assert_null(get(var));
    assert_int_equal(satchel_set_stringn(var, "abc", 2, NULL), SATCHEL_OK);
    assert_string_equal(get(var), "ab");
    assert_int_equal(satchel_set_stringn(var, NULL, 0, NULL), SATCHEL_OK);
    assert_string_equal(get(var), "");
    satchel_var_unref(var);
}

static void bound_to_the_block(satchel_var *var)
{
    SATCHEL_BIND(var, strdup("inner"));
    assert_string_equal(get(var), "inner");
}

static void test_bind_ends_with_its_block(void **state)
{
    (void)state;
    satchel_var *var = var_new("v");
    set(var, "outer");
    bound_to_the_block(var);
    assert_string_equal(get(var), "outer");
    satchel_token token = SATCHEL_TOKEN_INIT; /* ended in another context: counted, and nothing is left pending */
    assert_int_equal(satchel_set_string(var, "x", &token), SATCHEL_OK);
    satchel_context *ctx = satchel_context_new();
    assert_int_equal(satchel_context_enter(ctx), SATCHEL_OK);
    satchel_token_end(&token);
    satchel_token_end(&token);
    satchel_token_end(NULL);
    assert_int_equal(misuse(), 1);
    assert_int_equal(satchel_context_exit(ctx), SATCHEL_OK);
    assert_string_equal(get(var), "x");
    satchel_context_unref(ctx);
    satchel_var_unref(var);
}

/* ---- callbacks: freed once, never under a lock (R3) ---- */

static int destroyed;
static satchel_var *seen_by_destroy;

static void count_destroy(void *data)
{
    (void)data;
    destroyed++;
    if (seen_by_destroy) { /* may use the library */
        assert_string_equal(get(seen_by_destroy), "seen");
        assert_int_equal(satchel_set_string(seen_by_destroy, "seen", NULL), SATCHEL_OK);
    }
}

static const satchel_type counted_type = {
    .struct_size = sizeof(satchel_type), .name = "counted", .destroy = count_destroy};

static void test_values_are_freed_exactly_once(void **state)
{
    (void)state;
    satchel_var *var;
    satchel_var_spec spec = {.struct_size = sizeof spec, .name = "c", .type = &counted_type, .default_data = &before};
    assert_int_equal(satchel_var_new(&spec, &var), SATCHEL_OK);
    seen_by_destroy = var_new("seen");
    set(seen_by_destroy, "seen");
    destroyed = 0;
    satchel_context *ctx = satchel_capture();
    assert_int_equal(satchel_context_enter(ctx), SATCHEL_OK);
    satchel_token token = SATCHEL_TOKEN_INIT;
    assert_int_equal(satchel_set(var, &before, NULL), SATCHEL_OK);
    assert_int_equal(satchel_set(var, &before, NULL), SATCHEL_OK);
    assert_int_equal(destroyed, 1);
    assert_int_equal(satchel_set(var, &before, &token), SATCHEL_OK);
    assert_int_equal(destroyed, 1); /* the token holds it */
    assert_int_equal(satchel_reset(var, &token), SATCHEL_OK);
    assert_int_equal(destroyed, 2);
    satchel_context *copy = satchel_capture();
    assert_int_equal(satchel_unset(var, NULL), SATCHEL_OK);
    assert_int_equal(destroyed, 2); /* the copy holds it */
    satchel_context_unref(copy);
    assert_int_equal(destroyed, 3);
    assert_int_equal(satchel_context_exit(ctx), SATCHEL_OK);
    satchel_context_unref(ctx);
    satchel_var_unref(var);
    assert_int_equal(destroyed, 4); /* the default */
    satchel_var_unref(seen_by_destroy);
    seen_by_destroy = NULL;
}

static void drop_context(void *data)
{
    satchel_context_unref(data);
}

static const satchel_type context_type = {.struct_size = sizeof(satchel_type), .name = "ctx", .destroy = drop_context};

static void test_long_chains_of_contexts_end(void **state)
{
    (void)state;
    satchel_var *var;
    satchel_var_spec spec = {.struct_size = sizeof spec, .name = "next", .type = &context_type};
    assert_int_equal(satchel_var_new(&spec, &var), SATCHEL_OK);
    satchel_context *chain = satchel_context_new();
    for (int i = 0; i < 100000; i++) {
        satchel_value *value;
        satchel_context *next, *empty = satchel_context_new();
        assert_int_equal(satchel_value_new(&context_type, chain, &value), SATCHEL_OK);
        assert_int_equal(satchel_context_with(empty, var, value, &next), SATCHEL_OK);
        satchel_value_unref(value);
        satchel_context_unref(empty);
        chain = next;
    }
    satchel_context_unref(chain); /* without a stack of 100,000 frames */
    satchel_var_unref(var);
}

/* ---- contexts ---- */

static void test_copies_are_independent(void **state)
{
    (void)state;
    satchel_var *var = var_new("v");
    set(var, "1");
    satchel_context *copy = satchel_capture();
    set(var, "2");
    assert_int_equal(satchel_context_enter(copy), SATCHEL_OK);
    assert_string_equal(get(var), "1");
    set(var, "3");
    satchel_context *third = satchel_context_copy(copy);
    set(var, "4");
    assert_int_equal(satchel_context_exit(copy), SATCHEL_OK);
    assert_string_equal(get(var), "2");
    assert_int_equal(satchel_context_enter(third), SATCHEL_OK);
    assert_string_equal(get(var), "3");
    assert_int_equal(satchel_context_exit(third), SATCHEL_OK);
    satchel_context_unref(copy);
    satchel_context_unref(third);
    satchel_var_unref(var);
}

static int set_inside(void *arg)
{
    satchel_var *var = arg;
    set(var, "inside");
    return 42;
}

static int must_not_run(void *arg)
{
    (void)arg;
    fail_msg("entered twice");
    return 0;
}

static int run_again(void *arg)
{
    satchel_context *ctx = arg;
    int result = 7;
    assert_int_equal(satchel_context_run(ctx, must_not_run, NULL, &result), SATCHEL_EENTERED);
    assert_int_equal(satchel_context_enter(ctx), SATCHEL_EENTERED);
    assert_int_equal(result, 7);
    satchel_context *other = satchel_context_new();
    assert_int_equal(satchel_context_enter(other), SATCHEL_OK);
    assert_int_equal(satchel_context_run(ctx, must_not_run, NULL, NULL), SATCHEL_EENTERED); /* deeper in the stack */
    assert_int_equal(satchel_context_exit(ctx), SATCHEL_ENOTCURRENT);
    assert_int_equal(satchel_context_exit(other), SATCHEL_OK);
    satchel_context_unref(other);
    return 0;
}

static void test_run(void **state)
{
    (void)state;
    satchel_var *var = var_new("v");
    satchel_context *ctx = satchel_context_new();
    int result = 0;
    assert_int_equal(satchel_context_run(NULL, set_inside, var, &result), SATCHEL_EINVAL);
    assert_int_equal(satchel_context_run(ctx, NULL, var, &result), SATCHEL_EINVAL);
    set(var, "outside");
    assert_int_equal(satchel_context_run(ctx, set_inside, var, &result), SATCHEL_OK);
    assert_int_equal(result, 42);
    assert_string_equal(get(var), "outside"); /* the caller sees none of it */
    satchel_value *value;
    assert_int_equal(satchel_context_get(ctx, var, &value), SATCHEL_OK); /* and it stays there */
    assert_string_equal(satchel_value_data(value), "inside");
    satchel_value_unref(value);
    assert_int_equal(satchel_context_run(ctx, run_again, ctx, NULL), SATCHEL_OK);
    assert_false(satchel_context_entered(ctx));
    assert_int_equal(satchel_context_run(ctx, set_inside, var, NULL), SATCHEL_OK); /* again afterwards */
    satchel_context_unref(ctx);
    satchel_var_unref(var);
}

static int leave_some_entered(void *arg)
{
    satchel_context *left = satchel_context_new();
    assert_int_equal(satchel_context_enter(left), SATCHEL_OK);
    satchel_context_unref(left);
    (void)arg;
    return 0;
}

static void test_run_repairs_what_fn_left_entered(void **state)
{
    (void)state;
    satchel_context *ctx = satchel_context_new();
    assert_int_equal(satchel_context_run(ctx, leave_some_entered, NULL, NULL), SATCHEL_OK);
    assert_null(satchel_context_current());
    assert_int_equal(misuse(), 1);
    satchel_context_unref(ctx);
}

static int leave_it_twice(void *arg)
{
    assert_int_equal(satchel_context_exit(arg), SATCHEL_OK);
    return 0;
}

static void test_run_of_a_fn_that_leaves_it(void **state)
{
    (void)state;
    satchel_context *ctx = satchel_context_new();
    assert_int_equal(satchel_context_run(ctx, leave_it_twice, ctx, NULL), SATCHEL_OK);
    assert_null(satchel_context_current());
    assert_false(satchel_context_entered(ctx));
    assert_int_equal(misuse(), 1);
    satchel_context_unref(ctx);
}

static void test_enter_exit(void **state)
{
    (void)state;
    satchel_context *a = satchel_context_new(), *b = satchel_context_new();
    assert_int_equal(satchel_context_enter(NULL), SATCHEL_EINVAL);
    assert_int_equal(satchel_context_exit(NULL), SATCHEL_EINVAL);
    assert_int_equal(satchel_context_exit(a), SATCHEL_ENOTCURRENT);
    assert_false(satchel_context_entered(NULL));
    assert_int_equal(satchel_context_enter(a), SATCHEL_OK);
    assert_int_equal(satchel_context_enter(b), SATCHEL_OK);
    assert_ptr_equal(satchel_context_current(), b);
    assert_true(satchel_context_entered(a));
    assert_true(satchel_context_entered(NULL));
    assert_int_equal(satchel_context_exit(a), SATCHEL_ENOTCURRENT); /* strictly nested */
    assert_int_equal(satchel_thread_reset(), SATCHEL_EENTERED);
    satchel_context_unref(b); /* entered: it lives on */
    assert_int_equal(satchel_context_exit(b), SATCHEL_OK);
    assert_int_equal(satchel_context_exit(a), SATCHEL_OK);
    assert_int_equal(misuse(), 2);
    satchel_context_unref(a);
    satchel_context_unref(NULL);
    assert_null(satchel_context_ref(NULL));
}

static void test_get_stays_good_while_others_are_entered(void **state)
{
    (void)state;
    satchel_var *var = var_new("v"), *other = var_new("o");
    set(var, "borrowed");
    const char *text = get(var);
    satchel_context *ctx = satchel_context_new();
    assert_int_equal(satchel_context_run(ctx, set_inside, var, NULL), SATCHEL_OK);
    set(other, "x"); /* another variable does not end it either */
    assert_ptr_equal(get(var), text);
    assert_string_equal(text, "borrowed");
    satchel_context_unref(ctx);
    satchel_var_unref(var);
    satchel_var_unref(other);
}

static void test_with(void **state)
{
    (void)state;
    satchel_var *var = var_new("v");
    satchel_value *one, *two, *found;
    satchel_context *a = NULL, *b;
    assert_int_equal(satchel_value_string("1", 1, &one), SATCHEL_OK);
    assert_int_equal(satchel_value_string("2", 1, &two), SATCHEL_OK);
    assert_int_equal(satchel_context_with(NULL, NULL, one, &a), SATCHEL_EINVAL);
    assert_int_equal(satchel_context_with(NULL, var, NULL, &a), SATCHEL_EINVAL);
    assert_int_equal(satchel_context_with(NULL, var, one, NULL), SATCHEL_EINVAL);
    assert_int_equal(satchel_context_with(NULL, satchel_known_var(SATCHEL_TENANT), one, &a), SATCHEL_OK);
    satchel_context_unref(a);
    assert_int_equal(satchel_context_with(NULL, var, one, &a), SATCHEL_OK);
    assert_null(get(var)); /* the base is not changed */
    assert_int_equal(satchel_context_with(a, var, two, &b), SATCHEL_OK);
    assert_int_equal(satchel_context_get(a, var, &found), SATCHEL_OK);
    assert_ptr_equal(found, one);
    satchel_value_unref(found);
    assert_int_equal(satchel_context_get(b, var, &found), SATCHEL_OK);
    assert_ptr_equal(found, two);
    satchel_value_unref(found);
    satchel_value_unref(one);
    satchel_value_unref(two);
    satchel_context_unref(a);
    satchel_context_unref(b);
    satchel_var_unref(var);
}

/* ---- as a mapping ---- */

static int collect(satchel_var *var, void *data, void *arg)
{
    char *all = arg;
    assert_true(snprintf(all + strlen(all), 64, "%s=%s;", satchel_var_name(var), (const char *)data) > 0);
    (void)satchel_unset(var, NULL); /* is not seen by the walk */
    return 0;
}

static int stop_at_once(satchel_var *var, void *data, void *arg)
{
    (void)var;
    (void)data;
    (*(int *)arg)++;
    return 9;
}

static void test_mapping(void **state)
{
    (void)state;
    satchel_var *a = var_new("a"), *d;
    assert_int_equal(satchel_var_string("d", "dflt", NULL, &d), SATCHEL_OK);
    satchel_value *value = NULL;
    assert_int_equal(satchel_context_len(NULL), 0);
    assert_false(satchel_context_has(NULL, d)); /* defaults are never seen */
    assert_int_equal(satchel_context_get(NULL, d, &value), SATCHEL_UNSET);
    assert_null(value);
    set(a, "1");
    set(satchel_known_var(SATCHEL_TENANT), "acme");
    set(d, "2");
    assert_int_equal(satchel_context_len(NULL), 3);
    assert_true(satchel_context_has(NULL, a));
    assert_false(satchel_context_has(NULL, NULL));
    assert_int_equal(satchel_context_get(NULL, NULL, &value), SATCHEL_EINVAL);
    assert_int_equal(satchel_context_get(NULL, a, NULL), SATCHEL_EINVAL);
    int n = 0;
    assert_int_equal(satchel_context_each(NULL, NULL, NULL), SATCHEL_EINVAL);
    assert_int_equal(satchel_context_each(NULL, stop_at_once, &n), 9);
    assert_int_equal(n, 1);
    char all[256] = "";
    assert_int_equal(satchel_context_each(NULL, collect, all), 0);
    assert_non_null(strstr(all, "a=1;"));
    assert_non_null(strstr(all, "d=2;"));
    assert_non_null(strstr(all, "tenant=acme;"));
    assert_int_equal(satchel_context_len(NULL), 0);
    satchel_var_unref(a);
    satchel_var_unref(d);
}

static void test_equal(void **state)
{
    (void)state;
    satchel_var *a = var_new("a"), *b = var_new("b");
    satchel_context *empty = satchel_context_new(), *also = satchel_context_new();
    assert_true(satchel_context_equal(empty, also));
    assert_true(satchel_context_equal(NULL, empty));
    set(a, "1");
    satchel_context *x = satchel_capture();
    set(a, "other");
    assert_false(satchel_context_equal(NULL, x));
    set(a, "1"); /* another box, equal text */
    assert_true(satchel_context_equal(NULL, x));
    set(b, "1");
    assert_false(satchel_context_equal(x, NULL));
    assert_int_equal(satchel_unset(a, NULL), SATCHEL_OK);
    assert_false(satchel_context_equal(x, NULL)); /* as many, but others */
    satchel_context_unref(empty);
    satchel_context_unref(also);
    satchel_context_unref(x);
    satchel_var_unref(a);
    satchel_var_unref(b);
}

/* ---- many variables: the trie against a plain array, with copies taken along the way ---- */

enum { MANY = 3000, COPIES = 12 };

static void test_many_variables_against_a_model(void **state)
{
    (void)state;
    static satchel_var *vars[MANY];
    static int model[MANY], models[COPIES][MANY]; /* 0: not bound */
    satchel_context *copies[COPIES];
    unsigned seed = 12345, n_copies = 0;
    memset(model, 0, sizeof model);
    satchel_var_spec spec = {.struct_size = sizeof spec, .name = "m"};
    for (int i = 0; i < MANY; i++)
        assert_int_equal(satchel_var_new(&spec, &vars[i]), SATCHEL_OK);
    for (int step = 1; step <= 60000; step++) {
        seed = seed * 1103515245u + 12345u;
        unsigned at = (seed >> 8) % MANY;
        bool take = (seed >> 28) % 3 == 0;
        if (take)
            assert_int_equal(satchel_unset(vars[at], NULL), SATCHEL_OK);
        else
            assert_int_equal(satchel_set(vars[at], (void *)(uintptr_t)step, NULL), SATCHEL_OK);
        model[at] = take ? 0 : step;
        if (step % 5000 == 0 && n_copies < COPIES) {
            memcpy(models[n_copies], model, sizeof model);
            copies[n_copies++] = satchel_capture();
        }
    }
    size_t bound = 0;
    for (int i = 0; i < MANY; i++) {
        bound += model[i] != 0;
        assert_ptr_equal(satchel_get_or(vars[i], NULL), (void *)(uintptr_t)model[i]);
    }
    assert_int_equal(satchel_context_len(NULL), bound);
    for (unsigned c = 0; c < n_copies; c++) { /* no copy has seen what came later */
        assert_int_equal(satchel_context_enter(copies[c]), SATCHEL_OK);
        for (int i = 0; i < MANY; i++)
            assert_ptr_equal(satchel_get_or(vars[i], NULL), (void *)(uintptr_t)models[c][i]);
        assert_int_equal(satchel_context_exit(copies[c]), SATCHEL_OK);
        satchel_context_unref(copies[c]);
    }
    assert_int_equal(satchel_thread_reset(), SATCHEL_OK);
    for (int i = 0; i < MANY; i++)
        satchel_var_unref(vars[i]);
}

/* ---- many contexts that have most of their bindings in common: every value ends with the last that has it ---- */

enum { SHARED_VARS = 90, ALIVE = 150, SHARED_STEPS = 30000 };

struct held {
    int holders; /* contexts in which it is bound, by the model */
    bool destroyed;
};

static void destroy_held(void *data)
{
    struct held *held = data;
    assert_false(held->destroyed);
    held->destroyed = true;
}

static const satchel_type held_type = {.struct_size = sizeof(satchel_type), .name = "held", .destroy = destroy_held};

static void model_drop(struct held *held)
{
    if (held && --held->holders == 0)
        assert_true(held->destroyed);
    else if (held)
        assert_false(held->destroyed);
}

struct family_model {
    satchel_context *context[ALIVE];
    struct held *bound[ALIVE][SHARED_VARS];
    satchel_var *vars[SHARED_VARS];
    struct held values[SHARED_STEPS];
};

static void model_end(struct family_model *m, unsigned at)
{
    satchel_context_unref(m->context[at]);
    m->context[at] = NULL;
    for (int i = 0; i < SHARED_VARS; i++) {
        model_drop(m->bound[at][i]);
        m->bound[at][i] = NULL;
    }
}

static void model_copy(struct family_model *m, unsigned from, unsigned to)
{
    if (from == to)
        return;
    model_end(m, to);
    m->context[to] = satchel_context_copy(m->context[from]);
    memcpy(m->bound[to], m->bound[from], sizeof m->bound[to]);
    for (int i = 0; i < SHARED_VARS; i++)
        if (m->bound[to][i])
            m->bound[to][i]->holders++;
}

static void model_bind(struct family_model *m, unsigned at, unsigned var, struct held *value, bool and_back)
{
    satchel_token token = SATCHEL_TOKEN_INIT;
    assert_int_equal(satchel_context_enter(m->context[at]), SATCHEL_OK);
    assert_int_equal(value ? satchel_set(m->vars[var], value, and_back ? &token : NULL)
                           : satchel_unset(m->vars[var], and_back ? &token : NULL),
                     SATCHEL_OK);
    if (and_back) {
        assert_int_equal(satchel_reset(m->vars[var], &token), SATCHEL_OK);
        assert_true(!value || value->destroyed);
    } else {
        struct held *old = m->bound[at][var];
        m->bound[at][var] = value;
        if (value)
            value->holders++;
        model_drop(old);
    }
    assert_int_equal(satchel_context_exit(m->context[at]), SATCHEL_OK);
}

static void test_values_end_with_the_last_context(void **state)
{
    (void)state;
    static struct family_model m;
    memset(&m, 0, sizeof m);
    satchel_var_spec spec = {.struct_size = sizeof spec, .name = "shared", .type = &held_type};
    for (int i = 0; i < SHARED_VARS; i++)
        assert_int_equal(satchel_var_new(&spec, &m.vars[i]), SATCHEL_OK);
    for (int i = 0; i < ALIVE; i++)
        m.context[i] = satchel_context_new();
    unsigned seed = 4711;
    for (int step = 0; step < SHARED_STEPS; step++) {
        seed = seed * 1103515245u + 12345u;
        unsigned at = (seed >> 8) % ALIVE, var = (seed >> 4) % SHARED_VARS, what = (seed >> 24) % 16;
        if (step < 2 * SHARED_VARS) /* one that all others descend from */
            at = 0;
        if (what < 5 && step >= 2 * SHARED_VARS)
            model_copy(&m, what < 3 ? 0 : (seed >> 16) % ALIVE, at);
        else
            model_bind(&m, at, var, what < 8 ? NULL : &m.values[step], what % 4 == 1);
    }
    for (unsigned c = 0; c < ALIVE; c++) {
        assert_int_equal(satchel_context_enter(m.context[c]), SATCHEL_OK);
        for (int i = 0; i < SHARED_VARS; i++)
            assert_ptr_equal(satchel_get_or(m.vars[i], NULL), m.bound[c][i]);
        assert_int_equal(satchel_context_exit(m.context[c]), SATCHEL_OK);
    }
    for (unsigned c = 0; c < ALIVE; c++)
        model_end(&m, (c * 7) % ALIVE);
    for (int i = 0; i < SHARED_VARS; i++)
        satchel_var_unref(m.vars[i]);
}

static void test_contexts_keep_variables_alive(void **state)
{
    (void)state;
    satchel_var *var = var_new("gone");
    set(var, "x");
    satchel_token token = SATCHEL_TOKEN_INIT;
    assert_int_equal(satchel_unset(var, &token), SATCHEL_OK);
    satchel_var_unref(var); /* the token holds it */
    assert_string_equal(satchel_var_name(satchel_token_var(&token)), "gone");
    assert_int_equal(satchel_reset(satchel_token_var(&token), &token), SATCHEL_OK);
    assert_int_equal(satchel_context_len(NULL), 1); /* the context does, now */
}

static void test_statuses_have_words(void **state)
{
    (void)state;
    const char *unknown = satchel_strerror(12345);
    for (int status = SATCHEL_EEXIST; status <= SATCHEL_UNSET; status++) {
        assert_non_null(satchel_strerror(status));
        assert_string_not_equal(satchel_strerror(status), unknown);
        for (int other = SATCHEL_EEXIST; other < status; other++)
            assert_string_not_equal(satchel_strerror(status), satchel_strerror(other));
    }
}

static void test_counts_fit_into_an_older_struct(void **state)
{
    (void)state;
    satchel_counts counts = {.struct_size = offsetof(satchel_counts, values), .values = 77};
    satchel_get_counts(&counts);
    assert_int_equal(counts.values, 77); /* not touched */
    satchel_get_counts(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_var_new_refuses),
        TEST(test_wire_names_are_unique),
        TEST(test_var_queries),
        TEST(test_same_name_two_variables),
        TEST(test_default_fallback_and_none),
        TEST(test_null_is_a_value),
        TEST(test_default_without_flag_counts_where_not_null),
        TEST(test_get_value_outlives_the_binding),
        TEST(test_set_reset_restores),
        TEST(test_reset_need_not_be_lifo),
        TEST(test_reset_errors_in_order),
        TEST(test_token_of_a_copy_is_refused),
        TEST(test_token_is_reusable_only_when_done),
        TEST(test_token_after_thread_reset),
        TEST(test_unset_is_resettable),
        TEST(test_setters_refuse),
        TEST(test_bind_ends_with_its_block),
        TEST(test_values_are_freed_exactly_once),
        TEST(test_long_chains_of_contexts_end),
        TEST(test_copies_are_independent),
        TEST(test_run),
        TEST(test_run_repairs_what_fn_left_entered),
        TEST(test_run_of_a_fn_that_leaves_it),
        TEST(test_enter_exit),
        TEST(test_get_stays_good_while_others_are_entered),
        TEST(test_with),
        TEST(test_mapping),
        TEST(test_equal),
        TEST(test_many_variables_against_a_model),
        TEST(test_values_end_with_the_last_context),
        TEST(test_contexts_keep_variables_alive),
        TEST(test_statuses_have_words),
        TEST(test_counts_fit_into_an_older_struct),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
