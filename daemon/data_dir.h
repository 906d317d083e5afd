/* The directory that satcheld keeps its data in. */
#ifndef SATCHEL_DATA_DIR_H
#define SATCHEL_DATA_DIR_H

#include <stddef.h>

#include "config/config.h"

/* Makes the data directory, with its parents, where the store is to be in it; a store elsewhere needs none.
 * 0, or -1 and error[] says what is wrong. */
int data_dir_prepare(const struct config *config, char *error, size_t error_size);

#endif
