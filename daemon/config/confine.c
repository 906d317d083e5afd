#include "config/confine.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "config/grammar.h"
#include "config/options.h"
#include "proto/timetext.h"

/* linux/capability.h has them too, and a header that ours must not depend on */
#define CAP_KILL 5
#define CAP_SETGID 6
#define CAP_SETUID 7
#define CAP_SYS_RESOURCE 24

#define LOOKUP_MAX (1u << 20) /* bytes of one entry of the user database */
#define CPU_PARTS 1000.0
#define CPUS_MAX 10000.0

const char *const confine_settings[] = {"user",          "group",      "umask",   "limits",   "nice",
                                        "oom_score_adj", "memory_max", "cpu_max", "pids_max", NULL};

enum limit_kind { LIMIT_BYTES, LIMIT_SECONDS, LIMIT_COUNT };

static const struct {
    const char *name;
    int resource;
    enum limit_kind kind;
} limits[] = {
    {"as", RLIMIT_AS, LIMIT_BYTES},         {"core", RLIMIT_CORE, LIMIT_BYTES},
    {"cpu", RLIMIT_CPU, LIMIT_SECONDS},     {"data", RLIMIT_DATA, LIMIT_BYTES},
    {"fsize", RLIMIT_FSIZE, LIMIT_BYTES},   {"memlock", RLIMIT_MEMLOCK, LIMIT_BYTES},
    {"nofile", RLIMIT_NOFILE, LIMIT_COUNT}, {"nproc", RLIMIT_NPROC, LIMIT_COUNT},
    {"stack", RLIMIT_STACK, LIMIT_BYTES},
};
#define N_LIMITS (sizeof limits / sizeof limits[0])
_Static_assert(N_LIMITS <= CONFIG_LIMITS_MAX, "each limit once");

const char *confine_limit_name(int resource)
{
    for (size_t i = 0; i < N_LIMITS; i++)
        if (limits[i].resource == resource)
            return limits[i].name;
    return "?";
}

/* Whether what we start will have the capability: as root what its bounding set leaves, else what is ambient. */
static bool has_capability(int capability)
{
    return geteuid() == 0 ? prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1
                          : prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, capability, 0, 0) == 1;
}

/* ---- user and group ---- */

/* A name, or a number: then *ret_id.  True: it is a number. */
static bool read_id(const char *text, int64_t *ret_id)
{
    return number_parse(text, ret_id) && *ret_id < INT32_MAX;
}

/* 0 and the entry where there is one (*ret NULL: there is none), or an errno.  *ret_room is to be freed. */
static int look_up_user(const char *name, int64_t id, struct passwd *entry, struct passwd **ret, char **ret_room)
{
    for (size_t size = 4096;; size *= 4) {
        char *room = malloc(size);
        if (!room)
            return ENOMEM;
        int err = name ? getpwnam_r(name, entry, room, size, ret) : getpwuid_r((uid_t)id, entry, room, size, ret);
        *ret_room = room;
        if (err != ERANGE || size >= LOOKUP_MAX)
            return err;
        free(room);
    }
}

static int look_up_group(const char *name, gid_t *ret, bool *ret_found)
{
    struct group entry, *found = NULL;
    for (size_t size = 4096;; size *= 4) {
        char *room = malloc(size);
        if (!room)
            return ENOMEM;
        int err = getgrnam_r(name, &entry, room, size, &found);
        *ret_found = err == 0 && found;
        if (*ret_found)
            *ret = found->gr_gid;
        free(room);
        if (err != ERANGE || size >= LOOKUP_MAX)
            return err;
    }
}

static bool look_up_groups(struct config_confine *confine, const char *login)
{
    int n = 16;
    for (;;) {
        gid_t *list = realloc(confine->groups, (size_t)n * sizeof *list);
        if (!list)
            return false;
        confine->groups = list;
        int room = n;
        if (getgrouplist(login, confine->gid, list, &n) >= 0) {
            confine->n_groups = (size_t)n;
            return true;
        }
        n = n > room ? n : room * 2;
        if (n > 65536)
            return false;
    }
}

/* The user database's entry, or a number without one, which then needs a group. */
static bool find_user(struct config_confine *confine, struct section *s)
{
    struct passwd entry, *found = NULL;
    char *room = NULL;
    int64_t id = 0;
    bool number = read_id(confine->user, &id);
    int err = look_up_user(number ? NULL : confine->user, id, &entry, &found, &room);
    bool good = err == 0 && found;
    if (good) {
        confine->uid = found->pw_uid;
        confine->gid = found->pw_gid;
        confine->login = strdup(found->pw_name);
        confine->home = strdup(found->pw_dir);
        good = confine->login && confine->home;
        if (!good)
            problems_add(s->problems, s->where, "out of memory");
    } else if (err == 0 && number && confine->group) {
        confine->uid = (uid_t)id;
        good = true;
    } else if (err == 0 || err == ENOENT || err == ESRCH) {
        section_problem(s, "user", number ? "has no entry among the users, so group must be set" : "is no user");
    } else {
        section_problem(s, "user", err == ENOMEM ? "cannot be looked up: no memory" : "cannot be looked up");
    }
    free(room);
    return good;
}

static bool find_group(struct config_confine *confine, struct section *s)
{
    int64_t id;
    bool found = false;
    if (read_id(confine->group, &id)) {
        confine->gid = (gid_t)id;
        return true;
    }
    int err = look_up_group(confine->group, &confine->gid, &found);
    if (!found)
        section_problem(s, "group", err == 0 || err == ENOENT || err == ESRCH ? "is no group" : "cannot be looked up");
    return found;
}

static void read_identity(struct config_confine *confine, struct section *s)
{
    section_text(s, "user", NULL, &confine->user);
    section_text(s, "group", NULL, &confine->group);
    if (!confine->user && !confine->group)
        return;
    confine->uid = geteuid();
    confine->gid = getegid();
    if ((confine->user && !find_user(confine, s)) || (confine->group && !find_group(confine, s)))
        return;
    if (confine->login && !look_up_groups(confine, confine->login)) {
        section_problem(s, "user", "has groups that cannot be looked up");
        return;
    }
    confine->identity = true;
    if (has_capability(CAP_SETUID) && has_capability(CAP_SETGID) && has_capability(CAP_KILL))
        return;
    if (confine->uid == geteuid() && confine->gid == getegid()) { /* it is that already */
        confine->identity = false;
        return;
    }
    section_problem(s,
                    confine->user && confine->uid != geteuid() ? "user"
                    : confine->group                           ? "group"
                                                               : "user",
                    "is not who satcheld runs as: that needs root, or CAP_SETUID, CAP_SETGID and CAP_KILL as ambient "
                    "capabilities");
}

/* ---- limits ---- */

static bool read_amount(enum limit_kind kind, const char *text, uint64_t *ret)
{
    int64_t value = 0;
    bool good = false;
    if (strcmp(text, "unlimited") == 0) {
        *ret = RLIM_INFINITY;
        return true;
    }
    switch (kind) {
    case LIMIT_BYTES: good = size_parse(text, &value); break;
    case LIMIT_COUNT: good = number_parse(text, &value); break;
    case LIMIT_SECONDS:
        good = duration_parse(text, strlen(text), &value) && value >= 1000000 && value % 1000000 == 0;
        value /= 1000000;
        break;
    }
    *ret = (uint64_t)value;
    return good && value >= 0;
}

/* Nobody but root gets more than satcheld itself has; core dumps it has none. */
static bool is_above(int resource, uint64_t value)
{
    struct rlimit own;
    if (has_capability(CAP_SYS_RESOURCE) || getrlimit((__rlimit_resource_t)resource, &own) < 0)
        return false;
    return value > (resource == RLIMIT_CORE ? 0 : own.rlim_max);
}

static const char *read_limit(struct config_confine *confine, const char *text)
{
    static const char form[] = "must be NAME=VALUE, such as nofile=256, cpu=60s, as=512MiB or nproc=unlimited";
    size_t len = strcspn(text, "="), i = 0;
    uint64_t value;
    while (i < N_LIMITS && (strlen(limits[i].name) != len || memcmp(limits[i].name, text, len) != 0))
        i++;
    if (i == N_LIMITS)
        return "must be NAME=VALUE with one of as, core, cpu, data, fsize, memlock, nofile, nproc, stack";
    if (text[len] != '=' || !read_amount(limits[i].kind, text + len + 1, &value))
        return limits[i].kind == LIMIT_SECONDS ? "must be whole seconds, such as cpu=60s or cpu=5m" : form;
    for (size_t k = 0; k < confine->n_limits; k++)
        if (confine->limits[k].resource == limits[i].resource)
            return "sets this limit twice";
    if (is_above(limits[i].resource, value))
        return "is more than satcheld itself may have, which only root can give";
    confine->limits[confine->n_limits++] = (struct config_limit){limits[i].resource, value};
    return NULL;
}

static void read_limits(struct config_confine *confine, struct section *s)
{
    size_t n = source_count(s->cfg, "limits");
    for (size_t i = 0; i < n; i++) {
        struct config_where where;
        const char *text = source_value(s->cfg, "limits", i, &where), *wrong = read_limit(confine, text);
        if (wrong)
            problems_add(s->problems, where, "task \"%s\": limits: \"%s\" %s", s->title, text, wrong);
    }
}

/* ---- the rest ---- */

static void read_umask(struct config_confine *confine, struct section *s)
{
    struct config_where where;
    if (!source_is_set(s->cfg, "umask"))
        return;
    const char *text = source_value(s->cfg, "umask", 0, &where);
    size_t len = strspn(text, "01234567");
    unsigned long value = strtoul(text, NULL, 8);
    confine->has_umask = len > 0 && len <= 4 && !text[len] && value <= 0777;
    confine->umask = (unsigned)value;
    if (!confine->has_umask)
        section_problem(s, "umask", "must be an octal number from 0 to 0777");
}

/* A whole number that may be negative. */
static bool read_signed(struct section *s, const char *name, int min, int max, const char *wrong, int *ret)
{
    struct config_where where;
    int64_t value;
    if (!source_is_set(s->cfg, name))
        return false;
    const char *text = source_value(s->cfg, name, 0, &where);
    bool minus = text[0] == '-';
    if (!number_parse(text + minus, &value) || value > 100000 || (minus ? -value : value) < min ||
        (minus ? -value : value) > max) {
        section_problem(s, name, wrong);
        return false;
    }
    *ret = (int)(minus ? -value : value);
    return true;
}

static void read_size(struct section *s, const char *name, int64_t *field)
{
    struct config_where where;
    int64_t value;
    if (!source_is_set(s->cfg, name))
        return;
    if (size_parse(source_value(s->cfg, name, 0, &where), &value) && value >= 65536)
        *field = value;
    else
        section_problem(s, name, "must be a size such as 512MiB, at least 64KiB");
}

static void read_cpus(struct section *s, int64_t *field_milli)
{
    struct config_where where;
    char *end;
    if (!source_is_set(s->cfg, "cpu_max"))
        return;
    const char *text = source_value(s->cfg, "cpu_max", 0, &where);
    double value = strtod(text, &end);
    if (end != text && !*end && value >= 0.01 && value <= CPUS_MAX)
        *field_milli = (int64_t)(value * CPU_PARTS + 0.5);
    else
        section_problem(s, "cpu_max", "must be a number of processors, such as 1.5, from 0.01 to 10000");
}

void confine_read(struct config_confine *confine, struct section *s)
{
    read_identity(confine, s);
    read_umask(confine, s);
    read_limits(confine, s);
    confine->has_nice =
        read_signed(s, "nice", -20, 19, "must be a whole number from -20 (first) to 19 (last)", &confine->nice);
    confine->has_oom_score_adj =
        read_signed(s, "oom_score_adj", -1000, 1000, "must be a whole number from -1000 (never) to 1000 (first of all)",
                    &confine->oom_score_adj);
    read_size(s, "memory_max", &confine->memory_max);
    read_cpus(s, &confine->cpu_max_milli);
    section_number(s, "pids_max", 1, 4194304, &confine->pids_max);
}

static void print_limit(struct buf *out, const struct config_limit *limit)
{
    enum limit_kind kind = LIMIT_COUNT;
    char size[SIZE_TEXT_SIZE];
    for (size_t i = 0; i < N_LIMITS; i++)
        if (limits[i].resource == limit->resource)
            kind = limits[i].kind;
    buf_printf(out, "\"%s=", confine_limit_name(limit->resource));
    if (limit->value == RLIM_INFINITY) {
        buf_append_str(out, "unlimited");
    } else if (kind == LIMIT_BYTES) {
        size_format((int64_t)limit->value, size);
        buf_append_str(out, size);
    } else {
        buf_printf(out, "%llu%s", (unsigned long long)limit->value, kind == LIMIT_SECONDS ? "s" : "");
    }
    buf_append_char(out, '"');
}

void confine_print(const struct config_confine *confine, struct buf *out)
{
    char size[SIZE_TEXT_SIZE];
    if (confine->user) {
        buf_append_str(out, " user = ");
        config_quote(out, confine->user);
    }
    if (confine->group) {
        buf_append_str(out, " group = ");
        config_quote(out, confine->group);
    }
    if (confine->has_umask)
        buf_printf(out, " umask = \"%04o\"", confine->umask);
    for (size_t i = 0; i < confine->n_limits; i++) {
        buf_append_str(out, i ? ", " : " limits = {");
        print_limit(out, &confine->limits[i]);
    }
    if (confine->n_limits)
        buf_append_char(out, '}');
    if (confine->has_nice)
        buf_printf(out, " nice = %d", confine->nice);
    if (confine->has_oom_score_adj)
        buf_printf(out, " oom_score_adj = %d", confine->oom_score_adj);
    if (confine->memory_max) {
        size_format(confine->memory_max, size);
        buf_printf(out, " memory_max = \"%s\"", size);
    }
    if (confine->cpu_max_milli)
        buf_printf(out, " cpu_max = %g", (double)confine->cpu_max_milli / CPU_PARTS);
    if (confine->pids_max)
        buf_printf(out, " pids_max = %lld", (long long)confine->pids_max);
}

void confine_release(struct config_confine *confine)
{
    free(confine->user);
    free(confine->group);
    free(confine->login);
    free(confine->home);
    free(confine->groups);
}
