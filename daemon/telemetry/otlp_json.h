/* Spans as the body of an OTLP/HTTP JSON request (ExportTraceServiceRequest).  Pure; any thread. */
#ifndef SATCHEL_TELEMETRY_OTLP_JSON_H
#define SATCHEL_TELEMETRY_OTLP_JSON_H

#include "proto/buf.h"
#include "telemetry/spans.h"

struct otlp_pair { /* texts are malloced */
    char *key, *value;
};

/* n > 0.  `resource`: the attributes of the resource.  A failed buffer: no memory. */
void otlp_encode(const struct span *spans, size_t n, const struct otlp_pair *resource, size_t n_resource,
                 struct buf *out);

#endif
