/* Users and groups are looked up here, when the configuration is loaded, and the file of tokens is read: a snapshot of
 * the configuration says all about who may call, and a reload that fails changes nothing of it.
 * Flow: sections.c, load.c -> here -> auth/auth.c (which asks it). */
#include "config/auth_section.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "config/grammar.h"
#include "config/options.h"
#include "config/sections.h"
#include "proto/timetext.h"

#define MAX_FAILURES 10
#define TASK_TOKEN_US INT64_C(86400000000)

static const struct source_shape grant_shape[] = {
    {.name = "tenants", .list = true}, {.name = "scopes", .list = true}, {0}};
const struct source_shape auth_shape[] = {{.name = "token_file"},
                                          {.name = "proxy_uids", .list = true},
                                          {.name = "metrics"},
                                          {.name = "max_failures"},
                                          {.name = "task_token"},
                                          {.name = "peer", .section = grant_shape, .titled = true},
                                          {.name = "certificate", .section = grant_shape, .titled = true},
                                          {0}};

/* ---- users and groups ---- */

static bool read_number(const char *text, uint32_t *ret)
{
    int64_t number;
    if (!number_parse(text, &number) || number >= UINT32_MAX)
        return false;
    *ret = (uint32_t)number;
    return true;
}

static bool find_user(const char *name, uint32_t *ret)
{
    char room[16384];
    struct passwd entry, *found = NULL;
    if (read_number(name, ret))
        return true;
    if (getpwnam_r(name, &entry, room, sizeof room, &found) != 0 || !found)
        return false;
    *ret = found->pw_uid;
    return true;
}

static bool find_group(const char *name, uint32_t *ret)
{
    char room[16384];
    struct group entry, *found = NULL;
    if (read_number(name, ret))
        return true;
    if (getgrnam_r(name, &entry, room, sizeof room, &found) != 0 || !found)
        return false;
    *ret = found->gr_gid;
    return true;
}

static const char *check_user(const char *text)
{
    uint32_t uid;
    return find_user(text, &uid) ? NULL : "is not a user of this system";
}

static const char *check_peer(const char *text)
{
    uint32_t id;
    if (text[0] == '@')
        return find_group(text + 1, &id) ? NULL : "is not a group of this system";
    return find_user(text, &id) ? NULL : "is not a user of this system (a group is written @NAME)";
}

/* ---- what is granted ---- */

static const char *check_scope(const char *text)
{
    unsigned scope;
    return token_scope_parse(slice_str(text), &scope) ? NULL : "must be submit, read or admin";
}

static void grant_release(struct config_grant *grant)
{
    free(grant->name);
    config_list_release(&grant->tenants);
}

static void read_grant(struct config_grant *grant, struct section *s)
{
    struct config_list scopes = {0};
    unsigned one;
    grant->name = section_copy(s, s->title);
    section_list(s, "tenants", check_tenant, &grant->tenants);
    section_list(s, "scopes", check_scope, &scopes);
    for (size_t i = 0; i < scopes.n; i++)
        if (token_scope_parse(slice_str(scopes.items[i]), &one))
            grant->scopes |= one;
    if (!source_is_set(s->cfg, "scopes"))
        grant->scopes = TOKEN_SUBMIT | TOKEN_READ;
    config_list_release(&scopes);
    for (size_t i = 0; i < grant->tenants.n; i++)
        grant->all_tenants = grant->all_tenants || strcmp(grant->tenants.items[i], "*") == 0;
    if (source_count(s->cfg, "tenants") == 0)
        problems_add(s->problems, s->where, "%s \"%s\": tenants is missing: whose tasks, or {\"*\"} for all", s->kind,
                     s->title);
    else if (grant->all_tenants && grant->tenants.n > 1)
        problems_add(s->problems, s->where, "%s \"%s\": tenants: \"*\" means all of them, and stands alone", s->kind,
                     s->title);
}

static void read_grants(struct config_grant **array, size_t *n, struct section *auth, const char *kind,
                        const char *(*check)(const char *))
{
    size_t count = source_count(auth->cfg, kind);
    for (size_t i = 0; i < count; i++) {
        struct section s;
        bool good = section_open(&s, auth->cfg, kind, i, check, auth->problems);
        struct config_grant *bigger = section_grow(*array, *n, sizeof *bigger, &s);
        if (!bigger)
            return;
        *array = bigger;
        struct config_grant *grant = &bigger[*n];
        read_grant(grant, &s);
        for (size_t k = 0; good && k < *n; k++) {
            if (strcmp(bigger[k].name, s.title) == 0) {
                problems_add(s.problems, s.where, "%s \"%s\": is configured twice", kind, s.title);
                good = false;
            }
        }
        if (good && grant->name)
            (*n)++;
        else
            grant_release(grant);
    }
}

static void read_peers(struct config_auth *auth, struct section *s)
{
    read_grants(&auth->peers, &auth->n_peers, s, "peer", check_peer);
    for (size_t i = 0; i < auth->n_peers; i++) {
        struct config_grant *peer = &auth->peers[i];
        peer->is_group = peer->name[0] == '@';
        if (!(peer->is_group ? find_group(peer->name + 1, &peer->id) : find_user(peer->name, &peer->id)))
            problems_add(s->problems, s->where, "auth: peer \"%s\" is not known any more", peer->name);
    }
}

static void read_proxies(struct config_auth *auth, struct section *s)
{
    section_list(s, "proxy_uids", check_user, &auth->proxies);
    auth->proxy_uids = calloc(auth->proxies.n + 1, sizeof *auth->proxy_uids);
    if (!auth->proxy_uids) {
        problems_add(s->problems, s->where, "out of memory");
        config_list_release(&auth->proxies);
        return;
    }
    for (size_t i = 0; i < auth->proxies.n; i++)
        if (!find_user(auth->proxies.items[i], &auth->proxy_uids[i]))
            problems_add(s->problems, s->where, "auth: user \"%s\" is not known any more", auth->proxies.items[i]);
}

static const char *check_certificate(const char *text)
{
    static const char *const kinds[] = {"URI:", "DNS:", "email:", "CN:"};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strncmp(text, kinds[i], strlen(kinds[i])) == 0 && text[strlen(kinds[i])])
            return NULL;
    return "must be a name in the certificate with its kind: URI:..., DNS:..., email:... or CN:...";
}

static const char *check_metrics(const char *text)
{
    return strcmp(text, "admin") == 0 || strcmp(text, "open") == 0 ? NULL : "must be admin or open";
}

void auth_section_read(struct config_auth *auth, struct section *s)
{
    char *metrics = NULL;
    auth->on = true;
    section_text(s, "token_file", check_absolute_path, &auth->token_file);
    read_proxies(auth, s);
    section_text(s, "metrics", check_metrics, &metrics);
    auth->open_metrics = metrics && strcmp(metrics, "open") == 0;
    free(metrics);
    auth->max_failures = MAX_FAILURES;
    section_number(s, "max_failures", 0, 1000000, &auth->max_failures);
    auth->task_token_us = TASK_TOKEN_US;
    section_duration(s, "task_token", &auth->task_token_us);
    read_peers(auth, s);
    read_grants(&auth->certificates, &auth->n_certificates, s, "certificate", check_certificate);
}

/* ---- tokens ---- */

static char *credential(void)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    char *path;
    if (!folder || folder[0] != '/' || asprintf(&path, "%s/tokens", folder) < 0)
        return NULL;
    if (access(path, F_OK) == 0)
        return path;
    free(path);
    return NULL;
}

void auth_section_finish(struct config_auth *auth, struct problems *problems, struct config_where where)
{
    char error[TOKEN_ERROR_SIZE];
    if (!auth->token_file && (auth->token_file = credential()) && !auth->on) {
        auth->on = true;
        auth->max_failures = MAX_FAILURES;
        auth->task_token_us = TASK_TOKEN_US;
    }
    if (auth->token_file && token_file_read(auth->token_file, &auth->tokens, error) < 0)
        problems_add(problems, where, "auth: token_file: %s", error);
    else if (auth->on && !auth->token_file && !auth->n_peers && !auth->proxies.n && !auth->n_certificates)
        problems_add(problems, where,
                     "auth: nobody could call: it names no token_file, proxy_uids, peer or certificate");
}

/* ---- print, release ---- */

static void print_list(struct buf *out, const char *name, const struct config_list *list)
{
    buf_printf(out, " %s = {", name);
    for (size_t i = 0; i < list->n; i++) {
        buf_append_str(out, i ? ", " : "");
        config_quote(out, list->items[i]);
    }
    buf_append_char(out, '}');
}

static void print_grants(struct buf *out, const char *kind, const struct config_grant *grants, size_t n)
{
    static const char *const names[] = {"submit", "read", "admin"};
    for (size_t i = 0; i < n; i++) {
        const char *between = "";
        buf_printf(out, " %s ", kind);
        config_quote(out, grants[i].name);
        buf_append_str(out, " {");
        print_list(out, "tenants", &grants[i].tenants);
        buf_append_str(out, " scopes = {");
        for (unsigned k = 0; k < 3; k++) {
            if (!(grants[i].scopes & 1u << k))
                continue;
            buf_printf(out, "%s\"%s\"", between, names[k]);
            between = ", ";
        }
        buf_append_str(out, "} }");
    }
}

void auth_section_print(const struct config_auth *auth, struct buf *out)
{
    char duration[DURATION_TEXT_SIZE];
    buf_append_str(out, "auth {");
    if (auth->token_file) {
        buf_append_str(out, " token_file = ");
        config_quote(out, auth->token_file);
    }
    print_list(out, "proxy_uids", &auth->proxies);
    duration_format(auth->task_token_us, duration);
    buf_printf(out, " metrics = \"%s\" max_failures = %lld task_token = \"%s\"", auth->open_metrics ? "open" : "admin",
               (long long)auth->max_failures, duration);
    print_grants(out, "peer", auth->peers, auth->n_peers);
    print_grants(out, "certificate", auth->certificates, auth->n_certificates);
    buf_append_str(out, " }");
}

static void release_grants(struct config_grant *grants, size_t n)
{
    for (size_t i = 0; i < n; i++)
        grant_release(&grants[i]);
    free(grants);
}

void auth_section_release(struct config_auth *auth)
{
    free(auth->token_file);
    token_file_release(&auth->tokens);
    config_list_release(&auth->proxies);
    free(auth->proxy_uids);
    release_grants(auth->peers, auth->n_peers);
    release_grants(auth->certificates, auth->n_certificates);
}
