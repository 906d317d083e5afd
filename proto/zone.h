/* Time zones by their IANA names ("Europe/Berlin"): offsets from UTC and the moments at which they change, read from
 * the system's zoneinfo files (TZif, RFC 8536).  Unlike setenv("TZ") this is per call and safe in threads.
 *
 * Thread: a zone is immutable once loaded; any number of threads may use it. */
#ifndef SATCHEL_PROTO_ZONE_H
#define SATCHEL_PROTO_ZONE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct zone;

#define ZONE_NAME_MAX 63u

bool zone_name_is_valid(const char *name, size_t len); /* in form; whether there is such a zone is zone_load's to say */
/* Reads the zone's file (from $TZDIR, else /usr/share/zoneinfo); "UTC" needs none.  0; -ENOENT: there is no such zone;
 * -ENOMEM; -EINVAL: not a name, or not a file of that form; or another -errno.  `error` says it for people.  Blocks. */
int zone_load(const char *name, struct zone **ret, char *error, size_t error_size);
/* From the bytes of a file.  0, -EINVAL or -ENOMEM. */
int zone_parse(const void *data, size_t len, struct zone **ret);
void zone_free(struct zone *zone); /* NULL is fine */

/* The stretch of time without a change of offset that `at` lies in.  Seconds since 1970; INT64_MIN and INT64_MAX: it
 * has no end on that side. */
struct zone_span {
    int64_t start, end; /* start <= at < end */
    int32_t offset;     /* seconds east of UTC */
    int32_t before;     /* the offset until `start` */
};
struct zone_span zone_span(const struct zone *zone, int64_t at); /* zone NULL: UTC */

#endif
