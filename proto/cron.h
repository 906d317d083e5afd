/* Cron expressions: when is the next time?
 *
 *     ┌ minute 0-59   ┌ hour 0-23   ┌ day of month 1-31   ┌ month 1-12, JAN-DEC   ┌ day of week 0-7 (0, 7: Sunday), SUN-SAT
 *     *               *             *                     *                       *
 *
 * Each field: `*`, `a`, `a-b`, `* /n` (without the blank), `a-b/n`, `a/n` (from a to the end), or a list of these with
 * commas.  With six fields the first one is the second.  Where both day fields are restricted (begin with something
 * else than `*`), a day that fits either of them fits, as in Vixie's cron; else one that fits both.
 * Also: @yearly (@annually), @monthly, @weekly, @daily (@midnight), @hourly, and `@every 90s`, which are the whole
 * multiples of that time since 1970-01-01T00:00:00Z.
 *
 * Clock changes.  Where the hour is restricted: a local time that does not exist (clocks go forward) is replaced by the
 * first moment after the gap, and one that exists twice counts once, the first time; no two of them become two firings
 * at one moment.  Where every hour fits (`*`), what fits does so in each hour that really passes.
 *
 * Thread: any; a parsed expression is a plain value. */
#ifndef SATCHEL_PROTO_CRON_H
#define SATCHEL_PROTO_CRON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct zone;

struct cron {
    uint64_t seconds, minutes; /* bit k: k fits */
    uint32_t hours, days;      /* days: bits 1-31 */
    uint16_t months;           /* bits 1-12 */
    uint8_t weekdays;          /* bits 0-6; 0: Sunday */
    bool either_day;           /* a day need fit only one of the day fields */
    int64_t every_us;          /* 0: the fields count */
};

#define CRON_TEXT_MAX 255u
#define CRON_ERROR_SIZE 160u

/* False: `error` says what is wrong, as the rest of a sentence that begins with the expression ("must ...").  An
 * expression that no day ever fits (30 February) is wrong, too. */
bool cron_parse(const char *text, size_t len, struct cron *ret, char error[CRON_ERROR_SIZE]);
/* The first time after `after_us` (microseconds since 1970).  zone NULL: UTC.  False: there is none before the year
 * 10000. */
bool cron_next(const struct cron *cron, const struct zone *zone, int64_t after_us, int64_t *ret_us);
/* The last time that is after `after_us` and not after `until_us`; *ret_n: how many there are in between, that one
 * included, counted up to `most`.  False: none. */
bool cron_last(const struct cron *cron, const struct zone *zone, int64_t after_us, int64_t until_us, unsigned most,
               int64_t *ret_us, unsigned *ret_n);

#endif
