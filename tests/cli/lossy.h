/* A proxy in front of the daemon that loses, or changes, one header line of one tenant's requests.
 * Thread: one of its own; the functions below from the test's. */
#ifndef SATCHEL_TESTS_LOSSY_H
#define SATCHEL_TESTS_LOSSY_H

#include <pthread.h>

#include "tests/support/satcheld.h"

struct lossy {
    const struct satcheld *daemon;
    const char *field;       /* "baggage": which line */
    const char *only;        /* where the request's head has this text; "" for all */
    const char *replacement; /* a whole line without its end; NULL: the line is left out */
    char url[64];
    int fd, wake[2];
    pthread_t thread;
};

void lossy_start(struct lossy *l); /* after daemon, field, only, replacement were set */
void lossy_stop(struct lossy *l);

#endif
