/* Who is calling, whether that is enough for the route, and for which tenant: before anything else of a request counts.
 *
 * What is refused says nothing of tasks: whoever may not read learns the same of every id.
 * Flow: api.c -> visit_admit -> auth/auth.c, request_context.c (the tenant's header) -> the route's handler. */
#include <stdio.h>

#include "api/calls.h"
#include "auth/audit.h"

#define REALM "Bearer realm=\"satchel\""

/* ---- saying no ---- */

static struct audit_call audit_of(const struct visit *visit, const char *who)
{
    const struct http_peer *peer = visit->request->peer;
    return (struct audit_call){.operation = visit->route->operation,
                               .who = who,
                               .peer = peer ? peer->text : "",
                               .uid = peer && peer->is_unix ? peer->uid : UINT32_MAX,
                               .tenant = visit->caller.tenant,
                               .request_id = visit->caller.request_id};
}

static bool deny(struct visit *visit, const char *who, const struct problem *problem, const char *challenge)
{
    struct reply reply;
    struct audit_call call = audit_of(visit, who);
    audit_denied(&call, problem_status(problem->code), problem->detail);
    reply_begin(&reply, visit->exchange, visit->caller.request_id);
    if (challenge)
        reply_field(&reply, "WWW-Authenticate", slice_str(challenge));
    reply_problem(&reply, problem);
    return false;
}

static bool deny_unknown(struct visit *visit, const struct auth_offer *offer, enum auth_result result, int wait_s)
{
    struct problem problem = {0};
    char id[TOKEN_ID_SIZE], who[AUTH_WHO_SIZE] = "";
    const char *challenge = REALM ", error=\"invalid_token\", error_description=\"The token is not valid\"";
    auth_offered_id(offer, id);
    if (id[0])
        (void)snprintf(who, sizeof who, "token %s", id);
    else
        auth_offered_certificate(offer, who);
    switch (result) {
    case AUTH_MISSING:
        problem_set(&problem, PROBLEM_UNAUTHENTICATED, "Send a token: Authorization: Bearer TOKEN.");
        challenge = REALM;
        break;
    case AUTH_MALFORMED:
        problem_set(&problem, PROBLEM_MALFORMED_REQUEST, "There is more than one Authorization header.");
        challenge = REALM ", error=\"invalid_request\"";
        break;
    case AUTH_EXPIRED:
        problem_set(&problem, PROBLEM_UNAUTHENTICATED, "The token has expired.");
        challenge = REALM ", error=\"invalid_token\", error_description=\"The token has expired\"";
        break;
    case AUTH_STRANGER:
        problem_set(&problem, PROBLEM_FORBIDDEN, "The configuration grants nothing to this certificate.");
        challenge = NULL;
        break;
    case AUTH_TOO_MANY:
        problem_set(&problem, PROBLEM_TOO_MANY_FAILURES,
                    "Too many wrong tokens have come from this address; try again in %d seconds.", wait_s);
        problem.retry_after_s = wait_s;
        challenge = NULL;
        break;
    case AUTH_BROKEN:
        problem_set(&problem, PROBLEM_OVERLOADED, "There is no memory to look at the token; try again later.");
        problem.retry_after_s = 1;
        challenge = NULL;
        break;
    case AUTH_UNKNOWN:
    case AUTH_OK:
    default: problem_set(&problem, PROBLEM_UNAUTHENTICATED, "The token is not valid."); break;
    }
    return deny(visit, who, &problem, challenge);
}

bool visit_forbid(struct visit *visit, const char *challenge, const char *detail)
{
    struct problem problem = {0};
    char who[AUTH_WHO_SIZE];
    auth_describe(&visit->identity, who);
    problem_set(&problem, PROBLEM_FORBIDDEN, "%s", detail);
    return deny(visit, who, &problem, challenge ? challenge : REALM ", error=\"insufficient_scope\"");
}

/* ---- what the route needs ---- */

static unsigned scope_for(const struct visit *visit)
{
    if (visit->route->needs & ROUTE_OPEN || (visit->route->needs & ROUTE_METRICS && visit->config->auth.open_metrics))
        return 0;
    if (!(visit->route->needs & ROUTE_TENANT))
        return TOKEN_ADMIN;
    return visit->route->method == HTTP_GET ? TOKEN_READ : TOKEN_SUBMIT;
}

static bool has_scope(struct visit *visit, unsigned scope)
{
    const struct auth_identity *identity = &visit->identity;
    char name[TOKEN_SCOPES_SIZE], challenge[128], detail[128];
    if (scope == TOKEN_ADMIN && identity->scopes & TOKEN_ADMIN && !identity->all_tenants &&
        !(visit->route->needs & ROUTE_METRICS && !visit->config->metrics_tenants))
        return visit_forbid(
            visit, REALM ", error=\"insufficient_scope\", scope=\"admin\"",
            "This shows or changes what is other tenants', too: it needs an administrator of all tenants.");
    if (identity->scopes & scope || (scope == TOKEN_READ && identity->scopes & TOKEN_ADMIN))
        return true;
    token_scopes_format(scope, name);
    (void)snprintf(challenge, sizeof challenge, REALM ", error=\"insufficient_scope\", scope=\"%s\"", name);
    (void)snprintf(detail, sizeof detail, "This needs the scope %s, which the credentials do not have.", name);
    return visit_forbid(visit, challenge, detail);
}

/* ---- whose tasks ---- */

bool visit_sees_all(const struct visit *visit)
{
    return visit->identity.all_tenants && visit->identity.scopes & TOKEN_ADMIN;
}

static bool choose_tenant(struct visit *visit)
{
    struct caller *caller = &visit->caller;
    const struct auth_identity *identity = &visit->identity;
    const char *only = auth_only_tenant(identity);
    struct problem problem = {0};
    if (caller_read_named_tenant(visit->request, visit->config, caller, &problem) < 0) {
        visit_fail(visit, &problem);
        return false;
    }
    if (caller->tenant[0]) {
        if (auth_has_tenant(identity, caller->tenant))
            return true;
        return visit_forbid(visit, NULL, "The request names a tenant that the credentials are not for.");
    }
    if (only) {
        (void)snprintf(caller->tenant, sizeof caller->tenant, "%.*s", (int)TENANT_MAX, only);
        caller->default_tenant = true;
        return true;
    }
    if (visit->route->needs & ROUTE_ALL && visit_sees_all(visit) &&
        (visit->task.len ? visit->config->auth.on : visit->config->require_tenant))
        return true; /* the task of any of them by its id, or all of them */
    if (identity->all_tenants) {
        if (caller_read_tenant(visit->request, visit->config, caller, &problem) == 0)
            return true;
    } else {
        problem_set(&problem, PROBLEM_MISSING_TENANT,
                    "The credentials are for several tenants: name one of them in the header %.80s.",
                    visit->config->tenant_header);
    }
    visit_fail(visit, &problem);
    return false;
}

/* A connection belongs to the tenant that its last request was for. */
static bool within_connections(struct visit *visit)
{
    struct problem problem = {.retry_after_s = 1};
    const char *tenant = visit->caller.tenant;
    const struct config_tenant *section = tenant[0] ? config_tenant(visit->config, tenant) : NULL;
    if (http_account(visit->exchange, slice_str(tenant), section ? (size_t)section->max_connections : 0))
        return true;
    problem_set(&problem, PROBLEM_QUOTA_EXCEEDED, "Tenant %s has as many connections as it may have (max_connections).",
                tenant);
    problem.retry_after_s = 1;
    visit_fail(visit, &problem);
    return false;
}

/* ---- all of it ---- */

static struct auth_offer offer_of(const struct http_request *request)
{
    struct auth_offer offer = {.peer = request->peer ? request->peer->text : ""};
    offer.authorization = http_find(request, "Authorization", &offer.n_authorization);
    if (request->peer && request->peer->is_unix) {
        offer.is_unix = true;
        offer.uid = request->peer->uid;
        offer.gid = request->peer->gid;
    }
    if (request->peer && request->peer->certificate) {
        offer.has_certificate = true;
        offer.names = (const char *const *)request->peer->certificate->names;
        offer.n_names = request->peer->certificate->n_names;
    }
    return offer;
}

void visit_audit(const struct visit *visit)
{
    char who[AUTH_WHO_SIZE];
    auth_describe(&visit->identity, who);
    struct audit_call call = audit_of(visit, who);
    audit_admin(&call);
}

/* What only the scope admin made possible is noted, but a scrape of the metrics; without authentication, what an
 * administrator alone could change. */
static void audit_use(const struct visit *visit, unsigned scope)
{
    bool by_admin = scope == TOKEN_ADMIN || !(visit->identity.scopes & scope) || !visit->caller.tenant[0];
    bool trusted = visit->identity.kind == AUTH_ANYBODY;
    if (by_admin && !(visit->route->needs & ROUTE_METRICS) && !(trusted && visit->route->method == HTTP_GET))
        visit_audit(visit);
}

bool visit_admit(struct visit *visit)
{
    unsigned scope = scope_for(visit);
    int wait_s;
    caller_read_id(visit->request, &visit->caller);
    visit->caller.tenant[0] = '\0';
    if (!scope)
        return true;
    struct auth_offer offer = {0};
    if (visit->config->auth.on)
        offer = offer_of(visit->request);
    enum auth_result result = auth_identify(visit->api->auth, &visit->config->auth, &offer, &visit->identity, &wait_s);
    if (result != AUTH_OK)
        return deny_unknown(visit, &offer, result, wait_s);
    if (!has_scope(visit, scope) ||
        (visit->route->needs & ROUTE_TENANT && !(choose_tenant(visit) && within_connections(visit))))
        return false;
    audit_use(visit, scope);
    return true;
}
