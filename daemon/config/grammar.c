#include "config/grammar.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"

#define DIGITS "0123456789"
#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define ALNUM LOWER UPPER DIGITS

static bool made_of(const char *text, const char *allowed, size_t max)
{
    size_t len = strlen(text);
    return len >= 1 && len <= max && strspn(text, allowed) == len;
}

const char *check_tenant(const char *text)
{
    if (made_of(text, ALNUM "!-_.*'()", 150) && strcmp(text, ".") != 0 && strcmp(text, "..") != 0)
        return NULL;
    return "must be a tenant: 1 to 150 of A-Z a-z 0-9 ! - _ . * ' ( ), and not \".\" or \"..\"";
}

const char *check_field_name(const char *text)
{
    return made_of(text, ALNUM "!#$%&'*+-.^_`|~", 256) ? NULL : "must be the name of a header, such as X-Region";
}

const char *check_variable_name(const char *text)
{
    static const char *const own[] = {"tenant",   "traceparent", "tracestate", "baggage", "request_id",
                                      "deadline", "task_id",     "attempt",    "task",    "correlation_id"};
    if (!islower((unsigned char)text[0]) || !made_of(text, LOWER DIGITS "_.-", 64))
        return "must be the name of a variable: a lower-case letter, then up to 63 of a-z 0-9 _ . -";
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (strcmp(text, own[i]) == 0)
            return "is one of Satchel's own variables; choose another name";
    return NULL;
}

const char *check_task_name(const char *text)
{
    if (!made_of(text, ALNUM "._-", 64))
        return "must be the name of a task: 1 to 64 of A-Z a-z 0-9 . _ -";
    return strncmp(text, "satchel.", 8) == 0 ? "is reserved: names that start with satchel. are built in" : NULL;
}

const char *check_canaries(const char *text)
{
    bool good = strcmp(text, "auto") == 0 || strcmp(text, "on") == 0 || strcmp(text, "off") == 0;
    return good ? NULL : "must be auto, on or off";
}

const char *check_log_level(const char *text)
{
    enum log_level level;
    return log_level_parse(text, &level) ? NULL : "must be error, warning, notice, info or debug";
}

const char *check_store(const char *text)
{
    if (strncmp(text, "postgresql:", 11) == 0 || strncmp(text, "postgres:", 9) == 0)
        return "names PostgreSQL, which this version cannot use; write sqlite:PATH";
    if (strncmp(text, "sqlite:", 7) == 0 && text[7] != '\0')
        return NULL;
    return "must be sqlite:PATH";
}

const char *check_absolute_path(const char *text)
{
    return text[0] == '/' ? NULL : "must be an absolute path";
}

const char *check_file(const char *text)
{
    static const char credential[] = "credential:";
    size_t len = sizeof credential - 1;
    if (strncmp(text, credential, len) == 0)
        return text[len] && text[len] != '.' && !strchr(text, '/') ? NULL : "must name a credential: credential:NAME";
    return text[0] == '/' ? NULL : "must be an absolute path, or credential:NAME";
}

const char *check_template(const char *text)
{
    const char *at = text;
    while ((at = strstr(at, "{{"))) {
        const char *end = strstr(at, "}}");
        if (!end)
            return "has a {{ without its }}";
        at += 2;
        while (*at == ' ')
            at++;
        bool of_after = strncmp(at, "after", 5) == 0;
        if (!of_after && strncmp(at, "args", 4) != 0)
            return "has a template that is neither {{args.NAME}} nor {{after.N}}";
        for (at += of_after ? 5 : 4; *at == '.';) {
            size_t len = strspn(++at, ALNUM "_-");
            if (len == 0 || len > 64)
                return "has a template whose NAME in {{args.NAME}} is not made of A-Z a-z 0-9 _ -";
            at += len;
        }
        while (*at == ' ')
            at++;
        if (at != end)
            return "has a template that is neither {{args.NAME}} nor {{after.N}}";
        at = end + 2;
    }
    return NULL;
}

const char *check_header_line(const char *text)
{
    const char *colon = strchr(text, ':');
    char name[257];
    if (!colon || colon == text || (size_t)(colon - text) >= sizeof name)
        return "must be written \"Name: value\"";
    memcpy(name, text, (size_t)(colon - text));
    name[colon - text] = '\0';
    if (check_field_name(name))
        return "must be written \"Name: value\"";
    for (const char *at = colon; *at; at++)
        if (((unsigned char)*at < 0x20 && *at != '\t') || *at == 0x7f)
            return "has a control character in its value";
    return NULL;
}

const char *check_environment(const char *text)
{
    size_t len = strspn(text, ALNUM "_");
    if (len == 0 || isdigit((unsigned char)text[0]) || (text[len] != '\0' && text[len] != '='))
        return "must be written \"NAME\" or \"NAME=value\"";
    return NULL;
}

const char *check_url(const char *text)
{
    const char *problem = check_template(text);
    if (problem)
        return problem;
    for (const char *at = text; *at; at++)
        if ((unsigned char)*at <= 0x20 || *at == 0x7f)
            return "has a space or a control character";
    if (strncmp(text, "{{", 2) == 0)
        return NULL;
    const char *host = strncasecmp(text, "http://", 7) == 0    ? text + 7
                       : strncasecmp(text, "https://", 8) == 0 ? text + 8
                                                               : NULL;
    if (!host || strcspn(host, "/?#") == 0)
        return "must be an http:// or https:// URL";
    if (memchr(host, '@', strcspn(host, "/?#")))
        return "must not hold a user name or a password";
    return NULL;
}

const char *check_endpoint(const char *text)
{
    return strstr(text, "{{") ? "must be an http:// or https:// URL" : check_url(text);
}

const char *check_sampler(const char *text)
{
    static const char *const names[] = {"parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio",
                                        "always_on", "always_off"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], text) == 0)
            return NULL;
    return "must be parentbased_always_on, parentbased_traceidratio, parentbased_always_off, always_on or always_off";
}

const char *check_ratio(const char *text)
{
    char *end;
    double ratio = strtod(text, &end);
    return *end == '\0' && ratio >= 0 && ratio <= 1 ? NULL : "must be a number from 0 to 1";
}

static bool is_network(const char *text)
{
    unsigned char bytes[16];
    char address[64];
    size_t len = strcspn(text, "/");
    int64_t bits;
    if (len == 0 || len >= sizeof address)
        return false;
    memcpy(address, text, len);
    address[len] = '\0';
    bool four = inet_pton(AF_INET, address, bytes) == 1, six = inet_pton(AF_INET6, address, bytes) == 1;
    return (four || six) && (!text[len] || (number_parse(text + len + 1, &bits) && bits <= (four ? 32 : 128)));
}

/* A host, or *.SUFFIX.  What ends in a number would be an address that is written wrongly. */
static bool is_host(const char *text, size_t len)
{
    char name[256];
    if (len >= sizeof name)
        return false;
    memcpy(name, text, len);
    name[len] = '\0';
    const char *host = strncmp(name, "*.", 2) == 0 ? name + 2 : name, *last = strrchr(host, '.');
    last = last && last[1] ? last + 1 : host;
    return host[0] != '.' && made_of(host, ALNUM ".-_", 253) && !strstr(host, "..") &&
           strspn(last, DIGITS ".") != strlen(last);
}

const char *check_allow(const char *text)
{
    const char *equals = strchr(text, '=');
    bool host = is_host(text, equals ? (size_t)(equals - text) : strlen(text));
    if ((!equals && (host || is_network(text))) || (equals && host && is_network(equals + 1)))
        return NULL;
    return "must be an address, a network such as 10.0.0.0/8, a host name, *.example.com, or a name and where it is: "
           "db.example.com=10.1.0.0/16";
}

bool grammar_is_own_header(const char *name)
{
    static const char *const own[] = {"host",
                                      "content-length",
                                      "content-type",
                                      "transfer-encoding",
                                      "connection",
                                      "keep-alive",
                                      "expect",
                                      "te",
                                      "trailer",
                                      "upgrade",
                                      "prefer",
                                      "idempotency-key",
                                      "x-request-id",
                                      "x-tenant-id",
                                      "x-scope-orgid",
                                      "x-satchel-deadline",
                                      "traceparent",
                                      "tracestate",
                                      "baggage",
                                      "x-correlation-id",
                                      "proxy-connection",
                                      "authorization"};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (strcasecmp(name, own[i]) == 0)
            return true;
    return false;
}

bool grammar_is_environment(const char *header)
{
    static const char *const names[] = {
        "BASHOPTS",   "CDPATH",      "DISPLAY",          "EDITOR",      "ENV",
        "GLOBIGNORE", "HOME",        "HOSTALIASES",      "IFS",         "LANG",
        "LANGUAGE",   "LOCALDOMAIN", "LOGNAME",          "MAIL",        "NLSPATH",
        "PAGER",      "PATH",        "PERL5LIB",         "PERL5OPT",    "PROMPT_COMMAND",
        "PS4",        "PWD",         "RESOLV_HOST_CONF", "RES_OPTIONS", "SHELL",
        "SHELLOPTS",  "TERM",        "TERMINFO",         "TMPDIR",      "TZ",
        "TZDIR",      "USER",        "VISUAL",           "HTTP_PROXY",  "HTTPS_PROXY",
        "ALL_PROXY",  "NO_PROXY"};
    static const char *const beginnings[] = {
        "BASH_", "CURL_",    "DYLD_", "GCONV_", "GIT_", "GLIBC_",   "JAVA_", "LC_",  "LD_",   "MALLOC_",  "NODE_",
        "NPM_",  "OPENSSL_", "PERL_", "PYTHON", "RUBY", "SATCHEL_", "SSL_",  "SSH_", "SUDO_", "SYSTEMD_", "XDG_"};
    char name[257];
    size_t n = 0;
    for (; header[n] && n + 1 < sizeof name; n++)
        name[n] = (char)(isalnum((unsigned char)header[n]) ? toupper((unsigned char)header[n]) : '_');
    name[n] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    for (size_t i = 0; i < sizeof beginnings / sizeof beginnings[0]; i++)
        if (strncmp(name, beginnings[i], strlen(beginnings[i])) == 0)
            return true;
    return false;
}

bool number_parse(const char *text, int64_t *ret)
{
    int64_t value = 0;
    if (!*text)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *text - '0', &value))
            return false;
    }
    *ret = value;
    return true;
}

static const struct {
    const char *name;
    int64_t bytes;
} sizes[] = {
    {"TiB", INT64_C(1) << 40},
    {"GiB", INT64_C(1) << 30},
    {"MiB", INT64_C(1) << 20},
    {"KiB", INT64_C(1) << 10},
    {"T", INT64_C(1) << 40},
    {"G", INT64_C(1) << 30},
    {"M", INT64_C(1) << 20},
    {"K", INT64_C(1) << 10},
    {"TB", 1000000000000},
    {"GB", 1000000000},
    {"MB", 1000000},
    {"KB", 1000},
    {"B", 1},
    {"", 1},
};
#define N_SIZES (sizeof sizes / sizeof sizes[0])

bool size_parse(const char *text, int64_t *ret)
{
    char digits[24];
    int64_t value;
    size_t len = strspn(text, DIGITS);
    if (len == 0 || len >= sizeof digits)
        return false;
    memcpy(digits, text, len);
    digits[len] = '\0';
    text += len + (text[len] == ' ');
    if (!number_parse(digits, &value))
        return false;
    for (size_t i = 0; i < N_SIZES; i++)
        if (strcasecmp(sizes[i].name, text) == 0)
            return !__builtin_mul_overflow(value, sizes[i].bytes, ret);
    return false;
}

void size_format(int64_t bytes, char out[SIZE_TEXT_SIZE])
{
    size_t i = 0;
    while (i < 4 && (bytes == 0 || bytes % sizes[i].bytes != 0))
        i++;
    (void)snprintf(out, SIZE_TEXT_SIZE, "%" PRId64 "%s", i < 4 ? bytes / sizes[i].bytes : bytes,
                   i < 4 ? sizes[i].name : "");
}

bool switch_parse(const char *text, bool *ret)
{
    static const char *const on[] = {"true", "yes", "on"}, *const off[] = {"false", "no", "off"};
    for (size_t i = 0; i < 3; i++) {
        if (strcasecmp(text, on[i]) == 0 || strcasecmp(text, off[i]) == 0) {
            *ret = strcasecmp(text, on[i]) == 0;
            return true;
        }
    }
    return false;
}
