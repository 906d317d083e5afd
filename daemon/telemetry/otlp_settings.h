/* Where spans go and which: the daemon's settings, and OpenTelemetry's environment variables where a setting says
 * nothing.  Thread: any; reads no globals but through `environment`. */
#ifndef SATCHEL_TELEMETRY_OTLP_SETTINGS_H
#define SATCHEL_TELEMETRY_OTLP_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "telemetry/otlp_json.h"

struct otlp_given {              /* the settings; NULL, 0: nothing was said.  Borrowed */
    const char *endpoint;        /* a base: v1/traces is added */
    const char *traces_endpoint; /* used as it is */
    const char *headers;         /* "key=value,key=value", percent-encoded */
    const char *service_name;
    const char *resource_attributes; /* as headers */
    const char *sampler, *sampler_arg;
    int64_t timeout_us, delay_us;
    int64_t queue, batch;
};

struct otlp_settings {
    char *url;                 /* NULL: nothing is exported */
    struct otlp_pair *headers; /* decoded */
    size_t n_headers;
    struct otlp_pair *resource; /* service.name first */
    size_t n_resource;
    int64_t timeout_us, delay_us;
    size_t queue, batch;
    bool all;               /* export traces also that are not flagged as sampled */
    uint64_t root_sampling; /* see submission.h: which of the traces that start here are flagged as sampled */
};

/* What is wrong with an environment variable is told to `warn` (its name, and why), and it counts as not set.
 * 0, or -1: no memory. */
int otlp_settings_read(const struct otlp_given *given, const char *(*environment)(const char *name),
                       void (*warn)(const char *name, const char *why), struct otlp_settings *ret);
void otlp_settings_release(struct otlp_settings *settings);

/* Whether the text names a sampler of OpenTelemetry's that there is here. */
bool otlp_sampler_valid(const char *name);

#endif
