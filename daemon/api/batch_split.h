/* The submissions of a batch, found in its bytes as they come: one a line, or the elements of a JSON array.  It looks at
 * brackets, strings and line ends alone; whether a submission is JSON is found out by whoever reads it.
 * Thread: one at a time. */
#ifndef SATCHEL_API_BATCH_SPLIT_H
#define SATCHEL_API_BATCH_SPLIT_H

#include <stdbool.h>

#include "proto/buf.h"

enum batch_piece {
    BATCH_MORE,     /* nothing whole is there: give it more bytes */
    BATCH_ITEM,     /* *ret is a submission, good until the next call */
    BATCH_TOO_LONG, /* a submission that is longer than `max`; its rest is passed over */
    BATCH_OVER,     /* the array is closed: only white space may follow */
    BATCH_BROKEN    /* this is no array, or something follows it; `fault` says what */
};

struct batch_split {
    bool is_array;
    size_t max; /* bytes of one submission */
    const char *fault;
    /* its own */
    enum { SPLIT_START, SPLIT_ITEM, SPLIT_END, SPLIT_BROKEN } at;
    struct buf item; /* what came of it with earlier bytes */
    unsigned depth;
    bool in_string, escaped, too_long, seen_any;
};

/* Takes the next piece off *bytes. */
enum batch_piece batch_split_next(struct batch_split *split, struct slice *bytes, struct slice *ret);
/* No more bytes will come: a last line without its end, or what is missing of the array. */
enum batch_piece batch_split_end(struct batch_split *split, struct slice *ret);
void batch_split_release(struct batch_split *split);

#endif
