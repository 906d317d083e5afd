/* Metrics as text: Prometheus' format, or OpenMetrics, which has exemplars.  The table metrics.def says what is what.
 *
 *     struct exposition x = {.to = &buf, .openmetrics = true};
 *     exposition_family(&x, METRIC_TASKS);
 *     exposition_number(&x, 3, (struct metric_label[]){{"state", "queued"}}, 1);
 *     exposition_end(&x);
 *
 * Thread: any; one owner. */
#ifndef SATCHEL_TELEMETRY_EXPOSITION_H
#define SATCHEL_TELEMETRY_EXPOSITION_H

#include "proto/buf.h"
#include "telemetry/metrics.h"

struct exposition {
    struct buf *to;
    bool openmetrics;
    enum metric family; /* the one whose samples are written */
};

struct metric_label {
    const char *name, *value;
};

const char *exposition_type(bool openmetrics); /* the media type */
/* Which of the two the values of Accept ask for, joined with commas; "": the older. */
bool exposition_wants_openmetrics(struct slice accept);

void exposition_family(struct exposition *x, enum metric metric); /* HELP, TYPE, UNIT */
void exposition_number(struct exposition *x, uint64_t value, const struct metric_label *labels, size_t n);
void exposition_seconds(struct exposition *x, uint64_t ns, const struct metric_label *labels, size_t n);
void exposition_histogram(struct exposition *x, const struct metric_histogram *histogram,
                          const struct metric_label *labels, size_t n);
void exposition_end(struct exposition *x);

#endif
