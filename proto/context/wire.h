/* What the files share that turn a context into carrier fields and back: extract, inject, JSON, environment. */
#ifndef SATCHEL_CONTEXT_WIRE_H
#define SATCHEL_CONTEXT_WIRE_H

#include "proto/buf.h"
#include "proto/context/internal.h"

#pragma GCC visibility push(hidden)

#define MAX_LINES 64u /* field lines of one name that are looked at */

/* ---- propagators.c ---- */
enum { PROPAGATOR_TRACE = 1, PROPAGATOR_BAGGAGE = 2, PROPAGATOR_B3 = 4, PROPAGATOR_B3_MULTI = 8 };
unsigned propagators(void);

/* ---- b3.c ---- */
struct b3 {
    satchel_trace trace;
    bool debug;
};
bool b3_single(const char *text, size_t len, struct b3 *out);
bool b3_multi(const satchel_field *fields, size_t n, struct b3 *out); /* among all fields; the first of a name counts */
bool b3_is_field(const satchel_field *field, unsigned enabled);
typedef int put_fn(const char *name, const char *value, size_t len, void *arg);
int b3_put(const char *traceparent, bool debug, unsigned enabled, put_fn *put, void *arg);

/* ---- tracestate.c, baggage.c: several lines into one list; `out` is NUL-terminated ---- */
/* The normalised list; an error drops the whole list. */
int tracestate_combine(const satchel_field *const *lines, size_t n, struct buf *out);
/* The good members within the limits.  SATCHEL_EGRAMMAR or SATCHEL_ELIMIT: some were left out. */
int baggage_combine(const satchel_field *const *lines, size_t n, struct buf *out);

/* ---- extract.c ---- */
enum source {
    SOURCE_WIRE,   /* fields from outside: blanks around values go, lengths are limited; no task id, no attempt */
    SOURCE_STORED, /* our own form: names are keys; anything bad beyond trace and baggage is an error */
    SOURCE_ENV     /* the environment that a worker made: lengths are limited, the task id and the attempt count */
};
/* SATCHEL_OK and a snapshot's reference, or an error and nothing. */
int extract_snapshot(const satchel_field *fields, size_t n, enum source source, satchel_problem *problems,
                     size_t *n_problems, struct snapshot **ret);

/* ---- inject.c ---- */
/* The value's text: its own data where that is text, else encoded into `scratch`.  False: it has none. */
bool wire_text(const satchel_value *value, struct buf *scratch, struct slice *ret);
/* Every field that travels, by the configured propagators. */
int wire_each(const struct snapshot *s, bool secrets, put_fn *put, void *arg);

#pragma GCC visibility pop

#endif
