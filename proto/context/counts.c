/* Live counts and unique ids.  The counters are spread over cache lines by thread, so that workers do not meet on
 * one line; a sum is exact once nothing moves.  Thread: any. */
#include <stdatomic.h>
#include <string.h>

#include "proto/context/internal.h"

#define SHARDS 32u
#define ID_BLOCK 1024u

static struct {
    _Alignas(64) _Atomic int64_t n[COUNT_KINDS];
} shards[SHARDS];

static atomic_uint next_shard;
static _Atomic uint64_t next_block = 1;

static __thread unsigned my_shard __attribute__((tls_model("initial-exec")));
static __thread uint64_t my_next_id __attribute__((tls_model("initial-exec")));
static __thread unsigned my_ids_left __attribute__((tls_model("initial-exec")));

void count_add(enum count kind, int64_t by)
{
    if (!my_shard)
        my_shard = atomic_fetch_add_explicit(&next_shard, 1, memory_order_relaxed) % SHARDS + 1;
    atomic_fetch_add_explicit(&shards[my_shard - 1].n[kind], by, memory_order_relaxed);
}

uint64_t unique_id(void)
{
    if (!my_ids_left) {
        my_next_id = atomic_fetch_add_explicit(&next_block, 1, memory_order_relaxed) * ID_BLOCK;
        my_ids_left = ID_BLOCK;
    }
    my_ids_left--;
    return my_next_id++;
}

static uint64_t sum(enum count kind)
{
    int64_t total = 0;
    for (unsigned i = 0; i < SHARDS; i++)
        total += atomic_load_explicit(&shards[i].n[kind], memory_order_relaxed);
    return total > 0 ? (uint64_t)total : 0;
}

void satchel_get_counts(satchel_counts *out)
{
    if (!out)
        return;
    satchel_counts counts = {
        .struct_size = sizeof counts,
        .vars = sum(COUNT_VARS),
        .values = sum(COUNT_VALUES),
        .contexts = sum(COUNT_CONTEXTS),
        .pending_tokens = sum(COUNT_TOKENS),
        .misuse = sum(COUNT_MISUSE),
    };
    size_t size = out->struct_size && out->struct_size < sizeof counts ? out->struct_size : sizeof counts;
    memcpy(out, &counts, size);
    out->struct_size = size;
}

const char *satchel_strerror(int status)
{
    switch (status) {
    case SATCHEL_OK: return "success";
    case SATCHEL_UNSET: return "nothing is bound";
    case SATCHEL_ENOMEM: return "out of memory";
    case SATCHEL_EINVAL: return "invalid argument";
    case SATCHEL_EENTERED: return "the context is entered already";
    case SATCHEL_ENOTCURRENT: return "the context is not this thread's current one";
    case SATCHEL_EUSED: return "the token has been used already";
    case SATCHEL_EVAR: return "the token came from another variable";
    case SATCHEL_ECONTEXT: return "the token came from another context";
    case SATCHEL_EGRAMMAR: return "the text does not follow its grammar";
    case SATCHEL_ELIMIT: return "the text is longer than the limit";
    case SATCHEL_EEXIST: return "another variable has that wire name already";
    default: return "unknown status";
    }
}
