/* Which hosts and addresses an HTTP task may call: its `allow` list, and the addresses that nobody calls unless that
 * list names them.  Pure functions on an immutable list; any thread.  Called by http_task.c (which builds the list) and
 * by http_exchange.c, for every address that a connection is about to be made to: what a name resolved to a moment
 * before is not asked, so that a name which changes its mind (DNS rebinding) gains nothing. */
#ifndef SATCHEL_EXECUTOR_HTTP_ALLOW_H
#define SATCHEL_EXECUTOR_HTTP_ALLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "config/config.h"

struct http_network {
    uint8_t bytes[16]; /* an IPv4 network uses the first four */
    unsigned bits;
    bool six;
};

struct http_name {
    const char *text; /* of the configuration: "host", or ".suffix" of "*.suffix" */
    size_t len;       /* without a dot at its end */
    bool below;       /* the hosts below the suffix, not itself */
    bool pinned;      /* "host=network": at these addresses */
    struct http_network at;
};

struct http_allow {
    struct http_network *networks;
    size_t n_networks;
    struct http_name *names;
    size_t n_names;
    bool exclusive; /* nothing else may be called: the host comes from the submission */
};

/* `list` must outlive it.  0, or -1: no memory. */
int http_allow_init(struct http_allow *ret, const struct config_list *list, bool exclusive);
void http_allow_release(struct http_allow *allow);

/* NULL: the address, which `host` of the URL stands for, may be connected to.  Else static text that says what it is:
 * "a loopback address", "not among the hosts that allow names".
 *   - An address or network of the list permits the addresses that it holds, whatever they are; an IPv4 one also where
 *     they are written as IPv4-mapped IPv6.
 *   - A host name of the list permits that host, and *.suffix the hosts below it (not the suffix itself), as far as they
 *     have public addresses: who holds the name says what it resolves to, and shall not choose among the addresses that
 *     only this machine can reach.  The name localhost is this machine's own, and permits loopback.
 *   - NAME=NETWORK permits that host, or the hosts below *.suffix, at the addresses of the network, whatever they are.
 *   - Everything else: public addresses, unless the list is exclusive. */
const char *http_allow_refuses(const struct http_allow *allow, const char *host, const struct sockaddr *address);

#endif
