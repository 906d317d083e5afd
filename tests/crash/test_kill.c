/* The daemon killed at random moments while clients submit, and started again on the same data: whatever was answered
 * is found, reaches a final state, and never changes again; what was not answered happened once or not at all.
 *
 * Every submission has a label and an idempotency key of its own.  One whose answer the kill swallowed is sent again
 * with its key in a later round, as a real client would do.
 * SATCHEL_TEST_KILLS: how many rounds. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/ask.h"

#define N_LANES 16
#define MAX_ROUND 1500 /* submissions in one round */
#define CHECKED 60     /* finished tasks that each round looks at again */
#define TENANT "X-Tenant-ID: killed\r\n"

enum fate { UNSENT, UNKNOWN, ACCEPTED, FINISHED };

struct entry { /* one submission */
    enum fate fate;
    char id[37];
    char *body; /* of its finished task, once that was seen */
};

struct lane {
    struct client client;
    long entry; /* the one under way, or -1 */
};

struct run {
    struct satcheld d;
    struct entry *entries;
    size_t n, cap;
    size_t *unknown, n_unknown; /* to be sent again */
    struct lane lanes[N_LANES];
    size_t n_round;
    long n_kills_while_sending, n_resent, n_replayed;
    unsigned seed;
};

static unsigned next_random(struct run *r)
{
    r->seed = r->seed * 1664525u + 1013904223u;
    return r->seed >> 8;
}

/* ---- submissions ---- */

/* What is submitted depends on the number alone, so that it can be sent again byte for byte. */
static int write_body(size_t i, char *out, size_t size)
{
    static const char *const kinds[8][2] = {
        {"\"satchel.echo\",\"args\":", ""},
        {"\"satchel.echo\",\"args\":", ""},
        {"\"satchel.echo\",\"delay\":\"40ms\",\"args\":", ""},
        {"\"satchel.echo\",\"priority\":8,\"args\":", ""},
        {"\"satchel.sleep\",\"args\":{\"seconds\":0.005,\"n\":", "}"},
        {"\"satchel.fail\",\"args\":{\"times\":1,\"message\":\"n ",
         "\"},\"max_attempts\":3,\"backoff\":{\"type\":\"fixed\",\"base\":\"20ms\",\"jitter\":false}"},
        {"\"satchel.fail\",\"args\":{\"message\":\"n ", "\"}"},
        {"\"satchel.context\",\"args\":", ""},
    };
    const char *const *kind = kinds[i % 8];
    return snprintf(out, size, "{\"task\":%s%zu%s,\"labels\":{\"n\":\"%zu\"},\"context\":{\"own\":\"v%zu\"}}", kind[0],
                    i, kind[1], i, i);
}

static void send_entry(struct run *r, struct lane *lane, size_t i)
{
    char body[512], text[1024];
    int len = write_body(i, body, sizeof body);
    int total = snprintf(text, sizeof text,
                         "POST /v1/tasks HTTP/1.1\r\nHost: h\r\n" JSON_TYPE TENANT "Idempotency-Key: \"k%zu\"\r\n"
                         "%sContent-Length: %d\r\n\r\n%s",
                         i, i % 3 == 0 ? "Prefer: wait=20\r\n" : "", len, body);
    lane->entry = (long)i;
    r->entries[i].fate = UNKNOWN;
    client_send(&lane->client, text, (size_t)total);
}

static void send_next(struct run *r, struct lane *lane)
{
    lane->entry = -1;
    if (r->n_round >= MAX_ROUND)
        return;
    r->n_round++;
    if (r->n_unknown > 0 && next_random(r) % 2) {
        r->n_resent++;
        send_entry(r, lane, r->unknown[--r->n_unknown]);
        return;
    }
    if (r->n == r->cap) {
        r->cap = r->cap * 2 + 1024;
        assert_non_null(r->entries = realloc(r->entries, r->cap * sizeof *r->entries));
        assert_non_null(r->unknown = realloc(r->unknown, r->cap * sizeof *r->unknown));
    }
    r->entries[r->n] = (struct entry){0};
    send_entry(r, lane, r->n++);
}

static bool is_final(const char *state)
{
    return strcmp(state, "succeeded") == 0 || strcmp(state, "failed") == 0;
}

static void note_answer(struct run *r, size_t i, const struct answer *answer)
{
    struct entry *entry = &r->entries[i];
    if (answer->status != 200 && answer->status != 202)
        fail_msg("submission %zu: status %d: %s", i, answer->status, answer->body);
    json_t *task = answer_json(answer);
    r->n_replayed += answer_has(answer, "Idempotency-Replayed", "true");
    (void)snprintf(entry->id, sizeof entry->id, "%s", text_of(task, "id"));
    entry->fate = ACCEPTED;
    if (is_final(text_of(task, "state"))) {
        entry->fate = FINISHED;
        assert_non_null(entry->body = strdup(answer->body));
    }
    json_decref(task);
}

/* Answers that came before the connection broke count, too. */
static void read_lane(struct run *r, struct lane *lane, bool go_on)
{
    struct answer answer = {0};
    while (lane->entry >= 0) {
        int result = client_try(&lane->client, &answer);
        if (result < 1) {
            if (result < 0)
                r->unknown[r->n_unknown++] = (size_t)lane->entry;
            if (result < 0)
                lane->entry = -1;
            break;
        }
        note_answer(r, (size_t)lane->entry, &answer);
        lane->entry = -1;
        if (go_on)
            send_next(r, lane);
    }
    answer_release(&answer);
}

static void submit_for(struct run *r, int ms)
{
    long long end = mono_ms() + ms, left;
    while ((left = end - mono_ms()) > 0) {
        struct pollfd polled[N_LANES];
        for (int i = 0; i < N_LANES; i++)
            polled[i] = (struct pollfd){.fd = r->lanes[i].client.fd, .events = POLLIN};
        (void)poll(polled, N_LANES, (int)left);
        for (int i = 0; i < N_LANES; i++)
            if (polled[i].revents)
                read_lane(r, &r->lanes[i], true);
    }
}

/* ---- looking again ---- */

static void look_again(struct run *r, struct client *c, size_t i)
{
    struct entry *entry = &r->entries[i];
    struct answer answer = {0};
    char target[64];
    (void)snprintf(target, sizeof target, "/v1/tasks/%s", entry->id);
    ask_on(c, &answer, "GET", target, TENANT, NULL);
    if (answer.status != 200)
        fail_msg("task %s was accepted and is gone: %d %s", entry->id, answer.status, answer.body);
    if (entry->fate == FINISHED && strcmp(entry->body, answer.body) != 0)
        fail_msg("a finished task changed:\n%s\n%s", entry->body, answer.body);
    answer_release(&answer);
}

static void look_at_some(struct run *r)
{
    struct client c;
    client_open(&c, &r->d);
    for (int k = 0; k < CHECKED && r->n > 0; k++) {
        size_t i = next_random(r) % r->n;
        if (r->entries[i].fate >= ACCEPTED)
            look_again(r, &c, i);
    }
    client_close(&c);
}

/* ---- one round ---- */

static void killed_while_starting(struct run *r)
{
    satcheld_spawn(&r->d);
    pause_ms((int)(next_random(r) % 120));
    satcheld_kill(&r->d);
}

static void one_round(struct run *r)
{
    if (next_random(r) % 4 == 0)
        killed_while_starting(r);
    satcheld_start(&r->d);
    look_at_some(r);
    r->n_round = 0;
    for (int i = 0; i < N_LANES; i++) {
        client_open(&r->lanes[i].client, &r->d);
        send_next(r, &r->lanes[i]);
    }
    submit_for(r, 3 + (int)(next_random(r) % 250));
    satcheld_kill(&r->d);
    for (int i = 0; i < N_LANES; i++) {
        r->n_kills_while_sending += r->lanes[i].entry >= 0;
        read_lane(r, &r->lanes[i], false);
        assert_int_equal(r->lanes[i].entry, -1);
        client_close(&r->lanes[i].client);
    }
}

/* ---- the end ---- */

static void send_all_unknown(struct run *r)
{
    struct lane lane = {.entry = -1};
    client_open(&lane.client, &r->d);
    while (r->n_unknown > 0) {
        struct answer answer = {0};
        size_t i = r->unknown[--r->n_unknown];
        r->n_resent++;
        send_entry(r, &lane, i);
        assert_true(client_read_limit(&lane.client, &answer, WAIT_MS + 20000));
        note_answer(r, i, &answer);
        answer_release(&answer);
    }
    client_close(&lane.client);
}

struct tally {
    long lost_attempts, lost_tasks, succeeded, failed;
};

static void check_end(size_t i, const json_t *task, struct tally *t)
{
    const char *state = text_of(task, "state");
    char own[32];
    (void)snprintf(own, sizeof own, "v%zu", i);
    expect_text(json_object_get(task, "context"), "own", own);
    t->lost_attempts += (long)number_of(task, "lost");
    bool lost = strcmp(state, "failed") == 0 && strcmp(text_of(json_object_get(task, "error"), "type"), "lost") == 0;
    t->lost_tasks += lost;
    t->succeeded += strcmp(state, "succeeded") == 0;
    t->failed += strcmp(state, "failed") == 0;
    if (lost) { /* more often than max_lost allows, which has to be so */
        assert_true(number_of(task, "lost") > 3);
        return;
    }
    if (strcmp(state, i % 8 == 6 ? "failed" : "succeeded") != 0)
        fail_msg("submission %zu ended as %s", i, state);
    const json_t *result = json_object_get(task, "result");
    if (i % 8 < 4)
        assert_int_equal(json_integer_value(result), (long)i);
    if (i % 8 == 7) {
        expect_text(result, "own", own);
        expect_text(result, "tenant", "killed");
    }
    if (i % 8 == 6) /* an attempt that failed is not repeated; one that was lost is */
        assert_int_equal(number_of(task, "attempt"), 1 + number_of(task, "lost"));
}

static void finish_all(struct run *r, struct tally *t)
{
    struct client c;
    struct answer answer = {0};
    char target[80];
    client_open(&c, &r->d);
    for (size_t i = 0; i < r->n; i++) {
        struct entry *entry = &r->entries[i];
        assert_true(entry->fate >= ACCEPTED);
        (void)snprintf(target, sizeof target, "/v1/tasks/%s?wait=60s", entry->id);
        ask_on(&c, &answer, "GET", target, TENANT, NULL);
        if (answer.status != 200)
            fail_msg("task %s was accepted and is gone: %d %s", entry->id, answer.status, answer.body);
        json_t *task = answer_json(&answer);
        if (!is_final(text_of(task, "state")))
            fail_msg("not finished: %s", answer.body);
        if (entry->fate == FINISHED && strcmp(entry->body, answer.body) != 0)
            fail_msg("a finished task changed:\n%s\n%s", entry->body, answer.body);
        if (t)
            check_end(i, task, t);
        if (entry->fate != FINISHED)
            assert_non_null(entry->body = strdup(answer.body));
        entry->fate = FINISHED;
        json_decref(task);
    }
    answer_release(&answer);
    client_close(&c);
}

/* Exactly what was submitted is there: nothing twice, nothing else. */
static void count_all(const struct run *r)
{
    char target[256] = "/v1/tasks?limit=1000";
    size_t n = 0;
    char *seen = calloc(r->n, 1);
    assert_non_null(seen);
    for (;;) {
        json_t *page = get_json(&r->d, target, TENANT, 200);
        const json_t *tasks = json_object_get(page, "tasks");
        for (size_t i = 0; i < json_array_size(tasks); i++, n++) {
            const json_t *task = json_array_get(tasks, i);
            size_t number = strtoul(text_of(json_object_get(task, "labels"), "n"), NULL, 10);
            assert_true(number < r->n);
            if (seen[number]++)
                fail_msg("submission %zu became two tasks", number);
            assert_string_equal(text_of(task, "id"), r->entries[number].id);
        }
        const char *cursor = json_string_value(json_object_get(page, "next_cursor"));
        if (cursor)
            (void)snprintf(target, sizeof target, "/v1/tasks?limit=1000&cursor=%s", cursor);
        json_decref(page);
        if (!cursor)
            break;
    }
    assert_int_equal(n, r->n);
    free(seen);
}

static void random_kills(void **state)
{
    (void)state;
    struct run r = {.seed = (unsigned)count_from("SATCHEL_TEST_SEED", (int)(time(NULL) & 0x7fffffff))};
    int rounds = count_from("SATCHEL_TEST_KILLS", SANITIZED ? 8 : 20);
    print_message("SATCHEL_TEST_SEED=%u\n", r.seed);
    satcheld_init(&r.d, "workers = 4\n");
    for (int i = 0; i < rounds; i++)
        one_round(&r);
    satcheld_start(&r.d);
    send_all_unknown(&r);
    struct tally t = {0};
    finish_all(&r, &t);
    count_all(&r);
    satcheld_stop(&r.d);
    satcheld_start(&r.d); /* and nothing runs again, nothing changes */
    finish_all(&r, NULL);
    print_message(
        "%zu submissions, %d kills (%ld requests under way), %ld sent again, %ld of them known; %ld succeeded, "
        "%ld failed, %ld lost for good, %ld attempts cut off\n",
        r.n, rounds, r.n_kills_while_sending, r.n_resent, r.n_replayed, t.succeeded, t.failed, t.lost_tasks,
        t.lost_attempts);
    assert_true(r.n_kills_while_sending > 0);
    satcheld_stop(&r.d);
    satcheld_release(&r.d);
    for (size_t i = 0; i < r.n; i++)
        free(r.entries[i].body);
    free(r.entries);
    free(r.unknown);
}

/* ---- a task that kills the daemon each time ---- */

static void write_pid(void *arg)
{
    FILE *file = fopen(arg, "we");
    if (file) {
        (void)fprintf(file, "%d\n", (int)getpid());
        (void)fclose(file);
    }
}

/* Waits for the end of the task, and starts the daemon again each time that the task takes it down. */
static int restarts_until_finished(struct satcheld *d, const char *id)
{
    char text[256];
    int n = 0;
    (void)snprintf(text, sizeof text, "GET /v1/tasks/%s?wait=20s HTTP/1.1\r\nHost: h\r\n" TENANT "\r\n", id);
    for (;; n++) {
        struct client c;
        struct answer answer = {0};
        int status;
        assert_true(n < 10);
        client_open(&c, d);
        client_send_text(&c, text);
        bool answered = client_read_limit(&c, &answer, WAIT_MS + 20000);
        bool final = answered && answer.status == 200 && strstr(answer.body, "\"state\":\"failed\"");
        answer_release(&answer);
        client_close(&c);
        if (final)
            return n;
        assert_false(answered);
        status = satcheld_wait(d, WAIT_MS);
        assert_int_equal(status, -9);
        satcheld_spawn(d); /* it may be taken down again before it says that it listens */
        while (!satcheld_log_has(d, "listening on") && !satcheld_ended(d, &status))
            pause_ms(2);
        if (d->pid == 0)
            satcheld_spawn(d), n++;
        satcheld_ready(d);
    }
}

static void a_task_that_kills_the_daemon(void **state)
{
    (void)state;
    struct satcheld d;
    char ids[20][37];
    satcheld_init(&d, "");
    char *pid_file = satcheld_path(&d, "pid"), *config;
    assert_true(asprintf(&config,
                         "task \"kill\" { command = {\"/bin/sh\", \"-c\", \"kill -9 $(cat %s); sleep 10\"} }\n",
                         pid_file) > 0);
    satcheld_configure(&d, config);
    d.before_exec = write_pid;
    d.arg = pid_file;
    satcheld_start(&d);
    for (int i = 0; i < 20; i++) {
        json_t *task =
            submit(&d, TENANT, "{\"task\":\"satchel.echo\",\"args\":\"bystander\",\"delay\":\"100ms\"}", 202);
        (void)snprintf(ids[i], sizeof ids[i], "%s", text_of(task, "id"));
        json_decref(task);
    }
    json_t *task = submit(&d, TENANT, "{\"task\":\"kill\",\"delay\":\"110ms\"}", 202);
    int n = restarts_until_finished(&d, text_of(task, "id"));
    json_t *done = finish(&d, TENANT, text_of(task, "id"));
    expect_state(done, "failed");
    expect_text(json_object_get(done, "error"), "type", "lost");
    expect_number(done, "lost", 4); /* the first and three more */
    assert_int_equal(n, 4);
    for (int i = 0; i < 20; i++) {
        json_t *bystander = finish(&d, TENANT, ids[i]);
        expect_state(bystander, "succeeded");
        json_decref(bystander);
    }
    json_decref(task);
    json_decref(done);
    satcheld_stop(&d);
    satcheld_release(&d);
    free(config);
    free(pid_file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_kills),
        cmocka_unit_test(a_task_that_kills_the_daemon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
