/* What the store knows of an idempotency key.  Pure; any thread. */
#ifndef SATCHEL_API_IDEMPOTENCY_H
#define SATCHEL_API_IDEMPOTENCY_H

#include "engine/engine.h"

/* The key: of tenant and key.  The fingerprint: of the submission's bytes as they came.  False: no memory. */
bool idempotency_set(struct engine_call *call, struct slice tenant, struct slice key, struct slice body);

#endif
