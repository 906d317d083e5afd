#include "auth/audit.h"

#include <pthread.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"

#define LINES_A_SECOND 100u
#define SECOND_NS INT64_C(1000000000)
#define LIST_SIZE 512u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static int64_t second_began;
static unsigned in_second;
static unsigned left_out;

/* Whether there is room for one more line; *ret_left_out: how many were left out before it. */
static bool may_log(unsigned *ret_left_out)
{
    int64_t now = clock_mono_ns();
    (void)pthread_mutex_lock(&lock);
    if (now - second_began >= SECOND_NS) {
        second_began = now;
        in_second = 0;
    }
    bool may = in_second < LINES_A_SECOND;
    *ret_left_out = may ? left_out : 0;
    left_out = may ? 0 : left_out + 1;
    in_second += may;
    (void)pthread_mutex_unlock(&lock);
    return may;
}

/* A request id is visible ASCII of any content: the log escapes it. */
static void request_text(const struct audit_call *call, char out[256])
{
    (void)snprintf(out, 256, "%.*s", (int)(call->request_id.len < 255 ? call->request_id.len : 255),
                   call->request_id.data ? call->request_id.data : "");
}

void audit_denied(const struct audit_call *call, int status, const char *reason)
{
    char request_id[256];
    unsigned missed;
    if (!may_log(&missed))
        return;
    if (missed)
        LOG_NOTICE("denied calls were not logged: there were too many", LOG_TEXT("audit", "denied"),
                   LOG_NUMBER("count", missed));
    request_text(call, request_id);
    LOG_NOTICE("a call was denied", LOG_TEXT("audit", "denied"), LOG_TEXT("reason", reason),
               LOG_NUMBER("status", status), LOG_TEXT("operation", call->operation), LOG_TEXT("who", call->who),
               LOG_TEXT("peer", call->peer), LOG_NUMBER("uid", call->uid == UINT32_MAX ? -1 : (int64_t)call->uid),
               LOG_TEXT("tenant", call->tenant), LOG_TEXT("request_id", request_id));
}

void audit_admin(const struct audit_call *call)
{
    char request_id[256];
    request_text(call, request_id);
    LOG_NOTICE("an administrator's call", LOG_TEXT("audit", "admin"), LOG_TEXT("operation", call->operation),
               LOG_TEXT("who", call->who), LOG_TEXT("peer", call->peer),
               LOG_NUMBER("uid", call->uid == UINT32_MAX ? -1 : (int64_t)call->uid), LOG_TEXT("tenant", call->tenant),
               LOG_TEXT("request_id", request_id));
}

/* ---- tokens ---- */

static void log_token(const char *event, const char *message, const struct token_record *record)
{
    char scopes[TOKEN_SCOPES_SIZE], tenants[LIST_SIZE];
    size_t at = (size_t)snprintf(tenants, sizeof tenants, "%s", record->all_tenants ? "*" : "");
    for (size_t i = 0; i < record->n_tenants && at < sizeof tenants; i++)
        at += (size_t)snprintf(tenants + at, sizeof tenants - at, "%s%s", i ? "," : "", record->tenants[i]);
    token_scopes_format(record->scopes, scopes);
    LOG_NOTICE(message, LOG_TEXT("audit", event), LOG_TEXT("token", record->id), LOG_TEXT("scopes", scopes),
               LOG_TEXT("tenants", tenants));
}

static bool same_grant(const struct token_record *a, const struct token_record *b)
{
    bool same = a->scopes == b->scopes && a->all_tenants == b->all_tenants && a->n_tenants == b->n_tenants &&
                a->expires_us == b->expires_us && token_hash_equal(a->hash, b->hash);
    for (size_t i = 0; same && i < a->n_tenants; i++)
        same = strcmp(a->tenants[i], b->tenants[i]) == 0;
    return same;
}

void audit_tokens(const struct config_auth *before, const struct config_auth *after)
{
    for (size_t i = 0; i < before->tokens.n; i++) {
        const struct token_record *record = &before->tokens.records[i];
        const struct token_record *now = token_file_find(&after->tokens, record->id);
        if (!now || !same_grant(record, now))
            log_token("token_removed", "a token is not valid any more", record);
    }
    for (size_t i = 0; i < after->tokens.n; i++) {
        const struct token_record *record = &after->tokens.records[i];
        const struct token_record *earlier = token_file_find(&before->tokens, record->id);
        if (!earlier || !same_grant(record, earlier))
            log_token("token_added", "a token is valid from now on", record);
    }
}
