/* Carrier fields to context and back: the one table of what travels is the variables themselves.
 * Rules: W3C Trace Context (a bad traceparent restarts the trace and drops tracestate; a bad tracestate is dropped),
 * W3C Baggage (bad members are left out), and ours: a bad tenant is an error, everything else bad is left out and
 * told.  Thread: any. */
#include <string.h>

#include "proto/context/internal.h"

#define MAX_LINES 64u /* field lines of one name that are looked at */

struct gathered {
    const satchel_field *lines[MAX_LINES];
    size_t n;
    size_t seen; /* may exceed n */
};

struct extract {
    struct snapshot *snapshot; /* ours alone */
    satchel_problem *problems;
    size_t room, n_problems;
    struct gathered traceparent, tracestate, baggage, b3, b3_multi;
    const satchel_field *tenant, *scope;
    bool differs;
};

static void tell(struct extract *x, const char *name, int status)
{
    if (x->problems && x->n_problems < x->room)
        x->problems[x->n_problems] = (satchel_problem){.name = name, .status = status};
    x->n_problems++;
}

/* A task's own variable may go with the value that was refused: its name would dangle. */
static const char *told_name(const satchel_var *var)
{
    return var->interned ? BODY_VAR_PREFIX : var->header;
}

static void gather(struct gathered *g, const satchel_field *field)
{
    if (g->n < MAX_LINES)
        g->lines[g->n++] = field;
    g->seen++;
}

static int bind(struct extract *x, satchel_var *var, satchel_value *value)
{
    satchel_value *old;
    struct snapshot *garbage;
    int status = snapshot_set(&x->snapshot, var, value, true, &old, &garbage);
    if (status != SATCHEL_OK)
        return status;
    snapshot_unref(garbage);
    satchel_value_unref(old);
    return SATCHEL_OK;
}

/* Decodes and binds; what cannot be decoded is told, and only memory is an error. */
static int bind_text(struct extract *x, satchel_var *var, const char *text, size_t len)
{
    satchel_value *value;
    int status = var_decode(var, text, len, &value);
    if (status == SATCHEL_ENOMEM)
        return status;
    if (status != SATCHEL_OK) {
        tell(x, told_name(var), status);
        return SATCHEL_OK;
    }
    status = bind(x, var, value);
    satchel_value_unref(value);
    return status;
}

static bool same_value(const satchel_field *a, const satchel_field *b)
{
    return a->value_len == b->value_len && memcmp(a->value, b->value, a->value_len) == 0;
}

static void note_tenant(struct extract *x, const satchel_field **slot, const satchel_field *field)
{
    const satchel_field *other = x->tenant ? x->tenant : x->scope;
    if (other && !same_value(other, field))
        x->differs = true;
    if (!*slot)
        *slot = field;
}

static bool is(const satchel_field *field, const char *name)
{
    return header_equal(field->name, field->name_len, name);
}

/* Sorts one field into its drawer, or binds it at once. */
static int take(struct extract *x, const satchel_field *field)
{
    const satchel_var *tenant = &known_vars[SATCHEL_TENANT];
    switch (field->name_len) { /* the fixed names by length: most fields of a request are none of ours */
    case 2:
        if (propagators() & PROPAGATOR_B3 && is(field, "b3"))
            gather(&x->b3, field);
        break;
    case 7:
        if (is(field, "baggage")) {
            gather(&x->baggage, field);
            return SATCHEL_OK;
        }
        break;
    case 10:
        if (is(field, "tracestate")) {
            gather(&x->tracestate, field);
            return SATCHEL_OK;
        }
        break;
    case 11:
        if (is(field, "traceparent")) {
            gather(&x->traceparent, field);
            return SATCHEL_OK;
        }
        break;
    case 13:
        if (is(field, "X-Scope-OrgID")) {
            note_tenant(x, &x->scope, field);
            return SATCHEL_OK;
        }
        break;
    default: break;
    }
    if (is(field, tenant->header)) {
        note_tenant(x, &x->tenant, field);
        return SATCHEL_OK;
    }
    if (propagators() & PROPAGATOR_B3_MULTI && field->name_len > 5 && header_equal(field->name, 5, "X-B3-")) {
        gather(&x->b3_multi, field);
        return SATCHEL_OK;
    }
    satchel_var *var = var_by_header(field->name, field->name_len);
    if (!var)
        return SATCHEL_OK;
    int status = SATCHEL_OK;
    bool inwards = var != &known_vars[SATCHEL_TASK_ID] && var != &known_vars[SATCHEL_ATTEMPT];
    if (inwards && snapshot_get(x->snapshot, var))
        tell(x, told_name(var), SATCHEL_EGRAMMAR); /* a second line: the first one counts */
    else if (inwards)
        status = bind_text(x, var, field->value, field->value_len);
    satchel_var_unref(var);
    return status;
}

static int finish_tenant(struct extract *x)
{
    const satchel_field *field = x->tenant ? x->tenant : x->scope;
    if (!field)
        return SATCHEL_OK;
    if (x->differs)
        return SATCHEL_EGRAMMAR;
    satchel_var *var = &known_vars[SATCHEL_TENANT];
    satchel_value *value;
    int status = var_decode(var, field->value, field->value_len, &value);
    if (status != SATCHEL_OK)
        return status;
    status = bind(x, var, value);
    satchel_value_unref(value);
    return status;
}

static int finish_b3(struct extract *x)
{
    satchel_trace trace;
    bool found = x->b3.n && b3_single(x->b3.lines[0]->value, x->b3.lines[0]->value_len, &trace);
    if (!found)
        found = x->b3_multi.n && b3_multi(x->b3_multi.lines, x->b3_multi.n, &trace);
    if (!found)
        return SATCHEL_OK;
    char text[56];
    satchel_trace_format(&trace, text);
    return bind_text(x, &known_vars[SATCHEL_TRACEPARENT], text, 55);
}

static int finish_trace(struct extract *x)
{
    satchel_var *var = &known_vars[SATCHEL_TRACEPARENT];
    if (!(propagators() & PROPAGATOR_TRACE) || x->traceparent.seen == 0)
        return finish_b3(x);
    if (x->traceparent.seen > 1) {
        tell(x, var->header, SATCHEL_EGRAMMAR);
        return SATCHEL_OK;
    }
    int status = bind_text(x, var, x->traceparent.lines[0]->value, x->traceparent.lines[0]->value_len);
    if (status != SATCHEL_OK || !snapshot_get(x->snapshot, var) || x->tracestate.n == 0)
        return status;
    struct buf list = BUF_INIT;
    var = &known_vars[SATCHEL_TRACESTATE];
    status = x->tracestate.seen > MAX_LINES ? SATCHEL_ELIMIT
                                            : tracestate_combine(x->tracestate.lines, x->tracestate.n, &list);
    if (status == SATCHEL_OK && list.len)
        status = bind_text(x, var, list.data, list.len);
    else if (status != SATCHEL_OK && status != SATCHEL_ENOMEM) {
        tell(x, var->header, status);
        status = SATCHEL_OK;
    }
    buf_release(&list);
    return status;
}

static int finish_baggage(struct extract *x)
{
    if (x->baggage.n == 0 || !(propagators() & PROPAGATOR_BAGGAGE))
        return SATCHEL_OK;
    struct buf list = BUF_INIT;
    satchel_var *var = &known_vars[SATCHEL_BAGGAGE];
    int status = baggage_combine(x->baggage.lines, x->baggage.n, &list);
    if (status != SATCHEL_OK && status != SATCHEL_ENOMEM) {
        tell(x, var->header, status);
        status = SATCHEL_OK;
    }
    if (status == SATCHEL_OK && list.len)
        status = bind_text(x, var, list.data, list.len);
    buf_release(&list);
    return status;
}

int satchel_extract(const satchel_field *fields, size_t n, satchel_context **out, satchel_problem *problems,
                    size_t *n_problems)
{
    if (!out || (n && !fields))
        return SATCHEL_EINVAL;
    *out = NULL;
    struct extract x = {.snapshot = &empty_snapshot, .problems = n_problems ? problems : NULL};
    x.room = n_problems ? *n_problems : 0;
    int status = SATCHEL_OK;
    for (size_t i = 0; i < n && status == SATCHEL_OK; i++)
        status = take(&x, &fields[i]);
    if (status == SATCHEL_OK)
        status = finish_tenant(&x);
    if (status == SATCHEL_OK)
        status = finish_trace(&x);
    if (status == SATCHEL_OK)
        status = finish_baggage(&x);
    if (n_problems)
        *n_problems = x.n_problems;
    if (status != SATCHEL_OK) {
        snapshot_unref(x.snapshot);
        return status;
    }
    *out = context_with_snapshot(x.snapshot);
    return *out ? SATCHEL_OK : SATCHEL_ENOMEM;
}

/* ---- out ---- */

struct inject {
    int (*put)(const char *name, const char *value, size_t len, void *arg);
    void *arg;
    struct buf text;
};

static int put_b3(struct inject *x, const char *traceparent)
{
    char single[53]; /* {trace-id}-{span-id}-{sampled} */
    memcpy(single, traceparent + 3, 49);
    single[49] = '-';
    single[50] = (char)('0' + ((traceparent[54] - '0') & 1));
    single[51] = '\0';
    return x->put("b3", single, 51, x->arg);
}

static int put_field(satchel_var *var, satchel_value *value, void *arg)
{
    struct inject *x = arg;
    if (!(var->flags & SATCHEL_VAR_WIRE) || !value_text(var, value, &x->text))
        return 0;
    for (size_t i = 0; i < x->text.len; i++)
        if (x->text.data[i] == '\r' || x->text.data[i] == '\n' || x->text.data[i] == '\0')
            return 0; /* never a value that could end its header line */
    if (var == &known_vars[SATCHEL_TRACEPARENT] && propagators() & PROPAGATOR_B3) {
        int stop = put_b3(x, value->data);
        if (stop)
            return stop;
    }
    return x->put(var->header, x->text.data ? x->text.data : "", x->text.len, x->arg);
}

int satchel_inject(const satchel_context *ctx, int (*put)(const char *name, const char *value, size_t len, void *arg),
                   void *arg)
{
    if (!put)
        return SATCHEL_EINVAL;
    struct snapshot *s = context_snapshot(ctx);
    struct inject x = {.put = put, .arg = arg};
    int stop = snapshot_each(s, put_field, &x);
    buf_release(&x.text);
    snapshot_unref(s);
    return stop;
}
