/* How many wrong tokens each source has sent lately, so that trying is bounded in rate.
 *
 * A fixed table: a source that is pushed out by others only begins anew.  Each has a single time (GCRA), which every
 * failure moves on.  What is right is never counted, and while nobody fails a look costs one atomic load.
 * Thread: any; one lock guards the table, held for a look at eight entries. */
#ifndef SATCHEL_AUTH_GUESSES_H
#define SATCHEL_AUTH_GUESSES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "proto/slice.h"

struct guess_entry {
    uint64_t key;       /* of the source: a keyed hash; 0: free */
    int64_t allowed_at; /* when it may have failed so often: the theoretical arrival time */
};

struct guesses {
    uint64_t seed[2];
    atomic_llong newest;  /* the latest time in the table */
    pthread_mutex_t lock; /* guards the table */
    struct guess_entry *table;
};

int guesses_init(struct guesses *guesses); /* 0 or -errno */
void guesses_release(struct guesses *guesses);

/* What is tried: from where (an address without its port, or a user), and the token's id where there is such a token. */
uint64_t guesses_key(const struct guesses *guesses, struct slice source, struct slice id);
/* 0: the key may be tried; else in how many seconds.  `a_minute`: how many failures are allowed; 0: any number.
 * now_ns: clock_mono_ns. */
int guesses_wait(struct guesses *guesses, uint64_t key, int64_t a_minute, int64_t now_ns);
void guesses_failed(struct guesses *guesses, uint64_t key, int64_t a_minute, int64_t now_ns);

#endif
