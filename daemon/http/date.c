#include "http/date.h"

#include <stdio.h>

struct slice date_line(struct date *date)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec != date->second) {
        static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
        static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                           "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
        struct tm t;
        (void)gmtime_r(&now.tv_sec, &t);
        char text[96];
        (void)snprintf(text, sizeof text, "Date: %s, %02d %s %04d %02d:%02d:%02d GMT\r\n", days[t.tm_wday], t.tm_mday,
                       months[t.tm_mon], t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
        memcpy(date->line, text, DATE_LINE_SIZE);
        date->second = now.tv_sec;
    }
    return slice_of(date->line, DATE_LINE_SIZE);
}
