/* What most tests do over and over: one request, its answer checked; tasks submitted, waited for and looked into.
 * Everything that is not as expected fails the test. */
#ifndef SATCHEL_TESTS_ASK_H
#define SATCHEL_TESTS_ASK_H

#include <jansson.h>

#include "tests/support/client.h"

#define JSON_TYPE "Content-Type: application/json\r\n"
#define TRACE_ID "0af7651916cd43dd8448eb211c80319c"
#define SPAN_ID "b7ad6b7169203331"
#define TRACEPARENT "00-" TRACE_ID "-" SPAN_ID "-01"

/* One request over a connection of its own.  headers: whole lines, each ended by \r\n, or NULL; body: NULL for none,
 * else Content-Length is added.  Host is added. */
void ask(const struct satcheld *d, struct answer *ret, const char *method, const char *target, const char *headers,
         const char *body);
void ask_on(struct client *c, struct answer *ret, const char *method, const char *target, const char *headers,
            const char *body);
/* The same, malloced, to be sent by hand. */
char *request_text(const char *method, const char *target, const char *headers, const char *body, size_t body_len);

/* GET; the JSON body.  The caller's. */
json_t *get_json(const struct satcheld *d, const char *target, const char *headers, int status);
json_t *answer_json(const struct answer *answer); /* application/json or application/problem+json */

/* Submits `body`; expects that status and returns the task (or the problem). */
json_t *submit(const struct satcheld *d, const char *headers, const char *body, int status);
/* Submits and waits until it is finished (Prefer: wait=60). */
json_t *run(const struct satcheld *d, const char *headers, const char *body);
/* Waits until it is finished; the task. */
json_t *finish(const struct satcheld *d, const char *headers, const char *id);
/* Asks until the task is in that state, and its handler called where that is "running"; the task. */
json_t *await_state(const struct satcheld *d, const char *headers, const char *id, const char *state);
json_t *get_task(const struct satcheld *d, const char *headers, const char *id, int status);
/* POST /v1/tasks/{id}:action, or DELETE for "delete": the JSON body, NULL where there is none. */
json_t *act(const struct satcheld *d, const char *headers, const char *id, const char *action, int status);

/* A problem of that status and type (without its prefix). */
void expect_problem(const struct answer *answer, int status, const char *urn);
void expect_pointer(const json_t *problem, const char *pointer); /* among its errors */

const char *text_of(const json_t *object, const char *name); /* must be a string */
long long number_of(const json_t *object, const char *name); /* must be an integer */
void expect_text(const json_t *object, const char *name, const char *expected);
void expect_number(const json_t *object, const char *name, long long expected);
void expect_json(const json_t *value, const char *expected); /* the whole value, as JSON */
void expect_state(const json_t *task, const char *state);    /* says why it failed where it is not */
void expect_time(const json_t *object, const char *name);    /* RFC 3339, UTC, microseconds */
long long time_of(const json_t *object, const char *name);   /* in microseconds since 1970 */

#endif
