/* Flow: api/admit.c -> auth_identify -> proto/token_file.c (look-up), task_token.c, guesses.c.
 *
 * Wrong tokens are counted by where they come from and, where the id is one of ours, by that id: so somebody who tries
 * behind a shared address (a proxy, a NAT) keeps nobody else's token from working, and each token can still be tried
 * at a bounded rate only. */
#include "auth/auth.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "auth/guesses.h"
#include "base/clock.h"

#define TOKEN_TEXT_MAX 512u
#define TASK_GRACE_US INT64_C(60000000) /* what ends with its time limit may still say so */

struct auth {
    unsigned char key[TOKEN_KEY_SIZE]; /* of the tasks' tokens */
    struct guesses guesses;
};

int auth_new(struct auth **ret)
{
    struct auth *auth = calloc(1, sizeof *auth);
    int err = auth ? guesses_init(&auth->guesses) : -ENOMEM;
    if (err) {
        free(auth);
        return err;
    }
    token_random(auth->key, sizeof auth->key);
    *ret = auth;
    return 0;
}

void auth_free(struct auth *auth)
{
    if (!auth)
        return;
    guesses_release(&auth->guesses);
    OPENSSL_cleanse(auth->key, sizeof auth->key);
    free(auth);
}

/* ---- what is offered ---- */

/* The token of "Bearer TOKEN"; data NULL: another scheme. */
static struct slice bearer(const struct auth_offer *offer)
{
    struct slice text = offer->authorization;
    if (text.len < 7 || strncasecmp(text.data, "Bearer", 6) != 0 || text.data[6] != ' ')
        return (struct slice){0};
    text = slice_of(text.data + 7, text.len - 7);
    while (text.len && text.data[0] == ' ')
        text = slice_of(text.data + 1, text.len - 1);
    return text;
}

/* Where it comes from: the address without its port, of IPv6 the network (/64) that one customer has; or the user. */
static struct slice source_of(const struct auth_offer *offer, char room[64])
{
    struct in6_addr six;
    int len;
    if (offer->is_unix) {
        len = snprintf(room, 64, "uid %u", offer->uid);
        return slice_of(room, (size_t)len);
    }
    const char *colon = strrchr(offer->peer, ':');
    const char *start = offer->peer[0] == '[' ? offer->peer + 1 : offer->peer;
    len = colon ? (int)(colon - start) : (int)strlen(start);
    if (len > 0 && start[len - 1] == ']')
        len--;
    (void)snprintf(room, 64, "%.*s", len, start);
    if (inet_pton(AF_INET6, room, &six) != 1 || IN6_IS_ADDR_V4MAPPED(&six))
        return slice_str(room);
    memcpy(room, &six, 8);
    return slice_of(room, 8);
}

void auth_offered_id(const struct auth_offer *offer, char out[TOKEN_ID_SIZE])
{
    struct slice text = bearer(offer);
    if (!text.data || !token_parse(text, out))
        out[0] = '\0';
}

/* ---- tokens ---- */

struct trial {
    struct auth *auth;
    const struct config_auth *config;
    int64_t now_ns;
    uint64_t key; /* of guesses */
};

static struct trial begin_trial(struct auth *auth, const struct config_auth *config, const struct auth_offer *offer,
                                struct slice id)
{
    char room[64];
    struct trial trial = {auth, config, clock_mono_ns(), 0};
    trial.key = guesses_key(&auth->guesses, source_of(offer, room), id);
    return trial;
}

static bool must_wait(const struct trial *trial, int *ret_wait_s)
{
    *ret_wait_s = guesses_wait(&trial->auth->guesses, trial->key, trial->config->max_failures, trial->now_ns);
    return *ret_wait_s > 0;
}

static enum auth_result wrong(const struct trial *trial)
{
    guesses_failed(&trial->auth->guesses, trial->key, trial->config->max_failures, trial->now_ns);
    return AUTH_UNKNOWN;
}

static enum auth_result try_task(struct auth *auth, const struct config_auth *config, const struct auth_offer *offer,
                                 struct slice text, struct auth_identity *ret, int *ret_wait_s)
{
    struct trial trial = begin_trial(auth, config, offer, (struct slice){0});
    if (task_token_read(auth->key, text, &ret->task)) { /* a right one is never kept waiting by wrong ones */
        ret->kind = AUTH_TASK;
        ret->scopes = TOKEN_SUBMIT | TOKEN_READ;
        ret->task_tenants[0] = ret->task.tenant;
        ret->tenants = ret->task_tenants;
        ret->n_tenants = 1;
        return ret->task.expires_us > clock_wall_us() ? AUTH_OK : AUTH_EXPIRED;
    }
    return must_wait(&trial, ret_wait_s) ? AUTH_TOO_MANY : wrong(&trial);
}

static enum auth_result try_token(struct auth *auth, const struct config_auth *config, const struct auth_offer *offer,
                                  struct slice text, struct auth_identity *ret, int *ret_wait_s)
{
    static const struct token_record nobody;
    char id[TOKEN_ID_SIZE] = "";
    unsigned char hash[TOKEN_HASH_SIZE];
    const struct token_record *record = token_parse(text, id) ? token_file_find(&config->tokens, id) : NULL;
    struct trial trial = begin_trial(auth, config, offer, record ? slice_str(id) : (struct slice){0});
    if (must_wait(&trial, ret_wait_s))
        return AUTH_TOO_MANY;
    if (!token_hash(config->tokens.key, slice_of(text.data, text.len < TOKEN_TEXT_MAX ? text.len : TOKEN_TEXT_MAX),
                    hash))
        return AUTH_BROKEN;
    bool right = token_hash_equal(hash, record ? record->hash : nobody.hash); /* an unknown id takes as long */
    if (!right || !record)
        return wrong(&trial);
    ret->kind = AUTH_TOKEN;
    ret->name = record->id;
    ret->scopes = record->scopes;
    ret->all_tenants = record->all_tenants;
    ret->tenants = record->tenants;
    ret->n_tenants = record->n_tenants;
    return record->expires_us && record->expires_us <= clock_wall_us() ? AUTH_EXPIRED : AUTH_OK;
}

/* ---- users ---- */

static void take_grant(const struct config_grant *grant, enum auth_kind kind, struct auth_identity *ret)
{
    ret->kind = kind;
    ret->name = grant->name;
    ret->scopes = grant->scopes;
    ret->all_tenants = grant->all_tenants;
    ret->tenants = (const char *const *)grant->tenants.items;
    ret->n_tenants = grant->tenants.n;
}

/* The user's own section counts before a group's. */
static const struct config_grant *find_peer(const struct config_auth *config, const struct auth_offer *offer)
{
    const struct config_grant *of_group = NULL;
    for (size_t i = 0; i < config->n_peers; i++) {
        const struct config_grant *peer = &config->peers[i];
        if (!peer->is_group && peer->id == offer->uid)
            return peer;
        if (peer->is_group && peer->id == offer->gid && !of_group)
            of_group = peer;
    }
    return of_group;
}

static enum auth_result try_peer(const struct config_auth *config, const struct auth_offer *offer,
                                 struct auth_identity *ret)
{
    if (!offer->is_unix || offer->uid == UINT32_MAX)
        return AUTH_MISSING;
    const struct config_grant *peer = find_peer(config, offer);
    ret->uid = offer->uid;
    if (peer)
        take_grant(peer, AUTH_PEER, ret);
    for (size_t i = 0; i < config->proxies.n; i++) {
        if (config->proxy_uids[i] != offer->uid)
            continue;
        ret->kind = AUTH_PROXY;
        ret->name = config->proxies.items[i];
        ret->scopes |= TOKEN_SUBMIT | TOKEN_READ;
        ret->all_tenants = true;
        return AUTH_OK;
    }
    return peer ? AUTH_OK : AUTH_MISSING;
}

/* ---- certificates ---- */

static bool same_byte(char a, char b, bool fold)
{
    return a == b || (fold && a >= 'A' && a <= 'Z' && a + 32 == b) || (fold && b >= 'A' && b <= 'Z' && b + 32 == a);
}

/* `*` stands for any bytes.  Going back to the last one is enough, so it takes the product of the lengths at most. */
static bool matches(const char *pattern, const char *name, bool fold)
{
    const char *star = NULL, *resume = NULL;
    while (*name) {
        if (*pattern == '*') {
            star = pattern++;
            resume = name;
        } else if (same_byte(*pattern, *name, fold)) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star + 1;
            name = ++resume;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return !*pattern;
}

static bool certificate_matches(const char *pattern, const char *name)
{
    size_t kind = strcspn(pattern, ":") + 1; /* its own bytes are never a pattern */
    return strncmp(pattern, name, kind) == 0 && matches(pattern + kind, name + kind, strncmp(name, "DNS:", 4) == 0);
}

/* The first section that fits one of its names counts. */
static enum auth_result try_certificate(const struct config_auth *config, const struct auth_offer *offer,
                                        struct auth_identity *ret)
{
    for (size_t i = 0; i < config->n_certificates; i++) {
        for (size_t k = 0; k < offer->n_names; k++) {
            if (!certificate_matches(config->certificates[i].name, offer->names[k]))
                continue;
            take_grant(&config->certificates[i], AUTH_CERTIFICATE, ret);
            (void)snprintf(ret->subject, sizeof ret->subject, "%s", offer->names[k]);
            return AUTH_OK;
        }
    }
    return AUTH_STRANGER;
}

void auth_offered_certificate(const struct auth_offer *offer, char out[AUTH_WHO_SIZE])
{
    out[0] = '\0';
    if (offer->has_certificate)
        (void)snprintf(out, AUTH_WHO_SIZE, "certificate %.100s", offer->n_names ? offer->names[0] : "without a name");
}

/* ---- all of it ---- */

enum auth_result auth_identify(struct auth *auth, const struct config_auth *config, const struct auth_offer *offer,
                               struct auth_identity *ret, int *ret_wait_s)
{
    enum auth_result result;
    *ret = (struct auth_identity){.kind = AUTH_ANYBODY};
    *ret_wait_s = 0;
    if (!config->on) {
        ret->scopes = TOKEN_SUBMIT | TOKEN_READ | TOKEN_ADMIN;
        ret->all_tenants = true;
        return AUTH_OK;
    }
    if (offer->n_authorization > 1)
        return AUTH_MALFORMED;
    struct slice text = bearer(offer);
    if (!text.data && offer->has_certificate)
        result = try_certificate(config, offer, ret);
    else if (!text.data)
        result = try_peer(config, offer, ret);
    else if (task_token_is_one(text))
        result = try_task(auth, config, offer, text, ret, ret_wait_s);
    else
        result = try_token(auth, config, offer, text, ret, ret_wait_s);
    return result;
}

bool auth_has_tenant(const struct auth_identity *identity, const char *tenant)
{
    for (size_t i = 0; i < identity->n_tenants && !identity->all_tenants; i++)
        if (strcmp(identity->tenants[i], tenant) == 0)
            return true;
    return identity->all_tenants;
}

const char *auth_only_tenant(const struct auth_identity *identity)
{
    return !identity->all_tenants && identity->n_tenants == 1 ? identity->tenants[0] : NULL;
}

void auth_describe(const struct auth_identity *identity, char out[AUTH_WHO_SIZE])
{
    char id[TASK_ID_TEXT_SIZE];
    switch (identity->kind) {
    case AUTH_ANYBODY: (void)snprintf(out, AUTH_WHO_SIZE, "anybody"); break;
    case AUTH_TOKEN: (void)snprintf(out, AUTH_WHO_SIZE, "token %s", identity->name); break;
    case AUTH_TASK:
        task_id_format(identity->task.task, id);
        (void)snprintf(out, AUTH_WHO_SIZE, "task %s attempt %u", id, identity->task.attempt);
        break;
    case AUTH_PROXY: (void)snprintf(out, AUTH_WHO_SIZE, "proxy %.80s (uid %u)", identity->name, identity->uid); break;
    case AUTH_PEER: (void)snprintf(out, AUTH_WHO_SIZE, "user %.80s (uid %u)", identity->name, identity->uid); break;
    case AUTH_CERTIFICATE: (void)snprintf(out, AUTH_WHO_SIZE, "certificate %s", identity->subject); break;
    }
}

bool auth_task_token(const struct auth *auth, const struct config_auth *config, struct slice tenant,
                     struct task_id task, uint32_t attempt, int64_t until_us, char out[TASK_TOKEN_SIZE])
{
    struct task_token token = {.task = task, .attempt = attempt};
    if (!config->on || config->task_token_us == 0 || tenant.len > TASK_TOKEN_TENANT_MAX)
        return false;
    token.expires_us = until_us ? until_us + TASK_GRACE_US : clock_wall_us() + config->task_token_us;
    memcpy(token.tenant, tenant.data, tenant.len);
    return task_token_make(auth->key, &token, out);
}
