/* An HTTP server on loopback that answers each request with its own head, as text: what an HTTP task's receiver saw.
 * Thread: one of its own; start and stop from the test's. */
#ifndef SATCHEL_TESTS_ECHO_SERVER_H
#define SATCHEL_TESTS_ECHO_SERVER_H

#include <pthread.h>

struct echo_server {
    int fd, wake[2];
    char url[64]; /* "http://127.0.0.1:PORT" */
    pthread_t thread;
};

void echo_start(struct echo_server *e);
void echo_stop(struct echo_server *e);

#endif
