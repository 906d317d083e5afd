/* How long a request may wait for a task's end: ?wait=30s, Prefer: wait=30, capped by the configuration.
 * Pure; any thread. */
#ifndef SATCHEL_API_WAIT_H
#define SATCHEL_API_WAIT_H

#include "api/fields.h"
#include "config/config.h"

/* Nanoseconds; *ret_applied_s: the whole seconds that Preference-Applied names. */
static inline int64_t wait_of_preference(const struct config *config, const struct preferences *prefer,
                                         int64_t *ret_applied_s)
{
    int64_t longest_s = config->max_wait_us / 1000000;
    *ret_applied_s = prefer->wait_s < longest_s ? prefer->wait_s : longest_s;
    return *ret_applied_s * INT64_C(1000000000);
}

static inline int64_t wait_of_duration(const struct config *config, int64_t us)
{
    return (us < config->max_wait_us ? us : config->max_wait_us) * 1000;
}

#endif
