/* Paths that end in a handler: the first attempt and all the others, threads, sub-tasks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/context/paths.h"

/* The report of a finished task's handler, and what was that attempt's own. */
static void look_at(struct seen *s, json_t *task, unsigned attempt)
{
    expect_number(task, "attempt", attempt);
    seen_object(s, json_object_get(task, "result"));
    own_of_attempt(s, text_of(task, "id"), attempt);
    json_decref(task);
}

void look_BUILTIN(struct seen *s)
{
    look_at(s, run_all("\"task\":\"satchel.context\""), 1);
}

void look_PLUGIN(struct seen *s)
{
    look_at(s, run_all("\"task\":\"seen\""), 1);
}

void look_THREAD(struct seen *s)
{
    look_at(s, run_all("\"task\":\"seen\",\"args\":{\"from\":\"thread\"}"), 1);
}

void look_ASYNC(struct seen *s)
{
    look_at(s, run_all("\"task\":\"seen\",\"args\":{\"from\":\"async\"}"), 1);
}

void look_DELAYED(struct seen *s)
{
    look_at(s, run_all("\"task\":\"seen\",\"delay\":\"30ms\""), 1);
}

void look_REPEATED(struct seen *s)
{
    look_at(s, run_all("\"task\":\"seen\",\"args\":{\"fail_until\":2}" ONCE_MORE), 2);
}

/* Its first attempt runs and waits to be cut off. */
static json_t *blocked(void)
{
    json_t *task = submit_all("\"task\":\"seen\",\"args\":{\"block_until\":2}");
    json_decref(await_state(&d, tenant_line, text_of(task, "id"), "running"));
    return task;
}

static void look_at_second(struct seen *s, json_t *first)
{
    json_t *task = finish_well(text_of(first, "id"));
    expect_number(task, "lost", 1);
    look_at(s, task, 2);
    json_decref(first);
}

static bool is_started(void *arg)
{
    json_t *task = get_task(&d, tenant_line, arg, 200);
    bool started = json_is_string(json_object_get(task, "started_at"));
    json_decref(task);
    return started;
}

void look_RECOVERED(struct seen *s)
{
    json_t *task = blocked();
    assert_true(until(is_started, (void *)(uintptr_t)text_of(task, "id"), WAIT_MS));
    pause_ms(50); /* the claim is durable; the worker marks its start a moment later */
    satcheld_kill(&d);
    satcheld_start(&d);
    look_at_second(s, task);
}

void look_STOPPED(struct seen *s)
{
    json_t *task = blocked();
    satcheld_stop(&d);
    satcheld_start(&d);
    look_at_second(s, task);
}

/* Eight quick tasks in one write: the worker takes them together and stays in the first. */
static void submit_quick(json_t *tasks[8])
{
    struct client c;
    struct answer answer = {0};
    char *fields = all_fields(true), *lines, *all = strdup("");
    assert_true(asprintf(&lines, JSON_TYPE "%s", fields) > 0);
    json_t *variables = json_pack("{s:s}", variable_rows[V_BODY].name, variable_rows[V_BODY].sent);
    for (int i = 0; i < 8; i++) {
        json_t *body = json_pack("{s:s,s:{s:i},s:O}", "task", "seen.quick", "args", "block_until", i == 0 ? 2 : 0,
                                 "context", variables);
        char *text = json_dumps(body, JSON_COMPACT), *longer;
        char *request = request_text("POST", "/v1/tasks", lines, text, strlen(text));
        assert_true(asprintf(&longer, "%s%s", all, request) > 0);
        free(request);
        free(text);
        free(all);
        all = longer;
        json_decref(body);
    }
    client_open(&c, &d);
    client_send_text(&c, all);
    for (int i = 0; i < 8; i++) {
        assert_true(client_read(&c, &answer));
        assert_int_equal(answer.status, 202);
        tasks[i] = answer_json(&answer);
    }
    client_close(&c);
    answer_release(&answer);
    json_decref(variables);
    free(all);
    free(lines);
    free(fields);
}

/* The index of one that is claimed and cannot have started; 0: they did not come in one batch. */
static int find_claimed(json_t *const tasks[8])
{
    for (int i = 7; i > 0; i--) {
        json_t *task = get_task(&d, tenant_line, text_of(tasks[i], "id"), 200);
        bool claimed = strcmp(text_of(task, "state"), "running") == 0;
        json_decref(task);
        if (claimed)
            return i;
    }
    return 0;
}

/* A claim that is given back, since its attempt never started: it does not count. */
void look_RELEASED(struct seen *s)
{
    json_t *tasks[8];
    int claimed = 0;
    for (int turn = 0; turn < 20 && !claimed; turn++) {
        for (int i = 0; i < 3; i++) /* how short the type's attempts are has to be known */
            json_decref(run_all("\"task\":\"seen.quick\""));
        submit_quick(tasks);
        json_decref(await_state(&d, tenant_line, text_of(tasks[0], "id"), "running"));
        pause_ms(50);
        claimed = find_claimed(tasks);
        satcheld_kill(&d);
        satcheld_start(&d);
        for (int i = 0; i < 8; i++) {
            json_t *task = finish_well(text_of(tasks[i], "id"));
            expect_number(task, "lost", i == 0);
            if (i == claimed && i)
                look_at(s, json_incref(task), 1);
            json_decref(task);
            json_decref(tasks[i]);
        }
    }
    if (!claimed)
        fail_msg("no claim was ever ahead of its attempt");
}

void look_BY_HAND(struct seen *s)
{
    json_t *task = submit_all("\"task\":\"seen\",\"args\":{\"fail_until\":2,\"final\":1}");
    json_t *failed = finish(&d, tenant_line, text_of(task, "id"));
    expect_state(failed, "failed");
    json_decref(act(&d, tenant_line, text_of(task, "id"), "retry", 202));
    look_at(s, finish_well(text_of(task, "id")), 2);
    json_decref(failed);
    json_decref(task);
}

/* The submission's own deadline is the earlier one. */
void look_LIMITED(struct seen *s)
{
    look_at(s, run_all("\"task\":\"seen\",\"deadline\":\"2098-01-01T00:00:00Z\""), 1);
    seen_own(s, V_DEADLINE, "2098-01-01T00:00:00.000000Z");
}

/* ---- sub-tasks ---- */

static void look_at_child(struct seen *s, const json_t *parent, const char *id)
{
    json_t *child = finish_well(id);
    expect_text(child, "parent_id", text_of(parent, "id"));
    expect_text(child, "root_id", text_of(parent, "id"));
    look_at(s, child, 1);
}

void look_SPAWNED(struct seen *s)
{
    json_t *parent = run_all("\"task\":\"satchel.spawn\",\"args\":{\"task\":\"seen\",\"count\":1}");
    look_at_child(s, parent, json_string_value(json_array_get(json_object_get(parent, "result"), 0)));
    json_decref(parent);
}

void look_SUBMITTED_BY_PLUGIN(struct seen *s)
{
    json_t *parent = run_all("\"task\":\"seen\",\"args\":{\"spawn\":\"seen\"}");
    look_at_child(s, parent, text_of(parent, "result"));
    json_decref(parent);
}

/* What a program sends that was told its context in an environment: all fields but secret ones, and the parent. */
void look_SUBMITTED_WITH_PARENT(struct seen *s)
{
    json_t *parent = run_all("\"task\":\"satchel.noop\"");
    char *fields = all_fields(false);
    json_t *body = json_pack("{s:s,s:s,s:{s:s}}", "task", "seen", "parent_id", text_of(parent, "id"), "context",
                             variable_rows[V_BODY].name, variable_rows[V_BODY].sent);
    char *text = json_dumps(body, 0);
    json_t *child = submit(&d, fields, text, 202);
    look_at_child(s, parent, text_of(child, "id"));
    json_decref(child);
    free(text);
    json_decref(body);
    free(fields);
    json_decref(parent);
}

void look_SUBMITTED_BY_COMMAND(struct seen *s)
{
    json_t *parent = run_all("\"task\":\"submit\"");
    const char *id = text_of(parent, "result"); /* what `satchel submit` printed */
    char plain[37] = "";
    (void)snprintf(plain, sizeof plain, "%s", id);
    look_at_child(s, parent, plain);
    json_decref(parent);
}
