/* The context library between threads: who may read what another thread changes (R6), who may change (R7), what a
 * thread's end leaves (R8), cancellation, deadlines, interned variables, calls on other threads, fork.  Meant to be run
 * under ThreadSanitizer, too. */
#include <poll.h>
#include <pthread.h>
#include <satchel/context.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define ROUNDS 4000
#define READERS 3
#define PAIRS 24

static satchel_counts counts(void)
{
    satchel_counts now = {.struct_size = sizeof now};
    satchel_get_counts(&now);
    return now;
}

static void expect_counts(const satchel_counts *before)
{
    satchel_counts now = counts();
    assert_int_equal(now.vars, before->vars);
    assert_int_equal(now.values, before->values);
    assert_int_equal(now.contexts, before->contexts);
    assert_int_equal(now.pending_tokens, before->pending_tokens);
}

static satchel_var *var_new(const char *name)
{
    satchel_var *var = NULL;
    assert_int_equal(satchel_var_string(name, NULL, NULL, &var), SATCHEL_OK);
    return var;
}

static pthread_t start(void *(*fn)(void *), void *arg)
{
    pthread_t thread;
    assert_int_equal(satchel_thread_create(&thread, NULL, fn, arg), SATCHEL_OK);
    return thread;
}

static void *join(pthread_t thread)
{
    void *result = NULL;
    assert_int_equal(pthread_join(thread, &result), 0);
    return result;
}

static int64_t now_ns(void)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * INT64_C(1000000000) + at.tv_nsec;
}

/* ---- R6: one whole snapshot, whatever the owner does ---- */

struct watched {
    satchel_context *context;
    satchel_var *first[PAIRS], *second[PAIRS]; /* set in this order, to the same number */
    atomic_bool stop;
    atomic_int wrong;
};

static long number_of(const satchel_context *context, const satchel_var *var)
{
    satchel_value *value;
    if (satchel_context_get(context, var, &value) != SATCHEL_OK)
        return 0;
    long number = strtol(satchel_value_data(value), NULL, 10);
    satchel_value_unref(value);
    return number;
}

struct walk {
    const struct watched *watched;
    long first[PAIRS], second[PAIRS];
    size_t n;
};

static int visit(satchel_var *var, void *data, void *arg)
{
    struct walk *walk = arg;
    walk->n++;
    for (int i = 0; i < PAIRS; i++) {
        if (var == walk->watched->first[i])
            walk->first[i] = strtol(data, NULL, 10);
        if (var == walk->watched->second[i])
            walk->second[i] = strtol(data, NULL, 10);
    }
    return 0;
}

/* In one snapshot the first of a pair is as new as the second, or one round ahead. */
static bool is_whole(long first, long second)
{
    return first == second || first == second + 1;
}

static void look(struct watched *w)
{
    satchel_context *copy = satchel_context_copy(w->context);
    for (int i = 0; i < PAIRS; i++)
        if (!is_whole(number_of(copy, w->first[i]), number_of(copy, w->second[i])))
            atomic_fetch_add(&w->wrong, 1);
    struct walk walk = {.watched = w};
    (void)satchel_context_each(w->context, visit, &walk);
    for (int i = 0; i < PAIRS; i++)
        if (!is_whole(walk.first[i], walk.second[i]))
            atomic_fetch_add(&w->wrong, 1);
    if (walk.n > 2 * PAIRS || satchel_context_len(w->context) > 2 * PAIRS || !satchel_context_equal(copy, copy))
        atomic_fetch_add(&w->wrong, 1);
    (void)satchel_context_equal(copy, w->context);
    (void)satchel_context_has(w->context, w->first[0]);
    (void)satchel_context_entered(w->context);
    satchel_context_unref(copy);
}

static void *read_all_the_time(void *arg)
{
    struct watched *w = arg;
    while (!atomic_load(&w->stop))
        look(w);
    return NULL;
}

static int change_all_the_time(void *arg)
{
    struct watched *w = arg;
    char text[16];
    for (int round = 1; round <= ROUNDS; round++) {
        (void)snprintf(text, sizeof text, "%d", round);
        for (int i = 0; i < PAIRS; i++) {
            assert_int_equal(satchel_set_string(w->first[i], text, NULL), SATCHEL_OK);
            assert_int_equal(satchel_set_string(w->second[i], text, NULL), SATCHEL_OK);
        }
        int i = round % PAIRS; /* a pair set anew and put back */
        satchel_token first = SATCHEL_TOKEN_INIT;
        assert_int_equal(satchel_set_string(w->first[i], text, &first), SATCHEL_OK);
        assert_int_equal(satchel_reset(w->first[i], &first), SATCHEL_OK);
    }
    return 0;
}

static void readers_see_whole_snapshots(void **state)
{
    (void)state;
    satchel_counts before = counts();
    static struct watched w;
    memset(&w, 0, sizeof w);
    w.context = satchel_context_new();
    for (int i = 0; i < PAIRS; i++) {
        w.first[i] = var_new("first");
        w.second[i] = var_new("second");
    }
    pthread_t readers[READERS];
    for (int i = 0; i < READERS; i++)
        readers[i] = start(read_all_the_time, &w);
    int result;
    assert_int_equal(satchel_context_run(w.context, change_all_the_time, &w, &result), SATCHEL_OK);
    atomic_store(&w.stop, true);
    for (int i = 0; i < READERS; i++)
        (void)join(readers[i]);
    assert_int_equal(atomic_load(&w.wrong), 0);
    assert_int_equal(number_of(w.context, w.second[0]), ROUNDS);
    satchel_context_unref(w.context);
    for (int i = 0; i < PAIRS; i++) {
        satchel_var_unref(w.first[i]);
        satchel_var_unref(w.second[i]);
    }
    expect_counts(&before);
}

/* What is copied stays as it is, and what is set in a copy is the copy's: also where the owner was about to set. */
static void *copy_and_set(void *arg)
{
    struct watched *w = arg;
    for (unsigned round = 0; !atomic_load(&w->stop); round++) {
        satchel_context *copy = satchel_context_copy(w->context);
        long seen[PAIRS];
        if (satchel_context_enter(copy) == SATCHEL_OK) {
            (void)satchel_set_string(w->second[round % PAIRS], "-1", NULL); /* its nodes come from the owner's */
            (void)satchel_context_exit(copy);
        }
        for (int i = 0; i < PAIRS; i++)
            seen[i] = number_of(copy, w->second[i]);
        for (int i = 0; i < PAIRS; i++)
            if (seen[i] != number_of(copy, w->second[i]) || (seen[i] == -1) != (i == (int)(round % PAIRS)))
                atomic_fetch_add(&w->wrong, 1);
        satchel_context_unref(copy);
    }
    return NULL;
}

static void copies_stay_apart(void **state)
{
    (void)state;
    satchel_counts before = counts();
    static struct watched w;
    memset(&w, 0, sizeof w);
    w.context = satchel_context_new();
    for (int i = 0; i < PAIRS; i++) {
        w.first[i] = var_new("first");
        w.second[i] = var_new("second");
    }
    pthread_t others[READERS];
    for (int i = 0; i < READERS; i++)
        others[i] = start(copy_and_set, &w);
    int result;
    assert_int_equal(satchel_context_run(w.context, change_all_the_time, &w, &result), SATCHEL_OK);
    atomic_store(&w.stop, true);
    for (int i = 0; i < READERS; i++)
        (void)join(others[i]);
    assert_int_equal(atomic_load(&w.wrong), 0);
    for (int i = 0; i < PAIRS; i++)
        assert_int_equal(number_of(w.context, w.second[i]), ROUNDS);
    satchel_context_unref(w.context);
    for (int i = 0; i < PAIRS; i++) {
        satchel_var_unref(w.first[i]);
        satchel_var_unref(w.second[i]);
    }
    expect_counts(&before);
}

/* ---- R7: one thread at a time ---- */

struct contested {
    satchel_context *context;
    satchel_var *var;
    atomic_int inside, ran, refused, wrong;
};

static int be_inside(void *arg)
{
    struct contested *c = arg;
    if (atomic_fetch_add(&c->inside, 1) != 0)
        atomic_fetch_add(&c->wrong, 1);
    char text[24];
    (void)snprintf(text, sizeof text, "%ld", number_of(NULL, c->var) + 1);
    (void)satchel_set_string(c->var, text, NULL);
    atomic_fetch_sub(&c->inside, 1);
    return 7;
}

static void *contest(void *arg)
{
    struct contested *c = arg;
    for (int i = 0; i < ROUNDS; i++) {
        int result = 0, status = satchel_context_run(c->context, be_inside, c, &result);
        if (status == SATCHEL_OK && result == 7)
            atomic_fetch_add(&c->ran, 1);
        else if (status == SATCHEL_EENTERED)
            atomic_fetch_add(&c->refused, 1);
        else
            atomic_fetch_add(&c->wrong, 1);
    }
    return NULL;
}

static void a_context_is_entered_by_one_thread_at_a_time(void **state)
{
    (void)state;
    satchel_counts before = counts();
    struct contested c = {.context = satchel_context_new(), .var = var_new("n")};
    pthread_t threads[READERS];
    for (int i = 0; i < READERS; i++)
        threads[i] = start(contest, &c);
    for (int i = 0; i < READERS; i++)
        (void)join(threads[i]);
    assert_int_equal(atomic_load(&c.wrong), 0);
    assert_int_equal(atomic_load(&c.ran) + atomic_load(&c.refused), READERS * ROUNDS);
    assert_int_equal(number_of(c.context, c.var), atomic_load(&c.ran)); /* no set was lost */
    satchel_context_unref(c.context);
    satchel_var_unref(c.var);
    expect_counts(&before);
}

/* ---- threads ---- */

static satchel_var *shared;

static void *look_and_change(void *arg)
{
    (void)arg;
    void *seen = NULL;
    (void)satchel_get(shared, &seen);
    char *copy = seen ? strdup(seen) : NULL;
    (void)satchel_set_string(shared, "changed", NULL);
    return copy;
}

static void a_thread_starts_in_a_copy(void **state)
{
    (void)state;
    satchel_counts before = counts();
    shared = var_new("shared");
    assert_int_equal(satchel_set_string(shared, "parent's", NULL), SATCHEL_OK);
    for (int i = 0; i < 100; i++) {
        char *seen = join(start(look_and_change, NULL));
        assert_string_equal(seen, "parent's");
        free(seen);
    }
    void *data;
    assert_int_equal(satchel_get(shared, &data), SATCHEL_OK);
    assert_string_equal(data, "parent's");
    assert_int_equal(satchel_thread_reset(), SATCHEL_OK);
    pthread_t bare;
    assert_int_equal(satchel_thread_create(&bare, NULL, look_and_change, NULL), SATCHEL_OK);
    assert_null(join(bare)); /* nothing set, nothing seen */
    satchel_var_unref(shared);
    expect_counts(&before);
}

static satchel_context *left;

static void *leave_entered(void *arg)
{
    (void)satchel_context_enter(left);
    (void)satchel_set_string(shared, "inside", NULL);
    if (arg)
        pthread_exit(NULL);
    return NULL;
}

static void what_is_left_entered_is_exited(void **state)
{
    (void)state;
    satchel_counts before = counts();
    for (int by_exit = 0; by_exit < 2; by_exit++) {
        shared = var_new("shared");
        left = satchel_context_new();
        uint64_t misuse = counts().misuse;
        (void)join(start(leave_entered, by_exit ? left : NULL));
        assert_false(satchel_context_entered(left));
        assert_int_equal(counts().misuse, misuse + 1);
        assert_int_equal(satchel_context_enter(left), SATCHEL_OK);
        void *data;
        assert_int_equal(satchel_get(shared, &data), SATCHEL_OK);
        assert_string_equal(data, "inside");
        assert_int_equal(satchel_context_exit(left), SATCHEL_OK);
        satchel_context_unref(left);
        satchel_var_unref(shared);
    }
    expect_counts(&before);
}

static int end_the_thread(void *arg)
{
    (void)arg;
    pthread_exit(NULL);
    return 0;
}

static atomic_bool waiting;

static int wait_for_ever(void *arg)
{
    (void)arg;
    atomic_store(&waiting, true);
    while (atomic_load(&waiting))
        (void)pause(); /* a cancellation point */
    return 0;
}

static void *run_in_left(void *arg)
{
    int (*fn)(void *) = *(int (**)(void *))arg;
    int result;
    (void)satchel_context_run(left, fn, NULL, &result);
    return NULL;
}

static void run_is_left_where_its_function_ends_the_thread(void **state)
{
    (void)state;
    satchel_counts before = counts();
    int (*fn)(void *) = end_the_thread;
    left = satchel_context_new();
    uint64_t misuse = counts().misuse;
    (void)join(start(run_in_left, &fn));
    assert_false(satchel_context_entered(left));
    fn = wait_for_ever;
    pthread_t thread = start(run_in_left, &fn);
    while (!atomic_load(&waiting))
        (void)sched_yield();
    assert_true(satchel_context_entered(left));
    assert_int_equal(pthread_cancel(thread), 0);
    assert_ptr_equal(join(thread), PTHREAD_CANCELED);
    assert_false(satchel_context_entered(left));
    assert_int_equal(counts().misuse, misuse); /* that is no misuse */
    satchel_context_unref(left);
    expect_counts(&before);
}

static void *clear_token(void *arg)
{
    satchel_token_clear(arg);
    return NULL;
}

static void tokens_are_cleared_anywhere(void **state)
{
    (void)state;
    satchel_counts before = counts();
    satchel_var *var = var_new("v");
    satchel_token token = SATCHEL_TOKEN_INIT;
    assert_int_equal(satchel_set_string(var, "1", NULL), SATCHEL_OK);
    assert_int_equal(satchel_set_string(var, "2", &token), SATCHEL_OK);
    assert_int_equal(counts().pending_tokens, before.pending_tokens + 1);
    (void)join(start(clear_token, &token));
    assert_int_equal(counts().pending_tokens, before.pending_tokens);
    assert_false(satchel_token_used(&token));
    assert_int_equal(satchel_reset(var, &token), SATCHEL_EINVAL); /* empty again */
    assert_int_equal(satchel_thread_reset(), SATCHEL_OK);
    satchel_var_unref(var);
    expect_counts(&before);
}

/* ---- cancellation and deadlines ---- */

static atomic_bool go;

static void *make_children(void *arg)
{
    satchel_cancel *parent = arg;
    uintptr_t wrong = 0;
    while (!atomic_load(&go))
        (void)sched_yield();
    for (int i = 0; i < ROUNDS; i++) {
        satchel_cancel *child, *grandchild;
        if (satchel_cancel_new(parent, &child) != SATCHEL_OK || satchel_cancel_new(child, &grandchild) != SATCHEL_OK)
            return (void *)1;
        bool fired = satchel_cancel_reason(parent) != 0;
        if (i % 8 == 0) {
            struct pollfd ready = {.fd = satchel_cancel_fd(grandchild), .events = POLLIN};
            if (fired && poll(&ready, 1, 10000) != 1)
                wrong++;
        }
        satchel_cancel_unref(child);
        satchel_cancel_unref(grandchild);
    }
    return (void *)wrong;
}

static void a_tree_fires_while_it_grows(void **state)
{
    (void)state;
    satchel_cancel *root;
    assert_int_equal(satchel_cancel_new(NULL, &root), SATCHEL_OK);
    atomic_store(&go, false);
    pthread_t threads[READERS];
    for (int i = 0; i < READERS; i++)
        threads[i] = start(make_children, root);
    atomic_store(&go, true);
    satchel_cancel_fire(root, 3);
    satchel_cancel_fire(root, 4); /* the first one counts */
    for (int i = 0; i < READERS; i++)
        assert_null(join(threads[i]));
    assert_int_equal(satchel_cancel_reason(root), 3);
    satchel_cancel *late;
    assert_int_equal(satchel_cancel_new(root, &late), SATCHEL_OK);
    assert_int_equal(satchel_cancel_reason(late), 3);
    satchel_cancel_unref(late);
    satchel_cancel_unref(root);
}

static void *see_done(void *arg)
{
    (void)arg;
    int64_t limit = now_ns() + INT64_C(10000000000);
    while (!satchel_done() && now_ns() < limit)
        (void)sched_yield();
    return satchel_done() ? (void *)1 : NULL;
}

static void threads_inherit_their_cancellation(void **state)
{
    (void)state;
    satchel_cancel *cancel;
    assert_int_equal(satchel_cancel_new(NULL, &cancel), SATCHEL_OK);
    assert_int_equal(satchel_set_cancel(cancel, NULL), SATCHEL_OK);
    assert_false(satchel_done());
    pthread_t thread = start(see_done, NULL);
    satchel_cancel_fire(cancel, 1);
    assert_non_null(join(thread));
    assert_true(satchel_done());
    assert_int_equal(satchel_thread_reset(), SATCHEL_OK);
    assert_false(satchel_done());
    satchel_cancel_unref(cancel);
}

static void deadlines_only_move_earlier(void **state)
{
    (void)state;
    int64_t now = now_ns(), second = INT64_C(1000000000);
    assert_int_equal(satchel_thread_reset(), SATCHEL_OK);
    assert_true(satchel_remaining_ns() == INT64_MAX);
    assert_int_equal(satchel_set_deadline(now + 100 * second, NULL), SATCHEL_OK);
    int64_t left_ns = satchel_remaining_ns();
    assert_true(left_ns > 90 * second && left_ns <= 100 * second);
    satchel_token token = SATCHEL_TOKEN_INIT;
    assert_int_equal(satchel_set_deadline(now + 1000 * second, &token), SATCHEL_OK); /* later: nothing changes */
    assert_true(satchel_remaining_ns() <= 100 * second);
    satchel_token_clear(&token);
    assert_int_equal(satchel_set_deadline(now + 10 * second, &token), SATCHEL_OK);
    assert_true(satchel_remaining_ns() <= 10 * second);
    assert_false(satchel_done());
    assert_int_equal(satchel_set_deadline(now - second, NULL), SATCHEL_OK);
    assert_true(satchel_remaining_ns() <= 0);
    assert_true(satchel_done());
    assert_non_null(join(start(see_done, NULL)));
    satchel_token_clear(&token);
    assert_int_equal(satchel_thread_reset(), SATCHEL_OK);
}

/* ---- interned variables ---- */

static void *intern(void *arg)
{
    uintptr_t wrong = 0;
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        char name[32];
        satchel_var *a, *b;
        (void)snprintf(name, sizeof name, "churn.%d", i % 7);
        if (satchel_variable(name, &a) != SATCHEL_OK || satchel_variable(name, &b) != SATCHEL_OK)
            return (void *)1;
        wrong += a != b || strcmp(satchel_var_name(a), name) != 0;
        satchel_var_unref(a);
        satchel_var_unref(b);
    }
    return (void *)wrong;
}

static void one_name_is_one_variable(void **state)
{
    (void)state;
    satchel_counts before = counts();
    pthread_t threads[READERS];
    for (int i = 0; i < READERS; i++)
        threads[i] = start(intern, NULL);
    for (int i = 0; i < READERS; i++)
        assert_null(join(threads[i]));
    expect_counts(&before);
}

/* ---- calls on other threads ---- */

static void *read_shared(void *arg)
{
    void *data = NULL;
    (void)arg;
    (void)satchel_get(shared, &data);
    char *copy = data ? strdup(data) : NULL;
    (void)satchel_set_string(shared, "the call's own", NULL);
    return copy;
}

static void *wait_for_another(void *arg)
{
    intptr_t depth = (intptr_t)arg;
    if (depth == 0)
        return read_shared(NULL);
    satchel_call *call = satchel_async(wait_for_another, (void *)(depth - 1));
    void *result = NULL;
    if (call && satchel_call_wait(call, -1) == SATCHEL_OK)
        (void)satchel_call_take(call, &result);
    satchel_call_unref(call);
    return result;
}

static void calls_run_in_their_callers_context(void **state)
{
    (void)state;
    enum { N = 64 };
    satchel_call *calls[N];
    shared = var_new("shared");
    for (int i = 0; i < N; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "%d", i);
        assert_int_equal(satchel_set_string(shared, text, NULL), SATCHEL_OK);
        calls[i] = satchel_async(i % 4 ? read_shared : wait_for_another, (void *)(intptr_t)8);
        assert_non_null(calls[i]);
    }
    assert_int_equal(satchel_set_string(shared, "later", NULL), SATCHEL_OK);
    for (int i = 0; i < N; i++) {
        void *result = NULL;
        assert_int_equal(satchel_call_wait(calls[i], -1), SATCHEL_OK);
        assert_int_equal(satchel_call_take(calls[i], &result), SATCHEL_OK);
        assert_int_equal(strtol(result, NULL, 10), i); /* as it was at the call */
        free(result);
        assert_int_equal(satchel_call_take(calls[i], &result), SATCHEL_EUSED);
        satchel_call_unref(calls[i]);
    }
    void *data;
    assert_int_equal(satchel_get(shared, &data), SATCHEL_OK);
    assert_string_equal(data, "later");
    assert_null(satchel_async(NULL, NULL));
    assert_int_equal(satchel_call_wait(NULL, 0), SATCHEL_EINVAL);
    assert_int_equal(satchel_call_take(NULL, &data), SATCHEL_EINVAL);
    assert_int_equal(satchel_thread_reset(), SATCHEL_OK);
    satchel_var_unref(shared);
}

static void *wait_until_told(void *arg)
{
    while (!atomic_load((atomic_bool *)arg))
        (void)sched_yield();
    return NULL;
}

static void waiting_has_a_limit(void **state)
{
    (void)state;
    static atomic_bool told;
    void *result;
    satchel_call *call = satchel_async(wait_until_told, &told);
    assert_non_null(call);
    assert_int_equal(satchel_call_wait(call, 0), SATCHEL_UNSET);
    assert_int_equal(satchel_call_wait(call, 1000000), SATCHEL_UNSET);
    assert_int_equal(satchel_call_take(call, &result), SATCHEL_UNSET);
    atomic_store(&told, true);
    assert_int_equal(satchel_call_wait(call, INT64_C(10000000000)), SATCHEL_OK);
    assert_int_equal(satchel_call_take(call, &result), SATCHEL_OK);
    satchel_call_unref(call);
}

/* ---- fork ---- */

static void a_forked_child_goes_on(void **state)
{
    (void)state;
    shared = var_new("shared");
    assert_int_equal(satchel_set_string(shared, "before", NULL), SATCHEL_OK);
    pid_t pid = fork();
    if (pid == 0) {
        void *data = NULL;
        bool good = satchel_get(shared, &data) == SATCHEL_OK && strcmp(data, "before") == 0;
        good = good && satchel_set_string(shared, "child's", NULL) == SATCHEL_OK;
        satchel_context *copy = satchel_capture();
        good = good && copy && satchel_context_len(copy) == 1;
        satchel_context_unref(copy);
        satchel_var *made;
        good = good && satchel_variable("forked", &made) == SATCHEL_OK;
        _exit(good ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    void *data;
    assert_int_equal(satchel_get(shared, &data), SATCHEL_OK);
    assert_string_equal(data, "before");
    assert_int_equal(satchel_thread_reset(), SATCHEL_OK);
    satchel_var_unref(shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_see_whole_snapshots),
        cmocka_unit_test(copies_stay_apart),
        cmocka_unit_test(a_context_is_entered_by_one_thread_at_a_time),
        cmocka_unit_test(a_thread_starts_in_a_copy),
        cmocka_unit_test(what_is_left_entered_is_exited),
        cmocka_unit_test(run_is_left_where_its_function_ends_the_thread),
        cmocka_unit_test(tokens_are_cleared_anywhere),
        cmocka_unit_test(a_tree_fires_while_it_grows),
        cmocka_unit_test(threads_inherit_their_cancellation),
        cmocka_unit_test(deadlines_only_move_earlier),
        cmocka_unit_test(one_name_is_one_variable),
        cmocka_unit_test(a_forked_child_goes_on),
        cmocka_unit_test(calls_run_in_their_callers_context),
        cmocka_unit_test(waiting_has_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
