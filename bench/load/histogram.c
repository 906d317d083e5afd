/* See histogram.h.  A value's step is the number of bits that it has above HISTOGRAM_HALF's; in its step it is counted by
 * its eleven highest bits, so a count's place is off by less than a thousandth of the value. */
#include "bench/load/histogram.h"

#include <math.h>
#include <stdlib.h>

#define BITS 10u /* of HISTOGRAM_HALF */

struct histogram *histogram_new(void)
{
    return calloc(1, sizeof(struct histogram));
}

void histogram_free(struct histogram *histogram)
{
    free(histogram);
}

static size_t place_of(uint64_t ns)
{
    unsigned bits = ns < 2 * HISTOGRAM_HALF ? BITS : 63u - (unsigned)__builtin_clzll(ns);
    unsigned step = bits - BITS;
    if (step >= HISTOGRAM_STEPS)
        return (HISTOGRAM_STEPS + 1) * (size_t)HISTOGRAM_HALF - 1;
    return (size_t)step * HISTOGRAM_HALF + (size_t)(ns >> step);
}

/* The largest value that is counted at this place. */
static uint64_t value_at(size_t place)
{
    if (place < (size_t)2 * HISTOGRAM_HALF)
        return place;
    size_t step = place / HISTOGRAM_HALF - 1;
    return ((place - step * HISTOGRAM_HALF + 1) << step) - 1;
}

void histogram_record(struct histogram *histogram, int64_t ns)
{
    uint64_t value = ns > 0 ? (uint64_t)ns : 0;
    histogram->counts[place_of(value)]++;
    histogram->total++;
    histogram->sum_ns += (double)value;
    if (value > histogram->max_ns)
        histogram->max_ns = value;
}

double histogram_ms(const struct histogram *histogram, double share)
{
    uint64_t wanted = (uint64_t)ceil(share * (double)histogram->total), seen = 0;
    if (!histogram->total)
        return 0;
    for (size_t i = 0; i < sizeof histogram->counts / sizeof histogram->counts[0]; i++) {
        seen += histogram->counts[i];
        if (histogram->counts[i] && seen >= wanted) {
            uint64_t value = value_at(i);
            return (double)(value < histogram->max_ns ? value : histogram->max_ns) / 1e6;
        }
    }
    return (double)histogram->max_ns / 1e6;
}

double histogram_mean_ms(const struct histogram *histogram)
{
    return histogram->total ? histogram->sum_ns / (double)histogram->total / 1e6 : 0;
}
