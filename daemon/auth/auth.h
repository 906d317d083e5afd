/* Who is calling, and what that allows: tokens, tokens of tasks, users on a unix socket, clients' certificates.
 *
 * What is allowed comes from the configuration's snapshot (config/auth_section.h), which a request holds while it is
 * looked at; here is only what outlives a reload: the key of the tasks' tokens, and who has guessed wrong.  A right
 * token costs one look into a hash table and one HMAC of 76 bytes (0.4 us), and allocates nothing.
 * Thread: any. */
#ifndef SATCHEL_AUTH_AUTH_H
#define SATCHEL_AUTH_AUTH_H

#include "auth/task_token.h"
#include "config/config.h"

struct auth;

int auth_new(struct auth **ret);   /* 0 or -errno */
void auth_free(struct auth *auth); /* NULL is fine */

struct auth_offer {             /* what a request brings */
    struct slice authorization; /* the value of its field; data NULL: there is none */
    unsigned n_authorization;   /* how many such fields there are */
    const char *peer;           /* "127.0.0.1:53412", "unix" */
    bool is_unix;
    uint32_t uid, gid;        /* unix: the peer's */
    const char *const *names; /* in the client's verified certificate, with their kinds: "URI:...", ..., "CN:..." */
    size_t n_names;
    bool has_certificate;
};

enum auth_kind {
    AUTH_ANYBODY, /* there is no authentication: whoever reaches the daemon is trusted */
    AUTH_TOKEN,
    AUTH_TASK, /* a command of a task */
    AUTH_PROXY,
    AUTH_PEER,
    AUTH_CERTIFICATE
};

#define AUTH_SUBJECT_SIZE 104u

struct auth_identity {
    enum auth_kind kind;
    unsigned scopes;  /* enum token_scope */
    bool all_tenants; /* the request chooses; else one of: */
    const char *const *tenants;
    size_t n_tenants;
    const char *name;                /* of the token (its id), or the user */
    uint32_t uid;                    /* proxy, peer */
    char subject[AUTH_SUBJECT_SIZE]; /* certificate: the name that was found; a long one cut short */
    struct task_token task;          /* task */
    const char *task_tenants[1];     /* task: what `tenants` points to */
};

enum auth_result {
    AUTH_OK,
    AUTH_MISSING,   /* nothing was offered that could say who is calling */
    AUTH_MALFORMED, /* more than one Authorization */
    AUTH_UNKNOWN,   /* no such token */
    AUTH_EXPIRED,
    AUTH_STRANGER, /* a certificate that nothing is granted to */
    AUTH_TOO_MANY, /* wrong tokens: *ret_wait_s says for how long */
    AUTH_BROKEN    /* no memory */
};

/* The identity's texts are good as long as the configuration's reference is, and the identity stays where it is. */
enum auth_result auth_identify(struct auth *auth, const struct config_auth *config, const struct auth_offer *offer,
                               struct auth_identity *ret, int *ret_wait_s);

/* May it act for that tenant? */
bool auth_has_tenant(const struct auth_identity *identity, const char *tenant);
/* The tenant of a request that names none: the only one that it may act for.  NULL: there are several. */
const char *auth_only_tenant(const struct auth_identity *identity);
/* "token abcdefghijkl", "user www-data", "task 0198..."; for the audit log. */
#define AUTH_WHO_SIZE 128u
void auth_describe(const struct auth_identity *identity, char out[AUTH_WHO_SIZE]);
/* The certificate that was offered, in the same way; "" where there is none. */
void auth_offered_certificate(const struct auth_offer *offer, char out[AUTH_WHO_SIZE]);
/* The id of a token that was offered, were it right or not: "" where it is none.  For the audit log. */
void auth_offered_id(const struct auth_offer *offer, char out[TOKEN_ID_SIZE]);

/* The token of a task's attempt.  `until_us`: when it ends at the latest; 0: nobody knows.  False: there is no
 * authentication, or tasks get no tokens. */
bool auth_task_token(const struct auth *auth, const struct config_auth *config, struct slice tenant,
                     struct task_id task, uint32_t attempt, int64_t until_us, char out[TASK_TOKEN_SIZE]);

#endif
