/* Live counts and unique ids.  Each thread counts for itself (thread.c) and a reader adds up: no two threads meet on a
 * cache line.  A sum is exact once nothing moves.  Thread: any. */
#include <string.h>

#include "proto/context/internal.h"

#define ID_BLOCK 1024u

static _Atomic uint64_t next_block = 1;

uint64_t unique_id(void)
{
    if (!self.ids_left) {
        self.next_id = atomic_fetch_add_explicit(&next_block, 1, memory_order_relaxed) * ID_BLOCK;
        self.ids_left = ID_BLOCK;
    }
    self.ids_left--;
    return self.next_id++;
}

static uint64_t positive(int64_t n)
{
    return n > 0 ? (uint64_t)n : 0;
}

void satchel_get_counts(satchel_counts *out)
{
    if (!out)
        return;
    int64_t totals[COUNT_KINDS];
    thread_sum(totals);
    satchel_counts counts = {
        .struct_size = sizeof counts,
        .vars = positive(totals[COUNT_VARS]),
        .values = positive(totals[COUNT_VALUES]),
        .contexts = positive(totals[COUNT_CONTEXTS]),
        .pending_tokens = positive(totals[COUNT_TOKENS]),
        .misuse = positive(totals[COUNT_MISUSE]),
    };
    size_t size = out->struct_size && out->struct_size < sizeof counts ? out->struct_size : sizeof counts;
    memcpy(out, &counts, size);
    if (size >= sizeof out->struct_size)
        out->struct_size = size;
}
