/* The proleptic Gregorian calendar: dates to days since 1970-01-01 and back.  Pure; any thread. */
#ifndef SATCHEL_PROTO_CIVIL_H
#define SATCHEL_PROTO_CIVIL_H

#include <stdbool.h>
#include <stdint.h>

struct civil {
    int64_t year;
    int month, day; /* from 1 */
};

/* Howard Hinnant's days_from_civil. */
static inline int64_t civil_to_days(int64_t year, int month, int day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static inline struct civil civil_from_days(int64_t days)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int month = (int)((5 * day_of_year + 2) / 153);
    int day = (int)(day_of_year - (153 * month + 2) / 5 + 1);
    month += month < 10 ? 3 : -9;
    return (struct civil){.year = year_of_era + era * 400 + (month <= 2), .month = month, .day = day};
}

static inline bool civil_is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static inline int civil_days_in_month(int64_t year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && civil_is_leap(year));
}

static inline int civil_weekday(int64_t days) /* 0: Sunday */
{
    int64_t weekday = (days + 4) % 7;
    return (int)(weekday < 0 ? weekday + 7 : weekday);
}

#endif
