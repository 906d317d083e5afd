#include "config/address.h"
#include "config/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "config/grammar.h"

#define HOST_MAX 255

static bool is_unix(const char *text)
{
    return strncmp(text, "unix:", 5) == 0;
}

bool address_is_secure(const char *text)
{
    return strncmp(text, "https://", 8) == 0;
}

const char *address_bare(const char *text)
{
    return text + (address_is_secure(text) ? 8 : strncmp(text, "http://", 7) == 0 ? 7 : 0);
}

/* Splits "HOST:PORT" or "[V6]:PORT"; false where it is neither. */
static bool split(const char *text, char host[HOST_MAX + 1], const char **ret_port)
{
    const char *end, *start = text;
    if (*text == '[') {
        start++;
        end = strchr(text, ']');
        if (!end || end[1] != ':')
            return false;
        *ret_port = end + 2;
    } else {
        end = strchr(text, ':');
        if (!end || strchr(end + 1, ':'))
            return false;
        *ret_port = end + 1;
    }
    if (end == start || end - start > HOST_MAX)
        return false;
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = '\0';
    return true;
}

const char *check_listen(const char *text)
{
    char host[HOST_MAX + 1];
    const char *port;
    int64_t number;
    struct in6_addr six;
    if (is_unix(text)) {
        if (text[5] != '/')
            return "must name an absolute path: unix:/run/satchel/satcheld.sock";
        if (strlen(text + 5) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
            return "is too long for a unix socket (107 bytes)";
        return NULL;
    }
    text = address_bare(text);
    if (!split(text, host, &port))
        return "must be HOST:PORT, [V6]:PORT, https://HOST:PORT or unix:PATH";
    if (text[0] == '[' && inet_pton(AF_INET6, host, &six) != 1)
        return "has no IPv6 address between [ and ]";
    if (text[0] != '[' &&
        strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") != strlen(host))
        return "has no host name or IPv4 address before the colon";
    if (strlen(port) > 5 || !number_parse(port, &number) || number > 65535)
        return "needs a port from 0 to 65535";
    return NULL;
}

bool sockaddr_is_local(const struct sockaddr *address)
{
    if (address->sa_family == AF_UNIX)
        return true;
    if (address->sa_family == AF_INET) {
        struct sockaddr_in four;
        memcpy(&four, address, sizeof four);
        return ntohl(four.sin_addr.s_addr) >> 24 == 127;
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 six;
        memcpy(&six, address, sizeof six);
        return IN6_IS_ADDR_LOOPBACK(&six.sin6_addr) ||
               (IN6_IS_ADDR_V4MAPPED(&six.sin6_addr) && six.sin6_addr.s6_addr[12] == 127);
    }
    return false;
}

int address_is_local(const char *text)
{
    char host[HOST_MAX + 1];
    const char *port;
    if (is_unix(text))
        return 1;
    if (!split(address_bare(text), host, &port))
        return -1;
    if (strcasecmp(host, "localhost") == 0) /* RFC 6761: never anything else, whatever the resolver knows */
        return 1;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found = NULL;
    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return -1;
    int local = found ? 1 : -1;
    for (struct addrinfo *one = found; one && local == 1; one = one->ai_next)
        local = sockaddr_is_local(one->ai_addr);
    freeaddrinfo(found);
    return local;
}

int address_check_inherited(int fd, char *error, size_t error_size)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &len) < 0) {
        (void)snprintf(error, error_size, "inherited descriptor %d: %s", fd, strerror(errno));
        return -1;
    }
    if (sockaddr_is_local((const struct sockaddr *)&address))
        return 0;
    (void)snprintf(error, error_size, "inherited socket %d " ADDRESS_OPEN_ADVICE, fd);
    return -1;
}

bool config_serves_this_machine_alone(const struct config *config)
{
    for (size_t i = 0; i < config->listen.n; i++)
        if (address_is_local(config->listen.items[i]) != 1)
            return false;
    return true;
}
