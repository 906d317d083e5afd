/* Secret variables are not looked at here: the context library leaves them out of whatever leaves the process. */
#include "task/propagate.h"

unsigned propagate_bit(const satchel_var *var)
{
    static const unsigned bits[SATCHEL_KNOWN_COUNT] = {
        [SATCHEL_TENANT] = PROPAGATE_TENANT,         [SATCHEL_TRACEPARENT] = PROPAGATE_TRACE,
        [SATCHEL_TRACESTATE] = PROPAGATE_TRACE,      [SATCHEL_BAGGAGE] = PROPAGATE_BAGGAGE,
        [SATCHEL_REQUEST_ID] = PROPAGATE_REQUEST_ID, [SATCHEL_CORRELATION_ID] = PROPAGATE_REQUEST_ID,
        [SATCHEL_DEADLINE] = PROPAGATE_DEADLINE,
    };
    for (int which = 0; which < SATCHEL_KNOWN_COUNT; which++)
        if (var == satchel_known_var((satchel_known)which))
            return bits[which];
    return PROPAGATE_VARIABLES;
}

static int keep_back(satchel_var *var, void *data, void *arg)
{
    (void)data;
    const unsigned *propagate = arg;
    unsigned bit = propagate_bit(var);
    return bit && !(*propagate & bit) ? satchel_unset(var, NULL) : SATCHEL_OK;
}

satchel_context *propagate_permitted(unsigned propagate)
{
    satchel_context *context = satchel_capture();
    if (!context || (propagate & PROPAGATE_ALL) == PROPAGATE_ALL)
        return context;
    int status = satchel_context_enter(context);
    if (status == SATCHEL_OK) {
        status = satchel_context_each(context, keep_back, &propagate);
        (void)satchel_context_exit(context);
    }
    if (status == SATCHEL_OK)
        return context;
    satchel_context_unref(context);
    return NULL;
}
