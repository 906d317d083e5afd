/* Addresses to listen on: "HOST:PORT", "[V6]:PORT", with http:// or https:// before them, "unix:PATH"; and whether others than this machine reach them.
 * Thread: any; blocks where a host name has to be looked up. */
#ifndef SATCHEL_CONFIG_ADDRESS_H
#define SATCHEL_CONFIG_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

struct sockaddr;

const char *check_listen(const char *text); /* NULL, or what is wrong; looks at the form alone */
bool address_is_secure(const char *text);   /* https://: TLS */
const char *address_bare(const char *text); /* without http:// or https:// */
/* Is it reachable from this machine only (loopback, unix socket)?  1, 0, or -1: its host name is not known. */
int address_is_local(const char *text);
bool sockaddr_is_local(const struct sockaddr *address);
/* The same for an inherited listening socket: 0, or -1 with what is wrong and what to do in `error`. */
int address_check_inherited(int fd, char *error, size_t error_size);

#define ADDRESS_OPEN_ADVICE                                                                                            \
    "is reachable from other machines, which needs authentication, and none is configured; "                           \
    "make tokens with 'satchel token create' and name their file in auth { token_file = \"...\" }, or listen on "      \
    "127.0.0.1, [::1] or unix:PATH"

#endif
