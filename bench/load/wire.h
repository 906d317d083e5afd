/* The client's side of HTTP/1.1, as little of it as an honest load needs: reads responses as they come, counts and looks
 * at what is in them, keeps nothing.  One thread. */
#ifndef SATCHEL_BENCH_WIRE_H
#define SATCHEL_BENCH_WIRE_H

#include <stdbool.h>
#include <stddef.h>

#define WIRE_BUFFER 16384u
#define WIRE_START 192u /* bytes of a body's beginning that are kept */

enum wire_state { WIRE_HEAD, WIRE_BODY, WIRE_CHUNK_SIZE, WIRE_CHUNK_DATA, WIRE_CHUNK_END, WIRE_TRAILER };

struct wire {
    enum wire_state state;
    int status;
    bool closes;                /* the server closes the connection behind this response */
    size_t left;                /* of the body or the chunk */
    size_t lines, refused;      /* of a body of lines: how many, and how many of them are problems */
    size_t column;              /* in the line under way */
    size_t start_len, body_len; /* of start; of the whole body */
    char start[WIRE_START];
    size_t len; /* of buffer */
    char buffer[WIRE_BUFFER];
};

void wire_init(struct wire *wire);
/* Reads what is there.  1: a response is complete (its fields stay until the next call); 0: more is to come; -1: the
 * connection is over or what came is no HTTP. */
int wire_read(struct wire *wire, int fd);

#endif
