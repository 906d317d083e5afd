/* How many connections each source has: an address, or a uid on a unix socket; and each account, that the application
 * counts them to.
 * Thread: any; one lock guards the table, held for a look-up at the begin and the end of a connection. */
#ifndef SATCHEL_HTTP_SOURCE_H
#define SATCHEL_HTTP_SOURCE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/slice.h"

struct source_key {    /* all bytes count: fill unused ones with zero */
    uint8_t bytes[17]; /* kind (4, 6, 'u', 'a'), then the address, the uid or two hashes of the account's name */
};

struct source_key source_of_account(struct slice name);

struct source_entry {
    struct source_key key;
    uint32_t count; /* 0: free */
};

struct sources {
    pthread_mutex_t lock; /* guards what follows */
    struct source_entry *table;
    size_t size, used;
};

int sources_init(struct sources *sources); /* 0 or -errno */
void sources_release(struct sources *sources);
/* False: the source has `limit` connections already (0: no limit), or there is no memory. */
bool sources_enter(struct sources *sources, const struct source_key *key, size_t limit);
void sources_leave(struct sources *sources, const struct source_key *key);

#endif
