/* Lists of the configuration in file syntax, what is secret in them left out. */
#ifndef SATCHEL_CONFIG_PRINTING_H
#define SATCHEL_CONFIG_PRINTING_H

#include "config/config.h"
#include "proto/buf.h"

void config_print_list(struct buf *out, const char *name, const struct config_list *list);
/* Of "NAME=value" or "Name: value" (`between`), the value only where it may be shown, by its name. */
void config_print_assignments(struct buf *out, const char *name, const struct config_list *list, char between);

#endif
