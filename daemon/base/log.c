#include "base/log.h"

#include <stdatomic.h>

static _Atomic int threshold = LOG_LEVEL_INFO;

void log_open(void)
{
}

void log_level_set(enum log_level level)
{
    atomic_store(&threshold, (int)level);
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&threshold, memory_order_relaxed);
}
