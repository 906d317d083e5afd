/* What the tests of paths share: the two tables as enums, what was seen at the end of one path, and the ways to submit
 * a task with every variable set.  Thread: the test's only one. */
#ifndef SATCHEL_TESTS_PATHS_H
#define SATCHEL_TESTS_PATHS_H

#include "tests/support/ask.h"
#include "tests/support/receiver.h"

enum variable {
#define VARIABLE(id, known, name, field, environment, shell, sent) V_##id,
#include "tests/context/variables.def"
#undef VARIABLE
    VARIABLES
};

struct variable_row {
    const char *name, *field, *environment, *shell, *sent;
};
extern const struct variable_row variable_rows[VARIABLES];

struct seen {
    char *value[VARIABLES]; /* NULL: nothing was seen of it */
    char *own[VARIABLES];   /* what the cell OWN stands for */
};

extern struct satcheld d;
extern struct receiver hook;  /* what HTTP tasks and callbacks call */
extern struct receiver spans; /* what spans are exported to */

#define ONCE_MORE ",\"max_attempts\":2,\"backoff\":{\"type\":\"fixed\",\"base\":\"1ms\",\"jitter\":false}"

void seen_set(struct seen *s, enum variable v, const char *text); /* copies; NULL: nothing */
void seen_own(struct seen *s, enum variable v, const char *text);
/* Members by the variables' names; strings and whole numbers. */
void seen_object(struct seen *s, const json_t *object);
/* A task object: its context, its tenant, id and attempt. */
void seen_task(struct seen *s, const json_t *task);
/* The header fields of a request that came to `hook`. */
void seen_request(struct seen *s, const struct received *request);
char *request_field(const struct received *request, const char *name); /* malloced; NULL: there is none */

/* What is that attempt's own: its span, its number and its task's id. */
void own_of_attempt(struct seen *s, const char *id, unsigned attempt);
/* What is the task's own: the span that was exported of its submission, its id, its attempt so far. */
void own_of_task(struct seen *s, const json_t *task, unsigned attempt);

/* The header lines that submit every variable with a field (all but those of the body); malloced. */
char *all_fields(bool secret);
/* Submits {members, "context": {...}} with all of them; the task. */
json_t *submit_all(const char *members);
json_t *submit_all_in_batch(const char *members); /* behind one that is refused */
/* The same, waits for the end and expects that it succeeded. */
json_t *run_all(const char *members);
json_t *finish_well(const char *id);
extern const char tenant_line[];
/* The n-th request to `hook`; waits for it. */
const struct received *request_at(size_t n);

/* The functions that walk the paths, by the names of paths.def. */
#define PATH(id, ...) void look_##id(struct seen *s);
#include "tests/context/paths.def"
#undef PATH

#endif
