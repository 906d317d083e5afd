/* "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", made once a second.  One per loop; its thread alone. */
#ifndef SATCHEL_HTTP_DATE_H
#define SATCHEL_HTTP_DATE_H

#include "proto/slice.h"

#include <time.h>

#define DATE_LINE_SIZE 37

struct date {
    time_t second;
    char line[DATE_LINE_SIZE + 1];
};

struct slice date_line(struct date *date);

#endif
