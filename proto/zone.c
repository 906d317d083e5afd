/* A zone is a table of transitions, and behind its last one a rule ("CET-1CEST,M3.5.0,M10.5.0/3") that goes on for ever.
 *
 * Flow: zone_load -> zone_parse -> read_table, read_rule;  cron.c -> zone_span. */
#include "proto/zone.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/civil.h"

#define DIRECTORY "/usr/share/zoneinfo"
#define FILE_MAX ((size_t)256 * 1024) /* the largest of today's has 4 KiB */
#define HEADER_SIZE 44u
#define OFFSET_MAX 93600 /* 26 hours: RFC 8536 */
#define DAY_S INT64_C(86400)

struct rule_date {
    char form; /* 'M': the week-th weekday of a month; 'J': the day of a year without 29 February; '0': with it */
    int month, week, day;
    int32_t time; /* local seconds into that day; may be negative or beyond it */
};

struct rule {
    bool present, has_summer;
    int32_t standard, summer; /* offsets */
    struct rule_date start, end;
};

struct transition {
    int64_t at;
    int32_t offset; /* from then on */
};

struct zone {
    struct rule rule;
    int32_t first; /* the offset before the first transition */
    size_t n;
    struct transition transitions[];
};

/* ---- the rule: POSIX's TZ, as far as a zoneinfo file has it ---- */

static bool skip_name(const char **at)
{
    const char *start = *at;
    if (**at == '<') {
        while (**at && **at != '>')
            (*at)++;
        return *(*at)++ == '>' && *at - start > 2;
    }
    while ((**at >= 'A' && **at <= 'Z') || (**at >= 'a' && **at <= 'z'))
        (*at)++;
    return *at - start >= 3;
}

static bool read_number(const char **at, int most, int *ret)
{
    int value = 0;
    const char *start = *at;
    for (; **at >= '0' && **at <= '9' && *at - start < 4; (*at)++)
        value = value * 10 + (**at - '0');
    *ret = value;
    return *at > start && value <= most;
}

/* [+-]hh[:mm[:ss]] */
static bool read_time(const char **at, int most_hours, int32_t *ret)
{
    int sign = **at == '-' ? -1 : 1, part[3] = {0};
    if (**at == '-' || **at == '+')
        (*at)++;
    if (!read_number(at, most_hours, &part[0]))
        return false;
    for (int i = 1; i < 3 && **at == ':'; i++) {
        (*at)++;
        if (!read_number(at, 59, &part[i]))
            return false;
    }
    *ret = sign * (part[0] * 3600 + part[1] * 60 + part[2]);
    return true;
}

static bool read_date(const char **at, struct rule_date *ret)
{
    *ret = (struct rule_date){.form = '0', .time = 7200};
    if (**at == 'M') {
        ret->form = 'M';
        (*at)++;
        if (!read_number(at, 12, &ret->month) || ret->month < 1 || *(*at)++ != '.' || !read_number(at, 5, &ret->week) ||
            ret->week < 1 || *(*at)++ != '.' || !read_number(at, 6, &ret->day))
            return false;
    } else {
        if (**at == 'J') {
            ret->form = 'J';
            (*at)++;
        }
        if (!read_number(at, 365, &ret->day) || (ret->form == 'J' && ret->day < 1))
            return false;
    }
    if (**at != '/')
        return true;
    (*at)++;
    return read_time(at, 167, &ret->time);
}

static bool read_rule(const char *text, struct rule *ret)
{
    const char *at = text;
    int32_t west;
    if (!skip_name(&at) || !read_time(&at, 24, &west))
        return false;
    ret->present = true;
    ret->standard = -west;
    ret->summer = ret->standard + 3600;
    if (!*at)
        return true;
    if (!skip_name(&at))
        return false;
    if (*at != ',') {
        if (!read_time(&at, 24, &west))
            return false;
        ret->summer = -west;
    }
    ret->has_summer = true;
    return *at++ == ',' && read_date(&at, &ret->start) && *at++ == ',' && read_date(&at, &ret->end) && !*at;
}

/* The date in one year, in local seconds since 1970. */
static int64_t date_in(const struct rule_date *date, int64_t year)
{
    int64_t days = civil_to_days(year, 1, 1) + date->day;
    if (date->form == 'J') {
        days += (civil_is_leap(year) && date->day >= 60) - 1;
    } else if (date->form == 'M') {
        int64_t first = civil_to_days(year, date->month, 1);
        int ahead = (date->day - civil_weekday(first) + 7) % 7 + (date->week - 1) * 7;
        if (ahead >= civil_days_in_month(year, date->month))
            ahead -= 7;
        days = first + ahead;
    }
    return days * DAY_S + date->time;
}

/* The changes of the years around, in order. */
#define AROUND 6
static void rule_around(const struct rule *rule, int64_t at, struct transition out[AROUND])
{
    int64_t days = at / DAY_S - (at % DAY_S < 0), year = civil_from_days(days).year;
    size_t n = 0;
    for (int64_t y = year - 1; y <= year + 1; y++) {
        out[n++] = (struct transition){date_in(&rule->start, y) - rule->standard, rule->summer};
        out[n++] = (struct transition){date_in(&rule->end, y) - rule->summer, rule->standard};
    }
    for (size_t i = 1; i < AROUND; i++) /* where summer time has no end, its start at the same moment counts */
        for (size_t k = i;
             k > 0 && (out[k].at < out[k - 1].at || (out[k].at == out[k - 1].at && out[k].offset == rule->standard &&
                                                     out[k - 1].offset != rule->standard));
             k--) {
            struct transition swap = out[k];
            out[k] = out[k - 1];
            out[k - 1] = swap;
        }
}

/* ---- asking ---- */

/* Behind the table.  `last` is where the table ends, `before` the offset until then. */
static struct zone_span rule_span(const struct rule *rule, int64_t last, int32_t before, int64_t at)
{
    struct zone_span span = {.start = last, .end = INT64_MAX, .offset = rule->standard, .before = before};
    if (!rule->has_summer)
        return span;
    struct transition around[AROUND];
    rule_around(rule, at, around);
    size_t i = AROUND - 1;
    while (i > 0 && around[i].at > at)
        i--;
    span.offset = around[i].offset;
    if (around[i].at > last) {
        span.start = around[i].at;
        span.before = i ? around[i - 1].offset : around[i + 1].offset;
    }
    if (i + 1 < AROUND)
        span.end = around[i + 1].at;
    return span;
}

struct zone_span zone_span(const struct zone *zone, int64_t at)
{
    struct zone_span span = {.start = INT64_MIN, .end = INT64_MAX};
    if (!zone)
        return span;
    size_t low = 0, high = zone->n; /* how many transitions are not after `at` */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (zone->transitions[middle].at <= at)
            low = middle + 1;
        else
            high = middle;
    }
    int32_t before = low > 1 ? zone->transitions[low - 2].offset : zone->first;
    if (low == zone->n && zone->rule.present)
        return rule_span(&zone->rule, low ? zone->transitions[low - 1].at : INT64_MIN, before, at);
    span.offset = low ? zone->transitions[low - 1].offset : zone->first;
    span.before = before;
    if (low)
        span.start = zone->transitions[low - 1].at;
    if (low < zone->n)
        span.end = zone->transitions[low].at;
    return span;
}

/* ---- the file ---- */

struct counts {
    size_t isut, isstd, leap, time, type, text;
};

static int64_t big_endian(const unsigned char *at, size_t size)
{
    uint64_t value = at[0] & 0x80 ? UINT64_MAX : 0;
    for (size_t i = 0; i < size; i++)
        value = value << 8 | at[i];
    return (int64_t)value;
}

/* The header at `data`; false: none. */
static bool read_header(const unsigned char *data, size_t len, struct counts *ret)
{
    if (len < HEADER_SIZE || memcmp(data, "TZif", 4) != 0)
        return false;
    size_t *const fields[] = {&ret->isut, &ret->isstd, &ret->leap, &ret->time, &ret->type, &ret->text};
    for (size_t i = 0; i < 6; i++) {
        int64_t count = big_endian(data + 20 + i * 4, 4);
        if (count < 0 || (size_t)count > FILE_MAX)
            return false;
        *fields[i] = (size_t)count;
    }
    return ret->type >= 1 && ret->type <= 256 && ret->leap == 0; /* "right/" zones count leap seconds: not our clock */
}

static size_t block_size(const struct counts *c, size_t time_size)
{
    return c->time * (time_size + 1) + c->type * 6 + c->text + c->leap * (time_size + 4) + c->isstd + c->isut;
}

static bool read_table(const unsigned char *block, const struct counts *c, size_t time_size, struct zone *zone)
{
    const unsigned char *indexes = block + c->time * time_size, *types = indexes + c->time;
    for (size_t i = 0; i < c->type; i++) {
        int64_t offset = big_endian(types + i * 6, 4);
        if (offset < -OFFSET_MAX || offset > OFFSET_MAX)
            return false;
    }
    zone->first = (int32_t)big_endian(types, 4);
    zone->n = c->time;
    for (size_t i = 0; i < c->time; i++) {
        struct transition *transition = &zone->transitions[i];
        if (indexes[i] >= c->type)
            return false;
        transition->at = big_endian(block + i * time_size, time_size);
        transition->offset = (int32_t)big_endian(types + (size_t)indexes[i] * 6, 4);
        if (i && transition->at <= zone->transitions[i - 1].at)
            return false;
    }
    return true;
}

static bool read_footer(const unsigned char *at, size_t len, struct zone *zone)
{
    char text[128];
    const unsigned char *end = len > 1 && at[0] == '\n' ? memchr(at + 1, '\n', len - 1) : NULL;
    if (!end || (size_t)(end - at) > sizeof text)
        return false;
    size_t n = (size_t)(end - at) - 1;
    memcpy(text, at + 1, n);
    text[n] = '\0';
    return n == 0 || read_rule(text, &zone->rule);
}

int zone_parse(const void *data, size_t len, struct zone **ret)
{
    const unsigned char *at = data;
    struct counts c;
    size_t time_size = 4;
    if (!read_header(at, len, &c))
        return -EINVAL;
    bool has_long = at[4] >= '2';
    if (has_long) { /* the same once more with 64 bits, and the rule */
        size_t skip = HEADER_SIZE + block_size(&c, 4);
        if (skip > len || !read_header(at + skip, len - skip, &c))
            return -EINVAL;
        at += skip;
        len -= skip;
        time_size = 8;
    }
    at += HEADER_SIZE;
    len -= HEADER_SIZE;
    size_t size = block_size(&c, time_size);
    if (size > len)
        return -EINVAL;
    struct zone *zone = calloc(1, sizeof *zone + c.time * sizeof zone->transitions[0]);
    if (!zone)
        return -ENOMEM;
    if (!read_table(at, &c, time_size, zone) || (has_long && !read_footer(at + size, len - size, zone))) {
        zone_free(zone);
        return -EINVAL;
    }
    *ret = zone;
    return 0;
}

bool zone_name_is_valid(const char *name, size_t len)
{
    if (len < 1 || len > ZONE_NAME_MAX || name[0] == '/' || name[len - 1] == '/')
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!letter && !(c != '\0' && strchr("_+-/", c))) /* no dot: no way out of the directory */
            return false;
    }
    return true;
}

static int read_file(const char *path, unsigned char *data, size_t *ret_len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), err = 0;
    if (fd < 0)
        return errno == ENOTDIR ? -ENOENT : -errno;
    size_t len = 0;
    while (len < FILE_MAX) {
        ssize_t n = read(fd, data + len, FILE_MAX - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            err = errno == EISDIR ? -ENOENT : -errno;
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    (void)close(fd);
    *ret_len = len;
    return err;
}

static void explain(int err, const char *name, const char *directory, char *error, size_t error_size)
{
    if (err == -ENOMEM)
        (void)snprintf(error, error_size, "there is no memory to read it");
    else if (err == -ENOENT && access(directory, X_OK) < 0)
        (void)snprintf(error, error_size, "cannot be looked up: there is no %s; install tzdata, or use UTC", directory);
    else if (err == -ENOENT)
        (void)snprintf(error, error_size, "is not a time zone that %s has; names look like Europe/Berlin", directory);
    else if (err == -EINVAL)
        (void)snprintf(error, error_size, "cannot be used: %s/%s is not a zone file", directory, name);
    else
        (void)snprintf(error, error_size, "cannot be read from %s/%s: %s", directory, name, strerror(-err));
}

int zone_load(const char *name, struct zone **ret, char *error, size_t error_size)
{
    const char *directory = getenv("TZDIR");
    char path[512];
    if (!zone_name_is_valid(name, strlen(name))) {
        (void)snprintf(error, error_size, "is not the name of a time zone, such as Europe/Berlin or UTC");
        return -EINVAL;
    }
    if (strcmp(name, "UTC") == 0) {
        *ret = calloc(1, sizeof **ret);
        if (*ret)
            return 0;
        explain(-ENOMEM, name, DIRECTORY, error, error_size);
        return -ENOMEM;
    }
    if (!directory || !*directory)
        directory = DIRECTORY;
    int n = snprintf(path, sizeof path, "%s/%s", directory, name), err = -ENOMEM;
    unsigned char *data = n > 0 && (size_t)n < sizeof path ? malloc(FILE_MAX) : NULL;
    size_t len = 0;
    if (data)
        err = read_file(path, data, &len);
    if (!err)
        err = zone_parse(data, len, ret);
    free(data);
    if (err)
        explain(err, name, directory, error, error_size);
    return err;
}

void zone_free(struct zone *zone)
{
    free(zone);
}
