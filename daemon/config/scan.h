/* A look at a configuration text before libConfuse gets it.  Any thread. */
#ifndef SATCHEL_CONFIG_SCAN_H
#define SATCHEL_CONFIG_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "config/problems.h"

/* Makes blanks of comments: libConfuse 3.3 counts their lines wrongly.
 * False, and a problem with the line where it began: an open string, comment or brace (libConfuse takes
 * some of these silently, and stays confused after an open string), or control characters. */
bool scan_text(char *text, size_t len, const char *path, struct problems *problems);

#endif
