/* The log: one structured line per event, as JSON on standard error, as text where standard error is a terminal,
 * or as fields of the journal where systemd listens (JOURNAL_STREAM).
 *
 * tenant, task_id, attempt, request_id, trace_id and span_id are added by themselves from the calling thread's
 * current context; values of secret variables never are.  One write(2) per line.
 * Thread: any.  log_level_set and log_open before threads start, log_level_set also later. */
#ifndef SATCHEL_BASE_LOG_H
#define SATCHEL_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level {
    LOG_LEVEL_ERROR = 3,
    LOG_LEVEL_WARNING = 4,
    LOG_LEVEL_NOTICE = 5,
    LOG_LEVEL_INFO = 6,
    LOG_LEVEL_DEBUG = 7
};

struct log_field {
    const char *name; /* lower_snake; NULL ends the list */
    const char *text; /* NULL: the number counts */
    int64_t number;
};

#define LOG_TEXT(field, value) ((struct log_field){(field), (value), 0})
#define LOG_NUMBER(field, value) ((struct log_field){(field), NULL, (int64_t)(value)})

void log_open(void); /* looks at standard error and JOURNAL_STREAM */
void log_level_set(enum log_level level);
bool log_level_parse(const char *name, enum log_level *ret); /* error, warning, notice, info, debug */
bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *message, const struct log_field *fields);

#define LOG_AT(level, message, ...)                                                                                    \
    do {                                                                                                               \
        if (log_enabled(level))                                                                                        \
            log_write((level), (message), (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){0}});                  \
    } while (0)
#define LOG_ERROR(...) LOG_AT(LOG_LEVEL_ERROR, __VA_ARGS__)
#define LOG_WARNING(...) LOG_AT(LOG_LEVEL_WARNING, __VA_ARGS__)
#define LOG_NOTICE(...) LOG_AT(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define LOG_INFO(...) LOG_AT(LOG_LEVEL_INFO, __VA_ARGS__)
#define LOG_DEBUG(...) LOG_AT(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
