/* The canaries: task types that show, from outside the daemon, with which context a child process and a called server
 * are reached.  `satchel doctor` submits them.
 *
 *   satchel.canary.command   runs /usr/bin/env: the result is the child's environment
 *   satchel.canary.http      calls {{args.url}}, on loopback alone: the result is the answer's body
 *
 * Both carry the whole context.  They exist where the setting `canaries` says so: usually where the daemon serves this
 * machine alone, since the first shows the environment of commands and the second lets clients call local servers.
 * What a handler sees is shown by satchel.context (builtin_context.c).  Called by registry.c. */
#ifndef SATCHEL_EXECUTOR_CANARY_H
#define SATCHEL_EXECUTOR_CANARY_H

#include "executor/registry.h"

int canaries_register(struct registry *registry, char *error, size_t error_size);

#endif
