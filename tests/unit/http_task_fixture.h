/* HTTP task types against a scripted peer of loopback, through registry and pool: what their tests share. */
#ifndef SATCHEL_TESTS_HTTP_TASK_FIXTURE_H
#define SATCHEL_TESTS_HTTP_TASK_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/support/attempts.h"
#include "tests/support/receiver.h"

#define TASKS_MAX 8
#define LIST_MAX 8
#define OK_EMPTY "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

struct calls { /* one per test */
    struct receiver peer;
    struct bench bench;
    struct config config;
    struct config_task tasks[TASKS_MAX];
    char urls[TASKS_MAX][256];
    char *lists[TASKS_MAX][2][LIST_MAX];
};

static inline char *constant(const char *text)
{
    return (char *)(uintptr_t)text;
}

static inline void calls_init(struct calls *c)
{
    *c = (struct calls){0};
    receiver_start_at(&c->peer, "127.0.0.1");
    c->config.tasks = c->tasks;
}

/* A POST to `url`, where %d is the peer's port; nothing is allowed to it yet. */
static inline struct config_task *calls_add(struct calls *c, const char *name, const char *url, bool from_args)
{
    struct config_task *task = &c->tasks[c->config.n_tasks];
    const char *port = strstr(url, "%d");
    (void)snprintf(c->urls[c->config.n_tasks], sizeof c->urls[0], "%.*s%.*d%s",
                   (int)(port ? port - url : (long)strlen(url)), url, port ? 1 : 0, port ? c->peer.port : 0,
                   port ? port + 2 : "");
    *task = (struct config_task){.name = constant(name),
                                 .url = c->urls[c->config.n_tasks],
                                 .url_from_args = from_args,
                                 .method = constant("POST"),
                                 .where = constant("test.conf:1"),
                                 .propagate = PROPAGATE_ALL};
    task->allow.items = c->lists[c->config.n_tasks][0];
    task->headers.items = c->lists[c->config.n_tasks][1];
    c->config.n_tasks++;
    return task;
}

static inline void calls_list(struct config_list *list, const char *item)
{
    assert_true(list->n < LIST_MAX);
    list->items[list->n++] = constant(item);
}

/* The usual one: "call", allowed to loopback. */
static inline struct config_task *calls_usual(struct calls *c)
{
    calls_init(c);
    struct config_task *task = calls_add(c, "call", "http://127.0.0.1:%d/hook", false);
    calls_list(&task->allow, "127.0.0.0/8");
    return task;
}

static inline void calls_open(struct calls *c, unsigned workers)
{
    bench_init(&c->bench, workers, &c->config);
}

static inline void calls_close(struct calls *c)
{
    bench_release(&c->bench);
    receiver_stop(&c->peer);
}

/* One attempt, run to its end; the caller's. */
static inline struct attempt *calls_run(struct calls *c, const char *task, const char *args)
{
    return bench_run(&c->bench, bench_attempt(&c->bench, task, args, "acme"));
}

/* The same for a test that looks at one end only; frees it. */
static inline void calls_expect(struct calls *c, const char *task, const char *args, enum attempt_end end,
                                enum error_type error)
{
    struct attempt *attempt = calls_run(c, task, args);
    if (attempt->end != end || outcome_error(attempt) != error)
        fail_msg("%s %s: ended %d with %s: %s", task, args ? args : "", (int)attempt->end,
                 error_type_name(outcome_error(attempt)), outcome_message(attempt));
    attempt_free(attempt);
}

#endif
