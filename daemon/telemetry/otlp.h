/* The exporter: a thread that takes spans from their queue and posts them, a batch at a time, as OTLP/HTTP JSON.
 *
 * What the receiver refuses for good is dropped and counted; what it cannot take now (429, 502, 503, 504, no
 * connection) is tried again, after its Retry-After or a growing pause with jitter, until give_up_ns.  Meanwhile the
 * queue fills up and drops what comes.
 * Thread: otlp_get_stats from any; the rest from the thread that owns the subsystems. */
#ifndef SATCHEL_TELEMETRY_OTLP_H
#define SATCHEL_TELEMETRY_OTLP_H

#include "telemetry/otlp_settings.h"
#include "telemetry/spans.h"

struct otlp;

struct otlp_pace { /* nanoseconds */
    int64_t first_pause_ns, longest_pause_ns;
    int64_t give_up_ns; /* how long one batch is tried */
};
extern const struct otlp_pace otlp_pace_standard;

/* `settings` (its URL is not NULL) and `spans` must outlive it.  0 or -errno. */
int otlp_start(const struct otlp_settings *settings, const struct otlp_pace *pace, struct spans *spans,
               struct otlp **ret);
/* Closes the queue, sends what is in it for at most flush_ns, ends the thread and frees it.  NULL is fine. */
void otlp_stop(struct otlp *otlp, int64_t flush_ns);

struct otlp_stats {
    uint64_t exported;           /* spans that the receiver took */
    uint64_t rejected;           /* spans that it refused: a 4xx, or partialSuccess */
    uint64_t failed;             /* spans that could not be delivered in time */
    uint64_t requests, warnings; /* warnings: partialSuccess with nothing rejected */
};
void otlp_get_stats(const struct otlp *otlp, struct otlp_stats *ret); /* NULL: all zero */

#endif
