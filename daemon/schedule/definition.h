/* What a schedule says: when (a cron expression in a time zone) and what (a submission).
 *
 * It is one JSON object, with the members of a submission and, beside them,
 *   cron      when, see proto/cron.h; required
 *   timezone  an IANA name; "UTC" where it is missing
 *   missed    what becomes of times that passed while nobody was there: "skip" (the default), or "once"
 *   paused    true: it does not fire
 * Thread: any; a definition is immutable once it is parsed. */
#ifndef SATCHEL_SCHEDULE_DEFINITION_H
#define SATCHEL_SCHEDULE_DEFINITION_H

#include "executor/executor.h"
#include "proto/cron.h"
#include "proto/problem.h"
#include "task/submission.h"

#define SCHEDULE_NAME_MAX 64u

struct schedule_definition {
    char *body;       /* as it came; NUL-terminated */
    char *submission; /* the JSON text of what is submitted */
    struct cron cron;
    struct zone *zone; /* NULL: UTC */
    bool once, paused;
};

bool schedule_name_is_valid(struct slice name); /* a-z 0-9, then a-z 0-9 . _ - */
/* 0, or -1 and *reterr: 400 malformed, 422 with pointers.  The submission is checked as one of `tenant`'s. */
int schedule_definition_parse(struct slice body, struct registry *registry, const char *tenant,
                              struct schedule_definition *ret, struct problem *reterr);
void schedule_definition_release(struct schedule_definition *definition);

/* The submission as a spec of the tenant's, with a context and a trace of its own; `name` goes into its origins. */
int schedule_submission(const char *text, struct registry *registry, uint64_t root_sampling, const char *tenant,
                        const char *name, struct submission *ret, struct problem *reterr);

#endif
