#include "tests/support/attempts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "proto/json_in.h"

#define WAIT_S 30

static void on_report(void *arg, struct attempt *attempt)
{
    struct bench *bench = arg;
    pthread_mutex_lock(&bench->lock);
    attempt->mail.next = (struct mail *)bench->reports;
    bench->reports = attempt;
    bench->n_reports++;
    pthread_cond_broadcast(&bench->changed);
    pthread_mutex_unlock(&bench->lock);
}

static int on_spawn(void *arg, struct attempt *attempt, struct slice body, struct task_id *ret_id,
                    struct problem *reterr)
{
    struct bench *bench = arg;
    (void)attempt;
    pthread_mutex_lock(&bench->lock);
    int refuse = bench->refuse_spawn;
    if (!refuse) {
        bench->n_spawned++;
        buf_append_slice(&bench->spawned, body);
        buf_append_char(&bench->spawned, '\n');
        buf_append_str(&bench->spawn_tenants, satchel_tenant() ? satchel_tenant() : "-");
        buf_append_char(&bench->spawn_tenants, '\n');
    }
    pthread_mutex_unlock(&bench->lock);
    if (refuse) {
        problem_set(reterr, (enum problem_code)refuse, "the test refuses it");
        return -1;
    }
    task_id_make(ret_id);
    return 0;
}

static void on_progress(void *arg, struct attempt *attempt, double fraction, struct slice message)
{
    struct bench *bench = arg;
    (void)attempt;
    (void)message;
    pthread_mutex_lock(&bench->lock);
    bench->progress = fraction;
    pthread_mutex_unlock(&bench->lock);
}

static void on_log(void *arg, struct attempt *attempt, struct slice line)
{
    struct bench *bench = arg;
    (void)attempt;
    pthread_mutex_lock(&bench->lock);
    buf_append_slice(&bench->log, line);
    buf_append_char(&bench->log, '\n');
    pthread_cond_broadcast(&bench->changed);
    pthread_mutex_unlock(&bench->lock);
}

static const struct attempt_host host = {.spawn = on_spawn, .progress = on_progress, .log = on_log};

void bench_init(struct bench *bench, unsigned workers, const struct config *extra)
{
    *bench = (struct bench){.progress = -1};
    pthread_mutex_init(&bench->lock, NULL);
    pthread_cond_init(&bench->changed, NULL);
    /* Not the parser's snapshot: the sections are the test's, and stay so. */
    bench->config = calloc(1, sizeof *bench->config);
    assert_non_null(bench->config);
    if (extra)
        *bench->config = *extra;
    atomic_init(&bench->config->refs, 1000);
    if (!bench->config->max_result)
        bench->config->max_result = 1 << 20;
    bench->config->max_json_depth = 32;
    char error[300] = "";
    (void)setenv("SATCHEL_LAUNCHER", TEST_BUILD_DIR "/daemon/satchel-launcher", 0);
    if (registry_new(bench->config, &bench->registry, error, sizeof error) < 0)
        fail_msg("registry_new: %s", error);
    if (workers == 0)
        return;
    struct pool_options options = {
        .workers = workers, .url = "http://127.0.0.1:8640", .report = on_report, .report_arg = bench};
    assert_int_equal(pool_new(&options, &bench->pool), 0);
}

void bench_release(struct bench *bench)
{
    if (bench->pool)
        pool_stop(bench->pool);
    pool_free(bench->pool);
    registry_unref(bench->registry);
    while (bench->reports) {
        struct attempt *attempt = bench->reports;
        bench->reports = (struct attempt *)attempt->mail.next;
        attempt_free(attempt);
    }
    free(bench->config);
    buf_release(&bench->log);
    buf_release(&bench->spawned);
    buf_release(&bench->spawn_tenants);
    pthread_cond_destroy(&bench->changed);
    pthread_mutex_destroy(&bench->lock);
}

struct attempt *bench_attempt(struct bench *bench, const char *task, const char *args, const char *tenant)
{
    struct attempt *attempt = calloc(1, sizeof *attempt);
    assert_non_null(attempt);
    struct task_spec_text text = {
        .tenant = slice_str(tenant), .name = slice_str(task), .args = slice_str(args ? args : "null")};
    attempt->spec = task_spec_new(&text);
    assert_non_null(attempt->spec);
    task_id_make(&attempt->spec->id);
    attempt->spec->root = attempt->spec->id;
    char request[200];
    snprintf(request, sizeof request, "request-of-%s", tenant);
    const char trace[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    satchel_field fields[] = {{"X-Tenant-ID", tenant, 11, strlen(tenant)},
                              {"X-Request-ID", request, 12, strlen(request)},
                              {"traceparent", trace, 11, strlen(trace)}};
    satchel_context *context;
    assert_int_equal(satchel_extract(fields, 3, &context, NULL, NULL), SATCHEL_OK);
    task_context_set(attempt->spec, context);
    attempt->type = registry_find(bench->registry, slice_str(task));
    assert_non_null(attempt->type);
    attempt->number = 1;
    assert_int_equal(satchel_cancel_new(NULL, &attempt->cancel), SATCHEL_OK);
    attempt->host = &host;
    attempt->host_arg = bench;
    attempt->retry_after_us = -1;
    return attempt;
}

static int bind_one(satchel_var *var, void *data, void *arg)
{
    (void)data;
    satchel_value *value;
    assert_int_equal(satchel_context_get(arg, var, &value), SATCHEL_OK);
    assert_int_equal(satchel_set_value(var, value, NULL), SATCHEL_OK);
    satchel_value_unref(value);
    return 0;
}

void bench_bind(struct attempt *attempt, const char *header, const char *value)
{
    satchel_context *one;
    satchel_field field = {header, value, strlen(header), strlen(value)};
    assert_int_equal(satchel_extract(&field, 1, &one, NULL, NULL), SATCHEL_OK);
    assert_int_equal(satchel_context_len(one), 1);
    assert_int_equal(satchel_context_enter(task_context(attempt->spec)), SATCHEL_OK);
    assert_int_equal(satchel_context_each(one, bind_one, one), 0);
    assert_int_equal(satchel_context_exit(task_context(attempt->spec)), SATCHEL_OK);
    satchel_context_unref(one);
}

void bench_push(struct bench *bench, struct attempt *attempt)
{
    attempt->mail.next = NULL;
    pool_push(bench->pool, attempt);
}

static struct timespec limit_from_now(int seconds)
{
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += seconds;
    return limit;
}

struct attempt *bench_wait(struct bench *bench, size_t n)
{
    struct timespec limit = limit_from_now(WAIT_S);
    int late = 0;
    pthread_mutex_lock(&bench->lock);
    while (bench->n_reports < n && !late)
        late = pthread_cond_timedwait(&bench->changed, &bench->lock, &limit);
    size_t got = bench->n_reports;
    struct attempt *list = bench->reports, *oldest_first = NULL;
    bench->reports = NULL;
    bench->n_reports = 0;
    pthread_mutex_unlock(&bench->lock);
    if (got != n)
        fail_msg("%zu of %zu attempts reported", got, n);
    while (list) {
        struct attempt *next = (struct attempt *)list->mail.next;
        list->mail.next = (struct mail *)oldest_first;
        oldest_first = list;
        list = next;
    }
    return oldest_first;
}

struct attempt *bench_run(struct bench *bench, struct attempt *attempt)
{
    bench_push(bench, attempt);
    return bench_wait(bench, 1);
}

void attempt_free(struct attempt *attempt)
{
    if (!attempt)
        return;
    task_spec_unref(attempt->spec);
    satchel_cancel_unref(attempt->cancel);
    task_outcome_unref(attempt->outcome);
    buf_release(&attempt->sent);
    free(attempt);
}

const char *outcome_result(const struct attempt *attempt)
{
    return attempt->outcome && attempt->outcome->result ? attempt->outcome->result->data : "";
}

const char *outcome_message(const struct attempt *attempt)
{
    return attempt->outcome ? attempt->outcome->message : "(no outcome)";
}

enum error_type outcome_error(const struct attempt *attempt)
{
    return attempt->outcome ? attempt->outcome->error : ERROR_TYPE_OOM;
}

const char *result_member(const struct attempt *attempt, const char *name)
{
    static char text[8192];
    char error[JSON_IN_ERROR_SIZE];
    json_t *json = json_in_load(slice_str(outcome_result(attempt)), 32, error);
    const json_t *member = json_object_get(json, name);
    const char *value = json_string_value(member);
    if (value)
        snprintf(text, sizeof text, "%s", value);
    else if (json_is_number(member))
        snprintf(text, sizeof text, "%.0f", json_number_value(member));
    json_decref(json);
    return member ? text : NULL;
}

bool wait_until(bool (*done)(void *arg), void *arg)
{
    for (int i = 0; i < 2000; i++) {
        if (done(arg))
            return true;
        struct timespec pause = {.tv_nsec = 5000000};
        nanosleep(&pause, NULL);
    }
    return false;
}
