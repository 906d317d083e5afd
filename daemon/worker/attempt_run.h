/* One attempt from start to end on the calling worker thread.  Called by pool.c alone. */
#ifndef SATCHEL_WORKER_ATTEMPT_RUN_H
#define SATCHEL_WORKER_ATTEMPT_RUN_H

#include "executor/attempt.h"

/* Runs it and fills in the report; the caller hands it over.  False: the handler left context behind on the thread;
 * it was logged and removed. */
bool attempt_run(struct attempt *attempt);
/* Fills in the report of an attempt whose handler is ending the thread. */
void attempt_run_abandoned(struct attempt *attempt);

#endif
