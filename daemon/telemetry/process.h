/* What the system says of this process, for metrics.  Thread: any; reads /proc. */
#ifndef SATCHEL_TELEMETRY_PROCESS_H
#define SATCHEL_TELEMETRY_PROCESS_H

#include <stdint.h>

struct process_stats { /* what cannot be read is 0 */
    uint64_t cpu_ns, resident_bytes, virtual_bytes, threads, open_fds, max_fds;
    uint64_t start_s; /* since 1970 */
};

void process_get_stats(struct process_stats *ret);

#endif
