/* From a request's header fields to who is calling and to the context variables of a submission.
 * Thread: any, except that header_variables_update is for one thread at a time. */
#ifndef SATCHEL_API_REQUEST_CONTEXT_H
#define SATCHEL_API_REQUEST_CONTEXT_H

#include <satchel/context.h>

#include "config/config.h"
#include "http/http.h"

#define REQUEST_ID_MAX 200u
#define TENANT_MAX 150u

/* What every request needs, and reads need alone: cheap to find. */
struct caller {
    struct slice request_id; /* valid, always there: the request's own (into its fields) or `made` */
    bool made_id;
    char made[33];
    char tenant[TENANT_MAX + 2]; /* NUL-terminated */
    bool default_tenant;
};

/* The request id alone; cannot fail.  One that is missing or not 1-200 visible ASCII characters is replaced. */
void caller_read_id(const struct http_request *request, struct caller *ret);
/* The tenant that the request names, "" where it names none.  -1 and *reterr (400). */
int caller_read_named_tenant(const struct http_request *request, const struct config *config, struct caller *ret,
                             struct problem *reterr);
/* The tenant: from the configured header or X-Scope-OrgID, or the default.  -1 and *reterr (400). */
int caller_read_tenant(const struct http_request *request, const struct config *config, struct caller *ret,
                       struct problem *reterr);

/* The variables of the configuration's `header` sections.  They live as long as this does: tasks hold them. */
struct header_variables;
struct header_variables *header_variables_new(void); /* NULL: no memory */
void header_variables_free(struct header_variables *variables);
/* Makes what is missing; a header whose settings changed keeps the earlier ones until a restart (and that is logged),
 * and one that is not configured any more is read no more.
 * 0 or -errno. */
int header_variables_update(struct header_variables *variables, const struct config *config);

struct request_context {
    satchel_context *context; /* a reference of the caller's */
    struct buf origins;       /* JSON object: variable -> where it came from */
};

/* The whole context of a submission, tenant and request id included; the trace is the caller's own, unchanged.
 * `variables` NULL: as if none had ever been configured.
 * 0, or -1 and *reterr: what the W3C says to ignore is ignored; a bad deadline or variable is a 400. */
int request_context_read(const struct http_request *request, const struct config *config,
                         struct header_variables *variables, const struct caller *caller, struct request_context *ret,
                         struct problem *reterr);
void request_context_release(struct request_context *context);

#endif
