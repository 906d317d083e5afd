/* Latencies in logarithmic steps, each cut into equal parts: three significant digits from a nanosecond to half an hour
 * in 256 KiB, however many are recorded.  One thread. */
#ifndef SATCHEL_BENCH_HISTOGRAM_H
#define SATCHEL_BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_HALF 1024u /* parts of each step; the first step has twice as many */
#define HISTOGRAM_STEPS 31u  /* up to 2^41 ns */

struct histogram {
    uint64_t total, max_ns;
    double sum_ns;
    uint64_t counts[(HISTOGRAM_STEPS + 1) * HISTOGRAM_HALF];
};

/* NULL: no memory. */
struct histogram *histogram_new(void);
void histogram_free(struct histogram *histogram);
void histogram_record(struct histogram *histogram, int64_t ns);
/* The value that `share` (0 to 1) of the recorded ones do not exceed, in milliseconds; 0 where there are none. */
double histogram_ms(const struct histogram *histogram, double share);
double histogram_mean_ms(const struct histogram *histogram);

#endif
