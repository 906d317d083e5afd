/* Deadlines as a binding: it travels as a date (X-Satchel-Deadline) and is read as what is left of it by the monotonic
 * clock, which nobody sets.  Thread: the calling one's current context. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/context/internal.h"
#include "proto/timetext.h"

#define US_9999 INT64_C(253402300799999999) /* the last moment that RFC 3339 can tell */
#define COARSE_NS 20000000                  /* closer than this the quick clock is not good enough */

struct deadline_data { /* its text comes first, so that readers get it as a string */
    char text[TIMESTAMP_TEXT_SIZE];
    int64_t mono_ns;
};

static int64_t now_ns(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int deadline_value(int64_t wall_us, int64_t mono_ns, satchel_value **out)
{
    struct deadline_data *data = malloc(sizeof *data);
    if (!data)
        return SATCHEL_ENOMEM;
    data->mono_ns = mono_ns;
    timestamp_format(wall_us < 0 ? 0 : wall_us > US_9999 ? US_9999 : wall_us, data->text);
    int status = satchel_value_new(&deadline_type, data, out);
    if (status != SATCHEL_OK)
        free(data);
    return status;
}

int make_deadline(const char *text, size_t len, satchel_value **out)
{
    int64_t wall_us, mono_ns;
    if (!timestamp_parse(text, len, &wall_us))
        return SATCHEL_EGRAMMAR;
    int64_t left_us = wall_us - now_ns(CLOCK_REALTIME) / 1000;
    if (__builtin_mul_overflow(left_us, 1000, &mono_ns) ||
        __builtin_add_overflow(now_ns(CLOCK_MONOTONIC), mono_ns, &mono_ns))
        mono_ns = INT64_MAX; /* in some hundred years */
    return deadline_value(wall_us, mono_ns, out);
}

static int deadline_decode(const char *text, size_t len, void **data)
{
    satchel_value *value;
    int status = make_deadline(text, len, &value);
    if (status != SATCHEL_OK)
        return status;
    *data = value->data;
    value_disown(value);
    return SATCHEL_OK;
}

static bool deadline_equal(const void *a, const void *b)
{
    return strcmp(a, b) == 0;
}

static size_t deadline_encode(const void *data, char *buf, size_t cap)
{
    return satchel_string_type.encode(data, buf, cap);
}

const satchel_type deadline_type = {
    .struct_size = sizeof(satchel_type),
    .name = "deadline",
    .destroy = free,
    .equal = deadline_equal,
    .encode = deadline_encode,
    .decode = deadline_decode,
};

static int64_t moment(const satchel_value *value)
{
    return ((const struct deadline_data *)value->data)->mono_ns;
}

satchel_value *deadline_earlier(satchel_value *a, satchel_value *b)
{
    return moment(a) <= moment(b) ? a : b;
}

int satchel_set_deadline(int64_t at_ns, satchel_token *token)
{
    int64_t left_ns;
    satchel_value *value;
    if (__builtin_sub_overflow(at_ns, now_ns(CLOCK_MONOTONIC), &left_ns))
        left_ns = INT64_MIN;
    int status = deadline_value(now_ns(CLOCK_REALTIME) / 1000 + left_ns / 1000, at_ns, &value);
    if (status != SATCHEL_OK)
        return status;
    status = satchel_set_value(&known_vars[SATCHEL_DEADLINE], value, token); /* which keeps an earlier one */
    value_unref(value);
    return status;
}

static const struct deadline_data *current_deadline(void)
{
    return self.known->data[SATCHEL_DEADLINE];
}

int64_t satchel_remaining_ns(void)
{
    const struct deadline_data *data = current_deadline();
    int64_t left_ns;
    if (!data || data->mono_ns == INT64_MAX)
        return INT64_MAX;
    return __builtin_sub_overflow(data->mono_ns, now_ns(CLOCK_MONOTONIC), &left_ns) ? INT64_MIN : left_ns;
}

bool satchel_done(void)
{
    const satchel_cancel *cancel = self.known->data[SLOT_CANCEL];
    if (cancel && satchel_cancel_reason(cancel))
        return true;
    const struct deadline_data *data = current_deadline();
    if (!data)
        return false;
    int64_t now = now_ns(CLOCK_MONOTONIC_COARSE); /* behind the precise one, by a tick at most */
    if (data->mono_ns <= now)
        return true;
    return data->mono_ns < now + COARSE_NS && data->mono_ns <= now_ns(CLOCK_MONOTONIC);
}
