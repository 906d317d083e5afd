/* Of a task section: who its command is and how much it may use (user, group, umask, limits, nice, oom_score_adj,
 * memory_max, cpu_max, pids_max).  Names of users and groups are looked up here, when the configuration is loaded.
 * Thread: the one that loads the configuration; it may block on the system's user database. */
#ifndef SATCHEL_CONFIG_CONFINE_H
#define SATCHEL_CONFIG_CONFINE_H

#include "config/config.h"
#include "config/task_section.h"
#include "proto/buf.h"

extern const char *const confine_settings[]; /* their names; NULL-terminated */

void confine_read(struct config_confine *confine, struct section *s); /* `confine` is zero-filled */
void confine_print(const struct config_confine *confine, struct buf *out);
void confine_release(struct config_confine *confine);
const char *confine_limit_name(int resource); /* "nofile" for RLIMIT_NOFILE */

#endif
