/* The chunked coding, byte by byte: what may go on to llhttp, and where the message ends.  A pure function.
 *
 * Stricter than llhttp: CRLF only, bounded hexadecimal sizes, bounded extensions, bounded trailers (dropped).
 * One call stops at the end of a run of data, so that whoever takes the body can pause between pieces.
 * Thread: any. */
#ifndef SATCHEL_HTTP_CHUNKED_H
#define SATCHEL_HTTP_CHUNKED_H

#include "http/framing.h"

#define CHUNKED_EXTENSION_MAX 1024                 /* of one chunk */
#define CHUNKED_EXTENSIONS_MAX ((size_t)16 * 1024) /* of one message */

enum chunked_state {
    CHUNK_SIZE,
    CHUNK_EXT_NAME,
    CHUNK_EXT_VALUE,
    CHUNK_EXT_QUOTED,
    CHUNK_EXT_ESCAPED,
    CHUNK_EXT_END,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    CHUNK_TRAILER_START,
    CHUNK_TRAILER_NAME,
    CHUNK_TRAILER_VALUE,
    CHUNK_TRAILER_LF,
    CHUNK_END_LF
};

struct chunked {
    enum chunked_state state;
    unsigned digits;
    unsigned long long size; /* of this chunk; what is left of it in CHUNK_DATA */
    bool skip;               /* what the last call used is not for llhttp (an extension) */
    size_t part;             /* bytes of the current extension name or value */
    size_t extension, extensions;
    size_t trailer_line, trailer_bytes, trailers;
};

/* *ret_used bytes are fine; of them *ret_data, the last ones, are data.  DONE: the message ends after them. */
enum framing_result chunked_scan(struct chunked *scan, const struct framing_limits *limits, const char *data,
                                 size_t len, size_t *ret_used, size_t *ret_data, struct problem *ret_problem);

#endif
