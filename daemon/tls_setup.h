/* From the configuration to what the TLS addresses serve with; for a check, a start and a reload alike.
 * Called by main.c and subsystems.c.  Thread: main; blocks on files. */
#ifndef SATCHEL_TLS_SETUP_H
#define SATCHEL_TLS_SETUP_H

#include "config/config.h"
#include "http/tls.h"

/* 0 and a reference in *ret, NULL where there is no tls section; or -1, with each fault told to `report`.
 * `expired_too`: a certificate that is not valid now is a warning in the log, and no fault. */
int tls_setup(const struct config *config, bool expired_too, void (*report)(void *arg, const char *line), void *arg,
              struct tls **ret);

#endif
