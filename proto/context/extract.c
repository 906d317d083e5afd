/* Carrier fields to a context.  What travels is declared by the variables themselves: a field is looked up by name.
 *
 * W3C Trace Context: a bad or repeated traceparent restarts the trace and takes tracestate with it; a bad tracestate
 * is dropped.  W3C Baggage: bad members are left out.  Ours: a bad tenant is an error, since a task must not run as
 * nobody; anything else bad is left out and told.  Fields that are not ours cost a comparison of lengths and no
 * allocation.  Thread: any. */
#include <string.h>

#include "proto/context/wire.h"

struct lines { /* the fields of one name among all */
    size_t first, count;
};

struct extract {
    struct snapshot *snapshot; /* ours alone */
    const satchel_field *fields;
    size_t n;
    enum source source;
    satchel_problem *problems;
    size_t room, n_problems;
    struct lines traceparent, tracestate, baggage, b3;
    const satchel_field *tenant; /* the first, by either name */
    bool tenants_differ;
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
    return var->interned ? TASK_VAR_PREFIX : var->header;
}

static void note(struct lines *lines, size_t at)
{
    if (lines->count++ == 0)
        lines->first = at;
}

static struct slice value_of(const struct extract *x, const satchel_field *field)
{
    struct slice v = slice_of(field->value, field->value_len);
    if (x->source == SOURCE_STORED)
        return v;
    for (; v.len && (v.data[0] == ' ' || v.data[0] == '\t'); v.len--)
        v.data++;
    while (v.len && (v.data[v.len - 1] == ' ' || v.data[v.len - 1] == '\t'))
        v.len--;
    return v;
}

/* ---- binding ---- */

static int decode(const struct extract *x, const satchel_var *var, struct slice text, satchel_value **out)
{
    if (x->source != SOURCE_STORED && text.len > var->max_len)
        return SATCHEL_ELIMIT;
    for (size_t i = 0; i < text.len && x->source == SOURCE_WIRE; i++)
        if (text.data[i] == '\r' || text.data[i] == '\n' || text.data[i] == '\0')
            return SATCHEL_EGRAMMAR;
    const char *data = text.data ? text.data : "";
    return var->make ? var->make(data, text.len, out) : value_from_text(var->type, data, text.len, out);
}

static bool never_fatal(const satchel_var *var) /* the W3C says: ignore */
{
    return var->slot == SATCHEL_TRACEPARENT || var->slot == SATCHEL_TRACESTATE || var->slot == SATCHEL_BAGGAGE ||
           var->slot == SLOT_B3_FLAGS;
}

/* SATCHEL_OK also where the text is no good and that is no error; it is told then. */
static int bind_text(struct extract *x, satchel_var *var, struct slice text)
{
    satchel_value *value;
    int status = decode(x, var, text, &value);
    if (status == SATCHEL_OK) {
        status = snapshot_build(&x->snapshot, var, value);
        if (status != SATCHEL_OK)
            value_unref(value);
        return status;
    }
    if (status == SATCHEL_ENOMEM)
        return status;
    tell(x, told_name(var), status);
    return x->source == SOURCE_STORED && !never_fatal(var) ? status : SATCHEL_OK;
}

/* ---- sorting ---- */

static void note_tenant(struct extract *x, const satchel_field *field)
{
    if (x->tenant && !slice_eq(value_of(x, x->tenant), value_of(x, field)))
        x->tenants_differ = true;
    if (!x->tenant)
        x->tenant = field;
}

static int take_simple(struct extract *x, satchel_var *var, const satchel_field *field)
{
    if (snapshot_get(x->snapshot, var)) { /* a second line: the first one counts */
        tell(x, told_name(var), SATCHEL_EGRAMMAR);
        return SATCHEL_OK;
    }
    return bind_text(x, var, value_of(x, field));
}

static int take_known(struct extract *x, satchel_var *var, size_t at)
{
    switch (var->slot) {
    case SATCHEL_TENANT: note_tenant(x, &x->fields[at]); return SATCHEL_OK;
    case SATCHEL_TRACEPARENT: note(&x->traceparent, at); return SATCHEL_OK;
    case SATCHEL_TRACESTATE: note(&x->tracestate, at); return SATCHEL_OK;
    case SATCHEL_BAGGAGE: note(&x->baggage, at); return SATCHEL_OK;
    case SATCHEL_TASK_ID:
    case SATCHEL_ATTEMPT:
        if (x->source == SOURCE_WIRE) /* the worker's to set */
            return SATCHEL_OK;
        break;
    default: break;
    }
    return take_simple(x, var, &x->fields[at]);
}

/* A task variable that nobody has made yet. */
static int take_new(struct extract *x, const satchel_field *field)
{
    static const char prefix[] = TASK_VAR_PREFIX;
    size_t start = sizeof prefix - 1, len = field->name_len;
    if (len <= start || !same_name(field->name, start, prefix, start))
        return SATCHEL_OK; /* not ours */
    char name[TASK_VAR_NAME_MAX + 1];
    if (len - start > TASK_VAR_NAME_MAX || memchr(field->name, '\0', len)) {
        tell(x, field->name, SATCHEL_EGRAMMAR);
        return SATCHEL_OK;
    }
    for (size_t i = start; i < len; i++)
        name[i - start] = (char)(field->name[i] >= 'A' && field->name[i] <= 'Z' ? field->name[i] + 32 : field->name[i]);
    name[len - start] = '\0';
    satchel_var *var;
    int status = satchel_variable(name, &var);
    if (status == SATCHEL_EINVAL) { /* a reserved name, or none at all */
        tell(x, field->name, SATCHEL_EGRAMMAR);
        return SATCHEL_OK;
    }
    if (status == SATCHEL_OK) {
        status = take_simple(x, var, field);
        satchel_var_unref(var);
    }
    return status;
}

static satchel_var *known_of(const struct extract *x, const satchel_field *field)
{
    return x->source == SOURCE_STORED ? known_by_key(field->name, field->name_len)
                                      : known_by_header(field->name, field->name_len);
}

static int take(struct extract *x, size_t at)
{
    static const char scope[] = "X-Scope-OrgID";
    const satchel_field *field = &x->fields[at];
    satchel_var *var = known_of(x, field);
    if (var)
        return take_known(x, var, at);
    if (x->source != SOURCE_STORED) {
        if (same_name(field->name, field->name_len, scope, sizeof scope - 1)) {
            note_tenant(x, field);
            return SATCHEL_OK;
        }
        unsigned enabled = propagators();
        if (enabled & (PROPAGATOR_B3 | PROPAGATOR_B3_MULTI) && b3_is_field(field, enabled)) {
            note(&x->b3, at);
            return SATCHEL_OK;
        }
    }
    var = registry_find(field->name, field->name_len);
    if (!var)
        return take_new(x, field);
    int status = take_simple(x, var, field);
    satchel_var_unref(var);
    return status;
}

/* ---- what needs all lines of a name ---- */

static size_t collect(const struct extract *x, const struct lines *lines, satchel_known which,
                      const satchel_field *to[MAX_LINES])
{
    size_t n = 0;
    for (size_t i = lines->first; i < x->n && n < lines->count && n < MAX_LINES; i++)
        if (known_of(x, &x->fields[i]) == &known_vars[which])
            to[n++] = &x->fields[i];
    return n;
}

static int finish_tenant(struct extract *x)
{
    satchel_var *var = &known_vars[SATCHEL_TENANT];
    if (!x->tenant)
        return SATCHEL_OK;
    satchel_value *value;
    int status = x->tenants_differ ? SATCHEL_EGRAMMAR : decode(x, var, value_of(x, x->tenant), &value);
    if (status == SATCHEL_OK) {
        status = snapshot_build(&x->snapshot, var, value);
        if (status != SATCHEL_OK)
            value_unref(value);
    } else if (status != SATCHEL_ENOMEM) {
        tell(x, var->header, status);
    }
    return status;
}

static int finish_b3(struct extract *x)
{
    if (!x->b3.count)
        return SATCHEL_OK;
    struct b3 b3;
    bool found = false, single = false;
    for (size_t i = x->b3.first; i < x->n && !single; i++) {
        single = same_name(x->fields[i].name, x->fields[i].name_len, "b3", 2);
        struct slice text = value_of(x, &x->fields[i]);
        found = single && propagators() & PROPAGATOR_B3 && b3_single(text.data, text.len, &b3);
    }
    if (!found && propagators() & PROPAGATOR_B3_MULTI)
        found = b3_multi(&x->fields[x->b3.first], x->n - x->b3.first, &b3);
    if (!found) {
        tell(x, x->fields[x->b3.first].name, SATCHEL_EGRAMMAR);
        return SATCHEL_OK;
    }
    char text[56];
    satchel_trace_format(&b3.trace, text);
    int status = bind_text(x, &known_vars[SATCHEL_TRACEPARENT], slice_of(text, 55));
    return status == SATCHEL_OK && b3.debug ? bind_text(x, &known_vars[SLOT_B3_FLAGS], SLICE_LITERAL("1")) : status;
}

static int finish_tracestate(struct extract *x)
{
    satchel_var *var = &known_vars[SATCHEL_TRACESTATE];
    if (!x->tracestate.count)
        return SATCHEL_OK;
    const satchel_field *lines[MAX_LINES];
    struct buf list = BUF_INIT;
    size_t n = collect(x, &x->tracestate, SATCHEL_TRACESTATE, lines);
    int status = x->tracestate.count > n ? SATCHEL_ELIMIT : tracestate_combine(lines, n, &list);
    if (status == SATCHEL_OK && list.len) {
        satchel_value *value;
        status = satchel_value_string(list.data, list.len, &value);
        if (status == SATCHEL_OK && (status = snapshot_build(&x->snapshot, var, value)) != SATCHEL_OK)
            value_unref(value);
    }
    buf_release(&list);
    if (status == SATCHEL_OK || status == SATCHEL_ENOMEM)
        return status;
    tell(x, var->header, status);
    return SATCHEL_OK;
}

static int finish_trace(struct extract *x)
{
    satchel_var *var = &known_vars[SATCHEL_TRACEPARENT];
    bool wanted = x->source == SOURCE_STORED || propagators() & PROPAGATOR_TRACE;
    int status = SATCHEL_OK;
    if (wanted && x->traceparent.count == 1)
        status = bind_text(x, var, value_of(x, &x->fields[x->traceparent.first]));
    else if (wanted && x->traceparent.count)
        tell(x, var->header, SATCHEL_EGRAMMAR); /* which one counts? none */
    if (status != SATCHEL_OK)
        return status;
    if (snapshot_get(x->snapshot, var))
        return finish_tracestate(x);
    if (wanted && x->tracestate.count)
        tell(x, known_vars[SATCHEL_TRACESTATE].header, SATCHEL_EGRAMMAR); /* of no trace */
    return finish_b3(x);
}

static int finish_baggage(struct extract *x)
{
    satchel_var *var = &known_vars[SATCHEL_BAGGAGE];
    if (!x->baggage.count || (x->source != SOURCE_STORED && !(propagators() & PROPAGATOR_BAGGAGE)))
        return SATCHEL_OK;
    const satchel_field *lines[MAX_LINES];
    struct buf list = BUF_INIT;
    size_t n = collect(x, &x->baggage, SATCHEL_BAGGAGE, lines);
    int status = baggage_combine(lines, n, &list);
    if (status == SATCHEL_OK && x->baggage.count > n)
        status = SATCHEL_ELIMIT;
    if (status != SATCHEL_OK && status != SATCHEL_ENOMEM) {
        tell(x, var->header, status);
        status = SATCHEL_OK;
    }
    if (status == SATCHEL_OK && list.len) {
        satchel_value *value;
        status = satchel_value_string(list.data, list.len, &value);
        if (status == SATCHEL_OK && (status = snapshot_build(&x->snapshot, var, value)) != SATCHEL_OK)
            value_unref(value);
    }
    buf_release(&list);
    return status;
}

int extract_snapshot(const satchel_field *fields, size_t n, enum source source, satchel_problem *problems,
                     size_t *n_problems, struct snapshot **ret)
{
    struct extract x = {.snapshot = &empty_snapshot, .fields = fields, .n = n, .source = source};
    x.problems = n_problems ? problems : NULL;
    x.room = n_problems ? *n_problems : 0;
    int status = SATCHEL_OK;
    for (size_t i = 0; i < n && status == SATCHEL_OK; i++)
        status = take(&x, i);
    if (status == SATCHEL_OK)
        status = finish_tenant(&x);
    if (status == SATCHEL_OK)
        status = finish_trace(&x);
    if (status == SATCHEL_OK)
        status = finish_baggage(&x);
    if (n_problems)
        *n_problems = x.n_problems;
    if (status == SATCHEL_OK)
        *ret = x.snapshot;
    else
        snapshot_unref(x.snapshot);
    return status;
}

int satchel_extract(const satchel_field *fields, size_t n, satchel_context **out, satchel_problem *problems,
                    size_t *n_problems)
{
    if (!out || (n && !fields))
        return SATCHEL_EINVAL;
    *out = NULL;
    struct snapshot *s;
    int status = extract_snapshot(fields, n, SOURCE_WIRE, problems, n_problems, &s);
    if (status != SATCHEL_OK)
        return status;
    *out = context_with_snapshot(s);
    return *out ? SATCHEL_OK : SATCHEL_ENOMEM;
}
