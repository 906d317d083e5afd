/* What the files of the context library share.  Nothing in here is exported.
 *
 *   value     satchel_value: immutable, counted                                        value.c
 *   variable  satchel_var: a key; well-known ones own a slot                           variable.c
 *   snapshot  immutable map variable -> value: an array for the well-known ones and a
 *             persistent trie (by variable id) for all others                          snapshot.c
 *   context   satchel_context: a box with one snapshot                                 current.c
 *
 * A snapshot is changed in place only by the thread that has its context entered, while nobody else holds a
 * reference (count 1), and under the context's lock: a foreign thread takes its reference under the same lock (R6),
 * so it either sees the snapshot before or after the change, and from then on the count is above 1.  The lock is
 * held for a few instructions and never across a callback or an allocation's failure path (R3). */
#ifndef SATCHEL_CONTEXT_INTERNAL_H
#define SATCHEL_CONTEXT_INTERNAL_H

#include <satchel/context.h>
#include <stdatomic.h>

#include "proto/buf.h"

#pragma GCC visibility push(hidden)

enum { /* slots of a snapshot: the well-known variables and one that is the library's own */
       SLOT_CANCEL = SATCHEL_KNOWN_COUNT,
       SLOT_COUNT,
       SLOT_NONE = 255
};

struct satchel_value {
    atomic_uint refs;
    const satchel_type *type; /* NULL: a bare pointer */
    void *data;
    char text[]; /* of a string: data points here */
};

struct satchel_var {
    atomic_uint refs;
    uint8_t slot;  /* SLOT_NONE: lives in the trie */
    bool immortal; /* well-known */
    bool interned; /* made by satchel_variable */
    unsigned flags;
    uint64_t id;
    const satchel_type *type;
    satchel_value *dflt; /* NULL: none */
    char *name, *header; /* header NULL: does not travel */
    size_t max_len;
    satchel_var *next_wire; /* registry chain, under its lock */
};

struct node;

struct snapshot {
    atomic_uint refs;
    uint32_t count; /* bindings */
    satchel_value *known[SLOT_COUNT];
    struct node *rest;
};

struct satchel_context {
    struct snapshot *snapshot; /* written by the thread that has it entered, under the lock */
    atomic_flag lock;          /* guards the pointer and in-place changes against foreign readers */
    atomic_uint refs;
    atomic_bool entered;
    uint64_t id;            /* for tokens: never used twice */
    satchel_context *below; /* the entering thread's: what is current again after the exit */
};

/* ---- counts.c ---- */
enum count { COUNT_VARS, COUNT_VALUES, COUNT_CONTEXTS, COUNT_TOKENS, COUNT_MISUSE, COUNT_KINDS };
void count_add(enum count kind, int64_t by);
uint64_t unique_id(void);

/* ---- value.c ---- */
extern const satchel_type string_type_hidden;
bool value_equal(const satchel_value *a, const satchel_value *b);
/* The wire text of a value into `out` (reset first); false: it has none. */
bool value_text(const satchel_var *var, const satchel_value *value, struct buf *out);
int value_decode(const satchel_type *type, const char *text, size_t len, satchel_value **out);

/* ---- variable.c ---- */
extern satchel_var known_vars[SLOT_COUNT];
/* By wire field name, any case; a reference, or NULL.  X-Satchel-Var-NAME is made where it is missing. */
satchel_var *var_by_header(const char *name, size_t len);
bool header_equal(const char *a, size_t a_len, const char *b);
satchel_var *var_each_wire(satchel_var *last); /* walks the registered ones with references; ends the last's */
int var_decode(const satchel_var *var, const char *text, size_t len, satchel_value **out);
#define BODY_VAR_PREFIX "X-Satchel-Var-"
#define BODY_VAR_MAX 8192

/* ---- snapshot.c ---- */
extern struct snapshot empty_snapshot;
struct snapshot *snapshot_ref(struct snapshot *s);
void snapshot_unref(struct snapshot *s);
satchel_value *snapshot_get(const struct snapshot *s, const satchel_var *var); /* borrowed; NULL: not bound */
/* A snapshot with `value` bound (NULL: not bound).  Takes over the reference of *s_ref on success and puts the new
 * one there; references of value and var are added.  *ret_old is the caller's.  May change in place when `owned`
 * (the caller holds the context's lock and the only reference). */
int snapshot_set(struct snapshot **s_ref, satchel_var *var, satchel_value *value, bool owned, satchel_value **ret_old,
                 struct snapshot **ret_garbage);
int snapshot_each(const struct snapshot *s, int (*fn)(satchel_var *var, satchel_value *value, void *arg), void *arg);
bool snapshot_equal(const struct snapshot *a, const struct snapshot *b);
bool trie_equal_in(const struct snapshot *a, const struct snapshot *b);

/* ---- current.c ---- */
struct snapshot *context_snapshot(const satchel_context *ctx); /* a reference; NULL: the current one's */
satchel_context *context_with_snapshot(struct snapshot *s);    /* takes the reference over; NULL: no memory */
int current_set(satchel_var *var, satchel_value *value, satchel_token *token); /* value NULL: unset; adds a reference */
void thread_adopt(struct snapshot *s);              /* the implicit context of a new thread; takes the reference over */
satchel_value *current_get(const satchel_var *var); /* borrowed; NULL: not bound */

/* ---- trace.c, baggage.c, deadline.c: the types of the well-known variables ---- */
extern const satchel_type trace_type, tracestate_type, baggage_type, tenant_type, request_id_type, deadline_type,
    task_id_type, attempt_type, cancel_type;
bool hex_decode(const char *text, size_t len, uint8_t *out); /* lower case only */

/* ---- tracestate.c ---- */
/* The combined list, normalised, or an error: the whole list is then dropped.  `out` is NUL-terminated. */
int tracestate_combine(const satchel_field *const *fields, size_t n, struct buf *out);

/* ---- baggage.c ---- */
/* Valid members of all lines within the limits; SATCHEL_OK, or EGRAMMAR/ELIMIT where something was left out. */
int baggage_combine(const satchel_field *const *fields, size_t n, struct buf *out);

/* ---- b3.c ---- */
bool b3_single(const char *text, size_t len, satchel_trace *out);
bool b3_multi(const satchel_field *const *fields, size_t n, satchel_trace *out);
unsigned propagators(void);
enum { PROPAGATOR_TRACE = 1, PROPAGATOR_BAGGAGE = 2, PROPAGATOR_B3 = 4, PROPAGATOR_B3_MULTI = 8 };

static inline void lock_context(satchel_context *ctx)
{
    while (atomic_flag_test_and_set_explicit(&ctx->lock, memory_order_acquire)) {
    }
}

static inline void unlock_context(satchel_context *ctx)
{
    atomic_flag_clear_explicit(&ctx->lock, memory_order_release);
}

#pragma GCC visibility pop

#endif
