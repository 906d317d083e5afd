/* tls { ... }: what the addresses of the form https://HOST:PORT serve with.  What the files hold is looked at by
 * http/tls.c, here is only what is written.
 * Thread: the one that loads the configuration. */
#ifndef SATCHEL_CONFIG_TLS_SECTION_H
#define SATCHEL_CONFIG_TLS_SECTION_H

#include "config/config.h"
#include "config/task_section.h"

extern const struct source_shape tls_shape[];

void tls_section_read(struct config_tls *tls, struct section *s); /* `tls` is zero-filled */
void tls_section_print(const struct config_tls *tls, struct buf *out);
void tls_section_release(struct config_tls *tls);

#endif
