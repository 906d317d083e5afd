/* Called by subsystems.c before the store is opened.  Thread: main. */
#include "data_dir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* With its parents: a user's own ~/.local/state may not be there yet. */
static int make(const char *path, char *error, size_t error_size)
{
    char *part = strdup(path);
    int err = part ? 0 : ENOMEM;
    for (char *slash = part; !err && slash;) {
        slash = strchr(slash + 1, '/');
        if (slash)
            *slash = '\0';
        if (mkdir(part, 0700) < 0 && errno != EEXIST && errno != EROFS && errno != EACCES)
            err = errno;
        if (slash)
            *slash = '/';
    }
    free(part);
    if (!err && access(path, W_OK | X_OK) < 0)
        err = errno;
    if (err)
        (void)snprintf(error, error_size, "cannot use the data directory %s: %s (choose one with --data-dir)", path,
                       strerror(err));
    return err ? -1 : 0;
}

static bool store_is_in_it(const struct config *config)
{
    size_t len = config->data_dir ? strlen(config->data_dir) : 0;
    return len > 0 && strncmp(config->store, "sqlite:", 7) == 0 &&
           strncmp(config->store + 7, config->data_dir, len) == 0;
}

int data_dir_prepare(const struct config *config, char *error, size_t error_size)
{
    return store_is_in_it(config) ? make(config->data_dir, error, error_size) : 0;
}
