/* Flow: http_server_listen/adopt -> listener_start -> on_accept -> http_server_accepted (server.c). */
#include "http/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "http/server.h"

enum { BACKLOG = 4096, SOCKET_MODE = 0660 };

static int fail(char *error, size_t error_size, const char *address, const char *what, int err)
{
    if (err)
        (void)snprintf(error, error_size, "cannot listen on %s: %s: %s", address, what, strerror(err));
    else
        (void)snprintf(error, error_size, "cannot listen on %s: %s", address, what);
    return -1;
}

/* ---- accepting ---- */

static void on_accept(struct evconnlistener *accepting, evutil_socket_t fd, struct sockaddr *address, int len,
                      void *arg)
{
    (void)accepting, (void)len;
    struct listener *listener = arg;
    http_server_accepted(listener, fd, address);
}

/* Out of descriptors or memory: what is left in the queue would wake us at once, again and again. */
static void on_accept_error(struct evconnlistener *accepting, void *arg)
{
    struct listener *listener = arg;
    LOG_WARNING("accepting connections failed; resting", LOG_TEXT("address", listener->address),
                LOG_TEXT("error", strerror(errno)));
    listener->resting = evconnlistener_disable(accepting) == 0;
    http_loop_keep_sweeping(&listener->server->loops[0]); /* which wakes it */
}

int listener_start(struct listener *listener)
{
    if (listener->accepting || listener->fd < 0)
        return 0;
    struct http_server *server = listener->server;
    listener->accepting = evconnlistener_new(loop_base(server->loops[0].loop), on_accept, listener,
                                             LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_DISABLED, 0, listener->fd);
    if (!listener->accepting)
        return -ENOMEM;
    evconnlistener_set_error_cb(listener->accepting, on_accept_error);
    return evconnlistener_enable(listener->accepting) < 0 ? -ENOMEM : 0;
}

bool listener_wake(struct listener *listener)
{
    if (!listener->resting || !listener->accepting)
        return false;
    listener->resting = evconnlistener_enable(listener->accepting) < 0;
    return true;
}

void listener_stop(struct listener *listener)
{
    if (listener->accepting) {
        for (;;) { /* who is connected already shall be answered */
            struct sockaddr_storage address = {0};
            socklen_t len = sizeof address;
            int fd = accept4(listener->fd, (struct sockaddr *)&address, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
            if (fd < 0 && errno == EINTR)
                continue;
            if (fd < 0)
                break;
            http_server_accepted(listener, fd, &address);
        }
        evconnlistener_free(listener->accepting);
        listener->accepting = NULL;
    }
    if (listener->fd >= 0)
        (void)close(listener->fd);
    listener->fd = -1;
}

/* ---- adding ---- */

static char *tcp_address_text(const struct sockaddr_storage *address, bool secure)
{
    const char *scheme = secure ? "https" : "http";
    char host[INET6_ADDRSTRLEN] = "", *text = NULL;
    int n;
    if (address->ss_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        (void)inet_ntop(AF_INET, &in.sin_addr, host, sizeof host);
        n = asprintf(&text, "%s://%s:%u", scheme, host, ntohs(in.sin_port));
    } else {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof in6);
        (void)inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof host);
        n = asprintf(&text, "%s://[%s]:%u", scheme, host, ntohs(in6.sin6_port));
    }
    return n < 0 ? NULL : text;
}

static char *address_text(int fd, bool secure, bool *ret_unix)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        return NULL;
    *ret_unix = address.ss_family == AF_UNIX;
    if (address.ss_family == AF_INET || address.ss_family == AF_INET6)
        return tcp_address_text(&address, secure);
    if (!*ret_unix)
        return NULL;
    struct sockaddr_un un;
    memcpy(&un, &address, sizeof un);
    size_t path_len = len > offsetof(struct sockaddr_un, sun_path) ? len - offsetof(struct sockaddr_un, sun_path) : 0;
    char *text = NULL;
    if (path_len && !un.sun_path[0]) /* the abstract name space */
        return asprintf(&text, "unix:@%.*s", (int)path_len - 1, un.sun_path + 1) < 0 ? NULL : text;
    return asprintf(&text, "unix:%.*s", (int)strnlen(un.sun_path, path_len), un.sun_path) < 0 ? NULL : text;
}

/* Takes the listening descriptor over on success. */
static int add(struct http_server *server, int fd, bool secure, const char *unlink_path)
{
    if (server->n_listeners == HTTP_LISTENERS_MAX || server->started)
        return -1;
    struct listener listener = {.server = server, .fd = fd, .secure = secure};
    listener.address = address_text(fd, secure, &listener.is_unix);
    listener.secure = secure && !listener.is_unix;
    struct stat at;
    if (unlink_path && stat(unlink_path, &at) == 0) {
        listener.unlink_path = strdup(unlink_path);
        listener.device = at.st_dev;
        listener.inode = at.st_ino;
    }
    if (!listener.address || (unlink_path && !listener.unlink_path)) {
        free(listener.address);
        free(listener.unlink_path);
        return -1;
    }
    server->listeners[server->n_listeners++] = listener;
    return 0;
}

/* Accepted sockets inherit these, which saves setting them on each. */
static void set_tcp_options(int fd)
{
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

int listener_adopt(struct http_server *server, int fd, bool secure, char *error, size_t error_size)
{
    char name[32];
    (void)snprintf(name, sizeof name, "inherited socket %d", fd);
    int type = 0, listening = 0;
    socklen_t type_len = sizeof type, listening_len = sizeof listening;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &listening_len) < 0)
        return fail(error, error_size, name, "not a socket", errno);
    if (type != SOCK_STREAM || !listening)
        return fail(error, error_size, name, "not a listening stream socket", 0);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return fail(error, error_size, name, "fcntl", errno);
    set_tcp_options(fd);
    return add(server, fd, secure, NULL) < 0
               ? fail(error, error_size, name, "too many addresses, or not TCP or unix", 0)
               : 0;
}

/* A socket file that nobody listens on any more may be replaced.  0, or a reason. */
static const char *clear_stale(const char *path, const struct sockaddr_un *address)
{
    struct stat at;
    if (lstat(path, &at) < 0)
        return NULL;
    if (!S_ISSOCK(at.st_mode))
        return "the file exists and is not a socket";
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return "no socket to look whether another process listens there";
    bool stale = connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 && errno == ECONNREFUSED;
    (void)close(fd);
    if (!stale)
        return "another process listens there";
    return unlink(path) < 0 && errno != ENOENT ? "the stale socket file cannot be removed" : NULL;
}

static int open_unix(struct http_server *server, const char *address, char *error, size_t error_size)
{
    const char *path = address + strlen("unix:");
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (!len || len >= sizeof un.sun_path)
        return fail(error, error_size, address, "the path is empty or longer than 107 bytes", 0);
    memcpy(un.sun_path, path, len + 1);
    const char *why = clear_stale(path, &un);
    if (why)
        return fail(error, error_size, address, why, 0);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fail(error, error_size, address, "socket", errno);
    /* Linux gives the file the mode of the socket: no moment with wider rights. */
    bool bound = fchmod(fd, SOCKET_MODE) == 0 && bind(fd, (const struct sockaddr *)&un, sizeof un) == 0;
    if (!bound || listen(fd, BACKLOG) < 0) {
        (void)fail(error, error_size, address, bound ? "listen" : "bind", errno);
        (void)close(fd);
        if (bound)
            (void)unlink(path);
        return -1;
    }
    if (add(server, fd, false, path) == 0)
        return 0;
    (void)close(fd);
    (void)unlink(path);
    return fail(error, error_size, address, "too many addresses, or no memory", 0);
}

/* One address of the name; *port (network order, 0: any) is set to the one it got.  0 or errno. */
static int open_tcp(struct http_server *server, const struct addrinfo *info, bool secure, in_port_t *port)
{
    struct sockaddr_storage address = {0};
    memcpy(&address, info->ai_addr, info->ai_addrlen);
    in_port_t *own = address.ss_family == AF_INET ? &((struct sockaddr_in *)&address)->sin_port
                                                  : &((struct sockaddr_in6 *)&address)->sin6_port;
    if (!*own)
        *own = *port;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (info->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    set_tcp_options(fd);
    socklen_t len = sizeof address;
    int err = 0;
    if (bind(fd, (const struct sockaddr *)&address, info->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        err = errno;
    else if (add(server, fd, secure, NULL) < 0)
        err = ENOBUFS;
    if (err)
        (void)close(fd);
    else
        *port = *own;
    return err;
}

/* Splits "HOST:PORT" and "[V6]:PORT".  False: neither. */
static bool split(const char *address, char host[256], char port[6])
{
    const char *colon = strrchr(address, ':'), *from = address, *to = colon;
    if (!colon || strlen(colon + 1) > 5 || !colon[1] || colon[1 + strspn(colon + 1, "0123456789")] ||
        atoi(colon + 1) > 65535)
        return false;
    if (*from == '[') {
        if (to < from + 2 || to[-1] != ']')
            return false;
        from++;
        to--;
    } else if (memchr(from, ':', (size_t)(to - from))) {
        return false; /* an IPv6 address without brackets */
    }
    if (to == from || to - from > 255)
        return false;
    memcpy(host, from, (size_t)(to - from));
    host[to - from] = '\0';
    memcpy(port, colon + 1, strlen(colon + 1) + 1);
    return true;
}

int listener_open(struct http_server *server, const char *address, char *error, size_t error_size)
{
    if (strncmp(address, "unix:", 5) == 0)
        return open_unix(server, address, error, error_size);
    char host[256], port_text[6];
    bool secure = strncmp(address, "https://", 8) == 0;
    if (!split(address + (secure ? 8 : strncmp(address, "http://", 7) == 0 ? 7 : 0), host, port_text))
        return fail(error, error_size, address,
                    "write HOST:PORT, [V6]:PORT, https://HOST:PORT or unix:PATH (ports up to 65535)", 0);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *list = NULL;
    int err = getaddrinfo(strcmp(host, "*") == 0 ? NULL : host, port_text, &hints, &list);
    if (err)
        return fail(error, error_size, address, gai_strerror(err), 0);
    /* A name may stand for several addresses: all that this machine has. */
    in_port_t port = 0;
    int bound = 0, first_error = 0;
    for (const struct addrinfo *info = list; info; info = info->ai_next) {
        if (info->ai_family != AF_INET && info->ai_family != AF_INET6)
            continue;
        err = open_tcp(server, info, secure, &port);
        bound += !err;
        if (err && !first_error)
            first_error = err;
    }
    freeaddrinfo(list);
    return bound ? 0 : fail(error, error_size, address, "bind", first_error ? first_error : EADDRNOTAVAIL);
}

void listener_release(struct listener *listener)
{
    if (listener->accepting)
        evconnlistener_free(listener->accepting);
    if (listener->fd >= 0)
        (void)close(listener->fd);
    struct stat at;
    if (listener->unlink_path && stat(listener->unlink_path, &at) == 0 && at.st_dev == listener->device &&
        at.st_ino == listener->inode)
        (void)unlink(listener->unlink_path);
    free(listener->unlink_path);
    free(listener->address);
}
