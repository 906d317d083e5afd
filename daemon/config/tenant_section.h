/* tenant "acme" { ... }, and tenant "*", which is what all others get.
 * Thread: the one that loads the configuration. */
#ifndef SATCHEL_CONFIG_TENANT_SECTION_H
#define SATCHEL_CONFIG_TENANT_SECTION_H

#include "config/config.h"
#include "config/source.h"
#include "proto/buf.h"

struct section;

void tenant_section_read(struct config_tenant *tenant, struct section *s);
void tenant_section_print(const struct config_tenant *tenant, struct buf *out);
void tenant_section_release(struct config_tenant *tenant);

#endif
