/* Repeatable random damage to requests, for the tests that want any input, not only the foreseen. */
#ifndef TESTS_HTTP_MUTATE_H
#define TESTS_HTTP_MUTATE_H

#include <stdint.h>
#include <string.h>

static uint64_t random_state = 88172645463325252u;

static unsigned random_below(unsigned n) /* xorshift: the same in every run */
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 33) % n;
}

/* Flips, drops, doubles a few bytes, mostly to ones that matter. */
static size_t mutate(char *data, size_t len, size_t cap)
{
    static const char liked[] = "\r\n\r\n :\t\0;=\"chunked0fF,HTTP/1.1\x80\x7f";
    for (unsigned n = random_below(4); n; n--) {
        size_t at = random_below((unsigned)len);
        switch (random_below(3)) {
        case 0: data[at] = liked[random_below(sizeof liked)]; break;
        case 1:
            memmove(data + at, data + at + 1, len - at - 1);
            len--;
            break;
        default:
            if (len < cap) {
                memmove(data + at + 1, data + at, len - at);
                len++;
            }
        }
    }
    return len;
}

#endif
