/* Which store a URL names.  Called by the subsystems' start; everything else goes through the operations.
 * Thread: the starting one. */
#include "store/store.h"

#include <stdio.h>
#include <string.h>

#include "store/sqlite_store.h"

int store_open(const struct store_options *options, struct store **ret, char *error, size_t error_size)
{
    if (strncmp(options->url, "sqlite:", 7) == 0)
        return sqlite_store_open(options, NULL, ret, error, error_size);
    (void)snprintf(error, error_size, "store \"%s\": this build knows sqlite:PATH", options->url);
    return -1;
}
