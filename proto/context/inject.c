/* A context to carrier fields: every binding that travels, by the configured propagators, with a value that may stand
 * in a field line.  Thread: any. */
#include <string.h>

#include "proto/context/wire.h"

bool wire_text(const satchel_value *value, struct buf *scratch, struct slice *ret)
{
    const satchel_type *type = value->type;
    if (!type || !type->encode || !value->data)
        return false;
    if (type == &satchel_string_type || type == &trace_type || type == &deadline_type) { /* these begin with it */
        *ret = slice_str(value->data);
        return true;
    }
    buf_reset(scratch);
    size_t room = 256, need;
    for (int turn = 0; turn < 3; turn++, room = need) { /* an encoder that grows meanwhile does not go on for ever */
        if (!buf_reserve(scratch, room))
            return false;
        need = type->encode(value->data, scratch->data, room);
        if (need == SIZE_MAX)
            return false;
        if (need <= room) {
            *ret = slice_of(scratch->data, need);
            return true;
        }
    }
    return false;
}

struct out {
    const struct snapshot *snapshot;
    put_fn *put;
    void *arg;
    struct buf scratch;
    unsigned enabled;
    bool secrets;
};

static int put_trace(struct out *o, const char *traceparent)
{
    int stop = 0;
    if (o->enabled & PROPAGATOR_TRACE) {
        stop = o->put(known_vars[SATCHEL_TRACEPARENT].header, traceparent, strlen(traceparent), o->arg);
        const char *state = o->snapshot->known->data[SATCHEL_TRACESTATE];
        if (!stop && state)
            stop = o->put(known_vars[SATCHEL_TRACESTATE].header, state, strlen(state), o->arg);
    }
    if (stop || !(o->enabled & (PROPAGATOR_B3 | PROPAGATOR_B3_MULTI)))
        return stop;
    const char *debug = o->snapshot->known->data[SLOT_B3_FLAGS];
    return b3_put(traceparent, debug && strcmp(debug, "1") == 0, o->enabled, o->put, o->arg);
}

static int put_one(satchel_var *var, satchel_value *value, void *arg)
{
    struct out *o = arg;
    if (!(var->flags & SATCHEL_VAR_WIRE) || (var->flags & SATCHEL_VAR_SECRET && !o->secrets))
        return 0;
    switch (var->slot) {
    case SATCHEL_TRACEPARENT: return put_trace(o, value->data);
    case SATCHEL_TRACESTATE: /* goes with traceparent, and means nothing without */
    case SLOT_B3_FLAGS: return 0;
    case SATCHEL_BAGGAGE:
        if (!(o->enabled & PROPAGATOR_BAGGAGE))
            return 0;
        break;
    default: break;
    }
    struct slice text;
    if (!wire_text(value, &o->scratch, &text))
        return 0;
    return o->put(var->header, text.data, text.len, o->arg);
}

int wire_each(const struct snapshot *s, bool secrets, put_fn *put, void *arg)
{
    struct out o = {.snapshot = s, .put = put, .arg = arg, .enabled = propagators(), .secrets = secrets};
    int stop = snapshot_each(s, put_one, &o);
    buf_release(&o.scratch);
    return stop;
}

struct inject {
    put_fn *put;
    void *arg;
};

static int put_field(const char *name, const char *value, size_t len, void *arg)
{
    const struct inject *x = arg;
    for (size_t i = 0; i < len; i++) /* what could end or bend its line stays here */
        if (((unsigned char)value[i] < 0x20 && value[i] != '\t') || value[i] == 0x7f)
            return 0;
    return x->put(name, value, len, x->arg);
}

int satchel_inject(const satchel_context *ctx, int (*put)(const char *name, const char *value, size_t len, void *arg),
                   void *arg)
{
    if (!put)
        return SATCHEL_EINVAL;
    struct snapshot *s = context_snapshot(ctx);
    struct inject x = {put, arg};
    int stop = wire_each(s, true, put_field, &x);
    snapshot_unref(s);
    return stop;
}
