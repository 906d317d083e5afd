/* What went wrong, for the person who sent it (RFC 9457).  A plain value: fixed size, copied freely, owns
 * nothing.  Filled where the fault is found, sent where the request is answered. */
#ifndef SATCHEL_PROTO_PROBLEM_H
#define SATCHEL_PROTO_PROBLEM_H

#include "proto/buf.h"

enum problem_code {
    PROBLEM_NONE,
#define SAT_PROBLEM(code, urn, status, title) PROBLEM_##code,
#include "proto/errors.def"
#undef SAT_PROBLEM
    PROBLEM_COUNT
};

#define PROBLEM_DETAIL_SIZE 256
#define PROBLEM_POINTER_SIZE 128
#define PROBLEM_MAX_ERRORS 8

struct problem {
    enum problem_code code;
    int retry_after_s; /* 0: none */
    char detail[PROBLEM_DETAIL_SIZE];
    unsigned n_errors; /* may exceed PROBLEM_MAX_ERRORS: only the first ones are kept */
    struct {
        char pointer[PROBLEM_POINTER_SIZE]; /* JSON Pointer (RFC 6901) into the body */
        char detail[PROBLEM_DETAIL_SIZE];
    } errors[PROBLEM_MAX_ERRORS];
};

int problem_status(enum problem_code code);
const char *problem_urn(enum problem_code code); /* "urn:satchel:problem:unknown-task" */
const char *problem_title(enum problem_code code);

void problem_set(struct problem *p, enum problem_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* One more entry of `errors`; the first one also sets the code and the detail. */
void problem_add(struct problem *p, enum problem_code code, const char *pointer, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void problem_to_json(const struct problem *p, struct buf *out); /* application/problem+json */
/* "parent" + "/" + escaped name (~0, ~1), cut at PROBLEM_POINTER_SIZE. */
void problem_pointer(char out[PROBLEM_POINTER_SIZE], const char *parent, const char *name);

#endif
