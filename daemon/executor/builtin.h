/* The task types that are always there (contract: satchel.*).  Called by registry.c. */
#ifndef SATCHEL_EXECUTOR_BUILTIN_H
#define SATCHEL_EXECUTOR_BUILTIN_H

#include "executor/executor.h"

struct builtin {
    const char *name;
    void (*run)(struct attempt *attempt);
    bool quick;
};

extern const struct builtin builtins[];
extern const size_t n_builtins;
extern const struct executor builtin_executor; /* a task type's detail is its struct builtin */

/* satchel.context: every variable as read through the public API on the calling thread.  builtin_context.c. */
void builtin_context(struct attempt *attempt);

#endif
