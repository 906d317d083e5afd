/* satchel token: makes, lists and revokes the bearer tokens in a file of satcheld's.  It works on the file alone and
 * asks no daemon; a reload (SIGHUP) takes the change up.  The token is printed once and kept nowhere. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/cli/cli.h"
#include "proto/buf.h"
#include "proto/timetext.h"
#include "proto/token_file.h"

#define IDS_MAX 256

struct token_command {
    const struct verb *verb;
    const char *file, *scope, *expires;
};

static int on_option(void *arg, const char *name, const char *value)
{
    struct token_command *t = arg;
    if (strcmp(name, "file") == 0)
        t->file = value;
    else if (strcmp(name, "scope") == 0)
        t->scope = value;
    else
        t->expires = value;
    return 0;
}

static int64_t now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ---- create ---- */

static int read_expires(const struct token_command *t, int64_t *ret_us)
{
    int64_t us;
    *ret_us = 0;
    if (!t->expires || strcmp(t->expires, "never") == 0)
        return -1;
    size_t len = strlen(t->expires);
    if (timestamp_parse(t->expires, len, &us) && us > now_us())
        *ret_us = us;
    else if (duration_parse(t->expires, len, &us) && us > 0)
        *ret_us = now_us() + us;
    else
        return usage(t->verb, "--expires takes a duration such as 90d, a time to come (RFC 3339), or never");
    return -1;
}

/* Cuts the list in place. */
static int read_tenants(const struct token_command *t, char *list, const char *tenants[], size_t *ret_n)
{
    size_t n = 0;
    for (char *at = list, *next; at; at = next) {
        next = strchr(at, ',');
        if (next)
            *next++ = '\0';
        const char *wrong = token_tenant_check(slice_str(at));
        if (wrong)
            return usage(t->verb, "--tenant: \"%s\": %s", at, wrong);
        if (n == TOKEN_TENANTS_MAX)
            return usage(t->verb, "--tenant takes at most %u tenants", TOKEN_TENANTS_MAX);
        tenants[n++] = at;
    }
    for (size_t i = 0; i < n && n > 1; i++)
        if (strcmp(tenants[i], "*") == 0)
            return usage(t->verb, "--tenant: * means all tenants, and stands alone");
    *ret_n = n;
    return -1;
}

static void print_created(const struct common *common, const struct token_order *order, const char *token)
{
    char id[TOKEN_ID_SIZE] = "", scopes[TOKEN_SCOPES_SIZE], time[TIMESTAMP_TEXT_SIZE] = "";
    if (!common->json) {
        (void)printf("%s\n", token);
        return;
    }
    (void)token_parse(slice_str(token), id);
    token_scopes_format(order->scopes, scopes);
    if (order->expires_us)
        timestamp_format(order->expires_us, time);
    (void)printf("{\"id\":\"%s\",\"token\":\"%s\",\"scopes\":\"%s\",\"expires_at\":%s%s%s}\n", id, token, scopes,
                 *time ? "\"" : "", *time ? time : "null", *time ? "\"" : "");
}

static int create_for(const struct token_command *t, const struct common *common, char *list)
{
    static const char *tenants[TOKEN_TENANTS_MAX];
    struct token_order order = {.tenants = tenants};
    char token[TOKEN_TEXT_SIZE], error[TOKEN_ERROR_SIZE];
    int code = read_tenants(t, list, tenants, &order.n_tenants);
    if (code == -1)
        code = read_expires(t, &order.expires_us);
    if (code == -1 && (!t->scope || !token_scopes_parse(slice_str(t->scope), &order.scopes)))
        code = usage(t->verb, "--scope takes a list of submit, read, admin");
    if (code != -1)
        return code;
    if (token_file_add(t->file, &order, token, error) < 0) {
        complain(common, "%s", error);
        return EXIT_CONFIG;
    }
    print_created(common, &order, token);
    explicit_bzero(token, sizeof token);
    return 0;
}

static int create(const struct token_command *t, const struct common *common, const char *const ids[], int n)
{
    (void)ids;
    if (n)
        return usage(t->verb, "create takes no further arguments");
    if (!common->tenant)
        return usage(t->verb, "create needs --tenant: whose tasks, or * for all tenants");
    char *list = strdup(common->tenant);
    int code = list ? create_for(t, common, list) : EXIT_SOFTWARE;
    free(list);
    return code;
}

/* ---- list ---- */

static void append_tenants(struct buf *out, const struct token_record *record, bool json)
{
    const char *quote = json ? "\"" : "";
    for (size_t i = 0; i < record->n_tenants; i++)
        buf_printf(out, "%s%s%s%s", i ? "," : "", quote, record->tenants[i],
                   quote); /* no character that JSON escapes */
    if (record->all_tenants)
        buf_printf(out, "%s*%s", quote, quote);
}

static void append_record(struct buf *out, const struct token_record *record, bool json)
{
    char created[TIMESTAMP_TEXT_SIZE], expires[TIMESTAMP_TEXT_SIZE] = "never", scopes[TOKEN_SCOPES_SIZE];
    bool expired = record->expires_us && record->expires_us <= now_us();
    timestamp_format(record->created_us, created);
    if (record->expires_us)
        timestamp_format(record->expires_us, expires);
    token_scopes_format(record->scopes, scopes);
    if (json) {
        const char *quote = record->expires_us ? "\"" : "";
        buf_printf(out, "{\"id\":\"%s\",\"created_at\":\"%s\",\"expires_at\":%s%s%s,\"expired\":%s,\"scopes\":\"%s\"",
                   record->id, created, quote, record->expires_us ? expires : "null", quote, expired ? "true" : "false",
                   scopes);
        buf_append_str(out, ",\"tenants\":[");
        append_tenants(out, record, true);
        buf_append_str(out, "]}\n");
    } else {
        buf_printf(out, "%s  %s  %-27s  %-17s  ", record->id, created, expires, scopes);
        append_tenants(out, record, false);
        buf_append_str(out, expired ? "  (expired)\n" : "\n");
    }
}

static int list(const struct token_command *t, const struct common *common, const char *const ids[], int n)
{
    (void)ids;
    struct token_file file;
    char error[TOKEN_ERROR_SIZE];
    struct buf out = BUF_INIT;
    if (n)
        return usage(t->verb, "list takes no further arguments");
    if (token_file_read(t->file, &file, error) < 0) {
        complain(common, "%s", error);
        return EXIT_CONFIG;
    }
    for (size_t i = 0; i < file.n; i++)
        append_record(&out, &file.records[i], common->json);
    token_file_release(&file);
    bool whole = buf_ok(&out);
    if (whole && out.len)
        (void)fwrite(out.data, 1, out.len, stdout);
    else if (!whole)
        complain(common, "out of memory");
    buf_release(&out);
    return whole ? 0 : EXIT_SOFTWARE;
}

/* ---- revoke ---- */

static int revoke(const struct token_command *t, const struct common *common, const char *const ids[], int n)
{
    static char own[IDS_MAX][TOKEN_ID_SIZE];
    const char *wanted[IDS_MAX];
    char error[TOKEN_ERROR_SIZE];
    if (n == 0)
        return usage(t->verb, "revoke needs the id of a token; satchel token list shows them");
    for (int i = 0; i < n; i++) { /* the whole token names itself, too */
        wanted[i] = token_parse(slice_str(ids[i]), own[i]) ? own[i] : ids[i];
        if (!token_id_is_valid(slice_str(wanted[i])))
            return usage(t->verb, "argument %d of revoke is not the id of a token", i + 1);
    }
    int result = token_file_remove(t->file, wanted, (size_t)n, error);
    if (result)
        complain(common, "%s", error);
    return result < 0 ? EXIT_CONFIG : result ? EXIT_DATA : 0;
}

int verb_token(const struct verb *verb, int argc, char *const argv[])
{
    static const struct {
        const char *name;
        int (*run)(const struct token_command *t, const struct common *common, const char *const ids[], int n);
    } commands[] = {{"create", create}, {"list", list}, {"revoke", revoke}};
    struct token_command t = {.verb = verb};
    struct common common;
    const char *operands[IDS_MAX + 1];
    int n;
    int code = options_parse(verb, argc, argv, &common, operands, IDS_MAX + 1, &n, on_option, &t);
    if (code != -1)
        return code;
    if (n == 0)
        return usage(verb, "what is to be done: create, list or revoke?");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(operands[0], commands[i].name) != 0)
            continue;
        if (!t.file)
            return usage(verb, "--file is missing: the file that satcheld's token_file names");
        return commands[i].run(&t, &common, operands + 1, n - 1);
    }
    return usage(verb, "%s is not create, list or revoke", operands[0]);
}
