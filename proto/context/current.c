/* Get, set and reset in the calling thread's current context; tokens.  A read is two loads from the thread's own
 * state, without a lock or an allocation (R4).
 * Thread: the calling one; tokens as the public header says. */
#include <stdlib.h>
#include <string.h>

#include "proto/context/internal.h"

/* ---- reading ---- */

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
    *value = found ? value_ref(found) : NULL;
    return found ? SATCHEL_OK : SATCHEL_UNSET;
}

const char *satchel_tenant(void)
{
    return self.known->data[SATCHEL_TENANT];
}

const char *satchel_traceparent(void)
{
    return self.known->data[SATCHEL_TRACEPARENT];
}

const char *satchel_tracestate(void)
{
    return self.known->data[SATCHEL_TRACESTATE];
}

const char *satchel_baggage(void)
{
    return self.known->data[SATCHEL_BAGGAGE];
}

const char *satchel_request_id(void)
{
    return self.known->data[SATCHEL_REQUEST_ID];
}

const char *satchel_correlation_id(void)
{
    return self.known->data[SATCHEL_CORRELATION_ID];
}

const char *satchel_task_id(void)
{
    return self.known->data[SATCHEL_TASK_ID];
}

/* ---- tokens ---- */

enum token_stage { TOKEN_EMPTY, TOKEN_PENDING, TOKEN_USED };

struct token { /* what lies in satchel_token.opaque */
    uint64_t stage;
    satchel_var *var;   /* a reference while pending */
    satchel_value *old; /* a reference while pending; NULL: there was none */
    uint64_t context;   /* its id */
} __attribute__((may_alias));

_Static_assert(sizeof(struct token) <= sizeof(satchel_token), "a token fits into the public struct");

static struct token *token_of(const satchel_token *token)
{
    return (struct token *)(uintptr_t)token;
}

static bool is_pending(const satchel_token *token)
{
    return token && token_of(token)->stage == TOKEN_PENDING;
}

satchel_var *satchel_token_var(const satchel_token *token)
{
    return is_pending(token) ? token_of(token)->var : NULL;
}

int satchel_token_old(const satchel_token *token, void **data)
{
    if (!data || !is_pending(token))
        return SATCHEL_EINVAL;
    const satchel_value *old = token_of(token)->old;
    *data = old ? old->data : NULL;
    return old ? SATCHEL_OK : SATCHEL_UNSET;
}

bool satchel_token_used(const satchel_token *token)
{
    return token && token_of(token)->stage == TOKEN_USED;
}

/* A pending token ends: *old is the caller's now. */
static void finish(struct token *t, enum token_stage stage, satchel_value **old)
{
    satchel_var *var = t->var;
    *old = t->old;
    *t = (struct token){.stage = stage};
    count_add(COUNT_TOKENS, -1);
    satchel_var_unref(var);
}

void satchel_token_clear(satchel_token *token)
{
    if (!token)
        return;
    satchel_value *old = NULL;
    if (is_pending(token))
        finish(token_of(token), TOKEN_EMPTY, &old);
    else
        *token_of(token) = (struct token){.stage = TOKEN_EMPTY};
    value_unref(old);
}

void satchel_token_end(satchel_token *token)
{
    if (!is_pending(token))
        return;
    int status = satchel_reset(token_of(token)->var, token);
    if (status == SATCHEL_OK)
        return;
    if (status != SATCHEL_ECONTEXT) /* that has been counted */
        count_add(COUNT_MISUSE, 1);
    satchel_token_clear(token);
}

/* ---- writing ---- */

uint64_t current_id(void)
{
    if (self.current)
        return self.current->id;
    if (!self.implicit_id)
        self.implicit_id = unique_id();
    return self.implicit_id;
}

int current_put(satchel_var *var, satchel_value *value, satchel_value **ret_old)
{
    satchel_context *ctx = self.current;
    if (!ctx)
        thread_register();
    struct leftover left;
    int status = snapshot_bind(ctx ? &ctx->snapshot : &self.implicit, ctx, var, value, ret_old != NULL, &left);
    if (status != SATCHEL_OK)
        return status;
    thread_refresh();
    leftover_release(&left);
    if (ret_old)
        *ret_old = left.old;
    return SATCHEL_OK;
}

int current_bind(satchel_var *var, satchel_value *value, satchel_token *token)
{
    if (is_pending(token))
        return SATCHEL_EINVAL;
    if (!token)
        return current_put(var, value, NULL);
    satchel_value *old;
    (void)var_ref(var); /* before it might lose its last one, with an unset */
    int status = current_put(var, value, &old);
    if (status != SATCHEL_OK) {
        satchel_var_unref(var);
        return status;
    }
    *token_of(token) = (struct token){.stage = TOKEN_PENDING, .var = var, .old = old, .context = current_id()};
    count_add(COUNT_TOKENS, 1);
    return SATCHEL_OK;
}

/* What a set of `value` binds: the well-known variables check and parse.  *out is a reference of the caller's. */
static int accepted(const satchel_var *var, satchel_value *value, satchel_value **out)
{
    if (var->slot != SLOT_NONE)
        return known_value(var, value, current_get(var), out);
    *out = value_ref(value);
    return SATCHEL_OK;
}

static int bind_checked(satchel_var *var, satchel_value *value, satchel_token *token)
{
    satchel_value *taken;
    if (is_pending(token))
        return SATCHEL_EINVAL;
    int status = accepted(var, value, &taken);
    if (status != SATCHEL_OK)
        return status;
    status = current_bind(var, taken, token);
    if (status != SATCHEL_OK)
        value_unref(taken);
    return status;
}

int satchel_set_value(satchel_var *var, satchel_value *value, satchel_token *token)
{
    return var && value ? bind_checked(var, value, token) : SATCHEL_EINVAL;
}

int satchel_set(satchel_var *var, void *data, satchel_token *token)
{
    if (!var)
        return SATCHEL_EINVAL;
    /* A well-known variable is given text from malloc: what it holds may be parsed. */
    const satchel_type *type = var->slot != SLOT_NONE ? &satchel_string_type : var->type;
    satchel_value *value;
    int status = satchel_value_new(type, data, &value);
    if (status != SATCHEL_OK)
        return status;
    status = var->slot != SLOT_NONE ? bind_checked(var, value, token) : current_bind(var, value, token);
    if (status != SATCHEL_OK)
        value_disown(value); /* the data stays the caller's */
    else if (var->slot != SLOT_NONE)
        value_unref(value);
    return status;
}

int satchel_set_stringn(satchel_var *var, const char *text, size_t len, satchel_token *token)
{
    if (!var || (!text && len) || is_pending(token))
        return SATCHEL_EINVAL;
    satchel_value *value;
    bool known = var->slot != SLOT_NONE;
    int status = known ? satchel_value_string(text, len, &value) : value_from_text(var->type, text, len, &value);
    if (status != SATCHEL_OK)
        return status;
    status = known ? bind_checked(var, value, token) : current_bind(var, value, token);
    if (known || status != SATCHEL_OK)
        value_unref(value);
    return status;
}

int satchel_set_string(satchel_var *var, const char *text, satchel_token *token)
{
    return text ? satchel_set_stringn(var, text, strlen(text), token) : SATCHEL_EINVAL;
}

int satchel_unset(satchel_var *var, satchel_token *token)
{
    return var ? current_bind(var, NULL, token) : SATCHEL_EINVAL;
}

int satchel_reset(satchel_var *var, satchel_token *token)
{
    if (!var || !token || token_of(token)->stage == TOKEN_EMPTY)
        return SATCHEL_EINVAL;
    struct token *t = token_of(token);
    if (t->stage == TOKEN_USED)
        return SATCHEL_EUSED;
    if (t->var != var)
        return SATCHEL_EVAR;
    if (t->context != current_id()) {
        count_add(COUNT_MISUSE, 1);
        return SATCHEL_ECONTEXT;
    }
    satchel_value *replaced, *old;
    int status = current_put(var, t->old, &replaced); /* hands the token's reference of the old value over */
    if (status != SATCHEL_OK)
        return status;
    finish(t, TOKEN_USED, &old);
    value_unref(replaced);
    return SATCHEL_OK;
}
