/* Times and durations as text.  Times are microseconds since 1970 (wall clock); durations microseconds.
 * Thread: any. */
#ifndef SATCHEL_PROTO_TIMETEXT_H
#define SATCHEL_PROTO_TIMETEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TIMESTAMP_TEXT_SIZE 28 /* "2026-01-02T03:04:05.678901Z" and a NUL */

void timestamp_format(int64_t us, char out[TIMESTAMP_TEXT_SIZE]); /* RFC 3339, UTC, always six decimals */
/* RFC 3339 with any offset and 0-9 decimals; years 1970-9999.  False: not a time. */
bool timestamp_parse(const char *text, size_t len, int64_t *ret_us);

/* "250ms", "30s", "5m", "2h", "1d", "1.5s", "100us", or a bare number of seconds ("30", "0.25").
 * Never negative; at most 100 years.  False: not a duration. */
bool duration_parse(const char *text, size_t len, int64_t *ret_us);
/* The same from a JSON number of seconds. */
bool duration_from_seconds(double seconds, int64_t *ret_us);
#define DURATION_TEXT_SIZE 32
void duration_format(int64_t us, char out[DURATION_TEXT_SIZE]); /* the largest unit that divides it */

#endif
