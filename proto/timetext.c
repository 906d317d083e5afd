#include "proto/timetext.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "proto/civil.h"

#define SECOND_US INT64_C(1000000)
#define DAY_S INT64_C(86400)
#define DURATION_MAX_US (INT64_C(36525) * DAY_S * SECOND_US)

static void put_digits(char *out, int64_t value, int width)
{
    for (int i = width - 1; i >= 0; i--) {
        out[i] = (char)('0' + value % 10);
        value /= 10;
    }
}

void timestamp_format(int64_t us, char out[TIMESTAMP_TEXT_SIZE])
{
    if (us < 0)
        us = 0;
    int64_t seconds = us / SECOND_US;
    struct civil date = civil_from_days(seconds / DAY_S);
    int64_t second_of_day = seconds % DAY_S;
    memcpy(out, "0000-00-00T00:00:00.000000Z", TIMESTAMP_TEXT_SIZE);
    put_digits(out, date.year, 4);
    put_digits(out + 5, date.month, 2);
    put_digits(out + 8, date.day, 2);
    put_digits(out + 11, second_of_day / 3600, 2);
    put_digits(out + 14, second_of_day / 60 % 60, 2);
    put_digits(out + 17, second_of_day % 60, 2);
    put_digits(out + 20, us % SECOND_US, 6);
}

static bool read_digits(const char **at, const char *end, int width, int *ret)
{
    int value = 0;
    if (end - *at < width)
        return false;
    for (int i = 0; i < width; i++, (*at)++) {
        if (**at < '0' || **at > '9')
            return false;
        value = value * 10 + (**at - '0');
    }
    *ret = value;
    return true;
}

static bool read_char(const char **at, const char *end, const char *any_of)
{
    if (*at >= end || **at == '\0' || !strchr(any_of, **at))
        return false;
    (*at)++;
    return true;
}

/* A fraction of a second in microseconds; digits beyond the sixth are checked and dropped. */
static bool read_fraction(const char **at, const char *end, int64_t *ret_us)
{
    int64_t scale = SECOND_US / 10;
    const char *start = *at;
    *ret_us = 0;
    for (; *at < end && **at >= '0' && **at <= '9'; (*at)++, scale /= 10)
        *ret_us += (**at - '0') * scale;
    return *at > start && *at - start <= 9;
}

bool timestamp_parse(const char *text, size_t len, int64_t *ret_us)
{
    const char *at = text, *end = text + len;
    int year, month, day, hour, minute, second;
    int64_t fraction = 0;
    if (!read_digits(&at, end, 4, &year) || !read_char(&at, end, "-") || !read_digits(&at, end, 2, &month) ||
        !read_char(&at, end, "-") || !read_digits(&at, end, 2, &day) || !read_char(&at, end, "Tt ") ||
        !read_digits(&at, end, 2, &hour) || !read_char(&at, end, ":") || !read_digits(&at, end, 2, &minute) ||
        !read_char(&at, end, ":") || !read_digits(&at, end, 2, &second))
        return false;
    if (year < 1970 || month < 1 || month > 12 || day < 1 || day > civil_days_in_month(year, month) || hour > 23 ||
        minute > 59 || second > 60)
        return false;
    if (read_char(&at, end, ".") && !read_fraction(&at, end, &fraction))
        return false;
    int64_t offset = 0;
    if (!read_char(&at, end, "Zz")) {
        if (at >= end || (*at != '+' && *at != '-'))
            return false;
        int sign = *at++ == '-' ? -1 : 1, offset_hour, offset_minute;
        if (!read_digits(&at, end, 2, &offset_hour) || !read_char(&at, end, ":") ||
            !read_digits(&at, end, 2, &offset_minute) || offset_hour > 23 || offset_minute > 59)
            return false;
        offset = sign * (offset_hour * 60 + offset_minute) * 60;
    }
    if (at != end)
        return false;
    int64_t seconds = civil_to_days(year, month, day) * DAY_S + hour * 3600 + minute * 60 + second - offset;
    if (seconds < 0)
        return false;
    *ret_us = seconds * SECOND_US + fraction;
    return true;
}

bool duration_from_seconds(double seconds, int64_t *ret_us)
{
    if (!(seconds >= 0) || seconds > (double)(DURATION_MAX_US / SECOND_US))
        return false;
    *ret_us = (int64_t)(seconds * 1e6 + 0.5);
    return true;
}

static const struct {
    const char *name;
    int64_t us;
} units[] = {
    {"d", DAY_S *SECOND_US}, {"h", 3600 * SECOND_US}, {"m", 60 * SECOND_US}, {"s", SECOND_US}, {"ms", 1000}, {"us", 1},
};
#define N_UNITS (sizeof units / sizeof units[0])

bool duration_parse(const char *text, size_t len, int64_t *ret_us)
{
    const char *at = text, *end = text + len;
    int64_t whole = 0, fraction = 0, unit = SECOND_US;
    const char *start = at;
    for (; at < end && *at >= '0' && *at <= '9'; at++) {
        whole = whole * 10 + (*at - '0');
        if (whole > DURATION_MAX_US)
            return false;
    }
    if (at == start || (read_char(&at, end, ".") && !read_fraction(&at, end, &fraction)))
        return false;
    if (at < end) {
        size_t i = 0;
        size_t rest = (size_t)(end - at);
        while (i < N_UNITS && !(strlen(units[i].name) == rest && memcmp(units[i].name, at, rest) == 0))
            i++;
        if (i == N_UNITS)
            return false;
        unit = units[i].us;
    }
    if (whole > DURATION_MAX_US / unit)
        return false;
    int64_t us = whole * unit + (int64_t)((double)fraction * (double)unit / 1e6 + 0.5);
    if (us > DURATION_MAX_US)
        return false;
    *ret_us = us;
    return true;
}

void duration_format(int64_t us, char out[DURATION_TEXT_SIZE])
{
    size_t i = 0;
    while (i < N_UNITS - 1 && us % units[i].us != 0)
        i++;
    if (us == 0)
        i = 3;
    (void)snprintf(out, DURATION_TEXT_SIZE, "%" PRId64 "%s", us / units[i].us, units[i].name);
}
