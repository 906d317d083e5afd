/* What the submissions of a tenant start with where they do not say so themselves: the variables and the baggage of its
 * section in the configuration, as header fields beside those that came.
 * Thread: any; one structure per submission. */
#ifndef SATCHEL_TASK_TENANT_DEFAULTS_H
#define SATCHEL_TASK_TENANT_DEFAULTS_H

#include <satchel/context.h>

#include "config/config.h"
#include "proto/buf.h"

struct tenant_defaults {
    const struct config_tenant *tenant; /* NULL: nothing is given */
    struct buf text;                    /* what the fields point into */
    uint64_t given;                     /* bit per variable of the section */
    bool baggage;                       /* all of the baggage is the section's */
};

/* How many fields tenant_defaults_add may append. */
size_t tenant_defaults_room(const struct config_tenant *tenant);
/* Appends to fields[*n...]; they are good until the release.  `tenant`: its section, or NULL.  False: no memory. */
bool tenant_defaults_add(const struct config *config, const struct config_tenant *tenant, satchel_field *fields,
                         size_t *n, struct tenant_defaults *ret);
bool tenant_defaults_gave(const struct tenant_defaults *defaults, const char *variable);
void tenant_defaults_release(struct tenant_defaults *defaults); /* zeroed is fine */

#endif
