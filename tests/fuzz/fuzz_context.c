/* Fuzzing what reads text from outside into a context: header fields, the JSON form, the environment, single
 * traceparents and baggage.
 *
 * The first byte says which reader and which propagators; the rest is its text, lines of "Name:value" for fields and
 * of "NAME=value" for an environment.  Held to: no crash, nothing left alive, never a partial context; what was read is
 * written in valid forms, and what is written is read back as the same.
 * With -DSATCHEL_LIBFUZZER it is a libFuzzer target (clang -fsanitize=fuzzer,address,undefined); else a program that
 * runs the files it is given, or, without any, a fixed number of damaged seeds, which is what `make check` does. */
#include <satchel/context.h>
#include <stdio.h>
#include <stdlib.h>

#include "../unit/http_mutate.h"

#define MAX_FIELDS 256u
#define BAGGAGE_MAX 8192u

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "fuzz_context: %s\n", what);
    abort();
}

/* ---- what holds of every context that was read ---- */

struct fields {
    satchel_field list[MAX_FIELDS];
    char *copies[MAX_FIELDS * 2];
    size_t n;
};

static char *copy_of(const char *text, size_t len)
{
    char *copy = malloc(len ? len : 1); /* exactly as long: reading beyond is seen */
    check(copy != NULL, "no memory");
    memcpy(copy, text, len);
    return copy;
}

static int keep(const char *name, const char *value, size_t len, void *arg)
{
    struct fields *f = arg;
    check(strlen(name) > 0, "a field without a name");
    for (size_t i = 0; i < len; i++)
        check((unsigned char)value[i] >= 0x20 || value[i] == '\t', "a control character in a field");
    if (f->n == MAX_FIELDS)
        return 0;
    size_t name_len = strlen(name);
    f->copies[2 * f->n] = copy_of(name, name_len);
    f->copies[2 * f->n + 1] = copy_of(value, len);
    f->list[f->n] = (satchel_field){f->copies[2 * f->n], f->copies[2 * f->n + 1], name_len, len};
    f->n++;
    return 0;
}

static void release(struct fields *f)
{
    for (size_t i = 0; i < 2 * f->n; i++)
        free(f->copies[i]);
    f->n = 0;
}

static satchel_value *bound(const satchel_context *ctx, satchel_known which)
{
    satchel_value *value = NULL;
    (void)satchel_context_get(ctx, satchel_known_var(which), &value);
    return value;
}

static void check_known(const satchel_context *ctx)
{
    satchel_value *traceparent = bound(ctx, SATCHEL_TRACEPARENT), *tracestate = bound(ctx, SATCHEL_TRACESTATE);
    satchel_value *baggage = bound(ctx, SATCHEL_BAGGAGE), *tenant = bound(ctx, SATCHEL_TENANT);
    satchel_trace trace;
    if (traceparent) {
        const char *text = satchel_value_data(traceparent);
        check(strlen(text) == 55 && memcmp(text, "00-", 3) == 0, "a traceparent that is not version 00");
        check(satchel_trace_parse(text, 55, &trace) == SATCHEL_OK && trace.flags <= 3, "a traceparent that is none");
    }
    check(traceparent || !tracestate, "a tracestate of no trace");
    if (baggage)
        check(strlen(satchel_value_data(baggage)) <= BAGGAGE_MAX, "baggage beyond its limit");
    if (tenant) {
        size_t len = strlen(satchel_value_data(tenant));
        check(len >= 1 && len <= 150, "a tenant's length");
    }
    satchel_value_unref(traceparent);
    satchel_value_unref(tracestate);
    satchel_value_unref(baggage);
    satchel_value_unref(tenant);
}

static void check_context(const satchel_context *ctx)
{
    static struct fields out;
    char *json = NULL, **env = NULL;
    size_t len = 0;
    satchel_context *again = NULL;
    check_known(ctx);
    check(satchel_inject(ctx, keep, &out) == 0, "inject was stopped by nobody");
    check(satchel_extract(out.list, out.n, &again, NULL, NULL) == SATCHEL_OK, "its own fields are refused");
    satchel_context_unref(again);
    again = NULL;
    release(&out);
    check(satchel_context_to_json(ctx, SATCHEL_JSON_SECRETS, &json, &len) == SATCHEL_OK, "no JSON");
    check(satchel_context_from_json(json, len, &again) == SATCHEL_OK, "its own JSON is refused");
    check(satchel_context_len(again) == satchel_context_len(ctx), "bindings were lost in JSON");
    satchel_context_unref(again);
    satchel_free(json);
    static char *const none[] = {NULL};
    check(satchel_context_to_env(ctx, none, &env) == SATCHEL_OK, "no environment");
    check(satchel_context_from_env(env, &again) == SATCHEL_OK, "its own environment is refused");
    satchel_context_unref(again);
    satchel_free(env);
}

/* ---- the readers ---- */

static void run_fields(const char *text, size_t len)
{
    static struct fields f;
    satchel_problem problems[4];
    size_t n_problems = 4;
    for (const char *end = text + len; text < end && f.n < MAX_FIELDS;) {
        const char *newline = memchr(text, '\n', (size_t)(end - text)), *stop = newline ? newline : end;
        const char *colon = memchr(text, ':', (size_t)(stop - text)), *value = colon ? colon + 1 : stop;
        size_t name_len = (size_t)((colon ? colon : stop) - text), value_len = (size_t)(stop - value);
        f.copies[2 * f.n] = copy_of(text, name_len);
        f.copies[2 * f.n + 1] = copy_of(value, value_len);
        f.list[f.n] = (satchel_field){f.copies[2 * f.n], f.copies[2 * f.n + 1], name_len, value_len};
        f.n++;
        text = newline ? newline + 1 : end;
    }
    satchel_context *ctx = NULL;
    int status = satchel_extract(f.list, f.n, &ctx, problems, &n_problems);
    check((status == SATCHEL_OK) == (ctx != NULL), "a context with an error");
    check(status == SATCHEL_OK || status == SATCHEL_EGRAMMAR || status == SATCHEL_ELIMIT, "an unforeseen status");
    for (size_t i = 0; i < n_problems && i < 4; i++)
        check(problems[i].name && problems[i].status < 0, "a problem without a name or a status");
    if (ctx)
        check_context(ctx);
    satchel_context_unref(ctx);
    release(&f);
}

static void run_json(const char *text, size_t len)
{
    char *copy = copy_of(text, len), *spaced = malloc(len + 1);
    satchel_context *ctx = NULL, *other = NULL;
    int status = satchel_context_from_json(copy, len, &ctx);
    free(copy);
    check((status == SATCHEL_OK) == (ctx != NULL), "a context with an error");
    check(spaced != NULL, "no memory");
    spaced[0] = ' '; /* means the same, and is never read by the short way */
    memcpy(spaced + 1, text, len);
    check(satchel_context_from_json(spaced, len + 1, &other) == status, "two ways to read, two answers");
    check(!ctx || satchel_context_equal(ctx, other), "two ways to read, two contexts");
    free(spaced);
    if (ctx)
        check_known(ctx);
    satchel_context_unref(other);
    satchel_context_unref(ctx);
}

static void run_env(const char *text, size_t len)
{
    char *copy = malloc(len + 1), *env[MAX_FIELDS + 1];
    check(copy != NULL, "no memory");
    memcpy(copy, text, len);
    copy[len] = '\0';
    size_t n = 0;
    for (char *at = copy; at < copy + len && n < MAX_FIELDS;) {
        env[n++] = at;
        at += strcspn(at, "\n");
        *at++ = '\0';
    }
    env[n] = NULL;
    satchel_context *ctx = NULL;
    int status = satchel_context_from_env(env, &ctx);
    check((status == SATCHEL_OK) == (ctx != NULL), "a context with an error");
    if (ctx)
        check_known(ctx);
    satchel_context_unref(ctx);
    free(copy);
}

static void run_trace(const char *text, size_t len)
{
    char *copy = copy_of(text, len), out[56];
    satchel_trace trace, again;
    if (satchel_trace_parse(copy, len, &trace) == SATCHEL_OK) {
        satchel_trace_format(&trace, out);
        check(satchel_trace_parse(out, 55, &again) == SATCHEL_OK, "its own traceparent is refused");
        check(memcmp(&trace.trace_id, &again.trace_id, 25) == 0, "a trace does not come back as it went");
    }
    free(copy);
}

static void run_baggage(const char *text, size_t len)
{
    char *value = malloc(len + 1), *read = malloc(3 * len + 1);
    satchel_token token = SATCHEL_TOKEN_INIT;
    check(value && read, "no memory");
    memcpy(value, text, len);
    value[len] = '\0';
    int status = satchel_baggage_set("key", value, &token);
    check(status == SATCHEL_OK || status == SATCHEL_ELIMIT, "any value may stand in baggage");
    if (status == SATCHEL_OK) {
        size_t need = satchel_baggage_get(NULL, "key", read, 3 * len + 1);
        check(need != SIZE_MAX && need <= 3 * strlen(value) && strlen(read) == need, "a value's length");
        check(satchel_baggage_get(NULL, "key", NULL, 0) == need, "the length depends on the room");
        check(satchel_reset(satchel_known_var(SATCHEL_BAGGAGE), &token) == SATCHEL_OK, "no reset");
    }
    if (satchel_set_string(satchel_known_var(SATCHEL_BAGGAGE), value, &token) == SATCHEL_OK) {
        (void)satchel_baggage_get(NULL, "k", read, 1);
        (void)satchel_reset(satchel_known_var(SATCHEL_BAGGAGE), &token);
    }
    free(value);
    free(read);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const char *const propagators[] = {"tracecontext,baggage", "b3", "b3multi",
                                              "tracecontext,baggage,b3,b3multi"};
    static void (*const readers[])(const char *text, size_t len) = {run_fields, run_json, run_env, run_trace,
                                                                    run_baggage};
    if (size < 1)
        return 0;
    satchel_counts before = {.struct_size = sizeof before}, after = before;
    satchel_get_counts(&before);
    (void)satchel_set_propagators(propagators[bytes[0] / 8 % 4]);
    readers[bytes[0] % 8 % 5]((const char *)bytes + 1, size - 1);
    satchel_get_counts(&after);
    check(after.vars == before.vars && after.values == before.values && after.contexts == before.contexts &&
              after.pending_tokens == 0 && after.misuse == 0,
          "something is left alive");
    return 0;
}

#ifndef SATCHEL_LIBFUZZER
static int run_file(const char *name)
{
    FILE *file = fopen(name, "rb");
    if (!file) {
        perror(name);
        return 1;
    }
    static uint8_t bytes[1 << 20];
    size_t n = fread(bytes, 1, sizeof bytes, file);
    (void)fclose(file);
    (void)LLVMFuzzerTestOneInput(bytes, n);
    return 0;
}

static void run_seeds(void)
{
#define PARENT "00-12345678901234567890123456789012-1234567890123456-01"
    static const char *const seeds[] = {
        "\x18traceparent: " PARENT
        "\ntracestate:a=1, b@c= 2\nbaggage:k=v%20w;p;q=r,l=\nX-Tenant-ID:acme\nX-Request-ID:r",
        "\x18traceparent:cc"
        "-12345678901234567890123456789012-1234567890123456-03-x\nX-Satchel-Var-a.b:c\nb3:d",
        "\x08"
        "b3: 1234567890123456-1234567890123456-d-0000000000000001\nX-Scope-OrgID:t\nX-Tenant-ID:t",
        "\x10X-B3-TraceId:12345678901234567890123456789012\nX-B3-SpanId:1234567890123456\nX-B3-Sampled: true",
        "\x01{\"v\":1,\"vars\":{\"traceparent\":\"" PARENT
        "\",\"x-tenant-id\":\"acme\",\"no\":[{}],\"baggage\":\"a=b\"}}",
        "\x01{\"v\":1,\"vars\":{\"x-satchel-deadline\":\"2030-01-01T00:00:00Z\",\"x-satchel-var-k\":\"\\u00e9\"},\"w\":"
        "{}}",
        "\x02TRACEPARENT=" PARENT "\nBAGGAGE=a=b\nX_SATCHEL_VAR_A_B=c\nSATCHEL_CONTEXT={\"v\":1,\"vars\":"
        "{\"x-satchel-var-a.b\":\"d\"}}\nX_TENANT_ID=acme",
        "\x03 " PARENT "\t",
        "\x04k=v%41%ff%e2%82;p = q , l=w, \xc3\xa9%",
    };
    for (unsigned i = 0; i < 60000; i++) {
        char data[1024];
        const char *seed = seeds[i % (sizeof seeds / sizeof *seeds)];
        size_t len = strlen(seed);
        memcpy(data, seed, len);
        len = 1 + mutate(data + 1, len - 1, sizeof data - 1);
        (void)LLVMFuzzerTestOneInput((const uint8_t *)data, len);
    }
}

int main(int argc, char **argv)
{
    int status = 0;
    for (int i = 1; i < argc; i++)
        status |= run_file(argv[i]);
    if (argc == 1)
        run_seeds();
    return status;
}
#endif
