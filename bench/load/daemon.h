/* A satcheld of the load's own: durable, with the defaults, on a free port, in a directory that is removed with it.  It
 * dies with this process, however that ends.  Also plain requests to it, one at a time, and what the system tells of it.
 * One thread. */
#ifndef SATCHEL_BENCH_DAEMON_H
#define SATCHEL_BENCH_DAEMON_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct server {
    const char *program;
    char directory[512]; /* "": it is somebody else's daemon */
    char config[600];    /* the file, or "" */
    pid_t pid;           /* 0: none of ours runs, or it is not known */
    struct sockaddr_in address;
    double ready_s; /* how long the last start took, until it was ready */
};

/* What a daemon has used up to now. */
struct usage {
    double cpu_s;
    long rss_kib;
    double syncs, commits, finished, submitted;
    long switches; /* of all its threads, voluntary and not */
};

/* Makes the directory below `parent` and, where `settings` is given, a configuration file with them.  -1: said why. */
int server_init(struct server *server, const char *program, const char *parent, const char *settings);
/* Starts it and waits until it is ready.  -1: said why. */
int server_start(struct server *server);
/* It is told to stop (SIGKILL: it is killed), and waited for. */
void server_stop(struct server *server, int signal);
void server_release(struct server *server);
/* Somebody else's, at HOST:PORT (IPv4).  -1: said why. */
int server_use(struct server *server, const char *address);

/* A connection to it; -1: said why. */
int server_connect(const struct server *server);
/* One request on a connection of its own, at most 60 s.  The status, and the body in `ret_body` (to be freed; NULL: not
 * wanted); -1: said why. */
int server_ask(const struct server *server, const char *request, size_t len, char **ret_body);
/* -1: /metrics could not be read. */
int server_usage(const struct server *server, struct usage *ret);
/* The processor time alone, without asking the daemon. */
double server_cpu(const struct server *server);

/* How long an fdatasync of 4 KiB at a file's end takes in this directory: the median of 100, in milliseconds. */
double disk_sync_ms(const char *directory);

#endif
