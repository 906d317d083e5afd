/* The context library where the ground moves: memory that runs out at any one allocation, signal handlers that read
 * while a set is under way, forks while other threads hold things, and the end of the process.  Also the layout of the
 * public structs, which foreign-function interfaces rely on. */
#include <satchel/context.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ENTRY(text) ((char *)(uintptr_t)(text)) /* environments and argv are not const */

/* ---- layout ---- */

_Static_assert(sizeof(satchel_token) == 64, "token");
_Static_assert(sizeof(satchel_type) == 6 * sizeof(void *), "type");
_Static_assert(offsetof(satchel_type, decode) == 5 * sizeof(void *), "type");
_Static_assert(offsetof(satchel_var_spec, name) == sizeof(size_t), "spec");
_Static_assert(offsetof(satchel_var_spec, flags) == 6 * sizeof(void *), "spec");
_Static_assert(sizeof(satchel_var_spec) == 7 * sizeof(void *), "spec");
_Static_assert(sizeof(satchel_trace) == 26 && offsetof(satchel_trace, remote) == 25, "trace");
_Static_assert(sizeof(satchel_field) == 4 * sizeof(void *) && offsetof(satchel_field, name_len) == 2 * sizeof(void *),
               "");
_Static_assert(sizeof(satchel_problem) == 2 * sizeof(void *), "problem");
_Static_assert(sizeof(satchel_counts) == 48 && offsetof(satchel_counts, misuse) == 40, "counts");
_Static_assert(SATCHEL_TENANT == 0 && SATCHEL_TASK_ID == 6, "the order of the well-known variables");

/* ---- memory that runs out: this program's malloc is the library's as well ---- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_MALLOC 0 /* the sanitizer has one */
#else
#define OWN_MALLOC 1
#endif

static _Thread_local long left = -1; /* allocations until one fails; negative: none does */

#if OWN_MALLOC
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *block, size_t size);

static bool fails(void)
{
    return left >= 0 && left-- == 0;
}

void *malloc(size_t size)
{
    return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *block, size_t size)
{
    return fails() ? NULL : __libc_realloc(block, size);
}
#endif

static satchel_counts counts(void)
{
    satchel_counts now = {.struct_size = sizeof now};
    satchel_get_counts(&now);
    return now;
}

static void same_counts(const satchel_counts *before)
{
    satchel_counts now = counts();
    assert_int_equal(now.vars, before->vars);
    assert_int_equal(now.values, before->values);
    assert_int_equal(now.contexts, before->contexts);
    assert_int_equal(now.pending_tokens, before->pending_tokens);
}

#define VARS 20
static satchel_var *vars[VARS];
static satchel_context *base;
static satchel_token token;

static int stop_at_nothing(const char *name, const char *value, size_t len, void *arg)
{
    (void)name;
    (void)value;
    (void)len;
    ++*(int *)arg;
    return 0;
}

/* Each returns its status and leaves nothing behind.  Run with `base` entered. */
static int op_set(void)
{
    return satchel_set_string(vars[3], "other", &token);
}

static int op_set_known(void)
{
    return satchel_set_string(satchel_known_var(SATCHEL_TENANT), "acme", &token);
}

static int op_set_trace(void)
{
    satchel_trace trace;
    assert_int_equal(satchel_trace_root(&trace), SATCHEL_OK);
    return satchel_set_trace(&trace, &token);
}

static int op_set_deadline(void)
{
    return satchel_set_deadline(INT64_MAX / 2, &token);
}

static int op_set_cancel(void)
{
    satchel_cancel *cancel = NULL;
    int status = satchel_cancel_new(NULL, &cancel);
    if (status == SATCHEL_OK)
        status = satchel_set_cancel(cancel, &token);
    satchel_cancel_unref(cancel);
    return status;
}

static int op_baggage(void)
{
    return satchel_baggage_set("k", "v w", &token);
}

static int op_unset(void)
{
    return satchel_unset(vars[4], &token);
}

static int op_capture(void)
{
    satchel_context *ctx = satchel_capture();
    satchel_context_unref(ctx);
    return ctx ? SATCHEL_OK : SATCHEL_ENOMEM;
}

static int op_with(void)
{
    satchel_value *value = NULL;
    satchel_context *ctx = NULL;
    int status = satchel_value_string("with", 4, &value);
    if (status == SATCHEL_OK)
        status = satchel_context_with(NULL, vars[7], value, &ctx);
    satchel_context_unref(ctx);
    satchel_value_unref(value);
    return status;
}

static int op_var(void)
{
    satchel_var *var = NULL;
    int status = satchel_var_string("new", "dflt", "X-New", &var);
    satchel_var_unref(var);
    return status;
}

static int op_task_variable(void)
{
    satchel_var *var = NULL;
    int status = satchel_variable("fresh", &var);
    satchel_var_unref(var);
    return status;
}

static int op_extract(void)
{
    static const char *const lines[][2] = {{"traceparent", "00-12345678901234567890123456789012-1234567890123456-01"},
                                           {"tracestate", "a=1,b=2"},
                                           {"baggage", "k=v,l=w"},
                                           {"X-Tenant-ID", "acme"},
                                           {"X-Satchel-Var-region", "eu"},
                                           {"X-Request-ID", "r-1"}};
    satchel_field fields[6];
    for (unsigned i = 0; i < 6; i++)
        fields[i] = (satchel_field){lines[i][0], lines[i][1], strlen(lines[i][0]), strlen(lines[i][1])};
    satchel_context *ctx = NULL;
    int status = satchel_extract(fields, 6, &ctx, NULL, NULL);
    if (status == SATCHEL_OK)
        assert_int_equal(satchel_context_len(ctx), 6);
    else
        assert_null(ctx);
    satchel_context_unref(ctx);
    return status;
}

static int op_env(void)
{
    static char *const env[] = {ENTRY("X_TENANT_ID=acme"), ENTRY("BAGGAGE=a=b"), ENTRY("X_SATCHEL_VAR_REGION=eu"),
                                ENTRY("SATCHEL_CONTEXT={\"v\":1,\"vars\":{\"x-request-id\":\"r\"}}"), NULL};
    char **out = NULL;
    int status = satchel_context_to_env(NULL, env, &out);
    satchel_free(out);
    return status;
}

static int op_from_env(void)
{
    static char *const env[] = {ENTRY("X_TENANT_ID=acme"), ENTRY("BAGGAGE=a=b"), ENTRY("X_SATCHEL_VAR_REGION=eu"),
                                NULL};
    satchel_context *ctx = NULL;
    int status = satchel_context_from_env(env, &ctx);
    if (status == SATCHEL_OK)
        assert_int_equal(satchel_context_len(ctx), 3);
    satchel_context_unref(ctx);
    return status;
}

static int op_json(void)
{
    char *json = NULL;
    size_t len;
    int status = satchel_context_to_json(NULL, 0, &json, &len);
    satchel_free(json);
    return status;
}

static int op_inject(void)
{
    int n = 0;
    return satchel_inject(NULL, stop_at_nothing, &n);
}

static int op_cancel(void)
{
    satchel_cancel *parent = NULL, *child = NULL;
    int status = satchel_cancel_new(NULL, &parent);
    if (status == SATCHEL_OK)
        status = satchel_cancel_new(parent, &child);
    satchel_cancel_unref(child);
    satchel_cancel_unref(parent);
    return status;
}

static const struct op {
    const char *name;
    int (*fn)(void);
} ops[] = {{"set", op_set},
           {"set of a well-known one", op_set_known},
           {"set_trace", op_set_trace},
           {"set_deadline", op_set_deadline},
           {"set_cancel", op_set_cancel},
           {"baggage_set", op_baggage},
           {"unset", op_unset},
           {"capture", op_capture},
           {"with", op_with},
           {"var_string", op_var},
           {"variable", op_task_variable},
           {"extract", op_extract},
           {"to_env", op_env},
           {"from_env", op_from_env},
           {"to_json", op_json},
           {"inject", op_inject},
           {"cancel_new", op_cancel}};

/* With and without a copy outside, so that both ways of changing a snapshot run out. */
static void run_out(const struct op *op, bool shared)
{
    bool passed = false;
    for (long n = 0; n < 200 && !passed; n++) {
        satchel_context *before = satchel_capture(), *copy;
        copy = satchel_capture();
        assert_true(before && copy);
        if (!shared) {
            satchel_context_unref(before);
            before = NULL;
        }
        satchel_counts at_start = counts();
        left = n;
        int status = op->fn();
        left = -1;
        if (status != SATCHEL_OK && status != SATCHEL_ENOMEM)
            fail_msg("%s: allocation %ld fails: %s", op->name, n, satchel_strerror(status));
        passed = status == SATCHEL_OK;
        if (status != SATCHEL_OK) { /* nothing has changed */
            assert_true(satchel_context_equal(NULL, copy));
            assert_null(satchel_token_var(&token));
        }
        if (satchel_token_var(&token))
            assert_int_equal(satchel_reset(satchel_token_var(&token), &token), SATCHEL_OK);
        assert_true(satchel_context_equal(NULL, copy));
        satchel_token_clear(&token);
        same_counts(&at_start);
        satchel_context_unref(copy);
        satchel_context_unref(before);
    }
    if (!passed)
        fail_msg("%s never succeeds", op->name);
}

static void memory_may_run_out_anywhere(void **state)
{
    (void)state;
    if (!OWN_MALLOC)
        skip();
    satchel_counts at_start = counts();
    for (unsigned i = 0; i < VARS; i++)
        assert_int_equal(satchel_var_string("v", NULL, NULL, &vars[i]), SATCHEL_OK);
    base = satchel_context_new();
    assert_int_equal(satchel_context_enter(base), SATCHEL_OK);
    for (unsigned i = 0; i < VARS - 2; i++)
        assert_int_equal(satchel_set_string(vars[i], "text", NULL), SATCHEL_OK);
    assert_int_equal(satchel_baggage_set("old", "1", NULL), SATCHEL_OK);
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        run_out(&ops[i], false);
        run_out(&ops[i], true);
    }
    assert_int_equal(satchel_context_exit(base), SATCHEL_OK);
    satchel_context_unref(base);
    for (unsigned i = 0; i < VARS; i++)
        satchel_var_unref(vars[i]);
    same_counts(&at_start);
}

/* ---- signal handlers (R4) ---- */

static atomic_uint seen, wrong;
static satchel_var *steady;

static void on_signal(int sig)
{
    (void)sig;
    void *data = NULL;
    if (satchel_get(steady, &data) != SATCHEL_OK || strcmp(data, "steady") != 0)
        atomic_fetch_add(&wrong, 1);
    const char *tenant = satchel_tenant();
    if (!tenant || strcmp(tenant, "acme") != 0)
        atomic_fetch_add(&wrong, 1);
    atomic_fetch_add(&seen, 1);
}

static void handlers_read_while_a_set_is_under_way(void **state)
{
    (void)state;
    satchel_var *many[64]; /* ids next to the steady one's: its place in the trie moves with theirs */
    for (unsigned i = 0; i < 64; i++) {
        assert_int_equal(satchel_var_string("v", NULL, NULL, &many[i]), SATCHEL_OK);
        if (i == 31)
            assert_int_equal(satchel_var_string("steady", NULL, NULL, &steady), SATCHEL_OK);
    }
    assert_int_equal(satchel_set_string(steady, "steady", NULL), SATCHEL_OK);
    assert_int_equal(satchel_set_string(satchel_known_var(SATCHEL_TENANT), "acme", NULL), SATCHEL_OK);
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    struct itimerval every = {.it_interval = {.tv_usec = 50}, .it_value = {.tv_usec = 50}};
    assert_int_equal(setitimer(ITIMER_REAL, &every, NULL), 0);
    for (unsigned round = 0; round < 4000; round++) {
        satchel_context *copy = round % 3 == 0 ? satchel_capture() : NULL;
        for (unsigned i = 0; i < 64; i++)
            assert_int_equal(satchel_set_string(many[i], "x", NULL), SATCHEL_OK);
        satchel_context_unref(copy);
        for (unsigned i = 0; i < 64; i++)
            assert_int_equal(satchel_unset(many[i], NULL), SATCHEL_OK);
    }
    every = (struct itimerval){0};
    assert_int_equal(setitimer(ITIMER_REAL, &every, NULL), 0);
    assert_true(atomic_load(&seen) > 0);
    assert_int_equal(atomic_load(&wrong), 0);
    assert_int_equal(satchel_thread_reset(), SATCHEL_OK);
    for (unsigned i = 0; i < 64; i++)
        satchel_var_unref(many[i]);
    satchel_var_unref(steady);
}

/* ---- fork while another thread is at it ---- */

static satchel_context *theirs;
static satchel_cancel *tree;
static atomic_bool entered, stop;

static void *busy(void *arg)
{
    satchel_var *var = arg;
    assert_int_equal(satchel_context_enter(theirs), SATCHEL_OK);
    atomic_store(&entered, true);
    while (!atomic_load(&stop)) {
        satchel_cancel *child;
        if (satchel_set_string(var, "theirs", NULL) || satchel_cancel_new(tree, &child))
            abort();
        satchel_cancel_unref(child);
    }
    assert_int_equal(satchel_context_exit(theirs), SATCHEL_OK);
    return NULL;
}

static bool in_child(satchel_var *var, const satchel_trace *parents)
{
    satchel_cancel *child = NULL;
    satchel_trace trace;
    (void)alarm(20); /* a lock that nobody gives back would hold us for ever */
    satchel_context *copy = satchel_context_copy(theirs);
    bool good = copy && satchel_context_len(copy) <= 1;
    good = good && !satchel_context_entered(theirs); /* its thread is not here */
    good = good && satchel_context_enter(theirs) == SATCHEL_OK && satchel_context_entered(theirs);
    good = good && satchel_context_enter(theirs) == SATCHEL_EENTERED;
    good = good && satchel_set_string(var, "ours", NULL) == SATCHEL_OK && satchel_context_exit(theirs) == SATCHEL_OK;
    good = good && satchel_cancel_new(tree, &child) == SATCHEL_OK;
    satchel_cancel_fire(tree, 7);
    good = good && satchel_cancel_reason(child) == 7;
    (void)satchel_trace_root(&trace);
    return good && memcmp(trace.trace_id, parents->trace_id, 16) != 0;
}

static void a_fork_finds_nothing_taken(void **state)
{
    (void)state;
    satchel_var *var;
    pthread_t thread;
    satchel_trace trace;
    assert_int_equal(satchel_var_string("v", NULL, NULL, &var), SATCHEL_OK);
    theirs = satchel_context_new();
    assert_int_equal(satchel_cancel_new(NULL, &tree), SATCHEL_OK);
    satchel_context *mine = satchel_context_new();
    assert_int_equal(satchel_context_enter(mine), SATCHEL_OK);
    assert_int_equal(satchel_thread_create(&thread, NULL, busy, var), SATCHEL_OK);
    while (!atomic_load(&entered))
        (void)usleep(100);
    (void)satchel_trace_root(&trace); /* fills this thread's store of random bytes */
    for (int i = 0; i < 40; i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(!(in_child(var, &trace) && satchel_context_enter(mine) == SATCHEL_EENTERED &&
                    satchel_context_exit(mine) == SATCHEL_OK));
        (void)satchel_trace_root(&trace);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    atomic_store(&stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(satchel_context_exit(mine), SATCHEL_OK);
    satchel_context_unref(mine);
    satchel_context_unref(theirs);
    satchel_cancel_unref(tree);
    satchel_var_unref(var);
}

static void ids_after_a_fork_are_not_the_parents(void **state)
{
    (void)state;
    satchel_trace first, mine, childs;
    int ends[2];
    (void)satchel_trace_root(&first);
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    (void)satchel_trace_root(&mine);
    if (pid == 0)
        _exit(write(ends[1], &mine, sizeof mine) != sizeof mine);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(read(ends[0], &childs, sizeof childs), sizeof childs);
    assert_memory_not_equal(childs.trace_id, mine.trace_id, 16);
    assert_memory_not_equal(childs.span_id, mine.span_id, 8);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

/* ---- the end of the process (R8) ---- */

static void shout(void *data)
{
    (void)data;
    static const char text[] = "destroyed";
    if (write(1, text, sizeof text - 1) < 0)
        abort();
}

static const satchel_type loud = {.struct_size = sizeof loud, .name = "loud", .destroy = shout};

static void *sleeper(void *arg)
{
    atomic_store((atomic_bool *)arg, true);
    return NULL; /* ends, with its copy of the caller's bindings, while exit() is under way or before */
}

static void no_callback_after_main(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        static char *const argv[] = {ENTRY("test_context_edges"), ENTRY("end"), NULL};
        (void)dup2(ends[1], 1);
        (void)execv("/proc/self/exe", argv);
        _exit(99);
    }
    (void)close(ends[1]);
    char text[64];
    assert_int_equal(read(ends[0], text, sizeof text), 0); /* nothing was said */
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    (void)close(ends[0]);
}

static int end_with_bindings(void)
{
    satchel_var *var;
    satchel_value *value;
    pthread_t thread;
    static atomic_bool begun;
    satchel_var_spec spec = {.struct_size = sizeof spec, .name = "loud", .type = &loud};
    satchel_context *ctx = satchel_context_new();
    if (!ctx || satchel_var_new(&spec, &var) || satchel_value_new(&loud, &spec, &value) ||
        satchel_set_value(var, value, NULL) || satchel_context_enter(ctx) || satchel_set_value(var, value, NULL) ||
        satchel_thread_create(&thread, NULL, sleeper, &begun) || pthread_detach(thread))
        return 1;
    return 0; /* with a context entered, and bindings in it and below */
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "end") == 0)
        return end_with_bindings();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_may_run_out_anywhere), cmocka_unit_test(handlers_read_while_a_set_is_under_way),
        cmocka_unit_test(a_fork_finds_nothing_taken),  cmocka_unit_test(ids_after_a_fork_are_not_the_parents),
        cmocka_unit_test(no_callback_after_main),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
