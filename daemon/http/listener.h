/* Listening sockets: TCP and unix, made here or inherited.
 *
 * One listener per address, all on the first loop, which hands the accepted sockets to the loop that has the fewest
 * connections.  SO_REUSEPORT would save that hop, but it spreads by hash: 64 connections over two loops end up as
 * uneven as a coin toss, and it can do nothing for inherited and unix sockets.
 * Thread: until started the owner of the server; then the first loop's. */
#ifndef SATCHEL_HTTP_LISTENER_H
#define SATCHEL_HTTP_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct evconnlistener;
struct http_server;

struct listener {
    struct http_server *server;
    struct evconnlistener *accepting; /* NULL: not (or no longer) accepting */
    int fd;                           /* -1: closed */
    bool is_unix;
    bool secure;       /* TLS */
    bool resting;      /* out of descriptors: tried again by listener_wake */
    char *address;     /* "http://127.0.0.1:8640", "https://...", "unix:/path" */
    char *unlink_path; /* unix sockets made here; removed where it still is the same file */
    dev_t device;
    ino_t inode;
};

/* Appends to server->listeners.  -1 and `error`, and nothing has changed. */
int listener_open(struct http_server *server, const char *address, char *error, size_t error_size);
int listener_adopt(struct http_server *server, int fd, bool secure, char *error, size_t error_size);
int listener_start(struct listener *listener); /* 0 or -errno; before the first loop runs, or on its thread */
bool listener_wake(struct listener *listener); /* accept again after a rest; true: it was resting */
void listener_stop(struct listener *listener); /* takes what waits to be accepted, then closes */
void listener_release(struct listener *listener);

#endif
