/* What people and programs get to see. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "proto/json_in.h"

#define ROUND_MS 1000

static int exit_code_of(int status)
{
    switch (status) {
    case SATCHEL_OK: return 0;
    case SATCHEL_EREFUSED:
    case SATCHEL_ENOTFOUND:
    case SATCHEL_ECONFLICT:
    case SATCHEL_EGRAMMAR:
    case SATCHEL_ELIMIT: return EXIT_DATA;
    case SATCHEL_EINVAL: return EXIT_USAGE;
    case SATCHEL_EDENIED: return EXIT_DENIED;
    case SATCHEL_EAGAIN: return EXIT_AGAIN;
    case SATCHEL_EUNREACHABLE:
    case SATCHEL_ESERVER: return EXIT_UNREACHABLE;
    case SATCHEL_ETIMEDOUT: return EXIT_TIMED_OUT;
    case SATCHEL_ETASK: return EXIT_TASK_FAILED;
    case SATCHEL_EPROTOCOL: return EXIT_UNREACHABLE;
    default: return EXIT_SOFTWARE;
    }
}

int fail(const struct common *common, const satchel_error *error)
{
    const char *title = error->title, *detail = error->detail;
    (void)fprintf(stderr, "satchel %s: %s%s%s\n", common->verb->name, title, *title && *detail ? ": " : "", detail);
    for (const char *line = error->pointers; *line;) {
        size_t len = strcspn(line, "\n");
        (void)fprintf(stderr, "  %.*s\n", (int)len, line);
        line += len;
        line += *line == '\n';
    }
    if (error->retry_after_s)
        (void)fprintf(stderr, "  try again in %d seconds\n", error->retry_after_s);
    return exit_code_of(error->status);
}

static const char *text_of(const json_t *task, const char *key)
{
    const char *text = json_string_value(json_object_get(task, key));
    return text ? text : "";
}

static bool is_empty(struct slice value)
{
    return slice_eq_str(value, "null") || slice_eq_str(value, "{}");
}

void print_task(struct slice text)
{
    struct json_member members[64];
    size_t n = json_in_members(text, members, 64);
    for (size_t i = 0; i < n && i < 64; i++) {
        struct slice value = members[i].value;
        if (is_empty(value))
            continue;
        if (value.len > 1 && value.data[0] == '"' && !memchr(value.data, '\\', value.len))
            value = slice_of(value.data + 1, value.len - 2);
        (void)printf("%-13.*s%.*s\n", (int)members[i].name.len, members[i].name.data, (int)value.len, value.data);
    }
}

void print_task_line(const json_t *task)
{
    (void)printf("%s  %-9s  %.19s  %-12s  %s\n", text_of(task, "id"), text_of(task, "state"),
                 text_of(task, "created_at"), text_of(task, "tenant"), text_of(task, "task"));
}

void print_future(const struct common *common, satchel_future *future)
{
    char *text;
    size_t len;
    if (satchel_future_json(future, &text, &len, NULL) != SATCHEL_OK)
        return;
    if (common->json) {
        (void)printf("%s\n", text);
    } else {
        print_task(slice_of(text, len));
    }
    satchel_free(text);
}

int outcome_code(const satchel_future *future)
{
    int code;
    if (strcmp(satchel_future_state(future), "succeeded") == 0)
        return 0;
    if (satchel_future_exit_code(future, &code) == SATCHEL_OK && code > 0 && code < 256)
        return code;
    return EXIT_TASK_FAILED;
}

static void print_text_result(const char *json, size_t len)
{
    char why[JSON_IN_ERROR_SIZE];
    json_t *value = json_in_load(slice_of(json, len), 64, why);
    const char *text = json_string_value(value);
    if (text) {
        (void)fwrite(text, 1, json_string_length(value), stdout);
        if (!json_string_length(value) || text[json_string_length(value) - 1] != '\n')
            (void)putchar('\n');
    } else {
        (void)printf("%s\n", json);
    }
    json_decref(value);
}

int print_result(const struct common *common, satchel_future *future, bool raw)
{
    char *json;
    size_t len;
    satchel_error error = SATCHEL_ERROR_INIT;
    int status = satchel_future_result(future, &json, &len, &error);
    if (status == SATCHEL_PENDING) {
        (void)fprintf(stderr, "satchel %s: task %s is still %s\n", common->verb->name, satchel_future_id(future),
                      satchel_future_state(future));
        return EXIT_AGAIN;
    }
    if (status == SATCHEL_ETASK) {
        (void)fprintf(stderr, "satchel %s: %s: %s%s%s\n", common->verb->name, error.title, error.type,
                      *error.detail ? ": " : "", error.detail);
        return outcome_code(future);
    }
    if (status != SATCHEL_OK)
        return fail(common, &error);
    if (raw)
        print_text_result(json, len);
    else
        (void)printf("%s\n", json);
    satchel_free(json);
    return 0;
}

/* ---- waiting ---- */

static volatile sig_atomic_t interrupted_by;

static void on_signal(int number)
{
    interrupted_by = number;
}

int wait_interruptible(satchel_future *future, int64_t timeout_ms, satchel_error *error, bool *interrupted)
{
    struct sigaction action = {.sa_handler = on_signal}, before;
    (void)sigaction(SIGINT, &action, &before);
    int64_t left = timeout_ms;
    int status;
    do {
        int64_t round = left < 0 || left > ROUND_MS ? ROUND_MS : left;
        status = satchel_future_wait(future, round, error);
        if (left >= 0)
            left -= round;
    } while (!interrupted_by && left != 0 && (status == SATCHEL_ETIMEDOUT || status == SATCHEL_EUNREACHABLE));
    *interrupted = interrupted_by != 0;
    (void)sigaction(SIGINT, &before, NULL);
    return status;
}
