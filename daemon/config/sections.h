/* The sections of the configuration: header, tenant, task, plugin, schedule, auth, tls.
 * Thread: the one that loads the configuration. */
#ifndef SATCHEL_CONFIG_SECTIONS_H
#define SATCHEL_CONFIG_SECTIONS_H

#include "config/config.h"
#include "config/source.h"

extern const struct source_shape header_shape[], tenant_shape[], task_shape[], plugin_shape[], schedule_shape[],
    auth_shape[];

/* Reads and checks every section of the tree into `config`. */
void sections_read(struct config *config, struct cfg_t *root, struct problems *problems);
void sections_print(const struct config *config, void (*put)(void *arg, const char *line), void *arg);
void sections_release(struct config *config);

#endif
