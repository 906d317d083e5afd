/* What scheduler.c needs of its tenants beyond scheduler.h.  Thread: the engine's. */
#ifndef SATCHEL_ENGINE_TENANTS_H
#define SATCHEL_ENGINE_TENANTS_H

#include "engine/scheduler.h"

void tenant_ask_limits(const struct scheduler *s, struct tenant *tenant); /* anew */
void tenant_unblock(struct tenant *tenant);                               /* off the list; it is not made ready by it */

#endif
