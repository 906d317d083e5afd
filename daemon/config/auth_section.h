/* auth { ... }: who may call, and as whom.
 * Thread: the one that loads the configuration. */
#ifndef SATCHEL_CONFIG_AUTH_SECTION_H
#define SATCHEL_CONFIG_AUTH_SECTION_H

#include "config/config.h"
#include "config/task_section.h"

void auth_section_read(struct config_auth *auth, struct section *s); /* `auth` is zero-filled; turns it on */
/* What is there without a section: the tokens that systemd passed on; and reads the file of tokens. */
void auth_section_finish(struct config_auth *auth, struct problems *problems, struct config_where where);
void auth_section_print(const struct config_auth *auth, struct buf *out);
void auth_section_release(struct config_auth *auth);

#endif
