/* Task ids: UUIDv7 (RFC 9562, section 6.2 method 3: the sub-millisecond clock in rand_a), strictly increasing
 * within a process.
 *
 * The first half holds 48 bits of milliseconds and 12 bits of a finer clock: together the 60-bit *sequence*,
 * which the SQLite store uses as its row id, so that finding a task by id needs no further index.  The second
 * half is random: an id cannot be guessed from a neighbour's.
 *
 * Thread: any.  task_id_make is lock-free. */
#ifndef SATCHEL_PROTO_ID_H
#define SATCHEL_PROTO_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct task_id {
    uint64_t hi, lo; /* both zero: no id */
};

#define TASK_ID_TEXT_SIZE 37 /* 36 characters and a NUL */

void task_id_make(struct task_id *ret_id);
void task_id_seed(uint64_t at_least_seq); /* ids made from now on are larger (after a clock that stepped back) */
uint64_t task_id_seq(struct task_id id);
struct task_id task_id_from_seq(uint64_t seq, uint64_t lo);
int64_t task_id_time_us(struct task_id id); /* wall clock, microseconds since 1970 */
bool task_id_parse(const char *text, size_t len, struct task_id *ret_id);
void task_id_format(struct task_id id, char out[TASK_ID_TEXT_SIZE]);

static inline bool task_id_is_none(struct task_id id)
{
    return id.hi == 0 && id.lo == 0;
}

static inline bool task_id_equal(struct task_id a, struct task_id b)
{
    return a.hi == b.hi && a.lo == b.lo;
}

/* The span id of one attempt is a function of task and attempt number: whoever recovers a lost attempt can
 * close its span without having stored it.  Never zero. */
void task_id_attempt_span(struct task_id id, uint32_t attempt, uint8_t out[8]);
/* The same for an attempt that has a trace of its own: the id of that trace.  Never zero; its last seven bytes are as
 * good as random. */
void task_id_attempt_trace(struct task_id id, uint32_t attempt, uint8_t out[16]);

/* Random bytes: a per-thread buffer over getrandom(2). */
void random_bytes(void *out, size_t len);

#endif
