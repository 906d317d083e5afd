/* The audit log: lines of the log whose field "audit" says what happened: denied, admin, token_added, token_removed.
 * They hold who, from where, for which tenant, which request; never a token, a header's value or a body.
 * Denials are bounded: beyond 100 a second they are counted, and the count is logged.
 * Thread: any. */
#ifndef SATCHEL_AUTH_AUDIT_H
#define SATCHEL_AUTH_AUDIT_H

#include "auth/auth.h"

struct audit_call {
    const char *operation; /* "submitTask" */
    const char *who;       /* auth_describe, or "" */
    const char *peer;
    uint32_t uid;       /* of a unix socket's; UINT32_MAX: none */
    const char *tenant; /* "": none yet */
    struct slice request_id;
};

void audit_denied(const struct audit_call *call, int status, const char *reason);
void audit_admin(const struct audit_call *call);
/* Which tokens came and went with a reload. */
void audit_tokens(const struct config_auth *before, const struct config_auth *after);

#endif
