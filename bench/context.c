/* What the context library's calls cost, beside a bare thread-local pointer and a linked list with string keys as
 * OpenTelemetry's C++ API has one.  Medians over many rounds, in nanoseconds per call, loop overhead included; the
 * number of allocations per call is counted.  bench/context.py measures CPython's contextvars in the same units.
 *
 *     bench/context [ROUNDS]       default 41 rounds of 200,000 calls each */
#include <dlfcn.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <satchel/context.h>

#define CALLS 200000u
#define MANY 100u
#define ROUNDS_MAX 1001u

/* ---- allocations, counted ---- */

static __thread uint64_t allocations;

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *block, size_t size);

void *malloc(size_t size)
{
    allocations++;
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    allocations++;
    return __libc_calloc(n, size);
}

void *realloc(void *block, size_t size)
{
    allocations++;
    return __libc_realloc(block, size);
}

/* ---- the peers ---- */

static __thread const char *volatile bare; /* the least that a read can cost */

struct link { /* OpenTelemetry C++: a list of key and value, newest first; keys are compared as text */
    const struct link *next;
    const char *key;
    const void *value;
};

static __thread const struct link *list;

__attribute__((noinline)) static const void *list_get(const char *key)
{
    for (const struct link *at = list; at; at = at->next)
        if (strcmp(at->key, key) == 0)
            return at->value;
    return NULL;
}

/* ---- what is measured ---- */

static satchel_var *vars[MANY], *one;
static unsigned bound; /* how many of vars have a binding */
static satchel_context *entered;
static const char *keys[MANY];
static volatile uintptr_t sink;

static void must(int status)
{
    if (status != SATCHEL_OK) {
        (void)fprintf(stderr, "bench/context: %s\n", satchel_strerror(status));
        exit(1);
    }
}

static void nothing(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        sink = i;
}

static void read_bare(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        sink = (uintptr_t)bare;
}

static void read_list_newest(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        sink = (uintptr_t)list_get(keys[MANY - 1]);
}

static void read_list_oldest(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        sink = (uintptr_t)list_get(keys[0]);
}

static void list_set(unsigned n) /* one link in front, and gone again */
{
    for (unsigned i = 0; i < n; i++) {
        struct link *fresh = malloc(sizeof *fresh);
        *fresh = (struct link){list, keys[i % MANY], fresh};
        list = fresh;
        sink = (uintptr_t)list;
        list = fresh->next;
        free(fresh);
    }
}

static void get_known(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        sink = (uintptr_t)satchel_tenant();
}

static void get_any(unsigned n)
{
    void *data;
    for (unsigned i = 0; i < n; i++) {
        (void)satchel_get(one, &data);
        sink = (uintptr_t)data;
    }
}

static void capture(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        satchel_context *copy = satchel_capture();
        sink = (uintptr_t)copy;
        satchel_context_unref(copy);
    }
}

static int return_arg(void *arg)
{
    return (int)(uintptr_t)arg;
}

static void run(unsigned n)
{
    satchel_context *ctx = satchel_context_new();
    int result;
    for (unsigned i = 0; i < n; i++) {
        (void)satchel_context_run(ctx, return_arg, NULL, &result);
        sink = (uintptr_t)result;
    }
    satchel_context_unref(ctx);
}

static void set_in_place(unsigned n)
{
    satchel_value *value;
    must(satchel_value_string("v", 1, &value));
    for (unsigned i = 0; i < n; i++)
        (void)satchel_set_value(one, value, NULL);
    satchel_value_unref(value);
}

static void set_and_reset(unsigned n)
{
    satchel_value *value;
    must(satchel_value_string("v", 1, &value));
    for (unsigned i = 0; i < n; i++) {
        satchel_token token = SATCHEL_TOKEN_INIT;
        (void)satchel_set_value(one, value, &token);
        (void)satchel_reset(one, &token);
    }
    satchel_value_unref(value);
}

static void set_known(unsigned n)
{
    satchel_value *value;
    must(satchel_value_string("req-0123456789", 14, &value));
    for (unsigned i = 0; i < n; i++)
        (void)satchel_set_value(satchel_known_var(SATCHEL_REQUEST_ID), value, NULL);
    satchel_value_unref(value);
}

static void set_after_capture(unsigned n) /* somebody shares the bindings: the path to the changed one is copied */
{
    satchel_value *value;
    must(satchel_value_string("v", 1, &value));
    for (unsigned i = 0; i < n; i++) {
        satchel_context *copy = satchel_capture();
        (void)satchel_set_value(one, value, NULL);
        satchel_context_unref(copy);
    }
    satchel_value_unref(value);
}

static void set_each_after_capture(unsigned n) /* another variable every time */
{
    satchel_value *value;
    must(satchel_value_string("v", 1, &value));
    for (unsigned i = 0; i < n; i++) {
        satchel_context *copy = satchel_capture();
        (void)satchel_set_value(vars[i * 37 % bound], value, NULL);
        satchel_context_unref(copy);
    }
    satchel_value_unref(value);
}

static void set_in_copies(unsigned n) /* as workers do: many copies of one context are alive, each with its own sets */
{
    static satchel_context *alive[MANY];
    satchel_value *value;
    must(satchel_value_string("v", 1, &value));
    for (unsigned i = 0; i < n; i++) {
        satchel_context_unref(alive[i % MANY]);
        must(satchel_context_with(NULL, vars[i * 37 % bound], value, &alive[i % MANY]));
    }
    for (unsigned i = 0; i < MANY; i++) {
        satchel_context_unref(alive[i]);
        alive[i] = NULL;
    }
    satchel_value_unref(value);
}

/* ---- measuring ---- */

struct subject {
    const char *name;
    void (*run)(unsigned n);
    double target_ns; /* 0: none */
};

static const struct subject subjects[] = {
    {"an empty loop", nothing, 0},
    {"bare __thread pointer: read", read_bare, 0},
    {"linked list, newest of 100: read", read_list_newest, 0},
    {"linked list, oldest of 100: read", read_list_oldest, 0},
    {"linked list: attach and detach", list_set, 0},
    {"get, well-known variable", get_known, 3},
    {"get, any variable", get_any, 0},
    {"capture and release", capture, 40},
    {"run", run, 60},
    {"set, in place", set_in_place, 150},
    {"set and reset", set_and_reset, 0},
    {"set, well-known variable", set_known, 0},
    {"capture, set and release", set_after_capture, 150},
    {"the same, another variable each time", set_each_after_capture, 0},
    {"a copy with one set, 100 alive", set_in_copies, 0},
};

static double now_ns(void)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec * 1e9 + (double)at.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void measure(const struct subject *subject, unsigned rounds, unsigned bindings)
{
    static double ns[ROUNDS_MAX];
    subject->run(CALLS / 10); /* warm */
    uint64_t before = allocations;
    for (unsigned i = 0; i < rounds; i++) {
        double start = now_ns();
        subject->run(CALLS);
        ns[i] = (now_ns() - start) / CALLS;
    }
    double allocated = (double)(allocations - before) / ((double)rounds * CALLS);
    qsort(ns, rounds, sizeof ns[0], by_size);
    printf("%-36s %8u %9.1f %9.1f %12.2f", subject->name, bindings, ns[rounds / 2], ns[rounds / 10], allocated);
    if (subject->target_ns > 0)
        printf("   %s %.0f", ns[rounds / 2] <= subject->target_ns ? "within" : "MISSES", subject->target_ns);
    printf("\n");
}

static void bind_many(unsigned n)
{
    static struct link links[MANY];
    entered = satchel_context_new();
    must(satchel_context_enter(entered));
    must(satchel_set_string(satchel_known_var(SATCHEL_TENANT), "acme", NULL));
    list = NULL;
    for (unsigned i = 0; i < MANY; i++) {
        links[i] = (struct link){list, keys[i], keys[i]};
        list = &links[i];
        if (i < n)
            must(satchel_set_string(vars[i], keys[i], NULL));
    }
    bound = n;
    one = vars[n / 2];
    must(satchel_set_string(one, "v", NULL));
}

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 41;
    if (rounds < 1 || rounds > ROUNDS_MAX) {
        (void)fprintf(stderr, "usage: bench/context [1..%u rounds]\n", ROUNDS_MAX);
        return 64;
    }
    bare = "acme";
    for (unsigned i = 0; i < MANY; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "bench.variable.%03u", i);
        keys[i] = strdup(name);
        must(satchel_var_string(name, NULL, NULL, &vars[i]));
    }
    printf("%-36s %8s %9s %9s %12s   %s\n", "", "bindings", "median ns", "p10 ns", "allocations", "target ns");
    static const unsigned sizes[] = {1, MANY};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        bind_many(sizes[s]);
        for (size_t i = 0; i < sizeof subjects / sizeof subjects[0]; i++)
            measure(&subjects[i], rounds, sizes[s]);
        must(satchel_context_exit(entered));
        satchel_context_unref(entered);
    }
    return 0;
}
