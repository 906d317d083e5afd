/* Parsing is by fields, each a set of bits.  The search goes through local time (dates as if there were no zones), one
 * stretch of constant offset after the other; zone.c knows the stretches.
 *
 * Where hours are restricted, every local time belongs to exactly one stretch, the first that has it: a stretch owns
 * the local times from where the one before ended to its own end.  Those that lie in a gap come before its own first
 * one and are moved there.  So times never go backwards, and each is found once. */
#include "proto/cron.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "proto/civil.h"
#include "proto/timetext.h"
#include "proto/zone.h"

#define SECOND_US INT64_C(1000000)
#define DAY_S INT64_C(86400)
#define ALL_HOURS 0xffffffu
#define LAST_S INT64_C(253402300800) /* the year 10000 */
#define SEARCH_DAYS (41 * 366)       /* 29 February on a given weekday comes within 40 years */

/* ---- parsing ---- */

static const char *const month_names[] = {"JAN", "FEB", "MAR", "APR", "MAY", "JUN",
                                          "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"};
static const char *const day_names[] = {"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"};

struct field {
    const char *name;
    int least, most;
    const char *const *names;
    int n_names; /* names[0] is `least` */
};

static const struct field fields[] = {
    {"second", 0, 59, NULL, 0},       {"minute", 0, 59, NULL, 0},        {"hour", 0, 23, NULL, 0},
    {"day of month", 1, 31, NULL, 0}, {"month", 1, 12, month_names, 12}, {"day of week", 0, 7, day_names, 7},
};
enum { SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY, N_FIELDS };

struct parse {
    const char *at, *end;
    const struct field *field;
    char *error;
};

static bool wrong(const struct parse *p, const char *what)
{
    (void)snprintf(p->error, CRON_ERROR_SIZE, "has a %s that %s", p->field->name, what);
    return false;
}

static bool out_of_range(const struct parse *p)
{
    (void)snprintf(p->error, CRON_ERROR_SIZE, "has a %s that is not %s%d to %d", p->field->name,
                   p->field->names ? "a name or a number from " : "a number from ", p->field->least, p->field->most);
    return false;
}

static bool read_number(struct parse *p, int *ret)
{
    int value = 0;
    const char *start = p->at;
    for (; p->at < p->end && *p->at >= '0' && *p->at <= '9' && p->at - start < 4; p->at++)
        value = value * 10 + (*p->at - '0');
    *ret = value;
    return p->at > start;
}

static bool read_value(struct parse *p, int *ret)
{
    const struct field *field = p->field;
    for (int i = 0; i < field->n_names && p->end - p->at >= 3; i++)
        if (strncasecmp(p->at, field->names[i], 3) == 0) {
            p->at += 3;
            *ret = field->least + i;
            return true;
        }
    if (!read_number(p, ret) || *ret < field->least || *ret > field->most)
        return out_of_range(p);
    return true;
}

static bool next_is(struct parse *p, char c)
{
    if (p->at >= p->end || *p->at != c)
        return false;
    p->at++;
    return true;
}

/* One element of a list: from, to and step. */
static bool read_range(struct parse *p, uint64_t *set)
{
    int from = p->field->least, to = p->field->most, step = 1;
    bool all = next_is(p, '*'), is_range = all;
    if (all && p->field == &fields[WEEKDAY])
        to = 6;
    if (!all) {
        if (!read_value(p, &from))
            return false;
        to = from;
        is_range = next_is(p, '-');
        if (is_range && !read_value(p, &to))
            return false;
        if (is_range && p->field == &fields[WEEKDAY] && to == 0 && from > 0)
            to = 7; /* FRI-SUN */
        if (to < from)
            return wrong(p, "is a range whose end lies before its beginning");
    }
    if (next_is(p, '/')) {
        if (!read_number(p, &step) || step < 1 || step > p->field->most)
            return wrong(p, "has a step that is not a number, or too large");
        if (!is_range)
            to = p->field == &fields[WEEKDAY] ? 6 : p->field->most;
    }
    for (int i = from; i <= to; i += step)
        *set |= UINT64_C(1) << i;
    return true;
}

static bool read_field(struct parse *p, uint64_t *ret)
{
    *ret = 0;
    do {
        if (!read_range(p, ret))
            return false;
    } while (next_is(p, ','));
    if (p->at == p->end)
        return true;
    if (strchr("?LW#", *p->at))
        return wrong(p, "uses ?, L, W or #, which are not known here");
    return out_of_range(p);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool ever_fits(const struct cron *cron)
{
    if (cron->either_day)
        return true;
    for (int month = 1; month <= 12; month++)
        for (int day = 1; day <= civil_days_in_month(2024, month); day++)
            if (cron->months >> month & 1 && cron->days >> day & 1)
                return true;
    return false;
}

static bool parse_fields(const char *text, size_t len, struct cron *ret, char *error)
{
    const char *end = text + len, *starts[N_FIELDS], *ends[N_FIELDS];
    size_t n = 0;
    for (const char *at = text; at < end;) {
        while (at < end && is_blank(*at))
            at++;
        if (at == end)
            break;
        const char *start = at;
        while (at < end && !is_blank(*at))
            at++;
        if (n < N_FIELDS) {
            starts[n] = start;
            ends[n] = at;
        }
        n++;
    }
    if (n != 5 && n != 6) {
        (void)snprintf(
            error, CRON_ERROR_SIZE,
            "must have 5 fields (minute, hour, day of month, month, day of week), or 6 with the second first");
        return false;
    }
    uint64_t sets[N_FIELDS] = {1};
    size_t first = 6 - n;
    for (size_t i = 0; i < n; i++) {
        struct parse p = {.at = starts[i], .end = ends[i], .field = &fields[first + i], .error = error};
        if (!read_field(&p, &sets[first + i]))
            return false;
    }
    bool day_free = *starts[DAY - first] == '*', weekday_free = *starts[WEEKDAY - first] == '*';
    *ret = (struct cron){.seconds = sets[SECOND],
                         .minutes = sets[MINUTE],
                         .hours = (uint32_t)sets[HOUR],
                         .days = (uint32_t)sets[DAY],
                         .months = (uint16_t)sets[MONTH],
                         .weekdays = (uint8_t)((sets[WEEKDAY] | sets[WEEKDAY] >> 7) & 0x7f),
                         .either_day = !day_free && !weekday_free};
    if (ever_fits(ret))
        return true;
    (void)snprintf(error, CRON_ERROR_SIZE, "never comes: no month that it names has such a day");
    return false;
}

static bool parse_every(const char *text, size_t len, struct cron *ret, char *error)
{
    while (len && is_blank(*text)) {
        text++;
        len--;
    }
    int64_t us;
    if (!duration_parse(text, len, &us) || us < SECOND_US || us % SECOND_US || us > 366 * DAY_S * SECOND_US) {
        (void)snprintf(error, CRON_ERROR_SIZE, "must name whole seconds up to 366d after @every, such as @every 90s");
        return false;
    }
    *ret = (struct cron){.every_us = us};
    return true;
}

bool cron_parse(const char *text, size_t len, struct cron *ret, char error[CRON_ERROR_SIZE])
{
    static const struct {
        const char *name, *text;
    } names[] = {{"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"},
                 {"@weekly", "0 0 * * 0"}, {"@daily", "0 0 * * *"},    {"@midnight", "0 0 * * *"},
                 {"@hourly", "0 * * * *"}};
    while (len && is_blank(*text)) {
        text++;
        len--;
    }
    while (len && is_blank(text[len - 1]))
        len--;
    if (len > CRON_TEXT_MAX) {
        (void)snprintf(error, CRON_ERROR_SIZE, "must have at most %u characters", CRON_TEXT_MAX);
        return false;
    }
    if (!len || *text != '@')
        return parse_fields(text, len, ret, error);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strlen(names[i].name) == len && strncasecmp(text, names[i].name, len) == 0)
            return parse_fields(names[i].text, strlen(names[i].text), ret, error);
    if (len > 7 && strncasecmp(text, "@every", 6) == 0 && is_blank(text[6]))
        return parse_every(text + 6, len - 6, ret, error);
    (void)snprintf(
        error, CRON_ERROR_SIZE,
        "must be one of @yearly, @monthly, @weekly, @daily, @hourly or @every DURATION where it begins with @");
    return false;
}

/* ---- local time ---- */

static bool day_fits(const struct cron *cron, int64_t days)
{
    struct civil date = civil_from_days(days);
    bool day = cron->days >> date.day & 1, weekday = cron->weekdays >> civil_weekday(days) & 1;
    return cron->months >> date.month & 1 && (cron->either_day ? day || weekday : day && weekday);
}

/* The first bit of `set` from `from` on, or -1. */
static int first_bit(uint64_t set, int from)
{
    set = from > 63 ? 0 : set >> from << from;
    return set ? __builtin_ctzll(set) : -1;
}

/* The first second of a day from `from` on that fits, or -1. */
static int64_t second_of_day(const struct cron *cron, int64_t from)
{
    int hour = (int)(from / 3600), minute = (int)(from / 60 % 60), second = (int)(from % 60), fit;
    fit = first_bit(cron->hours, hour);
    if (fit < 0)
        return -1;
    if (fit == hour) {
        int fit_minute = first_bit(cron->minutes, minute);
        if (fit_minute == minute) {
            int fit_second = first_bit(cron->seconds, second);
            if (fit_second >= 0)
                return hour * INT64_C(3600) + minute * 60 + fit_second;
            fit_minute = first_bit(cron->minutes, minute + 1);
        }
        if (fit_minute >= 0)
            return hour * INT64_C(3600) + fit_minute * 60 + first_bit(cron->seconds, 0);
        fit = first_bit(cron->hours, hour + 1);
        if (fit < 0)
            return -1;
    }
    return fit * INT64_C(3600) + first_bit(cron->minutes, 0) * 60 + first_bit(cron->seconds, 0);
}

/* The first local time in [from, until) that fits. */
static bool local_next(const struct cron *cron, int64_t from, int64_t until, int64_t *ret)
{
    int64_t days = from / DAY_S - (from % DAY_S < 0), second = from - days * DAY_S;
    for (int n = 0; n < SEARCH_DAYS && days * DAY_S < until; n++, days++, second = 0) {
        if (!day_fits(cron, days))
            continue;
        int64_t fit = second_of_day(cron, second);
        if (fit < 0)
            continue;
        *ret = days * DAY_S + fit;
        return *ret < until;
    }
    return false;
}

/* ---- real time ---- */

static int64_t add(int64_t at, int32_t offset) /* an open end stays open */
{
    return at == INT64_MIN || at == INT64_MAX ? at : at + offset;
}

/* The first moment in the span, not before `from`, that fits. */
static bool span_next(const struct cron *cron, const struct zone_span *span, int64_t from, int64_t *ret)
{
    bool each_hour = cron->hours == ALL_HOURS;
    int64_t first = from + span->offset, owned = add(span->start, each_hour ? span->offset : span->before), local;
    if (from == span->start || first < owned)
        first = owned;
    if (!local_next(cron, first, add(span->end, span->offset), &local))
        return false;
    *ret = local - span->offset;
    if (*ret < span->start) /* it lay in the gap */
        *ret = span->start;
    return true;
}

static bool every_next(int64_t every_us, int64_t after_us, int64_t *ret_us)
{
    int64_t n = after_us / every_us;
    if (after_us < 0)
        n -= after_us % every_us != 0;
    *ret_us = (n + 1) * every_us;
    return true;
}

bool cron_next(const struct cron *cron, const struct zone *zone, int64_t after_us, int64_t *ret_us)
{
    int64_t from = after_us / SECOND_US - (after_us % SECOND_US < 0) + 1, found;
    if (from < 0)
        from = 0;
    if (from >= LAST_S)
        return false;
    if (cron->every_us)
        return every_next(cron->every_us, after_us < -1 ? -1 : after_us, ret_us) && *ret_us < LAST_S * SECOND_US;
    for (int64_t until = from + SEARCH_DAYS * DAY_S; from < until && from < LAST_S;) {
        struct zone_span span = zone_span(zone, from);
        if (span_next(cron, &span, from, &found)) {
            if (found >= LAST_S)
                return false;
            *ret_us = found * SECOND_US;
            return true;
        }
        if (span.end == INT64_MAX)
            return false;
        from = span.end;
    }
    return false;
}

bool cron_last(const struct cron *cron, const struct zone *zone, int64_t after_us, int64_t until_us, unsigned most,
               int64_t *ret_us, unsigned *ret_n)
{
    int64_t at = after_us, next = 0;
    unsigned n = 0;
    while (n < most && cron_next(cron, zone, at, &next) && next <= until_us) {
        at = next;
        n++;
    }
    if (n == 0)
        return false;
    if (n == most) { /* there may be many more: from the end backwards, in growing steps */
        int64_t back = SECOND_US, start = at;
        while (until_us - back > start && !(cron_next(cron, zone, until_us - back, &next) && next <= until_us))
            back *= 2;
        if (until_us - back > start)
            at = until_us - back;
        while (cron_next(cron, zone, at, &next) && next <= until_us)
            at = next;
    }
    *ret_us = at;
    *ret_n = n;
    return true;
}
