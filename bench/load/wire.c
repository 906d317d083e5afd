/* See wire.h.  A response begins in the buffer; only a head or a chunk's size that has not come whole stays there. */
#include "bench/load/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

void wire_init(struct wire *wire)
{
    wire->state = WIRE_HEAD;
    wire->len = 0;
}

static void begin(struct wire *wire)
{
    wire->lines = wire->refused = wire->column = 0;
    wire->start_len = wire->body_len = 0;
}

/* A task begins with {"id", a problem with {"type". */
static void look_at_lines(struct wire *wire, const char *data, size_t len)
{
    while (len) {
        if (wire->column <= 2 && wire->column + len > 2 && data[2 - wire->column] == 't')
            wire->refused++;
        const char *end = memchr(data, '\n', len);
        size_t n = end ? (size_t)(end - data) + 1 : len;
        wire->column = end ? 0 : wire->column + n;
        wire->lines += end != NULL;
        data += n;
        len -= n;
    }
}

static void take_body(struct wire *wire, const char *data, size_t len)
{
    size_t room = WIRE_START - wire->start_len, n = len < room ? len : room;
    memcpy(wire->start + wire->start_len, data, n);
    wire->start_len += n;
    wire->body_len += len;
    look_at_lines(wire, data, len);
}

static bool line_is(const char *line, const char *name)
{
    return strncasecmp(line, name, strlen(name)) == 0;
}

/* The head is at buffer, `len` bytes with its empty line.  False: it is none. */
static bool take_head(struct wire *wire, size_t len)
{
    char *line = wire->buffer, *end = wire->buffer + len;
    bool chunked = false;
    if (strncmp(line, "HTTP/1.1 ", 9) != 0)
        return false;
    begin(wire);
    wire->status = atoi(line + 9);
    wire->left = 0;
    wire->closes = false;
    while ((line = memchr(line, '\n', (size_t)(end - line))) && ++line < end) {
        if (*line != 'C' && *line != 'c' && *line != 'T' && *line != 't')
            continue;
        if (line_is(line, "content-length:"))
            wire->left = strtoul(line + 15, NULL, 10);
        else if (line_is(line, "transfer-encoding: chunked"))
            chunked = true;
        else if (line_is(line, "connection: close"))
            wire->closes = true;
    }
    wire->state = chunked ? WIRE_CHUNK_SIZE : WIRE_BODY;
    return true;
}

/* Takes one piece from the buffer's `at`.  1: complete, 0: taken, -1: not whole yet, -2: broken. */
static int take_piece(struct wire *wire, size_t *at)
{
    char *from = wire->buffer + *at;
    size_t len = wire->len - *at, n;
    char *end;
    switch (wire->state) {
    case WIRE_HEAD:
        if (!(end = memmem(from, len, "\r\n\r\n", 4)))
            return len == WIRE_BUFFER ? -2 : -1;
        memmove(wire->buffer, from, len);
        n = (size_t)(end - from) + 4;
        wire->len = len;
        *at = n;
        if (!take_head(wire, n))
            return -2;
        if (wire->status < 200) /* an interim response: the real one follows */
            wire->state = WIRE_HEAD;
        return wire->state == WIRE_BODY && !wire->left;
    case WIRE_CHUNK_SIZE:
    case WIRE_TRAILER:
        if (!(end = memchr(from, '\n', len)))
            return len == WIRE_BUFFER ? -2 : -1;
        *at += (size_t)(end - from) + 1;
        if (wire->state == WIRE_TRAILER)
            return end - from <= 1;
        wire->left = strtoul(from, NULL, 16);
        wire->state = wire->left ? WIRE_CHUNK_DATA : WIRE_TRAILER;
        return 0;
    case WIRE_CHUNK_END:
        if (len < 2)
            return -1;
        *at += 2;
        wire->state = WIRE_CHUNK_SIZE;
        return 0;
    case WIRE_BODY:
    case WIRE_CHUNK_DATA:
        if (!len)
            return -1;
        n = len < wire->left ? len : wire->left;
        take_body(wire, from, n);
        *at += n;
        wire->left -= n;
        if (wire->left)
            return -1;
        if (wire->state == WIRE_BODY)
            return 1;
        wire->state = WIRE_CHUNK_END;
        return 0;
    }
    return -2;
}

int wire_read(struct wire *wire, int fd)
{
    for (;;) {
        ssize_t n = recv(fd, wire->buffer + wire->len, WIRE_BUFFER - wire->len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n <= 0)
            return -1;
        wire->len += (size_t)n;
        bool filled = wire->len == WIRE_BUFFER;
        size_t at = 0;
        int taken;
        while ((taken = take_piece(wire, &at)) == 0)
            ;
        if (taken == -2)
            return -1;
        memmove(wire->buffer, wire->buffer + at, wire->len - at);
        wire->len -= at;
        if (taken == 1) {
            wire->state = WIRE_HEAD;
            return 1;
        }
        if (!filled) /* there was no more; what comes later tells itself */
            return 0;
    }
}
