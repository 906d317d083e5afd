/* Which of the trace and baggage formats are read and written (OTEL_PROPAGATORS' names).
 * Thread: set before there are others; read by any. */
#include <string.h>

#include "proto/context/wire.h"

static _Atomic unsigned enabled = PROPAGATOR_TRACE | PROPAGATOR_BAGGAGE;

unsigned propagators(void)
{
    return atomic_load_explicit(&enabled, memory_order_relaxed);
}

static int bit_of(const char *name, size_t len)
{
    static const struct {
        const char *name;
        int bit;
    } names[] = {{"tracecontext", PROPAGATOR_TRACE},
                 {"baggage", PROPAGATOR_BAGGAGE},
                 {"b3", PROPAGATOR_B3},
                 {"b3multi", PROPAGATOR_B3_MULTI},
                 {"none", 0}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strlen(names[i].name) == len && memcmp(names[i].name, name, len) == 0)
            return names[i].bit;
    return -1;
}

int satchel_set_propagators(const char *list)
{
    if (!list || !*list)
        return SATCHEL_EINVAL;
    unsigned bits = 0;
    for (;;) {
        list += strspn(list, " \t");
        size_t len = strcspn(list, ","), trimmed = len;
        while (trimmed && (list[trimmed - 1] == ' ' || list[trimmed - 1] == '\t'))
            trimmed--;
        int bit = bit_of(list, trimmed);
        if (bit < 0)
            return SATCHEL_EINVAL;
        bits |= (unsigned)bit;
        list += len;
        if (!*list)
            break;
        list++;
    }
    atomic_store(&enabled, bits);
    return SATCHEL_OK;
}
