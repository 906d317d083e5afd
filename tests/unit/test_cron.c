/* Cron expressions and time zones: the grammar, known dates, the days on which clocks change, and random expressions
 * against a walk through every minute with the C library's own idea of local time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "proto/cron.h"
#include "proto/timetext.h"
#include "proto/zone.h"

#define SECOND_US INT64_C(1000000)

static struct cron parse(const char *text)
{
    struct cron cron;
    char error[CRON_ERROR_SIZE] = "";
    if (!cron_parse(text, strlen(text), &cron, error))
        fail_msg("%s %s", text, error);
    return cron;
}

static void refused(const char *text, const char *because)
{
    struct cron cron;
    char error[CRON_ERROR_SIZE] = "";
    if (cron_parse(text, strlen(text), &cron, error))
        fail_msg("\"%s\" was taken", text);
    if (!strstr(error, because))
        fail_msg("\"%s\": \"%s\" does not say \"%s\"", text, error, because);
}

static int64_t when(const char *text)
{
    int64_t us;
    if (!timestamp_parse(text, strlen(text), &us))
        fail_msg("%s is no time", text);
    return us;
}

static struct zone *load(const char *name)
{
    struct zone *zone;
    char error[256];
    if (zone_load(name, &zone, error, sizeof error) != 0)
        fail_msg("%s %s", name, error);
    return zone;
}

/* The times that follow `after`, one after the other. */
static void follows(const char *text, const char *zone_name, const char *after, const char *const *expected, size_t n)
{
    struct cron cron = parse(text);
    struct zone *zone = zone_name ? load(zone_name) : NULL;
    int64_t at = when(after);
    for (size_t i = 0; i < n; i++) {
        char shown[TIMESTAMP_TEXT_SIZE] = "never";
        bool found = cron_next(&cron, zone, at, &at);
        if (found)
            timestamp_format(at, shown);
        if (!found || at != when(expected[i]))
            fail_msg("\"%s\" in %s after %s: number %zu is %s, not %s", text, zone_name ? zone_name : "UTC", after, i,
                     shown, expected[i]);
    }
    zone_free(zone);
}
#define FOLLOWS(text, zone, after, ...)                                                                                \
    follows(text, zone, after, (const char *const[]){__VA_ARGS__},                                                     \
            sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

/* ---- the grammar ---- */

static void test_fields(void **state)
{
    (void)state;
    FOLLOWS("* * * * *", NULL, "2026-01-02T03:04:05Z", "2026-01-02T03:05:00Z", "2026-01-02T03:06:00Z");
    FOLLOWS("*/15 * * * *", NULL, "2026-01-02T03:50:00Z", "2026-01-02T04:00:00Z", "2026-01-02T04:15:00Z");
    FOLLOWS("5/20 * * * *", NULL, "2026-01-02T03:50:00Z", "2026-01-02T04:05:00Z", "2026-01-02T04:25:00Z",
            "2026-01-02T04:45:00Z", "2026-01-02T05:05:00Z");
    FOLLOWS("10-30/10,45 8-9 * * *", NULL, "2026-01-02T08:30:00Z", "2026-01-02T08:45:00Z", "2026-01-02T09:10:00Z");
    FOLLOWS("0 0 1 jan,Jul *", NULL, "2026-01-02T00:00:00Z", "2026-07-01T00:00:00Z", "2027-01-01T00:00:00Z");
    FOLLOWS("0 0 * * MON-FRI", NULL, "2026-01-02T00:00:00Z", "2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z");
    FOLLOWS("0 0 * * fri-sun", NULL, "2026-01-05T00:00:00Z", "2026-01-09T00:00:00Z", "2026-01-10T00:00:00Z",
            "2026-01-11T00:00:00Z", "2026-01-16T00:00:00Z");
    FOLLOWS("0 0 * * 7", NULL, "2026-01-02T00:00:00Z", "2026-01-04T00:00:00Z", "2026-01-11T00:00:00Z");
    FOLLOWS("0 0 * * 0", NULL, "2026-01-02T00:00:00Z", "2026-01-04T00:00:00Z");
    FOLLOWS("  0\t0  *  *  1/2 ", NULL, "2026-01-04T00:00:00Z", "2026-01-05T00:00:00Z", "2026-01-07T00:00:00Z",
            "2026-01-09T00:00:00Z", "2026-01-12T00:00:00Z");
    FOLLOWS("*/10 30 4 * * *", NULL, "2026-01-02T04:30:50Z", "2026-01-03T04:30:00Z", "2026-01-03T04:30:10Z");
    FOLLOWS("* * * * * *", NULL, "2026-01-02T03:04:05.5Z", "2026-01-02T03:04:06Z", "2026-01-02T03:04:07Z");
}

static void test_names(void **state)
{
    (void)state;
    FOLLOWS("@hourly", NULL, "2026-01-02T03:00:00Z", "2026-01-02T04:00:00Z");
    FOLLOWS("@daily", NULL, "2026-01-02T03:00:00Z", "2026-01-03T00:00:00Z");
    FOLLOWS("@midnight", NULL, "2026-01-02T03:00:00Z", "2026-01-03T00:00:00Z");
    FOLLOWS("@weekly", NULL, "2026-01-02T03:00:00Z", "2026-01-04T00:00:00Z");
    FOLLOWS("@Monthly", NULL, "2026-01-02T03:00:00Z", "2026-02-01T00:00:00Z");
    FOLLOWS("@yearly", NULL, "2026-01-02T03:00:00Z", "2027-01-01T00:00:00Z");
    FOLLOWS("@annually", NULL, "2026-01-02T03:00:00Z", "2027-01-01T00:00:00Z");
    FOLLOWS("@every 30s", NULL, "2026-01-02T03:00:00Z", "2026-01-02T03:00:30Z", "2026-01-02T03:01:00Z");
    FOLLOWS("@every 1d", "Asia/Tokyo", "2026-01-02T03:00:00Z", "2026-01-03T00:00:00Z");
    FOLLOWS("@every 90", NULL, "1970-01-01T00:00:00Z", "1970-01-01T00:01:30Z", "1970-01-01T00:03:00Z");
}

static void test_either_day(void **state)
{
    (void)state;
    FOLLOWS("0 0 13 * FRI", NULL, "2026-01-02T00:00:00Z", "2026-01-09T00:00:00Z", "2026-01-13T00:00:00Z",
            "2026-01-16T00:00:00Z");
    FOLLOWS("0 0 */2 * MON", NULL, "2026-01-01T00:00:00Z", "2026-01-05T00:00:00Z", "2026-01-19T00:00:00Z");
    FOLLOWS("0 0 13 * *", NULL, "2026-01-02T00:00:00Z", "2026-01-13T00:00:00Z", "2026-02-13T00:00:00Z");
    FOLLOWS("0 0 30 2 MON", NULL, "2026-01-31T00:00:00Z", "2026-02-02T00:00:00Z"); /* the weekday alone can fit */
}

static void test_refused(void **state)
{
    (void)state;
    refused("", "5 fields");
    refused("* * * *", "5 fields");
    refused("* * * * * * *", "5 fields");
    refused("60 * * * *", "minute that is not a number from 0 to 59");
    refused("60 * * * * *", "second that is not");
    refused("* 24 * * *", "hour that is not");
    refused("* * 0 * *", "day of month that is not a number from 1 to 31");
    refused("* * 32 * *", "day of month");
    refused("* * * 13 *", "month that is not a name or a number from 1 to 12");
    refused("* * * FOO *", "month that is not a name");
    refused("* * * JANUARY *", "month");
    refused("* * * * 8", "day of week");
    refused("* * * * MONDAY", "day of week");
    refused("30-10 * * * *", "end lies before");
    refused("*/0 * * * *", "step");
    refused("*/ * * * *", "step");
    refused("*/99999999999999999999 * * * *", "step");
    refused("99999999999999999999 * * * *", "minute");
    refused("1, * * * *", "minute");
    refused(",1 * * * *", "minute");
    refused("1-2-3 * * * *", "minute");
    refused("-1 * * * *", "minute");
    refused("+1 * * * *", "minute");
    refused("1.5 * * * *", "minute");
    refused("** * * * *", "minute");
    refused("* * L * *", "not a number");
    refused("* * ? * *", "not a number");
    refused("* * 5L * *", "L, W or #");
    refused("* * * * FRI#2", "L, W or #");
    refused("@reboot", "@yearly");
    refused("@", "@yearly");
    refused("@every", "@yearly");
    refused("@every ", "@yearly");
    refused("@every 0s", "whole seconds");
    refused("@every 1500ms", "whole seconds");
    refused("@every 367d", "whole seconds");
    refused("@every -5s", "whole seconds");
    refused("@every x", "whole seconds");
    refused("@dailyx", "@yearly");
    char longer[400];
    memset(longer, '0', sizeof longer);
    struct cron cron;
    char error[CRON_ERROR_SIZE];
    assert_false(cron_parse(longer, sizeof longer, &cron, error));
    assert_non_null(strstr(error, "at most 255"));
    assert_false(cron_parse("* * * * \0", 9, &cron, error)); /* a NUL is no field */
}

static void test_days_that_never_come(void **state)
{
    (void)state;
    refused("0 0 30 2 *", "never comes");
    refused("0 0 31 4,6,9,11 *", "never comes");
    refused("0 0 31 2,4 */2", "never comes"); /* a free weekday does not help */
    FOLLOWS("0 0 31 2,5 *", NULL, "2026-01-01T00:00:00Z", "2026-05-31T00:00:00Z", "2027-05-31T00:00:00Z");
}

static void test_leap_years(void **state)
{
    (void)state;
    FOLLOWS("0 12 29 2 *", NULL, "2026-01-01T00:00:00Z", "2028-02-29T12:00:00Z", "2032-02-29T12:00:00Z");
    FOLLOWS("0 12 29 2 *", NULL, "2096-03-01T00:00:00Z", "2104-02-29T12:00:00Z"); /* 2100 is none */
    FOLLOWS("0 12 29 2 *", NULL, "1999-01-01T00:00:00Z", "2000-02-29T12:00:00Z"); /* 2000 is one */
    /* 29 February, if it is one of */
    FOLLOWS("0 0 29 2 */6", NULL, "2026-01-01T00:00:00Z", "2032-02-29T00:00:00Z", "2048-02-29T00:00:00Z",
            "2060-02-29T00:00:00Z");
    FOLLOWS("0 0 31 12 *", NULL, "2026-12-31T00:00:00Z", "2027-12-31T00:00:00Z");
}

static void test_bounds_of_time(void **state)
{
    struct cron cron = parse("0 0 1 1 *"), every = parse("@every 1d");
    int64_t us;
    (void)state;
    assert_true(cron_next(&cron, NULL, when("9998-06-01T00:00:00Z"), &us));
    assert_int_equal(us, when("9999-01-01T00:00:00Z"));
    assert_false(cron_next(&cron, NULL, us, &us));
    assert_false(cron_next(&cron, NULL, INT64_MAX, &us));
    assert_false(cron_next(&every, NULL, INT64_MAX, &us));
    assert_true(cron_next(&cron, NULL, INT64_MIN, &us));
    assert_int_equal(us, 0);
    assert_true(cron_next(&every, NULL, INT64_MIN, &us));
    assert_int_equal(us, 0);
    assert_true(cron_next(&cron, NULL, -1, &us));
    assert_int_equal(us, 0);
    struct zone *zone = load("America/New_York");
    assert_true(cron_next(&cron, zone, when("9998-06-01T00:00:00Z"), &us));
    assert_int_equal(us, when("9999-01-01T05:00:00Z"));
    assert_false(cron_next(&cron, zone, us, &us));
    zone_free(zone);
}

/* ---- clocks that change ---- */

static void test_gap(void **state)
{
    (void)state;
    /* Berlin: 2026-03-29 02:00 CET becomes 03:00 CEST, at 01:00 UTC */
    FOLLOWS("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", "2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z",
            "2026-03-30T00:30:00Z");
    FOLLOWS("*/20 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z");
    FOLLOWS("0 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z",
            "2026-03-30T01:00:00Z");
    FOLLOWS("30 1,2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z",
            "2026-03-29T23:30:00Z");
    FOLLOWS("0 3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z");
    /* what begins inside of it: nothing is found twice */
    FOLLOWS("30 2 * * *", "Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z");
    FOLLOWS("30 2 * * *", "Europe/Berlin", "2026-03-29T00:59:59.999999Z", "2026-03-29T01:00:00Z");
    /* each hour that passes */
    FOLLOWS("30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z");
    FOLLOWS("30 0-23 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z");
}

static void test_twice(void **state)
{
    (void)state;
    /* Berlin: 2026-10-25 03:00 CEST becomes 02:00 CET, at 01:00 UTC */
    FOLLOWS("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z");
    FOLLOWS("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z");
    FOLLOWS("30 2 * * *", "Europe/Berlin", "2026-10-25T01:15:00Z", "2026-10-26T01:30:00Z");
    FOLLOWS("0 3 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T02:00:00Z");
    FOLLOWS("0 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T00:00:00Z", "2026-10-26T01:00:00Z");
    FOLLOWS("*/30 1-2 * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-26T00:00:00Z");
    FOLLOWS("30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z",
            "2026-10-25T02:30:00Z");
}

static void test_other_changes(void **state)
{
    (void)state;
    /* Lord Howe Island: half an hour, at 02:00 local */
    FOLLOWS("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", "2026-10-03T15:30:00Z",
            "2026-10-04T15:15:00Z");
    FOLLOWS("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", "2026-04-04T14:45:00Z",
            "2026-04-05T15:15:00Z");
    /* Apia skipped the whole of 30 December 2011 */
    FOLLOWS("0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", "2011-12-30T10:00:00Z", "2012-12-29T22:00:00Z");
    FOLLOWS("0 12 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", "2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z",
            "2011-12-30T22:00:00Z");
    /* midnight that does not exist: Cairo, 2026-04-24 */
    FOLLOWS("@daily", "Africa/Cairo", "2026-04-22T23:00:00Z", "2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z");
    /* Dublin's winter time is the "daylight saving" one, and goes back; Casablanca's, too */
    FOLLOWS("30 1 * * *", "Europe/Dublin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z");
    FOLLOWS("30 1 * * *", "Europe/Dublin", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z");
    /* by the rule, long after the table */
    FOLLOWS("30 2 * * *", "Europe/Berlin", "2150-03-28T12:00:00Z", "2150-03-29T01:00:00Z", "2150-03-30T00:30:00Z");
    FOLLOWS("30 2 * * *", "America/New_York", "2150-03-07T12:00:00Z", "2150-03-08T07:00:00Z", "2150-03-09T06:30:00Z");
    FOLLOWS("30 2 * * *", "America/Nuuk", "2150-06-01T00:00:00Z", "2150-06-01T03:30:00Z");
    FOLLOWS("0 9 * * *", "Asia/Kolkata", "2026-01-01T00:00:00Z", "2026-01-01T03:30:00Z");
}

/* ---- against a walk through every minute ---- */

static uint64_t seed = 0x9e3779b97f4a7c15u;

static unsigned below(unsigned n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)((seed >> 33) % n);
}

struct made { /* an expression and, in the simplest form, what it means */
    char text[160];
    bool fits[5][64];
    bool star[5];
};

static void make_field(struct made *made, int field, int least, int most, unsigned stars)
{
    char part[64];
    if (below(100) < stars) {
        int step = below(3) == 0 ? 2 + (int)below(6) : 1;
        for (int i = least; i <= most; i += step)
            made->fits[field][i] = true;
        made->star[field] = true;
        (void)snprintf(part, sizeof part, step > 1 ? "*/%d " : "* ", step);
        strcat(made->text, part);
        return;
    }
    unsigned items = 1 + below(3);
    for (unsigned k = 0; k < items; k++) {
        int from = least + (int)below((unsigned)(most - least + 1)), to = from, step = 1;
        if (below(2)) {
            to = from + (int)below((unsigned)(most - from + 1));
            step = 1 + (int)below(4);
        }
        for (int i = from; i <= to; i += step)
            made->fits[field][i] = true;
        if (to == from && step == 1)
            (void)snprintf(part, sizeof part, "%s%d", k ? "," : "", from);
        else
            (void)snprintf(part, sizeof part, "%s%d-%d/%d", k ? "," : "", from, to, step);
        strcat(made->text, part);
    }
    strcat(made->text, " ");
}

static struct made make(void)
{
    struct made made = {0};
    make_field(&made, 0, 0, 59, 30);
    make_field(&made, 1, 0, 23, 40);
    make_field(&made, 2, 1, 31, 60);
    make_field(&made, 3, 1, 12, 70);
    make_field(&made, 4, 0, 6, 60);
    return made;
}

static bool fits(const struct made *made, const struct tm *tm)
{
    bool day = made->fits[2][tm->tm_mday], weekday = made->fits[4][tm->tm_wday];
    bool days = made->star[2] || made->star[4] ? day && weekday : day || weekday;
    return days && made->fits[0][tm->tm_min] && made->fits[1][tm->tm_hour] && made->fits[3][tm->tm_mon + 1];
}

static bool fits_local(const struct made *made, int64_t local)
{
    struct tm tm;
    time_t t = (time_t)local;
    return gmtime_r(&t, &tm) && fits(made, &tm);
}

static bool every_hour(const struct made *made)
{
    for (int i = 0; i < 24; i++)
        if (!made->fits[1][i])
            return false;
    return true;
}

static int64_t local_of(int64_t t)
{
    struct tm tm;
    time_t at = (time_t)t;
    assert_non_null(localtime_r(&at, &tm));
    return t + tm.tm_gmtoff;
}

/* Walks from `from` over `minutes`, and asks for the next time at each that is due. */
static void walk(const struct made *made, const struct zone *zone, int64_t from, int minutes)
{
    struct cron cron = parse(made->text);
    int64_t high = local_of(from), expected = 0, found = 0;
    bool each = every_hour(made), any = cron_next(&cron, zone, from * SECOND_US, &expected);
    for (int i = 1; i <= minutes; i++) {
        int64_t t = from + i * INT64_C(60), local = local_of(t);
        bool due = each && fits_local(made, local);
        for (int64_t nominal = high + 60; !each && nominal <= local; nominal += 60)
            due = due || fits_local(made, nominal);
        if (local > high)
            high = local;
        if (due != (any && expected == t * SECOND_US)) {
            char shown[TIMESTAMP_TEXT_SIZE], here[TIMESTAMP_TEXT_SIZE];
            timestamp_format(expected, shown);
            timestamp_format(t * SECOND_US, here);
            fail_msg("%s: at %s it is %sdue, but expected is %s", made->text, here, due ? "" : "not ", shown);
        }
        if (!due)
            continue;
        assert_true(cron_next(&cron, zone, t * SECOND_US - 1, &found)); /* from just before it, the same one */
        assert_int_equal(found, t * SECOND_US);
        any = cron_next(&cron, zone, t * SECOND_US, &expected);
        assert_true(!any || expected > t * SECOND_US);
    }
}

static void test_every_minute(void **state)
{
    /* a zone, and a day around which its clocks change */
    static const struct {
        const char *zone, *from;
    } places[] = {
        {"UTC", "2027-12-28T00:00:00Z"},
        {"Europe/Berlin", "2026-03-27T00:00:00Z"},
        {"Europe/Berlin", "2026-10-23T00:00:00Z"},
        {"America/New_York", "2026-03-06T00:00:00Z"},
        {"America/New_York", "2063-11-02T00:00:00Z"},
        {"Australia/Lord_Howe", "2026-10-02T00:00:00Z"},
        {"Australia/Lord_Howe", "2026-04-03T00:00:00Z"},
        {"Africa/Cairo", "2026-04-22T00:00:00Z"},
        {"Africa/Casablanca", "2026-02-13T00:00:00Z"},
        {"Europe/Dublin", "2026-10-23T00:00:00Z"},
        {"Pacific/Apia", "2011-12-28T00:00:00Z"},
        {"Pacific/Chatham", "2026-09-25T00:00:00Z"},
        {"Asia/Kathmandu", "1985-12-30T00:00:00Z"},
        {"America/Santiago", "2026-09-04T00:00:00Z"},
        {"America/Caracas", "2016-04-29T00:00:00Z"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        struct zone *zone = load(places[i].zone);
        assert_int_equal(setenv("TZ", places[i].zone, 1), 0);
        tzset();
        for (int k = 0; k < 60; k++) {
            struct made made = make();
            struct cron cron;
            char error[CRON_ERROR_SIZE];
            if (!cron_parse(made.text, strlen(made.text), &cron, error)) {
                assert_non_null(strstr(error, "never comes")); /* such as the 31st of April */
                continue;
            }
            walk(&made, zone, when(places[i].from) / SECOND_US, 5 * 1440);
        }
        zone_free(zone);
    }
    assert_int_equal(unsetenv("TZ"), 0);
    tzset();
}

/* Offsets against the C library's, over two centuries in many zones. */
static void test_offsets(void **state)
{
    static const char *const names[] = {"Europe/Berlin",   "America/New_York", "Australia/Lord_Howe", "Asia/Tehran",
                                        "Africa/Monrovia", "Pacific/Apia",     "America/Sao_Paulo",   "Asia/Tokyo",
                                        "Africa/El_Aaiun", "Antarctica/Troll", "Asia/Gaza",           "Etc/GMT+5"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct zone *zone = load(names[i]);
        assert_int_equal(setenv("TZ", names[i], 1), 0);
        tzset();
        int64_t last = when("2170-01-01T00:00:00Z") / SECOND_US;
        for (int64_t t = 0; t < last; t += 86400 * 3 + 3601) {
            struct zone_span span = zone_span(zone, t);
            if (span.offset != local_of(t) - t || t < span.start || t >= span.end)
                fail_msg("%s at %lld: %d, not %lld", names[i], (long long)t, span.offset, (long long)(local_of(t) - t));
            if (span.end != INT64_MAX) {
                struct zone_span next = zone_span(zone, span.end);
                assert_int_equal(next.start, span.end);
                assert_int_equal(next.before, span.offset);
            }
        }
        zone_free(zone);
    }
    assert_int_equal(unsetenv("TZ"), 0);
    tzset();
}

/* ---- zones ---- */

static void test_zone_names(void **state)
{
    static const char *const bad[] = {"", "/etc/passwd", "../../etc/passwd", "Europe/../UTC", "Europe/Berlin/", "a b"};
    char error[256];
    struct zone *zone = NULL;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_not_equal(zone_load(bad[i], &zone, error, sizeof error), 0);
        assert_non_null(strstr(error, "not the name of a time zone"));
    }
    assert_int_not_equal(zone_load("Europe", &zone, error, sizeof error), 0); /* a folder */
    assert_int_not_equal(zone_load("Mars/Olympus", &zone, error, sizeof error), 0);
    assert_non_null(strstr(error, "not a time zone that"));
    assert_int_not_equal(zone_load("zone1970", &zone, error, sizeof error), 0);
    assert_false(zone_name_is_valid("UTC\0x", 5));
    assert_null(zone);
}

static void test_without_files(void **state)
{
    char error[256];
    struct zone *zone = NULL;
    (void)state;
    assert_int_equal(setenv("TZDIR", "/nonexistent", 1), 0);
    assert_int_not_equal(zone_load("Europe/Berlin", &zone, error, sizeof error), 0);
    assert_non_null(strstr(error, "install tzdata"));
    assert_int_equal(zone_load("UTC", &zone, error, sizeof error), 0); /* needs none */
    assert_int_equal(zone_span(zone, 0).offset, 0);
    zone_free(zone);
    assert_int_equal(unsetenv("TZDIR"), 0);
}

static size_t read_zone(const char *name, unsigned char *data, size_t size)
{
    char path[256];
    (void)snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t len = fread(data, 1, size, file);
    assert_int_equal(fclose(file), 0);
    return len;
}

/* Files that are cut off or damaged: refused or read, never worse. */
static void test_damaged_files(void **state)
{
    static unsigned char data[8192], copy[8192];
    size_t len = read_zone("Europe/Berlin", data, sizeof data);
    struct zone *zone;
    (void)state;
    for (size_t cut = 0; cut < len; cut++) {
        unsigned char *exact = malloc(cut + 1);
        assert_non_null(exact);
        memcpy(exact, data, cut);
        assert_int_not_equal(zone_parse(exact, cut, &zone), 0);
        free(exact);
    }
    unsigned taken = 0;
    for (int i = 0; i < 20000; i++) {
        memcpy(copy, data, len);
        for (unsigned k = 1 + below(4); k > 0; k--)
            copy[below((unsigned)len)] = (unsigned char)below(256);
        if (zone_parse(copy, len, &zone) != 0)
            continue;
        taken++;
        for (int64_t t = 0; t < INT64_C(8000000000); t += 400000003) {
            struct zone_span span = zone_span(zone, t);
            assert_true(span.start <= t && t < span.end);
        }
        zone_free(zone);
    }
    assert_true(taken > 0);
}

static void test_all_year_rules(void **state)
{
    /* a version 2 file of nothing but a rule */
    unsigned char data[200] = "TZif2", *at = data + 44;
    struct zone *zone;
    (void)state;
    data[39] = 1;
    memcpy(at + 6, "TZif2", 5);
    at[6 + 39] = 1;
    strcpy((char *)at + 6 + 44 + 6, "\nXXX3EDT4,0/0,J365/23\n"); /* RFC 8536: summer time all year */
    assert_int_equal(zone_parse(data, 44 + 6 + 44 + 6 + 22, &zone), 0);
    assert_int_equal(zone_span(zone, when("2026-01-01T04:00:00Z") / SECOND_US).offset, -4 * 3600);
    assert_int_equal(zone_span(zone, when("2026-07-01T00:00:00Z") / SECOND_US).offset, -4 * 3600);
    zone_free(zone);
    strcpy((char *)at + 6 + 44 + 6, "\n<-03>3,M3.2.0/2\n");
    assert_int_not_equal(zone_parse(data, 44 + 6 + 44 + 6 + 17, &zone), 0);
}

/* ---- how many were missed ---- */

static void test_last(void **state)
{
    struct cron second = parse("* * * * * *"), nightly = parse("0 3 * * *");
    int64_t at = when("2026-01-01T00:00:00Z"), last;
    unsigned n;
    (void)state;
    assert_false(cron_last(&nightly, NULL, at, at + 3600 * SECOND_US, 1000, &last, &n));
    assert_true(cron_last(&nightly, NULL, at, when("2026-01-04T03:00:00Z"), 1000, &last, &n));
    assert_int_equal(n, 4);
    assert_int_equal(last, when("2026-01-04T03:00:00Z"));
    assert_true(cron_last(&second, NULL, at, when("2027-01-01T00:00:00.5Z"), 1000, &last, &n));
    assert_int_equal(n, 1000);
    assert_int_equal(last, when("2027-01-01T00:00:00Z"));
    assert_true(cron_last(&nightly, NULL, at, when("2046-01-01T00:00:00Z"), 100, &last, &n));
    assert_int_equal(n, 100);
    assert_int_equal(last, when("2045-12-31T03:00:00Z"));
    assert_true(cron_last(&nightly, NULL, at, when("2026-01-02T04:00:00Z"), 2, &last, &n));
    assert_int_equal(n, 2);
    assert_int_equal(last, when("2026-01-02T03:00:00Z"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_either_day),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_days_that_never_come),
        cmocka_unit_test(test_leap_years),
        cmocka_unit_test(test_bounds_of_time),
        cmocka_unit_test(test_gap),
        cmocka_unit_test(test_twice),
        cmocka_unit_test(test_other_changes),
        cmocka_unit_test(test_every_minute),
        cmocka_unit_test(test_offsets),
        cmocka_unit_test(test_zone_names),
        cmocka_unit_test(test_without_files),
        cmocka_unit_test(test_damaged_files),
        cmocka_unit_test(test_all_year_rules),
        cmocka_unit_test(test_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
