/* The current context of each thread: get, set, reset, tokens; contexts, entering and leaving them.
 *
 * Each thread has a pointer to its current context's box; below the stack lies the thread's implicit one, which
 * nobody else can reach.  Reading is two loads from there.
 * Thread: as the public header says for each function. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "proto/context/internal.h"

struct thread_state {
    satchel_context *current; /* NULL: nothing entered */
    struct snapshot *implicit_snapshot;
    uint64_t implicit_id;
    bool registered; /* for the clean-up at thread exit */
};

static __thread struct thread_state self __attribute__((tls_model("initial-exec")));
static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;

/* ---- the thread ---- */

static int leave_all(void)
{
    int left = 0;
    while (self.current) {
        satchel_context *ctx = self.current;
        self.current = ctx->below;
        ctx->below = NULL;
        atomic_store_explicit(&ctx->entered, false, memory_order_release);
        satchel_context_unref(ctx);
        left++;
    }
    return left;
}

static void on_thread_exit(void *arg)
{
    (void)arg;
    int left = leave_all();
    if (left)
        count_add(COUNT_MISUSE, left);
    struct snapshot *implicit = self.implicit_snapshot;
    self.implicit_snapshot = NULL;
    self.registered = false; /* a destroy callback may use the library again: another round then */
    snapshot_unref(implicit);
}

static void make_key(void)
{
    (void)pthread_key_create(&exit_key, on_thread_exit);
}

static void register_thread(void)
{
    if (self.registered)
        return;
    (void)pthread_once(&exit_once, make_key);
    (void)pthread_setspecific(exit_key, &self);
    self.registered = true;
}

int satchel_thread_reset(void)
{
    if (self.current)
        return SATCHEL_EENTERED;
    struct snapshot *implicit = self.implicit_snapshot;
    self.implicit_snapshot = NULL;
    self.implicit_id = 0; /* tokens of the earlier binding are of another context from now on */
    snapshot_unref(implicit);
    return SATCHEL_OK;
}

void thread_adopt(struct snapshot *s)
{
    register_thread();
    self.implicit_snapshot = s;
}

/* ---- reading ---- */

static inline const struct snapshot *current_snapshot(void)
{
    const satchel_context *ctx = self.current;
    const struct snapshot *s = ctx ? ctx->snapshot : self.implicit_snapshot;
    return s ? s : &empty_snapshot;
}

satchel_value *current_get(const satchel_var *var)
{
    return snapshot_get(current_snapshot(), var);
}

int satchel_get(const satchel_var *var, void **data)
{
    if (!var || !data)
        return SATCHEL_EINVAL;
    const satchel_value *value = current_get(var);
    if (!value)
        value = var->dflt;
    *data = value ? value->data : NULL;
    return value ? SATCHEL_OK : SATCHEL_UNSET;
}

void *satchel_get_or(const satchel_var *var, void *fallback)
{
    const satchel_value *value = var ? current_get(var) : NULL;
    return value ? value->data : fallback;
}

int satchel_get_value(const satchel_var *var, satchel_value **value)
{
    if (!var || !value)
        return SATCHEL_EINVAL;
    satchel_value *found = current_get(var);
    if (!found)
        found = var->dflt;
    *value = satchel_value_ref(found);
    return found ? SATCHEL_OK : SATCHEL_UNSET;
}

static inline const char *known_text(unsigned slot)
{
    const satchel_value *value = current_snapshot()->known[slot];
    return value ? value->data : NULL;
}

const char *satchel_tenant(void)
{
    return known_text(SATCHEL_TENANT);
}

const char *satchel_traceparent(void)
{
    return known_text(SATCHEL_TRACEPARENT);
}

const char *satchel_tracestate(void)
{
    return known_text(SATCHEL_TRACESTATE);
}

const char *satchel_baggage(void)
{
    return known_text(SATCHEL_BAGGAGE);
}

const char *satchel_request_id(void)
{
    return known_text(SATCHEL_REQUEST_ID);
}

const char *satchel_correlation_id(void)
{
    return known_text(SATCHEL_CORRELATION_ID);
}

const char *satchel_task_id(void)
{
    return known_text(SATCHEL_TASK_ID);
}

/* ---- tokens ---- */

enum token_state { TOKEN_EMPTY, TOKEN_PENDING, TOKEN_USED };

struct token { /* what lies in satchel_token.opaque */
    uint64_t state;
    satchel_var *var;   /* a reference while pending; borrowed for comparison once used */
    satchel_value *old; /* a reference while pending; NULL: there was none */
    uint64_t context;   /* its id */
};

_Static_assert(sizeof(struct token) <= sizeof(satchel_token), "a token fits into the public struct");

static struct token *token_of(const satchel_token *token)
{
    return (struct token *)(uintptr_t)token;
}

satchel_var *satchel_token_var(const satchel_token *token)
{
    return token && token_of(token)->state == TOKEN_PENDING ? token_of(token)->var : NULL;
}

int satchel_token_old(const satchel_token *token, void **data)
{
    if (!token || !data || token_of(token)->state != TOKEN_PENDING)
        return SATCHEL_EINVAL;
    const satchel_value *old = token_of(token)->old;
    *data = old ? old->data : NULL;
    return old ? SATCHEL_OK : SATCHEL_UNSET;
}

bool satchel_token_used(const satchel_token *token)
{
    return token && token_of(token)->state == TOKEN_USED;
}

static void token_finish(struct token *t, enum token_state state)
{
    satchel_var *var = t->var;
    satchel_value *old = t->old;
    bool pending = t->state == TOKEN_PENDING;
    *t = (struct token){.state = state};
    if (!pending)
        return;
    count_add(COUNT_TOKENS, -1);
    satchel_value_unref(old);
    satchel_var_unref(var);
}

void satchel_token_clear(satchel_token *token)
{
    if (token)
        token_finish(token_of(token), TOKEN_EMPTY);
}

void satchel_token_end(satchel_token *token)
{
    if (!token || token_of(token)->state != TOKEN_PENDING)
        return;
    if (satchel_reset(token_of(token)->var, token) != SATCHEL_OK) {
        count_add(COUNT_MISUSE, 1);
        satchel_token_clear(token);
    }
}

/* ---- writing ---- */

static uint64_t current_id(void)
{
    if (self.current)
        return self.current->id;
    if (!self.implicit_id)
        self.implicit_id = unique_id();
    return self.implicit_id;
}

/* Puts a value into the current context; *ret_old is the caller's to end. */
static int put(satchel_var *var, satchel_value *value, satchel_value **ret_old)
{
    struct snapshot *garbage = NULL;
    int status;
    satchel_context *ctx = self.current;
    if (ctx) {
        lock_context(ctx);
        status = snapshot_set(&ctx->snapshot, var, value, true, ret_old, &garbage);
        unlock_context(ctx);
    } else {
        register_thread();
        struct snapshot *s = self.implicit_snapshot ? self.implicit_snapshot : &empty_snapshot;
        status = snapshot_set(&s, var, value, true, ret_old, &garbage);
        self.implicit_snapshot = s;
    }
    snapshot_unref(garbage);
    return status;
}

int current_set(satchel_var *var, satchel_value *value, satchel_token *token)
{
    if (!var || (token && token_of(token)->state == TOKEN_PENDING))
        return SATCHEL_EINVAL;
    satchel_value *old;
    int status = put(var, value, &old);
    if (status != SATCHEL_OK)
        return status;
    if (!token) {
        satchel_value_unref(old);
        return SATCHEL_OK;
    }
    *token_of(token) =
        (struct token){.state = TOKEN_PENDING, .var = satchel_var_ref(var), .old = old, .context = current_id()};
    count_add(COUNT_TOKENS, 1);
    return SATCHEL_OK;
}

int satchel_set_value(satchel_var *var, satchel_value *value, satchel_token *token)
{
    if (!var || !value)
        return SATCHEL_EINVAL;
    if (value->type != var->type && var->immortal)
        return SATCHEL_EINVAL; /* the well-known readers rely on their type */
    return current_set(var, value, token);
}

int satchel_set(satchel_var *var, void *data, satchel_token *token)
{
    if (!var)
        return SATCHEL_EINVAL;
    if (var->immortal) { /* what it holds is parsed: it is given as text */
        int status = data ? satchel_set_string(var, data, token) : SATCHEL_EINVAL;
        if (status == SATCHEL_OK)
            free(data);
        return status;
    }
    satchel_value *value;
    int status = satchel_value_new(var->type, data, &value);
    if (status != SATCHEL_OK)
        return status;
    status = current_set(var, value, token);
    if (status != SATCHEL_OK) { /* the data stays the caller's */
        count_add(COUNT_VALUES, -1);
        free(value);
        return status;
    }
    satchel_value_unref(value);
    return SATCHEL_OK;
}

int satchel_set_stringn(satchel_var *var, const char *text, size_t len, satchel_token *token)
{
    if (!var || !text)
        return SATCHEL_EINVAL;
    satchel_value *value;
    int status = var->immortal ? var_decode(var, text, len, &value) : value_decode(var->type, text, len, &value);
    if (status != SATCHEL_OK)
        return status;
    status = current_set(var, value, token);
    satchel_value_unref(value);
    return status;
}

int satchel_set_string(satchel_var *var, const char *text, satchel_token *token)
{
    return text ? satchel_set_stringn(var, text, strlen(text), token) : SATCHEL_EINVAL;
}

int satchel_unset(satchel_var *var, satchel_token *token)
{
    return var ? current_set(var, NULL, token) : SATCHEL_EINVAL;
}

int satchel_reset(satchel_var *var, satchel_token *token)
{
    if (!var || !token || token_of(token)->state == TOKEN_EMPTY)
        return SATCHEL_EINVAL;
    struct token *t = token_of(token);
    if (t->state == TOKEN_USED)
        return SATCHEL_EUSED;
    if (t->var != var)
        return SATCHEL_EVAR;
    if (t->context != current_id()) {
        count_add(COUNT_MISUSE, 1);
        return SATCHEL_ECONTEXT;
    }
    satchel_value *replaced;
    int status = put(var, t->old, &replaced);
    if (status != SATCHEL_OK)
        return status;
    token_finish(t, TOKEN_USED);
    satchel_value_unref(replaced);
    return SATCHEL_OK;
}

/* ---- contexts ---- */

satchel_context *context_with_snapshot(struct snapshot *s)
{
    satchel_context *ctx = malloc(sizeof *ctx);
    if (!ctx) {
        snapshot_unref(s);
        return NULL;
    }
    ctx->snapshot = s;
    atomic_flag_clear_explicit(&ctx->lock, memory_order_relaxed);
    atomic_init(&ctx->refs, 1);
    atomic_init(&ctx->entered, false);
    ctx->id = unique_id();
    ctx->below = NULL;
    count_add(COUNT_CONTEXTS, 1);
    return ctx;
}

struct snapshot *context_snapshot(const satchel_context *ctx)
{
    if (!ctx || ctx == self.current)
        return snapshot_ref((struct snapshot *)(uintptr_t)(ctx ? ctx->snapshot : current_snapshot()));
    satchel_context *box = (satchel_context *)(uintptr_t)ctx;
    lock_context(box);
    struct snapshot *s = snapshot_ref(box->snapshot);
    unlock_context(box);
    return s;
}

satchel_context *satchel_context_new(void)
{
    return context_with_snapshot(&empty_snapshot);
}

satchel_context *satchel_capture(void)
{
    return context_with_snapshot(context_snapshot(NULL));
}

satchel_context *satchel_context_copy(const satchel_context *ctx)
{
    return context_with_snapshot(context_snapshot(ctx));
}

int satchel_context_with(const satchel_context *base, satchel_var *var, satchel_value *value, satchel_context **out)
{
    if (!var || !value || !out || (value->type != var->type && var->immortal))
        return SATCHEL_EINVAL;
    satchel_context *ctx = satchel_context_copy(base);
    if (!ctx)
        return SATCHEL_ENOMEM;
    satchel_value *old;
    struct snapshot *garbage;
    int status = snapshot_set(&ctx->snapshot, var, value, true, &old, &garbage);
    if (status != SATCHEL_OK) {
        satchel_context_unref(ctx);
        return status;
    }
    snapshot_unref(garbage);
    satchel_value_unref(old);
    *out = ctx;
    return SATCHEL_OK;
}

satchel_context *satchel_context_ref(satchel_context *ctx)
{
    if (ctx)
        atomic_fetch_add_explicit(&ctx->refs, 1, memory_order_relaxed);
    return ctx;
}

void satchel_context_unref(satchel_context *ctx)
{
    if (!ctx || atomic_fetch_sub_explicit(&ctx->refs, 1, memory_order_acq_rel) != 1)
        return;
    snapshot_unref(ctx->snapshot);
    free(ctx);
    count_add(COUNT_CONTEXTS, -1);
}

int satchel_context_enter(satchel_context *ctx)
{
    if (!ctx)
        return SATCHEL_EINVAL;
    if (atomic_exchange_explicit(&ctx->entered, true, memory_order_acquire))
        return SATCHEL_EENTERED;
    register_thread();
    (void)satchel_context_ref(ctx);
    ctx->below = self.current;
    self.current = ctx;
    return SATCHEL_OK;
}

int satchel_context_exit(satchel_context *ctx)
{
    if (!ctx)
        return SATCHEL_EINVAL;
    if (self.current != ctx) {
        count_add(COUNT_MISUSE, 1);
        return SATCHEL_ENOTCURRENT;
    }
    self.current = ctx->below;
    ctx->below = NULL;
    atomic_store_explicit(&ctx->entered, false, memory_order_release);
    satchel_context_unref(ctx);
    return SATCHEL_OK;
}

static void exit_on_unwind(void *arg)
{
    satchel_context *ctx = arg;
    while (self.current && self.current != ctx) { /* entered by fn and not left */
        count_add(COUNT_MISUSE, 1);
        (void)satchel_context_exit(self.current);
    }
    (void)satchel_context_exit(ctx);
}

int satchel_context_run(satchel_context *ctx, int (*fn)(void *arg), void *arg, int *result)
{
    if (!ctx || !fn)
        return SATCHEL_EINVAL;
    int status = satchel_context_enter(ctx);
    if (status != SATCHEL_OK)
        return status;
    int returned;
    pthread_cleanup_push(exit_on_unwind, ctx);
    returned = fn(arg);
    pthread_cleanup_pop(1);
    if (result)
        *result = returned;
    return SATCHEL_OK;
}

bool satchel_context_entered(const satchel_context *ctx)
{
    return ctx && atomic_load_explicit(&ctx->entered, memory_order_relaxed);
}

satchel_context *satchel_context_current(void)
{
    return self.current;
}

/* ---- as a mapping ---- */

size_t satchel_context_len(const satchel_context *ctx)
{
    struct snapshot *s = context_snapshot(ctx);
    size_t len = s->count;
    snapshot_unref(s);
    return len;
}

bool satchel_context_has(const satchel_context *ctx, const satchel_var *var)
{
    if (!var)
        return false;
    struct snapshot *s = context_snapshot(ctx);
    bool has = snapshot_get(s, var) != NULL;
    snapshot_unref(s);
    return has;
}

int satchel_context_get(const satchel_context *ctx, const satchel_var *var, satchel_value **value)
{
    if (!var || !value)
        return SATCHEL_EINVAL;
    struct snapshot *s = context_snapshot(ctx);
    *value = satchel_value_ref(snapshot_get(s, var));
    snapshot_unref(s);
    return *value ? SATCHEL_OK : SATCHEL_UNSET;
}

struct each {
    int (*fn)(satchel_var *var, void *data, void *arg);
    void *arg;
};

static int each_data(satchel_var *var, satchel_value *value, void *arg)
{
    const struct each *each = arg;
    return each->fn(var, value->data, each->arg);
}

int satchel_context_each(const satchel_context *ctx, int (*fn)(satchel_var *var, void *data, void *arg), void *arg)
{
    if (!fn)
        return SATCHEL_EINVAL;
    struct snapshot *s = context_snapshot(ctx);
    int stop = snapshot_each(s, each_data, &(struct each){fn, arg});
    snapshot_unref(s);
    return stop;
}

bool satchel_context_equal(const satchel_context *a, const satchel_context *b)
{
    struct snapshot *x = context_snapshot(a), *y = context_snapshot(b);
    bool equal = snapshot_equal(x, y);
    snapshot_unref(x);
    snapshot_unref(y);
    return equal;
}
