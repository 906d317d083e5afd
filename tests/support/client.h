/* HTTP/1.1 over a plain socket: bytes out, one answer in, nothing hidden.  Keep-alive, pipelining, chunked bodies,
 * interim answers.  Thread: any one; the blocking calls fail the test, client_try does not. */
#ifndef SATCHEL_TESTS_CLIENT_H
#define SATCHEL_TESTS_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "tests/support/satcheld.h"

struct client { /* one connection */
    int fd;     /* -1: closed */
    char *data; /* what has come and is not yet an answer */
    size_t len, cap;
    bool ended;        /* the daemon has closed its side */
    int awaited_heads; /* answers to HEAD that come next have no body */
};

struct answer { /* zero it before the first use; client_read fills it anew each time */
    int status;
    char *head; /* status line and header lines, NUL-terminated, each line ended by \r\n */
    char *body; /* decoded, NUL-terminated */
    size_t body_len;
};

void client_open(struct client *c, const struct satcheld *d);
void client_open_unix(struct client *c, const char *path);
void client_close(struct client *c);
void client_send(struct client *c, const void *bytes, size_t len); /* all of it; fails the test */
void client_send_text(struct client *c, const char *text);
/* As many of the bytes as go without waiting; -1: the connection is broken. */
long client_send_some(struct client *c, const char *bytes, size_t len);

/* Takes what has come: 1 an answer is complete, 0 not yet, -1 the connection ended, or what came is no answer. */
int client_try(struct client *c, struct answer *ret);
/* Waits for one answer; false: none came, the connection ended.  Fails the test after the limit. */
bool client_read_limit(struct client *c, struct answer *ret, int limit_ms);
bool client_read(struct client *c, struct answer *ret); /* WAIT_MS */
/* True if nothing more comes and the daemon closes the connection. */
bool client_is_closed(struct client *c);

/* The value of a header line, malloced, or NULL; more than one line of the name fails the test. */
char *answer_header(const struct answer *answer, const char *name);
bool answer_has(const struct answer *answer, const char *name, const char *value);
void answer_release(struct answer *answer);

#endif
