/* Where the reader reads: one connection of one kind of store.
 * Thread: the reader's alone, once reader_new has opened it. */
#ifndef SATCHEL_STORE_READ_SOURCE_H
#define SATCHEL_STORE_READ_SOURCE_H

#include "store/reader.h"

/* Bounds of one read, whatever the store. */
#define READ_TIME_NS 5000000000LL /* then a list returns what it has, and a single read is busy */
#define READ_EXAMINED_MAX 20000   /* rows looked at for one page ... */
#define READ_SEARCH_NS 50000000LL /* ... but for so long while none of them matches */
#define READ_PAGE_BYTES (8 << 20) /* of the tasks in one page; a single larger task still fits */
#define READ_LIMIT_MAX 1000       /* tasks in one page */

struct read_source;

struct read_source_ops {
    void (*close)(struct read_source *source);
    enum store_result (*begin)(struct read_source *source); /* the reads up to `end` see one state */
    void (*end)(struct read_source *source);
    void (*task)(struct read_source *source, struct read_call *call); /* fill in the answer, also on errors */
    void (*list)(struct read_source *source, struct read_call *call);
};

struct read_source {
    const struct read_source_ops *ops;
};

/* 0, or -1 with the reason. */
int sqlite_source_open(const struct store_options *options, struct read_source **ret, char *error, size_t error_size);

#endif
