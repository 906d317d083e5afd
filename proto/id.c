#include "proto/id.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static _Atomic uint64_t last_seq; /* the greatest sequence handed out in this process */

static atomic_uint forks; /* how many lie between the first process and this one */

static void count_fork(void)
{
    (void)atomic_fetch_add_explicit(&forks, 1, memory_order_relaxed);
}

static void watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, count_fork);
}

void random_bytes(void *out, size_t len)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static _Thread_local unsigned char pool[512];
    static _Thread_local size_t left;
    static _Thread_local unsigned filled_in;
    unsigned char *to = out;
    (void)pthread_once(&once, watch_forks);
    if (filled_in != atomic_load_explicit(&forks, memory_order_relaxed))
        left = 0; /* these are the parent's as well: its ids and ours would be the same */
    while (len) {
        if (left == 0) {
            filled_in = atomic_load_explicit(&forks, memory_order_relaxed);
            size_t got = 0;
            while (got < sizeof pool) {
                ssize_t n = getrandom(pool + got, sizeof pool - got, 0);
                if (n < 0 && errno != EINTR)
                    abort(); /* no entropy source: ids would collide */
                got += n > 0 ? (size_t)n : 0;
            }
            left = sizeof pool;
        }
        size_t take = len < left ? len : left;
        memcpy(to, pool + sizeof pool - left, take);
        memset(pool + sizeof pool - left, 0, take);
        left -= take;
        to += take;
        len -= take;
    }
}

static uint64_t clock_seq(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    uint64_t ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    uint64_t fraction = (uint64_t)now.tv_nsec % 1000000 * 4096 / 1000000;
    return ms << 12 | fraction;
}

void task_id_seed(uint64_t at_least_seq)
{
    uint64_t last = atomic_load_explicit(&last_seq, memory_order_relaxed);
    while (last < at_least_seq && !atomic_compare_exchange_weak(&last_seq, &last, at_least_seq)) {
    }
}

void task_id_make(struct task_id *ret_id)
{
    uint64_t now = clock_seq();
    uint64_t last = atomic_load_explicit(&last_seq, memory_order_relaxed);
    uint64_t seq;
    do {
        seq = now > last ? now : last + 1;
    } while (!atomic_compare_exchange_weak_explicit(&last_seq, &last, seq, memory_order_relaxed, memory_order_relaxed));
    uint64_t lo;
    random_bytes(&lo, sizeof lo);
    *ret_id = task_id_from_seq(seq, (lo >> 2) | 0x8000000000000000ULL);
}

uint64_t task_id_seq(struct task_id id)
{
    return id.hi >> 16 << 12 | (id.hi & 0xfff);
}

struct task_id task_id_from_seq(uint64_t seq, uint64_t lo)
{
    return (struct task_id){.hi = seq >> 12 << 16 | 0x7000 | (seq & 0xfff), .lo = lo};
}

int64_t task_id_time_us(struct task_id id)
{
    return (int64_t)((id.hi >> 16) * 1000 + (id.hi & 0xfff) * 1000 / 4096);
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool task_id_parse(const char *text, size_t len, struct task_id *ret_id)
{
    if (len != 36)
        return false;
    uint64_t half[2] = {0, 0};
    int digits = 0;
    for (size_t i = 0; i < 36; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (text[i] != '-')
                return false;
            continue;
        }
        int v = hex_value(text[i]);
        if (v < 0)
            return false;
        half[digits / 16] = half[digits / 16] << 4 | (uint64_t)v;
        digits++;
    }
    if ((half[0] >> 12 & 0xf) != 7 || half[1] >> 62 != 2)
        return false;
    *ret_id = (struct task_id){half[0], half[1]};
    return true;
}

void task_id_format(struct task_id id, char out[TASK_ID_TEXT_SIZE])
{
    static const char hex[] = "0123456789abcdef";
    size_t at = 0;
    for (int digit = 0; digit < 32; digit++) {
        if (digit == 8 || digit == 12 || digit == 16 || digit == 20)
            out[at++] = '-';
        uint64_t half = digit < 16 ? id.hi : id.lo;
        out[at++] = hex[half >> (60 - 4 * (digit % 16)) & 0xf];
    }
    out[at] = '\0';
}

static void derive(struct task_id id, uint32_t attempt, uint64_t salt, uint8_t out[8])
{
    uint64_t x = id.lo ^ (id.hi << 1) ^ (uint64_t)attempt * 0x9e3779b97f4a7c15ULL ^ salt; /* splitmix64 */
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
    x ^= x >> 31;
    if (x == 0)
        x = 1;
    memcpy(out, &x, 8);
}

void task_id_attempt_span(struct task_id id, uint32_t attempt, uint8_t out[8])
{
    derive(id, attempt, 0, out);
}

void task_id_attempt_trace(struct task_id id, uint32_t attempt, uint8_t out[16])
{
    derive(id, attempt, 0x6a09e667f3bcc908ULL, out);
    derive(id, attempt, 0xbb67ae8584caa73bULL, out + 8);
}
