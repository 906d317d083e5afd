/* A look at a configuration text before libConfuse gets it.  Pure; any thread. */
#ifndef SATCHEL_CONFIG_SCAN_H
#define SATCHEL_CONFIG_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "config/problems.h"

/* False, and a problem with the line where it began: an open string, comment or brace (libConfuse takes
 * some of these silently, and stays confused after an open string), or control characters. */
bool scan_text(const char *text, size_t len, const char *path, struct problems *problems);

#endif
